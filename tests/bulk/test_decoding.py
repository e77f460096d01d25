"""From a reply to columns: they say what the objects of the tolerant road say, whatever the shape of the body."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alura_async import (
    AsyncAlura,
    Candle,
    InvalidArgumentError,
    Items,
    Lane,
    RefusedError,
    Reply,
    Route,
    ShapeError,
    TransportError,
    no_waits,
)
from alura_async.bulk import Candles
from alura_async.bulk.decoding import CANDLE_HISTORY, LATEST_CANDLES
from alura_async.sandbox import PERSONALITIES, Sandbox
from tests.raw_server import RawServer, reply
from tests.reshaping.instances import Case, cases
from tests.reshaping.shape import Reshape, reshapes
from tests.reshaping.writing import written

EXAMPLES = int(os.environ.get("ALURA_SHAPE_EXAMPLES", "300")) // 10
T0 = 1_700_000_040_000
# Of which the last is running: it ends 59,999 ms after T0 + 49 minutes.
ROWS = 50
DATE = {"Date": "Tue, 14 Nov 2023 23:03:59 GMT", "Content-Type": "application/json", "Content-Length": "1"}
AS_OF_MS = int(datetime(2023, 11, 14, 23, 3, 59, tzinfo=UTC).timestamp() * 1000)

Row = dict[str, Any]


def canonical(count: int = ROWS, seed: int = 1) -> list[Row]:
    """Minutes as Hyperliquid writes them."""
    chance = Random(seed)
    return [
        {
            "t": T0 + 60_000 * place,
            "T": T0 + 60_000 * place + 59_999,
            "s": "BTC",
            "i": "1m",
            "o": f"{chance.uniform(60_000, 70_000):.{chance.randrange(9)}f}",
            "c": repr(chance.uniform(1e-7, 1e-3)),
            "h": f"{chance.uniform(60_000, 70_000):.1f}",
            "l": f"{chance.uniform(0, 1):.17f}",
            "v": f"{chance.expovariate(0.05):.5f}",
            "n": chance.randrange(2000),
        }
        for place in range(count)
    ]


def iso(ms: int, *, digits: str = "milliseconds", zone: str = "Z") -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).replace(tzinfo=None).isoformat(timespec=digits) + zone


def changed(**changes: Callable[[Row], Any]) -> Callable[[list[Row]], Any]:
    return lambda rows: [{**row, **{name: change(row) for name, change in changes.items()}} for row in rows]


def numeric(rows: list[Row]) -> list[Row]:
    return [{name: float(value) if name in "ohlcv" else value for name, value in row.items()} for row in rows]


def without(*names: str) -> Callable[[list[Row]], Any]:
    return lambda rows: [{name: value for name, value in row.items() if name not in names} for row in rows]


LONG = {"t": "openTime", "T": "closeTime", "s": "symbol", "i": "interval", "o": "open", "c": "close"} | {
    "h": "high",
    "l": "low",
    "v": "volume",
    "n": "trades",
}

SHAPES: Mapping[str, Callable[[list[Row]], Any]] = {
    "Hyperliquid": lambda rows: rows,
    "numbers": numeric,
    "newest first": lambda rows: rows[::-1],
    "in any order": lambda rows: Random(1).sample(rows, len(rows)),
    "some twice": lambda rows: [*rows[:30], *numeric(rows[20:])],
    "numbers as text": changed(t=lambda row: str(row["t"]), n=lambda row: str(row["n"])),
    "long names, wrapped": lambda rows: {
        "success": True,
        "data": [{LONG[name]: value for name, value in row.items()} for row in rows],
    },
    "bare arrays": lambda rows: [[row[name] for name in "tohlcv"] for row in rows],
    "bare arrays with more": lambda rows: [[*(row[name] for name in "tohlcvTn"), True] for row in rows],
    "columns, seconds": lambda rows: (
        {"s": "ok"}
        | {name: [row[name] for row in numeric(rows)] for name in "ohlcv"}
        | {"t": [row["t"] // 1000 for row in rows]}
    ),
    "columns, ISO": lambda rows: (
        {name: [row[name] for row in rows] for name in "ohlcv"} | {"t": [iso(row["t"]) for row in rows]}
    ),
    "seconds": changed(t=lambda row: row["t"] // 1000),
    "microseconds": changed(t=lambda row: row["t"] * 1000 + 1),
    "nanoseconds": changed(t=lambda row: row["t"] * 10**6 + 999_999),
    "ISO": changed(t=lambda row: iso(row["t"]), T=lambda row: iso(row["T"])),
    "ISO with fractions": changed(t=lambda row: iso(row["t"] + row["n"] % 1000 + 1)),
    "ISO with some fractions": changed(t=lambda row: iso(row["t"] + row["n"] % 3)),
    "ISO, no zone": changed(t=lambda row: iso(row["t"], zone="")),
    "ISO, another zone": changed(
        t=lambda row: iso(row["t"], zone="+05:30"), T=lambda row: iso(row["T"], zone="+05:30")
    ),
    "no symbol, no interval": without("s", "i"),
    "no trades, no end": without("T", "n"),
    "no volume": without("v"),
    "no trades told": changed(n=lambda row: None),
    "some trades not told": changed(n=lambda row: None if row["n"] % 2 else row["n"]),
    "some volumes not told": changed(v=lambda row: None if row["n"] % 2 else row["v"]),
    "more in it": changed(final=lambda row: True, source=lambda row: "x" * (row["n"] % 40), fee=lambda row: 0.5),
    "other words beside": changed(open=lambda row: 1, volume=lambda row: "2", time=lambda row: 5, count=lambda row: 3),
    "more of one width": changed(final=lambda row: True, source=lambda row: "hl", fee=lambda row: 0.5),
    "texts that are together of one width": lambda rows: [
        {"a": "x" * (row["n"] % 5), **row, "b": "x" * (5 - row["n"] % 5)} for row in without("s", "i")(rows)
    ],
    "the series around it": lambda rows: {"symbol": "BTC", "interval": "1m", "candles": without("s", "i")(rows)},
    "few": lambda rows: numeric(rows[:3]),
    "one": lambda rows: rows[:1],
    "none": lambda rows: [],
    "none, wrapped": lambda rows: {"success": True, "data": []},
}


def fresh(route: Route[Any], returns: Any) -> Route[Any]:
    """The route as if it had never been called."""
    return Route(route.method, route.template, returns, lane=Lane.MARKET)


def by_objects(body: bytes, asked: tuple[str, str] = ("BTC", "1m")) -> Candles:
    """What the tolerant road's candles say."""
    route = fresh(LATEST_CANDLES, Items[Candle])
    candles = Reply(route.request(*asked), 200, DATE, body).decode()
    return Candles.from_candles(candles, *asked, as_of_ms=AS_OF_MS)


