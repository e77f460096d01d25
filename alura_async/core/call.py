"""One call on its way: made, and made again where that is safe and may help."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from ..errors import AluraError, CallError, Outcome, SignInError
from . import log
from .large import is_large
from .outcome import Attempt, Reply, conclude, unread
from .request import Request
from .retry import again, may_repeat

if TYPE_CHECKING:
    from .deadline import Deadline
    from .road import Road
    from .settings import Options

T = TypeVar("T")


class Call(Generic[T]):
    """One call on its way, and what is known of it meanwhile.

    Attributes:
        request: what is called.
        options: what holds for it.
        wants_reply: whether the reply counts, whatever it says.
        key: names it to the server, where it must not be made twice; empty for others.
        attempt: what is known of the sending under way.
        attempts: how often it was tried.
        reply: the last complete reply.
        lane_wait: seconds that it waited for its last turn.
        in_line: whether it waits for its turn now.
        is_read: whether its reply is there, and is read now or waits for that.
        sent_at: `time.monotonic()` just before it was last sent.
        was_renewed: whether a new token was asked for because the server had refused one.
        sign_in_error: why the last sign-in for it failed, while it waits for another.
    """

    __slots__ = (
        "_deadline",
        "_road",
        "attempt",
        "attempts",
        "in_line",
        "is_read",
        "key",
        "lane_wait",
        "options",
        "reply",
        "request",
        "sent_at",
        "sign_in_error",
        "wants_reply",
        "was_renewed",
    )

    def __init__(self, road: Road, request: Request[T], options: Options, *, wants_reply: bool = False) -> None:
        self._road = road
        self.request = request
        self.options = options
        self.wants_reply = wants_reply
        self.key = ""
        self.attempt: Attempt | None = None
        self.attempts = 0
        self.reply: Reply[T] | None = None
        self.lane_wait = 0.0
        self.in_line = False
        self.is_read = False
        self.sent_at = 0.0
        self.was_renewed = False
        self.sign_in_error: SignInError | None = None
        self._deadline: Deadline

    @property
    def has_left(self) -> bool:
        """Whether it may have left, and nobody knows that the server did nothing."""
        return self.attempt is not None and self.attempt.sent

    @property
    def time_left(self) -> float:
        """Seconds that are left of its time limit."""
        return self._deadline.remaining()

    async def make(self, timeout: float) -> T:
        """Make the call, and again where that is safe and may help."""
        road, route = self._road, self.request.route
        deadline = self._deadline = road.within(timeout)
        road.budget.calls += 1
        try:
            with deadline:
                try:
                    return await self._try()
                except CallError as error:
                    if not may_repeat(route.effect, error):
                        raise
                    failure = error
                return await again(
                    self._try, failure, route, self.options.retry, road.budget, deadline.remaining, self._will_repeat
                )
        except AluraError as error:
            if isinstance(error, CallError):
                error.attempts = self.attempts
            raise
        except asyncio.CancelledError as error:
            # Also a cancellation that was under way when the call began counts as one of this call: Ctrl-C, for one.
            if deadline.was_cancelled or not road.closed:
                raise
            # Nobody cancelled this call: what it waited for was taken away by `close()`.
            raise road.lost(self, error) from error
        except Exception as error:
            # The time limit.
            if self.sign_in_error is not None and not road.closed:
                raise self.sign_in_error from self.sign_in_error.__cause__
            if self.is_read and self.reply is not None and not road.closed:
                late: AluraError = unread(self.reply)
            else:
                late = road.lost(self, _in_line(road) if self.in_line else error)
            if isinstance(late, CallError):
                late.attempts = self.attempts
            raise late from error

    async def _try(self) -> T:
        """Make the call once."""
        self.attempts += 1
        self.attempt = Attempt(self.key)
        self.reply = None
        began = time.monotonic() if log.attempts_are_shown() else 0.0
        try:
            self.reply = reply = await self._road.send(self)
            if not is_large(reply):
                return conclude(reply)
            self.is_read = True
            return await self._road.large.conclude(reply)
        except CallError as error:
            self.is_read = False
            if error.outcome is not Outcome.UNKNOWN:
                # It is certain that the server did nothing; what may follow has not left yet.
                self.attempt = None
            raise
        except (AluraError, asyncio.CancelledError):
            raise
        except Exception as error:
            # Whatever aiohttp and the sockets report becomes one of the few things a user can act on.
            raise self._road.lost(self, error) from error
        finally:
            if began:
                self._show_attempt(began)

    def _show_attempt(self, began: float) -> None:
        error = sys.exception() if self.reply is None else None
        log.attempt_made(
            self.request,
            call_id=self.key,
            attempt=self.attempts,
            lane_wait=self.lane_wait,
            duration=time.monotonic() - began - self.lane_wait,
            status=None if self.reply is None else self.reply.status,
            # What was reported; what a user can conclude from it is told when the call has ended.
            error=error and (error.__cause__ or error),
        )

    def _will_repeat(self, error: CallError, pause_s: float) -> None:
        log.will_retry(self.request, call_id=self.key, attempt=self.attempts, pause=pause_s, error=error)

    def __str__(self) -> str:
        return f"{self.request.method} {self.request.path}"


def _in_line(road: Road) -> TimeoutError:
    return TimeoutError(
        f"its time was up before its turn came: {road.limiter!r} lets no more through; give that a higher rate, or the "
        "call a longer timeout"
    )
