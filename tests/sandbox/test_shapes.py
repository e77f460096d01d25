"""Every personality says what the canonical shape says, in its own way, and lets a client go on."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis.strategies import datetimes, decimals, integers, just
from openapi_spec_validator import validate

from alura_async import AsyncAlura
from alura_async.core.messages import messages_of
from alura_async.errors import ConfigurationError
from alura_async.sandbox import PERSONALITIES, Sandbox, wire
from alura_async.sandbox.refusals import DUPLICATE_ASSET
from alura_async.sandbox.routes import ROUTES
from alura_async.sandbox.shapes import answers_of, writing

from .caller import Caller, quick
from .conftest import START
from .test_routes import bodies_and_paths, to_secret

pytestmark = pytest.mark.anyio

OTHERS = [name for name in PERSONALITIES if name != "canonical"]

# A host that is always the same, as the port is not: the text to sign names it.
HOST = "sandbox.example:8787"
MOMENT = START + timedelta(milliseconds=250)


class Recorded(NamedTuple):
    """A reply as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        """The body with every digit."""
        return json.loads(self.body, parse_float=Decimal) if self.body else None


Step = tuple[str, str, Any]


class Story:
    """Calls of one user, who closes one of three positions on the way; what was answered is kept by a name."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.replies: dict[str, Recorded] = {}
        self.steps: list[tuple[str, Step | float]] = []

    async def call(self, name: str, method: str, path: str, body: Any = None) -> Any:
        self.steps.append((name, (method, path, body)))
        headers = {"Host": HOST, "Content-Type": "application/json"}
        if not name.startswith("stranger"):
            headers["Authorization"] = f"Bearer {self.caller.token}"
        data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        url = self.caller.sandbox.url + path
        async with self.caller.http.request(method, url, data=data, headers=headers) as response:
            self.replies[name] = Recorded(response.status, dict(response.headers), await response.read())
        return self.replies[name].data if response.content_type == "application/json" else None

    def wait(self, minutes: float) -> None:
        self.steps.append(("", minutes))
        self.caller.sandbox.advance(minutes=minutes)

    async def live(self, calls: Mapping[str, tuple[str, Any]]) -> Story:
        """In the canonical shape, where the next path can be told from the reply before; first some calls as given."""
        for name, (path, body) in calls.items():
            # A signature names the port by way of the text that was signed.
            if name != "POST /auth/evm/verify":
                await self.call(name, name.partition(" ")[0], path, body)
        await self.call("no trade", "GET", "/trading-sessions/current-trade")
        await self.call("no sessions", "GET", "/trading-sessions/active")
        await self.call("one session", "POST", "/trading-sessions", quick(assetIndex=2))
        self.wait(7)
        trade = await self.call("whole trade", "GET", "/trading-sessions/current-trade")
        await self.call("close", "POST", f"/trading-sessions/positions/{trade['positions'][1]['id']}/close")
        await self.call("some of a trade", "GET", "/trading-sessions/current-trade")
        await self.call("sessions", "GET", "/trading-sessions/active")
        await self.call("logs", "GET", f"/trading-sessions/{trade['sessionId']}/logs")
        await self.call("page", "GET", f"/trading-sessions/trades/{trade['id']}/logs?page=2&limit=2")
        await self.call("past the end", "GET", f"/trading-sessions/trades/{trade['id']}/logs?page=9")
        await self.call("many fills", "POST", "/user/fills/sync")
        await self.call("many candles", "GET", "/api/indicators/candles/history/kPEPE?interval=15m&limit=40")
        await self.call("one candle", "GET", "/api/indicators/candles/ETH/4h?limit=1")
        await self.call("no candles", "GET", "/api/indicators/candles/history/BTC?endTime=1000")
        target = b"0.1234567890123456789012345678901234567890"
        exact = b'{"budget":1e2,"profitTarget":%b,"lossThreshold":7e25,"assetIndex":3}' % target
        await self.call("many digits", "POST", "/trading-sessions", exact)
        for asset in range(8, 14):
            await self.call(f"session {asset}", "POST", "/trading-sessions", quick(assetIndex=asset, maxPositions=1))
            trade = await self.call(f"trade {asset}", "GET", "/trading-sessions/current-trade")
            if trade["positions"][0]["side"] == "short":
                await self.call("short trade", "GET", "/trading-sessions/current-trade")
                break
        await self.call("refused", "POST", "/trading-sessions", quick(budget=1, profitTarget=501))
        await self.call("refused duplicate", "POST", "/trading-sessions", quick(assetIndex=3))
        await self.call("refused path", "GET", "/nowhere")
        await self.call("refused symbol", "GET", "/api/indicators/candles/NONE/1h")
        await self.call("stranger refused", "GET", "/user/profile")
        return self

    async def live_again(self, steps: list[tuple[str, Step | float]], shape: str) -> Story:
        """The same calls once more, as the shape names what the paths name."""
        for name, step in steps:
            if isinstance(step, tuple):
                method, path, body = step
                await self.call(name, method, asked(shape, path), body)
            else:
                self.wait(step)
        return self


SETTINGS: Any = {"seed": 7, "start": MOMENT, "speed": 0, "limit": None}
TOLD: dict[str, Story] = {}


async def told(shape: str) -> Mapping[str, Recorded]:
    """The story in one shape, told once. Ids depend on the seed alone, so all shapes have the canonical one's calls."""
    if shape not in TOLD:
        if shape != "canonical":
            await told("canonical")
        TOLD[shape] = await tell(shape)
    return TOLD[shape].replies


async def tell(shape: str) -> Story:
    async with Sandbox(**SETTINGS) as sandbox, aiohttp.ClientSession() as http:
        caller = await Caller(sandbox, http).sign_in()
        calls = await bodies_and_paths(caller)
        if shape == "canonical" and shape not in TOLD:
            return await Story(caller).live(calls)
        sandbox.shapes = shape
        return await Story(caller).live_again(TOLD["canonical"].steps, shape)


