"""How a request leaves and a reply is read: connections, redirects, limits, headers, closing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
import warnings
import zlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from alura_async import (
    Access,
    AsyncAlura,
    CallTimeoutError,
    ClosedError,
    ConfigurationError,
    Effect,
    InvalidArgumentError,
    NotSentError,
    Outcome,
    OutcomeUnknownError,
    RateLimiter,
    Request,
    ResponseError,
    Route,
    Timeouts,
    TransportError,
    UsageError,
    __version__,
)
from alura_async.core.exchange import Exchange
from alura_async.core.outcome import Attempt
from alura_async.core.settings import Connection, origin
from tests.certificates import certified
from tests.faults.clients import warm_client
from tests.raw_server import RawServer, Received, hang, reply

pytestmark = pytest.mark.anyio

READ: Route[dict[str, Any]] = Route("GET", "/read", dict, access=Access.PUBLIC)
ONCE: Route[dict[str, Any]] = Route("POST", "/once", dict, access=Access.PUBLIC)
REPEATABLE: Route[dict[str, Any]] = Route("POST", "/repeatable", dict, effect=Effect.REPEATABLE, access=Access.PUBLIC)


@pytest.fixture
async def alura(raw: RawServer) -> AsyncIterator[AsyncAlura]:
    async with AsyncAlura(base_url=raw.url, token="t0ken") as client:
        yield client


async def test_reads_share_a_kept_connection(raw: RawServer, alura: AsyncAlura) -> None:
    for _ in range(3):
        await alura.send(READ.request())
        await alura.send(REPEATABLE.request(body={"a": 1}))
    assert {request.connection for request in raw.received} == {1}


async def test_a_call_that_must_not_be_made_twice_has_a_connection_of_its_own(
    raw: RawServer, alura: AsyncAlura
) -> None:
    await alura.send(READ.request())
    for _ in range(3):
        await alura.send(ONCE.request())
    await alura.send(READ.request())
    assert [request.connection for request in raw.received] == [1, 2, 3, 4, 1]


async def test_a_stray_reply_on_an_idle_connection_is_never_the_answer_to_a_close(
    raw: RawServer, alura: AsyncAlura
) -> None:
    async def answer_and_add_a_stray(request: Received, writer: asyncio.StreamWriter) -> bytes:
        return reply('{"status":"ok"}') + reply('{"status":"stray"}')

    raw.routes["/read"] = [answer_and_add_a_stray]
    raw.routes["/once"] = [reply('{"status":"closed"}')]
    await alura.send(READ.request())
    assert await alura.send(ONCE.request()) == {"status": "closed"}
    assert raw.paths() == ["GET /read", "POST /once"]


async def test_idle_connections_are_given_up_before_node_closes_them(raw: RawServer, alura: AsyncAlura) -> None:
    """Node servers close an idle connection at 5 s; this asks the pool, so that no test waits for it."""
    await alura.send(READ.request())
    connector = alura._road._exchange._sessions.read.connector  # type: ignore[union-attr]
    assert connector is not None
    assert connector._keepalive_timeout is not None
    assert connector._keepalive_timeout < 5


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_redirects_are_not_followed(raw: RawServer, alura: AsyncAlura, status: str) -> None:
    raw.answers = [reply("", status, headers={"Location": f"{raw.url}/elsewhere"})]
    with pytest.raises(ResponseError, match="redirects are not followed"):
        await alura.send(READ.request())
    with pytest.raises(OutcomeUnknownError):
        await alura.send(ONCE.request())
    assert raw.paths() == ["GET /read", "POST /once"]


async def test_cookies_are_not_kept(raw: RawServer, alura: AsyncAlura) -> None:
    raw.answers = [reply("{}", headers={"Set-Cookie": "a=b; Path=/"})]
    await alura.send(READ.request())
    await alura.send(READ.request())
    await alura.send(ONCE.request())
    assert [request.headers.get("cookie") for request in raw.received] == [None, None, None]


async def test_headers_name_the_sdk_and_the_token_goes_only_where_it_belongs(raw: RawServer, alura: AsyncAlura) -> None:
    raw.answers = [reply("{}")]
    await alura.send(READ.request())
    await alura.send(Route("POST", "/bearer", dict, access=Access.BEARER).request(body={"a": 1}))
    public, bearer = raw.received
    assert public.headers["user-agent"] == f"alura-async/{__version__}"
    assert "authorization" not in public.headers
    assert "content-type" not in public.headers
    assert bearer.headers["authorization"] == "Bearer t0ken"
    assert bearer.headers["content-type"] == "application/json"
    assert bearer.body == b'{"a":1}'


@pytest.mark.parametrize("route", [READ, REPEATABLE, ONCE], ids=["read", "repeatable", "once"])
async def test_a_call_that_has_a_name_sends_it(raw: RawServer, route: Route[dict[str, Any]]) -> None:
    exchange = Exchange(Connection(origin=origin(raw.url)), Timeouts())
    try:
        await exchange.send(route.request(), None, Attempt("7f3a"))
        await exchange.send(route.request(), None, Attempt())
    finally:
        await exchange.close()
    named, nameless = raw.received
    assert named.headers["x-request-id"] == named.headers["idempotency-key"] == "7f3a"
    assert not {"x-request-id", "idempotency-key"} & nameless.headers.keys()


@pytest.mark.parametrize("end", ["\r\nX-Evil: 1", "\n\nGET /evil HTTP/1.1", "\r", "\0"])
@pytest.mark.parametrize("route", [READ, REPEATABLE, ONCE], ids=["read", "repeatable", "once"])
async def test_no_line_break_gets_out_in_a_path_or_a_header(
    raw: RawServer, route: Route[dict[str, Any]], end: str
) -> None:
    """Also where somebody puts a request together by hand, past what encodes its parts."""
    exchange = Exchange(Connection(origin=origin(raw.url)), Timeouts())
    by_hand = [(Request(route, f"/a{end}", "", None), ""), (Request(route, "/a", f"b={end}", None), "")]
    try:
        for request, call_id in [*by_hand, (route.request(), f"7f3a{end}")]:
            attempt = Attempt(call_id)
            with pytest.raises(ValueError, match="control character"):
                await exchange.send(request, None, attempt)
            assert not (attempt.sent and route is ONCE)
    finally:
        await exchange.close()
    assert raw.received == []
    with pytest.raises(InvalidArgumentError, match="control characters"):
        Route(route.method, "/:x", dict, effect=route.effect).request(f"a{end}")


async def test_a_segment_with_a_slash_stays_one_segment(raw: RawServer, alura: AsyncAlura) -> None:
    raw.answers = [reply("[]")]
    await alura.indicators.candles("PURR/USDC", "1h", limit=2)
    await alura.indicators.candles("a b?c#d%e", "1h")
    assert [request.target for request in raw.received] == [
        "/api/indicators/candles/PURR%2FUSDC/1h?limit=2",
        "/api/indicators/candles/a%20b%3Fc%23d%25e/1h",
    ]


async def test_a_base_url_may_be_an_ipv6_address() -> None:
    try:
        raw = RawServer(host="::1")
        await raw.__aenter__()
    except OSError:
        pytest.skip("no IPv6 here")
    port = raw.port
    async with AsyncAlura(base_url=f"http://[::1]:{port}", token="t0ken") as alura:
        await alura.send(READ.request())
        await alura.send(ONCE.request())
    await raw.__aexit__()
    assert [request.headers["host"] for request in raw.received] == [f"[::1]:{port}"] * 2


async def test_a_base_url_may_have_a_path(raw: RawServer) -> None:
    async with AsyncAlura(base_url=raw.url + "/v2/") as alura:
        await alura.health.basic()
    assert raw.paths() == ["GET /v2/health"]


async def test_nothing_listens_means_not_sent() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with AsyncAlura(base_url=f"http://127.0.0.1:{unused.getsockname()[1]}", token="t") as alura:
            for request in (READ.request(), REPEATABLE.request(), ONCE.request()):
                with pytest.raises(NotSentError) as caught:
                    await alura.send(request)
                assert caught.value.outcome is Outcome.NOT_SENT


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        reply('{"a":', length=100) + b"",
        b"not http at all\r\n\r\n",
        reply('{"a": tru'),
    ],
    ids=["closed", "half a head", "short body", "not http", "cut json"],
)
async def test_no_trustworthy_reply_is_unknown_for_once_and_an_error_for_reads(
    raw: RawServer, alura: AsyncAlura, answer: bytes
) -> None:
    async def answer_and_close(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    raw.answers = [answer_and_close]
    with pytest.raises(TransportError) as read:
        await alura.send(READ.request())
    with pytest.raises(OutcomeUnknownError) as once:
        await alura.send(ONCE.request())
    assert read.value.outcome is once.value.outcome is Outcome.UNKNOWN
    assert read.value.status in (None, 200)
    assert raw.paths().count("POST /once") == 1


async def test_a_silent_server_runs_into_the_time_limit(raw: RawServer) -> None:
    raw.answers = [hang]
    async with AsyncAlura(base_url=raw.url, timeout=0.2) as alura:
        with pytest.raises(CallTimeoutError):
            await alura.send(READ.request())
        with pytest.raises(OutcomeUnknownError) as caught:
            await alura.send(ONCE.request())
        assert isinstance(caught.value.__cause__, TimeoutError)


async def test_headers_dripped_one_by_one_run_into_the_time_limit(raw: RawServer) -> None:
    """Each byte is progress, so a limit on silence alone would wait for ever."""

    async def drip(request: Received, writer: asyncio.StreamWriter) -> bytes:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        return b""

    raw.answers = [drip]
    async with AsyncAlura(base_url=raw.url, timeout=Timeouts(call=0.3, read=5)) as alura:
        with pytest.raises(CallTimeoutError):
            await alura.send(READ.request())


async def test_a_cancelled_call_is_cancelled_and_its_connection_is_not_used_again(raw: RawServer) -> None:
    arrived = asyncio.Event()

    async def arrive_and_hang(request: Received, writer: asyncio.StreamWriter) -> bytes:
        arrived.set()
        return await hang(request, writer)

    raw.answers = [arrive_and_hang, reply("{}")]
    async with AsyncAlura(base_url=raw.url) as alura:
        task = asyncio.create_task(alura.send(READ.request()))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await alura.send(READ.request()) == {}
    assert [request.connection for request in raw.received] == [1, 2]


# In a process of its own: the most memory that this one has ever held says nothing about one call.
_READS_A_FLOOD = """
import asyncio, resource, sys
from alura_async import Access, AluraError, AsyncAlura, Route
from alura_async.core import exchange

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

