"""Keys, tokens and signatures show nowhere, whatever goes wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from alura_async import (
    Alura,
    AluraError,
    AsyncAlura,
    ConfigurationError,
    KeyWallet,
    OutcomeUnknownError,
    Reply,
    Retry,
    Secret,
    ShapeError,
    SignInError,
    Timeouts,
)
from alura_async.core.text import shown
from alura_async.groups.auth import Auth
from alura_async.sandbox import Sandbox
from alura_async.sandbox import signin as sandbox_signin
from tests.faults import exposure as exposure_module
from tests.faults.exposure import Exposure, revealed
from tests.raw_server import Answer, RawServer, Received, hang, reply

pytestmark = pytest.mark.anyio

KEY = "0x" + "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
TOKEN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIweGExMDAwMSIsImtub3duIjoidGhpcyJ9.c2lnbmF0dXJlLW9mLXRoaXMtdG9rZW4"
)
AGENT_KEY = "0x" + "8f2a55949038a9610f50fb23b5883af3b4ecb3c3bb792cbcefbd1542c692be63"
TRANSACTION = "0x" + "02f8b1822105f3a9c4" * 12
PROXY_PASSWORD = "hunter2-behind-the-proxy"
CLOSE_SIGNATURE = "0x" + "b7e1c45d90" * 13
QUICK = Timeouts(call=0.15, create=0.15, sign_in=0.15, connect=0.15, read=0.1, settle=0)
ONCE_ONLY = Retry(attempts=1)


class Signs:
    """A wallet that remembers what it signed, and gives it in the form it is told to."""

    def __init__(self, form: Callable[[Secret], Any] = lambda signature: signature) -> None:
        self._wallet = KeyWallet(KEY)
        self._form = form
        self.signed: list[Secret] = []

    @property
    def address(self) -> str:
        return self._wallet.address

    async def sign_message(self, text: str, /) -> Any:
        signature = await self._wallet.sign_message(text)
        self.signed.append(signature)
        return self._form(signature)


@pytest.fixture
async def exposure() -> AsyncIterator[Exposure]:
    async with Exposure(__file__, exposure_module.__file__).everywhere() as gathered:
        yield gathered


CALLS: dict[str, Callable[[AsyncAlura], Awaitable[Any]]] = {
    "login": lambda alura: alura.auth.login(),
    "read": lambda alura: alura.user.profile(),
    "create": lambda alura: alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC"),
    "close": lambda alura: alura.user.close_all_positions(),
    "transfer": lambda alura: alura.user.withdraw(amount=5),
    "trading key": lambda alura: alura.auth.trading_key(),
    "close signature": lambda alura: alura.trading_sessions.close_signature("p1"),
}


async def fail(exposure: Exposure, call: Awaitable[Any]) -> BaseException | None:
    """Make a call that may fail, and look at how."""
    try:
        # A result is a value that people print.
        exposure.texts.append(repr(await call))
    except (AluraError, asyncio.CancelledError) as error:
        exposure.add(error)
        return error
    return None


# --- on the sandbox: every fault of every call

FAULTS = [
    "400",
    "401",
    "429=Retry-After:1",
    "503-after",
    "redirect=http://127.0.0.1:9/x",
    "builder-fee=502",
    "hang",
    "hang-after",
    "reset",
    "reset-after",
    "close",
    "truncate=90%",
    "truncate=99%,unannounced",
    "truncate=headers,reset",
    "garbage",
    "malformed=chunk-size",
    "malformed=two-lengths",
    "malformed=long-header",
    "length=-6",
    "unfinished",
    "invalid-json",
    "html=200",
    "empty",
    "bad-gzip",
    "short-gzip",
    "bomb=1MiB",
    "drip=1,20ms",
    "stray",
    "idle-close",
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_of_the_server_shows_a_secret(
    fault: str, exposure: Exposure, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    issue = sandbox_signin.Tokens.issue

    def remembered(*args: Any) -> str:
        given.append(issue(*args))
        return given[-1]

    monkeypatch.setattr(sandbox_signin.Tokens, "issue", remembered)
    async with Sandbox(seed=5, limit=None, speed=0) as sandbox:
        wallet = Signs()
        async with (
            AsyncAlura(wallet, base_url=sandbox.url, timeout=QUICK, retry=ONCE_ONLY, max_body_bytes=1 << 19) as alura,
            AsyncAlura(wallet, base_url=sandbox.url, timeout=QUICK, retry=ONCE_ONLY) as newcomer,
        ):
            await alura.auth.login()
            sandbox.faults.add(fault)
            failures = await asyncio.gather(
                *(fail(exposure, call(alura)) for call in CALLS.values()), fail(exposure, newcomer.user.profile())
            )
            assert fault in ("stray", "idle-close", "drip=1,20ms") or any(failures)
            if fault == "hang":
                caller = asyncio.create_task(fail(exposure, alura.user.withdraw(amount=1)))
                await asyncio.sleep(0.05)
                caller.cancel()
                assert isinstance(await caller, asyncio.CancelledError)
    assert given
    assert wallet.signed
    assert exposure.shown([KEY, *given, *revealed(wallet.signed)]) == []


# --- on raw bytes: replies that hold the secrets themselves, in every shape that can fail


class Server:
    """An Alura whose every secret is known beforehand, and whose replies can be spoiled."""

    def __init__(self, raw: RawServer) -> None:
        self.verified: Answer = reply(json.dumps({"ok": True, "accessToken": TOKEN, "expiresIn": 86400}), "201 Created")
        raw.routes["/auth/evm/challenge"] = [self._challenge]
        raw.routes["/auth/evm/verify"] = [self._verify]
        self.raw = raw

    async def _challenge(self, request: Received, writer: asyncio.StreamWriter) -> bytes:
        address = json.loads(request.body)["address"]
        text = f"Sign in to Alura.\nAddress: {address}\nNonce: nonce-1"
        return reply(json.dumps({"address": address, "nonce": "nonce-1", "message": text}), "201 Created")

    async def _verify(self, request: Received, writer: asyncio.StreamWriter) -> bytes | None:
        if isinstance(self.verified, bytes):
            return self.verified
        return await self.verified(request, writer)


@pytest.fixture
def server(raw: RawServer) -> Server:
    return Server(raw)


def spoiled(fields: dict[str, Any], secret: str) -> dict[str, bytes]:
    """Replies with a secret in them that are not what they should be."""
    body = json.dumps(fields).encode()
    compressed = gzip.compress(body)
    squeezed = {"Content-Encoding": "gzip", "Connection": "close"}
    return {
        "cut": reply(body[:-3], length=len(body), headers={"Connection": "close"}),
        "cut at its length": reply(body[:-3]),
        "chunks cut": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + f"{len(body):x}".encode()
        + b"\r\n"
        + body
        + b"\r\nzz\r\n",
        "gzip cut": reply("", headers=squeezed, length=len(compressed)) + compressed[:-12],
        "no gzip": reply(body, headers=squeezed),
        "wrapped": reply(json.dumps({"result": {"payload": fields}})),
        "renamed": reply(json.dumps({"credential": secret})),
        "of another type": reply(json.dumps({name: {"is": value} for name, value in fields.items()})),
        "a list": reply(json.dumps([secret, fields])),
        "bare": reply(json.dumps(secret)),
        "text": reply(secret, headers={"Content-Type": "text/plain"}),
        "a page": reply(f"<html><body>{secret}</body></html>", headers={"Content-Type": "text/html"}),
        "refused": reply(json.dumps({"success": False, "message": f"no token={secret}", **fields})),
        "quoted in a 400": reply(json.dumps({"statusCode": 400, "message": [f"bad {secret}"], **fields}), "400 Bad"),
        "quoted in a 401": reply(json.dumps({"message": f"bad {secret}", **fields}), "401 No"),
        "quoted in a 500": reply(json.dumps(fields), "500 No"),
        "in a header": reply(body, "400 Bad", headers={"X-Echo": secret}),
        "in a broken header": reply(body, headers={"X-Echo\x00": secret}),
        "in the reason": reply(body, f"400 {secret}"),
        "in place of HTTP": secret.encode() + b"\r\n\r\n" + body,
    }


EXIT = {"ok": True, "accessToken": TOKEN, "tokenType": "Bearer", "expiresIn": 86400}
TRADING_KEY = {"address": "0x" + "a1" * 20, "privateKey": AGENT_KEY}
CLOSING = {"positionId": "p1", "transaction": TRANSACTION, "signature": CLOSE_SIGNATURE}


@pytest.mark.parametrize("kind", spoiled(EXIT, TOKEN))
async def test_no_spoiled_reply_shows_the_secret_that_is_in_it(kind: str, server: Server, exposure: Exposure) -> None:
    wallet = Signs()
    async with AsyncAlura(wallet, base_url=server.raw.url, timeout=QUICK) as alura:
        await alura.auth.login()
        server.raw.routes["/auth/evm/trading-key"] = [spoiled(TRADING_KEY, AGENT_KEY)[kind]]
        server.raw.routes["/trading-sessions/positions/p1/close-signature"] = [spoiled(CLOSING, CLOSE_SIGNATURE)[kind]]
        await fail(exposure, alura.auth.trading_key())
        await fail(exposure, alura.trading_sessions.close_signature("p1"))
        server.verified = spoiled(EXIT, TOKEN)[kind]
        await fail(exposure, alura.auth.login())
        await fail(exposure, alura.send(Auth.verify.request(wallet.address, wallet.signed[0])))
        raw = await alura.send_raw(Auth.verify.request(wallet.address, wallet.signed[0])) if kind == "renamed" else None
        if raw is not None:
            exposure.texts += [repr(raw), repr(raw.request)]
            with pytest.raises(ShapeError) as caught:
                raw.decode()
            exposure.add(caught.value)
            assert TOKEN.encode() in caught.value.raw, "the body is there for who asks for it"
    secrets = [KEY, TOKEN, AGENT_KEY, TRANSACTION, CLOSE_SIGNATURE, *revealed(wallet.signed)]
    assert exposure.shown(secrets) == []


class SignedMessage(tuple[int, str]):
    """What libraries return of which the signature is only a part."""


@pytest.mark.parametrize(
    "form",
    [
        lambda signature: signature.reveal(),
        lambda signature: bytes.fromhex(signature.reveal()[2:]),
        lambda signature: SignedMessage((27, signature.reveal())),
        lambda signature: {"signature": signature.reveal()},
        lambda signature: signature.reveal() + "\n",
        lambda signature: Secret(signature.reveal() + "\x1b[2J"),
    ],
    ids=["text", "bytes", "a tuple", "a dictionary", "with a line end", "with a control"],
)
async def test_no_wallets_signature_shows_when_the_sign_in_fails(
    form: Callable[[Secret], Any], server: Server, exposure: Exposure
) -> None:
    wallet = Signs(form)
    server.verified = reply('{"statusCode":401,"message":"Invalid signature"}', "401 Unauthorized")
    async with AsyncAlura(wallet, base_url=server.raw.url, timeout=QUICK, referral_code="a\nb") as alura:
        assert isinstance(await fail(exposure, alura.auth.login()), SignInError)
    async with AsyncAlura(wallet, base_url=server.raw.url, timeout=QUICK) as alura:
        assert isinstance(await fail(exposure, alura.auth.login()), SignInError)
        server.verified = hang
        assert isinstance(await fail(exposure, alura.auth.login()), AluraError)
        caller = asyncio.create_task(fail(exposure, alura.auth.login()))
        await asyncio.sleep(0.05)
        caller.cancel()
        await caller
    assert exposure.shown([KEY, *revealed(wallet.signed)]) == []


async def test_a_call_that_is_cancelled_or_out_of_time_shows_neither_what_it_sent_nor_what_had_come(
    server: Server, exposure: Exposure
) -> None:
    begun = json.dumps(EXIT).encode()

    async def half(request: Received, writer: asyncio.StreamWriter) -> bytes:
        for piece in (reply(begun, length=len(begun) + 1)[:-5], begun[-5:]):
            writer.write(piece)
            await asyncio.sleep(0.01)
        return await hang(request, writer)

    verify = Auth.verify.request("0x" + "a1" * 20, CLOSE_SIGNATURE)
    slow = Timeouts(call=0.1, read=5)
    for server.verified in (hang, half):
        async with AsyncAlura(token=TOKEN, base_url=server.raw.url, timeout=slow) as alura:
            assert isinstance(await fail(exposure, alura.send(verify)), OutcomeUnknownError)
            caller = asyncio.create_task(fail(exposure, alura.send(verify)))
            await asyncio.sleep(0.05)
            caller.cancel()
            assert isinstance(await caller, asyncio.CancelledError)
    assert exposure.shown([TOKEN, CLOSE_SIGNATURE]) == []


async def test_no_connection_that_breaks_while_a_request_is_written_shows_what_was_written(
    server: Server, exposure: Exposure
) -> None:
    """The frames of asyncio's transports hold the bytes that they could not write."""

    async def slam(request: Received, writer: asyncio.StreamWriter) -> bytes:
        writer.transport.abort()
        return b""

    server.raw.answers = [slam]
    async with AsyncAlura(token=TOKEN, base_url=server.raw.url, timeout=QUICK) as alura:
        for call in CALLS.values():
            await asyncio.gather(*(fail(exposure, call(alura)) for _ in range(5)))
        await fail(
            exposure, alura.user.withdraw(amount=1, extra={"memo": "x" * 1_000_000, "password": Secret(AGENT_KEY)})
        )
    assert exposure.shown([TOKEN, AGENT_KEY]) == []


