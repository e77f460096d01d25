"""What a body says and what a result holds, leaf by leaf, in one normal form: nothing is lost, nothing is invented."""

from __future__ import annotations

import enum
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Any

from alura_async import Page, Secret

from .instances import Case, fields_of, is_struct
from .shape import SAYS, Reshape
from .writing import Written

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# 2000 to 2200 in microseconds: within it a number is a time, in whatever unit.
_TIMES = (946_684_800 * 10**6, 7_258_118_400 * 10**6)


def differences(case: Case, shape: Reshape, reply: Written, result: Any) -> list[str]:
    """In how far a result is not what the case says, or holds less or more than the reply."""
    expected, got = _typed(case.expected()), _typed(result)
    found: list[str] = []
    if isinstance(case.value, Page) and isinstance(got, dict):
        # What comes next is computed, each way of writing in its own way.
        unsaid = {"total", "page", "limit", "has_more", "next"} - SAYS.get(shape.page, frozenset())
        expected = {name: value for name, value in expected.items() if name not in unsaid}
        got = {name: value for name, value in got.items() if name in expected}
    if expected != got:
        found += [f"expected {expected!r}", f"     got {got!r}"]
    if shape.body != "JSON" or result is None:
        return found  # nothing has no room for what stood around it
    body = json.loads(reply.body, parse_float=Decimal)
    lost = Counter(_said(body)) - Counter(_held(result))
    invented = Counter(_extra(result)) - Counter(chain(_said(body), _keys(body), _said(list(reply.headers.values()))))
    found += [f"lost: {', '.join(map(repr, lost.elements()))}"] if lost else []
    found += [f"invented: {', '.join(map(repr, invented.elements()))}"] if invented else []
    return found


def _typed(value: Any) -> Any:
    """A result without its extras, comparable: by value and by type where Python takes one for the other."""
    if is_struct(type(value)):
        return {
            "": type(value).__name__,
            **{
                field.name: None if (held := getattr(value, field.name)) is None
                # A candle keeps its numbers as the wire had them.
                else Decimal(str(held)) if field.kind in ("price", "float")
                else _typed(held)
                for field in fields_of(type(value))
            },
        }  # fmt: skip
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if isinstance(value, dict):
        return {name: _typed(item) for name, item in value.items()}
    if isinstance(value, bool):
        return ("true", "false")[not value]
    if isinstance(value, Secret):
        return ("secret", value.reveal())
    return value


def _said(body: Any, name: str = "") -> Iterator[Any]:
    """A body's leaves. Null says nothing."""
    if isinstance(body, dict):
        if not body:
            yield "nothing in it"
        yield from chain.from_iterable(_said(value, key) for key, value in body.items())
    elif isinstance(body, list):
        if not body:
            yield "nothing in it"
        yield from chain.from_iterable(_said(value, name) for value in body)  # a column has its name
    elif body is not None:
        leaf = _normal(body)
        # The sign is the position's side.
        yield leaf.copy_abs() if name.lower() == "szi" and isinstance(leaf, Decimal) else leaf


def _keys(body: Any) -> Iterator[Any]:
    if isinstance(body, dict):
        yield from map(_normal, body)
        yield from chain.from_iterable(map(_keys, body.values()))
    elif isinstance(body, list):
        yield from chain.from_iterable(map(_keys, body))


def _held(result: Any) -> Iterator[Any]:
    """What a result holds, in fields and extras at every level."""
    if is_struct(type(result)):
        for field in fields_of(type(result)):
            value = getattr(result, field.name)
            if field.kind == "table" and value:
                yield from map(_normal, value)
            yield from _held(value)
        yield from _said(dict(result.extra)) if result.extra else ()
    elif isinstance(result, list):
        if not result:
            yield "nothing in it"
        yield from chain.from_iterable(map(_held, result))
        yield from _extra_of_list(result)
    elif isinstance(result, Secret):
        yield _normal(result.reveal())
    else:
        yield from _said(result)


def _extra(result: Any) -> Iterator[Any]:
    """What is in extras, at every level."""
    if is_struct(type(result)):
        yield from _said(dict(result.extra)) if result.extra else ()
        yield from chain.from_iterable(_extra(getattr(result, field.name)) for field in fields_of(type(result)))
    elif isinstance(result, list):
        yield from _extra_of_list(result)
        yield from chain.from_iterable(map(_extra, result))


def _extra_of_list(result: list[Any]) -> Iterable[Any]:
    extra: Mapping[str, Any] = getattr(result, "extra", {})
    return _said(dict(extra)) if extra else ()


def _normal(leaf: Any) -> Any:
    """What a leaf means, however it is written: numbers and flags by value, times by instant, text without case."""
    if isinstance(leaf, datetime):
        return Decimal((leaf - _EPOCH) // timedelta(microseconds=1))
    if isinstance(leaf, bool):
        return Decimal(leaf)
    if isinstance(leaf, int | float | Decimal):
        return _instant(Decimal(str(leaf)))
    text = str(leaf.value if isinstance(leaf, enum.Enum) else leaf)
    if text in ("true", "false", "True", "False"):
        return Decimal(text.lower() == "true")
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if value.is_finite() and text.strip() == text and "_" not in text:
        return _instant(value)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text.casefold()
    return _normal(time if time.tzinfo else time.replace(tzinfo=UTC))


def _instant(value: Decimal) -> Decimal:
    """A number that is a time in some unit, as microseconds; another as it is."""
    for exponent in (6, 3, 0, -3):
        # By digits: calculating would round to the context's precision.
        sign, digits, at = value.as_tuple()
        assert isinstance(at, int)
        moved = Decimal((sign, digits, at + exponent))
        if _TIMES[0] <= moved < _TIMES[1]:
            return moved
    return value
