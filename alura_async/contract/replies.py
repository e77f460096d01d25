"""What a method returns, held against the schema of the reply: which fields are found, and which are not."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, NamedTuple, TypeAlias, Union, get_args, get_origin

import msgspec

from ..core.model import Model
from ..core.names import meant
from ..core.outcome import Reply
from ..core.request import Route
from ..core.text import clip, printable
from ..errors import CallError
from ..groups.pages import Page
from ..secret import Secret
from .document import Document, Shape

Difference: TypeAlias = tuple[bool, str, str]
"""Whether it breaks something, where it is as a JSONPath, and what it is."""

_LONGEST = 60
# How many wrappers may be around a value.
_DEPTH = 3
# Of a list: how it may come, besides as a list.
_SINGLE, _MAP, _COLUMNS, _ROWS = "a single object", "a map", "columns", "a list"


def compare_reply(route: Route[Any], schema: Any, document: Document) -> Iterator[Difference]:
    """Hold what a method returns against the schema of its reply.

    Args:
        route: the endpoint.
        schema: the schema of a success's body; None where the document has none.
        document: where its references lead to.
    """
    if not document.shape(schema).is_described:
        yield False, "$", "the document does not describe it"
        return
    filled = {_snake(name) for name in re.findall(r":(\w+)", route.template)}
    yield from _Comparison(document, filled).whole(route.returns, schema)


class _Found(NamedTuple):
    """A place in a schema where what is looked for may be.

    Attributes:
        score: how much of it is there.
        path: the place.
        shape: what is there.
        form: how a list comes there.
    """

    score: int
    path: str
    shape: Shape
    form: str


class _Comparison:
    """One reply's type against its schema.

    Args:
        document: where references lead to.
        filled: the fields that a reply may lack because the request's path names them.
    """

    def __init__(self, document: Document, filled: set[str]) -> None:
        self._document = document
        self._filled = filled

    def whole(self, returns: Any, schema: Any) -> Iterator[Difference]:
        """A whole reply, in whatever it may be wrapped."""
        expected = _not_none(returns)
        found = self._search(expected, schema, "$", _DEPTH)
        if found is None or not found.score:
            yield True, "$", f"{_named(expected)} is expected, and nothing of it is described: {self._what(schema)}"
            return
        if found.path != "$":
            yield False, found.path, f"{_named(expected)} is in here, which is understood"
        yield from self._value(expected, found)

    def _search(self, expected: Any, schema: Any, path: str, depth: int) -> _Found | None:
        """Where in a schema the most of a type is; of equals, the outermost."""
        shape = self._document.shape(schema)
        candidates = list(self._here(expected, shape, path))
        if depth and "object" in shape.kinds:
            for name, inner in shape.properties.items():
                found = self._search(expected, inner, f"{path}.{_shown(name)}", depth - 1)
                if found is not None:
                    candidates.append(found)
        return max(candidates, key=lambda candidate: candidate.score, default=None)

    def _here(self, expected: Any, shape: Shape, path: str) -> Iterator[_Found]:
        """How a type may be at one place."""
        item = _item(expected)
        struct = _struct(expected)
        if struct is not None and "object" in shape.kinds:
            names = self._names(struct, shape)
            score = len(names)
            if _is_page(expected) and "data" in names:
                # What counts is what is on the page.
                inner = self._document.shape(shape.properties[names["data"]])
                score += self._list(item, inner, path).score if "array" in inner.kinds else 0
            yield _Found(score, path, shape, "")
        if _is_page(expected) and "array" in shape.kinds:
            yield self._list(_item(expected), shape, path)
        elif item is None or struct is not None:
            return
        elif "array" in shape.kinds:
            yield self._list(item, shape, path)
        elif "object" in shape.kinds:
            yield from self._no_list(item, shape, path)

    def _list(self, item: Any, shape: Shape, path: str) -> _Found:
        row = self._search(item, shape.items, f"{path}[]", 1) if _struct(item) is not None else None
        return _Found(row.score if row is not None and row.score else 1, path, shape, _ROWS)

    def _no_list(self, item: Any, shape: Shape, path: str) -> Iterator[_Found]:
        """A list that comes as an object."""
        struct = _struct(item)
        if struct is None:
            if shape.others is not None:
                yield _Found(1, path, shape, _MAP)
            return
        names = self._names(struct, shape)
        inner = {attribute: self._document.shape(shape.properties[name]) for attribute, name in names.items()}
        if len(names) > 1 and all("array" in found.kinds for found in inner.values()):
            yield _Found(len(names), path, shape, _COLUMNS)
        elif len(names) > 1:
            yield _Found(len(names), path, shape, _SINGLE)
        if shape.others is not None:
            row = self._search(item, shape.others, f"{path}.*", 1)
            if row is not None:
                yield _Found(row.score, path, shape, _MAP)

    def _value(self, expected: Any, found: _Found) -> Iterator[Difference]:
        struct = _struct(expected)
        if struct is not None and found.form != _ROWS:
            yield from self._fields(expected, struct, found)
            return
        item = _item(expected)
        if _is_page(expected):
            yield False, found.path, "it comes as a bare list: how many there are in all is not described"
        if found.form == _ROWS:
            yield from self._rows(item, found.shape.items, f"{found.path}[]")
            return
        yield False, found.path, f"a list is expected; it comes as {found.form}, which is understood"
        if found.form == _MAP:
            yield from self._rows(item, found.shape.others, f"{found.path}.*")
        else:
            struct = _struct(item)
            assert struct is not None  # else there are no names to find
            yield from self._fields(item, struct, found, are_columns=found.form == _COLUMNS)

    def _rows(self, item: Any, schema: Any, path: str) -> Iterator[Difference]:
        shape = self._document.shape(schema)
        struct = _struct(item)
        if struct is None:
            yield from self._scalar(item, shape, path, path)
        elif not shape.is_described:
            yield False, path, "the document does not describe it"
        elif "object" not in shape.kinds and "array" in shape.kinds:
            yield False, path, f"a {struct.__name__} comes as a bare list, whose order the document does not say"
        else:
            found = self._search(item, schema, path, 1)
            if found is None or not found.score:
                yield True, path, f"{_named(item)} is expected, and nothing of it is described: {self._what(schema)}"
                return
            if found.path != path:
                yield False, found.path, f"{_named(item)} is in here, which is understood"
            yield from self._fields(item, struct, found)

    def _fields(
        self, expected: Any, struct: type[Model], found: _Found, *, are_columns: bool = False
    ) -> Iterator[Difference]:
        """A Struct against an object."""
        shape = found.shape
        names = self._names(struct, shape)
        for field in msgspec.structs.fields(expected):
            if field.name == "_extra":
                continue
            path = f"{found.path}.{_shown(names.get(field.name, field.encode_name))}"
            about = f"{struct.__name__}.{field.name}"
            if field.name not in names:
                yield from self._lacking(struct, field, path, about)
                continue
            name = names[field.name]
            if name != field.encode_name:
                yield False, path, f"it is understood as {about}"
            inner = self._document.shape(shape.properties[name])
            yield from self._field(field.type, self._document.shape(inner.items) if are_columns else inner, path, about)
            if field.required and (inner.is_nullable or (shape.required and name not in shape.required)):
                yield False, path, f"{about} is needed, and the document does not promise it"
        used = set(names.values())
        for name in shape.properties:
            if name not in used:
                path = f"{found.path}.{_shown(name)}"
                yield False, path, f"{struct.__name__} has no such field: it is kept in .extra"

    def _lacking(self, struct: type[Model], field: Any, path: str, about: str) -> Iterator[Difference]:
        if field.name in self._filled:
            yield False, path, f"the document has no such field: {about} is taken from the path"
        elif issubclass(struct, Page) and not field.required:
            yield False, path, f"the document has no such field: {about} is None, or counted in another way"
        elif field.required:
            yield True, path, f"the document has no such field, and without {about} the reply is a ShapeError"
        else:
            yield True, path, f"the document has no such field, so {about} is always None"

    def _field(self, kind: Any, shape: Shape, path: str, about: str) -> Iterator[Difference]:
        expected = _not_none(kind)
        if expected is Any or not (shape.kinds or shape.properties):
            return
        item, struct = _item(expected), _struct(expected)
        if struct is not None and "object" in shape.kinds:
            if shape.properties:
                yield from self._fields(expected, struct, _Found(0, path, shape, ""))
        elif item is not None and get_origin(expected) is dict and "object" in shape.kinds:
            if shape.others is not None:
                yield from self._field(item, self._document.shape(shape.others), f"{path}.*", about)
        elif item is not None and get_origin(expected) is not dict and "array" in shape.kinds:
            yield from self._rows(item, shape.items, f"{path}[]")
        elif item is not None and "object" in shape.kinds and (found := next(self._no_list(item, shape, path), None)):
            yield from self._value(expected, found)
        elif item is not None or struct is not None:
            yield True, path, f"{about} is {_named(expected)}; the document has {_kinds(shape)}"
        else:
            yield from self._scalar(expected, shape, path, about)

    def _scalar(self, expected: Any, shape: Shape, path: str, about: str) -> Iterator[Difference]:
        """What is neither an object nor a list. The decoder itself is asked what it makes of it."""
        if expected is Any:
            return
        if not shape.is_described:
            # `type: object` and no more is what `@nestjs/swagger` writes of `Date | null` and the like.
            yield False, path, "the document does not describe it"
            return
        verdicts = {kind: _verdict(expected, kind, shape.format, _known(shape, kind)) for kind in sorted(shape.kinds)}
        lost = [kind for kind, verdict in verdicts.items() if verdict == "lost"]
        converted = [kind for kind, verdict in verdicts.items() if verdict == "converted"]
        if lost:
            yield True, path, f"{about} is {_named(expected)}; the document has {' or '.join(lost)}"
        elif converted:
            yield False, path, f"{about} is {_named(expected)}; {' or '.join(converted)} is converted"
        members = getattr(expected, "__members__", None)
        if members is not None and shape.choices:
            known = {str(member.value).casefold() for member in members.values()}
            new = [str(choice) for choice in shape.choices if str(choice).casefold() not in known]
            if new:
                listed = ", ".join(map(_shown, new))
                yield False, path, f"{about} has values that this SDK has no name for, and passes on: {listed}"

    def _names(self, struct: type[Model], shape: Shape) -> dict[str, str]:
        """The document's name of each field that it has."""
        return matched(struct, tuple(shape.properties))

    def _what(self, schema: Any) -> str:
        shape = self._document.shape(schema)
        names = ", ".join(map(_shown, list(shape.properties)[:8]))
        return f"the document has {_kinds(shape)}{f' with {names}' if names else ''}"


