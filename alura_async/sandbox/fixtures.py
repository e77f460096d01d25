"""What `alura_async.pytest_plugin` gives to a test: it imports this when one asks for it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

from ..client import AsyncAlura
from ..core.text import shown
from ..errors import ConfigurationError
from ..sync import Alura
from .app import Sandbox
from .settings import Settings, require_types

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""Where the clock of a test's sandbox stands, unless its marker says otherwise: noon of a Monday."""

POLL_INTERVAL = 0.01
"""Seconds between two reads of a test's `watch…` and `wait_…`: the clock stands still meanwhile."""

_SHOWN = 10
_LONGEST_LINE = 160
_LONGEST_FAULT = 80


def settings(markers: Iterable[Mapping[str, Any]], seed: int) -> tuple[Settings, bool]:
    """The settings of a test's sandbox, and whether clients wait in it as they do in earnest.

    Args:
        markers: what the markers of the test say, the nearest first.
        seed: the seed, where no marker says one.

    Raises:
        ConfigurationError: a setting that there is not, or a value that it cannot have.
    """
    chosen: dict[str, Any] = {"seed": seed, "start": START, "speed": 0, "limit": None}
    for marker in reversed(list(markers)):
        chosen |= marker
    waits = chosen.pop("waits", False)
    if not isinstance(waits, bool):
        raise ConfigurationError(f"waits={waits!r}: give True or False")
    require_types(chosen)
    return cast("Settings", chosen), waits


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
