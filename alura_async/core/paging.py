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
_LAST = frozenset(["last", "islast", "islastpage", "lastpage"])
# How many pages there are.
_PAGES = frozenset(["totalpages", "lastpage", "pagecount", "pages", "numpages", "numberofpages"])
# By what the next page is asked for, where that is not a link; nothing where it can be no more than a link.
_NEXT = {
    "next": "cursor",
    "nextcursor": "cursor",
    "nextpagecursor": "cursor",
    "nexttoken": "token",
    "nextpagetoken": "pageToken",
    "nextpage": "page",
    "nextoffset": "offset",
    "nextpageurl": "",
    "nexturl": "",
    "nextlink": "",
    "endcursor": "after",
}
# A link of a header, with its parameters, and one of these. What is in quotes may hold anything.
_LINK = re.compile(r'<([^<>]*)>((?:[^,<"]|"(?:[^"\\]|\\.)*")*)')
_LINK_PARAMETER = re.compile(r""";\s*([^\s;=,"']+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^\s;]*))?""")
# A query is a few short parameters; what is longer is none that a server would take.
_MOST_PARAMETERS = 20
_LONGEST_QUERY = 4096
# No list is longer.
_MOST_DIGITS = 15


def may_tell(headers: Mapping[str, str]) -> bool:
    """Whether a reply's headers may say anything of a page."""
    return "Link" in headers or "X-Total-Count" in headers


def facts(around: dict[str, Any], count: int, headers: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is said of a page, by the names of the fields of `Page`; and what stood around it besides.

    Args:
        around: what stood around the items, by its JSONPath.
        count: how many items are on the page.
        headers: the reply's headers.
    """
    told, rest = _told(around, count, headers)
    return ({}, rest) if told is None else (told.facts(), rest)


def is_complete(around: dict[str, Any], count: int, headers: Mapping[str, str]) -> bool | None:
    """Whether a list that was asked for as a whole is all there is, by what is said of a page; None where nothing is.

    Args:
        around: what stood around the items, by its JSONPath.
        count: how many items came.
        headers: the reply's headers.
    """
    told, _ = _told(around, count, headers)
    return None if told is None else told.is_complete()


def _told(around: dict[str, Any], count: int, headers: Mapping[str, str]) -> tuple[_Told | None, dict[str, Any]]:
    """What is said of a page, None if nothing can be; and what stood around it besides."""
    rest: dict[str, Any] = {}
    # Mostly there is nothing, and this is the fastest way to see it.
    if not around and not may_tell(headers):
        return None, rest
    told = _Told(count)
    for path, item in around.items():
        left = told.look(last_name(path), item, _DEPTH)
        if left is not _NOTHING:
            rest[path] = left
    told.hear(headers)
    return told, rest


_NOTHING: Any = object()


class _Told:
    """What has been said of a page so far."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._facts: dict[str, Any] = {}
        self._pages: int | None = None
        self._names_next = False
        # Whether the place where the next page stands is empty.
        self._names_no_next = False

    def facts(self) -> dict[str, Any]:
        """All that is known by now."""
        facts = self._facts
        has_more = self._has_more()
        if has_more is not None:
            facts["has_more"] = has_more
        if has_more is False:
            # A link to the last page, or its own cursor.
            facts.pop("next", None)
        return facts

    def is_complete(self) -> bool | None:
        """Whether these are all items, if they were asked for as a whole."""
        has_more = self._has_more()
        total = self._facts.get("total")
        if has_more or self._exceeds(total, self._count) or self._exceeds(self._pages, 1):
            return False
        if self._exceeds(self._facts.get("page"), 1):
            return False
        return True if has_more is False or total == self._count else None

    def _has_more(self) -> bool | None:
        facts = self._facts
        said: bool | None = facts.get("has_more")
        if said is not None:
            return said
        page, limit = facts.get("page"), facts.get("limit")
        if self._pages is not None and page is not None:
            return bool(1 < self._pages > page)
        if self._names_next:
            return True
        if self._pages in (0, 1):
            return False
        # What names no next page may go by numbers, and means nothing by it.
        shown = self._count if page is None or limit is None else max(self._count, page * limit)
        return False if self._names_no_next and not self._exceeds(facts.get("total"), shown) else None

    @staticmethod
    def _exceeds(told: int | None, count: int) -> bool:
        return told is not None and told > count

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
        if plain in _PAGES and self._pages is None:
            try:
                self._pages = _read_count(item)
            except MismatchError:
                pass
            else:
                return item
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
        if total.isdecimal() and len(total) <= _MOST_DIGITS:
            self._facts.setdefault("total", int(total))
        for link, parameters in _LINK.findall(headers.get("Link", "")):
            relations = [value for name, value in _LINK_PARAMETER.findall(parameters) if name.casefold() == "rel"]
            if "next" in "".join(relations[:1]).strip("\"'").casefold().split() and "next" not in self._facts:
                self._link(link)

    def _count_told(self, item: Any) -> Any:
        """A count may be that of this page. Only one that is larger is surely that of all."""
        try:
            told = _read_count(item)
        except MismatchError:
            return item
        if told > self._count:
            self._facts.setdefault("total", told)
            return _NOTHING
        return item

    def _next(self, name: str, plain: str, item: Any) -> Any:
        if type(item) is dict:
            # As HAL and JSON:API have links, or the query as it is.
            if "href" in item:
                self._next(name, plain, item["href"])
            elif item and all(type(value) in (str, int) for value in item.values()):
                self._follow({key: str(value) for key, value in item.items()})
                return _NOTHING
            return item
        if item is None or item == "" or item is False:
            self._names_no_next = True
            return _NOTHING if item is None else item
        if item is True:
            self._names_next = True
            return item
        if type(item) is int:
            self._follow({"page" if plain == "next" else _parameter(name, plain): str(item)})
            return _NOTHING
        if type(item) is not str:
            return item
        if _is_link(plain, item):
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
            query = {}
        # Of one without a query it is known at least that a page follows.
        self._follow(query)

    def _follow(self, query: dict[str, str]) -> None:
        self._names_next = True
        if query and len(query) <= _MOST_PARAMETERS and sum(map(len, query.values())) <= _LONGEST_QUERY:
            self._facts.setdefault("next", query)


def _is_link(plain: str, text: str) -> bool:
    """Whether what names the next page is a link; else it is a cursor, in which there may be a `?` or a `/` too."""
    if "://" in text or not _NEXT[plain]:
        return True
    if plain.endswith(("cursor", "token")):
        return text[0] in "/?" and "?" in text
    return text[0] in "/?" or "=" in text.partition("?")[2]


def _parameter(name: str, plain: str) -> str:
    """What the next page is asked for by: `cursor` for `nextCursor`, `page_token` for `next_page_token`."""
    if "_" in name.strip("_") and name.casefold().startswith("next_"):
        return name[len("next_") :]
    return _NEXT[plain]


def _read_count(item: Any) -> int:
    """A number of items or pages. Some say -1 where they do not know."""
    count = scalars.read_whole(item)
    if not 0 <= count < 10**_MOST_DIGITS:
        raise MismatchError("a number of items or pages is expected")
    return count


_FACTS: tuple[tuple[str, frozenset[str], Callable[[Any], Any]], ...] = (
    ("total", _TOTAL, _read_count),
    ("page", _PAGE, _read_count),
    ("limit", _LIMIT, _read_count),
    ("has_more", _MORE, scalars.read_flag),
)
