"""Any value of any response type, written in any reasonable way, is read as itself, and no leaf of it is lost.

What is written, and how, is `tests/reshaping`'s own opinion. `nox -s shapes` takes 50,000 examples.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from alura_async import Candle, Page, Route
from tests.reshaping.instances import ENDPOINTS, Case, cases, fields_of, may_be_terse, named_by, specimen
from tests.reshaping.leaves import differences
from tests.reshaping.shape import ARRAY, CANDLES, PLAIN, TABLES, Reshape, compose, reshapes, settle, words_of
from tests.reshaping.writing import Written, wire_name, written

# All endpoints together; each has its share.
EXAMPLES = int(os.environ.get("ALURA_SHAPE_EXAMPLES", "300"))
every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS)


def share(of: int) -> settings:
    return settings(
        max_examples=max(1, -(-of // len(ENDPOINTS))),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


def wrong(case: Case, shape: Reshape, route: Route[Any] | None = None, reply: Written | None = None) -> list[str]:
    """What is wrong with the result of a call whose reply is of this shape; and of the same reply again."""
    route = route or case.fresh_route()
    reply = reply or written(case, shape)
    found: list[str] = []
    for time in ("at first", "again"):
        try:
            result = reply.decoded(case, route)
        except Exception as error:
            found.append(f"{time}: {type(error).__name__}: {error}")
        else:
            found += [f"{time}: {difference}" for difference in differences(case, shape, reply, result)]
    return [*found, f"of {shown(reply)[:1500]}"] if found else []


def read_rightly(case: Case, shape: Reshape, route: Route[Any] | None = None, reply: Written | None = None) -> None:
    found = wrong(case, shape, route, reply)
    assert not found, "\n".join(["", f"{case.endpoint}, {shape!r}", *(line[:2000] for line in found)])


def shown(reply: Written) -> str:
    return reply.body.decode() + "".join(
        f" {name}: {value}" for name, value in reply.headers.items() if name in ("Link", "X-Total-Count")
    )


@st.composite
def reshaped(draw: st.DrawFn, endpoint: str) -> tuple[Case, Reshape]:
    case = draw(cases(endpoint))
    return case, draw(reshapes(case))


# Everything at once


@every_endpoint
def test_any_value_in_any_shape_is_read_as_itself_and_loses_nothing(endpoint: str) -> None:
    @share(EXAMPLES)
    @given(reshaped(endpoint))
    def check(drawn: tuple[Case, Reshape]) -> None:
        case, shape = drawn
        read_rightly(case, shape)

    check()


@every_endpoint
def test_what_was_learned_of_one_shape_does_not_touch_another(endpoint: str) -> None:
    """A server that changes its mind: each reply is read by itself, whatever the endpoint has seen before."""

    @share(EXAMPLES // 8)
    @given(reshaped(endpoint), reshaped(endpoint))
    def check(first: tuple[Case, Reshape], second: tuple[Case, Reshape]) -> None:
        route = first[0].fresh_route()
        for case, shape in (first, second, first):
            note(f"{shape!r}")
            read_rightly(case, shape, route)

    check()


# A long table in a shape that was learned, with one row of it that is odd


class Odd(NamedTuple):
    """What is odd in a row, by the field that it is about, and what of the candle is another thereby."""

    field: str
    write: Callable[[Any], Any]
    candle: Mapping[str, Any] = MappingProxyType({})


GONE: Any = object()
ODD = {
    "a null": Odd("volume_text", lambda _: None, {"volume_text": None}),
    "a number instead of text": Odd("high_text", float),
    "text instead of a number": Odd("open_time_ms", str),
    "another way to write a time": Odd(
        "open_time_ms", lambda ms: datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    ),
    "a key less": Odd("volume_text", lambda _: GONE, {"volume_text": None}),
    "a key more": Odd("", lambda _: [{"zone": 1.5}], {"_extra": {"": [{"zone": Decimal("1.5")}]}}),
}


@pytest.mark.parametrize("form", CANDLES)
def test_one_odd_row_in_a_long_table_is_read_as_itself(form: str) -> None:
    """Whether the table comes first or after others like it, and wherever in it the row is."""
    oddities = [odd for odd in ODD if form != "bare arrays" or not odd.startswith("a key")]

    @share(EXAMPLES // 2)
    @given(
        st.sampled_from(oddities),
        st.integers(0, 199),
        st.sampled_from([(), ("success, data",), ("data", "its own name")]),
        st.booleans(),
    )
    def check(odd: str, index: int, wrappers: tuple[str, ...], learned: bool) -> None:
        shape = replace(PLAIN, candles=form, wrappers=wrappers, said_by_path="left out")
        case, reply = long_table(shape)
        oddly = with_odd_row(case, shape, reply, index, ODD[odd])
        route = case.fresh_route()
        for said, answer in [(case, reply)] * learned + [oddly]:
            read_rightly(said, shape, route, answer)

    check()


@cache
def long_table(shape: Reshape) -> tuple[Case, Written]:
    case = Case(
        "Indicators.candles",
        {"symbol": "BTC", "interval": "1m"},
        [
            Candle(
                open_time_ms=1_772_366_400_000 + 60_000 * index,
                symbol="BTC",
                interval="1m",
                open_text=f"{64000 + index}.5",
                close_text=f"{64000 + index}.25",
                high_text=f"{65000 + index}.125",
                low_text="63999.125",
                volume_text=f"{index}.345678901",
            )
            for index in range(200)
        ],
    )
    return case, written(case, shape)


def with_odd_row(case: Case, shape: Reshape, reply: Written, index: int, odd: Odd) -> tuple[Case, Written]:
    candles = list(case.value)
    candles[index] = msgspec.structs.replace(candles[index], **odd.candle)
    body = rows = json.loads(reply.body)
    while isinstance(rows, dict):
        rows = next(value for value in rows.values() if isinstance(value, dict | list))
    row = rows[index]
    at = ARRAY.index(odd.field) if isinstance(row, list) else wire_name(shape, Candle, odd.field)
    value = odd.write(row[at] if odd.field else None)
    if value is GONE:
        del row[at]
    else:
        row[at] = value
    content = json.dumps(body).encode()
    return replace(case, value=candles), Written(content, {**reply.headers, "Content-Length": str(len(content))})


# One thing at a time

# One endpoint for each kind of reply: what is returned, what the path says of it, and whether something was done.
KINDS = {
    (str(route.returns), *named_by(route), route.effect): endpoint for endpoint, route in reversed(ENDPOINTS.items())
}.values()
SINGLE = [(table, choice) for table, choices in TABLES.items() for choice in choices if choice != getattr(PLAIN, table)]


def single(table: str, choice: str) -> Reshape:
    choices: dict[str, Any] = {table: (choice,) if table == "wrappers" else choice}
    return replace(PLAIN, **choices)


@every_endpoint
def test_the_shape_that_the_types_describe_is_read(endpoint: str) -> None:
    read_rightly(specimen(endpoint), PLAIN)


@pytest.mark.parametrize(("table", "choice"), SINGLE, ids=[f"{table}: {choice}" for table, choice in SINGLE])
def test_each_way_of_writing_is_read_by_itself(table: str, choice: str) -> None:
    """Of every type of result, and of lists of one and of none."""
    tried: dict[str, list[str]] = {}
    for endpoint in KINDS:
        for name, case in variants(endpoint).items():
            shape = settle(single(table, choice), case)
            if shape.differs(table) and written(case, shape) != written(case, PLAIN):
                tried[f"{endpoint}, {name}"] = wrong(case, shape)
    assert tried, "no value can be written in this way"
    assert not any(tried.values()), "\n".join("\n".join([name, *found]) for name, found in tried.items() if found)


@cache
def variants(endpoint: str) -> dict[str, Case]:
    """A specimen, and such as some ways of writing need: of one item, of none, with less to say."""
    case = specimen(endpoint)
    found = {"specimen": case}
    value = case.value
    if isinstance(value, Page):
        found["one item"] = replace(case, value=msgspec.structs.replace(value, data=value.data[:1]))
        found["no item"] = replace(case, value=msgspec.structs.replace(value, data=[]))
    elif isinstance(value, list):
        found["one item"] = replace(case, value=value[:1])
        found["no item"] = replace(case, value=[])
        if isinstance(value[0], Candle):
            bare = [msgspec.structs.replace(candle, close_time_ms=None, interval=None, trades=None) for candle in value]
            found["candles that say no more than an array"] = replace(case, value=bare)
    else:
        required = [field.name for field in fields_of(type(value)) if field.required]
        least = type(value)(**{name: getattr(value, name) for name in required})
        one_each = {
            field.name: getattr(value, field.name)[:1] for field in fields_of(type(value)) if field.kind == "rows"
        }
        found["one item in each list"] = replace(case, value=msgspec.structs.replace(value, **one_each))
        if required or may_be_terse(case.route):
            found["nothing but what must be there"] = replace(case, value=least)
        for word in ("message", "status"):
            if hasattr(value, word):
                found[f"nothing but a {word}"] = replace(
                    case, value=msgspec.structs.replace(least, **{word: getattr(value, word)})
                )
    if case.returns is not case.route.returns:
        found["nothing"] = replace(case, value=None)
    return found


WORDS = {
    f"{field}: {word}": (endpoint, field, word) for endpoint in KINDS for field, word in words_of(specimen(endpoint))
}


@pytest.mark.parametrize(("endpoint", "field", "word"), WORDS.values(), ids=WORDS)
def test_each_other_word_for_a_field_is_read_by_itself(endpoint: str, field: str, word: str) -> None:
    read_rightly(specimen(endpoint), replace(PLAIN, words=((field, word),)))


# The generator itself


def test_every_way_of_writing_is_drawn() -> None:
    """No entry of a table is there for show: of some compositions of these values, each is a part."""
    chance = Random(0)
    drawn: set[tuple[str, str]] = set()
    for endpoint in KINDS:
        for case in variants(endpoint).values():
            for _ in range(20):
                shape = compose(chance.choice, case)
                drawn |= shape.choices_made()
                drawn |= set(shape.words)
    assert sorted({*SINGLE, *((field, word) for _, field, word in WORDS.values())} - drawn) == []
