"""The sandbox's market: candles and prices of every listed asset, the same for the same seed in any order of asking."""

from __future__ import annotations

from decimal import Decimal

from ..groups.indicators import Candle
from .bars import SPANS, Bar, History, Touch
from .listing import LISTED, Asset

INTERVALS: dict[str, int] = {"1m": 5, "5m": 4, "15m": 3, "1h": 2, "4h": 1, "1d": 0}
"""The intervals that candles come in, and the level of the tree that each is."""

LISTED_SINCE_MS = 1_577_836_800_000
"""The market's first moment, 2020-01-01."""


class Market:
    """Prices from 2020 on, made when they are asked for.

    Args:
        seed: what makes one market different from another.
    """

    def __init__(self, seed: int) -> None:
        self._histories = [History(asset, seed) for asset in LISTED]

    def price(self, asset: Asset, at_ms: int) -> Decimal:
        """What an asset costs, in USDC: it changes every second."""
        return asset.price(self.ticks(asset, at_ms))

    def ticks(self, asset: Asset, at_ms: int) -> int:
        """What an asset costs, in ticks."""
        return self._histories[asset.index].ticks(at_ms // 1000)

    def first_touch(self, asset: Asset, start_ms: int, end_ms: int, upper: int, lower: int) -> Touch | None:
        """The first second between two moments in which the price reaches one of two levels, in ticks."""
        start, end = start_ms // 1000, end_ms // 1000
        if start >= end:
            return None
        return self._histories[asset.index].first_touch(start, end, upper, lower)

    def bars(self, asset: Asset, interval: str, first: int, last: int, now_ms: int) -> list[Bar]:
        """Bars by number, an interval's bars being numbered from the epoch; the last may be running."""
        history, level = self._histories[asset.index], INTERVALS[interval]
        bars = [history.bar(level, index) for index in range(first, last)]
        if last >= first:
            bars.append(history.running(level, last, now_ms // 1000))
        return bars

    def candles(
        self,
        asset: Asset,
        interval: str,
        *,
        now_ms: int,
        limit: int,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> list[Candle]:
        """Candles, oldest first, the running one included.

        Args:
            asset: the asset.
            interval: one of `INTERVALS`.
            now_ms: the moment after which nothing is known.
            limit: how many at most.
            start_ms: the earliest open time; the first `limit` candles from there on are given.
            end_ms: the latest open time; without a start, the last `limit` candles up to there are given.
        """
        span = SPANS[INTERVALS[interval]] * 1000
        last = min(now_ms, now_ms if end_ms is None else end_ms) // span
        oldest = -(-LISTED_SINCE_MS // span)
        if start_ms is None:
            first = max(oldest, last - limit + 1)
        else:
            first = max(oldest, -(-start_ms // span))
            last = min(last, first + limit - 1)
        return [
            Candle(
                open_time_ms=index * span,
                close_time_ms=(index + 1) * span - 1,
                symbol=asset.symbol,
                interval=interval,
                open_text=asset.price_text(bar.open),
                close_text=asset.price_text(bar.close),
                high_text=asset.price_text(bar.high),
                low_text=asset.price_text(bar.low),
                volume_text=asset.volume_text(bar.volume),
                trades=bar.trades,
            )
            for index, bar in enumerate(self.bars(asset, interval, first, last, now_ms), first)
        ]
