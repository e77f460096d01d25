"""`alura sandbox`: that what it prints works, and that it stops when told to."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from alura_async import Alura
from alura_async.cli.entry import run
from alura_async.cli.sandbox import _as_environment, _Lines
from alura_async.sandbox import PERSONALITIES
from alura_async.sandbox.faults import KINDS

from .process import COMMAND, ROOT, environment, python

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that a test could send")


class Running:
    """A sandbox in a process of its own, and what it has written so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        # Read by a thread of its own: a test must not wait for ever for a line that does not come.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def find(self, pattern: str, within_s: float = 20) -> re.Match[str]:
        """The first line that matches, as soon as there is one."""
        until = time.monotonic() + within_s
        while True:
            for line in list(self.lines):
                match = re.search(pattern, line)
                if match:
                    return match
            if time.monotonic() > until or self.process.poll() is not None:
                raise AssertionError(f"no line matches {pattern}: {self.lines}")
            time.sleep(0.02)

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(timeout=20)
        self._reader.join(timeout=20)
        return code


@contextmanager
def running(*args: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [*COMMAND, "sandbox", "--port", "0", *args],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    try:
        sandbox = Running(process)
        sandbox.find("Requests:")
        yield sandbox
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with running("--seed", "3") as sandbox:
        yield sandbox


class TestWhatItPrints:
    """All on one sandbox; what is asked of it does not disturb the others."""

    def test_the_line_for_curl_answers_with_candles(self, sandbox: Running) -> None:
        command, url = shlex.split(sandbox.find("^curl ").string)
        assert command == "curl"
        with urllib.request.urlopen(url, timeout=10) as reply:
            assert reply.read().count(b'"t":') == 3
        sandbox.find(r"^\d\d:\d\d:\d\d  200  +\d+\.\d ms  GET   /api/indicators/candles/BTC/1h\?limit=3$")

    def test_the_printed_key_signs_in(self, sandbox: Running) -> None:
        url = sandbox.find('^base_url = "(.*)"')[1]
        key = sandbox.find('^wallet = "(0x[0-9a-f]{64})"')[1]
        with Alura(key, base_url=url) as alura:
            assert alura.user.profile().balance == 10_000
        sandbox.find(r"  201  +\d+\.\d ms  POST  /auth/evm/verify$")

    def test_the_lines_of_python_run_as_they_stand(self, sandbox: Running) -> None:
        start = next(number for number, line in enumerate(sandbox.lines) if line.startswith("base_url = "))
        source = "\n".join(sandbox.lines[start : start + 4])
        done = python(source)
        assert done.stdout.startswith("Profile("), done.stderr

    @pytest.mark.skipif(sys.platform == "win32", reason="for the shells of other systems")
    def test_the_line_for_a_shell_sets_what_programs_read(self, sandbox: Running) -> None:
        line = sandbox.find("^export ALURA_BASE_URL=").string
        program = "from alura_async import Alura; print(Alura.from_env().user.profile().balance)"
        done = subprocess.run(
            ["sh", "-c", f"{line}; {shlex.join([sys.executable, '-c', program])}"],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.stdout == "10000\n", done.stderr

    def test_every_request_is_logged_once_and_in_order(self, sandbox: Running) -> None:
        url = sandbox.find('^base_url = "(.*)"')[1]
        for number in range(50):
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"{url}/numbered/{number}", timeout=10)
        sandbox.find("/numbered/49$")
        logged = [line.rpartition("/")[2] for line in sandbox.lines if "/numbered/" in line]
        assert logged == [str(number) for number in range(50)]

    def test_a_request_is_logged_without_what_a_terminal_would_act_on(self, sandbox: Running) -> None:
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(sandbox.find('^base_url = "(.*)"')[1] + "/nowhere?q=%1b[2J", timeout=10)
        sandbox.find(r"  404  .*  GET   /nowhere\?q=\\x1b\[2J$")

    def test_a_port_that_is_taken_is_one_clear_line(self, sandbox: Running, capsys: pytest.CaptureFixture[str]) -> None:
        port = sandbox.find(r'^base_url = "http://127.0.0.1:(\d+)"')[1]
        assert run(["sandbox", "--port", port]) == 1
        shown = capsys.readouterr()
        assert shown.err == (
            f"Error: port {port} of 127.0.0.1 is taken: choose another with --port, or 0 for a free one\n"
        )
        assert shown.out == ""


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_with_exit_code_0(number: signal.Signals) -> None:
    with running() as sandbox:
        assert sandbox.stop(number) == 0
        assert sandbox.lines[-1] == "stopped"
        assert not any("Traceback" in line for line in sandbox.lines)


@needs_signals
@needs_signals
def test_who_does_not_read_what_it_writes_holds_up_neither_a_reply_nor_the_stop() -> None:
    process = subprocess.Popen(
        [*COMMAND, "sandbox", "--port", "0"], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, encoding="utf-8"
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        # A pipe holds 64 KiB.
        for _ in range(600):
            # After a hundred it is 429, which is an answer too.
            with suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"{url}/health?x={'zq' * 80}", timeout=5).close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_lines_that_nobody_reads_in_time_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _Lines()
    for number in range(1005):
        lines.write(f"{number}")
    lines.start(lambda: None)
    assert lines.finish()
    written = capsys.readouterr().out.splitlines()
    assert written == [*map(str, range(1000)), "(5 lines are missing here: nobody read in time)"]


@needs_signals
def test_it_ends_when_its_reader_has_gone() -> None:
    process = subprocess.Popen(
        [*COMMAND, "sandbox", "--port", "0"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        url = process.stdout.readline().split()[-1]
        process.stdout.close()
        with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
            assert reply.status == 200
        assert process.wait(timeout=10) == 1
        assert "Traceback" not in process.stderr.read()


def test_of_a_host_that_others_can_reach_it_warns_and_prints_an_address_that_this_machine_can_call() -> None:
    with running("--host", "0.0.0.0") as sandbox:
        sandbox.find("^Warning: whoever can reach this machine")
        sandbox.find("and at every address of this machine")
        url = sandbox.find('^base_url = "(http://127.0.0.1:.*)"')[1]
        with urllib.request.urlopen(f"{url}/health", timeout=10) as reply:
            assert reply.status == 200


def test_an_address_of_another_machine_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    # From a block that is set aside for documentation, so no machine has it.
    assert run(["sandbox", "--host", "192.0.2.1", "--port", "8787"]) == 1
    assert "Error: cannot listen at port 8787 of 192.0.2.1" in capsys.readouterr().err


def test_windows_gets_the_line_of_its_own_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alura_async.cli.sandbox._IS_WINDOWS", True)
    assert _as_environment("http://127.0.0.1:1", "0x1") == (
        '$env:ALURA_BASE_URL = "http://127.0.0.1:1"; $env:ALURA_PRIVATE_KEY = "0x1"'
    )


def test_the_line_that_steers_it_moves_its_clock() -> None:
    with running("--start", "2024-05-01T00:00", "--speed", "0") as sandbox:
        command = shlex.split(sandbox.find(r"^curl -H ").string)
        assert command[:2] == ["curl", "-H"]
        name, _, value = command[2].partition(": ")
        asked = urllib.request.Request(command[5], command[4].encode(), {name: value})
        with urllib.request.urlopen(asked, timeout=10) as reply:
            assert reply.read() == b'{"now":"2024-05-01T01:00:00Z"}'


def test_shapes_faults_and_lag_are_those_of_the_options_and_a_fault_is_in_the_log() -> None:
    with running(
        "--shapes", "mongo", "--faults", "503 x1 on GET /health", "--faults", "delay=1ms", "--lag", "2s"
    ) as it:
        url = it.find('^base_url = "(.*)"')[1]
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{url}/health", timeout=10)
        with urllib.request.urlopen(f"{url}/health", timeout=10) as reply:
            assert b'"__v":0' in reply.read()
        it.find(r"  503  +\d+\.\d ms  GET   /health  fault: 503 \(not executed\)$")
        it.find(r"  200  +\d+\.\d ms  GET   /health  fault: delay=1ms \(executed\)$")
        with urllib.request.urlopen(f"{url}/_sandbox/conditions", timeout=10) as reply:
            assert b'"lag":"2s"' in reply.read()


def test_help_on_shapes_and_faults_names_all_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sandbox", "--shapes", "help", "--faults", "help"]) == 0
    shown = capsys.readouterr().out
    for name in (*PERSONALITIES, *(kind for kind in KINDS if kind != "status")):
        assert name in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--faults", "503; ham x2"), "alura: 'ham' is no fault."),
        (("--faults", "503 on POST /user/withdrow"), "the nearest are: POST /user/withdraw"),
        (("--shapes", "round"), "choose one of canonical"),
        (("--lag", "soon"), "lag='soon'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(
    options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sandbox", *options]) == 1
    assert words in capsys.readouterr().err


def test_a_mistake_in_faults_is_pointed_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sandbox", "--faults", "503; ham x2"]) == 1
    *_, line, pointer = capsys.readouterr().err.splitlines()
    assert line[pointer.index("^") : pointer.rindex("^") + 1] == "ham"
