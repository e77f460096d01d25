"""What a user may have meant by a symbol that the server does not know."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from ..client import AsyncAlura
from ..core.text import printable
from ..errors import AluraError

# So many symbols are listed at once.
_MOST_LISTED = 20


async def spelled(alura: AsyncAlura, symbol: str) -> str:
    """What to ask for instead, as the end of a sentence.

    Args:
        alura: the client.
        symbol: what the server did not find.
    """
    try:
        known = list(await alura.indicators.symbols())
    except AluraError:
        return "nor does it list its symbols: check --base-url, or ALURA_BASE_URL"
    if symbol in known:
        return f"it lists {printable(symbol)}, so try another interval"
    return meant(known, symbol)


def meant(known: Sequence[str], symbol: str) -> str:
    """What a symbol that is not listed may have been meant to be, as the end of a sentence.

    Args:
        known: what the server lists.
        symbol: what it does not.
    """
    if alike := _alike(known, symbol):
        return f"did you mean {' or '.join(map(printable, alike))}?"
    more = f" and {len(known) - _MOST_LISTED:,} more" if len(known) > _MOST_LISTED else ""
    return f"its symbols are {', '.join(map(printable, known[:_MOST_LISTED]))}{more}"


def _alike(known: Sequence[str], symbol: str) -> list[str]:
    """The symbols that differ in case only, or else those that are spelled much the same."""
    spellings: dict[str, list[str]] = {}
    for name in known:
        spellings.setdefault(name.casefold(), []).append(name)
    folded = symbol.casefold()
    if folded in spellings:
        return spellings[folded]
    return [name for close in get_close_matches(folded, spellings) for name in spellings[close]]
