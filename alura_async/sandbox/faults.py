r"""What may go wrong with a reply: faults as values, and the words they are written in.

| word | what happens |
|---|---|
| `503` `503="Down for now",Retry-After:3` | that status, with message and headers; `body:"…"` gives the whole body |
| `redirect=http://127.0.0.1:9/x,307` | a redirect |
| `builder-fee=502` | the documented `Builder fee approval failed: …`, with a status |
| `headers=X-Cache:stale,Retry-After:3` | the normal reply, with headers added or replaced |
| `delay=250ms` | the call waits, in real time |
| `hang` | no answer |
| `reset` `close` | the connection is reset, or closed, without an answer |
| `truncate=50%` `truncate=11` `truncate=headers,reset` `truncate=11,unannounced` | the reply is cut |
| `garbage` `garbage="\u0000\u0001"` `garbage=hex:00ff` | bytes that are not HTTP |
| `malformed=two-lengths` | a reply that breaks HTTP: see `MALFORMED` |
| `length=-6` `length=20` | a body longer, or shorter, than announced |
| `unfinished` | a chunked body without its last chunk |
| `invalid-json` `html=200` `empty` | another body than JSON |
| `bad-gzip` `short-gzip` `bomb=64MiB` | gzip that cannot be read, that ends early, that is large |
| `drip=1,20ms` | the reply comes so many bytes at a time |
| `stray=50ms` `stray=50ms,"HTTP/1.1 408 …"` | the normal reply, then bytes that nobody asked for |
| `idle-close=50ms` | the normal reply, then the connection is closed |

A word may end in `-early` (the body of the request was not read), `-before` (nothing was executed) or `-after` (it
was): `reset-after`, `503-after=later`. What contains space or one of `,;|"` stands in quotes, with JSON's escapes. Text
becomes bytes in UTF-8; `hex:` gives other bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from ..errors import ConfigurationError
from .durations import Duration, duration, duration_text
from .refusals import phrase

When: TypeAlias = Literal["early", "before", "after"]
"""`early`: when the request's headers are there, its body unread. `before`: when it was read, nothing executed.
`after`: when it was executed."""

Place: TypeAlias = Literal["status-line", "headers", "body"]
"""Where a reply is cut."""

MALFORMED = {
    "bare-html": "a page without a status line",
    "body-with-204": "a body where there must be none",
    "chunk-size": "a chunk whose size is no number",
    "length-and-chunked": "both Content-Length and chunks",
    "long-header": "a header of 20,000 characters",
    "nul": "a header with a NUL in it",
    "two-lengths": "two different Content-Length headers",
}
"""The ways in which a reply can break HTTP."""

NOISE = bytes(range(0xF0, 0x100)) + b"\x00\x01garbage\r\n\r\n"
"""What `garbage` sends when it is not told what."""

STRAY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
    b'Content-Length: 26\r\n\r\n{"ok":true,"message":"no"}'
)
"""What `stray` sends when it is not told what: a whole reply."""

LONGEST = timedelta(days=1)
LARGEST = 1 << 30
"""Bytes."""

_HALF = 0.5
_ANYWHERE: tuple[When, ...] = ("before", "after", "early")
_AROUND: tuple[When, ...] = ("before", "after")
# What spoils a reply comes after processing unless it is told otherwise.
_SPOILED: tuple[When, ...] = ("after", "before")
_AFTER: tuple[When, ...] = ("after",)

KINDS: Mapping[str, tuple[When, ...]] = {
    "status": _ANYWHERE,
    "redirect": _AROUND,
    "builder-fee": _AROUND,
    "headers": _AFTER,
    "delay": _AROUND,
    "hang": _ANYWHERE,
    "reset": _ANYWHERE,
    "close": _ANYWHERE,
    "truncate": _SPOILED,
    "garbage": _SPOILED,
    "malformed": _SPOILED,
    "length": _SPOILED,
    "unfinished": _SPOILED,
    "invalid-json": _SPOILED,
    "html": _AROUND,
    "empty": _SPOILED,
    "bad-gzip": _SPOILED,
    "short-gzip": _SPOILED,
    "bomb": _SPOILED,
    "drip": _AFTER,
    "stray": _AFTER,
    "idle-close": _AFTER,
}
"""The kinds of faults, and when each can happen: the first is the usual one."""

WORDS = ("429", *(kind for kind in KINDS if kind != "status"))
"""The kinds as they are written; any status is one."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~\-]{1,100}", re.ASCII)
# A lone surrogate is no character: it has no bytes in UTF-8.
_VALUE = re.compile(r"[\t\x20-\x7e\u0080-\ud7ff\ue000-\uffff]{0,4000}")
_HEX = "hex:"
_SIZE = re.compile(r"([0-9]{1,10})(KiB|MiB|GiB)?", re.ASCII)
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
CLOSED = re.compile(r'(?:[^"]|"(?:[^"\\]|\\.)*")*', re.DOTALL)
"""A text all of whose quotation marks are closed."""

