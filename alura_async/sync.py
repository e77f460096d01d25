"""`Alura`, the blocking client: the same surface, served by an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, Self, TypeVar

from .assets import Assets
from .client import AsyncAlura, settings_from_env
from .core.challenge import check_challenge
from .core.outcome import Reply
from .core.request import Request
from .core.settings import TESTNET_URL, TimeoutLike
from .core.surface import Sync
from .errors import AluraError, ClosedError, RunningLoopError
from .groups.auth import Auth
from .groups.health import Health
from .groups.indicators import Indicators
from .groups.leaderboard import Leaderboard
from .groups.referrals import Referrals
from .groups.trading_sessions import TradingSessions
from .groups.usdc_verification import UsdcVerification
from .groups.user import User
from .wallet import sealed

if TYPE_CHECKING:
    import ssl

    import aiohttp
    from anyio.from_thread import BlockingPortal

    from .core.challenge import ChallengeCheck
    from .secret import Secret
    from .wallet import WalletLike

P = ParamSpec("P")
T = TypeVar("T")

# `Future.result()` cannot be interrupted on Windows, so waiting there looks up now and then.
_WAIT_STEP_S = 0.2 if sys.platform == "win32" else None
# How long an interrupted call may take to clean up, and a forgotten client to close.
_CLEAN_UP_S = 2.0
_THREAD_NAME = "alura-async"


class Alura:
    """A client of the Alura trading backend, for code that blocks.

        with Alura(wallet="0x…") as alura:
            session = alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC")

    The API is on its groups: `auth`, `trading_sessions`, `user`, `indicators`, `leaderboard`, `referrals`,
    `usdc_verification` and `health`; see `help(alura.trading_sessions)`.

    The same methods as `AsyncAlura`, with the same arguments, results and errors. Any number of threads may share
    one. Ctrl-C cancels the call that waits. After a fork the child goes on with connections of its own.

    `close()` it, or use it in a `with` block; what is forgotten is closed when the process ends.

    Args:
        wallet: what signs you in: a private key as hex text or 32 bytes, an eth-account `LocalAccount`, a `Keystore`,
            or any object with `address` and an async `sign_message(text)`. Without one, public calls work.
        token: a JWT that was obtained elsewhere, instead of a wallet or besides it.
        base_url: the server; by default the documented testnet.
        timeout: seconds that bound every call, or `Timeouts`; by default 30 s, 10 s for creates, 20 s for a sign-in.
        assets: which index a symbol has, where the documented table is not yours.
        poll_interval: seconds between two reads of `watch…` and `wait_…`.
        referral_code: the code of whoever referred you; sent with the sign-in.
        check_challenge: replaces the check of the text that the server wants signed; raises to refuse.
        session: an `aiohttp.ClientSession` of yours for the calls that are safe to repeat. It is never closed here.
            Calls that move money always have a connection of their own.
        connector: likewise, an aiohttp connector of yours.
        proxy: URL of a proxy.
        trust_env: whether to take a proxy from the environment.
        ssl_context: a TLS context that knows your own authority. One that does not check certificates is refused.
        allow_http: hosts, besides loopback, that may be called without TLS.
        max_body_bytes: the largest reply that is read, decompressed.
        allow_running_loop: whether to serve a thread in which an event loop runs. A call blocks that loop, so this is
            refused, except in IPython and Jupyter; notebooks of other makers (marimo, Spyder) need it.

    Raises:
        ConfigurationError: a setting cannot be used; the message says what to set instead.
    """

    auth: Auth[Sync]
    trading_sessions: TradingSessions[Sync]
    user: User[Sync]
    indicators: Indicators[Sync]
    leaderboard: Leaderboard[Sync]
    referrals: Referrals[Sync]
    usdc_verification: UsdcVerification[Sync]
    health: Health[Sync]

    def __init__(
        self,
        wallet: WalletLike | None = None,
        *,
        token: str | Secret | None = None,
        base_url: str = TESTNET_URL,
        timeout: TimeoutLike | None = None,
        assets: Mapping[str, int] | None = None,
        poll_interval: float = 2.0,
        referral_code: str | None = None,
        check_challenge: ChallengeCheck = check_challenge,
        session: aiohttp.ClientSession | None = None,
        connector: aiohttp.BaseConnector | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        allow_http: Iterable[str] = (),
        max_body_bytes: int = 64 * 1024 * 1024,
        allow_running_loop: bool = False,
    ) -> None:
        # First of all: a traceback that shows local variables must find nothing here.
        wallet, token = sealed(wallet), sealed(token)
        self._core = AsyncAlura(
            wallet,
            token=token,
            base_url=base_url,
            timeout=timeout,
            assets=assets,
            poll_interval=poll_interval,
            referral_code=referral_code,
            check_challenge=check_challenge,
            session=session,
            connector=connector,
            proxy=proxy,
            trust_env=trust_env,
            ssl_context=ssl_context,
            allow_http=allow_http,
            max_body_bytes=max_body_bytes,
        )
        self._loop_thread = _LoopThread(self._core, allow_running_loop)
        self._owns_thread = True
        self._add_groups()

    @classmethod
    def from_env(cls, **settings: Any) -> Self:
        """Make a client of environment variables.

        `ALURA_BASE_URL`, `ALURA_PRIVATE_KEY`, `ALURA_KEYSTORE` with `ALURA_KEYSTORE_PASSWORD`, and `ALURA_TOKEN`;
        each may be missing.

        Args:
            settings: settings of the client, which have the last word.

        Raises:
            ConfigurationError: a value cannot be used, or both a key and a keystore are set.
        """
        return cls(**{**settings_from_env(), **settings})

    def _add_groups(self) -> None:
        core = self._core
        self.auth = Auth(self, core.auth)
        self.trading_sessions = TradingSessions(self, core.trading_sessions)
        self.user = User(self, core.user)
        self.indicators = Indicators(self, core.indicators)
        self.leaderboard = Leaderboard(self, core.leaderboard)
        self.referrals = Referrals(self, core.referrals)
        self.usdc_verification = UsdcVerification(self, core.usdc_verification)
        self.health = Health(self, core.health)

    def send(self, request: Request[T]) -> T:
        """Make a call that was built beforehand and return what its method would have returned.

            request = TradingSessions.create.request(budget=100, profit_target=40, asset="BTC")
            session = alura.send(request)

        Args:
            request: of an endpoint's `request(…)`, or of a `Route` of your own.

        Raises:
            AluraError: what the endpoint's method raises.
        """
        return self._loop_thread.run(self._core.send, request)

    def send_raw(self, request: Request[T]) -> Reply[T]:
        """Make a call and return the complete reply, whatever its status: status, headers, bytes, and `decode()`.

        A 401 still signs in, where that is possible, and calls once more.

        Args:
            request: of an endpoint's `request(…)`, or of a `Route` of your own.

        Raises:
            TransportError: no complete reply came.
            OutcomeUnknownError: no complete reply came to a call that must not be made twice.
            CredentialsNeededError: the call needs a token, and there is neither one nor a wallet.
            SignInError: the sign-in failed.
        """
        return self._loop_thread.run(self._core.send_raw, request)

    def with_options(
        self,
        *,
        timeout: TimeoutLike | None = None,
        assets: Mapping[str, int] | None = None,
        poll_interval: float | None = None,
    ) -> Self:
        """Return a client with other options and the same connections and token. It need not be closed.

            profile = alura.with_options(timeout=2).user.profile()

        Args:
            timeout: seconds that bound every call, or `Timeouts`.
            assets: which index a symbol has.
            poll_interval: seconds between two reads of `watch…` and `wait_…`.

        Raises:
            ConfigurationError: a value cannot be used.
        """
        view = object.__new__(type(self))
        view._core = self._core.with_options(timeout=timeout, assets=assets, poll_interval=poll_interval)
        view._loop_thread = self._loop_thread
        view._owns_thread = False
        view._add_groups()
        return view

    @property
    def assets(self) -> Assets:
        """Which index a symbol has."""
        return self._core.assets

    @property
    def poll_interval(self) -> float:
        """Seconds between two reads of `watch…` and `wait_…`."""
        return self._core.poll_interval

    @property
    def base_url(self) -> str:
        """The server."""
        return self._core.base_url

    def close(self) -> None:
        """Close the connections; calls made later raise `ClosedError`. Closing twice, or a `with_options`
        view, does nothing.
        """
        if self._owns_thread:
            self._loop_thread.close()

    def __enter__(self) -> Self:
        self._loop_thread.require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what is written for the async surface. For the groups."""
        return self._loop_thread.run(function, *args, **kwargs)

    def _iterate(self, batches: AsyncGenerator[Sequence[T], None], /) -> Stream[T]:
        """Iterate over what is written for the async surface. For the groups."""
        return Stream(self._loop_thread, batches)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.base_url}{' (closed)' if self._loop_thread.closed else ''}>"


