"""Paginated lists: one page, and all pages one after another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from typing import Generic, TypeVar

import msgspec

from ..bulk.frames import Frames
from ..core.model import Model
from ..errors import CallError, Outcome, ShapeError

T = TypeVar("T")


class Page(Model, Frames, Generic[T], frozen=True, kw_only=True):
    """One page of a list; also as a frame, see `Frames`.

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


# So many pages in a row may bring nothing new, where the server says that others follow.
_MOST_IDLE = 5


async def pages(
    read: Callable[[int, Mapping[str, str] | None], Awaitable[Page[T]]],
    identity: Callable[[T], str | None],
    path: str,
) -> AsyncGenerator[Sequence[T], None]:
    """Read page after page until there is nothing new.

    How the server says what comes next is not documented. Where a page names the query of the next one, that is
    followed, each query once; otherwise the pages are asked for by their numbers. This stops where a page says that
    none follows, when the items reach the `total` that a page names, and at a page that brings nothing new: a server
    that ignores `page` answers with the first page for ever. Where such a page says that others follow, a few more are
    read. An item that moved to the next page while this was reading comes once.

    Where fewer items came than there are, page 0 is read too: some servers count from there. Then its items come last.

    Args:
        read: reads a page by its number, from 1, or by the query that the page before it named.
        identity: the item's id, or None where it has none; then only a page that was read before is nothing new.
        path: what is read, for an error.

    Raises:
        ShapeError: fewer items came than every page said there are, even if those that came twice count twice: the
            server names its other pages in a way that is unknown here. Items that were added or taken away meanwhile,
            or that changed their order, are not missing.
    """
    taken = _Taken(identity)
    followed: set[frozenset[tuple[str, str]]] = set()
    following: Mapping[str, str] | None = None
    number = 1
    idle = 0
    while idle < _MOST_IDLE:
        page = await read(number, following)
        fresh = taken.add(page)
        if fresh:
            yield fresh
        idle = 0 if fresh else idle + 1
        number += 1
        was_named, following = following is not None, page.next
        if following is not None:
            query = frozenset(following.items())
            if query in followed or (taken.is_all(page) and not fresh):
                break
            followed.add(query)
        elif page.has_more is False or taken.is_all(page) or (page.has_more is None and (was_named or not fresh)):
            break
    cause: CallError | None = None
    if taken.is_short:
        try:
            fresh = taken.add(await read(0, None))
        except CallError as error:
            fresh, cause = [], error
        if fresh:
            yield fresh
    if taken.is_short:
        raise ShapeError(
            f"GET {path}: {taken.count} of {taken.total} items could be read: it is unknown how the server names its "
            "other pages. If you know, read them page by page, with `params`",
            method="GET",
            path=path,
            outcome=Outcome.DONE,
        ) from cause


class _Taken(Generic[T]):
    """What has been read by now.

    Attributes:
        count: how many items came, each once.
        total: how many there are at least, by what the pages say; None where they say nothing.
    """

    def __init__(self, identity: Callable[[T], str | None]) -> None:
        self.count = 0
        self.total: int | None = None
        self._identity = identity
        # Those that came twice count twice.
        self._items = 0
        self._seen: set[str] = set()
        self._contents: set[bytes] = set()

    def add(self, page: Page[T]) -> list[T]:
        """Add a page. Returns what of it is new."""
        total = _total(page)
        if total is not None:
            self.total = total if self.total is None else min(self.total, total)
        content = sha256(msgspec.json.encode(page.data, enc_hook=str)).digest()
        if content in self._contents:
            return []
        self._contents.add(content)
        fresh: list[T] = []
        for item in page.data:
            mark = self._identity(item)
            if mark is None:
                fresh.append(item)
            elif mark not in self._seen:
                self._seen.add(mark)
                fresh.append(item)
        self.count += len(fresh)
        self._items += len(page.data) if fresh else 0
        return fresh

    def is_all(self, page: Page[T]) -> bool:
        """Whether this is all there is, by what a page says."""
        total = _total(page)
        return total is not None and self.count >= total

    @property
    def is_short(self) -> bool:
        """Whether pages are missing."""
        return self.total is not None and self._items < self.total


def _total(page: Page[T]) -> int | None:
    """How many items there are; None also where it is a number of something else, such as pages."""
    return page.total if page.total is not None and page.total >= len(page.data) else None
