"""What a caller does badly is the caller's problem: the sandbox says nothing and goes on."""

from __future__ import annotations

import asyncio
import gzip
import logging
import random

import aiohttp
import msgspec
import pytest

from alura_async.sandbox import Sandbox

pytestmark = pytest.mark.anyio

ADDRESS = b"0x" + b"ab" * 20
GOOD = b'{"address":"%s"}' % ADDRESS
CHALLENGE = b"POST /auth/evm/challenge"


def request(
    line: bytes, body: bytes = b"", *headers: bytes, media: bytes = b"application/json", host: bytes = b"x"
) -> bytes:
    """A request as it goes over the wire; with a length unless it brings one of its own or chunks."""
    head = [line + b" HTTP/1.1", b"Host: " + host, *headers]
    if body:
        head.append(b"Content-Type: " + media)
        if not any(header.lower().startswith((b"content-length", b"transfer-encoding")) for header in headers):
            head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*head, b"", body])


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


async def answer(sandbox: Sandbox, raw: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and body of what the sandbox says to some bytes."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(raw)
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = b"" if raw.startswith(b"HEAD") else await reader.readexactly(length)
        return int(head.split()[1]), head, body
    finally:
        writer.transport.abort()


PATHS = {
    "a percent sign without digits": (request(b"GET /%zz"), 404),
    "no digits in a segment that varies": (request(b"GET /api/indicators/candles/%zz/1h"), 404),
    "no UTF-8 in a segment that varies": (request(b"GET /api/indicators/candles/%ff%fe/1h"), 404),
    "a NUL": (request(b"GET /api/indicators/candles/%00/1h"), 404),
    "a line feed": (request(b"GET /api/indicators/candles/%0d%0aX:%20y/1h"), 404),
    "a segment too many": (request(b"GET /health/"), 404),
    "an empty segment": (request(b"GET /api/indicators/candles//1h"), 404),
    "two slashes": (request(b"GET //health"), 404),
    "two slashes and a port beyond all ports": (request(b"GET //x:99999999/health"), 404),
    "dots": (request(b"GET /api/../health"), 404),
    "an asterisk": (request(b"OPTIONS *"), 404),
    "a whole URL": (request(b"GET http://elsewhere/health"), 200),
    "a URL that is none": (request(b"GET http://[::1/health"), 400),
    "no slash": (request(b"GET health"), 400),
    "bytes beyond ASCII": (request(b"GET /\xff"), 400),
    "seven thousand letters": (request(b"GET /" + b"a" * 7000), 404),
    "nine thousand letters": (request(b"GET /" + b"a" * 9000), 400),
}
QUERIES = {
    "no digits after a percent sign": (request(b"GET /api/leaderboard/rankings?limit=%zz"), 400),
    "half a surrogate": (request(b"GET /api/leaderboard/rankings?x=%ed%a0%80"), 200),
    "a page beyond all pages": (request(b"GET /api/leaderboard/rankings?limit=100&page=" + b"9" * 18), 200),
    "a page of more digits": (request(b"GET /api/leaderboard/rankings?page=" + b"9" * 5000), 400),
    "a start beyond all time": (request(b"GET /api/indicators/candles/BTC/1d?startTime=" + b"9" * 18), 200),
    "an end before all time": (request(b"GET /api/indicators/candles/BTC/1d?endTime=-" + b"9" * 18), 200),
    "a start after the end": (request(b"GET /api/indicators/candles/BTC/1d?startTime=2&endTime=1"), 200),
    "a name a thousand times": (request(b"GET /health?" + b"&".join([b"x=1"] * 1000)), 200),
}
METHODS = {
    "PUT": (request(b"PUT /health", b"{}"), 404),
    "DELETE": (request(b"DELETE /user/profile"), 404),
    "OPTIONS": (request(b"OPTIONS /health"), 404),
    "TRACE": (request(b"TRACE /health"), 404),
    "GET of what is a POST": (request(b"GET /user/withdraw"), 404),
    "HEAD of what is a GET": (request(b"HEAD /health"), 200),
    "HEAD of what is a POST": (request(b"HEAD /user/withdraw"), 404),
    "a method that nobody knows": (request(b"BREW /health"), 400),
    "a GET with a body": (request(b"GET /health", b"hello"), 200),
}
BODIES = {
    "text": (request(CHALLENGE, b'"x"'), 400),
    "null": (request(CHALLENGE, b"null"), 400),
    "half an object": (request(CHALLENGE, GOOD[:-1]), 400),
    "more than an object": (request(CHALLENGE, GOOD + b"x"), 400),
    "no UTF-8": (request(CHALLENGE, b'{"address":"\xff"}'), 400),
    "half a surrogate": (request(CHALLENGE, b'{"address":"\\ud800"}'), 400),
    "half a surrogate as a name": (request(CHALLENGE, b'{"\\ud800":1}'), 400),
    "a byte order mark": (request(CHALLENGE, b"\xef\xbb\xbf" + GOOD), 400),
    "UTF-16": (request(CHALLENGE, GOOD.decode().encode("utf-16")), 400),
    "NaN": (request(CHALLENGE, b'{"address":NaN}'), 400),
    "a number of ten thousand digits": (request(CHALLENGE, b'{"address":%s}' % (b"9" * 10_000)), 400),
    "a number beyond every Decimal": (request(CHALLENGE, b'{"address":1e%s}' % (b"9" * 30)), 400),
    "objects within objects": (request(CHALLENGE, b'{"a":' * 100_000 + b"1" + b"}" * 100_000), 400),
    "lists within lists": (request(CHALLENGE, b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), 400),
    "a name twice: the last one counts": (request(CHALLENGE, b'{"address":1,"address":"%s"}' % ADDRESS), 201),
    "more than a MiB": (request(CHALLENGE, GOOD + b" " * (1 << 20)), 413),
    "capitals in the media type": (request(CHALLENGE, GOOD, media=b"Application/JSON"), 201),
    "a media type that is none": (request(CHALLENGE, GOOD, media=b'";/;'), 400),
    "another media type": (request(CHALLENGE, GOOD, media=b"application/x-www-form-urlencoded"), 400),
}
FRAMES = {
    "chunks": (request(CHALLENGE, chunked(GOOD[:9], GOOD[9:]), b"Transfer-Encoding: chunked"), 201),
    "a chunk that is none": (request(CHALLENGE, b"zz\r\n{}\r\n", b"Transfer-Encoding: chunked"), 400),
    "chunks and a length": (
        request(CHALLENGE, chunked(GOOD), b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(GOOD)),
        400,
    ),
    "two lengths": (request(CHALLENGE, GOOD, b"Content-Length: 2", b"Content-Length: 3"), 400),
    "a length below zero": (request(CHALLENGE, GOOD, b"Content-Length: -2"), 400),
    "gzip": (request(CHALLENGE, gzip.compress(GOOD), b"Content-Encoding: gzip"), 201),
    "gzip that is none": (request(CHALLENGE, GOOD, b"Content-Encoding: gzip"), 400),
    "gzip that becomes more than a MiB": (
        request(CHALLENGE, gzip.compress(GOOD + b" " * (1 << 24)), b"Content-Encoding: gzip"),
        413,
    ),
    "a NUL in a header": (request(b"GET /health", b"", b"X: \0"), 400),
    "a host that is none": (request(b"GET /health", host=b"["), 200),
    "a token that is no text": (request(b"GET /user/profile", b"", b"Authorization: Bearer \xff.\xfe.\xfd"), 401),
    "a token of no algorithm": (
        request(b"GET /user/profile", b"", b"Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4IiwiZXhwIjo5fQ."),
        401,
    ),
    "an upgrade": (request(b"GET /health", b"", b"Connection: Upgrade", b"Upgrade: websocket"), 200),
    "not HTTP": (b"\x16\x03\x01\x02\r\n\r\n", 400),
}


@pytest.mark.parametrize(
    "cases", [PATHS, QUERIES, METHODS, BODIES, FRAMES], ids=["path", "query", "method", "body", "frame"]
)
async def test_what_makes_no_sense_is_answered_calmly(
    cases: dict[str, tuple[bytes, int]], sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    for name, (raw, expected) in cases.items():
        status, head, body = await answer(sandbox, raw)
        assert status == expected, (name, head, body)
        if b"application/json" in head and body and status >= 400:
            assert msgspec.json.decode(body)["statusCode"] == status, name
        # What is not HTTP is answered by the HTTP library itself.
        assert status == 400 or b"application/json" in head, name
    assert sandbox.ledger == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def status_or_nothing(sandbox: Sandbox, raw: bytes) -> int | None:
    """The status of the answer, or None for a request that rightly waits for more bytes, or is cut off."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(raw)
        async with asyncio.timeout(0.5):
            return int((await reader.readline()).split()[1])
    except (TimeoutError, IndexError, ConnectionError):
        return None
    finally:
        writer.transport.abort()


async def test_requests_with_bytes_changed_at_random_never_break_it(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(7)
    originals = [
        raw for cases in (PATHS, QUERIES, METHODS, BODIES, FRAMES) for raw, _ in cases.values() if len(raw) < 2000
    ]
    requests: list[bytes] = []
    for _ in range(300):
        raw = bytearray(chance.choice(originals))
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(raw))
            raw[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        requests.append(bytes(raw))
    found = await asyncio.gather(*(status_or_nothing(sandbox, raw) for raw in requests))
    statuses = {status for status in found if status is not None}
    assert {200, 400, 404} <= statuses
    assert max(statuses) < 500
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert (await answer(sandbox, request(b"GET /health")))[0] == 200


async def test_head_says_of_a_get_all_but_its_body(sandbox: Sandbox) -> None:
    _, head, body = await answer(sandbox, request(b"HEAD /api/indicators/candles/aggregated/symbols"))
    _, get_head, get_body = await answer(sandbox, request(b"GET /api/indicators/candles/aggregated/symbols"))
    assert head == get_head
    assert b"Content-Length: %d\r\n" % len(get_body) in head
    assert body == b""


async def test_a_caller_that_hangs_up_in_the_middle_of_its_body_is_no_failure_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Sandbox(limit=None) as sandbox:
        host, port = sandbox.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /auth/evm/challenge HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        while not sandbox.requests:
            await asyncio.sleep(0.005)
        writer.transport.abort()
        async with aiohttp.ClientSession() as session, session.get(f"{sandbox.url}/health") as reply:
            assert reply.status == 200
        assert sandbox.ledger == []
        assert [received.status for received in sandbox.requests] == [None, 200]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
