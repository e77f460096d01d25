"""Getting flat whatever goes wrong: everything is closed in the ledger, nothing twice, in bounded time."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from alura_async import (
    AsyncAlura,
    CallError,
    ClosedError,
    CredentialsNeededError,
    InvalidArgumentError,
    NotFlatError,
    Outcome,
    RateLimiter,
    Retry,
    Timeouts,
    TradingSession,
    no_waits,
)
from alura_async.flatten import Flattened, flatten
from alura_async.sandbox import Conditions, Sandbox
from tests.raw_server import RawServer, hang, reply

pytestmark = [pytest.mark.anyio, pytest.mark.waits]

SEEDS = int(os.environ.get("ALURA_TEST_SEEDS", "1"))

# Every kind of fault that a call can meet, before and after processing.
EVERYTHING = (
    "429|429=Slow,Retry-After:1|500|500-after|502-after|503|504|504-after|408-after|409|redirect=http://127.0.0.1:9/x"
    "|builder-fee|builder-fee-after|reset|reset-after|reset-early|close|close-after|truncate|truncate=headers|truncate-before"
    "|truncate=11,unannounced|garbage|garbage-before|malformed=two-lengths|length|length=20|unfinished|invalid-json"
    "|invalid-json-before|html|html-after|empty|empty-before|bad-gzip|short-gzip|stray=1ms|idle-close|hang|hang-after"
    "|delay=50ms|delay=300ms|delay-after=100ms"
)
CALLS = ("GET /trading-sessions/*", "POST /trading-sessions/*", "POST /user/*")
CLOSES = ("position_closed", "trade_closed", "asset_closed", "all_closed")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=3, limit=None) as sandbox:
        yield sandbox


@pytest.fixture
async def alura(sandbox: Sandbox) -> AsyncIterator[AsyncAlura]:
    async with client(sandbox.url, sandbox.wallet()) as alura:
        await alura.auth.login()
        yield alura


def client(url: str, wallet: str | None = None, retry: Retry = Retry(base=0.02), **settings: Any) -> AsyncAlura:  # noqa: B008 - it is frozen
    return AsyncAlura(
        base_url=url,
        wallet=wallet,
        timeout=Timeouts(call=1, read=0.25, create=1),
        retry=retry,
        limiter=RateLimiter.unlimited(),
        **settings,
    )


async def open_some(alura: AsyncAlura, *assets: str) -> list[TradingSession]:
    return [
        await alura.trading_sessions.create(budget=100, profit_target=400, asset=asset, max_positions=2)
        for asset in assets
    ]


def ended(sandbox: Sandbox) -> list[str]:
    return sorted(name for entry in sandbox.ledger for name in entry.detail.get("closed_sessions", ()))


def closes(sandbox: Sandbox) -> list[str]:
    """The closes that were carried out, as far as they were to close something."""
    return [entry.kind for entry in sandbox.ledger if entry.kind in CLOSES and entry.detail["trade_ids"]]


def asked(sandbox: Sandbox) -> Counter[str]:
    """How often each position was closed by a call that had an effect."""
    failed = Counter(
        name for entry in sandbox.ledger if entry.kind == "close_failed" for name in entry.detail["position_ids"]
    )
    accepted = Counter(
        name for entry in sandbox.ledger if entry.kind in CLOSES for name in entry.detail["position_ids"]
    )
    return accepted - failed


def refused_as_closing(sandbox: Sandbox) -> list[str]:
    """Closes that the server refused because what they name is closing or closed already: it was sent one too many."""
    return [
        request.path
        for request in sandbox.requests
        if request.path.endswith(("/close", "/close-position")) and request.fault is None and request.status == 400
    ]


async def test_everything_is_closed_with_one_call(alura: AsyncAlura, sandbox: Sandbox) -> None:
    sessions = await open_some(alura, "BTC", "ETH")
    found = await flatten(alura, patience=0.1)
    assert ended(sandbox) == sorted(session.id for session in sessions)
    assert closes(sandbox) == ["all_closed"]
    assert [session.id for session in found.sessions] == [session.id for session in sessions]
    assert {position.symbol for position in found.positions} == {"ETH"}
    assert [closing.closed_positions for closing in found.closings] == [4]
    assert found.failures == ()
    assert 1 + 3 <= found.reads <= 1 + 5
    assert 0.1 <= found.duration.total_seconds() < 1
    assert str(found).startswith("flat after 0.")
    assert f"closed BTC session {sessions[0].id} (active), ETH session" in str(found)


async def test_what_is_flat_is_closed_all_the_same_and_watched_for_a_while(alura: AsyncAlura, sandbox: Sandbox) -> None:
    """No read may show a position that was opened elsewhere."""
    found = await flatten(alura, patience=0.1)
    assert "nothing was open" in str(found)
    assert 3 <= found.reads <= 5
    assert [entry.kind for entry in sandbox.ledger if entry.kind in CLOSES] == ["all_closed"]


async def test_what_is_closing_is_waited_for_and_not_closed_again(alura: AsyncAlura, sandbox: Sandbox) -> None:
    sessions = await open_some(alura, "BTC", "ETH")
    sandbox.conditions = Conditions(lag=0.25)
    assert sessions[0].trade_id is not None
    await alura.trading_sessions.close_trade(sessions[0].trade_id)
    await flatten(alura, patience=0.2)
    assert ended(sandbox) == sorted(session.id for session in sessions)
    # The other one by its trade: a close of everything could have closed the first one again.
    assert closes(sandbox) == ["trade_closed", "trade_closed"]
    assert refused_as_closing(sandbox) == []
    assert set(asked(sandbox).values()) == {1}


async def test_what_is_opened_late_is_closed_too(alura: AsyncAlura, sandbox: Sandbox) -> None:
    await open_some(alura, "BTC")
    flattening = asyncio.create_task(flatten(alura, patience=0.12))
    while closes(sandbox) != ["all_closed"]:
        await asyncio.sleep(0.001)
    late = await alura.trading_sessions.create(budget=50, profit_target=9, asset="SOL")
    found = await flattening
    assert late.id in [session.id for session in found.sessions]
    assert ended(sandbox) == sorted(session.id for session in found.sessions)
    assert closes(sandbox) == ["all_closed", "trade_closed"]


async def test_a_close_that_fails_on_the_exchange_is_repeated(alura: AsyncAlura, sandbox: Sandbox) -> None:
    sessions = await open_some(alura, "BTC", "ETH")
    sandbox.conditions = Conditions(failing_closes=1, lag=0.03)
    await flatten(alura, patience=0.1)
    assert ended(sandbox) == sorted(session.id for session in sessions)
    assert set(asked(sandbox).values()) == {1}
    assert refused_as_closing(sandbox) == []


@pytest.mark.parametrize(
    ("fault", "pattern", "kinds"),
    [
        ("503", "GET /trading-sessions/active", ["all_closed"]),
        ("503", "POST /user/close-all-positions", ["trade_closed", "trade_closed"]),
        ("429", "POST /user/close-all-positions", ["trade_closed", "trade_closed"]),
        ("hang-after", "POST /user/close-all-positions", ["all_closed"]),
        ("reset", "POST /trading-sessions/trades/*", ["all_closed"]),
    ],
)
async def test_one_endpoint_that_fails_for_long_stops_nothing(
    alura: AsyncAlura, sandbox: Sandbox, fault: str, pattern: str, kinds: list[str]
) -> None:
    sessions = await open_some(alura, "BTC", "ETH")
    rule = sandbox.faults.add(f"{fault} on {pattern}")
    task = asyncio.create_task(flatten(alura, patience=0.05))
    async with asyncio.timeout(5):
        while len(ended(sandbox)) < 2:
            await asyncio.sleep(0.01)
    assert ended(sandbox) == sorted(session.id for session in sessions)
    assert closes(sandbox) == kinds
    rule.remove()
    found = await task
    if rule.hits:
        assert str(found).endswith(f"{len(found.failures)} calls failed on the way")


async def test_where_closing_everything_and_trades_fail_it_is_closed_by_position_and_by_asset(
    alura: AsyncAlura, sandbox: Sandbox
) -> None:
    await open_some(alura, "BTC", "ETH")
    sandbox.faults.add_all("400=No on POST /user/close-all-positions; 404=No on POST /trading-sessions/trades/*")
    await flatten(alura, patience=0.1)
    # Only the newest trade is shown with its positions.
    assert sorted(closes(sandbox)) == ["asset_closed", "position_closed", "position_closed"]
    assert len(ended(sandbox)) == 2


async def test_it_says_what_is_left_and_what_failed(alura: AsyncAlura, sandbox: Sandbox) -> None:
    sessions = await open_some(alura, "BTC")
    sandbox.faults.add_all('503="Down for now" on POST /user/*; 503="Down for now" on POST /trading-sessions/*')
    began = time.monotonic()
    with pytest.raises(NotFlatError) as raised:
        await flatten(alura, timeout=0.3, patience=0.05)
    assert 0.3 <= time.monotonic() - began < 1
    error = raised.value
    assert [session.id for session in error.remaining] == [sessions[0].id]
    assert len(error.positions) == 2
    assert error.outcome is Outcome.UNKNOWN
    assert all("Down for now" in str(failure) for failure in error.failures)
    assert f"still open when last read: BTC session {sessions[0].id} (active), BTC position" in str(error)
    assert "Down for now" in str(error)


async def test_where_no_read_works_everything_is_closed_and_nothing_is_claimed(
    alura: AsyncAlura, sandbox: Sandbox
) -> None:
    sessions = await open_some(alura, "BTC", "ETH")
    sandbox.faults.add("reset on GET /trading-sessions/*")
    with pytest.raises(NotFlatError, match=r"could not be read once; the last read failed"):
        await flatten(alura, timeout=0.3, patience=0.1)
    assert ended(sandbox) == sorted(session.id for session in sessions)
    assert closes(sandbox) == ["all_closed"]


async def test_two_at_once_close_nothing_twice(alura: AsyncAlura, sandbox: Sandbox) -> None:
    sessions = await open_some(alura, "BTC", "ETH")
    sandbox.conditions = Conditions(lag=0.1)
    await asyncio.gather(*[flatten(alura, patience=0.15) for _ in range(3)])
    assert ended(sandbox) == sorted(session.id for session in sessions)
    assert len([request for request in sandbox.requests if request.path == "/user/close-all-positions"]) == 1
    assert closes(sandbox) == ["all_closed"]


async def test_a_cancellation_stops_it_and_blocks_no_later_one(alura: AsyncAlura, sandbox: Sandbox) -> None:
    await open_some(alura, "BTC")
    for delay in (0, 0.003, 0.02):
        with sandbox.faults.add("hang on POST /user/close-all-positions"):
            task = asyncio.create_task(flatten(alura, patience=0.1))
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    began = time.monotonic()
    await flatten(alura, patience=0.1)
    assert len(ended(sandbox)) == 1
    assert time.monotonic() - began < 2


async def test_a_close_that_was_cancelled_before_it_left_holds_up_no_later_one(
    alura: AsyncAlura, sandbox: Sandbox
) -> None:
    await open_some(alura, "BTC")
    await alura.auth.logout()
    with sandbox.faults.add("hang on POST /auth/*"):
        task = asyncio.create_task(flatten(alura, patience=20, timeout=1.2))
        while "/user/close-all-positions" not in [each.path for each in await alura.journal.entries()]:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await alura.journal.entries(limit=1))[0].outcome is Outcome.NOT_SENT
    task = asyncio.create_task(flatten(alura, patience=20))
    async with asyncio.timeout(10):
        while not ended(sandbox):
            await asyncio.sleep(0.01)
    task.cancel()


async def test_a_close_that_was_cancelled_when_it_had_left_is_waited_for_by_a_later_one(raw: RawServer) -> None:
    listing = Listing(raw, [{"id": "s1", "tradeId": "t1"}], None, "nothing")
    raw.routes["/user/close-all-positions"] = [hang]
    async with client(raw.url, token="t") as alura:
        task = asyncio.create_task(flatten(alura, patience=20))
        while not listing.closes():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(NotFlatError):
            await flatten(alura, patience=20, timeout=0.2)
    assert listing.closes() == ["/user/close-all-positions"]


async def test_without_waits_three_reads_are_enough(alura: AsyncAlura, sandbox: Sandbox) -> None:
    await open_some(alura, "BTC")
    with no_waits():
        found = await flatten(alura, patience=60, timeout=10)
    assert (found.reads, len(ended(sandbox))) == (4, 1)


async def test_without_waits_it_makes_no_more_rounds_than_with_them(raw: RawServer) -> None:
    raw.answers = [reply('{"message":"down"}', "503 Service Unavailable")]
    async with client(raw.url, token="t", retry=Retry(attempts=1)) as alura:
        began = time.monotonic()
        with (
            no_waits(),
            pytest.raises(NotFlatError, match=r"not flat after 41 rounds: .*; \d+ calls failed on the way"),
        ):
            await flatten(alura, timeout=20, patience=2)
    assert time.monotonic() - began < 10
    assert raw.paths().count("GET /trading-sessions/active") == 1 + 20 / (2 / 4)


async def test_of_very_many_failures_the_first_and_the_last_are_kept(raw: RawServer) -> None:
    numbers = itertools.count(1)
    last = 0

    async def refuse(request: Any, writer: object) -> bytes:
        nonlocal last
        last = next(numbers)
        return reply(f'{{"message":"down {last}"}}', "503 Service Unavailable")

    raw.answers = [refuse]
    async with client(raw.url, token="t", retry=Retry(attempts=1)) as alura:
        with no_waits(), pytest.raises(NotFlatError) as raised:
            await flatten(alura, timeout=2, patience=0)
    failures = raised.value.failures
    assert len(failures) == 100
    (counted,) = re.findall(r"(\d+) calls failed on the way", str(raised.value))
    # On a slow machine its time ends in the middle of a call or two, which the server alone has counted, or we.
    assert abs(int(counted) - last) <= 5
    numbered = [int(number) for failure in failures for number in re.findall(r"down (\d+)", str(failure))]
    assert sorted(numbered[:50]) == list(range(1, 51))
    assert set(numbered[50:]) <= set(range(last - 52, last + 1))


async def test_of_very_many_answers_the_first_and_the_last_are_kept(raw: RawServer) -> None:
    listing = Listing(raw, [{"id": "s1", "tradeId": "t1"}], None, "nothing")
    number = 0

    async def accept(request: Any, writer: object) -> bytes:
        nonlocal number
        number += 1
        if number == 105:
            listing.shown["/trading-sessions/active"] = []
        return reply(f'{{"status":"closed","closedPositions":{number}}}', "201 Created")

    raw.answers = [accept]
    async with client(raw.url, token="t") as alura:
        with no_waits():
            found = await flatten(alura, timeout=20, patience=0)
    assert found.closing_count == number >= 105
    assert [closing.closed_positions for closing in found.closings] == [*range(1, 51), *range(number - 49, number + 1)]
    assert (found.failures, found.failure_count) == ((), 0)


async def test_who_cannot_call_is_told_so_at_once(sandbox: Sandbox) -> None:
    async with client(sandbox.url) as alura:
        with pytest.raises(CredentialsNeededError):
            await flatten(alura)
    with pytest.raises(ClosedError):
        await flatten(alura)
    for arguments in ({"timeout": 0}, {"timeout": float("inf")}, {"patience": -1}, {"patience": float("nan")}):
        with pytest.raises(InvalidArgumentError, match="finite numbers of seconds"):
            await flatten(alura, **arguments)


async def test_a_client_that_is_closed_meanwhile_ends_it(alura: AsyncAlura) -> None:
    task = asyncio.create_task(flatten(alura, patience=0.4))
    await asyncio.sleep(0.05)
    await alura.close()
    with pytest.raises(ClosedError):
        await asyncio.wait_for(task, 2)


# Servers that list things in other ways


class Listing:
    """A server whose reads show what it is told, until a close arrives that it wants."""

    def __init__(self, raw: RawServer, active: list[Any], trade: Any, wants: str) -> None:
        self.raw = raw
        self.shown: dict[str, Any] = {"/trading-sessions/active": active, "/trading-sessions/current-trade": trade}
        self.wants = wants
        raw.routes = {path: [self.read] for path in self.shown}
        raw.answers = [self.close]

    async def read(self, request: Any, writer: object) -> bytes:
        content = self.shown[request.path]
        if content is None:
            return reply('{"statusCode":404,"message":"No current trade"}', "404 Not Found")
        return reply(msgspec.json.encode(content))

    async def close(self, request: Any, writer: object) -> bytes:
        if request.path != self.wants:
            return reply('{"message":"no"}', "404 Not Found")
        self.shown = {"/trading-sessions/active": [], "/trading-sessions/current-trade": None}
        return reply('{"status":"closed"}', "201 Created")

    def closes(self) -> list[str]:
        return [each.path for each in self.raw.received if each.method == "POST"]


POSITION = {"id": "p1", "status": "open", "symbol": "HYPE", "tradeId": "t1"}


@pytest.mark.parametrize(
    ("active", "trade", "wants"),
    [
        ([{"id": "s1"}], None, "/user/close-all-positions"),
        ([{"id": "s1", "tradeId": "t1"}], None, "/trading-sessions/trades/t1/close"),
        ([{"id": "s1", "tradeId": "t1", "status": "in limbo"}], None, "/trading-sessions/trades/t1/close"),
        ([{"id": "s1", "assetIndex": 5}], None, "/user/close-position"),
        (
            [{"id": "s1"}],
            {"id": "t1", "sessionId": "s1", "positions": [POSITION]},
            "/trading-sessions/positions/p1/close",
        ),
        ([], {"id": "t1", "status": "active"}, "/trading-sessions/trades/t1/close"),
        ([], {"id": "t1", "positions": [POSITION]}, "/trading-sessions/trades/t1/close"),
        ([], {"id": "t1", "status": "closed", "positions": [POSITION]}, "/trading-sessions/positions/p1/close"),
        (
            [{"id": "s1", "status": "closed"}],
            {"id": "t1", "positions": [POSITION]},
            "/trading-sessions/positions/p1/close",
        ),
    ],
)
async def test_what_has_no_session_or_no_trade_is_closed_by_what_it_has(
    raw: RawServer, active: list[Any], trade: Any, wants: str
) -> None:
    listing = Listing(raw, active, trade, wants)
    async with client(raw.url, token="t") as alura:
        found = await flatten(alura, patience=0.04, timeout=5)
    assert listing.closes()[0] == "/user/close-all-positions"
    assert listing.closes()[-1] == wants
    assert len(found.closings) == 1
    # On a connection that others used, a stray reply would be taken for what is open.
    assert raw.connections == len(raw.received)


async def test_flat_is_only_what_is_flat_in_one_go_and_in_both_reads(raw: RawServer) -> None:
    empty, nothing = reply("[]"), reply("null")
    raw.routes = {
        "/trading-sessions/active": [empty, empty, reply('[{"id":"s1","tradeId":"t1"}]'), empty],
        "/trading-sessions/current-trade": [nothing],
    }
    raw.answers = [reply("", "201 Created")]
    async with client(raw.url, token="t") as alura:
        assert (await flatten(alura, patience=0, timeout=5)).reads == 6
        raw.routes["/trading-sessions/current-trade"] = [reply("{}", "500 Oh")]
        with pytest.raises(NotFlatError, match="current-trade"):
            await flatten(alura, patience=0, timeout=0.2)


@pytest.mark.parametrize(
    "partial",
    [
        reply('{"count":3,"sessions":[]}'),
        reply('{"data":[{"id":"s1","status":"closed"}],"total":2,"page":1}'),
        reply('{"data":[],"hasMore":true}'),
        reply("[]", headers={"Link": '</x?page=2>; rel="next"'}),
    ],
)
async def test_an_incomplete_list_shows_nobody_that_it_is_flat(raw: RawServer, partial: bytes) -> None:
    raw.routes = {
        "/trading-sessions/active": [partial],
        "/trading-sessions/current-trade": [reply("null")],
    }
    raw.answers = [reply('{"status":"closed"}', "201 Created")]
    async with client(raw.url, token="t") as alura:
        with pytest.raises(NotFlatError, match=r"active\(\) listed only a part of the sessions"):
            await flatten(alura, patience=0.02, timeout=0.3)
        # What is on the other pages is closed too, again and again.
        assert raw.paths().count("POST /user/close-all-positions") >= 2
        raw.routes["/trading-sessions/active"] = [partial, partial, reply('{"data":[],"total":0}')]
        assert (await flatten(alura, patience=0, timeout=5)).reads == 3


@pytest.mark.parametrize("status", ["active", None])
async def test_what_will_be_closed_later_is_closed_now(raw: RawServer, status: str | None) -> None:
    session = {"id": "s1", "tradeId": "t1", "status": status, "closedAt": "2190-01-01T00:00:00Z"}
    listing = Listing(raw, [session], None, "/user/close-all-positions")
    async with client(raw.url, token="t") as alura:
        found = await flatten(alura, patience=0.02, timeout=5)
    assert listing.closes() == ["/user/close-all-positions"]
    assert [session.id for session in found.sessions] == ["s1"]


async def test_what_was_closed_unseen_is_not_closed_again_when_it_shows(raw: RawServer) -> None:
    sent: list[tuple[float, str]] = []

    async def accept(request: Any, writer: object) -> bytes:
        sent.append((time.monotonic(), request.path))
        return reply("{}", "400 Bad Request") if len(sent) == 1 else reply("", "201 Created")

    listed = reply('[{"id":"s1","tradeId":"t1"}]')
    raw.routes = {
        "/trading-sessions/active": [listed, reply("{}", "500 Oh"), listed],
        "/trading-sessions/current-trade": [reply("null")],
    }
    raw.answers = [accept]
    async with client(raw.url, token="t", retry=Retry(attempts=1)) as alura:
        with pytest.raises(NotFlatError):
            await flatten(alura, patience=0.1, timeout=0.3)
    everything, trade = "/user/close-all-positions", "/trading-sessions/trades/t1/close"
    assert [path for _, path in sent[:3]] == [everything, everything, trade]
    assert sent[2][0] - sent[1][0] >= 0.1


async def test_what_still_shows_after_a_close_is_sent_another_one_only_after_a_while(raw: RawServer) -> None:
    """A server that takes its time and does not say `closing`."""
    sent: list[tuple[float, str]] = []
    session = {"id": "s1", "tradeId": "t1", "status": "active"}

    async def accept(request: Any, writer: object) -> bytes:
        sent.append((time.monotonic(), request.path))
        return reply('{"status":"accepted"}', "201 Created")

    raw.routes = {
        "/trading-sessions/active": [reply(msgspec.json.encode([session]))],
        "/trading-sessions/current-trade": [reply("null")],
    }
    raw.answers = [accept]
    async with client(raw.url, token="t") as alura:
        with pytest.raises(NotFlatError):
            await flatten(alura, patience=0.1, timeout=0.35)
    assert [path for _, path in sent[:2]] == ["/user/close-all-positions", "/trading-sessions/trades/t1/close"]
    assert all(later - sooner >= 0.1 for (sooner, _), (later, _) in itertools.pairwise(sent))
    # What reads as closing is given three times as long.
    session["status"] = "closing"
    raw.routes["/trading-sessions/active"] = [reply(msgspec.json.encode([session]))]
    sent.clear()
    async with client(raw.url, token="t") as alura:
        with pytest.raises(NotFlatError):
            await flatten(alura, patience=0.2, timeout=0.5)
        assert sent == []
        with pytest.raises(NotFlatError):
            await flatten(alura, patience=0.2, timeout=0.5)
    assert [path for _, path in sent] == ["/trading-sessions/trades/t1/close"]


async def test_a_server_that_hangs_takes_no_longer_than_the_time_that_was_given(raw: RawServer) -> None:
    raw.answers = [hang]
    async with AsyncAlura(base_url=raw.url, token="t") as alura:
        began = time.monotonic()
        with pytest.raises(NotFlatError, match="failed on the way"):
            await flatten(alura, patience=0.1, timeout=0.3)
        assert time.monotonic() - began < 1
    assert [each.method for each in raw.received[:2]] == ["GET", "GET"]


async def test_while_reads_hang_everything_is_closed_early_and_again_until_it_is_accepted(raw: RawServer) -> None:
    raw.routes = {"/trading-sessions/active": [hang], "/trading-sessions/current-trade": [hang]}
    raw.answers = [*[reply("{}", "400 Bad Request")] * 2, reply('{"status":"closed"}', "201 Created")]
    async with AsyncAlura(base_url=raw.url, token="t") as alura:
        with pytest.raises(NotFlatError) as raised:
            await flatten(alura, patience=0.4, timeout=0.9)
    assert raw.paths().count("POST /user/close-all-positions") >= 3
    # Each of the closes had the time that it needed.
    assert [each.status for each in raised.value.failures if isinstance(each, CallError) and each.status] == [400, 400]


async def test_the_first_reads_are_waited_for_no_longer_than_an_exit_waits_for_anything(
    raw: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alura_async.flatten.EXIT_PATIENCE_S", 0.1, raising=False)
    raw.routes = {"/trading-sessions/active": [hang], "/trading-sessions/current-trade": [hang]}
    async with AsyncAlura(base_url=raw.url, token="t") as alura:
        task = asyncio.create_task(flatten(alura, patience=3, timeout=60))
        async with asyncio.timeout(2.5):
            while "POST /user/close-all-positions" not in raw.paths():
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


_FORKS = """
import os, sys, threading, time, warnings
from alura_async import Alura, AluraError
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of every fork beside threads
alura = Alura(base_url=sys.argv[1], token="t0ken")

