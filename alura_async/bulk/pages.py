"""What a pull of candles brings: pages, each a range that a server has answered for, and how far it has come."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from ..core.model import from_milliseconds
from ..core.text import printable
from .plan import Window

if TYPE_CHECKING:
    from ..errors import AluraError
    from .columns import Candles


class CandlePage:
    """A part of one series that the server has answered for, or could not.

    The pages of a pull do not overlap, and together they are all that was asked for. That a page has no candle at some
    time means that there was no trade, or that the symbol was not listed yet.

    Args:
        window: the series and the range.
        as_of_ms: when the server answered, by its clock, epoch milliseconds.
        candles: its candles; or
        error: why there are none.

    Attributes:
        symbol: the asset's symbol.
        interval: the candles' interval.
        start_ms: the earliest open time it is about, epoch milliseconds.
        end_ms: the first moment after it, epoch milliseconds. It may be in the future: what opens after `as_of_ms` is
            not known yet.
        as_of_ms: when the server answered, by its clock, epoch milliseconds; where that told no time, this machine's.
        error: why this part is a gap; None where it is none.
    """

    __slots__ = ("_candles", "as_of_ms", "end_ms", "error", "interval", "start_ms", "symbol")

    def __init__(
        self, window: Window, as_of_ms: int, *, candles: Candles | None = None, error: AluraError | None = None
    ) -> None:
        assert (candles is None) != (error is None), "a page has either candles or an error"
        self.symbol = window.symbol
        self.interval = window.interval
        self.start_ms = window.start_ms
        self.end_ms = window.end_ms
        self.as_of_ms = as_of_ms
        self.error = error
        self._candles = candles

    @property
    def candles(self) -> Candles:
        """Its candles: sorted, each open time once, all within the range.

        Raises:
            AluraError: the server could not be asked, or its answer not be understood: `error`.
        """
        if self._candles is None:
            assert self.error is not None  # it has either
            raise self.error
        return self._candles

    @property
    def window(self) -> Window:
        """The series and the range."""
        return Window(self.symbol, self.interval, self.start_ms, self.end_ms)

    @property
    def start(self) -> datetime:
        """The earliest open time it is about."""
        return from_milliseconds(self.start_ms)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return from_milliseconds(self.end_ms)

    @property
    def as_of(self) -> datetime:
        """When the server answered, by its clock."""
        return from_milliseconds(self.as_of_ms)

    def __repr__(self) -> str:
        what = f"{type(self.error).__name__}" if self._candles is None else f"{len(self._candles):,} candles"
        series = printable(f"{self.symbol} {self.interval}")
        return f"<CandlePage {series} {self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC: {what}>"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a pull has come.

    Attributes:
        requests: how many requests have been answered, or have failed for good.
        requests_left: about how many are still to be made.
        candles: how many candles have come.
        gaps: how many times a part of a series could not be had.
        done: which share of the time that was asked for has been answered or given up, 0 to 1.
        elapsed_s: seconds since the pull began.
        eta_s: seconds it will probably take from here on; None while nobody knows.
        requests_per_s: requests a second, lately.
        lane_wait_s: seconds that this client's requests for market data have waited for their turn, all together, since
            the pull began.
    """

    requests: int
    requests_left: int
    candles: int
    gaps: int
    done: float
    elapsed_s: float
    eta_s: float | None
    requests_per_s: float
    lane_wait_s: float
