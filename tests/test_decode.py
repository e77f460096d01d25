"""From bytes to a response type: what is known is typed, what is not is kept, and nothing is invented."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alura_async import (
    Auth,
    Candle,
    Health,
    Indicators,
    Leaderboard,
    LogEntry,
    Outcome,
    Page,
    Position,
    PositionSide,
    Profile,
    Reply,
    Request,
    Secret,
    SessionStatus,
    ShapeError,
    Signal,
    SignIn,
    Trade,
    TradingSession,
    TradingSessions,
    User,
)
from alura_async.core.decode import Shape, parse
from alura_async.core.model import CheckedModel, Model
from alura_async.core.names import meant
from alura_async.core.scalars import MismatchError

ACTIVE = TradingSessions.active.request()
CURRENT_TRADE = TradingSessions.current_trade.request()
PROFILE = User.profile.request()
TRADE_LOGS = TradingSessions.trade_logs.request("t1")
SIGNALS = Indicators.signals.request("BTC", "1m")
CANDLES = Indicators.candles.request("BTC", "1m")


def decode(call: Request[Any], body: Any) -> Any:
    """What the call returns when the server answers with this."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    return Reply(call, 200, headers, content).decode()


def fit(value: Any, returns: Any) -> Any:
    """What plain values become."""
    return Shape[Any](returns, "/").read(value, {}, {})


def refused(call: Request[Any], body: Any) -> ShapeError:
    """The error where that is of no known shape."""
    with pytest.raises(ShapeError) as raised:
        decode(call, body)
    assert raised.value.outcome is Outcome.DONE
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert raised.value.raw == content
    return raised.value


# The expected shape


def test_a_body_of_exactly_the_expected_shape_becomes_its_type() -> None:
    body = {
        "id": "s1",
        "tradeId": "t1",
        "status": "active",
        "assetIndex": 0,
        "budget": 100,
        "profitTarget": "40.5",
        "maxPositions": 3,
        "maxWalletBudget": False,
        "createdAt": "2024-05-01T12:00:00.123Z",
    }
    (session,) = decode(ACTIVE, [body])
    assert session == TradingSession(
        id="s1",
        trade_id="t1",
        status=SessionStatus.ACTIVE,
        asset_index=0,
        budget=Decimal(100),
        profit_target=Decimal("40.5"),
        max_positions=3,
        max_wallet_budget=False,
        created_at=datetime(2024, 5, 1, 12, 0, 0, 123_000, tzinfo=UTC),
    )
    assert session.extra == {}


def test_types_within_types_are_typed_too() -> None:
    trade = decode(CURRENT_TRADE, {"id": "t1", "positions": [{"id": "p1", "side": "LONG", "size": "0.5"}]})
    assert trade == Trade(id="t1", positions=[Position(id="p1", side=PositionSide.LONG, size=Decimal("0.5"))])


def test_what_is_absent_is_none_which_is_not_the_same_as_an_empty_list() -> None:
    """No word on positions is not the word that there are none."""
    trade = decode(CURRENT_TRADE, {"id": "t1"})
    assert (trade.status, trade.realized_pnl, trade.closed_at, trade.positions) == (None, None, None, None)
    assert decode(CURRENT_TRADE, {"id": "t1", "positions": []}).positions == []
    assert decode(ACTIVE, []) == []


def test_null_is_the_same_as_absent() -> None:
    given = {"id": "t1", "status": None, "realizedPnl": None, "closedAt": None, "positions": None}
    assert decode(CURRENT_TRADE, given) == decode(CURRENT_TRADE, {"id": "t1"})
    # Beside an unknown field, too: that takes another road.
    assert decode(CURRENT_TRADE, {**given, "new": 1}) == decode(CURRENT_TRADE, {"id": "t1", "new": 1})


def test_a_secret_is_wrapped_as_it_is_read() -> None:
    call = Auth.verify.request("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x51")
    for more in ({}, {"refreshToken": "r3fresh"}):
        signed_in = decode(
            call, {"ok": True, "accessToken": "t0ken", "tokenType": "Bearer", "expiresIn": 86400, **more}
        )
        assert isinstance(signed_in, SignIn)
        assert signed_in.access_token == Secret("t0ken")
        assert signed_in.access_token.reveal() == "t0ken"
        assert signed_in.expires_in == 86400
    assert refused(call, {"accessToken": True})


