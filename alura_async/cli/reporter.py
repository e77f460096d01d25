"""What is told of candles on their way into a store: to people, or to programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from ..core.quantities import bytes_, counted, duration, large
from ..core.text import printable
from . import figures
from .json_lines import write_line
from .presenter import Advance, Cell, Column, Presenter, Table
from .query import in_options

if TYPE_CHECKING:
    from ..bulk.pages import Progress
    from ..bulk.plan import Plan
    from ..bulk.reports import Gap, Problem, PullReport, StoreInfo

# So many gaps are listed for people.
_MOST_GAPS = 20
_PROGRESS_EVERY_S = 1.0
# Requests fail or wait where none has been answered for so long, and for so many times as long as one takes.
_STILL_S = 5.0
_STILL_TIMES = 5


class Errand(NamedTuple):
    """What is to be brought into a store.

    Attributes:
        server: where the candles are from.
        store: the store, as the user calls it.
        series: how many series.
        start: the earliest open time.
        end: the end of the range; None for now.
        there: which share of it the store has, 0 to 1.
        plan: what the rest takes.
    """

    server: str
    store: str
    series: int
    start: datetime
    end: datetime | None
    there: float
    plan: Plan


class Reporter(Protocol):
    """Tells one thing after another."""

    def planned(self, errand: Errand) -> None:
        """What is to be done."""
        ...

    def following(self) -> AbstractContextManager[Callable[[Progress], None]]:
        """A place for how far it has come, which may be told after each reply."""
        ...

    def ended(self, report: PullReport, stored: StoreInfo, again: str, listing: str) -> None:
        """What became of it.

        Args:
            report: what became of it.
            stored: what the store has now.
            again: the command that asks for the gaps once more, and mends.
            listing: the command that lists the gaps.
        """
        ...

    def interrupted(self, stored: StoreInfo | None) -> None:
        """That it was stopped, and what the store has now; None where there is none yet."""
        ...

    def failed(self, why: str) -> None:
        """That it could not be done. People are told so by the error itself."""
        ...


class ForPeople:
    """Tells it in sentences and tables.

    Args:
        show: shows them.
    """

    def __init__(self, show: Presenter) -> None:
        self._show = show

    def planned(self, errand: Errand) -> None:
        """What is to be done, and what that takes."""
        until = "now" if errand.end is None else figures.moment(errand.end)
        series = counted(errand.series, "series", "series")
        self._show.say(
            f"{series} of {printable(errand.server)}, {figures.moment(errand.start)} to {until} (UTC), into "
            f"{printable(errand.store)}"
        )
        if not errand.plan.requests:
            self._show.say("All of it is there already.")
            return
        there = f"{_percent(errand.there)} is there already, and left are " if errand.there else ""
        self._show.say(f"{there}{errand.plan}, about {bytes_(errand.plan.store_bytes)} on disk")

    @contextmanager
    def following(self) -> Generator[Callable[[Progress], None]]:
        """A bar, or lines, with what matters beside it."""
        requests, since_s = 0, 0.0
        with self._show.progress() as show:

            def tell(progress: Progress) -> None:
                nonlocal requests, since_s
                if progress.requests != requests:
                    requests, since_s = progress.requests, progress.elapsed_s
                show(Advance(progress.done, _facts(progress, progress.elapsed_s - since_s)))

            yield tell

    def ended(self, report: PullReport, stored: StoreInfo, again: str, listing: str) -> None:
        """What came, what the store has, and what is to be done about gaps."""
        corrected = f", {len(report.corrected):,} corrected" if report.corrected else ""
        withdrawn = f", {len(report.withdrawn):,} no longer given" if report.withdrawn else ""
        self._show.say(
            f"{counted(report.candles, 'candle')} more{corrected}{withdrawn}: {counted(report.requests, 'request')} in "
            f"{duration(report.elapsed_s)}"
        )
        for mended in report.mended:
            self._show.say(printable(str(mended)))
        self._show.say(has(stored))
        if report.damaged:
            self._show.table(problem_table(report.damaged))
            left = f"{counted(len(report.damaged), 'problem')} left"
            # A repair has tried already.
            if any(problem.remedy.startswith("repair") for problem in report.damaged):
                self._show.say(f"{left}; this pulls again what is damaged:")
                self._show.end(again)
            else:
                self._show.say(f"{left}.")
        if report.pending:
            self._show.say(pending(report.pending))
        if not report.gaps and not report.damaged:
            self._show.say("Nothing else is missing." if report.pending else "Nothing is missing.")
            if stored.gaps:
                self._show.say("Of what the store was asked for elsewhere, something is; this lists it:")
                self._show.end(listing)
        if not report.gaps:
            return
        self._show.table(gap_table(report.gaps[:_MOST_GAPS]))
        more = len(report.gaps) - _MOST_GAPS
        listed = f"And {more:,} more. " if more > 0 else ""
        reason = f"{listed}{counted(len(report.gaps), 'gap')}: once the reason has gone,"
        # A store does not note what it never had anything of, and what the server does not know.
        noted = {(series.symbol, series.interval) for series in stored.series if series.gaps}
        if any((gap.symbol, gap.interval) not in noted for gap in report.gaps):
            it = "it" if len(report.gaps) == 1 else "them"
            self._show.say(f"{reason} the same command line asks for {it}.")
        else:
            self._show.say(f"{reason} this asks for what is missing:")
            self._show.end(again)

    def interrupted(self, stored: StoreInfo | None) -> None:
        """What the store has now, and how it goes on."""
        if stored is None:
            self._show.say("Stopped before anything was stored.")
        else:
            self._show.say(f"Stopped. {has(stored)} The same command line goes on from there.")

    def failed(self, why: str) -> None:
        """Nothing: the error says it."""


class ForPrograms:
    """Tells it in JSON, an object a line, each with its `event`: `plan`, `progress`, `gap`, `pending`, `problem`.

    The last one is always `done` or `error`.
    """

    def planned(self, errand: Errand) -> None:
        """What is to be done, and what that takes."""
        plan = errand.plan
        write_line(
            {
                "event": "plan",
                "server": errand.server,
                "store": errand.store,
                "series": errand.series,
                "start": errand.start.isoformat(),
                "end": None if errand.end is None else errand.end.isoformat(),
                "there": round(errand.there, 4),
                "candles": plan.candles,
                "requests": plan.requests,
                "seconds": round(plan.seconds, 1),
                "download_bytes": plan.download_bytes,
                "store_bytes": plan.store_bytes,
            }
        )

    @contextmanager
    def following(self) -> Generator[Callable[[Progress], None]]:
        """A line every second."""
        next_line = time.monotonic() + _PROGRESS_EVERY_S

        def tell(progress: Progress) -> None:
            nonlocal next_line
            now = time.monotonic()
            if now >= next_line:
                next_line = now + _PROGRESS_EVERY_S
                write_line({"event": "progress", **msgspec.to_builtins(progress)})

        yield tell

    def ended(self, report: PullReport, stored: StoreInfo, again: str, listing: str) -> None:
        """Each gap, each end that is pending, each problem that is left, and what became of the whole."""
        for gap in report.gaps:
            write_line({"event": "gap", **gap_row(gap)})
        for end in report.pending:
            write_line({"event": "pending", **gap_row(end)})
        for problem in report.damaged:
            write_line({"event": "problem", **msgspec.to_builtins(problem)})
        write_line(
            {
                "event": "done",
                "complete": report.is_complete,
                "interrupted": False,
                "candles": report.candles,
                "corrected": len(report.corrected),
                "withdrawn": len(report.withdrawn),
                "requests": report.requests,
                "elapsed_s": round(report.elapsed_s, 3),
                "gaps": len(report.gaps),
                "pending": len(report.pending),
                "damaged": len(report.damaged),
                "mended": list(map(str, report.mended)),
                "stored": stored.rows,
            }
        )

    def interrupted(self, stored: StoreInfo | None) -> None:
        """That it is not complete."""
        write_line(
            {"event": "done", "complete": False, "interrupted": True, "stored": 0 if stored is None else stored.rows}
        )

    def failed(self, why: str) -> None:
        """Why there is nothing more to come."""
        write_line({"event": "error", "message": why})


def has(stored: StoreInfo) -> str:
    """What a store has, in a sentence."""
    series = counted(len(stored.series), "series", "series")
    size = f", {bytes_(stored.bytes)}" if stored.bytes else ""
    return f"{printable(stored.path)} has {counted(stored.rows, 'candle')} of {series}{size}."


def pending(ends: Sequence[Gap]) -> str:
    """What was not over yet by a clock, in a sentence."""
    series = counted(len({(end.symbol, end.interval) for end in ends}), "series", "series")
    since = figures.moment(min(end.start for end in ends))
    return (
        f"{series} not over yet from {since} (UTC) on by the server's clock or this machine's, when it was asked: the "
        "next pull asks for the rest."
    )


def gap_table(gaps: Sequence[Gap]) -> Table:
    """Ranges that are missing, and why."""
    columns = (Column("series"), Column("from (UTC)"), Column("to"), Column("why", "text"))
    return Table(
        columns,
        [
            [
                Cell(printable(f"{gap.symbol} {gap.interval}")),
                Cell(figures.moment(gap.start)),
                Cell(figures.moment(gap.end)),
                Cell(in_options(printable(gap.reason)), "bad"),
            ]
            for gap in gaps
        ],
    )


def gap_row(gap: Gap) -> dict[str, Any]:
    """A range that is missing, and why, for programs."""
    return {**msgspec.to_builtins(gap), "reason": in_options(gap.reason)}


def problem_table(problems: Sequence[Problem]) -> Table:
    """What is damaged in a store."""
    columns = (Column("file", "text"), Column("what is wrong", "text"), Column("what to do", "text"))
    return Table(
        columns,
        [
            [Cell(printable(each.path)), Cell(printable(each.what), "bad"), Cell(printable(each.remedy))]
            for each in problems
        ],
    )


def _facts(progress: Progress, still_s: float) -> list[str]:
    """What a reader wants to know besides the share, the most important first.

    Args:
        progress: how far it has come.
        still_s: for how many seconds no request has been answered.
    """
    # Of one request, on average: those of several at once add up to more than the time that has passed.
    wait_s = progress.lane_wait_s / progress.requests if progress.requests else 0.0
    left = "" if progress.eta_s is None else f"{duration(progress.eta_s)} left"
    # What is left takes as long as before only while it goes on as before.
    usual_s = 1 / progress.requests_per_s if progress.requests_per_s else 0.0
    is_still = still_s > max(_STILL_S, _STILL_TIMES * usual_s)
    return [
        f"nothing came for {duration(still_s)}" if is_still else left,
        f"{large(progress.candles)} candle{'' if progress.candles == 1 else 's'}",
        f"{progress.requests_per_s:.1f} req/s",
        counted(progress.gaps, "error"),
        f"lane {wait_s:.1f} s",
    ]


def _percent(share: float) -> str:
    # What is not everything is not called so.
    return f"{int(share * 100)} %" if share * 100 >= 1 else "less than 1 %"
