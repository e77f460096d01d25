"""The sandbox's clock: it starts where it is told to, runs as fast as it is told to, and can jump forward."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from ..core.model import from_milliseconds
from ..errors import ConfigurationError

EARLIEST = datetime(2020, 1, 8, tzinfo=UTC)
"""The market has history from a week before."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Clock:
    """Epoch milliseconds that run at `speed` times real time.

    Attributes:
        started_ms: where it started.

    Args:
        start: where it starts, an aware datetime; by default this machine's time, in whole seconds.
        speed: how many of its seconds pass in a real one; 0 stops it, so that only `advance` moves it.

    Raises:
        ConfigurationError: a start without a zone or before 2020-01-08, or a negative speed.
    """

    def __init__(self, start: datetime | None = None, speed: float = 1.0) -> None:
        if start is None:
            start = datetime.now(UTC).replace(microsecond=0)
        if start.tzinfo is None:
            raise ConfigurationError(f"start={start!r}: which zone? give it one, such as tzinfo=datetime.UTC")
        if start < EARLIEST:
            raise ConfigurationError(f"start={start!r}: the sandbox's market begins at {EARLIEST:%Y-%m-%d}")
        if not 0 <= speed < float("inf"):
            raise ConfigurationError(f"speed={speed!r}: give 0 or more")
        self._speed = speed
        self.started_ms = (start - _EPOCH) // _MILLISECOND
        self._origin_ms = self.started_ms
        self._origin = time.monotonic()

    def now_ms(self) -> int:
        """The time, in epoch milliseconds."""
        return self._at_speed(self._speed)

    def unhurried_ms(self) -> int:
        """The time by which something must be done in time: it jumps too, but never runs faster than real time."""
        return self._at_speed(min(self._speed, 1.0))

    def now(self) -> datetime:
        """The time."""
        return from_milliseconds(self.now_ms())

    def advance(self, step: timedelta) -> None:
        """Jump forward.

        Raises:
            ConfigurationError: a step backwards.
        """
        if step < timedelta(0):
            raise ConfigurationError(f"advance by {step}: the sandbox's clock only goes forward")
        self._origin_ms += step // _MILLISECOND

    def _at_speed(self, speed: float) -> int:
        return self._origin_ms + int((time.monotonic() - self._origin) * speed * 1000)
