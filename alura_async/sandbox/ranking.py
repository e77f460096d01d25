"""The leaderboard: a few hundred made-up users, and everyone who trades in this sandbox."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import overload

import msgspec

from ..core.model import from_milliseconds
from ..groups.leaderboard import AssetActivity, LeaderboardAnalytics, LeaderboardStats, Ranking
from . import chance
from .listing import Asset
from .records import MICRO, ZERO, Account, realize
from .state import Activity, World

BOTS = 250


class Places(Sequence[Ranking]):
    """Everyone's place, the best first, made when it is asked for.

    Args:
        order: the ids in order, each with what it is ordered by.
        results: what is known of each.
    """

    def __init__(self, order: list[tuple[Decimal, str]], results: dict[str, Ranking]) -> None:
        self._order = order
        self._results = results

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Ranking: ...
    @overload
    def __getitem__(self, index: slice) -> list[Ranking]: ...
    def __getitem__(self, index: int | slice) -> Ranking | list[Ranking]:
        places = range(len(self._order))[index]
        return self._place(places) if isinstance(places, int) else [self._place(place) for place in places]

    def _place(self, place: int) -> Ranking:
        return msgspec.structs.replace(self._results[self._order[place][1]], rank=place + 1)


class Leaderboard:
    """Who trades how well. It is kept in order as results change, so that asking costs little.

    Args:
        world: where the real accounts are.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._results: dict[str, Ranking] = {}
        self._order: list[tuple[Decimal, str]] = []
        self._trades = 0
        self._volume = ZERO
        self._pnl = ZERO

    def rankings(self) -> Places:
        """Everyone by profit, the best first; ids settle a draw, so the order is stable."""
        self._refresh()
        return Places(self._order, self._results)

    def place(self, user_id: str) -> Ranking | None:
        """One user's place, or None."""
        places = self.rankings()
        result = self._results.get(user_id)
        return None if result is None else places[bisect_left(self._order, _key(result))]

    def stats(self, now_ms: int) -> LeaderboardStats:
        """The leaderboard in numbers."""
        self._refresh()
        return LeaderboardStats(
            total_users=len(self._order),
            total_trades=self._trades,
            total_volume=self._volume,
            total_pnl=self._pnl,
            updated_at=_moment(now_ms),
        )

    def analytics(self, now_ms: int) -> LeaderboardAnalytics:
        """What is behind the leaderboard."""
        self._refresh()
        count = len(self._order)
        middle = self._order[(count - 1) // 2 : count // 2 + 1]
        activity = self._world.activity
        assets = [
            _with(_made_up(self._world.seed, asset), activity.get(asset.index))
            for asset in self._world.market.listed(now_ms)
        ]
        return LeaderboardAnalytics(
            average_pnl=(self._pnl / count).quantize(MICRO),
            median_pnl=(-sum((key[0] for key in middle), ZERO) / len(middle)).quantize(MICRO) + 0,
            profitable_users=bisect_left(self._order, (ZERO, "")),
            assets=sorted(assets, key=lambda entry: (-(entry.trades or 0), entry.asset_index or 0)),
            updated_at=_moment(now_ms),
        )

    def _refresh(self) -> None:
        if not self._order:
            # Not before somebody looks: they cost more than all else that a sandbox begins with.
            for number in range(BOTS):
                self._put(_bot(self._world.seed, number))
        while self._world.changed:
            self._put(_real(self._world.changed.pop()))

    def _put(self, result: Ranking) -> None:
        before = self._results.get(result.user_id or "")
        if before is not None:
            del self._order[bisect_left(self._order, _key(before))]
            self._add(before, -1)
        self._results[result.user_id or ""] = result
        insort(self._order, _key(result))
        self._add(result, 1)

    def _add(self, result: Ranking, sign: int) -> None:
        self._trades += sign * (result.trades or 0)
        self._volume += sign * (result.volume or ZERO)
        self._pnl += sign * (result.pnl or ZERO)


def _key(result: Ranking) -> tuple[Decimal, str]:
    return -(result.pnl or ZERO), result.user_id or ""


def _made_up(seed: int, asset: Asset) -> AssetActivity:
    return AssetActivity(
        symbol=asset.symbol,
        asset_index=asset.index,
        trades=chance.whole(40, 900, "activity", seed, asset.index),
        volume=_cents(1_000_000, 90_000_000, "activity volume", seed, asset.index),
        pnl=_cents(-3_000_000, 3_500_000, "activity pnl", seed, asset.index),
    )


def _with(before: AssetActivity, activity: Activity | None) -> AssetActivity:
    if activity is None:
        return before
    return msgspec.structs.replace(
        before,
        trades=(before.trades or 0) + activity.trades,
        volume=(before.volume or ZERO) + activity.volume,
        pnl=(before.pnl or ZERO) + activity.pnl,
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


def _cents(low: int, high: int, *parts: str | int) -> Decimal:
    return Decimal(chance.whole(low, high, *parts)).scaleb(-2)


def _moment(now_ms: int) -> datetime:
    # Whole seconds: it is computed on demand, and its age is not worth more digits.
    return from_milliseconds(now_ms // 1000 * 1000)
