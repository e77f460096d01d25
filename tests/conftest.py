"""What all tests share."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext

import hypothesis
import pytest

from alura_async import no_waits
from tests.certificates import certified
from tests.raw_server import RawServer

# The suite says the same each time that it runs. New examples are for the sessions that ask for many.
hypothesis.settings.register_profile("suite", derandomize=True, database=None)
if not any(name.startswith("ALURA_") and name.endswith("_EXAMPLES") for name in os.environ):
    hypothesis.settings.load_profile("suite")


@pytest.fixture
def anyio_backend() -> str:
    """The client is asyncio's: aiohttp is."""
    return "asyncio"


@pytest.fixture
async def raw() -> AsyncIterator[RawServer]:
    """A server that answers with the bytes it is told to."""
    async with RawServer() as server:
        yield server


@pytest.fixture(scope="session")
def certificate() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A self-signed certificate for 127.0.0.1: the server's context, and one of a client that knows it."""
    return certified("127.0.0.1")


@pytest.fixture(autouse=True)
def _no_waits(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing is waited for, but in tests that are about the waits: `@pytest.mark.waits`."""
    with nullcontext() if request.node.get_closest_marker("waits") else no_waits():
        yield
