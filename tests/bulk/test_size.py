"""Pulls at their full size: complete through faults, in memory that does not grow, and never in an exit's way.

The suite has a share of it; the whole is `nox -s bulk`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from alura_async import AsyncAlura, RateLimiter, TradingSessions
from alura_async.bulk import CandlePage, Candles
from alura_async.sandbox import Conditions, Quirks, Sandbox
from alura_async.sandbox.listing import BY_SYMBOL
from alura_async.sandbox.market import Market
from tests.bulk.puller import Digest

SCALE = float(os.environ.get("ALURA_BULK_SCALE", "0.02"))
SEED = 11
START = datetime(2026, 3, 2, tzinfo=UTC)
MINUTE_MS = 60_000
# Some trade every minute, some rest for many.
SYMBOLS = ["BTC", "ETH", "kPEPE", "GMX"]
FAULTS = ["429 1%", "500 1%", "reset 1%", "truncate 1%", "hang 1%"]
MOST_GROWN_MIB = 64
HERE = Path(__file__).parents[2]


def millis(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


def pull(sandbox: Sandbox, start_ms: int, end_ms: int) -> dict[str, Any]:
    """Pull in a process of its own, whose memory is nobody else's."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bulk.puller", sandbox.url, ",".join(SYMBOLS), str(start_ms), str(end_ms)],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def market_of(start_ms: int, end_ms: int) -> Digest:
    """What the sandbox's market has, asked for without a server."""
    market, digest = Market(SEED), Digest()
    step = 5000 * MINUTE_MS
    for symbol in SYMBOLS:
        for begin in range(start_ms, end_ms, step):
            until = min(begin + step, end_ms) - 1
            candles = market.candles(
                BY_SYMBOL[symbol], "1m", now_ms=millis(START), limit=5000, start_ms=begin, end_ms=until
            )
            digest.add(symbol, Candles.from_candles(candles, symbol, "1m"))
    return digest


@pytest.mark.waits
@pytest.mark.skipif(sys.platform == "win32", reason="memory is measured by what Unix has for it")
def test_a_million_candles_through_faults_are_all_there_once_and_memory_does_not_grow() -> None:
    # Some minutes have no trade, so more than a million of them.
    minutes = round(1_100_000 * SCALE) // len(SYMBOLS)
    end_ms = millis(START)
    figures: dict[int, dict[str, Any]] = {}
    for times in (1, 10) if SCALE >= 1 else (1,):
        start_ms = end_ms - times * minutes * MINUTE_MS
        with Sandbox.threaded(
            seed=SEED, start=START, speed=0, limit=None, quirks=Quirks(page_cap=500), kept=1000
        ) as sandbox:
            for fault in FAULTS:
                sandbox.faults.add(f"{fault} on GET /api/indicators/candles/*")
            figures[times] = pull(sandbox, start_ms, end_ms)
            hit = sum(request.fault is not None for request in sandbox.requests)
        assert hit > 0
        assert figures[times]["gaps"] == []
        assert figures[times]["digest"] == market_of(start_ms, end_ms).text
        assert figures[times]["grown_mib"] < MOST_GROWN_MIB
    print(
        {times: {name: figure[name] for name in ("candles", "pages", "grown_mib")} for times, figure in figures.items()}
    )


class Watch(logging.Handler):
    """Notes how long closes waited in their lane, and how long the requests of the pull took."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.waits: list[float] = []
        self.durations: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        route, duration = getattr(record, "route", ""), getattr(record, "duration_s", None)
        if route == TradingSessions.close_position.route.template and hasattr(record, "lane_wait_s"):
            self.waits.append(record.lane_wait_s)
        elif "candles" in route and duration is not None:
            self.durations.append(duration)


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Of what the client logs."""
    logger, handler = logging.getLogger("alura_async"), Watch()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.anyio
@pytest.mark.waits
async def test_closes_go_out_at_once_beside_a_pull_of_thousands_and_the_pull_completes(watch: Watch) -> None:
    requests, closes = max(300, round(20_000 * SCALE)), max(10, round(100 * min(1.0, SCALE)))
    page = 50
    end_ms = millis(START)
    start_ms = end_ms - math.ceil(requests / len(SYMBOLS)) * page * MINUTE_MS
    kind = Quirks(page_cap=page)
    async with (
        Sandbox(
            seed=SEED,
            start=START,
            speed=0,
            limit=150,
            window=1.0,
            quirks=kind,
            conditions=Conditions.ideal(),
            kept=1000,
        ) as sandbox,
        AsyncAlura(sandbox.wallet(), base_url=sandbox.url, limiter=RateLimiter(rate=300), timeout=60) as alura,
    ):
        sandbox.faults.add("delay=10ms on GET /api/indicators/candles/*")
        pages: list[CandlePage] = []
        is_further = asyncio.Event()

        async def pull_all() -> None:
            async for page in alura.bulk.candles(SYMBOLS, "1m", start=start_ms, end=end_ms):
                pages.append(page)
                is_further.set()

        pulling = asyncio.create_task(pull_all())
        for number in range(closes):
            # From its beginning nearly to its end.
            while len(pages) < 0.9 * requests * number / closes:
                is_further.clear()
                await is_further.wait()
            await alura.trading_sessions.create(budget=20, profit_target=40, asset="BTC", max_positions=1)
            trade = await alura.trading_sessions.current_trade()
            assert trade is not None
            for position in trade.positions or ():
                await alura.trading_sessions.close_position(position.id)
        assert not pulling.done()
        await pulling
        closed = [entry for entry in sandbox.ledger if entry.kind == "position_closed"]
    assert [page.error for page in pages if page.error] == []
    assert sum(len(page.candles) for page in pages) == market_of(start_ms, end_ms).candles
    assert len(closed) == len(watch.waits) == closes
    assert percentile(watch.waits, 99) <= 2 * percentile(watch.durations, 50)
    print(
        f"{len(watch.durations)} requests; lane wait at p99 {percentile(watch.waits, 99) * 1000:.1f} ms, "
        f"request {percentile(watch.durations, 50) * 1000:.1f} ms"
    )


def percentile(values: list[float], percent: int) -> float:
    """The smallest value that so many percent of them do not exceed."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
