"""How a fault arrives: what is done to a reply, and to the socket that it goes out on."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import struct
import sys
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import msgspec
from aiohttp import web

from .faults import NOISE, STRAY, Fault, default_message
from .refusals import BUILDER_FEE, ErrorBody, phrase
from .routing import JSON

# Windows has shorts there.
_LINGER_NOT = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
_PAGE = "<!doctype html><title>{code} {phrase}</title>\n<h1>{code} {phrase}</h1>\n<hr>nginx\n"
_MEBIBYTE = 1 << 20


class Reply(msgspec.Struct):
    """A reply that is ready to go out.

    Attributes:
        status: its status.
        headers: its headers.
        content: its body.
        head_only: whether it answers a HEAD, so that its body is only announced.
    """

    status: int
    headers: dict[str, str]
    content: bytes
    head_only: bool = False

    def head(self, **replaced: str | None) -> bytes:
        """Status line and headers as bytes.

        Args:
            replaced: headers in place of the right ones, by name with `_` for `-`; None leaves one out.
        """
        headers: dict[str, str | None] = {**self.headers, "Content-Length": str(len(self.content))}
        headers |= {name.replace("_", "-"): value for name, value in replaced.items()}
        lines = [f"HTTP/1.1 {self.status} {phrase(self.status)}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")

    def data(self, **replaced: str | None) -> bytes:
        """All of it as bytes; see `head`."""
        return self.head(**replaced) + (b"" if self.head_only else self.content)

    def packed(self, content: bytes) -> Reply:
        """The same with another body, which is announced as gzip."""
        headers = {**self.headers, "Content-Encoding": "gzip"}
        return Reply(self.status, headers, content, self.head_only)

    def response(self) -> web.Response:
        """As aiohttp sends it."""
        return web.Response(status=self.status, body=self.content, headers=self.headers)


# aiohttp calls it an error of ours, with a traceback, when what arrives is not HTTP. What fails in the sandbox itself
# is logged where it is caught.
_protocol_log = logging.getLogger("alura_async.sandbox.protocol")
_protocol_log.setLevel(logging.CRITICAL)


class Listener(web.Server):
    """Takes connections, and knows when one has ended: what a fault waits for.

    Args:
        handler: answers a request.
    """

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(handler, access_log=None, logger=_protocol_log)
        self._stopping = False
        self._waiting: dict[web.RequestHandler, tuple[asyncio.Future[bool], bool]] = {}
        self._timers: dict[web.RequestHandler, set[asyncio.TimerHandle]] = {}

    async def pause(self, request: web.BaseRequest, seconds: float | None, *, heedless: bool = False) -> None:
        """Wait, in real time.

        Args:
            request: whose caller is waited for.
            seconds: how long, or None for as long as the caller is there.
            heedless: wait on though the caller has gone.

        Raises:
            ConnectionAbortedError: the caller has gone, or the sandbox stops.
        """
        connection, loop = request.protocol, asyncio.get_running_loop()
        if not self._stopping and (heedless or connection.transport is not None):
            waiter: asyncio.Future[bool] = loop.create_future()
            self._waiting[connection] = (waiter, heedless)
            timer = None if seconds is None else loop.call_later(seconds, _settle, waiter, True)
            try:
                if await waiter:
                    return
            finally:
                del self._waiting[connection]
                if timer is not None:
                    timer.cancel()
        if connection.transport is not None:
            connection.transport.abort()
        raise ConnectionAbortedError

    def later(self, request: web.BaseRequest, seconds: float, act: Callable[[asyncio.Transport], object]) -> None:
        """Do something to a connection after a while, if it is still there."""
        connection = request.protocol
        timers = self._timers.setdefault(connection, set())

        def run() -> None:
            timers.discard(timer)
            if connection.transport is not None and not connection.transport.is_closing():
                act(connection.transport)

        timer = asyncio.get_running_loop().call_later(seconds, run)
        timers.add(timer)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Wake who waits for this caller."""
        super().connection_lost(handler, exc)
        for timer in self._timers.pop(handler, ()):
            timer.cancel()
        waiter, heedless = self._waiting.get(handler, (None, True))
        if waiter is not None and not heedless:
            _settle(waiter, False)

    def pre_shutdown(self) -> None:
        """Wake everybody who waits: nobody waits on a server that stops."""
        self._stopping = True
        for waiter, _ in self._waiting.values():
            _settle(waiter, False)
        super().pre_shutdown()


def _settle(waiter: asyncio.Future[bool], in_time: bool) -> None:
    if not waiter.done():
        waiter.set_result(in_time)


