"""The sandbox itself: an Alura server in memory, in this process, that anything can be tried on."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import datetime
from decimal import Decimal, localcontext
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self, Unpack

from aiohttp import web

from ..core.settings import is_loopback
from ..errors import ConfigurationError, UsageError
from . import signin, trading
from .clock import Clock
from .conditions import Conditions
from .control import Control
from .faults import Fault
from .ledger import LedgerEntry, ReceivedRequest
from .listing import EXACT
from .openapi import document
from .quirks import REGULAR, Quirks, with_quirks
from .ranking import Leaderboard
from .records import accept
from .routes import ROUTES, SERVED
from .routing import Services
from .rules import Faults
from .scenario import Scenario
from .serving import Server
from .settings import Settings, moment, require_types
from .shapes import CANONICAL, answers_of
from .signin import Challenges, Tokens
from .state import MOST_FUNDS, World
from .throttle import Throttle

_LAST_PORT = 65535
# So many turns of the loop are between a connection's coming and its being the server's.
_TURNS_TO_COME_IN = 4


class Sandbox:
    """A stateful Alura server in memory.

        async with Sandbox(seed=7) as sandbox:
            async with AsyncAlura(base_url=sandbox.url, wallet=sandbox.wallet()) as alura: ...

    It serves every endpoint of the API, in the shape that this SDK's types have unless `shapes` says otherwise. Its
    market, its ids and its wallets depend on the seed alone; with a `start`, `speed=0` and `limit=None`, every byte
    that it answers does. All methods and properties can be used from any thread.

    Args:
        seed: what makes one sandbox different from another.
        host: where it listens.
        port: at which port; 0 takes a free one.
        speed: how many seconds pass on its clock in a real one. Challenges (5 minutes) and tokens (a day) expire by
            this clock too, but never faster than in real time: `advance` alone makes them old at once.
        start: where its clock starts, an aware datetime from 2020-01-08 on, or ISO text with a zone such as
            `2026-01-05T12:00Z`; by default this machine's time.
        funds: USDC that every account begins with.
        limit: calls of one endpoint by one client in a window, or None for no limit.
        window: seconds of such a window, in real time.
        allow_remote: whether `host` may be one that others can reach.
        on_request: called with each request when its answer is ready, or when its caller has gone before that, in the
            thread that serves, so it must not block. What it raises is logged.
        conditions: what trading costs, and what goes wrong there; by default fees and slippage.
        shapes: the personality that it answers with, one of `PERSONALITIES`.
        quirks: how it goes its own ways with ranges of candles.
        faults: what goes wrong from the beginning: rules as text, separated by `;`, or several texts and faults. See
            the property.
        kept: how many entries of the ledger are remembered, however long it runs. Of all accounts together, so many
            fills are too, and a tenth as many closed sessions and deposits; of an account never more than its newest
            500 fills, of a session the newest 1,000 lines of its log. What is forgotten is unknown: a session answers
            404, and a deposit would be credited again.

    Raises:
        ConfigurationError: a setting that cannot be used; a host that is not loopback without `allow_remote`.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 1.0,
        start: datetime | str | None = None,
        funds: Decimal | int = 10_000,
        limit: int | None = 100,
        window: float = 10.0,
        allow_remote: bool = False,
        on_request: Callable[[ReceivedRequest], object] | None = None,
        conditions: Conditions = Conditions(),  # noqa: B008 - it cannot change
        shapes: str = CANONICAL,
        quirks: Quirks = REGULAR,
        faults: str | Fault | Iterable[str | Fault] = (),
        kept: int = 20_000,
    ) -> None:
        require_types(
            Settings(
                seed=seed,
                host=host,
                port=port,
                speed=speed,
                start=start,
                funds=funds,
                limit=limit,
                window=window,
                allow_remote=allow_remote,
                on_request=on_request,
                conditions=conditions,
                shapes=shapes,
                quirks=quirks,
                faults=faults,
                kept=kept,
            )
        )
        # To a socket, no name is every address.
        if not host:
            raise ConfigurationError("host='': name an address, such as '127.0.0.1'")
        if not allow_remote and not is_loopback(host):
            raise ConfigurationError(
                f"host={host!r} is not loopback: anybody who reaches it could use this sandbox; "
                "say allow_remote=True if that is meant"
            )
        if not 0 <= port <= _LAST_PORT:
            raise ConfigurationError(f"port={port}: give 0 to {_LAST_PORT}")
        if kept < 1:
            raise ConfigurationError(f"kept={kept}: give a whole number from 1 on")
        world = World(seed, Clock(moment(start), speed), _funds(funds), conditions, kept)
        self._world = world
        self._tokens = Tokens(world.by_id.get, seed)
        services = Services(world, Challenges(seed), self._tokens, Leaderboard(world), self._describe)
        self._faults = Faults(seed, ROUTES, SERVED)
        for fault in (faults,) if isinstance(faults, str | Fault) else faults:
            if isinstance(fault, str):
                self._faults.add_all(fault)
            else:
                self._faults.add(fault)
        self._server = Server(services, Throttle(limit, window), self._faults, on_request, Control(self))
        self._answer_as(shapes, quirks)
        self._market = Scenario(world.market, world.clock, self._settled)
        self._host = host
        self._port = port
        self._runner: web.ServerRunner | None = None
        self._door: asyncio.Server
        # The loop that serves, or served last, and whose turn it is to start or stop there.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn: asyncio.Lock
        self._choosing_loop = Lock()
        self._wallets = 0

    @property
    def url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:40123`.

        Raises:
            UsageError: it is not running.
        """
        if self._runner is None:
            raise UsageError("the sandbox is not running: enter it with `async with`, or call start()")
        return f"http://{self._server.authority}"

    @property
    def now(self) -> datetime:
        """The time on its clock."""
        with self._server.exclusive():
            return self._world.clock.now()

    @property
    def market(self) -> Scenario:
        """The market: what an asset costs now, and scripts of crashes, rallies, halts and outages."""
        return self._market

    @property
    def ledger(self) -> list[LedgerEntry]:
        """The changes of state that were carried out until now, oldest first; see `kept`."""
        with self._settled():
            return list(self._world.ledger.entries)

    @property
    def balances(self) -> dict[str, Decimal]:
        """What everybody holds, in USDC. The sum is always exactly 0.

        An account has three entries: under its address what it can use, and with ` margin` and ` rewards` after it
        what is set aside for sessions and what can be claimed. The others are `market` (the other side of all profit
        and loss), `fees`, `builder`, `insurance`, `rewards`, `chain` (deposits, withdrawals, sends to strangers) and
        `grants` (what accounts begin with).
        """
        with self._settled():
            return self._world.book.balances()

    @property
    def conditions(self) -> Conditions:
        """What trading costs, and what goes wrong there. Set it for what is accepted, and filled, from then on.

        Raises:
            ConfigurationError: it is set to something else.
        """
        return self._world.conditions

    @conditions.setter
    def conditions(self, conditions: Conditions) -> None:
        require_types(Settings(conditions=conditions))
        with self._settled():
            self._world.conditions = conditions

    @property
    def requests(self) -> deque[ReceivedRequest]:
        """The last 10,000 requests that arrived, oldest first. It is the live record: clear it or copy it."""
        return self._world.ledger.requests

    @property
    def faults(self) -> Faults:
        """What goes wrong, and when: `sandbox.faults.add("503 x2 on POST /user/withdraw")`."""
        return self._faults

    @property
    def token_lifetime(self) -> float:
        """Seconds that a token is valid from its issue; set it for those issued later. See `speed`.

        Raises:
            ConfigurationError: it is set to something else than a number from 0 on.
        """
        return self._tokens.lifetime

    @token_lifetime.setter
    def token_lifetime(self, seconds: float) -> None:
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not is_number or not 0 <= seconds < math.inf:
            raise ConfigurationError(f"token_lifetime={seconds!r}: give a number of seconds from 0 on")
        self._tokens.lifetime = seconds

    @property
    def shapes(self) -> str:
        """The personality that it answers with; set another for the requests that arrive from then on.

        Raises:
            ConfigurationError: a name that is not one of `PERSONALITIES`.
        """
        return self._answers.name

    @shapes.setter
    def shapes(self, name: str) -> None:
        with self._server.exclusive():
            self._answer_as(name, self._quirks)

    @property
    def quirks(self) -> Quirks:
        """How it goes its own ways with ranges of candles; set others for the requests that arrive from then on.

        Raises:
            ConfigurationError: something else than `Quirks`.
        """
        return self._quirks

    @quirks.setter
    def quirks(self, quirks: Quirks) -> None:
        with self._server.exclusive():
            self._answer_as(self._answers.name, quirks)

    def wallet(self) -> str:
        """A new throwaway private key, `0x…`, whose account is funded when it first signs in.

        It depends on the seed and on how many were given before, and is worth nothing: anyone can compute it.
        """
        with self._server.exclusive():
            self._wallets += 1
            return signin.private_key("wallet", self._world.seed, self._wallets)

    def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Move the clock forward and let happen what happens on the way: targets, thresholds, ends of durations.

        Raises:
            ConfigurationError: no length of time, a step backwards, or one beyond the year 8999.
        """
        with self._server.exclusive():
            self._world.clock.advance(days=days, hours=hours, minutes=minutes, seconds=seconds)
            trading.settle(self._world, self._world.clock.now_ms())

    def expire_tokens(self) -> None:
        """Make every token issued so far invalid."""
        with self._server.exclusive():
            self._tokens.revoke_all()

    async def start(self) -> None:
        """Begin to listen. A sandbox that was stopped goes on where it was, at the same port.

        It serves in this event loop; one that served in another loop before, which still runs, does so there again.

        Raises:
            UsageError: it is running.
            ImportError: PyJWT is not installed.
            OSError: the port is taken.
        """
        await self._where_it_serves(self._begin)

    async def stop(self) -> None:
        """Stop listening, and end all connections. The state remains. Stopping twice is harmless.

        Raises:
            UsageError: it serves in another event loop, which is neither closed nor running.
        """
        await self._where_it_serves(self._end)

    @contextmanager
    def down(self) -> Generator[None]:
        """An outage for code that blocks: stopped in this block, then at the same port again.

            with sandbox.down(), pytest.raises(NotSentError):
                alura.user.profile()

        Raises:
            UsageError: it does not run, or it serves in this thread, where `await stop()` and `await start()` do this.
        """
        self._wait_for(self._end)
        try:
            yield
        finally:
            self._wait_for(self._begin)

    async def _begin(self) -> None:
        async with self._turn:
            if self._runner is not None:
                raise UsageError("the sandbox is running already")
            await asyncio.to_thread(signin.require_libraries)
            listener = self._server.listen()
            runner = web.ServerRunner(listener, shutdown_timeout=1.0)
            try:
                await runner.setup()
                self._door = await asyncio.get_running_loop().create_server(listener, self._host, self._port)
            except BaseException:
                await runner.cleanup()
                raise
            self._port = self._door.sockets[0].getsockname()[1]
            host = f"[{self._host}]" if ":" in self._host else self._host
            self._server.authority = f"{host}:{self._port}"
            self._runner = runner

    async def _end(self) -> None:
        async with self._turn:
            runner, self._runner = self._runner, None
            if runner is not None:
                try:
                    await accept_no_more(self._door)
                finally:
                    await runner.cleanup()

    async def _where_it_serves(self, change: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start or stop in the loop that serves, whichever loop this is called in."""
        here = asyncio.get_running_loop()
        with self._choosing_loop:
            loop = self._loop
            if loop is None or loop.is_closed() or (self._runner is None and not loop.is_running()):
                # What a loop served ended with it.
                self._runner = None
                self._turn = asyncio.Lock()
                self._loop = loop = here
        if loop is here:
            await change()
        elif loop.is_running():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(change(), loop))
        else:
            raise UsageError("the event loop that the sandbox serves in does not run now: start and stop it there")

    def _wait_for(self, change: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start or stop in the loop that serves, from a thread that blocks meanwhile."""
        loop = self._loop
        if loop is None or not loop.is_running():
            raise UsageError("the sandbox is not running: for code that blocks, Sandbox.threaded(…) makes one")
        if loop is asyncio._get_running_loop():
            raise UsageError("the sandbox serves in this thread, which must not block: await stop() and start()")
        asyncio.run_coroutine_threadsafe(change(), loop).result()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @contextmanager
    def _settled(self) -> Generator[None]:
        with self._server.exclusive():
            trading.settle(self._world, self._world.clock.now_ms())
            yield

    @classmethod
    @contextmanager
    def threaded(cls, **settings: Unpack[Settings]) -> Generator[Self]:
        """A sandbox that runs in a thread of its own, for code that blocks, or in whatever event loop.

            with Sandbox.threaded(seed=7) as sandbox:
                with Alura(base_url=sandbox.url, wallet=sandbox.wallet()) as alura: ...

        Args:
            settings: those of `Sandbox`.
        """
        sandbox = cls(**settings)
        running: Future[None] = Future()
        over: Future[None] = Future()

        async def serve() -> None:
            async with sandbox:
                running.set_result(None)
                await asyncio.wrap_future(over)

        def run() -> None:
            try:
                asyncio.run(serve())
            except Exception as error:
                if running.done():
                    raise
                running.set_exception(error)

        thread = Thread(target=run, name="alura-sandbox", daemon=True)
        # Ctrl-C, or the time limit of a test, may also come while it starts: it must not be left running then.
        try:
            thread.start()
            running.result()
            yield sandbox
        finally:
            over.set_result(None)
            if thread.is_alive():
                thread.join()

    def _answer_as(self, shapes: str, quirks: Quirks) -> None:
        require_types(Settings(quirks=quirks))
        self._answers = answers_of(shapes, with_quirks(ROUTES, quirks))
        self._quirks = quirks
        self._server.serve(self._answers.routes + SERVED, self._answers.refuse)

    def _describe(self) -> dict[str, Any]:
        return document(self._answers.routes, self._answers.refusals)

    def __repr__(self) -> str:
        where = "stopped" if self._runner is None else self.url
        return f"<Sandbox seed={self._world.seed} {where}>"


async def accept_no_more(door: asyncio.Server) -> None:
    """Close what accepts connections, once those that came in are served.

    Closed at once, asyncio leaves the one that comes in just then open, with nobody at its end.
    """
    loop = asyncio.get_running_loop()
    for listening in door.sockets:
        # Windows accepts in another way.
        with suppress(NotImplementedError):
            loop.remove_reader(listening.fileno())
    try:
        for _ in range(_TURNS_TO_COME_IN):
            await asyncio.sleep(0)
    finally:
        door.close()


def _funds(funds: Decimal | int) -> Decimal:
    with localcontext(EXACT):
        given = Decimal(funds)
        if not given.is_finite() or not 0 <= given <= MOST_FUNDS or accept(given) != given:
            raise ConfigurationError(f"funds={funds!r}: give 0 to {MOST_FUNDS:,} USDC in whole millionths")
        return accept(given)
