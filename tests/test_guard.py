"""What the guard lets pass, whatever a body looks like, and whom it asks."""

from __future__ import annotations

import asyncio
import decimal
import os
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Awaitable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alura_async import (
    DEFAULT_ASSETS,
    Access,
    Action,
    Assets,
    AsyncAlura,
    ConfigurationError,
    Guard,
    GuardError,
    JournalEntry,
    JournalError,
    Outcome,
    OutcomeUnknownError,
    Proposal,
    Request,
    Route,
    SettledBy,
    Timeouts,
    TradingSessions,
    User,
)
from alura_async.core.asked import asked_by
from alura_async.core.intents import MemoryIntents
from alura_async.sandbox import Conditions, Fault, Sandbox
from tests.raw_server import RawServer, reply

pytestmark = pytest.mark.anyio

ME = "0x" + "11" * 20
FRIEND = "0x" + "ab" * 20
STRANGER = "0x" + "cd" * 20
HOST = "https://testnet-api.alura.fun"
ROOT = Path(__file__).resolve().parent.parent


class Book(MemoryIntents):
    """A journal that is read and written as slowly as one on disk: every step lets others run."""

    async def since(self, at: datetime, *actions: Action) -> list[JournalEntry]:
        await asyncio.sleep(0)
        found = await super().since(at, *actions)
        await asyncio.sleep(0)
        return found

    async def write(self, entry: JournalEntry, *, blocks: bool) -> None:
        await asyncio.sleep(0)
        await super().write(entry, blocks=blocks)
        await asyncio.sleep(0)

    def forget(self, entry_id: str) -> None:
        """What a file does to an entry that is too old for it."""
        del self._entries[entry_id]

    def step(self, clock: timedelta) -> None:
        """What the clock of this machine does to a journal when it is set: all that was written is of another time."""
        for entry in self._entries.values():
            self._entries[entry.id] = aged(entry, clock)

    async def add(self, request: Request[Any], outcome: Outcome | None = Outcome.DONE, **changes: Any) -> JournalEntry:
        entry = msgspec.structs.replace(entry_of(request, uuid4().hex), outcome=outcome, **changes)
        await super().write(entry, blocks=False)
        return entry


def aged(entry: JournalEntry, by: timedelta) -> JournalEntry:
    return msgspec.structs.replace(
        entry,
        created_at=entry.created_at - by,
        expires_at=entry.expires_at - by,
        settled_at=entry.settled_at and entry.settled_at - by,
    )


def entry_of(request: Request[Any], call_id: str) -> JournalEntry:
    now = datetime.now(UTC)
    return JournalEntry(
        id=call_id,
        created_at=now,
        expires_at=now + timedelta(seconds=30),
        host=HOST,
        account=ME,
        method=request.method,
        path=request.path,
        action=request.route.action,
        body=(request.body or b"").decode(),
        fingerprint="",
        pid=1,
    )


async def check(guard: Guard, request: Request[Any], book: Book | None = None, assets: Assets = DEFAULT_ASSETS) -> None:
    await guard.check(request, host=HOST, account=ME, intents=book or Book(), assets=assets)
    await guard.ask(request, host=HOST, account=ME, assets=assets)


async def refusal(guard: Guard, request: Request[Any], book: Book | None = None) -> str:
    with pytest.raises(GuardError) as caught:
        await check(guard, request, book)
    assert caught.value.outcome is Outcome.NOT_SENT
    return str(caught.value)


async def enter(guard: Guard, request: Request[Any], book: Book, call_id: str) -> bool:
    """What a client does with a call until it may leave: whether it may."""
    try:
        await check(guard, request, book)
        async with guard.place(request, call_id=call_id, host=HOST, account=ME, intents=book):
            await book.write(entry_of(request, call_id), blocks=False)
    except GuardError as error:
        book.conclude(call_id, Outcome.NOT_SENT, SettledBy.REPLY, detail=str(error))
        return False
    return True


def create(budget: Any = 100, asset: str | int = "BTC", **more: Any) -> Request[Any]:
    return TradingSessions.create.request(budget=budget, profit_target=40, asset=asset, **more)


def send(amount: Any = 100, destination: str = FRIEND, **more: Any) -> Request[Any]:
    return User.send_usdc.request(amount=amount, destination=destination, **more)


def bytes_of(body: str, action: Action = Action.TRANSFER) -> Request[Any]:
    route = Route("POST", "/vault/move", dict, access=Access.BEARER, action=action)
    return Request(route, "/vault/move", "", body.encode())


# --- the most for one call


