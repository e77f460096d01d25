"""A table of candles is a value: what it says, what can be made of it, and what it refuses."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from alura_async import Candle, InvalidArgumentError
from alura_async.bulk import Candles

# A Monday, and the first of a month.
T0 = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1000)
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
COLUMNS = ("open_time", "open", "high", "low", "close", "volume", "trades", "closed")


def table(
    count: int, interval: str = "1m", step: int = MINUTE, start: int = T0, *, as_of_ms: int | None = None, **more: Any
) -> Candles:
    """Candles without a gap, all closed unless `as_of_ms` says otherwise."""
    close = np.arange(count, dtype=np.float64) + 100
    return Candles(
        more.pop("symbol", "BTC"),
        interval,
        open_time=start + step * np.arange(count),
        open=close - 1,
        high=close + 2,
        low=close - 3,
        close=close,
        as_of_ms=start + 2 * step * (count + 1) if as_of_ms is None else as_of_ms,
        **({"volume": np.full(count, 0.5), "trades": np.arange(count)} | more),
    )


# What it says


def test_the_columns_have_the_types_that_are_promised() -> None:
    candles = table(3)
    assert [str(getattr(candles, name).dtype) for name in COLUMNS] == [
        *("datetime64[ms]", "float64", "float64", "float64", "float64", "float64", "int32", "bool")
    ]
    assert candles.open_time[1] == np.datetime64("2024-01-01T00:01:00.000")
    assert (candles.symbol, candles.interval, len(candles)) == ("BTC", "1m", 3)


def test_a_candle_takes_no_more_than_55_bytes() -> None:
    assert table(1000).nbytes <= 55 * 1000
    assert Candles.concat([table(1000), table(1000, start=T0 + DAY)]).nbytes <= 55 * 2000


def test_no_array_that_is_handed_out_can_be_written() -> None:
    candles = table(3)
    for part in (candles, candles[1:], pickle.loads(pickle.dumps(candles)), Candles.concat([candles, candles])):
        for name in COLUMNS:
            column = getattr(part, name)
            with pytest.raises(ValueError, match="read-only"):
                column[0] = column[1]
        with pytest.raises(ValueError, match="WRITEABLE"):
            part.close.flags.writeable = True
        with pytest.raises(AttributeError):
            part.symbol = "ETH"  # type: ignore[misc]


def test_the_arrays_that_were_given_stay_the_callers() -> None:
    times, prices = T0 + MINUTE * np.arange(3), np.ones(3)
    candles = Candles("BTC", "1m", open_time=times, open=prices, high=prices, low=prices, close=prices)
    prices[0], times[0] = 5, 0
    assert candles.close[0] == 1
    assert int(candles.open_time[0].astype(np.int64)) == T0


def test_what_is_unknown_is_nan_masked_or_none() -> None:
    candles = table(3, volume=[1, np.nan, 2], trades=[7, -1, 0])
    assert np.isnan(candles.volume).tolist() == [False, True, False]
    assert candles.trades.tolist() == [7, None, 0]
    assert [(candle.volume_text, candle.trades) for candle in candles] == [(1.0, 7), (None, None), (2.0, 0)]
    silent = table(2, volume=None, trades=None)
    assert np.isnan(silent.volume).all()
    assert silent.trades.mask.all()


def test_a_candle_is_closed_when_its_interval_was_over_at_the_time_of_the_reply() -> None:
    assert table(3, as_of_ms=T0 + 2 * MINUTE - 1).closed.tolist() == [True, False, False]
    assert table(3, as_of_ms=T0 + 2 * MINUTE).closed.tolist() == [True, True, False]
    for unknown in (table(3, interval="tick"), table(3, interval=None)):  # type: ignore[arg-type]
        assert not unknown.closed.any()
    prices = np.ones(1)
    nobody_knows_when = Candles("BTC", "1m", open_time=[T0], open=prices, high=prices, low=prices, close=prices)
    assert not nobody_knows_when.closed.any()


def test_a_candle_that_was_running_is_not_closed_by_what_came_later() -> None:
    early = table(3, as_of_ms=T0 + 2 * MINUTE + 1)
    late = table(3, start=T0 + HOUR, as_of_ms=T0 + DAY)
    joined = Candles.concat([late, early])
    assert joined.closed.tolist() == [True, True, False, True, True, True]
    assert joined.as_of_ms == T0 + DAY


# Rows


def test_rows_are_candles_with_both_ends_of_their_interval() -> None:
    candles = table(3)
    assert candles[1] == Candle(
        open_time_ms=T0 + MINUTE,
        close_time_ms=T0 + 2 * MINUTE - 1,
        symbol="BTC",
        interval="1m",
        open_text=100.0,
        high_text=103.0,
        low_text=98.0,
        close_text=101.0,
        volume_text=0.5,
        trades=1,
    )
    assert candles[-1] == [*candles][2]
    assert [*reversed(candles)] == [*candles][::-1]
    for index in (3, -4):
        with pytest.raises(IndexError):
            candles[index]
    month = Candles.from_candles([table(1, interval="1M", step=31 * DAY)[0]])
    assert month[0].close_time == datetime(2024, 1, 31, 23, 59, 59, 999000, tzinfo=UTC)
    assert table(1, interval="tick")[0].close_time_ms is None


def test_candles_make_the_table_that_they_come_from() -> None:
    candles = table(50, volume=[np.nan, *range(49)], trades=[-1, *range(49)])
    assert Candles.from_candles(candles, as_of_ms=candles.as_of_ms) == candles
    assert Candles.from_candles([], "BTC", "1m") == Candles.empty("BTC", "1m")


def test_slices_and_ranges_are_tables() -> None:
    candles = table(10)
    assert [*candles[2:5]] == [*candles][2:5]
    assert [*candles[::3]] == [*candles][::3]
    assert candles.between(T0 + MINUTE, T0 + 3 * MINUTE) == candles[1:3]
    assert candles.between(T0 + 1, T0 + MINUTE + 1) == candles[1:2]
    assert len(candles.between(0, T0)) == len(candles.between(T0 + 10 * MINUTE, T0 + DAY)) == 0
    with pytest.raises(InvalidArgumentError, match="order of time"):
        candles[::-1]


def test_joined_tables_are_in_order_and_the_last_one_has_the_last_word() -> None:
    candles = table(10)
    corrected = table(1, start=T0 + 4 * MINUTE, volume=[99.0])
    joined = Candles.concat([candles[5:], candles[:7], corrected])
    assert joined.open_time.tolist() == candles.open_time.tolist()
    assert joined.volume.tolist() == [*([0.5] * 4), 99.0, *([0.5] * 5)]
    assert Candles.concat([corrected, candles]) == candles
    assert Candles.concat([]) == Candles.empty()
    assert Candles.concat([Candles.empty("BTC", "1m"), candles]) == candles
    for other in (table(1, symbol="ETH"), table(1, interval="5m")):
        with pytest.raises(InvalidArgumentError, match="one series"):
            Candles.concat([candles, other])


def test_of_rows_with_one_open_time_the_last_counts() -> None:
    prices = [1.0, 2.0, 3.0, 4.0]
    times = [T0 + MINUTE, T0, T0 + MINUTE, T0 - MINUTE]
    candles = Candles("BTC", "1m", open_time=times, open=prices, high=prices, low=prices, close=prices)
    assert candles.close.tolist() == [4.0, 2.0, 3.0]


def test_tables_are_equal_that_say_the_same() -> None:
    candles = table(3, volume=[1, np.nan, 2])
    assert candles == table(3, volume=[1, np.nan, 2])
    assert candles == table(3, volume=[1, np.nan, 2], as_of_ms=T0 + DAY)
    for other in (
        table(3, volume=[1, 3, 2]),
        table(3, volume=[1, np.nan, 2], symbol="ETH"),
        table(3, volume=[1, np.nan, 2], trades=None),
        table(3, volume=[1, np.nan, 2], as_of_ms=T0),
        table(2, volume=[1, np.nan]),
        [*candles],
    ):
        assert candles != other
    with pytest.raises(TypeError):
        hash(candles)


def test_copies_are_the_same() -> None:
    candles = table(10)[2:8]
    for again in (pickle.loads(pickle.dumps(candles)), copy.copy(candles), copy.deepcopy(candles)):
        assert again == candles
        assert again.as_of_ms == candles.as_of_ms
    assert len(pickle.dumps(table(100_000)[:10])) < 2000


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"close": [1.0, np.nan]}, "not finite"),
        ({"high": [1.0, np.inf]}, "not finite"),
        ({"volume": [1.0, np.inf]}, "infinite"),
        ({"low": [1.0]}, "one length"),
        ({"low": ["1.0", "x"]}, "numbers"),
        ({"trades": [1]}, "length"),
        ({"trades": [1.5, 2.0]}, "whole"),
        ({"trades": [1, 2**31]}, "more than"),
        ({"closed": [True]}, "length"),
        ({"open_time": [T0 + 0.5, T0 + 1.5]}, "milliseconds"),
        ({"open_time": np.array(["2024-01-01", "NaT"], "M8[s]")}, "missing"),
        ({"open_time": [[T0], [T0 + 1]]}, "one dimension"),
    ],
)
def test_columns_that_are_none_are_refused(change: dict[str, Any], why: str) -> None:
    columns: dict[str, Any] = {name: [1.0, 2.0] for name in ("open", "high", "low", "close")}
    columns |= {"open_time": [T0, T0 + MINUTE], **change}
    with pytest.raises(InvalidArgumentError, match=why):
        Candles("BTC", "1m", **columns)


def test_candles_of_two_series_are_no_table() -> None:
    with pytest.raises(InvalidArgumentError, match="BTC, ETH"):
        Candles.from_candles([*table(2), *table(2, symbol="ETH")])
    with pytest.raises(InvalidArgumentError, match="1m, 5m"):
        Candles.from_candles(table(2), "BTC", "5m")


# Longer intervals


def by_hand(candles: Candles, span: int) -> list[tuple[float, ...]]:
    """What each new candle says, computed one by one."""
    groups: dict[int, list[Candle]] = {}
    for candle in candles:
        groups.setdefault(candle.open_time_ms // span * span, []).append(candle)
    return [
        (
            opened,
            float(rows[0].open),
            max(float(row.high) for row in rows),
            min(float(row.low) for row in rows),
            float(rows[-1].close),
            sum(float(row.volume or 0) for row in rows),
            sum(row.trades or 0 for row in rows),
        )
        for opened, rows in groups.items()
    ]


def test_candles_of_a_longer_interval_are_what_they_are_made_of() -> None:
    chance = np.random.default_rng(1)
    times = np.unique(chance.integers(0, 3000, 1200))
    close = 100 + chance.normal(size=len(times)).cumsum()
    minutes = Candles(
        *("BTC", "1m"),
        open_time=T0 + MINUTE * times,
        open=close - 0.25,
        high=close + chance.random(len(times)),
        low=close - chance.random(len(times)),
        close=close,
        volume=chance.integers(1, 9, len(times)),
        trades=chance.integers(1, 9, len(times)),
        as_of_ms=T0 + 3000 * MINUTE,
    )
    for interval, span in (("5m", 5 * MINUTE), ("1h", HOUR), ("4h", 4 * HOUR), ("1d", DAY)):
        longer = minutes.resample(interval)
        found = zip(longer.open_time.astype(np.int64), *(getattr(longer, name) for name in COLUMNS[1:7]), strict=True)
        assert [tuple(map(float, row)) for row in found] == by_hand(minutes, span)
        assert (longer.symbol, longer.interval, longer.as_of_ms) == ("BTC", interval, minutes.as_of_ms)
        assert minutes.resample("1m").resample(interval) == longer
    assert minutes.resample("1m").close.tolist() == minutes.close.tolist()


def test_an_interval_that_is_not_over_or_not_all_there_is_not_closed() -> None:
    # Two hours, and half an hour that is still going on.
    as_of_ms = T0 + 150 * MINUTE
    minutes = table(150, as_of_ms=as_of_ms)
    assert minutes.closed.all()
    assert minutes.resample("1h").closed.tolist() == [True, True, False]
    # All of it is over, but the table begins, or ends, within an hour.
    assert table(150, as_of_ms=T0 + DAY).resample("1h").closed.tolist() == [True, True, False]
    assert minutes[30:].resample("1h").closed.tolist() == [False, True, False]
    assert minutes[:120].resample("1h").closed.tolist() == [True, True]
    assert minutes[30:45].resample("1h").closed.tolist() == [False]
    # One of its minutes was running when the server told of it.
    closed = np.arange(150) != 70
    assert table(150, as_of_ms=T0 + DAY, closed=closed).resample("1h").closed.tolist() == [True, False, False]
    # The last millisecond of it counts.
    assert table(60, as_of_ms=T0 + HOUR - 1).resample("1h").closed.tolist() == [False]
    assert table(60, as_of_ms=T0 + HOUR).resample("1h").closed.tolist() == [True]


def test_an_interval_without_trades_makes_no_candle() -> None:
    minutes = Candles.concat([table(60), table(60, start=T0 + 3 * HOUR)])
    longer = minutes.resample("1h")
    assert longer.open_time.tolist() == np.array([T0, T0 + 3 * HOUR]).astype("M8[ms]").tolist()


def test_what_is_unknown_of_one_is_unknown_of_all() -> None:
    minutes = table(120, volume=[np.nan, *([1.0] * 119)], trades=[*([1] * 119), -1])
    longer = minutes.resample("1h")
    assert np.isnan(longer.volume).tolist() == [True, False]
    assert longer.trades.tolist() == [60, None]


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    hours = table(24 * 70, "1h", HOUR, T0 - 3 * DAY)
    weeks, months = hours.resample("1w"), hours.resample("1M")
    assert [f"{candle.open_time:%a}" for candle in weeks] == ["Mon"] * len(weeks)
    assert [f"{candle.open_time:%m-%d %H}" for candle in months] == ["12-01 00", "01-01 00", "02-01 00", "03-01 00"]
    assert months.closed.tolist() == [False, True, True, False]
    assert months[2].close_time == datetime(2024, 2, 29, 23, 59, 59, 999000, tzinfo=UTC)
    assert hours.resample("1d").resample("1w") == weeks
    assert hours.resample("1d").resample("1M") == months
    assert months.resample("3M").open_time.tolist() == [datetime(2023, 10, 1), datetime(2024, 1, 1)]


def test_what_does_not_divide_an_interval_makes_no_such_candles() -> None:
    for own, step, wanted in (
        ("5m", 5 * MINUTE, "1m"),
        ("5m", 5 * MINUTE, "7m"),
        ("1w", 7 * DAY, "1M"),
        ("1w", 7 * DAY, "7d"),
        ("3d", 3 * DAY, "1w"),
        ("1M", 31 * DAY, "62d"),
        ("1m", MINUTE, "1y"),
        ("tick", MINUTE, "1h"),
        ("1m", MINUTE, ""),
    ):
        with pytest.raises(InvalidArgumentError):
            table(3, own, step).resample(wanted)
    with pytest.raises(InvalidArgumentError, match="odd"):
        table(5, "1h", HOUR, T0 + 30 * MINUTE).resample("4h")


def test_nothing_makes_nothing() -> None:
    none = Candles.empty("BTC", "1m", T0)
    assert none.resample("1h") == Candles.empty("BTC", "1h")
    assert [*none] == []
    assert none.between(0, T0) == none[:5] == none


# As others have it


def test_polars_pandas_and_pyarrow_have_the_same_columns() -> None:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    candles = table(3, volume=[1, np.nan, 2], trades=[7, -1, 0], as_of_ms=T0 + 2 * MINUTE)
    frame = candles.to_polars()
    assert [*frame.schema.items()] == [
        ("open_time", pl.Datetime("ms", "UTC")),
        *((name, pl.Float64) for name in COLUMNS[1:6]),
        ("trades", pl.Int32),
        ("closed", pl.Boolean),
    ]
    assert frame["open_time"][1] == datetime(2024, 1, 1, 0, 1, tzinfo=UTC)
    assert (frame["volume"].to_list(), frame["trades"].to_list()) == ([1.0, None, 2.0], [7, None, 0])
    assert frame["closed"].to_list() == [True, True, False]
    pandas = candles.to_pandas()
    assert [str(kind) for kind in pandas.dtypes] == ["datetime64[ms, UTC]", *["float64"] * 5, "Int32", "bool"]
    assert pandas["open_time"][1] == frame["open_time"][1]
    assert pandas["volume"].isna().tolist() == pandas["trades"].isna().tolist() == [False, True, False]
    arrow = candles.to_arrow()
    assert arrow.schema.field("open_time").type == pa.timestamp("ms", "UTC")
    assert arrow.to_pylist() == frame.to_dicts()
    pandas.loc[0, "close"] = 5.0
    assert candles.close[0] == 100


def test_whatever_speaks_arrow_reads_it_as_it_is() -> None:
    candles = table(3)
    duckdb, pa = pytest.importorskip("duckdb"), pytest.importorskip("pyarrow")
    assert pl.DataFrame(candles).equals(candles.to_polars())
    assert pa.table(candles).num_rows == 3
    assert duckdb.sql("select max(close), count(*) from candles").fetchall() == [(102.0, 3)]


def test_an_empty_table_has_its_columns_and_types() -> None:
    assert Candles.empty().to_polars().schema == table(1).to_polars().schema
    pytest.importorskip("pyarrow")
    assert Candles.empty().to_arrow().schema == table(1).to_arrow().schema
    pytest.importorskip("pandas")
    assert Candles.empty().to_pandas().dtypes.tolist() == table(1).to_pandas().dtypes.tolist()


# As it is shown


def test_it_says_in_a_line_what_it_is() -> None:
    assert repr(table(1500)) == "<Candles BTC 1m: 1,500, 2024-01-01 00:00 to 2024-01-02 00:59 UTC>"
    assert repr(Candles.empty("BTC", "1m")) == "<Candles BTC 1m: none>"
    assert repr(Candles.empty()) == "<Candles: none>"
    assert "\x1b" not in repr(Candles.empty("B\x1b[31m", "1m"))


def test_a_notebook_shows_both_ends_and_no_markup_of_others() -> None:
    shown = table(1500, symbol="<b>BTC", volume=[np.nan] * 1500)._repr_html_()
    assert "&lt;b&gt;BTC" in shown
    assert "<b>" not in shown
    assert shown.count("<tr>") == 1 + 5 + 1 + 5
    assert "2024-01-01 00:00" in shown
    assert "2024-01-02 00:59" in shown
    assert "nan" not in shown
    for count in range(13):
        rows = table(count)._repr_html_().count("<tr>") - 1
        assert rows == (count if count <= 10 else 11)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        # Seconds, and microseconds.
        ({"open_time": [1_700_000_040, 1_700_000_100]}, "2000 and 2200"),
        ({"open_time": [1_700_000_040_000_000, 1_700_000_100_000_000]}, "2000 and 2200"),
        ({"open_time": np.array(["1999-12-31", "2024-01-01"], "datetime64[s]")}, "2000 and 2200"),
        ({"open_time": np.datetime64("2024-01-01")}, "one dimension"),
        ({"open": np.ma.MaskedArray([1.0, 2.0], mask=[False, True])}, "masked"),
        ({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}, "one dimension"),
        ({"closed": [1.5, 0.0]}, "True or False"),
        ({"closed": ["no", "no"]}, "True or False"),
    ],
)
def test_what_would_make_a_wrong_table_is_refused(change: dict[str, Any], why: str) -> None:
    columns: dict[str, Any] = {name: [1.0, 2.0] for name in ("open", "high", "low", "close", "volume")}
    columns["open_time"] = [1_700_000_040_000, 1_700_000_100_000]
    assert len(Candles("BTC", "1m", **columns)) == 2
    with pytest.raises(InvalidArgumentError, match=why):
        Candles("BTC", "1m", **{**columns, **change})


def test_a_masked_volume_is_unknown() -> None:
    prices: Any = {name: [1.0, 2.0] for name in ("open", "high", "low", "close")}
    volume = np.ma.MaskedArray([1.0, 2.0], mask=[False, True])
    candles = Candles("BTC", "1m", open_time=[1_700_000_040_000, 1_700_000_100_000], volume=volume, **prices)
    assert np.isnan(candles.volume).tolist() == [False, True]


def test_several_weeks_are_counted_from_the_first_monday_of_1970() -> None:
    days = [1_700_000_000_000 // 86_400_000 * 86_400_000 + place * 86_400_000 for place in range(40)]
    prices: Any = {name: [1.0] * len(days) for name in ("open", "high", "low", "close")}
    weeks = Candles("BTC", "1d", open_time=days, **prices).resample("2w").open_time.astype(np.int64)
    assert len(weeks) > 2
    assert {(int(week) // 86_400_000 - 4) % 14 for week in weeks} == {0}
