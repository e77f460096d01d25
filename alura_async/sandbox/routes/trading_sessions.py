"""Sessions: creating, reading and closing them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from ...groups.pages import Page
from ...groups.trading_sessions import (
    CloseSignature,
    Closing,
    CronRun,
    ExecutionStrategy,
    LogEntry,
    StrategyDuration,
    Trade,
    TradingSession,
)
from ...secret import Secret
from .. import signin, trading, wire
from ..listing import LISTED, Asset
from ..paging import LIMIT, PAGE, page_of
from ..records import Plan, PositionRecord, SessionRecord, show_session, show_trade
from ..refusals import DUPLICATE_ASSET, HttpError, bad_request, not_found
from ..routing import Call, serves
from ..state import Done
from ..treasury import require_funds
from ..validation import Choice, Flag, Number

ASSET_INDEX = Number(name="assetIndex", integer=True, minimum=0, about="the asset's index", example=0)

QUICK = (
    Number(name="budget", minimum=10, about="what it may use, in USDC", example=100),
    Number(name="profitTarget", maximum=500, positive=True, about="percent of the budget", example=40),
    ASSET_INDEX,
    Number(name="lossThreshold", positive=True, required=False, about="percent of the budget", example=5),
    Number(
        name="maxPositions", minimum=1, maximum=1000, integer=True, required=False, about="positions at once", example=3
    ),
)

AMOUNT = Number(
    name="amount",
    minimum=10,
    required=False,
    about="USDC; required without maxWalletBudget, and without meaning with it",
    example=100,
)
ADVANCE = (
    AMOUNT,
    Choice(
        name="executionStrategy",
        choices=tuple(strategy.value for strategy in ExecutionStrategy),
        about="leverage 3, 10 or 20, or as much as the asset allows",
        example="Conservative",
    ),
    Choice(
        name="strategyDuration",
        choices=tuple(duration.value for duration in StrategyDuration),
        about="when it closes by itself",
        example="7D",
    ),
    ASSET_INDEX,
    Flag(
        name="maxWalletBudget", required=False, about="use all that is available, whatever `amount` says", example=False
    ),
)

# A whole wallet with less than this is refused as insufficient.
LEAST = Decimal(10)

SIGNATURE_LIFETIME = timedelta(minutes=1)


@serves("POST", "/trading-sessions", TradingSession, bearer=True, body=QUICK)
def create(call: Call) -> TradingSession:
    """Create a quick trade."""
    for name in ("profitTarget", "lossThreshold"):
        # It was positive, and nothing is left of it after rounding.
        if call.body.get(name) == 0:
            raise bad_request(f"{name} must not be less than 0.000001")
    asset = _free_asset(call)
    require_funds(call.user, call.body["budget"])
    plan = trading.quick_plan(call.body, asset)
    return _create(call, plan)


@serves("POST", "/trading-sessions/advance", TradingSession, bearer=True, body=ADVANCE)
def create_advance(call: Call) -> TradingSession:
    """Create an advance trade."""
    whole_wallet = call.body.get("maxWalletBudget")
    if not whole_wallet and "amount" not in call.body:
        raise HttpError(400, AMOUNT.problems(None))
    asset = _free_asset(call)
    require_funds(call.user, max(call.user.available, LEAST) if whole_wallet else call.body["amount"])
    plan = trading.advance_plan(call.body, asset, call.user.available)
    return _create(call, plan)


@serves("GET", "/trading-sessions/active", list[TradingSession], bearer=True)
def active(call: Call) -> list[TradingSession]:
    """Read the active sessions, oldest first."""
    sessions = sorted(call.user.active.values(), key=lambda session: session.number)
    return [show_session(session, call.world.price(session, call.now_ms)) for session in sessions]


@serves("GET", "/trading-sessions/current-trade", Trade | None, bearer=True)
def current_trade(call: Call) -> Trade | None:
    """Read the newest open trade with its positions, or null."""
    newest = max(call.user.active.values(), key=lambda session: session.number, default=None)
    return None if newest is None else show_trade(newest, call.world.price(newest, call.now_ms))


@serves("GET", "/trading-sessions/:sessionId/logs", list[LogEntry], bearer=True, errors=(404,))
def logs(call: Call) -> list[LogEntry]:
    """Read a session's logs, oldest first."""
    session = call.user.sessions.get(call.path["sessionId"])
    if session is None:
        raise not_found("Session not found")
    return list(session.logs)


