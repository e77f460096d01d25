"""Everything the sandbox knows, and the one door through which it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec

from ..core.model import from_milliseconds
from . import chance
from .clock import Clock
from .ledger import Ledger
from .market import Market
from .records import ZERO, Account, SessionRecord
from .signals import Signals

T = TypeVar("T")

WELCOME_REWARD = Decimal(5)
"""USDC that every new account can claim."""

BY_CLOCK = ("", "")
"""Origin of what no call brought about."""


class Done(msgspec.Struct, Generic[T], frozen=True):
    """What a change of state gave: the reply to the call that asked for it, and what the ledger says of it."""

    reply: T
    detail: Mapping[str, Any]


class World:
    """Accounts, their sessions and money, the market they trade on, and the clock they live by.

    Args:
        seed: what makes one world different from another.
        clock: its time.
        funds: USDC that an account begins with.
    """

    def __init__(self, seed: int, clock: Clock, funds: Decimal) -> None:
        self.seed = seed
        self.clock = clock
        self.funds = funds
        self.market = Market(seed)
        self.signals = Signals(self.market)
        self.ledger = Ledger()
        self.accounts: dict[str, Account] = {}
        self.by_id: dict[str, Account] = {}
        self.by_code: dict[str, Account] = {}
        self.deposits: dict[str, Account] = {}
        self._sessions = 0

    def execute(
        self,
        apply: Callable[[], Done[T]],
        *,
        kind: str,
        account: Account,
        at_ms: int,
        origin: tuple[str, str] = BY_CLOCK,
    ) -> T:
        """Carry out a change of state and put it in the ledger. Every change passes here, whoever asked for it.

        Args:
            apply: makes the change; what could refuse it was checked before.
            kind: what is done, for the ledger.
            account: for whom.
            at_ms: when, in epoch milliseconds.
            origin: method and path template of the call that asked for it.
        """
        done = apply()
        self.ledger.write(from_milliseconds(at_ms), origin, account.address, kind, done.detail)
        return done.reply

    def account(self, address: str) -> Account | None:
        """The account of an address in any case."""
        return self.accounts.get(address.lower())

    def open_account(self, address: str, referrer: Account | None, at_ms: int) -> Account:
        """Open the account of a new address, in its checksummed form."""
        account = Account(
            id=chance.identifier("usr", self.seed, address.lower()),
            address=address,
            available=self.funds,
            created_ms=at_ms,
            referrer=referrer,
            welcome_reward=WELCOME_REWARD,
        )
        if referrer is not None:
            referrer.referred.append(account)
        self.accounts[address.lower()] = account
        self.by_id[account.id] = account
        return account

    def next_session(self) -> int:
        """The number of the next session."""
        self._sessions += 1
        return self._sessions

    def price(self, session: SessionRecord, at_ms: int) -> Decimal:
        """What a session's asset costs."""
        return self.market.price(session.asset, at_ms)

    def equity(self, account: Account, at_ms: int) -> Decimal:
        """All USDC of an account, with what its open positions are worth."""
        held = ZERO
        for session in account.active.values():
            held += sum((position.margin for position in session.open_positions), ZERO)
            held += session.unrealized_pnl(self.price(session, at_ms))
        return account.available + held

    def active_sessions(self) -> Iterable[SessionRecord]:
        """The active sessions of all accounts."""
        return [session for account in self.accounts.values() for session in account.active.values()]
