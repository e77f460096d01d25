"""Which field a name on the wire stands for: other spellings, synonyms, and the exchange's short names.

No name of a response is documented. What is here is what trading backends call the same thing [guess], and what
Hyperliquid calls it [conv]; a name that may mean two things is left out, for a wrong amount is worse than none. What
only one type calls so stands with that type, in `Model._also`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from .model import Model

# By a field's name here, best first. Names are compared without case, `_`, `-` and spaces, except one-letter ones.
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    # What a thing is, and what it belongs to
    "id": ("uuid", "guid"),
    "session_id": ("tradingSessionId", "session", "tradingSession"),
    "trade_id": ("trade",),
    "position_id": ("position",),
    "user_id": ("user", "uid"),
    "asset_index": ("asset", "assetId", "coinIndex", "marketIndex"),
    "symbol": ("coin", "ticker", "asset", "assetSymbol", "market", "instrument", "pair"),
    "interval": ("timeframe", "timeFrame", "resolution", "candleInterval", "tf"),
    "address": ("walletAddress", "wallet", "evmAddress", "ethAddress", "publicAddress", "userAddress"),
    "tx_hash": ("transactionHash", "hash", "txId", "transactionId", "tx"),
    # Times
    "timestamp": ("time", "ts", "datetime", "date", "eventTime"),
    "created_at": ("createdTime", "createTime", "creationTime", "createdOn", "createdDate", "dateCreated", "created"),
    "updated_at": (
        "updatedTime",
        "updateTime",
        "updatedOn",
        "lastUpdated",
        "lastUpdatedAt",
        "lastUpdate",
        "updated",
        "asOf",
    ),
    "opened_at": ("openedTime", "openTime", "openedOn", "entryTime"),
    # Not `closeAt`, `closeTime` and `endTime`: those may be still to come.
    "closed_at": ("closedTime", "closedOn", "endedAt"),
    "expires_at": ("expiresTime", "expiryTime", "expirationTime", "expiresOn", "expiration", "expiry", "validUntil"),
    # States and words
    "status": ("state",),
    "kind": ("type",),
    "message": ("msg", "detail", "description", "text"),
    "level": ("severity", "logLevel", "lvl"),
    "close_reason": ("closedReason", "closingReason", "exitReason"),
    "execution_strategy": ("strategy",),
    "strategy_duration": ("duration",),
    # Positions and fills
    "side": ("direction", "positionSide"),
    "size": ("sz", "qty", "quantity", "positionSize", "baseSize", "contracts"),
    "entry_price": ("entryPx", "avgEntryPrice", "averageEntryPrice", "avgPrice", "averagePrice"),
    "mark_price": ("markPx", "currentPrice"),
    "exit_price": ("exitPx", "avgExitPrice", "averageExitPrice", "closePrice", "closePx"),
    "liquidation_price": ("liquidationPx", "liqPrice", "liqPx"),
    "leverage": ("lev",),
    "margin": ("marginUsed", "positionIM", "usedMargin", "initialMargin", "collateral"),
    "price": ("px", "avgPx"),
    "fee": ("commission", "feePaid"),
    "positions": ("position", "assetPositions", "openPositions"),
    # Money
    "unrealized_pnl": ("unrealisedPnl", "unrealizedProfit", "uPnl", "upl", "floatingPnl", "openPnl"),
    "realized_pnl": ("realisedPnl", "closedPnl", "realizedProfit", "rPnl"),
    "profit_target": ("takeProfit", "targetProfit"),
    "loss_threshold": ("stopLoss", "maxLoss", "lossLimit"),
    "max_positions": ("maxOpenPositions", "positionLimit"),
    "balance": ("accountValue", "equity", "totalBalance", "totalEquity"),
    "available_balance": ("withdrawable", "available", "freeBalance", "freeCollateral"),
    "destination": ("to", "recipient", "receiver", "toAddress", "destinationAddress"),
    # Statistics
    "pnl": ("totalPnl", "netPnl", "profitLoss"),
    "pnl_percent": ("pnlPercentage", "pnlPct", "pnlPercents"),
    "volume": ("vol", "totalVolume", "tradingVolume", "vlm"),
    "trades": ("tradeCount", "tradesCount", "numTrades", "numberOfTrades", "totalTrades"),
    "total_users": ("userCount", "usersCount", "totalTraders", "totalParticipants"),
    "total_trades": ("tradeCount", "tradesCount"),
    "total_referrals": ("referralCount", "referralsCount", "referralsTotal"),
    "total_rewards": ("totalEarned", "totalReward", "rewardsTotal"),
    "claimable_rewards": ("unclaimedRewards", "pendingRewards", "claimable"),
    "win_rate": ("winPercent", "winPercentage"),
    # Signing in
    "access_token": ("token", "jwt", "jwtToken"),
    "expires_in": ("expiresInSeconds", "ttl"),
    "referral_code": ("refCode",),
    "referred_by": ("referrer", "referrerId", "invitedBy"),
    "private_key": ("privKey", "secretKey", "agentPrivateKey", "tradingKey", "agentKey"),
}

# What servers add to a name to say the unit, where the field has the same: a size in USD is none in units of the asset.
_UNIT = re.compile(r"(?:usdc|usd|ms)$")
# fmt: off
_IN_USDC = frozenset((
    "budget", "amount", "balance", "available_balance", "margin", "fee", "total", "volume", "pnl", "unrealized_pnl",
    "realized_pnl", "average_pnl", "median_pnl", "total_pnl", "total_volume", "total_rewards", "claimable_rewards",
    "price", "entry_price", "mark_price", "exit_price", "liquidation_price",
))
# fmt: on
_SYMBOL = re.compile(r"[kuU@]?[A-Z0-9][A-Z0-9/:@._-]*")
# How surely a name stands for a field: 0 is its own; synonyms follow in their order.
_TITLED = -1
_SPELT_OTHERWISE = 1
_SYNONYM = 2
_WITH_UNIT = 100

# A hostile server may invent names without end.
_MOST_REMEMBERED = 4096
_LONGEST = 64


def folded(name: str) -> str:
    """A name without what spellings differ in: `_id`, `Id` and `id`; `entry_price`, `entry-price` and `EntryPrice`."""
    return name.replace("_", "").replace("-", "").replace(" ", "").casefold()


def meant(struct: type[Model], name: str) -> tuple[str, ...]:
    """The fields of a type that a name on the wire may stand for, best first; none where it is unknown.

    Args:
        struct: a response type.
        name: a name as a server wrote it.
    """
    return tuple(field for _, field in ranked(struct, name))


def ranked(struct: type[Model], name: str) -> tuple[tuple[int, str], ...]:
    """What `meant` tells, and how surely: 0 is a field's own name."""
    return _ranked(struct, name) if len(name) <= _LONGEST else ()


