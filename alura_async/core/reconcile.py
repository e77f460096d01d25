"""What became of a call whose reply was lost, as far as reading the state can tell.

A create is settled by a session that can only be its own, a close by what it was to close. Nothing can be read of a
transfer. Absence proves nothing: the server may act after it answers, and lists are read one after the other.

What no read can tell: whether a session was created by our call or by a client that this process and its journal know
nothing of, where both asked for exactly the same thing within the same seconds. Then the other's session is taken for
ours. The window is as narrow as the server's `Date` header allows, which counts whole seconds.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import unquote

import msgspec

from ..errors import ClosedError, JournalError, Outcome
from ..groups.trading_sessions import (
    OPEN_STATUSES,
    Closing,
    Position,
    SessionStatus,
    Trade,
    TradingSession,
    TradingSessions,
    reads_as_closed,
)
from ..groups.user import User
from ..journal import JournalEntry
from . import waits
from .decode import parse
from .model import Items
from .reading import ACTIVE, CREATED, CURRENT_TRADE, Seen, SharedReads
from .request import Action, Request
from .text import BLANK

T = TypeVar("T")

EFFECT_S = 5.0
"""Within so many seconds, what the server accepted shows in what it lists [guess]."""

ABSENCES = 3
"""In so many reads in a row, what is closed must be missing at least."""

_CREATES = (TradingSessions.create.route, TradingSessions.create_advance.route)

# The documented inputs of both creates, by their names on the wire.
_INPUTS = {
    "budget": "budget",
    "profitTarget": "profit_target",
    "assetIndex": "asset_index",
    "lossThreshold": "loss_threshold",
    "maxPositions": "max_positions",
    "amount": "amount",
    "executionStrategy": "execution_strategy",
    "strategyDuration": "strategy_duration",
    "maxWalletBudget": "max_wallet_budget",
}
_FIELDS = {field.encode_name: field.name for field in msgspec.structs.fields(TradingSession)}


class Verdict(enum.Enum):
    """What the reads say of a call whose reply was lost."""

    DONE = "done"
    """It was carried out."""
    STILL_OPEN = "still_open"
    """What it was to close is still open, long after it: sending it again closes nothing that it did not mean."""
    UNKNOWN = "unknown"
    """They do not tell."""


class Settlement(msgspec.Struct, frozen=True):
    """What could be found out.

    Attributes:
        verdict: what became of the call.
        value: where it is done, what its method returns.
        candidates: sessions that the call may have created, and that may as well be somebody else's.
        result_id: where it is done, the id of what it created or closed.
    """

    verdict: Verdict
    value: Any = None
    candidates: tuple[TradingSession, ...] = ()
    result_id: str | None = None


Rivals: TypeAlias = Callable[[Collection[str]], Awaitable[Collection[JournalEntry]]]
"""The creates of this account on this server that are known here, of this process and of all that share its journal,
and that may have made one of the sessions with these ids. Asked after each read, so that whoever created what was read
had written it down before."""


async def settle(
    request: Request[Any],
    entry: JournalEntry,
    reads: SharedReads,
    *,
    sent_at: float,
    limit_s: float,
    rivals: Rivals,
    patience_s: float = EFFECT_S,
) -> Settlement:
    """Find out by reading what became of a call, right after its reply was lost.

    A create is done if exactly one session that is listed as active has all its documented inputs and no others, was
    created between the sending and `patience_s` after the loss by the server's clock, and cannot be that of another
    create that is known here.

    A close is done if what it was to close reads as closed; or if that was listed as open after the loss, and is then
    missing from three reads in a row and for `patience_s` [inferred]; or if it still reads as closing at the end, which
    is what the server's own answer would have said. If it reads as open `patience_s` after the loss or later, it is
    `STILL_OPEN`; of a close by asset or of all, only where all that is open was opened before the call was sent.

    A list of sessions that is incomplete, as the server says, proves only what is in it: nothing is missing from it,
    and no session in it is the only one of its kind.

    Args:
        request: the call.
        entry: its entry in the journal.
        reads: those of the call's client; one that fails is tried again.
        sent_at: `time.monotonic()` just before its headers left.
        limit_s: seconds to take at most. Less than `patience_s` finds nothing to be still open.
        rivals: the creates that are known here.
        patience_s: within how many seconds what the server accepted shows.

    Returns:
        What was found out; nothing is raised because it cannot be.
    """
    rounds = _Rounds(limit_s, reads.interval_s)
    lost_at = time.monotonic()
    try:
        if request.route in _CREATES:
            sent = _inputs(request.body)
            return await _settle_create(sent, entry, reads, rounds, rivals, (sent_at, lost_at + patience_s))
        target = _Target.of(request)
        if target is not None:
            return await _settle_close(target, reads, rounds, sent_at, lost_at, patience_s)
    except ClosedError:
        # Nothing can be read any more.
        pass
    return Settlement(Verdict.UNKNOWN)


async def candidates(request: Request[Any], reads: SharedReads, *, limit_s: float) -> tuple[TradingSession, ...]:
    """The active sessions of a create's asset, for a "Duplicate asset index": one read, and nothing if it fails.

    Args:
        request: the create.
        reads: those of its client.
        limit_s: seconds to take at most.
    """
    try:
        seen = await reads.ask(CREATED, until=time.monotonic() + limit_s)
    except ClosedError:
        return ()
    return () if seen is None else tuple(_of_asset(seen.value, _inputs(request.body)))


class _Rounds:
    """Rounds of reading, one every so many seconds, until the time is up.

    Their number is limited too: without waits, they follow each other at once.
    """

    def __init__(self, limit_s: float, interval_s: float) -> None:
        self.until = time.monotonic() + limit_s
        # One read that hangs must not take the place of all others.
        self.longest_s = limit_s / 2
        self._interval_s = interval_s
        self._most = 1 + int(limit_s / interval_s)
        self._begun = 0

    def another(self) -> bool:
        """Begin another round, if there is time for one."""
        if self._begun == self._most or (self._begun and time.monotonic() + self._interval_s > self.until):
            return False
        self._begun += 1
        return True

    async def ask(self, reads: SharedReads, request: Request[T]) -> Seen[T] | None:
        """Read once; None if that fails."""
        return await reads.ask(request, until=self.until, longest_s=self.longest_s)

    @property
    def left_s(self) -> float:
        """How long anything else may take now."""
        return max(0.01, min(self.longest_s, self.until - time.monotonic()))


# Creates


async def _settle_create(
    sent: Mapping[str, Any],
    entry: JournalEntry,
    reads: SharedReads,
    rounds: _Rounds,
    rivals: Rivals,
    window: tuple[float, float],
) -> Settlement:
    found: tuple[TradingSession, ...] = ()
    while rounds.another():
        seen = await rounds.ask(reads, CREATED)
        if seen is None:
            continue
        earliest, latest = seen.span(window[0])[0], seen.span(window[1])[1]
        try:
            async with asyncio.timeout(rounds.left_s):
                known_here = await rivals({session.id for session in seen.value})
                others = [rival for rival in known_here if rival.id != entry.id and rival.action is Action.OPEN]
        except (JournalError, TimeoutError):
            others = None
        known = {rival.result_id for rival in others or ()}
        found = tuple(
            session
            for session in _of_asset(seen.value, sent)
            if session.id not in known and not _is_before(session.created_at, earliest)
        )
        if others is None:
            continue
        ours = [session for session in found if _is_created_by(session, latest) and _echoes(session, sent)]
        is_only_one = len(ours) == 1 and seen.value.is_complete is not False
        if is_only_one and not any(_may_have_created(rival, ours[0]) for rival in others):
            return Settlement(Verdict.DONE, ours[0], result_id=ours[0].id)
    return Settlement(Verdict.UNKNOWN, candidates=found)


def _inputs(body: str | bytes | None) -> Mapping[str, Any]:
    """A body's fields; none where there is no object."""
    try:
        value = parse(body.encode() if isinstance(body, str) else body or b"{}")
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _of_asset(sessions: list[TradingSession], sent: Mapping[str, Any]) -> Iterator[TradingSession]:
    """The sessions that may be of the asset that was asked for."""
    asset = sent.get("assetIndex")
    for session in sessions:
        if asset is None or session.asset_index is None or _is_same(asset, session.asset_index):
            yield session


