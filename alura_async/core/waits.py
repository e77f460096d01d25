"""The switch that makes all waits zero, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

_off = 0


@contextmanager
def no_waits() -> Generator[None]:
    """Make every wait of this process's clients zero, for tests; as a `with` block or as a decorator.

        with no_waits():
            with pytest.raises(ServerError):
                await alura.user.profile()      # four attempts, at once

    What is not waited for: the pauses before a call is made again, with what the server asked for in `Retry-After`; the
    pace of the rate limiter, though not its limit of simultaneous calls; and the pauses between the reads by which a
    lost reply is settled and `flatten()` looks. Time limits, and the intervals of `watch…` and `wait_…`, stay what they
    are.
    """
    global _off  # noqa: PLW0603 - one switch for the process
    _off += 1
    try:
        yield
    finally:
        _off -= 1


def are_off() -> bool:
    """Whether nothing is waited for."""
    return _off > 0


async def pause(seconds: float) -> None:
    """Wait, unless waits are off; the loop gets its turn in any case."""
    await asyncio.sleep(0 if _off else seconds)
