"""What is written down lasts: crashes, other processes, forks, full disks and damaged files."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import example, given, settings
from hypothesis import strategies as st

import alura_async.core.file_intents
from alura_async import (
    ClosedError,
    ConfigurationError,
    InvalidArgumentError,
    JournalEntry,
    JournalError,
    Outcome,
    SettledBy,
    TradingSessions,
    UnresolvedError,
    User,
)
from alura_async.core.entries import fingerprint, intent
from alura_async.core.file_intents import FileIntents
from alura_async.core.intents import Intents, MemoryIntents
from alura_async.core.request import Action
from alura_async.core.rivals import note_create, rivals

pytestmark = pytest.mark.anyio

on_posix = pytest.mark.skipif(os.name != "posix", reason="modes, owners and limits are POSIX's")
not_as_root = pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write everywhere")

DESTINATION = "0x" + "ab" * 20
WALLET = "0x" + "12" * 20
DONE, REJECTED, UNKNOWN, NOT_SENT = Outcome.DONE, Outcome.REJECTED, Outcome.UNKNOWN, Outcome.NOT_SENT
REPLY = SettledBy.REPLY


def transfer(amount: int = 5, *, age_s: float = 0.0, within_s: float = 10.0, **changes: Any) -> JournalEntry:
    """The entry of a transfer that is about to be made, or was some seconds ago."""
    request = User.send_usdc.request(amount=amount, destination=DESTINATION)
    entry = intent(request, host="api.example.com", account="0xAB", within_s=within_s)
    age = timedelta(seconds=age_s)
    return msgspec.structs.replace(
        entry, created_at=entry.created_at - age, expires_at=entry.expires_at - age, **changes
    )


async def died(store: Intents, *entries: JournalEntry) -> None:
    """What a process leaves behind that wrote intents and died: they are nobody's any more."""
    await store.entries()
    for entry in entries:
        await store.write(entry, blocks=False)
    await store.close()


def leave_behind(path: Path, *entries: JournalEntry) -> None:
    """A journal of a process that died."""
    asyncio.run(died(FileIntents(path), *entries))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture(params=["memory", "file"])
async def store(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Intents]:
    made = MemoryIntents() if request.param == "memory" else FileIntents(path)
    yield made
    await made.close()


@pytest.fixture
async def file(path: Path) -> AsyncIterator[FileIntents]:
    made = FileIntents(path)
    yield made
    await made.close()


# What both stores promise


async def test_an_entry_is_found_as_it_was_written_and_with_what_became_of_it(store: Intents) -> None:
    entry = transfer()
    await store.write(entry, blocks=True)
    assert await store.get(entry.id) == entry
    store.conclude(entry.id, DONE, REPLY, detail="as it should be", result_id="trf_1")
    found = await store.get(entry.id)
    assert found is not None
    assert found.is_resolved
    assert found.settled_at is not None
    assert datetime.now(UTC) - found.settled_at < timedelta(seconds=30)
    assert (found.outcome, found.settled_by, found.detail, found.result_id) == (DONE, REPLY, "as it should be", "trf_1")
    assert await store.get("0" * 32) is None


async def test_entries_come_newest_first_and_the_unresolved_oldest_first(store: Intents) -> None:
    written = [transfer(amount) for amount in (1, 2, 3, 4)]
    for entry in written:
        await store.write(entry, blocks=True)
    store.conclude(written[1].id, DONE, REPLY)
    for entry in (written[3], written[0]):
        store.conclude(entry.id, UNKNOWN, REPLY)
    assert [entry.id for entry in await store.entries()] == [entry.id for entry in reversed(written)]
    assert [entry.id for entry in await store.entries(limit=2)] == [written[3].id, written[2].id]
    # The third is under way.
    assert [entry.id for entry in await store.unresolved()] == [written[0].id, written[3].id]


async def test_since_gives_what_was_written_from_a_moment_on(store: Intents) -> None:
    old, new = transfer(1, age_s=3600), transfer(2, age_s=10)
    for entry in (old, new):
        await store.write(entry, blocks=False)
    now = datetime.now(UTC)
    assert [entry.id for entry in await store.since(now - timedelta(minutes=1))] == [new.id]
    assert [entry.id for entry in await store.since(old.created_at)] == [old.id, new.id]
    assert await store.since(now) == []


async def test_since_gives_only_what_does_the_same_with_money_where_that_is_asked_for(store: Intents) -> None:
    moved = transfer()
    close = intent(User.close_all_positions.request(), host="api.example.com", account="0xAB", within_s=10)
    for entry in (moved, close):
        await store.write(entry, blocks=False)
    assert [entry.id for entry in await store.since(moved.created_at, Action.CLOSE)] == [close.id]
    assert [entry.id for entry in await store.since(moved.created_at, Action.TRANSFER)] == [moved.id]
    assert await store.since(moved.created_at, Action.OPEN) == []
    assert len(await store.since(moved.created_at, Action.OPEN, Action.TRANSFER, Action.CLOSE)) == 2


async def test_entries_are_found_by_their_ids_those_that_there_are(store: Intents) -> None:
    written = [transfer(amount) for amount in (1, 2, 3)]
    for entry in written:
        await store.write(entry, blocks=False)
    store.conclude(written[2].id, REJECTED, REPLY)
    ids = [written[0].id, *(f"{number:032x}" for number in range(2000)), written[2].id]
    found = {entry.id: entry.outcome for entry in await store.those(ids)}
    assert found == {written[0].id: None, written[2].id: REJECTED}
    assert await store.those([]) == []


async def test_two_identical_calls_at_once_are_deliberate(store: Intents) -> None:
    one, two = transfer(), transfer()
    await asyncio.gather(store.write(one, blocks=True), store.write(two, blocks=True))
    assert len(await store.entries()) == 2


async def test_an_unresolved_call_blocks_an_identical_one_until_it_is_settled(store: Intents) -> None:
    entry = transfer()
    await store.write(entry, blocks=True)
    store.conclude(entry.id, UNKNOWN, REPLY)
    with pytest.raises(UnresolvedError) as refused:
        await store.write(transfer(), blocks=True)
    assert refused.value.entry_id == entry.id
    await store.write(transfer(6), blocks=True)
    await store.write(transfer(), blocks=False)
    settled = await store.settle(entry.id[:8], DONE, "seen on the chain")
    assert (settled.outcome, settled.settled_by, settled.detail) == (DONE, SettledBy.HAND, "note: seen on the chain")
    assert await store.get(entry.id) == settled
    await store.write(transfer(), blocks=True)


async def test_what_is_known_does_not_become_unknown_again(store: Intents) -> None:
    entry = transfer()
    await store.write(entry, blocks=True)
    store.conclude(entry.id, UNKNOWN, REPLY, detail="no complete reply")
    unknown = await store.get(entry.id)
    assert unknown is not None
    assert (unknown.outcome, unknown.settled_at, unknown.settled_by) == (UNKNOWN, None, None)
    store.conclude(entry.id, DONE, SettledBy.READING)
    store.conclude(entry.id, UNKNOWN, REPLY, detail="late")
    found = await store.get(entry.id)
    assert found is not None
    assert (found.outcome, found.settled_by, found.detail) == (DONE, SettledBy.READING, "no complete reply")