_PLAIN = re.compile(r"[^\s\",;|\x00-\x1f\x7f]+")
# A name with `|` stands in quotes. A colon that begins an address's `//` belongs to no header.
_NAMED = re.compile(rf'({_TOKEN.pattern}|"{_TOKEN.pattern}"):(?!//)(.*)', re.ASCII | re.DOTALL)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that may go wrong with a call; made by the class's named constructors, or read from text.

    With `when="before"` nothing is executed; with `"after"` it is, as the ledger shows, and the reply is spoiled. What
    spoils a reply needs one: before processing it is `{"ok":true}`, with the status of success.

    Attributes:
        kind: what goes wrong, one of `KINDS`.
        when: when.
        code: the status.
        message: the message of an error.
        headers: names and values.
        body: bytes of a body, or of what is sent instead of a reply.
        wait: how long to wait.
        size: bytes: where a body is cut, of a slice, of a bomb, more or fewer than announced.
        share: where a body is cut, as a share of it.
        place: which part of the reply is cut.
        variety: one of `MALFORMED`.
        target: where a redirect leads.
        resets: whether a cut reply ends in a reset.
        announced: whether a cut body's length was announced.
    """

    kind: str
    when: When
    code: int = 0
    message: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    wait: timedelta = timedelta(0)
    size: int | None = None
    share: float | None = None
    place: Place = "body"
    variety: str = ""
    target: str = ""
    resets: bool = False
    announced: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigurationError(f"{self.kind!r} is no fault; there are: {', '.join(KINDS)}")
        if self.when not in KINDS[self.kind]:
            raise ConfigurationError(f"{self.kind}: when={self.when!r} is not possible, only {_or(KINDS[self.kind])}")

    @classmethod
    def status(
        cls,
        code: int,
        message: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        body: str | bytes | None = None,
        when: When = "before",
    ) -> Fault:
        """A reply of any status.

        Args:
            code: 100 to 599. A 1xx is followed by the end of the connection.
            message: the message of an error as NestJS words it; by default the status in words.
            headers: more headers, such as `Retry-After`.
            body: the whole body, as it is, announced as JSON unless `headers` say otherwise.
            when: `early`, `before` or `after`.
        """
        return cls(
            kind="status",
            when=when,
            code=_whole(code, "status", 100, 599),
            message=_text(message, "message"),
            headers=_headers(headers or {}),
            body=None if body is None else _bytes(body),
        )

    @classmethod
    def redirect(cls, target: str, code: int = 302, *, when: When = "before") -> Fault:
        """A redirect to another address; 301 to 308."""
        return cls(
            kind="redirect", when=when, code=_whole(code, "status", 301, 308), target=_header("Location", target)
        )

    @classmethod
    def builder_fee(cls, code: int = 400, *, when: When = "before") -> Fault:
        """The documented failure of the server's own upstream, with a status, which is not documented; 400 to 599."""
        return cls(kind="builder-fee", when=when, code=_whole(code, "status", 400, 599))

    @classmethod
    def with_headers(cls, headers: Mapping[str, str]) -> Fault:
        """The normal reply, with headers added, or in place of those of the same name."""
        if not headers:
            raise ConfigurationError("headers: which? name at least one, such as Retry-After:3")
        return cls(kind="headers", when="after", headers=_headers(headers))

    @classmethod
    def delay(cls, wait: Duration, *, when: When = "before") -> Fault:
        """A wait in real time, up to a day.

        Before processing, the call is carried out even if its caller has gone; only a stop of the sandbox prevents it.
        """
        return cls(kind="delay", when=when, wait=_wait(wait, "delay"))

    @classmethod
    def hang(cls, *, when: When = "before") -> Fault:
        """No answer until the caller goes away or the sandbox stops."""
        return cls(kind="hang", when=when)

    @classmethod
    def reset(cls, *, when: When = "before") -> Fault:
        """The connection is reset (RST)."""
        return cls(kind="reset", when=when)

    @classmethod
    def close(cls, *, when: When = "before") -> Fault:
        """The connection is closed (FIN) without an answer."""
        return cls(kind="close", when=when)

    @classmethod
    def truncate(
        cls,
        share: float = _HALF,
        *,
        size: int | None = None,
        place: Place = "body",
        reset: bool = False,
        announced: bool = True,
        when: When = "after",
    ) -> Fault:
        """A reply that is cut; at least its last byte is missing.

        Args:
            share: how much of the body comes, 0 to 1.
            size: how many bytes of the body come, instead of a share.
            place: whether it is cut in the body, half-way in the headers or in the status line.
            reset: whether the connection is then reset, instead of closed.
            announced: whether the length of the body was announced.
            when: `before` or `after`.
        """
        if place not in get_args(Place):
            raise ConfigurationError(f"truncate: place={place!r}: give {_or(get_args(Place))}")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ConfigurationError(f"truncate: share={share!r}: give 0 to 1")
        in_body = place == "body"
        return cls(
            kind="truncate",
            when=when,
            size=None if size is None or not in_body else _whole(size, "truncate", 0, LARGEST),
            share=round(float(share), 12) if size is None and in_body else None,
            place=place,
            resets=reset,
            announced=announced or not in_body,
        )

    @classmethod
    def garbage(cls, data: str | bytes | None = None, *, when: When = "after") -> Fault:
        """Bytes that are not HTTP instead of the reply, then the end of the connection."""
        return cls(kind="garbage", when=when, body=None if data is None else _bytes(data))

    @classmethod
    def malformed(cls, variety: str, *, when: When = "after") -> Fault:
        """A reply that breaks HTTP in one of the ways of `MALFORMED`."""
        if variety not in tuple(MALFORMED):
            raise ConfigurationError(f"malformed={variety!r}: give {_or(MALFORMED)}")
        return cls(kind="malformed", when=when, variety=variety)

    @classmethod
    def length(cls, difference: int = -6, *, when: When = "after") -> Fault:
        """A body of another length than announced.

        Args:
            difference: how many bytes more, or fewer, are announced than are sent. After more the connection is
                closed; after fewer it stays.
            when: `before` or `after`.
        """
        if difference == 0:
            raise ConfigurationError("length=0: that is the right one; give a difference such as -6 or 20")
        return cls(kind="length", when=when, size=_whole(difference, "length", -LARGEST, LARGEST))

    @classmethod
    def unfinished(cls, *, when: When = "after") -> Fault:
        """A chunked body without its last chunk, then the end of the connection."""
        return cls(kind="unfinished", when=when)

    @classmethod
    def invalid_json(cls, *, when: When = "after") -> Fault:
        """A body that is announced as JSON and is none, of the announced length."""
        return cls(kind="invalid-json", when=when)

    @classmethod
    def html(cls, code: int = 200, *, when: When = "before") -> Fault:
        """A page instead of JSON, as a proxy shows it; 200 to 599."""
        return cls(kind="html", when=when, code=_whole(code, "status", 200, 599))

    @classmethod
    def empty(cls, *, when: When = "after") -> Fault:
        """The reply's status with no body."""
        return cls(kind="empty", when=when)

    @classmethod
    def bad_gzip(cls, *, when: When = "after") -> Fault:
        """A body announced as gzip that is none."""
        return cls(kind="bad-gzip", when=when)

    @classmethod
    def short_gzip(cls, *, when: When = "after") -> Fault:
        """A gzip body that ends early, of the announced length."""
        return cls(kind="short-gzip", when=when)

    @classmethod
    def bomb(cls, size: int = 64 << 20, *, when: When = "after") -> Fault:
        """A small gzip body that unpacks to more than `size` bytes of valid JSON; 1 MiB to 1 GiB, in whole MiB."""
        if isinstance(size, int) and size % (1 << 20):
            raise ConfigurationError(f"bomb={size}: give whole MiB, such as 64MiB")
        return cls(kind="bomb", when=when, size=_whole(size, "bomb", 1 << 20, LARGEST))

    @classmethod
    def drip(cls, size: int = 1, every: Duration = 0.02) -> Fault:
        """The reply, headers too, comes `size` bytes at a time."""
        return cls(
            kind="drip", when="after", size=_whole(size, "drip", 1, LARGEST), wait=_wait(every, "drip", nothing=False)
        )

    @classmethod
    def stray(cls, delay: Duration = 0, data: str | bytes | None = None) -> Fault:
        """The normal reply, and on the kept-alive connection, after a delay, bytes that nobody asked for.

        By default they are a whole reply, 200.
        """
        return cls(kind="stray", when="after", wait=_wait(delay, "stray"), body=None if data is None else _bytes(data))

    @classmethod
    def idle_close(cls, delay: Duration = 0) -> Fault:
        """The normal reply, and after a delay the end of the kept-alive connection."""
        return cls(kind="idle-close", when="after", wait=_wait(delay, "idle-close"))

    @classmethod
    def read(cls, text: str) -> Fault:
        """A fault from its word.

        Raises:
            ConfigurationError: it says none.
        """
        if not isinstance(text, str):
            raise ConfigurationError(f"{text!r} is no text of a fault, such as '503'")
        if not CLOSED.fullmatch(text):
            raise ConfigurationError(f"{text}: a quotation mark is open")
        head, equals, rest = text.partition("=")
        word, when = head, None
        for moment in get_args(When):
            if head.endswith(f"-{moment}"):
                word, when = head.removesuffix(f"-{moment}"), moment
        kind = "status" if word.isdecimal() else word
        if kind not in KINDS or word == "status":
            raise ConfigurationError(f"{text!r} is no fault")
        if equals and not rest:
            raise ConfigurationError(f"{text!r}: what does it equal?")
        arguments = _Arguments(word, rest)
        options: dict[str, Any] = {} if when is None else {"when": when}
        if when is not None and when not in KINDS[kind]:
            raise ConfigurationError(f"{word} is possible {_or(KINDS[kind])}, not {when}")
        fault = _READERS[kind](arguments, options)
        arguments.end()
        return fault

    def __str__(self) -> str:
        word = str(self.code) if self.kind == "status" else self.kind
        if self.when != KINDS[self.kind][0]:
            word += f"-{self.when}"
        written = ",".join(self._arguments())
        return f"{word}={written}" if written else word

    def _arguments(self) -> Iterator[str]:
        match self.kind:
            case "status" | "headers":
                if self.message:
                    yield _quoted(self.message)
                yield from (f"{_name(name)}:{_quoted(value)}" for name, value in self.headers)
                if self.body is not None:
                    yield f"body:{_written(self.body)}"
            case "redirect":
                yield _quoted(self.target)
                if self.code != 302:
                    yield str(self.code)
            case "builder-fee" | "html":
                yield str(self.code)
            case "delay" | "idle-close":
                yield duration_text(self.wait)
            case "truncate":
                yield self._cut()
                yield from ["reset"] * self.resets + ["unannounced"] * (not self.announced)
            case "garbage":
                yield from () if self.body is None else (_written(self.body),)
            case "malformed":
                yield self.variety
            case "length":
                yield str(self.size)
            case "bomb":
                yield f"{(self.size or 0) >> 20}MiB"
            case "drip":
                yield from (str(self.size), duration_text(self.wait))
            case "stray":
                yield duration_text(self.wait)
                yield from () if self.body is None else (_written(self.body),)
            case _:
                pass

    def _cut(self) -> str:
        if self.share is not None:
            return percent_text(self.share)
        return self.place if self.size is None else str(self.size)


