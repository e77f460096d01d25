"""Closes that meet each other: asked for twice, overtaken, or of what is still being opened."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from alura_async.sandbox import Conditions, LedgerEntry, Sandbox

from .caller import Caller, quick
from .conftest import START

pytestmark = pytest.mark.anyio

# An asset of which hardly anything is traded.
PURR = 47


def entries(sandbox: Sandbox, *kinds: str) -> list[LedgerEntry]:
    return [entry for entry in sandbox.ledger if entry.kind in kinds]


def ends(sandbox: Sandbox) -> list[tuple[str, str]]:
    return [(entry.kind, name) for entry in sandbox.ledger for name in entry.detail.get("closed_sessions", ())]


async def positions(caller: Caller) -> list[Any]:
    found: list[Any] = (await caller.get("/trading-sessions/current-trade"))["positions"]
    return found


async def logs(caller: Caller, session: Any) -> list[Any]:
    found: list[Any] = await caller.get(f"/trading-sessions/{session['id']}/logs")
    return found


async def test_closing_all_again_says_closing_until_all_is_closed(caller: Caller, sandbox: Sandbox) -> None:
    await caller.quick()
    sandbox.conditions = Conditions(lag=60)
    await caller.post("/user/close-all-positions")
    again = await caller.post("/user/close-all-positions")
    assert (again["status"], again["closedPositions"]) == ("closing", 0)
    assert again["message"] == "Positions are already closing"
    assert sandbox.ledger[-1].detail["status"] == "closing"
    sandbox.advance(seconds=60)
    last = await caller.post("/user/close-all-positions")
    assert (last["status"], last["message"]) == ("closed", "0 positions closed")


async def test_every_end_of_a_session_is_found_in_one_way(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.conditions = Conditions(depth=None)
    sliced = await caller.quick(assetIndex=PURR, budget=2000, profitTarget=500, lossThreshold=20)
    falls = (await positions(caller))[0]["side"] == "long"
    by_user = await caller.quick(assetIndex=1)
    by_limit = await caller.quick(assetIndex=2, profitTarget=0.1, lossThreshold=0.1)
    sandbox.advance(minutes=3)
    await caller.post(f"/trading-sessions/trades/{by_user['tradeId']}/close")
    assert ends(sandbox) == [("session_closed", by_limit["id"]), ("trade_closed", by_user["id"])]
    sandbox.conditions = Conditions(depth=0.5)
    (sandbox.market.crash if falls else sandbox.market.rally)("PURR/USDC", percent=8, over=5)
    sandbox.advance(seconds=5)
    began = next(entry for entry in entries(sandbox, "session_closed") if entry.detail["session_id"] == sliced["id"])
    assert (began.detail["status"], began.detail["closed_sessions"]) == ("closing", [])
    sandbox.advance(minutes=2)
    assert ends(sandbox)[2:] == [("positions_closed", sliced["id"])]


async def test_a_close_that_is_overtaken_is_named_by_what_overtook_it(caller: Caller, sandbox: Sandbox) -> None:
    session = await caller.quick(profitTarget=1, lossThreshold=1)
    sandbox.conditions = Conditions(lag="20h")
    first = (await positions(caller))[0]
    await caller.post(f"/trading-sessions/positions/{first['id']}/close")
    await caller.post(f"/trading-sessions/trades/{session['tradeId']}/close")
    accepted = [entry.number for entry in sandbox.ledger[-2:]]
    sandbox.advance(hours=23)
    (ended,) = entries(sandbox, "session_closed")
    assert ended.detail["superseded"] == accepted
    assert ended.detail["closed_sessions"] == [session["id"]]
    assert entries(sandbox, "positions_closed") == []


async def test_a_liquidation_names_the_close_that_it_overtook(caller: Caller, sandbox: Sandbox) -> None:
    session = await caller.quick(lossThreshold=None, profitTarget=500, maxPositions=1)
    sandbox.conditions = Conditions(lag="1h")
    await caller.post(f"/trading-sessions/trades/{session['tradeId']}/close")
    accepted = sandbox.ledger[-1].number
    is_long = (await positions(caller))[0]["side"] == "long"
    (sandbox.market.crash if is_long else sandbox.market.rally)("BTC", percent=60, over="5m")
    sandbox.advance(hours=2)
    (ended,) = entries(sandbox, "session_closed")
    assert (ended.detail["reason"], ended.detail["superseded"]) == ("liquidation", [accepted])


@pytest.mark.parametrize("way", ["position", "trade", "asset", "all"])
@pytest.mark.parametrize("failing", [0, 1])
async def test_a_close_ends_the_opening_at_its_acceptance(
    caller: Caller, sandbox: Sandbox, way: str, failing: int
) -> None:
    sandbox.conditions = Conditions(depth=0.2, failing_closes=failing)
    session = await caller.quick(assetIndex=PURR, budget=2000, maxPositions=1, lossThreshold=None, profitTarget=500)
    sandbox.advance(seconds=3)
    (before,) = await positions(caller)
    available = await caller.available()
    sandbox.conditions = Conditions(lag=5, depth=None, failing_closes=failing)
    path, body = {
        "position": (f"/trading-sessions/positions/{before['id']}/close", None),
        "trade": (f"/trading-sessions/trades/{session['tradeId']}/close", None),
        "asset": ("/user/close-position", {"assetIndex": PURR}),
        "all": ("/user/close-all-positions", None),
    }[way]
    await caller.post(path, body)
    released = sandbox.ledger[-1].detail["released"]
    assert released > 1000
    assert await caller.available() == available + released
    sandbox.advance(seconds=4.9)
    (between,) = await positions(caller)
    assert (between["size"], between["status"]) == (before["size"], "closing")
    sandbox.advance(minutes=2)
    active = await caller.get("/trading-sessions/active")
    assert len(active) == failing
    if failing:
        assert active[0]["status"] == "active"
        (after,) = await positions(caller)
        assert (after["size"], after["margin"]) == (before["size"], before["margin"])
    assert len(sandbox._world.agenda) == 0


async def test_the_reason_is_that_of_what_ended_the_session_not_of_what_was_filled_last(
    caller: Caller, sandbox: Sandbox
) -> None:
    sandbox.conditions = Conditions(depth=None)
    session = await caller.quick(assetIndex=PURR, budget=3000, profitTarget=500, lossThreshold=20)
    first = (await positions(caller))[0]
    # Sixty slices, while the rest is closed at once.
    sandbox.conditions = Conditions(depth=0.01)
    await caller.post(f"/trading-sessions/positions/{first['id']}/close")
    sandbox.conditions = Conditions(depth=None)
    move = sandbox.market.crash if first["side"] == "long" else sandbox.market.rally
    move("PURR/USDC", percent=8, over=5)
    sandbox.advance(minutes=3)
    (began,) = entries(sandbox, "session_closed")
    assert (began.detail["reason"], began.detail["status"]) == ("loss_threshold", "closing")
    assert ends(sandbox) == [("positions_closed", session["id"])]
    last = (await logs(caller, session))[-1]
    assert (last["message"], last["data"]["reason"]) == ("Session closed", "loss_threshold")


async def test_a_failed_close_is_no_reason_for_a_later_end(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.conditions = Conditions(failing_closes=1)
    session = await caller.quick(profitTarget=1, lossThreshold=1)
    await caller.post(f"/trading-sessions/trades/{session['tradeId']}/close")
    sandbox.advance(hours=23)
    last = (await logs(caller, session))[-1]
    assert (last["message"], last["data"]["reason"]) == ("Session closed", "loss_threshold")


async def test_a_limit_that_a_frozen_price_has_passed_strikes_when_trading_goes_on(
    caller: Caller, sandbox: Sandbox
) -> None:
    # The spread alone costs more than the threshold.
    sandbox.conditions = Conditions(half_spread=100)
    await caller.quick(lossThreshold=0.1)
    sandbox.market.halt("BTC", over="1h")
    sandbox.advance(minutes=59)
    assert entries(sandbox, "session_closed") == []
    sandbox.advance(minutes=2)
    (ended,) = entries(sandbox, "session_closed")
    assert ended.detail["reason"] == "loss_threshold"
    assert ended.time == START + timedelta(hours=1, seconds=1)


async def test_what_is_cancelled_before_it_is_opened_leaves_nothing_to_come(caller: Caller, sandbox: Sandbox) -> None:
    for _ in range(5):
        sandbox.conditions = Conditions(lag="365d")
        await caller.quick()
        sandbox.conditions = Conditions()
        await caller.post("/user/close-all-positions")
    assert len(sandbox._world.agenda) == 0
    assert await caller.available() == 10000


async def test_what_is_too_dear_to_be_bought_is_refused_in_words(caller: Caller, sandbox: Sandbox) -> None:
    while sandbox.market.price("BTC") < 10**9:
        sandbox.market.rally("BTC", percent=1000, over=1)
        sandbox.advance(seconds=1)
    position = None
    for _ in range(6):
        reply = await caller.call("POST", "/trading-sessions", quick(budget=10, maxPositions=1, lossThreshold=None))
        if reply.status == 400:
            break
        (position,) = await positions(caller)
        assert "E" not in position["size"]
        assert Decimal(position["size"]) > 0
        await caller.post("/user/close-all-positions")
        sandbox.market.rally("BTC", percent=1000, over=1)
        sandbox.advance(seconds=1)
    assert reply.data["message"] == "Budget too small to open a position in BTC at its price"


async def test_what_becomes_too_dear_during_the_lag_is_given_back(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.conditions = Conditions(lag="1m")
    session = await caller.quick(budget=10, maxPositions=1)
    for _ in range(8):
        sandbox.market.rally("BTC", percent=1000, over=1)
        sandbox.advance(seconds=1)
    sandbox.advance(minutes=1)
    (ended,) = entries(sandbox, "session_closed")
    assert (ended.detail["reason"], ended.detail["released"]) == ("size", 10)
    assert ends(sandbox) == [("session_closed", session["id"])]
    assert await caller.available() == 10000
