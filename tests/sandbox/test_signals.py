"""Signals: the same numbers as another implementation of the same formulas gives."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy
import pytest
import talib

from alura_async.sandbox import Sandbox
from alura_async.sandbox.bars import Bar
from alura_async.sandbox.listing import BY_SYMBOL, LISTED
from alura_async.sandbox.market import INTERVALS, Market
from alura_async.sandbox.signals import (
    LOOKBACK,
    Signals,
    average,
    bands,
    convergence,
    relative_strength,
    true_range,
)

from .caller import Caller

NOW = 1_714_566_615_250  # 2024-05-01T12:30:15.250Z
MINUTE = 60_000


def column(values: Any) -> Any:
    return numpy.array([float(value) for value in values])


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("symbol", ["BTC", "GMX", "kPEPE"])
def test_the_formulas_are_those_of_ta_lib(symbol: str, interval: str) -> None:
    bars = [bar for _, bar in Market(7).recent(BY_SYMBOL[symbol], interval, LOOKBACK, NOW)]
    closes = [bar.close for bar in bars]
    close, high, low = column(closes), column(bar.high for bar in bars), column(bar.low for bar in bars)
    near = pytest.approx

    for length in (12, 26):
        assert average(closes, length) == near(talib.EMA(close, length)[length - 1 :].tolist(), rel=1e-12)
    assert relative_strength(closes) == near(talib.RSI(close, 14)[-1], rel=1e-9)
    assert true_range(bars) == near(talib.ATR(high, low, close, 14)[-1], rel=1e-9)
    assert convergence(closes) == near([each[-1] for each in talib.MACD(close, 12, 26, 9)], rel=1e-6, abs=1e-6)
    # TA-Lib loses digits in the square of a large price.
    assert bands(closes) == near([each[-1] for each in talib.BBANDS(close, 20, 2, 2)], rel=1e-6)


@pytest.mark.anyio
async def test_what_is_served_follows_from_the_candles_that_are_served(stranger: Caller) -> None:
    for path in ("BTC/1m", "PURR%2FUSDC/1m", "ETH/4h"):
        candles = await stranger.get(f"/api/indicators/candles/{path}?limit={LOOKBACK}")
        (signal,) = await stranger.get(f"/api/indicators/signals/{path}")
        close, high, low = (column(candle[name] for candle in candles) for name in "chl")
        tick = 10 ** -len(candles[0]["c"].split(".")[1])
        macd, line, histogram = (each[-1] for each in talib.MACD(close, 12, 26, 9))
        upper, middle, lower = (each[-1] for each in talib.BBANDS(close, 20, 2, 2))
        expected = {
            "ema12": talib.EMA(close, 12)[-1],
            "ema26": talib.EMA(close, 26)[-1],
            "macd": macd,
            "macdSignal": line,
            "macdHistogram": histogram,
            "atr14": talib.ATR(high, low, close, 14)[-1],
            "bollingerUpper": upper,
            "bollingerMiddle": middle,
            "bollingerLower": lower,
        }
        served = {name: float(value) for name, value in signal["indicators"].items()}
        assert served.pop("rsi14") == pytest.approx(talib.RSI(close, 14)[-1], abs=0.006)
        assert served == pytest.approx(expected, rel=2e-6, abs=tick * 1e-3)
        written = {name: Decimal(value) for name, value in signal["indicators"].items()}
        assert written["macdHistogram"] == written["macd"] - written["macdSignal"]
        assert not any("E" in value for value in signal["indicators"].values())
        assert float(signal["price"]) == close[-1]
        rises = served["ema12"] > served["ema26"]
        strength = float(signal["indicators"]["rsi14"])
        assert signal["action"] == (
            "buy" if rises and strength < 70 else "sell" if not rises and strength > 30 else "hold"
        )


@pytest.mark.anyio
async def test_the_histogram_of_a_cheap_asset_is_not_rounded_away(stranger: Caller, sandbox: Sandbox) -> None:
    for _ in range(10):
        sandbox.advance(minutes=7)
        for symbol in ("DOGE", "kPEPE", "PURR%2FUSDC"):
            (signal,) = await stranger.get(f"/api/indicators/signals/{symbol}/1m")
            assert Decimal(signal["indicators"]["macdHistogram"]) != 0
            assert len(Decimal(signal["indicators"]["atr14"]).as_tuple().digits) <= 8


@pytest.mark.anyio
async def test_during_an_outage_the_service_is_degraded_and_signals_stay_at_their_newest_candle(
    stranger: Caller, sandbox: Sandbox
) -> None:
    health, path = "/api/indicators/health", "/api/indicators/signals/BTC/1m"
    assert (await stranger.get(health))["status"] == "ok"
    assert (await stranger.get(path))[0]["timestamp"] == "2024-05-01T12:30:15Z"
    sandbox.market.outage(over="1h", at=sandbox.now + timedelta(seconds=5))
    sandbox.market.outage(over="1h", at=sandbox.now + timedelta(minutes=59))
    sandbox.advance(minutes=90)
    down = await stranger.get(health)
    assert (down["status"], down["details"]["downSince"]) == ("degraded", "2024-05-01T12:30:20Z")
    assert (await stranger.get(path))[0]["timestamp"] == "2024-05-01T12:30:59.999000Z"
    sandbox.advance(minutes=30)
    assert (await stranger.get(health))["status"] == "ok"
    assert (await stranger.get(path))[0]["timestamp"] == "2024-05-01T14:30:15Z"


def test_too_few_candles_give_no_number_and_no_advice() -> None:
    newcomer = LISTED[-1]
    market = Market(7)
    first = Signals(market).of(newcomer, "1h", newcomer.listed_ms)
    assert (first.price, first.action, set((first.indicators or {}).values())) == (None, "hold", {None})
    later = Signals(market).of(newcomer, "1h", newcomer.listed_ms + 20 * 60 * MINUTE)
    numbers = later.indicators or {}
    assert {name for name, value in numbers.items() if value is None} == {
        "ema26",
        "macd",
        "macdSignal",
        "macdHistogram",
    }
    assert later.action == "hold"


def test_flat_and_one_sided_closes_have_their_extremes() -> None:
    assert relative_strength([5] * 20) == talib.RSI(column([5] * 20), 14)[-1] == 0
    assert relative_strength(range(20)) == 100
    assert relative_strength(range(20, 0, -1)) == 0
    assert bands([7] * 20) == (7, 7, 7)
    assert true_range([Bar(5, 5, 5, 5, 1, 1)] * 15) == 0


def test_what_is_kept_never_differs_from_what_is_computed_anew() -> None:
    market = Market(7)
    kept = Signals(market)
    for second in range(0, 1500, 7):
        for symbol in ("BTC", "PURR/USDC"):
            now = NOW + second * 1000
            fresh = Signals(market).of(BY_SYMBOL[symbol], "1m", now)
            assert kept.of(BY_SYMBOL[symbol], "1m", now) == fresh


@pytest.mark.anyio
async def test_a_crash_shows_in_the_signals(stranger: Caller, sandbox: Sandbox) -> None:
    path = "/api/indicators/signals/BTC/1m"
    (before,) = await stranger.get(path)
    sandbox.market.crash("BTC", percent=20, over="30m")
    assert await stranger.get(path) == [before]
    sandbox.advance(minutes=25)
    (after,) = await stranger.get(path)
    assert float(after["indicators"]["rsi14"]) < 15
    assert float(after["indicators"]["ema12"]) < float(after["indicators"]["ema26"])
    assert float(after["indicators"]["atr14"]) > 2 * float(before["indicators"]["atr14"])
