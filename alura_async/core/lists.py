"""Reading a list in whatever form: as a list, as a map, as columns, or as a single object; and maps of values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from . import scalars
from .names import is_symbol
from .objects import ROW_DEPTH, ObjectReader
from .reader import Reader
from .scalars import MismatchError, Partly, Read, kind_of
from .unwrap import MOST_NAMES, TELLING, below, find, may_be_key

# So much of a long list is looked at to tell what it holds.
_SAMPLE = 3


class Rows(list[Any]):
    """Objects that were made already: a table whose shape was known."""


class ListReader(Reader):
    """Reads a list, in whatever form."""

    is_list = True

    def __init__(self, item: Reader | Read) -> None:
        self.item = item
        self.rows = item if isinstance(item, ObjectReader) else None
        self.names = item.names if isinstance(item, Reader) else frozenset()
        self.title = f"a list of {self.rows.struct.__name__}s" if self.rows is not None else "a list"

    def probe(self, value: Any) -> int:
        """How surely it is one."""
        if isinstance(value, Rows):
            return TELLING * len(value) or 1
        if type(value) is list:
            sample = [item for item in value if item is not None][:_SAMPLE]
            return max(map(self._probe_item, sample)) if sample else 1
        if type(value) is not dict:
            return 0
        if not value:
            return 1
        return max(self._scores(value))

    def owns(self, name: str) -> bool:
        """Whether what is under this name belongs to a single one of them, or is a column."""
        return self.may_be_field(name)

    def may_be_field(self, name: str) -> bool:
        """Whether a name may be one of a field of a single one of them."""
        return self.rows is not None and self.rows.may_be_field(name)

    def read(self, value: Any) -> Any:
        """Read them."""
        place = find(self, value, depth=2)
        inner, around = place.take(value)
        items, more = self.read_items(inner)
        around.update(more)
        return Partly(items, around) if around else items

    def read_items(self, value: Any) -> tuple[list[Any], dict[str, Any]]:
        """Read what is in no wrapper; and what does not belong to any of them, by its JSONPath."""
        if isinstance(value, Rows):
            return value, {}
        if type(value) is list:
            return self._read_list(value)
        if type(value) is not dict:
            raise self.mismatch(value)
        if not value:
            return [], {}
        scores = self._scores(value)
        if not any(scores):
            raise self.mismatch(value)
        if scores[0] == max(scores):
            return self._read_columns(value)
        return self._read_map(value) if scores[1] == max(scores) else self._read_list([value])

    def _scores(self, value: dict[str, Any]) -> tuple[int, int, int]:
        """How surely an object is columns, a map, a single item."""
        columns = self._probe_columns(value)
        if columns:
            # Where rows may be bare arrays, each column might be one.
            return columns, 0, 0
        # What is in it is sought elsewhere; a single one must tell of itself.
        single = self.rows.probe(value) if self.rows is not None else self._probe_item(value)
        return 0, self._probe_map(value), single if single >= TELLING or self.rows is None else 0

    # As a list

    def _probe_item(self, value: Any) -> int:
        if self.rows is not None:
            if type(value) is str:
                return 1 if self.rows.struct._bare else 0
            if type(value) is list and not self.rows.is_array(value):
                return 0
            return find(self.rows, value, ROW_DEPTH).score
        if isinstance(self.item, Reader):
            return self.item.probe(value)
        return 1 if type(value) is str or (type(value) is dict and _text_in(value)) else 0

    def _read_list(self, value: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        items: list[Any] = []
        around: dict[str, Any] = {}
        for index, element in enumerate(value):
            if element is None:
                continue
            try:
                if self.rows is not None:
                    result: Any = self.rows.read_row(element, None)
                else:
                    result = self.item.read(element) if isinstance(self.item, Reader) else self._read_single(element)
            except MismatchError as error:
                raise error.within(f"[{index}]") from None
            if type(result) is Partly:
                result, around[f"$[{index}]"] = result
            items.append(result)
        if value and not items:
            raise MismatchError(f"expected {self.title}, got nulls")
        return items, around

    def _read_single(self, element: Any) -> Any:
        name = _text_in(element) if type(element) is dict else None
        if name is not None:
            rest = {key: item for key, item in element.items() if key != name}
            return Partly(element[name], rest) if rest else element[name]
        # Text that is a number would be taken for text.
        if self.item is scalars.read_text and type(element) is not str:
            raise MismatchError(f"expected text, got {kind_of(element)}")
        return cast("Read", self.item)(element)

    # As columns

    def _probe_columns(self, value: dict[str, Any]) -> int:
        return TELLING * len(self.rows.columns(value)) if self.rows is not None else 0

    def _read_columns(self, value: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        assert self.rows is not None
        columns = self.rows.columns(value)
        rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*map(value.get, columns), strict=True)]
        items, _ = self._read_list(rows)
        return items, {below("$", name): item for name, item in value.items() if name not in columns}

    # As a map

    def _entries(self, value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        return ((key, item) for key, item in value.items() if type(item) in (dict, list))

    def _has_several(self, entry: Any) -> bool:
        """Whether a map's entry is a list of rows. Things with an id are not grouped by what is no part of them."""
        assert self.rows is not None
        return type(entry) is list and not self.rows.is_array(entry) and "id" not in self.rows.scalars

    def _probe_map(self, value: dict[str, Any]) -> int:
        entries = list(self._entries(value)) if len(value) <= MOST_NAMES else []
        if not entries or not all(may_be_key(key) for key, _ in entries) or entries[0][0] in self.names:
            return 0
        if self.rows is None:
            is_map = all(type(item) is dict and is_symbol(key) for key, item in value.items())
            return 1 if self.item is scalars.read_text and is_map else 0
        if len(entries) == 1 and type(entries[0][1]) is list and not is_symbol(entries[0][0]):
            # A list under the only name is what has this name.
            return 0
        # What tells of itself is one thing, whatever else is in it.
        if self.rows.probe(value) >= TELLING:
            return 0
        scores = [self._probe_entry(item, key) for key, item in entries]
        # One that says little of itself, such as its time alone, is an item where the others are.
        return max(scores) if all(scores) else 0

    def _probe_entry(self, value: Any, key: str) -> int:
        assert self.rows is not None
        if self._has_several(value):
            return min((self._probe_entry(item, key) for item in value[:_SAMPLE]), default=0)
        return self.rows.probe_row(value, key)

    def _read_map(self, value: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        if self.rows is None:
            return list(value), {below("$", name): item for name, item in value.items()}
        items: list[Any] = []
        for key, entry in self._entries(value):
            several = entry if self._has_several(entry) else [entry]
            try:
                items += [self.rows.read_row(item, key) for item in several if item is not None]
            except MismatchError as error:
                raise error.within(f".{key}") from None
        return items, {below("$", name): item for name, item in value.items() if type(item) not in (dict, list)}


def _text_in(value: dict[str, Any]) -> str | None:
    """Where an object has the text that it stands for."""
    return next((name for name in ("symbol", "name", "coin", "ticker") if type(value.get(name)) is str), None)


class MapReader(Reader):
    """Reads a map of values by their names."""

    def __init__(self, item: Reader | Read) -> None:
        self._read_item = item.read if isinstance(item, Reader) else item

    def probe(self, value: Any) -> int:
        """How surely it is one."""
        return 1 if type(value) is dict else 0

    def read(self, value: Any) -> Any:
        """Read it, also from a list of names with values."""
        if type(value) is list:
            value = _named(value)
        if type(value) is not dict:
            raise MismatchError(f"expected an object, got {kind_of(value)}")
        known: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for name, item in value.items():
            try:
                known[name] = None if item is None else self._read_item(item)
            except MismatchError:
                rest[name] = item
        if rest and not known:
            raise MismatchError("nothing in it is of the kind that was expected")
        return Partly(known, rest) if rest else known


def _named(pairs: list[Any]) -> dict[str, Any] | None:
    """A map from a list of its names and values: `[{"name": "rsi", "value": 55.5}]`."""
    found: dict[str, Any] = {}
    for pair in pairs:
        if type(pair) is not dict or len(pair) != 2 or "value" not in pair:
            return None
        name = pair.get("name", pair.get("key"))
        if type(name) is not str or name in found:
            return None
        found[name] = pair["value"]
    return found
