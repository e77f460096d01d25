"""A value in a shape, as a reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from alura_async import Candle, Page, Reply, Route

from .instances import Case, Field, Kind, fields_of, is_struct
from .shape import (
    AMOUNTS,
    ARRAY,
    CANDLES,
    CHOICES,
    FLAGS,
    FLOATS,
    IDS,
    NAMES,
    ORDER,
    PAGES,
    ROWS,
    TABLES_OF_AMOUNTS,
    TIMES,
    WHOLES,
    WRAPPERS,
    Facts,
    Headers,
    Json,
    Reshape,
    Row,
    no_list,
    word_of,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Written:
    """A reply's body and headers."""

    body: bytes
    headers: Mapping[str, str]

    def decoded(self, case: Case, route: Route[Any]) -> Any:
        """What the call returns when the server answers with this."""
        return Reply(case.request(route), 201 if route.method == "POST" else 200, self.headers, self.body).decode()


def written(case: Case, shape: Reshape) -> Written:
    """A case's value in a shape."""
    body, headers = _body(case, shape)
    text = shape.body == "plain text"
    announced = {"Content-Type": f"{'text/plain' if text else 'application/json'}; charset=utf-8"}
    return Written(body, {**announced, "Content-Length": str(len(body)), **headers})


def _body(case: Case, shape: Reshape) -> tuple[bytes, Headers]:
    if shape.body == "nothing":
        return b"", {}
    if shape.body == "null":
        return b"null", {}
    if shape.body == "plain text":
        message = getattr(case.value, "message", None)
        return str(case.value.status if message is None else message).encode(), {}
    content, headers = _Writer(case, shape).whole()
    return _ENCODER.encode(content), headers


# What no type names is written as it is: its decimals are JSON numbers.
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def wire_name(shape: Reshape, struct: type[Any], attribute: str) -> str:
    """What a field is called in a shape."""
    style = NAMES[shape.names]
    if struct is Candle:
        names = CANDLES[shape.candles] or {}
        name = names.get(attribute, attribute)
        return name if shape.candles == "Hyperliquid" else style(name)
    word = dict(shape.words).get(f"{struct.__name__}.{attribute}", attribute)
    return word if word.startswith("_") else style(word)


class _Writer:
    def __init__(self, case: Case, shape: Reshape) -> None:
        self._case = case
        self._shape = shape
        self._style = NAMES[shape.names]
        self._path = case.path if shape.said_by_path == "left out" else {}

    def whole(self) -> tuple[Json, Headers]:
        case, shape = self._case, self._shape
        headers: Headers = {}
        content: Json
        word = word_of(case.item)
        if case.rows is None:
            content = None if case.value is None else self._struct(case.value, self._path)
        else:
            word += "s"
            content = self._rows(ORDER[shape.order](case.rows), shape.rows, self._path)
        if isinstance(case.value, Page):
            facts = Facts(case.value, WHOLES[shape.wholes], self._style)
            content, headers = PAGES[shape.page](content, facts)
        for wrapper in shape.wrappers:
            content = WRAPPERS[wrapper](content, word)
        return content, headers

    def _rows(self, items: list[Any], form: str, path: Mapping[str, str]) -> Json:
        if not items or not is_struct(type(items[0])):
            return items or ROWS[form]([])
        struct = type(items[0])
        rows = [
            Row(
                self._array(item) if self._is_array(item) else self._struct(item, path),
                getattr(item, "id", None),
                getattr(item, "symbol", None),
                self._name(struct, "id"),
                self._name(struct, "symbol"),
                word_of(struct),
            )
            for item in items
        ]
        return ROWS[form](rows)

    def _is_array(self, item: Any) -> bool:
        return isinstance(item, Candle) and CANDLES[self._shape.candles] is None

    def _array(self, candle: Candle) -> list[Json]:
        fields = {field.name: field for field in fields_of(Candle)}
        return [self._value(getattr(candle, name), fields[name]) for name in ARRAY]

    def _struct(self, item: Any, path: Mapping[str, str]) -> dict[str, Json]:
        struct = type(item)
        plain: dict[str, Json] = {}
        for field in fields_of(struct):
            value = getattr(item, field.name)
            name = self._name(struct, field.name)
            assert name not in plain, f"{struct.__name__}: {name} would stand for two fields"
            if value is None:
                if self._shape.absent == "null" and field.name not in path:
                    plain[name] = None
            elif path.get(field.name) != value:
                plain[name] = self._signed(item, field) if name.lower() == "szi" else self._value(value, field)
        assert not plain.keys() & item.extra.keys()
        return {**plain, **item.extra}

    def _signed(self, item: Any, field: Field) -> Json:
        """Hyperliquid's size: negative where the position is short."""
        size = getattr(item, field.name)
        return AMOUNTS[self._shape.amounts](size.copy_negate() if str(item.side).lower() == "short" else size)

    def _name(self, struct: type[Any], attribute: str) -> str:
        return wire_name(self._shape, struct, attribute)

    def _value(self, value: Any, field: Field) -> Json:
        if value is None:
            return None
        shape = self._shape
        by_kind: dict[Kind, Callable[[], Json]] = {
            "amount": lambda: AMOUNTS[shape.amounts](value),
            "price": lambda: AMOUNTS[shape.amounts](Decimal(str(value))),
            "float": lambda: FLOATS[shape.floats](value),
            "whole": lambda: WHOLES[shape.wholes](value),
            "id": lambda: IDS[shape.ids](value),
            "text": lambda: value,
            "flag": lambda: FLAGS[shape.flags](value),
            "time": lambda: TIMES[shape.times](value),
            "milliseconds": lambda: TIMES[shape.candle_times](_EPOCH + timedelta(milliseconds=value)),
            "choice": lambda: CHOICES[shape.choices](value.value) if value.is_known else value.value,
            "secret": lambda: value.reveal(),  # noqa: PLW0108 - only a secret has it
            "free": lambda: value,
            "table": lambda: TABLES_OF_AMOUNTS[shape.tables](
                {name: None if amount is None else AMOUNTS[shape.amounts](amount) for name, amount in value.items()}
            ),
            # Where one list of several has room for the form, the others are lists.
            "rows": lambda: self._rows(value, "list" if no_list(shape.nested, value) else shape.nested, {}),
            "struct": lambda: self._struct(value, {}),
        }
        return by_kind[field.kind]()
