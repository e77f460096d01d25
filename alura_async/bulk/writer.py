"""Writes into a store: records pages, and puts what was recorded into Parquet files. It blocks.

    pages → record: one transaction → the manifest holds them → compact: draft → intent → rename → the file holds them

A kill between any two of these leaves a store that can be read, and that the next writer goes on with: what waits in
the manifest is put into the file once more, and the later of two candles of one time counts.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..core.text import printable
from ..errors import ClosedError, NotFoundError, StoreError
from ..groups.indicators import Candle
from . import manifest as manifests
from . import partitions
from .checking import PULL_AGAIN, problems
from .columns import Candles
from .extra import needing
from .manifest import DamagedManifestError, FileFacts, Manifest, Series, exists, explained, shown
from .pages import CandlePage
from .partitions import NAME, Notes, by_month, folder_of, month_range, months_of, named_by, packed
from .plan import Window, span_ms
from .query import CandleQuery
from .ranges import Range, merged, within, without, without_end
from .reading import (
    NOT_OVER,
    WAITING_DAMAGED,
    asked_of,
    candles_of,
    chosen,
    gaps_of,
    path_of,
    told_gaps,
    told_pending,
    waiting_of,
)
from .reports import Correction, Gap, Problem, reason
from .store_lock import StoreLock

with needing("numpy"):
    import numpy as np

# So many candles may wait in the manifest, about 60 MB; then the largest months are put into files, until half are
# left.
_MOST_WAITING = 1_000_000
_AGAIN = "it is pulled again"
_REBUILT = (
    "it is made anew of the Parquet files; what was asked for after they were written, and candles that were in none, "
    "are not known any more: pull the same again"
)
_COLUMNS = ("open", "high", "low", "close", "volume", "trades")


class Recorded(NamedTuple):
    """What a page changed.

    Attributes:
        added: how many candles are new.
        corrected: the candles that are told otherwise than before.
        withdrawn: the candles that are not told of any more; they are kept.
    """

    added: int
    corrected: tuple[Correction, ...] = ()
    withdrawn: tuple[Candle, ...] = ()


class Left(NamedTuple):
    """What of a series is not there.

    Attributes:
        gaps: what is missing, with the reasons, by time.
        pending: what was not over when the server answered, where that is more than the running candle.
    """

    gaps: tuple[Gap, ...]
    pending: tuple[Gap, ...]


class Writer:
    """The one that writes into a store, once it is open. Threads may share it: what one does, the others wait for.

    Args:
        store: the store's folder.
        clock: this machine's, in epoch seconds.
    """

    def __init__(self, store: Path, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._in_turn = threading.RLock()
        self._opened = ExitStack()
        self._closed = False
        self._mended: list[Problem] = []
        self._strangers: list[Problem] = []
        self._damaged: dict[tuple[int, str], Problem] = {}
        self._unheard_of: set[int] = set()
        self._waiting = 0
        self._is_rebuilt = False
        self._manifest: Manifest

    def open(self, origin: str | None, *, makes: bool = False, rebuilds: bool = False) -> None:
        """Get the right to write, and finish what a writer that was killed had begun.

        Args:
            origin: the server whose candles are to be stored; None where none are.
            makes: whether a store is made where there is none, in a folder that is there.
            rebuilds: whether a manifest that is gone or damaged is made anew of the Parquet files.

        Raises:
            StoreError: somebody else writes into it, or it cannot be used; the message says what to do.
            ClosedError: it was closed already.
        """
        with self._turn():
            _require_store(self._store, makes=makes, rebuilds=rebuilds)
            with explained(self._store):
                self._store.mkdir(exist_ok=True)
            with ExitStack() as opened:
                lock = StoreLock(self._store)
                opened.callback(lock.release)
                self._manifest = self._open_manifest(origin, rebuilds=rebuilds)
                opened.callback(self._manifest.close)
                self._finish_replacing()
                self._waiting = sum(rows for _, _, rows in self._manifest.spooled_months())
                self._opened = opened.pop_all()

    # What is asked for

    def query(self) -> CandleQuery | None:
        """How the server wants to be asked; None where nobody has said so.

        Raises:
            StoreError: what was noted cannot be read.
        """
        with self._turn():
            return self._manifest.query()

    def forget_query(self) -> None:
        """Note that nobody has said how the server wants to be asked."""
        with self._turn(), self._manifest.transaction():
            self._manifest.set_query(None)

    def ask(self, windows: Iterable[Window], last: int = 0) -> list[Window]:
        """Note what is asked for, and tell what of it the store does not have, or should be told again.

        Args:
            windows: the ranges.
            last: how many of the last intervals of what a series has are asked for again, where they are in the ranges.

        Returns:
            What is missing, by range and time.
        """
        missing: list[Window] = []
        with self._turn(), self._manifest.transaction():
            for window in windows:
                # A symbol that no folder can be named after is refused before anything is asked for.
                folder_of(window.symbol, window.interval, "0000-00")
                series = self._manifest.ask(window.symbol, window.interval, window.start_ms, window.end_ms)
                self._miss_files(series, window.start_ms, window.end_ms)
                missing += self._unknown(series, [(window.start_ms, window.end_ms)], last)
        return missing

    def require(self, symbols: Sequence[str] | None, intervals: Sequence[str] | None) -> None:
        """Refuse symbols and intervals of which there is nothing.

        Raises:
            StoreError: there is none of a symbol, or of an interval.
        """
        with self._turn():
            chosen(self._store, self._manifest.series(), symbols, intervals)

    def again(
        self, symbols: Sequence[str] | None, intervals: Sequence[str] | None, last: int, now: int
    ) -> list[Window]:
        """What an update asks for: what is missing of all that was ever asked for, what came since, the end again.

        Args:
            symbols: of which symbols; None for all that the store has.
            intervals: of which intervals; None for all that the store has.
            last: how many of the last intervals of what there is.
            now: until when by the server's clock, epoch milliseconds; but not beyond what this machine's says.

        Raises:
            StoreError: the store has nothing of what is named.
        """
        now = min(now, self._now_ms())
        windows: list[Window] = []
        with self._turn(), self._manifest.transaction():
            for series in chosen(self._store, self._manifest.series(), symbols, intervals):
                asked = self._manifest.asked(series.id)
                if not asked:
                    continue
                self._miss_files(series, asked[0][0], now)
                start = asked[-1][1]
                if start < now:
                    self._manifest.ask(series.symbol, series.interval, start, now)
                windows += self._unknown(series, within(self._manifest.asked(series.id), asked[0][0], now), last)
        return windows

    def missing(self) -> list[Window]:
        """The gaps of all series that the store has."""
        with self._turn():
            return [
                Window(series.symbol, series.interval, start, end)
                for series in self._manifest.series()
                for start, end in gaps_of(self._manifest, series)
            ]

    def asked(self, symbols: Sequence[str] | None = None, intervals: Sequence[str] | None = None) -> list[Window]:
        """All that was ever asked for of the series that the store has.

        Args:
            symbols: of which symbols; None for all.
            intervals: of which intervals; None for all.

        Raises:
            StoreError: the store has nothing of what is named.
        """
        with self._turn():
            return [
                Window(series.symbol, series.interval, start, end)
                for series in chosen(self._store, self._manifest.series(), symbols, intervals)
                for start, end in self._manifest.asked(series.id)
            ]

    def left(self, ranges: Iterable[Window]) -> dict[tuple[str, str], Left]:
        """What of some ranges is not there, by symbol and interval. Series that the store has not are left out."""
        by_series: dict[tuple[str, str], list[Window]] = {}
        for window in ranges:
            by_series.setdefault((window.symbol, window.interval), []).append(window)
        found: dict[tuple[str, str], Left] = {}
        with self._turn():
            for (symbol, interval), windows in by_series.items():
                series = self._manifest.find(symbol, interval)
                if series is not None:
                    gaps = _cut(told_gaps(self._store, self._manifest, series), windows)
                    found[symbol, interval] = Left(gaps, _cut(told_pending(self._manifest, series), windows))
        return found

    def _miss_files(self, series: Series, start: int, end: int) -> None:
        """Note that what was in files that are gone is to be asked for again."""
        for file in self._manifest.files(series.id):
            path = path_of(self._store, series, file.month)
            if file.now is not None and within([month_range(file.month)], start, end) and not exists(path):
                self._forget_file(series, file.month, "is missing")
                problem = Problem(str(path), series.symbol, series.interval, file.month, "is missing", _AGAIN)
                self._mended.append(problem)

    def _forget_file(self, series: Series, month: str, why: str) -> None:
        self._manifest.forget_file(series.id, month)
        for first, last in within(self._manifest.covered(series.id), *month_range(month)):
            self._manifest.uncover(series.id, first, last, f"its file {why}")

    def _unknown(self, series: Series, ranges: Sequence[Range], last: int) -> list[Window]:
        """What of some ranges is not covered, or in the last intervals of what is."""
        known = without_end(self._manifest.covered(series.id), last * span_ms(series.interval))
        return [Window(series.symbol, series.interval, start, end) for start, end in without(ranges, known)]

    # What came

    def record(
        self, pages: Sequence[CandlePage], query: CandleQuery | msgspec.UnsetType | None = msgspec.UNSET
    ) -> list[Recorded]:
        """Record pages in one transaction, and put into files what is complete with them.

        A candle that is not over by the server's clock and by this machine's is left out, and the range ends before it.

        Args:
            pages: what came.
            query: how the server wants to be asked, as these pages say: whoever goes on with the store asks so.

        Returns:
            What each page changed.

        Raises:
            StoreError: nothing of it was recorded; or it was, and could not be put into files. A damaged file raises
                nothing: `damaged` tells of it, and what was to be put into it waits.
        """
        with self._turn():
            touched: dict[tuple[int, str], int] = {}
            with self._manifest.transaction():
                recorded = [self._record(page, touched) for page in pages]
                if query is not msgspec.UNSET:
                    self._manifest.set_query(query)
            self._waiting += sum(touched.values())
            self._compact(self._complete(touched))
            if self._waiting > _MOST_WAITING:
                self._compact(self._largest())
            return recorded

    def compact(self) -> None:
        """Put into files all that waits, but for what belongs into damaged ones: it keeps waiting.

        Raises:
            StoreError: it cannot be written. It keeps waiting, and nothing is lost.
        """
        with self._turn():
            self._compact((series, month) for series, month, _ in self._manifest.spooled_months())
            self._forget_unheard_of()
            self._manifest.shrink()

    def damaged(self) -> list[Problem]:
        """What was found damaged and is so still, by path."""
        with self._turn():
            found = {(problem.path, problem.month): problem for problem in (*self._damaged.values(), *self._strangers)}
            return [found[place] for place in sorted(found)]

    def mended(self) -> list[Problem]:
        """What was found damaged or missing and was seen to, each with what was done about it."""
        with self._turn():
            return [*self._mended]

    def forget(self, symbol: str, interval: str) -> None:
        """Take a series out: its files, and all that is known of it.

        Raises:
            StoreError: there is none such, or a file cannot be deleted: then the same call goes on.
        """
        with self._turn():
            series = self._manifest.find(symbol, interval)
            if series is None:
                raise StoreError(f"{shown(self._store)}: has no candles of {printable(symbol)} {printable(interval)}")
            # First the files: what the manifest knows and is not there can be told, and one that it does not know is
            # every reader's.
            partitions.remove(self._store, folder_of(symbol, interval, "0000-00").parent)
            with self._manifest.transaction():
                self._manifest.forget(series.id)
            self._waiting = sum(rows for _, _, rows in self._manifest.spooled_months())

    def close(self) -> None:
        """Let others write. What waits is read, and put into files by the next writer. Does nothing a second time."""
        with self._in_turn:
            if not self._closed:
                self._closed = True
                self._opened.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _record(self, page: CandlePage, touched: dict[tuple[int, str], int]) -> Recorded:
        series = self._series(page)
        if page.error is not None:
            self._manifest.fail(series.id, page.start_ms, page.end_ms, reason(page.error))
            if isinstance(page.error, NotFoundError):
                self._unheard_of.add(series.id)
            return Recorded(0)
        self._manifest.note_time(series.id, min(page.as_of_ms, self._now_ms()))
        # What opens from here on is not over yet. It takes both clocks to say that something is: what one that is wrong
        # calls over would never be asked for again.
        end = min(page.end_ms, self._over(page.interval, page.as_of_ms))
        if end < page.end_ms:
            self._manifest.fail(series.id, max(page.start_ms, end), page.end_ms, NOT_OVER)
        if page.start_ms >= end:
            return Recorded(0)
        candles = page.candles.between(page.start_ms, end)
        is_known = bool(within(self._manifest.covered(series.id), page.start_ms, end))
        changes = self._compare(series, candles, (page.start_ms, end)) if is_known else Recorded(len(candles))
        for month in months_of(page.start_ms, end):
            touched.setdefault((series.id, month), 0)
        for month, part in by_month(candles):
            ((first, last),) = within([month_range(month)], page.start_ms, end)
            self._manifest.spool(series.id, month, len(part), (first, last), packed(part))
            touched[series.id, month] += len(part)
        self._manifest.cover(series.id, page.start_ms, end)
        return changes

    def _compare(self, series: Series, new: Candles, asked: Range) -> Recorded:
        """What candles that came again say otherwise."""
        try:
            old = candles_of(self._store, self._manifest, series, asked)
        except partitions.DamagedError:
            # Nobody knows what they said before. Who puts them into the file will find it damaged, and say so.
            return Recorded(0)
        _, before, now = np.intersect1d(old.open_time, new.open_time, assume_unique=True, return_indices=True)
        differs = np.zeros(len(now), np.bool_)
        for name in _COLUMNS:
            had = np.ma.filled(getattr(old, name), -1)[before]
            has = np.ma.filled(getattr(new, name), -1)[now]
            differs |= (had != has) & ~((had != had) & (has != has))  # noqa: PLR0124 - NaN is NaN
        corrected = zip(before[differs].tolist(), now[differs].tolist(), strict=True)
        gone = np.setdiff1d(np.arange(len(old)), before, assume_unique=True)
        return Recorded(
            len(new) - len(now),
            tuple(Correction(old[place], new[other]) for place, other in corrected),
            tuple(old[place] for place in gone.tolist()),
        )

    def _over(self, interval: str, as_of: int) -> int:
        """The first open time of which a candle is not over: neither clock says so alone."""
        return min(as_of, self._now_ms()) - span_ms(interval) + 1

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _series(self, page: CandlePage) -> Series:
        found = self._manifest.find(page.symbol, page.interval)
        return found or self._manifest.ask(page.symbol, page.interval, page.start_ms, page.end_ms)

    # Files

    def _complete(self, touched: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
        """The months among some of which nothing is missing that was asked for."""
        known = {series.id: series for series in self._manifest.series()}
        complete: list[tuple[int, str]] = []
        for number, month in sorted(touched):
            start, end = month_range(month)
            asked = within(asked_of(self._manifest, known[number]), start, end)
            if not without(asked, self._manifest.covered(number)):
                complete.append((number, month))
        return complete

    def _largest(self) -> Iterator[tuple[int, str]]:
        for series, month, _ in self._manifest.spooled_months():
            if self._waiting <= _MOST_WAITING // 2:
                return
            yield series, month

    def _compact(self, months: Iterable[tuple[int, str]]) -> None:
        """Put into files what waits for some months.

        Raises:
            StoreError: they cannot be written. That a file is damaged keeps no other month from its own.
        """
        known = {series.id: series for series in self._manifest.series()}
        for number, month in months:
            series = known[number]
            try:
                self._compact_month(series, month)
            except partitions.DamagedError as error:
                is_sound = all(piece.is_sound for piece in self._manifest.spooled(number, month))
                path = path_of(self._store, series, month) if is_sound else self._manifest.path
                what = error.problem.removeprefix(f"{shown(path)}: ")
                self._damaged[number, month] = Problem(
                    str(path), series.symbol, series.interval, month, what, PULL_AGAIN
                )
            else:
                self._damaged.pop((number, month), None)

    def _forget_unheard_of(self) -> None:
        """Let go of series that the server does not have, and of which it never told anything."""
        for number in self._unheard_of:
            has_any = self._manifest.covered(number) or self._manifest.files(number)
            if not has_any and not self._manifest.spooled_months(number):
                with self._manifest.transaction():
                    self._manifest.forget(number)
        self._unheard_of.clear()

    def _compact_month(self, series: Series, month: str) -> None:
        waiting = self._manifest.spooled(series.id, month)
        if not waiting:
            return
        pieces = waiting_of(self._manifest, series, waiting)
        candles = Candles.concat([self._filed(series, month), *pieces])
        covered = within(self._manifest.covered(series.id), *month_range(month))
        notes = Notes(
            self._manifest.origin,
            asked_of(self._manifest, series),
            covered,
            series.as_of,
            self._known_query(),
        )
        content, facts = partitions.written(candles, notes)
        draft = partitions.draft(self._store, folder_of(series.symbol, series.interval, month), content)
        self._manifest.replacing(series.id, month, facts)
        partitions.put_in_place(draft)
        self._manifest.replaced(series.id, month, facts, waiting[-1].number)
        self._waiting -= sum(len(piece) for piece in pieces)

    def _known_query(self) -> CandleQuery | None:
        try:
            return self._manifest.query()
        except StoreError:
            # Who needs it is told so.
            return None

    def _filed(self, series: Series, month: str) -> Candles:
        """What a month's file has, after making sure that it is what was written."""
        path = path_of(self._store, series, month)
        file = self._manifest.file(series.id, month)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            if file is None or file.now is None:
                return Candles.empty(series.symbol, series.interval)
            raise partitions.DamagedError(
                f"{shown(path)}: is missing; what came now is kept", remedy="repair"
            ) from None
        except OSError as error:
            with explained(path):
                raise error
        if file is None or partitions.checksum(content) not in {facts.checksum for facts in file.known}:
            raise partitions.DamagedError(
                f"{shown(path)}: is not what was written there; what came now is kept", remedy="repair"
            )
        return partitions.parsed(path, content, series.symbol, series.interval)

    def _finish_replacing(self) -> None:
        """Find out which files were replaced by a process that did not get to say so."""
        known = {series.id: series for series in self._manifest.series()}
        for file in self._manifest.files():
            if file.new is None:
                continue
            path = path_of(self._store, known[file.series], file.month)
            try:
                found = partitions.checksum(path.read_bytes())
            except FileNotFoundError:
                found = None
            with self._manifest.transaction():
                if found == file.new.checksum:
                    self._manifest.set_file(file.series, file.month, file.new)
                elif file.now is None and found is None:
                    self._manifest.forget_file(file.series, file.month)
                elif file.now is not None and found == file.now.checksum:
                    self._manifest.forget_new(file.series, file.month)
                # Else it is damaged, and `verify` says so.

    # Repairs

    def mend(self) -> None:
        """Take damaged files out of sight, so that what they held is missing; and take in those of a lost manifest.

        `mended` tells what was wrong and what was done about it, and `damaged` what could not be mended.

        Raises:
            StoreError: it cannot be done.
        """
        with self._turn():
            for problem in problems(self._store, self._manifest):
                self._mend(problem)

    def _mend(self, problem: Problem) -> None:
        path = Path(problem.path)
        series = self._manifest.find(problem.symbol, problem.interval) if problem.symbol else None
        if series is not None and path == self._manifest.path:
            done = self._drop_damaged(series, problem.month)
        elif series is not None and self._manifest.file(series.id, problem.month) is not None:
            aside = partitions.set_aside(path)
            with self._manifest.transaction():
                self._forget_file(series, problem.month, problem.what)
            done = _AGAIN if aside is None else f"{_AGAIN}; what was there is {shown(aside)} now"
        elif self._take_in(path, problem):
            done = "it is one of this store's, and in the manifest again"
        else:
            self._strangers.append(msgspec.structs.replace(problem, remedy="it is not of this store: move it away"))
            return
        self._mended.append(msgspec.structs.replace(problem, remedy=done))

    def _drop_damaged(self, series: Series, month: str) -> str:
        """Let go of candles that wait and are damaged."""
        with self._manifest.transaction():
            for piece in self._manifest.spooled(series.id, month):
                if not piece.is_sound:
                    self._manifest.drop(piece)
                    self._manifest.uncover(series.id, *piece.range, WAITING_DAMAGED)
        return _AGAIN

    def _take_in(self, path: Path, problem: Problem) -> bool:
        """Make a file the store's that its manifest does not know, if it is one of this server's."""
        facts = self._own_file(path)
        if facts is None:
            return False
        notes, found, month = facts
        origin = self._manifest.origin or notes.origin
        if notes.origin != origin:
            return False
        symbol, interval = problem.symbol, problem.interval
        start, end = month_range(month)
        with self._manifest.transaction():
            covered = notes.covered or [(found.first, found.last + 1)]
            series = self._manifest.ask(symbol, interval, *covered[0])
            for asked in (*covered, *notes.asked):
                self._manifest.ask(symbol, interval, *asked)
            self._manifest.set_file(series.id, month, found)
            if notes.as_of is not None:
                self._manifest.note_time(series.id, notes.as_of)
            if notes.query is not None and self._is_rebuilt and self._manifest.query() is None:
                self._manifest.set_query(notes.query)
            for first, last in within(notes.covered, start, end):
                self._manifest.cover(series.id, first, last)
        return True

    def _own_file(self, path: Path) -> tuple[Notes, FileFacts, str] | None:
        name = named_by(path.parent.relative_to(self._store))
        if name is None or path.name != NAME:
            return None
        symbol, interval, month = name
        try:
            content = path.read_bytes()
            notes = partitions.notes_of(content)
            candles = partitions.parsed(path, content, symbol, interval)
        except (OSError, StoreError):
            return None
        if notes is None:
            return None
        return notes, partitions.facts_of(candles, content), month

    # Opening

    def _open_manifest(self, origin: str | None, *, rebuilds: bool) -> Manifest:
        path = manifests.place(self._store)
        try:
            if not Manifest.is_lost(self._store):
                return Manifest.to_write(self._store, origin)
            error, what = manifests.none_error(self._store), "the manifest was gone"
        except DamagedManifestError as damaged:
            error, what = damaged, damaged.problem.removeprefix(f"{shown(path)}: ")
        if not rebuilds:
            raise error
        found = self._origin_of_files()
        if origin is not None and found is not None:
            # Before anything is touched: another server's would be taken for a new store of its own.
            manifests.require_same(self._store, found, origin)
        aside = manifests.set_aside(self._store)
        self._is_rebuilt = True
        kept = f"; the old one is {shown(aside)} now" if exists(aside) else ""
        self._mended.append(Problem(str(path), "", "", "", what, f"{_REBUILT}{kept}"))
        return Manifest.to_write(self._store, origin or found)

    def _origin_of_files(self) -> str | None:
        """The server whose candles the Parquet files hold, as the first of them that can be read says."""
        with explained(self._store):
            for path in sorted(self._store.glob(f"interval=*/symbol=*/month=*/{NAME}")):
                notes = partitions.notes_of(path.read_bytes())
                if notes is not None:
                    return notes.origin
        return None

    @contextmanager
    def _turn(self) -> Generator[None]:
        with self._in_turn:
            if self._closed:
                raise ClosedError(f"{shown(self._store)}: this writer was closed")
            yield


