"""The server closes idle connections just as calls go out: nothing is executed twice, and what is told is true."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from alura_async import Access, AsyncAlura, Effect, NotSentError, OutcomeUnknownError, Route, TransportError
from tests.faults.clients import single, spare_of, until_warm, warm_client

pytestmark = pytest.mark.anyio

# For each of the tests; `nox -s races` has a thousand.
RACES = int(os.environ.get("ALURA_RACES", "100"))
# The server hangs up after up to this long; the client calls after as long. Both are drawn anew for every call.
IDLE_S = 0.0008

READ = Route("GET", "/:call", dict, access=Access.PUBLIC)
REPEATABLE = Route("POST", "/:call", dict, effect=Effect.REPEATABLE, access=Access.PUBLIC)
ONCE = Route("POST", "/:call", dict, access=Access.PUBLIC)


class ImpatientServer:
    """Answers what it has read whole, counts it, and closes a connection that says nothing for a moment.

    In a thread, so that it really races with the client.
    """

    def __init__(self) -> None:
        self.executed: Counter[str] = Counter()
        self.open: set[asyncio.Transport] = set()
        self.hung_up = 0
        self.chance = random.Random(4)
        # Its patience with a connection that was just made, and with one that has been answered.
        self.fresh_s = self.idle_s = IDLE_S
        # How many of the calls it carries out and then does not answer.
        self.forgetful = 0.0
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> ImpatientServer:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await self._loop.create_server(lambda: ImpatientConnection(self), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._started.set()
        await self._stop.wait()
        server.close()


class ImpatientConnection(asyncio.Protocol):
    def __init__(self, server: ImpatientServer) -> None:
        self._server = server
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.open.add(transport)
        self._wait(self._server.fresh_s)

    def _wait(self, patience_s: float) -> None:
        delay = self._server.chance.uniform(0, patience_s)
        self._timer = asyncio.get_running_loop().call_later(delay, self._hang_up)

    def _hang_up(self) -> None:
        self._server.hung_up += 1
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._timer.cancel()
        self._read += data
        head, end, body = self._read.partition(b"\r\n\r\n")
        if not end or (b"POST" in head and len(body) < 2):
            return
        self._read = b""
        self._server.executed[head.split(b" ", 2)[1].decode()] += 1
        if self._server.chance.random() < self._server.forgetful:
            self._hang_up()
            return
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        self._wait(self._server.idle_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._server.open.discard(self._transport)


@pytest.fixture
def server() -> Iterator[ImpatientServer]:
    with ImpatientServer() as server:
        yield server


async def race(alura: AsyncAlura, route: Route[dict[str, object]], server: ImpatientServer) -> Counter[str]:
    """Make calls, each a moment after the one before; gives how many ended in which way.

    Each must have been executed as often as the client was told.
    """
    chance = random.Random(7)
    ended: Counter[str] = Counter()
    for number in range(RACES):
        await asyncio.sleep(chance.uniform(0, IDLE_S))
        name = f"{route.effect.name}-{number}"
        body: dict[str, Any] | None = None if route.method == "GET" else {}
        try:
            assert await alura.send(route.request(name, body=body)) == {}
            how = "answered"
        except NotSentError:
            how = "not sent"
        except (OutcomeUnknownError, TransportError):
            how = "unknown"
        ended[how] += 1
        executions = server.executed[f"/{name}"]
        if route.effect is Effect.ONCE:
            assert executions in {"answered": (1,), "not sent": (0,), "unknown": (0, 1)}[how], (name, how)
        else:
            assert executions >= {"answered": 1, "not sent": 0, "unknown": 0}[how], (name, how)
    return ended


async def is_over(alura: AsyncAlura, server: ImpatientServer) -> None:
    """Nothing is left, neither in the client nor at the server."""
    sessions = alura._road._exchange._sessions
    assert sessions is not None
    for session in (sessions.read, sessions.once):
        assert session.connector is not None
        # Only the spare is there without a call.
        assert len(session.connector._acquired) <= (session is sessions.once and sessions.spare is not None)
    await alura.close()
    async with asyncio.timeout(10):
        while server.open:
            await asyncio.sleep(0.001)


async def test_reads_are_always_answered(server: ImpatientServer) -> None:
    server.fresh_s = 10
    async with single(base_url=server.url) as alura:
        assert await race(alura, READ, server) == {"answered": RACES}
        await is_over(alura, server)
    assert server.hung_up > RACES / 10


async def test_what_is_repeatable_is_answered_or_told_to_be_lost(server: ImpatientServer) -> None:
    server.fresh_s = 10
    async with single(base_url=server.url) as alura:
        ended = await race(alura, REPEATABLE, server)
        await is_over(alura, server)
    assert server.hung_up > RACES / 10
    assert ended["answered"] > RACES / 2


@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
async def test_no_call_that_must_not_be_made_twice_is(server: ImpatientServer, is_warm: bool) -> None:
    server.forgetful = 0.1
    async with warm_client(server.url) if is_warm else single(base_url=server.url) as alura:
        ended = await race(alura, ONCE, server)
        await is_over(alura, server)
    assert server.hung_up > RACES / 10
    # How many is the machine's affair: on a busy one the server is often the first.
    assert ended["answered"] > RACES / 10
    assert ended["unknown"] > 0
    assert max(server.executed.values()) == 1


async def test_a_warm_call_is_answered_where_the_server_hung_up_on_the_spare(server: ImpatientServer) -> None:
    """A spare that is dead and known to be costs a handshake, and never an answer."""
    async with warm_client(server.url) as alura:
        server.fresh_s = server.idle_s = 10
        await alura.send(READ.request("first"))
        for number in range(20):
            await until_warm(alura)
            held = spare_of(alura)._held
            assert held is not None
            async with asyncio.timeout(10):
                while held[1].is_fit:
                    for transport in list(server.open):
                        server._loop.call_soon_threadsafe(transport.abort)
                    await asyncio.sleep(0.0005)
            assert await alura.send(ONCE.request(str(number), body={})) == {}
    assert server.executed == {"/first": 1} | {f"/{number}": 1 for number in range(20)}
