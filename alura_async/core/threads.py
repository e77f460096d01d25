"""Runs what blocks in a thread that nobody else uses.

asyncio's own pool of threads is the user's too: what must get out, and may have to sign in before, cannot wait until
his blocking work has left one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Call something that blocks. Whoever is cancelled leaves it behind; it keeps no process from ending.

    Args:
        work: what is called.
    """
    future: Future[T] = Future()
    # Cancelling it would change nothing: it runs.
    future.set_running_or_notify_cancel()
    context = copy_context()

    def run() -> None:
        try:
            result = context.run(work)
        except BaseException as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="alura-worker", daemon=True).start()
    return await asyncio.wrap_future(future)
