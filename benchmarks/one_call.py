"""One call after another, of a tiny reply: what a single call costs."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import msgspec

from . import ours
from .contest import CANDLE_PAGE, HEALTH, Benchmark, Case, Contestant, Job
from .drive import AsyncCall, asynchronous, in_sequence


@asynccontextmanager
async def aiohttp_naive(job: Job) -> AsyncGenerator[AsyncCall, None]:
    """The way of aiohttp's first page of documentation."""
    import aiohttp

    async with aiohttp.ClientSession() as session:
        url = job.url

        async def call() -> object:
            async with session.get(url) as response:
                return await response.json()

        yield call


@asynccontextmanager
async def aiohttp_tuned(job: Job) -> AsyncGenerator[AsyncCall, None]:
    """All that aiohttp's public API offers for speed, decoding into Structs.

    Its URL never changes, so it is built once: an advantage that no client with arguments has.
    """
    import aiohttp
    from yarl import URL

    parts = urlsplit(job.url)
    assert parts.hostname is not None
    url = URL.build(
        scheme=parts.scheme,
        host=parts.hostname,
        port=parts.port,
        path=parts.path,
        query_string=parts.query,
        encoded=True,
    )
    decode = msgspec.json.Decoder(STRUCTS[job.page.name]).decode
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        get = session.get

        async def call() -> object:
            # A body that is read to its end gives the connection back; no `async with` is needed for that.
            response = await get(url)
            return decode(await response.read())

        yield call


class TunedHealth(msgspec.Struct, gc=False):
    """The least that the tiny reply can be decoded into."""

    status: str
    service: str


class TunedCandle(msgspec.Struct, gc=False):
    """The least that a candle can be decoded into."""

    t: int
    T: int
    s: str
    i: str
    o: str
    c: str
    h: str
    l: str  # noqa: E741 - the name on the wire
    v: str
    n: int


STRUCTS: dict[str, type[TunedHealth | list[TunedCandle]]] = {
    HEALTH.name: TunedHealth,
    CANDLE_PAGE.name: list[TunedCandle],
}


@asynccontextmanager
async def httpx_default(job: Job) -> AsyncGenerator[AsyncCall, None]:
    """A client of httpx with its own limits: 100 connections, of which it keeps 20."""
    import httpx

    async with httpx.AsyncClient() as client:
        url = job.url

        async def call() -> object:
            return (await client.get(url)).json()

        yield call


@asynccontextmanager
async def pyreqwest_default(job: Job) -> AsyncGenerator[AsyncCall, None]:
    """pyreqwest: HTTP in Rust, the fastest client that was found for asyncio."""
    # By name: it is in no group of dependencies, and type checkers need not have it.
    builder = importlib.import_module("pyreqwest.client").ClientBuilder

    async with builder().build() as client:
        url = job.url

        async def call() -> object:
            response = await client.get(url).build().send()
            return await response.json()

        yield call


@asynccontextmanager
async def raw_protocol(job: Job) -> AsyncGenerator[AsyncCall, None]:
    """No HTTP client at all: the floor, or, where the server has no idle time left, what the server can do."""
    decode = msgspec.json.Decoder(STRUCTS[job.page.name]).decode
    loop = asyncio.get_running_loop()
    server = urlsplit(job.base_url)
    assert server.hostname is not None
    assert server.port is not None
    host, port = server.hostname, server.port
    request = f"GET {job.page.target} HTTP/1.1\r\nHost: {server.netloc}\r\n\r\n".encode()
    idle: list[_RawConnection] = []

    async def call() -> object:
        if idle:
            connection = idle.pop()
        else:
            _, connection = await loop.create_connection(_RawConnection, host, port)
        body = await connection.exchange(request)
        idle.append(connection)
        return decode(body)

    yield call
    for connection in idle:
        connection.transport.close()


class _RawConnection(asyncio.Protocol):
    """One connection of the floor. Knows nothing but replies with a length, and one at a time."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def exchange(self, request: bytes) -> asyncio.Future[bytes]:
        """Send a request; the future is the reply's body."""
        self._pieces: list[bytes] = []
        self._missing = -1
        self._reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._reply

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            # The server writes a head in one piece with what follows, so it is never split.
            head, _, data = data.partition(b"\r\n\r\n")
            _, _, length = head.partition(b"Content-Length: ")
            self._missing = int(length.partition(b"\r\n")[0])
        self._pieces.append(data)
        self._missing -= len(data)
        if self._missing == 0:
            self._reply.set_result(b"".join(self._pieces))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._reply.done():
            self._reply.set_exception(exc or ConnectionError("the server hung up"))


BENCHMARK = Benchmark(
    title="one_call: a single call at a time, asyncio",
    cases=(
        Case(
            name="tiny JSON, one after another",
            page=HEALTH,
            concurrency=1,
            requests=3000,
            contestants=(
                Contestant("aiohttp naive", asynchronous(aiohttp_naive, in_sequence), "aiohttp"),
                Contestant("aiohttp tuned", asynchronous(aiohttp_tuned, in_sequence), "aiohttp"),
                Contestant("httpx", asynchronous(httpx_default, in_sequence), "httpx"),
                Contestant("pyreqwest", asynchronous(pyreqwest_default, in_sequence), "pyreqwest"),
                Contestant("raw asyncio.Protocol", asynchronous(raw_protocol, in_sequence), "asyncio"),
                Contestant("AsyncAlura", asynchronous(ours.asynchronous, in_sequence), "alura_async", ours=True),
            ),
            reference="aiohttp naive",
            must=1.00,
            stretch=0.75,
        ),
    ),
)
