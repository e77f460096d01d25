"""Asks for candles, sees whether what came is what was asked for, and says as of when it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..core.request import Parts
from ..errors import Outcome, ShapeError
from .columns import Candles
from .decoding import CANDLE_HISTORY, LATEST_CANDLES
from .extra import needing
from .habits import Question
from .plan import Window, span_ms
from .query import CandlePath, CandleQuery

with needing("numpy"):
    import numpy as np

if TYPE_CHECKING:
    from ..client import AsyncAlura

# Candles from which it can be said that they are of a longer interval than the one asked for.
_MANY = 50


async def told(client: AsyncAlura, request: Any) -> Candles:
    """The candles of a reply, as they were when the request left.

    A server looks candles up after it was asked, and writes its `Date` when it has them: the one that was running may
    be over by then, and what came is not all of it. So what counts is the time of the reply without the time from the
    request to it; where it tells none, this machine's when the request left.

    Args:
        client: whose call it is.
        request: of a route that gives candles.

    Raises:
        AluraError: there was no reply, or it has no candles.
    """
    candles: Candles
    candles, lasted_s = await client._road.travel_timed(request, client._time_limit(request), client._options)
    # Up: what took any time at all did not take none.
    lasted_ms = int(lasted_s * 1000) + 1
    return candles._told_before(lasted_ms).told_at(time.time_ns() // 1_000_000 - lasted_ms)


async def answered(client: AsyncAlura, question: Question, limit: int | None, query: CandleQuery) -> Candles:
    """The candles that a question brings.

    Args:
        client: whose call it is.
        question: what is asked.
        limit: how many candles at most; None where no number is asked for.
        query: how the server wants to be asked.

    Raises:
        AluraError: there was no reply, or it has no candles.
        ShapeError: they are of another interval.
    """
    candles = await told(client, _request(question, limit, query))
    if candles.interval is None:
        # The parameter has another name than usual, so nobody could know.
        candles = _named(candles, question.window)
    _require_interval(candles, question)
    return candles


def _request(question: Question, limit: int | None, query: CandleQuery) -> Any:
    window = question.window
    if question.stretch.is_latest:
        return LATEST_CANDLES.request(window.symbol, window.interval, query={})
    asked = {query.start: query.time(question.start_ms), query.end: query.time(question.end_ms)}
    if query.limit is not None and limit is not None:
        asked[query.limit] = limit
    if question.path == "interval":
        return LATEST_CANDLES.fill(Parts(window.symbol, window.interval, query=asked))
    return CANDLE_HISTORY.fill(Parts(window.symbol, query={query.interval: window.interval, **asked}))


def _named(candles: Candles, window: Window) -> Candles:
    return Candles(
        window.symbol,
        window.interval,
        open_time=candles.open_time,
        open=candles.open,
        high=candles.high,
        low=candles.low,
        close=candles.close,
        volume=candles.volume,
        trades=candles.trades,
        as_of_ms=candles.as_of_ms,
    )


def _require_interval(candles: Candles, question: Question) -> None:
    """Refuse candles that stand too close, or all at the distances of a longer interval.

    Raises:
        ShapeError: they are of another interval.
    """
    window, count = question.window, len(candles)
    if candles.interval != window.interval:
        raise _other_interval(question, f"of {candles.interval}")
    if count < 2:
        return
    times: Any = candles.open_time.view(np.int64)
    places = (int(times[-1]) - int(times[0])) // span_ms(window.interval) + 1
    # A month is shorter than its name says, now and then.
    is_shorter = count > places + 1 + places // 10
    is_longer = count >= _MANY and places >= 2 * (count - 1) and _step(times) >= 2 * span_ms(window.interval)
    if is_shorter or is_longer:
        raise _other_interval(question, "of a shorter interval" if is_shorter else "of a longer interval")


def _other_interval(question: Question, what: str) -> ShapeError:
    return _shape_error(
        question,
        f"asked for candles of {question.window.interval}, it gave some {what}: it may know the parameter by another "
        "name: CandleQuery(interval=…)",
    )


def _step(times: Any) -> int:
    """The largest time that all distances are multiples of."""
    return int(np.gcd.reduce(np.diff(times)))


def unreadable(question: Question, query: CandleQuery, candles: Candles) -> ShapeError:
    """The error where replies say nothing of the ranges that are asked for."""
    return _shape_error(
        question,
        f"the server does not answer for a range: asked for {question.window.symbol} {question.window.interval} from "
        f"{question.window.start:%Y-%m-%d %H:%M} to {question.window.end:%Y-%m-%d %H:%M} UTC, it gave {candles!r}. It "
        f"may know the parameters {query.start!r}, {query.end!r} and {query.limit!r} by other names, or times in "
        f"another unit than {query.unit!r}, or serve ranges on its other path: say so by CandleQuery(start=…, end=…, "
        "limit=…, unit=…, path=…)",
    )


def other_unit(question: Question, query: CandleQuery) -> ShapeError:
    """The error where a query with times in the other unit brings what was asked for."""
    takes, given = ("seconds", "milliseconds") if query.unit == "s" else ("milliseconds", "seconds")
    return _shape_error(
        question,
        f"the server takes times in {takes}, and was asked in {given}: it gives candles of {question.window.symbol} "
        f"{question.window.interval} from {question.window.start:%Y-%m-%d %H:%M} to "
        f"{question.window.end:%Y-%m-%d %H:%M} UTC only by the former: say so by CandleQuery(unit={query.unit!r})",
    )


def _shape_error(question: Question, message: str) -> ShapeError:
    path = _PATHS[question.path]
    return ShapeError(f"GET {path}: {message}", method="GET", path=path, outcome=Outcome.DONE)


_PATHS: dict[CandlePath, str] = {"history": CANDLE_HISTORY.template, "interval": LATEST_CANDLES.template}
