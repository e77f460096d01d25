"""The blocking client: threads, loops, Ctrl-C, fork, exit, streams."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from alura_async import (
    Access,
    Alura,
    AluraError,
    AsyncAlura,
    Challenge,
    ClosedError,
    InvalidArgumentError,
    NotFoundError,
    Outcome,
    Route,
    RunningLoopError,
    SessionStatus,
    SettledBy,
    TransportError,
    WaitTimeoutError,
)
from tests.raw_server import RawServer, Received, hang, reply

READ: Route[dict[str, object]] = Route("GET", "/read", dict, access=Access.PUBLIC)


@pytest.fixture
def raw() -> Iterator[RawServer]:
    """The raw server, in a thread of its own."""
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(RawServer()) as server:
        yield server


@pytest.fixture
def alura(raw: RawServer) -> Iterator[Alura]:
    with Alura(base_url=raw.url, token="t0ken", poll_interval=0.01) as client:
        yield client


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait for something that another thread or process does; the test's own time limit ends it."""
    while not happened():
        time.sleep(0.005)


def test_calls_block_and_return_what_the_async_client_returns(raw: RawServer, alura: Alura) -> None:
    blocking = alura.health.basic()

    async def awaited() -> object:
        async with AsyncAlura(base_url=raw.url) as client:
            return await client.health.basic()

    assert blocking == asyncio.run(awaited())


def test_a_bad_argument_is_refused_in_the_callers_thread_before_anything_starts(raw: RawServer) -> None:
    alura = Alura(base_url=raw.url)
    with pytest.raises(InvalidArgumentError):
        alura.trading_sessions.create(budget=1, profit_target=1, asset="BTC")
    assert "alura-async" not in [thread.name for thread in threading.enumerate()]
    assert raw.connections == 0


def test_errors_come_as_they_are(raw: RawServer, alura: Alura) -> None:
    raw.answers = [reply('{"message":"no such thing"}', "404 Not Found")]
    with pytest.raises(NotFoundError, match="no such thing"):
        alura.user.profile()


def test_many_threads_share_one_client(raw: RawServer, alura: Alura) -> None:
    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda _: alura.health.basic().status, range(400)))
    assert results == ["ok"] * 400
    assert len(raw.received) == 400


def test_several_clients_live_in_one_process(raw: RawServer) -> None:
    with Alura(base_url=raw.url) as one, Alura(base_url=raw.url) as two:
        assert one.health.basic() == two.health.basic()
        one.close()
        assert two.health.basic().status == "ok"


def test_closing_twice_is_fine_and_calls_after_it_say_so(raw: RawServer) -> None:
    alura = Alura(base_url=raw.url)
    alura.health.basic()
    alura.close()
    alura.close()
    with pytest.raises(ClosedError):
        alura.health.basic()
    wait_until(lambda: raw.open_connections == 0)
    assert "alura-async" not in [thread.name for thread in threading.enumerate()]


def test_closing_a_client_that_was_never_used_starts_nothing(raw: RawServer) -> None:
    with Alura(base_url=raw.url):
        pass
    assert raw.connections == 0


def test_a_view_shares_the_thread_and_closing_it_closes_nothing(raw: RawServer, alura: Alura) -> None:
    view = alura.with_options(timeout=5)
    view.health.basic()
    view.close()
    alura.health.basic()
    assert {request.connection for request in raw.received} == {1}


def test_a_running_loop_is_refused_with_a_way_out(raw: RawServer, alura: Alura) -> None:
    async def main() -> None:
        with pytest.raises(RunningLoopError, match=r"AsyncAlura.*allow_running_loop=True"):
            alura.health.basic()
        with Alura(base_url=raw.url, allow_running_loop=True) as allowed:
            assert allowed.health.basic().status == "ok"

    asyncio.run(main())


def test_ipython_may_call_it_inside_its_loop(raw: RawServer, alura: Alura) -> None:
    """Jupyter runs cells inside a loop, and people expect a blocking call to work there."""
    shell_module = pytest.importorskip("IPython.core.interactiveshell")
    shell = shell_module.InteractiveShell.instance()
    try:
        shell.user_ns["alura"] = alura

        async def main() -> object:
            cell = "status = alura.health.basic().status"
            return await shell.run_cell_async(cell, transformed_cell=shell.transform_cell(cell))

        asyncio.run(main()).raise_error()  # type: ignore[attr-defined]
        assert shell.user_ns["status"] == "ok"
    finally:
        shell_module.InteractiveShell.clear_instance()


