"""Personalities: whole ways in which a backend may answer, for clients that have to cope with any of them.

Only the bodies of the two sign-in calls are documented, and those are the same in all of them; so are paths, statuses,
what requests hold, and that a refusal has a `message` in its body. All else differs as it does among real backends.
What a reply says stays: amounts to the last digit, times to the millisecond, ids that later calls can use.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from ...errors import ConfigurationError
from .. import wire
from ..refusals import ErrorBody
from ..routing import ServerRoute
from .catalogue import Bybit, Columns, Django, Dotnet, GraphQL, Hyperliquid, JsonApi, Mongo, Nest, Terse
from .personality import Personality

CANONICAL = "canonical"
"""The personality that answers in exactly the shape of this SDK's types."""

_OTHERS: Mapping[str, Personality] = {
    "nest": Nest(),
    "mongo": Mongo(),
    "django": Django(),
    "hyperliquid": Hyperliquid(),
    "columns": Columns(),
    "terse": Terse(),
    "dotnet": Dotnet(),
    "jsonapi": JsonApi(),
    "graphql": GraphQL(),
    "bybit": Bybit(),
}

PERSONALITIES: Mapping[str, str] = MappingProxyType(
    {
        CANONICAL: "the shape of this SDK's types: camelCase, amounts as text, ISO times, what is absent left out",
        **{name: personality.about for name, personality in _OTHERS.items()},
    }
)
"""What a sandbox can answer like: names, and a line on each."""


class Answers(msgspec.Struct, frozen=True, eq=False):
    """How a personality answers.

    Attributes:
        name: its name.
        routes: the endpoints.
        refuse: writes a refusal.
        refusals: the type of what it writes, for the OpenAPI document.
    """

    name: str
    routes: tuple[ServerRoute, ...]
    refuse: Callable[[ErrorBody], bytes]
    refusals: Any


def answers_of(name: str, routes: tuple[ServerRoute, ...]) -> Answers:
    """How a personality answers at these routes.

    Raises:
        ConfigurationError: there is no such personality.
    """
    if name not in list(PERSONALITIES):
        raise ConfigurationError(f"shapes={name!r}: choose one of {', '.join(PERSONALITIES)}")
    return _answers(name, routes)


@functools.lru_cache(maxsize=16)
def _answers(name: str, routes: tuple[ServerRoute, ...]) -> Answers:
    if name == CANONICAL:
        return Answers(name, routes, wire.encode, ErrorBody)
    personality = _OTHERS[name]
    return Answers(name, tuple(map(personality.serve, routes)), personality.refuse, Any)


__all__ = ["CANONICAL", "PERSONALITIES", "Answers", "answers_of"]
