"""The contract with the server: its document against our endpoints, its replies against our types, and recordings."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from alura_async import AsyncAlura, InvalidArgumentError, Referrals, Route, TradingSessions, User
from alura_async.contract import (
    Document,
    Finding,
    Reading,
    ReadState,
    Redactor,
    Severity,
    compare,
    expectations,
    fetch,
    read_all,
    recordings,
    write_recordings,
)
from alura_async.contract.live import leftovers
from alura_async.core.model import Model
from alura_async.core.outcome import Reply
from alura_async.sandbox import Fault, Sandbox

Content: TypeAlias = dict[str, Any]

REPLY = "application/json"


@pytest.fixture(scope="module")
def served() -> str:
    """The sandbox's document, as it serves it."""

    async def get() -> bytes:
        async with Sandbox() as sandbox, AsyncAlura(base_url=sandbox.url) as alura:
            return await fetch(alura)

    return asyncio.run(get()).decode()


@pytest.fixture(params=["3.0", "3.1"])
def content(served: str, request: pytest.FixtureRequest) -> Content:
    """The document, in both versions: what 3.0 says by `nullable`, 3.1 says by a type."""
    content: Content = json.loads(served)
    return content if request.param == "3.0" else of_3_1(content)


def of_3_1(value: Any) -> Any:
    if isinstance(value, list):
        return [of_3_1(inner) for inner in value]
    if not isinstance(value, dict):
        return "3.1.0" if value == "3.0.3" else value
    found = {name: of_3_1(inner) for name, inner in value.items() if name != "nullable"}
    if value.get("nullable") is True and "type" in value:
        found["type"] = [value["type"], "null"]
    return found


def compared(content: Content) -> list[Finding]:
    return compare(Document.read(json.dumps(content).encode()))


def differences(content: Content) -> list[tuple[str, str, str]]:
    """Endpoint, place and message of each difference."""
    found = [finding for finding in compared(content) if finding.severity is Severity.DIFFERENCE]
    return [(finding.endpoint, finding.place, finding.message) for finding in found]


def notes(content: Content, endpoint: str) -> dict[str, str]:
    """What the notes about an endpoint say, by place."""
    said: dict[str, str] = {}
    for finding in compared(content):
        if finding.severity is Severity.NOTE and finding.endpoint == endpoint:
            said[finding.place] = "; ".join(filter(None, (said.get(finding.place), finding.message)))
    return said


def operation(content: Content, path: str) -> Content:
    (found,) = content["paths"][path].values()
    return found  # type: ignore[no-any-return]


def schema_of(content: Content, path: str) -> Content:
    """Where the schema of an operation's reply is."""
    responses = operation(content, path)["responses"]
    return responses.get("200", responses.get("201"))["content"][REPLY]  # type: ignore[no-any-return]


def body_of(content: Content, path: str) -> Content:
    return operation(content, path)["requestBody"]["content"][REPLY]["schema"]  # type: ignore[no-any-return]


def fields_of(content: Content, name: str) -> Content:
    return content["components"]["schemas"][name]["properties"]  # type: ignore[no-any-return]


def test_every_endpoint_is_expected_by_the_name_that_users_call_it_by() -> None:
    names = [expected.name for expected in expectations()]
    assert len(set(names)) == 41
    assert {"trading_sessions.active()", "health.kafka()", "auth.challenge()"} <= set(names)


def test_what_a_call_sends_is_known_with_the_argument_that_adds_it() -> None:
    create = next(one for one in expectations() if one.name == "trading_sessions.create()")
    assert {field.name: field.argument for field in create.body} == {
        "budget": None,
        "profitTarget": None,
        "assetIndex": None,
        "lossThreshold": "loss_threshold",
        "maxPositions": "max_positions",
    }
    advance = next(one for one in expectations() if one.name == "trading_sessions.create_advance()")
    durations = next(field for field in advance.body if field.name == "strategyDuration")
    assert durations.values == ("1D", "3D", "7D", "30D", "90D", "365D")


def test_on_the_sandbox_there_is_no_difference(content: Content) -> None:
    assert differences(content) == []


def test_a_missing_path_is_a_difference_and_says_where_it_may_have_gone(content: Content) -> None:
    content["paths"]["/api/health"] = content["paths"].pop("/health")
    content["paths"].pop("/api/leaderboard/analytics")
    texts = {endpoint: message for endpoint, _, message in differences(content)}
    assert set(texts) == {"health.basic()", "leaderboard.analytics()"}
    assert "it has GET /api/health, which may be it" in texts["health.basic()"]
    assert texts["leaderboard.analytics()"] == "the document has no such path"


def test_a_new_path_is_a_note(content: Content) -> None:
    content["paths"]["/vaults/{id}"] = {"get": {"responses": {}}}
    (new,) = [finding for finding in compared(content) if not finding.endpoint]
    assert (new.severity, new.method, new.path) == (Severity.NOTE, "GET", "/vaults/{id}")


def test_a_changed_method_is_a_difference(content: Content) -> None:
    path = content["paths"]["/user/profile"]
    path["post"] = path.pop("get")
    assert differences(content) == [("user.profile()", "path", "the method has changed: the document has POST")]


def test_the_names_of_path_parameters_may_differ_and_their_order_may_not(content: Content) -> None:
    paths = content["paths"]
    paths["/referrals/{id}"] = paths.pop("/referrals/{userId}")
    assert differences(content) == []
    assert "other names, which does no harm: id" in notes(content, "referrals.get()")["path"]
    paths["/api/indicators/signals/{interval}/{symbol}"] = paths.pop("/api/indicators/signals/{symbol}/{interval}")
    # Also where one of them is called otherwise.
    paths["/api/indicators/candles/{interval}/{coin}"] = paths.pop("/api/indicators/candles/{symbol}/{interval}")
    found = {(endpoint, place): message for endpoint, place, message in differences(content)}
    assert "in another order: interval, symbol" in found["indicators.signals()", "path"]
    assert "in another order: interval, coin" in found["indicators.candles()", "path"]


