"""Sends one request and reads one reply. What to conclude from either, and every other rule, lives elsewhere.

Two aiohttp sessions, because a stray response on an idle pooled connection is taken as the answer to the next request:
READ and REPEATABLE calls share a keep-alive pool; a ONCE call has a connection of its own, which nobody used before
it and nobody uses after it (`spare.py`). That costs a handshake, and is worth it where money moves.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
from yarl import URL

from .._version import __version__
from ..secret import SecretBytes, scrub
from .outcome import Attempt, CapPassedError, Reply
from .proxy import Proxy, of_environment
from .request import Request
from .resolver import Resolver
from .spare import OnceConnector, Spare, ungated_trace
from .threads import in_thread

if TYPE_CHECKING:
    from .settings import Connection, Timeouts
    from .token import Token

T = TypeVar("T")

# Node servers close idle connections at 5 s; aiohttp's own 15 s would send calls into closed ones.
_KEEP_ALIVE_S = 4.0

USER_AGENT = f"alura-async/{__version__}"
_HEADERS = {"User-Agent": USER_AGENT, "Accept": "application/json"}

# Failures of connecting: nothing of the request can have left.
_NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientProxyConnectionError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)


class AnsweredEarlyError(Exception):
    """A success came before the request had left."""


class Exchange:
    """The connections to one server. Opened on first use, in the loop that uses them.

    Args:
        connection: how the server is reached.
        timeouts: limits of connecting and reading.
        reports_forgotten: whether it is somebody's mistake if nobody closes them before the loop ends.
    """

    def __init__(self, connection: Connection, timeouts: Timeouts, *, reports_forgotten: bool = True) -> None:
        self._reports_forgotten = reports_forgotten
        self._connection = connection
        self._timeouts = timeouts
        self._cap = connection.max_body_bytes
        origin = connection.origin
        self._scheme, self._port, self._prefix = origin.scheme, origin.port, origin.prefix
        # A URL that is put together as encoded wants the brackets of an IPv6 address.
        self._host = f"[{origin.host}]" if ":" in origin.host else origin.host
        self._sessions: _Sessions | None = None
        self._guardian: AsyncGenerator[None, None] | None = None
        self._is_closed = False

    async def send(self, request: Request[T], token: Token | None, attempt: Attempt) -> Reply[T]:
        """Send a request once and read the whole reply.

        Args:
            request: what to send.
            token: the token to send along, or None.
            attempt: is told when the request leaves.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError, CapPassedError: no complete reply came.
            SpokeFirstError, AnsweredEarlyError: what came is no reply to this request.
        """
        try:
            return await self._send(request, token, attempt)
        except Exception as error:
            # What was being written and read is in the frames of what failed, and in its words.
            scrub(error)
            raise

    async def _send(self, request: Request[T], token: Token | None, attempt: Attempt) -> Reply[T]:
        sessions = self._sessions
        if sessions is None:
            sessions = await self._open()
        if sessions.spare is not None:
            sessions.spare.touch()
        headers = sessions.headers
        if token is not None or request.body is not None or attempt.call_id:
            headers = dict(headers)
            if token is not None:
                headers["Authorization"] = token.header
            if request.body is not None:
                headers["Content-Type"] = "application/json"
            if attempt.call_id:
                # Harmless where they are ignored, and never relied on.
                headers["X-Request-Id"] = headers["Idempotency-Key"] = attempt.call_id
        body = None if request.body is None else SecretBytes(request.body)
        # `encoded=True` keeps `%2F` in a segment as it is, and costs half of what parsing text costs.
        url = URL.build(
            scheme=self._scheme,
            host=self._host,
            port=self._port,
            path=self._prefix + request.path,
            query_string=request.query,
            encoded=True,
        )
        if request.route.own_connection:
            response = await sessions.once_connector.request(
                sessions.once,
                attempt,
                request.route.method,
                url,
                data=body,
                headers=headers,
                **sessions.once_options,
            )
            if attempt.answered_early and 200 <= response.status < 300:
                # A refusal may come before the body was read. A success cannot be the answer to what nobody has read.
                response.close()
                raise AnsweredEarlyError(f"a {response.status} came before all of the request had left")
        else:
            attempt.sent = True
            try:
                if body is None and request.route.method == "GET":
                    response = await sessions.read.get(url, headers=headers, **sessions.read_options)
                else:
                    response = await sessions.read.post(url, data=body, headers=headers, **sessions.read_options)
            except _NOT_CONNECTED:
                attempt.sent = False
                raise
            except RuntimeError:
                if sessions.read.closed:
                    attempt.sent = False
                raise
        return Reply(request, response.status, response.headers, await self._read(response))

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read a body up to the cap, which counts decompressed bytes: a compressed megabyte may hold a gigabyte."""
        try:
            content = response.content
            body = await content.readany()
            if content.at_eof() and len(body) <= self._cap:
                return body
            chunks = [body]
            size = len(body)
            while True:
                if size > self._cap:
                    raise CapPassedError(f"the reply's body is larger than max_body_bytes={self._cap}")
                chunk = await content.readany()
                if not chunk:
                    return b"".join(chunks)
                chunks.append(chunk)
                size += len(chunk)
        except BaseException:
            response.close()
            # Half a reply to a sign-in may hold the whole token, and this frame is about to be in a traceback.
            body, chunk, chunks = b"", b"", []
            raise

    async def _open(self) -> _Sessions:
        connection = self._connection
        proxy = connection.proxy
        if proxy is None and connection.trust_env:
            # aiohttp would ask for it in the user's pool of threads, at each request.
            proxy = await in_thread(partial(of_environment, connection.origin))
            if self._is_closed:
                raise RuntimeError("the client was closed")
        if self._sessions is None:
            sessions = self._sessions = _Sessions(connection, proxy, self._timeouts)
            self._guardian = _guard(sessions, self._reports_forgotten)
            await anext(self._guardian)
        return self._sessions

    async def close(self) -> None:
        """Close what is ours. A session or connector that the user gave stays open."""
        self._is_closed = True
        sessions, guardian = self._sessions, self._guardian
        if sessions is None or guardian is None or sessions.closed:
            return
        await sessions.close()
        await guardian.aclose()


