"""How many calls are made and timed: one after another, by workers, all gathered, or from threads."""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

from .contest import Job, Measurement, Run

AsyncCall: TypeAlias = Callable[[], Awaitable[object]]
"""Reads the page once and gives it decoded."""

BlockingCall: TypeAlias = Callable[[], object]
"""Reads the page once and gives it decoded."""

OpenAsync: TypeAlias = Callable[[Job], AbstractAsyncContextManager[AsyncCall]]
OpenBlocking: TypeAlias = Callable[[Job], AbstractContextManager[BlockingCall]]
AsyncStyle: TypeAlias = Callable[[AsyncCall, int, int], Coroutine[Any, Any, None]]
BlockingStyle: TypeAlias = Callable[[BlockingCall, int, int], None]


async def in_sequence(call: AsyncCall, requests: int, concurrency: int) -> None:
    """One after another, without tasks."""
    for _ in range(requests):
        await call()


async def by_workers(call: AsyncCall, requests: int, concurrency: int) -> None:
    """As many workers as calls may be under way, all drawing from one iterator: the cheapest way to fan out."""
    turns = iter(range(requests))

    async def work() -> None:
        for _ in turns:
            await call()

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())


async def gathered(call: AsyncCall, requests: int, concurrency: int) -> None:
    """All at once, leaving it to the client how many are under way: what users write first."""

    async def discard() -> None:
        # A thousand pages of candles kept until the end would measure the memory.
        await call()

    await asyncio.gather(*[discard() for _ in range(requests)])


def from_one_thread(call: BlockingCall, requests: int, concurrency: int) -> None:
    """One after another."""
    for _ in range(requests):
        call()


def from_threads(call: BlockingCall, requests: int, concurrency: int) -> None:
    """As many threads as calls may be under way, on one client, each with its share of the calls."""

    def work(share: int) -> None:
        for _ in range(share):
            call()

    each, rest = divmod(requests, concurrency)
    shares = [each + (number < rest) for number in range(concurrency)]
    with ThreadPoolExecutor(concurrency) as threads:
        # The list raises what a thread raised.
        list(threads.map(work, shares))


def asynchronous(open_client: OpenAsync, style: AsyncStyle) -> Run:
    """A run of an async client.

    Args:
        open_client: opens the client for a job.
        style: how its calls are made.
    """

    async def measure(job: Job) -> Measurement:
        async with open_client(job) as call:
            job.page.check(await call())
            await style(call, job.warm_up, job.concurrency)
            with Stopwatch(job) as watch:
                await style(call, job.requests, job.concurrency)
        return watch.measurement

    return lambda job: asyncio.run(measure(job))


def blocking(open_client: OpenBlocking, style: BlockingStyle) -> Run:
    """A run of a blocking client.

    Args:
        open_client: opens the client for a job.
        style: how its calls are made.
    """

    def measure(job: Job) -> Measurement:
        with open_client(job) as call:
            job.page.check(call())
            style(call, job.warm_up, job.concurrency)
            with Stopwatch(job) as watch:
                style(call, job.requests, job.concurrency)
        return watch.measurement

    return measure


class Stopwatch:
    """Times the block it is put around, and how much of that time the server was at work.

    Args:
        job: whose requests are made in the block.
    """

    measurement: Measurement

    def __init__(self, job: Job) -> None:
        self._job = job

    def __enter__(self) -> Self:
        # Everybody starts with no garbage; from there on the collector runs as it does for users.
        gc.collect()
        self._server_before = _server_seconds(self._job.base_url)
        self._cpu_before = time.process_time()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._started
        cpu = time.process_time() - self._cpu_before
        if kind is None:
            server = _server_seconds(self._job.base_url) - self._server_before
            per_request = 1e6 / self._job.requests
            self.measurement = Measurement(seconds * per_request, cpu * per_request, server / seconds)


def _server_seconds(base_url: str) -> float:
    """The processor time that the server has used, asked on a connection that is no contestant's."""
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=10)
    try:
        connection.request("GET", "/cpu")
        return float(json.loads(connection.getresponse().read()))
    finally:
        connection.close()