class Wire:
    """The connection of one request, for bytes as they are.

    Args:
        request: whose reply is due.
        listener: knows when the caller has gone.
    """

    def __init__(self, request: web.BaseRequest, listener: Listener) -> None:
        self._request = request
        self._listener = listener

    @property
    def transport(self) -> asyncio.Transport:
        """The transport.

        Raises:
            ConnectionAbortedError: the caller has gone.
        """
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionAbortedError
        return transport

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.transport.write(data)

    async def pause(self, seconds: float | None) -> None:
        """Wait so long, or as long as the caller is there."""
        await self._listener.pause(self._request, seconds)

    async def reset(self) -> None:
        """End the connection with a reset, after what was sent."""
        transport = self.transport
        # So that draining means that all has left.
        transport.set_write_buffer_limits(high=0)
        await self._request.writer.drain()
        endpoint = transport.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        transport.abort()

    def later(self, seconds: float, act: Callable[[asyncio.Transport], object]) -> None:
        """Do something to the connection after a while, if it is still there."""
        self._listener.later(self._request, seconds, act)


Script: TypeAlias = Callable[[Wire], Awaitable[object]]
"""Writes a reply as it should not be."""


class Spoiled(web.StreamResponse):
    """A reply that is written by a script, to the last byte.

    Args:
        script: writes it.
        wire: where to.
        stays: whether the connection is kept.
    """

    def __init__(self, script: Script, wire: Wire, *, stays: bool) -> None:
        super().__init__()
        self._script = script
        self._wire = wire
        self._stays = stays

    @property
    def keep_alive(self) -> bool:
        """Whether the connection is kept."""
        return self._stays

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing goes out before the script begins."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Run the script."""
        await self._script(self._wire)


def spoil(
    fault: Fault,
    reply: Reply,
    request: web.BaseRequest,
    listener: Listener,
    encode_refusal: Callable[[ErrorBody], bytes],
) -> tuple[web.StreamResponse, int | None]:
    """What goes out instead of a reply, and the status that the caller sees, or None if it sees none.

    Args:
        fault: what goes wrong.
        reply: the reply.
        request: what it answers.
        listener: has the connection.
        encode_refusal: writes the body of an error.
    """
    changed = _changed(fault, reply, encode_refusal)
    if changed is not None:
        return changed.response(), changed.status
    script, status, stays = _script(fault, reply)
    return Spoiled(script, Wire(request, listener), stays=stays and request.keep_alive), status


