"""A time limit strikes, becomes a `TimeoutError` where it was set, and never hides a cancellation from elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from alura_async.core.deadline import Deadline, Deadlines

pytestmark = pytest.mark.anyio

# Long enough to be told from at once, short enough for a test.
SOON = 0.02
NEVER = 3600.0


@pytest.fixture
async def deadlines() -> Any:
    made = Deadlines(asyncio.get_running_loop())
    yield made
    made.close()


async def for_ever() -> None:
    await asyncio.Event().wait()


def not_cancelling() -> bool:
    """Whether the running task has no cancellation left over."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() == 0


async def test_a_limit_strikes_as_a_timeout_error(deadlines: Deadlines) -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="time is up") as raised, deadlines.within(SOON) as limit:
        await for_ever()
    assert SOON - 0.002 <= time.monotonic() - started < 2
    assert limit.expired
    assert isinstance(raised.value.__cause__, asyncio.CancelledError)
    assert not_cancelling()
    await asyncio.sleep(0)


async def test_what_ends_in_time_is_not_touched(deadlines: Deadlines) -> None:
    with deadlines.within(SOON) as limit:
        await asyncio.sleep(0)
        result = "done"
    await asyncio.sleep(2 * SOON)
    assert result == "done"
    assert not limit.expired
    assert not_cancelling()


async def test_a_limit_of_nothing_strikes_at_the_first_wait(deadlines: Deadlines) -> None:
    for seconds in (0, -1, 1e-9):
        with pytest.raises(TimeoutError), deadlines.within(seconds):
            await for_ever()


async def test_an_error_of_the_block_passes_through(deadlines: Deadlines) -> None:
    with pytest.raises(OSError, match="mine"), deadlines.within(SOON):
        raise OSError("mine")
    with pytest.raises(TimeoutError, match="not ours"), deadlines.within(NEVER) as limit:
        raise TimeoutError("not ours")
    assert not limit.expired


async def test_an_error_that_the_strike_causes_passes_through(deadlines: Deadlines) -> None:
    """What is cleaned up on the way out may fail; that is then the error, and no cancellation is left."""

    async def work() -> None:
        try:
            await for_ever()
        finally:
            raise OSError("while cleaning up")

    with pytest.raises(OSError, match="while cleaning up"), deadlines.within(SOON) as limit:
        await work()
    assert limit.expired
    assert not_cancelling()


async def test_a_block_that_swallows_the_strike_goes_on(deadlines: Deadlines) -> None:
    with deadlines.within(SOON) as limit, suppress(asyncio.CancelledError):
        await for_ever()
    assert limit.expired
    assert not_cancelling()


async def test_a_cancellation_from_elsewhere_stays_one(deadlines: Deadlines) -> None:
    limits: list[Deadline] = []

    async def work() -> None:
        with deadlines.within(NEVER) as limit:
            limits.append(limit)
            await for_ever()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel("from elsewhere")
    with pytest.raises(asyncio.CancelledError, match="from elsewhere"):
        await task
    assert task.cancelled()
    assert not limits[0].expired


@pytest.mark.parametrize("first", ["limit", "cancel"])
async def test_when_both_happen_at_once_the_cancellation_wins(deadlines: Deadlines, first: str) -> None:
    """Whoever cancelled waits for a cancelled task, not for one that timed out."""
    limits: list[Deadline] = []

    async def work() -> None:
        with deadlines.within(NEVER) as limit:
            limits.append(limit)
            await for_ever()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    strikes: list[Callable[[], Any]] = [limits[0].expire, task.cancel]
    for strike in strikes if first == "limit" else reversed(strikes):
        strike()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert limits[0].expired


async def test_a_cancellation_while_the_strike_is_being_cleaned_up_wins(deadlines: Deadlines) -> None:
    cleaning = asyncio.Event()

    async def work() -> None:
        with deadlines.within(SOON):
            try:
                await for_ever()
            finally:
                cleaning.set()
                await for_ever()

    task = asyncio.create_task(work())
    await cleaning.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_task_cancelled_before_keeps_its_limit(deadlines: Deadlines) -> None:
    """One who survived an earlier cancellation still times out."""

    async def work() -> str:
        with suppress(asyncio.CancelledError):
            await for_ever()
        try:
            with deadlines.within(SOON):
                await for_ever()
        except TimeoutError:
            return "timed out"
        return "ended"

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "timed out"
    assert task.cancelling() == 1


# One within another


async def test_the_inner_limit_strikes_and_the_outer_goes_on(deadlines: Deadlines) -> None:
    with deadlines.within(NEVER) as outer:
        with pytest.raises(TimeoutError), deadlines.within(SOON) as inner:
            await for_ever()
        await asyncio.sleep(0)
    assert inner.expired
    assert not outer.expired
    assert not_cancelling()


async def test_the_outer_limit_strikes_through_the_inner(deadlines: Deadlines) -> None:
    with pytest.raises(TimeoutError), deadlines.within(SOON) as outer, deadlines.within(NEVER) as inner:
        await for_ever()
    assert outer.expired
    assert not inner.expired
    assert not_cancelling()


