"""Large replies: what they say, and what goes on while they are read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, ClassVar

import msgspec
import pytest

from alura_async import (
    Access,
    AsyncAlura,
    CallTimeoutError,
    Candle,
    ClosedError,
    Items,
    Lane,
    NotFoundError,
    RateLimiter,
    Reply,
    Retry,
    Route,
    ShapeError,
)
from alura_async.bulk import Candles
from alura_async.core.large import LargeReplies
from alura_async.core.model import Model
from tests.raw_server import RawServer, hang, reply

pytestmark = pytest.mark.anyio

T0 = 1_700_000_040_000
# A test that waits so long has failed.
LIMIT_S = 5.0


class Slow(Model, frozen=True, kw_only=True):
    """What cannot be read before the test says so: in the loop's own thread, it never could."""

    number: int
    padding: str = ""

    go_on: ClassVar[threading.Event] = threading.Event()
    begun: ClassVar[list[int]] = []
    under_way: ClassVar[int] = 0
    most_at_once: ClassVar[int] = 0

    def __post_init__(self) -> None:
        cls = Slow
        cls.begun.append(self.number)
        cls.under_way += 1
        cls.most_at_once = max(cls.most_at_once, cls.under_way)
        assert cls.go_on.wait(LIMIT_S), "nothing else went on meanwhile"
        cls.under_way -= 1


@pytest.fixture(autouse=True)
async def nothing_is_slow_before_and_after() -> AsyncGenerator[None]:
    Slow.go_on, Slow.begun, Slow.under_way, Slow.most_at_once = threading.Event(), [], 0, 0
    yield
    Slow.go_on.set()
    await until(lambda: Slow.under_way == 0)


SLOW = Route("GET", "/slow", list[Slow], access=Access.PUBLIC, lane=Lane.MARKET)
SLOW_OF_AN_ACCOUNT = Route("GET", "/account", list[Candle], access=Access.PUBLIC, lane=Lane.ACCOUNT)


def slow(number: int) -> bytes:
    """A reply in a wrapper, so that it is not exactly of the expected shape."""
    return reply(msgspec.json.encode({"data": [{"number": number, "padding": "x" * 40_000}]}))


def rows(count: int, *, odd: int | None = None) -> list[dict[str, Any]]:
    """Candles as Hyperliquid writes them; of the odd one the number of trades is not told."""
    found: list[dict[str, Any]] = []
    for place in range(count):
        prices = {"o": f"{place}.5", "c": f"{place}.25", "h": f"{place}.75", "l": f"{place}.125", "v": "1.5"}
        row = {"t": T0 + 60_000 * place, "T": T0 + 60_000 * place + 59_999, "s": "BTC", "i": "1m", **prices, "n": 3}
        if place == odd:
            del row["n"]
        found.append(row)
    return found


@pytest.fixture
async def server() -> AsyncGenerator[RawServer]:
    async with RawServer() as server:
        yield server


@pytest.fixture
async def alura(server: RawServer) -> AsyncGenerator[AsyncAlura]:
    async with AsyncAlura(base_url=server.url, limiter=RateLimiter.unlimited()) as alura:
        yield alura


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(LIMIT_S):
        while not is_so():
            await asyncio.sleep(0.001)


async def test_the_loop_goes_on_while_a_large_reply_of_a_new_shape_is_read(
    server: RawServer, alura: AsyncAlura
) -> None:
    server.answers = [slow(1)]
    call = asyncio.create_task(alura.send(SLOW.request()))
    await until(lambda: Slow.begun == [1])
    Slow.go_on.set()
    assert [item.number for item in await call] == [1]


async def test_of_large_replies_of_new_shapes_one_is_read_at_a_time(server: RawServer, alura: AsyncAlura) -> None:
    server.answers = [slow(number) for number in range(5)]
    calls = [asyncio.create_task(alura.send(SLOW.request())) for _ in range(5)]
    await until(lambda: len(server.received) == 5 and len(Slow.begun) == 1)
    Slow.go_on.set()
    found = await asyncio.gather(*calls)
    assert sorted(items[0].number for items in found) == [0, 1, 2, 3, 4]
    assert Slow.most_at_once == 1


