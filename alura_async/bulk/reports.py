"""What a store says of itself, and what became of a pull into one. Imports neither NumPy nor polars."""

from __future__ import annotations

from datetime import datetime

import msgspec

from ..core.model import from_milliseconds
from ..core.quantities import bytes_, counted
from ..core.text import clip, printable
from ..groups.indicators import Candle
from .query import CandleQuery

_LONGEST_REASON = 800
# So many gaps or corrections are told one by one.
_SHOWN = 5


class Gap(msgspec.Struct, frozen=True):
    """A range of a series that was asked for and is not complete.

    Attributes:
        symbol: the asset's symbol.
        interval: the candles' interval.
        start_ms: the first open time that is missing, epoch milliseconds.
        end_ms: the first moment after the range.
        reason: why: what the server said last, or that nothing came yet.
    """

    symbol: str
    interval: str
    start_ms: int
    end_ms: int
    reason: str

    @property
    def start(self) -> datetime:
        """The first open time that is missing."""
        return from_milliseconds(self.start_ms)

    @property
    def end(self) -> datetime:
        """The first moment after the range."""
        return from_milliseconds(self.end_ms)

    def __str__(self) -> str:
        return f"{self.symbol} {self.interval} from {_time(self.start_ms)} to {_time(self.end_ms)}: {self.reason}"


class Correction(msgspec.Struct, frozen=True):
    """A candle that the server told otherwise than before.

    Attributes:
        old: what the store had.
        new: what it has now.
    """

    old: Candle
    new: Candle

    @property
    def open_time(self) -> datetime:
        """When the candle's interval begins."""
        return self.new.open_time

    def __str__(self) -> str:
        changed = ", ".join(
            f"{name} {before} → {now}"
            for name in ("open", "high", "low", "close", "volume", "trades")
            if (before := getattr(self.old, name)) != (now := getattr(self.new, name))
        )
        return f"{self.new.symbol} {self.new.interval} {_time(self.new.open_time_ms)}: {changed}"


class Problem(msgspec.Struct, frozen=True):
    """Something in a store that is not as it should be.

    Attributes:
        path: the file.
        symbol: the asset's symbol; empty where the file is of no series.
        interval: the candles' interval, likewise.
        month: the month, such as `2026-01`, likewise.
        what: what is wrong.
        remedy: what to do, or what was done.
    """

    path: str
    symbol: str
    interval: str
    month: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}: {self.remedy}"


class SeriesInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a store has of one series.

    Attributes:
        symbol: the asset's symbol.
        interval: the candles' interval.
        ranges: the ranges that are complete, each [start, end) in epoch milliseconds.
        rows: how many candles there are.
        empties: how many intervals of the complete ranges have no candle, because nothing was traded or recorded.
        gaps: how many ranges were asked for and are not complete.
        pending: in how many ranges more than the running candle was not over when the server answered; see
            `CandleStore.pending`.
        files: in how many Parquet files they are.
        missing: how many Parquet files are missing that were there.
        bytes: how large those are.
        waiting: how many candles are in no Parquet file yet, so that only `CandleStore.candles` sees them.
        as_of_ms: when the server last told of the series, by its clock or this machine's, whichever was behind, epoch
            milliseconds; None if it never did.
    """

    symbol: str
    interval: str
    ranges: tuple[tuple[int, int], ...]
    rows: int
    empties: int
    gaps: int
    pending: int
    files: int
    missing: int
    bytes: int
    waiting: int
    as_of_ms: int | None

    @property
    def start(self) -> datetime | None:
        """Since when it is covered; None where nothing is."""
        return from_milliseconds(self.ranges[0][0]) if self.ranges else None

    @property
    def end(self) -> datetime | None:
        """Until when it is covered; None where nothing is."""
        return from_milliseconds(self.ranges[-1][1]) if self.ranges else None

    def __str__(self) -> str:
        covered = f", {_time(self.ranges[0][0])} to {_time(self.ranges[-1][1])}" if self.ranges else ""
        gaps = f", {counted(self.gaps, 'gap')}" if self.gaps else ""
        pending = f", {self.pending:,} pending" if self.pending else ""
        return f"{self.symbol} {self.interval}: {counted(self.rows, 'candle')}{covered}{gaps}{pending}"


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a store has.

    Attributes:
        path: its folder.
        origin: the server that its candles are of.
        query: how that server wants to be asked, as the last pull was told whose questions it understood; the next
            ones ask so, too, unless they are told otherwise. None where nothing was told.
        series: its series, by interval and symbol.
        rows: how many candles there are in all.
        bytes: how large its Parquet files are.
        waiting: how many candles are in no Parquet file yet.
        gaps: how many ranges were asked for and are not complete.
        pending: in how many ranges more than the running candle was not over when the server answered; see
            `CandleStore.pending`.
        missing: how many Parquet files are missing that were there; repair, and a pull of the same, bring them back.
    """

    path: str
    origin: str
    query: CandleQuery | None
    series: tuple[SeriesInfo, ...]
    rows: int
    bytes: int
    waiting: int
    gaps: int
    pending: int
    missing: int

    def __str__(self) -> str:
        pending = f", {self.pending:,} pending" if self.pending else ""
        missing = f", {counted(self.missing, 'file')} missing" if self.missing else ""
        return (
            f"{self.path}: {counted(self.rows, 'candle')} of {counted(len(self.series), 'series', 'series')}, "
            f"{bytes_(self.bytes)}, {counted(self.gaps, 'gap')}{pending}{missing}, of {self.origin}"
        )


class PullReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a pull into a store.

    Attributes:
        series: how many series were asked for.
        candles: how many candles came that the store did not have.
        requests: how many requests it took.
        elapsed_s: how many seconds.
        corrected: the candles that the server tells otherwise than before.
        withdrawn: the candles that the server does not give any more; the store keeps them.
        gaps: what of it is missing, with the reasons: all that `CandleStore.gaps()` has of what was asked for, and of
            series that the server does not know.
        pending: what of it was not over when the server answered, where that is more than the running candle; see
            `CandleStore.pending`.
        mended: what was found damaged or missing, and what was done about it.
        damaged: what was found damaged and is so still, with what to do.
    """

    series: int
    candles: int
    requests: int
    elapsed_s: float
    corrected: tuple[Correction, ...] = ()
    withdrawn: tuple[Candle, ...] = ()
    gaps: tuple[Gap, ...] = ()
    pending: tuple[Gap, ...] = ()
    mended: tuple[Problem, ...] = ()
    damaged: tuple[Problem, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether all that was asked for is there, but for the running candle, and nothing is damaged."""
        return not self.gaps and not self.pending and not self.damaged

    def __str__(self) -> str:
        head = (
            f"{counted(self.candles, 'candle')} more of {counted(self.series, 'series', 'series')}, "
            f"{counted(self.requests, 'request')} in {self.elapsed_s:.1f} s"
        )
        return "\n".join(
            (
                head,
                *_listed("corrected", self.corrected),
                *_listed("no longer given", tuple(map(_named, self.withdrawn))),
                *_listed("gaps", self.gaps),
                *_listed("pending", self.pending),
                *_listed("mended", self.mended),
                *_listed("damaged", self.damaged),
            )
        )


class SeriesUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What an update changed of one series.

    Attributes:
        symbol: the asset's symbol.
        interval: the candles' interval.
        added: how many candles came that the store did not have.
        corrected: the candles that the server tells otherwise than before.
        withdrawn: the candles that the server does not give any more; the store keeps them.
        gaps: what of it is missing, with the reasons.
        pending: what of it was not over when the server answered, where that is more than the running candle.
    """

    symbol: str
    interval: str
    added: int
    corrected: tuple[Correction, ...] = ()
    withdrawn: tuple[Candle, ...] = ()
    gaps: tuple[Gap, ...] = ()
    pending: tuple[Gap, ...] = ()

    def __str__(self) -> str:
        withdrawn = f", {len(self.withdrawn):,} no longer given" if self.withdrawn else ""
        return f"{self.symbol} {self.interval}: {self.added:,} added, {len(self.corrected):,} corrected{withdrawn}"


class UpdateReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an update changed.

    Attributes:
        series: what it changed of each series, by interval and symbol.
        requests: how many requests it took.
        elapsed_s: how many seconds.
        mended: what was found missing, and what was done about it.
        damaged: what was found damaged and is so still, with what to do.
    """

    series: tuple[SeriesUpdate, ...]
    requests: int
    elapsed_s: float
    mended: tuple[Problem, ...] = ()
    damaged: tuple[Problem, ...] = ()

    @property
    def added(self) -> int:
        """How many candles came that the store did not have."""
        return sum(series.added for series in self.series)

    @property
    def corrected(self) -> tuple[Correction, ...]:
        """The candles of all series that the server tells otherwise than before."""
        return tuple(correction for series in self.series for correction in series.corrected)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What of all series is missing."""
        return tuple(gap for series in self.series for gap in series.gaps)

    @property
    def pending(self) -> tuple[Gap, ...]:
        """What of all series was not over when the server answered, where that is more than the running candle."""
        return tuple(end for series in self.series for end in series.pending)

    @property
    def is_complete(self) -> bool:
        """Whether all that was asked for is there, but for the running candle, and nothing is damaged."""
        return not self.gaps and not self.pending and not self.damaged

    def __str__(self) -> str:
        head = (
            f"{counted(self.added, 'candle')} added, {len(self.corrected):,} corrected in "
            f"{counted(len(self.series), 'series', 'series')}, {counted(self.requests, 'request')} in "
            f"{self.elapsed_s:.1f} s"
        )
        return "\n".join(
            (
                head,
                *_listed("corrected", self.corrected),
                *_listed("gaps", self.gaps),
                *_listed("pending", self.pending),
                *_listed("mended", self.mended),
                *_listed("damaged", self.damaged),
            )
        )


def reason(error: Exception) -> str:
    """Why a range is a gap, as reports and the manifest have it."""
    return clip(printable(f"{type(error).__name__}: {error}"), _LONGEST_REASON)


def _listed(name: str, items: tuple[object, ...]) -> list[str]:
    lines = [f"  {name}: {item}" for item in items[:_SHOWN]]
    return [*lines, f"  and {len(items) - _SHOWN:,} more"] if len(items) > _SHOWN else lines


def _named(candle: Candle) -> str:
    return f"{candle.symbol} {candle.interval} {_time(candle.open_time_ms)}"


def _time(time_ms: int) -> str:
    return f"{from_milliseconds(time_ms):%Y-%m-%d %H:%M}"
