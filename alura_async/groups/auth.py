"""Signing in with an EVM wallet, and the trading agent's key."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from ..core import arguments
from ..core.model import Model, Synonyms
from ..core.request import Access, Action, Effect, Lane, Parts
from ..core.surface import Async, Group, Mode, endpoint, operation
from ..secret import Secret

if TYPE_CHECKING:
    from ..client import AsyncAlura
    from ..core.request import Params


class Challenge(Model, frozen=True, kw_only=True):
    """A text to sign.

    Attributes:
        address: the wallet's address, as the server took it [doc].
        nonce: the number used once that the text contains [doc].
        message: the text to sign with `personal_sign` [doc].
    """

    address: str
    nonce: str
    message: str


class SignIn(Model, frozen=True, kw_only=True):
    """A token.

    The document shows these fields and says that more follow; those are in `extra`.

    Attributes:
        ok: whether the sign-in succeeded [doc].
        access_token: the JWT for `Authorization: Bearer …` [doc].
        token_type: `Bearer` [doc].
        expires_in: how long the token is valid [doc], in seconds [conv]; the document's example is a day.
    """

    ok: bool | None = None
    access_token: Secret
    token_type: str | None = None
    expires_in: float | None = None


class TradingKey(Model, frozen=True, kw_only=True):
    """The key of the agent that trades for the account. Treat it as what it is: a secret.

    All fields are assumed [guess].

    Attributes:
        address: the agent's address.
        private_key: the agent's private key.
    """

    _titles = ("agent", "wallet")
    _also: ClassVar[Synonyms] = {
        "address": ("agentAddress", "agent"),
        "private_key": ("key", "secret", "agentPrivateKey"),
    }

    address: str | None = None
    private_key: Secret | None = None


class Auth(Group[Mode]):
    """Signing in. The client does it by itself when a call needs a token; these are for those who want to see it."""

    @endpoint(
        "POST",
        "/auth/evm/challenge",
        effect=Effect.REPEATABLE,
        access=Access.PUBLIC,
        lane=Lane.EXIT,
        action=Action.SIGN_IN,
        # A hundred hanging reads must not keep a close from signing in.
        own_connection=True,
    )
    def challenge(self, address: str) -> Parts[Challenge]:
        """Ask for a text to sign.

        Request and response are documented.

        Args:
            address: the wallet's 20-byte address, `0x…`.

        Raises:
            InvalidArgumentError: not an address, or one with a wrong checksum.
        """
        return Parts(body={"address": arguments.address("address", address)})

    @endpoint("POST", "/auth/evm/verify", access=Access.PUBLIC, lane=Lane.EXIT, action=Action.SIGN_IN)
    def verify(self, address: str, signature: str | Secret, referral_code: str | None = None) -> Parts[SignIn]:
        """Exchange a signed challenge for a token. The client does not keep this token; `login()` does.

        Request and response are documented, except what follows `expiresIn`.

        Args:
            address: the wallet's address.
            signature: the 65-byte `personal_sign` signature, `0x…`.
            referral_code: the code of whoever referred this user.

        Raises:
            InvalidArgumentError: not an address.
        """
        # At once out of sight: what follows may raise, and a traceback may be rendered with this frame's locals.
        signature = signature if isinstance(signature, Secret) else Secret(signature)
        return Parts(
            body={
                "address": arguments.address("address", address),
                "signature": arguments.secret("signature", signature),
                "referralCode": None if referral_code is None else arguments.text("referral_code", referral_code),
            }
        )

    @endpoint("GET", "/auth/evm/trading-key", access=Access.BEARER)
    def trading_key(self, *, params: Params | None = None) -> Parts[TradingKey]:
        """Read the trading agent's key.

        The path is documented, the response is not.

        Args:
            params: query parameters of your own.
        """
        return Parts(params=params)

    @operation
    async def login(self: Auth[Async]) -> None:
        """Sign in now, even if a valid token is held, and keep the new token.

        Raises:
            CredentialsNeededError: the client has no wallet.
            ChallengeRefusedError: the text to sign is not plainly a sign-in to this server; nothing was signed.
            SignInError: the server refused.
        """
        await cast("AsyncAlura", self._client)._login()

    @operation
    async def logout(self: Auth[Async]) -> None:
        """Forget the token, also in the `token_cache`. This is local: the API has no way to revoke one. With a
        wallet, the next call signs in anew.

        Raises:
            ConfigurationError: it is forgotten, but may still be in the `token_cache`; the message says why.
        """
        await cast("AsyncAlura", self._client)._logout()
