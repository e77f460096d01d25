"""Faults on command: what arrives on the wire, what was executed, and which calls are hit."""

from __future__ import annotations

import asyncio
import gc
import gzip
import logging
import threading
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Literal

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alura_async.errors import ConfigurationError
from alura_async.sandbox import PERSONALITIES, Fault, ReceivedRequest, Rule, Sandbox
from alura_async.sandbox.faults import KINDS, MALFORMED, STRAY
from alura_async.sandbox.refusals import BUILDER_FEE
from alura_async.sandbox.routes import ROUTES

from .caller import Caller
from .conftest import START

pytestmark = pytest.mark.anyio

WITHDRAW = {"amount": 25}
PATH = "/user/withdraw"


class Line:
    """One connection to a sandbox, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(self, method: str, path: str, token: str | None = None, body: Any = None) -> None:
        content = b"" if body is None else msgspec.json.encode(body)
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        if body is not None:
            lines.append("Content-Type: application/json")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + content)

    async def rest(self) -> tuple[bytes, str]:
        """All bytes until the connection ends, and how: `FIN` or `RST`."""
        data = b""
        while True:
            try:
                piece = await asyncio.wait_for(self.reader.read(65536), 5)
            except ConnectionResetError:
                return data, "RST"
            if not piece:
                return data, "FIN"
            data += piece

    async def reply(self) -> tuple[bytes, bytes]:
        """Head and body of a sound reply."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        return head, await asyncio.wait_for(self.reader.readexactly(length), 5)


