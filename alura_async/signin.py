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
            # At once out of sight: a traceback of what follows may be rendered with this frame's locals.
            signature = _sealed(await wallet.sign_message(challenge.message))
            verify = Auth.verify.request(address, signature, referral_code)
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
