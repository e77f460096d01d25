"""A process that makes orders and is killed: each order in a fork of one process that has imported everything.

On stdin, one job in a line of JSON; on stdout, one line about what became of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import aiohttp

from alura_async import AsyncAlura
from alura_async.core import exchange, journal_file

# Imported beforehand, so that the steps that are counted are those of a call.
assert aiohttp
assert exchange
assert journal_file


async def make(job: dict[str, Any], begin: Any) -> None:
    """Make one order."""
    async with AsyncAlura(token=job["token"], base_url=job["url"], journal=job["journal"]) as alura:
        begin()
        match job["order"]:
            case "withdraw":
                await alura.user.withdraw(amount=job["amount"])
            case "create":
                await alura.trading_sessions.create(budget=100, profit_target=40, asset=job["asset"])
            case _:
                await alura.user.close_position(asset=job["asset"])


class Steps:
    """Kills this process at a step: whenever a function is called or returns, in any thread, Python's or C's."""

    def __init__(self, last: int | None) -> None:
        self.made = 0
        self._last = last

    def begin(self) -> None:
        threading.setprofile(self._step)
        sys.setprofile(self._step)

    def _step(self, frame: FrameType, event: str, argument: object) -> None:
        self.made += 1
        if self.made == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def be_killed(job: dict[str, Any], told: int) -> None:
    """Make an order in this process, which ends here in any case."""
    steps = Steps(job.get("step"))

    def begin() -> None:
        os.write(told, b"\n")
        if job.get("counts") or job.get("step"):
            steps.begin()

    try:
        asyncio.run(make(job, begin))
    finally:
        sys.setprofile(None)
        os.write(told, str(steps.made).encode())
        os._exit(0)


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        hears, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(hears)
            be_killed(job, told)
        os.close(told)
        os.read(hears, 1)
        began = time.perf_counter()
        if (after_s := job.get("after_s")) is not None:
            time.sleep(after_s)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        seconds = time.perf_counter() - began
        steps = os.read(hears, 20)
        os.close(hears)
        said = {"killed": os.WIFSIGNALED(status), "steps": int(steps or 0), "seconds": seconds}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
