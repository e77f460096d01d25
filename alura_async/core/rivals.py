"""The creates of all clients of this process, and of those that share a journal: which may be another's session."""

from __future__ import annotations

import os
import threading
from datetime import timedelta

import msgspec

from ..errors import ClosedError, Outcome
from ..journal import JournalEntry
from .entries import may_be_of_one_account
from .intents import Intents
from .request import Action

# How long before a create another one may have been sent that the server carried out after it.
_RIVALS_WITHIN = timedelta(hours=1)
# So many creates of all clients are kept in mind, whatever journal they have.
_CREATES_LIMIT = 10_000


def note_create(entry: JournalEntry, outcome: Outcome | None = None, result_id: str | None = None) -> None:
    """Keep in mind, for all clients of this process, that a create is under way, and what became of it.

    Args:
        entry: its entry.
        outcome: what became of it.
        result_id: the id of the session that it created.
    """
    if entry.action is not Action.OPEN:
        return
    with _creates_lock:
        known = _creates.get(entry.id, entry)
        if not known.is_resolved:
            known = msgspec.structs.replace(known, outcome=outcome, result_id=result_id or known.result_id)
        _creates[entry.id] = known
        while len(_creates) > _CREATES_LIMIT:
            del _creates[next(iter(_creates))]


async def rivals(entry: JournalEntry, intents: Intents) -> list[JournalEntry]:
    """The other creates of an entry's account on its server that are known here, whatever became of them.

    They are those of its own store, with those of all processes that share it, and those of this process, also of
    clients that are gone.

    Raises:
        JournalError: the store cannot be read.
    """
    since = entry.created_at - _RIVALS_WITHIN
    try:
        kept = await intents.since(since, action=Action.OPEN)
    except ClosedError:
        kept = []
    with _creates_lock:
        known = {other.id: other for other in _creates.values() if other.created_at >= since}
    # The store knows more: what somebody found out and settled.
    known |= {other.id: other for other in kept}
    return [other for other in known.values() if other.id != entry.id and may_be_of_one_account(other, entry)]


_creates: dict[str, JournalEntry] = {}
_creates_lock = threading.RLock()


def _begin_anew() -> None:
    """In a forked child."""
    global _creates_lock  # noqa: PLW0603 - it may be held by nobody
    _creates_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
