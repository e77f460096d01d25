"""The OpenAPI 3.0.3 document of the sandbox, made from its route table and the SDK's own types."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from .._version import __version__
from ..secret import Secret
from .refusals import ErrorBody
from .routing import ServerRoute
from .validation import Field

_REFERENCE = "#/components/schemas/{name}"


@functools.cache
def document(routes: tuple[ServerRoute, ...], refusals: Any = ErrorBody) -> dict[str, Any]:
    """Describe routes, and refusals of a type. The result is shared: do not change it."""
    types = list(dict.fromkeys([*(route.returns for route in routes), refusals]))
    schemas, components = msgspec.json.schema_components(types, schema_hook=_secret, ref_template=_REFERENCE)
    shapes = {repr(kind): _plain(schema) for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = re.sub(r":(\w+)", r"{\1}", route.template)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, shapes, shapes[repr(refusals)])
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "Alura API (sandbox)",
            "version": __version__,
            "description": "An Alura server in memory. Paths and access are documented by Alura; bodies are assumed.",
        },
        "paths": paths,
        "components": {
            "schemas": {name: _plain(schema) for name, schema in components.items()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operation(route: ServerRoute, shapes: dict[str, Any], refusal: Any) -> dict[str, Any]:
    path = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.parameters]
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.about,
        "tags": [_tag(route)],
        "parameters": path + [_parameter(field) for field in route.query],
        "responses": _responses(route, shapes[repr(route.returns)], refusal),
    }
    if route.body:
        operation["requestBody"] = {
            "required": any(field.required for field in route.body),
            "content": {"application/json": {"schema": _body(route.body)}},
        }
    if route.bearer:
        operation["security"] = [{"bearer": []}]
    return operation


def _responses(route: ServerRoute, reply: Any, refusal: Any) -> dict[str, Any]:
    status = "201" if route.method == "POST" else "200"
    # What promises no schema promises no JSON either.
    content = {"*/*" if route.returns is Any else "application/json": {"schema": reply}}
    responses: dict[str, Any] = {status: {"description": "Success", "content": content}}
    refused = {*route.errors, 429}
    # Every POST looks at its body, if only to refuse what should not be there.
    if route.method == "POST" or route.query or "interval" in route.parameters:
        refused.add(400)
    if route.bearer:
        refused.add(401)
    for code in sorted(refused):
        error = {"application/json": {"schema": refusal}}
        responses[str(code)] = {"description": HTTPStatus(code).phrase, "content": error}
    return responses


def _parameter(field: Field) -> dict[str, Any]:
    parameter = {
        "name": field.name,
        "in": "query",
        "required": field.required,
        "description": field.about,
        "schema": field.schema(),
    }
    if field.example is not None:
        parameter["example"] = field.example
    return parameter


def _body(fields: Sequence[Field]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for field in fields:
        properties[field.name] = {**field.schema(), "description": field.about}
        if field.example is not None:
            properties[field.name]["example"] = field.example
    body: dict[str, Any] = {"type": "object", "properties": properties}
    required = [field.name for field in fields if field.required]
    if required:
        body["required"] = required
    return body


def _operation_id(route: ServerRoute) -> str:
    pieces = [piece for piece in re.split(r"[/:\-]+", route.template) if piece]
    return route.method.lower() + "".join(piece[:1].upper() + piece[1:] for piece in pieces)


def _tag(route: ServerRoute) -> str:
    pieces = route.template.split("/")
    return pieces[2] if pieces[1] == "api" else pieces[1]


def _secret(kind: type) -> dict[str, Any]:
    if kind is Secret:
        return {"type": "string", "format": "password"}
    raise NotImplementedError


def _plain(schema: Any) -> Any:
    """A schema of JSON Schema 2020-12, as msgspec makes it, in the dialect of OpenAPI 3.0."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    choices = schema.get("anyOf")
    if choices is not None:
        return _choice({key: value for key, value in schema.items() if key != "anyOf"}, choices)
    plain: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            # What the SDK keeps unknown fields under is not part of any reply.
            plain[key] = {name: _plain(inner) for name, inner in value.items() if name != "$extra$"}
        elif key == "default":
            # A field without a value is left out, never null; defaults say nothing else.
            continue
        elif key == "additionalProperties" and isinstance(value, bool):
            # That this version of the SDK knows no other fields is no promise of the server.
            continue
        elif key == "title" or value == []:
            # A title repeats the name, and 3.0 has no empty list of required fields.
            continue
        elif key == "description":
            plain[key] = inspect.cleandoc(value).partition("\n\n")[0]
        else:
            plain[key] = _plain(value) if isinstance(value, dict | list) else value
    return plain


def _choice(rest: dict[str, Any], choices: list[Any]) -> Any:
    """One of several schemas; null, which 3.0 has no type for, is said by `nullable`."""
    real = [_plain(choice) for choice in choices if choice != {"type": "null"}]
    has_null = len(real) < len(choices)
    # A field that may be null in the SDK is one that the server leaves out; only a bare null is really sent.
    is_field = "default" in rest
    rest = _plain(rest)
    if len(real) == 1 and (is_field or not has_null):
        return {**rest, **real[0]}
    if has_null and not is_field:
        return {**rest, "nullable": True, "allOf" if len(real) == 1 else "anyOf": real}
    return {**rest, "anyOf": real}
