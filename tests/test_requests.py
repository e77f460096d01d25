"""A call is a value before it is an action: routes, what they refuse, and the request of each of the 41 endpoints."""

from __future__ import annotations

import json
from typing import Any, get_origin

import pytest

from alura_async import (
    Access,
    Auth,
    Effect,
    Health,
    Indicators,
    InvalidArgumentError,
    Lane,
    Leaderboard,
    Referrals,
    Reply,
    Request,
    Route,
    Secret,
    TradingSession,
    TradingSessions,
    UsdcVerification,
    User,
)
from alura_async.core.request import Parts
from alura_async.core.surface import Endpoint

ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
ORDER = {"budget": 100, "profit_target": 40, "asset": "BTC"}
MOVE = {"amount": "12.50", "destination": ADDRESS}

# What a call of each endpoint is on the wire: arguments, path, query, body (None: no body at all).
CALLS: list[tuple[Endpoint[Any, Any], tuple[Any, ...], dict[str, Any], str, str, dict[str, Any] | None]] = [
    (Auth.challenge, (ADDRESS,), {}, "/auth/evm/challenge", "", {"address": ADDRESS}),
    (
        Auth.verify,
        (ADDRESS, "0x51", "FRIEND"),
        {},
        "/auth/evm/verify",
        "",
        {"address": ADDRESS, "signature": "0x51", "referralCode": "FRIEND"},
    ),
    (Auth.trading_key, (), {}, "/auth/evm/trading-key", "", None),
    (
        TradingSessions.create,
        (),
        ORDER,
        "/trading-sessions",
        "",
        {"budget": 100, "profitTarget": 40, "assetIndex": 0},
    ),
    (
        TradingSessions.create_advance,
        (),
        {"amount": 50, "execution_strategy": "Degen", "strategy_duration": "7D", "asset": "ETH"},
        "/trading-sessions/advance",
        "",
        {"amount": 50, "executionStrategy": "Degen", "strategyDuration": "7D", "assetIndex": 1},
    ),
    (TradingSessions.active, (), {}, "/trading-sessions/active", "", None),
    (TradingSessions.current_trade, (), {}, "/trading-sessions/current-trade", "", None),
    (TradingSessions.logs, ("s1",), {}, "/trading-sessions/s1/logs", "", None),
    (
        TradingSessions.trade_logs,
        ("t1",),
        {"page": 2, "limit": 50},
        "/trading-sessions/trades/t1/logs",
        "page=2&limit=50",
        None,
    ),
    (TradingSessions.close_position, ("p1",), {}, "/trading-sessions/positions/p1/close", "", None),
    (TradingSessions.close_signature, ("p1",), {}, "/trading-sessions/positions/p1/close-signature", "", None),
    (TradingSessions.close_trade, ("t1",), {}, "/trading-sessions/trades/t1/close", "", None),
    (TradingSessions.trigger_cron, (), {}, "/trading-sessions/trigger-cron", "", None),
    (User.profile, (), {}, "/user/profile", "", None),
    (User.sync_fills, (), {}, "/user/fills/sync", "", None),
    (User.withdraw, (), {"amount": "12.50"}, "/user/withdraw", "", {"amount": 12.5}),
    (User.close_position, (), {"asset": "SOL"}, "/user/close-position", "", {"assetIndex": 2}),
    (User.close_all_positions, (), {}, "/user/close-all-positions", "", None),
    (User.send_usdc, (), MOVE, "/user/send-usdc", "", {"amount": 12.5, "destination": ADDRESS}),
    (User.claim_reward, (), {}, "/user/claim-reward", "", None),
    (Indicators.health, (), {}, "/api/indicators/health", "", None),
    (
        Indicators.latest_candles,
        (),
        {"interval": "1m"},
        "/api/indicators/candles/latest",
        "interval=1m",
        None,
    ),
    (
        Indicators.candle_history,
        ("PURR/USDC",),
        {"interval": "1h", "start": 1, "end": 2, "limit": 3},
        "/api/indicators/candles/history/PURR%2FUSDC",
        "interval=1h&startTime=1&endTime=2&limit=3",
        None,
    ),
    (Indicators.candles, ("kPEPE", "1m"), {"limit": 5}, "/api/indicators/candles/kPEPE/1m", "limit=5", None),
    (Indicators.symbols, (), {}, "/api/indicators/candles/aggregated/symbols", "", None),
    (Indicators.signals, ("BTC", "4h"), {}, "/api/indicators/signals/BTC/4h", "", None),
    (Indicators.all_signals, ("4h",), {}, "/api/indicators/signals/all/4h", "", None),
    (Leaderboard.stats, (), {}, "/api/leaderboard/stats", "", None),
    (Leaderboard.rankings, (), {"page": 1}, "/api/leaderboard/rankings", "page=1", None),
    (Leaderboard.user, ("u1",), {}, "/api/leaderboard/user/u1", "", None),
    (Leaderboard.analytics, (), {}, "/api/leaderboard/analytics", "", None),
    (Leaderboard.health, (), {}, "/api/leaderboard/health", "", None),
    (Referrals.get, ("u1",), {}, "/referrals/u1", "", None),
    (Referrals.stats, ("u1",), {}, "/referrals/u1/stats", "", None),
    (Referrals.create_code, ("u1",), {}, "/referrals/u1/code", "", None),
    (Referrals.check, ("FRIEND",), {}, "/referrals/check", "", {"code": "FRIEND"}),
    (UsdcVerification.verify, ("0xab",), {}, "/usdc-verification/verify", "", {"txHash": "0xab"}),
    (UsdcVerification.my_transactions, (), {}, "/usdc-verification/my-transactions", "", None),
    (UsdcVerification.total_deposited, (), {}, "/usdc-verification/total-deposited", "", None),
    (Health.basic, (), {}, "/health", "", None),
    (Health.kafka, (), {}, "/health/kafka", "", None),
]