@pytest.mark.parametrize("shape", SHAPES)
def test_columns_say_what_the_objects_say(shape: str) -> None:
    body = json.dumps(SHAPES[shape](canonical())).encode()
    reply = Reply(fresh(LATEST_CANDLES, Candles).request("BTC", "1m"), 200, DATE, body)
    expected = by_objects(body)
    for _ in ("at first", "again"):
        candles = reply.decode()
        assert candles == expected
        assert (candles.symbol, candles.interval, candles.as_of_ms) == ("BTC", "1m", AS_OF_MS)
    assert len(expected) == {"few": 3, "one": 1, "none": 0, "none, wrapped": 0}.get(shape, ROWS)


ODD: Mapping[str, Callable[[Row], Row]] = {
    "a number instead of text": lambda row: {**row, "open": float(row["open"])},
    "text instead of a number": lambda row: {**row, "openTime": str(row["openTime"])},
    "a time in another form": lambda row: {**row, "openTime": iso(row["openTime"])},
    "a time in another unit": lambda row: {**row, "openTime": row["openTime"] * 1000},
    "a name less": lambda row: {name: item for name, item in row.items() if name != "closeTime"},
    "a name more": lambda row: {**row, "zone": [1.5]},
    "another order": lambda row: dict(reversed(row.items())),
    "another name": lambda row: {"o" if name == "open" else name: item for name, item in row.items()},
}


