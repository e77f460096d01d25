"""`alura candles`: drawn, pulled, resumed and looked after, as a researcher meets it on the command line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from alura_async import Alura
from alura_async.cli.entry import run
from alura_async.cli.moments import moment
from alura_async.sandbox import Sandbox

NOW = datetime(2026, 3, 31, 12, 30, tzinfo=UTC)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A server that the environment names."""
    with Sandbox.threaded(seed=3, start=NOW, speed=0, limit=None) as sandbox:
        for name in [name for name in os.environ if name.startswith("ALURA_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("ALURA_BASE_URL", sandbox.url)
        yield sandbox


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
        assert run(["candles", "show", "BCT", "1h"]) == 2
        assert "symbols are BTC, ETH, " in capsys.readouterr().err
