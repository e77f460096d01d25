"""Lists and pages of responses become frames, whatever is in them, and whether anything is."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

import polars as pl
import pytest

from alura_async import (
    Candle,
    Indicators,
    InvalidArgumentError,
    Items,
    Leaderboard,
    LogEntry,
    Page,
    Ranking,
    Reply,
    Request,
    Signal,
    SignalAction,
    TradingSessions,
)

MOMENT = datetime(2024, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
HEADERS = {"Content-Type": "application/json"}
SIGNALS = Items(
    [
        Signal(
            symbol="BTC",
            interval="1h",
            action=SignalAction.BUY,
            strength=Decimal("0.75"),
            price=Decimal("67000.10"),
            indicators={"rsi": Decimal("51.50"), "macd": None},
            timestamp=MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30))),
        ),
        Signal(symbol="ETH", action=SignalAction("wait"), _extra={"note": ["a", Decimal("1.50")]}),
    ]
)
TYPES = {
    "symbol": pl.String,
    "interval": pl.String,
    "action": pl.String,
    "strength": pl.Float64,
    "price": pl.Float64,
    "indicators": pl.String,
    "timestamp": pl.Datetime("us", "UTC"),
    "extra": pl.String,
}


def read(request: Request[Any], body: Any) -> Any:
    return Reply(request, 200, HEADERS, json.dumps(body).encode()).decode()


def test_a_list_is_a_frame_with_a_column_for_each_field() -> None:
    frame = SIGNALS.to_polars()
    assert dict(frame.schema) == TYPES
    first, second = frame.to_dicts()
    assert (first["symbol"], first["action"], first["strength"], first["price"]) == ("BTC", "buy", 0.75, 67000.1)
    assert json.loads(first["indicators"]) == {"rsi": 51.5, "macd": None}
    assert first["timestamp"] == MOMENT
    assert second["action"] == "wait"
    assert json.loads(second["extra"]) == {"note": ["a", 1.5]}
    assert [name for name, value in second.items() if value is not None] == ["symbol", "action", "extra"]


def test_pandas_and_arrow_have_the_same() -> None:
    pytest.importorskip("pandas")
    pa = pytest.importorskip("pyarrow")
    frame = SIGNALS.to_pandas()
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        **dict.fromkeys(TYPES, "string"),
        **dict.fromkeys(("strength", "price"), "float64"),
        "timestamp": "datetime64[us, UTC]",
    }
    assert frame["timestamp"][0] == MOMENT
    assert frame["interval"].isna().tolist() == frame["price"].isna().tolist() == [False, True]
    assert SIGNALS.to_arrow().to_pylist() == SIGNALS.to_polars().to_dicts()
    page = Page(data=[*SIGNALS])
    assert pa.table(page).to_pylist() == SIGNALS.to_polars().to_dicts()
    assert pl.DataFrame(page).equals(SIGNALS.to_polars())


@pytest.mark.parametrize(
    ("request_", "of", "bodies"),
    [
        (TradingSessions.trade_logs.request("trd_1"), LogEntry, ([], {"data": [], "total": 0}, {"logs": []})),
        (TradingSessions.logs.request("ses_1"), LogEntry, ([], {"success": True, "data": []})),
        (Leaderboard.rankings.request(), Ranking, ({"data": [], "total": 0}, {"rankings": [], "page": 1})),
        (Indicators.all_signals.request("1h"), Signal, ([], {"signals": []})),
        (Indicators.candles.request("BTC", "1h"), Candle, ([], {"candles": []})),
    ],
)
def test_an_empty_list_has_the_columns_and_types_of_a_full_one(request_: Any, of: Any, bodies: tuple[Any, ...]) -> None:
    full = Items([of(**{field: None for field in getattr(of, "__struct_fields__", ()) if field != "_extra"})])
    expected = None if of is Candle else full.to_polars().schema
    if expected is None:
        one = Candle(open_time_ms=10**12, symbol="", interval="", open_text=1, high_text=1, low_text=1, close_text=1)
        expected = Items([one]).to_polars().schema
    for body in bodies:
        nothing = read(request_, body)
        frame = nothing.to_polars()
        assert (frame.schema, frame.height) == (expected, 0)
        if not isinstance(nothing, Page):
            assert nothing == []


def test_numbers_flags_and_moments_have_their_own_types() -> None:
    ranked = Ranking.__struct_fields__
    frame = Items([Ranking()]).to_polars()
    assert {*frame.columns} == {*ranked, "extra"} - {"_extra"}
    assert {pl.Int64, pl.Float64, pl.String} <= set(frame.dtypes)


def test_candles_have_times_and_prices_and_no_text() -> None:
    body = [
        {"t": 1_700_000_040_000 + 60_000 * place, "T": 1_700_000_099_999 + 60_000 * place, "s": "BTC", "i": "1m"}
        | {"o": "67000.10", "c": 2, "h": 3.5, "l": "1", "v": None, "n": place}
        for place in range(2)
    ]
    frame = read(Indicators.candles.request("BTC", "1m"), body).to_polars()
    assert frame.columns[:2] == ["open_time", "close_time"]
    assert frame["open_time"][1] == datetime(2023, 11, 14, 22, 15, tzinfo=UTC)
    assert frame.select("open", "close", "high", "low", "volume", "trades").row(1) == (67000.1, 2.0, 3.5, 1.0, None, 1)


def test_things_that_are_no_responses_are_a_column() -> None:
    symbols = read(Indicators.symbols.request(), ["BTC", "ETH"])
    assert symbols.to_polars().to_dict(as_series=False) == {"value": ["BTC", "ETH"]}
    assert read(Indicators.symbols.request(), []).to_polars().schema == {"value": pl.String}


def test_a_notebook_shows_a_table_without_markup_secrets_or_what_is_unknown() -> None:
    entries = [LogEntry(id=f"log_{place}", message="<script>alert(1)</script>") for place in range(20)]
    entries[0] = LogEntry(
        id="log_0",
        message="token=eyJhbGciOiJIUzI1NiJ9.e30.abc \x1b[31m",
        _extra={"note": "very secret"},
    )
    for shown in (Items(entries)._repr_html_(), Page(data=entries)._repr_html_()):
        assert shown is not None
        assert "<script>" not in shown
        assert "&lt;script&gt;" in shown
        assert "eyJ" not in shown
        assert "very secret" not in shown
        assert "\x1b" not in shown
        assert "log_19" in shown
        assert "log_9<" not in shown
        # A column of which nothing is told takes no room.
        assert "session_id" not in shown
    assert Items[str]()._repr_html_() is None


def test_making_a_list_imports_nothing_of_it() -> None:
    program = (
        "import sys; from alura_async import Items, Page; Items([1]); Page(data=[]);"
        "import alura_async.bulk, alura_async.bulk.frames;"
        "print([name for name in ('numpy', 'polars', 'pandas', 'pyarrow') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stdout.strip()
        == "[]"
    )


@pytest.mark.parametrize(
    ("missing", "what", "install"),
    [
        ("numpy", "from alura_async.bulk import Candles; Candles()", "alura-async[bulk]"),
        ("polars", "from alura_async import Items; Items(['a']).to_polars()", "alura-async[bulk]"),
        ("pandas", "from alura_async import Items; Items(['a']).to_pandas()", "pandas"),
        ("pyarrow", "from alura_async.bulk import Candles; Candles.empty().to_arrow()", "pyarrow"),
    ],
)
def test_what_is_not_installed_is_named_with_the_way_to_get_it(missing: str, what: str, install: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None\n{what}"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"UsageError: this needs {missing}, which is not installed: pip install '{install}'" in found.stderr


_LOOKING = """
import sys
sys.modules["numpy"] = None
import doctest, inspect, pydoc
from alura_async import UsageError, bulk
from alura_async.bulk import *
assert hasattr(bulk, "Candles") and Candles is bulk.Candles and inspect.isclass(Candles)
assert set(bulk.__all__) <= set(dir(bulk)) & set(globals())
assert {name for name, _ in inspect.getmembers(bulk)} >= set(bulk.__all__)
assert doctest.DocTestFinder().find(bulk) and pydoc.render_doc(bulk) and pydoc.render_doc(Candles)
assert not isinstance(1, Candles) and not hasattr(Candles, "concat") and not hasattr(bulk, "Candle")
print(Candles)
class Mine(Candles):
    "A subclass has a docstring of its own, or none."
