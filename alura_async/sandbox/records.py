"""What the sandbox remembers of accounts, sessions and positions; the routes show it as the API's types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Any

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
from . import chance
from .listing import Asset

ZERO = Decimal(0)
MICRO = Decimal("0.000001")
"""The smallest amount of USDC."""

_SIZE_STEP = Decimal("0.00000001")


def realize(amount: Decimal) -> Decimal:
    """An amount in whole millionths, as it is booked."""
    # Nobody wants to read of minus zero dollars.
    return amount.quantize(MICRO, ROUND_HALF_EVEN) + 0


def accept(amount: Decimal) -> Decimal:
    """An amount that somebody asked for, in whole millionths, never more than was asked."""
    exponent = amount.as_tuple().exponent
    return amount if isinstance(exponent, int) and -6 <= exponent <= 0 else amount.quantize(MICRO, ROUND_DOWN)


@dataclass(slots=True, eq=False)
class PositionRecord:
    """One position. It is open as long as it has no exit price; size is in units of the asset, money in USDC."""

    id: str
    side: PositionSide
    size: Decimal
    entry_price: Decimal
    leverage: int
    margin: Decimal
    opened_ms: int
    exit_price: Decimal | None = None
    realized_pnl: Decimal = ZERO
    closed_ms: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is still held."""
        return self.closed_ms is None

    @property
    def sign(self) -> int:
        """1 for long, -1 for short."""
        return 1 if self.side is PositionSide.LONG else -1

    def pnl_at(self, price: Decimal) -> Decimal:
        """Profit or loss at a price: the margin is isolated, so nothing beyond it can be lost."""
        return realize(max(self.sign * self.size * (price - self.entry_price), -self.margin))


@dataclass(slots=True, eq=False)
class SessionRecord:
    """One session with the trade that it runs."""

    id: str
    number: int
    trade_id: str
    account: Account
    kind: str
    asset: Asset
    budget: Decimal
    leverage: int
    created_ms: int
    settled_ms: int
    profit_target: Decimal | None = None
    loss_threshold: Decimal | None = None
    max_positions: int | None = None
    execution_strategy: str | None = None
    strategy_duration: str | None = None
    max_wallet_budget: bool | None = None
    expires_ms: int | None = None
    positions: list[PositionRecord] = field(default_factory=list)
    closed_ms: int | None = None
    close_reason: str | None = None
    logs: list[LogEntry] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether it is active."""
        return self.closed_ms is None

    @property
    def open_positions(self) -> list[PositionRecord]:
        """The positions still held."""
        return [position for position in self.positions if position.is_open]

    @property
    def realized_pnl(self) -> Decimal:
        """Profit or loss already taken."""
        return sum((position.realized_pnl for position in self.positions), ZERO)

    def unrealized_pnl(self, price: Decimal) -> Decimal:
        """Profit or loss of what is open."""
        return sum((position.pnl_at(price) for position in self.open_positions), ZERO)

    def log(self, at_ms: int, message: str, data: Mapping[str, Any], level: str = "info") -> None:
        """Write a line into the session's log."""
        self.logs.append(
            LogEntry(
                id=f"{self.id}-{len(self.logs) + 1}",
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
    """One user. `available` is what is not set aside as margin; amounts are in USDC."""

    id: str
    address: str
    available: Decimal
    created_ms: int
    referrer: Account | None = None
    referral_code: str | None = None
    code_created_ms: int | None = None
    referred: list[Account] = field(default_factory=list)
    welcome_reward: Decimal = ZERO
    referral_rewards: Decimal = ZERO
    referral_rewards_claimed: Decimal = ZERO
    sessions: dict[str, SessionRecord] = field(default_factory=dict)
    active: dict[int, SessionRecord] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    fills_synced: int = 0
    deposits: dict[str, Deposit] = field(default_factory=dict)
    volume: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    used: Decimal = ZERO
    trades: int = 0
    wins: int = 0
    transfers: int = 0

    @property
    def claimable(self) -> Decimal:
        """Rewards that can be claimed now."""
        return self.welcome_reward + self.referral_rewards - self.referral_rewards_claimed


def position_size(margin: Decimal, leverage: int, price: Decimal) -> Decimal:
    """How much of an asset a margin holds."""
    return (margin * leverage / price).quantize(_SIZE_STEP, ROUND_DOWN)


def show_position(session: SessionRecord, position: PositionRecord, price: Decimal) -> Position:
    """A position as the API has it, valued at a price."""
    is_open = position.is_open
    return Position(
        id=position.id,
        trade_id=session.trade_id,
        session_id=session.id,
        asset_index=session.asset.index,
        symbol=session.asset.symbol,
        side=position.side,
        size=position.size,
        entry_price=position.entry_price,
        mark_price=price if is_open else None,
        exit_price=position.exit_price,
        leverage=Decimal(position.leverage),
        margin=position.margin,
        unrealized_pnl=position.pnl_at(price) if is_open else ZERO,
        realized_pnl=position.realized_pnl,
        status=SessionStatus.ACTIVE if is_open else SessionStatus.CLOSED,
        opened_at=from_milliseconds(position.opened_ms),
        closed_at=None if position.closed_ms is None else from_milliseconds(position.closed_ms),
    )


def show_trade(session: SessionRecord, price: Decimal) -> Trade:
    """A session's trade as the API has it, valued at a price."""
    return Trade(
        id=session.trade_id,
        session_id=session.id,
        status=SessionStatus.ACTIVE if session.is_open else SessionStatus.CLOSED,
        positions=[show_position(session, position, price) for position in session.positions],
        unrealized_pnl=session.unrealized_pnl(price),
        realized_pnl=session.realized_pnl,
        opened_at=from_milliseconds(session.created_ms),
        closed_at=None if session.closed_ms is None else from_milliseconds(session.closed_ms),
    )


def show_session(session: SessionRecord, price: Decimal) -> TradingSession:
    """A session as the API has it, valued at a price."""
    is_quick = session.kind == "quick"
    return TradingSession(
        id=session.id,
        trade_id=session.trade_id,
        status=SessionStatus.ACTIVE if session.is_open else SessionStatus.CLOSED,
        kind=session.kind,
        asset_index=session.asset.index,
        symbol=session.asset.symbol,
        budget=session.budget if is_quick else None,
        profit_target=session.profit_target,
        loss_threshold=session.loss_threshold,
        max_positions=session.max_positions,
        amount=None if is_quick else session.budget,
        execution_strategy=session.execution_strategy,
        strategy_duration=session.strategy_duration,
        max_wallet_budget=session.max_wallet_budget,
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


def new_position(seed: int, session: SessionRecord, number: int, margin: Decimal, price: Decimal) -> PositionRecord:
    """A position of a session at its opening. All of a session's positions are held the same way."""
    side = PositionSide.LONG if chance.fraction("side", seed, session.number) < 0.5 else PositionSide.SHORT
    return PositionRecord(
        id=chance.identifier("pos", seed, session.number, number),
        side=side,
        size=position_size(margin, session.leverage, price),
        entry_price=price,
        leverage=session.leverage,
        margin=margin,
        opened_ms=session.created_ms,
    )
