"""Everything this SDK raises, in one tree.

AluraError
├── ConfigurationError         a setting of the client cannot be used              (ValueError)
├── InvalidArgumentError       an argument of a call cannot be sent                (ValueError)
├── UsageError                 the client is used in a way that cannot work        (RuntimeError)
│   ├── ClosedError            it was closed
│   └── RunningLoopError       the blocking facade was called inside an event loop
├── CredentialsNeededError     the call needs a wallet or a token, and there is none
├── SignInError                no token could be had
│   └── ChallengeRefusedError  the text to sign is not a sign-in to this server; nothing was signed
├── WaitTimeoutError           what was waited for did not happen in time          (TimeoutError)
├── GuardError                 the guard refused a call that creates or transfers
├── JournalError               the journal cannot be read or written
├── StoreError                 a store of candles cannot be read or written
├── UnresolvedError            an identical call may have been carried out already
├── NotFlatError               `flatten()` ended while something was still open
└── CallError                  one call failed; says which, and what became of it (`outcome`)
    ├── TransportError         no complete, trustworthy reply
    │   ├── NotSentError       … and the server cannot have acted: nothing was sent
    │   ├── CallTimeoutError   … in time                                           (TimeoutError)
    │   └── BodyTooLargeError  … because it is larger than the cap
    ├── OutcomeUnknownError    a call that moves money may or may not have been carried out
    │   └── BuilderFeeError    "Builder fee approval failed: …" (documented)
    ├── ResponseError          a complete reply that is not a success
    │   ├── BadRequestError          400 (documented: validation error)
    │   ├── UnauthorizedError        401 (documented: missing or invalid token)
    │   ├── ForbiddenError           403
    │   ├── NotFoundError            404
    │   ├── UnprocessableError       422
    │   ├── RateLimitedError         429 (documented: rate limit)
    │   ├── ServerError              5xx
    │   ├── RefusedError             a 2xx whose body says `success: false` or `ok: false`
    │   └── DuplicateAssetError      "Duplicate asset index: …" (documented)
    └── ShapeError             a success whose body is of no known shape
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .groups.trading_sessions import Position, TradingSession


class Outcome(enum.StrEnum):
    """What became of a call on the server.

    `NOT_SENT` and `REJECTED`: not done. `DONE`: done. `UNKNOWN`: the server may or may not have acted.
    """

    NOT_SENT = "not_sent"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    DONE = "done"


class AluraError(Exception):
    """Base of everything this SDK raises.

    Attributes:
        outcome: what became of the call. Everything but a `CallError` is raised instead of making the call, or after
            the server refused it for want of a token: not done, `NOT_SENT`.
    """

    outcome: Outcome = Outcome.NOT_SENT


class ConfigurationError(AluraError, ValueError):
    """A setting of the client cannot be used; the message says what to set instead."""


class InvalidArgumentError(AluraError, ValueError):
    """An argument cannot be sent; the message says what is accepted. Nothing was sent."""


class UsageError(AluraError, RuntimeError):
    """The client is used in a way that cannot work; the message says what to do instead."""


class ClosedError(UsageError):
    """The client was closed before this call."""


class RunningLoopError(UsageError):
    """The blocking facade was called where an event loop runs; it would stop that loop."""


class CredentialsNeededError(AluraError):
    """The call needs a wallet or a token, and the client holds neither. Nothing was sent."""


class SignInError(AluraError):
    """No token could be had. `__cause__` is the call that failed, where one did."""


class ChallengeRefusedError(SignInError):
    """The text that the server wants signed is not plainly a sign-in to it. Nothing was signed."""


class WaitTimeoutError(AluraError, TimeoutError):
    """What an operation waited for did not happen within its `timeout`. No call failed."""


class GuardError(AluraError):
    """The guard refused a call that creates or transfers. Nothing was sent."""


class JournalError(AluraError):
    """The journal cannot be read or written. A call that creates or transfers is not made without it."""


class StoreError(AluraError):
    """A store of candles cannot be read or written; the message says what to do. What was recorded stays so.

    Attributes:
        problem: what is wrong, and what to do about it where no call of this SDK does it.
        remedy: the call of `alura.bulk` that mends it, `repair` or `pull`, as the message says; None where none does.
    """

    def __init__(self, problem: str, *, remedy: Literal["repair", "pull"] | None = None) -> None:
        super().__init__(problem if remedy is None else f"{problem}: {_REMEDIES[remedy]}")
        self.problem = problem
        self.remedy = remedy


_REMEDIES = {
    "repair": "`alura.bulk.repair(store)` mends it",
    "pull": "`alura.bulk.pull(store, symbols, intervals, start=start)` brings it",
}


class UnresolvedError(AluraError):
    """An identical call was made before, and nobody knows whether it was carried out. Nothing was sent.

    Find out, say so with `journal.settle(…)`, and call again if it was not.

    Attributes:
        entry_id: the earlier call's entry in the journal.
    """

    def __init__(self, message: str, *, entry_id: str = "") -> None:
        super().__init__(message)
        self.entry_id = entry_id


class NotFlatError(AluraError):
    """`flatten()` ended, and not everything reads as closed.

    Attributes:
        remaining: the sessions that were still listed when it was last read.
        positions: the open positions that were still listed.
        failures: the calls that failed on the way, in their order; of more than 100, the first and the last 50.
    """

    outcome = Outcome.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        remaining: tuple[TradingSession, ...] = (),
        positions: tuple[Position, ...] = (),
        failures: tuple[AluraError, ...] = (),
    ) -> None:
        super().__init__(message)
        self.remaining = remaining
        self.positions = positions
        self.failures = failures


class CallError(AluraError):
    """One call failed.

    Attributes:
        method: the HTTP method.
        path: the path that was called, without host and query.
        status: the reply's HTTP status, or None where there was no complete reply.
        messages: the server's own messages, control characters neutralised; may be empty.
        retry_after: seconds the server asked to wait, or None.
        outcome: what became of the call, see `Outcome`.
        body: the reply's body, redacted and clipped, for people to read.
        call_id: the call's id, for calls that must not be made twice: its entry in the journal, and what the server
            got as `X-Request-Id`.
        attempts: how often it was sent, or tried to be.
    """

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        path: str = "",
        status: int | None = None,
        messages: tuple[str, ...] = (),
        retry_after: float | None = None,
        outcome: Outcome = Outcome.UNKNOWN,
        body: str = "",
        call_id: str = "",
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.method = method
        self.path = path
        self.status = status
        self.messages = messages
        self.retry_after = retry_after
        self.outcome = outcome
        self.body = body
        self.call_id = call_id
        self.attempts = attempts


class TransportError(CallError):
    """No complete, trustworthy reply arrived. `__cause__` says why."""


class NotSentError(TransportError):
    """The request did not leave: the server cannot have acted on it, and it is safe to call again."""


class CallTimeoutError(TransportError, TimeoutError):
    """No complete reply arrived in time; or it was not read in time, and `status` is the reply's."""


