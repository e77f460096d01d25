"""Whatever habits a server of candles has, what is pulled from it is complete, or said not to be."""

from __future__ import annotations

import os
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from alura_async.bulk.plan import span_ms

from .server import Pulled, Server, pull

MINUTE = 60_000
NOW = 28_333_333 * MINUTE + 17_000
EXAMPLES = int(os.environ.get("ALURA_BULK_EXAMPLES", "300"))


def series(seed: int, length: int, interval: str = "1m") -> list[int]:
    """Open times up to now: dense or sparse, with holes, and a listing somewhere."""
    draw = random.Random(seed)
    span = span_ms(interval)
    last = NOW // span
    listed = draw.choice([0, 0, length // 3, length - 5, length + 10])
    density = draw.choice([1.0, 1.0, 0.97, 0.5, 0.1, 0.01])
    holes = [
        (at, at + draw.choice([1, 5, 60, 700]))
        for at in (draw.randrange(length) for _ in range(draw.choice([0, 0, 3])))
    ]
    end = draw.choice([0, 0, 0, 1, 2, 40, length // 2])
    return [
        (last - back) * span
        for back in range(length + 30, end - 1, -1)
        if back <= length - listed + 30
        and draw.random() < density
        and not any(since <= back < until for since, until in holes)
    ]


def check(server: Server, pulled: Pulled, start_ms: int, end_ms: int) -> None:
    """The parts are disjoint, cover the range, and hold exactly what there is."""
    at = start_ms
    for window in sorted([window for window, _ in pulled.proven] + pulled.stuck, key=lambda window: window.start_ms):
        assert window.start_ms == at
        at = window.end_ms
    assert at == end_ms
    span = span_ms(server.interval)
    for window, times in pulled.proven:
        there = [time for time in server.opened if window.start_ms <= time < window.end_ms and time <= server.now_ms]
        if server.without_running:
            there = [time for time in there if time + span <= server.now_ms]
        assert set(there) - set(times) <= {server.now_ms // span * span}
        assert set(times) <= set(there)


READABLE: Any = st.fixed_dictionaries(
    {
        "cap": st.sampled_from([None, 10, 11, 50, 100, 101, 499, 500, 1000]),
        "excludes_start": st.booleans(),
        "excludes_end": st.booleans(),
        "by_close": st.booleans(),
        "overlaps": st.booleans(),
        "without_running": st.booleans(),
        "by_time": st.booleans(),
        "floors": st.booleans(),
    }
)
KINDS: Any = st.sampled_from([{}, {"last_first": True}, {"ignores_start": True}, {"ignores_end": True}])


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    habits=READABLE,
    kind=KINDS,
    seed=st.integers(0, 10**9),
    length=st.sampled_from([1, 3, 30, 200, 900, 2500]),
    unaligned=st.sampled_from([0, 1, 29_999]),
    until=st.sampled_from([0, 1, 5, 300]),
    most=st.sampled_from([5000, 5000, 300]),
)
def test_a_server_that_can_be_read_by_ranges_is_read_completely(
    habits: dict[str, Any], kind: dict[str, Any], seed: int, length: int, unaligned: int, until: int, most: int
) -> None:
    if "ignores_start" in kind or "ignores_end" in kind or (habits["cap"] or 500) < 500:
        # Where a short stretch of time is all that a reply is about, whatever there is in it, a series with longer
        # holes cannot be told from its end.
        habits = {**habits, "by_time": False}
    server = Server("1m", series(seed, length), NOW, **habits, **kind)
    start = NOW // MINUTE * MINUTE - length * MINUTE + unaligned
    end = max(start + MINUTE, NOW - until * MINUTE)
    pulled = pull(server, start, end, most)
    check(server, pulled, start, end)
    assert not pulled.stuck