class _Sessions:
    """The two aiohttp sessions, and which parts of them are ours to close."""

    def __init__(self, connection: Connection, proxy: Proxy | None, timeouts: Timeouts) -> None:
        self.closed = False
        ssl_setting: Any = True if connection.ssl_context is None else connection.ssl_context
        common: dict[str, Any] = {
            "cookie_jar": aiohttp.DummyCookieJar(),
            "headers": _HEADERS,
            "proxy": None if proxy is None else proxy.url,
        }
        to_proxy: dict[str, Any] = {}
        if proxy is not None and proxy.authorization is not None:
            # Not as aiohttp's BasicAuth, which shows it: whoever asks for a tunnel, or else the request itself, has it.
            authorization = {"Proxy-Authorization": proxy.authorization}
            if connection.origin.scheme == "https":
                to_proxy = {"proxy_headers": authorization}
            else:
                common["headers"] = _HEADERS | authorization
        # The total is ours to keep (core/deadline.py): it also bounds waiting for a token.
        read_timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect, sock_read=timeouts.read)
        once_timeout = aiohttp.ClientTimeout(
            total=None, connect=timeouts.connect, sock_connect=timeouts.connect, sock_read=timeouts.read
        )
        self.once_options: dict[str, Any] = {"allow_redirects": False, **to_proxy}
        self.read_options: dict[str, Any] = {"allow_redirects": False, "timeout": read_timeout}
        # Sessions of ours have them by default, which costs less than giving them to each request.
        self.headers: Mapping[str, str] = {}
        self._owned: list[aiohttp.ClientSession] = []
        # The resolver remembers, and for both.
        names: dict[str, Any] = {"resolver": Resolver(timeouts.connect), "use_dns_cache": False}
        if connection.session is not None:
            self.read = connection.session
            self.headers = _HEADERS
            # Whatever the user's session does by default, a reply must come as it is.
            self.read_options |= {"raise_for_status": False, "auto_decompress": True}
        else:
            self.read = aiohttp.ClientSession(
                connector=connection.connector
                or aiohttp.TCPConnector(keepalive_timeout=_KEEP_ALIVE_S, ssl=ssl_setting, **names),
                connector_owner=connection.connector is None,
                **common,
            )
            self.read_options |= to_proxy
            self._owned.append(self.read)
        self.once_connector = OnceConnector(ssl=ssl_setting, **names)
        self.once = aiohttp.ClientSession(
            connector=self.once_connector, timeout=once_timeout, trace_configs=[ungated_trace()], **common
        )
        self._owned.append(self.once)
        self.spare: Spare | None = None
        # A proxy's patience with a silent tunnel is anybody's guess.
        if connection.warm and proxy is None:
            url = URL(str(connection.origin))
            self.spare = Spare(partial(self.once_connector.connect_ahead, url, once_timeout))
            self.once_connector.spare = self.spare

    async def close(self) -> None:
        self.closed = True
        # All of them, also where closing one is interrupted.
        async with AsyncExitStack() as each:
            for session in self._owned:
                each.push_async_callback(session.close)
            if self.spare is not None:
                each.push_async_callback(self.spare.close)


# Sessions that were neither closed nor reported yet. Held here so that aiohttp's own complaint about a forgotten
# session can never come before ours.
_open_sessions: dict[_Sessions, asyncio.AbstractEventLoop] = {}


async def _guard(sessions: _Sessions, reports_forgotten: bool) -> AsyncGenerator[None, None]:
    """Closes sessions that their owner forgot: asyncio finishes its generators when they are collected and
    when the loop ends.
    """
    loop = asyncio.get_running_loop()
    for forgotten, its_loop in list(_open_sessions.items()):
        if its_loop.is_closed():
            del _open_sessions[forgotten]  # closed without finishing its generators: nothing can be closed on it
    _open_sessions[sessions] = loop
    try:
        yield
    finally:
        _open_sessions.pop(sessions, None)
        if not sessions.closed:
            await sessions.close()
            if reports_forgotten:
                warnings.warn(
                    "an AsyncAlura client was not closed: use `async with AsyncAlura(…)`, or `await alura.close()`",
                    ResourceWarning,
                    stacklevel=2,
                )
