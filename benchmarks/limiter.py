"""What the rate limiter itself costs: a turn that is free, and a turn that a thousand others wait for as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from .contest import Benchmark, Case, Contestant, Job, Measurement, Page
from .drive import AsyncCall, Stopwatch, asynchronous, by_workers, in_sequence

# Nobody ever waits at this pace.
_FREE = 1e9
_WAITERS = 1000
_PACE = 2000
_BURST = 10
_SLOTS = 16
_ENDPOINT = "https://alura.test GET /api/indicators/candles/:symbol/:interval"


def _accept(answer: object) -> None:
    """Taking a turn has no answer to check."""


# No calls are made, so nothing is read.
_TURN = Page("a turn", "/health", "/health", b"", _accept)


@asynccontextmanager
async def _aiolimiter_free(job: Job) -> AsyncGenerator[AsyncCall, None]:
    from aiolimiter import AsyncLimiter

    yield AsyncLimiter(_FREE, 1).acquire


@asynccontextmanager
async def _aiolimiter_free_with_slots(job: Job) -> AsyncGenerator[AsyncCall, None]:
    from aiolimiter import AsyncLimiter

    acquire = AsyncLimiter(_FREE, 1).acquire
    slots = asyncio.Semaphore(_SLOTS)

    async def take() -> None:
        async with slots:
            await acquire()

    yield take


@asynccontextmanager
async def _aiolimiter_waiting(job: Job) -> AsyncGenerator[AsyncCall, None]:
    from aiolimiter import AsyncLimiter

    yield AsyncLimiter(_BURST, _BURST / _PACE).acquire


@asynccontextmanager
async def _ours_free(job: Job) -> AsyncGenerator[AsyncCall, None]:
    from alura_async import Lane, RateLimiter

    limiter = RateLimiter(rate=_FREE, burst=10**6, concurrency=10**9)
    lane = Lane.MARKET

    # As the road takes it: it waits only where it has to.
    async def take() -> None:
        if not limiter.try_acquire(lane, _ENDPOINT):
            await limiter.acquire(lane, _ENDPOINT)

    yield take


@asynccontextmanager
async def _ours_free_with_slots(job: Job) -> AsyncGenerator[AsyncCall, None]:
    from alura_async import Lane, RateLimiter

    limiter = RateLimiter(rate=_FREE, burst=10**6, concurrency=_SLOTS)
    lane = Lane.MARKET

    async def take() -> None:
        if not limiter.try_acquire(lane, _ENDPOINT):
            await limiter.acquire(lane, _ENDPOINT)
        limiter.release(lane)

    yield take


@asynccontextmanager
async def _ours_unlimited(job: Job) -> AsyncGenerator[AsyncCall, None]:
    from alura_async import Lane, RateLimiter

    limiter = RateLimiter.unlimited()
    lane = Lane.MARKET

    async def take() -> None:
        if not limiter.try_acquire(lane, _ENDPOINT):
            await limiter.acquire(lane, _ENDPOINT)
        limiter.release(lane)

    yield take


@asynccontextmanager
async def _ours_waiting(job: Job) -> AsyncGenerator[AsyncCall, None]:
    from alura_async import Lane, RateLimiter

    limiter = RateLimiter(rate=_PACE, burst=_BURST, concurrency=10**9)
    lane = Lane.MARKET

    async def take() -> None:
        if not limiter.try_acquire(lane, _ENDPOINT):
            await limiter.acquire(lane, _ENDPOINT)

    yield take


def _ideal(job: Job) -> Measurement:
    async def measure() -> Measurement:
        with Stopwatch(job) as watch:
            await asyncio.sleep(job.requests / _PACE)
        return watch.measurement

    return asyncio.run(measure())


_AIOLIMITER = Contestant("aiolimiter", asynchronous(_aiolimiter_waiting, by_workers), "aiolimiter")
_OURS = Contestant("RateLimiter", asynchronous(_ours_waiting, by_workers), "alura_async", ours=True)

BENCHMARK = Benchmark(
    title="limiter: taking a turn, without a call; asyncio",
    cases=(
        Case(
            name="pace, nobody waits",
            page=_TURN,
            concurrency=1,
            requests=200_000,
            contestants=(
                Contestant("aiolimiter", asynchronous(_aiolimiter_free, in_sequence), "aiolimiter"),
                Contestant("RateLimiter", asynchronous(_ours_free, in_sequence), "alura_async", ours=True),
            ),
            reference="aiolimiter",
            must=1.00,
            stretch=0.60,
        ),
        Case(
            name=f"pace and {_SLOTS} slots, nobody waits",
            page=_TURN,
            concurrency=1,
            requests=200_000,
            contestants=(
                Contestant(
                    "aiolimiter + Semaphore", asynchronous(_aiolimiter_free_with_slots, in_sequence), "aiolimiter"
                ),
                Contestant("RateLimiter", asynchronous(_ours_free_with_slots, in_sequence), "alura_async", ours=True),
                Contestant("unlimited", asynchronous(_ours_unlimited, in_sequence), "alura_async", ours=True),
            ),
            reference="aiolimiter + Semaphore",
            must=0.60,
            stretch=0.40,
        ),
        # What counts here is the contestants' own processor time: all of them take as long as the pace makes them.
        Case(
            name=f"{_WAITERS} wait, {_PACE} turns a second: processor time",
            page=_TURN,
            concurrency=_WAITERS,
            requests=2 * _PACE,
            contestants=(_AIOLIMITER, _OURS),
            reference="aiolimiter",
            must=1.00,
            stretch=0.60,
        ),
        Case(
            name=f"{_WAITERS} wait, {_PACE} turns a second: wall time",
            page=_TURN,
            concurrency=_WAITERS,
            requests=2 * _PACE,
            contestants=(Contestant("ideal", _ideal, "asyncio"), _AIOLIMITER, _OURS),
            reference="ideal",
            must=1.02,
            stretch=1.01,
        ),
    ),
)
