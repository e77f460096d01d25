"""Paginated lists: `page` from 1, `limit` up to 100."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ..groups.pages import Page
from .routing import Call
from .validation import Number
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


def page_of(call: Call, items: Sequence[T]) -> Page[T]:
    """The page of a list that a call asks for."""
    page: int = call.query.get("page", 1)
    limit: int = call.query.get("limit", 20)
    first = (page - 1) * limit
    return Page(data=Present(items[first : first + limit]), total=len(items), page=page, limit=limit)
