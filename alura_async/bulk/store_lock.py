"""Whose turn it is to write into a store: one process at a time, and one writer in it."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.file_lock import try_lock, unlock
from ..core.text import printable
from ..errors import StoreError
from .manifest import FOLDER, Manifest, explained, shown

_NAME = "writer.lock"
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)

_held: set[int] = set()


class StoreLock:
    """The right to write into a store, until it is released or this process ends, however it ends.

    Args:
        store: the store's folder, which is there.

    Raises:
        StoreError: somebody else has it; the message says who.
    """

    def __init__(self, store: Path) -> None:
        # The file stays: taking it away would part those who look at it.
        path = store / FOLDER / _NAME
        with explained(path):
            path.parent.mkdir(exist_ok=True)
            fd = os.open(path, _FLAGS, 0o666)
            try:
                is_ours = try_lock(fd)
            except BaseException:
                os.close(fd)
                raise
        if not is_ours:
            os.close(fd)
            raise StoreError(f"{shown(store)}: {_who(store)} is writing into it: wait for that to end, or stop it")
        self._fd: int | None = fd
        _held.add(fd)

    def release(self) -> None:
        """Let others write."""
        fd, self._fd = self._fd, None
        # A forked child has closed it.
        if fd is not None and fd in _held:
            _held.discard(fd)
            try:
                unlock(fd)
            finally:
                os.close(fd)


def _who(store: Path) -> str:
    try:
        with Manifest.to_read(store) as manifest:
            writer = manifest.writer()
    except StoreError:
        writer = None
    if writer is None:
        return "another process"
    pid, host, since = writer
    whose = "this process" if pid == os.getpid() else f"process {pid} on {printable(host)}"
    return f"{whose}, since {since},"


def _after_fork_in_child() -> None:
    """A child that has the file open would keep the lock after its parent's end."""
    for fd in _held:
        os.close(fd)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
