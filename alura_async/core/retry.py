"""Whether a call is made again, and when: rules, pauses, and a budget against storms. `backoff` drives it."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Generator
from math import inf
from typing import Any, TypeVar

import backoff
import msgspec

from ..errors import BodyTooLargeError, CallError, ConfigurationError, Outcome, RateLimitedError, SignInError
from .request import EXIT_PATIENCE_S, Effect, Route
from .waits import are_off

T = TypeVar("T")

# The window of the budget, and what it grants however few calls there are: a bot that reads every two seconds may try
# a failed read again, too.
_WINDOW_S = 60.0
_FLOOR = 10
# A complete reply with one of these may be another one next time. Of the others, only those that relay a failure of
# the server's own upstream.
_PASSING_STATUSES = frozenset({408, 409, 425})
_LASTING_STATUSES = frozenset({501, 505, 511})


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often a call is made, and how long the pauses between are.

    What is made again: calls that are harmless to repeat, after any failure that may pass; calls that move money, only
    where it is certain that the server did not act: nothing was sent, or a complete 429 came.

    The pause before attempt n + 1 is drawn between 0 and `base` · 2ⁿ⁻¹ seconds, at most `cap` (full jitter). Where the
    server asks for a pause (`Retry-After`), it is that long. A pause that would outlast the call's time limit is not
    begun: the call fails at once.

    What closes, and the sign-in that it may need, pauses for 2 seconds at most, whatever the server asks for.

    Attributes:
        attempts: how often a call is made at most; 1 turns repetition off.
        base: seconds; the longest first pause.
        cap: seconds; the longest pause of ours.
        retry_after_cap: seconds; the longest pause that the server may ask for. What goes beyond it is cut to this.
        budget: how many repetitions there may be for each call of the last minute, between 0 and 1, so that an outage
            is not answered by a storm; ten a minute in any case. Calls that close are never held back by it.

    Raises:
        ConfigurationError: a value out of its range.
    """

    attempts: int = 4
    base: float = 0.2
    cap: float = 10.0
    retry_after_cap: float = 60.0
    budget: float = 0.1

    def __post_init__(self) -> None:
        attempts: Any = self.attempts
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
            raise ConfigurationError(f"Retry attempts={attempts!r}: give a whole number from 1 on")
        for name in ("base", "cap", "retry_after_cap", "budget"):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
                raise ConfigurationError(f"Retry {name}={value!r}: give a finite number that is not negative")
        if self.budget > 1:
            raise ConfigurationError(f"Retry budget={self.budget!r}: give a share of the calls, between 0 and 1")

    def pause(self, failures: int, retry_after: float | None) -> float:
        """Seconds to wait after so many failures.

        Args:
            failures: how many attempts have failed, from 1 on.
            retry_after: seconds that the server asked for, or None.
        """
        if are_off():
            return 0.0
        if retry_after is not None:
            # No less than asked for; a little more, so that those who were refused together do not return together.
            return min(retry_after, self.retry_after_cap) + random.uniform(0, self.base)  # noqa: S311 - spreads load
        return random.uniform(0, min(self.cap, self.base * 2.0 ** min(failures - 1, 60)))  # noqa: S311


def may_repeat(effect: Effect, error: CallError) -> bool:
    """Whether a call may be made again after this failure, and whether that could help."""
    if error.outcome is Outcome.NOT_SENT:
        return not _is_lasting(error)
    if isinstance(error, RateLimitedError):
        # For a call that moves money this is a plain 429: one that relays somebody else's is of unknown outcome.
        return effect is not Effect.ONCE or error.outcome is Outcome.REJECTED
    if effect is Effect.ONCE or error.outcome is not Outcome.UNKNOWN:
        return False
    status = error.status
    if status is None or 200 <= status < 300:
        return not isinstance(error, BodyTooLargeError)
    if status >= 500:
        return status not in _LASTING_STATUSES
    return status in _PASSING_STATUSES or status in (400, 401, 403, 404, 422)