for use in (lambda: Candles(), lambda: Candles.concat([]), lambda: Mine(), lambda: CandleStore(".").gaps()):
    try:
        use()
    except UsageError as error:
        print(error)
"""


def test_every_name_can_be_looked_at_without_what_it_needs_and_says_so_when_it_is_used() -> None:
    found = subprocess.run([sys.executable, "-c", _LOOKING], capture_output=True, text=True, check=False)
    said = "this needs numpy, which is not installed: pip install 'alura-async[bulk]'"
    assert found.stdout.splitlines() == [f"<class alura_async.bulk.Candles: {said}>", *[said] * 4], found.stderr


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"trades": 2**63}, "trades, row 1: no whole number of 64 bits"),
        ({"open_text": "abc"}, "open, row 1: no number: abc"),
        ({"volume_text": "1e400"}, "volume, row 1: no number: 1e400"),
        ({"open_time_ms": 10**18}, "open_time, row 1: no time"),
    ],
)
def test_what_no_column_can_hold_is_named_by_its_column_and_row_and_shown_as_it_is(
    change: dict[str, Any], column: str
) -> None:
    facts: dict[str, Any] = {f"{name}_text": "1" for name in ("open", "high", "low", "close", "volume")}
    facts |= {"open_time_ms": 1_700_000_040_000, "symbol": "BTC", "interval": "1m", "trades": 1}
    candles = Items([Candle(**facts), Candle(**{**facts, **change})])
    # Of these, polars is always there.
    for make, needed in ((candles.to_polars, "polars"), (candles.to_pandas, "pandas"), (candles.to_arrow, "pyarrow")):
        if find_spec(needed) is not None:
            with pytest.raises(InvalidArgumentError, match=column):
                make()
    assert str(*change.values()) in (candles._repr_html_() or "")
