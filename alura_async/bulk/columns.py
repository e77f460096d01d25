"""The candles of one series as a table: NumPy columns, in order of time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from ..core.model import EARLIEST, LATEST, from_milliseconds
from ..core.text import printable
from ..errors import InvalidArgumentError
from ..groups.indicators import Candle
from .extra import needing
from .frames import SHOWN, html_table
from .plan import span_ms

with needing("numpy"):
    import numpy as np

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, unused-ignore]
    import polars
    import pyarrow  # type: ignore[import-untyped, unused-ignore]
    from numpy.typing import ArrayLike, NDArray

    from ..core.decode import Shape

    Times: TypeAlias = NDArray[np.datetime64]
    Numbers: TypeAlias = NDArray[np.float64]
    Flags: TypeAlias = NDArray[np.bool_]

NUMBERS = ("open", "high", "low", "close", "volume")
_VOLUME = NUMBERS.index("volume")
# In place of a number of trades that nobody told: there are no fewer than none.
UNTOLD = -1
MOST_TRADES = 2**31 - 1


class Candles:
    """The candles of one series, a column for each of their parts, in ascending order of time, one for each open time.

    A table is a value: its arrays are read-only, and slicing, `between`, `concat` and `resample` give new ones.

    **Prices and volumes are float64, not the server's exact text.** That is what research needs and what is fast; a
    float64 holds about 15 digits, which is more than prices have. Where each digit counts, read `Candle`s
    (`alura.indicators`), whose prices are `Decimal`.

    **Times** are when the interval of a candle begins (`open_time`), in UTC. It ends where the next one begins: the
    candle 10:00 of `1m` has all trades from 10:00:00.000 up to and without 10:01:00.000. When a candle opens, nothing
    of it is known: what is computed from its close may be used from the end of the interval on, not before.

    **`closed`** tells whether the interval was over by the server's clock (the `Date` of its reply) when the server
    told of the candle. The last candle of a reply is mostly the running one, whose high, low, close and volume still
    change: a backtest that takes it for a closed one looks ahead, or at what never was. Where the interval or the time
    is unknown, a candle counts as running; see `told_at`. Servers correct closed candles for a while.

    Args:
        symbol: the asset's symbol; None where it is unknown.
        interval: the candles' interval, such as `1m`; None where it is unknown.
        open_time: when the intervals begin: datetime64, or epoch milliseconds.
        open: first prices, in USDC; finite.
        high: highest prices.
        low: lowest prices.
        close: last prices.
        volume: traded volumes, in units of the asset; NaN where unknown. None where all are.
        trades: numbers of trades; below 0, or masked, where unknown. None where all are.
        closed: which intervals were over when the server told of them; by default judged by `as_of_ms`.
        as_of_ms: when the server told of them, by its clock, epoch milliseconds; None where that is unknown.

    Where several rows have the same open time, the last of them counts. All arguments are copied.

    Raises:
        InvalidArgumentError: the columns differ in length, or hold what is no time or no number, or a time that is not
            between the years 2000 and 2200, as one in another unit is.
    """

    __slots__ = ("_as_of_ms", "_closed", "_interval", "_numbers", "_symbol", "_times", "_trades")

    def __init__(
        self,
        symbol: str | None,
        interval: str | None,
        *,
        open_time: ArrayLike,
        open: ArrayLike,  # noqa: A002 - what the field calls it
        high: ArrayLike,
        low: ArrayLike,
        close: ArrayLike,
        volume: ArrayLike | None = None,
        trades: ArrayLike | None = None,
        closed: ArrayLike | None = None,
        as_of_ms: int | None = None,
    ) -> None:
        times = _times(open_time)
        if len(times) and not _EARLIEST_MS <= times.min() <= times.max() < _LATEST_MS:
            raise InvalidArgumentError("open_time: a time is not between the years 2000 and 2200: give milliseconds")
        if any(np.ma.is_masked(column) for column in (open, high, low, close)):
            raise InvalidArgumentError("candles: a price is masked")
        unknown = np.full(len(times), np.nan)
        columns = (open, high, low, close, unknown if volume is None else _filled(volume))
        try:
            numbers = np.array([np.asarray(column, np.float64) for column in columns], np.float64)
        except ValueError as error:
            raise InvalidArgumentError(f"candles: columns of numbers of one length are needed: {error}") from None
        counts = None if trades is None else _counts(trades)
        flags = None if closed is None else _flags(closed)
        if numbers.ndim != 2:
            raise InvalidArgumentError("candles: a column has one dimension")
        for column in (numbers[0], counts, flags):
            if column is not None and column.shape != times.shape:
                raise InvalidArgumentError(f"candles: the columns differ in length: {len(times)} and {len(column)}")
        self._settle(symbol, interval, as_of_ms, times, numbers, counts, flags)

    @classmethod
    def _settled(cls, *parts: Any) -> Candles:
        """A table of columns that nobody else has; see `_settle`."""
        table = cls.__new__(cls)
        table._settle(*parts)
        return table

    def _settle(
        self,
        symbol: str | None,
        interval: str | None,
        as_of_ms: int | None,
        times: NDArray[np.int64],
        numbers: Numbers,
        trades: NDArray[np.int32] | None,
        closed: Flags | None,
    ) -> None:
        """Put columns in order and hold them."""
        are_finite = np.isfinite(numbers)
        if not are_finite.all() and (not are_finite[:_VOLUME].all() or np.isinf(numbers[_VOLUME]).any()):
            raise InvalidArgumentError("candles: a price is not finite, or a volume infinite")
        if trades is None:
            trades = np.full(len(times), UNTOLD, np.int32)
        if closed is None:
            closed = _closed(times, interval, as_of_ms)
        if len(times) > 1 and not (times[1:] > times[:-1]).all():
            order = np.argsort(times, kind="stable")
            times = times[order]
            is_last = np.append(times[1:] != times[:-1], True)
            order, times = order[is_last], times[is_last]
            numbers, trades, closed = np.ascontiguousarray(numbers[:, order]), trades[order], closed[order]
        self._hold(symbol, interval, as_of_ms, times, numbers, trades, closed)

    def _hold(
        self,
        symbol: str | None,
        interval: str | None,
        as_of_ms: int | None,
        times: NDArray[np.int64],
        numbers: Numbers,
        trades: NDArray[np.int32],
        closed: Flags,
    ) -> None:
        for column in (times, numbers, trades, closed):
            column.flags.writeable = False
        self._symbol = symbol
        self._interval = interval
        self._as_of_ms = as_of_ms
        self._times = times
        self._numbers = numbers
        self._trades = trades
        self._closed = closed

    @classmethod
    def _of(cls, *parts: Any) -> Candles:
        """A table of columns that are in order already; see `_hold`."""
        table = cls.__new__(cls)
        table._hold(*parts)
        return table

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        # By its parts: arrays that are read-only come out of a pickle writable.
        facts = (self.symbol, self.interval, self.as_of_ms)
        return Candles._of, (*facts, self._times, self._numbers, self._trades, self._closed)

    def __copy__(self) -> Candles:
        return self

    def __deepcopy__(self, memo: object) -> Candles:
        return self

    @classmethod
    def empty(cls, symbol: str | None = None, interval: str | None = None, as_of_ms: int | None = None) -> Candles:
        """A table without a row.

        Args:
            symbol: the asset's symbol.
            interval: the candles' interval.
            as_of_ms: when the server told that there are none, by its clock.
        """
        none: list[float] = []
        return cls(symbol, interval, open_time=none, open=none, high=none, low=none, close=none, as_of_ms=as_of_ms)

    @classmethod
    def __shape__(cls, template: str) -> Shape[Candles]:
        """What makes the body of a reply into a table, for a `Route` that returns one."""
        from .decoding import CandlesShape

        return CandlesShape(template)

    @classmethod
    def from_candles(
        cls,
        candles: Iterable[Candle],
        symbol: str | None = None,
        interval: str | None = None,
        *,
        as_of_ms: int | None = None,
    ) -> Candles:
        """Make a table of candles of one series, in any order. Of several with one open time the last counts.

        Args:
            candles: the candles.
            symbol: the asset's symbol; by default what the candles say.
            interval: the candles' interval; by default what the candles say.
            as_of_ms: when the server told of them, by its clock, epoch milliseconds.

        Raises:
            InvalidArgumentError: they are of several series, or of another one, also by when they end; or a price is no
                number.
        """
        rows = [*candles]
        symbol = agreed("symbol", symbol, {candle.symbol for candle in rows})
        interval = agreed("interval", interval, {candle.interval for candle in rows})
        lasting = [row.close_time_ms - row.open_time_ms for row in rows if row.close_time_ms is not None]
        if lasting and not may_last(min(lasting), max(lasting), interval):
            raise InvalidArgumentError(f"interval: by their ends, these candles are none of {printable(str(interval))}")
        try:
            return cls(
                symbol,
                interval,
                open_time=np.array([candle.open_time_ms for candle in rows], np.int64),
                open=[float(candle.open_text) for candle in rows],
                high=[float(candle.high_text) for candle in rows],
                low=[float(candle.low_text) for candle in rows],
                close=[float(candle.close_text) for candle in rows],
                volume=[*map(_volume, rows)],
                trades=[UNTOLD if candle.trades is None else candle.trades for candle in rows],
                as_of_ms=as_of_ms,
            )
        except (ValueError, OverflowError) as error:
            raise InvalidArgumentError(f"candles: {printable(str(error).removeprefix('candles: '))}") from None

    @classmethod
    def concat(cls, tables: Iterable[Candles]) -> Candles:
        """Join tables of one series. Of an open time that is in several, the row of the last table counts.

        Each candle stays as `closed` as it was in its own table. `as_of_ms` is the latest.

        Args:
            tables: the tables, in any order of time; none of them gives a table without a row.

        Raises:
            InvalidArgumentError: they are of several series.
        """
        parts = [*tables]
        if not parts:
            return cls.empty()
        return cls._settled(
            agreed("symbol", None, {part.symbol for part in parts}),
            agreed("interval", None, {part.interval for part in parts}),
            max((part.as_of_ms for part in parts if part.as_of_ms is not None), default=None),
            np.concatenate([part._times for part in parts]),
            np.concatenate([part._numbers for part in parts], axis=1),
            np.concatenate([part._trades for part in parts]),
            np.concatenate([part._closed for part in parts]),
        )

    def told_at(self, as_of_ms: int) -> Candles:
        """The same candles where it is known when the server told of them, which its reply did not say.

        Args:
            as_of_ms: that time, epoch milliseconds, or one before it: this machine's when the request was about to be
                sent. By it, more of them may be `closed`. Where the server said it, it is what it was.
        """
        if self.as_of_ms is not None:
            return self
        closed = self._closed | _closed(self._times, self.interval, as_of_ms)
        return self._of(self.symbol, self.interval, as_of_ms, self._times, self._numbers, self._trades, closed)

    def _told_before(self, lasted_ms: int) -> Candles:
        """The same candles, of which the server told so long before it said that it did; see `told_at`."""
        if self.as_of_ms is None:
            return self
        as_of_ms = self.as_of_ms - lasted_ms
        closed = self._closed & _closed(self._times, self.interval, as_of_ms)
        return self._of(self.symbol, self.interval, as_of_ms, self._times, self._numbers, self._trades, closed)

    @property
    def symbol(self) -> str | None:
        """The asset's symbol; None where it is unknown."""
        return self._symbol

    @property
    def interval(self) -> str | None:
        """The candles' interval, such as `1m`; None where it is unknown."""
        return self._interval

    @property
    def as_of_ms(self) -> int | None:
        """When the server told of them, by its clock, epoch milliseconds; None where that is unknown."""
        return self._as_of_ms

    # Columns

    @property
    def open_time(self) -> Times:
        """When the intervals begin, in UTC: datetime64[ms]."""
        return self._times.view("datetime64[ms]")

    @property
    def open(self) -> Numbers:
        """First prices, in USDC."""
        return self._column(0)

    @property
    def high(self) -> Numbers:
        """Highest prices, in USDC."""
        return self._column(1)

    @property
    def low(self) -> Numbers:
        """Lowest prices, in USDC."""
        return self._column(2)

    @property
    def close(self) -> Numbers:
        """Last prices, in USDC."""
        return self._column(3)

    @property
    def volume(self) -> Numbers:
        """Traded volumes, in units of the asset; NaN where the server does not say."""
        return self._column(_VOLUME)

    def _column(self, place: int) -> Numbers:
        column: Numbers = self._numbers[place]
        return column

    @property
    def trades(self) -> np.ma.MaskedArray[Any, Any]:
        """Numbers of trades; masked where the server does not say."""
        return np.ma.MaskedArray(self._trades, mask=self._trades < 0)

    @property
    def closed(self) -> Flags:
        """Which intervals were over when the server told of the candle."""
        return self._closed

    @property
    def nbytes(self) -> int:
        """How much memory the columns take, in bytes."""
        return self._times.nbytes + self._numbers.nbytes + self._trades.nbytes + self._closed.nbytes

    # Rows

    def __len__(self) -> int:
        return len(self._times)

    @overload
    def __getitem__(self, index: int) -> Candle: ...
    @overload
    def __getitem__(self, index: slice) -> Candles: ...
    def __getitem__(self, index: int | slice) -> Candle | Candles:
        if isinstance(index, slice):
            if index.step is not None and index.step < 0:
                raise InvalidArgumentError("candles: a table is in ascending order of time: no slice turns it round")
            facts = (self.symbol, self.interval, self.as_of_ms)
            return self._of(
                *facts, self._times[index], self._numbers[:, index], self._trades[index], self._closed[index]
            )
        place = range(len(self))[index]
        return next(iter(self[place : place + 1]))

    def __iter__(self) -> Iterator[Candle]:
        ends: Iterable[int] = repeat(0)
        if self.interval is not None and _span_ms(self.interval) is not None:
            ends = _ends(self._times, self.interval).tolist()
        columns = (self._times.tolist(), *self._numbers.tolist(), self._trades.tolist())
        for end, opened, first, high, low, last, volume, trades in zip(ends, *columns, strict=False):
            yield Candle(
                open_time_ms=opened,
                # As Hyperliquid has it: the last millisecond.
                close_time_ms=end - 1 if end else None,
                symbol=self.symbol,
                interval=self.interval,
                open_text=first,
                high_text=high,
                low_text=low,
                close_text=last,
                volume_text=None if volume != volume else volume,  # noqa: PLR0124 - a NaN
                trades=None if trades < 0 else trades,
            )

    def between(self, start_ms: int, end_ms: int) -> Candles:
        """The candles whose open time is in [start, end).

        Args:
            start_ms: the first open time, epoch milliseconds.
            end_ms: the end, epoch milliseconds; a candle that opens then is not among them.
        """
        first, end = np.searchsorted(self._times, (start_ms, end_ms)).tolist()
        return self[first:end]

    __hash__ = None  # type: ignore[assignment]

    def resample(self, interval: str) -> Candles:
        """Make candles of a longer interval, as polars groups them by their open time.

        Weeks begin on Monday and months on the first, days at midnight, all in UTC. Several of them, and other
        intervals, are counted from the beginning of 1970; weeks from its first Monday, so `2w` begins every other week
        from 5 January 1970 on. An interval in which no candle opens makes no candle. A volume, or a number of trades,
        is unknown where it is so in one of the candles.

        A new candle is `closed` if all that it is made of are closed, and the table has all of it: the first one only
        if a candle opens when it opens, the last one only if a candle ends when it ends.
        Else a table that begins or ends within an interval would give a part of it as the whole. Within the table
        nothing tells what was never asked for from what had no trades: fill gaps first.

        Args:
            interval: a multiple of the candles' own, such as `1h`.

        Raises:
            InvalidArgumentError: it is no interval, or no multiple of the candles' own, or that is unknown.
            UsageError: polars is not installed.
        """
        _require_multiple(interval, self.interval)
        if not len(self):
            return Candles.empty(self.symbol, interval, self.as_of_ms)
        with needing("polars"):
            import polars as pl
        sound = pl.col("trades").min() >= 0
        unit = "mo" if interval.endswith("M") else interval[-1]
        groups = (
            pl.DataFrame(
                {
                    "open_time": pl.Series(self._times).cast(pl.Datetime("ms")),
                    **dict(zip(NUMBERS, self._numbers, strict=True)),
                    "trades": pl.Series(self._trades, dtype=pl.Int64),
                    "closed": self._closed,
                }
            )
            .group_by_dynamic("open_time", every=interval[:-1] + unit)
            .agg(
                pl.col("open").first(),
                pl.col("high").max(),
                pl.col("low").min(),
                pl.col("close").last(),
                pl.col("volume").sum(),
                pl.when(sound).then(pl.col("trades").sum()).otherwise(UNTOLD).alias("trades"),
                pl.col("closed").all(),
                pl.col("open_time").last().alias("last"),
            )
        )
        times = groups["open_time"].cast(pl.Int64).to_numpy()
        ends = _ends(times, interval)
        closed = groups["closed"].to_numpy().copy()
        assert self.interval is not None  # or it had no multiple
        last_ends = _ends(groups["last"].cast(pl.Int64).to_numpy(), self.interval)
        if (last_ends > ends).any():
            raise InvalidArgumentError(f"interval={interval!r}: some candles open at odd times, and end after it")
        closed[0] &= times[0] == self._times[0]
        closed[-1] &= ends[-1] == last_ends[-1]
        columns = {name: groups[name].to_numpy() for name in (*NUMBERS, "trades")}
        return Candles(self.symbol, interval, open_time=times, closed=closed, as_of_ms=self.as_of_ms, **columns)

    def __eq__(self, other: object) -> bool:
        """Whether they say the same of the same series, whenever the server told of it."""
        if not isinstance(other, Candles):
            return NotImplemented
        return (
            (self.symbol, self.interval) == (other.symbol, other.interval)
            and np.array_equal(self._times, other._times)
            and np.array_equal(self._numbers, other._numbers, equal_nan=True)
            and np.array_equal(self._trades, other._trades)
            and np.array_equal(self._closed, other._closed)
        )

    # As others have it

    def to_polars(self) -> polars.DataFrame:
        """A polars frame of these columns: open time in UTC, null where volume or trades are unknown."""
        with needing("polars"):
            import polars as pl
        trades = pl.Series(self._trades)
        return pl.DataFrame(
            {
                "open_time": pl.Series(self._times).cast(pl.Datetime("ms", "UTC")),
                **{
                    name: pl.Series(column, nan_to_null=name == "volume")
                    for name, column in zip(NUMBERS, self._numbers, strict=True)
                },
                "trades": trades.set(trades < 0, None),
                "closed": pl.Series(self._closed),
            }
        )

    def to_pandas(self) -> pandas.DataFrame:
        """A pandas frame of these columns: open time in UTC, NaN where a volume is unknown, NA where trades are."""
        with needing("pandas", "pandas"):
            import pandas as pd  # pyright: ignore[reportMissingTypeStubs]
        return pd.DataFrame(
            {
                "open_time": pd.DatetimeIndex(self.open_time).tz_localize("UTC"),
                **dict(zip(NUMBERS, self._numbers, strict=True)),
                "trades": pd.arrays.IntegerArray(self._trades.copy(), self._trades < 0),
                "closed": self._closed,
            }
        )

    def to_arrow(self) -> pyarrow.Table:  # pyright: ignore[reportUnknownParameterType]
        """A pyarrow table of these columns: open time in UTC, null where volume or trades are unknown."""
        with needing("pyarrow", "pyarrow"):
            import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
        return pa.table(self)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Hand the columns over to whatever speaks Arrow: `pyarrow.table(candles)`, DuckDB, `polars.DataFrame(…)`."""
        return self.to_polars().__arrow_c_stream__(requested_schema)

    # As it is shown

    def __repr__(self) -> str:
        name = "".join(f" {printable(text)}" for text in (self.symbol, self.interval) if text is not None)
        if not len(self):
            return f"<Candles{name}: none>"
        first, last = (_shown_time(int(self._times[place])) for place in (0, -1))
        return f"<Candles{name}: {len(self):,}, {first} to {last} UTC>"

    def _repr_html_(self) -> str:
        names = ("open time, UTC", *NUMBERS, "trades", "closed")
        # Only what is shown is made into rows, and one more, which is left out.
        ends = self if len(self) <= 2 * SHOWN + 1 else Candles.concat([self[: SHOWN + 1], self[-SHOWN:]])
        rows = [
            (
                *(candle.open_time, candle.open_text, candle.high_text, candle.low_text, candle.close_text),
                *(candle.volume_text, candle.trades, "yes" if closed else "no"),
            )
            for candle, closed in zip(ends, ends._closed.tolist(), strict=True)
        ]
        return html_table(repr(self)[1:-1], names, rows)


def _volume(candle: Candle) -> float:
    if candle.volume_text is None:
        return np.nan
    volume = float(candle.volume_text)
    if volume != volume:  # noqa: PLR0124 - a NaN, which here would say that it is unknown
        raise ValueError("a volume is no number")
    return volume


def _times(values: ArrayLike) -> NDArray[np.int64]:
    """Epoch milliseconds of times."""
    given = np.asarray(values)
    if given.ndim != 1:
        raise InvalidArgumentError("open_time: a column has one dimension")
    if given.dtype.kind == "M":
        if np.isnat(given).any():
            raise InvalidArgumentError("open_time: a time is missing")
        return given.astype("datetime64[ms]").view(np.int64).copy()
    if given.dtype.kind not in "iu" and given.size:
        raise InvalidArgumentError("open_time: give datetime64, or whole epoch milliseconds")
    return given.astype(np.int64)


def _filled(values: ArrayLike) -> ArrayLike:
    """Numbers, NaN where they are masked."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    numbers: np.ma.MaskedArray[Any, Any] = np.ma.asarray(values, np.float64)
    return numbers.filled(np.nan)


