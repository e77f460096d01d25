"""The last close of each thing, so that several calls of `flatten` on one client do not close it at once."""

from __future__ import annotations

import math

import msgspec


class SentClose(msgspec.Struct):
    """The last close of something.

    Attributes:
        ended: `time.monotonic()` when it was answered, or its answer lost; infinite as long as it is under way.
        was_refused: whether it is certain that the server did not act.
        accepted: `time.monotonic()` when the server last accepted one.
        tries: how many ways to close it were tried.
    """

    ended: float = math.inf
    accepted: float = -math.inf
    was_refused: bool = False
    tries: int = 0

    @property
    def is_under_way(self) -> bool:
        """Whether it has no answer yet."""
        return self.ended == math.inf
