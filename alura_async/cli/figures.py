"""Amounts, prices, times and ids as the commands write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from ..core.text import printable

UNKNOWN = "-"
"""What stands for a value that the server did not give."""

_SHORT_ID = 12
_ID = re.compile(r"[a-z]{3}_[0-9a-f]{8}")


def words(text: str | None) -> str:
    """Somebody else's words on one line, as a terminal may show them."""
    return UNKNOWN if not text else printable(text)


def money(amount: Decimal | None) -> str:
    """An amount of USDC, in cents: `10,012.34`."""
    return UNKNOWN if amount is None else f"{amount:,.2f}"


def gain(amount: Decimal | None) -> str:
    """A profit or a loss, in cents, with its sign: `+12.34`."""
    if amount is None:
        return UNKNOWN
    text = f"{amount:+,.2f}"
    # Less than a cent is neither a profit nor a loss.
    return text[1:] if text[1:] == "0.00" else text


def gain_usdc(amount: Decimal | None) -> str:
    """A profit or a loss with its unit: `+12.34 USDC`."""
    return UNKNOWN if amount is None else f"{gain(amount)} USDC"


def exact(number: Decimal | None) -> str:
    """A price or a size with the digits that it came with: `43,098.6`."""
    return UNKNOWN if number is None else f"{number:,f}"


def moment(time: datetime | None) -> str:
    """A time, to the minute: `2026-03-02 09:00`."""
    return UNKNOWN if time is None else f"{time:%Y-%m-%d %H:%M}"


def day(time: datetime | None) -> str:
    """The day of a time: `2026-03-02`."""
    return UNKNOWN if time is None else f"{time:%Y-%m-%d}"


def hour(time: datetime | None) -> str:
    """A time of this year, to the minute, where there is little room: `03-02 09:00`."""
    return UNKNOWN if time is None else f"{time:%m-%d %H:%M}"


def short(identifier: str | None) -> str:
    """The beginning of an id, enough to tell it from its neighbours."""
    return UNKNOWN if identifier is None else printable(identifier)[:_SHORT_ID]


def facts(data: Mapping[str, Any]) -> str:
    """What a server says besides, on one line: `side short, price 43098.6`."""
    return ", ".join(_fact(printable(name), value) for name, value in data.items())


def _fact(name: str, value: object) -> str:
    if isinstance(value, list | tuple):
        # Of a list of ids, how many they are is what a reader wants.
        return f"{len(value)} {name}"
    if isinstance(value, Decimal):
        return f"{name} {value:f}"
    text = printable(str(value))
    return f"{name} {short(text) if _ID.match(text) else text}"
