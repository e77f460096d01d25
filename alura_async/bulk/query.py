"""How a server of candles wants to be asked, where that is not what is assumed."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

import msgspec

from ..errors import ConfigurationError

CandlePath: TypeAlias = Literal["history", "interval"]
"""Which of the documented paths: `candles/history/:symbol`, or `candles/:symbol/:interval`."""

_NAME = re.compile(r"[^\s\x00-\x1f\x7f]{1,64}")


class CandleQuery(msgspec.Struct, frozen=True, kw_only=True):
    """How candles of a range are asked for. The paths are documented [doc]; the query is not [conv].

    Where a server knows other names than these, a pull says so in an error and not by candles that are missing:

        query = CandleQuery(start="from", end="to", unit="s")
        async for page in alura.bulk.candles("BTC", "1m", start=start, query=query): ...

    Attributes:
        start: the parameter for the earliest open time.
        end: the parameter for the latest open time.
        limit: the parameter for how many candles at most; None asks for no number.
        interval: the parameter for the interval, on the path that has none in itself.
        unit: what times are given in: `ms` or `s` since the epoch.
        path: `history` for `/api/indicators/candles/history/:symbol`, `interval` for
            `/api/indicators/candles/:symbol/:interval`; by default the first of them that answers for a range.
        most: the number that is asked for. Where a server answers 400 to it, smaller ones are tried.

    Raises:
        ConfigurationError: a value cannot be used.
    """

    start: str = "startTime"
    end: str = "endTime"
    limit: str | None = "limit"
    interval: str = "interval"
    unit: Literal["ms", "s"] = "ms"
    path: CandlePath | None = None
    most: int = 5000

    def __post_init__(self) -> None:
        names = [name for name in (self.start, self.end, self.limit, self.interval) if name is not None]
        for name in names:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ConfigurationError(f"CandleQuery: {name!r} is no name of a parameter: give text without spaces")
        if len(set(names)) < len(names):
            raise ConfigurationError(f"CandleQuery: one name stands for two parameters: {', '.join(names)}")
        if self.unit not in ("ms", "s"):
            raise ConfigurationError(f"CandleQuery unit={self.unit!r}: give 'ms' or 's'")
        if self.path not in (None, "history", "interval"):
            raise ConfigurationError(f"CandleQuery path={self.path!r}: give 'history', 'interval' or None")
        most: Any = self.most
        if isinstance(most, bool) or not isinstance(most, int) or not 10 <= most <= 1_000_000:
            raise ConfigurationError(f"CandleQuery most={most!r}: give a whole number from 10 to 1,000,000")

    def time(self, time_ms: int) -> int:
        """A time as the server wants it; of seconds, the one that it is in."""
        return time_ms // 1000 if self.unit == "s" else time_ms