class _Arguments:
    """What stands after a word's `=`: values one after the other, and `Name:value` anywhere."""

    def __init__(self, word: str, text: str) -> None:
        self.word = word
        self.named: dict[str, str] = {}
        self._values: list[str] = []
        for _, piece in pieces(text, ","):
            named = _NAMED.fullmatch(piece) if word.isdecimal() or word == "headers" else None
            if named is None:
                self._values.append(_unquoted(piece))
            else:
                name = named[1].strip('"')
                if name in self.named:
                    raise ConfigurationError(f"{word}: {name} is said twice")
                self.named[name] = _unquoted(named[2])

    def next(self) -> str | None:
        """The next value, or None when there is no more."""
        return self._values.pop(0) if self._values else None

    def rest(self) -> list[str]:
        """All values that are left."""
        values, self._values = self._values, []
        return values

    def number(self, options: dict[str, Any], name: str, *, kind: Callable[[str, str], int]) -> None:
        """Put the next value, if there is one, under a name."""
        value = self.next()
        if value is not None:
            options[name] = kind(value, self.word)

    def end(self) -> None:
        """Refuse what nobody asked for."""
        if self._values:
            raise ConfigurationError(f"{self.word}: what is {self._values[0]!r}?")


def pieces(text: str, separator: str) -> Iterator[tuple[int, str]]:
    """The parts of a text between separators that stand outside of quotes, and where each begins."""
    for found in re.finditer(rf'(?:"(?:[^"\\]|\\.)*"|[^"{separator}])+', text, re.DOTALL):
        yield found.start(), found[0]


