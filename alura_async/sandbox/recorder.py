"""What the indicator service recorded of the market: not everything, and some of it late.

A few times a year it is down for some minutes or hours and records nothing of any symbol, while trading goes on. And
some candles it serves without their last trades at first; a while after their close it corrects them.
"""

from __future__ import annotations

from bisect import insort
from typing import NamedTuple

from . import chance
from .bars import SPANS

CORRECTED = 60
"""One candle in so many, of each interval, is corrected after its close."""

FINAL_AFTER_S = 600
"""Seconds after its close in which a candle may still be corrected, once."""

_SOONEST_S = 20
# Seconds before the close whose trades come late.
_SHORTEST_LAG_S, _LONGEST_LAG_S = 2, 20

# In each span of this length there is an outage or not; a candle lies in one of them as a whole.
_SEASON_S = 64 * SPANS[0]
# Of 65536: three or four a year.
_OUTAGES = 39_000
_SHORTEST_S, _LONGEST_S = 7 * 60, 180 * 60


class Gap(NamedTuple):
    """An outage: its first second and the second after its last, in epoch seconds."""

    start: int
    end: int


class Late(NamedTuple):
    """How a candle is corrected.

    Attributes:
        lag: its last seconds, whose trades it is first served without.
        after: seconds from its close to its final form.
    """

    lag: int
    after: int


class Recorder:
    """The gaps and the corrections of what was recorded.

    Args:
        seed: what makes one recorder different from another.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._key = chance.digest("recorder", seed)
        self._keys: dict[str, bytes] = {}
        self._scripted: list[Gap] = []
        self._natural: dict[int, Gap] = {}

    def add(self, gap: Gap) -> None:
        """Record nothing for a while."""
        insort(self._scripted, gap)

    def down_since(self, second: int) -> int | None:
        """Since when nothing has been recorded, or None if this second is."""
        start = second + 1
        for gap in sorted([self._outage(second // _SEASON_S), *self._scripted], reverse=True):
            # An outage may go on where another one ended.
            if gap.start < start <= gap.end:
                start = gap.start
        return start if start <= second else None

    def whole(self, second: int) -> tuple[int, int]:
        """A span of time around a second in which all was recorded; of no length if the second was not."""
        season = second // _SEASON_S
        since, until = season * _SEASON_S, (season + 1) * _SEASON_S
        for gap in self._gaps(since, until):
            if gap.start > second:
                return since, gap.start
            since = max(since, gap.end)
        return (since, until) if since <= second else (second, second)

    def recorded(self, start: int, end: int) -> list[tuple[int, int]]:
        """What was recorded of a span of time that lies in one candle: from and until when, piece by piece."""
        pieces: list[tuple[int, int]] = []
        for gap in self._gaps(start, end):
            if gap.start > start:
                pieces.append((start, gap.start))
            start = max(start, gap.end)
        if start < end:
            pieces.append((start, end))
        return pieces

    def late(self, symbol: str, level: int, index: int) -> Late | None:
        """How a candle is corrected, or None if it is not."""
        key = self._keys.get(symbol)
        if key is None:
            key = self._keys[symbol] = chance.digest("late", self._seed, symbol)
        chosen, lag, after, *_ = chance.shorts(key, level, index)
        if chosen % CORRECTED:
            return None
        return Late(
            _SHORTEST_LAG_S + lag % (_LONGEST_LAG_S - _SHORTEST_LAG_S + 1),
            _SOONEST_S + after % (FINAL_AFTER_S - _SOONEST_S + 1),
        )

    def _gaps(self, start: int, end: int) -> list[Gap]:
        natural = self._outage(start // _SEASON_S)
        gaps = sorted([natural, *self._scripted]) if self._scripted else [natural]
        return [gap for gap in gaps if gap.start < end and start < gap.end]

    def _outage(self, season: int) -> Gap:
        """The outage of a season; one of no length if there is none."""
        known = self._natural.get(season)
        if known is not None:
            return known
        happens, high, low, length, *_ = chance.shorts(self._key, 0, season)
        seconds = _SHORTEST_S + (_LONGEST_S - _SHORTEST_S) * length * length // (1 << 32) if happens < _OUTAGES else 0
        start = season * _SEASON_S + ((_SEASON_S - _LONGEST_S) * (high << 16 | low) >> 32)
        gap = Gap(start, start + seconds)
        if len(self._natural) >= 64:
            self._natural.clear()
        self._natural[season] = gap
        return gap
