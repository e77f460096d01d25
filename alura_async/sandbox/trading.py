"""Sessions: how they open positions, what closes them, and what they leave in the account.

A session's profit and loss is by how much it changed the account's balance, all fees included. Its target and its
threshold compare that, with what is open valued at the market's price, to the budget; what the closing itself costs
comes on top. A second in which the price reaches both counts for the threshold, the worse of the two.

While an asset's trading is halted, nothing of it is filled: what is accepted takes effect when trading goes on.

What happens at the end of a second because of a price comes before what was planned for the same moment, and that
before any call. So the ledger does not depend on when somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, NamedTuple

import msgspec

from ..core.model import from_milliseconds
from ..groups.trading_sessions import Closing, PositionSide, SessionStatus, TradingSession
from ..groups.user import Fill, FillSide
from . import chance
from .book import Purse
from .conditions import exact
from .execution import (
    SLICE_MS,
    closing_shares,
    execution_price,
    liquidation_price,
    max_leverage,
    part_of,
    size_for,
    slices,
)
from .listing import Asset
from .records import (
    ZERO,
    Account,
    Exit,
    Plan,
    PositionRecord,
    SessionRecord,
    accept,
    realize,
    show_session,
)
from .state import Done, World
from .watch import NEVER_ABOVE, NEVER_BELOW, Bounds

LEVERAGE = {"Conservative": 3, "Aggressive": 10, "Degen": 20}
"""Leverage of an advance trade by its strategy, where the asset may be held with so much."""

QUICK_LEVERAGE = 5

_POSITIONS = {"Conservative": 1, "Aggressive": 2, "Degen": 3}
_MOST_POSITIONS = 10
# A position is not opened with less than the least budget of a session.
_LEAST_MARGIN = 10
# What a referrer earns of what those who came by the code trade.
_REFERRAL_SHARE = Decimal("0.0002")

_MESSAGES = {
    "profit_target": "Profit target reached",
    "loss_threshold": "Loss threshold reached",
    "liquidation": "Margin used up: positions liquidated",
    "duration": "Strategy duration is over",
    "size": "Budget too small to open a position at this price",
}


class _Trade(NamedTuple):
    """What one fill traded."""

    is_buy: bool
    size: Decimal
    price: Decimal
    fee: Decimal
    pnl: Decimal
    at_ms: int


class _Filled(msgspec.Struct):
    """What one step of a close did.

    Attributes:
        pnl: by how much it changed the account's balance.
        positions: what was closed, or closed in part.
        ended: the sessions that it ended.
    """

    pnl: Decimal = ZERO
    positions: list[PositionRecord] = []
    ended: list[SessionRecord] = []


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
        leverage=min(LEVERAGE[strategy], max_leverage(asset)),
        positions=_positions(budget, _POSITIONS[strategy]),
        execution_strategy=strategy,
        strategy_duration=body["strategyDuration"],
        max_wallet_budget=whole_wallet,
    )


def _positions(budget: Decimal, most: int) -> int:
    return max(1, min(most, _MOST_POSITIONS, int(budget // _LEAST_MARGIN)))


def create(world: World, account: Account, plan: Plan, at_ms: int) -> Done[TradingSession]:
    """Accept a session: its budget is set aside, and its positions are opened, now or after the lag."""
    number = world.next_session()
    lifetime_ms = plan.lifetime_ms
    is_long = chance.fraction("side", world.seed, number) < 0.5
    session = SessionRecord(
        id=chance.identifier("ses", world.seed, number),
        number=number,
        trade_id=chance.identifier("trd", world.seed, number),
        account=account,
        plan=plan,
        side=PositionSide.LONG if is_long else PositionSide.SHORT,
        cause=world.ledger.next_number,
        reserve=plan.budget,
        created_ms=at_ms,
        expires_ms=None if lifetime_ms is None else at_ms + lifetime_ms,
        logs=world.new_logs(),
    )
    world.book.move(plan.budget, account.purse, account.margin)
    _register(world, session)
    session.log(at_ms, "Session created", {"kind": plan.kind, "symbol": plan.asset.symbol, "budget": plan.budget})
    effect_ms = world.market.resumes_ms(session.asset, at_ms) or at_ms
    effect_ms = max(effect_ms, at_ms + _lag_ms(world))
    if effect_ms > at_ms:
        _plan_opening(world, session, effect_ms)
    pnl = _open(world, session, at_ms) if effect_ms == at_ms else ZERO
    detail = {
        "session_id": session.id,
        "trade_id": session.trade_id,
        "kind": plan.kind,
        "asset_index": plan.asset.index,
        "symbol": plan.asset.symbol,
        "budget": plan.budget,
        "positions": plan.positions,
        "realized_pnl": pnl,
        "status": session.status.value,
    }
    return Done(show_session(session, world.price(session, at_ms)), detail)


def close(
    world: World,
    account: Account,
    at_ms: int,
    named: Closing,
    *,
    sessions: Sequence[SessionRecord] = (),
    pairs: Sequence[tuple[SessionRecord, PositionRecord]] = (),
    closing: Sequence[SessionRecord] = (),
) -> Done[Closing]:
    """Accept a close because the user says so; it takes effect now or after the lag.

    What is not opened yet of it is never opened: that is given back at once, also if the close then fails.

    Args:
        world: where it happens.
        account: whose they are.
        at_ms: when, in epoch milliseconds.
        named: the reply, as far as it names what was asked for, with what it says when all of it is closed at once.
        sessions: what to close whole: their positions, and what is not opened yet.
        pairs: single positions to close, each with its session. A session whose last position this is ends with it.
        closing: what is meant too and is closing already.
    """
    order = Exit("user", world.ledger.next_number, list(sessions), list(pairs))
    failing = Exit("user", world.ledger.next_number, [], [])
    asked = [*order.pairs, *((session, position) for session in sessions for position in _not_closing(session))]
    for session, position in asked:
        position.exit = order
        if _fails_to_close(world, position):
            position.exit = failing
            failing.pairs.append((session, position))
    for session in sessions:
        session.exit = order
    released = sum((_cancel_opening(world, session) for session in sessions), ZERO)
    released += sum((_cancel_slices(world, session, position) for session, position in pairs), ZERO)
    lag_ms = _lag_ms(world)
    done = _Filled() if lag_ms else _carry_out(world, account, order, at_ms)
    if lag_ms and (asked or sessions):
        for session in dict.fromkeys([*sessions, *(session for session, _ in pairs)]):
            session.log(at_ms, "Close accepted", {"positionIds": _ids(session.open_positions)})
        world.agenda.plan(at_ms + lag_ms, lambda now_ms: _close_later(world, account, order, now_ms))
    if failing.pairs:
        world.agenda.plan(at_ms + lag_ms, lambda now_ms: _fail(world, account, failing, now_ms))
    is_open = any(position.is_open for _, position in asked) or any(each.is_open for each in [*sessions, *closing])
    accepted = "Close accepted" if asked or sessions else "Positions are already closing"
    status = SessionStatus.CLOSING if is_open else SessionStatus.CLOSED
    detail = {
        "position_ids": _ids(position for _, position in asked),
        "trade_ids": list(dict.fromkeys(session.trade_id for session in [*sessions, *(each for each, _ in asked)])),
        "closed_sessions": [session.id for session in done.ended],
        "released": released,
        "realized_pnl": done.pnl,
        "status": status.value,
    }
    reply = msgspec.structs.replace(
        named,
        status=status,
        closed_positions=sum(not position.is_open for _, position in asked),
        realized_pnl=done.pnl,
        message=accepted if is_open else named.message,
    )
    return Done(reply, detail)


def settle(world: World, until_ms: int) -> None:
    """Let happen what the market and the clock brought about, in the order in which it happened."""
    while True:
        planned_ms = world.agenda.next_ms()
        horizon_ms = until_ms if planned_ms is None else min(until_ms, planned_ms)
        if horizon_ms // 1000 != world.settled_s:
            touched = world.watch.first(horizon_ms)
            if touched is not None:
                second, sessions = touched
                for session in sessions:
                    _touch(world, session, second)
                continue
            world.settled_s = horizon_ms // 1000
        if not world.agenda.happen(until_ms):
            return


def _register(world: World, session: SessionRecord) -> None:
    account = session.account
    if account.referrer is not None and not account.used:
        account.referrer.referred_active += 1
    account.used += session.plan.budget
    account.sessions[session.id] = session
    account.active[session.asset.index] = session
    world.trades[session.trade_id] = session
    world.activity_of(session).trades += 1
    world.changed.add(account)
    if session.expires_ms is not None:
        session.expiry = world.agenda.plan(session.expires_ms, lambda now_ms: _expire(world, session, now_ms))


def _lag_ms(world: World) -> int:
    jitter_ms = world.conditions.jitter_ms
    if jitter_ms:
        # The number of the entry that is about to be written: no two acceptances share it.
        jitter_ms = chance.whole(0, jitter_ms, "jitter", world.seed, world.ledger.next_number)
    return world.conditions.lag_ms + jitter_ms


def _fails_to_close(world: World, position: PositionRecord) -> bool:
    is_first, position.was_closing = not position.was_closing, True
    return is_first and chance.fraction("failing close", world.seed, position.id) < exact(
        world.conditions.failing_closes
    )


def _not_closing(session: SessionRecord) -> list[PositionRecord]:
    return [position for position in session.open_positions if position.exit is None]


def _ids(positions: Iterable[PositionRecord]) -> list[str]:
    return [position.id for position in positions]


# Opening


def _plan_opening(world: World, session: SessionRecord, at_ms: int) -> None:
    session.opening = world.agenda.plan(at_ms, lambda now_ms: _open_later(world, session, now_ms))


def _open_later(world: World, session: SessionRecord, at_ms: int) -> None:
    resumes_ms = world.market.resumes_ms(session.asset, at_ms)
    if resumes_ms is not None:
        _plan_opening(world, session, resumes_ms)
        return
    if session.is_pending and not can_open(world, session.plan, at_ms):
        _close_by_itself(world, session, "size", at_ms, world.price(session, at_ms))
        return

    def apply() -> Done[None]:
        pnl = _open(world, session, at_ms)
        return Done(
            None,
            {
                "session_id": session.id,
                "trade_id": session.trade_id,
                "position_ids": _ids(session.open_positions),
                "realized_pnl": pnl,
                "status": session.status.value,
            },
        )

    world.execute(apply, kind="positions_opened", account=session.account, at_ms=at_ms, cause=session.cause)


def _open(world: World, session: SessionRecord, at_ms: int) -> Decimal:
    """Open a session's positions, or one more slice of them; gives by how much that changed the balance."""
    if session.is_pending:
        _divide(world, session, at_ms)
    opening = [position for position in session.positions if position.slices]
    pnl = sum((_fill_opening(world, session, position, at_ms) for position in opening), ZERO)
    if any(position.slices for position in opening):
        _plan_opening(world, session, at_ms + SLICE_MS)
    _look_out(world, session, at_ms)
    return pnl


