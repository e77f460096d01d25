"""Making a JSON value into a response type, by the type's own annotations.

Each type has a reader, made once. It tells by names how surely a value is one of its type (`probe`), so that what is
wrapped can be found (`unwrap.py`), and reads it (`read`): the fields whose names (`names.py`) and values (`scalars.py`)
fit, in whatever spelling and form; all the rest goes into `.extra`.

A list may come as a list, as a map, as columns or as a single object; an object as a list of one, as a bare array or
as a single value, where its type says what these stand for.
"""

from __future__ import annotations

import functools
import types
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, Union, cast, get_args, get_origin

import msgspec

from ..secret import Secret
from . import scalars
from .model import Asked, Items, Milliseconds, Model, OpenEnum, Time, WireNumber
from .names import ranked, titles
from .scalars import MismatchError, Partly, Read, kind_of
from .text import shown
from .unwrap import TELLING, below, find, is_telling, may_be_key

# Beside an object's id, its fields in an object of their own: JSON:API, Elasticsearch.
_FIELDS_APART = ("attributes", "_source")
_IDS = frozenset(("id", "_id"))
_BESIDE = frozenset((*_FIELDS_APART, *_IDS, "type", "_type", "links", "relationships", "meta", "_index", "_score"))
# By which fields a map may be keyed, the likeliest first.
_KEYS = ("id", "symbol", "user_id", "tx_hash", "service")
# A key that is no field, in `.extra`.
_KEY = "$key"
# One list under one name is rather a list of things that have this name.
_LEAST_COLUMNS = 2
# A row that has more values than these is none.
_LONGEST_ARRAY = 16
# An object of more names is not like another, and not worth remembering.
_MOST_NAMES = 256
# So much of a long list is looked at to tell what it holds.
_SAMPLE = 3
# Rows are wrapped once: `{"position": {…}}`, `{"node": {…}}`.
_ROW_DEPTH = 1


class Rows(list[Any]):
    """Objects that were made already: a table whose shape was known."""


class Reader(ABC):
    """Reads objects or lists of one type."""

    names: frozenset[str] = frozenset()
    title = "an object"
    is_list = False

    @abstractmethod
    def probe(self, value: Any) -> int:
        """How surely a JSON value is one of this type, by its names: 0 where it is none; see `unwrap.TELLING`."""

    @abstractmethod
    def read(self, value: Any) -> Any:
        """Read a JSON value; `Partly` where some of it is not part of the type.

        Raises:
            MismatchError: it does not fit.
        """

    def owns(self, name: str) -> bool:
        """Whether what is under this name belongs to the thing itself."""
        return False

    def mismatch(self, value: Any) -> MismatchError:
        """What is wrong with a value that is none of this type."""
        if type(value) is not dict:
            return MismatchError(f"expected {self.title}, got {kind_of(value)}")
        return MismatchError(f"expected {self.title}, and nothing of it is there; it has {_names_in(value)}")


@functools.cache
def reader_of(annotation: Any) -> Reader | Read:
    """What reads values of a type: a reader of objects and lists, or a function for anything else."""
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin = get_origin(annotation)
    plain = origin or annotation
    if origin in (Union, types.UnionType):
        others = [member for member in get_args(annotation) if member is not types.NoneType]
        if len(others) == 1:
            # Whoever has one that may be absent does not ask for it then.
            return reader_of(others[0])
    elif origin in (list, Items):
        return ListReader(reader_of(get_args(annotation)[0]))
    elif origin is dict and get_args(annotation)[0] is str:
        return MapReader(reader_of(get_args(annotation)[1]))
    elif isinstance(plain, type) and issubclass(plain, Model):
        return ObjectReader(annotation)
    elif isinstance(plain, type) and issubclass(plain, OpenEnum):
        return scalars.read_enum(plain)
    return converting(annotation)


# Objects


class _Plan(NamedTuple):
    """How objects of certain names are read.

    Attributes:
        steps: which name may be which field, what reads it, and what does where it is an object; the surest first.
        recognised: the names that may be a field.
    """

    steps: tuple[tuple[str, str, Read, Read], ...]
    recognised: frozenset[str]


class _Assigned(NamedTuple):
    """Which names became which fields.

    Attributes:
        known: the values by the names of the fields.
        names: by the names of the fields, what they were called.
        rest: what became no field, by its name.
        failures: why fields could not be read.
    """

    known: dict[str, Any]
    names: dict[str, str]
    rest: dict[str, Any]
    failures: dict[str, MismatchError]