def test_a_call_from_the_clients_own_loop_is_refused_instead_of_waiting_for_itself(raw: RawServer) -> None:
    class Wallet:
        address = "0x" + "a1" * 20

        async def sign_message(self, text: str, /) -> str:
            return "0x" + "5e" * 65

    caught: list[BaseException] = []

    def check(challenge: Challenge, *, address: str, host: str) -> None:
        try:
            client.health.basic()
        except RunningLoopError as error:
            caught.append(error)

    raw.routes["/auth/evm/challenge"] = [reply('{"address":"0x","nonce":"n","message":"m"}')]
    raw.routes["/auth/evm/verify"] = [reply('{"ok":true,"accessToken":"t"}')]
    raw.answers = [reply('{"id":"me"}')]
    with Alura(Wallet(), base_url=raw.url, check_challenge=check, allow_running_loop=True) as client:
        client.user.profile()
    assert len(caught) == 1


def test_streams_are_plain_iterators_that_can_be_closed_early(raw: RawServer, alura: Alura) -> None:
    session = '[{"id":"s1","tradeId":"t1","realizedPnl":"%d"}]'
    raw.answers = [reply(session % number) for number in range(50)]
    with alura.trading_sessions.watch("s1") as updates:
        seen = [int(next(updates).value.realized_pnl or 0) for _ in range(3)]
    assert seen == [0, 1, 2]
    assert list(updates) == []
    reads = len(raw.received)
    alura.send_raw(READ.request())
    assert len(raw.received) == reads + 1


def test_a_stream_ends_by_itself(raw: RawServer, alura: Alura) -> None:
    raw.answers = [reply('[{"id":"s1","status":"active"}]'), reply('[{"id":"s1","status":"closed"}]')]
    assert [update.value.status for update in alura.trading_sessions.watch("s1")] == [
        SessionStatus.ACTIVE,
        SessionStatus.CLOSED,
    ]


def test_a_session_that_is_missing_from_an_incomplete_list_is_not_closed(raw: RawServer, alura: Alura) -> None:
    """It is on another page."""
    listed, part = '[{"id":"s1","status":"active"}]', '{"data":[{"id":"s2"}],"total":2,"page":1}'
    headed = reply('[{"id":"s2"}]', headers={"X-Total-Count": "2"})
    closed = '[{"id":"s1","status":"closed","realizedPnl":"1"}]'
    raw.answers = [reply(listed), *[reply(part), headed] * 5, reply(closed)]
    updates = list(alura.trading_sessions.watch("s1", interval=0.001, patience=0))
    assert [update.value.status for update in updates] == [SessionStatus.ACTIVE, SessionStatus.CLOSED]
    assert updates[-1].value.realized_pnl == 1
    raw.answers = [reply(part)]
    with pytest.raises(WaitTimeoutError):
        alura.trading_sessions.wait_until_closed("s1", interval=0.005, patience=0, timeout=0.2)


def test_a_session_that_will_be_closed_is_watched_until_it_is(raw: RawServer, alura: Alura) -> None:
    later = '[{"id":"s1","status":"%s","closedAt":"2190-01-01T00:00:00Z"}]'
    raw.answers = [reply(later % "active"), reply(later % "closed")]
    updates = list(alura.trading_sessions.watch("s1", interval=0.001))
    assert [update.value.is_closed for update in updates] == [False, True]


def test_a_session_that_is_missing_for_a_moment_is_not_closed(raw: RawServer, alura: Alura) -> None:
    """The server may list what it accepted late, so three reads in thirty milliseconds prove nothing."""
    listed, nothing = reply('[{"id":"s1","status":"active"}]'), reply("[]")
    raw.answers = [listed, *[nothing] * 10, reply('[{"id":"s1","status":"active","realizedPnl":"1"}]'), nothing]
    started = time.monotonic()
    closed = alura.trading_sessions.wait_until_closed("s1", interval=0.01, patience=0.5)
    assert time.monotonic() - started >= 0.5
    assert closed.realized_pnl == 1
    assert closed.status == SessionStatus.CLOSED


def test_a_stream_may_outlive_its_client(raw: RawServer) -> None:
    alura = Alura(base_url=raw.url)
    raw.answers = [reply('[{"t":1700000000000,"s":"BTC","i":"1m","o":"1","h":"1","l":"1","c":"1"}]')]
    candles = alura.indicators.watch_candles("BTC", "1m")
    assert next(candles).value.open_time_ms == 1700000000000
    alura.close()
    with pytest.raises(ClosedError):
        next(candles)
    candles.close()


