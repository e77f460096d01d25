"""What became of a call: one pure function from a complete reply to a value or an error, one for a reply that was lost.

The rules are those of the measured table in which aiohttp's reports are set against what a server had really read:

- the request's headers were not written: NOT_SENT
- written, and no complete, trustworthy reply: UNKNOWN
- a complete reply is judged by a documented message first, then by its status; a success with readable content is DONE
  even if its shape is new to us

"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from ..errors import (
    BadRequestError,
    BodyTooLargeError,
    BuilderFeeError,
    CallError,
    CallTimeoutError,
    DuplicateAssetError,
    ForbiddenError,
    NotFoundError,
    NotSentError,
    Outcome,
    OutcomeUnknownError,
    RateLimitedError,
    RefusedError,
    ResponseError,
    ServerError,
    ShapeError,
    TransportError,
    UnauthorizedError,
    UnprocessableError,
)
from ..secret import SecretBytes
from .decode import NOT_DECODED, parse
from .messages import clean, messages_of, retry_after
from .names import folded
from .request import Action, Effect, Request
from .scalars import MismatchError
from .text import shown, shown_body
from .unwrap import is_wrapper

T = TypeVar("T")
_Parse: TypeAlias = Callable[[bytes, Mapping[str, str | None]], Any]

_BY_STATUS: dict[int, type[ResponseError]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    422: UnprocessableError,
    429: RateLimitedError,
}

# Documented messages, which decide before the status does: the status that carries them is not documented.
_DUPLICATE_ASSET = "duplicate asset index"
_BUILDER_FEE = "builder fee approval failed"
# The server passes on that a call of its own failed; its part may be done and the rest not.
_RELAYED = re.compile(r"http request failed|upstream|status(?: code)? (?:429|5\d\d)\b", re.IGNORECASE)


class Reply(msgspec.Struct, Generic[T], frozen=True):
    """A complete reply, as it came.

    Attributes:
        request: what it is the reply to.
        status: the HTTP status.
        headers: the HTTP headers; names in any case.
        body: the body, decompressed.
    """

    request: Request[T]
    status: int
    headers: Mapping[str, str]
    body: bytes

    def decode(self) -> T:
        """Return what the method of this endpoint would have returned, or raise what it would have raised.

        Raises:
            CallError: the reply is not a success, or of no known shape.
        """
        return conclude(self)

    def json(self) -> Any:
        """Return the body as plain values, numbers with a fraction as `Decimal`.

        Raises:
            ShapeError: the body is not JSON.
        """
        try:
            return parse(self.body)
        except msgspec.DecodeError as error:
            raise _error(
                ShapeError, self, f"the body is not JSON: {error}", Outcome.UNKNOWN, raw=SecretBytes(self.body)
            ) from None

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own shows every field, and a sign-in's body holds the token.
        return [("status", self.status), ("request", self.request), ("bytes", len(self.body))]

    def __repr__(self) -> str:
        return f"<Reply {self.status} to {self.request.method} {self.request.path} ({len(self.body)} bytes)>"


def conclude(reply: Reply[T]) -> T:
    """Turn a complete reply into its value.

    Raises:
        CallError: the reply is not a success, or of no known shape; `outcome` says what became of the call.
    """
    if not 200 <= reply.status < 300 or reply.status == 206:
        raise _failure(reply)
    route = reply.request.route
    value: T | _Failed
    try:
        request = reply.request
        value = route.shape.exact(reply.body, request.path, request.query, reply.headers)
    except NOT_DECODED:
        value = _read_unexpected(reply)
    else:
        if route.may_refuse and (refusal := _refusal_in(reply, parse(reply.body))) is not None:
            value = _Failed(refusal)
    if isinstance(value, _Failed):
        # Here, and out of the `except`: the frames of what looked into the body hold what is in it, such as a token.
        raise value.error
    return value


def conclude_known(reply: Reply[T]) -> tuple[T] | None:
    """Turn a complete reply into its value if its body is of a shape that is known, or a table of rows that are alike.

    Returns:
        The value; None if `conclude_unknown` has to say what it is, which takes many times as long.

    Raises:
        CallError: as `conclude` does.
    """
    request = reply.request
    shape = request.route.shape
    if not _may_be_known(reply):
        return None
    try:
        return (shape.exact(reply.body, request.path, request.query, reply.headers),)
    except NOT_DECODED:
        pass
    table = shape.recognise(reply.body, shape.asked(request.path, request.query))
    if table is None:
        return None
    value = _read_unexpected(reply, lambda body, asked: table)
    if isinstance(value, _Failed):
        raise value.error
    return (value,)


def conclude_unknown(reply: Reply[T]) -> T:
    """Turn a complete reply into its value if `conclude_known` gave none.

    Raises:
        CallError: as `conclude` does.
    """
    if not _may_be_known(reply):
        return conclude(reply)
    value = _read_unexpected(reply, reply.request.route.shape.take_apart)
    if isinstance(value, _Failed):
        raise value.error
    return value


def _may_be_known(reply: Reply[Any]) -> bool:
    return 200 <= reply.status < 300 and reply.status != 206 and not reply.request.route.may_refuse


class _Failed(NamedTuple):
    """In place of a value: the error that is to be raised."""

    error: CallError


def is_for_want_of_a_token(reply: Reply[Any]) -> bool:
    """Whether a 401 says no more than that. A documented or a relayed message decides before the status does."""
    messages = messages_of(reply.body)
    return _documented(reply, messages) is None and _RELAYED.search("; ".join(messages)) is None


def lost(request: Request[Any], error: BaseException, *, sent: bool) -> CallError:
    """The error of a call to which no complete, trustworthy reply came.

    Args:
        request: the call.
        error: why no reply came.
        sent: whether the request's headers may have been written.
    """
    facts: dict[str, Any] = {"method": request.method, "path": request.path}
    why = shown(str(error), 200) or type(error).__name__
    call = f"{request.method} {request.path}"
    if not sent:
        return NotSentError(f"{call} was not sent: {why}", outcome=Outcome.NOT_SENT, **facts)
    if request.route.effect is Effect.ONCE:
        return OutcomeUnknownError(_unknown_text(request, f"no complete reply came: {why}"), **facts)
    if isinstance(error, CapPassedError):
        return BodyTooLargeError(f"{call}: {why}", **facts)
    if isinstance(error, TimeoutError):
        return CallTimeoutError(f"{call}: no complete reply in time: {why}", **facts)
    return TransportError(f"{call}: no complete reply: {why}", **facts)


def unread(reply: Reply[Any]) -> CallError:
    """The error of a read whose time was up when its reply was there, but not yet read."""
    why = (
        f"the reply came, {len(reply.body):,} bytes, but the call's time was up before it was read: large ones are "
        "read one after the other, so give the call a longer timeout, make fewer at once, or ask for less"
    )
    return _error(CallTimeoutError, reply, why, Outcome.UNKNOWN)


class Attempt:
    """What is known of one sending while it goes on.

    Args:
        call_id: names the call to the server, so that its logs can be asked about it; empty for none.

    Attributes:
        sent: true as soon as the request's headers may have been written. It never says no wrongly.
        answered_early: whether a reply began before all of the request had left. Kept where calls have a connection of
            their own.
    """

    __slots__ = ("answered_early", "call_id", "sent")

    def __init__(self, call_id: str = "") -> None:
        self.call_id = call_id
        self.sent = False
        self.answered_early = False


class CapPassedError(Exception):
    """A reply's decoded body passed the cap."""


