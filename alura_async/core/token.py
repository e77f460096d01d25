"""The token: one for all calls, one sign-in at a time, renewed before it ends.

A sign-in is one shared task: 500 callers without a token make one, and a caller who is cancelled takes nobody along.
"""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import ChallengeRefusedError, ConfigurationError, CredentialsNeededError, SignInError
from ..secret import Secret, SecretText
from .request import Access, Route

if TYPE_CHECKING:
    from ..groups.auth import SignIn

# A token is renewed this long before it ends, less a random part, so that many bots do not all sign in at once.
_RENEW_BEFORE_S = 300.0
_RENEW_JITTER_S = 60.0
# After a failed sign-in, callers get its failure for this long instead of starting another.
_COOL_DOWN_S = 5.0
# How long closing waits for a sign-in to stop.
_STOP_S = 2.0
# Longer than any token lives.
_LONGEST_S = 10 * 365 * 86400.0
# A server that refuses the tokens it has just given is not asked for more of them for this long.
_BREAKER_REFUSALS = 2
_BREAKER_S = 60.0

NEEDS_CREDENTIALS = (
    "this call needs a wallet or a token: give the client one (wallet='0x<private key>' or token='<JWT>'), or set "
    "ALURA_PRIVATE_KEY and make the client by from_env()"
)


class Token:
    """A token and how long it is good for.

    It has expired as soon as one of two clocks says so: the monotonic clock stops while the machine sleeps, the wall
    clock jumps when somebody sets it.
    """

    __slots__ = ("_expires", "_expires_wall", "_renews", "_renews_wall", "doubted", "header", "proven", "secret")

    def __init__(self, secret: Secret, lifetime: float | None) -> None:
        if not _can_be_sent(secret):
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
        self._expires = time.monotonic() + lifetime
        self._expires_wall = time.time() + lifetime
        self._renews = self._expires - margin
        self._renews_wall = self._expires_wall - margin

    @property
    def is_expired(self) -> bool:
        """Whether its time is up."""
        return time.monotonic() >= self._expires or time.time() >= self._expires_wall

    @property
    def is_due(self) -> bool:
        """Whether it should be renewed by now."""
        return time.monotonic() >= self._renews or time.time() >= self._renews_wall

    def __repr__(self) -> str:
        # Shown also half made: tracebacks with locals show the object whose making failed.
        if not hasattr(self, "_renews_wall"):
            return "<Token>"
        return f"<Token {'expired' if self.is_expired else 'valid'}>"


class _Failure(msgspec.Struct):
    """A sign-in that failed; kept for those who ask again while it cools down."""

    error: SignInError
    until: float

    def again(self) -> SignInError:
        # One exception raised to many would gather all their tracebacks. Classes of the user's own may want other
        # arguments.
        kind = ChallengeRefusedError if isinstance(self.error, ChallengeRefusedError) else SignInError
        repeated = kind(*self.error.args)
        repeated.__cause__ = self.error.__cause__
        return repeated


