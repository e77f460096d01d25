"""Awkward servers of candles: what they do with a range that a client asks for, without a word about it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from ..errors import ConfigurationError
from ..groups.indicators import Candle
from .bars import SPANS
from .market import INTERVALS
from .refusals import bad_request
from .routes.indicators import START, USUAL_CANDLES
from .routing import Call, ServerRoute


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """How a server of candles goes its own ways; by default it does not. The latest candles are not concerned.

    Attributes:
        page_cap: how many candles a reply holds at most, whatever `limit` asks for; None for no such cap.
        largest_limit: a larger `limit` is refused with 400; None for no bound below the usual one.
        ignores_start: `startTime` means nothing: the last candles are given.
        ignores_end: `endTime` means nothing: the first candles from the start on are given, without a start the last.
        excludes_end: the candle that opens at `endTime` is left out.
        last_of_range: of a range with more candles than fit, the last are given.
        overlaps: a reply begins with the candle before `startTime`.
        newest_first: the order is reversed.
        without_running: the candle that is not over is left out; it still counts as one of `limit`.
        empty_before_listing: a range ends after `limit` candles, traded or not, so one from before the listing is
            empty; otherwise it begins with the listing. With `last_of_range` it begins so many before its end.
    """

    page_cap: int | None = None
    largest_limit: int | None = None
    ignores_start: bool = False
    ignores_end: bool = False
    excludes_end: bool = False
    last_of_range: bool = False
    overlaps: bool = False
    newest_first: bool = False
    without_running: bool = False
    empty_before_listing: bool = False

    def __post_init__(self) -> None:
        for name in ("page_cap", "largest_limit"):
            cap = getattr(self, name)
            if cap is not None and (not isinstance(cap, int) or isinstance(cap, bool) or cap < 1):
                raise ConfigurationError(f"{name}={cap!r}: give a number from 1 on, or None for no cap")


REGULAR = Quirks()
"""A server without quirks."""


@functools.lru_cache(maxsize=32)
def with_quirks(routes: tuple[ServerRoute, ...], quirks: Quirks) -> tuple[ServerRoute, ...]:
    """The same routes, where those that give a range of candles do so with quirks."""
    if quirks == REGULAR:
        return routes
    return tuple(
        msgspec.structs.replace(route, handler=_quirky(route.handler, quirks)) if START in route.query else route
        for route in routes
    )


def _quirky(handler: Callable[[Call], Any], quirks: Quirks) -> Callable[[Call], list[Candle]]:
    def candles(call: Call) -> list[Candle]:
        largest, start_ms = quirks.largest_limit, None
        if largest is not None and call.query.get("limit", 0) > largest:
            raise bad_request(f"limit must not be greater than {largest}")
        query = _query(call, quirks)
        if quirks.last_of_range:
            start_ms = query.pop("startTime", None)
        found: list[Candle] = handler(replace(call, query=query))
        if start_ms is not None:
            found = [candle for candle in found if candle.open_time_ms >= start_ms]
        if quirks.without_running:
            found = [candle for candle in found if candle.close_time_ms is None or candle.close_time_ms < call.now_ms]
        return found[::-1] if quirks.newest_first else found

    return candles


def _query(call: Call, quirks: Quirks) -> dict[str, Any]:
    """What the server makes of a query."""
    query = dict(call.query)
    if quirks.page_cap is not None:
        query["limit"] = min(query.get("limit", USUAL_CANDLES), quirks.page_cap)
    if quirks.ignores_start:
        query.pop("startTime", None)
    if quirks.ignores_end:
        query.pop("endTime", None)
    elif quirks.excludes_end and "endTime" in query:
        query["endTime"] -= 1
    interval = INTERVALS.get(call.path.get("interval") or query.get("interval", "1h"))
    if "startTime" in query and interval is not None:
        span = SPANS[interval] * 1000
        if quirks.overlaps:
            query["startTime"] -= span
        if quirks.empty_before_listing:
            length = span * query.get("limit", USUAL_CANDLES) - 1
            if quirks.last_of_range:
                query["startTime"] = max(query["startTime"], query.get("endTime", call.now_ms) - length)
            else:
                last = query["startTime"] + length
                query["endTime"] = min(query.get("endTime", last), last)
    return query
