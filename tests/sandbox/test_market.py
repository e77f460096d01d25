"""The market: the same prices whatever is asked first, and candles that fit together exactly."""

from __future__ import annotations

import hashlib
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alura_async.groups.indicators import Candle
from alura_async.sandbox import Sandbox
from alura_async.sandbox.bars import SPANS, History
from alura_async.sandbox.listing import BY_SYMBOL, LISTED
from alura_async.sandbox.market import INTERVALS, LISTED_SINCE_MS, Market
from alura_async.sandbox.signals import average, relative_strength

from .caller import Caller

MINUTE = 60_000
DAY = 86_400_000
NOW = 1_714_566_615_250  # 2024-05-01T12:30:15.250Z

moments = st.integers(LISTED_SINCE_MS + 30 * DAY, NOW)
symbols = st.sampled_from([asset.symbol for asset in LISTED])


def candles(market: Market, symbol: str, interval: str, start: int, end: int, now: int = NOW) -> list[Candle]:
    return market.candles(BY_SYMBOL[symbol], interval, now_ms=now, limit=5000, start_ms=start, end_ms=end)


def test_the_documented_assets_have_their_documented_indices_and_there_are_many() -> None:
    assert [asset.symbol for asset in LISTED[:6]] == ["BTC", "ETH", "SOL", "XRP", "DOGE", "AVAX"]
    assert [asset.index for asset in LISTED] == list(range(len(LISTED)))
    assert {"kPEPE", "kBONK", "PURR/USDC"} < set(BY_SYMBOL)
    assert len(LISTED) == len(BY_SYMBOL) >= 40


def test_the_same_seed_gives_the_same_bytes_on_every_machine() -> None:
    """Pinned: a change here changes every recorded expectation of every user."""
    digest = hashlib.sha256()
    for interval in INTERVALS:
        for symbol in ("BTC", "kPEPE", "PURR/USDC"):
            page = Market(7).candles(BY_SYMBOL[symbol], interval, now_ms=NOW, limit=50)
            digest.update(msgspec.json.encode(page))
    assert digest.hexdigest() == "ac6dd35ff383c71b8d40f2f601ad52970ba371cd9b098668d24fb4ba5ce66325"


@settings(max_examples=40, deadline=None)
@given(symbol=symbols, interval=st.sampled_from(list(INTERVALS)), moment=moments, other=moments)
def test_a_window_is_the_same_whatever_was_asked_before(symbol: str, interval: str, moment: int, other: int) -> None:
    span = SPANS[INTERVALS[interval]] * 1000
    used = Market(7)
    candles(used, symbol, "1m", other, other + 300 * MINUTE)
    used.price(BY_SYMBOL[symbol], other)
    window = candles(used, symbol, interval, moment, moment + 10 * span)
    assert window == candles(Market(7), symbol, interval, moment, moment + 10 * span)
    assert window != candles(Market(8), symbol, interval, moment, moment + 10 * span) or not window


@settings(max_examples=25, deadline=None)
@given(symbol=symbols, interval=st.sampled_from(["5m", "15m", "1h", "4h", "1d"]), moment=moments)
def test_a_candle_is_exactly_its_minutes_also_while_it_runs(symbol: str, interval: str, moment: int) -> None:
    market = Market(7)
    span = SPANS[INTERVALS[interval]] * 1000
    first = moment // span * span
    (whole,) = candles(market, symbol, interval, first, first, now=moment)
    minutes = candles(market, symbol, "1m", first, moment, now=moment)
    assert whole.open_text == minutes[0].open_text
    assert whole.close_text == minutes[-1].close_text
    assert whole.high == max(minute.high for minute in minutes)
    assert whole.low == min(minute.low for minute in minutes)
    assert whole.volume == sum(minute.volume or 0 for minute in minutes)
    assert whole.trades == sum(minute.trades or 0 for minute in minutes)
    assert whole.close_time_ms == first + span - 1


@settings(max_examples=25, deadline=None)
@given(symbol=symbols, moment=moments)
def test_candles_are_sound_and_join_on(symbol: str, moment: int) -> None:
    window = candles(Market(7), symbol, "1m", moment, moment + 120 * MINUTE)
    for candle in window:
        assert 0 < candle.low <= min(candle.open, candle.close)
        assert max(candle.open, candle.close) <= candle.high
        assert candle.volume is not None
        assert candle.volume >= 0
    closed = window[:-1]
    for before, after in zip(closed, window[1:], strict=True):
        assert before.close_text == after.open_text
        assert after.open_time_ms - before.open_time_ms == MINUTE