async def main(url, method):
    async with AsyncAlura(base_url=url, max_body_bytes=8 * 1024 * 1024) as alura:
        before = peak()
        try:
            await alura.send(Route(method, "/flood", dict, access=Access.PUBLIC).request())
        except AluraError as error:
            print(type(error).__name__, peak() - before, error)

asyncio.run(main(*sys.argv[1:]))
"""
MIB = 1024 * 1024


def bomb() -> bytes:
    squeeze = zlib.compressobj(9, wbits=31)
    return b"".join([squeeze.compress(b" " * MIB) for _ in range(256)]) + squeeze.flush()


async def hundred_mebibytes(request: Received, writer: asyncio.StreamWriter) -> bytes:
    writer.write(reply("", length=100 * MIB))
    for _ in range(100):
        writer.write(b" " * MIB)
        await writer.drain()
    return b""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module there")
@pytest.mark.parametrize(("method", "kind"), [("GET", "BodyTooLargeError"), ("POST", "OutcomeUnknownError")])
@pytest.mark.parametrize("flood", ["gzip bomb", "100 MiB"])
async def test_a_reply_without_end_is_refused_before_it_fills_the_memory(
    raw: RawServer, flood: str, method: str, kind: str
) -> None:
    raw.answers = [reply(bomb(), headers={"Content-Encoding": "gzip"}) if flood == "gzip bomb" else hundred_mebibytes]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _READS_A_FLOOD, raw.url, method, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    raised, grown, message = output.decode().split(" ", 2)
    assert raised == kind
    assert "max_body_bytes=8388608" in message
    assert int(grown) < 32 * MIB


_READS_BRACKETS = """
import asyncio, sys
from alura_async import Access, AluraError, AsyncAlura, Retry, Route
sys.setrecursionlimit(100_000)  # as py_ecc does, which eth-account imports

