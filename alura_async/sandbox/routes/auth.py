"""Signing in with an EVM wallet, and the trading agent's key."""

from __future__ import annotations

from typing import Any

from ...groups.auth import Challenge, SignIn, TradingKey
from ...secret import Secret
from .. import signin
from ..records import Account
from ..routing import Call, serves
from ..state import Done
from ..treasury import referrer_of
from ..validation import Hex, Text

ADDRESS = Hex(name="address", digits=40, wording="must be an Ethereum address", about="the wallet's address")
SIGNATURE = Hex(
    name="signature",
    digits=130,
    wording="must be a hexadecimal signature of 65 bytes",
    about="personal_sign of the challenge's message",
)
REFERRAL_CODE = Text(name="referralCode", required=False, about="the code of whoever referred this user")


@serves("POST", "/auth/evm/challenge", Challenge, body=(ADDRESS,))
def challenge(call: Call) -> Challenge:
    """Start a sign-in: a text to sign, valid for five minutes."""
    return call.services.challenges.issue(call.body["address"], call.authority, call.unhurried_ms)


@serves("POST", "/auth/evm/verify", SignIn, body=(ADDRESS, SIGNATURE, REFERRAL_CODE), errors=(401,))
def verify(call: Call) -> SignIn:
    """Finish a sign-in: a token for a signed challenge. A new address gets a funded account."""
    address = call.body["address"]
    referrer = referrer_of(call.world, call.body.get("referralCode"))
    call.services.challenges.answer(address, call.body["signature"], call.unhurried_ms)
    account = call.world.account(address) or _open_account(call, address, referrer)
    tokens = call.services.tokens

    def apply() -> Done[SignIn]:
        reply = SignIn(
            ok=True,
            access_token=Secret(tokens.issue(account, call.unhurried_ms)),
            token_type="Bearer",  # noqa: S106 - a kind, not a secret
            expires_in=int(tokens.lifetime),
        )
        return Done(reply, {})

    return call.execute("signed_in", apply, account)


@serves("GET", "/auth/evm/trading-key", TradingKey, bearer=True)
def trading_key(call: Call) -> TradingKey:
    """Read the trading agent's key."""
    return signin.trading_key(call.world.seed, call.user.address)


def _open_account(call: Call, address: str, referrer: Account | None) -> Account:
    world = call.world
    account = world.open_account(signin.checksummed(address), referrer, call.now_ms)

    def apply() -> Done[Account]:
        detail: dict[str, Any] = {"user_id": account.id, "funds": account.available}
        if referrer is not None:
            detail["referred_by"] = referrer.id
        return Done(account, detail)

    return call.execute("account_opened", apply, account)


ROUTES = (challenge, verify, trading_key)
