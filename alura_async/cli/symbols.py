"""What a user may have meant by a symbol that the server does not know."""

from __future__ import annotations

from collections.abc import Sequence

from ..client import AsyncAlura
from ..core.text import printable
from ..errors import AluraError


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
    if alike := alike_in(known, symbol):
        return f"did you mean {' or '.join(map(printable, alike))}?"
    return f"its symbols are {', '.join(map(printable, known))}"


def alike_in(known: Sequence[str], symbol: str) -> list[str]:
    """The symbols that differ in case only."""
    return [name for name in known if name != symbol and name.casefold() == symbol.casefold()]