def _is_created_by(session: TradingSession, moment: datetime) -> bool:
    """Whether it is known that a session was created, and not after a moment."""
    return session.created_at is not None and session.created_at <= moment


def _is_before(created: datetime | None, moment: datetime) -> bool:
    """Whether a time, which may be in whole seconds, is certainly before a moment."""
    if created is None:
        return False
    return created <= moment - (timedelta(milliseconds=1) if created.microsecond else timedelta(seconds=1))


def _echoes(session: TradingSession, sent: Mapping[str, Any]) -> bool:
    """Whether a session has every documented input that was sent, and none that was not.

    One that was not sent may be the server's own default, or what another client asked for.
    """
    if "assetIndex" not in sent:
        return False
    for name, field in _INPUTS.items():
        echoed = getattr(session, field)
        if name not in sent:
            if echoed is not None and echoed is not False:
                return False
        elif echoed is None:
            return False
    return not _contradicts(session, sent)


def _contradicts(session: TradingSession, sent: Mapping[str, Any]) -> bool:
    """Whether a session shows another value for anything that was sent."""
    for name, value in sent.items():
        echoed = getattr(session, _FIELDS[name]) if name in _FIELDS else session.extra.get(name)
        if echoed is not None and not _is_same(value, echoed):
            return True
    return False


