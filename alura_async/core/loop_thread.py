"""The event loop behind the blocking client, in a thread of its own, and the plain iterators that it serves."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import math
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, Self, TypeVar

from ..errors import AluraError, ClosedError, RunningLoopError
from .imports import importing
from .log import logger

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from ..client import AsyncAlura

P = ParamSpec("P")
T = TypeVar("T")

# A wait cannot be interrupted on Windows, nor where a library has signals restart what they interrupt, as polars does
# when it is imported. So whoever waits looks up now and then.
_WAIT_STEP_S = 0.2
# How long an interrupted call may take to clean up, and a forgotten client to close.
_CLEAN_UP_S = 2.0
_THREAD_NAME = "alura-async"


class Stream(Generic[T]):
    """A plain iterator over what several calls bring; close it to stop early, or use it in a `with` block.

    It crosses to the loop's thread once for a reply, not once for an item. Several threads may take items from one, and
    any of them may close it: those that wait are at its end then.
    """

    def __init__(self, thread: LoopThread, batches: AsyncGenerator[Sequence[T], None]) -> None:
        self._loop_thread = thread
        self._batches = batches
        self._ready: deque[T] = deque()
        self._ended = False
        self._taking = threading.Lock()
        self._fetching: asyncio.Task[Any] | None = None
        self._generation = thread.generation

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._is_the_parents:
            raise StopIteration
        with self._taking:
            while not self._ready:
                if self._ended:
                    raise StopIteration
                self._ready.extend(self._fetch())
            return self._ready.popleft()

    def close(self) -> None:
        """Stop. Items that were read and not taken yet are dropped."""
        if self._is_the_parents:
            return
        was_ended, self._ended = self._ended, True
        self._ready.clear()
        if not was_ended and not self._loop_thread.closed:
            self._loop_thread.run(self._stop)

    @property
    def _is_the_parents(self) -> bool:
        """Whether it was made before a fork: its loop and its locks are not in this process."""
        return self._generation != self._loop_thread.generation

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


class LoopThread:
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
        self.generation = 0
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
        """Close the client and stop the thread. Calls that other threads wait for end with `ClosedError`.

        Whatever interrupts the wait, Ctrl-C above all, does not end the closing: closing again waits for it again, and
        so does the end of the process.
        """
        with self._lock:
            self.closed = True
            starting = self._starting
            self._running = None
            if starting is None:
                return
            _closing.add(self)
            if self._forgotten is not None:
                self._forgotten.detach()
        # Not in another thread: at the end of a process there can be no new one.
        _end_soon(self._core, starting)
        try:
            running = _result(starting, wait_s)
        except Exception:  # noqa: BLE001 - it never started, or ends as soon as it has
            running = None
        if running is not None:
            if threading.current_thread() is running.thread:
                return  # it would wait for itself
            if not _is_set(running.is_ended, wait_s):
                logger.warning("a client is not closed yet: what is under way may be lost when the process ends")
                return
            # A wallet may keep a thread or a task of its own busy, a button to be pressed for one. That is left behind.
            running.thread.join(_CLEAN_UP_S)
        self._starting = None
        _closing.discard(self)

    def begin_anew(self) -> None:
        """In a forked child: it has neither the thread nor what its loop was doing, and locks may be held by nobody."""
        self._lock = threading.RLock()
        self.generation += 1
        if self._forgotten is not None:
            self._forgotten.detach()
        self._starting = self._running = None
        self._core._after_fork()

    def _start(self) -> _Running:
        with self._lock:
            self.require_open()
            starting = self._starting
            if starting is None:
                mine: Future[_Running] = Future()
                # A daemon, so that a forgotten client does not keep the process from ending. Nothing is noted before
                # it has started: a signal handler in between must not wait for what only this frame would start.
                threading.Thread(target=_serve, args=(mine,), name=_THREAD_NAME, daemon=True).start()
                if self._starting is not None or self.closed:  # by such a handler
                    mine.add_done_callback(_stop)
                    self.require_open()
                starting = self._starting = self._starting or mine
                if starting is mine:
                    self._forgotten = weakref.finalize(self, _end_soon, self._core, starting)
                    self._forgotten.atexit = False  # see `_close_forgotten`
        # Not under the lock: a signal handler that uses or closes the client would wait for it for ever.
        try:
            running = _result(starting)
        except Exception:
            with self._lock:
                if self._starting is starting:
                    self._starting = None  # the next call tries again
            raise
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
    is_ending: threading.Event
    is_ended: threading.Event


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
            running.is_ended.set()
            await running.portal.stop(cancel_remaining=True)

    def begin() -> None:
        # Once, however often its owner closes it.
        if not running.is_ending.is_set():
            running.is_ending.set()
            _keep(running.loop.create_task(end()))

    with contextlib.suppress(RuntimeError):  # the loop is closed, and the client with it
        running.loop.call_soon_threadsafe(begin)


def _stop(started: Future[_Running]) -> None:
    """Stop a loop that nobody needs."""
    if not started.cancelled() and started.exception() is None:
        running = started.result()
        running.loop.call_soon_threadsafe(lambda: _keep(running.loop.create_task(running.portal.stop())))


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
        with importing("anyio"):
            import anyio
            from anyio.from_thread import BlockingPortal

            # Imports its backend, which is left to its first use otherwise.
            anyio.run(anyio.sleep, 0)

        async def serve() -> None:
            async with BlockingPortal() as portal:
                thread, loop = threading.current_thread(), asyncio.get_running_loop()
                starting.set_result(_Running(thread, portal, loop, threading.Event(), threading.Event()))
                await portal.sleep_until_stopped()

        anyio.run(serve)
    except BaseException as error:
        if starting.done():
            raise
        starting.set_exception(error)


def _result(future: Future[T], wait_s: float | None = None) -> T:
    """Wait for a future in a way that Ctrl-C can interrupt.

    Raises:
        TimeoutError: it took longer than it may.
    """
    for seconds in _steps(wait_s):
        try:
            return future.result(seconds)
        except TimeoutError:
            # Its own one, and not that of waiting for it.
            if future.done():
                break
    return future.result(0)


def _is_set(event: threading.Event, wait_s: float | None) -> bool:
    """Wait for an event likewise; False if it took longer than it may."""
    return any(event.wait(seconds) for seconds in _steps(wait_s))


def _steps(wait_s: float | None) -> Iterator[float]:
    """How long to wait at once, until it has been long enough."""
    until = math.inf if wait_s is None else time.monotonic() + wait_s
    while (left := until - time.monotonic()) > 0:
        yield min(left, _WAIT_STEP_S)


def _in_ipython() -> bool:
    """Whether a cell of IPython or Jupyter is running: there people expect a blocking call to work."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


_loop_threads: weakref.WeakSet[LoopThread] = weakref.WeakSet()
# Those whose closing was begun: also where nobody else holds them, the end of the process waits for it.
_closing: set[LoopThread] = set()


@atexit.register
def _close_forgotten() -> None:
    for loop_thread in list(_loop_threads):
        loop_thread.close(_CLEAN_UP_S)


def _begin_anew() -> None:
    _closing.clear()
    for loop_thread in list(_loop_threads):
        loop_thread.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
