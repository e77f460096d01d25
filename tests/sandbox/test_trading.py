"""Sessions: what opens, what closes them, and what every step leaves behind."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from alura_async.sandbox import Conditions, Sandbox

from .caller import Caller, advance, quick
from .conftest import START

pytestmark = pytest.mark.anyio


async def logs(caller: Caller, session: Any) -> list[str]:
    return [entry["message"] for entry in await caller.get(f"/trading-sessions/{session['id']}/logs")]


async def test_a_quick_trade_opens_its_positions_at_the_markets_price(caller: Caller) -> None:
    session = await caller.quick()
    assert session["status"] == "active"
    assert session["kind"] == "quick"
    assert session["symbol"] == "BTC"
    assert [session[name] for name in ("budget", "profitTarget", "lossThreshold")] == ["100", "40", "5"]
    assert session["createdAt"] == "2024-05-01T12:30:15Z"
    assert await caller.get("/trading-sessions/active") == [session]
    trade = await caller.get("/trading-sessions/current-trade")
    assert (trade["id"], trade["sessionId"]) == (session["tradeId"], session["id"])
    (candle,) = await caller.get("/api/indicators/candles/BTC/1m?limit=1")
    assert len(trade["positions"]) == 3
    for position in trade["positions"]:
        assert position["markPrice"] == candle["c"]
        # It pays the spread, in whole ticks.
        sign = 1 if position["side"] == "long" else -1
        paid = sign * (Decimal(position["entryPrice"]) / Decimal(position["markPrice"]) - 1) * 10_000
        assert 1 <= paid < Decimal("1.03")
        assert position["status"] == "active"
        assert position["leverage"] == "5"
        notional = Decimal(position["size"]) * Decimal(position["entryPrice"])
        assert notional == pytest.approx(Decimal(position["margin"]) * 5, rel=Decimal("0.00001"))
    fees = -Decimal(trade["realizedPnl"])
    assert fees == pytest.approx(Decimal("0.324"), abs=Decimal("0.001"))
    assert sum(Decimal(position["margin"]) for position in trade["positions"]) + fees == 100
    assert len({position["side"] for position in trade["positions"]}) == 1
    assert await caller.available() == 9900
    assert await caller.balance() == 10000 - fees + Decimal(trade["unrealizedPnl"])


async def test_there_are_no_more_positions_than_the_budget_carries(caller: Caller) -> None:
    await caller.quick(budget=25)
    assert len((await caller.get("/trading-sessions/current-trade"))["positions"]) == 2
    await caller.quick(assetIndex=1, maxPositions=None)
    assert len((await caller.get("/trading-sessions/current-trade"))["positions"]) == 1


async def test_positions_move_with_the_market(caller: Caller, sandbox: Sandbox) -> None:
    await caller.quick(lossThreshold=None, profitTarget=500)
    before = (await caller.get("/trading-sessions/current-trade"))["positions"][0]
    sandbox.advance(hours=1)
    trade = await caller.get("/trading-sessions/current-trade")
    after = trade["positions"][0]
    assert after["markPrice"] != before["markPrice"]
    sign = 1 if after["side"] == "long" else -1
    moved = sign * Decimal(after["size"]) * (Decimal(after["markPrice"]) - Decimal(after["entryPrice"]))
    assert Decimal(after["unrealizedPnl"]) == pytest.approx(moved, abs=Decimal("0.000001"))
    total = sum(Decimal(position["unrealizedPnl"]) for position in trade["positions"])
    assert Decimal(trade["unrealizedPnl"]) == total
    assert Decimal((await caller.get("/trading-sessions/active"))[0]["unrealizedPnl"]) == total
    assert await caller.balance() == 10000 + total + Decimal(trade["realizedPnl"])
    assert await caller.available() == 9900


@pytest.mark.parametrize("index", range(6))
async def test_a_session_closes_at_its_target_or_its_threshold(caller: Caller, sandbox: Sandbox, index: int) -> None:
    sandbox.conditions = Conditions.ideal()
    session = await caller.quick(assetIndex=index, profitTarget=8, lossThreshold=8)
    sandbox.advance(hours=23)
    await caller.sign_in()
    for _ in range(30):
        if not await caller.get("/trading-sessions/active"):
            break
        sandbox.advance(hours=23)
        await caller.sign_in()
    entry = next(entry for entry in sandbox.ledger if entry.kind == "session_closed")
    pnl = entry.detail["realized_pnl"]
    reached = entry.detail["reason"]
    assert reached == ("profit_target" if pnl > 0 else "loss_threshold")
    # A tick of the price is the least step, so it is a little more, never less.
    assert Decimal(8) <= abs(pnl) < Decimal("8.05")
    assert await caller.available() == await caller.balance() == 10000 + pnl
    assert await caller.get("/trading-sessions/current-trade") is None
    said = await logs(caller, session)
    assert said[0] == "Session created"
    assert said[-1] == "Session closed"
    assert ("Profit target reached" if pnl > 0 else "Loss threshold reached") in said
    assert said.count("Position opened") == said.count("Position closed") == 3


async def test_it_closes_at_the_same_moment_however_the_clock_gets_there(caller: Caller, sandbox: Sandbox) -> None:
    """One jump, or many small steps with reads in between: the market is the same, so the outcome is."""
    bodies = [quick(assetIndex=index, profitTarget=15, lossThreshold=10) for index in range(4)]
    for body in bodies:
        await caller.post("/trading-sessions", body)
    sandbox.advance(days=20)
    jumped = [(entry.time, entry.detail["reason"]) for entry in sandbox.ledger if entry.kind == "session_closed"]
    assert jumped
    assert jumped == sorted(jumped)
    async with Sandbox(seed=7, start=START, speed=0, limit=None) as other:
        other.token_lifetime = 10**9
        walker = await Caller(other, caller.http).sign_in()
        for body in bodies:
            await walker.post("/trading-sessions", body)
        for _ in range(20 * 24 // 5):
            other.advance(hours=5)
            await walker.get("/trading-sessions/active")
        walked = [(entry.time, entry.detail["reason"]) for entry in other.ledger if entry.kind == "session_closed"]
    assert walked == jumped


async def test_a_session_without_a_threshold_ends_when_its_margin_is_used_up(caller: Caller, sandbox: Sandbox) -> None:
    for index in range(8):
        await caller.post(
            "/trading-sessions/advance",
            advance(assetIndex=index, executionStrategy="Degen", strategyDuration="365D"),
        )
    sandbox.advance(days=300)
    closed = [entry for entry in sandbox.ledger if entry.kind == "session_closed"]
    liquidated = [entry for entry in closed if entry.detail["reason"] == "liquidation"]
    assert liquidated
    # The whole budget: the margin, and the fees of the opening.
    assert all(entry.detail["session_pnl"] == -100 for entry in liquidated)
    assert sandbox.balances["insurance"] > 0
    await caller.sign_in()
    assert await caller.balance() >= 0


async def test_an_advance_trade_closes_when_its_time_is_over(caller: Caller, sandbox: Sandbox) -> None:
    session = await caller.post("/trading-sessions/advance", advance(strategyDuration="3D"))
    assert session["kind"] == "advance"
    assert session["amount"] == "100"
    assert session["expiresAt"] == "2024-05-04T12:30:15Z"
    sandbox.advance(days=2, hours=23)
    await caller.sign_in()
    assert len(await caller.get("/trading-sessions/active")) == 1
    sandbox.advance(days=5)
    await caller.sign_in()
    assert await caller.get("/trading-sessions/active") == []
    closed = sandbox.ledger[-2]
    assert (closed.kind, closed.detail["reason"], closed.operation) == ("session_closed", "duration", "")
    assert closed.time.isoformat() == "2024-05-04T12:30:15+00:00"


async def test_an_advance_trade_can_use_the_whole_wallet(caller: Caller) -> None:
    session = await caller.post("/trading-sessions/advance", advance(amount=None, maxWalletBudget=True))
    assert session["amount"] == "10000"
    assert await caller.available() == 0
    reply = await caller.call(
        "POST", "/trading-sessions/advance", advance(amount=None, maxWalletBudget=True, assetIndex=2)
    )
    assert (reply.status, reply.data["message"]) == (400, "Insufficient balance")


async def test_closing_the_last_position_ends_the_session(caller: Caller, sandbox: Sandbox) -> None:
    session = await caller.quick()
    sandbox.advance(seconds=20)
    positions = (await caller.get("/trading-sessions/current-trade"))["positions"]
    for left, position in zip((2, 1, 0), positions, strict=True):
        path = f"/trading-sessions/positions/{position['id']}/close"
        closing = await caller.post(path)
        assert closing["status"] == "closed"
        assert closing["positionId"] == position["id"]
        assert closing["closedPositions"] == 1
        again = await caller.call("POST", path)
        assert (again.status, again.data["message"]) == (400, "Position is already closed")
        trade = await caller.get("/trading-sessions/current-trade")
        if left:
            assert [one["status"] for one in trade["positions"]].count("active") == left
        else:
            assert trade is None
    assert await caller.get("/trading-sessions/active") == []
    assert (await logs(caller, session))[-1] == "Session closed by the user"
    assert sandbox.ledger[-1].detail["closed_sessions"] == [session["id"]]
    assert sandbox.ledger[-1].operation == "POST /trading-sessions/positions/:positionId/close"
    await caller.quick()


async def test_a_trade_closes_whole_and_once(caller: Caller) -> None:
    session = await caller.quick()
    path = f"/trading-sessions/trades/{session['tradeId']}/close"
    closing = await caller.post(path)
    assert (closing["tradeId"], closing["closedPositions"]) == (session["tradeId"], 3)
    again = await caller.call("POST", path)
    assert (again.status, again.data["message"]) == (400, "Trade is already closed")


async def test_a_session_that_is_past_its_threshold_already_closes_at_the_markets_price(
    caller: Caller, sandbox: Sandbox
) -> None:
    sandbox.conditions = Conditions(taker_fee=200, half_spread=0, impact=0)
    await caller.quick(lossThreshold=3)
    trade = await caller.get("/trading-sessions/current-trade")
    sandbox.advance(seconds=2)
    entry = sandbox.ledger[-1]
    assert (entry.kind, entry.detail["reason"]) == ("session_closed", "loss_threshold")
    assert (entry.detail["trade_id"], entry.time) == (trade["id"], START + timedelta(seconds=1))
    entered = Decimal(trade["positions"][0]["entryPrice"])
    left = (await caller.post("/user/fills/sync"))["fills"][-1]
    assert Decimal(left["price"]) == pytest.approx(entered, rel=Decimal("0.001"))


async def test_positions_close_by_asset_and_all_at_once(caller: Caller) -> None:
    for index in range(3):
        await caller.quick(assetIndex=index, maxPositions=2)
    closing = await caller.post("/user/close-position", {"assetIndex": 1})
    assert (closing["assetIndex"], closing["closedPositions"]) == (1, 2)
    again = await caller.call("POST", "/user/close-position", {"assetIndex": 1})
    assert (again.status, again.data["message"]) == (404, "No open position for this asset")
    for number, message in ((4, "4 positions closed"), (0, "0 positions closed")):
        closing = await caller.post("/user/close-all-positions")
        assert (closing["closedPositions"], closing["message"]) == (number, message)
    await caller.quick(maxPositions=1)
    assert (await caller.post("/user/close-all-positions"))["message"] == "1 position closed"
    assert await caller.get("/trading-sessions/active") == []


async def test_the_current_trade_is_the_newest_open_one(caller: Caller) -> None:
    first, second = await caller.quick(), await caller.quick(assetIndex=1)
    assert (await caller.get("/trading-sessions/current-trade"))["id"] == second["tradeId"]
    await caller.post(f"/trading-sessions/trades/{second['tradeId']}/close")
    assert (await caller.get("/trading-sessions/current-trade"))["id"] == first["tradeId"]


async def test_nobody_sees_or_closes_what_belongs_to_another(caller: Caller, sandbox: Sandbox) -> None:
    session = await caller.quick()
    position = (await caller.get("/trading-sessions/current-trade"))["positions"][0]
    other = await Caller(sandbox, caller.http).sign_in()
    for method, path in [
        ("GET", f"/trading-sessions/{session['id']}/logs"),
        ("GET", f"/trading-sessions/trades/{session['tradeId']}/logs"),
        ("POST", f"/trading-sessions/trades/{session['tradeId']}/close"),
        ("POST", f"/trading-sessions/positions/{position['id']}/close"),
        ("POST", f"/trading-sessions/positions/{position['id']}/close-signature"),
    ]:
        assert (await other.call(method, path)).status == 404
    assert (await other.call("POST", f"/referrals/{caller.user_id}/code")).status == 403
    assert await other.get("/trading-sessions/active") == []


async def test_the_cron_looks_at_every_active_session(caller: Caller) -> None:
    session = await caller.quick()
    assert (await caller.post("/trading-sessions/trigger-cron")) == {"ok": True, "message": "1 sessions checked"}
    assert (await logs(caller, session))[-1] == "Session checked"


async def test_the_cron_writes_into_the_callers_logs_alone(caller: Caller, sandbox: Sandbox) -> None:
    session = await caller.quick()
    other = await Caller(sandbox, caller.http).sign_in()
    assert (await other.post("/trading-sessions/trigger-cron"))["message"] == "1 sessions checked"
    assert "Session checked" not in await logs(caller, session)


async def test_the_whole_wallet_is_used_whatever_the_amount_says_and_the_reply_names_it(caller: Caller) -> None:
    session = await caller.post("/trading-sessions/advance", advance(amount=50, maxWalletBudget=True))
    assert session["amount"] == "10000"
    assert await caller.available() == 0


@pytest.mark.parametrize("name", ["profitTarget", "lossThreshold"])
async def test_a_limit_of_which_nothing_is_left_after_rounding_is_refused(caller: Caller, name: str) -> None:
    reply = await caller.call("POST", "/trading-sessions", quick(**{name: 1e-300}))
    assert (reply.status, reply.data["message"]) == (400, f"{name} must not be less than 0.000001")


async def test_a_number_of_positions_beyond_counting_is_refused(caller: Caller) -> None:
    reply = await caller.call("POST", "/trading-sessions", quick(maxPositions=1e300))
    assert (reply.status, reply.data["message"]) == (400, ["maxPositions must not be greater than 1000"])


async def test_a_close_signature_is_really_the_agents(caller: Caller) -> None:
    from eth_account import Account
    from eth_account.messages import encode_defunct

    await caller.quick()
    position = (await caller.get("/trading-sessions/current-trade"))["positions"][0]
    signed = await caller.post(f"/trading-sessions/positions/{position['id']}/close-signature")
    agent = (await caller.get("/auth/evm/trading-key"))["address"]
    text = encode_defunct(text=signed["transaction"])
    assert Account.recover_message(text, signature=signed["signature"]) == agent
    assert signed["expiresAt"] == "2024-05-01T12:31:15Z"


async def test_a_trades_logs_come_in_pages(caller: Caller) -> None:
    session = await caller.quick()
    for _ in range(41):
        await caller.post("/trading-sessions/trigger-cron")
    whole = await caller.get(f"/trading-sessions/{session['id']}/logs")
    path = f"/trading-sessions/trades/{session['tradeId']}/logs"
    first = await caller.get(path)
    assert (first["total"], first["page"], first["limit"], len(first["data"])) == (45, 1, 20, 20)
    pages = [(await caller.get(f"{path}?page={page}&limit=20"))["data"] for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [20, 20, 5, 0]
    assert [entry for page in pages for entry in page] == whole
    assert (await caller.get(f"{path}?limit=100"))["data"] == whole


async def test_rankings_come_in_pages_and_hold_their_order(caller: Caller) -> None:
    pages = [await caller.get(f"/api/leaderboard/rankings?page={page}&limit=100") for page in (1, 2, 3, 4)]
    places = [place for page in pages for place in page["data"]]
    assert {page["total"] for page in pages} == {251}
    assert [place["rank"] for place in places] == list(range(1, 252))
    assert len({place["userId"] for place in places}) == 251
    won = [Decimal(place["pnl"]) for place in places]
    assert won == sorted(won, reverse=True)
    mine = await caller.get(f"/api/leaderboard/user/{caller.user_id}")
    assert mine in places
    assert mine["address"] == caller.address
    assert (await caller.get("/api/leaderboard/stats"))["totalUsers"] == 251


async def test_fills_are_new_once(caller: Caller) -> None:
    await caller.quick(maxPositions=2)
    first = await caller.post("/user/fills/sync")
    assert first["synced"] == len(first["fills"]) == 2
    await caller.post("/user/close-all-positions")
    second = await caller.post("/user/fills/sync")
    assert (second["synced"], len(second["fills"])) == (2, 4)
    assert (await caller.post("/user/fills/sync"))["synced"] == 0
    opening, closing = second["fills"][0], second["fills"][2]
    assert {opening["side"], closing["side"]} == {"buy", "sell"}
    assert opening["positionId"] == closing["positionId"]
    assert len({fill["id"] for fill in second["fills"]}) == 4
