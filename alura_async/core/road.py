"""The road of a request, from a group's method to its result. Read this first.

    group method → Request → token → exchange → outcome → decode → value

Each stop is a file that knows nothing of the others: `request.py` makes the call a value, `token.py` has a token for
it, `exchange.py` sends it once and reads the reply, `outcome.py` says what became of it, and `decode.py` what it
returned. The stops for guarding, journalling, retrying and pacing a call stand between the request and the token.

One time limit (`deadline.py`) holds for the whole road.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import AluraError, ClosedError, CredentialsNeededError, UsageError
from .deadline import Deadline, Deadlines
from .outcome import Attempt, Reply, conclude, is_for_want_of_a_token, lost
from .request import Access, Effect, Request
from .token import NEEDS_CREDENTIALS, TokenLock

if TYPE_CHECKING:
    from ..groups.auth import SignIn
    from ..secret import Secret
    from .exchange import Exchange
    from .settings import Connection, Timeouts
    from .token_cache import TokenCache

T = TypeVar("T")

# How long a loop that runs in another thread may take to close a client.
_CLOSE_LIMIT_S = 5.0


class Road:
    """One client's road. It belongs to the event loop that first uses it.

    Args:
        connection: how the server is reached.
        timeouts: limits of connecting and reading.
        sign_in: signs in, given this road; None without a wallet.
        token: a token that was obtained elsewhere.
        token_cache: where tokens are kept between two runs.
    """

    def __init__(
        self,
        connection: Connection,
        timeouts: Timeouts,
        sign_in: Callable[[Road], Awaitable[SignIn]] | None,
        token: str | Secret | None,
        token_cache: TokenCache | None = None,
    ) -> None:
        self._connection = connection
        self._timeouts = timeouts
        self.tokens = TokenLock(None if sign_in is None else lambda: sign_in(self), token, cache=token_cache)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exchange: Exchange
        self._deadlines: Deadlines
        self.closed = False
        self.ends_with_loop = False

    async def travel(self, request: Request[T], timeout: float) -> T:
        """Make a call and return what it returns.

        Raises:
            AluraError: see the tree in `errors.py`.
        """
        reply = await self.carry(request, timeout)
        if reply.status == 401 and request.route.access is Access.OPTIONAL and not self._has_credentials:
            # The document does not say which of these calls need a token; the server has now.
            raise CredentialsNeededError(f"{request.method} {request.path}: {NEEDS_CREDENTIALS}")
        return conclude(reply)

    async def carry(self, request: Request[T], timeout: float) -> Reply[T]:
        """Make a call and return the complete reply, whatever its status.

        Args:
            request: the call.
            timeout: seconds for all of it, a sign-in included.

        Raises:
            NotSentError, TransportError, OutcomeUnknownError: no complete reply came.
            CredentialsNeededError, SignInError: there is no token for it.
        """
        self._open()
        route = request.route
        access = route.access
        attempt = Attempt()
        deadline = self.within(timeout)
        try:
            with deadline:
                token = None if access is Access.PUBLIC else await self.tokens.get(access)
                reply = await self._exchange.send(request, token, attempt)
                if reply.status != 401 or access is Access.PUBLIC:
                    if token is not None and not token.proven:
                        self.tokens.prove(token)
                    return reply
                # A 401 for want of a token means that the server did not act, so calling again is safe for every call.
                # One that tells of something else, such as a failure of the server's own upstream, means no such thing.
                if not is_for_want_of_a_token(reply):
                    return reply
                attempt = Attempt()
                renewed = await self.tokens.renew(token, route)
                if renewed is None:
                    return reply
                reply = await self._exchange.send(request, renewed, attempt)
                # Once: a server that refuses a token which it has just given is not asked a third time.
                if reply.status == 401:
                    self.tokens.refuse(renewed, route)
                else:
                    self.tokens.prove(renewed)
                return reply
        except AluraError:
            raise
        except asyncio.CancelledError as error:
            # Also a cancellation that was under way when the call began counts as one of this call: Ctrl-C, for one.
            if deadline.was_cancelled or not self.closed:
                raise
            # Nobody cancelled this call: what it waited for was taken away by `close()`.
            raise self._lost(request, error, attempt) from error
        except Exception as error:
            # Whatever aiohttp, the sockets or the time limit report becomes one of the few things a user can act on.
            raise self._lost(request, error, attempt) from error

    def _lost(self, request: Request[Any], error: BaseException, attempt: Attempt) -> AluraError:
        if self.closed and not (attempt.sent and request.route.effect is Effect.ONCE):
            return ClosedError(f"this client was closed while {request.method} {request.path} was being made")
        return lost(request, error, sent=attempt.sent)

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
        self._open()
        await self.tokens.login()

    def require_open(self) -> None:
        """Refuse to go on after `close()`.

        Raises:
            ClosedError: it was closed.
        """
        if self.closed:
            raise ClosedError("this client was closed: make a new one")

    def _open(self) -> None:
        """Make the road ready in the loop of the first call. Does nothing afterwards."""
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
        from .exchange import Exchange

        self._loop = loop
        self._exchange = Exchange(self._connection, self._timeouts, reports_forgotten=not self.ends_with_loop)
        self._deadlines = Deadlines(loop)

    async def close(self) -> None:
        """Stop a sign-in, close the connections. Calls made later raise `ClosedError`."""
        self.closed = True
        if self._loop is None:
            return
        try:
            await self.tokens.close()
        finally:
            try:
                await self._exchange.close()
            finally:
                self._deadlines.close()
                self._loop = None

    def close_from_outside(self) -> None:
        """Close it where nothing can be awaited. Its loop must not run, or run in another thread.

        A loop that has ended closed the connections; whoever relies on that sets `ends_with_loop` before the first
        call, and it is not reported as forgotten.
        """
        self.closed = True
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(self.close(), loop).result(_CLOSE_LIMIT_S)
        else:
            loop.run_until_complete(self.close())

    def restart(self) -> None:
        """Begin anew, in a child process or another loop: nothing of the old connections and tasks, but the token."""
        self.tokens = self.tokens.anew()
        self._loop = None
