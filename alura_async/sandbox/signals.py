"""What the indicators say: two exponential averages and the relative strength index, by their plain formulas.

    EMA(n):  e = e + 2 / (n + 1) * (close - e), beginning with the first close
    RSI(14): 100 - 100 / (1 + gains / losses), both being sums over the last 14 changes of the close
    action:  buy while EMA(12) is above EMA(26) and RSI is below 70; sell while it is below and RSI is above 30;
             otherwise hold
    strength: ten times the distance of the averages in percent, over 100, at most 1

All over the last 120 candles, the running one included.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

from ..core.model import from_milliseconds
from ..groups.indicators import Signal, SignalAction
from .bars import SPANS
from .listing import Asset
from .market import INTERVALS, Market

LOOKBACK = 120
FAST = 12
SLOW = 26
RSI = 14


def signal(market: Market, asset: Asset, interval: str, now_ms: int) -> Signal:
    """The signal of an asset now."""
    last = now_ms // (SPANS[INTERVALS[interval]] * 1000)
    closes = [bar.close for bar in market.bars(asset, interval, last - LOOKBACK + 1, last, now_ms)]
    fast, slow = average(closes, FAST), average(closes, SLOW)
    strength_index = relative_strength(closes)
    distance = (fast - slow) / slow * 100
    return Signal(
        symbol=asset.symbol,
        interval=interval,
        action=_action(distance, strength_index),
        strength=Decimal(f"{min(1.0, abs(distance) / 10):.4f}"),
        price=asset.price(closes[-1]),
        indicators={
            f"ema{FAST}": asset.price(round(fast)),
            f"ema{SLOW}": asset.price(round(slow)),
            f"rsi{RSI}": Decimal(f"{strength_index:.2f}"),
        },
        timestamp=from_milliseconds(now_ms),
    )


def average(closes: Sequence[int], length: int) -> float:
    """The exponential average of some closes."""
    weight = 2 / (length + 1)
    value = float(closes[0])
    for close in closes:
        value += weight * (close - value)
    return value


def relative_strength(closes: Sequence[int], length: int = RSI) -> float:
    """The relative strength index of some closes, 0 to 100."""
    changes = [after - before for before, after in pairwise(closes[-length - 1 :])]
    gains = sum(change for change in changes if change > 0)
    losses = -sum(change for change in changes if change < 0)
    if losses == 0:
        return 100.0 if gains else 50.0
    return 100 - 100 / (1 + gains / losses)


def _action(distance: float, strength_index: float) -> SignalAction:
    if distance > 0 and strength_index < 70:
        return SignalAction.BUY
    if distance < 0 and strength_index > 30:
        return SignalAction.SELL
    return SignalAction.HOLD
