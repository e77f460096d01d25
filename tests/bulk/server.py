"""A server of candles without HTTP: one series, and every habit that a server may have with ranges of it."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Literal

from alura_async.bulk.habits import Habits, Question, Stretch, Verdict
from alura_async.bulk.plan import Window, span_ms
from alura_async.bulk.query import CandleQuery


@dataclass
class Server:
    """Times at which candles open, and how they are given.

    Args:
        interval: the interval.
        opened: the open times there are, in ascending order; the last may be running.
        now_ms: its clock.
        cap: how many candles a reply holds at most.
        ignores_limit: whether it always gives as many as `cap`.
        ignores_start: whether the beginning of a range means nothing.
        ignores_end: whether its end means nothing.
        excludes_start: whether a candle that opens at the beginning is left out.
        excludes_end: whether one that opens at the end is left out.
        by_close: whether a range is of close times: a candle that ends in it belongs to it.
        last_first: whether the last candles are given where there are too many.
        overlaps: whether the candle before the first is given as well.
        floors: whether the beginning is rounded down to an interval.
        without_running: whether the running candle is taken out of the reply.
        by_time: whether a range is cut after `limit` intervals, traded or not.
        caps: how many candles a reply holds at most, of one after the other: some cut by bytes.
        spans: how many intervals a reply is about at most.
        rounds_ms: what a range's beginning is rounded down to.
        rounds_end: how its end is.
        blips: how many of the questions are answered by nothing when they are asked for the first time.
        unit: how many milliseconds its times are counted in.
        latest_age_ms: how old that is which is given as the latest candles.
        latest_kind: whether they are the last ones, the first ones of all, or none.
    """

    interval: str
    opened: list[int]
    now_ms: int
    cap: int | None = None
    ignores_limit: bool = False
    ignores_start: bool = False
    ignores_end: bool = False
    excludes_start: bool = False
    excludes_end: bool = False
    by_close: bool = False
    last_first: bool = False
    overlaps: bool = False
    floors: bool = False
    without_running: bool = False
    by_time: bool = False
    caps: tuple[int, ...] = ()
    spans: int | None = None
    rounds_ms: int = 0
    rounds_end: Literal["up", "down", "no"] = "no"
    blips: float = 0.0
    unit: int = 1
    latest_age_ms: int = 0
    latest_kind: Literal["last", "first", "none"] = "last"
    requests: int = field(default=0, init=False)
    _asked: set[tuple[int, int]] = field(default_factory=set, init=False)
    _draw: random.Random = field(default_factory=lambda: random.Random(1), init=False)

    def answer(self, start_ms: int, end_ms: int, limit: int | None) -> list[int]:
        """The open times of the candles of a reply."""
        self.requests += 1
        span = span_ms(self.interval)
        most = 500 if limit is None else limit
        if self.cap is not None:
            most = self.cap if self.ignores_limit else min(most, self.cap)
        if self.caps:
            most = min(most, self.caps[self.requests % len(self.caps)])
        if (start_ms, end_ms) not in self._asked:
            self._asked.add((start_ms, end_ms))
            if self._draw.random() < self.blips:
                return []
        start_ms, end_ms = start_ms * self.unit, end_ms * self.unit
        if self.rounds_ms:
            start_ms -= start_ms % self.rounds_ms
            if self.rounds_end == "down":
                end_ms -= end_ms % self.rounds_ms
            elif self.rounds_end == "up":
                end_ms += -end_ms % self.rounds_ms
        if self.spans is not None and self.last_first:
            start_ms = max(start_ms, min(end_ms, self.now_ms) - self.spans * span + 1)
        elif self.spans is not None:
            end_ms = min(end_ms, start_ms + self.spans * span - 1)
        if self.floors:
            start_ms -= start_ms % span
        if self.overlaps:
            start_ms -= span
        if self.by_time and not self.last_first:
            end_ms = min(end_ms, start_ms + span * most - 1)
        if self.by_time and self.last_first:
            start_ms = max(start_ms, end_ms - span * most + 1)
        lasts = span if self.by_close else 0
        # Where in the series the range begins and ends.
        begins = 0 if self.ignores_start else self._place(start_ms - lasts, after=self.excludes_start)
        ends = self._place(self.now_ms, after=True)
        if not self.ignores_end:
            ends = min(ends, self._place(end_ms - lasts, after=not self.excludes_end))
        found = self.opened[begins:ends]
        found = found[-most:] if self.last_first or self.ignores_start else found[:most]
        if self.without_running:
            found = [time for time in found if time + span <= self.now_ms]
        return found

    def latest(self) -> list[int]:
        """The open times of the latest candles, when no range is asked for."""
        self.requests += 1
        now_ms = self.now_ms - self.latest_age_ms
        if self.without_running:
            now_ms -= span_ms(self.interval)
        found = self.opened[: self._place(now_ms, after=True)]
        return {"last": found[-500:], "first": found[:500], "none": []}[self.latest_kind]

    def _place(self, time_ms: int, *, after: bool) -> int:
        return (bisect_right if after else bisect_left)(self.opened, time_ms)


@dataclass
class Pulled:
    """What a pull without HTTP brought: the ranges that were proven and the candles of each; what could not be had."""

    proven: list[tuple[Window, list[int]]]
    stuck: list[Window]

    @property
    def times(self) -> list[int]:
        """All open times, in ascending order of the ranges."""
        return [time for _, times in sorted(self.proven, key=lambda page: page[0].start_ms) for time in times]


def pull(
    server: Server, start_ms: int, end_ms: int, most: int = 5000, behind: int = 0, now_ms: int | None = None
) -> Pulled:
    """Pull a range of one series, one request after the other.

    Args:
        server: the server.
        start_ms: the beginning of the range.
        end_ms: its end.
        most: how many candles are asked for.
        behind: how many milliseconds the server's `Date` is behind.
        now_ms: this machine's clock, where that is not the server's.
    """
    habits = Habits(CandleQuery(most=most))
    todo = [Stretch(Window("BTC", server.interval, start_ms, end_ms))]
    held: list[Verdict] = []
    pulled = Pulled([], [])
    while todo or held:
        if not todo:
            for verdict in held:
                assert verdict.proven is not None  # it is held for that
                doubt = habits.doubt(verdict)
                if doubt is None:
                    pulled.proven.append((verdict.proven, []))
                else:
                    todo.append(doubt)
            held.clear()
            continue
        stretch = todo.pop()
        question = habits.question(stretch, now_ms=server.now_ms if now_ms is None else now_ms)
        times = server.latest() if stretch.is_latest else ask(server, question)
        verdict = habits.judge(question, times, server.now_ms - behind)
        if verdict.is_stuck and not habits.knows_cut:
            half = max(1, len(times) // 2)
            habits.learn_cut(times, server.answer(question.start_ms, question.end_ms, half))
            verdict = habits.judge(question, times, server.now_ms - behind)
        if verdict.is_stuck:
            # The rest of the series is not asked for.
            rest = [*question.left, *todo]
            pulled.stuck += [
                question.window,
                *(left.whole for left in rest),
                *(each.proven for each in held if each.proven),
            ]
            return pulled
        if verdict.proven is not None:
            within = [time for time in times if verdict.proven.start_ms <= time < verdict.proven.end_ms]
            if verdict.assumed and not within:
                held.append(verdict)
            else:
                pulled.proven.append((verdict.proven, within))
        todo += verdict.rest
        assert server.requests < 20_000, "it goes on for ever"
    return pulled


def ask(server: Server, question: Question) -> list[int]:
    """What the server answers to a question."""
    return server.answer(question.start_ms, question.end_ms, question.limit)
