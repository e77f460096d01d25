"""The personalities: each a backend that could be real, consistent in itself."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from itertools import chain
from typing import Any, ClassVar

import msgspec

from ...groups.health import ServiceHealth
from ...groups.indicators import Candle, Signal, SignalAction
from ...groups.trading_sessions import (
    Closing,
    CronRun,
    LogEntry,
    Position,
    PositionSide,
    SessionStatus,
    Trade,
    TradingSession,
)
from ...groups.usdc_verification import Deposit
from ...groups.user import Fill, FillSide
from .. import chance
from ..paging import AFTER, CURSOR, NUMBER, OFFSET, SIZE, cursor
from ..refusals import ErrorBody
from ..routing import JSON, Call, Ready
from . import writing
from .page_view import PageView
from .personality import Headers, Personality, Plain, Writer

TEXT = "text/plain; charset=utf-8"

# What a resource without an id goes by.
_NAMES = ("user-id", "position-id", "trade-id", "tx-hash", "code", "symbol", "interval", "open-time")

# By which letters the sandbox's ids of what paths name begin.
_PREFIXES = {"sessionId": "ses", "tradeId": "trd", "positionId": "pos", "userId": "usr"}
_BIGINT = re.compile(r"[0-9]{1,19}", re.ASCII)

# As the logger pino numbers them.
_LEVELS = {"debug": 20, "info": 30, "warn": 40, "error": 50}


class Nest(Personality):
    """NestJS with TypeORM and an interceptor around every reply."""

    about = (
        "NestJS and TypeORM: {success, data, timestamp} around everything, in it pages as items with meta and links; "
        "whole numbers as text too; long-named candles"
    )

    def whole(self, value: int) -> str:
        """Text: what the driver makes of a bigint."""
        return str(value)

    def time(self, value: datetime) -> str:
        """ISO 8601 with milliseconds."""
        return writing.iso(value)

    def candles(self, candles: Sequence[Candle], symbol: str | None) -> list[Plain]:
        """Long names."""
        return [_long(self, candle) for candle in candles]

    def wrap(self, call: Call, content: Any, item: type | None) -> Plain:
        """What an interceptor makes of every reply."""
        return {"success": True, "data": content, "timestamp": self.time(call.now)}

    def page(self, call: Call, view: PageView) -> tuple[Plain, Headers]:
        """As nestjs-typeorm-paginate has it."""
        meta = {
            "totalItems": view.total,
            "itemCount": view.count,
            "itemsPerPage": view.limit,
            "totalPages": view.pages,
            "currentPage": view.number,
        }
        links = {
            {"prev": "previous"}.get(name, name): "" if number is None else view.page_link(number)
            for name, number in view.numbers.items()
        }
        return self.wrap(call, {"items": view.items, "meta": meta, "links": links}, None), {}

    def refusal(self, body: ErrorBody) -> Plain:
        """What an exception filter makes of an exception."""
        return {"success": False, "statusCode": body.status_code, "message": body.message, "data": None}


class Mongo(Personality):
    """Express with Mongoose."""

    about = (
        "Express and MongoDB: {ok, result}, _id, amounts as {$numberDecimal}, null for what is absent, unknown fields "
        "at every depth; pages with pagination beside them; newest candles first, of JSON numbers"
    )
    renames: ClassVar[Mapping[str, str]] = {"id": "_id"}
    writers: ClassVar[Mapping[str, Writer]] = {
        "LogEntry.level": lambda level: _LEVELS.get(level, level),
        "Signal.indicators": lambda values: {
            name: None if value is None else writing.json_number(value) for name, value in values.items()
        },
    }
    absent_is_null = True

    def amount(self, value: Decimal) -> Plain:
        """A Decimal128, as Mongoose writes it where nobody tells it otherwise."""
        return {"$numberDecimal": writing.plain_text(value)}

    def measured(self, value: Decimal) -> msgspec.Raw:
        """A JSON number."""
        return writing.json_number(value)

    def time(self, value: datetime) -> str:
        """ISO 8601 with milliseconds."""
        return writing.iso(value)

    def finish(self, value: msgspec.Struct, plain: Plain) -> Plain:
        """With what the database keeps besides, and nobody left out."""
        return {"__v": 0, "shard": {"name": "rs0", "tags": []}, **plain}

    def candles(self, candles: Sequence[Candle], symbol: str | None) -> list[Plain]:
        """Newest first. They say whose they are only where the request did not."""
        return [
            {
                **({"symbol": candle.symbol} if symbol is None else {}),
                "timestamp": self.time(candle.open_time),
                **_prices(self, candle),
                "trades": candle.trades,
                "__v": 0,
            }
            for candle in (candles if symbol is None else reversed(candles))
        ]

    def wrap(self, call: Call, content: Any, item: type | None) -> Plain:
        """The result, beside a word on how it went."""
        return {"ok": True, "result": content}

    def page(self, call: Call, view: PageView) -> tuple[Plain, Headers]:
        """The list, and beside it its place."""
        pagination = {
            "page": view.number,
            "limit": view.limit,
            "total": view.total,
            "pages": view.pages,
            "hasNext": view.after is not None,
        }
        return {**self.wrap(call, view.items, None), "pagination": pagination}, {}

    def refusal(self, body: ErrorBody) -> Plain:
        """An error with a code."""
        return {"ok": False, "error": {"code": HTTPStatus(body.status_code).name, "message": body.message}}


class Django(Personality):
    """Django, whose `JsonResponse` takes nothing but objects."""

    about = (
        "Django: snake_case, lists under their own names, pages as count/next/previous/results, by offset only; "
        "amounts as text that may have an exponent, times as epoch seconds with a fraction"
    )
    absent_is_null = True
    walked_by = (OFFSET,)

    def name(self, struct: str, field: str) -> str:
        """With underscores."""
        return writing.snake_case(field)

    def amount(self, value: Decimal) -> str:
        """Text such as `1E+4`."""
        return writing.exponent_text(value)

    def time(self, value: datetime) -> msgspec.Raw:
        """Seconds."""
        return writing.epoch_seconds(value)

    def candles(self, candles: Sequence[Candle], symbol: str | None) -> list[Plain]:
        """Long names with underscores."""
        return [
            {{"trades": "trade_count"}.get(name, name): value for name, value in _long(self, candle).items()}
            for candle in candles
        ]

    def wrap(self, call: Call, content: Any, item: type | None) -> Any:
        """An object is enough by itself; a list gets one around it."""
        return content if item is None else {_LIST_NAMES[item]: content, "total": len(content)}

    def page(self, call: Call, view: PageView) -> tuple[Plain, Headers]:
        """As the REST framework's LimitOffsetPagination has it."""
        return {
            "count": view.total,
            "next": None if view.after is None else view.link({"limit": view.limit, "offset": view.after}),
            "previous": None if view.before is None else view.link({"limit": view.limit, "offset": view.before}),
            "results": view.items,
        }, {}

    def refusal(self, body: ErrorBody) -> Plain:
        """Messages are a list, be it one."""
        messages = [body.message] if isinstance(body.message, str) else body.message
        return {"status": body.status_code, "code": HTTPStatus(body.status_code).name.lower(), "message": messages}


