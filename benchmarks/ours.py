"""The SDK as a contestant, with all its layers on.

Whatever paces calls has to be opened wide here: it stays on, but must not hold a call back, or it is what gets
measured.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from .contest import CANDLE_PAGE, CANDLES, Job
from .drive import AsyncCall, BlockingCall


@asynccontextmanager
async def asynchronous(job: Job) -> AsyncGenerator[AsyncCall, None]:
    """`AsyncAlura`, through the method that users call."""
    from alura_async import AsyncAlura, RateLimiter

    async with AsyncAlura(base_url=job.base_url, limiter=RateLimiter.unlimited()) as alura:
        if job.page is CANDLE_PAGE:
            candles = alura.indicators.candles
            yield lambda: candles("BTC", "1m", limit=CANDLES)
        else:
            yield alura.health.basic


@contextmanager
def blocking(job: Job) -> Generator[BlockingCall, None, None]:
    """`Alura`, through the method that users call."""
    from alura_async import Alura, RateLimiter

    with Alura(base_url=job.base_url, limiter=RateLimiter.unlimited()) as alura:
        if job.page is CANDLE_PAGE:
            candles = alura.indicators.candles
            yield lambda: candles("BTC", "1m", limit=CANDLES)
        else:
            yield alura.health.basic
