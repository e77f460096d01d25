"""Automated trading sessions: opening, following and closing them."""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from ..core import arguments
from ..core.model import CheckedModel, Items, Model, OpenEnum, Synonyms, Time
from ..core.request import Access, Action, Lane, Parts
from ..core.surface import Async, Group, Mode, endpoint, operation, stream
from ..errors import NotFoundError, Outcome, WaitTimeoutError
from ..secret import Secret
from .observed import Observed, poll
from .pages import Page, pages

if TYPE_CHECKING:
    from ..core.arguments import Amount
    from ..core.request import Extra, Params

# The server may act after it answers, so a session that is missing from one read proves nothing.
_ABSENCES = 3


class ExecutionStrategy(enum.StrEnum):
    """How boldly an advance trade is executed [doc]."""

    CONSERVATIVE = "Conservative"
    AGGRESSIVE = "Aggressive"
    DEGEN = "Degen"


class StrategyDuration(enum.StrEnum):
    """How long an advance trade runs [doc]; the texts read as days [conv]."""

    D1 = "1D"
    D3 = "3D"
    D7 = "7D"
    D30 = "30D"
    D90 = "90D"
    D365 = "365D"


class SessionStatus(OpenEnum):
    """What state a session, a trade or a position is in. All values are assumed [guess]; others come as they are."""

    PENDING = "pending"
    ACTIVE = "active"
    CLOSING = "closing"
    CLOSED = "closed"


OPEN_STATUSES = frozenset({SessionStatus.ACTIVE, SessionStatus.PENDING, "open", "running"})
"""What says that something is held [guess], in lower case."""


def reads_as_closed(status: SessionStatus | None, closed_at: datetime | None, now: datetime | None = None) -> bool:
    """Whether a status and a time of closing say that something is closed.

    The status has the last word, for a clock may be wrong. A time to come is one at which it will be closed.

    Args:
        status: what the server calls its state.
        closed_at: when it was closed, or will be.
        now: the server's time; this machine's, where that is not known.
    """
    if status == SessionStatus.CLOSED:
        return True
    if (
        closed_at is None
        or status == SessionStatus.CLOSING
        or (status is not None and status.casefold() in OPEN_STATUSES)
    ):
        return False
    return closed_at <= (now or datetime.now(UTC))


class PositionSide(OpenEnum):
    """Which way a position is held. The values are assumed [guess]; others come as they are."""

    LONG = "long"
    SHORT = "short"

    @classmethod
    def _synonyms(cls) -> Mapping[str, OpenEnum]:
        return {"buy": cls.LONG, "bid": cls.LONG, "sell": cls.SHORT, "ask": cls.SHORT}