def _flags(values: ArrayLike) -> Flags:
    given = np.array(values)
    if given.dtype.kind != "b" and given.size:
        raise InvalidArgumentError("closed: give True or False for each")
    return given.astype(np.bool_)


def _counts(values: ArrayLike) -> NDArray[np.int32]:
    """Numbers of trades, in little room."""
    given = values.filled(UNTOLD) if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
    if given.dtype.kind not in "iu" and given.size:
        raise InvalidArgumentError("trades: give whole numbers")
    if given.size and given.max() > MOST_TRADES:
        raise InvalidArgumentError(f"trades: no candle has more than {MOST_TRADES:,}")
    return np.maximum(given, UNTOLD).astype(np.int32)


def _closed(times: NDArray[np.int64], interval: str | None, as_of_ms: int | None) -> Flags:
    """Which intervals are over."""
    span = _span_ms(interval)
    if span is None or as_of_ms is None:
        return np.zeros(len(times), np.bool_)
    return times <= as_of_ms - span


def _span_ms(interval: str | None) -> int | None:
    """How long an interval takes; None where nobody knows."""
    if interval is None:
        return None
    try:
        return span_ms(interval)
    except InvalidArgumentError:
        # A server may have names of its own.
        return None


def _ends(times: NDArray[np.int64], interval: str) -> NDArray[np.int64]:
    """When intervals end, epoch milliseconds: months by the calendar."""
    if not interval.endswith("M"):
        return times + span_ms(interval)
    months = times.view("datetime64[ms]").astype("datetime64[M]") + np.timedelta64(int(interval[:-1]), "M")
    return months.astype("datetime64[ms]").view(np.int64)