@pytest.mark.parametrize("base_url", ["https://alura.test", "http://127.0.0.1:1"], ids=["tunnel", "plain"])
@pytest.mark.parametrize("is_of_environment", [False, True], ids=["setting", "environment"])
async def test_no_proxy_that_refuses_shows_its_password(
    base_url: str,
    is_of_environment: bool,
    raw: RawServer,
    exposure: Exposure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw.answers = [reply("no", "407 Proxy Authentication Required"), hang]
    url = f"http://bob:{PROXY_PASSWORD}@127.0.0.1:{raw.port}"
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    chosen: dict[str, Any] = {"trust_env": True} if is_of_environment else {"proxy": url}
    journal = tmp_path / "orders.db"
    async with AsyncAlura(
        token=TOKEN, base_url=base_url, timeout=QUICK, retry=ONCE_ONLY, journal=journal, **chosen
    ) as alura:
        exposure.texts.append(repr(alura))
        for _ in range(2):
            assert isinstance(await fail(exposure, alura.user.close_all_positions()), AluraError)
            assert isinstance(await fail(exposure, alura.user.profile()), AluraError)
        exposure.texts.append(repr(await alura.journal.entries()))
    exposure.texts += in_files(tmp_path)
    assert raw.received
    assert exposure.shown([PROXY_PASSWORD, f"bob:{PROXY_PASSWORD}"]) == []


def in_files(folder: Path) -> list[str]:
    """What is in its files."""
    return [path.read_bytes().decode("latin-1") for path in folder.iterdir()]


@pytest.mark.parametrize(
    "url",
    ["http://bob:{}@proxy:3128", "http://{}@proxy", "socks5h://bob:p@{}@[::1]:1/x@y", "https://{}:@proxy/?a=b"],
)
@pytest.mark.parametrize("around", ["url='{}'", '{{"url": "{}"}}', "<{}>", "see {}, and call bob@home"])
def test_text_that_quotes_a_url_shows_no_password_of_it(url: str, around: str) -> None:
    text = shown(around.format(url.format(PROXY_PASSWORD)), 500)
    assert "://***@" in text
    assert PROXY_PASSWORD not in text
    assert text.endswith(around.format("")[-1])


@pytest.mark.parametrize(
    ("environment", "settings"),
    [
        ({"ALURA_PRIVATE_KEY": KEY, "ALURA_KEYSTORE": "/nowhere"}, {}),
        ({"ALURA_PRIVATE_KEY": KEY[:-1]}, {}),
        ({"ALURA_PRIVATE_KEY": KEY}, {"base_url": "ftp://x"}),
        ({"ALURA_TOKEN": TOKEN + "\n"}, {}),
        ({"ALURA_TOKEN": TOKEN}, {"max_body_bytes": 0}),
        ({"ALURA_KEYSTORE": "/nowhere", "ALURA_KEYSTORE_PASSWORD": AGENT_KEY}, {}),
    ],
    ids=[
        "two keys",
        "a short key",
        "a wrong url",
        "a token with a line end",
        "a wrong setting",
        "no file",
    ],
)
async def test_no_setting_that_cannot_be_used_shows_the_others(
    environment: dict[str, str], settings: dict[str, Any], exposure: Exposure, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for client in (AsyncAlura, Alura):
        with pytest.raises(ConfigurationError) as caught:
            client.from_env(**settings)
        exposure.add(caught.value)
    assert exposure.shown([KEY[:-1], TOKEN, AGENT_KEY]) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"proxy": f"http://bob:{PROXY_PASSWORD}@proxy", "warm": 1},
        {"proxy": f"http://bob:{PROXY_PASSWORD}/@proxy"},
        {"wallet": KEY, "token": TOKEN, "max_body_bytes": 0},
    ],
    ids=["another setting", "the proxy", "besides a wallet and a token"],
)
async def test_no_setting_that_cannot_be_used_shows_what_else_was_given(
    settings: dict[str, Any], exposure: Exposure
) -> None:
    for make in (AsyncAlura, Alura, AsyncAlura.from_env, Alura.from_env):
        with pytest.raises(ConfigurationError) as caught:
            make(**settings)
        exposure.add(caught.value)
    assert exposure.shown([PROXY_PASSWORD, KEY, TOKEN]) == []


