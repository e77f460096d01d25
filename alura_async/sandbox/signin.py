"""Signing in: challenges that can be used once, signatures that are really recovered, tokens that expire."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import msgspec

from ..core.model import from_milliseconds
from ..groups.auth import Challenge, TradingKey
from ..secret import Secret
from . import chance
from .records import Account
from .refusals import HttpError

CHALLENGE_MS = 5 * 60 * 1000
"""How long a challenge can be answered."""

DAY_S = 86_400

# Challenges that one address may leave unanswered: each is tried when a signature comes, and recovering takes time.
_OPEN_CHALLENGES = 8
_REMEMBERED = 10_000
_KNOWN = 2_000


def require_libraries() -> None:
    """Import what signing in needs: slow, so it is done once, off the loop, when a sandbox starts.

    Raises:
        ImportError: PyJWT is not installed.
    """
    try:
        import_module("jwt")
    except ImportError as error:
        raise ImportError("the sandbox needs PyJWT: in a clone of the project, pip install '.[cli,sandbox]'") from error
    # The first use loads more, from disk.
    signer("", sign(agent_key(0, ""), ""))


def checksummed(address: str) -> str:
    """An address with the capitals of EIP-55."""
    from eth_utils.address import to_checksum_address

    return to_checksum_address(address)


def signer(message: str, signature: str) -> str:
    """The address that signed a text with `personal_sign`.

    Raises:
        HttpError: 401, not a signature.
    """
    from eth_account import Account as Wallets
    from eth_account.messages import encode_defunct

    try:
        return str(Wallets.recover_message(encode_defunct(text=message), signature=signature))
    except Exception:  # noqa: BLE001 - it raises what its parts raise: ValueError, BadSignature, …
        raise HttpError(401, "Invalid signature") from None


def trading_key(seed: int, address: str) -> TradingKey:
    """The key of the agent that trades for an address."""
    key = agent_key(seed, address)
    return TradingKey(address=address_of(key.reveal()), private_key=key)


def address_of(key: str) -> str:
    """The address of a private key, in its checksummed form."""
    from eth_account import Account as Wallets

    return str(Wallets.from_key(key).address)


def agent_key(seed: int, address: str) -> Secret:
    """The private key of that agent."""
    return Secret(private_key("agent", seed, address.lower()))


def sign(key: Secret, text: str) -> str:
    """A `personal_sign` signature."""
    from eth_account import Account as Wallets
    from eth_account.messages import encode_defunct

    return "0x" + bytes(Wallets.sign_message(encode_defunct(text=text), key.reveal()).signature).hex()


def private_key(*parts: str | int) -> str:
    """A private key that belongs to these parts; worth nothing, as anyone can compute it."""
    # A digest is 0 or beyond the curve's order once in 2**128.
    return "0x" + chance.digest(*parts).hex()


class _Pending(msgspec.Struct, frozen=True):
    message: str
    expires_ms: int


class Challenges:
    """Challenges that are not answered yet.

    Args:
        seed: what makes the nonces of one sandbox different from another's.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._issued = 0
        self._pending: dict[str, list[_Pending]] = {}

    def issue(self, address: str, authority: str, now_ms: int) -> Challenge:
        """A new text to sign.

        Args:
            address: the wallet's address, as the caller wrote it.
            authority: host and port that the caller reached the server at.
            now_ms: the time, by the unhurried clock, as for everything here.
        """
        self._issued += 1
        nonce = chance.digest("nonce", self._seed, self._issued, size=12).hex()
        message = (
            f"{authority} wants you to sign in with your Ethereum account:\n"
            f"{address}\n"
            "\n"
            "Sign in to the Alura sandbox. This signature costs nothing and moves no funds.\n"
            "\n"
            f"URI: http://{authority}\n"
            "Version: 1\n"
            f"Nonce: {nonce}\n"
            f"Issued At: {_iso(now_ms)}\n"
            f"Expiration Time: {_iso(now_ms + CHALLENGE_MS)}"
        )
        # Whoever asked last comes last, so the oldest are in front.
        pending = self._pending.pop(address.lower(), [])
        pending.append(_Pending(message, now_ms + CHALLENGE_MS))
        self._pending[address.lower()] = pending[-_OPEN_CHALLENGES:]
        self._forget_expired(now_ms)
        return Challenge(address=address, nonce=nonce, message=message)

    def answer(self, address: str, signature: str, now_ms: int) -> None:
        """Take the answer to one of an address's challenges; it cannot be answered again.

        Raises:
            HttpError: 401, none is open, or the signature is not by this address.
        """
        pending = self._pending.get(address.lower(), [])
        alive = [challenge for challenge in pending if challenge.expires_ms > now_ms]
        if not alive:
            raise HttpError(401, "Challenge expired or already used")
        # The call does not say which challenge it answers; the newest is the likeliest.
        for challenge in reversed(alive):
            if signer(challenge.message, signature).lower() == address.lower():
                pending.remove(challenge)
                if not pending:
                    del self._pending[address.lower()]
                return
        raise HttpError(401, "Invalid signature")

    def _forget_expired(self, now_ms: int) -> None:
        """Forget what nobody will answer any more, and the oldest of more than can be remembered."""
        while self._pending:
            oldest = next(iter(self._pending))
            if self._pending[oldest][-1].expires_ms > now_ms and len(self._pending) <= _REMEMBERED:
                return
            del self._pending[oldest]