def _divide(world: World, session: SessionRecord, at_ms: int) -> None:
    """Share out a session's budget among its positions."""
    plan = session.plan
    session.is_pending = False
    share = accept(plan.budget / plan.positions)
    for place in range(plan.positions):
        reserve = share if place < plan.positions - 1 else session.reserve
        session.reserve -= reserve
        position = PositionRecord(
            id=chance.identifier("pos", world.seed, session.number, place),
            side=session.side,
            leverage=plan.leverage,
            reserve=reserve,
            slices=slices(world.conditions, plan.asset, reserve * plan.leverage),
            opened_ms=at_ms,
        )
        session.positions.append(position)
        world.positions[position.id] = (session, position)


def _fill_opening(world: World, session: SessionRecord, position: PositionRecord, at_ms: int) -> Decimal:
    share = position.reserve if position.slices == 1 else accept(position.reserve / position.slices)
    position.reserve -= share
    position.slices -= 1
    is_long = position.side is PositionSide.LONG
    size, price = _order(world, session.plan, share, world.price(session, at_ms), buying=is_long)
    if not size:
        # The price has risen so far since the slice before.
        world.book.move(share, session.account.margin, session.account.purse)
        return ZERO
    position.bought(size, price)
    fee = _pay_fees(world, session.account.margin, size * price)
    position.margin += share - fee
    position.paid += share - fee
    _count(world, session, position, -fee)
    _record(world, session, position, _Trade(is_long, size, price, fee, ZERO, at_ms))
    session.log(
        at_ms,
        "Position opened" if position.opened == size else "Position opened further",
        {
            "positionId": position.id,
            "side": position.side.value,
            "size": size,
            "price": price,
            "leverage": position.leverage,
            "margin": position.margin,
            "fee": fee,
        },
    )
    return -fee


