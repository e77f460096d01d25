"""What ends a pull, or a part of it: a symbol that is traded no more, one that always fails, times in another unit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import pytest

from alura_async import AsyncAlura, RateLimiter, Retry, ServerError, ShapeError
from alura_async.bulk import CandlePage, CandleQuery, Candles, Progress
from alura_async.bulk.failures import Failures, Next
from alura_async.bulk.plan import Window
from tests.raw_server import RawServer, Received, hang, reply

pytestmark = pytest.mark.anyio

MINUTE, DAY = 60_000, 86_400_000
NOW_MS = 29_480_400 * MINUTE
PAGE = 500
BAD = reply('{"statusCode":500,"message":"Internal server error"}', "500 Internal Server Error")
REFUSED = reply('{"statusCode":400,"message":["startTime must be a timestamp"]}', "400 Bad Request")
UNKNOWN = reply('{"statusCode":404,"message":"Not Found"}', "404 Not Found")

TimeUnit: TypeAlias = Literal["ms", "s"]
Odd = Callable[[str, int, int], "bytes | None"]


class Traded:
    """A server of symbols that were traded in each minute from one to another; but first asks `odd` for an answer.

    Args:
        since_ms: the first minute.
        until_ms: the end.
        odd: given a symbol and a range, what to answer instead.
        latest: what to answer where no range is asked for; by default the last candles.
        unit_ms: how many milliseconds its times are counted in.
        last_first: whether the last candles are given where there are too many.
    """

    def __init__(
        self,
        since_ms: int,
        until_ms: int,
        *,
        odd: Odd = lambda symbol, start, end: None,
        latest: bytes | None = None,
        unit_ms: int = 1,
        last_first: bool = False,
    ) -> None:
        self._since, self._until = since_ms // MINUTE, until_ms // MINUTE
        self._odd, self._latest, self._unit_ms, self._last_first = odd, latest, unit_ms, last_first
        self.asked: list[str] = []

    async def __call__(self, request: Received, writer: Any) -> bytes:
        target = urlsplit(request.target)
        query = dict(parse_qsl(target.query))
        if "startTime" not in query:
            self.asked.append("latest")
            return self._latest or self._rows(self._until - PAGE, self._until)
        symbol = target.path.rpartition("/")[2]
        start, end = int(query["startTime"]) * self._unit_ms, int(query["endTime"]) * self._unit_ms
        self.asked.append(symbol)
        first, last = max(self._since, -(-start // MINUTE)), min(self._until, end // MINUTE + 1)
        if self._last_first:
            first = max(first, last - PAGE)
        return self._odd(symbol, start, end) or self._rows(first, min(last, first + PAGE))

    def _rows(self, since: int, until: int) -> bytes:
        return reply(rows(since, until))


def rows(since: int, until: int, price: str = "2") -> bytes:
    """Candles of some minutes, as a server writes them."""
    found = [{"t": at * MINUTE, "o": "2", "h": price, "l": "1", "c": "2", "v": "3"} for at in range(since, until)]
    return json.dumps(found).encode()


async def pulled(raw: RawServer, symbols: str | list[str], start_ms: int, **how: Any) -> list[CandlePage]:
    """All pages of a pull, by default up to now."""
    limiter = RateLimiter(rate=1000)
    retry, end_ms = how.pop("retry", Retry()), how.pop("end", NOW_MS)
    async with AsyncAlura(base_url=raw.url, limiter=limiter, retry=retry) as alura, asyncio.timeout(20):
        return [page async for page in alura.bulk.candles(symbols, "1m", start=start_ms, end=end_ms, **how)]


def require(pages: list[CandlePage], start_ms: int, since_ms: int, until_ms: int) -> Candles:
    """The pages of a series cover all up to now, and hold each minute of a range and no other."""
    assert [page.error for page in pages if page.error is not None] == []
    pages = sorted(pages, key=lambda page: page.start_ms)
    edges = [start_ms, *(page.end_ms for page in pages)]
    assert edges == [*(page.start_ms for page in pages), NOW_MS]
    candles = Candles.concat(page.candles for page in pages)
    assert candles.open_time.astype(int).tolist() == list(range(max(start_ms, since_ms), until_ms, MINUTE))
    return candles


# A symbol that is traded no more

ENDED_MS = NOW_MS - 300 * DAY
START_MS = ENDED_MS - 20 * PAGE * MINUTE


@pytest.mark.parametrize("last_first", [False, True])
async def test_a_symbol_that_is_traded_no_more_takes_hardly_more_requests_than_its_candles(
    last_first: bool, raw: RawServer
) -> None:
    server = Traded(START_MS - DAY, ENDED_MS, last_first=last_first)
    raw.answers = [server]
    pages = await pulled(raw, "BTC", START_MS)
    require(pages, START_MS, START_MS, ENDED_MS)
    # The 864 that the days without candles would take are two.
    assert len(server.asked) <= 20 + 9


async def test_its_first_candles_come_within_a_few_requests_and_it_is_known_how_much_is_left(raw: RawServer) -> None:
    server = Traded(START_MS - DAY, ENDED_MS)
    raw.answers = [server]
    told: list[Progress] = []
    async with AsyncAlura(base_url=raw.url, limiter=RateLimiter(rate=1000)) as alura:
        pages = alura.bulk.candles("BTC", "1m", start=START_MS, end=NOW_MS, progress=told.append, concurrency=1)
        async with aclosing(pages):
            while not told or not told[-1].candles:
                await anext(pages)
            assert told[-1].requests <= 8
            for _ in range(3):
                await anext(pages)
    # Of 432,000 minutes without candles and 10,000 with, the former are done.
    assert told[-1].done > 0.97
    assert 10 <= told[-1].requests_left <= 20
    assert told[-1].eta_s is not None


async def test_an_estimate_knows_where_a_symbol_ends(raw: RawServer) -> None:
    raw.answers = [Traded(START_MS - DAY, ENDED_MS)]
    async with AsyncAlura(base_url=raw.url) as alura:
        plan = await alura.bulk.plan("BTC", "1m", start=START_MS, end=NOW_MS)
        live = await alura.bulk.plan("BTC", "1m", start=START_MS, end=ENDED_MS)
    assert plan.candles == live.candles == 20 * PAGE
    assert plan.requests == live.requests
    assert len(raw.received) <= 17


async def test_symbols_that_ended_before_the_range_take_six_requests_and_the_first_one_eight(raw: RawServer) -> None:
    server = Traded(START_MS - DAY, ENDED_MS)
    raw.answers = [server]
    pages = await pulled(raw, ["BTC", "ETH"], ENDED_MS + DAY, concurrency=1)
    for symbol in ("BTC", "ETH"):
        require([page for page in pages if page.symbol == symbol], ENDED_MS + DAY, ENDED_MS + DAY, ENDED_MS + DAY)
    # Once, it is asked whether the server heeds ranges, and how far a reply reaches.
    # Of the rest, three are spots of the time without candles.
    assert server.asked == ["BTC", "latest", *["BTC"] * 6, "ETH", "latest", *["ETH"] * 4]


@pytest.mark.parametrize("latest", [BAD, UNKNOWN, reply("[]"), reply("{}")])
async def test_a_server_that_does_not_give_its_latest_candles_is_read_without_them(
    latest: bytes, raw: RawServer
) -> None:
    ended_ms = NOW_MS - 12 * PAGE * MINUTE
    raw.answers = [Traded(0, ended_ms, latest=latest)]
    start_ms = ended_ms - 5 * PAGE * MINUTE
    require(await pulled(raw, "BTC", start_ms), start_ms, start_ms, ended_ms)


@pytest.mark.waits
@pytest.mark.parametrize("kind", ["hangs", "stumbles"])
async def test_where_the_latest_candles_cannot_be_had_nobody_waits_for_them_and_they_are_asked_for_once(
    kind: str, raw: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alura_async.bulk.pull._HINT_S", 0.4)
    ended_ms, start_ms = NOW_MS - 6 * PAGE * MINUTE, NOW_MS - 8 * PAGE * MINUTE
    live = Traded(0, NOW_MS)
    dead = Traded(0, ended_ms)
    asked = 0

    async def server(request: Received, writer: Any) -> bytes:
        nonlocal asked
        if "startTime" not in request.target:
            asked += 1
            return BAD if kind == "stumbles" else await hang(request, writer)
        return await (live if "LIVE" in request.target else dead)(request, writer)

    raw.answers = [server]
    loop = asyncio.get_running_loop()
    pages: list[CandlePage] = []
    symbols = ["DEAD1", "DEAD2", "DEAD3", "LIVE"]
    async with AsyncAlura(base_url=raw.url, limiter=RateLimiter(rate=1000)) as alura:
        began, first_s = loop.time(), 0.0
        async for page in alura.bulk.candles(symbols, "1m", start=start_ms, end=NOW_MS):
            pages.append(page)
            if not first_s and len(page.candles):
                first_s = loop.time() - began
    assert asked == 1
    assert first_s < 0.3
    for symbol in symbols:
        until_ms = NOW_MS if symbol == "LIVE" else ended_ms
        require([page for page in pages if page.symbol == symbol], start_ms, start_ms, until_ms)


async def test_what_a_copy_of_the_latest_candles_says_is_not_taken_for_a_candle_nor_for_the_end(raw: RawServer) -> None:
    """It was made when the last one was running, and others came since."""
    copied = ENDED_MS // MINUTE - 3000
    raw.answers = [Traded(0, ENDED_MS, latest=reply(rows(copied - PAGE, copied, price="1.5")))]
    candles = require(await pulled(raw, "BTC", START_MS), START_MS, START_MS, ENDED_MS)
    assert candles.high.tolist() == [2.0] * len(candles)


async def test_a_series_that_has_candles_at_its_end_is_not_asked_for_the_latest(raw: RawServer) -> None:
    server = Traded(NOW_MS - 20 * PAGE * MINUTE, NOW_MS)
    raw.answers = [server]
    start_ms = NOW_MS - 40 * PAGE * MINUTE
    require(await pulled(raw, "BTC", start_ms), start_ms, NOW_MS - 20 * PAGE * MINUTE, NOW_MS)
    assert "latest" not in server.asked


@pytest.mark.parametrize("latest", [UNKNOWN, reply("[]")], ids=["unknown", "empty"])
async def test_what_is_done_stays_done_where_symbols_without_candles_are_looked_at_once_more(
    latest: bytes, raw: RawServer
) -> None:
    live, dead = Traded(0, NOW_MS), Traded(0, ENDED_MS, latest=latest)
    raw.answers = [lambda request, writer: (live if "LIVE" in request.target else dead)(request, writer)]
    told: list[Progress] = []
    symbols = ["LIVE1", "DEAD1", "DEAD2", "DEAD3", "LIVE2"]
    await pulled(raw, symbols, NOW_MS - 20 * PAGE * MINUTE, progress=told.append, concurrency=1)
    assert [at.done for at in told] == sorted(at.done for at in told)
    assert told[-1].done == 1
    # Until it is known how much a reply holds, it is a guess.
    lefts = [at.requests_left for at in told[len(told) // 5 :]]
    assert lefts == sorted(lefts, reverse=True)


# A symbol that always fails, when all else is done

LIVE_MS = NOW_MS - 24 * PAGE * MINUTE


@pytest.mark.waits
async def test_a_part_that_always_fails_does_not_hold_what_is_otherwise_finished(
    raw: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alura_async.bulk.failures._PASSING_S", 0.2)
    lost = LIVE_MS + 100 * MINUTE
    server = Traded(0, NOW_MS, odd=lambda symbol, start, end: BAD if start < lost else None)
    raw.answers = [server]
    # It would take two minutes, which is more than the test may.
    pages = await pulled(raw, ["ETH", "BTC"], LIVE_MS, retry=Retry(attempts=1))
    gaps = [page for page in pages if page.error is not None]
    assert {gap.symbol for gap in gaps} == {"ETH", "BTC"}
    assert all(isinstance(gap.error, ServerError) and gap.end_ms <= LIVE_MS + 2 * PAGE * MINUTE for gap in gaps)


@pytest.mark.waits
@pytest.mark.parametrize(("lasts_s", "is_all"), [(0.15, False), (0.6, True)])
async def test_what_passes_at_the_end_of_a_pull_makes_no_gap(
    lasts_s: float, is_all: bool, raw: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of one part for less than its time; or an outage of everything, for longer."""
    monkeypatch.setattr("alura_async.bulk.failures._PASSING_S", 0.3)
    monkeypatch.setattr("alura_async.bulk.failures._FIRST_PAUSE_S", 0.005)
    loop = asyncio.get_running_loop()
    began: list[float] = []

    def odd(symbol: str, start: int, end: int) -> bytes | None:
        is_last = start < LIVE_MS + 100 * MINUTE
        if is_last and not began:
            began.append(loop.time())
        return BAD if began and (is_last or is_all) and loop.time() < began[0] + lasts_s else None

    raw.answers = [Traded(0, NOW_MS, odd=odd)]
    pages = await pulled(raw, "BTC", LIVE_MS, concurrency=1, retry=Retry(attempts=1))
    require(pages, LIVE_MS, LIVE_MS, NOW_MS)
    assert loop.time() >= began[0] + lasts_s


