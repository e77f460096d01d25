"""A store of candles: what was recorded is there, for us and for other tools, and what is wrong is told."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from alura_async import AluraError, ClosedError, InvalidArgumentError, StoreError
from alura_async.bulk import CandleQuery, Candles
from alura_async.bulk import writer as writers
from alura_async.bulk.checking import problems
from alura_async.bulk.manifest import Manifest
from alura_async.bulk.pages import CandlePage
from alura_async.bulk.partitions import NAME, folder_of, months_of, named_by
from alura_async.bulk.ranges import merged, within, without
from alura_async.bulk.store import CandleStore
from alura_async.bulk.writer import Writer
from tests.bulk.series import MINUTE, ORIGIN, START, candles, gap, pages

DAY = 86_400_000
AWKWARD = ["kPEPE", "KPEPE", "PURR/USDC", "@107", "CON", "x.", "a b%20", "ünî", "..", "NUL ", "_X", "=", "*?"]
SERIES = sorted([*((symbol, "1m") for symbol in AWKWARD), ("kPEPE", "1M")])


def each_alone(writer: Writer, come: list[CandlePage]) -> None:
    for page in come:
        writer.record([page])


@contextmanager
def writing(folder: Path, origin: str | None = ORIGIN, **how: bool) -> Generator[Writer]:
    with Writer(folder) as writer:
        writer.open(origin, makes=True, **how)
        yield writer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def filled(folder: Path) -> tuple[Path, Candles]:
    """A store of one series in two months."""
    table = candles()
    with writing(folder) as writer:
        writer.ask(page.window for page in pages(table))
        writer.record(pages(table))
        writer.compact()
    return folder, table


def test_what_was_recorded_is_read_at_once_and_after_it_was_put_into_files(folder: Path) -> None:
    table = candles()
    store = CandleStore(folder)
    with writing(folder) as writer:
        for page in pages(table)[::-1]:
            writer.record([page])
        assert store.candles("BTC", "1m") == table
        writer.compact()
        assert store.candles("BTC", "1m") == table
        assert store.info().waiting == 0
    assert store.candles("BTC", "1m") == table
    assert store.candles("BTC", "1m", START + 10 * MINUTE, START + 300 * MINUTE) == table.between(
        START + 10 * MINUTE, START + 300 * MINUTE
    )
    assert len(store.candles("BTC", "1m", 0, START)) == 0
    assert store.verify() == ()
    assert [path.parent.name for path in sorted(folder.rglob("*.parquet"))] == ["month=2026-01", "month=2026-02"]


def test_a_month_is_put_into_its_file_as_soon_as_nothing_of_it_is_missing(folder: Path) -> None:
    table = candles()
    come = pages(table)
    with writing(folder) as writer:
        writer.ask(page.window for page in come)
        writer.record(come[:2])
        assert not list(folder.rglob("*.parquet"))
        writer.record(come[2:3])
        assert [path.parent.name for path in folder.rglob("*.parquet")] == ["month=2026-01"]
        assert CandleStore(folder).candles("BTC", "1m") == table.between(START, START + 300 * MINUTE)


def test_no_more_than_so_many_candles_wait_for_their_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_MOST_WAITING", 200)
    table = candles()
    with writing(folder) as writer:
        writer.ask(page.window for page in pages(table, count=10_000))
        for page in pages(table):
            writer.record([page])
            assert CandleStore(folder).info().waiting <= 200
    assert CandleStore(folder).candles("BTC", "1m") == table


def test_the_manifest_is_small_again_when_nothing_waits(folder: Path) -> None:
    many = 40_000
    table = candles(count=many)
    with writing(folder) as writer:
        writer.ask(page.window for page in pages(table, count=2 * many))
        writer.record(pages(table, count=many, each=10_000))
        writer.compact()
    assert CandleStore(folder).info().rows == len(table)
    assert (folder / "_alura/manifest.sqlite").stat().st_size < 1_200_000


def test_the_running_candle_is_not_stored_and_its_time_not_covered(folder: Path) -> None:
    table = candles(count=60)
    as_of = START + 30 * MINUTE + 30_000
    with writing(folder) as writer:
        (page,) = pages(table, count=60, as_of=as_of)
        writer.ask([page.window])
        writer.record([page])
        assert CandleStore(folder).candles("BTC", "1m") == table.between(START, START + 30 * MINUTE)
        # What is not over is no gap, but is asked for the next time.
        assert CandleStore(folder).gaps() == ()
        (left,) = writer.ask([page.window])
        assert START + 29 * MINUTE < left.start_ms <= START + 30 * MINUTE
        assert left.end_ms == page.end_ms


@pytest.mark.parametrize(("server", "ours"), [(3 * DAY, 0), (0, 3 * DAY)])
def test_a_candle_is_over_only_when_both_clocks_say_so(folder: Path, server: int, ours: int) -> None:
    now = START + 300 * MINUTE + 30_000
    table = candles()
    with Writer(folder, clock=lambda: (now + ours) / 1000) as writer:
        writer.open(ORIGIN, makes=True)
        (page,) = pages(table, each=600, as_of=now + server)
        writer.ask([page.window])
        writer.record([page])
        assert CandleStore(folder).candles("BTC", "1m") == table.between(START, START + 300 * MINUTE)
        assert writer.again(None, None, 0, now + server)[-1].end_ms == min(now + ours, now + server)
    assert CandleStore(folder).gaps() == ()
    # When the clocks are right again, the rest is asked for.
    with writing(folder) as writer:
        (left,) = writer.again(None, None, 0, START + 600 * MINUTE)
    assert left.start_ms <= START + 300 * MINUTE
    assert left.end_ms == START + 600 * MINUTE


def test_what_a_slow_server_clock_left_out_before_something_later_is_a_gap(folder: Path) -> None:
    come = pages(candles())
    with writing(folder) as writer:
        writer.ask(page.window for page in come)
        writer.record([come[0], *pages(candles(), as_of=START)[1:2], *come[2:]])
        (gap,) = CandleStore(folder).gaps()
        assert (gap.start_ms, gap.end_ms) == (come[1].start_ms, come[1].end_ms)
        assert "not over" in gap.reason
        assert writer.missing() == [come[1].window]


def test_what_was_never_asked_for_is_no_gap(folder: Path) -> None:
    come = pages(candles())
    with writing(folder) as writer:
        for page in (come[0], come[2], come[3]):
            writer.ask([page.window])
        writer.record([come[0], come[2]])
        assert [(each.start_ms, each.end_ms) for each in CandleStore(folder).gaps()] == [
            (come[3].start_ms, come[3].end_ms)
        ]
        assert writer.missing() == [come[3].window]
        # Nor does an update ask for it.
        assert [each.start_ms for each in writer.again(None, None, 0, come[5].start_ms)] == [come[3].start_ms]


def test_what_is_covered_is_not_asked_for_again(folder: Path) -> None:
    come = pages(candles())
    with writing(folder) as writer:
        whole = [msg.window for msg in come]
        assert writer.ask(whole) == whole
        writer.record([come[0], come[2], gap(come[4], AluraError("no luck"))])
        asked = writer.ask(whole)
    assert asked == [come[index].window for index in (1, 3, 4, 5)]


def test_gaps_say_why_and_end_when_they_are_filled(folder: Path) -> None:
    come = pages(candles())
    store = CandleStore(folder)
    with writing(folder) as writer:
        writer.ask(page.window for page in come)
        writer.record([*come[:2], gap(come[3], AluraError("no luck\x1b"))])
        gaps = store.gaps()
        assert [(each.start_ms, each.end_ms) for each in gaps] == [
            (come[2].start_ms, come[2].end_ms),
            (come[3].start_ms, come[3].end_ms),
            (come[4].start_ms, come[5].end_ms),
        ]
        # Which of both it is nobody knows who only reads.
        assert gaps[0].reason.endswith("is running, or was interrupted")
        assert gaps[1].reason == "AluraError: no luck\\x1b"
        assert store.info().gaps == 3
        writer.record(come[2:])
    assert store.gaps() == ()


def test_many_gaps_are_told_in_one_go(folder: Path) -> None:
    many = 2400
    come = pages(candles(count=1), count=many, each=1)
    failed = [gap(page, AluraError(f"luck {page.start_ms}")) for page in come[::3]]
    with writing(folder) as writer:
        writer.ask([msgspec.structs.replace(come[0].window, end_ms=come[-1].end_ms)])
        writer.record([*failed, *come[2::3]])
        began = time.process_time()
        found = CandleStore(folder).gaps()
        assert time.process_time() - began < 0.3
    assert len(found) == many * 2 / 3
    assert found[2].reason == f"AluraError: luck {START + 3 * MINUTE}"
    assert "interrupted" in found[3].reason


def test_a_candle_that_comes_again_replaces_the_old_one_and_is_told(folder: Path) -> None:
    table = candles(count=60)
    (page,) = pages(table, count=60)
    changed = Candles(
        "BTC",
        "1m",
        open_time=table.open_time[:-1],
        open=table.open[:-1],
        high=np.where(np.arange(len(table) - 1) == 4, table.high[:-1] + 1, table.high[:-1]),
        low=table.low[:-1],
        close=table.close[:-1],
        volume=table.volume[:-1],
        trades=table.trades[:-1],
        closed=table.closed[:-1],
    )
    with writing(folder) as writer:
        assert writer.record([page])[0] == (len(table), (), ())
        assert writer.record([page])[0] == (0, (), ())
        writer.compact()
        ((added, corrected, withdrawn),) = writer.record(pages(changed, count=60))
    assert added == 0
    assert [(each.old, each.new) for each in corrected] == [(table[4], changed[4])]
    # The server does not tell of it any more, and nobody said that it was wrong.
    assert withdrawn == (table[-1],)
    assert CandleStore(folder).candles("BTC", "1m") == Candles.concat([table, changed])


def test_info_tells_what_there_is(filled: tuple[Path, Candles]) -> None:
    folder, table = filled
    info = CandleStore(folder).info()
    (series,) = info.series
    assert (info.rows, info.waiting, info.gaps, info.origin) == (len(table), 0, 0, ORIGIN)
    assert info.bytes == sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    assert (series.symbol, series.interval, series.files) == ("BTC", "1m", 2)
    assert series.ranges == ((START, START + 600 * MINUTE),)
    assert series.empties == 600 - len(table)
    assert str(len(table)) in str(series)


@pytest.mark.parametrize("symbol", AWKWARD)
def test_a_name_is_safe_for_every_file_system_and_is_found_again(symbol: str) -> None:
    for interval in ("1m", "1M"):
        folder = folder_of(symbol, interval, "2026-01")
        assert named_by(folder) == (symbol, interval, "2026-01")
        assert all(character.isascii() and (character.isalnum() or character in "-%=/") for character in str(folder))


def test_no_two_names_are_one_where_case_does_not_count() -> None:
    names = [folder_of(symbol, interval, "2026-01") for symbol in AWKWARD for interval in ("1m", "1M", "1w", "1W")]
    assert len({str(name).lower() for name in names}) == len(names)


def test_a_symbol_too_long_for_a_folder_is_refused_before_anything_is_asked(folder: Path) -> None:
    with writing(folder) as writer, pytest.raises(InvalidArgumentError, match="too long"):
        writer.ask([pages(candles("x" * 100))[0].window])


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of symbols whose names no folder should have as they are."""
    folder = tmp_path_factory.mktemp("awkward") / "data"
    with writing(folder) as writer:
        for symbol, interval in SERIES:
            writer.record(pages(candles(symbol, interval, count=3), count=3, as_of=2 * START))
        writer.compact()
    return folder


