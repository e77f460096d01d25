"""Keeps a sandbox under mixed load and watches what it takes up: after a warm-up, memory and descriptors stay flat.

`python -m benchmarks.soak [seconds]`, by default 600. Needs Linux, which tells what a process takes up.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from .contest import stay_on
from .harness import Cores, machine
from .sandbox_client import Connection, UnexpectedReplyError, private_key
from .sandbox_server import SandboxProcess, Setup

MOST_GROWTH = 2 << 20
"""Bytes that resident memory may grow by after the warm-up."""

MOST_DESCRIPTORS = 2
"""File descriptors that may be open beyond those after the warm-up."""

WARM_UP = 0.3
"""Share of the time after which nothing may grow: 3 minutes of 10."""

# Accounts are state that a server must keep, so their number is fixed: all of them sign in during the warm-up.
_WALLETS = 300
_WORKERS = 8
_SAMPLE_S = 1.0
# Its clock runs a day in six minutes: sessions end by their duration, challenges and tokens expire.
_ADVANCE_S = 240
_CALLS_OF_A_CONNECTION = 200


@dataclass
class Sample:
    """What the server takes up at one time, with the calls made so far."""

    at_s: float
    calls: int
    resident: int
    descriptors: int


@dataclass
class Soak:
    """The load, and what was seen.

    Args:
        url: the server's.
        seconds: how long it lasts.
    """

    url: str
    seconds: float
    samples: list[Sample] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    async def run(self, server: SandboxProcess) -> None:
        """Load the server until the time is over, sampling it and moving its clock."""
        started = time.monotonic()
        ends = started + self.seconds
        workers = [asyncio.create_task(self._work(number, ends)) for number in range(_WORKERS)]
        while time.monotonic() < ends and not all(worker.done() for worker in workers):
            await asyncio.sleep(_SAMPLE_S)
            await asyncio.to_thread(server.advance, _ADVANCE_S)
            report = await asyncio.to_thread(server.report)
            at_s = time.monotonic() - started
            self.samples.append(Sample(at_s, self.statuses.total(), report.resident, report.descriptors))
            if int(at_s / 30) > int((at_s - _SAMPLE_S) / 30) or at_s < 2 * _SAMPLE_S:
                print(_row(self.samples[-1]), flush=True)
        for done in await asyncio.gather(*workers, return_exceptions=True):
            if isinstance(done, BaseException):
                self.failures.append(f"a worker ended: {done!r}")

    async def _work(self, number: int, ends: float) -> None:
        chance = random.Random(number)
        wallets = list(range(number, _WALLETS, _WORKERS))
        fresh = iter(wallets)
        while time.monotonic() < ends:
            async with Connection(self.url) as connection:
                wallet = next(fresh, None)
                user = _User(connection, chance, self.statuses)
                await user.sign_in(chance.choice(wallets) if wallet is None else wallet)
                for _ in range(_CALLS_OF_A_CONNECTION if wallet is None else _CALLS_OF_A_CONNECTION // 10):
                    await user.do_something()
                    if time.monotonic() >= ends:
                        return


class _User:
    """Somebody who does one thing after another, at random."""

    def __init__(self, connection: Connection, chance: random.Random, statuses: Counter[int]) -> None:
        self._connection = connection
        self._chance = chance
        self._statuses = statuses
        self._token = ""
        self._wallet = 0
        actions: dict[Callable[[], Awaitable[object]], int] = {
            self._read_public: 40,
            self._read_own: 25,
            self._open: 8,
            self._close: 8,
            self._read_logs: 8,
            self._move_money: 6,
            self._misbehave: 4,
            self._challenge: 1,
        }
        self._actions, self._weights = list(actions), list(actions.values())

    async def sign_in(self, wallet: int) -> None:
        self._wallet = wallet
        try:
            self._token = await self._connection.sign_in(private_key(wallet))
        except UnexpectedReplyError:
            # The clock jumped between question and answer, and the challenge expired.
            self._token = await self._connection.sign_in(private_key(wallet))

    async def do_something(self) -> None:
        (action,) = self._chance.choices(self._actions, self._weights)
        await action()

    async def _call(self, method: str, target: str, body: object = None) -> object:
        """A call that may be refused: somebody else trades with the same wallet, and tokens expire."""
        reply = await self._connection.call(method, target, self._token, body)
        self._statuses[reply.status] += 1
        if reply.status == 401:
            await self.sign_in(self._wallet)
        elif reply.status not in (200, 201, 400, 404):
            raise UnexpectedReplyError(f"{method} {target}: {reply.status} {reply.body[:200]!r}")
        return reply.data if reply.status in (200, 201) else None

    async def _read_public(self) -> object:
        targets = (
            "/health",
            "/api/indicators/candles/aggregated/symbols",
            f"/api/indicators/candles/{self._chance.choice(('BTC', 'ETH', 'kPEPE'))}/1m?limit=100",
            f"/api/indicators/candles/history/SOL?interval=1h&limit=50&startTime={self._chance.randrange(16 * 10**11)}",
            "/api/indicators/signals/BTC/15m",
            "/api/leaderboard/rankings?limit=20",
            "/api/docs-json",
        )
        (target,) = self._chance.choices(targets, (20, 10, 5, 5, 5, 2, 1))
        return await self._call("GET", target)

    async def _read_own(self) -> object:
        targets = ("/user/profile", "/trading-sessions/active", "/trading-sessions/current-trade")
        return await self._call("GET", self._chance.choice((*targets, "/usdc-verification/my-transactions")))

    async def _open(self) -> object:
        asset = self._chance.randrange(12)
        if self._chance.random() < 0.5:
            body: dict[str, object] = {"budget": 50, "profitTarget": 5, "lossThreshold": 5, "assetIndex": asset}
            return await self._call("POST", "/trading-sessions", body)
        body = {"amount": 50, "executionStrategy": "Aggressive", "strategyDuration": "1D", "assetIndex": asset}
        return await self._call("POST", "/trading-sessions/advance", body)

    async def _close(self) -> object:
        trade = await self._call("GET", "/trading-sessions/current-trade")
        if not isinstance(trade, dict):
            return await self._call("POST", "/user/close-all-positions")
        return await self._call("POST", f"/trading-sessions/trades/{trade['id']}/close")

    async def _read_logs(self) -> object:
        active = await self._call("GET", "/trading-sessions/active")
        if not isinstance(active, list) or not active:
            return await self._call("POST", "/user/fills/sync")
        await self._call("GET", f"/trading-sessions/trades/{active[0]['tradeId']}/logs?limit=5")
        return await self._call("GET", f"/trading-sessions/{active[0]['id']}/logs")

    async def _move_money(self) -> object:
        if self._chance.random() < 0.2:
            tx_hash = f"0x{self._chance.getrandbits(256):064x}"
            return await self._call("POST", "/usdc-verification/verify", {"txHash": tx_hash})
        where = f"0x{self._chance.getrandbits(160):040x}"
        return await self._call("POST", "/user/send-usdc", {"amount": 0.01, "destination": where})

    async def _misbehave(self) -> object:
        if self._chance.random() < 0.5:
            return await self._call("GET", f"/nowhere/{self._chance.getrandbits(64):x}")
        return await self._call("POST", "/trading-sessions", {f"field{self._chance.getrandbits(64):x}": 1})

    async def _challenge(self) -> object:
        """A sign-in that is begun and never finished."""
        return await self._call("POST", "/auth/evm/challenge", {"address": f"0x{self._chance.getrandbits(160):040x}"})


def verdict(samples: Sequence[Sample], seconds: float) -> list[str]:
    """What is not flat.

    Args:
        samples: what was seen, in order.
        seconds: how long it lasted.
    """
    later = [sample for sample in samples if sample.at_s >= seconds * WARM_UP]
    # A sample more or less is chance, so the middle of a tenth of them is compared, at both ends.
    part = max(1, len(later) // 10)
    first, last = (statistics.median(sample.resident for sample in some) for some in (later[:part], later[-part:]))
    found: list[str] = []
    if last - first > MOST_GROWTH:
        found.append(f"resident memory grew by {(last - first) / 2**20:.1f} MiB after the warm-up")
    # Connections come and go, so it is the least of the end that must not be more than the most of the beginning.
    opened = max(sample.descriptors for sample in later[:part])
    if min(sample.descriptors for sample in later[-part:]) > opened + MOST_DESCRIPTORS:
        found.append(f"{later[-1].descriptors} file descriptors are open, {opened} after the warm-up")
    return found


def _row(sample: Sample) -> str:
    resident = f"{sample.resident / 2**20:.1f}"
    return f"{sample.at_s:>7.0f} s{sample.calls:>12,}{resident:>12}{sample.descriptors:>14}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak, print a table, and give 1 if something is not flat or a call failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=600, help="how long; by default 600")
    seconds: float = parser.parse_args(arguments).seconds
    if sys.platform != "linux":
        parser.error("only Linux tells what a process takes up")
    if seconds < 20:
        parser.error("seconds: at least 20, or nothing can be seen")
    cores = Cores.of_this_machine()
    stay_on(cores.one)
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"{'':>9}{'calls':>12}{'MiB':>12}{'descriptors':>14}")
    with SandboxProcess(Setup(cores=cores.server)) as server:
        soak = Soak(server.url, seconds)
        asyncio.run(soak.run(server))
        executed = server.report().executed
    print(_row(soak.samples[-1]))
    print("statuses:", ", ".join(f"{status} × {count:,}" for status, count in sorted(soak.statuses.items())))
    print("executed:", ", ".join(f"{kind} × {count:,}" for kind, count in sorted(executed.items())))
    problems = [*soak.failures, *verdict(soak.samples, seconds)]
    for problem in problems:
        print(f"NOT FLAT: {problem}" if problem not in soak.failures else f"FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
