"""The description of the API: an OpenAPI document, and a page for people."""

from __future__ import annotations

from html import escape
from typing import Any

from .. import wire
from ..routing import JSON, Call, Ready, serves


@serves("GET", "/api/docs-json", dict[str, Any])
def document(call: Call) -> Ready:
    """Read the OpenAPI document."""
    return Ready(wire.encode(call.services.document()), JSON)


@serves("GET", "/api/docs", str)
def page(call: Call) -> Ready:
    """Read the list of endpoints as a page."""
    rows = "\n".join(
        f"<tr><td>{method.upper()}<td><code>{escape(path)}</code><td>{escape(operation['summary'])}"
        for path, operations in call.services.document()["paths"].items()
        for method, operation in operations.items()
    )
    content = (
        "<!doctype html><meta charset=utf-8><title>Alura sandbox</title>\n"
        '<h1>Alura sandbox</h1><p>The OpenAPI document is at <a href="/api/docs-json">/api/docs-json</a>.\n'
        f"<table>{rows}</table>\n"
    )
    return Ready(content.encode(), "text/html; charset=utf-8")


ROUTES = (document, page)
