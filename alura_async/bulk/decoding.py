"""From a reply's body to columns, and the calls whose replies are read so.

Numbers become columns without becoming Python objects one by one. msgspec decodes the rows into Structs of floats, and
writes these again, as MessagePack: there every float has nine bytes, so all rows have one width, and NumPy takes the
columns out of that as they stand. It is the fastest way from JSON to columns that needs nothing but msgspec and NumPy.

Bodies of other shapes take the tolerant road of `core/decode.py`, which remembers the way (`core/learned.py`); here
what it remembers leads to columns, too. Where rows are not all alike it leads to objects, and from these to columns.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from datetime import UTC
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import msgspec

from ..core.decode import DEPTH, Shape
from ..core.learned import MOST_VALUES, Table, Writing, names_zone
from ..core.lists import ListReader
from ..core.model import EARLIEST, LATEST, Items, Milliseconds, Time
from ..core.reader import names_in
from ..core.request import Lane, Route
from ..core.scalars import MismatchError
from ..core.unwrap import find, holds_nothing
from ..errors import InvalidArgumentError
from ..groups.indicators import Candle
from .columns import MOST_TRADES, NUMBERS, UNTOLD, Candles, agreed, is_same, may_last
from .extra import needing

with needing("numpy"):
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .columns import Numbers


class CandlesShape(Shape[Candles]):
    """What the replies with the candles of one series are decoded into.

    What `Items[Candle]` is read from, in any shape, is read here as well, and says the same.

    Args:
        template: the endpoint's path.
    """

    def __init__(self, template: str) -> None:
        super().__init__(Items[Candle], template)
        self._writing = _ColumnWriting

    def exact(self, body: bytes, path: str, query: str, headers: Mapping[str, str]) -> Candles:
        """Decode a body of exactly the expected shape."""
        asked = self.asked(path, query)
        symbol, interval = asked.get("symbol"), asked.get("interval")
        try:
            try:
                rows = _canonical.decode(body)
            except msgspec.ValidationError as error:
                # A number of trades that is null has no width. The objects' own exact decoder is the next best.
                if "got `null`" not in str(error):
                    raise
                return _of_candles(cast("list[Candle]", super().exact(body, path, query, headers)), asked, headers)
            if not rows:
                return Candles.empty(symbol, interval, dated_ms(headers))
            columns = _CANONICAL.build(rows, symbol, interval)
            _require_ends(body, columns.interval)
            return columns.candles(dated_ms(headers))
        except (MismatchError, InvalidArgumentError) as error:
            # The tolerant road says what is wrong with it.
            raise msgspec.DecodeError(str(error)) from None

    def recognise(self, body: bytes, asked: Mapping[str, str | None]) -> Any | None:
        """Decode a long table, of the shape that was seen last or of the one that some of its rows have.

        A body that may be too large to be taken apart is judged by its own rows alone. Else whether it is read at all
        would depend on the ones before it.
        """
        if len(body) <= _LARGE:
            return super().recognise(body, asked)
        found = self._learn_from_some(body, asked)
        return None if found is None else found[1]

    def _require_readable(self, body: bytes) -> None:
        # A web page is told as what it is, in no time.
        if len(body) <= _LARGE or body.lstrip()[:1] == b"<":
            return
        if body.count(b",") > _MOST_VALUES or body.count(b"{") + body.count(b"[") > _MOST_ROWS:
            raise MismatchError(
                f"{len(body):,} bytes are more than can be looked into: at most {_MOST_ROWS:,} rows and "
                f"{_MOST_VALUES:,} values, or {MOST_VALUES:,} values in rows that are all alike; ask for fewer at once"
            )

    def read(
        self, value: Any, asked: Mapping[str, str | None], headers: Mapping[str, str], *, may_say_nothing: bool = False
    ) -> Candles:
        """Make plain values into columns.

        That there are none must be said. An object that says nothing may be anything, and whoever takes it for an empty
        list never asks again for candles that are there.
        """
        rows: Any = [] if _has_no_data(value) else super().read(value, asked, headers, may_say_nothing=may_say_nothing)
        if not rows and not self._is_said_to_be_empty(value):
            raise MismatchError(f"neither candles nor a list without any; it has {names_in(value)}")
        try:
            if rows and type(rows[0]) is _Columns:
                columns: _Columns = rows[0]
                # What stands around them may have named another series.
                for field, name in asked.items():
                    agreed(field, name, {getattr(columns, field)})
                return columns.candles(dated_ms(headers))
            return _of_candles(rows, asked, headers)
        except InvalidArgumentError as error:
            raise MismatchError(str(error)) from None

    def _is_said_to_be_empty(self, value: Any) -> bool:
        """Whether a body in which there are no candles says that there are none: by an empty list, or in words."""
        if _has_no_data(value):
            return True
        inner, _ = find(cast("ListReader", self._reader), value, DEPTH, self._hints).take(value)
        return type(inner) is list or any(type(item) is list for item in inner.values())

    def has_something(self, result: Any) -> bool:
        """Whether there is a candle."""
        return len(result) > 0

    def _arrange(self, items: list[Any]) -> None:
        # Columns have been put in order.
        if items and type(items[0]) is not _Columns:
            super()._arrange(items)

    def _agree(self, plain: Any, table: Any, asked: Mapping[str, str | None]) -> bool:
        rows = table["rows"] if type(table) is dict else table
        if type(rows[0]) is not _Columns:
            return super()._agree(plain, table, asked)
        try:
            candles = cast("ListReader", self._reader).read_items(plain)[0]
            self._arrange(candles)
            return rows[0].candles(None) == _of_candles(candles, asked, {})
        except (InvalidArgumentError, MismatchError):
            # What is wrong with it is told where it is read.
            return False


def _has_no_data(value: Any) -> bool:
    """Whether a body says in words that there are no candles: `{"s": "no_data"}`, `{"success": true, "data": null}`."""
    if type(value) is not dict:
        return False
    if value.get("s") == "no_data":
        return not any(item for item in value.values() if type(item) in (dict, list))
    is_yes = any(value.get(name) is True for name in _SUCCESS) or value.get("status") in _SUCCESS
    return is_yes and holds_nothing(value, _NAMES, DEPTH)


# What says that all is well, as a flag or as a status.
_SUCCESS = ("success", "ok", "succeeded")
_NAMES = frozenset(("candles", "candle", "history"))


def _of_candles(candles: Sequence[Candle], asked: Mapping[str, str | None], headers: Mapping[str, str]) -> Candles:
    return Candles.from_candles(candles, asked.get("symbol"), asked.get("interval"), as_of_ms=dated_ms(headers))


class _Columns(NamedTuple):
    """The columns of a body, of which it is not yet known when the server sent it."""

    symbol: str | None
    interval: str | None
    times: NDArray[np.int64]
    numbers: Numbers
    trades: NDArray[np.int32] | None

    def candles(self, told_ms: int | None) -> Candles:
        """The table of a body that was sent at a time, epoch milliseconds."""
        return Candles._settled(self.symbol, self.interval, told_ms, self.times, self.numbers, self.trades, None)


def as_of_ms(headers: Mapping[str, str]) -> int:
    """When a server replied, by its clock, epoch milliseconds; where it does not say, by this machine's."""
    found = dated_ms(headers)
    return time.time_ns() // 1_000_000 if found is None else found