def test_a_witness_of_its_own_series_does_not_make_it_begin_anew() -> None:
    """That one part is answered for says nothing of those that fail."""
    failures = Failures(8, 120.0)
    error = ServerError("500")
    windows = [Window("BTC", "1m", day * DAY, (day + 1) * DAY) for day in range(6)]
    came: list[Next] = []
    for window in windows:
        came.append(failures.failed(window, error, has_answered=True))
        failures.witnessed()
        came.append(failures.failed(window, error, has_answered=True))
    assert came[:4] == [Next.AGAIN, Next.GAP] * 2
    assert Next.SERIES in came


# Times in another unit


def absurd(start_ms: int) -> bool:
    """Whether a time is not of this century."""
    return not 10**12 < start_ms < 10**13


@pytest.mark.parametrize("unit", ["ms", "s"])
@pytest.mark.parametrize("kind", ["empty", "latest", "refused", "stumbles"])
async def test_a_server_that_takes_times_in_another_unit_says_so(kind: str, unit: str, raw: RawServer) -> None:
    latest = reply(rows(NOW_MS // MINUTE - PAGE, NOW_MS // MINUTE))
    answer = {"empty": None, "latest": latest, "refused": REFUSED, "stumbles": BAD}[kind]
    server = Traded(
        LIVE_MS - DAY,
        NOW_MS,
        odd=lambda symbol, start, end: answer if absurd(start) else None,
        unit_ms=1 if unit == "ms" else 1000,
    )
    raw.answers = [server]
    asked: Any = CandleQuery(unit="s" if unit == "ms" else "ms")
    pages = await pulled(raw, ["BTC", "ETH"], LIVE_MS, query=asked)
    gaps = [page for page in pages if page.error is not None]
    assert {gap.symbol for gap in gaps} == {"BTC", "ETH"}
    for gap in gaps:
        assert isinstance(gap.error, ShapeError)
        takes = "milliseconds" if unit == "ms" else "seconds"
        assert f"the server takes times in {takes}, and was asked in" in str(gap.error)
        assert f"CandleQuery(unit={unit!r})" in str(gap.error)
    assert len(server.asked) <= 12


@pytest.mark.parametrize("days", [1, 50])
@pytest.mark.parametrize("unit", ["ms", "s"])
async def test_days_of_long_ago_in_another_unit_are_not_taken_for_days_without_trades(
    unit: TimeUnit, days: int, raw: RawServer
) -> None:
    """Nothing that is asked for is among the latest candles, so they alone do not tell."""
    server = Traded(NOW_MS - 90 * DAY, NOW_MS, unit_ms=1 if unit == "ms" else 1000)
    raw.answers = [server]
    start_ms = NOW_MS - 80 * DAY
    units: tuple[TimeUnit, ...] = ("s" if unit == "ms" else "ms", unit)
    for asked in units:
        pages = await pulled(raw, ["BTC", "ETH"], start_ms, end=start_ms + days * DAY, query=CandleQuery(unit=asked))
        gaps = [page for page in pages if page.error is not None]
        if asked == unit:
            assert gaps == []
            assert sum(len(page.candles) for page in pages) == 2 * days * 1440
        else:
            assert len(gaps) == len(pages) == 2
            assert all(f"CandleQuery(unit={unit!r})" in str(gap.error) for gap in gaps)
            assert len(server.asked) < 25


async def test_a_server_that_finds_nothing_in_any_range_is_not_one_without_trades(raw: RawServer) -> None:
    raw.answers = [Traded(NOW_MS - 90 * DAY, NOW_MS, odd=lambda symbol, start, end: reply("[]"))]
    pages = await pulled(raw, ["BTC", "ETH"], NOW_MS - 80 * DAY, end=NOW_MS - 79 * DAY)
    assert [type(page.error) for page in pages] == [ShapeError, ShapeError]
    assert all("CandleQuery(start=" in str(page.error) for page in pages)


async def test_ranges_are_heeded_also_where_the_latest_candles_are_kept_apart(raw: RawServer) -> None:
    """What is in a range is a day old at least."""
    quiet = NOW_MS - 30 * DAY
    raw.answers = [
        Traded(quiet, NOW_MS, odd=lambda symbol, start, end: reply("[]") if start > NOW_MS - DAY else None),
    ]
    pages = await pulled(raw, "BTC", quiet - 10 * DAY, end=quiet - 9 * DAY)
    assert [(page.error, len(page.candles)) for page in pages] == [(None, 0)]


async def test_a_passing_error_is_not_put_down_to_the_unit(raw: RawServer) -> None:
    """The server gives its latest candles where a time makes no sense, so it does in the other unit as well."""
    latest = reply(rows(NOW_MS // MINUTE - PAGE, NOW_MS // MINUTE))
    asked: list[int] = []

    def odd(symbol: str, start: int, end: int) -> bytes | None:
        asked.append(start)
        return latest if absurd(start) else BAD if len(asked) <= 4 else None

    raw.answers = [Traded(0, NOW_MS, odd=odd)]
    require(await pulled(raw, "BTC", LIVE_MS), LIVE_MS, LIVE_MS, NOW_MS)
    assert any(absurd(start) for start in asked)


def odd_one(answer: bytes) -> Odd:
    """A server that gives its latest candles where a time makes no sense, and `answer` for any range of one symbol."""
    latest = reply(rows(NOW_MS // MINUTE - PAGE, NOW_MS // MINUTE))
    return lambda symbol, start, end: latest if absurd(start) else answer if symbol == "ODD" else None


@pytest.mark.parametrize("before", [[], ["BTC", "ETH"]])
@pytest.mark.parametrize("answer", [BAD, reply("[]")], ids=["stumbles", "empty"])
async def test_a_symbol_that_cannot_be_read_is_no_reason_to_call_the_unit_wrong_nor_to_end_the_pull(
    answer: bytes, before: list[str], raw: RawServer
) -> None:
    """What a server gives for times that make no sense lies in most ranges, and is no answer to them."""
    raw.answers = [Traded(0, NOW_MS, odd=odd_one(answer))]
    pages = await pulled(raw, [*before, "ODD", "SOL"], LIVE_MS, concurrency=1)
    gaps = [page for page in pages if page.error is not None]
    assert {gap.symbol for gap in gaps} == {"ODD"}
    assert not any("the server takes times in" in str(gap.error) for gap in gaps)
    for symbol in (*before, "SOL"):
        require([page for page in pages if page.symbol == symbol], LIVE_MS, LIVE_MS, NOW_MS)


async def test_a_symbol_that_was_listed_after_the_range_and_has_no_history_is_one_without_candles(
    raw: RawServer,
) -> None:
    raw.answers = [Traded(0, NOW_MS, odd=odd_one(reply("[]")))]
    pages = await pulled(raw, ["ODD", "BTC"], LIVE_MS, end=LIVE_MS + DAY, concurrency=1)
    assert [page.error for page in pages if page.error is not None] == []
    assert sum(len(page.candles) for page in pages if page.symbol == "BTC") == DAY // MINUTE
    assert sum(len(page.candles) for page in pages if page.symbol == "ODD") == 0


async def test_a_server_that_gives_its_latest_candles_for_any_range_near_them_does_not_heed_ranges(
    raw: RawServer,
) -> None:
    """Half of what came would be the half that was asked for."""
    latest = reply(rows(NOW_MS // MINUTE - PAGE, NOW_MS // MINUTE))
    raw.answers = [Traded(0, NOW_MS, odd=lambda symbol, start, end: latest if end > NOW_MS - DAY else reply("[]"))]
    pages = await pulled(raw, "BTC", LIVE_MS, end=LIVE_MS + DAY)
    assert [type(page.error) for page in pages] == [ShapeError]
    assert "CandleQuery(start=" in str(pages[0].error)


async def test_an_outage_is_not_asked_about_the_unit(raw: RawServer) -> None:
    raw.answers = [reply('{"statusCode":503,"message":"down"}', "503 Service Unavailable")]
    pages = await pulled(raw, "BTC", LIVE_MS, concurrency=1, retry=Retry(attempts=1))
    assert [type(page.error) for page in pages] == [ServerError]
    assert not any(absurd(int(dict(parse_qsl(urlsplit(each.target).query))["startTime"])) for each in raw.received)
