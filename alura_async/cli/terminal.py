"""Shows things in a terminal: in colour, in its width, and moving."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live_render import LiveRender
from rich.measure import Measurement
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn
from rich.syntax import Syntax
from rich.table import Column as GridColumn
from rich.table import Table as Grid
from rich.text import Text

from ..groups.indicators import Candle
from . import chart, figures
from .presenter import Advance, Feeling, Frame, Table, positions, signed

_STYLES: dict[chart.Tone | Feeling, str] = {
    "rise": "green",
    "fall": "red",
    "faint": "dim",
    "neutral": "",
    "good": "green",
    "bad": "red",
}
_GAUGE_WIDTH = 40
_LEAST_BAR, _MOST_BAR = 6, 40
# What is told beside a bar, and seldom wider.
_FACTS_WIDTH = 74
_REDRAWN_A_SECOND = 4
_CTRL_C_WIDTH = 4
_ONE_LINE = GridColumn(no_wrap=True, overflow="crop")
_GAP = 1
# A column of text that is narrower than this reads badly.
_LEAST_TEXT = 12
_WORD = re.compile(r"\s*\S+")
# What a word that is too long for a line is broken into.
_PIECE = re.compile(r"\s*/?[^\s/]+|\s*/")


def open_console() -> Console:
    """Standard output as rich sees it."""
    return Console(highlight=False, markup=False, emoji=False)


def is_capable(console: Console) -> bool:
    """Whether this is a terminal that can move its cursor and show what is drawn here."""
    return console.is_terminal and not console.is_dumb_terminal and console.encoding.lower().startswith("utf")


class TerminalPresenter:
    """Draws on a terminal.

    Args:
        console: the terminal.
        pace: seconds between two frames of what is followed live.
        pause: seconds before a new step.
    """

    def __init__(self, console: Console, pace: float = 0.35, pause: float = 0.7) -> None:
        self.pace = pace
        self._pause = pause
        self._console = console
        # Direction is told by colour; without any, by the characters.
        self._glyphs = chart.UNICODE if console.color_system and not console.no_color else chart.ASCII

    @property
    def width(self) -> int:
        """How many characters a line of the terminal has."""
        return self._console.width

    def title(self, text: str, explanation: str) -> None:
        """What this is all about."""
        self._console.print(Text(text, "bold"))
        self._console.print(Text(explanation, "dim"))

    async def heading(self, text: str) -> None:
        """The next step, after a moment for the last one."""
        await asyncio.sleep(self._pause)
        self._console.print()
        self._console.rule(Text(text, "bold cyan"), align="left", style="dim")

    def say(self, text: str) -> None:
        """A sentence."""
        self._console.print(Text(text))

    def call(self, code: str) -> None:
        """The call of the SDK whose result comes next."""
        self._console.print(Text.assemble((">>> ", "dim"), _python(code)))

    def facts(self, facts: Mapping[str, str]) -> None:
        """Named values, one a line."""
        grid = Grid.grid(padding=(0, 2))
        grid.add_column(no_wrap=True, style="dim")
        grid.add_column(overflow="fold")
        for name, value in facts.items():
            grid.add_row(Text(name), Text(value))
        self._console.print(grid)

    def quote(self, title: str, text: str) -> None:
        """Somebody else's text, in a frame."""
        self._console.print(Panel(Text(text), title=Text(title), title_align="left", border_style="dim", expand=False))

    def chart(self, title: str, candles: Sequence[Candle]) -> None:
        """Candles, as many as the terminal has room for."""
        drawn = chart.draw(candles, width=self._console.width, glyphs=self._glyphs)
        self._console.print(Text(drawn.title(title, self._glyphs)))
        for line in drawn.lines:
            text = Text(no_wrap=True, overflow="crop")
            for span in line:
                text.append(span.text, _STYLES[span.tone])
            self._console.print(text)

    def table(self, table: Table) -> None:
        """A table."""
        self._console.print(_grid(table, self._console.width))

    @contextmanager
    def live(self) -> Generator[Callable[[Frame], None]]:
        """A place where each frame takes the place of the last; the last one stays."""
        drawn = LiveRender("")
        is_drawn = False

        # Drawn only when there is something new: rich's `Live` would draw the last frame again at its end, beside the
        # `^C` that a terminal shows.
        def show(frame: Frame) -> None:
            nonlocal is_drawn
            back = drawn.position_cursor()
            drawn.set_renderable(self._frame(frame))
            self._console.print(back, drawn)
            is_drawn = True

        self._console.show_cursor(False)
        try:
            yield show
        finally:
            if is_drawn:
                self._console.line()
            self._console.show_cursor(True)

    @contextmanager
    def progress(self) -> Generator[Callable[[Advance], None]]:
        """A bar, and beside it as many facts as there is room for; the last state stays."""
        bar = max(_LEAST_BAR, min(_MOST_BAR, self._console.width - _FACTS_WIDTH))
        columns = (BarColumn(bar), TextColumn("{task.fields[facts]}", markup=False, table_column=_ONE_LINE))
        with Progress(*columns, console=self._console, refresh_per_second=_REDRAWN_A_SECOND) as drawn:
            task = drawn.add_task("", total=None, facts="")
            widest: dict[int, int] = {}

            def show(advance: Advance) -> None:
                # A terminal writes ^C behind the line, and must not need another one for it.
                room = self._console.width - bar - _CTRL_C_WIDTH
                share = advance.share
                facts = ["" if share is None else f"{share:4.0%}", *advance.facts]
                for place, fact in enumerate(facts):
                    # What was longer for a moment must not make its neighbours jump, or come and go.
                    widest[place] = max(widest.get(place, 0), cell_len(fact))
                    facts[place] = set_cell_size(fact, widest[place])
                drawn.update(
                    task, total=None if share is None else 1, completed=share or 0, facts=_fitting(facts, room)
                )

            yield show

    def code(self, source: str) -> None:
        """Python to copy: neither framed nor broken into lines."""
        self._console.print()
        self._console.print(_python(source), soft_wrap=True)

    def end(self, text: str) -> None:
        """The last line, not broken either."""
        self._console.print()
        self._console.print(Text(text, "bold"), soft_wrap=True)

    def _frame(self, frame: Frame) -> RenderableType:
        trade, session = frame.trade, frame.session
        head = Text.assemble(
            "sandbox clock ",
            (figures.moment(frame.now), "bold"),
            (f"  +{_hours(frame)}  ", "dim"),
            ("running fast", "black on yellow"),
        )
        profit = signed(trade.unrealized_pnl)
        style = _STYLES[profit.feeling]
        total = Text.assemble("PnL ", (figures.gain_usdc(trade.unrealized_pnl), f"bold {style}"), "  ")
        room = self._console.width - len(total) - 1
        total.append(chart.sparkline([float(value) for value in frame.course], room, self._glyphs), style)
        parts: list[RenderableType] = [head, _grid(positions(trade), self._console.width), total]
        if session.budget and session.profit_target and session.loss_threshold and trade.unrealized_pnl is not None:
            share = float(trade.unrealized_pnl / session.budget * 100)
            parts.append(_gauge(share, float(session.loss_threshold), float(session.profit_target)))
        return Group(*parts)


