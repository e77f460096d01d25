"""One asset's price history as a tree: a day holds its hours, an hour its minutes, down to seconds.

A bar is decided before the bars inside it, and those are drawn so that together they are exactly that bar: they open
and close where it does, reach its high and its low and no further, and share out its volume. So a day costs the same as
a second, a candle of any interval is the exact aggregate of the shorter ones, and a price that is first reached
somewhere in a year is found by looking only into the bars that reach it.

All numbers are whole: prices in ticks, volumes in units of their last decimal. What was asked before changes nothing.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

from . import chance
from .listing import Asset

SPANS = (86_400, 14_400, 3_600, 900, 300, 60, 10, 2, 1)
"""Seconds of a bar at each level."""

LEAF = len(SPANS) - 1

_PARTS = tuple(outer // inner for outer, inner in pairwise(SPANS))

# Days between two knots of the price: between them it wanders freely, over them it stays near the usual price.
_KNOT_DAYS = 256
_HALVINGS = 8
# The price's logarithm at a knot is at most this far from the usual price's.
_KNOT_REACH = Decimal("0.5")
# Decimal's exp is correctly rounded, so it gives the same digits everywhere; a float's is not.
_EXACT = Context(prec=18, rounding=ROUND_HALF_EVEN)

# A bar's range is about 1.6 standard deviations of its move: what one part of it moves, and how far its wicks reach.
_UNIT = 1 << 16
_WICK = tuple(round(0.5 / sqrt(parts) * _UNIT) for parts in _PARTS)
_STEPS = tuple(
    tuple(round(sqrt(3) * 0.62 / sqrt(parts) * sqrt((left - 1) / left) * _UNIT) for left in range(parts, 1, -1))
    for parts in _PARTS
)

# Split bars that are kept for the next question, for one asset: memory stays constant over any history.
_KEPT = 512


class Bar(NamedTuple):
    """Prices in ticks, volume in units of its last decimal, number of trades."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    trades: int


class Touch(NamedTuple):
    """The first second in which a price was reached, in epoch seconds, and whether it was the upper one."""

    second: int
    upper: bool


