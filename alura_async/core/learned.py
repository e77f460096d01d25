"""Tables of a shape that was seen before, decoded at nearly the speed of one that is known.

Long lists of small objects (candles by the thousand) are worth it. What the tolerant road does with the rows of one is
written down: a type of exactly these names around and in the rows, which msgspec decodes, and one expression that makes
rows into objects. Whatever differs in another body, be it in one row, fails to decode, and the tolerant road reads that
body as if nothing had been learned. What stands around and beside the rows may be anything but a list, for that could
be another table or a column. So what a body gives never depends on the ones before it. And so it is enough to look at
some rows of a long table: what is learned from them decodes all the others, or says that it cannot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from operator import attrgetter
from typing import Annotated, Any, NamedTuple

import msgspec

from . import scalars
from .lists import Rows
from .model import EARLIEST, LATEST
from .objects import ObjectReader
from .unwrap import below

LEAST = 32
"""So many rows are worth it."""
MOST_VALUES = 2_000_000
"""A body with more values than these is not taken apart to see what some of its rows are like."""
# Of more than so many rows, so many are looked at to learn what all of them are like.
_MANY = 128
_SAMPLE = 48
# Shorter bodies have fewer rows.
_LEAST_BYTES = 2 << 10
# Of more names than these, an object is a map of things.
_MOST_NAMES = 64
_parts = msgspec.json.Decoder(list[msgspec.Raw] | dict[str, msgspec.Raw])

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_S, _LATEST_S = ((time - _EPOCH) // timedelta(seconds=1) for time in (EARLIEST, LATEST))
# By how many of a unit a second has: what makes a number of them into milliseconds.
_IN_MILLISECONDS = {1: "{} * 1000", 10**3: "{}", 10**6: "{} // 1000", 10**9: "{} // 1000000"}
# Fewer digits than these a float surely holds. Once the points are left out, so many zeros in a row are too many.
_TOO_MANY_DIGITS = 16
_ALL_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = re.compile(rf"(?:[0-9]\.*){{{_TOO_MANY_DIGITS}}}")
_LEAST_LONG: int = 10 ** (_TOO_MANY_DIGITS - 1)
# What msgspec takes for no name of a field.
_NO_NAME = re.compile(r'["\\\x00-\x1f]')
_NOT_LIKE_IT = (
    # Of columns of several lengths a ValueError.
    *(msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError, TypeError, ValueError),
    scalars.MismatchError,
)
# Deeper in what stands around a table nobody looks.
_DEPTH = 3


def may_be_long(value: Any, depth: int) -> bool:
    """Whether there may be a table in a body that is worth it.

    Args:
        value: the body as plain values.
        depth: how many wrappers there may be.
    """
    if type(value) is list:
        return len(value) >= LEAST
    # Columns are one level further in than rows.
    return type(value) is dict and depth >= 0 and any(may_be_long(item, depth - 1) for item in value.values())


def shortened(body: bytes) -> bytes | None:
    """A body with fewer rows in its table, from which the shape of all may be learned; None if that is not worth it.

    Args:
        body: a reply's body.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: it is no JSON.
    """
    # To count takes time, too, and each value at least two bytes.
    if len(body) < _LEAST_BYTES or (len(body) > 2 * MOST_VALUES and body.count(b",") > MOST_VALUES):
        return None
    short = _shortened(body, _DEPTH)
    return None if short is None else msgspec.json.encode(short)


def _shortened(part: bytes | msgspec.Raw, depth: int) -> Any | None:
    """The same list with some of its rows, or the same object with some of those in the one table in it."""
    parts = _parts.decode(part)
    if type(parts) is list:
        return _some(parts)
    if len(parts) > _MOST_NAMES:
        return None
    kinds = {name: bytes(memoryview(item)[:1]) for name, item in parts.items()}
    lists = {name: _parts.decode(parts[name]) for name, kind in kinds.items() if kind == b"["}
    if lists:
        # One list of rows, or the columns of a table.
        is_table = len({*map(len, lists.values())}) == 1
        short = {name: _some(items) for name, items in lists.items()} if is_table else {}
    else:
        inner = {name: _shortened(parts[name], depth - 1) for name, kind in kinds.items() if kind == b"{" and depth}
        short = {name: item for name, item in inner.items() if item is not None}
    return None if not short or None in short.values() else {**parts, **short}


def _some(rows: list[Any]) -> list[Any] | None:
    """Some of many rows, from the first to the last; None if there are few."""
    last = len(rows) - 1
    return None if last < _MANY else [rows[place * last // (_SAMPLE - 1)] for place in range(_SAMPLE)]


class Learned:
    """A shape that was seen; see `learn`."""

    def __init__(self, decoder: msgspec.json.Decoder[Any], levels: Sequence[_Level], table: Table) -> None:
        self._decoder = decoder
        self._levels = levels
        self._table = table

    def parse(
        self, body: bytes, asked: Mapping[str, str | None], told_around: Callable[[Mapping[str, Any]], dict[str, str]]
    ) -> Any | None:
        """The body as plain values, but the rows as objects; None if its shape is another one.

        Args:
            body: a reply's body.
            asked: what the request tells of each row, by the names of the fields.
            told_around: finds what is told of each row in what stands around them, which goes before what was asked.
        """
        table = self._table
        found: list[tuple[str, dict[str, Any]]] = []
        try:
            inner = self._decoder.decode(body)
            for step, attributes in self._levels:
                found.append((step, {name: getattr(inner, attribute) for name, attribute in attributes.items()}))
                inner = inner.rows
            beside = {name: getattr(inner, attribute) for name, attribute in (table.beside or {}).items()}
            around = (*(names for _, names in found), beside)
            said = {below("$", name): item for names in around for name, item in names.items()}
            if any(map(_holds_list, said.values())) or any(_has_parts(getattr(inner, name)) for name in table.untyped):
                return None
            if table.asked:
                asked = {**asked, **told_around(said)}
            rows = Rows(table.build(inner, *map(asked.get, table.asked)))
        except _NOT_LIKE_IT:
            return None
        # A list with nothing in it is read like any other: what it is said to be counts.
        if not rows:
            return None
        if table.has_floats and not self._keeps_digits(body, len(rows)):
            return None
        for name in table.times:
            moments = [*map(attrgetter(name), rows)]
            if not _EARLIEST_S * 1000 <= min(moments) <= max(moments) < _LATEST_S * 1000:
                return None
        value: Any = rows
        if table.beside is not None:
            value = beside | {"rows": rows}
        for step, around in reversed(found):
            value = {**around, step: value}
        return value

    def _keeps_digits(self, body: bytes, rows: int) -> bool:
        """Whether no number has more digits than a float: there are no more long ones than its times are."""
        zeros = body.translate(_ALL_ZEROS, b".")
        # With an exponent, digits may be lost that are not there.
        if b"0e" in zeros or b"0E" in zeros:
            return False
        return zeros.count(b"0" * _TOO_MANY_DIGITS) == self._table.long_times * rows


class _Level(NamedTuple):
    """One wrapper around the rows.

    Attributes:
        step: the name that leads on.
        attributes: the names beside it, and what they are called in the type that decodes them.
    """

    step: str
    attributes: Mapping[str, str]


class Table(NamedTuple):
    """What all rows of a table have in common.

    Attributes:
        wire: a type that decodes a table of exactly this shape.
        build: makes a decoded table, and what the request tells of its rows, into objects.
        asked: which fields the request tells, in the order in which `build` takes them.
        has_floats: whether numbers are decoded that may lose digits.
        times: the fields that are decoded without a look at whether they can be times.
        beside: of columns, what stands beside them, and what that is called in `wire`.
        long_times: how many times of each row are numbers that surely have more digits than a float.
        is_strict: whether text is not decoded as a number.
        untyped: of columns, those that are decoded as anything, as they are called in `wire`.
    """

    wire: Any
    build: Callable[..., list[Any]]
    asked: tuple[str, ...]
    has_floats: bool
    times: tuple[str, ...]
    beside: Mapping[str, str] | None
    long_times: int = 0
    is_strict: bool = True
    untyped: tuple[str, ...] = ()


def learn(
    value: Any,
    steps: Sequence[str],
    reader: ObjectReader,
    asked: Mapping[str, str | None],
    number: Callable[[str], Any],
    writing: type[Writing],
) -> Learned | None:
    """Write down how a table is read; None if it is short, or its rows differ.

    Args:
        value: the body as plain values.
        steps: the names that lead to its rows, or its columns.
        reader: what reads the rows.
        asked: what the request tells of each row, by the names of the fields.
        number: makes numbers with a fraction, where no type says what they are.
        writing: says what is made of the rows.
    """
    around: list[dict[str, Any]] = []
    for step in steps:
        around.append(value)
        value = value[step]
    if any(
        _holds_list(item)
        for step, names in zip(steps, around, strict=True)
        for name, item in names.items()
        if name != step
    ):
        return None
    named = [*around, value if type(value) is dict else value[0] if value else None]
    if any(_NO_NAME.search(name) for names in named if type(names) is dict for name in names):
        return None
    table = _table(value, reader, asked, writing)
    if table is None:
        return None
    levels: list[_Level] = []
    wire = table.wire
    for step, names in zip(reversed(steps), reversed(around), strict=True):
        attributes = {name: f"f{place}" for place, name in enumerate(names) if name != step}
        fields: list[Any] = [(attribute, Any, msgspec.field(name=name)) for name, attribute in attributes.items()]
        fields.append(("rows", wire, msgspec.field(name=step)))
        wire = msgspec.defstruct("Around", fields, forbid_unknown_fields=True)
        levels.insert(0, _Level(step, attributes))
    decoder = msgspec.json.Decoder(wire, strict=table.is_strict, float_hook=number)
    return Learned(decoder, levels, table)


def _table(value: Any, reader: ObjectReader, asked: Mapping[str, str | None], writing: type[Writing]) -> Table | None:
    """What the rows of a table have in common; None if it is not all that matters."""
    if type(value) is dict:
        names = reader.columns(value)
        columns = {name: item for name, item in value.items() if name in names}
        if not columns or len(next(iter(columns.values()))) < LEAST:
            return None
        if any(_holds_list(item) for name, item in value.items() if name not in columns):
            return None
        if any(map(_has_parts, columns.values())):
            return None
        return writing(reader, asked, columns).write_columns(value)
    if len(value) < LEAST:
        return None
    is_array = type(value[0]) is list
    rows: list[Any] = [reader.by_names(row) if type(row) is list else row for row in value]
    if any(type(row) is not dict or row.keys() != rows[0].keys() for row in rows):
        return None
    if any((type(row) is list) != is_array for row in value):
        return None
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return writing(reader, asked, columns).write_rows(is_array=is_array)


class Writing:
    """Writes the type of a table, and the expression that makes its rows into objects.

    The expression is text that is compiled, as that of a dataclass's `__init__` is: nothing else comes near the speed
    of one that names each field. Only the names of our own fields are in it; those of the server are constants.
    """

    def __init__(
        self, reader: ObjectReader, asked: Mapping[str, str | None], columns: Mapping[str, Sequence[Any]]
    ) -> None:
        self._reader = reader
        self._columns = columns
        self._told = [field for field in asked if field in reader.scalars]
        self._names: dict[str, Any] = {"struct": reader.struct}
        self._has_floats = False
        self._long_times = 0
        self._times: list[str] = []

    def write_rows(self, *, is_array: bool) -> Table | None:
        """A table of rows."""
        written = self._write("row.f{}")
        if written is None:
            return None
        types, made = written
        fields = [(f"f{place}", kind, msgspec.field(name=name)) for place, (name, kind) in enumerate(types.items())]
        row: Any = msgspec.defstruct(
            "Row", fields, array_like=is_array, forbid_unknown_fields=True, gc=False, frozen=True
        )
        return self._compile(list[row], f"[{made} for row in table]", None)

    def write_columns(self, value: Mapping[str, Any]) -> Table | None:
        """A table of columns, beside which other things may stand."""
        written = self._write("x{}")
        if written is None:
            return None
        types, made = written
        fields: list[Any] = []
        beside: dict[str, str] = {}
        for place, name in enumerate(value):
            kind: Any = Any
            if name in types:
                kind = types[name]
                kind = list[kind]
            else:
                beside[name] = f"f{place}"
            fields.append((f"f{place}", kind, msgspec.field(name=name)))
        wire = msgspec.defstruct("Columns", fields, forbid_unknown_fields=True)
        places = [list(value).index(name) for name in types]
        targets = ", ".join(f"x{place}" for place in range(len(places)))
        columns = ", ".join(f"table.f{place}" for place in places)
        table = self._compile(wire, f"[{made} for {targets}, in zip({columns}, strict=True)]", beside)
        # A list of objects that is as long as the columns may be what is sought instead.
        return table._replace(
            untyped=tuple(f"f{place}" for place, name in zip(places, types, strict=True) if types[name] is Any)
        )

    def _compile(self, wire: Any, expression: str, beside: Mapping[str, str] | None) -> Table:
        text = f"lambda table, {', '.join(self._told)}: {expression}"
        build = eval(compile(text, "<learned>", "eval"), self._names)  # noqa: S307 - see the class
        return Table(wire, build, tuple(self._told), self._has_floats, tuple(self._times), beside, self._long_times)

    def _write(self, item: str) -> tuple[dict[str, Any], str] | None:
        """The types of the columns by their names, and the expression that makes an object of a row's values.

        None where rows of these names would not all be read alike.

        Args:
            item: the expression of a value, with a place for its column's number.
        """
        fields = self._fields()
        if fields is None:
            return None
        types: dict[str, Any] = {}
        arguments: list[str] = []
        extra: list[str] = []
        for place, (name, field) in enumerate(fields.items()):
            if field is not None:
                types[name], expression = self._convert(field, item.format(place), self._columns[name])
                arguments.append(f"{field}={expression}")
            else:
                types[name] = Any
                self._names[f"n{place}"] = name
                extra.append(f"n{place}: {item.format(place)}")
        told = [field for field in self._told if field not in fields.values()]
        arguments += [f"{field}={field}" for field in told]
        left_out = self._reader.always_told.difference(fields.values(), told)
        arguments += [f"{field}=None" for field in sorted(left_out)]
        if extra:
            arguments.append(f"_extra={{{', '.join(extra)}}}")
        return types, f"struct({', '.join(arguments)})"

    def _fields(self) -> dict[str, str | None] | None:
        """Which field each column is, by its name; None where rows of these names would not all be read alike."""
        reader = self._reader
        first = {name: column[0] for name, column in self._columns.items()}
        assigned = reader.assign(first)
        if assigned.failures or reader.adapts or not reader.is_plain(first):
            return None
        field_of = {name: field for field, name in assigned.names.items()}
        found: dict[str, str | None] = {}
        for name, column in self._columns.items():
            field = field_of.get(name)
            if field in reader.required and None in column:
                return None
            if field is None:
                # One that may be a field, and is none in this row, may be one in the next.
                is_like_it = not reader.may_be_field(name)
            else:
                is_like_it = field in reader.scalars and name not in assigned.rest
            if not is_like_it:
                return None
            found[name] = field
        return found

    @cached_property
    def _may_have_floats(self) -> bool:
        """Whether numbers are decoded as floats: only where a body shows by how many long ones it has that none is one.

        Of times it is known how many are long. Of anything else one that is missing would make up for one too many.
        """
        scalar = self._reader.scalars
        fields = (self._fields() or {}).items()
        times = {name for name, field in fields if field and scalar[field] is scalars.read_milliseconds}
        return not any(
            _are_long(column) for name, column in self._columns.items() if name not in times or _unit_of(column) is None
        )

    def _convert(self, field: str, item: str, column: Sequence[Any]) -> tuple[Any, str]:
        """The type that decodes a column, and the expression that makes a value of it that of the field."""
        read = self._reader.scalars[field]
        kinds = set(map(type, column))
        first = column[0]
        if read in (scalars.read_text, scalars.read_wire_number) and kinds == {str}:
            return str, item
        if read is scalars.read_wire_number and kinds <= {int, Decimal} and self._may_have_floats:
            self._has_floats = True
            return int | float, item
        if read is scalars.read_whole and kinds == {int}:
            return int, item
        unit = _unit_of(column) if read is scalars.read_milliseconds else None
        if unit is not None:
            self._long_times += unit.is_long
            return Annotated[int, msgspec.Meta(ge=unit.least, le=unit.most)], unit.in_milliseconds.format(item)
        if read is scalars.read_milliseconds and kinds == {str}:
            is_aware = names_zone(first)
            if is_aware is not None:
                self._times.append(field)
                self._names[f"epoch_{field}"] = _EPOCH if is_aware else _EPOCH.replace(tzinfo=None)
                # Faster than a division by a timedelta, and as exact.
                seconds = f"(past := {item} - epoch_{field}).days * 86400 + past.seconds"
                expression = f"({seconds}) * 1000 + past.microseconds // 1000"
                return Annotated[datetime, msgspec.Meta(tz=is_aware)], expression
        # Whatever it is: as the tolerant road does it, value by value.
        name = f"read_{field}"
        self._names[name] = _whole if read is scalars.read_whole and kinds == {str} else read
        expression = f"{name}({item})"
        absent = field if field in self._told else None
        return Any, expression if type(None) not in kinds else f"{absent} if {item} is None else {expression}"


def _holds_list(value: Any, depth: int = _DEPTH) -> bool:
    """Whether a value is a list, or an object that may hold one."""
    if type(value) is not dict:
        return type(value) is list
    return depth == 0 or any(_holds_list(item, depth - 1) for item in value.values())


def _has_parts(column: Sequence[Any]) -> bool:
    """Whether something in a column is an object or a list."""
    return not {dict, list}.isdisjoint(map(type, column))


def _are_long(values: Sequence[Any]) -> bool:
    """Whether some of these values have a number in them that may have more digits than a float."""
    return any(_LONG_NUMBER.search(str(value)) for value in values)


class _Unit(NamedTuple):
    """In what times are counted.

    Attributes:
        least: the first one.
        most: the last one.
        in_milliseconds: an expression that converts one.
    """

    least: int
    most: int
    in_milliseconds: str

    @property
    def is_long(self) -> bool:
        """Whether all have more digits than a float surely holds; else none has."""
        return self.least >= _LEAST_LONG


def _units() -> Iterator[_Unit]:
    """Seconds, ms, µs and ns. In µs what is before September 2001 has a digit less, and is read one by one."""
    for per_second, expression in _IN_MILLISECONDS.items():
        least, end = _EARLIEST_S * per_second, _LATEST_S * per_second
        yield _Unit(max(least, _LEAST_LONG) if end > _LEAST_LONG else least, end - 1, expression)


_UNITS = tuple(_units())


def _unit_of(times: Sequence[Any]) -> _Unit | None:
    """In what times are counted that are whole numbers; None where they are something else."""
    if set(map(type, times)) != {int}:
        return None
    return next((unit for unit in _UNITS if unit.least <= times[0] <= unit.most), None)


def names_zone(text: str) -> bool | None:
    """Whether a time in the usual form names its zone; None where it has another form."""
    try:
        return msgspec.convert(text, datetime).tzinfo is not None
    except msgspec.ValidationError:
        return None


def _whole(text: Any) -> int:
    """A whole number that comes as text; nearly always without a sign."""
    return int(text) if type(text) is str and text.isdecimal() else scalars.read_whole(text)
