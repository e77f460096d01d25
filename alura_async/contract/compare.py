"""What this SDK expects, held against what a document says: the differences."""

from __future__ import annotations

import difflib
import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ..core.request import Access
from ..core.text import clip, printable
from .document import (
    AUTHORIZATION,
    Document,
    Operation,
    Parameter,
    anonymous,
    kinds_text,
    name_shown,
    parameter_names,
)
from .expected import Expected, Sent, expectations
from .replies import compare_reply

# Of a list in a message.
_MOST = 12
# In a header of every call, or none of a document's business.
_HEADERS = {"accept", "authorization", "content-type", "user-agent", "x-request-id"}


class Severity(enum.StrEnum):
    """How much a finding matters.

    Attributes:
        DIFFERENCE: a call fails, or something it returns is never there.
        NOTE: worth knowing; nothing breaks.
    """

    DIFFERENCE = "difference"
    NOTE = "note"


class Finding(msgspec.Struct, frozen=True):
    """One thing in which the server, or its document, is not as this SDK expects.

    Attributes:
        severity: how much it matters.
        endpoint: how a user calls it, such as `trading_sessions.active()`; empty where this SDK has no such method.
        method: the HTTP method; empty where it is about the document as a whole.
        path: the path, as this SDK writes it where it knows it.
        place: what it is about: `path`, `path.interval`, `security`, `query.limit`, `header.X-Api-Key`, `body.budget`,
            `reply.$[].id`, or empty.
        message: what differs, and what that means.
    """

    severity: Severity
    endpoint: str
    method: str
    path: str
    place: str
    message: str


def compare(document: Document, expected: Sequence[Expected] | None = None, *, base_path: str = "") -> list[Finding]:
    """Hold every endpoint of this SDK against a document.

    Args:
        document: what the server says of itself.
        expected: what is expected of it, by default everything.
        base_path: the path of the base URL that calls are made below, such as `/v1`; mostly empty.

    Returns:
        What differs, endpoint by endpoint, and at the end what only the document has.
    """
    expected = expectations() if expected is None else expected
    prefix = _prefix(document, expected, base_path)
    found: list[Finding] = []
    met: set[tuple[str, str]] = set()
    missing: list[Expected] = []
    for endpoint in expected:
        operation = document.find(endpoint.route.method, prefix + endpoint.route.template)
        if operation is None:
            missing.append(endpoint)
        else:
            met.add((operation.method, operation.path))
            found += _of_operation(endpoint, operation, document)
    unmet = [one for one in document.operations if (one.method, one.path) not in met]
    lost = [_missing(endpoint, prefix, unmet) for endpoint in missing]
    elsewhere = [] if prefix == base_path else [_elsewhere(prefix, base_path)]
    return elsewhere + lost + found + [_new(operation) for operation in unmet] + list(_unresolved(document))


def _prefix(document: Document, expected: Sequence[Expected], base_path: str) -> str:
    """What stands in front of our paths in the document's addresses: what most of them agree in, if most do."""
    met: Counter[str] = Counter()
    for endpoint in expected:
        ours = anonymous(endpoint.route.template)
        addresses = (
            anonymous(address)
            for operation in document.operations
            if operation.method == endpoint.route.method
            for address in operation.addresses
        )
        met.update({address.removesuffix(ours) for address in addresses if address.endswith(ours)})
    best = max(met, key=lambda prefix: (met[prefix], prefix == base_path), default=base_path)
    return best if 2 * met[best] > len(expected) else base_path


def _elsewhere(prefix: str, base_path: str) -> Finding:
    if prefix:
        message = f"the document's addresses begin with {name_shown(prefix)}: give a base_url that ends with it"
    else:
        message = f"the document's addresses do not begin with {name_shown(base_path)}: give a base_url without it"
    return Finding(Severity.DIFFERENCE, "", "", "", "path", message)


def _missing(endpoint: Expected, prefix: str, unmet: Sequence[Operation]) -> Finding:
    route = endpoint.route
    ours = anonymous(prefix + route.template)
    same = [one.method for one in unmet if ours in map(anonymous, one.addresses)]
    if same:
        methods = " and ".join(map(name_shown, same))
        return _finding(endpoint, Severity.DIFFERENCE, "path", f"the method has changed: the document has {methods}")
    paths = {anonymous(address): address for one in unmet if one.method == route.method for address in one.addresses}
    ours = anonymous(route.template)
    alike = [path for path in paths if path.endswith(ours)] or difflib.get_close_matches(ours, paths, n=1, cutoff=0.8)
    hint = f"; it has {route.method} {name_shown(paths[alike[0]])}, which may be it" if alike else ""
    return _finding(endpoint, Severity.DIFFERENCE, "path", f"the document has no such path{hint}")


