"""What an OpenAPI document says, 3.0 or 3.1: its operations, and its schemas reduced to what can be compared."""

from __future__ import annotations

import codecs
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from ..core.decode import parse
from ..core.request import Access, Route
from ..core.text import clip, printable, shown
from ..errors import InvalidArgumentError, UsageError

if TYPE_CHECKING:
    from ..client import AsyncAlura

DOCUMENT_PATH = "/api/docs-json"
"""Where NestJS servers have their document."""

AUTHORIZATION = "Authorization"
"""The header that tokens are sent in."""

# Not OPTIONS, HEAD and TRACE, which servers have of themselves.
_METHODS = ("get", "put", "post", "delete", "patch")
_KINDS = frozenset({"object", "array", "string", "number", "integer", "boolean"})
_COMPOSED = ("allOf", "anyOf", "oneOf")


class Shape(msgspec.Struct, frozen=True):
    """A schema, reduced: references followed, what is composed put together.

    Attributes:
        kinds: the JSON types that it allows besides null; empty where it does not say.
        is_nullable: whether it allows null.
        properties: an object's fields, each as its schema.
        required: which of them are always there.
        items: the schema of a list's elements, if it says.
        others: the schema of an object's fields that are not named, as in a map, if it says.
        choices: the only values that it allows, if it says.
        format: what a text holds, such as `date-time`.
        is_only_replied: whether it is no part of a request's body (`readOnly`).
        is_only_sent: whether it is no part of a reply (`writeOnly`).
    """

    kinds: frozenset[str] = frozenset()
    is_nullable: bool = False
    properties: Mapping[str, Any] = {}
    required: frozenset[str] = frozenset()
    items: Any = None
    others: Any = None
    choices: tuple[Any, ...] | None = None
    format: str = ""
    is_only_replied: bool = False
    is_only_sent: bool = False

    @property
    def is_described(self) -> bool:
        """Whether it says anything that a value could be held against."""
        return bool(self.properties) or bool(self.others) or bool(self.kinds - {"object"})

    @property
    def is_null(self) -> bool:
        """Whether it allows nothing but null."""
        return self.is_nullable and not self.kinds and self.choices == ()


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of an operation.

    Attributes:
        name: its name.
        place: `path`, `query`, `header` or `cookie`.
        required: whether a call without it is refused.
        schema: the schema of its value.
    """

    name: str
    place: str
    required: bool
    schema: Any


class Operation(msgspec.Struct, frozen=True):
    """One method of one path.

    Attributes:
        method: such as `GET`.
        path: as the document writes it, such as `/referrals/{userId}`.
        addresses: where it is on the server: the path below that of each server's address.
        parameters: those of the operation and of its path.
        has_body: whether it takes a body.
        needs_body: whether it takes no call without one.
        body: the schema of a JSON body, or None where there is none.
        reply: the schema of a success's JSON body, or None where there is none.
        has_other_body: whether it takes bodies, and none of JSON.
        credentials: what it wants, in each way that a caller may choose; empty where it wants none, or does not say.
    """

    method: str
    path: str
    addresses: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    has_body: bool
    needs_body: bool
    has_other_body: bool
    body: Any
    reply: Any
    credentials: tuple[frozenset[str], ...]

    def of(self, place: str) -> list[Parameter]:
        """Its parameters of a place."""
        return [parameter for parameter in self.parameters if parameter.place == place]


class Document:
    """An OpenAPI document, 3.0 or 3.1. `Document.read(data)` makes one.

    Attributes:
        version: of OpenAPI, such as `3.0.0`.
        operations: all of them.
        unresolved: references that were met and not followed, with the reason. Nothing is fetched.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.version = str(content["openapi"])
        self.unresolved: dict[str, str] = {}
        self._shapes: dict[int, tuple[Any, Shape]] = {}
        self._look_up = _look_up_in(content)
        self._content = content
        self._anchors = dict(_anchored(content))
        self.operations = tuple(self._operations(content["paths"]))

    @classmethod
    def read(cls, data: bytes) -> Document:
        """Read a document.

        Args:
            data: JSON text.

        Raises:
            InvalidArgumentError: not JSON, not OpenAPI, or of a version that is not read; the message says which.
        """
        try:
            content = parse(_as_utf_8(data))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if data.lstrip()[:1] == b"<":
                raise InvalidArgumentError(
                    "this is a web page, not an OpenAPI document: give the address of its JSON, which NestJS servers "
                    f"have at {DOCUMENT_PATH}"
                ) from None
            if re.match(rb"\s*(?:#.*\s+|---\s+)*(?:openapi|swagger)\s*:", data):
                raise InvalidArgumentError(
                    "this is YAML: give the same document as JSON, which NestJS servers have at "
                    f"{DOCUMENT_PATH}, or convert it"
                ) from None
            raise InvalidArgumentError(
                f"this is not JSON, and so no OpenAPI document: {shown(str(error), 120)}"
            ) from None
        if not isinstance(content, dict):
            raise InvalidArgumentError("this is JSON, but no OpenAPI document: it is not an object")
        if "swagger" in content:
            raise InvalidArgumentError(
                f"this is Swagger {shown(str(content['swagger']), 20)}, the predecessor of OpenAPI: convert it to "
                "OpenAPI 3, for example at https://converter.swagger.io"
            )
        version = content.get("openapi")
        if version is None:
            raise InvalidArgumentError('this is JSON, but no OpenAPI document: it has no "openapi"')
        if not isinstance(version, str) or not re.match(r"3\.[01](\.|$)", version):
            raise InvalidArgumentError(f"OpenAPI {shown(str(version), 20)} is not read here: 3.0 and 3.1 are")
        if not isinstance(content.get("paths"), dict):
            raise InvalidArgumentError('the OpenAPI document is broken: it has no object "paths"')
        try:
            return cls(content)
        except RecursionError:
            raise InvalidArgumentError("the OpenAPI document is broken: it is nested too deeply") from None
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            why = shown(f"{type(error).__name__}: {error}", 120)
            raise InvalidArgumentError(f"the OpenAPI document is broken: {why}") from None

    def find(self, method: str, path: str) -> Operation | None:
        """The operation of a method and an address, whatever the path's parameters are called."""
        wanted, names = anonymous(path), set(parameter_names(path))
        found = [one for one in self.operations if one.method == method and wanted in map(anonymous, one.addresses)]
        return max(found, key=lambda one: len(names & set(parameter_names(one.path))), default=None)

    def shape(self, schema: Any) -> Shape:
        """Reduce a schema: references followed, what is composed put together."""
        return self._shape(schema, frozenset())

    def sent(self, schema: Any) -> Shape:
        """The shape of what a request has."""
        return self._without(self.shape(schema), "is_only_replied")

    def replied(self, schema: Any) -> Shape:
        """The shape of what a reply has."""
        return self._without(self.shape(schema), "is_only_sent")

    def _without(self, shape: Shape, mark: str) -> Shape:
        away = {name for name, inner in shape.properties.items() if getattr(self.shape(inner), mark)}
        if not away:
            return shape
        properties = {name: inner for name, inner in shape.properties.items() if name not in away}
        return msgspec.structs.replace(shape, properties=properties, required=shape.required - away)

    def _shape(self, schema: Any, within: frozenset[int]) -> Shape:
        """Reduce a schema, each once: what refers to the same in many ways would take for ever.

        Args:
            schema: the schema.
            within: the schemas that it is a part of, by their identity: one that leads back to itself says nothing.
        """
        if not isinstance(schema, dict) or id(schema) in within:
            return Shape()
        known = self._shapes.get(id(schema))
        if known is None:
            # Kept with the schema, whose identity another one could get otherwise.
            known = self._shapes[id(schema)] = schema, self._reduced(schema, within | {id(schema)})
        return known[1]

    def _reduced(self, schema: Mapping[str, Any], within: frozenset[int]) -> Shape:
        parts = [_own(schema)]
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target = self._shape(self._target(reference), within)
            # Beside a reference nothing else counts in 3.0.
            if self.version.startswith("3.0"):
                return target
            parts.append(target)
        for name in _COMPOSED:
            members = [self._shape(member, within) for member in _list(schema.get(name))]
            if members:
                parts += members if name == "allOf" else [_any_of(members)]
        return _all_of(parts) if len(parts) > 1 else parts[0]

    def _target(self, reference: str) -> Any:
        if not reference.startswith("#"):
            self.unresolved[reference] = "it leads out of the document, and nothing is fetched"
            return None
        if reference[1:] in self._anchors:
            return self._anchors[reference[1:]]
        try:
            return self._look_up(reference)
        except LookupError:
            self.unresolved[reference] = "there is nothing of that name"
            return None

    def _resolved(self, item: Any) -> dict[str, Any]:
        """A parameter, a body or a reply, which may be a reference to one."""
        for _ in range(10):
            reference = item.get("$ref") if isinstance(item, dict) else None
            if not isinstance(reference, str):
                break
            item = self._target(reference)
        return _object(item)

    def _operations(self, paths: Mapping[str, Any]) -> Iterable[Operation]:
        for path, entry in paths.items():
            # Other names are the document's own: `x-…`.
            item = self._resolved(entry) if path.startswith("/") else {}
            for method in _METHODS:
                if isinstance(item.get(method), dict):
                    yield self._operation(method.upper(), path, item, item[method])

    def _operation(self, method: str, path: str, item: Mapping[str, Any], content: Mapping[str, Any]) -> Operation:
        parameters = {
            (parameter.place, parameter.name): parameter
            for found in (*_list(item.get("parameters")), *_list(content.get("parameters")))
            if (parameter := self._parameter(self._resolved(found))) is not None
        }
        body = self._resolved(content.get("requestBody"))
        replies = list(map(self._resolved, _successes(_object(content.get("responses")))))
        reply = next((found for found in replies if _json(found) is not None), {})
        servers = _list(content.get("servers")) or _list(item.get("servers")) or _list(self._content.get("servers"))
        prefixes = dict.fromkeys(_server_paths(servers)) or ("",)
        return Operation(
            method=method,
            path=path,
            addresses=tuple(prefix + path for prefix in prefixes),
            parameters=tuple(parameters.values()),
            has_body="requestBody" in content,
            needs_body=body.get("required") is True,
            has_other_body=bool(_object(body.get("content"))) and _json(body) is None,
            body=_object(_json(body)).get("schema"),
            reply=_object(_json(reply)).get("schema"),
            credentials=tuple(self._credentials(content.get("security", self._content.get("security")))),
        )

    def _credentials(self, security: Any) -> Iterable[frozenset[str]]:
        """What each way to be let in wants: `Authorization`, which this SDK sends, or the name of something else."""
        schemes = _object(_object(self._content.get("components")).get("securitySchemes"))
        ways = [
            frozenset(self._credential(name, schemes) for name in way) for way in _list(security) if _is_object(way)
        ]
        return ways if all(ways) else ()

    def _credential(self, name: str, schemes: Mapping[str, Any]) -> str:
        scheme = self._resolved(schemes.get(name))
        kind, carrier = scheme.get("type"), str(scheme.get("name"))
        if kind == "apiKey" and carrier.lower() != AUTHORIZATION.lower():
            return f"{scheme.get('in')} {carrier}"
        if kind == "mutualTLS" or (kind == "http" and str(scheme.get("scheme")).lower() != "bearer"):
            return f"{kind} {scheme.get('scheme', '')}".strip()
        return AUTHORIZATION

    def _parameter(self, content: Mapping[str, Any]) -> Parameter | None:
        name, place = content.get("name"), content.get("in")
        if not isinstance(name, str) or not isinstance(place, str):
            return None
        schema = content.get("schema", _object(_json(content)).get("schema"))
        return Parameter(name, place, place == "path" or content.get("required") is True, schema)


