"""Mutation testing of the modules that decide about money: does a test fail for each small thing that could be wrong?

`python -m tests.mutation [MODULE ...] [--sample N] [--seed N] [--lines 10-20] [--workers N]`, on Linux and macOS. Each
mutant is one edit of one module in a copy of the checkout. Only the tests that specify the module are run, in a fork of
a process in which pytest and the dependencies are imported already. What survives is listed, and what was only noticed
because a test took too long: most of that waits for ever, but on a busy machine look again. Below `LEAST` the exit code
is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp.web  # noqa: F401 - so that no fork has to
import eth_account  # noqa: F401
import hypothesis
import pytest

from .mutants import Mutant, mutants_of

LEAST = 0.85
HERE = Path(__file__).parents[2]
TESTS = {
    "retry": ["tests/test_retry.py"],
    "outcome": ["tests/test_outcome.py"],
    "reconcile": ["tests/test_reconcile.py"],
    "reading": ["tests/test_reading.py", "tests/test_reconcile.py"],
    "token": ["tests/test_token_machine.py", "tests/test_token.py", "tests/test_token_cache.py"],
    "lanes": ["tests/test_lanes.py"],
}
# A test that hangs fails. The slowest takes about two seconds.
TEST_LIMIT_S = 15
# All of a module's tests, without a mutant.
PLAIN_LIMIT_S = 120


class Run(NamedTuple):
    """How one run of a module's tests ended."""

    failed: list[str]
    seconds: float
    is_green: bool
    is_late: bool


