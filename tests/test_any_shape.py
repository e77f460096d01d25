"""Every mechanism by which a reply of another shape becomes what was promised, one by one.

Compositions of all of them are in `test_reshaping.py`; what is exactly of the expected shape, in `test_decode.py`.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from alura_async import (
    Candle,
    Closing,
    CronRun,
    Deposit,
    Fill,
    FillSide,
    FillsSync,
    Health,
    Indicators,
    Items,
    Leaderboard,
    LogEntry,
    Outcome,
    OutcomeUnknownError,
    Page,
    Position,
    PositionSide,
    Profile,
    Referral,
    ReferralCheck,
    Referrals,
    RefusedError,
    Reply,
    Request,
    ServiceHealth,
    SessionStatus,
    ShapeError,
    Signal,
    SignalAction,
    TotalDeposited,
    Trade,
    TradingKey,
    TradingSession,
    TradingSessions,
    UsdcVerification,
    User,
)
from alura_async.core.unwrap import below, last_name
from alura_async.groups.auth import Auth

ACTIVE = TradingSessions.active.request()
CURRENT_TRADE = TradingSessions.current_trade.request()
CREATE = TradingSessions.create.request(budget=100, profit_target=40, asset="BTC")
CLOSE = TradingSessions.close_position.request("p1")
SESSION_LOGS = TradingSessions.logs.request("s1")
TRADE_LOGS = TradingSessions.trade_logs.request("t1")
PROFILE = User.profile.request()
FILLS = User.sync_fills.request()
CANDLES = Indicators.candles.request("BTC", "1m")
LATEST = Indicators.latest_candles.request()
HISTORY = Indicators.candle_history.request("ETH", interval="1h")
SIGNALS = Indicators.signals.request("BTC", "1m")
SYMBOLS = Indicators.symbols.request()
HEALTH = Health.basic.request()

NOON = datetime(2026, 3, 1, 12, 0, 30, 250_000, tzinfo=UTC)
NOON_MS = 1_772_366_430_250
MINUTE_MS = 60_000
FIRST_MS = 1_772_366_400_000


def reply(call: Request[Any], body: Any, content_type: str = "application/json", **headers: str) -> Reply[Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(call, 200, {"Content-Type": content_type, "Content-Length": str(len(content)), **named}, content)


def decode(call: Request[Any], body: Any, content_type: str = "application/json", **headers: str) -> Any:
    """What the call returns when the server answers with this."""
    return reply(call, body, content_type, **headers).decode()


# What is wrapped

SESSION = {"id": "s1", "budget": "100"}
IS_SESSION = TradingSession(id="s1", budget=Decimal(100))


@pytest.mark.parametrize(
    ("body", "extra"),
    [
        ([SESSION], {}),
        ({"data": [SESSION]}, {}),
        ({"success": True, "data": [SESSION], "timestamp": 5}, {"$.success": True, "$.timestamp": 5}),
        ({"ok": True, "result": {"items": [SESSION], "total": 1}}, {"$.ok": True, "$.result.total": 1}),
        ({"response": {"type": "x", "data": [SESSION]}}, {"$.response.type": "x"}),
        ({"sessions": [SESSION], "total": 1}, {"$.total": 1}),
        ({"openSessions": [SESSION], "closedSessions": []}, {"$.closedSessions": []}),
        ({"open": [SESSION], "closed": [{**SESSION, "kind": "quick"}]}, {"$.closed": [{**SESSION, "kind": "quick"}]}),
        ({"activeSessions": [SESSION], "closedSessions": [{"id": "s2"}]}, {"$.closedSessions": [{"id": "s2"}]}),
        ({"tradingSessions": {"nodes": [SESSION]}}, {}),
        ({"data": {"edges": [{"node": SESSION, "cursor": "a"}]}}, {}),
        ({"whatever": [SESSION]}, {}),
        ({"session": SESSION}, {}),
        ({"odd name": 1, "data": [SESSION]}, {"$['odd name']": 1}),
        (SESSION, {}),
        ({"s1": {"budget": "100"}}, {}),
        ({"s1": SESSION}, {}),
        ({"data": {"s1": {"budget": "100"}}, "total": 1}, {"$.total": 1}),
        ({"id": ["s1"], "budget": ["100"]}, {}),
        ({"data": {"id": ["s1"], "budget": ["100"], "total": 1}}, {"$.data.total": 1}),
        ([{"type": "x", "session": SESSION}], {}),
        ({"data": [{"type": "sessions", "id": "s1", "attributes": {"budget": "100"}}]}, {}),
    ],
    ids=lambda value: json.dumps(value) if value else "",
)
def test_a_list_is_found_in_whatever_form(body: Any, extra: dict[str, Any]) -> None:
    found = decode(ACTIVE, body)
    assert isinstance(found, Items)
    assert [(session.id, session.budget) for session in found] == [("s1", Decimal(100))]
    assert found.extra == extra


@pytest.mark.parametrize(
    "body",
    [[], {}, {"data": []}, {"sessions": []}, {"success": True, "data": {"sessions": [], "total": 0}}, {"data": {}}],
)
def test_an_empty_list_is_one_where_the_server_says_so(body: Any) -> None:
    assert decode(ACTIVE, body) == []


@pytest.mark.parametrize(
    "body",
    [
        *(None, b"", {"data": None}, {"success": True}, {"message": "No sessions"}, {"errors": []}, {"total": 0}),
        *({"meta": {}}, {"data": {"x": 1}}, "none", 0, [[]]),
    ],
    ids=repr,
)
def test_a_list_is_never_empty_because_nobody_understood_the_reply(body: Any) -> None:
    """A bot would take it for being flat."""
    with pytest.raises(ShapeError) as raised:
        decode(ACTIVE, body)
    assert raised.value.outcome is Outcome.DONE


@pytest.mark.parametrize(
    "body", [None, b"", b" \n", {}, [], {"data": None}, {"success": True, "data": None, "message": "x"}]
)
def test_no_current_trade_is_none_where_the_server_says_so(body: Any) -> None:
    assert decode(CURRENT_TRADE, body) is None


@pytest.mark.parametrize(
    "body", [{"message": "x"}, {"data": {"x": 1}}, {"success": True}, {"data": None, "error": "boom"}, 0, "no"]
)
def test_no_current_trade_is_never_told_by_a_reply_that_nobody_understood(body: Any) -> None:
    with pytest.raises(ShapeError):
        decode(CURRENT_TRADE, body)


@pytest.mark.parametrize(
    ("call", "body", "value"),
    [
        (CREATE, {"success": True, "message": "Created", "data": SESSION}, IS_SESSION),
        (CREATE, {"jsonrpc": "2.0", "id": "r7", "result": SESSION}, IS_SESSION),
        (CREATE, {"message": "Created", "session": SESSION}, IS_SESSION),
        (CREATE, {"data": {"session": SESSION, "id": "r7"}}, IS_SESSION),
        (CREATE, [SESSION], IS_SESSION),
        (CREATE, {"sessionId": "s1", "budget": 100}, IS_SESSION),
        (CREATE, {"data": {"id": "s1", "type": "sessions", "attributes": {"budget": "100"}}}, IS_SESSION),
        (CURRENT_TRADE, {"trade": {"id": "t1", "positions": []}}, Trade(id="t1", positions=[])),
        (CURRENT_TRADE, {"currentTrade": {"id": "t1"}}, Trade(id="t1")),
        (
            CURRENT_TRADE,
            {"id": "t1", "positions": {"id": "p1", "size": 1}},
            Trade(id="t1", positions=[Position(id="p1", size=Decimal(1))]),
        ),
        (
            CURRENT_TRADE,
            {"id": "t1", "positions": {"p1": {"size": 1}}},
            Trade(id="t1", positions=[Position(id="p1", size=Decimal(1))]),
        ),
        (
            CURRENT_TRADE,
            {"id": "t1", "positions": {"id": ["p1"], "size": [1]}},
            Trade(id="t1", positions=[Position(id="p1", size=Decimal(1))]),
        ),
        (PROFILE, {"user": {"id": "u1"}}, Profile(id="u1")),
        (PROFILE, [{"id": "u1"}], Profile(id="u1")),
        (FILLS, [{"id": "f1"}], FillsSync(fills=[Fill(id="f1")])),
        (FILLS, 3, FillsSync(synced=3)),
        (SYMBOLS, ["BTC", "ETH"], ["BTC", "ETH"]),
        (SYMBOLS, {"symbols": ["BTC", "ETH"], "count": 2}, ["BTC", "ETH"]),
        (SYMBOLS, [{"symbol": "BTC"}, {"name": "ETH"}], ["BTC", "ETH"]),
        (SYMBOLS, {"BTC": {"index": 0}, "ETH": {"index": 1}}, ["BTC", "ETH"]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict | list) else "",
)
def test_an_object_is_found_in_whatever_form(call: Request[Any], body: Any, value: Any) -> None:
    found = decode(call, body)
    plain = (
        [getattr(found, name) for name in type(value).__struct_fields__ if name != "_extra"]
        if not isinstance(value, list)
        else found
    )
    wanted = (
        [getattr(value, name) for name in type(value).__struct_fields__ if name != "_extra"]
        if not isinstance(value, list)
        else value
    )
    assert plain == wanted


def test_a_column_may_have_the_name_of_the_things_in_the_table() -> None:
    page = decode(
        Leaderboard.rankings.request(), {"data": {"rank": [None], "ranking": [2], "userId": ["u"], "pnl": ["1"]}}
    )
    assert [(place.rank, place.user_id, place.pnl) for place in page.data] == [(2, "u", 1)]


def test_what_a_row_of_an_unknown_kind_holds_is_kept_beside_the_list() -> None:
    found = decode(SYMBOLS, [{"symbol": "BTC", "decimals": 5}])
    assert (found, found.extra) == (["BTC"], {"$[0]": {"decimals": 5}})
    found = decode(SYMBOLS, {"BTC": {"index": 0}})
    assert (found, found.extra) == (["BTC"], {"$.BTC": {"index": 0}})


# Names


@pytest.mark.parametrize(
    "name", ["tradeId", "trade_id", "TradeId", "trade-id", "TRADE_ID", "tradeID", "trade"], ids=str
)
def test_a_name_may_be_spelt_in_any_way(name: str) -> None:
    assert decode(CREATE, {"_id": "s1", name: "t1"}) == TradingSession(id="s1", trade_id="t1")


@pytest.mark.parametrize(
    ("body", "position"),
    [
        (
            {"coin": "BTC", "szi": "-0.5", "entryPx": "60000", "leverage": {"type": "cross", "value": 20}},
            Position(
                id="p",
                symbol="BTC",
                side=PositionSide.SHORT,
                size=Decimal("0.5"),
                entry_price=Decimal(60000),
                leverage=Decimal(20),
                _extra={"leverage": {"type": "cross"}},
            ),
        ),
        ({"szi": "0.5"}, Position(id="p", side=PositionSide.LONG, size=Decimal("0.5"))),
        ({"qty": 2, "direction": "SELL"}, Position(id="p", side=PositionSide.SHORT, size=Decimal(2))),
        ({"asset": 3, "state": "Open"}, Position(id="p", asset_index=3, status=SessionStatus("Open"))),
        ({"asset": "SOL"}, Position(id="p", symbol="SOL")),
        ({"unrealisedPnl": 1, "closedPnl": 2}, Position(id="p", unrealized_pnl=Decimal(1), realized_pnl=Decimal(2))),
        ({"trade": {"id": "t1", "status": "x"}}, Position(id="p", trade_id="t1", _extra={"trade": {"status": "x"}})),
        ({"marginUsdc": "5"}, Position(id="p", margin=Decimal(5))),
    ],
)
def test_synonyms_and_the_exchanges_short_names_are_known(body: dict[str, Any], position: Position) -> None:
    trade = decode(CURRENT_TRADE, {"id": "t", "positions": [{"id": "p", **body}]})
    assert trade.positions == [position]


def test_a_fields_own_name_goes_before_others_and_both_are_kept() -> None:
    body = {"state": "closed", "status": "active", "_id": "other", "id": "s1", "ts": 1, "created": None}
    session = decode(CREATE, body)
    assert session == TradingSession(
        id="s1", status=SessionStatus.ACTIVE, _extra={"state": "closed", "_id": "other", "ts": 1}
    )


def test_a_value_that_does_not_fit_leaves_the_field_to_the_next_name() -> None:
    session = decode(CREATE, {"id": "s1", "status": {"code": 3}, "state": "active"})
    assert session == TradingSession(id="s1", status=SessionStatus.ACTIVE, _extra={"status": {"code": 3}})


# Single values


@pytest.mark.parametrize(
    "value", ["1.50", 1.5, "1.5e0", "15E-1", " 1.50 ", {"$numberDecimal": "1.50"}, {"value": "1.50"}, "+1.5"], ids=repr
)
def test_an_amount_may_have_any_form(value: Any) -> None:
    assert decode(CREATE, {"id": "s1", "budget": value, "new": 1}).budget == Decimal("1.5")


@pytest.mark.parametrize("value", ["1,5", "$1.5", "1.5 USDC", "", "NaN", "0x10", True, [1.5], {"a": 1}], ids=repr)
def test_what_is_no_amount_is_none_and_is_kept(value: Any) -> None:
    session = decode(CREATE, {"id": "s1", "budget": value})
    assert (session.budget, session.extra) == (None, {"budget": value})


@pytest.mark.parametrize(
    "value",
    [
        *("2026-03-01T12:00:30.250Z", "2026-03-01T12:00:30.25+00:00", "2026-03-01T13:00:30.250+01:00"),
        *("2026-03-01 12:00:30.250", "2026-03-01T12:00:30.2500000Z", "2026-03-01T12:00:30,250+0000"),
        *(
            "2026-03-01 12:00:30.250 +0000 UTC",
            {"$date": "2026-03-01T12:00:30.250Z"},
            {"$date": {"$numberLong": str(NOON_MS)}},
        ),
        *(
            NOON_MS / 1000,
            NOON_MS,
            NOON_MS * 1000,
            NOON_MS * 10**6,
            str(NOON_MS),
            f"{NOON_MS / 1000:.3f}",
            f"{NOON_MS}.0",
        ),
    ],
    ids=repr,
)
def test_a_time_may_have_any_form(value: Any) -> None:
    assert decode(CREATE, {"id": "s1", "createdAt": value}).created_at == NOON


def test_whole_seconds_a_day_and_http_dates_are_times() -> None:
    for value in ("Sun, 01 Mar 2026 12:00:30 GMT", NOON_MS // 1000, str(NOON_MS // 1000)):
        assert decode(CREATE, {"id": "s1", "createdAt": value}).created_at == NOON.replace(microsecond=0)
    assert decode(CREATE, {"id": "s1", "createdAt": "2026-03-01"}).created_at == datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value", [0, "", "0", -1, 1, "0001-01-01T00:00:00Z", "never", 10**30, True, "2026-13-01"], ids=repr
)
def test_what_is_no_time_says_nothing_of_when_it_was_closed(value: Any) -> None:
    """Some servers have 0 or the year 1 where there is no time; a session would read as closed."""
    session = decode(CREATE, {"id": "s1", "closedAt": value, "x": 1})
    assert (session.closed_at, session.is_closed) == (None, False)
    assert session.extra["closedAt"] == value


@pytest.mark.parametrize(
    ("value", "known"),
    [("3", 3), (3.0, 3), ("3.0", 3), ("3e0", 3), (3.5, None), ("three", None), (True, None), ("1e99999", None)],
    ids=repr,
)
def test_a_whole_number_may_be_text(value: Any, known: int | None) -> None:
    session = decode(CREATE, {"id": "s1", "maxPositions": value})
    assert session.max_positions == known
    assert session.extra == ({} if known is not None else {"maxPositions": value})


@pytest.mark.parametrize(
    ("value", "known"), [("true", True), ("False", False), (1, True), (0, False), (2, None), ("yes", None)], ids=repr
)
def test_a_flag_may_be_a_word_or_a_number(value: Any, known: bool | None) -> None:
    assert decode(CREATE, {"id": "s1", "maxWalletBudget": value}).max_wallet_budget is known


def test_an_id_may_be_a_number_and_an_enumeration_any_text() -> None:
    assert decode(CREATE, {"id": 7, "status": "LIQUIDATED"}) == TradingSession(
        id="7", status=SessionStatus("LIQUIDATED")
    )
    assert decode(CREATE, {"_id": {"$oid": "65f0"}}) == TradingSession(id="65f0")
    (fill,) = decode(FILLS, {"fills": [{"tid": 123, "side": "A", "px": "1.0", "sz": "2", "coin": "ETH"}]}).fills
    assert fill == Fill(id="123", side=FillSide.SELL, price=Decimal("1.0"), size=Decimal(2), symbol="ETH")


def test_a_map_may_be_a_list_of_names_and_values() -> None:
    (signal,) = decode(SIGNALS, [{"indicators": [{"name": "rsi", "value": "55.5"}, {"name": "ema", "value": None}]}])
    assert signal.indicators == {"rsi": Decimal("55.5"), "ema": None}
    (signal,) = decode(SIGNALS, [{"indicators": {"rsi": 55.5, "macd": {"line": 1}}, "signal": "BUY"}])
    assert signal == Signal(
        symbol="BTC",
        interval="1m",
        action=SignalAction.BUY,
        indicators={"rsi": Decimal("55.5")},
        _extra={"indicators": {"macd": {"line": 1}}},
    )


def test_a_secret_is_one_by_any_of_its_names_and_in_any_form() -> None:
    call = Auth.trading_key.request()
    for body in (
        {"tradingKey": "0x51"},
        {"data": {"agentPrivateKey": "0x51"}},
        {"trading_key": {"privateKey": "0x51"}},
    ):
        key = decode(call, body)
        assert isinstance(key, TradingKey)
        assert key.private_key is not None
        assert key.private_key.reveal() == "0x51"
        assert "0x51" not in repr(key)


def test_the_documented_sign_in_may_be_wrapped_and_its_time_be_text() -> None:
    call = Auth.verify.request("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x51")
    token = decode(call, {"success": True, "data": {"accessToken": "t", "expiresIn": "86400"}})
    assert (token.access_token.reveal(), token.expires_in) == ("t", 86400)


# Candles

ROW = {"o": "1.0", "h": "3", "l": "0.5", "c": "2", "v": "9"}
LONG = {"open": "1.0", "high": "3", "low": "0.5", "close": "2", "volume": "9"}


@pytest.mark.parametrize(
    "row",
    [
        {"t": FIRST_MS, "T": FIRST_MS + 59_999, "s": "BTC", "i": "1m", **ROW, "n": 4},
        {"t": FIRST_MS * 1000, **ROW},
        {"timestamp": FIRST_MS, **LONG},
        {"time": FIRST_MS // 1000, **LONG},
        {"openTime": "2026-03-01T12:00:00.000Z", "closeTime": "2026-03-01T12:00:59.999Z", **LONG, "trades": "4"},
        {"open_time": FIRST_MS, "symbol": "BTC", "interval": "1m", **LONG, "trade_count": 4},
        [FIRST_MS, "1.0", "3", "0.5", "2", "9"],
        [FIRST_MS, 1.0, 3, 0.5, 2, 9],
        [FIRST_MS * 10**6, "1.0", "3", "0.5", "2"],
        [FIRST_MS, "1.0", "3", "0.5", "2", "9", FIRST_MS + 59_999, "180"],
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("call", [CANDLES, HISTORY], ids=["candles", "history"])
def test_a_candle_may_have_any_of_the_common_forms(call: Request[Any], row: Any) -> None:
    for body in ([row], {"candles": [row]}, row if isinstance(row, dict) else [row]):
        (candle,) = decode(call, body)
        assert isinstance(candle, Candle)
        assert candle.open_time_ms == FIRST_MS
        assert candle.close_time_ms in (None, FIRST_MS + 59_999)
        assert [candle.open, candle.high, candle.low, candle.close] == [1, 3, Decimal("0.5"), 2]
        assert candle.volume in (None, 9)
        assert candle.trades in (None, 4)
        if call is CANDLES:
            assert (candle.symbol, candle.interval) == ("BTC", "1m")
        else:
            assert (candle.symbol, candle.interval) in (("ETH", "1h"), ("BTC", "1m"))


def test_columns_and_maps_of_candles_are_read() -> None:
    columns = {
        "s": "ok",
        "t": [FIRST_MS, FIRST_MS + MINUTE_MS],
        **{name: [value, value] for name, value in ROW.items()},
    }
    found = decode(CANDLES, columns)
    assert [candle.open_time_ms for candle in found] == [FIRST_MS, FIRST_MS + MINUTE_MS]
    assert {candle.symbol for candle in found} == {"BTC"}
    assert found.extra == {"$.s": "ok"}
    for entry in ({"t": FIRST_MS, **ROW}, [FIRST_MS, "1.0", "3", "0.5", "2", "9"], [{"t": FIRST_MS, **ROW}]):
        found = decode(LATEST, {"BTC": entry, "kPEPE": entry})
        assert [(candle.symbol, candle.open) for candle in found] == [("BTC", 1), ("kPEPE", 1)]


def test_candles_are_in_ascending_order_whichever_way_they_come() -> None:
    rows = [{"t": FIRST_MS + minute * MINUTE_MS, "s": "BTC", "i": "1m", **ROW} for minute in range(3)]
    for given in (rows, rows[::-1], {"data": rows[::-1]}):
        assert [candle.open_time_ms for candle in decode(CANDLES, given)] == [row["t"] for row in rows]


# Text, nothing, and what says no


@pytest.mark.parametrize(
    ("call", "body", "content_type", "value"),
    [
        (HEALTH, b"OK", "text/plain", ServiceHealth(status="OK")),
        # Express announces any text as HTML.
        (HEALTH, b"OK", "text/html; charset=utf-8", ServiceHealth(status="OK")),
        (HEALTH, "ok", "application/json", ServiceHealth(status="ok")),
        (CLOSE, b"Position closed", "text/plain", Closing(message="Position closed", position_id="p1")),
        (CLOSE, b"", "application/json", Closing(position_id="p1")),
        (CLOSE, {"success": True}, "application/json", Closing(position_id="p1", _extra={"success": True})),
        (CLOSE, {"message": "Closed"}, "application/json", Closing(message="Closed", position_id="p1")),
        (TradingSessions.trigger_cron.request(), b"triggered", "text/plain", CronRun(message="triggered")),
        (
            UsdcVerification.total_deposited.request(),
            "1234.50",
            "application/json",
            TotalDeposited(total=Decimal("1234.50")),
        ),
        (
            UsdcVerification.total_deposited.request(),
            1234.5,
            "application/json",
            TotalDeposited(total=Decimal("1234.5")),
        ),
        (UsdcVerification.verify.request("0x1"), True, "application/json", Deposit(verified=True)),
        (Referrals.check.request("A"), True, "application/json", ReferralCheck(valid=True)),
        (Referrals.create_code.request("u1"), "CODE", "application/json", Referral(code="CODE", user_id="u1")),
    ],
)
def test_a_reply_may_be_a_word_or_nothing(call: Request[Any], body: Any, content_type: str, value: Any) -> None:
    assert decode(call, body, content_type) == value


def test_text_announced_as_html_is_no_proof_that_an_order_was_made() -> None:
    with pytest.raises(OutcomeUnknownError):
        decode(CLOSE, b"come back later", "text/html")


@pytest.mark.parametrize(
    "body",
    [
        {"success": False, "data": [SESSION]},
        {"ok": False},
        {"data": {"success": False}},
        {"result": {"ok": "false"}},
        {"Success": False},
    ],
    ids=json.dumps,
)
def test_a_success_that_says_no_is_an_error(body: Any) -> None:
    with pytest.raises(RefusedError):
        decode(ACTIVE, body)
    with pytest.raises(OutcomeUnknownError):
        decode(CREATE, body)


# Pages

PAGES = {"$.totalPages": 3}
TO_PAGE_2: Page[LogEntry] = Page(data=[], has_more=True, next={"page": "2"})


@pytest.mark.parametrize(
    ("body", "headers", "page"),
    [
        ({"data": "rows", "total": 9, "page": 2, "limit": 1}, {}, Page(data=[], total=9, page=2, limit=1)),
        (
            {"items": "rows", "meta": {"totalItems": "9", "currentPage": 2, "itemsPerPage": 1, "itemCount": 1}},
            {},
            Page(data=[], total=9, page=2, limit=1, _extra={"$.meta": {"itemCount": 1}}),
        ),
        (
            {"success": True, "data": {"items": "rows", "meta": {"total": 9, "hasNextPage": False}}},
            {},
            Page(data=[], total=9, has_more=False, _extra={"$.success": True}),
        ),
        (
            {"result": "rows", "pagination": {"page": 1, "limit": 1, "total": 9, "hasNext": True}},
            {},
            Page(data=[], total=9, page=1, limit=1, has_more=True),
        ),
        (
            {"count": 9, "next": "/x?limit=1&offset=1", "previous": None, "results": "rows"},
            {},
            Page(
                data=[],
                total=9,
                has_more=True,
                next={"limit": "1", "offset": "1"},
                _extra={"$.next": "/x?limit=1&offset=1", "$.previous": None},
            ),
        ),
        ({"count": 1, "results": "rows"}, {}, Page(data=[], _extra={"$.count": 1})),
        ({"items": "rows", "nextCursor": "abc"}, {}, Page(data=[], has_more=True, next={"cursor": "abc"})),
        ({"items": "rows", "next_page_token": "a"}, {}, Page(data=[], has_more=True, next={"page_token": "a"})),
        ({"items": "rows", "nextCursor": None}, {}, Page(data=[], has_more=False)),
        ({"items": "rows", "nextPage": 3}, {}, Page(data=[], has_more=True, next={"page": "3"})),
        (
            {"data": "rows", "links": {"next": {"href": "https://other.example/y?page=2"}}},
            {},
            Page(
                data=[],
                has_more=True,
                next={"page": "2"},
                _extra={"$.links": {"next": {"href": "https://other.example/y?page=2"}}},
            ),
        ),
        (
            {"content": "rows", "totalElements": 9, "last": True},
            {},
            Page(data=[], total=9, has_more=False, _extra={"$.last": True}),
        ),
        ("rows", {"X_Total_Count": "9"}, Page(data=[], total=9)),
        (
            "rows",
            {"Link": '</x?page=1>; rel="first", </x?page=3&limit=1>; rel="next"'},
            Page(data=[], has_more=True, next={"page": "3", "limit": "1"}),
        ),
        ("rows", {}, Page(data=[])),
        # What names no next page may go by numbers.
        ({"data": "rows", "nextCursor": None, "total": 9}, {}, Page(data=[], total=9)),
        ({"total": 9, "nextCursor": "", "data": "rows"}, {}, Page(data=[], total=9, _extra={"$.nextCursor": ""})),
        (
            {"data": "rows", "nextCursor": None, "total": 9, "page": 9, "limit": 1},
            {},
            Page(data=[], total=9, page=9, limit=1, has_more=False),
        ),
        ({"data": "rows", "page": 1, "totalPages": 3}, {}, Page(data=[], page=1, has_more=True, _extra=PAGES)),
        ({"data": "rows", "page": 3, "totalPages": 3}, {}, Page(data=[], page=3, has_more=False, _extra=PAGES)),
        (
            {"data": "rows", "page": 1, "last_page": 1},
            {},
            Page(data=[], page=1, has_more=False, _extra={"$.last_page": 1}),
        ),
        ({"data": "rows", "lastPage": True}, {}, Page(data=[], has_more=False, _extra={"$.lastPage": True})),
        ({"data": "rows", "totalItems": -1}, {}, Page(data=[], _extra={"$.totalItems": -1})),
        # A cursor may hold anything, and a link need not have a query.
        ({"data": "rows", "nextCursor": "ab?c=d"}, {}, Page(data=[], has_more=True, next={"cursor": "ab?c=d"})),
        ({"data": "rows", "nextCursor": "/ab+c=="}, {}, Page(data=[], has_more=True, next={"cursor": "/ab+c=="})),
        (
            {"data": "rows", "next": "/logs/page/2"},
            {},
            Page(data=[], has_more=True, _extra={"$.next": "/logs/page/2"}),
        ),
        (
            {"data": "rows", "nextUrl": "logs?page=2"},
            {},
            Page(data=[], has_more=True, next={"page": "2"}, _extra={"$.nextUrl": "logs?page=2"}),
        ),
        ({"data": "rows", "next": True}, {}, Page(data=[], has_more=True, _extra={"$.next": True})),
        (
            {"data": "rows", "links": {"next": {"href": None}}},
            {},
            Page(data=[], has_more=False, _extra={"$.links": {"next": {"href": None}}}),
        ),
        # Links in a header.
        ("rows", {"X_Total_Count": "9" * 5000}, Page(data=[])),
        ("rows", {"Link": '</x?page=2>; rel="next-archive"'}, Page(data=[])),
        ("rows", {"Link": '</x?page=2>; title="; rel=next"'}, Page(data=[])),
        ("rows", {"Link": '</x?page=2>; rel="prev"; rel="next"'}, Page(data=[])),
        *(
            ("rows", {"Link": f"</x?page=1>; rel=first, </x?page=2>; {said}"}, TO_PAGE_2)
            for said in (
                "rel=next",
                "REL=Next",
                "rel='next'",
                'rel = "prev next"',
                'title="a, <b>"; rel="next"',
                'rel="next"; title="b"',
            )
        ),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict | str) else "",
)
def test_what_a_server_says_of_a_page_is_understood(body: Any, headers: dict[str, str], page: Page[LogEntry]) -> None:
    text = json.dumps(body).replace('"rows"', '[{"id": "1", "tradeId": "t1"}]')
    found = decode(TRADE_LOGS, text.encode(), **headers)
    assert found.data == [LogEntry(id="1", trade_id="t1")]
    for name in ("total", "page", "limit", "has_more", "next"):
        assert getattr(found, name) == getattr(page, name), name
    assert found.extra == page.extra


@pytest.mark.parametrize(
    ("body", "headers", "is_complete"),
    [
        ("rows", {}, None),
        ({"data": "rows"}, {}, None),
        ({"data": "rows", "page": 1, "limit": 20, "success": True}, {}, None),
        ({"data": "rows", "total": 1}, {}, True),
        ({"data": "rows", "hasMore": False}, {}, True),
        ({"data": "rows", "nextCursor": None}, {}, True),
        ({"data": "rows", "total": 2, "page": 1}, {}, False),
        ({"data": "rows", "total": 2, "hasMore": False}, {}, False),
        ({"count": 3, "sessions": []}, {}, False),
        ({"data": "rows", "hasMore": True}, {}, False),
        ({"data": "rows", "meta": {"next": "/x?page=2"}}, {}, False),
        ({"data": "rows", "totalPages": 3}, {}, False),
        ({"data": "rows", "page": 2}, {}, False),
        ("rows", {"X_Total_Count": "1"}, True),
        ("rows", {"X_Total_Count": "2"}, False),
        ("rows", {"Link": '</x?page=2>; rel="next"'}, False),
    ],
)
def test_a_list_says_whether_it_is_complete(body: Any, headers: dict[str, str], is_complete: bool | None) -> None:
    text = json.dumps(body).replace('"rows"', '[{"id": "s1", "tradeId": "t1"}]')
    found = decode(ACTIVE, text.encode(), **headers)
    assert isinstance(found, Items)
    assert found.is_complete is is_complete
    # It is told besides, and nothing is taken away.
    around = {} if body == "rows" else {f"$.{name}" for name in body} - {"$.data", "$.sessions"}
    assert set(found.extra) == set(around)


@pytest.mark.parametrize("name", ["data", "b.c", "a b", "it's", "['", "b['c", "a]", "'", ""])
def test_the_last_name_of_a_path_is_the_one_that_was_put_there(name: str) -> None:
    for path in ("$", "$.a", "$['x y']", "$.a['x.y']", "$['x']['y z']"):
        assert last_name(below(path, name)) == name


# What the path says


def test_what_the_path_names_is_filled_in_where_the_reply_leaves_it_out() -> None:
    assert decode(SESSION_LOGS, [{"message": "a"}, {"message": "b", "sessionId": "s2"}]) == [
        LogEntry(message="a", session_id="s1"),
        LogEntry(message="b", session_id="s2"),
    ]
    assert decode(Leaderboard.user.request("u/1"), {"rank": 3}).user_id == "u/1"
    # A reply of exactly the expected shape is no exception.
    assert decode(Referrals.get.request("u1"), b'{"code":"A"}').user_id == "u1"


# Tables that were seen before


def candle_rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "time": (FIRST_MS + index * MINUTE_MS) // 1000,
            "open": f"{100 + index}.10",
            "high": 999.5,
            "low": 1,
            "close": "5",
            "volume": index,
        }
        for index in range(count)
    ]


def fresh(call: Request[Any]) -> Request[Any]:
    """The same call of a route that has not seen any reply."""
    from alura_async import Route

    route: Route[Any] = Route(call.method, call.route.template, call.route.returns)
    return Request(route, call.path, call.query, call.body)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows,
        lambda rows: [{**rows[0], "volume": None}, *rows[1:]],
        lambda rows: [*rows[:-1], {**rows[-1], "open": 7}],
        lambda rows: [*rows[:20], {**rows[20], "high": "12345678901234567890.12345678901234567890"}, *rows[21:]],
        lambda rows: [*rows[:20], {**rows[20], "low": 0.12345678901234567}, *rows[21:]],
        lambda rows: [*rows[:20], {**rows[20], "vwap": 1}, *rows[21:]],
        lambda rows: [{name: item for name, item in rows[0].items() if name != "volume"}, *rows[1:]],
        lambda rows: rows[:5],
        lambda rows: [{**row, "time": row["time"] * 1000} for row in rows],
        lambda rows: rows[::-1],
        lambda rows: [*rows[:9], {**rows[9], "time": "2026-03-01T12:09:00Z"}, *rows[10:]],
    ],
    ids=["same", "null", "whole", "long-text", "long-number", "more", "less", "few", "ms", "down", "iso"],
)
def test_what_was_learned_from_one_reply_changes_nothing_in_the_next(change: Any) -> None:
    rows = candle_rows(40)
    learnt = fresh(CANDLES)
    first = decode(learnt, rows)
    assert decode(learnt, rows) == first
    for body in (change(rows), {"data": change(rows), "total": 40}):
        wanted, found = decode(fresh(CANDLES), body), decode(learnt, body)
        assert found == wanted
        assert [candle.extra for candle in found] == [candle.extra for candle in wanted]
        assert found.extra == wanted.extra
        assert decode(learnt, rows) == first


@pytest.mark.parametrize("form", ["rows", "arrays", "columns"])
@pytest.mark.parametrize("digits", ["0.1234567890123456789", "12345678901234567.5", "0.10000000000000000000001"])
def test_a_number_in_a_table_keeps_every_digit(form: str, digits: str) -> None:
    """Be it in a table of a shape that was learned from numbers with fewer."""
    call = fresh(CANDLES)
    for row in (7, 35):
        for low in ("0.5", digits):
            lows = ["0.5"] * 40
            lows[row] = low
            times = [FIRST_MS * 1000 + index * MINUTE_MS * 1000 for index in range(40)]
            if form == "rows":
                body = (
                    "["
                    + ",".join(f'{{"t":{t},"o":1.5,"h":2.5,"l":{x},"c":1.5}}' for t, x in zip(times, lows, strict=True))
                    + "]"
                )
            elif form == "arrays":
                body = "[" + ",".join(f"[{t},1.5,2.5,{x},1.5,9]" for t, x in zip(times, lows, strict=True)) + "]"
            else:
                ones = ",".join(["1.5"] * 40)
                body = f'{{"t":{times},"o":[{ones}],"h":[{ones}],"c":[{ones}],"l":[{",".join(lows)}]}}'
            found = decode(call, body.encode())
            assert [candle.low for candle in found] == [Decimal(text) for text in lows]


@pytest.mark.parametrize(
    ("beside", "missing"),
    [
        (lambda row: {"firstTradeId": 10**15 + row}, {"firstTradeId": 0}),
        (lambda row: {"firstTradeId": str(10**15 + row)}, {"firstTradeId": "none"}),
        (lambda row: {"weight": 1.5 + (row + 1) / 2**52}, {"weight": 1.5}),
        (lambda row: {"t": FIRST_MS * 1000 + row}, {"t": 999_999_999_999_999}),
        (lambda row: {"t": FIRST_MS * 10**6 + row, "T": FIRST_MS * 1000 + row}, {"T": 999_999_999_999_999}),
    ],
    ids=["whole numbers", "texts", "fractions", "µs", "ns and µs"],
)
def test_a_number_that_is_long_where_another_one_is_short_for_once_keeps_every_digit(beside: Any, missing: Any) -> None:
    """Neither is among the rows that are looked at first, and in the whole body are as many long ones as ever."""
    clean = [
        {"t": FIRST_MS + row * MINUTE_MS, "o": 1.5, "h": 1.5, "l": 1.5, "c": 1.5, "v": 1.25, **beside(row)}
        for row in range(500)
    ]
    for short, long in ((130, 130), (130, 240)):
        rows = [dict(row) for row in clean]
        rows[short] |= missing
        rows[long]["v"] = "long"
        body = json.dumps(rows).replace('"long"', "12345678.123456789012").encode()
        for seen in ([], clean):
            call = fresh(CANDLES)
            if seen:
                decode(call, seen)
            for _ in range(2):
                assert decode(call, body)[long].volume == Decimal("12345678.123456789012")


def test_names_of_a_server_are_no_code() -> None:
    name = "x}) or __import__('os').abort() or ({'"
    rows = [{**row, name: index, "a\nb": None, "": "e"} for index, row in enumerate(candle_rows(40))]
    call = fresh(CANDLES)
    for _ in range(2):
        assert [candle.extra[name] for candle in decode(call, rows)] == list(range(40))


def test_a_table_may_be_learned_in_many_threads_at_once() -> None:
    call = fresh(CANDLES)
    bodies = [reply(call, candle_rows(40 + index)) for index in range(4)]
    bodies += [reply(call, {"data": [{**row, "n": 1} for row in candle_rows(40)]})]
    wrong: list[Any] = []

    def decode_all() -> None:
        for _ in range(20):
            for one in bodies:
                found = one.decode()
                if [candle.open_time for candle in found] != [
                    datetime.fromtimestamp(FIRST_MS / 1000, UTC) + timedelta(minutes=index)
                    for index in range(len(found))
                ]:
                    wrong.append(found)

    threads = [threading.Thread(target=decode_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# What must not be misread: a bot acts on it

ANOTHER = {"id": "u1", "status": "active", "createdAt": "2026-03-01T12:00:00Z", "symbol": "BTC", "budget": "5"}
TOLD = {"id": "s1", "status": "active", "budget": "100"}


@pytest.mark.parametrize(
    "body",
    [
        {"user": ANOTHER, "sessions": None},
        {"positions": [ANOTHER]},
        {"trades": [ANOTHER]},
        {"closedSessions": [ANOTHER]},
        {"quick": [TOLD], "advance": [TOLD]},
        {"message": "Session not found", "user": ANOTHER},
        {"current": TOLD, "previous": [ANOTHER], "user": ANOTHER, "sessions": None},
        {"id": "s1", "status": "active", "trade": ANOTHER},
        [None],
    ],
    ids=json.dumps,
)
def test_no_other_thing_is_taken_for_a_session(body: Any) -> None:
    with pytest.raises(ShapeError):
        decode(ACTIVE, body)


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ({"data": {"s1": {"budget": "1"}, "s2": {"budget": "1", "profitTarget": "2", "kind": "quick"}}}, ["s1", "s2"]),
        ({"BTC": TOLD, "ETH": {"id": "s2"}}, ["s1", "s2"]),
        ([{**TOLD, "data": {**ANOTHER, "kind": "quick"}}], ["s1"]),
        ([{**TOLD, "session": {**ANOTHER, "kind": "quick"}}], ["s1"]),
        ([{**TOLD, "attributes": {"status": "closed"}}], ["s1"]),
        ([{**TOLD, "trade": {**ANOTHER, "kind": "quick", "profitTarget": 4}}], ["s1"]),
        ({"data": {**TOLD, "user": {**ANOTHER, "kind": "quick"}}}, ["s1"]),
        ([[TOLD, {"id": "s2"}], 57], ["s1", "s2"]),
    ],
    ids=json.dumps,
)
def test_each_session_is_itself_and_none_is_left_out(body: Any, ids: list[str]) -> None:
    found = decode(ACTIVE, body)
    assert [session.id for session in found] == ids
    assert found[0].status in (None, SessionStatus.ACTIVE)


@pytest.mark.parametrize(
    "body",
    [
        {"message": "created", "user": ANOTHER},
        {"message": "created", "trade": {**ANOTHER, "sessionId": "s1"}},
        {"jsonrpc": "2.0", "id": 1, "result": None},
        {"success": True, "data": {"user": ANOTHER}},
    ],
    ids=json.dumps,
)
def test_the_id_of_another_thing_is_no_sessions(body: Any) -> None:
    with pytest.raises(ShapeError) as raised:
        decode(CREATE, body)
    assert raised.value.outcome is Outcome.DONE


@pytest.mark.parametrize(
    "body",
    [
        {"trade": None, "positions": [{"id": "p1", "size": "1"}]},
        {"data": None, "openPositions": [{"id": "p1"}], "sessionId": "s1"},
        {"data": {"trades": [], "positions": [{"id": "p1"}]}},
        {"data": None, "degraded": True},
        {"trade": None, "session": ANOTHER},
        {"data": {"position": ANOTHER}},
        {"trade": {"status": "open"}, "user": ANOTHER},
    ],
    ids=json.dumps,
)
def test_there_is_never_no_trade_nor_another_because_a_reply_is_odd(body: Any) -> None:
    with pytest.raises(ShapeError):
        decode(CURRENT_TRADE, body)


def test_the_positions_of_a_trade_are_all_of_them_or_unknown() -> None:
    def positions(given: Any, **more: Any) -> Any:
        return decode(CURRENT_TRADE, {"id": "t1", "symbol": "BTC", "positions": given, **more}).positions

    one, other = {"id": "p1", "size": 1, "side": "long"}, {"id": "p2"}
    assert [position.id for position in positions({"BTC": one, "ETH": other})] == ["p1", "p2"]
    assert [position.id for position in positions({"open": [one], "closed": [other]})] == ["p1"]
    assert [position.id for position in positions([], openPositions=[one])] == ["p1"]
    assert positions([None]) is None
    assert positions([one, "p2"]) is None


@pytest.mark.parametrize(
    "more",
    [
        *({"status": "error"}, {"status": "FAIL"}, {"statusCode": 500}, {"error": "db timeout"}, {"errors": ["boom"]}),
        *({"code": 500, "message": "x"}, {"retCode": 10001, "retMsg": "x"}, {"code": "-1121", "msg": "x"}),
    ],
    ids=json.dumps,
)
def test_an_error_beside_nothing_is_no_nothing(more: dict[str, Any]) -> None:
    for call, nothing in ((ACTIVE, []), (CURRENT_TRADE, None), (TRADE_LOGS, [])):
        with pytest.raises((RefusedError, ShapeError)):
            decode(call, {**more, "data": nothing})
    # What a read brings may speak of the errors of others.
    assert len(decode(ACTIVE, {**more, "data": [TOLD]})) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"status": "Error"},
        {"status": "failure", "message": "x"},
        {"errors": ["bad"]},
        {"SUCCESS": False},
        {"statusCode": "400"},
        {"success": True, "results": [{"success": False}]},
        {"status": "ok", "response": {"type": "order", "data": {"statuses": [{"error": "x"}]}}},
        {"data": {"result": {"ok": False}}},
        False,
    ],
    ids=json.dumps,
)
def test_a_close_that_was_refused_is_not_done(body: Any) -> None:
    with pytest.raises(OutcomeUnknownError):
        decode(CLOSE, body)


@pytest.mark.parametrize(
    ("call", "body", "wanted"),
    [
        (User.withdraw.request(amount=1), {"wallet": {"address": "0x1", "amount": "99"}}, None),
        (User.withdraw.request(amount=1), {"success": True, "user": ANOTHER}, None),
        (UsdcVerification.verify.request("0x1"), {"success": True, "user": ANOTHER}, None),
        (Referrals.get.request("u7"), {"referrer": {"id": "u3", "referralCode": "HIS"}}, None),
        (SESSION_LOGS, {"session": ANOTHER, "logs": None}, None),
        (SESSION_LOGS, {"message": "Session not found"}, None),
        (Leaderboard.user.request("u7"), {"id": "row55", "rank": 3}, "u7"),
    ],
    ids=str,
)
def test_no_fact_is_taken_from_something_else(call: Request[Any], body: Any, wanted: str | None) -> None:
    if wanted is None:
        with pytest.raises(ShapeError):
            decode(call, body)
    else:
        assert decode(call, body).user_id == wanted


def test_what_stands_around_candles_goes_before_what_was_asked_for() -> None:
    row = {"t": FIRST_MS, **ROW}
    for rows in ([row], [{"t": FIRST_MS + index * MINUTE_MS, **ROW} for index in range(40)]):
        for _ in range(2):
            for candle in decode(CANDLES, {"symbol": "ETH", "interval": "5m", "candles": rows}):
                assert (candle.symbol, candle.interval) == ("ETH", "5m")


def test_what_stands_around_a_row_goes_before_what_was_asked_for() -> None:
    first, second = decode(CANDLES, [{"symbol": "ETH", "candle": {"t": FIRST_MS, **ROW}}, {"t": FIRST_MS + 1, **ROW}])
    assert (first.symbol, first.interval, second.symbol) == ("ETH", "1m", "BTC")


def test_a_unit_in_a_name_counts_where_the_field_has_the_same() -> None:
    position = {"id": "p1", "sizeUsd": "1000", "marginUsdc": "5", "positionSizeUsd": 7, "amount": "3"}
    (found,) = decode(CURRENT_TRADE, {"id": "t1", "positions": [position]}).positions
    assert (found.size, found.margin) == (None, 5)
    assert decode(HEALTH, {"status": "ok", "uptimeMs": 5000}).uptime is None
    (candle,) = decode(CANDLES, [{"t": FIRST_MS, **ROW, "v": None, "volumeUsd": "5"}])
    assert candle.volume is None


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"])
def test_a_time_that_cannot_be_is_none_also_in_exactly_the_expected_shape(value: str) -> None:
    (session,) = decode(ACTIVE, [{"id": "s1", "closedAt": value}])
    assert (session.closed_at, session.is_closed, session.extra) == (None, False, {"closedAt": value})


def test_what_is_odd_is_read_alike_in_exactly_the_expected_shape_and_in_another() -> None:
    odd = [
        *("1_000", "-0.5", "1e99999", "NaN", " 7 ", "٣", "", "-0", "1e-500", "12345678901234567890.5"),
        *("0001-01-01T00:00:00Z", "2026-03-01", "2026-03-01T12:00:00.1239999Z", "2026-03-01T12:00:00+14:00"),
    ]
    for value in odd:
        for name in ("size", "margin", "openedAt", "side", "symbol", "assetIndex"):
            row = {"id": "p1", name: value}
            (exact,) = decode(CURRENT_TRADE, {"id": "t1", "positions": [row]}).positions
            (tolerant,) = decode(CURRENT_TRADE, {"id": "t1", "new": 1, "positions": [row]}).positions
            assert exact == tolerant, (name, value)


def test_a_price_that_is_none_is_told_when_it_is_used() -> None:
    for text in ("n/a", "NaN", ""):
        rows = [{"t": FIRST_MS + index * MINUTE_MS, **ROW, "o": text} for index in range(40)]
        for body in (rows[:1], rows, [{**row, "s": "BTC", "i": "1m"} for row in rows]):
            for candle in decode(fresh(CANDLES), body):
                assert candle.close == 2
                with pytest.raises(ValueError, match="where a number belongs"):
                    _ = candle.open


@pytest.mark.parametrize("place", [0, 7, 20, 39])
def test_a_row_without_what_makes_it_one_is_refused_wherever_it_stands(place: int) -> None:
    rows: list[dict[str, Any]] = [{"_id": f"s{index}", "state": "active"} for index in range(40)]
    rows[place]["_id"] = None
    with pytest.raises(ShapeError):
        decode(fresh(ACTIVE), rows)
    candles = [[FIRST_MS + index * MINUTE_MS, "1", "3", "0.5", "2", "9"] for index in range(40)]
    candles[place][1] = None
    with pytest.raises(ShapeError):
        decode(fresh(CANDLES), candles)


def test_an_empty_list_after_a_long_one_is_empty() -> None:
    for known, rows in ((ACTIVE, [{"_id": f"s{index}"} for index in range(40)]), (CANDLES, candle_rows(40))):
        call = fresh(known)
        for _ in range(2):
            assert len(decode(call, {"success": True, "data": rows})) == 40
            assert decode(call, {"success": True, "data": []}) == []


@pytest.mark.parametrize("number", ["9007199254740993.5", "0.12345678901234567890", "1e-400", "1e400", "1.5e2"])
def test_a_table_learned_from_whole_numbers_keeps_the_digits_of_others(number: str) -> None:
    call = fresh(CANDLES)
    whole = [[FIRST_MS + index * MINUTE_MS, 1, 3, 0, 2, 9] for index in range(40)]
    assert len(decode(call, whole)) == 40
    text = json.dumps(whole).replace("[1772366400000, 1,", f"[1772366400000, {number},", 1)
    assert decode(call, text.encode())[0].open == Decimal(number)


def test_a_signature_may_be_an_object_and_shows_nowhere() -> None:
    call = TradingSessions.close_signature.request("p1")
    signed = decode(call, {"signature": {"r": "0xaa", "s": "0xbb", "v": 27}, "transaction": {"to": "0xcc"}})
    assert json.loads(signed.signature.reveal())["r"] == "0xaa"
    assert json.loads(signed.transaction.reveal()) == {"to": "0xcc"}
    with pytest.raises(ShapeError) as raised:
        decode(Auth.trading_key.request(), {"mnemonic": "abandon ability"})
    assert "abandon" not in f"{raised.value!r} {raised.value} {raised.value.body}"


def test_a_reply_of_a_great_many_names_does_not_hold_up_the_loop() -> None:
    import time

    bodies = [{f"k{index}": {"a": 1} for index in range(8_000)}, {f"k{index}": [1, 2] for index in range(8_000)}]
    for body in bodies:
        content = json.dumps(body).encode()
        for call in (ACTIVE, CURRENT_TRADE, TRADE_LOGS, PROFILE, CANDLES):
            began = time.process_time()
            with pytest.raises(ShapeError):
                decode(call, content)
            assert time.process_time() - began < 2


# What a second look found


@pytest.mark.parametrize(
    "body", [{"sessionId": "s1", "data": []}, {"sessionId": "s1", "items": [], "total": 0}], ids=json.dumps
)
def test_what_is_said_beside_an_empty_list_is_no_item_of_it(body: Any) -> None:
    assert decode(SESSION_LOGS, body) == []
    assert decode(TRADE_LOGS, body).data == []


def test_what_is_said_beside_a_list_does_not_make_one_thing_of_it() -> None:
    rows = [{"id": "l1", "message": "a"}, {"id": "l2", "message": "b"}]
    for body in ({"sessionId": "s1", "data": rows}, {"tradeId": "t1", "entries": rows, "level": "info"}):
        assert [entry.id for entry in decode(SESSION_LOGS, body)] == ["l1", "l2"]
    signals: dict[str, Any] = {"interval": "1m", "timestamp": FIRST_MS, "data": [{"symbol": "BTC", "signal": "BUY"}]}
    assert [signal.symbol for signal in decode(SIGNALS, signals)] == ["BTC"]
    with pytest.raises(ShapeError):
        decode(SESSION_LOGS, {"sessionId": "s1", "logs": None})


@pytest.mark.parametrize("name", ["result", "data", "values", "trade"])
def test_a_trade_with_a_null_in_it_is_not_none(name: str) -> None:
    body = {"id": "t1", "status": "OPEN", "createdAt": "2026-03-01T12:00:00Z", "userId": "u1", name: None}
    for given in (body, {"data": body}, {"success": True, "data": body}):
        with suppress(ShapeError):
            assert decode(CURRENT_TRADE, given).id == "t1"


@pytest.mark.parametrize(
    "more",
    [
        {"status": False},
        {"status": 500},
        {"Error": "x"},
        {"Errors": ["x"]},
        {"err": "x"},
        {"StatusCode": 500},
        {"status": "failed"},
    ],
    ids=json.dumps,
)
def test_a_failure_in_other_words_is_one(more: dict[str, Any]) -> None:
    body = {**more, "message": "x"}
    for call, nothing in ((ACTIVE, []), (CURRENT_TRADE, None)):
        with pytest.raises((RefusedError, ShapeError)):
            decode(call, {**body, "data": nothing})
    with pytest.raises(OutcomeUnknownError):
        decode(CLOSE, body)


@pytest.mark.parametrize(
    "body",
    [
        {"closed": False},
        {"accepted": False, "reason": "x"},
        {"hasError": True},
        {"result": False},
        {"result": "error"},
        "error",
    ],
    ids=json.dumps,
)
def test_a_close_that_is_not_so_is_not_done(body: Any) -> None:
    with pytest.raises(OutcomeUnknownError):
        decode(CLOSE, body)


@pytest.mark.parametrize(
    "body",
    [{"success": True, "txHash": "0x1"}, {"accepted": True}, {"closed": True}, {"success": True, "orderId": "1"}, True],
    ids=json.dumps,
)
def test_an_acceptance_may_say_what_nobody_knows(body: Any) -> None:
    closing = decode(CLOSE, body)
    assert (closing.position_id, dict(closing.extra)) == ("p1", body if isinstance(body, dict) else {})


@pytest.mark.parametrize(
    ("call", "body", "name", "value"),
    [
        (UsdcVerification.total_deposited.request(), {"success": True, "data": "5"}, "total", 5),
        (Referrals.create_code.request("u1"), {"data": "ABC"}, "code", "ABC"),
        (Referrals.check.request("A"), {"data": True}, "valid", True),
        (FILLS, {"success": True, "data": [{"id": "f1"}]}, "fills", [Fill(id="f1")]),
        (CURRENT_TRADE, {"data": [{"id": "t1", "status": "open"}]}, "id", "t1"),
        (HEALTH, {"healthy": True}, "status", "true"),
        (HEALTH, {"message": "OK"}, "status", "OK"),
    ],
)
def test_a_single_value_may_be_wrapped(call: Request[Any], body: Any, name: str, value: Any) -> None:
    assert getattr(decode(call, body), name) == value


def test_what_is_called_the_id_of_such_a_thing_goes_before_a_plain_one() -> None:
    created = decode(CREATE, {"id": "t1", "sessionId": "s1", "status": "OPEN"})
    assert (created.id, dict(created.extra)) == ("s1", {"id": "t1"})
    position = {"id": "p1", "tradeId": "t1", "size": "1", "side": "long"}
    assert decode(CURRENT_TRADE, position).id == "t1"


@pytest.mark.parametrize("name", ["lastTrade", "recentTrade", "previousTrade"])
def test_a_trade_that_is_over_is_not_the_current_one(name: str) -> None:
    for own in ("currentTrade", "activeTrade", "trade"):
        with pytest.raises(ShapeError):
            decode(CURRENT_TRADE, {own: None, name: {"id": "t0", "status": "closed", "realizedPnl": "1"}})
    assert decode(CURRENT_TRADE, {"activeTrade": None}) is None
    assert decode(CURRENT_TRADE, {"hasActiveTrade": False, "trade": None}) is None


@pytest.mark.parametrize(
    "body",
    [
        {"active": [], "pending": [TOLD]},
        {"activeSessions": [], "pendingSessions": [TOLD]},
        {"active": [], "sessions": [TOLD]},
    ],
    ids=json.dumps,
)
def test_a_list_beside_which_there_are_others_of_its_kind_is_not_complete(body: Any) -> None:
    found = decode(ACTIVE, body)
    assert (found, found.is_complete) == ([], False)


@pytest.mark.parametrize("name", ["bars", "ohlcv", "klines", "prices", "candleHistory"])
def test_the_name_of_a_list_is_no_symbol(name: str) -> None:
    for rows in ([{"t": FIRST_MS, **ROW}], [[FIRST_MS, "1", "3", "0.5", "2", "9"]]):
        (candle,) = decode(CANDLES, {name: rows})
        assert (candle.symbol, candle.interval, candle.open) == ("BTC", "1m", 1)


def test_a_count_of_none_is_no_refusal() -> None:
    with pytest.raises(ShapeError) as raised:
        decode(CREATE, {"queued": 0})
    assert raised.value.outcome is Outcome.DONE
