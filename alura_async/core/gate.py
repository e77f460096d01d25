"""Stands between a connection and aiohttp, so that nothing which came before a request left is taken for its answer.

A connection that nobody used before should be silent until it is asked. Where it is not (a 408 for having waited too
long, a farewell, a reply that belongs to somebody else), aiohttp would read what came as the answer to the request
that it is about to write, although the server has not seen it. The gate opens when the first byte of the request
leaves. What comes before that never reaches aiohttp, the connection is given up, and nothing is written.

What is on its way when the request leaves looks like an answer. On a connection that nobody used it can only be what a
server says unasked, a 408 for one, and that is never taken for a success.
"""

from __future__ import annotations

import asyncio
import select
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import aiohttp

from .outcome import Attempt

if TYPE_CHECKING:
    from aiohttp.connector import Connection

# On Windows the loop reads ahead, so that its sockets look empty; it hands over what it has within these turns.
_LEAST_TURNS = 3 if sys.platform == "win32" else 0
# A loop reads what waits in its next turn. What still waits after these many is a stream that nobody asked for.
_MOST_TURNS = 100


class Gate(asyncio.Transport, asyncio.Protocol):
    """The transport that aiohttp writes to, and the protocol that the real transport reports to.

    Attributes:
        attempt: is told when the request leaves. Needed before anything is written.
        is_open: whether the request has begun to leave.
        spoiled: whether something came before that: the connection is then closed and of no use.
    """

    def __init__(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._transport = transport
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes | bytearray | memoryview[int]] = []
        self._turns = 0
        self._is_answered = False
        self.attempt: Attempt | None = None
        self.is_open = False
        self.spoiled = False

    @classmethod
    def before(cls, connection: Connection) -> Gate | None:
        """Put a gate before a connection that was just made; None where this aiohttp does not let us.

        The one place that leans on how aiohttp is made: it writes to the transport that it was told of last.

        Raises:
            aiohttp.ClientConnectionError: the connection is gone already.
        """
        transport = connection.transport
        if transport is None or transport.is_closing():
            connection.close()
            raise aiohttp.ClientConnectionError("the server hung up before the request was written")
        try:
            protocol = connection.protocol
            assert protocol is not None, "a connection that has a transport has a protocol"
            came_already = protocol.should_close
            gate = cls(transport, protocol)
            protocol.connection_made(gate)
            if connection.transport is not gate:
                protocol.connection_made(transport)
                return None
        except AttributeError:
            return None
        transport.set_protocol(gate)
        if came_already:
            gate._spoil()
        return gate

    @property
    def is_fit(self) -> bool:
        """Whether nothing speaks against writing a request."""
        return not self.spoiled and not self.is_closing()

    # What aiohttp does with its transport.

    def write(self, data: bytes | bytearray | memoryview[int]) -> None:
        """Write, and before the first byte look whether something came."""
        if self.is_open:
            self._transport.write(data)
            return
        self._held.append(data)
        if len(self._held) == 1:
            self._open_if_silent()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[int]]) -> None:
        """Write all of it at once."""
        self.write(b"".join(list_of_data))

    def _open_if_silent(self) -> None:
        """Let the request out, as soon as the loop has read what waits in the socket.

        What waits need not be a reply: a TLS server sends tickets of its own accord. Only who decrypts it can tell,
        so it is read first, and what is one arrives in `data_received`.
        """
        if not self._held or not self.is_fit:
            return
        if self._turns < _LEAST_TURNS or self._is_readable():
            self._turns += 1
            if self._turns > _MOST_TURNS:
                self._spoil()
            else:
                self._loop.call_soon(self._open_if_silent)
            return
        assert self.attempt is not None, "a request is written for an attempt"
        self.is_open = self.attempt.sent = True
        held, self._held = self._held, []
        for data in held:
            self._transport.write(data)

    def _is_readable(self) -> bool:
        socket = self._transport.get_extra_info("socket")
        if socket is None or socket.fileno() < 0:
            return False
        if sys.platform == "win32":
            return bool(select.select([socket.fileno()], [], [], 0)[0])
        # `select` cannot watch what is numbered above 1023.
        poll = select.poll()
        poll.register(socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _spoil(self) -> None:
        self.spoiled = True
        self._held.clear()
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that have not left."""
        return sum(map(len, self._held)) + self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection."""
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection; nothing more of the request leaves."""
        self._held.clear()
        if self._transport.get_write_buffer_size():
            # It would first send the rest, for as long as that takes, although nobody waits for an answer any more.
            self._transport.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._held.clear()
        self._transport.abort()

    def pause_reading(self) -> None:
        """Stop reading for a while."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    # What the real transport reports.

    def data_received(self, data: bytes) -> None:
        """Pass on what came after the request has begun to leave."""
        if not self.is_open:
            self._spoil()
            return
        if not self._is_answered:
            self._is_answered = True
            if self.attempt is not None and self._transport.get_write_buffer_size():
                self.attempt.answered_early = True
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        """The server says nothing more."""
        if not self.is_open:
            self._spoil()
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._held.clear()
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """The server does not keep up."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The server has caught up."""
        self._protocol.resume_writing()
