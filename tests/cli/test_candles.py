"""`alura candles`: drawn, pulled, resumed and looked after, as a researcher meets it on the command line."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from rich.console import Console

from alura_async import Alura, Candle, RateLimiter
from alura_async.bulk import CandleQuery, CandleStore, Progress, StoreInfo
from alura_async.bulk.writer import Writer
from alura_async.cli import reporter
from alura_async.cli.entry import run
from alura_async.cli.moments import moment
from alura_async.cli.plain import PlainPresenter
from alura_async.cli.presenter import Advance
from alura_async.cli.reporter import ForPeople, ForPrograms
from alura_async.cli.terminal import TerminalPresenter
from alura_async.sandbox import Quirks, ReceivedRequest, Sandbox

from .process import COMMAND, in_terminal, needs_pty, python, without_escapes

NOW = datetime(2026, 3, 31, 12, 30, tzinfo=UTC)
SMALL_PAGES = Quirks(page_cap=300)
DAYS = ("--since", "2026-03-01", "--until", "2026-03-05", "--rate", "1000")


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no server and nobody."""
    for name in [name for name in os.environ if name.startswith("ALURA_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """A server that nothing changes."""
    with Sandbox.threaded(seed=3, start=NOW, speed=0, limit=None) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox, nowhere: None, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The server, named by the environment."""
    monkeypatch.setenv("ALURA_BASE_URL", shared.url)
    return shared


@pytest.fixture
def interrupted() -> Iterator[None]:
    """Ctrl-C is heard again afterwards: who has been told to end hears no other one."""
    heard = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, heard)


class Terminal(StringIO):
    """What a question is asked in."""

    def isatty(self) -> bool:
        return True


class Noted(PlainPresenter):
    """Keeps how far something has come, as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.advances: list[Advance] = []

    @contextmanager
    def progress(self) -> Generator[Callable[[Advance], None]]:
        yield self.advances.append


def pull(store: Path, *args: str, symbols: str = "BTC,ETH", interval: str = "1m") -> int:
    """Run the command line in this process."""
    return run(["candles", "pull", "--symbols", symbols, "--interval", interval, "--to", str(store), *args])


@contextmanager
def without(server: Sandbox, symbol: str, why: str = "Not today", *, status: int = 500) -> Generator[None]:
    """A server that fails to tell of a symbol's days, by either path."""
    path = "/api/indicators/candles"
    refuses = f'{status}="{why}" on GET {path}'
    with server.faults.add(f"{refuses}/history/{symbol}"), server.faults.add(f"{refuses}/{symbol}/1d"):
        yield


def copied(shown: str) -> list[str]:
    """The arguments of the command line that a text ends with."""
    words = shlex.split(shown.splitlines()[-1])
    # The command is a word of its own where it is installed.
    (*_, begins) = (
        place for place, word in enumerate(words) if word == "candles" and words[place - 1] in ("alura", "alura_async")
    )
    return words[begins:]


def prices(candle: Candle) -> tuple[object, ...]:
    """What a server may correct."""
    return candle.open_time_ms, candle.open, candle.high, candle.low, candle.close, candle.volume, candle.trades


def objects(text: str) -> list[dict[str, Any]]:
    """The lines that programs read."""
    assert text.isascii()
    return [json.loads(line) for line in text.splitlines()]


class TestMoments:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2y", datetime(2024, 3, 31, tzinfo=UTC)),
            ("1mo", datetime(2026, 2, 28, tzinfo=UTC)),
            ("3 months", datetime(2025, 12, 31, tzinfo=UTC)),
            ("30d", datetime(2026, 3, 1, tzinfo=UTC)),
            ("2y 6mo 30d 12h", datetime(2023, 8, 31, tzinfo=UTC)),
            ("12h", datetime(2026, 3, 31, tzinfo=UTC)),
            ("1w90min", datetime(2026, 3, 24, 11, 0, tzinfo=UTC)),
            ("2024-01-01", datetime(2024, 1, 1, tzinfo=UTC)),
            ("2024-01-01T12:00", datetime(2024, 1, 1, 12, tzinfo=UTC)),
            ("2024-01-01 12:00+02:00", datetime(2024, 1, 1, 10, tzinfo=UTC)),
            ("1704067200000", datetime(2024, 1, 1, tzinfo=UTC)),
        ],
    )
    def test_a_time_is_how_long_ago_a_date_or_milliseconds(self, text: str, expected: datetime) -> None:
        assert moment(text, NOW) == expected

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("30m", "months or minutes"),
            ("3x", "'x' is no unit"),
            ("20240101", "a date has hyphens"),
            ("1704067200", "13 digits"),
            ("2024-02-30", "2y 6mo 30d 12h"),
            ("yesterday", "2y 6mo 30d 12h"),
            ("", "2y 6mo 30d 12h"),
            ("9999y", "too far away"),
            ("999999999d", "too far away"),
        ],
    )
    def test_anything_else_is_refused_with_what_to_write(self, text: str, said: str) -> None:
        with pytest.raises(ValueError, match=re.escape(said)):
            moment(text, NOW)