def _failure(reply: Reply[Any]) -> CallError:
    status = reply.status
    messages = messages_of(reply.body)
    documented = _documented(reply, messages)
    if documented is not None:
        return documented
    said = "; ".join(messages)
    text = f"{status}{_phrase(status)}{': ' + said if said else ''}"
    is_unknown = status not in _BY_STATUS or _RELAYED.search(said) is not None
    if is_unknown and reply.request.route.effect is Effect.ONCE:
        return _error(OutcomeUnknownError, reply, _unknown_text(reply.request, f"the reply is {text}"), Outcome.UNKNOWN)
    if 300 <= status < 400:
        text += "; redirects are not followed: check base_url"
    kind = ServerError if status >= 500 else _BY_STATUS.get(status, ResponseError)
    return _error(kind, reply, text, Outcome.UNKNOWN if is_unknown else Outcome.REJECTED)


def _read_unexpected(reply: Reply[T], parse_body: _Parse | None = None) -> T | _Failed:
    """A success whose body is not exactly of the expected shape.

    Args:
        reply: the reply.
        parse_body: what decodes its body; by default `Shape.parse`.
    """
    request = reply.request
    shape = request.route.shape
    asked = shape.asked(request.path, request.query)
    is_read = request.route.effect is Effect.READ
    if not reply.body.strip() and not _is_whole(reply):
        return _Failed(_untrustworthy(reply, _CUT_SHORT))
    value: Any = None
    try:
        if reply.body.strip():
            try:
                value = (parse_body or shape.parse)(reply.body, asked)
            except msgspec.DecodeError:
                failure = _unreadable(reply)
                if failure is not None:
                    return _Failed(failure)
                value = reply.body.decode("utf-8", "replace").strip()
        refusal = _refusal_in(reply, value)
        if refusal is not None:
            return _Failed(refusal)
        # NestJS sends an empty body where a handler returns null, and what does something may have nothing to say.
        result = shape.read(value, asked, reply.headers, may_say_nothing=not is_read)
        # That there is nothing is not believed where the reply speaks of an error.
        if is_read and not shape.has_something(result) and _says_no(value, _DEPTH, is_act=True):
            return _Failed(_refused(reply, messages_of(reply.body)))
        return result
    except Exception as error:  # noqa: BLE001 - the call succeeded: no mistake in reading its reply may say otherwise
        if "html" in reply.headers.get("Content-Type", "").lower():
            return _Failed(_untrustworthy(reply, _WEB_PAGE))
        if request.route.effect is Effect.ONCE and _has_false(value):
            # Whatever it is that is not so, it may be what was asked for.
            return _Failed(_refused(reply, messages_of(reply.body)))
        mismatch = error if isinstance(error, MismatchError) else f"{type(error).__name__} while reading it"
        documented = _documented(reply, messages_of(reply.body))
        why = f"its body has an unknown shape: {mismatch}" if reply.body.strip() else "its body is empty"
        return _Failed(
            documented
            or _error(
                ShapeError,
                reply,
                f"succeeded, but {why}. What the server sends besides what is expected: alura contract check --live",
                Outcome.DONE,
                raw=SecretBytes(reply.body),
            )
        )


