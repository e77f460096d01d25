"""Where intents are kept: written down before a call leaves, concluded when it is known what became of it.

`MemoryIntents` lasts as long as its process; `FileIntents`, in `file_intents.py`, is a file that several may share.
"""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection
from datetime import datetime
from itertools import islice
from uuid import uuid4

from ..errors import JournalError, Outcome
from ..journal import JournalEntry, SettledBy
from .entries import Conclusion, as_prefix, asks_for_the_same, blocked, creates_of, settled, the_only
from .request import Action
from .text import printable

_MEMORY_LIMIT = 5000


class Intents(ABC):
    """A store of entries. Several threads and event loops may use one at once.

    Attributes:
        durable: whether it outlives its process.
        place: text that is equal for two stores of this process that have the same entries.
    """

    durable: bool
    place: str

    @abstractmethod
    async def write(self, entry: JournalEntry, *, blocks: bool) -> None:
        """Write an entry down. When this returns, it lasts.

        Whoever is cancelled here concludes the entry as `NOT_SENT`: it may have been written or not.

        Args:
            entry: what is about to be done.
            blocks: whether an unresolved entry that asks for the same forbids it. Calls that this store itself has
                under way do not: two identical ones at once are deliberate.

        Raises:
            UnresolvedError: there is such an entry; nothing was written.
            JournalError: it cannot be written.
        """

    @abstractmethod
    def conclude(
        self, entry_id: str, outcome: Outcome, by: SettledBy, *, detail: str = "", result_id: str | None = None
    ) -> None:
        """Note what became of a call. Never waits and never raises; whoever reads afterwards sees it.

        What is known already does not become unknown again.

        Args:
            entry_id: the call's id.
            outcome: what became of it.
            by: how that is known.
            detail: what an error said.
            result_id: the id of what the call created.
        """

    @abstractmethod
    def doubt(self, entry_id: str) -> None:
        """Note that a call under way has left and lost its reply: from now on it blocks others that ask for the same.

        Like `conclude`, this never blocks and never raises.

        Args:
            entry_id: the call's id.
        """

    @abstractmethod
    async def settle(self, entry_id: str, outcome: Outcome, note: str = "") -> JournalEntry:
        """Note what somebody found out about an unresolved call, and return its entry. When this returns, it lasts.

        Args:
            entry_id: the call's id, or at least 6 digits of its beginning.
            outcome: `DONE`, `REJECTED` or `NOT_SENT`.
            note: added to the entry's detail.

        Raises:
            InvalidArgumentError: there is no such entry, or several begin like this; it is resolved already, or the
                call may still be under way.
            JournalError: it cannot be read or written.
        """

    @abstractmethod
    async def entries(self, *, limit: int = 100) -> list[JournalEntry]:
        """The last entries, newest first.

        Raises:
            JournalError: it cannot be read.
        """

    @abstractmethod
    async def unresolved(self) -> list[JournalEntry]:
        """The entries of which nobody knows what became, oldest first; not of calls this store has under way.

        Raises:
            JournalError: it cannot be read.
        """

    @abstractmethod
    async def since(self, at: datetime, *actions: Action) -> list[JournalEntry]:
        """The entries that were written at a moment or later, oldest first.

        Args:
            at: the moment.
            actions: what their calls do with money; none for anything.

        Raises:
            JournalError: it cannot be read.
        """

    @abstractmethod
    async def those(self, entry_ids: Collection[str]) -> list[JournalEntry]:
        """The entries of some ids, those that there are, in any order.

        Args:
            entry_ids: the ids.

        Raises:
            JournalError: it cannot be read.
        """

    @abstractmethod
    async def creates(self, host: str, at: datetime, sessions: Collection[str]) -> list[JournalEntry]:
        """The creates that may have made one of some sessions, oldest first.

        Args:
            host: the server.
            at: those that are done, and nobody knows what they made, only if they were written then or later.
            sessions: the sessions' ids.

        Raises:
            JournalError: it cannot be read.
        """

    @abstractmethod
    async def get(self, entry_id: str) -> JournalEntry | None:
        """The entry of an id, or None.

        Raises:
            JournalError: it cannot be read.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let everything that was noted reach its place. Closing twice does nothing."""