def _look_up_in(content: Mapping[str, Any]) -> Callable[[str], Any]:
    """What finds the place in a document that a reference leads to, or raises a LookupError. Nothing is fetched."""
    try:
        from referencing import Registry, Specification
        from referencing.exceptions import Unresolvable
    except ModuleNotFoundError:
        raise UsageError(
            "to read an OpenAPI document needs the extra \"cli\": in a clone of the project, pip install '.[cli]'"
        ) from None
    resolver = Registry[Any]().with_resource("", Specification.OPAQUE.create_resource(content)).resolver()

    def look_up(reference: str) -> Any:
        try:
            return resolver.lookup(reference).contents
        except (Unresolvable, ValueError, TypeError) as error:
            raise LookupError(reference) from error

    return look_up


async def fetch(alura: AsyncAlura, path: str = DOCUMENT_PATH) -> bytes:
    """Fetch a server's document, without a token.

    Args:
        alura: a client of the server.
        path: where the server has it, with a query if it needs one.

    Raises:
        CallError: it cannot be had.
    """
    where = urlsplit(path)
    segments = [unquote(segment) for segment in where.path.strip("/").split("/")]
    template = "".join(f"/:s{number}" for number in range(len(segments)))
    route: Route[dict[str, Any]] = Route("GET", template, dict, access=Access.PUBLIC)
    reply = await alura.send_raw(route.request(*segments, query=dict(parse_qsl(where.query))))
    if not 200 <= reply.status < 300:
        reply.decode()
    return reply.body