def percent_text(share: float) -> str:
    """A share as percent, written so that it reads back the same."""
    return f"{share * 100:.10f}".rstrip("0").rstrip(".") + "%"


def percent(text: str, name: str) -> float:
    """A share from percent.

    Raises:
        ConfigurationError: it is not between 0 % and 100 %.
    """
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,10})?%", text, re.ASCII) or float(text[:-1]) > 100:
        raise ConfigurationError(f"{name}: {text!r}: give 0% to 100%")
    return round(float(text[:-1]) / 100, 12)


def _read_status(given: _Arguments, options: dict[str, Any]) -> Fault:
    message = given.next() or ""
    body = given.named.pop("body", None)
    return Fault.status(
        int(given.word[:9]), message, headers=given.named, body=None if body is None else _read_bytes(body), **options
    )


def _read_redirect(given: _Arguments, options: dict[str, Any]) -> Fault:
    target = given.next()
    if target is None:
        raise ConfigurationError("redirect: where to? such as redirect=http://127.0.0.1:9/")
    given.number(options, "code", kind=_read_whole)
    return Fault.redirect(target, **options)


def _read_code(make: Callable[..., Fault]) -> Callable[[_Arguments, dict[str, Any]], Fault]:
    def read(given: _Arguments, options: dict[str, Any]) -> Fault:
        given.number(options, "code", kind=_read_whole)
        return make(**options)

    return read


