"""Text that came from a server, made fit for an error message, a log or a terminal."""

from __future__ import annotations

import re
import unicodedata

BLANK = "***"
"""What stands in place of a secret."""

# Values behind these keys, what is before the @ of a URL, JWTs, and hex of a key's or a signature's length never reach
# an error. All of this is linear in the text: a hostile server must not hold up the loop with it. Quotes may be
# escaped: JSON within JSON.
_SECRET_NAME = re.compile(
    # Of tokens that are coins, and of transactions: what is said of one is not the thing itself.
    "(?:token|transaction)(?!_?(?:hash|id|status|count|at|date|type|symbol|amount|decimals)(?![a-z]))"
    "|signature|secret|password|passphrase|passwd|pwd|mnemonic|seed_?(?:phrase|words)|seed(?![a-z_])|jwt|authorization"
    "|bearer|cookie|credential|refresh(?![a-z_])|(?-i:(?<![A-Za-z])otp|Otp|OTP)(?-i:(?![a-z]))"
    "|(?:private|trading|api|agent|wallet|encrypted|access|signing)_?key",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    rf"""((?:{_SECRET_NAME.pattern})"""
    r"""\\*["']?\s*+[:=]\s*+)"""
    r"""(\\+["'][^"'\\]*+|"(?:[^"\\]|\\.)*+"?|'[^']*+'?|\[[^\]]*+\]?|\{[^}]*+\}?|(?:bearer\s++)?[^\s,}\]&]++)""",
    re.IGNORECASE,
)
# Not the word behind it in a sentence, such as "missing bearer token".
_BEARER = re.compile(r"(?<![a-z])(bearer\s++)(?=[a-z.~+/_=-]*+\d|[\w.~+/=-]{20})[\w.~+/=-]++", re.IGNORECASE | re.ASCII)
# Up to the last @: a password may have one.
_USER_INFO = re.compile(r"""://[^\s/"\\<>]*@""")
_RUN = re.compile(r"[\w.-]{16,}+")
_LONG_HEX = re.compile(r"(?:0[xX])?[0-9a-fA-F]{64,}+")

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


def names_secret(name: str) -> bool:
    """Whether the name of a field says that what it holds must not be shown."""
    return _SECRET_NAME.search(name) is not None


def redact(text: str) -> str:
    """Blank out what looks like a key, a token, a signature or a URL's password, also where it is glued to a word.

    JSON whose secrets are text or numbers is JSON afterwards.
    """
    text = _SECRET_VALUE.sub(_blanked, text)
    text = _BEARER.sub(rf"\g<1>{BLANK}", text)
    text = _USER_INFO.sub(f"://{BLANK}@", text)
    text = _RUN.sub(_without_jwt, text)
    return _LONG_HEX.sub(BLANK, text)


def shown(text: str, limit: int) -> str:
    """Text of a server as an error may show it: redacted, neutralised, clipped.

    What is far behind the limit is dropped first, so that a huge text costs nothing; a little more than is shown is
    looked at, so that a secret across the cut is still recognised.
    """
    head = text[: 4 * limit + 4096].strip()
    return clip(printable(redact(head)), limit)


def _blanked(found: re.Match[str]) -> str:
    name, value = found[1], found[2]
    if value[0] == "\\":
        # JSON within JSON: the closing quote is not part of what was found.
        backslashes = len(value) - len(value.lstrip("\\"))
        return f"{name}{value[: backslashes + 1]}{BLANK}"
    quote = value[0] if value[0] in "\"'" else '"' if '"' in name and "\\" not in name else ""
    return f"{name}{quote}{BLANK}{quote}"


def _without_jwt(run: re.Match[str]) -> str:
    text = run[0]
    at = text.find("eyJ")
    return text if at < 0 or "." not in text[at:] else text[:at] + BLANK


def shown_body(body: bytes, limit: int = 500) -> str:
    """A body as an error may show it; see `shown`."""
    return shown(body[: 4 * limit + 4096].decode("utf-8", "replace"), limit)