# Digits


LONG = "12345678901234567890.123456789012345678901234567890"


@pytest.mark.parametrize("form", ["{}", '"{}"'], ids=["number", "text"])
@pytest.mark.parametrize("more", ["", ',"new":1'], ids=["known", "with unknown"])
@pytest.mark.parametrize("digits", [LONG, "0.1", "100", "1e-30", "-0.000000000000000000001", "1E+5", "0.10"])
def test_an_amount_keeps_every_digit(digits: str, form: str, more: str) -> None:
    body = f'[{{"id":"s1","budget":{form.format(digits)}{more}}}]'.encode()
    (session,) = decode(ACTIVE, body)
    assert isinstance(session.budget, Decimal)
    assert session.budget == Decimal(digits)
    assert str(session.budget) == str(Decimal(digits))


def test_an_unknown_number_keeps_every_digit() -> None:
    (session,) = decode(ACTIVE, f'[{{"id":"s1","new":{LONG},"deep":{{"list":[{LONG}]}}}}]'.encode())
    assert session.extra["new"] == Decimal(LONG)
    assert session.extra["deep"] == {"list": [Decimal(LONG)]}
    entry = decode(TRADE_LOGS, f'{{"data":[{{"data":{{"price":{LONG}}}}}]}}'.encode()).data[0]
    assert entry.data == {"price": Decimal(LONG)}


@given(st.decimals(allow_nan=False, allow_infinity=False, places=18, min_value=-(10**15), max_value=10**15))
def test_any_amount_survives(amount: Decimal) -> None:
    text = format(amount, "f")
    for written in (text, f'"{text}"'):
        for more in ("", ',"new":null'):
            assert decode(PROFILE, f'{{"id":"u","balance":{written}{more}}}'.encode()).balance == amount


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_an_amount_is_finite(text: str) -> None:
    """No limit that a bot compares with NaN would strike, so it is no amount; and it is not lost."""
    profile = decode(PROFILE, {"id": "u", "balance": text})
    assert profile.balance is None
    assert profile.extra == {"balance": text}


def test_a_number_that_is_text_stays_text_where_text_is_wanted() -> None:
    assert decode(PROFILE, {"id": "0012", "referralCode": "1e5"}) == Profile(id="0012", referral_code="1e5")


# What we do not know


def test_unknown_fields_are_kept_at_every_level() -> None:
    body = {
        "data": [
            {"id": "1", "message": "a", "data": {"x": 1, "y": {"z": 2}}, "host": "h1"},
            {"id": "2", "tags": ["t"]},
        ],
        "total": 2,
        "shard": {"name": "abc"},
    }
    page = decode(TRADE_LOGS, body)
    assert isinstance(page, Page)
    # What stands around the items, by its path.
    assert page.extra == {"$.shard": {"name": "abc"}}
    first, second = page.data
    assert isinstance(first, LogEntry)
    assert (first.extra, second.extra) == ({"host": "h1"}, {"tags": ["t"]})
    assert first.data == {"x": 1, "y": {"z": 2}}


def test_an_unknown_field_deep_inside_does_not_disturb_the_rest() -> None:
    trade = decode(CURRENT_TRADE, {"id": "t1", "positions": [{"id": "p1"}, {"id": "p2", "new": True, "size": "2"}]})
    assert trade.extra == {}
    assert trade.positions[0] == Position(id="p1")
    assert trade.positions[1].extra == {"new": True}
    assert trade.positions[1].size == 2


wire_names = st.sampled_from(["id", "status", "budget", "symbol", "extra", "_id", "$extra", "session_id", "data"])
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=8) | wire_names, plain_values, max_size=6))
def test_no_unknown_field_is_ever_lost(unknown: dict[str, Any]) -> None:
    unknown = {name: value for name, value in unknown.items() if not meant(TradingSession, name)}
    (session,) = decode(ACTIVE, [{"id": "s1", "budget": "1.5", **unknown}])
    assert dict(session.extra) == unknown
    assert (session.id, session.budget) == ("s1", Decimal("1.5"))


