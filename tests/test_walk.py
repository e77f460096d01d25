"""The whole API through both surfaces, against the sandbox, whatever shape it answers in: one walk, which an async and
a blocking client take, and whose results are the same in every shape, as far as the shape says them at all.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import msgspec
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from alura_async import (
    Alura,
    AsyncAlura,
    BadRequestError,
    Candle,
    CloseSignature,
    DuplicateAssetError,
    ExecutionStrategy,
    NotFoundError,
    Observed,
    Position,
    ResponseError,
    Secret,
    SessionStatus,
    SignalAction,
    StrategyDuration,
    TransferStatus,
    no_waits,
)
from alura_async.core.model import Model
from alura_async.core.surface import Endpoint, Group
from alura_async.sandbox import PERSONALITIES, Conditions, Sandbox, chance

START = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
SOMEBODY = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"

# A step yields what to call and gets what it returned: the same text drives both surfaces. What comes as a stream is
# given as a list; `between` is called after each of its items.
Step: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Callable[[], object]]
Steps: TypeAlias = Generator[Step, Any, Any]


def call(
    method: Callable[..., Any], *arguments: Any, between: Callable[[], object] = lambda: None, **named: Any
) -> Steps:
    return (yield method, arguments, named, between)


def refused(kind: type[Exception], method: Callable[..., Any], *arguments: Any, **named: Any) -> Steps:
    with pytest.raises(kind) as caught:
        yield method, arguments, named, lambda: None
    return caught.value


Walked: TypeAlias = list[tuple[str, Any]]
"""What each step returned or raised, by the name of what it called."""


async def take(steps: Steps, perform: Callable[[Step], Awaitable[Any]]) -> Walked:
    """Perform step after step, handing results and errors back to the walk."""
    walked: Walked = []
    step = next(steps)
    while True:
        try:
            result = await perform(step)
        except Exception as error:  # the walk says whether it was meant
            result = error
            advance = partial(steps.throw, error)
        else:
            advance = partial(steps.send, result)
        walked.append((step[0].__qualname__, result))
        try:
            step = advance()
        except StopIteration:
            return walked


async def awaiting(step: Step) -> Any:
    method, arguments, named, between = step
    result = method(*arguments, **named)
    if not hasattr(result, "__aiter__"):
        return await result
    items = []
    async for item in result:
        items.append(item)
        between()
    return items


async def blocking(step: Step) -> Any:
    method, arguments, named, between = step
    result = method(*arguments, **named)
    if not hasattr(result, "__next__"):
        return result
    items = []
    for item in result:
        items.append(item)
        between()
    return items


def walk(alura: Any, sandbox: Sandbox, key: str) -> Steps:
    """Every endpoint, with what a user does between them; each result is checked for what it says in any shape."""
    yield from sign_in(alura, key)
    yield from read_the_market(alura)
    yield from trade(alura, sandbox)
    yield from trade_advanced(alura, sandbox)
    yield from move_money(alura)
    yield from look_around(alura)


def sign_in(alura: Any, key: str) -> Steps:
    account = Account.from_key(key)
    challenge = yield from call(alura.auth.challenge, account.address)
    assert challenge.address == account.address
    assert challenge.nonce in challenge.message
    signature = account.sign_message(encode_defunct(text=challenge.message)).signature.hex()
    token = yield from call(alura.auth.verify, account.address, "0x" + signature)
    assert (token.ok, token.token_type, token.expires_in) == (True, "Bearer", 86400)
    assert token.access_token.reveal().count(".") == 2
    trading_key = yield from call(alura.auth.trading_key)
    assert trading_key.private_key.reveal() not in repr(trading_key)
    profile = yield from call(alura.user.profile)
    assert (profile.address, profile.balance) == (account.address, Decimal(10_000))


def read_the_market(alura: Any) -> Steps:
    assert (yield from call(alura.health.basic)).status == "ok"
    assert (yield from call(alura.health.kafka)).status == "ok"
    assert (yield from call(alura.indicators.health)).status == "ok"
    symbols = yield from call(alura.indicators.symbols)
    assert len(symbols) >= 40
    assert {"BTC", "ETH", "kPEPE", "PURR/USDC"} <= set(symbols)
    for symbol in ("BTC", "kPEPE", "PURR/USDC"):
        candles = yield from call(alura.indicators.candles, symbol, "15m", limit=8)
        check_candles(candles, symbol, timedelta(minutes=15), 8)
        assert candles[-1].open_time <= START < candles[-1].open_time + timedelta(minutes=15)
    history = yield from call(
        alura.indicators.candle_history, "ETH", interval="1h", start=START - timedelta(days=400), limit=24
    )
    check_candles(history, "ETH", timedelta(hours=1), 24)
    assert history[0].open_time - (START - timedelta(days=400)) < timedelta(hours=1)
    latest = yield from call(alura.indicators.latest_candles)
    assert {candle.symbol for candle in latest} == set(symbols)
    (signal,) = yield from call(alura.indicators.signals, "BTC", "1h")
    assert (signal.symbol, signal.interval) == ("BTC", "1h")
    assert signal.action is not None
    assert 0 <= signal.strength <= 1
    signals = yield from call(alura.indicators.all_signals, "4h")
    assert {signal.symbol for signal in signals} == set(symbols)
    missing = yield from refused(NotFoundError, alura.indicators.candles, "NOSUCH", "1h")
    assert missing.status == 404


def check_candles(candles: list[Candle], symbol: str, step: timedelta, count: int) -> None:
    assert len(candles) == count
    for candle, following in zip(candles, [*candles[1:], None], strict=True):
        assert candle.symbol == symbol
        assert 0 < candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high
        assert following is None or following.open_time - candle.open_time == step


def trade(alura: Any, sandbox: Sandbox) -> Steps:
    session = yield from call(
        alura.trading_sessions.create,
        budget=100,
        profit_target=40,
        asset="btc",
        loss_threshold=5,
        max_positions=3,
    )
    assert (session.asset_index, session.symbol, session.status) == (0, "BTC", SessionStatus.ACTIVE)
    assert (session.budget, session.profit_target, session.loss_threshold) == (100, 40, 5)
    assert session.created_at == START
    twice = yield from refused(DuplicateAssetError, alura.trading_sessions.create, budget=10, profit_target=1, asset=0)
    assert twice.messages == ("Duplicate asset index: you already have an active trading session for this asset",)
    assert [one.id for one in (yield from call(alura.trading_sessions.active))] == [session.id]
    trade = yield from call(alura.trading_sessions.current_trade)
    assert trade.id == session.trade_id
    first, *_ = trade.positions
    check_position(first)
    signed = yield from call(alura.trading_sessions.close_signature, first.id)
    assert isinstance(signed, CloseSignature)
    assert signed.transaction is not None
    assert signed.transaction.reveal() not in repr(signed)
    closing = yield from call(alura.trading_sessions.close_position, first.id)
    assert closing.position_id == first.id
    held = yield from call(alura.trading_sessions.current_trade)
    assert [position.id for position in held.positions] == [position.id for position in trade.positions]
    assert [position.closed_at for position in held.positions] == [START, *[None] * (len(trade.positions) - 1)]
    again = yield from refused(BadRequestError, alura.trading_sessions.close_position, first.id)
    assert again.messages == ("Position is already closed",)
    yield from call(alura.trading_sessions.close_trade, trade.id)
    closed = yield from call(alura.trading_sessions.wait_until_closed, session.id, interval=0.01, patience=0)
    assert (closed.id, closed.is_closed) == (session.id, True)
    assert (yield from call(alura.trading_sessions.current_trade)) is None
    logs = yield from call(alura.trading_sessions.logs, session.id)
    assert {entry.session_id for entry in logs} == {session.id}
    page = yield from call(alura.trading_sessions.trade_logs, trade.id, page=1, limit=2)
    assert len(page.data) == 2
    entries = yield from call(alura.trading_sessions.iter_trade_logs, trade.id, limit=2)
    assert len(entries) == len({entry.id for entry in entries}) == len(logs)
    assert page.total in (None, len(entries))
    fills = yield from call(alura.user.sync_fills)
    assert fills.synced == 2 * len(trade.positions)
    assert {fill.position_id for fill in fills.fills} == {position.id for position in trade.positions}
    executed = [entry.kind for entry in sandbox.ledger]
    assert executed.count("session_created") == 1


def check_position(position: Position) -> None:
    assert position.symbol == "BTC"
    assert position.size > 0  # type: ignore[operator]
    assert position.entry_price == position.mark_price
    assert position.unrealized_pnl == 0


def trade_advanced(alura: Any, sandbox: Sandbox) -> Steps:
    session = yield from call(
        alura.trading_sessions.create_advance,
        amount="250.50",
        execution_strategy=ExecutionStrategy.CONSERVATIVE,
        strategy_duration=StrategyDuration.D7,
        asset="ETH",
        max_wallet_budget=False,
    )
    assert (session.kind, session.amount, session.strategy_duration) == ("advance", Decimal("250.50"), "7D")
    assert (yield from call(alura.trading_sessions.trigger_cron)).message
    yield from call(alura.user.close_position, asset="ETH")
    yield from refused(NotFoundError, alura.user.close_position, asset="ETH")
    yield from call(alura.trading_sessions.create, budget=50, profit_target=10, asset="SOL")
    (sol,) = yield from call(alura.trading_sessions.active)
    updates = yield from call(
        alura.trading_sessions.watch, sol.id, interval=0.01, patience=0, between=lambda: sandbox.advance(hours=6)
    )
    assert updates[0].value.id == sol.id
    assert [update.value.is_closed for update in updates] == [False] * (len(updates) - 1) + [True]
    yield from call(alura.user.close_all_positions)


def move_money(alura: Any) -> Steps:
    before = yield from call(alura.user.profile)
    withdrawn = yield from call(alura.user.withdraw, amount="12.5")
    assert (withdrawn.amount, withdrawn.status) == (Decimal("12.5"), TransferStatus.COMPLETED)
    sent = yield from call(alura.user.send_usdc, amount=0.1, destination=SOMEBODY)
    assert (sent.amount, sent.destination) == (Decimal("0.1"), SOMEBODY)
    claimed = yield from call(alura.user.claim_reward)
    assert claimed.amount > 0
    tx_hash = "0x" + "ab" * 32
    deposit = yield from call(alura.usdc_verification.verify, tx_hash)
    assert deposit.verified is True
    repeated = yield from call(alura.usdc_verification.verify, tx_hash)
    assert repeated.amount == deposit.amount
    (listed,) = yield from call(alura.usdc_verification.my_transactions)
    assert listed.tx_hash == tx_hash
    total = yield from call(alura.usdc_verification.total_deposited)
    assert total.total == deposit.amount
    after = yield from call(alura.user.profile)
    moved = after.balance - before.balance
    assert moved == deposit.amount + claimed.amount - Decimal("12.5") - Decimal("0.1")
    yield from refused(BadRequestError, alura.user.withdraw, amount=10**9)


def look_around(alura: Any) -> Steps:
    me = yield from call(alura.user.profile)
    code = yield from call(alura.referrals.create_code, me.id)
    assert (yield from call(alura.referrals.get, me.id)).code == code.code
    assert (yield from call(alura.user.profile)).referral_code == code.code
    assert (yield from call(alura.referrals.stats, me.id)).total_referrals == 0
    checked = yield from call(alura.referrals.check, code.code)
    assert (checked.valid, checked.user_id) == (True, me.id)
    assert (yield from call(alura.leaderboard.health)).status == "ok"
    stats = yield from call(alura.leaderboard.stats)
    page = yield from call(alura.leaderboard.rankings, limit=10)
    page = yield from call(alura.leaderboard.rankings, limit=10, params=page.next or {"page": 2})
    assert [place.rank for place in page.data] == list(range(11, 21))
    places = yield from call(alura.leaderboard.iter_rankings, limit=100)
    assert len(places) == stats.total_users
    assert page.total in (None, stats.total_users)
    assert [place.rank for place in places] == list(range(1, len(places) + 1))
    assert (yield from call(alura.leaderboard.user, me.id)).user_id == me.id
    analytics = yield from call(alura.leaderboard.analytics)
    assert analytics.assets


def covered(sandbox: Sandbox) -> set[str]:
    """Which endpoints the sandbox was asked for, as `GET /path/:name`."""
    endpoints = [
        member.route
        for group in Group.__subclasses__()
        for member in vars(group).values()
        if isinstance(member, Endpoint)
    ]
    assert len(endpoints) == 41
    patterns = [
        (route, re.compile(re.sub(r":\w+", "[^/]+", route.template) + "$"), route.template.count(":"))
        for route in endpoints
    ]
    found: set[str] = set()
    for request in sandbox.requests:
        fitting = [
            (names, f"{route.method} {route.template}")
            for route, pattern, names in patterns
            if route.method == request.method and pattern.match(request.path)
        ]
        found.add(min(fitting)[1])
    return found


SETTINGS: Any = {"seed": 3, "start": START, "speed": 0, "limit": None, "conditions": Conditions.ideal()}


async def walk_awaiting(shape: str) -> Walked:
    async with Sandbox(**SETTINGS, shapes=shape) as sandbox:
        key = sandbox.wallet()
        async with AsyncAlura(key, base_url=sandbox.url) as alura:
            walked = await take(walk(alura, sandbox, key), awaiting)
        assert len(covered(sandbox)) == 41
    return walked


def walk_blocking(shape: str) -> Walked:
    with Sandbox.threaded(**SETTINGS, shapes=shape) as sandbox:
        key = sandbox.wallet()
        with Alura(key, base_url=sandbox.url) as alura, pytest.raises(StopIteration) as end:
            # Nothing in it waits for a loop, so it runs to its end in one go, without one.
            take(walk(alura, sandbox, key), blocking).send(None)
        assert len(covered(sandbox)) == 41
    walked: Walked = end.value.value
    return walked


@pytest.fixture(scope="module")
def canonical() -> Walked:
    """What the canonical walk brought."""
    with no_waits():
        return walk_blocking("canonical")


class Difference(NamedTuple):
    """What a shape says otherwise than the canonical one.

    Attributes:
        why: why it does.
        fields: which fields, as `Struct.field` with wildcards.
        says: what it says instead, from what the canonical one says, and from all of the object: by default nothing.
        calls: where, as `Group.method` with wildcards.
    """

    why: str
    fields: tuple[str, ...]
    says: Callable[[Any, Any], Any] = lambda value, whole: None
    calls: str = "*"


def number_of(identifier: str, whole: Model) -> str:
    """An id as the number that its digits are; the lines of a log follow their session's."""
    digits, _, line = identifier.partition("_")[2].partition("-")
    return str(int(digits, 16) + int(line or 0))


