"""A pull brings all there is, whatever the server does, and says what it could not bring."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from alura_async import (
    Alura,
    AsyncAlura,
    ClosedError,
    ConfigurationError,
    CredentialsNeededError,
    InvalidArgumentError,
    LatestCandles,
    NotFoundError,
    RateLimitedError,
    RateLimiter,
    Retry,
    ServerError,
    ShapeError,
    Signal,
)
from alura_async.bulk import CandlePage, CandleQuery, Candles, Progress, Window
from alura_async.sandbox import Quirks, Sandbox
from alura_async.sandbox.listing import BY_SYMBOL
from tests.raw_server import RawServer, Received, hang, reply

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 20, 12, 0, 15, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
MINUTE, HOUR = 60_000, 3_600_000
# The symbol that is traded least, and the one that was listed last.
LISTED = [asset for asset in BY_SYMBOL.values() if asset.listed_ms < NOW_MS - 60 * 24 * HOUR]
QUIET = min(LISTED, key=lambda asset: asset.trades).symbol
YOUNG = max(LISTED, key=lambda asset: asset.listed_ms)
HISTORY = "/api/indicators/candles/history/"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=7, start=NOW, speed=0, limit=None) as sandbox:
        yield sandbox


@pytest.fixture
async def alura(sandbox: Sandbox) -> AsyncIterator[AsyncAlura]:
    async with AsyncAlura(base_url=sandbox.url) as alura:
        yield alura


def market(sandbox: Sandbox, symbol: str, interval: str, start_ms: int, end_ms: int = NOW_MS) -> Candles:
    """The sandbox's own candles of a range."""
    found = sandbox._world.market.candles(
        BY_SYMBOL[symbol], interval, now_ms=NOW_MS, limit=1_000_000, start_ms=start_ms, end_ms=end_ms - 1
    )
    return Candles.from_candles(found, symbol, interval, as_of_ms=NOW_MS)


def require_all(sandbox: Sandbox, pages: list[CandlePage], start_ms: int, end_ms: int = NOW_MS) -> None:
    """The pages of each series do not overlap, cover the range, and hold exactly what the sandbox has."""
    series: dict[tuple[str, str], list[CandlePage]] = {}
    for page in pages:
        series.setdefault((page.symbol, page.interval), []).append(page)
    for (symbol, interval), parts in series.items():
        parts.sort(key=lambda page: page.start_ms)
        edges = [start_ms, *(page.end_ms for page in parts)]
        assert edges == [*(page.start_ms for page in parts), end_ms]
        assert Candles.concat(page.candles for page in parts) == market(sandbox, symbol, interval, start_ms, end_ms)


async def pulled(alura: AsyncAlura, *what: Any, **how: Any) -> list[CandlePage]:
    """All pages of a pull."""
    return [page async for page in alura.bulk.candles(*what, **how)]


def asked(sandbox: Sandbox) -> list[str]:
    """The paths that were called."""
    return [request.path for request in sandbox.requests]


def ours() -> set[asyncio.Task[Any]]:
    """The tasks there are, apart from those of the sandbox, which serves in the same loop."""
    return {task for task in asyncio.all_tasks() if "RequestHandler" not in repr(task.get_coro())}


def rows(start_ms: int, step_ms: int, count: int) -> bytes:
    """Candles as a server writes them that says neither symbol nor interval."""
    found = [
        {"t": start_ms + place * step_ms, "o": "1", "h": "2", "l": "1", "c": "2", "v": "3"} for place in range(count)
    ]
    return json.dumps(found).encode()


# Complete on every server


