"""How unkind the sandbox's exchange is: fees, slippage, lag, partial fills, calls that are accepted and then fail."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

import msgspec

from ..errors import ConfigurationError
from .durations import Duration, duration

Rate: TypeAlias = Decimal | float
"""A number that need not be whole."""

_BASIS_POINT = Decimal("0.0001")
_MILLISECOND = timedelta(milliseconds=1)
# A lag of more than this is a typing error, and a moment beyond what a datetime holds would follow.
_LONGEST = timedelta(days=365)


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What trading on the sandbox costs, and what goes wrong there. `Conditions()` charges fees and slippage; nothing
    fails, and everything takes effect at once.

    What is random depends on the sandbox's seed and on what was done before, never on when somebody looks. Replies that
    go wrong, such as the documented failure of the builder fee's approval, are faults: see `Faults.add`.

    An order buys or sells one position. Its price is the market's, moved against it by `half_spread` and by `impact`
    times its value over the asset's usual turnover of a minute, but by 10 % at most, and rounded to a tick against it.
    Fees are taken of the value of every fill, that of the opening out of the session's budget.

    Attributes:
        taker_fee: the exchange's fee, in basis points (hundredths of a percent), 0 to 1000.
        builder_fee: the builder's fee, likewise.
        half_spread: what an order of any size pays over the market's price, in basis points, 0 to 1000.
        impact: what an order worth the asset's usual turnover of a minute pays on top, in basis points, 0 to 10,000.
        lag: how long creates and closes take from their acceptance to their effect, on the sandbox's clock, up to a
            year. Without one the reply tells the final result.
        jitter: each of them takes up to this much longer.
        depth: how much is filled at once, as a share of the asset's usual turnover of a minute; the rest follows in
            equal slices, one a second of the sandbox's clock, 60 at most. None fills everything at once.
        partial: the share of every close that is filled at first, above 0 up to 1; the rest follows a second later.
            An order that `depth` cuts into slices is not cut again.
        failing_closes: probability, 0 to 1, that the first close of a position by a call is accepted and then fails on
            the exchange: the position is active again, and the next close works.

    Raises:
        ConfigurationError: a value outside its range.
    """

    taker_fee: Rate = Decimal("4.5")
    builder_fee: Rate = Decimal(2)
    half_spread: Rate = Decimal(1)
    impact: Rate = Decimal(10)
    lag: Duration = 0
    jitter: Duration = 0
    depth: Rate | None = Decimal(1)
    partial: Rate = Decimal(1)
    failing_closes: Rate = 0

    def __post_init__(self) -> None:
        for name, most in (("taker_fee", 1000), ("builder_fee", 1000), ("half_spread", 1000), ("impact", 10_000)):
            _number(self, name, 0, most)
        _number(self, "failing_closes", 0, 1)
        for name in ("lag", "jitter"):
            if duration(getattr(self, name), name) > _LONGEST:
                raise ConfigurationError(f"{name}={getattr(self, name)!r}: give 365 days at most")
        if _number(self, "partial", 0, 1) == 0:
            raise ConfigurationError(f"partial={self.partial!r}: give a share above 0 and up to 1")
        if self.depth is not None and _number(self, "depth", 0, 10**6) == 0:
            raise ConfigurationError(f"depth={self.depth!r}: give a share above 0, or None to fill all at once")

    @classmethod
    def ideal(cls) -> Conditions:
        """No fees and no slippage; everything is filled whole and at once."""
        return cls(taker_fee=0, builder_fee=0, half_spread=0, impact=0, depth=None)

    @property
    def fee_rates(self) -> tuple[Decimal, Decimal]:
        """The exchange's and the builder's fee, as shares of a fill's value."""
        return exact(self.taker_fee) * _BASIS_POINT, exact(self.builder_fee) * _BASIS_POINT

    @property
    def slippage_rates(self) -> tuple[Decimal, Decimal]:
        """`half_spread` and `impact`, as shares of the price."""
        return exact(self.half_spread) * _BASIS_POINT, exact(self.impact) * _BASIS_POINT

    @property
    def lag_ms(self) -> int:
        """`lag` in milliseconds, rounded up: the least lag is not none."""
        return -(-duration(self.lag, "lag") // _MILLISECOND)

    @property
    def jitter_ms(self) -> int:
        """`jitter` in milliseconds, rounded up."""
        return -(-duration(self.jitter, "jitter") // _MILLISECOND)


def exact(value: Rate) -> Decimal:
    """A number with the digits that it is written with."""
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _number(conditions: Conditions, name: str, least: int, most: int) -> Decimal:
    value = getattr(conditions, name)
    try:
        number = Decimal("NaN") if isinstance(value, bool) else exact(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if number.is_nan() or not least <= number <= most:
        raise ConfigurationError(f"{name}={value!r}: give a number from {least} to {most:,}")
    return number