def _is_in_part(trade: Any) -> bool:
    return trade.status == SessionStatus.ACTIVE and any(position.closed_at for position in trade.positions)


ONE_SYMBOL = "Indicators.cand*"
NO_CLOSE = Difference("candles say when they begin, and no more", ("Candle.close_time",))
NO_INTERVAL = Difference(
    "candles do not say of what length they are, and the request left that to the server",
    ("Candle.interval",),
    calls="Indicators.latest_candles",
)
NO_COUNT = Difference("candles do not say how many trades they are of", ("Candle.trades",))
ONLY_A_TOTAL = Difference("a page says how many items there are in all, and no more", ("Page.page", "Page.limit"))
NO_COUNTS = Difference("a page does not count", ("Page.total", "Page.page", "Page.limit"))

DIFFERENCES: dict[str, tuple[Difference, ...]] = {
    "canonical": (),
    "nest": (),
    "mongo": (
        NO_CLOSE,
        NO_INTERVAL,
        Difference(
            "levels are numbers, and only its logger knows their names",
            ("LogEntry.level",),
            lambda level, entry: {"info": "30", "warn": "40"}[level],
        ),
    ),
    "django": (ONLY_A_TOTAL,),
    "hyperliquid": (
        NO_COUNTS,
        Difference(
            "fills have the exchange's own ids",
            ("Fill.id",),
            lambda name, fill: str(int.from_bytes(chance.digest("tid", name, size=6), "big")),
        ),
    ),
    "columns": (NO_CLOSE, NO_INTERVAL, NO_COUNT, ONLY_A_TOTAL),
    "terse": (
        NO_CLOSE,
        NO_INTERVAL,
        NO_COUNTS,
        Difference(
            "a close has no body, so only what its path names is known",
            ("Closing.status", "Closing.closed_positions", "Closing.realized_pnl", "Closing.message"),
        ),
        Difference("nor the trade of a position", ("Closing.trade_id",), calls="*.close_position"),
        Difference("nor the asset, which the request's body named", ("Closing.asset_index",)),
        Difference("a cron run is a word, its message", ("CronRun.ok",)),
        Difference(
            "a service's health is a word, its status",
            tuple(f"ServiceHealth.{name}" for name in ("service", "version", "uptime", "timestamp", "details")),
        ),
        Difference(
            "a trade that holds some of its positions is in a state that nobody knows",
            ("Trade.status",),
            lambda status, trade: SessionStatus("Partially_Closed") if _is_in_part(trade) else status,
        ),
        Difference(
            "to hold has a name that nobody knows",
            ("Signal.action",),
            lambda action, signal: SignalAction("NEUTRAL") if action is SignalAction.HOLD else action,
        ),
    ),
    "dotnet": (
        NO_CLOSE._replace(calls=ONE_SYMBOL),
        NO_COUNT._replace(calls=ONE_SYMBOL),
    ),
    "jsonapi": (ONLY_A_TOTAL,),
    "graphql": (
        ONLY_A_TOTAL,
        Difference("ids are numbers", ("*.id", "*.*_id", "Referral.referred_by"), number_of),
    ),
    "bybit": (
        NO_CLOSE._replace(calls=ONE_SYMBOL),
        NO_COUNT._replace(calls=ONE_SYMBOL),
        NO_COUNTS,
    ),
}