class TestShow:
    def test_it_draws_as_many_candles_as_there_is_room_for(
        self, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["candles", "show", "BTC", "1h"]) == 0
        title, *drawing, course = capsys.readouterr().out.splitlines()
        shown = re.fullmatch(r"BTC 1h, (\d+) candles \(o rising, # falling\)", title)
        assert shown is not None
        assert 60 <= int(shown[1]) <= 75
        assert max(map(len, drawing)) <= 78
        assert re.match(
            r"2026-03-28 \d\d:00 to 2026-03-31 12:00 UTC: [\d,.]+ to [\d,.]+ \([+-][\d.]+ %\), low ", course
        )

    def test_json_is_a_candle_a_line_as_the_server_has_it(
        self, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["candles", "show", "ETH", "1d", "--limit", "3", "--json"]) == 0
        candles = objects(capsys.readouterr().out)
        with Alura(base_url=sandbox.url) as alura:
            truth = alura.indicators.candles("ETH", "1d", limit=3)
        assert [each["open_time_ms"] for each in candles] == [each.open_time_ms for each in truth]
        assert [each["close"] for each in candles] == [float(each.close) for each in truth]
        assert [each["trades"] for each in candles] == [each.trades for each in truth]

    def test_a_symbol_that_the_server_does_not_know_is_exit_code_2_and_says_which_it_knows(
        self, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["candles", "show", "btc", "1h"]) == 2
        assert capsys.readouterr().err.endswith("Symbol btc not found; did you mean BTC?\n")
        assert run(["candles", "show", "ETHH", "1h"]) == 2
        assert capsys.readouterr().err.endswith("Symbol ETHH not found; did you mean ETH?\n")
        assert run(["candles", "show", "XYZZY", "1h"]) == 2
        assert re.search(r"; its symbols are BTC, ETH, (\S+, ){17}\S+ and \d+ more$", capsys.readouterr().err)

    def test_one_candle_is_one(self, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["candles", "show", "BTC", "1h", "--limit", "1"]) == 0
        assert capsys.readouterr().out.startswith("BTC 1h, 1 candle (")

    def test_a_series_of_which_nothing_came_is_exit_code_2_and_says_where_to_look(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with without(sandbox, "SOL"):
            assert pull(tmp_path, *DAYS, symbols="ETH,SOL", interval="1d") == 1
        capsys.readouterr()
        assert run(["candles", "show", "SOL", "1d", "--store", str(tmp_path)]) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("alura: there are no candles of SOL 1d; ")
        assert run(copied(shown)) == 1
        assert re.search(r"^SOL 1d ", capsys.readouterr().out, re.MULTILINE)


class TestPull:
    def test_it_says_what_it_takes_and_brings_exactly_what_the_server_has(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        store = tmp_path / "data"
        assert pull(store, *DAYS, symbols="ETH", interval="1h,1d") == 0
        first, plan, came, has, end = capsys.readouterr().out.splitlines()
        assert first == (f"2 series of {sandbox.url}, 2026-03-01 00:00 to 2026-03-05 00:00 (UTC), into {store}")
        # At the pace that was asked for, or that the replies' time allows.
        assert re.fullmatch(r"100 candles, about 2 requests, 1 s at [\d.,]+/s, about 3 kB on disk", plan)
        assert re.fullmatch(r"100 candles more: 2 requests in [\d.]+ s", came)
        assert re.fullmatch(rf"{re.escape(str(store))} has 100 candles of 2 series, [\d.]+ kB\.", has)
        assert end == "Nothing is missing."
        with Alura(base_url=sandbox.url) as alura:
            truth = alura.indicators.candle_history(
                "ETH", interval="1h", start=datetime(2026, 3, 1, tzinfo=UTC), end=datetime(2026, 3, 4, 23, tzinfo=UTC)
            )
        found = list(CandleStore(store).candles("ETH", "1h"))
        assert [candle.open_time for candle in found] == [candle.open_time for candle in truth]
        assert [float(candle.close) for candle in found] == [float(candle.close) for candle in truth]

    def test_what_it_says_it_takes_does_not_hang_on_a_slow_first_reply(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        # As where a connection takes long: if all four took as long, that would be most of a second.
        with sandbox.faults.add("delay=200ms x1 on GET /api/indicators/candles/history/BTC"):
            assert pull(tmp_path, *DAYS, "--concurrency", "1", "--json") == 0
        plan, *_ = objects(capsys.readouterr().out)
        assert plan["requests"] == 4
        assert plan["seconds"] < 0.6

    def test_the_same_line_brings_only_what_is_new_and_what_was_corrected(
        self, nowhere: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        # The second time, its clock is right.
        start = datetime.now(UTC) - timedelta(minutes=15)
        with Sandbox.threaded(seed=3, start=start, speed=0, limit=None) as sandbox:
            line = ("--since", "1h", "--rate", "1000", "--base-url", sandbox.url)
            # What is pending is not there.
            assert pull(tmp_path, *line, symbols="BTC,ETH,SOL,XRP,DOGE,AVAX") == 1
            store = CandleStore(tmp_path)
            before = {each.symbol: list(store.candles(each.symbol, "1m")) for each in store.series()}
            made = len(sandbox.requests)
            sandbox.advance(minutes=15)
            capsys.readouterr()
            assert pull(tmp_path, *line, symbols="BTC,ETH,SOL,XRP,DOGE,AVAX") == 0
            assert len(sandbox.requests) - made <= len(before) + 3
        after = {symbol: list(store.candles(symbol, "1m")) for symbol in before}
        added = sum(len(after[symbol]) - len(before[symbol]) for symbol in before)
        changed = sum(len(set(map(prices, before[symbol])) - set(map(prices, after[symbol]))) for symbol in before)
        shown = capsys.readouterr().out
        assert re.search(r"^\d\d % is there already, and left are ", shown, re.MULTILINE)
        assert f"\n{added} candles more{f', {changed} corrected' if changed else ''}: " in shown
        assert added > 10 * len(before)

    def test_what_a_pull_could_not_know_yet_is_not_missing_afterwards(
        self, nowhere: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked: list[object] = []

        def pass_a_minute(request: object) -> None:
            asked.append(request)
            if len(asked) == 4:
                server.advance(minutes=1)

        # What was running on the server when it was asked for is over when the rest comes.
        start = datetime.now(UTC) - timedelta(minutes=1)
        with Sandbox.threaded(
            seed=3, start=start, speed=0, limit=None, on_request=pass_a_minute, quirks=SMALL_PAGES
        ) as server:
            line = ("--since", "1d", "--rate", "1000", "--concurrency", "1", "--base-url", server.url)
            assert pull(tmp_path, *line, symbols="BTC") == 0
        assert len(asked) > 6
        assert run(["candles", "gaps", str(tmp_path)]) == 0
        assert capsys.readouterr().out.endswith(f"Nothing is missing in {tmp_path}.\n")

    def test_what_was_not_over_by_a_clock_that_is_behind_is_pending_which_is_not_all_well(
        self, nowhere: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        now = datetime.now(UTC)
        with Sandbox.threaded(seed=3, start=now - timedelta(hours=1), speed=0, limit=None) as server:
            line = ("--rate", "1000", "--base-url", server.url)
            assert pull(tmp_path, "--since", "3h", *line, symbols="BTC") == 1
            *_, pending, end = capsys.readouterr().out.splitlines()
            assert re.fullmatch(
                r"1 series not over yet from [-\d]{10} \d\d:\d\d \(UTC\) on by the "
                r"server's clock or this machine's, when it was asked: the next pull asks for the rest\.",
                pending,
            )
            assert end == "Nothing else is missing."
            assert run(["candles", "gaps", str(tmp_path)]) == 1
            _, listed, told, end = capsys.readouterr().out.splitlines()
            assert re.fullmatch(
                r"BTC 1m  [-\d]{10} \d\d:\d\d  .*  it was not over yet by the server's clock .*", listed
            )
            assert (told, end) == (f"1 range. {pending}", f"Nothing else is missing in {tmp_path}.")
            assert run(["candles", "gaps", str(tmp_path), "--json"]) == 1
            (row,) = objects(capsys.readouterr().out)
            assert (row["symbol"], row["pending"]) == ("BTC", True)
            assert row["reason"].startswith("it was not over yet")
            assert run(["candles", "info", str(tmp_path)]) == 1
            assert capsys.readouterr().out.endswith(f"{pending}\n")
            assert run(["candles", "info", str(tmp_path), "--json"]) == 1
            assert run(["candles", "repair", str(tmp_path), *line, "--json"]) == 1
            *_, told_again, done = objects(capsys.readouterr().out)
            assert (told_again["event"], told_again["start_ms"]) == ("pending", row["start_ms"])
            assert (done["complete"], done["pending"], done["gaps"]) == (False, 1, 0)
            # What is later is there now, so that it is a gap; of what this line asks for it is no part.
            server.advance(hours=1)
            assert pull(tmp_path, "--since", "20min", *line, symbols="BTC") == 0
            *_, end, elsewhere, listing = capsys.readouterr().out.splitlines()
            assert end == "Nothing is missing."
            assert elsewhere.startswith("Of what the store was asked for elsewhere, something is")
            assert run(copied(listing)) == 1
            capsys.readouterr()
            assert pull(tmp_path, "--since", "3h", *line, "--json", symbols="BTC") == 0
            *_, done = objects(capsys.readouterr().out)
            assert (done["complete"], done["pending"], done["gaps"]) == (True, 0, 0)
            assert run(["candles", "gaps", str(tmp_path)]) == 0

    def test_json_is_a_plan_and_an_end_and_nothing_else(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert pull(tmp_path, *DAYS, "--json", symbols="BTC") == 0
        plan, done = objects(capsys.readouterr().out)
        assert (plan["event"], plan["candles"], plan["requests"], plan["there"]) == ("plan", 5760, 2, 0.0)
        assert (done["event"], done["complete"], done["gaps"], done["stored"]) == ("done", True, 0, done["candles"])
        assert pull(tmp_path, *DAYS, "--json", symbols="BTC") == 0
        plan, done = objects(capsys.readouterr().out)
        assert (plan["requests"], plan["there"], done["requests"]) == (0, 1.0, 0)

    def test_what_is_missing_is_exit_code_1_and_listed_with_why(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        store = tmp_path / "my data"
        with without(sandbox, "SOL"):
            assert pull(store, *DAYS, symbols="ETH,SOL", interval="1d") == 1
            shown = capsys.readouterr().out
            assert re.search(r"^SOL 1d  2026-03-01 00:00  2026-03-05 00:00  .*500.*Not today", shown, re.MULTILINE)
            # As slowly as before; and of the server that the environment still names.
            assert copied(shown) == ["candles", "repair", str(store), "--rate", "1000"]
            assert run(["candles", "gaps", str(store), "--json"]) == 1
            (gap,) = objects(capsys.readouterr().out)
            assert (gap["symbol"], gap["interval"], gap["end_ms"] - gap["start_ms"]) == ("SOL", "1d", 4 * 86_400_000)
            assert run(["candles", "info", str(store)]) == 1
            assert re.search(r"^ETH 1d +4  2026-03-01  2026-03-05 00:00 +0 ", capsys.readouterr().out, re.MULTILINE)
            assert run([*copied(shown), "--json"]) == 1
            assert [each["event"] for each in objects(capsys.readouterr().out)] == ["gap", "done"]
        assert run(copied(shown)) == 0

    def test_what_the_server_does_not_know_is_asked_for_by_the_same_line(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with without(sandbox, "SOL", status=404):
            assert pull(tmp_path, *DAYS, symbols="ETH,SOL", interval="1d") == 1
        assert capsys.readouterr().out.endswith("1 gap: once the reason has gone, the same command line asks for it.\n")
        assert pull(tmp_path, *DAYS, symbols="ETH,SOL", interval="1d") == 0

    def test_what_is_missing_elsewhere_has_no_part_in_who_asks_for_what_the_server_does_not_know(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with without(sandbox, "XRP"):
            assert pull(tmp_path, *DAYS, symbols="ETH,XRP", interval="1d") == 1
        capsys.readouterr()
        with without(sandbox, "SOL", status=404):
            assert pull(tmp_path, *DAYS, symbols="ETH,SOL", interval="1d") == 1
        assert capsys.readouterr().out.endswith("1 gap: once the reason has gone, the same command line asks for it.\n")
        assert run(["candles", "gaps", str(tmp_path)]) == 1

    def test_the_line_that_repairs_asks_the_same_server(
        self, nowhere: None, shared: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        here = ("--base-url", shared.url)
        # A reason that is too long is cut.
        with without(shared, "SOL", "x" * 1000):
            assert pull(tmp_path, *DAYS, *here, symbols="ETH,SOL", interval="1d") == 1
        shown = capsys.readouterr().out
        assert "more characters)" in shown
        assert "\\" not in shown
        assert copied(shown) == ["candles", "repair", str(tmp_path), "--rate", "1000", *here]
        assert run(["candles", "gaps", str(tmp_path)]) == 1
        line = copied(capsys.readouterr().out)
        assert line == ["candles", "repair", str(tmp_path), *here]
        assert run(line) == 0

    def test_what_takes_long_needs_an_answer_or_yes(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert pull(tmp_path / "data", "--since", "2024-01-01", symbols="all") == 2
        shown = capsys.readouterr()
        assert "requests, 2" in shown.out
        assert shown.err.endswith("there is no terminal to ask in: add --yes to do it nevertheless\n")
        assert not (tmp_path / "data").exists()

    def test_ctrl_c_at_the_question_is_told_like_any_other(
        self,
        sandbox: Sandbox,
        interrupted: None,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def press_ctrl_c() -> str:
            raise KeyboardInterrupt

        asked = Terminal()
        monkeypatch.setattr(asked, "readline", press_ctrl_c)
        monkeypatch.setattr(sys, "stdin", asked)
        monkeypatch.setattr(sys, "stderr", asked)
        long = ("--since", "2026-03-01", "--until", "2026-03-05", "--rate", "0.001")
        assert pull(tmp_path / "data", *long) == 130
        assert re.search(r"Go on\? \[Y/n\]: ?\nalura: interrupted\n$", asked.getvalue())
        assert capsys.readouterr().out.split("\n")[-2].strip() == "Stopped before anything was stored."
        assert pull(tmp_path / "data", *long, "--json") == 130
        *_, plan, done = objects(capsys.readouterr().out)
        assert (plan["event"], done["event"], done["interrupted"], done["stored"]) == ("plan", "done", True, 0)

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (("--symbols", "BCT"), "did you mean BTC"),
            (("--rate", "fast"), "'fast' is not a valid float"),
            (("--until", "2026-02-01"), "is not before 2026-02-01 00:00 UTC"),
            (("--rate", "0.001"), "there is no terminal to ask in"),
            (("--base-url", "http://127.0.0.1:1"), "is the server up"),
            (("--to", "no/such/folder"), "there is no such folder"),
        ],
    )
    def test_json_ends_with_the_reason_where_nothing_can_be_done(
        self, sandbox: Sandbox, tmp_path: Path, args: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        symbols = () if "--symbols" in args else ("--symbols", "BTC")
        line = ["--interval", "1m", "--to", str(tmp_path), *DAYS, "--json", *symbols, *args]
        assert run(["candles", "pull", *line]) == 2
        shown = capsys.readouterr()
        *_, error = objects(shown.out)
        assert error["event"] == "error"
        assert said in error["message"]
        assert error["message"] in shown.err

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (("--since", "2030-01-01"), "'--since': 2030-01-01 00:00 UTC is not before now."),
            (("--since", "2026-03-01", "--until", "2026-02-01"), "is not before 2026-02-01 00:00 UTC."),
            (("--since", "30m"), "'--since': '30m': is m months or minutes? Write mo or min."),
        ],
    )
    def test_a_range_that_is_none_is_a_usage_error(
        self, sandbox: Sandbox, tmp_path: Path, args: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = len(sandbox.requests)
        assert pull(tmp_path, *args) == 2
        assert said in capsys.readouterr().err
        assert len(sandbox.requests) == made

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (("--interval", "1x"), "'--interval': interval='1x': give a number and a unit (m, h, d, w or M), such as"),
            (("--interval", ","), "'--interval': give at least one name."),
            (("--symbols", " "), "'--symbols': give at least one name."),
            (("--rate", "nan"), "'--rate': give a number, such as 10,"),
        ],
    )
    def test_what_no_option_takes_is_told_in_its_words(
        self, sandbox: Sandbox, tmp_path: Path, args: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = len(sandbox.requests)
        given = {"--symbols": "BTC", "--interval": "1m", **dict([args])}
        words = [word for option in given.items() for word in option]
        assert run(["candles", "pull", *words, "--since", "30d", "--to", str(tmp_path)]) == 2
        assert f"Invalid value for {said}" in capsys.readouterr().err
        assert len(sandbox.requests) == made

    @pytest.mark.parametrize(
        ("folder", "said"),
        [
            ("no/such", "there is no such folder"),
            ("file", "is a file"),
            ("full", "is not empty, and no store of candles"),
            ("others", "holds candles of http://127.0.0.1:1, and this client's server is "),
            ("lost", "its manifest is gone"),
            ("busy", "is writing into it: wait for that to end"),
        ],
    )
    def test_a_folder_that_cannot_be_pulled_into_is_told_before_anything_is_asked(
        self, sandbox: Sandbox, tmp_path: Path, folder: str, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "full" / "something").mkdir(parents=True)
        (tmp_path / "lost" / "interval=1d").mkdir(parents=True)
        (tmp_path / "others").mkdir()
        with Writer(tmp_path / "others") as writer:
            writer.open("http://127.0.0.1:1", makes=True)
        made = len(sandbox.requests)
        with Writer(tmp_path / "busy") as writer:
            writer.open(sandbox.url, makes=True)
            assert pull(tmp_path / folder, *DAYS) == 2
        shown = capsys.readouterr()
        assert (said in shown.err, shown.out) == (True, "")
        assert len(sandbox.requests) == made

    def test_a_store_whose_maker_was_killed_before_there_was_anything_in_it_is_made(
        self, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        (tmp_path / "data" / "_alura").mkdir(parents=True)
        (tmp_path / "data" / "_alura" / "manifest.sqlite").touch()
        assert pull(tmp_path / "data", *DAYS, symbols="BTC", interval="1d") == 0

    def test_a_symbol_that_the_server_does_not_list_is_not_pulled(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert pull(tmp_path, *DAYS, symbols="ETH,KPEPE,ETHH") == 2
        assert capsys.readouterr().err == (
            "alura: the server does not list KPEPE: did you mean kPEPE?; the server does not list ETHH: did you mean "
            "ETH?\n"
        )
        assert list(tmp_path.iterdir()) == []

    def test_a_list_that_cannot_be_had_or_lacks_what_the_store_has_stops_nothing(
        self, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        with sandbox.faults.add("500 on GET /api/indicators/candles/aggregated/symbols"):
            assert pull(tmp_path, *DAYS, symbols="SOL", interval="1d") == 0
        with sandbox.faults.add('200=body:"[\\"BTC\\"]" on GET /api/indicators/candles/aggregated/symbols'):
            assert pull(tmp_path, *DAYS, symbols="ETH", interval="1d") == 2
            assert pull(tmp_path, *DAYS, symbols="SOL", interval="1d") == 0


class OtherNames(BaseHTTPRequestHandler):
    """A server of one symbol with other names for a range; of those that are assumed it takes no notice."""

    protocol_version = "HTTP/1.1"
    # A reply in one piece: else it waits for an acknowledgement.
    wbufsize = -1
    SAID = "start=from,end=to,limit=count,unit=s"

    def do_GET(self) -> None:
        """Give minutes."""
        target = urlsplit(self.path)
        asked = dict(parse_qsl(target.query))
        now = int(time.time()) // 60
        first, last = (int(asked.get(name, default)) / 60 for name, default in (("from", "0"), ("to", now * 60)))
        most = min(100, int(asked.get("count", "100")))
        minutes = range(max(math.ceil(first), now - 3000), min(int(last), now) + 1)[-most:]
        rows = [[minute * 60_000, 1.0, 2.0, 0.5, 1.5, 10.0] for minute in minutes]
        body = json.dumps(["BTC"] if target.path.endswith("/symbols") else rows).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def other_names(nowhere: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Such a server, named by the environment."""
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherNames) as server:
        server.daemon_threads = True
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("ALURA_BASE_URL", url)
        yield url
        server.shutdown()
        serving.join()


class TestAServerThatWantsToBeAskedOtherwise:
    LINE = ("--since", "5h", "--rate", "1000")

    def test_an_error_names_the_option_which_brings_all_and_is_remembered(
        self, other_names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert pull(tmp_path, *self.LINE, symbols="BTC") == 1
        shown = capsys.readouterr()
        assert "--query start=…,end=…,limit=…,unit=…,path=…" in shown.out.replace("...", "…")
        assert "CandleQuery" not in shown.out + shown.err
        # Until it is told, another one is no better.
        assert run(["candles", "repair", str(tmp_path), "--query", "start=since", "--json"]) == 1
        gap, *_ = objects(capsys.readouterr().out)
        assert "--query start=" in gap["reason"]
        assert CandleStore(tmp_path).info().query is None

        assert pull(tmp_path, *self.LINE, "--query", OtherNames.SAID, symbols="BTC") == 0
        assert 299 <= CandleStore(tmp_path).info().rows <= 360
        capsys.readouterr()
        assert run(["candles", "info", str(tmp_path)]) == 0
        assert capsys.readouterr().out.endswith(f"which is asked with --query {OtherNames.SAID}.\n")
        (file,) = list(tmp_path.rglob("*.parquet"))[-1:]
        file.unlink()
        assert run(["candles", "repair", str(tmp_path)]) == 0
        assert pull(tmp_path, "--since", "9h", "--rate", "1000", symbols="BTC") == 0
        with Alura(base_url=other_names, limiter=RateLimiter.unlimited()) as alura:
            assert alura.bulk.update(tmp_path).is_complete
            # Who says otherwise is heard, and not remembered where nothing comes of it.
            assumed = alura.bulk.pull(
                tmp_path, "BTC", "1m", start=datetime.now(UTC) - timedelta(hours=20), query=CandleQuery()
            )
            assert not assumed.is_complete
            assert alura.bulk.repair(tmp_path).is_complete

    def test_what_is_given_later_takes_the_place_of_that_part_alone(
        self, other_names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert pull(tmp_path, *self.LINE, "--query", OtherNames.SAID, symbols="BTC") == 0
        assert pull(tmp_path, "--since", "9h", "--rate", "1000", "--query", "most=50", symbols="BTC") == 0
        known = CandleQuery(start="from", end="to", limit="count", unit="s", most=50)
        assert CandleStore(tmp_path).info().query == known
        # What does not go with the rest of it is told.
        capsys.readouterr()
        assert pull(tmp_path, *self.LINE, "--query", "end=from", symbols="BTC") == 2
        assert "'--query': one name stands for two parameters: from, from, count, interval." in capsys.readouterr().err
        (file,) = list(tmp_path.rglob("*.parquet"))[-1:]
        file.unlink()
        assert run(["candles", "repair", str(tmp_path), "--query", "most=60"]) == 0
        assert CandleStore(tmp_path).info().query == msgspec.structs.replace(known, most=60)

    def test_it_is_shown_as_a_shell_takes_it(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Writer(tmp_path) as writer:
            writer.open(sandbox.url, makes=True)
            writer.record([], CandleQuery(start="filter[start]"))
        assert run(["candles", "info", str(tmp_path)]) == 0
        shown = capsys.readouterr().out.rstrip().removesuffix(".")
        assert shlex.split(shown)[-2:] == ["--query", "start=filter[start]"]
        assert "'start=filter[start]'" in shown or '"start=filter[start]"' in shown or os.name == "nt"

    def test_what_is_remembered_and_cannot_be_read_is_told_with_the_option_that_says_it_again(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert pull(tmp_path, *DAYS, symbols="BTC", interval="1d") == 0
        with sqlite3.connect(tmp_path / "_alura/manifest.sqlite") as connection:
            connection.execute("UPDATE store SET query = 'damaged'")
        connection.close()
        capsys.readouterr()
        assert run(["candles", "info", str(tmp_path)]) == 2
        shown = capsys.readouterr().err
        assert "repair the store and say so once more: --query start='startTime', or" in shown
        assert run(["candles", "repair", str(tmp_path), "--query", "start=startTime"]) == 0
        assert run(["candles", "info", str(tmp_path)]) == 0

    def test_the_line_that_goes_on_keeps_it(
        self, other_names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert (
            pull(tmp_path, *self.LINE, "--query", "start=since", "--query", "end=to , limit=none", symbols="BTC") == 1
        )
        assert copied(capsys.readouterr().out)[-2:] == ["--query", "start=since,end=to,limit=none"]

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ("from", "'from': write a name and a value, such as start=from."),
            ("start=", "'start=': write a name and a value, such as start=from."),
            ("begin=from", "'begin' is none of start, end, limit, interval, unit, path, most."),
            ("start=a,start=b", "start is there twice."),
            ("unit=min", "unit='min': give 'ms' or 's'."),
            ("path=latest", "path='latest': give 'history', 'interval' or none."),
            ("most=many", "most='many': give a whole number from 10 to 1,000,000."),
            ("start=t,end=t", "one name stands for two parameters: t, t, limit, interval."),
        ],
    )
    def test_what_cannot_be_used_is_told_before_anything_is_asked(
        self, sandbox: Sandbox, tmp_path: Path, given: str, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = len(sandbox.requests)
        assert pull(tmp_path, *DAYS, "--query", given) == 2
        assert f"Invalid value for '--query': {said}\n" in capsys.readouterr().err
        assert len(sandbox.requests) == made


class TestAStore:
    def test_a_damaged_file_is_found_and_pulled_again(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert pull(tmp_path, *DAYS, interval="1d") == 0
        assert run(["candles", "verify", str(tmp_path)]) == 0
        (file,) = (tmp_path / "interval=1d" / "symbol=BTC").rglob("*.parquet")
        file.write_bytes(file.read_bytes()[:-100])
        capsys.readouterr()
        assert run(["candles", "verify", str(tmp_path)]) == 1
        shown = capsys.readouterr().out
        assert str(file) in shown
        assert copied(shown) == ["candles", "repair", str(tmp_path)]
        assert run(["candles", "verify", str(tmp_path), "--json"]) == 1
        assert [each["path"] for each in objects(capsys.readouterr().out)] == [str(file)]
        assert run(["candles", "show", "BTC", "1d", "--store", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"alura: {file}: cannot be read ")
        assert copied(said) == copied(shown)
        days = ("--since", "2026-03-01", "--until", "2026-03-09", "--rate", "1000")
        assert pull(tmp_path, *days, symbols="BTC", interval="1d") == 1
        told = capsys.readouterr().out
        assert str(file) in told
        assert copied(told) == [*copied(shown), "--rate", "1000"]
        assert run(["candles", "repair", str(tmp_path), "--rate", "1000"]) == 0
        assert capsys.readouterr().out.endswith("Nothing is missing.\n")
        assert run(["candles", "verify", str(tmp_path)]) == 0

    def test_a_file_that_is_gone_is_seen_at_once_and_pulled_again(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert pull(tmp_path, *DAYS, interval="1d", symbols="BTC") == 0
        (file,) = tmp_path.rglob("*.parquet")
        file.unlink()
        capsys.readouterr()
        assert run(["candles", "gaps", str(tmp_path)]) == 1
        shown = capsys.readouterr().out
        assert re.search(r"^BTC 1d  2026-03-01 00:00  2026-03-05 00:00  its file is missing$", shown, re.MULTILINE)
        assert run(["candles", "info", str(tmp_path)]) == 1
        assert copied(capsys.readouterr().out) == copied(shown)
        assert run(copied(shown)) == 0
        assert run(["candles", "gaps", str(tmp_path)]) == 0
        assert run(["candles", "info", str(tmp_path)]) == 0

    def test_what_a_repair_cannot_mend_is_exit_code_1_of_it_as_of_verify(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert pull(tmp_path, *DAYS, interval="1d", symbols="BTC") == 0
        (file,) = tmp_path.rglob("*.parquet")
        stranger = file.with_name("copy.parquet")
        stranger.write_bytes(file.read_bytes())
        assert run(["candles", "verify", str(tmp_path)]) == 1
        capsys.readouterr()
        assert run(["candles", "repair", str(tmp_path)]) == 1
        assert str(stranger) in capsys.readouterr().out
        assert run(["candles", "repair", str(tmp_path), "--json"]) == 1
        problem, done = objects(capsys.readouterr().out)
        assert (problem["event"], problem["path"]) == ("problem", str(stranger))
        assert (done["complete"], done["damaged"], done["mended"]) == (False, 1, [])
        stranger.unlink()
        assert run(["candles", "repair", str(tmp_path)]) == 0
        assert run(["candles", "verify", str(tmp_path)]) == 0

    def test_its_last_candles_are_drawn_without_a_server(
        self, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert pull(tmp_path, *DAYS, symbols="BTC") == 0
        monkeypatch.setenv("ALURA_BASE_URL", "http://127.0.0.1:1")
        capsys.readouterr()
        assert run(["candles", "show", "BTC", "1m", "--store", str(tmp_path), "--limit", "500", "--json"]) == 0
        shown = [each["open_time_ms"] for each in objects(capsys.readouterr().out)]
        stored = [candle.open_time_ms for candle in CandleStore(tmp_path).candles("BTC", "1m")]
        assert shown == stored[-500:]
        assert run(["candles", "show", "BTC", "5m", "--store", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert "it has BTC 1m" in said
        assert copied(said) == ["candles", "pull", "--help"]

    @pytest.mark.parametrize("command", ["info", "gaps", "verify", "repair"])
    def test_what_is_no_store_is_exit_code_2_and_one_line(
        self, sandbox: Sandbox, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["candles", command, str(tmp_path / "none")]) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith(f"alura: {tmp_path / 'none'}: ")
        assert (shown.out, shown.err.count("\n")) == ("", 1)


class TestProgress:
    @pytest.mark.parametrize(
        ("width", "last"), [(32, "2 h 20 min left"), (48, "42 M candles"), (80, "lane 0.4 s"), (200, "lane 0.4 s")]
    )
    def test_the_bar_and_as_many_facts_as_fit_stand_on_one_line(self, width: int, last: str) -> None:
        written = StringIO()
        console = Console(file=written, force_terminal=True, width=width, height=20, legacy_windows=False)
        facts = ["2 h 20 min left", "42 M candles", "9.8 req/s", "0 errors", "lane 0.4 s"]
        with TerminalPresenter(console).progress() as show:
            show(Advance(None, facts))
            show(Advance(0.25, facts))
        (line,) = [line for line in without_escapes(written.getvalue()).split("\r") if " 25%" in line][-1:]
        assert line.rstrip().endswith(last)
        assert "2 h 20 min left" in line
        assert len(line.rstrip()) < width - 3

    def test_while_nothing_comes_that_is_told_instead_of_a_time_that_is_left(self) -> None:
        shows = Noted()
        with ForPeople(shows).following() as follow:
            for requests, elapsed_s in ((3, 1.0), (3, 5.9), (3, 65.0), (4, 66.0)):
                follow(msgspec.structs.replace(progress(requests), elapsed_s=elapsed_s))
        assert [advance.facts[0] for advance in shows.advances] == [
            "1 s left",
            "1 s left",
            "nothing came for 1 min 4 s",
            "1 s left",
        ]

    def test_programs_are_told_at_most_once_a_second(self, capsys: pytest.CaptureFixture[str]) -> None:
        with ForPrograms().following() as follow:
            for requests in range(100):
                follow(progress(requests))
        assert capsys.readouterr().out == ""


class TestTheEnd:
    @pytest.mark.skipif(sys.platform == "win32", reason="for the shells of other systems")
    def test_it_ends_when_nobody_reads_any_more(
        self, nowhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        # So that it is told so in the middle of a pull.
        monkeypatch.setattr(reporter, "_PROGRESS_EVERY_S", 0.0)
        reading, writing = os.pipe()
        seen: list[str] = []

        def stop_reading(request: ReceivedRequest) -> None:
            if "ETH" in request.path and not seen:
                seen.append(os.read(reading, 65536).decode())
                os.close(reading)

        with Sandbox.threaded(
            seed=3, start=NOW, speed=0, limit=None, on_request=stop_reading, quirks=SMALL_PAGES
        ) as sandbox:
            with open(writing, "w", encoding="utf-8") as stdout:
                monkeypatch.setattr(sys, "stdout", stdout)
                arguments = [*line(tmp_path), "--rate", "1000", "--concurrency", "1", "--base-url", sandbox.url]
                assert run([*arguments, "--json"]) == 2
                monkeypatch.undo()
            asked = len(sandbox.requests)
        assert {each["event"] for each in objects(seen[0])} == {"plan", "progress"}
        # At once, not when all has come.
        assert asked < 20
        assert capfd.readouterr() == ("", "")

    @pytest.mark.skipif(sys.platform == "win32", reason="no signal can be sent to oneself there")
    # In the background of a script, Ctrl-C is ignored.
    @pytest.mark.parametrize("at_ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
    def test_sigterm_ends_it_as_ctrl_c_does(
        self, nowhere: None, interrupted: None, tmp_path: Path, at_ctrl_c: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        heard: list[object] = []

        def end(request: ReceivedRequest) -> None:
            if "ETH" in request.path and not heard:
                heard.append(request)
                os.kill(os.getpid(), signal.SIGTERM)

        signal.signal(signal.SIGINT, at_ctrl_c)
        before = signal.signal(signal.SIGTERM, lambda *_: heard.append("somebody else"))
        try:
            with Sandbox.threaded(
                seed=3, start=NOW, speed=0, limit=None, on_request=end, quirks=SMALL_PAGES
            ) as sandbox:
                arguments = [*line(tmp_path), "--rate", "1000", "--concurrency", "1", "--base-url", sandbox.url]
                assert run([*arguments, "--json"]) == 130
            # Another one changes neither what was said nor the exit code.
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            signal.signal(signal.SIGTERM, before)
        assert heard[1:] == []
        *_, done = objects(capsys.readouterr().out)
        assert (done["event"], done["interrupted"]) == ("done", True)
        assert 0 < done["stored"] < 5700

    @pytest.mark.skipif(sys.platform == "win32", reason="no signal can be sent to oneself there")
    def test_a_second_sigterm_does_not_cut_off_what_is_said_at_the_first(
        self,
        nowhere: None,
        interrupted: None,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def end(_request: object) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        said = ForPrograms.interrupted

        def say(programs: ForPrograms, stored: StoreInfo | None) -> None:
            end(stored)
            said(programs, stored)

        monkeypatch.setattr(ForPrograms, "interrupted", say)
        before = signal.getsignal(signal.SIGTERM)
        try:
            with Sandbox.threaded(seed=3, start=NOW, speed=0, limit=None, on_request=end) as sandbox:
                assert run([*line(tmp_path), "--base-url", sandbox.url, "--json"]) == 130
        finally:
            signal.signal(signal.SIGTERM, before)
        *_, done = objects(capsys.readouterr().out)
        assert (done["event"], done["interrupted"]) == ("done", True)

    @pytest.mark.skipif(sys.platform == "win32", reason="no signal can be sent to oneself there")
    def test_who_is_not_to_hear_sigterm_goes_on(self, nowhere: None, tmp_path: Path) -> None:
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            with Sandbox.threaded(
                seed=3,
                start=NOW,
                speed=0,
                limit=None,
                on_request=lambda _: os.kill(os.getpid(), signal.SIGTERM),
            ) as sandbox:
                assert run([*line(tmp_path), "--rate", "1000", "--base-url", sandbox.url]) == 0
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGTERM, before)


class TestAsAProcess:
    def test_it_needs_an_extra_and_says_so(self, sandbox: Sandbox, tmp_path: Path) -> None:
        done = python(
            "import sys\n"
            "sys.modules['numpy'] = None\n"
            f"sys.argv = ['alura', 'candles', 'pull', '--symbols', 'BTC', '--interval', '1h', '--since', '2024-01-01', "
            f"'--to', {str(tmp_path)!r}]\n"
            "from alura_async.cli import main\n"
            "main()"
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "alura: this needs numpy, which is not installed: pip install 'alura-async[bulk]'\n"

    @needs_pty
    def test_ctrl_c_says_what_is_stored_and_the_same_line_goes_on(
        self, nowhere: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Sandbox.threaded(seed=3, start=NOW, speed=0, limit=None, quirks=SMALL_PAGES) as sandbox:
            self._stop_and_go_on([*line(tmp_path), "--base-url", sandbox.url], tmp_path, capsys)

    def _stop_and_go_on(self, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        shown, code = in_terminal(*arguments, columns=100, stop_at=" candles  ", command=COMMAND)
        text = without_escapes(shown)
        assert code == 130
        assert "Traceback" not in text
        assert re.search(r"Stopped\. .* has [\d,]+ candles of 2 series.* The same command line goes on", one_line(text))
        assert text.rstrip().endswith("alura: interrupted")
        assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0
        kept = CandleStore(tmp_path).info().rows
        assert 0 < kept < 5000
        assert run([*arguments, "--rate", "1000"]) == 0
        stored = CandleStore(tmp_path).info().rows
        assert f"\n{stored - kept:,} candles more: " in capsys.readouterr().out
        assert stored > 5700


def progress(requests: int) -> Progress:
    return Progress(
        requests=requests,
        requests_left=10,
        candles=5000 * requests,
        gaps=0,
        done=0.5,
        elapsed_s=1.0,
        eta_s=1.0,
        requests_per_s=10.0,
        lane_wait_s=1.0,
    )


def one_line(text: str) -> str:
    """What a terminal has broken into lines."""
    return " ".join(text.split())


def line(store: Path) -> list[str]:
    """A pull of a few seconds."""
    days = ("--since", "2026-03-01", "--until", "2026-03-03", "--rate", "5")
    return ["candles", "pull", "--symbols", "BTC,ETH", "--interval", "1m", *days, "--to", str(store)]
