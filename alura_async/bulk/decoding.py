"""From a reply's body to columns, and the calls whose replies are read so."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from ..core.decode import Shape
from ..core.model import Items
from ..core.request import Lane, Route
from ..core.scalars import MismatchError
from ..errors import InvalidArgumentError
from ..groups.indicators import Candle
from .columns import Candles


class CandlesShape(Shape[Candles]):
    """What the replies with the candles of one series are decoded into.

    What `Items[Candle]` is read from, in any shape, is read here as well, and says the same.

    Args:
        template: the endpoint's path.
    """

    def __init__(self, template: str) -> None:
        super().__init__(Items[Candle], template)

    def exact(self, body: bytes, path: str, query: str, headers: Mapping[str, str]) -> Candles:
        """Decode a body of exactly the expected shape."""
        candles: Any = super().exact(body, path, query, headers)
        try:
            return _table(candles, self.asked(path, query), headers)
        except MismatchError as error:
            raise msgspec.DecodeError(str(error)) from None

    def read(
        self, value: Any, asked: Mapping[str, str | None], headers: Mapping[str, str], *, may_say_nothing: bool = False
    ) -> Candles:
        """Make plain values into columns."""
        candles: Any = super().read(value, asked, headers, may_say_nothing=may_say_nothing)
        return _table(candles, asked, headers)

    def has_something(self, result: Any) -> bool:
        """Whether there is a candle."""
        return len(result) > 0


def _table(candles: Items[Candle], asked: Mapping[str, str | None], headers: Mapping[str, str]) -> Candles:
    try:
        return Candles.from_candles(candles, asked.get("symbol"), asked.get("interval"), as_of_ms=as_of_ms(headers))
    except InvalidArgumentError as error:
        raise MismatchError(str(error)) from None


def as_of_ms(headers: Mapping[str, str]) -> int:
    """When a server replied, by its clock, epoch milliseconds; where it does not say, by this machine's."""
    said = headers.get("Date")
    found = None if said is None else _date(said)
    return int(time.time() * 1000) if found is None else found


@functools.lru_cache(maxsize=16)
def _date(text: str) -> int | None:
    """Epoch milliseconds of a `Date` header; it has whole seconds."""
    try:
        return int(parsedate_to_datetime(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


CANDLE_HISTORY = Route("GET", "/api/indicators/candles/history/:symbol", Candles, lane=Lane.MARKET)
"""Historical candles of a symbol, as columns."""

LATEST_CANDLES = Route("GET", "/api/indicators/candles/:symbol/:interval", Candles, lane=Lane.MARKET)
"""The most recent candles of a symbol, the running one included, as columns."""
