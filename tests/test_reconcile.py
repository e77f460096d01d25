"""A reply that was lost is settled by reading, and by nothing that another client did: always against the ledger."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeAlias, TypeVar

import msgspec
import pytest

from alura_async import (
    AluraError,
    AsyncAlura,
    DuplicateAssetError,
    JournalEntry,
    JournalError,
    Lane,
    Outcome,
    OutcomeUnknownError,
    RateLimiter,
    Reply,
    Request,
    Retry,
    SessionStatus,
    Timeouts,
    TradingSession,
    TradingSessions,
    User,
    no_waits,
)
from alura_async.core import reading
from alura_async.core.entries import intent
from alura_async.core.reading import SharedReads
from alura_async.core.reconcile import Settlement, Verdict, candidates, settle
from alura_async.sandbox import Conditions, Sandbox

pytestmark = [pytest.mark.anyio, pytest.mark.waits]

T = TypeVar("T")

# Years from this machine's clock: what is compared must be the server's.
START = datetime(2024, 5, 1, 12, 30, 15, tzinfo=UTC)

QUICK: dict[str, Any] = {"budget": 100, "profit_target": 40, "asset": "BTC"}
CREATES: list[Request[TradingSession]] = [
    TradingSessions.create.request(**QUICK, loss_threshold=5, max_positions=3),
    TradingSessions.create_advance.request(
        amount="100.50", execution_strategy="Degen", strategy_duration="7D", asset="BTC"
    ),
]
PLAIN = TradingSessions.create.request(**QUICK)
EVERY_CASE = "ALURA_TEST_EVERY_CASE" in os.environ

Book: TypeAlias = dict[str, JournalEntry]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=7, start=START, limit=None) as sandbox:
        yield sandbox


@pytest.fixture
async def alura(sandbox: Sandbox) -> AsyncIterator[AsyncAlura]:
    async with client(sandbox, sandbox.wallet()) as alura:
        await alura.auth.login()
        yield alura


def client(sandbox: Sandbox, key: str) -> AsyncAlura:
    return AsyncAlura(
        base_url=sandbox.url,
        wallet=key,
        timeout=Timeouts(call=2, create=2, read=2, settle=0),
        limiter=RateLimiter.unlimited(),
        retry=Retry(attempts=1),
    )


def entry_of(request: Request[Any]) -> JournalEntry:
    now = datetime.now(UTC)
    return JournalEntry(
        id=uuid.uuid4().hex,
        created_at=now,
        expires_at=now + timedelta(seconds=10),
        host="127.0.0.1",
        account="0x1",
        method=request.method,
        path=request.path,
        action=request.route.action,
        body="" if request.body is None else request.body.decode(),
        fingerprint="",
        pid=1,
    )


def reads_of(
    alura: AsyncAlura,
    *,
    interval_s: float = 0.03,
    before_read: Callable[[int], Awaitable[object]] | None = None,
) -> SharedReads:
    """The reads of a client; `before_read` is called before each with its number, from 1."""
    numbers = itertools.count(1)

    async def read(request: Request[T], timeout: float, /) -> Reply[T]:
        if before_read is not None:
            await before_read(next(numbers))
        return await alura.with_options(timeout=timeout).send_raw(request)

    return SharedReads(read, interval_s=interval_s)


async def make(
    alura: AsyncAlura,
    request: Request[Any],
    book: Book | None = None,
    *,
    limit_s: float = 0.3,
    patience_s: float = 0.15,
    interval_s: float = 0.03,
    before_read: Callable[[int], Awaitable[object]] | None = None,
    reads: SharedReads | None = None,
) -> Any:
    """Make a call as the road does: what it returned, how it failed, or what was found out when its reply was lost."""
    book = {} if book is None else book
    entry = entry_of(request)
    book[entry.id] = entry
    sent_at = time.monotonic()

    async def rivals(sessions: Collection[str]) -> Collection[JournalEntry]:
        return list(book.values())

    def conclude(outcome: Outcome, result_id: str | None = None) -> None:
        book[entry.id] = msgspec.structs.replace(entry, outcome=outcome, result_id=result_id)

    try:
        value = await alura.send(request)
    except OutcomeUnknownError:
        settlement = await settle(
            request,
            entry,
            reads or reads_of(alura, interval_s=interval_s, before_read=before_read),
            sent_at=sent_at,
            limit_s=limit_s,
            rivals=rivals,
            patience_s=patience_s,
        )
        conclude(Outcome.DONE if settlement.verdict is Verdict.DONE else Outcome.UNKNOWN, settlement.result_id)
        return settlement
    except AluraError as error:
        conclude(error.outcome)
        return error
    conclude(Outcome.DONE, getattr(value, "id", None))
    return value


def at_first(act: Callable[[], Awaitable[object]]) -> Callable[[int], Awaitable[object]]:
    """What happens before the first read."""

    async def before_read(number: int) -> None:
        if number == 1:
            await act()

    return before_read


def created(sandbox: Sandbox) -> list[str]:
    return [entry.detail["session_id"] for entry in sandbox.ledger if entry.kind == "session_created"]


# Creates


@pytest.mark.parametrize(
    ("fault", "request_"),
    [
        *((fault, CREATES[0]) for fault in ("reset-after", "close-after", "504-after", "truncate", "hang-after")),
        *((fault, CREATES[1]) for fault in ("reset-after", "garbage", "invalid-json", "builder-fee-after=400")),
    ],
)
async def test_a_create_that_was_carried_out_is_settled_to_its_session(
    alura: AsyncAlura, sandbox: Sandbox, fault: str, request_: Request[TradingSession]
) -> None:
    sandbox.faults.add(f"{fault} x1 on POST {request_.path}")
    alura = alura.with_options(timeout=0.2) if fault == "hang-after" else alura
    found = await make(alura, request_, limit_s=2)
    assert found.verdict is Verdict.DONE
    assert [found.value.id] == created(sandbox) == [found.result_id]
    assert found.candidates == ()


@pytest.mark.parametrize("fault", ["reset", "close", "503", "garbage-before"])
async def test_a_create_that_was_not_carried_out_stays_unknown(alura: AsyncAlura, sandbox: Sandbox, fault: str) -> None:
    sandbox.faults.add(f"{fault} x1 on POST /trading-sessions")
    found = await make(alura, CREATES[0], limit_s=0.06)
    assert found == Settlement(Verdict.UNKNOWN)
    assert created(sandbox) == []


async def test_a_server_that_acts_late_and_whose_reads_fail_is_waited_for(alura: AsyncAlura, sandbox: Sandbox) -> None:
    sandbox.conditions = Conditions(lag=60)
    sandbox.faults.add("delay=300ms x1 on POST /trading-sessions")
    sandbox.faults.add("503|reset|garbage|429 x6 on GET /trading-sessions/active")
    found = await make(alura.with_options(timeout=0.1), CREATES[0], limit_s=2, patience_s=0.5)
    assert found.verdict is Verdict.DONE
    assert found.value.status == SessionStatus.PENDING
    assert [found.value.id] == created(sandbox)


async def test_a_read_that_hangs_leaves_time_for_another(alura: AsyncAlura, sandbox: Sandbox) -> None:
    sandbox.faults.add("reset-after x1 on POST /trading-sessions")
    sandbox.faults.add("hang x1 on GET /trading-sessions/active")
    assert (await make(alura, CREATES[0], limit_s=0.6)).verdict is Verdict.DONE


OTHERS: list[Request[TradingSession]] = [
    TradingSessions.create.request(**{**QUICK, "budget": "100.000001"}),
    TradingSessions.create.request(**{**QUICK, "profit_target": 41}),
    TradingSessions.create.request(**QUICK, loss_threshold=5),
    TradingSessions.create.request(**QUICK, max_positions=1),
    TradingSessions.create_advance.request(amount=100, execution_strategy="Degen", strategy_duration="7D", asset="BTC"),
]


@pytest.mark.parametrize("other", OTHERS, ids=["budget", "target", "threshold", "positions", "advance"])
async def test_a_session_with_any_other_input_is_shown_and_not_taken(
    alura: AsyncAlura, sandbox: Sandbox, other: Request[TradingSession]
) -> None:
    # The more is left out of ours, the more sessions hold all that we sent.
    sandbox.faults.add("reset x1 on POST /trading-sessions")
    with no_waits():
        found = await make(alura, PLAIN, limit_s=2, interval_s=0.5, before_read=at_first(lambda: alura.send(other)))
    assert found.verdict is Verdict.UNKNOWN
    assert [candidate.id for candidate in found.candidates] == created(sandbox) != []


async def test_a_session_from_before_the_call_is_not_taken(alura: AsyncAlura, sandbox: Sandbox) -> None:
    await alura.send(CREATES[0])
    sandbox.advance(seconds=3)
    sandbox.faults.add("reset x1 on POST /trading-sessions")
    assert await make(alura, CREATES[0], limit_s=0.1) == Settlement(Verdict.UNKNOWN)


async def test_a_session_from_long_after_the_loss_is_shown_and_not_taken(alura: AsyncAlura, sandbox: Sandbox) -> None:
    sandbox.faults.add("reset x1 on POST /trading-sessions")
    # To the replies, the clock does not jump.
    sandbox.faults.add("headers=Date:" + f'"{format_datetime(START, usegmt=True)}" on GET /trading-sessions/active')

    async def create_later() -> None:
        sandbox.advance(minutes=1)
        (lost,) = await alura.journal.unresolved()
        await alura.journal.settle(lost.id, "rejected")
        await alura.send(CREATES[0])

    with no_waits():
        found = await make(alura, CREATES[0], limit_s=2, interval_s=0.5, before_read=at_first(create_later))
    assert (found.verdict, [each.id for each in found.candidates]) == (Verdict.UNKNOWN, created(sandbox))
    assert len(created(sandbox)) == 1


CASES = list(
    itertools.product(
        ["reset", "reset-after", "delay=100ms"],
        ["before", "during", "after"],
        ["", "reset", "reset-after"],
        ["equal", "different"],
        [0, 60],
        ["two clients", "one client"],
    )
)


@pytest.mark.parametrize(
    ("fault", "when", "rival_fault", "inputs", "lag", "whose"), CASES if EVERY_CASE else CASES[::13]
)
async def test_of_two_creates_of_one_account_none_takes_the_session_of_the_other(
    sandbox: Sandbox, fault: str, when: str, rival_fault: str, inputs: str, lag: int, whose: str
) -> None:
    """Of equal calls the journal tells whose it is; calls that differ need none. Those of one client share reads."""
    sandbox.conditions = Conditions(lag=lag)
    key = sandbox.wallet()
    # The query is nothing to the server: it tells the test whose call was carried out.
    ours = msgspec.structs.replace(CREATES[0], query="by=us")
    theirs = msgspec.structs.replace(CREATES[0] if inputs == "equal" else OTHERS[2], query="by=them")
    book: Book = {}
    their_book = book if inputs == "equal" else Book()
    async with client(sandbox, key) as alura, client(sandbox, key) as rival:
        await alura.auth.login()
        await rival.auth.login()
        us = alura
        reads = their_reads = None
        if whose == "one client":
            reads = their_reads = reads_of(alura)
        if fault.startswith("delay"):
            # We give up before the server acts.
            us = alura.with_options(timeout=0.05)

        async def call_them() -> Any:
            if rival_fault:
                sandbox.faults.add(f"{rival_fault} x1 on POST /trading-sessions")
            return await make(rival, theirs, their_book, limit_s=0.07, reads=their_reads)

        async def call_us() -> Any:
            sandbox.faults.add(f"{fault} x1 on POST /trading-sessions")
            return await make(us, ours, book, limit_s=0.12, reads=reads)

        async def after(delay: float, call: Any) -> Any:
            await asyncio.sleep(delay)
            return await call()

        match when:
            case "before":
                theirs_found = await call_them()
                ours_found = await call_us()
            case "during":
                ours_found, theirs_found = await asyncio.gather(call_us(), call_them())
            case _:
                ours_found, theirs_found = await asyncio.gather(call_us(), after(0.07, call_them))
    posts = [each for each in sandbox.requests if each.path == "/trading-sessions"]
    carried_out = [each.query["by"] for each in posts if each.executed]
    assert len(posts) == 2
    assert len(created(sandbox)) == len(carried_out) <= 1
    for name, found in (("us", ours_found), ("them", theirs_found)):
        session = found.value if isinstance(found, Settlement) else found
        if isinstance(session, TradingSession):
            assert carried_out == [name]
            assert [session.id] == created(sandbox)
    if fault == "reset" and when == "before" and not rival_fault and inputs == "equal":
        # It is known to be theirs, so it is not even shown.
        assert ours_found.verdict is Verdict.UNKNOWN
        assert ours_found.candidates == ()
        assert isinstance(theirs_found, TradingSession)


async def test_many_lost_creates_need_no_more_reads_than_one_and_each_finds_its_own(
    alura: AsyncAlura, sandbox: Sandbox
) -> None:
    reads = reads_of(alura, interval_s=0.1)
    book: Book = {}

    async def make_all(budget: int, limit_s: float) -> list[Any]:
        creates = [TradingSessions.create.request(budget=budget, profit_target=40, asset=asset) for asset in range(40)]
        return await asyncio.gather(*[make(alura, each, book, limit_s=limit_s, reads=reads) for each in creates])

    sandbox.faults.add("reset-after x40 on POST /trading-sessions")
    found = await make_all(20, limit_s=2)
    assert [each.value.asset_index for each in found] == list(range(40))
    assert {each.result_id for each in found} == set(created(sandbox))
    # What was not carried out is looked for as long as there is time.
    sandbox.faults.add("reset x40 on POST /trading-sessions")
    began, looked = time.monotonic(), how_often_it_was_looked(sandbox)
    assert all(each.verdict is Verdict.UNKNOWN for each in await make_all(30, limit_s=0.3))
    assert 2 <= how_often_it_was_looked(sandbox) - looked <= 1 + (time.monotonic() - began) / 0.1


async def test_a_close_leaves_at_once_however_many_creates_are_settling(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = RateLimiter(rate=10, burst=44, concurrency=50)
    async with AsyncAlura(sandbox.wallet(), base_url=sandbox.url, limiter=limiter) as alura:
        to_close = await alura.trading_sessions.create(**QUICK)
        sandbox.faults.add("reset-after x39 on POST /trading-sessions")
        async with asyncio.TaskGroup() as group:
            creates = [
                group.create_task(alura.trading_sessions.create(budget=20, profit_target=40, asset=asset))
                for asset in range(1, 40)
            ]
            while sum("no complete reply came" in each.getMessage() for each in caplog.records) < 39:
                await asyncio.sleep(0.01)
            before = len(sandbox.requests)
            await alura.user.close_position(asset="BTC")
            # One read may have been on its way.
            assert "/user/close-position" in [each.path for each in list(sandbox.requests)[before : before + 2]]
    assert {to_close.id, *(each.result().id for each in creates)} == set(created(sandbox))
    assert len(created(sandbox)) == 40
    assert how_often_it_was_looked(sandbox) <= 3


def how_often_it_was_looked(sandbox: Sandbox) -> int:
    return sum(each.path == "/trading-sessions/active" for each in sandbox.requests)


async def test_a_create_of_ours_that_is_alone_is_taken_although_others_were_refused(
    alura: AsyncAlura, sandbox: Sandbox
) -> None:
    book: Book = {}
    sandbox.faults.add("reset-after x1 on POST /trading-sessions")
    found, refused = await asyncio.gather(make(alura, CREATES[0], book, limit_s=2), make(alura, CREATES[0], book))
    assert isinstance(refused, DuplicateAssetError)
    assert [found.value.id] == created(sandbox)


@pytest.mark.parametrize("outcome", [None, Outcome.UNKNOWN, Outcome.DONE])
async def test_while_an_equal_create_is_open_nothing_is_taken(
    alura: AsyncAlura, sandbox: Sandbox, outcome: Outcome | None
) -> None:
    rival = msgspec.structs.replace(entry_of(CREATES[0]), outcome=outcome)
    sandbox.faults.add("reset-after x1 on POST /trading-sessions")
    found = await make(alura, CREATES[0], {rival.id: rival}, limit_s=0.1)
    assert (found.verdict, [each.id for each in found.candidates]) == (Verdict.UNKNOWN, created(sandbox))


@pytest.mark.parametrize(
    "known",
    [{"outcome": Outcome.DONE, "result_id": "ses_0"}, {"outcome": Outcome.REJECTED}, {"outcome": Outcome.NOT_SENT}],
)
async def test_equal_creates_whose_end_is_known_do_not_matter(known: dict[str, Any]) -> None:
    rival = msgspec.structs.replace(entry_of(PLAIN), **known)

    async def rivals(sessions: Collection[str]) -> Collection[JournalEntry]:
        return (rival,)

    assert (await Server([listed()]).settle(PLAIN, rivals)).verdict is Verdict.DONE


async def test_what_a_duplicate_ran_into_is_shown(alura: AsyncAlura, sandbox: Sandbox) -> None:
    session = await alura.send(CREATES[0])
    await alura.trading_sessions.create(budget=100, profit_target=40, asset="ETH")
    reads = reads_of(alura)
    shown = await candidates(CREATES[0], reads, limit_s=1)
    assert [each.id for each in shown] == [session.id]
    sandbox.faults.add("503 on GET /trading-sessions/active")
    assert await candidates(CREATES[0], reads, limit_s=1) == ()
    await alura.close()
    assert await candidates(CREATES[0], reads, limit_s=1) == ()


# What a server may list, read from replies made by hand


class Server:
    """Answers reads with what it is told: the last of several for ever."""

    def __init__(self, *active: Any, trades: list[Any] | None = None, headers: dict[str, str] | None = None) -> None:
        self.active = list(active)
        self.trades = [None] if trades is None else trades
        self.headers = headers or {}
        self.reads = 0

    async def read(self, request: Request[T], timeout: float, /) -> Reply[T]:
        await asyncio.sleep(0)
        self.reads += 1
        queue: list[Any] = self.active if request.path == "/trading-sessions/active" else self.trades
        content = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(content, int):
            return Reply(request, content, self.headers, b'{"message":"no"}')
        body = msgspec.json.encode(content)
        return Reply(request, 200, {"Content-Length": str(len(body)), **self.headers}, body)

    async def settle(self, request: Request[Any], rivals: Any = None) -> Settlement:
        async def nobody(sessions: Collection[str]) -> Collection[JournalEntry]:
            return ()

        with no_waits():
            return await settle(
                request,
                entry_of(request),
                SharedReads(self.read),
                sent_at=time.monotonic(),
                limit_s=10,
                rivals=rivals or nobody,
            )


def listed(**changes: Any) -> dict[str, Any]:
    """A session that is exactly what was asked for."""
    session = {
        "id": "ses_1",
        "tradeId": "trd_1",
        "status": "active",
        "assetIndex": 0,
        "budget": "100.00",
        "profitTarget": 40,
        "createdAt": (datetime.now(UTC) + timedelta(seconds=0.01)).isoformat(),
        **changes,
    }
    return {name: value for name, value in session.items() if value is not None}


def seconds_ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


WITH_ID = TradingSessions.create.request(**QUICK, extra={"clientOrderId": "a1"})


@pytest.mark.parametrize(
    ("changes", "is_ours"),
    [
        ({}, True),
        ({"budget": 100, "profitTarget": "4E+1"}, True),
        ({"status": "closed"}, True),
        ({"maxWalletBudget": False, "symbol": "BTC", "leverage": 3}, True),
        ({"createdAt": None}, False),
        ({"createdAt": seconds_ago(3600)}, False),
        ({"createdAt": seconds_ago(-3600)}, False),
        ({"assetIndex": None}, False),
        ({"budget": None}, False),
        ({"profitTarget": None}, False),
        ({"lossThreshold": 0}, False),
        ({"maxPositions": 1}, False),
        ({"maxWalletBudget": True}, False),
        ({"amount": 100}, False),
        ({"executionStrategy": "Degen"}, False),
    ],
)
async def test_a_session_is_ours_by_every_input_and_its_time(changes: dict[str, Any], is_ours: bool) -> None:
    found = await Server([listed(id="ses_9", assetIndex=1), listed(**changes)]).settle(PLAIN)
    assert (found.verdict is Verdict.DONE) == is_ours
    assert found.result_id == ("ses_1" if is_ours else None)


async def test_what_the_server_echoes_of_a_field_of_ones_own_tells_too() -> None:
    assert (await Server([listed(clientOrderId="a1")]).settle(WITH_ID)).verdict is Verdict.DONE
    assert (await Server([listed()]).settle(WITH_ID)).verdict is Verdict.DONE
    assert (await Server([listed(clientOrderId="a2")]).settle(WITH_ID)).verdict is Verdict.UNKNOWN


async def test_a_yes_or_no_of_ones_own_is_told_by_its_echo_too() -> None:
    request = TradingSessions.create.request(**QUICK, extra={"isHedged": True})
    assert (await Server([listed(isHedged=True)]).settle(request)).verdict is Verdict.DONE
    for echoed in (False, 1, "true"):
        assert (await Server([listed(isHedged=echoed)]).settle(request)).verdict is Verdict.UNKNOWN


async def test_a_session_that_does_not_say_when_it_was_created_is_shown() -> None:
    found = await Server([listed(createdAt=None)]).settle(PLAIN)
    assert [each.id for each in found.candidates] == ["ses_1"]


async def test_of_two_that_could_be_ours_none_is_taken() -> None:
    found = await Server([listed(), listed(id="ses_2")]).settle(PLAIN)
    assert (found.verdict, len(found.candidates)) == (Verdict.UNKNOWN, 2)


async def test_a_create_without_an_asset_takes_nothing() -> None:
    request = TradingSessions.create_advance.request()
    bare = {"id": "ses_1", "createdAt": seconds_ago(-0.01)}
    assert (await Server([bare]).settle(request)).verdict is Verdict.UNKNOWN


async def test_the_servers_clock_is_what_counts() -> None:
    second = (datetime.now(UTC) + timedelta(hours=5)).replace(microsecond=0)

    def far(seconds: float) -> datetime:
        return second + timedelta(seconds=seconds)

    date = format_datetime(second, usegmt=True)
    # A time in whole seconds is that of all of its second.
    for created_at, is_ours in (
        (far(0.5), True),
        (far(0), True),
        (far(-1), True),
        # It may take effect late: five seconds after the loss, which was in this second somewhere.
        (far(5.5), True),
        (far(6.5), False),
        (far(-0.5), False),
        (far(-2), False),
    ):
        server = Server([listed(createdAt=created_at.isoformat())], headers={"Date": date})
        assert (await server.settle(PLAIN)).verdict is (Verdict.DONE if is_ours else Verdict.UNKNOWN)
    # By this machine's clock, none of them is.
    for headers in ({"Date": date, "Age": "60"}, {"Date": "yesterday"}, {}):
        server = Server([listed(createdAt=far(0.01).isoformat())], headers=headers)
        assert (await server.settle(PLAIN)).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(("seconds", "is_ours"), [(1.5, True), (2.5, False), (-6.5, True), (-7.5, False)])
async def test_a_server_that_does_not_tell_its_time_may_be_two_seconds_off(seconds: float, is_ours: bool) -> None:
    server = Server([listed(createdAt=seconds_ago(seconds))])
    assert (await server.settle(PLAIN)).verdict is (Verdict.DONE if is_ours else Verdict.UNKNOWN)


@pytest.mark.parametrize(
    ("around", "headers", "verdict"),
    [
        ({"total": 1}, {}, Verdict.DONE),
        ({"total": 2}, {}, Verdict.UNKNOWN),
        ({"nextCursor": "abc"}, {}, Verdict.UNKNOWN),
        ({}, {"X-Total-Count": "2"}, Verdict.UNKNOWN),
    ],
)
async def test_in_an_incomplete_list_no_session_is_the_only_one(
    around: dict[str, Any], headers: dict[str, str], verdict: Verdict
) -> None:
    found = await Server({"sessions": [listed()], **around}, headers=headers).settle(PLAIN)
    assert found.verdict is verdict
    assert [session.id for session in (found.value, *found.candidates) if session is not None] == ["ses_1"]


@pytest.mark.parametrize("year", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999Z"])
async def test_a_time_at_the_end_of_all_times_is_compared_all_the_same(year: str) -> None:
    found = await Server([listed(createdAt=year)]).settle(PLAIN)
    assert found.verdict is Verdict.UNKNOWN


async def test_the_journal_is_asked_after_the_state_was_read() -> None:
    """Whoever created what was read wrote it down before; asked the other way round, it might be missing."""
    server = Server([], [listed()])
    rival = entry_of(PLAIN)

    async def rivals(sessions: Collection[str]) -> Collection[JournalEntry]:
        return () if server.reads < 2 else (rival,)

    assert (await server.settle(PLAIN, rivals=rivals)).verdict is Verdict.UNKNOWN


async def test_a_journal_that_cannot_be_read_lets_nothing_be_taken() -> None:
    async def rivals(sessions: Collection[str]) -> Collection[JournalEntry]:
        raise JournalError("it is gone")

    found = await Server([listed()]).settle(PLAIN, rivals=rivals)
    assert (found.verdict, len(found.candidates)) == (Verdict.UNKNOWN, 1)


async def test_a_create_whose_inputs_cannot_be_read_may_have_created_anything() -> None:
    rival = msgspec.structs.replace(entry_of(PLAIN), body="{")

    async def rivals(sessions: Collection[str]) -> Collection[JournalEntry]:
        return (rival,)

    found = await Server([listed()]).settle(PLAIN, rivals)
    assert (found.verdict, len(found.candidates)) == (Verdict.UNKNOWN, 1)


@pytest.mark.parametrize(
    ("name", "rivals_value", "verdict"),
    [
        ("note", "BTC", Verdict.UNKNOWN),
        ("note", "another", Verdict.DONE),
        # The journal keeps no secret, so nobody can say what the rival sent.
        ("tokenSymbol", "BTC", Verdict.UNKNOWN),
        ("tokenSymbol", "another", Verdict.UNKNOWN),
        ("note", "0x" + "ab" * 32, Verdict.UNKNOWN),
    ],
)
async def test_what_the_journal_blanked_out_tells_no_two_creates_apart(
    name: str, rivals_value: str, verdict: Verdict
) -> None:
    theirs = TradingSessions.create.request(**QUICK, extra={name: rivals_value})
    rival = intent(theirs, host="127.0.0.1", account="0x1", within_s=10)
    ours = TradingSessions.create.request(**QUICK, extra={name: "BTC"})

    async def rivals(sessions: Collection[str]) -> Collection[JournalEntry]:
        return (rival,)

    found = await Server([listed(**{name: "BTC"})]).settle(ours, rivals)
    assert found.verdict is verdict


async def test_a_journal_that_hangs_does_not_hold_up_the_end(alura: AsyncAlura) -> None:
    async def rivals(sessions: Collection[str]) -> Collection[JournalEntry]:
        await asyncio.sleep(30)
        return ()

    began = time.monotonic()
    found = await settle(PLAIN, entry_of(PLAIN), reads_of(alura), sent_at=time.monotonic(), limit_s=0.1, rivals=rivals)
    assert found == Settlement(Verdict.UNKNOWN)
    assert time.monotonic() - began < 0.9


async def test_without_waits_the_reads_are_as_many_and_take_no_time() -> None:
    server = Server([])
    began = time.monotonic()
    assert (await server.settle(PLAIN)).verdict is Verdict.UNKNOWN
    assert server.reads == 11
    assert time.monotonic() - began < 0.5


async def test_a_cancellation_passes_through(alura: AsyncAlura, sandbox: Sandbox) -> None:
    sandbox.faults.add("reset x1 on POST /trading-sessions")
    task = asyncio.create_task(make(alura, CREATES[0], limit_s=30))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "request_",
    [
        User.withdraw.request(amount=5),
        User.send_usdc.request(amount=5, destination="0x" + "1" * 40),
        User.claim_reward.request(),
        TradingSessions.trigger_cron.request(),
        TradingSessions.close_signature.request("pos_1"),
    ],
)
async def test_what_no_read_can_tell_is_unknown_at_once(request_: Request[Any]) -> None:
    server = Server([listed()])
    assert await server.settle(request_) == Settlement(Verdict.UNKNOWN)
    assert server.reads == 0


# Closes

CLOSE_TRADE = TradingSessions.close_trade.request("trd_1")
CLOSE_POSITION = TradingSessions.close_position.request("pos_1")
CLOSE_ASSET = User.close_position.request(asset="BTC")
CLOSE_ALL = User.close_all_positions.request()
OLD, NEW = {"createdAt": "2024-05-01T12:00:00Z"}, {"createdAt": "2124-05-01T12:00:00Z"}


def shown(trade: str = "trd_1", *positions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"id": trade, "status": "active", "positions": list(positions), **changes}


def held(name: str = "pos_1", status: str = "active", **changes: Any) -> dict[str, Any]:
    return {"id": name, "status": status, "assetIndex": 0, **changes}


DONE, OPEN, UNKNOWN = Verdict.DONE, Verdict.STILL_OPEN, Verdict.UNKNOWN
ACTIVE, CLOSING = listed(**OLD), listed(status="closing", **OLD)
PART = {"sessions": [listed(id="ses_2", tradeId="trd_2", status="closed", **OLD)], "total": 2}


@pytest.mark.parametrize(
    ("request_", "active", "trades", "verdict", "status"),
    [
        # It reads as closed.
        (CLOSE_TRADE, [[listed(status="closed")]], None, DONE, "closed"),
        (CLOSE_TRADE, [[listed(status=None, closedAt=seconds_ago(0))]], None, DONE, "closed"),
        (CLOSE_TRADE, [[listed(status="stopped", closedAt=seconds_ago(0))]], None, DONE, "closed"),
        (CLOSE_TRADE, [[listed(status="closed", closedAt=NEW["createdAt"])]], None, DONE, "closed"),
        # It is to be closed later, or its status says otherwise.
        (CLOSE_TRADE, [[listed(status=None, closedAt=NEW["createdAt"])]], None, UNKNOWN, None),
        (CLOSE_TRADE, [[listed(closedAt=NEW["createdAt"])]], None, UNKNOWN, None),
        (CLOSE_TRADE, [[listed(closedAt=seconds_ago(0))]], None, UNKNOWN, None),
        (CLOSE_TRADE, [[listed(status="OPEN", closedAt=seconds_ago(0))]], None, UNKNOWN, None),
        (CLOSE_TRADE, [[listed(status="closing", closedAt=seconds_ago(0))]], None, DONE, "closing"),
        (CLOSE_POSITION, [[ACTIVE]], [shown("trd_1", held(closedAt=NEW["createdAt"]))], UNKNOWN, None),
        (CLOSE_ASSET, [[listed(status=None, closedAt=NEW["createdAt"], **OLD)], []], None, DONE, "closed"),
        # What was opened since, and will be closed some day, was not closed by this.
        (CLOSE_ASSET, [[listed(closedAt="2125-05-01T12:00:00Z", **NEW)]], None, UNKNOWN, None),
        # It is missing from a list that is incomplete.
        (CLOSE_TRADE, [[CLOSING], PART], None, UNKNOWN, None),
        (CLOSE_ALL, [[CLOSING], PART], None, UNKNOWN, None),
        (CLOSE_TRADE, [[CLOSING], [], [], PART, [], [], 503], None, UNKNOWN, None),
        (CLOSE_TRADE, [{"sessions": [listed(status="closed")], "total": 2}], None, DONE, "closed"),
        (CLOSE_TRADE, [{"sessions": [CLOSING], "total": 2}], None, DONE, "closing"),
        (CLOSE_TRADE, [{"sessions": [ACTIVE], "total": 2}], None, OPEN, None),
        # What else there is on other pages, nobody knows.
        (CLOSE_ALL, [{"sessions": [CLOSING], "total": 2}], None, UNKNOWN, None),
        (CLOSE_ASSET, [{"sessions": [ACTIVE], "total": 2}], None, UNKNOWN, None),
        (CLOSE_POSITION, [[ACTIVE]], [shown("trd_1", held(status="closed"), held("pos_2"))], DONE, "closed"),
        # It reads as closing until the end.
        (CLOSE_TRADE, [[CLOSING]], None, DONE, "closing"),
        (CLOSE_POSITION, [[ACTIVE]], [shown("trd_1", held(status="closing"))], DONE, "closing"),
        (CLOSE_ALL, [[CLOSING]], None, DONE, "closing"),
        # It was listed after the loss, and then no more.
        (CLOSE_TRADE, [[CLOSING], []], None, DONE, "closed"),
        (CLOSE_POSITION, [[CLOSING], []], [shown("trd_1", held(status="closing")), None], DONE, "closed"),
        (CLOSE_POSITION, [[ACTIVE]], [shown("trd_1", held(status="closing")), shown()], DONE, "closed"),
        (CLOSE_POSITION, [[CLOSING], []], [shown("trd_1", held(status="closing")), shown("trd_2")], DONE, "closed"),
        (CLOSE_ASSET, [[CLOSING], []], None, DONE, "closed"),
        (CLOSE_ASSET, [[CLOSING], [listed(id="ses_2", **NEW)]], None, DONE, "closed"),
        (CLOSE_ALL, [[CLOSING], []], [404], DONE, "closed"),
        # It was closed since.
        (CLOSE_ASSET, [[listed(status="closed", closedAt=NEW["createdAt"])]], None, DONE, "closed"),
        (CLOSE_ASSET, [[listed(status="closed", closedAt=OLD["createdAt"])]], None, UNKNOWN, None),
        # It was not listed, or the trade that is shown is another one.
        (CLOSE_TRADE, [[]], None, UNKNOWN, None),
        (CLOSE_POSITION, [[]], None, UNKNOWN, None),
        (CLOSE_ASSET, [[]], None, UNKNOWN, None),
        (CLOSE_ALL, [[]], None, UNKNOWN, None),
        (CLOSE_TRADE, [[CLOSING], [], [], [CLOSING], [], [], 503], None, UNKNOWN, None),
        (CLOSE_TRADE, [[CLOSING], []], [None, 500], DONE, "closing"),
        (CLOSE_POSITION, [[ACTIVE]], [shown("trd_1", held(status="closing")), shown("trd_2")], UNKNOWN, None),
        (CLOSE_POSITION, [[]], [shown("trd_1", held(status="closing")), shown("trd_2")], UNKNOWN, None),
        # No trade is shown any more, and the session goes on.
        (CLOSE_POSITION, [[ACTIVE]], [shown("trd_1", held(status="closing")), None], UNKNOWN, None),
        # No read succeeded.
        (CLOSE_TRADE, [503], None, UNKNOWN, None),
        (CLOSE_TRADE, [[CLOSING]], [500], UNKNOWN, None),
        # Other trades do not matter, and of a trade only what it says of itself.
        (CLOSE_TRADE, [[listed(status="closed"), listed(id="ses_2", tradeId="trd_2", **OLD)]], None, DONE, "closed"),
        (
            CLOSE_TRADE,
            [[listed(status="closed")]],
            [shown("trd_1", held(status="closing"), status="closed")],
            DONE,
            "closed",
        ),
        # It is open.
        (CLOSE_TRADE, [[ACTIVE]], None, OPEN, None),
        (CLOSE_TRADE, [[listed(**NEW)]], None, OPEN, None),
        (CLOSE_TRADE, [[listed(status="closed")]], [shown("trd_1", held())], OPEN, None),
        (CLOSE_TRADE, [[listed(status=None)]], None, OPEN, None),
        (CLOSE_TRADE, [[]], [shown("trd_1", held(), status=None)], OPEN, None),
        (CLOSE_POSITION, [[CLOSING]], [shown("trd_1", held())], OPEN, None),
        (CLOSE_POSITION, [[ACTIVE]], [shown("trd_1", held(assetIndex=None))], OPEN, None),
        (CLOSE_ASSET, [[ACTIVE, listed(id="ses_2", assetIndex=1)]], None, OPEN, None),
        (
            CLOSE_ALL,
            [[ACTIVE]],
            [shown("trd_1", held(openedAt=OLD["createdAt"]), openedAt=OLD["createdAt"])],
            OPEN,
            None,
        ),
        # It is open, and what else would be closed?
        (CLOSE_ASSET, [[listed(**NEW)]], None, UNKNOWN, None),
        (CLOSE_ASSET, [[listed(createdAt=None)]], None, UNKNOWN, None),
        (CLOSE_ASSET, [[ACTIVE, listed(id="ses_2", **NEW)]], None, UNKNOWN, None),
        (CLOSE_ASSET, [[listed(assetIndex=None, **OLD)]], None, UNKNOWN, None),
        (CLOSE_ASSET, [[ACTIVE]], [shown("trd_1", held(assetIndex=None, openedAt=OLD["createdAt"]))], UNKNOWN, None),
        (CLOSE_ALL, [[ACTIVE, listed(id="ses_2", **NEW)]], None, UNKNOWN, None),
        (CLOSE_ALL, [[ACTIVE]], [shown("trd_1", held())], UNKNOWN, None),
        (CLOSE_ALL, [[ACTIVE, listed(id="ses_2", status="closing", **OLD)]], None, UNKNOWN, None),
        # Whatever this word means.
        (CLOSE_TRADE, [[listed(status="settling", **OLD)]], None, UNKNOWN, None),
        (CLOSE_ALL, [[listed(status="settling", **OLD)]], None, UNKNOWN, None),
    ],
)
async def test_what_the_reads_say_of_a_close(
    request_: Request[Any], active: list[Any], trades: list[Any] | None, verdict: Verdict, status: str | None
) -> None:
    found = await Server(*active, trades=trades).settle(request_)
    assert (found.verdict, found.value and found.value.status) == (verdict, status)
    assert found.candidates == ()


async def test_what_was_listed_is_closed_once_it_is_missing_from_three_readings() -> None:
    server = Server([CLOSING], [])
    assert (await server.settle(CLOSE_TRADE)).verdict is Verdict.DONE
    assert server.reads == 2 * (1 + 3)
    # What is listed as closed since the sending is missing from the first one on.
    server = Server([listed(status="closed", closedAt=NEW["createdAt"])])
    assert (await server.settle(CLOSE_ASSET)).verdict is Verdict.DONE
    assert server.reads == 2 * 3


async def test_reading_ends_with_its_time_however_slow_the_reads_are() -> None:
    limits: list[float] = []

    async def nobody(sessions: Collection[str]) -> Collection[JournalEntry]:
        return ()

    async def read(request: Request[T], timeout: float, /) -> Reply[T]:
        limits.append(timeout)
        await asyncio.sleep(0.04)
        return Reply(request, 200, {"Content-Length": "2"}, b"[]" if request.path.endswith("active") else b"")

    sent_at = time.monotonic()
    for request, reads in ((CLOSE_TRADE, 2), (PLAIN, 1)):
        limits.clear()
        found = await settle(
            request,
            entry_of(request),
            SharedReads(read, interval_s=0.02),
            sent_at=sent_at,
            limit_s=0.05,
            rivals=nobody,
        )
        assert found == Settlement(Verdict.UNKNOWN)
        # One that hangs leaves half of the time to another, and the last one has a moment in any case.
        assert all(0.01 <= limit <= 0.025 for limit in limits)
        assert len(limits) == reads


async def test_no_round_begins_that_could_not_end() -> None:
    begun: list[float] = []

    async def nobody(sessions: Collection[str]) -> Collection[JournalEntry]:
        return ()

    async def read(request: Request[T], timeout: float, /) -> Reply[T]:
        begun.append(timeout)
        await asyncio.sleep(0.1)
        return Reply(request, 200, {"Content-Length": "2"}, b"[]")

    reads = SharedReads(read, interval_s=0.05)
    await settle(PLAIN, entry_of(PLAIN), reads, sent_at=time.monotonic(), limit_s=0.24, rivals=nobody)
    # At most half of the time each, and after two of them there is less left than the interval.
    assert begun == [0.12, 0.12]


def test_the_reads_that_decide_share_no_connection_and_wait_behind_nobody() -> None:
    """On a shared connection a stray reply would be taken for the answer."""
    for request, lane in (
        (reading.ACTIVE, Lane.EXIT_READ),
        (reading.CURRENT_TRADE, Lane.EXIT_READ),
        (reading.CREATED, Lane.SETTLING),
    ):
        assert request.route.own_connection
        assert request.route.lane is lane


async def test_a_settled_close_says_what_is_closed() -> None:
    for request, trade, name, value in (
        (CLOSE_TRADE, None, "trd_1", {"trade_id": "trd_1"}),
        (CLOSE_POSITION, shown("trd_1", held(status="closed")), "pos_1", {"position_id": "pos_1"}),
        (CLOSE_ASSET, None, None, {"asset_index": 0}),
    ):
        found = await Server([CLOSING if trade is None else ACTIVE], trades=[trade]).settle(request)
        named = {
            key: item
            for key in ("trade_id", "position_id", "asset_index")
            if (item := getattr(found.value, key)) is not None
        }
        assert (found.result_id, named) == (name, value)


@pytest.mark.parametrize("way", ["position", "trade", "asset", "all"])
async def test_a_close_that_did_not_arrive_is_found_still_open_and_not_too_soon(
    alura: AsyncAlura, sandbox: Sandbox, way: str
) -> None:
    request, path = await something_to_close(alura, way)
    sandbox.advance(seconds=5)
    sandbox.faults.add(f"reset x1 on POST {path}")
    began = time.monotonic()
    found = await make(alura, request, patience_s=0.1, limit_s=1)
    assert found == Settlement(Verdict.STILL_OPEN)
    assert 0.1 <= time.monotonic() - began < 0.8
    again = await make(alura, request)
    assert again.status == SessionStatus.CLOSED
    assert len([entry for entry in sandbox.ledger if entry.kind.endswith("_closed")]) == 1


@pytest.mark.parametrize(
    ("way", "lag"),
    list(itertools.product(["position", "trade", "asset", "all"], [0, 1, 60])),
)
async def test_a_close_that_was_carried_out_is_never_found_open(
    alura: AsyncAlura, sandbox: Sandbox, way: str, lag: float
) -> None:
    request, path = await something_to_close(alura, way)
    sandbox.advance(seconds=5)
    sandbox.conditions = Conditions(lag=lag, partial=0.5 if lag == 60 else 1)
    sandbox.faults.add(f"reset-after x1 on POST {path}")

    async def go_on(read: int) -> None:
        # The first reading sees it closing.
        sandbox.advance(seconds=1 if read == 3 else 0)

    with no_waits():
        found = await make(alura, request, limit_s=5, interval_s=0.5, before_read=go_on)
    if lag == 0 and way != "position":
        # Gone before the first read: that it is missing proves nothing.
        assert found == Settlement(Verdict.UNKNOWN)
    else:
        assert found.verdict is Verdict.DONE
        assert found.value.status == (SessionStatus.CLOSING if lag == 60 else SessionStatus.CLOSED)
    ended = [name for entry in sandbox.ledger for name in entry.detail.get("closed_sessions", ())]
    assert len(ended) == (lag != 60 and way != "position")


async def test_what_is_missing_counts_as_closed_only_after_a_while(alura: AsyncAlura, sandbox: Sandbox) -> None:
    request, path = await something_to_close(alura, "trade")
    sandbox.conditions = Conditions(lag=60)
    sandbox.faults.add(f"reset-after x1 on POST {path}")
    gone: list[float] = []

    async def go_on(read: int) -> None:
        if read == 3:
            sandbox.advance(minutes=1)
            gone.append(time.monotonic())

    found = await make(alura, request, patience_s=0.2, limit_s=2, before_read=go_on)
    assert (found.verdict, found.value.status) == (Verdict.DONE, SessionStatus.CLOSED)
    assert time.monotonic() - gone[0] >= 0.2


@pytest.mark.parametrize("slow", [2, 3])
async def test_that_while_begins_when_it_was_first_seen_to_be_missing_however_long_that_took(slow: int) -> None:
    began: list[float] = []
    ended: list[float] = []

    async def nobody(sessions: Collection[str]) -> Collection[JournalEntry]:
        return ()

    async def read(request: Request[T], timeout: float, /) -> Reply[T]:
        if request.path.endswith("active"):
            began.append(time.monotonic())
            body = msgspec.json.encode([CLOSING] if len(began) == 1 else [])
        else:
            await asyncio.sleep(0.2 if len(began) == slow else 0)
            ended.append(time.monotonic())
            body = b""
        return Reply(request, 200, {"Content-Length": str(len(body))}, body)

    found = await settle(
        CLOSE_TRADE,
        entry_of(CLOSE_TRADE),
        SharedReads(read, interval_s=0.02),
        sent_at=time.monotonic(),
        limit_s=3,
        rivals=nobody,
        patience_s=0.15,
    )
    assert (found.verdict, found.value.status) == (Verdict.DONE, SessionStatus.CLOSED)
    assert began[-1] - ended[1] >= 0.15
    # It was over before the third of those readings, if the second one took so long.
    assert slow == 2 or len(began) == 4


async def test_a_close_that_fails_on_the_exchange_is_found_still_open(alura: AsyncAlura, sandbox: Sandbox) -> None:
    request, path = await something_to_close(alura, "trade")
    sandbox.conditions = Conditions(lag=0.15, failing_closes=1)
    sandbox.faults.add(f"reset-after x1 on POST {path}")
    found = await make(alura, request, patience_s=0.1, limit_s=1)
    assert found == Settlement(Verdict.STILL_OPEN)
    assert [entry.kind for entry in sandbox.ledger][-1] == "close_failed"


async def test_what_was_opened_after_a_lost_close_is_not_closed_by_it(alura: AsyncAlura, sandbox: Sandbox) -> None:
    request, path = await something_to_close(alura, "asset")
    sandbox.advance(seconds=5)
    sandbox.faults.add(f"reset-after x1 on POST {path}")
    with no_waits():
        found = await make(alura, request, limit_s=2, interval_s=0.5, before_read=at_first(lambda: alura.send(PLAIN)))
    assert found.verdict is Verdict.UNKNOWN
    assert len(created(sandbox)) == 2


async def test_after_the_client_was_closed_nothing_more_is_read(alura: AsyncAlura, sandbox: Sandbox) -> None:
    sandbox.faults.add("reset-after x1 on POST /trading-sessions")
    sandbox.faults.add("503 on GET /trading-sessions/active")
    task = asyncio.create_task(make(alura, CREATES[0], limit_s=30))
    await asyncio.sleep(0.1)
    await alura.close()
    assert await asyncio.wait_for(task, 1) == Settlement(Verdict.UNKNOWN)


async def something_to_close(alura: AsyncAlura, way: str) -> tuple[Request[Any], str]:
    """A close of something that is open, and its path."""
    session = await alura.trading_sessions.create(**QUICK, max_positions=2)
    trade = await alura.trading_sessions.current_trade()
    assert session.trade_id is not None
    assert trade is not None
    assert trade.positions is not None
    request: Request[Any] = {
        "position": TradingSessions.close_position.request(trade.positions[0].id),
        "trade": TradingSessions.close_trade.request(session.trade_id),
        "asset": CLOSE_ASSET,
        "all": CLOSE_ALL,
    }[way]
    return request, request.route.template
