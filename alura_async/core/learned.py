"""Tables of a shape that was seen before, decoded at nearly the speed of one that is known.

Long lists of small objects (candles by the thousand) are worth it. When the tolerant road has read one, what it did is
written down: a type of exactly these names around and in the rows, which msgspec decodes, and one expression that makes
rows into objects. Whatever differs in the next body, be it in one row, fails to decode, and the tolerant road reads
that body as if nothing had been learned. So what a body gives never depends on the ones before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import msgspec

from . import scalars
from .fit import ObjectReader, Rows
from .model import EARLIEST, LATEST, Model

# So many rows are worth it.
_LEAST = 32

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_S, _LATEST_S = ((time - _EPOCH) // timedelta(seconds=1) for time in (EARLIEST, LATEST))
# By how many of a unit a second has: what makes a number of them into milliseconds.
_IN_MILLISECONDS = {1: "{} * 1000", 10**3: "{}", 10**6: "{} // 1000", 10**9: "{} // 1000000"}
# Without the points, digits that a float may not hold stand in a row.
_ALL_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_TOO_MANY_DIGITS = b"0" * 16


class Learned:
    """A shape that was seen; see `learn`."""

    def __init__(self, decoder: msgspec.json.Decoder[Any], levels: Sequence[_Level], row: _Row) -> None:
        self._decoder = decoder
        self._levels = levels
        self._row = row

    def parse(self, body: bytes, asked: Mapping[str, str | None]) -> Any | None:
        """The body as plain values, but the rows as objects; None if its shape is another one.

        Args:
            body: a reply's body.
            asked: what the request tells of each row, by the names of the fields.
        """
        if self._row.has_floats and _TOO_MANY_DIGITS in body.translate(_ALL_ZEROS, b"."):
            return None
        found: list[tuple[str, dict[str, Any]]] = []
        try:
            inner = self._decoder.decode(body)
            for step, attributes in self._levels:
                found.append((step, {name: getattr(inner, attribute) for name, attribute in attributes.items()}))
                inner = inner.rows
            value: Any = Rows(self._row.build(inner, *map(asked.get, self._row.asked)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError, scalars.MismatchError):
            return None
        for step, around in reversed(found):
            value = {**around, step: value}
        return value


class _Level(NamedTuple):
    """One wrapper around the rows.

    Attributes:
        step: the name that leads on.
        attributes: the names beside it, and what they are called in the type that decodes them.
    """

    step: str
    attributes: Mapping[str, str]


class _Row(NamedTuple):
    """What all rows of a table have in common.

    Attributes:
        wire: a type that decodes one of exactly this shape.
        build: makes decoded rows, and what the request tells of them, into objects.
        asked: which fields the request tells, in the order in which `build` takes them.
        has_floats: whether numbers are decoded that may lose digits.
    """

    wire: type[msgspec.Struct]
    build: Callable[..., list[Any]]
    asked: tuple[str, ...]
    has_floats: bool


def learn(
    value: Any,
    steps: Sequence[str],
    reader: ObjectReader,
    asked: Mapping[str, str | None],
    number: Callable[[str], Any],
) -> Learned | None:
    """Write down how a table was read; None if it is short, or its rows differ.

    Args:
        value: the body as plain values.
        steps: the names that lead to its rows.
        reader: what read the rows.
        asked: what the request tells of each row, by the names of the fields.
        number: makes numbers with a fraction, where no type says what they are.
    """
    around: list[dict[str, Any]] = []
    for step in steps:
        around.append(value)
        value = value[step]
    row = _common(value, reader, asked) if len(value) >= _LEAST else None
    if row is None:
        return None
    levels: list[_Level] = []
    wire: Any = list[row.wire]  # type: ignore[name-defined]
    for step, names in zip(reversed(steps), reversed(around), strict=True):
        attributes = {name: f"f{place}" for place, name in enumerate(names) if name != step}
        fields = [(attribute, Any, msgspec.field(name=name)) for name, attribute in attributes.items()]
        fields.append(("rows", wire, msgspec.field(name=step)))
        wire = msgspec.defstruct("Around", fields, forbid_unknown_fields=True)
        levels.insert(0, _Level(step, attributes))
    return Learned(msgspec.json.Decoder(wire, float_hook=number), levels, row)


def _common(rows: Sequence[Any], reader: ObjectReader, asked: Mapping[str, str | None]) -> _Row | None:
    """What rows have in common; None if it is not all that matters."""
    first = rows[0]
    is_array = type(first) is list
    if any(type(row) is not type(first) or len(row) != len(first) for row in rows):
        return None
    if is_array:
        rows = [reader.by_names(row) for row in rows]
    if type(rows[0]) is not dict or any(row is None or row.keys() != rows[0].keys() for row in rows):
        return None
    return _Writing(reader, asked).write(rows, is_array=is_array)


class _Writing:
    """Writes the type of a row, and the expression that makes it into an object.

    The expression is text that is compiled, as that of a dataclass's `__init__` is: nothing else comes near the speed
    of one that names each field. Only the names of our own fields are in it; those of the server are constants.
    """

    def __init__(self, reader: ObjectReader, asked: Mapping[str, str | None]) -> None:
        self._reader = reader
        self._asked = asked
        self._arguments: list[str] = []
        self._names: dict[str, Any] = {"struct": reader.struct, "milliseconds": _milliseconds}
        self._has_floats = False

    def write(self, rows: Sequence[dict[str, Any]], *, is_array: bool) -> _Row | None:
        """Write both; None where rows of these names would not all be read alike."""
        reader = self._reader
        assigned = reader.assign(rows[0])
        adapts = reader.struct._adapt.__func__ is not Model._adapt.__func__  # type: ignore[attr-defined]
        if adapts or assigned.failures or not reader.is_plain(rows[0]):
            return None
        fields: list[Any] = []
        extra: list[str] = []
        field_of = {name: field for field, name in assigned.names.items()}
        for place, name in enumerate(rows[0]):
            kinds = {type(row[name]) for row in rows}
            field = field_of.get(name)
            if field is None:
                # One that may be a field, and was not, may be one in the next row.
                if reader.may_be_field(name):
                    return None
                wire: Any = Any
                self._names[f"n{place}"] = name
                extra.append(f"n{place}: row.f{place}")
            else:
                if name in assigned.rest or field not in reader.scalars:
                    return None
                wire, expression = self._convert(field, f"row.f{place}", kinds, rows[0][name])
                self._arguments.append(f"{field}={expression}")
            fields.append((f"f{place}", wire, msgspec.field(name=name)))
        told = [field for field in self._asked if field not in assigned.names and field in reader.scalars]
        self._arguments += [f"{field}={field}" for field in told]
        left_out = reader.always_told.difference(assigned.names, told)
        self._arguments += [f"{field}=None" for field in sorted(left_out)]
        if extra:
            self._arguments.append(f"_extra={{{', '.join(extra)}}}")
        wire_type = msgspec.defstruct(
            "Row", fields, array_like=is_array, forbid_unknown_fields=True, gc=False, frozen=True
        )
        text = f"lambda rows, {', '.join(told)}: [struct({', '.join(self._arguments)}) for row in rows]"
        build = eval(compile(text, "<learned>", "eval"), self._names)  # noqa: S307 - see the class
        return _Row(wire_type, build, tuple(told), self._has_floats)

    def _convert(self, field: str, item: str, kinds: set[type], first: Any) -> tuple[Any, str]:
        """The type that decodes a value, and the expression that makes it that of the field."""
        read = self._reader.scalars[field]
        if read is scalars.read_text and kinds == {str}:
            return str, item
        if read is scalars.read_wire_number and kinds <= {str, int, Decimal}:
            if kinds == {str}:
                return str, item
            self._has_floats = self._has_floats or Decimal in kinds
            return (str | int | float if str in kinds else int | float), item
        if read is scalars.read_whole and kinds == {int}:
            return int, item
        if read is scalars.read_milliseconds and kinds == {int}:
            for units, expression in _IN_MILLISECONDS.items():
                if _EARLIEST_S * units <= first < _LATEST_S * units:
                    bounds = msgspec.Meta(ge=_EARLIEST_S * units, le=_LATEST_S * units - 1)
                    return Annotated[int, bounds], expression.format(item)
        if read is scalars.read_milliseconds and kinds == {str} and not first.strip().replace(".", "").isdecimal():
            return datetime, f"milliseconds({item})"
        # Whatever it is: as the tolerant road does it, value by value.
        reader = f"read_{field}"
        self._names[reader] = _whole if read is scalars.read_whole and kinds == {str} else read
        return Any, f"{reader}({item})" if type(None) not in kinds else f"None if {item} is None else {reader}({item})"


def _milliseconds(time: datetime) -> int:
    """A decoded time as epoch milliseconds."""
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    if not EARLIEST <= aware < LATEST:
        raise scalars.MismatchError("not a time of this API")
    return round(aware.timestamp() * 1_000_000) // 1_000


def _whole(text: Any) -> int:
    """A whole number that comes as text; nearly always without a sign."""
    return int(text) if type(text) is str and text.isdecimal() else scalars.read_whole(text)
