"""`alura candles`: market data on the command line, drawn, or pulled into a store and looked after there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from ..core.quantities import bytes_, counted
from ..core.text import printable
from ..errors import AluraError, NotFoundError, StoreError
from ..groups.indicators import Candle
from . import chart, figures
from .failure import Failed
from .invocation import command_line, quoted
from .json_lines import write_line
from .presenter import Cell, Column, Table, presenter
from .pulling import pull, repair
from .query import typed
from .remedies import failed, repair_line
from .reporter import gap_row, gap_table, has, pending, problem_table
from .server import base_url_option, call, client_of
from .symbols import spelled

if TYPE_CHECKING:
    from ..bulk.reports import SeriesInfo
    from ..bulk.store import CandleStore

T = TypeVar("T")

_FOUND_CODE = 1
_MOST_ROWS = 100


class _Group(click.Group):
    """Ends quietly when nobody reads what it writes any more, as `head` does after ten lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order in which they are needed."""
        return ["show", "pull", "info", "gaps", "verify", "repair"]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        try:
            code = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError:
            assert sys.stdout is not None  # it is what broke
            # Python would try to write the rest when the process ends, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return Failed.exit_code
        return code


@click.group(
    "candles",
    cls=_Group,
    # As they are: a command that is broken into lines cannot be copied.
    epilog=f"\b\n{command_line('candles', 'show', 'BTC', '1h')}\n{command_line('candles', 'pull', '--help')}",
)
def command() -> None:
    """Draw candles, or pull them by the million into a store.

    A store is a folder of Parquet files, which polars, pandas and DuckDB read as they are. It needs the extra "bulk".

    Candles need no wallet. ALURA_BASE_URL names the server; a wallet or a token of the environment is used where the
    server asks for one.

    The exit code is 0 if all is well, 1 if something is missing, damaged, or was not over yet by a clock that is
    behind, and 2 if that could not be found out, or what was asked could not be done.
    """


command.add_command(pull)
command.add_command(repair)

_store = click.argument("store", metavar="DIR", type=click.Path(path_type=Path))


@command.command("show")
@click.argument("symbol")
@click.argument("interval")
@click.option(
    "--store", type=click.Path(path_type=Path), metavar="DIR", help="Show what is in a store, instead of asking."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="How many; by default as many as fit.")
@base_url_option
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line for each candle, the oldest first.")
def show(symbol: str, interval: str, store: Path | None, limit: int | None, base_url: str | None, as_json: bool) -> int:
    """Draw the most recent candles of a symbol.

    SYMBOL is written as the server writes it, such as BTC or kPEPE; INTERVAL is one that it knows, such as 1m, 5m, 1h
    or 1d. From the server, the last candle may still be running; those of a store are closed.

    The exit code is 0 if there are candles, and 2 if there are none or they could not be read.
    """
    shows = presenter()
    asked = limit or shows.width
    if store is None:
        candles = call(_latest(symbol, interval, asked, base_url))
    else:
        candles = _reading(store, lambda opened: _last_of(opened, symbol, interval, asked))
    if not candles:
        why = "" if store is None else f"; this lists what is missing: {command_line('candles', 'gaps', str(store))}"
        raise Failed(f"there are no candles of {symbol} {interval}{why}")
    if as_json:
        for candle in candles:
            write_line(_row(candle))
        return 0
    shown = candles if limit else chart.fitting(candles, width=shows.width)
    shows.chart(printable(f"{symbol} {interval}"), shown)
    shows.say(_course(shown))
    return 0


@command.command("gaps")
@_store
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line for each gap, and for what is pending.")
def gaps(store: Path, as_json: bool) -> int:
    """List what a store was asked for and does not have.

    A minute without trades is no gap: what the server has answered for is complete. Nor is the candle that was still
    running. Where more than that was not over yet by the server's clock or this machine's, one of them is behind: it is
    listed as pending, and the next pull asks for it.

    The exit code is 0 if there is none, 1 if something is missing or pending, and 2 if the store cannot be read.
    """
    found, ends = _reading(store, lambda opened: (opened.gaps(), opened.pending()))
    if as_json:
        for gap in found:
            write_line({**gap_row(gap), "pending": False})
        for end in ends:
            write_line({**gap_row(end), "pending": True})
        return _FOUND_CODE if found or ends else 0
    shows = presenter()
    if ends:
        shows.table(gap_table(ends[:_MOST_ROWS]))
        shows.say(f"{_listed(len(ends), 'range')} {pending(ends)}")
    if found:
        shows.table(gap_table(found[:_MOST_ROWS]))
        shows.say(f"{_listed(len(found), 'gap')} This asks for what is missing:")
        shows.end(repair_line(store))
    else:
        shows.say(f"Nothing {'else ' if ends else ''}is missing in {printable(str(store))}.")
    return _FOUND_CODE if found or ends else 0


@command.command("verify")
@_store
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line for each problem.")
def verify(store: Path, as_json: bool) -> int:
    """Check the files of a store for damage.

    Each must be there, be what was written, and hold each candle once and in order.

    The exit code is 0 if all files are sound, 1 if one is not, and 2 if the store cannot be read.
    """
    found = _reading(store, lambda opened: opened.verify())
    if as_json:
        for problem in found:
            write_line(msgspec.to_builtins(problem))
    elif found:
        shows = presenter()
        shows.table(problem_table(found[:_MOST_ROWS]))
        shows.say(f"{_listed(len(found), 'problem')} This pulls again what is damaged:")
        shows.end(repair_line(store))
    else:
        presenter().say(f"All files of {printable(str(store))} are sound.")
    return _FOUND_CODE if found else 0


@command.command("info")
@_store
@click.option("--json", "as_json", is_flag=True, help="A JSON object, for programs.")
def info(store: Path, as_json: bool) -> int:
    """Show what a store has: series, candles, times, sizes.

    The exit code is 0 if nothing is missing, 1 if there are gaps, files are missing, or something was not over yet by a
    clock that is behind, and 2 if the store cannot be read.
    """
    found, ends = _reading(store, lambda opened: (opened.info(), opened.pending()))
    code = _FOUND_CODE if found.gaps or found.pending or found.missing else 0
    if as_json:
        write_line(msgspec.to_builtins(found))
        return code
    shows = presenter()
    shows.table(_series(found.series))
    asked = "" if found.query is None else f", which is asked with --query {quoted(printable(typed(found.query)))}"
    shows.say(f"{has(found)} From {printable(found.origin)}{asked}.")
    if found.waiting:
        waiting = counted(found.waiting, "candle")
        shows.say(f"Of a pull that was cut off, {waiting} will be in a Parquet file after the next pull.")
    if ends:
        shows.say(pending(ends))
    if found.gaps:
        shows.say("Something is missing; this lists it:")
        shows.end(command_line("candles", "gaps", str(store)))
    if found.missing:
        shows.say(f"{counted(found.missing, 'file')} missing; this pulls again what was there:")
        shows.end(repair_line(store))
    return code


def _reading(store: Path, read: Callable[[CandleStore], T]) -> T:
    """What a store says; where it cannot be read, that is no finding."""
    try:
        from ..bulk.store import CandleStore

        return read(CandleStore(store))
    except StoreError as error:
        raise failed(error, store) from error
    except AluraError as error:
        raise Failed(str(error)) from error


async def _latest(symbol: str, interval: str, limit: int, base_url: str | None) -> Sequence[Candle]:
    async with client_of(base_url) as alura:
        try:
            candles = await alura.indicators.candles(symbol, interval, limit=limit)
        except NotFoundError as error:
            raise Failed(f"{error}; {await spelled(alura, symbol)}") from error
    # A server may take no notice of the limit.
    return candles[-limit:]


def _last_of(store: CandleStore, symbol: str, interval: str, limit: int) -> Sequence[Candle]:
    """The last candles of a series in a store, without reading all of it."""
    from ..bulk.plan import span_ms

    # Of a series that nothing came of yet, or that the store has not, there is no end.
    end = max((each.ranges[-1][1] for each in _series_of(store, symbol, interval) if each.ranges), default=0)
    back = limit
    while True:
        # Intervals without a trade have no candle, so more of them may be needed.
        start = max(0, end - back * span_ms(interval)) if end else 0
        candles = store.candles(symbol, interval, start=start)
        if len(candles) >= limit or not start:
            return list(candles[-limit:])
        back *= 2


def _series_of(store: CandleStore, symbol: str, interval: str) -> list[SeriesInfo]:
    return [each for each in store.series() if (each.symbol, each.interval) == (symbol, interval)]


def _course(candles: Sequence[Candle]) -> str:
    """What the drawing says, in numbers."""
    first, last = candles[0], candles[-1]
    change = f" ({(last.close / first.open - 1) * 100:+.2f} %)" if first.open else ""
    return (
        f"{figures.moment(first.open_time)} to {figures.moment(last.open_time)} UTC: "
        f"{figures.exact(first.open)} to {figures.exact(last.close)}{change}, "
        f"low {figures.exact(min(candle.low for candle in candles))}, "
        f"high {figures.exact(max(candle.high for candle in candles))}"
    )


def _row(candle: Candle) -> dict[str, Any]:
    return {
        "symbol": candle.symbol,
        "interval": candle.interval,
        "open_time_ms": candle.open_time_ms,
        "open": float(candle.open),
        "high": float(candle.high),
        "low": float(candle.low),
        "close": float(candle.close),
        "volume": None if candle.volume is None else float(candle.volume),
        "trades": candle.trades,
    }


def _series(series: Sequence[SeriesInfo]) -> Table:
    columns = (
        Column("series"),
        Column("candles", "number"),
        Column("from (UTC)"),
        Column("to"),
        Column("gaps", "number"),
        Column("without a trade", "number", is_optional=True),
        Column("files", "number", is_optional=True),
        Column("size", "number", is_optional=True),
    )
    return Table(
        columns,
        [
            [
                Cell(printable(f"{each.symbol} {each.interval}")),
                Cell(f"{each.rows:,}"),
                Cell(figures.day(each.start)),
                Cell(figures.moment(each.end)),
                Cell(f"{each.gaps:,}", "bad" if each.gaps else "faint"),
                Cell(f"{each.empties:,}"),
                Cell(f"{each.files:,}"),
                Cell(bytes_(each.bytes)),
            ]
            for each in series
        ],
    )


def _listed(number: int, what: str) -> str:
    """How many there are, of which so many are listed."""
    count = counted(number, what)
    return f"{count}, of which {_MOST_ROWS} are listed (--json lists all)." if number > _MOST_ROWS else f"{count}."
