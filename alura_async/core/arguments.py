"""What may be sent: numbers, addresses, path segments, times. Checked before anything leaves.

Only documented rules are enforced (budget at least 10, profit target at most 500, the two enumerations), and those
without which a value cannot be written down or would mean another one: finite numbers, checksums, zones.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import msgspec

from ..errors import InvalidArgumentError
from ..secret import Secret
from .imports import importing
from .text import is_unsafe

Amount: TypeAlias = Decimal | int | float | str
"""A number of money or percent. A float is taken by its shortest decimal text, text as it is written (`"0.10"`)."""

Instant: TypeAlias = datetime | int
"""A point in time: an aware datetime, or epoch milliseconds."""

# Digits of the longest number that is written out; far beyond any token's supply in its smallest unit.
_MAX_DIGITS = 80

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}", re.ASCII)

E = TypeVar("E", bound=enum.StrEnum)


def amount(name: str, value: Amount) -> Decimal:
    """A finite number, with every digit it was given.

    Raises:
        InvalidArgumentError: not a number, not finite, or of more than 80 digits.
    """
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float | str):
        raise InvalidArgumentError(f"{name}={value!r}: give a Decimal, an int, a float or text such as '12.50'")
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise InvalidArgumentError(f"{name}={value[:40]!r}: not a number; write it like '12.50'")
    try:
        number = (
            Decimal(repr(value)) if type(value) is float else Decimal(str(value) if isinstance(value, float) else value)
        )
    except (InvalidOperation, ValueError):
        raise InvalidArgumentError(f"{name}: not a number that can be sent") from None
    if not number.is_finite():
        raise InvalidArgumentError(f"{name}={value!r}: give a finite number")
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)  # it is finite
    if (len(digits) + exponent if exponent > 0 else max(len(digits), -exponent)) > _MAX_DIGITS:
        raise InvalidArgumentError(f"{name}: more than {_MAX_DIGITS} digits when written out")
    return number


def at_least(name: str, value: Decimal, least: int) -> Decimal:
    """A documented lower bound."""
    if value < least:
        raise InvalidArgumentError(f"{name}={value}: the API documents at least {least}")
    return value


def at_most(name: str, value: Decimal, most: int) -> Decimal:
    """A documented upper bound."""
    if value > most:
        raise InvalidArgumentError(f"{name}={value}: the API documents at most {most}")
    return value


def whole(name: str, value: int) -> int:
    """An integer that is not a bool."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(f"{name}={value!r}: give a whole number")
    return value


def flag(name: str, value: bool) -> bool:
    """A bool and nothing that merely looks like one: the text `"false"` is true in Python."""
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{name}={value!r}: give True or False")
    return value


def text(name: str, value: str) -> str:
    """Text that is not empty and has no control characters."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgumentError(f"{name}={value!r}: give text that is not empty")
    if any(is_unsafe(character) for character in value):
        raise InvalidArgumentError(f"{name}={value!r}: has control or invisible characters")
    return value


def secret(name: str, value: Secret) -> Secret:
    """Text like that of `text`, which no error shows."""
    content: object = value.reveal()
    is_text = isinstance(content, str) and bool(content.strip()) and not any(map(is_unsafe, content))
    del content
    if not is_text:
        raise InvalidArgumentError(f"{name}=***: give text that is not empty, without control or invisible characters")
    return value


def choice(name: str, value: E | str, choices: type[E]) -> E:
    """One of a documented enumeration, as its member or its text.

    Raises:
        InvalidArgumentError: anything else, also in another case.
    """
    for member in choices:
        if value == member.value:
            return member
    raise InvalidArgumentError(f"{name}={value!r}: the API documents {', '.join(member.value for member in choices)}")


def address(name: str, value: str) -> str:
    """A 20-byte EVM address; one in mixed case must carry a right EIP-55 checksum.

    Raises:
        InvalidArgumentError: of another form, or with a wrong checksum.
    """
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise InvalidArgumentError(f"{name}={str(value)[:80]!r}: give 0x and 40 hex digits")
    digits = value[2:]
    if digits != digits.lower() and digits != digits.upper():
        # Only a mixed-case address carries a checksum, and only then is this import needed.
        with importing("eth_utils"):
            from eth_utils.address import to_checksum_address

            # Imports what it hashes with.
            to_checksum_address("0x" + "00" * 20)
        if to_checksum_address("0x" + digits.lower())[2:] != digits:
            raise InvalidArgumentError(
                f"{name}={value}: the checksum in its capitals is wrong, so a character is mistyped; "
                "copy the address again"
            )
    return "0x" + digits


def path_segment(name: str, value: str | int) -> str:
    """One segment of a path, percent-encoded: `PURR/USDC` is a symbol, `..` is an escape.

    Raises:
        InvalidArgumentError: empty, `.`, `..`, or with control characters.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidArgumentError(f"{name}={value!r} cannot be part of a path: give its id or name as text")
    value = str(value)
    if value.isascii() and value.isalnum():
        return value
    if value in ("", ".", ".."):
        raise InvalidArgumentError(f"{name}={value!r} cannot be part of a path: it would name another one")
    if any(
        ord(character) < 32 or 127 <= ord(character) < 160 or 0xD800 <= ord(character) < 0xE000 for character in value
    ):
        raise InvalidArgumentError(f"{name}={value!r} cannot be part of a path: it has control characters")
    return quote(value, safe="")


def milliseconds(name: str, value: Instant) -> int:
    """Epoch milliseconds of an aware datetime, or of an int that already is that.

    Raises:
        InvalidArgumentError: a datetime without a zone, or something else.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidArgumentError(
                f"{name}={value!r}: which zone? give it one, such as datetime(2026, 1, 1, tzinfo=UTC)"
            )
        # Whole arithmetic: a float of seconds loses the last millisecond now and then.
        return (value - _EPOCH) // _MILLISECOND
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(f"{name}={value!r}: give an aware datetime, or epoch milliseconds")
    return value


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = datetime(1970, 1, 1, microsecond=1000) - datetime(1970, 1, 1)


def query_text(name: str, value: Any) -> str:
    """One query value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, enum.Enum):
        return query_text(name, value.value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidArgumentError(
                f"{name}={value!r}: has half a surrogate pair, which UTF-8 cannot write"
            ) from None
        return value
    if isinstance(value, datetime):
        return str(milliseconds(name, value))
    if isinstance(value, Decimal | int | float):
        return format(amount(name, value), "f")
    raise InvalidArgumentError(f"{name}={value!r}: a query takes text, numbers, booleans and aware datetimes")


def json_value(value: Any, name: str = "body") -> Any:
    """A value as the JSON encoder takes it: amounts become plain numbers without exponent, None is left out.

    msgspec's own `decimal_format="number"` writes exponents, which not every server's validation takes.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, str):
        return value
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Decimal | float):
        return msgspec.Raw(format(amount(name, value), "f").encode("ascii"))
    if isinstance(value, datetime):
        return milliseconds(name, value)
    if isinstance(value, Mapping):
        return {str(key): json_value(item, str(key)) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [json_value(item, name) for item in value]
    raise InvalidArgumentError(f"{name}: cannot write {type(value).__name__} as JSON")
