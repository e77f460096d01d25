"""The connections of calls that must not be made twice: each is used once, behind a gate; one may be kept ready.

A connection of its own costs such a call a handshake. The spare has made it beforehand, and is otherwise what a fresh
connection is: nobody used it. It is kept for seconds, and only while the client is used, so that it costs the server
little and is younger than any server's patience with a connection that says nothing. One thing it cannot know: that
the way to the server broke without a word since it was made. A fresh connection would then fail as NOT_SENT; a request
on the spare is UNKNOWN.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp

from .gate import Gate
from .outcome import Attempt

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from yarl import URL

# nginx, Node and AWS's balancers end a connection that never sent anything at 60 s, Apache at 20 s, HAProxy where it
# is set up with care at 10 s; some of them with a 408.
_MOST_AGE_S = 8.0
# For how long after a call the next one is expected.
_IN_USE_S = 60.0


class SpokeFirstError(Exception):
    """Something came, or the connection ended, before the request was written. None of it left."""


class Sending:
    """One request on its way to a connection.

    Attributes:
        attempt: is told when the request leaves.
        takes_spare: whether the spare may serve it.
        on_spare: whether it does.
        gate: what stands before its connection, once it has one.
    """

    __slots__ = ("attempt", "gate", "on_spare", "takes_spare")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.takes_spare = True
        self.on_spare = False
        self.gate: Gate | None = None


# aiohttp asks for a connection in the task that sends, and tells the connector nothing of whom it is for.
_sending: ContextVar[Sending] = ContextVar("_sending")


class OnceConnector(aiohttp.TCPConnector):
    """Makes connections that serve one request each.

    Args:
        settings: of the TCP connector.
    """

    spare: Spare | None = None

    def __init__(self, **settings: Any) -> None:
        super().__init__(force_close=True, limit=0, **settings)

    async def request(
        self, session: aiohttp.ClientSession, attempt: Attempt, method: str, url: URL, **parts: Any
    ) -> aiohttp.ClientResponse:
        """Send a request on a connection that nobody used before.

        Args:
            session: the session that has this connector.
            attempt: is told when the request leaves.
            method: the HTTP method.
            url: where to.
            parts: what else the session wants to know.

        Raises:
            SpokeFirstError: something came before the request was written.
            aiohttp.ClientError, OSError, TimeoutError: no reply came.
        """
        sending = Sending(attempt)
        before = _sending.set(sending)
        try:
            try:
                return await session.request(method, url, **parts)
            except (aiohttp.ClientError, OSError):
                if attempt.sent or not sending.on_spare:
                    raise
                # Nothing left by the spare, whatever became of it.
                sending.takes_spare = sending.on_spare = False
                sending.gate = None
                return await session.request(method, url, **parts)
        except (aiohttp.ClientError, OSError) as error:
            if sending.gate is not None and sending.gate.spoiled:
                raise SpokeFirstError(
                    "the server spoke or hung up before the request was written, so what came is no answer to it"
                ) from error
            raise
        finally:
            _sending.reset(before)

    async def connect(self, req: aiohttp.ClientRequest, *settings: Any, **named: Any) -> Connection:
        """Give a connection that nobody used before."""
        sending = _sending.get()
        taken = None if self.spare is None or not sending.takes_spare else self.spare.take()
        if taken is None:
            connection = await super().connect(req, *settings, **named)
            sending.gate = Gate.before(connection)
        else:
            connection, sending.gate = taken
            sending.on_spare = True
        if sending.gate is not None:
            sending.gate.attempt = sending.attempt
        return connection

    async def connect_ahead(self, url: URL, timeout: aiohttp.ClientTimeout) -> tuple[Connection, Gate] | None:
        """Make a connection for a request that is not known yet; None where no gate can be put before it."""
        request = aiohttp.ClientRequest("GET", url, loop=asyncio.get_running_loop())
        connection = await super().connect(request, [], timeout)
        gate = Gate.before(connection)
        if gate is None:
            connection.close()
            return None
        return connection, gate


def ungated_trace() -> aiohttp.TraceConfig:
    """Tells an attempt of a request that leaves where no gate does: on an aiohttp that is made in another way."""

    async def headers_are_due(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
        sending = _sending.get()
        if sending.gate is None:
            sending.attempt.sent = True

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(headers_are_due)
    return trace


class Spare:
    """One connection that is ready for the next request.

    Args:
        connect: makes one; None if it can make none that is of use, now and later.
    """

    def __init__(self, connect: Callable[[], Awaitable[tuple[Connection, Gate] | None]]) -> None:
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._held: tuple[Connection, Gate] | None = None
        self._made_at = 0.0
        self._used_at = 0.0
        # Asleep while there is neither.
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_over = False

    def touch(self) -> None:
        """The client is in use: have one ready soon."""
        self._used_at = self._loop.time()
        if self._timer is None and self._task is None:
            self._renew_in(0)

    def take(self) -> tuple[Connection, Gate] | None:
        """The connection, if there is one and nothing speaks against it. It will be replaced."""
        taken, self._held = self._held, None
        if taken is None:
            return None
        self._renew_in(0)
        connection, gate = taken
        # Only this clock counts the time that a machine sleeps through.
        if gate.is_fit and 0 <= time.time() - self._made_at <= _MOST_AGE_S:
            return taken
        connection.close()
        return None

    def _renew_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if self._is_over else self._loop.call_later(seconds, self._renew)

    def _renew(self) -> None:
        self._timer = None
        self._drop()
        if self._task is None and self._loop.time() - self._used_at < _IN_USE_S:
            self._task = self._loop.create_task(self._make())

    async def _make(self) -> None:
        try:
            self._held = await self._connect()
            self._made_at = time.time()
            self._is_over = self._is_over or self._held is None
        except Exception:  # noqa: BLE001 - no call waits for it, and one that finds no spare says itself what is wrong
            self._held = None
        finally:
            self._task = None
        self._renew_in(_MOST_AGE_S)

    def _drop(self) -> None:
        if self._held is not None:
            connection, _ = self._held
            self._held = None
            connection.close()

    async def close(self) -> None:
        """Have none any more."""
        self._is_over = True
        self._renew_in(0)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._drop()
