"""Lists of responses as frames: of polars, pandas and pyarrow, and whatever else speaks Arrow; and in a notebook.

Importing this imports none of them.
"""

from __future__ import annotations

import html
import types
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, Union, get_args, get_origin

import msgspec

from ..core.text import printable, shown
from ..errors import InvalidArgumentError
from .extra import needing

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, unused-ignore]
    import polars
    import pyarrow  # type: ignore[import-untyped, unused-ignore]

# So many rows of either end show a table, and so many characters a cell.
SHOWN = 5
_LONGEST_CELL = 60
_EXTRA = "extra"


class Frames:
    """What a list of responses can become: a frame with a column for each field, also where the list is empty.

    - amounts and prices, which are `Decimal` in the list, are float64, as those who compute with frames expect. They
      hold about 15 digits; where each digit counts, use the list.
    - times are in UTC, to the microsecond
    - what is one of several words is text
    - what has parts, such as a log entry's data, is JSON text
    - `extra`, the last column, is what the server sent and the type does not name, as JSON text
    - what is not told is null

    Candles have `open_time` and `open` instead of `open_time_ms` and `open_text`, and so on; candles of one series are
    better asked for as `Candles`. To `polars.DataFrame(…)` and the like a list is a list, so hand them `.to_polars()`;
    a `Page` they take as it is. Things that are no responses, such as symbols, are a column `value`.
    """

    __slots__ = ()

    def to_polars(self) -> polars.DataFrame:
        """A polars frame with a column for each field: see `Frames` for the types.

        Raises:
            InvalidArgumentError: what should be a number is none, or one that the type cannot hold.
            UsageError: polars is not installed.
        """
        with needing("polars"):
            import polars as pl
        kinds: dict[str, Any] = {
            "number": pl.Float64,
            "whole": pl.Int64,
            "flag": pl.Boolean,
            "time": pl.Datetime("us", "UTC"),
            "text": pl.String,
        }
        return pl.DataFrame([pl.Series(column.name, column.values, kinds[column.kind]) for column in _columns(self)])

    def to_pandas(self) -> pandas.DataFrame:
        """A pandas frame with a column for each field: see `Frames` for the types; those with null are pandas' own.

        Raises:
            InvalidArgumentError: what should be a number is none, or one that the type cannot hold.
            UsageError: pandas is not installed.
        """
        with needing("pandas", "pandas"):
            import pandas as pd  # pyright: ignore[reportMissingTypeStubs]
        kinds = {
            "number": "float64",
            "whole": "Int64",
            "flag": "boolean",
            "time": "datetime64[us, UTC]",
            "text": "string",
        }
        return pd.DataFrame(
            {column.name: pd.Series(column.values, dtype=kinds[column.kind]) for column in _columns(self)}
        )

    def to_arrow(self) -> pyarrow.Table:  # pyright: ignore[reportUnknownParameterType]
        """A pyarrow table with a column for each field: see `Frames` for the types.

        Raises:
            InvalidArgumentError: what should be a number is none, or one that the type cannot hold.
            UsageError: pyarrow, or polars, which makes the columns, is not installed.
        """
        with needing("pyarrow", "pyarrow"):
            import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
        return pa.table(self.to_polars())

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Hand the columns over to whatever speaks Arrow and does not take a list for one: see `Frames`."""
        return self.to_polars().__arrow_c_stream__(requested_schema)

    def _repr_html_(self) -> str | None:
        # Nobody knows what is in what is unknown, so it is shown nowhere.
        columns = [column for column in _columns(self, is_shown=True) if column.name != _EXTRA]
        if not columns:
            return None
        # What nothing is told of takes only room.
        told = [column for column in columns if any(value is not None for value in column.values)] or columns
        rows = [*zip(*(column.values for column in told), strict=True)]
        return html_table(f"{len(rows):,} of {type(self).__name__}", [column.name for column in told], rows)


def html_table(caption: str, names: Iterable[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as HTML: the rows of both ends.

    Args:
        caption: what stands above it.
        names: the columns' names.
        rows: all rows. Their values come from a server, so they are made harmless.
    """
    head = "".join(f"<th>{html.escape(printable(name))}</th>" for name in names)
    body = [*map(_html_row, rows[:SHOWN])]
    if len(rows) > 2 * SHOWN:
        body.append(f"<tr>{'<td>…</td>' * len(rows[0])}</tr>")
    body += map(_html_row, rows[max(SHOWN, len(rows) - SHOWN) :])
    return (
        f"<table><caption>{html.escape(printable(caption))}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def _html_row(cells: Sequence[Any]) -> str:
    return f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in cells)}</tr>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return html.escape(_plain(value))


