"""What the sandbox remembers of accounts, sessions and positions; the routes show it as the API's types."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Any

import msgspec

from ..core.model import from_milliseconds
from ..groups.trading_sessions import (
    LogEntry,
    Position,
    PositionSide,
    SessionStatus,
    Trade,
    TradingSession,
)
from ..groups.usdc_verification import Deposit
from ..groups.user import Fill, Profile
from .agenda import Appointment
from .book import Purse
from .execution import liquidation_price
from .listing import Asset

ZERO = Decimal(0)
MICRO = Decimal("0.000001")
"""The smallest amount of USDC."""

DAY_MS = 86_400_000

_PRICE_STEP = Decimal("0.00000001")


def realize(amount: Decimal) -> Decimal:
    """An amount in whole millionths, as it is booked."""
    # Nobody wants to read of minus zero dollars.
    return amount.quantize(MICRO, ROUND_HALF_EVEN) + 0


def accept(amount: Decimal) -> Decimal:
    """An amount that somebody asked for, in whole millionths, never more than was asked."""
    exponent = amount.as_tuple().exponent
    return amount if isinstance(exponent, int) and -6 <= exponent <= 0 else amount.quantize(MICRO, ROUND_DOWN)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is asked to do: the checked body of a create."""

    kind: str
    asset: Asset
    budget: Decimal
    leverage: int
    positions: int
    profit_target: Decimal | None = None
    loss_threshold: Decimal | None = None
    max_positions: int | None = None
    execution_strategy: str | None = None
    strategy_duration: str | None = None
    max_wallet_budget: bool | None = None

    @property
    def lifetime_ms(self) -> int | None:
        """How long it runs at most."""
        return None if self.strategy_duration is None else int(self.strategy_duration[:-1]) * DAY_MS


@dataclass(slots=True, eq=False)
class Exit:
    """A close that was accepted or that a session's own limits made.

    Attributes:
        reason: who or what closes: `user`, or the reason that the session then has.
        cause: number of the ledger's entry that began it.
        sessions: those that are closed whole, with what is not opened yet of them.
        pairs: positions that are closed without the rest of their session.
    """

    reason: str
    cause: int
    sessions: list[SessionRecord]
    pairs: list[tuple[SessionRecord, PositionRecord]]