class ObjectReader(Reader):
    """Reads a `Model`.

    Attributes:
        struct: the type.
        scalars: what reads the fields that are single values, by their names.
        required: the fields without which it is none.
        always_told: the fields that an object of exactly the expected shape has.
        adapts: whether what names tell changes what was read.
    """

    def __init__(self, annotation: Any) -> None:
        self.struct: type[Model] = get_origin(annotation) or annotation
        self.names = titles(self.struct)
        self.title = f"a {self.struct.__name__}"
        self.scalars: dict[str, Read] = {}
        self._reads: dict[str, Read] = {}
        self._containers: set[str] = set()
        self._wire_names: dict[str, str] = {}
        self.required: list[str] = []
        self.always_told: set[str] = set()
        for field in msgspec.structs.fields(annotation):
            if field.name == "_extra":
                continue
            reader = reader_of(field.type)
            if isinstance(reader, Reader):
                self._containers.add(field.name)
                self._reads[field.name] = reader.read
            else:
                self.scalars[field.name] = reader
                # A secret may be an object, which must not be shown either.
                is_whole = reader is scalars.read_secret
                self._reads[field.name] = (
                    reader if is_whole else scalars.read_part(reader, is_reference=field.name.endswith("_id"))
                )
            self._wire_names[field.name] = field.encode_name
            if field.required:
                self.always_told.add(field.name)
                if field.type != Asked:
                    self.required.append(field.name)
        self.adapts = self.struct._adapt.__func__ is not Model._adapt.__func__  # type: ignore[attr-defined]
        self._keys = [name for name in _KEYS if name in self._reads]
        # All rows of a list look alike to these two.
        self._plan_of = functools.lru_cache(maxsize=256)(self._plan)
        self._score_of = functools.lru_cache(maxsize=256)(self._score)

    def probe(self, value: Any) -> int:
        """How surely it is one."""
        return self.probe_row(value, None)

    def probe_row(self, value: Any, key: str | None) -> int:
        """How surely it is one that stands in a list, or in a map under a key."""
        if type(value) is list:
            return TELLING * len(value) if self.is_array(value) else 0
        if type(value) is not dict:
            return 0
        fields = _flat(value)[0]
        kinds = tuple(map(type, fields.values()))
        if dict in kinds:
            kinds = tuple(map(_kind, fields.values()))
        score = self._score_of if len(fields) <= _MOST_NAMES else self._score
        return score(tuple(fields), kinds, key is not None)

    def owns(self, name: str) -> bool:
        """Whether a field that holds objects or lists has this name."""
        return any(field in self._containers for _, field in ranked(self.struct, name))

    def read(self, value: Any) -> Any:
        """Read one."""
        return self.read_row(value, None)

    def read_row(self, value: Any, key: str | None) -> Model:
        """Read one that stands in a list, or in a map under a key."""
        if type(value) is dict:
            return self._read_fields(value, key, {}) if self.is_plain(value) else self._read_wrapped(value, key)
        if type(value) is list:
            return self._read_list(value, key)
        return self._read_bare(value, key)

    def columns(self, value: dict[str, Any]) -> list[str]:
        """Which names have columns of a table, also those that nobody knows; none where it is no table."""
        lists = {name: len(item) for name, item in value.items() if type(item) is list}
        known = [name for name in lists if ranked(self.struct, name)]
        fields = {field for name in known for _, field in ranked(self.struct, name)}
        if len(known) < _LEAST_COLUMNS or not fields.issuperset(self.required):
            return []
        length = lists[known[0]]
        return [name for name in lists if lists[name] == length] if all(lists[n] == length for n in known) else []

    def may_be_field(self, name: str) -> bool:
        """Whether a name may be one of a field."""
        return bool(ranked(self.struct, name))

    def is_plain(self, value: dict[str, Any]) -> bool:
        """Whether an object is surely one, and not what is around it."""
        return self.probe(value) >= TELLING and _flat(value)[0] is value

    def assign(self, value: dict[str, Any]) -> _Assigned:
        """Find which names become which fields."""
        known: dict[str, Any] = {}
        names: dict[str, str] = {}
        rest: dict[str, Any] = {}
        failures: dict[str, MismatchError] = {}
        used: set[str] = set()
        plan = (self._plan_of if len(value) <= _MOST_NAMES else self._plan)(tuple(value))
        for name, field, read, read_object in plan.steps:
            item = value[name]
            # A list of nothing gives way to one of something under another name.
            if item is None or name in used or (field in known and known[field] != []):
                continue
            try:
                result = read_object(item) if type(item) is dict else read(item)
            except MismatchError as error:
                failures[field] = error.within(f".{name}")
                continue
            if type(result) is Partly:
                result, rest[name] = result
            if field in known:
                used.discard(names[field])
            known[field] = result
            names[field] = name
            used.add(name)
        if len(used) < len(value):
            # Null is as good as absent where it is known what is absent.
            rest |= {
                name: item
                for name, item in value.items()
                if name not in used and (item is not None or name not in plan.recognised)
            }
        return _Assigned(known, names, rest, failures)

    def by_names(self, value: list[Any]) -> dict[str, Any] | None:
        """A bare array's values by the names that they have elsewhere; None where that is no such array."""
        if not self.is_array(value):
            return None
        order = [self._wire_names[name] for name in self.struct._array]
        # What follows is kept by its place.
        names = order[: len(value)] + [f"${place}" for place in range(len(order), len(value))]
        return dict(zip(names, value, strict=True))

    def _score(self, names: tuple[str, ...], kinds: tuple[type, ...], has_key: bool) -> int:
        """What a probe says of an object with values of these kinds."""
        told = recognised = 0
        found = set(self._keys if has_key else ())
        for name, kind in zip(names, kinds, strict=True):
            fields = self._meant(name, kind)
            if fields:
                recognised += 1
                told += TELLING if is_telling(name) else 0
                found.update(fields)
        return told + recognised if recognised and found.issuperset(self.required) else 0

    def _meant(self, name: str, kind: type) -> list[str]:
        """The fields that a value of this name may be, by whether it is a single one."""
        if kind is types.NoneType:
            return []
        is_container = kind in (dict, list)
        return [
            field
            for _, field in ranked(self.struct, name)
            if (field in self._containers) == is_container or self.scalars.get(field) is scalars.read_secret
        ]

    def _plan(self, names: tuple[str, ...]) -> _Plan:
        steps = [(rank, name, field) for name in names for rank, field in ranked(self.struct, name)]
        # By rank only: of equals the first one that is there.
        steps.sort(key=lambda step: step[0])
        recognised = frozenset(name for _, name, _ in steps)
        return _Plan(
            steps=tuple(
                (name, field, self.scalars.get(field, self._reads[field]), self._reads[field])
                for _, name, field in steps
            ),
            recognised=recognised,
        )

    def _read_wrapped(self, value: dict[str, Any], key: str | None) -> Model:
        inner, around = find(_Row(self, key), value, _ROW_DEPTH).take(value)
        if type(inner) is not dict:
            return self.read_row(inner, key)
        fields, apart = _flat(inner)
        around.update((below("$", name), item) for name, item in apart.items())
        return self._read_fields(fields, key, around)

    def _read_fields(self, value: dict[str, Any], key: str | None, around: dict[str, Any]) -> Model:
        known, names, rest, failures = self.assign(value)
        rest.update(around)
        if key is not None:
            self._note_key(key, known, rest)
        self._require(value, known, failures, has_rest=bool(rest))
        self.struct._adapt(known, names)
        return self._make(known, rest)

    def _make(self, known: dict[str, Any], rest: dict[str, Any]) -> Model:
        for name in self.always_told:
            known.setdefault(name, None)
        return self.struct(**known, _extra=rest or None)

    def _note_key(self, key: str, known: dict[str, Any], rest: dict[str, Any]) -> None:
        """Keep the key under which it stood in a map: as its id, or what else it may be."""
        if any(str(known.get(name)) == key for name in self._keys):
            return
        field = next((name for name in self._keys if name not in known), None)
        # A list that was made into an object has numbers for keys; what must have an id has it there.
        if field not in self.required and key.isdecimal() and len(key) < _SAMPLE:
            field = None
        if field is None:
            rest[_KEY] = key
        else:
            known[field] = key

    def _require(
        self, value: Any, known: dict[str, Any], failures: dict[str, MismatchError], *, has_rest: bool
    ) -> None:
        missing = [name for name in self.required if name not in known]
        if missing:
            failure = next((failures[name] for name in missing if name in failures), None)
            names = ", ".join(self._wire_names[name] for name in missing)
            raise failure or MismatchError(f"a {self.struct.__name__} without {names}; it has {_names_in(value)}")
        if not known and (has_rest or not value):
            raise self.mismatch(value)

    # Where it is no object

    def is_array(self, value: list[Any]) -> bool:
        """Whether a list is one of them, as a bare array."""
        order = self.struct._array
        least = len(order) - 1
        if not order or not least <= len(value) <= _LONGEST_ARRAY:
            return False
        return not any(type(item) in (dict, list) for item in value[: len(order)])

    def _read_list(self, value: list[Any], key: str | None) -> Model:
        row = self.by_names(value)
        if row is not None:
            return self._read_fields(row, key, {})
        if len(value) == 1 and find(_Row(self, key), value[0], _ROW_DEPTH).score:
            return self.read_row(value[0], key)
        return self._read_bare(value, key)

    def _read_bare(self, value: Any, key: str | None) -> Model:
        """A value that is no object: the type may say which field it stands for."""
        for field in self.struct._bare:
            try:
                result = self._reads[field](value)
            except MismatchError:
                continue
            known, rest = {field: result}, dict[str, Any]()
            if type(result) is Partly:
                known[field], rest[self._wire_names[field]] = result
            if key is not None:
                self._note_key(key, known, rest)
            self._require(value, known, {}, has_rest=True)
            return self._make(known, rest)
        raise MismatchError(f"expected a {self.struct.__name__}, got {kind_of(value)}")