@pytest.mark.parametrize(
    "request_",
    [
        create("500"),
        create("499.999999999999999999999999999999"),
        TradingSessions.create_advance.request(amount=500, max_wallet_budget=False),
        send(500),
        User.withdraw.request(amount="1"),
        User.withdraw.request(amount=0),
        bytes_of('{"amount": "5e2"}'),
        bytes_of('{"transfer": {"amount": 500}}'),
        bytes_of('{"usdc": 12, "note": "thanks", "chain": 42161}'),
        bytes_of('{"amount": 5, "amountUsd": 5.0}'),
        bytes_of('{"value": 5, "marginMode": "isolated"}'),
    ],
    ids=str,
)
async def test_an_amount_up_to_the_limit_passes(request_: Request[Any]) -> None:
    await check(Guard(max_amount=500), request_)


@pytest.mark.parametrize(
    "request_",
    [
        create("500.000000000000000000000000000001"),
        TradingSessions.create_advance.request(amount=501),
        send(501),
        User.withdraw.request(amount="1e6"),
        create(100, extra={"budget": 501}),
        create(100, extra={"budget": "501"}),
        bytes_of('{"sizeUsd": 501}'),
        bytes_of('{"transfer": {"AMOUNT_IN_USDC": "501"}}'),
    ],
    ids=str,
)
async def test_an_amount_over_the_limit_is_refused_wherever_it_stands(request_: Request[Any]) -> None:
    text = await refusal(Guard(max_amount=500), request_)
    assert f"{request_.method} {request_.path}" in text
    assert "max_amount=500 is the most for one call" in text


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("{}", "names no amount"),
        ("", "names no amount"),
        ("7", "names no amount"),
        ('{"amount": null}', "names no amount"),
        ('{"amount": "all"}', "no amount that can be told"),
        ('{"amount": "1,000"}', "no amount that can be told"),
        ('{"amount": "0x64"}', "no amount that can be told"),
        ('{"amount": " 5"}', "no amount that can be told"),
        ('{"amount": "５"}', "no amount that can be told"),
        ('{"amount": 1e400}', "no amount that can be told"),
        ('{"amount": true}', "may mean any amount"),
        ('{"amount": -5}', "below 0"),
        ('{"amount": {"of": "it"}}', "no amount that can be told"),
        ('{"amount": 5, "Amount": 5000}', "more than one amount"),
        ('{"amount": 5, "amount": 5000}', "more than one amount"),
        ('{"amount": 5, "a\\u006dount": 5000}', "more than one amount"),
        ('{"amount": 5, "total_usd": "5000"}', "more than one amount"),
        ('{"amount": 5, "options": {"amount": 5}}', "more than one amount"),
        ('{"transfers": [{"amount": 5}, {"amount": 5}]}', "more than one amount"),
        ('{"amount": 5, "maxWalletBudget": true}', "may mean any amount"),
        ('{"amount": 5, "max_wallet_budget": "false"}', "no amount that can be told"),
        ('{"amount": NaN}', "cannot be read"),
        ('{"amount": 5', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"amount": 5, "x": "\u202e"}\u202e', "cannot be read"),
    ],
)
async def test_what_has_no_plain_amount_is_refused_and_the_text_says_why(body: str, why: str) -> None:
    request = bytes_of(body)
    for guard in (Guard(max_amount=10**6), Guard(max_amount_per_day=10**6)):
        text = await refusal(guard, request)
        assert why in text
        assert "cannot be checked" in text
        assert "\u202e" not in text


async def test_a_body_of_brackets_is_refused_also_where_python_would_let_it_overflow_the_stack() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # py_ecc does so when it is imported
    try:
        for brackets in ("[" * 100_000, '{"a":' * 100_000):
            assert "nested too deeply" in await refusal(Guard(max_amount=5), bytes_of(brackets))
    finally:
        sys.setrecursionlimit(limit)


async def test_an_amount_outside_the_body_is_refused() -> None:
    route = Route("POST", "/vault/:amount/move", dict, access=Access.BEARER, action=Action.TRANSFER)
    text = await refusal(Guard(max_amount=10), route.request("5", body={"to": FRIEND}))
    assert ":amount in the path" in text
    route = Route("POST", "/vault/move", dict, access=Access.BEARER, action=Action.TRANSFER)
    assert "amount in the query" in await refusal(Guard(max_amount=10), route.request(query={"amount": 5000}))
    text = await refusal(Guard(max_amount=10), route.request(query={"amount": 5000}, body={"amount": 5}))
    assert "amount in the query" in text


async def test_a_session_on_the_whole_wallet_is_refused_where_amounts_are_limited() -> None:
    whole = TradingSessions.create_advance.request(max_wallet_budget=True, asset="BTC")
    assert "whole wallet" in await refusal(Guard(max_amount=10**9), whole)
    await check(Guard(assets=["BTC"]), whole)


async def test_a_claim_brings_money_in_and_need_not_say_how_much() -> None:
    book = Book()
    await book.add(User.claim_reward.request())
    await check(Guard(max_amount=10, max_amount_per_day=10, destinations=[]), User.claim_reward.request(), book)
    assert "max_amount=10 " in await refusal(Guard(max_amount=10), User.claim_reward.request(extra={"amount": 11}))
    text = await refusal(Guard(destinations=[]), User.claim_reward.request(extra={"destination": STRANGER}))
    assert STRANGER in text