def asked(shape: str, path: str) -> str:
    """A canonical path as a shape has it: with its own ids, and its own way through a list."""
    if shape == "graphql":
        path = re.sub(r"(?<=/)(?:ses|trd|pos|usr)_([0-9a-f]{16})", lambda found: str(int(found[1], 16)), path)
    page, limit = re.search(r"page=(\d+)", path), re.search(r"limit=(\d+)", path)
    if page is None:
        return path
    size = 20 if limit is None else int(limit[1])
    before = (int(page[1]) - 1) * size
    place = urlsafe_b64encode(f"after:{before}".encode()).decode().rstrip("=")
    query = {
        "django": f"offset={before}",
        "terse": f"cursor={place}",
        "bybit": f"cursor={place}",
        "graphql": f"after={place}",
        "jsonapi": f"page[number]={page[1]}",
    }
    return path.replace(page[0], query.get(shape, page[0]))


# An independent reading of each shape: what its conventions are, and nothing of how it is made.

ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(E[+-]?[0-9]+)?")
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")
FREE = ("data", "details")


def microseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


class Form(NamedTuple):
    """The conventions of one shape.

    Attributes:
        moment: a time's microseconds.
        names: what fields are called, where it is not their own name in camelCase.
        texts: what texts are written as, by field and canonical text.
        extras: fields that it adds.
        amount: the JSON type of amounts.
        whole: the JSON type of whole numbers.
        lists: how lists of objects may come besides as lists.
        lost: what its candles do not say.
        identifiers: whether ids are numbers.
        boxed: in which object's only field text may be an amount.
    """

    moment: Callable[[Any], int | Decimal]
    names: Mapping[str, tuple[str, ...]] = {}
    texts: Mapping[tuple[str, str], Any] = {}
    extras: frozenset[str] = frozenset()
    amount: tuple[type, ...] = (str,)
    whole: type = int
    lists: str = "list"
    lost: str = ""
    identifiers: bool = False
    boxed: str = ""


def seconds_of_text(text: str) -> int:
    """Of text such as `2024-05-01 12:30:15.250`."""
    assert re.fullmatch(r"[0-9-]{10} [0-9:]{8}\.[0-9]{3}", text)
    return microseconds(text + "+00:00")


def ticks(text: str) -> int:
    """Of text such as `2024-05-01T12:30:15.2500000+00:00`."""
    assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{7}\+00:00", text)
    return microseconds(text)


def offset_of_text(text: str) -> int:
    """Of text that names its offset."""
    assert text.endswith("+00:00")
    return microseconds(text)


def snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


SIDES = [("side", text) for text in ("long", "short", "buy", "sell")]
STATES = [("status", text) for text in ("active", "closed", "completed")]
ACTIONS = [("action", text) for text in ("buy", "sell", "hold")]
FORMS: dict[str, Form] = {
    "nest": Form(microseconds, whole=str),
    "mongo": Form(
        microseconds,
        names={"id": ("_id",)},
        texts={("level", "info"): 30},
        extras=frozenset({"__v", "shard"}),
        amount=(int, Decimal),
        lost="Tsi",
        boxed="$numberDecimal",
    ),
    "django": Form(lambda value: value * 1_000_000),
    "hyperliquid": Form(
        lambda value: value * 1000,
        names={
            "symbol": ("coin",),
            "assetIndex": ("asset",),
            "timestamp": ("time",),
            "positions": ("assetPositions",),
            "size": ("szi", "sz"),
            "entryPrice": ("entryPx",),
            "markPrice": ("markPx",),
            "exitPrice": ("exitPx",),
            "margin": ("marginUsed",),
            "realizedPnl": ("realizedPnl", "closedPnl"),
            "id": ("id", "tid"),
            "price": ("px",),
            "balance": ("accountValue",),
            "availableBalance": ("withdrawable",),
        },
        texts={("side", "buy"): "B", ("side", "sell"): "A"},
        extras=frozenset({"liquidationPx", "cumFunding", "oid", "crossed", "feeToken"}),
        lists="map",
    ),
    "columns": Form(lambda value: Decimal(value) / 1000, amount=(int, Decimal), lists="map columns", lost="Tin"),
    "terse": Form(
        lambda value: value,
        names={
            "status": ("state",),
            "kind": ("type",),
            "timestamp": ("ts",),
            "createdAt": ("createdTime",),
            "unrealizedPnl": ("unrealisedPnl",),
            "realizedPnl": ("realisedPnl",),
            "message": ("msg",),
            "id": ("id", "sessionId", "tradeId", "positionId", "fillId", "transferId"),
            "size": ("qty",),
            "entryPrice": ("avgPrice",),
            "side": ("side", "direction"),
            "fee": ("commission",),
        },
        texts={
            **{(field, text): text.upper() for field, text in [*SIDES, *STATES, ("action", "buy"), ("action", "sell")]},
            ("action", "hold"): "NEUTRAL",
        },
        lists="one",
        lost="Tsi",
    ),
    "dotnet": Form(
        ticks,
        texts={(field, text): text.capitalize() for field, text in [*SIDES, *STATES, *ACTIONS]},
        amount=(int, Decimal),
        lost="Tsin",
    ),
    "jsonapi": Form(seconds_of_text, whole=str),
    "graphql": Form(
        offset_of_text,
        texts={(field, text): text.upper() for field, text in [*SIDES, *STATES, *ACTIONS]},
        extras=frozenset({"__typename"}),
        identifiers=True,
    ),
    "bybit": Form(
        lambda value: int(value) * 1000,
        names={
            "createdAt": ("createdTime",),
            "unrealizedPnl": ("unrealisedPnl",),
            "realizedPnl": ("realisedPnl",),
            "entryPrice": ("avgPrice",),
            "margin": ("positionIM",),
            "liquidationPrice": ("liqPrice",),
            "id": ("id", "execId"),
            "size": ("size", "execQty"),
            "price": ("price", "execPrice"),
            "fee": ("execFee",),
            "timestamp": ("timestamp", "execTime"),
        },
        texts={(field, text): text.capitalize() for field, text in [*SIDES, *STATES, *ACTIONS]},
        whole=str,
        lost="Tin",
    ),
}