class _Row:
    """A row of a list, or of a map under a key, as it is sought in what may be around it."""

    is_list = False

    def __init__(self, reader: ObjectReader, key: str | None) -> None:
        self.names = reader.names
        self.owns = reader.owns
        self._probe = reader.probe_row
        self._key = key

    def probe(self, value: Any) -> int:
        """How surely it is one."""
        return self._probe(value, self._key)


def _kind(value: Any) -> type:
    """The type of a value; of one that MongoDB boxes (`{"$oid": "65f0"}`), not that of the box."""
    return str if type(value) is dict and len(value) == 1 and next(iter(value)).startswith("$") else type(value)


def _flat(value: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An object whose fields stand apart from its id, with both on one level; and what else stood beside them."""
    for name in _FIELDS_APART:
        fields = value.get(name)
        if type(fields) is dict and _BESIDE.issuperset(value) and _IDS.isdisjoint(fields):
            own = {name: item for name, item in value.items() if name in ("id", "_id")}
            others = {key: item for key, item in value.items() if key != name and key not in own}
            return {**own, **fields}, others
    return value, {}


# Lists


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
            if type(value) is list and not self.rows.is_array(value):
                return 0
            return find(self.rows, value, _ROW_DEPTH).score
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
        entries = list(self._entries(value))
        if not entries or not all(may_be_key(key) for key, _ in entries) or entries[0][0] in self.names:
            return 0
        if self.rows is None:
            return 1 if self.item is scalars.read_text and all(type(item) is dict for item in value.values()) else 0
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


# Maps


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


# All else


def _same(value: Any) -> Any:
    return value


def converting(annotation: Any) -> Read:
    """What reads a type that is not ours, as msgspec does."""

    def read(value: Any) -> Any:
        try:
            return msgspec.convert(value, annotation, dec_hook=decode_hook)
        except (msgspec.ValidationError, ArithmeticError) as error:
            if isinstance(value, Decimal):
                # A type that wants a float or an open number does not know Decimal.
                return read(float(value))
            raise MismatchError(str(error)) from None

    return read


def decode_hook(wanted: type, value: Any) -> Any:
    """Make the types that msgspec does not know."""
    if wanted is Secret and isinstance(value, str):
        return Secret(value)
    raise msgspec.ValidationError(f"Expected `{wanted.__name__}`, got {kind_of(value)}")


def _names_in(value: Any) -> str:
    if type(value) is not dict:
        return kind_of(value)
    names = [shown(name, 40) for name in list(value)[:12]]
    return ", ".join(names) + (", …" if len(value) > 12 else "") if names else "nothing"


_SCALARS: dict[Any, Read] = {
    Any: _same,
    str: scalars.read_text,
    int: scalars.read_whole,
    float: scalars.read_float,
    bool: scalars.read_flag,
    Decimal: scalars.read_amount,
    datetime: scalars.read_time,
    Time: scalars.read_time,
    Milliseconds: scalars.read_milliseconds,
    WireNumber: scalars.read_wire_number,
    Asked: scalars.read_text,
    Secret: scalars.read_secret,
}
