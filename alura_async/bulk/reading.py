"""Reads what a store has: the candles of a series, in files and waiting for one, and what of it is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..core.text import printable
from ..errors import StoreError
from .columns import Candles
from .manifest import Manifest, MonthFile, Piece, Series, exists, shown
from .partitions import NAME, DamagedError, folder_of, joined, month_range, read, unpacked
from .plan import span_ms
from .ranges import Range, within, without
from .reports import Gap

NOT_OVER = "it was not over yet by the server's clock or this machine's"
"""Why something that was asked for is not covered, where it is no gap."""

_NOT_YET = "nothing came of it yet: the pull that asks for it is running, or was interrupted"
_FILE_GONE = "its file is missing"
# Up to now, the running candle is never over; nor is the one before it, where a clock is a little behind.
_RUNNING = 2

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
    paths = [path for path in paths if exists(path) or not _is_new(manifest, series, path)]
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
    return without(manifest.asked(series.id), _not_over(manifest, series))


def told_gaps(store: Path, manifest: Manifest, series: Series) -> list[Gap]:
    """The gaps of a series, with the reasons, by time; also those of files that are gone."""
    gone = [
        Gap(series.symbol, series.interval, start, end, _FILE_GONE)
        for file in manifest.files(series.id)
        if file.now is not None and not exists(path_of(store, series, file.month))
        for start, end in within(manifest.covered(series.id), *month_range(file.month))
    ]
    return sorted([*_never_had(manifest, series), *gone], key=lambda gap: gap.start_ms)


def _never_had(manifest: Manifest, series: Series) -> Iterator[Gap]:
    failures = _failures(manifest, series)
    # The first of them that is not over yet: both lists are gone through once.
    place = 0
    for start, end in gaps_of(manifest, series):
        told = start
        while place < len(failures) and failures[place][0] < end:
            first, last, reason = failures[place]
            for known, until in within([(first, last)], start, end):
                if told < known:
                    yield Gap(series.symbol, series.interval, told, known, _NOT_YET)
                yield Gap(series.symbol, series.interval, known, until, reason)
                told = until
            if last > end:
                break
            place += 1
        if told < end:
            yield Gap(series.symbol, series.interval, told, end, _NOT_YET)


def told_pending(manifest: Manifest, series: Series) -> Iterator[Gap]:
    """The end of what was asked for of a series, where more of it than the running candle was not over."""
    for start, end in _not_over(manifest, series):
        if end - start > _RUNNING * span_ms(series.interval):
            yield Gap(series.symbol, series.interval, start, end, NOT_OVER)


def _not_over(manifest: Manifest, series: Series) -> list[Range]:
    """The end of what was asked for of a series, as far as it was not over when the server answered."""
    not_over = [(start, end) for start, end, why in _failures(manifest, series) if why == NOT_OVER]
    known = without(manifest.asked(series.id), not_over)
    # What has something later after it is missing like anything else: a clock was wrong.
    return [(start, end) for start, end in not_over if not known or start >= known[-1][1]]


def _failures(manifest: Manifest, series: Series) -> list[tuple[int, int, str]]:
    """The ranges of a series that could not be had, sorted; neighbours with the same reason are one."""
    found: list[tuple[int, int, str]] = []
    for start, end, why in manifest.failures(series.id):
        if found and found[-1][1:] == (start, why):
            found[-1] = (found[-1][0], end, why)
        else:
            found.append((start, end, why))
    return found


def _overlap(month: str, within: Range) -> bool:
    start, end = month_range(month)
    return start < within[1] and within[0] < end


def _may_have(file: MonthFile, within: Range) -> bool:
    return any(facts.first < within[1] and facts.last >= within[0] for facts in file.known)


def _is_new(manifest: Manifest, series: Series, path: Path) -> bool:
    file = manifest.file(series.id, path.parent.name.removeprefix("month="))
    return file is not None and file.now is None
