"""Paces calls: who goes next, when, and how many at once.

Four things can make a call wait: the pace (so many a second, after a burst), the slots (so many at once), calls that go
before it, and a hold, which the server asked for by a 429, `Retry-After` or `X-RateLimit-…`. An exit waits for one turn
of the pace and for other exits, whatever else waits.

Waiters of one lane and endpoint stand in a line. A line whose next call may go is in its lane's heap, ordered by who
came first; a held one is in the heap of parked lines, ordered by when its next call may go. So a held endpoint is in
nobody's way, and ten thousand waiters cost each of them no more than the logarithm of the number of lines.

Decisions are made under one lock, by whoever changes something: a call that comes, ends or is cancelled, or a timer,
of which each event loop has at most one. A waiter in another loop is woken through that loop.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from math import inf
from typing import TypeAlias

from ..errors import ConfigurationError, InvalidArgumentError
from . import waits
from .messages import hold_asked
from .request import Lane

# After so many grants in a row that passed over a lower lane, one goes to a lower lane.
_IN_A_ROW = 9
# A 429 that does not say how long to wait.
_UNTOLD_HOLD_S = 1.0
# So many endpoints of one lane and server that refuse within so short a time speak for the whole lane.
_LANE_REFUSALS = 3
_LANE_REFUSALS_WITHIN_S = 2.0
# Holds that are remembered at once: a user's own routes may have any number of names.
_MOST_HOLDS = 1024
# What is lost, at most, when times are added: without it the tenth of a burst of ten might be late.
_ROUNDING_S = 1e-6
# Turns that can still be taken back without a loss; more than that are only ever on their way in a loop that is stuck.
_MOST_CHARGES = 1000
# Loops wake timers up to a tick of their clock early.
_TICK_S = max(time.get_clock_info("monotonic").resolution, _ROUNDING_S)
# No limit of calls at once.
_UNBOUNDED = sys.maxsize

# Lanes in the order in which they go; as plain names they are looked up faster than as members.
_EXIT_READ, _TRADING, _MARKET = Lane.EXIT_READ, Lane.TRADING, Lane.MARKET
_LANES = tuple(Lane)

Clock: TypeAlias = Callable[[], float]
"""Tells seconds that never go back."""


class RateLimiter:
    """Limits how fast and how many at once calls are made, and lets the urgent ones go first.

    Every client has one of its own. The server counts by address, not by account, so several clients of one machine
    share one: `AsyncAlura(…, limiter=limiter)`, in any event loops and threads, also through the blocking `Alura`.

    In any `s` seconds at most `burst + rate × s` calls begin. What closes or signs in goes before all others, then what
    is read to see a close through. Then come the reads that settle a create, trading, account and market data, in this
    order; after 9 in a row that went before a call of a lower one of these lanes, one of a lower lane goes, so a bulk
    pull progresses under a steady stream of trading calls. Within a lane it is first come, first served.

    An endpoint whose server says that it has had enough (429, `Retry-After`, `X-RateLimit-Remaining: 0`) is left alone
    for as long as it says, but at most for 60 s, and the other endpoints go on; only when 3 of one lane refuse within
    2 s does the whole lane pause.

    Args:
        rate: calls a second, on average; above 0, `math.inf` for any.
        burst: calls that may begin together after a pause.
        concurrency: calls under way at once. What closes, signs in or settles is not counted.
        reserved: how many of those slots calls for market data cannot take.
        clock: tells the time, in seconds; by default `time.monotonic`. Give the `time` method of an event loop whose
            time you control, to test without waiting.

    Raises:
        ConfigurationError: a value cannot be used; the message says what to set instead.
    """

    __slots__ = (
        "__weakref__",
        "_again",
        "_burst",
        "_charges",
        "_clock",
        "_concurrency",
        "_granted",
        "_held_until",
        "_holds",
        "_interval",
        "_lane_holds",
        "_leaving",
        "_lines",
        "_lock",
        "_loops",
        "_market_slots",
        "_next_at",
        "_next_at_before",
        "_numbers",
        "_parked",
        "_passed_over",
        "_rate",
        "_ready",
        "_serving",
        "_streak",
        "_taken",
        "_taken_by_market",
        "_tolerance",
        "_unlimited",
    )

    def __init__(
        self,
        *,
        rate: float = 10.0,
        burst: int = 10,
        concurrency: int = 16,
        reserved: int = 4,
        clock: Clock = time.monotonic,
    ) -> None:
        _check(rate, burst, concurrency, reserved)
        self._rate = rate
        self._burst = burst
        self._concurrency = concurrency
        self._market_slots = concurrency - reserved
        self._clock = clock
        self._unlimited = rate == inf and concurrency == _UNBOUNDED
        # GCRA: calls are due one interval after the other, and may be early by the tolerance.
        self._interval = 1.0 / rate
        self._tolerance = self._interval * (burst - 1)
        self._next_at = -inf
        # Endpoints and lanes that the server wants left alone, and until when the last of them is.
        self._holds: dict[str, _Hold] = {}
        self._lane_holds: dict[tuple[Lane, str], float] = {}
        self._held_until = -inf
        self._begin()
        _limiters.add(self)

    @classmethod
    def unlimited(cls) -> RateLimiter:
        """A limiter without limits of its own: any pace, any number at once. What the server asks for is heeded."""
        return cls(rate=inf, concurrency=_UNBOUNDED)

    @property
    def rate(self) -> float:
        """Calls a second, on average."""
        return self._rate

    @property
    def market_slots(self) -> int:
        """How many calls for market data may be under way at once."""
        return self._market_slots

    def _begin(self) -> None:
        """Begin with nobody waiting and nothing under way."""
        # Reentrant: the garbage collector may end an abandoned call, and so release its slot, at any allocation here.
        self._lock = threading.RLock()
        self._taken = 0
        self._taken_by_market = 0
        # Loops that have waiters, so it is empty if and only if nobody waits, or has yet to notice that it need not.
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}
        self._lines: dict[tuple[Lane, str, float], _Line] = {}
        self._ready: tuple[list[tuple[int, _Line]], ...] = tuple([] for _ in _LANES)
        self._parked: list[tuple[float, int, _Line]] = []
        self._numbers = count()
        self._streak = 0
        self._passed_over = [0 for _ in _LANES]
        # Waiters that were granted and have not woken up; and when the pace was charged, since there are any.
        self._granted: set[_Waiter] = set()
        self._charges: OrderedDict[_Waiter, float] = OrderedDict()
        self._leaving: list[_Waiter] = []
        self._serving = False

    def begin_anew(self) -> None:
        """In a child process: nobody waits, nothing is under way. The pace and the holds are what they were."""
        self._begin()

    def try_acquire(self, lane: Lane, endpoint: str) -> bool:
        """Take a turn if there is one at once and nobody waits; `release` it afterwards.

        Args:
            lane: the call's lane.
            endpoint: the server and its endpoint, as `"https://host GET /path"`: what holds are counted by.

        Returns:
            False if it may have to wait: `acquire` says how long.
        """
        if self._unlimited and self._held_until == -inf and not self._loops:
            return True
        now = self._clock()
        # Nothing is called in here, so neither a signal nor the garbage collector can come between.
        with self._lock:
            at = self._next_at
            if at - now > _ROUNDING_S or now < self._held_until or self._loops or self._unlimited:
                return False
            if lane >= _TRADING:
                if self._taken >= self._concurrency:
                    return False
                if lane is _MARKET:
                    if self._taken_by_market >= self._market_slots:
                        return False
                    self._taken_by_market += 1
                self._taken += 1
            floor = now - self._tolerance
            self._next_at = (at if at > floor else floor) + self._interval  # noqa: FURB136 - `max` would be called
        return True

    async def acquire(self, lane: Lane, endpoint: str, *, patience: float = inf) -> None:
        """Wait for a turn and take it; `release` it afterwards.

        Whoever is cancelled while waiting leaves his place, and passes on a turn that he was about to get.

        Args:
            lane: the call's lane.
            endpoint: as in `try_acquire`.
            patience: seconds for which a hold of the server is heeded at most. Pace, slots and other calls are waited
                for in any case.

        Raises:
            InvalidArgumentError: a patience below 0.
        """
        if not patience >= 0:
            raise InvalidArgumentError(f"patience={patience!r}: give seconds, 0 or more")
        waiter = _Waiter(lane, endpoint, patience, asyncio.get_running_loop())
        try:
            with self._lock:
                self._enter(waiter)
            await waiter.future
        except BaseException:
            # Cancelled; or the loop ended, and the garbage collector ends the call.
            self._withdraw(waiter)
            raise
        with self._lock:
            self._forget(waiter)

    def release(self, lane: Lane) -> None:
        """Give a turn back when the call has ended. One too many changes nothing: there are never more slots than set.

        Args:
            lane: that of the call.
        """
        if lane < _TRADING or self._unlimited:
            return
        with self._lock:
            if lane is _MARKET:
                if self._taken_by_market == 0:
                    return
                self._taken_by_market -= 1
            elif self._taken == self._taken_by_market:
                return
            self._taken -= 1
            if self._loops:
                self._serve(self._clock())

    def hear(self, lane: Lane, endpoint: str, status: int, headers: Mapping[str, str]) -> None:
        """Heed what a reply says about calls to come.

        Args:
            lane: that of the call.
            endpoint: as in `try_acquire`.
            status: the reply's HTTP status.
            headers: the reply's headers.
        """
        seconds = hold_asked(headers)
        if seconds is None:
            if status != 429:
                return
            seconds = _UNTOLD_HOLD_S
        if seconds <= 0 or waits.are_off():
            return
        with self._lock:
            self._hold(lane, endpoint, seconds, refused=status >= 400)

    def __repr__(self) -> str:
        now = self._clock()
        parts = [
            "unlimited"
            if self._unlimited
            else f"{self._rate:g}/s, burst {self._burst}, {self._taken} of {self._concurrency} under way"
        ]
        if waiting := sum(len(loop.waiters) for loop in list(self._loops.values())):
            parts.append(f"{waiting} waiting")
        if held := sum(hold.until > now for hold in list(self._holds.values())):
            parts.append(f"{held} endpoint{'s' if held > 1 else ''} held")
        return f"<RateLimiter {', '.join(parts)}>"

    # Who goes next. The lock is held in what follows.

    def _enter(self, waiter: _Waiter) -> None:
        waiter.number = next(self._numbers)
        waiter.arrived = self._clock()
        waiting = self._loops.get(waiter.loop)
        if waiting is None:
            waiting = self._loops[waiter.loop] = _Loop(waiter.loop)
        waiting.waiters.add(waiter)
        self._serve(waiter.arrived, waiter)

    def _serve(self, now: float, arriving: _Waiter | None = None) -> None:
        """Let in who came, let out who left, grant what can be granted, and set timers for the rest."""
        if self._serving:
            # The garbage collector ended a call in the middle of this; it is seen to below.
            self._again = True
            return
        self._serving = True
        try:
            while True:
                self._again = False
                if arriving is not None:
                    self._queue(arriving)
                    arriving = None
                for waiting in self._loops.values():
                    if waiting.loop.is_closed():
                        self._leaving.extend(waiting.waiters)
                while self._leaving:
                    self._leave(self._leaving.pop())
                self._wake_at(self._grant(now))
                if not self._again:
                    return
        finally:
            self._serving = False

    def _grant(self, now: float) -> float:
        """Grant all that can be granted, and say when more may be; infinity if that takes a release or a call."""
        off = waits.are_off()
        parked = self._parked
        running = _running_loop()
        while off or self._next_at - now <= _ROUNDING_S:
            while parked and (off or parked[0][0] <= now):
                line = heappop(parked)[2]
                if line.waiters:
                    heappush(self._ready[line.lane], (line.first.number, line))
            able = [lane for lane in _LANES if self._ready[lane] and self._is_able(lane, now, off, running)]
            if not able:
                return parked[0][0] if parked else inf
            lane = self._choose(able)
            _, line = self._ready[lane][0]
            waiter = self._pop(line)
            self._granted.add(waiter)
            if not self._unlimited and lane >= _TRADING:
                self._taken += 1
                self._taken_by_market += lane is _MARKET
            if not off:
                self._charge(waiter, now)
            self._wake(waiter, running)
        return self._next_at

    def _is_able(self, lane: Lane, now: float, off: bool, running: asyncio.AbstractEventLoop | None) -> bool:
        """Whether there is a slot for a lane, and somebody who may take it: then its line is at the heap's top."""
        if lane >= _TRADING and not self._unlimited:
            if self._taken >= self._concurrency:
                return False
            if lane is _MARKET and self._taken_by_market >= self._market_slots:
                return False
        heap = self._ready[lane]
        while heap:
            number, line = heap[0]
            if not line.waiters:
                heappop(heap)
                continue
            first = line.first
            if first.number != number:
                # Who was first has gone.
                heapreplace(heap, (first.number, line))
            elif first.future.done():
                # Cancelled, and about to notice: who comes next is not kept waiting for that.
                self._pop(line)
            elif first.loop is not running and not first.loop.is_running():
                self._set_aside(self._pop(line))
            elif off or (at := self._may_go_at(line, first, now)) <= now:
                return True
            else:
                heappop(heap)
                heappush(self._parked, (at, number, line))
        return False

    def _choose(self, able: list[Lane]) -> Lane:
        """The lane whose turn it is, of those that are able to use it."""
        lane = able[0]
        if lane <= _EXIT_READ:
            return lane
        if len(able) == 1:
            self._streak = 0
        elif self._streak < _IN_A_ROW:
            self._streak += 1
        else:
            # Among the lower lanes, the one that was passed over most.
            lane = max(able[1:], key=self._passed_over.__getitem__)
            self._streak = 0
        for other in able:
            self._passed_over[other] += 1
        self._passed_over[lane] = 0
        return lane

    def _may_go_at(self, line: _Line, first: _Waiter, now: float) -> float:
        """When the server lets a line's first waiter go, or the waiter's patience ends."""
        if now >= self._held_until:
            self._held_until = -inf
            self._holds.clear()
            self._lane_holds.clear()
            return now
        hold = self._holds.get(line.endpoint)
        until = -inf if hold is None else hold.until
        if self._lane_holds:
            until = max(until, self._lane_holds.get((line.lane, _origin_of(line.endpoint)), -inf))
        return min(until, first.arrived + line.patience)

    def _queue(self, waiter: _Waiter) -> None:
        key = (waiter.lane, waiter.endpoint, waiter.patience)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(key)
            heappush(self._ready[waiter.lane], (waiter.number, line))
        line.waiters[waiter] = None
        waiter.line = line

    def _pop(self, line: _Line) -> _Waiter:
        """Take the first waiter out of a line; the line's place in a heap is seen to when it comes to the top."""
        waiter, _ = line.waiters.popitem(last=False)
        waiter.line = None
        if not line.waiters:
            del self._lines[line.key]
        return waiter

    def _leave(self, waiter: _Waiter) -> None:
        """Forget a waiter that was cancelled or whose loop ended, wherever it stands."""
        line = waiter.line
        if line is not None:
            waiter.line = None
            del line.waiters[waiter]
            if not line.waiters:
                # Its entry in a heap is dropped when it comes to the top, or with many others.
                del self._lines[line.key]
                self._compact()
        elif waiter in self._granted:
            self._refund(waiter)
        self._forget(waiter)

    def _compact(self) -> None:
        parked = self._parked
        if len(parked) + sum(len(heap) for heap in self._ready) > 2 * len(self._lines) + 64:
            for heap in self._ready:
                heap[:] = [entry for entry in heap if entry[1].waiters]
                heapify(heap)
            parked[:] = [entry for entry in parked if entry[2].waiters]
            heapify(parked)

    # The pace.

    def _charge(self, waiter: _Waiter, now: float) -> None:
        if not self._charges:
            # From here on it is reckoned anew when one of them is taken back.
            self._next_at_before = self._next_at
        self._charges[waiter] = now
        self._next_at = self._after(self._next_at, now)
        if len(self._charges) > _MOST_CHARGES:
            _, first = self._charges.popitem(last=False)
            self._next_at_before = self._after(self._next_at_before, first)

    def _after(self, next_at: float, now: float) -> float:
        return max(next_at, now - self._tolerance) + self._interval

    def _refund(self, waiter: _Waiter) -> None:
        """Take a grant back that was not used.

        The pace is reckoned anew without it: had this turn not been taken, part of it might have been lost meanwhile,
        because no more than a burst is saved up.
        """
        if not self._unlimited and waiter.lane >= _TRADING:
            self._taken -= 1
            self._taken_by_market -= waiter.lane is _MARKET
        if self._charges.pop(waiter, None) is not None:
            next_at = self._next_at_before
            for at in self._charges.values():
                next_at = self._after(next_at, at)
            self._next_at = next_at

    # The server's holds.

    def _hold(self, lane: Lane, endpoint: str, seconds: float, *, refused: bool) -> None:
        now = self._clock()
        until = now + seconds
        hold = self._holds.get(endpoint)
        if hold is None:
            if len(self._holds) >= _MOST_HOLDS:
                # The one that ends first, or is over.
                del self._holds[min(self._holds, key=lambda name: self._holds[name].until)]
            hold = self._holds[endpoint] = _Hold()
        hold.until = max(hold.until, until)
        self._held_until = max(self._held_until, until)
        if refused:
            hold.lane, hold.refused_at = lane, now
            origin = _origin_of(endpoint)
            lately = [
                other.until
                for name, other in self._holds.items()
                if other.lane is lane
                and other.until > now
                and now - other.refused_at <= _LANE_REFUSALS_WITHIN_S
                and _origin_of(name) == origin
            ]
            if len(lately) >= _LANE_REFUSALS:
                # For as long as all of them hold: the first that may be called again shows whether the lane may.
                place = (lane, origin)
                self._lane_holds[place] = max(min(lately), self._lane_holds.get(place, -inf))

    # Waking up.

    def _wake(self, waiter: _Waiter, running: asyncio.AbstractEventLoop | None) -> None:
        if waiter.loop is running:
            waiter.future.set_result(None)
            return
        try:
            waiter.loop.call_soon_threadsafe(_set_result, waiter.future)
        except RuntimeError:
            # It has just been closed, so its waiters leave, and somebody else gets this.
            self._again = True

    def _set_aside(self, waiter: _Waiter) -> None:
        """Do not grant anything in a loop that stands still: nobody knows whether it will ever run again.

        If it does, the waiter comes back.
        """
        self._forget(waiter)
        with suppress(RuntimeError):
            waiter.loop.call_soon_threadsafe(self._come_back, waiter)

    def _come_back(self, waiter: _Waiter) -> None:
        if not waiter.future.done():
            with self._lock:
                self._enter(waiter)

    def _withdraw(self, waiter: _Waiter) -> None:
        """A waiter will not use its grant, or does not wait for one any more."""
        with self._lock:
            self._leaving.append(waiter)
            self._serve(self._clock())

    def _forget(self, waiter: _Waiter) -> None:
        self._granted.discard(waiter)
        if not self._granted:
            self._charges.clear()
        waiting = self._loops.get(waiter.loop)
        if waiting is not None:
            waiting.waiters.discard(waiter)
            if not waiting.waiters:
                del self._loops[waiter.loop]
                waiting.rest()

    def _wake_at(self, at: float) -> None:
        """See to it that every loop with waiters looks again at a time; each has a timer, for another may be stuck."""
        if at == inf:
            return
        running = _running_loop()
        for waiting in self._loops.values():
            if at >= waiting.wakes_at:
                continue
            waiting.wakes_at = at
            if waiting.loop is running:
                self._set_timer(waiting)
            else:
                try:
                    waiting.loop.call_soon_threadsafe(self._set_timer_in_loop, waiting)
                except RuntimeError:
                    # It has just been closed, and its waiters leave.
                    self._again = True

    def _set_timer_in_loop(self, waiting: _Loop) -> None:
        with self._lock:
            if self._loops.get(waiting.loop) is waiting and waiting.wakes_at != inf:
                self._set_timer(waiting)

    def _set_timer(self, waiting: _Loop) -> None:
        if waiting.timer is not None:
            waiting.timer.cancel()
        waiting.timer = waiting.loop.call_later(waiting.wakes_at - self._clock(), self._look_again, waiting)

    def _look_again(self, waiting: _Loop) -> None:
        with self._lock:
            now = self._clock()
            if now < waiting.wakes_at <= now + _TICK_S:
                now = waiting.wakes_at
            waiting.wakes_at = inf
            self._serve(now)


