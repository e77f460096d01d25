"""Who goes next, when, and how many at once: the rate limiter, on a clock that moves only when everybody waits.

`nox -s property` takes many more histories.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import selectors
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context
from math import inf
from typing import Any, TypeVar, TypeVarTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from alura_async import ConfigurationError, InvalidArgumentError, Lane, RateLimiter, no_waits

pytestmark = pytest.mark.waits

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EXIT, EXIT_READ, SETTLING, TRADING, ACCOUNT, MARKET = Lane
CLOSE = "https://alura.test POST /user/close-position"
CLOSE_ALL = "https://alura.test POST /user/close-all-positions"
CANDLES = "https://alura.test GET /api/indicators/candles/:symbol/:interval"
HISTORY = "https://alura.test GET /api/indicators/candles/history/:symbol"
SYMBOLS = "https://alura.test GET /api/indicators/candles/aggregated/symbols"
LATEST = "https://alura.test GET /api/indicators/candles/latest"
LETTERS = "ERSTAM"
EXAMPLES = int(os.environ.get("ALURA_PROPERTY_EXAMPLES", "30"))


class StepLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is as exact as binary fractions, and jumps to the next timer when everybody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        selector = selectors.DefaultSelector()
        select = selector.select

        def jump(timeout: float | None = None) -> Any:
            assert timeout is not None, "everybody waits, and for ever"
            self.now += timeout
            return select(0)

        selector.select = jump  # type: ignore[method-assign]
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def stepped(main: Callable[[StepLoop], Coroutine[Any, Any, T]]) -> T:
    """Run in a loop of its own, without waiting."""
    with asyncio.Runner(loop_factory=StepLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, StepLoop)
        return runner.run(asyncio.wait_for(main(loop), 1e6))


async def idle() -> None:
    """Let everything happen that needs no time."""
    for _ in range(4):
        await asyncio.sleep(0)


class Calls:
    """Calls through a limiter, and when each of them began."""

    def __init__(self, limiter: RateLimiter) -> None:
        self.limiter = limiter
        self.begun: list[tuple[str, float]] = []

    async def make(
        self, name: str, lane: Lane, endpoint: str = CANDLES, *, seconds: float = 0.0, patience: float = inf
    ) -> None:
        await self.limiter.acquire(lane, endpoint, patience=patience)
        try:
            self.begun.append((name, asyncio.get_running_loop().time() - 1000.0))
            if seconds:
                await asyncio.sleep(seconds)
        finally:
            self.limiter.release(lane)

    def start(self, name: str, lane: Lane, endpoint: str = CANDLES, **how: float) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self.make(name, lane, endpoint, **how))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.begun]

    @property
    def times(self) -> list[float]:
        return [at for _, at in self.begun]


# Pace and slots


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    async def main(loop: StepLoop) -> list[float]:
        calls = Calls(RateLimiter(rate=4, burst=3, clock=loop.time))
        await asyncio.gather(*[calls.make("", TRADING) for _ in range(7)])
        return calls.times

    assert stepped(main) == [0, 0, 0, 0.25, 0.5, 0.75, 1.0]


def test_a_rate_below_one_a_second_and_a_burst_of_one() -> None:
    async def main(loop: StepLoop) -> list[float]:
        calls = Calls(RateLimiter(rate=0.5, burst=1, clock=loop.time))
        await asyncio.gather(*[calls.make("", MARKET) for _ in range(3)])
        return calls.times

    assert stepped(main) == [0, 2, 4]


def test_no_more_than_a_burst_is_saved_up() -> None:
    async def main(loop: StepLoop) -> list[float]:
        calls = Calls(RateLimiter(rate=1, burst=2, clock=loop.time))
        await asyncio.sleep(3600)
        await asyncio.gather(*[calls.make("", MARKET) for _ in range(4)])
        return [at - 3600 for at in calls.times]

    assert stepped(main) == [0, 0, 1, 2]


def test_the_defaults_are_ten_a_second_ten_together_sixteen_at_once_four_of_them_not_for_market() -> None:
    async def main(loop: StepLoop) -> None:
        limiter = RateLimiter(clock=loop.time)
        assert [limiter.try_acquire(MARKET, CANDLES) for _ in range(11)] == [True] * 10 + [False]
        await asyncio.sleep(0.1)
        assert [limiter.try_acquire(MARKET, CANDLES) for _ in range(2)] == [True, False]
        await asyncio.sleep(1)
        assert [limiter.try_acquire(MARKET, CANDLES) for _ in range(2)] == [True, False]
        assert [limiter.try_acquire(TRADING, CLOSE) for _ in range(5)] == [True] * 4 + [False]
        assert limiter.try_acquire(EXIT, "https://alura.test POST /auth/evm/verify")
        assert repr(limiter) == "<RateLimiter 10/s, burst 10, 16 of 16 under way>"

    stepped(main)


def test_a_call_without_a_slot_goes_when_one_is_released() -> None:
    async def main(loop: StepLoop) -> list[tuple[str, float]]:
        calls = Calls(RateLimiter(rate=100, burst=100, concurrency=3, reserved=1, clock=loop.time))
        await asyncio.gather(
            calls.make("market 1", MARKET, seconds=5),
            calls.make("market 2", MARKET, seconds=7),
            calls.make("market 3", MARKET, seconds=1),
            calls.make("close 1", TRADING, CLOSE, seconds=9),
            calls.make("close 2", TRADING, CLOSE, seconds=1),
        )
        return calls.begun

    assert stepped(main) == [("market 1", 0), ("market 2", 0), ("close 1", 0), ("close 2", 5), ("market 3", 6)]


def test_signing_in_takes_no_slot_but_does_take_its_share_of_the_pace() -> None:
    async def main(loop: StepLoop) -> list[tuple[str, float]]:
        calls = Calls(RateLimiter(rate=1, burst=2, concurrency=1, reserved=0, clock=loop.time))
        trades = [calls.start(f"close {number}", TRADING, CLOSE, seconds=0.5) for number in range(3)]
        await idle()
        await asyncio.gather(*[calls.start(f"sign-in {number}", EXIT) for number in range(2)], *trades)
        return calls.begun

    assert stepped(main) == [("close 0", 0), ("sign-in 0", 0), ("sign-in 1", 1), ("close 1", 2), ("close 2", 3)]


def test_a_release_too_many_makes_no_slot() -> None:
    async def main(loop: StepLoop) -> None:
        limiter = RateLimiter(rate=100, burst=100, concurrency=2, reserved=1, clock=loop.time)
        for lane in Lane:
            limiter.release(lane)
        assert limiter.try_acquire(MARKET, CANDLES)
        limiter.release(TRADING)
        assert not limiter.try_acquire(MARKET, CANDLES)
        assert limiter.try_acquire(TRADING, CLOSE)
        assert not limiter.try_acquire(TRADING, CLOSE)

    stepped(main)


# Lanes


def test_one_close_at_a_time_overtakes_ten_thousand_queued_candle_requests() -> None:
    async def main(loop: StepLoop) -> None:
        calls = Calls(RateLimiter(rate=10, clock=loop.time))
        bulk = [calls.start(f"{number}", MARKET, seconds=0.05) for number in range(10_000)]
        await asyncio.sleep(5.01)
        for _ in range(20):
            before = len(calls.begun)
            await calls.make("close", TRADING, CLOSE, seconds=0.1)
            # Nothing that had waited went before it.
            assert calls.names[before] == "close"
        await asyncio.gather(*bulk)
        assert [name for name in calls.names if name != "close"] == [f"{number}" for number in range(10_000)]
        assert loop.time() == pytest.approx(1000 + (10_020 - 10) / 10, abs=0.2)

    stepped(main)


@pytest.mark.parametrize(
    ("lanes", "expected"),
    [
        ((TRADING, MARKET), "TTTTTTTTTM" * 2),
        ((TRADING, ACCOUNT), "TTTTTTTTTA" * 2),
        ((ACCOUNT, MARKET), "AAAAAAAAAM" * 2),
        # Trading keeps nine tenths also of two lower lanes, and neither of those starves.
        ((TRADING, ACCOUNT, MARKET), "TTTTTTTTTATTTTTTTTTM" * 2),
        # What gets out goes before everything and is not counted.
        ((EXIT, TRADING, MARKET), "E" * 40),
        ((EXIT_READ, SETTLING, TRADING), "R" * 40),
        # What settles goes before what trades, and does not starve it.
        ((SETTLING, TRADING), "SSSSSSSSST" * 2),
    ],
)
def test_after_nine_in_a_row_a_waiting_lower_lane_gets_one(lanes: tuple[Lane, ...], expected: str) -> None:
    async def main(loop: StepLoop) -> str:
        calls = Calls(RateLimiter(rate=1, burst=1, clock=loop.time))
        assert calls.limiter.try_acquire(EXIT, CLOSE)
        tasks = [
            calls.start(LETTERS[lane], lane, f"https://alura.test GET /{lane}") for lane in lanes for _ in range(50)
        ]
        await asyncio.sleep(len(expected) + 0.5)
        for task in tasks:
            task.cancel()
        return "".join(calls.names)

    assert stepped(main) == expected


def test_a_bulk_pull_progresses_under_a_steady_stream_of_trading_calls() -> None:
    async def main(loop: StepLoop) -> None:
        calls = Calls(RateLimiter(rate=8, burst=1, clock=loop.time))
        bulk = [calls.start("candles", MARKET) for _ in range(1000)]

        async def trade() -> None:
            while True:
                await calls.make("close", TRADING, CLOSE)

        traders = [loop.create_task(trade()) for _ in range(20)]
        await asyncio.sleep(99.9)
        assert len(calls.begun) == 800
        assert calls.names.count("candles") == 80
        for task in (*bulk, *traders):
            task.cancel()

    stepped(main)


def test_nine_in_a_row_are_counted_from_when_somebody_lower_waits() -> None:
    async def main(loop: StepLoop) -> str:
        calls = Calls(RateLimiter(rate=1, burst=1, clock=loop.time))
        assert calls.limiter.try_acquire(EXIT, CLOSE)
        low = calls.start("m", MARKET)
        tasks = [calls.start("T", TRADING, CLOSE) for _ in range(30)]
        await asyncio.sleep(5.5)
        # The row of five ends here: nobody lower waits for a turn.
        low.cancel()
        await asyncio.sleep(2)
        tasks += [calls.start("M", MARKET) for _ in range(3)]
        await asyncio.sleep(20)
        for task in tasks:
            task.cancel()
        return "".join(calls.names)

    assert stepped(main) == "T" * 7 + "TTTTTTTTTM" * 2


def test_the_tenth_turn_is_a_lower_lanes_even_if_it_has_just_come() -> None:
    async def main(loop: StepLoop) -> str:
        calls = Calls(RateLimiter(rate=1, burst=1, clock=loop.time))
        assert calls.limiter.try_acquire(EXIT, CLOSE)
        tasks = [calls.start("m", MARKET), *[calls.start("T", TRADING, CLOSE) for _ in range(30)]]
        await asyncio.sleep(9.5)
        tasks[0].cancel()
        tasks.append(calls.start("A", ACCOUNT, LATEST))
        await asyncio.sleep(2)
        for task in tasks:
            task.cancel()
        return "".join(calls.names)

    assert stepped(main) == "TTTTTTTTTAT"


def test_calls_of_one_lane_go_in_the_order_in_which_they_came_whoever_leaves() -> None:
    async def main(loop: StepLoop) -> None:
        calls = Calls(RateLimiter(rate=1, burst=1, clock=loop.time))
        chance = random.Random(1)
        tasks = {
            number: calls.start(f"{number}", ACCOUNT, f"https://alura.test GET /{number}") for number in range(600)
        }
        # Whoever comes a second time to an endpoint is behind those that came to others meanwhile.
        tasks |= {600 + n: calls.start(f"{600 + n}", ACCOUNT, f"https://alura.test GET /{n}") for n in range(0, 600, 7)}
        await asyncio.sleep(60.5)
        for number in chance.sample(sorted(tasks), 500):
            tasks[number].cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert calls.names == sorted(calls.names, key=int)
        assert len(calls.names) == sum(not task.cancelled() for task in tasks.values())

    stepped(main)


# What the server asks for


def test_a_held_endpoint_is_left_alone_and_in_nobodys_way() -> None:
    async def main(loop: StepLoop) -> list[tuple[str, float]]:
        calls = Calls(RateLimiter(rate=8, burst=8, clock=loop.time))
        calls.limiter.hear(MARKET, CANDLES, 429, {"Retry-After-short": "5"})
        await asyncio.gather(
            calls.make("held 1", MARKET, CANDLES),
            calls.make("held 2", MARKET, CANDLES),
            calls.make("same lane", MARKET, HISTORY),
            calls.make("other lane", TRADING, CLOSE),
            calls.make("other server", MARKET, CANDLES.replace("alura", "other")),
        )
        return calls.begun

    assert stepped(main) == [("same lane", 0), ("other lane", 0), ("other server", 0), ("held 1", 5), ("held 2", 5)]


def test_a_hold_that_comes_while_calls_wait_holds_them_too() -> None:
    async def main(loop: StepLoop) -> list[tuple[str, float]]:
        calls = Calls(RateLimiter(rate=1, burst=1, clock=loop.time))
        tasks = [calls.start(f"candles {number}", MARKET, CANDLES) for number in range(3)]
        await idle()
        tasks.append(calls.start("history", MARKET, HISTORY))
        await asyncio.sleep(0.5)
        calls.limiter.hear(MARKET, CANDLES, 200, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "10"})
        assert repr(calls.limiter) == "<RateLimiter 1/s, burst 1, 0 of 16 under way, 3 waiting, 1 endpoint held>"
        await asyncio.gather(*tasks)
        return calls.begun

    assert stepped(main) == [("candles 0", 0), ("history", 1), ("candles 1", 10.5), ("candles 2", 11.5)]


def test_patience_bounds_how_long_a_hold_is_heeded_and_nothing_else() -> None:
    async def main(loop: StepLoop) -> list[tuple[str, float]]:
        calls = Calls(RateLimiter(rate=1, burst=1, concurrency=1, reserved=0, clock=loop.time))
        calls.limiter.hear(TRADING, CLOSE, 429, {"Retry-After": "30"})
        await asyncio.gather(
            calls.make("patient", TRADING, CLOSE),
            calls.make("exit 1", TRADING, CLOSE, patience=2, seconds=3),
            calls.make("exit 2", TRADING, CLOSE, patience=2),
            calls.make("now", TRADING, CLOSE, patience=0),
        )
        return calls.begun

    assert stepped(main) == [("now", 0), ("exit 1", 2), ("exit 2", 5), ("patient", 30)]


def test_a_lane_pauses_only_when_several_of_its_endpoints_refuse_within_a_short_time() -> None:
    async def begin_of(refusals: list[tuple[float, str]], loop: StepLoop) -> float:
        limiter = RateLimiter(rate=100, burst=100, clock=loop.time)
        for pause, endpoint in refusals:
            await asyncio.sleep(pause)
            lane = TRADING if endpoint is CLOSE else MARKET
            limiter.hear(lane, endpoint, 429, {"Retry-After": "20" if endpoint is CANDLES else "10"})
        started = loop.time()
        await limiter.acquire(TRADING, CLOSE.replace("close-position", "close-all-positions"))
        await limiter.acquire(MARKET, LATEST.replace("alura", "other"))
        assert loop.time() == started
        await limiter.acquire(MARKET, LATEST)
        return loop.time() - started

    async def main(loop: StepLoop) -> list[float]:
        return [
            await begin_of([(0, CANDLES), (0, HISTORY)], loop),
            await begin_of([(0, CANDLES), (0, CANDLES), (0, HISTORY)], loop),
            await begin_of([(0, CANDLES), (3, HISTORY), (0, SYMBOLS)], loop),
            await begin_of([(0, CANDLES), (0, HISTORY), (0, CLOSE)], loop),
            # Until the first of them may be called again.
            await begin_of([(0, CANDLES), (1, HISTORY), (1, SYMBOLS)], loop),
        ]

    assert stepped(main) == [0, 0, 0, 0, 9]


@pytest.mark.parametrize(("status", "pauses"), [(200, False), (399, False), (400, True), (429, True), (503, True)])
def test_only_a_refusal_speaks_for_its_lane(status: int, pauses: bool) -> None:
    async def main(loop: StepLoop) -> float:
        limiter = RateLimiter(clock=loop.time)
        limiter.hear(TRADING, CLOSE, 200, {"Retry-After": "10"})
        limiter.hear(MARKET, CANDLES, 429, {"Retry-After": "10"})
        limiter.hear(MARKET, HISTORY, 429, {"Retry-After": "10"})
        limiter.hear(MARKET, SYMBOLS, status, {"Retry-After": "10"})
        await limiter.acquire(MARKET, LATEST)
        return loop.time() - 1000

    assert stepped(main) == (10 if pauses else 0)


def test_a_hold_that_just_ended_says_nothing_about_its_lane() -> None:
    async def main(loop: StepLoop) -> float:
        limiter = RateLimiter(clock=loop.time)
        limiter.hear(MARKET, LATEST, 429, {"Retry-After": "1"})
        await asyncio.sleep(1)
        assert repr(limiter) == "<RateLimiter 10/s, burst 10, 0 of 16 under way>"
        for endpoint in (CANDLES, HISTORY, SYMBOLS):
            limiter.hear(MARKET, endpoint, 429, {"Retry-After": "10"})
        await limiter.acquire(MARKET, LATEST)
        return loop.time() - 1001

    assert stepped(main) == 10


def test_an_endpoint_that_refuses_in_another_lane_speaks_for_that_one() -> None:
    async def main(loop: StepLoop) -> list[float]:
        limiter = RateLimiter(clock=loop.time)
        limiter.hear(ACCOUNT, LATEST, 429, {"Retry-After": "10"})
        limiter.hear(MARKET, LATEST, 429, {"Retry-After": "10"})
        for lane, endpoint in ((ACCOUNT, CANDLES), (ACCOUNT, HISTORY), (MARKET, HISTORY), (MARKET, SYMBOLS)):
            limiter.hear(lane, endpoint, 429, {"Retry-After": "10"})
        times = []
        for lane in (ACCOUNT, MARKET):
            await limiter.acquire(lane, f"https://alura.test GET /{lane}")
            times.append(loop.time() - 1000)
        return times

    assert stepped(main) == [0, 10]


def test_held_calls_begin_when_their_own_hold_ends_whoever_leaves() -> None:
    async def main(loop: StepLoop) -> None:
        # A clock may begin anywhere, also where numbers are small.
        calls = Calls(RateLimiter(rate=1e6, burst=10**6, concurrency=1000, clock=lambda: loop.time() - 1000))
        chance = random.Random(3)
        tasks, expected = [], []
        for number in range(400):
            endpoint = f"https://alura.test GET /{number}"
            seconds = chance.randrange(1, 480) / 8
            calls.limiter.hear(ACCOUNT, endpoint, 200, {"Retry-After": f"{seconds}"})
            expected.append((f"{number}", seconds))
            tasks.append(calls.start(f"{number}", ACCOUNT, endpoint))
        await asyncio.sleep(5.01)
        for number in chance.sample(range(400), 300):
            tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        went = [expected[number] for number, task in enumerate(tasks) if not task.cancelled()]
        assert len(went) >= 100
        assert sorted(calls.begun) == sorted(went)

    stepped(main)


def test_of_too_many_holds_those_that_end_first_are_forgotten() -> None:
    async def main(loop: StepLoop) -> None:
        limiter = RateLimiter(clock=loop.time)
        limiter.hear(MARKET, CANDLES, 429, {"Retry-After": "50"})
        limiter.hear(MARKET, HISTORY, 429, {"Retry-After": "20"})
        for number in range(1023):
            limiter.hear(ACCOUNT, f"https://alura.test GET /{number}", 200, {"Retry-After": "30"})
        await limiter.acquire(MARKET, HISTORY)
        assert loop.time() == 1000
        await limiter.acquire(MARKET, CANDLES)
        assert loop.time() == 1050

    stepped(main)


def test_what_is_over_is_forgotten() -> None:
    async def main(loop: StepLoop) -> None:
        limiter = RateLimiter(clock=loop.time)
        for number in range(50):
            limiter.hear(ACCOUNT, f"https://alura.test GET /{number}", 429, {"Retry-After": "1"})
        await asyncio.gather(*[limiter.acquire(ACCOUNT, f"https://alura.test GET /{number}") for number in range(12)])
        await asyncio.sleep(60)
        await limiter.acquire(EXIT, CLOSE)
        kept = [type(found).__name__ for found in gc.get_objects() if type(found).__module__ == RateLimiter.__module__]
        assert not {"_Hold", "_Line", "_Waiter", "_Loop"} & set(kept)
        assert limiter

    gc.collect()
    stepped(main)


def test_a_reply_that_says_nothing_of_limits_holds_nothing() -> None:
    async def main(loop: StepLoop) -> None:
        limiter = RateLimiter(clock=loop.time)
        limiter.hear(MARKET, CANDLES, 200, {"Date": "x", "X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "9"})
        limiter.hear(MARKET, CANDLES, 503, {"Retry-After": "1e9"})
        limiter.hear(MARKET, CANDLES, 429, {"Retry-After": "0"})
        assert limiter.try_acquire(MARKET, CANDLES)
        # A 429 that says nothing, or nonsense, holds for a second.
        limiter.hear(MARKET, CANDLES, 429, {"Retry-After": "NaN"})
        assert not limiter.try_acquire(MARKET, CANDLES)
        await asyncio.sleep(1)
        assert limiter.try_acquire(MARKET, CANDLES)

    stepped(main)


def test_no_hold_is_longer_than_a_minute() -> None:
    async def main(loop: StepLoop) -> float:
        limiter = RateLimiter(clock=loop.time)
        limiter.hear(MARKET, CANDLES, 429, {"Retry-After": "86400"})
        await limiter.acquire(MARKET, CANDLES)
        return loop.time()

    assert stepped(main) == 1060


def test_a_user_with_any_number_of_routes_fills_no_memory() -> None:
    async def main(loop: StepLoop) -> None:
        limiter = RateLimiter(clock=loop.time, concurrency=1, reserved=0)
        assert limiter.try_acquire(TRADING, CLOSE)
        held: set[str] = set()
        for number in range(5000):
            endpoint = f"https://alura.test GET /{number}"
            limiter.hear(ACCOUNT, endpoint, 200, {"Retry-After": "30"})
            task = loop.create_task(limiter.acquire(ACCOUNT, endpoint))
            held.add(repr(limiter).rpartition(", ")[2])
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
        assert "1024 endpoints held>" in held
        assert "1025 endpoints held>" not in held
        kept = [found for found in gc.get_objects() if type(found).__name__ == "_Line"]
        assert len(kept) < 200

    stepped(main)


def test_any_number_of_calls_that_were_held_and_left_fill_no_memory() -> None:
    async def main(loop: StepLoop) -> None:
        limiter = RateLimiter(clock=loop.time)
        for number in range(600):
            endpoint = f"https://alura.test GET /{number}"
            limiter.hear(ACCOUNT, endpoint, 200, {"Retry-After": "30"})
            task = loop.create_task(limiter.acquire(ACCOUNT, endpoint))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
        kept = [found for found in gc.get_objects() if type(found).__name__ == "_Line"]
        assert len(kept) < 200

    stepped(main)


def test_without_waits_there_is_neither_pace_nor_hold_but_there_are_slots() -> None:
    async def main(loop: StepLoop) -> None:
        calls = Calls(RateLimiter(rate=1, burst=1, concurrency=2, reserved=0, clock=loop.time))
        calls.limiter.hear(MARKET, CANDLES, 429, {"Retry-After": "30"})
        with no_waits():
            calls.limiter.hear(MARKET, HISTORY, 429, {"Retry-After": "50"})
            await asyncio.gather(*[calls.make("", MARKET, seconds=1) for _ in range(6)])
        assert calls.times == [0, 0, 1, 1, 2, 2]
        # What was not waited for is not made up for, and what was heard then is not heeded later.
        await calls.make("", MARKET, HISTORY)
        await calls.make("", MARKET, CANDLES)
        assert calls.times[-2:] == [3, 30]

    stepped(main)


def test_calls_that_wait_for_their_pace_go_at_once_when_waits_end() -> None:
    async def main(loop: StepLoop) -> list[tuple[str, float]]:
        calls = Calls(RateLimiter(rate=1, burst=1, concurrency=10, clock=loop.time))
        tasks = [calls.start(f"{number}", TRADING, seconds=0.25) for number in range(4)]
        await asyncio.sleep(0.125)
        with no_waits():
            # What happens next lets them go: here, that the first ends.
            await asyncio.gather(*tasks)
        return calls.begun

    assert stepped(main) == [("0", 0), ("1", 0.25), ("2", 0.25), ("3", 0.25)]


def test_an_unlimited_limiter_heeds_nothing_but_the_server() -> None:
    async def main() -> None:
        limiter = RateLimiter.unlimited()
        assert all(limiter.try_acquire(MARKET, CANDLES) for _ in range(10_000))
        limiter.release(MARKET)
        limiter.hear(MARKET, CANDLES, 429, {"Retry-After": "0"})
        assert limiter.try_acquire(MARKET, CANDLES)
        limiter.hear(MARKET, CANDLES, 503, {"Retry-After": "0.02"})
        assert not limiter.try_acquire(MARKET, CANDLES)
        started = time.monotonic()
        await asyncio.gather(*[limiter.acquire(MARKET, CANDLES) for _ in range(100)])
        assert time.monotonic() - started >= 0.019
        assert all(limiter.try_acquire(MARKET, CANDLES) for _ in range(10_000))
        assert repr(limiter) == "<RateLimiter unlimited>"

    asyncio.run(main())


# Cancelling


def test_a_cancelled_waiter_leaves_its_place() -> None:
    async def main(loop: StepLoop) -> list[tuple[str, float]]:
        calls = Calls(RateLimiter(rate=1, burst=1, clock=loop.time))
        tasks = [calls.start(f"{number}", TRADING) for number in range(5)]
        await idle()
        tasks[1].cancel()
        tasks[3].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return calls.begun

    assert stepped(main) == [("0", 0), ("2", 1), ("4", 2)]


def test_who_is_cancelled_between_grant_and_waking_passes_the_turn_on() -> None:
    async def main(loop: StepLoop) -> list[tuple[str, float]]:
        calls = Calls(RateLimiter(rate=1, burst=3, concurrency=1, reserved=0, clock=loop.time))
        tasks = [calls.start(f"{number}", TRADING, seconds=1) for number in range(4)]
        await asyncio.sleep(1)
        # The first has ended by now or ends next; its slot is granted to the second, who is cancelled before it wakes.
        while "1 of" in repr(calls.limiter) and len(calls.begun) == 1 and not tasks[0].done():
            await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert tasks[1].cancelled()
        return calls.begun

    # Neither the slot was lost nor the turn: the burst of three is enough for the three that go.
    assert stepped(main) == [("0", 0), ("2", 1), ("3", 2)]


def test_a_turn_that_was_passed_on_late_is_not_two() -> None:
    """With nothing saved up, a turn that was held for a while and not used is gone."""

    async def main(loop: StepLoop) -> list[float]:
        calls = Calls(RateLimiter(rate=1, burst=1, clock=loop.time))
        assert calls.limiter.try_acquire(MARKET, CANDLES)
        stuck = loop.create_task(calls.limiter.acquire(TRADING, CLOSE))
        await idle()
        others = [calls.start("", MARKET) for _ in range(3)]
        await idle()

        def be_stuck() -> None:
            """The first was just granted. Before it wakes, three seconds pass, another is granted, it is cancelled."""
            loop.now = 1004.0
            calls.limiter.release(MARKET)
            stuck.cancel()

        loop.call_at(1001.0 + 5e-10, be_stuck)
        await asyncio.gather(*others)
        assert stuck.cancelled()
        return calls.times

    assert stepped(main) == [4, 5, 6]


@pytest.mark.parametrize("lane", Lane)
def test_turns_that_are_taken_back_before_their_calls_woke_are_whole(lane: Lane) -> None:
    async def main(loop: StepLoop) -> None:
        limiter = RateLimiter(rate=1 / 1024, burst=10, concurrency=5, reserved=2, clock=loop.time)
        limiter.hear(lane, CANDLES, 200, {"Retry-After": "1"})
        tasks = [loop.create_task(limiter.acquire(lane, CANDLES)) for _ in range(3)]
        await idle()
        # In the same step in which they are granted.
        loop.call_at(1001.0 + 5e-10, tasks[0].cancel)
        loop.call_at(1001.0 + 6e-10, tasks[2].cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [task.cancelled() for task in tasks] == [True, False, True]
        limiter.release(lane)
        assert repr(limiter) == "<RateLimiter 0.000976562/s, burst 10, 0 of 5 under way>"
        assert [limiter.try_acquire(MARKET, CANDLES) for _ in range(4)] == [True] * 3 + [False]
        assert [limiter.try_acquire(TRADING, CLOSE) for _ in range(3)] == [True] * 2 + [False]
        # Of the ten, one was used before.
        assert [limiter.try_acquire(EXIT, CLOSE) for _ in range(5)] == [True] * 4 + [False]

    stepped(main)


def test_a_thousand_turns_that_are_taken_back_together_are_a_thousand() -> None:
    async def main(loop: StepLoop) -> None:
        limiter = RateLimiter(rate=1 / 1024, burst=2000, concurrency=10**6, clock=loop.time)
        limiter.hear(TRADING, CLOSE, 200, {"Retry-After": "1"})
        tasks = [loop.create_task(limiter.acquire(TRADING, CLOSE)) for _ in range(1500)]
        await idle()

        def cancel() -> None:
            for task in tasks[500:]:
                task.cancel()

        loop.call_at(1001.0 + 5e-10, cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(task.cancelled() for task in tasks) == 1000
        assert [limiter.try_acquire(EXIT, CLOSE) for _ in range(1502)] == [True] * 1500 + [False] * 2

    stepped(main)


def test_an_unlimited_limiter_counts_no_slots_of_calls_that_were_cancelled() -> None:
    async def main(loop: StepLoop) -> None:
        limiter = RateLimiter.unlimited()
        limiter.hear(TRADING, CLOSE, 200, {"Retry-After": "0.02"})
        tasks = [asyncio.create_task(limiter.acquire(TRADING, CLOSE)) for _ in range(2)]
        await idle()
        with no_waits():
            await limiter.acquire(EXIT, CLOSE)
            tasks[0].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert [task.cancelled() for task in tasks] == [True, False]
        assert repr(limiter).startswith("<RateLimiter unlimited")
        assert "waiting" not in repr(limiter)

    stepped(main)


def test_a_limiter_that_nobody_uses_any_more_is_not_kept_by_timers_of_calls_that_left() -> None:
    async def come_and_leave(loop: StepLoop) -> weakref.ref[RateLimiter]:
        limiter = RateLimiter(clock=loop.time)
        tasks = []
        # Each of them has to be seen to before those that came earlier.
        for number in range(3):
            limiter.hear(MARKET, f"https://alura.test GET /{number}", 429, {"Retry-After": f"{30 - 10 * number}"})
            tasks.append(loop.create_task(limiter.acquire(MARKET, f"https://alura.test GET /{number}")))
            await idle()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return weakref.ref(limiter)

    async def main(loop: StepLoop) -> None:
        kept = await come_and_leave(loop)
        gc.collect()
        assert kept() is None

    stepped(main)


def test_a_clock_that_fails_fails_its_call_and_no_other() -> None:
    async def main(loop: StepLoop) -> None:
        broken = False

        def clock() -> float:
            nonlocal broken
            if broken:
                broken = False
                raise OSError("no time")
            return loop.time()

        limiter = RateLimiter(concurrency=1, reserved=0, clock=clock)
        broken = True
        with pytest.raises(OSError, match="no time"):
            await limiter.acquire(TRADING, CLOSE)
        await limiter.acquire(TRADING, CLOSE)
        assert not limiter.try_acquire(TRADING, CLOSE)
        assert repr(limiter) == "<RateLimiter 10/s, burst 10, 1 of 1 under way>"

    stepped(main)


@pytest.mark.parametrize("patience", [-1.0, float("nan"), -inf])
def test_a_patience_that_means_nothing_is_refused(patience: float) -> None:
    async def main(loop: StepLoop) -> None:
        limiter = RateLimiter(rate=1, burst=1, clock=loop.time)
        await limiter.acquire(TRADING, CLOSE)
        with pytest.raises(InvalidArgumentError, match="patience="):
            await limiter.acquire(TRADING, CLOSE, patience=patience)

    stepped(main)


# Any history


class Call:
    """One call of a history, as the model sees it."""

    def __init__(self, number: int, lane: Lane, endpoint: str, patience: float, arrived: float) -> None:
        self.number, self.lane, self.endpoint, self.patience, self.arrived = number, lane, endpoint, patience, arrived
        self.end = asyncio.Event()
        self.task: asyncio.Task[None]


class History(RuleBasedStateMachine):
    """Calls come, are cancelled and end, servers ask for pauses and time passes; after each the model must agree."""

    @property
    def now(self) -> float:
        return self.loop.now

    def __init__(self) -> None:
        super().__init__()
        self.loop = StepLoop()
        self.shape = (8, 4, 5, 2)
        rate, burst, concurrency, reserved = self.shape
        self.limiter = RateLimiter(
            rate=rate, burst=burst, concurrency=concurrency, reserved=reserved, clock=self.loop.time
        )
        self.number = 0
        self.waiting: dict[int, Call] = {}
        self.under_way: dict[int, Call] = {}
        self.held: dict[str, float] = {}
        self.grants: list[float] = []
        self.streak: int | None = 0

    def teardown(self) -> None:
        for call in (*self.waiting.values(), *self.under_way.values()):
            call.task.cancel()
        self.run(idle())
        assert not asyncio.all_tasks(self.loop)
        assert repr(self.limiter).startswith("<RateLimiter 8/s, burst 4, 0 of 5 under way")
        assert "waiting" not in repr(self.limiter)
        self.loop.close()

    def run(self, what: Awaitable[None]) -> None:
        async def main() -> None:
            await what
            await idle()

        self.loop.run_until_complete(main())

    # What happens

    @rule(
        lane=st.sampled_from(list(Lane)),
        place=st.integers(0, 1),
        patience=st.sampled_from([inf, inf, 0.5]),
        how_many=st.integers(1, 5),
    )
    def come(self, lane: Lane, place: int, patience: float, how_many: int) -> None:
        async def come() -> None:
            for _ in range(how_many):
                self.number += 1
                call = Call(self.number, lane, f"https://alura.test GET /{lane}/{place}", patience, self.now)
                self.waiting[call.number] = call
                call.task = self.loop.create_task(self.travel(call))
                await idle()

        self.run(come())

    async def travel(self, call: Call) -> None:
        try:
            await self.limiter.acquire(call.lane, call.endpoint, patience=call.patience)
        except asyncio.CancelledError:
            self.waiting.pop(call.number, None)
            raise
        try:
            self.granted(call)
            await call.end.wait()
        finally:
            self.under_way.pop(call.number, None)
            self.limiter.release(call.lane)

    @rule(which=st.lists(st.integers(0, 1000), min_size=1, max_size=4), how_many=st.integers(0, 3))
    def end_some_and_cancel_others_at_the_same_time(self, which: list[int], how_many: int) -> None:
        """Who is cancelled may just have been granted what was released."""

        async def change() -> None:
            ending = list(self.under_way.values())[:how_many]
            for call in ending:
                call.end.set()
            if ending:
                # They release at their next step, and grant by that; the cancelled have not woken then.
                await asyncio.sleep(0)
                self.streak = None
            for number in which:
                calls = [*self.waiting.values(), *self.under_way.values()]
                if calls:
                    calls[number % len(calls)].task.cancel()

        self.run(change())

    @rule(sixteenths=st.integers(1, 40))
    def wait(self, sixteenths: int) -> None:
        self.run(asyncio.sleep(sixteenths / 16))

    @rule(lane=st.sampled_from(list(Lane)), seconds=st.sampled_from([0.25, 1.0, 3.0]))
    def hold(self, lane: Lane, seconds: float) -> None:
        endpoint = f"https://alura.test GET /{lane}/0"
        self.limiter.hear(lane, endpoint, 429, {"Retry-After": str(seconds)})
        self.held[endpoint] = max(self.held.get(endpoint, 0), self.now + seconds)

    # What must be true

    def may_go(self, call: Call) -> bool:
        return self.now >= min(self.held.get(call.endpoint, 0), call.arrived + call.patience)

    def has_slot(self, lane: Lane) -> bool:
        taken = [call.lane for call in self.under_way.values() if not call.lane.is_urgent]
        _, _, concurrency, reserved = self.shape
        return lane.is_urgent or (
            len(taken) < concurrency and (lane is not MARKET or taken.count(MARKET) < concurrency - reserved)
        )

    def able(self) -> dict[Lane, Call]:
        """Who is first in each lane that may go and has a slot."""
        first: dict[Lane, Call] = {}
        for call in self.waiting.values():
            if call.lane not in first and self.has_slot(call.lane) and self.may_go(call):
                first[call.lane] = call
        return first

    def granted(self, call: Call) -> None:
        able = self.able()
        assert call.lane in able, "granted although it is held or there is no slot"
        assert able[call.lane] is call, "somebody of the lane who could go came earlier"
        lower = [lane for lane in able if lane > min(able)]
        if call.lane in (EXIT, EXIT_READ):
            assert call.lane is min(able), "passed over an exit"
        else:
            assert EXIT not in able
            assert EXIT_READ not in able
            if call.lane is not min(able):
                assert self.streak in (9, None), "passed over a higher lane"
                self.streak = 0
            elif lower:
                assert self.streak is None or self.streak < 9, "ten in a row"
                self.streak = None if self.streak is None else self.streak + 1
            else:
                self.streak = 0
        del self.waiting[call.number]
        self.under_way[call.number] = call
        self.grants.append(self.now)

    def saved_up(self) -> float:
        """Turns that may be taken now, by an account of those that were taken: a bucket that fills at the rate."""
        rate, burst, _, _ = self.shape
        level, last = float(burst), 0.0
        for at in self.grants:
            level = min(burst, level + (at - last) * rate) - 1
            last = at
            assert level >= -1e-4, "over the limit"
        return min(burst, level + (self.now - last) * rate)

    @invariant()
    def no_window_is_over_the_limit_and_no_turn_is_lost(self) -> None:
        saved_up = self.saved_up()
        assert not self.able() or saved_up < 1 - 1e-4, "somebody waits who could go"
        # The account needs no more than what can still tell.
        self.grants = self.grants if saved_up < self.shape[1] else []


History.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=50, deadline=None)
TestAnyHistory = History.TestCase


# Loops, threads and processes


@asynccontextmanager
async def slot(limiter: RateLimiter, lane: Lane) -> AsyncIterator[None]:
    if not limiter.try_acquire(lane, CANDLES):
        await limiter.acquire(lane, CANDLES)
    try:
        yield
    finally:
        limiter.release(lane)


def test_two_loops_in_two_threads_share_pace_and_slots() -> None:
    limiter = RateLimiter(rate=2000, burst=20, concurrency=3, reserved=1)
    begun: list[float] = []
    under_way = peak = 0
    lock = threading.Lock()

    async def call(lane: Lane) -> None:
        nonlocal under_way, peak
        async with slot(limiter, lane):
            with lock:
                begun.append(time.monotonic())
                under_way += 1
                peak = max(peak, under_way)
            try:
                await asyncio.sleep(0)
            finally:
                with lock:
                    under_way -= 1

    async def many() -> None:
        tasks = [asyncio.create_task(call((TRADING, ACCOUNT, MARKET)[number % 3])) for number in range(400)]
        await asyncio.sleep(0.01)
        for task in tasks[::4]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    started = time.monotonic()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: asyncio.run(many()), range(2)))
    assert 600 <= len(begun) <= 800
    assert peak <= 3
    assert time.monotonic() - started >= (len(begun) - 20) / 2000 - 0.01
    assert repr(limiter) == "<RateLimiter 2000/s, burst 20, 0 of 3 under way>"


def test_a_release_in_one_loop_wakes_a_waiter_in_another() -> None:
    limiter = RateLimiter(concurrency=1, reserved=0)
    waits = threading.Event()

    async def wait() -> None:
        task = asyncio.create_task(limiter.acquire(TRADING, CLOSE))
        await asyncio.sleep(0)
        waits.set()
        await asyncio.wait_for(task, 20)

    assert limiter.try_acquire(MARKET, CANDLES)
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(asyncio.run, wait())
        assert waits.wait(20)
        limiter.release(MARKET)
        other.result(20)


def test_a_release_in_one_thread_sets_the_timer_of_a_waiter_in_another() -> None:
    limiter = RateLimiter(concurrency=1, reserved=0)
    waits = threading.Event()

    async def wait() -> float:
        task = asyncio.create_task(limiter.acquire(TRADING, CLOSE))
        await asyncio.sleep(0)
        waits.set()
        # Longer than the test may take: nothing else wakes this loop.
        await asyncio.wait_for(task, 10)
        return time.monotonic()

    assert limiter.try_acquire(MARKET, CANDLES)
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(asyncio.run, wait())
        assert waits.wait(10)
        time.sleep(0.05)
        limiter.hear(TRADING, CLOSE, 429, {"Retry-After": "0.2"})
        began = time.monotonic()
        limiter.release(MARKET)
        assert 0.15 <= other.result(10) - began <= 5


class Seeming(asyncio.SelectorEventLoop):
    """A loop that seems to run in another thread; what is to happen does when it is asked whether it runs, or woken."""

    seems_to_run = closes_when_woken = False
    when_asked: Callable[[], None] | None = None

    def is_running(self) -> bool:
        if self.when_asked is not None:
            happen, self.when_asked = self.when_asked, None
            happen()
        return self.seems_to_run

    def close(self) -> None:
        self.seems_to_run = False
        super().close()

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self.closes_when_woken:
            self.close()
        return super().call_soon_threadsafe(callback, *args, context=context)


@contextmanager
def waiting_elsewhere(limiter: RateLimiter, how_many: int) -> Generator[Seeming]:
    """Calls that have come to wait in a loop that seems to go on running."""
    loop = Seeming()
    loop.seems_to_run = True
    calls = []
    for _ in range(how_many):
        call = limiter.acquire(TRADING, CLOSE)
        asyncio._set_running_loop(loop)
        try:
            call.send(None)
        finally:
            asyncio._set_running_loop(None)
        calls.append(call)
    try:
        yield loop
    finally:
        for call in calls:
            call.close()
        loop.close()


def test_a_turn_for_a_loop_that_closes_just_then_goes_to_somebody_else() -> None:
    limiter = RateLimiter(concurrency=1, reserved=0)
    assert limiter.try_acquire(TRADING, CLOSE)
    with waiting_elsewhere(limiter, 2) as loop:
        loop.closes_when_woken = True
        limiter.release(TRADING)
        assert loop.is_closed()
        assert repr(limiter) == "<RateLimiter 10/s, burst 10, 0 of 1 under way>"
        assert [limiter.try_acquire(TRADING, CLOSE) for _ in range(2)] == [True, False]
    assert repr(limiter) == "<RateLimiter 10/s, burst 10, 1 of 1 under way>"


def test_a_loop_that_closes_just_when_it_should_set_a_timer_keeps_nobody() -> None:
    limiter = RateLimiter(concurrency=1, reserved=0)
    assert limiter.try_acquire(TRADING, CANDLES)
    with waiting_elsewhere(limiter, 2) as loop:
        limiter.hear(TRADING, CLOSE, 429, {"Retry-After": "30"})
        loop.closes_when_woken = True
        limiter.release(TRADING)
        assert loop.is_closed()
        assert "waiting" not in repr(limiter)


def test_a_call_of_a_closed_loop_that_the_garbage_collector_ends_is_forgotten_once() -> None:
    limiter = RateLimiter(concurrency=1, reserved=0)
    assert limiter.try_acquire(TRADING, CLOSE)
    with waiting_elsewhere(limiter, 2) as loop:
        loop.close()
    assert repr(limiter) == "<RateLimiter 10/s, burst 10, 1 of 1 under way>"


def test_a_slot_that_is_released_while_it_is_decided_who_goes_is_granted_once() -> None:
    limiter = RateLimiter(concurrency=2, reserved=0)
    assert limiter.try_acquire(TRADING, CLOSE)
    assert limiter.try_acquire(TRADING, CLOSE)
    with waiting_elsewhere(limiter, 3) as loop:
        # As the garbage collector does, in this thread.
        loop.when_asked = lambda: limiter.release(TRADING)
        limiter.release(TRADING)
        assert loop.when_asked is None
        assert repr(limiter) == "<RateLimiter 10/s, burst 10, 2 of 2 under way, 3 waiting>"
        # Two of the three have been granted, so one slot of each comes back when they are ended.
    assert repr(limiter) == "<RateLimiter 10/s, burst 10, 0 of 2 under way>"


def test_a_loop_that_wakes_its_timers_a_tick_early_does_not_spin() -> None:
    async def main(loop: StepLoop) -> float:
        limiter = RateLimiter(clock=loop.time)
        limiter.hear(TRADING, CLOSE, 429, {"Retry-After": "8"})
        waiting = loop.create_task(limiter.acquire(TRADING, CLOSE))
        await idle()
        early = 2.0**-21
        loop._clock_resolution = 2 * early  # type: ignore[attr-defined]
        loop.now -= early
        looks = 0
        while not waiting.done():
            looks += 1
            assert looks < 20
            await asyncio.sleep(0)
            if loop.now < 1008 - early:
                loop.now = 1008 - early
        return loop.now

    assert stepped(main) == 1008 - 2.0**-21


def left_behind(limiter: RateLimiter, *, closed: bool) -> asyncio.AbstractEventLoop:
    """A loop that ended while two of its calls waited for a slot, with nobody cancelling them."""
    loop = asyncio.new_event_loop()

    async def leave() -> None:
        kept.extend(asyncio.ensure_future(limiter.acquire(TRADING, CLOSE)) for _ in range(2))
        await asyncio.sleep(0)

    kept: list[asyncio.Task[None]] = []
    loop.run_until_complete(leave())
    if closed:
        loop.close()
        for task in kept:
            # Such a task is reported when it is forgotten; here that is meant.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
    return loop


def test_a_loop_that_was_closed_with_waiters_wedges_nobody() -> None:
    limiter = RateLimiter(concurrency=1, reserved=0)
    assert limiter.try_acquire(TRADING, CLOSE)
    left_behind(limiter, closed=True)
    assert "2 waiting" in repr(limiter)
    limiter.release(TRADING)

    async def go_on() -> None:
        for _ in range(3):
            async with asyncio.timeout(20), slot(limiter, TRADING):
                assert "waiting" not in repr(limiter)

    asyncio.run(go_on())
    gc.collect()
    assert limiter.try_acquire(TRADING, CLOSE)


def test_a_loop_that_was_closed_before_its_call_woke_keeps_no_slot() -> None:
    limiter = RateLimiter(concurrency=1, reserved=0)
    assert limiter.try_acquire(TRADING, CLOSE)
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(limiter.acquire(TRADING, CLOSE))

    def end() -> None:
        # Grants it; this is the last that the loop does.
        limiter.release(TRADING)
        loop.stop()

    loop.call_soon(end)
    loop.run_forever()
    loop.close()
    assert not waiting.done()
    assert "1 of 1 under way" in repr(limiter)

    async def go_on() -> None:
        async with asyncio.timeout(20), slot(limiter, TRADING):
            pass

    asyncio.run(go_on())
    assert limiter.try_acquire(TRADING, CLOSE)
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_loop_that_stands_still_is_passed_over_and_goes_on_when_it_runs_again() -> None:
    limiter = RateLimiter(concurrency=1, reserved=0)
    assert limiter.try_acquire(TRADING, CLOSE)
    stopped = left_behind(limiter, closed=False)
    limiter.release(TRADING)

    async def pass_by() -> None:
        for _ in range(3):
            async with asyncio.timeout(20), slot(limiter, TRADING):
                pass

    # Nobody is in the way of a turn without waiting.
    assert repr(limiter) == "<RateLimiter 10/s, burst 10, 0 of 1 under way>"
    asyncio.run(pass_by())

    async def go_on() -> None:
        mine = asyncio.current_task()
        for task in asyncio.all_tasks() - {mine}:
            async with asyncio.timeout(20):
                await asyncio.wait([*(asyncio.all_tasks() - {mine})], return_when=asyncio.FIRST_COMPLETED)
            assert not limiter.try_acquire(TRADING, CLOSE)
            limiter.release(TRADING)
            del task

    stopped.run_until_complete(go_on())
    stopped.close()
    assert repr(limiter) == "<RateLimiter 10/s, burst 10, 0 of 1 under way>"


def test_a_call_that_the_garbage_collector_ends_gives_back_what_it_had() -> None:
    limiter = RateLimiter(rate=1000, burst=1000, concurrency=1, reserved=0)

    def begin(coroutine: Coroutine[Any, Any, None]) -> Iterator[None]:
        coroutine.send(None)
        yield None
        coroutine.close()

    async def main() -> None:
        assert limiter.try_acquire(TRADING, CLOSE)
        thrown_away = begin(limiter.acquire(TRADING, CLOSE))
        next(thrown_away)
        waiting = asyncio.create_task(limiter.acquire(TRADING, CLOSE))
        await asyncio.sleep(0)
        # Granted, and never woken.
        limiter.release(TRADING)
        assert not waiting.done()
        next(thrown_away, None)
        await asyncio.wait_for(waiting, 20)

    asyncio.run(main())


def test_a_call_that_the_garbage_collector_ends_in_the_middle_of_a_decision_is_seen_to() -> None:
    async def main(loop: StepLoop) -> None:
        looks = 0

        def clock() -> float:
            nonlocal looks
            looks -= 1
            if looks == 0:
                limiter.release(TRADING)
            return loop.time()

        limiter = RateLimiter(rate=100, burst=100, concurrency=1, reserved=0, clock=clock)
        assert limiter.try_acquire(TRADING, CLOSE)
        waiting = loop.create_task(limiter.acquire(TRADING, CLOSE))
        await idle()
        limiter.hear(EXIT, CLOSE_ALL, 429, {"Retry-After": "30"})
        # The second look at the clock is for the timer of this one, after it was decided who goes.
        looks = 2
        held = loop.create_task(limiter.acquire(EXIT, CLOSE_ALL))
        await idle()
        assert looks < 0
        assert waiting.done()
        held.cancel()

    stepped(main)


_FORKS = """
import asyncio, os, sys, threading, warnings
from alura_async import Lane, RateLimiter
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of every fork beside threads