def test_polars_reads_the_files_with_names_and_types(awkward: Path, filled: tuple[Path, Candles]) -> None:
    frame = pl.scan_parquet(awkward / "**/*.parquet", hive_partitioning=True).collect()
    assert sorted(frame.select("symbol", "interval").unique().rows()) == SERIES
    folder, table = filled
    frame = pl.scan_parquet(folder / "**/*.parquet").sort("open_time").collect()
    assert frame.schema["open_time"] == pl.Datetime("ms", "UTC")
    assert frame.equals(table.to_polars().drop("closed"))


def test_pyarrow_reads_the_folder_with_names_and_types(awkward: Path, filled: tuple[Path, Candles]) -> None:
    dataset = pytest.importorskip("pyarrow.dataset")
    found = dataset.dataset(awkward, partitioning="hive").to_table(columns=["symbol", "interval"]).to_pylist()
    assert sorted({(row["symbol"], row["interval"]) for row in found}) == SERIES
    folder, table = filled
    read = dataset.dataset(folder, partitioning="hive").to_table().sort_by("open_time")
    assert str(read.schema.field("open_time").type) == "timestamp[ms, tz=UTC]"
    assert read.column("close").to_pylist() == table.close.tolist()


def test_duckdb_reads_the_files_with_names_and_types(awkward: Path, filled: tuple[Path, Candles]) -> None:
    duckdb = pytest.importorskip("duckdb")
    query = f"SELECT DISTINCT symbol, interval FROM read_parquet('{awkward}/**/*.parquet', hive_partitioning = true)"
    assert sorted(duckdb.sql(query).fetchall()) == SERIES
    folder, table = filled
    query = f"SELECT epoch_ms(open_time), close, trades FROM read_parquet('{folder}/**/*.parquet') ORDER BY open_time"
    found = duckdb.sql(query).fetchall()
    assert found == [(each.open_time_ms, each.close_text, each.trades) for each in table]


