"""What this SDK expects of the server: every endpoint, with what its method sends and what it returns."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, get_origin, get_type_hints
from urllib.parse import parse_qsl, unquote

import msgspec

from ..assets import DEFAULT_ASSETS
from ..client import AsyncAlura
from ..core.request import Request, Route
from ..core.surface import Endpoint, Group
from ..groups.trading_sessions import ExecutionStrategy, StrategyDuration

# A call is made of these, and never sent: by argument, every value of a closed list, or one where any will do.
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "address": ("0x" + "ab" * 20,),
    "amount": ("12.5",),
    "asset": tuple(DEFAULT_ASSETS),
    "budget": ("12.5",),
    "code": ("FRIEND",),
    "destination": ("0x" + "ab" * 20,),
    "end": (1_767_225_600_000,),
    "execution_strategy": tuple(ExecutionStrategy),
    "interval": ("1h",),
    "limit": (5,),
    "loss_threshold": ("12.5",),
    "max_positions": (3,),
    "max_wallet_budget": (True,),
    "page": (1,),
    "position_id": ("1",),
    "profit_target": ("12.5",),
    "referral_code": ("FRIEND",),
    "session_id": ("1",),
    "signature": ("0x51",),
    "start": (1_767_225_600_000,),
    "strategy_duration": tuple(StrategyDuration),
    "symbol": tuple(DEFAULT_ASSETS),
    "trade_id": ("1",),
    "tx_hash": ("0x" + "ab" * 32,),
    "user_id": ("1",),
}
# The user's own fields, which say nothing about the API.
_OWN = frozenset({"extra", "params"})


class Sent(msgspec.Struct, frozen=True):
    """One segment of a path, one query parameter or one field of a body that a method can send.

    Attributes:
        name: its name on the wire, or in the path.
        argument: the method's optional argument that adds it, or None where every call has it.
        values: what it may hold: the whole of a closed list, or an example; as text in a query, where all is text.
    """

    name: str
    argument: str | None
    values: tuple[Any, ...]


class Expected(msgspec.Struct, frozen=True):
    """What this SDK expects of one endpoint.

    Attributes:
        name: how a user calls it: `trading_sessions.active()`.
        route: method, path and type of the reply.
        make: makes a request of the method's arguments.
        needed: the arguments without which there is no call.
        optional: the other arguments.
        own: by which of `params` and `extra` a caller can send more.
        path: the path's parameters.
        query: the query parameters that it can send.
        body: the fields of a body that it can send.
    """

    name: str
    route: Route[Any]
    make: Callable[..., Request[Any]]
    needed: tuple[str, ...]
    optional: tuple[str, ...]
    own: frozenset[str]
    path: tuple[Sent, ...]
    query: tuple[Sent, ...]
    body: tuple[Sent, ...]


@functools.cache
def expectations() -> tuple[Expected, ...]:
    """What this SDK expects of each endpoint, in the order of the client's groups."""
    return tuple(_expected(name, endpoint) for name, endpoint in _endpoints())


def _endpoints() -> Iterator[tuple[str, Endpoint[..., Any]]]:
    for group, kind in get_type_hints(AsyncAlura).items():
        origin = get_origin(kind)
        if isinstance(origin, type) and issubclass(origin, Group):
            for name, member in vars(origin).items():
                if isinstance(member, Endpoint):
                    yield f"{group}.{name}()", member


def _expected(name: str, endpoint: Endpoint[..., Any]) -> Expected:
    signature = endpoint.__signature__.parameters
    parameters = [found for found in signature.values() if found.name not in _OWN]
    needed = {found.name: _ARGUMENTS[found.name][0] for found in parameters if found.default is found.empty}
    optional = tuple(found.name for found in parameters if found.default is not found.empty)
    path: dict[str, Sent] = {}
    query: dict[str, Sent] = {}
    body: dict[str, Sent] = {}
    for argument in (None, *needed, *optional):
        for value in (None,) if argument is None else _ARGUMENTS[argument]:
            request = endpoint.request(**needed if argument is None else {**needed, argument: value})
            added = argument if argument in optional else None
            _note(path, _segments(request), None)
            _note(query, dict(parse_qsl(request.query)), added)
            _note(body, _body(request), added)
    return Expected(
        name=name,
        route=endpoint.route,
        make=endpoint.request,
        needed=tuple(needed),
        optional=optional,
        own=_OWN & signature.keys(),
        path=tuple(path.values()),
        query=tuple(query.values()),
        body=tuple(body.values()),
    )


def _segments(request: Request[Any]) -> dict[str, Any]:
    """What fills in the path, in order."""
    pairs = zip(request.route.template.split("/"), request.path.split("/"), strict=True)
    return {name[1:]: unquote(value) for name, value in pairs if name.startswith(":")}


def _body(request: Request[Any]) -> dict[str, Any]:
    found: dict[str, Any] = request.json() or {}
    return found


def _note(known: dict[str, Sent], fields: dict[str, Any], argument: str | None) -> None:
    for name, value in fields.items():
        before = known.get(name)
        if before is None:
            known[name] = Sent(name, argument, (value,))
        elif value not in before.values:
            known[name] = msgspec.structs.replace(before, values=(*before.values, value))
