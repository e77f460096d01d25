"""A value that must not be shown: keys, tokens, signatures."""

from __future__ import annotations

from typing import Any, NoReturn


class Secret:
    """Text that never appears in `repr`, `str`, formatting or pickles.

    Ask for it by name: `secret.reveal()`.

    Args:
        value: the text to keep out of sight.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself. Do not log what this returns."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: pass it on by other means")

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self
