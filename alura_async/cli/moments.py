"""Points in time as people type them: how long ago, a date, or epoch milliseconds."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta

import click

from ..core.model import from_milliseconds
from ..core.text import clip, printable

FORMS = "2y 6mo 30d 12h (ago), 2024-01-01 or 2024-01-01T12:00 (UTC where no zone is given), or epoch milliseconds"
"""What can be typed."""

_PART = re.compile(r"(\d{1,9})\s*([a-z]+)\s*", re.IGNORECASE | re.ASCII)
_AGO = re.compile(rf"(?:{_PART.pattern})+", re.IGNORECASE | re.ASCII)
_UNITS = {
    **dict.fromkeys(("y", "year", "years"), "y"),
    **dict.fromkeys(("mo", "month", "months"), "mo"),
    **dict.fromkeys(("w", "week", "weeks"), "w"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("h", "hour", "hours"), "h"),
    **dict.fromkeys(("min", "minute", "minutes"), "min"),
}
_MONTHS = {"y": 12, "mo": 1}
_SPANS = {"w": timedelta(weeks=1), "d": timedelta(days=1), "h": timedelta(hours=1), "min": timedelta(minutes=1)}
# Of epoch milliseconds from 2001 to 2286; fewer are seconds, or a date without its hyphens.
_MILLISECOND_DIGITS = 13


def as_moment(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    """The value of an option that takes a point in time."""
    if text is None:
        return None
    try:
        return moment(text, datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def moment(text: str, now: datetime) -> datetime:
    """The point in time that a text names, in UTC.

    Args:
        text: in one of the `FORMS`. Years and months are those of the calendar; what is told in them, or in weeks or
            days, begins at midnight, and what is told in hours with the hour.
        now: what "ago" counts from, aware.

    Raises:
        ValueError: it is in none of them; says what would be.
    """
    text = text.strip()
    try:
        if text.isascii() and text.isdigit():
            return _of_milliseconds(text)
        if _AGO.fullmatch(text):
            return _before(now.astimezone(UTC), text)
        return _of_date(text)
    except OverflowError:
        raise ValueError(f"{_quoted(text)} is too far away.") from None


def _of_milliseconds(text: str) -> datetime:
    if len(text) != _MILLISECOND_DIGITS:
        raise ValueError(
            f"{_quoted(text)} is no time: a plain number is epoch milliseconds, of {_MILLISECOND_DIGITS} digits; "
            "a date has hyphens, 2024-01-01."
        )
    return from_milliseconds(int(text))


def _before(now: datetime, text: str) -> datetime:
    months, span, units = 0, timedelta(), set[str]()
    for number, name in _PART.findall(text):
        if name in ("m", "M"):
            raise ValueError(f"{_quoted(text)}: is {name} months or minutes? Write mo or min.")
        unit = _UNITS.get(name.lower())
        if unit is None:
            raise ValueError(f"{_quoted(text)}: {_quoted(name)} is no unit; write y, mo, w, d, h or min.")
        units.add(unit)
        if unit in _MONTHS:
            months += int(number) * _MONTHS[unit]
        else:
            span += int(number) * _SPANS[unit]
    # The same text means the same moment for a while, so that a command line that is repeated asks for the same.
    begun = now.replace(second=0, microsecond=0)
    if "min" not in units:
        begun = begun.replace(minute=0)
    if not units & {"h", "min"}:
        begun = begun.replace(hour=0)
    return _months_before(begun, months) - span


def _months_before(now: datetime, months: int) -> datetime:
    year, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    if year < 1:
        raise OverflowError
    # A month before 31 March is the last day of February.
    day = min(now.day, calendar.monthrange(year, month + 1)[1])
    return now.replace(year=year, month=month + 1, day=day)


def _of_date(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{_quoted(text)} is no time: write {FORMS}.") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _quoted(text: str) -> str:
    return repr(clip(printable(text), 40))