@pytest.mark.parametrize("place", [0, 1, 150, 298, 299])
@pytest.mark.parametrize("odd", ODD)
def test_a_long_table_is_read_as_itself_though_one_row_is_written_otherwise(odd: str, place: int) -> None:
    """The shape of the others is learned from some of them, of which it may or may not be one."""
    regular = SHAPES["long names, wrapped"](canonical(300))
    rows = [*regular["data"]]
    rows[place] = ODD[odd](rows[place])
    expected = told(regular)
    assert told({"data": rows}) == expected
    assert by_objects(json.dumps({"data": rows}).encode()) == expected


def test_numbers_are_the_floats_nearest_to_the_servers_text() -> None:
    rows = canonical(500)
    candles = Reply(LATEST_CANDLES.request("BTC", "1m"), 200, DATE, json.dumps(rows).encode()).decode()
    for name, column in zip(
        "ochlv", (candles.open, candles.close, candles.high, candles.low, candles.volume), strict=True
    ):
        assert column.tolist() == [float(row[name]) for row in rows]
    assert candles.open_time.astype(np.int64).tolist() == [row["t"] for row in rows]
    assert candles.trades.tolist() == [row["n"] for row in rows]


def test_a_candle_is_closed_by_the_servers_clock() -> None:
    body = json.dumps(canonical()).encode()
    closed = Reply(LATEST_CANDLES.request("BTC", "1m"), 200, DATE, body).decode().closed
    assert closed.tolist() == [True] * (ROWS - 1) + [False]


@pytest.mark.parametrize("date", [None, "soon", "x" * 10_000, "Tue, 14 Nov 2023 25:03:59 GMT"])
def test_where_the_server_does_not_tell_its_time_nothing_is_closed_until_the_caller_says_when_it_asked(
    date: str | None,
) -> None:
    headers = {name: value for name, value in DATE.items() if name != "Date"} | ({} if date is None else {"Date": date})
    body = json.dumps(canonical()).encode()
    candles = Reply(LATEST_CANDLES.request("BTC", "1m"), 200, headers, body).decode()
    assert candles.as_of_ms is None
    assert not candles.closed.any()
    asked = candles.told_at(AS_OF_MS)
    assert (asked.as_of_ms, asked.closed.tolist()) == (AS_OF_MS, [True] * (ROWS - 1) + [False])
    # What the server said stands.
    assert asked.told_at(AS_OF_MS + 10**9) is asked


@pytest.mark.parametrize(
    ("headers", "earlier_s"),
    [
        ({"Date": "Tue Nov 14 23:03:59 2023"}, 0),
        ({"Date": "Tue, 14 Nov 2023 23:03:59 -0000"}, 0),
        ({"Date": "Tue, 14 Nov 2023 23:03:59"}, 0),
        ({"Date": "Tuesday, 14-Nov-23 23:03:59 GMT"}, 0),
        ({"Age": "45"}, 45),
    ],
)
@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process cannot be changed here")
def test_the_servers_time_is_in_utc_whatever_its_form_and_this_machines_zone(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], earlier_s: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        as_of_ms = told(canonical(), **headers).as_of_ms
    time.tzset()
    assert as_of_ms == AS_OF_MS - earlier_s * 1000


@pytest.mark.parametrize("count", [3, ROWS])
@pytest.mark.parametrize("shape", ["Hyperliquid", "numbers as text", "long names, wrapped", "ISO", "no trades told"])
@pytest.mark.parametrize("minutes", [5, 0.5])
def test_candles_that_end_as_those_of_another_interval_do_are_an_error(shape: str, count: int, minutes: float) -> None:
    route = fresh(LATEST_CANDLES, Candles)
    right = SHAPES[shape](canonical(count))
    wrong = SHAPES[shape]([{**row, "T": row["t"] + int(minutes * 60_000) - 1} for row in canonical(count)])
    for body, is_right in ((right, True), (wrong, False), (right, True), (wrong, False)):
        found = outcome(route, body)
        assert len(found) == count if is_right else found is ShapeError


