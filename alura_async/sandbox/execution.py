"""At what price and in which pieces an order is filled, and when a position is liquidated: plain arithmetic."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal

from .conditions import Conditions, exact
from .listing import Asset

ONE = Decimal(1)

MOST_SLICES = 60
"""An order is never filled in more pieces."""

SLICE_MS = 1000
"""The time between two pieces."""

_MINUTES_OF_A_DAY = 1440
_MOST_SLIPPAGE = Decimal("0.1")
_SIZE_STEP = Decimal("0.00000001")
# Below that a Decimal is written with an exponent.
_LEAST_SIZE = Decimal("0.000001")

# Usual turnover of a day in USDC from which on an asset may be held with so much leverage.
_LEVERAGES = ((1_000_000_000, 50), (100_000_000, 25), (20_000_000, 20))
_LEAST_LEVERAGE = 10


def usual_turnover(asset: Asset) -> Decimal:
    """What is usually traded of an asset in a minute, in USDC."""
    return Decimal(asset.turnover).scaleb(-asset.size_decimals) * asset.price(asset.base) / _MINUTES_OF_A_DAY


def max_leverage(asset: Asset) -> int:
    """The most leverage that an asset may be held with: the more of it is traded, the more."""
    turnover = usual_turnover(asset) * _MINUTES_OF_A_DAY
    # The listing's turnover is rounded to units of the asset.
    return next((most for least, most in _LEVERAGES if turnover * Decimal("1.01") >= least), _LEAST_LEVERAGE)


def maintenance_rate(asset: Asset) -> Decimal:
    """The share of its value that a position must be worth, or it is liquidated: half the least initial margin."""
    return ONE / (2 * max_leverage(asset))


def execution_price(conditions: Conditions, asset: Asset, mark: Decimal, worth: Decimal, *, buying: bool) -> Decimal:
    """What an order gets: the market's price, moved against it.

    Args:
        conditions: half spread and impact.
        asset: what is traded.
        mark: the market's price.
        worth: the order's value, in USDC.
        buying: which way.
    """
    half_spread, impact = conditions.slippage_rates
    slippage = min(half_spread + impact * worth / usual_turnover(asset), _MOST_SLIPPAGE)
    ticks = mark * (1 + slippage if buying else 1 - slippage) / asset.tick
    return asset.tick * max(ONE, ticks.to_integral_value(ROUND_CEILING if buying else ROUND_FLOOR))


def slices(conditions: Conditions, asset: Asset, worth: Decimal) -> int:
    """In how many pieces an order of this value is filled."""
    if conditions.depth is None:
        return 1
    pieces = worth / (usual_turnover(asset) * exact(conditions.depth))
    return max(1, int(min(pieces, Decimal(MOST_SLICES)).to_integral_value(ROUND_CEILING)))


def closing_shares(conditions: Conditions, asset: Asset, worth: Decimal) -> list[Decimal]:
    """What is closed of a position with each piece, as shares of what is then left of it; the last piece first."""
    pieces = slices(conditions, asset, worth)
    partial = exact(conditions.partial)
    if pieces == 1:
        return [ONE] if partial == 1 else [ONE, partial]
    return [ONE / left for left in range(1, pieces + 1)]


def size_for(margin: Decimal, leverage: int, price: Decimal) -> Decimal:
    """How much of an asset a margin holds; 0 if that is too little to be traded."""
    size = (margin * leverage / price).quantize(_SIZE_STEP, ROUND_DOWN)
    return size if size >= _LEAST_SIZE else Decimal(0)


def part_of(size: Decimal, share: Decimal) -> Decimal:
    """A share of a size that can be traded; the whole of what cannot be divided."""
    part = (size * share).quantize(_SIZE_STEP, ROUND_DOWN)
    return part if part >= _LEAST_SIZE and size - part >= _LEAST_SIZE else size


def liquidation_price(asset: Asset, sign: int, size: Decimal, cost: Decimal, margin: Decimal) -> Decimal:
    """Where what is left of the margin is down to the maintenance margin.

    Args:
        asset: what is held.
        sign: 1 for long, -1 for short.
        size: how much.
        cost: what it was bought or sold for, in USDC.
        margin: what is set aside, in USDC.
    """
    return (cost - sign * margin) / (size * (1 - sign * maintenance_rate(asset)))