def _cut(found: Iterable[Gap], windows: Sequence[Window]) -> tuple[Gap, ...]:
    """What of some ranges is in others."""
    ranges = merged((window.start_ms, window.end_ms) for window in windows)
    return tuple(
        msgspec.structs.replace(each, start_ms=start, end_ms=end)
        for each in found
        for start, end in within(ranges, each.start_ms, each.end_ms)
    )


def require_usable(store: Path, origin: str) -> None:
    """Refuse a folder that a pull could not be put into, and change nothing.

    Args:
        store: the store's folder, which may be missing.
        origin: the server that is to be pulled from.

    Raises:
        StoreError: there can be no store, it is another server's, or somebody else writes into it; the message says
            what to do.
    """
    _require_store(store, makes=True, rebuilds=False)
    if Manifest.is_lost(store):
        raise manifests.none_error(store)
    if Manifest.is_there(store):
        with Manifest.to_read(store) as manifest:
            if manifest.origin:
                manifests.require_same(store, manifest.origin, origin)
        StoreLock(store).release()


def _require_store(store: Path, *, makes: bool, rebuilds: bool) -> None:
    """Refuse a folder that holds something else, and one that is missing where none may be made."""
    with explained(store):
        if exists(manifests.place(store)) or (rebuilds and manifests.has_files(store)):
            return
        if not makes or manifests.has_files(store):
            raise manifests.none_error(store)
        if not exists(store):
            if store.is_symlink():
                raise manifests.none_error(store)
            if not store.parent.is_dir():
                # Made without a word, a mistyped one would hold a store that nobody finds.
                raise StoreError(f"{shown(store.parent)}: there is no such folder: check the path, or make the folder")
        elif not store.is_dir():
            raise StoreError(f"{shown(store)}: is a file: give the path of a folder")
        elif any(not name.startswith((".", manifests.FOLDER)) for name in os.listdir(store)):
            raise StoreError(
                f"{shown(store)}: is not empty, and no store of candles: give the store a folder of its own"
            )
