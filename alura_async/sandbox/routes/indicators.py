"""Market data."""

from __future__ import annotations

from typing import Any

from ...core.model import from_milliseconds
from ...groups.health import ServiceHealth
from ...groups.indicators import Candle, Signal
from ..listing import BY_SYMBOL, Asset
from ..market import INTERVALS
from ..refusals import HttpError, not_found
from ..routing import Call, serves
from ..validation import Choice, Number
from .health import healthy

INTERVAL = Choice(name="interval", choices=tuple(INTERVALS), required=False, about="by default 1h", example="1h")
LATEST_INTERVAL = Choice(name="interval", choices=tuple(INTERVALS), required=False, about="by default 1m", example="1m")
USUAL_CANDLES = 500
"""How many candles a range gives that says nothing of it."""

MOST_CANDLES = 5000

LIMIT = Number(
    name="limit",
    integer=True,
    minimum=1,
    maximum=MOST_CANDLES,
    required=False,
    about=f"how many, by default {USUAL_CANDLES}",
    example=USUAL_CANDLES,
)
START = Number(
    name="startTime",
    integer=True,
    required=False,
    about="earliest open time, epoch milliseconds; the first `limit` candles from there on are given",
)
END = Number(
    name="endTime",
    integer=True,
    required=False,
    about="latest open time, epoch milliseconds; without a start, the last `limit` candles up to there are given",
)


@serves("GET", "/api/indicators/health", ServiceHealth)
def health(call: Call) -> ServiceHealth:
    """Read the health of the indicator service: `degraded` while it records nothing, with `downSince`."""
    market = call.world.market
    details: dict[str, Any] = {"symbols": len(market.listed(call.now_ms)), "intervals": list(INTERVALS)}
    down_since_ms = market.down_since_ms(call.now_ms)
    if down_since_ms is None:
        return healthy(call, "indicators", **details)
    return healthy(call, "indicators", "degraded", **details, downSince=from_milliseconds(down_since_ms))


@serves("GET", "/api/indicators/candles/latest", list[Candle], query=(LATEST_INTERVAL,))
def latest_candles(call: Call) -> list[Candle]:
    """Read the last candle of each listed symbol: the running one, if there was a trade in it already."""
    market, interval, now_ms = call.world.market, call.query.get("interval", "1m"), call.now_ms
    return [
        candle for asset in market.listed(now_ms) for candle in market.candles(asset, interval, now_ms=now_ms, limit=1)
    ]


@serves(
    "GET",
    "/api/indicators/candles/history/:symbol",
    list[Candle],
    query=(INTERVAL, START, END, LIMIT),
    errors=(404,),
)
def candle_history(call: Call) -> list[Candle]:
    """Read historical candles of a symbol, oldest first, from its listing on; a quiet interval has none."""
    return call.world.market.candles(
        _asset(call),
        call.query.get("interval", "1h"),
        now_ms=call.now_ms,
        limit=call.query.get("limit", USUAL_CANDLES),
        start_ms=call.query.get("startTime"),
        end_ms=call.query.get("endTime"),
    )


@serves(
    "GET",
    "/api/indicators/candles/:symbol/:interval",
    list[Candle],
    query=(START, END, LIMIT),
    errors=(404,),
)
def candles(call: Call) -> list[Candle]:
    """Read a symbol's most recent candles, oldest first, the running one included; a quiet interval has none."""
    return call.world.market.candles(
        _asset(call),
        _interval(call),
        now_ms=call.now_ms,
        limit=call.query.get("limit", USUAL_CANDLES),
        start_ms=call.query.get("startTime"),
        end_ms=call.query.get("endTime"),
    )


@serves("GET", "/api/indicators/candles/aggregated/symbols", list[str])
def symbols(call: Call) -> list[str]:
    """Read the symbols that are listed by now, in the order of their indices."""
    return [asset.symbol for asset in call.world.market.listed(call.now_ms)]


@serves("GET", "/api/indicators/signals/:symbol/:interval", list[Signal], errors=(404,))
def signals(call: Call) -> list[Signal]:
    """Read a symbol's signal: EMA, MACD, RSI, ATR and Bollinger bands over its last candles, and what they advise."""
    return [call.world.signals.of(_asset(call), _interval(call), call.now_ms)]


@serves("GET", "/api/indicators/signals/all/:interval", list[Signal])
def all_signals(call: Call) -> list[Signal]:
    """Read every listed symbol's signal."""
    world, interval, now_ms = call.world, _interval(call), call.now_ms
    return [world.signals.of(asset, interval, now_ms) for asset in world.market.listed(now_ms)]


def _asset(call: Call) -> Asset:
    symbol = call.path["symbol"]
    asset = BY_SYMBOL.get(symbol)
    if asset is None or not call.world.market.is_listed(asset, call.now_ms):
        raise not_found(f"Symbol {symbol} not found")
    return asset


def _interval(call: Call) -> str:
    interval = call.path["interval"]
    problems = INTERVAL.problems(interval)
    if problems:
        raise HttpError(400, problems)
    return interval


ROUTES = (
    health,
    latest_candles,
    candle_history,
    candles,
    symbols,
    signals,
    all_signals,
)
