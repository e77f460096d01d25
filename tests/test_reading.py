"""Reads that are made once for all who wait for them, and never show anybody what was before he asked."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, TypeVar

import pytest

from alura_async import AluraError, AsyncAlura, ClosedError, Items, RateLimiter, Reply, Request, TradingSession, User
from alura_async.core.reading import ACTIVE, CREATED, CURRENT_TRADE, Seen, SharedReads
from alura_async.sandbox import Sandbox

pytestmark = [pytest.mark.anyio, pytest.mark.waits]

T = TypeVar("T")


class Server:
    """Answers each read when it is told to, with a list of one session: its id is the number of the read."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[Callable[[], tuple[int, bytes]]]] = []
        self.limits: list[float] = []
        self.requests: list[Request[Any]] = []
        self.times: list[float] = []
        self.under_way = 0
        self.peak = 0

    async def read(self, request: Request[T], timeout: float, /) -> Reply[T]:
        self.limits.append(timeout)
        self.requests.append(request)
        self.times.append(time.monotonic())
        answer: asyncio.Future[Callable[[], tuple[int, bytes]]] = asyncio.get_running_loop().create_future()
        self.begun.append(answer)
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        try:
            status, body = (await answer)()
        finally:
            self.under_way -= 1
        return Reply(request, status, {"Content-Length": str(len(body))}, body)

    def answer(self, number: int, status: int = 200) -> None:
        body = b'[{"id":"ses_%d"}]' % number if status == 200 else b'{"message":"no"}'
        self.begun[number].set_result(lambda: (status, body))

    def fail(self, number: int, error: Exception) -> None:
        def fail() -> tuple[int, bytes]:
            raise error

        self.begun[number].set_result(fail)


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def reads(server: Server) -> AsyncIterator[SharedReads]:
    yield SharedReads(server.read, interval_s=0.01)
    assert server.peak <= 1


def ask(reads: SharedReads, **limits: float) -> asyncio.Task[Seen[Items[TradingSession]] | None]:
    limits = {"seconds": 20, **limits}
    until = time.monotonic() + limits.pop("seconds")
    return asyncio.create_task(reads.ask(CREATED, until=until, **limits))


async def begins(server: Server, number: int) -> None:
    """Wait until a read has begun, and for what else may happen."""
    async with asyncio.timeout(5):
        while len(server.begun) <= number:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)


def ids(*tasks: asyncio.Task[Seen[Items[TradingSession]] | None]) -> list[str]:
    return [seen.value[0].id for task in tasks if (seen := task.result()) is not None]


async def test_whoever_asks_while_a_read_is_under_way_is_told_of_the_next_one(
    server: Server, reads: SharedReads
) -> None:
    first = ask(reads)
    await begins(server, 0)
    asked = time.monotonic()
    later = [ask(reads) for _ in range(50)]
    await asyncio.sleep(0.03)
    assert len(server.begun) == 1
    server.answer(0)
    await begins(server, 1)
    assert not any(task.done() for task in later)
    ended = time.monotonic()
    server.answer(1)
    await asyncio.wait([first, *later], timeout=5)
    assert ids(first) == ["ses_0"]
    assert ids(*later) == ["ses_1"] * 50
    assert len(server.begun) == 2
    for task in later:
        seen = task.result()
        assert seen is not None
        assert asked <= seen.began <= ended <= seen.ended <= time.monotonic()


async def test_a_read_begins_an_interval_after_the_one_before(server: Server) -> None:
    reads = SharedReads(server.read, interval_s=0.1)
    for number in range(3):
        task = ask(reads)
        await begins(server, number)
        server.answer(number)
        await task
    assert [round(after - before, 1) for before, after in zip(server.times, server.times[1:], strict=False)] == [
        0.1
    ] * 2
    assert all(after - before >= 0.099 for before, after in zip(server.times, server.times[1:], strict=False))


