"""What a server says in words and in headers, whatever form it has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from .decode import parse
from .text import names_secret, shown

_MESSAGE_FIELDS = (
    "message",
    "messages",
    "error",
    "errors",
    "errmsg",
    "detail",
    "details",
    "description",
    "title",
    "reason",
)
_TAG = re.compile(r"<(?:script|style)\b[^<]*+(?:</(?:script|style)>)?|<[^<>]*+>", re.IGNORECASE)
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)
_EPOCH = re.compile(r"(?:[0-9]{10}|[0-9]{13})(?:\.[0-9]{1,9})?", re.ASCII)
_ZERO = re.compile(r"0+(?:\.0+)?", re.ASCII)
_RETRY_AFTER = re.compile(r"retry-after(?:-.*)?", re.IGNORECASE | re.DOTALL)
_REMAINING = "x-ratelimit-remaining"
# A server that asks for more than a day means something else.
_LONGEST_S = 86_400.0
LONGEST_HOLD_S = 60.0
"""An endpoint is left alone no longer than this, whatever the server asks for."""

# Nobody says so much in words, and to look for some in it would hold up what else the event loop has to do.
_LARGEST = 1 << 20
_MAX_MESSAGES = 20
_MAX_MESSAGE = 500


def messages_of(body: bytes) -> tuple[str, ...]:
    """The server's messages, whatever form they have: text, a list, nested objects, plain text, HTML, or nothing.

    NestJS answers `{"statusCode": 400, "message": "…" | ["…", "…"], "error": "Bad Request"}` [conv].
    """
    if len(body) > _LARGEST:
        return ()
    try:
        value = parse(body)
    except msgspec.DecodeError:
        text = _TAG.sub(" ", body[:20_000].decode("utf-8", "replace"))
        return clean([" ".join(text.split())])
    return clean(_texts(value, depth=0))


def _texts(value: Any, depth: int) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif depth > 6:
        return
    elif isinstance(value, list):
        for item in value[:_MAX_MESSAGES]:
            yield from _texts(item, depth + 1)
    elif isinstance(value, dict):
        for name in _MESSAGE_FIELDS:
            if name in value:
                found = [text for text in _texts(value[name], depth + 1) if text.strip()]
                if found:
                    yield from found
                    return
        # class-validator's own form: {"property": "budget", "constraints": {"min": "budget must not be …"}}
        for name, item in list(value.items())[:_MAX_MESSAGES]:
            if names_secret(name):
                continue
            if isinstance(item, dict | list):
                yield from _texts(item, depth + 1)
            elif isinstance(item, str) and depth > 1:
                yield item


def clean(texts: Iterable[Any]) -> tuple[str, ...]:
    """Texts as an error may show them; each once, and not too many. What is no text is left out."""
    cleaned: list[str] = []
    for raw in texts:
        text = shown(raw, _MAX_MESSAGE) if isinstance(raw, str) else ""
        if text and text not in cleaned:
            cleaned.append(text)
        if len(cleaned) == _MAX_MESSAGES:
            break
    return tuple(cleaned)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, of `Retry-After` or the longest of its suffixed forms; None where nothing sensible is said.

    NestJS's throttler names its header after the throttler that refused: `Retry-After-short` [conv].
    """
    waits: list[float] = []
    for name, value in headers.items():
        if _RETRY_AFTER.fullmatch(name):
            seconds = _seconds(value, headers.get("Date"))
            if seconds is not None:
                waits.append(seconds)
    return max(waits, default=None)


def hold_asked(headers: Mapping[str, str]) -> float | None:
    """Seconds for which to leave an endpoint alone, at most `LONGEST_HOLD_S`; None where nothing sensible is said.

    The longest of what `Retry-After` says and of the `X-RateLimit-Reset` whose `X-RateLimit-Remaining` is 0, with
    suffixes or without [conv]. Like NestJS, most servers mean seconds from now by a reset; some a time since 1970.
    """
    # Every reply comes by here, and hardly one has such a header.
    names = "\n".join(headers).lower()
    if "retry-after" not in names and "x-ratelimit-remaining" not in names:
        return None
    given = {name.lower(): value for name, value in headers.items()}
    waits = [retry_after(headers)]
    for name, value in given.items():
        if name.startswith(_REMAINING) and _ZERO.fullmatch(value.strip()):
            reset = given.get("x-ratelimit-reset" + name.removeprefix(_REMAINING))
            if reset is not None:
                waits.append(_reset(reset, given.get("date")))
    return max((min(seconds, LONGEST_HOLD_S) for seconds in waits if seconds is not None), default=None)


def _reset(value: str, date: str | None) -> float | None:
    if not _EPOCH.fullmatch(value.strip()):
        return _seconds(value, date)
    # Ten digits before the point are seconds since 1970, thirteen are milliseconds.
    at = float(value) / (1000 if len(value.strip().partition(".")[0]) == 13 else 1)
    seconds = max(0.0, at - _now(date).timestamp())
    return seconds if seconds <= _LONGEST_S else None


def _seconds(value: str, date: str | None) -> float | None:
    if _SECONDS.fullmatch(value.strip()):
        seconds = float(value)
    else:
        at = _date(value)
        if at is None:
            return None
        seconds = max(0.0, (at - _now(date)).total_seconds())
    return seconds if 0 <= seconds <= _LONGEST_S else None


def _now(date: str | None) -> datetime:
    """By the server's own clock, where it tells: ours may be wrong."""
    return (_date(date) if date else None) or datetime.now(UTC)


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return date if date.tzinfo is not None else None
