"""From bytes to a response type.

How a body becomes a result, in this order (`Shape`):

1. `exact`: a body of exactly the expected shape is decoded at msgspec's own speed. Unknown names, a wrapper, a number
   as text: all of these make it fail, and lead to
2. `parse`: the body as plain values, in which numbers keep their digits; a table of a shape that was seen before, or
   that can be told from some of its rows (`learned.py`), is decoded faster.
3. `read`: what is wanted is found in what is wrapped around it (`unwrap.py`, whose docstring has the precedence), and
   read by the annotations of its type (`fit.py`): lists in any form (`lists.py`); objects (`objects.py`) by names in
   any spelling and their synonyms (`names.py`); values in any form (`scalars.py`); what is said of a page
   (`paging.py`). What is no field is kept in `.extra`, at every level. What the path of the call named is filled in
   where the reply leaves it out. Nothing else is invented.
4. What cannot be read is a `MismatchError`, which says where and why, and becomes a `ShapeError`.
"""

from __future__ import annotations

import sys
import types
from codecs import BOM_UTF8
from collections.abc import Collection, Mapping
from decimal import Decimal
from itertools import accumulate
from operator import attrgetter
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin
from urllib.parse import parse_qs, unquote

import msgspec

from ..groups.pages import Page
from .fit import converting, decode_hook, reader_of
from .learned import Learned, Writing, learn, may_be_long, shortened
from .lists import ListReader, Rows
from .model import Items
from .names import folded, ranked
from .objects import ObjectReader
from .paging import facts, is_complete, may_tell
from .scalars import MismatchError, read_secret, read_text
from .unwrap import (
    Place,
    below,
    find,
    holds_nothing,
    is_called,
    is_denied,
    is_other_thing,
    is_present,
    is_telling,
    is_wrapper,
    last_name,
)

T = TypeVar("T")

DEPTH = 3
"""A body may be wrapped so often."""
# Whatever is shorter may be an object with nothing in it.
_HOLLOW = 32
# Beside a list, an object that tells of what it is a list.
_TELLS_WHAT_IS_THERE = frozenset(("meta", "metadata", "request", "query", "params", "parameters", "series", "info"))
# The status of a chart's data feed (UDF), under a name that is elsewhere a symbol's.
_CHART_WORDS = ("ok", "no_data", "error")
# What tells which thing is asked for, where it stands in the query.
_ASKED_IN_QUERY = ("symbol", "interval")


