"""Sessions: how they open positions, what closes them, and what they leave in the account."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import msgspec

from ..core.model import from_milliseconds
from ..groups.trading_sessions import Closing, PositionSide, SessionStatus, TradingSession
from ..groups.user import Fill, FillSide
from . import chance
from .listing import Asset
from .records import (
    ZERO,
    Account,
    PositionRecord,
    SessionRecord,
    accept,
    new_position,
    realize,
    show_session,
)
from .state import Done, World

DAY_MS = 86_400_000

LEVERAGE = {"Conservative": 3, "Aggressive": 10, "Degen": 20}
"""Leverage of an advance trade by its strategy."""

QUICK_LEVERAGE = 5

_POSITIONS = {"Conservative": 1, "Aggressive": 2, "Degen": 3}
_MOST_POSITIONS = 10
# A position is not opened with less than the least budget of a session.
_LEAST_MARGIN = 10
# What a referrer earns of what those who came by the code trade.
_REFERRAL_SHARE = Decimal("0.0002")

# Ticks that no price reaches.
_NEVER_ABOVE = 1 << 62
_NEVER_BELOW = -1


class _Close(msgspec.Struct, frozen=True):
    """When, at what price and why a session closes by itself."""

    at_ms: int
    price: Decimal
    reason: str
    message: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a new session is asked to do: the checked body of a create."""

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


def quick_plan(body: Mapping[str, Any], asset: Asset) -> Plan:
    """The plan of a quick trade."""
    budget = accept(body["budget"])
    most = body.get("maxPositions")
    return Plan(
        kind="quick",
        asset=asset,
        budget=budget,
        leverage=QUICK_LEVERAGE,
        positions=_positions(budget, 1 if most is None else most),
        profit_target=body["profitTarget"],
        loss_threshold=body.get("lossThreshold"),
        max_positions=most,
    )


def advance_plan(body: Mapping[str, Any], asset: Asset, available: Decimal) -> Plan:
    """The plan of an advance trade."""
    whole_wallet = body.get("maxWalletBudget")
    budget = available if whole_wallet else accept(body["amount"])
    strategy = body["executionStrategy"]
    return Plan(
        kind="advance",
        asset=asset,
        budget=budget,
        leverage=LEVERAGE[strategy],
        positions=_positions(budget, _POSITIONS[strategy]),
        execution_strategy=strategy,
        strategy_duration=body["strategyDuration"],
        max_wallet_budget=whole_wallet,
    )