class Position(CheckedModel, frozen=True, kw_only=True):
    """One open or closed position. That a trade has positions is documented; every field is assumed [guess].

    Attributes:
        id: the position's id, for `close_position`.
        trade_id: the trade it belongs to.
        session_id: the session it belongs to.
        asset_index: the asset's index.
        symbol: the asset's symbol.
        side: long or short.
        size: how much is held, in units of the asset; never negative.
        entry_price: average price of entry, in USDC.
        mark_price: price by which it is valued now, in USDC.
        exit_price: average price of exit, in USDC, once closed, or closed in part.
        liquidation_price: price at which the exchange closes it, because its margin is used up, in USDC.
        leverage: notional value over margin.
        margin: what is set aside for it, in USDC.
        unrealized_pnl: profit or loss if it were closed now, in USDC.
        realized_pnl: profit or loss already taken, in USDC.
        status: open or closed.
        opened_at: when it was opened.
        closed_at: when it was closed.
    """

    _also: ClassVar[Synonyms] = {
        "size": ("szi",),
        "opened_at": ("createdAt", "createdTime"),
    }

    id: str
    trade_id: str | None = None
    session_id: str | None = None
    asset_index: int | None = None
    symbol: str | None = None
    side: PositionSide | None = None
    size: Decimal | None = None
    entry_price: Decimal | None = None
    mark_price: Decimal | None = None
    exit_price: Decimal | None = None
    liquidation_price: Decimal | None = None
    leverage: Decimal | None = None
    margin: Decimal | None = None
    unrealized_pnl: Decimal | None = None
    realized_pnl: Decimal | None = None
    status: SessionStatus | None = None
    opened_at: Time | None = None
    closed_at: Time | None = None

    def __post_init__(self) -> None:
        # Exact decoding leaves a negative one to `_adapt`.
        if self.size is not None and self.size < 0:
            raise ValueError("size is negative: give side")
        CheckedModel.__post_init__(self)

    @property
    def is_long(self) -> bool | None:
        """Whether it gains when the price rises; None where the server does not say."""
        return None if self.side is None or not self.side.is_known else self.side is PositionSide.LONG

    @property
    def is_short(self) -> bool | None:
        """Whether it gains when the price falls; None where the server does not say."""
        return None if self.is_long is None else not self.is_long

    @classmethod
    def _adapt(cls, fields: dict[str, Any], names: Mapping[str, str]) -> None:
        """Tell the side by the sign of a size: Hyperliquid's `szi` is negative for a short [conv]."""
        size = fields.get("size")
        if size is not None and size.is_signed():
            # By sign only: calculating would round to the context's precision.
            fields["size"] = size.copy_abs()
            if size:
                fields.setdefault("side", PositionSide.SHORT)
        elif size and names["size"] == "szi":
            fields.setdefault("side", PositionSide.LONG)


class Trade(CheckedModel, frozen=True, kw_only=True):
    """A trade with its positions. That it has positions is documented; every field is assumed [guess].

    Attributes:
        id: the trade's id, for `close_trade` and `trade_logs`.
        session_id: the session that opened it.
        status: open or closed.
        positions: its positions; None where the server does not say, which is not the same as none at all.
        unrealized_pnl: profit or loss if it were closed now, in USDC.
        realized_pnl: profit or loss already taken, in USDC.
        opened_at: when it was opened.
        closed_at: when it was closed.
    """

    _also: ClassVar[Synonyms] = {"opened_at": ("createdAt", "createdTime")}

    id: str
    session_id: str | None = None
    status: SessionStatus | None = None
    positions: list[Position] | None = None
    unrealized_pnl: Decimal | None = None
    realized_pnl: Decimal | None = None
    opened_at: Time | None = None
    closed_at: Time | None = None


class TradingSession(CheckedModel, frozen=True, kw_only=True):
    """An automated trading session.

    The names of the inputs are those of the documented request bodies; that the server returns them is assumed, as is
    every other field [guess].

    Attributes:
        id: the session's id.
        trade_id: the trade it runs.
        status: what state it is in.
        kind: `quick` or `advance`.
        asset_index: the asset's index.
        symbol: the asset's symbol.
        budget: what a quick trade may use, in USDC.
        profit_target: gain at which it closes, in percent of the budget.
        loss_threshold: loss at which it closes, in percent of the budget.
        max_positions: how many positions it may hold at once.
        amount: what an advance trade may use, in USDC.
        execution_strategy: an advance trade's strategy.
        strategy_duration: how long an advance trade runs.
        max_wallet_budget: whether an advance trade may use the whole wallet.
        unrealized_pnl: profit or loss of what is open, in USDC.
        realized_pnl: profit or loss already taken, in USDC.
        close_reason: why it was closed.
        created_at: when it was created.
        expires_at: when it ends by itself.
        closed_at: when it was closed.
    """

    id: str
    trade_id: str | None = None
    status: SessionStatus | None = None
    kind: str | None = None
    asset_index: int | None = None
    symbol: str | None = None
    budget: Decimal | None = None
    profit_target: Decimal | None = None
    loss_threshold: Decimal | None = None
    max_positions: int | None = None
    amount: Decimal | None = None
    execution_strategy: str | None = None
    strategy_duration: str | None = None
    max_wallet_budget: bool | None = None
    unrealized_pnl: Decimal | None = None
    realized_pnl: Decimal | None = None
    close_reason: str | None = None
    created_at: Time | None = None
    expires_at: Time | None = None
    closed_at: Time | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the session reads as closed.

        Its status says so; or its time of closing is past, by this machine's clock, and its status does not say that it
        is open or closing.
        """
        return reads_as_closed(self.status, self.closed_at)

    @property
    def pnl(self) -> Decimal | None:
        """Profit or loss, open and taken, in USDC; None where the server does not say both."""
        if self.unrealized_pnl is None or self.realized_pnl is None:
            return None
        return self.unrealized_pnl + self.realized_pnl

    @property
    def pnl_percent(self) -> Decimal | None:
        """Profit or loss in percent of the budget, or of an advance trade's amount; None where one is not known."""
        used = self.budget if self.budget is not None else self.amount
        return self.pnl / used * 100 if self.pnl is not None and used else None