class Stream(Generic[T]):
    """A plain iterator over what several calls bring; close it to stop early, or use it in a `with` block.

    It crosses to the loop's thread once for a reply, not once for an item. Several threads may take items from one, and
    any of them may close it: those that wait are at its end then.
    """

    def __init__(self, thread: _LoopThread, batches: AsyncGenerator[Sequence[T], None]) -> None:
        self._loop_thread = thread
        self._batches = batches
        self._ready: deque[T] = deque()
        self._ended = False
        self._taking = threading.Lock()
        self._fetching: asyncio.Task[Any] | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._taking:
            while not self._ready:
                if self._ended:
                    raise StopIteration
                self._ready.extend(self._fetch())
            return self._ready.popleft()

    def close(self) -> None:
        """Stop. Items that were read and not taken yet are dropped."""
        was_ended, self._ended = self._ended, True
        self._ready.clear()
        if not was_ended and not self._loop_thread.closed:
            self._loop_thread.run(self._stop)

    def _fetch(self) -> Sequence[T]:
        try:
            batch = self._loop_thread.run(self._next_batch)
        except CancelledError:
            if self._ended:  # closed by another thread
                return ()
            raise
        except BaseException:
            # A generator that raised is at its end.
            self._ended = True
            raise
        if batch is None:
            self._ended = True
            return ()
        return batch

    async def _next_batch(self) -> Sequence[T] | None:
        self._fetching = asyncio.current_task()
        try:
            return await anext(self._batches, None)
        finally:
            self._fetching = None

    async def _stop(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
        await self._batches.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Call:
    """A call on its way to the loop, so that whoever waits for it can take it back at any moment."""

    __slots__ = ("_task", "abandoned", "is_over")

    def __init__(self) -> None:
        self.abandoned = False
        self.is_over = False
        self._task: asyncio.Task[Any] | None = None

    async def make(self, function: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        """Make the call, unless it was taken back before the loop came to it."""
        self._task = asyncio.current_task()
        try:
            if self.abandoned:
                raise asyncio.CancelledError
            return await function(*args, **kwargs)
        finally:
            self.is_over = True

    @property
    def has_begun(self) -> bool:
        """Whether the loop has come to it."""
        return self._task is not None

    def cancel(self) -> None:
        """In the loop: end the call if it has begun."""
        if self._task is not None and not self.is_over:
            self._task.cancel()


class _LoopThread:
    """The event loop that serves a blocking client, in a thread that starts with the first call."""

    def __init__(self, core: AsyncAlura, allow_running_loop: bool) -> None:
        self._core = core
        self._allow_running_loop = allow_running_loop
        # Signal handlers run in the middle of anything, so the same thread may come here twice.
        self._lock = threading.RLock()
        self._starting: Future[_Running] | None = None
        self._running: _Running | None = None
        self._forgotten: weakref.finalize[..., Any] | None = None
        self.closed = False
        _loop_threads.add(self)

    def run(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine function on the loop and wait for its result.

        Whatever interrupts the wait, Ctrl-C above all, cancels the call: an order does not go out after its
        sender gave up.
        """
        if asyncio._get_running_loop() is not None:
            self._refuse_running_loop()
        running = self._running or self._start()
        call = _Call()
        try:
            # This waits for the loop too, which may be busy: what interrupts it here must take the call back as well.
            future: Future[T] = running.portal.start_task_soon(call.make, function, args, kwargs)
            return _result(future)
        except CancelledError:
            # Nobody but `close()` in another thread cancels a call that is waited for.
            self.require_open()
            raise
        except BaseException as error:
            if not call.is_over:
                call.abandoned = True
                _take_back(call, running.loop)
            if isinstance(error, RuntimeError) and not isinstance(error, AluraError):
                self.require_open()
            raise

    def close(self, wait_s: float | None = None) -> None:
        """Close the client and stop the thread. Calls that other threads wait for end with `ClosedError`."""
        with self._lock:
            self.closed = True
            starting, self._starting = self._starting, None
            self._running = None
            if self._forgotten is not None:
                self._forgotten.detach()
        if starting is None:
            return
        # Not in another thread: at the end of a process there can be no new one.
        _end_soon(self._core, starting)
        with contextlib.suppress(TimeoutError):  # it has not even started; it ends as soon as it has
            starting.result(wait_s).thread.join(wait_s)

    def begin_anew(self) -> None:
        """In a forked child: it has neither the thread nor what its loop was doing, and locks may be held by nobody."""
        self._lock = threading.RLock()
        if self._forgotten is not None:
            self._forgotten.detach()
        self._starting = self._running = None
        self._core._after_fork()

    def _start(self) -> _Running:
        with self._lock:
            self.require_open()
            starting = self._starting
            if starting is None:
                starting = self._starting = Future()
                self._forgotten = weakref.finalize(self, _end_soon, self._core, starting)
                self._forgotten.atexit = False  # see `_close_forgotten`
                # A daemon, so that a forgotten client does not keep the process from ending.
                threading.Thread(target=_serve, args=(starting,), name=_THREAD_NAME, daemon=True).start()
        # Not under the lock: a signal handler that uses or closes the client would wait for it for ever.
        running = starting.result()
        if starting is self._starting:
            self._running = running
        return running

    def require_open(self) -> None:
        """Refuse to go on after `close()`."""
        if self.closed:
            raise ClosedError("this client was closed: make a new one")

    def _refuse_running_loop(self) -> None:
        if threading.current_thread().name == _THREAD_NAME:
            raise RunningLoopError(
                "the blocking client was called from its own event loop, where it would wait for itself"
            )
        if self._allow_running_loop or _in_ipython():
            return
        raise RunningLoopError(
            "Alura blocks, and an event loop runs in this thread, which it would stop: use AsyncAlura and "
            "await it. In a notebook that runs your cells inside a loop, use Alura(allow_running_loop=True)"
        )


class _Running(NamedTuple):
    """A loop that runs in its thread."""

    thread: threading.Thread
    portal: BlockingPortal
    loop: asyncio.AbstractEventLoop


def _take_back(call: _Call, loop: asyncio.AbstractEventLoop) -> None:
    """Cancel a call, and give it a moment to leave before its caller goes on."""
    with contextlib.suppress(RuntimeError):  # the loop is closed, and the call with it
        loop.call_soon_threadsafe(call.cancel)
    until = time.monotonic() + _CLEAN_UP_S
    while call.has_begun and not call.is_over and time.monotonic() < until:
        time.sleep(0.002)


def _end_soon(core: AsyncAlura, starting: Future[_Running]) -> None:
    """Have a loop close its client and stop, as soon as it runs.

    It does not wait, so garbage collection may call it too.
    """
    starting.add_done_callback(partial(_end, core))


def _end(core: AsyncAlura, started: Future[_Running]) -> None:
    if started.cancelled() or started.exception() is not None:
        return
    running = started.result()

    async def end() -> None:
        try:
            await core.close()
        finally:
            await running.portal.stop(cancel_remaining=True)

    if not running.loop.is_closed():
        running.loop.call_soon_threadsafe(lambda: _keep(running.loop.create_task(end())))


# asyncio itself holds tasks weakly.
_ending: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    _ending.add(task)
    task.add_done_callback(_ending.discard)


def _serve(starting: Future[_Running]) -> None:
    """Run the event loop until its portal is stopped."""
    try:
        # Not `anyio.from_thread.start_blocking_portal`: when its context is collected in a forked child, it waits for a
        # thread that only the parent has.
        import anyio
        from anyio.from_thread import BlockingPortal

        async def serve() -> None:
            async with BlockingPortal() as portal:
                starting.set_result(_Running(threading.current_thread(), portal, asyncio.get_running_loop()))
                await portal.sleep_until_stopped()

        anyio.run(serve)
    except BaseException as error:
        if starting.done():
            raise
        starting.set_exception(error)


def _result(future: Future[T]) -> T:
    """Wait for a future in a way that Ctrl-C can interrupt."""
    while _WAIT_STEP_S is not None and not wait_for([future], _WAIT_STEP_S).done:
        pass
    return future.result()


def _in_ipython() -> bool:
    """Whether a cell of IPython or Jupyter is running: there people expect a blocking call to work."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


_loop_threads: weakref.WeakSet[_LoopThread] = weakref.WeakSet()


@atexit.register
def _close_forgotten() -> None:
    for loop_thread in list(_loop_threads):
        loop_thread.close(_CLEAN_UP_S)


def _begin_anew() -> None:
    for loop_thread in list(_loop_threads):
        loop_thread.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