def _positions(budget: Decimal, most: int) -> int:
    return max(1, min(most, _MOST_POSITIONS, int(budget // _LEAST_MARGIN)))


def create(world: World, account: Account, plan: Plan, at_ms: int) -> Done[TradingSession]:
    """Open a session with its positions at the market's price."""
    number = world.next_session()
    lifetime = plan.lifetime_ms
    session = SessionRecord(
        id=chance.identifier("ses", world.seed, number),
        number=number,
        trade_id=chance.identifier("trd", world.seed, number),
        account=account,
        kind=plan.kind,
        asset=plan.asset,
        budget=plan.budget,
        leverage=plan.leverage,
        created_ms=at_ms,
        settled_ms=at_ms,
        profit_target=plan.profit_target,
        loss_threshold=plan.loss_threshold,
        max_positions=plan.max_positions,
        execution_strategy=plan.execution_strategy,
        strategy_duration=plan.strategy_duration,
        max_wallet_budget=plan.max_wallet_budget,
        expires_ms=None if lifetime is None else at_ms + lifetime,
    )
    session.log(at_ms, "Session created", {"kind": plan.kind, "symbol": plan.asset.symbol, "budget": plan.budget})
    price = world.price(session, at_ms)
    share = accept(plan.budget / plan.positions)
    for place in range(plan.positions):
        margin = share if place < plan.positions - 1 else plan.budget - share * (plan.positions - 1)
        _open(world, session, new_position(world.seed, session, place, margin, price))
    account.sessions[session.id] = session
    account.active[plan.asset.index] = session
    detail = {
        "session_id": session.id,
        "trade_id": session.trade_id,
        "kind": plan.kind,
        "asset_index": plan.asset.index,
        "symbol": plan.asset.symbol,
        "budget": plan.budget,
        "positions": plan.positions,
    }
    return Done(show_session(session, price), detail)


def close_positions(
    world: World, closing: Iterable[tuple[SessionRecord, PositionRecord]], at_ms: int, named: Closing
) -> Done[Closing]:
    """Close positions because the user says so; a session whose last position this is ends with it.

    Args:
        world: where they are.
        closing: the open positions to close, each with its session.
        at_ms: when, in epoch milliseconds.
        named: the reply, as far as it names what was asked for.
    """
    pairs = list(closing)
    pnl = ZERO
    ended: list[str] = []
    for session, position in pairs:
        price = world.price(session, at_ms)
        pnl += _close(world, session, position, at_ms, price)
        if not session.open_positions:
            _end(session, at_ms, "user", "Session closed by the user")
            ended.append(session.id)
    detail = {
        "position_ids": [position.id for _, position in pairs],
        "trade_ids": list(dict.fromkeys(session.trade_id for session, _ in pairs)),
        "closed_sessions": ended,
        "realized_pnl": pnl,
    }
    reply = msgspec.structs.replace(named, status=SessionStatus.CLOSED, closed_positions=len(pairs), realized_pnl=pnl)
    return Done(reply, detail)


def settle(world: World, sessions: Iterable[SessionRecord], until_ms: int) -> None:
    """Let happen what the market and the clock brought about, in the order in which it happened."""
    due: list[tuple[int, int, SessionRecord, _Close]] = []
    for session in sessions:
        close = _due(world, session, until_ms)
        session.settled_ms = max(session.settled_ms, until_ms)
        if close is not None:
            due.append((close.at_ms, session.number, session, close))
    for at_ms, _, session, close in sorted(due, key=lambda item: item[:2]):

        def apply(session: SessionRecord = session, close: _Close = close) -> Done[None]:
            return _close_session(world, session, close)

        world.execute(apply, kind="session_closed", account=session.account, at_ms=at_ms)


def _open(world: World, session: SessionRecord, position: PositionRecord) -> None:
    session.account.available -= position.margin
    session.account.used += position.margin
    session.positions.append(position)
    side = FillSide.BUY if position.side is PositionSide.LONG else FillSide.SELL
    _fill(world, session, position, side, position.entry_price, ZERO, position.opened_ms)
    session.log(
        position.opened_ms,
        "Position opened",
        {
            "positionId": position.id,
            "side": position.side.value,
            "size": position.size,
            "price": position.entry_price,
            "leverage": position.leverage,
            "margin": position.margin,
        },
    )


def _close(world: World, session: SessionRecord, position: PositionRecord, at_ms: int, price: Decimal) -> Decimal:
    pnl = position.pnl_at(price)
    position.exit_price = price
    position.realized_pnl = pnl
    position.closed_ms = at_ms
    session.account.available += position.margin + pnl
    session.account.realized_pnl += pnl
    side = FillSide.SELL if position.side is PositionSide.LONG else FillSide.BUY
    _fill(world, session, position, side, price, pnl, at_ms)
    session.log(at_ms, "Position closed", {"positionId": position.id, "price": price, "realizedPnl": pnl})
    return pnl


def _fill(
    world: World,
    session: SessionRecord,
    position: PositionRecord,
    side: FillSide,
    price: Decimal,
    pnl: Decimal,
    at_ms: int,
) -> None:
    account = session.account
    account.fills.append(
        Fill(
            id=chance.identifier("fil", world.seed, account.id, len(account.fills)),
            position_id=position.id,
            asset_index=session.asset.index,
            symbol=session.asset.symbol,
            side=side,
            size=position.size,
            price=price,
            fee=ZERO,
            realized_pnl=pnl,
            timestamp=from_milliseconds(at_ms),
        )
    )
    notional = realize(position.size * price)
    account.volume += notional
    if account.referrer is not None:
        account.referrer.referral_rewards += realize(notional * _REFERRAL_SHARE)


def _close_session(world: World, session: SessionRecord, close: _Close) -> Done[None]:
    session.log(close.at_ms, close.message, {"reason": close.reason, "price": close.price})
    held = session.open_positions
    pnl = sum((_close(world, session, position, close.at_ms, close.price) for position in held), ZERO)
    _end(session, close.at_ms, close.reason, "Session closed")
    detail = {
        "session_id": session.id,
        "trade_id": session.trade_id,
        "reason": close.reason,
        "position_ids": [position.id for position in held],
        "realized_pnl": pnl,
        "session_pnl": session.realized_pnl,
    }
    return Done(None, detail)


def _end(session: SessionRecord, at_ms: int, reason: str, message: str) -> None:
    session.closed_ms = at_ms
    session.close_reason = reason
    session.log(at_ms, message, {"reason": reason, "realizedPnl": session.realized_pnl})
    account = session.account
    del account.active[session.asset.index]
    account.trades += 1
    account.wins += session.realized_pnl > 0


def _due(world: World, session: SessionRecord, until_ms: int) -> _Close | None:
    """What closes a session after it was last settled, up to a moment."""
    expires = session.expires_ms
    horizon = until_ms if expires is None else min(until_ms, expires)
    upper, lower = _bounds(session)
    touch = world.market.first_touch(session.asset, session.settled_ms, horizon, upper[0], lower[0])
    if touch is not None:
        ticks, reason = upper if touch.upper else lower
        opened = world.market.ticks(session.asset, touch.second * 1000)
        # Rounding can put a bound behind the price after a close by hand: then it is the market's price.
        ticks = max(ticks, opened) if touch.upper else min(ticks, opened)
        return _Close((touch.second + 1) * 1000, session.asset.price(ticks), reason, _MESSAGES[reason])
    if expires is not None and expires <= until_ms:
        return _Close(expires, world.market.price(session.asset, expires), "duration", _MESSAGES["duration"])
    return None


_MESSAGES = {
    "profit_target": "Profit target reached",
    "loss_threshold": "Loss threshold reached",
    "liquidation": "Margin used up: positions liquidated",
    "duration": "Strategy duration is over",
}


def _bounds(session: SessionRecord) -> tuple[tuple[int, str], tuple[int, str]]:
    """The ticks above and below which a session closes, each with the reason.

    All its positions were opened at the same price and are held the same way, so its profit or loss follows the price.
    """
    held = session.open_positions
    first = held[0]
    size = sum((position.size for position in held), ZERO)
    margin = sum((position.margin for position in held), ZERO)
    gains: list[tuple[int, str]] = []
    losses: list[tuple[int, str]] = []

    def bound(pnl: Decimal) -> int:
        price = first.entry_price + first.sign * pnl / size
        # Rounded away from the entry, so that the target is reached in full.
        rounding = ROUND_CEILING if first.sign * pnl > 0 else ROUND_FLOOR
        return int((price / session.asset.tick).to_integral_value(rounding))

    if session.profit_target is not None:
        gains.append((bound(session.budget * session.profit_target / 100 - session.realized_pnl), "profit_target"))
    if session.loss_threshold is not None:
        losses.append((bound(-session.budget * session.loss_threshold / 100 - session.realized_pnl), "loss_threshold"))
    losses.append((bound(-margin), "liquidation"))
    if first.sign > 0:
        return min(gains, default=(_NEVER_ABOVE, "")), max(losses)
    return min(losses), max(gains, default=(_NEVER_BELOW, ""))
