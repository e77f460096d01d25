"""The market: the same prices whatever is asked first, candles that fit exactly, and the flaws of a real one."""

from __future__ import annotations

import hashlib
import statistics
from bisect import bisect_right
from decimal import Decimal
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alura_async.groups.indicators import Candle
from alura_async.sandbox import Sandbox
from alura_async.sandbox.bars import LEAF, SPANS, Bar, History
from alura_async.sandbox.listing import BY_SYMBOL, LISTED
from alura_async.sandbox.market import INTERVALS, Market
from alura_async.sandbox.recorder import CORRECTED, FINAL_AFTER_S, Recorder
from alura_async.sandbox.regimes import Regimes
from alura_async.sandbox.tape import Tape

from .caller import Caller

SECOND = 1000
MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000
YEAR = 365 * DAY
NOW = 1_714_566_615_250  # 2024-05-01T12:30:15.250Z
NOW_S = NOW // 1000

LISTED_SINCE_MS = 1_577_836_800_000  # 2020-01-01
moments = st.integers(LISTED_SINCE_MS + 30 * DAY, NOW)
symbols = st.sampled_from([asset.symbol for asset in LISTED if asset.listed_ms <= NOW])
longer = st.sampled_from(["5m", "15m", "1h", "4h", "1d"])


def candles(market: Market, symbol: str, interval: str, start: int, end: int, now: int = NOW) -> list[Candle]:
    return market.candles(BY_SYMBOL[symbol], interval, now_ms=now, limit=5000, start_ms=start, end_ms=end)


def numbers(candle: Candle) -> dict[str, object]:
    """What a candle says but for its place."""
    return {
        "open": candle.open,
        "high": candle.high,
        "low": candle.low,
        "close": candle.close,
        "volume": candle.volume,
        "trades": candle.trades,
    }


def together(minutes: list[Candle]) -> dict[str, object]:
    """What some candles are together."""
    return {
        "open": minutes[0].open,
        "high": max(minute.high for minute in minutes),
        "low": min(minute.low for minute in minutes),
        "close": minutes[-1].close,
        "volume": sum(minute.volume or 0 for minute in minutes),
        "trades": sum(minute.trades or 0 for minute in minutes),
    }


