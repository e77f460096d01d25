"""Runs the command as users do: in a process of its own, piped or in a terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "alura_async"]

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SECRETS = (
    ("a JWT", re.compile(r"eyJ[\w-]{5,}\.")),
    ("a key or a signature", re.compile(r"[0-9a-fA-F]{64,}")),
)


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, without what would decide about colours."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "TERM": "xterm-256color", **changes}


def alura(*args: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command line with pipes, to its end."""
    return subprocess.run(
        [*COMMAND, *args],
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


def without_escapes(text: str) -> str:
    """What a terminal was sent, without the sequences that it acts on."""
    return _ESCAPES.sub("", text)


def secrets_in(text: str, *known: str) -> list[str]:
    """What a text shows that it must not."""
    found = [name for name, pattern in _SECRETS if pattern.search(text)]
    return found + ["a known secret" for secret in known if secret.removeprefix("0x") in text]
