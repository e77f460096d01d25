"""Deposits of USDC."""

from __future__ import annotations

from ...groups.usdc_verification import Deposit, TotalDeposited
from .. import treasury
from ..routing import Call, serves
from ..validation import Hex

TX_HASH = Hex(
    name="txHash",
    digits=64,
    wording="must match /^0x[0-9a-fA-F]{64}$/ regular expression",
    about="the transaction on the chain; the sandbox finds every one",
)


@serves("POST", "/usdc-verification/verify", Deposit, bearer=True, body=(TX_HASH,))
def verify(call: Call) -> Deposit:
    """Verify a deposit: it is credited once, and a repeat says that it was."""
    tx_hash = call.body["txHash"]
    known = treasury.known_deposit(call.world, call.user, tx_hash)
    if known is not None:
        return known
    return call.execute("deposit_verified", lambda: treasury.deposit(call.world, call.user, tx_hash, call.now_ms))


@serves("GET", "/usdc-verification/my-transactions", list[Deposit], bearer=True)
def my_transactions(call: Call) -> list[Deposit]:
    """Read the caller's deposits, oldest first."""
    return list(call.user.deposits.values())


@serves("GET", "/usdc-verification/total-deposited", TotalDeposited, bearer=True)
def total_deposited(call: Call) -> TotalDeposited:
    """Read what the caller deposited in all."""
    return TotalDeposited(total=call.user.deposited, deposits=call.user.deposits_made)


ROUTES = (verify, my_transactions, total_deposited)
