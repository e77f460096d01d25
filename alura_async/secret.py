"""Values that must not be shown: keys, tokens, signatures, and errors that quote them."""

from __future__ import annotations

from typing import Any, NoReturn

from .core.text import shown


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


class SecretText(str):
    """Text that a library must be given plain: a header with a token in it.

    It is the text wherever it is used, and `***` where it is shown as a value: in `repr`, in that of a dictionary that
    holds it, in a traceback with locals, in a pickle.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __copy__(self) -> SecretText:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SecretText:
        return self

    def __reduce__(self) -> tuple[type[SecretText], tuple[str]]:
        # Not refused: an error of aiohttp carries the headers of its request, and must be able to travel.
        return type(self), ("***",)


class SecretBytes(bytes):
    """Bytes that must be plain for those who use them; see `SecretText`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"

    def __str__(self) -> str:
        return "b'***'"

    def __copy__(self) -> SecretBytes:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SecretBytes:
        return self

    def __reduce__(self) -> tuple[type[SecretBytes], tuple[bytes]]:
        return type(self), (b"***",)


def scrub(error: BaseException) -> None:
    """Make an error of another library fit to be shown, with all that it came from.

    The frames of asyncio and aiohttp hold what was being written and read: a request's headers with the token in them,
    a reply with a new one. Whatever renders a traceback with its local variables would show them, so the frames go.
    What aiohttp says of a reply that it cannot read quotes that reply, so its words are redacted and neutralised.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        current.__traceback__ = None
        current.args = tuple(map(_fit_to_show, current.args))
        for name, value in vars(current).items():
            if isinstance(value, str | bytes):
                setattr(current, name, _fit_to_show(value))
        pending += (current.__cause__, current.__context__)


def _fit_to_show(value: object) -> object:
    if isinstance(value, str):
        return shown(value, 500)
    return SecretBytes(value) if isinstance(value, bytes) else value
