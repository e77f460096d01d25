"""Text that came from a server, made fit for an error message, a log or a terminal."""

from __future__ import annotations

import re
import unicodedata

# Values behind these keys, JWTs, and hex of a key's or a signature's length never reach an error.
_SECRET_KEY = re.compile(
    r"""(["']?\b[\w-]*(?:token|signature|secret|password|private_?key|trading_?key|api_?key|jwt|authorization|transaction)["']?\s*[:=]\s*)"""
    r"""("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,}\]&]+)""",
    re.IGNORECASE,
)
_JWT = re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?")
_LONG_HEX = re.compile(r"\b(?:0x)?[0-9a-fA-F]{64,}\b")

_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def is_unsafe(character: str) -> bool:
    """Whether a character could move a cursor, reorder text or hide: controls, bidi marks, unassigned."""
    return unicodedata.category(character) in _UNSAFE_CATEGORIES


def printable(text: str) -> str:
    """Replace every character that a terminal or a log line could be fooled with by its escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii") if is_unsafe(character) else character for character in text
    )


def clip(text: str, limit: int) -> str:
    """Cut text to `limit` characters and say how many were left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text) - limit} more characters)"


def redact(text: str) -> str:
    """Blank out what looks like a key, a token or a signature."""
    text = _SECRET_KEY.sub(r"\1***", text)
    text = _JWT.sub("***", text)
    return _LONG_HEX.sub("***", text)


def shown_body(body: bytes, limit: int = 500) -> str:
    """A body as an error may show it: redacted, neutralised, clipped."""
    # Decode a little more than is shown, so that a secret across the cut is still recognised.
    text = body[: 4 * limit + 4096].decode("utf-8", "replace")
    return clip(printable(redact(text).strip()), limit)
