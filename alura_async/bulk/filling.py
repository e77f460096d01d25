"""Brings what a pull brings into a store: pages go to the writer, in a thread, as they come.

All that blocks is done in threads, and what holds Python's lock there takes milliseconds, so that calls that trade do
not wait for it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ..core.threads import in_thread
from ..errors import AluraError, BadRequestError, ClosedError, ShapeError, StoreError
from ..groups.indicators import Candle, Indicators
from .decoding import as_of_ms
from .plan import Window
from .pull import pull
from .query import CandleQuery
from .reports import Correction, Gap, Problem, PullReport, SeriesUpdate, UpdateReport, reason
from .store import CandleStore, as_folder
from .writer import Recorded, Writer, require_usable

if TYPE_CHECKING:
    from pathlib import Path

    from ..client import AsyncAlura
    from .pages import CandlePage, Progress


class How(msgspec.Struct, frozen=True):
    """How a server is asked; see `pull`. Without a query, as the store knows."""

    concurrency: int | None
    progress: Callable[[Progress], object] | None
    query: CandleQuery | None


async def pull_into(
    client: AsyncAlura, store: CandleStore | str | os.PathLike[str], ranges: Sequence[Window], again: int, how: How
) -> PullReport:
    """Bring into a store what of some ranges it does not have, and the last candles of each series once more."""
    filling = _Filling(client, how)
    async with _writing(client, store, makes=True) as writer:
        await filling.fill(writer, await in_thread(partial(writer.ask, ranges, again)), ranges)
    return filling.pulled({(window.symbol, window.interval) for window in ranges})


def require_store(client: AsyncAlura, store: CandleStore | str | os.PathLike[str]) -> None:
    """Refuse a store that a pull of this client could not be put into, before anything is asked. It blocks.

    Raises:
        StoreError: why not; the message says what to do.
    """
    require_usable(_folder(store), str(client._origin))


async def update(
    client: AsyncAlura,
    store: CandleStore | str | os.PathLike[str],
    symbols: Sequence[str] | None,
    intervals: Sequence[str] | None,
    again: int,
    how: How,
) -> UpdateReport:
    """Bring into a store what it does not have up to now, and the last candles of each series once more."""
    filling = _Filling(client, how)
    async with _writing(client, store) as writer:
        await in_thread(partial(writer.require, symbols, intervals))
        now = await _server_time_ms(client)
        windows = await in_thread(partial(writer.again, symbols, intervals, again, now))
        await filling.fill(writer, windows, await in_thread(partial(writer.asked, symbols, intervals)))
    return filling.updated({(window.symbol, window.interval) for window in windows})


async def repair(client: AsyncAlura, store: CandleStore | str | os.PathLike[str], how: How) -> PullReport:
    """Bring into a store what is missing or damaged of what it was asked for."""
    filling = _Filling(client, how)
    async with _writing(client, store, rebuilds=True) as writer:
        await in_thread(writer.mend)
        windows = await in_thread(writer.missing)
        await filling.fill(writer, windows, await in_thread(writer.asked))
    return filling.pulled({(window.symbol, window.interval) for window in windows})


async def _server_time_ms(client: AsyncAlura) -> int:
    """What time it is for the server, which decides what is over; where it does not say, for this machine."""
    try:
        reply = await client.send_raw(Indicators.health.request())
    except ClosedError:
        raise
    except AluraError:
        # Whoever cannot be reached will be a gap that says so.
        return as_of_ms({})
    return as_of_ms(reply.headers)


@asynccontextmanager
async def _writing(
    client: AsyncAlura, store: CandleStore | str | os.PathLike[str], *, makes: bool = False, rebuilds: bool = False
) -> AsyncGenerator[Writer]:
    """A writer of a store, which is closed however the `async with` block ends."""
    writer = Writer(await in_thread(partial(_folder, store)))
    try:
        await in_thread(partial(writer.open, str(client._origin), makes=makes, rebuilds=rebuilds))
        yield writer
    finally:
        # Whoever was cancelled left a thread behind, for which this one waits.
        await _to_its_end(in_thread(writer.close))


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for something also when cancelled meanwhile; then the cancel goes on."""
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        while not doing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([doing])
        raise


def _folder(store: CandleStore | str | os.PathLike[str]) -> Path:
    return store.path if isinstance(store, CandleStore) else as_folder(store)