def can_open(world: World, plan: Plan, at_ms: int) -> bool:
    """Whether each order that opens a position is of a size that can be traded, at the market's price."""
    mark, share = world.market.price(plan.asset, at_ms), accept(plan.budget / plan.positions)
    share = accept(share / slices(world.conditions, plan.asset, share * plan.leverage))
    return bool(_order(world, plan, share, mark, buying=True)[0])


def _order(world: World, plan: Plan, share: Decimal, mark: Decimal, *, buying: bool) -> tuple[Decimal, Decimal]:
    """Size and price of an order that opens a position with a share of the budget, which pays the fees too."""
    margin = share / (1 + plan.leverage * sum(world.conditions.fee_rates))
    price = execution_price(world.conditions, plan.asset, mark, margin * plan.leverage, buying=buying)
    return size_for(margin, plan.leverage, price), price


# Closing


def _close_later(world: World, account: Account, order: Exit, at_ms: int) -> None:
    left = _sessions_of(order)
    if not left:
        # Something else came first.
        return
    if all(_waits(world, session, at_ms) for session in left):
        _go_on(world, account, order, at_ms)
        return

    def apply() -> Done[None]:
        done = _carry_out(world, account, order, at_ms)
        return Done(
            None,
            {
                "position_ids": _ids(done.positions),
                "closed_positions": _ids(position for position in done.positions if not position.is_open),
                "closed_sessions": [session.id for session in done.ended],
                "realized_pnl": done.pnl,
                "status": (SessionStatus.CLOSING if _still_to_close(order) else SessionStatus.CLOSED).value,
            },
        )

    world.execute(apply, kind="positions_closed", account=account, at_ms=at_ms, cause=order.cause)


