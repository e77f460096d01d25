"""Clients with a warm spare, and the wait until it is there."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from alura_async import AsyncAlura
from alura_async.core.spare import Spare


def warm_client(base_url: str, **settings: Any) -> AsyncAlura:
    """A client that keeps one unused connection ready."""
    alura = AsyncAlura(base_url=base_url, **settings)
    alura._road._connection = msgspec.structs.replace(alura._road._connection, warm=True)
    return alura


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
