"""The journal: what was meant to be done with money, written down before it leaves, and what became of it."""

from __future__ import annotations

import enum
from datetime import UTC, datetime

import msgspec

from .core.request import Action
from .errors import Outcome


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
        fingerprint: equal for two calls that ask for the same thing of the same account.
        pid: the process that made it.
        outcome: what became of it; None while it is under way, and after a crash.
        settled_at: when that became known.
        settled_by: how that became known.
        result_id: the id of what it created, where known.
        detail: what the error said, redacted and clipped.
    """

    id: str
    created_at: datetime
    expires_at: datetime
    host: str
    account: str
    method: str
    path: str
    action: Action
    body: str = ""
    fingerprint: str
    pid: int
    outcome: Outcome | None = None
    settled_at: datetime | None = None
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