async def test_who_has_less_time_than_the_interval_is_told_something_all_the_same(server: Server) -> None:
    reads = SharedReads(server.read, interval_s=60)
    for number in range(2):
        task = ask(reads, seconds=0.2, longest_s=9)
        await begins(server, number)
        server.answer(number)
        await task
        assert ids(task) == [f"ses_{number}"]
    # One half of the time is waited for, the other one is the read's.
    assert 0.08 <= server.limits[1] <= 0.1


async def test_reads_of_another_kind_are_not_waited_for(server: Server) -> None:
    reads = SharedReads(server.read)
    until = time.monotonic() + 5
    tasks = [asyncio.create_task(reads.ask(request, until=until)) for request in (CREATED, ACTIVE, CURRENT_TRADE)]
    await begins(server, 2)
    assert server.requests == [CREATED, ACTIVE, CURRENT_TRADE]
    for number in range(3):
        server.answer(number, 404)
    # That there is no current trade may be said so; of a list it says nothing.
    created, active, trade = await asyncio.gather(*tasks)
    assert created is None
    assert active is None
    assert trade is not None
    assert trade.value is None


async def test_who_is_cancelled_takes_nobody_along(server: Server, reads: SharedReads) -> None:
    tasks = [ask(reads) for _ in range(3)]
    await begins(server, 0)
    tasks[0].cancel()
    tasks[2].cancel()
    await asyncio.sleep(0.02)
    server.answer(0)
    await asyncio.wait(tasks, timeout=5)
    assert [task.cancelled() for task in tasks] == [True, False, True]
    assert ids(tasks[1]) == ["ses_0"]


async def test_a_read_that_nobody_waits_for_is_given_up_and_the_next_one_is_another(
    server: Server, reads: SharedReads
) -> None:
    tasks = [ask(reads) for _ in range(2)]
    await begins(server, 0)
    for task in tasks:
        task.cancel()
    await asyncio.sleep(0)
    # Also for one who comes before it has noticed.
    again = ask(reads)
    await begins(server, 1)
    assert server.begun[0].cancelled()
    server.answer(1)
    await asyncio.wait([again], timeout=5)
    assert ids(again) == ["ses_1"]


async def test_who_gives_up_before_his_read_began_lets_no_other_read_begin_early(
    server: Server, reads: SharedReads
) -> None:
    first = ask(reads)
    await begins(server, 0)
    for _ in range(3):
        task = ask(reads)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        task = ask(reads)
        task.cancel()
    last = ask(reads)
    await asyncio.sleep(0.03)
    assert len(server.begun) == 1
    server.answer(0)
    await begins(server, 1)
    server.answer(1)
    await asyncio.wait([first, last], timeout=5)
    assert ids(first, last) == ["ses_0", "ses_1"]


async def test_a_failure_is_told_to_all_who_waited_and_the_next_read_is_another(
    server: Server, reads: SharedReads, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [AluraError("no"), ValueError("secret"), TimeoutError()]
    for number, failure in enumerate(failures):
        tasks = [ask(reads) for _ in range(5)]
        await begins(server, number)
        server.fail(number, failure)
        assert await asyncio.gather(*tasks) == [None] * 5
        # Nobody raised it again.
        assert len(traceback.extract_tb(failure.__traceback__)) <= 4
    # What no server can have caused is told to whoever looks for it.
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [
        f"GET /trading-sessions/active could not be read: {name}" for name in ("ValueError", "TimeoutError")
    ]
    task = ask(reads)
    await begins(server, 3)
    server.answer(3)
    await task
    assert ids(task) == ["ses_3"]


async def test_when_the_client_is_closed_each_is_told_by_an_error_of_its_own(
    server: Server, reads: SharedReads
) -> None:
    tasks = [ask(reads) for _ in range(5)]
    await begins(server, 0)
    server.fail(0, ClosedError("closed"))
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(error, ClosedError) for error in errors)
    assert len({id(error) for error in errors}) == 5


