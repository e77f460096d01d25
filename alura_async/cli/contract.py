"""`alura contract`: whether the server is what this SDK expects, by its OpenAPI document and by what it answers."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click
import msgspec

from ..client import AsyncAlura
from ..contract import (
    Document,
    Finding,
    Reading,
    ReadState,
    Redactor,
    Severity,
    compare,
    expectations,
    fetch,
    read_all,
    write_recordings,
)
from ..contract.document import DOCUMENT_PATH
from ..core.quantities import counted
from ..core.request import Access
from ..core.settings import TESTNET_URL
from ..core.text import printable, redact
from ..errors import AluraError
from .failure import Failed
from .invocation import command_line
from .presenter import Cell, Column, Feeling, Presenter, Table, presenter
from .server import base_url_option, call

_CREDENTIALS = ("ALURA_PRIVATE_KEY", "ALURA_KEYSTORE", "ALURA_TOKEN")
# Of what one reply has, or lacks.
_MOST_ROWS = 20
# From how many replies on what they share is listed once.
_EVERYWHERE = 5
_DIFFERENT_CODE = 1
_FAILED_CODE = 2
_SEVERITIES: dict[Severity, Feeling] = {Severity.DIFFERENCE: "bad", Severity.NOTE: "neutral"}
_STATES: dict[ReadState, tuple[str, Feeling]] = {
    ReadState.READ: ("read", "good"),
    ReadState.SHAPELESS: ("unknown shape", "bad"),
    ReadState.REFUSED: ("refused", "neutral"),
    ReadState.UNSIGNED: ("no sign-in", "bad"),
    ReadState.LOST: ("no reply", "neutral"),
    ReadState.SKIPPED: ("skipped", "faint"),
}

# What needs no words in a summary: nothing was expected of what was skipped.
_GOOD = (ReadState.READ, ReadState.SKIPPED)


@click.group("contract")
def command() -> None:
    """Check whether the server is what this SDK expects.

    Most of the API is not documented, so the types of this SDK are assumptions. check compares them with the server's
    OpenAPI document and, with --live, with what it really answers. record keeps those answers, for a bug report.
    Nothing is changed on the server: only reads are made, and a sign-in where the environment has a wallet.

    The exit code of check is 0 if there is no difference, 1 if there is one, and 2 if it could not be checked.
    """


@command.command("check")
@click.argument("source", required=False)
@base_url_option
@click.option("--live", is_flag=True, help="Also make every harmless read, and compare what comes.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object, for programs.")
def check(source: str | None, base_url: str | None, live: bool, as_json: bool) -> int:
    """Compare this SDK with the server's OpenAPI document.

    SOURCE is a file with the document, or its address; by default it is what the server has at /api/docs-json.

    A difference breaks something: a path that is not there, a field that is never filled. A note is worth knowing.
    With --live, ALURA_PRIVATE_KEY, ALURA_KEYSTORE or ALURA_TOKEN say who reads; without any of them, only what is
    public is read.

    The exit code is 0 if there is no difference, 1 if there is one, and 2 if it could not be checked.
    """
    found = call(_check(source, base_url, live=live))
    if as_json:
        click.echo(_as_json(found))
    elif found.version or live:
        _show(presenter(), found)
    if found.error and not as_json:
        click.echo(f"alura: {printable(found.error)}", err=True)
    if found.breaks:
        return _DIFFERENT_CODE
    return _FAILED_CODE if found.error else 0


@command.command("record")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@base_url_option
@click.option("--force", is_flag=True, help="Overwrite what was recorded there before.")
def record(directory: Path, base_url: str | None, force: bool) -> int:
    """Make every harmless read, and keep the replies in DIR, redacted, a file each.

    Keys, tokens and signatures are blanked; e-mail addresses, wallet addresses, hashes of transactions and referral
    codes are replaced by others, the same one always by the same. All else stays: names of fields, numbers, times, ids
    of users and of other things, names of people, phone numbers. Look through the files before you show them to
    anybody.

    The exit code is 0 if replies were recorded, and 2 if there were none or they cannot be written.
    """
    if not force and any(directory.glob("*.json")):
        raise Failed(f"{directory}: there are recordings already; give another folder, or --force to overwrite them")
    server = _server(base_url)
    readings = call(_read(server))
    redactor = Redactor()
    found = {
        reading.name.removesuffix("()"): redactor.recording(reading.reply)
        for reading in readings
        if reading.reply is not None
    }
    show = presenter()
    show.table(_readings(readings))
    if not found:
        raise Failed(f"{server}: no read brought a reply, and nothing is recorded; ALURA_LOG=info shows why")
    try:
        write_recordings(directory, found)
    except AluraError as error:
        raise Failed(str(error)) from error
    show.say(f"{counted(len(found), 'reply', 'replies')} recorded in {printable(str(directory))}, redacted.")
    if unsigned := [reading for reading in readings if reading.state is ReadState.UNSIGNED]:
        show.say(f"The sign-in failed, so what is the account's is missing: {unsigned[0].said}")
    show.say("Look through the files before you show them to anybody.")
    return 0


class _Found(NamedTuple):
    """What a check brought.

    Attributes:
        source: where the document is from.
        error: why it could not be compared, if it could not.
        version: its version of OpenAPI.
        operations: how many it has.
        findings: what differs.
        server: where the reads were made.
        readings: the reads that were made, or None without `--live`.
        is_anonymous: whether there was neither a wallet nor a token for them.
    """

    source: str
    error: str
    version: str
    operations: int
    findings: list[Finding]
    server: str
    readings: list[Reading] | None
    is_anonymous: bool

    @property
    def breaks(self) -> bool:
        """Whether anything does not work."""
        differs = any(finding.severity is Severity.DIFFERENCE for finding in self.findings)
        return differs or any(reading.breaks for reading in self.readings or ())


async def _check(source: str | None, base_url: str | None, *, live: bool) -> _Found:
    server = _server(base_url)
    shown = redact(source or server + DOCUMENT_PATH)
    found = _Found(shown, "", "", 0, [], server, None, not any(map(os.environ.get, _CREDENTIALS)))
    try:
        document = Document.read(await _document(source, server))
        findings = compare(document, base_path=urlsplit(server).path)
    except (AluraError, Failed) as error:
        # A server that keeps its document to itself still answers.
        found = found._replace(error=str(error))
    except RecursionError:
        found = found._replace(error="the OpenAPI document is broken: it is nested too deeply")
    else:
        found = found._replace(version=document.version, operations=len(document.operations), findings=findings)
    if not live:
        return found
    readings = await _read(server)
    return found._replace(readings=readings, error=found.error or _unread(readings, server, found.is_anonymous))


def _unread(readings: Sequence[Reading], server: str, is_anonymous: bool) -> str:
    """Why what was read says nothing about the rest, if it does not."""
    read = [reading for reading in readings if reading.state is ReadState.READ]
    if not read:
        return f"{server}: nothing could be read; ALURA_LOG=info shows why"
    if not is_anonymous and not any(reading.access is Access.BEARER for reading in read):
        why = next((reading.said for reading in readings if reading.access is Access.BEARER and reading.said), "")
        return f"{server}: nothing of the account could be read: {why}"
    return ""


async def _document(source: str | None, server: str) -> bytes:
    if source is not None and not source.lower().startswith(("http://", "https://")):
        try:
            return await asyncio.to_thread(Path(source).read_bytes)
        except OSError as error:
            raise Failed(f"{source}: cannot be read: {error.strerror}") from None
    try:
        address = urlsplit(source or server + DOCUMENT_PATH)
    except ValueError as error:
        raise Failed(f"{redact(source or server)}: this is no address: {error}") from None
    path = address.path.strip("/") or DOCUMENT_PATH
    # Without the account's credentials: a document is for everybody, and its address may be anybody's.
    async with AsyncAlura(base_url=f"{address.scheme}://{address.netloc}") as alura:
        return await fetch(alura, f"{path}?{address.query}")


def _server(base_url: str | None) -> str:
    return (base_url or os.environ.get("ALURA_BASE_URL") or TESTNET_URL).rstrip("/")


async def _read(server: str) -> list[Reading]:
    async with AsyncAlura.from_env(base_url=server) as alura:
        return [reading async for reading in read_all(alura)]


def _show(show: Presenter, found: _Found) -> None:
    if not found.version:
        show.say(f"The document of {printable(found.source)} could not be compared.")
    else:
        operations = counted(found.operations, "operation")
        show.say(
            f"OpenAPI {printable(found.version)} of {printable(found.source)}: {operations}; "
            f"this SDK has {len(expectations())}."
        )
        if found.findings:
            show.table(_findings(found.findings))
        show.say(_summary(found.findings))
    if found.readings is not None:
        show.table(_readings(found.readings))
        rows = _rows(found.readings)
        if rows:
            columns = (Column("call", "text"), Column("field", "text"), Column("what is there", "text"))
            show.table(Table(columns, rows))
        if found.is_anonymous:
            show.say("Only what is public was read: set ALURA_PRIVATE_KEY, ALURA_KEYSTORE or ALURA_TOKEN for the rest.")
        show.say(_live_summary(found.readings, found.server))
    if found.breaks and found.readings is not None:
        show.end(command_line("contract", "record", "DIR"))


def _summary(findings: Sequence[Finding]) -> str:
    differences = sum(finding.severity is Severity.DIFFERENCE for finding in findings)
    notes = len(findings) - differences
    return f"{counted(differences, 'difference') if differences else 'No difference'}, {counted(notes, 'note')}."


def _live_summary(readings: Sequence[Reading], server: str) -> str:
    """How many of the reads were read, what became of the others, and what does not work."""
    met = Counter(reading.state for reading in readings)
    states = [f"{met[state]} {words}" for state, (words, _) in _STATES.items() if met[state] and state not in _GOOD]
    text = f"{', '.join([f'{met[ReadState.READ]} of {len(readings)} reads of {printable(server)} were read', *states])}"
    if broken := [reading.name for reading in readings if reading.breaks]:
        return f"{text}; these do not work: {', '.join(broken)}."
    return f"{text}." if states else f"{text}; all that was read fits this SDK."


def _findings(findings: Sequence[Finding]) -> Table:
    columns = (Column("severity"), Column("where", "text"), Column("what differs", "text"))
    return Table(
        columns,
        [
            [
                Cell(finding.severity.value, _SEVERITIES[finding.severity]),
                Cell(_words(finding.endpoint, finding.method, finding.path, finding.place)),
                Cell(finding.message),
            ]
            for finding in sorted(findings, key=lambda finding: finding.severity is Severity.NOTE)
        ],
    )


def _readings(readings: Sequence[Reading]) -> Table:
    columns = (Column("call", "text"), Column("result"), Column("what was said", "text"))
    return Table(
        columns,
        [
            [
                _call(reading),
                Cell(_STATES[reading.state][0], "bad" if reading.breaks else _STATES[reading.state][1]),
                Cell(reading.said),
            ]
            for reading in readings
        ],
    )


def _call(reading: Reading) -> Cell:
    return Cell(_words(reading.name, "GET", reading.template))


def _words(*words: str) -> str:
    # In one column: three beside each other leave no room in a terminal.
    return " ".join(filter(None, words))


def _rows(readings: Sequence[Reading]) -> list[list[Cell]]:
    """What bodies have and no field takes, and which fields nothing filled."""
    met = Counter(found for reading in readings for found in reading.unknown.items())
    # Such as the flag in the wrapper of every reply: once is enough.
    everywhere = [found for found, times in met.items() if times >= _EVERYWHERE]
    rows = [
        [Cell(f"{met[found]} calls"), Cell(found[0]), Cell(f"{found[1]}, in no field: kept in .extra")]
        for found in everywhere
    ]
    for reading in readings:
        own = [
            [_call(reading), Cell(path), Cell(f"{kind}, in no field: kept in .extra")]
            for path, kind in reading.unknown.items()
            if (path, kind) not in everywhere
        ]
        own += [[_call(reading), Cell(field), Cell("None in all that was read", "faint")] for field in reading.unset]
        rows += own[:_MOST_ROWS]
        if len(own) > _MOST_ROWS:
            rows.append([_call(reading), Cell(f"and {len(own) - _MOST_ROWS} more"), Cell("")])
    return rows


def _as_json(found: _Found) -> str:
    # In ASCII: what a terminal could be fooled with is escaped.
    return json.dumps(
        {
            "source": found.source,
            "server": found.server,
            "error": found.error or None,
            "openapi": found.version or None,
            "differs": found.breaks,
            "findings": msgspec.to_builtins(found.findings),
            "anonymous": found.is_anonymous,
            "live": None if found.readings is None else list(map(_plain, found.readings)),
        },
        indent=2,
        ensure_ascii=True,
    )


def _plain(reading: Reading) -> dict[str, Any]:
    """A reading without its reply, which is not for showing."""
    return {
        "endpoint": reading.name,
        "method": "GET",
        "path": reading.template,
        "state": reading.state.value,
        "breaks": reading.breaks,
        "said": reading.said,
        "unknown": dict(reading.unknown),
        "unset": list(reading.unset),
    }
