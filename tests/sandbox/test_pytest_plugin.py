"""The pytest plugin, in runs of its own as users have them: whatever runs their tests, with warnings as errors."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import alura_async
from alura_async.errors import AluraError
from alura_async.sandbox import Sandbox
from alura_async.sandbox.fixtures import START, blocking_client, history, settings

pytest_plugins = ["pytester"]

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
# What a user copies. Under pytest-asyncio the marker is `asyncio`, or none.
(BOT_TEST,) = re.findall(
    r"```python\n(.*?)```", README.partition("## Test your bot")[2].partition("\n## ")[0], re.DOTALL
)

BLOCKING_BOT_TEST = """\
from alura_async import Alura
from alura_async.sandbox import Sandbox


def test_a_session_ends_by_itself(alura_sync: Alura, alura_sandbox: Sandbox) -> None:
    session = alura_sync.trading_sessions.create(budget=100, profit_target=5, asset="ETH", loss_threshold=5)
    alura_sandbox.advance(days=30)
    alura_sync.trading_sessions.wait_until_closed(session.id, patience=0)
"""

# Whatever becomes of the tests, nothing is open when the run ends.
CONFTEST = """\
import gc, threading, types
from alura_async.core import exchange

# A warning that is an error is raised where a loop closes its generators, and asyncio only logs it.
forgotten = []
exchange.warnings = types.SimpleNamespace(warn=lambda *warning, **options: forgotten.append(warning))

def pytest_sessionfinish():
    gc.collect()
    assert not exchange._open_sessions, exchange._open_sessions
    assert forgotten == []
    assert [thread.name for thread in threading.enumerate() if "alura" in thread.name] == []
"""

USES = """\
import asyncio, signal
import pytest
MARKER

AWAITING_FIXTURE
async def session(alura):
    session = await alura.trading_sessions.create(budget=100, profit_target=5, asset="BTC")
    yield session
    await alura.trading_sessions.close_trade(session.trade_id)
    assert await alura.trading_sessions.active() == []


async def test_a_fixture_that_awaits_may_use_it_before_and_after(session, alura):
    assert [each.id for each in await alura.trading_sessions.active()] == [session.id]


async def test_each_test_begins_anew(alura, alura_sandbox):
    assert alura_sandbox.ledger == []
    assert (await alura.user.profile()).balance == 10000
    assert len(alura_sandbox.requests) == 3


async def test_one_that_was_not_used(alura): ...


class TestMethod:
    async def test_a_method(self, session, alura):
        await alura.user.profile()


async def test_that_fails(session):
    assert False, "as it should"


async def test_that_is_cancelled(alura):
    await alura.user.profile()
    asyncio.current_task().cancel()
    await alura.user.profile()
"""

# Its time is over when the loop has nothing to do: what a signal raises in a callback is logged by asyncio and gone,
# and a test that polls goes on for ever then.
HANGS = """\
@pytest.mark.timeout(30, method="signal", func_only=True)
async def test_that_hangs(alura):
    session = await alura.trading_sessions.create(budget=100, profit_target=5, asset="BTC")
    async for _ in alura.trading_sessions.watch(session.id, interval=60):
        signal.setitimer(signal.ITIMER_REAL, 0.1)
