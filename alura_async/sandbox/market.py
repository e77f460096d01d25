"""The sandbox's market: candles and prices of every listed asset, the same for the same seed in any order of asking.

A candle is served only where there were trades and the indicator service recorded them. One in `CORRECTED` is served
without its last trades at first, and in its final form from 20 seconds to 10 minutes after its close on; after that
a candle is the exact aggregate of the shorter ones. Prices are what was traded, recorded or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from ..groups.indicators import Candle
from .bars import PARTS, SPANS, Bar, History, Touch
from .listing import LISTED, Asset
from .recorder import FINAL_AFTER_S, Gap, Recorder
from .regimes import Regimes
from .tape import Halt, Move, Tape, joined

INTERVALS: dict[str, int] = {"1m": 5, "5m": 4, "15m": 3, "1h": 2, "4h": 1, "1d": 0}
"""The intervals that candles come in, and the level of the tree that each is."""


class Market:
    """Prices from 2020 on, made when they are asked for.

    Attributes:
        version: how many scripts it follows.

    Args:
        seed: what makes one market different from another.
    """

    def __init__(self, seed: int) -> None:
        regimes = Regimes(seed)
        self.version = 0
        self._tapes = [Tape(History(asset, seed, regimes)) for asset in LISTED]
        self._recorder = Recorder(seed)

    def is_listed(self, asset: Asset, at_ms: int) -> bool:
        """Whether an asset is traded already."""
        return at_ms >= asset.listed_ms

    def listed(self, at_ms: int) -> list[Asset]:
        """The assets that are traded, in the order of their indices."""
        return [asset for asset in LISTED if asset.listed_ms <= at_ms]

    def price(self, asset: Asset, at_ms: int) -> Decimal:
        """What a listed asset costs, in USDC."""
        return asset.price(self.ticks(asset, at_ms))

    def ticks(self, asset: Asset, at_ms: int) -> int:
        """What a listed asset costs, in ticks."""
        assert at_ms >= asset.listed_ms, f"{asset.symbol} has no price before it is listed"
        return self._tapes[asset.index].ticks(at_ms // 1000)

    def first_touch(self, asset: Asset, start_ms: int, end_ms: int, upper: int, lower: int) -> Touch | None:
        """The first second between two moments in which the price reaches one of two levels, in ticks."""
        start, end = start_ms // 1000, end_ms // 1000
        if start >= end:
            return None
        return self._tapes[asset.index].first_touch(start, end, upper, lower)

    def recent(self, asset: Asset, interval: str, count: int, now_ms: int) -> list[tuple[int, Bar]]:
        """The last bars there are, each with its number, oldest first; the last may be running."""
        level, now = INTERVALS[interval], now_ms // 1000
        return self._latest(asset, level, now // SPANS[level], now, count)

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
        """Candles, oldest first, the running one included if it has a trade.

        Args:
            asset: the asset.
            interval: one of `INTERVALS`.
            now_ms: the moment after which nothing is known.
            limit: how many at most.
            start_ms: the earliest open time; the first `limit` candles that there are from there on are given.
            end_ms: the latest open time; without a start, the last `limit` candles that there are up to there are
                given.
        """
        level = INTERVALS[interval]
        span = SPANS[level] * 1000
        last = min(now_ms, now_ms if end_ms is None else end_ms) // span
        if start_ms is None:
            found = self._latest(asset, level, last, now_ms // 1000, limit)
        else:
            onward = self._onward(asset, level, -(-start_ms // span), last, now_ms // 1000)
            found = [numbered for numbered, _ in zip(onward, range(limit), strict=False)]
        candles: list[Candle] = []
        closed, close_text = 0, ""
        for index, bar in found:
            # As a rule a candle opens where the one before it closed.
            open_text = close_text if bar.open == closed else asset.price_text(bar.open)
            closed, close_text = bar.close, asset.price_text(bar.close)
            candles.append(
                Candle(
                    open_time_ms=index * span,
                    close_time_ms=(index + 1) * span - 1,
                    symbol=asset.symbol,
                    interval=interval,
                    open_text=open_text,
                    close_text=close_text,
                    high_text=asset.price_text(bar.high),
                    low_text=asset.price_text(bar.low),
                    volume_text=asset.volume_text(bar.volume),
                    trades=bar.trades,
                )
            )
        return candles

    def script(self, asset: Asset, script: Move | Halt) -> None:
        """Follow a script that overlaps no other of this asset and does not reach into what was told already."""
        self._tapes[asset.index].add(script)
        self.version += 1

    def highest(self, asset: Asset, script: Move | Halt) -> int:
        """The highest price, in ticks, that any of an asset's scripts would begin or end with if it followed this."""
        return self._tapes[asset.index].highest(script)

    def scripted(self, asset: Asset, start: int, end: int) -> Move | Halt | None:
        """A script of an asset that has a second in common with a span of time, in epoch seconds."""
        return self._tapes[asset.index].overlapping(start, end)

    def resumes_ms(self, asset: Asset, at_ms: int) -> int | None:
        """When trading goes on, if an asset's is halted at a moment."""
        script = self.scripted(asset, at_ms // 1000, at_ms // 1000 + 1)
        return script.end * 1000 if isinstance(script, Halt) else None

    def record_nothing(self, gap: Gap) -> None:
        """Let the indicator service be down for a while."""
        self._recorder.add(gap)
        self.version += 1

    def down_since_ms(self, at_ms: int) -> int | None:
        """Since when the indicator service is down, if it is at a moment."""
        start = self._recorder.down_since(at_ms // 1000)
        return None if start is None else start * 1000

    def _onward(self, asset: Asset, level: int, first: int, last: int, now: int) -> Iterator[tuple[int, Bar]]:
        """The bars there are from one number to another, oldest first."""
        reading = _Reading(asset, self._tapes[asset.index], self._recorder, level, now)
        index = max(first, reading.oldest)
        last = min(last, now // SPANS[level])
        while index <= last:
            bar = reading.bar(index)
            if bar is not None:
                yield index, bar
                index += 1
            else:
                _, index = reading.hole(index)

    def _latest(self, asset: Asset, level: int, last: int, now: int, count: int) -> list[tuple[int, Bar]]:
        """The last bars there are up to a number, oldest first."""
        reading = _Reading(asset, self._tapes[asset.index], self._recorder, level, now)
        found: list[tuple[int, Bar]] = []
        index = last
        while index >= reading.oldest and len(found) < count:
            bar = reading.bar(index)
            if bar is not None:
                found.append((index, bar))
                index -= 1
            else:
                index = reading.hole(index)[0] - 1
        found.reverse()
        return found


class _Reading:
    """Reads one asset's bars of one level as they are told at a moment.

    Attributes:
        oldest: the number of the first bar there can be.

    Args:
        asset: the asset.
        tape: what it traded.
        recorder: what was recorded of it.
        level: the level of the bars.
        now: the moment, in epoch seconds.
    """

    def __init__(self, asset: Asset, tape: Tape, recorder: Recorder, level: int, now: int) -> None:
        self._symbol = asset.symbol
        self._listed = asset.listed_ms // 1000
        self._tape = tape
        self._recorder = recorder
        self._level = level
        self._now = now
        self.oldest = self._listed // SPANS[level]
        # Numbers from which and before which all bars are recorded as a whole and final.
        self._whole = (0, 0)
        # The bars of the longer bar that was last looked into, and the number of its first.
        self._inside: list[Bar] = []
        self._first = 0

    def bar(self, index: int) -> Bar | None:
        """A bar as it is told; None if nothing of it is."""
        since, until = self._whole
        if not since <= index < until:
            span = SPANS[self._level]
            start, end = self._recorder.whole(index * span)
            start, end = max(start, self._listed), min(end, self._now - FINAL_AFTER_S)
            since, until = self._whole = -(-start // span), end // span
            if not since <= index < until:
                return self._unsettled(index)
        place = index - self._first
        if not 0 <= place < len(self._inside):
            if self._level == 0:
                self._first, self._inside = index, [self._tape.bar(0, index)]
            else:
                outer, place = divmod(index, PARTS[self._level - 1])
                self._first, self._inside = index - place, self._tape.inside(self._level - 1, outer)
            place = index - self._first
        bar = self._inside[place]
        return bar if bar.trades else None

    def hole(self, index: int) -> tuple[int, int]:
        """How far a hole reaches without a doubt: the first number of the longest bar of nothing, and the next after.

        So a hole of months costs no more than its days.
        """
        first, after = index, index + 1
        since, until = self._whole
        if since <= index < until and any(bar.trades for bar in self._inside):
            return first, after
        level, each = self._level, 1
        while level > 0:
            level -= 1
            index, each = index // PARTS[level], each * PARTS[level]
            if self._recorded(level, index, min((index + 1) * SPANS[level], self._now)) is not None:
                break
            first, after = index * each, (index + 1) * each
        return first, after

    def _unsettled(self, index: int) -> Bar | None:
        """A bar that is running, may be corrected, or was recorded in part."""
        close = (index + 1) * SPANS[self._level]
        until = min(close, self._now)
        # An old one is here because it was recorded in part: it is final.
        if self._now < close + FINAL_AFTER_S:
            late = self._recorder.late(self._symbol, self._level, index)
            if late is not None and self._now < close + late.after:
                until = min(until, close - late.lag)
        return self._recorded(self._level, index, until)

    def _recorded(self, level: int, index: int, until: int) -> Bar | None:
        """What was recorded of a bar up to a second; None if there was no trade."""
        since = max(index * SPANS[level], self._listed)
        pieces = self._recorder.recorded(since, until)
        bars = [bar for start, end in pieces if (bar := self._tape.within(level, index, start, end)).trades]
        return joined(bars) if bars else None