# Different in every walk, nobody's to see, or each server's own affair: how the next page is asked for.
NOT_COMPARED = ("Challenge.nonce", "Challenge.message", "SignIn.access_token", "Page.has_more", "Page.next")


class Comparison:
    """Compares what steps returned in a shape with what they returned in the canonical one, field by field."""

    def __init__(self, shape: str) -> None:
        self._known = DIFFERENCES[shape]
        self._met: set[Difference] = set()

    def compare(self, call: str, expected: Any, got: Any, path: str = "$") -> Iterator[str]:
        """What differs and should not."""
        if isinstance(expected, Observed):
            expected, got = expected.value, got.value
        if isinstance(expected, ResponseError):
            yield from self.compare(call, _facts_of_error(expected), _facts_of_error(got), path)
        elif isinstance(expected, list | tuple):
            yield from self._items(call, expected, got, path)
        elif isinstance(expected, Model):
            if type(got) is not type(expected):
                yield f"{call} {path}: {got!r}, not a {type(expected).__name__}"
                return
            for name, value in _facts(expected):
                said = self._said(call, f"{type(expected).__name__}.{name}", value, expected)
                yield from self.compare(call, said, getattr(got, name), f"{path}.{name}")
        elif isinstance(expected, Secret):
            if not isinstance(got, Secret):
                yield f"{call} {path}: {type(got).__name__}, not a Secret"
        elif type(got) is not type(expected) or got != expected:
            yield f"{call} {path}: {got!r}, not {expected!r}"

    def unmet(self) -> list[Difference]:
        """Differences that nothing differed by."""
        return [known for known in self._known if known not in self._met]

    def _items(self, call: str, expected: Any, got: Any, path: str) -> Iterator[str]:
        if not isinstance(got, list | tuple) or len(got) != len(expected):
            yield f"{call} {path}: {got!r}, not {len(expected)} items"
            return
        for index, (wanted, item) in enumerate(zip(expected, got, strict=True)):
            yield from self.compare(call, wanted, item, f"{path}[{index}]")

    def _said(self, call: str, field: str, value: Any, whole: Model) -> Any:
        for known in self._known:
            if fnmatchcase(call, known.calls) and any(fnmatchcase(field, pattern) for pattern in known.fields):
                said = None if value is None else known.says(value, whole)
                if said != value:
                    self._met.add(known)
                return said
        return value


