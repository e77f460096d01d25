"""Whatever habits a server of candles has, what is pulled from it is complete, or said not to be."""

from __future__ import annotations

import os
import random
from bisect import bisect_left
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alura_async.bulk.habits import Cut, Habits, Stretch, Verdict
from alura_async.bulk.plan import Window, span_ms
from alura_async.bulk.query import CandleQuery
from alura_async.errors import NotFoundError

from .server import Pulled, Server, pull

MINUTE = 60_000
NOW = 28_333_333 * MINUTE + 17_000
EXAMPLES = int(os.environ.get("ALURA_BULK_EXAMPLES", "60"))


def series(seed: int, length: int, interval: str = "1m", least: float = 0.0) -> list[int]:
    """Open times up to now: dense or sparse, with holes, and a listing somewhere."""
    draw = random.Random(seed)
    span = span_ms(interval)
    last = NOW // span
    listed = draw.choice([0, 0, length // 3, length - 5, length + 10])
    density = max(least, draw.choice([1.0, 1.0, 0.97, 0.5, 0.1, 0.01]))
    holes = [
        (at, at + draw.choice([1, 5, 60, 700]))
        for at in (draw.randrange(length) for _ in range(draw.choice([0, 0, 3])))
    ]
    end = draw.choice([0, 0, 0, 1, 2, 40, length // 2])
    return [
        (last - back) * span
        for back in range(length + 30, end - 1, -1)
        if back <= length - listed + 30
        and draw.random() < density
        and not any(since <= back < until for since, until in holes)
    ]


def check(server: Server, pulled: Pulled, start_ms: int, end_ms: int) -> None:
    """The parts are disjoint, cover the range, and hold exactly what there is."""
    at = start_ms
    for window in sorted([window for window, _ in pulled.proven] + pulled.stuck, key=lambda window: window.start_ms):
        assert window.start_ms == at
        at = window.end_ms
    assert at == end_ms
    span = span_ms(server.interval)
    for window, times in pulled.proven:
        since, until = bisect_left(server.opened, window.start_ms), bisect_left(server.opened, window.end_ms)
        there = [time for time in server.opened[since:until] if time <= server.now_ms]
        if server.without_running:
            there = [time for time in there if time + span <= server.now_ms]
        assert set(there) - set(times) <= {server.now_ms // span * span}
        assert set(times) <= set(there)


READABLE: Any = st.fixed_dictionaries(
    {
        "cap": st.sampled_from([None, 10, 11, 50, 100, 101, 499, 500, 1000]),
        "excludes_start": st.booleans(),
        "excludes_end": st.booleans(),
        "by_close": st.booleans(),
        "overlaps": st.booleans(),
        "without_running": st.booleans(),
        "by_time": st.booleans(),
        "floors": st.booleans(),
    }
)
KINDS: Any = st.sampled_from([{}, {"last_first": True}, {"ignores_start": True}, {"ignores_end": True}])


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    habits=READABLE,
    kind=KINDS,
    seed=st.integers(0, 10**9),
    length=st.sampled_from([1, 3, 30, 200, 900, 2500]),
    unaligned=st.sampled_from([0, 1, 29_999]),
    until=st.sampled_from([0, 1, 5, 300]),
    most=st.sampled_from([5000, 5000, 300]),
)
def test_a_server_that_can_be_read_by_ranges_is_read_completely(
    habits: dict[str, Any], kind: dict[str, Any], seed: int, length: int, unaligned: int, until: int, most: int
) -> None:
    if "ignores_start" in kind or "ignores_end" in kind or (habits["cap"] or 500) < 500:
        # Where a short stretch of time is all that a reply is about, whatever there is in it, a series with longer
        # holes cannot be told from its end.
        habits = {**habits, "by_time": False}
    server = Server("1m", series(seed, length), NOW, **habits, **kind)
    start = NOW // MINUTE * MINUTE - length * MINUTE + unaligned
    end = max(start + MINUTE, NOW - until * MINUTE)
    pulled = pull(server, start, end, most)
    check(server, pulled, start, end)
    assert not pulled.stuck


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    habits=READABLE,
    kind=st.sampled_from(
        [
            {"ignores_start": True, "ignores_end": True},
            {"last_first": True, "ignores_end": True},
            {"ignores_start": True, "ignores_end": True, "ignores_limit": True},
            {"ignores_start": True, "ignores_limit": True},
            {"ignores_end": True, "ignores_limit": True},
        ]
    ),
    seed=st.integers(0, 10**9),
    length=st.sampled_from([1, 30, 200, 900, 2500]),
    until=st.sampled_from([0, 5, 300]),
)
def test_what_a_server_cannot_be_asked_for_is_said_and_never_taken_for_nothing(
    habits: dict[str, Any], kind: dict[str, Any], seed: int, length: int, until: int
) -> None:
    server = Server(
        "1m", series(seed, length), NOW, **{**habits, "cap": habits["cap"] or 500, "by_time": False}, **kind
    )
    start = NOW // MINUTE * MINUTE - length * MINUTE
    end = max(start + MINUTE, NOW - until * MINUTE)
    check(server, pull(server, start, end), start, end)


HOUR, DAY = 60 * MINUTE, 1440 * MINUTE
AWKWARD: Any = st.sampled_from(
    [
        {"caps": (300, 411, 500, 350)},
        {"caps": (5000, 100)},
        {"caps": (100, 37, 5000, 10)},
        {"rounds_ms": HOUR, "rounds_end": "down", "cap": 500},
        {"rounds_ms": HOUR, "rounds_end": "up", "cap": 500},
        {"rounds_ms": HOUR, "rounds_end": "down"},
        {"rounds_ms": DAY, "rounds_end": "up"},
        {"rounds_ms": DAY, "rounds_end": "down"},
        {"rounds_ms": DAY, "rounds_end": "down", "cap": 500},
        {"spans": 20},
        {"spans": 60},
        {"spans": 1440},
        {"spans": 360, "cap": 500},
        {"blips": 0.03, "cap": 100},
        {"blips": 0.3, "cap": 500},
        {"blips": 0.1},
    ]
)


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(
    awkward=AWKWARD,
    last_first=st.booleans(),
    seed=st.integers(0, 10**9),
    length=st.sampled_from([1, 30, 200, 900, 2500, 9000]),
    until=st.sampled_from([0, 0, 5, 300]),
)
def test_no_candle_is_lost_silently_on_an_irregular_server(
    awkward: dict[str, Any], last_first: bool, seed: int, length: int, until: int
) -> None:
    opened = series(seed, length)
    if awkward.get("spans", 500) < 500:
        # Where all replies are about so short a time and hold little, nobody can know of what is farther away.
        latest = minutes(3 * awkward["spans"], 0)
        opened = sorted({*series(seed, length, least=0.5), *minutes(length, 0)[::5], *latest})
    server = Server("1m", opened, NOW, last_first=last_first, **awkward)
    start = NOW // MINUTE * MINUTE - length * MINUTE
    end = max(start + MINUTE, NOW - until * MINUTE)
    pulled = pull(server, start, end)
    check(server, pulled, start, end)
    # Of many accidents some come four times in a row.
    if "rounds_ms" not in awkward and awkward.get("blips", 0) < 0.3:
        assert not pulled.stuck


LATEST: Any = st.fixed_dictionaries(
    {
        "latest_age_ms": st.sampled_from([0, 0, 0, 5 * MINUTE, HOUR, DAY, 5 * DAY]),
        "latest_kind": st.sampled_from(["last", "last", "last", "first", "none"]),
    }
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    habits=st.one_of(READABLE, AWKWARD.filter(lambda habits: habits.get("spans", 500) >= 500)),
    kind=KINDS,
    latest=LATEST,
    seed=st.integers(0, 10**9),
    length=st.sampled_from([200, 900, 2500, 9000, 20_000]),
    ended=st.sampled_from([1, 30, 501, 2000, 5001, 12_000, 30_000]),
    late=st.sampled_from([0, 0, 2, 600, 9000]),
    until=st.sampled_from([0, 0, 5, 300]),
)
def test_no_candle_is_lost_where_a_series_ends_early_whatever_its_latest_candles_are(
    habits: dict[str, Any],
    kind: dict[str, Any],
    latest: dict[str, Any],
    seed: int,
    length: int,
    ended: int,
    late: int,
    until: int,
) -> None:
    """It is traded no more, or the server's clock is late; and the latest candles are a copy of any age."""
    if (habits.get("cap") or 500) < 500 or "ignores_start" in kind or "ignores_end" in kind:
        habits = {**habits, "by_time": False}
    if "rounds_ms" in habits or "blips" in habits:
        # Of a short range that is answered by nothing, nothing else tells.
        latest = {}
    opened = [time - ended * MINUTE for time in series(seed, length)]
    server = Server("1m", opened, NOW - late * MINUTE, **habits, **kind, **latest)
    start = NOW // MINUTE * MINUTE - (length + ended // 2) * MINUTE
    end = max(start + MINUTE, NOW - until * MINUTE)
    check(server, pull(server, start, end, now_ms=NOW), start, end)


@pytest.mark.parametrize("last_first", [False, True])
def test_times_in_another_unit_are_an_error_and_never_no_candles(last_first: bool) -> None:
    server = Server("1m", dense(5000), NOW, cap=500, unit=1000, last_first=last_first)
    pulled = pull(server, NOW - 5000 * MINUTE, NOW)
    check(server, pulled, NOW - 5000 * MINUTE, NOW)
    assert pulled.stuck
    assert len(pulled.times) <= 500


def dense(length: int) -> list[int]:
    return [(NOW // MINUTE - back) * MINUTE for back in range(length, -1, -1)]


def test_a_server_that_gives_only_its_latest_candles_is_not_read_beyond_them() -> None:
    server = Server("1m", dense(10_000), NOW, cap=500, ignores_start=True, ignores_end=True)
    pulled = pull(server, NOW - 10_000 * MINUTE, NOW)
    assert pulled.times == dense(499)
    assert pulled.stuck
    check(server, pulled, NOW - 10_000 * MINUTE, NOW)


@pytest.mark.parametrize(
    "habits",
    [
        {},
        {"by_time": True},
        {"last_first": True},
        {"last_first": True, "by_time": True},
        {"overlaps": True},
        {"overlaps": True, "by_time": True},
        {"floors": True, "excludes_start": True, "excludes_end": True},
        {"by_close": True},
        {"by_close": True, "excludes_end": True, "excludes_start": True},
        {"without_running": True},
        {"ignores_start": True},
        {"ignores_end": True},
    ],
)
@pytest.mark.parametrize("cap", [50, 500])
def test_a_series_that_is_traded_always_takes_hardly_more_requests_than_it_must(
    cap: int, habits: dict[str, Any]
) -> None:
    length = 40 * cap
    server = Server("1m", dense(length + 10 * cap), NOW, cap=cap, **habits)
    start = NOW // MINUTE * MINUTE - length * MINUTE
    pulled = pull(server, start, NOW)
    check(server, pulled, start, NOW)
    assert not pulled.stuck
    assert server.requests <= 1.1 * length / cap + 3


@pytest.mark.parametrize("habits", [{}, {"last_first": True}, {"ignores_end": True}, {"overlaps": True}])
@pytest.mark.parametrize("cap", [100, 500, 1000])
@pytest.mark.parametrize("days", [1, 30, 300])
def test_days_without_candles_at_the_end_take_hardly_any_requests(days: int, cap: int, habits: dict[str, Any]) -> None:
    ended, length = days * 1440, 20 * cap
    server = Server("1m", minutes(ended + length + 10 * cap, ended), NOW, cap=cap, **habits)
    start = NOW // MINUTE * MINUTE - (ended + length) * MINUTE
    pulled = pull(server, start, NOW)
    check(server, pulled, start, NOW)
    assert pulled.times == minutes(ended + length, ended)
    # What is no longer than a first question is walked, before it is known where the series ends.
    assert server.requests <= 1.2 * (length + min(ended, 5000)) / cap + 8


def test_a_clock_that_is_months_late_takes_hardly_any_requests() -> None:
    server = Server("1m", dense(100 * 1440 + 20_000), NOW - 100 * DAY, cap=500)
    start = NOW // MINUTE * MINUTE - 100 * DAY - 10_000 * MINUTE
    pulled = pull(server, start, NOW, now_ms=NOW)
    check(server, pulled, start, NOW)
    assert len(pulled.times) == 10_001
    assert server.requests <= 20 + 11


@pytest.mark.parametrize("spans", [500, 600, 1440])
@pytest.mark.parametrize("last_first", [False, True])
def test_the_newest_of_a_copy_of_long_ago_is_not_the_end_where_replies_reach_no_farther(
    last_first: bool, spans: int
) -> None:
    """There is a hole after it that no reply reaches over, and others come after that."""
    opened = minutes(30_000, 20_000) + minutes(16_000, 12_000)
    server = Server("1m", opened, NOW, cap=1000, spans=spans, last_first=last_first, latest_age_ms=18_000 * MINUTE)
    start = NOW // MINUTE * MINUTE - 30_000 * MINUTE
    check(server, pull(server, start, NOW), start, NOW)


@pytest.mark.parametrize("spans", [1000, 5000])
def test_the_newest_of_a_copy_is_not_the_end_where_an_early_start_is_taken_for_the_listing(spans: int) -> None:
    """How far replies reach from a start of long ago shows nothing then; and it was traded again later."""

    class Clamping(Server):
        def answer(self, start_ms: int, end_ms: int, limit: int | None) -> list[int]:
            return super().answer(max(start_ms, self.opened[0]), end_ms, limit)

    opened = minutes(60_000, 40_001) + minutes(28_000, 8001)
    server = Clamping("1m", opened, NOW, cap=1000, spans=spans, latest_age_ms=35_000 * MINUTE)
    start = NOW // MINUTE * MINUTE - 70_000 * MINUTE
    check(server, pull(server, start, NOW), start, NOW)


def test_a_symbol_that_is_seldom_traded_takes_few_requests() -> None:
    """Its replies hold less than they may, so they are asked for longer ranges."""
    opened = [time for time in dense(100_000) if time // MINUTE % 4 == 0]
    server = Server("1m", opened, NOW, cap=500)
    start = NOW // MINUTE * MINUTE - 100_000 * MINUTE
    check(server, pull(server, start, NOW), start, NOW)
    # At the pace of a busy symbol it would take 202.
    assert server.requests <= 110


def test_the_time_before_a_listing_takes_no_more_requests_than_if_it_were_full() -> None:
    server = Server("1m", dense(10_000), NOW, cap=1000)
    start = NOW // MINUTE * MINUTE - 100_000 * MINUTE
    check(server, pull(server, start, NOW), start, NOW)
    assert server.requests <= 1.1 * 100 + 5


@pytest.mark.parametrize("interval", ["1d", "1w", "1M"])
def test_days_weeks_and_months_are_read_wherever_they_begin(interval: str) -> None:
    """A week may begin on a Monday, and a month has its own length."""
    day = 86_400_000
    steps = {"1d": [1], "1w": [7], "1M": [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]}[interval]
    opened, at = [], NOW // day * day - 2000 * day
    while at < NOW:
        opened.append(at)
        at += steps[len(opened) % len(steps)] * day
    server = Server(interval, opened, NOW, cap=20)
    start = opened[0] - 5 * day
    pulled = pull(server, start, NOW)
    check(server, pulled, start, NOW)
    assert pulled.times == opened


@pytest.mark.parametrize("behind", [-3_600_000, -5000, 5000, 90_000, 3_600_000, 400 * MINUTE, 1950 * MINUTE])
def test_a_server_whose_clock_is_wrong_is_read_completely(behind: int) -> None:
    """What it calls the future is there all the same."""
    server = Server("1m", dense(3000), NOW, cap=100)
    pulled = pull(server, NOW - 2000 * MINUTE, NOW, behind=behind)
    check(server, pulled, NOW - 2000 * MINUTE, NOW)
    assert pulled.times == dense(1999)
    assert server.requests <= 30


@pytest.mark.parametrize("last_first", [False, True])
def test_a_range_that_is_cut_by_time_is_no_whole_one_because_it_holds_little(last_first: bool) -> None:
    opened = [time for time in dense(20_000) if time // MINUTE % 10 == 0]
    server = Server("1m", opened, NOW, cap=500, by_time=True, last_first=last_first)
    start = NOW - 20_000 * MINUTE
    check(server, pull(server, start, NOW), start, NOW)


def test_a_short_range_that_begins_before_the_listing_is_looked_into_closely() -> None:
    """Its first minutes are all that the first reply speaks for."""
    server = Server("1m", dense(40), NOW, cap=100, by_time=True)
    start = NOW - 400 * MINUTE
    pulled = pull(server, start, NOW)
    check(server, pulled, start, NOW)
    assert pulled.times == dense(40)


def minutes(since: int, until: int) -> list[int]:
    """Open times from so many minutes ago to so many minutes ago."""
    return [(NOW // MINUTE - back) * MINUTE for back in range(since, until - 1, -1)]


def ago(since: int, until: int, symbol: str = "BTC") -> Window:
    return Window(symbol, "1m", (NOW // MINUTE - since) * MINUTE, (NOW // MINUTE - until) * MINUTE)


def judged(habits: Habits, stretch: Stretch, times: list[int]) -> Verdict:
    """What a reply proves of a stretch."""
    return habits.judge(habits.question(stretch, now_ms=NOW), times, NOW)


def test_what_nothing_was_found_in_is_not_believed_to_be_longer_than_a_reply_reaches() -> None:
    """What is assumed of one series is withdrawn when another one shows how little a reply says."""
    habits = Habits(CandleQuery())
    habits.judge(habits.question(Stretch(ago(9000, 8000)), now_ms=NOW), [], NOW)
    verdict = judged(habits, Stretch(ago(480, 0)), [])
    assert verdict.proven == ago(480, 0)
    judged(habits, Stretch(ago(481, 480)), minutes(481, 481))
    assert habits.doubt(verdict) is None
    first = judged(habits, Stretch(ago(4000, 3000, "ETH")), minutes(3049, 2999))
    (rest,) = first.rest
    assert rest.after_ms == minutes(3049, 3049)[0]
    judged(habits, rest, minutes(3098, 3049))
    assert habits.reach("1m").is_capped
    assert habits.doubt(verdict) == Stretch(ago(480, 0), is_repeated=True)


def test_a_reply_proves_what_lies_between_its_first_and_its_last_candle_and_no_more() -> None:
    habits = Habits(CandleQuery())
    judged(habits, Stretch(ago(4096, 4000)), minutes(4097, 4000))
    verdict = judged(habits, Stretch(ago(4000, 1000, "ETH")), minutes(3990, 3910)[::10])
    assert verdict.proven == ago(3990, 3909, "ETH")
    assert [rest.window for rest in verdict.rest] == [ago(4000, 3990, "ETH"), ago(3909, 1000, "ETH")]
    before, after = verdict.rest
    assert before.after_ms == minutes(3990, 3990)[0]
    assert after.before_ms == minutes(3910, 3910)[0]


@pytest.mark.parametrize("kind", [{}, {"last_first": True}])
@pytest.mark.parametrize("cap", [2, 3])
def test_where_a_reply_has_room_for_hardly_more_than_what_is_known_it_is_asked_for_the_rest(
    cap: int, kind: dict[str, Any]
) -> None:
    server = Server("1m", minutes(120, 0), NOW, cap=cap, **kind)
    pulled = pull(server, NOW - 120 * MINUTE, NOW)
    check(server, pulled, NOW - 120 * MINUTE, NOW)
    assert not pulled.stuck


@pytest.mark.parametrize("cap", [1, 2, 3])
@pytest.mark.parametrize("overlaps", [False, True])
def test_a_reply_that_has_room_for_what_is_known_alone_does_not_show_that_there_is_nothing_else(
    cap: int, overlaps: bool
) -> None:
    server = Server("1m", minutes(2000, 1000), NOW, cap=cap, overlaps=overlaps, floors=True)
    start = NOW // MINUTE * MINUTE - 2000 * MINUTE
    check(server, pull(server, start, NOW), start, NOW)


@pytest.mark.parametrize("habits", [{}, {"overlaps": True, "floors": True}, {"ignores_end": True}, {"by_close": True}])
@pytest.mark.parametrize("ago", [[300], [300, 299], [300, 299, 298], [2, 1, 0], [300, 150, 3]])
@pytest.mark.parametrize("cap", [5, 500])
def test_a_series_of_hardly_any_candles_is_no_error(cap: int, ago: list[int], habits: dict[str, Any]) -> None:
    opened = [(NOW // MINUTE - back) * MINUTE for back in ago]
    server = Server("1m", opened, NOW, cap=cap, **habits)
    start = NOW // MINUTE * MINUTE - 3000 * MINUTE
    pulled = pull(server, start, NOW)
    check(server, pulled, start, NOW)
    assert not pulled.stuck


def test_where_replies_are_cut_by_time_and_hold_one_candle_what_follows_it_is_no_error() -> None:
    server = Server("1m", minutes(374, 374), NOW, cap=500, by_time=True)
    start, end = NOW // MINUTE * MINUTE - 900 * MINUTE, NOW // MINUTE * MINUTE - 300 * MINUTE
    pulled = pull(server, start, end)
    check(server, pulled, start, end)
    assert not pulled.stuck


def test_a_window_is_asked_for_with_the_candle_after_it() -> None:
    habits = Habits(CandleQuery())
    anchor = minutes(300, 300)[0]
    question = habits.question(Stretch(ago(700, 300), after_ms=anchor), now_ms=NOW)
    assert question.end_ms > anchor + MINUTE
    # Without it, nothing is proven.
    assert habits.judge(question, [], NOW).proven is None
    # With nothing but it, the window is empty, if a reply has room for another.
    (again,) = habits.judge(question, [anchor], NOW).rest
    assert habits.question(again, now_ms=NOW).end_ms < anchor
    judged(habits, Stretch(ago(6000, 5990)), minutes(6000, 5991))
    assert habits.judge(question, [anchor], NOW).proven == ago(700, 300)


def test_a_candle_that_came_late_does_not_show_that_a_reply_was_cut() -> None:
    habits = Habits(CandleQuery())
    (rest,) = judged(habits, Stretch(ago(300, 0)), minutes(300, 4)).rest
    judged(habits, rest, minutes(4, 2))
    assert not habits.reach("1m").is_capped
    assert habits.page("1m") > 4900


def test_what_is_learned_of_one_client_is_not_believed_of_another() -> None:
    ours, others = Habits(CandleQuery()), Habits(CandleQuery())
    judged(ours, Stretch(ago(500, 0)), dense(99))
    assert ours.reach("1m").rows == 100
    assert others.reach("1m").rows == 0
    assert ours.reach("5m").rows == 0


def test_which_part_of_a_range_is_left_out_shows_when_fewer_are_asked_for() -> None:
    for fewer, cut in (([3, 4], Cut.EARLIER), ([1, 2], Cut.LATER), ([1, 2, 3, 4], None), ([], None)):
        habits = Habits(CandleQuery())
        habits.learn_cut([1, 2, 3, 4], fewer)
        assert habits.cuts is cut
        assert habits.knows_cut


def test_a_number_that_is_refused_is_made_smaller_until_none_is_asked_for() -> None:
    habits = Habits(CandleQuery())
    stretch = Stretch(ago(500, 0))
    asked = []
    while habits.ask_for_fewer(question := habits.question(stretch, now_ms=NOW)):
        asked.append(question.limit)
    assert asked == [5000, 1000, 500, 200, 100, 50, 20, 10]
    # It was not that, so the next series is asked for as many as at first.
    assert habits.question(stretch, now_ms=NOW).limit == 5000
    # Of another interval it is another number.
    habits.ask_for_fewer(habits.question(stretch, now_ms=NOW))
    assert (habits.reach("1m").limit, habits.reach("5m").limit) == (1000, 5000)


def test_another_path_is_tried_once_and_left_if_it_is_no_better() -> None:
    habits = Habits(CandleQuery())
    stretch = Stretch(ago(500, 0))
    first = habits.question(stretch, now_ms=NOW)
    refusal, other = NotFoundError("first"), NotFoundError("other")
    assert habits.refuse(first, refusal) is None
    second = habits.question(stretch, now_ms=NOW)
    assert (first.path, second.path) == ("history", "interval")
    # What was under way meanwhile is asked again.
    assert habits.refuse(first, refusal) is None
    assert habits.refuse(second, other) is refusal
    assert habits.refuse(habits.question(stretch, now_ms=NOW), other) is other
    proven = Habits(CandleQuery())
    (_, rest) = judged(proven, stretch, minutes(500, 400)), Stretch(ago(400, 0), asked_ms=minutes(400, 400)[0])
    judged(proven, rest, minutes(399, 300))
    assert proven.refuse(proven.question(rest, now_ms=NOW), refusal) is refusal
    named = Habits(CandleQuery(path="interval"))
    assert named.refuse(named.question(stretch, now_ms=NOW), refusal) is refusal


def test_a_year_that_has_not_come_yet_takes_no_requests() -> None:
    server = Server("1m", dense(10_000), NOW, cap=500)
    start, end = NOW // MINUTE * MINUTE - 5000 * MINUTE, NOW + 365 * DAY
    pulled = pull(server, start, end)
    check(server, pulled, start, end)
    assert pulled.times == dense(5000)
    assert server.requests <= 14


@pytest.mark.parametrize("last_first", [False, True])
def test_a_symbol_with_one_trade_a_day_is_no_reason_to_ask_for_each_minute(last_first: bool) -> None:
    opened = [time for time in dense(36 * 1440) if time // MINUTE % 1440 == 700]
    server = Server("1m", opened, NOW, spans=2880, last_first=last_first)
    start = NOW - 35 * DAY
    pulled = pull(server, start, NOW)
    check(server, pulled, start, NOW)
    assert server.requests <= 150
