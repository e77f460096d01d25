"""How long a server wants an endpoint left alone, whatever its headers say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from alura_async.core.messages import hold_asked, retry_after

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)
DATE = format_datetime(NOW, usegmt=True)


def hold(**headers: str) -> float | None:
    """What headers ask for, as aiohttp gives them."""
    return hold_asked(CIMultiDictProxy(CIMultiDict({name.replace("_", "-"): text for name, text in headers.items()})))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("5", 5.0), ("1.5", 1.5), (" 7 ", 7.0), ("60", 60.0), ("61", 60.0), ("9999", 60.0)],
)
def test_seconds_are_read_and_capped(value: str, seconds: float) -> None:
    assert hold(Retry_After=value) == seconds
    assert hold(retry_after_short=value) == seconds
    assert hold(X_RateLimit_Remaining="0", X_RateLimit_Reset=value) == seconds


@pytest.mark.parametrize("value", ["-1", "NaN", "inf", "1e9", "86401", "", "soon", "5s", "0x5", "5,6", "٣", "1" * 400])
def test_nonsense_asks_for_nothing(value: str) -> None:
    assert hold(Retry_After=value) is None
    assert hold(Retry_After_long=value) is None
    assert hold(X_RateLimit_Remaining="0", X_RateLimit_Reset=value) is None
    assert hold(X_RateLimit_Remaining=value, X_RateLimit_Reset="5") is None


def test_a_date_is_read_against_the_servers_clock_and_capped() -> None:
    for seconds, expected in ((30, 30.0), (600, 60.0), (-30, 0.0)):
        later = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
        assert hold(Date=DATE, Retry_After=later) == expected
        assert hold(Date=DATE, X_RateLimit_Remaining="0", X_RateLimit_Reset=later) == expected
    far = format_datetime(NOW + timedelta(days=30), usegmt=True)
    assert hold(Date=DATE, Retry_After=far) is None


def test_a_reset_may_be_a_time_since_1970() -> None:
    at = int(NOW.timestamp())
    assert hold(Date=DATE, X_RateLimit_Remaining="0", X_RateLimit_Reset=str(at + 20)) == 20.0
    assert hold(Date=DATE, X_RateLimit_Remaining="0", X_RateLimit_Reset=f"{at + 20}.5") == 20.5
    assert hold(Date=DATE, X_RateLimit_Remaining="0", X_RateLimit_Reset=f"{at + 20}000") == 20.0
    assert hold(Date=DATE, X_RateLimit_Remaining="0", X_RateLimit_Reset=str(at - 20)) == 0.0
    assert hold(Date=DATE, X_RateLimit_Remaining="0", X_RateLimit_Reset=str(at + 10**7)) is None
    # A `Retry-After` is never one.
    assert hold(Date=DATE, Retry_After=str(at + 20)) is None


def test_a_reset_counts_only_if_nothing_remains_of_the_same_limit() -> None:
    assert hold(X_RateLimit_Remaining="1", X_RateLimit_Reset="9") is None
    assert hold(X_RateLimit_Remaining="0") is None
    assert hold(X_RateLimit_Reset="9") is None
    named = {"X_RateLimit_Remaining_short": "0", "X_RateLimit_Reset_short": "3", "X_RateLimit_Remaining_long": "7"}
    assert hold(**named, X_RateLimit_Reset_long="50") == 3.0
    assert hold(X_RateLimit_Remaining_short="0", X_RateLimit_Reset_long="50") is None


def test_the_longest_of_all_counts() -> None:
    exhausted = {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "9"}
    assert hold(Retry_After="4", Retry_After_medium="6", **exhausted) == 9.0
    assert hold(Retry_After="4", Retry_After_medium="16", **exhausted) == 16.0
    assert hold(Retry_After="-1", Retry_After_medium="NaN", **exhausted) == 9.0


def test_a_header_that_only_begins_alike_says_nothing() -> None:
    assert hold(Retry_Afterwards="5", X_Retry_After="5") is None
    assert hold(X_RateLimit_Remainings="0", X_RateLimit_Reset="5") is None


names = st.sampled_from(
    [
        "Retry-After",
        "retry-after-short",
        "Retry-After-",
        "X-RateLimit-Remaining",
        "X-RateLimit-Reset",
        "X-RateLimit-Remaining-long",
        "X-RateLimit-Reset-long",
        "Date",
        "x",
    ]
)
values = (
    st.text(max_size=30)
    | st.text("0123456789.-+eE ", max_size=15)
    | st.sampled_from(["0", "5", "", " ", DATE, "Mon, 01 Jan 0001 00:00:00 -2359", "1 Jan 99999 00:00 +99999999999"])
    | st.builds(
        "{}, {} {} {} {}:{}:{} {}".format,
        st.sampled_from(["Mon", "", "x"]),
        st.integers(-1, 40),
        st.sampled_from(["Jan", "Dec", "Foo", ""]),
        st.integers(-1, 100_000),
        *[st.integers(-1, 99)] * 3,
        st.sampled_from(["GMT", "+0000", "-9999", "+99999999999999999999", ""]),
    )
)


@given(st.lists(st.tuples(names, values), max_size=6))
@example([("Retry-After", " ")])
@example([("Retry-After", "9" * 5000)])
@example([("Retry-After", DATE), ("Date", "1 Jan 1 00:00:00 +2359")])
def test_whatever_comes_asks_for_a_minute_at_most(headers: list[tuple[str, str]]) -> None:
    for given_headers in (dict(headers), CIMultiDict(headers)):
        found = hold_asked(given_headers)
        assert found is None or 0 <= found <= 60
        waits = retry_after(given_headers)
        assert waits is None or 0 <= waits <= 86_400
