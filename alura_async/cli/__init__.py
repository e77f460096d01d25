"""The `alura` command: its way in, which needs nothing but the standard library, and says what the rest needs."""

from __future__ import annotations

import signal
import sys
from importlib import import_module

from .._start import INTERRUPTED

_NEEDS = ("click", "rich")


def main() -> None:
    """Run the `alura` command with this process's arguments, and end the process."""
    try:
        code = _run()
    except KeyboardInterrupt:
        # While it was imported, or at its very end; in between, the command itself says so.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = INTERRUPTED
    sys.exit(code)


def _run() -> int:
    try:
        for library in _NEEDS:
            import_module(library)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDS:
            raise
        sys.stderr.write(
            "the alura command needs the extra \"cli\": in a clone of the project, pip install '.[cli,sandbox]'\n"
        )
        return 2
    from .entry import run

    return run()
