"""The journal: what was meant to be done with money, written down before it leaves, and what became of it."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import msgspec

from .core.model import Time
from .core.request import Action
from .core.surface import Async, Group, Mode, operation
from .errors import InvalidArgumentError, Outcome

if TYPE_CHECKING:
    from .client import AsyncAlura
    from .core.intents import Intents


class SettledBy(enum.StrEnum):
    """How it became known what became of a call."""

    REPLY = "reply"
    """By the server's answer, or by the certainty that the call did not leave."""
    READING = "reading"
    """By reading the state afterwards."""
    HAND = "hand"
    """By whoever looked: `journal.settle(…)`."""


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One call that must not be made twice.

    Attributes:
        id: the call's id, 32 hexadecimal digits; sent as `X-Request-Id` and `Idempotency-Key`.
        created_at: when it was written down, just before it could leave.
        expires_at: until when the call may be under way; later, whoever made it is gone or has given up.
        host: the server.
        account: the wallet's address in lower case, or what the token says of its owner; empty where neither is known.
        method: the HTTP method.
        path: the path, percent-encoded.
        action: what it does with money.
        body: the JSON body, secrets blanked out; empty where there is none.
        fingerprint: equal for two calls that ask for the same thing, of whatever account.
        pid: the process that made it.
        outcome: what became of it; None while it is under way, and after a crash.
        settled_at: when that became known.
        settled_by: how that became known.
        result_id: the id of what it created, where known.
        detail: what the error said, redacted and clipped; and the note of whoever settled it.
    """

    id: str
    created_at: Time
    expires_at: Time
    host: str
    account: str
    method: str
    path: str
    action: Action
    body: str = ""
    fingerprint: str
    pid: int
    outcome: Outcome | None = None
    settled_at: Time | None = None
    settled_by: SettledBy | None = None
    result_id: str | None = None
    detail: str = ""

    @property
    def is_resolved(self) -> bool:
        """Whether it is known what became of it."""
        return self.outcome is not None and self.outcome is not Outcome.UNKNOWN

    @property
    def may_be_under_way(self) -> bool:
        """Whether the call may still be going on, in this process or in another one."""
        return self.outcome is None and datetime.now(UTC) < self.expires_at


class Journal(Group[Mode]):
    """What was to be done with money, written down before it left, and what became of it.

    Every call that must not be made twice has an entry: creates, closes, transfers and the like. Without a path the
    journal is in memory, the resolved entries up to some thousands; with one it is in a file, survives every crash, and
    several processes may share it. The command `alura journal PATH` shows it.

    An unresolved entry is one of a call that may or may not have been carried out: its reply was lost, or its process
    died. Look at what your account shows, and say so:

        for entry in await alura.journal.unresolved():
            print(entry.created_at, entry.method, entry.path, entry.body)
        await alura.journal.settle(entry.id, "done")      # or "rejected"

    Until then an identical create or transfer is not sent, and raises `UnresolvedError`. Closes are never held up.
    """

    @operation
    async def entries(self: Journal[Async], *, limit: int = 100) -> list[JournalEntry]:
        """Read the last entries, newest first.

        Args:
            limit: how many at most, from 1.

        Raises:
            InvalidArgumentError: not a whole number above 0.
            JournalError: the journal cannot be read; the message says what to do.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit < 2**63:
            raise InvalidArgumentError(f"limit={limit!r}: give a whole number above 0")
        return await self._intents().entries(limit=limit)

    @operation
    async def unresolved(self: Journal[Async]) -> list[JournalEntry]:
        """Read the entries of which nobody knows what became, oldest first.

        Calls that this client is making are not among them; those that another process may be making are, see
        `JournalEntry.may_be_under_way`.

        Raises:
            JournalError: the journal cannot be read; the message says what to do.
        """
        return await self._intents().unresolved()

    @operation
    async def settle(self: Journal[Async], entry_id: str, outcome: Outcome | str, *, note: str = "") -> JournalEntry:
        """Say what became of an unresolved call, and return its entry. Nothing is sent.

        Args:
            entry_id: the entry's id, or at least 6 digits of its beginning.
            outcome: `Outcome.DONE` or `"done"` if it was carried out, `REJECTED` or `"rejected"` if it was not,
                `NOT_SENT` or `"not_sent"` if it never left.
            note: what to remember about it; added to the entry's detail.

        Raises:
            InvalidArgumentError: there is no such entry, or several begin like this; it is resolved already, or the
                call may still be under way; or another outcome.
            JournalError: the journal cannot be read or written; the message says what to do.
        """
        return await self._intents().settle(entry_id, _as_settled(outcome), _as_note(note))

    def _intents(self) -> Intents:
        intents: Intents = cast("AsyncAlura", self._client)._intents
        return intents


def _as_settled(outcome: Outcome | str) -> Outcome:
    for settled in (Outcome.DONE, Outcome.REJECTED, Outcome.NOT_SENT):
        if outcome == settled.value:
            return settled
    raise InvalidArgumentError(
        f"outcome={outcome!r}: give 'done' if it was carried out, 'rejected' if it was not, or 'not_sent' if it never "
        "left"
    )


def _as_note(note: str) -> str:
    if not isinstance(note, str):
        raise InvalidArgumentError(f"note={note!r}: give text")
    return note
