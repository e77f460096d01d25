"""One asset's price history as a tree: a day holds its hours, an hour its minutes, down to seconds.

A bar is decided before the bars inside it, and those are drawn so that together they are exactly that bar: they open
and close where it does, reach its high and its low and no further, and share out its volume and its trades. So a day
costs the same as a second, a candle of any interval is the exact aggregate of the shorter ones, and a price that is
first reached somewhere in a year is found by looking only into the bars that reach it.

The price moves only with trades: a bar without any is flat, and no bar reaches further than its number of trades can.

All numbers are whole: prices in ticks, volumes in units of their last decimal. What was asked before changes nothing.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from itertools import accumulate, pairwise
from math import sqrt
from typing import NamedTuple

from . import chance
from .listing import Asset
from .regimes import LOG, PERIOD, USUAL, Day, Regimes, bell

SPANS = (86_400, 14_400, 3_600, 900, 300, 60, 10, 2, 1)
"""Seconds of a bar at each level."""

LEAF = len(SPANS) - 1

PARTS = tuple(outer // inner for outer, inner in pairwise(SPANS))
"""How many bars of the next level a bar of each level holds."""

# The price's logarithm at the beginning of a period of days is at most this far from the usual price's.
_REACH = LOG // 2
# Decimal's exp is correctly rounded, so it gives the same digits everywhere; a float's is not.
_EXACT = Context(prec=18, rounding=ROUND_HALF_EVEN)

# A bar's range is about 1.6 standard deviations of its move: what one part of it moves, and how far its wicks reach,
# by the number of parts in which there were trades.
_UNIT = 1 << 16
_MOST_PARTS = max(PARTS)
_WICK = tuple(round(0.5 / sqrt(max(parts, 1)) * _UNIT) for parts in range(_MOST_PARTS + 1))
_STEPS = tuple(
    tuple(round(sqrt(3) * 0.62 / sqrt(parts) * sqrt((left - 1) / left) * _UNIT) for left in range(parts, 1, -1))
    for parts in range(_MOST_PARTS + 1)
)
_ROOT_OF_THREE = 1_732_051

# Half of what moves an asset in a day, by variance, moves them all.
_COMMON, _OWN = 724, 724
# A crash of BTC is deeper for an asset that moves more than BTC does: by two fifths of how much more.
_BTC_VOLATILITY = 24_000

# Up to so many trades, each is dealt to a part by a draw of its own.
_DEALT = 32
# From this level on trades come in bursts; below that they keep an even pace.
_BURSTS = 5
# In a crash there is so much more trade.
_RUSH = 4

# Split bars that are kept for the next question, for one asset: memory stays constant over any history.
_KEPT = 512
_NO_PULL = (0,) * _MOST_PARTS


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


class _Fall(NamedTuple):
    """What a crash takes from an asset: from and until when, in epoch seconds, and how many ticks."""

    start: int
    end: int
    ticks: int

    def until(self, second: int) -> int:
        """The ticks that are lost by a second: in a straight line, on which the price wanders."""
        return self.ticks * (min(max(second, self.start), self.end) - self.start) // (self.end - self.start)


class History:
    """The bars of one asset by nature, from the past to any future.

    Args:
        asset: the asset.
        seed: what makes one history different from another.
        regimes: what moves all assets of this seed.
    """

    def __init__(self, asset: Asset, seed: int, regimes: Regimes) -> None:
        self._asset = asset
        self._regimes = regimes
        self._key = chance.digest("market", seed, asset.symbol)
        self._beta = LOG + LOG * 2 * (asset.volatility - _BTC_VOLATILITY) // (5 * _BTC_VOLATILITY)
        self._split: dict[tuple[int, int], list[Bar]] = {}
        self._days: dict[int, Bar] = {}
        self._falls: dict[int, _Fall | None] = {}
        self._dawns: dict[int, int] = {}
        self._periods: dict[int, list[int]] = {}

    def bar(self, level: int, index: int) -> Bar:
        """The whole bar that begins at `index * SPANS[level]` epoch seconds."""
        if level == 0:
            day = self._days.get(index)
            if day is None:
                if len(self._days) >= _KEPT:
                    self._days.clear()
                day = self._days[index] = self._day(index)
            return day
        parts = PARTS[level - 1]
        return self.inside(level - 1, index // parts)[index % parts]

    def inside(self, level: int, index: int) -> list[Bar]:
        """The bars of the next level that a bar holds."""
        place = (level, index)
        inside = self._split.get(place)
        if inside is None:
            inside = self._divide(self.bar(level, index), level, index)
            if len(self._split) >= _KEPT:
                self._split.clear()
            self._split[place] = inside
        return inside

    def ticks(self, second: int) -> int:
        """The price at the beginning of a second, which is the close of the second before."""
        return self.bar(LEAF, second).open

    def _divide(self, bar: Bar, level: int, index: int) -> list[Bar]:
        """Draw the bars that together are exactly this bar."""
        parts = PARTS[level]
        trades = bar.trades
        if not trades:
            return [bar] * parts
        draws = chance.shorts(self._key, level, index)
        pulls = self._pulls(level, index)
        weights = _weights(level, draws[18 : 18 + parts])
        if pulls is not _NO_PULL:
            weights = [weight * _RUSH if pull else weight for weight, pull in zip(weights, pulls, strict=False)]
        if trades > _DEALT:
            counts = _shares(trades, weights)
        else:
            counts = _deal(trades, weights, chance.shorts(self._key, 32 + level, index))
        volumes = _shares(bar.volume - trades, list(map(int.__mul__, counts, weights)))
        if min(counts) > 2:
            return _divide_busy(bar, counts, volumes, draws, pulls)
        return _divide_quiet(bar, counts, volumes, draws, pulls)

    def _pulls(self, level: int, index: int) -> tuple[int, ...]:
        """The ticks that a crash takes from each part of a bar."""
        span = SPANS[level]
        start = index * span
        day = start // SPANS[0]
        if day not in self._falls:
            if len(self._falls) >= _KEPT:
                self._falls.clear()
            self._falls[day] = self._fall(day)
        fall = self._falls[day]
        if fall is None or start >= fall.end or start + span <= fall.start:
            return _NO_PULL
        step, parts = SPANS[level + 1], PARTS[level]
        lost = [fall.until(start + place * step) for place in range(parts + 1)]
        return tuple(before - after for before, after in pairwise(lost))

    def _fall(self, day: int) -> _Fall | None:
        crash = self._store(day).crash
        if crash is None:
            return None
        left = _EXACT.exp(Decimal(-crash.depth * self._beta // LOG).scaleb(-12))
        opened, start = self._dawn(day), day * SPANS[0]
        return _Fall(start + crash.start, start + crash.end, opened - int(_EXACT.multiply(left, opened)))

    def _day(self, day: int) -> Bar:
        opened, closed = self._dawn(day), self._dawn(day + 1)
        draws = chance.shorts(self._key, 100, day)
        volatility = self._store(day).volatility
        reach = max(opened, closed) * self._asset.volatility * volatility // (1_000_000 * USUAL)
        top, bottom = max(opened, closed), min(opened, closed)
        fall = self._fall(day)
        if fall is not None:
            # There must be room for it, wherever the day goes before and after.
            rest = closed - opened + fall.ticks
            peak = opened + rest * (fall.start - day * SPANS[0]) // SPANS[0]
            top, bottom = max(top, peak), min(bottom, peak - fall.ticks)
        high = top + reach * draws[0] // _UNIT + 1
        low = max(1, bottom - reach * draws[1] // _UNIT - 1)
        # Who trades more does so when the price moves more.
        trades = self._asset.trades * (_UNIT + draws[2]) * (USUAL + volatility) // (3 * _UNIT * USUAL)
        volume = self._asset.turnover * (_UNIT // 2 + draws[3]) * (USUAL + volatility) // (2 * _UNIT * USUAL)
        return Bar(opened, high, low, closed, max(volume, 2 * trades), max(trades, 3))

    def _dawn(self, day: int) -> int:
        """The price at the first moment of a day, in ticks."""
        known = self._dawns.get(day)
        if known is not None:
            return known
        power = Decimal(self._period(day // PERIOD)[day % PERIOD]).scaleb(-12)
        ticks = int(_EXACT.multiply(_EXACT.exp(power), self._asset.base))
        if len(self._dawns) >= 2 * _KEPT:
            self._dawns.clear()
        self._dawns[day] = ticks
        return ticks

    def _store(self, day: int) -> Day:
        return self._regimes.period(day // PERIOD)[day % PERIOD]

    def _period(self, number: int) -> list[int]:
        """Logarithms of price over usual price at the dawns of a period, in 10**-12.

        They are drawn at its two ends, and between them the asset wanders day by day.
        """
        known = self._periods.get(number)
        if known is not None:
            return known
        volatility, beta = self._asset.volatility, self._beta
        steps: list[int] = []
        for place, day in enumerate(self._regimes.period(number)):
            own = bell(chance.shorts(self._key, 110, number * PERIOD + place))
            shock = (day.shock * _COMMON + own * _OWN) // 1024 * _ROOT_OF_THREE // _UNIT
            step = volatility * (shock * day.volatility + day.trend * 1_000_000) // USUAL
            step += day.recovery * beta // LOG
            steps.append(step if day.crash is None else step - day.crash.depth * beta // LOG)
        first, last = self._end(number), self._end(number + 1)
        walked = list(accumulate(steps, initial=first))
        astray = last - walked[-1]
        if len(self._periods) >= 8:
            self._periods.clear()
        known = self._periods[number] = [
            logarithm + astray * place // PERIOD for place, logarithm in enumerate(walked[:-1])
        ]
        return known

    def _end(self, number: int) -> int:
        draw = chance.shorts(self._key, 101, number)[0] - _UNIT // 2
        return draw * 2 * _REACH // _UNIT


def _weights(level: int, draws: tuple[int, ...]) -> list[int]:
    """How the trades of a bar incline to its parts."""
    if level < _BURSTS:
        return [16_384 + draw for draw in draws]
    if level == _BURSTS:
        return [2_048 + (draw * draw >> 16) for draw in draws]
    return [(draw * draw >> 16) * draw + _UNIT for draw in draws]


def _shares(total: int, weights: list[int]) -> list[int]:
    """Share out a number by weights that are not all zero; what is left over goes to the heaviest."""
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    shares[weights.index(max(weights))] += total - sum(shares)
    return shares


def _deal(trades: int, weights: list[int], draws: tuple[int, ...]) -> list[int]:
    """Let chance put each trade into one of the parts."""
    counts = [0] * len(weights)
    edges = list(accumulate(weights))
    whole = edges[-1]
    for draw in draws[:trades]:
        aim = draw * whole >> 16
        place = 0
        while aim >= edges[place]:
            place += 1
        counts[place] += 1
    return counts


def _walk(bar: Bar, draws: tuple[int, ...], pulls: tuple[int, ...], parts: int) -> list[int]:
    """The prices between the parts of a bar, its open and its close included."""
    opened, high, low, closed, _, _ = bar
    rest = 0 if pulls is _NO_PULL else sum(pulls)
    reach = max(0, high - low - abs(rest))
    edges = [opened]
    price = opened
    for place, step in enumerate(_STEPS[parts]):
        price += (closed - price - rest) // (parts - place) + ((draws[place] - 32_768) * step * reach >> 31)
        if rest:
            price += pulls[place]
            rest -= pulls[place]
        # What would leave the bar is thrown back into it.
        if price > high:
            price = max(low, 2 * high - price)
        elif price < low:
            price = min(high, 2 * low - price)
        edges.append(price)
    edges.append(closed)
    return edges


def _divide_busy(
    bar: Bar, counts: list[int], volumes: list[int], draws: tuple[int, ...], pulls: tuple[int, ...]
) -> list[Bar]:
    """Divide a bar each of whose parts has trades enough to reach wherever it likes."""
    parts, high, low = len(counts), bar.high, bar.low
    edges = _walk(bar, draws, pulls, parts)
    wick = _WICK[parts] * (high - low if pulls is _NO_PULL else max(0, high - low - abs(sum(pulls))))
    highs: list[int] = []
    lows: list[int] = []
    for before, after, above, below in zip(edges, edges[1:], draws[6:12], draws[12:18], strict=False):
        top, bottom = (before, after) if before > after else (after, before)
        top += above * wick >> 32
        bottom -= below * wick >> 32
        highs.append(min(high, top))
        lows.append(max(low, bottom))
    highs[highs.index(max(highs))] = high
    lows[lows.index(min(lows))] = low
    return list(map(Bar, edges, highs, lows, edges[1:], map(int.__add__, volumes, counts), counts))


def _divide_quiet(
    bar: Bar, counts: list[int], volumes: list[int], draws: tuple[int, ...], pulls: tuple[int, ...]
) -> list[Bar]:
    """Divide a bar some of whose parts have few trades or none.

    The one trade of a part makes its close; the second may reach higher or lower than open and close, the third both.
    """
    busy = [place for place, count in enumerate(counts) if count]
    if pulls is not _NO_PULL:
        pulls = tuple(pulls[place] for place in busy)
    high, low = bar.high, bar.low
    edges = _walk(bar, draws, pulls, len(busy))
    up, down = high > max(bar.open, bar.close), low < min(bar.open, bar.close)
    spare = sum(min(count - 1, 2) for count in counts if count)
    # Where no part has a trade to spare for it, a price between two parts is the bar's high or low.
    inner = range(1, len(busy))
    peak = max(inner, key=edges.__getitem__) if up and spare < up + down else 0
    if peak:
        edges[peak] = high
    if down and spare < up + down - (peak > 0):
        edges[min((edge for edge in inner if edge != peak), key=edges.__getitem__)] = low
    wick = _WICK[len(busy)] * (high - low)
    highs: list[int] = []
    lows: list[int] = []
    for place, part in enumerate(busy):
        top, bottom = max(edges[place], edges[place + 1]), min(edges[place], edges[place + 1])
        if counts[part] > 2:
            top = min(high, top + (draws[6 + part] * wick >> 32))
            bottom = max(low, bottom - (draws[12 + part] * wick >> 32))
        highs.append(top)
        lows.append(bottom)
    room = [min(counts[part] - 1, 2) for part in busy]
    if max(highs) < high:
        place = max(range(len(busy)), key=lambda place: (room[place], highs[place]))
        highs[place] = high
        room[place] -= 1 if room[place] < 2 else 0
    if min(lows) > low:
        place = max(range(len(busy)), key=lambda place: (room[place], -lows[place]))
        lows[place] = low
    found: list[Bar] = []
    price, place = bar.open, 0
    for count, volume in zip(counts, volumes, strict=True):
        if not count:
            found.append(Bar(price, price, price, price, 0, 0))
            continue
        price = edges[place + 1]
        found.append(Bar(edges[place], highs[place], lows[place], price, volume + count, count))
        place += 1
    return found
