"""Scripts: the market does what it is told to, exactly, and what was told before stays as it was."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alura_async.errors import ConfigurationError
from alura_async.sandbox import Sandbox
from alura_async.sandbox.bars import LEAF, SPANS, History
from alura_async.sandbox.listing import BY_SYMBOL, LISTED
from alura_async.sandbox.market import INTERVALS, Market
from alura_async.sandbox.regimes import Regimes
from alura_async.sandbox.tape import Halt, Move, Tape, joined

from .caller import Caller
from .conftest import START

MINUTE = 60_000
NOW = int(START.timestamp()) * 1000
NOW_S = NOW // 1000

symbols = st.sampled_from(["BTC", "ETH", "GMX", "PURR/USDC", "kPEPE"])


def new_sandbox(**settings: Any) -> Sandbox:
    return Sandbox(**{"seed": 7, "start": START, "speed": 0, "limit": None, **settings})


def tape(symbol: str) -> Tape:
    return Tape(History(BY_SYMBOL[symbol], 7, Regimes(7)))


@st.composite
def scripts(draw: st.DrawFn) -> list[Move | Halt]:
    """Scripts that follow each other, some without a pause."""
    found: list[Move | Halt] = []
    second = NOW_S
    for _ in range(draw(st.integers(1, 4))):
        second += draw(st.sampled_from([0, 0, 1, 59, 777]))
        end = second + draw(st.one_of(st.integers(1, 900), st.integers(900, 20_000)))
        if draw(st.booleans()):
            found.append(Halt(second, end))
        else:
            found.append(Move(second, end, draw(st.integers(20, 250)), 100))
        second = end
    return found


@settings(max_examples=15, deadline=None)
@given(symbol=symbols, percent=st.decimals("0.5", "90", places=2), over=st.integers(1, 90_000), up=st.booleans())
def test_a_move_ends_exactly_where_it_is_told_to(symbol: str, percent: Decimal, over: int, up: bool) -> None:
    sandbox = new_sandbox()
    before, tick = sandbox.market.price(symbol), BY_SYMBOL[symbol].tick
    (sandbox.market.rally if up else sandbox.market.crash)(symbol, percent=percent, over=over)
    assert sandbox.market.price(symbol) == before
    target = before * (1 + percent / 100 if up else 1 - percent / 100)
    sandbox.advance(seconds=over)
    assert abs(sandbox.market.price(symbol) - target) <= tick / 2
    natural = new_sandbox(start=START + timedelta(seconds=over)).market.price(symbol)
    # From there on it goes its own way from another level.
    later = {sandbox.market.price(symbol)}
    for _ in range(3):
        sandbox.advance(hours=2)
        later.add(sandbox.market.price(symbol))
    assert len(later) > 1
    now = new_sandbox(start=sandbox.now).market.price(symbol)
    assert float(sandbox.market.price(symbol) / target) == pytest.approx(float(now / natural), rel=0.003)


def test_inside_a_crash_there_is_noise_and_more_trade() -> None:
    sandbox, natural = new_sandbox(), Market(7)
    before = sandbox.market.price("BTC")
    sandbox.market.crash("BTC", percent=12, over="10m")
    prices = [before]
    for _ in range(60):
        sandbox.advance(seconds=10)
        prices.append(sandbox.market.price("BTC"))
    shares = [float(price / before) for price in prices]
    assert all(abs(share - (1 - 0.12 * place / 60)) < 0.01 for place, share in enumerate(shares))
    falls = [one - two for one, two in pairwise(shares)]
    assert min(falls) < max(falls) / 2
    market = sandbox._world.market
    later = NOW + 30 * MINUTE
    scripted, usual = (
        each.candles(BY_SYMBOL["BTC"], "1m", now_ms=later, limit=1, start_ms=NOW + 2 * MINUTE)[0].trades or 0
        for each in (market, natural)
    )
    assert scripted >= 3 * usual


@settings(max_examples=10, deadline=None)
@given(symbol=symbols, plan=scripts(), data=st.data())
def test_with_scripts_a_bar_is_still_exactly_its_seconds(
    symbol: str, plan: list[Move | Halt], data: st.DataObject
) -> None:
    scripted, natural = tape(symbol), tape(symbol)
    for script in data.draw(st.permutations(plan)):
        scripted.add(script)
    edges = [second for script in plan for second in (script.start, script.end)]
    edge = data.draw(st.sampled_from(edges))
    price = scripted.ticks(edge - 700)
    for second in range(edge - 700, edge + 700):
        bar = scripted.bar(LEAF, second)
        assert bar.open == price
        assert 1 <= bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert bar.trades or bar.low == bar.high
        assert bar.volume >= bar.trades
        assert second >= NOW_S or bar == natural.bar(LEAF, second)
        assert not any(isinstance(each, Halt) and each.start <= second < each.end for each in plan) or not bar.trades
        price = bar.close
    for level in (LEAF - 1, LEAF - 2, LEAF - 3, LEAF - 4):
        span = SPANS[level]
        for index in range((edge - 600) // span + 1, (edge + 600) // span):
            seconds = joined(scripted.bar(LEAF, second) for second in range(index * span, (index + 1) * span))
            assert scripted.bar(level, index) == seconds
    for script in plan:
        if isinstance(script, Halt):
            assert scripted.ticks(script.start) == scripted.ticks(script.end)


@settings(max_examples=20, deadline=None)
@given(symbol=symbols, plan=scripts(), length=st.integers(1, 4000), up=st.integers(0, 3000), down=st.integers(0, 3000))
def test_with_scripts_the_first_touch_is_what_a_walk_finds(
    symbol: str, plan: list[Move | Halt], length: int, up: int, down: int
) -> None:
    scripted = tape(symbol)
    for script in plan:
        scripted.add(script)
    start = plan[-1].start - 500
    price = scripted.ticks(start)
    upper, lower = price + price * up // 10_000 + 1, price - price * down // 10_000 - 1
    walked = None
    for second in range(start, start + length):
        bar = scripted.bar(LEAF, second)
        if bar.low <= lower or bar.high >= upper:
            walked = (second, bar.low > lower)
            break
    assert scripted.first_touch(start, start + length, upper, lower) == walked


@settings(max_examples=8, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["crash", "rally", "halt", "outage"]), st.integers(0, 4000), st.integers(1, 9000)),
        min_size=1,
        max_size=4,
    )
)
def test_no_script_changes_what_was_told_before(steps: list[tuple[str, int, int]]) -> None:
    sandbox = new_sandbox()
    market = sandbox._world.market

    def told(now_ms: int) -> list[Any]:
        return [
            *(market.candles(BY_SYMBOL["GMX"], interval, now_ms=now_ms, limit=30) for interval in INTERVALS),
            [market.ticks(BY_SYMBOL["GMX"], now_ms - back * 1000) for back in range(60)],
            sandbox._world.signals.of(BY_SYMBOL["GMX"], "5m", now_ms),
        ]

    known: list[tuple[int, list[Any]]] = []
    for kind, wait, over in steps:
        sandbox.advance(seconds=wait)
        now_ms = sandbox._world.clock.now_ms()
        known.append((now_ms, told(now_ms)))
        # While another script is on, this one is refused, which must change nothing either.
        with suppress(ConfigurationError):
            if kind == "halt":
                sandbox.market.halt("GMX", over=over)
            elif kind == "outage":
                sandbox.market.outage(over=over)
            else:
                getattr(sandbox.market, kind)("GMX", percent=30, over=over)
        assert [told(moment) for moment, _ in known] == [before for _, before in known]


def test_an_earlier_script_moves_a_later_one_along_and_both_end_where_they_should() -> None:
    sandbox = new_sandbox()
    before = sandbox.market.price("ETH")
    sandbox.market.halt("ETH", over="20m", at=START + timedelta(hours=1))
    sandbox.market.crash("ETH", percent=50, over="1h")
    sandbox.advance(hours=1)
    assert abs(sandbox.market.price("ETH") - before / 2) <= BY_SYMBOL["ETH"].tick / 2
    frozen = sandbox.market.price("ETH")
    sandbox.advance(minutes=20)
    assert sandbox.market.price("ETH") == frozen


@pytest.mark.anyio
async def test_a_halt_freezes_the_price_and_leaves_no_candles(stranger: Caller, sandbox: Sandbox) -> None:
    sandbox.market.halt("BTC", over="2h", at=START + timedelta(seconds=45))
    sandbox.advance(seconds=45)
    frozen = sandbox.market.price("BTC")
    last = (await stranger.get("/api/indicators/candles/BTC/1m?limit=1"))[-1]
    for _ in range(3):
        sandbox.advance(minutes=30)
        assert sandbox.market.price("BTC") == frozen
        assert [candle["t"] for candle in await stranger.get("/api/indicators/candles/BTC/1m?limit=1")] == [last["t"]]
    assert (await stranger.get("/api/indicators/candles/ETH/1m?limit=1"))[0]["t"] > last["t"]
    sandbox.advance(minutes=35)
    page = await stranger.get("/api/indicators/candles/BTC/1m?limit=12")
    holes = [(two["t"] - one["t"]) // MINUTE for one, two in pairwise(page)]
    assert max(holes) == 121
    after = page[holes.index(121) + 1]
    assert Decimal(after["o"]) == frozen
    hours = await stranger.get("/api/indicators/candles/BTC/1h?limit=3")
    assert [candle["t"] % (60 * MINUTE) for candle in hours] == [0, 0, 0]
    assert sandbox.market.price("BTC") != frozen


@pytest.mark.anyio
async def test_in_an_outage_nothing_is_recorded_and_trading_goes_on(stranger: Caller, sandbox: Sandbox) -> None:
    start = START.replace(second=0) + timedelta(minutes=10)
    sandbox.market.outage(over="30m", at=start + timedelta(seconds=20))
    sandbox.advance(minutes=20)
    prices = {sandbox.market.price("BTC")}
    for _ in range(9):
        sandbox.advance(minutes=2)
        prices.add(sandbox.market.price("BTC"))
    assert len(prices) > 5
    sandbox.advance(hours=1)
    for symbol in ("BTC", "ETH"):
        page = await stranger.get(f"/api/indicators/candles/{symbol}/1m?limit=120")
        opened = [datetime.fromtimestamp(candle["t"] / 1000, UTC) for candle in page]
        assert [moment for moment in opened if start < moment < start + timedelta(minutes=30)] == []
        assert {start, start + timedelta(minutes=30)} < set(opened)
    market = sandbox._world.market
    ((half,), (whole,)) = (
        each.candles(
            BY_SYMBOL["BTC"],
            "1h",
            now_ms=NOW + 10 * 60 * MINUTE,
            limit=1,
            start_ms=NOW // (60 * MINUTE) * 60 * MINUTE,
        )
        for each in (market, Market(7))
    )
    assert 0 < (half.trades or 0) < (whole.trades or 0)
    assert whole.low <= half.low <= half.high <= whole.high


@pytest.mark.anyio
async def test_a_crash_reaches_the_loss_threshold_of_a_session(caller: Caller, sandbox: Sandbox) -> None:
    for index in range(6):
        await caller.quick(assetIndex=index, profitTarget=50, lossThreshold=20)
    sandbox.market.crash(None, percent=30, over="10m")
    sandbox.advance(minutes=11)
    reasons = [entry.detail["reason"] for entry in sandbox.ledger if entry.kind == "session_closed"]
    assert len(reasons) == 6
    assert set(reasons) <= {"loss_threshold", "profit_target", "liquidation"}


def test_all_assets_are_scripted_at_once() -> None:
    sandbox = new_sandbox()
    listed = [asset.symbol for asset in LISTED if asset.listed_ms <= NOW]
    before = {symbol: sandbox.market.price(symbol) for symbol in listed}
    sandbox.market.crash(None, percent="12.5", over=timedelta(minutes=3))
    sandbox.advance(minutes=3)
    for symbol in listed:
        assert abs(sandbox.market.price(symbol) - before[symbol] * Decimal("0.875")) <= BY_SYMBOL[symbol].tick / 2


def test_a_price_never_reaches_nothing_however_often_it_crashes() -> None:
    sandbox = new_sandbox()
    for _ in range(6):
        sandbox.market.crash("kPEPE", percent="99.9", over=60)
        sandbox.advance(minutes=1)
        assert sandbox.market.price("kPEPE") > 0
    assert sandbox.market.price("kPEPE") == BY_SYMBOL["kPEPE"].tick
    sandbox.market.rally("kPEPE", percent=1000, over=60)
    sandbox.advance(minutes=1)
    assert sandbox.market.price("kPEPE") == 11 * BY_SYMBOL["kPEPE"].tick


def test_a_hole_of_months_costs_no_more_than_its_days(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = new_sandbox()
    for _ in range(3):
        sandbox.market.halt("GMX", over="365d")
        sandbox.advance(days=365)
    market, asset = sandbox._world.market, BY_SYMBOL["GMX"]
    now_ms = sandbox._world.clock.now_ms()
    read: list[tuple[int, int]] = []
    inner = Tape.bar

    def counted(self: Tape, level: int, index: int) -> Any:
        read.append((level, index))
        return inner(self, level, index)

    monkeypatch.setattr(Tape, "bar", counted)
    page = market.candles(asset, "1m", now_ms=now_ms, limit=500)
    assert len(page) == 500
    assert page[-1].open_time_ms <= NOW
    onward = market.candles(asset, "1m", now_ms=now_ms + 60 * MINUTE, limit=2, start_ms=NOW + MINUTE)
    assert onward[0].open_time_ms >= now_ms - MINUTE
    # A walk over the minutes would be a million and a half.
    assert len(read) < 40_000


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda market: market.crash("BCT", percent=1, over=1), "did you mean 'BTC'"),
        (lambda market: market.crash("btc", percent=1, over=1), "did you mean 'BTC'"),
        (lambda market: market.price("nothing at all"), "does not list it"),
        (lambda market: market.price("CAMP"), "not listed before 2026-11-03T16:20:15"),
        (lambda market: market.halt("CAMP", over=1), "not listed before"),
        (lambda market: market.crash("BTC", percent=0, over=1), "more than 0 and less than 100"),
        (lambda market: market.crash("BTC", percent=100, over=1), "more than 0 and less than 100"),
        (lambda market: market.crash("BTC", percent=float("nan"), over=1), "give a number"),
        (lambda market: market.crash("BTC", percent="1e-999999", over=1), "give a number"),
        (lambda market: market.crash("BTC", percent=True, over=1), "give a number"),
        (lambda market: market.crash("BTC", percent="much", over=1), "give a number"),
        (lambda market: market.rally("BTC", percent=1001, over=1), "at most 1000"),
        (lambda market: market.halt("BTC", over="soon"), "over='soon'"),
        (lambda market: market.halt("BTC", over="367d"), "at most 366 days"),
        (lambda market: market.outage(over=1, at=START - timedelta(milliseconds=1)), "stays as it is"),
        (lambda market: market.outage(over=1, at=datetime(2030, 1, 1)), "aware datetime"),
        (lambda market: market.outage(over=1, at="tomorrow"), "aware datetime"),
    ],
)
def test_what_cannot_be_scripted_is_refused_with_a_word_on_what_to_do(act: Any, words: str) -> None:
    sandbox = new_sandbox()
    with pytest.raises(ConfigurationError, match=words):
        act(sandbox.market)


def test_two_scripts_at_once_are_refused_and_then_nothing_is_scripted() -> None:
    sandbox = new_sandbox()
    sandbox.market.halt("DOGE", over="5m", at=START + timedelta(minutes=5))
    with pytest.raises(ConfigurationError, match=r"crash of DOGE: a halt is scripted .* to 2024-05-01T12:40:15"):
        sandbox.market.crash(None, percent=40, over="6m")
    natural = new_sandbox()
    for each in (sandbox, natural):
        each.advance(minutes=6)
    assert sandbox.market.price("BTC") == natural.market.price("BTC")
    sandbox.market.crash("DOGE", percent=40, over="6m", at=START + timedelta(minutes=10))


def test_a_price_beyond_counting_is_refused() -> None:
    sandbox = new_sandbox()
    while sandbox.market.price("BTC") < 10**13:
        sandbox.market.rally("BTC", percent=1000, over=1)
        sandbox.advance(seconds=1)
    with pytest.raises(ConfigurationError, match="higher than can be counted"):
        sandbox.market.rally("BTC", percent=1000, over=1)
    assert sandbox.market.price("BTC").is_finite()


def test_a_price_beyond_counting_is_refused_too_when_the_latest_rally_is_scripted_first() -> None:
    sandbox = new_sandbox()
    for day in range(30, 20, -1):
        sandbox.market.rally("BTC", percent=1000, over="1h", at=START + timedelta(days=day))
        if sandbox._world.market.highest(BY_SYMBOL["BTC"], Move(NOW_S, NOW_S + 1, 11, 1)) > 10**15:
            break
    with pytest.raises(ConfigurationError, match="higher than can be counted"):
        sandbox.market.rally("BTC", percent=1000, over="1h", at=START + timedelta(days=1))
    # The one that was refused is not there.
    sandbox.advance(days=2)
    assert sandbox.market.price("BTC") == new_sandbox(start=sandbox.now).market.price("BTC")
    sandbox.advance(days=30)
    assert 10**12 < sandbox.market.price("BTC") / BY_SYMBOL["BTC"].tick < 10**16


def test_scripts_in_a_row_cost_as_much_each_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = 0
    inner = Tape._cut

    def counted(self: Tape, script: Move | Halt, factor: int, last: int) -> Any:
        nonlocal cut
        cut += 1
        return inner(self, script, factor, last)

    monkeypatch.setattr(Tape, "_cut", counted)
    sandbox = new_sandbox()
    for numbers in (range(100), range(199, 99, -1)):
        for number in numbers:
            sandbox.market.rally("BTC", percent=1, over="4m", at=START + timedelta(minutes=5 * number))
    sandbox.advance(days=1)
    assert sandbox.market.price("BTC") > 0
    assert cut == 200


def test_the_market_can_be_scripted_from_any_thread() -> None:
    with Sandbox.threaded(seed=7, start=START, speed=0) as sandbox:
        failures: list[BaseException] = []

        def work(symbol: str) -> None:
            try:
                sandbox.market.price(symbol)
                sandbox.market.crash(symbol, percent=1, over=1)
                with pytest.raises(ConfigurationError):
                    sandbox.market.halt(symbol, over=1)
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(asset.symbol,)) for asset in LISTED[:12]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
