"""Ends the command quietly at Ctrl-C while the package is still being imported, before a line of the command is run.

`python -m alura_async` and the installed script import the package first, so that nothing of the command can catch what
is raised meanwhile. For whoever else imports it, this does nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the signal's number."""

_PACKAGE = __name__.partition(".")[0]
_COMMAND = f"{_PACKAGE}.cli"


def is_over() -> None:
    """Ctrl-C raises again: the command catches it from here on."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: FrameType | None) -> None:
    # Nothing has been begun yet that would have to be ended.
    os._exit(INTERRUPTED)


def _is_of_the_command() -> bool:
    """Whether this import is the beginning of the command, so that its module follows at once."""
    if sys.argv[:1] == ["-m"]:
        # Python has this for a name until it has found the module that it is to run.
        return sys.orig_argv[-len(sys.argv)] in (_PACKAGE, f"-m{_PACKAGE}")
    frame: FrameType | None = sys._getframe()
    is_for_command = False
    while frame is not None:
        # A package is imported within the import of its module.
        if frame.f_code.co_name == "_find_and_load":
            is_for_command = is_for_command or frame.f_locals.get("name") == _COMMAND
        elif is_for_command and "importlib" not in frame.f_code.co_filename:
            return frame.f_globals.get("__name__") == "__main__"
        frame = frame.f_back
    return False


# Where Ctrl-C is not to be heard at all, or is heard otherwise, it stays so.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler and _is_of_the_command():
    signal.signal(signal.SIGINT, _end)
