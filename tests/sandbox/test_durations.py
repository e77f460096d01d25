"""Lengths of time as a person writes them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alura_async.errors import ConfigurationError
from alura_async.sandbox.durations import Duration, duration, duration_text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("10m", 600),
        ("1h30m", 5400),
        ("250ms", 0.25),
        (" 2D ", 172_800),
        ("1.5s", 1.5),
        (0, 0),
        (0.5, 0.5),
        (timedelta(minutes=1), 60),
    ],
)
def test_a_length_of_time_is_read_as_it_is_written(value: Duration, seconds: float) -> None:
    assert duration(value, "over") == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["", "10", "m", "-5m", "10 m", "1e3s", "5w", float("nan"), float("inf"), True, None])
def test_what_is_no_length_of_time_is_refused_with_an_example(value: Duration) -> None:
    with pytest.raises(ConfigurationError, match=r"over=.*'10m'"):
        duration(value, "over")


@pytest.mark.parametrize("value", [-1, timedelta(seconds=-1)])
def test_a_negative_length_is_refused(value: Duration) -> None:
    with pytest.raises(ConfigurationError, match="not negative"):
        duration(value, "over")


@pytest.mark.parametrize("text", ["0s", "10m", "1h30m", "250ms", "2d", "1d2h3m4s5ms", "0.250ms", "1s1.001ms"])
def test_a_length_of_time_is_written_as_it_is_read(text: str) -> None:
    assert duration_text(duration(text, "over")) == text