def test_a_new_required_parameter_is_a_difference_wherever_it_stands(content: Content) -> None:
    rankings = operation(content, "/api/leaderboard/rankings")
    rankings["parameters"] += [
        {"name": "season", "in": "query", "required": True, "schema": {"type": "string"}},
        {"name": "X-Api-Key", "in": "header", "required": True, "schema": {"type": "string"}},
        {"name": "Authorization", "in": "header", "required": True, "schema": {"type": "string"}},
        {"name": "sort", "in": "query", "required": False, "schema": {"type": "string"}},
    ]
    create = body_of(content, "/trading-sessions")
    create["properties"]["margin"] = {"type": "number"}
    create["required"].append("margin")
    found = differences(content)
    assert [(endpoint, place) for endpoint, place, _ in found] == [
        ("trading_sessions.create()", "body.margin"),
        ("leaderboard.rankings()", "query.season"),
        ("leaderboard.rankings()", "header.X-Api-Key"),
    ]
    assert 'extra={"margin": ...}' in found[0][2]
    assert 'params={"season": ...}' in found[1][2]
    assert "query.sort" in notes(content, "leaderboard.rankings()")


def test_a_parameter_that_can_be_given_and_is_required_is_a_note(content: Content) -> None:
    (limit,) = [one for one in operation(content, "/api/leaderboard/rankings")["parameters"] if one["name"] == "limit"]
    limit["required"] = True
    assert differences(content) == []
    assert "always give limit=" in notes(content, "leaderboard.rankings()")["query.limit"]


def test_what_is_sent_and_the_document_lacks_is_a_difference(content: Content) -> None:
    rankings = operation(content, "/api/leaderboard/rankings")
    rankings["parameters"] = [one for one in rankings["parameters"] if one["name"] != "limit"]
    del body_of(content, "/trading-sessions")["properties"]["lossThreshold"]
    assert [(endpoint, place) for endpoint, place, _ in differences(content)] == [
        ("trading_sessions.create()", "body.lossThreshold"),
        ("leaderboard.rankings()", "query.limit"),
    ]


def test_other_types_of_what_is_sent_are_differences(content: Content) -> None:
    create = body_of(content, "/trading-sessions")["properties"]
    create["budget"] = {"type": "string"}
    create["profitTarget"] = {"type": "integer"}
    duration = body_of(content, "/trading-sessions/advance")["properties"]["strategyDuration"]
    duration["enum"] = ["1D", "3D", "7D", "30D", "90D", "2W"]
    create["assetIndex"] = {"type": "integer", "enum": [0, 1, 2]}
    start = next(
        one
        for one in operation(content, "/api/indicators/candles/history/{symbol}")["parameters"]
        if one["name"] == "startTime"
    )
    start["schema"] = {"type": "string", "format": "date-time"}
    found = {place: message for _, place, message in differences(content)}
    assert set(found) == {"body.budget", "body.assetIndex", "body.strategyDuration", "query.startTime"}
    assert found["body.assetIndex"] == "the document does not take 3, 4, 5; it takes 0, 1, 2"
    assert found["body.budget"] == "number is sent; the document wants string"
    assert "does not take 365D" in found["body.strategyDuration"]
    assert "wants date-time" in found["query.startTime"]
    assert "fractions are refused" in notes(content, "trading_sessions.create()")["body.profitTarget"]
    assert "it takes 1D, 3D, 7D, 30D, 90D, 2W" in found["body.strategyDuration"]


def test_a_renamed_field_of_a_reply_is_a_difference_at_every_place_it_is_read(content: Content) -> None:
    position = fields_of(content, "Position")
    position["costBasis"] = position.pop("entryPrice")
    trade = fields_of(content, "Trade")
    trade["uid"] = trade.pop("id")
    found = {place: message for _, place, message in differences(content)}
    assert found["reply.$.positions[].entryPrice"] == (
        "the document has no such field, so Position.entry_price is always None"
    )
    assert "without Trade.id the reply is a ShapeError" in found["reply.$.id"]
    assert len(found) == 2
    assert "kept in .extra" in notes(content, "trading_sessions.current_trade()")["reply.$.positions[].costBasis"]


def test_a_field_under_a_name_that_is_understood_is_a_note(content: Content) -> None:
    position = fields_of(content, "Position")
    position["entry_price"] = position.pop("entryPrice")
    assert differences(content) == []
    said = notes(content, "trading_sessions.current_trade()")["reply.$.positions[].entry_price"]
    assert said == "it is understood as Position.entry_price"


@pytest.mark.parametrize(
    ("field", "schema", "said"),
    [
        ("size", {"type": "object", "properties": {"amount": {"type": "boolean"}}}, "the document has object"),
        ("leverage", {"type": "array", "items": {"type": "number"}}, "the document has array"),
        ("symbol", {"type": "array", "items": {"type": "string"}}, "Position.symbol is str; the document has array"),
    ],
)
def test_a_type_that_cannot_be_read_is_a_difference(content: Content, field: str, schema: Content, said: str) -> None:
    fields_of(content, "Position")[field] = schema
    ((endpoint, place, message),) = differences(content)
    assert (endpoint, place) == ("trading_sessions.current_trade()", f"reply.$.positions[].{field}")
    assert said in message


def test_a_list_where_an_object_is_read_is_a_difference(content: Content) -> None:
    schema_of(content, "/user/profile")["schema"] = {"type": "array", "items": {"type": "string"}}
    ((endpoint, place, message),) = differences(content)
    assert (endpoint, place) == ("user.profile()", "reply.$")
    assert message == "Profile is expected, and nothing of it is described: the document has array"


