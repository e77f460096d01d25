"""Deposits of USDC: having one verified, and what was deposited."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from ..core import arguments
from ..core.model import CheckedModel, Items, Synonyms, Time
from ..core.request import Effect, Parts
from ..core.surface import Group, Mode, endpoint
from .user import TransferStatus

if TYPE_CHECKING:
    from ..core.request import Extra, Params


class Deposit(CheckedModel, frozen=True, kw_only=True):
    """A deposit of USDC. Every field is assumed [guess].

    Attributes:
        tx_hash: the transaction on the chain.
        verified: whether the server has found it.
        amount: how much, in USDC.
        status: what state it is in.
        message: what the server says about it.
        created_at: when it was verified.
    """

    _titles = ("transaction", "tx")
    _also: ClassVar[Synonyms] = {
        "verified": ("isVerified", "valid", "confirmed"),
        "amount": ("value",),
        "created_at": ("timestamp", "time", "ts", "verifiedAt", "date"),
    }
    _bare = ("verified", "message")

    tx_hash: str | None = None
    verified: bool | None = None
    amount: Decimal | None = None
    status: TransferStatus | None = None
    message: str | None = None
    created_at: Time | None = None


class TotalDeposited(CheckedModel, frozen=True, kw_only=True):
    """What was deposited in all. Every field is assumed [guess].

    Attributes:
        total: the sum of all verified deposits, in USDC.
        deposits: how many there are.
    """

    _also: ClassVar[Synonyms] = {
        "total": ("totalDeposited", "amount", "totalAmount", "sum"),
        "deposits": ("depositCount", "depositsCount", "transactionCount", "count"),
    }
    _bare = ("total",)

    total: Decimal | None = None
    deposits: int | None = None


class UsdcVerification(Group[Mode]):
    """Deposits of USDC. Whether its calls need a token is not documented."""

    # An answer that belongs to another call must not say that a deposit counts.
    @endpoint("POST", "/usdc-verification/verify", effect=Effect.REPEATABLE, own_connection=True)
    def verify(self, tx_hash: str, *, extra: Extra | None = None) -> Parts[Deposit]:
        """Have a deposit verified. Harmless to repeat [conv]: a deposit counts once.

        The path is documented; the body is the likely one [conv], the response is not documented.

        Args:
            tx_hash: the transaction on the chain.
            extra: body fields of your own; they have the last word.
        """
        return Parts(body={"txHash": arguments.text("tx_hash", tx_hash)}, extra=extra)

    @endpoint("GET", "/usdc-verification/my-transactions")
    def my_transactions(self, *, params: Params | None = None) -> Parts[Items[Deposit]]:
        """Read the user's deposits.

        The path is documented, the response is not.

        Args:
            params: query parameters of your own.
        """
        return Parts(params=params)

    @endpoint("GET", "/usdc-verification/total-deposited")
    def total_deposited(self, *, params: Params | None = None) -> Parts[TotalDeposited]:
        """Read what the user deposited in all.

        The path is documented, the response is not.

        Args:
            params: query parameters of your own.
        """
        return Parts(params=params)