def test_an_end_may_be_the_last_second_or_the_first_moment_after_it() -> None:
    for end in (59_000, 59_999, 60_000):
        assert len(told([{**row, "T": row["t"] + end} for row in canonical()])) == ROWS
    nested = [{**row, "more": {"a": 1}} for row in canonical()]
    assert len(told(nested)) == ROWS
    assert outcome(LATEST_CANDLES, [{**row, "T": row["t"] + 299_999} for row in nested]) is ShapeError


@st.composite
def long_cases(draw: st.DrawFn) -> Case:
    """Cases of many candles, so that the shape of their table is learned."""
    case = draw(cases("Indicators.candles"))
    some = case.value
    if not some or draw(st.booleans()):
        return case
    rows = [
        msgspec.structs.replace(
            some[place % len(some)],
            open_time_ms=some[0].open_time_ms + 60_000 * place,
            close_time_ms=some[0].open_time_ms + 60_000 * place + 59_999 if some[0].close_time_ms else None,
        )
        for place in range(40)
    ]
    return replace(case, value=[row for row in rows if row.open_time_ms < 7_200_000_000_000] or some)


@st.composite
def reshaped(draw: st.DrawFn) -> tuple[Case, Reshape, Reshape]:
    case = draw(long_cases())
    return case, draw(reshapes(case)), draw(reshapes(case))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(reshaped())
def test_any_candles_in_any_shape_give_the_same_columns_as_objects(drawn: tuple[Case, Reshape, Reshape]) -> None:
    case, *shapes = drawn
    route = fresh(case.route, Candles)
    asked = (case.path["symbol"], case.path["interval"])
    # What a shape leads to does not depend on the shapes before it.
    for shape in (shapes[0], *shapes, shapes[0]):
        body = written(case, shape).body
        expected: Candles | None = None
        # What is wrapped too often is no list of candles, nor columns of them.
        with suppress(InvalidArgumentError, ShapeError):
            expected = by_objects(body, asked)
        reply = Reply(route.request(*asked), 200, DATE, body)
        if expected is not None and not len(expected) and b"{}" in body:
            # A map of none says nothing unless a success does.
            with suppress(ShapeError):
                assert reply.decode() == expected
        elif expected is None:
            with pytest.raises(ShapeError):
                reply.decode()
        else:
            assert reply.decode() == expected, shape


# What is no data


@pytest.mark.parametrize("count", [3, ROWS])
@pytest.mark.parametrize(
    "shape", ["Hyperliquid", "numbers", "long names, wrapped", "newest first", "more of one width", "ISO"]
)
def test_rows_of_another_series_are_an_error_and_no_data(shape: str, count: int) -> None:
    route = fresh(CANDLE_HISTORY, Candles)
    body = json.dumps(SHAPES[shape](canonical(count))).encode()
    as_asked = Reply(route.request("BTC", query={"interval": "1m"}), 200, DATE, body)
    assert len(as_asked.decode()) == count
    for symbol, interval in (("ETH", "1m"), ("BTC", "5m"), ("BT", "1m")):
        reply = Reply(route.request(symbol, query={"interval": interval}), 200, DATE, body)
        with pytest.raises(ShapeError, match="one series"):
            reply.decode()
    assert as_asked.decode() == as_asked.decode()


@pytest.mark.parametrize("count", [3, ROWS])
@pytest.mark.parametrize("symbol", ["btc", "BTC-USD", "BTCUSDT", "BTC/USDC:USDC", "BTC-PERP"])
@pytest.mark.parametrize("interval", ["1min", "60s", "1 minute", "M1", "60"])
def test_a_series_may_have_other_names_than_those_it_was_asked_for_by(count: int, symbol: str, interval: str) -> None:
    for shape in ("Hyperliquid", "long names, wrapped", "the series around it"):
        rows = [{**row, "s": symbol, "i": interval} for row in canonical(count)]
        reply = Reply(LATEST_CANDLES.request("BTC", "1m"), 200, DATE, json.dumps(SHAPES[shape](rows)).encode())
        columns = reply.decode()
        assert (columns.symbol, columns.interval, len(columns)) == ("BTC", "1m", count)


