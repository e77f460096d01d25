"""`alura candles`: market data on the command line, drawn, or pulled into a store and looked after there."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from ..client import AsyncAlura
from ..core.text import printable
from ..errors import AluraError, NotFoundError
from ..groups.indicators import Candle
from . import chart, figures
from .failure import Failed
from .invocation import command_line
from .presenter import presenter

T = TypeVar("T")


class _Readable(click.Group):
    """Ends quietly when nobody reads what it writes any more, as `head` does after ten lines."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python would try to write the rest when the process ends, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return Failed.exit_code
        return code


@click.group(
    "candles",
    cls=_Readable,
    # As they are: a command that is broken into lines cannot be copied.
    epilog=f"\b\n{command_line('candles', 'show', 'BTC', '1h')}\n{command_line('candles', 'pull', '--help')}",
)
def command() -> None:
    """Draw candles, or pull them by the million into a store.

    A store is a folder of Parquet files, which polars, pandas and DuckDB read as they are.

    Candles need no wallet. ALURA_BASE_URL names the server; a wallet or a token of the environment is used where the
    server asks for one.

    The exit code is 0 if all is well, 1 if something is missing or damaged, and 2 if that could not be found out, or
    what was asked could not be done.
    """


base_url_option = click.option(
    "--base-url", metavar="URL", help="The server; by default ALURA_BASE_URL, or else the testnet's."
)


@command.command("show")
@click.argument("symbol")
@click.argument("interval")
@click.option(
    "--store", type=click.Path(path_type=Path), metavar="DIR", help="Show what is in a store, instead of asking."
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="How many; by default as many as there is room for."
)
@base_url_option
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line for each candle, the oldest first.")
def show(symbol: str, interval: str, store: Path | None, limit: int | None, base_url: str | None, as_json: bool) -> int:
    """Draw the most recent candles of a symbol.

    SYMBOL is written as the server writes it, such as BTC or kPEPE; INTERVAL is one that it knows, such as 1m, 5m, 1h
    or 1d. From the server, the last candle may still be running.

    The exit code is 0 if there were candles, and 2 if there are none or they could not be read.
    """
    shows = presenter()
    candles = run_client(_latest(symbol, interval, limit or shows.width, base_url))
    if not candles:
        raise Failed(f"there are no candles of {symbol} {interval}")
    if as_json:
        for candle in candles:
            json_line(_row(candle))
        return 0
    shown = candles if limit else chart.fitting(candles, width=shows.width)
    shows.chart(printable(f"{symbol} {interval}"), shown)
    shows.say(_course(shown))
    return 0


def run_client(work: Coroutine[Any, Any, T]) -> T:
    """Run what calls a server; what it raises is not a finding, but a failure to look."""
    try:
        return asyncio.run(work)
    except AluraError as error:
        raise Failed(str(error)) from error


def client(base_url: str | None, **settings: Any) -> AsyncAlura:
    """A client of the server that is named here, or in the environment."""
    return AsyncAlura.from_env(**({"base_url": base_url} if base_url else {}), **settings)


async def _latest(symbol: str, interval: str, limit: int, base_url: str | None) -> Sequence[Candle]:
    async with client(base_url) as alura:
        try:
            candles = await alura.indicators.candles(symbol, interval, limit=limit)
        except NotFoundError as error:
            raise Failed(f"{error}; {await spelled(alura, symbol)}") from error
    # A server may take no notice of the limit.
    return candles[-limit:]


async def spelled(alura: AsyncAlura, symbol: str) -> str:
    """What to ask for instead of a symbol that the server does not know."""
    try:
        known = list(await alura.indicators.symbols())
    except AluraError:
        return "symbols are written as the server writes them, such as BTC or kPEPE"
    if symbol in known:
        return f"it lists {symbol}, so it may not have this interval: try another one"
    if alike := [name for name in known if name.casefold() == symbol.casefold()]:
        return f"did you mean {' or '.join(alike)}?"
    return f"its {len(known)} symbols are {', '.join(known)}"


def _course(candles: Sequence[Candle]) -> str:
    """What the drawing says, in numbers."""
    first, last = candles[0], candles[-1]
    change = (last.close / first.open - 1) * 100 if first.open else None
    return (
        f"{figures.moment(first.open_time)} to {figures.moment(last.open_time)} UTC: "
        f"{figures.exact(first.open)} to {figures.exact(last.close)}"
        + (f" ({change:+.2f} %)" if change is not None else "")
        + f", low {figures.exact(min(candle.low for candle in candles))}"
        f", high {figures.exact(max(candle.high for candle in candles))}"
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


def json_line(content: Mapping[str, Any]) -> None:
    """Write an object for programs."""
    # In ASCII: what a terminal could be fooled with is escaped.
    click.echo(json.dumps(content, ensure_ascii=True))
