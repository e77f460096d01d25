"""Paginated lists: one page, and all pages one after another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from typing import Generic, TypeVar

import msgspec

from ..core.model import Model

T = TypeVar("T")


class Page(Model, Generic[T], frozen=True, kw_only=True):
    """One page of a list.

    That the list of a trade's logs is paginated is documented; how is not. All fields are assumed [conv]; each is
    None where the server does not say it, in the body or in the headers `X-Total-Count` and `Link`.

    Attributes:
        data: the page's items.
        total: how many items there are on all pages.
        page: this page's number, as the server counts.
        limit: how many items a page holds at most.
        has_more: whether pages follow.
        next: the query of the next page, if the server names it: by a link or a cursor. For the method's `params`.
    """

    data: list[T]
    total: int | None = None
    page: int | None = None
    limit: int | None = None
    has_more: bool | None = None
    next: dict[str, str] | None = None


async def pages(
    read: Callable[[int, Mapping[str, str] | None], Awaitable[Page[T]]], identity: Callable[[T], str | None]
) -> AsyncGenerator[Sequence[T], None]:
    """Read page after page until there is nothing new.

    How the server says what comes next is not documented. Where a page names the query of the next one, that is
    followed; otherwise the pages are asked for by their numbers. This stops where a page says that none follows, when
    the items reach the `total` that a page names, at an empty page, or at a page that brings nothing new: a server
    that ignores `page` answers with the first page for ever. An item that moved to the next page while this was
    reading comes once.

    Args:
        read: reads a page by its number, from 1, or by the query that the page before it named.
        identity: the item's id, or None where it has none; then only a page that was read before is nothing new.
    """
    seen: set[str] = set()
    seen_pages: set[bytes] = set()
    taken = 0
    number = 1
    following: Mapping[str, str] | None = None
    while True:
        page = await read(number, following)
        fresh: list[T] = []
        for item in page.data:
            mark = identity(item)
            if mark is None:
                fresh.append(item)
            elif mark not in seen:
                seen.add(mark)
                fresh.append(item)
        content = sha256(msgspec.json.encode(page.data, enc_hook=str)).digest()
        if not fresh or content in seen_pages:
            return
        seen_pages.add(content)
        yield fresh
        taken += len(fresh)
        following = page.next
        if following is None and (page.has_more is False or (page.total is not None and taken >= page.total)):
            return
        number += 1