async def test_one_that_was_cancelled_while_it_was_read_lets_the_next_one_go_on(
    server: RawServer, alura: AsyncAlura
) -> None:
    server.answers = [slow(1), slow(2), slow(3)]
    first = asyncio.create_task(alura.send(SLOW.request()))
    await until(lambda: Slow.begun == [1])
    others = [asyncio.create_task(alura.send(SLOW.request())) for _ in range(2)]
    await until(lambda: len(server.received) == 3)
    for call in (first, others[0]):
        call.cancel()
    await asyncio.wait([first, others[0]])
    assert first.cancelled()
    assert others[0].cancelled()
    Slow.go_on.set()
    assert len(await others[1]) == 1
    assert Slow.most_at_once == 1


async def test_one_that_was_cancelled_before_the_thread_was_free_is_not_read(
    server: RawServer, alura: AsyncAlura
) -> None:
    server.answers = [slow(1), slow(2), slow(3)]
    others = {*threading.enumerate()}
    calls: list[asyncio.Task[list[Slow]]] = []
    for count in (1, 2, 3):
        calls.append(asyncio.create_task(alura.send(SLOW.request())))
        await until(lambda count=count: len({*threading.enumerate()} - others) == count)  # type: ignore[misc]
        if count < 3:
            calls[-1].cancel()
            await asyncio.wait(calls[-1:])
    Slow.go_on.set()
    assert [item.number for item in await calls[-1]] == [3]
    assert Slow.begun == [1, 3]


async def test_a_call_ends_when_its_time_is_up_though_its_reply_is_still_read(
    server: RawServer, alura: AsyncAlura
) -> None:
    server.answers = [slow(1)]
    with pytest.raises(CallTimeoutError, match=r"the reply came, 40,\d+ bytes, .* give the call a longer") as raised:
        await alura.with_options(timeout=0.2).send(SLOW.request())
    assert raised.value.status == 200
    assert Slow.under_way == 1


async def test_a_call_whose_reply_is_still_read_when_the_client_is_closed_says_that_it_was(
    server: RawServer, alura: AsyncAlura
) -> None:
    server.answers = [slow(1)]
    call = asyncio.create_task(alura.send(SLOW.request()))
    await until(lambda: Slow.begun == [1])
    await alura.close()
    with pytest.raises(ClosedError):
        await call


async def test_what_is_said_of_a_reply_that_was_read_is_not_said_of_the_next_one(
    server: RawServer, alura: AsyncAlura
) -> None:
    server.answers = [reply(BODIES["cut short"]), hang]
    with pytest.raises(CallTimeoutError, match="no complete reply in time") as raised:
        await alura.with_options(timeout=0.5, retry=Retry(base=0)).indicators.candles("BTC", "1m")
    assert raised.value.attempts == 2


async def test_what_is_read_of_an_account_does_not_wait_for_market_data(server: RawServer, alura: AsyncAlura) -> None:
    server.routes = {
        "/slow": [slow(1)],
        "/account": [reply(msgspec.json.encode({"data": rows(100)}))],
    }
    call = asyncio.create_task(alura.send(SLOW.request()))
    await until(lambda: Slow.begun == [1])
    read = await alura.send(SLOW_OF_AN_ACCOUNT.request())
    assert len(read) == 100
    assert not call.done()
    Slow.go_on.set()
    await call


# In one turn of the loop


def large(count: int = 2_000, *, odd: int | None = None) -> Reply[Any]:
    """A reply of exactly the expected shape, 130 bytes a row; with an odd row, of one that has to be looked into."""
    route = Route("GET", "/api/indicators/candles/:symbol/:interval", Items[Candle], lane=Lane.MARKET)
    body = msgspec.json.encode(rows(count) if odd is None else {"data": rows(count, odd=odd)})
    return Reply(route.request("BTC", "1m"), 200, {}, body)


async def turns_of(calls: list[Awaitable[object]]) -> list[int]:
    """In which turn of the loop each of these ends that begin at once."""
    turn = 0
    ended: list[int] = []

    def begin() -> None:
        nonlocal turn
        turn += 1
        ticking.append(loop.call_soon(begin))

    async def note(call: Awaitable[object]) -> None:
        await call
        ended.append(turn)

    loop = asyncio.get_running_loop()
    ticking = [loop.call_soon(begin)]
    await asyncio.gather(*map(note, calls))
    ticking[-1].cancel()
    return ended