class Shape(Generic[T]):
    """What the replies of an endpoint are decoded into.

    Args:
        returns: the type.
        template: the endpoint's path; what its `:names` say, a reply may leave out.

    Attributes:
        holds_secrets: whether the type has fields that must not be shown.
    """

    # What is made of the rows of a table whose shape was seen before.
    _writing: type[Writing] = Writing

    def __init__(self, returns: Any, template: str) -> None:
        kind, self._may_be_none = _without_none(returns)
        self._is_page = get_origin(kind) is Page
        self._is_list = get_origin(kind) in (list, Items)
        self._item: Any = get_args(kind)[0] if self._is_list or self._is_page else None
        wire = list[get_args(kind)] if self._is_list else kind  # type: ignore[misc]
        self._decode = decoder(wire | None if self._may_be_none else wire).decode
        # What may hold anything may hold brackets by the thousand.
        self._is_open = _holds_any(msgspec.inspect.type_info(wire))
        reader = reader_of(list[get_args(kind)] if self._is_page else wire)  # type: ignore[misc]
        # Of somebody's own types only lists are looked into; others are as msgspec has them.
        self._reader = reader if isinstance(reader, ListReader | ObjectReader) else converting(kind)
        rows = reader.item if isinstance(reader, ListReader) else reader
        self._rows = rows if isinstance(rows, ObjectReader) else None
        self._may_be_hollow = isinstance(reader, ObjectReader) and not reader.required
        self.holds_secrets = self._rows is not None and read_secret in self._rows.scalars.values()
        self._order = None if self._rows is None else self._rows.struct._order
        pieces = template.split("/")
        self._in_path = {
            field: place for place, piece in enumerate(pieces) if piece[:1] == ":" for field in self._field(piece[1:])
        }
        self._in_query = {
            field: name for name in _ASKED_IN_QUERY for field in self._field(name) if field not in self._in_path
        }
        # Of a type that must tell all of it itself, exact decoding leaves nothing to fill in.
        self._fills_in = self._rows is not None and not self._rows.always_told.issuperset(self._in_path)
        # What the path ends with, such as `candles/latest`; not `user` of `user/withdraw`, which is another thing.
        *_, before, last = "", "", *(folded(piece) for piece in pieces if piece[:1] != ":")
        own = frozenset[str]() if self._rows is None else self._rows.names
        is_it = is_called(before, own) or not is_other_thing(before)
        self._hints = frozenset((before, last) if is_it else (last,)) - {""}
        self._learned: Learned | None = None

    # The three steps

    def exact(self, body: bytes, path: str, query: str, headers: Mapping[str, str]) -> T:
        """Decode a body of exactly the expected shape.

        Args:
            body: a reply's body.
            path: the path that was called.
            query: the query of the call.
            headers: the reply's headers.

        Raises:
            NOT_DECODED: its shape is another one.
        """
        if self._is_open:
            require_shallow(body)
        value: Any = self._decode(body)
        if self._is_list:
            value = _listed(value, {}, headers) if may_tell(headers) else Items(value)
            if not value:
                value._row = self._item
            elif self._order is not None:
                self._arrange(value)
        elif self._may_be_hollow and len(body) < _HOLLOW and not body.strip(b"{} \t\r\n"):
            raise msgspec.DecodeError("there is nothing in it")
        elif self._is_page:
            if not value.data:
                msgspec.structs.force_setattr(value, "data", self._none())
            for field, fact in facts({}, len(value.data), headers)[0].items():
                if getattr(value, field) is None:
                    msgspec.structs.force_setattr(value, field, fact)
        if self._fills_in:
            self._fill_in(value, self.asked(path, ""))
        result: T = value
        return result

    def parse(self, body: bytes, asked: Mapping[str, str | None]) -> Any:
        """Decode a body into plain values; a long table, into objects where its shape can be learned.

        Raises:
            msgspec.DecodeError: not valid JSON.
        """
        table = self.recognise(body, asked)
        return self.take_apart(body, asked) if table is None else table

    def recognise(self, body: bytes, asked: Mapping[str, str | None]) -> Any | None:
        """Decode a long table, of the shape that was seen last or of the one that some of its rows have.

        Returns:
            What `parse` gives; None if it is no such table.
        """
        # Another thread may learn meanwhile.
        learned = self._learned
        table = None if learned is None else learned.parse(body, asked, self._told_around)
        if table is not None:
            return table
        found = self._learn_from_some(body, asked)
        if found is None:
            return None
        self._learned, table = found
        return table

    def take_apart(self, body: bytes, asked: Mapping[str, str | None]) -> Any:
        """Do what `parse` does with a body that `recognise` does not know, which takes a hundred times as long.

        Raises:
            msgspec.DecodeError: not valid JSON.
        """
        self._require_readable(body)
        value = parse(body)
        found = self._learn(value, body, asked)
        if found is None:
            return value
        self._learned, table = found
        return table

    def _learn_from_some(self, body: bytes, asked: Mapping[str, str | None]) -> tuple[Learned, Any] | None:
        """Learn the shape of a long table from some of its rows; None if not all of them have it."""
        if not isinstance(self._reader, ListReader):
            return None
        try:
            require_shallow(body)
            short = shortened(body)
            value = None if short is None else parse(short)
        except NOT_DECODED:
            return None
        found = None if short is None else self._learn(value, short, asked)
        if found is None:
            return None
        learned, _ = found
        # The others are decoded as those of the next body are, so one that differs is found out.
        table = learned.parse(body, asked, self._told_around)
        return None if table is None else (learned, table)

    def _learn(self, value: Any, body: bytes, asked: Mapping[str, str | None]) -> tuple[Learned, Any] | None:
        """Learn the shape of a body, and decode it by that; None if there is none to learn.

        Args:
            value: the body as plain values.
            body: the body.
            asked: what the request tells.
        """
        if self._rows is None or not isinstance(self._reader, ListReader) or not may_be_long(value, DEPTH):
            return None
        place = find(self._reader, value, DEPTH, self._hints)
        plain, around = place.take(value)
        if not place.score:
            return None
        if type(plain) is dict:
            around |= {below("$", name): item for name, item in plain.items() if type(item) is not list}
        learned = learn(value, place.steps, self._rows, asked, _number, self._writing)
        table = None if learned is None else learned.parse(body, asked, self._told_around)
        if learned is None or table is None:
            return None
        is_so = self._agree(plain, place.take(table)[0], {**asked, **self._told_around(around)})
        return (learned, table) if is_so else None

    def _require_readable(self, body: bytes) -> None:
        """Refuse a body that it would take too long to look into; of what is asked for one by one there is none."""

    def read(
        self, value: Any, asked: Mapping[str, str | None], headers: Mapping[str, str], *, may_say_nothing: bool = False
    ) -> T:
        """Make plain values into the type, whatever is around them and however they are written.

        Args:
            value: a body; text that is no JSON is one as well.
            asked: what the request tells; see `asked`.
            headers: the reply's headers.
            may_say_nothing: whether a body with nothing in it is an object of which nothing is told.

        Raises:
            MismatchError: they do not fit.
        """
        reader = self._reader
        if not isinstance(reader, ListReader | ObjectReader):
            return cast("T", None if value is None and self._may_be_none else reader(value))
        if isinstance(reader, ListReader) and _is_counted(value):
            value = {"items": value[0], "total": value[1]}
        names = reader.names | self._hints
        place = find(reader, value, DEPTH, self._hints)
        if not place.score or is_denied(value, place, names, reader):
            if self._may_be_none and (value in (None, {}, []) or holds_nothing(value, names, DEPTH)):
                return cast("T", None)
            inner, around = _out_of_wrapper(value)
            return self._finish(self._read_bare(reader, inner, may_say_nothing=may_say_nothing), around, asked)
        inner, around = place.take(value)
        try:
            if isinstance(reader, ObjectReader):
                return self._finish(reader.read(inner), around, asked)
            items, more = reader.read_items(inner)
        except MismatchError as error:
            raise error.within(place.path[1:]) from None
        around.update((place.path + path[1:], item) for path, item in more.items())
        # What was asked for is in learned rows, unless something else stands around them.
        asked = {} if type(items) is Rows else {**asked, **self._told_around(around)}
        if not self._is_page:
            return self._finish(_listed(items, around, headers, names), around, asked)
        said, around = facts(around, len(items), headers)
        return self._finish(Page(data=items or self._none(), **said), around, asked)

    def _read_bare(self, reader: ListReader | ObjectReader, value: Any, *, may_say_nothing: bool) -> Any:
        """Read what by its names is not what is wanted: a word, a number, or what may say anything.

        Raises:
            MismatchError: it is not.
        """
        is_act = may_say_nothing and self._may_be_hollow
        if isinstance(reader, ObjectReader) and (is_act or type(value) is not dict):
            try:
                return reader.read(value)
            except MismatchError:
                if not (is_act and _says_nothing(value)):
                    raise
                return reader.struct(_extra=value if type(value) is dict and value else None)
        if isinstance(reader, ListReader) and type(value) is list:
            # Says which row is none, and why.
            reader.read_items(value)
        raise reader.mismatch(value)

    def _told_around(self, around: Mapping[str, Any]) -> dict[str, str]:
        """What stands around or beside a list and is said of each thing in it: `{"symbol": "ETH", "candles": […]}`."""
        told: dict[str, str] = {}
        if self._rows is None:
            return told
        for path, item in around.items():
            name = last_name(path)
            if type(item) is dict and folded(name) in _TELLS_WHAT_IS_THERE:
                told |= self._told_around(
                    {below("$", inner): text for inner, text in item.items() if type(text) is str}
                )
            # That something is said with no words says nothing, and how the call went is no name of a thing.
            if type(item) is str and item and not (name == "s" and item in _CHART_WORDS):
                fields = [field for _, field in ranked(self._rows.struct, name)]
                told.update((field, item) for field in fields[:1] if field in self._in_path or field in self._in_query)
        return told

    def has_something(self, result: Any) -> bool:
        """Whether a result is one at all: neither None nor an empty list or page."""
        return bool(result.data if self._is_page else result) if self._is_list or self._is_page else result is not None

    def _agree(self, plain: Any, table: Any, asked: Mapping[str, str | None]) -> bool:
        """Whether some rows of a table were made into what the tolerant road makes them into."""
        rows = cast("ObjectReader", self._rows)
        made = table["rows"] if type(table) is dict else table
        for index in (0, len(made) // 2, len(made) - 1):
            if type(plain) is dict:
                row: Any = {name: plain[name][index] for name in rows.columns(plain)}
            else:
                row = plain[index]
            read = rows.read_row(row, None)
            self._fill_in_each([read], asked)
            if read != made[index]:
                return False
        return True

    def _finish(self, result: Any, around: dict[str, Any], asked: Mapping[str, str | None]) -> T:
        """Add what stood around it, and what the request tells of it."""
        if self._is_list:
            result._extra = around or None
            if not result:
                result._row = self._item
            self._arrange(result)
        elif around:
            # Nobody else has it yet.
            msgspec.structs.force_setattr(result, "_extra", {**result.extra, **around})
        self._fill_in(result, asked)
        return cast("T", result)

    def _none(self) -> Items[Any]:
        """A list with nothing in it, which knows of what that is."""
        items: Items[Any] = Items()
        items._row = self._item
        return items

    def _arrange(self, items: list[Any]) -> None:
        """Put a list that comes in descending order into the ascending one that its type has."""
        field = self._order
        if field is not None and len(items) > 1 and getattr(items[0], field) > getattr(items[-1], field):
            items.reverse()

    # What the request tells

    def asked(self, path: str, query: str) -> dict[str, str | None]:
        """What a request tells of what it asks for, by the names of the fields."""
        pieces = path.split("/")
        found = {field: unquote(pieces[place]) for field, place in self._in_path.items() if place < len(pieces)}
        if not self._in_query:
            return cast("dict[str, str | None]", found)
        given = parse_qs(query)
        return found | {field: given.get(name, [None])[-1] for field, name in self._in_query.items()}

    def _field(self, name: str) -> tuple[str, ...]:
        """The field of a thing that a parameter of the path names, if it has one."""
        if self._rows is None:
            return ()
        fields = [field for _, field in ranked(self._rows.struct, name) if self._rows.scalars.get(field) is read_text]
        # Its own id is never filled in: what was asked for need not be what came.
        return tuple(field for field in fields[:1] if field != "id")

    def _fill_in(self, value: Any, asked: Mapping[str, str | None]) -> None:
        """Fill in what the request tells, where the reply leaves it out."""
        if value is not None:
            self._fill_in_each(value if self._is_list else value.data if self._is_page else [value], asked)

    def _fill_in_each(self, items: Collection[Any], asked: Mapping[str, str | None]) -> None:
        for field, text in asked.items():
            # Mostly it is there in all of them, and this is the fastest way to see it.
            if text is None or all(map(attrgetter(field), items)):
                continue
            for item in items:
                if getattr(item, field) is None:
                    # What stood around this very one goes before what was asked for.
                    beside = self._told_around(item.extra) if item.extra else {}
                    msgspec.structs.force_setattr(item, field, beside.get(field, text))


def _listed(
    values: list[Any], around: dict[str, Any], headers: Mapping[str, str], names: frozenset[str] = frozenset()
) -> Items[Any]:
    """What a call that returns a list returns."""
    items = Items(values)
    complete = is_complete(around, len(items), headers)
    if any(item and type(item) in (dict, list) and is_present(last_name(path), names) for path, item in around.items()):
        complete = False
    if complete is not None:
        items._is_complete = complete
    return items


def _without_none(returns: Any) -> tuple[Any, bool]:
    """A type without its None, and whether it had one."""
    members = get_args(returns) if get_origin(returns) in (Union, types.UnionType) else ()
    if types.NoneType not in members:
        return returns, False
    return Union[tuple(member for member in members if member is not types.NoneType)], True  # noqa: UP007


def _is_counted(value: Any) -> bool:
    """Whether a list is one of things with their number, as TypeORM finds and counts them: `[[…], 57]`."""
    return type(value) is list and len(value) == 2 and type(value[0]) is list and type(value[1]) is int


def _out_of_wrapper(value: Any) -> tuple[Any, dict[str, Any]]:
    """A single value or a list in a wrapper, and what stands around it: `{"success": true, "data": "5"}`."""
    if type(value) is not dict:
        return value, {}
    held = [name for name, item in value.items() if is_wrapper(name) and item is not None and type(item) is not dict]
    if len(held) != 1 or any(is_telling(name) for name in value if name != held[0]):
        return value, {}
    return Place(0, (held[0],)).take(value)


def _says_nothing(value: Any) -> bool:
    """Whether a body says no more than that a call succeeded, if that."""
    if type(value) is not dict:
        return value in (None, "", []) or value is True
    if not any(map(is_telling, value)):
        return True
    is_yes = any(value.get(name) is True for name in ("success", "ok", "accepted", "closed"))
    return is_yes and not any(type(item) in (dict, list) for item in value.values())


def _holds_any(kind: msgspec.inspect.Type) -> bool:
    """Whether a type has room for values of any kind."""
    match kind:
        case msgspec.inspect.StructType(fields=fields):
            return any(_holds_any(field.type) for field in fields)
        case msgspec.inspect.ListType(item_type=inner) | msgspec.inspect.DictType(value_type=inner):
            return _holds_any(inner)
        case msgspec.inspect.Metadata(type=inner):
            return _holds_any(inner)
        case msgspec.inspect.UnionType(types=members):
            return any(map(_holds_any, members))
        case _:
            return not isinstance(kind, _SINGLE)


_SINGLE = (
    msgspec.inspect.NoneType,
    msgspec.inspect.BoolType,
    msgspec.inspect.IntType,
    msgspec.inspect.FloatType,
    msgspec.inspect.DecimalType,
    msgspec.inspect.StrType,
    msgspec.inspect.EnumType,
    msgspec.inspect.DateTimeType,
    # Secrets.
    msgspec.inspect.CustomType,
)


def decoder(returns: Any) -> msgspec.json.Decoder[Any]:
    """Make a decoder of exactly this type; make it once and keep it."""
    # Where a type says nothing about a number it must still keep its digits.
    return msgspec.json.Decoder(returns, dec_hook=decode_hook, float_hook=_number)


# What msgspec raises besides its own error: invalid UTF-8, thousands of brackets, numbers no Decimal can hold.
NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)


