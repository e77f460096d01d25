"""Candles drawn with characters: prices above, volume below, a price axis to the right and times under it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from math import floor, log10
from typing import Literal, NamedTuple, TypeAlias

from ..core.quantities import counted
from ..groups.indicators import Candle

Tone: TypeAlias = Literal["rise", "fall", "faint"]
"""What a colour would say."""


class Span(NamedTuple):
    """Some characters of one tone."""

    text: str
    tone: Tone


class Chart(NamedTuple):
    """A drawing.

    Attributes:
        lines: its lines from top to bottom; the spans of a line are written side by side.
        shown: how many candles are on it: the most recent that the width had room for.
        given: how many there were.
    """

    lines: list[list[Span]]
    shown: int
    given: int

    def title(self, name: str, glyphs: Glyphs) -> str:
        """What is on it, on one line."""
        shown = "" if self.shown == self.given else f"the last {self.shown} of "
        return f"{name}, {shown}{counted(self.given, 'candle')}" + (f" ({glyphs.legend})" if glyphs.legend else "")

    @property
    def text(self) -> str:
        """The drawing without tones."""
        return "\n".join("".join(span.text for span in line).rstrip() for line in self.lines)


class Glyphs(NamedTuple):
    """The characters of a drawing.

    Attributes:
        cells: for each direction, what a cell shows by what is in its upper and its lower half (0 nothing, 1 wick,
            2 body). A set that cannot show halves has one entry per kind.
        halves: whether it can show halves.
        bars: a cell of the volume, from empty to full.
        sparks: a cell of a sparkline, from lowest to highest.
        edge: the axis beside a row without a label, and with one.
        tick: what points from a time's label to its candle.
        legend: what has to be explained, or nothing.
    """

    cells: dict[Tone, dict[tuple[int, int], str]]
    halves: bool
    bars: str
    sparks: str
    edge: tuple[str, str]
    tick: str
    legend: str = ""


_HALVES = {
    (0, 0): " ", (1, 1): "│", (2, 2): "┃", (0, 1): "╷", (1, 0): "╵", (0, 2): "╻", (2, 0): "╹", (1, 2): "╽", (2, 1): "╿",
}  # fmt: skip

UNICODE = Glyphs(
    cells={"rise": _HALVES, "fall": _HALVES},
    halves=True,
    bars=" ▁▂▃▄▅▆▇█",
    sparks="▁▂▃▄▅▆▇█",
    edge=("│", "┤"),
    tick="╵",
)
"""Twice as fine as rows, and a direction is told by colour alone."""

ASCII = Glyphs(
    cells={
        "rise": {(0, 0): " ", (1, 1): "|", (2, 2): "o"},
        "fall": {(0, 0): " ", (1, 1): "|", (2, 2): "#"},
    },
    halves=False,
    bars=" .:|",
    sparks="_.-=*#",
    edge=("|", "+"),
    tick="'",
    legend="o rising, # falling",
)
"""For what is not a terminal, or shows no colours."""

_LABEL_EVERY = 3
_VOLUME_ROWS = 2
_MOST_DECIMALS = 8
# Candles from one label of the time axis to the next; a label is at most 12 characters long.
_TIME_EVERY = 18
_LEAST_ROOM = 4
_DAY = timedelta(days=1)


def draw(candles: Sequence[Candle], *, width: int, height: int = 13, glyphs: Glyphs = UNICODE) -> Chart:
    """Draw candles, oldest to the left, one column each.

    Args:
        candles: the candles, oldest first.
        width: columns there are, axis included. Where they are too few, the oldest candles are left out.
        height: rows for the prices.
        glyphs: what to draw with.
    """
    if not candles:
        return Chart([[Span("(no candles)"[: max(1, width)], "faint")]], 0, 0)
    shown, has_axis = _shown(candles, width, height)
    labels = _price_labels(shown, height)
    lines = _price_rows(shown, height, glyphs, labels if has_axis else None)
    lines += _volume_rows(shown, glyphs, _volume_label(shown) if has_axis else None)
    times = _time_row(shown, glyphs)
    if has_axis and times:
        lines.append([Span(times, "faint")])
    return Chart(lines, len(shown), len(candles))


def fitting(candles: Sequence[Candle], *, width: int, height: int = 13) -> Sequence[Candle]:
    """The most recent candles, as many as `draw` has room for."""
    return _shown(candles, width, height)[0] if candles else candles


def sparkline(values: Sequence[float], width: int, glyphs: Glyphs = UNICODE) -> str:
    """The course of some values on one line: the last `width` of them."""
    shown = values[-width:] if width > 0 else []
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    last = len(glyphs.sparks) - 1
    # Without a rise or a fall, the middle says so best.
    return "".join(
        glyphs.sparks[round((value - low) / (high - low) * last) if high > low else last // 2] for value in shown
    )


def _shown(candles: Sequence[Candle], width: int, height: int) -> tuple[Sequence[Candle], bool]:
    """The candles that there is room for, and whether the axis has any beside them."""
    shown = candles[-max(1, width) :]
    while True:
        room = width - 2 - max(map(len, [*_price_labels(shown, height).values(), _volume_label(shown)]))
        # An axis that leaves hardly any room for what it measures is left out.
        if room < _LEAST_ROOM:
            return candles[-max(1, width) :], False
        if len(shown) <= room:
            return shown, True
        # What is left out may have been the highest: the labels are those of what is shown, and may be longer.
        shown = shown[-room:]


def _price_rows(
    candles: Sequence[Candle], height: int, glyphs: Glyphs, labels: dict[int, str] | None
) -> list[list[Span]]:
    """The candles with the price axis, or without one where there are no labels."""
    columns = [_column(candle, *_range(candles), height, glyphs) for candle in candles]
    lines: list[list[Span]] = []
    for row in reversed(range(height)):
        line = _joined([(cells[row], tone) for cells, tone in columns])
        if labels is not None:
            label = labels.get(row)
            line.append(Span(f" {glyphs.edge[label is not None]}{label or ''}", "faint"))
        lines.append(line)
    return lines


def _column(candle: Candle, low: float, high: float, height: int, glyphs: Glyphs) -> tuple[list[str], Tone]:
    """One candle's cells from the bottom up, and its direction."""
    levels = height * 2 if glyphs.halves else height

    def level(price: float) -> int:
        # Where all prices are equal, they are in the middle.
        return round((price - low) / (high - low) * (levels - 1)) if high > low else levels // 2

    opened, closed = float(candle.open), float(candle.close)
    tone: Tone = "rise" if closed >= opened else "fall"
    body = sorted((level(opened), level(closed)))
    wick = (level(float(candle.low)), level(float(candle.high)))
    kinds = [2 if body[0] <= place <= body[1] else 1 if wick[0] <= place <= wick[1] else 0 for place in range(levels)]
    pairs = zip(kinds[1::2], kinds[::2], strict=True) if glyphs.halves else zip(kinds, kinds, strict=True)
    return [glyphs.cells[tone][pair] for pair in pairs], tone


