"""Polling: values with their age, read one after another, never overlapping."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

import msgspec

from ..errors import InvalidArgumentError

T = TypeVar("T")
S = TypeVar("S")


class Observed(msgspec.Struct, Generic[T], frozen=True):
    """A value as a polling stream saw it.

    The server probably acts after it answers [conv], so even a fresh value can be behind.

    Attributes:
        value: what was read.
        read_at: this machine's clock just before the read was sent: the value is at most as old as that.
    """

    value: T
    read_at: datetime
    _read: float

    @property
    def age(self) -> timedelta:
        """How old the value is at most, by a clock that does not jump."""
        return timedelta(seconds=time.monotonic() - self._read)

    def replace(self, value: S) -> Observed[S]:
        """Another value, seen at the same moment."""
        return Observed(value, self.read_at, self._read)


async def poll(read: Callable[[], Awaitable[T]], interval: float) -> AsyncGenerator[Observed[T], None]:
    """Read again and again, `interval` seconds from start to start.

    The next read starts when the last one is over and its value was taken; a slow server or a slow reader makes the
    reads rarer, never simultaneous, and nothing is caught up on.
    """
    if not 0 < interval < math.inf:
        raise InvalidArgumentError(f"interval={interval!r}: give a finite number of seconds above 0")
    while True:
        started = time.monotonic()
        read_at = datetime.now(UTC)
        yield Observed(await read(), read_at, started)
        # Also yields to the loop when a read took longer than the interval.
        await asyncio.sleep(max(0.0, started + interval - time.monotonic()))