def _as_utf_8(data: bytes) -> bytes:
    """JSON text as editors save it: with a byte order mark, in UTF-16."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16").encode()
    return data.removeprefix(codecs.BOM_UTF8)


@functools.lru_cache(maxsize=4096)
def anonymous(path: str) -> str:
    """A path without the names of its parameters: `/a/:b` and `/a/{c}` are `/a/{}`."""
    return re.sub(r"(?<=/)(?::[^/]+|\{[^/}]*\})", "{}", path.rstrip("/") or "/")


def parameter_names(path: str) -> list[str]:
    """The names of a path's parameters, in order."""
    return re.findall(r"(?<=/)[:{]([^/}]*)", path)


def _own(schema: Mapping[str, Any]) -> Shape:
    """What a schema says itself, without what it refers to or is composed of."""
    declared = schema.get("type")
    said = [kind for kind in (declared if isinstance(declared, list) else [declared]) if isinstance(kind, str)]
    kinds = _KINDS.intersection(said)
    properties = _object(schema.get("properties"))
    others = schema.get("additionalProperties")
    if not kinds and (properties or isinstance(others, dict)):
        kinds = frozenset({"object"})
    elif not kinds and "items" in schema:
        kinds = frozenset({"array"})
    is_nullable = "null" in said or schema.get("nullable") is True
    choices: tuple[Any, ...] | None = None
    if "null" in said and not kinds:
        choices = ()
    if isinstance(schema.get("enum"), list) or "const" in schema:
        listed = _list(schema.get("enum")) or [schema.get("const")]
        is_nullable = None in listed and (is_nullable or declared is None)
        choices = tuple(choice for choice in listed if choice is not None)
        held = frozenset(map(_listed_kind, choices))
        kinds = kinds & held if "number" not in kinds else kinds
        kinds = kinds or held
    return Shape(
        kinds=kinds,
        is_nullable=is_nullable,
        properties=properties,
        required=frozenset(name for name in _list(schema.get("required")) if isinstance(name, str)),
        items=schema.get("items"),
        others=others if isinstance(others, dict) else {} if others is True else None,
        choices=choices,
        format=str(schema.get("format", "")),
        is_only_replied=schema.get("readOnly") is True,
        is_only_sent=schema.get("writeOnly") is True,
    )