"""


def run(pytester: pytest.Pytester, ini: str, *options: str, **files: str) -> pytest.RunResult:
    """Run these files as tests, in a process of its own."""
    environment = pytester._monkeypatch
    # In a checkout there is no entry point.
    environment.setenv("PYTHONPATH", str(Path(alura_async.__file__).parent.parent))
    if sys.dont_write_bytecode:
        # pytest compiles all of a package that a plugin is in, for its assertions: at least not for each run anew.
        environment.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        environment.setenv("PYTHONPYCACHEPREFIX", str(pytester.path.parent / "compiled"))
    pytester.makeconftest(CONFTEST + files.pop("conftest", ""))
    pytester.makeini(f"[pytest]\naddopts = --strict-markers --strict-config -p alura_async.pytest_plugin\n{ini}")
    pytester.makepyfile(**files)
    return pytester.runpytest_subprocess("-W", "error", *options)


def uses(marker: str, fixture: str, *, hangs: bool = True) -> str:
    return (
        (USES + "\n\n" + HANGS if hangs else USES)
        .replace("MARKER", f"pytestmark = {marker}")
        .replace("AWAITING_FIXTURE", fixture)
    )


def test_under_anyios_plugin_and_in_tests_that_block(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "",
        "-p", "no:asyncio",
        conftest="import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n",
        test_bot=BOT_TEST,
        test_blocking_bot=BLOCKING_BOT_TEST,
        test_uses=uses("pytest.mark.anyio", "@pytest.fixture"),
        test_unittest="""
            import unittest
            import pytest

            class OnALoop(unittest.IsolatedAsyncioTestCase):
                @pytest.fixture(autouse=True)
                def bring(self, alura):
                    self.alura = alura

                async def test_it(self):
                    assert (await self.alura.user.profile()).balance == 10000

            class Blocking(unittest.TestCase):
                @pytest.fixture(autouse=True)
                def bring(self, alura_sync):
                    self.alura = alura_sync

                def test_it(self):
                    assert self.alura.user.profile().balance == 10000
        """,
    )  # fmt: skip
    result.assert_outcomes(passed=8, failed=3)
    for why in ("as it should", "CancelledError", "Timeout"):
        assert why in result.stdout.str()


def test_under_pytest_asyncio_where_each_test_says_so_in_loops_of_every_scope(pytester: pytest.Pytester) -> None:
    scopes = ["function", "class", "module", "session"]
    result = run(
        pytester,
        "asyncio_mode = strict\nasyncio_default_fixture_loop_scope = function",
        test_bot=BOT_TEST.replace("anyio", "asyncio"),
        **{
            f"test_in_a_{scope}": uses(
                f"pytest.mark.asyncio(loop_scope={scope!r})",
                f"import pytest_asyncio\n@pytest_asyncio.fixture(loop_scope={scope!r})",
                # In a loop that goes on, so does a test whose time is over; pytest-asyncio leaves it there.
                hangs=scope == "function",
            )
            for scope in scopes
        },
    )
    result.assert_outcomes(passed=1 + 4 * len(scopes), failed=1 + 2 * len(scopes))


def test_under_pytest_asyncio_where_nothing_is_said(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function",
        test_bot=BOT_TEST.replace("@pytest.mark.anyio\n", ""),
        test_uses=uses("[]", "@pytest.fixture"),
    )
    result.assert_outcomes(passed=5, failed=3)


HYPOTHESIS = """\
import asyncio
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