def _read_headers(given: _Arguments, options: dict[str, Any]) -> Fault:
    del options
    return Fault.with_headers(given.named)


def _read_delay(given: _Arguments, options: dict[str, Any]) -> Fault:
    wait = given.next()
    if wait is None:
        raise ConfigurationError("delay: how long? such as delay=250ms")
    return Fault.delay(wait, **options)


def _read_bare(make: Callable[..., Fault]) -> Callable[[_Arguments, dict[str, Any]], Fault]:
    def read(given: _Arguments, options: dict[str, Any]) -> Fault:
        del given
        return make(**options)

    return read


def _read_truncate(given: _Arguments, options: dict[str, Any]) -> Fault:
    for value in given.rest():
        if value in ("reset", "unannounced"):
            options |= {"reset": True} if value == "reset" else {"announced": False}
        elif "share" in options or "size" in options or "place" in options:
            raise ConfigurationError(f"truncate: {value!r}: it was said already where to cut")
        elif value in get_args(Place):
            options["place"] = value
        elif value.endswith("%"):
            options["share"] = percent(value, "truncate")
        else:
            options["size"] = _read_whole(value, "truncate")
    return Fault.truncate(**options)


def _read_garbage(given: _Arguments, options: dict[str, Any]) -> Fault:
    data = given.next()
    return Fault.garbage(None if data is None else _read_bytes(data), **options)


def _read_malformed(given: _Arguments, options: dict[str, Any]) -> Fault:
    return Fault.malformed(given.next() or "", **options)


def _read_length(given: _Arguments, options: dict[str, Any]) -> Fault:
    given.number(options, "difference", kind=_read_whole)
    return Fault.length(**options)


def _read_bomb(given: _Arguments, options: dict[str, Any]) -> Fault:
    given.number(options, "size", kind=_read_whole)
    return Fault.bomb(**options)


def _read_drip(given: _Arguments, options: dict[str, Any]) -> Fault:
    del options
    size, every = given.next(), given.next()
    return Fault.drip(1 if size is None else _read_whole(size, "drip"), 0.02 if every is None else every)


def _read_stray(given: _Arguments, options: dict[str, Any]) -> Fault:
    del options
    delay, data = given.next(), given.next()
    return Fault.stray(delay or 0, None if data is None else _read_bytes(data))


def _read_idle_close(given: _Arguments, options: dict[str, Any]) -> Fault:
    del options
    return Fault.idle_close(given.next() or 0)