def test_amounts_as_numbers_are_no_news(content: Content) -> None:
    before = compared(content)
    fields_of(content, "Position")["size"] = {"type": "number"}
    fields_of(content, "Position")["assetIndex"] = {"type": "number"}
    assert compared(content) == before


def test_unknown_values_of_an_enumeration_are_a_note(content: Content) -> None:
    fields_of(content, "Fill")["side"] = {"type": "string", "enum": ["BUY", "sell", "liquidation"]}
    assert differences(content) == []
    assert "passes on: liquidation" in notes(content, "user.sync_fills()")["reply.$.fills[].side"]


def wrapped(schema: Any) -> Content:
    return {
        "allOf": [
            {"$ref": "#/components/schemas/Envelope"},
            {"type": "object", "properties": {"data": schema}, "required": ["data"]},
        ]
    }


def test_a_wrapper_around_every_reply_is_seen_through(content: Content) -> None:
    """As `@nestjs/swagger` composes it, with a class that refers to itself."""
    content["components"]["schemas"]["Envelope"] = {
        "type": "object",
        "properties": {"success": {"type": "boolean"}, "parent": {"$ref": "#/components/schemas/Envelope"}},
    }
    for path in content["paths"]:
        holder = schema_of(content, path)
        holder["schema"] = wrapped(holder["schema"])
    assert differences(content) == []
    assert "in here, which is understood" in notes(content, "user.profile()")["reply.$.data"]
    fields_of(content, "Profile")["funds"] = fields_of(content, "Profile").pop("balance")
    assert [place for _, place, _ in differences(content)] == ["reply.$.data.balance"]


def test_a_wrapper_whose_content_is_not_described_is_a_note(content: Content) -> None:
    """The most usual DTO of NestJS servers: one class for all replies."""
    content["components"]["schemas"]["ApiResponse"] = {
        "type": "object",
        "properties": {
            "statusCode": {"type": "number"},
            "message": {"type": "string"},
            "data": {"type": "object"},
        },
        "required": ["statusCode", "message", "data"],
    }
    for path in content["paths"]:
        schema_of(content, path)["schema"] = {"$ref": "#/components/schemas/ApiResponse"}
    assert differences(content) == []
    assert notes(content, "auth.challenge()")["reply.$.data"] == "the document does not describe it"
    assert notes(content, "trading_sessions.active()")["reply.$.data"] == "the document does not describe it"


def test_only_successes_are_taken_for_replies(content: Content) -> None:
    error = {"description": "", "content": {REPLY: {"schema": {"type": "object", "properties": {"why": {}}}}}}
    for path in content["paths"]:
        found = operation(content, path)
        found["responses"] = {"default": error, "401": error}
    assert differences(content) == []
    for path in ("/trading-sessions", "/user/profile"):
        operation(content, path)["responses"] = {"200": {"description": ""}, "201": error}
    assert [endpoint for endpoint, *_ in differences(content)] == ["trading_sessions.create()", "user.profile()"]


@pytest.mark.parametrize(
    ("name", "field", "schema"),
    [
        ("Position", "size", {"value": {"type": "string"}, "currency": {"type": "string"}}),
        ("Position", "size", {"$numberDecimal": {"type": "string"}}),
        ("Position", "id", {"$oid": {"type": "string"}}),
        ("Position", "closedAt", {"$date": {"type": "string"}}),
        ("Position", "tradeId", {"_id": {"type": "string"}, "name": {"type": "string"}}),
        ("Position", "tradeId", {"$ref": "#/components/schemas/Trade"}),
    ],
)
def test_what_the_decoder_understands_is_a_note(content: Content, name: str, field: str, schema: Content) -> None:
    fields_of(content, name)[field] = schema if "$ref" in schema else {"type": "object", "properties": schema}
    assert differences(content) == []
    said = notes(content, "trading_sessions.current_trade()")[f"reply.$.positions[].{field}"]
    assert said.endswith("object is converted")


def test_whole_replies_that_the_decoder_understands_are_notes(content: Content) -> None:
    symbol = {"type": "object", "properties": {"symbol": {"type": "string"}, "name": {"type": "string"}}}
    schema_of(content, "/api/indicators/candles/aggregated/symbols")["schema"] = {"type": "array", "items": symbol}
    schema_of(content, "/health")["schema"] = {"type": "string"}
    done = {"type": "object", "properties": {"success": {"type": "boolean"}}}
    schema_of(content, "/trading-sessions/trades/{tradeId}/close")["schema"] = done
    assert differences(content) == []
    schema_of(content, "/user/profile")["schema"] = {"type": "string"}
    assert [endpoint for endpoint, *_ in differences(content)] == ["user.profile()"]


def test_what_only_one_side_sends_is_no_part_of_the_other(content: Content) -> None:
    create = body_of(content, "/trading-sessions")
    create["properties"]["id"] = {"type": "string", "readOnly": True}
    create["required"].append("id")
    assert differences(content) == []
    fields_of(content, "Position")["size"]["writeOnly"] = True
    assert [place for _, place, _ in differences(content)] == ["reply.$.positions[].size"]


def test_a_query_that_is_not_described_at_all_is_a_note(content: Content) -> None:
    operation(content, "/api/leaderboard/rankings")["parameters"] = []
    assert differences(content) == []
    assert "page, limit may be ignored" in notes(content, "leaderboard.rankings()")["query"]


@pytest.mark.parametrize("others", [True, {}])
def test_a_body_that_may_have_other_fields_takes_ours(content: Content, others: Any) -> None:
    create = body_of(content, "/trading-sessions")
    create["additionalProperties"] = others
    del create["properties"]["maxPositions"]
    assert differences(content) == []


def test_what_is_no_call_of_an_api_is_passed_over(content: Content) -> None:
    before = compared(content)
    for item in content["paths"].values():
        item["head"] = item["options"] = {"responses": {}}
    content["paths"]["x-note"] = {"get": {"responses": {}}}
    assert compared(content) == before