@pytest.mark.parametrize(
    ("definition", "arguments", "named", "path", "query", "body"), CALLS, ids=[call[0].__qualname__ for call in CALLS]
)
def test_each_endpoint_makes_its_request_as_a_plain_value(
    definition: Endpoint[Any, Any],
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    path: str,
    query: str,
    body: dict[str, Any] | None,
) -> None:
    request = definition.request(*arguments, **named)
    assert request.route is definition.route
    assert (request.method, request.path, request.query) == (definition.route.method, path, query)
    assert request.json() == body
    if body is None:
        assert request.body is None
    assert request == definition.request(*arguments, **named), "the same call is the same value"


def test_that_was_all_41() -> None:
    assert len({call[0].__qualname__ for call in CALLS}) == len(CALLS) == 41


@pytest.mark.parametrize("definition", [call[0] for call in CALLS], ids=[call[0].__qualname__ for call in CALLS])
def test_each_endpoint_knows_what_it_returns(definition: Endpoint[Any, Any]) -> None:
    """Read from its annotation, once, on first use; and a decoder can be made of it."""
    returns = definition.route.returns
    assert not isinstance(returns, str)
    assert definition.route.shape is definition.route.shape
    stated = definition.__signature__.return_annotation
    assert str(getattr(returns, "__name__", returns)).split(".")[-1].split("[")[0] in stated


def test_a_guessed_body_is_extended_and_an_empty_one_begun() -> None:
    request = TradingSessions.close_position.request("p1", extra={"reason": "stop"})
    assert request.json() == {"reason": "stop"}
    check = Referrals.check.request("FRIEND", extra={"code": "OTHER", "x": 1})
    assert check.json() == {"code": "OTHER", "x": 1}
    assert User.claim_reward.request(extra={}).body is None


def test_a_guessed_query_is_extended() -> None:
    assert TradingSessions.active.request(params={"status": "all"}).query == "status=all"
    assert Indicators.candles.request("BTC", "1m", params={"limit": 9, "a": 1}).query == "limit=9&a=1"


def test_a_signature_may_be_given_as_a_secret() -> None:
    assert Auth.verify.request(ADDRESS, Secret("0x51")).json() == {"address": ADDRESS, "signature": "0x51"}


@pytest.mark.parametrize("missing", ["budget", "profit_target", "asset"])
def test_a_missing_argument_is_an_error_of_python(missing: str) -> None:
    given = {name: value for name, value in ORDER.items() if name != missing}
    with pytest.raises(TypeError, match=missing):
        TradingSessions.create.request(**given)  # type: ignore[arg-type]


def test_an_order_is_never_given_by_position() -> None:
    """Budget and profit target are both numbers: swapped, they would be accepted."""
    with pytest.raises(TypeError):
        TradingSessions.create.request(100, 40, "BTC")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        User.send_usdc.request(100, ADDRESS)  # type: ignore[call-arg]


# Routes of one's own


def test_a_route_of_ones_own_makes_requests() -> None:
    route: Route[dict[str, Any]] = Route(
        "GET", "/vaults/:vaultId/shares/:share", dict, access=Access.BEARER, lane=Lane.MARKET
    )
    request = route.request("a/b", 7, query={"limit": 5, "none": None})
    assert (request.method, request.path, request.query) == ("GET", "/vaults/a%2Fb/shares/7", "limit=5")
    assert request.body is None
    assert (request.route.access, request.route.lane) == (Access.BEARER, Lane.MARKET)


