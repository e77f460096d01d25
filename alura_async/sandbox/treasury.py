"""USDC that comes and goes: deposits, withdrawals, transfers between accounts, rewards."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from ..core.model import from_milliseconds
from ..groups.referrals import Referral
from ..groups.usdc_verification import Deposit
from ..groups.user import RewardClaim, Transfer, TransferStatus
from . import chance
from .book import Purse
from .records import Account, accept
from .refusals import HttpError, bad_request, not_found
from .state import Done, World

ALREADY_VERIFIED = "Transaction already verified"


def require_funds(account: Account, amount: Decimal) -> Decimal:
    """An amount as it is booked, if the account can pay it.

    Raises:
        HttpError: 400, it cannot, or nothing is left of the amount.
    """
    # Before rounding: an amount of three hundred digits cannot be rounded.
    if amount > account.available:
        raise bad_request("Insufficient balance")
    booked = accept(amount)
    if booked <= 0:
        raise bad_request("amount must not be less than 0.000001")
    return booked


def send(world: World, account: Account, amount: Decimal, destination: str, at_ms: int) -> Done[Transfer]:
    """Take USDC from an account and give it to the destination's, if that is known here; else it leaves."""
    receiver = world.account(destination)
    reply = _pay(world, account, amount, world.book.chain if receiver is None else receiver.purse, destination, at_ms)
    detail = {"id": reply.id, "amount": amount, "destination": destination, "credited": receiver is not None}
    return Done(reply, detail)


def withdraw(world: World, account: Account, amount: Decimal, destination: str, at_ms: int) -> Done[Transfer]:
    """Take USDC out of an account, to the chain: no account here is credited."""
    reply = _pay(world, account, amount, world.book.chain, destination, at_ms)
    return Done(reply, {"id": reply.id, "amount": amount, "destination": destination})


def _pay(world: World, account: Account, amount: Decimal, receiver: Purse, destination: str, at_ms: int) -> Transfer:
    world.book.move(amount, account.purse, receiver)
    account.transfers += 1
    name = chance.identifier("trf", world.seed, account.id, account.transfers)
    return Transfer(
        id=name,
        amount=amount,
        destination=destination,
        status=TransferStatus.COMPLETED,
        tx_hash="0x" + chance.digest("tx", world.seed, name).hex(),
        created_at=from_milliseconds(at_ms),
    )


def claim(world: World, account: Account) -> Done[RewardClaim]:
    """Pay out what can be claimed."""
    amount = account.claimable
    account.referral_rewards_claimed = account.referral_rewards
    world.book.move(amount, account.rewards, account.purse)
    account.transfers += 1
    tx_hash = "0x" + chance.digest("claim", world.seed, account.id, account.transfers).hex()
    reply = RewardClaim(amount=amount, status=TransferStatus.COMPLETED, tx_hash=tx_hash, message="Reward claimed")
    return Done(reply, {"amount": amount, "tx_hash": tx_hash})


def known_deposit(world: World, account: Account, tx_hash: str) -> Deposit | None:
    """A deposit that was verified before, or None.

    Raises:
        HttpError: 400, it belongs to another account.
    """
    owner = world.deposits.get(tx_hash.lower())
    if owner is None:
        return None
    if owner is not account:
        raise bad_request("Transaction belongs to another account")
    return msgspec.structs.replace(account.deposits[tx_hash.lower()], message=ALREADY_VERIFIED)


def deposit(world: World, account: Account, tx_hash: str, at_ms: int) -> Done[Deposit]:
    """Credit a deposit: of every hash the chain says that this account sent between 10 and 1,000 USDC."""
    amount = Decimal(chance.whole(1000, 100_000, "deposit", world.seed, tx_hash.lower())).scaleb(-2)
    found = Deposit(
        tx_hash=tx_hash,
        verified=True,
        amount=amount,
        status=TransferStatus.COMPLETED,
        message="Transaction verified",
        created_at=from_milliseconds(at_ms),
    )
    world.book.move(amount, world.book.chain, account.purse)
    account.deposits[tx_hash.lower()] = found
    account.deposited += amount
    account.deposits_made += 1
    world.remember_deposit(tx_hash.lower(), account)
    return Done(found, {"tx_hash": tx_hash, "amount": amount})


def create_code(world: World, account: Account, at_ms: int) -> Done[Referral]:
    """Give an account a referral code."""
    # Letters and digits that nobody mixes up.
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    code = "".join(letters[byte % 32] for byte in chance.digest("code", world.seed, account.id, size=8))
    account.referral_code = code
    account.code_created_ms = at_ms
    world.by_code[code] = account
    return Done(show_referral(account), {"code": code})


def show_referral(account: Account) -> Referral:
    """An account's referral info as the API has it."""
    return Referral(
        user_id=account.id,
        code=account.referral_code,
        referred_by=None if account.referrer is None else account.referrer.id,
        created_at=None if account.code_created_ms is None else from_milliseconds(account.code_created_ms),
    )


def referrer_of(world: World, code: str | None) -> Account | None:
    """Whose code it is, or None without a code.

    Raises:
        HttpError: 400, there is no such code.
    """
    if code is None:
        return None
    owner = world.by_code.get(code.strip().upper())
    if owner is None:
        raise bad_request("Invalid referral code")
    return owner


def require_user(world: World, user_id: str) -> Account:
    """The account of an id.

    Raises:
        HttpError: 404, there is none.
    """
    account = world.by_id.get(user_id)
    if account is None:
        raise not_found("User not found")
    return account


def require_own(world: World, account: Account, user_id: str) -> Account:
    """The account of an id, if it is the caller's own.

    Raises:
        HttpError: 404, there is none; 403, it is somebody else's.
    """
    if require_user(world, user_id) is not account:
        raise HttpError(403, "Forbidden resource")
    return account
