"""What a body or a query may hold, checked and worded as class-validator does, and described for OpenAPI."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, Final

import msgspec

from .refusals import HttpError

# What a double holds: beyond it, a JavaScript server reads Infinity.
_LARGEST = Decimal("1.7976931348623157e308")
_SMALLEST = Decimal("0.000001")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)

LARGEST_INTEGER = 10**18 - 1
"""What the digits of a whole number in a query can say at most."""

_MISSING: Final = object()


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a body or a query.

    Attributes:
        name: its name on the wire.
        about: what it is, for the OpenAPI document.
        required: whether it must be there.
        example: an example, for the OpenAPI document.
    """

    name: str
    about: str = ""
    required: bool = True
    example: Any = None

    def problems(self, value: object) -> list[str]:
        """What is wrong with a value, one text for each rule it breaks."""
        raise NotImplementedError

    def parse(self, text: str) -> object:
        """A value from a query's text; what cannot be read stays text and is then refused."""
        return text

    def schema(self) -> dict[str, Any]:
        """The value as OpenAPI describes it."""
        raise NotImplementedError


class Number(Field, frozen=True, kw_only=True):
    """A finite number; amounts come as Decimal."""

    minimum: int | None = None
    maximum: int | None = None
    positive: bool = False
    integer: bool = False

    def problems(self, value: object) -> list[str]:
        """What is wrong, bounds first: so class-validator words them."""
        number: int | Decimal | None = None
        if isinstance(value, int | Decimal) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST:
            number = value
        found: list[str] = []
        if self.minimum is not None and (number is None or number < self.minimum):
            found.append(f"{self.name} must not be less than {self.minimum}")
        if self.maximum is not None and (number is None or number > self.maximum):
            found.append(f"{self.name} must not be greater than {self.maximum}")
        if self.positive and (number is None or number <= 0):
            found.append(f"{self.name} must be a positive number")
        if self.integer:
            if number is None or number != int(number):
                found.append(f"{self.name} must be an integer number")
        elif number is None:
            found.append(f"{self.name} must be a number conforming to the specified constraints")
        return found

    def parse(self, text: str) -> object:
        """A number, or what was no number as text."""
        if self.integer:
            return int(text) if _INTEGER.fullmatch(text) else text
        try:
            return Decimal(text)
        except InvalidOperation:
            return text

    def schema(self) -> dict[str, Any]:
        """A number with its bounds."""
        schema: dict[str, Any] = {"type": "integer" if self.integer else "number"}
        if self.minimum is not None:
            schema["minimum"] = self.minimum
        if self.maximum is not None:
            schema["maximum"] = self.maximum
        if self.positive:
            schema |= {"minimum": 0, "exclusiveMinimum": True}
        return schema


class Choice(Field, frozen=True, kw_only=True):
    """One of some texts."""

    choices: tuple[str, ...]

    def problems(self, value: object) -> list[str]:
        """What is wrong: another text than those."""
        if value in self.choices:
            return []
        return [f"{self.name} must be one of the following values: {', '.join(self.choices)}"]

    def schema(self) -> dict[str, Any]:
        """A text with its choices."""
        return {"type": "string", "enum": list(self.choices)}


class Flag(Field, frozen=True, kw_only=True):
    """True or false."""

    def problems(self, value: object) -> list[str]:
        """What is wrong: neither true nor false."""
        return [] if isinstance(value, bool) else [f"{self.name} must be a boolean value"]

    def parse(self, text: str) -> object:
        """True or false, or what was neither as text."""
        return {"true": True, "false": False}.get(text, text)

    def schema(self) -> dict[str, Any]:
        """A boolean."""
        return {"type": "boolean"}


class Text(Field, frozen=True, kw_only=True):
    """Text that is not empty."""

    def problems(self, value: object) -> list[str]:
        """What is wrong: nothing there, or no text."""
        found: list[str] = []
        if value is _MISSING or value is None or value == "":
            found.append(f"{self.name} should not be empty")
        if not isinstance(value, str):
            found.append(f"{self.name} must be a string")
        return found

    def schema(self) -> dict[str, Any]:
        """Text of some length."""
        return {"type": "string", "minLength": 1}


class Hex(Field, frozen=True, kw_only=True):
    """`0x` and a number of hex digits.

    Attributes:
        digits: how many.
        wording: what is said when it is something else, after the name.
    """

    digits: int
    wording: str
    pattern: ClassVar[str] = "^0x[0-9a-fA-F]{%d}$"

    def problems(self, value: object) -> list[str]:
        """What is wrong: another form."""
        if isinstance(value, str) and re.fullmatch(self.pattern % self.digits, value):
            return []
        return [f"{self.name} {self.wording}"]

    def schema(self) -> dict[str, Any]:
        """Text of a pattern."""
        return {"type": "string", "pattern": self.pattern % self.digits}


def check_body(fields: Sequence[Field], body: Mapping[str, object]) -> dict[str, Any]:
    """The values of a body's fields. Numbers come as Decimal unless they are integers by rule.

    Raises:
        HttpError: 400 with a text for each rule that is broken.
    """
    names = {field.name for field in fields}
    problems = [f"property {name} should not exist" for name in body if name not in names]
    return _values(fields, body, problems)


def check_query(fields: Sequence[Field], query: Mapping[str, str]) -> dict[str, Any]:
    """The values of a query's parameters. Unknown ones are ignored.

    Raises:
        HttpError: 400 with a text for each rule that is broken.
    """
    return _values(fields, {field.name: field.parse(query[field.name]) for field in fields if field.name in query}, [])


def _values(fields: Sequence[Field], given: Mapping[str, object], problems: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields:
        value = given.get(field.name, _MISSING)
        # Null counts as left out: @IsOptional() says so.
        if not field.required and (value is _MISSING or value is None):
            continue
        found = field.problems(value)
        problems += found
        if not found:
            values[field.name] = _normal(field, value)
    if problems:
        raise HttpError(400, problems)
    return values


def _normal(field: Field, value: object) -> object:
    if not isinstance(field, Number) or not isinstance(value, int | Decimal):
        return value
    if field.integer:
        return int(value)
    number = Decimal(value)
    # Replies write numbers as Python does, which takes to exponents for what is very large or very small.
    if number == number.to_integral_value():
        return Decimal(int(number))
    return number if number.adjusted() >= -6 else number.quantize(_SMALLEST)
