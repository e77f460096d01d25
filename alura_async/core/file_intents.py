"""Intents in a file that several processes may share:

    write → queue → one thread: all that waits, in one transaction → on the disk → write returns

What is in the file, and how it is read and changed, is `journal_file.py`.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, wait
from datetime import datetime
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ..errors import (
    AluraError,
    ClosedError,
    ConfigurationError,
    InvalidArgumentError,
    JournalError,
    Outcome,
)
from ..journal import JournalEntry, SettledBy
from .entries import Conclusion, as_prefix, asks_for_the_same, blocked, creates_of, settled, the_only
from .intents import Intents
from .request import Action
from .text import printable, shown

if TYPE_CHECKING:
    from .journal_file import Identity, JournalFile

T = TypeVar("T")

_log = logging.getLogger("alura_async")

# Of entries that could not be written, and of a batch, so many at most.
_UNRECORDED_LIMIT = 1000
_BATCH_LIMIT = 500
# How soon what could not be written is tried again, and how long the end of the process waits for what can.
_RETRY_S = 5.0
_EXIT_S = 2.0
# How long a fork waits for what is being written.
_FORK_S = 1.0


class FileIntents(Intents):
    """Entries in a file of SQLite's, which several processes may use at once.

    Nothing is opened before the first use. A thread of its own does all the work: it takes whatever waits, and makes
    one transaction of it.

    Args:
        path: the file; `~` is your home. It is made when it is missing, in a folder that is there.
        must_exist: whether a missing file is an error instead.
        keep_days: resolved entries that are older are removed when the file is opened, unresolved ones never; None
            keeps all.

    Raises:
        ConfigurationError: not a path of a file.
    """

    durable = True

    def __init__(self, path: str | os.PathLike[str], *, must_exist: bool = False, keep_days: int | None = 90) -> None:
        self._opening = _Opening(_as_path(path), must_exist, keep_days)
        self.place = str(self._opening.path)
        self._lock = threading.RLock()
        self._worker: _Worker | None = None
        self._forgotten: weakref.finalize[..., Any] | None = None
        self._closed = False
        _stores.add(self)

    async def write(self, entry: JournalEntry, *, blocks: bool) -> None:
        """Write an entry into the file; it is on the disk when this returns."""
        await self._do(_Write(entry, blocks))

    def conclude(
        self, entry_id: str, outcome: Outcome, by: SettledBy, *, detail: str = "", result_id: str | None = None
    ) -> None:
        """Queue what became of a call. If it cannot be written, it is logged, kept in memory and tried again."""
        try:
            job = _Conclude(Conclusion.now(entry_id, outcome, by, detail, result_id))
            with self._lock:
                self._running().queue.put(job)
                if self._closed:
                    # Late, and not to be lost. Nobody else would end the thread.
                    self._end()
        except Exception:  # noqa: BLE001 - whoever calls this has nothing left to do about it
            _log.exception("journal %s: that %s ended as %s is lost", self, printable(entry_id), outcome)

    def doubt(self, entry_id: str) -> None:
        """Note that a call under way has lost its reply. Other processes are held up by its entry as it is."""
        worker = self._worker
        if worker is not None:
            worker.doubted.add(entry_id)

    async def settle(self, entry_id: str, outcome: Outcome, note: str = "") -> JournalEntry:
        """Note what somebody found out."""
        return await self._do(_Settle(as_prefix(entry_id), outcome, note))

    async def entries(self, *, limit: int = 100) -> list[JournalEntry]:
        """The last entries, newest first."""

        def read(worker: _Worker, file: JournalFile) -> list[JournalEntry]:
            return [*reversed(worker.only_here()), *worker.corrected(file.newest(limit))][:limit]

        return await self._do(_Read(read))

    async def unresolved(self) -> list[JournalEntry]:
        """The unresolved entries, oldest first."""

        def read(worker: _Worker, file: JournalFile) -> list[JournalEntry]:
            found = [*worker.corrected(file.unresolved()), *worker.only_here()]
            return [entry for entry in found if not entry.is_resolved and entry.id not in worker.under_way]

        return await self._do(_Read(read))

    async def since(self, at: datetime, *actions: Action) -> list[JournalEntry]:
        """The entries from a moment on, oldest first."""

        def read(worker: _Worker, file: JournalFile) -> list[JournalEntry]:
            here = [
                entry
                for entry in worker.only_here()
                if entry.created_at >= at and (not actions or entry.action in actions)
            ]
            return [*worker.corrected(file.since(at, *actions)), *here]

        return await self._do(_Read(read))

    async def those(self, entry_ids: Collection[str]) -> list[JournalEntry]:
        """The entries of some ids."""

        def read(worker: _Worker, file: JournalFile) -> list[JournalEntry]:
            here = [entry for entry in worker.only_here() if entry.id in entry_ids]
            return [*worker.corrected(file.those(entry_ids)), *here]

        return await self._do(_Read(read))

    async def creates(self, host: str, at: datetime, sessions: Collection[str]) -> list[JournalEntry]:
        """The creates that may have made one of some sessions."""

        def read(worker: _Worker, file: JournalFile) -> list[JournalEntry]:
            found = [*worker.corrected(file.creates(at, sessions)), *worker.only_here()]
            return creates_of(found, host, at, sessions)

        return await self._do(_Read(read))

    async def get(self, entry_id: str) -> JournalEntry | None:
        """The entry of an id."""

        def read(worker: _Worker, file: JournalFile) -> JournalEntry | None:
            found = file.get(entry_id)
            kept = [entry for entry in worker.only_here() if entry.id == entry_id]
            return worker.corrected([found])[0] if found is not None else kept[0] if kept else None

        return await self._do(_Read(read))

    async def close(self) -> None:
        """Wait until all that was noted is on the disk, and close the file. What is concluded later is written, too."""
        with self._lock:
            self._closed = True
            ended = self._end()
        if ended is not None:
            await asyncio.wrap_future(ended)

    async def _do(self, job: _Job[T]) -> T:
        with self._lock:
            if self._closed:
                raise ClosedError(f"journal {self}: was closed with its client: make a new one")
            self._running().queue.put(job)
        return await asyncio.wrap_future(job.future)

    def _running(self) -> _Worker:
        if _is_cut_off:
            raise JournalError(
                f"journal {self}: cannot be used in this process, which was forked while a journal did not answer: "
                "SQLite is in the middle of something here that nobody will end. Start a new process instead, as "
                "multiprocessing's 'spawn' does"
            )
        if self._worker is None:
            worker = _Worker(self._opening)
            worker.start()
            self._worker = worker
            self._forgotten = weakref.finalize(self, self._worker.end)
            self._forgotten.atexit = False  # see `_flush_forgotten`
        return self._worker

    def _end(self) -> Future[None] | None:
        """Have the thread finish. What comes later starts another."""
        with self._lock:
            worker, self._worker = self._worker, None
            if worker is None:
                return None
            if self._forgotten is not None:
                self._forgotten.detach()
            return worker.end()

    def _begin_anew(self) -> None:
        """In a forked child: it has no thread, and a lock may be held by nobody."""
        self._lock = threading.RLock()
        if self._forgotten is not None:
            self._forgotten.detach()
        self._worker = None

    def __str__(self) -> str:
        return printable(str(self._opening.path))

    def __repr__(self) -> str:
        return f"<FileIntents {self}>"


class _Opening:
    """How the file is opened: the first time as the user wants it, and then only if it is still the same one.

    In another one the day's sum and the calls of which nobody knows what became would be missing.
    """

    def __init__(self, path: Path, must_exist: bool, keep_days: int | None) -> None:
        self.path = path
        self._must_exist = must_exist
        self._keep_days = keep_days
        self._known: Identity | None = None

    def open(self) -> JournalFile:
        # sqlite3 is imported by the first entry, not by `import alura_async`.
        from .journal_file import JournalFile

        file = JournalFile(self.path, must_exist=self._must_exist, keep_days=self._keep_days, known=self._known)
        self._known, self._keep_days = file.identity, None
        return file


class _Worker:
    """The thread that has the file open, and what it knows besides: what is under way, what could not be written."""

    def __init__(self, opening: _Opening) -> None:
        self.queue: SimpleQueue[_Job[Any]] = SimpleQueue()
        self.under_way: set[str] = set()
        # Those of them that may have been carried out. Added to in other threads.
        self.doubted: set[str] = set()
        self.has_begun = False
        self._opening = opening
        self._file: JournalFile | None = None
        # Conclusions that are not in the file yet, and entries that never got there.
        self._unwritten: dict[str, Conclusion] = {}
        self._unrecorded: dict[str, JournalEntry] = {}
        # Of conclusions, those that the file takes at no time, and when the others are tried again.
        self._hopeless: set[str] = set()
        self._retry_at = 0.0
        # A daemon: nothing here keeps a process from ending.
        self.thread = threading.Thread(target=self._run, name="alura-journal", daemon=True)

    def start(self) -> None:
        """Have it begin."""
        _workers.add(self)
        try:
            self.thread.start()
        except BaseException:
            _workers.discard(self)
            raise

    def end(self) -> Future[None]:
        """Have it finish what waits, close the file and end. Does not wait, so garbage collection may call it."""
        job = _End()
        self.queue.put(job)
        return job.future

    def corrected(self, entries: Iterable[JournalEntry]) -> list[JournalEntry]:
        """Entries of the file with what could not be written into it."""
        return [
            conclusion.of(entry) if (conclusion := self._unwritten.get(entry.id)) is not None else entry
            for entry in entries
        ]

    def only_here(self) -> list[JournalEntry]:
        """Concluded entries that never got into the file."""
        return [
            conclusion.of(entry)
            for entry_id, conclusion in self._unwritten.items()
            if (entry := self._unrecorded.get(entry_id)) is not None
        ]

    def write(self, file: JournalFile, entry: JournalEntry, blocks: bool) -> AluraError | None:
        """Within a transaction: insert an entry, or say what forbids it."""
        if blocks:
            for earlier in file.like(entry):
                is_meant = earlier.id in self.under_way and earlier.id not in self.doubted
                if not is_meant and asks_for_the_same(earlier, entry):
                    return blocked(earlier, entry, self._opening.path)
        try:
            file.insert(entry)
        except JournalError as error:
            return error
        self.under_way.add(entry.id)
        return None

    def write_failed(self, entry: JournalEntry) -> None:
        """Keep an entry for a while: a close goes out all the same, and what became of it is to be known."""
        self.under_way.discard(entry.id)
        self._unrecorded[entry.id] = entry
        if len(self._unrecorded) > _UNRECORDED_LIMIT:
            oldest = next((entry_id for entry_id in self._unrecorded if entry_id not in self._unwritten), entry.id)
            del self._unrecorded[oldest]

    def conclude(self, file: JournalFile, conclusion: Conclusion) -> None:
        """Within a transaction: write down what became of a call, with the call itself where it is missing."""
        self.under_way.discard(conclusion.entry_id)
        self.doubted.discard(conclusion.entry_id)
        entry = file.get(conclusion.entry_id)
        if entry is not None:
            file.update(conclusion.of(entry))
        elif (entry := self._unrecorded.get(conclusion.entry_id)) is not None:
            file.insert(conclusion.of(entry))
        elif conclusion.outcome is not Outcome.NOT_SENT:
            _log.error("journal %s: %s; there is no entry of it", self._shown_path, conclusion)

    def concluded(self, conclusion: Conclusion) -> None:
        """What became of a call is on the disk."""
        self._unrecorded.pop(conclusion.entry_id, None)
        if self._unwritten.get(conclusion.entry_id) is conclusion:
            del self._unwritten[conclusion.entry_id]

    def conclude_failed(self, conclusion: Conclusion, error: AluraError, *, for_good: bool = False) -> None:
        """Keep a conclusion for those who ask, and for the next attempt if there is any use in one."""
        self.under_way.discard(conclusion.entry_id)
        self.doubted.discard(conclusion.entry_id)
        earlier = self._unwritten.get(conclusion.entry_id)
        if earlier is not conclusion:
            self._unwritten[conclusion.entry_id] = conclusion if earlier is None else earlier.then(conclusion)
        elif not for_good:
            return  # it was said before
        if for_good:
            self._hopeless.add(conclusion.entry_id)
        _log.error(
            "%s; this could not be written into the journal, and %s while this process lives: %s",
            conclusion,
            "is known only here" if for_good else "is tried again",
            error,
        )

    @property
    def _to_retry(self) -> list[Conclusion]:
        return [conclusion for entry_id, conclusion in self._unwritten.items() if entry_id not in self._hopeless]

    def _run(self) -> None:
        self.has_begun = True
        end = None
        while end is None:
            batch = self._take()
            for are_changes, jobs in groupby(batch, lambda job: isinstance(job, _Change)):
                if are_changes:
                    self._change(cast("list[_Change[Any]]", list(jobs)))
                    continue
                for job in jobs:
                    if isinstance(job, _Read):
                        self._read(job)
                    elif isinstance(job, _Pause):
                        self._pause(job)
                    else:
                        end = job
            if self._to_retry and (end is not None or time.monotonic() >= self._retry_at):
                self._change([])
        self._close_file()
        for conclusion in self._unwritten.values():
            _log.error("journal %s: %s; the file could not be written, this is lost", self._shown_path, conclusion)
        _workers.discard(self)
        end.done(self, None)

    def _take(self) -> list[_Job[Any]]:
        """All that waits, at least one; nothing when it is time to try again what could not be written."""
        batch: list[_Job[Any]] = []
        try:
            wait_s = max(0.0, self._retry_at - time.monotonic()) if self._to_retry else None
            batch.append(self.queue.get(timeout=wait_s))
            while len(batch) < _BATCH_LIMIT:
                batch.append(self.queue.get_nowait())
        except Empty:
            pass
        return batch

    def _change(self, jobs: list[_Change[Any]]) -> None:
        """Make changes, after those that failed before."""
        self._make([*(_Conclude(conclusion) for conclusion in self._to_retry), *jobs])

    def _make(self, jobs: list[_Change[Any]]) -> JournalError | None:
        """Make changes in one transaction; each in one of its own, where one of them cannot be made at all.

        What is returned is wrong with the file as a whole.
        """
        is_open = False
        try:
            file = self._opened()
            with file.transaction():
                is_open = True
                results = [job.apply(self, file) for job in jobs]
        except Exception as raised:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            error = _as_journal_error(raised)
            if not is_open or _fails_all(error):
                # The next attempt begins with a fresh look at the file.
                self._close_file()
                self._retry_at = time.monotonic() + _RETRY_S
                for job in jobs:
                    job.fail(self, error)
                return error
            if len(jobs) == 1:
                jobs[0].fail_for_good(self, error)
                return None
            return self._make_each(jobs)
        for job, result in zip(jobs, results, strict=True):
            job.done(self, result)
        return None

    def _make_each(self, jobs: list[_Change[Any]]) -> JournalError | None:
        failure: JournalError | None = None
        for job in jobs:
            if failure is None:
                failure = self._make([job])
            else:
                job.fail(self, failure)
        return failure

    def _read(self, job: _Read[Any]) -> None:
        try:
            found = job.read(self, self._opened())
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            self._close_file()
            job.fail(self, _as_journal_error(error))
            return
        job.done(self, found)

    def _pause(self, job: _Pause) -> None:
        if not job.future.set_running_or_notify_cancel():
            return  # whoever forked has not waited
        self._close_file()
        job.future.set_result(None)
        job.is_over.wait()

    def _close_file(self) -> None:
        """Close the file; what comes next opens it again."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _opened(self) -> JournalFile:
        if self._file is None:
            self._file = self._opening.open()
        return self._file

    @property
    def _shown_path(self) -> str:
        return printable(str(self._opening.path))