def run_script(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


_INTERRUPTED = """
import sys
from alura_async import Alura
class Wallet:
    address = "0x" + "a1" * 20
    async def sign_message(self, text, /):
        return "0x" + "5e" * 65
alura = Alura(Wallet(), base_url=sys.argv[1])
try:
    alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC")
except KeyboardInterrupt:
    print("interrupted", flush=True)
sys.stdin.readline()
alura.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
@pytest.mark.parametrize("hangs", ["/auth/evm/challenge", "/trading-sessions"])
def test_ctrl_c_cancels_the_call_and_nothing_leaves_after_it(raw: RawServer, hangs: str) -> None:
    raw.routes["/auth/evm/challenge"] = [
        reply('{"address":"0x%s","nonce":"nonce-1","message":"Sign in with nonce-1"}' % ("a1" * 20))
    ]
    raw.routes["/auth/evm/verify"] = [reply('{"ok":true,"accessToken":"t"}')]
    raw.routes[hangs] = [hang]
    process = run_script(_INTERRUPTED, raw.url)
    wait_until(lambda: f"POST {hangs}" in raw.paths())
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "interrupted\n"
    before = raw.paths()
    if hangs == "/trading-sessions":
        # The order's own connection is closed at once, while the process lives on.
        wait_until(lambda: raw.open_connections <= 1)
    _, errors = process.communicate("\n", timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert raw.paths() == before
    assert raw.paths().count("POST /trading-sessions") == (1 if hangs == "/trading-sessions" else 0)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
def test_ctrl_c_is_heard_where_a_library_has_signals_restart_what_they_interrupt(raw: RawServer) -> None:
    # polars does, by being imported.
    restarting = f"import signal\nsignal.siginterrupt(signal.SIGINT, False)\n{_INTERRUPTED}"
    patient = "from alura_async import Timeouts\nlong = Timeouts(call=600, create=600, sign_in=600, read=600)\n"
    restarting = patient + restarting.replace("base_url=sys.argv[1]", "base_url=sys.argv[1], timeout=long")
    raw.answers = [hang]
    process = run_script(restarting, raw.url)
    wait_until(lambda: raw.paths() != [])
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "interrupted\n"
    _, errors = process.communicate("\n", timeout=20)
    assert (process.returncode, errors) == (0, "")


_INTERRUPTED_BEFORE_THE_LOOP_COMES_TO_IT = """
import os, signal, sys, threading, time
from alura_async import Alura
alura = Alura(base_url=sys.argv[1], token="t0ken")
alura.health.basic()

async def keep_the_loop_busy():
    time.sleep(1.0)

busy = threading.Thread(target=lambda: alura._run(keep_the_loop_busy))
busy.start()
threading.Timer(0.4, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
time.sleep(0.1)
try:
    alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC")
except KeyboardInterrupt:
    print("interrupted", flush=True)
# The loop comes to the order, and would have sent it.
busy.join()
time.sleep(0.2)
alura.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
def test_an_order_that_waits_for_a_busy_loop_does_not_go_out_after_ctrl_c(raw: RawServer) -> None:
    process = run_script(_INTERRUPTED_BEFORE_THE_LOOP_COMES_TO_IT, raw.url)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "interrupted\n", "")
    assert raw.paths() == ["GET /health"]


_SIGNALLED_WHILE_IT_STARTS = """
import os, signal, sys, threading
from alura_async import Alura
alura = Alura(base_url=sys.argv[1], token="t0ken")

def get_out(number, frame):
    print(alura.health.basic().status, flush=True)
    alura.close()
    sys.exit(0)

signal.signal(signal.SIGTERM, get_out)
threading.Timer(float(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
while True:
    alura.health.basic()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals for one process there")
@pytest.mark.parametrize("after", [0.0, 0.01, 0.05, 0.2])
def test_a_signal_handler_may_use_and_close_a_client_that_is_starting(raw: RawServer, after: float) -> None:
    process = run_script(_SIGNALLED_WHILE_IT_STARTS, raw.url, str(after))
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "ok\n", "")


_FORGETS = """
import sys
from alura_async import Alura
alura = Alura(base_url=sys.argv[1])
print(alura.health.basic().status)
candles = alura.indicators.watch_candles("BTC", "1m")
"""


def test_a_forgotten_client_is_closed_at_exit_without_noise(raw: RawServer) -> None:
    process = run_script(_FORGETS, raw.url)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "ok\n", "")
    wait_until(lambda: raw.open_connections == 0)


_FORKS = """
import os, sys, warnings
from alura_async import Alura
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of every fork beside threads
alura = Alura(base_url=sys.argv[1], token="t0ken")
print(alura.health.basic().status, flush=True)
child = os.fork()
if child == 0:
    print("child", alura.health.basic().status, flush=True)
    alura.close()
    os._exit(0)
os.waitpid(child, 0)
print("parent", alura.health.basic().status, flush=True)
alura.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_client_survives_a_fork_on_both_sides(raw: RawServer) -> None:
    process = run_script(_FORKS, raw.url)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "ok\nchild ok\nparent ok\n", "")
    parent, child, parent_again = (request.connection for request in raw.received)
    assert child != parent
    assert parent_again == parent


