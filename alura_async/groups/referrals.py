"""Referrals: codes, who came by them, and what they earned."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from ..core import arguments
from ..core.model import CheckedModel, Model, Synonyms, Time
from ..core.request import Effect, Parts
from ..core.surface import Group, Mode, endpoint

if TYPE_CHECKING:
    from ..core.request import Extra, Params


class Referral(CheckedModel, frozen=True, kw_only=True):
    """A user's referral info. Every field is assumed [guess].

    Attributes:
        user_id: the user's id.
        code: the user's own code.
        referred_by: the id of whoever referred the user.
        created_at: when the code was created.
    """

    _also: ClassVar[Synonyms] = {"code": ("referralCode", "refCode")}
    _bare = ("code",)

    user_id: str | None = None
    code: str | None = None
    referred_by: str | None = None
    created_at: Time | None = None


class ReferralStats(CheckedModel, frozen=True, kw_only=True):
    """What a user's referrals brought. Every field is assumed [guess].

    Attributes:
        user_id: the user's id.
        total_referrals: how many users came by the code.
        active_referrals: how many of them trade.
        total_volume: what they traded, in USDC.
        total_rewards: what the user earned by them, in USDC.
        claimable_rewards: what of it is not claimed yet, in USDC.
    """

    user_id: str | None = None
    total_referrals: int | None = None
    active_referrals: int | None = None
    total_volume: Decimal | None = None
    total_rewards: Decimal | None = None
    claimable_rewards: Decimal | None = None


class ReferralCheck(Model, frozen=True, kw_only=True):
    """Whether a code is good. Every field is assumed [guess].

    Attributes:
        code: the code.
        valid: whether it can be used.
        user_id: whose code it is.
    """

    _also: ClassVar[Synonyms] = {
        "code": ("referralCode", "refCode"),
        "valid": ("exists",),
        "user_id": ("referrer", "referrerId", "ownerId", "owner"),
    }
    _bare = ("valid",)

    code: str | None = None
    valid: bool | None = None
    user_id: str | None = None


class Referrals(Group[Mode]):
    """Referrals. Whether its calls need a token is not documented."""

    @endpoint("GET", "/referrals/:userId")
    def get(self, user_id: str, *, params: Params | None = None) -> Parts[Referral]:
        """Read a user's referral info.

        The path is documented, the response is not.

        Args:
            user_id: the user's id.
            params: query parameters of your own.
        """
        return Parts(user_id, params=params)

    @endpoint("GET", "/referrals/:userId/stats")
    def stats(self, user_id: str, *, params: Params | None = None) -> Parts[ReferralStats]:
        """Read a user's referral statistics.

        The path is documented, the response is not.

        Args:
            user_id: the user's id.
            params: query parameters of your own.
        """
        return Parts(user_id, params=params)

    @endpoint("POST", "/referrals/:userId/code")
    def create_code(self, user_id: str, *, extra: Extra | None = None) -> Parts[Referral]:
        """Create a user's referral code.

        The path is documented, bodies are not.

        Args:
            user_id: the user's id.
            extra: body fields of your own.

        Raises:
            OutcomeUnknownError: nobody can say whether it was created; read `get(user_id)`.
        """
        return Parts(user_id, extra=extra)

    @endpoint("POST", "/referrals/check", effect=Effect.REPEATABLE)
    def check(self, code: str, *, extra: Extra | None = None) -> Parts[ReferralCheck]:
        """Check a referral code. Harmless to repeat [conv].

        The path is documented; the body is the likely one [conv], the response is not documented.

        Args:
            code: the code.
            extra: body fields of your own; they have the last word.
        """
        return Parts(body={"code": arguments.text("code", code)}, extra=extra)
