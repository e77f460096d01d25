"""Everything that can go wrong between the client and a server, with what each kind of call then ends in.

One table: a row for each fault, with the outcome that the caller is told, how often the server read the request as a
whole, and how often the client tried by default. Every cell is tried twice: by a client that sends each call once, and
by one that repeats as it does by default. What the journal says of a call that must not be made twice is what the
caller was told.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import os
import socket
import struct
import subprocess
import sys
import threading
from asyncio import CancelledError, StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

import aiohttp
import pytest

from alura_async import (
    Access,
    AluraError,
    AsyncAlura,
    BodyTooLargeError,
    CallError,
    CallTimeoutError,
    ConfigurationError,
    Effect,
    InvalidArgumentError,
    NotSentError,
    Outcome,
    OutcomeUnknownError,
    Request,
    ResponseError,
    Retry,
    Route,
    Timeouts,
    TransportError,
    UnauthorizedError,
    UsageError,
)
from tests.certificates import certified
from tests.raw_server import Answer, RawServer, Received, hang, reply

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")]

READ: Route[dict[str, Any]] = Route("GET", "/call", dict, access=Access.PUBLIC)
REPEATABLE: Route[dict[str, Any]] = Route("POST", "/call", dict, effect=Effect.REPEATABLE, access=Access.PUBLIC)
ONCE: Route[dict[str, Any]] = Route("POST", "/call", dict, access=Access.PUBLIC)
ROUTES = {route.effect: route for route in (READ, REPEATABLE, ONCE)}
OK = {"status": "ok"}
BEFORE: Route[dict[str, Any]] = Route("GET", "/before", dict, access=Access.PUBLIC)

DEFAULT = Retry()
LONG = Timeouts(settle=0, call=20, connect=10, read=10)
SHORT_CALL = Timeouts(settle=0, call=0.25, connect=10, read=10)
SHORT_CONNECT = Timeouts(settle=0, call=20, connect=0.05, read=10)
SHORT_READ = Timeouts(settle=0, call=20, connect=10, read=0.15)


class Ends(NamedTuple):
    """How a call ends.

    Attributes:
        error: what is raised; None if the call returns.
        outcome: what the caller is told, or what he may be told where a race decides.
        executions: how often the server reads the whole request of one attempt, or the numbers that are possible.
        attempts: how often the client tries by default; None where a race decides.
        by_default: how it ends by default, where repeating changes it.
        returns: what the call returns.
    """

    error: type[BaseException] | None
    outcome: Outcome | tuple[Outcome, ...]
    executions: int | tuple[int, ...]
    attempts: int | None = 1
    by_default: Ends | None = None
    returns: Any = OK


Cells: TypeAlias = Mapping[Effect, Ends]
"""What a row says of each kind of call."""

ANSWERED = Ends(None, Outcome.DONE, 1)


async def nothing(alura: AsyncAlura) -> None:
    """What mostly precedes and follows the call."""


def to_call(route: Route[dict[str, Any]]) -> Request[dict[str, Any]]:
    return route.request(body=None if route is READ else {"asset": "BTC", "note": "sixty-nine bytes"})


@dataclass
class Scene:
    """A server at fault, and a call to it.

    Attributes:
        url: the server.
        executions: how often it read a whole request of the call.
        settings: the client's.
        request: makes the call.
        before: what happens just before the call, in the same turn of the loop.
        after: what happens after it.
        cancel_when: cancels the call when it is set.
        never_called: servers that nothing must reach.
    """

    url: str
    executions: Callable[[], int] = lambda: 0
    settings: dict[str, Any] = field(default_factory=dict)
    request: Callable[[Route[dict[str, Any]]], Request[dict[str, Any]]] = to_call
    before: Callable[[AsyncAlura], Awaitable[None]] = nothing
    after: Callable[[AsyncAlura], Awaitable[None]] = nothing
    cancel_when: asyncio.Event | None = None
    never_called: tuple[RawServer, ...] = ()


Stage: TypeAlias = Callable[[], AbstractAsyncContextManager[Scene]]


# Servers at fault


def on(raw: RawServer, **parts: Any) -> Scene:
    """A scene with this server."""
    return Scene(raw.url, lambda: sum(request.path == "/call" for request in raw.received), **parts)


def answering(*answers: Answer, timeout: Timeouts = LONG, **settings: Any) -> Stage:
    """A server that reads requests and answers them so."""

    @asynccontextmanager
    async def stage() -> AsyncIterator[Scene]:
        async with RawServer(routes={"/call": list(answers)}) as raw:
            yield on(raw, settings={"timeout": timeout, **settings})

    return stage


def cut(answer: bytes) -> Answer:
    """An answer after which the server hangs up."""

    async def write(request: Received, writer: StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return write


async def reset(request: Received, writer: StreamWriter) -> bytes:
    """An answer that is none: the connection is reset."""
    abort(writer)
    return b""


def abort(writer: StreamWriter) -> None:
    """Reset a connection."""
    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def misbehaving(
    handle: Callable[[StreamReader, StreamWriter], Awaitable[None]],
    scheme: str = "http",
    timeout: Timeouts = LONG,
) -> Stage:
    """A server that need not read what is sent to it."""

    @asynccontextmanager
    async def stage() -> AsyncIterator[Scene]:
        async def serve(reader: StreamReader, writer: StreamWriter) -> None:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await handle(reader, writer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings: dict[str, Any] = {"timeout": timeout}
        if scheme == "https":
            settings["ssl_context"] = certified("127.0.0.1")[1]
        try:
            yield Scene(url, settings=settings)
        finally:
            server.close()

    return stage


async def hang_up(reader: StreamReader, writer: StreamWriter) -> None:
    writer.close()


async def reset_at_once(reader: StreamReader, writer: StreamWriter) -> None:
    abort(writer)


async def hang_up_in_handshake(reader: StreamReader, writer: StreamWriter) -> None:
    await reader.read(1)


async def reset_in_handshake(reader: StreamReader, writer: StreamWriter) -> None:
    await reader.read(1)
    abort(writer)


async def say_nothing(reader: StreamReader, writer: StreamWriter) -> None:
    await reader.read()


async def speak_http(reader: StreamReader, writer: StreamWriter) -> None:
    await reader.read(1)
    writer.write(reply("{}", "400 Bad Request"))


@asynccontextmanager
async def closed_port() -> AsyncIterator[int]:
    """A port at which nobody listens."""
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


@asynccontextmanager
async def refused_by_all() -> AsyncIterator[Scene]:
    async with closed_port() as port:
        yield Scene(f"http://127.0.0.1:{port}")


@asynccontextmanager
async def refused_by_one() -> AsyncIterator[Scene]:
    async with closed_port() as closed, RawServer() as raw:

        def two(host: str, port: int, **hints: Any) -> list[Any]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", each))
                for each in (closed, port)
            ]

        with resolving(two):
            yield Scene(
                f"http://alura.test:{raw.port}", lambda: len(raw.received), settings={"allow_http": "alura.test"}
            )


_numbers = itertools.count()


def an_unknown_host() -> str:
    """Another one each time: who asks for a name shares the look-up that is under way, also that of another test."""
    return f"https://alura-{next(_numbers)}.invalid"


@asynccontextmanager
async def unknown_name() -> AsyncIterator[Scene]:
    def fail(host: str, port: int, **hints: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with resolving(fail):
        yield Scene(an_unknown_host())


def name_that_hangs(timeout: Timeouts) -> Stage:
    @asynccontextmanager
    async def stage() -> AsyncIterator[Scene]:
        is_over = threading.Event()

        def never(host: str, port: int, **hints: Any) -> list[Any]:
            is_over.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

        with resolving(never):
            try:
                yield Scene(an_unknown_host(), settings={"timeout": timeout})
            finally:
                is_over.set()

    return stage


@contextmanager
def resolving(getaddrinfo: Callable[..., list[Any]]) -> Iterator[None]:
    """Have names resolved so: where the system is asked, so that no test depends on a name server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


