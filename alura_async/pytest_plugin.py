"""The pytest plugin of alura_async: a sandbox and clients of it as fixtures, for whoever tests a bot.

    async def test_it_is_out_after_a_fall(alura_sandbox, alura):
        await my_bot(alura)
        alura_sandbox.advance(hours=6)
        assert await alura.trading_sessions.active() == []

    @pytest.mark.alura(seed=7, funds=500)
    def test_it_can_be_poor(alura_sync): ...

`alura_sandbox`, `alura` (awaited) and `alura_sync` (blocking) are new for each test. Markers on the test, its class and
its module set the sandbox up; see `pytest --fixtures` and `pytest --markers`.

Every run of pytest imports it, also those that have nothing to do with Alura, so it stands outside of the sandbox's
package: it costs them the bare SDK. What a fixture needs is imported by the first test that asks for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from . import Alura, AsyncAlura
    from .sandbox import Sandbox

_SANDBOX: pytest.StashKey[Sandbox] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that runs all tests on another market."""
    parser.getgroup("alura").addoption(
        "--alura-seed",
        type=int,
        metavar="N",
        help="the seed of every sandbox whose test's marker does not give one (default: 0)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "alura(seed=0, start='2026-01-05T12:00Z', speed=0, limit=None, funds=…, waits=False, …): settings of the test's"
        " sandbox, all those of alura_async.sandbox.Sandbox, and whether clients pause before they repeat a call; of"
        " test, class and module the nearest decides, setting by setting.",
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Name the seed, so that a run can be repeated."""
    seed = _given_seed(config)
    return None if seed is None else f"alura: --alura-seed {seed}"


@pytest.fixture
def alura_sandbox(request: pytest.FixtureRequest) -> Generator[Sandbox]:
    """A running `alura_async.sandbox.Sandbox`, new for this test.

    It does the same each time: seed 0, the clock at noon of 2026-01-05 until the test moves it, no limit of calls.
    `@pytest.mark.alura(seed=…, start=…, …)` changes any setting. It runs in a thread of its own, so it serves tests
    that block and tests that await.

    While the test runs, no client of this process pauses before it repeats a call, nor paces its calls (`no_waits`);
    `@pytest.mark.alura(waits=True)` leaves that as it is in earnest.

    For an outage, `await alura_sandbox.stop()` and later `await alura_sandbox.start()`; in a test that blocks,
    `with alura_sandbox.down(): …`.

    For one that several tests share, write a fixture around `Sandbox.threaded(…)` with the scope that you need.
    """
    markers = list(request.node.iter_markers("alura"))
    if any(marker.args for marker in markers):
        _refuse("alura(…) takes settings by name, such as @pytest.mark.alura(seed=7)")
    with ExitStack() as stack:
        try:
            from . import no_waits
            from .errors import ConfigurationError
            from .sandbox import Sandbox
            from .sandbox.fixtures import settings

            try:
                chosen, waits = settings([marker.kwargs for marker in markers], _given_seed(request.config) or 0)
                if not waits:
                    stack.enter_context(no_waits())
                sandbox = stack.enter_context(Sandbox.threaded(**chosen))
            except ConfigurationError as error:
                _refuse(f"the sandbox cannot be set up as this test's marker says: {error}")
        except ImportError as error:
            _refuse(f"{request.fixturename} needs alura-async with its extra `sandbox`: {error}")
        request.node.stash[_SANDBOX] = sandbox
        yield sandbox


@pytest.fixture
def alura(request: pytest.FixtureRequest, alura_sandbox: Sandbox) -> Generator[AsyncAlura]:
    """An open `AsyncAlura` on this test's sandbox, with a funded wallet that signs in when a call needs it.

    For tests that await, under anyio's plugin (on asyncio), pytest-asyncio, or what else runs tests in asyncio's event
    loop, and for fixtures that await. Use it in one loop: that of the test. It polls every 10 ms.
    """
    if _is_asked_for(request) and _awaits(request) is False:
        _refuse("alura is awaited, and this test blocks: ask for alura_sync, or make it `async def`")
    if "anyio_backend" in request.fixturenames and request.getfixturevalue("anyio_backend_name") != "asyncio":
        _refuse(
            "alura runs on asyncio, and anyio runs this test on another backend: give your tests a fixture "
            "`anyio_backend` that returns 'asyncio'"
        )
    from .sandbox.fixtures import awaited_client

    with awaited_client(alura_sandbox) as client:
        yield client


@pytest.fixture
def alura_sync(request: pytest.FixtureRequest, alura_sandbox: Sandbox) -> Generator[Alura]:
    """An open `Alura` on this test's sandbox, with a funded wallet that signs in when a call needs it.

    For tests that block. It polls every 10 ms. In a test that has `alura` too, the two are different users.
    """
    if _is_asked_for(request) and _awaits(request):
        _refuse("alura_sync blocks, and this test awaits: ask for alura, and await its methods")
    from .sandbox.fixtures import blocking_client

    with blocking_client(alura_sandbox) as client:
        yield client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failed test what its sandbox was asked and what it did."""
    report = yield
    sandbox = item.stash.get(_SANDBOX, None)
    if sandbox is None:
        return report
    # Of a setup that failed before anything was asked there is nothing to tell.
    if report.failed and (call.when != "setup" or sandbox.requests):
        from .sandbox.fixtures import history

        try:
            told = history(sandbox)
        except Exception as error:  # noqa: BLE001 - the report of the test itself must not be lost
            told = f"What happened cannot be told: {type(error).__name__}: {error}"
        report.sections.append(("Alura sandbox", told))
    if call.when == "teardown":
        # Tests live as long as the run, and would keep all that their sandboxes hold.
        del item.stash[_SANDBOX]
    return report


def _given_seed(config: pytest.Config) -> int | None:
    seed: int | None = config.getoption("alura_seed")
    return seed


def _is_asked_for(request: pytest.FixtureRequest) -> bool:
    """Whether the test itself has the fixture among its arguments, and not only a fixture of the test."""
    function = getattr(request.node, "function", None)
    return function is not None and request.fixturename in inspect.signature(function).parameters


def _awaits(request: pytest.FixtureRequest) -> bool | None:
    """Whether a test is a coroutine; None where that cannot be told."""
    function = request.node.function
    is_of_hypothesis = hasattr(function, "hypothesis")
    if is_of_hypothesis:
        function = function.hypothesis.inner_test
    # Also behind a decorator that runs it by itself.
    if inspect.iscoroutinefunction(inspect.unwrap(function)):
        return True
    # What runs coroutines for hypothesis puts a function that blocks in their place, for all runs that follow.
    return None if is_of_hypothesis else False


def _refuse(message: str) -> NoReturn:
    """Let a test fail at its setup with words alone."""
    raise pytest.fail.Exception(message, pytrace=False) from None