def parent():
    try:
        alura.flatten(timeout=20, patience=5)
    except AluraError:
        pass

threading.Thread(target=parent, daemon=True).start()
sys.stdin.readline()
child = os.fork()
if child == 0:
    print(alura.flatten(timeout=15, patience=0.02).reads > 0, flush=True)
    os._exit(0)
os.waitpid(child, 0)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
async def test_a_child_closes_what_its_parent_was_closing_when_it_forked(raw: RawServer) -> None:
    listing = Listing(raw, [{"id": "s1", "tradeId": "t1"}], None, "/user/close-all-positions")
    raw.routes["/user/close-all-positions"] = [hang, listing.close]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _FORKS, raw.url, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    async with asyncio.timeout(30):
        while not listing.closes():
            await asyncio.sleep(0.01)
        output, _ = await process.communicate(b"now\n")
    assert output == b"True\n"
    assert listing.closes() == ["/user/close-all-positions"] * 2


async def test_a_close_that_the_server_wants_later_does_not_hold_up_other_ways(raw: RawServer) -> None:
    listing = Listing(raw, [{"id": "s1", "tradeId": "t1"}], None, "/trading-sessions/trades/t1/close")
    asks = reply("{}", "429 Too Many Requests", headers={"Retry-After": "60"})
    raw.routes["/user/close-all-positions"] = [asks]
    async with client(raw.url, token="t", retry=Retry(attempts=1)) as alura:
        task = asyncio.create_task(flatten(alura, patience=2, timeout=60))
        while not listing.closes():
            await asyncio.sleep(0.01)
        async with asyncio.timeout(1.6):
            while len(listing.closes()) < 2:
                await asyncio.sleep(0.01)
        task.cancel()
    assert listing.closes() == ["/user/close-all-positions", "/trading-sessions/trades/t1/close"]


