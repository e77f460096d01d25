"""Shows things as plain lines of ASCII, for pipes, logs and screen readers: nothing moves, nothing is coloured."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

import click

from ..groups.indicators import Candle
from . import chart, figures
from .presenter import Advance, Frame, Table, positions

# As wide as what is read in mails and logs.
_WIDTH = 78
# Of what is followed live, so many lines are enough.
_FRAMES_A_LINE = 2
# Of what takes hours, a line every ten minutes.
_FIRST_LINE_S = 5.0
_RAREST_LINE_S = 600.0
_LINES = 20
# What the SDK itself writes, where it cuts texts and tells of changes.
_IN_ASCII = str.maketrans({"…": "...", "→": "->"})


class PlainPresenter:
    """Writes lines to standard output.

    Args:
        pace: seconds between two frames of what is followed live.
    """

    def __init__(self, pace: float = 0.0) -> None:
        self.pace = pace

    @property
    def width(self) -> int:
        """How many characters a line has."""
        return _WIDTH

    def title(self, text: str, explanation: str) -> None:
        """What this is all about."""
        self._write(text)
        self._write(explanation)

    async def heading(self, text: str) -> None:
        """The next step."""
        self._write("")
        self._write(f"== {text}")

    def say(self, text: str) -> None:
        """A sentence."""
        self._write(text)

    def call(self, code: str) -> None:
        """The call of the SDK whose result comes next."""
        self._write(f">>> {code}")

    def facts(self, facts: Mapping[str, str]) -> None:
        """Named values, one a line."""
        for name, value in facts.items():
            self._write(f"{name}: {value}")

    def quote(self, title: str, text: str) -> None:
        """Somebody else's text, line by line."""
        self._write(f"{title}:")
        for line in text.split("\n"):
            self._write(f"  | {line}".rstrip())

    def chart(self, title: str, candles: Sequence[Candle]) -> None:
        """Candles, in ASCII."""
        drawn = chart.draw(candles, width=self.width, glyphs=chart.ASCII)
        self._write(drawn.title(title, chart.ASCII))
        self._write(drawn.text)

    def table(self, table: Table) -> None:
        """A table with columns two spaces apart."""
        rows = [[column.heading for column in table.columns]]
        rows += [[cell.text for cell in row] for row in table.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (
                text.rjust(width) if column.kind == "number" else text.ljust(width)
                for text, width, column in zip(row, widths, table.columns, strict=True)
            )
            self._write("  ".join(cells).rstrip())

    @contextmanager
    def live(self) -> Generator[Callable[[Frame], None]]:
        """A place for frames: each is a line, and not each is shown."""

        def show(frame: Frame) -> None:
            number = len(frame.course)
            if number == 1:
                self.table(positions(frame.trade))
            if number % _FRAMES_A_LINE == 0:
                self._write(f"{figures.moment(frame.now)}  PnL {figures.gain_usdc(frame.trade.unrealized_pnl)}")

        yield show

    @contextmanager
    def progress(self) -> Generator[Callable[[Advance], None]]:
        """A place for progress: a line now and then, ever more rarely."""
        began = time.monotonic()
        next_line = began + _FIRST_LINE_S

        def show(advance: Advance) -> None:
            nonlocal next_line
            now = time.monotonic()
            if now < next_line:
                return
            next_line = now + min(_FIRST_LINE_S + (now - began) / _LINES, _RAREST_LINE_S)
            share = [] if advance.share is None else [f"{advance.share:4.0%}"]
            self._write("  ".join([*share, *advance.facts]))

        yield show

    def code(self, source: str) -> None:
        """Python to copy."""
        self._write("")
        self._write(source)

    def end(self, text: str) -> None:
        """The last line."""
        self._write(text)

    def _write(self, line: str) -> None:
        # A pipe may take ASCII only; what it cannot take is escaped, whoever wrote it.
        click.echo(line.translate(_IN_ASCII).encode("ascii", "backslashreplace").decode("ascii"))
