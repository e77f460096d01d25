"""What a server says of a page, in whatever form: counts, links, cursors, in the body or in headers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from . import scalars
from .names import folded
from .scalars import MismatchError
from .unwrap import last_name

# What holds such facts, beside the items.
# fmt: off
_HOLDERS = frozenset((
    "meta", "metadata", "pagination", "paging", "paginationinfo", "pageinfo", "page", "pager", "links", "cursor",
    "cursors",
))
# fmt: on
_DEPTH = 3

_TOTAL = frozenset(
    ("total", "totalcount", "totalitems", "totaldocs", "totalelements", "totalrecords", "totalresults", "totalrows")
)
_PAGE = frozenset(["page", "currentpage", "pagenumber", "pageno", "current"])
_LIMIT = frozenset(["limit", "perpage", "itemsperpage", "pagesize", "take"])
_MORE = frozenset(["hasmore", "hasnext", "hasnextpage", "more"])
_LAST = frozenset(["last", "islast", "islastpage"])
# By what the next page is asked for, where that is not a link.
_NEXT = {
    "next": "cursor",
    "nextcursor": "cursor",
    "nextpagecursor": "cursor",
    "nexttoken": "token",
    "nextpagetoken": "pageToken",
    "nextpage": "page",
    "nextoffset": "offset",
    "nextpageurl": "cursor",
    "nexturl": "cursor",
    "nextlink": "cursor",
    "endcursor": "after",
}
_NEXT_LINK = re.compile(r"<([^<>]*)>\s*;[^,<]*?\brel=\"?next\b", re.IGNORECASE)
# A query is a few short parameters; what is longer is none that a server would take.
_MOST_PARAMETERS = 20
_LONGEST_QUERY = 4096


def facts(around: dict[str, Any], count: int, headers: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is said of a page, by the names of the fields of `Page`; and what stood around it besides.

    Args:
        around: what stood around the items, by its JSONPath.
        count: how many items are on the page.
        headers: the reply's headers.
    """
    told = _Told(count)
    rest: dict[str, Any] = {}
    for path, item in around.items():
        left = told.look(last_name(path), item, _DEPTH)
        if left is not _NOTHING:
            rest[path] = left
    told.hear(headers)
    return told.facts(), rest


_NOTHING: Any = object()


class _Told:
    """What has been said of a page so far."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._facts: dict[str, Any] = {}
        self._counted: int | None = None

    def facts(self) -> dict[str, Any]:
        """All that is known by now."""
        facts = self._facts
        if facts.get("has_more") is False:
            # A link to the last page, or its own cursor.
            facts.pop("next", None)
        elif "next" in facts:
            facts["has_more"] = True
        return facts

    def look(self, name: str, item: Any, depth: int) -> Any:
        """Look for facts in what has a name. Returns what of it is none."""
        plain = folded(name)
        if plain in _NEXT:
            return self._next(name, plain, item)
        if type(item) is dict and plain in _HOLDERS and depth:
            left = {
                key: rest for key, value in item.items() if (rest := self.look(key, value, depth - 1)) is not _NOTHING
            }
            return left if left or not item else _NOTHING
        for field, names, read in _FACTS:
            if plain in names and field not in self._facts:
                try:
                    self._facts[field] = read(item)
                except MismatchError:
                    return item
                return _NOTHING
        if plain == "count":
            return self._count_told(item)
        if plain in _LAST and type(item) is bool:
            self._facts.setdefault("has_more", not item)
        return item

    def hear(self, headers: Mapping[str, str]) -> None:
        """Look for facts in the headers."""
        total = headers.get("X-Total-Count", "")
        if total.isdecimal():
            self._facts.setdefault("total", int(total))
        found = _NEXT_LINK.search(headers.get("Link", ""))
        if found is not None and "next" not in self._facts:
            self._link(found[1])

    def _count_told(self, item: Any) -> Any:
        """A count may be that of this page. Only one that is larger is surely that of all."""
        try:
            told = scalars.read_whole(item)
        except MismatchError:
            return item
        if told > self._count:
            self._facts.setdefault("total", told)
            return _NOTHING
        return item

    def _next(self, name: str, plain: str, item: Any) -> Any:
        if type(item) is dict:
            # As HAL and JSON:API have links, or the query as it is.
            link = item.get("href")
            if link is None and item and all(type(value) in (str, int) for value in item.values()):
                self._follow({key: str(value) for key, value in item.items()})
                return _NOTHING
            if link is not None:
                self._next(name, plain, link)
            return item
        if item is None or item == "" or item is False:
            self._facts.setdefault("has_more", False)
            return _NOTHING if item is None else item
        if type(item) is int and item is not True:
            self._follow({"page" if plain == "next" else _parameter(name, plain): str(item)})
            return _NOTHING
        if type(item) is not str:
            return item
        if "?" in item or "://" in item:
            # All of the link is kept: only its query is used.
            self._link(item)
            return item
        self._follow({_parameter(name, plain): item})
        return _NOTHING

    def _link(self, link: str) -> None:
        """Take the query of a link. Where it leads does not matter: the same call is made again."""
        try:
            query = dict(parse_qsl(urlsplit(link).query, keep_blank_values=True))
        except ValueError:
            return
        if query:
            self._follow(query)

    def _follow(self, query: dict[str, str]) -> None:
        if len(query) <= _MOST_PARAMETERS and sum(map(len, query.values())) <= _LONGEST_QUERY:
            self._facts.setdefault("next", query)


def _parameter(name: str, plain: str) -> str:
    """What the next page is asked for by: `cursor` for `nextCursor`, `page_token` for `next_page_token`."""
    if "_" in name.strip("_") and name.casefold().startswith("next_"):
        return name[len("next_") :]
    return _NEXT[plain]


_FACTS: tuple[tuple[str, frozenset[str], Callable[[Any], Any]], ...] = (
    ("total", _TOTAL, scalars.read_whole),
    ("page", _PAGE, scalars.read_whole),
    ("limit", _LIMIT, scalars.read_whole),
    ("has_more", _MORE, scalars.read_flag),
)