def _new(operation: Operation) -> Finding:
    about = "this SDK has no method for it; a Route of your own can call it"
    return Finding(Severity.NOTE, "", operation.method, name_shown(operation.path), "path", about)


def _unresolved(document: Document) -> Iterator[Finding]:
    for reference, why in document.unresolved.items():
        message = f"the reference {name_shown(reference)} is not followed, and what it stands for not compared: {why}"
        yield Finding(Severity.NOTE, "", "", "", "", message)


def _of_operation(endpoint: Expected, operation: Operation, document: Document) -> Iterator[Finding]:
    yield from _path(endpoint, operation, document)
    yield from _credentials(endpoint, operation)
    yield from _parameters(endpoint, operation, document)
    yield from _body(endpoint, operation, document)
    yield from _reply(endpoint, operation, document)


def _path(endpoint: Expected, operation: Operation, document: Document) -> Iterator[Finding]:
    ours, theirs = parameter_names(endpoint.route.template), parameter_names(operation.path)
    moved = [one for one, other in zip(ours, theirs, strict=False) if one != other and one in theirs]
    if moved:
        message = f"the path's parameters are in another order: {', '.join(map(name_shown, theirs))}"
        yield _finding(endpoint, Severity.DIFFERENCE, "path", message)
    elif ours != theirs:
        message = f"the path's parameters have other names, which does no harm: {', '.join(map(name_shown, theirs))}"
        yield _finding(endpoint, Severity.NOTE, "path", message)
    schemas = {parameter.name: parameter.schema for parameter in operation.of("path")}
    for field, name in zip(endpoint.path, theirs, strict=False):
        yield from _sent(endpoint, f"path.{field.name}", field, schemas.get(name), document)


def _credentials(endpoint: Expected, operation: Operation) -> Iterator[Finding]:
    """What a caller must show, against what is sent."""
    sends = set() if endpoint.route.access is Access.PUBLIC else {AUTHORIZATION}
    if operation.credentials and not any(way <= sends for way in operation.credentials):
        wanted = sorted(min(operation.credentials, key=len) - sends)
        message = f"the document wants {_texts(wanted)}, which this SDK does not send with this call"
        yield _finding(endpoint, Severity.DIFFERENCE, "security", message)


def _parameters(endpoint: Expected, operation: Operation, document: Document) -> Iterator[Finding]:
    described = {parameter.name: parameter for parameter in operation.of("query")}
    if endpoint.query and not described:
        names = _texts(field.name for field in endpoint.query)
        yield _finding(endpoint, Severity.NOTE, "query", f"the document describes none, so {names} may be ignored")
        return
    sent = {field.name: field for field in endpoint.query}
    for name, field in sent.items():
        if name not in described:
            message = f"the document has no such parameter, so {_cause(field)} is ignored or refused"
            yield _finding(endpoint, Severity.DIFFERENCE, f"query.{name}", message)
        else:
            yield from _sent(endpoint, f"query.{name}", field, described[name].schema, document)
    for name, parameter in described.items():
        if name not in sent:
            yield _unknown_parameter(endpoint, parameter, _how(endpoint, "params", name))
        elif parameter.required and (argument := sent[name].argument) is not None:
            yield _finding(
                endpoint, Severity.NOTE, f"query.{name}", f"the document requires it: always give {argument}="
            )
    for place in ("header", "cookie"):
        for parameter in operation.of(place):
            if parameter.required and parameter.name.lower() not in _HEADERS:
                yield _unknown_parameter(endpoint, parameter, "this SDK does not send it")


def _unknown_parameter(endpoint: Expected, parameter: Parameter, how: str) -> Finding:
    place = f"{parameter.place}.{parameter.name}"
    if parameter.required:
        return _finding(
            endpoint, Severity.DIFFERENCE, place, f"the document requires it, and no argument gives it: {how}"
        )
    return _finding(endpoint, Severity.NOTE, place, f"the document has it, and no argument gives it: {how}")


def _body(endpoint: Expected, operation: Operation, document: Document) -> Iterator[Finding]:
    if operation.has_other_body:
        yield _finding(endpoint, Severity.DIFFERENCE, "body", "the document takes bodies, and none of JSON")
        return
    shape = document.sent(operation.body)
    if endpoint.body and not operation.has_body:
        yield _finding(endpoint, Severity.NOTE, "body", "the document does not describe it")
        return
    if not shape.is_described:
        if endpoint.body or operation.needs_body:
            yield _finding(endpoint, Severity.NOTE, "body", "the document does not describe it")
        return
    if "object" not in shape.kinds:
        yield _finding(
            endpoint, Severity.DIFFERENCE, "body", f"an object is sent; the document wants {kinds_text(shape.kinds)}"
        )
        return
    sent = {field.name: field for field in endpoint.body}
    for name, field in sent.items():
        if name in shape.properties:
            yield from _sent(endpoint, f"body.{name}", field, shape.properties[name], document)
        elif shape.others is None:
            message = f"the document has no such field, so {_cause(field)} is ignored or refused"
            yield _finding(endpoint, Severity.DIFFERENCE, f"body.{name}", message)
    for name in dict.fromkeys((*shape.properties, *sorted(shape.required))):
        yield from _wanted(endpoint, name, sent.get(name), is_required=name in shape.required)


