"""What a pull of candles takes, before anything is asked: its ranges, and how much time and room they cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from math import inf

import msgspec

from ..core.model import from_milliseconds
from ..core.quantities import duration, large
from ..errors import InvalidArgumentError

_INTERVAL = re.compile(r"([1-9][0-9]{0,3})([mhdwM])", re.ASCII)
_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "M": 31 * 86_400_000}
# No month is shorter.
_LEAST_MS = {**_UNITS_MS, "M": 28 * 86_400_000}
# A candle as JSON in Hyperliquid's form, and in a Parquet file; both measured, and both vary with the prices' digits.
_DOWNLOAD_BYTES = 140
_STORE_BYTES = 30


class Window(msgspec.Struct, frozen=True):
    """The candles of one series whose open time is in a range.

    Attributes:
        symbol: the asset's symbol; its case is kept.
        interval: the candles' interval, such as `1m`.
        start_ms: the earliest open time, epoch milliseconds.
        end_ms: the first moment after the range, epoch milliseconds.
    """

    symbol: str
    interval: str
    start_ms: int
    end_ms: int

    @property
    def start(self) -> datetime:
        """The earliest open time."""
        return from_milliseconds(self.start_ms)

    @property
    def end(self) -> datetime:
        """The first moment after the range."""
        return from_milliseconds(self.end_ms)

    @property
    def candles(self) -> int:
        """How many candles there can be in it, if there was a trade in each interval."""
        return -((self.start_ms - self.end_ms) // least_span_ms(self.interval))


def span_ms(interval: str) -> int:
    """How long an interval takes, in milliseconds; of a month, how long it takes at most.

    Args:
        interval: a number and a unit: `1m`, `5m`, `1h`, `4h`, `1d`, `1w`, `1M`.

    Raises:
        InvalidArgumentError: it is no such text.
    """
    return _length_ms(interval, _UNITS_MS)


def least_span_ms(interval: str) -> int:
    """How long an interval takes at least, in milliseconds: of months it is less than `span_ms`."""
    return _length_ms(interval, _LEAST_MS)


def _length_ms(interval: str, units: dict[str, int]) -> int:
    match = _INTERVAL.fullmatch(interval) if isinstance(interval, str) else None
    if match is None:
        raise InvalidArgumentError(
            f"interval={interval!r}: give a number and a unit (m, h, d, w or M), such as '1m', '4h' or '1d'"
        )
    return int(match[1]) * units[match[2]]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a pull takes. As text, it says so in words.

    It counts with a trade in each interval, from the first moment asked for: where a symbol was listed later or is
    seldom traded, there are fewer candles, and hardly fewer requests. One that is not traded any more has fewer of both
    from its last candle on; that is known of the few symbols that were asked for to make the plan.

    Attributes:
        ranges: what is pulled, one range for each series.
        page: how many candles the server gives at once.
        candles: how many candles there are at most.
        requests: how many requests that takes at least.
        rate: requests a second that the client makes at most; infinite where nothing limits them.
        seconds: how long it takes at least.
        download_bytes: how much that is as JSON, before compression.
        store_bytes: how much that is in a store's Parquet files.
    """

    ranges: tuple[Window, ...]
    page: int
    candles: int
    requests: int
    rate: float
    seconds: float
    download_bytes: int
    store_bytes: int

    def __str__(self) -> str:
        requests = "1 request" if self.requests == 1 else f"{large(self.requests)} requests"
        told = [f"{large(self.candles)} candles", f"about {requests}"]
        if self.rate < inf:
            told.append(
                f"{self._time} at {self.rate:,.0f}/s" if self.rate >= 100 else f"{self._time} at {self.rate:.3g}/s"
            )
        elif self.seconds >= 1:
            told.append(self._time)
        return ", ".join(told)

    @property
    def _time(self) -> str:
        # It is an estimate.
        return duration(max(1, round(self.seconds)))


def plan_of(
    ranges: Iterable[Window],
    page: int,
    *,
    empty: Iterable[Window] = (),
    rate: float = inf,
    slots: float = inf,
    latency_s: float = 0.0,
) -> Plan:
    """Reckon what ranges take.

    Args:
        ranges: what is pulled.
        page: how many candles the server gives at once.
        empty: parts of the ranges in which there is nothing.
        rate: requests a second at most.
        slots: requests at once at most.
        latency_s: seconds from a request to its reply, where that is known.
    """
    ranges = tuple(ranges)
    there = {window: window.candles for window in ranges}
    for part in empty:
        for window in there:
            if (window.symbol, window.interval) == (part.symbol, part.interval):
                there[window] -= part.candles
    candles = sum(there.values())
    requests = sum(max(1, -(-count // page)) for count in there.values())
    rate = min(rate, slots / latency_s if latency_s else inf)
    return Plan(
        ranges=ranges,
        page=page,
        candles=candles,
        requests=requests,
        rate=rate,
        seconds=requests / rate,
        download_bytes=candles * _DOWNLOAD_BYTES,
        store_bytes=candles * _STORE_BYTES,
    )


def last_part(window: Window, most: int) -> Window:
    """The end of a range: so many intervals at most, from a moment on at which one begins.

    Args:
        window: the range.
        most: how many candles there may be in the part.
    """
    span = least_span_ms(window.interval)
    start = window.end_ms - most * span
    # Days and what divides them begin with the epoch.
    start += -start % span
    if start >= window.end_ms:
        start = window.end_ms - span
    return window if start <= window.start_ms else msgspec.structs.replace(window, start_ms=start)


def parts(window: Window, most: int) -> Iterator[Window]:
    """A range in parts that each have room for so many candles, the last one first."""
    left: Window | None = window
    while left is not None:
        part = last_part(left, most)
        yield part
        left = None if part is left else msgspec.structs.replace(left, end_ms=part.start_ms)
