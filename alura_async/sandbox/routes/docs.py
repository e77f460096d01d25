"""The description of the API: an OpenAPI document, and a page for people."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from .. import wire
from ..routing import JSON, Call, Ready, serves
from ..validation import LARGEST_INTEGER


@serves("GET", "/api/docs-json", dict[str, Any])
def document(call: Call) -> Ready:
    """Read the OpenAPI document."""
    return Ready(wire.encode(call.services.document()), JSON)


@serves("GET", "/api/docs", str)
def page(call: Call) -> Ready:
    """Read the description as a page."""
    return Ready(_page(call.services.document()).encode(), "text/html; charset=utf-8")


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid #8886; padding: .5rem 0; }
code, b { font-family: ui-monospace, monospace; } b { display: inline-block; min-width: 3rem; }
h3 { font-size: 1rem; font-weight: normal; margin: 0; } i { color: #888; } p, table { margin: .3rem 0 .3rem 1.5rem; }
td { padding: 0 1.5rem 0 0; vertical-align: top; }
"""

# By how many ways there are to call it: none, with a token, with or without one.
_ACCESS = ("public", "needs a token", "token optional")


def _page(document: dict[str, Any]) -> str:
    info = document["info"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>",
        f"<style>{_STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        *(f"<p>{_inline(paragraph)}" for paragraph in info["description"].split("\n\n")),
        '<p>For programs: <a href="/api/docs-json">/api/docs-json</a>.',
    ]
    for tag in document["tags"]:
        parts.append(f"<h2 id={tag['name']}>{tag['name']}</h2><p>{escape(tag['description'])}")
        parts += [
            _section(method, path, operation)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            if tag["name"] in operation["tags"]
        ]
    parts.append("<h2 id=replies>What replies hold</h2>")
    parts += [_shape(name, schema) for name, schema in document["components"]["schemas"].items()]
    return "\n".join(parts)


def _section(method: str, path: str, operation: dict[str, Any]) -> str:
    security = operation["security"]
    rows = [(field["in"], field["name"], field, field["schema"]) for field in operation["parameters"]]
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        rows += [
            ("body", name, {**schema, "required": name in body.get("required", ())}, schema)
            for name, schema in body["properties"].items()
        ]
    fields = "".join(
        f"<tr><td>{place}<td><code>{name}</code><td>{'' if field['required'] else 'optional'}"
        f"<td>{_rule(schema)}<td>{escape(field['description'])}"
        for place, name, field, schema in rows
    )
    success, *refusals = operation["responses"]
    shape = operation["responses"][success]["content"]["application/json"]["schema"]
    return (
        f"<section id={operation['operationId']}><h3><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"<i>{_ACCESS[len(security)]}</i></h3>"
        f"<p>{escape(operation['summary'])} <i>{escape(operation['description'])}</i>"
        f"{f'<table>{fields}</table>' if fields else ''}"
        f"<p>{success}: {_rule(shape)}. Refusals: {', '.join(refusals)}.</section>"
    )


def _shape(name: str, schema: dict[str, Any]) -> str:
    fields = "".join(
        f"<tr><td><code>{field}</code><td>{'' if field in schema['required'] else 'at times'}"
        f"<td>{_rule(inner)}<td>{_inline(inner['description'])}"
        for field, inner in schema.get("properties", {}).items()
    )
    content = f"<table>{fields}</table>" if fields else f"<p>{_rule(schema)}"
    return f"<div id={name}><h3><code>{name}</code></h3><p>{_inline(schema['description'])}{content}</div>"


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _rule(schema: dict[str, Any]) -> str:
    """A schema in a few words, as HTML."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    if "allOf" in schema:
        return " and ".join(map(_rule, schema["allOf"])) + (" or null" if schema.get("nullable") else "")
    if "anyOf" in schema:
        return " or ".join(map(_rule, schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(choice for choice in schema["enum"] if choice is not None)
    if schema["type"] == "array":
        return f"list of {_rule(schema['items'])}"
    if schema["type"] == "string" and "format" in schema:
        return str(schema["format"])
    above = ">" if schema.get("exclusiveMinimum") else "≥"
    least = f" {above} {schema['minimum']}" if schema.get("minimum", -LARGEST_INTEGER) > -LARGEST_INTEGER else ""
    most = f" ≤ {schema['maximum']}" if schema.get("maximum", LARGEST_INTEGER) < LARGEST_INTEGER else ""
    pattern = f" {schema['pattern']}" if "pattern" in schema else ""
    return escape(f"{schema['type']}{least}{most}{pattern}")


ROUTES = (document, page)
