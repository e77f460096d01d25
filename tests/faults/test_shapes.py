"""What decides by what it reads decides rightly in whatever shape the server answers: always against the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from alura_async import AsyncAlura, RateLimiter, Retry, Timeouts
from alura_async.flatten import flatten
from alura_async.sandbox import PERSONALITIES, Conditions, Sandbox

pytestmark = [pytest.mark.anyio, pytest.mark.waits]

START = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
CREATE: dict[str, Any] = {"budget": 100, "profit_target": 400, "loss_threshold": 50, "max_positions": 2}


@pytest.fixture(params=PERSONALITIES)
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=3, start=START, limit=None, conditions=Conditions.ideal(), shapes=request.param) as sandbox:
        yield sandbox


@pytest.fixture
async def alura(sandbox: Sandbox) -> AsyncIterator[AsyncAlura]:
    async with AsyncAlura(
        sandbox.wallet(),
        base_url=sandbox.url,
        timeout=Timeouts(call=2, create=2, read=1, settle=2),
        retry=Retry(base=0.02),
        limiter=RateLimiter.unlimited(),
    ) as alura:
        await alura.auth.login()
        yield alura


def executed(sandbox: Sandbox, kind: str) -> list[Any]:
    return [entry for entry in sandbox.ledger if entry.kind == kind]


def open_sessions(sandbox: Sandbox) -> set[str]:
    created = {entry.detail["session_id"] for entry in executed(sandbox, "session_created")}
    return created - {name for entry in sandbox.ledger for name in entry.detail.get("closed_sessions", ())}


async def test_it_gets_flat_by_what_it_reads_where_closing_everything_fails(
    alura: AsyncAlura, sandbox: Sandbox
) -> None:
    for asset in ("BTC", "ETH"):
        await alura.trading_sessions.create(asset=asset, **CREATE)
    sandbox.faults.add_all(
        "503 on POST /user/close-all-positions; reset-after x1 on POST /trading-sessions/trades/*/close"
    )
    await flatten(alura, patience=0.05)
    assert open_sessions(sandbox) == set()
    # Each by its own trade, which only the reads name, and none twice.
    assert len(executed(sandbox, "trade_closed")) == 2
    assert [request.status for request in sandbox.requests if request.path.endswith("/close")].count(400) == 0


async def test_a_create_whose_reply_was_lost_is_found_again(alura: AsyncAlura, sandbox: Sandbox) -> None:
    await alura.trading_sessions.create(asset="ETH", **CREATE)
    sandbox.faults.add("reset-after x1 on POST /trading-sessions")
    session = await alura.trading_sessions.create(asset="BTC", **CREATE)
    assert (session.asset_index, session.budget, session.max_positions) == (0, Decimal(100), 2)
    (listed,) = [one for one in await alura.trading_sessions.active() if one.asset_index == 0]
    assert session.id == listed.id
    assert len(executed(sandbox, "session_created")) == 2


async def test_a_close_whose_reply_was_lost_is_seen_to_be_done(alura: AsyncAlura, sandbox: Sandbox) -> None:
    await alura.trading_sessions.create(asset="BTC", **CREATE)
    trade = await alura.trading_sessions.current_trade()
    assert trade is not None
    assert trade.positions is not None
    sandbox.faults.add("reset-after x1 on POST /trading-sessions/positions/*")
    closing = await alura.trading_sessions.close_position(trade.positions[1].id)
    assert closing.position_id == trade.positions[1].id
    assert len(executed(sandbox, "position_closed")) == 1


async def test_all_pages_are_read_once_wherever_a_page_says_the_next_one_is(
    alura: AsyncAlura, sandbox: Sandbox
) -> None:
    session = await alura.trading_sessions.create(asset="BTC", **CREATE)
    assert session.trade_id is not None
    await alura.trading_sessions.close_trade(session.trade_id)
    logs = await alura.trading_sessions.logs(session.id)
    assert len(logs) > 4
    for limit in (1, 2, len(logs), 100):
        before = len(sandbox.requests)
        paged = [entry async for entry in alura.trading_sessions.iter_trade_logs(session.trade_id, limit=limit)]
        assert [(entry.id, entry.message) for entry in paged] == [(entry.id, entry.message) for entry in logs]
        # A page that says that it is the last one is believed; one that does not is followed by another read.
        pages = -(-len(logs) // limit)
        assert pages <= len(sandbox.requests) - before <= pages + 1
    ranks = [place.rank async for place in alura.leaderboard.iter_rankings(limit=90)]
    assert ranks == list(range(1, 252))
