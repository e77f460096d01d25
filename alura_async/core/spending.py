"""What a day's calls came to: by the journal, and by what this process has seen, because the clock may be set."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import TYPE_CHECKING, NamedTuple

from ..journal import JournalEntry
from .asked import UnclearError, asked_in_journal
from .entries import MADE_NOTHING, is_one_server, may_be_one_account, two_names
from .request import Action

if TYPE_CHECKING:
    from .intents import Intents

_DAY = timedelta(hours=24)
_GUARDED = tuple(action for action in Action if action.is_guarded)

EXACT = Context(prec=400)
"""Sums keep every digit, whatever the caller's own context is: an amount has at most 80 before and after its point."""


class Spent(NamedTuple):
    """What some calls came to, and the names of the accounts that made them."""

    amount: Decimal
    accounts: Collection[str]


class _Seen(NamedTuple):
    """What is kept in mind of a call that counts.

    Attributes:
        place: where its journal is.
        host: the server.
        account: the account.
        amount: how much.
        unclear: why nobody can say how much; empty where that is known.
        until: when it is 24 hours old, in seconds of `time.monotonic()`.
    """

    place: str
    host: str
    account: str
    amount: Decimal
    unclear: str
    until: float


class Spending:
    """What the calls of the last 24 hours came to. Several clients, event loops and threads may use one.

    A call counts as long as either clock says so: the one on the wall, or the one of this process, which nobody sets.
    """

    def __init__(self) -> None:
        # By the calls' ids. Threads change it in single steps, and go through copies.
        self._seen: dict[str, _Seen] = {}

    def note(self, call_id: str, amount: Decimal, *, host: str, account: str, intents: Intents) -> None:
        """Keep in mind a call that was written down just now.

        Args:
            call_id: its entry's id.
            amount: how much it asks for.
            host: the server.
            account: the account.
            intents: the journal.
        """
        until = time.monotonic() + _DAY.total_seconds()
        self._seen[call_id] = _Seen(intents.place, host, account, amount, "", until)

    async def of_day(self, host: str, account: str, intents: Intents, *, but: str = "") -> Spent:
        """What the calls of what may be one account on one server came to: those that were done, or may have been.

        Args:
            host: the server.
            account: the account.
            intents: the journal.
            but: the id of a call that does not count.

        Raises:
            UnclearError: of one of them nobody can say how much it was.
            JournalError: the journal cannot be read.
        """
        now, at = datetime.now(UTC), time.monotonic()
        self._forget(at)
        entries = await intents.since(now - _DAY, *_GUARDED)
        found = {but, *(entry.id for entry in entries)}
        # By the clock on the wall, these are too old.
        seen = {
            call_id: call
            for call_id, call in list(self._seen.items())
            if call_id not in found and call.place == intents.place and _is_of(call, host, account)
        }
        if seen:
            entries += await intents.those(seen)
        counted: dict[str, _Seen] = {}
        for entry in entries:
            if entry.outcome in MADE_NOTHING:
                self._seen.pop(entry.id, None)
                seen.pop(entry.id, None)
            elif entry.id != but and _is_of(entry, host, account):
                counted[entry.id] = self._look(entry, intents.place, now, at)
        # With those that the journal has no more: a file forgets what is old by the clock on the wall.
        counted |= seen
        amount = Decimal(0)
        accounts: dict[str, None] = {}
        for call in counted.values():
            if call.unclear:
                until = now + timedelta(seconds=call.until - at)
                raise UnclearError(
                    f"{call.unclear}. It counts until {until:%Y-%m-%d %H:%M} UTC{two_names(call.account, account)}"
                )
            amount = EXACT.add(amount, call.amount)
            accounts[call.account] = None
        return Spent(amount, accounts)

    def _look(self, entry: JournalEntry, place: str, now: datetime, at: float) -> _Seen:
        """What an entry came to, kept in mind: reading that from a body takes its time."""
        call = self._seen.get(entry.id)
        if call is None:
            amount, unclear, asked = Decimal(0), "", f"{entry.method} {entry.path}"
            try:
                amount = asked_in_journal(entry.body, asked).amount()
            except UnclearError as error:
                unclear = (
                    f"of {asked} in the journal (entry {entry.id}) nobody can say how much it was, because {error}"
                )
            # What was written in the future, by a clock that has been put back, is of now.
            left = _DAY - max(now - entry.created_at, timedelta(0))
            call = _Seen(
                place,
                sys.intern(entry.host),
                sys.intern(entry.account),
                amount,
                unclear,
                at + left.total_seconds(),
            )
            self._seen[entry.id] = call
        return call

    def _forget(self, at: float) -> None:
        for call_id, call in list(self._seen.items()):
            if call.until <= at:
                self._seen.pop(call_id, None)


def _is_of(call: JournalEntry | _Seen, host: str, account: str) -> bool:
    """Whether a call is, or may be, one of an account on a server."""
    return is_one_server(call.host, host) and may_be_one_account(call.account, account)
