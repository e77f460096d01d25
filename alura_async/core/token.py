"""The token: one for all calls, one sign-in at a time, renewed before it ends.

A sign-in is one shared task: 500 callers without a token make one, and a caller who is cancelled takes nobody along.

How often a client signs in, at most: once when a call needs a token and none is good, once ahead of a token's end, once
more for a call that was answered 401, and whenever `login()` asks. Unless `login()` asks, there is none
- for 5 seconds after one that failed,
- for a minute after the server refused the last two tokens that it had just given, or until it takes one,
- for a 401 of an endpoint that refused the token of such a second sign-in less than a minute ago.

Exits, and the reads that see an order through, heed these for one second only. Then they have a sign-in that was begun
after they asked, which all of them share; what they begin is at least a second apart. So nothing that a read has spoilt
keeps anybody from getting flat, and a hundred closes during an outage make one sign-in a second, for as long as the
outage or the time of their calls lasts (`Road` sees to that). If it fails, or brings a token that is refused, the other
calls wait as long as after any other.

Where no sign-in succeeds, exits go out with the token that is held if only the time of day says that it has expired:
somebody may have set the clock.

For a sign-in that had begun before they asked they wait 2 seconds; then it is stopped, another is begun in its place,
and whoever waited for the one has the other. Where the next is slow too, it has twice as long each time, so that a slow
server is not asked for ever and never heard. Only while the wallet is asked is nothing stopped, for a person would be
asked twice: what such a wallet does not answer holds exits up for all of the sign-in's own time limit.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ..errors import ChallengeRefusedError, ConfigurationError, CredentialsNeededError, SignInError
from ..secret import Secret, SecretText
from . import waits
from .decode import NOT_DECODED, require_shallow
from .request import EXIT_PATIENCE_S, Access, Route
from .token_cache import CachedToken

if TYPE_CHECKING:
    from ..groups.auth import SignIn
    from .token_cache import TokenCache

# A token is renewed this long before it ends, less a random part, so that many bots do not all sign in at once.
_RENEW_BEFORE_S = 300.0
_RENEW_JITTER_S = 60.0
# After a renewal ahead of time failed, the next one waits this long: the token that is held is still good.
_RENEW_AGAIN_S = 30.0
# After a failed sign-in, callers get its failure for this long instead of starting another.
_COOL_DOWN_S = 5.0
# Exits wait no longer than this for what keeps others from signing in, and for the last sign-in that an exit began.
EXIT_COOL_DOWN_S = 1.0
# How long closing waits for a sign-in to stop.
_STOP_S = 2.0
# Longer than any token lives.
_LONGEST_S = 10 * 365 * 86400.0
# Later than any date that is meant as one.
_LONGEST_CLAIM_S = 1e12
# A server that refuses the tokens it has just given is not asked for more of them for this long.
_BREAKER_REFUSALS = 2
_BREAKER_S = 60.0

NEEDS_CREDENTIALS = (
    "this call needs a wallet or a token: give the client one (wallet='0x<private key>' or token='<JWT>'), or set "
    "ALURA_PRIVATE_KEY and make the client by from_env()"
)

_log = logging.getLogger("alura_async")


class Clock(NamedTuple):
    """The two clocks that tokens go by, in seconds. A test gives the lock a pair that it moves by hand.

    Attributes:
        steady: nobody can set it, and where the system has such a clock it goes on while the machine sleeps.
        wall: the time of day, since 1970. It jumps when somebody sets it.
        pause: waits for so many seconds.
        limit: the same for a time limit, which holds also where waits are off.
    """

    steady: Callable[[], float]
    wall: Callable[[], float]
    pause: Callable[[float], Awaitable[None]] = waits.pause
    limit: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep


def steady_clock() -> Callable[[], float]:
    """`time.monotonic` stops while Linux and macOS sleep; these go on."""
    name = {"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC"}.get(sys.platform, "")
    try:
        clock = partial(time.clock_gettime, getattr(time, name))
        clock()
    except (AttributeError, OSError):
        return time.monotonic
    return clock


SYSTEM_CLOCK = Clock(steady_clock(), time.time)


class Token:
    """A token and how long it is good for.

    It has expired as soon as one of the two clocks says so, so that neither a sleep nor a clock that is set prolongs
    it. Both ends are counted from now on, never taken from the server's clock: however wrong this machine's clock is, a
    new token is good.

    Args:
        secret: the token.
        lifetime: seconds from now on; None where nobody knows.
        clock: what tells the time.

    Raises:
        ConfigurationError: it cannot be sent in a header.
    """

    __slots__ = (
        "_clock",
        "_expires",
        "_expires_wall",
        "_renews",
        "_renews_wall",
        "doubted",
        "header",
        "proven",
        "secret",
    )

    def __init__(self, secret: Secret, lifetime: float | None, clock: Clock = SYSTEM_CLOCK) -> None:
        if not is_sendable(secret):
            raise ConfigurationError(
                "the token cannot be sent: it is empty, or has other than visible ASCII characters"
            )
        self.secret = secret
        self.header = SecretText(f"Bearer {secret.reveal()}")
        # Whether the server has taken it once.
        self.proven = False
        # Whether the server has refused it before it ever took it.
        self.doubted = False
        lifetime = inf if lifetime is None else lifetime
        jitter = random.uniform(0, _RENEW_JITTER_S)  # noqa: S311 - it spreads load and hides nothing
        margin = min(_RENEW_BEFORE_S - jitter, lifetime / 4)
        self._clock = clock
        self._expires = clock.steady() + lifetime
        self._expires_wall = clock.wall() + lifetime
        self._renews = self._expires - margin
        self._renews_wall = self._expires_wall - margin

    @property
    def is_expired(self) -> bool:
        """Whether its time is up."""
        clock = self._clock
        return clock.steady() >= self._expires or clock.wall() >= self._expires_wall

    @property
    def is_due(self) -> bool:
        """Whether it should be renewed by now."""
        clock = self._clock
        return clock.steady() >= self._renews or clock.wall() >= self._renews_wall

    @property
    def is_good_by_one_clock(self) -> bool:
        """Whether it is only the wall clock that says, if at all, that its time is up: somebody may have set it."""
        return self._clock.steady() < self._expires

    def __repr__(self) -> str:
        # Shown also half made: tracebacks with locals show the object whose making failed.
        return f"<Token {'expired' if hasattr(self, '_renews_wall') and self.is_expired else 'valid'}>"


def is_sendable(secret: Secret) -> bool:
    """Whether a token can be a header's value: visible ASCII characters, and at least one."""
    text: object = secret.reveal()
    return isinstance(text, str) and bool(text) and all(33 <= ord(character) <= 126 for character in text)