def dated_ms(headers: Mapping[str, str]) -> int | None:
    """When a reply was made, by the server's clock, epoch milliseconds; None where its headers do not tell."""
    said, age = headers.get("Date"), headers.get("Age")
    found = None if said is None else _date(said)
    if found is None or age is None:
        return found
    # What keeps replies may date them anew, and says how old they are.
    return found - int(age) * 1000 if age.isascii() and age.isdecimal() and len(age) < _LONGEST_AGE else None


_LONGEST_AGE = 10
_LONGEST_DATE = 64


@functools.lru_cache(maxsize=16)
def _date(text: str) -> int | None:
    """Epoch milliseconds of a `Date` header, which has whole seconds and is in UTC, whatever its form."""
    if len(text) > _LONGEST_DATE:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # Of one without a zone `timestamp` would think that it is in this machine's.
    return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1000)


# So much is looked into row by row, which takes up to a second: ten pages of the largest that are common. Tables whose
# rows are all alike may have more.
_MOST_ROWS = 50_000
_MOST_VALUES = 500_000
# Shorter bodies have neither more values nor more candles.
_LARGE = 2 * _MOST_VALUES


# Rows of one width

# So many fields, and so many bytes of a name, have a head of one byte in MessagePack.
_MOST_FIELDS = 15
_LONGEST_NAME = 31
# Of text, so many characters have no more than 255 bytes, and so a head of one or two bytes.
_LONGEST_TEXT = 63
_encode = msgspec.msgpack.Encoder().encode
_Text = Annotated[str, msgspec.Meta(max_length=_LONGEST_TEXT)]