@pytest.mark.parametrize(
    "quirks",
    [
        Quirks(),
        Quirks(page_cap=100),
        Quirks(page_cap=50, newest_first=True, overlaps=True),
        Quirks(page_cap=100, ignores_start=True, without_running=False),
        Quirks(page_cap=100, ignores_end=True),
        Quirks(page_cap=100, excludes_end=True, newest_first=True),
        Quirks(page_cap=100, last_of_range=True),
        Quirks(page_cap=200, empty_before_listing=True),
        Quirks(page_cap=100, last_of_range=True, empty_before_listing=True, overlaps=True),
        Quirks(largest_limit=150),
        Quirks(largest_limit=60),
    ],
)
async def test_each_kind_of_server_gives_the_same_candles(quirks: Quirks, sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = quirks
    start = NOW - timedelta(hours=15)
    pages = await pulled(alura, ["BTC", QUIET], ["1m", "1h"], start=start, end=NOW)
    assert {(page.symbol, page.interval) for page in pages} == {
        (symbol, interval) for symbol in ("BTC", QUIET) for interval in ("1m", "1h")
    }
    require_all(sandbox, pages, NOW_MS - 15 * HOUR)
    assert len(sandbox.requests) <= 1.1 * 2 * 15 * 60 / (quirks.page_cap or quirks.largest_limit or 900) + 30


async def test_the_running_candle_may_be_missing(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=100, without_running=True)
    pages = await pulled(alura, "BTC", "1m", start=NOW - timedelta(hours=5), end=NOW)
    candles = Candles.concat(page.candles for page in sorted(pages, key=lambda page: page.start_ms))
    assert candles == market(sandbox, "BTC", "1m", NOW_MS - 5 * HOUR)[:-1]
    assert candles.closed.all()


async def test_a_time_before_the_listing_is_complete_and_has_no_candles(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=100)
    start_ms, end_ms = YOUNG.listed_ms - 40 * 24 * HOUR, YOUNG.listed_ms + 40 * 24 * HOUR
    pages = await pulled(alura, YOUNG.symbol, ["4h", "1d"], start=start_ms, end=end_ms)
    require_all(sandbox, pages, start_ms, end_ms)
    assert not any(page.error for page in pages)


async def test_faults_lose_nothing(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=50)
    with sandbox.faults.add("429|500|reset|truncate=50%|close 5%"):
        pages = await pulled(alura, ["BTC", "ETH"], "1m", start=NOW - timedelta(days=1), end=NOW)
    require_all(sandbox, pages, NOW_MS - 24 * HOUR)
    assert sum(request.fault is not None for request in sandbox.requests) > 0


async def test_all_symbols_are_those_that_the_server_lists(sandbox: Sandbox, alura: AsyncAlura) -> None:
    pages = await pulled(alura, "all", "1h", start=NOW - timedelta(hours=3), end=NOW)
    assert {page.symbol for page in pages} == set(await alura.indicators.symbols())
    require_all(sandbox, pages, NOW_MS - 3 * HOUR)


async def test_pages_tell_what_they_are(sandbox: Sandbox, alura: AsyncAlura) -> None:
    (page,) = await pulled(alura, "BTC", "1h", start=NOW - timedelta(hours=3), end=NOW)
    assert (page.start, page.end) == (NOW - timedelta(hours=3), NOW)
    assert page.window == Window("BTC", "1h", NOW_MS - 3 * HOUR, NOW_MS)
    assert page.error is None
    assert page.candles.closed.tolist() == [True, True, False]
    assert repr(page) == "<CandlePage BTC 1h 2026-01-20 09:00 to 2026-01-20 12:00 UTC: 3 candles>"


# What cannot be had


async def test_a_symbol_that_the_server_does_not_know_is_one_gap_and_few_calls(
    sandbox: Sandbox, alura: AsyncAlura
) -> None:
    sandbox.quirks = Quirks(page_cap=50)
    pages = await pulled(alura, ["BTC", "NONE"], "1m", start=NOW - timedelta(days=1), end=NOW)
    require_all(sandbox, [page for page in pages if page.symbol == "BTC"], NOW_MS - 24 * HOUR)
    (gap,) = [page for page in pages if page.symbol == "NONE"]
    assert pages[-1] is gap
    assert (gap.start_ms, gap.end_ms) == (NOW_MS - 24 * HOUR, NOW_MS)
    assert isinstance(gap.error, NotFoundError)
    with pytest.raises(NotFoundError):
        gap.candles  # noqa: B018
    assert repr(gap).endswith("UTC: NotFoundError>")
    assert sum("NONE" in path for path in asked(sandbox)) <= 2


async def test_an_unknown_symbol_that_comes_first_spoils_nothing(sandbox: Sandbox, alura: AsyncAlura) -> None:
    pages = await pulled(alura, ["NONE", "BTC"], "1m", start=NOW - timedelta(hours=2), end=NOW)
    require_all(sandbox, [page for page in pages if page.symbol == "BTC"], NOW_MS - 2 * HOUR)
    assert isinstance(pages[-1].error, NotFoundError)
    assert all(path.startswith(HISTORY) for path in asked(sandbox) if "BTC" in path)


async def test_an_interval_that_the_server_does_not_have_is_a_gap(sandbox: Sandbox, alura: AsyncAlura) -> None:
    pages = await pulled(alura, "BTC", ["3m", "1h"], start=NOW - timedelta(hours=20), end=NOW)
    require_all(sandbox, [page for page in pages if page.interval == "1h"], NOW_MS - 20 * HOUR)
    (gap,) = [page for page in pages if page.interval == "3m"]
    assert "interval must be one of" in str(gap.error)


class Minutes:
    """Answers for minutes, one candle each, as a server that has them all; but first asks `odd` for another answer."""

    def __init__(self, odd: Callable[[str, int, int], bytes | None] = lambda symbol, start, end: None) -> None:
        self._odd = odd
        self.asked: list[str] = []

    async def __call__(self, request: Received, writer: Any) -> bytes:
        target = urlsplit(request.target)
        symbol, query = target.path.rpartition("/")[2], dict(parse_qsl(target.query))
        start, end = int(query["startTime"]), int(query["endTime"])
        self.asked.append(symbol)
        first = -(-start // MINUTE)
        count = min(500, int(query["limit"]), end // MINUTE - first + 1)
        return self._odd(symbol, start, end) or reply(rows(first * MINUTE, MINUTE, count))


def require_minutes(pages: list[CandlePage], start_ms: int, end_ms: int = NOW_MS) -> None:
    """The pages of one series hold each minute of a range, and have no gap."""
    assert [page.error for page in pages if page.error is not None] == []
    candles = Candles.concat(page.candles for page in sorted(pages, key=lambda page: page.start_ms))
    expected = range(-(-start_ms // MINUTE) * MINUTE, end_ms, MINUTE)
    assert candles.open_time.astype(int).tolist() == list(expected)


BAD = reply('{"statusCode":500,"message":"Internal server error"}', "500 Internal Server Error")
START_MS = NOW_MS // MINUTE * MINUTE - 12_000 * MINUTE


async def test_a_failing_part_is_a_gap_and_the_rest_comes(raw: RawServer) -> None:
    lost = START_MS + 3000 * MINUTE
    raw.answers = [Minutes(lambda symbol, start, end: BAD if start <= lost <= end else None)]
    async with AsyncAlura(base_url=raw.url) as alura:
        pages = await pulled(alura, "BTC", "1m", start=START_MS, end=NOW, concurrency=2)
    gaps = [page for page in pages if page.error is not None]
    assert len(gaps) == 1
    assert pages[-1] is gaps[0]
    assert isinstance(gaps[0].error, ServerError)
    assert gaps[0].start_ms <= lost < gaps[0].end_ms
    assert gaps[0].end_ms - gaps[0].start_ms <= 1010 * MINUTE
    covered = sorted((page.start_ms, page.end_ms) for page in pages)
    assert [start for start, _ in covered] == [START_MS, *(end for _, end in covered[:-1])]


async def test_a_part_that_fails_for_a_while_comes_later(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=50)
    with sandbox.faults.add(f"500 x4 skip 8 on GET {HISTORY}BTC"):
        pages = await pulled(alura, "BTC", "1m", start=NOW - timedelta(hours=10), end=NOW, concurrency=1)
    require_all(sandbox, pages, NOW_MS - 10 * HOUR)


@pytest.mark.waits
@pytest.mark.parametrize("answer", [BAD, b"", reply('{"message":"slow"}', "429 Too Many")])
async def test_an_outage_is_waited_out(answer: bytes, raw: RawServer) -> None:
    loop = asyncio.get_running_loop()
    began: list[float] = []

    def odd(symbol: str, start: int, end: int) -> bytes | None:
        began.append(loop.time())
        return answer if len(began) > 8 and loop.time() < began[8] + 0.3 else None

    raw.answers = [Minutes(odd)]
    limiter = RateLimiter(rate=1000)
    async with AsyncAlura(base_url=raw.url, retry=Retry(attempts=1), limiter=limiter) as alura:
        pages = await pulled(alura, "BTC", "1m", start=START_MS, end=NOW, concurrency=4)
    require_minutes(pages, START_MS)
    assert len(raw.received) < 100


@pytest.mark.parametrize("bad", [BAD, reply('{"statusCode":200,"data":{"note":"delisted"}}')])
@pytest.mark.parametrize("symbols", [["S0", "BAD", "S1", "S2"], ["BAD", "S0", "S1"], ["S0", "BAD"]])
@pytest.mark.parametrize("concurrency", [1, None])
async def test_a_symbol_that_always_fails_costs_the_others_nothing(
    bad: bytes, symbols: list[str], concurrency: int | None, raw: RawServer
) -> None:
    server = Minutes(lambda symbol, start, end: bad if symbol == "BAD" else None)
    raw.answers = [server]
    async with AsyncAlura(base_url=raw.url) as alura:
        pages = await pulled(alura, symbols, "1m", start=START_MS, end=NOW, concurrency=concurrency)
    for symbol in symbols:
        if symbol != "BAD":
            require_minutes([page for page in pages if page.symbol == symbol], START_MS)
    (gap,) = [page for page in pages if page.symbol == "BAD"]
    assert (gap.start_ms, gap.end_ms) == (START_MS, NOW_MS)
    # As the last one there are no others any more to compare it with: then it is what a silent server costs.
    assert server.asked.count("BAD") <= (120 if symbols[-1] == "BAD" else 24)


@pytest.mark.parametrize("status", ["404 Not Found", "400 Bad", "403 Forbidden", "451 Nope"])
async def test_one_refusal_in_a_series_that_is_served_loses_nothing(status: str, raw: RawServer) -> None:
    refused: list[int] = []

    def odd(symbol: str, start: int, end: int) -> bytes | None:
        refused.append(start)
        return reply('{"message":"no"}', status) if len(refused) == 12 else None

    raw.answers = [Minutes(odd)]
    async with AsyncAlura(base_url=raw.url) as alura:
        pages = await pulled(alura, "BTC", "1m", start=START_MS, end=NOW, concurrency=4)
    require_minutes(pages, START_MS)


async def test_one_window_that_is_refused_is_a_gap_of_its_own(raw: RawServer) -> None:
    lost = START_MS + 3000 * MINUTE
    no = reply('{"message":"no"}', "403 Forbidden")
    raw.answers = [Minutes(lambda symbol, start, end: no if start <= lost <= end else None)]
    async with AsyncAlura(base_url=raw.url) as alura:
        pages = await pulled(alura, "BTC", "1m", start=START_MS, end=NOW, concurrency=1)
    (gap,) = [page for page in pages if page.error is not None]
    assert gap.end_ms - gap.start_ms <= 1010 * MINUTE
    assert min(page.start_ms for page in pages if page.error is None) == START_MS


@pytest.mark.parametrize("status", ["404 Not Found", "400 Bad"])
@pytest.mark.parametrize("concurrency", [1, 6])
async def test_what_a_server_still_keeps_is_had_and_little_asked_of_what_is_earlier(
    status: str, concurrency: int, raw: RawServer
) -> None:
    kept = START_MS + 3130 * MINUTE
    gone = reply('{"message":"too old"}', status)
    server = Minutes(lambda symbol, start, end: gone if start < kept else None)
    raw.answers = [server]
    async with AsyncAlura(base_url=raw.url) as alura:
        pages = await pulled(alura, "BTC", "1m", start=START_MS, end=NOW, concurrency=concurrency)
    (gap,) = [page for page in pages if page.error is not None]
    assert gap.start_ms == START_MS
    # Less than a page: the one in which that ends is asked for in halves.
    assert kept <= gap.end_ms <= kept + 260 * MINUTE
    assert len(server.asked) <= 18 + 8 + 7 * concurrency


async def test_strict_raises_all_errors_after_the_pages(sandbox: Sandbox, alura: AsyncAlura) -> None:
    pages: list[CandlePage] = []

    async def take() -> None:
        what = alura.bulk.candles(["NONE", "BTC", "NADA"], "1h", start=NOW - timedelta(hours=2), end=NOW, strict=True)
        async for page in what:
            pages.append(page)  # noqa: PERF401 - what came before it raised is looked at

    with pytest.raises(ExceptionGroup) as caught:
        await take()
    assert [page.symbol for page in pages] == ["BTC"]
    assert [type(error) for error in caught.value.exceptions] == [NotFoundError] * 2


async def test_a_server_that_fails_always_is_left_alone_soon(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=10)
    with sandbox.faults.add(f"500 skip 5 on GET {HISTORY}:symbol"):
        pages = await pulled(
            alura, ["BTC", "ETH"], ["1m", "5m"], start=NOW - timedelta(days=30), end=NOW, concurrency=2
        )
    assert len(sandbox.requests) < 60
    gaps = [page for page in pages if page.error is not None]
    assert {(gap.symbol, gap.interval) for gap in gaps} == {
        (symbol, interval) for symbol in ("BTC", "ETH") for interval in ("1m", "5m")
    }
    # One for each series, as far as they are one stretch: what came stands between, once for each worker.
    assert len(gaps) <= 6
    assert sum(page.end_ms - page.start_ms for page in pages) == 4 * 30 * 24 * HOUR


@pytest.mark.waits
async def test_a_pause_that_is_longer_than_a_calls_time_is_waited_for() -> None:
    start_ms = NOW_MS - 100 * 40 * MINUTE
    async with (
        Sandbox(seed=7, start=NOW, speed=0, limit=20, window=1.0, quirks=Quirks(page_cap=100)) as sandbox,
        AsyncAlura(base_url=sandbox.url, timeout=0.5, limiter=RateLimiter(rate=1000)) as alura,
    ):
        pages = await pulled(alura, "BTC", "1m", start=start_ms, end=NOW_MS)
        require_all(sandbox, pages, start_ms)


async def test_what_came_too_early_is_asked_for_again_and_is_no_gap(sandbox: Sandbox) -> None:
    sandbox.quirks = Quirks(page_cap=100)
    sandbox.faults.add("429 40% on GET /api/indicators/candles/*")
    start_ms = NOW_MS - 100 * 100 * MINUTE
    async with AsyncAlura(base_url=sandbox.url, retry=Retry(attempts=1)) as alura:
        pages = await pulled(alura, "BTC", "1m", start=start_ms, end=NOW_MS)
    require_all(sandbox, pages, start_ms)


async def test_a_server_that_only_says_too_early_is_left_alone_soon(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.faults.add("429 on GET /api/indicators/candles/*")
    pages = await pulled(alura, "BTC", "1m", start=NOW_MS - 100_000 * MINUTE, end=NOW_MS)
    assert [type(page.error) for page in pages] == [RateLimitedError]
    assert len(sandbox.requests) < 200


async def test_failures_with_successes_in_between_end_no_pull(sandbox: Sandbox) -> None:
    sandbox.quirks = Quirks(page_cap=50)
    for skipped in range(4, 12, 2):
        sandbox.faults.add(f"500 x1 skip {skipped} on GET {HISTORY}BTC")
    async with AsyncAlura(base_url=sandbox.url, retry=Retry(attempts=1)) as alura:
        pages = await pulled(alura, "BTC", "1m", start=NOW - timedelta(hours=20), end=NOW, concurrency=1)
    require_all(sandbox, pages, NOW_MS - 20 * HOUR)


async def test_a_server_that_lists_no_symbols_is_an_error(raw: RawServer) -> None:
    raw.answers = [reply("[]")]
    async with AsyncAlura(base_url=raw.url) as alura:
        with pytest.raises(ShapeError, match="lists no symbols"):
            await pulled(alura, "all", "1m", start=START_MS)
        with pytest.raises(ShapeError, match="lists no symbols"):
            await alura.bulk.plan("all", "1m", start=START_MS)


async def test_a_symbol_that_is_listed_twice_is_pulled_once(raw: RawServer) -> None:
    start_ms = NOW_MS // HOUR * HOUR
    raw.routes["/api/indicators/candles/aggregated/symbols"] = [reply('["BTC", "BTC"]')]
    raw.answers = [reply(rows(start_ms, MINUTE, 9))]
    async with AsyncAlura(base_url=raw.url) as alura:
        pages = await pulled(alura, "all", "1m", start=start_ms, end=start_ms + 9 * MINUTE)
    assert [len(page.candles) for page in pages] == [9]


async def test_a_server_that_wants_a_token_is_asked_once_a_worker(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=10)
    with sandbox.faults.add(f"401 on GET {HISTORY}:symbol"):
        (gap,) = await pulled(alura, "BTC", "1m", start=NOW - timedelta(days=1), end=NOW)
    assert isinstance(gap.error, CredentialsNeededError)
    assert len(sandbox.requests) == 1


# How it is asked


async def test_a_server_that_gives_only_its_latest_candles_is_an_error_and_never_no_candles(
    sandbox: Sandbox, alura: AsyncAlura
) -> None:
    sandbox.quirks = Quirks(page_cap=100, ignores_start=True, ignores_end=True)
    pages = await pulled(alura, ["BTC", "ETH"], "1m", start=NOW - timedelta(hours=10), end=NOW)
    gaps = [page for page in pages if page.error is not None]
    assert {gap.symbol for gap in gaps} == {"BTC", "ETH"}
    assert len(gaps) == 2
    for gap in gaps:
        assert isinstance(gap.error, ShapeError)
        for word in ("CandleQuery", "startTime", "endTime", "limit", "unit", "path", HISTORY):
            assert word in str(gap.error)
        assert NOW_MS - 101 * MINUTE <= gap.end_ms <= NOW_MS - 98 * MINUTE
    assert any(not path.startswith(HISTORY) for path in asked(sandbox))
    assert len(sandbox.requests) < 20


async def test_a_start_by_a_name_that_the_server_does_not_know_changes_nothing(
    sandbox: Sandbox, alura: AsyncAlura
) -> None:
    """As if it ignored it: it is read backwards."""
    sandbox.quirks = Quirks(page_cap=100)
    start = NOW - timedelta(hours=10)
    pages = await pulled(alura, "BTC", "1m", start=start, end=NOW, query=CandleQuery(start="from"))
    require_all(sandbox, pages, NOW_MS - 10 * HOUR)


async def test_two_names_that_the_server_does_not_know_are_noticed(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=100)
    query = CandleQuery(start="from", end="to")
    pages = await pulled(alura, "BTC", "1m", start=NOW - timedelta(hours=10), end=NOW, query=query)
    assert "'from', 'to'" in str(pages[-1].error)


async def test_an_interval_that_is_asked_for_by_another_name_is_noticed(sandbox: Sandbox, alura: AsyncAlura) -> None:
    """The sandbox gives hours where nothing is said."""
    query = CandleQuery(interval="resolution", path="history")
    (gap,) = await pulled(alura, "BTC", "1m", start=NOW - timedelta(days=9), end=NOW, query=query)
    assert "CandleQuery(interval=…)" in str(gap.error)


@pytest.mark.parametrize(("step", "what"), [(5 * MINUTE, "a longer"), (MINUTE // 4, "a shorter")])
async def test_candles_that_stand_too_far_apart_or_too_close_are_of_another_interval(
    step: int, what: str, raw: RawServer
) -> None:
    start_ms = NOW_MS // HOUR * HOUR - 60 * 5 * MINUTE
    raw.answers = [reply(rows(start_ms, step, 60))]
    async with AsyncAlura(base_url=raw.url) as alura:
        (gap,) = await pulled(alura, "BTC", "1m", start=start_ms, end=NOW)
    assert f"of {what} interval" in str(gap.error)


async def test_another_path_is_used_if_the_first_is_not_served(sandbox: Sandbox, alura: AsyncAlura) -> None:
    with sandbox.faults.add(f"404 on GET {HISTORY}:symbol"):
        pages = await pulled(alura, ["BTC", "ETH"], "1m", start=NOW - timedelta(hours=10), end=NOW)
    require_all(sandbox, pages, NOW_MS - 10 * HOUR)
    assert sum(path.startswith(HISTORY) for path in asked(sandbox)) == 1


async def test_seconds_and_other_names_are_sent_as_told(sandbox: Sandbox, alura: AsyncAlura) -> None:
    query = CandleQuery(start="since", end="until", limit="count", unit="s", path="interval", most=50)
    await pulled(alura, "BTC", "1m", start=NOW - timedelta(minutes=5), end=NOW, query=query)
    sent = sandbox.requests[0]
    assert sent.path == "/api/indicators/candles/BTC/1m"
    assert set(sent.query) == {"since", "until", "count"}
    assert sent.query["count"] == "50"
    assert NOW_MS // 1000 - 7 * 60 <= int(sent.query["since"]) <= NOW_MS // 1000 - 5 * 60


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": ""},
        {"start": "a b"},
        {"start": "endTime"},
        {"unit": "us"},
        {"path": "latest"},
        {"most": 5},
        {"most": True},
    ],
)
def test_a_query_that_cannot_be_sent_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="CandleQuery"):
        CandleQuery(**wrong)


# Going on side by side


async def test_nothing_more_is_asked_while_no_page_is_taken(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=10)
    pages = alura.bulk.candles("BTC", "1m", start=NOW - timedelta(days=2), end=NOW, concurrency=2)
    async with aclosing(pages):
        await anext(pages)
        before = -1
        while len(sandbox.requests) > before:
            before = len(sandbox.requests)
            await asyncio.sleep(0.02)
        assert 2 <= before <= 12
        for _ in range(20):
            await anext(pages)
        assert len(sandbox.requests) >= 20


async def test_as_many_requests_are_under_way_as_said(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=100)
    with sandbox.faults.add("hang skip 4"):
        pages = alura.bulk.candles("BTC", "1m", start=NOW - timedelta(days=3), end=NOW, concurrency=3)
        for _ in range(4):
            await anext(pages)
        async with asyncio.timeout(5):
            while len(sandbox.requests) < 4 + 3:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert len(sandbox.requests) == 4 + 3
        await pages.aclose()


async def test_no_more_are_under_way_than_get_their_turn_in_time(sandbox: Sandbox) -> None:
    sandbox.quirks = Quirks(page_cap=10)
    limiter = RateLimiter(rate=1000, concurrency=7, reserved=4)
    async with AsyncAlura(base_url=sandbox.url, limiter=limiter) as alura:
        with sandbox.faults.add("hang skip 3"):
            pages = alura.bulk.candles("BTC", "1m", start=NOW - timedelta(days=3), end=NOW, concurrency=1000)
            await anext(pages)
            before = len(ours())
            assert before < 10
            await pages.aclose()


async def test_stopping_early_leaves_nothing_behind(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=10)
    before = ours()
    with sandbox.faults.add("hang skip 6"):
        pages = alura.bulk.candles("BTC", "1m", start=NOW - timedelta(days=2), end=NOW)
        await anext(pages)
        began = asyncio.get_running_loop().time()
        await pages.aclose()
        assert asyncio.get_running_loop().time() - began < 1
    assert ours() <= before


async def test_a_cancelled_pull_leaves_nothing_behind(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=10)
    before = ours()
    with sandbox.faults.add("hang skip 6"):
        pulling = asyncio.create_task(pulled(alura, "BTC", "1m", start=NOW - timedelta(days=2), end=NOW))
        while len(sandbox.requests) < 8:
            await asyncio.sleep(0.001)
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
    assert ours() <= before


async def test_a_pull_that_is_forgotten_ends_by_itself(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=10)
    before = ours()
    async for _ in alura.bulk.candles("BTC", "1m", start=NOW - timedelta(days=2), end=NOW):
        break
    gc.collect()
    async with asyncio.timeout(5):
        while not ours() <= before:
            await asyncio.sleep(0.001)


async def test_closing_the_client_ends_a_pull(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=10)
    pages = alura.bulk.candles("BTC", "1m", start=NOW - timedelta(days=2), end=NOW)
    await anext(pages)
    await alura.close()
    with pytest.raises(ClosedError):
        async for _ in pages:
            pass


async def test_progress_is_told_after_each_page(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=100)
    told: list[Progress] = []
    pages = await pulled(alura, ["BTC", "ETH"], "1m", start=NOW - timedelta(hours=20), end=NOW, progress=told.append)
    assert len(told) == len(pages)
    last = told[-1]
    assert last.candles == sum(len(page.candles) for page in pages if page.error is None)
    assert (last.requests, last.requests_left, last.gaps) == (len(sandbox.requests), 0, 0)
    assert last.done == 1
    assert last.eta_s == 0
    assert [at.done for at in told] == sorted(at.done for at in told)
    middle = told[len(told) // 2]
    assert abs(middle.requests + middle.requests_left - last.requests) <= 0.2 * last.requests
    assert last.elapsed_s > 0


@pytest.mark.waits
async def test_progress_is_told_while_nothing_comes(raw: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alura_async.bulk.pull._TELL_EVERY_S", 0.02)
    told: list[Progress] = []
    raw.answers = [hang]
    async with AsyncAlura(base_url=raw.url) as alura:
        pages = alura.bulk.candles("BTC", "1m", start=START_MS, end=NOW, progress=told.append)
        taking = asyncio.ensure_future(anext(pages))
        async with asyncio.timeout(5):
            while len(told) < 3:
                await asyncio.sleep(0.005)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
    assert {at.eta_s for at in told} == {None}


@pytest.mark.waits
async def test_a_pause_does_not_spoil_the_estimate(raw: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alura_async.bulk.telling._STILL_S", 0.3)
    told: list[Progress] = []

    async def slow(request: Received, writer: Any) -> bytes:
        await asyncio.sleep(1.0 if len(raw.received) == 12 else 0.01)
        return await server(request, writer)

    server = Minutes()
    raw.answers = [slow]
    async with AsyncAlura(base_url=raw.url, limiter=RateLimiter(rate=1000)) as alura:
        await pulled(alura, "BTC", "1m", start=START_MS, end=NOW, concurrency=1, progress=told.append)
    paces = [at.requests_per_s for at in told if at.requests > 8]
    assert min(paces) > max(paces) / 4
    assert told[0].eta_s is None or told[0].requests > 1


@pytest.mark.waits
async def test_a_burst_is_not_taken_for_the_pace_of_the_rest(sandbox: Sandbox) -> None:
    sandbox.quirks = Quirks(page_cap=100)
    told: list[Progress] = []
    async with AsyncAlura(base_url=sandbox.url, limiter=RateLimiter(rate=50, burst=20)) as alura:
        await pulled(alura, "BTC", "1m", start=NOW - timedelta(days=2), end=NOW, progress=told.append)
    assert any(at.requests_per_s > 60 for at in told)
    estimates = [at for at in told if at.eta_s]
    assert len(estimates) > 10
    assert all(at.eta_s is not None and at.eta_s >= at.requests_left / 50 - 1e-9 for at in estimates)


@pytest.mark.waits
async def test_while_nothing_comes_nobody_knows_how_long_it_takes(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.quirks = Quirks(page_cap=100)
    monkeypatch.setattr("alura_async.bulk.telling._STILL_S", 0.1)
    monkeypatch.setattr("alura_async.bulk.telling._STILL_TIMES", 0)
    monkeypatch.setattr("alura_async.bulk.pull._TELL_EVERY_S", 0.02)
    told: list[Progress] = []
    hung = asyncio.Event()

    def listen(progress: Progress) -> None:
        told.append(progress)
        if progress.requests >= 10 and not sandbox.faults.rules:
            sandbox.faults.add("hang on GET /api/indicators/*")
        if progress.eta_s is None and progress.requests >= 10:
            hung.set()

    async with AsyncAlura(base_url=sandbox.url, limiter=RateLimiter(rate=1000)) as alura:
        pulling = asyncio.create_task(
            pulled(alura, "BTC", "1m", start=NOW - timedelta(days=2), end=NOW, concurrency=1, progress=listen)
        )
        await hung.wait()
        pulling.cancel()
    assert any(at.eta_s for at in told)


async def test_progress_counts_gaps_as_they_are_given(sandbox: Sandbox, alura: AsyncAlura) -> None:
    told: list[Progress] = []
    sandbox.quirks = Quirks(page_cap=100)
    pages = await pulled(alura, ["BTC", "NONE"], "1m", start=NOW - timedelta(hours=20), end=NOW, progress=told.append)
    assert told[-1].gaps == sum(page.error is not None for page in pages) == 1
    assert told[-1].done == 1


async def test_what_progress_raises_ends_the_pull(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=10)

    def stop(progress: Progress) -> None:
        if progress.candles > 30:
            raise KeyError("enough")

    before = ours()
    with pytest.raises(KeyError, match="enough"):
        await pulled(alura, "BTC", "1m", start=NOW - timedelta(days=2), end=NOW, progress=stop)
    assert ours() <= before
    assert len(sandbox.requests) < 40


@pytest.mark.waits
async def test_waiting_for_a_turn_is_told(sandbox: Sandbox) -> None:
    sandbox.quirks = Quirks(page_cap=100)
    told: list[Progress] = []
    async with AsyncAlura(base_url=sandbox.url, limiter=RateLimiter(rate=200, burst=1)) as alura:
        await pulled(alura, "BTC", "1m", start=NOW - timedelta(hours=20), end=NOW, progress=told.append)
    assert told[-1].lane_wait_s > 0
    assert told[-1].elapsed_s >= (len(sandbox.requests) - 1) / 200


# What is refused


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"symbols": []}, "symbols"),
        ({"symbols": ""}, "symbols"),
        ({"symbols": ["BTC", "BTC"]}, "twice"),
        ({"symbols": ["BTC", ".."]}, "symbols"),
        ({"symbols": None}, "symbols"),
        ({"intervals": []}, "intervals"),
        ({"intervals": "1 minute"}, "interval="),
        ({"intervals": ["1m", "0h"]}, "interval="),
        ({"intervals": ["1m", "1m"]}, "twice"),
        ({"start": NOW}, "not before"),
        ({"start": NOW.replace(tzinfo=None)}, "zone"),
        ({"end": 5}, "seconds"),
        ({"start": 1_700_000_000}, "seconds"),
        ({"start": datetime(1971, 1, 1, tzinfo=UTC), "end": datetime(1970, 6, 1, tzinfo=UTC)}, "not before"),
        ({"start": datetime(2100, 1, 1, tzinfo=UTC), "end": None}, "which is now"),
        ({"concurrency": 0}, "concurrency"),
        ({"strict": "no"}, "strict"),
    ],
)
async def test_what_makes_no_sense_is_refused_before_anything_is_sent(
    wrong: dict[str, Any], said: str, sandbox: Sandbox, alura: AsyncAlura
) -> None:
    given: dict[str, Any] = {"symbols": "all", "intervals": "1m", "start": NOW_MS - HOUR, "end": NOW}
    with pytest.raises(InvalidArgumentError, match=said):
        await pulled(alura, **{**given, **wrong})
    assert not sandbox.requests


# The estimate


async def test_an_estimate_takes_the_servers_own_page(sandbox: Sandbox, alura: AsyncAlura) -> None:
    sandbox.quirks = Quirks(page_cap=504)
    plan = await alura.bulk.plan(["BTC", "ETH"], "1m", start=NOW - timedelta(days=10), end=NOW)
    assert len(sandbox.requests) <= 3
    assert plan.page == 500
    assert plan.candles == 2 * 14_400
    assert plan.requests == 58
    assert plan.rate <= 10
    assert str(plan).startswith("28,800 candles, about 58 requests, ")
    before = len(sandbox.requests)
    pages = await pulled(alura, ["BTC", "ETH"], "1m", start=NOW - timedelta(days=10), end=NOW)
    assert abs(len(sandbox.requests) - before - plan.requests) <= 4
    assert sum(len(page.candles) for page in pages) <= plan.candles


@pytest.mark.parametrize("answer", [reply("[]"), reply('{"message":"no"}', "404 Not Found"), BAD])
async def test_an_estimate_looks_at_another_symbol_where_the_first_has_no_candles(
    answer: bytes, raw: RawServer
) -> None:
    raw.answers = [Minutes(lambda symbol, start, end: answer if symbol == "DEAD" else None)]
    # The other path.
    raw.routes["/api/indicators/candles/DEAD/1m"] = [answer]
    async with AsyncAlura(base_url=raw.url) as alura:
        plan = await alura.bulk.plan(["DEAD", "BTC"], "1m", start=START_MS, end=NOW)
    assert 490 <= plan.page <= 500


async def test_an_estimate_without_a_limiter_counts_the_requests_that_are_made_at_once(sandbox: Sandbox) -> None:
    async with AsyncAlura(base_url=sandbox.url, limiter=RateLimiter.unlimited()) as alura:
        plan = await alura.bulk.plan("BTC", "1m", start=NOW - timedelta(days=10), end=NOW)
    assert plan.rate < 32 / 0.00005


async def test_an_estimate_needs_a_server_that_can_be_asked(sandbox: Sandbox, alura: AsyncAlura) -> None:
    with pytest.raises(NotFoundError):
        await alura.bulk.plan("NONE", "1m", start=NOW - timedelta(days=10), end=NOW)


# The latest candles, and signals


async def test_the_latest_candles_of_several_symbols_come_in_one_round(sandbox: Sandbox, alura: AsyncAlura) -> None:
    symbols = ["SOL", QUIET, "BTC", "ETH"]
    latest = await alura.bulk.latest(symbols, "1m", limit=20)
    assert list(latest) == symbols
    assert len(sandbox.requests) == len(symbols)
    for symbol, candles in latest.items():
        assert candles == market(sandbox, symbol, "1m", NOW_MS - 24 * HOUR)[-20:]
    assert not latest.errors


async def test_the_latest_candles_of_all_symbols_are_of_those_that_are_listed(
    sandbox: Sandbox, alura: AsyncAlura
) -> None:
    latest = await alura.bulk.latest("all", "1d", limit=1)
    assert list(latest) == list(await alura.indicators.symbols())
    assert {len(candles) for candles in latest.values()} == {1}


async def test_no_more_candles_than_asked_for_are_given(raw: RawServer) -> None:
    """A server may take no notice of the number."""
    first_ms = NOW_MS // HOUR * HOUR
    raw.answers = [reply(rows(first_ms, MINUTE, 9))]
    async with AsyncAlura(base_url=raw.url) as alura:
        latest = await alura.bulk.latest("BTC", "1m", limit=3)
    assert latest["BTC"].open_time.astype(int).tolist() == [first_ms + at * MINUTE for at in (6, 7, 8)]


async def test_a_symbol_whose_latest_candles_cannot_be_had_raises_when_asked_for(alura: AsyncAlura) -> None:
    latest = await alura.bulk.latest(["BTC", "NONE"], "1h", limit=3)
    assert list(latest) == ["BTC"]
    assert isinstance(latest.errors["NONE"], NotFoundError)
    with pytest.raises(NotFoundError):
        latest["NONE"]
    with pytest.raises(KeyError):
        latest["ETH"]
    assert repr(latest) == "<LatestCandles of 1 symbols, 1 failed>"
    with pytest.raises(ExceptionGroup):
        await alura.bulk.latest(["BTC", "NONE"], "1h", strict=True)
    with pytest.raises(InvalidArgumentError, match="limit"):
        await alura.bulk.latest("BTC", "1h", limit=0)


@pytest.mark.parametrize("operation", ["latest", "candles"])
async def test_a_candle_that_was_over_only_when_the_reply_was_sent_is_no_closed_one(
    operation: str, raw: RawServer
) -> None:
    """The server looked it up before, so it may lack the last trades."""
    end_ms = NOW_MS // MINUTE * MINUTE
    raw.answers = [
        reply(rows(end_ms - 3 * MINUTE, MINUTE, 3), headers={"Date": formatdate(end_ms / 1000, usegmt=True)})
    ]
    async with AsyncAlura(base_url=raw.url) as alura:
        if operation == "latest":
            candles = (await alura.bulk.latest("BTC", "1m"))["BTC"]
        else:
            (page,) = await pulled(alura, "BTC", "1m", start=end_ms - 3 * MINUTE, end=end_ms)
            candles = page.candles
            assert page.as_of_ms == candles.as_of_ms
    assert candles.closed.tolist() == [True, True, False]
    assert candles.as_of_ms is not None
    assert end_ms - 5000 < candles.as_of_ms < end_ms


async def test_signals_of_all_symbols_take_one_request(sandbox: Sandbox, alura: AsyncAlura) -> None:
    signals = await alura.bulk.signals("all", "1h")
    assert len(sandbox.requests) == 1
    assert {signal.symbol for signal in signals} >= {"BTC", "ETH"}
    some = await alura.bulk.signals(["ETH", "NONE", "BTC"], "1h")
    assert [signal.symbol for signal in some] == ["ETH", "BTC"]
    assert all(isinstance(signal, Signal) for signal in some)
    assert isinstance(some.errors["NONE"], NotFoundError)
    assert not signals.errors
    with pytest.raises(ExceptionGroup):
        await alura.bulk.signals(["NONE"], "1h", strict=True)


# The blocking surface


@pytest.fixture
def blocking() -> Iterator[tuple[Alura, Sandbox]]:
    with Sandbox.threaded(seed=7, start=NOW, speed=0, limit=None) as sandbox, Alura(base_url=sandbox.url) as alura:
        yield alura, sandbox


def test_the_blocking_surface_gives_the_same_pages(blocking: tuple[Alura, Sandbox]) -> None:
    alura, sandbox = blocking
    sandbox.quirks = Quirks(page_cap=100)
    start = NOW - timedelta(hours=20)
    pages = list(alura.bulk.candles(["BTC", "ETH"], "1m", start=start, end=NOW))
    require_all(sandbox, pages, NOW_MS - 20 * HOUR)
    assert alura.bulk.plan("BTC", "1m", start=start, end=NOW).candles == 1200
    latest = alura.bulk.latest("BTC", "1m", limit=5)
    assert isinstance(latest, LatestCandles)
    assert len(latest["BTC"]) == 5
    assert [signal.symbol for signal in alura.bulk.signals("BTC", "1h")] == ["BTC"]


def test_the_blocking_surface_can_stop_early(blocking: tuple[Alura, Sandbox]) -> None:
    alura, sandbox = blocking
    sandbox.quirks = Quirks(page_cap=10)
    with alura.bulk.candles("BTC", "1m", start=NOW - timedelta(days=2), end=NOW) as pages:
        assert isinstance(next(pages), CandlePage)
    before = len(sandbox.requests)
    assert before < 60
    with pytest.raises(StopIteration):
        next(pages)


# What is left open


_LEFT_OPEN = """
import asyncio
from alura_async import Alura, AsyncAlura
from alura_async.sandbox import Quirks, Sandbox

held = []

async def main():
    async with Sandbox(limit=None, quirks=Quirks(page_cap=10)) as sandbox, AsyncAlura(base_url=sandbox.url) as alura:
        held.append(alura.bulk.candles("BTC", "1m", start=sandbox.now_ms - 10**8))
        await anext(held[0])

asyncio.run(main())
with Sandbox.threaded(limit=None, quirks=Quirks(page_cap=10)) as sandbox:
    with Alura(base_url=sandbox.url) as alura:
        held.append(alura.bulk.candles("BTC", "1m", start=sandbox.now_ms - 10**8))
        next(held[1])
print("left")
"""


def test_a_pull_that_is_held_when_its_loop_or_its_client_ends_says_nothing() -> None:
    program = _LEFT_OPEN.replace("sandbox.now_ms", "int(__import__('time').time() * 1000)")
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (found.stdout.strip(), found.stderr) == ("left", "")


def test_what_takes_long_to_import_is_imported_beside_the_loop() -> None:
    program = """
import asyncio, sys, threading
from alura_async import AsyncAlura, AluraError
seen = []
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            seen.append(threading.current_thread() is threading.main_thread())
sys.meta_path.insert(0, Finder())
async def main(operation):
    async with AsyncAlura(base_url="http://127.0.0.1:9", timeout=0.5) as alura:
        try:
            if operation == "candles":
                async for _ in alura.bulk.candles("BTC", "1m", start=1_700_000_000_000, end=1_700_000_060_000):
                    break
            else:
                await alura.bulk.latest("BTC", "1m")
        except AluraError:
            pass
from alura_async import no_waits
with no_waits():
    asyncio.run(main(sys.argv[1]))
print(seen)
"""
    for operation in ("candles", "latest"):
        found = subprocess.run([sys.executable, "-c", program, operation], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "[False]"
