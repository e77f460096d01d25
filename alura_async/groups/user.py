"""The signed-in user: profile, fills, positions by asset, and moving USDC."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from ..core import arguments
from ..core.model import CheckedModel, Model, OpenEnum, Synonyms, Time
from ..core.request import Access, Action, Effect, Lane, Parts
from ..core.surface import Group, Mode, endpoint
from .trading_sessions import Closing

if TYPE_CHECKING:
    from ..core.arguments import Amount
    from ..core.request import Extra, Params


class Profile(CheckedModel, frozen=True, kw_only=True):
    """The current user. Every field is assumed [guess].

    Attributes:
        id: the user's id, for `referrals` and `leaderboard`.
        address: the wallet's address.
        balance: all USDC of the account, with what open positions are worth.
        available_balance: USDC that is not set aside.
        referral_code: the user's own code.
        created_at: when the user first signed in.
    """

    _titles = ("user", "account", "me")
    _also: ClassVar[Synonyms] = {"id": ("userId",), "referral_code": ("myReferralCode",)}

    id: str | None = None
    address: str | None = None
    balance: Decimal | None = None
    available_balance: Decimal | None = None
    referral_code: str | None = None
    created_at: Time | None = None


class FillSide(OpenEnum):
    """Which way a fill went. The values are assumed [guess]; others come as they are."""

    BUY = "buy"
    SELL = "sell"

    @classmethod
    def _synonyms(cls) -> Mapping[str, OpenEnum]:
        # Hyperliquid has B and A, for the side of the book that is meant: bid and ask [conv].
        return {"b": cls.BUY, "bid": cls.BUY, "a": cls.SELL, "ask": cls.SELL}


class Fill(CheckedModel, frozen=True, kw_only=True):
    """One execution on Hyperliquid. Every field is assumed [guess].

    Attributes:
        id: the fill's id.
        position_id: the position it belongs to.
        asset_index: the asset's index.
        symbol: the asset's symbol.
        side: buy or sell.
        size: how much was traded, in units of the asset.
        price: at what price, in USDC.
        fee: what it cost, in USDC.
        realized_pnl: profit or loss taken by it, in USDC.
        timestamp: when it happened.
    """

    _also: ClassVar[Synonyms] = {
        "id": ("tid", "fillId", "execId"),
        "price": ("fillPrice", "executionPrice", "execPrice", "avgPrice"),
        "size": ("execQty", "amount"),
        "fee": ("execFee",),
        "timestamp": ("execTime", "createdAt", "filledAt", "executedAt"),
    }

    id: str | None = None
    position_id: str | None = None
    asset_index: int | None = None
    symbol: str | None = None
    side: FillSide | None = None
    size: Decimal | None = None
    price: Decimal | None = None
    fee: Decimal | None = None
    realized_pnl: Decimal | None = None
    timestamp: Time | None = None


class FillsSync(Model, frozen=True, kw_only=True):
    """What a sync of fills brought. Every field is assumed [guess].

    Attributes:
        synced: how many fills are new to the server.
        fills: the fills.
    """

    _also: ClassVar[Synonyms] = {"synced": ("syncedCount", "newFills", "imported")}
    _bare = ("fills", "synced")

    synced: int | None = None
    fills: list[Fill] | None = None


class TransferStatus(OpenEnum):
    """What state a movement of USDC is in. The values are assumed [guess]; others come as they are."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


class Transfer(CheckedModel, frozen=True, kw_only=True):
    """A withdrawal or a sending of USDC, as the server accepted it. Every field is assumed [guess].

    Attributes:
        id: the transfer's id.
        amount: how much, in USDC.
        destination: the address it goes to.
        status: what state it is in.
        tx_hash: the transaction, once there is one.
        created_at: when it was accepted.
    """

    _titles = ("withdrawal", "transaction")
    _also: ClassVar[Synonyms] = {
        "id": ("transactionId",),
        "amount": ("value",),
        "created_at": ("timestamp", "time", "ts", "date"),
    }

    id: str | None = None
    amount: Decimal | None = None
    destination: str | None = None
    status: TransferStatus | None = None
    tx_hash: str | None = None
    created_at: Time | None = None


class RewardClaim(CheckedModel, frozen=True, kw_only=True):
    """A claim of rewards, as the server accepted it. Every field is assumed [guess].

    Attributes:
        amount: how much was claimed, in USDC.
        status: what state it is in.
        tx_hash: the transaction, once there is one.
        message: what the server says about it.
    """

    _titles = ("reward", "claim")
    _also: ClassVar[Synonyms] = {"amount": ("claimed", "claimedAmount", "reward", "value")}
    _bare = ("message",)

    amount: Decimal | None = None
    status: TransferStatus | None = None
    tx_hash: str | None = None
    message: str | None = None