class Hyperliquid(Personality):
    """A backend that passes on what the exchange has, in the exchange's own words."""

    about = (
        "Hyperliquid's words: coin, px, szi (negative for a short), closedPnl, epoch milliseconds; {position: …} "
        "around positions, maps by coin, pages without any counts, {status, response: {type, data}} around what a POST "
        "answers"
    )
    renames: ClassVar[Mapping[str, str]] = {
        "symbol": "coin",
        "assetIndex": "asset",
        "timestamp": "time",
        "Trade.positions": "assetPositions",
        "Position.size": "szi",
        "Position.entryPrice": "entryPx",
        "Position.markPrice": "markPx",
        "Position.exitPrice": "exitPx",
        "Position.margin": "marginUsed",
        "Position.realizedPnl": "closedPnl",
        "Fill.id": "tid",
        "Fill.size": "sz",
        "Fill.price": "px",
        "Fill.realizedPnl": "closedPnl",
        "Profile.balance": "accountValue",
        "Profile.availableBalance": "withdrawable",
        "Signal.price": "px",
    }
    writers: ClassVar[Mapping[str, Writer]] = {
        "Fill.id": lambda name: _number("tid", name),
        "Fill.side": lambda side: {FillSide.BUY: "B", FillSide.SELL: "A"}.get(side, side.value),
    }

    def amount(self, value: Decimal) -> str:
        """Text without zeros at the end."""
        return writing.plain_text(value)

    def time(self, value: datetime) -> int:
        """Epoch milliseconds."""
        return writing.epoch_milliseconds(value)

    def finish(self, value: msgspec.Struct, plain: Plain) -> Plain:
        """With what the exchange says besides."""
        if isinstance(value, Position):
            if value.side is PositionSide.SHORT and value.size is not None:
                # By sign only: calculating would round to the context's precision.
                plain["szi"] = self.amount(value.size.copy_negate())
            more = {"liquidationPx": None, "cumFunding": {"allTime": "0", "sinceOpen": "0"}}
            return {"type": "oneWay", "position": {**more, **plain}}
        if isinstance(value, Fill):
            return {"oid": _number("oid", value.id or ""), "crossed": True, "feeToken": "USDC", **plain}
        return plain

    def rows(self, struct: type[msgspec.Struct], items: list[Any]) -> Any:
        """A map where each coin has one."""
        return _keyed(items, "coin") if _has(struct, "symbol") and not _has(struct, "id") else items

    def candles(self, candles: Sequence[Candle], symbol: str | None) -> Any:
        """In the exchange's form; one of each coin as a map."""
        if symbol is not None:
            return candles
        written: list[Plain] = msgspec.to_builtins(candles)
        return _keyed(written, "s")

    def wrap(self, call: Call, content: Any, item: type | None) -> Any:
        """What is read comes as it is; what was done, in two wrappers."""
        if call.route.method == "GET":
            return content
        return {"status": "ok", "response": {"type": call.route.template.rpartition("/")[2], "data": content}}

    def page(self, call: Call, view: PageView) -> tuple[Any, Headers]:
        """The items and nothing else."""
        return view.items, {}

    def refusal(self, body: ErrorBody) -> Plain:
        """In the same wrappers."""
        return {"status": "err", "response": {"type": "error", "message": body.message}}


