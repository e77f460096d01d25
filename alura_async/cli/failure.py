"""The error of commands whose exit codes say what they found: 2 is that they could not look."""

from __future__ import annotations

from typing import Any

import click

from ..core.text import printable


class Failed(click.ClickException):
    """What was asked could not be found out."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Write it as all errors of this SDK are written."""
        click.echo(f"alura: {printable(self.message)}", err=True)
