"""What every response Struct shares: frozen, camelCase on the wire, unknown fields kept in `.extra`."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, TypeAlias

import msgspec

from .text import printable

Time: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
"""An aware datetime."""

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

    # The name on the wire is one that no server sends.
    _extra: dict[str, Any] | None = msgspec.field(default=None, name="$extra$")

    @property
    def extra(self) -> Mapping[str, Any]:
        """The fields that the server sent and this type does not name, by their name on the wire."""
        return _NOTHING if self._extra is None else MappingProxyType(self._extra)

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


class MoneyModel(Model, frozen=True, kw_only=True):
    """Base of the types that hold amounts: each is a finite number, or None.

    `"NaN"` is text that `Decimal` takes, and no limit that a bot compares with it would ever strike. It counts as no
    amount and is kept in `extra`.
    """

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if type(value) is Decimal and not value.is_finite():
                raise ValueError(f"{name} is not a finite number")


class OpenEnum(enum.StrEnum):
    """An enumeration that grows: a value nobody told us of becomes a member of its own, equal to its text.

    Known values are recognised in any case. `is_known` tells the two apart.
    """

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, str):
            return None
        for member in cls:
            if member.value.casefold() == value.casefold():
                return member
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
