"""Asks for candles, and says as of when they are: no later than when they were asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .columns import Candles

if TYPE_CHECKING:
    from ..client import AsyncAlura


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
