"""What a command has to show, whoever shows it: in a terminal (`terminal.py`) or as plain lines (`plain.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol, TypeAlias

from ..groups.indicators import Candle
from ..groups.trading_sessions import Trade, TradingSession
from . import figures

Feeling: TypeAlias = Literal["neutral", "good", "bad", "faint"]


class Cell(NamedTuple):
    """One entry of a table."""

    text: str
    feeling: Feeling = "neutral"


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        heading: what stands over it.
        kind: words and numbers are never cut or broken, texts may be broken into lines.
        is_optional: whether it is left out where there is little room.
    """

    heading: str
    kind: Literal["word", "number", "text"] = "word"
    is_optional: bool = False


class Table(NamedTuple):
    """Rows below headings.

    Attributes:
        columns: the columns.
        rows: the rows, each with a cell for every column.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


class Frame(NamedTuple):
    """A session at one moment.

    Attributes:
        session: as it was opened, with its limits.
        trade: as it reads now.
        now: the sandbox's clock.
        elapsed: since the session was opened.
        course: the unrealised profit or loss at every moment so far, in USDC, this one last.
    """

    session: TradingSession
    trade: Trade
    now: datetime
    elapsed: timedelta
    course: Sequence[Decimal]


class Advance(NamedTuple):
    """How far something long has come.

    Attributes:
        share: of all that is to be done, 0 to 1; None while nobody knows.
        facts: what else there is to know, the most important first.
    """

    share: float | None
    facts: Sequence[str]


class Presenter(Protocol):
    """Shows one thing after another.

    Attributes:
        pace: seconds between two frames of what is followed live.
    """

    pace: float

    @property
    def width(self) -> int:
        """How many characters a line has room for."""
        ...

    def title(self, text: str, explanation: str) -> None:
        """What this is all about."""
        ...

    async def heading(self, text: str) -> None:
        """The next step; leaves a reader the time to have read the last one."""
        ...

    def say(self, text: str) -> None:
        """A sentence."""
        ...

    def call(self, code: str) -> None:
        """The call of the SDK whose result comes next."""
        ...

    def facts(self, facts: Mapping[str, str]) -> None:
        """Named values."""
        ...

    def quote(self, title: str, text: str) -> None:
        """Somebody else's text, line by line."""
        ...

    def chart(self, title: str, candles: Sequence[Candle]) -> None:
        """Candles."""
        ...

    def table(self, table: Table) -> None:
        """A table."""
        ...

    def live(self) -> AbstractContextManager[Callable[[Frame], None]]:
        """A place where each frame takes the place of the last."""
        ...

    def progress(self) -> AbstractContextManager[Callable[[Advance], None]]:
        """A place for how far something long has come, which may be told as often as it changes."""
        ...

    def code(self, source: str) -> None:
        """Python to copy."""
        ...

    def end(self, text: str) -> None:
        """The last line, with something to copy."""
        ...


def presenter() -> Presenter:
    """Whatever suits standard output, for what is shown at once: nothing moves, and nothing is waited for."""
    from .plain import PlainPresenter
    from .terminal import TerminalPresenter, is_capable, open_console

    console = open_console()
    return TerminalPresenter(console, pace=0, pause=0) if is_capable(console) else PlainPresenter()


def signed(amount: Decimal | None) -> Cell:
    """A profit or a loss."""
    text = figures.gain(amount)
    feeling: Feeling = "good" if text[0] == "+" else "bad" if text[0] == "-" and text != figures.UNKNOWN else "neutral"
    return Cell(text, feeling)


def positions(trade: Trade) -> Table:
    """A trade's positions as a table."""
    rows = [
        [
            Cell(figures.short(position.id)),
            Cell(figures.words(position.side)),
            Cell(figures.exact(position.size)),
            Cell(figures.exact(position.entry_price)),
            Cell(figures.exact(position.mark_price or position.exit_price)),
            signed(position.unrealized_pnl),
        ]
        for position in trade.positions or ()
    ]
    columns = (
        Column("position"),
        Column("side", is_optional=True),
        Column("size", "number"),
        Column("entry", "number", is_optional=True),
        Column("price now", "number"),
        Column("PnL, USDC", "number"),
    )
    return Table(columns, rows)