def _is_same(sent: Any, echoed: Any) -> bool:
    """Whether two values mean the same: numbers by value, words in any case."""
    if isinstance(sent, bool) or isinstance(echoed, bool):
        return sent is echoed
    try:
        return Decimal(str(sent)) == Decimal(str(echoed))
    except ArithmeticError:
        return str(sent).casefold() == str(echoed).casefold()


def _may_have_created(rival: JournalEntry, session: TradingSession) -> bool:
    """Whether a session may be that of another create. When that was made does not matter: a server may act late."""
    if rival.outcome in (Outcome.NOT_SENT, Outcome.REJECTED) or rival.result_id is not None:
        return False
    # What the journal blanked out says nothing.
    known = {name: value for name, value in _inputs(rival.body).items() if BLANK not in str(value)}
    return not _contradicts(session, known)


# Closes


class State(enum.Enum):
    """Whether something is still held, as far as a read says."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    UNCLEAR = "unclear"
    """Its status is a word that nobody told us of, or its time of closing does not go with it."""


def state_of(thing: TradingSession | Trade | Position, now: datetime | None = None) -> State:
    """Whether a session, trade or position is still held. Which statuses there are is assumed [guess].

    Args:
        thing: what a read showed.
        now: the server's time; this machine's, where that is not known.
    """
    status = thing.status
    if reads_as_closed(status, thing.closed_at, now):
        return State.CLOSED
    if status == SessionStatus.CLOSING:
        return State.CLOSING
    if thing.closed_at is not None:
        return State.UNCLEAR
    if isinstance(thing, Trade) and status is None and thing.positions:
        held = {state_of(position, now) for position in thing.positions}
        return next(state for state in (State.OPEN, State.UNCLEAR, State.CLOSING, State.CLOSED) if state in held)
    # What stands in a list of what is active, without a status, is open.
    return State.OPEN if status is None or status.casefold() in OPEN_STATUSES else State.UNCLEAR


class _Thing(NamedTuple):
    """Something that a close may mean.

    Attributes:
        state: whether it is still held.
        since: when it was opened; None where the server does not say.
        until: when it was closed.
        trade_id: the trade that it is part of.
    """

    state: State
    since: datetime | None
    until: datetime | None
    trade_id: str | None


class _Target(NamedTuple):
    """What a close means: one position, one trade, an asset, or everything."""

    position_id: str | None = None
    trade_id: str | None = None
    asset_index: int | None = None

    @classmethod
    def of(cls, request: Request[Any]) -> _Target | None:
        """What a call was to close; None where it is no close, or none that is known."""
        route = request.route
        if route is TradingSessions.close_position.route:
            return cls(position_id=unquote(request.path.split("/")[-2]))
        if route is TradingSessions.close_trade.route:
            return cls(trade_id=unquote(request.path.split("/")[-2]))
        if route is User.close_all_positions.route:
            return cls()
        asset = _inputs(request.body).get("assetIndex")
        if route is User.close_position.route and isinstance(asset, int):
            return cls(asset_index=asset)
        return None

    @property
    def is_named(self) -> bool:
        """Whether it is one thing with an id, so that nothing else can ever be meant."""
        return self.position_id is not None or self.trade_id is not None

    @property
    def name(self) -> str | None:
        """Its id."""
        return self.position_id or self.trade_id

    def things(self, sessions: list[TradingSession], trade: Trade | None, now: datetime) -> Iterator[_Thing]:
        """What is listed of it; the time is the server's."""
        for session in sessions:
            if self._means(None, session.trade_id, session.asset_index):
                # Of a session that does not say its asset, nobody knows whether it is meant.
                is_clear = self.asset_index is None or session.asset_index is not None
                state = state_of(session, now) if is_clear else State.UNCLEAR
                yield _Thing(state, session.created_at, session.closed_at, session.trade_id)
        if trade is None:
            return
        if self.asset_index is None and self._means(None, trade.id, None):
            yield _Thing(state_of(trade, now), trade.opened_at, trade.closed_at, trade.id)
        for position in trade.positions or ():
            if self._means(position.id, trade.id, position.asset_index):
                is_clear = self.asset_index is None or position.asset_index is not None
                state = state_of(position, now) if is_clear else State.UNCLEAR
                yield _Thing(state, position.opened_at, position.closed_at, trade.id)

    def _means(self, position_id: str | None, trade_id: str | None, asset_index: int | None) -> bool:
        if self.position_id is not None:
            return position_id == self.position_id
        if self.trade_id is not None:
            # What is left of a trade is told by its session and itself; its positions may be closed one by one.
            return position_id is None and trade_id == self.trade_id
        return self.asset_index is None or asset_index in (None, self.asset_index)

    def closing(self, status: SessionStatus) -> Closing:
        """What the close returns."""
        return Closing(
            status=status, position_id=self.position_id, trade_id=self.trade_id, asset_index=self.asset_index
        )


