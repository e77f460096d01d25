"""The settings of a sandbox, and the check that each is of a type that it can have, however it was given."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from types import UnionType
from typing import Any, TypedDict, Union, get_args, get_origin, get_type_hints

from ..errors import ConfigurationError
from .conditions import Conditions
from .faults import Fault
from .ledger import ReceivedRequest
from .quirks import Quirks


class Settings(TypedDict, total=False):
    """The settings of a `Sandbox`, for those who pass them on."""

    seed: int
    host: str
    port: int
    speed: float
    start: datetime | str | None
    funds: Decimal | int
    limit: int | None
    window: float
    allow_remote: bool
    on_request: Callable[[ReceivedRequest], object] | None
    conditions: Conditions
    shapes: str
    quirks: Quirks
    faults: str | Fault | Iterable[str | Fault]
    kept: int


def require_types(settings: Mapping[str, object]) -> None:
    """Refuse a setting that there is not, or one of another type than it can have.

    Raises:
        ConfigurationError: the message says which ones there are.
    """
    types = _types()
    for name, value in settings.items():
        if name not in types:
            raise ConfigurationError(f"{name}: there is no such setting; there are {', '.join(types)}")
        if not any(_is_of(value, kind) for kind in types[name]):
            raise ConfigurationError(f"{name}={value!r}: give {_in_words(types[name])}")


def moment(start: datetime | str | None) -> datetime | None:
    """A start as a time, which may be given as ISO text.

    Raises:
        ConfigurationError: the text is no time, or has no zone.
    """
    if not isinstance(start, str):
        return start
    try:
        time = datetime.fromisoformat(start)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ConfigurationError(f"start={start!r}: give a time with its zone, such as '2026-01-05T12:00:00Z'")
    return time


@functools.cache
def _types() -> Mapping[str, tuple[Any, ...]]:
    return {
        name: get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        for name, kind in get_type_hints(Settings).items()
    }


def _is_of(value: object, kind: Any) -> bool:
    outer = get_origin(kind) or kind
    if isinstance(value, bool):
        return outer is bool
    return isinstance(value, int | float if outer is float else outer)


def _in_words(kinds: Collection[Any]) -> str:
    words = [getattr(get_origin(kind) or kind, "__name__", str(kind)) for kind in kinds]
    return " or ".join("None" if word == "NoneType" else word for word in words)
