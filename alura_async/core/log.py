"""The one logger, `alura_async`: what is said of a call, and the fields that say it to machines.

Silent unless somebody listens: `logging.getLogger("alura_async")`, or `ALURA_LOG=debug` with `from_env()`. DEBUG is
every attempt, INFO what became of a call that must not be made twice, WARNING a retry or an outcome that is not known,
ERROR a journal that fails.

Each record has, besides a message that can be read by itself, those of these attributes that are known:

| attribute | what |
|---|---|
| `call_id` | the call's id: its entry in the journal, and what the server got as `X-Request-Id` |
| `method` `route` | the HTTP method, and the path as a template, `/trading-sessions/:sessionId/logs` |
| `status` | the reply's HTTP status |
| `attempt` | which sending of the call this was, from 1 |
| `lane_wait_s` `duration_s` | seconds waited in the lane, and from then to the reply |
| `pause_s` | seconds until the next attempt |
| `outcome` | what became of it |
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, TextIO

from ..errors import ConfigurationError, Outcome
from .request import Request
from .text import printable, redact, shown

FIELDS = ("call_id", "method", "route", "status", "attempt", "lane_wait_s", "duration_s", "pause_s", "outcome")

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

logger = logging.getLogger("alura_async")


def attempts_are_shown() -> bool:
    """Whether anybody wants to know of each attempt. Ask once for a call: it costs less than the words."""
    return logger.isEnabledFor(logging.DEBUG)


def attempt_made(
    request: Request[Any],
    *,
    call_id: str,
    attempt: int,
    lane_wait: float,
    duration: float,
    status: int | None = None,
    error: BaseException | None = None,
) -> None:
    """Say what came of one sending.

    Args:
        request: the call.
        call_id: the call's id; may be empty.
        attempt: which sending it was, from 1.
        lane_wait: seconds waited in the lane before it.
        duration: seconds from leaving the lane to the end of the reply, or to the failure.
        status: the reply's status, where one came.
        error: why none came.
    """
    if logger.isEnabledFor(logging.DEBUG):
        came = str(status) if error is None else f"no reply: {_why(error, request)}"
        logger.debug(
            "%s: attempt %d: %s in %.3f s, after %.3f s in the lane%s",
            request.route.name,
            attempt,
            came,
            duration,
            lane_wait,
            _named(call_id),
            extra=_fields(
                request, call_id, attempt=attempt, lane_wait_s=_ms(lane_wait), duration_s=_ms(duration), status=status
            ),
        )


def will_retry(request: Request[Any], *, call_id: str, attempt: int, pause: float, error: BaseException) -> None:
    """Say that a call is made again.

    Args:
        request: the call.
        call_id: the call's id; may be empty.
        attempt: which sending has failed, from 1.
        pause: seconds until the next one.
        error: how it failed.
    """
    if logger.isEnabledFor(logging.WARNING):
        logger.warning(
            "%s: attempt %d failed, the next one is in %.3f s: %s%s",
            request.route.name,
            attempt,
            pause,
            _why(error, request),
            _named(call_id),
            extra=_fields(request, call_id, attempt=attempt, pause_s=_ms(pause), status=getattr(error, "status", None)),
        )


def concluded(
    request: Request[Any],
    *,
    call_id: str,
    outcome: Outcome,
    attempts: int,
    duration: float,
    status: int | None = None,
    detail: str = "",
) -> None:
    """Say what became of a call that must not be made twice.

    Args:
        request: the call.
        call_id: the call's id.
        outcome: what became of it.
        attempts: how often it was sent, or tried to be.
        duration: seconds that all of it took.
        status: the last reply's status, where one came.
        detail: more about it, such as what the error said.
    """
    level = logging.WARNING if outcome is Outcome.UNKNOWN else logging.INFO
    if logger.isEnabledFor(level):
        logger.log(
            level,
            "%s: %s after %d attempt%s and %.3f s%s%s",
            request.route.name,
            outcome.value.replace("_", " "),
            attempts,
            "" if attempts == 1 else "s",
            duration,
            f": {shown(_without_name(detail, request), 300)}" if detail else "",
            _named(call_id),
            extra=_fields(
                request, call_id, outcome=outcome.value, attempt=attempts, duration_s=_ms(duration), status=status
            ),
        )


def doubted(request: Request[Any], *, call_id: str, attempt: int, detail: str, settle_s: float) -> None:
    """Say that a call that must not be made twice has lost its reply, and that reading follows.

    Args:
        request: the call.
        call_id: the call's id.
        attempt: which sending lost it, from 1.
        detail: what the error said.
        settle_s: seconds that the reading takes at most.
    """
    logger.warning(
        "%s: %s; what became of it is read for up to %g s%s",
        request.route.name,
        shown(_without_name(detail, request), 300),
        settle_s,
        _named(call_id),
        extra=_fields(request, call_id, attempt=attempt),
    )


def cut_off(request: Request[Any], *, call_id: str) -> None:
    """Say that a client was closed before a call that must not be made twice had ended.

    Args:
        request: the call.
        call_id: the call's id.
    """
    logger.warning(
        "%s: the client was closed before it had ended; what became of it is not known%s",
        request.route.name,
        _named(call_id),
        extra=_fields(request, call_id, outcome=Outcome.UNKNOWN.value),
    )


def journal_failed(what: str, error: BaseException, *, call_id: str = "") -> None:
    """Say that the journal could not do something.

    Args:
        what: what it could not do, and what that means: "the close went out without an entry".
        error: why.
        call_id: the call's id, where it is about one.
    """
    logger.error("journal: %s: %s%s", what, _why(error), _named(call_id), extra={"call_id": call_id} if call_id else {})


def show(level: str) -> None:
    """Write this logger's lines to stderr: what `ALURA_LOG` asks for. A second time changes the level.

    Args:
        level: `debug`, `info`, `warning` or `error`, in any case.

    Raises:
        ConfigurationError: another level.
    """
    number = _LEVELS.get(level.strip().lower())
    if number is None:
        raise ConfigurationError(f"ALURA_LOG={shown(level, 40)!r}: give one of {', '.join(_LEVELS)}")
    logger.setLevel(number)
    if not any(isinstance(handler, _ToStderr) for handler in logger.handlers):
        logger.addHandler(_ToStderr())


class _Fit(logging.Filter):
    """Makes a record fit to be shown: no control or bidi characters, nothing that looks like a secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _fit(record.getMessage()), None
        for name in FIELDS:
            value = record.__dict__.get(name)
            if isinstance(value, str):
                record.__dict__[name] = _fit(value)
        if record.exc_info and not record.exc_text:
            # Formatters take this text, where there is one. Line by line: its line ends are ours.
            lines = logging.Formatter().formatException(record.exc_info).split("\n")
            record.exc_text = "\n".join(map(_fit, lines))
        return True