@given(st.dictionaries(st.text(max_size=8), plain_values, min_size=1, max_size=4))
def test_a_body_in_which_nothing_is_known_is_never_an_object_full_of_none(body: dict[str, Any]) -> None:
    body = {name: value for name, value in body.items() if not meant(Profile, name) and name not in ("success", "ok")}
    if body:
        error = refused(PROFILE, body)
        assert "Profile" in str(error)


@pytest.mark.parametrize("name", ["items", "logs", "entries", "results", "tradeLogs"])
def test_the_items_of_a_page_may_have_another_name(name: str) -> None:
    page = decode(TRADE_LOGS, {name: [{"id": "1"}], "total": 1})
    assert page == Page(data=[LogEntry(id="1", trade_id="t1")], total=1)


@pytest.mark.parametrize("name", ["nextCursor", "next_cursor", "nextPageCursor"])
def test_a_page_by_a_cursor_says_what_to_ask_for_next(name: str) -> None:
    page = decode(TRADE_LOGS, {"list": [{"id": "1"}], name: "c2"})
    assert (page.next, page.has_more, page.extra) == ({"cursor": "c2"}, True, {})
    last = decode(TRADE_LOGS, {"list": [{"id": "1"}], name: ""})
    assert (last.next, last.has_more) == (None, False)


def test_a_page_whose_items_cannot_be_told_is_not_an_empty_page() -> None:
    """Reading on would end at once, and the logs would seem to be empty."""
    bodies: list[dict[str, Any]] = [
        {"stuff": [], "total": 1},
        {"total": 1},
        {"errors": []},
        {"a": [{"id": "1"}], "b": [{"id": "2"}]},
    ]
    for body in bodies:
        refused(TRADE_LOGS, body)


@pytest.mark.parametrize(
    ("body", "extra"),
    [
        ({"data": {"id": "u1"}}, {}),
        ({"success": True, "data": {"id": "u1"}}, {"$.success": True}),
        ({"user": {"id": "u1"}}, {}),
        ({"id": None, "address": None, "user": {"id": "u1"}}, {"$.id": None, "$.address": None}),
        (
            {"status": "ok", "response": {"type": "profile", "data": {"id": "u1"}}},
            {"$.status": "ok", "$.response.type": "profile"},
        ),
        ({"jsonrpc": "2.0", "id": 7, "result": {"id": "u1"}}, {"$.jsonrpc": "2.0", "$.id": 7}),
        ([{"id": "u1"}], {}),
    ],
)
def test_what_is_wrapped_is_found_and_what_is_around_it_is_kept_by_its_path(body: Any, extra: dict[str, Any]) -> None:
    assert decode(PROFILE, body) == Profile(id="u1", _extra=extra or None)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 7, 40])
@pytest.mark.parametrize("names", ["tohlc", "tohlcv", "tohlcvn"])
def test_columns_of_any_length_are_no_bare_arrays(names: str, count: int) -> None:
    rows = [{"t": 1767225600 + 60 * place, **dict.fromkeys(names[1:], 5)} for place in range(count)]
    candles = decode(CANDLES, {"s": "ok", **{name: [row[name] for row in rows] for name in names}})
    assert [candle.open_time_ms for candle in candles] == [row["t"] * 1000 for row in rows]
    assert candles.extra == {"$.s": "ok"}


def test_a_list_under_its_own_name_is_found_in_what_has_a_name_that_nobody_knows() -> None:
    symbols = Indicators.symbols.request()
    assert decode(symbols, {"data": {"type": "list", "id": "1", "attributes": {"symbols": ["BTC"]}}}) == ["BTC"]
    assert decode(symbols, {"stuff": {"symbols": ["BTC"]}}) == ["BTC"]
    assert decode(ACTIVE, {"stuff": {"sessions": []}}) == []
    refused(ACTIVE, {"stuff": {"sessions": []}, "more": {"sessions": []}})


@pytest.mark.parametrize(
    "body", [{"statusCode": 200, "message": "fine"}, {"data": {}}, {"user": {"x": 1}}, {}, {"data": None}]
)
def test_a_wrapper_never_passes_as_what_it_wraps(body: Any) -> None:
    refused(PROFILE, body)


