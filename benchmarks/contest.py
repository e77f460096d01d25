"""What a benchmark is made of: pages that the server holds, contestants that read them, cases that compare them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import sys
from collections.abc import Callable, Collection, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

CANDLES = 500


@dataclass(frozen=True)
class Page:
    """A reply that the server holds ready.

    Attributes:
        name: what it is called in the tables.
        path: where the server has it.
        target: what a client asks for: the path and, if the page has one, the query.
        body: the reply's JSON.
        check: raises `WrongAnswerError` unless a decoded reply is this page: who decodes an error page is fast too.
    """

    name: str
    path: str
    target: str
    body: bytes
    check: Callable[[object], None]


@dataclass(frozen=True)
class Job:
    """What one contestant's process has to do.

    Attributes:
        base_url: the server.
        page: the reply to read.
        requests: how many calls are measured.
        warm_up: how many calls are made before.
        concurrency: how many calls are under way at once.
    """

    base_url: str
    page: Page
    requests: int
    warm_up: int
    concurrency: int

    @property
    def url(self) -> str:
        """The page's URL, as a user would write it."""
        return self.base_url + self.page.target


class Measurement(msgspec.Struct, frozen=True):
    """What one contestant's process found.

    Attributes:
        us: microseconds per request.
        cpu_us: the processor time of the contestant's process, microseconds per request. Other work on the machine
            disturbs it less.
        server_busy: the server's processor time as a share of the time that passed. Near 1 the figure is the
            server's, not the contestant's.
    """

    us: float
    cpu_us: float
    server_busy: float


class Run(Protocol):
    """Does a job in the contestant's own process."""

    def __call__(self, job: Job, /) -> Measurement: ...


@dataclass(frozen=True)
class Contestant:
    """Somebody who reads a page.

    Attributes:
        name: what it is called in the tables.
        run: does the work.
        package: what has to be importable.
        install: how to get the package; by default `pip install` with its name.
        ours: whether it is the SDK, so that the targets stand beside its ratio.
        slowness: a contestant that is so many times slower than the others makes so many times fewer calls; else most
            of a run would be spent on it.
    """

    name: str
    run: Run
    package: str
    install: str = ""
    ours: bool = False
    slowness: int = 1

    def missing(self) -> str | None:
        """How to install what is missing, or None if all is there."""
        if importlib.util.find_spec(self.package) is not None:
            return None
        return f"{self.package} is not installed: {self.install or f'pip install {self.package}'}"


@dataclass(frozen=True)
class Case:
    """Contestants that do the same, and what the SDK's ratio to one of them should be.

    Attributes:
        name: what it is called in the tables.
        page: the reply that all of them read.
        concurrency: how many calls are under way at once.
        requests: how many calls a process measures, unless its contestant is a slow one.
        contestants: who takes part.
        reference: the contestant whose time the ratios are to.
        must: the ratio that the SDK has to keep to; None where the figure is only to be known.
        stretch: the ratio that it would like to reach.
        quick_requests: how many calls a process measures with `--quick`.
    """

    name: str
    page: Page
    concurrency: int
    requests: int
    contestants: tuple[Contestant, ...]
    reference: str
    must: float | None = None
    stretch: float | None = None
    quick_requests: int = 40


@dataclass(frozen=True)
class Benchmark:
    """A table.

    Attributes:
        title: what it shows, in one line.
        cases: its parts.
        all_cores: let a contestant have every core but the server's. For clients of several threads: one that is
            kept on a single core would pay for thread switches that its users do not have. A client of one thread
            has less noise on a single core.
    """

    title: str
    cases: tuple[Case, ...]
    all_cores: bool = False


class Order(msgspec.Struct, frozen=True):
    """What the harness wants of one contestant's process; the names are those of the tables.

    Attributes:
        benchmark: the module of the benchmark.
        case: the case's name.
        contestant: the contestant's name.
        base_url: the server.
        requests: how many calls are measured.
        warm_up: how many calls are made before.
        cores: the processor cores to stay on; empty for all.
    """

    benchmark: str
    case: str
    contestant: str
    base_url: str
    requests: int
    warm_up: int
    cores: list[int]


class WrongAnswerError(Exception):
    """A contestant did not read what it was told to."""


def load(name: str) -> Benchmark:
    """The benchmark of a module in this directory.

    Args:
        name: the module's name.
    """
    benchmark = importlib.import_module(f"{__package__}.{name}").BENCHMARK
    assert isinstance(benchmark, Benchmark)
    return benchmark


def stay_on(cores: Collection[int]) -> None:
    """Keep this process on some processor cores, where the system can.

    Args:
        cores: their numbers; none for no change.
    """
    if sys.platform == "linux" and cores:
        os.sched_setaffinity(0, cores)


def _check_health(answer: object) -> None:
    status = answer.get("status") if isinstance(answer, dict) else getattr(answer, "status", None)
    if status != "ok":
        raise WrongAnswerError(f"not the health page: {str(answer)[:200]}")


def _check_candles(answer: object) -> None:
    # Every contestant decodes the page into a list.
    if not isinstance(answer, Sized) or len(answer) != CANDLES:
        raise WrongAnswerError(f"not a list of {CANDLES} candles: {str(answer)[:200]}")


def candles(count: int) -> list[dict[str, Any]]:
    """Minutes as Hyperliquid writes them, the same in every process."""
    chance = random.Random(1)
    rows: list[dict[str, Any]] = []
    price, opened = 67_000.0, 1_700_000_040_000
    for _ in range(count):
        first, last = price, price + chance.gauss(0, 20)
        rows.append(
            {
                "t": opened,
                "T": opened + 59_999,
                "s": "BTC",
                "i": "1m",
                "o": f"{first:.1f}",
                "c": f"{last:.1f}",
                "h": f"{max(first, last) + chance.expovariate(0.1):.1f}",
                "l": f"{min(first, last) - chance.expovariate(0.1):.1f}",
                "v": f"{chance.expovariate(0.05):.5f}",
                "n": chance.randrange(20, 2000),
            }
        )
        price, opened = last, opened + 60_000
    return rows


HEALTH = Page("tiny JSON", "/health", "/health", b'{"status":"ok","service":"api"}', _check_health)

CANDLE_PAGE = Page(
    f"{CANDLES} candles",
    "/api/indicators/candles/BTC/1m",
    f"/api/indicators/candles/BTC/1m?limit={CANDLES}",
    msgspec.json.encode(candles(CANDLES)),
    _check_candles,
)

PAGES = (HEALTH, CANDLE_PAGE)