def _wanted(endpoint: Expected, name: str, field: Sent | None, *, is_required: bool) -> Iterator[Finding]:
    place, how = f"body.{name}", _how(endpoint, "extra", name)
    if field is None and is_required:
        message = f"the document requires it, and no argument gives it: {how}"
        yield _finding(endpoint, Severity.DIFFERENCE, place, message)
    elif field is None:
        yield _finding(endpoint, Severity.NOTE, place, f"the document has it, and no argument gives it: {how}")
    elif is_required and field.argument is not None:
        yield _finding(endpoint, Severity.NOTE, place, f"the document requires it: always give {field.argument}=")


def _sent(endpoint: Expected, place: str, field: Sent, schema: Any, document: Document) -> Iterator[Finding]:
    """What a field holds when it is sent, against its schema."""
    shape = document.shape(schema)
    if not shape.is_described:
        return
    values = field.values
    is_text = not place.startswith("body.")
    fits = [bool(shape.kinds & _kinds_of(value, is_text=is_text)) for value in values]
    if not all(fits):
        ours = kinds_text(_kinds_of(values[0], is_text=False))
        if shape.kinds == frozenset({"integer"}) and all(isinstance(value, int | float) for value in values):
            message = "the document wants whole numbers: fractions are refused"
            yield _finding(endpoint, Severity.NOTE, place, message)
            return
        message = f"{ours} is sent; the document wants {kinds_text(shape.kinds)}"
        yield _finding(endpoint, Severity.DIFFERENCE, place, message)
    elif shape.format.startswith("date") and all(str(value).isdigit() for value in values):
        message = f"epoch milliseconds are sent; the document wants {name_shown(shape.format)}"
        yield _finding(endpoint, Severity.DIFFERENCE, place, message)
    elif shape.choices is not None:
        theirs = list(map(str, shape.choices)) if is_text else shape.choices
        yield from _choices(endpoint, place, values, theirs)


def _choices(endpoint: Expected, place: str, ours: Sequence[Any], theirs: Sequence[Any]) -> Iterator[Finding]:
    refused = [value for value in ours if value not in theirs]
    new = [value for value in theirs if value not in ours]
    if len(ours) == 1:
        # An example, where a caller gives what the server takes.
        yield _finding(endpoint, Severity.NOTE, place, f"the document takes {_texts(theirs)}")
    elif refused:
        message = f"the document does not take {_texts(refused)}; it takes {_texts(theirs)}"
        yield _finding(endpoint, Severity.DIFFERENCE, place, message)
    elif new:
        yield _finding(endpoint, Severity.NOTE, place, f"the document also takes {_texts(new)}")


def _how(endpoint: Expected, own: str, name: str) -> str:
    """What a caller can do who wants to send what no argument gives."""
    return f"give it with {own}={{{_quoted(name)}: ...}}" if own in endpoint.own else "a Route of your own can send it"


def _reply(endpoint: Expected, operation: Operation, document: Document) -> Iterator[Finding]:
    for breaks, path, message in compare_reply(endpoint.route, operation.reply, document):
        severity = Severity.DIFFERENCE if breaks else Severity.NOTE
        yield _finding(endpoint, severity, f"reply.{path}", message)


def _kinds_of(value: Any, *, is_text: bool) -> set[str]:
    """The JSON types that a schema may have for a value. In a query and in a path all is text."""
    if is_text:
        return {"string", "array"} | ({"integer", "number"} if str(value).isdigit() else set())
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int):
        return {"integer", "number"}
    return {"number"} if isinstance(value, float) else {"string"}


def _cause(field: Sent) -> str:
    return "what every call sends" if field.argument is None else f"{field.argument}="


def _finding(endpoint: Expected, severity: Severity, place: str, message: str) -> Finding:
    route = endpoint.route
    return Finding(severity, endpoint.name, route.method, route.template, printable(clip(place, 120)), message)


def _texts(values: Iterable[Any]) -> str:
    texts = [name_shown(str(value)) for value in values]
    more = f" and {len(texts) - _MOST} more" if len(texts) > _MOST else ""
    return ", ".join(texts[:_MOST]) + more


def _quoted(name: str) -> str:
    return f'"{name_shown(name)}"'
