"""The ways in which servers write: each a named choice in a table, any of each table together a `Reshape`.

To add a way of writing, add an entry to its table; to add a table, add a field of its name to `Reshape` as well. Where
a choice can be misread by a person who has the type in hand, say so in `EXCLUDED`, with the reason.

What is not written, because nobody could be sure how to read it:

- what `EXCLUDED`, `no_list` and `ambiguous_wrapper` name, each with its reason
- an object of optional fields that says nothing of them, and a field that would stand for two
- more than three envelopes of any kind around the items, or the item
- unknown fields whose names are, in the type where they stand, other words for a field of it; objects of fields within
  them; and, around or in what a call that does something returns, words that say that it failed
- times outside 2000..2200, and amounts that are no finite number
- a sign of a size for which there is no side (`szi`): it would say the side

"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, get_args
from urllib.parse import urlencode

import msgspec
from hypothesis import strategies as st

from alura_async import Candle, LogEntry, Page, Position, ServiceHealth
from alura_async.core.model import OpenEnum

from .instances import Case, Kind, fields_of, has_required, is_list, is_sparse, is_struct, may_be_terse

T = TypeVar("T")

Json: TypeAlias = Any
"""What JSON can hold, and a `msgspec.Raw` for a number that Python would write in another way."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Reshape:
    """A composition: of each table one choice. Its text names what differs from the shape that the types describe.

    Attributes:
        words: fields that have another name, as (`Type.field`, name).
        wrappers: what is around the value, from the inside out.
    """

    names: str = "camelCase"
    words: tuple[tuple[str, str], ...] = ()
    amounts: str = "text"
    wholes: str = "numbers"
    floats: str = "numbers"
    ids: str = "text"
    flags: str = "true and false"
    times: str = "ISO, µs"
    choices: str = "as they are"
    absent: str = "left out"
    said_by_path: str = "repeated"
    rows: str = "list"
    nested: str = "list"
    tables: str = "map"
    candles: str = "Hyperliquid"
    candle_times: str = "epoch ms"
    order: str = "ascending"
    page: str = "data, total, page, limit"
    wrappers: tuple[str, ...] = ()
    body: str = "JSON"

    def __repr__(self) -> str:
        changed = [f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if self.differs(field.name)]
        return f"Reshape({', '.join(changed)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # hypothesis would print every field

    def differs(self, table: str) -> bool:
        return bool(getattr(self, table) != getattr(PLAIN, table))

    def choices_made(self) -> set[tuple[str, str]]:
        """Each (table, choice) that it is composed of."""
        made: set[tuple[str, str]] = set()
        for table in TABLES:
            chosen = getattr(self, table)
            made |= {(table, one) for one in ((chosen,) if isinstance(chosen, str) else chosen)}
        return made


# Names


def _words_of(name: str) -> list[str]:
    return name.split("_")


NAMES: Mapping[str, Callable[[str], str]] = {
    "camelCase": lambda name: _words_of(name)[0] + "".join(word.capitalize() for word in _words_of(name)[1:]),
    "snake_case": lambda name: name,
    "PascalCase": lambda name: "".join(word.capitalize() for word in _words_of(name)),
    "kebab-case": lambda name: name.replace("_", "-"),
}

