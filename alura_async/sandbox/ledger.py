"""What the sandbox was asked and what it did: the server's truth, for tests to assert on."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec


class LedgerEntry(msgspec.Struct, frozen=True):
    """One change of state that was carried out.

    Attributes:
        number: its place in the ledger, from 1.
        time: when it happened on the sandbox's clock.
        method: the HTTP method of the call that made it, or empty for what the clock brought about.
        path: the path template of that call, such as `/user/withdraw`, or empty.
        account: address of the account it was made for.
        kind: what was done: `account_opened` `signed_in` `session_created` `session_closed` (by the clock)
            `position_closed` `trade_closed` `asset_closed` `all_closed` (by a call) `close_signed` `cron_run`
            `fills_synced` `withdrawn` `usdc_sent` `reward_claimed` `code_created` `deposit_verified`.
        detail: facts: ids as text, amounts as Decimal.
    """

    number: int
    time: datetime
    method: str
    path: str
    account: str
    kind: str
    detail: Mapping[str, Any]

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
        kept: how many requests are remembered.
    """

    def __init__(self, kept: int = 10_000) -> None:
        self.entries: list[LedgerEntry] = []
        self.requests: deque[ReceivedRequest] = deque(maxlen=kept)

    def write(
        self, time: datetime, origin: tuple[str, str], account: str, kind: str, detail: Mapping[str, Any]
    ) -> None:
        """Put down a change that was carried out."""
        method, path = origin
        self.entries.append(LedgerEntry(len(self.entries) + 1, time, method, path, account, kind, detail))
