"""Calls that are made again: which, how often, after what pauses, and when not."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alura_async import (
    AluraError,
    AsyncAlura,
    BadRequestError,
    BodyTooLargeError,
    CallError,
    CallTimeoutError,
    ConfigurationError,
    DuplicateAssetError,
    Effect,
    NotSentError,
    Outcome,
    OutcomeUnknownError,
    RateLimitedError,
    RefusedError,
    ResponseError,
    Retry,
    ServerError,
    ShapeError,
    TransportError,
    UnauthorizedError,
    User,
)
from alura_async.core.retry import RetryBudget, again, may_repeat
from tests.raw_server import RawServer, reply

pytestmark = pytest.mark.anyio

PROFILE = reply('{"id":"u1"}')
DOWN = reply('{"message":"down"}', "503 Service Unavailable")
TOO_MANY = reply('{"message":"ThrottlerException: Too Many Requests"}', "429 Too Many Requests")
CREATED = reply('{"id":"s1"}', "201 Created")


@pytest.fixture
async def alura(raw: RawServer) -> AsyncIterator[AsyncAlura]:
    async with AsyncAlura(token="t", base_url=raw.url) as client:
        yield client


async def create(alura: AsyncAlura) -> Any:
    return await alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC")


# Which


async def test_a_read_is_made_again_until_it_succeeds(raw: RawServer, alura: AsyncAlura) -> None:
    raw.answers = [DOWN, b"", TOO_MANY, PROFILE]
    assert (await alura.user.profile()).id == "u1"
    assert raw.paths() == ["GET /user/profile"] * 4


async def test_the_last_failure_is_raised_and_says_how_often_it_was_tried(raw: RawServer, alura: AsyncAlura) -> None:
    raw.answers = [TOO_MANY, TOO_MANY, TOO_MANY, DOWN, PROFILE]
    with pytest.raises(ServerError) as raised:
        await alura.user.profile()
    assert raised.value.attempts == 4
    assert len(raw.received) == 4


async def test_a_rejection_is_not_argued_with(raw: RawServer, alura: AsyncAlura) -> None:
    raw.answers = [reply('{"message":"no"}', "400 Bad Request"), PROFILE]
    with pytest.raises(BadRequestError) as raised:
        await alura.user.profile()
    assert raised.value.attempts == 1
    assert len(raw.received) == 1


@pytest.mark.parametrize("answer", [DOWN, b"", reply("{", "201 Created"), reply("", "302 Found")])
async def test_an_order_that_may_have_been_carried_out_is_not_sent_again(
    raw: RawServer, alura: AsyncAlura, answer: bytes
) -> None:
    raw.routes["/user/withdraw"] = [answer, CREATED]
    with pytest.raises(OutcomeUnknownError) as raised:
        await alura.user.withdraw(amount=5)
    assert raised.value.attempts == 1
    assert raw.paths() == ["POST /user/withdraw"]


async def test_an_order_that_was_throttled_is_sent_again(raw: RawServer, alura: AsyncAlura) -> None:
    raw.answers = [TOO_MANY, TOO_MANY, CREATED]
    assert (await create(alura)).id == "s1"
    assert len(raw.received) == 3


async def test_an_order_that_a_throttled_upstream_left_half_done_is_not_sent_again(
    raw: RawServer, alura: AsyncAlura
) -> None:
    relayed = reply('{"message":"HTTP request failed: status 429"}', "429 Too Many Requests")
    raw.routes["/user/withdraw"] = [relayed, CREATED]
    with pytest.raises(OutcomeUnknownError):
        await alura.user.withdraw(amount=5)
    assert len(raw.received) == 1


@pytest.mark.waits
async def test_an_order_that_could_not_leave_is_sent_once_somebody_listens(raw: RawServer) -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    server = RawServer(answers=[CREATED])
    policy = Retry(attempts=50, base=0.02, cap=0.02)
    async with AsyncAlura(token="t", base_url=f"http://127.0.0.1:{port}", retry=policy) as alura:
        call = asyncio.ensure_future(create(alura))
        while alura._road.budget.calls == 0:
            await asyncio.sleep(0)
        server._server = await asyncio.start_server(server._serve, "127.0.0.1", port)
        try:
            assert (await call).id == "s1"
        finally:
            await server.__aexit__()
    assert server.paths() == ["POST /trading-sessions"]


async def test_a_wrong_certificate_is_not_tried_again(certificate: Any) -> None:
    async with RawServer(ssl=certificate[0]) as server, AsyncAlura(token="t", base_url=server.url) as alura:
        with pytest.raises(NotSentError) as raised:
            await alura.user.profile()
    assert raised.value.attempts == 1


async def test_a_reply_as_it_came_is_the_last_one(raw: RawServer, alura: AsyncAlura) -> None:
    raw.answers = [DOWN, TOO_MANY, DOWN, reply('{"message":"still"}', "503 Service Unavailable"), PROFILE]
    found = await alura.send_raw(User.profile.request())
    assert (found.status, found.body) == (503, b'{"message":"still"}')
    assert len(raw.received) == 4


CALL: dict[str, Any] = {"method": "GET", "path": "/x"}
RULES: list[tuple[CallError, str]] = [
    (NotSentError("", outcome=Outcome.NOT_SENT, **CALL), "READ REPEATABLE ONCE"),
    (RateLimitedError("", status=429, outcome=Outcome.REJECTED, **CALL), "READ REPEATABLE ONCE"),
    (RateLimitedError("", status=429, outcome=Outcome.UNKNOWN, **CALL), "READ REPEATABLE"),
    (TransportError("", outcome=Outcome.UNKNOWN, **CALL), "READ REPEATABLE"),
    (TransportError("", status=200, outcome=Outcome.UNKNOWN, **CALL), "READ REPEATABLE"),
    (CallTimeoutError("", outcome=Outcome.UNKNOWN, **CALL), "READ REPEATABLE"),
    (BodyTooLargeError("", outcome=Outcome.UNKNOWN, **CALL), ""),
    *[
        (ServerError("", status=status, outcome=Outcome.UNKNOWN, **CALL), "READ REPEATABLE")
        for status in (500, 502, 503, 504, 520, 599)
    ],
    *[(ServerError("", status=status, outcome=Outcome.UNKNOWN, **CALL), "") for status in (501, 505, 511)],
    *[(ResponseError("", status=status, outcome=Outcome.UNKNOWN, **CALL), "READ REPEATABLE") for status in (408, 409)],
    *[(ResponseError("", status=status, outcome=Outcome.UNKNOWN, **CALL), "") for status in (301, 302, 405, 410, 415)],
    (BadRequestError("", status=400, outcome=Outcome.UNKNOWN, **CALL), "READ REPEATABLE"),
    (BadRequestError("", status=400, outcome=Outcome.REJECTED, **CALL), ""),
    (UnauthorizedError("", status=401, outcome=Outcome.REJECTED, **CALL), ""),
    (DuplicateAssetError("", status=500, outcome=Outcome.REJECTED, **CALL), ""),
    (RefusedError("", status=200, outcome=Outcome.REJECTED, **CALL), ""),
    (OutcomeUnknownError("", status=503, outcome=Outcome.UNKNOWN, **CALL), ""),
    (ShapeError("", status=200, outcome=Outcome.DONE, **CALL), ""),
]


@pytest.mark.parametrize(("error", "repeated"), RULES, ids=lambda value: getattr(value, "outcome", value))
def test_what_may_be_made_again_follows_from_effect_and_outcome(error: CallError, repeated: str) -> None:
    if not isinstance(error, OutcomeUnknownError):
        assert {effect.name for effect in Effect if may_repeat(effect, error)} == set(repeated.split())
    assert not (error.outcome is not Outcome.NOT_SENT and error.status != 429 and may_repeat(Effect.ONCE, error))


def test_of_the_statuses_that_leave_a_harmless_call_unknown_only_some_may_be_another_next_time() -> None:
    repeated = {
        status
        for status in range(100, 600)
        if may_repeat(Effect.READ, ResponseError("", status=status, outcome=Outcome.UNKNOWN, **CALL))
    }
    # A 2xx was cut short, and a 4xx relayed the failure of another server.
    passing = {*range(200, 300), 400, 401, 403, 404, 408, 409, 422, 425, *range(500, 600)}
    assert repeated == passing - {501, 505, 511}


# How often


async def test_a_client_may_try_once_only(raw: RawServer) -> None:
    raw.answers = [DOWN, PROFILE]
    async with AsyncAlura(token="t", base_url=raw.url, retry=Retry(attempts=1)) as alura:
        with pytest.raises(ServerError):
            await alura.user.profile()
        assert (await alura.user.profile()).id == "u1"


async def test_a_call_may_have_a_policy_of_its_own(raw: RawServer, alura: AsyncAlura) -> None:
    raw.answers = [*[DOWN] * 6, PROFILE]
    with pytest.raises(ServerError):
        await alura.with_options(retry=Retry(attempts=2)).user.profile()
    assert len(raw.received) == 2
    assert (await alura.with_options(retry=Retry(attempts=5)).user.profile()).id == "u1"
    assert len(raw.received) == 7


async def test_an_outage_is_not_answered_by_a_storm(raw: RawServer, alura: AsyncAlura) -> None:
    raw.answers = [DOWN]
    results = await asyncio.gather(*[alura.user.profile() for _ in range(300)], return_exceptions=True)
    assert all(isinstance(result, ServerError) for result in results)
    assert 300 < len(raw.received) <= 330


async def test_what_closes_is_tried_again_even_where_reads_have_used_up_the_budget(
    raw: RawServer, alura: AsyncAlura
) -> None:
    raw.routes["/user/profile"] = [DOWN]
    for _ in range(6):
        with pytest.raises(ServerError):
            await alura.user.profile()
    seen = len(raw.received)
    assert seen < 6 * 4  # there is nothing left
    raw.routes["/trading-sessions/trades/t1/close"] = [*[TOO_MANY] * 3, reply('{"status":"closed"}')]
    await alura.trading_sessions.close_trade("t1")
    assert len(raw.received) == seen + 4


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    steps=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60), st.floats(0, 90)), max_size=40),
    share=st.floats(0, 1),
)
def test_in_any_minute_there_are_no_more_repetitions_than_the_budget_grants(
    steps: list[tuple[int, int, float]], share: float
) -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    calls: list[tuple[float, int]] = []
    repeats: list[float] = []
    for made, wanted, seconds in steps:
        budget.calls += made
        calls.append((clock.now, made))
        repeats += [clock.now for _ in range(wanted) if budget.spend(share)]
        clock.now += seconds
    for at in repeats:
        within = sum(1 for other in repeats if at - 60 < other <= at)
        # The window slides by estimate: what lies up to two minutes back may count.
        around = sum(made for when, made in calls if at - 120 < when <= at)
        assert within <= 2 * max(10, share * around)


def test_a_quiet_client_has_ten_repetitions_a_minute() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    assert [budget.spend(0.1) for _ in range(12)] == [True] * 10 + [False] * 2
    clock.now += 59
    assert not budget.spend(0.1)
    clock.now += 61
    assert sum(budget.spend(0.1) for _ in range(12)) == 10
    clock.now += 1000
    assert sum(budget.spend(0.1) for _ in range(12)) == 10


def test_the_budget_is_as_large_as_its_share_of_the_calls() -> None:
    budget = RetryBudget(Clock())
    budget.calls += 20
    assert sum(budget.spend(1) for _ in range(50)) == 20


def test_the_repetitions_of_the_minute_before_count_for_what_is_left_of_it() -> None:
    for seconds, left in [(90, 5), (119, 9), (120, 10)]:
        clock = Clock()
        budget = RetryBudget(clock)
        assert sum(budget.spend(0) for _ in range(50)) == 10
        clock.now += seconds
        assert sum(budget.spend(0) for _ in range(50)) == left


def test_the_minutes_of_the_budget_follow_each_other_without_a_gap() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    assert sum(budget.spend(0) for _ in range(50)) == 10
    for seconds in (90, 30):
        clock.now += seconds
        assert sum(budget.spend(0) for _ in range(50)) == 5


def test_the_calls_of_the_minute_before_count_for_what_is_left_of_it() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    budget.calls += 200
    clock.now += 90
    # 200 in 90 seconds are 133 a minute, of which one half is left; of the 67, every other one.
    assert sum(budget.spend(0.5) for _ in range(100)) == 33


async def times_made_again(remaining: float, noted: list[tuple[CallError, float]]) -> int:
    """Go on after a failed read with so many seconds left; how often it was made again."""
    made = 0

    async def make() -> None:
        nonlocal made
        made += 1

    with suppress(TransportError):
        await again(
            make,
            TransportError("", outcome=Outcome.UNKNOWN, **CALL),
            User.profile.route,
            Retry(),
            RetryBudget(),
            lambda: remaining,
            lambda error, pause: noted.append((error, pause)),
        )
    return made


async def test_a_call_whose_time_is_up_is_not_made_again() -> None:
    noted: list[tuple[CallError, float]] = []
    assert await times_made_again(0.0, noted) == 0
    assert noted == []


async def test_a_failure_that_is_not_the_last_is_told_of() -> None:
    noted: list[tuple[CallError, float]] = []
    assert await times_made_again(5.0, noted) == 1
    ((error, pause),) = noted
    assert isinstance(error, TransportError)
    assert pause == 0.0


# After what pauses


@pytest.mark.waits
@given(failures=st.integers(1, 2000), base=st.floats(0, 100), cap=st.floats(0, 100))
def test_a_pause_of_ours_lies_between_nothing_and_its_limit(failures: int, base: float, cap: float) -> None:
    pause = Retry(base=base, cap=cap).pause(failures, None)
    assert 0 <= pause <= cap
    assert failures > 60 or pause <= base * 2.0 ** (failures - 1)


@pytest.mark.waits
def test_pauses_of_ours_are_spread_over_their_whole_range() -> None:
    drawn = [Retry(base=1, cap=100).pause(3, None) for _ in range(500)]
    assert min(drawn) < 0.5
    assert 3.5 < max(drawn) <= 4


@pytest.mark.waits
def test_a_pause_of_ours_is_ten_seconds_at_most_if_nothing_else_is_said() -> None:
    drawn = [Retry().pause(40, None) for _ in range(500)]
    assert 9 < max(drawn) <= 10


@pytest.mark.parametrize("asked", [None, 5.0])
def test_without_waits_a_pause_is_exactly_nothing(asked: float | None) -> None:
    assert Retry().pause(3, asked) == 0.0


@pytest.mark.waits
@pytest.mark.parametrize(("asked", "least"), [(0.0, 0.0), (0.5, 0.5), (60.0, 60.0), (3600.0, 60.0)])
def test_a_pause_that_the_server_asked_for_is_no_shorter_but_capped(asked: float, least: float) -> None:
    drawn = [Retry().pause(1, asked) for _ in range(100)]
    assert least <= min(drawn)
    assert max(drawn) <= least + 0.2


@pytest.mark.waits
async def test_the_server_decides_how_long_to_wait(raw: RawServer, alura: AsyncAlura) -> None:
    asks = reply("{}", "429 Too Many Requests", headers={"Retry-After-short": "1"})
    raw.answers = [asks, PROFILE]
    started = time.monotonic()
    await alura.user.profile()
    assert 1.0 <= time.monotonic() - started < 3


@pytest.mark.waits
async def test_what_closes_heeds_each_wish_of_the_server_once(
    raw: RawServer, alura: AsyncAlura, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("road", "retry"):
        monkeypatch.setattr(f"alura_async.core.{place}.EXIT_PATIENCE_S", 0.8)
    began: list[float] = []

    async def refuse(request: Any, writer: object) -> bytes:
        began.append(time.monotonic())
        return asks if len(began) == 1 else reply('{"status":"closed"}')

    asks = reply("{}", "429 Too Many Requests", headers={"Retry-After": "60"})
    raw.answers = [refuse]
    await alura.user.close_all_positions()
    assert 0.8 <= began[1] - began[0] < 1.6


async def pauses_of_an_exit(policy: Retry, retry_after: float | None) -> tuple[float, float]:
    """Make a close again after a 429: the pause that was told of, and the seconds until it went to its lane."""
    told: list[float] = []

    async def make() -> None:
        pass

    began = time.monotonic()
    await again(
        make,
        RateLimitedError("", status=429, outcome=Outcome.REJECTED, retry_after=retry_after, **CALL),
        User.close_all_positions.route,
        policy,
        RetryBudget(),
        lambda: 5.0,
        lambda error, pause: told.append(pause),
    )
    (pause,) = told
    return pause, time.monotonic() - began


@pytest.mark.waits
async def test_what_closes_is_held_by_its_lane_alone_for_as_long_as_the_server_asks_for() -> None:
    pause, took = await pauses_of_an_exit(Retry(), 30.0)
    assert pause == 2.0
    assert took < 1.5


@pytest.mark.waits
@pytest.mark.parametrize("retry_after", [None, 0.0])
async def test_what_closes_makes_our_own_pauses_all_the_same(
    retry_after: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", max)
    pause, took = await pauses_of_an_exit(Retry(base=0.05), retry_after)
    assert pause == 0.05
    assert took >= 0.049


@pytest.mark.waits
async def test_a_pause_that_would_outlast_the_call_is_not_begun(raw: RawServer, alura: AsyncAlura) -> None:
    raw.answers = [reply("{}", "429 Too Many Requests", headers={"Retry-After": "31"}), PROFILE]
    started = time.monotonic()
    with pytest.raises(RateLimitedError) as raised:
        await alura.user.profile()
    assert time.monotonic() - started < 1
    assert (raised.value.retry_after, raised.value.attempts) == (31.0, 1)


async def test_without_waits_the_server_s_wish_is_not_waited_for(raw: RawServer, alura: AsyncAlura) -> None:
    raw.answers = [reply("{}", "429 Too Many Requests", headers={"Retry-After": "31"}), PROFILE]
    assert (await alura.user.profile()).id == "u1"


async def test_a_call_that_is_cancelled_while_it_waits_is_not_made_again(raw: RawServer) -> None:
    raw.answers = [DOWN]
    policy = Retry(attempts=1_000_000, budget=1)
    async with AsyncAlura(token="t", base_url=raw.url, retry=policy) as alura:
        call = asyncio.ensure_future(alura.user.profile())
        while len(raw.received) < 3:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        seen = len(raw.received)
        raw.routes["/health"] = [reply('{"status":"ok"}')]
        for _ in range(5):
            await alura.health.basic()
        assert raw.paths()[seen:] == ["GET /health"] * 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": 1.5},
        {"attempts": True},
        {"base": -1},
        {"cap": float("nan")},
        {"retry_after_cap": float("inf")},
        {"budget": 2},
        {"budget": "10%"},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigurationError, match=name):
        Retry(**wrong)


def test_a_policy_that_several_clients_share_cannot_be_changed() -> None:
    policy = Retry(attempts=2)
    with pytest.raises(AttributeError):
        policy.attempts = 3  # type: ignore[misc]
    assert policy.attempts == 2


def test_the_values_of_a_policy_are_named() -> None:
    """Else a number of attempts would easily be taken for one of seconds."""
    with pytest.raises(TypeError):
        Retry(4, 0.2)  # type: ignore[call-arg]


def test_a_policy_is_not_a_number() -> None:
    with pytest.raises(ConfigurationError, match=r"Retry\(attempts=2\)"):
        AsyncAlura(retry=3)  # type: ignore[arg-type]
    assert issubclass(ConfigurationError, AluraError)