class LogEntry(CheckedModel, frozen=True, kw_only=True):
    """One line of a session's or a trade's log. Every field is assumed [guess].

    Attributes:
        id: the entry's id.
        session_id: the session it belongs to.
        trade_id: the trade it belongs to.
        timestamp: when it was written.
        level: how grave it is.
        message: what happened.
        data: further facts, as the server sent them.
    """

    _also: ClassVar[Synonyms] = {
        "timestamp": ("createdAt", "createdTime", "loggedAt"),
        "message": ("content", "log", "event"),
        "data": ("details", "context", "metadata", "payload"),
    }
    _titles = ("log",)
    _bare = ("message",)

    id: str | None = None
    session_id: str | None = None
    trade_id: str | None = None
    timestamp: Time | None = None
    level: str | None = None
    message: str | None = None
    data: dict[str, Any] | None = None


class Closing(CheckedModel, frozen=True, kw_only=True):
    """The server's answer to a close: it accepted; whether it has acted yet, the reads say. Every field is
    assumed [guess].

    Attributes:
        status: what state the thing is in now.
        position_id: the position that is closed.
        trade_id: the trade that is closed.
        asset_index: the asset whose position is closed.
        closed_positions: how many positions are closed.
        realized_pnl: profit or loss taken, in USDC.
        message: what the server says about it.
    """

    _also: ClassVar[Synonyms] = {"closed_positions": ("closedCount", "positionsClosed", "count")}
    _bare = ("message",)

    status: SessionStatus | None = None
    position_id: str | None = None
    trade_id: str | None = None
    asset_index: int | None = None
    closed_positions: int | None = None
    realized_pnl: Decimal | None = None
    message: str | None = None


class CloseSignature(CheckedModel, frozen=True, kw_only=True):
    """A signed close transaction for a front end. Whoever holds it can close the position. Every field is
    assumed [guess].

    Attributes:
        position_id: the position that it closes.
        transaction: the transaction.
        signature: its signature.
        expires_at: until when it can be used.
    """

    _also: ClassVar[Synonyms] = {
        "transaction": ("tx", "signedTransaction", "rawTransaction", "action"),
        "signature": ("sig",),
    }

    position_id: str | None = None
    transaction: Secret | None = None
    signature: Secret | None = None
    expires_at: Time | None = None


class CronRun(Model, frozen=True, kw_only=True):
    """What a run of the server's cron did. Every field is assumed [guess].

    Attributes:
        ok: whether it ran.
        message: what the server says about it.
    """

    _also: ClassVar[Synonyms] = {"ok": ("success", "triggered")}
    _bare = ("message", "ok")

    ok: bool | None = None
    message: str | None = None