class Copy:
    """A copy of the checkout in which one mutant at a time lives.

    Args:
        place: the directory it is made in.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._verdict = place / "verdict.json"
        for name in ("alura_async", "tests"):
            shutil.copytree(HERE / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "pyproject.toml", place)

    def put(self, module: str, source: str) -> None:
        """Give a module other source code."""
        (self.place / f"alura_async/core/{module}.py").write_text(source, encoding="utf-8")

    def start(self, module: str, source: str, order: list[str], without: list[str], *, stop: bool = True) -> int:
        """Begin to run the tests of a module on other source code of it; the id of the process that does."""
        self.put(module, source)
        self._verdict.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            os.setsid()
            try:
                self._run(module, order, without, stop=stop)
            finally:
                os._exit(0)
        return child

    def end(self, child: int) -> Run | None:
        """How it ended, once nothing of it is left; None where it had to be ended."""
        # macOS says "not permitted" of a group in which nobody lives any more.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
        if not self._verdict.exists():
            return None
        return Run(**json.loads(self._verdict.read_text()))

    def _run(self, module: str, order: list[str], without: list[str], *, stop: bool) -> None:
        os.chdir(self.place)
        sys.path.insert(0, str(self.place))
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # Two edits of one size within a second would share a compiled file.
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        # Any failure will do: not the smallest, and not one that another mutant had.
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutation", database=None, derandomize=True, phases=phases)
        # Ours are imported anew, from the copy.
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "alura_async")]:
            del sys.modules[name]
        told = _Told(order)
        began = time.monotonic()
        options = ["-q", "-p", "no:cacheprovider", "--hypothesis-profile=mutation", f"--timeout={TEST_LIMIT_S}"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning", *(["-x"] if stop else [])]
        code = pytest.main([*options, *(f"--deselect={test}" for test in without), *TESTS[module]], plugins=[told])
        run = Run(told.failed, time.monotonic() - began, code == pytest.ExitCode.OK, told.is_late)
        self._verdict.write_text(json.dumps(run._asdict()))


class _Told:
    """Puts the tests that failed for other mutants first, and keeps which fail."""

    def __init__(self, order: list[str]) -> None:
        self._order = {name: place for place, name in enumerate(order)}
        self.failed: list[str] = []
        self.is_late = False

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self._order.get(item.nodeid, len(self._order)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
            self.is_late |= "from pytest-timeout" in report.longreprtext


def survivors_of(module: str, mutants: list[Mutant], source: str, copies: list[Copy]) -> Iterator[tuple[Mutant, bool]]:
    """Run the tests on each mutant; give those that no test noticed, and, with True, those that just took too long.

    Raises:
        SystemExit: the tests cannot be run.
    """
    child = copies[0].start(module, source, [], [], stop=False)
    until = time.monotonic() + PLAIN_LIMIT_S
    while not _is_over(child) and time.monotonic() < until:
        time.sleep(0.01)
    plain = copies[0].end(child)
    if plain is None or not (plain.is_green or plain.failed):
        sys.exit(f"{module}: its tests cannot be run: see {copies[0].place / 'log.txt'}")
    for name in plain.failed:
        print(f"  left out, for it fails without a mutant: {name}")
    limit_s = 10 + 5 * plain.seconds
    order: list[str] = []
    waiting = list(mutants)
    free = list(copies)
    running: dict[int, tuple[Copy, Mutant, float]] = {}
    while waiting or running:
        while free and waiting:
            copy, mutant = free.pop(), waiting.pop(0)
            child = copy.start(module, mutant.apply(source), order, plain.failed)
            running[child] = copy, mutant, time.monotonic() + limit_s
        time.sleep(0.01)
        for child, (copy, mutant, until) in list(running.items()):
            if not _is_over(child) and time.monotonic() < until:
                continue
            run = copy.end(child)
            del running[child]
            free.append(copy)
            if run is None or run.is_green or run.is_late:
                yield mutant, run is None or run.is_late
            # The latest first: neighbours are often noticed by the same test.
            for name in run.failed if run is not None else ():
                order = [name, *(other for other in order if other != name)]


def _is_over(child: int) -> bool:
    return os.waitpid(child, os.WNOHANG)[0] == child


def main() -> int:
    """Run what is asked for; 1 where too much survives."""
    asked = argparse.ArgumentParser(prog="python -m tests.mutation")
    asked.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(TESTS)}; all by default")
    asked.add_argument("--sample", type=int, default=0, help="so many mutants of each module, by chance; 0 is all")
    asked.add_argument("--seed", type=int, default=0, help="of the sample")
    asked.add_argument("--workers", type=int, default=2, help="how many mutants are run at a time")
    asked.add_argument("--lines", default="", help="only mutants of these lines: 10-20")
    given = asked.parse_args()
    is_short = False
    with tempfile.TemporaryDirectory() as place:
        copies = [Copy(Path(place, str(number))) for number in range(given.workers)]
        for module in given.modules or TESTS:
            is_short |= _report(module, given, copies) < LEAST
    return is_short


def _report(module: str, given: Any, copies: list[Copy]) -> float:
    path = HERE / f"alura_async/core/{module}.py"
    source = path.read_text(encoding="utf-8")
    mutants = mutants_of(source)
    if given.lines:
        first, _, last = given.lines.partition("-")
        mutants = [mutant for mutant in mutants if int(first) <= mutant.line <= int(last or first)]
    everything = len(mutants)
    if 0 < given.sample < everything:
        mutants = random.Random(given.seed).sample(mutants, given.sample)
    print(f"{module}: {len(mutants)} of {everything} mutants, by {' '.join(TESTS[module])}", flush=True)
    began = time.monotonic()
    survived = late = 0
    for mutant, is_late in survivors_of(module, mutants, source, copies):
        survived += not is_late
        late += is_late
        verdict = "took too long" if is_late else "survived"
        print(f"  {verdict}: {module}.py:{mutant.line}: {mutant.told(source)}", flush=True)
    for copy in copies:
        copy.put(module, source)
    killed = len(mutants) - survived
    share = killed / max(1, len(mutants))
    seconds = time.monotonic() - began
    print(
        f"{module}: {killed} of {len(mutants)} killed, {share:.1%}, {late} of them by time, in {seconds:.0f} s",
        flush=True,
    )
    return share


if __name__ == "__main__":
    sys.exit(main())
