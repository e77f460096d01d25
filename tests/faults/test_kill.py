"""A process is killed in the middle of an order: after a restart the journal says exactly what nobody can know."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from alura_async import Alura, BadRequestError, NotFoundError, Outcome, Timeouts, UnresolvedError
from alura_async.sandbox import Conditions, Sandbox

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.timeout(300),
]

# `nox -s faults` kills 360 processes.
SCALE = float(os.environ.get("ALURA_FAULT_SCALE", "0.04"))
KILLS = 120  # of each order

HERE = Path(__file__).parents[2]
PATHS = {"withdraw": "/user/withdraw", "create": "/trading-sessions", "close": "/user/close-position"}
# Every create and close takes a sandbox's second to show its effect.
CONDITIONS = Conditions(lag="1s")
ASSETS = ("BTC", "ETH", "SOL")


@pytest.mark.parametrize("order", PATHS)
def test_after_a_kill_the_journal_knows_what_nobody_can_know(
    order: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    kills = ceil(SCALE * KILLS)
    chance = random.Random(order)
    with Sandbox.threaded(seed=8, limit=None, funds=1_000_000, conditions=CONDITIONS) as sandbox, victims() as make:
        killed = Killed(sandbox, order, tmp_path, make)
        steps, seconds = killed.usual_length()
        for number in range(kills):
            # Two of three at a step, spread over all of them; the third one at any moment, also within the kernel.
            where = (
                {"step": 1 + round(steps * number / kills)} if number % 3 else {"after_s": chance.uniform(0, seconds)}
            )
            killed.kill(where)
    record_property("killed", f"{order}: {steps} steps, {seconds * 1000:.0f} ms, {dict(killed.seen)}")
    assert killed.seen["killed"] + killed.seen["over before"] == kills
    assert killed.seen["killed"] >= kills * 2 / 3 - 1


Make = Callable[[dict[str, Any]], dict[str, Any]]


@contextmanager
def victims() -> Generator[Make]:
    """Makes an order in a process of its own, and says whether that was killed."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.victim"],
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as zygote:
        assert zygote.stdin is not None
        assert zygote.stdout is not None

        def make(job: dict[str, Any]) -> dict[str, Any]:
            assert zygote.stdin is not None
            assert zygote.stdout is not None
            print(json.dumps(job), file=zygote.stdin, flush=True)
            said: dict[str, Any] = json.loads(zygote.stdout.readline())
            return said

        yield make
        zygote.stdin.close()


class Killed:
    """Orders of one kind, whose processes are killed."""

    def __init__(self, sandbox: Sandbox, order: str, folder: Path, make: Make) -> None:
        self.seen: Counter[str] = Counter()
        self._sandbox = sandbox
        self._order = order
        self._folder = folder
        self._make = make
        self._numbers = count(1)
        with Alura(sandbox.wallet(), base_url=sandbox.url) as alura:
            alura.auth.login()
            token = alura._core._road.tokens.held
        assert token is not None
        self._token = token.header.removeprefix("Bearer ")

    def usual_length(self) -> tuple[int, float]:
        """In how many steps, and in how many seconds, an order is over."""
        self._run({"counts": True})
        steps = self._run({"counts": True})["steps"]
        return steps, self._run({})["seconds"]

    def kill(self, where: dict[str, Any]) -> None:
        """Kill the process of an order, and restart."""
        self.seen["killed" if self._run(where)["killed"] else "over before"] += 1

    def _run(self, where: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        job: dict[str, Any] = {
            "url": self._sandbox.url,
            "token": self._token,
            "journal": str(self._folder / f"journal-{number}.db"),
            "order": self._order,
            "amount": number,
            "asset": ASSETS[number % len(ASSETS)],
        }
        # Every other journal is made by the process that is killed.
        with self._client(job["journal"] if number % 2 else None) as alura:
            assert alura.journal.entries() == []
            self._clear_the_way(job)
        before = len(self._sandbox.ledger)
        self._sandbox.requests.clear()
        said = self._make(job | where)
        self._until_quiet()
        executed = [done for done in self._sandbox.ledger[before:] if done.path == PATHS[self._order]]
        arrived = [request.request_id for request in self._sandbox.requests if request.executed]
        with self._client(job["journal"]) as alura:
            self._require_agreement(alura, job, len(executed), [name for name in arrived if name])
        return said

    def _client(self, journal: str | None = None) -> Alura:
        return Alura(token=self._token, base_url=self._sandbox.url, journal=journal, timeout=Timeouts(settle=0))

    def _clear_the_way(self, job: dict[str, Any]) -> None:
        """Bring about what the order is about, through a journal that is not its own."""
        if self._order == "withdraw":
            return
        with self._client() as other:
            self._sandbox.advance(seconds=2)
            if other.trading_sessions.active():
                other.user.close_all_positions()
                self._sandbox.advance(seconds=2)
            if self._order == "close":
                other.trading_sessions.create(budget=100, profit_target=40, asset=job["asset"])
                self._sandbox.advance(seconds=2)

    def _until_quiet(self) -> None:
        """Until the server has read and dealt with everything that was sent."""
        with self._client() as last:
            # Connections are accepted in their order.
            last.health.basic()
        runner = self._sandbox._runner
        assert runner is not None
        assert runner.server is not None
        until = time.monotonic() + 10
        while runner.server.connections or any(request.duration_ms is None for request in self._sandbox.requests):
            assert time.monotonic() < until
            time.sleep(0.001)

    def _require_agreement(self, alura: Alura, job: dict[str, Any], executed: int, arrived: list[str]) -> None:
        entries = alura.journal.entries()
        unresolved = alura.journal.unresolved()
        assert executed <= 1
        assert len(entries) <= 1
        assert arrived == [entry.id for entry in entries if executed]
        assert unresolved == [entry for entry in entries if entry.outcome in (None, Outcome.UNKNOWN)]
        if not entries:
            assert not executed
            self.seen["no entry, not done"] += 1
            return
        (entry,) = entries
        assert executed == 0 or entry.outcome in (None, Outcome.UNKNOWN, Outcome.DONE)
        assert executed == 1 or entry.outcome is not Outcome.DONE
        self.seen[f"{entry.outcome or 'unresolved'}, {'done' if executed else 'not done'}"] += 1
        if unresolved:
            self._require_block(alura, job, entry.id)

    def _require_block(self, alura: Alura, job: dict[str, Any], entry_id: str) -> None:
        """The same again is not sent, unless it is an exit."""
        self._sandbox.requests.clear()
        if self._order == "close":
            with suppress(BadRequestError, NotFoundError):  # there may be nothing left to be closed
                alura.user.close_position(asset=job["asset"])
            assert [request.path for request in self._sandbox.requests] == [PATHS["close"]]
            return
        again: Callable[[], object] = partial(alura.user.withdraw, amount=job["amount"])
        if self._order == "create":
            again = partial(alura.trading_sessions.create, budget=100, profit_target=40, asset=job["asset"])
        with pytest.raises(UnresolvedError) as blocked:
            again()
        assert blocked.value.entry_id == entry_id
        assert not self._sandbox.requests