def test_of_two_paths_that_differ_in_names_only_ours_is_compared(content: Content) -> None:
    other = {"get": {"responses": {"200": {"content": {REPLY: {"schema": {"type": "string"}}}}}}}
    content["paths"] = {"/referrals/{code}": other, **content["paths"], "/referrals/{slug}": other}
    assert differences(content) == []


def test_types_and_values_of_path_parameters_are_compared(content: Content) -> None:
    for parameter in operation(content, "/api/indicators/candles/{symbol}/{interval}")["parameters"]:
        if parameter["name"] == "symbol":
            parameter["schema"] = {"type": "string", "enum": ["BTC", "ETH", "SOL", "XRP", "AVAX"]}
        elif parameter["name"] == "interval":
            parameter["schema"] = {"type": "string", "enum": ["1min", "5min"]}
    ((endpoint, place, message),) = differences(content)
    assert (endpoint, place) == ("indicators.candles()", "path.symbol")
    assert message == "the document does not take DOGE; it takes BTC, ETH, SOL, XRP, AVAX"
    assert notes(content, "indicators.candles()")["path.interval"] == "the document takes 1min, 5min"


def test_long_enumerations_are_cut(content: Content) -> None:
    duration = body_of(content, "/trading-sessions/advance")["properties"]["strategyDuration"]
    duration["enum"] = [f"E{number}" for number in range(5000)]
    ((_, _, message),) = differences(content)
    assert message.endswith("E11 and 4988 more")