MARKER
calm = settings(
    max_examples=3,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


@pytest.mark.parametrize("number", [1, 2])
@calm
@given(x=st.integers())
async def test_with_parameters(alura, number, x):
    assert (await alura.user.profile()).balance == 10000


class Inherited:
    @calm
    @given(x=st.integers())
    async def test_it(self, alura, x):
        await alura.user.profile()


class TestOne(Inherited): ...


class TestOther(Inherited): ...


@calm
@given(x=st.integers())
async def test_that_awaits(alura_sync, x): ...
"""

OUTAGE = """\
import asyncio
import pytest
from alura_async.errors import NotSentError

MARKER

async def test_an_outage(alura, alura_sandbox):
    await alura.user.profile()
    await alura_sandbox.stop()
    with pytest.raises(NotSentError):
        await alura.user.profile()
    await alura_sandbox.start()
    await alura.user.profile()
"""

BLOCKING_OUTAGE = """\
import pytest
from alura_async.errors import NotSentError


def test_an_outage(alura_sync, alura_sandbox):
    alura_sync.user.profile()
    with alura_sandbox.down(), pytest.raises(NotSentError):
        alura_sync.user.profile()
    alura_sync.user.profile()
"""


@pytest.mark.parametrize("runner", ["anyio", "asyncio"])
def test_hypothesis_and_outages(pytester: pytest.Pytester, runner: str) -> None:
    if runner == "anyio" and tuple(map(int, version("anyio").split(".")[:2])) < (4, 15):
        pytest.skip("before 4.15, anyio's plugin cannot call a method that hypothesis has wrapped")
    result = run(
        pytester,
        "asyncio_mode = strict\nasyncio_default_fixture_loop_scope = function" if runner == "asyncio" else "",
        *(["-p", "no:asyncio"] if runner == "anyio" else []),
        conftest="import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n",
        test_hypothesis=HYPOTHESIS.replace("MARKER", f"pytestmark = pytest.mark.{runner}"),
        test_outage=OUTAGE.replace("MARKER", f"pytestmark = pytest.mark.{runner}"),
        test_blocking_outage=BLOCKING_OUTAGE,
    )
    result.assert_outcomes(passed=6, errors=1)
    assert "alura_sync blocks, and this test awaits: ask for alura" in result.stdout.str()


def test_a_history_that_fails_costs_no_report(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "",
        "-p", "no:asyncio",
        test_history="""
            from alura_async.sandbox import fixtures

            def test_that_fails(alura_sync, monkeypatch):
                def broken(sandbox):
                    raise OverflowError("too late")
                alura_sync.user.profile()
                fixtures.history = broken
                assert False, "as it should"
        """,
    )  # fmt: skip
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*as it should*", "What happened cannot be told: OverflowError: too late"])


def test_markers_reports_and_what_goes_wrong_in_words(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "",
        "-p", "no:asyncio", "--alura-seed", "5",
        test_markers="""
            import alura_async
            import pytest

            pytestmark = pytest.mark.alura(seed=1, funds=111, start="2025-02-03T04:05:06+00:00")

            @pytest.mark.alura(seed=2)
            class TestNear:
                @pytest.mark.alura(funds=333)
                def test_all_three_are_merged(self, alura_sandbox, alura_sync):
                    assert (alura_sandbox._world.seed, alura_sync.user.profile().balance) == (2, 333)
                    assert alura_sandbox.now.isoformat() == "2025-02-03T04:05:06+00:00"

            def test_one_alone(alura_sandbox, alura_sync):
                assert (alura_sandbox._world.seed, alura_sync.user.profile().balance) == (1, 111)

            @pytest.mark.alura(faults="429=later,Retry-After:31 x2 on GET /user/profile")
            def test_nothing_is_waited_for(alura_sync):
                assert alura_sync.user.profile().balance == 111

            @pytest.mark.alura(faults="429=later,Retry-After:31 x2 on GET /user/profile", waits=True)
            def test_but_on_demand(alura_sync):
                with pytest.raises(alura_async.RateLimitedError):
                    alura_sync.user.profile()
        """,
        test_words="""
            import sys
            import pytest

            def test_the_option_is_the_seed(alura_sandbox):
                assert alura_sandbox._world.seed == 5

            def test_that_fails(alura_sync, alura_sandbox):
                alura_sync.user.profile()
                alura_sandbox.advance(hours=1)
                assert False

            @pytest.mark.alura(sead=3)
            def test_unknown(alura_sandbox): ...

            @pytest.mark.alura(seed="3")
            def test_mistaken(alura_sandbox): ...

            @pytest.mark.alura(speed=-1.0)
            def test_impossible(alura_sandbox): ...

            @pytest.mark.alura(waits=1)
            def test_unclear(alura_sandbox): ...

            @pytest.mark.alura(3)
            def test_unnamed(alura_sandbox): ...

            def test_blocking(alura): ...

            @pytest.mark.anyio
            @pytest.mark.parametrize("anyio_backend", ["asyncio"])
            async def test_awaiting(alura_sync): ...

            @pytest.fixture
            def without_jwt(monkeypatch):
                monkeypatch.setitem(sys.modules, "jwt", None)

            def test_without_the_extra(without_jwt, alura_sync): ...

            @pytest.mark.parametrize("anyio_backend", ["trio"])
            def test_another_loop(anyio_backend, alura_of_a_fixture): ...

            @pytest.fixture
            def alura_of_a_fixture(alura): ...
        """,
    )  # fmt: skip
    result.assert_outcomes(passed=5, failed=1, errors=9)
    result.stdout.fnmatch_lines(["alura: --alura-seed 5"])
    output = result.stdout.str()
    for words in (
        "sead: there is no such setting; there are seed, host,",
        "marker says: seed='3': give int",
        "speed=-1.0: give 0 or more",
        "waits=1: give True or False",
        "takes settings by name, such as @pytest.mark.alura(seed=7)",
        "alura is awaited, and this test blocks: ask for alura_sync",
        "alura_sync blocks, and this test awaits: ask for alura",
        "alura_sandbox needs alura-async with its extra `sandbox`: the sandbox needs PyJWT",
        "anyio runs this test on another backend",
    ):
        assert words in output
    assert "During handling of" not in output
    result.stdout.fnmatch_lines(
        [
            "*- Alura sandbox -*",
            "<Sandbox seed=5 http://127.0.0.1:*>, its clock at 2026-01-05 13:00:00 UTC",
            "Last 3 of 3 requests:",
            "  201  POST /auth/evm/challenge",
            "  201  POST /auth/evm/verify",
            "  200  GET  /user/profile",
            "Last 2 of 2 ledger entries:",
            "  1  01-05 12:00:00  account_opened (POST /auth/evm/verify) user_id=* funds=10000",
            "  2  01-05 12:00:00  signed_in (POST /auth/evm/verify)*",
        ]
    )
    assert output.count("- Alura sandbox -") == 1


def test_the_history_shows_no_secret_and_what_was_not_answered() -> None:
    with Sandbox.threaded(start=START, speed=0, limit=None) as sandbox, blocking_client(sandbox) as client:
        client.referrals.check("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl")
        for number in range(20):
            client.indicators.candles("BTC", "1h", limit=number + 1)
        sandbox.requests[-1].status = None
        sandbox.faults.add("headers=A:b x1")
        client.indicators.candles("BTC", "1h", limit=21)
        sandbox.faults.add("html x4")
        with pytest.raises(AluraError):
            client.indicators.candles("BTC", "1h", limit=22)
        text = history(sandbox)
    assert "eyJ" not in text
    assert "Last 10 of" in text
    assert "limit=16" in text
    assert "limit=15" not in text
    assert "limit=21  fault: headers=A:b (executed)" in text
    assert "limit=22  fault: html=200 (not executed)" in text
    assert "  ...  GET  /api/indicators/candles/BTC/1h?limit=20" in text


def test_the_nearest_marker_decides_setting_by_setting() -> None:
    near: dict[str, Any] = {"funds": 2, "limit": 5, "waits": True}
    markers = [{"funds": 3}, near, {"speed": 2.0, "limit": None}]
    chosen = {"seed": 9, "start": START, "speed": 2.0, "limit": 5, "funds": 3}
    assert settings(markers, seed=9) == (chosen, True)
    assert settings([], seed=9)[1] is False


def test_the_readmes_bot_test_is_short() -> None:
    assert len([line for line in BOT_TEST.splitlines() if line.strip()]) <= 20


def test_the_plugin_costs_a_run_without_alura_no_more_than_the_bare_package() -> None:
    program = (
        "import sys, pytest, alura_async; before = set(sys.modules); import alura_async.pytest_plugin; "
        "print(sorted(set(sys.modules) - before - {'alura_async.pytest_plugin'}))"
    )
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True, text=True, check=True, cwd=Path(alura_async.__file__).parent.parent,
    )  # fmt: skip
    assert found.stdout == "[]\n"
