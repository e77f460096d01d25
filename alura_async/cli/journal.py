"""`alura journal`: what may have been done with money and is not known to be, and a way to say what became of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
import msgspec

from ..assets import DEFAULT_ASSETS
from ..core.decode import NOT_DECODED, parse
from ..core.entries import journal_command
from ..core.file_intents import FileIntents
from ..core.quantities import duration
from ..core.request import Action
from ..core.text import clip, printable
from ..errors import AluraError, Outcome
from ..journal import JournalEntry
from . import figures
from .failure import Failed
from .invocation import program
from .presenter import Cell, Column, Feeling, Presenter, Table, presenter

T = TypeVar("T")

_ALL = 2**62
_UNRESOLVED_CODE = 1
# The beginning of an id; two that begin alike are as good as impossible, and would be told apart by the error.
_SHORT_ID = 8
_LONGEST_WORD = 60

_CALLS = {
    "/trading-sessions": "open a session",
    "/trading-sessions/advance": "open an advance session",
    "/user/withdraw": "withdraw",
    "/user/send-usdc": "send USDC",
    "/user/claim-reward": "claim the reward",
    "/user/close-position": "close a position",
    "/user/close-all-positions": "close all positions",
}
_LOOK = {
    Action.OPEN: "is this session among your active ones?",
    Action.TRANSFER: "does your balance, or the chain, show this transfer?",
    Action.CLOSE: "is the position still open? Closing it again is safe.",
    Action.OTHER: "does your account show its effect?",
}
_STATES: dict[Outcome | None, tuple[str, Feeling]] = {
    None: ("never concluded", "bad"),
    Outcome.UNKNOWN: ("unknown", "bad"),
    Outcome.DONE: ("done", "good"),
    Outcome.REJECTED: ("rejected", "neutral"),
    Outcome.NOT_SENT: ("not sent", "faint"),
}


class _OptionsAnywhere(click.Group):
    """Takes its options after PATH too, which groups do not: where no subcommand follows, they are meant for it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments."""
        ctx.allow_interspersed_args = "settle" not in args[1:]
        return super().parse_args(ctx, args)


@click.group("journal", cls=_OptionsAnywhere, invoke_without_command=True, subcommand_metavar="[settle ID OUTCOME]")
@click.argument("path", type=click.Path())
@click.option("--all", "shows_all", is_flag=True, help="What is resolved, too; the newest first.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array of whole entries, for programs.")
@click.pass_context
def command(context: click.Context, path: str, shows_all: bool, as_json: bool) -> int:
    """Show which calls of a journal may have been carried out.

    PATH is the file that a bot was given as its journal. It may be in use. An unresolved call was sent, or may have
    been, and nobody knows what became of it: its reply was lost, or the bot died. Look at your account, then say
    what you saw with `settle`; until then the bot does not send an identical create or transfer.

    The exit code is 0 if nothing is unresolved, 1 if something is, and 2 if the journal cannot be read.
    """
    context.obj = path
    if context.invoked_subcommand is not None:
        if shows_all or as_json:
            raise click.UsageError("--all and --json belong to the list, not to settle")
        return 0
    unresolved, shown = _with_journal(path, lambda journal: _read(journal, shows_all))
    if as_json:
        click.echo(_as_json(shown))
    else:
        _show(presenter(), path, shown, unresolved)
    return _UNRESOLVED_CODE if unresolved else 0


@command.command("settle")
@click.argument("entry_id", metavar="ID")
@click.argument("outcome", metavar="done|rejected", type=click.Choice(["done", "rejected"]))
@click.option("--note", default="", metavar="TEXT", help="What to remember about it.")
@click.pass_obj
def settle(path: str, entry_id: str, outcome: str, note: str) -> int:
    """Say what became of an unresolved call. Nothing is sent.

    ID is its id, or at least 6 digits of its beginning. It is `done` if it was carried out, and `rejected` if it was
    not.

    The exit code is 0 if that is written down, and 2 if it cannot be.
    """
    entry = _with_journal(path, lambda journal: journal.settle(entry_id, Outcome(outcome), note))
    meaning = "it was carried out" if entry.outcome is Outcome.DONE else "it was not carried out"
    click.echo(f"settled: {_what(entry)}, of {_second(entry.created_at)} UTC: {meaning} ({entry.id})")
    return 0


def _with_journal(path: str, use: Callable[[FileIntents], Awaitable[T]]) -> T:
    """Use the file, and leave it as it is: what is old is for its owner to remove."""

    async def run() -> T:
        journal = FileIntents(path, must_exist=True, keep_days=None)
        try:
            return await use(journal)
        finally:
            await journal.close()

    try:
        return asyncio.run(run())
    except AluraError as error:
        raise Failed(str(error)) from error


async def _read(journal: FileIntents, shows_all: bool) -> tuple[list[JournalEntry], list[JournalEntry]]:
    """What is unresolved, and what is to be shown."""
    unresolved = await journal.unresolved()
    return unresolved, await journal.entries(limit=_ALL) if shows_all else unresolved


def _show(show: Presenter, path: str, entries: Sequence[JournalEntry], unresolved: Sequence[JournalEntry]) -> None:
    now = datetime.now(UTC)
    if entries:
        show.table(_table(entries, now))
    if not unresolved:
        show.say(f"Nothing is unresolved in {printable(path)}.")
        return
    if len(unresolved) == 1:
        show.say("1 call is unresolved: nobody knows whether it was carried out. What to look at:")
    else:
        show.say(
            f"{len(unresolved)} calls are unresolved: nobody knows whether they were carried out. What to look at:"
        )
    for entry in unresolved:
        show.say(f"  {entry.id[:_SHORT_ID]}  {_look(entry)}")
    show.say("Then say what you saw: done if it was carried out, rejected if it was not.")
    example = next((entry for entry in unresolved if not entry.may_be_under_way), unresolved[0])
    settle_it = f"{journal_command(path, program())} settle {example.id[:_SHORT_ID]}"
    # Not broken into lines: a command that is cannot be copied.
    show.end(f"{settle_it} done\n{settle_it} rejected")


def _table(entries: Sequence[JournalEntry], now: datetime) -> Table:
    columns = (
        Column("id"),
        Column("what", "text"),
        Column("amount", "number"),
        Column("asset or destination"),
        Column("when (UTC)"),
        Column("age"),
        Column("state"),
        Column("said", "text", is_optional=True),
    )
    return Table(columns, [_row(entry, now) for entry in entries])


def _row(entry: JournalEntry, now: datetime) -> list[Cell]:
    body = _body(entry)
    return [
        Cell(printable(entry.id)[:_SHORT_ID]),
        Cell(_what(entry)),
        Cell(_amount(body)),
        Cell(_target(body)),
        Cell(_second(entry.created_at)),
        Cell(duration((now - entry.created_at).total_seconds())),
        _state(entry),
        Cell(clip(printable(entry.detail), _LONGEST_WORD), "faint"),
    ]


def _what(entry: JournalEntry) -> str:
    return _CALLS.get(entry.path) or clip(f"{printable(entry.method)} {printable(entry.path)}", _LONGEST_WORD)


def _look(entry: JournalEntry) -> str:
    what = f"{_what(entry)}: {_LOOK[entry.action]}"
    if entry.may_be_under_way:
        what += f" It may still be under way in process {entry.pid}, until {_second(entry.expires_at)} at the latest."
    return what


def _state(entry: JournalEntry) -> Cell:
    if entry.may_be_under_way:
        return Cell("under way?", "neutral")
    text, feeling = _STATES[entry.outcome]
    return Cell(text, feeling)


def _body(entry: JournalEntry) -> dict[str, Any]:
    try:
        body = parse(entry.body.encode())
    except NOT_DECODED:
        return {}
    return body if isinstance(body, dict) else {}


def _amount(body: dict[str, Any]) -> str:
    """How much, in USDC: all amounts of the API are."""
    found = body.get("budget", body.get("amount"))
    return figures.UNKNOWN if found is None else clip(printable(str(found)), _LONGEST_WORD)


def _target(body: dict[str, Any]) -> str:
    """The asset as the body has it, with its symbol where the documented table has one; or where money goes to."""
    if (index := body.get("assetIndex")) is not None:
        symbols = [symbol for symbol, known in DEFAULT_ASSETS.items() if known == index]
        # A bot may have a table of its own, which nobody knows here.
        return clip(printable(f"asset {index}{f' (documented: {symbols[0]})' if symbols else ''}"), _LONGEST_WORD)
    destination = body.get("destination")
    return figures.UNKNOWN if destination is None else clip(printable(str(destination)), _LONGEST_WORD)


def _second(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _as_json(entries: Sequence[JournalEntry]) -> str:
    # In ASCII: what a terminal could be fooled with is escaped.
    return json.dumps(msgspec.to_builtins(list(entries)), indent=2, ensure_ascii=True)
