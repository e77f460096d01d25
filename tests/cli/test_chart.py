"""Candles drawn with characters."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from alura_async import Candle
from alura_async.cli.chart import ASCII, UNICODE, Glyphs, draw, fitting, sparkline

START_MS = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1000)
HOUR_MS = 3_600_000


def candle(
    number: int, prices: tuple[float, float, float, float], volume: float | None = 1.0, hours: int = 1
) -> Candle:
    opened, high, low, closed = prices
    return Candle(
        symbol="BTC",
        interval="1h",
        open_time_ms=START_MS + number * hours * HOUR_MS,
        open_text=str(opened),
        high_text=str(high),
        low_text=str(low),
        close_text=str(closed),
        volume_text=None if volume is None else str(volume),
    )


# Up, up with long wicks, without a body, down over the whole range, down without wicks, and half a step.
KNOWN = [
    candle(0, (100, 104, 99, 103), 10),
    candle(1, (103, 112, 101, 108), 40),
    candle(2, (108, 111, 105, 108), 0),
    candle(3, (112, 112, 99, 99), 80),
    candle(4, (104, 104, 101, 101), 25),
    candle(5, (101, 107.5, 100, 106), 15.5),
]
KNOWN += [candle(number, (106, 107, 105, 106.5), 5) for number in range(6, 14)]

IN_UNICODE = """\
 │╷┃           ┤112.0
 ││┃           │
 ┃╿┃ ╷╷╷╷╷╷╷╷╷ │
 ┃│┃ ┃╿╿╿╿╿╿╿╿ ┤105.5
╽┃ ┃┃┃         │
┃│ ┃┃┃         │
╿  ┃ ╵         ┤99.0
   █           │vol 80.0
▂█ █▅▃▁▁▁▁▁▁▁▁ │
╵03-02 00:00"""

IN_ASCII = """\
 ||#           +112.0
 ||#           |
 oo# ||||||||| |
 o|# ooooooooo +105.5
oo ##o         |
o| ##o         |
o  # |         +99.0
   |           |vol 80.0
.| |:.         |
'03-02 00:00"""


@pytest.mark.parametrize(("glyphs", "expected"), [(UNICODE, IN_UNICODE), (ASCII, IN_ASCII)])
def test_known_candles_are_drawn_like_this(glyphs: Glyphs, expected: str) -> None:
    drawn = draw(KNOWN, width=30, height=7, glyphs=glyphs)
    assert drawn.text == expected
    assert drawn.shown == len(KNOWN)


def test_rising_and_falling_candles_have_their_tones() -> None:
    top = draw(KNOWN, width=30, height=7).lines[0]
    # The one without a body counts as rising; only the fourth falls among those that reach the top.
    assert top[:2] == [(" │╷", "rise"), ("┃ ", "fall")]
    assert top[-1].tone == "faint"


def test_no_candles_are_said_to_be_none() -> None:
    drawn = draw([], width=30)
    assert (drawn.text, drawn.shown) == ("(no candles)", 0)


def test_one_candle_is_a_drawing_too() -> None:
    assert draw(KNOWN[:1], width=30, height=5).text == "│ ┤104.0\n┃ │\n┃ │\n┃ ┤100.2\n│ │\n█ │vol 10.0\n█ │"


def test_equal_prices_are_a_line_in_the_middle() -> None:
    flat = [candle(number, (5, 5, 5, 5), None) for number in range(3)]
    assert draw(flat, width=30, height=5).text == "    │\n    │\n╹╹╹ ┤5.0\n    │\n    │"


def test_volumes_of_zero_are_no_bars() -> None:
    drawn = draw([candle(0, (5, 6, 4, 5), 0)], width=30, height=3)
    assert drawn.text.split("\n")[-2:] == ["  │vol 0.0", "  │"]


def test_a_narrow_width_shows_the_most_recent_candles_and_their_prices() -> None:
    drawn = draw(KNOWN, width=18, height=5)
    assert drawn.shown == 8
    assert drawn.title("BTC", UNICODE) == "BTC, the last 8 of 14 candles"
    assert draw(KNOWN, width=30).title("BTC", ASCII) == "BTC, 14 candles (o rising, # falling)"
    assert drawn.text.split("\n")[0] == "││││││││ ┤107.0"


@pytest.mark.parametrize("width", [-1, 0, 1, 2, 5, 12, 13, 14, 20, 30, 200])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize("height", [1, 2, 13])
def test_no_line_is_wider_than_the_width(width: int, height: int, glyphs: Glyphs) -> None:
    drawn = draw(KNOWN, width=width, height=height, glyphs=glyphs)
    assert max(map(len, drawn.text.split("\n"))) <= max(1, width)
    assert 1 <= drawn.shown <= len(KNOWN)


def test_labels_that_grow_as_old_candles_are_left_out_have_room() -> None:
    # Beside the first one, the others differ by less than a label shows.
    candles = [candle(0, (90_000, 90_000, 10, 10))]
    candles += [candle(number, (1000 + number / 1e4,) * 4) for number in range(1, 60)]
    for width in (40, 60, 69, 72):
        drawn = draw(candles, width=width)
        assert max(map(len, drawn.text.split("\n"))) <= width
        assert draw(fitting(candles, width=width), width=width).lines == drawn.lines
        assert len(fitting(candles, width=width)) == drawn.shown


def test_days_are_labelled_with_their_dates() -> None:
    days = [candle(number, (1, 2, 1, 2), hours=24) for number in range(20)]
    assert draw(days, width=40).text.split("\n")[-1] == "╵2026-03-02"


def test_prices_of_any_size_have_labels_that_tell_them_apart() -> None:
    for unit in (1e-6, 1e-3, 1.0, 1e6):
        rising = [candle(number, (unit * (1 + number / 50),) * 4) for number in range(20)]
        labels = [line[-1].text for line in draw(rising, width=80).lines if "┤" in line[-1].text]
        assert len(labels) == 5
        assert len(set(labels)) == 5


def test_a_sparkline_is_the_course_of_its_last_values() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 80) == "▁▂▃▄▅▆▇█"
    assert sparkline([9, 9, 0, 7], 2) == "▁█"
    assert sparkline([3, 3, 3], 80) == "▄▄▄"
    assert sparkline([-1, 1], 80, ASCII) == "_#"
    assert sparkline([], 80) == sparkline([1, 2], 0) == sparkline([1, 2], -3) == ""
