"""What the sandbox was asked and what it did: the server's truth, for tests to assert on."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec


class LedgerEntry(msgspec.Struct, frozen=True):
    """One change of state that was carried out.

    Every call that was carried out has exactly one entry, at its acceptance; what it then brings about without delay
    is part of that entry. What takes effect later, and what the clock or the market brings about, has entries of its
    own without a method: `cause` says which entry they follow from.

    `kind` is one of these, for calls:

        account_opened  signed_in  code_created  deposit_verified  reward_claimed  withdrawn  usdc_sent
        session_created                                          its positions are opened, or will be
        position_closed  trade_closed  asset_closed  all_closed  closed, or will be
        close_signed  cron_run  fills_synced

    and for effects:

        positions_opened      a create that was accepted before, or one more slice of it
        positions_closed      a close that was accepted before, or one more slice of it
        positions_liquidated  positions whose margin is used up, while their session goes on
        close_failed          a close that was accepted before fails on the exchange
        session_closed        a session closes by its target, threshold or duration, or is liquidated

    `detail` has these keys, by kind:

        account_opened        user_id  funds  referred_by: only by a code
        signed_in             none
        code_created          code
        close_signed          position_id
        cron_run              sessions: how many were looked at
        fills_synced          synced: how many are new
        deposit_verified      tx_hash  amount
        reward_claimed        amount  tx_hash
        withdrawn             id  amount  destination
        usdc_sent             id  amount  destination  credited: whether an account here has it
        session_created       session_id  trade_id  kind  asset_index  symbol  budget  positions: how many
                              realized_pnl  status
        positions_opened      session_id  trade_id  position_ids  realized_pnl  status
        position_closed  trade_closed  asset_closed  all_closed
                              position_ids: those that were asked to close  trade_ids  closed_sessions  released
                              realized_pnl  status
        positions_closed      position_ids: those of which something was filled  closed_positions: those closed with it
                              closed_sessions  realized_pnl  status
        close_failed          position_ids  trade_ids
        session_closed  positions_liquidated
                              session_id  trade_id  reason  position_ids  closed_sessions  superseded  released
                              realized_pnl  session_pnl: all of its so far  status

    The end of a session is found in one way, whatever ended it: its id is in `detail["closed_sessions"]` of exactly one
    entry, the one with which the last of it was closed. A `session_closed` that is filled in slices has status
    `closing`, and a `positions_closed` then ends the session:

        ended = [id for entry in sandbox.ledger for id in entry.detail.get("closed_sessions", ())]

    `status` says how far that has come which was asked for: `pending`, `active`, `closing` or `closed`.
    `realized_pnl` is by how much the entry changed the account's balance: profit and loss less all fees, also of an
    opening. `released` is what was set aside for positions that were still being opened and is given back, as whatever
    closes a position ends its opening. `superseded` are the numbers of the entries that accepted a close of the same
    that has come too late. `reason` is `profit_target`, `loss_threshold`, `liquidation`, `duration`, or `size`: when
    the lag was over, the price was so high that nothing could be bought for the budget.

    Attributes:
        number: its place in the ledger, from 1.
        time: when it happened on the sandbox's clock.
        method: the HTTP method of the call that made it, or empty for what the clock brought about.
        path: the path template of that call, such as `/user/withdraw`, or empty.
        account: address of the account it was made for.
        kind: what was done.
        detail: facts: ids as text, amounts as Decimal.
        cause: of what follows from an earlier entry, that one's number.
    """

    number: int
    time: datetime
    method: str
    path: str
    account: str
    kind: str
    detail: Mapping[str, Any]
    cause: int | None = None

    @property
    def operation(self) -> str:
        """Method and path template of the call, such as `POST /user/withdraw`; empty for what the clock did."""
        return f"{self.method} {self.path}".strip()


class ReceivedRequest(msgspec.Struct):
    """One request that arrived, whatever became of it.

    Attributes:
        method: the HTTP method.
        path: the path as it came, percent-encoded.
        query: the query's parameters; of repeated ones the last.
        received_at: when it arrived, in real time.
        status: the status that was answered, or None as long as there is none.
        account: address of the account whose token came with it, or None.
        request_id: the `X-Request-Id` header.
        duration_ms: real milliseconds from its arrival to its answer, or None as long as there is none.
        executed: whether it was carried out: its endpoint answered it, and refused nothing. What a fault then made of
            the reply changes nothing of that.
        fault: the fault that hit it, as text such as `reset-after`, or None.
    """

    method: str
    path: str
    query: Mapping[str, str]
    received_at: datetime
    status: int | None = None
    account: str | None = None
    request_id: str | None = None
    duration_ms: float | None = None
    executed: bool = False
    fault: str | None = None


class Ledger:
    """The changes that were carried out and the requests that arrived.

    Args:
        kept: how many changes are remembered; their numbers go on.
        kept_requests: how many requests are.
    """

    def __init__(self, kept: int, kept_requests: int = 10_000) -> None:
        self.entries: deque[LedgerEntry] = deque(maxlen=kept)
        self.requests: deque[ReceivedRequest] = deque(maxlen=kept_requests)
        self.next_number = 1

    def write(
        self,
        time: datetime,
        origin: tuple[str, str],
        account: str,
        kind: str,
        detail: Mapping[str, Any],
        cause: int | None = None,
    ) -> None:
        """Put down a change that was carried out."""
        method, path = origin
        self.entries.append(LedgerEntry(self.next_number, time, method, path, account, kind, detail, cause))
        self.next_number += 1