def _has_false(value: Any) -> bool:
    # Not a 0, which equals it and may be a count.
    return isinstance(value, dict) and any(item is False for item in value.values())


def _unreadable(reply: Reply[Any]) -> CallError | None:
    """Why a success whose body is not JSON counts for nothing: cut short, or never meant to be; None if it is text."""
    announced = reply.headers.get("Content-Type", "").lower()
    # Express announces any text as HTML; but so does what stands in between, and does not do what was asked for.
    if reply.body.lstrip()[:1] == b"<" or ("html" in announced and reply.request.route.effect is Effect.ONCE):
        return _untrustworthy(reply, _WEB_PAGE)
    if announced and "json" not in announced and _is_whole(reply):
        return None
    return _untrustworthy(reply, _CUT_SHORT)


def _is_whole(reply: Reply[Any]) -> bool:
    """Whether the body's end was announced. Where it was not, a dead connection looks like the end of the body."""
    if reply.status in (204, 205):
        return True
    headers = reply.headers
    if "Content-Encoding" in headers:
        return False  # a compressed body that is cut short decompresses to a short one without an error
    return "Content-Length" in headers or "chunked" in headers.get("Transfer-Encoding", "").lower()


_WEB_PAGE = "the reply is a web page, so something else than the API answered: check base_url"
_CUT_SHORT = "the body is not valid JSON: it was cut short or garbled"


def _untrustworthy(reply: Reply[Any], why: str) -> CallError:
    if reply.request.route.effect is Effect.ONCE:
        return _error(OutcomeUnknownError, reply, _unknown_text(reply.request, why), Outcome.UNKNOWN)
    return _error(TransportError, reply, why, Outcome.UNKNOWN)


_SUCCESS = ("success", "ok", "succeeded", "issuccess", "successful")
_ERRORS = ("error", "errors", "err", "haserror", "iserror", "errormessage")
_FAILURES = frozenset(("error", "err", "fail", "failure", "failed", "rejected"))
# That what was asked about has failed, such as a transfer or a deposit, is its state and no refusal.
_REFUSALS = frozenset(("error", "err", "fail", "failure"))
_LONGEST_CODE = 12
# A refusal may be wrapped as a result is.
_DEPTH = 3


def _refusal_in(reply: Reply[Any], value: Any) -> CallError | None:
    """The error of a 2xx whose body says that the call failed, by a flag or by a documented message."""
    effect = reply.request.route.effect
    failures = _FAILURES if reply.request.route.action in (Action.OPEN, Action.CLOSE) else _REFUSALS
    is_act = effect is not Effect.READ
    is_no = value is False and effect is Effect.ONCE
    if is_no or _says_no(value, _DEPTH, is_act=is_act, failures=failures):
        messages = messages_of(reply.body)
        return _documented(reply, messages) or _refused(reply, messages)
    if effect is not Effect.READ and isinstance(value, dict):
        # What a call that does something says of itself. Not deeper, and not in what a read was asked for: logs quote
        # the errors of others.
        said = value.get("message")
        return _documented(reply, clean(said if isinstance(said, list) else [said]))
    return None


