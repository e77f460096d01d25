"""Sets of whole numbers as sorted lists of [start, end): what is covered of a series, and what is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

Range: TypeAlias = tuple[int, int]
"""[start, end), in epoch milliseconds."""


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same set in as few ranges as possible."""
    result: list[Range] = []
    for start, end in sorted(ranges):
        if start >= end:
            continue
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def within(ranges: Iterable[Range], start: int, end: int) -> list[Range]:
    """What is in [start, end) as well, of sorted ranges that do not overlap."""
    cut = ((max(first, start), min(last, end)) for first, last in ranges)
    return [(first, last) for first, last in cut if first < last]


def without(ranges: Iterable[Range], taken: Iterable[Range]) -> list[Range]:
    """What is left of sorted ranges that do not overlap without others like them."""
    holes = [*taken]
    result: list[Range] = []
    # The first of them that is not over yet: both lists are gone through once.
    place = 0
    for start, end in ranges:
        while place < len(holes) and holes[place][0] < end:
            first, last = holes[place]
            if start < first:
                result.append((start, first))
            start = max(start, last)  # noqa: PLW2901 - what comes before is dealt with
            if last > end:
                # It may reach into the next range.
                break
            place += 1
        if start < end:
            result.append((start, end))
    return result


def without_end(ranges: Sequence[Range], length: int) -> list[Range]:
    """What is left of sorted ranges without what is less than a length before the end of the last one."""
    return within(ranges, ranges[0][0], ranges[-1][1] - length) if ranges else []
