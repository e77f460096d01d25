"""The README says nothing that is not so: its programs run, its table is complete, its lines are those that CI runs."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from alura_async import AsyncAlura
from alura_async.core.surface import Group
from alura_async.sandbox import Sandbox

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", README, re.MULTILINE | re.DOTALL)


def program(section: str) -> str:
    (text,) = (str(text) for name, text in PROGRAMS if name == section)
    return text


def run(text: str, **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env={**os.environ, **environment},
    )
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout


def test_the_bot_opens_a_session_and_follows_it_to_its_end() -> None:
    # By this seed BTC rises on this day, so the bot has something to do.
    with (
        Sandbox.threaded(seed=2, start=datetime(2026, 3, 1, tzinfo=UTC), speed=0, limit=None) as sandbox,
        ThreadPoolExecutor(1) as threads,
    ):
        bot = threads.submit(run, program("A bot"), ALURA_BASE_URL=sandbox.url, ALURA_PRIVATE_KEY=sandbox.wallet())
        while not bot.done():
            if any(request.path == "/trading-sessions/active" for request in list(sandbox.requests)):
                sandbox.advance(hours=6)
            time.sleep(0.1)
        output = bot.result()
        kinds = [entry.kind for entry in sandbox.ledger]
    assert output.startswith("active")
    assert output.splitlines()[-1].startswith("closed")
    assert kinds.count("session_created") == 1


def test_the_script_reads_its_sessions_and_closes_a_losing_one() -> None:
    with Sandbox.threaded(seed=1, limit=None) as sandbox:
        output = run(
            "from alura_async import Alura\n"
            "with Alura.from_env() as alura:\n"
            "    alura.trading_sessions.create(budget=5000, profit_target=400, asset='BTC')\n",
            ALURA_BASE_URL=sandbox.url,
            ALURA_PRIVATE_KEY=(key := sandbox.wallet()),
        )
        for _ in range(200):
            sandbox.advance(minutes=30)
            output = run(program("A script"), ALURA_BASE_URL=sandbox.url, ALURA_PRIVATE_KEY=key)
            if "closed:" in output:
                break
        assert "BTC active -" in output
        assert sandbox.ledger[-1].path == "/trading-sessions/trades/:tradeId/close"


def test_the_sandbox_program_runs() -> None:
    assert "session_created" in run(program("Sandbox"))


def test_the_endpoint_example_is_an_endpoint_on_both_surfaces() -> None:
    names: dict[str, type[Group[object]]] = {}  # type: ignore[type-var]
    exec(program("Add an endpoint"), names)
    request = names["Vaults"].get.request("a/b")  # type: ignore[attr-defined]
    assert (request.method, request.path) == ("GET", "/vaults/a%2Fb")
    assert request.route.returns is names["Vault"]


@pytest.mark.parametrize("section", ["A bot", "A script"])
def test_the_two_programs_are_short(section: str) -> None:
    lines = [line for line in program(section).splitlines() if line.strip()]
    assert len(lines) <= 16


def test_the_table_lists_every_method_with_its_arguments() -> None:
    listed = {
        (group, name): arguments
        for group, methods in re.findall(r"^\| `(\w+)` \| (.*) \|$", README, re.MULTILINE)
        for name, arguments in re.findall(r"`(\w+)\(([\w, ]*)\)`", methods)
    }
    alura = AsyncAlura()
    real: dict[tuple[str, str], str] = {}
    for group_name, group in vars(alura).items():
        if isinstance(group, Group):
            for name in vars(type(group)):
                if not name.startswith("_"):
                    parameters = inspect.signature(getattr(group, name)).parameters
                    shown = ", ".join(parameter for parameter in parameters if parameter not in ("params", "extra"))
                    real[group_name, name] = shown
    assert listed == real


def test_ci_runs_the_line_that_the_readme_shows() -> None:
    (line,) = re.findall(r"<!-- tests -->\n```sh\n(.*)\n```", README)
    assert line.startswith("python3 ")
    assert line.endswith("nox -s tests")