class _Failure(msgspec.Struct):
    """A sign-in that failed; kept for those who ask again while it cools down.

    Attributes:
        error: why.
        number: which sign-in it was, counted from 1 on.
        at: when it failed, by the steady clock.
    """

    error: SignInError
    number: int
    at: float

    def again(self) -> SignInError:
        # One exception raised to many would gather all their tracebacks. Classes of the user's own may want other
        # arguments.
        kind = ChallengeRefusedError if isinstance(self.error, ChallengeRefusedError) else SignInError
        repeated = kind(*self.error.args)
        repeated.__cause__ = self.error.__cause__
        return repeated


class TokenLock:
    """Holds the token and signs in when there is none.

    It belongs to one event loop, that of the road it serves.

    Args:
        sign_in: signs in and returns the server's answer, or None where there is no wallet.
        token: a token that was obtained elsewhere.
        cache: where tokens are kept between two runs. Used with a wallet only.
        clock: what tells the time.
    """

    def __init__(
        self,
        sign_in: Callable[[], Awaitable[SignIn]] | None,
        token: str | Secret | None = None,
        *,
        cache: TokenCache | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        # First of all: a traceback that shows local variables must find nothing here.
        token = Secret(token) if isinstance(token, str) else token
        self.clock = clock
        self._sign_in = sign_in
        self._cache = None if sign_in is None else cache
        self._token: Token | None = None
        # The sign-in under way, what becomes of it or of those that take its place, and those that were stopped.
        self._task: asyncio.Task[Token | _Failure] | None = None
        self._result: asyncio.Future[Token | _Failure]
        self._pass_on: Callable[[asyncio.Task[Token | _Failure]], None]
        self._stopping: set[asyncio.Task[Token | _Failure]] = set()
        self._saving: set[asyncio.Task[None]] = set()
        self._begun = 0
        self._failure: _Failure | None = None
        self._renews_ahead_from = -inf
        # What an exit went out with although the wall clock says that it has expired; it holds while it is held.
        self._fallen_back_on: Token | None = None
        # How many tokens the server has refused since it last took one, and when the last of them. Since when
        # endpoints refuse those that were just given to them. When a sign-in of an exit last asked the server.
        self._refusals = 0
        self._refused_at = -inf
        self._refusing: dict[str, float] = {}
        self._exit_began_at = -inf
        # Of the sign-in under way: how many wait for it, whether a token of the cache will do for them, and whether
        # a logout came after the last of them; in the place of how many others it is, since when it has been waiting
        # for the server, and until when its wallet may be asked.
        self._waiting = 0
        self._replaced = 0
        self._server_since = -inf
        self._wallet_until = -inf
        self._cached_will_do = True
        self._discards = False
        if token is not None:
            if not isinstance(token, Secret):
                raise ConfigurationError("the token cannot be sent: give it as text")
            self._token = Token(token, _time_left(token, clock.wall()), clock)

    @property
    def can_sign_in(self) -> bool:
        """Whether there is a wallet."""
        return self._sign_in is not None

    @property
    def held(self) -> Token | None:
        """The token, if there is one that has not expired."""
        token = self._token
        return None if token is None or token.is_expired else token

    def is_good(self, token: Token) -> bool:
        """Whether a token that a call got a while ago is still the one to send: neither expired nor replaced since.

        Where it is not, `get()` has the one that is.
        """
        current = self._token
        if current is not None and current is not token:
            return False
        # What nothing can replace, or what an exit has fallen back on.
        is_all_there_is = self._sign_in is None or token is self._fallen_back_on
        return not token.is_expired or (is_all_there_is and token.is_good_by_one_clock)

    async def get(self, route: Route[Any]) -> Token | None:
        """The token to make a call with; None for a call that needs none and for which there is none.

        Args:
            route: what is called.

        Raises:
            CredentialsNeededError: the call needs a token, and there is neither one nor a wallet.
            SignInError: the sign-in failed.
        """
        token = self._token
        if token is not None:
            if not token.is_due:
                return token
            if not token.is_expired:
                self._renew_ahead()
                return token
            if self._sign_in is None and token.is_good_by_one_clock:
                # Nothing can replace it, and whoever set the clock must still get out of a position.
                return token
        if route.access is Access.OPTIONAL:
            return None
        if self._sign_in is None:
            if token is not None:
                raise CredentialsNeededError(
                    "the token has expired by this machine's clock, and there is no wallet to sign in with again"
                )
            raise CredentialsNeededError(NEEDS_CREDENTIALS)
        if not route.lane.is_urgent:
            return await self._join()
        try:
            return await self._join_as_exit()
        except SignInError:
            if (last := self._last_resort()) is None:
                raise
            return last

    async def renew(self, refused: Token | None, route: Route[Any]) -> Token | None:
        """The token to repeat a call with after a 401; None where there is no wallet, or a new token would not help.

        The refused token stays the current one until there is a new one: one endpoint's refusal is no reason to keep
        all others waiting, least of all those that close positions.

        Args:
            refused: the token that the call had. Only if it is still the current one is there a new sign-in.
            route: what was called.

        Raises:
            SignInError: the sign-in failed, or the server keeps refusing the tokens that it gives.
        """
        if self._sign_in is None:
            return None
        refusing_since = self._refusing.get(route.name, -inf)
        is_exit = route.lane.is_urgent
        if not is_exit and self.clock.steady() < refusing_since + _BREAKER_S:
            return None
        self._doubt(refused)
        if (current := self._held_after(refused)) is not None:
            return current
        # What refuses one token from before now may refuse all of them, and the call is repeated only once.
        cached_will_do = refused is None
        if is_exit:
            return await self._join_as_exit(refused, refusing_since, cached_will_do=cached_will_do)
        return await self._join(cached_will_do=cached_will_do)

    def refuse(self, token: Token, route: Route[Any]) -> None:
        """Note that an endpoint did not take a token that was just given.

        It may be the token or the endpoint. So the token stays, for others may take it; and for this endpoint there is
        no further sign-in for a while.
        """
        self._doubt(token)
        self._refusing[route.name] = self.clock.steady()

    def _doubt(self, token: Token | None) -> None:
        if token is not None and not token.proven and not token.doubted:
            token.doubted = True
            self._refusals += 1
            self._refused_at = self.clock.steady()

    def prove(self, token: Token) -> None:
        """Note that the server took a token."""
        token.proven = True
        self._refusals = 0

    async def login(self) -> None:
        """Sign in now, whatever is held. The new token is in the cache when this returns.

        Raises:
            CredentialsNeededError: there is no wallet.
            SignInError: the sign-in failed.
        """
        if self._sign_in is None:
            raise CredentialsNeededError(NEEDS_CREDENTIALS)
        self._failure = None
        self._refusals = 0
        await self._join(cached_will_do=False)
        await self._saved()

    async def logout(self) -> None:
        """Drop the token, and that of a sign-in under way, also from the cache.

        Raises:
            ConfigurationError: it is forgotten, but could not be removed from the cache.
        """
        self._token = None
        self._discards = True
        if self._cache is not None:
            await self._cache.remove()

    def anew(self) -> TokenLock:
        """The same lock and token without a sign-in under way: after a fork, its task belongs to the parent."""
        cache = None if self._cache is None else self._cache.anew()
        fresh = TokenLock(self._sign_in, cache=cache, clock=self.clock)
        fresh._token = self._token
        return fresh

    @contextmanager
    def asking_wallet(self, seconds: float) -> Generator[None]:
        """Around what a sign-in asks of its wallet: nobody stops it meanwhile.

        Args:
            seconds: how long that may take at most.
        """
        task = asyncio.current_task()
        if task is self._task:
            self._wallet_until = self.clock.steady() + seconds
        try:
            yield
        finally:
            # A wallet may go on after its sign-in was stopped, and another took its place.
            if task is self._task:
                self._wallet_until = -inf
                self._server_since = self.clock.steady()

    async def close(self) -> None:
        """Stop a sign-in that is under way, and see the last token to the cache."""
        if self._task is not None and self._is_under_way:
            self._stop(self._task)
        if self._stopping:
            # A wallet may not listen; nothing is lost by leaving it behind.
            await asyncio.wait(list(self._stopping), timeout=_STOP_S)
        await self._saved()

    def _stop(self, task: asyncio.Task[Token | _Failure]) -> None:
        # The loop itself holds no task.
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)
        task.cancel()

    async def _saved(self) -> None:
        """Wait for what is being written; each is bounded by itself."""
        if self._saving:
            await asyncio.wait(list(self._saving))

    def _renew_ahead(self) -> None:
        """Renew in the background: whoever calls now still has a good token."""
        if self._sign_in is None or self._is_under_way or self.clock.steady() < self._renews_ahead_from:
            return
        if self._obstacle() is None:
            self._start()

    @property
    def _is_under_way(self) -> bool:
        return self._task is not None and not self._task.done()

    def _obstacle(self) -> SignInError | None:
        """What keeps a sign-in from being started now."""
        now = self.clock.steady()
        if self._refusals >= _BREAKER_REFUSALS:
            if now < self._refused_at + _BREAKER_S:
                return SignInError(
                    f"the server refused the last {_BREAKER_REFUSALS} tokens that it had just given: no further "
                    f"sign-in for {_BREAKER_S:.0f} s"
                )
            self._refusals = 0
        failure = self._failure
        return failure.again() if failure is not None and now < failure.at + _COOL_DOWN_S else None

    async def _join(self, *, cached_will_do: bool = True) -> Token:
        """Wait for the one sign-in, starting it if need be."""
        if not self._is_under_way and (obstacle := self._obstacle()) is not None:
            raise obstacle
        result = await self._outcome(cached_will_do)
        if isinstance(result, _Failure):
            raise result.again()
        return result

    async def _join_as_exit(
        self, refused: Token | None = None, refusing_since: float = -inf, *, cached_will_do: bool = True
    ) -> Token:
        """The same for what must get out: only a sign-in that began after it asked can fail it, or hold it up for long.

        Args:
            refused: the token that will not do.
            refusing_since: since when the endpoint refuses what it is given.
            cached_will_do: whether a token of the cache will do.
        """
        asked, asked_at = self._begun, self.clock.steady()
        heeded = -inf
        while True:
            if not self._is_under_way:
                if self._failure is not None and self._failure.number > asked:
                    raise self._failure.again()
                if (current := self._held_after(refused)) is not None:
                    return current
                due = max(refusing_since, self._exit_obstacle_since()) + EXIT_COOL_DOWN_S
                now = self.clock.steady()
                # What was waited for once is over, whatever the clock says: waits may be off.
                if due > max(now, heeded):
                    heeded = due
                    await self.clock.pause(due - now)
                    continue
            # Whether a failure counts is seen above: it may be that of a sign-in which had begun before.
            result = await self._outcome(cached_will_do, asked, asked_at)
            if not isinstance(result, _Failure):
                return result

    def _patience(self, asked_at: float) -> float:
        """For how many seconds an exit still waits, before it looks again, for a sign-in that began before it asked."""
        now = self.clock.steady()
        if now < self._wallet_until:
            # When it looks again, the wallet has not been silent for longer than this.
            return EXIT_PATIENCE_S
        until = max(asked_at + EXIT_PATIENCE_S, self._server_since + EXIT_PATIENCE_S * 2.0**self._replaced)
        return min(until - now, EXIT_PATIENCE_S)

    def _exit_obstacle_since(self) -> float:
        """Since when there is what keeps an exit from starting a sign-in, for a while."""
        failed_at = -inf if self._failure is None else self._failure.at
        refused_at = self._refused_at if self._refusals >= _BREAKER_REFUSALS else -inf
        return max(failed_at, refused_at, self._exit_began_at)

    def _last_resort(self) -> Token | None:
        """What an exit goes out with where no new token can be had: one that ended only by a clock that can be set."""
        token = self._token
        if token is None or not token.is_good_by_one_clock:
            return None
        self._fallen_back_on = token
        return token

    def _held_after(self, refused: Token | None) -> Token | None:
        """The token, if it has not expired and is another one than that which was refused."""
        held = self.held
        return None if held is refused else held

    async def _outcome(self, cached_will_do: bool, asked: int = -1, asked_at: float = inf) -> Token | _Failure:
        """What becomes of the one sign-in, which is started if need be.

        Args:
            cached_will_do: whether a token of the cache will do.
            asked: how many sign-ins had begun when an exit asked, which does not wait for those as long as they take.
            asked_at: when that was.
        """
        caller = asyncio.current_task()
        assert caller is not None
        before = caller.cancelling()
        result = self._start(for_exit=asked >= 0)
        # Whoever asks after a logout wants the token that the sign-in under way brings.
        self._discards = False
        self._cached_will_do &= cached_will_do
        self._waiting += 1
        try:
            while self._is_under_way and self._begun <= asked:
                patience = self._patience(asked_at)
                if patience <= 0:
                    self._replace()
                else:
                    await self._ends_within(patience, result)
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            if caller.cancelling() > before or not result.cancelled():
                raise
            raise SignInError("the sign-in was stopped before it ended, so the call was not made") from None
        finally:
            self._waiting -= 1

    async def _ends_within(self, seconds: float, result: asyncio.Future[Token | _Failure]) -> None:
        limit = asyncio.ensure_future(self.clock.limit(seconds))
        either: list[asyncio.Future[Any]] = [result, limit]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()

    def _start(self, *, for_exit: bool = False) -> asyncio.Future[Token | _Failure]:
        """What becomes of the sign-in under way, or else of one that is begun now."""
        if not self._is_under_way:
            self._cached_will_do = True
            self._replaced = 0
            self._result = asyncio.get_running_loop().create_future()
            self._begin(for_exit)
        return self._result

    def _replace(self) -> None:
        """Begin the sign-in under way anew; those who wait for it go on waiting."""
        assert self._task is not None
        _log.warning("a sign-in takes so long that it is begun anew for a call that must not wait for it")
        self._task.remove_done_callback(self._pass_on)
        self._stop(self._task)
        self._replaced += 1
        self._begin(for_exit=True)

    def _begin(self, for_exit: bool) -> None:
        self._begun += 1
        self._server_since, self._wallet_until = self.clock.steady(), -inf
        # Not by the loop's factory of tasks, which may start it before it is known here.
        self._task = asyncio.Task(self._run(for_exit), name="alura sign-in")
        self._pass_on = partial(_pass_on, self._result)
        self._task.add_done_callback(self._pass_on)

    async def _run(self, for_exit: bool) -> Token | _Failure:
        """Sign in. Failures are a result, so that none is lost or reported as unhandled if nobody waits any more."""
        this = self._task
        try:
            token = await self._from_cache()
            if token is None or not self._cached_will_do:
                if for_exit:
                    self._exit_began_at = self.clock.steady()
                token = await self._from_server()
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever a wallet raises, those who
            # wait are told, and the loop that serves others goes on.
            return self._failed(error) if self._task is this else _Failure(_as_sign_in_error(error), 0, -inf)
        # From here on nothing is awaited: whoever comes later starts another one.
        self._failure = None
        if not self._discards:
            self._token = token
        return token

    def _failed(self, error: BaseException) -> _Failure:
        now = self.clock.steady()
        failure = self._failure = _Failure(_as_sign_in_error(error), self._begun, now)
        self._renews_ahead_from = now + _RENEW_AGAIN_S
        if not self._waiting:
            held = "the one that is held goes on being used" if self.held else "the next call that needs one signs in"
            _log.warning("no new token could be had in the background; %s: %s", held, failure.error)
        return failure

    async def _from_server(self) -> Token:
        assert self._sign_in is not None
        answer = await self._sign_in()
        secret = answer.access_token
        lifetime = _lifetime(answer.expires_in, secret)
        token = Token(secret, lifetime, self.clock)
        if self._cache is not None and lifetime is not None and not self._discards:
            now = self.clock.wall()
            saving = asyncio.get_running_loop().create_task(
                self._cache.save(CachedToken(secret, now, now + lifetime)), name="alura token cache"
            )
            self._saving.add(saving)
            saving.add_done_callback(self._saving.discard)
        return token

    async def _from_cache(self) -> Token | None:
        """A token that another run, or another process, left behind, if it is good for a while."""
        if self._cache is None or not self._cached_will_do:
            return None
        kept = await self._cache.load()
        now = self.clock.wall()
        # One from the future tells that the clock was set back since, so that nobody knows how old it is.
        if kept is None or not kept.obtained_at <= now < kept.expires_at < now + _LONGEST_S:
            return None
        if not is_sendable(kept.secret):
            _log.warning("what the token cache holds for this wallet is no token, and is replaced")
            return None
        if self._token is not None and self._token.secret == kept.secret:
            return None
        return Token(kept.secret, kept.expires_at - now, self.clock)