@pytest.mark.parametrize(
    ("call", "body", "parts"),
    [
        (ACTIVE, {"tradeId": "s1"}, ["$", "a list of TradingSessions", "tradeId"]),
        (ACTIVE, [{"tradeId": "t1"}], ["$[0]", "TradingSession", "id", "tradeId"]),
        (ACTIVE, [{"id": "s1"}, {"status": "active", "new": 1}], ["$[1]", "id"]),
        (ACTIVE, [{"id": "s1"}, "s2"], ["$[1]", "TradingSession", "text"]),
        (ACTIVE, [{"id": True}], ["$[0].id", "text", "a boolean"]),
        (ACTIVE, {"data": [{"id": "s1"}, 7]}, ["$.data[1]", "TradingSession", "a number"]),
        (ACTIVE, None, ["$", "a list", "null"]),
        (ACTIVE, {"success": True, "data": None}, ["$", "a list", "data"]),
        (CURRENT_TRADE, "none", ["$", "Trade", "text"]),
        (CANDLES, [{"t": 1, "o": "1", "h": "1", "l": "1", "c": "1"}], ["$[0].t", "a time"]),
        (PROFILE, "hello", ["$", "Profile", "text"]),
        (PROFILE, 5, ["$", "Profile", "a number"]),
        (PROFILE, None, ["$", "Profile", "null"]),
        (PROFILE, True, ["$", "Profile", "a boolean"]),
        (Indicators.symbols.request(), {"stuff": [5]}, ["$"]),
        (Indicators.symbols.request(), [1], ["$[0]", "text"]),
    ],
)
def test_what_does_not_fit_says_where_and_why(call: Request[Any], body: Any, parts: list[str]) -> None:
    error = refused(call, body)
    assert f"{call.method} {call.path}: succeeded" in str(error)
    for part in parts:
        assert part in str(error)


def test_a_missing_required_field_is_named() -> None:
    error = refused(CANDLES, [{"t": 1_700_000_000_000, "s": "BTC", "x": 1}])
    assert "without o, c, h, l" in str(error)


def test_a_field_that_cannot_be_read_is_none_and_its_value_is_kept() -> None:
    trade = {"id": "t1", "openedAt": "yesterday", "positions": [{"id": "p1", "size": "much"}, {"id": "p2", "size": 1}]}
    assert decode(CURRENT_TRADE, trade) == Trade(
        id="t1",
        positions=[Position(id="p1", _extra={"size": "much"}), Position(id="p2", size=Decimal(1))],
        _extra={"openedAt": "yesterday"},
    )
    trade = {"id": "t1", "positions": [{"size": "1"}]}
    assert decode(CURRENT_TRADE, trade) == Trade(id="t1", _extra={"positions": [{"size": "1"}]})


# Open enumerations


@pytest.mark.parametrize("more", [{}, {"new": 1}], ids=["known", "with unknown"])
@pytest.mark.parametrize(
    ("text", "status", "is_known"),
    [
        ("closed", SessionStatus.CLOSED, True),
        ("CLOSED", SessionStatus.CLOSED, True),
        ("Closed", SessionStatus.CLOSED, True),
        ("liquidated", "liquidated", False),
        ("PARTIALLY_CLOSED", "PARTIALLY_CLOSED", False),
        ("", "", False),
    ],
)
def test_a_status_is_known_in_any_case_and_else_comes_as_it_is(
    text: str, status: str, is_known: bool, more: dict[str, Any]
) -> None:
    (session,) = decode(ACTIVE, [{"id": "s1", "status": text, **more}])
    assert session.status == status
    assert isinstance(session.status, SessionStatus)
    assert session.status.is_known is is_known
    assert str(session.status) == status


# Unions, floats and maps


@pytest.mark.parametrize("price", ["61000.5", 61000, 61000.5], ids=repr)
@pytest.mark.parametrize("more", [{}, {"new": 1}])
def test_a_candle_takes_prices_as_text_or_numbers(price: Any, more: dict[str, Any]) -> None:
    body = {"t": 1_700_000_000_000, "o": price, "c": price, "h": price, "l": price, "v": price, **more}
    (candle,) = decode(CANDLES, [body])
    assert isinstance(candle, Candle)
    assert candle.open_text == price
    assert candle.open == candle.high == candle.low == candle.close == candle.volume == Decimal(str(price))
    assert dict(candle.extra) == more


