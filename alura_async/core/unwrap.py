"""Finding a value in what is wrapped around it: `{data: …}`, `{success: true, result: {items: […]}, total: 2}`.

Whatever stands under any name is asked, by the names in it, how surely it is what is wanted (`Sought.probe`), and so is
the body itself. In this order:

1. What stands under a name of the thing (`sessions`, `currentTrade`); of a list, also if it is empty. Not what stands
   under the name of a past one (`closedSessions`).
2. The body itself, if any of its names is telling; but of a list, one that stands under a name that wrappers have.
3. What stands under a name that wrappers have (`data`, `result`).
4. What stands under the only other name under which there is something telling; not under the name of another thing
   (`user`, `trade`).
5. The body itself, if any of its names is known.

Where two have the same claim, none is taken, but of wrappers the one with the likelier name; nor is anything taken
where a name of the thing holds null (`is_denied`).
"""

from __future__ import annotations

import enum
import functools
import re
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from .names import folded

TELLING = 10
"""What a name counts that tells a type from others; one that anything may have counts 1."""

# What says something of a reply, or of anything, and so does not tell one type from another.
# fmt: off
_SAID_OF_ANYTHING = frozenset((
    "success", "succeeded", "ok", "status", "statuscode", "state", "code", "message", "messages", "msg", "detail",
    "description", "text", "error", "errors", "timestamp", "time", "ts", "date", "servertime", "requestid", "traceid",
    "correlationid", "version", "apiversion", "type", "kind", "path", "method", "took", "duration",
    "retcode", "retmsg", "retextinfo", "jsonapi", "extensions", "meta", "links",
    "id", "createdat", "updatedat", "userid",
))
# Names around values that do not say what these are; the earlier ones are the likelier.
_WRAPPERS = (
    "data", "result", "response", "payload", "body", "items", "results", "rows", "records", "list", "entries",
    "docs", "documents", "content", "contents", "elements", "values", "objects", "collection", "hits", "edges",
    "nodes", "node",
)
# Things with ids and times of their own, of which one must not be taken for another, and what stands beside a result.
_OTHER_THINGS = (
    "user", "users", "profile", "account", "accounts", "wallet", "owner", "creator", "author", "referrer", "referral",
    "referrals", "session", "sessions", "trade", "trades", "position", "positions", "order", "orders", "fill", "fills",
    "asset", "assets", "config", "configuration", "settings", "error", "errors", "warnings", "meta", "metadata",
    "links", "pagination", "paging", "pageinfo", "query", "params", "filters", "request",
)
# Before the name of a thing: it is not one of those that there are now.
_PAST = (
    "closed", "past", "inactive", "expired", "previous", "old", "archived", "finished", "completed", "ended",
    "cancelled", "canceled", "deleted", "history", "historical", "last", "recent", "stopped", "failed",
)
_PRESENT = frozenset(("pending", "open", "opening", "running", "active", "closing", "current"))
# fmt: on
_IS_WRAPPER = frozenset(_WRAPPERS)
# A name of so few letters ends others by chance.
_SHORTEST = 3
MOST_NAMES = 2_000
"""An object of more names than these is a list that was made into one, or an attack."""


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

    def may_be_field(self, name: str) -> bool:
        """Whether a name may be one of a field of it."""
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
    if depth == 0 or type(value) is not dict or len(value) > MOST_NAMES:
        return here
    found: dict[_Claim, list[Place]] = {claim: [] for claim in _Claim}
    for name, claim in _claims(value, sought.names, hints):
        is_rows = sought.is_list and claim is _Claim.WRAPPER and type(value[name]) is list
        if here.score >= TELLING and not is_rows and (claim in _WEAK or sought.owns(name)):
            continue
        inner = find(sought, value[name], depth - 1, hints)
        if inner.score:
            found[claim].append(Place(inner.score, (name, *inner.steps)))
    titled = found[_Claim.ASKED] or found[_Claim.TITLE]
    if titled and (sought.is_list or max(titled).score >= here.score):
        if len(titled) > 1:
            return NOWHERE
        # Its own name tells of a list, whatever is in it.
        return titled[0]._replace(score=max(titled[0].score, TELLING)) if sought.is_list else titled[0]
    if here.score >= TELLING:
        # What is said beside a list does not make one thing of it: `{"sessionId": "s1", "data": []}`.
        return found[_Claim.WRAPPER][0] if found[_Claim.WRAPPER] else here
    if found[_Claim.WRAPPER]:
        # Of equals the first: its name is the likelier.
        return max(found[_Claim.WRAPPER], key=attrgetter("score"))
    others = [place for place in found[_Claim.OTHER] if place.score >= TELLING]
    if others:
        return others[0] if len(others) == 1 else NOWHERE
    return here