def _fail(world: World, account: Account, order: Exit, at_ms: int) -> None:
    failing = _still_to_close(order)
    if not failing:
        return

    def apply() -> Done[None]:
        for session, position in failing:
            position.exit = session.ending = None
            session.log(at_ms, "Close failed on the exchange", {"positionId": position.id}, level="error")
            _look_out(world, session, at_ms)
        return Done(
            None,
            {
                "position_ids": _ids(position for _, position in failing),
                "trade_ids": list(dict.fromkeys(session.trade_id for session, _ in failing)),
            },
        )

    world.execute(apply, kind="close_failed", account=account, at_ms=at_ms, cause=order.cause)


def _close_by_itself(world: World, session: SessionRecord, reason: str, at_ms: int, mark: Decimal) -> None:
    """Close a session whole because of its own limits; a close that was accepted and has no effect yet is too late."""
    order = Exit(reason, world.ledger.next_number, [session], [])

    def apply() -> Done[None]:
        waiting = [position for position in session.open_positions if position.shares is None]
        superseded = _causes([session.exit, *(position.exit for position in waiting)])
        session.exit = order
        for position in waiting:
            position.exit = order
        session.log(at_ms, _MESSAGES[reason], {"reason": reason, "price": mark})
        released = _cancel_opening(world, session)
        done = _carry_out(world, session.account, order, at_ms, mark)
        return Done(None, _end_detail(session, reason, done, released, superseded))

    world.execute(apply, kind="session_closed", account=session.account, at_ms=at_ms)


def _end_detail(
    session: SessionRecord, reason: str, done: _Filled, released: Decimal, superseded: list[int]
) -> dict[str, Any]:
    return {
        "session_id": session.id,
        "trade_id": session.trade_id,
        "reason": reason,
        "position_ids": _ids(done.positions),
        "closed_sessions": [ended.id for ended in done.ended],
        "superseded": superseded,
        "released": released,
        "realized_pnl": done.pnl,
        "session_pnl": session.realized_pnl,
        "status": session.status.value,
    }


def _causes(overtaken: Iterable[Exit | None]) -> list[int]:
    """The entries that accepted closes which come too late."""
    return sorted({order.cause for order in overtaken if order is not None})


def _still_to_close(order: Exit) -> list[tuple[SessionRecord, PositionRecord]]:
    """What a close is still to close."""
    whole = [(session, position) for session in order.sessions for position in session.positions]
    return [
        (session, position)
        for session, position in [*order.pairs, *whole]
        if position.exit is order and position.is_open
    ]