# Other words for a field, by field or by `Type.field`; from Hyperliquid's documents (info endpoint: coin, szi, entryPx,
# marginUsed, closedPnl, px, sz, tid…) and what exchanges and backends commonly have. Only words that leave no doubt in
# the type where they stand; each name style applies to them too.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "id": ("_id",),
    "TradingSession.id": ("session_id",),
    "Trade.id": ("trade_id",),
    "Position.id": ("position_id",),
    "Fill.id": ("fill_id", "tid"),
    "Transfer.id": ("transfer_id",),
    "LogEntry.id": ("log_id",),
    "Profile.id": ("user_id",),
    "symbol": ("coin", "ticker"),
    "status": ("state",),
    "timestamp": ("time", "ts"),
    "created_at": ("created_time", "create_time", "created"),
    "updated_at": ("updated_time", "last_updated", "updated"),
    "expires_at": ("expires_time", "expiry", "expiration"),
    "TradingSession.closed_at": ("closed_time",),
    "message": ("msg",),
    "Position.size": ("sz", "qty", "quantity", "szi"),
    "Fill.size": ("sz", "qty", "quantity"),
    "Position.side": ("direction", "position_side"),
    "entry_price": ("entry_px", "avg_price", "avg_entry_price"),
    "mark_price": ("mark_px",),
    "exit_price": ("exit_px",),
    "liquidation_price": ("liquidation_px", "liq_px", "liq_price"),
    "margin": ("margin_used",),
    "unrealized_pnl": ("unrealised_pnl",),
    "realized_pnl": ("realised_pnl", "closed_pnl"),
    "Position.opened_at": ("opened_time", "open_time"),
    "Position.closed_at": ("closed_time", "closed_on"),
    "Fill.price": ("px",),
    "Signal.price": ("px",),
    "Fill.fee": ("commission",),
    "TradingSession.kind": ("type",),
    "Profile.balance": ("account_value",),
    "Profile.available_balance": ("withdrawable",),
    "Profile.address": ("wallet_address",),
    "Ranking.address": ("wallet_address",),
    "Ranking.pnl_percent": ("pnl_pct", "pnl_percentage"),
    "Ranking.volume": ("vol",),
    "Ranking.trades": ("trade_count", "num_trades"),
    "AssetActivity.trades": ("trade_count", "num_trades"),
    "tx_hash": ("transaction_hash",),
    "Transfer.destination": ("destination_address",),
    "ReferralCheck.valid": ("is_valid",),
    "Deposit.verified": ("is_verified",),
}

# Values


def _plain(amount: Decimal) -> str:
    return format(amount, "f")


AMOUNTS: Mapping[str, Callable[[Decimal], Json]] = {
    "text": _plain,
    "numbers": lambda amount: number(_plain(amount)),
    "text with exponents": lambda amount: format(amount, "E"),
    "numbers with exponents": lambda amount: number(format(amount, "E")),
}
WHOLES: Mapping[str, Callable[[int], Json]] = {
    "numbers": lambda whole: whole,
    "text": str,
    "numbers with .0": lambda whole: number(f"{whole}.0"),
}
# What types have as floats: seconds.
FLOATS: Mapping[str, Callable[[float], Json]] = {
    "numbers": lambda value: value,
    "text": lambda value: _plain(Decimal(str(value))),
    "numbers with exponents": lambda value: number(format(Decimal(str(value)), "E")),
}
IDS: Mapping[str, Callable[[str], Json]] = {
    "text": lambda name: name,
    # Those that can be told from the number again.
    "numbers": lambda name: int(name) if re.fullmatch("0|[1-9][0-9]{0,17}", name) else name,
}
FLAGS: Mapping[str, Callable[[bool], Json]] = {
    "true and false": lambda flag: flag,
    "text": lambda flag: str(flag).lower(),
    "Text": str,
    "1 and 0": int,
    "text of 1 and 0": lambda flag: str(int(flag)),
}
CHOICES: Mapping[str, Callable[[str], str]] = {
    "as they are": lambda text: text,
    "CAPITALS": str.upper,
    "Capitalized": str.capitalize,
}


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _fraction(microseconds: int) -> str:
    return f"{microseconds // 10**6}.{microseconds % 10**6:06d}"