async def test_what_cannot_be_settled_says_why(store: Intents) -> None:
    first, second = transfer(1, id="abcdef" + "1" * 26), transfer(2, id="abcdef" + "2" * 26)
    for entry in (first, second):
        await store.write(entry, blocks=True)
    with pytest.raises(InvalidArgumentError, match="under way in this process"):
        await store.settle(first.id, DONE)
    for entry in (first, second):
        store.conclude(entry.id, UNKNOWN, REPLY)
    with pytest.raises(InvalidArgumentError, match=f"several begin like this.*{first.id}, {second.id}"):
        await store.settle("ABCDEF", DONE)
    with pytest.raises(InvalidArgumentError, match="no such entry"):
        await store.settle("123456", DONE)
    for useless in ("abcde", "", "ghijkl", "%", first.id + "0", None):
        with pytest.raises(InvalidArgumentError, match="at least 6 digits"):
            await store.settle(useless, DONE)  # type: ignore[arg-type]
    await store.settle(first.id[:7], REJECTED)
    with pytest.raises(InvalidArgumentError, match="is resolved already: rejected, by hand at 20"):
        await store.settle(first.id, DONE)


async def test_an_id_is_written_once(store: Intents) -> None:
    entry = transfer()
    await store.write(entry, blocks=False)
    other = transfer(2)
    results = await asyncio.gather(
        store.write(entry, blocks=False), store.write(other, blocks=False), return_exceptions=True
    )
    assert isinstance(results[0], JournalError)
    assert await store.get(other.id) == other


async def test_texts_of_a_server_are_neutralised_redacted_and_clipped(store: Intents) -> None:
    entry = transfer()
    await store.write(entry, blocks=False)
    store.conclude(entry.id, UNKNOWN, REPLY, detail="\x1b[31m\u202e\ud800 token: hunter22 " + "x" * 9999)
    found = await store.get(entry.id)
    assert found is not None
    assert found.detail.isprintable()
    assert "hunter22" not in found.detail
    assert len(found.detail) < 600


async def test_a_conclusion_of_an_unknown_call_changes_nothing(store: Intents) -> None:
    store.conclude("0" * 32, NOT_SENT, REPLY)
    assert await store.entries() == []


async def test_memory_forgets_resolved_entries_beyond_some_thousands_and_no_unresolved_one() -> None:
    store = MemoryIntents()
    unknown = [transfer(amount) for amount in range(1, 4)]
    for entry in unknown:
        await store.write(entry, blocks=True)
        store.conclude(entry.id, UNKNOWN, REPLY)
    template = transfer(9)
    for number in range(6000):
        entry = msgspec.structs.replace(template, id=f"{number:032x}")
        await store.write(entry, blocks=True)
        store.conclude(entry.id, DONE, REPLY)
    assert [entry.id for entry in await store.unresolved()] == [entry.id for entry in unknown]
    assert len(await store.entries(limit=10_000)) == 5000 + len(unknown)
    assert await store.get(f"{0:032x}") is None
    assert await store.get(f"{5999:032x}") is not None


# What an entry says


def test_an_entry_tells_what_is_done_with_which_money() -> None:
    entry = transfer(5, within_s=7)
    assert (entry.method, entry.path, entry.action.value) == ("POST", "/user/send-usdc", "transfer")
    assert json.loads(entry.body) == {"amount": 5, "destination": DESTINATION}
    assert (entry.host, entry.account, entry.pid) == ("api.example.com", "0xab", os.getpid())
    assert entry.expires_at - entry.created_at == timedelta(seconds=7)
    assert len(entry.id) == 32
    assert entry.id != transfer(5).id
    assert transfer(within_s=float("inf")).may_be_under_way


def fingerprint_of(body: str, **changes: str) -> str:
    facts = {"method": "POST", "path": "/p"} | changes
    return fingerprint(facts["method"], facts["path"], body.encode())


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ('{"a":5,"b":[1,"x"]}', '{ "b": [1.0, "x"], "a": 5.00 }'),
        ('{"a":5e2}', '{"a":500}'),
        ('{"a":0.10}', '{"a":1e-1}'),
        ('{"a":-0.0}', '{"a":0}'),
        ('{"a":5.0}', '{"a":"5"}'),
        ('{"a":1e-1}', '{"a":" +00.10 "}'),
        (f'{{"to":"0x{"aB" * 20}"}}', f'{{"to":"0X{"Ab" * 20}"}}'),
        ('{"a":["BTC"]}', '{"a":["btc "]}'),
        ('{"a":123456789012345678901234567890.123456789}', '{"a":123456789012345678901234567890.1234567890}'),
    ],
)
def test_order_of_keys_spelling_of_numbers_and_case_make_no_other_call(one: str, same: str) -> None:
    assert fingerprint_of(one) == fingerprint_of(same)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":5}', '{"a":"five"}'),
        ('{"a":5}', '{"a":"0x5"}'),
        ('{"a":1}', '{"a":true}'),
        ('{"a":0}', '{"a":null}'),
        ('{"a":5}', '{"a":-5}'),
        ('{"a":5}', '{"a":50}'),
        ('{"a":[1,2]}', '{"a":[2,1]}'),
        ('{"a":1234567890123456789012345678901}', '{"a":1234567890123456789012345678902}'),
        ("not json", "not json either"),
    ],
)
def test_another_value_is_another_call(one: str, other: str) -> None:
    assert fingerprint_of(one) != fingerprint_of(other)


def test_another_method_or_path_is_another_call() -> None:
    changes: list[dict[str, str]] = [{}, {"method": "PUT"}, {"path": "/q"}, {"path": "/p?a=1"}]
    assert len({fingerprint_of("{}", **change) for change in changes}) == len(changes)


def test_no_secret_gets_into_an_entry() -> None:
    key, jwt = "0x" + "c0ffee12" * 8, "eyJhbGciOi.eyJzdWIi.c2ln"
    extra = {
        "signature": "short",
        "apiKey": 12,
        "deep": [{"Trading-Key": {"a": "hunter22"}}],
        "memo": f"is {key}",
        jwt: jwt,
    }
    entry = intent(User.withdraw.request(amount="12.50", extra=extra), host="api.example.com", account="", within_s=10)
    for secret in (key, key[2:], jwt, "short", "hunter22"):
        assert secret not in repr(entry)
    body = json.loads(entry.body)
    assert (body["amount"], body["signature"], body["apiKey"], body["memo"]) == (12.5, "***", "***", "is ***")
    assert '"amount":12.50' in entry.body


# Names of one account or server


