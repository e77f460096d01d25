"""Ends the command quietly at Ctrl-C while the package is being imported, before a line of the command is run.

`python -m alura_async` and the installed script import the package first, so that nothing of the command can catch what
is raised meanwhile. For whoever else imports it, this does nothing, and it ends with the package's import.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the signal's number."""

_PACKAGE = __name__.partition(".")[0]
_SCRIPT = "alura"


def is_over() -> None:
    """Ctrl-C raises again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: FrameType | None) -> None:
    # Nothing has been begun yet that would have to be ended.
    os._exit(INTERRUPTED)


def _is_the_command() -> bool:
    """Whether this process is the command."""
    if sys.argv[:1] == ["-m"]:
        # Python has this for a name until it has found the module that it is to run.
        return sys.orig_argv[-len(sys.argv)] in (_PACKAGE, f"-m{_PACKAGE}")
    return os.path.basename(sys.argv[0] if sys.argv else "").removesuffix(".exe") == _SCRIPT


# Where Ctrl-C is not to be heard at all, or is heard otherwise, it stays so. Threads may not touch it.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    and _is_the_command()
):
    signal.signal(signal.SIGINT, _end)