class Columns(Personality):
    """A time-series database behind a thin layer."""

    about = (
        "columns and maps: lists as maps by id or as columns, maps as lists of name and value, candles as bare arrays, "
        "newest first, epoch nanoseconds, amounts as JSON numbers, counts and links of pages in headers"
    )

    def amount(self, value: Decimal) -> msgspec.Raw:
        """A JSON number."""
        return writing.json_number(value)

    def time(self, value: datetime) -> int:
        """Epoch nanoseconds."""
        return writing.epoch_nanoseconds(value)

    def rows(self, struct: type[msgspec.Struct], items: list[Any]) -> Any:
        """A map by id where all have one; else each field's values, in the order of the list."""
        if _has(struct, "id"):
            return _keyed(items, "id")
        return {name: [item.get(name) for item in items] for name in dict.fromkeys(chain.from_iterable(items))}

    def table(self, table: dict[str, Any]) -> list[Plain]:
        """A list of names with their values."""
        return [{"name": name, "value": value} for name, value in table.items()]

    def candles(self, candles: Sequence[Candle], symbol: str | None) -> Any:
        """`[t, o, h, l, c, v]`, newest first; one of each symbol as a map."""
        rows = [[self.time(candle.open_time), *_prices(self, candle).values()] for candle in candles]
        if symbol is None:
            return {str(candle.symbol): row for candle, row in zip(candles, rows, strict=True)}
        return rows[::-1]

    def page(self, call: Call, view: PageView) -> tuple[Any, Headers]:
        """The items; the headers say the rest."""
        numbers = view.numbers
        said = [f'<{view.page_link(number)}>; rel="{name}"' for name, number in numbers.items() if number is not None]
        return view.items, {"X-Total-Count": str(view.total), "Link": ", ".join(said)}

    def refusal(self, body: ErrorBody) -> Plain:
        """A list of errors, be it one."""
        messages = [body.message] if isinstance(body.message, str) else body.message
        return {"errors": [{"status": body.status_code, "message": message} for message in messages]}