@pytest.mark.parametrize(
    "change", [{"s": "BTCDOM"}, {"s": "WBTC"}, {"s": "BTC2"}, {"i": "1M"}, {"i": "1h"}, {"i": "5min"}]
)
def test_names_that_may_be_those_of_another_series_are_an_error(change: dict[str, str]) -> None:
    for shape in ("Hyperliquid", "long names, wrapped"):
        rows = [{**row, **change} for row in canonical(3)]
        reply = Reply(LATEST_CANDLES.request("BTC", "1m"), 200, DATE, json.dumps(SHAPES[shape](rows)).encode())
        with pytest.raises(ShapeError):
            reply.decode()


@pytest.mark.parametrize("count", [3, ROWS])
def test_one_row_of_another_series_is_an_error(count: int) -> None:
    for shape in ("Hyperliquid", "long names, wrapped"):
        for change in ({"s": "ETH"}, {"s": "BTX"}, {"s": "BTCX"}, {"i": "5m"}, {"s": "BTCx", "i": "m"}):
            rows = canonical(count)
            rows[count // 2] |= change
            reply = Reply(LATEST_CANDLES.request("BTC", "1m"), 200, DATE, json.dumps(SHAPES[shape](rows)).encode())
            with pytest.raises(ShapeError):
                reply.decode()


def test_another_series_named_around_the_rows_is_an_error_also_where_the_shape_is_known() -> None:
    route = fresh(LATEST_CANDLES, Candles)
    body: dict[str, Any] = SHAPES["the series around it"](canonical())
    for _ in range(2):
        assert len(Reply(route.request("BTC", "1m"), 200, DATE, json.dumps(body).encode()).decode()) == ROWS
    for other in ({"symbol": "ETH"}, {"interval": "1h"}):
        with pytest.raises(ShapeError):
            Reply(route.request("BTC", "1m"), 200, DATE, json.dumps({**body, **other}).encode()).decode()


def test_the_series_is_what_the_rows_say_where_nothing_was_asked_for() -> None:
    reply = Reply(CANDLE_HISTORY.request("BTC"), 200, DATE, json.dumps(canonical()).encode())
    assert reply.decode().interval == "1m"
    silent = Reply(CANDLE_HISTORY.request("BTC"), 200, DATE, json.dumps(without("i")(canonical())).encode())
    assert silent.decode().interval is None
    assert not silent.decode().closed.any()


@pytest.mark.parametrize("price", ["NaN", "inf", "-Infinity", "1e400", "", "abc", None, True, [1], {"x": 1}])
@pytest.mark.parametrize("shape", ["Hyperliquid", "long names, wrapped", "bare arrays", "columns, seconds"])
def test_a_price_that_is_no_number_is_an_error_and_no_data(shape: str, price: Any) -> None:
    route = fresh(LATEST_CANDLES, Candles)
    for spoil in (False, True):
        rows = canonical()
        body = SHAPES[shape](rows)
        if spoil:
            body = json.loads(json.dumps(body).replace(json.dumps(price_of(body)), json.dumps(price), 1))
        reply = Reply(route.request("BTC", "1m"), 200, DATE, json.dumps(body).encode())
        if not spoil:
            assert len(reply.decode()) == ROWS
            continue
        with pytest.raises(ShapeError):
            reply.decode()


def price_of(body: Any) -> Any:
    """The first price in a body."""
    if isinstance(body, dict):
        return body["o"][0] if "o" in body else price_of(body["data"])
    return body[0][1] if isinstance(body[0], list) else body[0].get("o", body[0].get("open"))


def test_a_volume_that_is_no_number_is_an_error_and_none_that_is_unknown() -> None:
    for volume in ("NaN", "inf", "much"):
        rows = canonical()
        rows[7]["v"] = volume
        with pytest.raises(ShapeError):
            Reply(LATEST_CANDLES.request("BTC", "1m"), 200, DATE, json.dumps(rows).encode()).decode()


@pytest.mark.parametrize("count", [-1, 2**31, 1.5])
def test_a_number_of_trades_that_is_none_is_not_made_up(count: float) -> None:
    rows = canonical()
    rows[7]["n"] = count
    reply = Reply(LATEST_CANDLES.request("BTC", "1m"), 200, DATE, json.dumps(rows).encode())
    if count > 2**30:
        with pytest.raises(ShapeError):
            reply.decode()
    else:
        assert reply.decode().trades.mask.tolist() == [place == 7 for place in range(ROWS)]


def test_times_that_are_none_are_an_error() -> None:
    for moment in (0, 1, -T0, 10**30, "yesterday", None, "0001-01-01T00:00:00Z"):
        for shape in ("Hyperliquid", "ISO"):
            rows = SHAPES[shape](canonical())
            rows[3]["t"] = moment
            with pytest.raises(ShapeError):
                Reply(LATEST_CANDLES.request("BTC", "1m"), 200, DATE, json.dumps(rows).encode()).decode()


# The one road


def test_a_refusal_is_one_and_half_a_body_is_no_data() -> None:
    refused = Reply(LATEST_CANDLES.request("BTC", "1m"), 200, DATE, b'{"success": false, "message": "no such symbol"}')
    with pytest.raises(RefusedError, match="no such symbol"):
        refused.decode()
    body = json.dumps(canonical()).encode()
    with pytest.raises(TransportError):
        Reply(LATEST_CANDLES.request("BTC", "1m"), 200, DATE, body[:-40]).decode()


@pytest.mark.anyio
async def test_what_a_server_without_a_clock_tells_is_closed_by_when_it_was_asked(raw: RawServer) -> None:
    # What happens while the reply is under way does not count: the second candle ends far in the future.
    rows = [*canonical(1), {**canonical(1)[0], "t": 4_100_000_040_000, "T": 4_100_000_099_999}]
    raw.answers = [reply(json.dumps(rows))]
    before_ms = time.time_ns() // 1_000_000
    async with AsyncAlura(base_url=raw.url) as alura:
        candles = (await alura.bulk.latest("BTC", "1m"))["BTC"]
    assert candles.closed.tolist() == [True, False]
    assert candles.as_of_ms is not None
    assert before_ms <= candles.as_of_ms <= time.time_ns() // 1_000_000


@pytest.mark.parametrize("shapes", PERSONALITIES)
@pytest.mark.anyio
async def test_over_the_wire_columns_are_what_the_objects_are(shapes: str) -> None:
    with no_waits():
        async with Sandbox(seed=7, shapes=shapes) as sandbox, AsyncAlura(base_url=sandbox.url) as alura:
            for _ in range(2):
                columns = await alura.send(LATEST_CANDLES.request("BTC", "1m", query={"limit": 60}))
                objects = await alura.indicators.candles("BTC", "1m", limit=60)
                assert columns == Candles.from_candles(objects, "BTC", "1m", as_of_ms=columns.as_of_ms)
                assert len(columns) == 60


# What says that there is nothing


def told(body: Any, returns: Any = Candles, **headers: str) -> Any:
    route = fresh(LATEST_CANDLES, returns)
    return Reply(route.request("BTC", "1m"), 200, {**DATE, **headers}, json.dumps(body).encode()).decode()


NO_COLUMNS: dict[str, list[Any]] = {name: [] for name in "tohlcv"}


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"candles": []},
        {"success": True, "data": {"candles": []}},
        NO_COLUMNS,
        {"s": "ok", **NO_COLUMNS},
        {"s": "no_data"},
        {"s": "no_data", "nextTime": 1_700_000_040, **NO_COLUMNS},
        {"success": True, "data": None},
        {"status": "success", "data": {}},
    ],
)
def test_that_there_are_no_candles_can_be_said_in_several_ways(body: Any) -> None:
    candles = told(body)
    assert (len(candles), candles.symbol, candles.interval, candles.as_of_ms) == (0, "BTC", "1m", AS_OF_MS)


