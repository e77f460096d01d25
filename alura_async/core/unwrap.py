"""Finding a value in what is wrapped around it: `{data: …}`, `{success: true, result: {items: […]}, total: 2}`.

Whatever stands under any name is asked, by the names in it, how surely it is what is wanted (`Sought.probe`), and so is
the body itself. In this order:

1. What stands under the name of the thing (`sessions`, `currentTrade`), also if it is an empty list.
2. What stands under a name that wrappers have (`data`, `result`), if it is at least as sure as the body itself; or if
   it is a list where one is sought, and no name in the body is telling.
3. The body itself, if any of its names is telling.
4. What stands under any other name, if it is telling, as the own name of a list is, and nothing else is as sure.

Where two have the same claim, none is taken.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple, Protocol

from .names import folded

TELLING = 10
"""What a name counts that tells a type from others; one that anything may have counts 1."""

# What says something of a reply, or of anything, and so does not tell one type from another.
# fmt: off
_SAID_OF_ANYTHING = frozenset((
    "success", "succeeded", "ok", "status", "statuscode", "state", "code", "message", "messages", "msg", "detail",
    "description", "text", "error", "errors", "timestamp", "time", "ts", "date", "requestid", "traceid",
    "correlationid", "version", "apiversion", "type", "kind", "path", "method",
))
# Names around values that do not say what these are; the earlier ones are the likelier.
_WRAPPERS = (
    "data", "result", "response", "payload", "body", "items", "results", "rows", "records", "list", "entries",
    "docs", "documents", "content", "contents", "elements", "values", "objects", "collection", "hits", "edges",
    "nodes", "node",
)
# fmt: on
_IS_WRAPPER = frozenset(_WRAPPERS)


class Sought(Protocol):
    """What is looked for."""

    names: frozenset[str]
    """What the thing is called, as `folded` has it."""

    def probe(self, value: Any) -> int:
        """How surely a value is one, by its names: 0 where it is none."""
        ...

    is_list: bool
    """Whether it is a list, so that one under its own name is it, even if it is empty."""

    def owns(self, name: str) -> bool:
        """Whether what is under this name belongs to the thing itself."""
        ...


class Place(NamedTuple):
    """Where a value is.

    Attributes:
        score: how surely that is it; 0 where it is nowhere.
        steps: the names that lead to it.
    """

    score: int
    steps: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Its JSONPath."""
        return functools.reduce(below, self.steps, "$")

    def take(self, value: Any) -> tuple[Any, dict[str, Any]]:
        """What is there, and what stands around it by its JSONPath."""
        around: dict[str, Any] = {}
        path = "$"
        for step in self.steps:
            around.update((below(path, name), item) for name, item in value.items() if name != step)
            path = below(path, step)
            value = value[step]
        return value, around


NOWHERE = Place(0)


def find(sought: Sought, value: Any, depth: int, hints: frozenset[str] = frozenset()) -> Place:
    """Find the place that holds most surely what is sought.

    Args:
        sought: tells what it is.
        value: where to look.
        depth: how many wrappers there may be.
        hints: further names that the thing may have here, as `folded` has them.
    """
    here = Place(sought.probe(value))
    if depth == 0 or type(value) is not dict:
        return here
    titled, wrapped, others = list[Place](), list[Place](), list[Place]()
    lowest = 0
    for name, rank in _by_likelihood(value, sought.names, hints):
        if here.score >= TELLING and sought.owns(name):
            continue
        inner = find(sought, value[name], depth - 1, hints)
        if not inner.score:
            continue
        inner = Place(inner.score, (name, *inner.steps))
        if rank is None:
            others.append(inner)
        elif rank >= 0:
            wrapped.append(inner)
        elif not titled or rank == lowest:
            titled.append(inner)
            lowest = rank
    if titled and (sought.is_list or max(titled).score >= here.score):
        if len(titled) > 1:
            return NOWHERE
        # Its own name tells of a list, whatever is in it.
        return titled[0]._replace(score=max(titled[0].score, TELLING)) if sought.is_list else titled[0]
    # Of equals the first: its name is the likelier.
    surest = max(wrapped, key=_score, default=NOWHERE)
    if surest.score and (surest.score >= here.score or (here.score < TELLING and _is_list(sought, value, surest))):
        return surest
    if here.score >= TELLING:
        return here
    surest = max(others, key=_score, default=NOWHERE)
    if surest.score >= TELLING:
        return surest if [place.score for place in others].count(surest.score) == 1 else NOWHERE
    return here


def holds_nothing(value: Any, names: frozenset[str], depth: int) -> bool:
    """Whether a body says that there is no such thing: `{"success": true, "data": null}`."""
    if type(value) is not dict or depth == 0 or any(value.get(name) for name in ("error", "errors")):
        return False
    named = [value[name] for name, rank in _by_likelihood(value, names, with_nulls=True) if rank is not None]
    return len(named) == 1 and (named[0] in (None, {}, []) or holds_nothing(named[0], names, depth - 1))


def is_telling(name: str) -> bool:
    """Whether a name tells one type from others."""
    plain = folded(name)
    return plain not in _SAID_OF_ANYTHING and plain not in _IS_WRAPPER


def is_wrapper(name: str) -> bool:
    """Whether a name is one that wrappers have, whatever is in them."""
    return folded(name) in _IS_WRAPPER


def below(path: str, name: str) -> str:
    """The JSONPath of what has a name in an object."""
    return f"{path}.{name}" if name.isidentifier() else f"{path}['{name}']"


def last_name(path: str) -> str:
    """The name at the end of a JSONPath that `below` made."""
    if not path.endswith("']"):
        return path.rpartition(".")[2]
    return [step[1] for step in _STEP.finditer(path)][-1]


# One step of a JSONPath. In the quotes there may be dots and brackets.
_STEP = re.compile(r"\.[^.\[]+|\['(.*?)'\](?=\Z|[.\[])", re.DOTALL)


def _is_list(sought: Sought, value: Any, place: Place) -> bool:
    """Whether a list is sought and stands there: `{"data": [], "timestamp": …}` is no log entry without data."""
    return sought.is_list and type(place.take(value)[0]) is list


def _score(place: Place) -> int:
    return place.score


def _by_likelihood(
    value: dict[str, Any], names: frozenset[str], hints: frozenset[str] = frozenset(), *, with_nulls: bool = False
) -> list[tuple[str, int | None]]:
    """The names of objects and lists, the likeliest first.

    Each with a rank: below 0 if it is the thing's own, None if it says nothing.
    """
    ranked: list[tuple[int, str]] = []
    for name, item in value.items():
        if isinstance(item, dict | list) or (with_nulls and item is None):
            plain = folded(name)
            if plain in _IS_WRAPPER:
                ranked.append((_WRAPPERS.index(plain), name))
            elif plain in hints or plain in names:
                ranked.append((-3 if plain in hints else -2, name))
            elif plain.endswith(tuple(names)):
                # Of `activeSessions` and `closedSessions`, the active ones may be asked for.
                ranked.append((-3 if plain.startswith(tuple(hints)) else -1, name))
            else:
                ranked.append((_LAST, name))
    ranked.sort(key=lambda pair: pair[0])
    return [(name, None if rank == _LAST else rank) for rank, name in ranked]


_LAST = len(_WRAPPERS)