def test_symbols_of_digits_are_text_for_duckdb_and_for_polars_that_is_told_so(folder: Path) -> None:
    symbols = ["-1", "007", "1000", "2024-01-01", "EPOCH", "INF"]
    with writing(folder) as writer:
        for symbol in symbols:
            writer.record(pages(candles(symbol, count=3), count=3, as_of=2 * START))
        writer.compact()
    assert [series.symbol for series in CandleStore(folder).series()] == symbols
    assert CandleStore(folder).verify() == ()
    types = pl.Schema({"interval": pl.String(), "symbol": pl.String(), "month": pl.String()})
    frame = pl.scan_parquet(folder / "**/*.parquet", hive_partitioning=True, hive_schema=types).collect()
    assert sorted(frame["symbol"].unique().to_list()) == symbols
    duckdb = pytest.importorskip("duckdb")
    for symbol in symbols:
        # Each alone: beside a word, all are words.
        path = folder / folder_of(symbol, "1m", "2026-01") / NAME
        query = f"SELECT DISTINCT symbol FROM read_parquet('{path}', hive_partitioning = true)"
        assert duckdb.sql(query).fetchall() == [(symbol,)]


def test_pandas_reads_the_folder(filled: tuple[Path, Candles]) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    folder, table = filled
    frame = pandas.read_parquet(folder).sort_values("open_time")
    assert frame["close"].tolist() == table.close.tolist()
    assert set(frame["symbol"]) == {"BTC"}