async def test_when_both_strike_at_once_the_outer_is_the_error(deadlines: Deadlines) -> None:
    at = asyncio.get_running_loop().time() + SOON
    outer, inner = Deadline(deadlines, at), Deadline(deadlines, at)

    async def work() -> None:
        with pytest.raises(asyncio.CancelledError) as raised, inner:
            await for_ever()
        raise raised.value

    with pytest.raises(TimeoutError), outer:
        await work()
    assert outer.expired
    assert inner.expired
    assert not_cancelling()


async def test_a_limit_lives_with_those_of_asyncio(deadlines: Deadlines) -> None:
    ours = deadlines.within(NEVER)

    async def work() -> None:
        async with asyncio.timeout(SOON):
            with ours:
                await for_ever()

    with pytest.raises(TimeoutError):
        await work()
    assert not ours.expired
    async with asyncio.timeout(NEVER) as theirs:
        with pytest.raises(TimeoutError), deadlines.within(SOON):
            await for_ever()
    assert not theirs.expired()
    assert not_cancelling()


# Many


async def test_many_limits_strike_each_in_its_own_time(deadlines: Deadlines) -> None:
    started = time.monotonic()

    async def work(number: int) -> float | None:
        limit = (number % 10 + 1) * 0.01
        try:
            with deadlines.within(limit):
                # Every other one is done before its time.
                await (for_ever() if number % 2 else asyncio.sleep(0))
        except TimeoutError:
            return time.monotonic() - started - limit
        return None

    late = await asyncio.gather(*(work(number) for number in range(1000)))
    assert [number for number, by in enumerate(late) if by is not None] == list(range(1, 1000, 2))
    assert all(-0.002 <= by < 1 for by in late if by is not None)


async def test_a_shorter_limit_that_comes_later_strikes_first(deadlines: Deadlines) -> None:
    order: list[str] = []

    async def work(name: str, seconds: float) -> None:
        try:
            with deadlines.within(seconds):
                await for_ever()
        except TimeoutError:
            order.append(name)

    tasks = [asyncio.create_task(work("long", 3 * SOON)), asyncio.create_task(work("short", SOON))]
    await asyncio.gather(*tasks)
    assert order == ["short", "long"]


async def test_a_strike_in_one_task_leaves_the_others_alone(deadlines: Deadlines) -> None:
    async def work(seconds: float) -> str:
        with deadlines.within(seconds):
            await asyncio.sleep(3 * SOON)
        return "done"

    struck, *others = await asyncio.gather(work(SOON), work(NEVER), work(NEVER), return_exceptions=True)
    assert isinstance(struck, TimeoutError)
    assert others == ["done", "done"]


async def test_it_says_how_much_time_is_left(deadlines: Deadlines) -> None:
    with deadlines.within(10) as limit:
        assert 9 < limit.remaining() <= 10
    assert deadlines.within(-5).remaining() == 0.0


# What it costs: a loop that counts its timers


class Timer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """As much of a loop as the limits need: a clock that is set by hand, and its timers."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(at, call))
        return self.timers[-1]

    @property
    def running(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def turn_to(self, now: float) -> None:
        self.now = now
        for timer in self.running:
            if timer.at <= now:
                self.timers.remove(timer)
                timer.call()


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    assert len(clock.running) <= 1, "there is never more than one timer"


async def test_a_thousand_calls_in_a_row_set_one_timer(clock: Clock) -> None:
    deadlines = Deadlines(clock)  # type: ignore[arg-type]
    for _ in range(1000):
        with deadlines.within(30):
            clock.now += 0.001
    assert len(clock.timers) == 1


async def test_a_timer_that_finds_nothing_left_is_not_set_again(clock: Clock) -> None:
    deadlines = Deadlines(clock)  # type: ignore[arg-type]
    with deadlines.within(30):
        pass
    clock.turn_to(131.0)
    assert clock.running == []
    with deadlines.within(30):
        assert [timer.at for timer in clock.running] == [161.0]


async def test_the_timer_moves_on_to_the_next_limit(clock: Clock) -> None:
    deadlines = Deadlines(clock)  # type: ignore[arg-type]
    with deadlines.within(30):
        clock.now += 5
        with deadlines.within(30):
            with deadlines.within(1):
                assert [timer.at for timer in clock.running] == [106.0]
            clock.turn_to(106.0)
            assert [timer.at for timer in clock.running] == [130.0]


async def test_closing_leaves_no_timer_and_ends_what_is_still_running(clock: Clock) -> None:
    deadlines = Deadlines(clock)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError), deadlines.within(1) as limit:  # noqa: PT012 - the limit strikes at its end
        deadlines.close()
        assert clock.running == []
        assert limit.expired
        await asyncio.sleep(0)
    deadlines.close()


async def test_a_limit_without_end_needs_no_timer(clock: Clock) -> None:
    deadlines = Deadlines(clock)  # type: ignore[arg-type]
    with deadlines.within(float("inf")) as limit:
        assert clock.timers == []
        assert limit.remaining() == float("inf")


async def test_limits_that_are_over_are_forgotten(deadlines: Deadlines) -> None:
    """Memory does not grow with the number of calls."""
    import gc
    import weakref

    class Watched(Deadline):
        __slots__ = ("__weakref__",)

    watched: list[weakref.ref[Watched]] = []
    for _ in range(10):
        limit = Watched(deadlines, asyncio.get_running_loop().time() + NEVER)
        watched.append(weakref.ref(limit))
        with limit:
            await asyncio.sleep(0)
        del limit
    gc.collect()
    assert [ref() for ref in watched] == [None] * 10
