"""`alura journal`: what a tired person reads at night, and what a program does."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from alura_async import JournalEntry, Outcome, Request, SettledBy, TradingSessions, UnresolvedError, User
from alura_async.cli.entry import alura, run
from alura_async.core.entries import intent
from alura_async.core.file_intents import FileIntents

from .process import alura as alura_of_a_clone
from .process import secrets_in, without_escapes

DESTINATION = "0x" + "ab" * 20
CREATE = TradingSessions.create.request(budget=100, profit_target=40, asset="BTC")
SEND = User.send_usdc.request(amount="12.50", destination=DESTINATION)
CLOSE = TradingSessions.close_trade.request("trd_12")


def entry_of(request: Request[Any], *, age_s: float, **changes: Any) -> JournalEntry:
    entry = intent(request, host="api.example.com", account="0xab", within_s=10)
    age = timedelta(seconds=age_s)
    return msgspec.structs.replace(
        entry, created_at=entry.created_at - age, expires_at=entry.expires_at - age, **changes
    )


def journal_of(path: Path, *entries: JournalEntry) -> Path:
    """A journal that a bot has left behind."""

    async def write() -> None:
        journal = FileIntents(path)
        for entry in entries:
            await journal.write(entry, blocks=False)
        await journal.close()

    asyncio.run(write())
    return path


def entries_of(path: Path) -> list[JournalEntry]:
    async def read() -> list[JournalEntry]:
        journal = FileIntents(path)
        entries = await journal.entries()
        await journal.close()
        return entries

    return asyncio.run(read())


def invoke(*args: str) -> Result:
    return CliRunner().invoke(alura, ["journal", *args], catch_exceptions=False)


@pytest.fixture
def lost() -> JournalEntry:
    return entry_of(SEND, age_s=3 * 3600 + 125, outcome=Outcome.UNKNOWN, detail="no complete reply came")


@pytest.fixture
def path(tmp_path: Path, lost: JournalEntry) -> Path:
    """A create that was under way when its bot died, a transfer whose reply was lost, and a close that was done."""
    died = entry_of(CREATE, age_s=50)
    done = entry_of(CLOSE, age_s=40, outcome=Outcome.DONE, settled_by=SettledBy.REPLY)
    return journal_of(tmp_path / "bot.journal", lost, died, done)


def test_the_unresolved_calls_are_listed_with_what_to_do(
    path: Path, lost: JournalEntry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["journal", str(path)]) == 1
    shown = capsys.readouterr().out
    heading, send, create, *rest = shown.splitlines()
    assert heading.split("  ")[0] == "id"
    for text in (lost.id[:8], "send USDC", "12.50", DESTINATION, "3 h 2 min", "unknown", "no complete reply came"):
        assert text in send
    assert f"{lost.created_at:%Y-%m-%d %H:%M:%S}" in send
    for text in ("open a session", "100", "asset 0 (documented: BTC)", "never concluded"):
        assert text in create
    assert "2 calls are unresolved" in rest[0]
    assert "the chain" in rest[1]
    assert "among your active ones" in rest[2]
    assert "trd_12" not in shown
    commands = [line for line in rest if line.endswith((" settle " + lost.id[:8] + " done", lost.id[:8] + " rejected"))]
    assert len(commands) == 2
    assert all(f"journal {path} settle" in line for line in commands)


def test_nothing_unresolved_is_said_with_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = journal_of(tmp_path / "journal", entry_of(CLOSE, age_s=5, outcome=Outcome.DONE))
    assert run(["journal", str(path)]) == 0
    assert capsys.readouterr().out == f"Nothing is unresolved in {path}.\n"


def test_all_shows_what_is_resolved_too_newest_first(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["journal", str(path), "--all"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"POST /trading-sessions/trades/trd_12/close .* done$", lines[1])
    assert "open a session" in lines[2]
    assert "send USDC" in lines[3]


def test_json_is_whole_and_in_ascii(path: Path, lost: JournalEntry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["journal", "--json", str(path)]) == 1
    shown = capsys.readouterr().out
    assert shown.isascii()
    entries = msgspec.convert(json.loads(shown), list[JournalEntry])
    assert entries[0] == lost
    assert [entry.path for entry in entries] == ["/user/send-usdc", "/trading-sessions"]
    assert run(["journal", "--json", "--all", str(path)]) == 1
    assert len(json.loads(capsys.readouterr().out)) == 3


def test_settling_ends_it_and_lets_the_call_be_made_again(path: Path, lost: JournalEntry) -> None:
    done = invoke(str(path), "settle", lost.id[:8], "rejected", "--note", "not on the chain")
    assert done.exit_code == 0
    assert done.output.startswith("settled: send USDC, of ")
    assert done.output.endswith(f" UTC: it was not carried out ({lost.id})\n")
    settled = next(entry for entry in entries_of(path) if entry.id == lost.id)
    assert (settled.outcome, settled.settled_by) == (Outcome.REJECTED, SettledBy.HAND)
    assert settled.detail == "no complete reply came; note: not on the chain"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["ffffff", "done"], "no such entry"),
        (["ffff", "done"], "at least 6 digits"),
        (["ffffff", "unknown"], "'unknown' is not one of 'done', 'rejected'"),
        (["ffffff"], "Missing argument"),
    ],
)
def test_what_cannot_be_settled_is_exit_code_2(
    path: Path, args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["journal", str(path), "settle", *args]) == 2
    assert said in capsys.readouterr().err


def test_a_call_that_may_be_under_way_is_shown_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    going_on = entry_of(SEND, age_s=1, pid=4711)
    path = journal_of(tmp_path / "journal", going_on)
    assert run(["journal", str(path)]) == 1
    shown = capsys.readouterr().out
    assert "under way?" in shown
    assert "may still be under way in process 4711, until 20" in shown
    assert run(["journal", str(path), "settle", going_on.id, "done"]) == 2
    assert "settle it then" in capsys.readouterr().err


@pytest.fixture
def bot(tmp_path: Path) -> Iterator[Path]:
    """A journal that a bot in another process has open."""
    path = tmp_path / "journal"
    program = f"""