def _sessions_of(order: Exit) -> list[SessionRecord]:
    """The sessions in which a close is still to do something."""
    whole = [session for session in order.sessions if session.exit is order]
    return list(dict.fromkeys([*whole, *(session for session, _ in _still_to_close(order))]))


def _waits(world: World, session: SessionRecord, at_ms: int) -> bool:
    """Whether a session's positions cannot be closed because their asset is halted. What is not open can be."""
    return bool(session.open_positions) and world.market.resumes_ms(session.asset, at_ms) is not None


def _go_on(world: World, account: Account, order: Exit, at_ms: int) -> None:
    """Plan the next step of a close, if there is one to come."""
    steps = [world.market.resumes_ms(session.asset, at_ms) or at_ms + SLICE_MS for session in _sessions_of(order)]
    if steps:
        world.agenda.plan(min(steps), lambda now_ms: _close_later(world, account, order, now_ms))


def _carry_out(world: World, account: Account, order: Exit, at_ms: int, mark: Decimal | None = None) -> _Filled:
    """Close what an order names, or one more slice of it, at the market's price or at the one that set it off."""
    done = _Filled()
    ready = [session for session in _sessions_of(order) if mark is not None or not _waits(world, session, at_ms)]
    begun = [session for session in ready if session.exit is order]
    for session in begun:
        session.exit = None
        session.ending = session.ending or order.reason
        for position in _not_closing(session):
            position.exit = order
    held = [(session, position) for session, position in _still_to_close(order) if session in ready]
    for session, position in held:
        price = world.price(session, at_ms) if mark is None else mark
        done.pnl += _fill_closing(world, session, position, at_ms, price)
        done.positions.append(position)
    for session in dict.fromkeys([*begun, *(session for session, _ in held)]):
        if session.is_pending or not session.open_positions:
            _end(world, session, at_ms, order.reason)
            done.ended.append(session)
        else:
            _look_out(world, session, at_ms)
    _go_on(world, account, order, at_ms)
    return done


def _cancel_opening(world: World, session: SessionRecord) -> Decimal:
    """Give back what is set aside for what a session has not opened yet; gives how much that is."""
    released, session.reserve = session.reserve, ZERO
    world.book.move(released, session.account.margin, session.account.purse)
    world.agenda.cancel(session.opening)
    return released + sum((_cancel_slices(world, session, position) for position in session.positions), ZERO)


def _cancel_slices(world: World, session: SessionRecord, position: PositionRecord) -> Decimal:
    """The same for one position."""
    released, position.reserve, position.slices = position.reserve, ZERO, 0
    world.book.move(released, session.account.margin, session.account.purse)
    if not session.is_pending and not any(each.slices for each in session.positions):
        world.agenda.cancel(session.opening)
    return released


def _fill_closing(world: World, session: SessionRecord, position: PositionRecord, at_ms: int, mark: Decimal) -> Decimal:
    account, book = session.account, world.book
    if position.shares is None:
        position.shares = closing_shares(world.conditions, session.asset, position.size * mark)
    share = position.shares.pop()
    size = part_of(position.size, share) if position.shares else position.size
    is_long = position.side is PositionSide.LONG
    price = execution_price(world.conditions, session.asset, mark, size * mark, buying=not is_long)
    freed = position.margin if size == position.size else accept(position.margin * size / position.size)
    pnl = position.sold(size, price)
    position.margin -= freed
    book.move(freed, account.margin, account.purse)
    # The margin is isolated: what is lost beyond it is the insurance's.
    beyond = max(ZERO, sum(_fees(world, size * price), ZERO) - freed - pnl)
    book.move(beyond, book.insurance, account.purse)
    book.move(pnl, book.market, account.purse)
    fee = _pay_fees(world, account.purse, size * price)
    pnl += beyond
    _count(world, session, position, pnl - fee)
    _record(world, session, position, _Trade(not is_long, size, price, fee, pnl, at_ms))
    if not position.size:
        _closed(position, at_ms)
    session.log(
        at_ms,
        "Position closed in part" if position.is_open else "Position closed",
        {"positionId": position.id, "size": size, "price": price, "fee": fee, "realizedPnl": pnl - fee},
    )
    return pnl - fee


def _closed(position: PositionRecord, at_ms: int) -> None:
    position.closed_ms = at_ms
    position.exit = position.shares = None


