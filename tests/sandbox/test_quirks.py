"""A server of candles can be made awkward: each quirk does what it says, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from alura_async.errors import ConfigurationError
from alura_async.sandbox import Quirks, Sandbox
from alura_async.sandbox.quirks import with_quirks
from alura_async.sandbox.routes import ROUTES

from .caller import Caller
from .conftest import START

pytestmark = pytest.mark.anyio

HOUR = 3_600_000
NOW = int(START.timestamp() * 1000)
RUNNING = NOW // HOUR * HOUR
RANGE = f"/api/indicators/candles/history/BTC?interval=1h&startTime={RUNNING - 20 * HOUR}&limit=10"
NEWEST = "/api/indicators/candles/BTC/1h?limit=10"


async def hours(caller: Caller, path: str) -> list[int]:
    """How many hours each candle began before the running one."""
    return [(RUNNING - candle["t"]) // HOUR for candle in await caller.get(path)]


@pytest.mark.parametrize(
    ("quirks", "of_range", "of_newest"),
    [
        (Quirks(), range(20, 10, -1), range(9, -1, -1)),
        (Quirks(page_cap=4), range(20, 16, -1), range(3, -1, -1)),
        (Quirks(page_cap=4000), range(20, 10, -1), range(9, -1, -1)),
        (Quirks(ignores_start=True), range(9, -1, -1), range(9, -1, -1)),
        (Quirks(overlaps=True), range(21, 11, -1), range(9, -1, -1)),
        (Quirks(newest_first=True), range(11, 21), range(10)),
        (Quirks(without_running=True), range(20, 10, -1), range(9, 0, -1)),
        (Quirks(empty_before_listing=True), range(20, 10, -1), range(9, -1, -1)),
        (Quirks(page_cap=4, overlaps=True, newest_first=True), range(18, 22), range(4)),
        (Quirks(largest_limit=10), range(20, 10, -1), range(9, -1, -1)),
        (Quirks(ignores_end=True), range(20, 10, -1), range(9, -1, -1)),
        (Quirks(excludes_end=True), range(20, 10, -1), range(9, -1, -1)),
        (Quirks(last_of_range=True), range(9, -1, -1), range(9, -1, -1)),
    ],
)
async def test_a_quirk_changes_the_range_and_nothing_else(
    quirks: Quirks, of_range: range, of_newest: range, sandbox: Sandbox, stranger: Caller
) -> None:
    regular: dict[int, Any] = {
        candle["t"]: candle for candle in await stranger.get("/api/indicators/candles/BTC/1h?limit=30")
    }
    latest = await stranger.get("/api/indicators/candles/latest")
    sandbox.quirks = quirks
    assert sandbox.quirks == quirks
    assert await hours(stranger, RANGE) == list(of_range)
    assert await hours(stranger, NEWEST) == list(of_newest)
    assert all(regular[candle["t"]] == candle for candle in await stranger.get(RANGE))
    assert await stranger.get("/api/indicators/candles/latest") == latest


@pytest.mark.parametrize(("cap", "given"), [(300, 300), (800, 500), (20_000, 500)])
async def test_a_cap_on_pages_never_gives_more_than_there_would_be_without(
    cap: int, given: int, sandbox: Sandbox, stranger: Caller
) -> None:
    sandbox.quirks = Quirks(page_cap=cap)
    assert len(await stranger.get("/api/indicators/candles/BTC/1m")) == given


async def test_a_range_from_before_the_listing_begins_with_it_or_is_empty(sandbox: Sandbox, stranger: Caller) -> None:
    path = "/api/indicators/candles/history/BTC?interval=1h&startTime=0&limit=10"
    assert len(await stranger.get(path)) == 10
    sandbox.quirks = Quirks(empty_before_listing=True)
    assert await stranger.get(path) == []
    assert await stranger.get(f"{path}&endTime={NOW}") == []


@pytest.mark.parametrize(
    ("quirks", "of_range"),
    [
        (Quirks(), range(15, 12, -1)),
        (Quirks(excludes_end=True), range(15, 13, -1)),
        (Quirks(ignores_end=True), range(15, 5, -1)),
        (Quirks(ignores_end=True, ignores_start=True), range(9, -1, -1)),
        (Quirks(ignores_start=True), range(22, 12, -1)),
        (Quirks(last_of_range=True), range(15, 12, -1)),
        (Quirks(last_of_range=True, page_cap=2), range(14, 12, -1)),
        (Quirks(last_of_range=True, ignores_end=True), range(9, -1, -1)),
        (Quirks(last_of_range=True, empty_before_listing=True, page_cap=2), range(14, 12, -1)),
    ],
)
async def test_a_range_with_both_ends(quirks: Quirks, of_range: range, sandbox: Sandbox, stranger: Caller) -> None:
    sandbox.quirks = quirks
    path = f"/api/indicators/candles/history/BTC?interval=1h&startTime={RUNNING - 15 * HOUR}&limit=10"
    assert await hours(stranger, f"{path}&endTime={RUNNING - 13 * HOUR}") == list(of_range)


async def test_a_limit_that_is_too_large_is_refused(sandbox: Sandbox, stranger: Caller) -> None:
    sandbox.quirks = Quirks(largest_limit=9)
    for path in (RANGE, NEWEST):
        reply = await stranger.call("GET", path)
        assert reply.status == 400
        assert "limit must not be greater than 9" in str(reply.body)
    assert len(await stranger.get(RANGE.replace("limit=10", "limit=9"))) == 9


async def test_what_is_refused_is_refused_with_quirks_too(sandbox: Sandbox, stranger: Caller) -> None:
    sandbox.quirks = Quirks(page_cap=2, overlaps=True, empty_before_listing=True)
    for path, status in (
        ("/api/indicators/candles/BTC/2h?startTime=0", 400),
        ("/api/indicators/candles/history/NONE?startTime=0", 404),
        ("/api/indicators/candles/history/BTC?limit=0", 400),
    ):
        assert (await stranger.call("GET", path)).status == status


async def test_quirks_and_shapes_go_together(stranger: Caller, sandbox: Sandbox) -> None:
    sandbox.quirks = Quirks(page_cap=3)
    sandbox.shapes = "columns"
    arrays = await stranger.get(RANGE)
    assert [(RUNNING - row[0] // 1_000_000) // HOUR for row in arrays] == [18, 19, 20]
    sandbox.quirks = Quirks()
    assert sandbox.shapes == "columns"
    assert len(await stranger.get(RANGE)) == 10


async def test_quirks_are_given_at_the_beginning_too() -> None:
    sandbox = Sandbox(quirks=Quirks(newest_first=True))
    assert sandbox.quirks == Quirks(newest_first=True)


def test_without_quirks_the_routes_are_the_very_same() -> None:
    assert with_quirks(ROUTES, Quirks()) is ROUTES


@pytest.mark.parametrize("cap", [0, -1, True, "5", 2.5])
def test_a_cap_that_leaves_nothing_is_refused(cap: Any) -> None:
    with pytest.raises(ConfigurationError, match="page_cap"):
        Quirks(page_cap=cap)
    with pytest.raises(ConfigurationError, match="largest_limit"):
        Quirks(largest_limit=cap)


async def test_what_is_no_quirk_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigurationError, match=r"quirks=.*give Quirks"):
        sandbox.quirks = "newest_first"  # type: ignore[assignment]
    assert sandbox.quirks == Quirks()
