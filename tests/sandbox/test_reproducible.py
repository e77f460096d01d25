"""The same seed and the same calls give the same bytes, in this process and in any other."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from alura_async.sandbox import Sandbox
from alura_async.sandbox.routes import ROUTES

from .conftest import START

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent.parent


class Answer(NamedTuple):
    """What was asked, and every byte of what came back."""

    name: str
    raw: bytes

    @property
    def status(self) -> int:
        return int(self.raw.split()[1])

    @property
    def data(self) -> Any:
        return msgspec.json.decode(self.raw.partition(b"\r\n\r\n")[2])


class History:
    """A scripted history over raw sockets: two users, all endpoints, refusals, and a clock that jumps."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.answers: list[Answer] = []

    async def call(self, name: str, body: object = None, *, token: str = "", **path: str) -> Any:
        """Make a call, named by method and template, and keep what came."""
        method, target = name.split(" ")
        for key, value in path.items():
            target = target.replace(f":{key}", value)
        content = b"" if body is None else msgspec.json.encode(body)
        # Host is fixed, since the text to sign names it, and the port may be any.
        head = f"{method} {target} HTTP/1.1\r\nHost: alura.test\r\nConnection: close\r\n"
        head += f"Authorization: Bearer {token}\r\n" if token else ""
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n" if content else ""
        host, port = self.sandbox.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode() + b"\r\n" + content)
        async with asyncio.timeout(10):
            answer = Answer(name.partition("?")[0], await reader.read())
        writer.close()
        self.answers.append(answer)
        return answer.data if b"application/json" in answer.raw.partition(b"\r\n\r\n")[0] else None

    async def sign_in(self, **more: str) -> str:
        key = self.sandbox.wallet()
        address = Account.from_key(key).address
        message = (await self.call("POST /auth/evm/challenge", {"address": address}))["message"]
        signature = "0x" + bytes(Account.sign_message(encode_defunct(text=message), key).signature).hex()
        body = {"address": address, "signature": signature, **more}
        token: str = (await self.call("POST /auth/evm/verify", body))["accessToken"]
        await self.call("POST /auth/evm/verify", body)
        return token

    async def play(self) -> list[Answer]:
        call, advance = self.call, self.sandbox.advance
        first = await self.sign_in()
        user = (await call("GET /user/profile", token=first))["id"]
        code = (await call("POST /referrals/:userId/code", token=first, userId=user))["code"]
        await call("POST /referrals/:userId/code", token=first, userId=user)
        advance(seconds=1.5)
        second = await self.sign_in(referralCode=code)
        await call("POST /referrals/check", {"code": code}, token=second)
        await call("POST /referrals/:userId/code", token=second, userId=user)
        for token in (first, second):
            await self.trade(token)
        for path in ("/referrals/:userId", "/referrals/:userId/stats", "/api/leaderboard/user/:userId"):
            await call(f"GET {path}", token=second, userId=user)
        await self.move_money(first, second)
        await self.read_the_market()
        self.sandbox.expire_tokens()
        await call("GET /user/profile", token=first)
        self.sandbox.token_lifetime = 60
        third = await self.sign_in()
        advance(minutes=2)
        await call("GET /user/profile", token=third)
        return self.answers

    async def trade(self, token: str) -> None:
        call, advance = self.call, self.sandbox.advance
        quick = {"budget": 100.5, "profitTarget": 3, "lossThreshold": 2, "maxPositions": 3, "assetIndex": 0}
        bold = {"amount": 50, "executionStrategy": "Degen", "strategyDuration": "1D", "assetIndex": 1}
        await call("POST /trading-sessions", quick | {"budget": 1, "foo": 2}, token=token)
        session = await call("POST /trading-sessions", quick, token=token)
        await call("POST /trading-sessions", quick, token=token)
        await call("POST /trading-sessions/advance", bold, token=token)
        kept = await call("POST /trading-sessions", quick | {"assetIndex": 2, "profitTarget": 400}, token=token)
        trade = await call("GET /trading-sessions/current-trade", token=token)
        position, other = trade["positions"][0]["id"], trade["positions"][1]["id"]
        close = "POST /trading-sessions/positions/:positionId/close"
        await call(f"{close}-signature", token=token, positionId=other)
        await call(close, token=token, positionId=position)
        await call(close, token=token, positionId=position)
        for hours in (0.1, 3, 8):
            advance(hours=hours)
            await call("GET /trading-sessions/active", token=token)
            await call("POST /trading-sessions/trigger-cron", token=token)
        await call("GET /trading-sessions/:sessionId/logs", token=token, sessionId=session["id"])
        logs = "GET /trading-sessions/trades/:tradeId/logs?limit=3&page=2"
        await call(logs, token=token, tradeId=kept["tradeId"])
        await call("POST /trading-sessions/trades/:tradeId/close", token=token, tradeId=kept["tradeId"])
        await call("POST /trading-sessions", quick | {"assetIndex": 7}, token=token)
        await call("POST /user/close-position", {"assetIndex": 7}, token=token)
        await call("POST /user/close-position", {"assetIndex": 7}, token=token)
        await call("POST /user/close-all-positions", token=token)
        await call("POST /user/fills/sync", token=token)
        await call("GET /user/profile")

    async def move_money(self, sender: str, receiver: str) -> None:
        call, somewhere = self.call, "0x" + "ab" * 20
        for token in (sender, receiver):
            await call("POST /user/claim-reward", token=token)
            await call("POST /user/claim-reward", token=token)
            await call("POST /usdc-verification/verify", {"txHash": "0x" + "cd" * 32}, token=token)
            await call("POST /user/withdraw", {"amount": 12.345678}, token=token)
            await call("POST /user/send-usdc", {"amount": 1, "destination": somewhere}, token=token)
            await call("POST /user/withdraw", {"amount": 10**9}, token=token)
            for path in ("/usdc-verification/my-transactions", "/usdc-verification/total-deposited"):
                await call(f"GET {path}", token=token)
            await call("GET /auth/evm/trading-key", token=token)
            await call("GET /user/profile", token=token)

    async def read_the_market(self) -> None:
        call = self.call
        for path in ("health", "candles/latest?interval=5m", "candles/aggregated/symbols"):
            await call(f"GET /api/indicators/{path}")
        for symbol in ("BTC", "kPEPE", "PURR%2FUSDC", "NOPE"):
            await call("GET /api/indicators/candles/:symbol/:interval?limit=50", symbol=symbol, interval="15m")
            history = "GET /api/indicators/candles/history/:symbol?interval=1d&startTime=1600000000000&limit=30"
            await call(history, symbol=symbol)
            await call("GET /api/indicators/signals/:symbol/:interval", symbol=symbol, interval="1h")
        await call("GET /api/indicators/signals/all/:interval", interval="4h")
        for path in ("/api/leaderboard/stats", "/api/leaderboard/rankings?limit=100", "/api/leaderboard/health"):
            await call(f"GET {path}")
        await call("GET /api/leaderboard/analytics", token=await self.sign_in())
        for path in ("/health", "/health/kafka", "/nope", "/api/docs", "/api/docs-json"):
            await call(f"GET {path}")