class User(Group[Mode]):
    """The signed-in user."""

    @endpoint("GET", "/user/profile", access=Access.BEARER)
    def profile(self, *, params: Params | None = None) -> Parts[Profile]:
        """Read the current user.

        The path is documented, the response is not.

        Args:
            params: query parameters of your own.
        """
        return Parts(params=params)

    @endpoint("POST", "/user/fills/sync", effect=Effect.REPEATABLE, access=Access.BEARER)
    def sync_fills(self, *, extra: Extra | None = None) -> Parts[FillsSync]:
        """Have the server read the account's fills from Hyperliquid. Harmless to repeat [conv].

        The path is documented, bodies are not.

        Args:
            extra: body fields of your own.
        """
        return Parts(extra=extra)

    @endpoint("POST", "/user/withdraw", access=Access.BEARER, lane=Lane.TRADING, action=Action.TRANSFER)
    def withdraw(
        self, *, amount: Amount, destination: str | None = None, extra: Extra | None = None
    ) -> Parts[Transfer]:
        """Withdraw funds. This moves money [doc].

        The path is documented, bodies are not; these fields are the likely ones [conv].

        Args:
            amount: how much, in USDC [guess].
            destination: the address to withdraw to; by default what the server takes, probably your own.
            extra: body fields of your own; they have the last word.

        Raises:
            InvalidArgumentError: not a finite number, or not an address; nothing was sent.
            OutcomeUnknownError: nobody can say whether it was carried out. No call of the API can tell:
                look at the chain.
        """
        return Parts(
            body={
                "amount": arguments.amount("amount", amount),
                "destination": None if destination is None else arguments.address("destination", destination),
            },
            extra=extra,
        )

    @endpoint("POST", "/user/close-position", access=Access.BEARER, lane=Lane.EXIT, action=Action.CLOSE)
    def close_position(self, *, asset: str | int, extra: Extra | None = None) -> Parts[Closing]:
        """Close the position of one asset.

        The path is documented, and that the asset is named by `assetIndex`; the response is not.

        Args:
            asset: a symbol in any case, such as `"BTC"`, or the asset's index.
            extra: body fields of your own; they have the last word.

        Raises:
            OutcomeUnknownError: nobody can say whether it was closed; read `trading_sessions.current_trade()`.
        """
        return Parts(body={"assetIndex": self._client.assets.index(asset)}, extra=extra)

    @endpoint("POST", "/user/close-all-positions", access=Access.BEARER, lane=Lane.EXIT, action=Action.CLOSE)
    def close_all_positions(self, *, extra: Extra | None = None) -> Parts[Closing]:
        """Close every position.

        The path is documented, bodies are not.

        Args:
            extra: body fields of your own.

        Raises:
            OutcomeUnknownError: nobody can say what was closed; read `trading_sessions.current_trade()`.
        """
        return Parts(extra=extra)

    @endpoint("POST", "/user/send-usdc", access=Access.BEARER, lane=Lane.TRADING, action=Action.TRANSFER)
    def send_usdc(self, *, amount: Amount, destination: str, extra: Extra | None = None) -> Parts[Transfer]:
        """Send USDC to another address. This moves money [doc].

        The path is documented, bodies are not; these fields are the likely ones [conv].

        Args:
            amount: how much, in USDC [guess].
            destination: the 20-byte address to send to.
            extra: body fields of your own; they have the last word.

        Raises:
            InvalidArgumentError: not a finite number, or not an address; nothing was sent.
            OutcomeUnknownError: nobody can say whether it was carried out. No call of the API can tell:
                look at the chain.
        """
        return Parts(
            body={
                "amount": arguments.amount("amount", amount),
                "destination": arguments.address("destination", destination),
            },
            extra=extra,
        )

    @endpoint("POST", "/user/claim-reward", access=Access.BEARER, lane=Lane.TRADING, action=Action.TRANSFER)
    def claim_reward(self, *, extra: Extra | None = None) -> Parts[RewardClaim]:
        """Claim rewards. This moves money [doc].

        The path is documented, bodies are not.

        Args:
            extra: body fields of your own.

        Raises:
            OutcomeUnknownError: nobody can say whether it was carried out.
        """
        return Parts(extra=extra)