@pytest.mark.parametrize(
    "body", [{}, {"data": {}}, {"data": None}, {"candles": {}}, {"x": []}, {"success": True}, {"s": "ok"}, None]
)
def test_an_object_that_says_nothing_does_not_say_that_there_are_no_candles(body: Any) -> None:
    with pytest.raises(ShapeError):
        told(body)


@pytest.mark.parametrize("returns", [Candles, Items[Candle]])
@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"s": "error", "errmsg": "upstream timeout"}, "upstream timeout"),
        ({"s": "error", "errmsg": "upstream timeout", **NO_COLUMNS}, "upstream timeout"),
        ({"data": {"s": "error", "errmsg": "upstream timeout", "t": []}}, "upstream timeout"),
        ({"s": "error", **NO_COLUMNS}, "does not say why"),
        ({"s": "error"}, "does not say why"),
    ],
)
def test_the_error_of_a_charts_data_feed_is_a_refusal_and_no_empty_list(returns: Any, body: Any, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        told(body, returns)


# What stands around and beside the candles


def columns(count: int = ROWS, **beside: Any) -> Row:
    rows = canonical(count)
    return {name: [row[name] for row in rows] for name in "tohlc"} | beside


def outcome(route: Route[Any], body: Any) -> Any:
    """What a body gives, or that it gives an error."""
    try:
        found = Reply(route.request("BTC", "1m"), 200, DATE, json.dumps(body).encode()).decode()
    except ShapeError:
        return ShapeError
    return found if isinstance(found, Candles) else [msgspec.structs.astuple(candle) for candle in found]


BESIDE: tuple[Any, ...] = (
    *(None, True, 5, "ok", "ETH", {}, [], [1, 2], ["ETH"] * ROWS, [1.5] * ROWS, ["2"] * (ROWS - 1)),
    *({"symbol": "ETH"}, {"symbol": "BTC", "interval": "1m"}, {"candles": canonical(40, seed=3)}, canonical()),
)


@pytest.mark.parametrize("returns", [Candles, Items[Candle]])
@pytest.mark.parametrize("name", ["v", "symbol", "items"])
def test_what_stood_beside_candles_does_not_matter_to_the_next_ones(returns: Any, name: str) -> None:
    body = columns()
    alone = [outcome(fresh(LATEST_CANDLES, returns), {**body, name: item}) for item in BESIDE]
    for before in (None, "ok", [1.5] * ROWS, canonical()):
        route = fresh(LATEST_CANDLES, returns)
        for item, expected in zip(BESIDE, alone, strict=True):
            outcome(route, {**body, name: before})
            assert outcome(route, {**body, name: item}) == expected, (before, item)


@pytest.mark.parametrize("returns", [Candles, Items[Candle]])
@pytest.mark.parametrize(
    "shape", ["long names, wrapped", "bare arrays", "columns, seconds", "no trades told", "the series around it"]
)
def test_that_there_are_no_candles_is_read_after_some_in_the_same_shape(returns: Any, shape: str) -> None:
    route = fresh(LATEST_CANDLES, returns)
    for count in (0, ROWS, 0, 200, 0):
        assert len(outcome(route, SHAPES[shape](canonical(count)))) == count


@pytest.mark.parametrize("count", [3, ROWS])
@pytest.mark.parametrize(
    "body",
    [
        lambda count: columns(count, symbol="ETH", interval="1m"),
        lambda count: columns(count, symbol="BTC", interval="1h"),
        lambda count: columns(count, s="ETH"),
        lambda count: {"data": columns(count, symbol="ETH")},
        lambda count: {"meta": {"symbol": "ETH"}, "values": without("s", "i")(canonical(count))},
        lambda count: {"request": {"interval": "1h"}, "candles": without("s", "i")(canonical(count))},
        lambda count: columns(count, meta={"symbol": "BTC", "interval": "1h"}),
    ],
)
def test_another_series_named_beside_the_candles_is_an_error_and_what_objects_say(
    body: Callable[[int], Any], count: int
) -> None:
    route = fresh(LATEST_CANDLES, Candles)
    for _ in range(2):
        assert outcome(route, body(count)) is ShapeError
    candles = told(body(count), Items[Candle])
    assert (candles[0].symbol, candles[0].interval) != ("BTC", "1m")
    assert (candles[-1].symbol, candles[-1].interval) == (candles[0].symbol, candles[0].interval)


@pytest.mark.parametrize("beside", [{"s": "ok"}, {"symbol": ""}, {"meta": {"symbol": "BTC", "interval": "1m"}}])
def test_the_series_asked_for_or_none_named_beside_the_candles_changes_nothing(beside: Any) -> None:
    for body in (columns(**beside), {"candles": without("s", "i")(canonical()), **beside}):
        route = fresh(LATEST_CANDLES, Candles)
        assert [len(outcome(route, body)) for _ in range(2)] == [ROWS, ROWS]


# What is too much


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[1700000040000,1,1,1,1,1],[1700000040000,1,1,1,1,1,2]," * 25_000 + b"[1700000040000,1,1,1,1,1]]",
        b'{"t": [' + b"1700000040," * 500_001 + b"1700000040]}",
        b'{"more": [' + b"1," * 500_001 + b'1], "t": [1700000040]}',
    ],
    ids=["rows", "values", "values beside it"],
)
def test_a_body_that_would_have_to_be_looked_into_for_long_is_an_error_that_says_what_to_do(body: bytes) -> None:
    with pytest.raises(ShapeError, match="ask for fewer at once"):
        Reply(fresh(LATEST_CANDLES, Candles).request("BTC", "1m"), 200, DATE, body).decode()


