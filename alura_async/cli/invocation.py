"""How to call this command once more: the words that work here, whether it is installed or runs in a clone."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

_NAME = "alura"


def command_line(*args: str) -> str:
    """A command line of this command, to copy: `alura sandbox`, or `.venv/bin/python -m alura_async sandbox`."""
    return " ".join((program(), *map(quoted, args)))


def program() -> str:
    """What this command is called by."""
    script = sys.argv[0] if Path(sys.argv[0]).stem == _NAME else None
    found = shutil.which(_NAME)
    # Somebody else's command may have the same name.
    if found and (_same(found, script) or _same(os.path.dirname(found), sysconfig.get_path("scripts"))):
        return _NAME
    return quoted(script) if script else f"{quoted(_python())} -m alura_async"


def quoted(word: str) -> str:
    """A word as it has to be typed."""
    return subprocess.list2cmdline([word]) if os.name == "nt" else shlex.quote(word)


def _python() -> str:
    """This Python, as somebody here would write it."""
    full = sys.executable
    try:
        below = Path(full).relative_to(Path.cwd())
    except (ValueError, OSError):
        name = os.path.basename(full)
        return name if shutil.which(name) == full else full
    # A bare name would be looked for elsewhere.
    return str(below) if len(below.parts) > 1 else full


def _same(path: str, other: str | None) -> bool:
    try:
        return other is not None and os.path.samefile(path, other)
    except OSError:
        return False
