"""A call as a value: what an endpoint is (`Route`), what one call adds (`Parts`), and both together (`Request`)."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from types import FunctionType, UnionType
from typing import Any, Generic, TypeAlias, TypeVar, Union, get_args, get_origin
from urllib.parse import quote

import msgspec

from ..errors import InvalidArgumentError
from .arguments import json_value, path_segment, query_text
from .decode import Shape

T = TypeVar("T")

Params: TypeAlias = Mapping[str, Any]
"""Query parameters of your own, for a server that wants others than the assumed ones."""

Extra: TypeAlias = Mapping[str, Any]
"""Body fields of your own, for a server that wants others than the assumed ones."""


EXIT_PATIENCE_S = 2.0
"""How long an urgent call heeds a pause that the server asks for, and waits for what it could do without."""

# Segments of letters that need no encoding, `:name` for what is filled in; no empty, `.` or `..` segment.
_TEMPLATE = re.compile(r"/|(?:/(?!\.{1,2}(?:/|$))(?::[A-Za-z_]\w*|[A-Za-z0-9._~-]+))+", re.ASCII)


class Effect(enum.Enum):
    """What a call does to the server's state, and so whether it may be made twice.

    Attributes:
        READ: changes nothing (GET).
        REPEATABLE: a POST that is harmless to repeat.
        ONCE: moves money or orders: never sent again unless it is certain that the server did not act.
    """

    READ = "read"
    REPEATABLE = "repeatable"
    ONCE = "once"


class Access(enum.Enum):
    """Whether a call carries a token.

    Attributes:
        PUBLIC: never.
        OPTIONAL: when the client holds one; on a 401 it signs in, if it can, and calls once more.
        BEARER: always; the client signs in first.
    """

    PUBLIC = "public"
    OPTIONAL = "optional"
    BEARER = "bearer"


class Lane(enum.IntEnum):
    """Whose call goes first when calls have to wait.

    Attributes:
        EXIT: what closes, and a sign-in.
        EXIT_READ: the reads that see an exit through.
        SETTLING: the reads that tell what became of a create.
        TRADING: what opens and transfers.
        ACCOUNT: reads of the account, and what else is not market data.
        MARKET: market data.
    """

    EXIT = 0
    EXIT_READ = 1
    SETTLING = 2
    TRADING = 3
    ACCOUNT = 4
    MARKET = 5

    @property
    def is_urgent(self) -> bool:
        """Whether its calls need no slot, heed a pause of the server only briefly, and are repeated without budget."""
        return self < Lane.TRADING


class Action(enum.Enum):
    """What a call does with money, and so what is checked before it and what can be read after it.

    Attributes:
        OPEN: opens a position: guarded, and must not go out late.
        CLOSE: closes what is open: nothing stands in its way.
        TRANSFER: moves money: guarded, and no read tells what became of it.
        SIGN_IN: obtains a token: moves no money, and is begun anew where its end is not known.
        OTHER: none of these.
    """

    OPEN = "open"
    CLOSE = "close"
    TRANSFER = "transfer"
    SIGN_IN = "sign_in"
    OTHER = "other"

    @property
    def is_guarded(self) -> bool:
        """Whether a guard judges such calls, and one of them that is unresolved blocks others that ask for the same."""
        return self in (Action.OPEN, Action.TRANSFER)


class Route(Generic[T]):
    """What an endpoint is, apart from its arguments.

    The SDK's own routes belong to the methods of its groups. Make one yourself to call an endpoint that this
    version does not know:

        route = Route("GET", "/vaults/:vaultId", dict, access=Access.BEARER)
        vault = await alura.send(route.request("42"))

    Args:
        method: `GET` or `POST`, the only two of the API.
        template: the path, with `:name` for each segment that a call fills in.
        returns: the type that a successful reply is decoded into.
        effect: by default `READ` for GET and `ONCE` for POST.
        access: whether the call carries a token.
        lane: whose call goes first.
        action: what it does with money; a client that has a guard makes no ONCE call that does not say so.
        own_connection: whether it has a connection of its own, so that nothing can hold it up or answer for it; `ONCE`
            calls always have.

    Raises:
        InvalidArgumentError: another method; a GET that is not a READ; a READ that is not a GET.
    """

    __slots__ = (
        "_pieces",
        "_returns",
        "_shape",
        "access",
        "action",
        "effect",
        "is_recorded",
        "lane",
        "may_refuse",
        "method",
        "name",
        "own_connection",
        "says_action",
        "template",
    )

    def __init__(
        self,
        method: str,
        template: str,
        returns: type[T],
        *,
        effect: Effect | None = None,
        access: Access = Access.OPTIONAL,
        lane: Lane = Lane.ACCOUNT,
        action: Action | None = None,
        own_connection: bool = False,
    ) -> None:
        if method not in ("GET", "POST"):
            # aiohttp repeats other idempotent methods by itself on a lost connection, and the API has none.
            raise InvalidArgumentError(f"method {method!r}: the API has GET and POST only")
        if effect is None:
            effect = Effect.READ if method == "GET" else Effect.ONCE
        if (effect is Effect.READ) != (method == "GET"):
            raise InvalidArgumentError(f"a {method} cannot be {effect.name}: READ is GET, and GET is READ")
        if not _TEMPLATE.fullmatch(template):
            raise InvalidArgumentError(
                f"template {template!r}: write it like '/vaults/:vaultId/logs'; what a call fills in is encoded, "
                "what stands here is sent as it is"
            )
        self.method = method
        self.template = template
        self.effect = effect
        self.access = access
        self.lane = lane
        self.action = action or Action.OTHER
        self.says_action = action is not None
        # What the server counts calls by.
        self.name = f"{method} {template}"
        self.own_connection = own_connection or effect is Effect.ONCE
        self.is_recorded = effect is Effect.ONCE and action is not Action.SIGN_IN
        self.may_refuse = False
        self._returns: Any = returns
        self._shape: Shape[T] | None = None
        # "/a/:b/c" becomes ["/a/", ":b", "/c"]: text that is sent as it stands, and places to fill in.
        self._pieces = [piece for piece in re.split(r"(:\w+)", template) if piece]

    @property
    def returns(self) -> Any:
        """The type that a successful reply is decoded into."""
        # Annotations name Structs that may be defined below the group, so the type is read on first use.
        if isinstance(self._returns, FunctionType):
            self._returns = self._returns()
        return self._returns

    @property
    def shape(self) -> Shape[T]:
        """What makes the body of a success into the type. Made on first use, once."""
        if self._shape is None and (own := getattr(self.returns, "__shape__", None)) is not None:
            # What is no Struct, such as a table, may bring what reads it.
            self._shape = own(self.template)
        if self._shape is None:
            # A type with room for a refusal decodes one without a complaint, so its successes are looked at again.
            room = {"ok"} if self.effect is Effect.READ else {"ok", "message", "status"}
            fields = getattr(self.returns, "__struct_fields__", ())
            self.may_refuse = not _is_of_structs(self.returns) or not room.isdisjoint(fields)
            self._shape = Shape(self.returns, self.template)
        return self._shape

    def fill(self, parts: Parts[T]) -> Request[T]:
        """Put one call's parts into their places."""
        pieces = self._pieces
        if len(pieces) == 1 and not parts.path:
            path = self.template
        else:
            segments = iter(parts.path)
            try:
                path = "".join([path_segment(piece, next(segments)) if piece[0] == ":" else piece for piece in pieces])
            except StopIteration:
                raise InvalidArgumentError(f"{self.template} has more segments to fill in than were given") from None
            if next(segments, None) is not None:
                raise InvalidArgumentError(f"{self.template} has fewer segments to fill in than were given")
        query = ""
        if parts.query or parts.params:
            query = _encode_query({**(parts.query or {}), **(parts.params or {})})
        body: bytes | None = None
        if parts.body is not None or parts.extra:
            if self.method == "GET":
                raise InvalidArgumentError(f"GET {self.template}: a GET has no body; give query parameters")
            body = _encode_body({**(parts.body or {}), **(parts.extra or {})})
            if parts.body and self.action in (Action.OPEN, Action.TRANSFER):
                arguments = tuple(name for name in parts.body if name not in (parts.extra or ()))
                return Request(self, path, query, body, arguments)
        return Request(self, path, query, body)

    def request(
        self,
        *path: str | int,
        query: Params | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Request[T]:
        """Make a request of this route.

        Args:
            path: the text of each `:name` segment, in order; it is percent-encoded.
            query: query parameters; None values are left out.
            body: JSON fields; None values are left out, numbers are written without an exponent.

        Raises:
            InvalidArgumentError: a segment would escape its place, or a value cannot be written.
        """
        # As those of `extra`, its names are not a method's.
        return self.fill(Parts(*path, query=query, body=None if body is None else {}, extra=body))

    def __repr__(self) -> str:
        return f"<Route {self.name}>"


class Parts(Generic[T]):
    """What one call adds to its route: `T` is the type that the reply is decoded into.

    `params` and `extra` are the user's own, and have the last word over `query` and `body`.
    """

    __slots__ = ("body", "extra", "params", "path", "query")

    def __init__(
        self,
        *path: str | int,
        query: Params | None = None,
        params: Params | None = None,
        body: Mapping[str, Any] | None = None,
        extra: Extra | None = None,
    ) -> None:
        self.path = path
        self.query = query
        self.params = params
        self.body = body
        self.extra = extra


class Request(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One call, as a plain value: nothing is sent until `alura.send(request)`.

    Attributes:
        route: what the endpoint is.
        path: the path as it is sent, percent-encoded.
        query: the query as it is sent, without the question mark; may be empty.
        body: the JSON body as it is sent, or None.
        arguments: of a call that opens or transfers, the fields of its body that are a method's own arguments, and no
            fields of `extra`: for the words of a refusal.
    """

    route: Route[T]
    path: str
    query: str = ""
    body: bytes | None = None
    arguments: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.route.method

    def json(self) -> Any:
        """The body as Python values, or None. Numbers with a fraction come as floats."""
        return None if self.body is None else msgspec.json.decode(self.body)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own shows every field, and a traceback that rich renders asks for it.
        return [("method", self.method), ("path", self.path), ("query", self.query)]

    def __repr__(self) -> str:
        # The body of a sign-in holds a signature, so no body is shown.
        target = f"{self.path}?{self.query}" if self.query else self.path
        size = "" if self.body is None else f" ({len(self.body)} bytes)"
        return f"<Request {self.route.method} {target}{size}>"


def _is_of_structs(returns: Any) -> bool:
    """Whether a type is a Struct, or a list of something, and so does not take any object that comes."""
    struct = get_origin(returns) or returns
    if struct in (Union, UnionType):
        return all(_is_of_structs(member) for member in get_args(returns) if member is not type(None))
    return isinstance(struct, type) and issubclass(struct, msgspec.Struct | list)


def _encode_body(values: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(json_value(values))
    except UnicodeEncodeError:
        raise InvalidArgumentError("body: has text with half a surrogate pair, which UTF-8 cannot write") from None


def _encode_query(values: Mapping[str, Any]) -> str:
    pairs: list[str] = []
    for name, value in values.items():
        if not isinstance(name, str):
            raise InvalidArgumentError(f"params: {name!r} is no name of a parameter: give text")
        if value is None:
            continue
        items = value if isinstance(value, list | tuple) else (value,)
        left = quote(query_text("the name of a parameter", name), safe="")
        pairs += [f"{left}={quote(query_text(name, item), safe='')}" for item in items]
    return "&".join(pairs)