class _Filling:
    """One pull into a store, and what became of it."""

    def __init__(self, client: AsyncAlura, how: How) -> None:
        self._client = client
        self._how = how
        self._began = time.monotonic()
        self._requests = 0
        self._changes: dict[tuple[str, str], _Changes] = {}
        self._mended: list[Problem] = []
        self._damaged: list[Problem] = []
        # Whether any candles came, and whether the server did not understand what it was asked.
        self._has_come = False
        self._is_doubtful = False

    async def fill(self, writer: Writer, windows: Sequence[Window], asked: Sequence[Window]) -> None:
        """Pull some ranges, record what comes, and put all of it into files.

        Args:
            writer: the writer.
            windows: what is pulled.
            asked: what the report is about, of which that is what was not there.
        """
        known = await self._known(writer)
        if windows:
            pages = pull(
                self._client,
                windows,
                concurrency=self._how.concurrency,
                strict=False,
                progress=self._note_progress,
                query=self._how.query or known or CandleQuery(),
            )
            async with aclosing(pages) as batches:
                async for batch in batches:
                    self._hear(batch)
                    recorded = await in_thread(partial(writer.record, batch, self._learned(known)))
                    for page, change in zip(batch, recorded, strict=True):
                        self._note(page, change)
        await in_thread(writer.compact)
        self._mended, self._damaged = await in_thread(lambda: (writer.mended(), writer.damaged()))
        # As the store itself tells it, however it came about.
        for name, left in (await in_thread(partial(writer.left, asked))).items():
            changes = self._changes.setdefault(name, _Changes())
            changes.gaps, changes.pending = [*left.gaps], [*left.pending]

    def pulled(self, series: set[tuple[str, str]]) -> PullReport:
        """What became of it, where ranges were pulled."""
        return PullReport(
            series=len(series),
            candles=sum(changes.added for changes in self._changes.values()),
            requests=self._requests,
            elapsed_s=time.monotonic() - self._began,
            corrected=tuple(each for name in sorted(self._changes) for each in self._changes[name].corrected),
            withdrawn=tuple(each for name in sorted(self._changes) for each in self._changes[name].withdrawn),
            gaps=tuple(gap for name in sorted(self._changes) for gap in self._changes[name].gaps),
            pending=tuple(end for name in sorted(self._changes) for end in self._changes[name].pending),
            mended=tuple(self._mended),
            damaged=tuple(self._damaged),
        )

    def updated(self, series: set[tuple[str, str]]) -> UpdateReport:
        """What became of it, where a store was brought up to date."""
        return UpdateReport(
            series=tuple(
                self._changes.get(name, _Changes()).of(*name)
                for name in sorted(series, key=lambda name: (name[1], name[0]))
            ),
            requests=self._requests,
            elapsed_s=time.monotonic() - self._began,
            mended=tuple(self._mended),
            damaged=tuple(self._damaged),
        )

    async def _known(self, writer: Writer) -> CandleQuery | None:
        """How the server wants to be asked, as the store has it."""
        try:
            return await in_thread(writer.query)
        except StoreError:
            if self._how.query is None:
                raise
            # It is said once more.
            await in_thread(writer.forget_query)
            return None

    def _hear(self, batch: Sequence[CandlePage]) -> None:
        """Whether the server understood what it was asked: an empty page does not say so."""
        for page in batch:
            if page.error is None:
                self._has_come = self._has_come or len(page.candles) > 0
            else:
                self._is_doubtful = self._is_doubtful or isinstance(page.error, BadRequestError | ShapeError)

    def _learned(self, known: CandleQuery | None) -> CandleQuery | None:
        """How whoever goes on with this store asks, also after a kill: as was said here, if that was understood."""
        is_understood = self._has_come and not self._is_doubtful
        return self._how.query if is_understood and self._how.query is not None else known

    def _note(self, page: CandlePage, change: Recorded) -> None:
        changes = self._changes.setdefault((page.symbol, page.interval), _Changes())
        changes.added += change.added
        changes.corrected += change.corrected
        changes.withdrawn += change.withdrawn
        if page.error is not None:
            changes.gaps.append(Gap(page.symbol, page.interval, page.start_ms, page.end_ms, reason(page.error)))

    def _note_progress(self, progress: Progress) -> None:
        self._requests = progress.requests
        if self._how.progress is not None:
            self._how.progress(progress)


class _Changes:
    """What changed of one series."""

    def __init__(self) -> None:
        self.added = 0
        self.corrected: list[Correction] = []
        self.withdrawn: list[Candle] = []
        # Of a series that the server does not have, what it said; of any other, what its store says in the end.
        self.gaps: list[Gap] = []
        self.pending: list[Gap] = []

    def of(self, symbol: str, interval: str) -> SeriesUpdate:
        """What changed of it, as a report says it."""
        by_time = sorted(self.corrected, key=lambda correction: correction.new.open_time_ms)
        return SeriesUpdate(
            symbol=symbol,
            interval=interval,
            added=self.added,
            corrected=tuple(by_time),
            withdrawn=tuple(sorted(self.withdrawn, key=lambda candle: candle.open_time_ms)),
            gaps=tuple(self.gaps),
            pending=tuple(self.pending),
        )