def agree(form: Form, expected: Any, got: Any, field: str = "") -> None:
    """What the canonical shape says is all there, and nothing else but what the shape is known to add."""
    where = (field, expected, got)
    if field in FREE:
        assert got == expected, where
    elif isinstance(expected, dict):
        agree_object(form, expected, got)
    elif isinstance(expected, list):
        rows = rows_of(form, expected, got)
        assert len(rows) == len(expected), where
        for inner, row in zip(expected, rows, strict=True):
            agree(form, inner, row)
    elif expected is None or isinstance(expected, bool):
        assert got is expected, where
    elif form.identifiers and (found := re.fullmatch(r"[a-z]{3}_([0-9a-f]{16})-?(\d*)", str(expected))):
        assert type(got) is int, where
        assert got == int(found[1], 16) + int(found[2] or 0) < 2**63, where
    elif isinstance(expected, int):
        assert int(got) == expected, where
        assert type(got) is form.whole, where
    elif form.boxed and isinstance(got, dict):
        assert {form.boxed: str(got[form.boxed])} == got, where
        assert Decimal(got[form.boxed]) == Decimal(expected), where
    elif isinstance(expected, Decimal) or NUMBER.fullmatch(expected):
        assert type(got) in form.amount, where
        assert Decimal(got) == Decimal(expected), where
    elif ISO.fullmatch(expected):
        assert form.moment(got) == microseconds(expected), where
    elif form.names.get("id", ())[-1:] == ("tid",) and expected.startswith("fil_"):
        assert type(got) is int, where
    else:
        assert got == form.texts.get((field, expected), expected), where


def agree_object(form: Form, expected: dict[str, Any], got: Any) -> None:
    if isinstance(got, list):
        got = {item["name"]: item["value"] for item in got if item.keys() == {"name", "value"}}
    if got.get("type") == "oneWay":
        assert got.keys() == {"type", "position"}
        got = got["position"]
    if got.keys() == {"type", "id", "attributes"}:
        assert re.fullmatch("[a-z]+(-[a-z]+)*", got["type"])
        assert got["id"]
        got = got["attributes"] | ({"id": got["id"]} if "id" in expected else {})
    rest = dict(got)
    for field, value in expected.items():
        names = form.names.get(
            field, (field, snake(field), snake(field).replace("_", "-"), field[0].upper() + field[1:])
        )
        (name,) = {name for name in names if name in rest and (name == field or name not in expected)}
        found = rest.pop(name)
        if name == "szi":
            assert found.startswith("-") == (expected["side"] == "short")
            found = found.removeprefix("-")
        if name == "state" and found == "Partially_Closed":
            assert {position["status"] for position in expected["positions"]} == {"active", "closed"}
            found = "ACTIVE"
        agree(form, value, found, field)
    assert all(value is None or name in form.extras for name, value in rest.items()), rest


def rows_of(form: Form, expected: list[Any], got: Any) -> list[Any]:
    """A list, whatever it came as."""
    if isinstance(got, list):
        return got
    if got.keys() == {"edges"}:
        assert all(edge.keys() == {"node"} for edge in got["edges"])
        return [edge["node"] for edge in got["edges"]]
    if "one" in form.lists and len(expected) == 1:
        return [got]
    key = "id" if not expected or "id" in expected[0] else "symbol"
    if "columns" in form.lists and all(isinstance(value, list) for value in got.values()):
        return [
            {name: value for name, value in zip(got, row, strict=True) if value is not None}
            for row in zip(*got.values(), strict=True)
        ]
    assert "map" in form.lists, got
    assert list(got) == [item[key] for item in expected]
    return [{form.names.get(key, (key,))[0]: name, **item} for name, item in got.items()]


def content(shape: str, method: str, expected: Any, reply: Recorded) -> Any:
    """What a reply says, without what is around it."""
    data = reply.data
    match shape:
        case "nest":
            assert data.keys() == {"success", "data", "timestamp"}
            assert data["success"] is True
            return data["data"]
        case "mongo":
            assert data.keys() - {"pagination"} == {"ok", "result"}
            return data["result"]
        case "django" if isinstance(expected, list):
            (name,) = data.keys() - {"total"}
            assert data["total"] == len(data[name])
            return data[name]
        case "hyperliquid" if method == "POST":
            assert data["status"] == "ok"
            assert data["response"].keys() == {"type", "data"}
            return data["response"]["data"]
        case "dotnet" if data is not None and "Data" in data:
            assert data.keys() == {"Succeeded", "Message", "Errors", "Data"}
            assert data["Succeeded"] is True
            return data["Data"]
        case "jsonapi":
            assert data.keys() == {"jsonapi", "data"}
            if isinstance(expected, list) and expected and isinstance(expected[0], str):
                return data["data"]["attributes"]["symbols"]
            return data["data"]
        case "graphql":
            assert data.keys() == {"data"}
            (answer,) = data["data"].values()
            return answer
        case "bybit":
            assert data.keys() == {"retCode", "retMsg", "result", "retExtInfo", "time"}
            assert (data["retCode"], data["retMsg"]) == (0, "OK")
            return data["result"]["list"] if isinstance(expected, list) else data["result"]
    return data


def page(shape: str, reply: Recorded) -> tuple[Any, dict[str, int]]:
    """The items of a page, and what is said of it in the words of the canonical one."""
    data, said = reply.data, {}
    match shape:
        case "nest":
            meta = data["data"]["meta"]
            said = {"total": meta["totalItems"], "page": meta["currentPage"], "limit": meta["itemsPerPage"]}
            return data["data"]["items"], said
        case "mongo":
            said = {name: data["pagination"][name] for name in ("total", "page", "limit")}
            return data["result"], said
        case "django":
            return data["results"], {"total": data["count"]}
        case "columns":
            return data, {"total": int(reply.headers["X-Total-Count"])}
        case "terse":
            return data["items"], {}
        case "dotnet":
            place = data["Data"]
            said = {"total": place["TotalCount"], "page": place["PageNumber"], "limit": place["PageSize"]}
            return place["Items"], said
        case "jsonapi":
            return data["data"], {"total": data["meta"]["total"]}
        case "graphql":
            (connection,) = data["data"].values()
            return [edge["node"] for edge in connection["edges"]], {"total": connection["totalCount"]}
        case "bybit":
            return data["result"]["list"], {}
    return data, said


LONG = ("open", "high", "low", "close", "volume")


