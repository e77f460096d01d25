"""Clients that send each call once, with and without a warm spare, and the wait until that is there."""

from __future__ import annotations

import asyncio
from typing import Any

from alura_async import AsyncAlura, Retry, Timeouts
from alura_async.core.spare import Spare


def single(base_url: str, **settings: Any) -> AsyncAlura:
    """A client that sends each call once, whatever comes of it, and reads nothing by itself."""
    once: dict[str, Any] = {"retry": Retry(attempts=1), "timeout": Timeouts(settle=0)}
    return AsyncAlura(base_url=base_url, **(once | settings))


def warm_client(base_url: str, **settings: Any) -> AsyncAlura:
    """The same, with one unused connection that is kept ready."""
    return single(base_url, warm=True, **settings)


def spare_of(alura: AsyncAlura) -> Spare:
    """Its spare; a call must have been made."""
    sessions = alura._road._exchange._sessions
    assert sessions is not None
    assert sessions.spare is not None
    return sessions.spare


async def until_warm(alura: AsyncAlura) -> None:
    """Wait for a connection that is ready."""
    spare = spare_of(alura)
    async with asyncio.timeout(10):
        while spare._held is None:
            await asyncio.sleep(0.001)
