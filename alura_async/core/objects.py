"""Reading an object: the fields whose names and values fit, in whatever spelling and form; all the rest into `.extra`.

It may also come as a list of one, as a bare array, or as a single value, where its type says what these stand for; and
in one more wrapper, as rows of a list do.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, NamedTuple, get_origin

import msgspec

from . import scalars
from .model import Asked, Model
from .names import is_symbol, ranked, titles
from .reader import Reader, names_in
from .scalars import MismatchError, Partly, Read, kind_of
from .unwrap import TELLING, below, find, is_telling

# Beside an object's id, its fields in an object of their own: JSON:API, Elasticsearch.
_FIELDS_APART = ("attributes", "_source")
_IDS = frozenset(("id", "_id"))
_BESIDE = frozenset((*_FIELDS_APART, *_IDS, "type", "_type", "links", "relationships", "meta", "_index", "_score"))
# By which fields a map may be keyed, the likeliest first.
_KEYS = ("id", "symbol", "user_id", "tx_hash", "service")
# A key that is no field, in `.extra`.
_KEY = "$key"
# Keys of so few digits are places in a list rather than ids.
_LONGEST_PLACE = 2
# One list under one name is rather a list of things that have this name.
_LEAST_COLUMNS = 2
# A row that has more values than these is none.
_LONGEST_ARRAY = 16
# An object of more names is not like another, and not worth remembering.
_MOST_NAMES = 256
ROW_DEPTH = 1
"""Rows are wrapped once: `{"position": {…}}`, `{"node": {…}}`."""


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

    def __init__(self, annotation: Any, reader_of: Callable[[Any], Reader | Read]) -> None:
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
        inner, around = find(Row(self, key), value, ROW_DEPTH).take(value)
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
        if field == "symbol" and not is_symbol(key):
            field = None
        # A list that was made into an object has numbers for keys; what must have an id has it there.
        if field not in self.required and key.isdecimal() and len(key) <= _LONGEST_PLACE:
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
            raise failure or MismatchError(f"a {self.struct.__name__} without {names}; it has {names_in(value)}")
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
        if len(value) == 1 and find(Row(self, key), value[0], ROW_DEPTH).score:
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


class Row:
    """A row of a list, or of a map under a key, as it is sought in what may be around it."""

    is_list = False

    def __init__(self, reader: ObjectReader, key: str | None) -> None:
        self.names = reader.names
        self.owns = reader.owns
        self.may_be_field = reader.may_be_field
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
