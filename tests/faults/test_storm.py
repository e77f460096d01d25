"""More calls than the server allows, or than there are turns: no storm, exits go first, a bulk pull goes on."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import groupby

import pytest

from alura_async import AsyncAlura, RateLimitedError, RateLimiter
from alura_async.sandbox import Conditions, Sandbox

pytestmark = pytest.mark.anyio

# The whole proof is `nox -s faults`.
SCALE = float(os.environ.get("ALURA_FAULT_SCALE", "0.1"))
TASKS = 1000
QUEUED = round(10_000 * SCALE)
BURST = 10
START = datetime(2026, 1, 5, 12, tzinfo=UTC)
CANDLES = "/api/indicators/candles/"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A server without a limit of its own."""
    async with Sandbox(seed=5, start=START, speed=0, limit=None, conditions=Conditions.ideal()) as server:
        yield server


def kinds(sandbox: Sandbox, since: int = 0) -> list[str]:
    """What the server was asked for, in order."""
    return [
        "candles" if request.path.startswith(CANDLES) else "close" if request.path.endswith("/close") else "trading"
        for request in list(sandbox.requests)[since:]
    ]


@pytest.mark.waits
async def test_a_thousand_tasks_do_not_storm_a_server_that_has_had_enough() -> None:
    """They may go faster than the server allows, so it is its own words that hold them back."""
    # A window of a second is the shortest that the server's headers can tell.
    allowed = round(TASKS / (1 + 3 * SCALE)) + 1
    # What is under way when the server says so is what exceeds its limit: here, too, a burst at most.
    limiter = RateLimiter(rate=2000, burst=BURST, concurrency=BURST)
    async with (
        Sandbox(seed=5, speed=0, limit=allowed, window=1.0) as server,
        AsyncAlura(base_url=server.url, limiter=limiter, timeout=60) as alura,
    ):
        results = await asyncio.gather(*[alura.health.basic() for _ in range(TASKS)])
        statuses = [request.status for request in server.requests]
    assert len(results) == TASKS
    assert statuses.count(200) == TASKS
    # It counts in fixed windows: those that it refuses in a row came in one of them.
    refused = [len(list(group)) for status, group in groupby(statuses) if status == 429]
    assert max(refused, default=0) <= BURST
    assert len(statuses) <= TASKS * 1.1


async def test_a_server_that_refuses_everything_is_asked_little_more_often_than_it_is_called(sandbox: Sandbox) -> None:
    sandbox.faults.add("429 on GET /health")
    async with AsyncAlura(base_url=sandbox.url) as alura:
        results = await asyncio.gather(*[alura.health.basic() for _ in range(TASKS)], return_exceptions=True)
    assert {type(result) for result in results} == {RateLimitedError}
    assert TASKS < len(sandbox.requests) <= TASKS * 1.1


@pytest.mark.waits
async def test_one_close_at_a_time_overtakes_all_queued_candles(sandbox: Sandbox) -> None:
    limiter = RateLimiter(rate=100, burst=BURST)
    async with AsyncAlura(sandbox.wallet(), base_url=sandbox.url, limiter=limiter, timeout=600) as alura:
        traded = [
            await alura.trading_sessions.create(budget=20, profit_target=40, asset=asset)
            for asset in ("BTC", "ETH", "SOL")
        ]
        pull = [asyncio.create_task(alura.indicators.candles("BTC", "1m", limit=1)) for _ in range(QUEUED)]
        while "candles" not in kinds(sandbox):
            await asyncio.sleep(0)
        overtaken: list[int] = []
        for session in traded:
            asked = len(sandbox.requests)
            await alura.trading_sessions.close_trade(session.trade_id or "")
            overtaken.append(kinds(sandbox, asked).index("close"))
        waiting = sum(not task.done() for task in pull)
        for task in pull:
            task.cancel()
        await asyncio.gather(*pull, return_exceptions=True)
    closed = [session_id for entry in sandbox.ledger for session_id in entry.detail.get("closed_sessions", ())]
    assert closed == [session.id for session in traded]
    # Those that were under way already may still arrive before it.
    assert max(overtaken) <= 16
    assert waiting > QUEUED / 2


@pytest.mark.waits
async def test_a_bulk_pull_goes_on_under_a_steady_stream_of_trading_calls(sandbox: Sandbox) -> None:
    candles = max(30, round(300 * SCALE))
    limiter = RateLimiter(rate=400, burst=BURST)
    async with AsyncAlura(sandbox.wallet(), base_url=sandbox.url, limiter=limiter) as alura:
        await alura.auth.login()
        is_over = False

        async def trade() -> None:
            while not is_over:
                await alura.trading_sessions.active()

        # More than there are slots, so that one of them always waits for its turn.
        stream = [asyncio.create_task(trade()) for _ in range(40)]
        began = len(sandbox.requests)
        await asyncio.gather(*[alura.indicators.candles("BTC", "1m", limit=1) for _ in range(candles)])
        asked = kinds(sandbox, began)
        is_over = True
        await asyncio.gather(*stream)
    counted = Counter(asked)
    assert counted["candles"] == candles
    # Nine trading calls for each: the stream is not held up, and the pull is not starved.
    assert 7 * candles <= counted["trading"] <= 11 * candles
    longest = max(len(list(group)) for kind, group in groupby(asked) if kind == "trading")
    # Nine in a row, and what the ways of different connections change of the order.
    assert longest <= 9 + 16
