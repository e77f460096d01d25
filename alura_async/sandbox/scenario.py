"""What a test makes the market do: crashes, rallies, halts and outages, on top of what it does by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from fractions import Fraction

from ..core.model import from_milliseconds
from ..errors import ConfigurationError
from .clock import Clock
from .durations import Duration, duration
from .listing import BY_SYMBOL, Asset
from .market import Market
from .recorder import Gap
from .tape import Halt, Move

LONGEST = timedelta(days=366)
"""The longest time over which something can be scripted."""

_MOST_RALLY = 1000
# Far more than any price comes to, and a thousandth of the bounds that stand for "never": by nature alone no price
# rises so far.
_HIGHEST_TICKS = 10**15
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


class Scenario:
    """The market of a sandbox, to look at and to script: `sandbox.market`.

        sandbox.market.crash("BTC", percent=12, over="10m")
        sandbox.advance(minutes=10)

    What is scripted shows in everything that follows from the price: candles, signals, what a session is worth and what
    closes it. It begins now or later and never changes what was told before. The price moves only as the clock does.
    All methods can be used from any thread.

    A symbol of None means every asset that is listed by then. A length of time is a timedelta, a number of seconds, or
    text such as `"10m"`; it is rounded up to whole seconds, to one at least, and may be 366 days at most.
    """

    def __init__(self, market: Market, clock: Clock, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        self._market = market
        self._clock = clock
        self._exclusive = exclusive

    def price(self, symbol: str) -> Decimal:
        """What an asset costs now, in USDC.

        Raises:
            ConfigurationError: no such symbol, or one that is not listed yet.
        """
        with self._exclusive():
            now_ms = self._clock.now_ms()
            return self._market.price(self._asset(symbol, now_ms), now_ms)

    def crash(
        self, symbol: str | None, *, percent: Decimal | float | str, over: Duration, at: datetime | None = None
    ) -> None:
        """Let the price fall, evenly but for the market's own noise.

        At the end it is exactly the price at the beginning less `percent`, rounded to ticks; from there on the market
        goes its own way. There is three times the usual trade meanwhile.

        Args:
            symbol: the asset's symbol, or None for all.
            percent: by how much, more than 0 and less than 100.
            over: how long it takes.
            at: when it begins, an aware datetime, by default now.

        Raises:
            ConfigurationError: a value that cannot be used; an asset that something else is scripted for in that time,
                in which case nothing is scripted.
        """
        share = _percent(percent)
        if not 0 < share < 100:
            raise ConfigurationError(f"percent={percent!r}: a crash takes more than 0 and less than 100 percent")
        self._move("crash", symbol, 1 - share / 100, over, at)

    def rally(
        self, symbol: str | None, *, percent: Decimal | float | str, over: Duration, at: datetime | None = None
    ) -> None:
        """Let the price rise, evenly but for the market's own noise: the opposite of `crash`.

        Args:
            symbol: the asset's symbol, or None for all.
            percent: by how much, more than 0 and at most 1000.
            over: how long it takes.
            at: when it begins, an aware datetime, by default now.

        Raises:
            ConfigurationError: a value that cannot be used; an asset that something else is scripted for in that time,
                in which case nothing is scripted.
        """
        share = _percent(percent)
        if not 0 < share <= _MOST_RALLY:
            raise ConfigurationError(
                f"percent={percent!r}: a rally brings more than 0 and at most {_MOST_RALLY} percent"
            )
        self._move("rally", symbol, 1 + share / 100, over, at)

    def halt(self, symbol: str | None, *, over: Duration, at: datetime | None = None) -> None:
        """Stop trading: no trades, so no candles, and a price that stands still and goes on from there afterwards.

        Args:
            symbol: the asset's symbol, or None for all.
            over: for how long.
            at: when it begins, an aware datetime, by default now.

        Raises:
            ConfigurationError: a value that cannot be used; an asset that something else is scripted for in that time,
                in which case nothing is scripted.
        """
        with self._exclusive():
            start, end = self._span(over, at)
            for asset in self._free_assets("halt", symbol, start, end):
                self._market.script(asset, Halt(start, end))

    def outage(self, *, over: Duration, at: datetime | None = None) -> None:
        """Let the indicator service be down: no candles of any symbol inside, while prices go on and trading by them.

        Its health says `degraded` meanwhile, and a signal's timestamp stays at its newest candle.

        A candle that lies partly inside holds what was recorded of it. Outages may overlap.

        Args:
            over: for how long.
            at: when it begins, an aware datetime, by default now.

        Raises:
            ConfigurationError: a value that cannot be used.
        """
        with self._exclusive():
            self._market.record_nothing(Gap(*self._span(over, at)))

    def _move(self, name: str, symbol: str | None, share: Fraction, over: Duration, at: datetime | None) -> None:
        with self._exclusive():
            start, end = self._span(over, at)
            move = Move(start, end, share.numerator, share.denominator)
            assets = self._free_assets(name, symbol, start, end)
            for asset in assets:
                # Of what is scripted for later too: all of that is moved along.
                if self._market.highest(asset, move) > _HIGHEST_TICKS:
                    raise ConfigurationError(f"{name} of {asset.symbol}: its price would be higher than can be counted")
            for asset in assets:
                self._market.script(asset, move)

    def _span(self, over: Duration, at: datetime | None) -> tuple[int, int]:
        """When something begins and ends, in epoch seconds."""
        length = duration(over, "over")
        if length > LONGEST:
            raise ConfigurationError(f"over={over!r}: at most {LONGEST.days} days can be scripted at once")
        now_ms = self._clock.now_ms()
        start = now_ms // 1000
        if at is not None:
            if not isinstance(at, datetime) or at.tzinfo is None:
                raise ConfigurationError(f"at={at!r}: give an aware datetime, such as sandbox.now + timedelta(hours=1)")
            if at < from_milliseconds(now_ms):
                raise ConfigurationError(
                    f"at={at.isoformat()}: the sandbox's clock is at {from_milliseconds(now_ms).isoformat()}, "
                    "and what has happened stays as it is; give a moment from then on"
                )
            start = (at - _EPOCH) // _SECOND
        return start, start + max(1, -(-length // _SECOND))

    def _free_assets(self, name: str, symbol: str | None, start: int, end: int) -> list[Asset]:
        """The assets meant, none of which something else is scripted for."""
        at_ms = start * 1000
        assets = self._market.listed(at_ms) if symbol is None else [self._asset(symbol, at_ms)]
        for asset in assets:
            other = self._market.scripted(asset, start, end)
            if other is not None:
                kind = "halt" if isinstance(other, Halt) else "move"
                raise ConfigurationError(
                    f"{name} of {asset.symbol}: a {kind} is scripted for it from {_moment(other.start)} to "
                    f"{_moment(other.end)} already; one thing at a time: give an `at` outside"
                )
        return assets

    def _asset(self, symbol: str, at_ms: int) -> Asset:
        asset = BY_SYMBOL.get(symbol)
        if asset is None:
            near = get_close_matches(str(symbol).upper(), {known.upper(): known for known in BY_SYMBOL}, 1)
            hint = f"; did you mean {next(known for known in BY_SYMBOL if known.upper() == near[0])!r}?" if near else ""
            raise ConfigurationError(f"symbol={symbol!r}: the sandbox does not list it{hint}")
        if not self._market.is_listed(asset, at_ms):
            raise ConfigurationError(f"symbol={symbol!r}: it is not listed before {_moment(asset.listed_ms // 1000)}")
        return asset


def _percent(value: Decimal | float | str) -> Fraction:
    """A number of percent as it is written: 0.1 is a tenth."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    # Exponents beyond these would make numbers that fill the memory.
    if isinstance(value, bool) or not number.is_finite() or not -50 < number.adjusted() < 50:
        raise ConfigurationError(f"percent={value!r}: give a number, such as 12 or '2.5'")
    return Fraction(number)


def _moment(second: int) -> str:
    return from_milliseconds(second * 1000).isoformat()