_READERS: Mapping[str, Callable[[_Arguments, dict[str, Any]], Fault]] = {
    "status": _read_status,
    "redirect": _read_redirect,
    "builder-fee": _read_code(Fault.builder_fee),
    "headers": _read_headers,
    "delay": _read_delay,
    "hang": _read_bare(Fault.hang),
    "reset": _read_bare(Fault.reset),
    "close": _read_bare(Fault.close),
    "truncate": _read_truncate,
    "garbage": _read_garbage,
    "malformed": _read_malformed,
    "length": _read_length,
    "unfinished": _read_bare(Fault.unfinished),
    "invalid-json": _read_bare(Fault.invalid_json),
    "html": _read_code(Fault.html),
    "empty": _read_bare(Fault.empty),
    "bad-gzip": _read_bare(Fault.bad_gzip),
    "short-gzip": _read_bare(Fault.short_gzip),
    "bomb": _read_bomb,
    "drip": _read_drip,
    "stray": _read_stray,
    "idle-close": _read_idle_close,
}


def _read_whole(text: str, name: str) -> int:
    found = _SIZE.fullmatch(text.removeprefix("-").removeprefix("+"))
    if found is None:
        raise ConfigurationError(f"{name}: {text!r} is no whole number")
    return int(found[1]) * _UNITS[found[2] or ""] * (-1 if text.startswith("-") else 1)


def _whole(value: int, name: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigurationError(f"{name}: {value!r}: give a whole number from {least} to {most}")
    return value


def _wait(value: Duration, name: str, *, nothing: bool = True) -> timedelta:
    wait = duration(value, name)
    if wait > LONGEST or not (nothing or wait):
        raise ConfigurationError(f"{name}={value!r}: give {'up to' if nothing else 'more than nothing, up to'} a day")
    return wait


def _text(value: str, name: str) -> str:
    if not isinstance(value, str) or len(value) > 10_000:
        raise ConfigurationError(f"{name}: give text of at most 10,000 characters")
    _encoded(value)
    return value


def _bytes(data: str | bytes) -> bytes:
    if not isinstance(data, str | bytes | bytearray | memoryview):
        raise ConfigurationError(f"{data!r}: give text or bytes")
    raw = _encoded(data) if isinstance(data, str) else bytes(data)
    if len(raw) > 1 << 20:
        raise ConfigurationError(f"{len(raw)} bytes are too many: give at most 1 MiB")
    return raw


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        wrong = text[error.start]
        raise ConfigurationError(f"{wrong!a} is half of a character, or a byte that is not UTF-8") from None


def _read_bytes(text: str) -> bytes:
    """Bytes as `_written` writes them."""
    if not text.startswith(_HEX):
        return _encoded(text)
    try:
        return bytes.fromhex(text.removeprefix(_HEX))
    except ValueError:
        raise ConfigurationError(f"{text}: give two hexadecimal digits for each byte, such as hex:00ff") from None


def _written(data: bytes) -> str:
    """Bytes as text that reads back the same."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = _HEX
    return _HEX + data.hex() if text.startswith(_HEX) else _quoted(text)


def _headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f"headers={headers!r}: give names and values")
    for name in headers:
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"{name!r} is no name of a header")
        if name.lower() in ("content-length", "transfer-encoding"):
            raise ConfigurationError(f"{name} is not for headers to change: use length, unfinished or malformed")
        if name.lower() == "body":
            raise ConfigurationError(f"{name} is no header here: it gives the whole body of a status")
    return tuple((name, _header(name, value)) for name, value in headers.items())


def _header(name: str, value: str) -> str:
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise ConfigurationError(f"{name}: {value!r} cannot stand in a header")
    return value


def _name(name: str) -> str:
    return f'"{name}"' if "|" in name else name


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text) and not _NAMED.fullmatch(text) and not text.startswith("//"):
        return text
    return msgspec.json.encode(text).decode()


def _unquoted(text: str) -> str:
    text = text.strip()
    if not text.startswith('"'):
        return text
    try:
        return msgspec.json.decode(text, type=str)
    except (msgspec.DecodeError, UnicodeError):
        raise ConfigurationError(f'{text}: in quotes, only \\" \\\\ \\n \\r \\t and \\u0000 are escapes') from None


def _or(names: Mapping[str, object] | tuple[str, ...]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def default_message(code: int) -> str:
    """What an error of a status says when it is not told what: NestJS's throttler has words of its own."""
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        return "ThrottlerException: Too Many Requests"
    return phrase(code)