def _all_of(parts: Sequence[Shape]) -> Shape:
    """What holds where all of these do."""
    result = Shape()
    for part in parts:
        both = result.properties.keys() & part.properties.keys()
        joined = {name: {"allOf": [result.properties[name], part.properties[name]]} for name in both}
        shared = result.kinds & part.kinds
        result = Shape(
            kinds=shared if result.kinds and part.kinds else result.kinds | part.kinds,
            # `allOf: [{$ref: …}], nullable: true` is how 3.0 says of a reference that it may be null.
            is_nullable=result.is_nullable or part.is_nullable,
            properties={**result.properties, **part.properties, **joined},
            required=result.required | part.required,
            items=part.items if result.items is None else result.items,
            others=part.others if result.others is None else result.others,
            choices=part.choices if result.choices is None else result.choices,
            format=result.format or part.format,
            is_only_replied=result.is_only_replied or part.is_only_replied,
            is_only_sent=result.is_only_sent or part.is_only_sent,
        )
    return result


def _any_of(members: Sequence[Shape]) -> Shape:
    """What holds where one of these does."""
    real = [member for member in members if not member.is_null]
    if not real:
        return members[0]
    schemas: dict[str, list[Any]] = {}
    for member in real:
        for name, schema in member.properties.items():
            schemas.setdefault(name, []).append(schema)
    listed = [member.choices for member in real if member.choices is not None]
    return Shape(
        kinds=frozenset().union(*(member.kinds for member in real)) if all(m.kinds for m in real) else frozenset(),
        is_nullable=any(member.is_nullable for member in members),
        properties={name: found[0] if len(found) == 1 else {"anyOf": found} for name, found in schemas.items()},
        required=frozenset.intersection(*(member.required for member in real)),
        items=next((member.items for member in real if member.items is not None), None),
        others=next((member.others for member in real if member.others is not None), None),
        choices=tuple(choice for found in listed for choice in found) if len(listed) == len(real) else None,
        format=real[0].format if len(real) == 1 else "",
    )