class History:
    """The bars of one asset, from the past to any future.

    Args:
        asset: the asset.
        seed: what makes one history different from another.
    """

    def __init__(self, asset: Asset, seed: int) -> None:
        self._asset = asset
        self._key = chance.digest("market", seed, asset.symbol)
        self._split: dict[tuple[int, int], list[Bar]] = {}
        self._days: dict[int, int] = {}

    def bar(self, level: int, index: int) -> Bar:
        """The whole bar that begins at `index * SPANS[level]` epoch seconds."""
        if level == 0:
            return self._day(index)
        parts = _PARTS[level - 1]
        return self._inside(level - 1, index // parts)[index % parts]

    def running(self, level: int, index: int, second: int) -> Bar:
        """The part of a bar that lies before `second`."""
        end = (index + 1) * SPANS[level]
        if second >= end:
            return self.bar(level, index)
        first = self.bar(level, index).open
        high, low, close, volume, trades = first, first, first, 0, 0
        while level < LEAF:
            parts, span = _PARTS[level], SPANS[level + 1]
            past = second // span - index * parts
            inside = self._inside(level, index)
            for part in inside[:past]:
                high, low, close = max(high, part.high), min(low, part.low), part.close
                volume += part.volume
                trades += part.trades
            level, index = level + 1, index * parts + past
        return Bar(first, high, low, close, volume, trades)

    def ticks(self, second: int) -> int:
        """The price at the beginning of a second, which is the close of the second before."""
        return self.bar(LEAF, second).open

    def first_touch(self, start: int, end: int, upper: int, lower: int) -> Touch | None:
        """The first second from `start` until before `end` in which the price reaches `upper` or `lower` ticks.

        A second that reaches both counts for the lower one.
        """
        day = SPANS[0]
        for index in range(start // day, (end - 1) // day + 1):
            touch = self._touch(0, index, start, end, upper, lower)
            if touch is not None:
                return touch
        return None

    def _touch(self, level: int, index: int, start: int, end: int, upper: int, lower: int) -> Touch | None:
        bar = self.bar(level, index)
        if bar.high < upper and bar.low > lower:
            return None
        if level == LEAF:
            return Touch(index, bar.low > lower)
        parts, span = _PARTS[level], SPANS[level + 1]
        first = max(index * parts, start // span)
        last = min((index + 1) * parts - 1, (end - 1) // span)
        for inner in range(first, last + 1):
            touch = self._touch(level + 1, inner, start, end, upper, lower)
            if touch is not None:
                return touch
        return None

    def _inside(self, level: int, index: int) -> list[Bar]:
        place = (level, index)
        inside = self._split.get(place)
        if inside is None:
            inside = _divide(self.bar(level, index), level, chance.shorts(self._key, level, index))
            if len(self._split) >= _KEPT:
                self._split.clear()
            self._split[place] = inside
        return inside

    def _day(self, day: int) -> Bar:
        opened, closed = self._dawn(day), self._dawn(day + 1)
        draws = chance.shorts(self._key, 100, day)
        reach = max(opened, closed) * self._asset.volatility
        high = max(opened, closed) + reach * draws[0] // (1_000_000 * _UNIT) + 1
        low = min(opened, closed) - reach * draws[1] // (1_000_000 * _UNIT) - 1
        volume = self._asset.turnover * (_UNIT // 2 + draws[2]) // _UNIT
        return Bar(opened, high, low, closed, volume, 1_000_000 + draws[3] * 16)

    def _dawn(self, day: int) -> int:
        """The price at the first moment of a day, in ticks."""
        known = self._days.get(day)
        if known is not None:
            return known
        power = Decimal(self._logarithm(day)).scaleb(-12)
        ticks = int(_EXACT.multiply(_EXACT.exp(power), self._asset.base))
        if len(self._days) >= 4 * _KEPT:
            self._days.clear()
        self._days[day] = ticks
        return ticks

    def _logarithm(self, day: int) -> int:
        """Logarithm of price over usual price, in 10**-12: drawn at two knots, then halfway again and again."""
        knot, offset = divmod(day, _KNOT_DAYS)
        left, right = self._knot(knot), self._knot(knot + 1)
        first, span = 0, _KNOT_DAYS
        for halving in range(_HALVINGS):
            if offset == first:
                break
            span //= 2
            draws = chance.shorts(self._key, 110 + halving, knot * _KNOT_DAYS + first + span)
            # The sum of four, which is bell-shaped with a deviation of 1/sqrt(3), scaled to half the span's root.
            bell = draws[0] + draws[1] + draws[2] + draws[3] - 2 * _UNIT
            middle = (left + right) // 2 + bell * self._asset.volatility * _ROOTS[halving] // _UNIT
            if offset < first + span:
                right = middle
            else:
                left, first = middle, first + span
        return left

    def _knot(self, knot: int) -> int:
        draw = chance.shorts(self._key, 101, knot)[0] - _UNIT // 2
        return int(draw * 2 * _KNOT_REACH * 10**12) // _UNIT


# Deviation of the midpoint of a span of days is its root times a day's deviation, over two; in 10**-6.
_ROOTS = tuple(round(sqrt(3) * sqrt(_KNOT_DAYS >> halving) / 2 * 10**6) for halving in range(_HALVINGS))


def _divide(bar: Bar, level: int, draws: tuple[int, ...]) -> list[Bar]:
    """Draw the bars that together are exactly this bar."""
    parts = _PARTS[level]
    opened, high, low, closed, volume, trades = bar
    reach = high - low
    edges = [opened]
    price = opened
    for place, step in enumerate(_STEPS[level]):
        price += (closed - price) // (parts - place) + ((draws[place] - 32_768) * step * reach >> 31)
        # What would leave the bar is thrown back into it.
        if price > high:
            price = max(low, 2 * high - price)
        elif price < low:
            price = min(high, 2 * low - price)
        edges.append(price)
    edges.append(closed)
    wick = _WICK[level] * reach
    highs: list[int] = []
    lows: list[int] = []
    for place in range(parts):
        before, after = edges[place], edges[place + 1]
        top, bottom = (before, after) if before > after else (after, before)
        highs.append(min(high, top + (draws[6 + place] * wick >> 32)))
        lows.append(max(low, bottom - (draws[12 + place] * wick >> 32)))
    highs[highs.index(max(highs))] = high
    lows[lows.index(min(lows))] = low
    volumes, counts = _shares(volume, trades, draws[18 : 18 + parts])
    return [
        Bar(edges[place], highs[place], lows[place], edges[place + 1], volumes[place], counts[place])
        for place in range(parts)
    ]


def _shares(volume: int, trades: int, draws: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Share out volume and trades; a part without trades has no volume either."""
    weights = [16_384 + draw for draw in draws]
    total = sum(weights)
    counts = [trades * weight // total for weight in weights]
    counts[-1] += trades - sum(counts)
    traded = [weight if count else 0 for weight, count in zip(weights, counts, strict=True)]
    total = sum(traded) or 1
    volumes = [volume * weight // total for weight in traded]
    volumes[traded.index(max(traded))] += volume - sum(volumes)
    return volumes, counts