def matched(struct: type[Model], names: Sequence[str]) -> dict[str, str]:
    """Which of an object's names stands for which field of a Struct: each for one, its own name first."""
    own = {field.encode_name: field.name for field in msgspec.structs.fields(struct) if field.name != "_extra"}
    found = {own[name]: name for name in names if name in own}
    for name in names:
        if name not in own:
            attribute = next((one for one in meant(struct, name) if one not in found), None)
            if attribute is not None:
                found[attribute] = name
    return found


_TIME = '"2026-01-02T03:04:05Z"'
_EPOCH = "1767225600000"
# Of each JSON type, what it may look like. It is taken for good if the decoder makes something of one of them.
_LOOKS: dict[str, tuple[str, ...]] = {
    "string": ('"1"', '"1.5"', _TIME, '"true"'),
    "number": ("1.5", "1", _EPOCH),
    "integer": ("1", _EPOCH),
    "boolean": ("true",),
    "object": ('{"x": 1}',),
    "array": ('["x"]',),
}


@functools.cache
def _verdict(expected: Any, kind: str, form: str, choices: tuple[str, ...]) -> str:
    """What the decoder makes of a JSON type where another is expected: `same`, `converted` or `lost`."""
    route = _probe(expected)
    looks = choices or ((_TIME,) if form.startswith("date") else _LOOKS[kind])
    verdicts = [_made_of(route, look) for look in looks]
    return next((verdict for verdict in ("same", "converted") if verdict in verdicts), "lost")


