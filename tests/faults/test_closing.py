"""A client is closed, or its process forks, while orders are under way: what became of each is known, and true."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from alura_async import (
    AsyncAlura,
    ClosedError,
    Guard,
    Outcome,
    OutcomeUnknownError,
    Proposal,
    SettledBy,
    Timeouts,
)
from alura_async.sandbox import Sandbox
from tests.raw_server import RawServer

pytestmark = pytest.mark.anyio

WITHDRAW = "POST /user/withdraw"
CREATE = "POST /trading-sessions"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=6, limit=None) as sandbox:
        yield sandbox


@pytest.fixture
def settings(sandbox: Sandbox, tmp_path: Path) -> dict[str, Any]:
    return {"wallet": sandbox.wallet(), "base_url": sandbox.url, "journal": tmp_path / "journal.db"}


def executed(sandbox: Sandbox, operation: str) -> int:
    return sum(entry.operation == operation for entry in sandbox.ledger)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.001)


async def outcomes(settings: dict[str, Any]) -> Counter[Outcome | None]:
    """What the journal says after a restart."""
    async with AsyncAlura(**settings) as alura:
        entries = await alura.journal.entries()
        unresolved = {entry.id for entry in await alura.journal.unresolved()}
    assert unresolved == {entry.id for entry in entries if not entry.is_resolved}
    return Counter(entry.outcome for entry in entries)


def withdrawals(alura: AsyncAlura, number: int) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(alura.user.withdraw(amount=5 + more)) for more in range(number)]


async def test_closing_sees_all_orders_through(sandbox: Sandbox, settings: dict[str, Any]) -> None:
    sandbox.faults.add(f"delay-after=50ms on {WITHDRAW}")
    alura = AsyncAlura(**settings)
    orders = withdrawals(alura, 8)
    await until(lambda: executed(sandbox, WITHDRAW) > 0)
    await alura.close()
    assert [order.done() for order in orders] == [True] * 8
    assert sorted(order.result().amount for order in orders) == list(range(5, 13))
    assert executed(sandbox, WITHDRAW) == 8
    assert await outcomes(settings) == {Outcome.DONE: 8}


@pytest.mark.parametrize("how", ["cancelled", "out of time"])
async def test_closing_that_is_cut_short_leaves_orders_unknown(
    sandbox: Sandbox, settings: dict[str, Any], how: str
) -> None:
    sandbox.faults.add(f"hang-after x3 on {WITHDRAW}")
    alura = AsyncAlura(**settings, timeout=Timeouts(drain=0.05 if how == "out of time" else 5))
    orders = withdrawals(alura, 3)
    await until(lambda: executed(sandbox, WITHDRAW) == 3)
    closing = asyncio.ensure_future(alura.close())
    if how == "cancelled":
        await asyncio.wait([closing], timeout=0.02)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
    await asyncio.wait([closing])
    errors = await asyncio.gather(*orders, return_exceptions=True)
    assert [type(error) for error in errors] == [OutcomeUnknownError] * 3
    with pytest.raises(ClosedError):
        await alura.user.profile()
    assert await outcomes(settings) == {Outcome.UNKNOWN: 3}
    runner = sandbox._runner
    assert runner is not None
    assert runner.server is not None
    server = runner.server
    await until(lambda: not server.connections)


async def test_orders_that_have_not_left_are_not_sent_by_a_client_that_is_closed(
    sandbox: Sandbox, settings: dict[str, Any]
) -> None:
    sandbox.faults.add("hang on POST /auth/evm/challenge")
    alura = AsyncAlura(**settings, timeout=Timeouts(drain=0.02))
    orders = withdrawals(alura, 3)
    await until(lambda: len(sandbox.requests) > 0)
    await alura.close()
    errors = await asyncio.gather(*orders, return_exceptions=True)
    assert [getattr(error, "outcome", None) for error in errors] == [Outcome.NOT_SENT] * 3
    assert executed(sandbox, WITHDRAW) == 0
    assert await outcomes(settings) == {Outcome.NOT_SENT: 3}


async def test_closing_waits_until_a_lost_reply_is_settled(sandbox: Sandbox, settings: dict[str, Any]) -> None:
    sandbox.faults.add(f"reset-after x1 on {CREATE}")
    sandbox.faults.add("delay=50ms on GET /trading-sessions/active")
    alura = AsyncAlura(**settings)
    order = asyncio.ensure_future(alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC"))
    await until(lambda: any(request.path == "/trading-sessions/active" for request in sandbox.requests))
    await alura.close()
    assert order.done()
    session = await order
    async with AsyncAlura(**settings) as again:
        (entry,) = await again.journal.entries()
    assert (entry.outcome, entry.settled_by, entry.result_id) == (Outcome.DONE, SettledBy.READING, session.id)


async def test_closing_that_is_out_of_time_leaves_a_lost_reply_unsettled(
    sandbox: Sandbox, settings: dict[str, Any]
) -> None:
    sandbox.faults.add(f"reset-after x1 on {CREATE}")
    sandbox.faults.add("hang on GET /trading-sessions/active")
    alura = AsyncAlura(**settings, timeout=Timeouts(drain=0.02))
    order = asyncio.ensure_future(alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC"))
    await until(lambda: any(request.path == "/trading-sessions/active" for request in sandbox.requests))
    await alura.close()
    with pytest.raises(OutcomeUnknownError):
        await order
    assert executed(sandbox, CREATE) == 1
    assert await outcomes(settings) == {Outcome.UNKNOWN: 1}


@pytest.mark.parametrize("is_used", [True, False], ids=["used before", "never used"])
async def test_an_order_that_is_confirmed_after_its_client_was_closed_does_not_leave(
    raw: RawServer, is_used: bool
) -> None:
    asked, agreed = asyncio.Event(), asyncio.Event()

    async def confirm(proposal: Proposal) -> bool:
        asked.set()
        await agreed.wait()
        return True

    alura = AsyncAlura(token="t", base_url=raw.url, guard=Guard(confirm=confirm), timeout=Timeouts(drain=0.02))
    if is_used:
        await alura.health.basic()
    order = asyncio.ensure_future(alura.user.withdraw(amount=5))
    await asked.wait()
    await alura.close()
    agreed.set()
    with pytest.raises(ClosedError):
        await order
    assert WITHDRAW not in raw.paths()
    assert await alura._road.orders.intents.unresolved() == []


_FORKS_IN_AN_ORDER = """
import json, os, sys, threading, time, warnings
from alura_async import Alura, UnresolvedError
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of every fork beside threads
url, token, journal = sys.argv[1:]
alura = Alura(token=token, base_url=url, journal=journal or None)
order = threading.Thread(target=lambda: alura.user.withdraw(amount=5))
order.start()
sys.stdin.readline()  # the server has carried it out, and has not answered

