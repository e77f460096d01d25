"""Market data by the thousand requests: candles of many series as columns, the latest of many symbols, signals."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar, cast

from ..bulk.batches import Batches, Source
from ..bulk.pages import CandlePage, Progress
from ..bulk.plan import Plan, Window, plan_of, span_ms
from ..bulk.query import CandleQuery
from ..core import arguments
from ..core.model import Items
from ..core.surface import Async, Group, Mode, operation, stream
from ..core.threads import in_thread
from ..errors import AluraError, InvalidArgumentError, Outcome, ShapeError, UsageError
from .indicators import Indicators, Signal

if TYPE_CHECKING:
    from ..bulk.columns import Candles
    from ..bulk.reports import PullReport, UpdateReport
    from ..bulk.store import CandleStore
    from ..client import AsyncAlura
    from ..core.arguments import Instant

T = TypeVar("T")

Symbols: TypeAlias = str | Sequence[str]
"""One symbol, several, or `"all"`: those that the server lists."""

Intervals: TypeAlias = str | Sequence[str]
"""One interval, such as `1m`, or several."""

StoreLike: TypeAlias = "CandleStore | str | os.PathLike[str]"
"""A store, or its folder."""

_ALL: Literal["all"] = "all"
# Of how many intervals the candles are asked for again: servers correct them for a while after their close.
_AGAIN = 20


class LatestCandles(dict[str, "Candles"]):
    """The latest candles by symbol. Asking for a symbol whose candles could not be had raises why.

    `get` and `in` do not: there such a symbol is one that is missing, and `errors` says why.

    Attributes:
        errors: why there are none, by symbol.
    """

    errors: Mapping[str, AluraError]

    def __init__(self, found: Mapping[str, Candles], errors: Mapping[str, AluraError]) -> None:
        super().__init__(found)
        self.errors = errors

    def __missing__(self, symbol: str) -> Candles:
        error = self.errors.get(symbol)
        if error is None:
            raise KeyError(symbol)
        raise error

    def __repr__(self) -> str:
        failed = f", {len(self.errors)} failed" if self.errors else ""
        return f"<LatestCandles of {len(self)} symbols{failed}>"


class Signals(Items[Signal]):
    """Signals of several symbols.

    Attributes:
        errors: why a symbol has none here, by symbol.
    """

    errors: Mapping[str, AluraError] = {}


class Bulk(Group[Mode]):
    """Candles of many series as NumPy columns. Needs the extra: `pip install 'alura-async[bulk]'`.

    Its calls are in the lane for market data, so those that trade go first; several are made side by side, as many as
    the client's limiter has room for. How a server of candles answers is not documented: how much a reply holds, and
    what it proves of a range, is learned from its replies.
    """

    @stream
    def candles(
        self: Bulk[Async],
        symbols: Symbols,
        intervals: Intervals,
        *,
        start: Instant,
        end: Instant | None = None,
        concurrency: int | None = None,
        strict: bool = False,
        progress: Callable[[Progress], object] | None = None,
        query: CandleQuery = CandleQuery(),  # noqa: B008 - it cannot change
    ) -> AsyncIterator[Sequence[CandlePage]]:
        """Pull candles of a range of time: yields pages in the order in which they are complete.

        The pages do not overlap, and together they are all that was asked for; each stretch of a series is walked from
        its latest candle back, several side by side. Pages are read ahead, a few for each request that is under way,
        and no more are asked for until some are taken. What cannot be had comes at the end, as pages with an `error`:
        nothing is left out silently.

        A part that fails is asked for again later, and is a gap when it has failed twice while others came. While
        nothing comes at all, a pull pauses and tries again, for two minutes; then all the rest is a gap. A series that
        fails again and again while others come is given up by itself. What is left at the end and fails for some ten
        seconds is a gap as well, if the server answers for something else meanwhile, which is asked for to see that.

        A page is what a reply proves: what lies between its candles, or between one of them and a candle that was known
        before. What is believed without proof: where a server cuts its replies to less than 500 intervals of time, and
        all that is pulled is traded seldom, a candle that no reply reaches is taken for none, as it is where a server
        rounds the start of a range up, or adds several candles before it, at the edge of a long hole. The same eight
        candles or fewer, whatever is asked for, are taken for all there are. A series without a candle in the range is
        checked by the server's latest candles only. Where a series ends long before the range does, one reply and three
        spots that are looked into tell that nothing follows, if another reply began long after its range did: that is
        no proof from a server that gives old candles as its latest, and either counts from its own earliest time on or
        cuts by time, of what falls between the spots.

            async with aclosing(alura.bulk.candles("all", "1m", start=start)) as pages:
                async for page in pages:
                    store(page.candles.to_polars())

        The paths are documented; the query [conv] and the response are not. See `CandleQuery` for a server that wants
        to be asked in another way.

        Args:
            symbols: one symbol, several, or `"all"`: those that the server lists. Their case is kept (`kPEPE`).
            intervals: one interval or several: `1m`, `5m`, `1h`, `4h`, `1d`, `1w`, `1M`.
            start: the earliest open time, an aware datetime or epoch milliseconds.
            end: the first moment after the range; by default now. The running candle may be there: see `closed` of
                `Candles`.
            concurrency: how many requests are under way at once, at most; by default as many as the limiter lets
                through in time, and never more.
            strict: whether to raise the errors of the gaps at the end, instead of giving them as pages.
            progress: called after each page with how far it has come, and every few seconds while none comes, in the
                event loop's thread, so it must not block. What it raises ends the pull.
            query: how the server wants to be asked.

        Raises:
            InvalidArgumentError: no symbol, one twice, an interval of another form, a start that is not before the end,
                a datetime without a zone. Nothing was sent.
            UsageError: the extra is not installed.
            ExceptionGroup: with `strict`, of the errors of what could not be had.
            AluraError: the symbols could not be read.
        """

        async def begin() -> Source[CandlePage]:
            _require_count("concurrency", concurrency)
            arguments.flag("strict", strict)
            client = cast("AsyncAlura", self._client)
            ranges = await _ranges(self, symbols, intervals, start, end)
            await _import("pull")
            from ..bulk.pull import Pull

            pulling = Pull(client, ranges, concurrency=concurrency, query=query, strict=strict, progress=progress)
            return pulling.begin()

        return Batches(begin)

    @operation
    async def plan(
        self: Bulk[Async],
        symbols: Symbols,
        intervals: Intervals,
        *,
        start: Instant,
        end: Instant | None = None,
        query: CandleQuery = CandleQuery(),  # noqa: B008 - it cannot change
    ) -> Plan:
        """Reckon what a pull takes. It makes a request or a few, to see how many candles the server gives at once.

            print(await alura.bulk.plan("all", "1m", start=start))

        Args:
            symbols: as for `candles`.
            intervals: as for `candles`.
            start: as for `candles`.
            end: as for `candles`.
            query: how the server wants to be asked.

        Raises:
            InvalidArgumentError: as for `candles`.
            UsageError: the extra is not installed.
            AluraError: the server could not be asked.
        """
        ranges = await _ranges(self, symbols, intervals, start, end)
        await _import("pull")
        from ..bulk.pull import concurrency_of, probe

        client = cast("AsyncAlura", self._client)
        page, latency_s, empty = await probe(client, ranges, query)
        rate, slots = client._road.limiter.rate, concurrency_of(client)
        return plan_of(ranges, page, empty=empty, rate=rate, slots=slots, latency_s=latency_s)

    @operation
    async def latest(
        self: Bulk[Async], symbols: Symbols, interval: str, *, limit: int = 500, strict: bool = False
    ) -> LatestCandles:
        """Read the last candles of several symbols, one request for each, side by side.

            columns = await alura.bulk.latest(["BTC", "ETH"], "1m", limit=200)
            columns["BTC"].close[-1]

        The path is documented; the query [guess] and the response are not. The last candle is mostly the running one.

        Args:
            symbols: one symbol, several, or `"all"`.
            interval: the candles' interval.
            limit: how many candles of each at most. A server may give fewer at once.
            strict: whether to raise the errors of symbols that could not be read.

        Raises:
            InvalidArgumentError: no symbol, one twice, an interval of another form, no limit. Nothing was sent.
            UsageError: the extra is not installed.
            ExceptionGroup: with `strict`, of the errors.
            AluraError: the symbols could not be read.
        """
        span_ms(interval)
        _require_count("limit", limit)
        arguments.flag("strict", strict)
        names = await _symbols(self, symbols)
        await _import("asking")
        from ..bulk.asking import told
        from ..bulk.decoding import LATEST_CANDLES

        client = cast("AsyncAlura", self._client)

        async def read(symbol: str) -> Candles:
            candles = await told(client, LATEST_CANDLES.request(symbol, interval, query={"limit": limit}))
            return candles[-limit:]

        return LatestCandles(*await _each(self, names, read, strict=strict))

    @operation
    async def signals(self: Bulk[Async], symbols: Symbols, interval: str, *, strict: bool = False) -> Signals:
        """Read the signals of several symbols: of all in one request, else one for each, side by side.

        The paths are documented, the responses are not.

        Args:
            symbols: one symbol, several, or `"all"`.
            interval: the interval.
            strict: whether to raise the errors of symbols that could not be read.

        Raises:
            InvalidArgumentError: no symbol, one twice, an interval of another form. Nothing was sent.
            ExceptionGroup: with `strict`, of the errors.
            AluraError: with `"all"`, the signals could not be read.
        """
        span_ms(interval)
        arguments.flag("strict", strict)
        indicators = cast("AsyncAlura", self._client).indicators
        if symbols == _ALL:
            return Signals(await indicators.all_signals(interval))
        names = await _symbols(self, symbols)

        async def read(symbol: str) -> Items[Signal]:
            return await indicators.signals(symbol, interval)

        found, errors = await _each(self, names, read, strict=strict)
        signals = Signals(signal for read in found.values() for signal in read)
        signals.errors = errors
        return signals

    @operation
    async def pull(
        self: Bulk[Async],
        store: StoreLike,
        symbols: Symbols,
        intervals: Intervals,
        *,
        start: Instant,
        end: Instant | None = None,
        again: int | None = None,
        concurrency: int | None = None,
        progress: Callable[[Progress], object] | None = None,
        query: CandleQuery | None = None,
    ) -> PullReport:
        """Pull candles into a store. What it has already is not asked for again, so the same call goes on.

            report = await alura.bulk.pull("data", "all", "1m", start=datetime(2025, 1, 1, tzinfo=UTC))

        What came is recorded page by page, so that a pull that is cancelled or killed loses nothing of it. The running
        candle is left out. A minute without trades is no gap: a range is complete when the server has answered for it.
        One that it could not answer for is a gap: in the report, and in `CandleStore.gaps()` until `repair` or the same
        call fills it.

        Args:
            store: the store, or its folder, which is made where it is missing, in a folder that is there. A store holds
                the candles of one server.
            symbols: `"all"` asks the server which there are; or one, or several.
            intervals: one, such as `1m`, or several.
            start: the earliest open time, an aware datetime or epoch milliseconds.
            end: the first moment after the last open time; by default now.
            again: how many of the last intervals that the store has of each series are asked for again, where they are
                in the range: servers correct candles for a while after their close. The report tells which were. By
                default 20 of a pull up to now, and none where an end is given.
            concurrency: requests at once at most; see `candles`.
            progress: called after each page, in the thread of the event loop.
            query: how the server wants to be asked; by default as the store knows, or else as assumed [conv]. Once
                candles have come by it, the store remembers it.

        Raises:
            StoreError: somebody else writes into the store, it cannot be written, or it is another server's. What was
                recorded before stays.
            InvalidArgumentError: an argument cannot be used. Nothing was sent.
            UsageError: NumPy or polars is not installed.
        """
        _require_count("concurrency", concurrency)
        last = (_AGAIN if end is None else 0) if again is None else again
        _require_again(last)
        await _import("filling")
        from ..bulk import filling

        ranges = await _ranges(self, symbols, intervals, start, end)
        client = cast("AsyncAlura", self._client)
        return await filling.pull_into(client, store, ranges, last, filling.How(concurrency, progress, query))

    @operation
    async def update(
        self: Bulk[Async],
        store: StoreLike,
        *,
        symbols: Symbols | None = None,
        intervals: Intervals | None = None,
        again: int = _AGAIN,
        concurrency: int | None = None,
        progress: Callable[[Progress], object] | None = None,
        query: CandleQuery | None = None,
    ) -> UpdateReport:
        """Bring a store up to date: what is missing of what was asked for, what came since, the last candles once more.

        Servers correct candles for a while after their close; of those that are asked for again, the report tells what
        they were and what they are. A candle that the server does not give any more is told, and kept.

        Args:
            store: the store, or its folder.
            symbols: of which symbols; by default all that the store has.
            intervals: of which intervals; by default all that the store has.
            again: how many of the last intervals that the store has of each series are asked for again.
            concurrency: requests at once at most; see `candles`.
            progress: called after each page, in the thread of the event loop.
            query: how the server wants to be asked; by default as the store knows, or else as assumed [conv].

        Raises:
            StoreError: there is no such store or series, somebody else writes into it, or it cannot be written. What
                was recorded before stays.
            InvalidArgumentError: an argument cannot be used. Nothing was sent.
            UsageError: NumPy or polars is not installed.
        """
        _require_count("concurrency", concurrency)
        _require_again(again)
        names = None if symbols in (None, _ALL) else _texts("symbols", symbols, "such as 'BTC' or ['BTC', 'ETH']")
        spans = None if intervals is None else _texts("intervals", intervals, "such as '1m' or ['1m', '1h']")
        await _import("filling")
        from ..bulk import filling

        client = cast("AsyncAlura", self._client)
        return await filling.update(client, store, names, spans, again, filling.How(concurrency, progress, query))

    @operation
    async def repair(
        self: Bulk[Async],
        store: StoreLike,
        *,
        concurrency: int | None = None,
        progress: Callable[[Progress], object] | None = None,
        query: CandleQuery | None = None,
    ) -> PullReport:
        """Pull the gaps of a store, and what `CandleStore.verify()` finds damaged.

        A damaged file is set aside under another name beside it, and its candles are pulled again. A manifest that is
        gone or damaged is made anew of the Parquet files. The report tells what was mended, and what was not.

        Args:
            store: the store, or its folder.
            concurrency: requests at once at most; see `candles`.
            progress: called after each page, in the thread of the event loop.
            query: how the server wants to be asked; by default as the store knows, or else as assumed [conv].

        Raises:
            StoreError: there is no such store, somebody else writes into it, or it cannot be written. What was recorded
                before stays.
            UsageError: NumPy or polars is not installed.
        """
        _require_count("concurrency", concurrency)
        await _import("filling")
        from ..bulk import filling

        client = cast("AsyncAlura", self._client)
        return await filling.repair(client, store, filling.How(concurrency, progress, query))


async def _import(module: str) -> None:
    """Import what needs the extra. That takes a while, which calls that trade need not wait for."""
    if module not in _imported:
        await in_thread(partial(import_module, f"alura_async.bulk.{module}"))
        _imported.add(module)


_imported: set[str] = set()


async def _ranges(
    group: Bulk[Async], symbols: Symbols, intervals: Intervals, start: Instant, end: Instant | None
) -> tuple[Window, ...]:
    """One range for each series. Whatever can be refused is refused before anything is sent."""
    names = _texts("intervals", intervals, "such as '1m' or ['1m', '1h']")
    for interval in names:
        span_ms(interval)
    start_ms = arguments.milliseconds("start", start)
    now_ms = int(time.time() * 1000)
    # What is to come cannot be had: were it noted as asked for, it would be a gap some day.
    end_ms = now_ms if end is None else min(now_ms, arguments.milliseconds("end", end))
    for name, given in (("start", start), ("end", end)):
        if isinstance(given, int) and 0 < given < _LEAST_MS:
            raise InvalidArgumentError(
                f"{name}={given}: those look like seconds: give epoch milliseconds, or a datetime"
            )
    if start_ms >= end_ms:
        raise InvalidArgumentError(
            f"start={start!r}: it is not before the end{', which is now' if end_ms == now_ms else ''}: nothing to pull"
        )
    return tuple(
        Window(symbol, interval, start_ms, end_ms) for symbol in await _symbols(group, symbols) for interval in names
    )


# Milliseconds since the epoch have been more than this since 1973; seconds will not be for three thousand years.
_LEAST_MS = 10**11


async def _symbols(group: Bulk[Async], symbols: Symbols) -> Sequence[str]:
    if symbols == _ALL:
        listed = await cast("AsyncAlura", group._client).indicators.symbols()
        if not listed:
            route = Indicators.symbols.route
            raise ShapeError(
                f"{route.name}: the server lists no symbols: name those that you want",
                method=route.method,
                path=route.template,
                outcome=Outcome.DONE,
            )
        return list(dict.fromkeys(listed))
    names = _texts("symbols", symbols, "such as 'BTC', ['BTC', 'ETH'] or 'all'")
    for name in names:
        arguments.path_segment("symbols", name)
    return names


def _texts(name: str, value: str | Sequence[str], example: str) -> list[str]:
    """One text or several, each once."""
    texts = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else []
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InvalidArgumentError(f"{name}={value!r}: give at least one, {example}")
    if len(set(texts)) < len(texts):
        twice = sorted({text for text in texts if texts.count(text) > 1})
        raise InvalidArgumentError(f"{name}: {', '.join(twice)} is there twice: name each once")
    return texts


def _require_count(name: str, value: int | None) -> None:
    if value is not None and arguments.whole(name, value) < 1:
        raise InvalidArgumentError(f"{name}={value!r}: give a whole number from 1 on")


def _require_again(value: int) -> None:
    if arguments.whole("again", value) < 0:
        raise InvalidArgumentError(f"again={value}: give a whole number from 0 on")


async def _each(
    group: Bulk[Async], symbols: Sequence[str], read: Callable[[str], Awaitable[T]], *, strict: bool
) -> tuple[dict[str, T], dict[str, AluraError]]:
    """Read something of each symbol, side by side: what was found, and why the others failed, in the symbols' order."""
    await _import("pull")
    from ..bulk.pull import concurrency_of

    found: dict[str, T] = {}
    errors: dict[str, AluraError] = {}
    waiting = iter(symbols)

    async def work() -> None:
        for symbol in waiting:
            try:
                found[symbol] = await read(symbol)
            except UsageError:
                raise
            except AluraError as error:
                errors[symbol] = error

    count = min(len(symbols), concurrency_of(cast("AsyncAlura", group._client)))
    workers = [asyncio.create_task(work()) for _ in range(count)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    if errors and strict:
        raise ExceptionGroup(f"{len(errors)} of {len(symbols)} symbols could not be read", [*errors.values()])
    return (
        {name: found[name] for name in symbols if name in found},
        {name: errors[name] for name in symbols if name in errors},
    )