def _fitting(facts: Sequence[str], room: int) -> str:
    """The first facts, as many as there is room for."""
    line = ""
    for fact in filter(None, facts):
        longer = f"{line}  {fact}" if line else fact
        if cell_len(longer) > room:
            break
        line = longer
    return line


def _hours(frame: Frame) -> str:
    minutes = int(frame.elapsed.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def _gauge(percent: float, loss: float, target: float) -> Text:
    """Where a profit stands between the threshold below and the target above."""
    place = round((percent + loss) / (target + loss) * (_GAUGE_WIDTH - 1))
    place = min(_GAUGE_WIDTH - 1, max(0, place))
    text = Text.assemble(
        (f"loss -{loss:g} % {'─' * place}", "dim"),
        ("●", "bold red" if percent < 0 else "bold green"),
        (f"{'─' * (_GAUGE_WIDTH - 1 - place)} +{target:g} % target", "dim"),
    )
    text.no_wrap, text.overflow = True, "crop"
    return text


def _grid(table: Table, width: int) -> Grid:
    """A table that fits a width: without its optional columns, or with a line for each cell, if it must be."""
    kept = list(range(len(table.columns)))
    for place in reversed([place for place in kept if table.columns[place].is_optional]):
        if _least_width(table, kept) > width:
            kept.remove(place)
    if _least_width(table, kept) > width:
        return _records(table)
    grid = Grid(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
        collapse_padding=True,
        header_style="dim",
        border_style="dim",
    )
    for column in (table.columns[place] for place in kept):
        grid.add_column(
            Text(column.heading),
            justify="right" if column.kind == "number" else "left",
            no_wrap=column.kind != "text",
            overflow="fold",
        )
    for row in table.rows:
        grid.add_row(*(_Foldable(row[place].text, _STYLES[row[place].feeling]) for place in kept))
    return grid


class _Foldable:
    """Text that is broken into lines between words, and in paths that are too long for a line before their slashes."""

    def __init__(self, text: str, style: str) -> None:
        self._text = text
        self._style = style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("\n".join(_folded(self._text, options.max_width)), self._style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, Text(self._text))


def _folded(text: str, width: int) -> list[str]:
    """Text in lines; what still is too long for one is left to the terminal's library."""
    lines = [""]
    for word in _WORD.findall(text):
        pieces = [word] if cell_len(word.strip()) <= width else _PIECE.findall(word)
        for piece in pieces:
            if cell_len(lines[-1] + piece) <= width:
                lines[-1] += piece
            else:
                lines.append(piece.lstrip())
    return lines if lines[0] else lines[1:]


def _least_width(table: Table, kept: Sequence[int]) -> int:
    """How narrow a table can be with some of its columns."""
    texts = [row[place].text for row in table.rows for place in kept if table.columns[place].kind == "text"]
    # The library makes columns of text about equally wide, so each needs what the longest piece of any needs.
    least = max([_LEAST_TEXT, *(cell_len(piece.strip()) for text in texts for piece in _PIECE.findall(text))])
    total = 0
    for place in kept:
        column = table.columns[place]
        longest = max(len(column.heading), *(len(row[place].text) for row in table.rows), 0)
        total += (min(longest, least) if column.kind == "text" else longest) + _GAP + 1
    return total + 2


def _records(table: Table) -> Grid:
    """A table with a line for each cell."""
    grid = Grid.grid(padding=(0, _GAP))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for row in table.rows:
        grid.add_row()
        for column, cell in zip(table.columns, row, strict=True):
            if cell.text:
                grid.add_row(Text(column.heading), _Foldable(cell.text, _STYLES[cell.feeling]))
    return grid


def _python(source: str) -> Text:
    text = Syntax("", "python", theme="ansi_dark", background_color="default").highlight(source)
    text.rstrip()
    return text
