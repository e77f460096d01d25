"""A process that pulls, counts what it gets and lets go of it: `python -m tests.bulk.puller URL SYMBOLS START END`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np

from alura_async import AsyncAlura, RateLimiter, Timeouts
from alura_async.bulk import Candles

_WRAP = 1 << 64


class Digest:
    """What tells any set of candles from any other, in whatever order and pieces they come."""

    def __init__(self) -> None:
        self.candles = 0
        self._sums: dict[str, int] = {}

    def add(self, symbol: str, candles: Candles) -> None:
        """Take in the candles of a symbol."""
        self.candles += len(candles)
        minutes = candles.open_time.astype(np.int64).astype(np.uint64) // np.uint64(60_000)
        columns = {name: getattr(candles, name).view(np.uint64) for name in ("open", "high", "low", "close", "volume")}
        columns["trades"] = np.asarray(candles.trades, dtype=np.uint64)
        columns["time"] = minutes
        for name, column in columns.items():
            # Which number stands at which time counts: to swap two changes it.
            total = int((column * (minutes * minutes + np.uint64(1))).sum(dtype=np.uint64))
            key = f"{symbol} {name}"
            self._sums[key] = (self._sums.get(key, 0) + total) % _WRAP

    @property
    def text(self) -> str:
        """Equal for equal candles."""
        return json.dumps([self.candles, sorted(self._sums.items())])


def resident_mib() -> float:
    """The most memory that this process has ever had resident. Unix alone tells."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


async def pull(url: str, symbols: list[str], start_ms: int, end_ms: int) -> dict[str, Any]:
    """Pull all of it, and say what came and how memory grew after the first tenth of it."""
    digest, gaps, pages = Digest(), [], 0
    expected = (end_ms - start_ms) // 60_000 * len(symbols)
    at_first = 0.0
    limiter = RateLimiter(rate=5000, burst=50)
    async with AsyncAlura(base_url=url, limiter=limiter, timeout=Timeouts(call=60, read=1)) as alura:
        async for page in alura.bulk.candles(symbols, "1m", start=start_ms, end=end_ms):
            pages += 1
            if page.error is not None:
                gaps.append(str(page.error))
                continue
            digest.add(page.symbol, page.candles)
            if not at_first and digest.candles >= expected / 10:
                at_first = resident_mib()
    grown = resident_mib() - at_first
    return {"digest": digest.text, "candles": digest.candles, "pages": pages, "gaps": gaps, "grown_mib": grown}


if __name__ == "__main__":
    _, address, names, since, until = sys.argv
    print(json.dumps(asyncio.run(pull(address, names.split(","), int(since), int(until)))))
