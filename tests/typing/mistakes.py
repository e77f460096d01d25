"""Mistakes that a type checker must find, each on its line. It is checked by several and never run.

Every mistake carries each checker's name for it. A name that is not needed is an error itself (mypy's
`warn_unused_ignores`; for pyright, pyrightconfig.json), so a mistake that is no longer found is found here.
"""
# ruff: noqa: B018 - an attribute that is not there is a mistake by itself

from __future__ import annotations

from collections.abc import AsyncGenerator

from alura_async import (
    Alura,
    AsyncAlura,
    Observed,
    Profile,
    Request,
    Route,
    Timeouts,
    TradingSession,
    TradingSessions,
    User,
)


async def forgotten_awaits(alura: AsyncAlura) -> None:
    alura.user.profile()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    alura.user.profile().id  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    session: TradingSession = alura.trading_sessions.create(budget=1, profit_target=1, asset=0)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    for _ in alura.trading_sessions.active():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    alura.auth.login()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    alura.send(User.profile.request())  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    alura.close()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    with AsyncAlura():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    del session


async def awaits_too_many(alura: Alura) -> None:
    await alura.user.profile()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await alura.auth.login()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await alura.send(User.profile.request())  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    async with Alura():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass


async def the_wrong_loop(alura: AsyncAlura, blocking: Alura) -> None:
    for _ in alura.trading_sessions.watch("s"):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    async for _ in await alura.trading_sessions.watch("s"):  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    async for _ in blocking.trading_sessions.watch("s"):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    list(alura.leaderboard.iter_rankings())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    async for _ in alura.trading_sessions.active():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass


async def missing_arguments(alura: AsyncAlura, blocking: Alura) -> None:
    await alura.trading_sessions.create(budget=100, profit_target=40)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.trading_sessions.create(budget=100, profit_target=40)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await alura.user.send_usdc(amount=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.user.send_usdc(amount=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await alura.user.withdraw()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.user.close_position()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await alura.trading_sessions.logs()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.trading_sessions.logs()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await alura.indicators.candles("BTC")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.indicators.candles("BTC")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await alura.trading_sessions.wait_until_closed()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.trading_sessions.wait_until_closed()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    alura.trading_sessions.watch()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.trading_sessions.watch()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    TradingSessions.create.request(budget=100, profit_target=40)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def wrong_arguments(alura: AsyncAlura, blocking: Alura) -> None:
    await alura.trading_sessions.create(budget=None, profit_target=40, asset=0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    blocking.trading_sessions.create(budget=None, profit_target=40, asset=0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await alura.trading_sessions.create(budget=1, profit_target=1, asset=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    blocking.trading_sessions.create(budget=1, profit_target=1, asset=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await alura.trading_sessions.create(budget=1, profit_target=1, asset=0, max_positions="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    blocking.user.send_usdc(amount=1, destination=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await alura.indicators.candle_history("BTC", start="2024-01-01")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    blocking.indicators.candle_history("BTC", start="2024-01-01")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await alura.trading_sessions.logs(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    blocking.trading_sessions.logs(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await alura.trading_sessions.wait_until_closed("s", timeout="60")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    blocking.trading_sessions.wait_until_closed("s", timeout="60")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    alura.trading_sessions.watch("s", interval="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    blocking.trading_sessions.watch("s", interval="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await alura.trading_sessions.create_advance(max_wallet_budget="false")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    blocking.user.claim_reward(extra=[1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    User.withdraw.request(amount=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def unknown_arguments(alura: AsyncAlura, blocking: Alura) -> None:
    await alura.trading_sessions.create(budget=1, profit_target=1, asset=0, leverage=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.trading_sessions.create(budget=1, profit_target=1, asset=0, leverage=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await alura.trading_sessions.create(budget=1, profitTarget=1, asset=0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.user.profile(extra={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.trading_sessions.watch("s", every=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await alura.user.profile("u")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]


async def orders_by_position(alura: AsyncAlura, blocking: Alura) -> None:
    await alura.trading_sessions.create(100, 40, "BTC")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.trading_sessions.create(100, 40, "BTC")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await alura.user.send_usdc(100, "0x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.user.withdraw(100)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def wrong_results(alura: AsyncAlura, blocking: Alura) -> None:
    profile: Profile = await alura.trading_sessions.active()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    profile = blocking.trading_sessions.active()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    (await alura.trading_sessions.current_trade()).id  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    blocking.trading_sessions.current_trade().id  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    profile.balanse  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    profile.balance = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    request: Request[Profile] = TradingSessions.active.request()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    session: TradingSession = blocking.send(User.profile.request())  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    number: int = blocking.send_raw(User.profile.request()).decode()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    stream: AsyncGenerator[TradingSession, None] = alura.trading_sessions.watch("s")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    seen: Observed[Profile] = next(blocking.trading_sessions.watch("s"))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    del request, session, number, stream, seen


def wrong_settings() -> None:
    AsyncAlura(wallet=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Alura(wallet=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AsyncAlura("0x", "token")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AsyncAlura(allow_running_loop=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AsyncAlura(timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Alura(timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Alura(assets=["BTC"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Timeouts(5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Alura().with_options(token="t")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Alura().wallet  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    Alura().bulk_candles()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    Route("GET", "/x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Alura().send("GET /x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    User.profile()  # type: ignore[operator]  # pyright: ignore[reportCallIssue]