import asyncio, sys
from alura_async import Outcome, SettledBy, User
from alura_async.core.entries import intent
from alura_async.core.file_intents import FileIntents

async def main():
    journal = FileIntents({str(path)!r})
    for word in sys.stdin:
        entry = intent(User.withdraw.request(amount=5), host="", account="", within_s=10)
        try:
            await journal.write(entry, blocks=True)
            journal.conclude(entry.id, Outcome.UNKNOWN, SettledBy.REPLY)
            await journal.entries()
            print(entry.id, flush=True)
        except Exception as error:
            print(type(error).__name__, flush=True)

asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def call() -> str:
            process.stdin.write("call\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return process.stdout.readline().strip()  # type: ignore[union-attr]

        entry_id = call()
        assert call() == UnresolvedError.__name__
        yield path
        # The running bot has heard of it.
        assert re.fullmatch("[0-9a-f]{32}", call())
        assert entry_id != ""
        process.stdin.close()


def test_it_reads_and_settles_while_a_bot_has_the_file_open(bot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["journal", "--json", str(bot)]) == 1
    (entry,) = json.loads(capsys.readouterr().out)
    assert run(["journal", str(bot), "settle", entry["id"], "done"]) == 0
    assert run(["journal", str(bot)]) == 0


def test_a_missing_file_is_an_error_and_not_a_new_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "journal"
    assert run(["journal", str(path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"alura: {path}: there is no such file or folder: check the path\n"
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_journal_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "journal"
    path.write_text("notes " * 1000)
    path.chmod(0o600)
    assert run(["journal", str(path)]) == 2
    assert "is no journal" in capsys.readouterr().err


def test_listing_removes_nothing(tmp_path: Path) -> None:
    old = entry_of(CLOSE, age_s=400 * 24 * 3600, outcome=Outcome.DONE)
    path = journal_of(tmp_path / "journal", old)
    before = path.read_bytes()
    assert "close " in invoke(str(path), "--all").output
    assert path.read_bytes() == before


def test_texts_that_could_fool_a_terminal_are_neutralised(
    tmp_path: Path, lost: JournalEntry, capsys: pytest.CaptureFixture[str]
) -> None:
    path = journal_of(tmp_path / "journal", lost)
    evil = "\x1b[31m\u202eevil\r\n\x07"
    with sqlite3.connect(path) as connection:
        body = json.dumps({"amount": evil, "destination": evil, "assetIndex": None})
        connection.execute("UPDATE intents SET method = ?, path = ?, detail = ?, body = ?", (evil, evil, evil, body))
    connection.close()
    for args in ([], ["--all"], ["--json"]):
        assert run(["journal", str(path), *args]) == 1
        shown = capsys.readouterr().out
        assert "evil" in shown
        assert not set("\x1b\u202e\r\x07") & set(shown)


@pytest.mark.skipif(os.name != "posix", reason="there are no terminals to draw on")
def test_in_a_terminal_it_is_a_table_of_its_width(path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    from .process import COMMAND, ROOT, environment

    done = subprocess.Popen(
        [*COMMAND, "journal", str(path)], cwd=ROOT, env=environment(COLUMNS="150"), stdin=theirs, stdout=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # its other end is closed
        pass
    os.close(ours)
    assert done.wait(timeout=30) == 1
    text = without_escapes(shown.decode())
    assert re.search(r"open a session +100 +asset 0", text)
    assert "\x1b[" in shown.decode()


def test_it_runs_as_a_command_and_shows_no_secret(path: Path) -> None:
    done = alura_of_a_clone("journal", str(path), "--json", "--all")
    assert done.returncode == 1, done.stderr
    # A fingerprint is as long as a key, and tells nothing of one.
    assert secrets_in(re.sub(r'"fingerprint": "\w+"', "", done.stdout)) == []
