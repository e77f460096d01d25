"""Market data: candles, symbols and signals."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

import msgspec

from ..core import arguments
from ..core.model import (
    Asked,
    CheckedModel,
    Items,
    Milliseconds,
    Model,
    OpenEnum,
    Synonyms,
    Time,
    WireNumber,
    from_milliseconds,
)
from ..core.request import Lane, Parts
from ..core.surface import Async, Group, Mode, endpoint, stream
from ..core.text import shown
from .health import ServiceHealth
from .observed import Observed, poll

if TYPE_CHECKING:
    from ..core.arguments import Instant
    from ..core.request import Params


class Candle(Model, frozen=True, kw_only=True, gc=False):
    """Prices and volume of one interval, in Hyperliquid's form [conv].

    Candles come by the thousand, so the numbers are kept as the wire had them (`open_text` and so on: text or numbers)
    and converted when asked for. Long names and bare arrays, the other forms that are common, are read as well.

    Attributes:
        open_time_ms: when the interval begins, epoch milliseconds (`t`).
        close_time_ms: when the interval ends, epoch milliseconds (`T`); Hyperliquid's is the last one in it.
        symbol: the asset's symbol (`s`).
        interval: the interval, such as `1m` or `4h` (`i`).
        open_text: first price (`o`).
        close_text: last price (`c`).
        high_text: highest price (`h`).
        low_text: lowest price (`l`).
        volume_text: traded volume, in units of the asset (`v`).
        trades: number of trades (`n`).
    """

    _also: ClassVar[Synonyms] = {
        "open_time_ms": ("openTime", "timeOpen", "startTime", "start", "timestamp", "time", "date", "datetime", "ts"),
        "close_time_ms": ("closeTime", "endTime", "end", "timeClose"),
        "symbol": ("symbol",),
        "interval": ("interval",),
        "open_text": ("open", "openPrice"),
        "high_text": ("high", "highPrice"),
        "low_text": ("low", "lowPrice"),
        "close_text": ("close", "closePrice"),
        "volume_text": ("volume", "vol", "baseVolume"),
        "trades": ("count",),
    }
    _array = ("open_time_ms", "open_text", "high_text", "low_text", "close_text", "volume_text")

    _order = "open_time_ms"

    open_time_ms: Milliseconds = msgspec.field(name="t")
    close_time_ms: Milliseconds | None = msgspec.field(name="T", default=None)
    symbol: Asked = msgspec.field(name="s")
    interval: Asked = msgspec.field(name="i")
    open_text: WireNumber = msgspec.field(name="o")
    close_text: WireNumber = msgspec.field(name="c")
    high_text: WireNumber = msgspec.field(name="h")
    low_text: WireNumber = msgspec.field(name="l")
    volume_text: WireNumber | None = msgspec.field(name="v", default=None)
    trades: int | None = msgspec.field(name="n", default=None)

    @property
    def open_time(self) -> datetime:
        """When the interval begins."""
        return from_milliseconds(self.open_time_ms)

    @property
    def close_time(self) -> datetime | None:
        """When the interval ends."""
        return None if self.close_time_ms is None else from_milliseconds(self.close_time_ms)

    @property
    def is_closed(self) -> bool | None:
        """Whether the interval is over by this machine's clock; None where the server does not say when it ends.

        Servers correct candles for a while after that.
        """
        return None if self.close_time_ms is None else self.close_time_ms < time.time() * 1000

    @property
    def open(self) -> Decimal:
        """First price, in USDC.

        Raises:
            ValueError: the server sent text that is no number; so do all others.
        """
        return _number(self.open_text)

    @property
    def high(self) -> Decimal:
        """Highest price, in USDC."""
        return _number(self.high_text)

    @property
    def low(self) -> Decimal:
        """Lowest price, in USDC."""
        return _number(self.low_text)

    @property
    def close(self) -> Decimal:
        """Last price, in USDC."""
        return _number(self.close_text)

    @property
    def volume(self) -> Decimal | None:
        """Traded volume, in units of the asset."""
        return None if self.volume_text is None else _number(self.volume_text)


def _number(value: str | float) -> Decimal:
    """A price or a volume, exactly as the wire had it."""
    try:
        number = Decimal(str(value))
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite():
        raise ValueError(f"the server sent {shown(str(value), 40)!r} where a number belongs")
    return number


class SignalAction(OpenEnum):
    """What a signal advises. The values are assumed [guess]; others come as they are."""

    BUY = "buy"
    SELL = "sell"
    HOLD = "hold"


class Signal(CheckedModel, frozen=True, kw_only=True):
    """What the indicators say of a symbol. Every field is assumed [guess].

    Attributes:
        symbol: the asset's symbol.
        interval: the interval of the candles it is computed from.
        action: what it advises.
        strength: how strongly, 0 to 1.
        price: the last price, in USDC.
        indicators: the indicators' values by name.
        timestamp: when it was computed.
    """

    _also: ClassVar[Synonyms] = {
        "action": ("signal", "recommendation", "side"),
        "strength": ("confidence",),
        "price": ("close", "closePrice", "lastPrice"),
        "indicators": ("values",),
        "timestamp": ("createdAt", "computedAt", "generatedAt"),
    }

    symbol: str | None = None
    interval: str | None = None
    action: SignalAction | None = None
    strength: Decimal | None = None
    price: Decimal | None = None
    indicators: dict[str, Decimal | None] | None = None
    timestamp: Time | None = None


class Indicators(Group[Mode]):
    """Market data. The document says that most of these calls are public."""

    @endpoint("GET", "/api/indicators/health", lane=Lane.MARKET)
    def health(self, *, params: Params | None = None) -> Parts[ServiceHealth]:
        """Read the health of the indicator service.

        The path is documented, the response is not.

        Args:
            params: query parameters of your own.
        """
        return Parts(params=params)

    @endpoint("GET", "/api/indicators/candles/latest", lane=Lane.MARKET)
    def latest_candles(self, *, interval: str | None = None, params: Params | None = None) -> Parts[Items[Candle]]:
        """Read the latest candles: of each symbol one [guess].

        The path is documented, the query and the response are not.

        Args:
            interval: the candles' interval [guess]; any text is passed on.
            params: query parameters of your own; they have the last word.
        """
        return Parts(query={"interval": interval}, params=params)

    @endpoint("GET", "/api/indicators/candles/history/:symbol", lane=Lane.MARKET)
    def candle_history(
        self,
        symbol: str,
        *,
        interval: str | None = None,
        start: Instant | None = None,
        end: Instant | None = None,
        limit: int | None = None,
        params: Params | None = None,
    ) -> Parts[Items[Candle]]:
        """Read historical candles of a symbol.

        The path is documented; the query [conv] and the response are not.

        Args:
            symbol: the asset's symbol; its case is kept (`kPEPE`).
            interval: the candles' interval; any text is passed on.
            start: the earliest open time, an aware datetime or epoch milliseconds (`startTime`).
            end: the latest open time, an aware datetime or epoch milliseconds (`endTime`).
            limit: how many candles at most.
            params: query parameters of your own; they have the last word.

        Raises:
            InvalidArgumentError: a datetime without a zone, or a symbol that would name another path.
        """
        return Parts(
            symbol,
            query={
                "interval": interval,
                "startTime": None if start is None else arguments.milliseconds("start", start),
                "endTime": None if end is None else arguments.milliseconds("end", end),
                "limit": limit,
            },
            params=params,
        )

    @endpoint("GET", "/api/indicators/candles/:symbol/:interval", lane=Lane.MARKET)
    def candles(
        self, symbol: str, interval: str, *, limit: int | None = None, params: Params | None = None
    ) -> Parts[Items[Candle]]:
        """Read the most recent candles of a symbol, the running one included [guess].

        The path is documented; the query [guess] and the response are not.

        Args:
            symbol: the asset's symbol; its case is kept (`kPEPE`).
            interval: the candles' interval, such as `1m` or `4h`; any text is passed on.
            limit: how many candles at most.
            params: query parameters of your own; they have the last word.

        Raises:
            InvalidArgumentError: a symbol or an interval that would name another path.
        """
        return Parts(symbol, interval, query=None if limit is None else {"limit": limit}, params=params)

    @endpoint("GET", "/api/indicators/candles/aggregated/symbols", lane=Lane.MARKET)
    def symbols(self, *, params: Params | None = None) -> Parts[Items[str]]:
        """Read the symbols for which there are candles.

        The path is documented, the response is not.

        Args:
            params: query parameters of your own.
        """
        return Parts(params=params)

    @endpoint("GET", "/api/indicators/signals/:symbol/:interval", lane=Lane.MARKET)
    def signals(self, symbol: str, interval: str, *, params: Params | None = None) -> Parts[Items[Signal]]:
        """Read a symbol's signals.

        The path is documented, the response is not.

        Args:
            symbol: the asset's symbol; its case is kept (`kPEPE`).
            interval: the interval, such as `1m` or `4h`; any text is passed on.
            params: query parameters of your own.

        Raises:
            InvalidArgumentError: a symbol or an interval that would name another path.
        """
        return Parts(symbol, interval, params=params)

    @endpoint("GET", "/api/indicators/signals/all/:interval", lane=Lane.MARKET)
    def all_signals(self, interval: str, *, params: Params | None = None) -> Parts[Items[Signal]]:
        """Read every symbol's signals.

        The path is documented, the response is not.

        Args:
            interval: the interval, such as `1m` or `4h`; any text is passed on.
            params: query parameters of your own.

        Raises:
            InvalidArgumentError: an interval that would name another path.
        """
        return Parts(interval, params=params)

    @stream
    async def watch_candles(
        self: Indicators[Async],
        symbol: str,
        interval: str,
        *,
        every: float | None = None,
        limit: int = 3,
        params: Params | None = None,
    ) -> AsyncIterator[Sequence[Observed[Candle]]]:
        """Follow a symbol's candles: yields each candle when first read and again whenever it has changed,
        oldest first.

        The running candle changes until its interval is over, and servers correct closed ones late; both come again.
        It never ends by itself.

        Args:
            symbol: the asset's symbol; its case is kept.
            interval: the candles' interval; any text is passed on.
            every: seconds between two reads, by default the client's `poll_interval`.
            limit: how many of the latest candles to look at in each read. Read rarely with a small limit and candles
                are missed: cover at least the time between two reads.
            params: query parameters of your own; they have the last word.
        """
        known: dict[int, Candle] = {}

        async def read() -> Items[Candle]:
            return await self.candles(symbol, interval, limit=limit, params=params)

        every = self._client.poll_interval if every is None else every
        async with aclosing(poll(read, every)) as reads:
            async for seen in reads:
                candles = sorted(seen.value, key=lambda candle: candle.open_time_ms)
                changed = [seen.replace(candle) for candle in candles if known.get(candle.open_time_ms) != candle]
                # What left the page cannot come back, so memory does not grow with time.
                known = {candle.open_time_ms: candle for candle in candles}
                if changed:
                    yield changed
