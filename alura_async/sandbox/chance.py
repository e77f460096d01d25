"""Random numbers that depend on nothing but their key: any of them can be had in any order, on any machine."""

from __future__ import annotations

import struct
from hashlib import blake2b

_SHORTS = struct.Struct("<32H")
_PLACE = struct.Struct("<Bq")


def digest(*parts: str | int, size: int = 32) -> bytes:
    """Bytes that belong to these parts."""
    # The separator keeps ("ab", "c") and ("a", "bc") apart.
    return blake2b("\x1f".join(map(str, parts)).encode(), digest_size=size).digest()


def identifier(prefix: str, *parts: str | int) -> str:
    """An id such as `ses_5f0c9b…`, safe in a path. Its digits are a number of 63 bits, as databases have them."""
    return f"{prefix}_{int.from_bytes(digest(prefix, *parts, size=8)) >> 1:016x}"


def fraction(*parts: str | int) -> float:
    """A number from 0 (included) to 1 (excluded)."""
    return int.from_bytes(digest(*parts, size=6), "little") / (1 << 48)


def whole(low: int, high: int, *parts: str | int) -> int:
    """A whole number from `low` to `high`, both included."""
    return low + int.from_bytes(digest(*parts, size=8), "little") % (high - low + 1)


def shorts(key: bytes, level: int, index: int) -> tuple[int, ...]:
    """32 numbers from 0 to 65535 that belong to one place of a tree."""
    return _SHORTS.unpack(blake2b(key + _PLACE.pack(level, index)).digest())
