"""The leaderboard: who trades how well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from ..core.model import CheckedModel, Synonyms, Time
from ..core.request import Lane, Parts
from ..core.surface import Async, Group, Mode, endpoint, stream
from .health import ServiceHealth
from .pages import Page, pages

if TYPE_CHECKING:
    from ..core.request import Params


class LeaderboardStats(CheckedModel, frozen=True, kw_only=True):
    """The whole leaderboard in numbers. Every field is assumed [guess].

    Attributes:
        total_users: how many users are ranked.
        total_trades: how many trades they made.
        total_volume: what they traded, in USDC.
        total_pnl: what they won or lost together, in USDC.
        updated_at: when this was computed.
    """

    total_users: int | None = None
    total_trades: int | None = None
    total_volume: Decimal | None = None
    total_pnl: Decimal | None = None
    updated_at: Time | None = None


class Ranking(CheckedModel, frozen=True, kw_only=True):
    """One user's place. Every field is assumed [guess].

    Attributes:
        rank: the place, from 1.
        user_id: the user's id.
        address: the user's wallet address.
        pnl: what the user won or lost, in USDC.
        pnl_percent: the same in percent of what was used.
        volume: what the user traded, in USDC.
        trades: how many trades the user made.
        win_rate: share of trades that won, in percent.
    """

    _titles = ("entry", "leader", "leaderboard")
    _also: ClassVar[Synonyms] = {"rank": ("place", "position", "ranking")}

    rank: int | None = None
    user_id: str | None = None
    address: str | None = None
    pnl: Decimal | None = None
    pnl_percent: Decimal | None = None
    volume: Decimal | None = None
    trades: int | None = None
    win_rate: Decimal | None = None


class AssetActivity(CheckedModel, frozen=True, kw_only=True):
    """How much an asset is traded. Every field is assumed [guess].

    Attributes:
        symbol: the asset's symbol.
        asset_index: the asset's index.
        trades: how many trades were made in it.
        volume: what was traded, in USDC.
        pnl: what was won or lost, in USDC.
    """

    symbol: str | None = None
    asset_index: int | None = None
    trades: int | None = None
    volume: Decimal | None = None
    pnl: Decimal | None = None


class LeaderboardAnalytics(CheckedModel, frozen=True, kw_only=True):
    """What is behind the leaderboard. Every field is assumed [guess].

    Attributes:
        average_pnl: mean profit or loss of a user, in USDC.
        median_pnl: median profit or loss of a user, in USDC.
        profitable_users: how many users won.
        assets: the assets by activity.
        updated_at: when this was computed.
    """

    _also: ClassVar[Synonyms] = {
        "average_pnl": ("avgPnl", "meanPnl"),
        "assets": ("assetActivity", "byAsset", "topAssets", "symbols"),
        "profitable_users": ("winners", "profitableTraders"),
    }

    average_pnl: Decimal | None = None
    median_pnl: Decimal | None = None
    profitable_users: int | None = None
    assets: list[AssetActivity] | None = None
    updated_at: Time | None = None


class Leaderboard(Group[Mode]):
    """The leaderboard. Whether its calls need a token is not documented."""

    @endpoint("GET", "/api/leaderboard/stats", lane=Lane.MARKET)
    def stats(self, *, params: Params | None = None) -> Parts[LeaderboardStats]:
        """Read the leaderboard's statistics.

        The path is documented, the response is not.

        Args:
            params: query parameters of your own.
        """
        return Parts(params=params)

    @endpoint("GET", "/api/leaderboard/rankings", lane=Lane.MARKET)
    def rankings(
        self, *, page: int | None = None, limit: int | None = None, params: Params | None = None
    ) -> Parts[Page[Ranking]]:
        """Read one page of the rankings. `iter_rankings` reads them all.

        The path is documented; that it is paginated, the query and the response are not.

        Args:
            page: the page's number [conv], from 1.
            limit: how many places a page holds at most [conv].
            params: query parameters of your own; they have the last word.
        """
        return Parts(query={"page": page, "limit": limit}, params=params)

    @stream
    async def iter_rankings(
        self: Leaderboard[Async], *, limit: int | None = 100, params: Params | None = None
    ) -> AsyncIterator[Sequence[Ranking]]:
        """Iterate over all rankings, page by page, each user once.

        Stops by itself: at the total that the server names, where it says that no page follows, or where pages bring
        nothing new.

        Args:
            limit: how many places to ask for in one page [conv].
            params: query parameters of your own; they have the last word.

        Raises:
            ShapeError: fewer places came than the server says there are. Those that came were yielded.
        """

        async def read(number: int, following: Mapping[str, str] | None) -> Page[Ranking]:
            if following is not None:
                return await self.rankings(limit=limit, params={**(params or {}), **following})
            return await self.rankings(page=number, limit=limit, params=params)

        path = Leaderboard.rankings.request().path
        async with aclosing(pages(read, lambda place: place.user_id or place.address, path)) as batches:
            async for batch in batches:
                yield batch

    @endpoint("GET", "/api/leaderboard/user/:userId", lane=Lane.MARKET)
    def user(self, user_id: str, *, params: Params | None = None) -> Parts[Ranking]:
        """Read one user's ranking.

        The path is documented, the response is not.

        Args:
            user_id: the user's id.
            params: query parameters of your own.
        """
        return Parts(user_id, params=params)

    @endpoint("GET", "/api/leaderboard/analytics", lane=Lane.MARKET)
    def analytics(self, *, params: Params | None = None) -> Parts[LeaderboardAnalytics]:
        """Read the leaderboard's analytics.

        The path is documented, the response is not.

        Args:
            params: query parameters of your own.
        """
        return Parts(params=params)

    @endpoint("GET", "/api/leaderboard/health", lane=Lane.MARKET)
    def health(self, *, params: Params | None = None) -> Parts[ServiceHealth]:
        """Read the health of the leaderboard service.

        The path is documented, the response is not.

        Args:
            params: query parameters of your own.
        """
        return Parts(params=params)
