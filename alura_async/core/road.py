"""The road of a request, from a group's method to its result. Read this first.

    group method → Request → guard → journal( retry( token → lane → exchange → outcome ) ) → value
                                        └─ after a lost reply: reconcile

Each stop is a file that knows nothing of the others. `request.py` makes the call a value. `guard.py` may refuse one
that creates or transfers. `intents.py` writes down, before it leaves, what must not be made twice, and afterwards what
became of it. `retry.py` says whether a failed call is made again. `token.py` has a token for it, `lanes.py` its turn,
`exchange.py` sends it once and reads the reply, `outcome.py` says what became of it and what it returned. Where that
leaves an order in doubt, `reconcile.py` reads until somebody knows.

One time limit (`deadline.py`) holds for the whole road, with all that it waits for and repeats. Only what a person is
asked, and the reading after a lost reply, come on top of it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import (
    AluraError,
    CallError,
    ClosedError,
    CredentialsNeededError,
    DuplicateAssetError,
    JournalError,
    Outcome,
    OutcomeUnknownError,
    UsageError,
)
from ..journal import JournalEntry, SettledBy
from . import log
from .deadline import Deadline, Deadlines
from .entries import intent
from .intents import rivals
from .outcome import Attempt, Reply, conclude, is_for_want_of_a_token, lost
from .reconcile import Verdict, candidates, settle
from .request import Access, Action, Effect, Lane, Request
from .retry import RetryBudget, again, may_repeat
from .token import NEEDS_CREDENTIALS, TokenLock

if TYPE_CHECKING:
    from ..groups.auth import SignIn
    from ..secret import Secret
    from .exchange import Exchange
    from .settings import Connection, Options, Safety
    from .token import Token
    from .token_cache import TokenCache

T = TypeVar("T")

# How long a loop that runs in another thread may take to close a client.
_CLOSE_LIMIT_S = 5.0
# How long a call that closes heeds a pause that the server asked for, or waits for the journal's disk: nothing stands
# between a user and the exit.
_EXIT_PATIENCE_S = 2.0
# How often a call that closes is sent while what it closes still reads as open.
_MAX_EXITS = 3
# How long what is there is looked for, where a create is answered by "Duplicate asset index".
_CANDIDATES_S = 2.0
_ID_DIGITS = 32
_GUARDED = frozenset({Action.OPEN, Action.TRANSFER})


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
        self._limiter = safety.limiter
        self._guard = safety.guard
        self._account = account
        self.intents = safety.intents
        self.tokens = TokenLock(None if sign_in is None else lambda: sign_in(self), token, cache=token_cache)
        self.budget = RetryBudget()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exchange: Exchange
        self._deadlines: Deadlines
        # What must not be made twice and is under way.
        self._recorded: dict[_Call[Any], asyncio.Future[None]] = {}
        self._drains = False
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
        self._open()
        call = _Call(self, request, options or self._options)
        try:
            return await (self._record(call, timeout) if request.route.is_recorded else call.make(timeout))
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
        self._open()
        call = _Call(self, request, options or self._options, wants_reply=True)
        try:
            await (self._record(call, timeout) if request.route.is_recorded else call.make(timeout))
        except CallError:
            if call.reply is None:
                raise
        assert call.reply is not None  # else it had failed
        return call.reply

    async def _record(self, call: _Call[T], timeout: float) -> T:
        """Make a call that must not be made twice: it is written down before it leaves, and what became of it after."""
        self._recorded[call] = is_over = asyncio.get_running_loop().create_future()
        try:
            request, options = call.request, call.options
            settle_s = options.timeouts.settle
            entry = intent(
                request, host=self._host, account=await self._account(), within_s=_MAX_EXITS * (timeout + settle_s)
            )
            call.id = entry.id
            if self._guard is None or request.route.action not in _GUARDED:
                limit = await self._write_down(call, entry, timeout)
            else:
                # The place is held until the call is written down: two calls do not slip under one limit.
                async with self._guard.admit(
                    request,
                    call_id=entry.id,
                    host=entry.host,
                    account=entry.account,
                    intents=self.intents,
                    assets=options.assets,
                ):
                    limit = await self._write_down(call, entry, timeout)
            return await self._see_through(call, entry, limit)
        finally:
            del self._recorded[call]
            is_over.set_result(None)

    async def _write_down(self, call: _Call[Any], entry: JournalEntry, timeout: float) -> Deadline:
        """Have the journal keep an intent, and return the time limit that begins now.

        What was not written down does not leave, unless it closes.
        """
        action = call.request.route.action
        limit = self.within(timeout)
        try:
            with self.within(min(timeout, _EXIT_PATIENCE_S)) if action is Action.CLOSE else limit:
                await self.intents.write(entry, blocks=action in _GUARDED)
        except BaseException as error:
            if action is Action.CLOSE and isinstance(error, JournalError | TimeoutError):
                log.journal_failed(f"{call} goes out without an entry", error, call_id=entry.id)
                return limit
            self.intents.conclude(entry.id, Outcome.NOT_SENT, SettledBy.REPLY, detail=str(error))
            if isinstance(error, TimeoutError):
                raise JournalError(f"{call} was not sent: the journal did not keep its intent in time") from error
            raise
        return limit

    async def _see_through(self, call: _Call[T], entry: JournalEntry, limit: Deadline) -> T:
        """Send what was written down; settle what that leaves in doubt, and close what is still open."""
        doubt: CallError | None = None
        for exits in range(1, _MAX_EXITS + 1):
            sent_at = time.monotonic()
            try:
                value = await call.make(limit.remaining())
            except AluraError as error:
                if isinstance(error, CallError):
                    error.call_id = entry.id
                    if error.outcome is Outcome.UNKNOWN:
                        doubt = error
                if doubt is None or error.outcome is Outcome.DONE:
                    self._conclude(call, error.outcome, detail=str(error))
                    if isinstance(error, DuplicateAssetError):
                        error.candidates = await candidates(call.request, self.carry, limit_s=_CANDIDATES_S)
                    raise
                self._conclude(call, Outcome.UNKNOWN, detail=str(error))
            except BaseException:
                # Cancelled. What has left cannot be called back.
                may_be_done = doubt is not None or call.attempt.sent
                self._conclude(call, Outcome.UNKNOWN if may_be_done else Outcome.NOT_SENT)
                raise
            else:
                self._conclude(call, Outcome.DONE, result_id=_id_of(value))
                return value
            if call.wants_reply or not call.options.timeouts.settle:
                break
            settlement = await settle(
                call.request,
                entry,
                self.carry,
                sent_at=sent_at,
                limit_s=call.options.timeouts.settle,
                rivals=partial(rivals, entry, self.intents),
            )
            if settlement.verdict is Verdict.DONE:
                self._conclude(call, Outcome.DONE, by=SettledBy.READING, result_id=settlement.result_id)
                settled: T = settlement.value
                return settled
            if isinstance(doubt, OutcomeUnknownError):
                doubt.candidates = settlement.candidates
            if settlement.verdict is not Verdict.STILL_OPEN or limit.remaining() <= 0:
                break
            # Not the same key: a server that keeps the answers of keys would only repeat the lost one.
            call.id = f"{entry.id}-{exits + 1}"
        assert doubt is not None
        raise doubt

    def _conclude(
        self,
        call: _Call[Any],
        outcome: Outcome,
        *,
        by: SettledBy = SettledBy.REPLY,
        detail: str = "",
        result_id: str | None = None,
    ) -> None:
        """Note what became of a call, in the journal and in the log."""
        entry_id = call.id[:_ID_DIGITS]
        self.intents.conclude(entry_id, outcome, by, detail=detail, result_id=result_id)
        log.concluded(
            call.request,
            call_id=entry_id,
            outcome=outcome,
            attempts=call.attempts,
            duration=time.monotonic() - call.started,
            status=None if call.reply is None else call.reply.status,
            detail=detail,
        )

    async def send(self, call: _Call[T]) -> Reply[T]:
        """Send a call once, with a token and in its turn; a second time where the first token was refused."""
        request = call.request
        route = request.route
        access = route.access
        token = None if access is Access.PUBLIC else await self.tokens.get(access)
        reply, token = await self._take_turn(call, token)
        if reply.status != 401 or access is Access.PUBLIC:
            if token is not None and not token.proven:
                self.tokens.prove(token)
            return reply
        # A 401 for want of a token means that the server did not act, so calling again is safe for every call.
        # One that tells of something else, such as a failure of the server's own upstream, means no such thing.
        if not is_for_want_of_a_token(reply):
            return reply
        call.attempt = Attempt(call.id)
        renewed = await self.tokens.renew(token, route)
        if renewed is None:
            return reply
        reply, renewed = await self._take_turn(call, renewed)
        # Once: a server that refuses a token which it has just given is not asked a third time.
        if renewed is not None:
            if reply.status == 401:
                self.tokens.refuse(renewed, route)
            else:
                self.tokens.prove(renewed)
        return reply

    async def _take_turn(self, call: _Call[T], token: Token | None) -> tuple[Reply[T], Token | None]:
        """Wait in the lane, and send. Returns the token that was sent, too: waiting may take longer than one lives."""
        request = call.request
        route = request.route
        lane = route.lane
        endpoint = f"{self._host} {route.name}"
        if not self._limiter.try_acquire(lane, endpoint):
            asked = time.monotonic()
            patience = _EXIT_PATIENCE_S if lane is Lane.EXIT else inf
            await self._limiter.acquire(lane, endpoint, patience=patience)
            call.lane_wait = time.monotonic() - asked
        try:
            if token is not None and not self.tokens.is_good(token):
                token = await self.tokens.get(route.access)
            reply = await self._exchange.send(request, token, call.attempt)
        finally:
            self._limiter.release(lane)
        self._limiter.hear(lane, endpoint, reply.status, reply.headers)
        return reply, token

    def lost(self, call: _Call[Any], error: BaseException) -> AluraError:
        """The error of a call to which no complete reply came."""
        request, sent = call.request, call.attempt.sent
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
        self._open()
        await self.tokens.login()

    def require_open(self) -> None:
        """Refuse to begin anything after `close()`. What had begun may still read, and sign in.

        Raises:
            ClosedError: it was closed.
        """
        if self.closed or self._drains:
            raise ClosedError("this client was closed: make a new one")

    def _open(self) -> None:
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
        from .exchange import Exchange

        self._loop = loop
        self._exchange = Exchange(self._connection, self._options.timeouts, reports_forgotten=not self.ends_with_loop)
        self._deadlines = Deadlines(loop)

    async def close(self) -> None:
        """See orders through, stop a sign-in, close the connections. Calls made later raise `ClosedError`."""
        self._drains = True
        try:
            if self._recorded:
                await self._drain()
        finally:
            self.closed = True
            async with AsyncExitStack() as each:
                # The last first. All of them, also where one fails or is interrupted.
                each.push_async_callback(self.intents.close)
                if self._loop is not None:
                    self._loop = None
                    each.callback(self._deadlines.close)
                    each.push_async_callback(self._exchange.close)
                    each.push_async_callback(self.tokens.close)

    async def _drain(self) -> None:
        """Give what must not be made twice the time to end."""
        await asyncio.wait(self._recorded.values(), timeout=self._options.timeouts.drain)
        for call in self._recorded:
            log.cut_off(call.request, call_id=call.id[:_ID_DIGITS])

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
            asyncio.run_coroutine_threadsafe(self.close(), loop).result(_CLOSE_LIMIT_S)
        else:
            loop.run_until_complete(self.close())

    def restart(self) -> None:
        """Begin anew, in a child process or another loop: nothing of the old connections and tasks, but the token."""
        self.tokens = self.tokens.anew()
        self._recorded = {}
        self._loop = None


class _Call(Generic[T]):
    """One call on its way, and what is known of it meanwhile.

    Attributes:
        request: what is called.
        options: what holds for it.
        wants_reply: whether the reply counts, whatever it says.
        started: `time.monotonic()` when it began.
        id: what the server is told, where the call must not be made twice: the id of its entry in the journal, with
            the number of the exit behind it.
        attempt: what is known of the sending under way.
        attempts: how often it was tried.
        reply: the last complete reply.
        lane_wait: seconds that it waited for its last turn.
    """

    __slots__ = (
        "_road",
        "attempt",
        "attempts",
        "id",
        "lane_wait",
        "options",
        "reply",
        "request",
        "started",
        "wants_reply",
    )

    def __init__(self, road: Road, request: Request[T], options: Options, *, wants_reply: bool = False) -> None:
        self._road = road
        self.request = request
        self.options = options
        self.wants_reply = wants_reply
        self.id = ""
        self.attempt = Attempt()
        self.attempts = 0
        self.reply: Reply[T] | None = None
        self.lane_wait = 0.0
        self.started = time.monotonic()

    async def make(self, timeout: float) -> T:
        """Make the call, and again where that is safe and may help."""
        road, route = self._road, self.request.route
        deadline = road.within(timeout)
        road.budget.calls += 1
        try:
            with deadline:
                try:
                    return await self._try()
                except CallError as error:
                    if not may_repeat(route.effect, error):
                        raise
                    failure = error
                return await again(
                    self._try, failure, route, self.options.retry, road.budget, deadline.remaining, self._will_repeat
                )
        except AluraError as error:
            if isinstance(error, CallError):
                error.attempts = self.attempts
            raise
        except asyncio.CancelledError as error:
            # Also a cancellation that was under way when the call began counts as one of this call: Ctrl-C, for one.
            if deadline.was_cancelled or not road.closed:
                raise
            # Nobody cancelled this call: what it waited for was taken away by `close()`.
            raise road.lost(self, error) from error
        except Exception as error:
            # The time limit.
            raise road.lost(self, error) from error

    async def _try(self) -> T:
        """Make the call once."""
        self.attempts += 1
        self.attempt = Attempt(self.id)
        self.reply = None
        began = time.monotonic() if log.attempts_are_shown() else 0.0
        try:
            self.reply = reply = await self._road.send(self)
            return conclude(reply)
        except CallError as error:
            if error.outcome is not Outcome.UNKNOWN:
                # It is certain that the server did nothing; what may follow has not left yet.
                self.attempt = Attempt(self.id)
            raise
        except (AluraError, asyncio.CancelledError):
            raise
        except Exception as error:
            # Whatever aiohttp and the sockets report becomes one of the few things a user can act on.
            raise self._road.lost(self, error) from error
        finally:
            if began:
                self._show_attempt(began)

    def _show_attempt(self, began: float) -> None:
        log.attempt_made(
            self.request,
            call_id=self.id,
            attempt=self.attempts,
            lane_wait=self.lane_wait,
            duration=time.monotonic() - began - self.lane_wait,
            status=None if self.reply is None else self.reply.status,
            error=sys.exception() if self.reply is None else None,
        )

    def _will_repeat(self, error: CallError, pause_s: float) -> None:
        log.will_retry(self.request, call_id=self.id, attempt=self.attempts, pause=pause_s, error=error)

    def __str__(self) -> str:
        return f"{self.request.method} {self.request.path}"


def _id_of(value: Any) -> str | None:
    """The id of what a call created."""
    found = getattr(value, "id", None)
    return found if isinstance(found, str) else None
