"""Replies as files that can be attached to a bug report and decoded again: redacted, with their shape intact."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..core.decode import require_shallow
from ..core.outcome import Reply
from ..core.request import Request
from ..core.text import BLANK, names_secret, redact
from ..errors import InvalidArgumentError
from .expected import expectations

# What decoding looks at: whether the body is whole and JSON, and where pages are counted.
_HEADERS = re.compile(
    r"content-(?:type|length|encoding|range)|transfer-encoding|retry-after|link"
    r"|x-(?:total|pages?|pagination|per-page|prev|next|cursor|limit|count|has-more|ratelimit)(?:-[\w-]+)?",
    re.IGNORECASE,
)

_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
# Not within a longer run: that is a signature or a key, which is blanked.
_HASH = re.compile(r"(?<![0-9a-zA-Z])(?:0[xX])?[0-9a-fA-F]{64}(?![0-9a-zA-Z])")
_ADDRESS = re.compile(r"(?<![0-9a-zA-Z])0[xX][0-9a-fA-F]{40}(?![0-9a-zA-Z])")
_NUMBER = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,20})?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]{5,16}(?:Z|[+-][\d:]{4,6})?")
# All that is left of the text within transactions.
_HARMLESS = (_NUMBER, _TIME, _EMAIL, _HASH, _ADDRESS)
_TRANSACTIONS = re.compile("transactions?", re.IGNORECASE)


class Recording(msgspec.Struct, frozen=True):
    """A reply as a file has it.

    Attributes:
        method: the HTTP method.
        path: the path as it was called, with its ids.
        query: the query as it was called; may be empty.
        template: the path as this SDK writes it.
        status: the HTTP status.
        headers: those that decoding looks at.
        body: the body's text.
    """

    method: str
    path: str
    template: str
    status: int
    headers: dict[str, str]
    body: str
    query: str = ""

    def reply(self) -> Reply[Any]:
        """Make it a reply again, to be decoded.

        Raises:
            InvalidArgumentError: it is of an endpoint that this SDK does not have.
        """
        from multidict import CIMultiDict  # aiohttp's own

        for expected in expectations():
            if (expected.route.method, expected.route.template) == (self.method, self.template):
                request: Request[Any] = Request(expected.route, self.path, self.query)
                return Reply(request, self.status, CIMultiDict(self.headers), self.body.encode())
        raise InvalidArgumentError(f"a recording of {self.method} {self.template}, which this SDK does not have")


# No digits in a row, as ids and hex have them.
_NAME = re.compile(r"[A-Za-z_$@](?:[A-Za-z_$@ -]|\d{1,2}(?!\d)){0,39}")


def is_name(name: str) -> bool:
    """Whether what stands in front of a value in an object names it, and is not itself the key of a map: an address,
    an id, a token.
    """
    return _NAME.fullmatch(name) is not None and _EMAIL.search(name) is None and redact(name) == name


class Redactor:
    """Makes what was read fit to be shown to others, the same value always in the same way.

    What a name calls a secret is blanked, and so is what looks like a key, a token or a signature. E-mail addresses,
    wallet addresses and hashes of transactions are replaced by others of their form. Names of fields, numbers, times,
    ids and all other text stay.
    """

    def __init__(self) -> None:
        self._replaced: dict[str, str] = {}

    def recording(self, reply: Reply[Any]) -> Recording:
        """A reply, redacted."""
        body = self.body(reply.body)
        headers = {name.lower(): self.text(value) for name, value in reply.headers.items() if _HEADERS.fullmatch(name)}
        if "content-length" in headers:
            headers["content-length"] = str(len(body.encode()))
        return Recording(
            method=reply.request.method,
            path=self.text(reply.request.path),
            template=reply.request.route.template,
            status=reply.status,
            headers=headers,
            body=body,
            query=self.text(reply.request.query),
        )

    def body(self, body: bytes) -> str:
        """A body, redacted: JSON stays JSON, with every number as it was written."""
        try:
            require_shallow(body)
            value = _exact.decode(body)
            return _writer.encode(self._value(value)).decode()
        except (msgspec.MsgspecError, UnicodeError, RecursionError, ArithmeticError):
            return self.text(body.decode("utf-8", "replace"))

    def text(self, text: str) -> str:
        """Text, redacted."""
        text = _HASH.sub(self._hash, text)
        text = _ADDRESS.sub(self._address, text)
        text = _EMAIL.sub(self._email, text)
        # What was just put in place of a hash is as long as a key; it is taken out of the way and put back.
        parts = re.split(r"((?:0x)?0{48}\d{16})", text)
        return "".join(part if place % 2 else redact(part) for place, part in enumerate(parts))

    def _value(self, value: Any, *, near_secrets: bool = False) -> Any:
        if isinstance(value, dict):
            return {self.text(name): self._named(name, inner, near_secrets) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._value(inner, near_secrets=near_secrets) for inner in value]
        if not isinstance(value, str):
            return value
        if near_secrets and not any(pattern.fullmatch(value) for pattern in _HARMLESS):
            return BLANK
        return self.text(value)

    def _named(self, name: str, value: Any, near_secrets: bool) -> Any:
        """The value of a field, whose name may say that it is a secret."""
        if not names_secret(name):
            return self._value(value, near_secrets=near_secrets)
        has_parts = isinstance(value, dict) or (isinstance(value, list) and any(map(_is_container, value)))
        if has_parts and not names_secret(_TRANSACTIONS.sub("", name)):
            # A list of transactions is no secret, and what is signed of one would be.
            return self._value(value, near_secrets=True)
        return _blanked(value)

    def _hash(self, found: re.Match[str]) -> str:
        prefix = "0x" if found[0][1] in "xX" else ""
        return self._instead(found[0].lower(), lambda number: f"{prefix}{number:064d}")

    def _address(self, found: re.Match[str]) -> str:
        return self._instead(found[0].lower(), lambda number: f"0x{number:040d}")

    def _email(self, found: re.Match[str]) -> str:
        return self._instead(found[0].lower(), lambda number: f"user{number}@example.com")

    def _instead(self, original: str, make: Callable[[int], str]) -> str:
        if original not in self._replaced:
            self._replaced[original] = make(len(self._replaced) + 1)
        return self._replaced[original]


def _blanked(value: Any) -> Any:
    """A secret without its content, of the same type."""
    if isinstance(value, dict):
        return {name: _blanked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return list(map(_blanked, value))
    if isinstance(value, bool) or value is None:
        return value
    return BLANK if isinstance(value, str) else 0


def _is_container(value: Any) -> bool:
    return isinstance(value, dict | list)


# Numbers with a fraction or an exponent stay as they are written.
_exact = msgspec.json.Decoder(float_hook=lambda text: msgspec.Raw(text.encode()))
_writer = msgspec.json.Encoder()


def write_recording(path: Path, recording: Recording, *, overwrites: bool = False) -> None:
    """Write a recording into a file that only its owner can read.

    Args:
        path: the file.
        recording: what to write; redact it before.
        overwrites: whether a file that is there may be replaced.

    Raises:
        InvalidArgumentError: the file is there, or it cannot be written.
    """
    content = msgspec.json.format(msgspec.json.encode(recording), indent=2) + b"\n"
    try:
        if overwrites:
            path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except FileExistsError:
        raise InvalidArgumentError(f"{path}: this file is there already, and is not overwritten") from None
    except OSError as error:
        raise InvalidArgumentError(f"{path}: cannot be written: {error.strerror}") from None


def recordings(directory: str | os.PathLike[str]) -> Iterator[tuple[str, Reply[Any]]]:
    """The replies that were recorded, by file.

        for name, reply in recordings("recordings"):
            print(name, reply.decode())

    Args:
        directory: a folder that `alura contract record` wrote.

    Yields:
        The file's name without its ending, and the reply; in the order of the names.

    Raises:
        InvalidArgumentError: a file is no recording, or of an endpoint that this SDK does not have.
    """
    for path in sorted(Path(directory).glob("*.json")):
        try:
            recording = msgspec.json.decode(path.read_bytes(), type=Recording)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidArgumentError(f"{path}: this is no recording: {error}") from None
        yield path.stem, recording.reply()