_FORKS_WHILE_IT_IMPORTS = """
import os, signal, sys, threading, warnings
from importlib.machinery import PathFinder
from alura_async import Alura, AluraError, KeyWallet
from alura_async.core import imports
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of every fork beside threads
url, module, ends_in_time = sys.argv[1], sys.argv[2], sys.argv[3] == "ends in time"
reached, go_on = threading.Event(), threading.Event()

class Slow:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == module:
            spec = PathFinder.find_spec(name, path, target)
            fill = spec.loader.exec_module

            def fill_slowly(made):
                reached.set()
                go_on.wait(20)
                fill(made)

            spec.loader.exec_module = fill_slowly
            return spec

sys.meta_path.insert(0, Slow)
alura, wallet = Alura(base_url=url, token="t0ken"), KeyWallet("4c" * 32)

def call(who):
    try:
        said = alura.health.basic().status if module != "eth_hash.auto" else wallet.address[:2]
    except AluraError as error:
        said = f"{type(error).__name__} {error}"
    # In one piece, whatever Python buffers: parent and child write into one pipe.
    os.write(1, f"{who} {said}\\n".encode())

first = threading.Thread(target=call, args=("parent",))
first.start()
reached.wait()
if ends_in_time:
    # However slow the machine is.
    imports._FORK_S = 20
    threading.Timer(0.1, go_on.set).start()
else:
    imports._FORK_S = 0.05
child = os.fork()
if child == 0:
    signal.alarm(20)
    call("child")
    call("child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
go_on.set()
first.join()
call("parent")
alura.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("module", ["anyio._backends._asyncio", "alura_async.core.exchange", "eth_hash.auto"])
@pytest.mark.parametrize("when", ["ends in time", "takes too long"])
def test_a_fork_during_the_first_call_leaves_the_child_able_to_call_or_to_say_why_not(
    raw: RawServer, module: str, when: str
) -> None:
    process = run_script(_FORKS_WHILE_IT_IMPORTS, raw.url, module, when)
    output, errors = process.communicate(timeout=40)
    assert (process.returncode, errors) == (0, "")
    lines = output.splitlines()
    value = "0x" if module == "eth_hash.auto" else "ok"
    assert [line for line in lines if line.startswith("parent")] == [f"parent {value}"] * 2
    of_child = [line for line in lines if line.startswith("child")]
    if when == "ends in time":
        assert of_child == [f"child {value}"] * 2
    else:
        assert len(of_child) == 2
        assert all(
            "UsageError" in line and "make a call before you fork, or start a new process" in line for line in of_child
        )


def test_a_call_that_is_interrupted_in_one_thread_disturbs_no_other(raw: RawServer, alura: Alura) -> None:
    raw.routes["/slow"] = [hang]
    slow: Route[dict[str, object]] = Route("GET", "/slow", dict, access=Access.PUBLIC)
    with ThreadPoolExecutor(2) as threads:
        failing = threads.submit(alura.with_options(timeout=0.2).send, slow.request())
        for _ in range(20):
            assert alura.send(READ.request()) == {"status": "ok"}
        with pytest.raises(TimeoutError):
            failing.result()


def test_a_client_that_is_forgotten_and_collected_leaves_no_thread_and_no_connection(raw: RawServer) -> None:
    for _ in range(20):
        Alura(base_url=raw.url).health.basic()
    gc.collect()
    wait_until(lambda: raw.open_connections == 0)
    wait_until(lambda: "alura-async" not in [thread.name for thread in threading.enumerate()])


def test_closing_ends_the_calls_that_other_threads_wait_for(raw: RawServer) -> None:
    raw.routes["/slow"] = [hang]
    slow: Route[dict[str, object]] = Route("GET", "/slow", dict, access=Access.PUBLIC)
    alura = Alura(base_url=raw.url, token="t0ken")
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(alura.send, slow.request())
        watching = threads.submit(list, alura.trading_sessions.watch("s1", interval=30))
        raw.answers = [reply('[{"id":"s1"}]')]
        wait_until(lambda: len(raw.received) == 2)
        alura.close()
        for call in (waiting, watching):
            with pytest.raises((ClosedError, TransportError)):
                call.result()


def test_threads_share_a_stream_and_any_of_them_may_close_it(raw: RawServer, alura: Alura) -> None:
    session = '[{"id":"s1","realizedPnl":"%d"}]'
    raw.answers = [reply(session % number) for number in range(30)]
    updates = alura.trading_sessions.watch("s1", interval=0.005)
    with ThreadPoolExecutor(3) as threads:
        takers = [threads.submit(list, updates) for _ in range(3)]
        wait_until(lambda: len(raw.received) >= 30)
        updates.close()
        seen = [int(update.value.realized_pnl or 0) for taker in takers for update in taker.result()]
    assert sorted(seen) == list(range(30))
    assert list(updates) == []


_INTERRUPTED_WHILE_IT_CLOSES = """
import os, signal, sys, threading
from alura_async import Alura

