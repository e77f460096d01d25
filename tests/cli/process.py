"""Runs the command as users do: in a process of its own, piped or in a terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "alura_async"]
# The same, but its clients neither pace their calls nor pause before they repeat one.
_WITHOUT_WAITS = """
import runpy
from alura_async import no_waits
with no_waits():
    runpy.run_module("alura_async", run_name="__main__", alter_sys=True)
"""
HURRIED = [sys.executable, "-c", _WITHOUT_WAITS]

needs_pty = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a pseudo-terminal")

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SECRETS = (
    ("a JWT", re.compile(r"eyJ[\w-]{5,}\.")),
    ("a key or a signature", re.compile(r"[0-9a-fA-F]{64,}")),
)


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, without what would decide about colours."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "TERM": "xterm-256color", **changes}


def alura(*args: str, command: Sequence[str] = COMMAND, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command line with pipes, to its end."""
    return subprocess.run(
        [*command, *args],
        cwd=ROOT,
        env=environment(**changes),
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


def python(source: str) -> subprocess.CompletedProcess[str]:
    """Run some Python in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", source],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


def in_terminal(
    *args: str, columns: int, stop_at: str | None = None, command: Sequence[str] = HURRIED
) -> tuple[str, int]:
    """Run a command line in a pseudo-terminal; press Ctrl-C when it has shown some text."""
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*command, *args], cwd=ROOT, env=environment(), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    try:
        shown = _read(master, lambda so_far: _stop(process, so_far, stop_at))
        return shown, process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def without_escapes(text: str) -> str:
    """What a terminal was sent, without the sequences that it acts on."""
    return _ESCAPES.sub("", text)


def secrets_in(text: str, *known: str) -> list[str]:
    """What a text shows that it must not."""
    found = [name for name, pattern in _SECRETS if pattern.search(text)]
    return found + ["a known secret" for secret in known if secret.removeprefix("0x") in text]


def _stop(process: subprocess.Popen[bytes], so_far: bytes, at: str | None) -> bool:
    if at is None or at.encode() not in so_far:
        return False
    process.send_signal(signal.SIGINT)
    return True


def _read(terminal: int, stop: Callable[[bytes], bool]) -> str:
    """Everything that is written to a terminal until nobody has it open any more."""
    written = bytearray()
    stopped = False
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            # Linux says so when the other side is closed.
            chunk = b""
        if not chunk:
            return written.decode("utf-8", "replace")
        written += chunk
        stopped = stopped or stop(bytes(written))
