"""Records the sandbox in several shapes, as `alura contract record` would: `python -m tests.recordings`.

What comes is the same each time.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from alura_async import AsyncAlura, TradingSessions
from alura_async.contract import Redactor, read_all, write_recordings
from alura_async.sandbox import Sandbox

HERE = Path(__file__).parent
SHAPES = ("canonical", "nest", "mongo")


async def record(shapes: str) -> None:
    """Record a sandbox of these shapes, with an open session, into a folder of their name."""
    redactor = Redactor()
    async with (
        Sandbox(seed=5, start="2026-03-01T12:00:30Z", speed=0, shapes=shapes) as sandbox,
        AsyncAlura(sandbox.wallet(), base_url=sandbox.url) as alura,
    ):
        # Raw: nobody has to understand the reply.
        create = TradingSessions.create.request(budget=100, profit_target=40, asset="BTC", max_positions=2)
        await alura.send_raw(create)
        found = {
            reading.name.removesuffix("()"): redactor.recording(reading.reply)
            async for reading in read_all(alura)
            if reading.reply is not None
        }
    write_recordings(HERE / shapes, found)


if __name__ == "__main__":
    for name in sys.argv[1:] or SHAPES:
        asyncio.run(record(name))