def test_credentials_that_a_call_does_not_send_are_a_difference(content: Content) -> None:
    content["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    content["security"] = [{"bearer": []}]
    for path in ("/auth/evm/challenge", "/auth/evm/verify"):
        operation(content, path)["security"] = []
    assert differences(content) == []
    operation(content, "/auth/evm/verify")["security"] = [{"bearer": []}]
    operation(content, "/user/profile")["security"] = [{"bearer": [], "key": []}]
    operation(content, "/health")["security"] = [{"key": []}, {}]
    found = {endpoint: (place, message) for endpoint, place, message in differences(content)}
    assert set(found) == {"auth.verify()", "user.profile()"}
    assert found["auth.verify()"][1].startswith("the document wants Authorization")
    assert found["user.profile()"][1].startswith("the document wants header X-Api-Key")


def test_no_argument_is_advised_that_a_method_does_not_have(content: Content) -> None:
    verify = body_of(content, "/auth/evm/verify")
    verify["properties"]["device"] = {"type": "string"}
    verify.setdefault("required", []).append("device")
    create = operation(content, "/trading-sessions")
    create.setdefault("parameters", []).append({"name": "dry", "in": "query", "required": True, "schema": {}})
    said = [message for _, _, message in differences(content)]
    assert len(said) == 2
    assert all(message.endswith("a Route of your own can send it") for message in said)


def test_lists_in_other_forms_are_notes(content: Content) -> None:
    session = {"$ref": "#/components/schemas/TradingSession"}
    active = schema_of(content, "/trading-sessions/active")
    for schema, form in (
        ({"type": "object", "additionalProperties": session}, "a map"),
        (session, "a single object"),
    ):
        active["schema"] = schema
        assert differences(content) == []
        assert notes(content, "trading_sessions.active()")["reply.$"] == (
            f"a list is expected; it comes as {form}, which is understood"
        )
    candles = schema_of(content, "/api/indicators/candles/latest")
    columns = {name: {"type": "array", "items": inner} for name, inner in fields_of(content, "Candle").items()}
    candles["schema"] = {"type": "object", "properties": columns}
    assert differences(content) == []
    assert "columns" in notes(content, "indicators.latest_candles()")["reply.$"]


def test_what_a_document_does_not_describe_is_a_note_for_each_endpoint(content: Content) -> None:
    """As `@nestjs/swagger` writes where there are no DTOs."""
    for path, operations in content["paths"].items():
        for method, found in operations.items():
            found["responses"] = {"201" if method == "post" else "200": {"description": ""}}
            if path != "/trading-sessions":
                found.pop("requestBody", None)
    body_of(content, "/trading-sessions").clear()
    assert differences(content) == []
    for expected in expectations():
        said = notes(content, expected.name)
        assert said["reply.$"] == "the document does not describe it"
        assert ("body" in said) == bool(expected.body)


def test_beside_a_reference_nothing_counts_in_3_0_and_all_does_in_3_1(content: Content) -> None:
    address = fields_of(content, "Profile").pop("address")
    beside = {"$ref": "#/components/schemas/Profile", "properties": {"address": address}}
    schema_of(content, "/user/profile")["schema"] = beside
    places = [place for _, place, _ in differences(content)]
    assert places == (["reply.$.address"] if content["openapi"].startswith("3.0") else [])


def test_what_the_path_names_need_not_be_in_the_reply(content: Content) -> None:
    del fields_of(content, "Candle")["s"]
    found = {endpoint for endpoint, *_ in differences(content)}
    assert found == {"indicators.latest_candles()"}
    assert "is taken from the path" in notes(content, "indicators.candles()")["reply.$[].s"]


def test_a_bare_object_describes_nothing(content: Content) -> None:
    """`@nestjs/swagger` writes it of `Date | null` and of other types that it cannot see."""
    fields_of(content, "Position")["closedAt"] = {"type": "object", "nullable": True}
    body_of(content, "/trading-sessions")["properties"]["lossThreshold"] = {"type": "object"}
    assert differences(content) == []
    said = notes(content, "trading_sessions.current_trade()")["reply.$.positions[].closedAt"]
    assert said == "the document does not describe it"


def test_references_in_circles_end(content: Content) -> None:
    schemas = content["components"]["schemas"]
    schemas["Loop"] = {"$ref": "#/components/schemas/Pool"}
    schemas["Pool"] = {"allOf": [{"$ref": "#/components/schemas/Loop"}, {"type": "object", "properties": {}}]}
    # Each stands for the next twice: followed one by one, that would be a million million times.
    for number in range(40):
        inner = {"$ref": f"#/components/schemas/Level{number + 1}"}
        schemas[f"Level{number}"] = {"anyOf": [inner, inner], "type": "object"}
    schemas["Level40"] = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Level0"}}}
    schema_of(content, "/user/profile")["schema"] = schemas["Loop"]
    schema_of(content, "/health")["schema"] = {"$ref": "#/components/schemas/Level0"}
    assert [endpoint for endpoint, *_ in differences(content)] == ["health.basic()"]
    assert notes(content, "user.profile()")["reply.$"] == "the document does not describe it"


def test_references_to_anchors_are_followed(content: Content) -> None:
    content["components"]["schemas"]["Profile"]["$anchor"] = "profile"
    schema_of(content, "/user/profile")["schema"] = {"$ref": "#profile"}
    before = compared(content)
    del fields_of(content, "Profile")["balance"]
    assert not any("not followed" in finding.message for finding in before)
    assert [place for _, place, _ in differences(content)] == ["reply.$.balance"]


def test_references_elsewhere_are_reported_and_not_followed(content: Content) -> None:
    schema_of(content, "/health")["schema"] = {"$ref": "https://example.com/schemas.json#/Health"}
    schema_of(content, "/health/kafka")["schema"] = {"$ref": "#/components/schemas/Gone"}
    assert differences(content) == []
    said = [finding.message for finding in compared(content) if "reference" in finding.message]
    assert len(said) == 2
    assert "https://example.com/schemas.json#/Health" in said[0]
    assert "nothing is fetched" in said[0]
    assert "there is nothing of that name" in said[1]


def test_a_prefix_that_all_paths_share_may_stand_in_the_servers_address(content: Content) -> None:
    content["servers"] = [{"url": "https://api.example.com/api"}]
    content["paths"] = {path.removeprefix("/api"): item for path, item in content["paths"].items() if "/api/" in path}
    found = {endpoint for endpoint, place, _ in differences(content) if place == "path"}
    assert not any(endpoint.startswith(("indicators.", "leaderboard.")) for endpoint in found)
    assert "health.basic()" in found


@pytest.mark.parametrize("place", ["servers", "variables", "paths"])
def test_what_stands_in_front_of_all_addresses_is_said_once(content: Content, place: str) -> None:
    if place == "paths":
        content["paths"] = {f"/v1{path}": item for path, item in content["paths"].items()}
    elif place == "servers":
        content["servers"] = [{"url": "/v1"}]
    else:
        variables = {"version": {"default": "v1"}}
        content["servers"] = [{"url": "https://api.example.com/{version}/", "variables": variables}]
    said = "the document's addresses begin with /v1: give a base_url that ends with it"
    assert differences(content) == [("", "path", said)]
    document = Document.read(json.dumps(content).encode())
    assert not [one for one in compare(document, base_path="/v1") if one.severity is Severity.DIFFERENCE]


def test_a_base_url_with_a_path_that_the_document_does_not_have_is_said_once(content: Content) -> None:
    document = Document.read(json.dumps(content).encode())
    found = [one for one in compare(document, base_path="/v1") if one.severity is Severity.DIFFERENCE]
    assert [one.message for one in found] == [
        "the document's addresses do not begin with /v1: give a base_url without it"
    ]


def test_names_that_could_fool_a_terminal_are_neutralised(content: Content) -> None:
    evil = "\x1b[31m\u202eevil\r\n"
    fields_of(content, "Profile")[evil] = {"type": "string"}
    operation(content, "/user/profile")["parameters"] = [{"name": evil, "in": "query", "schema": {}}]
    content["paths"][f"/{evil}"] = {"get": {"responses": {}}}
    schema_of(content, "/health")["schema"] = {"$ref": evil}
    found = msgspec.json.encode(compared(content)).decode()
    assert found.count("evil") >= 4
    shown = json.loads(found)
    assert not any(character in str(value) for one in shown for value in one.values() for character in "\x1b\u202e\r\n")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<!doctype html><title>Swagger UI</title>", "web page.*/api/docs-json"),
        (b"# the API\nopenapi: 3.0.0", "YAML: give the same document as JSON"),
        (b"weather: fine", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not an object"),
        (b'{"swagger": "2.0", "paths": {}}', "Swagger 2.0.*convert it"),
        (b'{"paths": {}}', 'no "openapi"'),
        (b'{"openapi": "4.0.0", "paths": {}}', "OpenAPI 4.0.0 is not read here: 3.0 and 3.1 are"),
        (b'{"openapi": 3, "paths": {}}', "OpenAPI 3 is not read here"),
        (b'{"openapi": "3.0.0", "paths": []}', 'broken: it has no object "paths"'),
    ],
)
def test_what_is_no_document_is_said_clearly(data: bytes, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"(?s){said}"):
        Document.read(data)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_documents_are_read_as_editors_save_them(served: str, encoding: str) -> None:
    assert len(Document.read(served.encode(encoding)).operations) == 41


def test_a_document_whose_parts_are_broken_is_compared_as_far_as_it_can_be() -> None:
    broken: Content = {"openapi": "3.1.0", "servers": [{"url": "http://["}, 5], "paths": {}}
    for path, item in {
        "/health": {"get": {"parameters": 5, "responses": []}},
        "/health/kafka": {"get": {"parameters": [{"in": 5}, {"$ref": "#/x"}, None], "responses": {"200": 7}}},
        "/user/profile": {"get": {"responses": {"200": {"content": {REPLY: {"schema": {"type": 5, "enum": {}}}}}}}},
        "/user/withdraw": {"post": {"requestBody": [], "responses": {}}},
        "/health/x": {"get": {"responses": {"200": {"content": {REPLY: {"schema": {"type": [["x"], {"a": 1}]}}}}}}},
        "/y": {"get": {"security": [5, {"x": 1}], "servers": [7]}},
        "/x": None,
        "x": {"get": {}},
    }.items():
        broken["paths"][path] = item
    found = compared(broken)
    assert sum(finding.message == "the document does not describe it" for finding in found) == 5


