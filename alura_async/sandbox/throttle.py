"""Throttling as @nestjs/throttler does it: so many calls of one handler by one client in a fixed window."""

from __future__ import annotations

import math
import time

from ..errors import ConfigurationError
from .refusals import HttpError

# Windows at once: a thousand users who call every endpoint have half as many.
_REMEMBERED = 100_000


class Throttle:
    """Counts calls by handler and client, in windows of real time.

    Args:
        limit: calls in a window, or None for no limit.
        window: seconds of a window; it begins with the first call that falls into none.

    Raises:
        ConfigurationError: a limit below 1, or a window that is not above 0 or endless.
    """

    def __init__(self, limit: int | None, window: float) -> None:
        if limit is not None and limit < 1:
            raise ConfigurationError(f"limit={limit}: give 1 or more, or None")
        if not 0 < window < math.inf:
            raise ConfigurationError(f"window={window}: give a number of seconds above 0")
        self.limit = limit
        self.window = window
        # When a window ends, and how many calls fell into it. All are of the same length, and one that begins goes to
        # the end, so the first is the next to be over.
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}

    def admit(self, handler: str, client: str) -> dict[str, str]:
        """Count a call and give the headers that say how many are left.

        Raises:
            HttpError: 429, with `Retry-After`.
        """
        limit = self.limit
        if limit is None:
            return {}
        now = time.monotonic()
        place = (handler, client)
        self._forget_past(now)
        ends, count = self._windows.get(place, (now + self.window, 0))
        count += 1
        self._windows[place] = (ends, count)
        reset = str(max(1, math.ceil(ends - now)))
        headers = {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - count)),
            "X-RateLimit-Reset": reset,
        }
        if count > limit:
            raise HttpError(
                429, "ThrottlerException: Too Many Requests", plain=True, headers={**headers, "Retry-After": reset}
            )
        return headers

    def _forget_past(self, now: float) -> None:
        """Forget the windows that are over, and the oldest of more than can be remembered."""
        windows = self._windows
        while windows:
            first = next(iter(windows))
            if windows[first][0] > now and len(windows) < _REMEMBERED:
                return
            del windows[first]
