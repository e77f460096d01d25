"""What the server refuses, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from alura_async.sandbox import Sandbox

from .caller import Caller, advance, quick

pytestmark = pytest.mark.anyio

BUDGET = ["budget must not be less than 10", "budget must be a number conforming to the specified constraints"]
INDEX = ["assetIndex must not be less than 0", "assetIndex must be an integer number"]
STRATEGY = "executionStrategy must be one of the following values: Conservative, Aggressive, Degen"
DURATION = "strategyDuration must be one of the following values: 1D, 3D, 7D, 30D, 90D, 365D"


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (quick(budget=9.99), BUDGET[:1]),
        (quick(budget="100"), BUDGET),
        (quick(budget=None), BUDGET),
        (quick(budget=True), BUDGET),
        (quick(profitTarget=500.01), ["profitTarget must not be greater than 500"]),
        (quick(profitTarget=0), ["profitTarget must be a positive number"]),
        (quick(assetIndex=1.5), INDEX[1:]),
        (quick(assetIndex="0"), INDEX),
        (quick(assetIndex=-1), INDEX[:1]),
        (quick(maxPositions=0), ["maxPositions must not be less than 1"]),
        (quick(lossThreshold=-5), ["lossThreshold must be a positive number"]),
        (quick(foo=1, bar=2), ["property foo should not exist", "property bar should not exist"]),
        (quick(foo=1, budget=1), ["property foo should not exist", BUDGET[0]]),
        (b'{"budget":1e999,"profitTarget":40,"assetIndex":0}', BUDGET),
    ],
)
async def test_a_quick_trade_is_validated_in_class_validators_words(
    caller: Caller, body: Any, messages: list[str]
) -> None:
    reply = await caller.call("POST", "/trading-sessions", body)
    assert reply.status == 400
    assert reply.data == {"statusCode": 400, "message": messages, "error": "Bad Request"}
    assert await caller.get("/trading-sessions/active") == []


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (advance(executionStrategy="degen"), [STRATEGY]),
        (advance(executionStrategy=None, strategyDuration="2D"), [STRATEGY, DURATION]),
        (advance(amount=5), ["amount must not be less than 10"]),
        (advance(maxWalletBudget="yes"), ["maxWalletBudget must be a boolean value"]),
        (
            advance(amount=None),
            ["amount must not be less than 10", "amount must be a number conforming to the specified constraints"],
        ),
    ],
)
async def test_an_advance_trade_is_validated_too(caller: Caller, body: Any, messages: list[str]) -> None:
    reply = await caller.call("POST", "/trading-sessions/advance", body)
    assert (reply.status, reply.data["message"]) == (400, messages)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/auth/evm/challenge", {"address": "0x12"}, ["address must be an Ethereum address"]),
        ("/user/withdraw", {"amount": 0}, ["amount must be a positive number"]),
        ("/user/withdraw", {"amount": 1e-9}, "amount must not be less than 0.000001"),
        ("/user/withdraw", {"amount": 10_000.000001}, "Insufficient balance"),
        ("/user/send-usdc", {"amount": 1}, ["destination must be an Ethereum address"]),
        ("/user/send-usdc", {"amount": 1e300, "destination": "0x" + "ab" * 20}, "Insufficient balance"),
        ("/trading-sessions", quick(budget=10_001), "Insufficient balance"),
        ("/trading-sessions", quick(assetIndex=999), "Unknown asset index: 999"),
        ("/referrals/check", {"code": ""}, ["code should not be empty"]),
        ("/referrals/check", {}, ["code should not be empty", "code must be a string"]),
        (
            "/usdc-verification/verify",
            {"txHash": "0x1"},
            ["txHash must match /^0x[0-9a-fA-F]{64}$/ regular expression"],
        ),
        ("/user/close-all-positions", {"force": True}, ["property force should not exist"]),
        ("/user/close-position", b"[]", "Unexpected token in JSON at position 0"),
        ("/user/close-position", b"{", "Unexpected token in JSON"),
    ],
)
async def test_other_bodies_are_refused_too(caller: Caller, path: str, body: Any, message: Any) -> None:
    reply = await caller.call("POST", path, body)
    assert (reply.status, reply.data["message"]) == (400, message)


async def test_a_body_that_is_not_announced_as_json_is_not_read(caller: Caller) -> None:
    reply = await caller.call("POST", "/user/close-position", {"assetIndex": 0}, **{"Content-Type": "text/plain"})
    assert (reply.status, reply.data["message"]) == (400, INDEX)


async def test_a_second_session_for_an_asset_is_refused_in_the_documented_words(caller: Caller) -> None:
    await caller.quick()
    for path, body in (("/trading-sessions", quick()), ("/trading-sessions/advance", advance(assetIndex=0))):
        reply = await caller.call("POST", path, body)
        assert reply.status == 400
        assert reply.data == {
            "statusCode": 400,
            "message": "Duplicate asset index: you already have an active trading session for this asset",
            "error": "Bad Request",
        }
    await caller.quick(assetIndex=1)
    assert len(await caller.get("/trading-sessions/active")) == 2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/api/indicators/candles/BTC/2m", ["interval must be one of the following values: 1m, 5m, 15m, 1h, 4h, 1d"]),
        (
            "/api/indicators/candles/history/BTC?interval=2m",
            ["interval must be one of the following values: 1m, 5m, 15m, 1h, 4h, 1d"],
        ),
        ("/api/indicators/candles/BTC/1m?limit=5001", ["limit must not be greater than 5000"]),
        ("/api/indicators/candles/BTC/1m?startTime=x", ["startTime must be an integer number"]),
        ("/api/leaderboard/rankings?page=0", ["page must not be less than 1"]),
        ("/api/leaderboard/rankings?limit=101", ["limit must not be greater than 100"]),
    ],
)
async def test_queries_and_intervals_are_validated(stranger: Caller, path: str, message: list[str]) -> None:
    reply = await stranger.call("GET", path)
    assert (reply.status, reply.data["message"]) == (400, message)


async def test_unknown_routes_and_things_are_404(caller: Caller) -> None:
    for method, path, message in [
        ("GET", "/x", "Cannot GET /x"),
        ("PUT", "/health", "Cannot PUT /health"),
        ("POST", "/health", "Cannot POST /health"),
        ("GET", "/api/indicators/candles/NOPE/1m", "Symbol NOPE not found"),
        ("GET", "/api/indicators/candles/btc/1m", "Symbol btc not found"),
        ("GET", "/trading-sessions/nope/logs", "Session not found"),
        ("GET", "/trading-sessions/trades/nope/logs", "Trade not found"),
        ("POST", "/trading-sessions/positions/nope/close", "Position not found"),
        ("GET", "/referrals/nope", "User not found"),
        ("GET", "/api/leaderboard/user/nope", "User not found"),
    ]:
        reply = await caller.call(method, path)
        assert reply.status == 404
        assert reply.data == {"statusCode": 404, "message": message, "error": "Not Found"}


async def test_a_body_beyond_the_cap_is_413_and_a_fault_of_the_sandbox_500(
    caller: Caller, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reply = await caller.call("POST", "/trading-sessions", b"[" + b"1," * 600_000 + b"1]")
    assert (reply.status, reply.data["message"]) == (413, "request entity too large")
    monkeypatch.setattr(sandbox._world, "equity", None)
    reply = await caller.call("GET", "/user/profile")
    assert reply.status == 500
    assert reply.data == {"statusCode": 500, "message": "Internal server error"}
    assert "GET /user/profile failed" in caplog.text
