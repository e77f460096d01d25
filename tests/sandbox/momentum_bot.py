"""A momentum bot, written from the README alone, for a wallet of its own: what is active there counts as the bot's."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from alura_async import AluraError, AsyncAlura, Candle, Outcome, SessionStatus, TradingSession


class Rules(NamedTuple):
    symbols: tuple[str, ...] = ("BTC", "ETH", "SOL", "AVAX")
    budget: int = 150  # of each session
    cap: int = 2  # sessions at once
    window: int = 30  # minutes that momentum is measured over
    enter: float = 2.0  # standard deviations from the mean
    leave: float = 0.5  # how far momentum may stand against a session
    crash: float = 4.0  # percent within ten minutes
    stay_out: float = 3600.0  # seconds without a session after a crash
    rest: float = 1200.0  # seconds before the same symbol is opened again
    tick: float = 15.0


class MomentumBot:
    def __init__(self, alura: AsyncAlura, rules: Rules, sleep: Any = asyncio.sleep, clock: Any = time.time) -> None:
        self.alura, self.rules, self.sleep, self.clock = alura, rules, sleep, clock
        self.known: dict[str, list[Candle]] = {}
        self.sides: dict[str, int] = {}  # which way the server went, by session
        self.unsure: dict[str, float] = {}  # symbols of creates that nobody knows of, until when
        self.resting: dict[str, float] = {}
        self.out_until = 0.0
        self.log: list[str] = []

    async def attempt(self, call: Awaitable[Any]) -> tuple[Any, Outcome]:
        try:
            return await call, Outcome.DONE
        except AluraError as error:
            self.log.append(f"{error.outcome}: {error}")
            return None, error.outcome

    async def run(self, goes_on: Callable[[], bool]) -> None:
        while goes_on():
            await self.step()
            await self.sleep(self.rules.tick)
        for _ in range(100):
            if (sessions := await self.look()) == [] and not self.unsure:
                return
            for session in sessions or ():
                await self.close(session, "the end")
            await self.sleep(self.rules.tick)
        raise RuntimeError("not flat: look at the wallet")

    async def step(self) -> None:
        sessions = await self.look()
        await asyncio.gather(*map(self.read, self.rules.symbols))
        now = self.clock()
        fresh = {s: c for s, c in self.known.items() if len(c) > 9 and now - c[-1].open_time_ms / 1000 < 180}
        if falling := [symbol for symbol, candles in fresh.items() if self.fall(candles) > self.rules.crash]:
            self.log.append(f"crash in {falling}")
            self.out_until = now + self.rules.stay_out
        moves, out = {symbol: self.momentum(candles) for symbol, candles in fresh.items()}, now < self.out_until
        for session in sessions or ():
            move = moves.get(session.symbol or "", 0.0)
            if out or move * await self.side(session) < -self.rules.leave:
                await self.close(session, "crash" if out else f"momentum {move:.2f}")
        taken = {session.symbol for session in sessions or ()} | set(self.unsure)
        free = {s: m for s, m in moves.items() if s not in taken and now >= self.resting.get(s, 0)}
        best = max(free, key=lambda symbol: abs(free[symbol]), default="")
        may_open = sessions is not None and not out and len(taken) < self.rules.cap
        if may_open and best and abs(free[best]) > self.rules.enter:
            await self.open(best)

    async def look(self) -> list[TradingSession] | None:
        sessions, _ = await self.attempt(self.alura.trading_sessions.active())
        if sessions is None:
            return None
        self.unsure = {symbol: until for symbol, until in self.unsure.items() if self.clock() < until}
        return [session for session in sessions if not session.is_closed]

    async def read(self, symbol: str) -> None:
        candles, _ = await self.attempt(self.alura.indicators.candles(symbol, "1m", limit=self.rules.window))
        if candles:
            self.known[symbol] = candles

    def momentum(self, candles: list[Candle]) -> float:
        closes = [float(candle.close) for candle in candles]
        return (closes[-1] - statistics.fmean(closes)) / (statistics.stdev(closes) or 1e9)

    def fall(self, candles: list[Candle]) -> float:
        since = candles[-1].open_time_ms - 600_000
        return 100 - 100 * float(candles[-1].close / max(c.high for c in candles if c.open_time_ms >= since))

    async def side(self, session: TradingSession) -> int:
        if session.id not in self.sides:
            entries, _ = await self.attempt(self.alura.trading_sessions.logs(session.id))
            for side in [entry.data["side"] for entry in entries or () if entry.data and "side" in entry.data]:
                self.sides[session.id] = 1 if side == "long" else -1
        return self.sides.get(session.id, 0)

    async def open(self, symbol: str) -> None:
        self.unsure[symbol], self.resting[symbol] = self.clock() + 60, self.clock() + self.rules.rest
        create = self.alura.trading_sessions.create
        _, outcome = await self.attempt(
            create(budget=self.rules.budget, profit_target=10, asset=symbol, loss_threshold=5)
        )
        if outcome in (Outcome.NOT_SENT, Outcome.REJECTED):  # otherwise the looks of the next minute tell
            del self.unsure[symbol]

    async def close(self, session: TradingSession, why: str) -> None:
        if session.trade_id and session.status is not SessionStatus.CLOSING:
            self.log.append(f"close {session.symbol}: {why}")
            await self.attempt(self.alura.trading_sessions.close_trade(session.trade_id))  # the next look decides
