"""What is learned of a server of candles while it answers: how much a reply holds, and which part of a range it proves.

Nothing of this is documented, so nothing is believed but what follows from a few things that hold for every server
that can be read by ranges at all:

- A reply is one run of the series: between its first and its last candle there are no others.
- The run is taken from a set that holds all candles of the range asked for. What is asked for reaches one interval
  beyond the window on either side, so that it does not matter whether a bound is counted in, means open or close times,
  or is rounded.
- Where the set is larger than what a reply may hold, its first candles are given, or its last; one server does the same
  with every range.

So a reply proves the part of the window from its first to its last candle, and more only where it cannot have been cut:
where other replies have held more candles, and over as long a time. What it does not prove is asked again, as a window
of its own. All of this is pure: it knows times and numbers, and neither requests nor candles.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..errors import AluraError
from .plan import Window, last_part, least_span_ms, span_ms
from .query import CandlePath, CandleQuery

# What is assumed of a server that has shown nothing yet: a reply has room for so many candles at least, and one without
# a candle speaks for a range of so many intervals.
_LEAST_ROOM = 8
_LEAST_REACH = 500
# A range that was answered by nothing may be longer than a reply reaches: so much of its end is looked into closely.
_CLOSE_LOOK = 50
# A number of candles that is refused is replaced by one of these.
_LIMITS = (5000, 1000, 500, 200, 100)
# One interval on either side of a window.
_MARGINS = 2
# A server may begin earlier than it is asked to: with the candle before, or with the one that ends then.
_MOST_EARLY = 2
# So many replies in a row may leave open how much one holds; afterwards several are asked for side by side.
_MOST_ALONE = 5
# A candle may come late, and shows no more than that by being there afterwards.
_LATE = 20
# A `Date` has whole seconds.
_TICK_MS = 1000


class Cut(enum.Enum):
    """Which part of a range a server leaves out where it has more candles than a reply may hold."""

    EARLIER = "earlier"
    LATER = "later"


class Question(msgspec.Struct, frozen=True):
    """A window, and how it is asked for.

    Attributes:
        window: the candles that are wanted.
        start_ms: the earliest open time that is asked for.
        end_ms: the latest.
        limit: how many candles at most; None where no number is asked for.
        path: which path is called.
        is_repeated: whether a reply that had candles did not prove this part of its window.
    """

    window: Window
    start_ms: int
    end_ms: int
    limit: int | None
    path: CandlePath
    is_repeated: bool = False


class Verdict(NamedTuple):
    """What a reply proves.

    Attributes:
        proven: the part of the window that it answers for; None if there is no such part.
        rest: what of the window is to be asked again.
        is_stuck: whether asking again would bring the same.
    """

    proven: Window | None
    rest: tuple[Window, ...] = ()
    is_stuck: bool = False


class Habits:
    """What one server has shown of itself. It belongs to one client and one `CandleQuery`.

    Args:
        query: how the server is asked.

    Attributes:
        limit: how many candles are asked for.
        path: which path is called.
        cuts: which part it leaves out; None while that has not been asked.
        knows_cut: whether that has been asked.
    """

    def __init__(self, query: CandleQuery) -> None:
        self.query = query
        self.limit: int | None = query.most if query.limit is not None else None
        self.path: CandlePath = query.path or "history"
        self.cuts: Cut | None = None
        self.knows_cut = False
        # Of the first path, before the other one was tried.
        self._refusal: AluraError | None = None
        self._reaches: dict[str, Reach] = {}

    def reach(self, interval: str) -> Reach:
        """What is known of one interval: a server may limit its replies by time."""
        return self._reaches.setdefault(interval, Reach(self.limit))

    def page(self, interval: str) -> int:
        """How many candles a request brings where there was a trade in each interval."""
        return self.reach(interval).size()

    def question(self, window: Window, *, is_repeated: bool, now_ms: int) -> Question:
        """Ask for the end of a window: as much of it as one reply will probably answer for.

        Args:
            window: what is wanted.
            is_repeated: see `Question`.
            now_ms: this machine's clock. Nothing is asked of times that are far from having come.
        """
        part = last_part(window, self.reach(window.interval).size(window.symbol))
        span = span_ms(window.interval)
        end_ms = part.end_ms + -part.end_ms % span + span - 1
        return Question(
            part,
            part.start_ms - span,
            max(part.end_ms, min(end_ms, now_ms)),
            self.limit,
            self.path,
            is_repeated,
        )

    def judge(self, question: Question, times: Sequence[int], as_of_ms: int) -> Verdict:
        """What a reply proves, and learn from it.

        Args:
            question: what was asked.
            times: the open times of all candles that came, in ascending order.
            as_of_ms: when the server replied.
        """
        window = question.window
        reach = self.reach(window.interval)
        span, least = span_ms(window.interval), least_span_ms(window.interval)
        if not len(times):
            return self._judge_nothing(window, reach)
        first, last = int(times[0]), int(times[-1])
        is_here = _has(times, window)
        is_old = first < as_of_ms - _LATE * span
        if question.is_repeated and is_here and is_old:
            reach.is_capped = True
        is_whole = self._is_whole(question, len(times), is_here, reach, as_of_ms, span)
        reach.learn(len(times), (last - first) // span + 1)
        # What opened last by the server's clock has come, or is the running one. A clock that is behind says nothing.
        is_latest = last <= as_of_ms + _TICK_MS and last + 2 * span > as_of_ms
        is_from_start = is_whole or self.cuts is Cut.LATER or first < window.start_ms + least
        is_to_end = is_whole or self.cuts is Cut.EARLIER or last + least >= window.end_ms or is_latest
        start = window.start_ms if is_from_start else first
        end = window.end_ms if is_to_end else last + least
        if start >= end or start >= window.end_ms or end <= window.start_ms:
            return self._judge_elsewhere(question, len(times), reach, as_of_ms, span)
        proven = _part(window, start, end)
        edges = ((window.start_ms, start), (end, window.end_ms))
        rest = tuple(_part(window, since, until) for since, until in edges if since < until)
        reach.is_whole |= is_here and not rest
        reach.resize(window.symbol, len(times), is_cut=bool(rest))
        return Verdict(proven, rest)

    def _judge_nothing(self, window: Window, reach: Reach) -> Verdict:
        """A reply without a candle: its range may be longer than what it speaks for."""
        reach.asked += 1
        if window.candles <= _within(reach.empty_reach) and (reach.rows or reach.looked_closely):
            return Verdict(window)
        if window.candles <= _within(_CLOSE_LOOK):
            reach.looked_closely = True
            reach.narrow(window.symbol)
            return Verdict(window)
        reach.narrow(window.symbol)
        return Verdict(None, (window,))

    def _judge_elsewhere(self, question: Question, count: int, reach: Reach, as_of_ms: int, span: int) -> Verdict:
        """A reply that has candles and proves nothing of the window: they are all before it, or all after it."""
        window = question.window
        if reach.has_room_for(count, _running(question, as_of_ms, span)):
            # It was not cut by number; it may have been by time.
            reach.narrow(window.symbol)
            return Verdict(None, (window,))
        return Verdict(None, (window,), is_stuck=True)

    def _is_whole(self, question: Question, count: int, is_here: bool, reach: Reach, as_of_ms: int, span: int) -> bool:
        """Whether a reply cannot have been cut: others held more candles, and over as long a time."""
        most = reach.slots if is_here else reach.empty_reach
        return question.window.candles <= _within(most) and reach.has_room_for(
            count, _running(question, as_of_ms, span)
        )

    def learn_cut(self, before: Sequence[int], after: Sequence[int]) -> None:
        """Learn which part a server leaves out, by two replies to the same question.

        Args:
            before: the open times of the reply.
            after: those of the reply when half as many were asked for.
        """
        self.knows_cut = True
        if not 0 < len(after) < len(before):
            return
        if int(after[0]) > int(before[0]) and int(after[-1]) >= int(before[-1]):
            self.cuts = Cut.EARLIER
        elif int(after[0]) <= int(before[0]) and int(after[-1]) < int(before[-1]):
            self.cuts = Cut.LATER

    def ask_for_fewer(self, refused: int | None) -> bool:
        """Ask for fewer candles from now on, if those that were refused are not fewer already.

        Returns:
            Whether that is worth another try.
        """
        if refused is None:
            self.limit = self.query.most if self.query.limit is not None else None
            return False
        if self.limit == refused:
            self.limit = next((limit for limit in _LIMITS if limit < refused), None)
            self._reaches.clear()
        return True

    def refuse(self, question: Question, refusal: AluraError) -> AluraError | None:
        """A path is of no use. Call the other one from now on; if that is no better, the first one again.

        Args:
            question: what was asked.
            refusal: how it showed.

        Returns:
            What to tell of the window; None if it is to be asked again.
        """
        if self.path != question.path:
            return None
        # Where a part that was asked again has come, ranges are answered on this path.
        if self.query.path is not None or any(reach.is_capped for reach in self._reaches.values()):
            return refusal
        if self._refusal is None:
            self._refusal = refusal
            self.path = "interval"
            self._forget()
            return None
        if self.path == "interval":
            self.path = "history"
            self._forget()
            return self._refusal
        return refusal

    def _forget(self) -> None:
        self._reaches.clear()
        self.cuts, self.knows_cut = None, False


class Reach:
    """How much replies have held so far, of one interval.

    Args:
        limit: how many candles are asked for.

    Attributes:
        rows: the most candles in one.
        slots: the most intervals from the first to the last candle of one.
        is_capped: whether a reply has been shown to be cut.
        is_whole: whether a reply had candles, and proved all of its window.
        asked: how many replies there were.
        looked_closely: whether a short range was asked for where a long one brought nothing.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit or _LIMITS[0]
        self.rows = 0
        self.slots = 0
        self.is_capped = False
        self.is_whole = False
        self.asked = 0
        self.looked_closely = False
        # Of symbols that differ from the others.
        self._sizes: dict[str, int] = {}

    @property
    def is_settled(self) -> bool:
        """Whether enough is known to ask for several windows at once."""
        return self.is_capped or self.is_whole or self.asked >= _MOST_ALONE

    @property
    def empty_reach(self) -> int:
        """The most intervals that a reply speaks for which has nothing in them."""
        return self.slots if self.is_capped else max(self.slots, min(self._limit, _LEAST_REACH))

    def has_room_for(self, count: int, running: int) -> bool:
        """Whether a reply has room for more than so many candles, the running one not counted if it was left out."""
        return count < (self.rows if self.is_capped else max(self.rows, _LEAST_ROOM)) - running

    def size(self, symbol: str | None = None) -> int:
        """How many intervals to ask for."""
        size = self._sizes.get(symbol) if symbol is not None else None
        if size is None:
            size = _within(self.rows if self.is_capped else self._limit)
        return size

    def learn(self, count: int, slots: int) -> None:
        """Learn from a reply that has candles."""
        self.asked += 1
        self.rows = max(self.rows, count)
        self.slots = max(self.slots, slots)

    def narrow(self, symbol: str) -> None:
        """Ask for no more than what a reply without a candle speaks for."""
        is_known = self.rows or self.looked_closely
        self._sizes[symbol] = _within(self.empty_reach if is_known else _CLOSE_LOOK)

    def resize(self, symbol: str, count: int, *, is_cut: bool) -> None:
        """Ask for more of a symbol that is seldom traded, and for less of one that is often."""
        if is_cut:
            self._sizes.pop(symbol, None)
        elif self.is_capped and count < self.rows / 2:
            size = self._sizes.get(symbol, self.rows)
            self._sizes[symbol] = min(2 * size, _within(self.slots))


def _within(most: int) -> int:
    """The largest window for which a reply has room that may hold, or speak for, so much."""
    return max(1, most - _MARGINS - min(_MOST_EARLY, most // 10))


def _running(question: Question, as_of_ms: int, span: int) -> int:
    """How many candles may have been left out because they are not over."""
    return 1 if question.end_ms + span > as_of_ms else 0


def _has(times: Sequence[int], window: Window) -> bool:
    place = bisect_left(times, window.start_ms)
    return place < len(times) and times[place] < window.end_ms


def _part(window: Window, start_ms: int, end_ms: int) -> Window:
    if (start_ms, end_ms) == (window.start_ms, window.end_ms):
        return window
    return msgspec.structs.replace(window, start_ms=start_ms, end_ms=end_ms)
