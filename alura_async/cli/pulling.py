"""`alura candles pull` and `repair`: from a server into a store, with an estimate first and progress meanwhile."""

from __future__ import annotations

import asyncio
import math
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
import msgspec

from ..bulk.plan import plan_of, span_ms
from ..bulk.query import CandleQuery
from ..client import AsyncAlura
from ..core.lanes import RateLimiter
from ..core.quantities import bytes_, duration
from ..errors import AluraError, InvalidArgumentError, NotFoundError, StoreError
from . import figures, remedies
from .failure import Failed
from .invocation import command_line
from .moments import as_moment
from .presenter import presenter
from .query import GivenQuery, query_option
from .reporter import Errand, ForPeople, ForPrograms, Reporter
from .server import base_url_option, client_of, failure
from .symbols import meant, spelled

if TYPE_CHECKING:
    from ..bulk.plan import Plan, Window
    from ..bulk.reports import PullReport, StoreInfo

T = TypeVar("T")

_ALL = "all"
# What takes longer is asked about.
_LONG_S = 600.0
# Servers correct candles for a while after they are over, so the last ones are asked for again.
_AGAIN = 20
_INCOMPLETE_CODE = 1


class _Asked(NamedTuple):
    """What is to be pulled, and where to."""

    symbols: list[str]
    intervals: list[str]
    since: datetime
    until: datetime | None
    store: Path
    query: CandleQuery | None

    @property
    def again(self) -> int:
        """How many of the last candles; none where the range ends in the past: it is a time of its own choice."""
        return _AGAIN if self.until is None else 0


def _names(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> list[str]:
    """The names of an option that may be given several times, and has several in each, with commas between."""
    names = [name.strip() for text in texts for name in text.split(",")]
    if not any(names):
        raise click.BadParameter("give at least one name.")
    return list(dict.fromkeys(filter(None, names)))


def _intervals(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> list[str]:
    """Such names, of intervals."""
    names = _names(context, option, texts)
    for name in names:
        try:
            span_ms(name)
        except InvalidArgumentError as error:
            raise click.BadParameter(f"{error}.") from None
    return names


def _pace(_context: click.Context, _option: click.Parameter, rate: float) -> float:
    """The value of an option for a rate: more than nothing, but that no number is."""
    if math.isnan(rate):
        raise click.BadParameter("give a number, such as 10, or 0.5 for one request in two seconds.")
    return rate


_rate = click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    callback=_pace,
    default=10.0,
    show_default=True,
    metavar="N",
    help="Requests a second at most.",
)
_concurrency = click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    metavar="N",
    help="Requests at once at most.",
)
_json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="A JSON object a line for programs: plan, progress, gap, pending, problem; the last is done or error.",
)


class _Told(click.Command):
    """Tells programs also of a command line that cannot be used."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the arguments."""
        reporter = _reporter(as_json="--json" in args)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            reporter.failed(error.format_message())
            raise


_EXAMPLE = ("--symbols", "all", "--interval", "1m", "--since", "2y", "--to", "data/")