def may_last(least_ms: int, most_ms: int, interval: str | None) -> bool:
    """Whether candles that close so long after they open may be of an interval.

    A close time may be the end of the interval, or the last millisecond or second in it.
    """
    longest = _span_ms(interval)
    if longest is None:
        return True
    # Months are of several lengths.
    shortest = longest * 28 // 31 if str(interval).endswith("M") else longest
    return shortest - _SECOND_MS <= least_ms and most_ms <= longest


def _require_multiple(interval: str, own: str | None) -> None:
    span, least = span_ms(interval), _span_ms(own)
    if own is None or least is None:
        raise InvalidArgumentError("resample: it is unknown which interval these candles have")
    if own.endswith("M"):
        is_multiple = interval.endswith("M") and int(interval[:-1]) % int(own[:-1]) == 0
    elif interval.endswith("M"):
        # Months have whole days, and begin on any day of the week.
        is_multiple = _DAY_MS % least == 0
    else:
        is_multiple = span % least == 0 and (interval.endswith("w") or not own.endswith("w"))
    if not is_multiple:
        raise InvalidArgumentError(f"interval={interval!r}: candles of {printable(own)} make no such ones")


_EARLIEST_MS, _LATEST_MS = (int(moment.timestamp() * 1000) for moment in (EARLIEST, LATEST))
_SECOND_MS = 1000
_DAY_MS = 86_400_000


