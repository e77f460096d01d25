"""A lock on an open file, which keeps other processes and threads out, and which the system lets go of when we die.

The same on all systems: at once, or not. It is by open file, so the same process has to wait for itself, too.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


if sys.platform == "win32":

    def try_lock(fd: int) -> bool:
        """Take the lock of an open file at its beginning, if nobody has it."""
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(fd: int) -> None:
        """Let go of it. By name, not only by closing: a child that was forked in the meantime has it open as well."""
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:

    def try_lock(fd: int) -> bool:
        """Take the lock of an open file, if nobody has it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(fd: int) -> None:
        """Let go of it. By name, not only by closing: a child that was forked in the meantime has it open as well."""
        fcntl.flock(fd, fcntl.LOCK_UN)