async def play(seed: int) -> list[Answer]:
    async with Sandbox(seed=seed, start=START, speed=0, limit=None) as sandbox:
        return await History(sandbox).play()


async def test_every_byte_comes_again_with_the_same_seed_and_with_no_other() -> None:
    once, again, other = await play(7), await play(7), await play(8)
    assert {f"{route.method} {route.template}" for route in ROUTES} <= {answer.name for answer in once}
    assert {answer.status for answer in once} == {200, 201, 400, 401, 403, 404}
    for before, after in zip(once, again, strict=True):
        assert before == after
    # What has no chance in it is the same everywhere; accounts, prices, tokens and transactions are not.
    differing = {before.name for before, after in zip(once, other, strict=True) if before.raw != after.raw}
    assert len(differing) > 30
    assert "GET /api/docs-json" not in differing


async def test_every_byte_comes_again_in_another_process_with_another_hash_seed_and_in_another_zone() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "PYTHONHASHSEED": "1"}
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.sandbox.test_reproducible"),
        cwd=ROOT,
        env=environment | {"TZ": "Asia/Tokyo"},
        stdout=asyncio.subprocess.PIPE,
    )
    here = [line(answer) for answer in await play(7)]
    async with asyncio.timeout(40):
        there, _ = await other.communicate()
    assert there.decode().splitlines() == here


def line(answer: Answer) -> str:
    return f"{answer.name} {answer.status} {sha256(answer.raw).hexdigest()}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_restart_at_the_same_port_repeats_even_what_names_the_port() -> None:
    port = free_port()
    seen: list[bytes] = []
    for _ in range(2):
        async with Sandbox(seed=7, start=START, speed=0, limit=None, port=port) as sandbox:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            body = b'{"address":"0x' + b"ab" * 20 + b'"}'
            head = b"POST /auth/evm/challenge HTTP/1.1\r\nHost: evil host\r\nConnection: close\r\n"
            head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            writer.write(head + body)
            seen.append(await reader.read())
            writer.close()
            assert sandbox.url.removeprefix("http://").encode() in seen[-1]
    assert seen[0] == seen[1]


if __name__ == "__main__":
    for found in asyncio.run(play(7)):
        print(line(found))
