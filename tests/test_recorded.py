"""Calls that must not be made twice: written down, sent once, settled where their reply is lost, and seen through."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from alura_async import (
    Access,
    Action,
    Alura,
    AsyncAlura,
    CallTimeoutError,
    ClosedError,
    DuplicateAssetError,
    ForbiddenError,
    Guard,
    GuardError,
    InvalidArgumentError,
    JournalError,
    NotSentError,
    Outcome,
    OutcomeUnknownError,
    Route,
    SessionStatus,
    SettledBy,
    ShapeError,
    Timeouts,
    UnresolvedError,
    User,
)
from alura_async.core.reading import SharedReads
from alura_async.sandbox import Conditions, Sandbox
from tests.raw_server import RawServer, hang, reply

pytestmark = pytest.mark.anyio

TO = "0x" + "ab" * 20
START = datetime(2026, 1, 5, 12, tzinfo=UTC)
ACCEPTED = reply('{"id":"w1","status":"pending"}', "201 Created")
DOWN = reply('{"message":"down"}', "503 Service Unavailable")
CLOSED = reply('{"status":"closed"}', "201 Created")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=3, start=START, speed=0, limit=None, conditions=Conditions.ideal()) as server:
        yield server


@pytest.fixture
async def alura(sandbox: Sandbox) -> AsyncIterator[AsyncAlura]:
    async with AsyncAlura(sandbox.wallet(), base_url=sandbox.url) as client:
        yield client


@pytest.fixture
async def bare(raw: RawServer) -> AsyncIterator[AsyncAlura]:
    """A client of a server that says what it is told to."""
    async with AsyncAlura(token="t", base_url=raw.url, timeout=Timeouts(settle=0)) as client:
        yield client


def executed(sandbox: Sandbox, operation: str) -> int:
    return sum(entry.operation == operation for entry in sandbox.ledger)


async def create(alura: AsyncAlura, asset: str = "BTC") -> Any:
    return await alura.trading_sessions.create(budget=100, profit_target=40, asset=asset)


# Written down


async def test_what_must_not_be_made_twice_is_written_down_and_nothing_else(alura: AsyncAlura) -> None:
    await alura.user.profile()
    await alura.user.sync_fills()
    session = await create(alura)
    await alura.user.send_usdc(amount=5, destination=TO)
    await alura.trading_sessions.close_trade(session.trade_id or "")
    entries = await alura.journal.entries()
    assert [(entry.action, entry.outcome, entry.settled_by) for entry in reversed(entries)] == [
        (Action.OPEN, Outcome.DONE, SettledBy.REPLY),
        (Action.TRANSFER, Outcome.DONE, SettledBy.REPLY),
        (Action.CLOSE, Outcome.DONE, SettledBy.REPLY),
    ]
    assert entries[-1].result_id == session.id
    assert entries[-1].account == (await alura.user.profile()).address.lower()  # type: ignore[union-attr]
    assert await alura.journal.unresolved() == []


async def test_the_server_is_told_the_id_of_the_entry(raw: RawServer, bare: AsyncAlura) -> None:
    raw.routes["/user/withdraw"] = [ACCEPTED]
    await bare.user.withdraw(amount=5)
    (entry,) = await bare.journal.entries()
    sent = raw.received[0].headers
    assert sent["x-request-id"] == sent["idempotency-key"] == entry.id
    raw.routes["/user/profile"] = [reply('{"id":"u1"}')]
    await bare.user.profile()
    assert "x-request-id" not in raw.received[1].headers


async def test_what_became_of_a_call_is_written_down(raw: RawServer, bare: AsyncAlura) -> None:
    raw.routes["/user/withdraw"] = [
        reply('{"message":"no"}', "403 Forbidden"),
        reply('{"strange":1}', "201 Created"),
        DOWN,
    ]
    with pytest.raises(ForbiddenError) as refused:
        await bare.user.withdraw(amount=1)
    with pytest.raises(ShapeError) as strange:
        await bare.user.withdraw(amount=2)
    with pytest.raises(OutcomeUnknownError) as unknown:
        await bare.user.withdraw(amount=3)
    third, second, first = await bare.journal.entries()
    assert [first.outcome, second.outcome, third.outcome] == [Outcome.REJECTED, Outcome.DONE, Outcome.UNKNOWN]
    assert [error.value.call_id for error in (refused, strange, unknown)] == [first.id, second.id, third.id]
    assert third.id in str(unknown.value)
    assert "no" in first.detail
    assert await bare.journal.unresolved() == [third]


async def test_a_call_that_never_left_is_resolved(bare: AsyncAlura, raw: RawServer) -> None:
    await raw.__aexit__()
    with pytest.raises(NotSentError):
        await bare.user.withdraw(amount=1)
    (entry,) = await bare.journal.entries()
    assert entry.outcome is Outcome.NOT_SENT
    assert await bare.journal.unresolved() == []


async def test_what_may_have_been_done_is_not_done_again_until_somebody_has_looked(
    raw: RawServer, bare: AsyncAlura
) -> None:
    raw.routes["/user/withdraw"] = [DOWN, ACCEPTED]
    with pytest.raises(OutcomeUnknownError):
        await bare.user.withdraw(amount=5)
    with pytest.raises(UnresolvedError) as raised:
        await bare.user.withdraw(amount="5.00")
    (entry,) = await bare.journal.unresolved()
    assert raised.value.entry_id == entry.id
    assert raised.value.outcome is Outcome.NOT_SENT
    assert len(raw.received) == 1
    await bare.user.withdraw(amount=6)  # something else
    await bare.journal.settle(entry.id, "rejected")
    await bare.user.withdraw(amount=5)
    assert len(raw.received) == 3


async def test_two_equal_transfers_at_once_are_meant(raw: RawServer, bare: AsyncAlura) -> None:
    raw.routes["/user/withdraw"] = [ACCEPTED]
    await asyncio.gather(bare.user.withdraw(amount=5), bare.user.withdraw(amount=5))
    assert len({request.headers["x-request-id"] for request in raw.received}) == 2


async def test_an_exit_is_not_blocked_by_one_that_was_lost(raw: RawServer, bare: AsyncAlura) -> None:
    raw.routes["/user/close-all-positions"] = [DOWN, CLOSED]
    with pytest.raises(OutcomeUnknownError):
        await bare.user.close_all_positions()
    assert (await bare.user.close_all_positions()).status == SessionStatus.CLOSED


async def test_without_a_journal_nothing_is_opened_and_everything_can_be_closed(
    raw: RawServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    not_a_folder = tmp_path / "file"
    not_a_folder.write_text("")
    raw.answers = [CLOSED]
    async with AsyncAlura(token="t", base_url=raw.url, journal=not_a_folder / "journal.db") as alura:
        for refused in (create(alura), alura.user.withdraw(amount=5), alura.trading_sessions.trigger_cron()):
            with pytest.raises(JournalError) as raised:
                await refused
            assert raised.value.outcome is Outcome.NOT_SENT
        assert raw.received == []
        with caplog.at_level(logging.ERROR, "alura_async"):
            await alura.trading_sessions.close_trade("t1")
        assert raw.paths() == ["POST /trading-sessions/trades/t1/close"]
    assert any("close" in record.getMessage() for record in caplog.records)


async def test_a_journal_in_a_file_knows_after_a_restart(raw: RawServer, tmp_path: Path) -> None:
    raw.routes["/user/withdraw"] = [DOWN, ACCEPTED]
    settings: dict[str, Any] = {"token": "t", "base_url": raw.url, "journal": tmp_path / "journal.db"}
    async with AsyncAlura(**settings) as alura:
        with pytest.raises(OutcomeUnknownError):
            await alura.user.withdraw(amount=5)
    async with AsyncAlura(**settings) as alura:
        (entry,) = await alura.journal.unresolved()
        with pytest.raises(UnresolvedError):
            await alura.user.withdraw(amount=5)
        await alura.journal.settle(entry.id, Outcome.DONE, note="it is on the chain")
        await alura.user.withdraw(amount=5)
    assert len(raw.received) == 2


def test_the_blocking_client_has_it_too(tmp_path: Path) -> None:
    with (
        Sandbox.threaded(seed=3, start=START, speed=0, limit=None) as sandbox,
        Alura(sandbox.wallet(), base_url=sandbox.url, journal=tmp_path / "journal.db") as alura,
    ):
        sandbox.faults.add("reset-after x1 on POST /user/withdraw")
        with pytest.raises(OutcomeUnknownError):
            alura.user.withdraw(amount=5)
        (entry,) = alura.journal.unresolved()
        assert alura.journal.settle(entry.id, "done").outcome is Outcome.DONE
        alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC")
        alura.flatten(patience=0)
        assert alura.trading_sessions.active() == []


# Settled by reading


@pytest.mark.parametrize("fault", ["reset-after", "close-after", "503-after", "truncate-after=3", "garbage-after"])
async def test_a_create_whose_reply_is_lost_is_found(sandbox: Sandbox, alura: AsyncAlura, fault: str) -> None:
    sandbox.faults.add(f"{fault} x1 on POST /trading-sessions")
    session = await create(alura)
    assert [active.id for active in await alura.trading_sessions.active()] == [session.id]
    (entry,) = await alura.journal.entries()
    assert (entry.outcome, entry.settled_by, entry.result_id) == (Outcome.DONE, SettledBy.READING, session.id)
    assert executed(sandbox, "POST /trading-sessions") == 1


@pytest.mark.parametrize("fault", ["reset-before", "503-before", "hang-before"])
async def test_a_create_that_did_not_happen_stays_unknown(sandbox: Sandbox, fault: str) -> None:
    sandbox.faults.add(f"{fault} x1 on POST /trading-sessions")
    limits = Timeouts(read=0.2, settle=2)
    async with AsyncAlura(sandbox.wallet(), base_url=sandbox.url, timeout=limits) as alura:
        with pytest.raises(OutcomeUnknownError) as raised:
            await create(alura)
        assert raised.value.candidates == ()
        (entry,) = await alura.journal.unresolved()
        assert entry.id == raised.value.call_id
    assert executed(sandbox, "POST /trading-sessions") == 0


async def test_a_duplicate_shows_what_is_there(alura: AsyncAlura) -> None:
    session = await create(alura)
    await create(alura, "ETH")
    with pytest.raises(DuplicateAssetError) as raised:
        await create(alura)
    assert [found.id for found in raised.value.candidates] == [session.id]


@pytest.mark.parametrize("fault", ["reset-before", "503-before", "close-before"])
@pytest.mark.parametrize("way", ["position", "trade", "asset"])
async def test_a_close_that_had_no_effect_is_sent_again(
    sandbox: Sandbox, alura: AsyncAlura, fault: str, way: str
) -> None:
    session = await create(alura)
    sandbox.advance(minutes=1)  # what is open was opened before the close, also by a clock of whole seconds
    trade = await alura.trading_sessions.current_trade()
    assert trade is not None
    assert trade.positions
    sandbox.faults.add(f"{fault} x1 on POST /*")
    if way == "trade":
        closings = [await alura.trading_sessions.close_trade(trade.id)]
    elif way == "asset":
        closings = [await alura.user.close_position(asset="BTC")]
    else:
        closings = [await alura.trading_sessions.close_position(position.id) for position in trade.positions]
    assert {closing.status for closing in closings} == {SessionStatus.CLOSED}
    assert [entry.outcome for entry in await alura.journal.entries()] == [Outcome.DONE] * (1 + len(closings))
    assert [session.id in entry.detail.get("closed_sessions", ()) for entry in sandbox.ledger].count(True) == 1
    assert await alura.trading_sessions.active() == []


@pytest.mark.parametrize("fault", ["reset-after", "garbage-after"])
async def test_a_close_whose_effect_was_there_before_anybody_looked_is_not_sent_again(
    sandbox: Sandbox, alura: AsyncAlura, fault: str
) -> None:
    """What is missing may never have been listed: absence proves nothing."""
    session = await create(alura)
    sandbox.faults.add(f"{fault} x1 on POST /trading-sessions/*")
    with pytest.raises(OutcomeUnknownError, match="flatten"):
        await alura.trading_sessions.close_trade(session.trade_id or "")
    assert executed(sandbox, "POST /trading-sessions/trades/:tradeId/close") == 1


async def test_a_close_that_is_sent_again_has_another_key(raw: RawServer) -> None:
    raw.routes["/trading-sessions/active"] = [reply('[{"id":"s1","tradeId":"t1","status":"active"}]')]
    raw.routes["/trading-sessions/current-trade"] = [reply('{"id":"t1","status":"active"}')]
    raw.routes["/trading-sessions/trades/t1/close"] = [DOWN, CLOSED]
    async with AsyncAlura(token="t", base_url=raw.url) as alura:
        await alura.trading_sessions.close_trade("t1")
        (entry,) = await alura.journal.entries()
    sent = [request.headers["idempotency-key"] for request in raw.received if request.method == "POST"]
    assert sent == [entry.id, f"{entry.id}-2"]


async def test_a_close_that_is_refused_the_second_time_may_have_succeeded_the_first_time(raw: RawServer) -> None:
    raw.routes["/trading-sessions/active"] = [
        reply('[{"id":"s1","tradeId":"t1","status":"active"}]'),
        reply("[]"),
    ]
    raw.routes["/trading-sessions/current-trade"] = [reply('{"id":"t1","status":"active"}'), reply("null")]
    raw.routes["/trading-sessions/trades/t1/close"] = [DOWN, reply('{"message":"no such trade"}', "404 Not Found")]
    async with AsyncAlura(token="t", base_url=raw.url) as alura:
        with pytest.raises(OutcomeUnknownError) as raised:
            await alura.trading_sessions.close_trade("t1")
        (entry,) = await alura.journal.unresolved()
    assert raised.value.call_id == entry.id


async def test_a_transfer_whose_reply_is_lost_is_not_read_after(sandbox: Sandbox, alura: AsyncAlura) -> None:
    await alura.user.profile()
    sandbox.faults.add("reset-after x1 on POST /user/send-usdc")
    seen = len(sandbox.requests)
    with pytest.raises(OutcomeUnknownError, match="chain"):
        await alura.user.send_usdc(amount=5, destination=TO)
    assert len(sandbox.requests) == seen + 1


async def test_a_reply_as_it_came_is_not_settled_but_written_down(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.faults.add("503-after x1 on POST /user/withdraw")
    found = await alura.send_raw(User.withdraw.request(amount=5))
    assert found.status == 503
    (entry,) = await alura.journal.unresolved()
    assert entry.outcome is Outcome.UNKNOWN


# Cancelled, and closed


async def test_what_was_sent_and_cancelled_is_unresolved(raw: RawServer, bare: AsyncAlura) -> None:
    raw.routes["/user/withdraw"] = [hang]
    call = asyncio.ensure_future(bare.user.withdraw(amount=5))
    while not raw.received:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (entry,) = await bare.journal.unresolved()
    assert entry.outcome is Outcome.UNKNOWN


async def test_closing_waits_for_orders_and_refuses_new_ones(sandbox: Sandbox) -> None:
    alura = AsyncAlura(sandbox.wallet(), base_url=sandbox.url)
    await alura.user.profile()
    sandbox.faults.add("delay=100ms x1 on POST /user/withdraw")
    order = asyncio.ensure_future(alura.user.withdraw(amount=5))
    while not any(request.path == "/user/withdraw" for request in sandbox.requests):
        await asyncio.sleep(0)
    closing = asyncio.ensure_future(alura.close())
    await asyncio.sleep(0)
    with pytest.raises(ClosedError):
        await alura.user.profile()
    assert (await order).amount == 5
    await closing
    with pytest.raises(ClosedError):
        await alura.user.profile()


async def test_closing_does_not_wait_for_ever(raw: RawServer, caplog: pytest.LogCaptureFixture) -> None:
    raw.routes["/user/withdraw"] = [hang]
    alura = AsyncAlura(token="t", base_url=raw.url, timeout=Timeouts(drain=0.05))
    order = asyncio.ensure_future(alura.user.withdraw(amount=5))
    while not raw.received:
        await asyncio.sleep(0)
    with caplog.at_level(logging.WARNING, "alura_async"):
        await alura.close()
    with pytest.raises(OutcomeUnknownError):
        await order
    assert any("/user/withdraw" in record.getMessage() for record in caplog.records)


async def test_an_order_whose_time_is_up_before_it_left_is_not_done(raw: RawServer, bare: AsyncAlura) -> None:
    raw.routes["/user/withdraw"] = [hang]
    with pytest.raises(OutcomeUnknownError):
        await bare.with_options(timeout=0.1).user.withdraw(amount=5)
    raw.routes["/user/profile"] = [hang]
    with pytest.raises(CallTimeoutError):
        await bare.with_options(timeout=0.1).user.profile()


# What once went wrong


async def test_a_locked_journal_takes_no_time_from_a_close(raw: RawServer, tmp_path: Path) -> None:
    raw.routes["/trading-sessions/trades/t1/close"] = [CLOSED]
    path = tmp_path / "journal.db"
    async with AsyncAlura(token="t", base_url=raw.url, journal=path, timeout=0.5) as alura:
        await alura.journal.entries()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await alura.trading_sessions.close_trade("t1")
            other.execute("ROLLBACK")
    assert raw.paths() == ["POST /trading-sessions/trades/t1/close"]


def test_the_end_of_the_client_does_not_make_a_lost_order_a_call_that_was_never_made() -> None:
    with Sandbox.threaded(seed=3, start=START, speed=0, limit=None) as sandbox:
        alura = Alura(sandbox.wallet(), base_url=sandbox.url, timeout=Timeouts(drain=0.05))
        alura.user.profile()
        sandbox.faults.add("reset-after x1 on POST /trading-sessions")
        sandbox.faults.add("hang x100 on GET /trading-sessions/active")
        with ThreadPoolExecutor(1) as threads:
            order = threads.submit(alura.trading_sessions.create, budget=100, profit_target=40, asset="BTC")
            while not any(request.path == "/trading-sessions/active" for request in list(sandbox.requests)):
                time.sleep(0.005)
            alura.close()
            error = order.exception()
        assert executed(sandbox, "POST /trading-sessions") == 1
    assert isinstance(error, OutcomeUnknownError)
    assert error.outcome is Outcome.UNKNOWN


async def test_an_exit_that_has_to_sign_in_first_waits_for_none_of_the_users_threads(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    busy, over = threading.Event(), threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    def work() -> None:
        busy.set()
        over.wait(30)

    theirs = asyncio.create_task(asyncio.to_thread(work))
    try:
        while not busy.is_set():
            await asyncio.sleep(0.001)
        url = sandbox.url.replace("127.0.0.1", "localhost")
        wallet, cache, journal = sandbox.wallet(), tmp_path / "tokens.json", tmp_path / "orders.db"
        async with AsyncAlura(wallet, base_url=url, timeout=15, token_cache=cache, journal=journal) as alura:
            await alura.user.close_all_positions()
    finally:
        over.set()
        await theirs
    assert executed(sandbox, "POST /user/close-all-positions") == 1


@pytest.mark.parametrize("is_durable", [False, True], ids=["memory", "file"])
async def test_an_order_whose_lost_reply_is_being_settled_is_under_way_and_blocks_another_like_it(
    sandbox: Sandbox, tmp_path: Path, is_durable: bool
) -> None:
    journal = tmp_path / "orders.db" if is_durable else None
    async with AsyncAlura(sandbox.wallet(), base_url=sandbox.url, journal=journal) as alura:
        sandbox.faults.add("reset-after x1 on POST /trading-sessions")
        sandbox.faults.add("delay=300ms on GET /trading-sessions/active")
        order = asyncio.create_task(create(alura))
        while not any(request.path == "/trading-sessions/active" for request in sandbox.requests):
            await asyncio.sleep(0.001)
        assert await alura.journal.unresolved() == []
        (entry,) = await alura.journal.entries()
        assert entry.outcome is None
        with pytest.raises(InvalidArgumentError, match="is under way in this process"):
            await alura.journal.settle(entry.id, "rejected")
        with pytest.raises(UnresolvedError, match=entry.id):
            await create(alura)
        session = await order
        (entry,) = await alura.journal.entries()
        assert (entry.outcome, entry.settled_by, entry.result_id) == (Outcome.DONE, SettledBy.READING, session.id)
        await alura.trading_sessions.close_trade(session.trade_id)
        await create(alura)
    assert executed(sandbox, "POST /trading-sessions") == 2


class SlowWallet:
    address = "0x" + "a1" * 20

    async def prepare(self) -> None:
        await asyncio.sleep(60)

    async def sign_message(self, text: str) -> str:
        raise AssertionError(text)


async def test_a_wallet_that_takes_its_time_holds_up_no_exit(raw: RawServer) -> None:
    raw.routes["/trading-sessions/trades/t1/close"] = [CLOSED]
    async with AsyncAlura(SlowWallet(), token="t", base_url=raw.url, timeout=0.2) as alura:
        with pytest.raises(NotSentError):
            await alura.user.withdraw(amount=5)
        await alura.trading_sessions.close_trade("t1")
    assert raw.paths() == ["POST /trading-sessions/trades/t1/close"]


async def test_a_session_of_a_client_that_is_gone_is_not_taken(sandbox: Sandbox) -> None:
    key = sandbox.wallet()
    sandbox.faults.add("reset-before x1 on POST /trading-sessions")
    async with AsyncAlura(key, base_url=sandbox.url, timeout=Timeouts(settle=3)) as alura:
        await alura.auth.login()

        async def other_first(request: Any, timeout: float, /) -> Any:
            if not created:
                async with AsyncAlura(key, base_url=sandbox.url) as other:
                    created.append(await create(other))
            return await alura._road.carry(request, timeout)

        created: list[Any] = []
        alura._road.orders._reads = SharedReads(other_first)
        with pytest.raises(OutcomeUnknownError):
            await create(alura)
    assert executed(sandbox, "POST /trading-sessions") == 1
    assert len(created) == 1


async def test_a_guard_wants_to_know_what_a_route_of_yours_does(raw: RawServer) -> None:
    route = Route("POST", "/user/withdraw", dict[str, str], access=Access.BEARER)
    async with AsyncAlura(token="t", base_url=raw.url, guard=Guard(max_amount=1)) as alura:
        with pytest.raises(GuardError, match="action="):
            await alura.send(route.request(body={"amount": 400}))
    assert raw.received == []