async def read_sandbox(sandbox: Sandbox, **settings: Any) -> dict[str, Reading]:
    async with AsyncAlura(base_url=sandbox.url, **settings) as alura:
        return {reading.name: reading async for reading in read_all(alura)}


@pytest.mark.anyio
async def test_all_harmless_reads_are_made_and_nothing_else() -> None:
    async with Sandbox(seed=4) as sandbox:
        wallet = sandbox.wallet()
        async with AsyncAlura(wallet, base_url=sandbox.url) as alura:
            await alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC")
        before, entries = len(sandbox.requests), len(sandbox.ledger)
        readings = await read_sandbox(sandbox, wallet=wallet)
        made = list(sandbox.requests)[before:]
        done = [entry.kind for entry in sandbox.ledger[entries:] if entry.method]
    reads = [one.name for one in expectations() if one.route.method == "GET"]
    assert set(readings) == set(reads)
    assert [request.path for request in made if request.method != "GET"] == ["/auth/evm/challenge", "/auth/evm/verify"]
    assert done == ["signed_in"]
    assert "/auth/evm/trading-key" not in {request.path for request in made}
    states = {name: reading.state for name, reading in readings.items()}
    assert states.pop("auth.trading_key()") is ReadState.SKIPPED
    assert set(states.values()) == {ReadState.READ}
    assert not any(reading.unknown or reading.breaks for reading in readings.values())
    assert "TradingSession.close_reason" in readings["trading_sessions.active()"].unset
    assert "TradingSession.budget" not in readings["trading_sessions.active()"].unset


@pytest.mark.anyio
async def test_without_credentials_only_what_is_public_is_read() -> None:
    async with Sandbox(seed=4) as sandbox:
        readings = await read_sandbox(sandbox)
        assert {request.method for request in sandbox.requests} == {"GET"}
        assert not sandbox.ledger
    assert readings["indicators.symbols()"].state is ReadState.READ
    profile = readings["user.profile()"]
    assert (profile.state, profile.reply, profile.breaks) == (ReadState.SKIPPED, None, False)
    assert "wallet" in profile.said
    logs = readings["trading_sessions.logs()"]
    assert logs.said == "it needs a session_id, and trading_sessions.active() brought none"


@pytest.mark.anyio
async def test_what_goes_wrong_is_told_apart() -> None:
    async with Sandbox(seed=4) as sandbox:
        sandbox.faults.add_all("503 on GET /health; reset on GET /health/kafka")
        sandbox.faults.add(Fault.status(200, body='{"weather": "fine"}'), on="GET /api/indicators/health")
        missing = "Cannot GET /api/leaderboard/stats"
        sandbox.faults.add(Fault.status(404, missing), on="GET /api/leaderboard/stats")
        readings = await read_sandbox(sandbox)
    expected = {
        "health.basic()": (ReadState.REFUSED, "503"),
        "health.kafka()": (ReadState.LOST, "no complete reply"),
        "indicators.health()": (ReadState.SHAPELESS, "unknown shape"),
        "leaderboard.stats()": (ReadState.REFUSED, missing),
        "leaderboard.analytics()": (ReadState.REFUSED, "401"),
    }
    for name, (state, said) in expected.items():
        assert readings[name].state is state, name
        assert said in readings[name].said
    assert [name for name, reading in readings.items() if reading.breaks] == [
        "indicators.health()",
        "leaderboard.stats()",
    ]


@pytest.mark.anyio
async def test_what_a_refusal_says_of_the_contract() -> None:
    faults = {
        "404 on GET /user/profile": ("user.profile()", True),
        "405 on GET /health": ("health.basic()", True),
        "501 on GET /health/kafka": ("health.kafka()", True),
        "400 on GET /trading-sessions/active": ("trading_sessions.active()", True),
        "404 on GET /api/indicators/signals/*": ("indicators.signals()", False),
        "403 on GET /api/leaderboard/stats": ("leaderboard.stats()", False),
        "500 on GET /api/leaderboard/analytics": ("leaderboard.analytics()", False),
        "401 on GET /trading-sessions/current-trade": ("trading_sessions.current_trade()", True),
    }
    async with Sandbox(seed=4) as sandbox:
        sandbox.faults.add_all("; ".join(faults))
        readings = await read_sandbox(sandbox, wallet=sandbox.wallet())
    assert {name: readings[name].breaks for name, _ in faults.values()} == dict(faults.values())
    assert readings["trading_sessions.current_trade()"].state is ReadState.UNSIGNED
    assert readings["user.profile()"].state is ReadState.REFUSED


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fault", "state"),
    [("401 on POST /auth/evm/verify", ReadState.UNSIGNED), ("500 on POST /auth/evm/challenge", ReadState.LOST)],
)
async def test_a_sign_in_that_fails_is_told_from_one_that_nobody_asked_for(fault: str, state: ReadState) -> None:
    async with Sandbox(seed=4) as sandbox:
        sandbox.faults.add_all(fault)
        reading = (await read_sandbox(sandbox, wallet=sandbox.wallet()))["user.profile()"]
    assert (reading.state, reading.breaks) == (state, state is ReadState.UNSIGNED)


@pytest.mark.anyio
async def test_a_limit_that_is_refused_is_a_difference_and_the_reply_is_read_without_it() -> None:
    async with Sandbox(seed=4) as sandbox:
        refused = Fault.status(400, "property limit should not exist")
        sandbox.faults.add(refused, on="GET /api/leaderboard/rankings", times=1)
        reading = (await read_sandbox(sandbox, wallet=sandbox.wallet()))["leaderboard.rankings()"]
        queries = [one.query for one in sandbox.requests if one.path == "/api/leaderboard/rankings"]
    assert (reading.state, reading.breaks) == (ReadState.READ, True)
    assert "property limit should not exist" in reading.said
    assert [bool(query) for query in queries] == [True, False]