class TradingSessions(Group[Mode]):
    """Automated trading sessions."""

    @endpoint("POST", "/trading-sessions", access=Access.BEARER, lane=Lane.TRADING, action=Action.OPEN)
    def create(
        self,
        *,
        budget: Amount,
        profit_target: Amount,
        asset: str | int,
        loss_threshold: Amount | None = None,
        max_positions: int | None = None,
        extra: Extra | None = None,
    ) -> Parts[TradingSession]:
        """Create a quick trade: a session that opens positions and closes them by itself.

        The request is documented, its units and the response are not. The server chooses which positions to open, and
        which way; it may act after it answers.

        Args:
            budget: what the session may use; at least 10 [doc]; USDC [guess].
            profit_target: gain at which it closes; at most 500 [doc]; percent [guess].
            asset: a symbol in any case, such as `"BTC"`, or the asset's index.
            loss_threshold: loss at which it closes; percent [guess].
            max_positions: how many positions it may hold at once.
            extra: body fields of your own; they have the last word.

        Raises:
            InvalidArgumentError: a value outside the documented rules; nothing was sent.
            DuplicateAssetError: an active session for this asset exists already.
            OutcomeUnknownError: nobody can say whether the session was created; read `active()` before trying again.
        """
        return Parts(
            body={
                "budget": arguments.at_least("budget", arguments.amount("budget", budget), 10),
                "profitTarget": arguments.at_most(
                    "profit_target", arguments.amount("profit_target", profit_target), 500
                ),
                "lossThreshold": (
                    None if loss_threshold is None else arguments.amount("loss_threshold", loss_threshold)
                ),
                "maxPositions": None if max_positions is None else arguments.whole("max_positions", max_positions),
                "assetIndex": self._client.assets.index(asset),
            },
            extra=extra,
        )

    @endpoint("POST", "/trading-sessions/advance", access=Access.BEARER, lane=Lane.TRADING, action=Action.OPEN)
    def create_advance(
        self,
        *,
        amount: Amount | None = None,
        execution_strategy: ExecutionStrategy | str | None = None,
        strategy_duration: StrategyDuration | str | None = None,
        asset: str | int | None = None,
        max_wallet_budget: bool | None = None,
        extra: Extra | None = None,
    ) -> Parts[TradingSession]:
        """Create an advance trade: a session that follows a strategy for a number of days.

        The fields are documented, which of them are required is not; so none is required here. The response is not
        documented.

        Args:
            amount: what the session may use; USDC [guess].
            execution_strategy: `Conservative`, `Aggressive` or `Degen` [doc].
            strategy_duration: `1D`, `3D`, `7D`, `30D`, `90D` or `365D` [doc].
            asset: a symbol in any case, such as `"BTC"`, or the asset's index.
            max_wallet_budget: whether it may use the whole wallet [guess].
            extra: body fields of your own; they have the last word.

        Raises:
            InvalidArgumentError: a value outside the documented rules; nothing was sent.
            DuplicateAssetError: an active session for this asset exists already.
            OutcomeUnknownError: nobody can say whether the session was created; read `active()` before trying again.
        """
        return Parts(
            body={
                "amount": None if amount is None else arguments.amount("amount", amount),
                "executionStrategy": (
                    None
                    if execution_strategy is None
                    else arguments.choice("execution_strategy", execution_strategy, ExecutionStrategy)
                ),
                "strategyDuration": (
                    None
                    if strategy_duration is None
                    else arguments.choice("strategy_duration", strategy_duration, StrategyDuration)
                ),
                "assetIndex": None if asset is None else self._client.assets.index(asset),
                "maxWalletBudget": (
                    None if max_wallet_budget is None else arguments.flag("max_wallet_budget", max_wallet_budget)
                ),
            },
            extra=extra,
        )

    @endpoint("GET", "/trading-sessions/active", access=Access.BEARER)
    def active(self, *, params: Params | None = None) -> Parts[Items[TradingSession]]:
        """Read the active sessions. A session created or closed a moment ago may not show yet.

        The path is documented, the response is not. Where the server says that it sent only a part of them,
        `is_complete` of the list is False, and its `extra` tells how many there are or what comes next.

        Args:
            params: query parameters of your own.
        """
        return Parts(params=params)

    @endpoint("GET", "/trading-sessions/current-trade", access=Access.BEARER)
    def current_trade(self, *, params: Params | None = None) -> Parts[Trade | None]:
        """Read the current trade with its positions, or None where there is none.

        The path is documented, the response is not.

        Args:
            params: query parameters of your own.
        """
        return Parts(params=params)

    @endpoint("GET", "/trading-sessions/:sessionId/logs", access=Access.BEARER)
    def logs(self, session_id: str, *, params: Params | None = None) -> Parts[Items[LogEntry]]:
        """Read a session's logs.

        The path is documented, the response is not.

        Args:
            session_id: the session's id.
            params: query parameters of your own.
        """
        return Parts(session_id, params=params)

    @endpoint("GET", "/trading-sessions/trades/:tradeId/logs", access=Access.BEARER)
    def trade_logs(
        self,
        trade_id: str,
        *,
        page: int | None = None,
        limit: int | None = None,
        params: Params | None = None,
    ) -> Parts[Page[LogEntry]]:
        """Read one page of a trade's logs. `iter_trade_logs` reads them all.

        The path is documented, and that it is paginated; the query and the response are not.

        Args:
            trade_id: the trade's id.
            page: the page's number [conv], from 1.
            limit: how many entries a page holds at most [conv].
            params: query parameters of your own; they have the last word.
        """
        return Parts(trade_id, query={"page": page, "limit": limit}, params=params)

    @stream
    async def iter_trade_logs(
        self: TradingSessions[Async], trade_id: str, *, limit: int | None = 100, params: Params | None = None
    ) -> AsyncIterator[Sequence[LogEntry]]:
        """Iterate over all of a trade's logs, page by page, each entry once.

        Stops by itself: at the total that the server names, where it says that no page follows, or where pages bring
        nothing new.

        Args:
            trade_id: the trade's id.
            limit: how many entries to ask for in one page [conv].
            params: query parameters of your own; they have the last word.

        Raises:
            ShapeError: fewer entries came than the server says there are. Those that came were yielded.
        """

        async def read(number: int, following: Mapping[str, str] | None) -> Page[LogEntry]:
            if following is not None:
                return await self.trade_logs(trade_id, limit=limit, params={**(params or {}), **following})
            return await self.trade_logs(trade_id, page=number, limit=limit, params=params)

        path = TradingSessions.trade_logs.request(trade_id).path
        async with aclosing(pages(read, lambda entry: entry.id, path)) as batches:
            async for batch in batches:
                yield batch

    @endpoint(
        "POST",
        "/trading-sessions/positions/:positionId/close",
        access=Access.BEARER,
        lane=Lane.EXIT,
        action=Action.CLOSE,
    )
    def close_position(self, position_id: str, *, extra: Extra | None = None) -> Parts[Closing]:
        """Close one position.

        The path is documented, bodies are not. The answer is an acceptance; `current_trade()` shows the effect.

        Args:
            position_id: the position's id.
            extra: body fields of your own.

        Raises:
            OutcomeUnknownError: nobody can say whether it was closed; read `current_trade()`.
        """
        return Parts(position_id, extra=extra)

    @endpoint(
        "POST", "/trading-sessions/positions/:positionId/close-signature", access=Access.BEARER, lane=Lane.TRADING
    )
    def close_signature(self, position_id: str, *, extra: Extra | None = None) -> Parts[CloseSignature]:
        """Ask for a signed transaction that closes a position, for a front end to submit.

        The path is documented, bodies are not.

        Args:
            position_id: the position's id.
            extra: body fields of your own.
        """
        return Parts(position_id, extra=extra)

    @endpoint(
        "POST", "/trading-sessions/trades/:tradeId/close", access=Access.BEARER, lane=Lane.EXIT, action=Action.CLOSE
    )
    def close_trade(self, trade_id: str, *, extra: Extra | None = None) -> Parts[Closing]:
        """Close a trade: all its positions.

        The path is documented, bodies are not. The answer is an acceptance; `current_trade()` shows the effect.

        Args:
            trade_id: the trade's id.
            extra: body fields of your own.

        Raises:
            OutcomeUnknownError: nobody can say whether it was closed; read `current_trade()`.
        """
        return Parts(trade_id, extra=extra)

    @endpoint("POST", "/trading-sessions/trigger-cron", access=Access.BEARER, lane=Lane.TRADING)
    def trigger_cron(self, *, extra: Extra | None = None) -> Parts[CronRun]:
        """Run the server's cron by hand; meant for testing [doc].

        The path is documented, bodies are not.

        Args:
            extra: body fields of your own.
        """
        return Parts(extra=extra)

    @stream
    async def watch(
        self: TradingSessions[Async], session_id: str, *, interval: float | None = None, patience: float = 5.0
    ) -> AsyncIterator[Sequence[Observed[TradingSession]]]:
        """Follow a session: yields it when first read and whenever it has changed, and ends when it is closed.

        The API has no call that reads one session, so this reads `active()`. A session counts as closed when it reads
        as closed, or when it is missing from three reads in a row and for `patience` seconds; it is then yielded once
        more as it was last read, with that read's age and with the status set to `closed` [inferred]. For a session
        that was never listed, `logs()` tells a closed one from one that does not exist. A list that
        is incomplete, as the server says, proves nothing: the session may be on another page.

        The last item is the closed session, so look at `update.value.is_closed` before you act on its figures.

        Args:
            session_id: the session's id.
            interval: seconds between two reads, by default the client's `poll_interval`.
            patience: seconds that a session must be missing at least: the server may list what it accepted late.

        Raises:
            NotFoundError: there is no such session.
        """
        last: TradingSession | None = None
        listed: Observed[Items[TradingSession]] | None = None
        absences = 0
        missing_since = time.monotonic()
        interval = self._client.poll_interval if interval is None else interval
        async with aclosing(poll(self.active, interval)) as reads:
            async for seen in reads:
                found = next((session for session in seen.value if session.id == session_id), None)
                if found is None:
                    if seen.value.is_complete is False:
                        absences = 0
                        continue
                    absences += 1
                    if absences == 1:
                        missing_since = time.monotonic()
                    if absences < _ABSENCES or time.monotonic() < missing_since + patience:
                        continue
                    if last is None:
                        await self._require_known(session_id)
                        found = TradingSession(id=session_id, status=SessionStatus.CLOSED)
                    else:
                        found = msgspec.structs.replace(last, status=SessionStatus.CLOSED)
                else:
                    absences, listed = 0, seen
                if found != last:
                    yield [(listed or seen).replace(found)]
                    last = found
                if found.is_closed:
                    return

    @operation
    async def wait_until_closed(
        self: TradingSessions[Async],
        session_id: str,
        *,
        timeout: float | None = None,
        interval: float | None = None,
        patience: float = 5.0,
    ) -> TradingSession:
        """Wait until a session is closed and return it as it was last read; see `watch` for what counts as closed.

        A session that was closed before the first read is not listed any more: of it nothing is known but its id. The
        result of a session is in `logs()` and `user.sync_fills()`, and in what `close_trade()` returned.

        Args:
            session_id: the session's id.
            timeout: seconds to wait at most; by default as long as it takes, for sessions last hours to months.
            interval: seconds between two reads, by default the client's `poll_interval`.
            patience: seconds that a session must be missing at least to count as closed.

        Raises:
            WaitTimeoutError: the session is not closed after `timeout` seconds.
            NotFoundError: there is no such session.
        """
        updates = self.watch(session_id, interval=interval, patience=patience)
        session: TradingSession | None = None
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                async for update in updates:
                    session = update.value
        except TimeoutError as error:
            if not limit.expired():
                raise  # a read's own timeout
            raise WaitTimeoutError(f"session {session_id} is not closed after {timeout} s") from error
        finally:
            await updates.aclose()
        assert session is not None  # a watch ends by yielding the closed session
        return session

    async def _require_known(self: TradingSessions[Async], session_id: str) -> None:
        """A session that was never listed is known if it has logs; else it does not exist."""
        if not await self.logs(session_id):
            raise NotFoundError(
                f"no session {session_id} is active, and it has no logs",
                method="GET",
                path=TradingSessions.logs.request(session_id).path,
                outcome=Outcome.REJECTED,
            )