async def test_a_read_has_the_time_of_the_hastiest_who_share_it(server: Server, reads: SharedReads) -> None:
    tasks = [
        ask(reads, seconds=0.05, longest_s=9),
        ask(reads, seconds=7, longest_s=3),
        ask(reads, seconds=5, longest_s=2),
    ]
    await begins(server, 0)
    await asyncio.sleep(0.05)
    # He whose time is up waits no longer; the others do.
    assert [task.done() for task in tasks] == [True, False, False]
    server.answer(0)
    await asyncio.wait(tasks, timeout=5)
    assert ids(*tasks) == ["ses_0"] * 2
    task = ask(reads, seconds=-1, longest_s=2)
    await begins(server, 1)
    assert await task is None
    task = ask(reads, seconds=5, longest_s=2)
    await begins(server, 2)
    task.cancel()
    task = ask(reads, seconds=7)
    await begins(server, 3)
    task.cancel()
    assert server.limits[:3] == [2, 0.01, 2]
    assert 6.9 <= server.limits[3] <= 7


async def test_one_that_hangs_does_not_take_the_time_of_the_next(server: Server) -> None:
    reads = SharedReads(server.read, interval_s=0.01, hangs_s=0.05)
    first = ask(reads)
    await begins(server, 0)
    later = [ask(reads) for _ in range(3)]
    await begins(server, 1)
    assert server.times[1] - server.times[0] >= 0.05
    server.answer(1)
    await asyncio.wait(later, timeout=5)
    assert ids(*later) == ["ses_1"] * 3
    # It is still the answer of those who asked before it began.
    assert not first.done()
    server.answer(0)
    await asyncio.wait([first], timeout=5)
    assert ids(first) == ["ses_0"]
    assert server.peak == 2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks start eagerly from Python 3.12 on")
async def test_where_tasks_start_eagerly_reads_keep_their_time_and_interval(server: Server) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]
    try:
        reads = SharedReads(server.read, interval_s=0.05)
        for number in range(3):
            task = ask(reads, longest_s=3)
            await begins(server, number)
            server.answer(number)
            await task
            assert ids(task) == [f"ses_{number}"]
    finally:
        loop.set_task_factory(None)
    assert server.limits == [3, 3, 3]
    assert min(later - earlier for earlier, later in pairwise(server.times)) >= 0.05


async def test_what_gets_out_goes_first_then_what_sees_it_through_then_what_settles_then_orders() -> None:
    """However late it comes, and with every slot taken."""
    async with Sandbox(seed=3, limit=None) as sandbox:
        limiter = RateLimiter(rate=25, burst=8, concurrency=1, reserved=0)
        async with AsyncAlura(sandbox.wallet(), base_url=sandbox.url, limiter=limiter) as alura:
            await alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC")
            until = time.monotonic() + 5
            reads = SharedReads(alura._road.carry)
            while limiter.try_acquire(User.profile.route.lane, "a test"):
                limiter.release(User.profile.route.lane)
            async with asyncio.TaskGroup() as group:
                for call in (
                    alura.user.profile(),
                    alura.user.withdraw(amount=5),
                    *(reads.ask(CREATED, until=until) for _ in range(20)),
                    reads.ask(ACTIVE, until=until),
                    alura.user.close_position(asset="BTC"),
                ):
                    group.create_task(call)
        assert [f"{each.method} {each.path}" for each in sandbox.requests][-5:] == [
            "POST /user/close-position",
            "GET /trading-sessions/active",
            "GET /trading-sessions/active",
            "POST /user/withdraw",
            "GET /user/profile",
        ]


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"])
async def test_a_date_that_nobody_has_is_not_the_servers(date: str) -> None:
    """With it, every moment of the server would be out of range."""

    async def read(request: Request[T], timeout: float, /) -> Reply[T]:
        return Reply(request, 200, {"Content-Length": "2", "Date": date}, b"[]")

    seen = await SharedReads(read).ask(ACTIVE, until=time.monotonic() + 5)
    assert seen is not None
    earliest, latest = seen.span(seen.ended)
    assert earliest < datetime.now(UTC) < latest