@asynccontextmanager
async def dropped() -> AsyncIterator[Scene]:
    """Nobody accepts, and the queue of those who wait is full: the system drops what comes, or refuses it."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(listener.getsockname())
            yield Scene(f"http://127.0.0.1:{listener.getsockname()[1]}", settings={"timeout": SHORT_CONNECT})
        finally:
            for each in waiting:
                each.close()


def certificate_of(host: str, age: timedelta | None = None, *, is_known: bool = True) -> Stage:
    @asynccontextmanager
    async def stage() -> AsyncIterator[Scene]:
        made = None if age is None else datetime.now(UTC) - age
        server_side, knows_it = certified(host, made, None if made is None else made + timedelta(days=1))
        async with RawServer(ssl=server_side) as raw:
            yield on(raw, settings={"ssl_context": knows_it if is_known else None})

    return stage


@asynccontextmanager
async def full_pool() -> AsyncIterator[Scene]:
    async with RawServer(routes={"/before": [hang]}) as raw:
        connector = aiohttp.TCPConnector(limit=1)
        tasks: list[asyncio.Task[Any]] = []

        async def fill(alura: AsyncAlura) -> None:
            tasks.append(asyncio.create_task(alura.with_options(timeout=LONG).send(BEFORE.request())))
            while not raw.received:
                await asyncio.sleep(0)

        async def leave(alura: AsyncAlura) -> None:
            tasks[0].cancel()
            with suppress(CancelledError):
                await tasks[0]

        yield on(raw, settings={"connector": connector, "timeout": SHORT_CALL}, before=fill, after=leave)
        await connector.close()


@asynccontextmanager
async def refused_by_proxy() -> AsyncIterator[Scene]:
    async with closed_port() as port, RawServer() as raw:
        yield on(raw, settings={"proxy": f"http://127.0.0.1:{port}"})


@asynccontextmanager
async def unwanted_by_proxy() -> AsyncIterator[Scene]:
    async with RawServer([reply("", "407 Proxy Authentication Required")]) as proxy, RawServer() as raw:
        yield Scene(
            f"https://127.0.0.1:{raw.port}",
            lambda: sum(request.method != "CONNECT" for request in proxy.received),
            settings={"proxy": proxy.url},
            never_called=(raw,),
        )


@asynccontextmanager
async def line_break_in_path() -> AsyncIterator[Scene]:
    def request(route: Route[dict[str, Any]]) -> Request[dict[str, Any]]:
        made: Route[dict[str, Any]] = Route(route.method, "/:x", dict, effect=route.effect, access=Access.PUBLIC)
        return made.request("a\r\nX-Evil: 1")

    async with RawServer() as raw:
        yield on(raw, request=request, never_called=(raw,))


@asynccontextmanager
async def line_break_in_own_header() -> AsyncIterator[Scene]:
    async with RawServer() as raw, aiohttp.ClientSession(headers={"X-Mine": "a\r\nX-Evil: 1"}) as session:
        yield on(raw, settings={"session": session})


def uploading(timeout: Timeouts, *, is_cancelled: bool = False) -> Stage:
    """A server that reads the head, and the rest when the client has given up."""

    @asynccontextmanager
    async def stage() -> AsyncIterator[Scene]:
        began, gave_up, is_over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        is_over.set()
        whole = 0

        async def serve(reader: StreamReader, writer: StreamWriter) -> None:
            nonlocal whole
            is_over.clear()
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                began.set()
                await gave_up.wait()
                fields = [line.partition(b":") for line in head.lower().split(b"\r\n")]
                await reader.readexactly(next(int(value) for name, _, value in fields if name == b"content-length"))
                whole += 1
            writer.close()
            is_over.set()

        async def read_the_rest(alura: AsyncAlura) -> None:
            gave_up.set()
            await is_over.wait()

        listener = socket.socket()
        # With a small one, a small body is more than the system takes.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        server = await asyncio.start_server(serve, sock=listener, limit=4096)
        yield Scene(
            f"http://127.0.0.1:{listener.getsockname()[1]}",
            lambda: whole,
            settings={"timeout": timeout},
            request=lambda route: route.request(body={"padding": "x" * 1_000_000}),
            after=read_the_rest,
            cancel_when=began if is_cancelled else None,
        )
        server.close()

    return stage


async def drip(request: Received, writer: StreamWriter) -> bytes:
    """Each byte is progress, so a limit on silence alone would wait for ever."""
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.02)
    return b""


@asynccontextmanager
async def refusing_the_head() -> AsyncIterator[Scene]:
    whole = 0

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal whole
        head = await reader.readuntil(b"\r\n\r\n")
        whole += b"content-length:" not in head.lower()
        writer.write(reply('{"statusCode":401,"message":"Unauthorized"}', "401 Unauthorized"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield Scene(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", lambda: whole)
    server.close()


def idle(spoil: Callable[[StreamWriter], None], **settings: Any) -> Stage:
    """A connection that was answered, and what happens on it while nobody looks."""

    @asynccontextmanager
    async def stage() -> AsyncIterator[Scene]:
        async with RawServer() as raw:

            async def before(alura: AsyncAlura) -> None:
                await alura.send(BEFORE.request())
                # Without a turn of the loop: the client has not seen it when it calls.
                for writer in raw.writers.values():
                    spoil(writer)

            yield on(raw, before=before, settings=settings)

    return stage


def hang_up_unseen(writer: StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.get_extra_info("socket").shutdown(socket.SHUT_WR)


def stray(status: str) -> Callable[[StreamWriter], None]:
    return lambda writer: writer.write(reply('{"status":"stray"}', status))


def forcing_close() -> Stage:
    @asynccontextmanager
    async def stage() -> AsyncIterator[Scene]:
        connector = aiohttp.TCPConnector(force_close=True)
        async with connector, idle(stray("200 OK"), connector=connector)() as scene:
            yield scene

    return stage


def redirecting(status: str) -> Stage:
    @asynccontextmanager
    async def stage() -> AsyncIterator[Scene]:
        async with RawServer() as other, RawServer() as raw:
            raw.answers = [reply("", status, headers={"Location": f"{other.url}/call"})]
            yield on(raw, never_called=(other,), settings={"token": "t0ken"})

    return stage


async def flood(request: Received, writer: StreamWriter) -> bytes:
    writer.write(reply("", length=100 * 1024 * 1024))
    for _ in range(100):
        writer.write(b" " * 1024 * 1024)
        await writer.drain()
    return b""


@asynccontextmanager
async def another_loop() -> AsyncIterator[Scene]:
    loop = asyncio.new_event_loop()
    running = asyncio.create_task(asyncio.to_thread(loop.run_forever))

    async def before(alura: AsyncAlura) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(alura.send(BEFORE.request()), loop))

    async def after(alura: AsyncAlura) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(alura.close(), loop))

    async with RawServer() as raw:
        yield on(raw, before=before, after=after)
        loop.call_soon_threadsafe(loop.stop)
        await running
        loop.close()


@asynccontextmanager
async def loop_that_ended() -> AsyncIterator[Scene]:
    async def before(alura: AsyncAlura) -> None:
        await asyncio.to_thread(asyncio.run, alura.send(BEFORE.request()))

    async with RawServer() as raw:
        yield on(raw, before=before)


# The table


def every(ends: Ends) -> Cells:
    return dict.fromkeys(Effect, ends)


def lost(
    error: type[TransportError] = TransportError, *, read: int = 1, attempts: int = 4, executions: Any = 1
) -> Cells:
    """The request was read and no complete reply came: what is harmless to repeat is repeated, the rest is unknown."""
    return {
        Effect.READ: Ends(error, Outcome.UNKNOWN, read, attempts),
        Effect.REPEATABLE: Ends(error, Outcome.UNKNOWN, executions, attempts),
        Effect.ONCE: Ends(OutcomeUnknownError, Outcome.UNKNOWN, executions),
    }


NOT_SENT = every(Ends(NotSentError, Outcome.NOT_SENT, 0, attempts=4))
NOT_SENT_FOR_GOOD = every(Ends(NotSentError, Outcome.NOT_SENT, 0))
# A call of the pool does not pay for knowing how far it got when its time was up: it may say too much, never too
# little.
OUT_OF_TIME = {
    Effect.READ: Ends(CallTimeoutError, Outcome.UNKNOWN, 0),
    Effect.REPEATABLE: Ends(CallTimeoutError, Outcome.UNKNOWN, 0),
    Effect.ONCE: Ends(NotSentError, Outcome.NOT_SENT, 0),
}
# Whether any of it had left is a race with the server.
EITHER = (Outcome.NOT_SENT, Outcome.UNKNOWN)
NOT_READ = {
    Effect.READ: Ends(TransportError, EITHER, 0, attempts=4),
    Effect.REPEATABLE: Ends(TransportError, EITHER, 0, attempts=4),
    Effect.ONCE: Ends(CallError, EITHER, 0, attempts=None),
}
# aiohttp repeats a GET itself where a connection is lost.
LOST_CONNECTION = lost(read=2)
REFUSED_TO_FOLLOW = {
    Effect.READ: Ends(ResponseError, Outcome.UNKNOWN, 1),
    Effect.REPEATABLE: Ends(ResponseError, Outcome.UNKNOWN, 1),
    Effect.ONCE: Ends(OutcomeUnknownError, Outcome.UNKNOWN, 1),
}
# On a connection that was used before, nothing tells a stray reply from the answer: this is why a call that must not be
# made twice has none such.
TAKEN = Ends(None, Outcome.DONE, 1, returns={"status": "stray"})
TAKEN_AS_FAILURE = Ends(ResponseError, Outcome.UNKNOWN, 1, by_default=Ends(None, Outcome.DONE, 2))

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ZIPPED = {"Content-Encoding": "gzip"}
SQUEEZED = gzip.compress(b'{"status":"ok","note":"' + bytes(range(97, 123)) * 9 + b'"}')

TABLE: dict[str, tuple[Stage, Cells]] = {
    "connection refused (all addresses)": (refused_by_all, NOT_SENT),
    "connection refused (one address)": (refused_by_one, every(ANSWERED)),
    "DNS failure": (unknown_name, NOT_SENT),
    "DNS hang, total": (name_that_hangs(SHORT_CALL), OUT_OF_TIME),
    "DNS hang, connect": (
        name_that_hangs(Timeouts(settle=0, call=0.3, connect=0.05)),
        {**OUT_OF_TIME, Effect.ONCE: NOT_SENT[Effect.ONCE]},
    ),
    "SYN dropped": (dropped, NOT_SENT),
    "TLS self-signed": (certificate_of("127.0.0.1", is_known=False), NOT_SENT_FOR_GOOD),
    "TLS wrong host": (certificate_of("localhost"), NOT_SENT_FOR_GOOD),
    "TLS expired": (certificate_of("127.0.0.1", timedelta(days=9)), NOT_SENT_FOR_GOOD),
    "https to an http port": (misbehaving(speak_http, "https"), NOT_SENT),
    "FIN in handshake": (misbehaving(hang_up_in_handshake, "https"), NOT_SENT),
    "RST in handshake": (misbehaving(reset_in_handshake, "https"), NOT_SENT),
    "handshake stall": (misbehaving(say_nothing, "https", SHORT_CONNECT), NOT_SENT),
    "pool full": (full_pool, {**OUT_OF_TIME, Effect.ONCE: ANSWERED}),
    "proxy refused": (refused_by_proxy, NOT_SENT),
    "proxy answers 407": (unwanted_by_proxy, NOT_SENT_FOR_GOOD),
    "CR LF in a header": (
        answering(reply("{}"), token="t\r\nX-Evil: 1"),
        every(Ends(ConfigurationError, Outcome.NOT_SENT, 0)),
    ),
    "CR LF in a header of the user's own session": (
        line_break_in_own_header,
        {**lost(executions=0, read=0), Effect.ONCE: ANSWERED},
    ),
    "CR LF in a path": (line_break_in_path, every(Ends(InvalidArgumentError, Outcome.NOT_SENT, 0))),
    "accepted, then RST": (misbehaving(reset_at_once), NOT_READ),
    "accepted, then FIN": (misbehaving(hang_up), NOT_READ),
    "request read, then FIN": (answering(b""), LOST_CONNECTION),
    "request read, then RST": (answering(reset), LOST_CONNECTION),
    "request read, then silence, read": (answering(hang, timeout=SHORT_READ), lost(CallTimeoutError)),
    "request read, then silence, call": (answering(hang, timeout=SHORT_CALL), lost(CallTimeoutError, attempts=1)),
    "cancelled mid-upload": (
        uploading(LONG, is_cancelled=True),
        dict.fromkeys((Effect.REPEATABLE, Effect.ONCE), Ends(CancelledError, Outcome.UNKNOWN, (0, 1))),
    ),
    "timed out mid-upload": (
        # Long enough for a busy machine to have begun.
        uploading(Timeouts(settle=0, call=1)),
        {
            Effect.REPEATABLE: Ends(CallTimeoutError, Outcome.UNKNOWN, (0, 1)),
            Effect.ONCE: Ends(OutcomeUnknownError, Outcome.UNKNOWN, (0, 1)),
        },
    ),
    "half a status line, then FIN": (answering(cut(b"HTTP/1.1 2")), LOST_CONNECTION),
    "half the headers, then FIN": (answering(cut(b"HTTP/1.1 200 OK\r\nContent-Le")), LOST_CONNECTION),
    "Content-Length 100, 11 bytes, then FIN": (answering(cut(reply('{"status":1', length=100))), lost()),
    "Content-Length 5, 11 bytes": (answering(reply('{"status":1', length=5)), lost()),
    "204 with a body": (answering(reply('{"a":1}', "204 No Content")), lost()),
    "no length, closed in mid JSON": (answering(cut(HEAD + b'\r\n{"a": tr')), lost()),
    "truncated gzip with the right length": (answering(reply(SQUEEZED[:-20], headers=ZIPPED)), lost()),
    "chunk garbage": (answering(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"), lost()),
    "CL+TE": (answering(HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"), lost()),
    "two lengths": (answering(HEAD + b"Content-Length: 2\r\nContent-Length: 11\r\n\r\n{}"), lost()),
    "not HTTP": (answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), lost()),
    "bare HTML": (answering(cut(b"<html><body>It works</body></html>\r\n\r\n")), lost()),
    "20 KB header": (answering(reply("{}", headers={"X-Long": "x" * 20_000})), lost()),
    "NUL": (answering(reply("{}", headers={"X-Nul": "a\0b"})), lost()),
    "invalid gzip": (answering(reply("this is not compressed", headers=ZIPPED)), lost()),
    "last chunk missing": (answering(cut(CHUNKED + b"2\r\n{}\r\n")), lost()),
    "headers dripped": (answering(drip, timeout=SHORT_CALL), lost(CallTimeoutError, attempts=1)),
    "401 before the body was read": (
        refusing_the_head,
        {
            **every(Ends(UnauthorizedError, Outcome.REJECTED, 0)),
            # It has none.
            Effect.READ: Ends(UnauthorizedError, Outcome.REJECTED, 1),
        },
    ),
    "connection lost after reading, then answered": (
        answering(b"", reply('{"status":"ok"}')),
        {
            Effect.READ: Ends(None, Outcome.DONE, 2),
            Effect.REPEATABLE: Ends(TransportError, Outcome.UNKNOWN, 1, by_default=Ends(None, Outcome.DONE, 2)),
            Effect.ONCE: Ends(OutcomeUnknownError, Outcome.UNKNOWN, 1),
        },
    ),
    "idle close raced by a call": (
        idle(hang_up_unseen),
        {
            Effect.READ: ANSWERED,
            Effect.REPEATABLE: Ends(TransportError, Outcome.UNKNOWN, 0, by_default=ANSWERED),
            Effect.ONCE: ANSWERED,
        },
    ),
    "stray 200 on an idle pooled connection": (
        idle(stray("200 OK")),
        {Effect.READ: TAKEN, Effect.REPEATABLE: TAKEN, Effect.ONCE: ANSWERED},
    ),
    "stray 408 on an idle pooled connection": (
        idle(stray("408 Request Timeout")),
        {Effect.READ: TAKEN_AS_FAILURE, Effect.REPEATABLE: TAKEN_AS_FAILURE, Effect.ONCE: ANSWERED},
    ),
    "stray 200 with force_close=True": (forcing_close(), every(ANSWERED)),
    "redirect 301": (redirecting("301 Moved Permanently"), REFUSED_TO_FOLLOW),
    "redirect 302": (redirecting("302 Found"), REFUSED_TO_FOLLOW),
    "redirect 303": (redirecting("303 See Other"), REFUSED_TO_FOLLOW),
    "redirect 307": (redirecting("307 Temporary Redirect"), REFUSED_TO_FOLLOW),
    "redirect 308": (redirecting("308 Permanent Redirect"), REFUSED_TO_FOLLOW),
    "gzip bomb, read through a cap": (
        answering(reply(gzip.compress(b" " * 10_000_000), headers=ZIPPED), max_body_bytes=100_000),
        lost(BodyTooLargeError, attempts=1),
    ),
    "100 MiB, read through a cap": (
        answering(flood, max_body_bytes=100_000),
        lost(BodyTooLargeError, attempts=1),
    ),
    "session used on another loop": (another_loop, every(Ends(UsageError, Outcome.NOT_SENT, 0))),
    "session used after its loop closed": (loop_that_ended, every(Ends(UsageError, Outcome.NOT_SENT, 0))),
}


@pytest.mark.filterwarnings("ignore:an AsyncAlura client was not closed:ResourceWarning")
@pytest.mark.parametrize(("stage", "cells"), TABLE.values(), ids=TABLE.keys())
async def test_every_fault_ends_as_the_table_says(stage: Stage, cells: Cells) -> None:
    """All cells of a row at once, each with a server and a client of its own."""
    async with AsyncExitStack() as stack:
        tries = [
            check(await stack.enter_async_context(stage()), effect, ends, is_repeated=is_repeated)
            for effect, ends in cells.items()
            for is_repeated in (False, True)
        ]
        results = await asyncio.gather(*tries, return_exceptions=True)
    if failures := [result for result in results if isinstance(result, Exception)]:
        raise ExceptionGroup("not as the table says", failures)


async def check(scene: Scene, effect: Effect, ends: Ends, *, is_repeated: bool) -> None:
    """Make one call, by a client that repeats as it does by default or not at all."""
    attempts = ends.attempts if is_repeated else 1
    if is_repeated and ends.by_default is not None:
        ends = ends.by_default
    settings = {"timeout": LONG, "retry": Retry() if is_repeated else Retry(attempts=1)} | scene.settings
    kept: list[Outcome | None] = []
    result: Any
    try:
        async with AsyncAlura(base_url=scene.url, **settings) as alura:
            try:
                result = await call(alura, scene, ROUTES[effect])
            finally:
                await scene.after(alura)
                kept = [entry.outcome for entry in await alura.journal.entries()]
    except (AluraError, CancelledError) as error:
        result = error
    where = f"{effect.value}, {'by default' if is_repeated else 'single'}: {result!r}"
    if ends.error is None:
        assert result == ends.returns, where
    else:
        assert isinstance(result, ends.error), where
    if isinstance(result, AluraError):
        assert result.outcome in (ends.outcome if isinstance(ends.outcome, tuple) else (ends.outcome,)), where
    if isinstance(result, CallError):
        assert attempts is None or result.attempts == attempts, where
    possible = ends.executions if isinstance(ends.executions, tuple) else (ends.executions,)
    assert scene.executions() in [number * (attempts or 1) for number in possible], where
    assert not any(server.received for server in scene.never_called), where
    if effect is Effect.ONCE:
        told = result.outcome if isinstance(result, AluraError) else ends.outcome
        # What was refused before anything was begun is not written down.
        assert kept == ([] if isinstance(result, AluraError) and not isinstance(result, CallError) else [told]), where


async def call(alura: AsyncAlura, scene: Scene, route: Route[dict[str, Any]]) -> Any:
    """Make the call of a scene, in the turn of the loop in which what precedes it ends."""
    request = scene.request(route)
    await scene.before(alura)
    if scene.cancel_when is None:
        return await alura.send(request)
    task = asyncio.create_task(alura.send(request))
    await scene.cancel_when.wait()
    task.cancel()
    return await task


_FORKS = """
import os, sys
from alura_async import Access, Alura, Effect, Retry, Route

routes = [
    Route("GET", "/read", dict, access=Access.PUBLIC),
    Route("POST", "/repeatable", dict, access=Access.PUBLIC, effect=Effect.REPEATABLE),
    Route("POST", "/once", dict, access=Access.PUBLIC),
]
alura = Alura(base_url=sys.argv[1], retry=Retry(attempts=1), timeout=10)
alura.send(Route("GET", "/before", dict, access=Access.PUBLIC).request())
child = os.fork()
if child:
    os.waitpid(child, 0)
else:
    for route in routes:
        print(alura.send(route.request())["status"], flush=True)
alura.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
async def test_after_a_fork_the_child_calls_by_connections_of_its_own(raw: RawServer) -> None:
    """The table's last row: facade used after fork."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", _FORKS, raw.url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert (output.split(), errors) == ([b"ok"] * 3, b"")
    before, *after = raw.received
    assert [request.path for request in after] == ["/read", "/repeatable", "/once"]
    assert before.connection not in {request.connection for request in after}
