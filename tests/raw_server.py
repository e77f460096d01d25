"""A server on a real socket that answers with whatever bytes a test wants, and remembers what it read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Self, TypeAlias

from alura_async.sandbox.app import accept_no_more


@dataclass
class Received:
    """One request, as the server read it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    reader: asyncio.StreamReader = field(repr=False)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


Answer: TypeAlias = "bytes | Callable[[Received, asyncio.StreamWriter], Awaitable[bytes | None]]"


async def hang(request: Received, writer: asyncio.StreamWriter) -> bytes:
    """An answer that never comes: it ends when the client hangs up."""
    await request.reader.read()
    return b""


def reply(
    body: bytes | str = b"", status: str = "200 OK", *, headers: dict[str, str] | None = None, length: int | None = None
) -> bytes:
    """A complete HTTP reply; `length` overrides the honest Content-Length."""
    data = body.encode() if isinstance(body, str) else body
    lines = {"Content-Type": "application/json", "Content-Length": str(len(data) if length is None else length)}
    lines |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + data


@dataclass
class RawServer:
    """Answers each request with the next of `answers`, the last one for ever; b"" closes the connection without one.

    A path in `routes` has answers of its own. `writers` has one for each connection that is open, by its number.
    """

    answers: list[Answer] = field(default_factory=lambda: [reply('{"status":"ok"}')])
    routes: dict[str, list[Answer]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    writers: dict[int, asyncio.StreamWriter] = field(default_factory=dict)
    ssl: SSLContext | None = None
    host: str = "127.0.0.1"
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self.ssl else 'http'}://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.received]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.ssl)
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._server is not None
        await accept_no_more(self._server)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio complains when a handler of `start_server` is cancelled.
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # It may be cancelled before it begins.
        task.add_done_callback(lambda _: writer.close())

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        number = self.connections
        self.writers[number] = writer
        try:
            while True:
                request = await _read(reader, number)
                self.received.append(request)
                answers = self.routes.get(request.path, self.answers)
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                data = answer if isinstance(answer, bytes) else await answer(request, writer)
                if not data:
                    return
                writer.write(data)
                await writer.drain()
                if b"\r\nConnection: close\r\n" in data.partition(b"\r\n\r\n")[0] + b"\r\n":
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open_connections -= 1
            del self.writers[number]


async def _read(reader: asyncio.StreamReader, connection: int) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, target, _ = first.split(" ", 2)
    return Received(method, target, headers, body, connection, reader)