@functools.cache
def _probe(expected: Any) -> Route[Any]:
    """An endpoint that returns one field of a type."""
    struct = msgspec.defstruct("Probe", [("probe", expected)], bases=(Model,), frozen=True, kw_only=True)
    return Route("GET", "/probe", struct)


def _made_of(route: Route[Any], value: str) -> str:
    body = f'{{"probe": {value}}}'.encode()
    try:
        msgspec.json.decode(body, type=route.returns, dec_hook=_secret)
    except (msgspec.DecodeError, ValueError):
        pass
    else:
        return "same"
    try:
        Reply(route.request(), 200, {"Content-Type": "application/json", "Content-Length": "1"}, body).decode()
    except CallError:
        return "lost"
    return "converted"


def _secret(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError


def _known(shape: Shape, kind: str) -> tuple[str, ...]:
    """The values of a JSON type, where they are listed, as JSON."""
    types: Mapping[str, Any] = {"string": str, "boolean": bool, "integer": int, "number": (int, float)}
    listed = [choice for choice in shape.choices or () if isinstance(choice, types.get(kind, ()))]
    return tuple(msgspec.json.encode(choice).decode() for choice in listed)


def _not_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        members = tuple(member for member in get_args(kind) if member is not type(None))
        return members[0] if len(members) == 1 else Union[members]  # noqa: UP007 - of a tuple
    return kind


def _struct(kind: Any) -> type[Model] | None:
    struct = get_origin(kind) or kind
    return struct if isinstance(struct, type) and issubclass(struct, Model) else None


def _is_page(kind: Any) -> bool:
    return _struct(kind) is Page


def _item(kind: Any) -> Any:
    """What a list, a page or a map holds, or None for what is none."""
    origin = get_origin(kind)
    if origin is dict:
        return get_args(kind)[1]
    if isinstance(origin, type) and issubclass(origin, list | Page):
        return get_args(kind)[0]
    return None


def _named(kind: Any) -> str:
    """A type as a user would write it."""
    if hasattr(kind, "__metadata__"):
        kind = kind.__origin__
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " | ".join(map(_named, arguments))
    if origin is not None and arguments and isinstance(origin, type):
        return f"{origin.__name__}[{', '.join(map(_named, arguments))}]"
    return getattr(kind, "__name__", str(kind))


def _kinds(shape: Shape) -> str:
    return " or ".join(sorted(shape.kinds)) or "anything"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])[A-Z]", lambda found: "_" + found[0].lower(), name)


def _shown(text: str) -> str:
    return clip(printable(text), _LONGEST)