@serves(
    "GET",
    "/trading-sessions/trades/:tradeId/logs",
    Page[LogEntry],
    bearer=True,
    query=(PAGE, LIMIT),
    errors=(404,),
)
def trade_logs(call: Call) -> Page[LogEntry]:
    """Read a page of a trade's logs, oldest first."""
    return page_of(call, list(_trade(call).logs))


@serves("POST", "/trading-sessions/positions/:positionId/close", Closing, bearer=True, errors=(404,))
def close_position(call: Call) -> Closing:
    """Close one position."""
    session, position = _open_position(call)
    if position.exit is not None:
        raise bad_request("Position is already closing")
    named = Closing(position_id=position.id, trade_id=session.trade_id, message="Position closed")
    return call.execute(
        "position_closed",
        lambda: trading.close(call.world, call.user, call.now_ms, named, pairs=[(session, position)]),
    )


@serves(
    "POST",
    "/trading-sessions/positions/:positionId/close-signature",
    CloseSignature,
    bearer=True,
    errors=(404,),
)
def close_signature(call: Call) -> CloseSignature:
    """Sign a transaction that closes a position, for a front end to submit."""
    session, position = _open_position(call)
    expires_at = call.now + SIGNATURE_LIFETIME
    order = {
        "action": "close",
        "positionId": position.id,
        "asset": session.asset.index,
        "size": position.size,
        "expiresAt": expires_at,
    }
    transaction = "0x" + wire.encode(order).hex()
    signature = signin.sign(signin.agent_key(call.world.seed, call.user.address), transaction)
    reply = CloseSignature(
        position_id=position.id,
        transaction=Secret(transaction),
        signature=Secret(signature),
        expires_at=expires_at,
    )
    return call.execute("close_signed", lambda: Done(reply, {"position_id": position.id}))


@serves("POST", "/trading-sessions/trades/:tradeId/close", Closing, bearer=True, errors=(404,))
def close_trade(call: Call) -> Closing:
    """Close a trade: all its positions."""
    session = _trade(call)
    if not session.is_open:
        raise bad_request("Trade is already closed")
    if session.is_closing:
        raise bad_request("Trade is already closing")
    named = Closing(trade_id=session.trade_id, message="Trade closed")
    return call.execute(
        "trade_closed", lambda: trading.close(call.world, call.user, call.now_ms, named, sessions=[session])
    )


@serves("POST", "/trading-sessions/trigger-cron", CronRun, bearer=True)
def trigger_cron(call: Call) -> CronRun:
    """Run the server's cron by hand: it looks at every active session, and says so in the caller's logs."""
    world, now_ms = call.world, call.now_ms

    def apply() -> Done[CronRun]:
        checked = world.active_sessions()
        for session in call.user.active.values():
            price = world.price(session, now_ms)
            session.log(now_ms, "Session checked", {"price": price, "unrealizedPnl": session.unrealized_pnl(price)})
        return Done(CronRun(ok=True, message=f"{len(checked)} sessions checked"), {"sessions": len(checked)})

    return call.execute("cron_run", apply)


def _free_asset(call: Call) -> Asset:
    """The asset of a create, if it is listed and no session of the account runs on it."""
    index: int = call.body["assetIndex"]
    if index >= len(LISTED) or not call.world.market.is_listed(LISTED[index], call.now_ms):
        raise bad_request(f"Unknown asset index: {index}")
    if index in call.user.active:
        raise bad_request(DUPLICATE_ASSET)
    return LISTED[index]


def _create(call: Call, plan: Plan) -> TradingSession:
    if not trading.can_open(call.world, plan, call.now_ms):
        raise bad_request(f"Budget too small to open a position in {plan.asset.symbol} at its price")
    return call.execute("session_created", lambda: trading.create(call.world, call.user, plan, call.now_ms))


def _trade(call: Call) -> SessionRecord:
    session = call.world.trades.get(call.path["tradeId"])
    if session is None or session.account is not call.user:
        raise not_found("Trade not found")
    return session


def _open_position(call: Call) -> tuple[SessionRecord, PositionRecord]:
    session, position = call.world.positions.get(call.path["positionId"], (None, None))
    if session is None or position is None or session.account is not call.user:
        raise not_found("Position not found")
    if not position.is_open:
        raise bad_request("Position is already closed")
    return session, position


ROUTES = (
    create,
    create_advance,
    active,
    current_trade,
    logs,
    trade_logs,
    close_position,
    close_signature,
    close_trade,
    trigger_cron,
)