def _pass_on(result: asyncio.Future[Token | _Failure], task: asyncio.Task[Token | _Failure]) -> None:
    if task.cancelled():
        result.cancel()
    elif (error := task.exception()) is not None:
        result.set_exception(error)
    else:
        result.set_result(task.result())


def _as_sign_in_error(error: BaseException) -> SignInError:
    if isinstance(error, SignInError):
        return error
    wrapped = SignInError(f"the sign-in failed, so the call was not made: {error}")
    wrapped.__cause__ = error
    return wrapped


def _lifetime(expires_in: float | None, token: Secret) -> float | None:
    """Seconds that a new token lives: what the server says, or else what the token says of itself.

    A lifetime that makes no sense says nothing: the server will answer 401 when it is over.
    """
    if expires_in is None:
        issued, expires = _times(token)
        expires_in = None if issued is None or expires is None else expires - issued
    return expires_in if expires_in is not None and 0 < expires_in < _LONGEST_S else None


def _time_left(token: Secret, now: float) -> float | None:
    """Seconds until a token that was obtained elsewhere ends, by this machine's clock; None where it does not say.

    Its times are the server's. A clock that is behind them prolongs no token beyond its whole lifetime.
    """
    issued, expires = _times(token)
    if expires is None:
        return None
    return expires - (now if issued is None else max(now, min(issued, expires)))


def owner_of(token: str | Secret) -> str:
    """Whose a JWT says that it is: its `address`, or else its `sub`; empty for anything that does not say so."""
    claims = _claims(token if isinstance(token, Secret) else Secret(token))
    owner = claims.get("address") or claims.get("sub")
    return owner if isinstance(owner, str) else ""


def _times(token: Secret) -> tuple[float | None, float | None]:
    """When a JWT says that it was issued and that it ends; None for anything that does not say so."""
    claims = _claims(token)
    return _seconds(claims.get("iat")), _seconds(claims.get("exp"))


def _claims(token: Secret) -> dict[str, Any]:
    """What a JWT says; nothing for anything else. The signature is the server's business."""
    text: object = token.reveal()
    parts = text.split(".") if isinstance(text, str) else []
    if len(parts) != 3:
        return {}
    try:
        content = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        require_shallow(content)
        claims = msgspec.json.decode(content)
    except (ValueError, *NOT_DECODED):
        return {}
    return claims if isinstance(claims, dict) else {}


def _seconds(claim: object) -> float | None:
    is_number = isinstance(claim, int | float) and not isinstance(claim, bool) and abs(claim) < _LONGEST_CLAIM_S
    return float(claim) if is_number else None  # type: ignore[arg-type]