class Terse(Personality):
    """A backend that says no more than it must, in words of its own."""

    about = (
        "terse: no body for a close and for null, plain text where a word is enough, an object instead of a list of "
        "one, enumerations in capitals and with values nobody knows, synonyms (state, qty, avgPrice), epoch "
        "microseconds, pages by a cursor only"
    )
    renames: ClassVar[Mapping[str, str]] = {
        "status": "state",
        "kind": "type",
        "timestamp": "ts",
        "createdAt": "createdTime",
        "unrealizedPnl": "unrealisedPnl",
        "realizedPnl": "realisedPnl",
        "message": "msg",
        "TradingSession.id": "sessionId",
        "Trade.id": "tradeId",
        "Position.id": "positionId",
        "Position.size": "qty",
        "Position.entryPrice": "avgPrice",
        "Position.side": "direction",
        "Fill.id": "fillId",
        "Fill.size": "qty",
        "Fill.fee": "commission",
        "Transfer.id": "transferId",
    }
    walked_by = (CURSOR,)

    def time(self, value: datetime) -> int:
        """Epoch microseconds."""
        return writing.epoch_microseconds(value)

    def choice(self, value: enum.StrEnum) -> str:
        """In capitals; to have no opinion has another name here."""
        return "NEUTRAL" if isinstance(value, SignalAction) and value is SignalAction.HOLD else value.upper()

    def finish(self, value: msgspec.Struct, plain: Plain) -> Plain:
        """A trade that still has some of its positions is in a state of its own."""
        if (
            isinstance(value, Trade)
            and value.status is SessionStatus.ACTIVE
            and any(position.status is SessionStatus.CLOSED for position in value.positions or ())
        ):
            plain["state"] = "Partially_Closed"
        return plain

    def rows(self, struct: type[msgspec.Struct], items: list[Any]) -> Any:
        """One is no list."""
        return _one(items)

    def candles(self, candles: Sequence[Candle], symbol: str | None) -> Any:
        """Short names; they say whose they are only where the request did not."""
        return _one(
            [
                {
                    **({"s": candle.symbol} if symbol is None else {}),
                    "t": self.time(candle.open_time),
                    "o": candle.open_text,
                    "h": candle.high_text,
                    "l": candle.low_text,
                    "c": candle.close_text,
                    "v": candle.volume_text,
                    "n": candle.trades,
                }
                for candle in candles
            ]
        )

    def special(self, reply: object) -> Ready | None:
        """Nothing, or a word."""
        if reply is None or isinstance(reply, Closing):
            return Ready(b"", JSON)
        if isinstance(reply, CronRun):
            return Ready((reply.message or "").encode(), TEXT)
        if isinstance(reply, ServiceHealth):
            return Ready((reply.status or "").encode(), TEXT)
        return None

    def page(self, call: Call, view: PageView) -> tuple[Plain, Headers]:
        """The items, and where the next ones begin."""
        return {"items": view.items, "nextCursor": None if view.after is None else cursor(view.after)}, {}

    def refusal(self, body: ErrorBody) -> Plain:
        """What is wrong; the status says the rest."""
        return {"message": body.message}


