"""What reads values of one type, and how it says that a value is none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from .scalars import MismatchError, kind_of
from .text import shown


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

    def may_be_field(self, name: str) -> bool:
        """Whether a name may be one of a field."""
        return False

    def mismatch(self, value: Any) -> MismatchError:
        """What is wrong with a value that is none of this type."""
        if type(value) is not dict:
            return MismatchError(f"expected {self.title}, got {kind_of(value)}")
        return MismatchError(f"expected {self.title}, and nothing of it is there; it has {names_in(value)}")


def names_in(value: Any) -> str:
    """What names a value has, for a message; of another one than an object, what it is."""
    if type(value) is not dict:
        return kind_of(value)
    names = [shown(name, 40) for name in list(value)[:12]]
    return ", ".join(names) + (", …" if len(value) > 12 else "") if names else "nothing"