async def main(url):
    async with AsyncAlura(base_url=url, retry=Retry(attempts=1)) as alura:
        for returns in (dict, list[int]):
            try:
                await alura.send(Route("GET", "/deep", returns, access=Access.PUBLIC).request())
            except AluraError as error:
                print(type(error).__name__)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("body", ["[" * 200_000, '{"a":' * 100_000 + "1" + "}" * 100_000], ids=["open", "closed"])
async def test_brackets_within_brackets_do_not_end_the_process(raw: RawServer, body: str) -> None:
    raw.answers = [reply(body)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _READS_BRACKETS, raw.url, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert (process.returncode, output.split()) == (0, [b"TransportError", b"TransportError"])


async def test_a_large_body_below_the_cap_is_read_whole(raw: RawServer, alura: AsyncAlura) -> None:
    raw.answers = [reply(b'{"a":"' + b"x" * 3_000_000 + b'"}')]
    value = await alura.send(READ.request())
    assert len(value["a"]) == 3_000_000


async def test_a_session_of_the_users_own_serves_reads_and_stays_open(raw: RawServer) -> None:
    async with aiohttp.ClientSession(headers={"X-Mine": "1"}, raise_for_status=True) as session:
        async with AsyncAlura(base_url=raw.url, session=session) as alura:
            raw.answers = [reply("{}"), reply('{"message":"no"}', "404 Not Found"), reply("{}")]
            await alura.send(READ.request())
            with pytest.raises(ResponseError, match="no"):
                await alura.send(READ.request())
            await alura.send(ONCE.request())
        assert not session.closed
    read, missing, once = raw.received
    assert read.headers["x-mine"] == missing.headers["x-mine"] == "1"
    assert "x-mine" not in once.headers


async def test_a_connector_of_the_users_own_serves_reads_and_stays_open(raw: RawServer) -> None:
    connector = aiohttp.TCPConnector(limit=1)
    async with AsyncAlura(base_url=raw.url, connector=connector) as alura:
        await alura.send(READ.request())
        await alura.send(ONCE.request())
    assert not connector.closed
    await connector.close()


async def test_a_proxy_is_used_when_asked_for(raw: RawServer) -> None:
    async with AsyncAlura(base_url="http://127.0.0.1:1", proxy=raw.url) as alura:
        await alura.send(READ.request())
        await alura.send(ONCE.request())
    assert [request.target for request in raw.received] == ["http://127.0.0.1:1/read", "http://127.0.0.1:1/once"]


BOB = f"Basic {base64.b64encode(b'bob:hunter2').decode()}"


async def test_a_proxy_is_told_who_asks_and_the_server_behind_its_tunnel_is_not(
    raw: RawServer, certificate: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async with AsyncAlura(base_url="http://127.0.0.1:1", proxy=raw.url.replace("//", "//bob:hunter2@")) as alura:
        await alura.send(READ.request())
        await alura.send(ONCE.request())
    assert [request.headers["proxy-authorization"] for request in raw.received] == [BOB] * 2
    asked: list[Received] = []

    async def tunnel(request: Received, writer: asyncio.StreamWriter) -> None:
        asked.append(request)
        reader, onward = await asyncio.open_connection("127.0.0.1", behind.port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65536):
                    sink.write(data)
            sink.close()

        await asyncio.gather(pump(request.reader, onward), pump(reader, writer))

    server_side, knows_it = certificate
    raw.answers = [tunnel]
    async with RawServer(ssl=server_side) as behind:
        url = raw.url.replace("//", "//bob:hunter2@")
        async with AsyncAlura(base_url=behind.url, proxy=url, ssl_context=knows_it) as alura:
            await alura.send(READ.request())
            await alura.send(ONCE.request())
        assert [(request.method, request.headers["proxy-authorization"]) for request in asked] == [("CONNECT", BOB)] * 2
        assert behind.paths() == ["GET /read", "POST /once"]
        assert not any("proxy-authorization" in request.headers for request in behind.received)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One without any proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


async def test_a_proxy_of_the_environment_is_used_only_when_asked_for_and_not_where_it_is_excepted(
    raw: RawServer, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("http_proxy", f"bob:hunter2@127.0.0.1:{raw.port}")

    async def call(**settings: Any) -> None:
        async with AsyncAlura(base_url="http://127.0.0.1:1", **settings) as alura:
            await asyncio.gather(alura.send(READ.request()), alura.send(READ.request()), alura.send(ONCE.request()))

    with pytest.raises(NotSentError):
        await call()
    assert raw.received == []
    await call(trust_env=True)
    assert [request.headers["proxy-authorization"] for request in raw.received] == [BOB] * 3
    async with RawServer() as given:
        await call(trust_env=True, proxy=given.url)
        assert len(given.received) == 3
    environment.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(NotSentError):
        await call(trust_env=True)
    assert len(raw.received) == 3


async def test_a_proxy_of_the_environment_that_cannot_be_used_is_not_gone_around(
    raw: RawServer, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("http_proxy", "socks5://bob:hunter2@127.0.0.1:1")
    async with AsyncAlura(base_url=raw.url, trust_env=True, token="t0ken") as alura:
        for request in (READ.request(), ONCE.request()):
            with pytest.raises(
                ConfigurationError, match=r"http_proxy of the environment .*only http and https"
            ) as told:
                await alura.send(request)
            assert "hunter2" not in str(told.value)
        assert [entry.outcome for entry in await alura.journal.entries()] == [Outcome.NOT_SENT]
    assert raw.received == []


async def test_what_trusts_the_environment_needs_none_of_asyncios_threads_and_takes_no_password_of_a_netrc(
    raw: RawServer, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login bob password hunter2\n")
    netrc.chmod(0o600)
    environment.setenv("NETRC", str(netrc))
    release, blocking = threading.Event(), threading.Event()

    def block() -> None:
        blocking.set()
        release.wait(30)

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    theirs = [asyncio.create_task(asyncio.to_thread(block)) for _ in range(3)]
    try:
        while not blocking.is_set():
            await asyncio.sleep(0)
        async with AsyncAlura(base_url=raw.url, trust_env=True, token="t0ken", timeout=20) as alura:
            await alura.user.close_all_positions()
            await alura.send(READ.request())
    finally:
        release.set()
        await asyncio.gather(*theirs)
    assert [request.headers.get("authorization") for request in raw.received] == ["Bearer t0ken", None]


async def test_closing_while_the_environment_is_asked_opens_nothing(environment: pytest.MonkeyPatch) -> None:
    asked, release = threading.Event(), threading.Event()

    def ask(host: str) -> bool:
        asked.set()
        release.wait(30)
        return True

    environment.setattr(urllib.request, "proxy_bypass", ask)
    alura = AsyncAlura(base_url="http://127.0.0.1:1", trust_env=True)
    call = asyncio.create_task(alura.send(READ.request()))
    while not asked.is_set():
        await asyncio.sleep(0.001)
    await alura.close()
    release.set()
    with pytest.raises(ClosedError):
        await call


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    certificate: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server_side, knows_it = certificate
    async with RawServer(ssl=server_side) as raw:
        async with AsyncAlura(base_url=raw.url) as alura:
            for request in (READ.request(), ONCE.request()):
                with pytest.raises(NotSentError, match="certificate"):
                    await alura.send(request)
        assert raw.received == []
        async with AsyncAlura(base_url=raw.url, ssl_context=knows_it) as alura:
            await alura.send(READ.request())
            await alura.send(ONCE.request())
        assert raw.paths() == ["GET /read", "POST /once"]


@pytest.mark.parametrize("fault", ["wrong host", "expired", "no TLS", "FIN", "RST", "stall"])
@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
async def test_a_handshake_that_fails_means_not_sent(fault: str, is_warm: bool) -> None:
    async def misbehave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if fault == "stall":
            await reader.read()
        if fault == "no TLS":
            writer.write(reply("{}", "400 Bad Request"))
        if fault == "RST":
            writer.transport.abort()
        else:
            writer.close()

    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    server_side, knows_it = {
        "wrong host": lambda: certified("localhost"),
        "expired": lambda: certified("127.0.0.1", not_before=long_ago, not_after=long_ago + timedelta(days=1)),
    }.get(fault, lambda: certified("127.0.0.1"))()
    has_bad_certificate = fault in ("wrong host", "expired")
    async with contextlib.AsyncExitStack() as stack:
        if has_bad_certificate:
            url = (raw := await stack.enter_async_context(RawServer(ssl=server_side))).url
        else:
            raw = RawServer()
            server = await asyncio.start_server(misbehave, "127.0.0.1", 0)
            stack.callback(server.close)
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        limits = Timeouts(connect=0.05 if fault == "stall" else 0.15)
        open_client = warm_client if is_warm else AsyncAlura
        alura = await stack.enter_async_context(open_client(base_url=url, ssl_context=knows_it, timeout=limits))
        for request in (READ.request(), REPEATABLE.request(), ONCE.request()):
            with pytest.raises(NotSentError) as caught:
                await alura.send(request)
            assert caught.value.outcome is Outcome.NOT_SENT
        assert raw.received == []


async def test_a_context_that_checks_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="does not check"):
        AsyncAlura(ssl_context=ssl._create_unverified_context())


async def test_calls_after_close_say_so(raw: RawServer) -> None:
    alura = AsyncAlura(base_url=raw.url)
    await alura.health.basic()
    await alura.close()
    await alura.close()
    with pytest.raises(ClosedError):
        await alura.health.basic()


@pytest.mark.parametrize("route", [READ, ONCE], ids=["read", "once"])
async def test_closing_under_a_call_is_told_and_cancels_nobody(raw: RawServer, route: Route[dict[str, Any]]) -> None:
    """A cancellation that nobody asked for would make the call's task vanish from its TaskGroup without a word."""
    raw.answers = [hang]
    limits = Timeouts(drain=0.05, settle=0)
    alura = AsyncAlura(base_url=raw.url, limiter=RateLimiter.unlimited(), timeout=limits)
    calls = [asyncio.create_task(alura.send(route.request())) for _ in range(120)]
    while len(raw.received) < 100:
        await asyncio.sleep(0.01)
    await alura.close()
    results = await asyncio.gather(*calls, return_exceptions=True)
    kinds = {type(result) for result in results}
    if route is READ:
        assert kinds <= {TransportError, CallTimeoutError, ClosedError}
    else:
        assert kinds <= {OutcomeUnknownError, NotSentError, ClosedError}
        # Never under-reported: whatever the server read is unknown.
        assert sum(type(result) is OutcomeUnknownError for result in results) >= len(raw.received)


async def test_a_view_shares_connections_and_closing_it_closes_nothing(raw: RawServer, alura: AsyncAlura) -> None:
    view = alura.with_options(timeout=5)
    await alura.send(READ.request())
    await view.send(READ.request())
    await view.close()
    await alura.send(READ.request())
    assert {request.connection for request in raw.received} == {1}


async def test_close_leaves_no_connection_and_no_warning(raw: RawServer) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        alura = AsyncAlura(base_url=raw.url)
        await asyncio.gather(*[alura.send(READ.request()) for _ in range(8)], alura.send(ONCE.request()))
        await alura.close()
        del alura
        gc.collect()
        await asyncio.sleep(0.05)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    assert raw.open_connections == 0


_FORGETS = """
import asyncio, gc, sys, warnings
from alura_async import AsyncAlura
async def main(url):
    alura = AsyncAlura(base_url=url)
    await alura.health.basic()
    if "collect" in sys.argv:
        alura = None
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0.01)
asyncio.run(main(sys.argv[1]))
gc.collect()
"""


@pytest.mark.parametrize("how", ["ends", "collect"])
async def test_forgetting_to_close_gives_one_warning_of_ours(raw: RawServer, how: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-W", "always", "-c", _FORGETS, raw.url, how, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()
    complaints = [line for line in errors.decode().splitlines() if "Warning" in line or "nclosed" in line]
    assert len(complaints) == 1, errors.decode()
    assert "ResourceWarning: an AsyncAlura client was not closed" in complaints[0]
    assert process.returncode == 0


def test_a_client_belongs_to_the_loop_of_its_first_call() -> None:
    async def call(alura: AsyncAlura) -> None:
        await alura.health.basic()

    async def main() -> None:
        async with RawServer() as raw, AsyncAlura(base_url=raw.url) as alura:
            await alura.health.basic()
            with pytest.raises(UsageError, match="another event loop"):
                await asyncio.to_thread(asyncio.run, call(alura))

    asyncio.run(main())
