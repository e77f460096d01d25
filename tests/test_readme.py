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
from typing import Any

import pytest

from alura_async import Access, Alura, AsyncAlura
from alura_async.core.model import Model
from alura_async.core.request import Parts
from alura_async.core.surface import Group, Mode, endpoint
from alura_async.sandbox import Sandbox

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SECTIONS = {
    title: re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for title, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
}
(BOT,) = SECTIONS["A bot"]
(SCRIPT,) = SECTIONS["A script"]
(ORDERS,) = SECTIONS["Orders"]
(SHAPES,) = SECTIONS["Replies of any shape"]
(SANDBOX,) = SECTIONS["Sandbox"]
PULL, STORE, POLARS, DUCKDB = SECTIONS["Bulk market data"]
ENDPOINT, ROUTE = SECTIONS["Add an endpoint"]


def run(text: str, folder: Path | None = None, **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env={**os.environ, **environment},
    )
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout


def test_every_program_of_the_readme_is_one_that_is_run_here() -> None:
    # That of "Test your bot" is run by the plugin's tests, under each plugin that runs loops.
    assert sum(map(len, SECTIONS.values())) == 12
    assert README.count("```python") == 12


def test_the_bot_opens_a_session_and_follows_it_to_its_end() -> None:
    with (
        Sandbox.threaded(seed=2, start=datetime(2026, 3, 1, tzinfo=UTC), speed=0, limit=None) as sandbox,
        ThreadPoolExecutor(1) as threads,
    ):
        # The clock is turned while the bot looks on, and must not expire its token.
        sandbox.token_lifetime = 10**8
        # The program looks every two seconds, and for five at what is listed no more; here a moment will do.
        often = BOT.replace("from_env()", "from_env(poll_interval=0.1)")
        hasty = often.replace("watch(session.id)", "watch(session.id, patience=0.3)")
        bot = threads.submit(run, hasty, ALURA_BASE_URL=sandbox.url, ALURA_PRIVATE_KEY=sandbox.wallet())
        while not bot.done():
            if any(request.path == "/trading-sessions/active" for request in list(sandbox.requests)):
                sandbox.advance(hours=6)
            time.sleep(0.02)
        output = bot.result()
        kinds = [entry.kind for entry in sandbox.ledger]
    first, *_, last = [line.split()[:2] for line in output.splitlines()]
    assert first[1] == "active"
    assert last == [first[0], "closed"]
    assert kinds.count("session_created") == 1


def test_the_orders_are_kept_and_everything_is_closed(tmp_path: Path) -> None:
    # The program waits for 5 seconds in which nothing is listed; here a moment will do.
    program = ORDERS.replace("flatten()", "flatten(patience=0.1)")
    with Sandbox.threaded(seed=2, start=datetime(2026, 3, 1, tzinfo=UTC), speed=0, limit=None) as sandbox:
        settings = {"ALURA_BASE_URL": sandbox.url, "ALURA_PRIVATE_KEY": sandbox.wallet(), "PYTHONPATH": str(Path.cwd())}
        first = run(program, tmp_path, **settings)
        sandbox.faults.add("503-before x1 on POST /trading-sessions")
        hurried = "timeout=Timeouts(settle=1), journal="
        hasty = "from alura_async import Timeouts\n" + program.replace("journal=", hurried)
        second = run(hasty, tmp_path, **settings)
        third = run(program, tmp_path, **settings)
        assert sum(len(entry.detail.get("closed_sessions", ())) for entry in sandbox.ledger) == 1
    assert first.startswith("open: ")
    assert "nobody knows: POST /trading-sessions was sent, and the reply is 503" in second
    assert third.startswith("not known since")
    assert "alura journal" in third


def test_the_script_reads_its_sessions_and_closes_a_losing_one() -> None:
    with Sandbox.threaded(seed=1, start=datetime(2026, 3, 1, tzinfo=UTC), speed=0, limit=None) as sandbox:
        output = run(
            "from alura_async import Alura\n"
            "with Alura.from_env() as alura:\n"
            "    alura.trading_sessions.create(budget=5000, profit_target=400, asset='BTC')\n",
            ALURA_BASE_URL=sandbox.url,
            ALURA_PRIVATE_KEY=(key := sandbox.wallet()),
        )
        for _ in range(200):
            sandbox.advance(minutes=30)
            output = run(SCRIPT, ALURA_BASE_URL=sandbox.url, ALURA_PRIVATE_KEY=key)
            if "closed:" in output:
                break
        assert "BTC active -" in output
        assert sandbox.ledger[-1].path == "/trading-sessions/trades/:tradeId/close"


def test_what_is_not_of_the_expected_shape_is_read_and_kept() -> None:
    session, extras = run(SHAPES).splitlines()
    assert session == (
        "TradingSession(id='7', status=<SessionStatus: 'Paused'>, profit_target=Decimal('4E+1'), extra: fee)"
    )
    assert extras == "{'fee': {'rate': 1}} {'$.success': True}"