def _end(world: World, session: SessionRecord, at_ms: int, reason: str) -> None:
    account = session.account
    session.closed_ms = at_ms
    reason = session.close_reason = session.ending or reason
    session.is_pending = False
    session.exit = None
    message = "Session closed by the user" if reason == "user" else "Session closed"
    session.log(at_ms, message, {"reason": reason, "realizedPnl": session.realized_pnl})
    world.agenda.cancel(session.expiry)
    world.watch.drop(session, at_ms)
    del account.active[session.asset.index]
    account.trades += 1
    account.wins += session.realized_pnl > 0
    world.changed.add(account)
    world.remember_closed(session)


# What the clock and the market bring about


def _expire(world: World, session: SessionRecord, at_ms: int) -> None:
    if all(position.shares is not None for position in session.open_positions) and not session.is_pending:
        # The last slices of a close are on their way.
        return
    if _waits(world, session, at_ms):
        resumes_ms = world.market.resumes_ms(session.asset, at_ms) or at_ms
        session.expiry = world.agenda.plan(resumes_ms, lambda now_ms: _expire(world, session, now_ms))
        return
    _close_by_itself(world, session, "duration", at_ms, world.price(session, at_ms))


def _touch(world: World, session: SessionRecord, second: int) -> None:
    """A session's price was reached within a second, at whose end it closes, or loses positions."""
    bounds = world.watch.bounds(session)
    assert bounds is not None
    asset, at_ms = session.asset, (second + 1) * 1000
    rises = world.watch.reaches(asset, second, upper=bounds.upper)
    falls = world.watch.reaches(asset, second, lower=bounds.lower)
    if rises and falls:
        # Nobody knows which came first: the worse for the user did.
        rises = session.side is PositionSide.SHORT
    # After a gap, or for one that was passed already, it is the market's price.
    opened = world.market.ticks(asset, second * 1000)
    ticks, reason = (
        (max(bounds.upper, opened), bounds.upper_reason) if rises else (min(bounds.lower, opened), bounds.lower_reason)
    )
    mark = asset.price(ticks)
    if reason == "liquidation":
        _liquidate(world, session, second, mark)
    else:
        _close_by_itself(world, session, reason, at_ms, mark)


def _liquidate(world: World, session: SessionRecord, second: int, mark: Decimal) -> None:
    """Take the positions whose margin is used up within a second; what is left of it goes to the insurance."""
    at_ms = (second + 1) * 1000
    used_up = [position for position in session.open_positions if _is_used_up(world, session, position, second)]
    ends = len(used_up) == len(session.open_positions)

    def apply() -> Done[None]:
        superseded = _causes([*(position.exit for position in used_up), session.exit if ends else None])
        released = sum((_cancel_slices(world, session, position) for position in used_up), ZERO)
        session.log(at_ms, _MESSAGES["liquidation"], {"reason": "liquidation", "price": mark}, level="error")
        lost = sum((_fill_liquidation(world, session, position, at_ms, mark) for position in used_up), ZERO)
        if ends:
            _end(world, session, at_ms, "liquidation")
        else:
            _look_out(world, session, at_ms)
        done = _Filled(lost, used_up, [session] if ends else [])
        return Done(None, _end_detail(session, "liquidation", done, released, superseded))

    kind = "session_closed" if ends else "positions_liquidated"
    world.execute(apply, kind=kind, account=session.account, at_ms=at_ms)


def _is_used_up(world: World, session: SessionRecord, position: PositionRecord, second: int) -> bool:
    ticks = _liquidation_ticks(session, position)
    if position.side is PositionSide.LONG:
        return world.watch.reaches(session.asset, second, lower=ticks)
    return world.watch.reaches(session.asset, second, upper=ticks)


def _fill_liquidation(
    world: World, session: SessionRecord, position: PositionRecord, at_ms: int, mark: Decimal
) -> Decimal:
    account, book = session.account, world.book
    size, lost = position.size, position.margin
    pnl = position.sold(size, mark)
    position.margin = ZERO
    # What comes in goes first, as the margin cannot owe.
    for amount, purse in sorted([(-pnl, book.market), (lost + pnl, book.insurance)], key=lambda move: move[0]):
        book.move(amount, account.margin, purse)
    _count(world, session, position, -lost)
    is_buy = position.side is PositionSide.SHORT
    _record(world, session, position, _Trade(is_buy, size, mark, ZERO, -lost, at_ms))
    _closed(position, at_ms)
    session.log(
        at_ms, "Position liquidated", {"positionId": position.id, "price": mark, "realizedPnl": -lost}, level="error"
    )
    return -lost


