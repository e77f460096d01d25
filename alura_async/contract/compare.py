"""What this SDK expects, held against what a document says: the differences."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ..core.text import clip, printable
from .document import Document, Operation, Parameter, anonymous, parameter_names
from .expected import Expected, Sent, expectations
from .replies import compare_reply

_LONGEST = 60
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
        place: what it is about: `path`, `query.limit`, `header.X-Api-Key`, `body.budget`, `reply.$[].id`, or empty.
        message: what differs, and what that means.
    """

    severity: Severity
    endpoint: str
    method: str
    path: str
    place: str
    message: str


def compare(document: Document, expected: Sequence[Expected] | None = None) -> list[Finding]:
    """Hold every endpoint of this SDK against a document.

    Args:
        document: what the server says of itself.
        expected: what is expected of it, by default everything.

    Returns:
        What differs, endpoint by endpoint, and at the end what only the document has.
    """
    expected = expectations() if expected is None else expected
    found: list[Finding] = []
    met: set[tuple[str, str]] = set()
    missing: list[Expected] = []
    for endpoint in expected:
        operation = document.find(endpoint.route.method, endpoint.route.template)
        if operation is None:
            missing.append(endpoint)
        else:
            met.add((operation.method, operation.path))
            found += _of_operation(endpoint, operation, document)
    unmet = [one for one in document.operations.values() if (one.method, one.path) not in met]
    lost = [_missing(endpoint, unmet) for endpoint in missing]
    return lost + found + [_new(operation) for operation in unmet] + list(_unresolved(document))


def _missing(endpoint: Expected, unmet: Sequence[Operation]) -> Finding:
    route = endpoint.route
    same = [one.method for one in unmet if anonymous(one.path) == anonymous(route.template)]
    if same:
        methods = " and ".join(map(_shown, same))
        return _finding(endpoint, Severity.DIFFERENCE, "path", f"the method has changed: the document has {methods}")
    paths = {anonymous(one.path): one.path for one in unmet if one.method == route.method}
    ours = anonymous(route.template)
    alike = [path for path in paths if path.endswith(ours)] or difflib.get_close_matches(ours, paths, n=1, cutoff=0.8)
    hint = f"; it has {route.method} {_shown(paths[alike[0]])}, which may be it" if alike else ""
    return _finding(endpoint, Severity.DIFFERENCE, "path", f"the document has no such path{hint}")


def _new(operation: Operation) -> Finding:
    about = "this SDK has no method for it; a Route of your own can call it"
    return Finding(Severity.NOTE, "", operation.method, _shown(operation.path), "path", about)


def _unresolved(document: Document) -> Iterator[Finding]:
    for reference, why in document.unresolved.items():
        message = f"the reference {_shown(reference)} is not followed, and what it stands for not compared: {why}"
        yield Finding(Severity.NOTE, "", "", "", "", message)


def _of_operation(endpoint: Expected, operation: Operation, document: Document) -> Iterator[Finding]:
    yield from _path(endpoint, operation)
    yield from _parameters(endpoint, operation, document)
    yield from _body(endpoint, operation, document)
    yield from _reply(endpoint, operation, document)


def _path(endpoint: Expected, operation: Operation) -> Iterator[Finding]:
    ours, theirs = parameter_names(endpoint.route.template), parameter_names(operation.path)
    if ours == theirs:
        return
    if sorted(ours) == sorted(theirs):
        message = f"the path's parameters are in another order: {', '.join(map(_shown, theirs))}"
        yield _finding(endpoint, Severity.DIFFERENCE, "path", message)
    else:
        message = f"the path's parameters have other names, which does no harm: {', '.join(map(_shown, theirs))}"
        yield _finding(endpoint, Severity.NOTE, "path", message)


def _parameters(endpoint: Expected, operation: Operation, document: Document) -> Iterator[Finding]:
    sent = {field.name: field for field in endpoint.query}
    described = {parameter.name: parameter for parameter in operation.of("query")}
    for name, field in sent.items():
        if name not in described:
            message = f"the document has no such parameter, so {_cause(field)} is ignored or refused"
            yield _finding(endpoint, Severity.DIFFERENCE, f"query.{name}", message)
        else:
            yield from _sent(endpoint, f"query.{name}", field, described[name].schema, document)
    for name, parameter in described.items():
        if name not in sent:
            yield _unknown_parameter(endpoint, parameter, f"give it with params={{{_quoted(name)}: ...}}")
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
    shape = document.shape(operation.body)
    if endpoint.body and not operation.has_body:
        yield _finding(endpoint, Severity.NOTE, "body", "the document does not describe it")
        return
    if not shape.is_described:
        if endpoint.body or operation.needs_body:
            yield _finding(endpoint, Severity.NOTE, "body", "the document does not describe it")
        return
    if "object" not in shape.kinds:
        yield _finding(
            endpoint, Severity.DIFFERENCE, "body", f"an object is sent; the document wants {_kinds(shape.kinds)}"
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
    place, how = f"body.{name}", f"give it with extra={{{_quoted(name)}: ...}}"
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
    fits = [bool(shape.kinds & _kinds_of(value, is_query=place.startswith("query."))) for value in values]
    if not all(fits):
        ours = _kinds(_kinds_of(values[0], is_query=False))
        if shape.kinds == frozenset({"integer"}) and all(isinstance(value, int | float) for value in values):
            message = "the document wants whole numbers: fractions are refused"
            yield _finding(endpoint, Severity.NOTE, place, message)
            return
        message = f"{ours} is sent; the document wants {_kinds(shape.kinds)}"
        yield _finding(endpoint, Severity.DIFFERENCE, place, message)
    elif shape.format.startswith("date") and all(str(value).isdigit() for value in values):
        message = f"epoch milliseconds are sent; the document wants {_shown(shape.format)}"
        yield _finding(endpoint, Severity.DIFFERENCE, place, message)
    elif shape.choices is not None and len(values) > 1:
        yield from _choices(endpoint, place, values, shape.choices)


def _choices(endpoint: Expected, place: str, ours: Sequence[Any], theirs: Sequence[Any]) -> Iterator[Finding]:
    refused = [value for value in ours if value not in theirs]
    new = [value for value in theirs if value not in ours]
    if refused:
        message = f"the document does not take {_texts(refused)}; it takes {_texts(theirs)}"
        yield _finding(endpoint, Severity.DIFFERENCE, place, message)
    if new:
        yield _finding(endpoint, Severity.NOTE, place, f"the document also takes {_texts(new)}: give them with extra=")


def _reply(endpoint: Expected, operation: Operation, document: Document) -> Iterator[Finding]:
    for breaks, path, message in compare_reply(endpoint.route, operation.reply, document):
        severity = Severity.DIFFERENCE if breaks else Severity.NOTE
        yield _finding(endpoint, severity, f"reply.{path}", message)


def _kinds_of(value: Any, *, is_query: bool) -> set[str]:
    """The JSON types that a schema may have for a value. In a query all is text."""
    if is_query:
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
    return Finding(severity, endpoint.name, route.method, route.template, printable(clip(place, 2 * _LONGEST)), message)


def _kinds(kinds: Iterable[str]) -> str:
    return " or ".join(sorted(kinds)) or "anything"


def _texts(values: Iterable[Any]) -> str:
    return ", ".join(_shown(str(value)) for value in values)


def _quoted(name: str) -> str:
    return f'"{_shown(name)}"'


def _shown(text: str) -> str:
    return clip(printable(text), _LONGEST)
