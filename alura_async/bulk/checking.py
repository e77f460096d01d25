"""Checks a store's files against its manifest: that all are there, are what was written, and hold what they should."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import StoreError
from . import partitions
from .extra import needing
from .manifest import FileFacts, Manifest, MonthFile, Series, exists, explained, shown
from .partitions import NAME, month_range, named_by
from .reading import WAITING_DAMAGED, path_of
from .reports import Problem

with needing("numpy"):
    import numpy as np

PULL_AGAIN = "repair pulls it again"
"""What is to be done about what is damaged."""

# A file may be replaced while it is looked at, and once more.
_LOOKS = 3


def problems(store: Path, manifest: Manifest) -> Iterator[Problem]:
    """What is wrong with a store's files, one after the other.

    Args:
        store: the store's folder.
        manifest: its manifest, of any moment: a file that is replaced meanwhile is looked at again.

    Raises:
        StoreError: something cannot even be looked at.
    """
    known = {series.id: series for series in manifest.series()}
    paths: set[Path] = set()
    for file in manifest.files():
        series = known[file.series]
        path = path_of(store, series, file.month)
        paths.add(path)
        what = _wrong(store, path, series, file)
        if what is not None:
            yield Problem(str(path), series.symbol, series.interval, file.month, what, PULL_AGAIN)
    for number, month, _ in manifest.spooled_months():
        if not all(piece.is_sound for piece in manifest.spooled(number, month)):
            series = known[number]
            yield Problem(str(manifest.path), series.symbol, series.interval, month, WAITING_DAMAGED, PULL_AGAIN)
    with explained(store):
        strangers = sorted({*store.glob("**/*.parquet")} - paths)
    if strangers:
        # A writer may have made it since: none is in its place before the manifest knows it.
        with Manifest.to_read(store) as latest:
            known = {series.id: series for series in latest.series()}
            paths = {path_of(store, known[file.series], file.month) for file in latest.files()}
    for path in strangers:
        if path not in paths and exists(path):
            yield _stranger(store, path)


def _wrong(store: Path, path: Path, series: Series, file: MonthFile) -> str | None:
    """What is wrong with a file; None where nothing is."""
    for _ in range(_LOOKS):
        try:
            with explained(path):
                content = path.read_bytes() if exists(path) else None
        except StoreError as error:
            return error.problem
        if content is None:
            wrong = None if file.now is None else "is missing"
        else:
            found = partitions.checksum(content)
            facts = next((facts for facts in file.known if facts.checksum == found), None)
            wrong = (
                _wrong_within(path, content, series, file.month, facts) if facts else "is not what was written there"
            )
        if wrong is None:
            return None
        # A writer may have replaced it since the manifest was read.
        with Manifest.to_read(store) as latest:
            again = latest.file(series.id, file.month)
        if again == file:
            return wrong
        if again is None:
            return None
        file = again
    return "changes all the time"


def _wrong_within(path: Path, content: bytes, series: Series, month: str, facts: FileFacts) -> str | None:
    try:
        times = partitions.times_of(path, content)
    except StoreError as error:
        return error.problem.removeprefix(f"{shown(path)}: ")
    start, end = month_range(month)
    if len(times) != facts.rows or (len(times) and (times[0], times[-1]) != (facts.first, facts.last)):
        return f"has {len(times):,} candles, and the manifest knows of {facts.rows:,}"
    if not bool(np.all(times[1:] > times[:-1])):
        return "is not in the order of time, or has a time twice"
    if len(times) and not start <= times[0] <= times[-1] < end:
        return "has candles of another month"
    return None


def _stranger(store: Path, path: Path) -> Problem:
    what = "is not in the manifest, and every reader sees it"
    name = named_by(path.parent.relative_to(store)) if path.name == NAME else None
    if name is None:
        return Problem(str(path), "", "", "", what, "move it away")
    return Problem(str(path), *name, what, "repair takes it in if it is of this server; else move it away")
