"""Market data."""

from __future__ import annotations

from ...groups.health import ServiceHealth
from ...groups.indicators import Candle, Signal
from ..listing import BY_SYMBOL, LISTED, Asset
from ..market import INTERVALS
from ..refusals import HttpError, not_found
from ..routing import Call, serves
from ..signals import signal
from ..validation import Choice, Number
from .health import healthy

INTERVAL = Choice(name="interval", choices=tuple(INTERVALS), required=False, about="by default 1h", example="1h")
LATEST_INTERVAL = Choice(name="interval", choices=tuple(INTERVALS), required=False, about="by default 1m", example="1m")
LIMIT = Number(
    name="limit", integer=True, minimum=1, maximum=5000, required=False, about="how many, by default 500", example=500
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
    """Read the health of the indicator service."""
    return healthy(call, "indicators", symbols=len(LISTED), intervals=list(INTERVALS))


@serves("GET", "/api/indicators/candles/latest", list[Candle], query=(LATEST_INTERVAL,))
def latest_candles(call: Call) -> list[Candle]:
    """Read the running candle of each symbol."""
    market, interval = call.world.market, call.query.get("interval", "1m")
    return [candle for asset in LISTED for candle in market.candles(asset, interval, now_ms=call.now_ms, limit=1)]


@serves(
    "GET",
    "/api/indicators/candles/history/:symbol",
    list[Candle],
    query=(INTERVAL, START, END, LIMIT),
    errors=(404,),
)
def candle_history(call: Call) -> list[Candle]:
    """Read historical candles of a symbol, oldest first, from 2020 on."""
    return call.world.market.candles(
        _asset(call),
        call.query.get("interval", "1h"),
        now_ms=call.now_ms,
        limit=call.query.get("limit", 500),
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
    """Read a symbol's most recent candles, oldest first, the running one included."""
    return call.world.market.candles(
        _asset(call),
        _interval(call),
        now_ms=call.now_ms,
        limit=call.query.get("limit", 500),
        start_ms=call.query.get("startTime"),
        end_ms=call.query.get("endTime"),
    )


@serves("GET", "/api/indicators/candles/aggregated/symbols", list[str])
def symbols(call: Call) -> list[str]:
    """Read the symbols, in the order of their indices."""
    return [asset.symbol for asset in LISTED]


@serves("GET", "/api/indicators/signals/:symbol/:interval", list[Signal], errors=(404,))
def signals(call: Call) -> list[Signal]:
    """Read a symbol's signal: averages over 12 and 26 candles, and the relative strength index over 14."""
    return [signal(call.world.market, _asset(call), _interval(call), call.now_ms)]


@serves("GET", "/api/indicators/signals/all/:interval", list[Signal])
def all_signals(call: Call) -> list[Signal]:
    """Read every symbol's signal."""
    interval = _interval(call)
    return [signal(call.world.market, asset, interval, call.now_ms) for asset in LISTED]


def _asset(call: Call) -> Asset:
    symbol = call.path["symbol"]
    asset = BY_SYMBOL.get(symbol)
    if asset is None:
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