class _Watch:
    """What the reads after the loss of a close's reply have shown so far.

    Attributes:
        acted: whether something of the target was listed after the loss and could go, or was closed since the sending.
        clear_reads: in how many readings in a row nothing of it was held.
        clear_since: when the first of them had ended.
    """

    def __init__(self, *, is_position: bool) -> None:
        # Whether a trade that goes on may hide it.
        self._is_position = is_position
        self.acted = False
        self.clear_reads = 0
        self.clear_since = 0.0
        self._trades_told: set[str] = set()
        self._trades_held: set[str] = set()

    def note(self, held: list[_Thing], sessions: Items[TradingSession], trade: Trade | None, ended: float) -> None:
        """Count one reading."""
        self.acted = self.acted or bool(held)
        listed = {session.trade_id for session in sessions if session.trade_id is not None}
        self._trades_told |= listed
        self._trades_held |= {thing.trade_id for thing in held if thing.trade_id is not None}
        # Only one trade is shown with its positions: those of another one may be held all the same.
        hidden = any(
            self._is_position and name in listed
            if trade is None
            else trade.id != name and (name in listed or name not in self._trades_told)
            for name in self._trades_held
        )
        if held or hidden or sessions.is_complete is False:
            self.clear_reads = 0
            return
        self.clear_reads += 1
        if self.clear_reads == 1:
            self.clear_since = ended


async def _settle_close(
    target: _Target, reads: SharedReads, rounds: _Rounds, sent_at: float, lost_at: float, patience_s: float
) -> Settlement:
    watch = _Watch(is_position=target.position_id is not None)
    is_closing = False
    while rounds.another():
        seen = await rounds.ask(reads, ACTIVE)
        if seen is None:
            continue
        shown = await rounds.ask(reads, CURRENT_TRADE)
        if shown is None:
            continue
        # In whole seconds, the server's clock may show the latest.
        things = list(target.things(seen.value, shown.value, shown.span(shown.ended)[1]))
        states = {thing.state for thing in things}
        if target.is_named and states == {State.CLOSED}:
            return _closed(target)
        earliest, latest = seen.span(sent_at)
        # What was opened after the sending was not meant.
        held = [
            thing
            for thing in things
            if thing.state is not State.CLOSED and (target.is_named or thing.since is None or thing.since <= latest)
        ]
        watch.acted = watch.acted or any(
            thing.state is State.CLOSED and thing.until is not None and thing.until > latest for thing in things
        )
        watch.note(held, seen.value, shown.value, shown.ended)
        # Of what has no id, more may be on another page.
        is_all = target.is_named or seen.value.is_complete is not False
        is_closing = is_all and bool(held) and all(thing.state is State.CLOSING for thing in held)
        may_be_late = seen.began < lost_at + patience_s and not waits.are_off()
        if watch.acted and watch.clear_reads >= ABSENCES:
            if waits.are_off() or seen.began >= watch.clear_since + patience_s:
                return _closed(target)
        elif not may_be_late and is_all and _may_be_sent_again(target, things, earliest):
            return Settlement(Verdict.STILL_OPEN)
    if is_closing:
        return Settlement(Verdict.DONE, target.closing(SessionStatus.CLOSING), result_id=target.name)
    return Settlement(Verdict.UNKNOWN)


def _may_be_sent_again(target: _Target, things: list[_Thing], sent: datetime) -> bool:
    """Whether the close is known to have had no effect, and sent again would close nothing but what it meant."""
    held = [thing for thing in things if thing.state is not State.CLOSED]
    if not held or any(thing.state is not State.OPEN for thing in held):
        return False
    return target.is_named or all(thing.since is not None and thing.since < sent for thing in held)


def _closed(target: _Target) -> Settlement:
    return Settlement(Verdict.DONE, target.closing(SessionStatus.CLOSED), result_id=target.name)
