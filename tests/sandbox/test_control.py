"""The control endpoint: what Python can do to a sandbox, done over HTTP, by this machine alone."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
import pytest

from alura_async.sandbox import Conditions, Quirks, Sandbox

from .caller import Caller
from .conftest import START

pytestmark = pytest.mark.anyio


async def control(
    sandbox: Sandbox, http: aiohttp.ClientSession, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    """Status and content of a command's reply."""
    data = None if body is None else msgspec.json.encode(body)
    if data is not None:
        headers.setdefault("Content-Type", "application/json")
    async with http.request(method, f"{sandbox.url}/_sandbox{path}", data=data, headers=headers) as reply:
        assert reply.content_type == "application/json"
        return reply.status, msgspec.json.decode(await reply.read())


async def test_it_says_what_there_is_with_examples_that_work(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    status, index = await control(sandbox, http, "GET", "")
    assert status == 200
    assert (await control(sandbox, http, "GET", "/"))[1] == index
    for command in index["commands"]:
        path, example = command["path"].removeprefix("/_sandbox"), command["example"]
        if path.endswith(":name"):
            continue
        query = example if example.startswith("?") else ""
        body = msgspec.json.decode(example) if example.startswith("{") else None
        status, reply = await control(sandbox, http, command["method"], path + query, body)
        assert status == 200, (command, reply)


async def test_faults_are_added_shown_and_removed(
    sandbox: Sandbox, http: aiohttp.ClientSession, stranger: Caller
) -> None:
    status, reply = await control(sandbox, http, "POST", "/faults", {"rules": "503 x1 on GET /health; hang on POST /*"})
    assert status == 200
    assert [rule["rule"] for rule in reply["added"]] == ["503 x1 on GET /health", "hang on POST /*"]
    assert (await stranger.call("GET", "/health")).status == 503
    _, reply = await control(sandbox, http, "GET", "/faults")
    assert [(rule["number"], rule["hits"], rule["matched"]) for rule in reply["rules"]] == [(1, 1, 1), (2, 0, 0)]
    assert reply["kinds"]["reset"] == ["before", "after", "early"]
    status, _ = await control(sandbox, http, "DELETE", "/faults/1")
    assert status == 200
    assert [str(rule) for rule in sandbox.faults.rules] == ["hang on POST /*"]
    assert (await control(sandbox, http, "DELETE", "/faults/1"))[0] == 404
    await control(sandbox, http, "DELETE", "/faults")
    assert sandbox.faults.rules == ()


async def test_a_rule_that_cannot_be_read_is_a_400_that_points_at_the_word(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    status, reply = await control(sandbox, http, "POST", "/faults", {"rules": "503; rset"})
    assert (status, reply["statusCode"]) == (400, 400)
    assert "is it 'reset'" in reply["message"]
    assert reply["message"].endswith("^^^^")
    for body in ({}, {"rules": 3}, {"rules": "503", "on": "*"}):
        assert (await control(sandbox, http, "POST", "/faults", body))[0] == 400
    assert sandbox.faults.rules == ()


async def test_no_rule_hits_the_control_endpoint_and_nothing_records_or_throttles_it(
    http: aiohttp.ClientSession,
) -> None:
    async with Sandbox(limit=1, faults="reset") as sandbox:
        for _ in range(5):
            assert (await control(sandbox, http, "GET", "/clock"))[0] == 200
        assert list(sandbox.requests) == []
        sandbox.faults.clear()
        document = (await Caller(sandbox, http).call("GET", "/api/docs-json")).body
        assert b"_sandbox" not in document


async def test_the_ledger_is_read_from_where_one_left_off_and_by_account_and_kind(
    sandbox: Sandbox, http: aiohttp.ClientSession, caller: Caller
) -> None:
    other = await Caller(sandbox, http).sign_in()
    await caller.post("/user/withdraw", {"amount": 25.5})
    _, reply = await control(sandbox, http, "GET", "/ledger")
    assert [entry["kind"] for entry in reply["entries"]] == [entry.kind for entry in sandbox.ledger]
    assert reply["entries"][-1]["detail"]["amount"] == "25.5"
    last = len(sandbox.ledger)
    _, reply = await control(sandbox, http, "GET", f"/ledger?after={last - 1}")
    assert [entry["number"] for entry in reply["entries"]] == [last]
    _, reply = await control(sandbox, http, "GET", f"/ledger?account={other.address.lower()}&kind=signed_in")
    assert [entry["account"] for entry in reply["entries"]] == [other.address]
    _, reply = await control(sandbox, http, "GET", "/ledger?limit=2")
    assert (len(reply["entries"]), reply["more"]) == (2, True)
    assert (await control(sandbox, http, "GET", "/ledger?after=-1"))[0] == 400
    assert (await control(sandbox, http, "GET", "/ledger?since=1"))[0] == 400


async def test_requests_show_what_hit_them(sandbox: Sandbox, http: aiohttp.ClientSession, stranger: Caller) -> None:
    sandbox.faults.add("503 x1")
    await stranger.call("GET", "/health")
    await stranger.call("GET", "/health")
    _, reply = await control(sandbox, http, "GET", "/requests")
    assert [(request["status"], request["fault"], request["executed"]) for request in reply["requests"]] == [
        (503, "503", False),
        (200, None, True),
    ]
    _, reply = await control(sandbox, http, "GET", "/requests?limit=1")
    assert [request["status"] for request in reply["requests"]] == [200]
    await control(sandbox, http, "DELETE", "/requests")
    assert list(sandbox.requests) == []


@pytest.mark.parametrize(("by", "moved"), [("1h30m", 5400), (90, 90), (0.5, 0.5)])
async def test_the_clock_is_read_and_moved(
    sandbox: Sandbox, http: aiohttp.ClientSession, by: object, moved: float
) -> None:
    assert (await control(sandbox, http, "GET", "/clock"))[1] == {"now": "2024-05-01T12:30:15Z"}
    assert (await control(sandbox, http, "POST", "/clock/advance", {"by": by}))[0] == 200
    assert sandbox.now - START == timedelta(seconds=moved)
    for wrong in ({}, {"by": "soon"}, {"by": -1}, {"by": None}, {"by": [1]}, {"seconds": 1}):
        assert (await control(sandbox, http, "POST", "/clock/advance", wrong))[0] == 400


async def test_tokens_expire_and_wallets_are_given(
    sandbox: Sandbox, http: aiohttp.ClientSession, caller: Caller
) -> None:
    assert (await control(sandbox, http, "POST", "/tokens/expire", {}))[0] == 200
    assert (await caller.call("GET", "/user/profile")).status == 401
    _, wallet = await control(sandbox, http, "POST", "/wallets", {})
    somebody = await Caller(sandbox, http, wallet["privateKey"]).sign_in()
    assert somebody.address == wallet["address"]
    assert await somebody.available() == 10_000


async def test_the_market_does_what_it_is_told(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    before = sandbox.market.price("BTC")
    crash = {"symbol": "BTC", "percent": 12.5, "over": 90}
    assert await control(sandbox, http, "POST", "/market/crash", crash) == (200, {"done": "crash", "result": None})
    sandbox.advance(seconds=91)
    assert abs(sandbox.market.price("BTC") / before - Decimal("0.875")) < Decimal("0.001")
    later = {"symbol": None, "over": "10m", "at": "2024-05-02T00:00:00Z"}
    assert (await control(sandbox, http, "POST", "/market/halt", later))[0] == 200
    assert (await control(sandbox, http, "POST", "/market/price", {"symbol": "ETH"}))[1] == {
        "done": "price",
        "result": str(sandbox.market.price("ETH")),
    }


@pytest.mark.parametrize(
    ("name", "body", "status", "words"),
    [
        ("crash", {"symbol": "BTC"}, 400, "percent"),
        ("crash", {"symbol": "BTC", "percent": "much", "over": 1}, 400, "percent"),
        ("crash", {"symbol": "BTC", "percent": 5, "over": "soon"}, 400, "'10m'"),
        ("crash", {"symbol": "NOPE", "percent": 5, "over": 1}, 400, "NOPE"),
        ("halt", {"symbol": "BTC", "over": 1, "at": "2020-02-01T00:00:00Z"}, 400, "what has happened stays"),
        ("told", {}, 404, "crash, halt, outage, price, rally"),
        ("__init__", {}, 404, "crash, halt, outage, price, rally"),
    ],
)
async def test_the_market_refuses_in_words_what_it_cannot_do(
    sandbox: Sandbox, http: aiohttp.ClientSession, name: str, body: object, status: int, words: str
) -> None:
    found, reply = await control(sandbox, http, "POST", f"/market/{name}", body)
    assert (found, words in reply["message"]) == (status, True), reply


async def test_conditions_shapes_and_quirks_are_set_and_shown(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    _, reply = await control(sandbox, http, "PUT", "/conditions", {"taker_fee": 0.25, "lag": "250ms"})
    assert sandbox.conditions == Conditions(taker_fee=Decimal("0.25"), lag=timedelta(milliseconds=250))
    assert (await control(sandbox, http, "GET", "/conditions"))[1] == reply
    assert (reply["taker_fee"], reply["lag"]) == ("0.25", "PT0.25S")
    assert (await control(sandbox, http, "PUT", "/conditions", {"fees": 1}))[0] == 400
    assert (await control(sandbox, http, "PUT", "/conditions", {"taker_fee": "much"}))[0] == 400
    assert sandbox.conditions.lag_ms == 250
    assert (await control(sandbox, http, "PUT", "/shapes", {"shapes": "mongo"}))[1] == {"shapes": "mongo"}
    assert sandbox.shapes == "mongo"
    assert (await control(sandbox, http, "PUT", "/shapes", {"shapes": "wrapped"}))[0] == 400
    assert (await control(sandbox, http, "PUT", "/quirks", {"page_cap": 5}))[1]["page_cap"] == 5
    assert sandbox.quirks == Quirks(page_cap=5)
    assert (await control(sandbox, http, "PUT", "/quirks", {"page_cap": 0}))[0] == 400


async def test_balances_are_shown_and_sum_to_nothing(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await Caller(sandbox, http).sign_in()
    _, reply = await control(sandbox, http, "GET", "/balances")
    assert len(reply) == 3 + 7
    assert sum(map(Decimal, reply.values())) == 0


async def test_what_is_not_there_is_said_with_what_is(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    status, reply = await control(sandbox, http, "GET", "/nope")
    assert status == 404
    assert "GET /_sandbox/ledger" in reply["message"]
    assert (await control(sandbox, http, "PUT", "/clock", {}))[0] == 405
    # A path that only begins like it belongs to the API, which has none such.
    async with http.get(sandbox.url + "/_sandboxes") as answer:
        assert answer.status == 404
    assert [request.path for request in sandbox.requests] == ["/_sandboxes"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:80"}, 200),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "evil.example:80"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "[::1"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "http://127.0.0.1"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_pages_of_other_origins_are_refused(
    sandbox: Sandbox, http: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    assert (await control(sandbox, http, "POST", "/tokens/expire", {}, **headers))[0] == status


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_what_a_form_can_send_is_refused(sandbox: Sandbox, http: aiohttp.ClientSession, media: str) -> None:
    status, _ = await control(sandbox, http, "POST", "/faults", {"rules": "503"}, **{"Content-Type": media})
    assert status == 415
    assert sandbox.faults.rules == ()


@pytest.mark.parametrize("body", [b"[]", b"{", b"3", b"\xff"])
async def test_a_body_that_is_no_object_is_refused(sandbox: Sandbox, http: aiohttp.ClientSession, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    async with http.post(f"{sandbox.url}/_sandbox/faults", data=body, headers=headers) as reply:
        assert reply.status == 400


async def test_a_body_that_cannot_be_unpacked_is_refused(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with http.post(f"{sandbox.url}/_sandbox/faults", data=b"no gzip", headers=headers) as reply:
        assert (reply.status, (await reply.json())["message"]) == (400, "request entity cannot be read")


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
async def test_what_comes_by_way_of_a_proxy_finds_nothing_there(
    sandbox: Sandbox, http: aiohttp.ClientSession, header: str
) -> None:
    status, reply = await control(sandbox, http, "GET", "", **{header: "127.0.0.1"})
    assert (status, reply["message"]) == (404, "Cannot GET /_sandbox")


async def test_a_mistaken_name_is_answered_with_the_right_ones(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    _, reply = await control(sandbox, http, "PUT", "/conditions", {"fees": 1})
    assert "'fees'" in reply["message"]
    assert "taker_fee, " in reply["message"]
    assert "Decimal" not in reply["message"]
    _, reply = await control(sandbox, http, "GET", "/nope")
    assert "DELETE /_sandbox/faults/:name" in reply["message"]
    assert "POST /_sandbox/market/:name" in reply["message"]


async def test_a_caller_from_elsewhere_finds_nothing_there(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No other machine takes part in a test: the peer's address is all that is made up.
    async with Sandbox() as sandbox:
        monkeypatch.setattr(aiohttp.web.BaseRequest, "remote", "192.0.2.7")
        async with http.get(f"{sandbox.url}/_sandbox") as reply:
            assert (reply.status, (await reply.json())["message"]) == (404, "Cannot GET /_sandbox")
        assert [request.path for request in sandbox.requests] == ["/_sandbox"]