class MemoryIntents(Intents):
    """Entries in memory. Unresolved ones are kept for ever, of the resolved ones the last thousands."""

    durable = False

    def __init__(self) -> None:
        self.place = uuid4().hex
        # Held for moments only. A signal handler may come here while its thread holds it.
        self._lock = threading.RLock()
        self._entries: dict[str, JournalEntry] = {}
        # Ids, in their order.
        self._unresolved: dict[str, None] = {}
        self._resolved: deque[str] = deque()
        self._under_way: set[str] = set()
        # Those of them that may have been carried out.
        self._doubted: set[str] = set()
        _memories.add(self)

    async def write(self, entry: JournalEntry, *, blocks: bool) -> None:
        """Write an entry down."""
        with self._lock:
            if entry.id in self._entries:
                raise JournalError(f"the journal has an entry {printable(entry.id)} already")
            if blocks:
                meant = self._under_way - self._doubted
                for earlier_id in self._unresolved:
                    earlier = self._entries[earlier_id]
                    if earlier_id not in meant and asks_for_the_same(earlier, entry):
                        raise blocked(earlier, entry, None)
            self._entries[entry.id] = entry
            self._unresolved[entry.id] = None
            self._under_way.add(entry.id)

    def conclude(
        self, entry_id: str, outcome: Outcome, by: SettledBy, *, detail: str = "", result_id: str | None = None
    ) -> None:
        """Note what became of a call."""
        with self._lock:
            self._under_way.discard(entry_id)
            self._doubted.discard(entry_id)
            entry = self._entries.get(entry_id)
            if entry is not None:
                self._replace(Conclusion.now(entry_id, outcome, by, detail, result_id).of(entry))

    def doubt(self, entry_id: str) -> None:
        """Note that a call under way has lost its reply."""
        with self._lock:
            if entry_id in self._under_way:
                self._doubted.add(entry_id)

    async def settle(self, entry_id: str, outcome: Outcome, note: str = "") -> JournalEntry:
        """Note what somebody found out."""
        prefix = as_prefix(entry_id)
        with self._lock:
            found = [entry for entry in self._entries.values() if entry.id.startswith(prefix)]
            entry = settled(the_only(prefix, found), outcome, note, self._under_way)
            self._replace(entry)
        return entry

    async def entries(self, *, limit: int = 100) -> list[JournalEntry]:
        """The last entries, newest first."""
        with self._lock:
            return list(islice(reversed(self._entries.values()), limit))

    async def unresolved(self) -> list[JournalEntry]:
        """The unresolved entries, oldest first."""
        with self._lock:
            return self._open()

    async def since(self, at: datetime, *actions: Action) -> list[JournalEntry]:
        """The entries from a moment on, oldest first."""
        with self._lock:
            return [
                entry
                for entry in self._entries.values()
                if entry.created_at >= at and (not actions or entry.action in actions)
            ]

    async def those(self, entry_ids: Collection[str]) -> list[JournalEntry]:
        """The entries of some ids."""
        with self._lock:
            return [entry for entry_id in entry_ids if (entry := self._entries.get(entry_id)) is not None]

    async def creates(self, host: str, at: datetime, sessions: Collection[str]) -> list[JournalEntry]:
        """The creates that may have made one of some sessions."""
        with self._lock:
            return creates_of(self._entries.values(), host, at, sessions)

    async def get(self, entry_id: str) -> JournalEntry | None:
        """The entry of an id."""
        with self._lock:
            return self._entries.get(entry_id)

    async def close(self) -> None:
        """Do nothing: there is no place to reach."""

    def _open(self) -> list[JournalEntry]:
        return [self._entries[entry_id] for entry_id in self._unresolved if entry_id not in self._under_way]

    def _replace(self, entry: JournalEntry) -> None:
        self._entries[entry.id] = entry
        if entry.is_resolved and entry.id in self._unresolved:
            del self._unresolved[entry.id]
            self._resolved.append(entry.id)
            if len(self._resolved) > _MEMORY_LIMIT:
                del self._entries[self._resolved.popleft()]

    def _begin_anew(self) -> None:
        """In a forked child: the lock may be held by nobody, and what was under way is the parent's."""
        self._lock = threading.RLock()
        for entry_id in self._under_way:
            del self._entries[entry_id], self._unresolved[entry_id]
        self._under_way.clear()
        self._doubted.clear()


_memories: weakref.WeakSet[MemoryIntents] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for memory in list(_memories):
        memory._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
