"""Paginated lists: `page` from 1, `limit` up to 100, and what else a list may be walked by."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import TypeVar

from ..groups.pages import Page
from .routing import Call
from .validation import Number, Text
from .wire import Present

T = TypeVar("T")

PAGE = Number(name="page", integer=True, minimum=1, required=False, about="the page's number, from 1", example=1)
LIMIT = Number(
    name="limit",
    integer=True,
    minimum=1,
    maximum=100,
    required=False,
    about="items on a page, by default 20",
    example=20,
)
OFFSET = Number(
    name="offset", integer=True, minimum=0, required=False, about="items to leave out, instead of `page`", example=0
)


class Cursor(Text, frozen=True, kw_only=True):
    """A place in a list, as an earlier page named it."""

    def problems(self, value: object) -> list[str]:
        """What is wrong: no page named this place."""
        return [] if isinstance(value, str) and _place(value) is not None else [f"{self.name} is not valid"]


CURSOR = Cursor(name="cursor", required=False, about="what an earlier page gave as the next one, instead of `page`")
AFTER = Cursor(name="after", required=False, about="the cursor of the item before the page, instead of `page`")
NUMBER = Number(
    name="page[number]", integer=True, minimum=1, required=False, about="the page's number, from 1", example=1
)
SIZE = Number(
    name="page[size]",
    integer=True,
    minimum=1,
    maximum=100,
    required=False,
    about="items on a page, instead of `limit`",
    example=20,
)


def page_of(call: Call, items: Sequence[T]) -> Page[T]:
    """The page of a list that a call asks for."""
    first, limit = window(call)
    return Page(
        data=Present(items[first : first + limit]), total=len(items), page=call.query.get("page", 1), limit=limit
    )


def window(call: Call) -> tuple[int, int]:
    """How many items are before the page that a call asks for, and how many it holds at most."""
    query = call.query
    limit: int = query.get(SIZE.name, query.get(LIMIT.name, 20))
    for named in (CURSOR, AFTER):
        if named.name in query:
            return _place(query[named.name]) or 0, limit
    number: int = query.get(NUMBER.name, query.get(PAGE.name, 1))
    first: int = query.get(OFFSET.name, (number - 1) * limit)
    return first, limit


def cursor(first: int) -> str:
    """The cursor of the page that begins after this many items."""
    return urlsafe_b64encode(f"after:{first}".encode()).decode().rstrip("=")


def _place(text: str) -> int | None:
    try:
        name, _, number = urlsafe_b64decode(text + "=" * (-len(text) % 4)).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return int(number) if name == b"after" and number.isdigit() and len(number) <= 18 else None
