"""Market data by the thousand requests: as columns and frames. Needs the extra: `pip install 'alura-async[bulk]'`.

Importing this imports neither NumPy nor polars: what needs them is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .columns import Candles

__all__ = ["Candles"]

# Where the names are that need an extra.
_LAZY = {"Candles": ".columns"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LAZY[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
