"""Something comes on a connection before a request was written: it is never taken for the answer to that request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from alura_async import (
    Access,
    AsyncAlura,
    NotSentError,
    Outcome,
    OutcomeUnknownError,
    Route,
)
from alura_async.core import spare as spare_module
from alura_async.core.gate import Gate
from alura_async.core.spare import OnceConnector, Spare
from tests.faults.clients import single, spare_of, until_warm, warm_client
from tests.raw_server import RawServer, reply

pytestmark = pytest.mark.anyio

READ: Route[dict[str, Any]] = Route("GET", "/read", dict, access=Access.PUBLIC)
CLOSE: Route[dict[str, Any]] = Route("POST", "/close", dict, access=Access.PUBLIC)
BODIES = pytest.mark.parametrize("body", [None, {"asset": "BTC"}], ids=["without a body", "with a body"])

STRAYS = {
    "200": reply('{"status":"stray"}'),
    "408": reply('{"message":"too slow"}', "408 Request Timeout"),
    "400": reply('{"message":"what?"}', "400 Bad Request"),
    "garbage": b"\x16\x03\x01 what is this\r\n\r\n",
    "half a reply": b"HTTP/1.1 200 OK\r\nContent-Le",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
}
EVERY_STRAY = pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS.keys())


class Server(RawServer):
    """Closes positions."""

    def __init__(self, ssl: ssl.SSLContext | None = None) -> None:
        super().__init__(routes={"/close": [reply('{"status":"closed"}')]}, ssl=ssl)

    @property
    def closed_by(self) -> list[int]:
        """The number of the connection that each close came by."""
        return [request.connection for request in self.received if request.path == "/close"]

    def closed_once_but_not_by(self, number: int) -> bool:
        """Whether one close came, by another connection than this one."""
        return len(self.closed_by) == 1 and number not in self.closed_by


@pytest.fixture(params=["http", "https"])
async def server(
    request: pytest.FixtureRequest, certificate: tuple[ssl.SSLContext, ssl.SSLContext]
) -> AsyncIterator[Server]:
    async with Server(ssl=certificate[0] if request.param == "https" else None) as server:
        yield server


@pytest.fixture
async def warm(server: Server, certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> AsyncIterator[AsyncAlura]:
    """A client that has made one read, by connection 1 or 2, and has a spare, which is the other."""
    async with warm_client(server.url, ssl_context=certificate[1]) as alura:
        await alura.send(READ.request())
        await until_warm(alura)
        yield alura


@pytest.fixture
async def cold(server: Server, certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> AsyncIterator[AsyncAlura]:
    """A client that has made one read, by connection 1."""
    async with single(base_url=server.url, ssl_context=certificate[1]) as alura:
        await alura.send(READ.request())
        yield alura


def spare_number(server: Server) -> int:
    """The connection that no request came by."""
    (number,) = {1, 2} - {request.connection for request in server.received}
    return number


def say(server: Server, number: int, stray: bytes) -> None:
    """Put bytes into the client's socket, without a turn of the loop: the client has not read them."""
    server.writers[number].write(stray)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.001)


async def test_a_warm_call_goes_by_the_connection_that_was_ready(server: Server, warm: AsyncAlura) -> None:
    """On TLS, tickets that the server sent of its own accord are no stray reply."""
    number = spare_number(server)
    assert await warm.send(CLOSE.request()) == {"status": "closed"}
    assert server.closed_by == [number]
    await until_warm(warm)
    assert await warm.send(CLOSE.request(body={"asset": "BTC"})) == {"status": "closed"}
    assert server.closed_by == [number, 3]


@BODIES
@EVERY_STRAY
async def test_what_came_long_before_a_warm_call_is_not_its_answer(
    server: Server, warm: AsyncAlura, stray: bytes, body: dict[str, str] | None
) -> None:
    held = spare_of(warm)._held
    assert held is not None
    number = spare_number(server)
    say(server, number, stray)
    await until(lambda: not held[1].is_fit)
    assert await warm.send(CLOSE.request(body=body)) == {"status": "closed"}
    assert server.closed_once_but_not_by(number)