NAMES = st.sampled_from(["amount", "Budget", "value", "asset", "to", "destination", "from"]) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_whatever_is_sent_the_guard_decides(body: dict[str, Any]) -> None:
    async def decide() -> None:
        for guard in (Guard(max_amount=5, destinations=[FRIEND]), Guard(assets=["BTC"])):
            for action in (Action.OPEN, Action.TRANSFER):
                # Whatever else it raises would be a call that nobody has judged.
                with suppress(GuardError):
                    await check(guard, bytes_of(msgspec.json.encode(body).decode(), action))

    asyncio.run(decide())


# --- the words of a refusal


@pytest.mark.parametrize(
    ("guard", "request_", "says"),
    [
        (Guard(assets=["BTC"]), create(asset="SOL"), "asks for asset='SOL',"),
        (Guard(assets=["BTC"]), create(asset=77), "asks for asset=77,"),
        (Guard(assets=["BTC"]), create(extra={"assetIndex": 5}), 'asks for assetIndex="5",'),
        (Guard(assets=["BTC"]), create(extra={"symbol": "SOL"}), 'asks for symbol="SOL",'),
        (
            Guard(assets=["BTC"]),
            TradingSessions.create.route.request(body={"budget": 5, "assetIndex": 5}),
            'asks for assetIndex="5",',
        ),
        (
            Guard(max_amount=5),
            TradingSessions.create_advance.request(max_wallet_budget=True),
            "max_wallet_budget=True may mean any amount",
        ),
        (Guard(max_amount=5), create(10, extra={"sizeUsd": 7}), '(budget=10, sizeUsd="7")'),
        (Guard(destinations=[]), send(destination=FRIEND), f'asks for destination="{FRIEND}"'),
    ],
    ids=str,
)
async def test_a_refusal_names_what_was_given_as_it_was_given(guard: Guard, request_: Request[Any], says: str) -> None:
    assert says in await refusal(guard, request_)


@pytest.mark.parametrize(
    "endpoint", [TradingSessions.create, TradingSessions.create_advance, User.withdraw, User.send_usdc]
)
async def test_every_argument_that_a_guard_judges_is_named_as_its_method_names_it(endpoint: Any) -> None:
    given = {
        "amount": 10,
        "budget": 10,
        "profit_target": 4,
        "asset": "BTC",
        "destination": FRIEND,
        "max_wallet_budget": False,
    }
    arguments = endpoint.__signature__.parameters
    fields = asked_by(endpoint.request(**{name: value for name, value in given.items() if name in arguments})).fields
    judged = [field for field in fields if field.name.strip() != "profitTarget"]
    assert {field.place for field in judged} <= set(arguments)
    assert judged
    assert all(field.is_argument for field in judged)


# --- assets


@pytest.mark.parametrize("assets", [["BTC"], ["btc"], [0], ["BTC", "ETH"]], ids=str)
async def test_an_allowed_asset_passes_however_it_is_named(assets: list[str | int]) -> None:
    guard = Guard(assets=assets)
    for request in (
        create(asset="BTC"),
        create(asset=0),
        create(asset="SOL", extra={"assetIndex": "0"}),
        bytes_of('{"symbol": "btc"}', Action.OPEN),
        bytes_of('{"assets": [0, "BTC"]}', Action.OPEN),
    ):
        await check(guard, request)


@pytest.mark.parametrize(
    "request_",
    [
        create(asset="SOL"),
        create(asset=77),
        create(asset="BTC", extra={"assetIndex": 2}),
        create(asset="BTC", extra={"AssetIndex": 2}),
        create(asset="BTC", extra={"symbol": "SOL"}),
        create(asset="BTC", extra={"orders": [{"asset_index": 2}]}),
        create(asset="BTC", extra={"assetIndex": False}),
        create(asset="BTC", extra={"assetIndex": "everything"}),
        create(asset="BTC", extra={"assetIndex": "9" * 5000}),
        TradingSessions.create_advance.request(amount=10),
    ],
    ids=str,
)
async def test_another_asset_is_refused_and_so_is_none(request_: Request[Any]) -> None:
    text = await refusal(Guard(assets=["BTC", 1]), request_)
    assert "assets=['BTC', 1] are those that may be opened" in text


async def test_a_symbol_means_what_the_calling_clients_table_says() -> None:
    mine = Assets({"BTC": 7})
    request = create(asset=7)
    await check(Guard(assets=["BTC"]), request, assets=mine)
    await refusal(Guard(assets=["BTC"]), request)


async def test_assets_limit_what_is_opened_and_not_what_is_sent() -> None:
    await check(Guard(assets=[]), send())


