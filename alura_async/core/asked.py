"""What a call that creates or transfers asks for, read from what is really sent.

Bodies are undocumented in part, and `extra=` may put anything into them. So this does not look where an amount should
be: it finds everything that may be one, however it is spelt and however deep it stands, and where that leaves room for
two readings it says so instead of choosing one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn, TypeAlias
from urllib.parse import parse_qsl, unquote

from ..errors import InvalidArgumentError
from .arguments import amount
from .decode import require_shallow
from .request import Request
from .text import shown

# It brings money in, to the account's own balance, and says nothing of how much.
_BRINGS_IN = frozenset({"POST /user/claim-reward"})

# A field whose name has one of these in it is an amount, or hides one.
_AMOUNT = re.compile("amount|budget")
# One of these words in a name makes a number an amount; text under such a name may be something else.
_AMOUNT_WORDS = frozenset(
    {
        "capital",
        "collateral",
        "deposit",
        "funds",
        "margin",
        "notional",
        "principal",
        "qty",
        "quantity",
        "size",
        "stake",
        "sum",
        "total",
        "usd",
        "usdc",
        "usdt",
        "value",
        "wei",
    }
)
_ASSET = re.compile("asset")
_ASSET_WORDS = frozenset({"coin", "symbol", "ticker"})
_DESTINATION = re.compile("destination|recipient|receiver|beneficiary|payee")
_DESTINATION_WORDS = frozenset({"to", "address", "wallet"})
_SOURCE_WORDS = frozenset({"from", "sender", "source"})

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NOT_A_LETTER = re.compile(r"[^a-z]+")
_NUMBER = re.compile(r"\s*[+-]?\.?[0-9]")
_ADDRESS = re.compile(r"(?<![0-9a-zA-Z])(?:0[xX])?[0-9a-fA-F]{40}(?![0-9a-zA-Z])")

_PLAIN_NUMBER = re.compile(r"-?[0-9.]+")

# What the methods call a field that is sent under another name.
_ARGUMENTS = {"assetIndex": "asset", "maxWalletBudget": "max_wallet_budget"}

Value: TypeAlias = "str | bool | None"


class Field(NamedTuple):
    """One value of a call, as it is sent; a number is the text of its digits.

    Attributes:
        place: where it stands, such as `amount`, `transfers[0].amount` or `amount in the query`; of a method's
            argument, what the method calls it.
        name: its own name and those it stands under, as they are sent.
        value: what is sent.
        is_nested: whether it stands anywhere but at the body's first level.
        is_in_body: whether it stands in the body.
        is_argument: whether it is a method's argument.
    """

    place: str
    name: str
    value: Value
    is_nested: bool = False
    is_in_body: bool = True
    is_argument: bool = False

    def __str__(self) -> str:
        if self.is_argument and (not isinstance(self.value, str) or _PLAIN_NUMBER.fullmatch(self.value)):
            return f"{self.place}={self.value}"
        value = json.dumps(self.value, ensure_ascii=False)
        return f"{shown(self.place, 60)}={shown(value, 60)}"

    def is_of(self, names: re.Pattern[str] | None, words: frozenset[str]) -> bool:
        """Whether its name, or one that it stands under, means such a thing."""
        if names is not None and names.search(_NOT_A_LETTER.sub("", self.name.lower())):
            return True
        return not words.isdisjoint(word.lower() for word in _WORD.findall(self.name))


class UnclearError(Exception):
    """What is asked for can be read in two ways or in none; the text says why."""


class Asked(NamedTuple):
    """What one call asks for.

    Attributes:
        fields: every value that is sent, in the body, the query and the path.
        brings_in: whether it brings money to the account, so that it need not say how much.
        unreadable: why its body cannot be read; empty where it can.
    """

    fields: tuple[Field, ...]
    brings_in: bool = False
    unreadable: str = ""

    def amount(self) -> Decimal:
        """The amount; 0 for a call that brings money in and does not say how much.

        Raises:
            UnclearError: there is none, or none that can be told.
        """
        if self.unreadable:
            raise UnclearError(self.unreadable)
        found = [field for field in self.fields if _may_be_amount(field)]
        if not found:
            if self.brings_in:
                return Decimal(0)
            raise UnclearError("it names no amount")
        amounts = {_amount(field) for field in found}
        if len(found) > 1 and (len(amounts) > 1 or any(field.is_nested for field in found)):
            named = ", ".join(map(str, found[:4]))
            raise UnclearError(
                f"it names more than one amount ({named}), and which of them counts only the server knows"
            )
        return amounts.pop()

    def assets(self) -> list[Field]:
        """Whatever may name an asset.

        Raises:
            UnclearError: the body cannot be read.
        """
        return self._named(_ASSET, _ASSET_WORDS)

    def destinations(self) -> list[Field]:
        """Whatever may name where money goes: by its name, or because there is an address in it.

        Raises:
            UnclearError: the body cannot be read.
        """
        named = self._named(_DESTINATION, _DESTINATION_WORDS)
        others = (field for field in self.fields if isinstance(field.value, str) and _ADDRESS.search(field.value))
        return [field for field in dict.fromkeys((*named, *others)) if not field.is_of(None, _SOURCE_WORDS)]

    def _named(self, names: re.Pattern[str], words: frozenset[str]) -> list[Field]:
        if self.unreadable:
            raise UnclearError(self.unreadable)
        return [field for field in self.fields if field.value is not None and field.is_of(names, words)]


def asked_by(request: Request[Any]) -> Asked:
    """What a request asks for."""
    fields = [
        Field(f"{name} in the query", name, value, is_nested=True, is_in_body=False)
        for name, value in parse_qsl(request.query, keep_blank_values=True)
    ]
    for name, segment in zip(request.route.template.split("/"), request.path.split("/"), strict=False):
        if name.startswith(":"):
            fields.append(Field(f"{name} in the path", name, unquote(segment), is_nested=True, is_in_body=False))
    asked = _asked(request.body or b"", request.route.name, fields)
    if not request.arguments:
        return asked
    return asked._replace(fields=tuple(_as_argument(field, request.arguments) for field in asked.fields))


def asked_in_journal(body: str, name: str) -> Asked:
    """What a call in the journal asked for; `name` is its method and path."""
    return _asked(body.encode(errors="replace"), name, [])


def _asked(body: bytes, name: str, fields: list[Field]) -> Asked:
    unreadable = ""
    if body:
        try:
            require_shallow(body)
            content = json.loads(
                body.decode(),
                object_pairs_hook=_Object,
                parse_int=str,
                parse_float=str,
                parse_constant=_refuse_constant,
            )
            fields += _leaves(content, "", "", depth=0)
        except (ValueError, RecursionError) as error:
            unreadable = f"its body cannot be read ({shown(str(error), 80)})"
    return Asked(tuple(fields), name in _BRINGS_IN, unreadable)


def _as_argument(field: Field, arguments: tuple[str, ...]) -> Field:
    if not field.is_in_body or field.is_nested or field.name.strip() not in arguments:
        return field
    return field._replace(place=_ARGUMENTS.get(field.place, field.place), is_argument=True)


class _Object(list[tuple[str, Any]]):
    """A JSON object with every field that it has: of two with one name, servers differ in which they take."""


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _leaves(value: Any, place: str, name: str, depth: int) -> Iterator[Field]:
    if isinstance(value, _Object):
        for key, item in value:
            # Names stay apart by a space, so that no word runs into the next.
            yield from _leaves(item, f"{place}.{key}" if place else key, f"{name} {key}", depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{place}[{number}]", name, depth + 2)
    else:
        yield Field(place or "body", name, value, is_nested=depth > 1)


def _may_be_amount(field: Field) -> bool:
    if field.value is None or field.value is False:
        return False  # "maxWalletBudget": false says that this is none
    if _AMOUNT.search(_NOT_A_LETTER.sub("", field.name.lower())):
        return True
    return (
        isinstance(field.value, str)
        and field.is_of(_AMOUNT, _AMOUNT_WORDS)
        and _NUMBER.match(field.value) is not None
        and not _ADDRESS.search(field.value)
    )


def _amount(field: Field) -> Decimal:
    if not field.is_in_body:
        raise UnclearError(f"{field} may be an amount, and only those in the body can be counted")
    if field.value is True:
        raise UnclearError(f"{field} may mean any amount, up to the whole wallet")
    assert isinstance(field.value, str)
    try:
        number = amount(field.place, field.value)
    except InvalidArgumentError:
        raise UnclearError(f"{field} is no amount that can be told") from None
    if number.is_signed() and number:
        raise UnclearError(f"{field} is below 0")
    return number