# Deeper than this is no reply that means anything.
_MAX_DEPTH = 500


def require_shallow(body: bytes) -> None:
    """Refuse brackets within brackets by the thousand, where Python itself would not.

    Some libraries set the recursion limit so high (py_ecc, which eth-account imports: 100,000) that decoding a few
    kilobytes of brackets overflows the stack and ends the process.

    Raises:
        RecursionError: too deep.
    """
    if sys.getrecursionlimit() <= _SAFE_RECURSION_LIMIT or len(body) <= _MAX_DEPTH:
        return
    brackets = body.translate(None, _NO_BRACKETS)
    if len(brackets) > _MAX_DEPTH and max(accumulate(map(_STEPS.__getitem__, brackets))) > _MAX_DEPTH:
        raise RecursionError("the body is nested too deeply")


_SAFE_RECURSION_LIMIT = 5_000
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - _STEPS.keys())


def parse(body: bytes) -> Any:
    """JSON as plain values, numbers with a fraction as `Decimal`.

    Raises:
        msgspec.DecodeError: not valid JSON.
    """
    try:
        require_shallow(body)
        return _untyped.decode(body.removeprefix(BOM_UTF8))
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"{type(error).__name__}: {error}") from None


def _number(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except ArithmeticError:
        return text  # such as 1e99999999999999999999: nothing can hold it, and it must not be lost


_untyped = msgspec.json.Decoder(float_hook=_number)
