"""What every response Struct shares: frozen, camelCase on the wire, unknown fields kept in `.extra`."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias, TypeVar

import msgspec

from ..bulk.frames import Frames
from .text import printable

T = TypeVar("T")

Time: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
"""An aware datetime."""

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""What is before this is no time of this API: 0, and the year 1, say that there is none."""

LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""What is not before this is none either. Between the two, seconds, milliseconds and so on cannot be confused."""

Word: TypeAlias = Annotated[str, msgspec.Meta(description="a word")]
"""Text for which `true` or `false` may stand."""

Milliseconds: TypeAlias = Annotated[int, msgspec.Meta(ge=946_684_800_000, le=7_258_118_399_999)]
"""A time as epoch milliseconds, between `EARLIEST` and `LATEST`."""

if TYPE_CHECKING:
    WireNumber: TypeAlias = str | int | float
    """A number as the wire had it; as text where a float would lose digits."""
    Asked: TypeAlias = str | None
    """What a reply may leave out, because the request said it; None where neither does."""
    _Rest: TypeAlias = dict[str, Any] | None
else:
    # What is decoded at full speed. Numbers take the tolerant road, which looks after their digits.
    WireNumber = Annotated[str, msgspec.Meta(description="a decimal number")]
    # A reply without it takes the tolerant road too, which fills it in.
    Asked = Annotated[str, msgspec.Meta(description="as asked for")]
    # No reply can set it.
    _Rest = None

Synonyms: TypeAlias = Mapping[str, tuple[str, ...]]
"""What else servers may call fields, best first, by their names here."""

LARGEST_EXPONENT = 400
"""An amount of more digits than these is none."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Model(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename="camel",
    # A body with unknown fields takes the tolerant road, which keeps them; and a wrapper never passes as an
    # object full of None. Costs nothing where all fields are known.
    forbid_unknown_fields=True,
):
    """Base of all response types.

    Only the bodies of the two sign-in calls are documented. Every other field is an assumption, so each may be None,
    and what the server sends besides is in `extra`.
    """

    _also: ClassVar[Synonyms] = {}
    """What servers may call a field of this type, besides what is usual for all types, best first."""

    _titles: ClassVar[tuple[str, ...]] = ()
    """What servers may call a thing of this type, besides the words of its name."""

    _bare: ClassVar[tuple[str, ...]] = ()
    """The fields that a reply may stand for which is no object: the first that takes it."""

    _array: ClassVar[tuple[str, ...]] = ()
    """The order of the fields where things of this type come as bare arrays."""

    _order: ClassVar[str | None] = None
    """The field by which lists of this type are in ascending order, whichever way the server gives them."""

    # The name on the wire is one that no server sends.
    _extra: _Rest = msgspec.field(default=None, name="$extra$")

    @property
    def extra(self) -> Mapping[str, Any]:
        """What the server sent and this type does not name, by its name on the wire.

        Also values that do not fit the field of their name, and what stood around the object, by its JSONPath, such
        as `$.success`.
        """
        return _NOTHING if self._extra is None else MappingProxyType(self._extra)

    @classmethod
    def _adapt(cls, fields: dict[str, Any], names: Mapping[str, str]) -> None:
        """Change what was read from an object that was not of exactly this shape, where its names tell more.

        Args:
            fields: the values by the names of the fields.
            names: by the names of the fields, what they were called.
        """

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in self._shown()]
        if self._extra:
            shown.append(f"extra: {self._names_of_extra(self._extra)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own shows what is in `extra` as well.
        names = [("extra", self._names_of_extra(self._extra))] if self._extra else []
        return self._shown() + names

    def _shown(self) -> list[tuple[str, Any]]:
        return [
            (name, value)
            for name in self.__struct_fields__
            if name != "_extra" and (value := getattr(self, name)) is not None
        ]

    @staticmethod
    def _names_of_extra(extra: Mapping[str, Any]) -> str:
        # Names only: nobody knows what is in them.
        return ", ".join(printable(name) for name in sorted(extra))


class CheckedModel(Model, frozen=True, kw_only=True):
    """Base of the types that hold amounts and times: each is one that there can be, or None.

    `"NaN"` is text that `Decimal` takes, and no limit that a bot compares with it would ever strike; and some servers
    write the year 1 where there is no time. These count as none and are kept in `extra`.
    """

    def __post_init__(self) -> None:
        amounts, times = _checked(type(self))
        for name in amounts:
            value = getattr(self, name)
            if type(value) is dict:
                is_sound = all(item is None or _is_sound(item) for item in value.values())
            else:
                is_sound = value is None or _is_sound(value)
            if not is_sound:
                raise ValueError(f"{name} is not finite, or beyond all measure")
        for name in times:
            time = getattr(self, name)
            if time is not None and not EARLIEST <= time < LATEST:
                raise ValueError(f"{name} is before {EARLIEST.year} or after {LATEST.year}")


def _is_sound(amount: Decimal) -> bool:
    return amount.is_finite() and abs(amount.adjusted()) <= LARGEST_EXPONENT


@functools.cache
def _checked(struct: type[CheckedModel]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields that hold amounts, and those that hold times."""
    fields = [(field.name, str(field.type)) for field in msgspec.structs.fields(struct)]
    amounts = tuple(name for name, kind in fields if "Decimal" in kind)
    return amounts, tuple(name for name, kind in fields if "datetime" in kind)


class Items(list[T], Frames):
    """A list that an endpoint returned, with what stood around it in the reply; also as a frame, see `Frames`."""

    # On the class, so that making one costs no more than a list.
    _extra: dict[str, Any] | None = None
    _is_complete: bool | None = None
    # What is in it; only where nothing is.
    _row: Any = None

    @property
    def is_complete(self) -> bool | None:
        """Whether these are all; None where the server does not say.

        False where it names a larger total, or a next page: what is missing here may be on another page.
        """
        return self._is_complete

    @property
    def extra(self) -> Mapping[str, Any]:
        """What stood around the list in the reply, by its JSONPath, such as `$.total`."""
        return _NOTHING if self._extra is None else MappingProxyType(self._extra)


class OpenEnum(enum.StrEnum):
    """An enumeration that grows: a value nobody told us of becomes a member of its own, equal to its text.

    Known values are recognised in any case. `is_known` tells the two apart.
    """

    @classmethod
    def _synonyms(cls) -> Mapping[str, OpenEnum]:
        """What servers may call the members, in lower case, besides their values."""
        return {}

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, str):
            return None
        folded = value.casefold()
        for member in cls:
            if member.value.casefold() == folded:
                return member
        if folded in (synonyms := cls._synonyms()):
            return synonyms[folded]
        member = str.__new__(cls, value)
        member._name_ = value
        member._value_ = value
        return member

    def __reduce_ex__(self, protocol: object) -> tuple[type[OpenEnum], tuple[str]]:
        # By value: some Pythons look the name up, and a value that nobody knows has none there.
        return type(self), (str(self._value_),)

    @property
    def is_known(self) -> bool:
        """Whether this SDK knows the value."""
        return self._name_ in type(self).__members__

    def __repr__(self) -> str:
        # The name of a value that nobody knows is the server's text; `repr` of text is safe to show.
        name = f".{self._name_}" if self.is_known else ""
        return f"<{type(self).__name__}{name}: {self._value_!r}>"


def from_milliseconds(value: int) -> datetime:
    """An aware datetime from epoch milliseconds, exact to the millisecond."""
    return _EPOCH + timedelta(milliseconds=value)