def create(host: str = "https://api.example.com", account: str = WALLET, **changes: Any) -> JournalEntry:
    """The entry of a create that is about to be made."""
    request = TradingSessions.create.request(budget=100, profit_target=40, asset="BTC")
    return msgspec.structs.replace(intent(request, host=host, account=account, within_s=10), **changes)


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("https://h", "https://h:443"),
        ("http://h", "http://h:80"),
        ("https://h", "HTTPS://H."),
        ("https://h:443/v1", "https://h./v1/"),
        ("https://h/v1", "https://h//x/../%761/"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://192.0.2.1", "https://[::ffff:192.0.2.1]"),
        ("http://localhost:8080", "http://127.0.0.1:8080"),
        ("http://LOCALHOST.:8080", "http://[::1]:8080"),
        ("http://[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080"),
        ("http://[2001:db8::1]", "http://[2001:DB8:0::1]:80"),
        ("api.example.com", "API.example.com"),
    ],
)
async def test_one_server_is_one_however_it_is_written(store: Intents, one: str, same: str) -> None:
    await store.write(earlier := create(one), blocks=True)
    store.conclude(earlier.id, UNKNOWN, REPLY)
    with pytest.raises(UnresolvedError, match=earlier.id):
        await store.write(create(same), blocks=True)
    assert [entry.id for entry in await rivals(create(same), store, ())] == [earlier.id]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://h", "https://h:8443"),
        ("https://h", "http://h"),
        ("https://h", "https://h.example"),
        ("https://h/testnet", "https://h/mainnet"),
        ("http://127.0.0.1:8080", "http://127.0.0.2:8080"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8081"),
        ("http://[::1", "http://[::2"),
    ],
)
async def test_two_servers_stay_two(store: Intents, one: str, other: str) -> None:
    await store.write(earlier := create(one), blocks=True)
    store.conclude(earlier.id, UNKNOWN, REPLY)
    ours = create(other)
    assert await rivals(ours, store, ()) == []
    await store.write(ours, blocks=True)


@pytest.mark.parametrize(
    ("one", "other"), [(WALLET, "user_7"), ("user_7", WALLET), ("", WALLET), ("a", "b"), (WALLET, "")]
)
async def test_an_account_that_may_be_the_same_blocks_and_the_refusal_says_what_to_do(
    store: Intents, one: str, other: str
) -> None:
    await store.write(earlier := create(account=one), blocks=True)
    store.conclude(earlier.id, UNKNOWN, REPLY)
    with pytest.raises(UnresolvedError) as refused:
        await store.write(create(account=other), blocks=True)
    assert earlier.id in str(refused.value)
    for name in filter(None, (one, other)):
        assert f"the account {name}" in str(refused.value)
    assert "if they are two, give each a journal of its own" in str(refused.value)
    await store.settle(earlier.id, REJECTED)
    await store.write(create(account=other), blocks=True)


async def test_two_wallets_are_two_accounts_and_one_is_asked_about_no_names(store: Intents) -> None:
    await store.write(earlier := create(), blocks=True)
    store.conclude(earlier.id, UNKNOWN, REPLY)
    await store.write(create(account="0x" + "cd" * 20), blocks=True)
    with pytest.raises(UnresolvedError) as refused:
        await store.write(create(), blocks=True)
    assert "account 0x" not in str(refused.value)


# Other creates


async def test_creates_in_a_shared_file_are_known_though_some_that_share_it_are_closed(path: Path) -> None:
    rival, ours = create(), create()
    stores = [FileIntents(path) for _ in range(8)]
    *closed, last = stores
    await last.write(rival, blocks=True)
    await last.write(transfer(), blocks=True)
    for store in closed:
        await store.entries()
        await store.close()
    assert [entry.id for entry in await rivals(ours, last, ())] == [rival.id]
    await last.close()


async def test_what_somebody_found_out_about_a_create_is_known_better_than_what_its_client_knew() -> None:
    rival, ours = create(), create()
    store = MemoryIntents()
    await store.write(rival, blocks=True)
    store.conclude(rival.id, Outcome.UNKNOWN, SettledBy.REPLY)
    note_create(rival, Outcome.UNKNOWN)
    assert [known.outcome for known in await rivals(ours, store, ())] == [Outcome.UNKNOWN]
    await store.settle(rival.id, Outcome.REJECTED)
    assert await rivals(ours, store, ()) == []


async def test_a_create_matters_where_it_may_have_made_one_of_the_sessions_that_were_read(store: Intents) -> None:
    account = f"0x{type(store).__name__}"
    ours = create(account=account)
    ends: list[tuple[Outcome | None, str | None]] = [
        (None, None),
        (UNKNOWN, None),
        (DONE, None),
        (DONE, "ses_1"),
        (DONE, "ses_10"),
        (Outcome.REJECTED, None),
        (Outcome.NOT_SENT, None),
    ]
    others = [create(account=account) for _ in ends]
    long_ago = create(account=account, created_at=ours.created_at - timedelta(seconds=3700))
    elsewhere = create("https://other.example.com", account)
    for entry in (*others, elsewhere, long_ago):
        await store.write(entry, blocks=False)
    store.conclude(long_ago.id, DONE, REPLY)
    for entry, (outcome, result_id) in zip(others, ends, strict=True):
        if outcome is not None:
            store.conclude(entry.id, outcome, REPLY, result_id=result_id)
    named = {entry.id: place for place, entry in enumerate(others)}

    async def found(*sessions: str) -> list[int]:
        return [named[entry.id] for entry in await rivals(ours, store, sessions)]

    since = ours.created_at - timedelta(hours=1)
    assert [entry.id for entry in await store.creates("https://other.example.com:443", since, ())] == [elsewhere.id]
    assert await found() == [0, 1, 2]
    assert await found("ses_10", "ses_2") == [0, 1, 2, 4]
    assert await found(*(f"ses_{number}" for number in range(40_000))) == [0, 1, 2, 3, 4]
    # Of a client with another journal: what this process knows of them is the same.
    for entry, (outcome, result_id) in zip(others, ends, strict=True):
        note_create(entry)
        note_create(entry, outcome, result_id)
    store = MemoryIntents()
    assert await found("ses_10") == [0, 1, 2, 4]
    await store.close()


STEPS = [timedelta(days=-90), timedelta(hours=-2), timedelta(hours=2), timedelta(days=90)]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("outcome", "result_id"), [(None, None), (UNKNOWN, None), (DONE, None), (DONE, "ses_1")])
async def test_a_clock_that_is_changed_hides_no_create_of_this_process(
    step: timedelta, outcome: Outcome | None, result_id: str | None
) -> None:
    rival = create(account=f"0xR{step}{outcome}{result_id}")
    note_create(rival)
    if outcome is not None:
        note_create(rival, outcome, result_id)
    ours = create(account=rival.account, created_at=rival.created_at + step)
    for noted in (False, True):
        if noted:
            note_create(ours)
        assert [entry.id for entry in await rivals(ours, MemoryIntents(), ["ses_1"])] == [rival.id]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("outcome", "result_id"), [(None, None), (UNKNOWN, None), (DONE, "ses_1")])
async def test_a_clock_that_is_changed_hides_no_create_of_another_process(
    path: Path, step: timedelta, outcome: Outcome | None, result_id: str | None
) -> None:
    rival = create(account="0xR0")
    leaving = FileIntents(path)
    await leaving.write(rival, blocks=True)
    if outcome is not None:
        leaving.conclude(rival.id, outcome, REPLY, result_id=result_id)
    await leaving.close()
    store = FileIntents(path)
    ours = create(account=rival.account, created_at=rival.created_at + step)
    assert [entry.id for entry in await rivals(ours, store, ["ses_1", "ses_2"])] == [rival.id]
    await store.close()


