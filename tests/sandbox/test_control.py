"""The control endpoint: what Python can do to a sandbox, done over HTTP, by this machine alone."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
import pytest

from alura_async.sandbox import Sandbox
from alura_async.sandbox.durations import Duration

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
    tried = 0
    for command in index["commands"]:
        path, example = command["path"].removeprefix("/_sandbox"), command["example"]
        if path.endswith(":name"):
            continue
        query = example if example.startswith("?") else ""
        body = msgspec.json.decode(example) if example.startswith("{") else None
        status, reply = await control(sandbox, http, command["method"], path + query, body)
        assert status in (200, 501), (command, reply)
        tried += status == 200
    assert tried == 11


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


class Scenario:
    """A market that takes down what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def crash(self, symbol: str, *, percent: Decimal | float, over: Duration, at: object = None) -> None:
        self.told.append((symbol, percent, over, at))


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Some conditions."""

    fee: Decimal = Decimal("0.1")
    lag: timedelta = timedelta(0)


class Furnished(Sandbox):
    """A sandbox with the parts that the control endpoint leads to."""

    conditions = Conditions()
    shapes = "canonical"

    def __init__(self) -> None:
        super().__init__()
        self.market = Scenario()

    def balances(self) -> object:
        return {"0x1": {"available": Decimal("1.50")}}


async def test_the_parts_of_a_sandbox_are_reached_by_their_names(http: aiohttp.ClientSession) -> None:
    async with Furnished() as sandbox:
        crash = {"symbol": "BTC", "percent": 12, "over": "10m"}
        assert (await control(sandbox, http, "POST", "/market/crash", crash))[0] == 200
        assert sandbox.market.told == [("BTC", 12, timedelta(minutes=10), None)]
        finer = {"symbol": "BTC", "percent": 12.5, "over": 90.5}
        assert (await control(sandbox, http, "POST", "/market/crash", finer))[0] == 200
        assert sandbox.market.told[1:] == [("BTC", Decimal("12.5"), timedelta(seconds=90.5), None)]
        status, reply = await control(sandbox, http, "POST", "/market/crash", {"symbol": "BTC"})
        assert (status, "percent" in reply["message"]) == (400, True)
        status, reply = await control(sandbox, http, "POST", "/market/told", {})
        assert (status, reply["message"]) == (404, "The market has no 'told'; it has: crash")
        assert (await control(sandbox, http, "POST", "/market/__init__", {}))[0] == 404
        _, reply = await control(sandbox, http, "PUT", "/conditions", {"fee": "0.25", "lag": "250ms"})
        assert sandbox.conditions == Conditions(fee=Decimal("0.25"), lag=timedelta(milliseconds=250))
        assert reply["fee"] == "0.25"
        assert (await control(sandbox, http, "PUT", "/conditions", {"fees": 1}))[0] == 400
        assert (await control(sandbox, http, "PUT", "/conditions", {"fee": "much"}))[0] == 400
        assert (await control(sandbox, http, "PUT", "/shapes", {"shapes": "wrapped"}))[1] == {"shapes": "wrapped"}
        assert sandbox.shapes == "wrapped"
        assert (await control(sandbox, http, "GET", "/balances"))[1] == {"0x1": {"available": "1.50"}}


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


async def test_a_caller_from_elsewhere_finds_nothing_there(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No other machine takes part in a test: the peer's address is all that is made up.
    async with Sandbox() as sandbox:
        monkeypatch.setattr(aiohttp.web.BaseRequest, "remote", "192.0.2.7")
        async with http.get(f"{sandbox.url}/_sandbox") as reply:
            assert (reply.status, (await reply.json())["message"]) == (404, "Cannot GET /_sandbox")
        assert [request.path for request in sandbox.requests] == ["/_sandbox"]