@dataclass(slots=True, eq=False)
class PositionRecord:
    """One position. Sizes are in units of the asset, money in USDC.

    Attributes:
        reserve: what of its share of the budget is still to be used by slices that open it.
        slices: how many slices are still to open it.
        size: what is held of it.
        cost: what that was bought or sold for, by the fills' prices.
        margin: what is set aside for that: its share of the budget, less the fees of its opening.
        opened: size of all fills that opened it.
        paid: what was set aside for it in all.
        proceeds: value of the fills that closed it.
        realized_pnl: by how much it changed the account's balance: profit and loss, less all fees.
        exit: what closes it, from acceptance on.
        shares: what each fill closes of what is left, the next one last; None before the first.
        was_closing: whether a call closed it before, and it failed.
    """

    id: str
    side: PositionSide
    leverage: int
    reserve: Decimal
    slices: int
    opened_ms: int
    size: Decimal = ZERO
    cost: Decimal = ZERO
    margin: Decimal = ZERO
    opened: Decimal = ZERO
    paid: Decimal = ZERO
    entry_price: Decimal = ZERO
    exit_price: Decimal | None = None
    proceeds: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    closed_ms: int | None = None
    exit: Exit | None = None
    shares: list[Decimal] | None = None
    was_closing: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it is still held."""
        return self.closed_ms is None

    @property
    def sign(self) -> int:
        """1 for long, -1 for short."""
        return 1 if self.side is PositionSide.LONG else -1

    def pnl_at(self, price: Decimal) -> Decimal:
        """Profit or loss of what is held: the margin is isolated, so nothing beyond it can be lost."""
        return realize(max(self.sign * (self.size * price - self.cost), -self.margin))

    def bought(self, size: Decimal, price: Decimal) -> None:
        """Count a fill that opens it, or opens more of it."""
        self.cost += size * price
        self.size += size
        self.opened += size
        self.entry_price = price if self.size == size else self.average(self.cost, self.size)

    def sold(self, size: Decimal, price: Decimal) -> Decimal:
        """Count a fill that closes some of it; gives the profit or loss of that, before fees."""
        cost = self.cost if size == self.size else self.cost * size / self.size
        self.cost -= cost
        self.size -= size
        self.proceeds += size * price
        closed = self.opened - self.size
        self.exit_price = price if closed == size else self.average(self.proceeds, closed)
        return realize(self.sign * (size * price - cost))

    @staticmethod
    def average(worth: Decimal, size: Decimal) -> Decimal:
        """An average price, to the eighth decimal."""
        return (worth / size).quantize(_PRICE_STEP)


@dataclass(slots=True, eq=False)
class SessionRecord:
    """One session with the trade that it runs.

    Attributes:
        plan: what it was asked to do.
        cause: number of the ledger's entry that created it.
        reserve: what of the budget is set aside before there are positions.
        is_pending: whether it is accepted and its positions are not opened yet.
        exit: what closes all of it, from acceptance on.
        ending: the reason of the first close of all of it that took effect, though it may not be over.
        opening: when its positions are opened, or further.
        expiry: its end by the clock.
    """

    id: str
    number: int
    trade_id: str
    account: Account
    plan: Plan
    side: PositionSide
    cause: int
    reserve: Decimal
    created_ms: int
    expires_ms: int | None = None
    is_pending: bool = True
    positions: list[PositionRecord] = field(default_factory=list)
    exit: Exit | None = None
    ending: str | None = None
    opening: Appointment | None = None
    expiry: Appointment | None = None
    closed_ms: int | None = None
    close_reason: str | None = None
    logs: deque[LogEntry] = field(default_factory=deque)
    logged: int = 0

    @property
    def asset(self) -> Asset:
        """What it trades."""
        return self.plan.asset

    @property
    def is_open(self) -> bool:
        """Whether it is not closed."""
        return self.closed_ms is None

    @property
    def status(self) -> SessionStatus:
        """Its state; it closes as soon as all of it does."""
        if not self.is_open:
            return SessionStatus.CLOSED
        if self.is_closing:
            return SessionStatus.CLOSING
        return SessionStatus.PENDING if self.is_pending else SessionStatus.ACTIVE

    @property
    def is_closing(self) -> bool:
        """Whether nothing of it is left that could still be asked to close."""
        if self.exit is not None:
            return True
        return not self.is_pending and all(position.exit is not None for position in self.open_positions)

    @property
    def open_positions(self) -> list[PositionRecord]:
        """The positions still held."""
        return [position for position in self.positions if position.is_open]

    @property
    def realized_pnl(self) -> Decimal:
        """By how much it changed the account's balance so far: profit and loss taken, less all fees."""
        return sum((position.realized_pnl for position in self.positions), ZERO)

    def unrealized_pnl(self, price: Decimal) -> Decimal:
        """Profit or loss of what is open."""
        return sum((position.pnl_at(price) for position in self.open_positions), ZERO)

    def log(self, at_ms: int, message: str, data: Mapping[str, Any], level: str = "info") -> None:
        """Write a line into the session's log."""
        self.logged += 1
        self.logs.append(
            LogEntry(
                id=f"{self.id}-{self.logged}",
                session_id=self.id,
                trade_id=self.trade_id,
                timestamp=from_milliseconds(at_ms),
                level=level,
                message=message,
                data=dict(data),
            )
        )


