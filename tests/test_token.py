"""Signing in: when it happens, how often, and what happens when the server refuses."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from alura_async import (
    Access,
    AluraError,
    AsyncAlura,
    Challenge,
    ChallengeRefusedError,
    ConfigurationError,
    CredentialsNeededError,
    DuplicateAssetError,
    Lane,
    NotSentError,
    Outcome,
    OutcomeUnknownError,
    RateLimiter,
    Route,
    SignInError,
    Timeouts,
    UnauthorizedError,
    UsageError,
)
from alura_async.core.token import Clock, Token, TokenLock, steady_clock
from alura_async.core.token_cache import CachedToken, TokenCache
from alura_async.flatten import flatten
from alura_async.groups.auth import SignIn
from alura_async.secret import Secret
from tests.raw_server import RawServer, Received, hang, reply

pytestmark = pytest.mark.anyio

ADDRESS = "0x" + "a1" * 20
READ: Route[Any] = Route("GET", "/user/profile", dict, access=Access.BEARER)
# Seconds: what is said to live so long, or longer, says nothing.
LONGEST = 10 * 365 * 86400


class FakeWallet:
    """A wallet that signs nothing worth the name, fast."""

    address = ADDRESS

    def __init__(self) -> None:
        self.signed: list[str] = []

    async def sign_message(self, text: str, /) -> str:
        self.signed.append(text)
        return "0x" + "5e" * 65


class Server:
    """An Alura reduced to its sign-in: gives token after token and takes those that it is told to take."""

    def __init__(self, raw: RawServer) -> None:
        self.raw = raw
        self.given = 0
        self.refuses: set[str] = set()
        self.lifetime: float | None = 86400
        self.login_takes = 0.0
        self.gives_no_token = False
        raw.routes["/auth/evm/challenge"] = [self.challenge]
        raw.routes["/auth/evm/verify"] = [self.verify]
        raw.answers = [self.anything]

    @property
    def logins(self) -> int:
        return self.raw.paths().count("POST /auth/evm/verify")

    async def challenge(self, request: Received, writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(self.login_takes)
        address = json.loads(request.body)["address"]
        message = f"Sign in to Alura.\nAddress: {address}\nNonce: nonce-{self.given}"
        return reply(
            json.dumps({"address": address, "nonce": f"nonce-{self.given}", "message": message}), "201 Created"
        )

    async def verify(self, request: Received, writer: asyncio.StreamWriter) -> bytes:
        if self.gives_no_token:
            return reply('{"message":"down"}', "503 Service Unavailable")
        self.given += 1
        token: dict[str, Any] = {"ok": True, "accessToken": f"token-{self.given}", "tokenType": "Bearer"}
        token["user"] = {"id": "1"}
        if self.lifetime is not None:
            token["expiresIn"] = self.lifetime
        return reply(json.dumps(token), "201 Created")

    def gives_no_token_for(self, seconds: float, hands: Hands) -> None:
        until = hands.steady + seconds

        async def verify(request: Received, writer: asyncio.StreamWriter) -> bytes:
            self.gives_no_token = hands.steady < until
            return await self.verify(request, writer)

        self.raw.routes["/auth/evm/verify"] = [verify]

    async def anything(self, request: Received, writer: asyncio.StreamWriter) -> bytes:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not token or token in self.refuses or "*" in self.refuses:
            return reply('{"statusCode":401,"message":"Unauthorized"}', "401 Unauthorized")
        # Something for each type that these tests read.
        return reply('{"id":"me","userId":"me","status":"closed"}')


@pytest.fixture
def server(raw: RawServer) -> Server:
    return Server(raw)


@pytest.fixture
async def alura(raw: RawServer, server: Server) -> AsyncIterator[AsyncAlura]:
    async with AsyncAlura(FakeWallet(), base_url=raw.url) as client:
        yield client


async def test_the_first_call_that_needs_a_token_signs_in_and_the_next_ones_do_not(
    raw: RawServer, alura: AsyncAlura
) -> None:
    for _ in range(3):
        assert (await alura.user.profile()).id == "me"
    assert raw.paths() == ["POST /auth/evm/challenge", "POST /auth/evm/verify", *["GET /user/profile"] * 3]


async def test_five_hundred_callers_make_one_sign_in(server: Server, alura: AsyncAlura) -> None:
    server.login_takes = 0.05
    await asyncio.gather(*[alura.user.profile() for _ in range(500)])
    assert server.logins == 1


async def test_a_cancelled_caller_takes_nobody_along(server: Server, alura: AsyncAlura) -> None:
    server.login_takes = 0.1
    callers = [asyncio.create_task(alura.user.profile()) for _ in range(20)]
    await asyncio.sleep(0.02)
    for caller in callers[:-1]:
        caller.cancel()
    assert (await callers[-1]).id == "me"
    assert all(caller.cancelled() for caller in callers[:-1])
    assert server.logins == 1


async def test_an_optional_call_goes_without_a_token_until_the_server_wants_one(
    raw: RawServer, alura: AsyncAlura
) -> None:
    raw.routes["/api/leaderboard/stats"] = [reply('{"totalUsers":1}')]
    await alura.leaderboard.stats()
    assert raw.paths() == ["GET /api/leaderboard/stats"]
    await alura.referrals.get("me")
    assert raw.paths()[1:] == [
        "GET /referrals/me",
        "POST /auth/evm/challenge",
        "POST /auth/evm/verify",
        "GET /referrals/me",
    ]
    await alura.leaderboard.stats()
    assert raw.received[-1].headers["authorization"] == "Bearer token-1"


async def test_without_wallet_and_token_a_call_that_needs_one_fails_before_it_is_sent(raw: RawServer) -> None:
    async with AsyncAlura(base_url=raw.url) as alura:
        with pytest.raises(CredentialsNeededError, match="wallet="):
            await alura.user.profile()
        with pytest.raises(CredentialsNeededError, match="wallet="):
            await alura.auth.login()
    assert raw.received == []


async def test_without_wallet_and_token_a_401_says_that_the_call_needs_one(server: Server, raw: RawServer) -> None:
    async with AsyncAlura(base_url=raw.url) as alura:
        with pytest.raises(CredentialsNeededError, match=r"GET /referrals/me: this call needs a wallet"):
            await alura.referrals.get("me")


async def test_a_given_token_is_used_and_its_refusal_is_told(server: Server, raw: RawServer) -> None:
    async with AsyncAlura(base_url=raw.url, token="mine") as alura:
        await alura.user.profile()
        server.refuses.add("mine")
        with pytest.raises(UnauthorizedError):
            await alura.user.profile()
    assert {request.headers["authorization"] for request in raw.received} == {"Bearer mine"}
    assert server.logins == 0


async def test_a_given_token_beside_a_wallet_is_used_until_it_is_refused(server: Server, raw: RawServer) -> None:
    async with AsyncAlura(FakeWallet(), base_url=raw.url, token="mine") as alura:
        await alura.user.profile()
        assert server.logins == 0
        server.refuses.add("mine")
        assert (await alura.user.profile()).id == "me"
    assert server.logins == 1


async def test_a_token_that_says_it_has_expired_is_not_sent(server: Server, raw: RawServer) -> None:
    async with AsyncAlura(base_url=raw.url, token=jwt(exp=time.time() - 1)) as alura:
        with pytest.raises(CredentialsNeededError, match="expired"):
            await alura.user.profile()
    assert raw.received == []
    async with AsyncAlura(base_url=raw.url, token=jwt(exp=time.time() + 1000)) as alura:
        await alura.user.profile()
    assert raw.paths() == ["GET /user/profile"]


async def test_a_401_signs_in_again_and_repeats_the_call_once(
    server: Server, raw: RawServer, alura: AsyncAlura
) -> None:
    await alura.user.profile()
    server.refuses.add("token-1")
    raw.received.clear()
    await alura.trading_sessions.close_trade("t1")
    assert raw.paths() == [
        "POST /trading-sessions/trades/t1/close",
        "POST /auth/evm/challenge",
        "POST /auth/evm/verify",
        "POST /trading-sessions/trades/t1/close",
    ]


async def test_many_calls_refused_at_once_make_one_sign_in(server: Server, alura: AsyncAlura) -> None:
    await alura.user.profile()
    server.refuses.add("token-1")
    await asyncio.gather(*[alura.user.profile() for _ in range(50)])
    assert server.logins == 2


async def test_a_call_that_is_refused_late_is_repeated_with_the_token_that_another_one_got(
    server: Server, raw: RawServer, alura: AsyncAlura
) -> None:
    await alura.user.profile()
    server.refuses.add("token-1")
    arrived, goes_on = asyncio.Event(), asyncio.Event()

    async def late(request: Received, writer: asyncio.StreamWriter) -> bytes:
        arrived.set()
        await goes_on.wait()
        return await server.anything(request, writer)

    raw.routes["/user/profile"] = [late]
    call = asyncio.create_task(alura.user.profile())
    await arrived.wait()
    await close(alura)
    goes_on.set()
    assert (await call).id == "me"
    assert server.logins == 2


async def test_a_server_that_refuses_everything_sees_two_sign_ins_and_then_none(
    server: Server, alura: AsyncAlura
) -> None:
    server.refuses.add("*")
    with pytest.raises(UnauthorizedError):
        await alura.user.profile()
    assert server.logins == 2
    for _ in range(5):
        with pytest.raises(UnauthorizedError):
            await alura.user.profile()
        with pytest.raises(SignInError, match="refused the last 2 tokens"):
            await alura.trading_sessions.active()
    assert server.logins == 2


async def test_a_minute_after_a_server_refused_everything_it_is_asked_again(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    server.refuses.add("*")
    with pytest.raises(UnauthorizedError):
        await alura.user.profile()
    with pytest.raises(SignInError, match="no further sign-in for 60 s"):
        await alura.user.sync_fills()
    server.refuses = {"token-1", "token-2"}
    hands.pass_(59)
    with pytest.raises(SignInError, match="no further sign-in for 60 s"):
        await alura.user.sync_fills()
    hands.pass_(2)
    await alura.user.profile()
    assert server.logins == 3


async def test_one_endpoint_that_always_refuses_keeps_no_other_waiting(
    server: Server, raw: RawServer, alura: AsyncAlura
) -> None:
    """Whoever polls an endpoint that answers 401 to everybody must still get out of a position."""
    raw.routes["/api/leaderboard/analytics"] = [reply('{"message":"Unauthorized"}', "401 Unauthorized")]
    await alura.user.profile()
    for _ in range(10):
        with pytest.raises(UnauthorizedError):
            await alura.leaderboard.analytics()
        await alura.trading_sessions.close_trade("t1")
    assert server.logins == 2


async def test_a_failing_sign_in_leaves_the_token_that_others_can_use(
    server: Server, raw: RawServer, alura: AsyncAlura
) -> None:
    raw.routes["/api/leaderboard/analytics"] = [reply('{"message":"Unauthorized"}', "401 Unauthorized")]
    await alura.user.profile()
    raw.routes["/auth/evm/challenge"] = [reply("{}", "429 Too Many Requests")]
    with pytest.raises(SignInError):
        await alura.leaderboard.analytics()
    await alura.trading_sessions.close_trade("t1")
    assert raw.received[-1].headers["authorization"] == "Bearer token-1"


@pytest.mark.parametrize(
    "message",
    [
        "Builder fee approval failed: HTTP request failed: status 401",
        "HTTP request failed: status 503",
        "Duplicate asset index: you already have an active trading session for this asset",
    ],
)
async def test_a_401_that_tells_of_something_else_is_not_repeated(
    server: Server, raw: RawServer, alura: AsyncAlura, message: str
) -> None:
    """The server may have acted before its own upstream refused."""
    raw.routes["/trading-sessions"] = [reply(json.dumps({"statusCode": 401, "message": message}), "401 Unauthorized")]
    with pytest.raises((OutcomeUnknownError, DuplicateAssetError)):
        await alura.trading_sessions.create(budget=100, profit_target=4, asset="BTC")
    assert raw.paths().count("POST /trading-sessions") == 1


async def test_a_logout_during_a_sign_in_is_not_undone_by_it(server: Server, alura: AsyncAlura) -> None:
    server.login_takes = 0.05
    login = asyncio.create_task(alura.auth.login())
    await asyncio.sleep(0.01)
    await alura.auth.logout()
    await login
    assert alura._road.tokens.held is None


@pytest.mark.parametrize("lifetime", [10**400, 0, -5])
async def test_a_lifetime_that_makes_no_sense_says_nothing(server: Server, alura: AsyncAlura, lifetime: int) -> None:
    server.lifetime = lifetime
    for _ in range(3):
        await alura.user.profile()
    assert server.logins == 1


async def test_a_hundred_hanging_reads_do_not_keep_a_close_from_signing_in(
    server: Server, raw: RawServer, alura: AsyncAlura
) -> None:
    raw.routes["/health"] = [hang]
    reads = [asyncio.create_task(alura.health.basic()) for _ in range(120)]
    while raw.paths().count("GET /health") < 16:  # all that are made at once
        await asyncio.sleep(0.001)
    await alura.with_options(timeout=5).trading_sessions.close_trade("t1")
    for read in reads:
        read.cancel()
    await asyncio.wait(reads)


async def test_a_refused_sign_in_fails_all_who_wait_and_cools_down(server: Server, raw: RawServer) -> None:
    raw.routes["/auth/evm/verify"] = [reply('{"statusCode":401,"message":"Invalid signature"}', "401 Unauthorized")]
    server.login_takes = 0.05
    async with AsyncAlura(FakeWallet(), base_url=raw.url) as alura:
        failures = await asyncio.gather(*[alura.user.profile() for _ in range(20)], return_exceptions=True)
        assert {type(failure) for failure in failures} == {SignInError}
        assert len({id(failure) for failure in failures}) == 20
        with pytest.raises(SignInError, match="Invalid signature"):
            await alura.user.profile()
        assert server.logins == 1
        # Who asks for it by name gets a new try.
        with pytest.raises(SignInError):
            await alura.auth.login()
        assert server.logins == 2
    assert "GET /user/profile" not in raw.paths()


async def test_ok_false_is_a_refused_sign_in(server: Server, raw: RawServer, alura: AsyncAlura) -> None:
    raw.routes["/auth/evm/verify"] = [reply('{"ok":false,"accessToken":"x","message":"banned"}', "201 Created")]
    with pytest.raises(SignInError, match="banned"):
        await alura.user.profile()


async def test_a_sign_in_that_takes_too_long_fails_the_call_unsent(server: Server, raw: RawServer) -> None:
    server.login_takes = 10
    async with AsyncAlura(FakeWallet(), base_url=raw.url, timeout=0.2) as alura:
        with pytest.raises(NotSentError):
            await alura.user.profile()
    assert "GET /user/profile" not in raw.paths()


class Hands:
    """The two clocks that a token goes by, moved by hand."""

    def __init__(self) -> None:
        self.steady = 1000.0
        self.wall = 1_800_000_000.0

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.steady, lambda: self.wall, self.pause)

    async def pause(self, seconds: float) -> None:
        """Time passes as soon as somebody waits for it; it passes once for all who wait."""
        until = self.steady + seconds
        await asyncio.sleep(0)
        self.pass_(max(0.0, until - self.steady))

    def pass_(self, seconds: float) -> None:
        self.steady += seconds
        self.wall += seconds


@pytest.fixture
def hands(alura: AsyncAlura) -> Hands:
    hands = Hands()
    alura._road.tokens.clock = hands.clock
    return hands


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks start eagerly from Python 3.12 on")
async def test_a_failed_sign_in_cools_down_also_where_tasks_start_eagerly() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]
    asked = 0

    async def sign_in() -> Any:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        raise OSError("no wallet is plugged in")

    try:
        lock = TokenLock(sign_in)
        for _ in range(3):
            with pytest.raises(SignInError, match="no wallet is plugged in"):
                await lock.get(READ)
    finally:
        loop.set_task_factory(None)
    assert asked == 1


async def signed_in_again(server: Server, alura: AsyncAlura, logins: int = 2) -> None:
    """Wait for a renewal in the background."""
    while server.logins < logins or alura._road.tokens._is_under_way:
        await asyncio.sleep(0.005)


async def test_a_token_is_renewed_in_the_background_before_it_ends(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands
) -> None:
    await alura.user.profile()
    hands.pass_(86400 - 301)
    await alura.user.profile()
    hands.pass_(62 + 60)
    for _ in range(3):
        await alura.user.profile()
    assert raw.received[-1].headers["authorization"] in ("Bearer token-1", "Bearer token-2")
    await signed_in_again(server, alura)
    await alura.user.profile()
    assert raw.received[-1].headers["authorization"] == "Bearer token-2"
    assert server.logins == 2


async def test_a_failed_renewal_in_the_background_costs_the_caller_nothing(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands
) -> None:
    await alura.user.profile()
    raw.routes["/auth/evm/challenge"] = [reply("{}", "503 Service Unavailable")]
    hands.pass_(86400 - 120)
    for _ in range(5):
        await alura.user.profile()
        await asyncio.sleep(0.005)
    assert raw.paths().count("POST /auth/evm/challenge") == 1 + 4  # one renewal, whose first call was tried again
    assert raw.received[-1].headers["authorization"] == "Bearer token-1"


@pytest.mark.parametrize("asleep", [False, True], ids=["awake", "machine slept"])
async def test_an_expired_token_is_replaced_before_the_call(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands, asleep: bool
) -> None:
    """The monotonic clock stands still while the machine sleeps; the wall clock tells then."""
    await alura.user.profile()
    hands.wall += 86401
    if not asleep:
        hands.steady += 86401
    raw.received.clear()
    await alura.user.profile()
    assert raw.paths() == ["POST /auth/evm/challenge", "POST /auth/evm/verify", "GET /user/profile"]


async def test_a_wall_clock_set_back_a_day_does_not_prolong_a_token(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    await alura.user.profile()
    hands.wall -= 86400
    hands.steady += 86401
    await alura.user.profile()
    assert server.logins == 2


async def test_a_token_without_a_lifetime_is_used_until_it_is_refused(server: Server, alura: AsyncAlura) -> None:
    server.lifetime = None
    await alura.user.profile()
    await alura.user.profile()
    assert server.logins == 1


async def test_login_signs_in_although_a_token_is_held_and_logout_forgets_it(server: Server, alura: AsyncAlura) -> None:
    await alura.auth.login()
    await alura.auth.login()
    assert server.logins == 2
    await alura.auth.logout()
    await alura.user.profile()
    assert server.logins == 3


async def test_a_token_that_cannot_be_a_header_is_not_used(server: Server, raw: RawServer, alura: AsyncAlura) -> None:
    evil = json.dumps({"ok": True, "accessToken": "x\r\nX-Evil: 1", "tokenType": "Bearer"})
    raw.routes["/auth/evm/verify"] = [reply(evil, "201 Created")]
    with pytest.raises(SignInError, match="cannot be sent"):
        await alura.user.profile()
    assert "GET /user/profile" not in raw.paths()


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "tökèn", "delete\x7f", b"bytes", 5])
def test_a_given_token_that_cannot_be_a_header_is_refused_at_once_and_not_shown(token: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be sent") as caught:
        AsyncAlura(token=token)
    assert not str(token) or str(token) not in str(caught.value)


async def test_a_token_may_have_any_visible_ascii_character(server: Server, raw: RawServer) -> None:
    token = "".join(map(chr, range(ord("!"), ord("~") + 1)))
    async with AsyncAlura(base_url=raw.url, token=token) as alura:
        await alura.user.profile()
    assert raw.received[0].headers["authorization"] == f"Bearer {token}"


@pytest.mark.parametrize(
    ("claims", "owner"),
    [
        ({"address": ADDRESS, "sub": "user-1"}, ADDRESS),
        ({"address": "", "sub": "user-1"}, "user-1"),
        ({"sub": 5}, ""),
        ({}, ""),
    ],
)
@pytest.mark.parametrize("kind", [str, Secret])
async def test_the_journal_names_whom_a_given_token_says_it_belongs_to(
    server: Server, raw: RawServer, kind: Callable[[str], str | Secret], claims: dict[str, Any], owner: str
) -> None:
    async with AsyncAlura(base_url=raw.url, token=kind(jwt(**claims))) as alura:
        await alura.trading_sessions.close_trade("t1")
        (entry,) = await alura.journal.entries()
    assert entry.account == owner


async def test_who_has_a_wallet_is_not_told_to_get_one(server: Server, alura: AsyncAlura) -> None:
    server.refuses.add("*")
    with pytest.raises(UnauthorizedError):
        await alura.referrals.get("me")
    await alura.auth.logout()
    with pytest.raises(UnauthorizedError):
        await alura.referrals.get("me")


async def test_the_text_to_sign_is_checked_before_anything_is_signed(raw: RawServer, server: Server) -> None:
    wallet = FakeWallet()
    challenge = {"address": ADDRESS, "nonce": "nonce-1", "message": "Sign in to evil.com\nNonce: nonce-1"}
    raw.routes["/auth/evm/challenge"] = [reply(json.dumps(challenge), "201 Created")]
    async with AsyncAlura(wallet, base_url=raw.url) as alura:
        with pytest.raises(ChallengeRefusedError, match=r"evil\.com"):
            await alura.user.profile()
    assert wallet.signed == []
    assert raw.paths() == ["POST /auth/evm/challenge"]


async def test_a_check_of_the_users_own_replaces_ours(raw: RawServer, server: Server) -> None:
    seen: list[tuple[str, str, str]] = []

    def check(challenge: Challenge, *, address: str, host: str) -> None:
        seen.append((challenge.nonce, address, host))

    challenge = {"address": ADDRESS, "nonce": "n", "message": "Sign in to evil.com"}
    raw.routes["/auth/evm/challenge"] = [reply(json.dumps(challenge), "201 Created")]
    async with AsyncAlura(FakeWallet(), base_url=raw.url, check_challenge=check) as alura:
        await alura.user.profile()
    assert seen == [("n", ADDRESS, "127.0.0.1")]


async def test_a_wallet_that_fails_is_a_failed_sign_in(raw: RawServer, server: Server) -> None:
    class Unplugged(FakeWallet):
        async def sign_message(self, text: str, /) -> str:
            raise OSError("no device")

    async with AsyncAlura(Unplugged(), base_url=raw.url) as alura:
        with pytest.raises(SignInError, match="could not sign: OSError: no device"):
            await alura.user.profile()


async def test_the_referral_code_goes_with_the_sign_in(raw: RawServer, server: Server) -> None:
    async with AsyncAlura(FakeWallet(), base_url=raw.url, referral_code="FRIEND") as alura:
        await alura.user.profile()
    verify = next(request for request in raw.received if request.path == "/auth/evm/verify")
    assert json.loads(verify.body)["referralCode"] == "FRIEND"


async def test_closing_stops_a_sign_in_that_is_under_way(server: Server, raw: RawServer) -> None:
    server.login_takes = 60
    alura = AsyncAlura(FakeWallet(), base_url=raw.url)
    call = asyncio.create_task(alura.user.profile())
    while "POST /auth/evm/challenge" not in raw.paths():
        await asyncio.sleep(0.01)
    started = time.monotonic()
    await alura.close()
    assert time.monotonic() - started < 5
    # Nobody cancelled this call, so it is not cancelled: in a TaskGroup it would vanish without a word.
    with pytest.raises(SignInError, match="stopped before it ended"):
        await call


async def test_a_call_that_is_cancelled_just_after_closing_stopped_its_sign_in_is_cancelled() -> None:
    """An error in its place would be lost on whoever cancelled it: a time limit, for one."""
    begun = asyncio.Event()

    async def sign_in() -> SignIn:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    lock = TokenLock(sign_in)
    call = asyncio.create_task(lock.get(READ))
    await begun.wait()
    closing = asyncio.create_task(lock.close())
    await asyncio.sleep(0)
    call.cancel()
    await closing
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_closing_waits_until_a_wallet_has_stopped(server: Server, raw: RawServer) -> None:
    class Tidy(FakeWallet):
        has_tidied_up = False

        async def sign_message(self, text: str, /) -> str:
            signs.set()
            try:
                return str(await asyncio.Event().wait())
            finally:
                await asyncio.sleep(0.02)
                self.has_tidied_up = True

    signs = asyncio.Event()
    wallet = Tidy()
    alura = AsyncAlura(wallet, base_url=raw.url)
    call = asyncio.create_task(alura.user.profile())
    await signs.wait()
    await alura.close()
    assert wallet.has_tidied_up
    with pytest.raises(SignInError, match="stopped before it ended"):
        await call


async def test_a_wallet_that_ignores_being_stopped_does_not_hold_up_close(
    server: Server, raw: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alura_async.core.token._STOP_S", 0.1)

    class Stubborn(FakeWallet):
        async def sign_message(self, text: str, /) -> str:
            while not released.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await released.wait()
            return await super().sign_message(text)

    released = asyncio.Event()
    alura = AsyncAlura(Stubborn(), base_url=raw.url)
    call = asyncio.create_task(alura.user.profile())
    while "POST /auth/evm/challenge" not in raw.paths():
        await asyncio.sleep(0.01)
    async with asyncio.timeout(1.5):
        await alura.close()
    released.set()
    with pytest.raises(AluraError):
        await call


# Many callers and one sign-in, on a server that counts


async def test_five_hundred_callers_with_an_expired_token_make_one_sign_in_also_when_all_but_one_are_cancelled(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    await alura.user.profile()
    hands.pass_(86401)
    server.login_takes = 0.1
    callers = [asyncio.create_task(alura.user.profile()) for _ in range(500)]
    await asyncio.sleep(0.02)
    # The first of them started it, and is cancelled too.
    for caller in callers[:-1]:
        caller.cancel()
    assert (await callers[-1]).id == "me"
    assert sum(caller.cancelled() for caller in callers) == 499
    assert server.logins == 2


async def test_a_sign_in_that_everybody_left_still_serves_those_who_come_later(
    server: Server, alura: AsyncAlura
) -> None:
    server.login_takes = 0.05
    callers = [asyncio.create_task(alura.user.profile()) for _ in range(20)]
    await asyncio.sleep(0.01)
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    await alura.user.profile()
    assert server.logins == 1


async def test_a_server_that_refuses_everything_sees_two_sign_ins_of_a_hundred_calls_at_once(
    server: Server, raw: RawServer, alura: AsyncAlura
) -> None:
    server.refuses.add("*")
    made: list[Any] = []
    for _ in range(25):
        made += [
            alura.user.profile(),
            alura.trading_sessions.active(),
            alura.user.sync_fills(),
            alura.referrals.get("1"),
        ]
    results = await asyncio.gather(*made, return_exceptions=True)
    assert {type(result) for result in results} <= {UnauthorizedError, SignInError}
    assert server.logins == 2
    assert len(raw.received) <= 2 * 2 + 2 * 100


async def test_a_login_after_a_logout_during_a_sign_in_holds_its_token(server: Server, alura: AsyncAlura) -> None:
    server.login_takes = 0.05
    first = asyncio.create_task(alura.auth.login())
    await asyncio.sleep(0.01)
    await alura.auth.logout()
    await alura.auth.login()
    await first
    assert alura._road.tokens.held is not None
    await alura.user.profile()
    assert server.logins == 1


async def test_a_second_loop_gets_a_clear_error_also_while_the_first_signs_in(
    server: Server, alura: AsyncAlura
) -> None:
    server.login_takes = 0.1
    call = asyncio.create_task(alura.user.profile())
    await asyncio.sleep(0.01)

    def elsewhere() -> None:
        with pytest.raises(UsageError, match="another event loop"):
            asyncio.run(alura.user.profile())
        with pytest.raises(UsageError, match="another event loop"):
            asyncio.run(alura.auth.login())

    await asyncio.to_thread(elsewhere)
    assert (await call).id == "me"
    assert server.logins == 1


# Clocks that somebody sets


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
async def test_a_wall_clock_that_jumps_costs_one_sign_in_at_most(
    server: Server, alura: AsyncAlura, hands: Hands, jump: float
) -> None:
    """Also where it stays wrong for good: the end of a new token is counted by the very clock that judges it."""
    await alura.user.profile()
    hands.wall += jump
    for _ in range(20):
        await alura.user.profile()
        hands.pass_(60)
    await signed_in_again(server, alura, 1)
    assert server.logins == (2 if jump > 0 else 1)


@pytest.mark.parametrize("system", ["win32", "linux", "darwin"])
def test_where_no_clock_goes_on_while_the_machine_sleeps_the_monotonic_one_tells_the_time(
    monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    def clock_gettime(clock: int, /) -> float:
        raise OSError("not permitted in this sandbox")

    with monkeypatch.context() as patched:
        patched.setattr(time, "clock_gettime", clock_gettime, raising=False)
        patched.setattr(sys, "platform", system)
        clock = steady_clock()
    assert clock is time.monotonic


def jwt(**claims: Any) -> str:
    return jwt_of(json.dumps(claims).encode())


def jwt_of(content: bytes) -> str:
    middle = base64.urlsafe_b64encode(content).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{middle}.c2lnbmF0dXJl"


async def test_a_new_token_is_good_although_by_our_clock_it_expired_a_day_ago(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands
) -> None:
    """Its own times are the server's; where nothing else is said, their difference is what counts."""
    token = jwt(iat=hands.wall - 2 * 86400, exp=hands.wall - 86400)
    raw.routes["/auth/evm/verify"] = [reply(json.dumps({"ok": True, "accessToken": token}), "201 Created")]
    for _ in range(5):
        await alura.user.profile()
    assert server.logins == 1
    hands.pass_(86401)
    server.given += 1
    await alura.user.profile()
    assert server.logins == 2