class _Waiter:
    """A call that waits."""

    __slots__ = ("arrived", "endpoint", "future", "lane", "line", "loop", "number", "patience")

    def __init__(
        self,
        lane: Lane,
        endpoint: str,
        patience: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.lane = lane
        self.endpoint = endpoint
        self.patience = patience
        # Given when it comes in.
        self.number: int
        self.arrived: float
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()
        self.line: _Line | None = None


class _Line:
    """Calls of one lane and endpoint that heed the server equally long: none may go before one that came earlier."""

    __slots__ = ("endpoint", "key", "lane", "patience", "waiters")

    def __init__(self, key: tuple[Lane, str, float]) -> None:
        self.key = key
        self.lane, self.endpoint, self.patience = key
        # Whoever is cancelled is taken out of the middle at once.
        self.waiters: OrderedDict[_Waiter, None] = OrderedDict()

    @property
    def first(self) -> _Waiter:
        return next(iter(self.waiters))


class _Hold:
    """An endpoint that the server wants left alone."""

    __slots__ = ("lane", "refused_at", "until")

    def __init__(self) -> None:
        self.until = -inf
        # Of the last refusal, if there was one.
        self.lane: Lane | None = None
        self.refused_at: float


class _Loop:
    """An event loop that has waiters, and its timer."""

    __slots__ = ("loop", "timer", "waiters", "wakes_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiters: set[_Waiter] = set()
        self.timer: asyncio.TimerHandle | None = None
        self.wakes_at = inf

    def rest(self) -> None:
        # A timer belongs to its loop's thread. One that is left behind finds nothing to do.
        if self.timer is not None and self.loop is _running_loop():
            self.timer.cancel()


def _check(rate: float, burst: int, concurrency: int, reserved: int) -> None:
    # Beyond these bounds, which nobody needs, times could not be added without loss.
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not (1e-6 <= rate <= 1e9 or rate == inf):
        raise ConfigurationError(
            f"rate={rate!r}: give calls a second, such as 10, or 0.5 for one in two seconds, or math.inf for any pace"
        )
    _check_whole("burst", burst, 1, 10**6, "how many calls may begin together")
    _check_whole("concurrency", concurrency, 1, _UNBOUNDED, "how many calls may be under way at once")
    _check_whole("reserved", reserved, 0, _UNBOUNDED, "how many slots are closed to market data")
    if reserved >= concurrency:
        raise ConfigurationError(
            f"reserved={reserved} of concurrency={concurrency}: leave market data a slot at least, reserve at most "
            f"{concurrency - 1}"
        )


def _check_whole(name: str, value: int, least: int, most: int, meaning: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigurationError(f"{name}={value!r}: give {meaning}, a whole number from {least} to {most}")


def _origin_of(endpoint: str) -> str:
    return endpoint.partition(" ")[0]


def _set_result(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_limiters: weakref.WeakSet[RateLimiter] = weakref.WeakSet()


def _begin_anew() -> None:
    for limiter in list(_limiters):
        limiter.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