def _look_out(world: World, session: SessionRecord, from_ms: int) -> None:
    """Look out for the prices at which a session closes, as it is held now."""
    held = [position for position in session.open_positions if position.size]
    if not held:
        world.watch.drop(session, from_ms)
        return
    is_long = session.side is PositionSide.LONG
    losing = [(_liquidation_ticks(session, position), "liquidation") for position in held]
    winning: list[tuple[int, str]] = []
    # Of what is being closed in slices, only liquidation can still change the course.
    if any(position.shares is None for position in held):
        plan = session.plan
        if plan.profit_target is not None:
            winning.append((_limit_ticks(session, held, plan.profit_target, up=is_long), "profit_target"))
        if plan.loss_threshold is not None:
            # First, so that it goes before a liquidation at the same price.
            losing.insert(0, (_limit_ticks(session, held, -plan.loss_threshold, up=not is_long), "loss_threshold"))
    above, below = (winning, losing) if is_long else (losing, winning)
    upper = min(above, key=lambda level: level[0], default=(NEVER_ABOVE, ""))
    lower = max(below, key=lambda level: level[0], default=(NEVER_BELOW, ""))
    world.watch.put(session, Bounds(*upper, *lower), from_ms)


def _limit_ticks(session: SessionRecord, held: list[PositionRecord], percent: Decimal, *, up: bool) -> int:
    """Where a session has gained so many percent of its budget. All its positions are held the same way."""
    size = sum((position.size for position in held), ZERO)
    cost = sum((position.cost for position in held), ZERO)
    gain = session.plan.budget * percent / 100 - session.realized_pnl
    return _ticks(session.asset, (cost + held[0].sign * gain) / size, up=up)


def _liquidation_ticks(session: SessionRecord, position: PositionRecord) -> int:
    price = liquidation_price(session.asset, position.sign, position.size, position.cost, position.margin)
    return _ticks(session.asset, price, up=position.side is PositionSide.SHORT)


def _ticks(asset: Asset, price: Decimal, *, up: bool) -> int:
    """A price as ticks, rounded away from where the market comes from, so that it is reached in full."""
    ticks = int((price / asset.tick).to_integral_value(ROUND_CEILING if up else ROUND_FLOOR))
    return max(NEVER_BELOW, min(ticks, NEVER_ABOVE))


# What every fill leaves behind


def _fees(world: World, worth: Decimal) -> tuple[Decimal, Decimal]:
    taker, builder = world.conditions.fee_rates
    return realize(worth * taker), realize(worth * builder)


def _pay_fees(world: World, purse: Purse, worth: Decimal) -> Decimal:
    """Take the fees of a fill; gives their sum."""
    taker, builder = _fees(world, worth)
    world.book.move(taker, purse, world.book.fees)
    world.book.move(builder, purse, world.book.builder)
    return taker + builder


def _count(world: World, session: SessionRecord, position: PositionRecord, pnl: Decimal) -> None:
    """Count by how much something changed the account's balance."""
    position.realized_pnl += pnl
    session.account.realized_pnl += pnl
    world.activity_of(session).pnl += pnl
    world.changed.add(session.account)


def _record(world: World, session: SessionRecord, position: PositionRecord, trade: _Trade) -> None:
    account = session.account
    fill = Fill(
        id=chance.identifier("fil", world.seed, account.id, account.filled),
        position_id=position.id,
        asset_index=session.asset.index,
        symbol=session.asset.symbol,
        side=FillSide.BUY if trade.is_buy else FillSide.SELL,
        size=trade.size,
        price=trade.price,
        fee=trade.fee,
        realized_pnl=trade.pnl,
        timestamp=from_milliseconds(trade.at_ms),
    )
    world.remember_fill(account, fill)
    worth = realize(trade.size * trade.price)
    account.volume += worth
    world.activity_of(session).volume += worth
    if account.referrer is not None:
        reward = realize(worth * _REFERRAL_SHARE)
        world.book.move(reward, world.book.rewards, account.referrer.rewards)
        account.referrer.referral_rewards += reward
        account.referrer.referred_volume += worth