class _RowTable:
    """Makes rows of one type into columns.

    Args:
        row: the type, with fields of the kinds that are below: floats, flags, texts, moments, and times as whole
            numbers, which have one width as long as they have one unit.
        fields: what its fields are of a candle, by their names.
        per_second: how many units of its times a second has, by the fields of a candle; None where one is a datetime.
    """

    def __init__(
        self, row: type[msgspec.Struct], fields: Mapping[str, str], per_second: Mapping[str, int | None]
    ) -> None:
        self._attributes = row.__struct_fields__
        is_array = row.__struct_config__.array_like
        self._heads = [1 if is_array else 2 + len(name.encode()) for name in row.__struct_encode_fields__]
        self._kinds = {field.name: field.type for field in msgspec.structs.fields(row)}
        self._varying = [name for name in self._attributes if self._kinds[name] in (_Text, Time)]
        self._field_of = fields
        self._per_second = per_second
        # Making one takes as long as decoding a hundred rows.
        self._layout = functools.lru_cache(maxsize=64)(self._make_layout)

    def build(self, rows: Sequence[Any], symbol: str | None = None, interval: str | None = None) -> _Columns:
        """Make rows into columns.

        Args:
            rows: one or more.
            symbol: the symbol that was asked for.
            interval: the interval that was asked for.

        Raises:
            MismatchError: they are not written alike, or of another series, or a number is none.
        """
        first = rows[0]
        row, alike = self._layout(tuple([len(_encode(getattr(first, name))) for name in self._varying]))
        written = _encode(rows)
        count = len(rows)
        head = len(written) - count * row.itemsize
        if head != (1 if count <= _MOST_FIELDS else 3 if count < 2**16 else 5):
            raise MismatchError("rows of several widths")
        if alike:
            octets = np.frombuffer(written, np.uint8, offset=head).reshape(count, row.itemsize)
            for place, end in alike:
                if (octets[:, place:end] != octets[0, place:end]).any():
                    raise MismatchError("rows of several widths, or series")
        table = np.frombuffer(written, row, offset=head)
        asked = {"symbol": symbol, "interval": interval}
        for name, field in self._field_of.items():
            if field in asked:
                given, said = asked[field], getattr(first, name)
                if given is None:
                    asked[field] = said
                elif said != given and not is_same(field, given, said):
                    raise MismatchError(f"candles of another {field} than the one that was asked for")
        present = self._field_of.values()
        return _columns(
            **asked,
            times=self._times("open_time_ms", table),
            ends=self._times("close_time_ms", table) if "close_time_ms" in present else None,
            columns={field: table[field] for field in present if field in _NUMBER_FIELDS or field == "trades"},
        )

    def _make_layout(self, widths: Sequence[int]) -> tuple[np.dtype[np.void], list[tuple[int, int]]]:
        """Where the values are in a row, and which of its bytes are the same in all rows if these are of one width.

        Args:
            widths: how many bytes those take whose width is not known from their type.
        """
        width_of = dict(zip(self._varying, widths, strict=True))
        fields: dict[str, tuple[str, int]] = {}
        alike: list[tuple[int, int]] = []
        end = 1
        for name, before in zip(self._attributes, self._heads, strict=True):
            # A head, the name with its own head, the value.
            place = end + before - 1
            field = self._field_of.get(name)
            width = width_of.get(name) or self._width(self._kinds[name], field)
            end = place + width
            if field in ("symbol", "interval"):
                # One comparison is faster than two, and what is between them is a name.
                begin = alike.pop()[0] if alike and alike[-1][1] == place - before + 1 else place
                alike.append((begin, end))
            elif name in width_of:
                # What a value begins with tells its width.
                alike.append((place, place + min(2, width)))
            if field in _TIME_FIELDS:
                # Whole numbers have a head of one byte, moments one of two.
                head = 1 if self._per_second[field] else 2
                fields[field] = (f">u{width - head}", place + head)
            elif field is not None and field not in ("symbol", "interval"):
                fields[field] = (">f8", place + 1)
        formats, offsets = zip(*fields.values(), strict=True)
        return np.dtype({"names": [*fields], "formats": formats, "offsets": offsets, "itemsize": end}), alike

    def _width(self, kind: Any, field: str | None) -> int:
        """How many bytes a flag or a number has; of whole numbers there are only times."""
        if kind is bool:
            return 1
        return 5 if field in _TIME_FIELDS and self._per_second[field] == 1 else 9

    def _times(self, field: str, table: NDArray[np.void]) -> NDArray[np.int64]:
        """Epoch milliseconds."""
        values, per_second = table[field], self._per_second[field]
        if per_second is not None:
            return _milliseconds(values.astype(np.int64), per_second)
        # In eight bytes there are 30 bits of nanoseconds and 34 bits of seconds, in four only seconds.
        moments = values.astype(np.uint64)
        nanoseconds, seconds = (moments >> 34, moments & 0x3FFFFFFFF) if values.dtype.itemsize == 8 else (0, moments)
        times = (seconds * 1000 + nanoseconds // 1_000_000).astype(np.int64)
        if not _EARLIEST_MS <= times.min() <= times.max() < _LATEST_MS:
            raise MismatchError("expected times")
        return times


def _milliseconds(values: NDArray[np.int64], per_second: int) -> NDArray[np.int64]:
    if per_second == 1000:
        return values
    return values * 1000 if per_second == 1 else values // (per_second // 1000)


_TIME_FIELDS = ("open_time_ms", "close_time_ms")
# By the fields of a candle, in the order of the columns.
_NUMBER_FIELDS = tuple(f"{name}_text" for name in NUMBERS)


def _columns(
    symbol: str | None,
    interval: str | None,
    times: NDArray[np.int64],
    ends: NDArray[np.int64] | None,
    columns: Mapping[str, Any],
) -> _Columns:
    """Columns in the order of a list of candles.

    Args:
        symbol: the symbol.
        interval: the interval.
        times: when they open, epoch milliseconds.
        ends: when they close, epoch milliseconds; None where they do not tell.
        columns: numbers by the fields of a candle.

    Raises:
        MismatchError: a number is none, or they are of another interval.
    """
    lasting = None if ends is None else ends - times
    if lasting is not None and len(lasting) and not may_last(int(lasting.min()), int(lasting.max()), interval):
        raise MismatchError("candles of another interval than the one that was asked for")
    count = len(times)
    numbers = np.empty((len(NUMBERS), count))
    for place, field in enumerate(_NUMBER_FIELDS):
        numbers[place] = columns.get(field, np.nan)
    if "volume_text" in columns and not np.isfinite(numbers[-1]).all():
        # Here it would say that the volume is unknown.
        raise MismatchError("expected volumes")
    trades: NDArray[np.int32] | None = None
    if "trades" in columns and count:
        told = np.asarray(columns["trades"], np.float64)
        # What is no number is neither.
        if not (-MOST_TRADES <= told.min() <= told.max() <= MOST_TRADES and (told == np.trunc(told)).all()):
            raise MismatchError("expected whole numbers of trades")
        trades = np.maximum(told, UNTOLD).astype(np.int32)
    if count > 1 and times[0] > times[-1]:
        # As a list is put in order. Of several with one open time the last counts.
        times, numbers = times[::-1].copy(), np.ascontiguousarray(numbers[:, ::-1])
        trades = None if trades is None else trades[::-1].copy()
    return _Columns(symbol, interval, times, numbers, trades)


_EARLIEST_MS, _LATEST_MS = (int(moment.timestamp() * 1000) for moment in (EARLIEST, LATEST))


class _Canonical(msgspec.Struct, gc=False):
    """A candle as Hyperliquid writes it, its numbers as text or not, with whatever else.

    All that a table holds is there under its first name, so nothing else in a row could stand for it.
    """

    t: Milliseconds
    s: _Text
    i: _Text
    o: float
    c: float
    h: float
    l: float  # noqa: E741 - as it is on the wire
    v: float
    n: float


_canonical = msgspec.json.Decoder(list[_Canonical], strict=False)
_CANONICAL = _RowTable(
    _Canonical,
    {
        field.encode_name: field.name
        for field in msgspec.structs.fields(Candle)
        if field.encode_name in _Canonical.__struct_fields__
    },
    {"open_time_ms": 1000},
)


class _Lasting(msgspec.Struct, gc=False):
    """When a candle of that form begins and ends, where it tells."""

    t: Milliseconds
    T: Milliseconds | None = None


_lasting = msgspec.json.Decoder(_Lasting, strict=False)
_all_lasting = msgspec.json.Decoder(list[_Lasting], strict=False)


def _require_ends(body: bytes, interval: str | None) -> None:
    """Refuse candles that end as those of another interval do.

    To read the ends of all takes a tenth of the time of all else, so the last one, which may be running, is looked at.

    Raises:
        MismatchError: they are of another interval.
        msgspec.DecodeError: an end is no time.
    """
    try:
        rows = [_lasting.decode(body[body.rfind(b"{") : body.rfind(b"}") + 1])]
    except msgspec.DecodeError:
        # There are objects in the rows.
        rows = _all_lasting.decode(body)
    for row in rows:
        if row.T is not None and not may_last(row.T - row.t, row.T - row.t, interval):
            raise MismatchError("candles of another interval than the one that was asked for")


# Rows and columns of other shapes


class _ColumnWriting(Writing):
    """Writes the type of a table whose rows become columns. Where they are not all alike they become objects."""

    def write_rows(self, *, is_array: bool) -> Table | None:
        """A table of rows."""
        return self._write_rows(is_array=is_array) or super().write_rows(is_array=is_array)

    def write_columns(self, value: Mapping[str, Any]) -> Table | None:
        """A table of columns, beside which other things may stand."""
        return self._write_columns(value) or super().write_columns(value)

    def _write_rows(self, *, is_array: bool) -> Table | None:
        kinds = self._wire_kinds()
        names = [*self._columns]
        if kinds is None or len(names) > _MOST_FIELDS or any(len(name.encode()) > _LONGEST_NAME for name in names):
            return None
        row: Any = msgspec.defstruct(
            "Row",
            [(f"f{place}", kinds.types[name], msgspec.field(name=name)) for place, name in enumerate(names)],
            array_like=is_array,
            forbid_unknown_fields=True,
            gc=False,
        )
        fields = {f"f{place}": kinds.fields[name] for place, name in enumerate(names) if name in kinds.fields}
        table = _RowTable(row, fields, kinds.per_second)

        def build(rows: list[Any], *told: str | None) -> list[Any]:
            # One for each row: where there is more than one list in a body, the longer one is what is sought.
            return [table.build(rows, **dict(zip(self._told, told, strict=True)))] * len(rows) if rows else []

        return Table(list[row], build, tuple(self._told), False, (), None, is_strict=False)

    def _write_columns(self, value: Mapping[str, Any]) -> Table | None:
        kinds = self._wire_kinds()
        if (
            kinds is None
            or None in kinds.per_second.values()
            or not {"symbol", "interval"}.isdisjoint(kinds.fields.values())
        ):
            return None
        fields: list[Any] = []
        beside: dict[str, str] = {}
        places: dict[str, str] = {}
        for place, name in enumerate(value):
            attribute = f"f{place}"
            kind: Any = Any
            if name not in kinds.types:
                beside[name] = attribute
            else:
                kind = kinds.types[name]
                kind = list[kind]
                places[attribute] = kinds.fields.get(name, "")
            fields.append((attribute, kind, msgspec.field(name=name)))
        wire = msgspec.defstruct("Columns", fields, forbid_unknown_fields=True)
        per_second = kinds.per_second

        def build(table: Any, *told: str | None) -> list[Any]:
            given = {attribute: getattr(table, attribute) for attribute in places}
            if len({*map(len, given.values())}) != 1:
                raise MismatchError("columns of several lengths")
            columns = {field: np.array(given[attribute]) for attribute, field in places.items() if field}
            times = {
                field: _milliseconds(columns.pop(field).astype(np.int64), units)
                for field, units in per_second.items()
                if units is not None
            }
            opened = times["open_time_ms"]
            asked: dict[str, str | None] = {"symbol": None, "interval": None}
            asked |= zip(self._told, told, strict=True)
            return [_columns(asked["symbol"], asked["interval"], opened, times.get("close_time_ms"), columns)] * len(
                opened
            )

        return Table(wire, build, tuple(self._told), False, (), beside, is_strict=False)

    def _wire_kinds(self) -> _WireKinds | None:
        """How the columns are decoded; None where they may not all have one width."""
        fields = self._fields()
        if fields is None:
            return None
        types: dict[str, Any] = {}
        taken: dict[str, str] = {}
        per_second: dict[str, int | None] = {}
        for name, column in self._columns.items():
            field = fields[name]
            kinds = set(map(type, column))
            kind: Any = None
            if field in _TIME_FIELDS:
                kind, per_second[field] = _kind_of_times(column, kinds)
            elif field in _NUMBER_FIELDS or field == "trades":
                kind = float if kinds <= {int, Decimal, str} else None
            elif kinds == {str}:
                kind = _Text
            elif kinds == {bool} or kinds <= {int, Decimal}:
                kind = bool if bool in kinds else float
            if kind is None:
                return None
            types[name] = kind
            if field is not None:
                taken[name] = field
        return _WireKinds(types, taken, per_second)


class _WireKinds(NamedTuple):
    """How columns are decoded, by their names.

    Attributes:
        types: as what.
        fields: what they are of a candle, where that is in a table.
        per_second: how many units of its times a second has, by the fields; None where one is a datetime.
    """

    types: Mapping[str, Any]
    fields: Mapping[str, str]
    per_second: Mapping[str, int | None]


def _kind_of_times(column: Sequence[Any], kinds: set[type]) -> tuple[Any, int | None]:
    """As what times are decoded, and how many units a second has; None for what has no kind."""
    if kinds == {str} and not column[0].isdecimal():
        return (Time if names_zone(column[0]) else None), None
    if kinds not in ({int}, {str}):
        return None, None
    for per_second in (1, 10**3, 10**6, 10**9):
        least, end = (moment * per_second // 1000 for moment in (_EARLIEST_MS, _LATEST_MS))
        if least <= int(column[0]) < end:
            # Up to 2106 all seconds have one width.
            return Annotated[
                int, msgspec.Meta(ge=least, le=min(end, 2**32) - 1 if per_second == 1 else end - 1)
            ], per_second
    return None, None


CANDLE_HISTORY = Route("GET", "/api/indicators/candles/history/:symbol", Candles, lane=Lane.MARKET)
"""Historical candles of a symbol, as columns."""

LATEST_CANDLES = Route("GET", "/api/indicators/candles/:symbol/:interval", Candles, lane=Lane.MARKET)
"""The most recent candles of a symbol, the running one included, as columns."""