def may_sign_in_again(error: SignInError) -> bool:
    """Whether a sign-in that failed may succeed if it is begun again: neither the wallet nor the server said no."""
    cause = error.__cause__
    return isinstance(cause, TimeoutError) or (isinstance(cause, CallError) and may_repeat(Effect.REPEATABLE, cause))


class RetryBudget:
    """How many repetitions a client may make: ten a minute, or `share` of the calls of the last minute.

    Args:
        clock: seconds that only go forward.
    """

    __slots__ = ("_clock", "_earlier_calls", "_earlier_repeats", "_repeats", "_since", "calls")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._earlier_calls = 0.0
        self._earlier_repeats = 0.0
        self._repeats = 0
        # Raised by whoever makes a call; nothing else is done for one that succeeds.
        self.calls = 0

    def spend(self, share: float) -> bool:
        """Take one repetition out of the budget; False where there is none left."""
        now = self._clock()
        elapsed = now - self._since
        if elapsed >= _WINDOW_S:
            # Nothing was asked for since that window ended, so all its repetitions lie in its first minute; its calls
            # went on.
            self._earlier_repeats = self._repeats if elapsed < 2 * _WINDOW_S else 0
            self._earlier_calls = self.calls * _WINDOW_S / elapsed
            self.calls = self._repeats = 0
            elapsed %= _WINDOW_S
            self._since = now - elapsed
        left = 1 - elapsed / _WINDOW_S
        calls = self.calls + self._earlier_calls * left
        repeats = self._repeats + self._earlier_repeats * left
        if repeats + 1 > max(_FLOOR, share * calls):
            return False
        self._repeats += 1
        return True


async def again(
    make: Callable[[], Awaitable[T]],
    first: CallError,
    route: Route[Any],
    policy: Retry,
    budget: RetryBudget,
    remaining: Callable[[], float],
    noted: Callable[[CallError, float], None],
) -> T:
    """Go on after a call's first attempt has failed.

    Args:
        make: makes the call once.
        first: how the first attempt failed.
        route: what is called.
        policy: how often, and after what pauses.
        budget: what all calls of a client share.
        remaining: seconds that are left of the call's time limit.
        noted: is told of each failure that is not the last, and of the pause in seconds that follows.

    Raises:
        CallError: the last failure.
    """
    # Exits, and what they may need, are not to fail because reads used the budget up.
    is_free = route.lane.is_urgent
    failed: CallError | None = first
    failures = 0
    # Seconds to wait here, before the call goes to its lane again.
    delay = 0.0

    async def make_again() -> T:
        nonlocal failed
        if failed is not None:
            # The first attempt is over already: successes do not pass here and pay nothing.
            error, failed = failed, None
            raise error
        return await make()

    def give_up(error: Exception) -> bool:
        nonlocal failures, delay
        assert isinstance(error, CallError)
        failures += 1
        if failures >= policy.attempts or not may_repeat(route.effect, error):
            return True
        pause = delay = policy.pause(failures, error.retry_after)
        if is_free:
            pause = min(pause, EXIT_PATIENCE_S)
            # The lane holds it back for as long as it heeds what the server asks for: here as well would be twice.
            delay = max(0.0, pause - (error.retry_after or 0.0))
        if pause >= remaining() or not (is_free or budget.spend(policy.budget)):
            return True
        noted(error, pause)
        return False

    def pauses() -> Generator[float, None, None]:
        while True:
            yield delay

    # Its own jitter would shorten what the server asked for, and its own count of tries knows no budget.
    retrying = backoff.on_exception(pauses, CallError, giveup=give_up, jitter=None, logger=None)(make_again)
    return await retrying()


def _is_lasting(error: CallError) -> bool:
    """Whether connecting will fail in the same way again."""
    import aiohttp

    # A certificate, a URL or a header that cannot be used, a proxy that wants a password.
    lasting = aiohttp.ClientConnectorCertificateError | aiohttp.ClientHttpProxyError | ValueError
    return isinstance(error.__cause__, lasting)