class TokenLock:
    """Holds the token and signs in when there is none.

    Args:
        sign_in: signs in and returns the server's answer, or None where there is no wallet.
        token: a token that was obtained elsewhere.
    """

    def __init__(self, sign_in: Callable[[], Awaitable[SignIn]] | None, token: str | Secret | None = None) -> None:
        self._sign_in = sign_in
        self._token: Token | None = None
        self._task: asyncio.Task[Token | _Failure] | None = None
        self._failure: _Failure | None = None
        self._refusals = 0
        self._refusing: dict[tuple[str, str], float] = {}
        self._epoch = 0
        if token is not None:
            secret = token if isinstance(token, Secret) else Secret(token)
            if not isinstance(secret.reveal(), str):
                raise ConfigurationError("the token cannot be sent: give it as text")
            self._token = Token(secret, _lifetime_of(secret))

    @property
    def can_sign_in(self) -> bool:
        """Whether there is a wallet."""
        return self._sign_in is not None

    @property
    def held(self) -> Token | None:
        """The token, if there is one that has not expired."""
        token = self._token
        return None if token is None or token.is_expired else token

    async def get(self, access: Access) -> Token | None:
        """The token to make a call with; None for a call that needs none and for which there is none.

        Raises:
            CredentialsNeededError: the call needs a token, and there is neither one nor a wallet.
            SignInError: the sign-in failed.
        """
        token = self._token
        if token is not None and not token.is_expired:
            if token.is_due and self._sign_in is not None and not self._is_cooling():
                # In the background: this call still has a good token.
                self._start()
            return token
        if access is Access.OPTIONAL:
            return None
        if self._sign_in is None:
            if token is not None:
                raise CredentialsNeededError("the token has expired, and there is no wallet to sign in with again")
            raise CredentialsNeededError(NEEDS_CREDENTIALS)
        return await self._join()

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
        if time.monotonic() < self._refusing.get((route.method, route.template), 0.0):
            return None
        self._doubt(refused)
        current = self._token
        if current is not None and current is not refused and not current.is_expired:
            return current
        return await self._join()

    def refuse(self, token: Token, route: Route[Any]) -> None:
        """Note that an endpoint did not take a token that was just given.

        It may be the token or the endpoint. So the token stays, for others may take it; and for this endpoint there is
        no further sign-in for a while.
        """
        self._doubt(token)
        self._refusing[route.method, route.template] = time.monotonic() + _BREAKER_S

    def _doubt(self, token: Token | None) -> None:
        if token is not None and not token.proven and not token.doubted:
            token.doubted = True
            self._refusals += 1

    def prove(self, token: Token) -> None:
        """Note that the server took a token."""
        token.proven = True
        self._refusals = 0

    async def login(self) -> None:
        """Sign in now, whatever is held.

        Raises:
            CredentialsNeededError: there is no wallet.
            SignInError: the sign-in failed.
        """
        if self._sign_in is None:
            raise CredentialsNeededError(NEEDS_CREDENTIALS)
        self._failure = None
        self._refusals = 0
        await self._join()

    def forget(self) -> None:
        """Drop the token, and that of a sign-in under way."""
        self._token = None
        self._epoch += 1

    def anew(self) -> TokenLock:
        """The same lock and token without a sign-in under way: after a fork, its task belongs to the parent."""
        fresh = TokenLock(self._sign_in)
        fresh._token = self._token
        return fresh

    async def close(self) -> None:
        """Stop a sign-in that is under way."""
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            # A wallet may not listen; nothing is lost by leaving it behind.
            await asyncio.wait([task], timeout=_STOP_S)

    def _is_cooling(self) -> bool:
        return self._failure is not None and time.monotonic() < self._failure.until

    async def _join(self) -> Token:
        """Wait for the one sign-in, starting it if need be."""
        if self._task is None:
            if self._failure is not None and self._is_cooling():
                raise self._failure.again()
            if self._refusals >= _BREAKER_REFUSALS:
                self._refusals = 0
                self._failure = _Failure(
                    SignInError(
                        f"the server refused the last {_BREAKER_REFUSALS} tokens that it had just given: no further "
                        f"sign-in for {_BREAKER_S:.0f} s"
                    ),
                    time.monotonic() + _BREAKER_S,
                )
                raise self._failure.again()
        caller = asyncio.current_task()
        assert caller is not None
        before = caller.cancelling()
        task = self._start()
        try:
            result = await asyncio.shield(task)
        except asyncio.CancelledError:
            if caller.cancelling() > before or not task.cancelled():
                raise
            raise SignInError("the sign-in was stopped before it ended, so the call was not made") from None
        if isinstance(result, _Failure):
            raise result.again()
        return result

    def _start(self) -> asyncio.Task[Token | _Failure]:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="alura sign-in")
            self._task.add_done_callback(self._finished)
        return self._task

    def _finished(self, task: asyncio.Task[Token | _Failure]) -> None:
        if self._task is task:
            self._task = None

    async def _run(self) -> Token | _Failure:
        """Sign in. Failures are a result, so that none is lost or reported as unhandled if nobody waits any more."""
        assert self._sign_in is not None
        epoch = self._epoch
        try:
            answer = await self._sign_in()
            seconds = answer.expires_in
            # A lifetime that makes no sense says nothing: the server will answer 401 when it is over.
            token = Token(answer.access_token, seconds if seconds and 0 < seconds < _LONGEST_S else None)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever a wallet raises, those who
            # wait are told, and the loop that serves others goes on.
            self._failure = _Failure(_as_sign_in_error(error), time.monotonic() + _COOL_DOWN_S)
            return self._failure
        if epoch == self._epoch:
            self._token = token
        self._failure = None
        return token


def _as_sign_in_error(error: BaseException) -> SignInError:
    if isinstance(error, SignInError):
        return error
    wrapped = SignInError(f"the sign-in failed, so the call was not made: {error}")
    wrapped.__cause__ = error
    return wrapped


def _can_be_sent(token: Secret) -> bool:
    text = token.reveal()
    return bool(text) and all(33 <= ord(character) <= 126 for character in text)


def _lifetime_of(token: Secret) -> float | None:
    """Seconds until a JWT says that it ends; None for anything that does not say so. The signature is the
    server's business.
    """
    parts = token.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"]) - time.time()
    except (ValueError, TypeError, KeyError, OverflowError, msgspec.DecodeError):
        return None
