"""A bare HTTP client for loading a sandbox: keep-alive over asyncio streams, no more than it needs."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import msgspec
from eth_account import Account
from eth_account.messages import encode_defunct


class Reply(NamedTuple):
    """Status and body."""

    status: int
    body: bytes

    @property
    def data(self) -> Any:
        """What the body holds."""
        return msgspec.json.decode(self.body)


class UnexpectedReplyError(Exception):
    """A call that had to succeed did not."""


class Connection:
    """One connection, with calls one after another.

    Args:
        url: the server's.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._place = (parts.hostname, parts.port)
        self._head = f"HTTP/1.1\r\nHost: {parts.netloc}\r\n"

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(*self._place)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    def encoded(self, method: str, target: str, token: str = "", body: Any = None) -> bytes:
        """A request as it goes over the wire."""
        head = f"{method} {target} {self._head}"
        if token:
            head += f"Authorization: Bearer {token}\r\n"
        if body is None:
            return f"{head}\r\n".encode()
        content = msgspec.json.encode(body)
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content

    async def exchange(self, request: bytes) -> Reply:
        """Send a request and read its reply."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        at = head.index(b"Content-Length: ") + 16
        body = await self._reader.readexactly(int(head[at : head.index(b"\r", at)]))
        return Reply(int(head[9:12]), body)

    async def call(self, method: str, target: str, token: str = "", body: Any = None) -> Reply:
        """Make a call, whatever comes of it."""
        return await self.exchange(self.encoded(method, target, token, body))

    async def get(self, target: str, token: str = "") -> Any:
        """Make a call that must succeed, and give what came.

        Raises:
            UnexpectedReplyError: it did not.
        """
        return _succeeded(await self.call("GET", target, token), target)

    async def post(self, target: str, token: str = "", body: Any = None) -> Any:
        """The same for a POST."""
        return _succeeded(await self.call("POST", target, token, body), target)

    async def sign_in(self, key: str) -> str:
        """A token for a private key.

        Raises:
            UnexpectedReplyError: it was refused.
        """
        address = Account.from_key(key).address
        message = (await self.post("/auth/evm/challenge", body={"address": address}))["message"]
        signature = "0x" + bytes(Account.sign_message(encode_defunct(text=message), key).signature).hex()
        signed_in = await self.post("/auth/evm/verify", body={"address": address, "signature": signature})
        return str(signed_in["accessToken"])


def private_key(number: int) -> str:
    """A throwaway private key."""
    return f"0x{number + 1:064x}"


def _succeeded(reply: Reply, target: str) -> Any:
    if reply.status not in (200, 201):
        raise UnexpectedReplyError(f"{target}: {reply.status} {reply.body[:200]!r}")
    return reply.data
