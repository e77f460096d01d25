"""Double-entry bookkeeping: USDC only ever moves from one purse to another, so all purses together hold nothing."""

from __future__ import annotations

from decimal import Decimal

_DECIMALS = 6
_UNITS = 10**_DECIMALS


class Purse:
    """What one party holds of one kind.

    Attributes:
        name: what it is called in `Book.balances`.
        may_owe: whether it may go below zero, as those of the world outside do.
    """

    __slots__ = ("_units", "may_owe", "name")

    def __init__(self, name: str, *, may_owe: bool) -> None:
        self.name = name
        self.may_owe = may_owe
        self._units = 0

    @property
    def amount(self) -> Decimal:
        """What is in it, in USDC."""
        whole, rest = divmod(self._units, _UNITS)
        return Decimal(self._units).scaleb(-_DECIMALS).normalize() if rest else Decimal(whole)

    def __repr__(self) -> str:
        return f"<Purse {self.name}: {self.amount}>"


class Book:
    """All purses, counted in whole millionths.

    Attributes:
        market: the other side of every profit and loss.
        fees: what the exchange took.
        builder: what the builder took.
        insurance: what liquidations left, less what positions lost beyond their margin.
        rewards: what rewards are paid from.
        chain: the other side of deposits, withdrawals and what is sent to strangers.
        grants: what accounts begin with comes from here.
    """

    def __init__(self) -> None:
        self._purses: dict[str, Purse] = {}
        self.market = self.open("market", may_owe=True)
        self.fees = self.open("fees")
        self.builder = self.open("builder")
        self.insurance = self.open("insurance", may_owe=True)
        self.rewards = self.open("rewards", may_owe=True)
        self.chain = self.open("chain", may_owe=True)
        self.grants = self.open("grants", may_owe=True)

    def open(self, name: str, *, may_owe: bool = False) -> Purse:
        """Open an empty purse under a new name."""
        assert name not in self._purses, name
        purse = self._purses[name] = Purse(name, may_owe=may_owe)
        return purse

    def move(self, amount: Decimal, source: Purse, target: Purse) -> None:
        """Move an amount; a negative one goes the other way.

        Raises:
            ArithmeticError: it is not in whole millionths, or who pays would owe and may not. That is a mistake in
                the sandbox itself: what could refuse a call was checked before.
        """
        units = amount.scaleb(_DECIMALS)
        whole = int(units)
        if whole != units:
            raise ArithmeticError(f"{amount} USDC cannot be booked: it is not in whole millionths")
        if whole < 0:
            whole, source, target = -whole, target, source
        if source._units < whole and not source.may_owe:
            raise ArithmeticError(f"{source.name} holds {source.amount} USDC and cannot pay {amount}")
        source._units -= whole
        target._units += whole

    def balances(self) -> dict[str, Decimal]:
        """What each purse holds, by name."""
        return {purse.name: purse.amount for purse in self._purses.values()}