_SHOWN_NAMES = 5


def agreed(what: str, given: str | None, said: set[str | None]) -> str | None:
    """The one symbol, or interval, that all say, in the words of whoever asked for it."""
    names = said - {None} | ({given} - {None})
    if given is not None and len(names) > 1:
        names = {given, *(name for name in names if not is_same(what, given, str(name)))}
    if len(names) > 1:
        shown = ", ".join(printable(str(name)) for name in sorted(names, key=str)[:_SHOWN_NAMES])
        shown += ", …" if len(names) > _SHOWN_NAMES else ""
        raise InvalidArgumentError(f"{what}: a table has the candles of one series, and these are of {shown}")
    return next(iter(names), None)


# What servers add to the symbol of an asset: what it is priced in, and that it is a perpetual.
_PRICED_IN = re.compile(r"(?:[-_/: ]?(?:USD|USDT|USDC|PERP|SWAP))+", re.IGNORECASE | re.ASCII)
_LENGTH = re.compile(r"([0-9]{1,4})? ?-?([a-z]+)", re.IGNORECASE | re.ASCII)
_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3_600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
    **dict.fromkeys(("mo", "month", "months"), 2_678_400),
}


def is_same(what: str, asked: str, said: str) -> bool:
    """Whether a server's word for a symbol, or an interval, may be that for the one that was asked for.

    `BTC` may be `BTC-USD`, `BTCUSDT` or `btc`; `1m` may be `1min`, and a word that says no length may be any.

    Args:
        what: `symbol` or `interval`.
        asked: what was asked for.
        said: what the server calls it.
    """
    if asked == said:
        return True
    if what == "symbol":
        rest = said[len(asked) :]
        return said.casefold().startswith(asked.casefold()) and (not rest or bool(_PRICED_IN.fullmatch(rest)))
    lengths = (_length_s(asked), _length_s(said))
    return None in lengths or lengths[0] == lengths[1]


def _length_s(interval: str) -> int | None:
    """How many seconds an interval has; None where its name does not say."""
    found = _LENGTH.fullmatch(interval)
    if found is None:
        return None
    number, unit = found.groups()
    # Of one letter, only a month's is a capital.
    seconds = _SECONDS["mo"] if unit == "M" else _SECONDS.get(unit.casefold())
    return None if seconds is None else int(number or 1) * seconds


def _shown_time(time_ms: int) -> str:
    return f"{from_milliseconds(time_ms):%Y-%m-%d %H:%M}"