async def test_what_a_process_knows_of_creates_is_bounded() -> None:
    ours, first, last = (create(account="0xR2") for _ in range(3))
    store = MemoryIntents()
    note_create(first, DONE, "ses_1")
    assert len(await rivals(ours, store, ["ses_1"])) == 1
    for number in range(10_000):
        note_create(msgspec.structs.replace(last, id=f"{number:032x}"), DONE, f"other_{number}")
    assert await rivals(ours, store, ["ses_1"]) == []
    assert len(await rivals(ours, store, ["other_5000", "other_9999"])) == 2


async def test_of_too_many_creates_those_are_kept_of_which_nobody_knows_what_they_made() -> None:
    account = "0xR4"
    ours, lost, handed, late = (create(account=account) for _ in range(4))
    note_create(lost)
    note_create(lost, UNKNOWN)
    note_create(handed)
    note_create(handed, DONE)
    note_create(late)
    for number in range(10_000):
        note_create(msgspec.structs.replace(ours, id=f"{number:032x}"), DONE, f"other_{number}")
    found = await rivals(ours, MemoryIntents(), ["other_0", "other_9999"])
    assert {entry.id for entry in found} == {lost.id, handed.id, late.id, f"{9999:032x}"}
    for number in range(10_000):
        note_create(msgspec.structs.replace(ours, account="0xR5", id=f"{number:032x}"), UNKNOWN)
    assert await rivals(ours, MemoryIntents(), ()) == []
    for number in range(10_000):
        note_create(msgspec.structs.replace(ours, id=f"{number:032x}"), REJECTED)


@pytest.mark.parametrize(("outcome", "within_s"), [(None, 7200), (UNKNOWN, 7200), (DONE, 3600)])
def test_creates_are_forgotten_when_no_call_can_ask_for_them_any_more(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome | None, within_s: int
) -> None:
    rival = create(account=f"0xR3{outcome}")
    note_create(rival)
    note_create(rival, outcome)
    real = time.monotonic
    for later_s, expected in ((within_s - 1, [rival.id]), (within_s + 1, [])):
        ours = create(account=rival.account)
        with monkeypatch.context() as later:
            later.setattr(time, "monotonic", lambda later_s=later_s: real() + later_s)
            note_create(ours)
        found = asyncio.run(rivals(ours, MemoryIntents(), ()))
        note_create(ours, REJECTED)
        assert [entry.id for entry in found] == expected


# What the file promises


def test_nothing_is_made_before_the_first_use(path: Path) -> None:
    asyncio.run(FileIntents(path).close())
    assert not path.exists()


@on_posix
async def test_the_file_and_its_companions_are_private_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        store = FileIntents(path)
        await store.write(transfer(), blocks=True)
        modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
        assert modes == {"journal": 0o600, "journal-wal": 0o600, "journal-shm": 0o600}
        await store.close()
    finally:
        os.umask(before)
    assert [found.name for found in path.parent.iterdir()] == ["journal"]


async def test_what_was_written_is_there_after_closing_and_opening(path: Path) -> None:
    entry = transfer(age_s=60)
    await died(FileIntents(path), entry)
    store = FileIntents(path)
    assert await store.unresolved() == [entry]
    with pytest.raises(UnresolvedError):
        await store.write(transfer(), blocks=True)
    await store.close()


async def test_the_refusal_says_what_was_called_when_by_whom_and_what_to_do(path: Path) -> None:
    entry = transfer(age_s=60, pid=4711)
    await died(FileIntents(path), entry)
    store = FileIntents(path)
    with pytest.raises(UnresolvedError) as refused:
        await store.write(transfer(), blocks=True)
    await store.close()
    said = str(refused.value)
    for part in (
        "POST /user/send-usdc was not sent",
        f"{entry.created_at:%Y-%m-%d %H:%M:%S} UTC by process 4711",
        f'alura.journal.settle("{entry.id}", "done")',
        f"alura journal {path} settle {entry.id} done|rejected",
    ):
        assert part in said
    assert "under way" not in said


async def test_what_another_process_may_have_under_way_blocks_and_cannot_be_settled_yet(path: Path) -> None:
    ours, theirs = FileIntents(path), FileIntents(path)
    entry = transfer()
    await theirs.write(entry, blocks=True)
    with pytest.raises(UnresolvedError, match="may still be under way, until"):
        await ours.write(transfer(), blocks=True)
    with pytest.raises(InvalidArgumentError, match=f"process {os.getpid()} may still be making this call"):
        await ours.settle(entry.id, DONE)
    assert [found.id for found in await ours.unresolved()] == [entry.id]
    theirs.conclude(entry.id, DONE, REPLY)
    await theirs.close()
    await ours.write(transfer(), blocks=True)
    await ours.close()


async def test_resolved_entries_are_removed_after_90_days_and_unresolved_ones_never(path: Path) -> None:
    day = 24 * 3600.0
    long_ago = datetime.now(UTC) - timedelta(days=91)
    resolved: dict[str, Any] = {"outcome": DONE, "settled_by": REPLY}
    old = transfer(1, age_s=91 * day, settled_at=long_ago, **resolved)
    settled_late = transfer(2, age_s=91 * day, settled_at=datetime.now(UTC), **resolved)
    recent = transfer(3, age_s=89 * day, settled_at=datetime.now(UTC) - timedelta(days=89), **resolved)
    unknown, crashed = transfer(4, age_s=999 * day, outcome=UNKNOWN), transfer(5, age_s=999 * day)
    await died(FileIntents(path, keep_days=None), old, settled_late, recent, unknown, crashed)
    keeps_all = FileIntents(path, keep_days=None)
    assert len(await keeps_all.entries()) == 5
    await keeps_all.close()
    store = FileIntents(path)
    assert {entry.id for entry in await store.entries()} == {
        entry.id for entry in (settled_late, recent, unknown, crashed)
    }
    await store.close()


async def test_a_closed_journal_says_so_and_still_takes_what_became_of_a_call(path: Path) -> None:
    store = FileIntents(path)
    entry = transfer()
    await store.write(entry, blocks=True)
    await store.close()
    await store.close()
    with pytest.raises(ClosedError, match="was closed"):
        await store.write(transfer(2), blocks=True)
    store.conclude(entry.id, DONE, REPLY)
    for thread in [found for found in threading.enumerate() if found.name == "alura-journal"]:
        thread.join()
    after = FileIntents(path)
    found = await after.get(entry.id)
    await after.close()
    assert found is not None
    assert found.outcome is DONE


