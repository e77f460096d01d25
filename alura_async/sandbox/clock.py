"""The sandbox's clock: it starts where it is told to, runs as fast as it is told to, and can jump forward."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from ..core.model import from_milliseconds
from ..errors import ConfigurationError

EARLIEST = datetime(2020, 1, 8, tzinfo=UTC)
"""The market has history from a week before."""

LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""Beyond it, what lies ahead could soon not be written as a date."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LATEST_MS = (LATEST - _EPOCH) // _MILLISECOND


class Clock:
    """Epoch milliseconds that run at `speed` times real time, up to `LATEST`.

    Attributes:
        started_ms: where it started.

    Args:
        start: where it starts, an aware datetime; by default this machine's time, in whole seconds.
        speed: how many of its seconds pass in a real one; 0 stops it, so that only `advance` moves it.

    Raises:
        ConfigurationError: a start without a zone, before 2020-01-08 or after the year 8999, or a negative speed.
    """

    def __init__(self, start: datetime | None = None, speed: float = 1.0) -> None:
        if start is None:
            start = datetime.now(UTC).replace(microsecond=0)
        if start.tzinfo is None:
            raise ConfigurationError(f"start={start!r}: which zone? give it one, such as tzinfo=datetime.UTC")
        if not EARLIEST <= start <= LATEST:
            raise ConfigurationError(
                f"start={start!r}: the sandbox's market goes from {EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}"
            )
        if not 0 <= speed < float("inf"):
            raise ConfigurationError(f"speed={speed!r}: give 0 or more")
        self._speed = speed
        self._set = start - _EPOCH
        self._set_at = time.monotonic()
        self.started_ms = self._set // _MILLISECOND

    def now_ms(self) -> int:
        """The time, in epoch milliseconds."""
        return self._at_speed(self._speed)

    def unhurried_ms(self) -> int:
        """The time by which something must be done in time: it jumps too, but never runs faster than real time."""
        return self._at_speed(min(self._speed, 1.0))

    def now(self) -> datetime:
        """The time."""
        return from_milliseconds(self.now_ms())

    def advance(self, *, days: float, hours: float, minutes: float, seconds: float) -> None:
        """Jump forward.

        Raises:
            ConfigurationError: no length of time, a step backwards, or one beyond `LATEST`.
        """
        try:
            step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
            reached = self.now() + step
        except (TypeError, ValueError, OverflowError):
            raise ConfigurationError(
                f"advance(days={days!r}, hours={hours!r}, minutes={minutes!r}, seconds={seconds!r}): "
                f"give numbers that stay before {LATEST:%Y-%m-%d}"
            ) from None
        if step < timedelta(0):
            raise ConfigurationError(f"advance by {step}: the sandbox's clock only goes forward")
        if reached > LATEST:
            raise ConfigurationError(f"advance by {step}: the sandbox's clock goes to {LATEST:%Y-%m-%d} at most")
        # With its fractions of a millisecond: many small steps are a large one.
        self._set += step

    def _at_speed(self, speed: float) -> int:
        passed_ms = min((time.monotonic() - self._set_at) * speed * 1000, _LATEST_MS)
        return min((self._set + timedelta(milliseconds=passed_ms)) // _MILLISECOND, _LATEST_MS)