class BodyTooLargeError(TransportError):
    """The reply's decoded body is larger than `max_body_bytes`."""


class OutcomeUnknownError(CallError):
    """A call that must not be made twice was sent, and nobody can say from here whether it was carried out.

    The state was read for a while, and did not tell. Its entry stays unresolved in the journal: `call_id`.

    Attributes:
        candidates: sessions that the call may have created, and that may as well be somebody else's. They are shown,
            never taken for yours.
    """

    candidates: tuple[TradingSession, ...] = ()

    def __str__(self) -> str:
        text = super().__str__()
        if not self.call_id:
            return text
        return f"{text}; when you know, alura.journal.settle({self.call_id!r}, 'done' or 'rejected')"


class BuilderFeeError(OutcomeUnknownError):
    """The server's own upstream refused the builder fee approval; the call may be half done."""


class ResponseError(CallError):
    """A complete reply that is not a success."""


class BadRequestError(ResponseError):
    """400: the server did not accept the arguments; see `messages`."""


class UnauthorizedError(ResponseError):
    """401: the token is missing, invalid or expired."""


class ForbiddenError(ResponseError):
    """403: this account may not do this."""


class NotFoundError(ResponseError):
    """404: no such thing, or no such endpoint."""


class UnprocessableError(ResponseError):
    """422: the server understood the arguments and did not accept them."""


class RateLimitedError(ResponseError):
    """429: too many calls; see `retry_after`."""


class ServerError(ResponseError):
    """5xx: the server failed."""


class RefusedError(ResponseError):
    """A 2xx reply whose body says that the call failed."""


class DuplicateAssetError(ResponseError):
    """An active session for this asset exists already.

    Attributes:
        candidates: the active sessions of this asset, as far as they could be read. Nobody says whose they are.
    """

    candidates: tuple[TradingSession, ...] = ()

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}; active: {', '.join(found.id for found in self.candidates)}" if self.candidates else text


class ShapeError(CallError):
    """The call succeeded, but its reply's body is of no shape that this SDK knows.

    Also of a list that comes in pages, where fewer items came than the server says there are.

    Attributes:
        raw: the body as it came. It is not redacted, and left out of pickles.
    """

    def __init__(self, message: str, *, raw: bytes = b"", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.raw = raw