class Dotnet(Personality):
    """ASP.NET Core with MediatR's results, and candles for a charting library."""

    about = (
        "ASP.NET: PascalCase, {Succeeded, Message, Errors, Data} around everything, in it pages as Items with "
        "PageNumber and TotalCount; amounts as JSON numbers, times with seven digits of fraction and an offset, null "
        "for what is absent; candles as columns, as TradingView's charts want them, in epoch seconds"
    )
    absent_is_null = True

    def name(self, struct: str, field: str) -> str:
        """With a capital."""
        return writing.pascal_case(field)

    def amount(self, value: Decimal) -> msgspec.Raw:
        """A JSON number."""
        return writing.json_number(value)

    def time(self, value: datetime) -> str:
        """ISO 8601 with ticks of 100 ns."""
        return writing.iso_ticks(value)

    def choice(self, value: enum.StrEnum) -> str:
        """A member's name."""
        return writing.pascal_case(value.value)

    def candles(self, candles: Sequence[Candle], symbol: str | None) -> Any:
        """Columns, as the Universal Data Feed has them; that is of one symbol, so those of all are rows."""
        if symbol is None:
            return [_long(self, candle) for candle in candles]
        prices = [_prices(self, candle) for candle in candles]
        return {
            "s": "ok" if candles else "no_data",
            "t": [writing.epoch_seconds(candle.open_time) for candle in candles],
            **{name[0]: [row[name] for row in prices] for name in ("open", "high", "low", "close", "volume")},
        }

    def wrap(self, call: Call, content: Any, item: type | None) -> Plain:
        """A result; the chart's library wants its columns as they are."""
        if item is Candle and isinstance(content, dict):
            return content
        return {"Succeeded": True, "Message": None, "Errors": [], "Data": content}

    def page(self, call: Call, view: PageView) -> tuple[Plain, Headers]:
        """A paginated list."""
        place = {
            "Items": view.items,
            "PageNumber": view.number,
            "PageSize": view.limit,
            "TotalCount": view.total,
            "TotalPages": view.pages,
            "HasPreviousPage": view.before is not None,
            "HasNextPage": view.after is not None,
        }
        return self.wrap(call, place, None), {}

    def refusal(self, body: ErrorBody) -> Plain:
        """Problem details, whose names are always written small."""
        phrase = HTTPStatus(body.status_code).phrase
        return {"type": "about:blank", "title": phrase, "status": body.status_code, "message": body.message}


class JsonApi(Personality):
    """A backend that keeps to JSON:API."""

    about = (
        "JSON:API: {data: {type, id, attributes}, links, meta, jsonapi}, kebab-case, pages by page[number] only; "
        "amounts and whole numbers as text, times without a zone and with a space instead of T, null for what is absent"
    )
    absent_is_null = True
    walked_by = (NUMBER, SIZE)

    def name(self, struct: str, field: str) -> str:
        """With hyphens."""
        return writing.kebab_case(field)

    def whole(self, value: int) -> str:
        """Text, like all numbers."""
        return str(value)

    def time(self, value: datetime) -> str:
        """As a database prints it."""
        return writing.iso_without_zone(value)

    def finish(self, value: msgspec.Struct, plain: Plain) -> Plain:
        """A resource, whose id is not among its attributes. What has none goes by another name of its own."""
        return self._resource(type(value).__name__, plain)

    def candles(self, candles: Sequence[Candle], symbol: str | None) -> list[Plain]:
        """Resources with long names."""
        return [self._resource("Candle", _long(self, candle)) for candle in candles]

    def wrap(self, call: Call, content: Any, item: type | None) -> Plain:
        """A document. Only resources may be data, so a list of words is an attribute of one."""
        if item is str:
            content = self._resource("SymbolList", {_LIST_NAMES[item]: content})
        return {"jsonapi": {"version": "1.1"}, "data": content}

    def page(self, call: Call, view: PageView) -> tuple[Plain, Headers]:
        """A document that says where other pages are."""
        links = {
            name: None if number is None else view.link({NUMBER.name: number, SIZE.name: view.limit})
            for name, number in view.numbers.items()
        }
        return {**self.wrap(call, view.items, None), "links": links, "meta": {"total": view.total}}, {}

    def refusal(self, body: ErrorBody) -> Plain:
        """A list of errors, be it one."""
        messages = [body.message] if isinstance(body.message, str) else body.message
        title = HTTPStatus(body.status_code).phrase
        errors = [{"status": str(body.status_code), "title": title, "message": message} for message in messages]
        return {"jsonapi": {"version": "1.1"}, "errors": errors}

    def _resource(self, title: str, plain: Plain) -> Plain:
        attributes = dict(plain)
        kind = writing.kebab_case(writing.camel_case(title))
        names = [text for name in _NAMES if isinstance(text := plain.get(name), str)]
        name = attributes.pop("id", None) or "/".join(names) or "current"
        return {"type": kind, "id": name, "attributes": attributes}


