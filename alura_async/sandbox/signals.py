"""What the indicators say, by the standard formulas, as TA-Lib computes them over the same candles.

Over the last 150 candles that there are, the running one included; a minute without trades is not one of them.

    EMA(n):   the mean of the first n closes, then  e = e + 2 / (n + 1) * (close - e)
    MACD:     EMA(12) - EMA(26) of the closes, the EMA(12) beginning so late that both begin with the 26th close;
              its signal line is the EMA(9) of that, its histogram the difference of the two
    RSI(14):  100 * gain / (gain + loss), the mean gain and loss of the first 14 changes of the close, smoothed as
              Wilder does:  a = (13 * a + next) / 14
    ATR(14):  the same smoothing of the true range  max(high, close before) - min(low, close before)
    Bollinger bands: the mean of the last 20 closes, and 2 standard deviations (of the population) above and below
    action:   buy while EMA(12) is above EMA(26) and RSI is below 70; sell while it is below and RSI is above 30;
              otherwise hold
    strength: ten times the distance of the averages in percent, over 100, at most 1

They are written with 8 significant digits, the histogram as the difference of the two that are written, and the RSI
with 2 decimals. A signal's time is the close of its newest candle, or now while that candle is running.

What there are too few candles for is null, and without both averages and RSI the action is to hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

import msgspec

from ..core.model import from_milliseconds
from ..groups.indicators import Signal, SignalAction
from .bars import SPANS, Bar
from .listing import Asset
from .market import INTERVALS, Market
from .wire import Plain

LOOKBACK = 150
FAST = 12
SLOW = 26
SIGNAL_LINE = 9
RSI = 14
ATR = 14
BANDS = 20
DEVIATIONS = 2

_DIGITS = Context(prec=8, rounding=ROUND_HALF_EVEN)

# These candles at the end hold all that may still be corrected, of any interval, and the running one.
_TAIL = 12


class Macd(NamedTuple):
    """The MACD, its signal line and its histogram."""

    line: float
    signal: float
    histogram: float


class Bands(NamedTuple):
    """Bollinger's bands."""

    upper: float
    middle: float
    lower: float


class Signals:
    """The signals of a market.

    What was last computed of each asset and interval is kept until a candle changes.

    Args:
        market: the market.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self._kept: dict[tuple[int, str], _Computed] = {}

    def of(self, asset: Asset, interval: str, now_ms: int) -> Signal:
        """The signal of a listed asset now."""
        version, tail = self._market.version, self._market.recent(asset, interval, _TAIL, now_ms)
        kept = self._kept.get((asset.index, interval))
        if kept is None or kept.version != version or kept.tail != tail:
            if kept is not None and kept.version == version and _runs_on(kept.tail, tail):
                bars = [*kept.bars[:-1], tail[-1][1]]
            else:
                bars = [bar for _, bar in self._market.recent(asset, interval, LOOKBACK, now_ms)]
            kept = self._kept[asset.index, interval] = _Computed(version, tail, bars, _signal(asset, interval, bars))
        span_ms = SPANS[INTERVALS[interval]] * 1000
        until_ms = (tail[-1][0] + 1) * span_ms - 1 if tail else now_ms
        return msgspec.structs.replace(kept.signal, timestamp=from_milliseconds(min(now_ms, until_ms)))


class _Computed(NamedTuple):
    """A signal with all that it follows from."""

    version: int
    tail: list[tuple[int, Bar]]
    bars: list[Bar]
    signal: Signal


def _runs_on(before: list[tuple[int, Bar]], after: list[tuple[int, Bar]]) -> bool:
    """Whether two ends of a row of candles differ in the last candle's content alone."""
    return before[:-1] == after[:-1] and [index for index, _ in before] == [index for index, _ in after]


def average(values: Sequence[float], length: int) -> list[float]:
    """The exponential averages of some values, from the one at number `length - 1` on; none if there are fewer."""
    if len(values) < length:
        return []
    weight = 2 / (length + 1)
    value = sum(values[:length]) / length
    averages = [value]
    for following in values[length:]:
        value += weight * (following - value)
        averages.append(value)
    return averages


