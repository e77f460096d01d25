"""`alura demo`: that it shows the main job from sign-in to result, in a pipe and in a terminal, and keeps secrets."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from contextlib import redirect_stdout
from io import StringIO

import pytest
from rich.cells import cell_len

from alura_async.cli import in_python
from alura_async.cli.entry import run
from alura_async.sandbox import Sandbox

from .process import HURRIED, ROOT, alura, in_terminal, needs_pty, secrets_in, without_escapes

STEPS = (
    "1  Start the sandbox",
    "2  Sign in with a wallet",
    "3  Read the market",
    "4  Open a session",
    "5  Follow it",
    "6  Close it",
    "7  See the result",
    "The same in Python",
)
# The demo's own seed, whose first wallet it signs in with.
KEY = Sandbox(seed=27).wallet()
# A market in which the session reaches its loss threshold before the demo would close it.
LOSING_SEED = 45


@pytest.fixture(scope="module")
def done() -> subprocess.CompletedProcess[str]:
    """The demo in a pipe."""
    started = time.monotonic()
    done = alura("demo")
    # Generous: a slow machine, with tests beside this one.
    assert time.monotonic() - started < 15
    return done


class TestInAPipe:
    """Plain lines, chosen because standard output is no terminal."""

    def test_it_ends_well_and_says_nothing_on_standard_error(self, done: subprocess.CompletedProcess[str]) -> None:
        assert (done.returncode, done.stderr) == (0, "")

    def test_it_shows_every_step_in_order(self, done: subprocess.CompletedProcess[str]) -> None:
        headings = re.findall(r"^== (.*)$", done.stdout, re.MULTILINE)
        assert tuple(headings) == STEPS

    def test_it_shows_what_each_step_brought(self, done: subprocess.CompletedProcess[str]) -> None:
        for shown in (
            "throwaway wallet: 0x",
            "wants you to sign in with your Ethereum account",
            "a token was given",
            "55 symbols: BTC",
            "BTC 1h, the last 68 of 72 candles (o rising, # falling)",
            "rsi14",
            "A session is a budget",
            "clock is sped up",
            "PnL, USDC",
            "status: closed",
            "Session closed by the user",
            "POST /trading-sessions/trades/:tradeId/close",
        ):
            assert shown in done.stdout

    def test_it_follows_the_session_for_a_while(self, done: subprocess.CompletedProcess[str]) -> None:
        profits = re.findall(r"PnL ([-+]?[\d.]+) USDC$", done.stdout, re.MULTILINE)
        assert len(profits) == 12
        assert len(set(profits)) > 6

    def test_fills_and_balance_agree(self, done: subprocess.CompletedProcess[str]) -> None:
        (realized,) = re.findall(r"^realised by the fills +([-+][\d.]+)$", done.stdout, re.MULTILINE)
        (change,) = re.findall(r"^change of the balance +([-+][\d.]+)$", done.stdout, re.MULTILINE)
        assert realized == change

    def test_it_is_ascii_without_escapes(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.stdout.isascii()
        assert "\x1b" not in done.stdout
        assert "\r" not in done.stdout

    def test_it_shows_no_key_no_signature_and_no_token(self, done: subprocess.CompletedProcess[str]) -> None:
        assert secrets_in(done.stdout + done.stderr, KEY) == []

    def test_it_ends_with_the_python_that_does_the_same_and_what_is_next(
        self, done: subprocess.CompletedProcess[str]
    ) -> None:
        before, _, last = done.stdout.rstrip("\n").rpartition("\n")
        assert before.rstrip().endswith(in_python.SOURCE.rstrip())
        (realized,) = re.findall(r"^realised by the fills +([-+][\d.]+)$", done.stdout, re.MULTILINE)
        assert last.startswith(f"Realised: {realized} USDC. Next: ")

    def test_the_command_that_it_names_last_works(self, done: subprocess.CompletedProcess[str]) -> None:
        command = done.stdout.rstrip("\n").rpartition("Next: ")[2]
        assert command.endswith(" sandbox")
        shown = subprocess.run(
            [*shlex.split(command), "--help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
        )
        # A long path is wrapped.
        assert f"Usage: {command} [OPTIONS]" in " ".join(shown.stdout.split())


def test_a_session_that_closes_by_itself_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--plain", "--seed", str(LOSING_SEED)]) == 0
    shown = capsys.readouterr().out
    assert "== 6  It closed by itself" in shown
    assert "Loss threshold reached" in shown
    assert "by the clock" in shown


def test_another_asset_in_any_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--plain", "--symbol", "doge"]) == 0
    shown = capsys.readouterr().out
    assert 'candles("DOGE", "1h"' in shown
    assert "symbol DOGE" in shown


def test_an_asset_that_is_not_traded_is_a_usage_error_that_names_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["demo", "--symbol", "bct"]) == 2
    assert "'bct' is not one of BTC, ETH, SOL, XRP, DOGE, AVAX." in capsys.readouterr().err


def test_the_help_writes_the_symbols_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--help"]) == 0
    assert "--symbol [BTC|ETH|SOL|XRP|DOGE|AVAX]" in capsys.readouterr().out


def test_a_missing_library_of_the_sandbox_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    assert run(["demo", "--plain"]) == 1
    assert capsys.readouterr().err == (
        "Error: the sandbox needs PyJWT: in a clone of the project, pip install '.[cli,sandbox]'\n"
    )


class TestInATerminal:
    """Drawn, in colour and moving."""

    pytestmark = needs_pty

    def test_it_draws_within_80_columns(self) -> None:
        shown, code = in_terminal("demo", "--fast", columns=80)
        assert code == 0
        assert "\x1b[32m" in shown
        assert "┃" in shown
        # What was hidden is shown again.
        assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0
        text = without_escapes(shown)
        for step in STEPS:
            assert f"{step} ─" in text
        assert "running fast" in text
        assert widest(text.partition("The same in Python")[0]) <= 80
        assert secrets_in(text, KEY) == []
        # A path is broken at its slashes.
        assert re.search(r" POST /trading-sessions .*\n +/trades/:tradeId/close ", text)
        assert re.search(r"\nRealised: \S+ USDC\. Next: ", text)

    def test_ctrl_c_ends_it_cleanly(self) -> None:
        shown, code = in_terminal("demo", columns=60, stop_at="running fast")
        assert code == 130
        assert "Traceback" not in shown
        assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0
        text = without_escapes(shown)
        assert text.rstrip().endswith("alura: interrupted")
        frames = re.findall("sandbox clock (.*?) running fast", text)
        assert len(frames) == len(set(frames)) == text.count("loss -20 %")


def test_colour_can_be_forced_into_a_pipe() -> None:
    done = alura("demo", "--fast", command=HURRIED, FORCE_COLOR="1", COLUMNS="60")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b[32m" in done.stdout
    assert "BTC 1h, the last 50 of 72 candles" in done.stdout


def test_the_python_it_shows_runs_as_it_stands() -> None:
    # Its clock runs fast, so that the profit moves at once and the rule of the shown lines has something to act on.
    with Sandbox.threaded(seed=5, speed=600) as sandbox, redirect_stdout(StringIO()) as shown:
        exec(in_python.SOURCE, {"base_url": sandbox.url, "wallet": sandbox.wallet()})
        done = [entry.kind for entry in sandbox.ledger]
    assert done == ["account_opened", "signed_in", "session_created", "trade_closed"]
    assert "[Signal(symbol='BTC'" in shown.getvalue()
    assert "unrealized PnL: " in shown.getvalue()
    assert "Closing(status=<SessionStatus.CLOSED" in shown.getvalue()


def test_the_python_it_shows_fits_a_terminal() -> None:
    assert widest(in_python.SOURCE) <= 80


def widest(text: str) -> int:
    return max(map(cell_len, text.splitlines()))
