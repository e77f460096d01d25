"""What a type checker makes of both surfaces. It is checked by several and never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, assert_type

from alura_async import (
    Access,
    Alura,
    AluraError,
    Assets,
    AsyncAlura,
    CallError,
    Candle,
    Challenge,
    CloseSignature,
    Closing,
    CronRun,
    Deposit,
    Effect,
    ExecutionStrategy,
    FillsSync,
    Items,
    Keystore,
    LatestCandles,
    LeaderboardAnalytics,
    LeaderboardStats,
    LogEntry,
    Observed,
    Outcome,
    Page,
    Position,
    Profile,
    Ranking,
    Referral,
    ReferralCheck,
    ReferralStats,
    Reply,
    Request,
    RewardClaim,
    Route,
    Secret,
    ServiceHealth,
    SessionStatus,
    ShapeError,
    Signal,
    Signals,
    SignIn,
    StrategyDuration,
    Timeouts,
    TotalDeposited,
    Trade,
    TradingKey,
    TradingSession,
    TradingSessions,
    Transfer,
    User,
)
from alura_async.bulk import CandlePage, CandleQuery, Candles, Plan

NOW = datetime(2024, 1, 1, tzinfo=UTC)


async def each_endpoint_is_awaited(alura: AsyncAlura) -> None:
    assert_type(await alura.auth.challenge("0x"), Challenge)
    assert_type(await alura.auth.verify("0x", "0x51"), SignIn)
    assert_type(await alura.auth.verify("0x", Secret("0x51"), referral_code="FRIEND"), SignIn)
    assert_type(await alura.auth.trading_key(), TradingKey)
    assert_type(await alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC"), TradingSession)
    assert_type(await alura.trading_sessions.create_advance(amount=1), TradingSession)
    assert_type(await alura.trading_sessions.active(), Items[TradingSession])
    assert_type(await alura.trading_sessions.current_trade(), Trade | None)
    assert_type(await alura.trading_sessions.logs("s"), Items[LogEntry])
    assert_type(await alura.trading_sessions.trade_logs("t", page=1, limit=2), Page[LogEntry])
    assert_type(await alura.trading_sessions.close_position("p"), Closing)
    assert_type(await alura.trading_sessions.close_signature("p"), CloseSignature)
    assert_type(await alura.trading_sessions.close_trade("t"), Closing)
    assert_type(await alura.trading_sessions.trigger_cron(), CronRun)
    assert_type(await alura.user.profile(), Profile)
    assert_type(await alura.user.sync_fills(), FillsSync)
    assert_type(await alura.user.withdraw(amount="12.50"), Transfer)
    assert_type(await alura.user.close_position(asset=0), Closing)
    assert_type(await alura.user.close_all_positions(), Closing)
    assert_type(await alura.user.send_usdc(amount=Decimal("1.5"), destination="0x"), Transfer)
    assert_type(await alura.user.claim_reward(extra={"a": 1}), RewardClaim)
    assert_type(await alura.indicators.health(), ServiceHealth)
    assert_type(await alura.indicators.latest_candles(), Items[Candle])
    assert_type(await alura.indicators.candle_history("BTC", start=NOW, end=1_700_000_000_000), Items[Candle])
    assert_type(await alura.indicators.candles("BTC", "1m", limit=5), Items[Candle])
    assert_type(await alura.indicators.symbols(), Items[str])
    assert_type(await alura.indicators.signals("BTC", "1m"), Items[Signal])
    assert_type(await alura.indicators.all_signals("1m"), Items[Signal])
    assert_type(await alura.leaderboard.stats(), LeaderboardStats)
    assert_type(await alura.leaderboard.rankings(page=1), Page[Ranking])
    assert_type(await alura.leaderboard.user("u"), Ranking)
    assert_type(await alura.leaderboard.analytics(), LeaderboardAnalytics)
    assert_type(await alura.leaderboard.health(), ServiceHealth)
    assert_type(await alura.referrals.get("u"), Referral)
    assert_type(await alura.referrals.stats("u"), ReferralStats)
    assert_type(await alura.referrals.create_code("u"), Referral)
    assert_type(await alura.referrals.check("FRIEND"), ReferralCheck)
    assert_type(await alura.usdc_verification.verify("0x"), Deposit)
    assert_type(await alura.usdc_verification.my_transactions(), Items[Deposit])
    assert_type(await alura.usdc_verification.total_deposited(), TotalDeposited)
    assert_type(await alura.health.basic(params={"deep": True}), ServiceHealth)
    assert_type(await alura.health.kafka(), ServiceHealth)


def each_endpoint_blocks(alura: Alura) -> None:
    assert_type(alura.auth.challenge("0x"), Challenge)
    assert_type(alura.auth.verify("0x", "0x51"), SignIn)
    assert_type(alura.auth.verify("0x", Secret("0x51"), referral_code="FRIEND"), SignIn)
    assert_type(alura.auth.trading_key(), TradingKey)
    assert_type(alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC"), TradingSession)
    assert_type(alura.trading_sessions.create_advance(amount=1), TradingSession)
    assert_type(alura.trading_sessions.active(), Items[TradingSession])
    assert_type(alura.trading_sessions.current_trade(), Trade | None)
    assert_type(alura.trading_sessions.logs("s"), Items[LogEntry])
    assert_type(alura.trading_sessions.trade_logs("t", page=1, limit=2), Page[LogEntry])
    assert_type(alura.trading_sessions.close_position("p"), Closing)
    assert_type(alura.trading_sessions.close_signature("p"), CloseSignature)
    assert_type(alura.trading_sessions.close_trade("t"), Closing)
    assert_type(alura.trading_sessions.trigger_cron(), CronRun)
    assert_type(alura.user.profile(), Profile)
    assert_type(alura.user.sync_fills(), FillsSync)
    assert_type(alura.user.withdraw(amount="12.50"), Transfer)
    assert_type(alura.user.close_position(asset=0), Closing)
    assert_type(alura.user.close_all_positions(), Closing)
    assert_type(alura.user.send_usdc(amount=Decimal("1.5"), destination="0x"), Transfer)
    assert_type(alura.user.claim_reward(extra={"a": 1}), RewardClaim)
    assert_type(alura.indicators.health(), ServiceHealth)
    assert_type(alura.indicators.latest_candles(), Items[Candle])
    assert_type(alura.indicators.candle_history("BTC", start=NOW, end=1_700_000_000_000), Items[Candle])
    assert_type(alura.indicators.candles("BTC", "1m", limit=5), Items[Candle])
    assert_type(alura.indicators.symbols(), Items[str])
    assert_type(alura.indicators.signals("BTC", "1m"), Items[Signal])
    assert_type(alura.indicators.all_signals("1m"), Items[Signal])
    assert_type(alura.leaderboard.stats(), LeaderboardStats)
    assert_type(alura.leaderboard.rankings(page=1), Page[Ranking])
    assert_type(alura.leaderboard.user("u"), Ranking)
    assert_type(alura.leaderboard.analytics(), LeaderboardAnalytics)
    assert_type(alura.leaderboard.health(), ServiceHealth)
    assert_type(alura.referrals.get("u"), Referral)
    assert_type(alura.referrals.stats("u"), ReferralStats)
    assert_type(alura.referrals.create_code("u"), Referral)
    assert_type(alura.referrals.check("FRIEND"), ReferralCheck)
    assert_type(alura.usdc_verification.verify("0x"), Deposit)
    assert_type(alura.usdc_verification.my_transactions(), Items[Deposit])
    assert_type(alura.usdc_verification.total_deposited(), TotalDeposited)
    assert_type(alura.health.basic(params={"deep": True}), ServiceHealth)
    assert_type(alura.health.kafka(), ServiceHealth)


async def operations_are_awaited(alura: AsyncAlura) -> None:
    assert_type(await alura.bulk.plan("all", ["1m", "1h"], start=NOW, query=CandleQuery(unit="s")), Plan)
    assert_type(await alura.bulk.latest(["BTC"], "1m", limit=5), LatestCandles)
    assert_type((await alura.bulk.latest("BTC", "1m"))["BTC"], Candles)
    assert_type(await alura.bulk.signals("all", "1m"), Signals)
    assert_type(await alura.trading_sessions.wait_until_closed("s", timeout=60), TradingSession)
    await alura.auth.login()
    await alura.auth.logout()
    signing_in: Coroutine[Any, Any, None] = alura.auth.login()
    await signing_in


def operations_block(alura: Alura) -> None:
    assert_type(alura.bulk.plan("all", ["1m", "1h"], start=NOW, query=CandleQuery(unit="s")), Plan)
    assert_type(alura.bulk.latest(["BTC"], "1m", limit=5), LatestCandles)
    assert_type(alura.bulk.latest("BTC", "1m")["BTC"], Candles)
    assert_type(alura.bulk.signals("all", "1m"), Signals)
    assert_type(alura.trading_sessions.wait_until_closed("s", timeout=60), TradingSession)
    alura.auth.login()
    done: Callable[[], None] = alura.auth.logout
    done()


async def streams_are_iterated_with_async_for(alura: AsyncAlura) -> None:
    async for seen in alura.trading_sessions.watch("s", interval=0.5):
        assert_type(seen, Observed[TradingSession])
        assert_type(seen.value.status, SessionStatus | None)
        assert_type(seen.age, timedelta)
    async for entry in alura.trading_sessions.iter_trade_logs("t"):
        assert_type(entry, LogEntry)
    async for place in alura.leaderboard.iter_rankings(limit=50):
        assert_type(place, Ranking)
    async for page in alura.bulk.candles(["BTC"], "1m", start=NOW, progress=lambda told: told.eta_s):
        assert_type(page, CandlePage)
        assert_type(page.candles, Candles)
        assert_type(page.error, AluraError | None)
    candles = alura.indicators.watch_candles("BTC", "1m")
    assert_type(candles, AsyncGenerator[Observed[Candle], None])
    assert_type(await anext(candles), Observed[Candle])
    await candles.aclose()
    assert_type([entry.id async for entry in alura.trading_sessions.iter_trade_logs("t")], list[str | None])


def streams_are_iterated_with_for(alura: Alura) -> None:
    for seen in alura.trading_sessions.watch("s", interval=0.5):
        assert_type(seen, Observed[TradingSession])
    for entry in alura.trading_sessions.iter_trade_logs("t"):
        assert_type(entry, LogEntry)
    assert_type(list(alura.leaderboard.iter_rankings(limit=50)), list[Ranking])
    assert_type(list(alura.bulk.candles("BTC", "1m", start=0)), list[CandlePage])
    with alura.indicators.watch_candles("BTC", "1m") as candles:
        assert_type(next(candles), Observed[Candle])
        also: Iterator[Observed[Candle]] = iter(candles)
        next(also)
    alura.trading_sessions.watch("s").close()


def a_call_is_a_value() -> None:
    order = TradingSessions.create.request(budget="100", profit_target=40.5, asset=0, extra={"x": 1})
    assert_type(order, Request[TradingSession])
    assert_type(TradingSessions.active.request(), Request[Items[TradingSession]])
    assert_type(TradingSessions.current_trade.request(), Request[Trade | None])
    assert_type(User.profile.route, Route[Profile])
    assert_type(order.path, str)
    assert_type(order.body, bytes | None)


async def a_value_is_sent_and_awaited(alura: AsyncAlura) -> None:
    assert_type(await alura.send(User.profile.request()), Profile)
    assert_type(await alura.send(TradingSessions.active.request()), Items[TradingSession])
    assert_type(await alura.send(TradingSessions.current_trade.request()), Trade | None)
    reply = await alura.send_raw(User.profile.request())
    assert_type(reply, Reply[Profile])
    assert_type(reply.decode(), Profile)
    assert_type(reply.status, int)
    assert_type(reply.body, bytes)
    assert_type(reply.headers, Mapping[str, str])
    assert_type(Route("GET", "/vaults", Profile), Route[Profile])
    own: Route[Profile] = Route("GET", "/vaults/:vaultId", Profile, access=Access.BEARER, effect=Effect.READ)
    assert_type(await alura.send(own.request("42", query={"a": 1})), Profile)


def a_value_is_sent(alura: Alura) -> None:
    assert_type(alura.send(User.profile.request()), Profile)
    assert_type(alura.send(TradingSessions.active.request()), Items[TradingSession])
    assert_type(alura.send(TradingSessions.current_trade.request()), Trade | None)
    reply = alura.send_raw(User.profile.request())
    assert_type(reply, Reply[Profile])
    assert_type(reply.decode(), Profile)


async def the_awaited_client(wallet: Keystore) -> None:
    async with AsyncAlura(wallet, timeout=Timeouts(call=5), assets={"BTC": 0}) as alura:
        assert_type(alura, AsyncAlura)
        assert_type(alura.with_options(timeout=2), AsyncAlura)
        assert_type(await alura.with_options(poll_interval=1).user.profile(), Profile)
        assert_type(alura.assets, Assets)
    assert_type(AsyncAlura.from_env(), AsyncAlura)
    await AsyncAlura("0x", token="t", base_url="https://x", allow_http=["sandbox"]).close()


def the_blocking_client(wallet: Keystore) -> None:
    with Alura(wallet, timeout=5, allow_running_loop=True) as alura:
        assert_type(alura, Alura)
        assert_type(alura.with_options(timeout=2), Alura)
        assert_type(alura.with_options(poll_interval=1).user.profile(), Profile)
    assert_type(Alura.from_env(), Alura)


class Bot(AsyncAlura):
    """A client of one's own keeps its type through views."""

    async def trade(self) -> TradingSession:
        return await self.trading_sessions.create(
            budget=Decimal(10),
            profit_target="500",
            asset=0,
            loss_threshold=5.5,
            max_positions=3,
        )


