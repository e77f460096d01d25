"""The personalities: each a backend that could be real, consistent in itself."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
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
from ..paging import CURSOR, OFFSET, cursor
from ..refusals import ErrorBody
from ..routing import JSON, Call, Ready
from . import writing
from .page_view import PageView
from .personality import Headers, Personality, Plain, Writer

TEXT = "text/plain; charset=utf-8"

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
        return [
            {
                "symbol": candle.symbol,
                "interval": candle.interval,
                "openTime": self.time(candle.open_time),
                "closeTime": None if candle.close_time is None else self.time(candle.close_time),
                **_prices(candle, str),
                "trades": None if candle.trades is None else self.whole(candle.trades),
            }
            for candle in candles
        ]

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
            "first": view.page_link(1),
            "previous": "" if view.before is None else view.page_link(view.number - 1),
            "next": "" if view.after is None else view.page_link(view.number + 1),
            "last": view.page_link(max(1, view.pages)),
        }
        return self.wrap(call, {"items": view.items, "meta": meta, "links": links}, None), {}

    def refusal(self, body: ErrorBody) -> Plain:
        """What an exception filter makes of an exception."""
        return {"success": False, "statusCode": body.status_code, "message": body.message, "data": None}


class Mongo(Personality):
    """Express with Mongoose."""

    about = (
        "Express and MongoDB: {ok, result}, _id, amounts as JSON numbers, null for what is absent, unknown fields at "
        "every depth; pages with pagination beside them; newest candles first"
    )
    renames: ClassVar[Mapping[str, str]] = {"id": "_id"}
    writers: ClassVar[Mapping[str, Writer]] = {"LogEntry.level": lambda level: _LEVELS.get(level, level)}
    absent_is_null = True

    def amount(self, value: Decimal) -> msgspec.Raw:
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
                **_prices(candle, lambda text: self.amount(Decimal(text))),
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
        "Django: snake_case, lists under their own names, pages as count/next/previous/results, also by offset; "
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
            {
                "open_time": self.time(candle.open_time),
                "close_time": None if candle.close_time is None else self.time(candle.close_time),
                "symbol": candle.symbol,
                "interval": candle.interval,
                **_prices(candle, lambda text: self.amount(Decimal(text))),
                "trade_count": candle.trades,
            }
            for candle in candles
        ]

    def wrap(self, call: Call, content: Any, item: type | None) -> Any:
        """An object is enough by itself; a list gets one around it."""
        return content if item is None else {_LIST_NAMES[item]: content, "total": len(content)}

    def page(self, call: Call, view: PageView) -> tuple[Plain, Headers]:
        """As the REST framework's LimitOffsetPagination has it."""
        return {
            "count": view.total,
            "next": None if view.after is None else view.link(limit=view.limit, offset=view.after),
            "previous": None if view.before is None else view.link(limit=view.limit, offset=view.before),
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
        rows = [
            [self.time(candle.open_time), *_prices(candle, lambda text: self.amount(Decimal(text))).values()]
            for candle in candles
        ]
        if symbol is None:
            return {str(candle.symbol): row for candle, row in zip(candles, rows, strict=True)}
        return rows[::-1]

    def page(self, call: Call, view: PageView) -> tuple[Any, Headers]:
        """The items; the headers say the rest."""
        links: dict[str, int | None] = {
            "first": 1,
            "prev": None if view.before is None else view.number - 1,
            "next": None if view.after is None else view.number + 1,
            "last": max(1, view.pages),
        }
        said = [f'<{view.page_link(number)}>; rel="{name}"' for name, number in links.items() if number is not None]
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
        "microseconds, pages with a cursor"
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


# What lists are called where they have names.
_LIST_NAMES: Mapping[Any, str] = {
    TradingSession: "sessions",
    LogEntry: "logs",
    Candle: "candles",
    Signal: "signals",
    Deposit: "transactions",
    str: "symbols",
}


def _prices(candle: Candle, write: Callable[[str], Any]) -> Plain:
    """A candle's prices and volume by their long names, in the order in which arrays have them."""
    return {
        "open": write(str(candle.open_text)),
        "high": write(str(candle.high_text)),
        "low": write(str(candle.low_text)),
        "close": write(str(candle.close_text)),
        "volume": None if candle.volume_text is None else write(str(candle.volume_text)),
    }


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
