"""Signing in: real signatures, challenges that work once, tokens that expire."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import jwt
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from alura_async.groups.auth import Challenge
from alura_async.sandbox import Sandbox
from alura_async.sandbox.refusals import HttpError
from alura_async.sandbox.signin import Challenges

from .caller import Caller

if TYPE_CHECKING:
    import aiohttp

pytestmark = pytest.mark.anyio

UNAUTHORIZED = {"statusCode": 401, "message": "Unauthorized"}


async def test_a_challenge_is_a_text_for_people_that_names_host_address_and_nonce(stranger: Caller) -> None:
    challenge = await stranger.challenge()
    lines = challenge["message"].splitlines()
    assert challenge["address"] == stranger.address
    assert stranger.sandbox.url.removeprefix("http://") in lines[0]
    assert stranger.address in lines[1]
    assert f"Nonce: {challenge['nonce']}" in lines
    assert "Issued At: 2024-05-01T12:30:15.000Z" in lines
    assert all(line.isprintable() for line in lines)


async def test_a_challenge_names_the_host_that_the_caller_used_unless_it_is_no_host(stranger: Caller) -> None:
    body = {"address": stranger.address}
    named = await stranger.call("POST", "/auth/evm/challenge", body, Host="sandbox.internal:8080")
    assert named.data["message"].startswith("sandbox.internal:8080 wants you")
    odd = await stranger.call("POST", "/auth/evm/challenge", body, Host="evil host")
    assert "evil" not in odd.data["message"]


async def test_signing_in_opens_a_funded_account(caller: Caller) -> None:
    profile = await caller.get("/user/profile")
    assert profile["address"] == caller.address
    assert profile["balance"] == profile["availableBalance"] == "10000"
    assert [entry.kind for entry in caller.sandbox.ledger] == ["account_opened", "signed_in"]


async def test_the_token_is_a_jwt_for_a_day(caller: Caller) -> None:
    reply = await caller.verify(caller.sign((await caller.challenge())["message"]))
    assert reply.data["ok"] is True
    assert reply.data["tokenType"] == "Bearer"
    assert reply.data["expiresIn"] == 86400
    claims = jwt.decode(reply.data["accessToken"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 86400
    assert reply.data["accessToken"] != caller.token


async def test_a_challenge_works_once(stranger: Caller) -> None:
    signature = stranger.sign((await stranger.challenge())["message"])
    assert (await stranger.verify(signature)).status == 201
    again = await stranger.verify(signature)
    assert again.status == 401
    assert again.data["message"] == "Challenge expired or already used"


async def test_a_challenge_expires_after_five_minutes(stranger: Caller) -> None:
    signature = stranger.sign((await stranger.challenge())["message"])
    stranger.sandbox.advance(minutes=5)
    assert (await stranger.verify(signature)).status == 401
    signature = stranger.sign((await stranger.challenge())["message"])
    stranger.sandbox.advance(minutes=4, seconds=59)
    assert (await stranger.verify(signature)).status == 201


@pytest.mark.parametrize("speed", [86_400, 1_000_000])
async def test_signing_in_is_as_easy_on_a_clock_that_runs_fast(http: aiohttp.ClientSession, speed: float) -> None:
    async with Sandbox(seed=7, speed=speed) as sandbox:
        somebody = Caller(sandbox, http)
        message = (await somebody.challenge())["message"]
        # By its clock, hours or days go by.
        await asyncio.sleep(0.2)
        token = (await somebody.verify(somebody.sign(message))).data["accessToken"]
        await asyncio.sleep(0.2)
        assert (await somebody.call("GET", "/user/profile", Authorization=f"Bearer {token}")).status == 200
        # To whoever compares with this machine's time, what it says is so.
        times = re.findall(r"^(?:Issued At|Expiration Time): (.*)$", message, re.MULTILINE)
        issued, expires = map(datetime.fromisoformat, times)
        assert abs(issued - datetime.now(UTC)) < timedelta(minutes=1)
        assert expires - issued == timedelta(minutes=5)


async def test_on_a_clock_that_runs_fast_too_a_jump_makes_challenges_and_tokens_expire(
    http: aiohttp.ClientSession,
) -> None:
    async with Sandbox(seed=7, speed=1_000_000) as sandbox:
        somebody = await Caller(sandbox, http).sign_in()
        signature = somebody.sign((await somebody.challenge())["message"])
        sandbox.advance(minutes=6)
        assert (await somebody.verify(signature)).status == 401
        assert (await somebody.call("GET", "/user/profile")).status == 200
        sandbox.advance(days=1)
        assert (await somebody.call("GET", "/user/profile")).status == 401


async def test_another_wallets_signature_is_refused_and_does_not_use_up_the_challenge(stranger: Caller) -> None:
    message = (await stranger.challenge())["message"]
    wrong = await stranger.verify(stranger.sign(message, stranger.sandbox.wallet()))
    assert wrong.status == 401
    assert wrong.data == {"statusCode": 401, "message": "Invalid signature", "error": "Unauthorized"}
    assert (await stranger.verify("0x" + "ff" * 65)).status == 401
    assert (await stranger.verify(stranger.sign(message))).status == 201


async def test_two_challenges_can_be_open_at_once(stranger: Caller) -> None:
    first, second = await stranger.challenge(), await stranger.challenge()
    assert first["nonce"] != second["nonce"]
    assert (await stranger.verify(stranger.sign(first["message"]))).status == 201
    assert (await stranger.verify(stranger.sign(second["message"]))).status == 201


def test_of_challenges_that_nobody_answers_the_oldest_are_forgotten() -> None:
    challenges, key = Challenges(7), "0x" + "11" * 32
    address = Account.from_key(key).address

    def signature(issued: Challenge) -> str:
        return "0x" + bytes(Account.sign_message(encode_defunct(text=issued.message), key).signature).hex()

    def others(count: int, now_ms: int) -> None:
        for number in range(count):
            challenges.issue(f"0x{number:040x}", "alura.test", now_ms)

    first = challenges.issue(address, "alura.test", 0)
    others(9_000, now_ms=0)
    challenges.answer(address, signature(first), 0)
    second = challenges.issue(address, "alura.test", 0)
    others(20_000, now_ms=0)
    with pytest.raises(HttpError, match="expired or already used"):
        challenges.answer(address, signature(second), 0)
    # One that is younger than those that expired stays.
    third = challenges.issue(address, "alura.test", 290_000)
    others(5_000, now_ms=310_000)
    challenges.answer(address, signature(third), 310_000)


async def test_nonces_and_wallets_depend_on_the_seed_alone(http: aiohttp.ClientSession) -> None:
    seen: list[tuple[str, str]] = []
    for seed in (3, 3, 4):
        async with Sandbox(seed=seed) as sandbox:
            somebody = Caller(sandbox, http)
            seen.append((somebody.key, (await somebody.challenge())["nonce"]))
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[2][0]
    assert seen[0][1] != seen[2][1]


async def test_calls_that_need_a_token_refuse_none_and_a_wrong_one(stranger: Caller) -> None:
    for headers in ({}, {"Authorization": "Bearer x.y.z"}, {"Authorization": "Basic eDp5"}):
        reply = await stranger.call("GET", "/user/profile", **headers)
        assert reply.status == 401
        assert reply.data == UNAUTHORIZED


async def test_a_token_expires_by_the_sandboxs_clock(caller: Caller) -> None:
    caller.sandbox.advance(seconds=86399)
    assert (await caller.call("GET", "/user/profile")).status == 200
    caller.sandbox.advance(seconds=1)
    assert (await caller.call("GET", "/user/profile")).status == 401


async def test_the_lifetime_of_tokens_can_be_set_and_all_can_be_made_invalid(caller: Caller) -> None:
    caller.sandbox.token_lifetime = 60
    reply = await caller.verify(caller.sign((await caller.challenge())["message"]))
    assert reply.data["expiresIn"] == 60
    caller.sandbox.advance(seconds=61)
    assert (
        await caller.call("GET", "/user/profile", Authorization=f"Bearer {reply.data['accessToken']}")
    ).status == 401
    assert (await caller.call("GET", "/user/profile")).status == 200
    caller.sandbox.expire_tokens()
    assert (await caller.call("GET", "/user/profile")).status == 401
    await caller.sign_in()


async def test_a_token_of_a_sandbox_with_another_seed_is_refused(caller: Caller, http: aiohttp.ClientSession) -> None:
    async with Sandbox(seed=8) as other:
        twin = await Caller(other, http, caller.key).sign_in()
        assert (await caller.call("GET", "/user/profile", Authorization=f"Bearer {twin.token}")).status == 401


async def test_the_trading_key_is_the_same_each_time_and_fits_its_address(caller: Caller) -> None:
    key = await caller.get("/auth/evm/trading-key")
    assert key == await caller.get("/auth/evm/trading-key")
    assert Account.from_key(key["privateKey"]).address == key["address"] != caller.address


async def test_a_referral_code_is_honoured_and_a_wrong_one_refused(caller: Caller, http: aiohttp.ClientSession) -> None:
    code = (await caller.post(f"/referrals/{caller.user_id}/code"))["code"]
    friend = await Caller(caller.sandbox, http).sign_in(referralCode=code)
    assert (await friend.get(f"/referrals/{friend.user_id}"))["referredBy"] == caller.user_id
    assert (await caller.get(f"/referrals/{caller.user_id}/stats"))["totalReferrals"] == 1
    other = Caller(caller.sandbox, http)
    signature = other.sign((await other.challenge())["message"])
    refused = await other.verify(signature, referralCode="NOSUCH")
    assert (refused.status, refused.data["message"]) == (400, "Invalid referral code")
    assert (await other.verify(signature)).status == 201
