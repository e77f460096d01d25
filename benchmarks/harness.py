"""Runs contestants against each other, each in a process of its own, and tables what they took.

A machine's speed drifts by more than what is to be seen here. So every round runs all contestants of a case shortly
after one another, in an order drawn anew, and a ratio is made within a round: what is reported is the median of those.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import os
import platform
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from .contest import Benchmark, Case, Contestant, Measurement, Order, load

NAMES = ("one_call", "fan_out", "facade", "limiter", "decode", "bulk")

_ROOT = Path(__file__).resolve().parent.parent
_PATIENCE_S = 180.0

# Variables that make Python itself slower, or that send calls for the loopback elsewhere.
_UNWANTED = (
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONASYNCIODEBUG",
    "PYTHONDEVMODE",
    "PYTHONMALLOC",
    "PYTHONTRACEMALLOC",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONWARNINGS",
)


@dataclass(frozen=True)
class Spread:
    """The middle of some values and how far they reach."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The median, the least and the greatest of some values.

    Args:
        values: one or more.
    """
    return Spread(statistics.median(values), min(values), max(values))


def paired_ratio(values: Sequence[float | None], reference: Sequence[float | None]) -> Spread | None:
    """How a contestant compares with the reference, from ratios that are each made within one round.

    Args:
        values: the contestant's figure of each round; None where it failed.
        reference: the reference's figure of the same rounds.

    Returns:
        None if there is no round in which both have a figure.
    """
    ratios = [
        value / other for value, other in zip(values, reference, strict=True) if value is not None and other is not None
    ]
    return spread(ratios) if ratios else None


@dataclass
class Result:
    """What a contestant did in a case.

    Attributes:
        contestant: who it was.
        skipped: why it did not take part, or None if it did.
        measurements: one a round; None where it failed. Empty if it failed before the first round.
        failures: why it failed, in the words of its process.
    """

    contestant: Contestant
    skipped: str | None = None
    measurements: list[Measurement | None] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def us(self) -> list[float | None]:
        """Microseconds per request in each round."""
        return [None if measurement is None else measurement.us for measurement in self.measurements]

    @property
    def cpu_us(self) -> list[float | None]:
        """Microseconds of processor time per request in each round."""
        return [None if measurement is None else measurement.cpu_us for measurement in self.measurements]

    @property
    def found(self) -> list[Measurement]:
        """The measurements of the rounds that it got through."""
        return [measurement for measurement in self.measurements if measurement is not None]


@dataclass(frozen=True)
class CaseResult:
    """What all contestants did in a case."""

    case: Case
    results: list[Result]

    @property
    def reference(self) -> Result:
        """What the others are compared with."""
        (reference,) = [result for result in self.results if result.contestant.name == self.case.reference]
        return reference

    def ratio(self, result: Result) -> Spread | None:
        """A contestant's paired ratio to the reference, or None if they have no round in common."""
        both_ran = result.measurements and self.reference.measurements
        return paired_ratio(result.us, self.reference.us) if both_ran else None

    def cpu_ratio(self, result: Result) -> Spread | None:
        """The same of the processor time of their processes, which other work on the machine disturbs less."""
        both_ran = result.measurements and self.reference.measurements
        return paired_ratio(result.cpu_us, self.reference.cpu_us) if both_ran else None


@dataclass(frozen=True)
class Cores:
    """Who runs on which processor cores; nothing where the system cannot keep a process on a core, or has only one."""

    server: tuple[int, ...] = ()
    one: tuple[int, ...] = ()
    others: tuple[int, ...] = ()

    @classmethod
    def of_this_machine(cls) -> Cores:
        """The last core that this process may use for the server, the first for clients."""
        if sys.platform != "linux":
            return cls()
        usable = sorted(os.sched_getaffinity(0))
        return cls((usable[-1],), (usable[0],), tuple(usable[:-1])) if len(usable) > 1 else cls()