# --- destinations


async def test_money_goes_to_allowed_addresses_only_and_the_case_of_letters_is_no_matter() -> None:
    guard = Guard(destinations=[FRIEND.upper().replace("0X", "0x")])
    await check(guard, send(destination=FRIEND))
    await check(guard, User.withdraw.request(amount=5, destination=FRIEND.upper().replace("0X", "0x")))
    text = await refusal(guard, send(destination=STRANGER))
    assert STRANGER in text
    assert f"destinations=['{FRIEND}'] are those that money may go to" in text


async def test_a_withdrawal_that_leaves_the_destination_to_the_server_is_refused() -> None:
    assert "names no destination" in await refusal(Guard(destinations=[ME]), User.withdraw.request(amount=5))
    await check(Guard(max_amount=5), User.withdraw.request(amount=5))


@pytest.mark.parametrize(
    "extra",
    [
        {"destination": STRANGER},
        {"Destination": STRANGER},
        {"to": STRANGER},
        {"toAddress": "alice.eth"},
        {"recipient": {"id": 7}},
        {"note": f"eip155:1:{STRANGER}"},
        {"note": STRANGER[2:]},
        {"list": [[STRANGER.upper()]]},
        {"destination": FRIEND + " "},
        {"wallet": True},
    ],
    ids=str,
)
async def test_another_destination_does_not_hide_beside_an_allowed_one(extra: dict[str, Any]) -> None:
    assert "are those that money may go to" in await refusal(Guard(destinations=[FRIEND]), send(extra=extra))


async def test_where_money_comes_from_is_no_destination() -> None:
    await check(Guard(destinations=[FRIEND]), send(extra={"from": ME, "senderAddress": ME}))


# --- the most for a day


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.UNKNOWN, None])
async def test_what_was_done_or_may_have_been_counts_for_a_day(outcome: Outcome | None) -> None:
    book, guard = Book(), Guard(max_amount_per_day=150)
    await book.add(create(100), outcome)
    await check(guard, send(50), book)
    text = await refusal(guard, send("50.01"), book)
    assert "it asks for 50.01 USDC, and max_amount_per_day=150 has 50 left" in text
    assert "come to 100" in text


async def test_the_sum_of_the_day_follows_what_the_journal_says_now() -> None:
    book, guard = Book(), Guard(max_amount_per_day=100)
    first = await book.add(create(60), Outcome.UNKNOWN)
    assert "has 40 left" in await refusal(guard, create(41), book)
    await book.add(send(30))
    assert "has 10 left" in await refusal(guard, create(11), book)
    book.conclude(first.id, Outcome.REJECTED, SettledBy.HAND)
    await check(guard, create(70), book)
    assert "has 70 left" in await refusal(guard, create(71), book)
    book.conclude(first.id, Outcome.DONE, SettledBy.HAND)
    assert "has 10 left" in await refusal(guard, create(11), book)


async def test_what_was_not_done_or_is_somebody_elses_or_older_than_a_day_does_not_count() -> None:
    book, guard = Book(), Guard(max_amount_per_day=100)
    await book.add(create(100), Outcome.REJECTED)
    await book.add(create(100), Outcome.NOT_SENT)
    await book.add(create(100), host="https://elsewhere")
    await book.add(create(100), account=STRANGER)
    await book.add(create(100), created_at=datetime.now(UTC) - timedelta(hours=24, seconds=1))
    await book.add(User.close_all_positions.request(extra={"amount": 100}))
    await check(guard, create(100), book)
    await book.add(create(10), created_at=datetime.now(UTC) - timedelta(hours=23, minutes=59))
    await refusal(guard, create(100), book)


async def test_an_account_that_nobody_knows_may_be_ours() -> None:
    book, guard = Book(), Guard(max_amount_per_day=100)
    await book.add(create(100), account="")
    await refusal(guard, create(10), book)


@pytest.mark.parametrize(("earlier", "account"), [("user_7", ME), (ME, "user_7"), (ME, ""), ("user_7", "user_8")])
async def test_an_account_under_two_names_is_one_and_the_refusal_says_what_to_do_if_it_is_two(
    earlier: str, account: str
) -> None:
    book, guard = Book(), Guard(max_amount_per_day=100)
    await book.add(create(100), account=earlier)
    with pytest.raises(GuardError) as refused:
        await guard.check(send(1), host=HOST, account=account, intents=book, assets=DEFAULT_ASSETS)
    assert f"the calls are of the account {earlier} and of" in str(refused.value)
    assert "if they are two, give each a journal of its own" in str(refused.value)
    assert "give each a journal" not in await refusal(guard, create(101))


async def test_a_server_that_is_written_in_another_way_counts() -> None:
    book, guard = Book(), Guard(max_amount_per_day=100)
    await book.add(create(100), host="https://TESTNET-api.alura.fun.:443/")
    assert "has 0 left" in await refusal(guard, send(1), book)


