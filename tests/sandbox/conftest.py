"""A sandbox whose clock stands still, and callers of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest

from alura_async.sandbox import Sandbox

from .caller import Caller

START = datetime(2024, 5, 1, 12, 30, 15, tzinfo=UTC)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=7, start=START, speed=0, limit=None) as sandbox:
        yield sandbox


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def stranger(sandbox: Sandbox, http: aiohttp.ClientSession) -> Caller:
    """Somebody who has not signed in."""
    return Caller(sandbox, http)


@pytest.fixture
async def caller(sandbox: Sandbox, http: aiohttp.ClientSession) -> Caller:
    """Somebody who has signed in."""
    return await Caller(sandbox, http).sign_in()
