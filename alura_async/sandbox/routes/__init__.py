"""The route table: the API's endpoints, and what is served besides."""

from __future__ import annotations

from . import auth, docs, health, indicators, leaderboard, referrals, trading_sessions, usdc_verification, user

ROUTES = (
    *auth.ROUTES,
    *trading_sessions.ROUTES,
    *user.ROUTES,
    *indicators.ROUTES,
    *leaderboard.ROUTES,
    *referrals.ROUTES,
    *usdc_verification.ROUTES,
    *health.ROUTES,
)
"""The endpoints of the API."""

SERVED = docs.ROUTES
"""What is served besides: the description of the API."""

__all__ = ["ROUTES", "SERVED"]
