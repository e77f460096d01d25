"""Signing in with a wallet: challenge, check, `personal_sign`, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .core.text import shown
from .errors import AluraError, CallError, ShapeError, SignInError
from .groups.auth import Auth, SignIn
from .secret import Secret

if TYPE_CHECKING:
    from .core.challenge import ChallengeCheck
    from .core.road import Road
    from .wallet import Wallet


async def sign_in(
    road: Road, wallet: Wallet, check: ChallengeCheck, host: str, timeout: float, referral_code: str | None
) -> SignIn:
    """Obtain a token.

    Args:
        road: how calls are made.
        wallet: what signs.
        check: refuses a text that is not plainly a sign-in to this server; nothing is signed then.
        host: the server's host, for the check.
        timeout: seconds for all of it.
        referral_code: the code of whoever referred this user.

    Raises:
        SignInError: the server or the wallet refused, or the text was refused.
        CallError: a call failed.
    """
    with road.within(timeout) as deadline:
        try:
            prepare = getattr(wallet, "prepare", None)
            if prepare is not None:
                await prepare()
            address = wallet.address
            challenge = await road.travel(Auth.challenge.request(address), deadline.remaining())
            check(challenge, address=address, host=host)
            signature = await wallet.sign_message(challenge.message)
            hidden = signature if isinstance(signature, Secret) else Secret(_as_hex(signature))
            verify = Auth.verify.request(address, hidden, referral_code)
            return await road.travel(verify, deadline.remaining())
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


def _as_hex(signature: str | bytes) -> str:
    """Wallets of other libraries give bytes."""
    return signature if isinstance(signature, str) else "0x" + bytes(signature).hex()