limiter = RateLimiter(rate=1000, burst=5, concurrency=1, reserved=0)

async def calls():
    for _ in range(20):
        async with asyncio.timeout(10):
            await limiter.acquire(Lane.TRADING, "x GET /")
        limiter.release(Lane.TRADING)

async def wait():
    await limiter.acquire(Lane.TRADING, "x GET /")
    limiter.release(Lane.TRADING)

assert limiter.try_acquire(Lane.TRADING, "x GET /")
thread = threading.Thread(target=lambda: asyncio.run(wait()))
thread.start()
while "1 waiting" not in repr(limiter):
    pass
child = os.fork()
if child == 0:
    print(limiter, flush=True)
    asyncio.run(calls())
    print("child", flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(limiter, flush=True)
limiter.release(Lane.TRADING)
thread.join(10)
asyncio.run(calls())
print("parent", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_process_begins_afresh_and_the_parent_goes_on() -> None:
    found = subprocess.run([sys.executable, "-c", _FORKS], capture_output=True, text=True, check=False, timeout=30)
    assert (found.returncode, found.stderr) == (0, "")
    afresh = "<RateLimiter 1000/s, burst 5, 0 of 1 under way>"
    assert found.stdout.splitlines() == [
        afresh,
        "child",
        afresh.replace("0 of 1 under way", "1 of 1 under way, 1 waiting"),
        "parent",
    ]


# Settings


@pytest.mark.parametrize("rate", [0, -1, 9e-7, 1e9 + 1, float("nan"), -inf, True, "10", None])
def test_a_rate_that_cannot_be_is_refused(rate: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"rate=.*calls a second"):
        RateLimiter(rate=rate)


@pytest.mark.parametrize("name", ["burst", "concurrency", "reserved"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "3", None, 1 << 70])
def test_a_number_that_cannot_be_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}=.*whole number"):
        RateLimiter(**{name: value})


@pytest.mark.parametrize(("concurrency", "reserved"), [(4, 4), (1, 2)])
def test_market_data_is_left_a_slot(concurrency: int, reserved: int) -> None:
    with pytest.raises(ConfigurationError, match=f"reserve at most {concurrency - 1}"):
        RateLimiter(concurrency=concurrency, reserved=reserved)


def test_a_huge_burst_and_any_pace_are_fine() -> None:
    huge = RateLimiter(rate=0.001, burst=10**6, concurrency=10**6)
    assert all(huge.try_acquire(TRADING, CLOSE) for _ in range(5000))
    paceless = RateLimiter(rate=inf, concurrency=2, reserved=0)
    assert [paceless.try_acquire(MARKET, CANDLES) for _ in range(3)] == [True, True, False]
    assert repr(paceless) == "<RateLimiter inf/s, burst 10, 2 of 2 under way>"


@pytest.mark.parametrize(
    ("name", "least", "most"), [("burst", 1, 10**6), ("concurrency", 1, None), ("reserved", 0, None)]
)
def test_a_number_may_be_as_small_and_as_large_as_the_message_says(name: str, least: int, most: int | None) -> None:
    given = {"reserved": 0, name: least}
    assert RateLimiter(**given).try_acquire(MARKET, CANDLES)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=rf"{name}={least - 1}: .* from {least} to"):
        RateLimiter(**(given | {name: least - 1}))  # type: ignore[arg-type]
    if most is not None:
        RateLimiter(**(given | {name: most}))  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=rf"{name}={most + 1}: .* from {least} to {most}$"):
            RateLimiter(**(given | {name: most + 1}))  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [1e-6, 1, 0.5, 1e9, inf])
def test_a_rate_may_be_from_one_in_eleven_days_to_any(rate: float) -> None:
    assert repr(RateLimiter(rate=rate)) == f"<RateLimiter {rate:g}/s, burst 10, 0 of 16 under way>"
