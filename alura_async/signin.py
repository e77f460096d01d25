"""Signing in with a wallet: challenge, check, `personal_sign`, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .core.challenge import SignedNonces, check_challenge
from .core.text import shown
from .core.token import owner_of
from .errors import AluraError, CallError, OutcomeUnknownError, ShapeError, SignInError
from .groups.auth import Auth, SignIn
from .secret import Secret

if TYPE_CHECKING:
    from .core.challenge import ChallengeCheck
    from .core.deadline import Deadline
    from .core.road import Road
    from .wallet import Wallet


class SigningIn:
    """How one client obtains its tokens.

    Args:
        wallet: what signs.
        check: refuses a text that is not plainly a sign-in to this server; nothing is signed then.
        host: the server's host, for the check.
        timeout: seconds for all of a sign-in.
        referral_code: the code of whoever referred this user.
    """

    def __init__(
        self, wallet: Wallet, check: ChallengeCheck, host: str, timeout: float, referral_code: str | None
    ) -> None:
        self._wallet = wallet
        self._check = check
        self._host = host
        self._timeout = timeout
        self._referral_code = referral_code
        self._signed = SignedNonces()

    async def __call__(self, road: Road) -> SignIn:
        """Obtain a token.

        If the reply to the verification is lost, all of it is done once more within the time limit, with a new
        challenge and a new signature: the server may have taken the first one, but a sign-in moves no money, and a
        token that nobody received harms nobody. A wallet that asks somebody asks twice then; and once for each sign-in
        that is begun because the last one failed, which for a call that closes may be every second.

        Args:
            road: how calls are made.

        Raises:
            SignInError: the server or the wallet refused, or the text was refused.
            CallError: a call failed.
        """
        with road.within(self._timeout) as deadline:
            try:
                try:
                    return await self._once(road, deadline)
                except OutcomeUnknownError as error:
                    if error.status is not None or deadline.remaining() == 0:
                        raise
                return await self._once(road, deadline)
            except ShapeError as error:
                raise SignInError(f"the server answered the sign-in in an unknown shape: {error}") from error
            except CallError as error:
                if error.status is None:
                    raise
                raise SignInError(f"the server refused the sign-in: {error}") from error
            except (AluraError, TimeoutError):
                raise
            except Exception as error:
                # Whatever a wallet of the user's own raises: callers expect this tree.
                why = shown(str(error), 200)
                raise SignInError(f"the wallet could not sign: {type(error).__name__}: {why}") from error

    async def address(self) -> str:
        """The wallet's address; a wallet that has to derive it first does so in its own way."""
        prepare = getattr(self._wallet, "prepare", None)
        if prepare is not None:
            await prepare()
        return self._wallet.address

    async def _once(self, road: Road, deadline: Deadline) -> SignIn:
        with road.tokens.asking_wallet(deadline.remaining()):
            address = await self.address()
        challenge = await road.travel(Auth.challenge.request(address), deadline.remaining())
        self._check(challenge, address=address, host=self._host)
        if self._check is check_challenge:
            self._signed.check(challenge)
        self._signed.note(challenge)
        # At once out of sight: a traceback of what follows may be rendered with this frame's locals.
        with road.tokens.asking_wallet(deadline.remaining()):
            signature = _sealed(await self._wallet.sign_message(challenge.message))
        verify = Auth.verify.request(address, signature, self._referral_code)
        answer = await road.travel(verify, deadline.remaining())
        self._signed.use_up(challenge)
        return answer


def _sealed(signature: str | bytes | Secret) -> Secret:
    """Wallets of other libraries give bytes."""
    if isinstance(signature, Secret):
        return signature
    try:
        return Secret(signature if isinstance(signature, str) else "0x" + bytes(signature).hex())
    except TypeError:
        kind = type(signature).__name__
    # Whatever it is, a signature is in it.
    del signature
    raise SignInError(f"the wallet's sign_message returned a {kind}: it must return '0x…' text, or bytes")


async def account_of(signs_in: SigningIn | None, token: str | Secret | None) -> str:
    """Whose calls a client makes, for the journal: the wallet's address, or what the token says of its owner.

    Empty where neither tells. A wallet that fails here fails again, and aloud, where it has to sign.
    """
    if signs_in is None:
        return "" if token is None else owner_of(token)
    try:
        return await signs_in.address()
    except Exception:  # noqa: BLE001 - a wallet of the user's own may raise anything
        return ""
