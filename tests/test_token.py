"""Signing in: when it happens, how often, and what happens when the server refuses."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from alura_async import (
    AluraError,
    AsyncAlura,
    Challenge,
    ChallengeRefusedError,
    ConfigurationError,
    CredentialsNeededError,
    DuplicateAssetError,
    NotSentError,
    OutcomeUnknownError,
    SignInError,
    UnauthorizedError,
)
from alura_async.core import token as token_module
from tests.raw_server import RawServer, Received, hang, reply

pytestmark = pytest.mark.anyio

ADDRESS = "0x" + "a1" * 20


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
        self.given += 1
        token = {"ok": True, "accessToken": f"token-{self.given}", "tokenType": "Bearer", "user": {"id": "1"}}
        if self.lifetime is not None:
            token["expiresIn"] = self.lifetime
        return reply(json.dumps(token), "201 Created")

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
    def jwt(expires: float) -> str:
        claims = base64.urlsafe_b64encode(json.dumps({"exp": expires}).encode()).decode().rstrip("=")
        return f"eyJhbGciOiJIUzI1NiJ9.{claims}.c2lnbmF0dXJl"

    async with AsyncAlura(base_url=raw.url, token=jwt(time.time() - 1)) as alura:
        with pytest.raises(CredentialsNeededError, match="expired"):
            await alura.user.profile()
    assert raw.received == []
    async with AsyncAlura(base_url=raw.url, token=jwt(time.time() + 1000)) as alura:
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
    while raw.paths().count("GET /health") < 100:
        await asyncio.sleep(0.01)
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


class Clock:
    """The two clocks that a token goes by, moved by hand."""

    def __init__(self) -> None:
        self.awake = 1000.0
        self.wall = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.awake

    def time(self) -> float:
        return self.wall

    def pass_(self, seconds: float) -> None:
        self.awake += seconds
        self.wall += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(token_module, "time", clock)
    return clock


async def test_a_token_is_renewed_in_the_background_before_it_ends(
    server: Server, raw: RawServer, alura: AsyncAlura, clock: Clock
) -> None:
    await alura.user.profile()
    clock.pass_(86400 - 301)
    await alura.user.profile()
    clock.pass_(62 + 60)
    for _ in range(3):
        await alura.user.profile()
    assert raw.received[-1].headers["authorization"] in ("Bearer token-1", "Bearer token-2")
    while server.logins < 2 or alura._road.tokens._task is not None:
        await asyncio.sleep(0.005)
    await alura.user.profile()
    assert raw.received[-1].headers["authorization"] == "Bearer token-2"
    assert server.logins == 2


async def test_a_failed_renewal_in_the_background_costs_the_caller_nothing(
    server: Server, raw: RawServer, alura: AsyncAlura, clock: Clock
) -> None:
    await alura.user.profile()
    raw.routes["/auth/evm/challenge"] = [reply("{}", "503 Service Unavailable")]
    clock.pass_(86400 - 120)
    for _ in range(5):
        await alura.user.profile()
        await asyncio.sleep(0.005)
    assert raw.paths().count("POST /auth/evm/challenge") == 2
    assert raw.received[-1].headers["authorization"] == "Bearer token-1"


@pytest.mark.parametrize("asleep", [False, True], ids=["awake", "machine slept"])
async def test_an_expired_token_is_replaced_before_the_call(
    server: Server, raw: RawServer, alura: AsyncAlura, clock: Clock, asleep: bool
) -> None:
    """The monotonic clock stands still while the machine sleeps; the wall clock tells then."""
    await alura.user.profile()
    clock.wall += 86401
    if not asleep:
        clock.awake += 86401
    raw.received.clear()
    await alura.user.profile()
    assert raw.paths() == ["POST /auth/evm/challenge", "POST /auth/evm/verify", "GET /user/profile"]


async def test_a_wall_clock_set_back_a_day_does_not_prolong_a_token(
    server: Server, alura: AsyncAlura, clock: Clock
) -> None:
    await alura.user.profile()
    clock.wall -= 86400
    clock.awake += 86401
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


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "tökèn", b"bytes", 5])
def test_a_given_token_that_cannot_be_a_header_is_refused_at_once_and_not_shown(token: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be sent") as caught:
        AsyncAlura(token=token)
    assert not str(token) or str(token) not in str(caught.value)


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


async def test_a_wallet_that_ignores_being_stopped_does_not_hold_up_close(server: Server, raw: RawServer) -> None:
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
    async with asyncio.timeout(10):
        await alura.close()
    released.set()
    with pytest.raises(AluraError):
        await call