async def test_an_earlier_call_of_unknown_size_leaves_nothing_to_count_with() -> None:
    book = Book()
    entry = await book.add(TradingSessions.create_advance.request(max_wallet_budget=True))
    text = await refusal(Guard(max_amount_per_day=1000), create(10), book)
    assert entry.id in text
    assert "whole wallet" in text


async def test_sums_keep_every_digit_in_any_decimal_context() -> None:
    book, guard = Book(), Guard(max_amount_per_day="200")
    await book.add(create("100.00000000000000000000000000000001"))
    with decimal.localcontext(decimal.Context(prec=3)):
        await refusal(guard, send(100), book)
        await check(guard, send("99.99999999999999999999999999999999"), book)


async def test_of_calls_made_at_once_only_those_that_fit_pass() -> None:
    book, guard = Book(), Guard(max_amount_per_day=100)
    requests = [create(1000), *(create(30) for _ in range(20))]
    passed = await asyncio.gather(*(enter(guard, request, book, str(n)) for n, request in enumerate(requests)))
    assert sum(passed) == 3
    assert not passed[0]
    assert len(await book.entries()) == 3


async def test_of_two_processes_at_once_never_both_pass() -> None:
    """Two guards know nothing of each other, as in two processes: only the journal is shared."""
    book = Book()
    passed = await asyncio.gather(*(enter(Guard(max_amount_per_day=100), create(60), book, str(n)) for n in range(2)))
    assert sum(passed) <= 1
    assert [entry.outcome for entry in await book.entries() if not passed[int(entry.id)]] == [Outcome.NOT_SENT] * (
        2 - sum(passed)
    )
    # Who was refused counts for nothing afterwards.
    assert await enter(Guard(max_amount_per_day=100), create(100 - 60 * sum(passed)), book, "2")