class Server:
    """The server's process, as a context manager.

    Args:
        cores: those that it stays on.
    """

    def __init__(self, cores: Sequence[int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.server", *map(str, cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env=environment(),
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.strip().isdigit():
            self.close()
            raise RuntimeError("the benchmarks' server did not start")
        self.base_url = f"http://127.0.0.1:{int(line)}"

    def close(self) -> None:
        """End the process. It also ends by itself when this one does: its standard input is then over."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Harness:
    """Runs benchmarks.

    Args:
        rounds: how often each contestant runs.
        seed: of the order in which they do.
        quick: a handful of calls each: shows that everything works, not what it costs.
        only: parts of contestants' names; the others, but for the references, are left out. Empty for everybody.
    """

    def __init__(self, *, rounds: int, seed: int, quick: bool = False, only: Sequence[str] = ()) -> None:
        self.rounds = rounds
        self.quick = quick
        self.only = only
        self.cores = Cores.of_this_machine()
        self._chance = random.Random(seed)

    def run(self, name: str) -> list[CaseResult]:
        """Run a benchmark.

        Args:
            name: its module.
        """
        benchmark = load(name)
        outcome = [CaseResult(case, self._entries(case)) for case in benchmark.cases]
        with Server(self.cores.server) as server:
            if not self.quick:
                # Leaves compiled files behind for the rounds, and says early what does not work.
                _say(f"{name}: rehearsal")
                for case_result in outcome:
                    self._rehearse(name, benchmark, case_result, server)
            for number in range(self.rounds):
                _say(f"{name}: round {number + 1} of {self.rounds}")
                for case_result in outcome:
                    self._round(name, benchmark, case_result, server)
        return outcome

    def _entries(self, case: Case) -> list[Result]:
        return [
            Result(contestant, skipped=contestant.missing())
            for contestant in case.contestants
            if not self.only
            or contestant.name == case.reference
            or any(part.casefold() in contestant.name.casefold() for part in self.only)
        ]

    def _rehearse(self, name: str, benchmark: Benchmark, case_result: CaseResult, server: Server) -> None:
        case = case_result.case
        for result in case_result.results:
            if result.skipped is None:
                found = self._start(name, benchmark, case, result.contestant, server, requests=case.quick_requests)
                if isinstance(found, str):
                    result.failures.append(found)
                    _say(f"{name}: {case.name}: {result.contestant.name} failed and is out: {found}")

    def _round(self, name: str, benchmark: Benchmark, case_result: CaseResult, server: Server) -> None:
        case = case_result.case
        requests = case.quick_requests if self.quick else case.requests
        order = [
            result
            for result in case_result.results
            # Who failed in the rehearsal is out; who failed in a round may do better in the next.
            if result.skipped is None and (result.measurements or not result.failures)
        ]
        self._chance.shuffle(order)
        for result in order:
            found = self._start(name, benchmark, case, result.contestant, server, requests=requests)
            if isinstance(found, Measurement):
                result.measurements.append(found)
            else:
                result.measurements.append(None)
                result.failures.append(found)
                _say(f"{name}: {case.name}: {result.contestant.name} failed: {found}")

    def _start(
        self, name: str, benchmark: Benchmark, case: Case, contestant: Contestant, server: Server, *, requests: int
    ) -> Measurement | str:
        """Run a contestant's process; gives what it found, or why it failed."""
        requests = max(1, requests // contestant.slowness)
        order = Order(
            benchmark=name,
            case=case.name,
            contestant=contestant.name,
            base_url=server.base_url,
            requests=requests,
            # Enough to open all connections and to let the interpreter specialise the road.
            warm_up=max(case.concurrency, requests // 5),
            cores=list(self.cores.others if benchmark.all_cores else self.cores.one),
        )
        command = [sys.executable, "-m", f"{__package__}._contestant", msgspec.json.encode(order).decode()]
        try:
            done = subprocess.run(
                command,
                cwd=_ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"not done within {_PATIENCE_S:.0f} s"
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            return lines[-1] if lines else f"exit code {done.returncode}"
        try:
            return msgspec.json.decode(done.stdout, type=Measurement)
        except msgspec.MsgspecError:
            return f"printed {done.stdout[:200]!r} instead of a measurement"


def _say(text: str) -> None:
    # Progress is no part of what is printed, so that the tables can be piped.
    print(text, file=sys.stderr, flush=True)


def environment() -> dict[str, str]:
    """The environment of all processes: this one's, without what would change their speed or their road."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in _UNWANTED and not name.upper().endswith("_PROXY") and not name.startswith("ALURA_")
    }


def machine() -> dict[str, str]:
    """What the figures depend on: interpreter, packages, processor, system."""
    facts = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "cores": str(os.cpu_count()),
    }
    if sys.platform != "win32":
        # Above a few tenths, others are at work here, and the ratios' spread will show it.
        facts["load average"] = f"{os.getloadavg()[0]:.2f}"
    for package in ("aiohttp", "msgspec", "httpx", "requests", "pyreqwest", "uvloop", "aiolimiter", "pydantic"):
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def table(benchmark: Benchmark, outcome: Sequence[CaseResult]) -> str:
    """The benchmark's results as text.

    Args:
        benchmark: what was run.
        outcome: what came of it.
    """
    lines = [benchmark.title, ""]
    for case_result in outcome:
        case = case_result.case
        head = ["", "µs/request", "min – max", f"× {case.reference}", "min – max"]
        head += ["must", "stretch", "own CPU, µs", "×", "server busy"]
        rows = [_row(case_result, result) for result in case_result.results if result.found]
        lines += [case.name, *_aligned([head, *rows])]
        for result in case_result.results:
            if result.skipped is not None:
                lines.append(f"  {result.contestant.name} was skipped: {result.skipped}")
            elif result.failures:
                runs = f"{len(result.failures)} of {len(result.measurements)} rounds" if result.found else "all rounds"
                lines.append(f"  {result.contestant.name} FAILED in {runs}: {result.failures[-1]}")
        lines.append("")
    return "\n".join(lines)


def _row(case_result: CaseResult, result: Result) -> list[str]:
    us, ratio, case = spread([found.us for found in result.found]), case_result.ratio(result), case_result.case
    cpu_ratio = case_result.cpu_ratio(result)
    must, stretch = (case.must, case.stretch) if result.contestant.ours else (None, None)
    return [
        result.contestant.name,
        f"{us.median:.1f}",
        f"{us.low:.1f} – {us.high:.1f}",
        "" if ratio is None else f"{ratio.median:.2f}",
        "" if ratio is None else f"{ratio.low:.2f} – {ratio.high:.2f}",
        "" if must is None else f"≤ {must:.2f}",
        "" if stretch is None else f"≤ {stretch:.2f}",
        f"{statistics.median([found.cpu_us for found in result.found]):.1f}",
        "" if cpu_ratio is None else f"{cpu_ratio.median:.2f}",
        f"{statistics.median([found.server_busy for found in result.found]):.0%}",
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for row in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)]
        lines.append("   ".join([f"  {row[0]:<{widths[0]}}", *cells[1:]]).rstrip())
    return lines


def report(outcome: Sequence[CaseResult]) -> list[dict[str, Any]]:
    """A benchmark's results as JSON values.

    Args:
        outcome: what came of it.
    """
    return [
        {
            "name": case_result.case.name,
            "requests": case_result.case.requests,
            "concurrency": case_result.case.concurrency,
            "reference": case_result.case.reference,
            "must": case_result.case.must,
            "stretch": case_result.case.stretch,
            "contestants": [_report(case_result, result) for result in case_result.results],
        }
        for case_result in outcome
    ]


def _report(case_result: CaseResult, result: Result) -> dict[str, Any]:
    return {
        "name": result.contestant.name,
        "ours": result.contestant.ours,
        "skipped": result.skipped,
        "failures": result.failures,
        "us": spread([found.us for found in result.found]) if result.found else None,
        "ratio": case_result.ratio(result),
        "cpu_ratio": case_result.cpu_ratio(result),
        "measurements": result.measurements,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks and print their tables.

    Args:
        arguments: those of the command line.

    Returns:
        1 if a contestant failed, whatever the figures are; else 0.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"what to run, of {', '.join(NAMES)}; by default all")
    parser.add_argument("--rounds", type=int, help="how often each contestant runs; by default 7, or 1 with --quick")
    parser.add_argument("--seed", type=int, help="of the contestants' order; by default drawn, and always printed")
    parser.add_argument("--quick", action="store_true", help="a handful of calls: does it work, not what does it cost")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PART", help="part of a contestant's name; may be repeated"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file as well")
    chosen = parser.parse_args(arguments)
    names: list[str] = chosen.names or list(NAMES)
    if unknown := sorted(set(names) - set(NAMES)):
        parser.error(f"no benchmark named {', '.join(unknown)}: there are {', '.join(NAMES)}")
    rounds: int = (1 if chosen.quick else 7) if chosen.rounds is None else chosen.rounds
    if rounds < 1:
        parser.error("--rounds: at least 1")
    seed: int = random.SystemRandom().randrange(10**6) if chosen.seed is None else chosen.seed

    if isinstance(sys.stdout, io.TextIOWrapper):
        # A console that lacks a sign shows another in its place instead of ending the run.
        sys.stdout.reconfigure(errors="replace")
    facts = machine()
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"seed {seed}, {rounds} rounds; medians, and ratios made within a round; targets stand beside the SDK\n")
    harness = Harness(rounds=rounds, seed=seed, quick=chosen.quick, only=chosen.only)
    outcomes: dict[str, list[CaseResult]] = {}
    for name in names:
        outcomes[name] = harness.run(name)
        print(table(load(name), outcomes[name]), flush=True)
    if chosen.json is not None:
        written = {
            "machine": facts,
            "seed": seed,
            "rounds": rounds,
            "quick": chosen.quick,
            "benchmarks": {name: report(outcome) for name, outcome in outcomes.items()},
        }
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(written)))
    everyone = [result for outcome in outcomes.values() for case in outcome for result in case.results]
    return 1 if any(result.failures for result in everyone) else 0
