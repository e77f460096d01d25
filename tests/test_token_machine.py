"""The token lock against a simple model of it: any order of calls, cancellations, refusals, logouts and clock jumps.

The clock is the lock's own `clock=`, moved by hand; the server is a future that the machine answers when it pleases.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from alura_async import Access, Lane, Route, SignInError
from alura_async.core.token import Clock, Token, TokenLock
from alura_async.groups.auth import SignIn
from alura_async.secret import Secret

DAY = 86400.0
COOL_DOWN = 5.0
BREAKER = 60.0
EXIT_COOL_DOWN = 1.0
EXIT_PATIENCE = 2.0
NEVER = float("-inf")
READ: Route[Any] = Route("GET", "/one", dict, access=Access.BEARER)
OPTIONAL: Route[Any] = Route("GET", "/two", dict)
ROUTES: list[Route[Any]] = [READ, Route("POST", "/three", dict)]
CLOSES: list[Route[Any]] = [
    Route("POST", path, dict, access=Access.BEARER, lane=Lane.EXIT) for path in ("/four", "/five")
]


@dataclass(eq=False)
class Exit:
    """A call of the lane EXIT that wants a token.

    Attributes:
        task: the call.
        asked: how many sign-ins had begun when it asked.
        asked_at: when that was.
        refused: the token that will not do.
        refusing_since: since when its endpoint refuses what it is given.
        due: when it looks again; None while it waits for a sign-in.
        heeded: what it has waited for.
    """

    task: asyncio.Task[Token | None]
    asked: int
    asked_at: float
    refused: Token | None
    refusing_since: float
    due: float | None = None
    heeded: float = NEVER


class TokenMachine(RuleBasedStateMachine):
    """The model knows the true time, when each token truly ends, and why a sign-in may start."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = 10_000.0
        self.slept = 0.0
        self.wall_is_wrong_by = 0.0
        self.steady_sleeps = False
        self.under_way: asyncio.Future[SignIn] | None = None
        self.signed_in = 0
        self.expected = 0
        self.ends: dict[str, float] = {}
        self.callers: list[asyncio.Task[Token | None]] = []
        self.logins: list[asyncio.Task[None]] = []
        self.used: list[Token] = []
        self.discards = False
        self.failed_at = NEVER
        self.failed = 0
        self.no_renewal_before = 0.0
        self.unproven_refusals: set[str] = set()
        self.refusals = 0
        self.refused_at = NEVER
        self.proven: set[str] = set()
        self.refusing: dict[str, float] = {}
        self.exits: list[Exit] = []
        self.exit_began_at = NEVER
        self.pauses: list[tuple[float, asyncio.Future[None]]] = []
        self.replaced = 0
        self.began_at = NEVER
        self.lock = TokenLock(self.sign_in, clock=Clock(self.steady, self.wall, self.pause, self.limit))

    # --- the world

    def steady(self) -> float:
        return self.now - (self.slept if self.steady_sleeps else 0.0)

    def wall(self) -> float:
        return 1_800_000_000.0 + self.now + self.wall_is_wrong_by

    async def pause(self, seconds: float) -> None:
        assert 0 < seconds <= EXIT_COOL_DOWN, "an exit waits for longer than it may"
        woken: asyncio.Future[None] = self.loop.create_future()
        self.pauses.append((self.steady() + seconds, woken))
        await woken

    async def limit(self, seconds: float) -> None:
        assert 0 < seconds <= EXIT_PATIENCE, "an exit waits for longer than it may"
        woken: asyncio.Future[None] = self.loop.create_future()
        self.pauses.append((self.steady() + seconds, woken))
        await woken

    async def sign_in(self) -> SignIn:
        assert self.under_way is None, "two sign-ins at once"
        self.signed_in += 1
        self.began_at = self.steady()
        self.under_way = self.loop.create_future()
        try:
            return await self.under_way
        finally:
            self.under_way = None
            self.replaced += 1

    def settle(self) -> None:
        async def turns() -> None:
            for _ in range(8):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())
        ended = [caller for caller in [*self.callers, *(exit_.task for exit_ in self.exits)] if caller.done()]
        self.callers = [caller for caller in self.callers if not caller.done()]
        self.exits = [exit_ for exit_ in self.exits if not exit_.task.done()]
        for caller in ended:
            if not caller.cancelled() and caller.exception() is None:
                token = caller.result()
                assert token is not None, "there is one, and it was not handed out"
                assert self.now < self.ends[token.secret.reveal()] or token is self.lock._fallen_back_on, (
                    "an expired token was handed out"
                )
                self.used.append(token)
            elif not caller.cancelled() and (error := caller.exception()) is not None:
                assert type(error) is SignInError, error

    def task(self, coroutine: Any) -> Any:
        return self.loop.create_task(coroutine)

    # --- the model

    def a_sign_in_is_due(self, *, on_behalf_of_the_user: bool = False) -> bool:
        if self.under_way is not None:
            return False
        if on_behalf_of_the_user:
            return True
        if self.refusals >= 2:
            if self.steady() < self.refused_at + BREAKER:
                return False
            self.refusals = 0
        return self.steady() >= self.failed_at + COOL_DOWN

    def go_on(self, exit_: Exit) -> None:
        """What an exit does that waits for nothing: it ends, waits for a while, or has a sign-in."""
        now = self.steady()
        exit_.due = None
        if self.under_way is None and not self.expected > self.signed_in:
            held = self.lock.held
            if self.failed > exit_.asked or (held is not None and held is not exit_.refused):
                return
            since = [exit_.refusing_since, self.failed_at, self.exit_began_at]
            since.append(self.refused_at if self.refusals >= 2 else NEVER)
            due = max(since) + EXIT_COOL_DOWN
            if due > max(now, exit_.heeded):
                exit_.due = exit_.heeded = due
                return
            self.exit_began_at = now
            self.expected += 1
        self.discards = False

    def an_exit_begins(self, task: asyncio.Task[Token | None], refused: Token | None, refusing_since: float) -> None:
        exit_ = Exit(task, self.signed_in, self.steady(), refused, refusing_since)
        self.go_on(exit_)
        self.exits.append(exit_)
        self.settle()

    def exits_wake(self) -> None:
        """Those whose pause is over go on, in the order in which they paused."""
        now = self.steady()
        due = [woken for until, woken in self.pauses if until <= now]
        self.pauses = [pause for pause in self.pauses if pause[0] > now]
        for exit_ in [each for each in self.exits if each.due is not None and each.due <= now]:
            self.go_on(exit_)
        for woken in due:
            if not woken.done():
                woken.set_result(None)
        if self.under_way is not None and self.a_sign_in_takes_too_long():
            self.expected += 1
            self.exit_began_at = now
        self.settle()

    def a_sign_in_takes_too_long(self) -> bool:
        now = self.steady()
        asked_at = [each.asked_at for each in self.exits if each.due is None and each.asked >= self.signed_in]
        return (
            bool(asked_at)
            and now >= min(asked_at) + EXIT_PATIENCE
            and now >= self.began_at + EXIT_PATIENCE * 2**self.replaced
        )

    # --- what happens

    @initialize(steady_sleeps=st.booleans())
    def choose_a_system(self, steady_sleeps: bool) -> None:
        """Where the steady clock sleeps too, the wall clock must be right: nothing else can tell."""
        self.steady_sleeps = steady_sleeps

    @rule(count=st.integers(1, 5))
    def calls_begin(self, count: int) -> None:
        held = self.lock._token
        good = held is not None and not held.is_expired
        if not good:
            self.expected += self.a_sign_in_is_due()
            self.discards = False
        elif held is not None and held.is_due and self.steady() >= self.no_renewal_before:
            self.expected += self.a_sign_in_is_due()
        for _ in range(count):
            self.callers.append(self.task(self.lock.get(READ)))
        self.settle()

    @rule(route=st.sampled_from(CLOSES), count=st.integers(1, 3))
    def exits_begin(self, route: Route[Any], count: int) -> None:
        for _ in range(count):
            held = self.lock._token
            if held is None or held.is_expired:
                self.an_exit_begins(self.task(self.lock.get(route)), None, NEVER)
                continue
            if held.is_due and self.steady() >= self.no_renewal_before:
                self.expected += self.a_sign_in_is_due()
            assert self.loop.run_until_complete(self.lock.get(route)) is held
            self.settle()

    @precondition(lambda self: self.exits)
    @rule(data=st.data())
    def an_exit_is_cancelled(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.exits)).task
        task.cancel()
        self.settle()
        assert task.cancelled()

    @rule()
    def a_call_that_needs_no_token_gets_none_or_a_good_one(self) -> None:
        held = self.lock._token
        if held is not None and not held.is_expired and held.is_due and self.steady() >= self.no_renewal_before:
            self.expected += self.a_sign_in_is_due()
        token = self.loop.run_until_complete(self.lock.get(OPTIONAL))
        assert token is None or self.now < self.ends[token.secret.reveal()]
        self.settle()

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def a_caller_is_cancelled(self, data: st.DataObject) -> None:
        caller = data.draw(st.sampled_from(self.callers))
        caller.cancel()
        self.settle()
        assert caller.cancelled()

    @precondition(lambda self: self.callers)
    @rule()
    def all_callers_but_one_are_cancelled(self) -> None:
        for caller in self.callers[:-1]:
            caller.cancel()
        self.settle()

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def the_server_takes_a_token(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.used))
        self.lock.prove(token)
        self.proven.add(token.secret.reveal())
        self.refusals = 0

    @precondition(lambda self: self.used)
    @rule(data=st.data(), route=st.sampled_from([*ROUTES, *CLOSES]), again=st.booleans())
    def the_server_refuses_a_token(self, data: st.DataObject, route: Route[Any], again: bool) -> None:
        token = data.draw(st.sampled_from(self.used[-4:]))
        name = token.secret.reveal()
        if again:
            self.doubt(name)
            self.lock.refuse(token, route)
            self.refusing[route.name] = self.steady()
            return
        refusing_since = self.refusing.get(route.name, NEVER)
        if route in CLOSES:
            self.doubt(name)
            self.an_exit_begins(self.task(self.lock.renew(token, route)), token, refusing_since)
            return
        if self.steady() < refusing_since + BREAKER:
            assert self.loop.run_until_complete(self.lock.renew(token, route)) is None
            return
        self.doubt(name)
        held = self.lock._token
        if held is None or held is token or held.is_expired:
            self.expected += self.a_sign_in_is_due()
            self.discards = False
        self.callers.append(self.task(self.lock.renew(token, route)))
        self.settle()

    def doubt(self, name: str) -> None:
        if name not in self.proven and name not in self.unproven_refusals:
            self.unproven_refusals.add(name)
            self.refusals += 1
            self.refused_at = self.steady()

    @rule()
    def the_user_logs_in(self) -> None:
        self.failed_at, self.failed = NEVER, 0
        self.refusals = 0
        self.expected += self.a_sign_in_is_due(on_behalf_of_the_user=True)
        self.logins.append(self.task(self.lock.login()))
        self.settle()
        self.discards = False

    @rule()
    def the_user_logs_out(self) -> None:
        self.loop.run_until_complete(self.lock.logout())
        assert self.lock.held is None
        self.discards = self.under_way is not None

    @precondition(lambda self: self.under_way is not None)
    @rule(lifetime=st.sampled_from([30.0, 3600.0, DAY]))
    def the_sign_in_succeeds(self, lifetime: float) -> None:
        name = f"token-{self.signed_in}"
        self.ends[name] = self.now + lifetime
        waiting = [*self.callers, *(exit_.task for exit_ in self.exits if exit_.due is None)]
        assert self.under_way is not None
        self.under_way.set_result(SignIn(access_token=Secret(name), expires_in=lifetime))
        self.settle()
        self.replaced = 0
        self.failed_at, self.failed = NEVER, 0
        for caller in waiting:
            token = caller.result()
            assert token is not None
            assert token.secret.reveal() == name, "everybody gets the one token"
        if self.logins:
            assert all(login.exception() is None for login in self.logins)
            self.logins.clear()
        assert (self.lock.held is None) == self.discards, "a logout is not undone, and a login after it is not lost"

    @precondition(lambda self: self.under_way is not None)
    @rule(error=st.sampled_from([OSError("no device"), SignInError("refused"), SystemExit(1)]))
    def the_sign_in_fails(self, error: BaseException) -> None:
        waiting = [*self.callers, *self.logins]
        # Those that asked before it began are not failed by it.
        held = self.lock._token
        falls_back = held is not None and held.is_good_by_one_clock
        failed = [exit_ for exit_ in self.exits if exit_.due is None and exit_.asked < self.signed_in]
        waiting += [exit_.task for exit_ in failed if exit_.refused is not None or not falls_back]
        falling_back = [exit_.task for exit_ in failed if exit_.refused is None and falls_back]
        assert self.under_way is not None
        self.under_way.set_exception(error)
        number = self.signed_in
        self.settle()
        self.replaced = 0
        self.failed_at, self.failed = self.steady(), number
        for exit_ in self.exits:
            if exit_.due is None:
                self.go_on(exit_)
        self.no_renewal_before = self.steady() + 30
        errors = [task.exception() for task in waiting]
        assert all(type(error) is SignInError for error in errors), "all fail at once"
        assert all(task.result() is held for task in falling_back), "an exit has a token and was not let out"
        assert len({id(error) for error in errors}) == len(errors), "each with an error of its own"
        self.logins.clear()

    @rule(seconds=st.sampled_from([0.25, 0.75, 1.0, 2.0, 4.75, 5.0, 31.0, 61.0, 3000.0, DAY - 400, DAY - 59, DAY]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.exits_wake()

    @rule(seconds=st.sampled_from([60.0, 3600.0, DAY]))
    def the_machine_sleeps(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds
        self.exits_wake()

    @precondition(lambda self: not self.steady_sleeps)
    @rule(seconds=st.sampled_from([-DAY, -3600.0, 3600.0, DAY]))
    def somebody_sets_the_clock(self, seconds: float) -> None:
        self.wall_is_wrong_by += seconds

    # --- what always holds

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        if self.under_way is None:
            assert not self.callers, "a caller waits, and no sign-in is under way"
            assert not [login for login in self.logins if not login.done()]
            assert all(exit_.due is not None for exit_ in self.exits), "an exit waits, and not for its time"
        assert all(exit_.due is None or self.steady() < exit_.due for exit_ in self.exits), "an exit waits too long"

    @invariant()
    def there_were_no_more_sign_ins_than_are_documented(self) -> None:
        assert self.signed_in == self.expected

    @invariant()
    def no_token_that_is_truly_over_counts_as_good(self) -> None:
        held = self.lock.held
        assert held is None or self.now < self.ends[held.secret.reveal()]
        for token in self.used:
            if self.lock.is_good(token) and token is not self.lock._fallen_back_on:
                assert self.now < self.ends[token.secret.reveal()]

    def teardown(self) -> None:
        for task in [*self.callers, *self.logins, *(exit_.task for exit_ in self.exits)]:
            task.cancel()
        self.loop.run_until_complete(self.lock.close())
        self.settle()
        tasks = asyncio.all_tasks(self.loop)
        self.loop.close()
        assert not tasks


TestTokenLock = TokenMachine.TestCase
TestTokenLock.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