class Tokens:
    """JWTs, valid until the sandbox's unhurried clock says otherwise.

    Attributes:
        lifetime: seconds that a token is valid from its issue.

    Args:
        find: gives the account of an id.
        seed: what makes the tokens of one sandbox different from another's. They can be computed from it, as every
            wallet here can: a token is worth as much as the sandbox is.
    """

    def __init__(self, find: Callable[[str], Account | None], seed: int) -> None:
        self.lifetime: float = DAY_S
        self._find = find
        self._seed = seed
        self._issued = 0
        self._revoked = 0
        self._known: dict[str, tuple[Account, float]] = {}
        self._secret = self._next_secret()

    def issue(self, account: Account, now_ms: int) -> str:
        """A new token; no two are the same."""
        import jwt

        self._issued += 1
        claims: dict[str, Any] = {
            "sub": account.id,
            "address": account.address,
            "iat": now_ms // 1000,
            "exp": int(now_ms / 1000 + self.lifetime),
            "jti": str(self._issued),
        }
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def revoke_all(self) -> None:
        """Make every token issued so far invalid."""
        self._revoked += 1
        self._secret = self._next_secret()
        self._known.clear()

    def account(self, authorization: str | None, now_ms: int) -> Account | None:
        """Whose token an `Authorization` header carries, or None if it carries no valid one."""
        if authorization is None or authorization[:7].lower() != "bearer ":
            return None
        token = authorization[7:].strip()
        if not token.isascii():
            # PyJWT fails on what was no text to begin with.
            return None
        found = self._known.get(token) or self._read(token)
        if found is None or found[1] * 1000 <= now_ms:
            return None
        return found[0]

    def _next_secret(self) -> bytes:
        return chance.digest("tokens", self._seed, self._revoked)

    def _read(self, token: str) -> tuple[Account, float] | None:
        import jwt

        try:
            # PyJWT would compare with this machine's clock.
            options: Any = {"verify_exp": False, "verify_iat": False, "require": ["exp", "sub"]}
            claims = jwt.decode(token, self._secret, algorithms=["HS256"], options=options)
        except jwt.InvalidTokenError:
            return None
        account = self._find(claims["sub"])
        if account is None:
            return None
        if len(self._known) >= _KNOWN:
            # It is read anew if it comes again.
            del self._known[next(iter(self._known))]
        self._known[token] = (account, claims["exp"])
        return self._known[token]


def _iso(at_ms: int) -> str:
    return from_milliseconds(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