def test_only_the_months_that_are_asked_for_are_read(filled: tuple[Path, Candles]) -> None:
    folder, table = filled
    february = START + 240 * MINUTE
    (folder / folder_of("BTC", "1m", "2026-01") / NAME).write_bytes(b"no Parquet")
    store = CandleStore(folder)
    assert store.candles("BTC", "1m", february) == table.between(february, february + 600 * MINUTE)
    with pytest.raises(StoreError, match="repair"):
        store.candles("BTC", "1m")


def test_months_are_those_of_a_range() -> None:
    assert months_of(START, START + 240 * MINUTE) == ["2026-01"]
    assert months_of(START, START + 240 * MINUTE + 1) == ["2026-01", "2026-02"]
    assert months_of(START, START) == []


def test_ranges_are_sets() -> None:
    assert merged([(5, 7), (1, 3), (3, 4), (6, 9), (2, 2)]) == [(1, 4), (5, 9)]
    assert without([(0, 10), (20, 30)], [(2, 3), (9, 21), (30, 40)]) == [(0, 2), (3, 9), (21, 30)]
    assert without([(0, 2), (4, 6), (8, 10)], [(-3, -1), (1, 9)]) == [(0, 1), (9, 10)]
    assert without([(0, 10)], [(0, 10)]) == without([(5, 6)], [(0, 10), (12, 13)]) == []


def test_what_is_left_of_many_ranges_is_found_in_one_go() -> None:
    many = 100_000
    asked = [(4 * each, 4 * each + 3) for each in range(many)]
    began = time.process_time()
    left = without(asked, [(start + 1, start + 2) for start, _ in asked])
    assert time.process_time() - began < 5
    assert left[:3] == [(0, 1), (2, 3), (4, 5)]
    assert len(left) == 2 * many
    assert within([(0, 10), (20, 30)], 5, 25) == [(5, 10), (20, 25)]


# Who writes


