"""An estimate counts what can be there, in as few requests as pages allow, and says so in words."""

from __future__ import annotations

import subprocess
import sys
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alura_async import InvalidArgumentError
from alura_async.bulk import Window
from alura_async.bulk.plan import last_part, least_span_ms, parts, plan_of, span_ms

MINUTE, DAY = 60_000, 86_400_000


@pytest.mark.parametrize(
    ("interval", "span"),
    [("1m", MINUTE), ("5m", 5 * MINUTE), ("1h", 60 * MINUTE), ("4h", 240 * MINUTE), ("1d", DAY), ("1w", 7 * DAY)],
)
def test_an_interval_has_a_length(interval: str, span: int) -> None:
    assert span_ms(interval) == least_span_ms(interval) == span


def test_a_month_has_no_one_length() -> None:
    assert (least_span_ms("1M"), span_ms("1M")) == (28 * DAY, 31 * DAY)


@pytest.mark.parametrize(
    "interval", ["", "m", "1", "0m", "01m", "1 m", "1min", "-1m", "1m\n", "1.5h", "99999m", None, 60]
)
def test_what_is_no_interval_is_refused(interval: str) -> None:
    with pytest.raises(InvalidArgumentError, match="interval="):
        span_ms(interval)


@given(
    interval=st.sampled_from(["1m", "15m", "4h", "1d", "1w", "1M"]),
    start=st.integers(-10 * DAY, 20_000 * DAY),
    length=st.floats(0.01, 300),
    most=st.integers(1, 5000),
)
def test_parts_cover_a_range_once_in_as_few_as_pages_allow(interval: str, start: int, length: float, most: int) -> None:
    window = Window("BTC", interval, start, start + max(1, int(length * span_ms(interval))))
    found = list(parts(window, most))
    assert [part.end_ms for part in found] == [window.end_ms, *(part.start_ms for part in found[:-1])]
    assert found[-1].start_ms == window.start_ms
    assert all(0 < part.candles <= most for part in found)
    # Only the last, where the range ends within an interval, may have less than is possible.
    assert len(found) <= -(-window.candles // most) + 1
    assert all(part.start_ms % least_span_ms(interval) == 0 for part in found[:-1])
    assert found[0] == last_part(window, most)


def test_the_cost_of_a_pull_is_told_in_words() -> None:
    two_years = [Window(f"S{number}", "1m", 0, 2 * 365 * DAY) for number in range(40)]
    plan = plan_of(two_years, 500, rate=10)
    assert str(plan) == "42 M candles, about 84,120 requests, 2 h 20 min at 10/s"
    assert (plan.candles, plan.requests, plan.seconds) == (42_048_000, 84_120, 8412)
    assert plan.ranges == tuple(two_years)
    assert plan.download_bytes > plan.store_bytes > 20 * plan.candles


@pytest.mark.parametrize(
    ("days", "rate", "said"),
    [
        (1, 10, "1,440 candles, about 3 requests, 1 s at 10/s"),
        (30, 10, "43,200 candles, about 87 requests, 9 s at 10/s"),
        (400, 1, "576,000 candles, about 1,152 requests, 19 min 12 s at 1/s"),
        (400, 0.01, "576,000 candles, about 1,152 requests, 1 d 8 h at 0.01/s"),
        (4000, 0.01, "5.76 M candles, about 11,520 requests, 13 d 8 h at 0.01/s"),
        (4_000_000, 10, "5.76 G candles, about 11.5 M requests, 13 d 8 h at 10/s"),
        (400, inf, "576,000 candles, about 1,152 requests"),
    ],
)
def test_each_size_has_its_own_words(days: int, rate: float, said: str) -> None:
    assert str(plan_of([Window("BTC", "1m", 0, days * DAY)], 500, rate=rate)) == said


def test_slots_hold_a_pull_up_where_replies_take_long() -> None:
    window = Window("BTC", "1m", 0, 100 * DAY)
    assert plan_of([window], 500, rate=10, slots=12, latency_s=0.1).rate == 10
    slow = plan_of([window], 500, rate=10, slots=12, latency_s=4)
    assert slow.rate == 3
    assert slow.seconds == 96
    unlimited = plan_of([window], 500, slots=12, latency_s=4)
    assert str(unlimited).endswith("1 min 36 s at 3/s")


def test_an_estimate_needs_neither_numpy_nor_polars() -> None:
    program = (
        "import sys, alura_async, alura_async.bulk.plan, alura_async.bulk.habits\n"
        "alura_async.AsyncAlura().bulk.plan\n"
        "print(sorted({'numpy', 'polars', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