def test_an_error_travels_between_processes_without_what_it_hides() -> None:
    unknown = json.dumps({"k": AGENT_KEY}).encode()
    with pytest.raises(ShapeError) as caught:
        Reply(Auth.trading_key.request(), 200, {}, unknown).decode()
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert caught.value.raw == unknown
    assert AGENT_KEY.encode() not in copy.raw


async def test_asyncios_debug_mode_shows_no_secret_in_what_it_says_of_each_callback(server: Server) -> None:
    wallet, gathered = Signs(), Exposure(__file__, exposure_module.__file__)
    async with (
        gathered.everywhere(callbacks=True),
        AsyncAlura(wallet, base_url=server.raw.url, timeout=QUICK) as alura,
    ):
        await alura.auth.login()
        for call in CALLS.values():
            await fail(gathered, call(alura))
        server.raw.answers = [hang]
        await asyncio.gather(*(fail(gathered, call(alura)) for call in CALLS.values()))
    assert any("Executing <" in text for text in gathered.texts)
    assert gathered.shown([KEY, TOKEN, *revealed(wallet.signed)]) == []


# --- text of a server that would move a cursor


async def test_no_control_character_of_a_server_reaches_an_error_or_a_log(server: Server, exposure: Exposure) -> None:
    evil = "\x1b[2J\x07\u202eevil\u2066\x9b31m\u200b"
    escaped = json.dumps({"statusCode": 400, "message": [evil, {"deep": evil}], "error": evil})
    bodies = [
        reply(escaped, "400 Bad"),
        reply(json.dumps({"message": evil}, ensure_ascii=False), "500 No"),
        reply(evil, "400 Bad", headers={"Content-Type": "text/plain"}),
        reply(json.dumps({"success": False, "message": evil})),
        reply(json.dumps({evil: evil})),
        reply("{}", f"400 {evil}"),
        reply("{}", headers={"X-Evil": evil}),
        evil.encode() + b"\r\n\r\n",
        f"HTTP/1.1 2{evil}00 OK\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\nX\x00{evil}: x\r\n\r\n".encode(),
    ]
    async with AsyncAlura(token=TOKEN, base_url=server.raw.url, timeout=QUICK) as alura:
        for body in bodies:
            server.raw.answers = [body]
            for call in CALLS.values():
                error = await fail(exposure, call(alura))
                if error is not None:
                    shown = [str(error), *getattr(error, "messages", ()), getattr(error, "body", "")]
                    assert all(text.isprintable() for text in shown), shown