TIMES: Mapping[str, Callable[[datetime], Json]] = {
    "ISO, µs": lambda time: time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
    "ISO, ms": lambda time: time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    "ISO, offset": lambda time: time.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(),
    "ISO, no zone": lambda time: time.replace(tzinfo=None).isoformat(),
    "ISO, space": lambda time: time.isoformat(sep=" "),
    "ISO, space, no zone": lambda time: time.replace(tzinfo=None).isoformat(sep=" "),
    "epoch s": lambda time: number(_fraction(_microseconds(time))),
    "epoch s, text": lambda time: _fraction(_microseconds(time)),
    "epoch ms": lambda time: _microseconds(time) // 1000,
    "epoch ms, text": lambda time: str(_microseconds(time) // 1000),
    "epoch µs": _microseconds,
    "epoch µs, text": lambda time: str(_microseconds(time)),
    "epoch ns": lambda time: _microseconds(time) * 1000,
    "epoch ns, text": lambda time: str(_microseconds(time) * 1000),
}
_TO_THE_MILLISECOND = frozenset({"ISO, ms", "epoch ms", "epoch ms, text"})

ABSENT: Mapping[str, None] = {"left out": None, "null": None}
SAID_BY_PATH: Mapping[str, None] = {"repeated": None, "left out": None}


def number(text: str) -> msgspec.Raw:
    """A JSON number with exactly these characters."""
    return msgspec.Raw(text.encode())


# Lists of objects


class Row(NamedTuple):
    """An object of a list as it is written, and what a list may do with it."""

    plain: dict[str, Json] | list[Json]
    id: str | None
    symbol: str | None
    id_name: str
    symbol_name: str
    word: str

    def without(self, name: str) -> Json:
        """The object without a field, which then stands elsewhere."""
        if isinstance(self.plain, list):
            return self.plain
        return {key: value for key, value in self.plain.items() if key != name}


def _columns(rows: Sequence[Row]) -> Json:
    names = dict.fromkeys(chain.from_iterable(row.plain for row in rows))
    return {name: [row.plain.get(name) for row in rows if isinstance(row.plain, dict)] for name in names}


ROWS: Mapping[str, Callable[[Sequence[Row]], Json]] = {
    "list": lambda rows: [row.plain for row in rows],
    "map by id": lambda rows: {str(row.id): row.without(row.id_name) for row in rows},
    "map by id, which is repeated": lambda rows: {str(row.id): row.plain for row in rows},
    "map by symbol": lambda rows: {str(row.symbol): row.without(row.symbol_name) for row in rows},
    "map by symbol, which is repeated": lambda rows: {str(row.symbol): row.plain for row in rows},
    "columns": _columns,
    "one is no list": lambda rows: rows[0].plain if len(rows) == 1 else [row.plain for row in rows],
    "{position: …}": lambda rows: [{row.word: row.plain} for row in rows],
    "{type, position: …}": lambda rows: [{"type": "oneWay", row.word: row.plain} for row in rows],
    "{id, attributes}": lambda rows: [
        {"type": row.word, "id": row.id, "attributes": row.without(row.id_name)} for row in rows
    ],
    "{edges: [{node}]}": lambda rows: {
        "edges": [{"node": row.plain, "cursor": f"Y3Vyc29y{index}"} for index, row in enumerate(rows)]
    },
}

# One amount by name, as `Signal.indicators` has them.
TABLES_OF_AMOUNTS: Mapping[str, Callable[[Mapping[str, Json]], Json]] = {
    "map": dict,
    "list of {name, value}": lambda table: [{"name": name, "value": value} for name, value in table.items()],
}

# Candles: the names of their fields. An array has none, and no room for more than the six.
_LONG = {"open_text": "open", "high_text": "high", "low_text": "low", "close_text": "close", "volume_text": "volume"}
CANDLES: Mapping[str, Mapping[str, str] | None] = {
    "Hyperliquid": {
        "open_time_ms": "t", "close_time_ms": "T", "symbol": "s", "interval": "i", "open_text": "o", "close_text": "c",
        "high_text": "h", "low_text": "l", "volume_text": "v", "trades": "n",
    },
    "long names, openTime": {
        **_LONG, "open_time_ms": "open_time", "close_time_ms": "close_time", "trades": "number_of_trades",
    },
    "long names, timestamp": {**_LONG, "open_time_ms": "timestamp", "close_time_ms": "close_time"},
    "long names, time": {**_LONG, "open_time_ms": "time", "close_time_ms": "close_time", "symbol": "coin"},
    "bare arrays": None,
}  # fmt: skip
ARRAY = ("open_time_ms", "open_text", "high_text", "low_text", "close_text", "volume_text")
ORDER: Mapping[str, Callable[[list[Any]], list[Any]]] = {
    "ascending": lambda items: items,
    "descending": lambda items: items[::-1],
}

# Pages


class Facts(NamedTuple):
    """A page's facts as they are written (None: unknown), and what can be computed from them."""

    page: Page[Any]
    whole: Callable[[int], Json]
    name: Callable[[str], str]

    def said(self, **names: int | None) -> dict[str, Json]:
        """Those that are known."""
        return {name: self.whole(fact) for name, fact in names.items() if fact is not None}

    def link(self, number: int) -> str:
        query = urlencode({"page": number, "limit": self.page.limit or 20})
        return f"https://api.test/logs?{query}"

    @property
    def pages(self) -> int | None:
        total, limit = self.page.total, self.page.limit
        return None if total is None or limit is None else -(-total // limit)

    @property
    def number(self) -> int:
        return self.page.page or 1


Headers: TypeAlias = dict[str, str]
PAGES: Mapping[str, Callable[[Json, Facts], tuple[Json, Headers]]] = {
    "data, total, page, limit": lambda rows, facts: (
        {
            facts.name("data"): rows,
            **{
                facts.name(name): fact
                for name, fact in facts.said(
                    total=facts.page.total, page=facts.page.page, limit=facts.page.limit
                ).items()
            },
            **facts.page.extra,
        },
        {},
    ),
    "items, meta": lambda rows, facts: ({"items": rows, "meta": _meta(facts)}, {}),
    "items, meta, links": lambda rows, facts: (
        {
            "items": rows,
            "meta": _meta(facts),
            "links": {
                "first": facts.link(1),
                "previous": facts.link(facts.number - 1) if facts.number > 1 else "",
                "next": facts.link(facts.number + 1),
            },
        },
        {},
    ),
    "pagination": lambda rows, facts: (
        {
            "result": rows,
            "pagination": facts.said(
                page=facts.page.page, limit=facts.page.limit, total=facts.page.total, pages=facts.pages
            ),
        },
        {},
    ),
    "count, next, previous, results": lambda rows, facts: (
        {**facts.said(count=facts.page.total), "next": facts.link(facts.number + 1), "previous": None, "results": rows},
        {},
    ),
    "nextCursor": lambda rows, _: ({"items": rows, "nextCursor": "bmV4dA=="}, {}),
    "X-Total-Count": lambda rows, facts: (
        rows,
        {"X-Total-Count": str(facts.page.total), "Link": f'<{facts.link(facts.number + 1)}>; rel="next"'},
    ),
    "bare": lambda rows, _: (rows, {}),
}
# What of a page each of them says.
SAYS: Mapping[str, frozenset[str]] = {
    name: frozenset({"total", "page", "limit"})
    for name in ("data, total, page, limit", "items, meta", "items, meta, links", "pagination")
} | {"count, next, previous, results": frozenset({"total"}), "X-Total-Count": frozenset({"total"})}


def _meta(facts: Facts) -> dict[str, Json]:
    return facts.said(
        totalItems=facts.page.total,
        itemCount=len(facts.page.data),
        itemsPerPage=facts.page.limit,
        totalPages=facts.pages,
        currentPage=facts.page.page,
    )


# What is around the value. `{word}` is the value's own name: session, sessions.

_AT = "2026-03-01T12:00:00.000Z"
WRAPPERS: Mapping[str, Callable[[Json, str], dict[str, Json]]] = {
    "data": lambda value, _: {"data": value},
    "result": lambda value, _: {"result": value},
    "response": lambda value, _: {"response": value},
    "payload": lambda value, _: {"payload": value},
    "items": lambda value, _: {"items": value},
    "its own name": lambda value, word: {word: value},
    "its own name and requestId": lambda value, word: {word: value, "requestId": "5f2c-11"},
    "data, timestamp, requestId": lambda value, _: {"data": value, "timestamp": _AT, "requestId": "5f2c-11"},
    "success, data": lambda value, _: {"success": True, "data": value},
    "success, its own name": lambda value, word: {"success": True, word: value},
    "success, data, timestamp": lambda value, _: {"success": True, "data": value, "timestamp": _AT},
    "success, error: null, data": lambda value, _: {"success": True, "error": None, "data": value},
    "ok, result": lambda value, _: {"ok": True, "result": value},
    "status: success, data": lambda value, _: {"status": "success", "data": value},
    "status: ok, response": lambda value, _: {"status": "ok", "response": value},
    "status: ok, response: {type, data}": lambda value, _: {
        "status": "ok",
        "response": {"type": "default", "data": value},
    },
    "statusCode, message, data": lambda value, _: {"statusCode": 200, "message": "OK", "data": value},
}
# What a wrapper's neighbours would mean if they were fields of the value.
_MEANS = {"success": "ok", "msg": "message", "type": "kind", "code": "code"}

BODIES: Mapping[str, None] = {"JSON": None, "nothing": None, "null": None, "plain text": None}

TABLES: Mapping[str, Iterable[str]] = {
    "names": NAMES,
    "amounts": AMOUNTS,
    "wholes": WHOLES,
    "floats": FLOATS,
    "ids": IDS,
    "flags": FLAGS,
    "times": TIMES,
    "choices": CHOICES,
    "absent": ABSENT,
    "said_by_path": SAID_BY_PATH,
    "rows": ROWS,
    "nested": ROWS,
    "tables": TABLES_OF_AMOUNTS,
    "candles": CANDLES,
    "candle_times": TIMES,
    "order": ORDER,
    "page": PAGES,
    "wrappers": WRAPPERS,
    "body": BODIES,
}
PLAIN = Reshape()


# What nobody could read


class Exclusion(NamedTuple):
    """A composition that a person with the type in hand could misread, or that says nothing about this value."""

    reason: str
    table: str
    holds: Callable[[Reshape, Case], bool]


def _is_list(case: Case) -> bool:
    return case.rows is not None


def _items(case: Case) -> list[Any]:
    return case.rows or []


def _lacks(items: Iterable[Any], name: str) -> bool:
    return any(getattr(item, name, None) is None for item in items)


def _repeats(items: Iterable[Any], name: str) -> bool:
    values = [getattr(item, name) for item in items]
    return len(set(values)) < len(values)


def _nested(case: Case) -> list[list[Any]]:
    """The lists within the value."""
    tops = _items(case) if _is_list(case) else [case.value]
    return [
        getattr(top, field.name)
        for top in tops
        if is_struct(type(top))
        for field in fields_of(type(top))
        if field.kind == "rows" and getattr(top, field.name) is not None
    ]


def no_list(form: str, items: list[Any], path: Mapping[str, str] = MappingProxyType({})) -> str | None:
    """Why these items cannot be written in this form, if they cannot."""
    if form == "list":
        return None
    if not items or not is_struct(type(items[0])):
        return None if not items and form in ("map by id", "{edges: [{node}]}") else "there is nothing in it"
    key = "id" if form.startswith(("map by id", "{id, attributes}")) else "symbol" if "symbol" in form else None
    if key is not None and (_lacks(items, key) or _repeats(items, key)):
        return "not each has a key of its own"
    rest = [
        [field for field in fields_of(type(item)) if said(item, field.name, path) and field.name != key]
        for item in items
    ]
    if key is not None and not all(rest):
        return "an item would be empty but for its key"
    if key == "id" and not has_required(type(items[0])) and any(re.fullmatch("[0-9]{1,3}", item.id) for item in items):
        return "a list that was made into an object has such keys, and they are not its items' ids"
    if key is not None and len(items) == 1 and not has_required(type(items[0])):
        return "one object under a name nobody knows is what a wrapper looks like"
    if form == "columns" and (len(set(chain.from_iterable(map(_names, rest)))) < 2 or isinstance(items[0], LogEntry)):
        return "one column, or one that is called data, is what a wrapped list looks like"
    if form == "one is no list" and len(items) == 1 and isinstance(items[0], LogEntry) and items[0].data is not None:
        return "{message, data: {…}} is what a wrapper looks like"
    if form == "one is no list" and len(items) == 1 and not set(_names(rest[0])) - _SAID_OF_ANYTHING:
        return "what any reply may say of itself is no item"
    if form == "{type, position: …}" and any(field.name == "kind" for field in fields_of(type(items[0]))):
        return "type is another name of kind"
    return None


_SAID_OF_ANYTHING = {"id", "user_id", "status", "kind", "message", "code", "timestamp", "created_at", "data"}


def _names(found: Iterable[Any]) -> list[str]:
    return [field.name for field in found]


def said(item: Any, name: str, path: Mapping[str, str]) -> bool:
    """Whether an item is written with this field."""
    value = getattr(item, name)
    return value is not None and path.get(name) != value


def _left_to_path(shape: Reshape, case: Case) -> Mapping[str, str]:
    return case.path if shape.said_by_path == "left out" else {}


def _would_be_sparse(case: Case) -> bool:
    tops = _items(case) if _is_list(case) else [case.value]
    return any(
        is_struct(type(top))
        and not any(
            said(top, field.name, case.path) and field.kind not in ("free", "table", "rows")
            for field in fields_of(type(top))
        )
        for top in tops
    )


def _says_more_than_an_array(candle: Candle, shape: Reshape, case: Case) -> bool:
    whose = [
        name
        for name in ("symbol", "interval")
        if said(candle, name, case.path) and not (name == "symbol" and shape.rows == "map by symbol")
    ]
    return bool(whose or candle.extra) or not (candle.close_time_ms is candle.trades is None)


def _is_exact(case: Case, unit: timedelta) -> bool:
    return all(time.microsecond % (unit // timedelta(microseconds=1)) == 0 for time in _times(case.value))


def _times(value: Any) -> Iterable[datetime]:
    if isinstance(value, datetime):
        yield value
    elif isinstance(value, list):
        yield from chain.from_iterable(map(_times, value))
    elif is_struct(type(value)):
        yield from chain.from_iterable(_times(getattr(value, field.name)) for field in fields_of(type(value)))


def _is_said_in_words(case: Case) -> bool:
    """Whether a few words of plain text say all that the value says."""
    value = case.value
    if not is_struct(type(value)) or value.extra:
        return False
    names = {field.name for field in fields_of(type(value))}
    # A word that stands for a transfer may be its status, its id or its transaction.
    word = "message" if "message" in names else "status" if isinstance(value, ServiceHealth) else None
    if word is None:
        return False
    said_fields = {name for name in names if getattr(value, name) is not None}
    if said_fields != {word}:
        return False
    said_in = getattr(value, word)
    if isinstance(said_in, OpenEnum) and not said_in.is_known:
        return False
    text = str(said_in)
    # Whitespace around it is the line's end, and a web page is one of a proxy.
    return text == text.strip() != "" and text[0] != "<" and not _is_json(text)


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        return False
    return True


def _is_path_alone(case: Case) -> bool:
    value = case.value
    if case.value is None:
        return True
    return (
        may_be_terse(case.route)
        and not value.extra
        and not any(said(value, field.name, case.path) for field in fields_of(type(value)))
    )


EXCLUDED: tuple[Exclusion, ...] = (
    Exclusion(
        "milliseconds cannot say a microsecond",
        "times",
        lambda shape, case: shape.times in _TO_THE_MILLISECOND and not _is_exact(case, timedelta(milliseconds=1)),
    ),
    Exclusion(
        "of an object that says only what the path says, nothing would be left to recognise it by",
        "said_by_path",
        lambda shape, case: shape.said_by_path == "left out" and _would_be_sparse(case),
    ),
    Exclusion(
        "there is a list in this form only where there are items, each with a key of its own, and more than the key",
        "rows",
        lambda shape, case: (
            shape.rows != "list"
            and (not _is_list(case) or no_list(shape.rows, _items(case), _left_to_path(shape, case)) is not None)
        ),
    ),
    Exclusion(
        "a page of one item is not the item: its facts would be the item's",
        "rows",
        lambda shape, case: shape.rows == "one is no list" and isinstance(case.value, Page),
    ),
    Exclusion(
        "the same of the lists within",
        "nested",
        lambda shape, case: (
            shape.nested != "list" and (all(no_list(shape.nested, items) is not None for items in _nested(case)))
        ),
    ),
    Exclusion(
        "candles have a form of their own only where there are candles",
        "candles",
        lambda shape, case: case.item is not Candle and shape.differs("candles"),
    ),
    Exclusion(
        "and times of their own",
        "candle_times",
        lambda shape, case: case.item is not Candle and shape.differs("candle_times"),
    ),
    Exclusion(
        "an array of six says nothing else, and it has no names to be a column, a row in an envelope or a list",
        "candles",
        lambda shape, case: (
            shape.candles == "bare arrays"
            and (
                shape.rows not in ("list", "map by symbol")
                or shape.said_by_path == "repeated"
                or any(_says_more_than_an_array(candle, shape, case) for candle in _items(case))
            )
        ),
    ),
    Exclusion(
        "there is an order of time only in candles of one symbol",
        "order",
        lambda shape, case: shape.order != "ascending" and (case.item is not Candle or "symbol" not in case.path),
    ),
    Exclusion(
        "only a page has a page's form",
        "page",
        lambda shape, case: shape.differs("page") and not isinstance(case.value, Page),
    ),
    Exclusion(
        "a total in a header is there only if it is known, and what is beside the items needs an object",
        "page",
        lambda shape, case: (
            isinstance(case.value, Page)
            and shape.differs("page")
            and ((shape.page == "X-Total-Count" and case.value.total is None) or bool(case.value.extra))
        ),
    ),
    Exclusion(
        "pagination of which nothing is known is not written",
        "page",
        lambda shape, case: (
            shape.page in ("pagination", "count, next, previous, results")
            and case.value.total is case.value.page is case.value.limit is None
        ),
    ),
    Exclusion(
        "a count that is no larger than the page may be the page's own",
        "page",
        lambda shape, case: (
            shape.page == "count, next, previous, results" and (case.value.total or 0) <= len(case.value.data)
        ),
    ),
    Exclusion(
        "no body at all, or null, is a value only where nothing is one, or where the path says everything",
        "body",
        lambda shape, case: shape.body in ("nothing", "null") and not _is_path_alone(case),
    ),
    Exclusion(
        "null is no object: that a call which returns one answers with null is nothing to go by",
        "body",
        lambda shape, case: shape.body == "null" and case.value is not None,
    ),
    Exclusion(
        "plain text is a message or a status, where there is nothing else to say and which is no JSON",
        "body",
        lambda shape, case: shape.body == "plain text" and not _is_said_in_words(case),
    ),
)


def ambiguous_wrapper(name: str, shape: Reshape, case: Case) -> str | None:
    """Why a wrapper's neighbours could be taken for fields of the value, if they could."""
    rows = case.rows
    if case.value is None:
        return "one object is no items" if name == "items" else None
    if isinstance(case.value, Page):
        if shape.page in ("X-Total-Count", "bare"):
            rows = case.value.data
        elif name in ("items", "its own name", "its own name and requestId", "success, its own name"):
            return "a page is wrapped by what says nothing of its items"
    top = case.value
    if rows is None and name == "items":
        return "one object is no items"
    if rows is not None:
        if not rows and shape.rows == "map by id" and is_struct(case.item) and not has_required(case.item):
            top = case.item()  # {message, data: {}} may be an item that has no data
        elif shape.rows == "one is no list" and len(rows) == 1:
            top = rows[0]
        else:
            return None
    neighbours = chain.from_iterable(
        wrapper for wrapper in (WRAPPERS[name](None, "own"), WRAPPERS[name]({}, "own").get("response")) if wrapper
    )
    for neighbour in neighbours:
        field = _MEANS.get(neighbour, neighbour)
        if getattr(top, field, "") is None and not has_required(type(top)):
            return f"{neighbour} could be the value's {field}, of which the value itself says nothing"
    return None


def _with(shape: Reshape, table: str, choice: Any) -> Reshape:
    changes: dict[str, Any] = {table: choice}
    return replace(shape, **changes)


def settle(shape: Reshape, case: Case) -> Reshape:
    """The composition without what nobody could read, or what says nothing about this value."""
    if case.item is Candle and shape.candles == "bare arrays":
        shape = replace(shape, said_by_path="left out")
    if _must_be_no_json(case):
        return replace(PLAIN, body="nothing" if _is_path_alone(case) else "plain text")
    for excluded in EXCLUDED:
        if excluded.holds(shape, case):
            shape = _with(shape, excluded.table, getattr(PLAIN, excluded.table))
    kept = tuple(name for name in shape.wrappers if ambiguous_wrapper(name, shape, case) is None)
    while kept and _envelopes(kept, shape, case) > 3:
        kept = kept[:-1]  # nobody has that many
    return replace(shape, wrappers=kept if shape.body == "JSON" else (), words=_fitting(shape.words, case))


def _envelopes(wrappers: Iterable[str], shape: Reshape, case: Case) -> int:
    """How many objects are around the items, or around the one."""
    is_page = isinstance(case.value, Page) and shape.page not in ("X-Total-Count", "bare")
    return is_page + shape.rows.startswith("{edges") + sum(2 if "response: {" in name else 1 for name in wrappers)


def _must_be_no_json(case: Case) -> bool:
    """An object in which nothing is said is no reply that could be recognised."""
    return (
        is_struct(type(case.value))
        and not isinstance(case.value, Page)
        and (not has_required(type(case.value)) and is_sparse(case.value) and not case.value.extra)
    )


def _fitting(words: tuple[tuple[str, str], ...], case: Case) -> tuple[tuple[str, str], ...]:
    known = words_of(case)
    # The sign of a szi says the side, and so would say one that is not there.
    speechless = any(position.side is None for position in _positions(case.value))
    return tuple(word for word in words if word in known and not (word[1] == "szi" and speechless))


def _positions(value: Any) -> Iterable[Position]:
    if isinstance(value, Position):
        yield value
    elif isinstance(value, list):
        yield from chain.from_iterable(map(_positions, value))
    elif is_struct(type(value)):
        yield from chain.from_iterable(_positions(getattr(value, field.name)) for field in fields_of(type(value)))


def structs_in(struct: Any) -> list[Any]:
    """A type's own and those within it."""
    if is_list(struct):
        return structs_in(get_args(struct)[0])
    if not is_struct(struct):
        return []
    inner = [field.inner for field in fields_of(struct) if field.kind in ("rows", "struct")]
    return [struct, *chain.from_iterable(map(structs_in, inner))]


def words_of(case: Case) -> list[tuple[str, str]]:
    """Every other word for a field of what is returned."""
    return [
        (f"{struct.__name__}.{field.name}", word)
        for struct in structs_in(case.item)
        if struct is not Candle
        for field in fields_of(struct)
        for word in (*SYNONYMS.get(field.name, ()), *SYNONYMS.get(f"{struct.__name__}.{field.name}", ()))
    ]


# Of which kinds of fields a table speaks; one that is not named speaks of all.
_KINDS: Mapping[str, frozenset[Kind]] = {
    "amounts": frozenset({"amount", "price", "table"}),
    "wholes": frozenset({"whole"}),
    "floats": frozenset({"float"}),
    "ids": frozenset({"id"}),
    "flags": frozenset({"flag"}),
    "times": frozenset({"time"}),
    "choices": frozenset({"choice"}),
    "tables": frozenset({"table"}),
}
_LEFT_OUT = replace(PLAIN, said_by_path="left out")
_SINGLE = {
    (table, choice): _with(PLAIN if table == "said_by_path" else _LEFT_OUT, table, choice)
    for table, choices in TABLES.items()
    if table != "wrappers"
    for choice in choices
}
_REASONS = {table: [excluded for excluded in EXCLUDED if excluded.table == table] for table in TABLES}


def _fitting_choices(table: str, case: Case) -> list[str]:
    """What a table has for a case, so that little is drawn in vain."""
    kinds = {field.kind for struct in structs_in(case.returns) for field in fields_of(struct)}
    if table in _KINDS and not _KINDS[table] & kinds:
        return [getattr(PLAIN, table)]
    return [
        choice
        for choice in TABLES[table]
        if not any(excluded.holds(_SINGLE[table, choice], case) for excluded in _REASONS[table])
        or choice == "bare arrays"  # also those for which a map is needed
    ]


class Choose(Protocol):
    """Takes one of several."""

    def __call__(self, options: Sequence[T], /) -> T: ...


def compose(choose: Choose, case: Case) -> Reshape:
    """A composition for a case: of each table anything that can be read without doubt."""
    chosen: dict[str, Any] = {}
    for table in TABLES:
        if table != "wrappers":
            choices = _fitting_choices(table, case)
            chosen[table] = choose(choices) if len(choices) > 1 else choices[0]
    words: dict[str, list[str]] = {}
    for field, word in words_of(case):
        words.setdefault(field, [field.rpartition(".")[2]]).append(word)
    chosen["words"] = tuple((field, word) for field, few in words.items() if (word := choose(few)) != few[0])
    chosen["wrappers"] = tuple(choose(list(WRAPPERS)) for _ in range(choose((0, 0, 1, 1, 2))))
    return settle(Reshape(**chosen), case)


@st.composite
def reshapes(draw: st.DrawFn, case: Case) -> Reshape:
    """Compositions for a case."""
    return compose(lambda options: draw(st.sampled_from(options)), case)


def word_of(item: Any) -> str:
    """What a server calls one of it: session, trade, position, log."""
    special = {"TradingSession": "session", "LogEntry": "log", "ServiceHealth": "health", "str": "symbol"}
    name: str = special.get(item.__name__, item.__name__)
    return name[0].lower() + name[1:]
