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
    from .reports import Correction, Gap, Problem, PullReport, SeriesInfo, SeriesUpdate, StoreInfo, UpdateReport
    from .store import CandleStore

__all__ = [
    "CandlePage",
    "CandleQuery",
    "CandleStore",
    "Candles",
    "Correction",
    "Gap",
    "Plan",
    "Problem",
    "Progress",
    "PullReport",
    "SeriesInfo",
    "SeriesUpdate",
    "StoreInfo",
    "UpdateReport",
    "Window",
]

_MODULES = {
    "CandlePage": ".pages",
    "CandleQuery": ".query",
    "CandleStore": ".store",
    "Candles": ".columns",
    "Correction": ".reports",
    "Gap": ".reports",
    "Plan": ".plan",
    "Problem": ".reports",
    "Progress": ".pages",
    "PullReport": ".reports",
    "SeriesInfo": ".reports",
    "SeriesUpdate": ".reports",
    "StoreInfo": ".reports",
    "UpdateReport": ".reports",
    "Window": ".plan",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
