"""Imports of what only a call needs, led so that a fork in the middle of one does not spoil the child.

A module that another thread is importing is half done in a forked child, for good: its import lock belongs to a thread
that the child does not have. So all of our late imports happen under one lock, and a fork waits for it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager

from ..errors import UsageError

# How long a fork waits for imports. They end by themselves, within a second or so on a machine that has time for them.
_FORK_S = 3.0

# Signal handlers run in the middle of anything, and what is imported may fork, so the same thread may come here twice.
_lock = threading.RLock()
_done: set[str] = set()
# By the thread that forks.
_held_by_fork: dict[int, bool] = {}
# Whether an import was under way in a thread that this process, a forked child, does not have.
_is_cut_off = False


@contextmanager
def importing(what: str) -> Generator[None, None, None]:
    """Import something in the `with` block, and have it do at once whatever it imports by itself later.

    Args:
        what: names what is imported. Once that is done, the block costs next to nothing.

    Raises:
        UsageError: this process was forked in the middle of an import, and what is half done stays so.
    """
    if what in _done:
        yield
        return
    if _is_cut_off:
        raise UsageError(
            f"{what} cannot be imported in this process, which was forked while another thread was importing: make a "
            "call before you fork, or start a new process instead, as multiprocessing's 'spawn' does"
        )
    with _lock:
        yield
        _done.add(what)


def _before_fork() -> None:
    _held_by_fork[threading.get_ident()] = _lock.acquire(timeout=_FORK_S)


def _after_fork_in_parent() -> None:
    if _held_by_fork.pop(threading.get_ident()):
        _lock.release()


def _after_fork_in_child() -> None:
    global _is_cut_off, _lock  # noqa: PLW0603 - there is one process
    _is_cut_off = _is_cut_off or not _held_by_fork[threading.get_ident()]
    _held_by_fork.clear()
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