def candles(shape: str, rows: Any, *, of_one: bool) -> list[dict[str, Any]]:
    """Candles oldest first, in Hyperliquid's names, times in microseconds."""
    form = FORMS[shape]
    match shape:
        case "nest" | "mongo" | "django":
            names = dict(zip("ohlcv", LONG, strict=True)) | {"s": "symbol", "i": "interval"}
            names |= {"n": "trade_count" if shape == "django" else "trades"}
            times = {
                "nest": ("openTime", "closeTime"),
                "mongo": ("timestamp", "-"),
                "django": ("open_time", "close_time"),
            }[shape]
            found = [
                {short: row[name] for short, name in names.items() if name in row}
                | {short: form.moment(row[name]) for short, name in zip("tT", times, strict=True) if name in row}
                for row in rows
            ]
            return found[::-1] if shape == "mongo" and of_one else found
        case "hyperliquid":
            named = rows if of_one else [{"s": coin, **row} for coin, row in rows.items()]
            return [row | {name: form.moment(row[name]) for name in "tT"} for row in named]
        case "dotnet" if of_one:
            assert rows.pop("s") == ("ok" if rows["t"] else "no_data")
            assert set(rows) == set("tohlcv")
            columns = zip(*rows.values(), strict=True)
            return [{**dict(zip(rows, row, strict=True)), "t": row[0] * 1_000_000} for row in columns]
        case "bybit" if of_one:
            found = [dict(zip("tohlcv", row, strict=True)) for row in rows[::-1]]
        case "dotnet" | "jsonapi" | "graphql" | "bybit":
            return [long_named(form, row) for row in rows_of(form, [{}] * len(rows), rows)]
        case "columns":
            arrays = [[None, *row] for row in rows[::-1]] if of_one else [[name, *row] for name, row in rows.items()]
            found = [dict(zip("stohlcv", row, strict=True)) for row in arrays]
        case _:
            found = [rows] if isinstance(rows, dict) else rows
    return [
        {name: value for name, value in row.items() if value is not None} | {"t": form.moment(row["t"])}
        for row in found
    ]


def long_named(form: Form, row: dict[str, Any]) -> dict[str, Any]:
    """One candle with long names, however they are written."""
    row = row.get("attributes", row)
    named = {name.replace("-", "").casefold(): value for name, value in row.items()}
    named.pop("__typename", None)
    short = dict(zip(("opentime", "closetime", "symbol", "interval", "trades"), "tTsin", strict=True))
    short |= {name: name[0] for name in LONG}
    candle = {short[name]: value for name, value in named.items()}
    return candle | {name: form.moment(candle[name]) for name in "tT"}


def agree_candles(shape: str, expected: list[Any], got: Any, *, of_one: bool) -> None:
    found = candles(shape, got, of_one=of_one)
    assert len(found) == len(expected)
    for wanted, candle in zip(expected, found, strict=True):
        lost = set(FORMS[shape].lost) - ({"s"} if not of_one else set())
        if shape in ("columns", "bybit") and of_one:
            lost |= {"s"}
        if shape in ("dotnet", "bybit") and not of_one:
            lost = set()
        assert set(wanted) - set(candle) == lost
        for name, value in candle.items():
            if name in "tT":
                assert value == wanted[name] * 1000
            elif name in "si":
                assert value == wanted[name]
            else:
                assert type(value) in (FORMS[shape].amount if name != "n" else (FORMS[shape].whole,))
                assert Decimal(value) == Decimal(wanted[name])


def without_body(expected: Any) -> bool:
    return expected is None or (isinstance(expected, dict) and "closedPositions" in expected)


@pytest.mark.parametrize("shape", OTHERS)
async def test_a_shape_says_all_that_the_canonical_one_says_and_nothing_else(shape: str) -> None:
    replies, form = await told(shape), FORMS[shape]
    for name, step in TOLD["canonical"].steps:
        if not isinstance(step, tuple):
            continue
        method, path, _ = step
        canonical, reply = (await told("canonical"))[name], replies[name]
        assert reply.status == canonical.status, name
        assert (reply.status >= 400) == ("refused" in name), name
        expected = canonical.data
        if reply.status >= 400:
            assert messages_of(reply.body) == messages_of(canonical.body), name
        elif path == "/auth/evm/challenge":
            assert reply.body == canonical.body
        elif shape == "terse" and without_body(expected):
            assert reply.body == b""
        elif shape == "terse" and reply.headers["Content-Type"].startswith("text/plain"):
            assert reply.body.decode() == (expected["message"] if method == "POST" else expected["status"])
        elif isinstance(expected, dict) and expected.keys() == {"data", "total", "page", "limit"}:
            items, said = page(shape, reply)
            agree(form, expected["data"], items)
            assert said == {field: expected[field] for field in said}
        elif "/candles/" in path and not path.endswith("symbols"):
            of_one = "latest" not in path
            agree_candles(shape, expected, content(shape, method, expected, reply), of_one=of_one)
        else:
            agree(form, expected, content(shape, method, expected, reply))


@given(amount=decimals(allow_nan=False, allow_infinity=False), coarse=integers(1, 5))
def test_every_way_to_write_an_amount_keeps_every_digit(amount: Decimal, coarse: int) -> None:
    with localcontext(prec=coarse):
        texts = [writing.plain_text(amount), writing.exponent_text(amount), bytes(writing.json_number(amount)).decode()]
    assert [Decimal(text) for text in texts] == [amount] * 3
    assert "E" not in texts[0]
    assert Decimal(json.loads(texts[2], parse_float=Decimal)) == amount


