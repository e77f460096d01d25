"""The signed-in user: profile, fills, positions by asset, and moving USDC."""

from __future__ import annotations

from ...groups.trading_sessions import Closing
from ...groups.user import FillsSync, Profile, RewardClaim, Transfer
from .. import trading, treasury
from ..records import show_profile
from ..refusals import bad_request, not_found
from ..routing import Call, serves
from ..state import Done
from ..validation import Hex, Number
from ..wire import Present
from .trading_sessions import ASSET_INDEX

AMOUNT = Number(name="amount", positive=True, about="how much, in USDC", example=25)
DESTINATION = Hex(name="destination", digits=40, wording="must be an Ethereum address", about="the address it goes to")
WITHDRAW_TO = Hex(
    name="destination",
    digits=40,
    wording="must be an Ethereum address",
    required=False,
    about="the address it goes to, by default the account's own",
)


@serves("GET", "/user/profile", Profile, bearer=True)
def profile(call: Call) -> Profile:
    """Read the current user."""
    return show_profile(call.user, call.world.equity(call.user, call.now_ms))


@serves("POST", "/user/fills/sync", FillsSync, bearer=True)
def sync_fills(call: Call) -> FillsSync:
    """Sync fills: says how many are new since the last sync, and shows the newest 500, oldest first."""
    account = call.user

    def apply() -> Done[FillsSync]:
        fresh = account.filled - account.fills_synced
        account.fills_synced = account.filled
        return Done(FillsSync(synced=fresh, fills=Present(account.fills)), {"synced": fresh})

    return call.execute("fills_synced", apply)


@serves("POST", "/user/withdraw", Transfer, bearer=True, body=(AMOUNT, WITHDRAW_TO))
def withdraw(call: Call) -> Transfer:
    """Withdraw funds: they leave the sandbox."""
    amount = treasury.require_funds(call.user, call.body["amount"])
    destination = call.body.get("destination", call.user.address)
    return call.execute("withdrawn", lambda: treasury.withdraw(call.world, call.user, amount, destination, call.now_ms))


@serves("POST", "/user/close-position", Closing, bearer=True, body=(ASSET_INDEX,), errors=(404,))
def close_position(call: Call) -> Closing:
    """Close what is open in one asset."""
    index = call.body["assetIndex"]
    session = call.user.active.get(index)
    if session is None:
        raise not_found("No open position for this asset")
    if session.is_closing:
        raise bad_request("Position is already closing")
    named = Closing(trade_id=session.trade_id, asset_index=index, message="Position closed")
    return call.execute(
        "asset_closed", lambda: trading.close(call.world, call.user, call.now_ms, named, sessions=[session])
    )


@serves("POST", "/user/close-all-positions", Closing, bearer=True)
def close_all_positions(call: Call) -> Closing:
    """Close every position that is not closing yet; none is fine too."""
    active = sorted(call.user.active.values(), key=lambda session: session.number)
    sessions = [session for session in active if not session.is_closing]
    closing = [session for session in active if session.is_closing]
    count = sum(position.exit is None for session in sessions for position in session.open_positions)
    named = Closing(message=f"{count} position{'' if count == 1 else 's'} closed")
    return call.execute(
        "all_closed",
        lambda: trading.close(call.world, call.user, call.now_ms, named, sessions=sessions, closing=closing),
    )


@serves("POST", "/user/send-usdc", Transfer, bearer=True, body=(AMOUNT, DESTINATION))
def send_usdc(call: Call) -> Transfer:
    """Send USDC: an account of the sandbox is credited, any other address takes it out of it."""
    amount = treasury.require_funds(call.user, call.body["amount"])
    return call.execute(
        "usdc_sent",
        lambda: treasury.send(call.world, call.user, amount, call.body["destination"], call.now_ms),
    )


@serves("POST", "/user/claim-reward", RewardClaim, bearer=True)
def claim_reward(call: Call) -> RewardClaim:
    """Claim rewards: 5 USDC for every new account, and what referrals earned."""
    if call.user.claimable <= 0:
        raise bad_request("No rewards to claim")
    return call.execute("reward_claimed", lambda: treasury.claim(call.world, call.user))


ROUTES = (
    profile,
    sync_fills,
    withdraw,
    close_position,
    close_all_positions,
    send_usdc,
    claim_reward,
)
