"""The forms in which backends write numbers, times and names: each keeps every digit and every millisecond."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def plain_text(amount: Decimal) -> str:
    """Digits without an exponent and without zeros at the end: `0.00000012`."""
    # By text: calculating would round to the context's precision.
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def exponent_text(amount: Decimal) -> str:
    """What Python's decimals look like after `normalize()`: `1E+4`, `1.2E-7`, `64123.5`."""
    exact = Context(prec=max(1, len(amount.as_tuple().digits)))
    return str(amount.normalize(exact))


def json_number(amount: Decimal) -> msgspec.Raw:
    """A JSON number with all digits, more than a double holds if there are more."""
    return msgspec.Raw(plain_text(amount).encode())


def iso(moment: datetime) -> str:
    """What JavaScript's `toISOString` gives: `2024-05-01T12:30:15.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_ticks(moment: datetime) -> str:
    """What .NET's round-trip format gives: `2024-05-01T12:30:15.2500000+00:00`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "0+00:00")


def iso_without_zone(moment: datetime) -> str:
    """What SQL databases print, in UTC and not saying so: `2024-05-01 12:30:15.250`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")


def epoch_seconds(moment: datetime) -> msgspec.Raw:
    """A JSON number of seconds, with a fraction where there is one: `1714566615.25`."""
    return json_number(Decimal(epoch_microseconds(moment)).scaleb(-6))


def epoch_milliseconds(moment: datetime) -> int:
    """A whole number of milliseconds."""
    return epoch_microseconds(moment) // 1_000


def epoch_microseconds(moment: datetime) -> int:
    """A whole number of microseconds."""
    return (moment - _EPOCH) // _MICROSECOND


def epoch_nanoseconds(moment: datetime) -> int:
    """A whole number of nanoseconds: more than 2**53, and less than 2**63."""
    return epoch_microseconds(moment) * 1_000


def snake_case(name: str) -> str:
    """A camelCase name with underscores."""
    return _WORD_START.sub("_", name).lower()


def kebab_case(name: str) -> str:
    """A camelCase name with hyphens."""
    return _WORD_START.sub("-", name).lower()


def camel_case(name: str) -> str:
    """A PascalCase or kebab-case name in camelCase."""
    first, *others = name.split("-")
    return first[:1].lower() + first[1:] + "".join(map(pascal_case, others))


def pascal_case(name: str) -> str:
    """A camelCase name that begins with a capital."""
    return name[:1].upper() + name[1:]