class Inner(Model, frozen=True, kw_only=True):
    price: int | None = None
    note: str | None = None


class Outer(Model, frozen=True, kw_only=True):
    id: str
    inner: list[Inner] | None = None


def decoded(body: bytes, kind: Any) -> Any:
    return Reply(Route("GET", "/x", kind).request(), 200, {"Content-Length": "1"}, body).decode()


def test_leftovers_are_named_by_their_path_and_counted_over_all_rows() -> None:
    body = b'[{"id":"a","inner":[{"price":1,"fee":2},{"price":2,"fees":{"maker":1}}],"tags":[]},{"id":"b","x":null}]'
    unknown, unset = leftovers(decoded(body, list[Outer]))
    assert unknown == {
        "$[].inner[].fee": "number",
        "$[].inner[].fees": "object",
        "$[].tags": "array",
        "$[].x": "null",
    }
    assert unset == ("Inner.note",)


def test_leftovers_around_a_value_are_named_by_their_own_path() -> None:
    outer = Outer(id="a", _extra={"$.success": True, "$.rows[3].at": None, "own": [1]})
    unknown, _ = leftovers([outer])
    assert unknown == {"$.success": "boolean", "$.rows[].at": "null", "$[].own": "array"}


def test_leftovers_under_keys_that_are_no_names_do_not_show_them() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc"
    keys = (WALLET, token, "jane@example.com", "66f0a1b2c3d4e5f6a7b8c9d0", "apiKey1")
    unknown, _ = leftovers(Outer(id="a", _extra={**dict.fromkeys(keys, 1), f"$.users['{WALLET}'].tag": ""}))
    assert unknown == {"$.*": "number", "$.apiKey1": "number", "$.users.*.tag": "string"}


def test_leftovers_that_could_not_be_read_as_their_field_say_so() -> None:
    unknown, _ = leftovers(Outer(id="a", inner=[Inner(_extra={"price": "much"})]))
    assert unknown == {"$.inner[].price": "string, which cannot be read as Inner.price"}


WALLET = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
HASH = "0x" + "c3" * 32


def reply_of(body: Any, request: Any = None, headers: dict[str, str] | None = None) -> Reply[Any]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(request or User.profile.request(), 200, headers or {"Content-Type": REPLY}, text)


def test_what_is_recorded_has_no_secrets_and_keeps_its_shape() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
    body = {
        "address": WALLET,
        "owner": WALLET.lower(),
        "email": "jane.doe+x@mail.example.org",
        "txHash": HASH,
        "log": f"sent by {WALLET} in {HASH}, mail jane.doe+x@mail.example.org, password=hunter2",
        "accessToken": token,
        "note": f"Bearer {token}",
        "secrets": {"pin": 1234, "words": ["correct", "horse"], "set": True, "none": None},
        "privateKey": [12, 53],
        "transactions": [{"hash": HASH, "amount": "12.50", "at": "2026-01-02T03:04:05Z", "raw": "signed-bytes"}],
        "transaction": "raw-bytes",
        "signature": "0x" + "ab" * 65,
        "blob": "ab" * 65,
        WALLET: {"id": "usr_1"},
    }
    recording = Redactor().recording(reply_of(body))
    found = json.loads(recording.body)
    fake, other = "0x" + f"{1:040d}", found["txHash"]
    assert found["address"] == found["owner"] == fake
    assert found[fake] == {"id": "usr_1"}
    assert re.fullmatch("0x[0-9]{64}", other)
    assert found["log"] == f"sent by {fake} in {other}, mail {found['email']}, password=***"
    assert re.fullmatch(r"user\d@example\.com", found["email"])
    assert found["transactions"] == [{"hash": other, "amount": "12.50", "at": "2026-01-02T03:04:05Z", "raw": "***"}]
    assert found["secrets"] == {"pin": 0, "words": ["***", "***"], "set": True, "none": None}
    assert found["privateKey"] == [0, 0]
    assert {found[name] for name in ("accessToken", "transaction", "signature", "blob")} == {"***"}
    everything = msgspec.json.encode(recording).decode()
    for secret in (token, "hunter2", "jane", WALLET[2:].lower(), "c3c3c3", "abab", "raw-bytes", "signed-bytes"):
        assert secret not in everything.lower() if secret != token else secret not in everything
    assert [*found][:-1] == [*body][:-1]


def test_the_same_value_is_replaced_alike_in_all_recordings() -> None:
    redactor = Redactor()
    first = redactor.recording(reply_of({"address": WALLET}))
    second = redactor.recording(reply_of([WALLET.upper().replace("X", "x"), "0x" + "12" * 20]))
    assert json.loads(second.body)[0] == json.loads(first.body)["address"]
    assert len(set(json.loads(second.body))) == 2
    assert Redactor().recording(reply_of([WALLET, HASH[2:]])).body.count("0x") == 1


@pytest.mark.parametrize(
    "number", ["1.50", "1E5", "-0.0", "123456789012345678901234567890", "0.1000000000000000000001"]
)
def test_numbers_are_recorded_as_they_were_written(number: str) -> None:
    body = f'{{"balance":{number},"list":[{number}]}}'
    assert Redactor().recording(reply_of(body.encode())).body == body


@pytest.mark.parametrize("body", [b"", b"token=abc plain text", b"\xff\xfe", b"[" * 5000, b'{"token": "abc", '])
def test_what_is_not_json_is_recorded_as_redacted_text(body: bytes) -> None:
    text = Redactor().recording(reply_of(body)).body
    assert "abc" not in text
    assert len(text) >= len(body) - 3