class _Job(Generic[T]):
    """Something for the worker to do, and whoever waits for it."""

    def __init__(self) -> None:
        self.future: Future[T] = Future()

    def done(self, worker: _Worker, result: T) -> None:
        """Hand the result over, if anybody still waits."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(result)

    def fail(self, worker: _Worker, error: AluraError) -> None:
        """Hand an error over, if anybody still waits."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class _End(_Job[None]):
    """The last job of a worker."""


class _Pause(_Job[None]):
    """Have the file closed, and do nothing until a fork is over."""

    def __init__(self) -> None:
        super().__init__()
        self.is_over = threading.Event()


class _Read(_Job[T]):
    def __init__(self, read: Callable[[_Worker, JournalFile], T]) -> None:
        super().__init__()
        self.read = read


class _Change(_Job[T], ABC):
    """A change of the file. What forbids this one alone is returned, not raised: others share its transaction."""

    @abstractmethod
    def apply(self, worker: _Worker, file: JournalFile) -> T | AluraError:
        """Make it, within a transaction."""

    def fail_for_good(self, worker: _Worker, error: AluraError) -> None:
        """Hand over an error that is this one's own: no attempt ends in another way."""
        self.fail(worker, error)

    def done(self, worker: _Worker, result: T | AluraError) -> None:
        """Hand the result over; the transaction is on the disk."""
        if isinstance(result, AluraError):
            super().fail(worker, result)
        else:
            super().done(worker, result)


