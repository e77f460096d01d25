"""The route table's entries, what a handler is given, and how a path finds its handler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

import msgspec

from ..core.model import from_milliseconds
from .records import Account
from .refusals import unauthorized
from .state import Done, World
from .validation import Field

if TYPE_CHECKING:
    from .ranking import Leaderboard
    from .signin import Challenges, Tokens

T = TypeVar("T")

JSON = "application/json; charset=utf-8"


class Ready(msgspec.Struct, frozen=True):
    """A reply that is encoded already, with headers of its own."""

    content: bytes
    media: str
    headers: Mapping[str, str] = {}


@dataclass(slots=True, frozen=True)
class Services:
    """What the handlers work on."""

    world: World
    challenges: Challenges
    tokens: Tokens
    leaderboard: Leaderboard
    document: Callable[[], dict[str, Any]]


class ServerRoute(msgspec.Struct, frozen=True, eq=False):
    """One entry of the route table: what is served where, to whom, and how it is documented.

    Attributes:
        method: `GET` or `POST`.
        template: the path, with `:name` for what varies.
        handler: makes the reply; it holds the sandbox's lock, so it never waits for anything.
        returns: the type of the reply.
        bearer: whether it needs a token.
        body: the fields of the body.
        query: the parameters of the query.
        errors: statuses of its own that it refuses with, besides those that its kind brings.
        about: what it is for.
    """

    method: str
    template: str
    handler: Callable[[Call], object]
    returns: Any
    bearer: bool
    body: tuple[Field, ...]
    query: tuple[Field, ...]
    errors: tuple[int, ...]
    about: str

    @property
    def name(self) -> str:
        """Method and template: what the throttle counts by."""
        return f"{self.method} {self.template}"

    @property
    def parameters(self) -> list[str]:
        """The names of what varies in the path."""
        return [piece[1:] for piece in self.template.split("/") if piece.startswith(":")]


def serves(
    method: str,
    template: str,
    returns: Any,
    *,
    bearer: bool = False,
    body: tuple[Field, ...] = (),
    query: tuple[Field, ...] = (),
    errors: tuple[int, ...] = (),
) -> Callable[[Callable[[Call], object]], ServerRoute]:
    """Make a handler an entry of the route table; its docstring's first line says what it is for."""

    def define(handler: Callable[[Call], object]) -> ServerRoute:
        about = (handler.__doc__ or "").strip().partition("\n")[0]
        return ServerRoute(method, template, handler, returns, bearer, body, query, errors, about)

    return define


@dataclass(slots=True)
class Call:
    """One request, as its handler is given it: matched, throttled, authenticated and validated."""

    services: Services
    route: ServerRoute
    now_ms: int
    authority: str
    account: Account | None
    path: dict[str, str]
    query: dict[str, Any]
    body: dict[str, Any]

    @property
    def world(self) -> World:
        """Everything the sandbox knows."""
        return self.services.world

    @property
    def now(self) -> datetime:
        """When it is handled."""
        return from_milliseconds(self.now_ms)

    @property
    def unhurried_ms(self) -> int:
        """The time by which challenges and tokens live."""
        return self.world.clock.unhurried_ms()

    @property
    def user(self) -> Account:
        """The account that calls."""
        if self.account is None:
            raise unauthorized()
        return self.account

    def execute(self, kind: str, apply: Callable[[], Done[T]], account: Account | None = None) -> T:
        """Carry out a change of state in the name of this call."""
        return self.world.execute(
            apply,
            kind=kind,
            account=account or self.user,
            at_ms=self.now_ms,
            origin=(self.route.method, self.route.template),
        )


class Table:
    """Finds the route of a path: a literal segment goes before one that varies.

    Args:
        routes: all that is served.
    """

    def __init__(self, routes: Iterable[ServerRoute]) -> None:
        self._fixed: dict[tuple[str, str], ServerRoute] = {}
        self._varying: dict[tuple[str, int], list[tuple[tuple[str, ...], ServerRoute]]] = {}
        for route in routes:
            if route.parameters:
                pieces = tuple(route.template.split("/"))
                self._varying.setdefault((route.method, len(pieces)), []).append((pieces, route))
            else:
                self._fixed[route.method, route.template] = route
        for candidates in self._varying.values():
            candidates.sort(key=lambda candidate: [piece.startswith(":") for piece in candidate[0]])

    def find(self, method: str, raw_path: str) -> tuple[ServerRoute, dict[str, str]] | None:
        """The route of a path as it came, percent-encoded, and what its varying segments are."""
        # Express answers HEAD as it would GET, and keeps the body to itself.
        method = "GET" if method == "HEAD" else method
        route = self._fixed.get((method, raw_path))
        if route is not None:
            return route, {}
        given = raw_path.split("/")
        for pieces, candidate in self._varying.get((method, len(given)), ()):
            values: dict[str, str] = {}
            for piece, segment in zip(pieces, given, strict=True):
                if piece.startswith(":") and segment:
                    values[piece[1:]] = unquote(segment)
                elif piece != segment:
                    break
            else:
                return candidate, values
        return None
