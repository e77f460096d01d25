"""Calls that must not be made twice: guarded, written down, sent once, settled where their reply is lost, seen through.

guard → journal( call ) ─ reply lost → reconcile ─ still open → journal( call ) …

"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..errors import (
    AluraError,
    CallError,
    DuplicateAssetError,
    GuardError,
    JournalError,
    Outcome,
    OutcomeUnknownError,
)
from ..journal import JournalEntry, SettledBy
from . import log
from .call import Call
from .closes import SentClose
from .deadline import Deadline
from .entries import intent
from .reading import SharedReads
from .reconcile import Verdict, candidates, settle
from .request import EXIT_PATIENCE_S, Action
from .rivals import note_create, rivals

if TYPE_CHECKING:
    from ..guard import Guard
    from .road import Road
    from .settings import Safety

T = TypeVar("T")

# How often a call that closes is sent while what it closes still reads as open.
_MAX_EXITS = 3
# How long what is there is looked for, where a create is answered by "Duplicate asset index".
_CANDIDATES_S = 2.0


class Orders:
    """Those of one client.

    Args:
        road: makes calls.
        host: the server.
        safety: the journal's store and the guard.
        account: whose calls these are, for the journal.
    """

    def __init__(self, road: Road, host: str, safety: Safety, account: Callable[[], Awaitable[str]]) -> None:
        self._road = road
        self._host = host
        self._guard = safety.guard
        self._account = account
        self._reads = SharedReads(road.carry)
        self._under_way: dict[Call[Any], tuple[JournalEntry | None, asyncio.Future[None]]] = {}
        # Those of them whose reply was lost.
        self._doubted: set[Call[Any]] = set()
        self.intents = safety.intents
        # For `flatten`: by what was closed.
        self.closes: dict[str, SentClose] = {}

    async def make(self, call: Call[T], timeout: float) -> T:
        """Make such a call, and return what it returns.

        Args:
            call: the call.
            timeout: seconds for all of it, but what a person is asked and the reading after a lost reply.

        Raises:
            AluraError: see the tree in `errors.py`.
        """
        is_over = asyncio.get_running_loop().create_future()
        self._under_way[call] = (None, is_over)
        try:
            request, options = call.request, call.options
            action = request.route.action
            began = time.monotonic()
            account = await self._name(call, timeout)
            if action is not Action.CLOSE:
                timeout = max(0.0, timeout - (time.monotonic() - began))
            entry = intent(
                request,
                host=self._host,
                account=account,
                within_s=(_MAX_EXITS if action is Action.CLOSE else 1) * (timeout + options.timeouts.settle),
            )
            self._under_way[call] = (entry, is_over)
            call.key = entry.id
            if self._guard is not None and not request.route.says_action:
                raise GuardError(
                    f"{call}: this client's guard must know what a call does with money: make its Route with "
                    "action=Action.OPEN, CLOSE, TRANSFER or OTHER"
                )
            if self._guard is not None and action.is_guarded:
                timeout = await self._pass_guard(self._guard, call, entry, timeout)
            limit = await self._write_down(call, entry, timeout)
            return await self._see_through(call, entry, limit)
        finally:
            self._under_way.pop(call, None)
            self._doubted.discard(call)
            is_over.set_result(None)

    async def drain(self, seconds: float) -> None:
        """Give those that are under way so many seconds to end."""
        if self._under_way:
            await asyncio.wait([is_over for _, is_over in self._under_way.values()], timeout=seconds)
        for call, (entry, _) in self._under_way.items():
            log.cut_off(call.request, call_id="" if entry is None else entry.id)
            if entry is not None and (call.has_left or call in self._doubted):
                # Before the journal is closed. If more becomes known in its last moments, that counts.
                detail = "the client was closed before the call had ended"
                self.intents.conclude(entry.id, Outcome.UNKNOWN, SettledBy.REPLY, detail=detail)

    def forget(self) -> None:
        """In a child process: those that were under way are the parent's."""
        self._reads = SharedReads(self._road.carry)
        self._under_way = {}
        self._doubted = set()
        self.closes = {key: close for key, close in self.closes.items() if not close.is_under_way}

    async def _name(self, call: Call[Any], timeout: float) -> str:
        """Whose calls these are. What closes does not wait for a wallet that takes its time to say so."""
        if call.request.route.action is not Action.CLOSE:
            try:
                with self._road.within(timeout):
                    return await self._account()
            except TimeoutError as error:
                raise self._road.lost(call, error) from error
        try:
            with self._road.within(min(timeout, EXIT_PATIENCE_S)):
                return await self._account()
        except TimeoutError:
            return ""

    async def _pass_guard(self, guard: Guard, call: Call[Any], entry: JournalEntry, timeout: float) -> float:
        """Have the guard judge a call, and whoever it asks; return the seconds that are left. Asking takes none."""
        request, assets = call.request, call.options.assets
        limit = self._road.within(timeout)
        try:
            with limit:
                await guard.check(request, host=entry.host, account=entry.account, intents=self.intents, assets=assets)
        except TimeoutError as error:
            raise JournalError(f"{call} was not sent: the journal did not say in time what the day came to") from error
        timeout = limit.remaining()
        await guard.ask(request, host=entry.host, account=entry.account, assets=assets)
        if entry.pid != os.getpid():
            raise GuardError(f"{call} was not sent: whoever was asked forked the process, and the call is its parent's")
        return timeout

    def _place(self, call: Call[Any], entry: JournalEntry) -> AbstractAsyncContextManager[None]:
        """The place of a call under the guard's daily limit, held until it is written down."""
        if self._guard is None or not entry.action.is_guarded:
            return nullcontext()
        return self._guard.place(
            call.request, call_id=entry.id, host=entry.host, account=entry.account, intents=self.intents
        )

    async def _write_down(self, call: Call[Any], entry: JournalEntry, timeout: float) -> Deadline:
        """Have the journal keep an intent, and return the time limit that begins now.

        What was not written down does not leave, unless it closes.
        """
        action = call.request.route.action
        closes = action is Action.CLOSE
        # Somebody may have been asked in between, and taken his time.
        now = datetime.now(UTC)
        entry = msgspec.structs.replace(entry, created_at=now, expires_at=now + (entry.expires_at - entry.created_at))
        limit = self._road.within(min(timeout, EXIT_PATIENCE_S) if closes else timeout)
        try:
            with limit:
                async with self._place(call, entry):
                    await self.intents.write(entry, blocks=action.is_guarded)
        except BaseException as error:
            if closes and isinstance(error, Exception):
                # Whatever is wrong with the disk, the exit is open.
                log.journal_failed(f"{call} goes out without an entry", error, call_id=entry.id)
                return self._road.within(timeout)
            if entry.pid == os.getpid():
                self.intents.conclude(entry.id, Outcome.NOT_SENT, SettledBy.REPLY, detail=_said(error))
            if isinstance(error, AluraError) or not isinstance(error, Exception):
                raise
            why = " in time" if isinstance(error, TimeoutError) else f": {error}"
            raise JournalError(f"{call} was not sent: the journal did not keep its intent{why}") from error
        note_create(entry)
        # What closes has all of its time, however long the disk took.
        return self._road.within(timeout) if closes else limit

    async def _see_through(self, call: Call[T], entry: JournalEntry, limit: Deadline) -> T:
        """Send what was written down; settle what that leaves in doubt, and close what is still open."""
        began = time.monotonic()
        conclude = partial(self._conclude, call, entry, began)
        doubt: CallError | None = None
        for exits in range(1, _MAX_EXITS + 1):
            try:
                # Whoever was asked to confirm it may have answered after `close()`.
                self._road.open()
                value = await call.make(limit.remaining())
            except AluraError as error:
                if isinstance(error, CallError):
                    error.call_id = entry.id
                    if error.outcome is Outcome.UNKNOWN:
                        doubt = error
                if doubt is None or error.outcome is Outcome.DONE:
                    conclude(error.outcome, detail=_said(error))
                    if isinstance(error, DuplicateAssetError):
                        error.candidates = await candidates(call.request, self._reads, limit_s=_CANDIDATES_S)
                    raise
                # It is written down when the call ends: until then nobody else can know better.
                self._doubt(call, entry)
            except BaseException as error:
                # Cancelled. What has left cannot be called back.
                if doubt is None and not call.has_left:
                    conclude(Outcome.NOT_SENT, detail="cancelled before it left")
                else:
                    conclude(Outcome.UNKNOWN, detail="cancelled after it had left")
                    error.add_note(f"{call} had left, and may have been carried out: journal entry {entry.id}")
                raise
            else:
                conclude(Outcome.DONE, result_id=_id_of(value))
                return value
            if call.wants_reply or not call.options.timeouts.settle:
                break
            assert doubt is not None
            settle_s = call.options.timeouts.settle
            log.doubted(call.request, call_id=entry.id, attempt=call.attempts, detail=_said(doubt), settle_s=settle_s)
            try:
                settlement = await settle(
                    call.request,
                    entry,
                    self._reads,
                    sent_at=call.sent_at,
                    limit_s=settle_s,
                    rivals=partial(rivals, entry, self.intents),
                )
            except asyncio.CancelledError:
                conclude(Outcome.UNKNOWN, detail=_said(doubt))
                if self._road.closed:
                    # The end of the client ends the reading. That the order left stays true.
                    raise doubt from None
                raise
            except Exception as error:  # noqa: BLE001 - whatever was read: the order has left, and that must be told
                log.logger.warning("%s: what became of it could not be read: %s", call, type(error).__name__)
                break
            if settlement.verdict is Verdict.DONE:
                conclude(Outcome.DONE, by=SettledBy.READING, result_id=settlement.result_id)
                settled: T = settlement.value
                return settled
            if isinstance(doubt, OutcomeUnknownError):
                doubt.candidates = settlement.candidates
            if settlement.verdict is not Verdict.STILL_OPEN or limit.remaining() <= 0:
                break
            # Not the same key: a server that keeps the answers of keys would only repeat the lost one.
            call.key = f"{entry.id}-{exits + 1}"
        assert doubt is not None
        conclude(Outcome.UNKNOWN, detail=_said(doubt))
        raise doubt

    def _doubt(self, call: Call[Any], entry: JournalEntry) -> None:
        if entry.pid == os.getpid():
            self._doubted.add(call)
            self.intents.doubt(entry.id)

    def _conclude(
        self,
        call: Call[Any],
        entry: JournalEntry,
        began: float,
        outcome: Outcome,
        *,
        by: SettledBy = SettledBy.REPLY,
        detail: str = "",
        result_id: str | None = None,
    ) -> None:
        """Note what became of a call, in the journal and in the log."""
        if entry.pid != os.getpid():
            # A forked child drops what its parent has under way, and knows nothing of its end.
            return
        self.intents.conclude(entry.id, outcome, by, detail=detail, result_id=result_id)
        note_create(entry, outcome, result_id)
        log.concluded(
            call.request,
            call_id=entry.id,
            outcome=outcome,
            attempts=call.attempts,
            duration=time.monotonic() - began,
            status=None if call.reply is None else call.reply.status,
            detail=detail,
        )


def _said(error: BaseException) -> str:
    """What an error said, without what it says to do: an entry is settled by its id in any case."""
    return str(error.args[0]) if error.args else type(error).__name__


def _id_of(value: Any) -> str | None:
    """The id of what a call created."""
    found = getattr(value, "id", None)
    return found if isinstance(found, str) else None
