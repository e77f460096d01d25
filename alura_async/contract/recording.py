"""Replies as files that can be attached to a bug report and decoded again: redacted, with their shape intact."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

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

# Percent-encoded where it is part of an address.
_EMAIL = re.compile(r"(?:[\w.+-]|%2[bB]){1,64}(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63})+")
# Not within a longer run: that is a signature or a key, which is blanked.
_HASH = re.compile(r"(?<![0-9a-zA-Z])(?:0[xX])?[0-9a-fA-F]{64}(?![0-9a-zA-Z])")
_ADDRESS = re.compile(r"(?<![0-9a-zA-Z])0[xX][0-9a-fA-F]{40}(?![0-9a-zA-Z])")
_NUMBER = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,20})?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]{5,16}(?:Z|[+-][\d:]{4,6})?")
# All that is left of the text within transactions and coins, besides what these names say of them.
_HARMLESS = (_NUMBER, _TIME, _EMAIL, _HASH, _ADDRESS)
_HARMLESS_NAMES = re.compile("(?:status|state|type|kind|side|symbol|currency|asset|chain|network)$", re.IGNORECASE)
_TRANSACTIONS = re.compile("transactions?|tokens", re.IGNORECASE)
# By which people can be found.
_CODE = re.compile("(?:referral|ref|invite|invitation)[_-]?codes?", re.IGNORECASE)
_ANY_CODE = re.compile(f"{_CODE.pattern}|codes?", re.IGNORECASE)


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
    wallet addresses, hashes of transactions and referral codes are replaced by others of their form. Names of fields,
    numbers, times, ids and all other text stay, names of people and phone numbers among it.
    """

    def __init__(self) -> None:
        self._replaced: dict[str, str] = {}
        self._codes = _CODE

    def recording(self, reply: Reply[Any]) -> Recording:
        """A reply, redacted."""
        self._codes = _ANY_CODE if "referral" in reply.request.route.template else _CODE
        body = self.body(reply.body)
        headers = {name.lower(): self.text(value) for name, value in reply.headers.items() if _HEADERS.fullmatch(name)}
        if "content-length" in headers:
            headers["content-length"] = str(len(body.encode()))
        return Recording(
            method=reply.request.method,
            path="/".join(map(self._encoded, reply.request.path.split("/"))),
            template=reply.request.route.template,
            status=reply.status,
            headers=headers,
            body=body,
            query="&".join(map(self._pair, reply.request.query.split("&"))),
        )

    def _pair(self, pair: str) -> str:
        """One parameter of a query."""
        name, equals, value = pair.partition("=")
        return f"{self._encoded(name)}{equals}{BLANK if names_secret(name) else self._encoded(value)}"

    def _encoded(self, text: str) -> str:
        """Percent-encoded text, redacted."""
        plain = unquote(text)
        redacted = self.text(plain)
        return text if redacted == plain else quote(redacted, safe="")

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
            found: dict[str, Any] = {}
            for name, inner in value.items():
                # Two keys must not become one.
                shown = plain = self.text(name)
                while shown in found:
                    shown = f"{plain} {len(found)}"
                found[shown] = self._named(name, inner, near_secrets)
            return found
        if isinstance(value, list):
            return [self._value(inner, near_secrets=near_secrets) for inner in value]
        if not isinstance(value, str):
            return value
        if near_secrets and not any(pattern.fullmatch(value) for pattern in _HARMLESS):
            return BLANK
        return self.text(value)

    def _named(self, name: str, value: Any, near_secrets: bool) -> Any:
        """The value of a field, whose name may say that it is a secret."""
        if self._codes.fullmatch(name):
            return self._coded(value)
        if not names_secret(name):
            is_near = near_secrets and not (isinstance(value, str) and _HARMLESS_NAMES.search(name))
            return self._value(value, near_secrets=is_near)
        has_parts = isinstance(value, dict) or (isinstance(value, list) and any(map(_is_container, value)))
        if has_parts and not names_secret(_TRANSACTIONS.sub("", name)):
            # A list of transactions is no secret, and what is signed of one would be.
            return self._value(value, near_secrets=True)
        return _blanked(value)

    def _coded(self, value: Any) -> Any:
        """Referral codes, replaced."""
        if isinstance(value, list):
            return list(map(self._coded, value))
        if isinstance(value, str):
            return self._instead(value.lower(), lambda number: f"CODE{number}") if value else value
        return self._value(value)

    def _hash(self, found: re.Match[str]) -> str:
        prefix = "0x" if found[0][1] in "xX" else ""
        return self._instead(found[0].lower(), lambda number: f"{prefix}{number:064d}")

    def _address(self, found: re.Match[str]) -> str:
        return self._instead(found[0].lower(), lambda number: f"0x{number:040d}")

    def _email(self, found: re.Match[str]) -> str:
        email = self._instead(unquote(found[0]).lower(), lambda number: f"user{number}@example.com")
        return email if "@" in found[0] else quote(email, safe="")

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


def write_recordings(directory: Path, found: Mapping[str, Recording]) -> None:
    """Write recordings into a folder that only its owner can read, in place of those that were written there before.

    What else is in the folder stays. Until all are written, nothing there changes.

    Args:
        directory: the folder; it is made where there is none.
        found: the recordings by the names of their files, without an ending; redact them before.

    Raises:
        InvalidArgumentError: they cannot be written.
    """
    ours = {f"{expected.name.removesuffix('()')}.json" for expected in expectations()}
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=directory) as aside:
            for name, recording in found.items():
                content = msgspec.json.format(msgspec.json.encode(recording), indent=2) + b"\n"
                path = Path(aside, f"{name}.json")
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(content)
            for old in ours:
                (directory / old).unlink(missing_ok=True)
            for name in found:
                os.replace(Path(aside, f"{name}.json"), directory / f"{name}.json")
    except OSError as error:
        raise InvalidArgumentError(f"{directory}: cannot be written: {error.strerror}") from None


def recordings(directory: str | os.PathLike[str]) -> Iterator[tuple[str, Reply[Any]]]:
    """The replies that were recorded, by file.

        for name, reply in recordings("recordings"):
            print(name, reply.decode())

    Args:
        directory: a folder that `alura contract record` wrote.

    Yields:
        The file's name without its ending, and the reply; in the order of the names.

    Raises:
        InvalidArgumentError: there is no such folder; a file is no recording, or of an endpoint that this SDK does not
            have.
    """
    if not Path(directory).is_dir():
        raise InvalidArgumentError(f"{directory}: there is no such folder")
    for path in sorted(Path(directory).glob("*.json")):
        try:
            recording = msgspec.json.decode(path.read_bytes(), type=Recording)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidArgumentError(f"{path}: this is no recording: {error}") from None
        yield path.stem, recording.reply()
