"""Every endpoint of the SDK is served, in the SDK's own shape."""

from __future__ import annotations

from typing import Any, get_args, get_origin

import msgspec
import pytest

from alura_async.core.model import Items
from alura_async.core.request import Access, Route
from alura_async.core.surface import Endpoint, Group
from alura_async.groups.auth import Auth
from alura_async.groups.health import Health
from alura_async.groups.indicators import Indicators
from alura_async.groups.leaderboard import Leaderboard
from alura_async.groups.referrals import Referrals
from alura_async.groups.trading_sessions import TradingSessions
from alura_async.groups.usdc_verification import UsdcVerification
from alura_async.groups.user import User
from alura_async.sandbox import Sandbox
from alura_async.secret import Secret

from .caller import Caller, advance, quick

pytestmark = pytest.mark.anyio

GROUPS: list[type[Group[Any]]] = [
    Auth,
    TradingSessions,
    User,
    Indicators,
    Leaderboard,
    Referrals,
    UsdcVerification,
    Health,
]
ROUTES: dict[str, Route[Any]] = {
    f"{member.route.method} {member.route.template}": member.route
    for group in GROUPS
    for member in vars(group).values()
    if isinstance(member, Endpoint)
}


def to_secret(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError


async def bodies_and_paths(caller: Caller) -> dict[str, tuple[str, Any]]:
    """For each endpoint a path and a body that succeed."""
    session = await caller.quick(assetIndex=4)
    kept = await caller.quick(assetIndex=5)
    first, second, _ = (await caller.get("/trading-sessions/current-trade"))["positions"]
    signature = caller.sign((await caller.challenge())["message"])
    user, position = caller.user_id, "/trading-sessions/positions"
    special: dict[str, tuple[str, Any]] = {
        "POST /auth/evm/challenge": ("", {"address": caller.address}),
        "POST /auth/evm/verify": ("", {"address": caller.address, "signature": signature}),
        "POST /trading-sessions": ("", quick()),
        "POST /trading-sessions/advance": ("", advance()),
        "GET /trading-sessions/:sessionId/logs": (f"/trading-sessions/{kept['id']}/logs", None),
        "GET /trading-sessions/trades/:tradeId/logs": (f"/trading-sessions/trades/{kept['tradeId']}/logs", None),
        "POST /trading-sessions/positions/:positionId/close": (f"{position}/{first['id']}/close", None),
        "POST /trading-sessions/positions/:positionId/close-signature": (
            f"{position}/{second['id']}/close-signature",
            None,
        ),
        "POST /trading-sessions/trades/:tradeId/close": (f"/trading-sessions/trades/{session['tradeId']}/close", None),
        "POST /user/withdraw": ("", {"amount": 1}),
        "POST /user/close-position": ("", {"assetIndex": 5}),
        "POST /user/send-usdc": ("", {"amount": 1, "destination": "0x" + "ab" * 20}),
        "POST /referrals/check": ("", {"code": "ABC"}),
        "POST /usdc-verification/verify": ("", {"txHash": "0x" + "ab" * 32}),
    }
    calls: dict[str, tuple[str, Any]] = {}
    for name, route in ROUTES.items():
        path, body = special.get(name, ("", None))
        plain = route.template.replace(":userId", user).replace(":symbol", "BTC").replace(":interval", "1h")
        calls[name] = (path or plain, body)
    return calls


def test_the_sdk_has_41_routes() -> None:
    assert len(ROUTES) == 41


async def test_each_of_the_41_endpoints_answers_in_exactly_the_sdks_shape(caller: Caller) -> None:
    calls = await bodies_and_paths(caller)
    for name, route in ROUTES.items():
        path, body = calls[name]
        reply = await caller.call(route.method, path, body)
        assert reply.status == (201 if route.method == "POST" else 200), (name, reply.body)
        assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
        # Structs forbid unknown fields, so this also finds names that are spelled otherwise.
        exact = list[get_args(route.returns)] if get_origin(route.returns) is Items else route.returns  # type: ignore[misc]
        msgspec.json.decode(reply.body, type=exact, dec_hook=to_secret)
        assert b"null" not in reply.body, name


async def test_no_current_trade_is_null(caller: Caller) -> None:
    assert (await caller.call("GET", "/trading-sessions/current-trade")).body == b"null"


async def test_every_documented_bearer_call_is_refused_without_a_token(stranger: Caller) -> None:
    for route in ROUTES.values():
        path = "/".join("x" if piece.startswith(":") else piece for piece in route.template.split("/"))
        reply = await stranger.call(route.method, path)
        if route.access is Access.BEARER:
            assert reply.status == 401, route
        elif route.access is Access.PUBLIC:
            assert reply.status == 400, route


async def test_amounts_are_text_and_times_end_in_z(caller: Caller, sandbox: Sandbox) -> None:
    session = await caller.post("/trading-sessions", b'{"budget":1e2,"profitTarget":4E+1,"assetIndex":0}')
    assert (session["budget"], session["profitTarget"]) == ("100", "40")
    assert session["createdAt"].endswith("Z")
    assert all(isinstance(session[name], str) for name in ("realizedPnl", "unrealizedPnl"))


def braced(name: str) -> str:
    return "/".join(f"{{{piece[1:]}}}" if piece.startswith(":") else piece for piece in name.split("/"))