def _volume_rows(candles: Sequence[Candle], glyphs: Glyphs, label: str | None) -> list[list[Span]]:
    """Bars as high as the volumes; none if no candle has one. Without a label they have no axis either."""
    if all(candle.volume is None for candle in candles):
        return []
    volumes = [float(candle.volume or 0) for candle in candles]
    most = max(volumes)
    full = len(glyphs.bars) - 1
    heights = [round(volume / most * full * _VOLUME_ROWS) if most > 0 else 0 for volume in volumes]
    tones: list[Tone] = ["rise" if candle.close >= candle.open else "fall" for candle in candles]
    lines: list[list[Span]] = []
    for row in reversed(range(_VOLUME_ROWS)):
        cells = [glyphs.bars[min(full, max(0, height - row * full))] for height in heights]
        line = _joined(list(zip(cells, tones, strict=True)))
        if label is not None:
            line.append(Span(f" {glyphs.edge[0]}{label if row == _VOLUME_ROWS - 1 else ''}", "faint"))
        lines.append(line)
    return lines


def _volume_label(candles: Sequence[Candle]) -> str:
    """What a full bar stands for."""
    return f"vol {_compact(max(float(candle.volume or 0) for candle in candles))}"


def _time_row(candles: Sequence[Candle], glyphs: Glyphs) -> str:
    """When some of the candles begin, each label at its candle; empty if no label has room."""
    apart = min((later.open_time - candle.open_time for candle, later in pairwise(candles)), default=timedelta())
    row, form = "", "%Y-%m-%d" if apart >= _DAY else "%m-%d %H:%M"
    for place in range(0, len(candles), _TIME_EVERY):
        label = f"{glyphs.tick}{candles[place].open_time:{form}}"
        if place + len(label) <= len(candles):
            row = row.ljust(place) + label
    return row


def _price_labels(candles: Sequence[Candle], height: int) -> dict[int, str]:
    """The labels of the price axis by row, counted from the bottom."""
    low, high = _range(candles)
    if high <= low:
        return {height // 2: _price(low, low)}
    step = (high - low) / max(1, height - 1)
    rows = range(height - 1, -1, -_LABEL_EVERY)
    return {row: _price(low + step * row, step * _LABEL_EVERY) for row in rows}


def _price(price: float, step: float) -> str:
    """A price with as many decimals as tell it from one that is a step away."""
    decimals = 0 if step <= 0 else min(_MOST_DECIMALS, max(0, 1 - floor(log10(step))))
    return f"{price:,.{decimals}f}"


def _range(candles: Sequence[Candle]) -> tuple[float, float]:
    return min(float(candle.low) for candle in candles), max(float(candle.high) for candle in candles)


def _compact(number: float) -> str:
    """A number in few characters: `1.2K`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.1f}"


def _joined(cells: Sequence[tuple[str, Tone]]) -> list[Span]:
    """Neighbours of one tone as one span."""
    spans: list[Span] = []
    for text, tone in cells:
        if spans and spans[-1].tone == tone:
            spans[-1] = Span(spans[-1].text + text, tone)
        else:
            spans.append(Span(text, tone))
    return spans
