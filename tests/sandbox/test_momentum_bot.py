"""A bot as a user writes it, through a crash, on a server whose replies get lost and whose closes fail."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from alura_async import AsyncAlura, SettledBy
from alura_async.sandbox import Conditions, Sandbox

from . import momentum_bot
from .conftest import START
from .momentum_bot import MomentumBot, Rules

pytestmark = pytest.mark.anyio

FAULTS = (
    "503-before|503-after|reset-before|reset-after 15% on POST /trading-sessions*",
    "503|reset 3% on GET /*",
    "429 x2 on POST /trading-sessions",
)
UNKIND = Conditions(lag="3s", jitter="2s", partial=0.5, failing_closes=0.2)


def test_it_is_a_bot_of_a_hundred_lines() -> None:
    lines = Path(momentum_bot.__file__).read_text(encoding="utf-8").splitlines()
    assert sum(1 for line in lines if line.strip()) <= 100


async def test_it_is_out_soon_after_a_crash_begins_and_flat_in_the_end() -> None:
    async with (
        Sandbox(seed=4, start=START, speed=0, limit=None, faults=FAULTS, conditions=UNKIND) as sandbox,
        AsyncAlura(sandbox.wallet(), base_url=sandbox.url) as alura,
    ):
        crashes: list[datetime] = []
        opened: list[tuple[datetime, int]] = []

        async def sleep(seconds: float) -> None:
            opened.append((sandbox.now, len(sandbox._world.active_sessions())))
            if not crashes and opened[-1][1] and sandbox.now > START + timedelta(minutes=30):
                crashes.append(sandbox.now)
                for symbol in ("BTC", "ETH"):
                    sandbox.market.crash(symbol, percent=15, over="10m")
                sandbox.market.rally("SOL", percent=15, over="10m")
            sandbox.advance(seconds=seconds)

        bot = MomentumBot(alura, Rules(), sleep, lambda: sandbox.now.timestamp())  # noqa: PLW0108 - the time of each call
        await bot.run(lambda: not crashes or sandbox.now < crashes[0] + timedelta(minutes=80))

        (crash,) = crashes
        assert any(line.startswith("crash in") for line in bot.log)
        # Replies were lost, and the client found out by reading what had become of the calls.
        entries = await alura.journal.entries(limit=1000)
        assert any(entry.settled_by is SettledBy.READING for entry in entries)
        assert 0 < max(count for _, count in opened) <= Rules().cap
        out = [count for at, count in opened if crash + timedelta(minutes=8) <= at < crash + timedelta(minutes=60)]
        assert set(out) == {0}
        created = [entry.detail["session_id"] for entry in sandbox.ledger if entry.kind == "session_created"]
        ended = [name for entry in sandbox.ledger for name in entry.detail.get("closed_sessions", ())]
        assert sorted(created) == sorted(ended)
        assert sum(sandbox.balances.values()) == 0
        assert not any(amount for name, amount in sandbox.balances.items() if name.endswith(" margin"))
        hit = {request.executed for request in sandbox.requests if request.fault and request.method == "POST"}
        assert hit == {True, False}
