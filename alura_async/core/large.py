"""What large replies say, read without holding up the event loop: orders go out from it, too.

Replies with candles by the thousand come many at once, and reading one takes between a tenth of a millisecond and a
tenth of a second. So each turn of the loop reads only some of them, and in between it does what else there is to do.
What has no shape that is known, or is very large, is read in a thread. That is no faster, but the interpreter lets the
loop go on every 5 ms; and it is done for one reply at a time, for each thread would make the loop wait as long again.

But nothing interrupts a single call of msgspec, which takes 4 to 20 ms for each megabyte, in a thread as well: replies
of 13 to 30 MB hold up the loop for 0.1 to 0.2 s at a time.

Nor is there a limit to the replies that wait in memory until they are read. A call gives its place in the lane back as
soon as its reply is there, for otherwise one that takes long to read would keep others from being sent. So whoever
makes many calls with large replies at once limits their number himself, as a pull does.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar, cast

from .outcome import Reply, conclude, conclude_known, conclude_unknown
from .request import Effect, Lane
from .threads import in_thread

T = TypeVar("T")

# Bytes of a body. What is smaller takes less than a millisecond, whatever its shape.
_LARGE = 4 << 10
# What is smaller is read at once if its shape is known: to ask for a turn would cost as much as it saves.
_TAKES_A_TURN = 16 << 10
# What is smaller is read in the loop, whatever its shape: a thread to share the interpreter with holds it up longer.
_LONG = 32 << 10
# What is larger takes several milliseconds even if its shape is known, and tens of them if it is dense, or one row at
# its end is another.
_VERY_LONG = 512 << 10
# So much is read in one turn of the loop, and what passes this limit: in a millisecond or two where it is as usual.
_EACH_TURN = 128 << 10


def is_large(reply: Reply[T]) -> bool:
    """Whether a reply takes its turn.

    Those with market data do. What was done for money is known as soon as the reply is there, and nobody who reads his
    positions waits until candles have been read.
    """
    if len(reply.body) < _LARGE:
        return False
    route = reply.request.route
    return route.lane is Lane.MARKET and route.effect is Effect.READ


class LargeReplies:
    """The large replies that come to one event loop."""

    def __init__(self) -> None:
        self._room = _EACH_TURN
        self._is_turning = False
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._next_in_thread = asyncio.Lock()
        self._in_thread = threading.Lock()

    async def conclude(self, reply: Reply[T]) -> T:
        """Turn a complete reply into its value, as `outcome.conclude` does.

        Raises:
            CallError: the reply is not a success, or of no known shape.
        """
        size = len(reply.body)
        if size > _VERY_LONG:
            return await self._apart(conclude, reply)
        if size >= _TAKES_A_TURN:
            await self._turn(size)
        known = conclude_known(reply)
        if known is not None:
            return known[0]
        if size >= _LONG:
            return await self._apart(conclude_unknown, reply)
        await self._turn(_EACH_TURN)
        return conclude_unknown(reply)

    async def _apart(self, conclude: Callable[[Reply[T]], T], reply: Reply[T]) -> T:
        """Conclude in a thread."""
        wanted: Reply[T] | None = reply

        def read() -> T | None:
            # Whoever is cancelled leaves his thread behind, and the next one is not to run beside it.
            with self._in_thread:
                # One that waits for another has nothing to do if nobody waits for it any more.
                still_wanted = wanted
                return None if still_wanted is None else conclude(still_wanted)

        async with self._next_in_thread:
            try:
                return cast("T", await in_thread(read))
            finally:
                wanted = None

    async def _turn(self, size: int) -> None:
        """Wait for a turn of the loop that has room for so many bytes."""
        if self._room > 0 and not self._waiting:
            self._take(size)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, size))
        await turn

    def _take(self, size: int) -> None:
        self._room -= size
        if not self._is_turning:
            self._is_turning = True
            asyncio.get_running_loop().call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        self._room = _EACH_TURN
        self._is_turning = False
        while self._waiting and self._room > 0:
            turn, size = self._waiting.popleft()
            if not turn.done():
                # It is read in the next turn of the loop, and the one after it in the one after that.
                self._take(size)
                turn.set_result(None)
