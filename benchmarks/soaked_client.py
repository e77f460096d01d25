"""The client under soak, in a process of its own: a bot that does everything at once, and says what came of it.

Its argument is an `Order`. It prints a `Sample` now and then, and writes each call that must not be made twice, with
what it was told of it, as a line into a file.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import msgspec

from alura_async import (
    AluraError,
    AsyncAlura,
    CallError,
    NotFlatError,
    Outcome,
    RateLimiter,
    Request,
    Timeouts,
    TradingSessions,
    User,
)

from .contest import stay_on
from .sandbox_client import private_key

_FIRST_SAMPLE_S = 2.0

_ACCOUNTS = 2
_VISITOR = 2
# As many as keep the limiter busy though every tenth request is one that hangs, is slow or is made again.
_WORKERS = 44
_ASSETS = 12
_CANCELLED = 0.02
_FLATTEN_EVERY_S = 60.0
_VISIT_EVERY_S = 5.0
# A bot that cannot sign in does not try again at once.
_BREATHER_S = 0.5
# What a read brings does not grow all the time.
_DEPOSITS = 30
_DESTINATION = "0x" + "ab" * 20
_MICRO = Decimal("0.000001")


class Order(msgspec.Struct, frozen=True):
    """What the process is to do.

    Attributes:
        url: the sandbox's.
        seconds: how long.
        rate: calls a second.
        sample_every: seconds between two samples.
        journal: the file that the clients keep their intents in.
        told: the file that takes what they were told.
        creates: how many of a hundred calls create a session.
        cores: the processor cores that the process stays on; none for all.
    """

    url: str
    seconds: float
    rate: float
    creates: float
    sample_every: float
    journal: str
    told: str
    cores: Sequence[int] = ()


class Sample(msgspec.Struct, frozen=True):
    """What the process takes up at one time.

    Attributes:
        at_s: seconds since it began.
        calls: how many calls have ended.
        resident: resident memory in bytes.
        blocks: what `sys.getallocatedblocks()` says.
        descriptors: open file descriptors.
        tasks: asyncio's tasks.
        threads: threads.
    """

    at_s: float
    calls: int
    resident: int
    blocks: int
    descriptors: int
    tasks: int
    threads: int


class Told(msgspec.Struct, frozen=True, tag=True):
    """What a user was told of a call.

    Attributes:
        account: whose call it was.
        method: the HTTP method.
        path: the path.
        body: the JSON body.
        outcome: what became of it; None where the user cancelled it.
        call_id: its entry in the journal, where an error told.
        result_id: the id of what it created.
    """

    account: str
    method: str
    path: str
    body: str
    outcome: Outcome | None
    call_id: str = ""
    result_id: str | None = None


class Flat(msgspec.Struct, frozen=True, tag=True):
    """A `flatten()` that returned.

    Attributes:
        account: whose.
        began: seconds since 1970 when it was called.
        ended: seconds since 1970 when it returned; None where it did not get flat.
    """

    account: str
    began: float
    ended: float | None


class Bot:
    """One account, and some tasks that use it.

    Args:
        alura: its client.
        account: its address.
        seed: of what it does.
        numbers: makes amounts that no other call has.
        told: takes what it was told.
        creates: how many of a hundred calls create a session.
    """

    def __init__(
        self,
        alura: AsyncAlura,
        account: str,
        seed: int,
        numbers: Callable[[], int],
        told: TextIO,
        creates: float,
    ) -> None:
        self.calls = 0
        self.surprises: list[str] = []
        self._alura = alura
        self._account = account
        self._chance = random.Random(seed)
        self._next = numbers
        self._told = told
        # Nothing is opened while it gets flat.
        self._may_open = asyncio.Event()
        self._may_open.set()
        self._opening = 0
        self._opened = asyncio.Event()
        actions: dict[Callable[[], Awaitable[object]], float] = {
            self._read_public: 180,
            self._read_own: 140,
            self._close: 3,
            self._transfer: 24,
            self._repeatable: 10,
            self._other: 4,
        }
        actions[self._create] = sum(actions.values()) * creates / (100 - creates)
        self._actions, self._weights = list(actions), list(actions.values())

    async def work(self, ends: float) -> None:
        """Do one thing after another, at random."""
        while time.monotonic() < ends:
            (action,) = self._chance.choices(self._actions, self._weights)
            await self.attempt(action())

    async def attempt(self, doing: Awaitable[object]) -> None:
        """Do one thing; what the SDK says about it is no surprise, anything else is."""
        try:
            await doing
        except CallError:
            pass
        except AluraError:
            await asyncio.sleep(_BREATHER_S)
        except Exception as error:
            if len(self.surprises) < 20:
                self.surprises.append(repr(error))
        self.calls += 1

    async def visit(self) -> None:
        """A few calls of a client that is not kept."""
        for _ in range(3):
            await self.attempt(self._read_own())
        await self.attempt(self._transfer())

    async def flatten(self) -> None:
        """Close everything, and have nothing else opened meanwhile."""
        self._may_open.clear()
        try:
            while self._opening:
                self._opened.clear()
                await self._opened.wait()
            began = time.time()
            try:
                await self._alura.flatten(timeout=60)
            except NotFlatError:
                self._note(Flat(self._account, began, None))
            else:
                self._note(Flat(self._account, began, time.time()))
        finally:
            self._may_open.set()

    async def _read_public(self) -> object:
        alura, chance = self._alura, self._chance
        symbol = chance.choice(("BTC", "ETH", "SOL", "kPEPE"))
        reads: tuple[Callable[[], Awaitable[object]], ...] = (
            alura.health.basic,
            alura.indicators.symbols,
            lambda: alura.indicators.candles(symbol, "1m", limit=100),
            lambda: alura.indicators.signals(symbol, "15m"),
            alura.leaderboard.stats,
            lambda: alura.leaderboard.rankings(limit=20),
        )
        return await chance.choices(reads, (10, 5, 20, 5, 3, 2))[0]()

    async def _read_own(self) -> object:
        alura = self._alura
        reads: tuple[Callable[[], Awaitable[object]], ...] = (
            alura.user.profile,
            alura.trading_sessions.active,
            alura.trading_sessions.current_trade,
            alura.usdc_verification.my_transactions,
            self._read_logs,
        )
        return await self._chance.choice(reads)()

    async def _read_logs(self) -> object:
        sessions = await self._alura.trading_sessions.active()
        if not sessions:
            return None
        session = self._chance.choice(sessions)
        return await self._alura.trading_sessions.logs(session.id)

    async def _create(self) -> object:
        await self._may_open.wait()
        asset = self._chance.randrange(_ASSETS)
        budget = 50 + self._next() * _MICRO
        request: Request[Any]
        if self._chance.random() < 0.5:
            request = TradingSessions.create.request(budget=budget, profit_target=40, asset=asset, loss_threshold=20)
        else:
            request = TradingSessions.create_advance.request(
                amount=budget, execution_strategy="Aggressive", strategy_duration="1D", asset=asset
            )
        self._opening += 1
        try:
            return await self._once(request)
        finally:
            self._opening -= 1
            self._opened.set()

    async def _close(self) -> object:
        kind = self._chance.random()
        if kind < 0.03:
            return await self._once(User.close_all_positions.request())
        sessions = [session for session in await self._alura.trading_sessions.active() if session.trade_id]
        if not sessions:
            return None
        session = self._chance.choice(sessions)
        if kind < 0.2 and session.asset_index is not None:
            return await self._once(User.close_position.request(asset=session.asset_index))
        assert session.trade_id is not None
        return await self._once(TradingSessions.close_trade.request(session.trade_id))

    async def _transfer(self) -> object:
        amount = 1 + self._next() * _MICRO
        if self._chance.random() < 0.5:
            return await self._once(User.withdraw.request(amount=amount))
        return await self._once(User.send_usdc.request(amount=amount, destination=_DESTINATION))

    async def _repeatable(self) -> object:
        if self._chance.random() < 0.5:
            return await self._alura.user.sync_fills()
        return await self._alura.usdc_verification.verify(f"0x{self._chance.randrange(1, _DEPOSITS):064x}")

    async def _other(self) -> object:
        return await self._once(TradingSessions.trigger_cron.request())

    async def _once(self, request: Request[Any]) -> object:
        """Make a call that must not be made twice, and note what the user is told of it."""
        outcome: Outcome | None = None
        call_id = ""
        result_id: str | None = None
        try:
            if self._chance.random() < _CANCELLED:
                async with asyncio.timeout(self._chance.uniform(0, 0.05)):
                    value = await self._alura.send(request)
            else:
                value = await self._alura.send(request)
            outcome = Outcome.DONE
            result_id = getattr(value, "id", None)
        except AluraError as error:
            outcome = error.outcome
            if isinstance(error, CallError):
                call_id = error.call_id
            raise
        except TimeoutError:
            return None
        else:
            return value
        finally:
            body = "" if request.body is None else request.body.decode()
            self._note(Told(self._account, request.method, request.path, body, outcome, call_id, result_id))

    def _note(self, what: Told | Flat) -> None:
        self._told.write(msgspec.json.encode(what).decode() + "\n")


class _Soak:
    def __init__(self, order: Order, told: TextIO) -> None:
        self._order = order
        self._told = told
        self._limiter = RateLimiter(rate=order.rate, burst=20, concurrency=128, reserved=16)
        # A number makes an amount that no other call has.
        numbers = count(1)
        self._numbers = lambda: next(numbers)
        self._bots: list[Bot] = []
        self._clients = 0
        self._calls_of_visitors = 0
        self._surprises: list[str] = []

    async def run(self) -> list[str]:
        started = time.monotonic()
        ends = started + self._order.seconds
        async with AsyncExitStack() as clients:
            self._bots = [await clients.enter_async_context(self._bot(number)) for number in range(_ACCOUNTS)]
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._sample(started))
                for bot in self._bots:
                    for _ in range(_WORKERS):
                        tasks.create_task(bot.work(ends))
                    tasks.create_task(self._every(_FLATTEN_EVERY_S, bot.flatten, ends))
                tasks.create_task(self._every(_VISIT_EVERY_S, self._visit, ends))
        return [surprise for bot in self._bots for surprise in bot.surprises] + self._surprises

    @asynccontextmanager
    async def _bot(self, number: int, **settings: Any) -> AsyncGenerator[Bot]:
        alura = AsyncAlura(
            private_key(number),
            base_url=self._order.url,
            limiter=self._limiter,
            journal=self._order.journal,
            timeout=Timeouts(read=2.0),
            max_body_bytes=4 << 20,
            **settings,
        )
        async with alura:
            self._clients += 1
            yield Bot(alura, _address(number), self._clients, self._numbers, self._told, self._order.creates)

    async def _visit(self) -> None:
        async with self._bot(_VISITOR, warm=True) as bot:
            await bot.visit()
        self._calls_of_visitors += bot.calls
        self._surprises += bot.surprises

    async def _every(self, seconds: float, do: Callable[[], Awaitable[object]], ends: float) -> None:
        while time.monotonic() + seconds < ends:
            await asyncio.sleep(seconds)
            await do()

    async def _sample(self, started: float) -> None:
        at_s = _FIRST_SAMPLE_S
        # Not what is left when the work is over.
        while at_s < self._order.seconds:
            await asyncio.sleep(started + at_s - time.monotonic())
            # Cycles that wait for the collector, such as errors with their tracebacks, are no leak.
            gc.collect()
            calls = sum(bot.calls for bot in self._bots) + self._calls_of_visitors
            print(msgspec.json.encode(sample(time.monotonic() - started, calls)).decode(), flush=True)
            at_s = self._order.sample_every * (int(at_s / self._order.sample_every) + 1)


def sample(at_s: float, calls: int) -> Sample:
    """What this process takes up now."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return Sample(
        at_s,
        calls,
        int(pages) * os.sysconf("SC_PAGE_SIZE"),
        sys.getallocatedblocks(),
        len(os.listdir("/proc/self/fd")),
        len(asyncio.all_tasks()),
        threading.active_count(),
    )


def _address(number: int) -> str:
    from eth_account import Account

    return str(Account.from_key(private_key(number)).address).lower()


def main() -> int:
    """Do what the argument says; 1 if anything else was raised than the SDK's own errors."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    stay_on(order.cores)
    with open(order.told, "w", encoding="utf-8") as told:
        surprises = asyncio.run(_Soak(order, told).run())
    for surprise in surprises:
        print(surprise, file=sys.stderr)
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
