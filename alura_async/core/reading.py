"""The reads that tell what became of a lost reply: made once for all who wait for them, dated by the server's clock.

Whoever asks is told what a read brought that began after he asked, for one that was under way may show what was before.
So of each kind one read is under way at most, unless one hangs; all who ask meanwhile wait for the next one together,
which begins an interval after the one before. Many lost replies at once make no more reads than a single one does, and
do not use up the pace that others need.

What sees an exit through is read in a lane of its own, right behind the exits; what tells of a create, behind both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from math import inf
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from ..errors import AluraError, ClosedError, NotFoundError
from ..groups.trading_sessions import Trade, TradingSession, TradingSessions
from . import log, waits
from .model import EARLIEST, LATEST, Items
from .outcome import Reply
from .request import Access, Lane, Request, Route

T = TypeVar("T")

# A read that is made although the time is up has so many seconds.
_LEAST_S = 0.01
# Without a `Date` header: by how much this machine's clock and the server's may differ.
_SKEW_S = 2.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _deciding(template: str, returns: type[T], lane: Lane) -> Request[T]:
    """A read that decides about money.

    It has a connection of its own: on one that others used, a stray reply would be taken for the answer, and every
    answer after it for that of the next read.
    """
    return Route("GET", template, returns, access=Access.BEARER, lane=lane, own_connection=True).request()


_ACTIVE = TradingSessions.active.route.template
_CURRENT_TRADE = TradingSessions.current_trade.route.template

ACTIVE: Request[Items[TradingSession]] = _deciding(_ACTIVE, Items[TradingSession], Lane.EXIT_READ)
"""What is open, for exits."""

CURRENT_TRADE: Request[Trade | None] = _deciding(
    _CURRENT_TRADE, cast("type[Trade | None]", Trade | None), Lane.EXIT_READ
)
"""The trade that is open, for exits."""

CREATED: Request[Items[TradingSession]] = _deciding(_ACTIVE, Items[TradingSession], Lane.SETTLING)
"""What is open, for creates."""


class Read(Protocol):
    """Makes a READ within so many seconds and returns the complete reply: it tells the server's time too."""

    def __call__(self, request: Request[T], timeout: float, /) -> Awaitable[Reply[T]]:
        """Make it."""
        ...


class Seen(NamedTuple, Generic[T]):
    """What a read brought.

    Attributes:
        value: what was read; None of a current trade that is not found.
        began: `time.monotonic()` before it was made.
        ended: `time.monotonic()` when its reply was there.
        least_s: by how much the server's clock is ahead of `time.monotonic()`, at least.
        most_s: likewise, at most.
    """

    value: T
    began: float
    ended: float
    least_s: float
    most_s: float

    def span(self, at: float) -> tuple[datetime, datetime]:
        """The earliest and the latest that the server's clock showed at a moment of `time.monotonic()`."""
        return _EPOCH + timedelta(seconds=at + self.least_s), _EPOCH + timedelta(seconds=at + self.most_s)


