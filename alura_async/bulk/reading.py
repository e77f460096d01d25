"""Reads what a store has: the candles of a series, in files and waiting for one, and what of it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.text import printable
from ..errors import StoreError
from .columns import Candles
from .manifest import Manifest, MonthFile, Piece, Series, shown
from .partitions import NAME, DamagedError, folder_of, joined, month_range, read, unpacked
from .ranges import Range, without

NOT_OVER = "it was not over yet by the server's clock or this machine's"
"""Why something that was asked for is not covered, where it is no gap."""

WAITING_DAMAGED = "candles in it that wait for their file are damaged"
"""What is wrong with a manifest of which only they are."""


def path_of(store: Path, series: Series, month: str) -> Path:
    """A month's file."""
    return store / folder_of(series.symbol, series.interval, month) / NAME


def candles_of(store: Path, manifest: Manifest, series: Series, within: Range) -> Candles:
    """The candles of a series whose open time is in a range, of those months alone.

    Args:
        store: the store's folder.
        manifest: its manifest. What waits is asked of it before a file is opened: a writer may put it there meanwhile.
        series: the series.
        within: the range.

    Raises:
        StoreError: something cannot be read.
    """
    start, end = within
    waiting = [
        piece
        for month in sorted(month for _, month, _ in manifest.spooled_months(series.id) if _overlap(month, within))
        for piece in waiting_of(manifest, series, manifest.spooled(series.id, month))
    ]
    paths = [path_of(store, series, file.month) for file in manifest.files(series.id) if _may_have(file, within)]
    # One that its writer was killed before it made it.
    paths = [path for path in paths if path.exists() or not _is_new(manifest, series, path)]
    filed = joined([read(path, within) for path in paths], series.symbol, series.interval, series.as_of)
    return Candles.concat([filed, *waiting]).between(start, end) if waiting else filed


def waiting_of(manifest: Manifest, series: Series, pieces: Sequence[Piece]) -> list[Candles]:
    """The candles of a series that are in no file yet.

    Raises:
        DamagedError: they are not what was recorded.
    """
    if not all(piece.is_sound for piece in pieces):
        raise DamagedError(f"{shown(manifest.path)}: {WAITING_DAMAGED}", remedy="repair")
    return [unpacked(piece.candles, series.symbol, series.interval, series.as_of) for piece in pieces]


def chosen(
    store: Path, series: Sequence[Series], symbols: Sequence[str] | None, intervals: Sequence[str] | None
) -> list[Series]:
    """Those of a store's series that are named.

    Raises:
        StoreError: there is none of a symbol, or of an interval.
    """
    for what, names, there in (
        ("symbol", symbols, {each.symbol for each in series}),
        ("interval", intervals, {each.interval for each in series}),
    ):
        for name in names or ():
            if name not in there:
                raise StoreError(
                    f"{shown(store)}: has no {what} {printable(name)}; there are "
                    f"{', '.join(sorted(map(printable, there))) or 'none'}",
                    remedy="pull",
                )
    return [
        each
        for each in series
        if (symbols is None or each.symbol in symbols) and (intervals is None or each.interval in intervals)
    ]


def gaps_of(manifest: Manifest, series: Series) -> list[Range]:
    """The ranges of a series that were asked for, are over, and are not covered."""
    return without(asked_of(manifest, series), manifest.covered(series.id))


def asked_of(manifest: Manifest, series: Series) -> list[Range]:
    """What was asked for of a series, without the end that was not over yet when the server answered."""
    covered = manifest.covered(series.id)
    last = covered[-1][1] if covered else None
    running = [
        (start, end)
        for start, end, why in manifest.failures(series.id)
        # Where there is something later, a clock was wrong.
        if why == NOT_OVER and (last is None or start >= last)
    ]
    return without(manifest.asked(series.id), running)


def _overlap(month: str, within: Range) -> bool:
    start, end = month_range(month)
    return start < within[1] and within[0] < end


def _may_have(file: MonthFile, within: Range) -> bool:
    return any(facts.first < within[1] and facts.last >= within[0] for facts in file.known)


def _is_new(manifest: Manifest, series: Series, path: Path) -> bool:
    file = manifest.file(series.id, path.parent.name.removeprefix("month="))
    return file is not None and file.now is None