def _facts_of_error(error: ResponseError) -> tuple[Any, ...]:
    return type(error), error.status, error.messages, error.outcome


def _facts(value: Model) -> list[tuple[str, Any]]:
    """The names of what a result says, and what it says: of a candle numbers, whatever they came as."""
    title = type(value).__name__
    names = [field.name for field in msgspec.structs.fields(type(value))]
    if isinstance(value, Candle):
        names = [name.removesuffix("_ms").removesuffix("_text") for name in names]
    return [
        (name, getattr(value, name))
        for name in names
        if not name.startswith("_") and f"{title}.{name}" not in NOT_COMPARED
    ]


def check(shape: str, canonical: Walked, walked: Walked) -> None:
    assert [name for name, _ in walked] == [name for name, _ in canonical]
    comparison = Comparison(shape)
    differences = [
        difference
        for (name, expected), (_, got) in zip(canonical, walked, strict=True)
        for difference in comparison.compare(name, expected, got)
    ]
    assert not differences, "\n".join(differences[:20])
    assert comparison.unmet() == []


@pytest.mark.anyio
@pytest.mark.parametrize("shape", PERSONALITIES)
async def test_every_endpoint_works_awaited(shape: str, canonical: Walked) -> None:
    check(shape, canonical, await walk_awaiting(shape))


@pytest.mark.parametrize("shape", PERSONALITIES)
def test_every_endpoint_works_blocking(shape: str, canonical: Walked) -> None:
    check(shape, canonical, walk_blocking(shape))


def test_the_canonical_walk_says_what_others_are_compared_with(canonical: Walked) -> None:
    """A field that nothing fills would be equal everywhere."""
    filled: set[str] = set()
    fields: set[str] = set()
    for model in _models([result for _, result in canonical]):
        facts = [(f"{type(model).__name__}.{name}", value) for name, value in _facts(model)]
        fields.update(name for name, _ in facts)
        filled.update(name for name, value in facts if value is not None)
    # What is closed for good is listed no more, and nobody referred this user.
    assert fields - filled == {
        "Referral.referred_by",
        "Trade.closed_at",
        "TradingSession.close_reason",
        "TradingSession.closed_at",
    }


def _models(value: Any) -> Iterator[Model]:
    if isinstance(value, Observed):
        value = value.value
    if isinstance(value, list):
        for item in value:
            yield from _models(item)
    elif isinstance(value, Model):
        yield value
        for _, inner in _facts(value):
            yield from _models(inner)
