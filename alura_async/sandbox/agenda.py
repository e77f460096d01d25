"""What will happen at a certain time: in the order of the times, and of two at the same time the first planned."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

# Cancelled appointments are swept out when they are more than these and more than half.
_CANCELLED = 64


class Appointment:
    """Something that will happen, unless it is cancelled.

    Attributes:
        at_ms: when, in epoch milliseconds of the sandbox's clock.
        happen: makes it happen; it is given the time. None once it is cancelled.
    """

    __slots__ = ("at_ms", "happen")

    def __init__(self, at_ms: int, happen: Callable[[int], None]) -> None:
        self.at_ms = at_ms
        self.happen: Callable[[int], None] | None = happen


class Agenda:
    """The appointments that are still to come."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Appointment]] = []
        self._made = 0
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def plan(self, at_ms: int, happen: Callable[[int], None]) -> Appointment:
        """Plan that something happens."""
        self._made += 1
        appointment = Appointment(at_ms, happen)
        heappush(self._heap, (at_ms, self._made, appointment))
        return appointment

    def cancel(self, appointment: Appointment | None) -> None:
        """Let something not happen. None and what has happened are fine."""
        if appointment is None or appointment.happen is None:
            return
        appointment.happen = None
        self._cancelled += 1
        # A plan for next year must not keep alive what it was for.
        if self._cancelled > _CANCELLED and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].happen is not None]
            heapify(self._heap)
            self._cancelled = 0

    def next_ms(self) -> int | None:
        """When the next thing happens, or None if there is nothing."""
        while self._heap and self._heap[0][2].happen is None:
            heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0][0] if self._heap else None

    def happen(self, until_ms: int) -> bool:
        """Let the next thing happen if it is due by then; tell whether there was one."""
        due_ms = self.next_ms()
        if due_ms is None or due_ms > until_ms:
            return False
        appointment = heappop(self._heap)[2]
        happen, appointment.happen = appointment.happen, None
        assert happen is not None
        happen(due_ms)
        return True