class _Write(_Change[None]):
    def __init__(self, entry: JournalEntry, blocks: bool) -> None:
        super().__init__()
        self._entry = entry
        self._blocks = blocks

    # Also when nobody waits any more: the conclusion that follows then finds its entry.
    def apply(self, worker: _Worker, file: JournalFile) -> AluraError | None:
        return worker.write(file, self._entry, self._blocks)

    def fail(self, worker: _Worker, error: AluraError) -> None:
        worker.write_failed(self._entry)
        super().fail(worker, error)


class _Conclude(_Change[None]):
    def __init__(self, conclusion: Conclusion) -> None:
        super().__init__()
        self._conclusion = conclusion

    def apply(self, worker: _Worker, file: JournalFile) -> None:
        worker.conclude(file, self._conclusion)

    def done(self, worker: _Worker, result: object) -> None:
        worker.concluded(self._conclusion)

    def fail(self, worker: _Worker, error: AluraError) -> None:
        worker.conclude_failed(self._conclusion, error)

    def fail_for_good(self, worker: _Worker, error: AluraError) -> None:
        worker.conclude_failed(self._conclusion, error, for_good=True)


class _Settle(_Change[JournalEntry]):
    def __init__(self, prefix: str, outcome: Outcome, note: str) -> None:
        super().__init__()
        self._prefix = prefix
        self._outcome = outcome
        self._note = note

    def apply(self, worker: _Worker, file: JournalFile) -> JournalEntry | InvalidArgumentError:
        found = file.beginning_with(self._prefix)
        try:
            entry = settled(the_only(self._prefix, found), self._outcome, self._note, worker.under_way)
        except InvalidArgumentError as error:
            return error
        file.update(entry)
        return entry


