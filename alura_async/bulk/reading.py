"""Reads a series as a store has it: what is in its files, and what waits for one."""

from __future__ import annotations

from pathlib import Path

from .columns import Candles
from .manifest import Manifest, MonthFile, Series
from .partitions import NAME, folder_of, month_range, read, unpacked
from .ranges import Range


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
        unpacked(piece, series.symbol, series.interval, series.as_of)
        for month in sorted(month for _, month, _ in manifest.spooled_months(series.id) if _overlap(month, within))
        for piece in manifest.spooled(series.id, month).pieces
    ]
    paths = [path_of(store, series, file.month) for file in manifest.files(series.id) if _may_have(file, within)]
    # One that its writer was killed before it made it.
    paths = [path for path in paths if path.exists() or not _is_new(manifest, series, path)]
    filed = read(paths, series.symbol, series.interval, series.as_of, within)
    return Candles.concat([filed, *waiting]).between(start, end) if waiting else filed


def _overlap(month: str, within: Range) -> bool:
    start, end = month_range(month)
    return start < within[1] and within[0] < end


def _may_have(file: MonthFile, within: Range) -> bool:
    return any(facts.first < within[1] and facts.last >= within[0] for facts in file.known)


def _is_new(manifest: Manifest, series: Series, path: Path) -> bool:
    file = manifest.file(series.id, path.parent.name.removeprefix("month="))
    return file is not None and file.now is None
