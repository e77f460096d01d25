"""Pulls candles of any number of series: a fixed set of workers, and pages in the order in which they are complete.

    ranges → one window at a time → a question → the road → a reply → what it proves: a page; the rest, asked again

`habits.py` says how a window is asked for and what a reply proves. Here is what goes on at once, and what becomes of
failures. Nobody asks before there is room for the answer, and what waits to be asked is kept as ranges, so memory stays
the same whatever the size of a pull.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from ..core.messages import LONGEST_HOLD_S
from ..core.retry import Retry
from ..core.road import Road
from ..errors import (
    AluraError,
    BadRequestError,
    CallError,
    ClosedError,
    CredentialsNeededError,
    NotFoundError,
    NotSentError,
    RateLimitedError,
    RefusedError,
    ResponseError,
    ServerError,
    ShapeError,
    SignInError,
    TransportError,
    UnauthorizedError,
    UnprocessableError,
    UsageError,
)
from .asking import answered, other_unit, unreadable
from .batches import Batches
from .columns import Candles
from .extra import needing
from .failures import PATIENCE_S, Failures, GivenUp, Next, halves
from .habits import Habits, Question, Stretch, Verdict
from .pages import CandlePage
from .plan import Window, parts, span_ms
from .query import CandlePath, CandleQuery
from .telling import Listener, Telling

with needing("numpy"):
    import numpy as np

if TYPE_CHECKING:
    from ..client import AsyncAlura

# Pages that wait to be taken, for each worker.
_READY_EACH = 2
# Seconds for which a symbol waits to be told where it ends: it goes without, too.
_HINT_S = 5.0
# Of so many symbols the page is looked for, where the first have no candles.
_MOST_PROBED = 5
# A part of a range that a worker has to itself is so many replies long at least.
_LEAST_PAGES = 8
# With more workers than this, the loop is busy with them and not with replies.
_MOST_WORKERS = 32
# Waiting for its turn counts as part of a call's time: so much of it may be spent so.
_WAITING_SHARE = 0.25
# While no page comes, it is told that often how far it is.
_TELL_EVERY_S = 3.0
# Refusals that may be another answer next time.
_PASSING = frozenset({408, 409, 425, 429})
# The status of a server that stumbles over what it is asked.
_STUMBLED = 500
# So much earlier than the latest candles are others.
_EARLIER_MS = 2 * 86_400_000
# Refusals that are as good for all that is asked as for one question.
_UNAUTHORIZED = (CredentialsNeededError, SignInError, UnauthorizedError)


def pull(
    client: AsyncAlura,
    ranges: Iterable[Window],
    *,
    concurrency: int | None = None,
    strict: bool = False,
    progress: Listener | None = None,
    query: CandleQuery = CandleQuery(),  # noqa: B008 - it cannot change
) -> Batches[CandlePage]:
    """Pull the candles of ranges that do not overlap. Gives the pages that are ready; the gaps come last.

    Args:
        client: whose calls these are.
        ranges: what is pulled.
        concurrency: how many requests are under way at once, at most; by default, and no more than, what the limiter
            has room for.
        strict: whether to raise the gaps' errors at the end, instead of giving them as pages.
        progress: called after each page, and every few seconds while none comes, in the event loop's thread. What it
            raises ends the pull.
        query: how the server wants to be asked.

    Raises:
        ExceptionGroup: with `strict`, of what the gaps are due to.
        ClosedError: the client was closed.
    """

    async def begin() -> Pull:
        return Pull(client, ranges, concurrency=concurrency, strict=strict, progress=progress, query=query).begin()

    return Batches(begin)


class Probed(NamedTuple):
    """What a few requests have shown.

    Attributes:
        page: how many candles the server gives at once.
        latency_s: how many seconds a reply takes.
        empty: parts of the ranges in which there is nothing.
    """

    page: int
    latency_s: float
    empty: tuple[Window, ...] = ()


async def probe(client: AsyncAlura, ranges: Iterable[Window], query: CandleQuery) -> Probed:
    """How many candles the server gives at once, and how fast: of the end of a range.

    Some symbols that a server lists have no candles any more, so those of a few are asked for until some come.

    Args:
        client: whose calls these are.
        ranges: what is to be pulled.
        query: how the server wants to be asked.

    Raises:
        AluraError: the server could not be asked.
    """
    first_of_each = {window.symbol: window for window in reversed(tuple(ranges))}
    found: Probed | None = None
    empty: list[Window] = []
    failure: CallError | None = None
    for window in islice(reversed(first_of_each.values()), _MOST_PROBED):
        pulling = Pull(client, (window,), concurrency=1, query=query, patience_s=0)
        try:
            found = await pulling.probe(window)
        except (TransportError, UnauthorizedError):
            raise
        except CallError as error:
            failure = failure or error
            continue
        empty += found.empty
        if pulling.has_candles:
            break
    if found is None:
        assert failure is not None  # there is one range at least
        raise failure
    return found._replace(empty=tuple(empty))


class _Held(NamedTuple):
    """Where nothing was found, and what that is assumed by."""

    page: CandlePage
    verdict: Verdict


class _Doubted(NamedTuple):
    """Where the latest candles of a series did not come by their range, and what to tell if no others do."""

    question: Question
    verdict: Verdict
    error: ShapeError


class Pull:
    """The state of one pull: what is to be asked, what is known of the server, and what is ready.

    Args:
        client: whose calls these are.
        ranges: what is pulled.
        concurrency: how many requests are under way at once.
        query: how the server wants to be asked.
        strict: whether the gaps' errors are raised at the end.
        progress: called after each page, and now and then while none comes.
        patience_s: seconds for which nothing may succeed.

    Attributes:
        concurrency: how many workers there should be.
        failure: what ended the pull, if it did not end by itself.
    """

    def __init__(
        self,
        client: AsyncAlura,
        ranges: Iterable[Window],
        *,
        concurrency: int | None,
        query: CandleQuery,
        strict: bool = False,
        progress: Listener | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        # A server may ask for a pause that is longer than a call's time: to wait for its end is no failure.
        self._client = client.with_options(timeout=client._options.timeouts.call + 2 * LONGEST_HOLD_S)
        hint_s = min(_HINT_S, client._options.timeouts.call)
        self._hint_client = client.with_options(timeout=hint_s, retry=Retry(attempts=1))
        self._road: Road = client._road
        self._query = query
        self._habits = Habits(query)
        self._ranges = deque(ranges)
        self._todo: list[Stretch] = []
        self._held: list[_Held] = []
        self._doubted: list[_Doubted] = []
        self._strict = strict
        self.concurrency = min(concurrency or _MOST_WORKERS, concurrency_of(client))
        self.failure: BaseException | None = None
        # What is going on.
        self._under_way = 0
        self._hints_under_way = 0
        self._is_alone = False
        self._is_looking = False
        self._knows_unit = False
        # What to tell where the latest candles of an interval did not come by their range; see `_unheeded`.
        self._heeds: dict[tuple[str, CandlePath], ShapeError | None] = {}
        self._working = self.concurrency
        self._changed = asyncio.Event()
        self._settling = asyncio.Lock()
        # What has come of it.
        self._ready: list[CandlePage] = []
        self._ready_there = asyncio.Event()
        self._gaps: dict[tuple[str, str], list[tuple[Window, AluraError]]] = {}
        self._given_up = GivenUp()
        # Of which series something was asked, and something answered.
        self._begun: set[tuple[str, str]] = set()
        self._answered: set[tuple[str, str]] = set()
        self._failures = Failures(self.concurrency, patience_s)
        self._last_resort: AluraError | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._has_ended = False
        self._telling = Telling(self._ranges, self._road, progress)

    # What the consumer does

    def begin(self) -> Self:
        """Let the workers begin."""
        self._workers = [asyncio.create_task(self.work()) for _ in range(self.concurrency)]
        return self

    async def take(self) -> list[CandlePage] | None:
        """The pages that are ready, as soon as there are some; at the end the gaps; then None."""
        while not self._ready and self._working and self.failure is None:
            self._ready_there.clear()
            await self._wait_for_pages()
        if self._has_ended:
            return None
        if self.failure is None and self._ready:
            return self.take_pages()
        await self.close()
        if self.failure is not None:
            raise self.failure
        gaps = self.gaps()
        if gaps and self._strict:
            errors = {id(gap.error): gap.error for gap in gaps if gap.error is not None}
            raise ExceptionGroup(f"{len(gaps)} parts of what was asked for could not be had", [*errors.values()])
        return gaps or None

    async def close(self) -> None:
        """End the workers, within the time of a request."""
        self._has_ended = True
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _wait_for_pages(self) -> None:
        """Wait, and say now and then how far it is: a server may ask for a pause."""
        while True:
            try:
                async with asyncio.timeout(_TELL_EVERY_S if self._telling.is_listened_to else None):
                    await self._ready_there.wait()
                    return
            except TimeoutError:
                self._tell()

    def take_pages(self) -> list[CandlePage]:
        """All pages that are ready."""
        pages, self._ready = self._ready, []
        self._changed.set()
        return pages

    def gaps(self) -> list[CandlePage]:
        """What could not be had, each stretch of a series as one page."""
        now_ms = _now_ms()
        return [
            CandlePage(window, now_ms, error=error)
            for gaps in self._gaps.values()
            for window, error in sorted(gaps, key=lambda gap: gap[0].start_ms)
        ]

    async def probe(self, window: Window) -> Probed:
        """Ask until it is known how much a reply holds, and how fast one comes; see the function of this name."""
        latencies_s: list[float] = []
        # The first one waits for a connection, too, which the others do not.
        while not self._habits.reach(window.interval).is_settled or self._telling.requests == 1:
            if (question := self._take()) is None:
                if not self._doubted:
                    break
                self._clear_doubts()
                continue
            self._is_alone = False
            began, asked, waited_s = time.monotonic(), self._telling.requests, self._road.market_wait_s
            await self._ask(question)
            took_s = time.monotonic() - began - (self._road.market_wait_s - waited_s)
            latencies_s.append(took_s / max(1, self._telling.requests - asked))
        if not self._ready and self._gaps:
            raise next(iter(self._gaps.values()))[0][1]
        empty = tuple(page.window for page in self._ready if not len(page.candles))
        return Probed(self._habits.page(window.interval), min(latencies_s, default=0.0), empty)

    @property
    def has_candles(self) -> bool:
        """Whether a candle has come."""
        return self._telling.candles > 0

    # What the workers do

    async def work(self) -> None:
        """Ask and answer until nothing is left."""
        try:
            while (question := await self._next()) is not None:
                self._under_way += 1
                self._hints_under_way += question.stretch.is_hint
                try:
                    if self._failures.needs_witness(question.window):
                        await self._look_around(_series(question.window))
                    await self._failures.pause()
                    error = self._why_not(question.window)
                    if error is None:
                        await self._ask(question)
                    else:
                        self._add_gap(question.stretch.whole, error)
                finally:
                    self._under_way -= 1
                    self._hints_under_way -= question.stretch.is_hint
                    self._is_alone = False
                    self._changed.set()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - whoever takes the pages is told
            self.failure = self.failure or error
        finally:
            self._working -= 1
            self._changed.set()
            self._ready_there.set()

    async def _next(self) -> Question | None:
        """The next question, as soon as one may be asked; None if there is none any more."""
        while self.failure is None:
            if len(self._ready) < _READY_EACH * self.concurrency:
                question = self._take()
                if question is not None:
                    return question
                if not self._under_way and not self._todo and not self._ranges:
                    if not self._held and not self._doubted:
                        return None
                    self._look_again()
                    continue
            self._changed.clear()
            await self._changed.wait()
        return None

    def _take(self) -> Question | None:
        """The next question, if one may be asked now."""
        while not self._is_alone:
            todo = self._choose()
            if todo is None:
                return None
            window = todo.window
            series = (window.symbol, window.interval)
            error = self._why_not(window)
            if error is not None:
                self._add_gap(todo.whole, error)
                continue
            if todo.is_hint and self._habits.gives_latest is False:
                todo = self._habits.unsought(todo)
            self._is_alone = not todo.is_hint and not self._habits.reach(window.interval).is_settled
            self._begun.add(series)
            return self._habits.question(todo, now_ms=_now_ms())
        return None

    def _choose(self) -> Stretch | None:
        """Take out what may be asked for next, the latest first; None if that has to wait for a reply."""
        for place in reversed(range(len(self._todo))):
            if self._may_ask(self._todo[place]):
                return self._share(self._todo.pop(place))
        if self._ranges and self._may_ask(Stretch(self._ranges[0])):
            return self._share(Stretch(self._ranges.popleft()))
        return None

    def _share(self, stretch: Stretch) -> Stretch:
        """Leave parts of a long stretch to workers that have nothing else to do: one asks for one reply after another.

        Returns:
            The last part.
        """
        window = stretch.window
        idle = self.concurrency - self._under_way - len(self._todo) - len(self._ranges)
        page = self._habits.page(window.interval)
        if not self._habits.has_candles(*_series(window)):
            # It may be that replies about it are wrong; that shows by one after the other.
            return stretch
        if (
            stretch.is_undivided
            or idle < 2
            or window.candles < 2 * _LEAST_PAGES * page
            or not self._habits.reach(window.interval).is_settled
        ):
            return stretch
        most = max(_LEAST_PAGES * page, -(-window.candles // idle))
        *rest, last = reversed([*parts(window, most)])
        self._todo += [
            Stretch(part, stretch.is_repeated, before_ms=None if place else stretch.before_ms)
            for place, part in enumerate(rest)
        ]
        return msgspec.structs.replace(stretch, window=last, before_ms=None)

    def _may_ask(self, stretch: Stretch) -> bool:
        window = stretch.window
        series = (window.symbol, window.interval)
        if self._why_not(window) is not None:
            return True
        if stretch.is_hint:
            # It teaches nothing of ranges. Whether it can be had at all is seen by one.
            return not self._hints_under_way or self._habits.gives_latest is not None
        if series in self._begun and series not in self._answered:
            # It may be that the server does not know it.
            return False
        # How much a reply holds is learned from one at a time, not from many at once in vain.
        return self._under_way == self._hints_under_way or self._habits.reach(window.interval).is_settled

    async def _ask(self, question: Question) -> None:
        """Ask, and make a page of what the reply proves."""
        try:
            candles = await self._send(question, question.limit)
            verdict = self._judge(question, candles)
            if verdict is not None and verdict.is_stuck:
                verdict = await self._settle(question, candles)
        except (ClosedError, UsageError):
            raise
        except AluraError as error:
            self._telling.requests += 1
            if question.stretch.is_seeking and not isinstance(error, _UNAUTHORIZED):
                # It goes without; so do the others, if it was asked.
                if question.stretch.is_hint and not isinstance(error, RateLimitedError | NotSentError):
                    self._habits.learn_no_latest(is_of_symbol=isinstance(error, NotFoundError))
                self._todo.append(self._habits.unsought(question.stretch))
            elif not question.stretch.is_latest:
                misled = await self._misled(question, error) if self._may_mislead(error) else None
                if misled is None:
                    self._fail(question, error)
                else:
                    self._end(question, misled)
            elif isinstance(error, NotFoundError):
                # Neither path knows of a candle.
                self._give(CandlePage(question.window, _now_ms(), candles=Candles.empty(*_series(question.window))))
            else:
                self._fail(question, error)
            return
        self._telling.requests += 1
        window = question.window
        self._failures.succeeded(window)
        self._answered.add((window.symbol, window.interval))
        if verdict is None:
            self._ask_again(question)
            return
        unheeded = await self._unheeded(question, candles) if question.stretch.is_latest else None
        if unheeded is not None:
            self._doubted.append(_Doubted(question, verdict, unheeded))
            return
        if verdict.is_odd:
            question = self._habits.question(*verdict.rest, now_ms=_now_ms())
        misled = await self._misled(question) if verdict.is_stuck or verdict.is_odd else None
        if misled is not None:
            self._end(question, misled)
        elif verdict.is_stuck:
            self._refuse(question, unreadable(question, self._query, candles))
            self._leave(question)
        else:
            self._add(question, verdict, candles)

    async def _look_around(self, series: tuple[str, str]) -> None:
        """Nothing is left but what fails: see whether the server answers for something else.

        Args:
            series: the one that fails. Its end is asked for where it is the only one that was ever answered for.
        """
        others = self._answered - {series} or self._answered
        if not others or self._is_looking:
            return
        symbol, interval = random.choice([*others])  # noqa: S311 - any will do, if it is not always the same
        # Its end is this moment: nobody can have kept the reply.
        now_ms = _now_ms()
        window = Window(symbol, interval, now_ms - span_ms(interval), now_ms)
        witness = self._habits.question(Stretch(window), now_ms=now_ms)
        self._is_looking = True
        try:
            await self._send(witness, witness.limit)
        except (ClosedError, UsageError):
            raise
        except AluraError:
            return
        finally:
            self._is_looking = False
            self._telling.requests += 1
        self._failures.witnessed()

    def _may_mislead(self, error: AluraError) -> bool:
        """Whether it may be about times in another unit: a server refuses such a time, or stumbles over it."""
        if self._telling.candles:
            return False
        if isinstance(error, ServerError):
            # The others are those of a server that is down, or of the way to it.
            return error.status == _STUMBLED
        return isinstance(error, BadRequestError | UnprocessableError) and not self._names_limit(error)

    async def _misled(self, question: Question, error: AluraError | None = None) -> ShapeError | None:
        """See once whether the server understands times in the other unit.

        Args:
            question: one that it did not answer as it should.
            error: what it answered, if that was no candles.

        Returns:
            What to tell, if it gives more candles of what is asked for then, and not the same ones whatever the time.
        """
        if self._knows_unit or self._habits.heeds_ranges:
            return None
        self._knows_unit = True
        other = msgspec.structs.replace(self._query, unit="s" if self._query.unit == "ms" else "ms")
        middle_ms = (question.start_ms + question.end_ms) // 2
        earlier = msgspec.structs.replace(question, end_ms=middle_ms)
        given = await self._given(earlier, other)
        if given is None or _asked_for(given, earlier) == 0:
            return None
        asked = await self._given(earlier, self._query)
        if asked is not None and _asked_for(asked, earlier) >= _asked_for(given, earlier):
            return None
        later = await self._given(msgspec.structs.replace(question, start_ms=middle_ms), other)
        if later is None or 2 * _in_both(given, later) > len(given):
            return None
        misled = other_unit(question, other)
        misled.__cause__ = error
        return misled

    async def _unheeded(self, question: Question, latest: Candles) -> ShapeError | None:
        """See whether the server heeds ranges, where none of an interval has brought a candle: once an interval.

        Args:
            question: brought the latest candles, without a range.
            latest: what it brought. It should come by its range as well.

        Returns:
            What to tell of all that it is asked for; None if it does, or nobody can know.
        """
        window = question.window
        asked = (window.interval, question.path)
        if self._habits.has_some(window.interval) or not len(latest) or _is_about(latest, window):
            return None
        async with self._settling:
            if asked not in self._heeds:
                self._heeds[asked] = await self._tell_unheeded(window, latest)
            return self._heeds[asked]

    async def _tell_unheeded(self, window: Window, latest: Candles) -> ShapeError | None:
        times: Any = latest.open_time.view(np.int64)
        first, last = int(times[0]), int(times[-1])
        end_ms = last + span_ms(window.interval)
        # Half of them; and it may keep the latest apart from the others, which it has for ranges.
        for start_ms, until_ms in ((first, (first + end_ms) // 2), (min(first - _EARLIER_MS, window.start_ms), end_ms)):
            asked = msgspec.structs.replace(window, start_ms=max(0, start_ms), end_ms=until_ms)
            question = self._habits.question(Stretch(asked), now_ms=_now_ms())
            given = await self._given(question, self._query)
            if given is not None and _asked_for(given, question) and not _are_all(given, question, first, last):
                return None
            misled = await self._misled(question)
            if misled is not None:
                return misled
        return unreadable(question, self._query, latest[:0])

    async def _given(self, question: Question, query: CandleQuery) -> Candles | None:
        """What a question brings that is not about the series itself; None if it fails."""
        try:
            return await self._send(question, question.limit, query)
        except (ClosedError, UsageError):
            raise
        except AluraError:
            return None
        finally:
            self._telling.requests += 1

    async def _send(self, question: Question, limit: int | None, query: CandleQuery | None = None) -> Candles:
        client = self._hint_client if question.stretch.is_hint else self._client
        return await answered(client, question, limit, query or self._query)

    def _judge(self, question: Question, candles: Candles) -> Verdict | None:
        """What a reply proves; None if it was asked for in a way that is not followed any more."""
        habits = self._habits
        limit = habits.reach(question.window.interval).limit
        if (question.limit, question.path) != (limit, habits.path) and not question.stretch.is_latest:
            return None
        times: Any = candles.open_time.view(np.int64)
        return habits.judge(question, times, _as_of_ms(candles))

    async def _settle(self, question: Question, candles: Candles) -> Verdict | None:
        """Ask once more, for half as many candles: that shows which part of a range the server leaves out."""
        async with self._settling:
            if not self._habits.knows_cut:
                fewer: Candles | None = None
                if question.limit is not None:
                    fewer = await self._send(question, max(1, len(candles) // 2))
                    self._telling.requests += 1
                after: Any = () if fewer is None else fewer.open_time.view(np.int64)
                before: Any = candles.open_time.view(np.int64)
                self._habits.learn_cut(before, after)
        return self._judge(question, candles)

    def _ask_again(self, question: Question) -> None:
        """It was asked for in a way that does not work here."""
        window = question.window
        self._begun.discard((window.symbol, window.interval))
        self._todo.append(question.again)

    def _leave(self, question: Question) -> None:
        """What of a stretch was not asked for is to be asked for still, if it is not asked again as a whole."""
        if question.again not in self._todo:
            self._todo += question.left

    def _add(self, question: Question, verdict: Verdict, candles: Candles) -> None:
        self._todo += verdict.rest
        if verdict.rest:
            # What was held is not empty.
            self._telling.lets_go(question.stretch.window)
        proven = verdict.proven
        if proven is None:
            return
        page = CandlePage(proven, _as_of_ms(candles), candles=candles.between(proven.start_ms, proven.end_ms))
        if verdict.assumed and not len(page.candles):
            self._held.append(_Held(page, verdict))
            self._telling.holds(proven)
        else:
            self._give(page)

    def _give(self, page: CandlePage) -> None:
        self._telling.candles += len(page.candles)
        self._ready.append(page)
        self._ready_there.set()
        self._telling.has_answered(page.window)
        self._tell()

    def _look_again(self) -> None:
        """All else has come: whether to believe that there is nothing where nothing was found."""
        self._clear_doubts()
        if self._todo:
            return
        held, self._held = self._held, []
        for page, verdict in held:
            error = self._why_not(page.window)
            if error is not None:
                self._add_gap(page.window, error)
            elif (doubt := self._habits.doubt(verdict)) is None:
                self._give(page)
            else:
                if not doubt.is_latest:
                    self._telling.lets_go(page.window)
                self._todo.append(doubt)

    def _clear_doubts(self) -> None:
        """Whether it is one series that has no candles for ranges, or the server heeds none."""
        doubted, self._doubted = self._doubted, []
        for question, verdict, unheeded in doubted:
            if self._habits.has_some(question.window.interval):
                # It may have been listed lately: others came by their ranges.
                self._todo += verdict.rest
            else:
                self._refuse(question, unheeded)

    # What becomes of failures

    def _fail(self, question: Question, error: AluraError) -> None:
        """A request failed for good, as far as the one retry policy goes."""
        self._telling.lets_go(question.stretch.window)
        habits, window = self._habits, question.window
        is_about_limit = isinstance(error, BadRequestError | UnprocessableError) and self._is_about_limit(
            question, error
        )
        if is_about_limit and habits.ask_for_fewer(question):
            self._ask_again(question)
            return
        has_answered = _series(window) in self._answered
        if isinstance(error, _UNAUTHORIZED):
            self._end(question, error)
        elif not isinstance(error, ResponseError) or not _is_final(error):
            self._go_on(question, error, self._failures.failed(window, error, has_answered=has_answered))
        elif has_answered:
            self._go_on(question, error, self._failures.refused(window, error))
        else:
            self._refuse(question, error)
            self._leave(question)

    def _end(self, question: Question, error: AluraError) -> None:
        """All that is left would fail alike."""
        self._last_resort = error
        self._failures.give_up()
        self._add_gap(question.window, error)
        self._leave(question)

    def _go_on(self, question: Question, error: AluraError, then: Next) -> None:
        """Go on after a failure."""
        window = question.window
        # Something else of its series may be asked for.
        self._begun.discard(_series(window))
        if then is Next.AGAIN and isinstance(error, ResponseError) and _is_final(error):
            # At once: what else there is of its series may be refused likewise.
            self._todo.append(question.again)
        elif then is Next.AGAIN:
            self._put_back(question)
        elif then is Next.HALVES:
            self._todo += question.left
            self._todo += [Stretch(half, question.is_repeated) for half in halves(window)]
        else:
            if then is Next.SERVER:
                self._last_resort = error
            elif then is not Next.GAP:
                self._given_up.add(window, error, is_all=then is Next.SERIES)
            self._add_gap(window, error)
            self._leave(question)

    def _put_back(self, question: Question) -> None:
        """Ask again after what else is to be asked: of its series; of all, where that has never answered."""
        window, stretch = question.window, question.stretch
        if _series(window) not in self._answered:
            self._ranges.append(stretch.whole)
        elif stretch.is_undivided:
            self._todo.insert(0, question.again)
        else:
            self._todo.insert(0, Stretch(window, question.is_repeated))
            self._todo += question.left

    def _why_not(self, window: Window) -> AluraError | None:
        """Why a window is not asked for any more; None if it is."""
        return self._last_resort or self._given_up.why(window)

    def _is_about_limit(self, question: Question, error: BadRequestError | UnprocessableError) -> bool:
        """Whether fewer candles may be given where so many are refused."""
        if self._names_limit(error):
            return True
        said = " ".join(error.messages).casefold()
        return self._habits.reach(question.window.interval).asked == 0 and "interval" not in said

    def _names_limit(self, error: BadRequestError | UnprocessableError) -> bool:
        said = " ".join(error.messages).casefold()
        names = [name.casefold() for name in (self._query.limit, "limit") if name is not None]
        return any(name in said for name in names)

    def _refuse(self, question: Question, error: AluraError) -> None:
        """The server does not serve this series, or not in this way: it is not asked for the rest of it."""
        habits, window = self._habits, question.window
        is_known = habits.reach(window.interval).rows > 0
        if isinstance(error, ShapeError) or (not is_known and isinstance(error, NotFoundError | BadRequestError)):
            # It may be the path.
            told = habits.refuse(question, error)
            if told is None:
                self._ask_again(question)
                return
            error = told
        self._given_up.add(window, error, is_all=True)
        self._add_gap(window, error)

    def _add_gap(self, window: Window, error: AluraError) -> None:
        self._telling.has_answered(window)
        gaps = self._gaps.setdefault((window.symbol, window.interval), [])
        rest: list[tuple[Window, AluraError]] = []
        for gap in gaps:
            other, why = gap
            touches = window.start_ms == other.end_ms or window.end_ms == other.start_ms
            if touches and (why is error or str(why) == str(error)):
                start_ms, end_ms = min(window.start_ms, other.start_ms), max(window.end_ms, other.end_ms)
                window = msgspec.structs.replace(window, start_ms=start_ms, end_ms=end_ms)
            else:
                rest.append(gap)
        self._telling.gaps += 1 + len(rest) - len(gaps)
        gaps[:] = [*rest, (window, error)]
        self._tell()

    def _tell(self) -> None:
        self._telling.tell(self._habits)


def concurrency_of(client: AsyncAlura) -> int:
    """As many requests at once as the limiter lets through, and no more than get their turn in time."""
    limiter = client._road.limiter
    in_time = limiter.rate * client._options.timeouts.call * _WAITING_SHARE
    return max(1, int(min(_MOST_WORKERS, limiter.market_slots, in_time)))


def _is_final(error: ResponseError) -> bool:
    """Whether the server will not serve this, however often it is asked."""
    status = error.status or 0
    return isinstance(error, RefusedError) or (400 <= status < 500 and status not in _PASSING)


def _series(window: Window) -> tuple[str, str]:
    return window.symbol, window.interval


def _asked_for(candles: Candles, question: Question) -> int:
    """How many candles a question has brought of those that it asks for."""
    return len(candles.between(question.start_ms, question.end_ms + 1))


def _in_both(some: Candles, others: Candles) -> int:
    return int(np.intersect1d(some.open_time, others.open_time).size)


def _are_all(candles: Candles, question: Question, first: int, last: int) -> bool:
    """Whether the latest candles, from the first to the last of them, came though fewer or others were asked for."""
    times: Any = candles.open_time.view(np.int64)
    others_come_first = question.start_ms < first - _EARLIER_MS
    return (question.end_ms < last or others_come_first) and int(times[0]) >= first and int(times[-1]) >= last


def _is_about(candles: Candles, window: Window) -> bool:
    return len(candles.between(window.start_ms, window.end_ms)) > 0


def _as_of_ms(candles: Candles) -> int:
    assert candles.as_of_ms is not None  # `told` says it of all candles
    return candles.as_of_ms


def _now_ms() -> int:
    return int(time.time() * 1000)
