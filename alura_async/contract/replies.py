"""What a method returns, held against the schema of the reply: which fields are found, and which are not."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, NamedTuple, TypeAlias, Union, get_args, get_origin

import msgspec

from ..core.fit import decode_hook
from ..core.model import Model
from ..core.names import meant
from ..core.outcome import Reply
from ..core.request import Request, Route
from ..core.unwrap import is_telling, is_wrapper
from ..errors import CallError
from ..groups.pages import Page
from .document import Document, Shape, kind_of, kinds_text, name_shown, parameter_names

Difference: TypeAlias = tuple[bool, str, str]
"""Whether it breaks something, where it is as a JSONPath, and what it is."""

_NOT_DESCRIBED = "the document does not describe it"
# How many wrappers may be around a value.
_DEPTH = 3
# Of a list: how it may come, besides as a list.
_SINGLE, _MAP, _COLUMNS, _ROWS = "a single object", "a map", "columns", "a list"
# How many fields of an object, or values of an enumeration, are looked at where one value is made of it.
_WIDTH = 50
_TIME = "2026-01-02T03:04:05Z"
# What text may hold, and numbers. It is taken for good if the decoder makes something of one of them.
_TEXTS = ("1", "1.5", _TIME, "true")
_LOOKS: Mapping[str, tuple[bytes, ...]] = {
    "string": tuple(map(msgspec.json.encode, _TEXTS)),
    "number": (b"1.5", b"1", b"1767225600000"),
    "integer": (b"1", b"1767225600000"),
    "boolean": (b"true",),
}


def compare_reply(route: Route[Any], schema: Any, document: Document) -> Iterator[Difference]:
    """Hold what a method returns against the schema of its reply.

    Args:
        route: the endpoint.
        schema: the schema of a success's body; None where the document has none.
        document: where its references lead to.
    """
    if not document.replied(schema).is_described:
        yield False, "$", _NOT_DESCRIBED
        return
    yield from _Comparison(route, document).whole(schema)


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
        route: the endpoint.
        document: where references lead to.
    """

    def __init__(self, route: Route[Any], document: Document) -> None:
        self._route = route
        self._document = document
        # What the request's path names, a reply may lack.
        self._filled = {_snake(name) for name in parameter_names(route.template)}

    def whole(self, schema: Any) -> Iterator[Difference]:
        """A whole reply, in whatever it may be wrapped."""
        expected = _not_none(self._route.returns)
        found = self._search(expected, schema, "$", _DEPTH)
        undescribed = self._undescribed(schema, "$", _DEPTH)
        if undescribed is not None and (found is None or not self._tells(expected, found)):
            yield False, undescribed, _NOT_DESCRIBED
            return
        if found is None or not found.score:
            if self._is_read(schema):
                yield False, "$", f"{_named(expected)} is expected; what the document has is understood as one"
            else:
                yield True, "$", f"{_named(expected)} is expected, and nothing of it is described: {self._what(schema)}"
            return
        if found.path != "$":
            yield False, found.path, f"{_named(expected)} is in here, which is understood"
        yield from self._value(expected, found)

    def _undescribed(self, schema: Any, path: str, depth: int) -> str | None:
        """Where in the wrappers around a reply the document ends: `{success: …, data: {type: object}}`."""
        shape = self._document.replied(schema)
        if not shape.is_described:
            return path if path != "$" else None
        held = [(name, inner) for name, inner in shape.properties.items() if depth and is_wrapper(name)]
        found = (self._undescribed(inner, f"{path}.{name_shown(name)}", depth - 1) for name, inner in held)
        return next(filter(None, found), None)

    def _tells(self, expected: Any, found: _Found) -> bool:
        """Whether anything of what was found would not be in every reply, as a `message` is."""
        struct = _struct(expected) if found.form == "" else _struct(_item(expected))
        if found.form in (_ROWS, _MAP) or struct is None:
            return found.score > 0
        return any(map(is_telling, self._names(struct, found.shape).values()))

    def _is_read(self, schema: Any) -> bool:
        """Whether the decoder makes what is wanted of such a reply."""
        request = self._route.request(*("1" for _ in parameter_names(self._route.template)))
        return any(
            _decoded(request, msgspec.json.encode(self._sample(schema, text, _DEPTH))) is not None for text in _TEXTS
        )

    def _sample(self, schema: Any, text: str, depth: int) -> Any:
        """A value as a schema has it, all its text being the same."""
        shape = self._document.replied(schema)
        if shape.choices:
            return shape.choices[0]
        if "object" in shape.kinds:
            named = list(shape.properties.items())[:_WIDTH] if depth else []
            return {name: self._sample(inner, text, depth - 1) for name, inner in named}
        if "array" in shape.kinds:
            return [self._sample(shape.items, text, depth - 1)] if depth else []
        if "string" in shape.kinds:
            return _TIME if shape.format.startswith("date") else text
        return True if "boolean" in shape.kinds else 1

    def _search(self, expected: Any, schema: Any, path: str, depth: int) -> _Found | None:
        """Where in a schema the most of a type is; of equals, the outermost."""
        shape = self._document.replied(schema)
        candidates = list(self._here(expected, shape, path))
        if depth and "object" in shape.kinds:
            for name, inner in shape.properties.items():
                found = self._search(expected, inner, f"{path}.{name_shown(name)}", depth - 1)
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
                inner = self._document.replied(shape.properties[names["data"]])
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
        inner = {attribute: self._document.replied(shape.properties[name]) for attribute, name in names.items()}
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
        shape = self._document.replied(schema)
        struct = _struct(item)
        if struct is None:
            # As a list: what may be in one is taken for it where it stands alone, too.
            yield from self._scalar(list[item], {"type": "array", "items": schema}, path, path)
        elif not shape.is_described:
            yield False, path, _NOT_DESCRIBED
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
        for field in _fields_of(expected):
            if field.name == "_extra":
                continue
            path = f"{found.path}.{name_shown(names.get(field.name, field.encode_name))}"
            about = f"{struct.__name__}.{field.name}"
            if field.name not in names:
                yield from self._lacking(struct, field, path, about)
                continue
            name = names[field.name]
            if name != field.encode_name:
                yield False, path, f"it is understood as {about}"
            schema = shape.properties[name]
            inner = self._document.replied(schema)
            yield from self._field(field.type, inner.items if are_columns else schema, path, about)
            if field.required and (inner.is_nullable or (shape.required and name not in shape.required)):
                yield False, path, f"{about} is needed, and the document does not promise it"
        used = set(names.values())
        for name in shape.properties:
            if name not in used:
                path = f"{found.path}.{name_shown(name)}"
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

    def _field(self, kind: Any, schema: Any, path: str, about: str) -> Iterator[Difference]:
        shape = self._document.replied(schema)
        expected = _not_none(kind)
        item, struct = _item(expected), _struct(expected)
        is_map = get_origin(expected) is dict
        if expected is Any or (is_map and shape.kinds == frozenset({"object"}) and not shape.others):
            return
        if not shape.is_described:
            # `type: object` and no more is what `@nestjs/swagger` writes of `Date | null`, of relations and the like.
            yield False, path, _NOT_DESCRIBED
        elif struct is not None and "object" in shape.kinds:
            yield from self._fields(expected, struct, _Found(0, path, shape, ""))
        elif is_map and "object" in shape.kinds:
            yield from self._field(item, shape.others, f"{path}.*", about)
        elif item is not None and not is_map and "array" in shape.kinds:
            yield from self._rows(item, shape.items, f"{path}[]")
        elif item is not None and "object" in shape.kinds and (found := next(self._no_list(item, shape, path), None)):
            yield from self._value(expected, found)
        else:
            yield from self._scalar(expected, schema, path, about)

    def _scalar(self, expected: Any, schema: Any, path: str, about: str) -> Iterator[Difference]:
        """What is compared as a whole. The decoder itself is asked what it makes of it."""
        shape = self._document.replied(schema)
        if expected is Any:
            return
        if not shape.is_described:
            yield False, path, _NOT_DESCRIBED
            return
        name = about.rpartition(".")[2]
        name = name if name.isidentifier() else "values"
        verdicts = {kind: _verdict(expected, name, self._looks(schema, kind)) for kind in sorted(shape.kinds)}
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
                listed = ", ".join(map(name_shown, new))
                yield False, path, f"{about} has values that this SDK has no name for, and passes on: {listed}"

    def _looks(self, schema: Any, kind: str) -> tuple[bytes, ...]:
        """What a value of a JSON type may look like, as JSON."""
        shape = self._document.replied(schema)
        if shape.choices:
            listed = [choice for choice in shape.choices if kind in _kinds_of(choice)]
            return tuple(map(msgspec.json.encode, listed[:_WIDTH]))
        if kind == "string" and shape.format.startswith("date"):
            return (msgspec.json.encode(_TIME),)
        if kind in _LOOKS:
            return _LOOKS[kind]
        only = {"allOf": [schema, {"type": kind}]}
        return tuple(msgspec.json.encode(self._sample(only, text, _DEPTH)) for text in _TEXTS)

    def _names(self, struct: type[Model], shape: Shape) -> dict[str, str]:
        """The document's name of each field that it has."""
        return matched(struct, tuple(shape.properties))

    def _what(self, schema: Any) -> str:
        shape = self._document.replied(schema)
        names = ", ".join(map(name_shown, list(shape.properties)[:8]))
        return f"the document has {kinds_text(shape.kinds)}{f' with {names}' if names else ''}"