def _changed(fault: Fault, reply: Reply, encode_refusal: Callable[[ErrorBody], bytes]) -> Reply | None:
    """The reply of a fault that is sound HTTP, or None."""
    match fault.kind:
        case "status" if fault.code >= 200:
            return _error(reply, fault, encode_refusal)
        case "builder-fee":
            return _answer(reply, fault.code, encode_refusal(_error_body(fault.code, BUILDER_FEE)), JSON)
        case "redirect":
            return _answer(reply, fault.code, b"", JSON, ("Location", fault.target))
        case "headers":
            return _answer(reply, reply.status, reply.content, reply.headers["Content-Type"], *fault.headers)
        case "delay":
            return reply
        case "html":
            page = _PAGE.format(code=fault.code, phrase=phrase(fault.code))
            return _answer(reply, fault.code, page.encode(), "text/html")
        case "empty":
            return _answer(reply, reply.status, b"", reply.headers["Content-Type"])
        case "invalid-json":
            cut = reply.content[: max(1, len(reply.content) // 2)]
            # Half of a number is a number.
            return _answer(reply, reply.status, cut if cut[:1] in (b"{", b"[") else b"{", JSON)
        case _:
            return None


def _answer(reply: Reply, status: int, content: bytes, media: str, *headers: tuple[str, str]) -> Reply:
    kept = {**reply.headers, "Content-Type": media}
    for name, value in headers:
        kept = {other: text for other, text in kept.items() if other.lower() != name.lower()}
        kept[name] = value
    return Reply(status, kept, content, reply.head_only)


def _error(reply: Reply, fault: Fault, encode_refusal: Callable[[ErrorBody], bytes]) -> Reply:
    if fault.body is not None:
        content = fault.body
    elif fault.code in (204, 304):
        content = b""
    else:
        content = encode_refusal(_error_body(fault.code, fault.message or default_message(fault.code)))
    return _answer(reply, fault.code, content, JSON, *fault.headers)


def _error_body(code: int, message: str) -> ErrorBody:
    error = phrase(code)
    return ErrorBody(code, message, None if message in (error, default_message(code)) else error)


def _script(fault: Fault, reply: Reply) -> tuple[Script, int | None, bool]:
    """How a fault that is no sound HTTP is written, the status it shows, and whether the connection is kept."""
    status = reply.status
    match fault.kind:
        case "status":
            first = Reply(fault.code, dict(fault.headers), b"")
            return partial(_send, first.head(Content_Length=None)), fault.code, False
        case "hang":
            return _hang, None, False
        case "reset":
            return Wire.reset, None, False
        case "close":
            return partial(_send, b""), None, False
        case "truncate":
            cut = _cut(fault, reply)
            seen = status if fault.place != "status-line" else None
            return partial(_send_and_reset if fault.resets else _send, cut), seen, False
        case "garbage":
            return partial(_send, NOISE if fault.body is None else fault.body), None, False
        case "malformed":
            return partial(_send, _malformed(fault.variety, reply)), _seen(fault.variety, status), False
        case "length":
            difference = fault.size or 0
            announced = str(max(0, len(reply.content) + difference))
            return partial(_send, reply.data(Content_Length=announced)), status, difference < 0
        case "unfinished":
            head = reply.head(Content_Length=None, Transfer_Encoding="chunked")
            return partial(_send, head + b"%x\r\n%b\r\n" % (len(reply.content), reply.content)), status, False
        case "bad-gzip":
            return partial(_send, reply.packed(b"no gzip at all: " + reply.content).data()), status, True
        case "short-gzip":
            whole = gzip.compress(reply.content, mtime=0)
            return partial(_send, reply.packed(whole[: len(whole) // 2]).data()), status, True
        case "bomb":
            return partial(_send_bomb, reply, (fault.size or 0) // _MEBIBYTE), status, True
        case "drip":
            return partial(_drip, reply.data(), fault), status, True
        case "stray":
            stray = STRAY if fault.body is None else fault.body
            return partial(_send_and, reply, fault, lambda transport: transport.write(stray)), status, True
        case "idle-close":
            return partial(_send_and, reply, fault, lambda transport: transport.close()), status, True
        case _:
            raise AssertionError(fault.kind)


async def _send(data: bytes, wire: Wire) -> None:
    wire.send(data)


async def _send_and_reset(data: bytes, wire: Wire) -> None:
    wire.send(data)
    await wire.reset()


async def _send_and(reply: Reply, fault: Fault, act: Callable[[asyncio.Transport], object], wire: Wire) -> None:
    wire.send(reply.data())
    wire.later(fault.wait.total_seconds(), act)


async def _hang(wire: Wire) -> None:
    await wire.pause(None)


async def _drip(data: bytes, fault: Fault, wire: Wire) -> None:
    size = fault.size or 1
    for start in range(0, len(data), size):
        if start:
            await wire.pause(fault.wait.total_seconds())
        wire.send(data[start : start + size])


async def _send_bomb(reply: Reply, mebibytes: int, wire: Wire) -> None:
    content = await asyncio.to_thread(_bomb, reply.content, mebibytes)
    wire.send(reply.packed(content).data())


def _bomb(content: bytes, mebibytes: int) -> bytes:
    """Gzip of very much white space, and then of a body: so it is as valid as the body is."""
    spaces = b" " * _MEBIBYTE
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # After a full flush nothing refers back, so that the same bytes can be said again.
    block = packer.compress(spaces) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(mebibytes):
        checksum = zlib.crc32(spaces, checksum)
    checksum = zlib.crc32(content, checksum)
    length = (mebibytes * _MEBIBYTE + len(content)) % (1 << 32)
    end = packer.compress(content) + packer.flush()
    return b"\x1f\x8b\x08" + bytes(7) + block * mebibytes + end + struct.pack("<II", checksum, length)


def _cut(fault: Fault, reply: Reply) -> bytes:
    head = reply.head() if fault.announced else reply.head(Content_Length=None, Connection="close")
    if fault.place == "status-line":
        return head[: len("HTTP/1.1 2")]
    if fault.place == "headers":
        return head[: len(head) // 2]
    length = len(reply.content)
    wanted = int(length * (fault.share or 0)) if fault.size is None else fault.size
    return head + reply.content[: max(0, min(wanted, length - 1))]


def _malformed(variety: str, reply: Reply) -> bytes:
    content, length = reply.content, len(reply.content)
    match variety:
        case "bare-html":
            return _PAGE.format(code=502, phrase=phrase(502)).encode()
        case "body-with-204":
            return Reply(204, reply.headers, content).head() + content
        case "chunk-size":
            return (
                reply.head(Content_Length=None, Transfer_Encoding="chunked") + b"xyz\r\n" + content + b"\r\n0\r\n\r\n"
            )
        case "length-and-chunked":
            head = reply.head(Transfer_Encoding="chunked")
            return head + b"%x\r\n%b\r\n0\r\n\r\n" % (length, content)
        case "long-header":
            return reply.head(X_Long="x" * 20_000) + content
        case "nul":
            return reply.head(X_Nul="a\0b") + content
        case _:
            return reply.head(Content_Length=f"{length}\r\nContent-Length: {length + 1}") + content


def _seen(variety: str, status: int) -> int | None:
    return {"bare-html": None, "body-with-204": 204}.get(variety, status)
