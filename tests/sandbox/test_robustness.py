"""What a caller does badly is the caller's problem: the sandbox says nothing and goes on."""

from __future__ import annotations

import asyncio
import logging

import aiohttp
import pytest

from alura_async.sandbox import Sandbox

pytestmark = pytest.mark.anyio


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
        assert [request.status for request in sandbox.requests] == [None, 200]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
