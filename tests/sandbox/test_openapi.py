"""The OpenAPI document is valid, says all there is to say of the 41 endpoints, and is what the server does."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from openapi_schema_validator import OAS30StrictValidator, OAS30Validator, oas30_format_checker
from openapi_spec_validator import OpenAPIV30SpecValidator, validate

from alura_async.core.request import Access
from alura_async.sandbox import Conditions, Sandbox

from .caller import Caller, Reply, advance, quick
from .conftest import START
from .test_routes import ROUTES, bodies_and_paths, braced

if TYPE_CHECKING:
    import aiohttp

pytestmark = pytest.mark.anyio

# What Alura documents: method, path, and whether a token is needed (`?` where it does not say).
DOCUMENTED = """
POST /auth/evm/challenge public
POST /auth/evm/verify public
GET /auth/evm/trading-key bearer
POST /trading-sessions bearer
POST /trading-sessions/advance bearer
GET /trading-sessions/active bearer
GET /trading-sessions/current-trade bearer
GET /trading-sessions/{sessionId}/logs bearer
GET /trading-sessions/trades/{tradeId}/logs bearer
POST /trading-sessions/positions/{positionId}/close bearer
POST /trading-sessions/positions/{positionId}/close-signature bearer
POST /trading-sessions/trades/{tradeId}/close bearer
POST /trading-sessions/trigger-cron bearer
GET /user/profile bearer
POST /user/fills/sync bearer
POST /user/withdraw bearer
POST /user/close-position bearer
POST /user/close-all-positions bearer
POST /user/send-usdc bearer
POST /user/claim-reward bearer
GET /api/indicators/health public?
GET /api/indicators/candles/latest public?
GET /api/indicators/candles/history/{symbol} public?
GET /api/indicators/candles/{symbol}/{interval} public?
GET /api/indicators/candles/aggregated/symbols public?
GET /api/indicators/signals/{symbol}/{interval} public?
GET /api/indicators/signals/all/{interval} public?
GET /api/leaderboard/stats ?
GET /api/leaderboard/rankings ?
GET /api/leaderboard/user/{userId} ?
GET /api/leaderboard/analytics ?
GET /api/leaderboard/health ?
GET /referrals/{userId} ?
GET /referrals/{userId}/stats ?
POST /referrals/{userId}/code ?
POST /referrals/check ?
POST /usdc-verification/verify ?
GET /usdc-verification/my-transactions ?
GET /usdc-verification/total-deposited ?
GET /health ?
GET /health/kafka ?
"""
ACCESS = {f"{method} {path}": access for method, path, access in map(str.split, DOCUMENTED.strip().splitlines())}

BEARER: list[Any] = [{"bearer": []}]
OPTIONAL: list[Any] = [{}, {"bearer": []}]
PUBLIC: list[Any] = []

UNLIKELY = ("nope", "", "a" * 300, "\0", "ü", "😀", "'\"<&>", " ", "0x", "null", "-1")
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 10, 9, 9.99, 10.01, 500, 501, 500.01, 1.5, 2.0, 0.5, -0.0, 1e-9, 1e300, 10**30),
    *(
        [],
        [1],
        {},
        {"a": 1},
        "1",
        "10",
        "1h",
        "Degen",
        "7D",
        "true",
        "0x" + "Ab" * 20,
        "0x" + "ab" * 32,
        "0x" + "0" * 130,
    ),
    *UNLIKELY,
)


@pytest.fixture
async def document(stranger: Caller) -> Any:
    return await stranger.get("/api/docs-json")


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def resolved(document: Any, node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        found = document
        for piece in node["$ref"].removeprefix("#/").split("/"):
            found = found[piece]
        node = found
    return node


class Conformance:
    """Holds replies against the document. Unlike the document, it takes no field that is not described."""

    def __init__(self, document: Any) -> None:
        self.document = msgspec.json.decode(msgspec.json.encode(document))
        for schema in self.document["components"]["schemas"].values():
            if "properties" in schema:
                schema["additionalProperties"] = False
        self.operations = dict(operations(self.document))
        self.seen: dict[str, set[str]] = defaultdict(set)

    def check(self, name: str, reply: Reply) -> None:
        responses = self.operations[name]["responses"]
        assert str(reply.status) in responses, (name, reply.status, reply.body)
        self.seen[name].add(str(reply.status))
        response = resolved(self.document, responses[str(reply.status)])
        assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
        schema = response["content"]["application/json"]["schema"]
        validator = OAS30Validator(
            {**schema, "components": self.document["components"]}, format_checker=oas30_format_checker
        )
        assert [(name, list(error.path), error.message) for error in validator.iter_errors(reply.data)] == []
        described = response["headers"]
        sent = {header for header in reply.headers if header.startswith("X-RateLimit") or header == "Retry-After"}
        assert sent <= set(described), name
        for header in described:
            if resolved(self.document, described[header])["required"]:
                assert int(reply.headers[header]) >= 0


async def test_it_is_valid_by_the_validator_and_by_the_schema_of_openapi_3_0(document: Any) -> None:
    await asyncio.to_thread(validate, document, cls=OpenAPIV30SpecValidator)
    assert document["openapi"] == "3.0.3"
    assert document["info"]["version"]
    assert document["servers"] == [{"url": "/", "description": "The server that this document came from."}]
    text = msgspec.json.encode(document).decode()
    assert "$extra$" not in text
    assert '"type":"null"' not in text


async def test_it_lists_the_41_endpoints_with_the_documented_access(document: Any) -> None:
    listed = dict(operations(document))
    assert len(ACCESS) == 41
    assert set(listed) == set(ACCESS)
    for name, access in ACCESS.items():
        allowed = {"bearer": [BEARER], "public": [PUBLIC], "public?": [OPTIONAL], "?": [BEARER, OPTIONAL]}[access]
        assert listed[name]["security"] in allowed, name


async def test_the_sdks_own_endpoints_are_the_same_41(document: Any) -> None:
    listed = dict(operations(document))
    assert {braced(name) for name in ROUTES} == set(listed)
    for name, route in ROUTES.items():
        needed = listed[braced(name)]["security"]
        assert (route.access is Access.PUBLIC) == (needed == PUBLIC), name
        # What the SDK sends a token with always is refused without one.
        assert route.access is not Access.BEARER or needed == BEARER, name


async def test_every_operation_parameter_field_and_refusal_is_described(document: Any) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == 41
    for name, operation in operations(document):
        assert operation["summary"].endswith("."), name
        assert operation["description"].startswith("Documented by Alura: method, path, purpose"), name
        assert set(operation["tags"]) <= tags
        in_path = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"]
        assert in_path == [piece[1:-1] for piece in name.split("/") if piece.startswith("{")]
        assert all(parameter["description"] and parameter["schema"] for parameter in operation["parameters"])
        assert ("requestBody" in operation) == name.startswith("POST")
        success, *refusals = operation["responses"]
        assert success == ("201" if name.startswith("POST") else "200")
        assert {"429"} <= set(refusals) <= {"400", "401", "403", "404", "413", "429"}
        for link in operation["responses"][success].get("links", {}).values():
            assert link["operationId"] in names
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]["application/json"]["schema"]
            assert body["additionalProperties"] is False
            assert operation["requestBody"]["required"] == bool(body.get("required"))
            assert all(field["description"] for field in body["properties"].values())
    for name, schema in document["components"]["schemas"].items():
        assert schema["description"], name
        for field, inner in schema.get("properties", {}).items():
            assert inner["description"], (name, field)


async def test_it_says_what_is_documented_of_the_creates_and_which_form_replies_have(document: Any) -> None:
    create = document["paths"]["/trading-sessions"]["post"]
    assert create["description"] == "Documented by Alura: method, path, purpose, access, body. Assumed: reply."
    body = create["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["budget", "profitTarget", "assetIndex"]
    assert body["properties"]["budget"]["minimum"] == 10
    assert body["properties"]["profitTarget"]["maximum"] == 500
    reply = create["responses"]["201"]["content"]["application/json"]["schema"]
    assert reply == {"$ref": "#/components/schemas/TradingSession"}
    session = document["components"]["schemas"]["TradingSession"]
    assert {"id", "tradeId", "status", "createdAt"} <= set(session["required"])
    assert not {"closedAt", "expiresAt", "budget", "amount"} & set(session["required"])
    assert session["properties"]["budget"]["format"] == "decimal"
    assert session["properties"]["createdAt"]["format"] == "date-time"
    current = document["paths"]["/trading-sessions/current-trade"]["get"]["responses"]["200"]
    assert current["content"]["application/json"]["schema"] == {
        "anyOf": [{"$ref": "#/components/schemas/Trade"}, {"type": "object", "nullable": True, "enum": [None]}]
    }
    key = document["components"]["schemas"]["TradingKey"]["properties"]["privateKey"]
    assert key["format"] == "password"
    retry_after = resolved(document, document["components"]["responses"]["TooManyRequests"]["headers"]["Retry-After"])
    assert retry_after["required"] is True


async def test_the_server_answers_with_the_described_statuses_all_of_them_and_no_others(
    caller: Caller, http: aiohttp.ClientSession, document: Any
) -> None:
    """Every status but 429, which the next test is about, is provoked where it is described."""
    conformance = Conformance(document)
    somebody = await Caller(caller.sandbox, http).sign_in()
    stranger = Caller(caller.sandbox, http)
    calls = await bodies_and_paths(caller)
    large = b" " * (1 << 20) + b"{}"
    for route_name, route in ROUTES.items():
        name, (path, body) = braced(route_name), calls[route_name]
        nowhere = "/".join("nope" if piece.startswith(":") else piece for piece in route.template.split("/"))
        nowhere = nowhere.replace("nope/nope", "nope/1h").replace("all/nope", "all/2h")
        if route.method == "POST":
            tries = [(stranger, path, body), (caller, path, {"foo": 1}), (caller, path, b"{"), (caller, path, large)]
            tries += [(caller, nowhere, body), (somebody, path, body)]
        else:
            tries = [(stranger, path, None), (caller, f"{path}?limit=0&interval=2h", None), (caller, nowhere, None)]
            tries += [(somebody, path, None), (caller, path.replace("1h", "2h"), None)]
        for who, where, what in [*tries, (caller, path, body)]:
            conformance.check(name, await who.call(route.method, where, what))
    expected = {name: set(operation["responses"]) - {"429"} for name, operation in operations(document)}
    assert conformance.seen == expected


async def test_every_operation_is_throttled_as_described(http: aiohttp.ClientSession) -> None:
    async with Sandbox(seed=7, start=START, speed=0, limit=1, window=600) as sandbox:
        stranger = Caller(sandbox, http)
        document = await stranger.get("/api/docs-json")
        conformance = Conformance(document)
        for route_name, route in ROUTES.items():
            path = "/".join("x" if piece.startswith(":") else piece for piece in route.template.split("/"))
            first, second = [await stranger.call(route.method, path) for _ in range(2)]
            conformance.check(braced(route_name), first)
            assert {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} <= set(first.headers)
            conformance.check(braced(route_name), second)
            assert second.status == 429
            assert "Retry-After" in second.headers


async def test_a_closed_and_an_expired_session_are_as_described_too(caller: Caller, document: Any) -> None:
    conformance = Conformance(document)
    await caller.quick(lossThreshold=0.1)
    await caller.post("/trading-sessions/advance", advance(strategyDuration="1D"))
    await caller.post("/trading-sessions/advance", advance(assetIndex=2, amount=None, maxWalletBudget=True))
    await caller.post(f"/referrals/{caller.user_id}/code")
    await caller.post("/usdc-verification/verify", {"txHash": "0x" + "ab" * 32})
    for _ in range(3):
        caller.sandbox.advance(hours=11)
        for path in ("/trading-sessions/active", "/trading-sessions/current-trade", "/user/profile"):
            conformance.check(f"GET {path}", await caller.call("GET", path))
    for path in ("/user/fills/sync", "/user/close-all-positions", "/trading-sessions/trigger-cron"):
        conformance.check(f"POST {path}", await caller.call("POST", path))
    for path in ("/api/leaderboard/analytics", "/api/leaderboard/rankings", "/usdc-verification/my-transactions"):
        conformance.check(f"GET {path}", await caller.call("GET", path))
    for path in ("/referrals/{userId}", "/api/leaderboard/user/{userId}"):
        conformance.check(f"GET {path}", await caller.call("GET", path.format(userId=caller.user_id)))


async def test_each_state_that_a_session_goes_through_is_as_described(http: aiohttp.ClientSession) -> None:
    conditions = Conditions(lag="10s")
    async with Sandbox(seed=7, start=START, speed=0, limit=None, conditions=conditions) as sandbox:
        caller = await Caller(sandbox, http).sign_in()
        conformance = Conformance(await caller.get("/api/docs-json"))

        async def look() -> tuple[str | None, set[str]]:
            """The state of the current trade, and of its positions."""
            for path in ("/trading-sessions/active", "/user/profile", f"/trading-sessions/{session}/logs"):
                conformance.check(f"GET {path.replace(session, '{sessionId}')}", await caller.call("GET", path))
            reply = await caller.call("GET", "/trading-sessions/current-trade")
            conformance.check("GET /trading-sessions/current-trade", reply)
            if reply.data is None:
                return None, set()
            return reply.data["status"], {position["status"] for position in reply.data["positions"]}

        session = "nope"
        conformance.check(
            "GET /trading-sessions/current-trade", await caller.call("GET", "/trading-sessions/current-trade")
        )
        created = await caller.call("POST", "/trading-sessions", quick())
        conformance.check("POST /trading-sessions", created)
        session, trade = created.data["id"], created.data["tradeId"]
        assert (await look())[0] == "pending"
        sandbox.advance(seconds=11)
        status, positions = await look()
        assert (status, positions) == ("active", {"active"})
        current = await caller.get("/trading-sessions/current-trade")
        closing = f"/trading-sessions/positions/{current['positions'][0]['id']}/close"
        conformance.check("POST /trading-sessions/positions/{positionId}/close", await caller.call("POST", closing))
        await look()
        sandbox.advance(seconds=11)
        assert (await look())[1] == {"active", "closed"}
        conformance.check(
            "POST /trading-sessions/trades/{tradeId}/close",
            await caller.call("POST", f"/trading-sessions/trades/{trade}/close"),
        )
        assert (await look())[0] == "closing"
        sandbox.advance(seconds=11)
        await look()


async def test_what_is_told_of_an_asset_that_was_just_listed_is_as_described(http: aiohttp.ClientSession) -> None:
    listed = datetime(2025, 9, 25, 13, 5, 10, tzinfo=UTC)
    async with Sandbox(seed=7, start=listed + timedelta(minutes=30), speed=0, limit=None) as sandbox:
        caller = Caller(sandbox, http)
        conformance = Conformance(await caller.get("/api/docs-json"))
        for interval in ("1m", "1d"):
            reply = await caller.call("GET", f"/api/indicators/signals/XPL/{interval}")
            conformance.check("GET /api/indicators/signals/{symbol}/{interval}", reply)
            assert None in reply.data[0]["indicators"].values()
            everybody = await caller.call("GET", f"/api/indicators/signals/all/{interval}")
            conformance.check("GET /api/indicators/signals/all/{interval}", everybody)


def test_null_is_valid_only_where_it_is_described() -> None:
    # Of a schema without a type, `nullable` says nothing; lenient validators take it all the same.
    schema = Sandbox()._describe()["paths"]["/trading-sessions/current-trade"]["get"]["responses"]["200"]["content"]
    nothing = schema["application/json"]["schema"]["anyOf"][1]
    for validator in (OAS30Validator(nothing), OAS30StrictValidator(nothing)):
        assert validator.is_valid(None)
        assert not validator.is_valid({})


async def test_under_another_shape_it_describes_no_bodies_that_are_not_sent(http: aiohttp.ClientSession) -> None:
    async with Sandbox(start=START, speed=0, limit=None, shapes="mongo") as sandbox:
        document = await Caller(sandbox, http).get("/api/docs-json")
        await asyncio.to_thread(validate, document, cls=OpenAPIV30SpecValidator)
        about = document["info"]["description"]
        assert "another shape" in about
        assert "decimal text" not in about
        sandbox.shapes = "canonical"
        assert "decimal text" in (await Caller(sandbox, http).get("/api/docs-json"))["info"]["description"]


async def test_a_body_is_refused_for_its_form_exactly_where_the_document_says_so(caller: Caller, document: Any) -> None:
    """Each field of each body with many values, the others as they should be, judged by document and by server."""
    calls = await bodies_and_paths(caller)
    judged = {True: 0, False: 0}
    for route_name, route in ROUTES.items():
        if route.method != "POST":
            continue
        path, body = calls[route_name]
        schema = dict(operations(document))[braced(route_name)]["requestBody"]["content"]["application/json"]["schema"]
        validator = OAS30Validator(schema)
        for field, value in itertools.product([*schema["properties"], "foo"], VALUES):
            sent = {**(body or {}), field: value}
            reply = await caller.call("POST", path, sent)
            refused = reply.status == 400 and isinstance(reply.data["message"], list)
            if field == "amount" and value is None and "maxWalletBudget" in schema["properties"]:
                # The one rule between two fields, which the description tells in words.
                assert refused
                continue
            # In JSON, 2.0 is the same number as 2.
            same = {**sent, field: int(value) if isinstance(value, float) and value.is_integer() else value}
            assert refused == (not validator.is_valid(same)), (route_name, sent, reply.body)
            judged[refused] += 1
    assert min(judged.values()) > 100


async def test_a_query_is_refused_exactly_where_the_document_says_so(stranger: Caller, document: Any) -> None:
    texts: tuple[str, ...] = (
        "",
        "0",
        "1",
        "-1",
        "+1",
        "20",
        "100",
        "101",
        "5000",
        "5001",
        "1.5",
        "1h",
        "2h",
        "x",
        "9" * 18,
        "9" * 19,
    )
    texts = (*texts, "-" + "9" * 18, "1e3", "0x1", "1_0", "٣", "NaN")
    judged = {True: 0, False: 0}
    for name, operation in operations(document):
        method, path = name.split(" ")
        if method == "POST" or operation["security"] == BEARER:
            continue
        path = path.format(symbol="BTC", interval="1h")
        for parameter, text in itertools.product(operation["parameters"], texts):
            if parameter["in"] == "path":
                continue
            schema = parameter["schema"]
            is_number = text.lstrip("+-").isascii() and text.lstrip("+-").isdigit()
            value = int(text) if schema["type"] == "integer" and is_number else text
            reply = await stranger.call("GET", f"{path}?{parameter['name']}={text.replace('+', '%2B')}")
            refused = reply.status == 400
            assert refused == (not OAS30Validator(schema).is_valid(value)), (name, parameter["name"], text)
            judged[refused] += 1
    assert min(judged.values()) > 50


async def test_the_page_for_people_shows_every_operation_with_its_fields(stranger: Caller, document: Any) -> None:
    page = await stranger.call("GET", "/api/docs")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.data.count("<section ") == 41
    for _, operation in operations(document):
        start = page.data.index(f"<section id={operation['operationId']}>")
        section = page.data[start : page.data.index("</section>", start)]
        assert operation["summary"].replace("'", "&#x27;") in section
        for parameter in operation["parameters"]:
            assert f"<code>{parameter['name']}</code>" in section
    for name, schema in document["components"]["schemas"].items():
        assert f"<div id={name}>" in page.data
        assert all(f"<code>{field}</code>" in page.data for field in schema.get("properties", {}))
    targets = re.findall(r'href="#(\w+)"', page.data)
    assert len(targets) > 41
    assert all(f"<div id={target}>" in page.data for target in targets)
    create = page.data[page.data.index("<section id=postTradingSessions>") :]
    assert all(f"<code>{field}</code>" in create for field in quick())