def test_a_second_writer_is_refused_and_told_who_writes(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from alura_async.bulk.writer import Writer\n"
        f"writer = Writer(Path(sys.argv[1])); writer.open({ORIGIN!r}, makes=True)\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=f"process {other.pid} .* since 20"), writing(folder):
            pass
        # Reading works.
        assert CandleStore(folder).info().rows == 0
        other.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
        other.wait()
    with writing(folder) as writer:
        with pytest.raises(StoreError, match="this process"), writing(folder):
            pass
        writer.record(pages(candles()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_a_killed_writer_does_not_keep_the_store_locked(folder: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from alura_async.bulk.writer import Writer\n"
        f"writer = Writer(Path(sys.argv[1])); writer.open({ORIGIN!r}, makes=True)\n"
        "if os.fork():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "print('forked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "forked\n"
        assert other.wait() == -signal.SIGKILL
        with writing(folder):
            pass


def test_who_reads_while_somebody_writes_finds_all_that_was_recorded_before(folder: Path) -> None:
    table = candles()
    store = CandleStore(folder)
    come = pages(table, each=60)
    recorded = 1
    reads = set()

    def write() -> None:
        nonlocal recorded
        with writing(folder) as writer:
            writer.record(come[:1])
            begun.set()
            for page in come[1:]:
                writer.record([page])
                recorded += 1
                writer.compact()

    begun = threading.Event()
    other = threading.Thread(target=write)
    other.start()
    begun.wait()
    while other.is_alive():
        before = recorded
        found = store.candles("BTC", "1m")
        whole = [len(table.between(START, page.end_ms)) for page in come]
        assert len(found) in whole[before - 1 :]
        assert found == table[: len(found)]
        for path in folder.rglob("*.parquet"):
            assert pl.read_parquet(path.read_bytes()).join(table.to_polars(), on="open_time", how="anti").is_empty()
        reads.add(len(found))
    other.join()
    assert len(reads) > 1
    assert store.verify() == ()


def test_a_closed_writer_and_a_closed_store_say_so(filled: tuple[Path, Candles]) -> None:
    folder, _ = filled
    writer = Writer(folder)
    writer.close()
    with pytest.raises(ClosedError):
        writer.open(ORIGIN)
    with CandleStore(folder) as store:
        assert store.info().rows
    with pytest.raises(ClosedError):
        store.info()
    with pytest.raises(ClosedError):
        store.compact()


def test_what_waits_after_an_interruption_is_put_into_files_on_request(folder: Path) -> None:
    table = candles()
    with writing(folder) as writer:
        writer.ask(page.window for page in pages(table, count=10_000))
        writer.record(pages(table))
    store = CandleStore(folder)
    assert store.info().waiting
    assert store.verify() == ()
    store.compact()
    assert store.info().waiting == 0
    assert store.candles("BTC", "1m") == table


# What is wrong


def test_verify_finds_every_damage(filled: tuple[Path, Candles]) -> None:
    folder, _ = filled
    january, february = sorted(folder.rglob("*.parquet"))
    content = bytearray(february.read_bytes())
    content[len(content) // 2] ^= 1
    february.write_bytes(content)
    january.unlink()
    stranger = folder / "more.parquet"
    stranger.write_bytes(b"")
    found = CandleStore(folder).verify()
    assert [(problem.path, problem.month) for problem in found] == [
        (str(january), "2026-01"),
        (str(february), "2026-02"),
        (str(stranger), ""),
    ]
    assert "missing" in found[0].what
    assert "not what was written" in found[1].what
    assert "not in the manifest" in found[2].what
    assert all(problem.remedy in str(problem) and problem.remedy for problem in found)


def test_a_file_that_holds_something_else_than_its_name_says_is_found(filled: tuple[Path, Candles]) -> None:
    folder, table = filled
    january = min(folder.rglob("*.parquet"))
    with sqlite3.connect(folder / "_alura/manifest.sqlite") as connection:
        for wrong in (table.to_polars().drop("closed").head(50).reverse(), table.to_polars().drop("closed").tail(9)):
            wrong.write_parquet(january)
            content = january.read_bytes()
            facts = (len(wrong), *_ends(wrong), len(content), _sha256(content))
            connection.execute(
                "UPDATE files SET rows = ?, first = ?, last = ?, bytes = ?, checksum = ? WHERE month = '2026-01'", facts
            )
            connection.commit()
            (problem,) = CandleStore(folder).verify()
            assert "order" in problem.what or "another month" in problem.what
    connection.close()


def _ends(frame: pl.DataFrame) -> tuple[int, int]:
    times = frame["open_time"].to_physical()
    return times[0], times[-1]


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def test_a_damaged_file_is_never_merged_into_a_good_one(filled: tuple[Path, Candles]) -> None:
    folder, table = filled
    january = min(folder.rglob("*.parquet"))
    good = january.read_bytes()
    january.write_bytes(good[:-10])
    before = START - 100 * MINUTE
    more = candles(start=before, count=100)
    with writing(folder) as writer:
        writer.record(pages(more, start=before, count=100))
        ((path, what),) = [(problem.path, problem.what) for problem in writer.damaged()]
        assert (path, what) == (str(january), "is not what was written there; what came now is kept")
        assert january.read_bytes() == good[:-10]
    with pytest.raises(StoreError, match=r"not what was written .*repair"):
        CandleStore(folder).compact()
    # What came now waits, and is there when the file is good again.
    january.write_bytes(good)
    with writing(folder) as writer:
        writer.compact()
    assert CandleStore(folder).candles("BTC", "1m") == Candles.concat([more, table])


def test_a_file_that_is_not_in_the_manifest_is_not_overwritten(folder: Path) -> None:
    path = folder / folder_of("BTC", "1m", "2026-01") / NAME
    with writing(folder) as writer:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"somebody's")
        writer.ask(page.window for page in pages(candles()))
        writer.record(pages(candles(count=60), count=60))
        writer.compact()
        assert [problem.path for problem in writer.damaged()] == [str(path)]
    assert path.read_bytes() == b"somebody's"


def test_a_damaged_manifest_says_so_and_is_made_anew_of_the_files(filled: tuple[Path, Candles]) -> None:
    folder, table = filled
    before = CandleStore(folder).info()
    manifest = folder / "_alura/manifest.sqlite"
    manifest.write_bytes(b"something else altogether" * 1000)
    for use in (CandleStore(folder).info, lambda: writing(folder).__enter__()):
        with pytest.raises(StoreError, match=r"manifest is damaged .*repair"):
            use()
    with writing(folder, rebuilds=True) as writer:
        writer.mend()
        manifest_anew, *files_taken_in = writer.mended()
    assert "made anew" in manifest_anew.remedy
    assert "not known any more" in manifest_anew.remedy
    assert len(files_taken_in) == 2
    store = CandleStore(folder)
    assert store.candles("BTC", "1m") == table
    assert store.info() == before
    assert store.verify() == ()


def test_a_manifest_that_is_gone_is_told_and_made_anew_of_the_files(filled: tuple[Path, Candles]) -> None:
    folder, table = filled
    shutil.rmtree(folder / "_alura")
    with pytest.raises(StoreError, match=r"manifest is gone .*repair"):
        CandleStore(folder).candles("BTC", "1m")
    with pytest.raises(StoreError, match=r"manifest is gone .*repair"), writing(folder):
        pass
    with writing(folder, rebuilds=True) as writer:
        writer.mend()
        assert writer.missing() == []
    assert CandleStore(folder).candles("BTC", "1m") == table


def test_a_manifest_is_not_made_anew_for_another_server(filled: tuple[Path, Candles]) -> None:
    folder, table = filled
    shutil.rmtree(folder / "_alura")
    with (
        pytest.raises(StoreError, match=f"{ORIGIN}.*http://127.0.0.1:2"),
        writing(folder, "http://127.0.0.1:2", rebuilds=True),
    ):
        pass
    with writing(folder, rebuilds=True) as writer:
        writer.mend()
    assert CandleStore(folder).candles("BTC", "1m") == table


def test_files_of_another_server_are_not_taken_in(filled: tuple[Path, Candles], tmp_path: Path) -> None:
    folder, _ = filled
    other = tmp_path / "other"
    with writing(other, "http://127.0.0.1:2") as writer:
        shutil.copytree(folder / "interval=1m", other / "interval=1m")
        writer.mend()
        assert writer.mended() == []
        assert [problem.month for problem in writer.damaged()] == ["2026-01", "2026-02"]
        assert "move it away" in str(writer.damaged()[0])
    assert len(CandleStore(other).verify()) == 2
    assert CandleStore(other).info().rows == 0


@pytest.mark.parametrize("content", [b"", None], ids=["no bytes", "no tables"])
def test_a_blank_manifest_beside_files_is_a_lost_one(filled: tuple[Path, Candles], content: bytes | None) -> None:
    folder, table = filled
    manifest = folder / "_alura/manifest.sqlite"
    manifest.unlink()
    if content is None:
        connection = sqlite3.connect(manifest)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    else:
        manifest.write_bytes(content)
    for use in (CandleStore(folder).info, CandleStore(folder).compact, lambda: writing(folder).__enter__()):
        with pytest.raises(StoreError, match=r"manifest is gone .*repair"):
            use()
    with writing(folder, rebuilds=True) as writer:
        writer.mend()
        assert "made anew" in str(writer.mended()[0])
    assert CandleStore(folder).candles("BTC", "1m") == table


def test_what_was_asked_for_survives_the_manifest(folder: Path) -> None:
    come = pages(candles())
    with writing(folder) as writer:
        writer.ask(page.window for page in (*come[:3], come[5]))
        writer.record([*come[:2], gap(come[2], AluraError("no luck"))])
        writer.compact()
        before = writer.missing()
    assert [(each.start_ms, each.end_ms) for each in before] == [
        (page.start_ms, page.end_ms) for page in (come[2], come[5])
    ]
    shutil.rmtree(folder / "_alura")
    with writing(folder, rebuilds=True) as writer:
        writer.mend()
        assert writer.missing() == before


def test_candles_that_wait_and_are_damaged_are_found_and_asked_for_again(folder: Path) -> None:
    table = candles()
    come = pages(table)
    with writing(folder) as writer:
        writer.ask(page.window for page in pages(table, count=10_000))
        writer.record(come)
    store = CandleStore(folder)
    with sqlite3.connect(folder / "_alura/manifest.sqlite") as connection:
        connection.execute(
            "UPDATE spool SET candles = zeroblob(length(candles)) WHERE number = (SELECT max(number) FROM spool)"
        )
    connection.close()
    (problem,) = store.verify()
    assert (problem.symbol, problem.month) == ("BTC", "2026-02")
    assert "wait for their file are damaged" in problem.what
    for use in (lambda: store.candles("BTC", "1m"), store.compact):
        with pytest.raises(StoreError, match=r"damaged.*repair"):
            use()
    assert store.info().series
    with writing(folder) as writer:
        writer.mend()
        assert [each.month for each in writer.mended()] == ["2026-02"]
        (left,) = writer.missing()
        assert left.start_ms == come[5].start_ms
        writer.record(come[5:])
        writer.compact()
        assert writer.damaged() == []
    assert store.verify() == ()
    assert store.candles("BTC", "1m") == table


def test_only_a_file_where_a_store_would_put_it_may_be_taken_in(filled: tuple[Path, Candles]) -> None:
    folder, table = filled
    january = min(folder.rglob("*.parquet"))
    strange = [
        january.with_name("copy.parquet"),
        folder / "interval=1m/symbol=BTC/month=2026-13" / NAME,
        folder / "backup" / january.relative_to(folder),
    ]
    for path in strange:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(january, path)
    found = CandleStore(folder).verify()
    assert sorted(problem.path for problem in found) == sorted(map(str, strange))
    assert {problem.remedy for problem in found} == {"move it away"}
    with writing(folder) as writer:
        writer.mend()
        assert (len(writer.mended()), len(writer.damaged())) == (0, 3)
    assert CandleStore(folder).candles("BTC", "1m") == table


def test_a_file_that_a_writer_makes_meanwhile_is_no_stranger(folder: Path) -> None:
    table = candles()
    with writing(folder) as writer:
        writer.ask(page.window for page in pages(table, count=10_000))
        writer.record(pages(table))
        with Manifest.to_read(folder) as before:
            assert len(before.files()) == 1
            writer.compact()
            assert list(problems(folder, before)) == []
    assert len(list(folder.rglob("*.parquet"))) == 2


def test_a_missing_file_is_told_and_what_was_in_it_asked_for_again(filled: tuple[Path, Candles]) -> None:
    folder, table = filled
    come = pages(table)
    january, _ = sorted(folder.rglob("*.parquet"))
    january.unlink()
    info = CandleStore(folder).info()
    assert (info.missing, info.series[0].files) == (1, 1)
    assert info.rows == len(table.between(START + 240 * MINUTE, START + 600 * MINUTE))
    assert "1 file missing" in str(info)
    with writing(folder) as writer:
        # It is in a month of which nothing is asked for now.
        assert writer.ask([come[3].window]) == []
        (left,) = writer.ask(page.window for page in come[:1])
        assert left == come[0].window
        assert [problem.path for problem in writer.mended()] == [str(january)]
        writer.record(come[:3])
    assert CandleStore(folder).gaps() == ()
    assert CandleStore(folder).candles("BTC", "1m") == table


def test_a_series_is_forgotten_with_its_files(filled: tuple[Path, Candles]) -> None:
    folder, table = filled
    more = candles("ETH")
    with writing(folder) as writer:
        writer.record(pages(more))
        writer.compact()
        writer.record(pages(candles("SOL", count=60), count=60))
    store = CandleStore(folder)
    (folder / "interval=1m/symbol=ETH/notes.txt").write_text("mine")
    for symbol in ("ETH", "SOL"):
        store.forget(symbol, "1m")
        with pytest.raises(StoreError, match="no candles of"):
            store.forget(symbol, "1m")
    assert [series.symbol for series in store.series()] == ["BTC"]
    assert [path.parts[-3] for path in sorted(folder.rglob("*.parquet"))] == ["symbol=BTC"] * 2
    assert [path.name for path in (folder / "interval=1m/symbol=ETH").iterdir()] == ["notes.txt"]
    assert store.candles("BTC", "1m") == table
    assert store.verify() == ()
    assert store.gaps() == ()
    store.forget("BTC", "1m")
    assert store.info().rows == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_is_told_to_be_spawned_instead_of_hanging(filled: tuple[Path, Candles]) -> None:
    folder, _ = filled
    program = (
        "import os, sys; from alura_async import StoreError; from alura_async.bulk import CandleStore\n"
        "read = lambda: len(CandleStore(sys.argv[1]).candles('BTC', '1m'))\n"
        "def forked():\n"
        "    if os.fork():\n        return os.wait()\n"
        "    try:\n        print(read(), flush=True)\n"
        "    except StoreError as error:\n        print(error, flush=True)\n"
        "    os._exit(0)\n"
        "forked(); read(); forked()"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(folder)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    before, after = ran.stdout.splitlines()
    assert before == str(len(filled[1]))
    assert "'spawn'" in after


def test_a_store_belongs_to_one_server(filled: tuple[Path, Candles]) -> None:
    folder, _ = filled
    with pytest.raises(StoreError, match=f"{ORIGIN}.*http://127.0.0.1:2"), writing(folder, "http://127.0.0.1:2"):
        pass


def test_a_newer_format_is_left_alone(filled: tuple[Path, Candles]) -> None:
    folder, _ = filled
    with sqlite3.connect(folder / "_alura/manifest.sqlite") as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    for use in (CandleStore(folder).info, lambda: writing(folder, rebuilds=True).__enter__()):
        with pytest.raises(StoreError, match="format 2"):
            use()


def test_how_a_server_is_asked_is_part_of_the_transaction_in_which_its_candles_come(folder: Path) -> None:
    come, query = pages(candles()), CandleQuery(unit="s")
    with writing(folder) as writer:
        writer.record(come[:1], query)
        assert CandleStore(folder).info().query == query
        writer.record(come[1:2])
        assert CandleStore(folder).info().query == query
        writer.record(come[2:3], None)
        assert CandleStore(folder).info().query is None


def test_a_store_of_before_it_noted_how_its_server_is_asked_is_read_and_filled(filled: tuple[Path, Candles]) -> None:
    folder, table = filled
    with sqlite3.connect(folder / "_alura/manifest.sqlite") as connection:
        # As it was: what takes a column away is not in every SQLite.
        connection.executescript(
            f"DROP TABLE store; CREATE TABLE store (origin TEXT NOT NULL); INSERT INTO store VALUES ('{ORIGIN}');"
        )
    connection.close()
    assert (CandleStore(folder).info().rows, CandleStore(folder).info().query) == (len(table), None)
    with writing(folder) as writer:
        writer.record(pages(table)[:1], CandleQuery(unit="s"))
    assert CandleStore(folder).info().query == CandleQuery(unit="s")
    assert CandleStore(folder).candles("BTC", "1m") == table


@pytest.mark.parametrize("noted", ["no JSON", '{"start": "a b"}', '{"most": "12"}', 7])
def test_a_note_on_how_a_server_is_asked_that_cannot_be_read_is_told_with_what_to_do(
    filled: tuple[Path, Candles], noted: str | int
) -> None:
    folder, table = filled
    with sqlite3.connect(folder / "_alura/manifest.sqlite") as connection:
        connection.execute("UPDATE store SET query = ?", (noted,))
    connection.close()
    with pytest.raises(StoreError, match=r"how its server is asked cannot be read .*say so once more: CandleQuery\("):
        CandleStore(folder).info()
    # Nothing else is the worse for it.
    assert CandleStore(folder).candles("BTC", "1m") == table
    with writing(folder) as writer:
        writer.record(pages(candles(start=START + 600 * MINUTE), start=START + 600 * MINUTE))
        writer.compact()
    assert CandleStore(folder).gaps() == ()


def test_a_folder_that_is_no_store_is_told(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "missing", "no such folder"),
        (tmp_path, "no store"),
        (Path(__file__), "is a file"),
    ):
        with pytest.raises(StoreError, match=why):
            CandleStore(path).info()
    (tmp_path / "letters.txt").write_text("dear")
    for path, why in (
        (tmp_path, "not empty"),
        (tmp_path / "no/where", "no such folder"),
        (tmp_path / "letters.txt", "is a file"),
    ):
        with pytest.raises(StoreError, match=why), writing(path):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]
    with pytest.raises(StoreError, match="no such folder"):
        CandleStore(tmp_path / "missing").compact()


@pytest.mark.skipif(os.name == "nt", reason="links take a right there")
def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    link = tmp_path / "data"
    link.symlink_to(tmp_path / "unplugged")
    for use in (CandleStore(link).info, lambda: writing(link).__enter__()):
        with pytest.raises(StoreError, match=r"is a link to .*unplugged, which is not there"):
            use()


def test_an_error_says_what_is_wrong_and_apart_from_that_what_mends_it(filled: tuple[Path, Candles]) -> None:
    folder, _ = filled
    with pytest.raises(StoreError) as unknown:
        CandleStore(folder).candles("ETH", "1m")
    min(folder.rglob("*.parquet")).write_bytes(b"no Parquet")
    with pytest.raises(StoreError) as damaged:
        CandleStore(folder).candles("BTC", "1m")
    shutil.rmtree(folder / "_alura")
    with pytest.raises(StoreError) as lost:
        CandleStore(folder).info()
    for error, remedy in ((unknown.value, "pull"), (damaged.value, "repair"), (lost.value, "repair")):
        assert error.remedy == remedy
        assert "alura.bulk" not in error.problem
        assert str(error).startswith(f"{error.problem}: `alura.bulk.{remedy}(store")
        assert str(error).isascii()
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), again.problem, again.remedy) == (str(error), error.problem, remedy)
    with pytest.raises(StoreError) as blocked, writing(folder.parent / "no/where"):
        pass
    assert (blocked.value.remedy, blocked.value.problem) == (None, str(blocked.value))


@pytest.mark.parametrize("path", ["", "\0", 7, None])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        CandleStore(path)


def test_a_series_that_is_not_there_is_told_with_those_that_are(filled: tuple[Path, Candles]) -> None:
    store = CandleStore(filled[0])
    with pytest.raises(StoreError, match="no candles of btc 1m; it has BTC 1m"):
        store.candles("btc", "1m")
    with pytest.raises(InvalidArgumentError, match="before"):
        store.candles("BTC", "1m", START, START)


@pytest.mark.skipif(os.name == "nt", reason="no limits here")
def test_a_full_disk_loses_nothing_that_was_recorded(filled: tuple[Path, Candles]) -> None:
    import resource

    folder, table = filled
    more = candles(start=START + 600 * MINUTE, count=600)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with writing(folder) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / "_alura/manifest.sqlite").stat().st_size, hard))
        try:
            with pytest.raises(StoreError, match=r"disk (is|may be) full"):
                each_alone(writer, pages(more, start=START + 600 * MINUTE, each=10))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    there = CandleStore(folder).candles("BTC", "1m")
    assert there.between(START, START + 600 * MINUTE) == table
    with writing(folder) as writer:
        writer.record(pages(more, start=START + 600 * MINUTE))
    assert CandleStore(folder).candles("BTC", "1m") == Candles.concat([table, more])


@pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="takes another user")
def test_a_store_in_a_folder_that_one_may_not_write_to_is_read(
    filled: tuple[Path, Candles],
) -> None:
    original, table = filled
    # Those that pytest makes are the user's own, and all that are around them.
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(original, Path(place) / "data"))
        for path in (Path(place), folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)

        def read() -> None:
            assert CandleStore(folder).info().rows == len(table)
            with pytest.raises(StoreError, match=r"must be allowed to write|cannot be opened or written"):
                writing(folder).__enter__()

        _require_of_others(read)


@pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="takes another user")
@pytest.mark.parametrize("closed", ["interval=1m", "_alura", "."])
def test_a_folder_that_one_may_not_look_into_is_told_and_never_taken_for_missing(
    filled: tuple[Path, Candles], closed: str
) -> None:
    original, _ = filled
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(original, Path(place) / "data"))
        for path in (Path(place), folder, *folder.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        (folder / closed).chmod(0)
        store = CandleStore(folder)

        def look() -> None:
            for use in (store.info, store.gaps, lambda: store.candles("BTC", "1m")):
                with pytest.raises(StoreError, match=r"cannot be opened or written .*must be allowed"):
                    use()
            if closed == "interval=1m":
                assert {"must be allowed" in problem.what for problem in store.verify()} == {True}
                with writing(folder) as writer, pytest.raises(StoreError, match="must be allowed"):
                    writer.ask(page.window for page in pages(candles()))
            else:
                with pytest.raises(StoreError, match="must be allowed"):
                    writing(folder).__enter__()

        _require_of_others(look)
        (folder / closed).chmod(0o777)
        assert store.verify() == ()


def _require_of_others(require: Callable[[], None]) -> None:
    """Require something in a process of another user."""
    with warnings.catch_warnings():
        # Of threads that there are: the child uses none of them.
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            require()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0
