"""An exchange that is not too kind: what trading costs, what comes late, what comes in pieces, and what fails."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from alura_async.errors import ConfigurationError
from alura_async.sandbox import Conditions, LedgerEntry, Sandbox
from alura_async.sandbox.listing import LISTED
from alura_async.sandbox.watch import NEVER_ABOVE, NEVER_BELOW

from .caller import Caller, advance, quick
from .conftest import START

if TYPE_CHECKING:
    import aiohttp

pytestmark = pytest.mark.anyio

FAILED = "Builder fee approval failed: HTTP request failed: status 429"
# An asset of which hardly anything is traded.
PURR = 47


async def trade(caller: Caller) -> Any:
    return await caller.get("/trading-sessions/current-trade")


async def refusal(caller: Caller, path: str, body: Any = None) -> tuple[int, str]:
    reply = await caller.call("POST", path, body)
    return reply.status, reply.data["message"]


def entries(sandbox: Sandbox, *kinds: str) -> list[LedgerEntry]:
    return [entry for entry in sandbox.ledger if entry.kind in kinds]


async def test_every_fill_pays_the_exchange_and_the_builder(caller: Caller, sandbox: Sandbox) -> None:
    await caller.quick(budget=1000, maxPositions=1)
    await caller.post("/user/close-all-positions")
    fills = (await caller.post("/user/fills/sync"))["fills"]
    for fill in fills:
        worth = Decimal(fill["size"]) * Decimal(fill["price"])
        assert Decimal(fill["fee"]) == pytest.approx(worth * Decimal("0.00065"), abs=Decimal("0.000001"))
    balances = sandbox.balances
    assert sum(Decimal(fill["fee"]) for fill in fills) == balances["fees"] + balances["builder"]
    assert balances["fees"] / balances["builder"] == pytest.approx(Decimal("2.25"), rel=Decimal("0.0001"))
    gained = sum(Decimal(fill["realizedPnl"]) - Decimal(fill["fee"]) for fill in fills)
    assert await caller.available() == await caller.balance() == 10000 + gained


async def test_large_orders_pay_more_for_it_and_the_spread_goes_against_both_sides(
    caller: Caller, sandbox: Sandbox
) -> None:
    sandbox.conditions = Conditions(taker_fee=0, builder_fee=0, depth=None)
    for budget in (10, 1000):
        await caller.quick(assetIndex=PURR, budget=budget, maxPositions=1)
        mark = Decimal((await trade(caller))["positions"][0]["markPrice"])
        await caller.post("/user/close-all-positions")
        for fill in (await caller.post("/user/fills/sync"))["fills"][-2:]:
            sign = 1 if fill["side"] == "buy" else -1
            worse = sign * (Decimal(fill["price"]) / mark - 1) * 10_000
            # 10 basis points for 2,778 USDC, which is PURR's usual minute; prices are rounded to a tick.
            usual = 1 + 10 * Decimal(budget * 5) / 2778
            assert -Decimal("0.01") < worse - usual < Decimal("0.01") + LISTED[PURR].tick / mark * 10_000


async def test_a_create_takes_effect_after_the_lag_at_the_price_of_that_moment(
    caller: Caller, sandbox: Sandbox
) -> None:
    sandbox.conditions = Conditions(lag="90s", half_spread=0, impact=0)
    session = await caller.quick()
    assert session["status"] == "pending"
    assert await trade(caller) == {
        "id": session["tradeId"],
        "sessionId": session["id"],
        "status": "pending",
        "positions": [],
        "unrealizedPnl": "0",
        "realizedPnl": "0",
        "openedAt": "2024-05-01T12:30:15Z",
    }
    assert await caller.available() == 9900
    assert await caller.balance() == 10000
    assert (await refusal(caller, "/trading-sessions", quick()))[0] == 400
    sandbox.advance(seconds=89.999)
    assert (await trade(caller))["status"] == "pending"
    sandbox.advance(seconds=0.001)
    (now,) = await caller.get("/api/indicators/candles/BTC/1m?limit=1")
    opened = await trade(caller)
    assert opened["status"] == "active"
    assert {position["entryPrice"] for position in opened["positions"]} == {now["c"]}
    assert {position["openedAt"] for position in opened["positions"]} == {"2024-05-01T12:31:45Z"}
    created, effect = sandbox.ledger[-2:]
    assert (created.kind, created.operation, created.detail["status"]) == (
        "session_created",
        "POST /trading-sessions",
        "pending",
    )
    assert (effect.kind, effect.operation, effect.cause) == ("positions_opened", "", created.number)
    assert effect.time == START + timedelta(seconds=90)


@pytest.mark.parametrize("way", ["position", "trade", "asset", "all"])
async def test_a_close_takes_effect_after_the_lag_and_cannot_be_asked_for_twice(
    caller: Caller, sandbox: Sandbox, way: str
) -> None:
    session = await caller.quick(maxPositions=1)
    position = (await trade(caller))["positions"][0]
    path, body, again = {
        "position": (f"/trading-sessions/positions/{position['id']}/close", None, "Position is already closing"),
        "trade": (f"/trading-sessions/trades/{session['tradeId']}/close", None, "Trade is already closing"),
        "asset": ("/user/close-position", {"assetIndex": 0}, "Position is already closing"),
        "all": ("/user/close-all-positions", None, None),
    }[way]
    sandbox.conditions = Conditions(lag=2)
    closing = await caller.post(path, body)
    assert (closing["status"], closing["closedPositions"], closing["message"]) == ("closing", 0, "Close accepted")
    assert closing["realizedPnl"] == "0"
    between = await trade(caller)
    assert (between["status"], between["positions"][0]["status"]) == ("closing", "closing")
    assert await caller.available() == 9900
    if again is None:
        assert (await caller.post(path, body))["closedPositions"] == 0
    else:
        assert await refusal(caller, path, body) == (400, again)
    sandbox.advance(seconds=2)
    assert await trade(caller) is None
    accepted = next(entry for entry in sandbox.ledger if entry.detail.get("status") == "closing")
    (effect,) = entries(sandbox, "positions_closed")
    assert (effect.cause, effect.operation) == (accepted.number, "")
    assert effect.detail["closed_sessions"] == [session["id"]]
    assert effect.time - accepted.time == timedelta(seconds=2)
    assert (
        await caller.available()
        == await caller.balance()
        == 10000
        + effect.detail["realized_pnl"]
        + next(entry.detail["realized_pnl"] for entry in entries(sandbox, "session_created"))
    )


async def test_a_trade_can_be_closed_before_it_is_opened(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.conditions = Conditions(lag=60)
    session = await caller.quick()
    sandbox.conditions = Conditions(lag=5)
    assert (await caller.post("/user/close-all-positions"))["status"] == "closing"
    assert (await trade(caller))["status"] == "closing"
    sandbox.advance(seconds=5)
    assert await trade(caller) is None
    assert await caller.available() == 10000
    sandbox.advance(seconds=120)
    assert entries(sandbox, "positions_opened") == []
    assert entries(sandbox, "positions_closed")[0].detail["closed_sessions"] == [session["id"]]


async def test_what_the_market_does_first_wins_over_a_close_that_is_on_its_way(
    caller: Caller, sandbox: Sandbox
) -> None:
    session = await caller.quick(profitTarget=1, lossThreshold=1)
    sandbox.conditions = Conditions(lag="20h")
    await caller.post(f"/trading-sessions/trades/{session['tradeId']}/close")
    sandbox.advance(hours=23)
    (ended,) = entries(sandbox, "session_closed")
    assert (ended.detail["reason"], ended.cause) == ("loss_threshold", None)
    assert ended.time < START + timedelta(hours=20)
    assert entries(sandbox, "positions_closed") == []


@pytest.mark.parametrize("early_ms", [0, 1, 1000])
async def test_a_close_that_takes_effect_first_wins_though_the_clock_jumps_over_both(
    caller: Caller, sandbox: Sandbox, early_ms: int
) -> None:
    session = await caller.quick(profitTarget=1, lossThreshold=1)
    async with Sandbox(seed=7, start=START, speed=0, limit=None) as other:
        witness = await Caller(other, caller.http, caller.key).sign_in()
        assert await witness.quick(profitTarget=1, lossThreshold=1) == session
        other.advance(hours=23)
        (ended,) = entries(other, "session_closed")
    sandbox.conditions = Conditions(lag=ended.time - START - timedelta(milliseconds=early_ms))
    await caller.post(f"/trading-sessions/trades/{session['tradeId']}/close")
    sandbox.advance(hours=23)
    # At the same moment the market is the first.
    ((kind, time),) = [(entry.kind, entry.time) for entry in entries(sandbox, "session_closed", "positions_closed")]
    assert kind == ("positions_closed" if early_ms else "session_closed")
    assert time == ended.time - timedelta(milliseconds=early_ms)


async def test_jitter_lets_a_later_create_overtake_an_earlier_one(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.conditions = Conditions(lag=1, jitter="1m")
    sessions = [(await caller.quick(assetIndex=index))["id"] for index in range(6)]
    sandbox.advance(seconds=61)
    effects = entries(sandbox, "positions_opened")
    order = [entry.detail["session_id"] for entry in effects]
    assert sorted(order) == sorted(sessions)
    assert order != sessions
    assert [entry.time for entry in effects] == sorted(entry.time for entry in effects)
    assert {entry.time > START + timedelta(seconds=1) for entry in effects} == {True}


async def test_a_close_can_come_in_parts(caller: Caller, sandbox: Sandbox) -> None:
    await caller.quick(maxPositions=1)
    position = (await trade(caller))["positions"][0]
    sandbox.conditions = Conditions(partial=0.25)
    closing = await caller.post("/user/close-all-positions")
    assert (closing["status"], closing["closedPositions"]) == ("closing", 0)
    (rest,) = (await trade(caller))["positions"]
    assert rest["status"] == "closing"
    for name in ("size", "margin"):
        assert Decimal(rest[name]) == pytest.approx(Decimal(position[name]) * 3 / 4, rel=Decimal("0.0001"))
    assert rest["exitPrice"]
    assert await refusal(caller, "/user/close-position", {"assetIndex": 0}) == (400, "Position is already closing")
    sandbox.advance(seconds=1)
    assert await trade(caller) is None
    fills = (await caller.post("/user/fills/sync"))["fills"]
    assert [fill["side"] == fills[0]["side"] for fill in fills] == [True, False, False]
    assert Decimal(fills[1]["size"]) + Decimal(fills[2]["size"]) == Decimal(fills[0]["size"])
    gained = sum(Decimal(fill["realizedPnl"]) - Decimal(fill["fee"]) for fill in fills)
    assert await caller.available() == 10000 + gained


async def test_what_is_more_than_a_minutes_turnover_is_filled_slice_by_slice(caller: Caller, sandbox: Sandbox) -> None:
    await caller.quick(assetIndex=PURR, budget=2000, maxPositions=1)
    sizes = [Decimal((await trade(caller))["positions"][0]["size"])]
    for _ in range(4):
        sandbox.advance(seconds=1)
        sizes.append(Decimal((await trade(caller))["positions"][0]["size"]))
    # 10,000 USDC are four slices of at most 2,778.
    assert sizes[0] < sizes[1] < sizes[2] < sizes[3] == sizes[4]
    assert sizes[3] == pytest.approx(sizes[0] * 4, rel=Decimal("0.01"))
    opened = entries(sandbox, "positions_opened")
    assert [entry.time - START for entry in opened] == [timedelta(seconds=number) for number in (1, 2, 3)]
    assert {entry.cause for entry in opened} == {entries(sandbox, "session_created")[0].number}
    assert await caller.available() == 8000
    await caller.post("/user/close-all-positions")
    sandbox.advance(seconds=10)
    assert len(entries(sandbox, "positions_closed")) == 3
    assert await caller.available() == await caller.balance()


async def test_closing_while_it_opens_gives_back_what_was_not_used(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.conditions = Conditions.ideal()
    sandbox.conditions = msgspec.structs.replace(sandbox.conditions, depth=1)
    await caller.quick(assetIndex=PURR, budget=2000, maxPositions=1)
    await caller.post("/user/close-all-positions")
    assert await trade(caller) is None
    assert await caller.available() == 10000
    sandbox.advance(minutes=1)
    assert entries(sandbox, "positions_opened") == []


async def test_the_first_close_can_fail_on_the_exchange_and_the_next_one_works(
    caller: Caller, sandbox: Sandbox
) -> None:
    session = await caller.quick()
    sandbox.conditions = Conditions(failing_closes=1)
    closing = await caller.post("/user/close-all-positions")
    assert (closing["status"], closing["closedPositions"]) == ("closing", 0)
    again = await trade(caller)
    assert (again["status"], {position["status"] for position in again["positions"]}) == ("active", {"active"})
    accepted, failed = sandbox.ledger[-2:]
    assert (accepted.kind, failed.kind, failed.cause) == ("all_closed", "close_failed", accepted.number)
    assert len(failed.detail["position_ids"]) == 3
    logs = await caller.get(f"/trading-sessions/{session['id']}/logs")
    assert [(entry["level"], entry["message"]) for entry in logs[-3:]] == [
        ("error", "Close failed on the exchange")
    ] * 3
    assert (await caller.post("/user/close-all-positions"))["closedPositions"] == 3
    assert await trade(caller) is None


@pytest.mark.parametrize("is_created", [False, True])
async def test_a_create_can_fail_at_the_builder_fee_with_or_without_a_session(
    caller: Caller, sandbox: Sandbox, is_created: bool
) -> None:
    sandbox.faults.add(f"builder-fee-{'after' if is_created else 'before'}=502 x1 on POST /trading-sessions")
    before = len(sandbox.ledger)
    assert await refusal(caller, "/trading-sessions", quick()) == (502, FAILED)
    assert len(await caller.get("/trading-sessions/active")) == is_created
    assert [entry.kind for entry in sandbox.ledger[before:]] == ["session_created"] * is_created
    assert await caller.post("/trading-sessions/advance", advance())


async def test_liquidation_comes_at_the_price_that_the_position_names(caller: Caller, sandbox: Sandbox) -> None:
    for index in range(8):
        body = advance(assetIndex=index, executionStrategy="Degen", strategyDuration="365D", amount=20)
        await caller.post("/trading-sessions/advance", body)
    active = await caller.get("/trading-sessions/active")
    named: dict[str, tuple[Decimal, str, str]] = {}
    for session in reversed(active):
        (position, *_) = (await trade(caller))["positions"]
        # Half of the least initial margin, which is 2 to 5 % of the value.
        distance = abs(Decimal(position["liquidationPrice"]) / Decimal(position["entryPrice"]) - 1)
        assert Decimal("0.02") < distance < Decimal("0.05")
        named[session["symbol"]] = (Decimal(position["liquidationPrice"]), position["side"], session["tradeId"])
        await caller.post(f"/trading-sessions/trades/{session['tradeId']}/close")
        await caller.post("/trading-sessions/advance", {**body, "assetIndex": session["assetIndex"]})
        break
    sandbox.advance(days=60)
    liquidated = [entry for entry in entries(sandbox, "session_closed") if entry.detail["reason"] == "liquidation"]
    assert liquidated
    await caller.sign_in()
    fills = (await caller.post("/user/fills/sync"))["fills"]
    for entry in liquidated:
        closing = next(fill for fill in fills[::-1] if fill["positionId"] == entry.detail["position_ids"][0])
        assert Decimal(closing["fee"]) == 0
        assert Decimal(closing["realizedPnl"]) < 0
        assert entry.detail["session_pnl"] == -20
    assert sandbox.balances["insurance"] > 0


async def test_degen_takes_no_more_leverage_than_the_asset_allows(caller: Caller) -> None:
    for index, leverage in ((0, "20"), (PURR, "10")):
        await caller.post("/trading-sessions/advance", advance(assetIndex=index, executionStrategy="Degen"))
        assert {position["leverage"] for position in (await trade(caller))["positions"]} == {leverage}


async def test_a_second_that_reaches_both_limits_counts_for_the_worse(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.conditions = Conditions.ideal()
    market, both = sandbox._world.market, 0
    start_ms = int(START.timestamp() * 1000)
    for begins_ms in range(start_ms, start_ms + 12_000, 1000):
        # The ones that are traded in nearly every second.
        for asset in LISTED[:6]:
            await caller.quick(assetIndex=asset.index, profitTarget=0.000001, lossThreshold=0.000001)
        before = len(sandbox.ledger)
        sandbox.advance(seconds=1)
        for entry in sandbox.ledger[before:]:
            asset = sandbox._world.trades[entry.detail["trade_id"]].asset
            entered = market.ticks(asset, begins_ms)
            rises = market.first_touch(asset, begins_ms, begins_ms + 1000, entered + 1, NEVER_BELOW) is not None
            falls = market.first_touch(asset, begins_ms, begins_ms + 1000, NEVER_ABOVE, entered - 1) is not None
            if rises and falls:
                both += 1
                assert entry.detail["reason"] == "loss_threshold"
                assert entry.detail["realized_pnl"] < 0
        await caller.post("/user/close-all-positions")
    assert both > 3


async def test_what_is_forgotten_is_unknown_and_numbers_go_on(http: aiohttp.ClientSession) -> None:
    async with Sandbox(seed=7, start=START, speed=0, limit=None, kept=30) as sandbox:
        caller = await Caller(sandbox, http).sign_in()
        sessions: list[Any] = []
        for _ in range(20):
            sessions.append(await caller.post("/trading-sessions/advance", advance(strategyDuration="365D")))
            await caller.post("/user/close-all-positions")
        assert [entry.number for entry in sandbox.ledger] == list(range(13, 43))
        found = [(await caller.call("GET", f"/trading-sessions/{session['id']}/logs")).status for session in sessions]
        assert found == [404] * 17 + [200] * 3
        close = f"/trading-sessions/trades/{sessions[0]['tradeId']}/close"
        assert await refusal(caller, close) == (404, "Trade not found")
        assert (await caller.get(f"/api/leaderboard/user/{caller.user_id}"))["trades"] == 20
        for _ in range(70):
            await caller.post("/trading-sessions/advance", advance(strategyDuration="365D"))
            await caller.post("/user/close-all-positions")
        synced = await caller.post("/user/fills/sync")
        assert (synced["synced"], len(synced["fills"])) == (180, 30)
        assert await caller.post("/user/fills/sync") == {**synced, "synced": 0}
        other = await Caller(sandbox, http).sign_in()
        await other.quick(maxPositions=3)
        # Those of another count too.
        assert len((await caller.post("/user/fills/sync"))["fills"]) == 27
        world = sandbox._world
        await other.post("/user/close-all-positions")
        assert (len(world.trades), len(world.positions), len(world.agenda)) == (3, 5, 0)
        # What was planned for next year and cancelled is not kept either.
        assert len(world.agenda._heap) <= 65


async def test_challenges_that_nobody_answers_do_not_pile_up(caller: Caller, sandbox: Sandbox) -> None:
    challenges = sandbox._server.services.challenges
    for number in range(10_010):
        challenges.issue(f"0x{number:040x}", "sandbox", 0)
    assert len(challenges._pending) == 10_000
    await caller.sign_in()


@pytest.mark.parametrize(
    "wrong",
    [
        {"taker_fee": -1},
        {"builder_fee": float("nan")},
        {"half_spread": 1001},
        {"impact": "much"},
        {"lag": "soon"},
        {"jitter": -1},
        {"lag": "400d"},
        {"depth": 0},
        {"partial": 0},
        {"partial": 1.5},
        {"failing_closes": True},
    ],
)
def test_conditions_that_make_no_sense_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Conditions(**wrong)
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        msgspec.structs.replace(Conditions(), **wrong)


def test_conditions_must_be_conditions() -> None:
    with pytest.raises(ConfigurationError, match="Conditions"):
        Sandbox(conditions="ideal")  # type: ignore[arg-type]
    sandbox = Sandbox()
    with pytest.raises(ConfigurationError, match="Conditions"):
        sandbox.conditions = None  # type: ignore[assignment]
    assert sandbox.conditions == Conditions()


def test_as_much_must_be_kept_as_one_entry() -> None:
    for kept in (0, -1, 1.5, True):
        with pytest.raises(ConfigurationError, match="kept="):
            Sandbox(kept=kept)  # type: ignore[arg-type]


async def test_while_trading_is_halted_nothing_is_filled_and_then_all_that_was_accepted(
    caller: Caller, sandbox: Sandbox
) -> None:
    held = await caller.quick(assetIndex=0, lossThreshold=None, profitTarget=500)
    sandbox.market.halt("BTC", over="10m")
    sandbox.advance(minutes=1)
    closing = await caller.post(f"/trading-sessions/trades/{held['tradeId']}/close")
    assert (closing["status"], closing["closedPositions"]) == ("closing", 0)
    sandbox.market.halt("ETH", over="4m")
    sandbox.advance(seconds=1)
    opening = await caller.quick(assetIndex=1)
    assert opening["status"] == "pending"
    before = len(sandbox.ledger)
    sandbox.advance(minutes=3, seconds=58)
    assert [entry.kind for entry in sandbox.ledger[before:]] == []
    sandbox.advance(minutes=20)
    effects = [(entry.kind, entry.time - START) for entry in sandbox.ledger[before : before + 2]]
    assert effects == [("positions_opened", timedelta(minutes=5)), ("positions_closed", timedelta(minutes=10))]


async def test_a_session_that_expires_in_a_halt_ends_after_it(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.conditions = Conditions.ideal()
    body = advance(assetIndex=0, strategyDuration="1D", executionStrategy="Conservative")
    await caller.post("/trading-sessions/advance", body)
    sandbox.market.halt("BTC", over="2h", at=START + timedelta(hours=23))
    sandbox.advance(days=2)
    (ended,) = entries(sandbox, "session_closed")
    assert (ended.detail["reason"], ended.time - START) == ("duration", timedelta(hours=25))


async def test_close_all_closes_what_is_traded_and_waits_for_what_is_halted(caller: Caller, sandbox: Sandbox) -> None:
    for index in (0, 1):
        await caller.quick(assetIndex=index, lossThreshold=None, profitTarget=500, maxPositions=1)
    sandbox.market.halt("BTC", over="10m")
    sandbox.advance(seconds=1)
    closing = await caller.post("/user/close-all-positions")
    assert (closing["status"], closing["closedPositions"]) == ("closing", 1)
    (left,) = await caller.get("/trading-sessions/active")
    assert (left["symbol"], left["status"]) == ("BTC", "closing")
    sandbox.advance(minutes=10)
    assert await caller.get("/trading-sessions/active") == []


def test_the_least_lag_is_not_none() -> None:
    assert Conditions(lag="0.2ms", jitter=timedelta(microseconds=1)).lag_ms == 1
    assert Conditions(lag="0.2ms", jitter=timedelta(microseconds=1)).jitter_ms == 1
    assert Conditions().lag_ms == 0