@asynccontextmanager
async def connected(sandbox: Sandbox) -> AsyncIterator[Line]:
    port = int(sandbox.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def withdrawal(sandbox: Sandbox, caller: Caller, rule: str | Fault) -> tuple[bytes, str]:
    """What one withdrawal gives that meets a fault."""
    with sandbox.faults.add(rule, on=f"POST {PATH}"):
        async with connected(sandbox) as line:
            line.ask("POST", PATH, caller.token, WITHDRAW)
            return await line.rest()


def executed(sandbox: Sandbox) -> bool:
    """Whether a withdrawal was carried out; the record of the request and the ledger must agree."""
    request = [request for request in sandbox.requests if request.path == PATH][-1]
    kinds = [entry.kind for entry in sandbox.ledger]
    assert request.executed is ("withdrawn" in kinds)
    assert request.account is not None
    return request.executed


def split(data: bytes) -> tuple[bytes, bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


# ── What ends the connection ──


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("kind", "end"), [("reset", "RST"), ("close", "FIN")])
async def test_a_connection_ends_without_a_byte_and_the_ledger_knows_whether_it_was_executed(
    sandbox: Sandbox, caller: Caller, kind: str, end: str, when: str
) -> None:
    assert await withdrawal(sandbox, caller, f"{kind}-{when}") == (b"", end)
    assert executed(sandbox) is (when == "after")
    request = sandbox.requests[-1]
    assert request.status is None
    assert request.fault == (kind if when == "before" else f"{kind}-{when}")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("end", ["FIN", "RST"])
@pytest.mark.parametrize("where", ["status-line", "headers", "0", "11", "50%", "999999"])
async def test_a_reply_is_cut_where_it_is_told(
    sandbox: Sandbox, caller: Caller, where: str, end: str, when: str
) -> None:
    fault = f"truncate-{when}={where}" + (",reset" if end == "RST" else "")
    data, ended = await withdrawal(sandbox, caller, fault)
    assert ended == end
    assert executed(sandbox) is (when == "after")
    head, body = split(data)
    if where == "status-line":
        assert data == b"HTTP/1.1 2"
    elif where == "headers":
        assert data.startswith(b"HTTP/1.1 201 Created\r\n")
        assert b"\r\n\r\n" not in data
    else:
        announced = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
        length = {"0": 0, "11": 11, "50%": announced // 2, "999999": announced - 1}[where]
        assert len(body) == min(length, announced - 1)
    assert sandbox.requests[-1].status == (None if where == "status-line" else 201)


async def test_a_cut_reply_need_not_have_announced_its_length(sandbox: Sandbox, caller: Caller) -> None:
    data, end = await withdrawal(sandbox, caller, "truncate=8,unannounced")
    head, body = split(data)
    assert (end, len(body)) == ("FIN", 8)
    assert b"content-length" not in head.lower()
    assert b"transfer-encoding" not in head.lower()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_garbage_is_what_one_says_or_something_that_is_not_http(
    sandbox: Sandbox, caller: Caller, when: Literal["before", "after"]
) -> None:
    data, end = await withdrawal(sandbox, caller, f"garbage-{when}=hex:00ff206e6f2048545450")
    assert (data, end) == (b"\x00\xff no HTTP", "FIN")
    data, end = await withdrawal(sandbox, caller, Fault.garbage(when=when))
    assert data
    assert not data.startswith(b"HTTP")
    assert executed(sandbox) is (when == "after")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("variety", MALFORMED)
async def test_a_malformed_reply_breaks_http_in_its_own_way(
    sandbox: Sandbox, caller: Caller, variety: str, when: str
) -> None:
    data, end = await withdrawal(sandbox, caller, f"malformed-{when}={variety}")
    head, body = split(data)
    assert end == "FIN"
    assert executed(sandbox) is (when == "after")
    assert {
        "bare-html": data.startswith(b"<!doctype html>"),
        "body-with-204": head.startswith(b"HTTP/1.1 204 No Content\r\n") and body.startswith(b"{"),
        "chunk-size": b"Transfer-Encoding: chunked" in head and body.startswith(b"xyz\r\n"),
        "length-and-chunked": b"Transfer-Encoding: chunked" in head and b"Content-Length: " in head,
        "long-header": len(head) > 20_000,
        "nul": b"\0" in head,
        "two-lengths": head.count(b"Content-Length: ") == 2,
    }[variety]


@pytest.mark.parametrize("variety", [name for name in MALFORMED if name != "body-with-204"])
async def test_aiohttp_takes_a_malformed_reply_for_an_error(sandbox: Sandbox, caller: Caller, variety: str) -> None:
    sandbox.faults.add(f"malformed={variety}")
    with pytest.raises(aiohttp.ClientResponseError, match="400"):
        await caller.call("GET", "/health")


# ── Bodies that cannot be trusted ──


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_body_may_be_longer_or_shorter_than_announced(sandbox: Sandbox, caller: Caller, when: str) -> None:
    data, end = await withdrawal(sandbox, caller, f"length-{when}=20")
    head, body = split(data)
    assert end == "FIN"
    assert b"Content-Length: %d\r\n" % (len(body) + 20) in head + b"\r\n"
    assert executed(sandbox) is (when == "after")
    sandbox.faults.add(f"length-{when}=-6")
    with pytest.raises(aiohttp.ClientResponseError, match="400"):
        await caller.call("POST", PATH, WITHDRAW)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_last_chunk_may_be_missing(sandbox: Sandbox, caller: Caller, when: str) -> None:
    data, end = await withdrawal(sandbox, caller, f"unfinished-{when}")
    head, body = split(data)
    size, _, rest = body.partition(b"\r\n")
    assert (end, len(rest)) == ("FIN", int(size, 16) + 2)
    assert b"Transfer-Encoding: chunked" in head
    assert executed(sandbox) is (when == "after")
    sandbox.faults.add("unfinished")
    with pytest.raises(aiohttp.ClientPayloadError):
        await caller.call("GET", "/health")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_gzip_may_be_none_or_end_early(sandbox: Sandbox, caller: Caller, when: str) -> None:
    with sandbox.faults.add(f"short-gzip-{when}"):
        async with connected(sandbox) as line:
            line.ask("POST", PATH, caller.token, WITHDRAW)
            head, body = await line.reply()
            assert b"Content-Encoding: gzip" in head
            with pytest.raises(EOFError):
                gzip.decompress(body)
    assert executed(sandbox) is (when == "after")
    with sandbox.faults.add(f"bad-gzip-{when}"), pytest.raises(aiohttp.ClientPayloadError):
        await caller.call("POST", PATH, WITHDRAW)


async def test_a_bomb_is_small_on_the_wire_large_when_unpacked_and_sound(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.faults.add("bomb=3MiB")
    async with connected(sandbox) as line:
        line.ask("GET", "/user/profile", caller.token)
        _, body = await line.reply()
    assert len(body) < 10_000
    unpacked = zlib.decompress(body, zlib.MAX_WBITS | 16)
    assert len(unpacked) > 3 << 20
    assert msgspec.json.decode(unpacked)["address"] == caller.address


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_body_may_be_a_page_nothing_or_half_of_json(sandbox: Sandbox, caller: Caller, when: str) -> None:
    with sandbox.faults.add(f"html-{when}"):
        reply = await caller.call("POST", PATH, WITHDRAW)
        assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html")
        assert reply.body.startswith(b"<!doctype html>")
    assert executed(sandbox) is (when == "after")
    with sandbox.faults.add(f"empty-{when}"):
        async with caller.http.post(sandbox.url + PATH, headers={"Authorization": f"Bearer {caller.token}"}) as answer:
            assert (answer.content_type, await answer.read()) == ("application/json", b"")
    with sandbox.faults.add(f"invalid-json-{when}"), pytest.raises(msgspec.DecodeError):
        await caller.call("POST", PATH, WITHDRAW)


# ── Replies that are sound, and wrong ──


@pytest.mark.parametrize("when", ["early", "before", "after"])
async def test_a_status_has_a_message_and_headers(sandbox: Sandbox, caller: Caller, when: str) -> None:
    with sandbox.faults.add(f'503-{when}="Down, for now",Retry-After:7'):
        reply = await caller.call("POST", PATH, WITHDRAW)
    assert reply.status == 503
    assert reply.headers["Retry-After"] == "7"
    assert reply.data == {"statusCode": 503, "message": "Down, for now", "error": "Service Unavailable"}
    assert executed(sandbox) is (when == "after")
    assert sandbox.requests[-1].status == 503
    with sandbox.faults.add(f"429-{when}"):
        reply = await caller.call("POST", PATH, WITHDRAW)
    assert reply.data == {"statusCode": 429, "message": "ThrottlerException: Too Many Requests"}


async def test_a_status_may_have_any_body_and_any_number(sandbox: Sandbox, caller: Caller) -> None:
    with sandbox.faults.add('502=body:"bad gateway",Content-Type:text/plain'):
        reply = await caller.call("GET", "/health")
        assert (reply.status, reply.body, reply.headers["Content-Type"]) == (502, b"bad gateway", "text/plain")
    with sandbox.faults.add(Fault.status(599)):
        assert (await caller.call("GET", "/health")).data == {"statusCode": 599, "message": "Unassigned"}
    with sandbox.faults.add(Fault.status(204)):
        async with caller.http.get(sandbox.url + "/health") as answer:
            assert (answer.status, await answer.read()) == (204, b"")
    data, end = await withdrawal(sandbox, caller, "103")
    assert (data, end) == (b"HTTP/1.1 103 Early Hints\r\n\r\n", "FIN")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_builder_fee_fails_before_or_after_the_session_is_there(
    sandbox: Sandbox, caller: Caller, when: str
) -> None:
    sandbox.faults.add(f"builder-fee-{when}=502 x1 on POST /trading-sessions")
    body = {"budget": 100, "profitTarget": 40, "assetIndex": 0}
    reply = await caller.call("POST", "/trading-sessions", body)
    assert reply.status == 502
    assert reply.data["message"] == "Builder fee approval failed: HTTP request failed: status 429"
    assert len(await caller.get("/trading-sessions/active")) == (when == "after")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_leads_elsewhere(sandbox: Sandbox, caller: Caller, code: int) -> None:
    sandbox.faults.add(f"redirect-after=http://127.0.0.1:9/x?a=b,{code} on POST {PATH}")
    headers = {"Authorization": f"Bearer {caller.token}"}
    async with caller.http.post(sandbox.url + PATH, json=WITHDRAW, headers=headers, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (code, "http://127.0.0.1:9/x?a=b")
    assert executed(sandbox)


async def test_headers_are_added_or_replaced_and_the_rest_stays(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.faults.add('headers=X-Cache:stale,date:"Mon, 01 Jan 2024 00:00:00 GMT" x1')
    changed, normal = [await caller.call("GET", "/health") for _ in range(2)]
    assert changed.body == normal.body
    assert changed.headers["X-Cache"] == "stale"
    assert changed.headers["Date"] == "Mon, 01 Jan 2024 00:00:00 GMT"
    assert "X-Cache" not in normal.headers
    assert normal.headers["Date"] == "Wed, 01 May 2024 12:30:15 GMT"


# ── Time ──


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_delay_holds_back_the_call_or_its_reply(sandbox: Sandbox, caller: Caller, when: str) -> None:
    sandbox.faults.add(f"delay-{when}=200ms on POST {PATH}")
    started = time.monotonic()
    async with connected(sandbox) as line:
        line.ask("POST", PATH, caller.token, WITHDRAW)
        await _until(lambda: sandbox.requests[-1].fault is not None)
        assert ("withdrawn" in [entry.kind for entry in sandbox.ledger]) is (when == "after")
        head, _ = await line.reply()
    assert head.startswith(b"HTTP/1.1 201 ")
    assert time.monotonic() - started >= 0.2
    assert executed(sandbox)


async def test_a_delayed_call_is_carried_out_though_its_caller_has_gone_and_a_hanging_one_never(
    sandbox: Sandbox, caller: Caller
) -> None:
    for rule, happens in (("delay=150ms x1", True), ("hang x1", False)):
        before = len(sandbox.ledger)
        sandbox.faults.add(rule)
        async with connected(sandbox) as line:
            line.ask("POST", PATH, caller.token, WITHDRAW)
            await _until(lambda: sandbox.requests[-1].fault is not None)
        assert len(sandbox.ledger) == before
        await asyncio.sleep(0.3)
        assert (len(sandbox.ledger) > before) is happens


@pytest.mark.parametrize("when", ["early", "before", "after"])
async def test_a_hanging_call_gets_no_byte_until_the_sandbox_stops(http: aiohttp.ClientSession, when: str) -> None:
    async with Sandbox(seed=7, start=START, speed=0, limit=None) as sandbox:
        caller = await Caller(sandbox, http).sign_in()
        sandbox.faults.add(f"hang-{when} on POST /*")
        async with connected(sandbox) as line:
            line.ask("POST", PATH, caller.token, WITHDRAW)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(line.reader.read(1), 0.1)
            assert executed(sandbox) is (when == "after")
            await sandbox.stop()
            assert (await line.rest())[0] == b""


async def test_a_hundred_hanging_and_waiting_callers_hold_up_no_stop_and_leave_nothing(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sandbox = Sandbox(seed=7, limit=None)
    await sandbox.start()
    caller = await Caller(sandbox, http).sign_in()
    tasks = set(asyncio.all_tasks())
    sandbox.faults.add("hang|hang-after|delay=1h|delay-after=1h|drip=1,1m")
    lines: list[Line] = []
    for _ in range(100):
        port = int(sandbox.url.rsplit(":", 1)[1])
        line = Line(*await asyncio.open_connection("127.0.0.1", port))
        line.ask("POST", "/user/close-all-positions", caller.token, {})
        lines.append(line)
    await _until(lambda: sum(request.fault is not None for request in sandbox.requests) == 100)
    for line in lines[:50]:
        line.writer.transport.abort()
    started = time.monotonic()
    await sandbox.stop()
    assert time.monotonic() - started < 1.0
    for line in lines[50:]:
        assert len((await line.rest())[0]) <= 1
        line.writer.close()
    gc.collect()
    assert asyncio.all_tasks() <= tasks
    noise = [record for record in caplog.records if record.levelno > logging.DEBUG or "Unclosed" in record.message]
    assert noise == []


async def test_a_hanging_call_ends_when_its_caller_hangs_up(sandbox: Sandbox, caller: Caller) -> None:
    tasks = set(asyncio.all_tasks())
    sandbox.faults.add("hang|hang-after|delay-after=1h|drip=1,1h")
    for _ in range(20):
        async with connected(sandbox) as line:
            line.ask("POST", "/user/close-all-positions", caller.token, {})
            await _until(lambda: sandbox.requests[-1].fault is not None)
            assert asyncio.all_tasks() > tasks
        await _until(lambda: asyncio.all_tasks() <= tasks)


async def test_a_reply_drips_headers_too(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.faults.add(f"drip=100,30ms on POST {PATH}")
    async with connected(sandbox) as line:
        line.ask("POST", PATH, caller.token, WITHDRAW)
        started, pieces = time.monotonic(), list[bytes]()
        while not b"".join(pieces).endswith(b"}"):
            pieces.append(await asyncio.wait_for(line.reader.read(65536), 5))
        assert len(pieces[0]) == 100
        assert time.monotonic() - started >= 0.03 * (len(b"".join(pieces)) // 100 - 1)
    assert executed(sandbox)


# ── After the reply ──


async def test_stray_bytes_come_on_the_idle_connection_after_a_sound_reply(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.faults.add_all('stray=50ms x1; stray=0s,"HTTP/1.1 408 No\\r\\n\\r\\n" x1')
    async with connected(sandbox) as line:
        line.ask("POST", PATH, caller.token, WITHDRAW)
        head, _ = await line.reply()
        assert head.startswith(b"HTTP/1.1 201 ")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(line.reader.read(1), 0.02)
        assert await asyncio.wait_for(line.reader.readexactly(len(STRAY)), 5) == STRAY
        line.ask("GET", "/health")
        head, _ = await line.reply()
        assert await asyncio.wait_for(line.reader.readexactly(len("HTTP/1.1 408 No\r\n\r\n")), 5)
    assert executed(sandbox)


async def test_a_stray_reply_is_a_whole_one_that_a_pooled_connection_takes_for_the_answer_of_the_next_post(
    sandbox: Sandbox, caller: Caller
) -> None:
    sandbox.faults.add("stray x1 on GET /user/profile")
    await caller.available()
    await asyncio.sleep(0.05)
    reply = await caller.call("POST", PATH, WITHDRAW)
    assert (reply.status, reply.data) == (200, {"ok": True, "message": "no"})


async def test_an_idle_connection_is_closed_after_the_reply(sandbox: Sandbox, caller: Caller) -> None:
    data, end = await withdrawal(sandbox, caller, "idle-close=30ms")
    head, body = split(data)
    assert (end, msgspec.json.decode(body)["status"]) == ("FIN", "completed")
    assert b"Connection: close" not in head
    assert executed(sandbox)


# ── What was not read ──


@pytest.mark.parametrize(("word", "seen"), [("reset-early", b""), ("401-early", b"HTTP/1.1 401 Unauthorized")])
async def test_early_is_before_the_body_was_read(sandbox: Sandbox, caller: Caller, word: str, seen: bytes) -> None:
    sandbox.faults.add(word)
    async with connected(sandbox) as line:
        line.writer.write(b"POST /user/withdraw HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        try:
            got = await asyncio.wait_for(line.reader.read(25), 5)
        except ConnectionResetError:
            got = b""
    assert got == seen
    assert not sandbox.requests[-1].executed


# ── What aiohttp makes of it ──


@pytest.mark.parametrize(
    ("rule", "raised"),
    [
        ("reset", aiohttp.ClientOSError),
        ("reset-after", aiohttp.ClientOSError),
        ("reset-early", aiohttp.ClientOSError),
        ("close", aiohttp.ClientConnectionError),
        ("truncate=status-line", aiohttp.ServerDisconnectedError),
        ("truncate=headers", aiohttp.ServerDisconnectedError),
        ("truncate=11", aiohttp.ClientPayloadError),
        ("truncate=11,reset", aiohttp.ClientOSError | aiohttp.ClientPayloadError),
        ("length=20", aiohttp.ClientPayloadError),
        ("garbage", aiohttp.ClientResponseError),
        ("malformed=body-with-204", aiohttp.ClientResponseError),
        ("hang", TimeoutError),
        ("drip=1,100ms", TimeoutError),
    ],
)
async def test_a_post_fails_as_measured(sandbox: Sandbox, caller: Caller, rule: str, raised: Any) -> None:
    sandbox.faults.add(rule, on=f"POST {PATH}")
    url, headers = sandbox.url + PATH, {"Authorization": f"Bearer {caller.token}"}
    limit = aiohttp.ClientTimeout(total=0.3)
    # What comes after a 204 is found by whoever uses the connection next.
    caught: BaseException | None = None
    for _ in range(2):
        try:
            async with caller.http.post(url, json=WITHDRAW, headers=headers, timeout=limit) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            caught = error
            break
    assert isinstance(caught, raised)


@pytest.mark.parametrize(("rule", "length"), [("truncate=8,unannounced", 8), ("short-gzip", None)])
async def test_a_post_is_cut_without_an_error_as_measured(
    sandbox: Sandbox, caller: Caller, rule: str, length: int | None
) -> None:
    sandbox.faults.add(rule, on=f"POST {PATH}")
    headers = {"Authorization": f"Bearer {caller.token}"}
    async with caller.http.post(sandbox.url + PATH, json=WITHDRAW, headers=headers) as answer:
        body = await answer.read()
    assert answer.status == 201
    assert length is None or len(body) == length
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body)


async def test_aiohttp_sends_a_get_twice_and_a_post_once(sandbox: Sandbox, caller: Caller) -> None:
    rule = sandbox.faults.add("close x1")
    assert (await caller.call("GET", "/health")).status == 200
    assert (rule.hits, rule.matched) == (1, 2)


# ── Which calls ──


@pytest.mark.parametrize(
    ("on", "hit", "spared"),
    [
        ("*", ["GET /health", "GET /api/indicators/candles/BTC/1m"], ["GET /api/docs-json", "GET /nope"]),
        ("GET /api/*", ["GET /api/indicators/candles/BTC/1m"], ["GET /api/docs", "GET /health"]),
        ("/api/docs*", ["GET /api/docs", "GET /api/docs-json"], ["GET /health"]),
        ("POST *", ["POST /referrals/check"], ["GET /health"]),
        ("* /health", ["GET /health"], ["GET /health/kafka"]),
        (
            "GET /api/indicators/candles/:symbol/:interval",
            ["GET /api/indicators/candles/BTC/1m", "GET /api/indicators/candles/PURR%2FUSDC/1m"],
            ["GET /api/indicators/candles/history/BTC"],
        ),
        (
            "GET /api/indicators/candles/{s}/{i}",
            ["GET /api/indicators/candles/BTC/1m"],
            ["GET /api/indicators/candles/history/BTC"],
        ),
        (
            "GET /api/indicators/candles/BTC/*",
            ["GET /api/indicators/candles/BTC/1m"],
            ["GET /api/indicators/candles/ETH/1m"],
        ),
    ],
)
async def test_a_rule_hits_the_calls_that_it_is_for(
    sandbox: Sandbox, stranger: Caller, on: str, hit: list[str], spared: list[str]
) -> None:
    rule = sandbox.faults.add("418", on=on)
    for call in hit:
        assert (await stranger.call(*call.split())).status == 418, call
    for call in spared:
        assert (await stranger.call(*call.split())).status != 418, call
    assert (rule.hits, rule.matched) == (len(hit), len(hit))


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ("POST /trading-session", "POST /trading-sessions"),
        ("GET /user/withdraw", "there is POST /user/withdraw"),
        ("/helth", "GET /health"),
        ("GET /api/indicators/candles/BTC", "nearest"),
        ("GET api", "give method and path"),
        ("get /health", "give method and path"),
        ("/_sandbox*", "matches no endpoint"),
    ],
)
def test_a_place_that_no_call_can_be_at_is_an_error_that_names_the_nearest(on: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Sandbox().faults.add("503", on=on)


async def test_the_first_rule_that_fires_wins_and_the_others_do_not_see_the_call(
    sandbox: Sandbox, stranger: Caller
) -> None:
    first = sandbox.faults.add("501", times=2, skip=1)
    second = sandbox.faults.add("502")
    statuses = [(await stranger.call("GET", "/health")).status for _ in range(5)]
    assert statuses == [502, 501, 501, 502, 502]
    assert (first.hits, first.matched) == (2, 5)
    assert (second.hits, second.matched) == (3, 3)
    second.remove()
    second.remove()
    assert list(sandbox.faults.rules) == [first]
    assert (await stranger.call("GET", "/health")).status == 200
    sandbox.faults.clear()
    assert list(sandbox.faults.rules) == []


async def test_a_rule_ends_with_its_block(sandbox: Sandbox, stranger: Caller) -> None:
    with sandbox.faults.add("500") as rule:
        assert (await stranger.call("GET", "/health")).status == 500
    assert (await stranger.call("GET", "/health")).status == 200
    assert rule.hits == 1


async def test_the_same_calls_meet_the_same_faults_by_seed(http: aiohttp.ClientSession) -> None:
    async def statuses(seed: int) -> list[int]:
        async with Sandbox(seed=seed, start=START, speed=0, limit=None, faults="501|502|503 30%; 504 10%") as sandbox:
            stranger = Caller(sandbox, http)
            return [(await stranger.call("GET", "/health")).status for _ in range(200)]

    first = await statuses(1)
    assert first == await statuses(1)
    assert first != await statuses(2)
    assert set(first) == {200, 501, 502, 503, 504}
    assert 30 <= sum(status in (501, 502, 503) for status in first) <= 90


async def test_a_fault_before_comes_ahead_of_the_throttle_and_the_token(http: aiohttp.ClientSession) -> None:
    async with Sandbox(limit=1, faults=[Fault.status(500), "503"]) as sandbox:
        stranger = Caller(sandbox, http)
        assert [(await stranger.call("GET", "/user/profile")).status for _ in range(3)] == [500] * 3
        sandbox.faults.clear()
        assert (await stranger.call("GET", "/user/profile")).status == 401
        assert sandbox.requests[-1].executed is False


async def test_a_refusal_is_no_execution_whatever_a_fault_makes_of_it(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.faults.add("200-after")
    assert (await caller.call("POST", PATH, {"amount": -1})).status == 200
    assert executed(sandbox) is False


def test_rules_may_come_and_go_from_many_threads() -> None:
    with Sandbox.threaded(limit=None) as sandbox:

        def work() -> None:
            for _ in range(100):
                with sandbox.faults.add("503", probability=0.5):
                    repr(sandbox.faults)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sandbox.faults.rules == ()
        assert sandbox.faults.add("503").number == 401


# ── Text ──


@pytest.mark.parametrize(
    "text",
    [
        "503 x2 on POST /user/withdraw",
        "reset-after 5% on POST /*",
        "delay=250ms 10%",
        "hang x1 on GET /api/indicators/*",
        "429|500|reset|truncate=50%|hang 5%",
        '503="a, \\"b\\"; c | d",Retry-After:3 skip 4',
        "truncate=headers,reset|truncate=11,unannounced",
        "drip=1,20ms|stray=1h30m|idle-close=0s|length=-6|bomb=64MiB|malformed=nul|builder-fee-after=502",
        'redirect=http://127.0.0.1:9/x?a=b,307|headers=A:1,B:"2, 3"|garbage="\\u0000"',
    ],
)
def test_a_rule_reads_back_as_it_was_written(text: str) -> None:
    faults = Sandbox().faults
    rule = faults.add(text)
    assert str(rule) == text
    assert str(faults.add(str(rule))) == text


def test_words_come_in_any_order_and_rules_in_one_line() -> None:
    rules = Sandbox().faults.add_all(" 503 on POST /user/withdraw x2 5%  skip 1 ;; hang on * 7% ; reset on /health")
    assert [str(rule) for rule in rules] == [
        "503 x2 5% skip 1 on POST /user/withdraw",
        "hang 7%",
        "reset on /health",
    ]


RULES = Sandbox().faults
TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=0x2FFF), max_size=20)
NAMES = st.text("bodyXhe1!#$%&'*+-.^_`|~", min_size=1, max_size=9).filter(lambda name: name.lower() != "body")
HEADERS = st.dictionaries(NAMES, st.text('a:b/,;|"\\ é=', max_size=9))
BODIES = st.none() | st.binary(max_size=20) | st.text(max_size=9) | st.sampled_from(["hex:", "hex:ff", "body:é"])
WAITS = st.timedeltas(timedelta(0), timedelta(days=1))
WHEN = st.sampled_from(["before", "after"])
FAULTS = st.one_of(
    st.builds(
        Fault.status,
        st.integers(100, 599),
        TEXT,
        headers=HEADERS,
        body=BODIES,
        when=st.sampled_from(["early", "before", "after"]),
    ),
    st.builds(Fault.delay, WAITS, when=WHEN),
    st.builds(Fault.with_headers, HEADERS.filter(bool)),
    st.builds(Fault.garbage, BODIES, when=WHEN),
    st.builds(Fault.stray, WAITS, BODIES),
    st.builds(
        Fault.truncate,
        st.floats(0, 1),
        size=st.none() | st.integers(0, 1 << 30),
        place=st.sampled_from(["body", "headers", "status-line"]),
        reset=st.booleans(),
        announced=st.booleans(),
        when=WHEN,
    ),
    st.builds(Fault.html, st.integers(200, 599), when=WHEN),
    st.builds(Fault.redirect, st.text("htp:/.,x |", min_size=1, max_size=9), st.integers(301, 308), when=WHEN),
    st.builds(Fault.drip, st.integers(1, 1 << 30), st.timedeltas(timedelta(microseconds=1), timedelta(days=1))),
)


@given(
    st.lists(FAULTS, min_size=1, max_size=3),
    st.none() | st.integers(1, 1_000_000_000),
    st.floats(0, 1),
    st.integers(0, 1_000_000_000),
)
def test_any_rule_reads_back_as_the_same(faults: list[Fault], times: int | None, probability: float, skip: int) -> None:
    RULES.clear()
    rule = RULES.add(faults, times=times, probability=probability, skip=skip, on="GET  /health")
    again = RULES.add(str(rule))

    def told(rule: Rule) -> tuple[object, ...]:
        return rule.faults, rule.times, rule.probability, rule.skip, rule.on

    assert told(again) == told(rule)


@given(st.text('503 reset-after|=;"x%:,/*onPST', max_size=40))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    RULES.clear()
    try:
        rules = RULES.add_all(text)
    except ConfigurationError:
        assert RULES.rules == ()
    else:
        assert rules == list(RULES.rules)
        again = RULES.add_all("; ".join(map(str, rules)))
        assert list(map(str, again)) == list(map(str, rules))


@pytest.mark.parametrize(
    ("text", "said", "pointed"),
    [
        ("503 x2; rset 5%", "is it 'reset'", "rset"),
        ("503 often", "possible are x2", "often"),
        ("503|5o3", "is no fault", "5o3"),
        ("700", "from 100 to 599", "700"),
        ("503 101%", "0% to 100%", "101%"),
        ("503 x0", "from 1 to", "x0"),
        ("503 x99999999999", "no whole number up to", "x99999999999"),
        ("503 5% 6%", "said twice", "6%"),
        ("503 on", "on what", "on"),
        ("delay", "how long", "delay"),
        ("delay=soon", "timedelta", "delay=soon"),
        ("delay=25h", "up to a day", "delay=25h"),
        ("drip-before", "possible after, not before", "drip-before"),
        ("hang=3", "what is '3'", "hang=3"),
        ("length=0", "difference", "length=0"),
        ("bomb=2GiB", "from 1048576", "bomb=2GiB"),
        ("headers=Content-Length:3", "use length", "headers=Content-Length:3"),
        ("headers", "which", "headers"),
        ("truncate=5,6", "already", "truncate=5,6"),
        ("malformed=x", "bare-html", "malformed=x"),
        ('503="open', "open", '"'),
        ("500; 503 on POST  /trading-session x2", "nearest are: POST /trading-sessions", "POST  /trading-session"),
        ("503 on health", "give method and path", "health"),
    ],
)
def test_an_error_points_at_the_word_and_says_what_is_possible(text: str, said: str, pointed: str) -> None:
    faults = Sandbox().faults
    with pytest.raises(ConfigurationError, match=said) as caught:
        faults.add_all(text)
    line, marks = str(caught.value).splitlines()[-2:]
    assert line[marks.index("^") : marks.rindex("^") + 1] == pointed
    assert faults.rules == ()


def test_an_argument_that_makes_no_sense_is_refused() -> None:
    faults = Sandbox().faults
    for wrong in (
        lambda: faults.add("503; 504"),
        lambda: faults.add(""),
        lambda: faults.add([]),
        lambda: faults.add("503 5%", probability=0.1),
        lambda: faults.add("503 on /health", on="GET /health"),
        lambda: faults.add("503", times=0),
        lambda: faults.add("503", probability=1.5),
        lambda: faults.add("503", skip=-1),
        lambda: Fault.status(503, headers={"A": "b\r\nc: d"}),
        lambda: Fault.status(503, headers={"a b": "c"}),
        lambda: Fault.truncate(1.5),
        lambda: Fault(kind="nothing", when="before"),
        lambda: faults.add("503 5%", probability=1.0),
        lambda: faults.add("503 skip 2", skip=0),
        lambda: faults.add("503 on /health", on="*"),
        lambda: faults.add("503", probability=True),
        lambda: faults.add(3),  # type: ignore[arg-type]
        lambda: faults.add_all(None),  # type: ignore[arg-type]
        lambda: Fault.read(None),  # type: ignore[arg-type]
        lambda: Fault.malformed([]),  # type: ignore[arg-type]
        lambda: Fault.status(503, headers={"body": "x"}),
        lambda: Fault.status(503, headers=5),  # type: ignore[arg-type]
        lambda: Fault.status(503, body=5),  # type: ignore[arg-type]
        # Halves of characters, as a command line has them where it is not UTF-8.
        lambda: Fault.status(503, "\udcff"),
        lambda: Fault.status(503, body="\ud800"),
        lambda: Fault.status(503, headers={"A": "\udcff"}),
        lambda: Fault.garbage("\ud800"),
        lambda: Fault.redirect("/\udcff"),
        lambda: faults.add("503=\udcff"),
        lambda: faults.add("garbage=hex:f"),
        lambda: Fault(kind="drip", when="before"),
        lambda: Fault.drip(1, 0),
    ):
        with pytest.raises(ConfigurationError):
            wrong()
    with pytest.raises(ConfigurationError, match="1000 rules"):
        faults.add_all("503;" * 1001)


def test_text_is_utf_8_however_it_comes() -> None:
    for text in ("é", "é€"):
        for fault in (Fault.status(503, body=text), Fault.read(f"503=body:{text}"), Fault.read(f'503=body:"{text}"')):
            assert fault.body == text.encode()
    assert Fault.read("503=body:hex:00ff").body == b"\x00\xff"


def test_a_pattern_with_many_stars_takes_no_time_and_means_what_it_says() -> None:
    (route,) = [route for route in ROUTES if route.name == "GET /api/indicators/candles/:symbol/:interval"]
    faults = Sandbox().faults
    rule = faults.add("503 on GET /api/indicators/candles/" + "*a" * 25 + "*/1h")
    started = time.monotonic()
    place = "/api/indicators/candles/{}/1{}".format
    assert faults.draw(route, place("a" * 60, "d")) is None
    assert faults.draw(route, place("a" * 24, "h")) is None
    assert faults.draw(route, place("ba" * 25, "h")) is not None
    assert time.monotonic() - started < 1
    assert (rule.matched, rule.hits) == (1, 1)
    rule.remove()
    faults.add("503 on GET /api/indicators/candles/B*BTC/1h")
    # The two ends of a pattern share no character.
    assert faults.draw(route, place("BTC", "h")) is None
    assert faults.draw(route, place("BBTC", "h")) is not None


@pytest.mark.parametrize("shapes", PERSONALITIES)
async def test_an_error_is_written_as_the_servers_own_are(http: aiohttp.ClientSession, shapes: str) -> None:
    async with Sandbox(start=START, speed=0, limit=1, window=600, shapes=shapes) as sandbox:
        stranger = Caller(sandbox, http)
        await stranger.call("GET", "/health")
        own = await stranger.call("GET", "/health")
        sandbox.faults.add_all("429 x1; builder-fee=502 x1")
        made = await stranger.call("GET", "/health")
        assert (made.status, made.body) == (429, own.body)
        fee = await stranger.call("GET", "/health")
        assert BUILDER_FEE in fee.body.decode()


@pytest.mark.parametrize(
    "rule",
    ["drip=50,1ms", "stray=1h", "idle-close=1h", "bad-gzip", "short-gzip", "bomb=1MiB", "length=-6", "headers=A:b"],
)
async def test_head_gets_no_body_whatever_goes_wrong(sandbox: Sandbox, rule: str) -> None:
    sandbox.faults.add(f"{rule} x1")
    async with connected(sandbox) as line:
        line.ask("HEAD", "/health")
        head = await asyncio.wait_for(line.reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: 0\r\n" not in head
        line.ask("GET", "/health")
        head, body = await line.reply()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert msgspec.json.decode(body)["status"] == "ok"


async def test_a_listener_is_told_of_a_call_whose_caller_did_not_wait(http: aiohttp.ClientSession) -> None:
    told: list[ReceivedRequest] = []
    async with Sandbox(start=START, speed=0, limit=None, on_request=told.append) as sandbox:
        caller = await Caller(sandbox, http).sign_in()
        told.clear()
        sandbox.faults.add("delay-after=1h")
        async with connected(sandbox) as line:
            line.ask("POST", PATH, caller.token, WITHDRAW)
            await _until(lambda: sandbox.requests[-1].executed)
        await _until(lambda: told)
        (request,) = told
    assert (request.status, request.executed, request.fault) == (None, True, "delay-after=1h")
    assert request.duration_ms is not None


async def test_a_fault_that_cannot_be_written_is_logged_and_a_500(
    sandbox: Sandbox, stranger: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    # Past the constructors, which refuse such text.
    sandbox.faults.add(Fault(kind="status", when="before", code=503, message="\udcff"))
    assert (await stranger.call("GET", "/health")).status == 500
    assert "GET /health failed in the sandbox itself" in caplog.text
    assert sandbox.requests[-1].status == 500


def test_every_kind_can_be_made_at_each_time_that_it_has() -> None:
    needed = {"redirect": "=http://x/", "headers": "=A:b", "delay": "=1s", "malformed": "=nul"}
    faults = Sandbox().faults
    for kind, whens in KINDS.items():
        for when in whens:
            word = "503" if kind == "status" else kind
            (fault,) = faults.add(f"{word}-{when}{needed.get(kind, '')}").faults
            assert (fault.kind, fault.when) == (kind, when)


async def _until(holds: Any) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)