async def test_a_cancelled_write_is_concluded_whichever_way_it_went(file: FileIntents) -> None:
    await file.entries()
    cancelled: list[str] = []
    for number in range(60):
        entry = transfer(number + 1)
        task = asyncio.create_task(file.write(entry, blocks=True))
        # From before it is queued to after it is on the disk.
        for _ in range(number % 20):
            await asyncio.sleep(0)
        if number >= 40:
            await asyncio.sleep(number % 10 / 5000)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            cancelled.append(entry.id)
            file.conclude(entry.id, NOT_SENT, REPLY)
    assert cancelled
    outcomes = {entry.id: entry.outcome for entry in await file.entries(limit=1000)}
    assert {outcomes.get(entry_id, NOT_SENT) for entry_id in cancelled} == {NOT_SENT}
    assert await file.unresolved() == []


async def test_many_intents_that_wait_together_are_written_together(file: FileIntents) -> None:
    await file.entries()
    entries = [transfer(number + 1) for number in range(300)]
    commits = 0

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    intents: Any = alura_async.core.file_intents
    await file._do(intents._Read(lambda worker, file: file._connection.set_trace_callback(count)))
    await asyncio.gather(*(file.write(entry, blocks=True) for entry in entries))
    assert 1 <= commits <= 30
    assert len(await file.entries(limit=1000)) == 300


def test_several_event_loops_in_several_threads_share_one_store(path: Path) -> None:
    store = FileIntents(path)

    async def write(first: int) -> None:
        for number in range(first, first + 40):
            entry = transfer(number)
            await store.write(entry, blocks=True)
            store.conclude(entry.id, DONE, REPLY)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda first: asyncio.run(write(first)), (1, 101, 201)))
    entries = asyncio.run(store.entries(limit=1000))
    asyncio.run(store.close())
    assert len(entries) == 120
    assert {entry.outcome for entry in entries} == {DONE}


# What cannot be a journal


def refusal(path: Path | str, **settings: Any) -> str:
    """Why a file is refused, to whoever reads and to whoever writes."""

    async def use() -> str:
        store = FileIntents(path, **settings)
        try:
            with pytest.raises(JournalError) as reading:
                await store.unresolved()
            with pytest.raises(JournalError) as writing:
                await store.write(transfer(), blocks=True)
        finally:
            await store.close()
        assert str(reading.value) == str(writing.value)
        return str(reading.value)

    return asyncio.run(use())


@pytest.mark.parametrize("path", ["", "  ", ":memory:", "file:x.db", "folder/", "a\0b", None, 5, b"bytes"])
def test_what_is_no_path_of_a_file_is_refused_at_once(path: Any) -> None:
    with pytest.raises(ConfigurationError, match="give the path of a file"):
        FileIntents(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is a folder: give the path of a file" in refusal(tmp_path)


def test_a_folder_that_is_not_there_is_a_mistyped_path_and_not_made(tmp_path: Path) -> None:
    said = refusal(tmp_path / "ordres" / "2026" / "journal")
    assert f"{tmp_path / 'ordres' / '2026'}: there is no such folder: check the path, or make the folder" in said
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_text("my notes\n" * 100)
    path.chmod(0o600)
    assert "is no journal: give the journal another path" in refusal(path)
    assert path.read_text() == "my notes\n" * 100


def test_an_empty_file_is_refused_since_it_may_have_been_a_journal(path: Path) -> None:
    path.touch(0o600)
    assert "is empty" in refusal(path)


def test_a_database_of_something_else_is_refused_and_left_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE intents (id TEXT)")
    connection.close()
    path.chmod(0o600)
    before = path.read_bytes()
    assert "is a database of something else" in refusal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, 99])
def test_another_version_is_refused(path: Path, version: int) -> None:
    leave_behind(path, transfer())
    change_version(path, version)
    assert f"has version {version}" in refusal(path)


async def test_another_release_that_changes_the_file_is_missed_by_none_that_has_it_open(
    path: Path, file: FileIntents
) -> None:
    await file.write(known := transfer(1), blocks=True)
    change_version(path, 2)
    for entry in (transfer(2), transfer(3)):
        with pytest.raises(JournalError, match="has version 2"):
            await file.write(entry, blocks=True)
    change_version(path, 1)
    assert [entry.id for entry in await file.entries()] == [known.id]


def change_version(path: Path, version: int) -> None:
    """Do what a release does that changes a file."""
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


def test_an_index_that_hides_an_unresolved_call_is_noticed(path: Path) -> None:
    leave_behind(path, transfer(outcome=DONE))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        index = connection.execute("SELECT * FROM sqlite_master WHERE name = 'intents_unresolved'").fetchone()
        connection.execute("DELETE FROM sqlite_master WHERE name = 'intents_unresolved'")
    connection.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE intents SET outcome = 'unknown'")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index)
    connection.close()
    assert "is damaged" in refusal(path)


def test_a_missing_file_is_refused_where_it_must_exist(path: Path) -> None:
    assert "there is no such file" in refusal(path, must_exist=True)
    assert not path.exists()


def test_a_journal_whose_file_is_gone_and_whose_log_is_not_is_refused(path: Path) -> None:
    Path(f"{path}-wal").touch(0o600)
    assert "is gone, and journal-wal, which belongs to it, is still there" in refusal(path)


@on_posix
def test_symbolic_links_are_refused(path: Path, tmp_path: Path) -> None:
    leave_behind(path, transfer())
    link = tmp_path / "link"
    link.symlink_to(path)
    assert "is a symbolic link" in refusal(link)
    Path(f"{path}-wal").symlink_to(tmp_path / "elsewhere")
    assert "journal-wal: is a symbolic link" in refusal(path)
    assert not (tmp_path / "elsewhere").exists()
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    assert "is a symbolic link" in refusal(dangling)
    assert not (tmp_path / "nowhere").exists()


@on_posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_modes_that_let_others_in_are_refused(path: Path, mode: int) -> None:
    leave_behind(path, transfer())
    path.chmod(mode)
    assert "chmod 600 it" in refusal(path)


@on_posix
def test_a_folder_in_which_anyone_may_put_files_is_refused(path: Path, tmp_path: Path) -> None:
    leave_behind(path, transfer())
    tmp_path.chmod(0o777)
    assert "chmod 700 it" in refusal(path)
    tmp_path.chmod(0o1777)
    leave_behind(path, transfer())


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_refused(path: Path) -> None:
    leave_behind(path, transfer())
    os.chown(path, 12345, -1)
    assert "belongs to another user (12345)" in refusal(path)


@on_posix
def test_a_pipe_is_refused(path: Path) -> None:
    os.mkfifo(path, 0o600)
    assert "is no regular file" in refusal(path)


