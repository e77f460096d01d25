"""Imports of what the extra `bulk` brings: NumPy and polars."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ..core.imports import importing
from ..errors import UsageError


@contextmanager
def needing(what: str, install: str = "alura-async[bulk]") -> Generator[None, None, None]:
    """Import in the `with` block what is not always installed.

    Args:
        what: names the package that is imported.
        install: what brings it, as pip is told.

    Raises:
        UsageError: it is not installed; the message says how to get it.
    """
    try:
        with importing(what):
            yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != what:
            raise
        raise UsageError(f"this needs {what}, which is not installed: pip install '{install}'") from None