@dataclass(slots=True, eq=False)
class Account:
    """One user. Amounts are in USDC.

    Attributes:
        purse: what can be used.
        margin: what is set aside for sessions: for their positions, and for those that are still to be opened.
        rewards: what can be claimed.
        used: the budgets of all its sessions.
    """

    id: str
    address: str
    purse: Purse
    margin: Purse
    rewards: Purse
    created_ms: int
    fills: deque[Fill]
    referrer: Account | None = None
    referral_code: str | None = None
    code_created_ms: int | None = None
    referred: int = 0
    referred_active: int = 0
    referred_volume: Decimal = ZERO
    referral_rewards: Decimal = ZERO
    referral_rewards_claimed: Decimal = ZERO
    sessions: dict[str, SessionRecord] = field(default_factory=dict)
    active: dict[int, SessionRecord] = field(default_factory=dict)
    filled: int = 0
    fills_synced: int = 0
    deposits: dict[str, Deposit] = field(default_factory=dict)
    deposited: Decimal = ZERO
    deposits_made: int = 0
    volume: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    used: Decimal = ZERO
    trades: int = 0
    wins: int = 0
    transfers: int = 0

    @property
    def available(self) -> Decimal:
        """What can be used."""
        return self.purse.amount

    @property
    def claimable(self) -> Decimal:
        """Rewards that can be claimed now."""
        return self.rewards.amount


def show_position(session: SessionRecord, position: PositionRecord, price: Decimal) -> Position:
    """A position as the API has it, valued at a price."""
    is_open = position.is_open
    status = SessionStatus.ACTIVE if position.exit is None else SessionStatus.CLOSING
    return Position(
        id=position.id,
        trade_id=session.trade_id,
        session_id=session.id,
        asset_index=session.asset.index,
        symbol=session.asset.symbol,
        side=position.side,
        size=position.size if is_open else position.opened,
        entry_price=position.entry_price,
        mark_price=price if is_open else None,
        exit_price=position.exit_price,
        liquidation_price=_liquidation(session, position) if is_open else None,
        leverage=Decimal(position.leverage),
        margin=position.margin if is_open else position.paid,
        unrealized_pnl=position.pnl_at(price) if is_open else ZERO,
        realized_pnl=position.realized_pnl,
        status=status if is_open else SessionStatus.CLOSED,
        opened_at=from_milliseconds(position.opened_ms),
        closed_at=None if position.closed_ms is None else from_milliseconds(position.closed_ms),
    )


def _liquidation(session: SessionRecord, position: PositionRecord) -> Decimal | None:
    if not position.size:
        return None
    price = liquidation_price(session.asset, position.sign, position.size, position.cost, position.margin)
    return max(ZERO, price.quantize(session.asset.tick))


def show_trade(session: SessionRecord, price: Decimal) -> Trade:
    """A session's trade as the API has it, valued at a price."""
    return Trade(
        id=session.trade_id,
        session_id=session.id,
        status=session.status,
        positions=[show_position(session, position, price) for position in session.positions],
        unrealized_pnl=session.unrealized_pnl(price),
        realized_pnl=session.realized_pnl,
        opened_at=from_milliseconds(session.created_ms),
        closed_at=None if session.closed_ms is None else from_milliseconds(session.closed_ms),
    )


def show_session(session: SessionRecord, price: Decimal) -> TradingSession:
    """A session as the API has it, valued at a price."""
    plan = session.plan
    is_quick = plan.kind == "quick"
    return TradingSession(
        id=session.id,
        trade_id=session.trade_id,
        status=session.status,
        kind=plan.kind,
        asset_index=plan.asset.index,
        symbol=plan.asset.symbol,
        budget=plan.budget if is_quick else None,
        profit_target=plan.profit_target,
        loss_threshold=plan.loss_threshold,
        max_positions=plan.max_positions,
        amount=None if is_quick else plan.budget,
        execution_strategy=plan.execution_strategy,
        strategy_duration=plan.strategy_duration,
        max_wallet_budget=plan.max_wallet_budget,
        unrealized_pnl=session.unrealized_pnl(price),
        realized_pnl=session.realized_pnl,
        close_reason=session.close_reason,
        created_at=from_milliseconds(session.created_ms),
        expires_at=None if session.expires_ms is None else from_milliseconds(session.expires_ms),
        closed_at=None if session.closed_ms is None else from_milliseconds(session.closed_ms),
    )


def show_profile(account: Account, equity: Decimal) -> Profile:
    """An account as the API has it."""
    return Profile(
        id=account.id,
        address=account.address,
        balance=equity,
        available_balance=account.available,
        referral_code=account.referral_code,
        created_at=from_milliseconds(account.created_ms),
    )