@on_posix
@not_as_root
def test_a_read_only_folder_is_refused(path: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "this user must be allowed to write it, and to make files in its folder" in refusal(path)
    finally:
        tmp_path.chmod(0o700)


def test_a_path_below_a_file_is_refused(path: Path) -> None:
    path.touch()
    assert "cannot be opened or written" in refusal(path / "journal")


@on_posix
@pytest.mark.parametrize("instead", ["nothing", "another", "copy", "same number", "folder"])
def test_a_file_that_is_gone_while_in_use_is_missed_until_it_is_back(path: Path, instead: str) -> None:
    elsewhere, other = path.with_name("elsewhere"), path.with_name("other")
    store = FileIntents(path)
    with start_blocking_portal("asyncio") as portal:

        def is_missed(*use: Any) -> None:
            with pytest.raises(JournalError, match="was moved, deleted or replaced while it was in use: put it back"):
                portal.call(*use)

        write = functools.partial(store.write, blocks=True)
        portal.call(write, transfer(1))
        for ending in ("", "-wal", "-shm"):
            Path(f"{path}{ending}").rename(f"{elsewhere}{ending}")
        is_missed(write, transfer(2))
        # Whoever closes it last puts everything into the one file.
        leave_behind(elsewhere)
        whole = elsewhere.read_bytes()
        if instead == "another":
            leave_behind(path, transfer(9))
        elif instead == "copy":
            shutil.copy2(elsewhere, path)
        elif instead == "same number":
            # As a new file may get it from one that was deleted.
            leave_behind(other, transfer(9))
            elsewhere.write_bytes(other.read_bytes())
            elsewhere.rename(path)
        elif instead == "folder":
            path.mkdir()
        for use in ((write, transfer(2)), (write, transfer(2)), (store.unresolved,), (store.entries,)):
            is_missed(*use)
        if instead == "same number":
            path.rename(elsewhere)
            elsewhere.write_bytes(whole)
        elif instead == "folder":
            path.rmdir()
        else:
            assert path.exists() == (instead != "nothing")
        elsewhere.rename(path)
        portal.call(write, transfer(2))
        assert len(portal.call(store.entries)) == 2
        portal.call(store.close)


async def test_another_process_that_keeps_it_locked_is_waited_for_and_then_named(
    path: Path, file: FileIntents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alura_async.core.journal_file._SQLITE_WAITS_S", 0.02)
    monkeypatch.setattr("alura_async.core.journal_file._LOCKED_S", 0.2)
    await file.entries()
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="another process has kept it locked"):
            await file.write(transfer(), blocks=True)
        waiting = asyncio.create_task(file.write(transfer(), blocks=True))
        await asyncio.sleep(0.05)
        other.execute("COMMIT")
        await waiting
    finally:
        other.close()
    assert len(await file.entries()) == 1


async def test_what_cannot_be_written_is_logged_known_here_and_written_later(
    path: Path, file: FileIntents, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("alura_async.core.journal_file._LOCKED_S", 0.01)
    monkeypatch.setattr("alura_async.core.journal_file._SQLITE_WAITS_S", 0.01)
    known, exit_ = transfer(1), transfer(2)
    await file.write(known, blocks=True)
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        # A close goes out even if it could not be written down.
        with pytest.raises(JournalError):
            await file.write(exit_, blocks=False)
        file.conclude(known.id, UNKNOWN, REPLY, detail="no complete reply")
        file.conclude(known.id, DONE, SettledBy.READING, result_id="trf_1")
        file.conclude(known.id, UNKNOWN, REPLY, detail="late")
        file.conclude(exit_.id, UNKNOWN, REPLY)
        assert [entry.id for entry in await file.unresolved()] == [exit_.id]
        assert [(entry.id, entry.outcome) for entry in await file.entries()] == [(exit_.id, UNKNOWN), (known.id, DONE)]
        assert [entry.id for entry in await file.since(known.created_at)] == [known.id, exit_.id]
        assert (await file.get(exit_.id)) is not None
        logged = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert {record.name for record in logged} == {"alura_async"}
        assert known.id in caplog.text
        assert "another process has kept it locked" in caplog.text
    finally:
        other.close()
    await file.close()
    after = FileIntents(path)
    unknown, done = await after.entries()
    await after.close()
    assert (unknown.id, unknown.outcome) == (exit_.id, UNKNOWN)
    assert (done.id, done.outcome, done.settled_by) == (known.id, DONE, SettledBy.READING)
    assert (done.detail, done.result_id) == ("no complete reply", "trf_1")


async def test_what_could_not_be_written_is_tried_again_while_others_keep_reading(
    path: Path, file: FileIntents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alura_async.core.journal_file._LOCKED_S", 0.01)
    monkeypatch.setattr("alura_async.core.journal_file._SQLITE_WAITS_S", 0.01)
    monkeypatch.setattr("alura_async.core.file_intents._RETRY_S", 0.3)
    await file.write(entry := transfer(), blocks=True)
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        file.conclude(entry.id, DONE, REPLY)
        await file.entries()
        other.execute("ROLLBACK")
        until = time.monotonic() + 5
        while (written := other.execute("SELECT outcome FROM intents").fetchone()) == (None,):
            assert time.monotonic() < until
            await file.entries()
    finally:
        other.close()
    assert written == ("done",)


async def test_what_cannot_be_written_at_all_fails_alone_and_loudly(
    path: Path, file: FileIntents, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad, known = transfer(1), transfer(2, account="\ud800"), transfer(3)
    await file.write(known, blocks=True)
    file.conclude(known.id, DONE, REPLY)
    results = await asyncio.gather(
        *(file.write(entry, blocks=False) for entry in (good, bad, transfer(4))), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None), JournalError, type(None)]
    assert "holds a character that no file can hold" in str(results[1])
    file.conclude(bad.id, DONE, REPLY)
    file.conclude(good.id, DONE, REPLY)
    for amount in (5, 6):
        await file.write(transfer(amount), blocks=True)
    assert {entry.id: entry.outcome for entry in await file.entries()}[bad.id] is DONE
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(logged) == 1
    assert bad.id in logged[0]
    assert "is known only here" in logged[0]
    await file.close()
    after = FileIntents(path)
    outcomes = {entry.id: entry.outcome for entry in await after.entries()}
    await after.close()
    assert len(outcomes) == 5
    assert (outcomes[known.id], outcomes[good.id]) == (DONE, DONE)


async def test_an_entry_that_cannot_be_read_keeps_no_other_from_being_concluded(path: Path, file: FileIntents) -> None:
    broken, whole = transfer(1), transfer(2)
    await asyncio.gather(*(file.write(entry, blocks=True) for entry in (broken, whole)))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE intents SET action = 'nonsense' WHERE id = ?", (broken.id,))
        file.conclude(broken.id, DONE, REPLY)
        file.conclude(whole.id, DONE, REPLY)
        connection.commit()
        await file.write(transfer(3), blocks=True)
        found = connection.execute("SELECT id FROM intents WHERE outcome = 'done'").fetchall()
    connection.close()
    assert found == [(whole.id,)]


def whole_journal() -> bytes:
    """The bytes of a journal with some entries."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        leave_behind(path, *(transfer(number, age_s=60) for number in range(1, 9)))
        return path.read_bytes()


WHOLE = whole_journal()
EXAMPLES = int(os.environ.get("ALURA_FUZZ_EXAMPLES", "50"))
places = st.integers(0, len(WHOLE) - 1)


@given(
    cut=st.one_of(st.none(), places),
    changes=st.lists(st.tuples(st.one_of(st.integers(0, 120), places), st.binary(min_size=1, max_size=40)), max_size=6),
    log=st.one_of(st.none(), st.binary(max_size=200)),
)
@example(cut=4096, changes=[], log=None)
@example(cut=len(WHOLE) - 1, changes=[], log=None)
@example(cut=None, changes=[(100, b"\0" * 4)], log=None)
@example(cut=None, changes=[], log=b"7\x7f\x06\x82" + b"\0" * 28)
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_damaged_file_raises_nothing_but_a_journal_error(
    cut: int | None, changes: list[tuple[int, bytes]], log: bytes | None
) -> None:
    data = bytearray(WHOLE)
    for place, change in changes:
        data[place : place + len(change)] = change
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        for name, content in ((path, bytes(data[:cut])), (Path(f"{path}-wal"), log)):
            if content is not None:
                name.write_bytes(content)
                name.chmod(0o600)

        async def use() -> None:
            store = FileIntents(path)
            uses: list[Callable[[], Any]] = [
                store.unresolved,
                store.entries,
                lambda: store.since(datetime.now(UTC) - timedelta(days=1)),
                lambda: store.those(["0" * 32]),
                lambda: store.creates("api.example.com", datetime.now(UTC) - timedelta(days=1), ["ses_1"]),
                lambda: store.write(transfer(1), blocks=True),
                lambda: store.write(transfer(100), blocks=True),
                lambda: store.settle("abcdef", DONE),
            ]
            for used in uses:
                with suppress(JournalError, UnresolvedError, InvalidArgumentError):
                    await used()
            await store.close()

        asyncio.run(use())


# Processes

CHILD = """
import asyncio, json, os, sys
sys.path.insert(0, {root!r})
from alura_async import JournalError, Outcome, SettledBy, UnresolvedError, User
from alura_async.core.entries import intent
from alura_async.core.file_intents import FileIntents

DONE, UNKNOWN, REPLY = Outcome.DONE, Outcome.UNKNOWN, SettledBy.REPLY

def transfer(amount):
    return intent(User.withdraw.request(amount=amount), host="api.example.com", account="0xab", within_s=10)

def say(*words):
    print(*words, flush=True)

async def main(store):
{body}

asyncio.run(main(FileIntents({path!r})))
"""


def child(path: Path, body: str) -> subprocess.Popen[str]:
    """A process that does something with a journal."""
    root = str(Path(__file__).resolve().parent.parent)
    indented = "".join(f"    {line}\n" for line in body.strip().split("\n"))
    return subprocess.Popen(
        [sys.executable, "-c", CHILD.format(root=root, body=indented, path=str(path))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str], given: str = "") -> list[str]:
    """What a process said, when it ended well."""
    out, err = process.communicate(given, timeout=30)
    assert process.returncode == 0, err
    return out.splitlines()


@on_posix
def test_a_process_that_is_killed_leaves_what_it_was_told_was_written(path: Path) -> None:
    body = """
number = 0
while True:
    number += 1
    entry = transfer(os.getpid() * 1_000_000 + number)
    await store.write(entry, blocks=True)
    say("written", entry.id)
    if number % 2:
        store.conclude(entry.id, DONE, REPLY)
        assert (await store.get(entry.id)).outcome is DONE
        say("concluded", entry.id)
"""
    said: list[list[str]] = []
    # Killed after a write, after a conclusion, and in the middle of whatever it does after some of both.
    for lines in (1, 2, 41):
        process = child(path, body)
        assert process.stdout is not None
        said += [process.stdout.readline().split() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        # Not by `communicate`, which passes by what was read ahead with those lines.
        rest = process.stdout.read()
        process.communicate(timeout=30)
        said += [line.split() for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        assert process.returncode == -signal.SIGKILL

    async def look() -> tuple[list[JournalEntry], list[JournalEntry]]:
        store = FileIntents(path)
        found = await store.entries(limit=100_000), await store.unresolved()
        await store.close()
        return found

    everything, unresolved = asyncio.run(look())
    outcomes = {entry.id: entry.outcome for entry in everything}
    written = {entry_id for what, entry_id in said if what == "written"}
    concluded = {entry_id for what, entry_id in said if what == "concluded"}
    assert len(written) >= 23
    assert written <= set(outcomes)
    assert {outcomes[entry_id] for entry_id in concluded} == {DONE}
    # One that was written in the moment of the kill may not have been said to be.
    assert len(outcomes) - len(written) <= 3
    assert {entry.id for entry in unresolved} == {entry_id for entry_id, outcome in outcomes.items() if outcome is None}
    # Every other one of each of the three.
    assert len(unresolved) >= (len(written) - 3) // 2


def test_two_processes_write_five_hundred_intents_each_into_one_file(path: Path) -> None:
    body = """
async def write(number):
    for step in range(25):
        entry = transfer(number * 100 + step + 1)
        await store.write(entry, blocks=False)
        store.conclude(entry.id, DONE, REPLY)
await asyncio.gather(*(write(number) for number in range(20)))
await store.close()
"""
    for process in [child(path, body) for _ in range(2)]:
        end(process)

    async def look() -> list[JournalEntry]:
        store = FileIntents(path)
        entries = await store.entries(limit=10_000)
        await store.close()
        return entries

    entries = asyncio.run(look())
    assert len(entries) == 1000
    assert {entry.outcome for entry in entries} == {DONE}
    assert len({entry.pid for entry in entries}) == 2


def test_of_identical_calls_of_two_processes_exactly_one_gets_through(path: Path) -> None:
    body = """
await store.entries()
say("ready")
mine = []
for number in json.loads(sys.stdin.readline()):
    try:
        await store.write(transfer(number), blocks=True)
        mine.append(number)
    except UnresolvedError:
        pass
say(json.dumps(mine))
# It is under way until then.
sys.stdin.readline()
"""
    processes = [child(path, body) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    numbers = list(range(1, 61))
    through: list[int] = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(json.dumps(numbers) + "\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout is not None
        through += json.loads(process.stdout.readline())
    for process in processes:
        end(process)
    assert sorted(through) == numbers


@on_posix
def test_a_forked_child_has_a_connection_and_a_thread_of_its_own(path: Path) -> None:
    body = """
import warnings
warnings.simplefilter("ignore")
first, unknown = transfer(1), transfer(2)
await store.write(first, blocks=True)
await store.write(unknown, blocks=True)
store.conclude(unknown.id, UNKNOWN, REPLY)
memory = MemoryIntents()
await memory.write(first, blocks=True)
await memory.write(unknown, blocks=True)
memory.conclude(unknown.id, UNKNOWN, REPLY)
writing = asyncio.create_task(store.write(transfer(3), blocks=True))
await asyncio.sleep(0)
handles = lambda: [name for name in map(os.readlink, map("/proc/self/fd/{}".format, os.listdir("/proc/self/fd")[:-1]))
                   if "journal" in name] if sys.platform == "linux" else []
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    asyncio._set_running_loop(None)
    async def in_child():
        assert not handles()
        for amount in (1, 2):
            try:
                await store.write(transfer(amount), blocks=True)
            except UnresolvedError:
                continue
            os.write(write, b"no refusal ")
        await store.write(transfer(4), blocks=True)
        await store.close()
        assert [entry.id for entry in await memory.entries()] == [unknown.id]
        os.write(write, b"fine")
    try:
        asyncio.run(in_child())
    finally:
        os._exit(0)
os.close(write)
said = b""
while chunk := os.read(read, 100):
    said += chunk
os.waitpid(pid, 0)
await writing
store.conclude(first.id, DONE, REPLY)
await store.write(transfer(5), blocks=True)
say(said.decode(), len(await store.entries()), len(await store.unresolved()), len(await memory.entries()))
await store.close()
""".replace("import warnings", "import warnings\nfrom alura_async.core.intents import MemoryIntents")
    # Unresolved to the parent: the second, and the child's.
    assert end(child(path, body)) == ["fine 5 2 2"]


@on_posix
def test_a_fork_waits_a_bounded_time_and_a_child_without_a_journal_says_so_and_ends(path: Path) -> None:
    body = """
import gc, os, signal, sqlite3, sys, time, warnings
warnings.simplefilter("ignore")
import asyncio, logging
logging.disable()
sys.path.insert(0, {root!r})
from alura_async import JournalError, Outcome, SettledBy, User
from alura_async.core import file_intents as intents
from alura_async.core.entries import intent

intents._FORK_S = 0.2

def transfer(amount):
    return intent(User.withdraw.request(amount=amount), host="api.example.com", account="0xab", within_s=10)

def write(store, amount):
    asyncio.run(store.write(transfer(amount), blocks=True))

def fork():
    sys.stdout.flush()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        return True
    assert time.monotonic() - began < 5
    print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return False

store, first = intents.FileIntents({path!r}), transfer(1)
asyncio.run(store.write(first, blocks=True))
other = sqlite3.connect({path!r}, isolation_level=None)
other.execute("BEGIN IMMEDIATE")
store.conclude(first.id, Outcome.DONE, SettledBy.REPLY)
# Now its thread waits for the other within SQLite.
if fork():
    for each in (store, intents.FileIntents({path!r} + "2")):
        try:
            write(each, 2)
        except JournalError as error:
            assert "was forked while a journal did not answer" in str(error)
            print("refused")
        each.conclude(first.id, Outcome.DONE, SettledBy.REPLY)
        asyncio.run(each.close())
    del store, each
    gc.collect()
    # Not `_exit`: what is left behind must not hang there either.
    sys.exit(7)
other.execute("COMMIT")
write(store, 3)
print(*[entry.outcome for entry in asyncio.run(store.entries())])
if fork():
    write(store, 4)
    asyncio.run(store.close())
    sys.exit(8)
print(len(asyncio.run(store.entries())))
asyncio.run(store.close())
"""
    root = str(Path(__file__).resolve().parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", body.replace("{root!r}", repr(root)).replace("{path!r}", repr(str(path)))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert end(process) == ["refused", "refused", "child 7", "None done", "child 8", "3"]


_FORKS = """
import asyncio, logging, os, sys, threading, time, warnings
warnings.simplefilter("ignore")
logging.disable()

def late():
    # Other libraries' hooks run after ours when they were there first.
    if (then := hooks.pop(threading.current_thread().name, None)) is not None:
        then()

hooks = {{}}
os.register_at_fork(before=late)
sys.path.insert(0, {root!r})
from alura_async import JournalError, User
from alura_async.core import file_intents, imports
from alura_async.core.entries import intent

file_intents._FORK_S = imports._FORK_S = 0.2

def write(store, amount):
    entry = intent(User.withdraw.request(amount=amount), host="api.example.com", account="0xab", within_s=10)
    asyncio.run(store.write(entry, blocks=True))

def fork(name, amount):
    if (pid := os.fork()) == 0:
        asyncio._set_running_loop(None)
        try:
            handles = os.listdir("/proc/self/fd") if sys.platform == "linux" else []
            has_it = any("journal" in os.path.realpath(f"/proc/self/fd/{{handle}}") for handle in handles)
            write(store, amount)
            os._exit(12 if has_it else 11)
        except JournalError as error:
            os._exit(13 if "was forked" in str(error) else 14)
        finally:
            os._exit(15)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    ended[name] = {{11: "wrote", 12: "wrote with its parent's file", 13: "refused"}}.get(code, code)

ended, store = {{}}, file_intents.FileIntents({path!r})
write(store, 1)
{body}
write(store, 9)
print(ended, len(asyncio.run(store.entries())))
asyncio.run(store.close())
"""


def forks(path: Path, body: str) -> str:
    """What became of the children of a process that forks with a journal open, and how many entries there are."""
    root = str(Path(__file__).resolve().parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", _FORKS.format(root=root, path=str(path), body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    (said,) = end(process)
    return said


@on_posix
def test_of_two_threads_that_fork_at_once_neither_ends_what_the_other_waits_for(path: Path) -> None:
    body = """
def meanwhile():
    other = threading.Thread(target=fork, args=("other", 2))
    other.start()
    other.join()
    # It would be carried out now if the other fork had let the journal's thread go on.
    threading.Thread(target=write, args=(store, 3)).start()
    time.sleep(0.1)

hooks["MainThread"] = meanwhile
fork("first", 4)
"""
    assert forks(path, body) == "{'other': 'refused', 'first': 'wrote'} 4"


@on_posix
def test_a_child_knows_of_a_journal_that_another_thread_opened_at_the_last_moment(path: Path) -> None:
    body = """
def meanwhile():
    late_one = file_intents.FileIntents({path!r})
    other = threading.Thread(target=write, args=(late_one, 2))
    other.start()
    other.join()
    kept.append(late_one)

kept = []
hooks["MainThread"] = meanwhile
fork("first", 3)
fork("second", 4)
asyncio.run(kept[0].close())
""".replace("{path!r}", repr(str(path)))
    assert forks(path, body) == "{'first': 'refused', 'second': 'wrote'} 4"


@on_posix
def test_a_full_disk_is_an_error_that_says_so_and_is_made_up_for_later(path: Path) -> None:
    body = """
import logging, resource
logging.disable()
entry = transfer(1)
await store.write(entry, blocks=True)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize({wal!r}) + 1000, hard))
try:
    await store.write(transfer(2), blocks=True)
except JournalError as error:
    say(error)
store.conclude(entry.id, DONE, REPLY)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
await store.write(transfer(3), blocks=True)
say(*[entry.outcome for entry in await store.entries()])
await store.close()
""".replace("{wal!r}", repr(f"{path}-wal"))
    said = end(child(path, body))
    assert "disk" in said[0]
    assert "full" in said[0]
    assert said[1] == "None done"


def test_what_is_forgotten_is_written_when_the_process_ends(path: Path) -> None:
    body = """
entry = transfer(1)
await store.write(entry, blocks=True)
for _ in range(50):
    store.conclude(entry.id, UNKNOWN, REPLY)
store.conclude(entry.id, DONE, REPLY)
sys.kept = store
"""
    end(child(path, body))
    # It was closed, too: everything is in one file.
    assert [found.name for found in path.parent.iterdir()] == [path.name]

    async def look() -> list[JournalEntry]:
        store = FileIntents(path, must_exist=True)
        entries = await store.entries()
        await store.close()
        return entries

    assert [entry.outcome for entry in asyncio.run(look())] == [DONE]
