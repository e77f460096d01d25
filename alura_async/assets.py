"""Which index an asset has: the API names assets by number, people by symbol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from .errors import ConfigurationError, InvalidArgumentError


class Assets(Mapping[str, int]):
    """A table from symbol to asset index.

    The API documents BTC 0, ETH 1, SOL 2, XRP 3, DOGE 4 and AVAX 5, and says that others exist. Indices differ between
    networks and grow with time, so give a client your own table where these are not yours:
    `AsyncAlura(assets={"BTC": 3, "kPEPE": 15})`.

    Args:
        table: symbol to index. Symbols may be looked up in any case.

    Raises:
        ConfigurationError: an index that is not a whole number of 0 or more.
    """

    __slots__ = ("_any_case", "_table")

    def __init__(self, table: Mapping[str, int]) -> None:
        for symbol, index in table.items():
            if not isinstance(symbol, str) or isinstance(index, bool) or not isinstance(index, int) or index < 0:
                raise ConfigurationError(f"assets: {symbol!r}: {index!r} is not a symbol with an index of 0 or more")
        self._table = MappingProxyType(dict(table))
        self._any_case: dict[str, list[str]] = {}
        for symbol in table:
            self._any_case.setdefault(symbol.casefold(), []).append(symbol)

    def index(self, asset: str | int) -> int:
        """The index of an asset given by symbol, in any case, or already by index.

        Raises:
            InvalidArgumentError: a symbol that is not in the table, or that fits two when case is ignored.
        """
        if isinstance(asset, int) and not isinstance(asset, bool):
            if asset < 0:
                raise InvalidArgumentError(f"asset={asset}: an index is 0 or more")
            return asset
        if not isinstance(asset, str):
            raise InvalidArgumentError(f"asset={asset!r}: give a symbol such as 'BTC', or an index")
        if asset in self._table:
            return self._table[asset]
        found = self._any_case.get(asset.casefold(), [])
        if len(found) == 1:
            return self._table[found[0]]
        if found:
            raise InvalidArgumentError(f"asset={asset!r} fits {' and '.join(found)}: write it exactly")
        raise InvalidArgumentError(
            f"asset={asset!r} is not in the asset table ({', '.join(self._table)}): give its index, or a table that "
            "has it (assets=…)"
        )

    def __getitem__(self, symbol: str) -> int:
        return self._table[symbol]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return f"Assets({dict(self._table)!r})"


DEFAULT_ASSETS = Assets({"BTC": 0, "ETH": 1, "SOL": 2, "XRP": 3, "DOGE": 4, "AVAX": 5})
"""The documented indices."""
