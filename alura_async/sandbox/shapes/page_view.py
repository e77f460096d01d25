"""A page with what backends say about pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from ...groups.pages import Page
from ..paging import window
from ..routing import Call


@dataclass(slots=True, frozen=True)
class PageView:
    """A page of a list, its place in the list, and where the other pages are.

    Attributes:
        items: the page's items, as they are written.
        count: how many items they are.
        total: how many items there are on all pages.
        first: how many items are before this page.
        limit: how many items a page holds at most.
        path: the path of the list, for links: without a host, so that they do not depend on the port.
    """

    items: Any
    count: int
    total: int
    first: int
    limit: int
    path: str

    @classmethod
    def of(cls, call: Call, page: Page[Any], items: Any) -> PageView:
        """The view of a page that a call got."""
        first, limit = window(call)
        pieces = call.route.template.split("/")
        path = "/".join(quote(call.path[piece[1:]], safe="") if piece.startswith(":") else piece for piece in pieces)
        return cls(items, len(page.data), page.total or 0, first, limit, path)

    @property
    def number(self) -> int:
        """This page's number, from 1."""
        return self.first // self.limit + 1

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return -(-self.total // self.limit)

    @property
    def after(self) -> int | None:
        """How many items are before the next page, or None where this is the last one."""
        after = self.first + self.limit
        return after if after < self.total else None

    @property
    def before(self) -> int | None:
        """How many items are before the previous page, or None where this is the first one."""
        return None if self.first == 0 else max(0, self.first - self.limit)

    @property
    def numbers(self) -> dict[str, int | None]:
        """The numbers of other pages by what they are to this one, as links name it; None where there is none."""
        return {
            "first": 1,
            "prev": None if self.before is None else self.number - 1,
            "next": None if self.after is None else self.number + 1,
            "last": max(1, self.pages),
        }

    def link(self, query: Mapping[str, int]) -> str:
        """Where a page is."""
        return f"{self.path}?{urlencode(query)}"

    def page_link(self, number: int) -> str:
        """Where a page is, by its number."""
        return self.link({"page": number, "limit": self.limit})
