"""Batches of a source that is opened by whoever takes the first: an async iterator that may be closed at any moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, Self, TypeVar

T = TypeVar("T")


class Source(Protocol[T]):
    """Where batches come from."""

    async def take(self) -> list[T] | None:
        """The next batch; None at the end, and once it is closed."""
        ...

    async def close(self) -> None:
        """End what is under way."""
        ...


class Batches(Generic[T]):
    """What a stream is made of. An event loop that ends closes all generators at once, one within the other; of those
    that are nested one is always being closed already. This is no generator.

    Args:
        open_source: opens the source.
    """

    def __init__(self, open_source: Callable[[], Awaitable[Source[T]]]) -> None:
        self._open = open_source
        self._source: Source[T] | None = None
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[T]:
        batch: list[T] | None = None
        try:
            if not self._is_closed and self._source is None:
                self._source = await self._open()
            source = self._source
            if source is not None and not self._is_closed:
                batch = await source.take()
        finally:
            if batch is None:
                await self.aclose()
        if batch is None:
            raise StopAsyncIteration
        return batch

    async def aclose(self) -> None:
        """Stop. Whoever waits for a batch is at the end."""
        self._is_closed = True
        source, self._source = self._source, None
        if source is not None:
            await source.close()
