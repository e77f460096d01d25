"""The leaderboard: a few hundred made-up users, and everyone who trades in this sandbox."""

from __future__ import annotations

import statistics
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from ..core.model import from_milliseconds
from ..groups.leaderboard import AssetActivity, LeaderboardAnalytics, LeaderboardStats, Ranking
from . import chance
from .listing import LISTED
from .records import MICRO, ZERO, Account, realize
from .state import World

BOTS = 250


class Leaderboard:
    """Who trades how well.

    Args:
        world: where the real accounts are.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    # Made when they are asked for: they cost more than all else that a sandbox begins with, and few tests look.
    @cached_property
    def _bots(self) -> list[Ranking]:
        return [_bot(self._world.seed, number) for number in range(BOTS)]

    @cached_property
    def _activity(self) -> list[AssetActivity]:
        seed = self._world.seed
        return [
            AssetActivity(
                symbol=asset.symbol,
                asset_index=asset.index,
                trades=chance.whole(40, 900, "activity", seed, asset.index),
                volume=_cents(1_000_000, 90_000_000, "activity volume", seed, asset.index),
                pnl=_cents(-3_000_000, 3_500_000, "activity pnl", seed, asset.index),
            )
            for asset in LISTED
        ]

    def rankings(self) -> list[Ranking]:
        """Everyone by profit, the best first; ids settle a draw, so the order is stable."""
        everyone = self._bots + [_real(account) for account in self._world.accounts.values()]
        everyone.sort(key=lambda place: (-(place.pnl or ZERO), place.user_id or ""))
        return [_ranked(place, rank) for rank, place in enumerate(everyone, 1)]

    def place(self, user_id: str) -> Ranking | None:
        """One user's place, or None."""
        return next((place for place in self.rankings() if place.user_id == user_id), None)

    def stats(self, now_ms: int) -> LeaderboardStats:
        """The leaderboard in numbers."""
        everyone = self.rankings()
        return LeaderboardStats(
            total_users=len(everyone),
            total_trades=sum(place.trades or 0 for place in everyone),
            total_volume=sum((place.volume or ZERO for place in everyone), ZERO),
            total_pnl=sum((place.pnl or ZERO for place in everyone), ZERO),
            updated_at=_moment(now_ms),
        )

    def analytics(self, now_ms: int) -> LeaderboardAnalytics:
        """What is behind the leaderboard."""
        results = [place.pnl or ZERO for place in self.rankings()]
        listed = {asset.index for asset in self._world.market.listed(now_ms)}
        activity = {entry.asset_index: entry for entry in self._activity if entry.asset_index in listed}
        for account in self._world.accounts.values():
            for session in account.sessions.values():
                before = activity[session.asset.index]
                volume = sum((realize(place.size * place.entry_price) for place in session.positions), ZERO)
                activity[session.asset.index] = AssetActivity(
                    symbol=before.symbol,
                    asset_index=before.asset_index,
                    trades=(before.trades or 0) + 1,
                    volume=(before.volume or ZERO) + volume,
                    pnl=(before.pnl or ZERO) + session.realized_pnl,
                )
        return LeaderboardAnalytics(
            average_pnl=(sum(results, ZERO) / len(results)).quantize(MICRO),
            median_pnl=statistics.median(results).quantize(MICRO),
            profitable_users=sum(result > 0 for result in results),
            assets=sorted(activity.values(), key=lambda entry: (-(entry.trades or 0), entry.asset_index or 0)),
            updated_at=_moment(now_ms),
        )


def _bot(seed: int, number: int) -> Ranking:
    used = _cents(10_000, 2_000_000, "bot used", seed, number)
    # The sum of three draws: many in the middle, few far out.
    percent = sum((_cents(-2_000, 2_200, "bot percent", seed, number, draw) for draw in range(3)), ZERO)
    return Ranking(
        user_id=chance.identifier("usr", "bot", seed, number),
        address="0x" + chance.digest("bot address", seed, number, size=20).hex(),
        pnl=realize(used * percent / 100),
        pnl_percent=percent,
        volume=realize(used * chance.whole(3, 60, "bot volume", seed, number)),
        trades=chance.whole(3, 400, "bot trades", seed, number),
        win_rate=_cents(2_500, 7_500, "bot wins", seed, number),
    )


def _real(account: Account) -> Ranking:
    cent = Decimal("0.01")
    return Ranking(
        user_id=account.id,
        address=account.address,
        pnl=account.realized_pnl,
        pnl_percent=(account.realized_pnl / account.used * 100).quantize(cent) if account.used else ZERO,
        volume=account.volume,
        trades=account.trades,
        win_rate=(Decimal(account.wins) / account.trades * 100).quantize(cent) if account.trades else ZERO,
    )


def _ranked(place: Ranking, rank: int) -> Ranking:
    return Ranking(
        rank=rank,
        user_id=place.user_id,
        address=place.address,
        pnl=place.pnl,
        pnl_percent=place.pnl_percent,
        volume=place.volume,
        trades=place.trades,
        win_rate=place.win_rate,
    )


def _cents(low: int, high: int, *parts: str | int) -> Decimal:
    return Decimal(chance.whole(low, high, *parts)).scaleb(-2)


def _moment(now_ms: int) -> datetime:
    # Whole seconds: it is computed on demand, and its age is not worth more digits.
    return from_milliseconds(now_ms // 1000 * 1000)
