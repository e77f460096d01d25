"""What programs read: JSON objects, one a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click


def write_line(content: Mapping[str, Any]) -> None:
    """Write an object, at once.

    Args:
        content: what JSON can hold.
    """
    # In ASCII: what a terminal could be fooled with is escaped.
    click.echo(json.dumps(content, ensure_ascii=True))