@BODIES
@EVERY_STRAY
async def test_what_waits_unread_when_a_warm_call_is_made_is_not_its_answer(
    server: Server, warm: AsyncAlura, stray: bytes, body: dict[str, str] | None
) -> None:
    number = spare_number(server)
    say(server, number, stray)
    assert await warm.send(CLOSE.request(body=body)) == {"status": "closed"}
    assert server.closed_once_but_not_by(number)


@BODIES
@EVERY_STRAY
async def test_what_comes_between_hand_over_and_write_is_not_the_answer_to_a_warm_call(
    server: Server, warm: AsyncAlura, stray: bytes, body: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = spare_number(server)
    take = Spare.take

    def take_and_stray(spare: Spare) -> Any:
        taken = take(spare)
        say(server, number, stray)
        return taken

    monkeypatch.setattr(Spare, "take", take_and_stray)
    assert await warm.send(CLOSE.request(body=body)) == {"status": "closed"}
    assert server.closed_once_but_not_by(number)


@BODIES
@pytest.mark.parametrize("how", ["FIN", "FIN unread", "stray and FIN unread", "RST"])
async def test_a_spare_that_the_server_hung_up_on_is_not_written_to(
    server: Server, warm: AsyncAlura, how: str, body: dict[str, str] | None
) -> None:
    held = spare_of(warm)._held
    assert held is not None
    number = spare_number(server)
    writer = server.writers[number]
    sock = writer.get_extra_info("socket")
    if how == "RST":
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        )
        writer.transport.abort()
    else:
        if how.startswith("stray"):
            writer.write(STRAYS["200"])
        sock.shutdown(socket.SHUT_WR)
    if not how.endswith("unread"):
        await until(lambda: not held[1].is_fit)
    assert await warm.send(CLOSE.request(body=body)) == {"status": "closed"}
    assert server.closed_once_but_not_by(number)


