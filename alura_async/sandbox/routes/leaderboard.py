"""The leaderboard."""

from __future__ import annotations

from ...groups.health import ServiceHealth
from ...groups.leaderboard import LeaderboardAnalytics, LeaderboardStats, Ranking
from ...groups.pages import Page
from ..paging import LIMIT, PAGE, page_of
from ..refusals import not_found
from ..routing import Call, serves
from .health import healthy


@serves("GET", "/api/leaderboard/stats", LeaderboardStats)
def stats(call: Call) -> LeaderboardStats:
    """Read the leaderboard in numbers."""
    return call.services.leaderboard.stats(call.now_ms)


@serves("GET", "/api/leaderboard/rankings", Page[Ranking], query=(PAGE, LIMIT))
def rankings(call: Call) -> Page[Ranking]:
    """Read a page of the rankings, the best first."""
    return page_of(call, call.services.leaderboard.rankings())


@serves("GET", "/api/leaderboard/user/:userId", Ranking, bearer=True, errors=(404,))
def user(call: Call) -> Ranking:
    """Read one user's ranking."""
    place = call.services.leaderboard.place(call.path["userId"])
    if place is None:
        raise not_found("User not found")
    return place


@serves("GET", "/api/leaderboard/analytics", LeaderboardAnalytics, bearer=True)
def analytics(call: Call) -> LeaderboardAnalytics:
    """Read what is behind the leaderboard."""
    return call.services.leaderboard.analytics(call.now_ms)


@serves("GET", "/api/leaderboard/health", ServiceHealth)
def health(call: Call) -> ServiceHealth:
    """Read the health of the leaderboard service."""
    return healthy(call, "leaderboard")


ROUTES = (stats, rankings, user, analytics, health)