def matched(struct: type[Model], names: Sequence[str]) -> dict[str, str]:
    """Which of an object's names stands for which field of a Struct: each for one, its own name first."""
    own = {field.encode_name: field.name for field in _fields_of(struct) if field.name != "_extra"}
    found = {own[name]: name for name in names if name in own}
    for name in names:
        if name not in own:
            attribute = next((one for one in meant(struct, name) if one not in found), None)
            if attribute is not None:
                found[attribute] = name
    return found


@functools.cache
def _verdict(expected: Any, name: str, looks: tuple[bytes, ...]) -> str:
    """What the decoder makes of such values in a field of a type: `same`, `converted` or `lost`."""
    verdicts = [_made_of(_probe(expected, name), look) for look in looks]
    return next((verdict for verdict in ("same", "converted") if verdict in verdicts), "lost")


@functools.cache
def _probe(expected: Any, name: str) -> Route[Any]:
    """An endpoint that returns one field of a type, and one by which its reply is recognised."""
    fields: list[str | tuple[str, Any] | tuple[str, Any, Any]] = [("anchor", str), (name, expected | None, None)]
    return Route("GET", "/probe", msgspec.defstruct("Probe", fields, bases=(Model,), frozen=True, kw_only=True))


def _made_of(route: Route[Any], value: bytes) -> str:
    field = msgspec.structs.fields(route.returns)[-1]
    body = b'{"anchor": "1", "%b": %b}' % (field.encode_name.encode(), value)
    try:
        msgspec.json.decode(body, type=route.returns, dec_hook=decode_hook)
    except (msgspec.DecodeError, ValueError):
        found = _decoded(route.request(), body)
        return "lost" if found is None or getattr(found, field.name) is None else "converted"
    return "same"


def _decoded(request: Request[Any], body: bytes) -> Any:
    """What the decoder makes of a body; None where it makes nothing of it."""
    try:
        return Reply(request, 200, {"Content-Type": "application/json", "Content-Length": "1"}, body).decode()
    except CallError:
        return None


def _kinds_of(value: Any) -> tuple[str, ...]:
    return ("integer", "number") if type(value) is int else (kind_of(value),)


# msgspec looks its annotations up each time.
_fields_of = functools.cache(msgspec.structs.fields)


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


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])[A-Z]", lambda found: "_" + found[0].lower(), name)
