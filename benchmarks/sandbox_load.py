"""How many requests a second the sandbox answers on one core, and how long a thousand users take.

`python -m benchmarks.sandbox_load`. The server is kept on one core and this client on another, where the system can;
where client or neighbours leave the server idle, that is not its speed, so each figure comes by its processor time too.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .contest import stay_on
from .harness import Cores, machine
from .sandbox_client import Connection, private_key
from .sandbox_server import SandboxProcess, Setup

MUST = 2_000
"""Cheap reads a second of one core."""


@dataclass(frozen=True)
class Read:
    """A read that is measured, and whether it is a cheap one."""

    name: str
    target: str
    cheap: bool = True


READS = (
    Read("health", "/health"),
    Read("symbols", "/api/indicators/candles/aggregated/symbols"),
    Read("profile", "/user/profile"),
    Read("active sessions, one open", "/trading-sessions/active"),
    Read("a signal", "/api/indicators/signals/BTC/1h", cheap=False),
    Read("a page of the rankings", "/api/leaderboard/rankings?limit=20", cheap=False),
    Read("500 candles", "/api/indicators/candles/BTC/1m?limit=500", cheap=False),
)

QUICK = {"budget": 100, "profitTarget": 400, "maxPositions": 3, "assetIndex": 0}


@dataclass(frozen=True)
class Rate:
    """What one round measured: requests a second, and requests a second of the server's processor time."""

    per_second: float
    per_core_second: float


async def measure(server: SandboxProcess, read: Read, *, connections: int, seconds: float) -> Rate:
    """Read over and over on some connections."""

    async def setup(connection: Connection) -> str:
        token = await connection.sign_in(private_key(0))
        if not await connection.get("/trading-sessions/active", token):
            await connection.post("/trading-sessions", token, QUICK)
        return token

    async with Connection(server.url) as connection:
        token = await setup(connection)
    until = float("inf")
    counts = [0] * connections

    async def work(number: int) -> None:
        async with Connection(server.url) as connection:
            request = connection.encoded("GET", read.target, token)
            while time.perf_counter() < until:
                reply = await connection.exchange(request)
                assert reply.status == 200, reply
                counts[number] += 1

    workers = [asyncio.create_task(work(number)) for number in range(connections)]
    await asyncio.sleep(seconds / 4)
    before, started, cpu = sum(counts), time.perf_counter(), server.report().cpu_s
    until = started + seconds
    await asyncio.gather(*workers)
    took, made = time.perf_counter() - started, sum(counts) - before
    return Rate(made / took, made / (server.report().cpu_s - cpu))


async def users(server: SandboxProcess, count: int, connections: int) -> float:
    """Let wallets sign in, open a session, read it and close it; gives the seconds that it took.

    Raises:
        UnexpectedReplyError: a call failed.
        AssertionError: the ledger is not what was done.
    """
    numbers = iter(range(1, count + 1))

    async def work() -> None:
        async with Connection(server.url) as connection:
            for number in numbers:
                token = await connection.sign_in(private_key(number))
                session = await connection.post("/trading-sessions", token, QUICK)
                (active,) = await connection.get("/trading-sessions/active", token)
                assert active["id"] == session["id"]
                await connection.post(f"/trading-sessions/trades/{session['tradeId']}/close", token)
                await connection.get("/user/profile", token)

    before = server.report().executed
    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    took = time.perf_counter() - started
    after = server.report().executed
    for kind in ("account_opened", "signed_in", "session_created", "trade_closed"):
        assert after[kind] - before.get(kind, 0) == count, (kind, after, before)
    return took


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and give 1 if a cheap read is slower than it must be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sandbox_load", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each read is measured; by default 5")
    parser.add_argument("--seconds", type=float, default=2, help="how long each time; by default 2")
    parser.add_argument("--connections", type=int, default=16, help="connections at once; by default 16")
    parser.add_argument("--users", type=int, default=1000, help="wallets that sign in and trade; by default 1000")
    chosen = parser.parse_args(arguments)
    cores = Cores.of_this_machine()
    stay_on(cores.one)
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    slow: list[str] = []
    with SandboxProcess(Setup(cores=cores.server)) as server:
        print(f"{'':<28}{'requests/s':>12}{'of a core':>12}{'min – max':>18}", flush=True)
        rounds: dict[Read, list[Rate]] = {read: [] for read in READS}
        for _, read in itertools.product(range(chosen.rounds), READS):
            rate = measure(server, read, connections=chosen.connections, seconds=chosen.seconds)
            rounds[read].append(asyncio.run(rate))
        for read, rates in rounds.items():
            print(_row(read.name, rates), f"  must ≥ {MUST:,}" if read.cheap else "", flush=True)
            if read.cheap and statistics.median(rate.per_core_second for rate in rates) < MUST:
                slow.append(read.name)
        took = asyncio.run(users(server, chosen.users, chosen.connections))
        print(f"{chosen.users:,} users signed in, opened, read and closed in {took:.1f} s; the ledger has all of it")
        (rankings,) = [read for read in READS if "rankings" in read.target]
        rate = measure(server, rankings, connections=chosen.connections, seconds=chosen.seconds)
        print(_row("the same page, users ranked", [asyncio.run(rate)]))
    for name in slow:
        print(f"too slow: {name}")
    return 1 if slow else 0


def _row(name: str, rates: Sequence[Rate]) -> str:
    of_core = [rate.per_core_second for rate in rates]
    wall = statistics.median(rate.per_second for rate in rates)
    reach = f"{min(of_core):,.0f} – {max(of_core):,.0f}"
    return f"{name:<28}{wall:>12,.0f}{statistics.median(of_core):>12,.0f}{reach:>18}"


if __name__ == "__main__":
    sys.exit(main())
