"""A process is killed while it fills a store: what it had recorded is there, and the next one goes on from it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from alura_async import Alura, RateLimiter, StoreError
from alura_async.bulk import Candles
from alura_async.bulk.ranges import merged, within
from alura_async.bulk.store import CandleStore
from alura_async.bulk.writer import Writer
from alura_async.core.model import from_milliseconds
from alura_async.sandbox import Quirks, Sandbox
from alura_async.sandbox.listing import BY_SYMBOL
from alura_async.sandbox.market import Market
from tests.bulk.series import ORIGIN, candles, pages

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.timeout(300),
]

# `nox -s bulk` kills 100 of each kind.
SCALE = float(os.environ.get("ALURA_BULK_SCALE", "0.02"))
KILLS = 100

HERE = Path(__file__).parents[2]

Fill = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def fill() -> Generator[Fill]:
    """Fills a store in a process of its own, and says whether that was killed."""
    with victims() as fill:
        yield fill


@contextmanager
def victims() -> Generator[Fill]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bulk.victim"], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as zygote:
        assert zygote.stdin is not None
        assert zygote.stdout is not None

        def fill(job: dict[str, Any]) -> dict[str, Any]:
            assert zygote.stdin is not None
            assert zygote.stdout is not None
            print(json.dumps(job), file=zygote.stdin, flush=True)
            said: dict[str, Any] = json.loads(zygote.stdout.readline())
            assert not said["failed"]
            return said

        yield fill
        zygote.stdin.close()


@pytest.mark.parametrize("compacts", [False, True], ids=["at the end", "after each page"])
def test_a_kill_between_any_two_steps_loses_nothing(compacts: bool, fill: Fill, tmp_path: Path) -> None:
    job: dict[str, Any] = {"compacts": compacts}
    steps = fill(job | {"folder": str(tmp_path / "whole"), "step": 0})["steps"]
    kills = ceil(SCALE * KILLS)
    chance = random.Random(compacts)
    killed = 0
    for number in range(kills):
        folder = tmp_path / f"store-{number}"
        # Spread over all of them, from the first one on.
        step = 1 + int(steps * (number + chance.random()) / kills)
        said = fill(job | {"folder": str(folder), "step": step})
        killed += said["killed"]
        require_recorded(folder, said["recorded"])
    print(f"killed {killed} of {kills}, {steps} steps")
    assert killed >= kills - 1


# What brings a file to its place: whatever happens between two of these is undone or done by whoever comes next.
DURABLE = {"only": ["fsync", "replace"], "compacts": True}


def test_a_kill_around_the_replacement_of_a_file_and_another_one_lose_nothing(fill: Fill, tmp_path: Path) -> None:
    steps = fill(DURABLE | {"folder": str(tmp_path / "whole"), "step": 0})["steps"]
    # Of the second replacement: before the draft is on the disk, and after it took the file's place.
    for step in range(1, steps + 1) if SCALE == 1 else (13, 16):
        folder = tmp_path / f"store-{step}"
        recorded = fill(DURABLE | {"folder": str(folder), "step": step})["recorded"]
        require_readable(folder, recorded)
        # Again with the next page, when its file is ready and not in its place.
        recorded += fill(DURABLE | {"folder": str(folder), "first": recorded, "step": 3})["recorded"]
        require_recorded(folder, recorded)


def require_recorded(folder: Path, recorded: int) -> None:
    """What was recorded is there before and after the next writer, which has to bring the rest alone."""
    table, come = candles(), pages(candles())[::-1]
    require_readable(folder, recorded)
    store = CandleStore(folder)
    with Writer(folder) as writer:
        writer.open(ORIGIN, makes=True)
        missing = writer.ask(page.window for page in come)
        assert len(come) - len(missing) - recorded in (0, 1)
        writer.record([page for page in come if page.window in missing])
        writer.compact()
    assert store.candles("BTC", "1m") == table
    assert store.verify() == ()
    assert pl.scan_parquet(folder / "**/*.parquet").sort("open_time").collect().equals(table.to_polars().drop("closed"))
    assert not [path.name for path in folder.rglob("*") if path.name.endswith(".tmp")]


def require_readable(folder: Path, recorded: int) -> None:
    """What was recorded is there, and nothing is damaged."""
    if not recorded:
        return
    table, come = candles(), pages(candles())[::-1]
    store = CandleStore(folder)
    (series,) = store.info().series
    covered = [page for page in come if series.ranges[0][0] <= page.start_ms]
    # One may have been recorded that nobody was told of.
    assert len(covered) - recorded in (0, 1)
    assert list(series.ranges) == merged((page.start_ms, page.end_ms) for page in covered)
    assert store.candles("BTC", "1m") == table.between(covered[-1].start_ms, covered[0].end_ms)
    # Other tools see whole files.
    if list(folder.rglob("*.parquet")):
        frame = pl.scan_parquet(folder / "**/*.parquet").sort("open_time").collect()
        assert frame["open_time"].is_unique().all()
        assert frame.join(table.to_polars(), on="open_time", how="anti").is_empty()
    assert store.verify() == ()


SEED = 5
MINUTE = 60_000
DAY = 86_400_000
NOW = 1_767_614_400_000  # 2026-01-05T12:00Z
CAP = 120
SYMBOLS = ["BTC", "ETH", "kPEPE"]
START = NOW - (4 if SCALE == 1 else 1) * DAY


def test_a_pull_that_is_killed_is_completed_by_the_same_call(fill: Fill, tmp_path: Path) -> None:
    """Nothing lost, nothing twice, and less than 2 % of what was recorded is asked for again."""
    kills = ceil(SCALE * KILLS)
    chance = random.Random(7)
    job: dict[str, Any] = {"symbols": SYMBOLS, "interval": "1m", "start": START, "end": NOW}
    expected = {symbol: market(symbol) for symbol in SYMBOLS}
    killed, number, again, before = 0, 0, 0, 0
    with Sandbox.threaded(
        seed=SEED, limit=None, start=from_milliseconds(NOW + 10_000), speed=0, quirks=Quirks(page_cap=CAP)
    ) as sandbox:
        job["url"] = sandbox.url
        # Twice: the first time the sandbox makes its market.
        seconds = [fill(job | {"folder": str(tmp_path / f"whole-{number}")})["seconds"] for number in range(2)][1]
        # One that recorded nothing before it was killed shows little.
        while killed < kills or not before:
            number += 1
            assert number <= 2 * kills + 20
            folder = tmp_path / f"store-{number}"
            said = fill(job | {"folder": str(folder), "after_s": chance.uniform(0, seconds)})
            killed += said["killed"]
            until_quiet(sandbox)
            recorded = covered(folder)
            sandbox.requests.clear()
            with Alura(base_url=sandbox.url, limiter=RateLimiter.unlimited()) as alura:
                report = alura.bulk.pull(folder, SYMBOLS, "1m", start=START, end=NOW)
            assert report.is_complete
            store = CandleStore(folder)
            assert {symbol: store.candles(symbol, "1m") for symbol in SYMBOLS} == expected
            assert store.verify() == ()
            assert store.gaps() == ()
            before += sum(end - start for ranges in recorded.values() for start, end in ranges)
            again += asked_again(sandbox, recorded)
    print(f"killed {killed} of {number}; {again / before:.2%} of what was recorded asked for again")
    assert again < 0.02 * before


def market(symbol: str) -> Candles:
    """What the market has of the candles that are over."""
    last = NOW - MINUTE
    found = Market(SEED).candles(BY_SYMBOL[symbol], "1m", now_ms=NOW, limit=10**6, start_ms=START, end_ms=last)
    return Candles.from_candles(found, symbol, "1m", as_of_ms=NOW)


def covered(folder: Path) -> dict[str, tuple[tuple[int, int], ...]]:
    """What a store is known to have before anybody goes on with it."""
    try:
        return {series.symbol: series.ranges for series in CandleStore(folder).series()}
    except StoreError:
        return {}  # it was killed before there was one


def asked_again(sandbox: Sandbox, recorded: dict[str, tuple[tuple[int, int], ...]]) -> int:
    """How much of what was recorded was asked for, in milliseconds."""
    again = 0
    for request in sandbox.requests:
        symbol = request.path.rpartition("/")[2]
        if "startTime" in request.query:
            start, end = int(request.query["startTime"]), int(request.query["endTime"]) + 1
            again += sum(last - first for first, last in within(recorded.get(symbol, ()), start, end))
    return again


def until_quiet(sandbox: Sandbox) -> None:
    """Until the server has dealt with everything that the killed process has sent."""
    until = time.monotonic() + 10
    while any(request.duration_ms is None for request in sandbox.requests):
        assert time.monotonic() < until
        time.sleep(0.001)