async def a_client_of_ones_own(bot: Bot) -> None:
    assert_type(bot.with_options(timeout=1), Bot)
    assert_type(await bot.with_options(timeout=1).trade(), TradingSession)
    async with bot as same:
        assert_type(same, Bot)


async def arguments_take_what_is_natural(alura: AsyncAlura) -> None:
    for amount in (1, 1.5, "1.50", Decimal("1.5")):
        await alura.user.withdraw(amount=amount)
    for strategy in (ExecutionStrategy.DEGEN, "Degen"):
        await alura.trading_sessions.create_advance(
            amount=1,
            execution_strategy=strategy,
            strategy_duration=StrategyDuration.D7,
            asset="BTC",
            max_wallet_budget=False,
        )


def results_are_typed(trade: Trade, session: TradingSession, candle: Candle) -> None:
    assert_type(trade.positions, list[Position] | None)
    for position in trade.positions or ():
        assert_type(position.size, Decimal | None)
    assert_type(session.created_at, datetime | None)
    assert_type(session.is_closed, bool)
    assert_type(session.extra, Mapping[str, Any])
    assert_type(candle.open, Decimal)
    assert_type(candle.open_time, datetime)
    assert_type(candle.close_time, datetime | None)


def errors_are_typed(error: CallError, shape: ShapeError) -> None:
    assert_type(error.status, int | None)
    assert_type(error.outcome, Outcome)
    assert_type(error.messages, tuple[str, ...])
    assert_type(error.retry_after, float | None)
    assert_type(shape.raw, bytes)


def a_strategy_can_be_written_for_one_surface(
    read: Callable[[], Coroutine[Any, Any, Sequence[TradingSession]]],
) -> None:
    """Bound methods are plain callables that can be passed on."""


async def pass_it_on(alura: AsyncAlura) -> None:
    a_strategy_can_be_written_for_one_surface(alura.trading_sessions.active)