async def test_replies_of_a_known_shape_that_come_at_once_are_read_one_a_turn_where_they_are_large() -> None:
    found, replies = large(), LargeReplies()
    ended = await turns_of([replies.conclude(found) for _ in range(8)])
    assert len(set(ended)) == 8


async def test_small_ones_are_read_several_a_turn() -> None:
    found, replies = large(300), LargeReplies()
    ended = await turns_of([replies.conclude(found) for _ in range(16)])
    assert 2 <= max(ended.count(turn) for turn in ended) <= 4


async def test_short_ones_of_an_unknown_shape_have_a_turn_of_the_loop_each() -> None:
    found, replies = large(100, odd=0), LargeReplies()
    ended = await turns_of([replies.conclude(found) for _ in range(8)])
    assert len(set(ended)) == 8


async def test_a_turn_is_not_lost_with_one_that_was_cancelled() -> None:
    found, replies = large(), LargeReplies()
    calls = [asyncio.create_task(replies.conclude(found)) for _ in range(8)]
    await asyncio.sleep(0)
    for call in calls[1::2]:
        call.cancel()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.wait(calls)
        assert len(await replies.conclude(found)) == 2_000
    assert [call.cancelled() for call in calls] == [False, True] * 4


# What they say


BODIES: dict[str, bytes] = {
    "as expected": msgspec.json.encode(rows(500)),
    "wrapped": msgspec.json.encode({"success": True, "data": rows(500)}),
    "with an odd row": msgspec.json.encode({"data": rows(500, odd=77)}),
    "short, with an odd row": msgspec.json.encode({"data": rows(60, odd=7)}),
    "columns": msgspec.json.encode({name: [row[name] for row in rows(500)] for name in "tohlcv"}),
    "very large": msgspec.json.encode({"data": rows(9_000)}),
    "cut short": msgspec.json.encode(rows(500))[:-1],
    "no candles": msgspec.json.encode({"colours": ["red"] * 2_000}),
    "a refusal": msgspec.json.encode({"success": False, "message": "no " * 2_000}),
    "a web page": b"<html>" + b" " * 8_000,
    "half a row": msgspec.json.encode([*rows(100), {"t": 1}]),
}


def said(answer: object) -> object:
    """What a call gave: a value, or the words of an error."""
    if isinstance(answer, Candles):
        return answer
    if isinstance(answer, Items):
        return [msgspec.structs.astuple(candle) for candle in answer], answer.extra, answer.is_complete
    return type(answer), str(answer)


@pytest.mark.parametrize("returns", [Candles, Items[Candle]])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_large_reply_says_what_it_says_when_it_is_decoded_alone(
    returns: Any, body: bytes, server: RawServer, alura: AsyncAlura
) -> None:
    server.answers = [reply(body)]
    template = "/api/indicators/candles/:symbol/:interval"
    alone = Route("GET", template, returns, access=Access.PUBLIC)
    route = Route("GET", template, returns, access=Access.PUBLIC, lane=Lane.MARKET)
    once = alura.with_options(retry=Retry(attempts=1))
    expected: Any = None
    for _ in range(3):
        received = await once.send_raw(route.request("BTC", "1m"))
        try:
            expected = Reply(alone.request("BTC", "1m"), received.status, received.headers, received.body).decode()
        except Exception as error:
            expected = error
        try:
            found: Any = await once.send(route.request("BTC", "1m"))
        except Exception as error:
            found = error
        assert said(found) == said(expected)


async def test_a_large_reply_that_is_no_success_is_the_error_that_it_says(server: RawServer, alura: AsyncAlura) -> None:
    server.answers = [reply(msgspec.json.encode({"message": "no such symbol " * 1_000}), "404 Not Found")]
    with pytest.raises(NotFoundError, match="no such symbol"):
        await alura.indicators.candles("BTC", "1m")


async def test_a_large_reply_of_no_known_shape_is_an_error_that_has_its_bytes(
    server: RawServer, alura: AsyncAlura
) -> None:
    body = BODIES["no candles"]
    server.answers = [reply(body)]
    with pytest.raises(ShapeError) as raised:
        await alura.indicators.candles("BTC", "1m")
    assert raised.value.raw == body
