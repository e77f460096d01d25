"""What an asset's trades print: its history by nature, with what was scripted laid over it.

A script cuts time into segments that begin at a second. In each the price by nature is multiplied by one factor, or
stands still. A bar that lies in one segment is the bar by nature, multiplied: since that keeps the order of prices, it
is still the exact aggregate of the bars inside it. A bar in which segments meet is put together from its parts. Where
the price jumps from one segment into the next there is a trade, so that bars join on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from .bars import LEAF, PARTS, SPANS, Bar, History, Touch

SCALE = 10**12
"""What a factor of one is."""

_MOST_STEPS = 240
# While a move is on, there is so much more trade.
_RUSH = 3
_KEPT = 512
_NEVER = 1 << 62


class Move(NamedTuple):
    """A scripted way of the price: in small steps, to a share of what it was, exactly.

    Attributes:
        start: its first second, in epoch seconds.
        end: the second at whose beginning the price is there.
        numerator: the share's.
        denominator: the share's.
    """

    start: int
    end: int
    numerator: int
    denominator: int


class Halt(NamedTuple):
    """A time without trades, after which the price goes on from where it was.

    Attributes:
        start: its first second, in epoch seconds.
        end: the second after its last.
    """

    start: int
    end: int


class _Segment(NamedTuple):
    start: int
    factor: int
    rush: int = 1
    frozen: int | None = None


class Tape:
    """The bars of one asset as they are traded.

    Args:
        history: its bars by nature.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._scripts: list[Move | Halt] = []
        self._segments = [_Segment(-_NEVER, SCALE)]
        self._starts = [-_NEVER]
        self._untouched = _NEVER
        self._mixed: dict[tuple[int, int], Bar] = {}

    def bar(self, level: int, index: int) -> Bar:
        """The whole bar that begins at `index * SPANS[level]` epoch seconds."""
        span = SPANS[level]
        start = index * span
        if start + span <= self._untouched:
            return self._history.bar(level, index)
        number = bisect_right(self._starts, start) - 1
        if number + 1 == len(self._starts) or start + span <= self._starts[number + 1]:
            return self._plain(number, level, index)
        mixed = self._mixed.get((level, index))
        if mixed is None:
            mixed = joined(self.inside(level, index))
            if len(self._mixed) >= _KEPT:
                self._mixed.clear()
            self._mixed[level, index] = mixed
        return mixed

    def inside(self, level: int, index: int) -> list[Bar]:
        """The bars of the next level that a bar holds."""
        if (index + 1) * SPANS[level] <= self._untouched:
            return self._history.inside(level, index)
        parts = PARTS[level]
        return [self.bar(level + 1, index * parts + place) for place in range(parts)]

    def within(self, level: int, index: int, start: int, end: int) -> Bar:
        """The part of a bar from one second until before another; they must leave something of it."""
        span = SPANS[level]
        if start <= index * span and (index + 1) * span <= end:
            return self.bar(level, index)
        parts, step = PARTS[level], SPANS[level + 1]
        first = max(index * parts, start // step)
        last = min((index + 1) * parts - 1, (end - 1) // step)
        return joined(self.within(level + 1, inner, start, end) for inner in range(first, last + 1))

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

    def overlapping(self, start: int, end: int) -> Move | Halt | None:
        """A script that has a second in common with a span of time."""
        # None overlaps another, so the last that begins before the end reaches furthest.
        place = bisect_left(self._scripts, end, key=_start)
        return self._scripts[place - 1] if place and start < self._scripts[place - 1].end else None

    def add(self, script: Move | Halt) -> None:
        """Follow a script that overlaps no other. What lies before it stays as it is."""
        place, factor = self._place(script)
        self._scripts.insert(place, script)
        keep = bisect_left(self._starts, script.start)
        del self._segments[keep:], self._starts[keep:]
        for each in self._scripts[place:]:
            cut = self._cut(each, factor)
            # Where one script ends in the second in which the next begins, the next decides.
            if self._starts[-1] == each.start:
                del self._segments[-1], self._starts[-1]
            self._segments += cut
            self._starts += [segment.start for segment in cut]
            factor = cut[-1].factor
        self._untouched = self._starts[1]
        self._mixed.clear()

    def highest(self, script: Move | Halt) -> int:
        """The highest price, in ticks, that any script would begin or end with if this one were added."""
        place, factor = self._place(script)
        highest = 0
        for each in [script, *self._scripts[place:]]:
            price, factor = self._ends(each, factor)
            highest = max(highest, price, _scaled(self._history.ticks(each.end), factor))
        return highest

    def _place(self, script: Move | Halt) -> tuple[int, int]:
        """Where among the scripts a new one belongs, and the factor with which it begins."""
        return (
            bisect_left(self._scripts, script.start, key=_start),
            self._segments[bisect_right(self._starts, script.start) - 1].factor,
        )

    def _ends(self, script: Move | Halt, factor: int) -> tuple[int, int]:
        """The price with which a script begins, and the factor with which it ends."""
        price = _scaled(self._history.ticks(script.start), factor)
        target = price
        if isinstance(script, Move):
            target = max(1, (2 * price * script.numerator + script.denominator) // (2 * script.denominator))
        return price, _factor(target, self._history.ticks(script.end))

    def _cut(self, script: Move | Halt, factor: int) -> list[_Segment]:
        start, end = script.start, script.end
        # The last factor takes out what the asset moved by nature meanwhile, and the steps lead there evenly.
        price, last = self._ends(script, factor)
        if isinstance(script, Halt):
            return [_Segment(start, last, frozen=price), _Segment(end, last)]
        step = next((span for span in reversed(SPANS) if end - start <= span * _MOST_STEPS), SPANS[0])
        edges = [start, *range((start // step + 1) * step, end, step), end]
        return [
            *(
                _Segment(edge, factor + (last - factor) * (after - start) // (end - start), _RUSH)
                for edge, after in pairwise(edges)
            ),
            _Segment(end, last),
        ]

    def _plain(self, number: int, level: int, index: int) -> Bar:
        """A bar that lies in one segment."""
        start, factor, rush, frozen = self._segments[number]
        if frozen is not None:
            return Bar(frozen, frozen, frozen, frozen, 0, 0)
        bar = self._history.bar(level, index)
        opened, high, low, closed, volume, trades = bar
        if factor != SCALE:
            opened, high, low, closed = (_scaled(ticks, factor) for ticks in (opened, high, low, closed))
        volume, trades = volume * rush, trades * rush
        if start == index * SPANS[level]:
            before = self._before(number)
            if before != opened:
                high, low, opened = max(high, before), min(low, before), before
                volume, trades = volume + 1, trades + 1
        return Bar(opened, high, low, closed, volume, trades)

    def _before(self, number: int) -> int:
        """The price with which a segment begins: the close of the one before it."""
        before = self._segments[number - 1]
        if before.frozen is not None:
            return before.frozen
        return _scaled(self._history.ticks(self._starts[number]), before.factor)

    def _touch(self, level: int, index: int, start: int, end: int, upper: int, lower: int) -> Touch | None:
        bar = self.bar(level, index)
        if bar.high < upper and bar.low > lower:
            return None
        if level == LEAF:
            return Touch(index, bar.low > lower)
        parts, span = PARTS[level], SPANS[level + 1]
        first = max(index * parts, start // span)
        last = min((index + 1) * parts - 1, (end - 1) // span)
        for inner in range(first, last + 1):
            touch = self._touch(level + 1, inner, start, end, upper, lower)
            if touch is not None:
                return touch
        return None


def joined(bars: Iterable[Bar]) -> Bar:
    """The bar that some bars, one after the other, are together."""
    parts = list(bars)
    if len(parts) == 1:
        return parts[0]
    opens, highs, lows, closes, volumes, trades = zip(*parts, strict=True)
    return Bar(opens[0], max(highs), min(lows), closes[-1], sum(volumes), sum(trades))


def _start(script: Move | Halt) -> int:
    return script.start


def _scaled(ticks: int, factor: int) -> int:
    # A price never reaches nothing.
    return max(1, (ticks * factor + SCALE // 2) // SCALE)


def _factor(target: int, ticks: int) -> int:
    """The factor that makes of a price exactly another."""
    return max(1, (target * SCALE + ticks // 2) // ticks)
