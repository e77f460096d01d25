"""Throttling: so many calls of one endpoint by one client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from alura_async.errors import ConfigurationError
from alura_async.sandbox import Sandbox
from alura_async.sandbox.refusals import HttpError
from alura_async.sandbox.throttle import Throttle

from .caller import Caller

if TYPE_CHECKING:
    import aiohttp

pytestmark = pytest.mark.anyio


async def test_each_endpoint_and_each_client_is_counted_by_itself(http: aiohttp.ClientSession) -> None:
    async with Sandbox(seed=7, limit=3, window=30) as sandbox:
        stranger = Caller(sandbox, http)
        replies = [await stranger.call("GET", "/health") for _ in range(4)]
        assert [reply.status for reply in replies] == [200, 200, 200, 429]
        assert [reply.headers["X-RateLimit-Remaining"] for reply in replies] == ["2", "1", "0", "0"]
        assert replies[0].headers["X-RateLimit-Limit"] == "3"
        assert 1 <= int(replies[0].headers["X-RateLimit-Reset"]) <= 30
        assert "Retry-After" not in replies[2].headers
        assert 1 <= int(replies[3].headers["Retry-After"]) <= 30
        assert replies[3].data == {"statusCode": 429, "message": "ThrottlerException: Too Many Requests"}
        assert (await stranger.call("GET", "/health/kafka")).status == 200
        # With a token it is the account that counts, not the address.
        somebody = Caller(sandbox, http)
        await somebody.sign_in()
        assert (await somebody.call("GET", "/health")).status == 200


async def test_the_window_ends_in_real_time(http: aiohttp.ClientSession) -> None:
    async with Sandbox(limit=1, window=0.2, speed=0) as sandbox:
        stranger = Caller(sandbox, http)
        assert (await stranger.call("GET", "/health")).status == 200
        assert (await stranger.call("GET", "/health")).status == 429
        await asyncio.sleep(0.25)
        assert (await stranger.call("GET", "/health")).status == 200


def test_a_window_that_began_later_outlives_those_that_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    throttle = Throttle(1, 10)
    for client in ("a", "b"):
        throttle.admit("GET /health", client)
    now = 105.0
    throttle.admit("GET /health", "c")
    now = 111.0
    throttle.admit("GET /health", "a")
    with pytest.raises(HttpError) as refusal:
        throttle.admit("GET /health", "c")
    assert refusal.value.headers["Retry-After"] == "4"
    now = 116.0
    throttle.admit("GET /health", "c")
    with pytest.raises(HttpError):
        throttle.admit("GET /health", "a")


async def test_a_throttled_call_changes_nothing_but_is_on_record(http: aiohttp.ClientSession) -> None:
    async with Sandbox(limit=1) as sandbox:
        somebody = await Caller(sandbox, http).sign_in()
        await somebody.post("/user/claim-reward")
        assert (await somebody.call("POST", "/user/claim-reward")).status == 429
        assert [entry.kind for entry in sandbox.ledger][2:] == ["reward_claimed"]
        claims = [request for request in sandbox.requests if request.path == "/user/claim-reward"]
        assert [(request.status, request.account) for request in claims] == [
            (201, somebody.address),
            (429, somebody.address),
        ]


async def test_without_a_limit_nothing_is_counted(stranger: Caller) -> None:
    reply = await stranger.call("GET", "/health")
    assert not [name for name in reply.headers if name.startswith("X-RateLimit")]


def test_a_limit_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="limit=0"):
        Sandbox(limit=0)
    with pytest.raises(ConfigurationError, match="window=0"):
        Sandbox(window=0)