async def test_a_clock_that_is_behind_prolongs_no_given_token() -> None:
    hands = Hands()
    lock = TokenLock(None, jwt(iat=hands.wall + 86400, exp=hands.wall + 86400 + 3600), clock=hands.clock)
    assert await lock.get(READ) is not None
    hands.pass_(3601)
    with pytest.raises(CredentialsNeededError, match="expired"):
        await lock.get(READ)


async def test_a_given_token_that_nothing_can_replace_outlives_a_clock_that_is_set_ahead() -> None:
    """Whoever set it must still get out of a position; the server judges."""
    hands = Hands()
    lock = TokenLock(None, jwt(exp=hands.wall + 3600), clock=hands.clock)
    token = await lock.get(READ)
    assert token is not None
    hands.wall += 86400
    assert await lock.get(READ) is token
    assert lock.is_good(token)
    hands.steady += 3600
    assert not lock.is_good(token)
    with pytest.raises(CredentialsNeededError):
        await lock.get(READ)


async def test_a_token_that_expired_or_was_replaced_while_a_call_waited_is_not_good(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    await alura.user.profile()
    tokens = alura._road.tokens
    token = await tokens.get(READ)
    assert token is not None
    assert tokens.is_good(token)
    hands.pass_(86400)
    assert not tokens.is_good(token)
    new = await tokens.get(READ)
    assert new is not None
    assert (tokens.is_good(new), tokens.is_good(token)) == (True, False)
    await alura.auth.login()
    assert not tokens.is_good(new), "it has not expired, and there is a newer one"
    new = tokens.held
    assert new is not None
    # One that nobody holds any more still serves the call that has it.
    await alura.auth.logout()
    assert tokens.is_good(new)


async def test_a_renewal_that_fails_in_the_background_is_told_of_and_not_repeated_at_once(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands, caplog: pytest.LogCaptureFixture
) -> None:
    await alura.user.profile()
    raw.routes["/auth/evm/challenge"] = [reply('{"message":"down"}', "503 Service Unavailable")]
    hands.pass_(86400 - 200 + 150)
    for _ in range(4):
        await alura.user.profile()
        while alura._road.tokens._is_under_way:
            await asyncio.sleep(0.005)
        hands.pass_(9)
    assert raw.paths().count("POST /auth/evm/challenge") == 1 + 4  # one renewal, whose first call was tried again
    (record,) = [record for record in caplog.records if "goes on being used" in record.getMessage()]
    assert record.levelname == "WARNING"
    assert "down" in record.getMessage()
    assert "token-1" not in caplog.text


# A reply that is lost on the way


async def test_a_verification_whose_reply_is_lost_is_made_once_more_with_a_new_challenge(
    server: Server, raw: RawServer
) -> None:
    wallet = FakeWallet()
    raw.routes["/auth/evm/verify"] = [b"", server.verify]
    server.given = 7
    async with AsyncAlura(wallet, base_url=raw.url) as alura:
        results = await asyncio.gather(*[alura.user.profile() for _ in range(20)])
    assert {result.id for result in results} == {"me"}
    assert raw.paths()[:4] == ["POST /auth/evm/challenge", "POST /auth/evm/verify"] * 2
    assert len(wallet.signed) == 2
    assert server.logins == 2


async def test_a_verification_whose_reply_is_always_lost_is_made_twice_and_fails_all_who_wait(
    server: Server, raw: RawServer, alura: AsyncAlura
) -> None:
    raw.routes["/auth/evm/verify"] = [b""]
    results = await asyncio.gather(*[alura.user.profile() for _ in range(20)], return_exceptions=True)
    assert {type(result) for result in results} == {SignInError}
    assert {type(result.__cause__) for result in results if isinstance(result, SignInError)} == {OutcomeUnknownError}
    assert server.logins == 2


@pytest.mark.parametrize("status", ["401 Unauthorized", "502 Bad Gateway"])
async def test_a_verification_that_is_answered_is_not_made_again(
    server: Server, raw: RawServer, alura: AsyncAlura, status: str
) -> None:
    raw.routes["/auth/evm/verify"] = [reply('{"message":"no"}', status)]
    with pytest.raises(SignInError, match="no"):
        await alura.user.profile()
    assert server.logins == 1


async def test_a_lost_verification_is_not_made_again_when_the_time_is_up(server: Server, raw: RawServer) -> None:
    raw.routes["/auth/evm/verify"] = [hang]
    async with AsyncAlura(FakeWallet(), base_url=raw.url, timeout=Timeouts(sign_in=0.2)) as alura:
        with pytest.raises(SignInError):
            await alura.user.profile()
    assert server.logins == 1


# How many tokens a server may refuse before it is asked for no more


async def test_a_token_that_was_taken_once_and_ends_is_no_refusal_of_a_new_one(
    server: Server, alura: AsyncAlura
) -> None:
    await alura.user.profile()
    server.refuses |= {"token-1", "token-2"}
    with pytest.raises(UnauthorizedError):
        await alura.user.profile()
    await alura.trading_sessions.close_trade("t1")
    assert server.logins == 3


async def test_a_token_that_is_taken_makes_good_the_refusal_of_another(server: Server, alura: AsyncAlura) -> None:
    server.refuses.add("token-1")
    await alura.user.profile()
    server.refuses.add("*")
    for call in (alura.user.profile, alura.trading_sessions.active):
        with pytest.raises(UnauthorizedError):
            await call()
    with pytest.raises(SignInError, match="refused the last 2 tokens"):
        await alura.user.sync_fills()
    assert server.logins == 2 + 2


async def test_a_login_by_name_gives_a_server_that_refused_everything_two_more_tokens(
    server: Server, alura: AsyncAlura
) -> None:
    server.refuses.add("*")
    with pytest.raises(UnauthorizedError):
        await alura.user.profile()
    await alura.auth.login()
    assert server.logins == 3
    with pytest.raises(UnauthorizedError):
        await alura.trading_sessions.active()
    with pytest.raises(SignInError, match="refused the last 2 tokens"):
        await alura.user.sync_fills()
    assert server.logins == 4


async def test_a_server_that_goes_on_refusing_everything_gives_two_tokens_a_minute(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    server.refuses.add("*")
    with pytest.raises(UnauthorizedError):
        await alura.user.profile()
    for minute in (1, 2):
        with pytest.raises(SignInError, match="refused the last 2 tokens"):
            await alura.user.sync_fills()
        assert server.logins == 2 * minute
        hands.pass_(60)
        for call in (alura.user.profile, alura.trading_sessions.active):
            with pytest.raises(UnauthorizedError):
                await call()


async def test_a_server_that_refuses_everything_is_not_asked_again_because_its_tokens_are_short(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    server.refuses.add("*")
    server.lifetime = 30
    with pytest.raises(UnauthorizedError):
        await alura.user.profile()
    hands.pass_(31)
    with pytest.raises(SignInError, match="refused the last 2 tokens"):
        await alura.user.profile()
    assert server.logins == 2


async def test_an_endpoint_that_always_refuses_costs_a_sign_in_a_minute(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands
) -> None:
    raw.routes["/api/leaderboard/analytics"] = [reply('{"message":"Unauthorized"}', "401 Unauthorized")]
    await alura.user.profile()
    for seconds, logins in ((0, 2), (59.5, 2), (0.5, 3)):
        hands.pass_(seconds)
        with pytest.raises(UnauthorizedError):
            await alura.leaderboard.analytics()
        await alura.user.profile()
        assert server.logins == logins


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests"])
async def test_a_call_whose_refusals_are_mixed_with_other_failures_causes_two_sign_ins_at_most(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands, status: str
) -> None:
    failures = [reply('{"message":"Unauthorized"}', "401 Unauthorized"), reply('{"message":"x"}', status)]
    raw.routes["/user/profile"] = [*failures * 20]
    with pytest.raises(UnauthorizedError):
        await alura.user.profile()
    assert server.logins == 2
    for _ in range(5):
        with pytest.raises(AluraError):
            await alura.user.profile()
    # Neither failure shows that a token was taken, so two refusals are enough.
    assert server.logins == 2
    server.refuses.add("*")
    with pytest.raises(SignInError, match="refused the last 2 tokens"):
        await alura.user.sync_fills()


async def test_a_call_that_is_made_again_is_not_refused_twice_for_one_token_that_ended(
    server: Server, raw: RawServer, alura: AsyncAlura
) -> None:
    await alura.user.profile()
    server.refuses.add("token-1")
    raw.routes["/user/profile"] = [
        server.anything,
        reply('{"message":"x"}', "503 Service Unavailable"),
        server.anything,
    ]
    assert (await alura.user.profile()).id == "me"
    assert server.logins == 2


async def test_five_seconds_after_a_failed_sign_in_there_is_another(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands
) -> None:
    raw.routes["/auth/evm/verify"] = [reply('{"message":"no"}', "401 Unauthorized"), server.verify]
    for seconds in (0, 4.5):
        hands.pass_(seconds)
        with pytest.raises(SignInError, match="no"):
            await alura.user.profile()
    assert server.logins == 1
    hands.pass_(0.5)
    await alura.user.profile()
    assert server.logins == 2


# What closes gets out, whatever else could not sign in


async def close(alura: AsyncAlura, seconds: float = 30) -> None:
    await alura.with_options(timeout=seconds).trading_sessions.close_trade("t1")


async def test_a_close_signs_in_a_second_after_a_read_could_not_and_clears_the_way_for_all(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands
) -> None:
    began = hands.steady
    server.gives_no_token = True
    with pytest.raises(SignInError):
        await alura.user.profile()
    server.gives_no_token = False
    hands.pass_(0.25)
    with pytest.raises(SignInError):
        await alura.user.profile()
    assert server.logins == 1
    await close(alura)
    assert hands.steady - began == 1
    await alura.user.profile()
    assert raw.paths()[-2:] == ["POST /trading-sessions/trades/t1/close", "GET /user/profile"]
    assert server.logins == 2


async def test_a_failed_sign_in_holds_nobody_up_any_more_once_a_close_has_signed_in(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    server.gives_no_token = True
    with pytest.raises(SignInError):
        await alura.user.profile()
    server.gives_no_token = False
    await close(alura)
    server.refuses.add("token-1")
    await alura.user.profile()
    assert server.logins == 3


@pytest.mark.waits
async def test_the_second_that_a_close_waits_is_a_real_one(server: Server, alura: AsyncAlura) -> None:
    server.gives_no_token = True
    with pytest.raises(SignInError):
        await alura.user.profile()
    failed_at = time.monotonic()
    server.gives_no_token = False
    await close(alura)
    assert 0.95 < time.monotonic() - failed_at < 1.9


async def test_a_close_that_cannot_sign_in_was_not_sent_and_says_so(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands
) -> None:
    server.gives_no_token = True
    with pytest.raises(SignInError, match="down") as caught:
        await close(alura, seconds=1)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert raw.paths() == ["POST /auth/evm/challenge", "POST /auth/evm/verify"]
    server.gives_no_token = False
    await alura.auth.login()
    # So was one whose token the server refused.
    server.refuses.add("token-1")
    server.gives_no_token = True
    with pytest.raises(SignInError, match="down") as caught:
        await close(alura, seconds=1)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert raw.paths().count("POST /trading-sessions/trades/t1/close") == 1
    entries = await alura.journal.entries()
    assert [entry.outcome for entry in entries] == [Outcome.NOT_SENT] * 2


async def test_a_close_that_cannot_sign_in_holds_reads_up_for_five_seconds_and_the_next_close_for_one(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    server.gives_no_token = True
    with pytest.raises(SignInError):
        await alura.user.profile()
    hands.pass_(3)
    began = hands.steady
    for seconds in (0, 1, 2):
        with pytest.raises(SignInError, match="down"):
            await close(alura, seconds=1)
        assert hands.steady - began == seconds
        assert server.logins == 2 + seconds
    server.gives_no_token = False
    hands.pass_(4.75)
    with pytest.raises(SignInError):
        await alura.user.profile()
    assert server.logins == 4
    hands.pass_(0.25)
    await alura.user.profile()
    assert server.logins == 5


async def test_a_hundred_closes_during_an_outage_share_one_sign_in_a_second_and_all_get_out_after_it(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    server.gives_no_token_for(3, hands)
    began = hands.steady
    async with asyncio.timeout(10):
        await asyncio.gather(*[alura.trading_sessions.close_trade(f"t{number}") for number in range(100)])
    assert server.logins == 4
    assert hands.steady - began == 3
    assert len(server.raw.paths()) == 2 * 4 + 100


async def test_a_close_is_not_failed_by_a_sign_in_that_had_begun_before_it(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands
) -> None:
    server.login_takes = 0.02
    raw.routes["/auth/evm/verify"] = [reply('{"message":"down"}', "503 Service Unavailable"), server.verify]
    read = asyncio.create_task(alura.user.profile())
    while "POST /auth/evm/challenge" not in raw.paths():
        await asyncio.sleep(0.001)
    began = hands.steady
    await close(alura)
    assert hands.steady - began == 1
    with pytest.raises(SignInError, match="down"):
        await read
    assert server.logins == 2


@pytest.mark.parametrize("step", ["challenge", "verify"])
async def test_a_read_whose_sign_in_gets_no_answer_holds_a_close_up_no_longer_than_silence_is_borne(
    server: Server, raw: RawServer, step: str
) -> None:
    """A step that is made again is made on a new connection; all of a sign-in may take much longer."""
    raw.routes[f"/auth/evm/{step}"] = [hang, getattr(server, step)]
    async with AsyncAlura(FakeWallet(), base_url=raw.url, timeout=Timeouts(read=0.2)) as alura:
        read = asyncio.create_task(alura.user.profile())
        while f"POST /auth/evm/{step}" not in raw.paths():
            await asyncio.sleep(0.001)
        async with asyncio.timeout(3):
            await close(alura)
        assert (await read).id == "me"
    assert raw.paths().count(f"POST /auth/evm/{step}") == 2
    assert server.given == 1


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests"])
@pytest.mark.parametrize("step", ["challenge", "verify"])
async def test_a_close_whose_own_sign_in_fails_in_passing_signs_in_again_a_second_later(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands, step: str, status: str
) -> None:
    # Each is tried four times by itself, but not what may have been executed.
    attempts = 1 if step == "verify" and status.startswith("503") else 4
    failures = [reply('{"message":"down"}', status)] * attempts
    raw.routes[f"/auth/evm/{step}"] = [*failures, getattr(server, step)]
    began = hands.steady
    await close(alura)
    assert hands.steady - began == 1
    assert server.given == 1


async def test_a_close_tries_to_sign_in_as_long_as_its_time_lasts_and_tells_the_last_failure(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    server.gives_no_token = True
    began = hands.steady
    with pytest.raises(SignInError, match="down"):
        await close(alura, seconds=10)
    assert hands.steady - began == 9
    assert server.logins == 10


async def test_a_close_whose_time_ends_while_it_signs_in_again_tells_why_it_had_to(
    server: Server, raw: RawServer, alura: AsyncAlura
) -> None:
    raw.routes["/auth/evm/verify"] = [reply('{"message":"down"}', "503 Service Unavailable"), hang]
    with pytest.raises(SignInError, match="down") as caught:
        await close(alura, seconds=1.4)
    assert caught.value.outcome is Outcome.NOT_SENT
    entries = await alura.journal.entries()
    assert [entry.outcome for entry in entries] == [Outcome.NOT_SENT]
    assert server.logins == 2


async def test_what_fails_a_sign_in_for_good_fails_a_close_at_once(server: Server, raw: RawServer) -> None:
    class Broken(FakeWallet):
        async def sign_message(self, text: str, /) -> str:
            self.signed.append(text)
            raise OSError("no device")

    broken, wallet = Broken(), FakeWallet()
    async with AsyncAlura(broken, base_url=raw.url) as alura:
        with pytest.raises(SignInError, match="no device"):
            await close(alura)
    assert len(broken.signed) == 1
    raw.routes["/auth/evm/verify"] = [reply('{"message":"no"}', "401 Unauthorized")]
    async with AsyncAlura(wallet, base_url=raw.url) as alura:
        with pytest.raises(SignInError, match="no"):
            await close(alura)
    raw.routes["/auth/evm/challenge"] = [reply(json.dumps({"address": ADDRESS, "nonce": "n", "message": "pay me"}))]
    async with AsyncAlura(wallet, base_url=raw.url) as alura:
        with pytest.raises(ChallengeRefusedError):
            await close(alura)
    assert len(wallet.signed) == server.logins == 1


async def test_a_close_that_cannot_sign_in_goes_out_with_a_token_that_only_the_time_of_day_calls_expired(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands
) -> None:
    await alura.user.profile()
    hands.wall += 2 * 86400
    server.gives_no_token = True
    await close(alura)
    assert raw.received[-1].headers["authorization"] == "Bearer token-1"
    assert server.logins == 2
    with pytest.raises(SignInError):
        await alura.user.profile()
    # The server says that it has expired indeed.
    server.refuses.add("token-1")
    with pytest.raises(SignInError, match="down"):
        await close(alura, seconds=5)
    assert raw.paths().count("POST /trading-sessions/trades/t1/close") == 2
    server.gives_no_token = False
    await close(alura)
    assert raw.received[-1].headers["authorization"] == "Bearer token-2"


async def test_a_close_that_cannot_sign_in_does_not_go_out_with_a_token_that_has_ended(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands
) -> None:
    await alura.user.profile()
    hands.pass_(86400)
    server.gives_no_token = True
    with pytest.raises(SignInError, match="down"):
        await close(alura, seconds=1)
    assert "POST /trading-sessions/trades/t1/close" not in raw.paths()


class SignIns:
    """Sign-ins of a lock that end when the test says so, and the clock that exits look at."""

    def __init__(self) -> None:
        self.hands = Hands()
        self.begun: list[asyncio.Future[SignIn]] = []
        self.limits: list[tuple[float, asyncio.Future[None]]] = []
        self.lock = TokenLock(self.sign_in, clock=self.hands.clock._replace(limit=self.limit))

    async def sign_in(self) -> SignIn:
        answer: asyncio.Future[SignIn] = asyncio.get_running_loop().create_future()
        self.begun.append(answer)
        return await answer

    async def limit(self, seconds: float) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.limits.append((self.hands.steady + seconds, over))
        await over

    async def pass_(self, seconds: float) -> None:
        self.hands.pass_(seconds)
        for until, over in self.limits:
            if until <= self.hands.steady and not over.done():
                over.set_result(None)
        await turns()

    async def asks(self, route: Route[Any]) -> asyncio.Task[Token | None]:
        task = asyncio.create_task(self.lock.get(route))
        await turns()
        return task


async def turns() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


CLOSE: Route[Any] = Route("POST", "/user/close-position", dict, access=Access.BEARER, lane=Lane.EXIT)


async def test_two_seconds_after_a_close_asked_a_sign_in_that_hangs_is_begun_anew_for_all_who_wait() -> None:
    all_ = SignIns()
    read = await all_.asks(READ)
    await all_.pass_(10)
    closes = [await all_.asks(CLOSE) for _ in range(3)]
    await all_.pass_(1.75)
    assert len(all_.begun) == 1
    await all_.pass_(0.25)
    assert len(all_.begun) == 2
    assert all_.begun[0].cancelled()
    await all_.pass_(60)
    # It was begun after they asked.
    assert len(all_.begun) == 2
    all_.begun[1].set_result(SignIn(access_token=Secret("new"), expires_in=3600))
    for token in await asyncio.gather(read, *closes):
        assert token is not None
        assert token.secret.reveal() == "new"


async def test_closes_that_keep_coming_leave_a_slow_sign_in_longer_each_time() -> None:
    all_ = SignIns()
    await all_.asks(READ)
    stopped_at: list[int] = []
    for second in range(31):
        if len(all_.begun) > len(stopped_at) + 1:
            stopped_at.append(second)
        await all_.asks(CLOSE)
        await all_.pass_(1)
    assert stopped_at == [2, 6, 14, 30]
    await all_.lock.close()


async def test_a_wallet_that_is_being_asked_is_asked_once_however_long_that_takes(
    server: Server, raw: RawServer
) -> None:
    class Asks(FakeWallet):
        async def sign_message(self, text: str, /) -> str:
            await answered.wait()
            return await super().sign_message(text)

    answered = asyncio.Event()
    looks = 0

    async def limit(seconds: float) -> None:
        nonlocal looks
        assert seconds == 2
        hands.pass_(seconds)
        looks += 1
        if looks == 5:
            answered.set()
            await asyncio.Event().wait()

    hands, wallet = Hands(), Asks()
    async with AsyncAlura(wallet, base_url=raw.url) as alura:
        alura._road.tokens.clock = hands.clock._replace(limit=limit)
        read = asyncio.create_task(alura.user.profile())
        while alura._road.tokens._wallet_until < 0 or "POST /auth/evm/challenge" not in raw.paths():
            await asyncio.sleep(0.001)
        await close(alura)
        assert (await read).id == "me"
    assert looks == 5
    assert len(wallet.signed) == server.logins == 1


async def test_a_verification_that_hangs_has_two_seconds_after_the_wallet_has_signed() -> None:
    all_ = SignIns()
    signed = asyncio.Event()

    async def sign_in() -> SignIn:
        with all_.lock.asking_wallet(20):
            await signed.wait()
        return await all_.sign_in()

    all_.lock._sign_in = sign_in
    read = await all_.asks(READ)
    closing = await all_.asks(CLOSE)
    for _ in range(5):
        await all_.pass_(1.5)
    signed.set()
    await all_.pass_(0)
    await all_.pass_(1.75)
    assert len(all_.begun) == 1
    await all_.pass_(0.25)
    assert len(all_.begun) == 2
    all_.begun[1].set_result(SignIn(access_token=Secret("new"), expires_in=3600))
    assert await read is await closing


async def test_a_wallet_that_goes_on_after_the_time_of_a_sign_in_is_left_behind() -> None:
    all_ = SignIns()
    asked = 0
    released = asyncio.Event()

    async def sign_in() -> SignIn:
        nonlocal asked
        number = asked = asked + 1
        with all_.lock.asking_wallet(20):
            while number == 1 and not released.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await released.wait()
        if number == 1:
            raise OSError("released")
        return await all_.sign_in()

    all_.lock._sign_in = sign_in
    read = await all_.asks(READ)
    closing = await all_.asks(CLOSE)
    for _ in range(9):
        await all_.pass_(2)
    assert asked == 1
    await all_.pass_(2)
    assert asked == 2
    # What becomes of the first is nobody's failure any more.
    released.set()
    await turns()
    all_.begun[0].set_result(SignIn(access_token=Secret("new"), expires_in=3600))
    assert await read is await closing
    assert all_.lock._failure is None
    await all_.lock.close()


@pytest.mark.parametrize("succeeds", [True, False])
async def test_a_close_that_waits_takes_what_became_of_a_sign_in_that_somebody_else_began_meanwhile(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands, succeeds: bool
) -> None:
    server.gives_no_token = True
    with pytest.raises(SignInError):
        await alura.user.profile()
    waits, goes_on = asyncio.Event(), asyncio.Event()

    async def pause(seconds: float) -> None:
        waits.set()
        await goes_on.wait()

    alura._road.tokens.clock = hands.clock._replace(pause=pause)
    closing = asyncio.create_task(close(alura, seconds=1))
    await waits.wait()
    server.gives_no_token = not succeeds
    with contextlib.nullcontext() if succeeds else pytest.raises(SignInError):
        await alura.auth.login()
    goes_on.set()
    with contextlib.nullcontext() if succeeds else pytest.raises(SignInError):
        await closing
    assert server.logins == 2
    assert raw.paths().count("POST /trading-sessions/trades/t1/close") == succeeds


async def test_a_second_after_reads_had_two_new_tokens_refused_a_close_gets_a_third(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    server.refuses.add("*")
    with pytest.raises(UnauthorizedError):
        await alura.user.profile()
    began = hands.steady
    server.refuses = {"token-1", "token-2"}
    hands.pass_(0.5)
    with pytest.raises(SignInError, match="refused the last 2 tokens"):
        await alura.user.sync_fills()
    assert server.logins == 2
    await close(alura)
    assert hands.steady - began == 1
    # The server took it, so the reads are free too.
    await alura.user.profile()
    assert server.logins == 3


async def test_a_new_token_of_a_close_lets_reads_sign_in_only_when_the_server_has_taken_it(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    server.refuses.add("*")
    with pytest.raises(UnauthorizedError):
        await alura.user.profile()
    hands.pass_(30)
    with pytest.raises(UnauthorizedError):
        await close(alura)
    assert server.logins == 3
    for seconds in (0, 59.5):
        hands.pass_(seconds)
        for call in (alura.user.sync_fills, alura.trading_sessions.active):
            with pytest.raises(SignInError, match="refused the last 2 tokens"):
                await call()
    assert server.logins == 3
    hands.pass_(0.5)
    with pytest.raises(UnauthorizedError):
        await alura.user.profile()
    assert server.logins == 4


async def test_a_close_that_a_server_refuses_whatever_its_token_costs_two_sign_ins_and_later_ones_one_a_second(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    server.refuses.add("*")
    began = hands.steady
    for logins in (2, 3, 4):
        with pytest.raises(UnauthorizedError):
            await close(alura)
        assert server.logins == logins
        assert hands.steady - began == logins - 1


async def test_an_endpoint_that_refused_a_new_token_is_given_another_a_second_later_if_it_closes(
    server: Server, alura: AsyncAlura, hands: Hands
) -> None:
    await alura.user.profile()
    server.refuses = {"token-1", "token-2"}
    hands.pass_(10)
    began = hands.steady
    with pytest.raises(UnauthorizedError):
        await close(alura)
    assert hands.steady == began
    hands.pass_(0.25)
    await close(alura)
    assert hands.steady - began == 1
    assert server.logins == 3


async def test_a_cancelled_close_that_waits_begins_no_sign_in(server: Server, alura: AsyncAlura, hands: Hands) -> None:
    server.gives_no_token = True
    with pytest.raises(SignInError):
        await alura.user.profile()
    waits = asyncio.Event()

    async def pause(seconds: float) -> None:
        waits.set()
        await asyncio.Event().wait()

    alura._road.tokens.clock = hands.clock._replace(pause=pause)
    closing = asyncio.create_task(close(alura))
    await waits.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert server.logins == 1


@pytest.mark.waits
async def test_a_sign_in_for_a_close_goes_before_the_calls_that_wait_for_their_turn(
    server: Server, raw: RawServer
) -> None:
    raw.routes["/api/indicators/health"] = [reply('{"status":"ok"}')]
    limiter = RateLimiter(rate=50, burst=1)
    async with AsyncAlura(FakeWallet(), base_url=raw.url, limiter=limiter) as alura:
        reads = [asyncio.create_task(alura.indicators.health()) for _ in range(50)]
        while not raw.received:
            await asyncio.sleep(0.001)
        await close(alura)
        for read in reads:
            read.cancel()
        await asyncio.wait(reads)
    urgent = ["POST /auth/evm/challenge", "POST /auth/evm/verify", "POST /trading-sessions/trades/t1/close"]
    paths = raw.paths()
    assert [path for path in paths if path in urgent] == urgent
    # One read may have had its turn before, and one in each of the moments between two of these.
    assert paths.index(urgent[-1]) <= len(urgent) - 1 + 4


@pytest.mark.parametrize("seconds", [3, 9])
async def test_flatten_gets_out_after_an_outage_of_the_sign_in(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands, seconds: int
) -> None:
    began = hands.steady
    server.gives_no_token_for(seconds, hands)
    raw.routes["/trading-sessions/active"] = [reply("[]")]
    raw.routes["/trading-sessions/current-trade"] = [reply("null")]
    found = await flatten(alura, timeout=20, patience=0.1)
    assert server.logins == 1 + seconds
    assert hands.steady - began == seconds
    assert {type(failure) for failure in found.failures} == {SignInError}
    # It was never sent before, however often it failed; and it reaches what no read shows.
    assert raw.paths().count("POST /user/close-all-positions") == 1


# When a token is renewed, and what is sent meanwhile


async def test_while_a_token_is_renewed_every_call_goes_once_and_with_the_old_one(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands
) -> None:
    await alura.user.profile()
    hands.pass_(86400 - 120)
    server.login_takes = 0.05
    for _ in range(3):
        await alura.user.profile()
    calls = [request for request in raw.received if request.path == "/user/profile"]
    assert [request.headers.get("authorization") for request in calls] == ["Bearer token-1"] * 4
    await signed_in_again(server, alura)


async def test_a_given_token_beside_a_wallet_is_renewed_before_it_ends_and_the_new_one_is_held() -> None:
    """No call waits for this first sign-in."""
    signed_in = 0

    async def sign_in() -> SignIn:
        nonlocal signed_in
        signed_in += 1
        return SignIn(access_token=Secret("new"), expires_in=86400)

    hands = Hands()
    given = jwt(iat=hands.wall, exp=hands.wall + 86400)
    lock = TokenLock(sign_in, given, clock=hands.clock)
    hands.pass_(86400 - 120)
    token = await lock.get(READ)
    while token is not None and token.secret.reveal() == given:
        await asyncio.sleep(0)
        token = await lock.get(READ)
        assert signed_in == 1
    assert token is not None
    assert token.secret.reveal() == "new"


@pytest.mark.parametrize("which", ["steady", "wall"])
async def test_many_bots_renew_their_tokens_over_one_minute_that_ends_four_before_the_tokens(which: str) -> None:
    hands = Hands()
    tokens = [Token(Secret("t"), 86400, hands.clock) for _ in range(3000)]
    began = getattr(hands, which)

    def due(before_the_end: float) -> int:
        setattr(hands, which, began + 86400 - before_the_end)
        return sum(token.is_due for token in tokens)

    assert due(300.5) == 0
    assert 0 < due(299.5) < 300
    assert 2700 < due(240.5) < 3000
    assert due(239.5) == 3000
    assert not any(token.is_expired for token in tokens)
    assert due(0) == 3000
    assert all(token.is_expired for token in tokens)


@pytest.mark.parametrize("which", ["steady", "wall"])
async def test_a_short_token_is_due_in_its_last_quarter(which: str) -> None:
    hands = Hands()
    token = Token(Secret("t"), 40, hands.clock)
    began = getattr(hands, which)
    seen = []
    for seconds in (29.5, 30, 39.5, 40):
        setattr(hands, which, began + seconds)
        seen.append((token.is_due, token.is_expired))
    assert seen == [(False, False), (True, False), (True, False), (True, True)]


async def test_half_a_minute_after_a_failed_renewal_in_the_background_there_is_another(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands
) -> None:
    await alura.user.profile()
    hands.pass_(86400 - 200)
    raw.routes["/auth/evm/verify"] = [reply('{"message":"no"}', "401 Unauthorized")]
    for seconds, logins in ((0, 2), (29.5, 2), (0.5, 3)):
        hands.pass_(seconds)
        await alura.user.profile()
        await signed_in_again(server, alura, logins)
        assert server.logins == logins


async def test_only_a_failure_that_no_caller_is_told_of_is_logged(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands, caplog: pytest.LogCaptureFixture
) -> None:
    no = reply('{"message":"no"}', "401 Unauthorized")
    raw.routes["/auth/evm/verify"] = [no, server.verify, no]
    with pytest.raises(SignInError):
        await alura.user.profile()
    hands.pass_(5)
    await alura.user.profile()
    assert "in the background" not in caplog.text
    hands.pass_(86400 - 120)
    await alura.user.profile()
    await signed_in_again(server, alura, 3)
    assert "in the background; the one that is held goes on being used" in caplog.text


@pytest.mark.parametrize(
    ("lifetime", "logins"), [(1, 2), (LONGEST - 1, 2), (LONGEST, 1), (-0.5, 1)], ids=["1 s", "10 years", "more", "none"]
)
async def test_a_lifetime_counts_where_it_makes_sense(
    server: Server, alura: AsyncAlura, hands: Hands, lifetime: float, logins: int
) -> None:
    server.lifetime = lifetime
    await alura.user.profile()
    hands.pass_(abs(lifetime))
    await alura.user.profile()
    assert server.logins == logins


async def test_a_new_token_that_says_only_when_it_ends_is_used_until_it_is_refused(
    server: Server, raw: RawServer, alura: AsyncAlura, hands: Hands
) -> None:
    """Its end is by the server's clock, and nothing tells how far that is from ours."""
    token = jwt(exp=hands.wall + 60)
    raw.routes["/auth/evm/verify"] = [reply(json.dumps({"ok": True, "accessToken": token}), "201 Created")]
    for _ in range(2):
        await alura.user.profile()
        hands.pass_(61)
    assert server.logins == 1


@pytest.mark.parametrize(
    "token",
    [
        "no.jwt",
        "x.x.x",
        *map(jwt_of, (b"no json", b'{"exp":', b'{"a":"\xff"}', b"12", b"null", b'{"exp":"0"}')),
        jwt_of(b'{"exp":0,"a":' + b"[" * 600 + b"]" * 600 + b"}"),
    ],
    ids=["no JWT", "no base64", "no JSON", "half", "no UTF-8", "a number", "null", "words", "brackets"],
)
async def test_a_given_token_that_says_nothing_readable_is_used_until_it_is_refused(token: str) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # py_ecc does so when it is imported
    try:
        lock = TokenLock(None, token)
    finally:
        sys.setrecursionlimit(limit)
    used = await lock.get(READ)
    assert used is not None
    assert used.secret.reveal() == token


@pytest.mark.parametrize("name", ["", "a", "ab", "abc"])
@pytest.mark.parametrize(("expires", "is_believed"), [(999_999_999_999.5, True), (1e12, False), (True, False)])
async def test_a_given_token_ends_when_it_says_so_if_that_is_a_date(
    name: str, expires: float, is_believed: bool
) -> None:
    """The names make for each length that base64 may have."""
    hands = Hands()
    lock = TokenLock(None, jwt(exp=expires, sub=name), clock=hands.clock)
    assert lock.held is not None
    hands.pass_(2e12)
    assert (lock.held is None) is is_believed


# What a failed sign-in tells


async def test_what_a_check_of_the_users_own_raises_is_the_cause_for_all_who_ask(
    raw: RawServer, server: Server
) -> None:
    def check(challenge: Challenge, *, address: str, host: str) -> None:
        raise broken

    broken = LookupError("no such list")
    async with AsyncAlura(FakeWallet(), base_url=raw.url, check_challenge=check) as alura:
        for _ in range(2):  # the second gets what was kept of the first
            with pytest.raises(SignInError, match="no such list") as caught:
                await alura.user.profile()
            assert caught.value.__cause__ is broken


# A token that another run left behind


async def test_a_login_by_name_takes_no_token_that_another_run_left_behind(
    raw: RawServer, server: Server, tmp_path: Path
) -> None:
    for _ in range(2):
        async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=tmp_path / "tokens.json") as alura:
            await alura.auth.login()
            await alura.user.profile()
    assert server.logins == 2
    assert raw.received[-1].headers["authorization"] == "Bearer token-2"


@pytest.mark.parametrize(
    ("obtained", "lifetime", "is_used"),
    [(0, 100, True), (1, 100, False), (-10, 1, True), (-10, 0, False), (-10, LONGEST - 1, True), (-10, LONGEST, False)],
)
async def test_a_kept_token_is_used_from_the_moment_it_was_obtained_until_it_ends(
    raw: RawServer, server: Server, tmp_path: Path, obtained: float, lifetime: float, is_used: bool
) -> None:
    async def address() -> str:
        return ADDRESS

    hands = Hands()
    cache = TokenCache(tmp_path / "tokens.json", raw.url, address)
    await cache.save(CachedToken(Secret("kept"), hands.wall + obtained, hands.wall + lifetime))
    async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=tmp_path / "tokens.json") as alura:
        alura._road.tokens.clock = hands.clock
        await alura.health.basic()  # opens it
        token = await alura._road.tokens.get(READ)
    assert token is not None
    assert token.secret.reveal() == ("kept" if is_used else "token-1")


async def test_a_kept_token_is_held_until_it_ends_and_no_longer(raw: RawServer, server: Server, tmp_path: Path) -> None:
    async def address() -> str:
        return ADDRESS

    hands = Hands()
    cache = TokenCache(tmp_path / "tokens.json", raw.url, address)
    await cache.save(CachedToken(Secret("kept"), hands.wall - 10, hands.wall + 100))
    async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=tmp_path / "tokens.json") as alura:
        alura._road.tokens.clock = hands.clock
        for seconds, token in ((0, "kept"), (74, "kept"), (26, "token-1")):
            hands.pass_(seconds)
            await alura.user.profile()
            assert raw.received[-1].headers["authorization"] == f"Bearer {token}"
    assert server.logins == 1


async def test_a_client_that_signs_in_for_years_keeps_nothing_of_what_it_wrote(
    raw: RawServer, server: Server, tmp_path: Path
) -> None:
    async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=tmp_path / "tokens.json") as alura:
        for _ in range(3):
            await alura.auth.login()
        assert not alura._road.tokens._saving


# Nothing of a token is shown


async def test_a_traceback_with_all_locals_shows_no_token(raw: RawServer) -> None:
    def report(error: BaseException) -> str:
        """Without this test's own frame, which knows the token."""
        assert error.__traceback__ is not None
        frames = error.__traceback__.tb_next
        return "".join(traceback.TracebackException(type(error), error, frames, capture_locals=True).format())

    with pytest.raises(ConfigurationError) as caught:
        TokenLock(None, "s3cr3t token")
    assert "s3cr3t" not in report(caught.value)
    async with AsyncAlura(base_url=raw.url, token="s3cr3t-token") as alura:
        raw.answers = [b""]
        with pytest.raises(AluraError) as lost:
            await alura.trading_sessions.close_trade("1")
        assert raw.received[0].headers["authorization"] == "Bearer s3cr3t-token"
    frames = report(lost.value)
    assert "road.py" in frames, "there are frames to look into"
    assert "s3cr3t" not in frames


_FORKS = """
import os, sys, threading, time, warnings
from alura_async import Alura
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of every fork beside threads

class Wallet:
    address = "0x" + "a1" * 20
    async def sign_message(self, text):
        return "0x" + "5e" * 65

alura = Alura(Wallet(), base_url=sys.argv[1])
if sys.argv[2] == "before":
    alura.user.profile()
login = threading.Thread(target=alura.auth.login, daemon=True)
login.start()
sys.stdin.readline()  # until the server has begun to answer the sign-in
child = os.fork()
if child == 0:
    print("child", alura.user.profile().id, flush=True)
    alura.close()
    os._exit(0)
os.waitpid(child, 0)
login.join()
print("parent", alura.user.profile().id, flush=True)
alura.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(("when", "logins"), [("before", 2), ("during", 2)])
async def test_a_fork_during_a_sign_in_leaves_the_child_the_token_and_not_the_parents_task(
    server: Server, raw: RawServer, when: str, logins: int
) -> None:
    """With a token the child goes on with it; without one it signs in by itself. Neither waits for the parent's."""
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Received, writer: asyncio.StreamWriter) -> bytes:
        if started.is_set() or (when == "before" and server.given == 0):
            return await server.challenge(request, writer)
        started.set()
        await go_on.wait()
        return await server.challenge(request, writer)

    raw.routes["/auth/evm/challenge"] = [slow]
    pipe = asyncio.subprocess.PIPE
    arguments = ["-c", _FORKS, raw.url, when]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe, stderr=pipe)
    await started.wait()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    await process.stdin.drain()
    assert await process.stdout.readline() == b"child me\n"
    go_on.set()
    output, errors = await process.communicate()
    assert (process.returncode, output, errors) == (0, b"parent me\n", b"")
    assert server.logins == logins