def show(who):
    said = [[str(entry.outcome), entry.pid == os.getpid()] for entry in alura.journal.entries()]
    print(json.dumps([who, said, len(alura.journal.unresolved())]), flush=True)

child = os.fork()
if child == 0:
    try:
        show("child")
        try:
            alura.user.withdraw(amount=5)
            print("again", flush=True)
        except UnresolvedError:
            print("blocked", flush=True)
        alura.user.withdraw(amount=6)
        show("child")
        alura.close()
    finally:
        os._exit(0)
os.waitpid(child, 0)
order.join()
show("parent")
alura.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("journal", ["file", "memory"])
async def test_a_fork_in_the_middle_of_an_order_leaves_both_journals_right(
    sandbox: Sandbox, tmp_path: Path, journal: str
) -> None:
    async with AsyncAlura(sandbox.wallet(), base_url=sandbox.url) as alura:
        await alura.auth.login()
        token = alura._road.tokens.held
        assert token is not None
    sandbox.faults.add(f"delay-after=700ms x1 on {WITHDRAW}")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _FORKS_IN_AN_ORDER,
        sandbox.url,
        token.header.removeprefix("Bearer "),
        str(tmp_path / "journal.db") if journal == "file" else "",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    await until(lambda: executed(sandbox, WITHDRAW) == 1)
    output, errors = await process.communicate(b"\n")
    assert (process.returncode, errors) == (0, b"")
    if journal == "file":
        # The child shares it: it sees an order that is under way elsewhere, and does not make it again.
        assert output.decode().splitlines() == [
            '["child", [["None", false]], 1]',
            "blocked",
            '["child", [["done", true], ["None", false]], 1]',
            '["parent", [["done", false], ["done", true]], 0]',
        ]
        assert executed(sandbox, WITHDRAW) == 2
    else:
        # The child has a journal of its own, and what is the parent's is not in it.
        assert output.decode().splitlines() == [
            '["child", [], 0]',
            "again",
            '["child", [["done", true], ["done", true]], 0]',
            '["parent", [["done", true]], 0]',
        ]
        assert executed(sandbox, WITHDRAW) == 3