@settings(max_examples=40, deadline=None)
@given(symbol=symbols, moment=moments, later=st.integers(0, 59_999))
def test_the_price_lies_in_the_candle_that_covers_it(symbol: str, moment: int, later: int) -> None:
    market, asset = Market(7), BY_SYMBOL[symbol]
    opened = moment // MINUTE * MINUTE
    price = market.price(asset, opened + later)
    (whole,) = candles(market, symbol, "1m", opened, opened, now=opened + MINUTE)
    (running,) = candles(market, symbol, "1m", opened, opened, now=opened + later)
    assert whole.low <= running.low <= price <= running.high <= whole.high
    assert running.close == price
    assert market.price(asset, opened) == whole.open


@settings(max_examples=20, deadline=None)
@given(
    moment=st.integers(NOW // 1000 - 10**7, NOW // 1000),
    length=st.integers(1, 5000),
    up=st.integers(1, 4000),
    down=st.integers(1, 4000),
)
def test_the_first_touch_is_what_a_walk_over_every_second_finds(moment: int, length: int, up: int, down: int) -> None:
    history = History(BY_SYMBOL["ETH"], 7)
    start = history.ticks(moment)
    upper, lower = start + up, start - down
    walked = None
    for second in range(moment, moment + length):
        bar = history.bar(len(SPANS) - 1, second)
        if bar.low <= lower or bar.high >= upper:
            walked = (second, bar.low > lower)
            break
    assert history.first_touch(moment, moment + length, upper, lower) == walked


def test_the_future_is_not_shown_and_the_past_ends_in_2020() -> None:
    market = Market(7)
    assert candles(market, "BTC", "1m", NOW + MINUTE, NOW + 9 * MINUTE) == []
    assert candles(market, "BTC", "1h", NOW, NOW + DAY) == []
    assert candles(market, "BTC", "1h", NOW - 3_600_000, NOW + DAY)[-1].open_time_ms <= NOW
    (oldest, *_) = candles(market, "BTC", "1d", 0, NOW)
    assert oldest.open_time_ms == LISTED_SINCE_MS


def test_signals_follow_their_formulas() -> None:
    assert average([10, 10, 10], 12) == 10
    assert average([0, 13], 12) == pytest.approx(2)
    assert relative_strength([1, 2, 3, 4]) == 100
    assert relative_strength([5, 5, 5]) == 50
    assert relative_strength([10, 11, 10]) == 50
    assert relative_strength([10, 13, 12]) == 75


@pytest.mark.anyio
async def test_the_running_candle_changes_as_the_clock_moves(stranger: Caller, sandbox: Sandbox) -> None:
    path = "/api/indicators/candles/BTC/1m?limit=3"
    before = await stranger.get(path)
    assert before[-1]["t"] == 1_714_566_600_000
    sandbox.advance(seconds=30)
    after = await stranger.get(path)
    assert after[:-1] == before[:-1]
    assert after[-1]["t"] == before[-1]["t"]
    assert after[-1]["n"] > before[-1]["n"]
    sandbox.advance(seconds=15)
    (closed, running) = (await stranger.get(path))[-2:]
    assert closed["t"] == before[-1]["t"]
    assert running["o"] == running["c"] == closed["c"]
    assert Decimal(closed["h"]) >= Decimal(after[-1]["h"])


@pytest.mark.anyio
async def test_pages_of_history_can_be_walked_forward_and_backward(stranger: Caller) -> None:
    path = "/api/indicators/candles/history/PURR%2FUSDC?interval=15m"
    forward = await stranger.get(f"{path}&startTime={NOW - DAY}&limit=40")
    assert len(forward) == 40
    assert forward[0]["s"] == "PURR/USDC"
    assert NOW - DAY <= forward[0]["t"] < NOW - DAY + 15 * MINUTE
    assert await stranger.get(f"{path}&startTime={forward[0]['t']}&endTime={forward[-1]['t']}") == forward
    backward = await stranger.get(f"{path}&endTime={forward[-1]['t']}&limit=40")
    assert backward == forward
    assert len(await stranger.get("/api/indicators/candles/BTC/1m")) == 500
    assert len(await stranger.get("/api/indicators/candles/latest")) == len(LISTED)
    assert await stranger.get("/api/indicators/candles/aggregated/symbols") == [asset.symbol for asset in LISTED]
