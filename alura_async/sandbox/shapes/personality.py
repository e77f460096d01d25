"""What a personality decides, and how a reply is rewritten by the annotations of its type."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, TypeAlias, get_args, get_origin

import msgspec
from msgspec import inspect

from ...groups.auth import Challenge, SignIn
from ...groups.indicators import Candle
from ...groups.pages import Page
from ...secret import Secret
from .. import wire
from ..paging import PAGE
from ..refusals import ErrorBody
from ..routing import JSON, Call, Ready, ServerRoute
from ..validation import Field
from .page_view import PageView

Writer: TypeAlias = Callable[[Any], Any]
"""Rewrites a value of one type."""

Headers: TypeAlias = Mapping[str, str]

Plain: TypeAlias = dict[str, Any]
"""A Struct as it is written: values by their names on the wire."""

_IDENTIFIER = re.compile(r"id|\w+_id|referred_by")

# The document shows the fields of a sign-in and that more follow.
_MORE_OF_A_SIGN_IN = {"refreshToken": None, "scope": ["trade"], "user": {"isNew": False}}


class Personality:
    """A way to answer. What a personality does otherwise than most backends, it overrides.

    The two documented bodies stay as they are documented: they are not asked about.
    """

    about: ClassVar[str]
    """One line on what kind of backend answers like this, and how."""

    renames: ClassVar[Mapping[str, str]] = {}
    """Names on the wire by `Struct.fieldName` or, for all Structs, by `fieldName`: the usual camelCase ones."""

    writers: ClassVar[Mapping[str, Writer]] = {}
    """How single fields are written, by `Struct.fieldName`, where their type does not say it."""

    absent_is_null = False
    """Whether a field without a value is null; otherwise it is left out."""

    walked_by: ClassVar[tuple[Field, ...]] = ()
    """What paginated lists are walked by instead of `page`, which is then ignored: a page tells of the next one."""

    # Leaves

    def amount(self, value: Decimal) -> Any:
        """A number that may have a fraction."""
        return str(value)

    def measured(self, value: Decimal) -> Any:
        """A number that may have a fraction and is kept by no account: of candles and clocks."""
        return self.amount(value)

    def whole(self, value: int) -> Any:
        """A number that counts or is an index."""
        return value

    def time(self, value: datetime) -> Any:
        """A moment."""
        raise NotImplementedError

    def identifier(self, value: str) -> Any:
        """An id that this server made."""
        return value

    def choice(self, value: enum.StrEnum) -> Any:
        """A member of an enumeration."""
        return value.value

    def name(self, struct: str, field: str) -> str:
        """A field's name on the wire, from its usual camelCase one."""
        return self.renames.get(f"{struct}.{field}") or self.renames.get(field, field)

    # Structs and lists

    def finish(self, value: msgspec.Struct, plain: Plain) -> Any:
        """Add to an object, or wrap it, when its fields are written."""
        return plain

    def rows(self, struct: type[msgspec.Struct], items: list[Any]) -> Any:
        """A list of objects, when they are written."""
        return items

    def table(self, table: dict[str, Any]) -> Any:
        """A map of values by their names."""
        return table

    def candles(self, candles: Sequence[Candle], symbol: str | None) -> Any:
        """A list of candles, which come oldest first; of one symbol, or of each the running one."""
        raise NotImplementedError

    # The whole reply

    def wrap(self, call: Call, content: Any, item: type | None) -> Any:
        """The body around a reply's content; `item` is what it is a list of, or None."""
        return content

    def page(self, call: Call, view: PageView) -> tuple[Any, Headers]:
        """The body of a page with what is said about the page, and the headers that say more."""
        raise NotImplementedError

    def special(self, reply: object) -> Ready | None:
        """The answer to a call where it is not JSON."""
        return None

    def refusal(self, body: ErrorBody) -> Any:
        """The body of a refusal."""
        raise NotImplementedError

    # What the server asks for

    def named(self, parameter: str, text: str) -> str:
        """What a path names, by its parameter's name: an id as the sandbox made it."""
        return text

    def serve(self, route: ServerRoute) -> ServerRoute:
        """The same route, answered in this way. Nothing is promised of the body that it returns."""
        if route.returns is Challenge:
            return route
        if route.returns is SignIn:
            return msgspec.structs.replace(route, handler=_sign_in(route.handler))
        query = route.query
        if self.walked_by and PAGE in query:
            query = (*(field for field in query if field is not PAGE), *self.walked_by)
        return msgspec.structs.replace(route, handler=self._handler(route), query=query, returns=Any)

    def refuse(self, body: ErrorBody) -> bytes:
        """A refusal's bytes."""
        return wire.encode(self.refusal(body))

    def _handler(self, route: ServerRoute) -> Callable[[Call], Ready]:
        item = get_args(route.returns)[0] if get_origin(route.returns) is list else None

        def handle(call: Call) -> Any:
            path = {name: self.named(name, text) for name, text in call.path.items()}
            return route.handler(replace(call, path=path))

        if item is Candle:
            return lambda call: _json(self.wrap(call, self.candles(handle(call), call.path.get("symbol")), item))
        write = self._writer(inspect.type_info(route.returns))

        def handler(call: Call) -> Ready:
            reply = handle(call)
            special = self.special(reply)
            if special is not None:
                return special
            if isinstance(reply, Page):
                return _json(*self.page(call, PageView.of(call, reply, write(reply))))
            return _json(self.wrap(call, write(reply), item))

        return handler

    # Writers: made once for each type, from its annotations

    def _writer(self, kind: inspect.Type) -> Writer:
        match kind:
            case inspect.UnionType(types=types):
                (member,) = (member for member in types if not isinstance(member, inspect.NoneType))
                inner = self._writer(member)
                return lambda value: None if value is None else inner(value)
            case inspect.Metadata(type=inner_kind):
                return self._writer(inner_kind)
            case inspect.StructType():
                return self._struct(kind)
            case inspect.ListType(item_type=inspect.StructType() as item):
                rows, row, struct = self.rows, self._struct(item), item.cls
                return lambda value: rows(struct, [row(element) for element in value])
            case inspect.ListType(item_type=item):
                inner = self._writer(item)
                return lambda value: [inner(element) for element in value]
            case inspect.DictType(value_type=inspect.AnyType()):
                # Facts of any kind are kept as they are: so a database keeps a column of JSON.
                return _same
            case inspect.DictType(value_type=item):
                table, inner = self.table, self._writer(item)
                return lambda value: table({name: inner(element) for name, element in value.items()})
            case inspect.DecimalType():
                return self.amount
            case inspect.FloatType():
                return lambda value: self.measured(Decimal(repr(value)))
            case inspect.IntType():
                return self.whole
            case inspect.DateTimeType():
                return self.time
            case inspect.EnumType():
                return self.choice
            case inspect.CustomType(cls=cls) if cls is Secret:
                return _same
            case inspect.StrType() | inspect.BoolType():
                return _same
            case _:
                raise NotImplementedError(f"no reply has held a {type(kind).__name__} so far")

    def _struct(self, kind: inspect.StructType) -> Writer:
        if (get_origin(kind.cls) or kind.cls) is Page:
            (items,) = (field.type for field in kind.fields if field.name == "data")
            inner = self._writer(items)
            return lambda page: inner(page.data)
        title = kind.cls.__name__
        fields = [
            (
                field.name,
                self.name(title, field.encode_name),
                self.writers.get(f"{title}.{field.encode_name}")
                or (self.identifier if _IDENTIFIER.fullmatch(field.name) else self._writer(field.type)),
            )
            for field in kind.fields
            if field.name != "_extra"
        ]
        # Two fields of one name would lose one of them.
        assert len({name for _, name, _ in fields}) == len(fields), f"{title} has two fields of one name"

        def write(value: msgspec.Struct) -> Any:
            plain: Plain = {}
            for own, name, writer in fields:
                item = getattr(value, own)
                if item is not None:
                    plain[name] = writer(item)
                elif self.absent_is_null:
                    plain[name] = None
            return self.finish(value, plain)

        return write


def _sign_in(handler: Callable[[Call], object]) -> Callable[[Call], Plain]:
    def more(call: Call) -> Plain:
        documented: Plain = msgspec.json.decode(wire.encode(handler(call)))
        return {**_MORE_OF_A_SIGN_IN, **documented}

    return more


def _json(body: Any, headers: Headers | None = None) -> Ready:
    return Ready(wire.encode(body), JSON, headers or {})


def _same(value: Any) -> Any:
    return value
