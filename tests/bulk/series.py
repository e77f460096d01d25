"""Candles and pages to fill a store with."""

from __future__ import annotations

import numpy as np

from alura_async import AluraError
from alura_async.bulk import Candles
from alura_async.bulk.pages import CandlePage
from alura_async.bulk.plan import Window

ORIGIN = "http://127.0.0.1:1"
MINUTE = 60_000
# 2026-01-31T20:00Z: four hours before a month's end.
START = 1_769_889_600_000


def candles(
    symbol: str = "BTC",
    interval: str = "1m",
    *,
    start: int = START,
    count: int = 600,
    span: int = MINUTE,
    seed: int = 1,
) -> Candles:
    """Candles one after the other, where every seventh minute had no trade."""
    chance = np.random.default_rng(seed)
    times = start + np.arange(count, dtype=np.int64) * span
    times = times[times // span % 7 != 0]
    price = 64_000 + chance.normal(0, 50, len(times)).cumsum()
    trades = chance.integers(1, 3000, len(times))
    trades[::50] = -1
    volume = chance.random(len(times)) * 20
    volume[::40] = np.nan
    return Candles(
        symbol,
        interval,
        open_time=times,
        open=price,
        high=price + 3.3,
        low=price - 0.1,
        close=price + 1.7,
        volume=volume,
        trades=trades,
        closed=np.ones(len(times), np.bool_),
    )


def pages(
    table: Candles,
    *,
    start: int = START,
    count: int = 600,
    span: int = MINUTE,
    each: int = 100,
    as_of: int | None = None,
) -> list[CandlePage]:
    """The pages in which a pull brings a range of a table."""
    assert table.symbol is not None
    assert table.interval is not None
    end = start + count * span
    return [
        CandlePage(
            Window(table.symbol, table.interval, first, min(first + each * span, end)),
            end + span if as_of is None else as_of,
            candles=table.between(first, min(first + each * span, end)),
        )
        for first in range(start, end, each * span)
    ]


def gap(page: CandlePage, error: AluraError) -> CandlePage:
    """The same page, had the server not answered."""
    return CandlePage(page.window, page.as_of_ms, error=error)
