"""Getting flat: closes everything, repeats what remains, and ends only when the reads say so."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from .core import waits
from .core.call import Call
from .core.closes import SentClose
from .core.reading import ACTIVE, CURRENT_TRADE
from .core.reconcile import ABSENCES, EFFECT_S, State, state_of
from .core.request import EXIT_PATIENCE_S
from .core.settings import Timeouts
from .core.text import shown
from .errors import (
    AluraError,
    CredentialsNeededError,
    InvalidArgumentError,
    NotFlatError,
    NotFoundError,
    Outcome,
    RateLimitedError,
    UsageError,
)
from .groups.trading_sessions import Closing, Position, Trade, TradingSession, TradingSessions
from .groups.user import User

if TYPE_CHECKING:
    from .client import AsyncAlura
    from .core.request import Request

T = TypeVar("T")

# A close may take so many seconds, and a read as long as `patience` or the other one, if the time allows.
_CLOSE_LIMIT_S = 10.0
_LEAST_READ_LIMIT_S = 1.0
_SHORTEST_INTERVAL_S = 0.02
# What reads as closing is sent another close after so many times `patience`.
_STUCK = 3
# Where nothing is listed, a close of everything that fails is not repeated for ever.
_MOST_TRIES = 3
# Without waits, it gives up after so many rounds, or as many as the time would allow with them.
_LEAST_ROUNDS = 20
# So many of the first failures, and of the last ones, are told.
_KEPT = 50

_ALL = "everything"
_CLOSE_ALL = User.close_all_positions.request()


class Flattened(msgspec.Struct, frozen=True):
    """How an account got flat; `str()` says it in words.

    Attributes:
        sessions: the sessions that were found open, each as it was last listed. Their results are in
            `trading_sessions.logs(…)` and `user.sync_fills()`.
        positions: likewise, the positions that were shown open.
        closings: the server's answers to the closes, in their order; of more than 100, the first and the last 50.
        closing_count: how many answers there were.
        failures: the calls that failed on the way, in their order; of more than 100, the first and the last 50.
        failure_count: how many calls failed.
        reads: how often the state was read in full.
        duration: how long it took.
    """

    sessions: tuple[TradingSession, ...]
    positions: tuple[Position, ...]
    closings: tuple[Closing, ...]
    closing_count: int
    failures: tuple[AluraError, ...]
    failure_count: int
    reads: int
    duration: timedelta

    def __str__(self) -> str:
        # Positions of a session that is named go without saying.
        named = {session.trade_id for session in self.sessions}
        found = [*map(_named, self.sessions), *(_named(each) for each in self.positions if each.trade_id not in named)]
        closed = f"closed {', '.join(found)}" if found else "nothing was open"
        failed = f", {self.failure_count} calls failed on the way" if self.failure_count else ""
        return f"flat after {self.duration.total_seconds():.1f} s: {closed}; {self.reads} reads{failed}"


async def flatten(alura: AsyncAlura, *, timeout: float = 60.0, patience: float = EFFECT_S) -> Flattened:
    """Close everything, repeat what remains, and return when the reads say that nothing is open.

    What is open is read first, for 2 seconds or a third of `timeout` at most, so that it can be told and that what is
    closing already is not closed again. Then everything is closed with one call, `user.close_all_positions()` [doc]; it
    also reaches positions that no read shows. What is listed as open afterwards, or beside something that is closing,
    is closed by its trade, by its positions, by its asset, or with everything again, whichever works. Nothing stops it
    but its time: where reads fail or hang it closes everything unseen, they never take more than half of the time that
    is left, and what fails is repeated, at once if it is certain that the server did not act.

    Nothing is closed twice in a hurry: what was sent a close, alone or with everything, and is still listed as open
    `patience` seconds after the answer, or after the answer was lost, is sent another one; what is listed as closing,
    three times as long after. Calls of this function on one client know of each other's closes.

    It is flat when at least three reads in a row, over at least `patience` seconds, showed no session in `active()` and
    no trade and no position in `current_trade()`. That those two list all that is open is assumed [conv]. A failed read
    counts for nothing, and so does a list of sessions that is incomplete, as the server says. What other tasks and
    programs open meanwhile is closed too; what they open later is not: stop them first.

    Args:
        alura: the client.
        timeout: seconds to take at most. Within `no_waits()` it also gives up after as many rounds of reading and
            closing as would fit into it otherwise, one every quarter of `patience`, but not before 20.
        patience: within how many seconds what the server accepted shows in what it lists [guess].

    Returns:
        What was closed.

    Raises:
        NotFlatError: not everything reads as closed when the time is up; says what is left and what failed. Some of it
            may be closed since, and closes that were accepted may still take effect: call it again.
        InvalidArgumentError: a time that cannot be used; nothing was sent.
        CredentialsNeededError: there is neither a wallet nor a token.
        ClosedError: the client was closed.
    """
    if not 0 < timeout < math.inf or not 0 <= patience < math.inf:
        raise InvalidArgumentError(
            f"timeout={timeout!r}, patience={patience!r}: give finite numbers of seconds, the first one above 0"
        )
    return await _Flattening(alura, timeout, patience).run()


class _Holding(msgspec.Struct, frozen=True):
    """Something that is open.

    Attributes:
        key: its id.
        state: what it reads as.
        ways: the calls that close it, each way one or more, the most exact way first.
    """

    key: str
    state: State
    ways: tuple[tuple[Request[Closing], ...], ...]


class _FirstAndLast(Generic[T]):
    """The first and the last of what may become very many, and how many there were."""

    def __init__(self) -> None:
        self._first: list[T] = []
        self._last: deque[T] = deque(maxlen=_KEPT)
        self.count = 0

    def add(self, each: T) -> None:
        self.count += 1
        if self.count <= _KEPT:
            self._first.append(each)
        else:
            self._last.append(each)

    @property
    def kept(self) -> tuple[T, ...]:
        return (*self._first, *self._last)


class _Flattening:
    """One call of `flatten`."""

    def __init__(self, alura: AsyncAlura, timeout: float, patience: float) -> None:
        self._alura = alura
        self._timeout = timeout
        self._patience = patience
        self._interval = max(_SHORTEST_INTERVAL_S, patience / 4)
        # Without waits, rounds follow each other at once.
        self._most_rounds = max(_LEAST_ROUNDS, 1 + math.ceil(timeout / self._interval))
        self._began = time.monotonic()
        self._fatal: AluraError | None = None
        self._failures = _FirstAndLast[AluraError]()
        self._failed_reads: list[AluraError] = []
        self._was_read = False
        self._closings = _FirstAndLast[Closing]()
        self._sessions: dict[str, TradingSession] = {}
        self._positions: dict[str, Position] = {}
        self._is_partial = False
        self._remaining: tuple[TradingSession, ...] = ()
        self._held: tuple[Position, ...] = ()
        self._rounds = 0
        self._reads = 0
        self._flat_reads = 0
        self._flat_since = self._flat_until = 0.0

    async def run(self) -> Flattened:
        """Close and read until it is flat."""
        self._forget_old()
        while self._left > 0 and self._rounds < self._most_rounds:
            holdings = await self._read()
            self._rounds += 1
            if self._is_flat:
                return Flattened(
                    sessions=tuple(self._sessions.values()),
                    positions=tuple(self._positions.values()),
                    closings=self._closings.kept,
                    closing_count=self._closings.count,
                    failures=self._failures.kept,
                    failure_count=self._failures.count,
                    reads=self._reads,
                    duration=timedelta(seconds=time.monotonic() - self._began),
                )
            await self._close_what_is_due(holdings)
            await waits.pause(max(0.0, min(self._interval, self._left)))
        raise self._not_flat()

    # Reading

    async def _read(self) -> list[_Holding] | None:
        """What is open; None where that could not be read, or only in part and nothing was in it."""
        began = time.monotonic()
        limit = self._read_limit()
        self._failed_reads = []
        active, current = await self._together(
            [
                self._ask(ACTIVE, limit),
                self._ask(CURRENT_TRADE, limit),
            ]
        )
        if active is None:
            return None
        self._is_partial = active[0].is_complete is False
        sessions: list[TradingSession] = [session for session in active[0] if state_of(session) is not State.CLOSED]
        trade: Trade | None = None if current is None else current[0]
        self._was_read = True
        self._remaining = tuple(sessions)
        if current is not None:
            self._held = tuple(_held(trade))
        self._sessions |= {session.id: session for session in sessions}
        self._positions |= {position.id: position for position in self._held}
        holdings = list(_holdings(sessions, trade))
        if holdings or self._is_partial:
            self._flat_reads = 0
        elif current is not None:
            self._flat_reads += 1
            if self._flat_reads == 1:
                self._flat_since = began
            self._flat_until = began
        self._reads += current is not None and not self._is_partial
        # What is on other pages is open too: where nothing is on this one, all of it is closed unseen.
        return None if self._is_partial and not holdings else holdings

    def _read_limit(self) -> float:
        """How many seconds the next reads may take: a close that follows has as long as they had, or longer."""
        limit = max(_LEAST_READ_LIMIT_S, self._patience)
        if self._rounds == 0:
            # Nothing was closed yet.
            limit = min(limit, EXIT_PATIENCE_S, self._timeout / 3)
        return max(_SHORTEST_INTERVAL_S, min(limit, self._left / 2))

    async def _ask(self, request: Request[T], limit: float) -> tuple[T | None] | None:
        try:
            return (await self._within(limit).send(request),)
        except NotFoundError:
            # There is none: some servers say it this way.
            return (None,) if request.route is CURRENT_TRADE.route else None
        except AluraError as error:
            self._note(error)
            self._failed_reads.append(error)
            return None

    @property
    def _is_flat(self) -> bool:
        lasted = waits.are_off() or self._flat_until >= self._flat_since + self._patience
        return self._flat_reads >= ABSENCES and lasted

    # Closing

    async def _close_what_is_due(self, holdings: list[_Holding] | None) -> None:
        calls = self._plan(holdings)
        closes = self._sent_closes
        before = {key: closes.get(key) for keys in calls.values() for key in keys}
        # Marked before anything is awaited: another call of this function may look at it in the next moment.
        marked = {key: _begun(close) for key, close in before.items()}
        closes |= marked
        try:
            await self._together(
                self._close(request, {key: marked[key] for key in keys}) for request, keys in calls.items()
            )
        finally:
            for key, close in before.items():
                # One that was cancelled before it left was not sent: what was known before holds.
                if not marked[key].is_under_way:
                    continue
                if close is None:
                    del closes[key]
                else:
                    closes[key] = close

    def _plan(self, holdings: list[_Holding] | None) -> dict[Request[Closing], list[str]]:
        """The calls to make now, each with what it is to close."""
        now = time.monotonic()
        if holdings is None:
            # Nobody knows what is open, so all of it is closed.
            state = State.CLOSING if self._has_closed_all else State.OPEN
            return {_CLOSE_ALL: [_ALL]} if self._is_due(_ALL, state, now) else {}
        due = [holding for holding in holdings if self._is_due(holding.key, holding.state, now)]
        if self._closes_all_now(holdings, now):
            return {_CLOSE_ALL: [_ALL, *(holding.key for holding in due)]}
        calls: dict[Request[Closing], list[str]] = {}
        for holding in due:
            record = self._sent_closes.get(holding.key)
            tries = 0 if record is None else record.tries
            for request in holding.ways[tries % len(holding.ways)]:
                calls.setdefault(request, []).append(holding.key)
        return calls

    def _closes_all_now(self, holdings: list[_Holding], now: float) -> bool:
        """Whether this is the time for the one call that closes everything: once, and when nothing is closing.

        Where it fails, what is listed is closed in other ways first.
        """
        if self._has_closed_all or any(holding.state is State.CLOSING for holding in holdings):
            return False
        record = self._sent_closes.get(_ALL)
        if record is not None and record.tries >= (1 if holdings else _MOST_TRIES):
            return False
        return self._is_due(_ALL, State.OPEN, now)

    @property
    def _has_closed_all(self) -> bool:
        record = self._sent_closes.get(_ALL)
        return record is not None and record.accepted >= self._began

    def _is_due(self, key: str, state: State, now: float) -> bool:
        """Whether something should be sent a close now."""
        is_closing = state is State.CLOSING
        # Closing everything meant it too, even if it shows only now: the list may be behind.
        records = [record for name in {key, _ALL} if (record := self._sent_closes.get(name)) is not None]
        if not records and is_closing:
            # Somebody else is closing it, from now on as far as we know.
            records = [self._sent_closes.setdefault(key, SentClose(now))]
        wait = self._patience * (_STUCK if is_closing else 1)
        return all(now >= record.ended + wait for record in records if is_closing or not record.was_refused)

    async def _close(self, request: Request[Closing], closes: Mapping[str, SentClose]) -> None:
        is_done = is_refused = could_act = False
        has_left = True
        view = self._within(_CLOSE_LIMIT_S)
        road = view._road
        call = Call(road, request, view._options)
        try:
            road.require_open()
            road.open()
            self._closings.add(await road.orders.make(call, view._options.timeouts.call))
            is_done = could_act = True
        except AluraError as error:
            self._note(error)
            # A success whose body tells nothing is one all the same.
            is_done = error.outcome is Outcome.DONE
            is_refused = error.outcome in (Outcome.NOT_SENT, Outcome.REJECTED)
            has_left = error.outcome is not Outcome.NOT_SENT
            could_act = has_left and not isinstance(error, RateLimitedError)
        except BaseException:
            if call.has_left:
                for record in closes.values():
                    record.ended = time.monotonic()
            raise
        for key, record in closes.items():
            record.ended, record.was_refused = time.monotonic(), is_refused
            if is_done:
                record.accepted = record.ended
            if key == _ALL:
                if not has_left:
                    # Other ways are next, but however often that happens it was not tried yet.
                    record.tries = max(record.tries, 1)
                elif not is_done:
                    # What the server refuses it will refuse again.
                    record.tries += _MOST_TRIES if is_refused and could_act else 1
            elif _ALL not in closes:
                record.tries += could_act

    def _forget_old(self) -> None:
        """Drop what nobody waits for any more: other calls of this function left it."""
        oldest = time.monotonic() - _STUCK * self._patience
        for key in [key for key, record in self._sent_closes.items() if record.ended < oldest]:
            del self._sent_closes[key]

    @property
    def _sent_closes(self) -> dict[str, SentClose]:
        """By what was closed; those of all calls of this function on this client."""
        return self._alura._road.orders.closes

    # Calls

    @property
    def _left(self) -> float:
        return self._began + self._timeout - time.monotonic()

    def _within(self, seconds: float) -> AsyncAlura:
        """A client whose calls take no longer than that, nor than there is time for."""
        limit = min(seconds, self._alura._options.timeouts.call, max(_SHORTEST_INTERVAL_S, self._left))
        # Nothing is settled call by call: what is read next tells, and what is still open is closed again.
        return self._alura.with_options(timeout=Timeouts(call=limit, settle=0))

    async def _together(self, calls: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
        """Make calls at the same time; what no repetition can help is raised when all of them are over."""
        results = await asyncio.gather(*calls, return_exceptions=True)
        for error in (self._fatal, *results):
            if isinstance(error, BaseException):
                raise error
        return results

    def _note(self, error: AluraError) -> None:
        if isinstance(error, UsageError | CredentialsNeededError):
            self._fatal = self._fatal or error
        self._failures.add(error)

    def _not_flat(self) -> NotFlatError:
        left = [*map(_named, self._remaining), *map(_named, self._held)]
        after = f"{self._timeout:g} s" if self._left <= 0 else f"{self._rounds} rounds"
        text = f"not flat after {after}: "
        if left:
            text += f"still open when last read: {', '.join(left)}"
        else:
            text += _NOT_LISTED if self._was_read else _NOT_READ
        if self._is_partial:
            text += "; active() listed only a part of the sessions, as the server says, and others may be open"
        if self._failed_reads:
            text += f"; the last read failed: {self._failed_reads[-1]}"
        if self._failures.count:
            text += f"; {self._failures.count} calls failed on the way, the last one: {self._failures.kept[-1]}"
        return NotFlatError(
            f"{text}. Closes that were accepted may still take effect: call flatten() again",
            remaining=self._remaining,
            positions=self._held,
            failures=self._failures.kept,
        )


def _begun(close: SentClose | None) -> SentClose:
    """What is known of something from now on, as another close of it begins."""
    return SentClose() if close is None else msgspec.structs.replace(close, ended=math.inf, was_refused=False)


_NOT_READ = "nobody knows what is open: it could not be read once"
_NOT_LISTED = "nothing was listed when it was last read, which was not often or not long enough to rely on it"


def _holdings(sessions: list[TradingSession], trade: Trade | None) -> Iterator[_Holding]:
    """What is open: sessions, and what of the current trade belongs to none of them."""
    held = list(_held(trade))
    for session in sessions:
        own = [position for position in held if trade is not None and _belongs(trade, position, session)]
        yield _Holding(session.id, state_of(session), _ways(session.trade_id, own, session.asset_index))
    if trade is None or any(_belongs(trade, None, session) for session in sessions):
        return
    alone = [position for position in held if not any(_belongs(trade, position, session) for session in sessions)]
    if state_of(trade) is not State.CLOSED:
        yield _Holding(trade.id, state_of(trade), _ways(trade.id, alone, None))
        return
    for position in alone:
        yield _Holding(position.id, state_of(position), _ways(None, [position], position.asset_index))


def _held(trade: Trade | None) -> Iterator[Position]:
    """A trade's positions that are not closed."""
    for position in () if trade is None else trade.positions or ():
        if state_of(position) is not State.CLOSED:
            yield position


def _belongs(trade: Trade, position: Position | None, session: TradingSession) -> bool:
    """Whether a trade, or a position that it shows, is a session's."""
    if position is not None and session.id == position.session_id:
        return True
    return trade.id == session.trade_id or session.id == trade.session_id


def _ways(
    trade_id: str | None, positions: list[Position], asset_index: int | None
) -> tuple[tuple[Request[Closing], ...], ...]:
    """The ways to close something, the most exact first."""
    open_positions = [position for position in positions if state_of(position) is not State.CLOSING]
    by_trade = () if trade_id is None else (TradingSessions.close_trade.request(trade_id),)
    by_position = tuple(TradingSessions.close_position.request(position.id) for position in open_positions)
    by_asset = () if asset_index is None else (User.close_position.request(asset=asset_index),)
    return tuple(way for way in (by_trade, by_position, by_asset, (_CLOSE_ALL,)) if way)


def _named(thing: TradingSession | Position) -> str:
    asset = thing.symbol or ("" if thing.asset_index is None else f"asset {thing.asset_index}")
    kind = "session" if isinstance(thing, TradingSession) else "position"
    status = f" ({thing.status})" if thing.status else ""
    return shown(f"{asset} {kind} {thing.id}{status}", 120)
