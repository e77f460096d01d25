"""An order is cancelled at any moment: its caller hears so, the journal tells the truth, and nothing is left open."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import count
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest

from alura_async import AsyncAlura, CallError, JournalEntry, Outcome, RateLimiter, Retry
from alura_async.core.exchange import Exchange, _Sessions
from alura_async.sandbox import Sandbox
from tests.faults.clients import until_warm

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

# `nox -s faults` cancels at all 1,500 points.
SCALE = float(os.environ.get("ALURA_FAULT_SCALE", "0.03"))
POINTS = 1500

WITHDRAW = "POST /user/withdraw"
# What may hold an order up on its way.
SITUATIONS = ("ready", "warm", "new client", "no token", "token refused", "429", "reply lost")
JOURNALS = ("memory", "file")
# How far beyond the usual end of a call the last points lie.
BEYOND = 1.15


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=5, limit=None, funds=1_000_000) as sandbox:
        yield sandbox


@pytest.mark.parametrize("journal", JOURNALS)
@pytest.mark.parametrize("situation", SITUATIONS)
async def test_a_cancelled_order_is_told_as_it_is(
    sandbox: Sandbox, tmp_path: Path, situation: str, journal: str, record_property: Callable[[str, object], None]
) -> None:
    points = ceil(SCALE * POINTS / len(SITUATIONS) / len(JOURNALS))
    chance = random.Random(f"{situation} {journal}")
    orders = Orders(sandbox, situation, tmp_path / "journal.db" if journal == "file" else None)
    async with orders.at_work():
        usual = await orders.usual_length()
        for point in count():
            if orders.seen["cancelled"] == points:
                break
            await orders.prepare()
            part = chance.uniform(0, BEYOND)
            match point % 3:
                case 0:
                    await orders.cancel_after_turns(round(part * usual.turns))
                case 1:
                    await orders.cancel_after_turns(round(part * usual.turns_on_the_road), on_the_road=True)
                case _:
                    await orders.cancel_after_seconds(part * usual.seconds)
            await orders.require_empty_pool()
        await orders.require_agreement()
    record_property("cancelled", f"{situation}, {journal}: {dict(orders.seen)}")


class Length(NamedTuple):
    """How long a call takes: turns of the event loop, those of them after it was written down, seconds."""

    turns: int
    turns_on_the_road: int
    seconds: float


class Orders:
    """Withdrawals of one account, each of an amount of its own."""

    def __init__(self, sandbox: Sandbox, situation: str, journal: Path | None) -> None:
        self.seen: Counter[str] = Counter()
        self._sandbox = sandbox
        self._situation = situation
        self._amounts = count(1)
        self._limiter = RateLimiter()
        self._settings: dict[str, Any] = {
            "wallet": sandbox.wallet(),
            "base_url": sandbox.url,
            "journal": journal,
            "warm": situation == "warm",
            "limiter": self._limiter,
            "retry": Retry(budget=1),
        }
        # In memory, entries end with their client.
        self._entries_before: list[JournalEntry] = []
        self._alura: AsyncAlura

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        self._alura = AsyncAlura(**self._settings)
        await self._alura.auth.login()
        try:
            yield
        finally:
            await self._alura.close()

    async def usual_length(self) -> Length:
        """How long a call takes."""
        lengths: list[Length] = []
        for _ in range(5):
            await self.prepare()
            order = self._begin()
            turns = turns_on_the_road = 0
            while not order.done():
                await asyncio.sleep(0)
                turns += 1
                turns_on_the_road += self._is_on_the_road()
            await asyncio.gather(order, return_exceptions=True)
            await self.prepare()
            began = time.perf_counter()
            await asyncio.gather(self._begin(), return_exceptions=True)
            lengths.append(Length(turns, turns_on_the_road, time.perf_counter() - began))
        # The first one opens files and connections.
        turns, turns_on_the_road, seconds = (median(each) for each in zip(*lengths[1:], strict=True))
        return Length(int(turns), int(turns_on_the_road), seconds)

    async def prepare(self) -> None:
        """Bring about the situation that the next order is made in."""
        match self._situation:
            case "warm":
                await self._alura.health.basic()  # which keeps the spare awake
                await until_warm(self._alura)
            case "new client":
                if self._settings["journal"] is None:
                    self._entries_before = await self._entries()
                await self._alura.close()
                self._alura = AsyncAlura(**self._settings)
            case "no token":
                await self._alura.auth.logout()
            case "token refused":
                await self._alura.auth.login()
                self._sandbox.expire_tokens()
            case "429":
                self._sandbox.faults.clear()
                self._sandbox.faults.add(f"429=Slow x1 on {WITHDRAW}")
            case "reply lost":
                self._sandbox.faults.clear()
                self._sandbox.faults.add(f"reset-after x1 on {WITHDRAW}")
            case _:
                assert self._situation == "ready"

    async def cancel_after_turns(self, turns: int, *, on_the_road: bool = False) -> None:
        """Cancel an order after so many turns of the event loop, from its beginning or from its way to the server."""
        order = self._begin()
        while on_the_road and not order.done() and not self._is_on_the_road():
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        await self._cancel(order)

    def _is_on_the_road(self) -> bool:
        """Whether an order has been written down, and is being made."""
        return any(call.attempts for call in self._alura._road.orders._under_way)

    async def cancel_after_seconds(self, seconds: float) -> None:
        order = self._begin()
        await asyncio.wait([order], timeout=seconds)
        await self._cancel(order)

    def _begin(self) -> asyncio.Task[Any]:
        return asyncio.ensure_future(self._alura.user.withdraw(amount=next(self._amounts)))

    async def _cancel(self, order: asyncio.Task[Any]) -> None:
        if order.cancel():
            with pytest.raises(asyncio.CancelledError):
                await order
            self.seen["cancelled"] += 1
            return
        self.seen["over before"] += 1
        if self._situation == "reply lost":
            with pytest.raises(CallError):
                await order
        else:
            await order

    async def require_empty_pool(self) -> None:
        """Nothing of the call is left, neither here nor at the server."""
        road = self._alura._road
        assert road.orders._under_way == {}
        assert self._limiter._taken == 0
        sessions = self._sessions()
        if sessions is None:
            return
        if (sign_in := road.tokens._task) is not None:
            # Whoever is next will want its token, so it goes on.
            await asyncio.wait([sign_in])
        # The next spare is on its way, or there.
        assert len(sessions.once_connector._acquired) <= (sessions.spare is not None)
        assert not sessions.once_connector._conns
        async with asyncio.timeout(10):
            while self._ports_at_server() - self._ports_kept():
                await asyncio.sleep(0)

    def _sessions(self) -> _Sessions | None:
        """The client's connections, once it has made some."""
        exchange: Exchange | None = getattr(self._alura._road, "_exchange", None)
        return None if exchange is None else exchange._sessions

    def _ports_at_server(self) -> set[int]:
        runner = self._sandbox._runner
        assert runner is not None
        assert runner.server is not None
        transports = [handler.transport for handler in runner.server.connections]
        return {transport.get_extra_info("peername")[1] for transport in transports if transport is not None}

    def _ports_kept(self) -> set[int]:
        """Of the connections that the client keeps on purpose: of reads and sign-ins, and the spare."""
        sessions = self._sessions()
        if sessions is None:
            return set()
        connector = sessions.read.connector
        assert isinstance(connector, aiohttp.TCPConnector)
        transports = [protocol.transport for kept in connector._conns.values() for protocol, _ in kept]
        if sessions.spare is not None and sessions.spare._held is not None:
            transports.append(sessions.spare._held[0].transport)
        return {transport.get_extra_info("sockname")[1] for transport in transports if transport is not None}

    async def require_agreement(self) -> None:
        """What the journal says is what the server did, of every order."""
        await self._until_server_is_quiet()
        executed = Counter(int(done.detail["amount"]) for done in self._sandbox.ledger if done.operation == WITHDRAW)
        arrived = Counter(
            request.request_id
            for request in self._sandbox.requests
            if request.executed and request.path == "/user/withdraw"
        )
        assert arrived.total() == executed.total()
        for entry in await self._entries():
            times = executed.pop(amount_of(entry), 0)
            assert arrived.pop(entry.id, 0) == times
            assert (entry.outcome, times) in POSSIBLE
            self.seen[f"{entry.outcome}, {'done' if times else 'not done'}"] += 1
        assert not executed
        assert not arrived

    async def _entries(self) -> list[JournalEntry]:
        return [*self._entries_before, *await self._alura.journal.entries(limit=2 * POINTS)]

    async def _until_server_is_quiet(self) -> None:
        """Until everything that was sent has been read and dealt with."""
        quiet = 0
        async with asyncio.timeout(10):
            while quiet < 10:
                is_busy = any(request.duration_ms is None for request in self._sandbox.requests)
                quiet = 0 if is_busy or self._ports_at_server() - self._ports_kept() else quiet + 1
                await asyncio.sleep(0)


# What the journal may say of an order, and how often the server made it. It may not know; it must not be wrong.
POSSIBLE = {
    (Outcome.NOT_SENT, 0),
    (Outcome.REJECTED, 0),
    (Outcome.DONE, 1),
    (Outcome.UNKNOWN, 0),
    (Outcome.UNKNOWN, 1),
}


def amount_of(entry: JournalEntry) -> int:
    return int(Decimal(str(msgspec.json.decode(entry.body)["amount"])))