def _fails_all(error: JournalError) -> bool:
    """Whether an error of one change is the file's as a whole: the disk's, a lock's, a damage's."""
    from sqlite3 import DatabaseError, DataError, IntegrityError, ProgrammingError

    cause = error.__cause__
    of_one = isinstance(cause, DataError | IntegrityError | ProgrammingError)
    return isinstance(cause, DatabaseError | OSError) and not of_one


def _as_journal_error(error: Exception) -> JournalError:
    if isinstance(error, JournalError):
        return error
    # Nothing else is foreseen; whoever waits must hear of it all the same.
    failure = JournalError(f"the journal cannot be used: {type(error).__name__}: {shown(str(error), 200)}")
    failure.__cause__ = error
    return failure


def _as_path(path: str | os.PathLike[str]) -> Path:
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ConfigurationError(f"journal={path!r}: give the path of a file")
    if text == ":memory:" or text.startswith("file:"):
        raise ConfigurationError(
            f"journal={text!r}: give the path of a file; without any, the journal is kept in memory"
        )
    if text.endswith(("/", os.sep)):
        raise ConfigurationError(f"journal={text!r}: is a folder: give the path of a file in it")
    return Path(os.path.abspath(os.path.expanduser(text)))


# What a fork and the end of the process need to know.

_stores: weakref.WeakSet[FileIntents] = weakref.WeakSet()
# Those whose threads run. Not weak: only a plain set can be copied while other threads add to it.
_workers: set[_Worker] = set()
# Whether SQLite was at work in a thread that this process, a forked child, does not have. It may hold locks of the
# whole process, so no file can be opened here; and what it had open must not be closed.
_is_cut_off = False
_left_behind: list[_Worker] = []


