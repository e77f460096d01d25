"""What is learned of a server of candles while it answers: how much a reply holds, and which part of a range it proves.

Nothing of this is documented, so nothing is believed but what follows from a few things that hold for every server
that can be read by ranges at all:

- A reply is one run of the series: between its first and its last candle there are no others.
- The run is taken from a set that holds all candles of the range asked for, its first ones or its last ones.

How many candles a reply holds, and over how long a time, is not believed to be the same from one reply to the next. So
a reply proves what lies between its first and its last candle, and no more. A series is walked backwards, as a stretch
of which nothing is known yet: each question reaches beyond its window to a candle that is known already, the anchor,
and a run that contains it leaves nothing out between them. What lies before the first candle of a reply stays part of
the stretch. A reply that has the anchor and nothing before it proves a window without candles, if the window is no
longer than what replies have been shown to span; one that should have the anchor and has not proves nothing. Where
there is no anchor, a reply without candles is believed when it has come twice, or when nothing is found before it.

Where a series begins with such a reply, and its range is longer than one may speak for, its latest candles are asked
for, which needs no range. They say where to look, and no more: they may be a copy of long ago. From the newest of them
to the range's end, one reply speaks for all if it has that candle, so that it is not about the end of a long range
only, and if another one, to a range from long ago, has shown that replies are not about the beginning only. Nor is
that believed, where it is longer than any reply has been, before a few spots of it have been asked for like any page.

All of this is pure: it knows times and numbers, and neither requests nor candles.
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
from .reach import FEWEST, LEAST_REACH, LIMITS, Reach

# So many spots of a long time without candles are asked for.
_SPOTS = 3
# A candle may come late, and shows no more than that by being there afterwards.
_LATE = 20
# A `Date` has whole seconds.
_TICK_MS = 1000
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
# The year 2000: no candle is as old.
_LONG_AGO_MS = 946_684_800_000
# How much further it is asked where a candle that is known to be there was not given: a reply may have been an
# accident, and a server may round what it is asked for.
_FURTHER_MS = (0, 0, _HOUR_MS, _DAY_MS)
# Of so many symbols there may be no latest candles, before it is the server that has none.
_MOST_WITHOUT = 3
# A reply of so few candles has not been cut, unless by time.
_FEW = 8


class Cut(enum.Enum):
    """Which part of a range a server leaves out where it has more candles than a reply may hold."""

    EARLIER = "earlier"
    LATER = "later"


class Stretch(msgspec.Struct, frozen=True):
    """A part of a series that is to be asked for, and what is known of its surroundings.

    Attributes:
        window: the candles that are wanted.
        is_repeated: whether all of it was asked for before.
        after_ms: a candle that is known to be there: no other lies between it and the end, that of `hollow_ms` if there
            is one.
        before_ms: a candle that is known to be there: no other lies between it and the start.
        hollow_ms: up to here, from the window's end on, replies had no candles. It belongs to the stretch.
        hollow: the longest range, in intervals, that one of them was about.
        is_check: whether nothing was found in it, and it is asked for once more.
        is_checked: whether it was, in vain: it is too long for one reply.
        is_latest: whether the latest candles are asked for, without a range: to know where to look; or because nothing
            was found in a whole series, where that `is_repeated`.
        newest_ms: the newest of the latest candles: what is later is asked for at once, together with that one.
        spot: which spot of what is later is asked for, like any other page, before it is believed that there is
            nothing; None if none is.
        is_from_long_ago: whether something else is asked for before: how far a reply reaches from a range's start.
        asked_ms: from here on it was asked for before, by a question that brought others.
        is_cut_off: whether the candles around it are not asked for, since a reply may have had no room for others.
        tries: how often a candle that is known to be there was not given.
    """

    window: Window
    is_repeated: bool = False
    after_ms: int | None = None
    before_ms: int | None = None
    hollow_ms: int | None = None
    hollow: int = 0
    is_check: bool = False
    is_checked: bool = False
    is_latest: bool = False
    newest_ms: int | None = None
    spot: int | None = None
    is_from_long_ago: bool = False
    asked_ms: int | None = None
    is_cut_off: bool = False
    tries: int = 0

    @property
    def is_undivided(self) -> bool:
        """Whether it is one question, and more than one would be others."""
        return self.is_check or self.is_latest or self.newest_ms is not None

    @property
    def is_seeking(self) -> bool:
        """Whether it is asked where the series ends, and none of the stretch itself."""
        return self.is_from_long_ago or self.spot is not None or self.is_hint

    @property
    def is_hint(self) -> bool:
        """Whether the latest candles are asked for, to know where to look: it goes without, too."""
        return self.is_latest and not self.is_repeated

    @property
    def end_ms(self) -> int:
        """The end of what nothing is proven of."""
        return self.window.end_ms if self.hollow_ms is None else self.hollow_ms

    @property
    def whole(self) -> Window:
        """All that nothing is proven of."""
        return _part(self.window, self.window.start_ms, self.end_ms)


class Question(msgspec.Struct, frozen=True):
    """A window, and how it is asked for.

    Attributes:
        stretch: what it is the end of.
        window: the candles that are wanted.
        start_ms: the earliest open time that is asked for.
        end_ms: the latest.
        limit: how many candles at most; None where no number is asked for.
        path: which path is called.
        now_ms: this machine's clock.
        has_anchor: whether the candle after the stretch is asked for as well.
    """

    stretch: Stretch
    window: Window
    start_ms: int
    end_ms: int
    limit: int | None
    path: CandlePath
    now_ms: int
    has_anchor: bool = False

    @property
    def is_repeated(self) -> bool:
        """Whether all of the window was asked for before."""
        return self.stretch.is_repeated

    @property
    def to_window(self) -> int:
        """How many intervals it is from the window's start to its end: what has not come yet is not counted."""
        return _intervals(self.window, self.window.end_ms, self.now_ms)

    @property
    def to_end(self) -> int:
        """How many intervals it is from the window's start to the end of what is asked for."""
        return _intervals(self.window, self.end_ms, self.now_ms)

    @property
    def since_ms(self) -> int:
        """From here on, candles of the stretch were asked for, by this question or by one before."""
        since_ms = max(self.stretch.window.start_ms, self.start_ms + span_ms(self.window.interval))
        return since_ms if self.stretch.asked_ms is None else min(since_ms, self.stretch.asked_ms)

    @property
    def length(self) -> int:
        """How long the range is that is asked for, in intervals."""
        return (min(self.end_ms, self.now_ms) - self.start_ms) // least_span_ms(self.window.interval) + 1

    @property
    def has_candle_before(self) -> bool:
        """Whether the candle before the stretch is asked for as well."""
        before = self.stretch.before_ms
        return before is not None and self.start_ms <= before - span_ms(self.window.interval)

    @property
    def again(self) -> Stretch:
        """The same, as if it had not been asked."""
        return msgspec.structs.replace(self.stretch, asked_ms=None, tries=0)

    @property
    def left(self) -> tuple[Stretch, ...]:
        """What of the stretch lies before and after the window, where the window itself could not be had."""
        stretch, window = self.stretch, self.window
        left: list[Stretch] = []
        if window.start_ms > stretch.window.start_ms:
            before = _part(stretch.window, stretch.window.start_ms, window.start_ms)
            left.append(Stretch(before, stretch.is_repeated, before_ms=stretch.before_ms))
        if window.end_ms < stretch.end_ms:
            after = _part(stretch.window, window.end_ms, stretch.end_ms)
            left.append(Stretch(after, is_repeated=True, after_ms=stretch.after_ms))
        return tuple(left)


