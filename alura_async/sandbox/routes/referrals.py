"""Referrals: codes, who came by them, and what they earned."""

from __future__ import annotations

from ...groups.referrals import Referral, ReferralCheck, ReferralStats
from .. import treasury
from ..refusals import bad_request
from ..routing import Call, serves
from ..validation import Text

CODE = Text(name="code", about="the code", example="K7QDM2XA")


@serves("GET", "/referrals/:userId", Referral, bearer=True, errors=(404,))
def get(call: Call) -> Referral:
    """Read a user's referral info."""
    return treasury.show_referral(treasury.require_user(call.world, call.path["userId"]))


@serves("GET", "/referrals/:userId/stats", ReferralStats, bearer=True, errors=(404,))
def stats(call: Call) -> ReferralStats:
    """Read what a user's referrals brought."""
    account = treasury.require_user(call.world, call.path["userId"])
    return ReferralStats(
        user_id=account.id,
        total_referrals=account.referred,
        active_referrals=account.referred_active,
        total_volume=account.referred_volume,
        total_rewards=account.referral_rewards,
        claimable_rewards=account.referral_rewards - account.referral_rewards_claimed,
    )


@serves("POST", "/referrals/:userId/code", Referral, bearer=True, errors=(403, 404))
def create_code(call: Call) -> Referral:
    """Create the caller's referral code; there can be one."""
    account = treasury.require_own(call.world, call.user, call.path["userId"])
    if account.referral_code is not None:
        raise bad_request("Referral code already exists")
    return call.execute("code_created", lambda: treasury.create_code(call.world, account, call.now_ms))


@serves("POST", "/referrals/check", ReferralCheck, bearer=True, body=(CODE,))
def check(call: Call) -> ReferralCheck:
    """Check a referral code."""
    code = call.body["code"]
    owner = call.world.by_code.get(code.strip().upper())
    return ReferralCheck(code=code, valid=owner is not None, user_id=None if owner is None else owner.id)


ROUTES = (get, stats, create_code, check)
