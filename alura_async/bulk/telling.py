"""Tells how far a pull has come, how fast it goes and how long the rest will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from ..core.road import Road
from .habits import Habits
from .pages import Progress
from .plan import Window, span_ms

# The pace is that of the last seconds, without those in which nothing came and so much more than one might have.
_PACE_S = 30.0
_STILL_S = 3.0
_STILL_TIMES = 5

Listener: TypeAlias = Callable[[Progress], object]
"""Called with how far a pull has come."""


class Telling:
    """What is told of a pull's progress.

    Args:
        ranges: what is pulled.
        road: what waits for its turn.
        progress: whom it is told.
    """

    def __init__(self, ranges: Iterable[Window], road: Road, progress: Listener | None) -> None:
        self.requests = 0
        self.candles = 0
        self.gaps = 0
        self._progress = progress
        self._road = road
        self._began = time.monotonic()
        self.waited_before = road.market_wait_s
        self._lately = deque([(self._began, 0)])
        self._pace = 0.0
        # When the last request was answered, as far as anybody looked.
        self._moved = (self._began, 0)
        # Milliseconds that nothing is known of yet.
        self._left: dict[str, int] = {}
        for window in ranges:
            self._left[window.interval] = self._left.get(window.interval, 0) + window.end_ms - window.start_ms
        self._all = max(1.0, self._intervals())
        self._held: set[Window] = set()
        self._held_ms: dict[str, int] = {}

    def has_answered(self, window: Window) -> None:
        """A window is a page now, or a gap."""
        self.lets_go(window)
        self._left[window.interval] -= window.end_ms - window.start_ms

    def holds(self, window: Window) -> None:
        """A window will probably be an empty page: it is not done, and takes hardly any more requests."""
        if window not in self._held:
            self._held.add(window)
            self._held_ms[window.interval] = self._held_ms.get(window.interval, 0) + window.end_ms - window.start_ms

    def lets_go(self, window: Window) -> None:
        """A window that was held, if it was, is a page, or a gap, or to be asked for like any other."""
        if window in self._held:
            self._held.remove(window)
            self._held_ms[window.interval] -= window.end_ms - window.start_ms

    @property
    def is_listened_to(self) -> bool:
        """Whether it is told to anybody."""
        return self._progress is not None

    def tell(self, habits: Habits) -> None:
        """Tell how far it is."""
        if self._progress is None:
            return
        now = time.monotonic()
        self._keep_pace(now)
        to_ask = {name: left - self._held_ms.get(name, 0) for name, left in self._left.items()}
        lasting = {name: left for name, left in to_ask.items() if left > 0}
        left = sum(-(-left // (span_ms(name) * habits.page(name))) for name, left in lasting.items())
        # Until then it is not known how many requests that takes; nor how long, once nothing comes any more.
        is_known = self._goes_on(now) and all(habits.reach(name).is_settled for name in lasting)
        # A burst is faster than what follows it.
        pace = min(self._pace, self._road.limiter.rate)
        self._progress(
            Progress(
                requests=self.requests,
                requests_left=left,
                candles=self.candles,
                gaps=self.gaps,
                done=1 - self._intervals() / self._all,
                elapsed_s=now - self._began,
                eta_s=left / pace if is_known else None if left else 0.0,
                requests_per_s=self._pace,
                lane_wait_s=self._road.market_wait_s - self.waited_before,
            )
        )

    def _goes_on(self, now: float) -> bool:
        """Whether requests are answered at about the pace that they had."""
        moved_at, before = self._moved
        if self.requests != before:
            self._moved = (now, self.requests)
            return self._pace > 0
        return self._pace > 0 and now - moved_at <= max(_STILL_S, _STILL_TIMES / self._pace)

    def _keep_pace(self, now: float) -> None:
        """How many requests a second there are, a pause that the server asked for not counted."""
        lately = self._lately
        since, before = lately[0]
        last_at, last = lately[-1]
        if self.requests == last:
            return
        each = (last_at - since) / max(1, last - before)
        if self._pace and now - last_at > max(_STILL_S, _STILL_TIMES * each):
            lately.clear()
            lately.append((now, self.requests))
            return
        if now >= last_at + _PACE_S / 100:
            lately.append((now, self.requests))
        while len(lately) > 2 and lately[1][0] < now - _PACE_S:
            lately.popleft()
        since, before = lately[0]
        if now > since:
            self._pace = (self.requests - before) / (now - since)

    def _intervals(self) -> float:
        return sum(left / span_ms(name) for name, left in self._left.items())
