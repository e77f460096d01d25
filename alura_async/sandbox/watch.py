"""The prices at which sessions close, and which of them the market reaches first.

Only the nearest prices of each asset are looked for in the market, so that a thousand sessions cost as much as one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from .listing import Asset
from .market import Market
from .records import SessionRecord

NEVER_ABOVE = 1 << 62
NEVER_BELOW = -1
"""Ticks that no price reaches."""


class Bounds(NamedTuple):
    """The ticks at which a session closes above and below the price, each with the reason."""

    upper: int
    upper_reason: str
    lower: int
    lower_reason: str


@dataclass(slots=True)
class _Watched:
    """What is looked for in one asset.

    Attributes:
        looked_ms: up to when its prices were looked at.
        touched_s: the second in which one is reached, as far as that is known.
    """

    asset: Asset
    looked_ms: int
    sessions: dict[SessionRecord, Bounds] = field(default_factory=dict)
    nearest: tuple[int, int] | None = None
    touched_s: int | None = None

    def begin(self, from_ms: int) -> None:
        """Look anew from a moment on. What was reached before it has been dealt with."""
        self.looked_ms = from_ms
        self.nearest = self.touched_s = None


class Watch:
    """Looks out for the sessions' prices.

    Args:
        market: where they may be reached.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self._watched: dict[int, _Watched] = {}

    def put(self, session: SessionRecord, bounds: Bounds, from_ms: int) -> None:
        """Look out for a session's prices from a moment on, instead of those that it had."""
        watched = self._watched.setdefault(session.asset.index, _Watched(session.asset, from_ms))
        watched.sessions[session] = bounds
        watched.begin(from_ms)

    def drop(self, session: SessionRecord, from_ms: int) -> None:
        """Look out for a session no longer."""
        watched = self._watched.get(session.asset.index)
        if watched is None or watched.sessions.pop(session, None) is None:
            return
        if not watched.sessions:
            del self._watched[session.asset.index]
        watched.begin(from_ms)

    def first(self, until_ms: int) -> tuple[int, list[SessionRecord]] | None:
        """The first second up to a moment in which prices are reached, and whose, in the order of their creation."""
        seconds = [
            second for watched in self._watched.values() if (second := self._look(watched, until_ms)) is not None
        ]
        if not seconds:
            return None
        first = min(seconds)
        touched = [
            session
            for watched in self._watched.values()
            if watched.touched_s == first
            for session, bounds in watched.sessions.items()
            if self.reaches(watched.asset, first, upper=bounds.upper)
            or self.reaches(watched.asset, first, lower=bounds.lower)
        ]
        return first, sorted(touched, key=lambda session: session.number)

    def reaches(self, asset: Asset, second: int, *, upper: int = NEVER_ABOVE, lower: int = NEVER_BELOW) -> bool:
        """Whether the price reaches a level within a second."""
        start_ms = second * 1000
        return self._market.first_touch(asset, start_ms, start_ms + 1000, upper, lower) is not None

    def bounds(self, session: SessionRecord) -> Bounds | None:
        """What is looked for, for a session."""
        watched = self._watched.get(session.asset.index)
        return None if watched is None else watched.sessions.get(session)

    def _look(self, watched: _Watched, until_ms: int) -> int | None:
        if watched.touched_s is None:
            if watched.nearest is None:
                watched.nearest = _nearest(watched.sessions.values())
            upper, lower = watched.nearest
            touch = self._market.first_touch(watched.asset, watched.looked_ms, until_ms, upper, lower)
            while touch and (resumes_ms := self._market.resumes_ms(watched.asset, touch.second * 1000)) is not None:
                # A price that stands still because of a halt is no trade.
                watched.looked_ms = resumes_ms
                touch = self._market.first_touch(watched.asset, resumes_ms, until_ms, upper, lower)
            if touch is None:
                # A second that is not over was not looked at.
                watched.looked_ms = max(watched.looked_ms, until_ms // 1000 * 1000)
                return None
            watched.touched_s = touch.second
        return watched.touched_s if (watched.touched_s + 1) * 1000 <= until_ms else None


def _nearest(bounds: Iterable[Bounds]) -> tuple[int, int]:
    uppers, lowers = zip(*((each.upper, each.lower) for each in bounds), strict=True)
    return min(uppers), max(lowers)
