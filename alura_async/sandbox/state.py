"""Everything the sandbox knows, and the one door through which it changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec

from ..core.model import from_milliseconds
from ..groups.user import Fill
from . import chance
from .agenda import Agenda
from .book import Book
from .clock import Clock
from .conditions import Conditions
from .ledger import Ledger
from .market import Market
from .records import ZERO, Account, PositionRecord, SessionRecord
from .signals import Signals
from .watch import Watch

T = TypeVar("T")

WELCOME_REWARD = Decimal(5)
"""USDC that every new account can claim."""

MOST_FUNDS = 10**12
"""USDC that an account can begin with."""

BY_CLOCK = ("", "")
"""Origin of what no call brought about."""

SHOWN_FILLS = 500
"""A sync shows the newest fills, the new ones and some that are known."""

_MOST_LOGS = 1000


class Done(msgspec.Struct, Generic[T], frozen=True):
    """What a change of state gave: the reply to the call that asked for it, and what the ledger says of it."""

    reply: T
    detail: Mapping[str, Any]


@dataclass(slots=True)
class Activity:
    """What was traded in one asset by all accounts."""

    trades: int = 0
    volume: Decimal = ZERO
    pnl: Decimal = ZERO


class World:
    """Accounts, their sessions and money, the market they trade on, and the clock they live by.

    Attributes:
        agenda: what will happen at a certain time.
        watch: what will happen at a certain price.
        trades: the sessions by the ids of their trades.
        positions: the positions by id, each with its session.
        activity: what was traded, by the assets' indices.
        changed: the accounts whose results changed since the leaderboard last looked.
        settled_s: the second of the clock up to which prices were looked at.

    Args:
        seed: what makes one world different from another.
        clock: its time.
        funds: USDC that an account begins with.
        conditions: how unkind its exchange is.
        kept: how many entries of the ledger are remembered, and of all accounts together as many fills, and a tenth as
            many closed sessions and deposits.
    """

    def __init__(self, seed: int, clock: Clock, funds: Decimal, conditions: Conditions, kept: int) -> None:
        self.seed = seed
        self.clock = clock
        self.funds = funds
        self.conditions = conditions
        self.market = Market(seed)
        self.signals = Signals(self.market)
        self.ledger = Ledger(kept)
        self.book = Book()
        self.agenda = Agenda()
        self.watch = Watch(self.market)
        self.accounts: dict[str, Account] = {}
        self.by_id: dict[str, Account] = {}
        self.by_code: dict[str, Account] = {}
        self.deposits: dict[str, Account] = {}
        self.trades: dict[str, SessionRecord] = {}
        self.positions: dict[str, tuple[SessionRecord, PositionRecord]] = {}
        self.activity: dict[int, Activity] = {}
        self.changed: set[Account] = set()
        self.settled_s = -1
        self._kept = kept
        self._few = max(1, kept // 10)
        self._closed: deque[SessionRecord] = deque()
        self._fills: deque[tuple[Account, int]] = deque()
        self._sessions = 0

    def execute(
        self,
        apply: Callable[[], Done[T]],
        *,
        kind: str,
        account: Account,
        at_ms: int,
        origin: tuple[str, str] = BY_CLOCK,
        cause: int | None = None,
    ) -> T:
        """Carry out a change of state and put it in the ledger. Every change passes here, whoever asked for it.

        Args:
            apply: makes the change; what could refuse it was checked before.
            kind: what is done, for the ledger.
            account: for whom.
            at_ms: when, in epoch milliseconds.
            origin: method and path template of the call that asked for it.
            cause: number of the ledger's entry that it follows from.
        """
        done = apply()
        self.ledger.write(from_milliseconds(at_ms), origin, account.address, kind, done.detail, cause)
        return done.reply

    def account(self, address: str) -> Account | None:
        """The account of an address in any case."""
        return self.accounts.get(address.lower())

    def open_account(self, address: str, referrer: Account | None, at_ms: int) -> Account:
        """Open the account of a new address, in its checksummed form."""
        account = Account(
            id=chance.identifier("usr", self.seed, address.lower()),
            address=address,
            purse=self.book.open(address),
            margin=self.book.open(f"{address} margin"),
            rewards=self.book.open(f"{address} rewards"),
            created_ms=at_ms,
            fills=deque(maxlen=SHOWN_FILLS),
            referrer=referrer,
        )
        self.book.move(self.funds, self.book.grants, account.purse)
        self.book.move(WELCOME_REWARD, self.book.rewards, account.rewards)
        if referrer is not None:
            referrer.referred += 1
        self.accounts[address.lower()] = account
        self.by_id[account.id] = account
        self.changed.add(account)
        return account

    def next_session(self) -> int:
        """The number of the next session."""
        self._sessions += 1
        return self._sessions

    def new_logs(self) -> deque[Any]:
        """Room for the log of a session."""
        return deque(maxlen=min(self._kept, _MOST_LOGS))

    def remember_closed(self, session: SessionRecord) -> None:
        """Keep a closed session for those who ask for it, and forget the one closed longest ago if there are many."""
        self._closed.append(session)
        if len(self._closed) <= self._few:
            return
        oldest = self._closed.popleft()
        del oldest.account.sessions[oldest.id]
        del self.trades[oldest.trade_id]
        for position in oldest.positions:
            del self.positions[position.id]

    def remember_fill(self, account: Account, fill: Fill) -> None:
        """Keep an account's newest fills for its next sync, and forget the oldest of all if there are many."""
        account.fills.append(fill)
        account.filled += 1
        self._fills.append((account, account.filled))
        if len(self._fills) > self._kept:
            owner, number = self._fills.popleft()
            # It may be gone already, as an account's own newest are few.
            if number > owner.filled - len(owner.fills):
                owner.fills.popleft()

    def remember_deposit(self, tx_hash: str, account: Account) -> None:
        """Keep in mind whose deposit it is, and forget the oldest if there are many."""
        self.deposits[tx_hash] = account
        if len(self.deposits) > self._few:
            oldest = next(iter(self.deposits))
            del self.deposits.pop(oldest).deposits[oldest]

    def activity_of(self, session: SessionRecord) -> Activity:
        """What was traded in a session's asset."""
        return self.activity.setdefault(session.asset.index, Activity())

    def price(self, session: SessionRecord, at_ms: int) -> Decimal:
        """What a session's asset costs."""
        return self.market.price(session.asset, at_ms)

    def equity(self, account: Account, at_ms: int) -> Decimal:
        """All USDC of an account, with what its open positions are worth."""
        unrealized = sum(
            (session.unrealized_pnl(self.price(session, at_ms)) for session in account.active.values()), ZERO
        )
        return account.purse.amount + account.margin.amount + unrealized

    def active_sessions(self) -> list[SessionRecord]:
        """The active sessions of all accounts."""
        return [session for account in self.accounts.values() for session in account.active.values()]