def _successes(responses: Mapping[str, Any]) -> Iterable[Any]:
    """The replies of a success, the usual ones first. `default` is none: standing alone, it is that of an error."""
    usual = [status for status in ("200", "201", "202") if status in responses]
    others = sorted(status for status in responses if status.startswith("2") and status not in usual)
    return [responses[status] for status in (*usual, *others)]


def _json(holder: Mapping[str, Any]) -> Any:
    """What a body or a reply says of itself in JSON."""
    for kind, content in _object(holder.get("content")).items():
        if "json" in kind.lower() or kind == "*/*":
            return content
    return None


def _server_paths(servers: Any) -> Iterable[str]:
    for server in filter(_is_object, servers):
        url = str(server.get("url", ""))
        for name, variable in _object(server.get("variables")).items():
            url = url.replace(f"{{{name}}}", str(_object(variable).get("default")))
        with suppress(ValueError):
            path = urlsplit(url).path.strip("/")
            yield f"/{path}" if path else ""


def _anchored(value: Any) -> Iterable[tuple[str, Any]]:
    """The schemas that have a name of their own, which the library knows of JSON Schema only, and not of OpenAPI."""
    if isinstance(value, dict) and isinstance(value.get("$anchor"), str):
        yield value["$anchor"], value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from _anchored(one)


def kind_of(value: Any) -> str:
    """The JSON type of a value."""
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def kinds_text(kinds: Iterable[str]) -> str:
    """JSON types, as a message may show them."""
    return " or ".join(sorted(kinds)) or "anything"


def name_shown(name: str) -> str:
    """A name that a document or a reply has, as a message may show it."""
    return clip(printable(name), 60)


def _listed_kind(choice: Any) -> str:
    return "integer" if type(choice) is int else kind_of(choice)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
