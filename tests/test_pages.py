"""Reading page after page stops by itself, and polling reads one after another, never two at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alura_async import BadRequestError, InvalidArgumentError, Observed, Outcome, Page, ShapeError
from alura_async.groups.observed import poll
from alura_async.groups.pages import pages

pytestmark = pytest.mark.anyio

# A test of something that should end must not run for ever where it does not.
MANY = 50
PATH = "/logs"


class Server:
    """Answers with the pages it was given; the last one stands for all that follow, or nothing does."""

    def __init__(self, *contents: Sequence[str], total: int | None = None, last_for_ever: bool = False) -> None:
        self.contents = contents
        self.total = total
        self.last_for_ever = last_for_ever
        self.page_0: Sequence[str] = contents[0]
        self.asked: list[int] = []

    async def read(self, number: int, following: Mapping[str, str] | None) -> Page[str]:
        self.asked.append(number)
        assert len(self.asked) < MANY, "this never ends"
        await asyncio.sleep(0)
        if number == 0:
            data = list(self.page_0)
        elif number <= len(self.contents):
            data = list(self.contents[number - 1])
        else:
            data = list(self.contents[-1]) if self.last_for_ever else []
        return Page(data=data, total=self.total)


async def read_all(server: Server) -> list[list[str]]:
    return [list(batch) async for batch in pages(server.read, lambda item: item, PATH)]


async def test_pages_are_read_from_1_one_after_another() -> None:
    server = Server("ab", "cd", "e")
    assert await read_all(server) == [["a", "b"], ["c", "d"], ["e"]]
    assert server.asked == [1, 2, 3, 4]


async def test_stops_at_the_total_that_a_page_names() -> None:
    server = Server("ab", "cd", "e", total=5)
    assert await read_all(server) == [["a", "b"], ["c", "d"], ["e"]]
    assert server.asked == [1, 2, 3]


async def test_one_page_that_is_all_is_read_once() -> None:
    server = Server("ab", total=2)
    assert await read_all(server) == [["a", "b"]]
    assert server.asked == [1]


async def test_stops_at_an_empty_page_and_says_what_is_missing() -> None:
    server = Server("ab", "", "cd", total=100)
    batches = pages(server.read, lambda item: item, PATH)
    assert list(await anext(batches)) == ["a", "b"]
    with pytest.raises(ShapeError, match=r"GET /logs: 2 of 100 items could be read") as raised:
        await anext(batches)
    assert (raised.value.path, raised.value.outcome) == (PATH, Outcome.DONE)
    # Some servers count from 0.
    assert server.asked == [1, 2, 0]


async def test_an_empty_list_is_no_batch_at_all() -> None:
    for total in (None, 0):
        server = Server("", total=total)
        assert await read_all(server) == []
        assert server.asked == [1]


async def test_stops_where_a_server_ignores_the_page_and_repeats_itself() -> None:
    server = Server("ab", last_for_ever=True)
    assert await read_all(server) == [["a", "b"]]
    assert server.asked == [1, 2]


async def test_stops_where_pages_go_round_in_a_circle() -> None:
    server = Server("ab", "cd", "ab", "cd", "ab", last_for_ever=True)
    assert await read_all(server) == [["a", "b"], ["c", "d"]]
    assert server.asked == [1, 2, 3]


async def test_an_item_that_moved_to_the_next_page_meanwhile_comes_once() -> None:
    """A new entry at the top pushes the rest down by one."""
    server = Server("dc", "cb", "a")
    assert await read_all(server) == [["d", "c"], ["b"], ["a"]]


async def test_an_item_twice_on_one_page_comes_once() -> None:
    assert await read_all(Server("aba", "cc")) == [["a", "b"], ["c"]]


async def test_a_total_counts_items_not_repetitions() -> None:
    server = Server("ab", "bc", "d", total=4)
    assert await read_all(server) == [["a", "b"], ["c"], ["d"]]
    assert server.asked == [1, 2, 3]


async def test_what_tells_items_apart_is_told() -> None:
    server = Server(["a1", "b1"], ["a2", "c1"])
    batches = [list(batch) async for batch in pages(server.read, lambda item: item[0], PATH)]
    assert batches == [["a1", "b1"], ["c1"]]


async def test_a_server_that_counts_its_pages_from_0_loses_none() -> None:
    server = Server("cd", "e", total=5)
    server.page_0 = "ab"
    assert await read_all(server) == [["c", "d"], ["e"], ["a", "b"]]
    assert server.asked == [1, 2, 3, 0]
    server = Server("", total=2)
    server.page_0 = "ab"
    assert await read_all(server) == [["a", "b"]]


async def test_a_server_that_ignores_the_page_has_told_that_there_is_more() -> None:
    with pytest.raises(ShapeError, match="2 of 5"):
        await read_all(Server("ab", last_for_ever=True, total=5))


async def test_a_server_without_a_page_0_says_so_and_that_is_told_as_the_cause() -> None:
    async def read(number: int, following: Mapping[str, str] | None) -> Page[str]:
        if number == 0:
            raise BadRequestError("page must not be less than 1")
        return Page(data=["a"] if number == 1 else [], total=2)

    batches = pages(read, lambda item: item, PATH)
    assert list(await anext(batches)) == ["a"]
    with pytest.raises(ShapeError, match="1 of 2") as raised:
        await anext(batches)
    assert isinstance(raised.value.__cause__, BadRequestError)


async def test_a_total_that_counts_something_else_stops_nothing() -> None:
    """Such as the pages; or -1, where it is not known."""
    for total in (-1, 1, 2):
        server = Server("abc", "def", "ghi", total=total)
        assert await read_all(server) == [["a", "b", "c"], ["d", "e", "f"], ["g", "h", "i"]]


async def test_what_was_added_or_taken_away_or_moved_meanwhile_is_not_missing() -> None:
    for answers in (
        [Page(data=["d", "c"], total=4), Page(data=["c", "b"], total=5), Page(data=["a"], total=5)],
        [Page(data=["d", "c"], total=4), Page(data=["a"], total=3)],
        # `c` moved up, and nobody saw it.
        [Page(data=["a", "b"], total=4), Page(data=["b", "d"], total=4)],
    ):
        told = Told(*answers, Page(data=[]))
        assert sum(map(len, await told.read_all())) >= 3
        assert told.asked[-1] != 0


class Told:
    """Answers with pages that say what comes next, whatever is asked for; the last one for ever."""

    def __init__(self, *answers: Page[str]) -> None:
        self.answers = answers
        self.asked: list[int | str] = []

    async def read(self, number: int, following: Mapping[str, str] | None) -> Page[str]:
        assert len(self.asked) < MANY, "this never ends"
        page = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(number if following is None else following["cursor"])
        return page

    async def read_all(self) -> list[list[str]]:
        return [list(batch) async for batch in pages(self.read, lambda item: item, PATH)]


def leading_to(cursor: str, *data: str, total: int | None = None) -> Page[str]:
    return Page(data=list(data), next={"cursor": cursor}, has_more=True, total=total)


async def test_a_page_that_brings_nothing_new_does_not_hide_those_that_follow() -> None:
    told = Told(leading_to("x", "a"), leading_to("y"), leading_to("z", "a"), Page(data=["b"], has_more=False))
    assert await told.read_all() == [["a"], ["b"]]
    assert told.asked == [1, "x", "y", "z"]
    told = Told(Page(data=["a"], has_more=True), Page(data=[], has_more=True), Page(data=["b"], has_more=False))
    assert await told.read_all() == [["a"], ["b"]]
    assert told.asked == [1, 2, 3]


async def test_pages_that_bring_nothing_new_for_ever_are_read_a_few_times() -> None:
    told = Told(Page(data=["a"], has_more=True))
    assert await told.read_all() == [["a"]]
    assert told.asked == [1, 2, 3, 4, 5, 6]
    told = Told(leading_to("x0", "a"), *(leading_to(f"x{number}") for number in range(1, MANY)))
    assert await told.read_all() == [["a"]]
    assert len(told.asked) == 6


async def test_a_query_is_followed_once_however_new_the_items_are() -> None:
    told = Told(*(leading_to("same", f"item {number}") for number in range(MANY)))
    assert await told.read_all() == [["item 0"], ["item 1"]]
    assert told.asked == [1, "same"]


async def test_where_a_page_names_no_next_one_and_a_larger_total_the_numbers_go_on() -> None:
    told = Told(Page(data=["a", "b"], total=4), Page(data=["c", "d"], total=4))
    assert await told.read_all() == [["a", "b"], ["c", "d"]]
    assert told.asked == [1, 2]


async def test_where_links_were_followed_the_end_is_where_there_is_none() -> None:
    told = Told(leading_to("x", "a"), Page(data=["b"]))
    assert await told.read_all() == [["a"], ["b"]]
    assert told.asked == [1, "x"]


async def test_no_page_is_read_before_its_predecessor_was_taken() -> None:
    server = Server("ab", "cd", "ef")
    async with aclosing(pages(server.read, lambda item: item, PATH)) as batches:
        assert list(await anext(batches)) == ["a", "b"]
        await asyncio.sleep(0.01)
        assert server.asked == [1]


async def test_a_failing_read_ends_the_iteration_with_its_error() -> None:
    async def read(number: int, following: Mapping[str, str] | None) -> Page[str]:
        if number == 2:
            raise OSError("page 2")
        return Page(data=["a"])

    batches = pages(read, lambda item: item, PATH)
    assert list(await anext(batches)) == ["a"]
    with pytest.raises(OSError, match="page 2"):
        await anext(batches)
    with pytest.raises(StopAsyncIteration):
        await anext(batches)


# Polling


class Source:
    """Something to read that takes its time, and notices two reads at once."""

    def __init__(self, takes: float = 0.0) -> None:
        self.takes = takes
        self.reads = 0
        self.reading = 0
        self.most_at_once = 0
        self.starts: list[float] = []

    async def read(self) -> int:
        self.starts.append(time.monotonic())
        self.reading += 1
        self.most_at_once = max(self.most_at_once, self.reading)
        try:
            await asyncio.sleep(self.takes)
            self.reads += 1
            return self.reads
        finally:
            self.reading -= 1

    def gaps(self) -> list[float]:
        """Seconds from start to start."""
        return [later - earlier for earlier, later in zip(self.starts, self.starts[1:], strict=False)]


async def take(
    count: int,
    read: Callable[[], Awaitable[Any]],
    interval: float,
    then: Callable[[], Awaitable[Any]] | None = None,
) -> list[Observed[Any]]:
    taken: list[Observed[Any]] = []
    stream: AsyncIterator[Observed[Any]]
    async with aclosing(poll(read, interval)) as stream:
        async for seen in stream:
            taken.append(seen)
            if len(taken) == count:
                break
            if then is not None:
                await then()
    return taken


async def test_polling_reads_again_and_again() -> None:
    source = Source()
    assert [seen.value for seen in await take(4, source.read, 0.001)] == [1, 2, 3, 4]
    assert source.reads == 4


async def test_reads_begin_an_interval_apart() -> None:
    source = Source(takes=0.05)
    await take(5, source.read, 0.06)
    assert all(gap >= 0.059 for gap in source.gaps()), source.gaps()
    # From start to start: the time that a read takes is not added.
    assert min(source.gaps()) < 0.1, source.gaps()


async def test_a_slow_server_makes_the_reads_rarer_and_never_two_at_once() -> None:
    source = Source(takes=0.02)
    await take(4, source.read, 0.001)
    assert source.most_at_once == 1
    assert all(gap >= 0.019 for gap in source.gaps()), source.gaps()


async def test_a_slow_reader_makes_the_reads_rarer_and_nothing_is_caught_up_on() -> None:
    source = Source()
    await take(4, source.read, 0.01, then=lambda: asyncio.sleep(0.03))
    assert source.most_at_once == 1
    assert all(gap >= 0.029 for gap in source.gaps()), source.gaps()
    assert source.reads == 4


async def test_the_first_read_does_not_wait() -> None:
    source = Source()
    started = time.monotonic()
    await take(1, source.read, 60)
    assert time.monotonic() - started < 1


async def test_polling_as_fast_as_it_can_lets_others_run() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def read() -> int:
        return 0

    task = asyncio.create_task(other())
    await take(20, read, 1e-9)
    task.cancel()
    assert turns >= 15


async def test_a_failing_read_ends_the_polling_with_its_error() -> None:
    async def read() -> int:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await take(1, read, 1)


async def test_stopping_while_it_waits_reads_no_more() -> None:
    source = Source()

    async def follow() -> None:
        async for _ in poll(source.read, 0.01):
            pass

    task = asyncio.create_task(follow())
    while not source.reads:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.03)
    assert source.reads == 1


@pytest.mark.parametrize("interval", [0, -1, float("nan")])
async def test_an_interval_is_above_0(interval: float) -> None:
    source = Source()
    with pytest.raises(InvalidArgumentError, match="interval"):
        await take(1, source.read, interval)
    assert source.reads == 0


async def test_an_observed_value_is_at_most_as_old_as_its_read() -> None:
    """The clock starts before the read is sent: what the server answers is not older."""
    before = datetime.now(UTC)
    (seen,) = await take(1, Source(takes=0.03).read, 1)
    assert before <= seen.read_at <= datetime.now(UTC) - timedelta(seconds=0.025)
    assert timedelta(seconds=0.029) <= seen.age < timedelta(seconds=5)
    first = seen.age
    await asyncio.sleep(0.01)
    assert seen.age >= first + timedelta(seconds=0.009)


async def test_another_value_seen_at_the_same_moment_is_as_old() -> None:
    (seen,) = await take(1, Source().read, 1)
    other = seen.replace("text")
    assert other.value == "text"
    assert other.read_at == seen.read_at
    assert abs(other.age - seen.age) < timedelta(seconds=1)
    assert other.replace(seen.value) == seen