class _Line(logging.Formatter):
    """A time in UTC, level, logger and message, which says what the fields say."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")


class _ToStderr(logging.StreamHandler[TextIO]):
    """Writes to what is `sys.stderr` at that moment: tests and notebooks replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(_Line())
        # Also what children of the logger say, whose records do not pass through its filter.
        self.addFilter(_FIT)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Where lines go."""
        return sys.stderr


def _fields(request: Request[Any], call_id: str, **fields: Any) -> dict[str, Any]:
    route = request.route
    known = {"call_id": call_id or None, "method": route.method, "route": route.template, **fields}
    return {name: value for name, value in known.items() if value is not None}


def _why(error: BaseException, request: Request[Any] | None = None) -> str:
    text = shown(_without_name(str(error), request), 300)
    return f"{type(error).__name__}{': ' if text else ''}{text}"


def _without_name(text: str, request: Request[Any] | None) -> str:
    """Errors begin with the call's name, as these lines do."""
    return text if request is None else text.removeprefix(f"{request.method} {request.path}").lstrip(": ")


def _named(call_id: str) -> str:
    return f" [call {call_id}]" if call_id else ""


def _ms(seconds: float) -> float:
    return round(seconds, 3)


def _fit(text: str) -> str:
    return printable(redact(text))


_FIT = _Fit()
logger.addFilter(_FIT)
logger.addHandler(logging.NullHandler())
