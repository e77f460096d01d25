"""What becomes of a pull's failures: what is asked again, what is a gap, and when a series is given up, or the server.

One failure says little. Where others succeed meanwhile, it is the window's, or its series'. Where nothing succeeds any
more, it is the server's, or of the way to it: all of a pull pauses then, longer each time, until something succeeds or
its patience is over. Where nothing is left but what fails, nothing would succeed either way: something else is asked
for then, to tell the one from the other. What came too early says nothing of a window. It knows neither requests nor
candles.
"""

from __future__ import annotations

import asyncio
import enum
import random
import time
from contextlib import suppress
from math import inf
from typing import TypeAlias

import msgspec

from ..core import waits
from ..errors import AluraError, BadRequestError, NotFoundError, NotSentError, RateLimitedError, ShapeError
from .plan import Window, last_part

# Seconds for which nothing may succeed: of a server that has answered, and of one that never has.
PATIENCE_S = 120.0
_FIRST_PATIENCE_S = 30.0
# Where waits are off, or time passes in a single call: so many failures in a row, for each worker, or at all.
_ROUNDS = 3
_LEAST_FAILURES = 3
# For so many seconds a series fails before something else is asked for. The retry policy's attempts are over after one
# or two; in the others, what serves one symbol is restarted, or replaced. While all is out, however long, what else is
# asked for fails as well, and nothing counts against the series.
_PASSING_S = 10.0
# Pauses while nothing succeeds.
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
# So often a window fails before it is a gap, and so many in a row of one series before that is given up.
_TRIES = 2
_IN_A_ROW = 5
# So many windows of one series are refused before what is earlier is.
_REFUSED_IN_A_ROW = 3
# A server may keep candles for some time only: so often the window in which that ends is halved.
_HALVINGS = 2

Series: TypeAlias = tuple[str, str]
"""A symbol and an interval."""


class Next(enum.Enum):
    """What to do after a failure."""

    AGAIN = "ask again"
    HALVES = "ask for the window's halves"
    GAP = "the window is a gap"
    EARLIER = "the window is a gap, and so is all of its series that is earlier"
    SERIES = "the rest of its series is a gap"
    SERVER = "all the rest is a gap"


