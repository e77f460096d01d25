"""How many, how much and how long, in words for people."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """A number of things: `1 request`, `84,000 requests`.

    Args:
        number: how many.
        one: what one of them is called.
        many: what several are called, where that is not the same with an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def large(number: int) -> str:
    """How many, in about four characters where there are millions: `84,000`, `42.1 M`."""
    for size, letter in ((10**9, "G"), (10**6, "M")):
        if number >= size:
            return f"{number / size:.3g} {letter}" if number < 1000 * size else f"{number // size:,} {letter}"
    return f"{number:,}"


def bytes_(count: int) -> str:
    """A number of bytes: `512 B`, `3.42 MB`."""
    for unit, letter in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {letter}" if count < 1000 * unit else f"{count // unit:,} {letter}"
    return f"{count} B"


def duration(seconds: float) -> str:
    """How long, in the two units that matter: `2 h 20 min`, `45 s`, `0.3 s`."""
    if 0 < seconds < 9.95:
        return f"{f'{seconds:.1f}'.removesuffix('.0')} s"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        parts = ((days, "d"), (hours, "h"))
    elif hours:
        parts = ((hours, "h"), (minutes, "min"))
    else:
        parts = ((minutes, "min"), (rest, "s"))
    return " ".join([f"{number} {unit}" for number, unit in parts if number]) or "0 s"