@given(datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=just(UTC)))
def test_every_way_to_write_a_time_keeps_its_milliseconds(moment: datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    exact = (moment - EPOCH) // timedelta(milliseconds=1)
    assert microseconds(writing.iso(moment)) == exact * 1000
    assert Decimal(bytes(writing.epoch_seconds(moment)).decode()) * 1000 == exact
    assert writing.epoch_milliseconds(moment) == exact
    assert writing.epoch_microseconds(moment) == exact * 1000
    assert writing.epoch_nanoseconds(moment) == exact * 1_000_000


ISO_VALUE = re.compile(rb'":"2024-05-01T[0-9:.]+Z"')
MECHANISMS: dict[str, tuple[str, str, Callable[[Recorded], object]]] = {
    "bare object": ("columns", "one session", lambda r: "id" in r.data),
    "bare list": ("hyperliquid", "sessions", lambda r: isinstance(r.data, list)),
    "wrapped in data": ("nest", "sessions", lambda r: isinstance(r.data["data"], list)),
    "wrapped in success": ("nest", "sessions", lambda r: r.data["success"] is True),
    "wrapped in result": ("mongo", "sessions", lambda r: isinstance(r.data["result"], list)),
    "wrapped in ok": ("mongo", "sessions", lambda r: r.data["ok"] is True),
    "wrapped in response": ("hyperliquid", "one session", lambda r: r.data["response"]["data"]["id"]),
    "wrapped in items": ("terse", "page", lambda r: isinstance(r.data["items"], list)),
    "wrapped in sessions": ("django", "sessions", lambda r: isinstance(r.data["sessions"], list)),
    "wrapped twice": ("nest", "page", lambda r: isinstance(r.data["data"]["items"], list)),
    "items wrapped one by one": ("hyperliquid", "whole trade", lambda r: r.data["assetPositions"][0]["position"]),
    "list as a map by id": ("columns", "sessions", lambda r: all(key.startswith("ses_") for key in r.data)),
    "list inside as a map by id": ("columns", "whole trade", lambda r: isinstance(r.data["positions"], dict)),
    "list as a map by symbol": (
        "hyperliquid",
        "GET /api/indicators/signals/all/:interval",
        lambda r: r.data["BTC"]["interval"] == "1h",
    ),
    "map as a list": (
        "columns",
        "GET /api/indicators/signals/:symbol/:interval",
        lambda r: r.data["indicators"][0][0]["name"] == "ema12",
    ),
    "object instead of a list": (
        "terse",
        "GET /api/indicators/signals/:symbol/:interval",
        lambda r: r.data["symbol"] == "BTC",
    ),
    "columns instead of rows": (
        "columns",
        "GET /api/leaderboard/rankings",
        lambda r: r.data["rank"] == list(range(1, 21)),
    ),
    "camelCase": ("nest", "one session", lambda r: "assetIndex" in r.data["data"]),
    "snake_case": ("django", "one session", lambda r: "asset_index" in r.data),
    "_id": ("mongo", "one session", lambda r: r.data["result"]["_id"].startswith("ses_")),
    "synonyms": ("terse", "many fills", lambda r: r.data["fills"][0].keys() >= {"qty", "commission", "ts"}),
    "synonyms of id": ("terse", "one session", lambda r: r.data["sessionId"].startswith("ses_")),
    "Hyperliquid's fills": (
        "hyperliquid",
        "many fills",
        lambda r: (
            r.data["response"]["data"]["fills"][0].keys() >= {"coin", "px", "sz", "closedPnl", "tid", "oid", "time"}
        ),
    ),
    "Hyperliquid's positions": (
        "hyperliquid",
        "whole trade",
        lambda r: (
            r.data["assetPositions"][0]["position"].keys()
            >= {"coin", "szi", "entryPx", "unrealizedPnl", "liquidationPx", "marginUsed"}
        ),
    ),
    "negative size of a short": (
        "hyperliquid",
        "whole trade",
        lambda r: (
            (r.data["assetPositions"][0]["position"]["szi"] < "0")
            == (r.data["assetPositions"][0]["position"]["side"] == "short")
        ),
    ),
    "amounts as text": ("nest", "one session", lambda r: r.data["data"]["budget"] == "100"),
    "amounts as JSON numbers": ("dotnet", "one session", lambda r: r.data["Data"]["Budget"] == 100),
    "amounts in objects": (
        "mongo",
        "one session",
        lambda r: r.data["result"]["budget"] == {"$numberDecimal": "100"},
    ),
    "more digits than a double": (
        "columns",
        "many digits",
        lambda r: b"0.123456789012345678901234567890123456789" in r.body,
    ),
    "amounts with exponents": ("django", "one session", lambda r: r.data["budget"] == "1E+2"),
    "whole numbers as text": ("nest", "one session", lambda r: r.data["data"]["assetIndex"] == "2"),
    "text as a number": ("mongo", "logs", lambda r: r.data["result"][0]["level"] == 30),
    "ids as numbers": ("hyperliquid", "many fills", lambda r: r.data["response"]["data"]["fills"][0]["tid"] < 2**48),
    "times as ISO text": ("nest", "one session", lambda r: ISO_VALUE.search(r.body)),
    "times as seconds": ("django", "one session", lambda r: r.data["created_at"] == Decimal("1714566615.25")),
    "times as milliseconds": ("hyperliquid", "sessions", lambda r: r.data[0]["createdAt"] == 1714566615250),
    "times as microseconds": ("terse", "one session", lambda r: r.data["createdTime"] == 1714566615250000),
    "times as nanoseconds": ("columns", "one session", lambda r: r.data["createdAt"] == 1714566615250000000),
    "null for absent": ("mongo", "one session", lambda r: r.data["result"]["closedAt"] is None),
    "absent": ("nest", "one session", lambda r: "closedAt" not in r.data["data"]),
    "null instead of an object": ("columns", "no trade", lambda r: r.body == b"null"),
    "wrapped null": ("nest", "no trade", lambda r: r.data["data"] is None),
    "empty body instead of an object": ("terse", "close", lambda r: r.status == 201 and r.body == b""),
    "empty body instead of null": ("terse", "no trade", lambda r: r.status == 200 and r.body == b""),
    "plain text": ("terse", "GET /health", lambda r: r.headers["Content-Type"].startswith("text/") and r.body == b"ok"),
    "unknown value of an enumeration": ("terse", "some of a trade", lambda r: r.data["state"] == "Partially_Closed"),
    "another case of an enumeration": ("terse", "one session", lambda r: r.data["state"] == "ACTIVE"),
    "another word of an enumeration": (
        "hyperliquid",
        "many fills",
        lambda r: {fill["side"] for fill in r.data["response"]["data"]["fills"]} <= {"A", "B"},
    ),
    "unknown fields": ("mongo", "whole trade", lambda r: r.data["result"]["__v"] == 0),
    "unknown fields inside": (
        "mongo",
        "whole trade",
        lambda r: r.data["result"]["positions"][0]["shard"]["tags"] == [],
    ),
    "Hyperliquid's candles": (
        "hyperliquid",
        "many candles",
        lambda r: set(r.data[0]) == set("tTsiohlcvn") and isinstance(r.data[0]["o"], str),
    ),
    "short-named candles without a symbol": ("terse", "many candles", lambda r: set(r.data[0]) == set("tohlcvn")),
    "long-named candles": (
        "nest",
        "many candles",
        lambda r: r.data["data"][0].keys() >= {"openTime", "open", "symbol"},
    ),
    "long-named candles without a symbol": (
        "mongo",
        "many candles",
        lambda r: r.data["result"][0].keys() >= {"timestamp", "open"} and "symbol" not in r.data["result"][0],
    ),
    "bare arrays as candles": ("columns", "many candles", lambda r: len(r.data[0]) == 6),
    "candles by symbol": (
        "hyperliquid",
        "GET /api/indicators/candles/latest",
        lambda r: r.data["BTC"]["i"] == "1m" and "s" not in r.data["BTC"],
    ),
    "ascending candles": ("hyperliquid", "many candles", lambda r: r.data[0]["t"] < r.data[-1]["t"]),
    "descending candles": ("columns", "many candles", lambda r: r.data[0][0] > r.data[-1][0]),
    "one candle instead of a list": ("terse", "one candle", lambda r: set(r.data) == set("tohlcvn")),
    "no candles": ("django", "no candles", lambda r: r.data == {"candles": [], "total": 0}),
    "pages with meta": ("nest", "page", lambda r: r.data["data"]["meta"]["itemsPerPage"] == 2),
    "pages with links": ("nest", "page", lambda r: r.data["data"]["links"]["next"].endswith("/logs?page=3&limit=2")),
    "pages with pagination": ("mongo", "page", lambda r: r.data["pagination"]["total"] > 4),
    "pages with a total": ("django", "page", lambda r: r.data["count"] > 4 and len(r.data["results"]) == 2),
    "pages with next and previous": ("django", "page", lambda r: "offset=4" in r.data["next"] and r.data["previous"]),
    "pages with counts in headers": ("columns", "page", lambda r: int(r.headers["X-Total-Count"]) > 4),
    "pages with links in headers": ("columns", "page", lambda r: 'rel="next"' in r.headers["Link"]),
    "pages with a cursor": ("terse", "page", lambda r: r.data["nextCursor"]),
    "pages without anything": ("hyperliquid", "page", lambda r: isinstance(r.data, list) and len(r.data) == 2),
    "PascalCase": ("dotnet", "one session", lambda r: "AssetIndex" in r.data["Data"]),
    "kebab-case": ("jsonapi", "one session", lambda r: "asset-index" in r.data["data"]["attributes"]),
    "wrapped in Data": ("dotnet", "sessions", lambda r: r.data["Succeeded"] and isinstance(r.data["Data"], list)),
    "wrapped in list": ("bybit", "sessions", lambda r: isinstance(r.data["result"]["list"], list)),
    "wrapped in a name of its own": ("graphql", "whole trade", lambda r: r.data["data"]["currentTrade"]["id"]),
    "wrapped null in a name of its own": ("graphql", "no trade", lambda r: r.data == {"data": {"currentTrade": None}}),
    "fields in attributes": ("jsonapi", "sessions", lambda r: r.data["data"][0]["attributes"]["status"] == "active"),
    "fields inside in attributes": (
        "jsonapi",
        "whole trade",
        lambda r: r.data["data"]["attributes"]["positions"][0]["attributes"]["side"],
    ),
    "nodes on edges": ("graphql", "sessions", lambda r: r.data["data"]["active"]["edges"][0]["node"]["id"]),
    "nodes on edges inside": (
        "graphql",
        "whole trade",
        lambda r: len(r.data["data"]["currentTrade"]["positions"]["edges"]) == 3,
    ),
    "all ids as numbers": ("graphql", "one session", lambda r: 2**53 < r.data["data"]["tradingSessions"]["id"] < 2**63),
    "times as ISO text with an offset": (
        "graphql",
        "sessions",
        lambda r: b"2024-05-01T12:30:15.250000+00:00" in r.body,
    ),
    "times as ISO text with seven digits": ("dotnet", "sessions", lambda r: b"2024-05-01T12:30:15.2500000+" in r.body),
    "times as ISO text without a zone": ("jsonapi", "sessions", lambda r: b'"2024-05-01 12:30:15.250"' in r.body),
    "times as epoch text": ("bybit", "one session", lambda r: r.data["result"]["createdTime"] == "1714566615250"),
    "enumeration with a capital": ("dotnet", "one session", lambda r: r.data["Data"]["Status"] == "Active"),
    "candles as columns": (
        "dotnet",
        "many candles",
        lambda r: set(r.data) == set("stohlcv") and len(r.data["t"]) == len(r.data["o"]) == 40,
    ),
    "no candles as columns": ("dotnet", "no candles", lambda r: (r.data["s"], r.data["t"]) == ("no_data", [])),
    "bare arrays of text as candles": (
        "bybit",
        "many candles",
        lambda r: r.data["result"]["list"][0][0].isdigit() and r.data["result"]["symbol"] == "kPEPE",
    ),
    "pages with a place": (
        "dotnet",
        "page",
        lambda r: (r.data["Data"]["PageNumber"], r.data["Data"]["PageSize"]) == (2, 2),
    ),
    "pages with links beside data": ("jsonapi", "page", lambda r: "page%5Bnumber%5D=3" in r.data["links"]["next"]),
    "pages with pageInfo": ("graphql", "page", lambda r: r.data["data"]["logs"]["pageInfo"]["hasNextPage"] is True),
    "pages with a cursor that ends as empty text": (
        "bybit",
        "past the end",
        lambda r: r.data["result"] == {"list": [], "nextPageCursor": ""},
    ),
    "error with a list of messages": ("nest", "refused", lambda r: len(r.data["message"]) == 2),
    "error in a wrapper": ("mongo", "refused", lambda r: r.data["error"]["code"] == "BAD_REQUEST"),
    "error as a list of errors": ("columns", "refused", lambda r: len(r.data["errors"]) == 2),
}


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_each_thing_a_decoder_must_cope_with_occurs(mechanism: str) -> None:
    shape, name, occurs = MECHANISMS[mechanism]
    reply = (await told(shape))[name]
    assert occurs(reply), reply.body[:500]


def test_every_shape_has_something_of_its_own() -> None:
    assert {shape for shape, _, _ in MECHANISMS.values()} == set(OTHERS) == set(FORMS)
    assert len(PERSONALITIES) >= 11
    assert all(about and "\n" not in about for about in PERSONALITIES.values())


@pytest.mark.parametrize("shape", PERSONALITIES)
async def test_a_whole_session_can_be_lived_in_a_shape(shape: str) -> None:
    async with Sandbox(**SETTINGS, shapes=shape) as sandbox, aiohttp.ClientSession() as http:
        caller = Caller(sandbox, http)
        challenge = (await caller.call("POST", "/auth/evm/challenge", {"address": caller.address})).data
        assert challenge.keys() == {"address", "nonce", "message"}
        signed = (await caller.verify(caller.sign(challenge["message"]))).data
        assert (signed["ok"], signed["tokenType"], signed["expiresIn"]) == (True, "Bearer", 86400)
        caller.token = signed["accessToken"]

        async def ids(kind: str, method: str, path: str, body: Any = None) -> list[str]:
            """The ids of a kind in a reply, wherever they are."""
            headers = {"Authorization": f"Bearer {caller.token}", "Content-Type": "application/json"}
            data = None if body is None else msgspec.json.encode(body)
            async with http.request(method, sandbox.url + path, data=data, headers=headers) as response:
                text = await response.text()
                assert response.status == (201 if method == "POST" else 200), text
                found = re.findall(rf'"({kind}_[0-9a-f]+)"', text)
                if shape == "graphql":
                    name = {"ses": "TradingSession", "trd": "Trade", "pos": "Position"}[kind]
                    found = re.findall(rf'{{"__typename":"{name}","id":(\d+)', text)
                    found += re.findall(rf'"{name.replace("Trading", "").lower()}Id":(\d+)', text)
                return list(dict.fromkeys(found))

        (session,) = await ids("ses", "POST", "/trading-sessions", quick())
        assert await ids("ses", "GET", "/trading-sessions/active") == [session]
        positions = await ids("pos", "GET", "/trading-sessions/current-trade")
        (trade,) = await ids("trd", "GET", "/trading-sessions/current-trade")
        assert len(positions) == 3
        assert session in await ids("ses", "GET", f"/trading-sessions/{session}/logs")
        assert session in await ids("ses", "GET", f"/trading-sessions/trades/{trade}/logs?limit=1")
        await ids("pos", "POST", f"/trading-sessions/positions/{positions[0]}/close")
        await ids("trd", "POST", f"/trading-sessions/trades/{trade}/close")
        assert await ids("ses", "GET", "/trading-sessions/active") == []
        assert await ids("pos", "GET", "/trading-sessions/current-trade") == []
        kinds = [entry.kind for entry in sandbox.ledger]
        assert kinds[-3:] == ["session_created", "position_closed", "trade_closed"]


@pytest.mark.parametrize("shape", OTHERS)
async def test_the_client_signs_in_whatever_the_shape(shape: str) -> None:
    async with Sandbox(**SETTINGS, shapes=shape) as sandbox:
        async with AsyncAlura(sandbox.wallet(), base_url=sandbox.url) as alura:
            await alura.auth.login()
        assert [entry.kind for entry in sandbox.ledger] == ["account_opened", "signed_in"]


RANKINGS = "/api/leaderboard/rankings"


async def following(shape: str, caller: Caller) -> list[Any]:
    """All pages of the rankings, each found by what the one before says of the next."""
    batches: list[Any] = []
    path: str | None = f"{RANKINGS}?limit=90"
    while path is not None:
        reply = await caller.call("GET", path)
        recorded = Recorded(reply.status, reply.headers, reply.body)
        assert recorded.status == 200
        items, _ = page(shape, recorded)
        batches.append(items)
        data = recorded.data
        match shape:
            case "nest":
                path = data["data"]["links"]["next"] or None
            case "mongo":
                number = data["pagination"]["page"]
                path = f"{RANKINGS}?limit=90&page={number + 1}" if data["pagination"]["hasNext"] else None
            case "django":
                path = data["next"]
            case "columns":
                links = {rel: link for link, rel in re.findall(r'<([^>]*)>; rel="([a-z]+)"', reply.headers["Link"])}
                path = links.get("next")
            case "terse":
                path = f"{RANKINGS}?limit=90&cursor={data['nextCursor']}" if data["nextCursor"] else None
            case "dotnet":
                number = data["Data"]["PageNumber"]
                path = f"{RANKINGS}?limit=90&page={number + 1}" if data["Data"]["HasNextPage"] else None
            case "jsonapi":
                path = data["links"]["next"]
            case "graphql":
                info = data["data"]["rankings"]["pageInfo"]
                path = f"{RANKINGS}?limit=90&after={info['endCursor']}" if info["hasNextPage"] else None
            case "bybit":
                after = data["result"]["nextPageCursor"]
                path = f"{RANKINGS}?limit=90&cursor={after}" if after else None
            case _:
                path = f"{RANKINGS}?limit=90&page={len(batches) + 1}" if items else None
    return [batch for batch in batches if batch]


@pytest.mark.parametrize("shape", OTHERS)
async def test_pages_can_be_followed_to_the_end_in_a_shapes_own_way(
    shape: str, sandbox: Sandbox, caller: Caller
) -> None:
    pages = [(await caller.get(f"{RANKINGS}?limit=90&page={number}"))["data"] for number in (1, 2, 3)]
    sandbox.shapes = shape
    found = await following(shape, caller)
    assert len(found) == len(pages) == 3
    for expected, got in zip(pages, found, strict=True):
        agree(FORMS[shape], expected, got)


async def test_additional_ways_through_a_list_are_checked_as_page_and_limit_are(
    sandbox: Sandbox, caller: Caller
) -> None:
    sandbox.shapes = "terse"
    for text in ("x", "%C3%A9", "YWZ0ZXI6LTE", "YWZ0ZXI6"):
        reply = await caller.call("GET", f"{RANKINGS}?cursor={text}")
        assert (reply.status, reply.data) == (400, {"message": ["cursor is not valid"]}), text
    sandbox.shapes = "django"
    reply = await caller.call("GET", f"{RANKINGS}?offset=-1")
    assert (reply.status, reply.data["message"]) == (400, ["offset must not be less than 0"])
    third = (await caller.get(f"{RANKINGS}?offset=2&limit=1"))["results"]
    assert third[0]["rank"] == 3
    sandbox.shapes = "jsonapi"
    reply = await caller.call("GET", f"{RANKINGS}?page[number]=0&page[size]=101")
    assert [error["message"] for error in reply.data["errors"]] == [
        "page[number] must not be less than 1",
        "page[size] must not be greater than 100",
    ]
    third = (await caller.get(f"{RANKINGS}?page[number]=3&page[size]=1"))["data"]
    assert third[0]["attributes"]["rank"] == "3"
    sandbox.shapes = "graphql"
    reply = await caller.call("GET", f"{RANKINGS}?after=x")
    assert (reply.status, reply.data["errors"][0]["message"]) == (400, "after is not valid")
    sandbox.shapes = "canonical"
    assert (await caller.get(f"{RANKINGS}?offset=2&limit=1&cursor=x"))["data"][0]["rank"] == 1


@pytest.mark.parametrize("shape", PERSONALITIES)
async def test_a_page_is_asked_for_by_its_number_only_where_a_shape_has_no_other_way(
    shape: str, sandbox: Sandbox, caller: Caller
) -> None:
    sandbox.shapes = shape
    first = await caller.call("GET", f"{RANKINGS}?limit=2")
    second = await caller.call("GET", f"{RANKINGS}?limit=2&page=2")
    assert (second.data == first.data) == (shape in ("django", "terse", "jsonapi", "graphql", "bybit"))


async def test_an_id_that_is_a_number_is_one_in_paths_too(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.shapes = "graphql"
    me = (await caller.get("/user/profile"))["data"]["profile"]["id"]
    assert (await caller.get(f"/referrals/{me}"))["data"]["referrals"]["userId"] == me
    for nobody in ("0", "x", "9" * 19, "9" * 30, "-1", "1.0", str(me) + "0"):
        reply = await caller.call("GET", f"/api/leaderboard/user/{nobody}")
        assert reply.status == 404, nobody


@pytest.mark.parametrize("shape", PERSONALITIES)
async def test_a_refusal_keeps_status_and_message_in_every_shape(shape: str) -> None:
    replies = await told(shape)
    assert messages_of(replies["refused duplicate"].body) == (DUPLICATE_ASSET,)
    assert replies["refused duplicate"].status == 400
    assert messages_of(replies["refused"].body) == (
        "budget must not be less than 10",
        "profitTarget must not be greater than 500",
    )
    assert messages_of(replies["refused path"].body) == ("Cannot GET /nowhere",)
    assert replies["refused path"].status == 404
    assert messages_of(replies["stranger refused"].body) == ("Unauthorized",)
    assert replies["stranger refused"].status == 401
    assert all(b'"message":' in reply.body for name, reply in replies.items() if "refused" in name)


async def test_a_throttled_call_keeps_its_headers_in_every_shape(http: aiohttp.ClientSession) -> None:
    async with Sandbox(**{**SETTINGS, "limit": 1, "window": 60.0}, shapes="mongo") as sandbox:
        stranger = Caller(sandbox, http)
        await stranger.get("/health")
        reply = await stranger.call("GET", "/health")
    assert reply.status == 429
    assert int(reply.headers["Retry-After"]) > 0
    assert reply.data["error"]["code"] == "TOO_MANY_REQUESTS"


@pytest.mark.parametrize("shape", PERSONALITIES)
async def test_the_same_calls_give_the_same_bytes_again(shape: str) -> None:
    assert (await tell(shape)).replies == await told(shape)


async def test_the_canonical_shape_is_the_types_own_encoding(sandbox: Sandbox, caller: Caller) -> None:
    assert answers_of("canonical", ROUTES).routes is ROUTES
    assert sandbox.shapes == "canonical"
    types = {route.name: route.returns for route in ROUTES}
    replies = await told("canonical")
    for name, returns in types.items():
        if name in replies:
            value = msgspec.json.decode(replies[name].body, type=returns, dec_hook=to_secret)
            assert wire.encode(value) == replies[name].body, name
    before = (await caller.call("GET", "/user/profile")).body
    sandbox.shapes = "mongo"
    assert (await caller.call("GET", "/user/profile")).body != before
    await asyncio.to_thread(setattr, sandbox, "shapes", "canonical")
    assert (await caller.call("GET", "/user/profile")).body == before


async def test_a_shape_nobody_knows_is_refused_with_those_there_are(sandbox: Sandbox) -> None:
    names = "canonical, nest, mongo, django, hyperliquid, columns, terse, dotnet, jsonapi, graphql, bybit"
    for wrong in ("Nest", "", "help", None, ["nest"]):
        with pytest.raises(ConfigurationError, match=names if isinstance(wrong, str) else "give str"):
            Sandbox(shapes=wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=names):
            sandbox.shapes = wrong  # type: ignore[assignment]
    assert sandbox.shapes == "canonical"


@pytest.mark.parametrize("shape", OTHERS)
async def test_the_document_promises_no_body_that_a_shape_does_not_keep(
    shape: str, sandbox: Sandbox, stranger: Caller
) -> None:
    canonical = await stranger.get("/api/docs-json")
    sandbox.shapes = shape
    document = await stranger.get("/api/docs-json")
    await asyncio.to_thread(validate, document)
    assert list(document["paths"]) == list(canonical["paths"])
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            known = canonical["paths"][path][method]
            unchanged = ("operationId", "summary", "tags", "requestBody", "security")
            assert {name: operation.get(name) for name in unchanged} == {name: known.get(name) for name in unchanged}
            named = [parameter["name"] for parameter in operation["parameters"]]
            usual = [parameter["name"] for parameter in known["parameters"]]
            if "page" in usual and "page" not in named:
                usual.remove("page")
                assert named[len(usual) :] in (["offset"], ["cursor"], ["after"], ["page[number]", "page[size]"])
            else:
                assert named == usual
            assert operation["responses"].keys() == known["responses"].keys()
            for status, response in operation["responses"].items():
                documented = path in ("/auth/evm/challenge", "/auth/evm/verify") and status == "201"
                if documented:
                    assert response == known["responses"][status]
                else:
                    name = response.get("$ref", "").rpartition("/")[2]
                    said = document["components"]["responses"][name] if name else response
                    assert [media["schema"] for media in said["content"].values()] == [{}]