# As it is: a command that is broken into lines cannot be copied.
@click.command("pull", cls=_Told, epilog=f"\b\n{command_line('candles', 'pull', *_EXAMPLE)}")
@click.option(
    "--symbols", required=True, multiple=True, callback=_names, metavar="NAMES", help="Such as BTC,ETH; or all."
)
@click.option(
    "--interval",
    "intervals",
    required=True,
    multiple=True,
    callback=_intervals,
    metavar="NAMES",
    help="Such as 1m; or 1m,1h.",
)
@click.option("--since", required=True, callback=as_moment, metavar="TIME", help="The first open time.")
@click.option("--until", callback=as_moment, metavar="TIME", help="The end; by default now.")
@click.option(
    "--to", "store", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The store; it may be new."
)
@_rate
@_concurrency
@base_url_option
@query_option
@click.option("--yes", is_flag=True, help="Do not ask, however long it takes.")
@_json
def pull(
    symbols: list[str],
    intervals: list[str],
    since: datetime,
    until: datetime | None,
    store: Path,
    rate: float,
    concurrency: int,
    base_url: str | None,
    query: GivenQuery | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Pull candles into a store: all there are in a range of time.

    What it takes is said first; what takes more than ten minutes is asked about, or needs --yes. It may be stopped at
    any moment, also by pulling the plug: the same command line goes on where it was. Once all is there, the same line
    brings what is new, and asks for the last candles again, since servers correct late.

    A symbol that the server does not list is refused, unless the store has it already.

    TIME is how long ago (2y, 6mo, 30d, 12h), a date (2024-01-01, or 2024-01-01T12:00; UTC), or epoch milliseconds.

    A server counts requests by address: leave room with --rate for a bot that runs beside this.

    How a range is asked for is not documented. Where a server wants it otherwise, the error says so, and --query takes
    start, end, limit, interval (the parameters' names), unit (ms or s), path (history or interval) and most (how many
    at once): --query start=from,end=to. The store remembers it, and a part that is given later takes the place of that
    part alone.

    The exit code is 0 if all is there, 1 if something is missing, damaged, or was not over yet by a clock that is
    behind, which is listed, and 2 if it could not be done.
    """
    reporter = _reporter(as_json=as_json)
    with (
        _ended_by_sigterm() as ending,
        _told_how_it_ends(reporter, store),
        _session(store, base_url, rate, concurrency, ending) as session,
    ):
        until = _past(since, until)
        asked = _Asked(symbols, intervals, since, until, store, query and query.over(_remembered(store)))
        errand, found = session.run(_plan(session.alura, asked))
        reporter.planned(errand)
        if not yes:
            _confirm(errand.plan, store)
        with reporter.following() as follow:
            report = session.run(
                session.alura.bulk.pull(
                    store,
                    found,
                    intervals,
                    start=since,
                    end=asked.until,
                    again=asked.again,
                    concurrency=concurrency,
                    progress=follow,
                    query=asked.query,
                )
            )
        return _ended(reporter, report, store)


@click.command("repair", cls=_Told)
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@_rate
@_concurrency
@base_url_option
@query_option
@_json
def repair(
    store: Path, rate: float, concurrency: int, base_url: str | None, query: GivenQuery | None, as_json: bool
) -> int:
    """Pull what is missing in a store, and what is damaged.

    --query is as for pull, which the store remembers.

    The exit code is 0 if all is there and sound then, 1 if something still is missing, damaged, or not over yet by a
    clock that is behind, which is listed, and 2 if it could not be done.
    """
    reporter = _reporter(as_json=as_json)
    with (
        _ended_by_sigterm() as ending,
        _told_how_it_ends(reporter, store),
        _session(store, base_url, rate, concurrency, ending) as session,
    ):
        whole = query and query.over(_remembered(store))
        with reporter.following() as follow:
            report = session.run(
                session.alura.bulk.repair(store, concurrency=concurrency, progress=follow, query=whole)
            )
        return _ended(reporter, report, store)


def _past(since: datetime, until: datetime | None) -> datetime | None:
    """The end of a range; None for now, which no candle is after."""
    now = datetime.now(UTC)
    if since >= min(until or now, now):
        end = "now" if until is None or until > now else f"{figures.moment(until)} UTC"
        raise click.BadParameter(f"{figures.moment(since)} UTC is not before {end}.", param_hint="'--since'")
    return None if until is None or until > now else until


class _Session(NamedTuple):
    """A client and the loop that it belongs to: between two calls, Ctrl-C ends at once what waits for an answer."""

    alura: AsyncAlura
    runner: asyncio.Runner
    ending: _Ending

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run what calls the server."""
        try:
            done = self.runner.run(self.ending.cancels(work))
        except asyncio.CancelledError:
            if self.ending.has_come:
                raise KeyboardInterrupt from None
            raise
        if self.ending.has_come:
            # Too late for this, but not for what comes next.
            raise KeyboardInterrupt
        return done


class _Ending:
    """What SIGTERM does: what Ctrl-C does, also where that is not heard, as in the background of a script."""

    def __init__(self) -> None:
        self.has_come = False
        self._cancel: Callable[[], object] | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Hear the signal."""
        # Once: another one must neither cut off what is said then, nor end it with another exit code.
        signal.signal(number, signal.SIG_IGN)
        self.has_come = True
        if self._cancel is None:
            raise KeyboardInterrupt
        self._cancel()

    async def cancels(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something that the signal cancels."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None  # it is what runs this
        # The loop may be waiting, and has to be woken.
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            return await work
        finally:
            self._cancel = None


@contextmanager
def _session(store: Path, base_url: str | None, rate: float, concurrency: int, ending: _Ending) -> Generator[_Session]:
    try:
        # Nothing else is done with this client, so no slot is kept for anything else.
        limiter = RateLimiter(rate=rate, concurrency=concurrency, reserved=0)
        alura = client_of(base_url, limiter=limiter)
        with asyncio.Runner() as runner:
            session = _Session(alura, runner, ending)
            try:
                yield session
            finally:
                session.run(alura.close())
    except StoreError as error:
        raise remedies.failed(error, store) from error
    except AluraError as error:
        raise failure(error) from error


@contextmanager
def _told_how_it_ends(reporter: Reporter, store: Path) -> Generator[None]:
    """Tell also what is no end of its own: Ctrl-C, wherever it comes, and failures."""
    try:
        yield
    except (KeyboardInterrupt, click.Abort):
        try:
            stored = _stored(store)
        except AluraError as error:
            reporter.failed(str(error))
        else:
            reporter.interrupted(stored)
        raise
    except click.ClickException as error:
        reporter.failed(error.format_message())
        raise
    except Exception as error:
        reporter.failed(f"{type(error).__name__}: {error}")
        raise


@contextmanager
def _ended_by_sigterm() -> Generator[_Ending]:
    """Let SIGTERM do what Ctrl-C does: who is ended by a time limit or a supervisor says so, too."""
    ending, before = _Ending(), signal.getsignal(signal.SIGTERM)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, ending)
    try:
        yield ending
    finally:
        if not ending.has_come:
            signal.signal(signal.SIGTERM, before)


def _reporter(*, as_json: bool) -> Reporter:
    return ForPrograms() if as_json else ForPeople(presenter())


async def _plan(alura: AsyncAlura, asked: _Asked) -> tuple[Errand, list[str]]:
    """What it takes, and the symbols that it is about."""
    from ..bulk.filling import require_store

    require_store(alura, asked.store)
    stored = _stored(asked.store)
    await _require_listed(alura, asked.symbols, stored)
    symbols = _ALL if _ALL in asked.symbols else asked.symbols
    query = asked.query or (stored and stored.query) or CandleQuery()
    try:
        whole = await alura.bulk.plan(symbols, asked.intervals, start=asked.since, end=asked.until, query=query)
    except NotFoundError as error:
        raise Failed(f"{error}; {await spelled(alura, asked.symbols[0])}") from error
    rest = plan_of(_missing(whole, asked, stored), whole.page, rate=whole.rate)
    errand = Errand(
        server=alura.base_url,
        store=str(asked.store),
        series=len(whole.ranges),
        start=asked.since,
        end=asked.until,
        there=1 - rest.candles / whole.candles if whole.candles else float(not rest.requests),
        plan=rest,
    )
    return errand, list(dict.fromkeys(window.symbol for window in whole.ranges))


async def _require_listed(alura: AsyncAlura, symbols: Sequence[str], stored: StoreInfo | None) -> None:
    """Refuse what the server does not list, mostly a slip of the pen: each would be a series that stays empty."""
    if _ALL in symbols:
        return
    try:
        known = list(await alura.indicators.symbols())
    except AluraError:
        # The candles may be there nevertheless.
        return
    # What was listed once, and came, goes on as it was.
    familiar = {*known, *(each.symbol for each in (stored.series if stored else ()) if each.ranges)}
    if known and (strange := [symbol for symbol in symbols if symbol not in familiar]):
        raise Failed("; ".join(f"the server does not list {symbol}: {meant(known, symbol)}" for symbol in strange))


def _missing(whole: Plan, asked: _Asked, stored: StoreInfo | None) -> Iterator[Window]:
    """What of a plan the store does not have, or is asked for again."""
    from ..bulk.ranges import without, without_end

    covered = {(each.symbol, each.interval): each.ranges for each in (stored.series if stored else ())}
    for window in whole.ranges:
        ranges = covered.get((window.symbol, window.interval), ())
        known = without_end(ranges, asked.again * span_ms(window.interval))
        for start, end in without([(window.start_ms, window.end_ms)], known):
            yield msgspec.structs.replace(window, start_ms=start, end_ms=end)


def _confirm(plan: Plan, store: Path) -> None:
    """Have what is long, or too large, agreed to."""
    reasons: list[str] = []
    if plan.seconds > _LONG_S:
        reasons.append(f"this takes {duration(plan.seconds)}")
    if plan.store_bytes > (free := _free_bytes(store)):
        reasons.append(f"it may need {bytes_(plan.store_bytes)} on a disk that has {bytes_(free)} left")
    if not reasons:
        return
    why = ", and ".join(reasons)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Failed(f"{why}; there is no terminal to ask in: add --yes to do it nevertheless")
    # On standard error: standard output may be for a program.
    try:
        goes_on = click.confirm(f"{why[0].upper()}{why[1:]}. Go on?", default=True, err=True)
    except click.Abort:
        # What is said next has a line of its own.
        click.echo(err=True)
        raise
    if not goes_on:
        raise Failed("nothing was pulled")


def _free_bytes(store: Path) -> int:
    """How much room there is where a folder is, or will be."""
    from ..bulk.store import as_folder

    place = as_folder(store)
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def _stored(store: Path) -> StoreInfo | None:
    """What a store has; None where there is none yet."""
    from ..bulk.manifest import Manifest
    from ..bulk.store import CandleStore

    opened = CandleStore(store)
    return opened.info() if Manifest.is_there(opened.path) else None


def _remembered(store: Path) -> CandleQuery | None:
    """How a store says that its server wants to be asked, where it can be read."""
    from ..bulk.manifest import Manifest
    from ..bulk.store import as_folder

    try:
        with Manifest.to_read(as_folder(store)) as manifest:
            return manifest.query()
    except StoreError:
        # Whoever needs more of the store says why not; and a repair may be to mend it.
        return None


def _ended(reporter: Reporter, report: PullReport, store: Path) -> int:
    stored = _stored(store)
    assert stored is not None  # it was written into
    reporter.ended(report, stored, remedies.repair_line(store), command_line("candles", "gaps", str(store)))
    return 0 if report.is_complete else _INCOMPLETE_CODE
