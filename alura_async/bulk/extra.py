"""Imports of what the extra `bulk` brings, NumPy and polars, and what stands for a class where they are missing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

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


class _MissingAttributeError(UsageError, AttributeError):
    """Of a class that cannot be imported: `hasattr` says no, and whoever wants an attribute is told what is missing."""


class _Missing(type):
    """The kind of what stands for a class that cannot be imported. It may be looked at; who uses it is told why not."""

    # Not its docstring: a subclass has one of its own, or none.
    _why: str

    def __call__(cls, *_args: Any, **_kwargs: Any) -> Any:
        raise UsageError(cls._why)

    def __getattr__(cls, name: str) -> Any:
        raise _MissingAttributeError(cls._why)

    def __repr__(cls) -> str:
        return f"<class {cls.__module__}.{cls.__name__}: {cls._why}>"


@cache
def missing(name: str, module: str, why: str) -> type:
    """What stands for a class that cannot be imported: nothing is of it, and using it is a `UsageError`.

    Args:
        name: the class's name.
        module: where it is public.
        why: what the error says.
    """
    return _Missing(name, (), {"__doc__": why, "__module__": module, "_why": why})