class Verdict(NamedTuple):
    """What a reply proves.

    Attributes:
        proven: the part of the stretch that it answers for; None if there is no such part.
        rest: what is to be asked still.
        is_stuck: whether asking again would bring the same.
        assumed: nothing was found in `proven`, and it is assumed that a reply speaks for so many intervals; 0 if not.
        is_odd: whether the latest candles have one that was asked for and did not come.
        is_full: whether nothing was found in `proven`, and the reply may have had no room for it.
    """

    proven: Window | None
    rest: tuple[Stretch, ...] = ()
    is_stuck: bool = False
    assumed: int = 0
    is_odd: bool = False
    is_full: bool = False


class Habits:
    """What one server has shown of itself. It belongs to one client and one `CandleQuery`.

    Args:
        query: how the server is asked.

    Attributes:
        path: which path is called.
        cuts: which part it leaves out; None while that has not been asked.
        knows_cut: whether that has been asked.
        gives_latest: whether it gives its latest candles; None while that is not known.
    """

    def __init__(self, query: CandleQuery) -> None:
        self.query = query
        self.path: CandlePath = query.path or "history"
        self.cuts: Cut | None = None
        self.knows_cut = False
        # How much further it is asked than is wanted, since it rounds.
        self._further_ms = 0
        # Of the first path, before the other one was tried.
        self._refusal: AluraError | None = None
        self._reaches: dict[str, Reach] = {}
        self._filled: set[tuple[str, str]] = set()
        # Of which series the latest candles were asked for, and the newest of them.
        self._newest: dict[tuple[str, str], int | None] = {}
        self.gives_latest: bool | None = None
        self._without_latest = 0

    def reach(self, interval: str) -> Reach:
        """What is known of one interval: a server may limit its replies by time."""
        reach = self._reaches.get(interval)
        if reach is None:
            reach = self._reaches[interval] = Reach(self.query.most if self.query.limit is not None else None)
        return reach

    def page(self, interval: str) -> int:
        """How many candles a request brings where there was a trade in each interval."""
        return self.reach(interval).size()

    def has_candles(self, symbol: str, interval: str) -> bool:
        """Whether a candle of a series has come."""
        return (symbol, interval) in self._filled

    def has_some(self, interval: str) -> bool:
        """Whether a candle of an interval has come."""
        return any(interval == other for _, other in self._filled)

    @property
    def heeds_ranges(self) -> bool:
        """Whether a part that was asked again has come, so that ranges are answered on this path as they are asked."""
        return any(reach.is_capped for reach in self._reaches.values())

    def doubt(self, verdict: Verdict) -> Stretch | None:
        """What is to be asked of a part in which nothing was found, now that all else has come; None if nothing is."""
        assert verdict.proven is not None  # there is such a part
        window = verdict.proven
        reach = self.reach(window.interval)
        if not self.has_candles(window.symbol, window.interval):
            # Of a whole series. Its latest candles need no range.
            return Stretch(window, is_repeated=True, is_latest=True)
        # What has been learned meanwhile may speak against it.
        is_doubtful = verdict.assumed > reach.empty_reach or (verdict.is_full and reach.holds_few)
        return Stretch(window, is_repeated=True) if is_doubtful else None

    def question(self, stretch: Stretch, *, now_ms: int) -> Question:
        """Ask for the end of a stretch: as much of it as one reply will probably answer for.

        Args:
            stretch: what is wanted.
            now_ms: this machine's clock. Nothing is asked of times that are far from having come.
        """
        window = stretch.window
        span = span_ms(window.interval)
        reach = self.reach(window.interval)
        size = reach.size(window.symbol)
        if stretch.newest_ms is not None:
            return self._question_of_later(stretch, stretch.newest_ms, now_ms)
        part = stretch.whole if stretch.is_undivided else _end_of(window, size, now_ms + 2 * span)
        after, before = stretch.after_ms, stretch.before_ms
        is_all = part.start_ms == window.start_ms
        start_ms = part.start_ms - span
        if is_all and before is not None and (stretch.is_check or part.end_ms - before <= 2 * (size + 1) * span):
            start_ms = min(start_ms, before - span)
        end_ms = part.end_ms + -part.end_ms % span + span - 1
        is_end = part.end_ms == stretch.end_ms
        further_ms = 0
        has_anchor = after is not None and (
            stretch.is_check
            or (stretch.hollow_ms is None and after - part.start_ms <= (size + 1) * span)
            or after <= part.end_ms + span
        )
        if stretch.is_cut_off:
            has_anchor = False
            # A beginning may be rounded down to an interval; that is seen to when it is asked once more.
            start_ms = start_ms if before is None else max(start_ms, before + (span if stretch.is_check else 1))
            end_ms = end_ms if after is None else min(end_ms, after - 1)
        elif has_anchor and after is not None:
            end_ms = after + 2 * span - 1
            further_ms = _FURTHER_MS[stretch.tries] if stretch.tries < len(_FURTHER_MS) else 0
        elif before is not None and is_end:
            further_ms = _beyond_ms(before, part.end_ms, stretch.tries)
            if after is not None:
                further_ms = max(0, min(further_ms, after + 2 * span - 1 - end_ms))
        elif not stretch.tries:
            end_ms = max(part.end_ms, min(end_ms, now_ms))
        further_ms = max(self._further_ms, further_ms)
        return Question(
            stretch, part, max(0, start_ms), end_ms + further_ms, reach.limit, self.path, now_ms, has_anchor
        )

    def _question_of_later(self, stretch: Stretch, newest: int, now_ms: int) -> Question:
        """Ask for all that is later than the newest candle, and for that one."""
        window, span = stretch.window, span_ms(stretch.window.interval)
        part = _part(window, max(window.start_ms, newest + least_span_ms(window.interval)), window.end_ms)
        limit = self.reach(window.interval).limit
        if stretch.spot is not None:
            there = _part(part, part.start_ms, max(part.start_ms + span, min(part.end_ms, now_ms)))
            spot = _spot(there, stretch.spot, self.reach(window.interval).size())
            return Question(stretch, part, spot.start_ms, spot.end_ms - 1, limit, self.path, now_ms)
        if stretch.is_from_long_ago:
            return Question(stretch, part, _LONG_AGO_MS, newest + span - 1, limit, self.path, now_ms)
        # The end may be rounded down.
        further_ms = max(self._further_ms, _beyond_ms(newest, part.end_ms, 1))
        end_ms = part.end_ms + -part.end_ms % span + span - 1 + further_ms
        return Question(stretch, part, max(0, newest - span), end_ms, limit, self.path, now_ms)

    def judge(self, question: Question, times: Sequence[int], as_of_ms: int) -> Verdict:
        """What a reply proves, and learn from it.

        Args:
            question: what was asked.
            times: the open times of all candles that came, in ascending order.
            as_of_ms: when the server replied.
        """
        stretch, part, window = question.stretch, question.window, question.stretch.window
        if stretch.is_latest:
            return self._judge_latest(question, times)
        reach = self.reach(window.interval)
        span, least = span_ms(window.interval), least_span_ms(window.interval)
        if not len(times) and stretch.spot is None:
            reach.asked += 1
        if stretch.newest_ms is not None:
            return self._judge_later(question, times, stretch.newest_ms)
        if not len(times):
            if question.has_anchor or question.has_candle_before:
                return self._ask_further(question, reach)
            return self._judge_nothing(question, reach, question.to_end, is_sure=False)
        first, last = int(times[0]), int(times[-1])
        reach.learn(len(times), (last - first) // span + 1)
        if stretch.asked_ms is not None and _has(times, stretch.asked_ms, min(stretch.end_ms, as_of_ms - _LATE * span)):
            reach.is_capped = True
        start, end = window.start_ms, stretch.end_ms
        since = start if first < start + least else first
        # What opened last by the server's clock has come, or is the running one. A clock that is wrong says nothing.
        is_latest = (
            stretch.after_ms is None
            and last <= as_of_ms + _TICK_MS
            and last + 2 * span > as_of_ms
            and as_of_ms + 2 * span > min(end, question.now_ms)
        )
        until = end if is_latest else min(end, last + least)
        if since >= until or since >= end or last + least <= start:
            return self._judge_elsewhere(question, first, last, len(times), reach)
        self._filled.add((window.symbol, window.interval))
        is_anchored = question.has_anchor and last >= (stretch.after_ms or 0)
        if 1 < stretch.tries < len(_FURTHER_MS) and is_anchored and question.length <= reach.slots:
            self._further_ms = max(self._further_ms, _FURTHER_MS[stretch.tries])
        if since <= part.start_ms and until >= part.end_ms and part.candles > 1:
            reach.is_whole = True
        if until < part.end_ms and (stretch.after_ms is None or question.has_anchor):
            # The first candles were given, and fewer than there are; without an anchor, there may be no more.
            held = (until - max(since, part.start_ms)) // span if question.has_anchor else None
            reach.shrink(window.symbol, held, part.candles)
        else:
            reach.grow(window.symbol, len(times))
        rest: list[Stretch] = []
        if since > start:
            asked_ms = question.since_ms
            rest.append(
                Stretch(
                    _part(window, start, since),
                    is_repeated=asked_ms <= start,
                    after_ms=first,
                    before_ms=stretch.before_ms,
                    asked_ms=asked_ms if asked_ms < since else None,
                )
            )
        if until < end:
            is_hollow = stretch.hollow_ms is not None and not stretch.is_check
            rest.append(
                Stretch(
                    _part(window, until, end),
                    is_repeated=True,
                    after_ms=stretch.after_ms,
                    before_ms=last,
                    hollow=stretch.hollow if is_hollow else 0,
                    is_check=is_hollow,
                    asked_ms=until,
                )
            )
        return Verdict(_part(window, since, until), tuple(rest))

    def _judge_nothing(self, question: Question, reach: Reach, intervals: int, *, is_sure: bool) -> Verdict:
        """No candle in the window: its range may be longer than what the reply speaks for.

        Args:
            question: what was asked.
            reach: what is known of the interval.
            intervals: how long the range is of which the reply has to speak.
            is_sure: whether a candle beyond the window has come, so that this is no accident.
        """
        stretch, window = question.stretch, question.stretch.window
        if stretch.is_check:
            if stretch.hollow <= reach.empty_reach or (is_sure and intervals <= reach.slots):
                return Verdict(
                    stretch.whole,
                    assumed=stretch.hollow if stretch.hollow > reach.slots else 0,
                )
            reach.narrow(window.symbol)
            rest = Stretch(stretch.whole, True, stretch.after_ms, stretch.before_ms, is_checked=True)
            return Verdict(None, (rest,))
        is_all = intervals <= reach.empty_reach and question.window.start_ms <= window.start_ms
        if not is_all and (sought := self._sought(stretch)) is not None:
            return sought
        if intervals > reach.empty_reach:
            beyond = max(0, intervals - question.to_window)
            if not reach.narrow(window.symbol, beyond):
                return self._ask_further(question, reach)
            return Verdict(
                None, (msgspec.structs.replace(stretch, is_repeated=True, asked_ms=question.since_ms, tries=0),)
            )
        reach.recover(window.symbol)
        start_ms = question.window.start_ms
        hollow = max(stretch.hollow, intervals)
        if (is_sure and stretch.hollow_ms is None) or start_ms <= window.start_ms:
            known = self.has_candles(window.symbol, window.interval)
            is_certain = stretch.is_checked or (is_sure and stretch.hollow_ms is None)
            if known and not is_certain:
                # The series has candles: that none came here may be an accident.
                whole = _part(window, start_ms, stretch.end_ms)
                check = Stretch(whole, True, stretch.after_ms, stretch.before_ms, hollow=hollow, is_check=True)
                return Verdict(None, (check,))
            proven = _part(window, start_ms, stretch.end_ms)
            left = _part(window, window.start_ms, start_ms)
            asked_ms = question.since_ms if is_sure else stretch.asked_ms
            rest = Stretch(left, after_ms=stretch.after_ms, before_ms=stretch.before_ms, asked_ms=asked_ms)
            assumed = hollow if hollow > reach.slots or not known else 0
            return Verdict(proven, (rest,) if start_ms > window.start_ms else (), assumed=assumed)
        left = _part(window, window.start_ms, start_ms)
        rest = Stretch(
            left,
            after_ms=stretch.after_ms,
            before_ms=stretch.before_ms,
            hollow_ms=stretch.end_ms,
            hollow=hollow,
            is_checked=stretch.is_checked,
            asked_ms=stretch.asked_ms,
        )
        return Verdict(None, (rest,))

    def _judge_elsewhere(self, question: Question, first: int, last: int, count: int, reach: Reach) -> Verdict:
        """A reply that has candles and proves nothing of the stretch: they are all before it, or all after it."""
        stretch = question.stretch
        is_few = count <= _FEW or 2 * count <= reach.rows
        after, before = stretch.after_ms, stretch.before_ms
        stuck = Verdict(None, (stretch,), is_stuck=True)
        is_known = first == after or last == before
        if is_known and count == reach.rows <= _FEW and not stretch.is_check and not stretch.is_cut_off:
            # There may have been no room for others, for no reply has held more.
            return Verdict(None, (msgspec.structs.replace(stretch, is_cut_off=True),))
        # One candle is what a server gives that begins earlier than it is asked to.
        is_full = stretch.is_check and last == before and 1 < count == reach.rows <= FEWEST
        if is_full and reach.holds_few:
            # It is told by nothing at all where the candles around it are not asked for.
            return stuck if stretch.is_cut_off else Verdict(None, (msgspec.structs.replace(stretch, is_cut_off=True),))
        if first >= stretch.end_ms:
            if after is not None and first == after:
                is_sure = is_few or self.cuts is Cut.LATER
                if not is_sure:
                    return self._ask_further(question, reach) if self.knows_cut and not stretch.tries else stuck
                return self._judge_nothing(question, reach, question.to_end, is_sure=question.has_anchor)
            return self._ask_further(question, reach, after_ms=first if after is None else min(first, after))
        if not stretch.tries and not question.has_anchor and _beyond_ms(last, stretch.end_ms, 1):
            # The end may have been rounded down.
            return self._ask_further(question, reach, before_ms=last if before is None else max(last, before))
        if self.cuts is Cut.EARLIER and not question.has_anchor:
            return Verdict(stretch.whole)
        if (question.has_anchor and not stretch.is_check) or (before is not None and last < before):
            return self._ask_further(question, reach, before_ms=last if before is None else max(last, before))
        if is_few:
            is_sure = question.has_candle_before and last == before
            intervals = question.to_window if is_sure else question.to_end
            verdict = self._judge_nothing(question, reach, intervals, is_sure=is_sure)
            if is_full and verdict.proven is not None:
                # Nothing is known of what a reply holds: more may have come when all else has.
                return verdict._replace(assumed=max(1, verdict.assumed), is_full=True)
            return verdict
        return stuck

    def _ask_further(
        self, question: Question, reach: Reach, *, after_ms: int | None = None, before_ms: int | None = None
    ) -> Verdict:
        """A candle that is known to be there was not given: nothing is proven."""
        stretch = question.stretch
        symbol = stretch.window.symbol
        if stretch.tries and question.length > reach.slots:
            # Replies may not reach as far as was believed.
            reach.believe_less(question.length)
            if reach.narrow(symbol):
                return Verdict(
                    None, (msgspec.structs.replace(stretch, asked_ms=question.since_ms, is_check=False, tries=1),)
                )
        if stretch.tries and stretch.is_check:
            # It is too long for one reply.
            again = Stretch(stretch.whole, True, stretch.after_ms, stretch.before_ms, is_checked=True)
            return Verdict(None, (again,))
        if stretch.tries < len(_FURTHER_MS) - 1:
            can_change = True
        else:
            can_change = reach.halve(symbol, question.window.candles) or stretch.tries < len(_FURTHER_MS)
        if not can_change:
            return Verdict(None, (stretch,), is_stuck=True)
        again = msgspec.structs.replace(
            stretch,
            is_repeated=True,
            after_ms=stretch.after_ms if after_ms is None else after_ms,
            before_ms=stretch.before_ms if before_ms is None else before_ms,
            tries=stretch.tries + 1,
        )
        return Verdict(None, (again,))

    def _sought(self, stretch: Stretch) -> Verdict | None:
        """Where nothing is known of a series but that nothing was found: first to be known is where it ends."""
        window = stretch.window
        series = (window.symbol, window.interval)
        is_known = not (stretch.after_ms is stretch.before_ms is stretch.hollow_ms is None)
        if is_known or stretch.is_repeated or series in self._filled:
            return None
        if series not in self._newest:
            if self.gives_latest is False:
                return None
            return Verdict(None, (msgspec.structs.replace(stretch, is_latest=True),))
        newest = self._newest[series]
        return None if newest is None else self._asking_later(stretch, newest)

    def _judge_latest(self, question: Question, times: Sequence[int]) -> Verdict:
        """The latest candles of a series, which were asked for without a range."""
        stretch, window = question.stretch, question.window
        self.gives_latest = True
        if not stretch.is_repeated:
            return self._seek(stretch, times)
        # None was found of it: if they are in its range, the replies were wrong.
        since, until = bisect_left(times, window.start_ms), bisect_left(times, window.end_ms)
        if since == until:
            return Verdict(window)
        self.reach(window.interval).believe_less(LEAST_REACH)
        first, last = int(times[since]), int(times[until - 1])
        end_ms = min(window.end_ms, last + least_span_ms(window.interval))
        rest: list[Stretch] = []
        if window.start_ms < first:
            rest.append(Stretch(_part(window, window.start_ms, first), True, after_ms=first))
        if end_ms < window.end_ms:
            rest.append(Stretch(_part(window, end_ms, window.end_ms), True, before_ms=last))
        return Verdict(_part(window, first, end_ms), tuple(rest))

    def _seek(self, stretch: Stretch, times: Sequence[int]) -> Verdict:
        """Learn where a series ends."""
        unsought = self.unsought(stretch)
        place = bisect_left(times, stretch.window.end_ms)
        if not place:
            return Verdict(None, (unsought,))
        window = stretch.window
        newest = self._newest[window.symbol, window.interval] = int(times[place - 1])
        if newest + least_span_ms(window.interval) >= window.end_ms:
            return Verdict(None, (unsought,), is_odd=True)
        return self._asking_later(unsought, newest) or Verdict(None, (unsought,))

    def learn_no_latest(self, *, is_of_symbol: bool) -> None:
        """The latest candles could not be had: it goes without.

        Args:
            is_of_symbol: whether there may be none of one symbol, and of others there are.
        """
        self._without_latest += 1
        if not is_of_symbol or (not self.gives_latest and self._without_latest >= _MOST_WITHOUT):
            self.gives_latest = False

    def unsought(self, stretch: Stretch) -> Stretch:
        """The same, to be walked without knowing where the series ends."""
        self._newest[stretch.window.symbol, stretch.window.interval] = None
        return msgspec.structs.replace(
            stretch, is_latest=False, newest_ms=None, spot=None, is_from_long_ago=False, tries=0
        )

    def _asking_later(self, stretch: Stretch, newest: int) -> Verdict | None:
        """Ask first for what is later than the newest candle; None if there is nothing, or too much for a reply.

        Nothing is proven by the latest candles, and none is taken from them: they may be a copy of long ago, in which
        the last one was running.
        """
        window = stretch.window
        reach = self.reach(window.interval)
        least = least_span_ms(window.interval)
        if newest + least >= window.end_ms:
            return None
        is_far = (window.end_ms + _DAY_MS - newest) // least > max(reach.empty_reach, reach.bridged or 0)
        if is_far and reach.bridged is not None:
            return None
        return Verdict(None, (msgspec.structs.replace(stretch, newest_ms=newest, is_from_long_ago=is_far),))

    def _judge_later(self, question: Question, times: Sequence[int], newest: int) -> Verdict:
        """From the newest candle to the end of a range: if that one came, so did what directly follows it.

        Args:
            question: what was asked.
            times: the open times of all candles that came.
            newest: the open time of the newest candle.
        """
        stretch, window, part = question.stretch, question.stretch.window, question.window
        series = (window.symbol, window.interval)
        reach, span = self.reach(window.interval), span_ms(window.interval)
        if stretch.is_from_long_ago:
            # Where even the end was not heeded, it shows nothing.
            is_heeded = len(times) > 0 and int(times[-1]) <= question.end_ms + span
            reach.bridged = (int(times[0]) - question.start_ms) // span if is_heeded else 0
            unsought = msgspec.structs.replace(stretch, newest_ms=None, is_from_long_ago=False)
            return self._asking_later(unsought, newest) or Verdict(None, (unsought,))
        if stretch.spot is not None:
            return self._judge_spot(question, times, stretch.spot)
        if not _has(times, newest, newest + 1):
            # An accident; or replies do not reach so far, or the latest candles are not those of a range.
            again = self.unsought(stretch) if stretch.tries else msgspec.structs.replace(stretch, tries=1)
            return Verdict(None, (again,), is_odd=stretch.tries > 0)
        last = self._newest[series] = int(times[-1])
        if last == newest and question.to_window > reach.slots:
            return Verdict(None, (msgspec.structs.replace(stretch, spot=0, tries=0),))
        if last == newest:
            return self._nothing_later(question)
        rest = self._before(question)
        # It came meanwhile, or the latest candles were not the latest.
        until = min(part.end_ms, max(part.start_ms, last + least_span_ms(window.interval)))
        if until < part.end_ms:
            rest.append(Stretch(_part(part, until, part.end_ms), newest_ms=last))
        if until == part.start_ms:
            return Verdict(None, tuple(rest))
        self._filled.add(series)
        return Verdict(_part(part, part.start_ms, until), tuple(rest))

    def _judge_spot(self, question: Question, times: Sequence[int], spot: int) -> Verdict:
        """A spot of what is later than the newest candle: a server may take an early start for that of the listing."""
        stretch = question.stretch
        if _has(times, question.window.start_ms, question.window.end_ms):
            return Verdict(None, (self.unsought(stretch),))
        if spot + 1 < _SPOTS:
            return Verdict(None, (msgspec.structs.replace(stretch, spot=spot + 1),))
        return self._nothing_later(question)

    def _nothing_later(self, question: Question) -> Verdict:
        """What is later than the newest candle has none."""
        window = question.stretch.window
        reach = self.reach(window.interval)
        beyond = (question.window.start_ms - (question.stretch.newest_ms or 0)) // least_span_ms(window.interval)
        length = question.to_window + beyond
        rest = self._before(question)
        is_assumed = length > max(reach.slots, reach.bridged or 0)
        return Verdict(question.window, tuple(rest), assumed=length if is_assumed else 0)

    def _before(self, question: Question) -> list[Stretch]:
        """What of the stretch is earlier than the question's window."""
        window = question.stretch.window
        if window.start_ms >= question.window.start_ms:
            return []
        return [Stretch(_part(window, window.start_ms, question.window.start_ms))]

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

    def ask_for_fewer(self, question: Question) -> bool:
        """Ask for fewer candles of an interval from now on, if those that were refused are not fewer already.

        Returns:
            Whether that is worth another try.
        """
        reach = self.reach(question.window.interval)
        if question.limit is None:
            del self._reaches[question.window.interval]
            return False
        if reach.limit == question.limit:
            fewer = next((limit for limit in LIMITS if limit < question.limit), None)
            self._reaches[question.window.interval] = Reach(fewer)
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
        if self.query.path is not None or self.heeds_ranges:
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
        self._further_ms = 0


def _intervals(window: Window, end_ms: int, now_ms: int) -> int:
    return max(0, -((window.start_ms - min(end_ms, now_ms)) // least_span_ms(window.interval)))


def _spot(window: Window, place: int, size: int) -> Window:
    """So many intervals at one of the places that are spread over a window."""
    span = span_ms(window.interval)
    middle_ms = window.start_ms + (window.end_ms - window.start_ms) * (place + 1) // (_SPOTS + 1)
    start_ms = max(window.start_ms, (middle_ms - size * span // 2) // span * span)
    return _part(window, start_ms, min(window.end_ms, start_ms + size * span))


def _beyond_ms(last_ms: int, end_ms: int, tries: int) -> int:
    """How far beyond a range to look, where its last candle may be the last before the end was rounded down."""
    units = [unit for unit in (_DAY_MS, _HOUR_MS) if last_ms <= end_ms - end_ms % unit]
    return units[tries - 1] if 0 < tries <= len(units) else 0


def _end_of(window: Window, most: int, horizon_ms: int) -> Window:
    """The end of a window; what lies beyond the horizon is there in addition."""
    if horizon_ms >= window.end_ms:
        return last_part(window, most)
    if horizon_ms <= window.start_ms:
        return window
    part = last_part(msgspec.structs.replace(window, end_ms=horizon_ms), most)
    return msgspec.structs.replace(window, start_ms=part.start_ms)


def _has(times: Sequence[int], start_ms: int, end_ms: int) -> bool:
    place = bisect_left(times, start_ms)
    return place < len(times) and times[place] < end_ms


def _part(window: Window, start_ms: int, end_ms: int) -> Window:
    if (start_ms, end_ms) == (window.start_ms, window.end_ms):
        return window
    return msgspec.structs.replace(window, start_ms=start_ms, end_ms=end_ms)