@pytest.mark.parametrize("more", [{}, {"new": 1}])
def test_floats_and_open_numbers_are_read_on_either_road(more: dict[str, Any]) -> None:
    health = decode(Health.basic.request(), {"status": "ok", "uptime": 12.5, "details": {"a": 1.5}, **more})
    assert health.uptime == 12.5
    assert isinstance(health.uptime, float)
    assert decode(Health.basic.request(), {"uptime": 12, **more}).uptime == 12


@pytest.mark.parametrize("more", [{}, {"new": 1}])
def test_a_map_of_numbers_is_read_on_either_road(more: dict[str, Any]) -> None:
    body = [{"symbol": "BTC", "interval": "1m", "indicators": {"rsi": 55.5, "ema": "61000.10", "macd": None}, **more}]
    (signal,) = decode(SIGNALS, body)
    assert isinstance(signal, Signal)
    assert signal.indicators == {"rsi": Decimal("55.5"), "ema": Decimal("61000.10"), "macd": None}


def test_both_roads_lead_to_the_same() -> None:
    """What exact decoding gives, reading without a type and fitting gives too."""
    bodies: list[tuple[Request[Any], bytes]] = [
        (ACTIVE, b'[{"id":"s1","status":"Active","budget":1.10,"createdAt":"2024-05-01T12:00:00+02:00"}]'),
        (CURRENT_TRADE, b'{"id":"t","positions":[{"id":"p","size":"1.0"}]}'),
        (TRADE_LOGS, b'{"data":[{"id":"1","tradeId":"t1","data":{"a":1.5}}],"total":1}'),
        (CANDLES, b'[{"t":1700000000000,"s":"B","i":"1m","o":"1","c":"2","h":"2.5","l":"0.5","v":"9","n":3}]'),
        (SIGNALS, b'[{"symbol":"BTC","interval":"1m","indicators":{"rsi":1.5}}]'),
        (Leaderboard.analytics.request(), b'{"assets":[{"symbol":"BTC","volume":"1.0"}]}'),
    ]
    for call, body in bodies:
        returns = call.route.returns
        assert decode(call, body) == fit(parse(body), returns), call


def test_a_long_table_in_which_some_rows_leave_out_what_was_asked_for_has_it_in_all_of_them() -> None:
    rows = [
        {"s": None if n % 2 else "BTC", "t": 1700000000000 + n, **dict.fromkeys("ohlc", "1"), "x": n} for n in range(41)
    ]
    for _ in ("when it is new", "when it was seen before"):
        candles = decode(CANDLES, rows)
        assert [(candle.symbol, candle.interval) for candle in candles] == [("BTC", "1m")] * 41
        assert [candle.extra["x"] for candle in candles] == list(range(41))


def test_a_plain_value_of_the_right_type_fits_as_it_is() -> None:
    assert fit(["a", "b"], list[str]) == ["a", "b"]
    assert fit({"a": 1}, dict[str, Any]) == {"a": 1}
    assert fit(None, Trade | None) is None
    with pytest.raises(MismatchError, match=r"at \$\[1\]"):
        fit(["a", 1], list[str])


def test_the_name_of_the_field_that_holds_the_rest_cannot_be_forged() -> None:
    (session,) = decode(ACTIVE, [{"id": "s1", "extra": {"a": 1}, "_extra": {"b": 2}, "x": 3}])
    assert dict(session.extra) == {"extra": {"a": 1}, "_extra": {"b": 2}, "x": 3}


def test_every_response_type_refuses_fields_it_does_not_know() -> None:
    """Else a wrapper would decode as an object full of None."""
    families = (Model, CheckedModel)
    models = [
        found for family in families for found in family.__subclasses__() if found.__module__.startswith("alura_async.")
    ]
    assert len(models) > 20
    for model in models:
        assert model.__struct_config__.forbid_unknown_fields, model
        assert model.__struct_config__.frozen, model
