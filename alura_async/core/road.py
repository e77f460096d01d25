"""The road of a request, from a group's method to its result. Read this first.

    group method → Request → guard → journal( retry( token → lane → exchange → outcome ) ) → value
                                        └─ after a lost reply: reconcile

`request.py` makes a call a value. What must not be made twice is led by `orders.py`: `guard.py` may refuse it,
`intents.py` writes it down before it leaves, and afterwards what became of it; where that stays in doubt,
`reconcile.py` judges what `reading.py` reads until somebody knows. Every call is led by `call.py`: `retry.py` says
whether one that failed is made again. And here, once for each attempt: `token.py` has a token for it, `lanes.py` its
turn, `exchange.py` sends it and reads the reply, of which `outcome.py` says what it means and returns; of a large one
with market data, so that `large.py` lets the loop go on meanwhile. Each stop knows nothing of the others.

One time limit (`deadline.py`) holds for the whole road, with all that it waits for and repeats. Only what a person is
asked, and the reading after a lost reply, come on top of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import (
    AluraError,
    CallError,
    ClosedError,
    CredentialsNeededError,
    SignInError,
    UsageError,
)
from . import log
from .call import Call
from .deadline import Deadline, Deadlines
from .imports import importing
from .large import LargeReplies
from .orders import Orders
from .outcome import Attempt, Reply, is_for_want_of_a_token, lost
from .request import EXIT_PATIENCE_S, Access, Effect, Lane, Request
from .retry import RetryBudget, may_sign_in_again
from .token import EXIT_COOL_DOWN_S, NEEDS_CREDENTIALS, TokenLock

if TYPE_CHECKING:
    from ..groups.auth import SignIn
    from ..secret import Secret
    from .exchange import Exchange
    from .settings import Connection, Options, Safety
    from .token import Token
    from .token_cache import TokenCache

T = TypeVar("T")

# How long a loop that runs in another thread may take to close a client whose orders have ended.
_CLOSE_LIMIT_S = 5.0
# How long the journal may take to bring to the disk what it knows.
_JOURNAL_LIMIT_S = 5.0


class Road:
    """One client's road. It belongs to the event loop that first uses it.

    Args:
        connection: how the server is reached.
        options: what holds for calls that do not say otherwise.
        safety: the limiter, the journal's store and the guard.
        sign_in: signs in, given this road; None without a wallet.
        token: a token that was obtained elsewhere.
        token_cache: where tokens are kept between two runs.
        account: whose calls these are, for the journal.
    """

    def __init__(
        self,
        connection: Connection,
        options: Options,
        safety: Safety,
        sign_in: Callable[[Road], Awaitable[SignIn]] | None,
        token: str | Secret | None,
        token_cache: TokenCache | None,
        account: Callable[[], Awaitable[str]],
    ) -> None:
        self._connection = connection
        self._host = str(connection.origin)
        self._options = options
        self.limiter = safety.limiter
        self.orders = Orders(self, self._host, safety, account)
        self.tokens = TokenLock(None if sign_in is None else lambda: sign_in(self), token, cache=token_cache)
        self.budget = RetryBudget()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exchange: Exchange
        self._deadlines: Deadlines
        self.large: LargeReplies
        self._drains = False
        # Seconds that calls for market data have waited for their turn.
        self.market_wait_s = 0.0
        self.closed = False
        self.ends_with_loop = False

    async def travel(self, request: Request[T], timeout: float, options: Options | None = None) -> T:
        """Make a call and return what it returns.

        Args:
            request: the call.
            timeout: seconds for all of it, a sign-in included.
            options: what holds for it besides; by default the client's.

        Raises:
            AluraError: see the tree in `errors.py`.
        """
        self.open()
        return await self._make(Call(self, request, options or self._options), timeout)

    async def travel_timed(self, request: Request[T], timeout: float, options: Options) -> tuple[T, float]:
        """Make a call and return what it returns, and how many seconds it took since it was last sent.

        Raises:
            AluraError: as for `travel`.
        """
        self.open()
        call = Call(self, request, options)
        value = await self._make(call, timeout)
        return value, time.monotonic() - call.sent_at

    async def _make(self, call: Call[T], timeout: float) -> T:
        request = call.request
        try:
            return await (self.orders.make(call, timeout) if request.route.is_recorded else call.make(timeout))
        except CallError as error:
            if error.status == 401 and request.route.access is Access.OPTIONAL and not self._has_credentials:
                # The document does not say which of these calls need a token; the server has now.
                raise CredentialsNeededError(f"{request.method} {request.path}: {NEEDS_CREDENTIALS}") from None
            raise

    async def carry(self, request: Request[T], timeout: float, options: Options | None = None) -> Reply[T]:
        """Make a call and return the complete reply, whatever its status.

        What `travel` would make again is made again here, and the last reply counts. A lost one is not settled by
        reading.

        Raises:
            NotSentError, TransportError, OutcomeUnknownError: no complete reply came.
            CredentialsNeededError, SignInError: there is no token for it.
        """
        self.open()
        call = Call(self, request, options or self._options, wants_reply=True)
        try:
            await (self.orders.make(call, timeout) if request.route.is_recorded else call.make(timeout))
        except CallError:
            if call.reply is None:
                raise
        assert call.reply is not None  # else it had failed
        return call.reply

    async def send(self, call: Call[T]) -> Reply[T]:
        """Send a call once, with a token and in its turn; a second time where the first token was refused."""
        request = call.request
        route = request.route
        access = route.access
        try:
            token = None if access is Access.PUBLIC else await self.tokens.get(route)
        except SignInError as error:
            token = await self._sign_in_again(call, error, partial(self.tokens.get, route))
        reply, token = await self._take_turn(call, token)
        if reply.status != 401 or access is Access.PUBLIC:
            if token is not None and not token.proven and _shows_that_the_token_was_taken(reply):
                self.tokens.prove(token)
            return reply
        # A 401 for want of a token means that the server did not act, so calling again is safe for every call.
        # One that tells of something else, such as a failure of the server's own upstream, means no such thing.
        if not is_for_want_of_a_token(reply):
            return reply
        if call.was_renewed:
            # Once for all its attempts: other failures in between make no server take a token.
            if token is not None:
                self.tokens.refuse(token, route)
            return reply
        call.attempt = Attempt(call.key)
        call.was_renewed = True
        try:
            renewed = await self.tokens.renew(token, route)
        except SignInError as error:
            renewed = await self._sign_in_again(call, error, partial(self.tokens.renew, token, route))
        if renewed is None:
            return reply
        reply, renewed = await self._take_turn(call, renewed)
        # Once: a server that refuses a token which it has just given is not asked a third time.
        if renewed is not None:
            if reply.status == 401:
                self.tokens.refuse(renewed, route)
            elif _shows_that_the_token_was_taken(reply):
                self.tokens.prove(renewed)
        return reply

    async def _take_turn(self, call: Call[T], token: Token | None) -> tuple[Reply[T], Token | None]:
        """Wait in the lane, and send. Returns the token that was sent, too: waiting may take longer than one lives."""
        request = call.request
        route = request.route
        lane = route.lane
        endpoint = f"{self._host} {route.name}"
        if not self.limiter.try_acquire(lane, endpoint):
            asked = time.monotonic()
            call.in_line = True
            await self.limiter.acquire(lane, endpoint, patience=EXIT_PATIENCE_S if lane.is_urgent else inf)
            call.in_line = False
            call.lane_wait = time.monotonic() - asked
            if lane is Lane.MARKET:
                self.market_wait_s += call.lane_wait
        try:
            if token is not None and not self.tokens.is_good(token):
                try:
                    token = await self.tokens.get(route)
                except SignInError as error:
                    token = await self._sign_in_again(call, error, partial(self.tokens.get, route))
            attempt = call.attempt
            assert attempt is not None
            call.sent_at = time.monotonic()
            reply = await self._exchange.send(request, token, attempt)
        finally:
            self.limiter.release(lane)
        self.limiter.hear(lane, endpoint, reply.status, reply.headers)
        return reply, token

    async def _sign_in_again(
        self, call: Call[Any], error: SignInError, obtain: Callable[[], Awaitable[Token | None]]
    ) -> Token | None:
        """Go on after a sign-in has failed: what must get out has others, a second apart, while its time lasts.

        Raises:
            SignInError: the last failure.
        """
        seconds = call.time_left
        failures = 1
        # Counted, and not only timed: waits may be off.
        while call.request.route.lane.is_urgent and may_sign_in_again(error) and failures * EXIT_COOL_DOWN_S < seconds:
            call.sign_in_error = error
            try:
                token = await obtain()
            except SignInError as latest:
                error = latest
                failures += 1
            else:
                call.sign_in_error = None
                return token
        raise error

    def lost(self, call: Call[Any], error: BaseException) -> AluraError:
        """The error of a call to which no complete reply came."""
        request, sent = call.request, call.has_left
        if self.closed and not (sent and request.route.effect is Effect.ONCE):
            return ClosedError(f"this client was closed while {call} was being made")
        return lost(request, error, sent=sent)

    def within(self, seconds: float) -> Deadline:
        """A time limit on this road's loop, for a `with` block."""
        return self._deadlines.within(seconds)

    @property
    def _has_credentials(self) -> bool:
        return self.tokens.can_sign_in or self.tokens.held is not None

    async def login(self) -> None:
        """Sign in now, whatever token is held.

        Raises:
            CredentialsNeededError: there is no wallet.
            SignInError: the sign-in failed.
        """
        self.open()
        await self.tokens.login()

    def require_open(self) -> None:
        """Refuse to begin anything after `close()`. What had begun may still read, and sign in.

        Raises:
            ClosedError: it was closed.
        """
        if self.closed or self._drains:
            raise ClosedError("this client was closed: make a new one")

    def open(self) -> None:
        """Make the road ready in the loop of the first call. Does nothing afterwards."""
        if self.closed:
            self.require_open()
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and self.ends_with_loop and self._loop.is_closed():
            # A test that is run several times is run in as many loops.
            self.restart()
        if self._loop is not None:
            raise UsageError(
                "this client was first used on another event loop, and its connections belong to that one: make a "
                "client for each loop, inside it: `async with AsyncAlura(…) as alura`"
            )
        # aiohttp is imported by the first call, not by `import alura_async`.
        with importing("aiohttp"):
            from .exchange import Exchange

        self._loop = loop
        self._exchange = Exchange(self._connection, self._options.timeouts, reports_forgotten=not self.ends_with_loop)
        self._deadlines = Deadlines(loop)
        self.large = LargeReplies()

    async def close(self) -> None:
        """See orders through, stop a sign-in, close the connections. Calls made later raise `ClosedError`."""
        self._drains = True
        try:
            await self.orders.drain(self._options.timeouts.drain)
        finally:
            self.closed = True
            async with AsyncExitStack() as each:
                # The last first. All of them, also where one fails or is interrupted.
                each.push_async_callback(self._close_journal)
                if self._loop is not None:
                    self._loop = None
                    each.callback(self._deadlines.close)
                    each.push_async_callback(self._exchange.close)
                    each.push_async_callback(self.tokens.close)

    async def _close_journal(self) -> None:
        closing = asyncio.ensure_future(self.orders.intents.close())
        await asyncio.wait([closing], timeout=_JOURNAL_LIMIT_S)
        if closing.done():
            closing.result()
        else:
            # Its thread goes on by itself, for as long as the process does.
            closing.cancel()
            log.logger.error("the journal did not answer for %g s; what it was told last may be lost", _JOURNAL_LIMIT_S)

    def close_from_outside(self) -> None:
        """Close it where nothing can be awaited. Its loop must not run, or run in another thread.

        A loop that has ended closed the connections; whoever relies on that sets `ends_with_loop` before the first
        call, and it is not reported as forgotten.
        """
        loop = self._loop
        if loop is None or loop.is_closed():
            self.closed = True
            return
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(self.close(), loop).result(self._options.timeouts.drain + _CLOSE_LIMIT_S)
        else:
            loop.run_until_complete(self.close())

    def restart(self) -> None:
        """Begin anew, in a child process or another loop: nothing of the old connections and tasks, but the token."""
        self.tokens = self.tokens.anew()
        self.orders.forget()
        self._loop = None


def _shows_that_the_token_was_taken(reply: Reply[Any]) -> bool:
    # An overload or a failure may be told before anybody looks at a token.
    return reply.status < 500 and reply.status not in (401, 429)