async def test_a_call_that_fails_or_is_cancelled_while_it_enters_holds_no_place() -> None:
    book, guard = Book(), Guard(max_amount_per_day=100)

    async def fail() -> None:
        async with guard.place(create(100), call_id="0", host=HOST, account=ME, intents=book):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await fail()
    task = asyncio.create_task(enter(guard, create(100), book, "1"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await enter(guard, create(100), book, "2")


@pytest.mark.parametrize("step", [timedelta(hours=hours) for hours in (-9000, -30, -2, 2, 30, 9000)])
async def test_a_clock_that_is_set_frees_nothing_of_what_was_seen_in_the_last_24_hours(step: timedelta) -> None:
    book, guard = Book(), Guard(max_amount_per_day=100)
    assert await enter(guard, create(30), book, "0")
    lost = await book.add(create(20), Outcome.UNKNOWN, account="")
    assert "has 50 left" in await refusal(guard, create(51), book)
    assert await enter(guard, send(40), book, "1")
    book.step(step)
    assert "has 10 left" in await refusal(guard, create(11), book)
    book.conclude(lost.id, Outcome.REJECTED, SettledBy.HAND)
    assert "has 30 left" in await refusal(guard, create(31), book)
    book.conclude("0", Outcome.REJECTED, SettledBy.READING)
    assert await enter(guard, create(60), book, "2")
    book.step(step)
    assert "has 0 left" in await refusal(guard, send(1), book)


async def test_what_was_seen_counts_for_24_hours_by_the_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    book, guard = Book(), Guard(max_amount_per_day=100)
    await book.add(create(30), created_at=datetime.now(UTC) - timedelta(hours=23))
    assert await enter(guard, create(50), book, "0")
    book.step(timedelta(hours=30))
    real = time.monotonic
    for hours, left in ((0.9, 20), (1.1, 50), (23.9, 50), (24.1, 100)):
        with monkeypatch.context() as later:
            later.setattr(time, "monotonic", lambda s=hours * 3600: real() + s)
            assert f"has {left} left" in await refusal(guard, create(101), book)


async def test_what_was_written_in_the_future_counts_for_24_hours_from_when_it_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    book, guard = Book(), Guard(max_amount_per_day=100)
    await book.add(create(30), created_at=datetime.now(UTC) + timedelta(hours=10))
    assert "has 70 left" in await refusal(guard, create(71), book)
    book.step(timedelta(hours=40))
    real = time.monotonic
    for hours, left in ((23.9, 70), (24.1, 100)):
        with monkeypatch.context() as later:
            later.setattr(time, "monotonic", lambda s=hours * 3600: real() + s)
            assert f"has {left} left" in await refusal(guard, create(101), book)


async def test_what_was_seen_not_to_be_done_counts_no_more_though_the_file_forgets_it() -> None:
    book, guard = Book(), Guard(max_amount_per_day=100)
    for call_id in "01":
        assert await enter(guard, create(40), book, call_id)
    book.conclude("1", Outcome.REJECTED, SettledBy.READING)
    assert "has 60 left" in await refusal(guard, create(61), book)
    for call_id in "01":
        book.forget(call_id)
    assert "has 60 left" in await refusal(guard, create(61), book)


async def test_what_was_seen_counts_in_its_own_journal_for_its_own_account_and_server() -> None:
    book, guard = Book(), Guard(max_amount_per_day=100)
    assert await enter(guard, create(100), book, "0")
    book.step(timedelta(hours=30))
    await check(guard, create(100), Book())
    for host, account, is_free in (
        (HOST, STRANGER, True),
        ("https://elsewhere", ME, True),
        (HOST + ":443", ME, False),
        (HOST, "user_7", False),
    ):
        with suppress(GuardError) if not is_free else nullcontext():
            await guard.check(create(100), host=host, account=account, intents=book, assets=DEFAULT_ASSETS)
            assert is_free


async def test_an_earlier_call_of_unknown_size_counts_though_the_clock_is_set() -> None:
    book, guard = Book(), Guard(max_amount_per_day=1000)
    entry = await book.add(TradingSessions.create_advance.request(max_wallet_budget=True))
    assert entry.id in await refusal(guard, create(10), book)
    book.step(timedelta(hours=30))
    text = await refusal(guard, create(10), book)
    assert entry.id in text
    assert "whole wallet" in text
    until = datetime.strptime(text.split("counts until ")[1][:16], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    assert timedelta(hours=23, minutes=58) < until - datetime.now(UTC) <= timedelta(hours=24)
    book.conclude(entry.id, Outcome.NOT_SENT, SettledBy.HAND)
    await check(guard, create(10), book)


async def test_without_a_daily_limit_nothing_is_read_of_the_journal() -> None:
    class Unreadable(Book):
        async def since(self, at: datetime, *actions: Action) -> list[JournalEntry]:
            raise AssertionError

    assert await enter(Guard(max_amount=100), create(100), Unreadable(), "0")


# --- confirm


async def test_confirm_sees_what_is_sent_and_agrees_by_true() -> None:
    asked: list[Proposal] = []

    def confirm(proposal: Proposal) -> bool:
        asked.append(proposal)
        return True

    guard = Guard(confirm=confirm, max_amount=500)
    await check(guard, create("12.50", "eth", extra={"note": "a\u202eb"}))
    await check(guard, send(7))
    await check(guard, User.claim_reward.request())
    opens, sends, claims = asked
    assert (opens.action, opens.amount, opens.asset, opens.destination) == (Action.OPEN, Decimal("12.50"), "ETH", None)
    assert (opens.host, opens.account, opens.method, opens.path) == (HOST, ME, "POST", "/trading-sessions")
    assert str(opens).startswith(f"open 12.50 USDC in asset ETH at {HOST} for {ME}: POST /trading-sessions {{")
    assert str(opens).isprintable()
    assert '"profitTarget":40' in str(opens)
    assert (sends.action, sends.amount, sends.asset, sends.destination) == (
        Action.TRANSFER,
        Decimal(7),
        None,
        FRIEND,
    )
    assert f"transfer 7 USDC to {FRIEND}" in str(sends)
    assert claims.amount is None
    with pytest.raises(AttributeError):
        opens.amount = Decimal(1)  # type: ignore[misc]


@pytest.mark.parametrize("answer", [False, None, 1, "yes", "n", object], ids=str)
async def test_anything_but_true_refuses(answer: Any) -> None:
    async def later(proposal: Proposal) -> Any:
        return answer

    for confirm in (lambda proposal: answer, later):
        text = await refusal(Guard(confirm=confirm), create())
        assert "confirm said" in text
        assert "open 100 USDC in asset BTC" in text


async def test_an_exception_of_confirm_refuses_and_is_chained() -> None:
    def confirm(proposal: Proposal) -> bool:
        raise EOFError("no terminal\x1b[2J")

    with pytest.raises(GuardError, match=r"confirm failed with EOFError: no terminal\\x1b") as caught:
        await check(Guard(confirm=confirm), create())
    assert isinstance(caught.value.__cause__, EOFError)
    assert "no terminal" in "".join(traceback.format_exception(caught.value))


async def test_confirm_is_not_asked_of_what_a_rule_refuses() -> None:
    asked: list[Proposal] = []
    guard = Guard(confirm=asked.append, max_amount=10, max_amount_per_day=5)  # type: ignore[arg-type]
    await refusal(guard, create(11))
    await refusal(guard, send(10))
    assert asked == []


async def test_every_kind_of_callable_is_asked() -> None:
    class Asks:
        async def __call__(self, proposal: Proposal) -> bool:
            return True

    async def asks(proposal: Proposal) -> bool:
        return True

    def plain(proposal: Proposal) -> Awaitable[bool]:
        return asks(proposal)

    for confirm in (Asks(), asks, partial(asks), plain, lambda proposal: True):
        await check(Guard(confirm=confirm), create())


async def test_a_confirm_that_blocks_holds_up_neither_the_loop_nor_a_cancelled_call() -> None:
    release, blocking = threading.Event(), threading.Event()

    def confirm(proposal: Proposal) -> bool:
        blocking.set()
        return release.wait(20)

    call = asyncio.create_task(check(Guard(confirm=confirm), create()))
    try:
        while not blocking.is_set():  # The loop goes round while a thread is asked.
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    finally:
        release.set()


async def test_questions_of_blocking_confirms_come_one_at_a_time() -> None:
    at_once: list[int] = []
    running = 0

    def confirm(proposal: Proposal) -> bool:
        nonlocal running
        running += 1
        at_once.append(running)
        threading.Event().wait(0.01)
        running -= 1
        return True

    guard = Guard(confirm=confirm)
    await asyncio.gather(*(check(guard, create()) for _ in range(5)))
    assert at_once == [1] * 5


# --- with a client


async def test_the_time_of_a_call_holds_for_the_days_sum_and_not_for_whoever_confirms(
    raw: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alura_async.core.journal_file._SQLITE_WAITS_S", 0.02)
    path = tmp_path / "journal"

    async def confirm(proposal: Proposal) -> bool:
        await asyncio.sleep(0.25)
        return True

    guard = Guard(max_amount_per_day=1000, confirm=confirm)
    async with AsyncAlura(
        token="t", base_url=raw.url, guard=guard, journal=path, timeout=Timeouts(call=0.2, settle=0)
    ) as alura:
        raw.answers = [reply('{"status": "ok"}')]
        await alura.user.send_usdc(amount=5, destination=FRIEND)
        assert len(raw.received) == 1
    async with AsyncAlura(
        token="t", base_url=raw.url, guard=guard, journal=path, timeout=Timeouts(call=0.2, settle=0)
    ) as alura:
        other = sqlite3.connect(path, isolation_level=None)
        try:
            # Nobody can even read it.
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(JournalError, match="in time"):
                await asyncio.wait_for(alura.user.send_usdc(amount=6, destination=FRIEND), 5)
        finally:
            other.close()
        assert [entry.outcome for entry in await alura.journal.entries()] == [Outcome.DONE]
    assert len(raw.received) == 1


async def test_of_a_clients_calls_at_once_only_those_that_fit_are_sent(raw: RawServer, tmp_path: Path) -> None:
    async with AsyncAlura(
        token="t", base_url=raw.url, guard=Guard(max_amount_per_day=100), journal=tmp_path / "journal"
    ) as alura:
        calls = (alura.user.send_usdc(amount=30, destination=FRIEND) for _ in range(6))
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(end, GuardError) for end in ended) == 3
    assert len(raw.received) == 3


async def test_a_clock_that_is_set_between_two_calls_frees_nothing_though_the_file_forgets(tmp_path: Path) -> None:
    path, guard = tmp_path / "journal", Guard(max_amount_per_day=10)
    async with Sandbox(seed=3, speed=0, limit=None, conditions=Conditions.ideal()) as sandbox:
        wallet = sandbox.wallet()
        async with AsyncAlura(wallet, base_url=sandbox.url, journal=path, guard=guard) as alura:
            await alura.user.withdraw(amount=4)
            step(path, timedelta(hours=30))
            await alura.user.withdraw(amount=4)
            with pytest.raises(GuardError, match="has 2 left"):
                await alura.user.withdraw(amount=3)
            sandbox.faults.add(Fault.reset(when="after"), on="POST /user/withdraw", times=1)
            with pytest.raises(OutcomeUnknownError) as lost:
                await alura.user.withdraw(amount=1, destination=FRIEND)
        step(path, timedelta(days=100))
        async with AsyncAlura(wallet, base_url=sandbox.url, journal=path, guard=guard) as alura:
            with pytest.raises(GuardError, match="has 1 left"):
                await alura.user.withdraw(amount=2)
            # What was resolved is older than 90 days, and gone.
            assert [entry.id for entry in await alura.journal.entries()] == [lost.value.call_id]
            await alura.user.withdraw(amount=1)
    assert [entry.detail["amount"] for entry in sandbox.ledger if entry.kind == "withdrawn"] == [4, 4, 1, 1]


def step(path: Path, clock: timedelta) -> None:
    """Set the clock of a machine, as its journal sees it."""
    with sqlite3.connect(path) as connection:
        for column in ("created_at", "expires_at", "settled_at"):
            for number, text in connection.execute(f"SELECT number, {column} FROM intents").fetchall():
                if text is not None:
                    moment = (datetime.fromisoformat(text) - clock).isoformat(timespec="microseconds")
                    connection.execute(f"UPDATE intents SET {column} = ? WHERE number = ?", (moment, number))
    connection.close()


async def test_a_journal_that_hangs_while_a_place_is_taken_leaves_nothing_behind(
    raw: RawServer, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    other = None

    async def confirm(proposal: Proposal) -> bool:
        nonlocal other
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        return True

    guard = Guard(max_amount_per_day=1000, confirm=confirm)
    async with AsyncAlura(
        token="t", base_url=raw.url, guard=guard, journal=path, timeout=Timeouts(call=0.2, settle=0)
    ) as alura:
        with pytest.raises(JournalError, match="in time"):
            await asyncio.wait_for(alura.user.send_usdc(amount=6, destination=FRIEND), 5)
        assert other is not None
        other.close()
        # It was written after all, and then concluded.
        assert [entry.outcome for entry in await alura.journal.entries()] in ([], [Outcome.NOT_SENT])
        assert await alura.journal.unresolved() == []
    assert raw.received == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
async def test_a_child_that_whoever_is_asked_forks_does_not_make_its_parents_call(
    raw: RawServer, tmp_path: Path
) -> None:
    code = f"""
import asyncio, os, signal, warnings
from alura_async import AsyncAlura, Guard, GuardError
warnings.simplefilter("ignore")

async def confirm(proposal):
    global pid
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
    return True

async def main():
    guard, path = Guard(confirm=confirm), {str(tmp_path / "journal")!r}
    alura = AsyncAlura(token="t", base_url={raw.url!r}, journal=path, guard=guard)
    try:
        await alura.user.send_usdc(amount=5, destination="{FRIEND}")
    except GuardError as error:
        os._exit(7 if pid == 0 and "forked" in str(error) else 1)
    if pid == 0:
        os._exit(2)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print([entry.outcome.value for entry in await alura.journal.entries()])
    await alura.close()

asyncio.run(main())
"""
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, complained = await asyncio.wait_for(client.communicate(), 30)
    assert (said.decode().splitlines(), complained) == (["7", "['done']"], b"")
    assert len(raw.received) == 1


# --- what it is never given, and what it takes


async def test_what_closes_is_nothing_for_a_guard() -> None:
    for request in (User.close_all_positions.request(), TradingSessions.trigger_cron.request()):
        with pytest.raises(AssertionError):
            await check(Guard(max_amount=0), request)


async def test_one_guard_serves_several_loops() -> None:
    book, guard = Book(), Guard(max_amount_per_day=100, confirm=lambda proposal: True)
    assert await enter(guard, create(50), book, "0")
    passed: list[bool] = []
    thread = threading.Thread(target=lambda: passed.append(asyncio.run(enter(guard, create(60), book, "1"))))
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.001)
    assert passed == [False]


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({}, "has no rule"),
        ({"max_amount": "much"}, "write it like '12.50'"),
        ({"max_amount": -1}, "not below 0"),
        ({"max_amount": True}, "give a Decimal"),
        ({"max_amount_per_day": float("nan")}, "finite"),
        ({"max_amount_per_day": Decimal(-1)}, "not below 0"),
        ({"confirm": "yes"}, "a function that takes a Proposal"),
        ({"assets": "BTC"}, "give a list such as"),
        ({"assets": 0}, "give a list such as"),
        ({"assets": [True]}, "no symbol and no index"),
        ({"assets": [-1]}, "no symbol and no index"),
        ({"assets": [1.0]}, "no symbol and no index"),
        ({"destinations": FRIEND}, "give a list such as"),
        ({"destinations": [FRIEND[:-1]]}, "40 hex digits"),
        ({"destinations": ["0x" + "aB" * 20]}, "checksum"),
        ({"destinations": [None]}, "40 hex digits"),
    ],
    ids=str,
)
def test_a_rule_that_cannot_be_used_is_refused(rules: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says.replace("(", r"\(")):
        Guard(**rules)


def test_a_daily_limit_needs_a_durable_journal_and_assets_a_table_that_has_them() -> None:
    with pytest.raises(ConfigurationError, match="needs a durable journal"):
        Guard(max_amount_per_day=5).require(durable=False, assets=DEFAULT_ASSETS)
    with pytest.raises(ConfigurationError, match="'PEPE' is not in the asset table"):
        Guard(assets=["BTC", "PEPE"]).require(durable=True, assets=DEFAULT_ASSETS)
    Guard(max_amount_per_day=5, assets=["BTC", 99]).require(durable=True, assets=DEFAULT_ASSETS)
    Guard(max_amount=5).require(durable=False, assets=DEFAULT_ASSETS)


def test_a_guard_shows_its_rules() -> None:
    guard = Guard(confirm=print, max_amount="5.50", assets=["BTC"], destinations=[FRIEND])  # type: ignore[arg-type]
    assert repr(guard) == f"Guard(confirm=…, max_amount=5.50, assets=['BTC'], destinations=['{FRIEND}'])"
