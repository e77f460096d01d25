"""A sandbox as a thing to hold: where it listens, how it starts and stops, which threads may use it."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, localcontext
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest

from alura_async.errors import ConfigurationError, UsageError
from alura_async.sandbox import Fault, ReceivedRequest, Sandbox

from .caller import Caller
from .conftest import START

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.org", "::"])
def test_a_host_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="allow_remote"):
        Sandbox(host=host)
    Sandbox(host=host, allow_remote=True)


@pytest.mark.parametrize("turns", range(5))
async def test_who_comes_in_while_it_stops_is_hung_up_on(turns: int) -> None:
    sandbox = Sandbox(seed=7)
    await sandbox.start()
    at = urlsplit(sandbox.url)
    with ExitStack() as open_ones:
        callers = [open_ones.enter_context(socket.create_connection((str(at.hostname), at.port), 5)) for _ in range(5)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await sandbox.stop()
        # What nobody closes is closed when memory is cleared up.
        gc.disable()
        open_ones.callback(gc.enable)
        for caller in callers:
            with suppress(ConnectionError):
                assert await asyncio.to_thread(caller.recv, 1) == b""


@pytest.mark.parametrize("turns", range(6))
async def test_a_stop_that_is_cancelled_leaves_nobody_waiting(turns: int) -> None:
    sandbox = Sandbox(seed=7)
    await sandbox.start()
    at = urlsplit(sandbox.url)
    stopping = asyncio.create_task(sandbox.stop())
    for _ in range(turns):
        await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    await sandbox.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(at.hostname), at.port), 5)
    async with sandbox:
        assert urlsplit(sandbox.url).port == at.port


async def test_it_goes_on_where_it_stopped_at_the_same_port(http: aiohttp.ClientSession) -> None:
    sandbox = Sandbox(seed=7)
    with pytest.raises(UsageError, match="not running"):
        _ = sandbox.url
    await sandbox.start()
    url = sandbox.url
    somebody = await Caller(sandbox, http).sign_in()
    with pytest.raises(UsageError, match="running already"):
        await sandbox.start()
    await sandbox.stop()
    await sandbox.stop()
    with pytest.raises(aiohttp.ClientError):
        await http.get(url + "/health")
    async with sandbox:
        assert sandbox.url == url
        assert await somebody.available() == 10000


async def test_a_port_that_is_taken_is_an_error_and_leaves_it_stopped(sandbox: Sandbox) -> None:
    other = Sandbox(port=int(sandbox.url.rsplit(":", 1)[1]))
    with pytest.raises(OSError, match="address already in use"):
        await other.start()
    with pytest.raises(UsageError):
        _ = other.url


async def test_the_clock_runs_at_its_speed_and_jumps(http: aiohttp.ClientSession) -> None:
    sandbox = Sandbox(start=START, speed=3600)
    await asyncio.sleep(0.1)
    assert timedelta(minutes=5) < sandbox.now - START < timedelta(hours=1)
    still = Sandbox(start=START, speed=0)
    still.advance(days=1, hours=2, minutes=3, seconds=4.5)
    assert still.now - START == timedelta(days=1, hours=2, minutes=3, seconds=4.5)
    with pytest.raises(ConfigurationError, match="forward"):
        still.advance(seconds=-1)
    for _ in range(1000):
        still.advance(seconds=0.0004)
    assert still.now - START == timedelta(days=1, hours=2, minutes=3, seconds=4.9)
    assert abs(Sandbox().now - datetime.now(UTC)) < timedelta(seconds=3)


@pytest.mark.parametrize(
    "step", [{"days": 3_000_000}, {"days": 10**10}, {"seconds": float("nan")}, {"hours": float("inf")}, {"days": "1"}]
)
def test_a_step_that_the_clock_cannot_take_is_refused_and_it_goes_on(step: dict[str, Any]) -> None:
    sandbox = Sandbox(start=START, speed=0)
    with pytest.raises(ConfigurationError, match="advance"):
        sandbox.advance(**step)
    sandbox.advance(days=365 * 1000)
    assert sandbox.now - START == timedelta(days=365 * 1000)
    assert Sandbox(start=START, speed=1e300).now.year == 9000


@pytest.mark.parametrize(
    "settings",
    [
        {"start": datetime(9999, 12, 31, tzinfo=UTC)},
        {"start": datetime(2024, 5, 1)},
        {"start": datetime(2019, 5, 1, tzinfo=UTC)},
        {"speed": -1},
        {"speed": float("nan")},
    ],
)
def test_a_clock_that_makes_no_sense_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Sandbox(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seed": "3"}, "give int"),
        ({"seed": None}, "give int"),
        ({"seed": 1.5}, "give int"),
        ({"seed": True}, "give int"),
        ({"host": ""}, "name an address"),
        ({"host": "", "allow_remote": True}, "name an address"),
        ({"host": None}, "give str"),
        ({"port": "80"}, "give int"),
        ({"port": 70000}, "give 0 to 65535"),
        ({"port": -1}, "give 0 to 65535"),
        ({"speed": "1"}, "give float"),
        ({"start": "2026-01-05"}, "with its zone"),
        ({"start": "noon"}, "with its zone"),
        ({"start": 5}, "give datetime or str or None"),
        ({"funds": "abc"}, "give Decimal or int"),
        ({"funds": None}, "give Decimal or int"),
        ({"funds": 0.5}, "give Decimal or int"),
        ({"limit": 1.5}, "give int or None"),
        ({"limit": True}, "give int or None"),
        ({"limit": 0}, "give 1 or more"),
        ({"window": "1"}, "give float"),
        ({"window": float("inf")}, "seconds above 0"),
        ({"allow_remote": "no"}, "give bool"),
        ({"on_request": 5}, "give Callable or None"),
        ({"conditions": None}, "give Conditions"),
        ({"shapes": None}, "give str"),
        ({"quirks": None}, "give Quirks"),
        ({"faults": None}, "give str or Fault or Iterable"),
        ({"faults": [3]}, "give faults"),
        ({"kept": 0}, "from 1 on"),
        ({"kept": "1"}, "give int"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_in_words(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Sandbox(**settings)  # type: ignore[arg-type]
    name = next(iter(settings))
    assert str(caught.value).startswith(f"{name}=") or name == "faults"


def test_a_start_may_be_iso_text_and_faults_may_come_in_several_ways() -> None:
    assert Sandbox(start="2026-01-05T12:00Z", speed=0).now == datetime(2026, 1, 5, 12, tzinfo=UTC)
    ways: list[str | list[str | Fault]] = ["hang; reset", ["hang", Fault.reset()], ["hang; reset"]]
    for faults in ways:
        assert [str(rule) for rule in Sandbox(faults=faults).faults.rules] == ["hang", "reset"]
    assert [str(rule) for rule in Sandbox(faults=Fault.hang()).faults.rules] == ["hang"]


@pytest.mark.parametrize("lifetime", ["x", None, True, float("inf"), float("nan"), -5])
def test_a_lifetime_of_tokens_that_makes_no_sense_is_refused(lifetime: Any) -> None:
    sandbox = Sandbox()
    with pytest.raises(ConfigurationError, match="number of seconds"):
        sandbox.token_lifetime = lifetime


def test_a_threaded_sandbox_serves_code_that_blocks() -> None:
    with Sandbox.threaded(seed=7, start=START, speed=0) as sandbox:
        url = sandbox.url
        with urllib.request.urlopen(url + "/health") as response:
            assert msgspec.json.decode(response.read())["status"] == "ok"
        sandbox.advance(days=1)
        assert sandbox.now == START + timedelta(days=1)
        assert sandbox.wallet() != sandbox.wallet()
        assert sandbox.ledger == []
        assert [request.path for request in sandbox.requests] == ["/health"]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url + "/health")
    assert "alura-sandbox" not in [thread.name for thread in threading.enumerate()]


def test_a_threaded_sandbox_that_cannot_start_says_so_here() -> None:
    with Sandbox.threaded() as sandbox:
        port = int(sandbox.url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="address already in use"), Sandbox.threaded(port=port):
            pass


def test_a_threaded_sandbox_that_is_interrupted_while_it_starts_is_not_left_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(future: Future[None], timeout: float | None = None) -> None:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        wait(future, timeout)

    wait = Future[None].result
    monkeypatch.setattr(Future, "result", interrupt)
    with pytest.raises(KeyboardInterrupt), Sandbox.threaded():
        pass
    monkeypatch.undo()
    assert "alura-sandbox" not in [thread.name for thread in threading.enumerate()]


async def test_a_threaded_sandbox_is_stopped_and_started_from_another_loop_at_the_same_port(
    http: aiohttp.ClientSession,
) -> None:
    with Sandbox.threaded(seed=7) as sandbox:
        url = sandbox.url
        somebody = await Caller(sandbox, http).sign_in()
        port = int(url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        await sandbox.stop()
        # A kept connection ends too.
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"}")
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await sandbox.start()
        assert sandbox.url == url
        assert await somebody.available() == 10000
        await sandbox.stop()
    assert "alura-sandbox" not in [thread.name for thread in threading.enumerate()]


def test_a_test_that_blocks_has_an_outage_for_a_block() -> None:
    with Sandbox.threaded(seed=7) as sandbox:
        url = sandbox.url
        with sandbox.down(), pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(url + "/health")
        with urllib.request.urlopen(url + "/health") as response:
            assert response.status == 200
    with pytest.raises(UsageError, match="not running"), sandbox.down():
        pass


async def test_an_outage_that_would_block_who_serves_is_refused(sandbox: Sandbox, stranger: Caller) -> None:
    with pytest.raises(UsageError, match=r"await stop\(\)"), sandbox.down():
        pass
    assert (await stranger.call("GET", "/health")).status == 200


async def test_of_two_starts_at_once_one_is_refused_and_a_stop_waits_for_a_start() -> None:
    sandbox = Sandbox()
    first, second = await asyncio.gather(sandbox.start(), sandbox.start(), return_exceptions=True)
    assert first is None
    assert isinstance(second, UsageError)
    port = int(sandbox.url.rsplit(":", 1)[1])
    await sandbox.stop()
    await asyncio.gather(sandbox.start(), sandbox.stop())
    with pytest.raises(UsageError, match="not running"):
        _ = sandbox.url
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_many_threads_may_advance_while_it_serves(caller: Caller, sandbox: Sandbox) -> None:
    for index in range(5):
        await caller.quick(assetIndex=index)

    def push() -> None:
        for _ in range(50):
            sandbox.advance(minutes=1)

    threads = [threading.Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        await caller.get("/trading-sessions/active")
    assert sandbox.now == START + timedelta(minutes=200)
    numbers = [entry.number for entry in sandbox.ledger]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_requests_are_on_record_with_query_status_and_account(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.requests.clear()
    before = datetime.now(UTC)
    await caller.call("GET", "/api/indicators/candles/PURR%2FUSDC/1m?limit=2&x=a%20b", **{"X-Request-Id": "r-1"})
    await caller.call("GET", "/nope")
    first, second = sandbox.requests
    assert (first.method, first.path) == ("GET", "/api/indicators/candles/PURR%2FUSDC/1m")
    assert first.query == {"limit": "2", "x": "a b"}
    assert (first.status, first.account, first.request_id) == (200, caller.address, "r-1")
    assert (second.status, second.account) == (404, None)
    assert before <= first.received_at <= second.received_at <= datetime.now(UTC)
    assert first.duration_ms is not None
    assert 0 < first.duration_ms < 10_000


async def test_a_listener_is_told_of_every_answered_request_and_its_errors_change_no_answer(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[ReceivedRequest] = []

    def listen(request: ReceivedRequest) -> None:
        told.append(request)
        raise RuntimeError("no more, please")

    async with Sandbox(start=START, speed=0, on_request=listen) as sandbox:
        somebody = Caller(sandbox, http)
        assert (await somebody.call("GET", "/health")).status == 200
        assert (await somebody.call("GET", "/nope")).status == 404
    assert told == list(sandbox.requests)
    assert [request.status for request in told] == [200, 404]
    assert all(request.duration_ms is not None for request in told)
    assert "on_request failed for GET /nope" in caplog.text


@pytest.mark.parametrize("funds", [Decimal("1E+4"), 12_345_678, Decimal("0.123456")])
def test_funds_are_taken_whatever_the_callers_decimal_context_is(funds: Decimal | int) -> None:
    with localcontext(Context(prec=5)):
        taken = Sandbox(funds=funds)._world.funds
        with pytest.raises(ConfigurationError, match="whole millionths"):
            Sandbox(funds=Decimal("0.1234567"))
    assert taken == funds


async def test_the_callers_decimal_context_decides_nothing(http: aiohttp.ClientSession) -> None:
    coarse, usual = Context(prec=3), Context(prec=28)
    seen: list[bytes] = []
    for context in (coarse, usual):
        with localcontext(context):
            async with Sandbox(seed=7, start=START, speed=0) as sandbox:
                somebody = await Caller(sandbox, http).sign_in()
                await somebody.quick(budget=1234.567891)
                sandbox.advance(minutes=9)
                paths = ("/user/profile", "/trading-sessions/current-trade", "/api/leaderboard/stats")
                seen += [(await somebody.call("GET", path)).body for path in paths]
    assert seen[:3] == seen[3:]


def test_importing_the_sdk_loads_neither_the_sandbox_nor_what_it_needs() -> None:
    code = (
        "import sys, alura_async; print([m for m in ('jwt', 'eth_account', 'alura_async.sandbox') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


async def test_a_missing_pyjwt_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[cli,sandbox\]'"):
        await Sandbox().start()