def _says_no(value: Any, depth: int, *, is_act: bool, failures: frozenset[str] = _FAILURES) -> bool:
    """Whether a body, or what is wrapped in it, says that the call failed.

    Args:
        value: a body.
        depth: how many wrappers to look into.
        is_act: whether it is the answer to a call that does something, or an empty one: what a read brings besides may
            be about the failure of something else, and only a plain flag counts.
        failures: the words for a failure, as a status.
    """
    if isinstance(value, list):
        rows = (item for item in value if isinstance(item, dict))
        return is_act and any(_says_no(row, 0, is_act=True, failures=failures) for row in rows)
    if isinstance(value, str):
        return is_act and value.casefold() in failures
    if not isinstance(value, dict):
        return False
    told = {folded(name): item for name, item in value.items()}
    if any(_is_no(told.get(name)) for name in _SUCCESS) or _is_chart_error(told, failures):
        return True
    if is_act and (any(map(told.get, _ERRORS)) or _fails(told, failures)):
        return True
    inner = [item for name, item in value.items() if is_wrapper(name) or name == "statuses"]
    return depth > 0 and any(
        (is_act and item is False) or _says_no(item, depth - 1, is_act=is_act, failures=failures) for item in inner
    )


def _is_chart_error(told: Mapping[str, Any], failures: frozenset[str]) -> bool:
    """Whether it is the error of a chart's data feed (UDF): `{"s": "error", "errmsg": "…", "t": []}`.

    Elsewhere `s` may be anything, such as a symbol.
    """
    status = told.get("s")
    if not isinstance(status, str) or status.casefold() not in failures:
        return False
    return isinstance(told.get("errmsg"), str) or not any(item for name, item in told.items() if name != "s")


def _is_no(flag: Any) -> bool:
    # Not a 0, which may be a count.
    return flag is False or (isinstance(flag, str) and flag.casefold() == "false")


def _fails(told: Mapping[str, Any], failures: frozenset[str]) -> bool:
    """Whether a status or a code is that of a failure."""
    status = told.get("status")
    if status is False or (isinstance(status, str) and status.casefold() in failures):
        return True
    # A code without a word on it may be anything, such as one for referrals.
    has_message = isinstance(told.get("message", told.get("msg")), str)
    names = ("status", "statuscode", "retcode", "code") if has_message else ("status", "statuscode", "retcode")
    return any(_is_failure(told.get(name)) for name in names)


def _is_failure(code: Any) -> bool:
    if isinstance(code, str) and code.removeprefix("-").isdecimal() and len(code) < _LONGEST_CODE:
        code = int(code)
    return type(code) is int and not 0 <= code < HTTPStatus.BAD_REQUEST


def _refused(reply: Reply[Any], messages: tuple[str, ...]) -> CallError:
    text = f"{reply.status}, but the body says that the call failed: {'; '.join(messages) or 'it does not say why'}"
    if reply.request.route.effect is Effect.ONCE:
        return _error(OutcomeUnknownError, reply, _unknown_text(reply.request, text), Outcome.UNKNOWN)
    return _error(RefusedError, reply, text, Outcome.REJECTED)


def _documented(reply: Reply[Any], messages: tuple[str, ...]) -> CallError | None:
    said = "; ".join(messages)
    folded = said.casefold()
    if _DUPLICATE_ASSET in folded:
        return _error(DuplicateAssetError, reply, f"{reply.status}: {said}", Outcome.REJECTED)
    if _BUILDER_FEE in folded:
        why = f"the reply is {reply.status}: {said}"
        return _error(BuilderFeeError, reply, _unknown_text(reply.request, why), Outcome.UNKNOWN)
    return None


_ADVICE = {
    Action.OPEN: "before you call again, read trading_sessions.active() for as long as the server may take to act",
    Action.CLOSE: "read trading_sessions.active() and current_trade(); to close again does no harm, flatten() does it",
    Action.TRANSFER: "no call of the API tells: before you call again, look at the balance and at the chain",
    Action.SIGN_IN: "a sign-in moves no money: sign in again",
    Action.OTHER: "read the state before you call again",
}


def _unknown_text(request: Request[Any], why: str) -> str:
    return (
        f"{request.method} {request.path} was sent, and {why}. It may or may not have been carried out: "
        f"{_ADVICE[request.route.action]}"
    )


E = TypeVar("E", bound=CallError)


def _error(kind: type[E], reply: Reply[Any], text: str, outcome: Outcome, **facts: Any) -> E:
    request = reply.request
    prefix = "" if text.startswith(request.method + " ") else f"{request.method} {request.path}: "
    return kind(
        prefix + text,
        method=request.method,
        path=request.path,
        status=reply.status,
        messages=messages_of(reply.body) if not 200 <= reply.status < 300 or kind is not ShapeError else (),
        retry_after=retry_after(reply.headers),
        outcome=outcome,
        # Where a secret is expected, whatever came may be one.
        body="" if kind is ShapeError and request.route.shape.holds_secrets else shown_body(reply.body),
        **facts,
    )


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""