def outages(seed: int, first: int, last: int) -> list[tuple[int, int]]:
    """Seconds in which nothing was recorded, found by asking hour by hour."""
    recorder = Recorder(seed)
    found: list[tuple[int, int]] = []
    for hour in range(first // 3600, last // 3600):
        rest = hour * 3600
        for start, end in [*recorder.recorded(hour * 3600, hour * 3600 + 3600), (hour * 3600 + 3600, 0)]:
            if start > rest:
                if found and found[-1][1] == rest:
                    found[-1] = (found[-1][0], start)
                else:
                    found.append((rest, start))
            rest = end
    return found


OUTAGES = outages(7, LISTED_SINCE_MS // 1000, NOW_S)


def test_the_documented_assets_have_their_documented_indices_and_there_are_many() -> None:
    assert [asset.symbol for asset in LISTED[:6]] == ["BTC", "ETH", "SOL", "XRP", "DOGE", "AVAX"]
    assert [asset.index for asset in LISTED] == list(range(len(LISTED)))
    assert {"kPEPE", "kBONK", "PURR/USDC"} < set(BY_SYMBOL)
    assert len(LISTED) == len(BY_SYMBOL) >= 50


def test_the_same_seed_gives_the_same_bytes_on_every_machine() -> None:
    """Pinned: a change here changes every recorded expectation of every user."""
    digest = hashlib.sha256()
    for interval in INTERVALS:
        for symbol in ("BTC", "kPEPE", "PURR/USDC"):
            page = Market(7).candles(BY_SYMBOL[symbol], interval, now_ms=NOW, limit=50)
            digest.update(msgspec.json.encode(page))
    assert digest.hexdigest() == "2087e884e42b4b49f7c28ddfc24dbbebf7b41fc93e5e70402a58e6580a06dc4b"


@settings(max_examples=30, deadline=None)
@given(symbol=symbols, interval=st.sampled_from(list(INTERVALS)), moment=moments, other=moments)
def test_a_window_is_the_same_whatever_was_asked_before(symbol: str, interval: str, moment: int, other: int) -> None:
    span = SPANS[INTERVALS[interval]] * 1000
    used = Market(7)
    candles(used, symbol, "1m", other, other + 300 * MINUTE)
    used.price(BY_SYMBOL[symbol], max(other, BY_SYMBOL[symbol].listed_ms))
    window = candles(used, symbol, interval, moment, moment + 10 * span)
    assert window == candles(Market(7), symbol, interval, moment, moment + 10 * span)
    assert window != candles(Market(8), symbol, interval, moment, moment + 10 * span) or not window


@settings(max_examples=40, deadline=None)
@given(symbol=symbols, interval=longer, moment=moments, near=st.booleans(), pick=st.integers(0, 10**6))
def test_a_candle_is_exactly_the_minutes_of_it_that_there_are(
    symbol: str, interval: str, moment: int, near: bool, pick: int
) -> None:
    """Also where an outage or the listing cuts it."""
    market = Market(7)
    if near:
        edges = [BY_SYMBOL[symbol].listed_ms, *(second * 1000 for gap in OUTAGES for second in gap)]
        moment = edges[pick % len(edges)]
    span = SPANS[INTERVALS[interval]] * 1000
    first = moment // span * span
    later = first + span + FINAL_AFTER_S * 1000
    found = candles(market, symbol, interval, first, first, now=later)
    minutes = candles(market, symbol, "1m", first, first + span - 1, now=later)
    assert bool(found) == bool(minutes)
    for whole in found:
        assert numbers(whole) == together(minutes)
        assert whole.close_time_ms == first + span - 1


@settings(max_examples=25, deadline=None)
@given(symbol=symbols, interval=longer, moment=moments, seed=st.integers(0, 5))
def test_a_running_candle_is_the_seconds_of_it_that_are_over(
    symbol: str, interval: str, moment: int, seed: int
) -> None:
    """Unless it is one of those that are recorded late."""
    market, asset = Market(seed), BY_SYMBOL[symbol]
    span = SPANS[INTERVALS[interval]]
    second = moment // 1000
    opens = second // span * span
    running = candles(market, symbol, interval, opens * 1000, opens * 1000, now=moment)
    tape = Tape(History(asset, seed, Regimes(seed)))
    pieces = Recorder(seed).recorded(max(opens, asset.listed_ms // 1000), second)
    if Recorder(seed).late(symbol, INTERVALS[interval], opens // span) is not None:
        return
    walked = [tape.bar(LEAF, each) for start, end in pieces for each in range(max(start, end - 3000), end)]
    traded = [bar for bar in walked if bar.trades]
    if traded:
        (candle,) = running
        assert candle.close == asset.price(traded[-1].close)
        assert candle.high >= asset.price(max(bar.high for bar in traded))
        assert candle.low <= asset.price(min(bar.low for bar in traded))
    if pieces and sum(end - start for start, end in pieces) == len(walked):
        assert [candle.trades for candle in running] == ([sum(bar.trades for bar in traded)] if traded else [])


@settings(max_examples=25, deadline=None)
@given(symbol=symbols, moment=moments)
def test_candles_are_sound_and_join_on(symbol: str, moment: int) -> None:
    window = candles(Market(7), symbol, "1m", moment, moment + 120 * MINUTE, now=moment + 2 * DAY)
    for candle in window:
        assert 0 < candle.low <= min(candle.open, candle.close)
        assert max(candle.open, candle.close) <= candle.high
        assert candle.trades is not None
        assert candle.trades > 0
        assert candle.volume is not None
        assert candle.volume > 0
        if candle.trades == 1:
            assert {candle.high, candle.low} == {candle.open, candle.close}
    cut = {bisect_right(OUTAGES, (candle.open_time_ms // 1000, 0)) for candle in window}
    for before, after in pairwise(window):
        assert after.open_time_ms > before.open_time_ms
        assert before.close_text == after.open_text or len(cut) > 1


@settings(max_examples=40, deadline=None)
@given(symbol=symbols, day=st.integers(18_300, 19_800), path=st.lists(st.integers(0, 5), min_size=8, max_size=8))
def test_the_parts_of_a_bar_are_exactly_the_bar_down_to_the_second(symbol: str, day: int, path: list[int]) -> None:
    history = History(BY_SYMBOL[symbol], 7, Regimes(7))
    index = day
    for level, turn in enumerate(path):
        bar, inside = history.bar(level, index), history.inside(level, index)
        for part in (bar, *inside):
            assert part.low <= min(part.open, part.close) <= max(part.open, part.close) <= part.high
            # Neither moved nor measured without trades, and no further than they can reach.
            beyond = (part.high > max(part.open, part.close)) + (part.low < min(part.open, part.close))
            assert beyond <= max(0, part.trades - 1)
            assert part.trades or part == Bar(part.open, part.open, part.open, part.open, 0, 0)
            assert part.volume >= part.trades
        assert [part.open for part in inside] == [bar.open, *(part.close for part in inside[:-1])]
        assert inside[-1].close == bar.close
        assert (max(part.high for part in inside), min(part.low for part in inside)) == (bar.high, bar.low)
        assert (sum(part.volume for part in inside), sum(part.trades for part in inside)) == (bar.volume, bar.trades)
        index = index * len(inside) + turn % len(inside)


@settings(max_examples=40, deadline=None)
@given(symbol=symbols, moment=moments, later=st.integers(0, 59_999))
def test_the_price_lies_in_the_candle_that_covers_it(symbol: str, moment: int, later: int) -> None:
    market, asset = Market(7), BY_SYMBOL[symbol]
    opened = max(moment, asset.listed_ms + MINUTE) // MINUTE * MINUTE
    price = market.price(asset, opened + later)
    for whole in candles(market, symbol, "1m", opened, opened, now=opened + DAY):
        if Recorder(7).recorded(opened // 1000, opened // 1000 + 60) == [(opened // 1000, opened // 1000 + 60)]:
            assert whole.low <= price <= whole.high
            assert market.price(asset, opened) == whole.open
            assert market.price(asset, opened + MINUTE) == whole.close


@settings(max_examples=15, deadline=None)
@given(
    symbol=st.sampled_from(["ETH", "GMX"]),
    moment=st.integers(NOW // 1000 - 10**7, NOW // 1000),
    length=st.integers(1, 5000),
    up=st.integers(1, 4000),
    down=st.integers(1, 4000),
)
def test_the_first_touch_is_what_a_walk_over_every_second_finds(
    symbol: str, moment: int, length: int, up: int, down: int
) -> None:
    tape = Tape(History(BY_SYMBOL[symbol], 7, Regimes(7)))
    start = tape.ticks(moment)
    upper, lower = start + up, start - down
    walked = None
    for second in range(moment, moment + length):
        bar = tape.bar(LEAF, second)
        if bar.low <= lower or bar.high >= upper:
            walked = (second, bar.low > lower)
            break
    assert tape.first_touch(moment, moment + length, upper, lower) == walked


def test_quiet_minutes_come_with_thin_trading() -> None:
    market = Market(7)
    quiet = {}
    for asset in (*LISTED[:48:6], BY_SYMBOL["GMX"], BY_SYMBOL["PURR/USDC"]):
        window = market.candles(asset, "1m", now_ms=NOW + 5 * DAY, limit=1200)
        minutes = (window[-1].open_time_ms - window[0].open_time_ms) // MINUTE + 1
        quiet[asset.symbol] = 1 - len(window) / minutes
        usual = asset.trades / 1440
        if usual > 60:
            assert quiet[asset.symbol] == 0, asset.symbol
        elif usual > 8:
            assert quiet[asset.symbol] < 0.05, asset.symbol
    assert 0.08 < quiet["PURR/USDC"] < 0.5
    assert 0.02 < quiet["GMX"] < 0.35
    assert quiet["BTC"] == 0
    history = History(BY_SYMBOL["BTC"], 7, Regimes(7))
    seconds = [history.bar(LEAF, second).trades for second in range(NOW_S - 6000, NOW_S)]
    assert 0.05 < seconds.count(0) / len(seconds) < 0.6


def test_an_asset_moves_in_a_day_about_as_much_as_it_is_said_to() -> None:
    for symbol in ("BTC", "ETH", "DOGE", "kPEPE", "PURR/USDC"):
        ratios = []
        for seed in range(3):
            history, regimes = History(BY_SYMBOL[symbol], seed, Regimes(seed)), Regimes(seed)
            days = [
                history.bar(0, day)
                for day in range(18_300, 18_300 + 700)
                if regimes.period(day // 256)[day % 256].crash is None
            ]
            moved = statistics.pstdev((bar.close - bar.open) / bar.open for bar in days)
            ratios.append(moved * 1_000_000 / BY_SYMBOL[symbol].volatility)
        assert 0.7 < statistics.mean(ratios) < 1.3, symbol


def test_some_weeks_are_quiet_and_some_are_wild() -> None:
    for seed in range(3):
        history = History(BY_SYMBOL["BTC"], seed, Regimes(seed))
        ranges = [(bar.high - bar.low) / bar.open for bar in (history.bar(0, day) for day in range(19_000, 19_700))]
        weeks = sorted(statistics.mean(ranges[place : place + 7]) for place in range(0, 700, 7))
        assert weeks[-5] > 2 * weeks[5]


@pytest.mark.parametrize("seed", range(6))
def test_within_any_three_years_the_market_crashes_within_hours_and_thin_assets_fall_further(seed: int) -> None:
    regimes = Regimes(seed)
    btc, thin = (History(BY_SYMBOL[symbol], seed, regimes) for symbol in ("BTC", "PURR/USDC"))
    crashes = {}
    for day in range(18_262, 18_262 + 8 * 365):
        crash = regimes.period(day // 256)[day % 256].crash
        if crash is not None:
            start, end = day * 86_400 + crash.start, day * 86_400 + crash.end
            assert 480 <= end - start <= 4 * 3600
            crashes[day] = [1 - asset.ticks(end) / asset.ticks(start) for asset in (btc, thin)]
    days = [18_262, *crashes, 18_262 + 8 * 365]
    assert max(after - before for before, after in pairwise(days)) < 3 * 365
    assert 1 <= len(crashes) / 8 <= 5
    # The market's own noise is on top of what a crash takes.
    assert all(0.03 < fall < 0.4 for fall, _ in crashes.values()), crashes
    assert statistics.mean(fall for _, fall in crashes.values()) > 1.2 * statistics.mean(
        fall for fall, _ in crashes.values()
    )


def test_prices_never_come_near_nothing() -> None:
    for seed in range(3):
        for asset in (BY_SYMBOL["PUMP"], BY_SYMBOL["kPEPE"]):
            history = History(asset, seed, Regimes(seed))
            assert min(history.bar(0, day).low for day in range(18_262, 18_262 + 1500)) > asset.base // 100


def test_assets_are_listed_one_after_the_other_and_have_no_past_before() -> None:
    listed = [asset.listed_ms for asset in LISTED]
    assert listed == sorted(listed)
    assert set(listed[:6]) == {LISTED_SINCE_MS}
    assert any(moment % DAY for moment in listed)
    assert any(moment % MINUTE for moment in listed)
    market = Market(7)
    for asset in (*LISTED[::5], BY_SYMBOL["ZRO"], LISTED[-1]):
        since = asset.listed_ms
        assert [market.is_listed(asset, since + shift) for shift in (-1, 0)] == [False, True]
        for interval, level in INTERVALS.items():
            span = SPANS[level] * 1000
            page = market.candles(asset, interval, now_ms=since + 9 * DAY, limit=3, start_ms=0)
            assert since // span * span <= page[0].open_time_ms <= since // span * span + 30 * MINUTE
            assert market.candles(asset, interval, now_ms=since + 9 * DAY, limit=9, end_ms=since - span) == []
        (day,) = market.candles(asset, "1d", now_ms=since + 9 * DAY, limit=1, start_ms=since // DAY * DAY)
        minutes = candles(market, asset.symbol, "1m", 0, (since // DAY + 1) * DAY - 1, now=since + 9 * DAY)
        assert numbers(day) == together(minutes)
        assert market.candles(asset, "1d", now_ms=since, limit=5) == []


def test_the_recorder_is_down_a_few_times_a_year_for_all_symbols_at_once() -> None:
    years = (NOW_S - LISTED_SINCE_MS // 1000) / (365 * 86_400)
    assert 1 < len(OUTAGES) / years < 7
    assert all(420 <= end - start <= 10_800 for start, end in OUTAGES)
    market = Market(7)
    start, end = OUTAGES[-1]
    for symbol in ("BTC", "ETH", "DOGE"):
        inside = candles(market, symbol, "1m", -(-start // 60) * MINUTE, (end // 60 - 1) * MINUTE)
        assert inside == []
        around = candles(market, symbol, "1m", (start // 60 - 1) * MINUTE, (end // 60 + 1) * MINUTE)
        assert {around[0].open_time_ms, around[-1].open_time_ms} == {
            (start // 60 - 1) * MINUTE,
            (end // 60 + 1) * MINUTE,
        }
        prices = {market.ticks(BY_SYMBOL[symbol], second * 1000) for second in range(start, end, 60)}
        assert len(prices) > 3
        assert len(market.candles(BY_SYMBOL[symbol], "1m", now_ms=end * 1000 + DAY, limit=3000)) == 3000


def late_candles(symbol: str, interval: str, count: int) -> list[tuple[int, int, int]]:
    """Candles that are corrected: index, lag and when they are final."""
    recorder, level, span = Recorder(7), INTERVALS[interval], SPANS[INTERVALS[interval]]
    last = NOW_S // span - 20
    found = []
    for index in range(last - count, last):
        late = recorder.late(symbol, level, index)
        if late is not None:
            found.append((index, late.lag, (index + 1) * span + late.after))
    return found


@pytest.mark.parametrize("interval", INTERVALS)
def test_one_candle_in_sixty_is_corrected_late(interval: str) -> None:
    share = len(late_candles("BTC", interval, 6000)) / 6000
    assert 0.6 < share * CORRECTED < 1.4


@pytest.mark.parametrize("symbol", ["BTC", "SOL", "GMX", "PURR/USDC"])
def test_a_corrected_candle_changes_once_after_its_close_and_within_ten_minutes(symbol: str) -> None:
    market = Market(7)
    changed = 0
    for index, lag, final in late_candles(symbol, "1m", 600):
        close = (index + 1) * 60
        forms = [
            candles(market, symbol, "1m", index * MINUTE, index * MINUTE, now=second * 1000)
            for second in range(close - lag - 1, close + FINAL_AFTER_S + 60)
        ]
        last = forms[-1][0] if forms[-1] else None
        turns = [close - lag - 1 + place for place, (one, two) in enumerate(pairwise(forms), 1) if one != two]
        # Up to its lag it runs, then it stands still, then it is corrected: nothing is ever taken back.
        assert [turn for turn in turns if turn > close - lag] in ([], [final])
        assert close + 20 <= final <= close + FINAL_AFTER_S
        if final in turns:
            changed += 1
            assert last is not None
            before = forms[final - 1 - (close - lag - 1)]
            assert (last.trades or 0) > sum(form.trades or 0 for form in before)
            assert all(form.low >= last.low and form.high <= last.high for form in before)
    assert changed > 0


def test_the_past_that_is_final_stays_as_it_is() -> None:
    market = Market(7)
    told: dict[int, Candle] = {}
    for second in range(NOW_S, NOW_S + 3600, 30):
        page = market.candles(BY_SYMBOL["GMX"], "1m", now_ms=second * 1000, limit=60)
        for candle in page:
            if candle.open_time_ms + MINUTE + FINAL_AFTER_S * 1000 <= second * 1000:
                assert told.setdefault(candle.open_time_ms, candle) == candle
    assert len(told) > 60


@settings(max_examples=20, deadline=None)
@given(symbol=symbols, interval=st.sampled_from(list(INTERVALS)), limit=st.integers(1, 60), pick=st.integers(0, 10**6))
def test_the_limit_counts_the_candles_that_there_are(symbol: str, interval: str, limit: int, pick: int) -> None:
    market, asset = Market(7), BY_SYMBOL[symbol]
    span = SPANS[INTERVALS[interval]] * 1000
    edges = [asset.listed_ms, NOW, *(gap[0] * 1000 for gap in OUTAGES if gap[0] * 1000 > asset.listed_ms)]
    middle = edges[pick % len(edges)]
    around = candles(market, symbol, interval, middle - 300 * span, middle + 300 * span)
    up_to = [candle for candle in around if candle.open_time_ms <= middle]
    from_there = [candle for candle in around if candle.open_time_ms >= middle]
    assert market.candles(asset, interval, now_ms=NOW, limit=limit, end_ms=middle) == up_to[-limit:]
    assert market.candles(asset, interval, now_ms=NOW, limit=limit, start_ms=middle) == from_there[:limit]
    numbered = market.recent(asset, interval, limit, NOW)
    assert [index * span for index, _ in numbered] == [
        candle.open_time_ms for candle in market.candles(asset, interval, now_ms=NOW, limit=limit)
    ]


def test_the_future_is_not_shown_and_the_past_ends_in_2020() -> None:
    market = Market(7)
    assert candles(market, "BTC", "1m", NOW + MINUTE, NOW + 9 * MINUTE) == []
    assert candles(market, "BTC", "1h", NOW, NOW + DAY) == []
    assert candles(market, "BTC", "1h", NOW - 3_600_000, NOW + DAY)[-1].open_time_ms <= NOW
    (oldest, *_) = candles(market, "BTC", "1d", 0, NOW)
    assert oldest.open_time_ms == LISTED_SINCE_MS


@pytest.mark.anyio
async def test_any_number_is_a_start_or_an_end(stranger: Caller) -> None:
    huge = 10**18 - 1
    path = "/api/indicators/candles/history/BTC?interval=1m&limit=5"
    assert await stranger.get(f"{path}&startTime={huge}") == []
    assert await stranger.get(f"{path}&endTime=-{huge}") == []
    assert len(await stranger.get(f"{path}&startTime=-{huge}")) == 5
    assert len(await stranger.get(f"{path}&endTime={huge}")) == 5
    assert await stranger.get(f"{path}&startTime={huge}&endTime=-{huge}") == []


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
    assert (await stranger.get(path))[-1]["t"] == before[-1]["t"]
    sandbox.advance(seconds=20)
    (closed, running) = (await stranger.get(path))[-2:]
    assert closed["t"] == before[-1]["t"]
    assert running["t"] == closed["t"] + MINUTE
    assert running["o"] == closed["c"]
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


@pytest.mark.anyio
async def test_a_new_listing_appears_when_the_clock_reaches_it(stranger: Caller, sandbox: Sandbox) -> None:
    newcomer = next(asset for asset in LISTED if asset.listed_ms > NOW)
    before = [asset.symbol for asset in LISTED[: newcomer.index]]
    caller = await stranger.sign_in()
    body = {"budget": 100, "profitTarget": 40, "assetIndex": newcomer.index}

    async def seen() -> tuple[list[str], set[str], set[str], int, int]:
        return (
            await stranger.get("/api/indicators/candles/aggregated/symbols"),
            {candle["s"] for candle in await stranger.get("/api/indicators/candles/latest?interval=1d")},
            {signal["symbol"] for signal in await stranger.get("/api/indicators/signals/all/1m")},
            (await stranger.call("GET", f"/api/indicators/candles/{newcomer.symbol}/1m")).status,
            (await stranger.call("GET", f"/api/indicators/signals/{newcomer.symbol}/1m")).status,
        )

    assert await seen() == (before, set(before), set(before), 404, 404)
    refused = await caller.call("POST", "/trading-sessions", body)
    assert (refused.status, refused.data["message"]) == (400, f"Unknown asset index: {newcomer.index}")
    sandbox.advance(seconds=(newcomer.listed_ms - NOW // 1000 * 1000) / 1000 + 120)
    await caller.sign_in()
    after = [*before, newcomer.symbol]
    assert await seen() == (after, set(after), set(after), 200, 200)
    (candle, *_) = await stranger.get(f"/api/indicators/candles/{newcomer.symbol}/1d")
    assert candle["t"] == newcomer.listed_ms // DAY * DAY
    assert (await caller.post("/trading-sessions", body))["symbol"] == newcomer.symbol