@pytest.mark.parametrize("shape", ["long names, wrapped", "bare arrays", "columns, seconds"])
def test_a_large_body_of_rows_that_are_alike_is_read(shape: str) -> None:
    later = [{"t": 60_000_000 * turn, "T": 60_000_000 * turn} for turn in range(15)]
    minutes = canonical(1_000)
    rows = [{**row, **{name: row[name] + by for name, by in more.items()}} for more in later for row in minutes]
    body = b" " * (4 << 20) + json.dumps(SHAPES[shape](rows)).encode()
    candles = Reply(fresh(LATEST_CANDLES, Candles).request("BTC", "1m"), 200, DATE, body).decode()
    assert len(candles) == 15_000
    assert candles[-1].open_time_ms == T0 + 60_000 * 14_999


def test_a_large_body_of_exactly_the_expected_shape_is_read() -> None:
    body = b"[" + b",".join([json.dumps(row).encode() for row in canonical(500)] * 60) + b"]"
    assert len(body) > 4 << 20
    assert len(Reply(LATEST_CANDLES.request("BTC", "1m"), 200, DATE, body).decode()) == 500


def minutes(count: int, **odd: Any) -> list[Row]:
    """Rows with few names; one that is not looked at first is another."""
    found: list[Row] = [{"t": T0 + 60_000 * row, "o": 1, "h": 1, "l": 1, "c": 1, "n": 5} for row in range(count)]
    found[count // 3] |= odd
    return found


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ([[T0 + 60_000 * row, 1, 1, 1, 1, 1] for row in range(170_000)], 170_000),
        # A number that is null has no width, and not all of these rows can be looked into.
        (minutes(51_000, n=None), None),
        (minutes(20_000, n=None), 20_000),
    ],
    ids=["alike", "too many, one odd", "one odd"],
)
def test_what_a_large_body_gives_does_not_depend_on_the_ones_before_it(body: Any, count: int | None) -> None:
    large = json.dumps(body).encode()
    for before in ([], [minutes(500)], [minutes(100, n=None)], [body[:500], canonical()]):
        route = fresh(LATEST_CANDLES, Candles)
        for other in before:
            assert len(outcome(route, other)) in (100, 500, ROWS)
        reply = Reply(route.request("BTC", "1m"), 200, DATE, large)
        if count is not None:
            assert len(reply.decode()) == count
        else:
            with pytest.raises(ShapeError, match="ask for fewer at once"):
                reply.decode()


@pytest.mark.parametrize("count", [60_000, 600_000])
def test_a_web_page_is_told_as_one_whatever_is_in_it(count: int) -> None:
    body = b"\n<html>" + b"{}" * count
    with pytest.raises(TransportError, match="web page"):
        Reply(fresh(LATEST_CANDLES, Candles).request("BTC", "1m"), 200, DATE, body).decode()


def test_of_many_series_a_few_are_named() -> None:
    rows = [{**row, "s": f"S{place:04}"} for place, row in enumerate(canonical(2_000))]
    with pytest.raises(ShapeError, match=r"these are of BTC, S0000, S0001, S0002, S0003, …") as raised:
        told(rows)
    assert len(str(raised.value)) < 500