def test_headers_are_recorded_where_decoding_looks_at_them() -> None:
    headers = {
        "Content-Type": REPLY,
        "Content-Length": "5000",
        "X-Total-Count": "12",
        "Link": f'<https://u:pw@api.example.com/x?owner={WALLET}>; rel="next"',
        "Set-Cookie": "session=abc",
        "Authorization": "Bearer abc",
        "X-Powered-By": "Express",
    }
    recording = Redactor().recording(reply_of([1], headers=headers))
    assert set(recording.headers) == {"content-type", "content-length", "x-total-count", "link"}
    assert recording.headers["content-length"] == "3"
    assert "pw" not in recording.headers["link"]
    assert WALLET not in recording.headers["link"]


def test_a_recording_is_a_reply_again(tmp_path: Path) -> None:
    request = TradingSessions.trade_logs.request("trd_1", page=2)
    body = {"data": [{"id": "1"}], "total": 5}
    recording = Redactor().recording(reply_of(body, request, {"Content-Type": REPLY, "X-Total-Count": "5"}))
    write_recordings(tmp_path, {"logs": recording})
    ((name, reply),) = recordings(tmp_path)
    assert name == "logs"
    assert (reply.request.path, reply.request.query) == (request.path, "page=2")
    assert reply.request.route is TradingSessions.trade_logs.route
    assert reply.headers["X-Total-Count"] == "5"
    page = reply.decode()
    assert (page.total, page.data[0].id) == (5, "1")


def test_recordings_are_private_and_replace_only_what_was_recorded(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("mine")
    recording = Redactor().recording(reply_of({}))
    write_recordings(tmp_path, {"user.profile": recording, "health.basic": recording})
    write_recordings(tmp_path, {"user.profile": recording})
    assert {path.name for path in tmp_path.iterdir()} == {"notes.json", "user.profile.json"}
    assert (tmp_path / "notes.json").read_text() == "mine"
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "user.profile.json").stat().st_mode) == 0o600
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgumentError, match="cannot be written"):
        write_recordings(tmp_path / "file", {"user.profile": recording})


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="nowhere: there is no such folder"):
        list(recordings(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    "name",
    [
        "mnemonic",
        "seedPhrase",
        "seed",
        "passphrase",
        "passwd",
        "pwd",
        "sessionCookie",
        "credential",
        "otp",
        "userOtp",
        "refresh",
        "agentKey",
        "wallet_key",
        "encryptedKey",
        "accessKey",
        "signing_key",
        "bearer",
    ],
)
def test_secrets_are_known_by_their_names(name: str) -> None:
    assert json.loads(Redactor().recording(reply_of({name: "legal winner"})).body) == {name: "***"}
    assert "winner" not in Redactor().text(f"{name}=winner, x")


def test_what_is_said_of_a_transaction_or_a_coin_stays() -> None:
    body = {
        "tokenAmount": "1.5",
        "tokenSymbol": "USDC",
        "token_count": 2,
        "transactionCount": 3,
        "lastTransactionAt": "today",
        "transactionStatus": "confirmed",
        "notPaid": "x",
        "footprint": "x",
        "seeded": "x",
        "refreshInterval": "5s",
        "tokens": [{"symbol": "USDC", "amount": "5", "raw": "legal winner"}],
        "transactions": [{"status": "confirmed", "transactionHash": HASH}],
    }
    found = json.loads(Redactor().recording(reply_of(body)).body)
    fake = found["transactions"][0].pop("transactionHash")
    assert re.fullmatch("0x[0-9]{64}", fake)
    assert fake != HASH
    body["transactions"] = [{"status": "confirmed"}]
    body["tokens"] = [{"symbol": "USDC", "amount": "5", "raw": "***"}]
    assert found == body


def test_bearer_tokens_are_blanked_wherever_they_stand() -> None:
    assert Redactor().text("sent Bearer abc.def-123, twice") == "sent Bearer ***, twice"
    assert Redactor().text("missing bearer token") == "missing bearer token"


def test_addresses_of_people_are_replaced_where_they_are_percent_encoded() -> None:
    request = Referrals.get.request("jane+x@example.org", params={"mail": "jane+x@example.org", "code": "a/b"})
    headers = {"Content-Type": REPLY, "Link": "<https://h/x?email=jane%2Bx%40example.org>; rel=next"}
    recording = Redactor().recording(reply_of({"next": "/x?m=jane%2bx%40example.org"}, request, headers))
    email = json.loads(recording.body)["next"].removeprefix("/x?m=")
    assert re.fullmatch(r"user\d%40example\.com", email)
    assert recording.path == f"/referrals/{email}"
    assert recording.query == f"mail={email}&code=a%2Fb"
    assert recording.headers["link"] == f"<https://h/x?email={email}>; rel=next"


def test_referral_codes_are_replaced() -> None:
    redactor = Redactor()
    profile = json.loads(redactor.recording(reply_of({"referralCode": "JANEDOE7", "code": "E1"})).body)
    own = json.loads(redactor.recording(reply_of({"code": "JANEDOE7"}, Referrals.get.request("1"))).body)
    assert profile == {"referralCode": "CODE1", "code": "E1"}
    assert own == {"code": "CODE1"}


def test_keys_that_are_redacted_alike_stay_apart() -> None:
    keys = [f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.key{number}" for number in range(3)]
    found = json.loads(Redactor().recording(reply_of(dict.fromkeys(keys, 1))).body)
    assert len(found) == 3
    assert not any("eyJ" in name for name in found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no recording"),
        ('{"method":"GET","path":"/x","templ', "x.json: this is no recording"),
        ("{}", "no recording"),
        (
            '{"method":"GET","path":"/x","template":"/x","status":200,"headers":{},"body":""}',
            "GET /x, which this SDK does not have",
        ),
    ],
)
def test_a_file_that_is_no_recording_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InvalidArgumentError, match=said):
        list(recordings(tmp_path))