def main():
    alura = Alura(base_url=sys.argv[1], token="t0ken", journal=sys.argv[3])
    alura.health.basic()
    order = threading.Thread(target=alura.user.close_all_positions, daemon=True)
    order.start()
    sys.stdin.readline()
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        alura.close()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    if sys.argv[2] == "closes again":
        alura.close()
        is_over = "alura-async" not in [thread.name for thread in threading.enumerate()]
        order.join()
        print("over", is_over, flush=True)

main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
@pytest.mark.parametrize("then", ["closes again", "ends"])
def test_an_order_is_seen_through_also_where_ctrl_c_interrupts_close(raw: RawServer, then: str, tmp_path: Path) -> None:
    journal = tmp_path / "orders.journal"
    answer = threading.Event()

    async def answer_late(request: Received, writer: asyncio.StreamWriter) -> bytes:
        await asyncio.to_thread(answer.wait, 20)
        return reply('{"status":"closed"}')

    raw.routes["/user/close-all-positions"] = [answer_late]
    process = run_script(_INTERRUPTED_WHILE_IT_CLOSES, raw.url, then, str(journal))
    assert process.stdin is not None
    assert process.stdout is not None
    wait_until(lambda: "POST /user/close-all-positions" in raw.paths())
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "interrupted\n"
    time.sleep(0.1)
    answer.set()
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert output == ("over True\n" if then == "closes again" else "")
    # Whoever called, in a thread that the end of a process does not wait for, may come to tell nothing of it.
    with Alura(base_url=raw.url, journal=journal) as alura:
        (entry,) = alura.journal.entries()
    assert (entry.outcome, entry.settled_by) == (Outcome.DONE, SettledBy.REPLY)


_INTERRUPTED_BETWEEN_TWO_AWAITS = """
import asyncio, os, signal, sys
from alura_async import AluraError, AsyncAlura

async def main():
    async with AsyncAlura(base_url=sys.argv[1], token="t0ken") as alura:
        await alura.health.basic()
        os.kill(os.getpid(), signal.SIGINT)  # asyncio cancels the main task: that is noted before the next call begins
        for _ in range(1000):
            pass
        try:
            await alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC")
        except AluraError as error:
            print("swallowed", error)

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
def test_ctrl_c_between_two_awaited_calls_ends_the_program_and_sends_nothing(raw: RawServer) -> None:
    process = run_script(_INTERRUPTED_BETWEEN_TWO_AWAITS, raw.url)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "interrupted\n", "")
    assert raw.paths() == ["GET /health"]


def test_a_thread_that_could_not_start_is_tried_again(raw: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    alura = Alura(base_url=raw.url)
    with monkeypatch.context() as broken:
        broken.setattr(threading.Thread, "start", _cannot_start)
        with pytest.raises(RuntimeError, match="new thread"):
            alura.health.basic()
    assert alura.health.basic().status == "ok"
    alura.close()


def _cannot_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_wallet_that_waits_for_a_button_does_not_hold_up_close(
    raw: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alura_async.core.loop_thread._CLEAN_UP_S", 0.1)
    pressed = threading.Event()

    class Hardware:
        address = "0x" + "a1" * 20

        async def sign_message(self, text: str, /) -> str:
            await asyncio.to_thread(pressed.wait)
            return "0x" + "5e" * 65

    raw.routes["/auth/evm/challenge"] = [
        reply('{"address":"0x%s","nonce":"nonce-1","message":"Sign in with nonce-1"}' % ("a1" * 20))
    ]
    alura = Alura(Hardware(), base_url=raw.url)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(alura.user.profile)
        wait_until(lambda: "POST /auth/evm/challenge" in raw.paths())
        started = time.monotonic()
        alura.close()
        assert time.monotonic() - started < 1.5
        with pytest.raises(AluraError):
            call.result(10)
        pressed.set()
