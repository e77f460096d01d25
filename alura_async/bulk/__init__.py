"""Market data by the thousand requests: as columns and frames. Needs the extra: `pip install 'alura-async[bulk]'`.

Importing this imports neither NumPy nor polars: what needs them is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .columns import Candles
    from .pages import CandlePage, Progress
    from .plan import Plan, Window
    from .query import CandleQuery

__all__ = ["CandlePage", "CandleQuery", "Candles", "Plan", "Progress", "Window"]

_MODULES = {
    "CandlePage": ".pages",
    "CandleQuery": ".query",
    "Candles": ".columns",
    "Plan": ".plan",
    "Progress": ".pages",
    "Window": ".plan",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