class Failures:
    """The failures of one pull.

    Args:
        concurrency: how many requests are under way at once.
        patience_s: seconds for which nothing may succeed; 0 to give up at the first failure.
    """

    def __init__(self, concurrency: int, patience_s: float) -> None:
        self._concurrency = concurrency
        self._patience_s = patience_s
        self._successes = 0
        # Since something has succeeded.
        self._failures = 0
        self._since = 0.0
        self._rows: dict[Series, _Row] = {}
        self._tried: dict[tuple[Series, int], _Tried] = {}
        self._going_on = asyncio.Event()

    def succeeded(self, window: Window) -> None:
        """The server has answered for a window."""
        self.witnessed()
        self._rows.pop(_series(window), None)
        self._tried.pop(_key(window), None)

    def witnessed(self) -> None:
        """The server has answered: that says nothing of a window that fails, nor of its series."""
        self._successes += 1
        self._failures = 0
        self._going_on.set()

    def needs_witness(self, window: Window) -> bool:
        """Whether a window has failed for some time, and nothing has succeeded since: it may be the server."""
        row, tried = self._rows.get(_series(window)), self._tried.get(_key(window))
        if row is None or tried is None or not tried.count or tried.successes < self._successes:
            return False
        return waits.are_off() or time.monotonic() - row.since >= _PASSING_S

    def failed(self, window: Window, error: AluraError, *, has_answered: bool) -> Next:
        """A request failed in a way that may pass.

        Args:
            window: what was asked for.
            error: how it failed.
            has_answered: whether the server has answered for this series before.
        """
        is_hopeless = self._note()
        if not isinstance(error, RateLimitedError | NotSentError):
            now = self._successes
            row = self._rows.setdefault(_series(window), _Row(now, now, time.monotonic()))
            # The others' successes show that it is not the server; so does a body, that it answers.
            since = row.latest if has_answered else row.first
            row.count += now > since or (isinstance(error, ShapeError) and not has_answered)
            row.latest = now
            if row.count >= _IN_A_ROW:
                return Next.SERIES
            tried = self._tried.setdefault(_key(window), _Tried())
            if not tried.count or now > tried.successes or isinstance(error, ShapeError):
                tried.count += 1
            tried.successes = now
            if tried.count >= _TRIES and not is_hopeless:
                del self._tried[_key(window)]
                return Next.GAP
        if is_hopeless:
            self.give_up()
            return Next.SERVER
        return Next.AGAIN

    def refused(self, window: Window, error: AluraError) -> Next:
        """The server says that it does not serve this window of a series which it has answered for."""
        self._note()
        tried = self._tried.setdefault(_key(window), _Tried())
        tried.count += 1
        if not tried.halvings and tried.count < _TRIES:
            return Next.AGAIN
        row = self._rows.setdefault(_series(window), _Row(self._successes, self._successes, time.monotonic()))
        if isinstance(error, BadRequestError | NotFoundError):
            if tried.halvings >= _HALVINGS:
                return Next.EARLIER
            if window.candles > 1:
                for half in halves(window):
                    self._tried[_key(half)] = _Tried(halvings=tried.halvings + 1)
                return Next.HALVES
        row.refused += 1
        return Next.EARLIER if row.refused >= _REFUSED_IN_A_ROW else Next.GAP

    def give_up(self) -> None:
        """Nobody pauses any more."""
        self._failures = 0
        self._going_on.set()

    async def pause(self) -> None:
        """Wait, where nothing succeeds: longer each time, and at random, but no longer than until something does."""
        if not self._failures:
            return
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._failures // self._concurrency, 10))
        if waits.are_off():
            await waits.pause(longest)
            return
        self._going_on.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(0, longest)):  # noqa: S311 - spreads load
                await self._going_on.wait()

    def _note(self) -> bool:
        """Count a failure. Returns whether nothing has succeeded for too long."""
        now = time.monotonic()
        if not self._failures:
            self._since = now
        self._failures += 1
        if not self._patience_s:
            return True
        if waits.are_off():
            return self._failures >= _ROUNDS * self._concurrency
        patience_s = self._patience_s if self._successes else min(_FIRST_PATIENCE_S, self._patience_s)
        return self._failures >= _LEAST_FAILURES and now - self._since >= patience_s


class GivenUp:
    """What of which series is not asked for any more, and why."""

    def __init__(self) -> None:
        self._before: dict[Series, tuple[float, AluraError]] = {}

    def add(self, window: Window, error: AluraError, *, is_all: bool) -> None:
        """Give up the rest of a window's series, or what of it is not later than the window."""
        series = _series(window)
        before = inf if is_all else window.end_ms
        if before > self._before.get(series, (-inf, error))[0]:
            self._before[series] = before, error

    def why(self, window: Window) -> AluraError | None:
        """Why a window is not asked for; None if it is."""
        before, error = self._before.get(_series(window), (-inf, None))
        return error if window.end_ms <= before else None


def halves(window: Window) -> tuple[Window, Window]:
    """The earlier and the later half of a window that has room for more than one candle."""
    later = last_part(window, window.candles // 2)
    return msgspec.structs.replace(window, end_ms=later.start_ms), later


class _Row(msgspec.Struct):
    """Failures of one series in a row.

    Attributes:
        first: how many requests had succeeded at the first.
        latest: how many at the latest.
        since: when the first was, by the monotonic clock, in seconds.
        count: how many failures count against the series.
        refused: how many windows were refused for good.
    """

    first: int
    latest: int
    since: float
    count: int = 1
    refused: int = 0


class _Tried(msgspec.Struct):
    """A window that has failed.

    Attributes:
        count: how often that counts against it.
        successes: how many requests had succeeded at the latest.
        halvings: how often what it is a part of was halved.
    """

    count: int = 0
    successes: int = 0
    halvings: int = 0


def _series(window: Window) -> Series:
    return window.symbol, window.interval


def _key(window: Window) -> tuple[Series, int]:
    # Its start varies with what is known of the server's pages.
    return _series(window), window.end_ms