class _Column(NamedTuple):
    """A column of a frame.

    Attributes:
        name: what it is called.
        kind: number, whole, flag, time, or text.
        values: its values, None where there is none.
    """

    name: str
    kind: str
    values: list[Any]


def _columns(items: Any, *, is_shown: bool = False) -> list[_Column]:
    """The columns of a list, or of a page.

    Args:
        items: the list, or the page.
        is_shown: whether they are only looked at, so that what does not fit its column stays as it is.

    Raises:
        InvalidArgumentError: something does not fit its column.
    """
    rows = getattr(items, "data", items)
    row = type(rows[0]) if rows else getattr(rows, "_row", None)
    row = get_origin(row) or row
    if not (isinstance(row, type) and issubclass(row, msgspec.Struct)):
        return [_Column("value", "text", [_text(value) for value in rows])] if rows or row is not None else []
    columns: list[_Column] = []
    for field in msgspec.structs.fields(row):
        if field.name != "_extra":
            name, kind, read = _reading(field.name, field.type)
            cells = [getattr(item, field.name) for item in rows]
            columns.append(_Column(name, kind, _values(name, kind, read, cells, is_shown=is_shown)))
    if "_extra" in row.__struct_fields__:
        columns.append(_Column(_EXTRA, "text", [_json(dict(item.extra)) if item.extra else None for item in rows]))
    return columns


def _values(name: str, kind: str, read: Callable[[Any], Any], cells: Sequence[Any], *, is_shown: bool) -> list[Any]:
    """What the cells of a column are made into."""
    try:
        values = [None if cell is None else read(cell) for cell in cells]
        fits = _FITS.get(kind)
        if fits is None or all(value is None or fits(value) for value in values):
            return values
    except (ValueError, ArithmeticError):
        pass
    made: list[Any] = []
    for row, cell in enumerate(cells):
        value = _value(kind, read, cell)
        if value is None and cell is not None:
            if not is_shown:
                what = "whole number of 64 bits" if kind == "whole" else kind
                raise InvalidArgumentError(f"{name}, row {row}: no {what}: {_plain(cell)}; use the list as it is")
            value = cell
        made.append(value)
    return made


def _value(kind: str, read: Callable[[Any], Any], cell: Any) -> Any:
    """What a cell is made into; None where that is not possible."""
    try:
        value = None if cell is None else read(cell)
    except (ValueError, ArithmeticError):
        return None
    return value if value is None or kind not in _FITS or _FITS[kind](value) else None


_FITS: dict[str, Callable[[Any], bool]] = {
    "number": isfinite,
    "whole": lambda value: -(2**63) <= value < 2**63,
}


def _plain(value: Any) -> str:
    try:
        return shown(str(value), _LONGEST_CELL)
    except ValueError:
        # Python writes out no numbers of thousands of digits.
        return "a number of thousands of digits"


def _reading(name: str, annotation: Any) -> tuple[str, str, Callable[[Any], Any]]:
    """What a field's column is called, of which kind it is, and what makes its values."""
    # Imported late: what a list is, is defined there.
    from ..core.model import Milliseconds, WireNumber, from_milliseconds

    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not types.NoneType]
        annotation = members[0] if len(members) == 1 else Any
    if annotation == Milliseconds:
        return name.removesuffix("_ms"), "time", from_milliseconds
    if annotation == WireNumber:
        return name.removesuffix("_text"), "number", float
    kind = getattr(annotation, "__origin__", annotation)
    if kind in _KINDS:
        return name, *_KINDS[kind]
    return name, "text", _text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str(value.value) if isinstance(value, Enum) else value
    return _json(value)


def _json(value: Any) -> str:
    return _encoder.encode(value).decode()


# What is neither plain nor ours says what may be shown of it.
_encoder = msgspec.json.Encoder(enc_hook=str, decimal_format="number")

_KINDS: dict[Any, tuple[str, Callable[[Any], Any]]] = {
    Decimal: ("number", float),
    float: ("number", float),
    int: ("whole", int),
    bool: ("flag", bool),
    datetime: ("time", lambda time: time.astimezone(UTC)),
}
