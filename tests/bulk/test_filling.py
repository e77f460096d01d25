"""Pulls into a store: it has what the market has, asks for nothing twice, and says what changed and what is missing."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from alura_async import Alura, AsyncAlura, InvalidArgumentError, RateLimiter, Retry, StoreError
from alura_async.bulk import CandleQuery, Candles
from alura_async.bulk.plan import Window, span_ms
from alura_async.bulk.store import CandleStore
from alura_async.bulk.writer import Writer
from alura_async.core.model import from_milliseconds
from alura_async.sandbox import Quirks, Sandbox
from alura_async.sandbox.listing import BY_SYMBOL
from alura_async.sandbox.market import Market
from tests.bulk.series import candles, pages

pytestmark = pytest.mark.anyio

SEED = 11
MINUTE = 60_000
DAY = 86_400_000
# The sandbox's time; what is asked for up to now is so by its clock.
NOW = 1_767_614_400_000  # 2026-01-05T12:00Z
# So that a candle that ends at that time is over for whoever asked a moment before.
LATER = 10_000
SERIES = [(symbol, interval) for interval in ("1h", "1m") for symbol in ("BTC", "PURR/USDC", "kPEPE")]


def market(symbol: str, interval: str, start: int, end: int, *, now: int = NOW) -> Candles:
    """What the market has at a moment of the candles that are over."""
    last = min(end - 1, now - span_ms(interval))
    found = Market(SEED).candles(BY_SYMBOL[symbol], interval, now_ms=now, limit=10**6, start_ms=start, end_ms=last)
    return Candles.from_candles(found, symbol, interval, as_of_ms=now)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=SEED, limit=None, start=from_milliseconds(NOW + LATER), speed=0) as sandbox:
        yield sandbox


@pytest.fixture
async def alura(sandbox: Sandbox) -> AsyncIterator[AsyncAlura]:
    async with AsyncAlura(base_url=sandbox.url, limiter=RateLimiter.unlimited(), retry=Retry(attempts=1)) as alura:
        yield alura


def files(folder: Path) -> list[Path]:
    """The Parquet files of a store."""
    return sorted(folder.rglob("*.parquet"))


def asked(sandbox: Sandbox) -> int:
    """How many candles were asked for since the last time."""
    there = len(sandbox.requests)
    sandbox.requests.clear()
    return there


async def pull_until(
    alura: AsyncAlura, store: Path, requests: int, *, start: int, query: CandleQuery | None = None
) -> None:
    """Pull minutes, and cancel that after some requests."""
    begun = asyncio.Event()

    def note(progress: Any) -> None:
        if progress.requests >= requests:
            begun.set()

    pulling = asyncio.create_task(alura.bulk.pull(store, "BTC", "1m", start=start, end=NOW, query=query, progress=note))
    waiting = asyncio.create_task(begun.wait())
    await asyncio.wait({waiting, pulling}, return_when=asyncio.FIRST_COMPLETED)
    assert not pulling.done()
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling


async def test_the_store_has_what_the_market_has_to_the_last_digit(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    start = NOW - 3 * DAY - 7_777
    report = await alura.bulk.pull(tmp_path / "data", ["BTC", "PURR/USDC", "kPEPE"], ["1m", "1h"], start=start, end=NOW)
    store = CandleStore(tmp_path / "data")
    for symbol, interval in SERIES:
        expected = market(symbol, interval, start, NOW)
        assert len(expected) > 60
        assert store.candles(symbol, interval) == expected
    assert report.candles == store.info().rows
    assert report.series == 6
    assert report.is_complete
    assert report.requests == len([call for call in sandbox.requests if "/candles/" in call.path])
    assert store.gaps() == ()
    assert store.verify() == ()
    assert store.info().waiting == 0
    assert store.info().origin == sandbox.url


async def test_the_same_call_again_asks_for_nothing_and_a_larger_one_for_the_rest(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    start, end = from_milliseconds(NOW - 3 * DAY), from_milliseconds(NOW - 2 * DAY)
    await alura.bulk.pull(tmp_path, "BTC", "1m", start=start, end=end)
    sandbox.requests.clear()
    assert (await alura.bulk.pull(tmp_path, "BTC", "1m", start=start, end=end)).requests == 0
    assert asked(sandbox) == 0
    more = await alura.bulk.pull(CandleStore(tmp_path), "BTC", "1m", start=NOW - 4 * DAY, end=NOW - DAY)
    assert CandleStore(tmp_path).candles("BTC", "1m") == market("BTC", "1m", NOW - 4 * DAY, NOW - DAY)
    assert more.candles == len(market("BTC", "1m", NOW - 4 * DAY, NOW - 3 * DAY)) + len(
        market("BTC", "1m", NOW - 2 * DAY, NOW - DAY)
    )
    times = [int(call.query["startTime"]) for call in sandbox.requests if "startTime" in call.query]
    assert not [time for time in times if NOW - 3 * DAY + MINUTE < time < NOW - 2 * DAY - MINUTE]


async def test_an_update_brings_what_is_new_and_says_what_was_corrected(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    start, later = NOW - DAY, NOW + 15 * MINUTE
    symbols = ["BTC", "ETH", "SOL", "DOGE", "kPEPE", "XRP"]
    await alura.bulk.pull(tmp_path, symbols, "1m", start=start, end=NOW)
    sandbox.advance(minutes=15)
    report = await alura.bulk.update(tmp_path)
    store = CandleStore(tmp_path)
    assert [(each.symbol, each.interval) for each in report.series] == sorted((symbol, "1m") for symbol in symbols)
    for series in report.series:
        before = market(series.symbol, "1m", start, NOW)
        expected = market(series.symbol, "1m", start, later, now=later)
        assert store.candles(series.symbol, "1m") == expected
        was = {candle.open_time_ms: candle for candle in before}
        assert series.added == len(expected) - len(before)
        assert [(fix.old, fix.new) for fix in series.corrected] == [
            (was[candle.open_time_ms], candle) for candle in expected if was.get(candle.open_time_ms, candle) != candle
        ]
    assert {series.symbol: len(series.corrected) for series in report.series if series.corrected} == {"BTC": 1}
    assert "11:58: close 67314.5 → 67308.5" in str(report)
    assert report.added == sum(series.added for series in report.series)
    # Once more: there is nothing new.
    again = await alura.bulk.update(tmp_path, symbols="BTC", intervals=["1m"], again=0)
    assert (again.added, again.corrected, again.gaps) == (0, (), ())
    assert [series.symbol for series in again.series] == ["BTC"]


async def test_a_server_whose_clock_is_ahead_makes_nothing_final(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    async with (
        Sandbox(seed=SEED, limit=None, start=now + timedelta(days=3), speed=0) as sandbox,
        AsyncAlura(base_url=sandbox.url) as alura,
    ):
        await alura.bulk.pull(tmp_path, "BTC", "1m", start=now - timedelta(hours=1), end=now + timedelta(hours=1))
        await alura.bulk.update(tmp_path)
    store = CandleStore(tmp_path)
    (series,) = store.series()
    assert series.end is not None
    assert now - timedelta(minutes=1) <= series.end <= datetime.now(UTC) - timedelta(minutes=1, milliseconds=-1)
    assert store.candles("BTC", "1m")[-1].open_time < series.end
    assert store.gaps() == ()


async def test_what_a_clock_that_is_behind_leaves_out_at_the_end_is_pending_and_comes_later(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    store = CandleStore(tmp_path)
    async with (
        Sandbox(seed=SEED, limit=None, start=now - timedelta(hours=1), speed=0) as sandbox,
        AsyncAlura(base_url=sandbox.url) as alura,
    ):
        report = await alura.bulk.pull(tmp_path, ["BTC", "ETH"], "1m", start=now - timedelta(hours=3))
        assert not report.is_complete
        assert [each.symbol for each in report.pending] == ["BTC", "ETH"]
        for pending in report.pending:
            assert now - timedelta(minutes=62) < pending.start < now - timedelta(minutes=60)
            assert pending.end >= now
        assert "pending: BTC 1m from " in str(report)
        # All who are asked say the same.
        assert store.pending() == report.pending
        assert store.gaps() == report.gaps == ()
        assert [(each.gaps, each.pending) for each in store.series()] == [(0, 1), (0, 1)]
        assert store.info().pending == 2
        assert ", 0 gaps, 2 pending, of " in str(store.info())
        assert str(store.series()[0]).endswith(", 1 pending")
        repaired, early = await alura.bulk.repair(tmp_path), await alura.bulk.update(tmp_path)
        assert repaired.pending == report.pending
        assert len(early.pending) == 2
        assert (repaired.is_complete, early.is_complete) == (False, False)
        sandbox.advance(hours=1)
        update = await alura.bulk.update(tmp_path)
        assert update.is_complete
    assert (update.pending, update.gaps, store.pending(), store.gaps()) == ((), (), (), ())
    for series, pending in zip(update.series, report.pending, strict=True):
        assert len(store.candles(series.symbol, "1m", pending.start)) == series.added > 50


async def test_what_a_clock_that_is_behind_leaves_out_before_something_later_is_a_gap_for_the_report_too(
    tmp_path: Path,
) -> None:
    now = datetime.now(UTC)
    half, whole = now - timedelta(minutes=30), now - timedelta(hours=3)
    store = CandleStore(tmp_path)
    async with Sandbox(seed=SEED, limit=None, start=now, speed=0) as sandbox, AsyncAlura(base_url=sandbox.url) as alura:
        await alura.bulk.pull(tmp_path, "BTC", "1m", start=half, end=now)
        port = urlsplit(sandbox.url).port
    assert port is not None
    # The same server after it was set back.
    back = now - timedelta(hours=1)
    async with (
        Sandbox(seed=SEED, limit=None, start=back, speed=0, port=port) as sandbox,
        AsyncAlura(base_url=sandbox.url) as alura,
    ):
        report = await alura.bulk.pull(tmp_path, "BTC", "1m", start=whole, end=now)
        (gap,) = report.gaps
        assert not report.is_complete
        assert store.gaps() == report.gaps
        assert store.pending() == report.pending == ()
        assert now - timedelta(minutes=62) < gap.start < gap.end <= half + timedelta(minutes=1)
        # What is asked for elsewhere has no part in it.
        assert (await alura.bulk.pull(tmp_path, "BTC", "1m", start=whole, end=back - timedelta(hours=1))).is_complete
        repaired, updated = await alura.bulk.repair(tmp_path), await alura.bulk.update(tmp_path)
        assert [each.end_ms for each in (*repaired.gaps, *updated.gaps)] == [gap.end_ms, gap.end_ms]
        assert store.gaps() == updated.gaps
        sandbox.advance(hours=1)
        assert (await alura.bulk.repair(tmp_path)).is_complete
    assert store.gaps() == ()


async def test_a_failed_range_is_a_gap_until_it_is_repaired(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    start = NOW - 2 * DAY
    sandbox.faults.add("500 on GET /api/indicators/candles/history/:symbol")
    report = await alura.bulk.pull(tmp_path, "BTC", "1m", start=start, end=NOW)
    assert not report.is_complete
    assert "ServerError" in str(report)
    (gap,) = CandleStore(tmp_path).gaps()
    assert (gap.start_ms, gap.end_ms) == (start, NOW)
    assert "ServerError" in gap.reason
    sandbox.faults.clear()
    assert (await alura.bulk.repair(tmp_path)).is_complete
    assert CandleStore(tmp_path).gaps() == ()
    assert CandleStore(tmp_path).candles("BTC", "1m") == market("BTC", "1m", start, NOW)


async def test_damaged_files_are_set_aside_and_pulled_again(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    start = NOW - 40 * DAY
    await alura.bulk.pull(tmp_path, ["BTC", "ETH"], "1h", start=start, end=NOW)
    store = CandleStore(tmp_path)
    first, second, *_ = files(tmp_path)
    first.unlink()
    damaged = second.read_bytes()[::-1]
    second.write_bytes(damaged)
    sandbox.requests.clear()
    report = await alura.bulk.repair(tmp_path)
    assert report.is_complete
    assert [problem.path for problem in report.mended] == [str(first), str(second)]
    assert "pulled again" in str(report)
    assert second.with_name("candles.parquet.damaged").read_bytes() == damaged
    assert store.verify() == ()
    for symbol in ("BTC", "ETH"):
        assert store.candles(symbol, "1h") == market(symbol, "1h", start, NOW)


async def test_a_damaged_file_does_not_keep_other_series_from_their_update(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    start, later = NOW - DAY, NOW + 15 * MINUTE
    await alura.bulk.pull(tmp_path, ["BTC", "ETH"], "1m", start=start, end=NOW)
    bitcoin, _ = files(tmp_path)
    bitcoin.write_bytes(bitcoin.read_bytes()[::-1])
    sandbox.advance(minutes=15)
    report = await alura.bulk.update(tmp_path)
    assert report.gaps == ()
    assert not report.is_complete
    (problem,) = report.damaged
    assert (problem.path, problem.symbol) == (str(bitcoin), "BTC")
    assert "damaged: " in str(report)
    store = CandleStore(tmp_path)
    assert store.candles("ETH", "1m") == market("ETH", "1m", start, later, now=later)
    # What came of the other is kept.
    assert (await alura.bulk.repair(tmp_path)).is_complete
    assert store.candles("BTC", "1m") == market("BTC", "1m", start, later, now=later)


async def test_a_deleted_file_is_pulled_again_by_the_same_call(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    start = NOW - 40 * DAY
    await alura.bulk.pull(tmp_path, "BTC", "1h", start=start, end=NOW)
    files(tmp_path)[1].unlink()
    report = await alura.bulk.pull(tmp_path, "BTC", "1h", start=start, end=NOW)
    assert [problem.what for problem in report.mended] == ["is missing"]
    assert report.is_complete
    assert CandleStore(tmp_path).candles("BTC", "1h") == market("BTC", "1h", start, NOW)


async def test_what_repair_cannot_mend_is_told_as_such(alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path) -> None:
    await alura.bulk.pull(tmp_path, "BTC", "1h", start=NOW - DAY, end=NOW)
    stranger = tmp_path / "more.parquet"
    stranger.write_bytes(b"")
    report = await alura.bulk.repair(tmp_path)
    assert (report.mended, report.gaps) == ((), ())
    assert [problem.path for problem in report.damaged] == [str(stranger)]
    assert not report.is_complete


async def test_a_symbol_that_the_server_does_not_have_is_not_noted_for_ever(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    report = await alura.bulk.pull(tmp_path, ["BTC", "BTCC"], "1h", start=NOW - DAY, end=NOW)
    assert [gap.symbol for gap in report.gaps] == ["BTCC"]
    store = CandleStore(tmp_path)
    assert [series.symbol for series in store.series()] == ["BTC"]
    assert store.gaps() == ()
    assert (await alura.bulk.update(tmp_path)).is_complete
    # Nor is one of which nothing came before an interruption.
    with Writer(tmp_path) as writer:
        writer.open(sandbox.url)
        writer.ask([Window("BTCC", "1h", NOW - DAY, NOW)])
    assert [gap.symbol for gap in (await alura.bulk.update(tmp_path, symbols="BTCC")).gaps] == ["BTCC"]
    assert [series.symbol for series in store.series()] == ["BTC"]


async def test_the_last_candles_are_asked_for_again_by_a_pull_up_to_now(tmp_path: Path) -> None:
    async with Sandbox(seed=SEED, limit=None) as sandbox, AsyncAlura(base_url=sandbox.url) as alura:
        start = datetime.now(UTC) - timedelta(hours=3)
        await alura.bulk.pull(tmp_path, "BTC", "1m", start=start)
        sandbox.requests.clear()
        await alura.bulk.pull(tmp_path, "BTC", "1m", start=start)
        (call,) = [call for call in sandbox.requests if "/candles/" in call.path]
        first = from_milliseconds(int(call.query["startTime"]))
        assert timedelta(minutes=20) <= datetime.now(UTC) - first < timedelta(minutes=24)
        sandbox.requests.clear()
        await alura.bulk.pull(tmp_path, "BTC", "1m", start=start, end=datetime.now(UTC) - timedelta(minutes=9))
        assert asked(sandbox) == 0


async def test_a_pull_tells_what_the_server_does_not_give_any_more(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    start = NOW - 30 * MINUTE
    # At a time when no candle opens.
    odd = candles(start=start + 7_000, count=1)
    with Writer(tmp_path) as writer:
        writer.open(sandbox.url, makes=True)
        writer.record(pages(odd, start=start, count=29, each=29, as_of=NOW))
    report = await alura.bulk.pull(tmp_path, "BTC", "1m", start=start, end=NOW, again=30)
    assert report.withdrawn == (odd[0],)
    assert "no longer given: BTC 1m 2026-01-05 11:30" in str(report)
    assert len(CandleStore(tmp_path).candles("BTC", "1m")) == report.candles + 1


async def test_an_end_in_the_future_is_now(alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    plan = await alura.bulk.plan("BTC", "1h", start=now - timedelta(days=1), end=now + timedelta(days=3650))
    assert 23 <= plan.candles <= 25
    sandbox.requests.clear()
    with pytest.raises(InvalidArgumentError, match="now: nothing to pull"):
        await alura.bulk.pull(tmp_path, "BTC", "1h", start=now + timedelta(days=1), end=now + timedelta(days=2))
    assert asked(sandbox) == 0


async def test_a_manifest_that_is_gone_is_made_anew_and_hardly_anything_asked_for(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    start = NOW - 2 * DAY
    await alura.bulk.pull(tmp_path, "BTC", "1m", start=start, end=NOW)
    (tmp_path / "_alura/manifest.sqlite").unlink()
    sandbox.requests.clear()
    report = await alura.bulk.repair(tmp_path)
    assert (report.candles, report.gaps, asked(sandbox)) == (0, (), 0)
    assert CandleStore(tmp_path).candles("BTC", "1m") == market("BTC", "1m", start, NOW)


async def test_who_cancels_keeps_what_was_recorded_and_leaves_the_store_to_others(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.quirks = Quirks(page_cap=100)
    start = NOW - 5 * DAY
    await pull_until(alura, tmp_path, 10, start=start)
    with Writer(tmp_path) as writer:
        writer.open(sandbox.url)
    (series,) = CandleStore(tmp_path).series()
    assert series.rows
    covered = sum(end - start for start, end in series.ranges)
    assert 0 < covered < 5 * DAY
    gone_on = await alura.bulk.pull(tmp_path, "BTC", "1m", start=start, end=NOW)
    assert gone_on.candles == len(market("BTC", "1m", start, NOW)) - series.rows
    assert CandleStore(tmp_path).candles("BTC", "1m") == market("BTC", "1m", start, NOW)


async def test_a_cancel_waits_until_the_store_is_left_to_others(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing, may_close, close = threading.Event(), threading.Event(), Writer.close

    def close_late(writer: Writer) -> None:
        closing.set()
        assert may_close.wait(10)
        close(writer)

    monkeypatch.setattr(Writer, "close", close_late)
    pulling = asyncio.create_task(alura.bulk.pull(tmp_path, "BTC", "1h", start=NOW - DAY, end=NOW))
    assert await asyncio.to_thread(closing.wait, 10)
    for _ in range(2):
        pulling.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not pulling.done()
    may_close.set()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    CandleStore(tmp_path).compact()


async def test_how_a_server_is_asked_is_remembered_from_the_first_candles_on(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.quirks = Quirks(page_cap=100)
    await pull_until(alura, tmp_path, 10, start=NOW - 5 * DAY, query=CandleQuery(most=99))
    assert CandleStore(tmp_path).info().query == CandleQuery(most=99)
    sandbox.requests.clear()
    assert (await alura.bulk.repair(tmp_path)).is_complete
    ranges = [call for call in sandbox.requests if "startTime" in call.query]
    assert ranges
    assert {int(call.query["limit"]) <= 99 for call in ranges} == {True}
    assert CandleStore(tmp_path).candles("BTC", "1m") == market("BTC", "1m", NOW - 5 * DAY, NOW)


@pytest.mark.parametrize("known", [None, CandleQuery(most=300)])
async def test_how_a_server_is_asked_is_as_before_where_it_says_that_it_does_not_understand(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path, known: CandleQuery | None
) -> None:
    start, store = NOW - DAY, CandleStore(tmp_path)
    await alura.bulk.pull(store, "BTC", "1m", start=start, end=NOW - DAY // 2, query=known)
    assert store.info().query == known
    path = "/api/indicators/candles"
    with sandbox.faults.add(f"400 on GET {path}/history/ETH"), sandbox.faults.add(f"400 on GET {path}/ETH/1m"):
        # BTC comes, and ETH is refused.
        report = await alura.bulk.pull(store, ["BTC", "ETH"], "1m", start=start, end=NOW, query=CandleQuery(most=200))
    assert report.candles
    assert "BadRequestError" in report.gaps[0].reason
    assert store.info().query == known


async def test_no_candles_are_no_sign_that_a_server_has_understood_how_it_is_asked(
    alura: AsyncAlura, tmp_path: Path
) -> None:
    early = from_milliseconds(0) + timedelta(days=365)
    await alura.bulk.pull(
        tmp_path, "BTC", "1d", start=early, end=early + timedelta(days=2), query=CandleQuery(most=200)
    )
    assert CandleStore(tmp_path).info().rows == 0
    assert CandleStore(tmp_path).info().query is None


async def test_how_a_server_is_asked_survives_the_manifest_and_is_said_anew_where_it_cannot_be_read(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    query, manifest = CandleQuery(most=200), tmp_path / "_alura/manifest.sqlite"
    await alura.bulk.pull(tmp_path, "BTC", "1h", start=NOW - DAY, end=NOW, query=query)
    manifest.unlink()
    assert (await alura.bulk.repair(tmp_path)).is_complete
    assert CandleStore(tmp_path).info().query == query
    with sqlite3.connect(manifest) as connection:
        connection.execute("UPDATE store SET query = 'damaged'")
    connection.close()
    sandbox.requests.clear()
    # How it would have to be asked nobody knows.
    with pytest.raises(StoreError, match="how its server is asked cannot be read"):
        await alura.bulk.pull(tmp_path, "BTC", "1h", start=NOW - 2 * DAY, end=NOW)
    assert asked(sandbox) == 0
    assert (await alura.bulk.repair(tmp_path, query=query)).is_complete
    assert CandleStore(tmp_path).info().query == query
    assert CandleStore(tmp_path).candles("BTC", "1h") == market("BTC", "1h", NOW - 2 * DAY, NOW)


async def test_nothing_blocks_the_loop(alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path) -> None:
    blockbuster = pytest.importorskip("blockbuster")
    await alura.bulk.pull(tmp_path, "BTC", "1h", start=NOW - DAY, end=NOW)
    with blockbuster.blockbuster_ctx("alura_async.bulk"):
        await alura.bulk.pull(tmp_path, ["BTC", "ETH"], "1h", start=NOW - 40 * DAY, end=NOW)
        await alura.bulk.update(tmp_path)
        files(tmp_path)[0].unlink()
        await alura.bulk.repair(tmp_path)


async def test_all_symbols_are_those_that_the_server_has(tmp_path: Path) -> None:
    early = datetime(2020, 1, 10, tzinfo=UTC)
    async with (
        Sandbox(seed=SEED, limit=None, start=early, speed=0) as sandbox,
        AsyncAlura(base_url=sandbox.url) as alura,
    ):
        report = await alura.bulk.pull(tmp_path, "all", "1h", start=early - timedelta(days=1), end=early)
        symbols = set(await alura.indicators.symbols())
    assert report.series == len(symbols) > 5
    assert {series.symbol for series in CandleStore(tmp_path).series()} == symbols


def test_the_blocking_client_does_the_same(tmp_path: Path) -> None:
    with (
        Sandbox.threaded(seed=SEED, limit=None, start=from_milliseconds(NOW + LATER), speed=0) as sandbox,
        Alura(base_url=sandbox.url) as alura,
    ):
        assert alura.bulk.pull(tmp_path, "BTC", "1h", start=NOW - 2 * DAY, end=NOW).candles
        assert alura.bulk.update(tmp_path).added == 0
        assert alura.bulk.repair(str(tmp_path)).is_complete
    assert CandleStore(tmp_path).candles("BTC", "1h") == market("BTC", "1h", NOW - 2 * DAY, NOW)


async def test_what_cannot_be_used_is_refused_before_anything_is_asked(
    alura: AsyncAlura, sandbox: Sandbox, tmp_path: Path
) -> None:
    for use in (alura.bulk.update, alura.bulk.repair):
        with pytest.raises(StoreError, match="no store"):
            await use(tmp_path)
        with pytest.raises(StoreError, match="no such folder"):
            await use(tmp_path / "missing")
    await alura.bulk.pull(tmp_path, "BTC", "1h", start=NOW - DAY, end=NOW)
    sandbox.requests.clear()
    with pytest.raises(StoreError, match=r"no symbol ETH; there are BTC: .*pull"):
        await alura.bulk.update(tmp_path, symbols="ETH")
    with pytest.raises(InvalidArgumentError, match="again"):
        await alura.bulk.update(tmp_path, again=-1)
    with Writer(tmp_path) as writer:
        writer.open(sandbox.url)
        with pytest.raises(StoreError, match=r"this process, .*wait for that"):
            await alura.bulk.pull(tmp_path, "BTC", "1h", start=NOW - DAY, end=NOW)
    assert asked(sandbox) == 0
    assert os.listdir(tmp_path)
