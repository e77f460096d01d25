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
from ..core.request import Access, Request
from ..core.text import clip, printable
from ..core.unwrap import below
from ..errors import (
    AluraError,
    CallError,
    RateLimitedError,
    ServerError,
    ShapeError,
    SignInError,
    TransportError,
    UnauthorizedError,
)
from .document import kind_of
from .expected import Expected, expectations
from .recording import is_name

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
# Of what is sent, the server takes something not.
_NOT_TAKEN = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.NOT_IMPLEMENTED,
)
# A step of a JSONPath, as `below` makes it.
_STEP = re.compile(r"\.(\w+)|\['(.*?)'\]", re.DOTALL)
# What a NestJS server says where it has no such path.
_NO_ROUTE = re.compile(r"cannot get /", re.IGNORECASE)


class ReadState(enum.StrEnum):
    """How a read ended.

    Attributes:
        READ: it was read.
        SHAPELESS: it succeeded, and nothing in its body was recognised.
        REFUSED: the server did not answer with a success.
        UNSIGNED: the sign-in failed, or the server does not take the token.
        LOST: no complete reply came.
        SKIPPED: it was not made.
    """

    READ = "read"
    SHAPELESS = "shapeless"
    REFUSED = "refused"
    UNSIGNED = "unsigned"
    LOST = "lost"
    SKIPPED = "skipped"


class Reading(msgspec.Struct, frozen=True):
    """One read, and what its reply holds.

    Attributes:
        name: how a user calls it, such as `trading_sessions.active()`.
        template: its path, as this SDK writes it.
        state: how it ended.
        said: why it was not made or did not succeed; or, of one that was read, why it had to be made without `limit`.
        unknown: what came and no field takes, by its path in what was read, list indices left out: its JSON type.
        unset: the fields that were None in everything that was read, as `TradingSession.close_reason`.
        access: whether it carries a token.
        refuses_limit: whether the server refused it with `limit`, and not without.
        reply: the reply, where one came.
    """

    name: str
    template: str
    state: ReadState
    said: str = ""
    unknown: Mapping[str, str] = {}
    unset: tuple[str, ...] = ()
    access: Access = Access.OPTIONAL
    refuses_limit: bool = False
    reply: Reply[Any] | None = None

    @property
    def breaks(self) -> bool:
        """Whether this endpoint does not work with this SDK: it is not there, it does not take what is sent, or what it
        answers is not understood.
        """
        if self.state is ReadState.REFUSED and self.reply is not None:
            # Where the path has an id, it may be the thing that is not there.
            is_missing = ":" not in self.template or _NO_ROUTE.search(self.said) is not None
            return self.reply.status in _NOT_TAKEN or (self.reply.status == HTTPStatus.NOT_FOUND and is_missing)
        return self.refuses_limit or self.state in (ReadState.SHAPELESS, ReadState.UNSIGNED)


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
    if "limit" not in expected.optional:
        return await _try(alura, expected, arguments)
    reading, value = await _try(alura, expected, {**arguments, "limit": _LIMIT})
    if reading.reply is None or reading.reply.status not in _NOT_TAKEN:
        return reading, value
    # What is in the reply is wanted all the same.
    without, value = await _try(alura, expected, arguments)
    if without.reply is None or without.reply.status in _NOT_TAKEN:
        return reading, None
    said = f"limit={_LIMIT} is refused: {reading.said}"
    return msgspec.structs.replace(without, said=said, refuses_limit=True), value


async def _try(alura: AsyncAlura, expected: Expected, arguments: Mapping[str, Any]) -> tuple[Reading, Any]:
    reply: Reply[Any] | None = None
    try:
        request: Request[Any] = expected.make(**arguments)
        reply = await alura.send_raw(request)
        value = reply.decode()
    except AluraError as error:
        return _ended(expected, _state(error, expected.route.access), str(error), reply), None
    unknown, unset = leftovers(value)
    return msgspec.structs.replace(_ended(expected, ReadState.READ, "", reply), unknown=unknown, unset=unset), value


def _state(error: AluraError, access: Access) -> ReadState:
    if isinstance(error, ShapeError):
        return ReadState.SHAPELESS
    if isinstance(error, SignInError):
        # A server that is down has not refused it.
        is_lost = isinstance(error.__cause__, TransportError | ServerError | RateLimitedError)
        return ReadState.LOST if is_lost else ReadState.UNSIGNED
    if isinstance(error, UnauthorizedError) and access is Access.BEARER:
        return ReadState.UNSIGNED
    if isinstance(error, TransportError):
        return ReadState.LOST
    return ReadState.REFUSED if isinstance(error, CallError) else ReadState.SKIPPED


def _ended(expected: Expected, state: ReadState, why: str, reply: Reply[Any] | None = None) -> Reading:
    route = expected.route
    return Reading(expected.name, route.template, state, printable(why), access=route.access, reply=reply)


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
        where = re.sub(r"\[\d+\]", "[]", name) if name.startswith("$") else below(path, name)
        unknown[clip(_names_only(where), 2 * _LONGEST)] = kind_of(inner) + _unread(value, name)
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


def _names_only(path: str) -> str:
    """A path with `*` for each step that is no name, but the key of a map: an address, an id, a token."""
    return printable(_STEP.sub(lambda step: step[0] if is_name(step[1] or step[2]) else ".*", path))
