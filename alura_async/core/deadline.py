"""Time limits of whole calls: one timer watches all of them, so that a call pays for two dictionary operations."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadlines:
    """The time limits of one event loop's calls.

    An `asyncio.timeout` for each call costs several microseconds and a timer each; here the one timer sleeps until the
    earliest limit. A task whose time is up is cancelled, and the cancellation becomes a `TimeoutError` where the limit
    was set. A cancellation that comes from elsewhere passes through untouched.
    """

    __slots__ = ("_loop", "_running", "_timer", "_wakes_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = float("inf")

    def within(self, seconds: float) -> Deadline:
        """Limit what happens inside the `with` block; the block must be entered and left by one task."""
        return Deadline(self, self._loop.time() + seconds)

    def close(self) -> None:
        """Stop the timer. Limits that are still running strike now: nothing would watch them any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wakes_at = float("inf")
        for deadline in list(self._running):
            deadline.expire()
        self._running.clear()

    def _watch(self, deadline: Deadline) -> None:
        self._running.add(deadline)
        if deadline.at < self._wakes_at:
            self._sleep_until(deadline.at)

    def _sleep_until(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = at
        self._timer = self._loop.call_at(at, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        self._wakes_at = float("inf")
        # A timer may fire a clock tick early.
        now = self._loop.time() + 0.001
        for deadline in [deadline for deadline in self._running if deadline.at <= now]:
            self._running.discard(deadline)
            deadline.expire()
        if self._running:
            self._sleep_until(min(deadline.at for deadline in self._running))


class Deadline:
    """One limit; see `Deadlines.within`. `expired` tells whether it struck."""

    __slots__ = ("_cancelling", "_deadlines", "_task", "at", "expired")

    def __init__(self, deadlines: Deadlines, at: float) -> None:
        self._deadlines = deadlines
        self.at = at
        self.expired = False

    def remaining(self) -> float:
        """Seconds that are left, not below 0."""
        return max(0.0, self.at - self._deadlines._loop.time())

    @property
    def was_cancelled(self) -> bool:
        """Whether somebody cancelled the task while it was inside."""
        return self._task.cancelling() > self._cancelling

    def expire(self) -> None:
        """Cancel the task that is inside."""
        self.expired = True
        self._task.cancel()

    def __enter__(self) -> Deadline:
        task = asyncio.current_task()
        assert task is not None, "a call is made from a task"
        self._task = task
        self._cancelling = task.cancelling()
        self._deadlines._watch(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadlines._running.discard(self)
        if self.expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError("the call's time is up") from error
