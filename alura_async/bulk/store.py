"""`CandleStore`: candles in a local folder of Parquet files, to read."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import arguments
from ..core.text import printable
from ..errors import ClosedError, InvalidArgumentError, StoreError
from .manifest import Manifest, Series, exists, shown
from .reports import Gap, Problem, SeriesInfo, StoreInfo

if TYPE_CHECKING:
    from ..core.arguments import Instant
    from .columns import Candles

# Further than any candle.
_EVER = (-(2**53), 2**53)


class CandleStore:
    """Candles in a local folder: Parquet files that any tool reads, and a manifest of what is complete.

        await alura.bulk.pull("data", "all", "1m", start=datetime(2024, 1, 1, tzinfo=UTC))
        candles = CandleStore("data").candles("BTC", "1m", start=datetime(2025, 1, 1, tzinfo=UTC))

    `alura.bulk.pull`, `update` and `repair` bring candles into it; this reads them, and blocks while it does:
    `await asyncio.to_thread(store.candles, "BTC", "1m")` in a program that trades. It may be read while a pull writes
    into it, also by other processes; only one may write at a time. Only candles whose interval was over by the server's
    clock and by this machine's are in it.

    Other tools read the files, `interval=1m/symbol=BTC/month=2026-01/candles.parquet`:

        polars.scan_parquet("data/**/*.parquet", hive_partitioning=True)
        duckdb.sql("SELECT * FROM read_parquet('data/**/*.parquet', hive_partitioning = true)")
        pyarrow.dataset.dataset("data", partitioning="hive")

    Where all symbols are such as `1000` or `TRUE`, polars takes them for numbers or truth values unless it is told the
    types: `hive_schema={"interval": pl.String, "symbol": pl.String, "month": pl.String}`; pyarrow likewise.

    Their columns are `open_time` (UTC, milliseconds), `open`, `high`, `low`, `close`, `volume` (float64) and `trades`
    (32-bit integers); volume and trades are null where the server does not say. They are sorted by `open_time`, each
    once. What a pull has just recorded is seen here at once, and by other tools when it is put into a file: when a
    month is complete, and when the pull ends. After one that was cut off, `compact()` does that. A file is whole at any
    moment: it is replaced in one step. A tool that opens it twice while it reads, as polars does, may find two versions
    if a pull replaces it in between, and say that it is damaged: let it read again.

    Processes that read side by side are to be spawned, not forked, once this one has read or pulled: polars' threads do
    not survive a fork. A forked process gets a `StoreError`.

    Args:
        path: the store's folder; `~` is your home. Nothing is opened before the first use.

    Raises:
        InvalidArgumentError: not a path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = as_folder(path)
        self._closed = False

    def candles(self, symbol: str, interval: str, start: Instant | None = None, end: Instant | None = None) -> Candles:
        """Read a series, exactly what is there. Only the files of the months that are asked for are opened.

        Args:
            symbol: the asset's symbol; its case counts.
            interval: the candles' interval, such as `1m`.
            start: the earliest open time, an aware datetime or epoch milliseconds; by default the first there is.
            end: the first moment after the last open time; by default there is no end. What is missing in between
                is in `gaps()`.

        Raises:
            StoreError: the store has no such series, or cannot be read; the message says what to do.
            InvalidArgumentError: a datetime without a zone, or a start that is not before the end.
        """
        first = _EVER[0] if start is None else arguments.milliseconds("start", start)
        last = _EVER[1] if end is None else arguments.milliseconds("end", end)
        if first >= last:
            raise InvalidArgumentError(f"start={start}, end={end}: the start has to be before the end")
        from .reading import candles_of

        with self._manifest() as manifest:
            series = manifest.find(symbol, interval)
            if series is None:
                raise StoreError(_without(self.path, symbol, interval, manifest.series()), remedy="pull")
            return candles_of(self.path, manifest, series, (first, last))

    def series(self) -> tuple[SeriesInfo, ...]:
        """What the store has of each series, by interval and symbol.

        Raises:
            StoreError: the store cannot be read; the message says what to do.
        """
        return self.info().series

    def info(self) -> StoreInfo:
        """What the store has: series, ranges, candles, bytes.

        Raises:
            StoreError: the store cannot be read; the message says what to do.
        """
        with self._manifest() as manifest:
            series = tuple(self._info(manifest, each) for each in manifest.series())
            return StoreInfo(
                path=str(self.path),
                origin=manifest.origin,
                query=manifest.query(),
                series=series,
                rows=sum(each.rows for each in series),
                bytes=sum(each.bytes for each in series),
                waiting=sum(each.waiting for each in series),
                gaps=sum(each.gaps for each in series),
                pending=sum(each.pending for each in series),
                missing=sum(each.missing for each in series),
            )

    def gaps(self) -> tuple[Gap, ...]:
        """The ranges that were asked for and are not complete, with the reasons, by interval, symbol and time.

        A minute without trades is no gap: a range is complete when the server has answered for it. What was not over
        when the server last answered is none either, unless something later is there: see `pending`. What was in a
        file that is gone is one.

        Raises:
            StoreError: the store cannot be read; the message says what to do.
        """
        from .reading import told_gaps

        with self._manifest() as manifest:
            return tuple(gap for series in manifest.series() for gap in told_gaps(self.path, manifest, series))

    def pending(self) -> tuple[Gap, ...]:
        """The ends of series that were asked for and were not over when the server answered: neither there nor missing.

        The running candle alone is not told of. More than that is pending where the server's clock, or this machine's,
        is behind; the next pull or update asks for it.

        Raises:
            StoreError: the store cannot be read; the message says what to do.
        """
        from .reading import told_pending

        with self._manifest() as manifest:
            return tuple(end for series in manifest.series() for end in told_pending(manifest, series))

    def verify(self) -> tuple[Problem, ...]:
        """Look whether each file is there, is what was written, and holds each candle once and in order.

        Returns:
            What is wrong, with what to do; nothing where all is well.

        Raises:
            StoreError: the store cannot be read; the message says what to do.
        """
        from .checking import problems

        with self._manifest() as manifest:
            return tuple(problems(self.path, manifest))

    def compact(self) -> None:
        """Put into Parquet files what a pull has recorded that was cut off. The next pull would do so, too.

        Raises:
            StoreError: somebody writes into the store, or it cannot be written; the message says what to do.
        """
        from .writer import Writer

        self._require_open()
        with Writer(self.path) as writer:
            writer.open(None)
            writer.compact()
            for problem in writer.damaged():
                raise StoreError(f"{shown(problem.path)}: {problem.what}", remedy="repair")

    def forget(self, symbol: str, interval: str) -> None:
        """Take a series out of the store: its files are deleted, and no update asks for it any more.

        Args:
            symbol: the asset's symbol; its case counts.
            interval: the candles' interval, such as `1m`.

        Raises:
            StoreError: there is no such series, somebody writes into the store, or it cannot be written; the message
                says what to do.
        """
        from .writer import Writer

        self._require_open()
        with Writer(self.path) as writer:
            writer.open(None)
            writer.forget(symbol, interval)

    def close(self) -> None:
        """End the use of it. Later calls raise `ClosedError`."""
        self._closed = True

    def __enter__(self) -> CandleStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<CandleStore {shown(self.path)}>"

    @contextmanager
    def _manifest(self) -> Generator[Manifest]:
        # For each use anew, which takes less than a millisecond: threads and forked processes share nothing.
        self._require_open()
        with Manifest.to_read(self.path) as manifest:
            yield manifest

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{shown(self.path)}: this store was closed: make a new CandleStore")

    def _info(self, manifest: Manifest, series: Series) -> SeriesInfo:
        from .partitions import DamagedError, month_range
        from .plan import span_ms
        from .reading import candles_of, path_of, told_gaps, told_pending

        known = {file.month: file.known[0] for file in manifest.files(series.id) if file.now is not None}
        files = {month: facts for month, facts in known.items() if exists(path_of(self.path, series, month))}
        waiting = {month: rows for _, month, rows in manifest.spooled_months(series.id)}
        rows = sum(facts.rows for month, facts in files.items() if month not in waiting)
        # What waits may be in the file already, or be told again.
        for month, recorded in waiting.items():
            try:
                rows += len(candles_of(self.path, manifest, series, month_range(month)))
            except DamagedError:
                # As many as were recorded: `verify` says what they are worth, and so does who reads them.
                rows += recorded + (files[month].rows if month in files else 0)
        covered = manifest.covered(series.id)
        span = span_ms(series.interval)
        # How many intervals begin in a range; those of weeks and months begin elsewhere, and are hardly ever empty.
        intervals = sum(-(-end // span) - -(-start // span) for start, end in covered)
        return SeriesInfo(
            symbol=series.symbol,
            interval=series.interval,
            ranges=tuple(covered),
            rows=rows,
            empties=max(0, intervals - rows),
            gaps=len(told_gaps(self.path, manifest, series)),
            pending=sum(1 for _ in told_pending(manifest, series)),
            files=len(files),
            missing=len(known) - len(files),
            bytes=sum(facts.bytes for facts in files.values()),
            waiting=sum(waiting.values()),
            as_of_ms=series.as_of,
        )


def as_folder(path: str | os.PathLike[str]) -> Path:
    """A store's folder, absolute: a process may change its own later.

    Raises:
        InvalidArgumentError: not a path.
    """
    try:
        text = os.path.expanduser(os.fsdecode(path))
    except TypeError:
        text = ""
    if not text or "\0" in text:
        raise InvalidArgumentError(f"store={path!r}: give the path of a folder, or a CandleStore")
    return Path(os.path.abspath(text))


def _without(store: Path, symbol: str, interval: str, there: list[Series]) -> str:
    names = ", ".join(printable(f"{series.symbol} {series.interval}") for series in there[:10])
    more = f" and {len(there) - 10} more" if len(there) > 10 else ""
    return (
        f"{shown(store)}: has no candles of {printable(str(symbol))} {printable(str(interval))}; it has "
        f"{names or 'none at all'}{more}"
    )
