"""What `alura_async.pytest_plugin` gives to a test: it imports this when one asks for it."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from ..client import AsyncAlura
from ..core.text import shown
from ..errors import ConfigurationError
from ..sync import Alura
from .app import Sandbox, Settings

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""Where the clock of a test's sandbox stands, unless its marker says otherwise: noon of a Monday."""

POLL_INTERVAL = 0.01
"""Seconds between two reads of a test's `watch…` and `wait_…`: the clock stands still meanwhile."""

_SHOWN = 10
_LONGEST_LINE = 160
_LONGEST_FAULT = 80


def settings(markers: Iterable[Mapping[str, Any]], seed: int) -> Settings:
    """The settings of a test's sandbox.

    Args:
        markers: what the markers of the test say, the nearest first.
        seed: the seed, where no marker says one.

    Raises:
        ConfigurationError: a setting that there is not, or a value that it cannot have.
    """
    kinds = get_type_hints(Settings)
    chosen: dict[str, Any] = {"seed": seed, "start": START, "speed": 0, "limit": None}
    for marker in reversed(list(markers)):
        for name, value in marker.items():
            if name not in kinds:
                raise ConfigurationError(f"alura({name}=…): there is no such setting; there are {', '.join(kinds)}")
            chosen[name] = fitting(name, value, kinds[name])
    return cast("Settings", chosen)


def fitting(name: str, value: object, kind: Any) -> object:
    """A setting as its type has it: a time may be ISO text, and what takes several texts may be given one.

    Raises:
        ConfigurationError: it is of another type; the message says which ones it may be.
    """
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if isinstance(value, str) and str not in kinds:
        if datetime in kinds:
            return _time(name, value)
        if any(_is_collection(each) for each in kinds):
            return (value,)
    if not any(_is_of(value, each) for each in kinds):
        raise ConfigurationError(f"alura({name}={value!r}): give {_in_words(kinds)}")
    return value


def _time(name: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ConfigurationError(f"alura({name}={text!r}): give a time with its zone, such as '2026-01-05T12:00:00Z'")
    return time


def _is_collection(kind: Any) -> bool:
    outer = get_origin(kind)
    return isinstance(outer, type) and issubclass(outer, Iterable)


def _is_of(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    outer = get_origin(kind) or kind
    if not isinstance(outer, type):
        return True
    if isinstance(value, bool):
        return outer in (bool, object)
    return isinstance(value, int | float if outer is float else outer)


def _in_words(kinds: Collection[Any]) -> str:
    """What can be given: the choices, where there is a choice, else the types."""
    words: list[str] = []
    for kind in kinds:
        outer = get_origin(kind) or kind
        words += map(repr, get_args(kind)) if outer is Literal else [getattr(outer, "__name__", str(kind))]
    return " or ".join("None" if word == "NoneType" else word for word in words)


@contextmanager
def awaited_client(sandbox: Sandbox) -> Generator[AsyncAlura]:
    """A client with a wallet of this sandbox, to be used in one event loop, whoever runs that.

    What runs a loop for a test also ends it: then, if not before, its connections are closed. So this works under
    every plugin that runs tests in loops, and knows none of them.
    """
    client = AsyncAlura(sandbox.wallet(), base_url=sandbox.url, poll_interval=POLL_INTERVAL)
    client._road.ends_with_loop = True
    try:
        yield client
    finally:
        client._road.close_from_outside()


@contextmanager
def blocking_client(sandbox: Sandbox) -> Generator[Alura]:
    """A blocking client with a wallet of this sandbox."""
    with Alura(sandbox.wallet(), base_url=sandbox.url, poll_interval=POLL_INTERVAL) as client:
        yield client


def history(sandbox: Sandbox) -> str:
    """What happened in a sandbox last, for people who look for what went wrong. No key or token is in it."""
    requests, ledger = list(sandbox.requests.copy()), sandbox.ledger
    lines = [f"{sandbox!r}, its clock at {sandbox.now:%Y-%m-%d %H:%M:%S} UTC"]
    lines.append(_title("requests", len(requests)))
    for request in requests[-_SHOWN:]:
        query = "&".join(f"{name}={value}" for name, value in request.query.items())
        target = f"{request.path}?{query}" if query else request.path
        text = f"{request.status or '...'}  {request.method:<4} {target}"
        if request.fault is not None:
            # Both must be seen, however long the rest is.
            done = "executed" if request.executed else "not executed"
            text = f"{shown(text, _LONGEST_LINE)}  fault: {request.fault} ({done})"
        lines.append(_line(text, _LONGEST_LINE + _LONGEST_FAULT))
    lines.append(_title("ledger entries", len(ledger)))
    for entry in ledger[-_SHOWN:]:
        facts = " ".join(f"{name}={value}" for name, value in entry.detail.items())
        cause = entry.operation or "by the clock"
        lines.append(_line(f"{entry.number}  {entry.time:%m-%d %H:%M:%S}  {entry.kind} ({cause}) {facts}"))
    return "\n".join(lines)


def _title(what: str, count: int) -> str:
    return f"No {what}." if not count else f"Last {min(count, _SHOWN)} of {count} {what}:"


def _line(text: str, longest: int = _LONGEST_LINE) -> str:
    return "  " + shown(text, longest)
