"""Whatever a server, a file or a token holds, it becomes a value or one of the SDK's own errors. Nothing else.

`nox -s fuzz` takes thousands of examples of each, of these and of the parsers' own tests.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

import alura_async
from alura_async import (
    AluraError,
    AsyncAlura,
    CallError,
    ChallengeRefusedError,
    ConfigurationError,
    DuplicateAssetError,
    InvalidArgumentError,
    JournalError,
    Outcome,
    Request,
    ShapeError,
    SignInError,
    UnresolvedError,
    User,
)
from alura_async.core.challenge import check_challenge
from alura_async.core.entries import intent
from alura_async.core.file_intents import FileIntents
from alura_async.core.messages import LONGEST_HOLD_S, hold_asked, messages_of, retry_after
from alura_async.core.outcome import Reply, is_for_want_of_a_token
from alura_async.core.request import Access, Effect, Route
from alura_async.core.surface import Endpoint
from alura_async.core.token import TokenLock, owner_of
from alura_async.core.token_cache import TokenCache
from alura_async.groups.auth import Challenge, SignIn
from alura_async.secret import Secret

EXAMPLES = int(os.environ.get("ALURA_FUZZ_EXAMPLES", "40"))
fuzzed = settings(max_examples=EXAMPLES, deadline=None)
# Each of these makes a file and uses it.
fuzzed_slowly = settings(max_examples=max(10, EXAMPLES // 4), deadline=None)

GROUPS = (
    alura_async.Auth,
    alura_async.TradingSessions,
    alura_async.User,
    alura_async.Indicators,
    alura_async.Leaderboard,
    alura_async.Referrals,
    alura_async.UsdcVerification,
    alura_async.Health,
)
ROUTES: list[Route[Any]] = [
    found.route for group in GROUPS for found in vars(group).values() if isinstance(found, Endpoint)
]
REFUSALS = frozenset({400, 401, 403, 404, 422, 429})

# What bodies are made of


def names_in(returns: Any) -> set[str]:
    """The names on the wire of all fields of a type, however deep."""
    found: set[str] = set()
    todo, seen = [returns], set[Any]()
    while todo:
        kind = todo.pop()
        todo += getattr(kind, "__args__", ())
        if kind in seen or not isinstance(kind, type) or not issubclass(kind, msgspec.Struct):
            continue
        seen.add(kind)
        for each in msgspec.structs.fields(kind):
            found.add(each.encode_name)
            todo.append(each.type)
    return found


FIELDS = sorted(set().union(*(names_in(route.returns) for route in ROUTES)))
SAID = ["message", "messages", "error", "errors", "statusCode", "status", "success", "ok", "data", "constraints", "$"]
TEXTS = (
    st.text(st.characters(), max_size=20)
    | st.sampled_from(
        ["", " ", "NaN", "-Infinity", "1e999999999", "0x", "9" * 400, "1970-01-01T00:00:00Z",
         "9999-12-31T23:59:59+99:99", "2024-02-30", "-1", "1_0", "٣", "true", "null", "Duplicate asset index: BTC",
         "Builder fee approval failed: x",
         "http request failed", "<b>", "\x1b[2J", "\u202e", "\x00", "active", "closed", "BTC"]
    )
)  # fmt: skip
NUMBERS = (
    st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -1, 1e308, 5e-324, 10**400, 253_402_300_800_000, -62_135_596_800_001])
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.sampled_from(SAID) | st.text(max_size=6), inner, max_size=6)
    ),
    max_leaves=20,
)
# What JSON's grammar has no room for, and some decoders take all the same.
ODD = st.sampled_from(
    [b"NaN", b"[Infinity]", b"-", b"1e999999999", b'{"a":1e400}', b'{"a":1,"a":2}', b'"\\ud800"', b'["\xed\xa0\x80"]',
     b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"[" * 3000, b"[" * 3000 + b"]" * 3000,
     b'{"data":' * 400 + b"1" + b"}" * 400, b"0" * 5000, b'"' + b"x" * 70_000, b"<html><script>" + b"<" * 3000,
     b"\x1f\x8b\x08\x00",
     b"{}{}", b"nul", b"\x00" * 64]
)  # fmt: skip


def written(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


BODIES = st.binary(max_size=60) | ODD | VALUES.map(written) | st.builds(bytes.__add__, VALUES.map(written), ODD)


@st.composite
def bodies_of(draw: st.DrawFn, route: Route[Any]) -> bytes:
    """Bodies that are near what a route returns, then damaged here and there."""
    near = st.dictionaries(st.sampled_from(sorted(names_in(route.returns)) or FIELDS), VALUES, max_size=12)
    body = bytearray(written(draw(near | st.lists(near, max_size=3) | st.fixed_dictionaries({"data": near}))))
    for place, change in draw(st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), max_size=2)):
        body[place : place + len(change)] = change
    return bytes(body[: draw(st.none() | st.integers(0, 400))])


HEADER_NAMES = st.sampled_from(
    ["Retry-After", "retry-after-short", "X-RateLimit-Remaining", "X-RateLimit-Reset", "x-ratelimit-reset-long", "Date",
     "x-ratelimit-remaining-long", "Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding"]
) | st.text(max_size=12)  # fmt: skip
HEADER_VALUES = (
    TEXTS
    | NUMBERS.map(str)
    | st.datetimes().map(lambda moment: f"{moment:%a, %d %b %Y %H:%M:%S} GMT")
    | st.text("0123456789 :,+-GMTJanFebMon", max_size=40)
    | st.sampled_from(
        ["application/json", "text/html; charset=x", "gzip", "chunked", "Mon, 01 Jan 0001 00:00:00 -2359"]
    )
)
HEADERS = st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=6)

# What a terminal or a log must not see: controls, what reorders or hides text, half surrogate pairs, line separators.
UNFIT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def is_fit_to_show(text: str) -> bool:
    return not any(unicodedata.category(character) in UNFIT for character in text)


# Replies


def request_of(route: Route[Any]) -> Request[Any]:
    return route.request(*["x"] * route.template.count(":"))


REPLIES = st.sampled_from(ROUTES).flatmap(
    lambda route: st.builds(
        Reply,
        st.just(request_of(route)),
        st.sampled_from([200, 201, 202, 204, 205, 206, 304, 307, 400, 401, 403, 404, 409, 422, 429, 500, 503])
        | st.integers(100, 999),
        HEADERS.map(CIMultiDict[str]),
        bodies_of(route) | BODIES,
    )
)


@fuzzed
@given(REPLIES)
def test_a_reply_becomes_a_value_or_the_error_of_its_call(reply: Reply[Any]) -> None:
    """And a call that moves money counts as refused only where the server can not have acted."""
    assert isinstance(is_for_want_of_a_token(reply), bool)
    with suppress(ShapeError):
        reply.json()
    assert repr(reply).isprintable()
    request = reply.request
    error: CallError | None = None
    try:
        reply.decode()
    except CallError as raised:
        error = raised
    if error is None:
        assert 200 <= reply.status < 300
        return
    assert (error.method, error.path, error.status) == (request.method, request.path, reply.status)
    assert error.outcome is not Outcome.NOT_SENT
    assert is_fit_to_show(f"{error} {error!r} {' '.join(error.messages)}")
    if error.outcome is Outcome.REJECTED and request.route.effect is Effect.ONCE:
        assert reply.status in REFUSALS or isinstance(error, DuplicateAssetError)
    if error.outcome is Outcome.DONE:
        assert 200 <= reply.status < 300


def test_all_effects_are_among_the_routes_that_are_tried() -> None:
    assert len(ROUTES) == 41
    assert {route.effect for route in ROUTES} == set(Effect)


@fuzzed
@given(BODIES)
def test_what_a_server_says_becomes_a_few_short_lines(body: bytes) -> None:
    messages = messages_of(body)
    assert len(messages) <= 20
    assert all(is_fit_to_show(message) and 0 < len(message) <= 600 for message in messages)


@fuzzed
@given(HEADERS)
@example([("Retry-After", "Mon, 01 Jan 0001 00:00:00 -2359")])
@example([("Retry-After", "٣")])
@example([("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "9999999999999.999999999"), ("Date", "\ud800")])
def test_a_pause_that_headers_ask_for_is_one_or_none(headers: list[tuple[str, str]]) -> None:
    for given_headers in (dict(headers), CIMultiDict(headers)):
        wait, hold = retry_after(given_headers), hold_asked(given_headers)
        assert wait is None or 0 <= wait <= 86_400
        assert hold is None or 0 <= hold <= LONGEST_HOLD_S


# What is to be signed

ADDRESS = "0x" + "aB" * 20
NONCE = "Nonce12345"
SENTENCE = f"Please sign in to Alura with nonce {NONCE}"
HOSTS = ["testnet-api.alura.fun", "127.0.0.1", "::1", "", "[", "a..b"]
PIECES = st.sampled_from(
    [SENTENCE, NONCE, ADDRESS, "https://", "alura.fun", "evil.com", "127.0.0.1", "[::1]", "://", "@", "xn--", "。",
     "0x", "f" * 64, "{", '"', "EIP712Domain", "\n", "\r", "\t", "\u202e", "\ud800", "\ufdfa", "\u0301",
     "\U000e0041", "é"]
)  # fmt: skip


@fuzzed
@given(
    st.text(st.characters(), max_size=300)
    | st.lists(PIECES | TEXTS, max_size=20).map((SENTENCE + " ").__add__("").join),
    st.just(NONCE) | TEXTS,
    st.just(ADDRESS) | TEXTS,
    st.sampled_from(HOSTS) | TEXTS,
)
def test_a_challenge_is_signed_or_refused(message: str, nonce: str, asked: str, host: str) -> None:
    challenge = Challenge(address=asked, nonce=nonce, message=message)
    refused: ChallengeRefusedError | None = None
    try:
        check_challenge(challenge, address=ADDRESS, host=host)
    except ChallengeRefusedError as raised:
        refused = raised
    if refused is not None:
        # The host is the user's own, and shown as it is.
        assert is_fit_to_show(str(refused)) or host not in HOSTS
        return
    assert asked.lower() == ADDRESS.lower()
    assert nonce in message
    assert is_fit_to_show(message.replace("\r\n", "").replace("\n", ""))


# Tokens

TIMES = NUMBERS | st.none() | TEXTS | st.booleans() | st.just(float("nan"))
CLAIMS = st.fixed_dictionaries({}, optional={"exp": TIMES, "iat": TIMES, "sub": VALUES, "address": VALUES}) | VALUES


def jwt(claims: Any) -> str:
    return f"e30.{base64.urlsafe_b64encode(written(claims)).decode().rstrip('=')}.c2ln"


JWTS = (
    CLAIMS.map(jwt)
    | st.binary(max_size=40).map(lambda some: f"e30.{base64.urlsafe_b64encode(some).decode()}.x")
    | st.text(".=_-aA0é\ud800 \n", max_size=30)
    | ODD.map(lambda some: f".{base64.urlsafe_b64encode(some).decode()}.")
    | TEXTS
)


@fuzzed
@given(JWTS)
@example(jwt(json.loads("[" * 900 + "]" * 900)))
def test_a_token_of_the_users_is_taken_or_refused(token: str) -> None:
    assert isinstance(owner_of(token), str)
    with suppress(ConfigurationError):
        assert repr(AsyncAlura(token=token)).isprintable()


def test_a_token_that_is_nested_by_the_thousand_ends_no_process() -> None:
    """eth-account raises Python's recursion limit so high that decoding one overflowed the stack."""
    program = """
import base64, sys
from alura_async import AsyncAlura
sys.setrecursionlimit(100_000)
AsyncAlura(token="e30." + base64.urlsafe_b64encode(b"[" * 90_000).decode() + ".c2ln")
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


_BEARER: Route[Any] = Route("GET", "/user/profile", dict, access=Access.BEARER)


async def _token(lock: TokenLock) -> str | None:
    try:
        found = await lock.get(_BEARER)
        return None if found is None else found.secret.reveal()
    finally:
        await lock.close()


async def _answers(answer: SignIn) -> SignIn:
    return answer


@fuzzed
@given(JWTS | st.just("t0ken"), TIMES)
def test_a_token_of_the_servers_is_used_or_the_sign_in_fails(token: str, expires_in: Any) -> None:
    body = written({"ok": True, "accessToken": token, "tokenType": "Bearer", "expiresIn": expires_in})
    reply = Reply(request_of(alura_async.Auth.verify.route), 201, CIMultiDict[str](), body)
    try:
        answer = reply.decode()
    except CallError:
        return
    with suppress(SignInError):
        assert asyncio.run(_token(TokenLock(partial(_answers, answer)))) == token


SERVER = "https://testnet-api.alura.fun"
ENTRY = st.fixed_dictionaries(
    {}, optional={"token": st.just("kept") | TEXTS, "obtained_at": TIMES | st.just(1.0), "expires_at": TIMES}
)


def cache_of(entries: Any) -> bytes:
    return written({"alura_async": "tokens", "entries": entries})


CACHES = (
    st.binary(max_size=80)
    | st.builds(bytes.__add__, st.just(b'{"alura_async":"tokens"'), st.binary(max_size=80) | ODD)
    | st.fixed_dictionaries({f"{SERVER} {ADDRESS.lower()}": ENTRY | VALUES}).map(cache_of)
    | VALUES.map(cache_of)
)


@fuzzed_slowly
@given(CACHES)
def test_a_token_cache_with_anything_in_it_keeps_nobody_from_signing_in(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens"
        path.write_bytes(content)
        path.chmod(0o600)

        async def address() -> str:
            return ADDRESS

        async def use() -> None:
            cache = TokenCache(path, SERVER, address)
            answer = SignIn(ok=True, access_token=Secret("fresh"), token_type="Bearer", expires_in=3600.0)
            assert await _token(TokenLock(partial(_answers, answer), cache=cache)) is not None
            with suppress(ConfigurationError):
                await cache.remove()

        asyncio.run(use())


# The journal: a file that SQLite takes, and that says what no journal does. Damaged bytes are in `test_intents.py`.


def _entry(amount: int) -> alura_async.JournalEntry:
    request = User.withdraw.request(amount=amount)
    return intent(request, host="api.example.com", account=ADDRESS, within_s=0.0)


def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"

        async def fill() -> None:
            store = FileIntents(path)
            for amount in range(1, 5):
                await store.write(_entry(amount), blocks=True)
            await store.close()

        asyncio.run(fill())
        return path.read_bytes()


JOURNAL = _template()
COLUMNS = st.sampled_from([*alura_async.JournalEntry.__struct_fields__, "number"])
CELLS = (
    st.none() | TEXTS | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary(max_size=20)
    | st.sampled_from(["done", "unknown", "reply", "2024-01-01T00:00:00.000000+00:00", b"\xff\xfe", "x" * 100_000])
)  # fmt: skip
SCHEMAS = st.sampled_from(
    ["DROP TABLE intents", "DROP INDEX intents_unresolved", "ALTER TABLE intents DROP COLUMN detail",
     "DELETE FROM intents", "ALTER TABLE intents RENAME TO other", "ALTER TABLE intents ADD COLUMN more",
     "PRAGMA user_version = 0",
     "PRAGMA user_version = -1", "PRAGMA user_version = 99", "PRAGMA application_id = 7",
     "CREATE VIEW v AS SELECT * FROM nowhere",
     "CREATE TRIGGER t BEFORE INSERT ON intents BEGIN SELECT RAISE(ABORT, 'no'); END",
     "CREATE TRIGGER t BEFORE UPDATE ON intents BEGIN SELECT RAISE(FAIL, 'no'); END",
     "CREATE TRIGGER t AFTER INSERT ON intents BEGIN DELETE FROM intents; END"]
)  # fmt: skip


@fuzzed_slowly
@given(st.lists(st.tuples(COLUMNS, CELLS), max_size=3), st.none() | SCHEMAS)
def test_a_journal_that_somebody_changed_raises_nothing_but_its_own_errors(
    cells: list[tuple[str, Any]], change: str | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(JOURNAL)
        path.chmod(0o600)
        with closing(sqlite3.connect(path)) as connection:
            for column, value in cells:
                # Not every column takes everything.
                with suppress(sqlite3.Error, UnicodeError):
                    statement = f"UPDATE intents SET {column} = ? WHERE number = 2"
                    connection.execute(statement, (value,))
            connection.commit()
            if change is not None:
                connection.execute(change)
                connection.commit()

        async def use() -> None:
            store = FileIntents(path)
            uses: list[Callable[[], Any]] = [
                store.unresolved,
                store.entries,
                lambda: store.since(datetime.now(UTC) - timedelta(days=9999)),
                lambda: store.those(["0" * 32]),
                lambda: store.creates("api.example.com", datetime.now(UTC) - timedelta(days=9999), ["ses_1"]),
                lambda: store.get("0" * 32),
                lambda: store.write(_entry(2), blocks=True),
                lambda: store.write(_entry(9), blocks=False),
                lambda: store.settle("abcdef", Outcome.DONE),
            ]
            for used in uses:
                with suppress(JournalError, UnresolvedError, InvalidArgumentError):
                    await used()
            await store.close()

        asyncio.run(use())


@pytest.mark.parametrize("kind", [JournalError, UnresolvedError, InvalidArgumentError, ConfigurationError, SignInError])
def test_what_is_let_through_above_is_in_the_tree(kind: type[Exception]) -> None:
    assert issubclass(kind, AluraError)
