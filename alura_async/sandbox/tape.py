"""What an asset's trades print: its history by nature, with what was scripted laid over it.

A script cuts time into segments that begin at a second. In each the price by nature is multiplied by one factor, or
stands still. A bar that lies in one segment is the bar by nature, multiplied: since that keeps the order of prices, it
is still the exact aggregate of the bars inside it. A bar in which segments meet is put together from its parts. Where
the price jumps from one segment into the next there is a trade, so that bars join on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
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
        # The factor that each script ends with, and the prices by nature where scripts begin and end.
        self._factors: list[int] = []
        self._edges: dict[int, int] = {}
        # From which script on the segments are to be cut anew: not before somebody asks for what comes after it.
        self._uncut = _NEVER
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
        if self._uncut != _NEVER:
            self._cut_anew()
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
        place = self._place(script)
        self._scripts.insert(place, script)
        self._factors[place:] = [factor for _, factor in self._ends(place, self._scripts[place:])]
        self._uncut = min(self._uncut, place)
        self._untouched = min(self._untouched, script.start)
        self._mixed.clear()

    def highest(self, script: Move | Halt) -> int:
        """The highest price, in ticks, that any script would begin or end with if this one were added."""
        place = self._place(script)
        scripts = [script, *self._scripts[place:]]
        return max(
            max(price, _scaled(self._natural(each.end), factor))
            for each, (price, factor) in zip(scripts, self._ends(place, scripts), strict=True)
        )

    def _place(self, script: Move | Halt) -> int:
        """Where among the scripts a new one belongs."""
        return bisect_left(self._scripts, script.start, key=_start)

    def _ends(self, place: int, scripts: Iterable[Move | Halt]) -> Iterator[tuple[int, int]]:
        """The price that each script from a place on begins with, and the factor that it ends with."""
        factor = self._factors[place - 1] if place else SCALE
        for script in scripts:
            price = target = _scaled(self._natural(script.start), factor)
            if isinstance(script, Move):
                target = max(1, (2 * price * script.numerator + script.denominator) // (2 * script.denominator))
            # It takes out what the asset moves by nature meanwhile.
            factor = _factor(target, self._natural(script.end))
            yield price, factor

    def _natural(self, second: int) -> int:
        ticks = self._edges.get(second)
        if ticks is None:
            ticks = self._edges[second] = self._history.ticks(second)
        return ticks

    def _cut_anew(self) -> None:
        place, self._uncut = self._uncut, _NEVER
        keep = bisect_left(self._starts, self._scripts[place].start)
        del self._segments[keep:], self._starts[keep:]
        factor = self._factors[place - 1] if place else SCALE
        for script, last in zip(self._scripts[place:], self._factors[place:], strict=True):
            # Where one script ends in the second in which the next begins, the next decides.
            if self._starts[-1] == script.start:
                del self._segments[-1], self._starts[-1]
            cut = self._cut(script, factor, last)
            self._segments += cut
            self._starts += [segment.start for segment in cut]
            factor = last

    def _cut(self, script: Move | Halt, factor: int, last: int) -> list[_Segment]:
        start, end = script.start, script.end
        if isinstance(script, Halt):
            return [_Segment(start, last, frozen=_scaled(self._natural(start), factor)), _Segment(end, last)]
        step = next((span for span in reversed(SPANS) if end - start <= span * _MOST_STEPS), SPANS[0])
        edges = [start, *range((start // step + 1) * step, end, step), end]
        return [
            *(
                # The steps lead evenly from one factor to the other.
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