@atexit.register
def _flush_forgotten() -> None:
    """Write what waits, in bounded time."""
    for store in list(_stores):
        store._end()
    until = time.monotonic() + _EXIT_S
    for worker in list(_workers):
        worker.thread.join(max(0.0, until - time.monotonic()))


class _Fork:
    """One fork, from before to after, and which workers wait for its end."""

    def __init__(self) -> None:
        self._turn: threading.Lock | None = None
        self._pauses: list[_Pause] = []
        self._paused: set[_Worker] = set()

    def begin(self) -> None:
        """Have every file closed, in bounded time: SQLite's handles, and what it knows of its locks, must not come
        into the child.
        """
        turn = _fork_turn
        if not turn.acquire(timeout=_FORK_S):
            return  # nothing is known of any file then
        self._turn = turn
        until = time.monotonic() + _FORK_S
        asked: set[_Worker] = set()
        # Another thread may make one while we wait.
        while waited_for := list(_workers - asked):
            asked.update(waited_for)
            pauses = [_Pause() for _ in waited_for]
            self._pauses += pauses
            for worker, pause in zip(waited_for, pauses, strict=True):
                worker.queue.put(pause)
            for worker, pause in zip(waited_for, pauses, strict=True):
                while worker in _workers and not pause.future.done() and time.monotonic() < until:
                    wait([pause.future], 0.05)
                if not pause.future.cancel() and pause.future.done():
                    self._paused.add(worker)

    def end_in_parent(self) -> None:
        """Have the workers go on."""
        for pause in self._pauses:
            pause.is_over.set()
        if self._turn is not None:
            self._turn.release()

    def end_in_child(self) -> None:
        """Forget the workers, which have no threads here; and all files, if one of them may have been at work."""
        global _fork_turn, _is_cut_off  # noqa: PLW0603 - there is one process
        # Also those that another thread has made since this one looked.
        _left_behind.extend(worker for worker in _workers - self._paused if worker.has_begun)
        _is_cut_off = _is_cut_off or bool(_left_behind)
        _workers.clear()
        _fork_turn = threading.Lock()
        for store in list(_stores):
            store._begin_anew()


class _Forks(threading.local):
    """The forks that a thread is in the middle of: several, if a signal's handler forks within one."""

    def __init__(self) -> None:
        self._begun: list[_Fork] = []

    def begin(self) -> None:
        fork = _Fork()
        self._begun.append(fork)
        fork.begin()

    def end(self) -> _Fork:
        # One that none has seen begin has paused nothing.
        return self._begun.pop() if self._begun else _Fork()


# One fork at a time: two that wait for each other's workers would both wait in vain.
_fork_turn = threading.Lock()
_forks = _Forks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_forks.begin,
        after_in_parent=lambda: _forks.end().end_in_parent(),
        after_in_child=lambda: _forks.end().end_in_child(),
    )