# Everything at once


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_it_gets_flat_under_faults_of_every_kind(seed: int) -> None:
    """30 % of all reads and closes fail, in every way; effects lag, some closes fail, a session is opened late."""
    async with Sandbox(seed=seed, limit=None) as sandbox, client(sandbox.url, sandbox.wallet()) as alura:
        await alura.auth.login()
        await open_some(alura, "BTC", "ETH", "SOL", "DOGE")
        sandbox.conditions = Conditions(lag=0.1, jitter=0.1, failing_closes=0.3)
        for calls in CALLS:
            sandbox.faults.add(f"{EVERYTHING} 30% on {calls}")
        sandbox.faults.add("delay=100ms x1 on POST /trading-sessions")
        late = asyncio.create_task(alura.trading_sessions.create(budget=50, profit_target=9, asset="AVAX"))
        found = await flatten(alura, patience=0.4, timeout=30)
        created = [entry.detail["session_id"] for entry in sandbox.ledger if entry.kind == "session_created"]
        await asyncio.gather(late, return_exceptions=True)
        assert isinstance(found, Flattened)
        assert len(created) == 5
        assert ended(sandbox) == sorted(created)
        assert set(asked(sandbox).values()) == {1}
        assert refused_as_closing(sandbox) == []
        assert any(request.fault for request in sandbox.requests)
        assert found.duration.total_seconds() < 20
