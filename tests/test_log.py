"""What the logger says, to people and to machines, and what it never says."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from alura_async import ConfigurationError, Outcome, RateLimitedError, TradingSessions, User
from alura_async.core import log

WITHDRAW = User.withdraw.request(amount=5)
LOGS = TradingSessions.logs.request("s1")
EVIL = "\x1b[2J\u202eevil\r\nforged: line token=abcdef\x07"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The logger, which is left as it was found."""
    level, handlers = log.logger.level, list(log.logger.handlers)
    yield log.logger
    log.logger.setLevel(level)
    log.logger.handlers[:] = handlers


def say_everything(text: str = "no") -> None:
    log.attempt_made(LOGS, call_id="", attempt=1, lane_wait=0.25, duration=0.01234, status=200)
    log.attempt_made(WITHDRAW, call_id="c1", attempt=1, lane_wait=0, duration=1, error=OSError(text))
    error = RateLimitedError(text, status=429)
    log.will_retry(WITHDRAW, call_id="c1", attempt=1, pause=1.5, error=error)
    log.doubted(WITHDRAW, call_id="c1", attempt=1, detail=f"POST /user/withdraw {text}", settle_s=8)
    for outcome in (Outcome.DONE, Outcome.UNKNOWN):
        log.concluded(WITHDRAW, call_id="c1", outcome=outcome, attempts=2, duration=2, status=201, detail=text)
    log.journal_failed("the close went out without an entry", OSError(text), call_id="c1")


def test_nothing_is_shown_until_somebody_listens() -> None:
    program = "from tests.test_log import say_everything; say_everything()"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout + found.stderr == ""


def test_each_thing_has_its_level_its_message_and_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "alura_async")
    say_everything()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "GET /trading-sessions/:sessionId/logs: attempt 1: 200 in 0.012 s, after 0.250 s in the lane"),
        (
            "DEBUG",
            "POST /user/withdraw: attempt 1: no reply: OSError: no in 1.000 s, after 0.000 s in the lane [call c1]",
        ),
        (
            "WARNING",
            "POST /user/withdraw: attempt 1 failed, the next one is in 1.500 s: RateLimitedError: no [call c1]",
        ),
        ("WARNING", "POST /user/withdraw: no; what became of it is read for up to 8 s [call c1]"),
        ("INFO", "POST /user/withdraw: done after 2 attempts and 2.000 s: no [call c1]"),
        ("WARNING", "POST /user/withdraw: unknown after 2 attempts and 2.000 s: no [call c1]"),
        ("ERROR", "journal: the close went out without an entry: OSError: no [call c1]"),
    ]
    fields = [{name: vars(record)[name] for name in log.FIELDS if name in vars(record)} for record in caplog.records]
    withdraw = {"call_id": "c1", "method": "POST", "route": "/user/withdraw"}
    assert fields == [
        {
            "method": "GET",
            "route": "/trading-sessions/:sessionId/logs",
            "status": 200,
            "attempt": 1,
            "lane_wait_s": 0.25,
            "duration_s": 0.012,
        },
        {**withdraw, "attempt": 1, "lane_wait_s": 0, "duration_s": 1},
        {**withdraw, "status": 429, "attempt": 1, "pause_s": 1.5},
        {**withdraw, "attempt": 1},
        {**withdraw, "status": 201, "attempt": 2, "duration_s": 2, "outcome": "done"},
        {**withdraw, "status": 201, "attempt": 2, "duration_s": 2, "outcome": "unknown"},
        {"call_id": "c1"},
    ]


def test_levels_decide_what_is_said(caplog: pytest.LogCaptureFixture) -> None:
    for level, count in ((logging.INFO, 5), (logging.WARNING, 4), (logging.ERROR, 1)):
        caplog.clear()
        caplog.set_level(level, "alura_async")
        say_everything()
        assert len(caplog.records) == count
        assert not log.attempts_are_shown()


def test_a_call_is_named_once_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "alura_async")
    error = RateLimitedError("GET /trading-sessions/s1/logs: 429 slow down", status=429)
    log.attempt_made(LOGS, call_id="", attempt=1, lane_wait=0, duration=1, error=error)
    log.will_retry(LOGS, call_id="", attempt=1, pause=1.5, error=error)
    said = "POST /user/withdraw was sent, and no complete reply came"
    log.concluded(WITHDRAW, call_id="", outcome=Outcome.UNKNOWN, attempts=1, duration=1, detail=said)
    attempt, retry, end = [record.getMessage() for record in caplog.records]
    assert "no reply: RateLimitedError: 429 slow down in" in attempt
    assert retry.endswith(": RateLimitedError: 429 slow down")
    assert end.endswith("1.000 s: was sent, and no complete reply came")


def test_text_of_a_server_moves_no_cursor_forges_no_line_and_shows_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "alura_async")
    say_everything(EVIL)
    try:
        raise ValueError(EVIL)
    except ValueError:
        log.logger.exception("others' words: %s", EVIL, extra={"call_id": EVIL})
    for record in caplog.records:
        line = logging.Formatter("%(message)s %(call_id)s", defaults={"call_id": ""}).format(record)
        assert all(part.isprintable() for part in line.split("\n"))
        assert "abcdef" not in line
        assert "\nforged" not in record.getMessage()
    assert "Traceback (most recent call last):\n" in str(caplog.records[-1].exc_text)


def test_the_variable_shows_lines_on_stderr_once(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    log.show("info")
    log.show(" DEBUG ")
    log.attempt_made(LOGS, call_id="", attempt=1, lane_wait=0, duration=0.5, status=200)
    logging.getLogger("alura_async.sandbox").warning("hello %s", EVIL)
    first, second = capsys.readouterr().err.splitlines()
    stamp, line = first.split(" ", 1)
    assert stamp.endswith("Z")
    assert line == (
        "DEBUG alura_async: GET /trading-sessions/:sessionId/logs: attempt 1: 200 in 0.500 s, after 0.000 s in the lane"
    )
    assert "WARNING alura_async.sandbox: hello \\x1b" in second
    assert second.isprintable()
    log.show("error")
    say_everything()
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("level", ["verbose", "10", "", "\x1b[2J"])
def test_another_level_is_refused(level: str, logger: logging.Logger) -> None:
    before = list(logger.handlers)
    with pytest.raises(ConfigurationError, match="give one of debug, info, warning, error") as caught:
        log.show(level)
    assert str(caught.value).isprintable()
    assert logger.handlers == before


def test_no_field_has_a_name_of_loggings_own() -> None:
    record = logging.LogRecord("n", logging.INFO, "p", 1, "m", None, None)
    assert not set(log.FIELDS) & {*vars(record), "message", "asctime", "taskName"}