# --- the search itself


@pytest.mark.parametrize(
    "form",
    [
        lambda secret: secret,
        lambda secret: secret.upper(),
        lambda secret: secret[50:90],
        lambda secret: repr(bytes.fromhex(secret[2:])),
        lambda secret: secret.encode().hex(),
        lambda secret: f"{{'Authorization': 'Bearer {secret}'}}",
    ],
)
async def test_the_search_finds_what_shows(form: Callable[[str], str]) -> None:
    gathered = Exposure(__file__)
    gathered.texts.append(f"before {form(CLOSE_SIGNATURE)} after")
    assert gathered.shown([KEY, CLOSE_SIGNATURE]) != []
    assert gathered.shown([KEY, TOKEN]) == []


async def test_the_search_looks_everywhere(exposure: Exposure) -> None:
    hidden = Secret(AGENT_KEY)
    assert exposure.shown([AGENT_KEY]) == []

    def gathers(work: Callable[[], object]) -> None:
        before = len(exposure.texts)
        work()
        assert exposure.shown([AGENT_KEY]) != []
        del exposure.texts[before:]

    error = error_in_a_frame_of_others(hidden.reveal())
    gathers(lambda: exposure.add(error))
    gathers(lambda: exposure.add(RuntimeError("x", ValueError(AGENT_KEY))))
    gathers(lambda: logging.getLogger("aiohttp.client").debug("%s", AGENT_KEY))
    gathers(lambda: logging.getLogger("others").debug("hello", extra={"call_id": AGENT_KEY}))
    gathers(lambda: asyncio.get_running_loop().call_exception_handler({"message": AGENT_KEY}))


def error_in_a_frame_of_others(secret: str) -> BaseException:
    """An error with a secret in nothing but a local variable of a frame that is not this file's."""
    try:
        json.JSONDecoder().decode(secret)
    except ValueError as error:
        error.args = ("no JSON",)
        vars(error).clear()
        return error
    raise AssertionError
