"""Money: it moves once, and none appears or vanishes."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from alura_async.sandbox import LedgerEntry, Sandbox

from .caller import Caller, advance, quick
from .conftest import START

if TYPE_CHECKING:
    import aiohttp

pytestmark = pytest.mark.anyio

TX = "0x" + "1f" * 32
NOWHERE = "0x" + "ee" * 20


async def test_a_withdrawal_leaves_the_account(caller: Caller) -> None:
    transfer = await caller.post("/user/withdraw", {"amount": 12.345678})
    assert transfer["amount"] == "12.345678"
    assert transfer["destination"] == caller.address
    assert transfer["status"] == "completed"
    assert await caller.available() == Decimal("9987.654322")
    await caller.post("/user/withdraw", {"amount": 10, "destination": NOWHERE})
    entry = caller.sandbox.ledger[-1]
    assert (entry.kind, entry.operation, entry.account) == ("withdrawn", "POST /user/withdraw", caller.address)
    assert entry.detail["amount"] == 10
    assert entry.detail["destination"] == NOWHERE


async def test_what_is_sent_arrives_if_the_receiver_is_known(caller: Caller, sandbox: Sandbox) -> None:
    friend = await Caller(sandbox, caller.http).sign_in()
    await caller.post("/user/send-usdc", {"amount": 100, "destination": friend.address.lower()})
    assert await friend.available() == 10100
    await caller.post("/user/send-usdc", {"amount": 100, "destination": NOWHERE})
    assert await caller.available() == 9800
    await caller.post("/user/send-usdc", {"amount": 100, "destination": caller.address})
    assert await caller.available() == 9800
    assert [entry.detail["credited"] for entry in sandbox.ledger if entry.kind == "usdc_sent"] == [True, False, True]


async def test_what_is_refused_moves_nothing_and_is_not_in_the_ledger(caller: Caller, sandbox: Sandbox) -> None:
    before = sandbox.ledger
    for path, body in [
        ("/user/withdraw", {"amount": 10001}),
        ("/user/send-usdc", {"amount": 10001, "destination": NOWHERE}),
        ("/trading-sessions", quick(budget=10001)),
    ]:
        assert (await caller.call("POST", path, body)).data["message"] == "Insufficient balance"
    assert sandbox.ledger == before
    assert await caller.available() == 10000


async def test_an_empty_list_is_sent_as_one(caller: Caller) -> None:
    assert await caller.post("/user/fills/sync") == {"synced": 0, "fills": []}


async def test_a_reward_can_be_claimed_once(caller: Caller) -> None:
    claim = await caller.post("/user/claim-reward")
    assert (claim["amount"], claim["status"]) == ("5", "completed")
    assert await caller.available() == 10005
    again = await caller.call("POST", "/user/claim-reward")
    assert (again.status, again.data["message"]) == (400, "No rewards to claim")


async def test_referrals_earn_something_of_what_is_traded(caller: Caller, sandbox: Sandbox) -> None:
    code = (await caller.post(f"/referrals/{caller.user_id}/code"))["code"]
    assert (await caller.get("/user/profile"))["referralCode"] == code
    assert (await caller.call("POST", f"/referrals/{caller.user_id}/code")).status == 400
    assert await caller.post("/referrals/check", {"code": code.lower()}) == {
        "code": code.lower(),
        "valid": True,
        "userId": caller.user_id,
    }
    assert await caller.post("/referrals/check", {"code": "NOPE"}) == {"code": "NOPE", "valid": False}
    friend = await Caller(sandbox, caller.http).sign_in(referralCode=code)
    await friend.quick(budget=1000)
    stats = await caller.get(f"/referrals/{caller.user_id}/stats")
    volume = Decimal(stats["totalVolume"])
    assert volume == pytest.approx(Decimal(5000), rel=Decimal("0.0001"))
    earned = Decimal(stats["claimableRewards"])
    assert earned == pytest.approx(volume * Decimal("0.0002"), abs=Decimal("0.00001"))
    assert Decimal((await caller.post("/user/claim-reward"))["amount"]) == 5 + earned
    assert Decimal((await caller.get(f"/referrals/{caller.user_id}/stats"))["claimableRewards"]) == 0


async def test_a_deposit_is_credited_once(caller: Caller, sandbox: Sandbox) -> None:
    deposit = await caller.post("/usdc-verification/verify", {"txHash": TX})
    amount = Decimal(deposit["amount"])
    assert deposit["verified"] is True
    assert 10 <= amount <= 1000
    again = await caller.post("/usdc-verification/verify", {"txHash": TX.upper().replace("0X", "0x")})
    assert again == {**deposit, "message": "Transaction already verified"}
    assert await caller.available() == 10000 + amount
    assert await caller.get("/usdc-verification/total-deposited") == {"total": deposit["amount"], "deposits": 1}
    assert await caller.get("/usdc-verification/my-transactions") == [deposit]
    assert sum(entry.kind == "deposit_verified" for entry in sandbox.ledger) == 1
    thief = await Caller(sandbox, caller.http).sign_in()
    refused = await thief.call("POST", "/usdc-verification/verify", {"txHash": TX})
    assert (refused.status, refused.data["message"]) == (400, "Transaction belongs to another account")


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_money_appears_or_vanishes_over_a_random_walk(seed: int, http: aiohttp.ClientSession) -> None:
    chooser = random.Random(seed)
    async with Sandbox(seed=seed, start=START, speed=0, limit=None) as sandbox:
        sandbox.token_lifetime = 10**9
        callers = [await Caller(sandbox, http).sign_in() for _ in range(3)]
        for _ in range(150):
            await one_step(chooser, sandbox, callers)
            if chooser.random() < 0.1:
                assert await held(callers) == expected(sandbox.ledger) + await unrealized(callers)
        for caller in callers:
            await caller.post("/user/close-all-positions")
            assert await caller.available() == await caller.balance() >= 0
        assert await held(callers) == expected(sandbox.ledger)
        kinds = {entry.kind for entry in sandbox.ledger}
        assert {"session_created", "session_closed", "position_closed", "withdrawn", "usdc_sent"} <= kinds
        # The fills tell the same story as the ledger.
        fills = [fill for caller in callers for fill in (await caller.post("/user/fills/sync"))["fills"]]
        assert sum(Decimal(fill["realizedPnl"]) for fill in fills) == sum(realized(sandbox.ledger))


async def one_step(chooser: random.Random, sandbox: Sandbox, callers: list[Caller]) -> None:
    caller = chooser.choice(callers)
    amount = chooser.randrange(1, 10**9) / 10**6
    index = chooser.randrange(6)
    trade = await caller.get("/trading-sessions/current-trade")
    position = chooser.choice(trade["positions"])["id"] if trade else "none"
    path, body = chooser.choice(
        [
            ("/trading-sessions", quick(budget=amount, assetIndex=index, profitTarget=10 + amount / 10)),
            ("/trading-sessions", quick(budget=amount, assetIndex=index, lossThreshold=None)),
            ("/trading-sessions/advance", advance(amount=amount, assetIndex=index, executionStrategy="Degen")),
            ("/trading-sessions/advance", advance(amount=None, maxWalletBudget=True, assetIndex=index)),
            (f"/trading-sessions/positions/{position}/close", None),
            (f"/trading-sessions/positions/{position}/close", None),
            (f"/trading-sessions/trades/{trade['id'] if trade else 'none'}/close", None),
            ("/user/close-position", {"assetIndex": index}),
            ("/user/withdraw", {"amount": amount / 10}),
            ("/user/send-usdc", {"amount": amount, "destination": chooser.choice(callers).address}),
            ("/user/send-usdc", {"amount": amount / 10, "destination": NOWHERE}),
            ("/user/claim-reward", None),
            ("/usdc-verification/verify", {"txHash": f"0x{chooser.randrange(20):064x}"}),
            ("/user/fills/sync", None),
        ]
    )
    assert (await caller.call("POST", path, body)).status in (201, 400, 404)
    if chooser.random() < 0.4:
        sandbox.advance(seconds=chooser.choice([1, 17, 600, 7200, 86_400]))


async def held(callers: list[Caller]) -> Decimal:
    return sum([await caller.balance() for caller in callers], Decimal(0))


async def unrealized(callers: list[Caller]) -> Decimal:
    sessions: list[Any] = [session for caller in callers for session in await caller.get("/trading-sessions/active")]
    return sum((Decimal(session["unrealizedPnl"]) for session in sessions), Decimal(0))


def realized(ledger: list[LedgerEntry]) -> list[Decimal]:
    kinds = ("position_closed", "trade_closed", "asset_closed", "all_closed", "session_closed")
    return [entry.detail["realized_pnl"] for entry in ledger if entry.kind in kinds]


def expected(ledger: list[LedgerEntry]) -> Decimal:
    """What all accounts must hold, told from the ledger alone."""
    total = sum(realized(ledger), Decimal(0))
    for entry in ledger:
        if entry.kind == "account_opened":
            total += entry.detail["funds"]
        elif entry.kind in ("deposit_verified", "reward_claimed"):
            total += entry.detail["amount"]
        elif entry.kind == "withdrawn" or (entry.kind == "usdc_sent" and not entry.detail["credited"]):
            total -= entry.detail["amount"]
    return total