class GraphQL(Personality):
    """A GraphQL service behind paths, over a database that numbers its rows."""

    about = (
        "GraphQL: {data: {currentTrade: …}}, __typename, lists as edges and nodes, pages with pageInfo and by after "
        "only; ids as JSON numbers of up to 63 bits, enumerations in capitals, ISO times with an offset"
    )
    walked_by = (AFTER,)

    def time(self, value: datetime) -> str:
        """ISO 8601 with an offset, and a fraction where there is one."""
        return value.astimezone(UTC).isoformat()

    def identifier(self, value: str) -> int:
        """A number; the lines of a log follow their session's."""
        digits, _, line = value.partition("_")[2].partition("-")
        return int(digits, 16) + int(line or 0)

    def named(self, parameter: str, text: str) -> str:
        """An id from its number."""
        prefix = _PREFIXES.get(parameter)
        return text if prefix is None or not _BIGINT.fullmatch(text) else f"{prefix}_{int(text):016x}"

    def choice(self, value: enum.StrEnum) -> str:
        """In capitals."""
        return value.upper()

    def finish(self, value: msgspec.Struct, plain: Plain) -> Plain:
        """With the name of its type."""
        return {"__typename": type(value).__name__, **plain}

    def rows(self, struct: type[msgspec.Struct], items: list[Any]) -> Plain:
        """Nodes on edges."""
        return {"edges": [{"node": item} for item in items]}

    def candles(self, candles: Sequence[Candle], symbol: str | None) -> Plain:
        """Long names, as nodes."""
        return self.rows(Candle, [self.finish(candle, _long(self, candle)) for candle in candles])

    def wrap(self, call: Call, content: Any, item: type | None) -> Plain:
        """What was asked for, under its field's name."""
        return {"data": {writing.camel_case(_last_word(call)): content}}

    def page(self, call: Call, view: PageView) -> tuple[Plain, Headers]:
        """A connection."""
        edges = [
            {"cursor": cursor(view.first + place), **edge} for place, edge in enumerate(view.items["edges"], start=1)
        ]
        connection = {
            "edges": edges,
            "pageInfo": {
                "hasPreviousPage": view.before is not None,
                "hasNextPage": view.after is not None,
                "startCursor": edges[0]["cursor"] if edges else None,
                "endCursor": edges[-1]["cursor"] if edges else None,
            },
            "totalCount": view.total,
        }
        return self.wrap(call, connection, None), {}

    def refusal(self, body: ErrorBody) -> Plain:
        """A list of errors, be it one, and no data."""
        messages = [body.message] if isinstance(body.message, str) else body.message
        code = HTTPStatus(body.status_code).name
        return {"errors": [{"message": text, "extensions": {"code": code}} for text in messages], "data": None}


