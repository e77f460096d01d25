"""The creates of all clients of this process, and of those that share a journal: which may be another's session."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Collection
from datetime import timedelta
from itertools import chain

import msgspec

from ..errors import ClosedError, Outcome
from ..journal import JournalEntry
from .entries import MADE_NOTHING, may_be_of_one_account, may_have_made
from .intents import Intents
from .request import Action

# How long before a create another one may have been sent that the server carried out after it.
_RIVALS_WITHIN = timedelta(hours=1)
# For so long, and so many at most, creates of all clients are kept in mind, whatever journal they have.
_CREATES_S = 2 * _RIVALS_WITHIN.total_seconds()
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
    now = time.monotonic()
    with _creates_lock:
        noted_at, known = _noted(entry.id) or (now, _outlined(entry))
        if not known.is_resolved:
            known = msgspec.structs.replace(known, outcome=outcome, result_id=result_id or known.result_id)
        if known.result_id is not None:
            # It is that session's, and no other's.
            _made[entry.id] = noted_at, msgspec.structs.replace(known, body="")
            _open.pop(entry.id, None)
        elif known.outcome in MADE_NOTHING:
            _open.pop(entry.id, None)
        else:
            _open[entry.id] = noted_at, known
        for creates in (_made, _open):
            _forget(creates, now - _CREATES_S)


def _noted(entry_id: str) -> tuple[float, JournalEntry] | None:
    return _open.get(entry_id) or _made.get(entry_id)


def _forget(creates: dict[str, tuple[float, JournalEntry]], before: float) -> None:
    """Drop the oldest, as long as they are too old or there are too many in all."""
    while creates:
        oldest, (noted_at, _) = next(iter(creates.items()))
        if len(_open) + len(_made) <= _CREATES_LIMIT and noted_at > before:
            break
        del creates[oldest]


def _outlined(entry: JournalEntry) -> JournalEntry:
    """A create with no more than `rivals` looks at: there may be thousands."""
    return msgspec.structs.replace(
        entry,
        expires_at=entry.created_at,
        host=sys.intern(entry.host),
        account=sys.intern(entry.account),
        method="",
        path="",
        fingerprint="",
        detail="",
    )


async def rivals(entry: JournalEntry, intents: Intents, sessions: Collection[str]) -> list[JournalEntry]:
    """The other creates of an entry's account on its server that are known here and may have made one of some sessions.

    They are those of its own store, with those of all processes that share it, and those of this process, also of
    clients that are gone.

    Args:
        entry: a create.
        intents: its store.
        sessions: the sessions' ids.

    Raises:
        JournalError: the store cannot be read.
    """
    since = entry.created_at - _RIVALS_WITHIN
    try:
        known = {other.id: other for other in await intents.creates(entry.host, since, sessions)}
    except ClosedError:
        known = {}
    with _creates_lock:
        # Not by the time of day, which may have been set in between.
        noted = _noted(entry.id)
        earliest = (time.monotonic() if noted is None else noted[0]) - _RIVALS_WITHIN.total_seconds()
        here = [
            other
            for at, other in chain(_open.values(), _made.values())
            if other.id not in known and (at >= earliest or not other.is_resolved)
        ]
    for other in here:
        if may_be_of_one_account(other, entry) and may_have_made(other, sessions):
            known[other.id] = await _as_kept(other, intents)
    return [
        other
        for other in known.values()
        if other.id != entry.id and may_be_of_one_account(other, entry) and may_have_made(other, sessions)
    ]


async def _as_kept(entry: JournalEntry, intents: Intents) -> JournalEntry:
    """An entry as a store has it, if it does: it may know more, such as what somebody found out and settled."""
    try:
        return await intents.get(entry.id) or entry
    except ClosedError:
        return entry


# With when each was noted, in seconds of `time.monotonic()`: a clock that is changed forgets nothing. Those that may
# have made any session, and those of which it is known which; of too many, the latter are dropped first.
_open: dict[str, tuple[float, JournalEntry]] = {}
_made: dict[str, tuple[float, JournalEntry]] = {}
_creates_lock = threading.RLock()


def _begin_anew() -> None:
    """In a forked child."""
    global _creates_lock  # noqa: PLW0603 - it may be held by nobody
    _creates_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
