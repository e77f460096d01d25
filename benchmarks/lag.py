"""How long the event loop is held up by large replies: a task that sleeps a millisecond notes how late it wakes.

`python -m benchmarks.lag`. The same replies are read beside it twice: at once where they come, as those of an account
are, and as market data is read, some in each turn of the loop or in a thread. The server is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from alura_async import Access, AsyncAlura, Candle, Items, Lane, RateLimiter, Route

from . import contest
from .decode import SHAPES
from .drive import by_workers
from .harness import Cores, Server, machine

_PATH = "/candles/"
_SLEEP_S = 0.001
_WORKERS = 16
_WAYS = {"at once": Lane.ACCOUNT, "in turn": Lane.MARKET}


def _with_odd_rows(rows: list[dict[str, Any]]) -> Any:
    """No table: some rows do not tell the number of trades, so none of them is read without a look at its names."""
    odd = SHAPES["long names, wrapped"](rows)
    for row in odd["data"][::7]:
        del row["trades"]
    return odd


_FORMS: Mapping[str, Callable[[list[dict[str, Any]]], Any]] = {
    "canonical": lambda rows: rows,
    **{name: write for name, write in SHAPES.items() if name != "newest first"},
    "some rows odd": _with_odd_rows,
}


def body(path: str) -> bytes:
    """The candles that the server has under a path: their form by its place, and their number."""
    place, count = path.removeprefix(_PATH).split("/")
    return msgspec.json.encode([*_FORMS.values()][int(place)](contest.candles(int(count))))


def _path(form: str, count: int) -> str:
    return f"{_PATH}{[*_FORMS].index(form)}/{count}"


class Lag:
    """How late a task woke, each time, while something went on. An async context manager.

    Attributes:
        late_ms: by how many milliseconds, in ascending order.
    """

    def __init__(self) -> None:
        self.late_ms: list[float] = []

    async def __aenter__(self) -> Lag:
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(5 * _SLEEP_S)
        self.late_ms.clear()
        return self

    async def __aexit__(self, *exception: object) -> None:
        # What held it up until now counts.
        await asyncio.sleep(2 * _SLEEP_S)
        self._task.cancel()
        self.late_ms.sort()

    async def _watch(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_SLEEP_S)
            self.late_ms.append((time.perf_counter() - began - _SLEEP_S) * 1e3)

    def share(self, part: float) -> float:
        """The lateness that so large a part of the times does not pass."""
        return self.late_ms[min(len(self.late_ms) - 1, int(part * len(self.late_ms)))]


@dataclass
class Figures:
    """What was seen while replies were read.

    Attributes:
        late_ms: how late a task was: in the middle, at the 99th percentile, at most.
        cpu_us: the processor time of a reply.
    """

    late_ms: tuple[float, float, float]
    cpu_us: float


def _route(form: str, count: int, lane: Lane, returns: Any) -> Route[Any]:
    return Route("GET", _path(form, count), returns, access=Access.PUBLIC, lane=lane)


async def measure_one(alura: AsyncAlura, route: Route[Any]) -> float:
    """By how many milliseconds a task was late at most beside one call."""
    async with Lag() as lag:
        await alura.send(route.request())
    return lag.late_ms[-1]


async def measure_many(alura: AsyncAlura, route: Route[Any], replies: int) -> Figures:
    """What goes on while workers read replies of a form that was seen before."""
    request = route.request()

    async def call() -> object:
        return await alura.send(request)

    await by_workers(call, 2 * _WORKERS, _WORKERS)
    async with Lag() as lag:
        cpu = time.process_time()
        await by_workers(call, replies, _WORKERS)
        cpu_us = (time.process_time() - cpu) / replies * 1e6
    return Figures((lag.share(0.5), lag.share(0.99), lag.late_ms[-1]), cpu_us)


async def one_reply(alura: AsyncAlura, count: int, rounds: int) -> list[str]:
    """A table: a reply of each form, the first one and the next, as objects and as columns."""
    from alura_async.bulk import Candles

    lines = [
        f"one reply of {count:,} candles: how late a task was at most, ms; the first of its form, and the next",
        "",
    ]
    lines.append(f"  {'':<24}" + "".join(f"{f'{what}, {way}':>22}" for what in ("objects", "columns") for way in _WAYS))
    for form in _FORMS:
        cells: list[str] = []
        for returns in (Items[Candle], Candles):
            for lane in _WAYS.values():
                seen: list[list[float]] = []
                for _ in range(rounds):
                    route = _route(form, count, lane, returns)
                    seen.append([await measure_one(alura, route) for _ in range(2)])
                first, later = (statistics.median(times) for times in zip(*seen, strict=True))
                cells.append(f"{first:.1f} {later:7.1f}")
        lines.append(f"  {form:<24}" + "".join(f"{cell:>22}" for cell in cells))
    return lines


async def many_replies(alura: AsyncAlura, count: int, replies: int, rounds: int) -> list[str]:
    """A table: replies of each form that come to many workers."""
    from alura_async.bulk import Candles

    lines = [
        f"{_WORKERS} workers, replies of {count:,} candles, as columns: how late a task was, ms, and what a reply took",
        "",
        f"  {'':<24}"
        + "".join(f"{f'{way}: p50':>14}{'p99':>8}{'most':>8}{'CPU, µs':>10}" for way in _WAYS)
        + f"{'×':>7}",
    ]
    for form in _FORMS:
        # Those that are no table take fifty times as long.
        turns = replies if form != "some rows odd" else max(_WORKERS, replies // 20)
        seen: list[dict[str, Figures]] = []
        for _ in range(rounds):
            routes = {way: _route(form, count, lane, Candles) for way, lane in _WAYS.items()}
            seen.append({way: await measure_many(alura, route, turns) for way, route in routes.items()})
        line = f"  {form:<24}"
        for way in _WAYS:
            middle, high, most = (
                statistics.median(late) for late in zip(*(found[way].late_ms for found in seen), strict=True)
            )
            cpu = statistics.median(found[way].cpu_us for found in seen)
            line += f"{middle:>14.1f}{high:>8.1f}{most:>8.1f}{cpu:>10.0f}"
        first, second = _WAYS
        ratio = statistics.median(found[second].cpu_us / found[first].cpu_us for found in seen)
        lines.append(f"{line}{ratio:>7.2f}")
    return lines


async def measure(base_url: str, counts: Sequence[int], replies: int, rounds: int) -> None:
    """Print all tables."""
    # Reading the odd ones takes its time, sixteen at once.
    async with AsyncAlura(base_url=base_url, limiter=RateLimiter.unlimited(), timeout=300) as alura:
        for count in counts:
            print("", *await one_reply(alura, count, rounds), sep="\n", flush=True)
        for count in counts:
            turns = max(_WORKERS, replies * 500 // count)
            print("", *await many_replies(alura, count, turns, rounds), sep="\n", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lag", description=__doc__)
    parser.add_argument("--candles", type=int, nargs="+", default=[500, 1_000, 5_000], metavar="N", help="in a reply")
    parser.add_argument("--replies", type=int, default=800, metavar="N", help="of 500 candles; fewer of larger ones")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="medians are of so many")
    chosen = parser.parse_args(arguments)
    for fact, value in machine().items():
        print(f"{fact}: {value}")
    with Server(Cores.of_this_machine().server) as server:
        asyncio.run(measure(server.base_url, chosen.candles, chosen.replies, chosen.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