class SharedReads:
    """The reads of one client, and so of one account. They belong to the event loop that first asks.

    Args:
        read: makes one.
        interval_s: seconds from the beginning of a read to that of the next one of its kind; fewer where nobody who
            waits has so much time.
        hangs_s: one that has taken so many seconds may hang, and the next one is made beside it.
    """

    def __init__(self, read: Read, *, interval_s: float = 1.0, hangs_s: float = 2.0) -> None:
        self.interval_s = interval_s
        self._hangs_s = hangs_s
        self._read = read
        self._kinds: dict[Request[Any], _Kind] = {}
        self._is_closed = False

    async def ask(self, request: Request[T], *, until: float, longest_s: float = inf) -> Seen[T] | None:
        """What a read brings that begins from now on; None if it fails, or takes too long.

        Whoever is cancelled takes nobody along: a read is given up when nobody waits for it any more.

        Args:
            request: what is read.
            until: `time.monotonic()` at which waiting ends.
            longest_s: seconds that the read itself may take. Of those who share one, the hastiest says how many.

        Raises:
            ClosedError: no read will succeed any more.
        """
        kind = self._kinds.setdefault(request, _Kind())
        joined = kind.next or _Joint()
        joined.until = max(joined.until, until)
        joined.longest_s = min(joined.longest_s, longest_s)
        joined.waiting += 1
        if kind.next is None:
            kind.next = joined
            # Last of all: tasks that a loop starts eagerly have begun to read when this returns.
            joined.task = asyncio.get_running_loop().create_task(self._make(request, kind, joined), name="alura read")
        try:
            async with asyncio.timeout(max(_LEAST_S, until - time.monotonic())):
                seen = await asyncio.shield(joined.task)
        except TimeoutError:
            return None
        finally:
            joined.waiting -= 1
            if joined.waiting == 0:
                joined.task.cancel()
                if kind.next is joined:
                    kind.next = None
        if self._is_closed:
            # For each a new one: the traceback of one that is raised many times grows with each.
            raise ClosedError("this client was closed: nothing more is read")
        return seen

    async def _make(self, request: Request[Any], kind: _Kind, joint: _Joint) -> Seen[Any] | None:
        earlier = kind.under_way
        if earlier is not None:
            # One that hangs must not take the time of those who wait for the next.
            await asyncio.wait([earlier.task], timeout=earlier.began + self._hangs_s - time.monotonic())
        now = time.monotonic()
        # Whoever has no time for the interval is not kept waiting until his is up.
        await waits.pause(min(kind.due - now, (joint.until - now) / 2))
        # Nothing is awaited until it begins: whoever asks later waits for the next one.
        kind.next = None
        kind.under_way = joint
        joint.began = began = time.monotonic()
        kind.due = began + self.interval_s
        try:
            reply = await self._read(request, max(_LEAST_S, min(joint.longest_s, joint.until - began)))
            ended = time.monotonic()
            return Seen(_value(reply), began, ended, *_clock(reply.headers, began, ended))
        except ClosedError:
            self._is_closed = True
        except AluraError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told, and ask again
            log.logger.warning("%s %s could not be read: %s", request.method, request.path, type(error).__name__)
        finally:
            if kind.under_way is joint:
                kind.under_way = None
        return None


class _Kind:
    """The reads of one kind.

    Attributes:
        under_way: the last one that has begun, while it is under way.
        due: `time.monotonic()` at which the next one may begin.
        next: the one that whoever asks now waits for, if somebody does.
    """

    __slots__ = ("due", "next", "under_way")

    def __init__(self) -> None:
        self.under_way: _Joint | None = None
        self.due = -inf
        self.next: _Joint | None = None


class _Joint:
    """A read that several wait for.

    Attributes:
        task: makes it.
        waiting: how many wait.
        until: `time.monotonic()` at which the last of them stops waiting.
        longest_s: seconds that the read itself may take.
        began: `time.monotonic()` when it began.
    """

    __slots__ = ("began", "longest_s", "task", "until", "waiting")

    def __init__(self) -> None:
        self.task: asyncio.Task[Seen[Any] | None]
        self.waiting = 0
        self.until = -inf
        self.longest_s = inf
        self.began = inf


def _value(reply: Reply[Any]) -> Any:
    try:
        return reply.decode()
    except NotFoundError:
        # That there is no current trade may be a 404 as well.
        if reply.request is not CURRENT_TRADE:
            raise
        return None


def _clock(headers: Mapping[str, str], began: float, ended: float) -> tuple[float, float]:
    """By how much the server's clock is ahead of `time.monotonic()`, from a reply to a read of that time."""
    try:
        # What a cache answers is as old as it says.
        shown = None if headers.get("Age", "0") != "0" else parsedate_to_datetime(headers["Date"]).timestamp()
        if shown is not None and not EARLIEST.timestamp() <= shown < LATEST.timestamp():
            shown = None
    except (KeyError, ValueError, OverflowError):
        shown = None
    if shown is None:
        ahead = time.time() - time.monotonic()
        return ahead - _SKEW_S, ahead + _SKEW_S
    # It shows the second that had begun, and was written at some moment between.
    return shown - ended, shown + 1 - began