def test_a_route_of_ones_own_may_return_any_type() -> None:
    for returns in (dict, list[TradingSession], TradingSession, dict[str, int]):
        route: Route[Any] = Route("GET", "/x", returns)
        assert route.returns is returns or route.returns == returns
        body = b"[]" if returns == list[TradingSession] else b'{"id": "1"}' if returns is TradingSession else b"{}"
        reply = Reply(route.request(), 200, {"Content-Length": str(len(body))}, body)
        assert isinstance(reply.decode(), get_origin(returns) or returns)


def test_a_route_without_segments_is_its_own_path() -> None:
    for template in ("/", "/a", "/a/b", "/a-b/c_d.e~f"):
        assert Route("GET", template, dict).request().path == template


def test_a_post_of_ones_own_is_not_repeated_unless_it_says_so() -> None:
    assert Route("POST", "/x", dict).effect is Effect.ONCE
    assert Route("POST", "/x", dict, effect=Effect.REPEATABLE).effect is Effect.REPEATABLE
    assert Route("GET", "/x", dict).effect is Effect.READ


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "get", "Post", ""])
def test_other_methods_are_refused(method: str) -> None:
    """aiohttp sends idempotent ones twice by itself when a connection is lost."""
    with pytest.raises(InvalidArgumentError, match="GET and POST only"):
        Route(method, "/x", dict)


@pytest.mark.parametrize(
    ("method", "effect"), [("GET", Effect.ONCE), ("GET", Effect.REPEATABLE), ("POST", Effect.READ)]
)
def test_a_read_is_a_get_and_a_get_is_a_read(method: str, effect: Effect) -> None:
    with pytest.raises(InvalidArgumentError, match="READ is GET"):
        Route(method, "/x", dict, effect=effect)


@pytest.mark.parametrize(
    "template",
    [
        "",
        "x",
        "https://elsewhere.example/x",
        ":id",
        "/a\r\nb",
        "/a\n",
        "/a b",
        "/a?b=c",
        "/a#b",
        "/ü",
        "/a/../b",
        "/..",
    ],
)
def test_a_template_that_would_call_something_else_is_refused_with_an_example(template: str) -> None:
    """It is sent as it stands; only what a call fills in is encoded."""
    with pytest.raises(InvalidArgumentError, match="write it like '/vaults/:vaultId/logs'"):
        Route("GET", template, dict)


def test_a_get_has_no_body() -> None:
    with pytest.raises(InvalidArgumentError, match="a GET has no body"):
        Route("GET", "/x", dict).request(body={"a": 1})
    with pytest.raises(InvalidArgumentError, match="a GET has no body"):
        Route("GET", "/x", dict).fill(Parts(extra={"a": 1}))


@pytest.mark.parametrize("segments", [(), ("a",), ("a", "b", "c")])
def test_as_many_segments_as_the_template_has_must_be_given(segments: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"/:x/:y has (more|fewer) segments"):
        Route("GET", "/:x/:y", dict).request(*segments)
    if segments:
        with pytest.raises(InvalidArgumentError, match="fewer"):
            Route("GET", "/x", dict).request(*segments)


def test_parts_and_route_make_what_request_makes() -> None:
    route: Route[dict[Any, Any]] = Route("POST", "/a/:b", dict)
    parts: Parts[dict[Any, Any]] = Parts("c", query={"q": 1}, params={"q": 2}, body={"x": 1}, extra={"x": 2, "y": 3})
    assert route.fill(parts) == Request(route, "/a/c", "q=2", b'{"x":2,"y":3}')
    assert route.request("c", query={"q": 2}, body={"x": 2, "y": 3}) == route.fill(parts)


# What a request shows


def test_a_request_shows_where_it_goes_and_not_what_it_carries() -> None:
    """The body of a sign-in holds a signature, that of a transfer an amount."""
    shown = repr(Auth.verify.request(ADDRESS, "0x" + "5" * 130, "FRIEND"))
    assert shown.startswith("<Request POST /auth/evm/verify (")
    for hidden in ("5555", ADDRESS, "FRIEND", "signature"):
        assert hidden not in shown
    assert repr(TradingSessions.trade_logs.request("t", page=2)) == (
        "<Request GET /trading-sessions/trades/t/logs?page=2>"
    )
    assert str(User.claim_reward.request()) == "<Request POST /user/claim-reward>"
    assert repr(User.claim_reward.route) == "<Route POST /user/claim-reward>"


def test_a_request_cannot_be_changed() -> None:
    request = User.profile.request()
    with pytest.raises(AttributeError):
        request.path = "/user/withdraw"  # type: ignore[misc]


def test_a_body_is_compact_json() -> None:
    body = User.send_usdc.request(amount="1.50", destination=ADDRESS).body
    assert body == b'{"amount":1.50,"destination":"' + ADDRESS.encode() + b'"}'
    assert json.loads(body)["amount"] == 1.5
