"""The server that all contestants call: canned replies over HTTP/1.1, in a process of its own, on loopback only.

It prints its port and serves until its standard input ends, so it cannot outlive the harness. `/cpu` tells how much
processor time it has used: that shows whether a figure is a contestant's or the server's.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import sys
import threading
import time
from dataclasses import dataclass
from typing import cast

from .contest import PAGES, stay_on

MAX_HEAD = 64 * 1024


class BadRequestError(Exception):
    """What came is not a request that this server can answer."""


@dataclass(frozen=True)
class Request:
    """What the server looks at in a request: the path without its query, and whether the connection stays."""

    path: bytes
    keep_alive: bool


class RequestReader:
    """Puts requests together from whatever pieces they come in. Knows no bodies: all that is measured is GET."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Request]:
        """The requests that are complete with this piece.

        Args:
            data: the next bytes of the connection.

        Raises:
            BadRequestError: another method than GET, a body, or a head without end.
        """
        data = self._rest + data if self._rest else data
        requests: list[Request] = []
        while (end := data.find(b"\r\n\r\n")) >= 0:
            requests.append(_read_head(data[:end]))
            data = data[end + 4 :]
        if len(data) > MAX_HEAD:
            raise BadRequestError("a head without end")
        self._rest = data
        return requests


def _read_head(head: bytes) -> Request:
    line, _, headers = head.partition(b"\r\n")
    try:
        method, target, version = line.split(b" ")
    except ValueError:
        raise BadRequestError("not a request line") from None
    if method != b"GET" or version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadRequestError("only GET over HTTP/1")
    keep_alive = version == b"HTTP/1.1"
    headers = headers.lower()
    # Most requests have neither header, so most are not taken apart.
    if b"connection:" in headers or b"content-length:" in headers or b"transfer-encoding:" in headers:
        for header in headers.split(b"\r\n"):
            name, _, value = header.partition(b":")
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                keep_alive = b"close" not in tokens and (keep_alive or b"keep-alive" in tokens)
            elif name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0"):
                raise BadRequestError("a request with a body")
    return Request(target.partition(b"?")[0], keep_alive)


def reply(status: str, body: bytes, *, keep_alive: bool = True) -> bytes:
    """A reply as it goes over the wire.

    Args:
        status: code and reason.
        body: JSON.
        keep_alive: whether the connection stays.
    """
    connection = b"" if keep_alive else b"Connection: close\r\n"
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + connection + b"\r\n" + body


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        replies: the canned replies by path, to which those are added that are made when they are asked for.
    """

    def __init__(self, replies: dict[bytes, bytes]) -> None:
        self._replies = replies
        self._reader = RequestReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, so this is not an isinstance check.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            requests = self._reader.feed(data)
        except BadRequestError as error:
            self._transport.write(
                reply("400 Bad Request", json.dumps({"message": str(error)}).encode(), keep_alive=False)
            )
            self._transport.close()
            return
        for request in requests:
            canned = self._replies.get(request.path)
            if canned is None:
                canned = self._unusual(request.path)
            self._transport.write(canned)
            if not request.keep_alive:
                self._transport.close()
                return

    def _unusual(self, path: bytes) -> bytes:
        if path == b"/cpu":
            return reply("200 OK", json.dumps(time.process_time()).encode())
        if path.startswith(b"/candles/"):
            # Made when they are asked for: others do without them, and without what writes them.
            body = importlib.import_module(f"{__package__}.lag").body(path.decode())
            canned = self._replies[path] = reply("200 OK", body)
            return canned
        return reply("404 Not Found", b'{"message":"Not Found","statusCode":404}')


async def serve() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def wait_for_the_end() -> None:
        # A thread, because Windows' event loop cannot read a pipe that was made by another process.
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(stop.set)

    replies = {page.path.encode(): reply("200 OK", page.body) for page in PAGES}
    server = await loop.create_server(lambda: Connection(replies), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    threading.Thread(target=wait_for_the_end, daemon=True).start()
    await stop.wait()
    server.close()


def main() -> None:
    """Serve on the processor cores that are named as arguments, if any are."""
    stay_on([int(core) for core in sys.argv[1:]])
    if importlib.util.find_spec("uvloop") is not None:
        # By name: type checkers then need not have it.
        importlib.import_module("uvloop").run(serve())
    else:
        asyncio.run(serve())


if __name__ == "__main__":
    main()
