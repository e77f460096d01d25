"""Durations as a person writes them: `"10m"`, `"1h30m"`, a number of seconds, or a timedelta."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TypeAlias

from ..errors import ConfigurationError

Duration: TypeAlias = timedelta | float | str
"""A length of time: a timedelta, a number of seconds, or text such as `"250ms"`, `"90s"`, `"1h30m"`, `"2d"`."""

_PIECE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
_TEXT = re.compile(rf"(?:{_PIECE.pattern})+", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(value: Duration, name: str) -> timedelta:
    """A length of time that is not negative.

    Args:
        value: the length.
        name: what it is called, for the error.

    Raises:
        ConfigurationError: it cannot be read, is negative, or is longer than can be counted.
    """
    example = f"{name}={value!r}: give a timedelta, a number of seconds, or text such as '250ms', '10m' or '1h30m'"
    if isinstance(value, str):
        text = value.strip().lower()
        if not _TEXT.fullmatch(text):
            raise ConfigurationError(example)
        value = sum(float(number) * _SECONDS[unit] for number, unit in _PIECE.findall(text))
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise ConfigurationError(example)
    try:
        length = value if isinstance(value, timedelta) else timedelta(seconds=value)
    except (ValueError, OverflowError):
        raise ConfigurationError(example) from None
    if length < timedelta(0):
        raise ConfigurationError(f"{name}={value!r}: a length of time is not negative")
    return length


def duration_text(length: timedelta) -> str:
    """A length of time as `duration` reads it, such as `1h30m`, `250ms` or `0s`."""
    microseconds = length // timedelta(microseconds=1)
    pieces: list[str] = []
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000)):
        count, microseconds = divmod(microseconds, size)
        if unit == "ms" and microseconds:
            pieces.append(f"{count}.{microseconds:03d}ms")
        elif count:
            pieces.append(f"{count}{unit}")
    return "".join(pieces) or "0s"