def convergence(closes: Sequence[float]) -> Macd | None:
    """The MACD of some closes, or None if there are too few."""
    slow = average(closes, SLOW)
    fast = average(closes[SLOW - FAST :], FAST)
    lines = [quick - lazy for quick, lazy in zip(fast, slow, strict=False)]
    signals = average(lines, SIGNAL_LINE)
    return Macd(lines[-1], signals[-1], lines[-1] - signals[-1]) if signals else None


def relative_strength(closes: Sequence[float], length: int = RSI) -> float | None:
    """The relative strength index of some closes, 0 to 100, or None if there are too few. Of no change it is 0."""
    if len(closes) <= length:
        return None
    changes = [after - before for before, after in pairwise(closes)]
    gain = sum(change for change in changes[:length] if change > 0) / length
    loss = -sum(change for change in changes[:length] if change < 0) / length
    for change in changes[length:]:
        gain *= length - 1
        loss *= length - 1
        if change > 0:
            gain += change
        else:
            loss -= change
        gain /= length
        loss /= length
    return 100 * gain / (gain + loss) if gain + loss else 0.0


def true_range(bars: Sequence[Bar], length: int = ATR) -> float | None:
    """The average true range of some bars, in ticks, or None if there are too few."""
    if len(bars) <= length:
        return None
    ranges = [max(bar.high, before.close) - min(bar.low, before.close) for before, bar in pairwise(bars)]
    value = sum(ranges[:length]) / length
    for following in ranges[length:]:
        value = (value * (length - 1) + following) / length
    return value


def bands(closes: Sequence[int], length: int = BANDS) -> Bands | None:
    """Bollinger's bands of some closes, or None if there are too few."""
    if len(closes) < length:
        return None
    last = closes[-length:]
    total = sum(last)
    # Whole numbers as long as possible: nothing is lost where prices are high and hardly differ.
    deviation = sqrt(length * sum(close * close for close in last) - total * total) / length
    middle = total / length
    return Bands(middle + DEVIATIONS * deviation, middle, middle - DEVIATIONS * deviation)


def _signal(asset: Asset, interval: str, bars: Sequence[Bar]) -> Signal:
    closes = [bar.close for bar in bars]
    fast, slow = average(closes, FAST)[-1:], average(closes, SLOW)[-1:]
    strength_index = relative_strength(closes)
    macd, bollinger = convergence(closes), bands(closes)
    distance = (fast[0] - slow[0]) / slow[0] * 100 if slow else 0.0

    def price(ticks: float | None) -> Plain | None:
        return None if ticks is None else Plain(_DIGITS.multiply(Decimal(ticks), asset.tick))

    line, signal_line = price(macd and macd.line), price(macd and macd.signal)
    return Signal(
        symbol=asset.symbol,
        interval=interval,
        action=_action(distance, strength_index),
        strength=Decimal(f"{min(1.0, abs(distance) / 10):.4f}"),
        price=asset.price(closes[-1]) if closes else None,
        indicators={
            f"ema{FAST}": price(fast[0] if fast else None),
            f"ema{SLOW}": price(slow[0] if slow else None),
            "macd": line,
            "macdSignal": signal_line,
            "macdHistogram": None if line is None or signal_line is None else Plain(line - signal_line),
            f"rsi{RSI}": None if strength_index is None else Decimal(f"{strength_index:.2f}"),
            f"atr{ATR}": price(true_range(bars)),
            "bollingerUpper": price(bollinger and bollinger.upper),
            "bollingerMiddle": price(bollinger and bollinger.middle),
            "bollingerLower": price(bollinger and bollinger.lower),
        },
    )


def _action(distance: float, strength_index: float | None) -> SignalAction:
    if strength_index is not None and distance > 0 and strength_index < 70:
        return SignalAction.BUY
    if strength_index is not None and distance < 0 and strength_index > 30:
        return SignalAction.SELL
    return SignalAction.HOLD
