"""A plain HTTP caller for the sandbox's tests: they must not depend on the client they help to test."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from eth_account import Account
from eth_account.messages import encode_defunct

from alura_async.sandbox import Sandbox

if TYPE_CHECKING:
    import aiohttp


class Reply(NamedTuple):
    """Status, headers, the body as it came, and what it holds."""

    status: int
    headers: dict[str, str]
    body: bytes
    data: Any


class Caller:
    """Calls a sandbox, signed in or not."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession, key: str | None = None) -> None:
        self.sandbox = sandbox
        self.http = http
        self.key = key or sandbox.wallet()
        self.address: str = Account.from_key(self.key).address
        self.token: str | None = None
        self.user_id = ""

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        data: Any = None if body is None else (body if isinstance(body, bytes) else msgspec.json.encode(body))
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        # aiohttp warns of large bytes.
        sent = io.BytesIO(data) if data is not None and len(data) > 1_000_000 else data
        async with self.http.request(method, self.sandbox.url + path, data=sent, headers=headers) as response:
            raw = await response.read()
            is_json = response.content_type == "application/json"
            return Reply(
                response.status, dict(response.headers), raw, msgspec.json.decode(raw) if is_json else raw.decode()
            )

    async def get(self, path: str) -> Any:
        reply = await self.call("GET", path)
        assert reply.status == 200, reply.body
        return reply.data

    async def post(self, path: str, body: Any = None) -> Any:
        reply = await self.call("POST", path, body)
        assert reply.status == 201, reply.body
        return reply.data

    async def challenge(self) -> Any:
        return await self.post("/auth/evm/challenge", {"address": self.address})

    def sign(self, text: str, key: str | None = None) -> str:
        return "0x" + bytes(Account.sign_message(encode_defunct(text=text), key or self.key).signature).hex()

    async def verify(self, signature: str, **more: Any) -> Reply:
        return await self.call("POST", "/auth/evm/verify", {"address": self.address, "signature": signature, **more})

    async def sign_in(self, **more: Any) -> Caller:
        self.token = None
        reply = await self.verify(self.sign((await self.challenge())["message"]), **more)
        assert reply.status == 201, reply.body
        self.token = reply.data["accessToken"]
        self.user_id = (await self.get("/user/profile"))["id"]
        return self

    async def available(self) -> Decimal:
        return Decimal((await self.get("/user/profile"))["availableBalance"])

    async def balance(self) -> Decimal:
        return Decimal((await self.get("/user/profile"))["balance"])

    async def quick(self, **fields: Any) -> Any:
        return await self.post("/trading-sessions", quick(**fields))


def quick(**fields: Any) -> dict[str, Any]:
    """The body of the documented example, with some fields changed; None leaves one out."""
    body = {"budget": 100, "profitTarget": 40, "lossThreshold": 5, "maxPositions": 3, "assetIndex": 0, **fields}
    return {name: value for name, value in body.items() if value is not None}


def advance(**fields: Any) -> dict[str, Any]:
    """The body of an advance trade, with some fields changed; None leaves one out."""
    body = {
        "amount": 100,
        "executionStrategy": "Conservative",
        "strategyDuration": "7D",
        "assetIndex": 1,
        **fields,
    }
    return {name: value for name, value in body.items() if value is not None}
