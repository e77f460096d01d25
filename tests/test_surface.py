"""Both clients have the same surface, it is the documented one, and `help()` shows what can really be called."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Iterator
from typing import Any

import pytest

import alura_async
from alura_async import Access, Action, Alura, AsyncAlura, Effect, Lane
from alura_async.core.surface import Endpoint, Group, operation, stream

READ, REPEATABLE, ONCE = Effect.READ, Effect.REPEATABLE, Effect.ONCE
PUBLIC, OPTIONAL, BEARER = Access.PUBLIC, Access.OPTIONAL, Access.BEARER

GROUPS: dict[str, type[Group[Any]]] = {
    "auth": alura_async.Auth,
    "trading_sessions": alura_async.TradingSessions,
    "user": alura_async.User,
    "indicators": alura_async.Indicators,
    "bulk": alura_async.Bulk,
    "leaderboard": alura_async.Leaderboard,
    "referrals": alura_async.Referrals,
    "usdc_verification": alura_async.UsdcVerification,
    "health": alura_async.Health,
}

# The API's document, row by row: number, method, path, access ("bearer" is BEARER; where the document does not say, or
# says "most are public", OPTIONAL copes with either), and where we have it. The effect is ours: only what is known to
# be harmless may be repeated.
ENDPOINTS = [
    (1, "POST", "/auth/evm/challenge", PUBLIC, REPEATABLE, "auth.challenge"),
    (2, "POST", "/auth/evm/verify", PUBLIC, ONCE, "auth.verify"),
    (3, "GET", "/auth/evm/trading-key", BEARER, READ, "auth.trading_key"),
    (4, "POST", "/trading-sessions", BEARER, ONCE, "trading_sessions.create"),
    (5, "POST", "/trading-sessions/advance", BEARER, ONCE, "trading_sessions.create_advance"),
    (6, "GET", "/trading-sessions/active", BEARER, READ, "trading_sessions.active"),
    (7, "GET", "/trading-sessions/current-trade", BEARER, READ, "trading_sessions.current_trade"),
    (8, "GET", "/trading-sessions/:sessionId/logs", BEARER, READ, "trading_sessions.logs"),
    (9, "GET", "/trading-sessions/trades/:tradeId/logs", BEARER, READ, "trading_sessions.trade_logs"),
    (10, "POST", "/trading-sessions/positions/:positionId/close", BEARER, ONCE, "trading_sessions.close_position"),
    (
        11,
        "POST",
        "/trading-sessions/positions/:positionId/close-signature",
        BEARER,
        ONCE,
        "trading_sessions.close_signature",
    ),
    (12, "POST", "/trading-sessions/trades/:tradeId/close", BEARER, ONCE, "trading_sessions.close_trade"),
    (13, "POST", "/trading-sessions/trigger-cron", BEARER, ONCE, "trading_sessions.trigger_cron"),
    (14, "GET", "/user/profile", BEARER, READ, "user.profile"),
    (15, "POST", "/user/fills/sync", BEARER, REPEATABLE, "user.sync_fills"),
    (16, "POST", "/user/withdraw", BEARER, ONCE, "user.withdraw"),
    (17, "POST", "/user/close-position", BEARER, ONCE, "user.close_position"),
    (18, "POST", "/user/close-all-positions", BEARER, ONCE, "user.close_all_positions"),
    (19, "POST", "/user/send-usdc", BEARER, ONCE, "user.send_usdc"),
    (20, "POST", "/user/claim-reward", BEARER, ONCE, "user.claim_reward"),
    (21, "GET", "/api/indicators/health", OPTIONAL, READ, "indicators.health"),
    (22, "GET", "/api/indicators/candles/latest", OPTIONAL, READ, "indicators.latest_candles"),
    (23, "GET", "/api/indicators/candles/history/:symbol", OPTIONAL, READ, "indicators.candle_history"),
    (24, "GET", "/api/indicators/candles/:symbol/:interval", OPTIONAL, READ, "indicators.candles"),
    (25, "GET", "/api/indicators/candles/aggregated/symbols", OPTIONAL, READ, "indicators.symbols"),
    (26, "GET", "/api/indicators/signals/:symbol/:interval", OPTIONAL, READ, "indicators.signals"),
    (27, "GET", "/api/indicators/signals/all/:interval", OPTIONAL, READ, "indicators.all_signals"),
    (28, "GET", "/api/leaderboard/stats", OPTIONAL, READ, "leaderboard.stats"),
    (29, "GET", "/api/leaderboard/rankings", OPTIONAL, READ, "leaderboard.rankings"),
    (30, "GET", "/api/leaderboard/user/:userId", OPTIONAL, READ, "leaderboard.user"),
    (31, "GET", "/api/leaderboard/analytics", OPTIONAL, READ, "leaderboard.analytics"),
    (32, "GET", "/api/leaderboard/health", OPTIONAL, READ, "leaderboard.health"),
    (33, "GET", "/referrals/:userId", OPTIONAL, READ, "referrals.get"),
    (34, "GET", "/referrals/:userId/stats", OPTIONAL, READ, "referrals.stats"),
    (35, "POST", "/referrals/:userId/code", OPTIONAL, ONCE, "referrals.create_code"),
    (36, "POST", "/referrals/check", OPTIONAL, REPEATABLE, "referrals.check"),
    (37, "POST", "/usdc-verification/verify", OPTIONAL, REPEATABLE, "usdc_verification.verify"),
    (38, "GET", "/usdc-verification/my-transactions", OPTIONAL, READ, "usdc_verification.my_transactions"),
    (39, "GET", "/usdc-verification/total-deposited", OPTIONAL, READ, "usdc_verification.total_deposited"),
    (40, "GET", "/health", OPTIONAL, READ, "health.basic"),
    (41, "GET", "/health/kafka", OPTIONAL, READ, "health.kafka"),
]

# What there is besides the endpoints.
OPERATIONS = {
    "auth.login",
    "auth.logout",
    "trading_sessions.wait_until_closed",
    "bulk.plan",
    "bulk.latest",
    "bulk.signals",
    "bulk.pull",
    "bulk.update",
    "bulk.repair",
}
STREAMS = {
    "bulk.candles",
    "trading_sessions.iter_trade_logs",
    "trading_sessions.watch",
    "indicators.watch_candles",
    "leaderboard.iter_rankings",
}

MOVES_MONEY = {"user.withdraw", "user.send_usdc", "user.claim_reward"}
CREATES = {"trading_sessions.create", "trading_sessions.create_advance"}
CLOSES = {
    "trading_sessions.close_position",
    "trading_sessions.close_trade",
    "user.close_position",
    "user.close_all_positions",
}


def definitions(kind: type[Any]) -> dict[str, Any]:
    """Everything that was defined with one of the three decorators, by group and name."""
    return {
        f"{group}.{name}": member
        for group, owner in GROUPS.items()
        for name, member in vars(owner).items()
        if isinstance(member, kind)
    }


DEFINED: dict[str, Any] = definitions(Endpoint) | definitions(operation) | definitions(stream)
each_method = pytest.mark.parametrize("where", sorted(DEFINED))


@pytest.fixture(scope="module")
def awaited() -> AsyncAlura:
    return AsyncAlura()


@pytest.fixture(scope="module")
def blocking() -> Iterator[Alura]:
    with Alura() as alura:
        yield alura


def method_of(client: object, where: str) -> Any:
    group, name = where.split(".")
    return getattr(getattr(client, group), name)


def own_parameters(where: str) -> list[inspect.Parameter]:
    """The parameters of the function that was written down, without `self`."""
    return list(inspect.signature(DEFINED[where].__wrapped__).parameters.values())[1:]


# The documented API


@pytest.mark.parametrize(("number", "method", "path", "access", "effect", "where"), ENDPOINTS)
def test_each_documented_endpoint_is_there_with_its_method_path_access_and_effect(
    number: int, method: str, path: str, access: Access, effect: Effect, where: str
) -> None:
    route = definitions(Endpoint)[where].route
    assert (route.method, route.template, route.access, route.effect) == (method, path, access, effect), number


def test_there_are_41_endpoints_and_no_two_call_the_same() -> None:
    routes = [(found.route.method, found.route.template) for found in definitions(Endpoint).values()]
    assert sorted(routes) == sorted((method, path) for _, method, path, *_ in ENDPOINTS)
    assert len(set(routes)) == len(routes) == 41


def test_there_are_no_methods_besides_the_endpoints_and_the_listed_operations_and_streams() -> None:
    assert set(definitions(Endpoint)) == {where for *_, where in ENDPOINTS}
    assert set(definitions(operation)) == OPERATIONS
    assert set(definitions(stream)) == STREAMS


def test_what_creates_closes_or_moves_money_is_sent_once_and_goes_first() -> None:
    for where in MOVES_MONEY | CREATES | CLOSES:
        route = DEFINED[where].route
        lane = Lane.EXIT if where in CLOSES else Lane.TRADING
        assert (route.effect, route.lane) == (ONCE, lane), where


def test_only_creates_have_the_short_time_limit() -> None:
    assert {where for where, found in definitions(Endpoint).items() if found.route.action is Action.OPEN} == CREATES


def test_market_data_goes_last() -> None:
    for where, found in definitions(Endpoint).items():
        in_market = where.startswith(("indicators.", "leaderboard."))
        assert (found.route.lane is Lane.MARKET) == in_market, where


@each_method
def test_what_is_guessed_can_be_overruled(where: str) -> None:
    """A GET takes `params=`, a POST takes `extra=`; only the two documented calls of a sign-in need neither."""
    found = DEFINED[where]
    if not isinstance(found, Endpoint) or where in {"auth.challenge", "auth.verify"}:
        return
    hatch = "params" if found.route.method == "GET" else "extra"
    parameter = inspect.signature(found.__wrapped__).parameters[hatch]
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    assert parameter.default is None


# What a call is told by position, because it reads well; all the rest is told by name.
BY_POSITION = {
    "auth.challenge": ["address"],
    "auth.verify": ["address", "signature", "referral_code"],
    "trading_sessions.logs": ["session_id"],
    "trading_sessions.trade_logs": ["trade_id"],
    "trading_sessions.iter_trade_logs": ["trade_id"],
    "trading_sessions.close_position": ["position_id"],
    "trading_sessions.close_signature": ["position_id"],
    "trading_sessions.close_trade": ["trade_id"],
    "trading_sessions.watch": ["session_id"],
    "trading_sessions.wait_until_closed": ["session_id"],
    "indicators.candle_history": ["symbol"],
    "indicators.candles": ["symbol", "interval"],
    "indicators.signals": ["symbol", "interval"],
    "indicators.all_signals": ["interval"],
    "indicators.watch_candles": ["symbol", "interval"],
    "bulk.candles": ["symbols", "intervals"],
    "bulk.plan": ["symbols", "intervals"],
    "bulk.latest": ["symbols", "interval"],
    "bulk.signals": ["symbols", "interval"],
    "bulk.pull": ["store", "symbols", "intervals"],
    "bulk.update": ["store"],
    "bulk.repair": ["store"],
    "leaderboard.user": ["user_id"],
    "referrals.get": ["user_id"],
    "referrals.stats": ["user_id"],
    "referrals.create_code": ["user_id"],
    "referrals.check": ["code"],
    "usdc_verification.verify": ["tx_hash"],
}


@each_method
def test_amounts_and_options_are_told_by_name(where: str) -> None:
    """Two numbers that are swapped would be accepted."""
    by_position = [
        parameter.name for parameter in own_parameters(where) if parameter.kind is not parameter.KEYWORD_ONLY
    ]
    assert by_position == BY_POSITION.get(where, [])


# The two surfaces


def test_the_groups_have_the_same_names_on_both(awaited: AsyncAlura, blocking: Alura) -> None:
    for group, owner in GROUPS.items():
        ours, theirs = getattr(awaited, group), getattr(blocking, group)
        assert type(ours) is type(theirs) is owner
        public = [name for name in dir(ours) if not name.startswith("_")]
        assert public == [name for name in dir(theirs) if not name.startswith("_")]
        assert {f"{group}.{name}" for name in public} == {where for where in DEFINED if where.startswith(group + ".")}


def test_the_clients_have_the_same_names_on_both() -> None:
    def public(client: type) -> set[str]:
        return {name for name in dir(client) if not name.startswith("_")}

    assert public(AsyncAlura) == public(Alura)
    assert {"send", "send_raw", "with_options", "close", "from_env", "assets", "poll_interval", "base_url"} <= public(
        Alura
    )
    for client in (AsyncAlura, Alura):
        assert set(client.__annotations__) >= set(GROUPS)


@each_method
def test_a_method_has_one_name_text_and_signature_on_both(where: str, awaited: AsyncAlura, blocking: Alura) -> None:
    ours, theirs = method_of(awaited, where), method_of(blocking, where)
    group, name = where.split(".")
    assert ours.__name__ == theirs.__name__ == name
    assert ours.__qualname__ == theirs.__qualname__ == f"{GROUPS[group].__name__}.{name}"
    assert ours.__doc__ == theirs.__doc__ == DEFINED[where].__wrapped__.__doc__
    signatures = [inspect.signature(method) for method in (ours, theirs)]
    for signature in signatures:
        assert list(signature.parameters.values()) == own_parameters(where)
    returns = [str(signature.return_annotation).removeprefix("Async") for signature in signatures]
    assert returns[0] == returns[1]
    assert not returns[0].startswith(("Parts", "Coroutine", "Iterator[Sequence"))


@each_method
def test_a_method_says_what_it_does_and_explains_each_argument(where: str) -> None:
    text = inspect.cleandoc(DEFINED[where].__doc__ or "")
    summary, *_ = text.split("\n\n")
    assert summary.endswith((".", "none.")), where
    for parameter in own_parameters(where):
        assert f"    {parameter.name}: " in text, f"{where} does not explain {parameter.name}"


@each_method
def test_the_async_surface_is_awaited_and_the_blocking_one_is_not(
    where: str, awaited: AsyncAlura, blocking: Alura
) -> None:
    ours, theirs = method_of(awaited, where), method_of(blocking, where)
    assert inspect.iscoroutinefunction(ours) == (where not in STREAMS)
    assert inspect.isasyncgenfunction(ours) == (where in STREAMS)
    assert inspect.isfunction(theirs)
    assert not inspect.iscoroutinefunction(theirs)
    assert not inspect.isasyncgenfunction(theirs)


@each_method
def test_a_method_keeps_to_its_client(where: str, awaited: AsyncAlura) -> None:
    """Looked up twice it is the same function; another client has one of its own."""
    assert method_of(awaited, where) is method_of(awaited, where)
    assert method_of(AsyncAlura(), where) is not method_of(awaited, where)


def test_with_options_gives_methods_of_its_own(awaited: AsyncAlura, blocking: Alura) -> None:
    for client in (awaited, blocking):
        view = client.with_options(timeout=1)
        assert type(view) is type(client)
        assert method_of(view, "user.profile") is not method_of(client, "user.profile")
        assert list(inspect.signature(method_of(view, "user.profile")).parameters) == ["params"]


def test_the_clients_take_the_same_settings() -> None:
    """Except what only a client that blocks needs to be told."""
    ours = dict(inspect.signature(AsyncAlura).parameters)
    theirs = dict(inspect.signature(Alura).parameters)
    assert theirs.pop("allow_running_loop").default is False
    assert list(ours.values()) == list(theirs.values())
    for client, parameters in ((AsyncAlura, ours), (Alura, theirs)):
        for name in parameters:
            assert f"    {name}: " in (client.__doc__ or ""), f"{client.__name__} does not explain {name}"


@pytest.mark.parametrize("name", ["send", "send_raw", "with_options", "from_env", "close", "assets", "base_url"])
def test_what_is_on_the_client_itself_is_the_same_on_both(name: str) -> None:
    ours, theirs = (inspect.getattr_static(client, name) for client in (AsyncAlura, Alura))
    if isinstance(ours, property):
        assert ours.__doc__ == theirs.__doc__ != None  # noqa: E711 - a chain of three
        ours, theirs = ours.fget, theirs.fget
    elif isinstance(ours, classmethod):
        ours, theirs = ours.__func__, theirs.__func__
    assert inspect.signature(ours) == inspect.signature(theirs)
    # The example in a docstring is awaited on one surface only.
    assert (ours.__doc__ or "").replace("await ", "") == theirs.__doc__


def test_calls_of_the_client_itself_are_awaited_on_one_surface_only() -> None:
    for name in ("send", "send_raw", "close"):
        assert inspect.iscoroutinefunction(getattr(AsyncAlura, name))
        assert not inspect.iscoroutinefunction(getattr(Alura, name))


# What people see


def help_text(method: Any) -> str:
    return pydoc.plain(pydoc.render_doc(method))


def on_one_line(text: str) -> str:
    """Python 3.13 writes a long signature on several lines."""
    return " ".join(text.split()).replace("( ", "(").replace(" )", ")")


def test_help_shows_the_real_parameters_and_text(awaited: AsyncAlura, blocking: Alura) -> None:
    for client in (awaited, blocking):
        shown = help_text(client.trading_sessions.create)
        assert "create(*, budget: 'Amount', profit_target: 'Amount', asset: 'str | int'" in on_one_line(shown)
        assert "-> 'TradingSession'" in shown
        assert "Create a quick trade" in shown
        assert "budget: what the session may use; at least 10 [doc]" in shown
        assert "self" not in shown.split("\n")[2]


def test_help_says_which_surface_is_awaited(awaited: AsyncAlura, blocking: Alura) -> None:
    assert "async create(" in help_text(awaited.trading_sessions.create)
    assert "async create(" not in help_text(blocking.trading_sessions.create)


def test_help_on_streams_and_operations_shows_the_real_parameters(awaited: AsyncAlura, blocking: Alura) -> None:
    for client in (awaited, blocking):
        watching = on_one_line(help_text(client.trading_sessions.watch))
        assert "watch(session_id: 'str', *, interval: 'float | None' = None, patience: 'float' = 5.0)" in watching
        waiting = help_text(client.trading_sessions.wait_until_closed)
        assert "timeout: 'float | None' = None" in waiting
        assert "-> 'TradingSession'" in waiting


def test_help_on_a_group_lists_its_methods() -> None:
    shown = help_text(alura_async.Health)
    assert "basic(" in shown
    assert "Read the server's basic health." in shown


def test_ipython_shows_the_real_signature(awaited: AsyncAlura, blocking: Alura) -> None:
    oinspect = pytest.importorskip("IPython.core.oinspect")
    # Since IPython 9 the colours have to be named.
    named = "theme_name" in inspect.signature(oinspect.Inspector).parameters
    inspector = oinspect.Inspector(theme_name="nocolor") if named else oinspect.Inspector()
    for client in (awaited, blocking):
        facts = inspector.info(client.user.send_usdc, oname="send_usdc")
        assert facts["definition"].startswith("send_usdc(")
        for parameter in ("amount: 'Amount'", "destination: 'str'", "extra: 'Extra | None' = None"):
            assert parameter in facts["definition"]
        assert "self" not in facts["definition"]
        assert "Send USDC to another address" in facts["docstring"]


def test_an_endpoint_on_its_class_is_the_definition() -> None:
    definition = alura_async.User.send_usdc
    assert isinstance(definition, Endpoint)
    assert definition is alura_async.User.send_usdc
    assert list(definition.__signature__.parameters) == ["amount", "destination", "extra"]
    assert definition.route.template == "/user/send-usdc"


def test_representations_say_where_and_hide_the_rest(blocking: Alura) -> None:
    with Alura(token="t0ken-of-mine") as alura:
        for shown in (repr(alura), repr(alura.user), repr(AsyncAlura(token="t0ken-of-mine"))):
            assert "https://testnet-api.alura.fun" in shown
            assert "t0ken" not in shown
    assert repr(alura).endswith("(closed)>")
    assert not repr(blocking).endswith("(closed)>")