def test_the_first_thing_to_run_against_a_server_finds_no_difference_here() -> None:
    """The commands of the README, with the sandbox in place of the testnet."""
    (commands,) = re.findall(r"^## The first thing.*?```sh\n(.*?)```", README, re.MULTILINE | re.DOTALL)
    *exported, command = commands.splitlines()
    assert [line.split()[1].partition("=")[0] for line in exported] == ["ALURA_BASE_URL", "ALURA_PRIVATE_KEY"]
    with Sandbox.threaded(limit=None) as sandbox:
        process = subprocess.run(
            [sys.executable, "-m", "alura_async", *command.split()[1:]],
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
            env={**os.environ, "ALURA_BASE_URL": sandbox.url, "ALURA_PRIVATE_KEY": sandbox.wallet()},
        )
        assert (process.returncode, process.stderr) == (0, "")
        assert {request.method for request in sandbox.requests if not request.path.startswith("/auth/")} == {"GET"}
    assert "trading_sessions.active()" in process.stdout


def test_candles_are_pulled_by_the_line_and_the_programs_that_the_readme_shows(tmp_path: Path) -> None:
    (lines,) = re.findall(r"^## Bulk market data.*?```sh\n(.*?)```", README, re.MULTILINE | re.DOTALL)
    with Sandbox.threaded(seed=2, limit=None) as sandbox:
        settings = {"ALURA_BASE_URL": sandbox.url, "PYTHONPATH": str(Path.cwd())}
        for line in lines.splitlines():
            command, *arguments = line.split()
            assert command == "alura"
            run(
                f"import sys; sys.argv[1:] = {arguments}; from alura_async.cli import main; main()",
                tmp_path,
                **settings,
            )
        pages = run(PULL, tmp_path, **settings)
        stored = run(STORE, tmp_path, **settings)
    assert len(re.findall(r"^(BTC|ETH) ", pages, re.MULTILINE)) == 2
    # The line had brought all of it.
    assert stored.startswith("0 candles more of 2 series")
    assert "open_time" in stored
    assert "BTC" in run(POLARS, tmp_path)


def test_a_store_is_read_by_duckdb_as_the_readme_shows(tmp_path: Path) -> None:
    pytest.importorskip("duckdb", reason="is in a session of its own")
    with Sandbox.threaded(seed=2, limit=None) as sandbox:
        run(STORE, tmp_path, ALURA_BASE_URL=sandbox.url, PYTHONPATH=str(Path.cwd()))
    assert "BTC" in run(DUCKDB, tmp_path)


def test_the_sandbox_program_runs() -> None:
    first, *ledger = run(SANDBOX).splitlines()
    created, closed, fees = first.split()
    assert (created, closed) == ("pending", "closed")
    assert float(fees) > 0
    kinds = [line.split()[2] for line in ledger]
    assert kinds == ["account_opened", "signed_in", "session_created", "positions_opened", "session_closed"]


def test_the_endpoint_example_is_an_endpoint_on_both_surfaces() -> None:
    names: dict[str, Any] = {
        "Model": Model, "Group": Group, "Mode": Mode, "endpoint": endpoint, "Access": Access, "Parts": Parts
    }  # fmt: skip
    # As in a file of groups, where annotations are read when they are needed.
    exec("from __future__ import annotations\n" + ENDPOINT, names)
    awaited, blocking = names["User"](AsyncAlura()), names["User"](Alura(), names["User"](AsyncAlura()))
    assert inspect.iscoroutinefunction(awaited.notifications)
    assert not inspect.iscoroutinefunction(blocking.notifications)
    assert str(inspect.signature(blocking.notifications)) == (
        "(kind: 'str', *, params: 'Params | None' = None) -> 'list[Notification]'"
    )
    request = names["User"].notifications.request("a/b")
    assert (request.method, request.path) == ("GET", "/user/notifications/a%2Fb")
    assert request.route.returns.__args__ == (names["Notification"],)


def test_an_endpoint_that_the_sdk_does_not_know_can_be_called() -> None:
    with Sandbox.threaded(limit=None) as sandbox:
        output = run(ROUTE, ALURA_BASE_URL=sandbox.url, ALURA_PRIVATE_KEY=sandbox.wallet())
        assert (sandbox.requests[-1].path, output) == ("/user/notifications/news", "404\n")


@pytest.mark.parametrize("program", [BOT, SCRIPT], ids=["bot", "script"])
def test_the_two_programs_are_short(program: str) -> None:
    assert len([line for line in program.splitlines() if line.strip()]) <= 15


def test_the_table_lists_every_method_with_its_arguments() -> None:
    listed = {
        (group, name): arguments
        for group, methods in re.findall(r"^\| `(\w+)` \| (.*) \|$", README, re.MULTILINE)
        for name, arguments in re.findall(r"`(\w+)\(([\w, *]*)\)`", methods)
    }
    alura = AsyncAlura()
    real: dict[tuple[str, str], str] = {}
    for group_name, group in vars(alura).items():
        if isinstance(group, Group):
            for name in vars(type(group)):
                if not name.startswith("_"):
                    real[group_name, name] = arguments_of(getattr(group, name))
    assert listed == real


def arguments_of(method: Any) -> str:
    """As the table shows them: a star before those that are given by name."""
    parameters = [
        each for each in inspect.signature(method).parameters.values() if each.name not in ("params", "extra")
    ]
    by_position = [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY]
    by_name = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    return ", ".join(by_position + (["*"] if by_name else []) + by_name)


def test_ci_runs_the_line_that_the_readme_shows() -> None:
    (line,) = re.findall(r"<!-- tests -->\n```sh\n(.*)\n```", README)
    assert line.startswith("python3 ")
    assert line.endswith("nox -s tests")
