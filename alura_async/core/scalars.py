"""Single values in any form that servers give them: numbers as text, text as numbers, times in any unit.

Each function here takes a JSON value, numbers with a fraction as `Decimal`, and gives the value of a field, or raises
`MismatchError`. Nothing is rounded, except that times are kept to the microsecond.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from math import isinf
from typing import Any, NamedTuple, TypeAlias

import msgspec

from ..secret import Secret
from .model import EARLIEST, LARGEST_EXPONENT, LATEST, OpenEnum

Read: TypeAlias = Callable[[Any], Any]
"""Makes a JSON value into that of a field, or raises `MismatchError`."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_ISO_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)\s*(Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?(?: UTC)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# How many microseconds a second, a millisecond, a microsecond and a nanosecond have. No two of them put a number
# between `EARLIEST` and `LATEST`.
_UNITS = tuple(map(Decimal, ("1e6", "1e3", "1", "1e-3")))
# From seconds to nanoseconds, such a number has 9 to 19 digits before the point.
_FEWEST, _MOST = 8, 18
_EARLIEST_US = (EARLIEST - _EPOCH) // timedelta(microseconds=1)
_LATEST_US = (LATEST - _EPOCH) // timedelta(microseconds=1)
_EARLIEST_MS, _LATEST_MS = _EARLIEST_US // 1000, _LATEST_US // 1000
# Where a part of an object is the value.
_VALUE_KEYS = ("value", "amount", "$numberDecimal", "$numberLong", "$numberInt", "$numberDouble", "$date", "$oid")
_REFERENCE_KEYS = ("id", "_id", "uuid", "$oid")


class MismatchError(Exception):
    """A value does not fit a type.

    Args:
        why: what was expected and what came.
        path: where, from the body's root `$`.
    """

    def __init__(self, why: str, path: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.path = path

    def within(self, step: str) -> MismatchError:
        """The same, seen from one level further out."""
        self.path = step + self.path
        return self

    def __str__(self) -> str:
        return f"at ${self.path}: {self.why}"


class Partly(NamedTuple):
    """A value of which only a part is the field's.

    Attributes:
        value: the field's.
        rest: the others, to be kept under the field's name on the wire.
    """

    value: Any
    rest: Any


def read_text(value: Any) -> str:
    """Text; numbers as they were written, for ids that come as numbers."""
    if type(value) is str:
        return value
    if type(value) is int or type(value) is Decimal:
        return str(value)
    raise _mismatch("text", value)


def read_word(value: Any) -> str:
    """Text, or `true` or `false` as text."""
    return str(value).lower() if type(value) is bool else read_text(value)


def read_amount(value: Any) -> Decimal:
    """A finite number with all its digits."""
    amount: Decimal | None = None
    if type(value) is Decimal or type(value) is int:
        amount = Decimal(value)
    elif type(value) is str:
        with suppress(ArithmeticError):
            amount = Decimal(value)
    if amount is None or not amount.is_finite() or abs(amount.adjusted()) > LARGEST_EXPONENT:
        raise _mismatch("a number", value)
    return amount


def read_whole(value: Any) -> int:
    """A whole number."""
    if type(value) is int:
        return value
    amount = read_amount(value)
    if amount != amount.to_integral_value():
        raise _mismatch("a whole number", value)
    return int(amount)


def read_float(value: Any) -> float:
    """A number, where digits do not matter."""
    number = float(read_amount(value))
    if isinf(number):
        raise _mismatch("a number that a float holds", value)
    return number


def read_wire_number(value: Any) -> str | int | float:
    """A number as the wire had it. Whether text is one is asked when it is used, for that takes as long as the rest."""
    if type(value) is str:
        return value
    if type(value) is Decimal and value.is_finite():
        as_float = float(value)
        return as_float if Decimal(repr(as_float)) == value else str(value)
    return read_whole(value)


def read_flag(value: Any) -> bool:
    """True or false; also as a word, and as 1 or 0."""
    if type(value) is bool:
        return value
    if type(value) is str and value.casefold() in _FLAGS:
        return _FLAGS[value.casefold()]
    if type(value) is int and value in (0, 1):
        return bool(value)
    raise _mismatch("true or false", value)


_FLAGS = {"true": True, "false": False, "1": True, "0": False}


def read_time(value: Any) -> datetime:
    """A moment: ISO text, in UTC where it names no zone, or a number of seconds, ms, µs or ns since 1970."""
    moment: datetime | None
    if type(value) is str and not _NUMBER.fullmatch(value.strip()):
        moment = _from_text(value.strip())
    else:
        moment = _from_epoch(read_amount(value))
    if moment is None or not EARLIEST <= moment < LATEST:
        raise _mismatch("a time", value)
    return moment


def read_milliseconds(value: Any) -> int:
    """A moment as epoch milliseconds."""
    if type(value) is int and _EARLIEST_MS <= value < _LATEST_MS:
        # As nearly all come, by the thousand; in no other unit would it be a time.
        return value
    return (read_time(value) - _EPOCH) // timedelta(milliseconds=1)


def read_secret(value: Any) -> Secret:
    """Text that must not be shown; also an object, as its text: it must not be shown either."""
    if type(value) is str:
        return Secret(value)
    if type(value) is dict:
        return Secret(msgspec.json.encode(value).decode())
    raise _mismatch("text", value)


def read_enum(kind: type[OpenEnum]) -> Read:
    """Members of an enumeration, known or not."""

    def read(value: Any) -> OpenEnum:
        return kind(read_text(value))

    return read


def read_part(read: Read, *, is_reference: bool) -> Read:
    """Read a value, or the one in an object that stands for it: `{"value": "1.5", "currency": "USDC"}`.

    Args:
        read: reads the value.
        is_reference: whether it is the id of another thing, which may be given instead.
    """
    keys = _REFERENCE_KEYS if is_reference else _VALUE_KEYS

    def read_it(value: Any) -> Any:
        if type(value) is not dict:
            return read(value)
        for key in keys:
            if value.get(key) is not None and type(value[key]) is not list:
                rest = {name: item for name, item in value.items() if name != key}
                found = read_it(value[key])
                if type(found) is Partly:
                    return Partly(found.value, {**rest, key: found.rest})
                return Partly(found, rest) if rest else found
        raise _mismatch("a single value", value)

    return read_it


def _from_text(text: str) -> datetime | None:
    try:
        # The usual form, which is decoded in the same way where it is expected.
        return _aware(msgspec.convert(text, datetime))
    except msgspec.ValidationError:
        pass
    found = _ISO_TIME.fullmatch(text)
    try:
        if found is None:
            return parsedate_to_datetime(text).astimezone(UTC) if "GMT" in text else None
        day, clock, zone = found.groups()
        zone = "" if zone is None or zone.upper() in ("Z", "UTC", "GMT") else zone
        return _aware(datetime.fromisoformat(f"{day}T{(clock or '00:00').replace(',', '.')}{zone}"))
    except (ValueError, OverflowError):
        return None


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _from_epoch(number: Decimal) -> datetime | None:
    if not _FEWEST <= number.adjusted() <= _MOST:
        return None
    for unit in _UNITS:
        microseconds = int(number * unit)
        if _EARLIEST_US <= microseconds < _LATEST_US:
            return _EPOCH + timedelta(microseconds=microseconds)
    return None


def _mismatch(wanted: str, value: Any) -> MismatchError:
    return MismatchError(f"expected {wanted}, got {kind_of(value)}")


def kind_of(value: Any) -> str:
    """What a JSON value is, for a message; not what it says."""
    kinds = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
