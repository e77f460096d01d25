"""What moves all assets together: quiet, trending and wild times, and crashes from which the market recovers in part.

A period of 256 days is decided at once, from nothing but the seed and its number, so that any day of any year costs the
same. Logarithms of prices are whole numbers of 10**-12, shares of the usual volatility are of 1024.
"""

from __future__ import annotations

from typing import NamedTuple

from . import chance

PERIOD = 256
"""Days that are decided at once."""

LOG = 10**12
"""What a logarithm of one is."""

USUAL = 1024
"""Volatility of a usual day."""

DAY_S = 86_400


class Regime(NamedTuple):
    """A kind of time.

    Attributes:
        volatility: of its days, of 1024.
        trend: how far the price moves in a day on top of that, up or down, of 1024 of a day's usual volatility.
        shortest: days that it lasts at least.
        longest: days that it lasts at most.
    """

    volatility: int
    trend: int
    shortest: int
    longest: int


QUIET = Regime(volatility=540, trend=0, shortest=6, longest=24)
TREND = Regime(volatility=1024, trend=270, shortest=7, longest=30)
WILD = Regime(volatility=1900, trend=0, shortest=3, longest=12)

# In a period each quarter has a crash or not, and the period at least one: two or three a year.
_QUARTER = PERIOD // 4
# Logarithms of what BTC loses: 8 % at least, 35 % at most.
_SHALLOW, _DEEP = 83_400_000_000, 431_000_000_000
_SHORTEST_CRASH_S, _LONGEST_CRASH_S = 480, 14_400
_AFTERSHOCK_DAYS = 6


class Crash(NamedTuple):
    """A fall of the whole market within one day.

    Attributes:
        start: its first second, from the beginning of the day.
        end: the second after its last.
        depth: the logarithm of what BTC loses.
    """

    start: int
    end: int
    depth: int


class Day(NamedTuple):
    """What one day has in store for all assets.

    Attributes:
        volatility: of 1024.
        trend: of 1024 of a day's usual volatility.
        shock: what moves all assets alike: bell-shaped, with a deviation of 65536 over the root of three.
        recovery: the logarithm of what BTC wins back of an earlier crash.
        crash: the crash of this day.
    """

    volatility: int
    trend: int
    shock: int
    recovery: int
    crash: Crash | None


class Regimes:
    """The market's days.

    Args:
        seed: what makes one market different from another.
    """

    def __init__(self, seed: int) -> None:
        self._key = chance.digest("regimes", seed)
        self._periods: dict[int, list[Day]] = {}

    def period(self, number: int) -> list[Day]:
        """The days from `number * PERIOD` on, counted from the epoch."""
        days = self._periods.get(number)
        if days is None:
            if len(self._periods) >= 8:
                self._periods.clear()
            days = self._periods[number] = self._decide(number)
        return days

    def _decide(self, number: int) -> list[Day]:
        volatility, trend = self._sequence(number)
        recovery = [0] * PERIOD
        crashes: dict[int, Crash] = {}
        for day, crash in self._crashes(number):
            crashes[day] = crash
            draws = chance.shorts(self._key, 3, number * PERIOD + day)
            # A third to two thirds of it, within two to six weeks.
            days = 14 + draws[0] % 29
            regained = crash.depth * (65_536 + draws[1]) // (3 * 65_536) // days
            for place in range(day + 1, min(day + 1 + days, PERIOD)):
                recovery[place] += regained
            for place in range(day, min(day + 1 + _AFTERSHOCK_DAYS, PERIOD)):
                volatility[place] = max(volatility[place], WILD.volatility)
        return [
            Day(
                volatility[place],
                trend[place],
                bell(chance.shorts(self._key, 0, number * PERIOD + place)),
                recovery[place],
                crashes.get(place),
            )
            for place in range(PERIOD)
        ]

    def _sequence(self, number: int) -> tuple[list[int], list[int]]:
        volatility: list[int] = []
        trend: list[int] = []
        while len(volatility) < PERIOD:
            draws = chance.shorts(self._key, 1, number * PERIOD + len(volatility))
            regime = (QUIET, QUIET, TREND, TREND, WILD)[draws[0] % 5]
            days = regime.shortest + draws[1] % (regime.longest - regime.shortest + 1)
            volatility += [regime.volatility] * days
            trend += [regime.trend if draws[2] & 1 else -regime.trend] * days
        return volatility[:PERIOD], trend[:PERIOD]

    def _crashes(self, number: int) -> list[tuple[int, Crash]]:
        draws = chance.shorts(self._key, 2, number)
        certain = draws[0] % 4
        found: list[tuple[int, Crash]] = []
        for quarter in range(4):
            happens, day, start, length, depth = draws[1 + quarter * 5 : 6 + quarter * 5]
            if quarter != certain and happens >= 26_000:
                continue
            # Cubes: most are near the least, few near the most.
            seconds = _SHORTEST_CRASH_S + (_LONGEST_CRASH_S - _SHORTEST_CRASH_S) * length**3 // 65_536**3
            first = (DAY_S - seconds) * start // 65_536
            loss = _SHALLOW + (_DEEP - _SHALLOW) * depth**3 // 65_536**3
            found.append((quarter * _QUARTER + day % _QUARTER, Crash(first, first + seconds, loss)))
        return found


def bell(draws: tuple[int, ...]) -> int:
    """A bell-shaped number with a deviation of 65536 over the root of three, from four draws."""
    return draws[0] + draws[1] + draws[2] + draws[3] - 131_070