class Bybit(Personality):
    """A backend that took another exchange for its model."""

    about = (
        "Bybit's form: {retCode, retMsg, result, retExtInfo, time} around everything, in it lists as list; every value "
        "is text, epoch milliseconds too; words with a capital, candles as bare arrays of text, newest first, whose "
        "symbol is beside them, pages by nextPageCursor only"
    )
    renames: ClassVar[Mapping[str, str]] = {
        "createdAt": "createdTime",
        "unrealizedPnl": "unrealisedPnl",
        "realizedPnl": "realisedPnl",
        "Position.entryPrice": "avgPrice",
        "Position.margin": "positionIM",
        "Position.liquidationPrice": "liqPrice",
        "Fill.id": "execId",
        "Fill.size": "execQty",
        "Fill.price": "execPrice",
        "Fill.fee": "execFee",
        "Fill.timestamp": "execTime",
    }
    walked_by = (CURSOR,)

    def amount(self, value: Decimal) -> str:
        """Text without zeros at the end."""
        return writing.plain_text(value)

    def whole(self, value: int) -> str:
        """Text, like everything."""
        return str(value)

    def time(self, value: datetime) -> str:
        """Epoch milliseconds, as text."""
        return str(writing.epoch_milliseconds(value))

    def choice(self, value: enum.StrEnum) -> str:
        """With a capital."""
        return writing.pascal_case(value.value)

    def candles(self, candles: Sequence[Candle], symbol: str | None) -> Plain:
        """`[t, o, h, l, c, v]`, newest first, and whose they are; of each symbol one as a list with long names."""
        if symbol is None:
            return {"list": [_long(self, candle) for candle in candles]}
        rows = [[self.time(candle.open_time), *_prices(self, candle).values()] for candle in reversed(candles)]
        return {"symbol": symbol, "category": "linear", "list": rows}

    def wrap(self, call: Call, content: Any, item: type | None) -> Plain:
        """The result, after a word on how it went."""
        result = {"list": content} if isinstance(content, list) else content
        now = writing.epoch_milliseconds(call.now)
        return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": now}

    def page(self, call: Call, view: PageView) -> tuple[Plain, Headers]:
        """The list, and where the next page begins."""
        after = "" if view.after is None else cursor(view.after)
        return self.wrap(call, {"list": view.items, "nextPageCursor": after}, None), {}

    def refusal(self, body: ErrorBody) -> Plain:
        """A code that is not 0."""
        return {"retCode": 10_000 + body.status_code, "message": body.message, "result": {}, "retExtInfo": {}}


# What lists are called where they have names.
_LIST_NAMES: Mapping[Any, str] = {
    TradingSession: "sessions",
    LogEntry: "logs",
    Candle: "candles",
    Signal: "signals",
    Deposit: "transactions",
    str: "symbols",
}


def _long(personality: Personality, candle: Candle) -> Plain:
    """A candle by long names, as the personality writes names and values."""
    written = {
        "openTime": personality.time(candle.open_time),
        "closeTime": None if candle.close_time is None else personality.time(candle.close_time),
        "symbol": candle.symbol,
        "interval": candle.interval,
        **_prices(personality, candle),
        "trades": None if candle.trades is None else personality.whole(candle.trades),
    }
    return {personality.name("Candle", name): value for name, value in written.items()}


def _prices(personality: Personality, candle: Candle) -> Plain:
    """A candle's prices and volume by their long names, in the order in which arrays have them."""
    prices = {
        "open": candle.open_text,
        "high": candle.high_text,
        "low": candle.low_text,
        "close": candle.close_text,
        "volume": candle.volume_text,
    }
    return {name: None if text is None else personality.measured(Decimal(str(text))) for name, text in prices.items()}


def _last_word(call: Call) -> str:
    """The last word of a path that is always the same."""
    return next(piece for piece in reversed(call.route.template.split("/")) if not piece.startswith(":"))


def _keyed(items: list[Plain], name: str) -> Any:
    """A map of objects by one of their fields, which they then do without; a list where that is not unique."""
    keys = dict.fromkeys(str(item.get(name)) for item in items)
    if len(keys) < len(items):
        return items
    return {str(item[name]): {field: value for field, value in item.items() if field != name} for item in items}


def _has(struct: type[msgspec.Struct], field: str) -> bool:
    return field in struct.__struct_fields__


def _one(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else items


def _number(*parts: str) -> int:
    """A number that belongs to an id and has no more digits than a double holds."""
    return int.from_bytes(chance.digest(*parts, size=6), "big")
