"""`alura contract`: whether the server is what this SDK expects, by its OpenAPI document and by what it answers."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
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
    write_recording,
)
from ..contract.document import DOCUMENT_PATH
from ..core.settings import TESTNET_URL
from ..core.text import printable
from ..errors import AluraError
from .failure import Failed
from .invocation import command_line
from .presenter import Cell, Column, Feeling, Presenter, Table, presenter

T = TypeVar("T")

_CREDENTIALS = ("ALURA_PRIVATE_KEY", "ALURA_KEYSTORE", "ALURA_TOKEN")
# From how many replies on what they share is listed once.
_EVERYWHERE = 5
_DIFFERENT_CODE = 1
_FAILED_CODE = 2
_SEVERITIES: dict[Severity, Feeling] = {Severity.DIFFERENCE: "bad", Severity.NOTE: "neutral"}
_STATES: dict[ReadState, tuple[str, Feeling]] = {
    ReadState.READ: ("read", "good"),
    ReadState.SHAPELESS: ("unknown shape", "bad"),
    ReadState.REFUSED: ("refused", "neutral"),
    ReadState.LOST: ("no reply", "neutral"),
    ReadState.SKIPPED: ("skipped", "faint"),
}

_base_url = click.option(
    "--base-url", metavar="URL", help="The server; by default ALURA_BASE_URL, or else the testnet's."
)


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
@_base_url
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
    found = _run(_check(source, base_url, live=live))
    if as_json:
        click.echo(_as_json(found))
    else:
        _show(presenter(), found)
    if found.breaks:
        return _DIFFERENT_CODE
    if found.error and not as_json:
        click.echo(f"alura: {printable(found.error)}", err=True)
    return _FAILED_CODE if found.error else 0


@command.command("record")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@_base_url
@click.option("--force", is_flag=True, help="Overwrite what was recorded there before.")
def record(directory: Path, base_url: str | None, force: bool) -> int:
    """Make every harmless read, and keep the replies in DIR, redacted, a file each.

    Keys, tokens and signatures are blanked; e-mail addresses, wallet addresses and hashes of transactions are replaced
    by others, the same one always by the same. Names of fields, numbers, times, ids and other text stay: look through
    the files before you show them to anybody.

    The exit code is 0 if replies were recorded, and 2 if there were none or they cannot be written.
    """
    if not force and any(directory.glob("*.json")):
        raise Failed(f"{directory}: there are recordings already; give another folder, or --force to overwrite them")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(f"{directory}: cannot be made: {error.strerror}") from None
    readings = _run(_read(base_url))
    redactor = Redactor()
    written = [(reading, reading.reply) for reading in readings if reading.reply is not None]
    for reading, reply in written:
        path = directory / f"{reading.name.removesuffix('()')}.json"
        try:
            write_recording(path, redactor.recording(reply), overwrites=force)
        except AluraError as error:
            raise Failed(str(error)) from error
    show = presenter()
    show.table(_readings(readings))
    show.say(f"{_count(len(written), 'reply', 'replies')} recorded in {printable(str(directory))}, redacted.")
    show.say("Look through the files before you show them to anybody.")
    return 0 if written else _FAILED_CODE


class _Found(NamedTuple):
    """What a check brought.

    Attributes:
        source: where the document is from.
        error: why it could not be compared, if it could not.
        version: its version of OpenAPI.
        operations: how many it has.
        findings: what differs.
        readings: the reads that were made, or None without `--live`.
        is_anonymous: whether there was neither a wallet nor a token for them.
    """

    source: str
    error: str
    version: str
    operations: int
    findings: list[Finding]
    readings: list[Reading] | None
    is_anonymous: bool

    @property
    def breaks(self) -> bool:
        """Whether anything does not work."""
        differs = any(finding.severity is Severity.DIFFERENCE for finding in self.findings)
        return differs or any(reading.breaks for reading in self.readings or ())


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except AluraError as error:
        raise Failed(str(error)) from error


async def _check(source: str | None, base_url: str | None, *, live: bool) -> _Found:
    found = _Found(source or _default(base_url), "", "", 0, [], None, not any(map(os.environ.get, _CREDENTIALS)))
    try:
        document = Document.read(await _document(source, base_url))
    except AluraError as error:
        if not live:
            raise
        # A server that keeps its document to itself still answers.
        found = found._replace(error=str(error))
    else:
        found = found._replace(
            version=document.version, operations=len(document.operations), findings=compare(document)
        )
    if not live:
        return found
    readings = await _read(base_url)
    if not found.error and all(reading.reply is None for reading in readings):
        found = found._replace(error="no read brought a reply; run it again with ALURA_LOG=info to see why")
    return found._replace(readings=readings)


async def _document(source: str | None, base_url: str | None) -> bytes:
    if source is not None and not source.lower().startswith(("http://", "https://")):
        try:
            return await asyncio.to_thread(Path(source).read_bytes)
        except OSError as error:
            raise Failed(f"{source}: cannot be read: {error.strerror}") from None
    try:
        address = urlsplit(source or _default(base_url))
    except ValueError as error:
        raise Failed(f"{source}: this is no address: {error}") from None
    path = address.path.strip("/") or DOCUMENT_PATH
    # Without the account's credentials: a document is for everybody, and its address may be anybody's.
    async with AsyncAlura(base_url=f"{address.scheme}://{address.netloc}") as alura:
        return await fetch(alura, f"{path}?{address.query}")


def _default(base_url: str | None) -> str:
    return (base_url or os.environ.get("ALURA_BASE_URL") or TESTNET_URL).rstrip("/") + DOCUMENT_PATH


async def _read(base_url: str | None) -> list[Reading]:
    async with AsyncAlura.from_env(**({"base_url": base_url} if base_url else {})) as alura:
        return [reading async for reading in read_all(alura)]


def _show(show: Presenter, found: _Found) -> None:
    if not found.version:
        show.say(f"The document of {printable(found.source)} could not be compared.")
    else:
        operations = _count(found.operations, "operation")
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
        show.say(_live_summary(found.readings))
    if found.breaks and found.readings is not None:
        show.end(command_line("contract", "record", "DIR"))


def _summary(findings: Sequence[Finding]) -> str:
    differences = sum(finding.severity is Severity.DIFFERENCE for finding in findings)
    notes = len(findings) - differences
    return f"{_count(differences, 'difference') if differences else 'No difference'}, {_count(notes, 'note')}."


def _live_summary(readings: Sequence[Reading]) -> str:
    read = sum(reading.state is ReadState.READ for reading in readings)
    text = f"{read} of {len(readings)} reads were read"
    broken = [reading.name for reading in readings if reading.breaks]
    return f"{text}; these do not work: {', '.join(broken)}." if broken else f"{text}; all that was read fits this SDK."


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
        rows += [
            [_call(reading), Cell(path), Cell(f"{kind}, in no field: kept in .extra")]
            for path, kind in reading.unknown.items()
            if (path, kind) not in everywhere
        ]
        rows += [[_call(reading), Cell(field), Cell("None in all that was read", "faint")] for field in reading.unset]
    return rows


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _as_json(found: _Found) -> str:
    # In ASCII: what a terminal could be fooled with is escaped.
    return json.dumps(
        {
            "source": found.source,
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