def is_denied(value: Any, place: Place, names: frozenset[str], sought: Sought) -> bool:
    """Whether a body says that there is nothing, where something was found under another name, or it itself.

    Args:
        value: the body.
        place: what was found in it.
        names: what the thing is called, as `folded` has it.
        sought: tells what it is.
    """
    for step in (*place.steps, None):
        if type(value) is not dict:
            return False
        nulls = [folded(name) for name, item in value.items() if item is None and not sought.may_be_field(name)]
        if any(is_called(name, names) for name in nulls) and (step is None or not is_called(folded(step), names)):
            return sought.is_list or place.score < TELLING or step is not None
        if step is None:
            return place.score < TELLING and any(name in _IS_WRAPPER for name in nulls)
        value = value[step]
    return False


def holds_nothing(value: Any, names: frozenset[str], depth: int) -> bool:
    """Whether a body says that there is no such thing, and nothing else: `{"success": true, "data": null}`."""
    if type(value) is not dict or depth == 0 or value.get("error") or value.get("errors"):
        return False
    # What has an id is something, though a column of it may be null.
    if "jsonrpc" not in value and any(value.get(name) is not None for name in ("id", "_id")):
        return False
    held = [
        name
        for name, item in value.items()
        if (item is None or type(item) in (dict, list)) and (is_wrapper(name) or is_called(folded(name), names))
    ]
    # That there is none may be said in words of its own: `{"hasTrade": false, "trade": null}`.
    beside = (name for name, item in value.items() if name not in held and item not in (None, False, [], {}))
    if len(held) != 1 or any(map(is_telling, beside)):
        return False
    inner = value[held[0]]
    return inner in (None, {}, []) or holds_nothing(inner, names, depth - 1)


def is_telling(name: str) -> bool:
    """Whether a name tells one type from others."""
    plain = folded(name)
    return plain not in _SAID_OF_ANYTHING and plain not in _IS_WRAPPER


def is_other_thing(name: str) -> bool:
    """Whether a name is that of a thing with an id of its own; it may be the one that is wanted."""
    return folded(name).endswith(_OTHER_THINGS)


def is_called(plain: str, names: frozenset[str]) -> bool:
    """Whether a folded name is one of these, or ends with one that is long enough to say so: `currentTrade`."""
    return plain in names or any(plain.endswith(name) for name in names if len(name) > _SHORTEST)


def is_present(name: str, names: frozenset[str]) -> bool:
    """Whether more of the things may be under a name, such as `pending` or `pendingSessions`."""
    plain = folded(name)
    return not plain.startswith(_PAST) and (plain in _PRESENT or is_called(plain, names))


def may_be_key(name: str) -> bool:
    """Whether a thing may be kept under a name in a map: no wrapper's, no other thing's, none of any reply."""
    return is_telling(name) and not is_other_thing(name) and not folded(name).startswith(_PAST)


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
    steps = [step[1] for step in _STEP.finditer(path)]
    return steps[-1] if steps else path


# One step of a JSONPath. In the quotes there may be dots and brackets.
_STEP = re.compile(r"\.[^.\[]+|\['(.*?)'\](?=\Z|[.\[])", re.DOTALL)


class _Claim(enum.Enum):
    """By what a name says that this is it."""

    ASKED = 0
    TITLE = 1
    WRAPPER = 2
    OTHER = 3


_WEAK = (_Claim.WRAPPER, _Claim.OTHER)


def _claims(value: dict[str, Any], names: frozenset[str], hints: frozenset[str]) -> list[tuple[str, _Claim]]:
    """The names of objects and lists that may be the thing, those of wrappers by their likelihood."""
    claims: list[tuple[int, str, _Claim]] = []
    for name, item in value.items():
        if not isinstance(item, dict | list):
            continue
        plain = folded(name)
        if plain in _IS_WRAPPER:
            claims.append((_WRAPPERS.index(plain), name, _Claim.WRAPPER))
        elif plain in hints or _begins(plain, hints):
            claims.append((0, name, _Claim.ASKED))
        elif is_called(plain, names):
            if not plain.startswith(_PAST):
                # Of `activeSessions` and `pendingSessions`, the active ones may be asked for.
                is_asked = plain.startswith(tuple(hints))
                claims.append((0, name, _Claim.ASKED if is_asked else _Claim.TITLE))
        elif not plain.startswith(_PAST) and not plain.endswith(_OTHER_THINGS):
            claims.append((0, name, _Claim.OTHER))
    claims.sort(key=lambda claim: claim[0])
    return [(name, claim) for _, name, claim in claims]


def _begins(plain: str, hints: frozenset[str]) -> bool:
    """Whether a name is the beginning of what was asked for: `current` of `currentTrade`."""
    return len(plain) > _SHORTEST and any(hint.startswith(plain) for hint in hints)
