"""Money: it moves once, and none appears or vanishes."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from alura_async.errors import ConfigurationError
from alura_async.sandbox import Conditions, Sandbox

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
    sandbox.conditions = Conditions.ideal()
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


async def test_what_everybody_holds_can_be_read_and_adds_up_to_nothing(caller: Caller, sandbox: Sandbox) -> None:
    await caller.quick()
    await caller.post("/user/withdraw", {"amount": 30})
    balances = sandbox.balances
    assert balances[caller.address] == 9870
    assert balances[f"{caller.address} rewards"] == 5
    assert balances["chain"] == 30
    assert balances["grants"] == -10000
    assert balances["fees"] > balances["builder"] > 0
    assert balances[f"{caller.address} margin"] == 100 - balances["fees"] - balances["builder"]
    assert sum(balances.values()) == 0


@pytest.mark.parametrize("amount", [b"1e300", b"1.7e308", b"123456789012345678901234567890.123456789"])
async def test_absurd_amounts_are_refused_like_any_that_nobody_has(caller: Caller, amount: bytes) -> None:
    for path, body in [
        ("/trading-sessions", b'{"budget":%s,"profitTarget":40,"assetIndex":0}'),
        (
            "/trading-sessions/advance",
            b'{"amount":%s,"executionStrategy":"Degen","strategyDuration":"1D","assetIndex":0}',
        ),
        ("/user/withdraw", b'{"amount":%s}'),
    ]:
        reply = await caller.call("POST", path, body % amount)
        assert (reply.status, reply.data["message"]) == (400, "Insufficient balance")
    wide = b'{"budget":100,"profitTarget":0.000001,"lossThreshold":%s,"assetIndex":0,"maxPositions":%d}'
    assert (await caller.call("POST", "/trading-sessions", wide % (amount, 1000))).status == 201
    caller.sandbox.advance(days=3)
    await caller.sign_in()
    assert await caller.get("/trading-sessions/active") == []


@pytest.mark.parametrize("funds", [-1, 10**12 + 1, Decimal("1e300"), Decimal("0.0000001"), Decimal("NaN")])
def test_funds_that_cannot_be_booked_are_refused(funds: Decimal) -> None:
    with pytest.raises(ConfigurationError, match="funds="):
        Sandbox(funds=funds)


async def test_a_trillion_can_be_traded(http: aiohttp.ClientSession) -> None:
    async with Sandbox(seed=7, start=START, speed=0, limit=None, funds=10**12) as sandbox:
        rich = await Caller(sandbox, http).sign_in()
        for index in (0, 47):
            body = advance(amount=4 * 10**11, executionStrategy="Degen", assetIndex=index)
            await rich.post("/trading-sessions/advance", body)
        sandbox.advance(minutes=2)
        await rich.post("/user/close-all-positions")
        sandbox.advance(minutes=2)
        assert await rich.get("/trading-sessions/active") == []
        assert await rich.available() == await rich.balance() >= 2 * 10**11
        assert sum(sandbox.balances.values()) == 0
