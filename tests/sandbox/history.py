"""Histories of calls, clock moves, conditions and scripts of the market, and a caller that needs no socket."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import strategies as st

from alura_async.errors import ConfigurationError
from alura_async.sandbox import Conditions, LedgerEntry, Sandbox, trading, wire
from alura_async.sandbox.listing import LISTED
from alura_async.sandbox.refusals import HttpError
from alura_async.sandbox.routes import ROUTES
from alura_async.sandbox.routing import Call, Table
from alura_async.sandbox.validation import check_body

from .caller import advance, quick
from .conftest import START

Action = tuple[Any, ...]

NOWHERE = "0x" + "ee" * 20
TABLE = Table(ROUTES)
USERS = 3
DEPOSITS = 6
# Two that are traded a lot, and two of which an order is soon more than a minute's turnover.
ASSETS = (0, 2, 28, 47)

CONDITIONS = (
    Conditions(),
    Conditions.ideal(),
    Conditions(lag="2s"),
    Conditions(lag="400ms", jitter="5s", partial=0.5, failing_closes=0.5),
    Conditions(partial=Decimal("0.3"), failing_closes=1),
    Conditions(depth=0.001, lag="30s"),
    Conditions(taker_fee=1000, builder_fee=1000, half_spread=1000, impact=10_000, depth=None),
)

_amounts = st.one_of(st.integers(1, 10**7), *[st.integers(10**7, 3 * 10**9)] * 5).map(
    lambda units: float(Decimal(units).scaleb(-6))
)
_users = st.integers(0, USERS - 1)
_assets = st.sampled_from(ASSETS)
_percents = st.sampled_from([None, 0.5, 3, 12, 60, 400])
_creates = st.one_of(
    st.tuples(st.just("quick"), _users, _assets, _amounts, _percents, _percents, st.integers(1, 4)),
    st.tuples(
        st.just("advance"),
        _users,
        _assets,
        st.one_of(st.none(), *[_amounts] * 4),
        st.sampled_from(["Conservative", "Aggressive", "Degen"]),
        st.sampled_from(["1D", "3D", "30D"]),
    ),
)
_closes = st.tuples(
    st.sampled_from(["close position", "close position", "close trade", "close asset", "close all", "sign close"]),
    _users,
    st.integers(0, 7),
)
_moves = st.tuples(st.just("advance clock"), st.sampled_from([0.05, 0.7, 1, 3, 42, 900, 7200, 86_400, 900_000]))
_rest = st.one_of(
    st.tuples(st.just("withdraw"), _users, _amounts),
    st.tuples(st.just("send"), _users, _amounts, st.one_of(st.none(), _users)),
    st.tuples(st.sampled_from(["claim", "sync", "cron", "code"]), _users),
    st.tuples(st.just("deposit"), _users, st.integers(1, DEPOSITS)),
)
_scripts = st.one_of(
    st.tuples(st.just("crash"), _assets, st.sampled_from([0.3, 7, 60, 99.9]), st.sampled_from([0.2, 5, 3600])),
    st.tuples(st.just("rally"), _assets, st.sampled_from([0.3, 7, 300]), st.sampled_from([0.2, 5, 3600])),
    st.tuples(st.just("halt"), _assets, st.sampled_from([0.2, 5, 90, 7200])),
)
_conditions = st.tuples(st.just("conditions"), st.integers(0, len(CONDITIONS) - 1))
_trading = st.one_of(
    _creates, _creates, _closes, _closes, _closes, _moves, _moves, _moves, _conditions, _scripts, _rest
)
HISTORIES = st.builds(
    lambda first, opened, then: [first, *opened, *then],
    _conditions,
    st.lists(_creates, min_size=2, max_size=6),
    st.lists(_trading, min_size=5, max_size=25),
)
"""Some sessions under some conditions, and then anything."""


class History:
    """A sandbox with some users, who do what a history says; each has come by the first one's code.

    Args:
        pieces: into how many steps each move of the clock is cut, with reads between them.
    """

    def __init__(self, actions: list[Action], *, seed: int = 7, pieces: int = 1, kept: int = 20_000) -> None:
        self.sandbox = Sandbox(seed=seed, start=START, speed=0, limit=None, kept=kept)
        self.pieces = pieces
        self.world = self.sandbox._world
        self.addresses: list[str] = []
        for _ in range(USERS):
            self.sign_in()
        for action in actions:
            self.take(action)

    def sign_in(self) -> None:
        key = self.sandbox.wallet()
        address = str(Account.from_key(key).address)
        _, challenge = self.call(None, "POST", "/auth/evm/challenge", {"address": address})
        body: dict[str, Any] = {"address": address, "signature": signature(challenge["message"], key)}
        if self.addresses:
            body["referralCode"] = self.world.accounts[self.addresses[0].lower()].referral_code
        status, _ = self.call(None, "POST", "/auth/evm/verify", body)
        assert status == 201
        self.addresses.append(address)
        if len(self.addresses) == 1:
            self.take(("code", 0))

    def call(self, user: int | None, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Do what the server does with a request, between socket and throttle; anything but a refusal raises."""
        found = TABLE.find(method, path)
        assert found is not None
        route, names = found
        account = None if user is None else self.world.accounts[self.addresses[user].lower()]
        sent = wire.decode_body(msgspec.json.encode(body), "application/json") if body else {}
        with self.sandbox._server.exclusive():
            now_ms = self.world.clock.now_ms()
            trading.settle(self.world, now_ms)
            before = self.world.ledger.next_number
            try:
                values = check_body(route.body, sent)
                call = Call(self.sandbox._server.services, route, now_ms, "sandbox", account, names, {}, values)
                status, data = 201 if method == "POST" else 200, msgspec.json.decode(wire.encode(route.handler(call)))
            except HttpError as refusal:
                status, data = refusal.status, refusal.body.message
            written = self.world.ledger.next_number - before
        # One entry for what was carried out, none for what was not.
        assert written <= (1 if path != "/auth/evm/verify" else 2)
        if status == 400:
            assert written == 0
        elif path.startswith(("/trading-sessions", "/user")) and status == 201:
            assert written == 1
        return status, data

    def take(self, action: Action) -> None:
        kind, *given = action
        getattr(self, "_" + kind.replace(" ", "_"))(*given)

    def _quick(
        self, user: int, asset: int, budget: float, target: float | None, threshold: float | None, positions: int
    ) -> None:
        body = quick(
            budget=budget, assetIndex=asset, profitTarget=target or 300, lossThreshold=threshold, maxPositions=positions
        )
        self.call(user, "POST", "/trading-sessions", body)

    def _advance(self, user: int, asset: int, amount: float | None, strategy: str, duration: str) -> None:
        body = advance(
            amount=amount,
            assetIndex=asset,
            executionStrategy=strategy,
            strategyDuration=duration,
            maxWalletBudget=amount is None,
        )
        self.call(user, "POST", "/trading-sessions/advance", body)

    def _close_position(self, user: int, place: int) -> None:
        self._on_position(user, place, "close")

    def _sign_close(self, user: int, place: int) -> None:
        self._on_position(user, place, "close-signature")

    def _on_position(self, user: int, place: int, verb: str) -> None:
        _, trade = self.call(user, "GET", "/trading-sessions/current-trade")
        if trade and trade.get("positions"):
            position = trade["positions"][place % len(trade["positions"])]
            self.call(user, "POST", f"/trading-sessions/positions/{position['id']}/{verb}")

    def _close_trade(self, user: int, place: int) -> None:
        _, active = self.call(user, "GET", "/trading-sessions/active")
        if active:
            self.call(user, "POST", f"/trading-sessions/trades/{active[place % len(active)]['tradeId']}/close")

    def _close_asset(self, user: int, place: int) -> None:
        self.call(user, "POST", "/user/close-position", {"assetIndex": ASSETS[place % len(ASSETS)]})

    def _close_all(self, user: int, _place: int = 0) -> None:
        self.call(user, "POST", "/user/close-all-positions")

    def _withdraw(self, user: int, amount: float) -> None:
        self.call(user, "POST", "/user/withdraw", {"amount": amount})

    def _send(self, user: int, amount: float, receiver: int | None) -> None:
        destination = NOWHERE if receiver is None else self.addresses[receiver]
        self.call(user, "POST", "/user/send-usdc", {"amount": amount, "destination": destination})

    def _claim(self, user: int) -> None:
        self.call(user, "POST", "/user/claim-reward")

    def _sync(self, user: int) -> None:
        self.call(user, "POST", "/user/fills/sync")

    def _cron(self, user: int) -> None:
        self.call(user, "POST", "/trading-sessions/trigger-cron")

    def _code(self, user: int) -> None:
        account = self.world.accounts[self.addresses[user].lower()]
        self.call(user, "POST", f"/referrals/{account.id}/code")

    def _deposit(self, user: int, number: int) -> None:
        self.call(user, "POST", "/usdc-verification/verify", {"txHash": f"0x{number:064x}"})

    def _conditions(self, number: int) -> None:
        self.sandbox.conditions = CONDITIONS[number]

    def _crash(self, asset: int, percent: float, seconds: float) -> None:
        self._script("crash", asset, percent=percent, over=seconds)

    def _rally(self, asset: int, percent: float, seconds: float) -> None:
        self._script("rally", asset, percent=percent, over=seconds)

    def _halt(self, asset: int, seconds: float) -> None:
        self._script("halt", asset, over=seconds)

    def _script(self, kind: str, asset: int, **how: float) -> None:
        # One may be on already.
        with suppress(ConfigurationError):
            getattr(self.sandbox.market, kind)(LISTED[asset].symbol, **how)

    def _advance_clock(self, seconds: float) -> None:
        milliseconds = round(seconds * 1000)
        ends = [milliseconds * (piece + 1) // self.pieces for piece in range(self.pieces)]
        for piece, (start, end) in enumerate(pairwise([0, *ends])):
            self.sandbox.advance(seconds=(end - start) / 1000)
            if self.pieces > 1:
                self.call(piece % USERS, "GET", "/user/profile")
                self.call(piece % USERS, "GET", "/trading-sessions/active")
                self.call(piece % USERS, "GET", "/api/leaderboard/analytics")


@cache
def signature(message: str, key: str) -> str:
    return "0x" + bytes(Account.sign_message(encode_defunct(text=message), key).signature).hex()


def told(ledger: list[LedgerEntry], address: str) -> Decimal:
    """What an account must hold beside its rewards, told from the ledger alone."""
    total = Decimal(0)
    changes: dict[str, Callable[[Any], Decimal]] = {
        "account_opened": lambda detail: detail["funds"],
        "deposit_verified": lambda detail: detail["amount"],
        "reward_claimed": lambda detail: detail["amount"],
        "withdrawn": lambda detail: -detail["amount"],
        "usdc_sent": lambda detail: -detail["amount"],
    }
    for entry in ledger:
        if entry.account == address:
            change = changes.get(entry.kind)
            total += entry.detail.get("realized_pnl", Decimal(0)) if change is None else change(entry.detail)
        if entry.kind == "usdc_sent" and entry.detail["credited"] and entry.detail["destination"] == address:
            total += entry.detail["amount"]
    return total