@functools.lru_cache(maxsize=_MOST_REMEMBERED)
def _ranked(struct: type[Model], name: str) -> tuple[tuple[int, str], ...]:
    own, others = _index(struct)
    if name in own:
        return ((0, own[name]),)
    plain = folded(name)
    found = others.get(plain if len(plain) > 1 else name, ())
    if found:
        return found
    unit = _UNIT.search(plain)
    if unit is not None:
        is_time = unit[0] == "ms"
        return tuple(
            (_WITH_UNIT + rank, field)
            for rank, field in others.get(plain[: unit.start()], ())
            if (field.endswith(("_at", "timestamp", "_time_ms")) if is_time else field in _IN_USDC)
        )
    # A boolean may be asked: isValid.
    return tuple((_WITH_UNIT + rank, field) for rank, field in others.get(plain.removeprefix("is"), ()))


def is_symbol(name: str) -> bool:
    """Whether a name looks like an asset's: `BTC`, `kPEPE`, `PURR/USDC`."""
    return _SYMBOL.fullmatch(name) is not None


@functools.cache
def titles(struct: type[Any]) -> frozenset[str]:
    """What a thing of this type, or a list of them, is called: `session`, `sessions`, `tradingSession`."""
    words = re.findall(r"[A-Z][a-z]+", struct.__name__)
    names = {"".join(words), words[-1], *getattr(struct, "_titles", ())} if words else {struct.__name__}
    singular = {folded(name) for name in names}
    return frozenset(singular | {f"{name}s" for name in singular} | {f"{name[:-1]}ies" for name in singular})


@functools.cache
def _index(struct: type[Model]) -> tuple[dict[str, str], dict[str, tuple[tuple[int, str], ...]]]:
    own: dict[str, str] = {}
    others: dict[str, dict[str, int]] = {}
    # Under one spelling, one-letter names differ by their case.
    fields = [field for field in msgspec.structs.fields(struct) if field.name != "_extra"]
    for field in fields:
        own[field.encode_name] = field.name
        for name in (field.encode_name, field.name):
            if len(folded(name)) > 1:
                others.setdefault(folded(name), {}).setdefault(field.name, _SPELT_OTHERWISE)
    for field in fields:
        # What a type says of itself goes before what is common.
        synonyms = (*struct._also.get(field.name, ()), *_SYNONYMS.get(field.name, ()))
        if field.name == "id":
            # What is called the id of such a thing surely is; a plain one beside it may be that of a row.
            for title in titles(struct):
                others.setdefault(f"{title}id", {}).setdefault("id", _TITLED)
        for rank, name in enumerate(synonyms, _SYNONYM):
            key = folded(name) if len(folded(name)) > 1 else name
            others.setdefault(key, {}).setdefault(field.name, rank)
    order = {field.name: place for place, field in enumerate(fields)}
    ranked = {
        name: tuple(
            sorted(((rank, field) for field, rank in found.items()), key=lambda pair: (pair[0], order[pair[1]]))
        )
        for name, found in others.items()
    }
    return own, ranked
