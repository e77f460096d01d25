"""A store is the same whatever server filled it, and any tool reads it as it is, with the right types."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars
import pytest

from alura_async import AsyncAlura, RateLimiter
from alura_async.bulk import Candles, CandleStore
from alura_async.sandbox import Quirks, Sandbox
from alura_async.sandbox.listing import BY_SYMBOL
from alura_async.sandbox.market import Market

pytestmark = pytest.mark.anyio

SEED = 11
NOW = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
START = NOW - timedelta(days=4)
# One that is traded each minute, one that is not, and names that no file may have.
SYMBOLS = ["BTC", "GMX", "kPEPE", "PURR/USDC"]
AWKWARD = {
    "silent cap": Quirks(page_cap=170),
    "refused limit": Quirks(largest_limit=300),
    "no start": Quirks(ignores_start=True, page_cap=500),
    "no end": Quirks(ignores_end=True, page_cap=500),
    "newest first": Quirks(newest_first=True),
    "overlap": Quirks(overlaps=True, page_cap=500),
    "without the running candle": Quirks(without_running=True),
    "the last of a range": Quirks(last_of_range=True, page_cap=500),
    "empty before the listing": Quirks(empty_before_listing=True, page_cap=500),
    "all of it": Quirks(
        page_cap=333, overlaps=True, newest_first=True, without_running=True, empty_before_listing=True
    ),
}


def at(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


async def fill(folder: Path, quirks: Quirks) -> None:
    async with (
        Sandbox(seed=SEED, start=NOW, speed=0, limit=None, quirks=quirks) as sandbox,
        AsyncAlura(base_url=sandbox.url, limiter=RateLimiter.unlimited()) as alura,
    ):
        report = await alura.bulk.pull(folder, SYMBOLS, ["1m", "1h"], start=START, end=NOW)
    assert report.gaps == ()


def contents(folder: Path) -> dict[str, str]:
    """What the Parquet files hold, by their names."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            polars.read_parquet(path, hive_partitioning=False).write_csv().encode()
        ).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that a server without quirks filled."""
    folder = tmp_path_factory.mktemp("store") / "data"
    await fill(folder, Quirks())
    return folder


@pytest.mark.parametrize("quirks", AWKWARD.values(), ids=AWKWARD)
async def test_an_awkward_server_fills_the_same_store(quirks: Quirks, store: Path, tmp_path: Path) -> None:
    await fill(tmp_path, quirks)
    assert contents(tmp_path) == contents(store)


async def test_the_store_is_the_market(store: Path) -> None:
    market, opened = Market(SEED), CandleStore(store)
    for symbol in SYMBOLS:
        last = at(NOW) // 60_000 * 60_000 - 60_000
        found = market.candles(BY_SYMBOL[symbol], "1m", now_ms=at(NOW), limit=100_000, start_ms=at(START), end_ms=last)
        assert opened.candles(symbol, "1m") == Candles.from_candles(found, symbol, "1m", as_of_ms=at(NOW))


def rows(store: Path) -> dict[tuple[str, str], int]:
    opened = CandleStore(store)
    return {(each.symbol, each.interval): each.rows for each in opened.series()}


async def test_polars_reads_it(store: Path) -> None:
    frame = polars.scan_parquet(store / "**/*.parquet", hive_partitioning=True).collect()
    assert dict(frame.schema) == {
        "open_time": polars.Datetime("ms", "UTC"),
        **dict.fromkeys(("open", "high", "low", "close", "volume"), polars.Float64()),
        "trades": frame.schema["trades"],
        "interval": polars.String(),
        "symbol": polars.String(),
        "month": polars.String(),
    }
    assert frame.schema["trades"].is_integer()
    counted = frame.group_by("symbol", "interval").len().rows()
    assert {(symbol, interval): count for symbol, interval, count in counted} == rows(store)


async def test_pandas_reads_it(store: Path) -> None:
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(store)
    assert str(frame["open_time"].dtype) == "datetime64[ms, UTC]"
    assert {str(frame[name].dtype) for name in ("open", "high", "low", "close", "volume")} == {"float64"}
    counted = frame.groupby(["symbol", "interval"], observed=True).size().to_dict()
    assert counted == rows(store)


async def test_pyarrow_reads_it(store: Path) -> None:
    dataset = pytest.importorskip("pyarrow.dataset")
    table = dataset.dataset(store, partitioning="hive").to_table()
    assert str(table.schema.field("open_time").type) == "timestamp[ms, tz=UTC]"
    assert str(table.schema.field("close").type) == "double"
    counted = table.group_by(["symbol", "interval"]).aggregate([([], "count_all")]).to_pylist()
    assert {(row["symbol"], row["interval"]): row["count_all"] for row in counted} == rows(store)


async def test_duckdb_reads_it(store: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    files = f"read_parquet('{(store / '**/*.parquet').as_posix()}', hive_partitioning = true)"
    described = {name: kind for name, kind, *_ in duckdb.sql(f"DESCRIBE SELECT * FROM {files}").fetchall()}
    assert described["open_time"] == "TIMESTAMP WITH TIME ZONE"
    assert {described[name] for name in ("open", "high", "low", "close", "volume")} == {"DOUBLE"}
    counted = duckdb.sql(f"SELECT symbol, interval, count(*) FROM {files} GROUP BY ALL").fetchall()
    assert {(symbol, interval): count for symbol, interval, count in counted} == rows(store)
