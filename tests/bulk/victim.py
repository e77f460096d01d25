"""A process that fills a store and is killed: each time in a fork of one process that has imported everything.

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
import warnings
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp

from alura_async import AsyncAlura, RateLimiter
from alura_async.bulk import partitions
from alura_async.bulk.writer import Writer
from alura_async.core import exchange
from tests.bulk.series import ORIGIN, candles, pages

# Imported beforehand, so that the steps that are counted are those of a pull.
assert aiohttp
assert exchange
assert partitions
# polars warns of forks: its threads are not started before them here.
warnings.simplefilter("ignore")


def record(job: dict[str, Any], told: int) -> None:
    """Record pages one after the other, say so after each, and put all into files."""
    come = pages(candles())
    with Writer(Path(job["folder"])) as writer:
        writer.open(ORIGIN, makes=True)
        writer.ask(page.window for page in come)
        # The other way round: the file of the second month is written several times.
        for page in come[::-1][job.get("first", 0) :]:
            writer.record([page])
            os.write(told, b".")
            if job["compacts"]:
                writer.compact()
        writer.compact()


async def pull(job: dict[str, Any]) -> None:
    """Pull candles into a store."""
    async with AsyncAlura(base_url=job["url"], limiter=RateLimiter.unlimited()) as alura:
        await alura.bulk.pull(
            job["folder"], job["symbols"], job["interval"], start=job["start"], end=job["end"], concurrency=2
        )


class Steps:
    """Kills this process at a step: whenever a function is called or returns, in any thread, Python's or C's.

    Args:
        last: at which step; 0 for none.
        only: the functions of `os` that count; none for all.
    """

    def __init__(self, last: int, only: list[str]) -> None:
        self.made = 0
        self._last = last
        self._only = [getattr(os, name) for name in only]

    def begin(self) -> None:
        threading.setprofile(self._step)
        sys.setprofile(self._step)

    def _step(self, frame: FrameType, event: str, argument: object) -> None:
        if self._only and not any(argument is function for function in self._only):
            return
        self.made += 1
        if self.made == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def be_killed(job: dict[str, Any], told: int) -> None:
    """Fill a store in this process, which ends here in any case."""
    steps = Steps(job.get("step", 0), job.get("only", []))
    work = partial(asyncio.run, pull(job)) if "url" in job else partial(record, job, told)
    os.write(told, b"\n")
    failed = b""
    try:
        if "step" in job:
            steps.begin()
        work()
    except BaseException as error:
        failed = repr(error).encode()
    finally:
        sys.setprofile(None)
        os.write(told, b"|%d|%s" % (steps.made, failed))
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
        said, _, rest = os.read(hears, 60_000).decode().partition("|")
        os.close(hears)
        steps, _, failed = rest.partition("|")
        became = {
            "killed": os.WIFSIGNALED(status),
            "recorded": said.count("."),
            "steps": int(steps or 0),
            "seconds": seconds,
            "failed": failed,
        }
        print(json.dumps(became), flush=True)


if __name__ == "__main__":
    main()