@BODIES
@pytest.mark.parametrize("is_read", [True, False], ids=["read", "unread"])
@EVERY_STRAY
async def test_what_comes_on_a_fresh_connection_before_the_request_is_not_its_answer(
    server: Server,
    cold: AsyncAlura,
    stray: bytes,
    is_read: bool,
    body: dict[str, str] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing was written then, and the user is told so."""
    connect = OnceConnector.connect

    async def connect_and_stray(connector: OnceConnector, *settings: Any, **named: Any) -> Any:
        connection = await connect(connector, *settings, **named)
        gate = connection.transport
        assert isinstance(gate, Gate)
        await until(lambda: 2 in server.writers)
        say(server, 2, stray)
        if is_read:
            await until(lambda: not gate.is_fit)
        return connection

    monkeypatch.setattr(OnceConnector, "connect", connect_and_stray)
    with pytest.raises(NotSentError, match="before the request was written") as caught:
        await cold.send(CLOSE.request(body=body))
    assert caught.value.outcome is Outcome.NOT_SENT
    assert server.closed_by == []
    monkeypatch.undo()
    assert await cold.send(CLOSE.request(body=body)) == {"status": "closed"}
    assert server.closed_by == [3]


@pytest.mark.parametrize("is_read", [True, False], ids=["read", "unread"])
@EVERY_STRAY
async def test_what_comes_on_the_pools_connection_is_not_the_answer_to_a_close(
    server: Server, cold: AsyncAlura, stray: bytes, is_read: bool
) -> None:
    say(server, 1, stray)
    if is_read:
        for _ in range(10):
            await asyncio.sleep(0)
    assert await cold.send(CLOSE.request()) == {"status": "closed"}
    assert server.closed_by == [2]


async def test_the_tickets_of_a_tls_server_are_never_a_stray_reply(
    certificate: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    """They come at any time after the handshake: here into a socket that nobody reads until the request is due."""
    async with (
        Server(ssl=certificate[0]) as server,
        single(base_url=server.url, ssl_context=certificate[1]) as alura,
    ):
        answers = await asyncio.gather(*[alura.send(CLOSE.request(body={"number": n})) for n in range(60)])
    assert answers == [{"status": "closed"}] * 60
    assert sorted(server.closed_by) == list(range(1, 61))


# The systems' buffers take a few megabytes before they make a request wait; what receives it here, next to nothing.
A_LARGE_SIZE = 8_000_000
A_LARGE_BODY = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")


@A_LARGE_BODY
@pytest.mark.parametrize("status", ["401 Unauthorized", "413 Payload Too Large"])
async def test_a_refusal_may_come_before_all_of_the_request_has_left(status: str) -> None:
    async with answering_the_head(reply('{"message":"no"}', status)) as url, single(base_url=url) as alura:
        reply_ = await alura.send_raw(CLOSE.request(body={"padding": "x" * A_LARGE_SIZE}))
    assert (reply_.status, reply_.json()) == (int(status[:3]), {"message": "no"})


@A_LARGE_BODY
async def test_a_success_that_comes_before_all_of_the_request_has_left_is_not_believed() -> None:
    async with answering_the_head(reply('{"status":"closed"}')) as url, single(base_url=url) as alura:
        with pytest.raises(OutcomeUnknownError, match="before all of the request had left"):
            await alura.send(CLOSE.request(body={"padding": "x" * A_LARGE_SIZE}))


@asynccontextmanager
async def answering_the_head(answer: bytes) -> AsyncIterator[str]:
    """A server that answers when it has read the head of a request, and reads no more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            await done.wait()
        writer.close()

    done = asyncio.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    server = await asyncio.start_server(serve, sock=listener)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        done.set()
        server.close()
        await asyncio.sleep(0)


async def test_where_no_gate_can_be_put_there_is_no_spare_and_nothing_is_under_reported(
    raw: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with an aiohttp that is made in another way."""
    monkeypatch.setattr(Gate, "before", lambda connection: None)
    raw.routes["/close"] = [reply('{"status":"closed"}'), b""]
    async with warm_client(raw.url) as alura:
        await alura.send(READ.request())
        await until(lambda: raw.connections == 2 and raw.open_connections == 1)
        assert await alura.send(CLOSE.request()) == {"status": "closed"}
        with pytest.raises(OutcomeUnknownError):
            await alura.send(CLOSE.request())
        assert spare_of(alura)._held is None
    assert [request.connection for request in raw.received] == [1, 3, 4]


async def test_a_spare_that_is_too_old_is_replaced_while_the_client_is_used(
    server: Server, warm: AsyncAlura, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare_module, "_MOST_AGE_S", 0.05)
    number = spare_number(server)
    assert await warm.send(CLOSE.request()) == {"status": "closed"}
    await until(lambda: server.connections >= 6)
    assert server.open_connections <= 3
    assert server.closed_by == [number]


async def test_a_machine_that_slept_does_not_use_a_spare_of_before(
    server: Server, warm: AsyncAlura, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands between may have forgotten the connection: a request on it would be lost without a word."""
    now = time.time
    number = spare_number(server)
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    assert await warm.send(CLOSE.request()) == {"status": "closed"}
    assert server.closed_once_but_not_by(number)


async def test_a_client_that_is_not_used_has_no_spare_after_a_while(
    server: Server, warm: AsyncAlura, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare_module, "_MOST_AGE_S", 0.02)
    monkeypatch.setattr(spare_module, "_IN_USE_S", 0.1)
    assert await warm.send(CLOSE.request()) == {"status": "closed"}
    spare = spare_of(warm)
    await until(lambda: spare._timer is None and spare._task is None)
    assert server.connections >= 4
    await until(lambda: server.open_connections == 1)
    # The next call has one made again.
    await warm.send(READ.request())
    await until_warm(warm)


async def test_a_server_that_cannot_be_reached_costs_a_warm_call_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with warm_client(f"http://127.0.0.1:{unused.getsockname()[1]}") as alura:
            for route in (READ, CLOSE, READ):
                with pytest.raises(NotSentError):
                    await alura.send(route.request())
            spare = spare_of(alura)
            await until(lambda: spare._task is None)
            assert spare._held is None


async def test_no_warm_call_waits_for_the_spare(raw: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = asyncio.Event()

    async def hang_ahead(connector: OnceConnector, *settings: Any) -> None:
        await hanging.wait()

    monkeypatch.setattr(OnceConnector, "connect_ahead", hang_ahead)
    async with warm_client(raw.url, timeout=5) as alura:
        for _ in range(3):
            await alura.send(CLOSE.request())
    assert [request.connection for request in raw.received] == [1, 2, 3]


async def test_one_spare_serves_one_of_many_calls(server: Server, warm: AsyncAlura) -> None:
    number = spare_number(server)
    answers = await asyncio.gather(*[warm.send(CLOSE.request()) for _ in range(20)])
    assert answers == [{"status": "closed"}] * 20
    assert len(set(server.closed_by)) == 20
    assert number in server.closed_by


async def test_a_proxy_has_no_spare(raw: RawServer) -> None:
    async with warm_client("http://127.0.0.1:1", proxy=raw.url) as alura:
        assert await alura.send(CLOSE.request()) == {"status": "ok"}
        sessions = alura._road._exchange._sessions
        assert sessions is not None
        assert sessions.spare is None


async def test_closing_leaves_no_connection_and_no_task(server: Server, warm: AsyncAlura) -> None:
    await warm.send(CLOSE.request())
    others = asyncio.all_tasks() - server._tasks
    spare = spare_of(warm)
    await until(lambda: spare._task is not None)
    await warm.close()
    await until(lambda: server.open_connections == 0)
    assert asyncio.all_tasks() <= others


_FORKS = """
import os, sys
from alura_async import Access, Alura, Route
close = Route("POST", "/close", dict, access=Access.PUBLIC)

def close_once(alura):
    # In one piece, whatever Python buffers: parent and child write into one pipe.
    os.write(1, (alura.send(close.request())["status"] + "\\n").encode())

alura = Alura(base_url=sys.argv[1], warm=True)
close_once(alura)
child = os.fork()
close_once(alura)
if child:
    os.waitpid(child, 0)
    close_once(alura)
alura.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
async def test_a_forked_child_does_not_use_its_parents_spare(raw: RawServer) -> None:
    raw.routes["/close"] = [reply('{"status":"closed"}')]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", _FORKS, raw.url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert output.split() == [b"closed"] * 4, errors.decode()
    assert errors == b""
    used = [request.connection for request in raw.received]
    assert len(used) == len(set(used)) == 4
    await until(lambda: raw.open_connections == 0)


_FORGETS = """
import asyncio, gc, sys
from alura_async import AsyncAlura

async def main(url):
    alura = AsyncAlura(base_url=url, warm=True)
    await alura.health.basic()
    spare = alura._road._exchange._sessions.spare
    while spare._held is None:
        await asyncio.sleep(0.001)
    del spare
    if "collect" in sys.argv:
        alura = None
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0.01)

asyncio.run(main(sys.argv[1]))
gc.collect()
"""


@pytest.mark.parametrize("how", ["ends", "collect"])
async def test_forgetting_to_close_a_warm_client_gives_one_warning_of_ours(raw: RawServer, how: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-W", "always", "-c", _FORGETS, raw.url, how, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()
    complaints = [line for line in errors.decode().splitlines() if "Warning" in line or "nclosed" in line]
    assert len(complaints) == 1, errors.decode()
    assert "ResourceWarning: an AsyncAlura client was not closed" in complaints[0]
    assert process.returncode == 0
