"""What the server really answers: every harmless read, and how its reply differs from the type that it is read as."""

from __future__ import annotations

import enum
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from ..core.model import Model
from ..core.names import meant
from ..core.outcome import Reply
from ..core.request import Request
from ..core.text import clip, printable
from ..errors import AluraError, CallError, ShapeError, TransportError
from .expected import Expected, expectations

if TYPE_CHECKING:
    from ..client import AsyncAlura

# These bring the ids that others need.
_FIRST = ("trading_sessions.active()", "trading_sessions.current_trade()", "user.profile()", "indicators.symbols()")
_NEVER = {"auth.trading_key()": "it returns a private key, so it is never called here"}
_SOURCES = {
    "session_id": "trading_sessions.active()",
    "trade_id": "trading_sessions.current_trade()",
    "user_id": "user.profile()",
}
# The documented asset, and an interval that every exchange has.
_USUAL = {"symbol": "BTC", "interval": "1h"}
# Enough to see a shape by.
_LIMIT = 5
_LONGEST = 60
# What a NestJS server says where it has no such path.
_NO_ROUTE = re.compile(r"cannot get /", re.IGNORECASE)


class ReadState(enum.StrEnum):
    """How a read ended.

    Attributes:
        READ: it was read.
        SHAPELESS: it succeeded, and nothing in its body was recognised.
        REFUSED: the server did not answer with a success.
        LOST: no complete reply came.
        SKIPPED: it was not made.
    """

    READ = "read"
    SHAPELESS = "shapeless"
    REFUSED = "refused"
    LOST = "lost"
    SKIPPED = "skipped"


class Reading(msgspec.Struct, frozen=True):
    """One read, and what its reply holds.

    Attributes:
        name: how a user calls it, such as `trading_sessions.active()`.
        template: its path, as this SDK writes it.
        state: how it ended.
        said: why it was not made or did not succeed.
        unknown: what came and no field takes, by its path in what was read, list indices left out: its JSON type.
        unset: the fields that were None in everything that was read, as `TradingSession.close_reason`.
        reply: the reply, where one came.
    """

    name: str
    template: str
    state: ReadState
    said: str = ""
    unknown: Mapping[str, str] = {}
    unset: tuple[str, ...] = ()
    reply: Reply[Any] | None = None

    @property
    def breaks(self) -> bool:
        """Whether this endpoint does not work with this SDK: it is not there, or what it answers is not understood."""
        is_missing = self.state is ReadState.REFUSED and _NO_ROUTE.search(self.said) is not None
        return self.state is ReadState.SHAPELESS or is_missing


async def read_all(alura: AsyncAlura) -> AsyncIterator[Reading]:
    """Make every harmless read, one after another: GETs only, and a sign-in where the client has a wallet.

    Ids are taken from what was read before. `auth.trading_key()`, which returns a private key, is never called.

    Args:
        alura: the client; without a wallet and a token, what needs one is skipped.
    """
    known = dict(_USUAL)
    reads = [expected for expected in expectations() if expected.route.method == "GET"]
    for expected in sorted(reads, key=lambda one: one.name not in _FIRST):
        reading, value = await _read(alura, expected, known)
        known.update(_ids(expected.name, value))
        yield reading


async def _read(alura: AsyncAlura, expected: Expected, known: Mapping[str, str]) -> tuple[Reading, Any]:
    if expected.name in _NEVER:
        return _ended(expected, ReadState.SKIPPED, _NEVER[expected.name]), None
    for name in expected.needed:
        if name not in known:
            why = f"it needs a {name}, and {_SOURCES[name]} brought none"
            return _ended(expected, ReadState.SKIPPED, why), None
    arguments: dict[str, Any] = {name: known[name] for name in expected.needed}
    # A server that knows no `limit` may ignore it, or refuse it.
    limits: list[dict[str, Any]] = [{"limit": _LIMIT}, {}] if "limit" in expected.optional else [{}]
    reading, value = await _try(alura, expected, {**arguments, **limits.pop(0)})
    if limits and reading.reply is not None and reading.reply.status == HTTPStatus.BAD_REQUEST:
        reading, value = await _try(alura, expected, arguments)
    return reading, value


async def _try(alura: AsyncAlura, expected: Expected, arguments: Mapping[str, Any]) -> tuple[Reading, Any]:
    reply: Reply[Any] | None = None
    try:
        request: Request[Any] = expected.make(**arguments)
        reply = await alura.send_raw(request)
        value = reply.decode()
    except AluraError as error:
        return _ended(expected, _state(error), str(error), reply), None
    unknown, unset = leftovers(value)
    return Reading(expected.name, expected.route.template, ReadState.READ, "", unknown, unset, reply), value


def _state(error: AluraError) -> ReadState:
    if isinstance(error, ShapeError):
        return ReadState.SHAPELESS
    if isinstance(error, TransportError):
        return ReadState.LOST
    return ReadState.REFUSED if isinstance(error, CallError) else ReadState.SKIPPED


def _ended(expected: Expected, state: ReadState, why: str, reply: Reply[Any] | None = None) -> Reading:
    return Reading(expected.name, expected.route.template, state, printable(why), reply=reply)


def _ids(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """What a reply brings for the reads that follow."""
    if name == "trading_sessions.active()" and value:
        yield "session_id", value[0].id
        yield from (("trade_id", session.trade_id) for session in value if session.trade_id is not None)
    elif name == "trading_sessions.current_trade()" and value is not None:
        yield "trade_id", value.id
    elif name == "user.profile()" and value is not None and value.id is not None:
        yield "user_id", value.id
    elif name == "indicators.symbols()" and value:
        yield "symbol", value[0]


def leftovers(value: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    """What a reply has and no field took, and the fields that nothing in it filled.

    Args:
        value: what `Reply.decode()` gave.

    Returns:
        What is in `.extra` at any level, by its path in the value, list indices left out, with its JSON type; and the
        fields that are None wherever they could have been something.
    """
    unknown: dict[str, str] = {}
    seen: dict[str, bool] = {}
    _look(value, "$", unknown, seen)
    return unknown, tuple(name for name, is_set in seen.items() if not is_set)


def _look(value: Any, path: str, unknown: dict[str, str], seen: dict[str, bool]) -> None:
    for name, inner in getattr(value, "extra", {}).items():
        # What stood around the value is named by its whole path.
        where = re.sub(r"\[\d+\]", "[]", name) if name.startswith("$") else f"{path}.{name}"
        unknown[clip(printable(where), 2 * _LONGEST)] = _kind(inner) + _unread(value, name)
    if isinstance(value, Model):
        for field in msgspec.structs.fields(value):
            if field.name == "_extra":
                continue
            inner = getattr(value, field.name)
            about = f"{type(value).__name__}.{field.name}"
            seen[about] = seen.get(about, False) or inner is not None
            _look(inner, f"{path}.{field.encode_name}", unknown, seen)
    elif isinstance(value, list):
        for inner in value:
            _look(inner, f"{path}[]", unknown, seen)


def _unread(value: Any, name: str) -> str:
    """Whether a name stands for a field that its value could not be read as."""
    if not isinstance(value, Model):
        return ""
    field = next((field for field in meant(type(value), name) if getattr(value, field) is None), None)
    return "" if field is None else f", which cannot be read as {type(value).__name__}.{field}"


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")
