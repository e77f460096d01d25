"""Market data by the thousand requests: as columns and frames. Needs the extra: `pip install 'alura-async[bulk]'`.

Importing this imports neither NumPy nor polars: what needs them is imported when it is first asked for. Where they are
not installed, every name is there nevertheless, and whoever uses one that needs them is told what to install.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .extra import missing

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
    try:
        module = import_module(_MODULES[name], __name__)
    except UsageError as error:
        # An error would be one of `hasattr` as well; and of an AttributeError, `import` tells no more than the name.
        return missing(name, __name__, str(error))
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
