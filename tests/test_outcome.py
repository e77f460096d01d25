"""From a complete reply to a value or an error, and what the error says of the call: the rules, without any I/O."""

from __future__ import annotations

import copy
import json
import pickle
import re
import sys
import time
import unicodedata
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from alura_async import (
    AluraError,
    BadRequestError,
    BodyTooLargeError,
    BuilderFeeError,
    CallError,
    CallTimeoutError,
    Closing,
    DuplicateAssetError,
    Effect,
    FillsSync,
    ForbiddenError,
    NotFoundError,
    NotSentError,
    Outcome,
    OutcomeUnknownError,
    RateLimitedError,
    RefusedError,
    Reply,
    Request,
    ResponseError,
    Route,
    ServerError,
    ShapeError,
    TradingSession,
    TradingSessions,
    TransportError,
    UnauthorizedError,
    UnprocessableError,
    User,
    errors,
)
from alura_async.core.outcome import Attempt, CapPassedError, is_for_want_of_a_token, lost
from alura_async.core.text import redact

NOT_SENT, REJECTED, UNKNOWN, DONE = Outcome.NOT_SENT, Outcome.REJECTED, Outcome.UNKNOWN, Outcome.DONE

# One call of each effect.
CALLS: dict[Effect, Request[Any]] = {
    Effect.READ: User.profile.request(),
    Effect.REPEATABLE: User.sync_fills.request(),
    Effect.ONCE: TradingSessions.create.request(budget=100, profit_target=40, asset="BTC"),
}
READ, REPEATABLE, ONCE = CALLS.values()
every_effect = pytest.mark.parametrize("call", CALLS.values(), ids=[effect.name for effect in CALLS])
harmless = pytest.mark.parametrize("call", [READ, REPEATABLE], ids=["READ", "REPEATABLE"])

DUPLICATE = "Duplicate asset index: you already have an active trading session for this asset"
BUILDER_FEE = "Builder fee approval failed: HTTP request failed: status 429"

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"
KEY = "0x" + "4c0883a69102937d6231471b5dbb6204fe512961708279f8d13c9e1f0a1b2c3d"
SIGNATURE = "0x" + "9b" * 65


def reply(
    call: Request[Any], status: int, body: Any = b"", content_type: str = "application/json", **headers: str
) -> Reply[Any]:
    """A reply: bytes as they are, anything else as JSON; `retry_after=` is the header `retry-after`."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    if content_type:
        sent["Content-Type"] = content_type
    if "Transfer-Encoding" not in sent:
        sent["Content-Length"] = str(len(content))
    return Reply(call, status, sent, content)


def failure(call: Request[Any], status: int, body: Any = b"", content_type: str = "application/json") -> CallError:
    """The error that a reply becomes."""
    with pytest.raises(CallError) as raised:
        reply(call, status, body, content_type).decode()
    return raised.value


def nest(message: Any, status: int = 400) -> dict[str, Any]:
    """A body as NestJS writes it."""
    return {"statusCode": status, "message": message, "error": "Bad Request"}


# A complete reply that is no success


REJECTIONS: list[tuple[int, type[ResponseError]]] = [
    (400, BadRequestError),
    (401, UnauthorizedError),
    (403, ForbiddenError),
    (404, NotFoundError),
    (422, UnprocessableError),
    (429, RateLimitedError),
]


@every_effect
@pytest.mark.parametrize(("status", "kind"), REJECTIONS)
def test_a_rejection_is_certain_whatever_the_call(call: Request[Any], status: int, kind: type[CallError]) -> None:
    error = failure(call, status, nest("no", status))
    assert type(error) is kind
    assert (error.outcome, error.status, error.messages) == (REJECTED, status, ("no",))
    assert (error.method, error.path) == (call.method, call.path)
    assert str(error).startswith(f"{call.method} {call.path}: {status} ")
    assert str(error).endswith(": no")


UNKNOWN_STATUSES = [101, 102, 199, 300, 301, 302, 303, 304, 307, 308, 408, 409, 500, 501, 502, 503, 504, 520, 599]


@pytest.mark.parametrize("status", UNKNOWN_STATUSES)
def test_after_another_status_nobody_knows_whether_an_order_was_carried_out(status: int) -> None:
    error = failure(ONCE, status, nest("no", status))
    assert type(error) is OutcomeUnknownError
    assert (error.outcome, error.status, error.messages) == (UNKNOWN, status, ("no",))
    assert "may or may not have been carried out" in str(error)


@pytest.mark.parametrize("status", [402, 405, 406, 410, 413, 415, 418, 451, 499])
def test_a_status_of_which_nothing_is_said_is_no_proof_that_an_order_was_not_carried_out(status: int) -> None:
    assert type(failure(ONCE, status)) is OutcomeUnknownError


@harmless
@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 599])
def test_a_failing_server_leaves_a_harmless_call_unknown(call: Request[Any], status: int) -> None:
    error = failure(call, status, nest("oh", status))
    assert type(error) is ServerError
    assert (error.outcome, error.messages) == (UNKNOWN, ("oh",))


@harmless
@pytest.mark.parametrize("status", [101, 301, 302, 307, 408, 409])
def test_another_status_is_a_plain_response_error_of_a_harmless_call(call: Request[Any], status: int) -> None:
    assert type(failure(call, status)) is ResponseError


@harmless
@pytest.mark.parametrize("status", [101, 301, 302, 307, 408, 409])
def test_another_status_leaves_a_harmless_call_unknown(call: Request[Any], status: int) -> None:
    assert failure(call, status).outcome is UNKNOWN


@pytest.mark.parametrize("status", [300, 302, 399])
def test_a_redirect_is_not_followed_and_says_so(status: int) -> None:
    error = failure(READ, status)
    assert "redirects are not followed: check base_url" in str(error)


def test_what_is_no_redirect_does_not_speak_of_one() -> None:
    assert "redirects" not in str(failure(READ, 400))


def test_499_is_no_failure_of_the_server_and_a_status_without_a_name_is_shown_without_one() -> None:
    error = failure(READ, 499, nest("gone"))
    assert type(error) is ResponseError
    assert str(error) == "GET /user/profile: 499: gone"


def test_only_a_plain_401_asks_for_another_token() -> None:
    """After one that relays a failure, the server has acted: a new token would make it act again."""
    assert is_for_want_of_a_token(reply(ONCE, 401, nest("Unauthorized", 401)))
    assert is_for_want_of_a_token(reply(ONCE, 401))
    for message in (*RELAYED, DUPLICATE, BUILDER_FEE):
        assert not is_for_want_of_a_token(reply(ONCE, 401, nest(message, 401)))


RELAYED = [
    "HTTP request failed: status 429",
    "Withdrawal failed: HTTP request failed: status 502",
    "upstream timed out",
    "Hyperliquid answered status code 503",
]


@pytest.mark.parametrize("message", RELAYED)
@pytest.mark.parametrize("status", [400, 403, 404, 422, 429])
def test_a_relayed_upstream_failure_may_be_half_done(status: int, message: str) -> None:
    """The server did its own part before its upstream failed; the status is only passed on."""
    error = failure(ONCE, status, nest(message, status))
    assert type(error) is OutcomeUnknownError
    assert (error.outcome, error.messages) == (UNKNOWN, (message,))


@harmless
@pytest.mark.parametrize("message", RELAYED)
def test_a_relayed_upstream_failure_leaves_a_harmless_call_unknown(call: Request[Any], message: str) -> None:
    assert failure(call, 400, nest(message)).outcome is UNKNOWN


@pytest.mark.parametrize("message", ["budget must not be less than 10", "order 429 not found", "status must be text"])
def test_an_ordinary_message_is_no_relayed_failure(message: str) -> None:
    assert failure(ONCE, 400, nest(message)).outcome is REJECTED


# The documented messages, which decide before the status does


@every_effect
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 409, 422, 429, 500, 503])
@pytest.mark.parametrize("form", ["text", "list", "nested", "plain", "upper"])
def test_the_duplicate_message_is_a_rejection_whatever_the_status(call: Request[Any], status: int, form: str) -> None:
    body: Any = {
        "text": nest(DUPLICATE, status),
        "list": nest([DUPLICATE], status),
        "nested": {"error": {"message": DUPLICATE}},
        "plain": DUPLICATE.encode(),
        "upper": nest(DUPLICATE.upper(), status),
    }[form]
    error = failure(call, status, body)
    assert type(error) is DuplicateAssetError
    assert (error.outcome, error.status) == (REJECTED, status)
    assert "Duplicate asset index".casefold() in str(error).casefold()


@every_effect
@pytest.mark.parametrize("status", [302, 400, 403, 409, 422, 429, 500, 503])
def test_the_builder_fee_message_leaves_every_call_unknown_whatever_the_status(call: Request[Any], status: int) -> None:
    error = failure(call, status, nest(BUILDER_FEE, status))
    assert type(error) is BuilderFeeError
    assert (error.outcome, error.status, error.messages) == (UNKNOWN, status, (BUILDER_FEE,))


@every_effect
@pytest.mark.parametrize("says_no", [{"success": False}, {"ok": False}, {}])
@pytest.mark.parametrize(
    ("message", "kind", "outcome"),
    [(DUPLICATE, DuplicateAssetError, REJECTED), (BUILDER_FEE, BuilderFeeError, UNKNOWN)],
)
def test_a_documented_message_decides_in_a_success_too(
    call: Request[Any], says_no: dict[str, Any], message: str, kind: type[CallError], outcome: Outcome
) -> None:
    error = failure(call, 201, {**says_no, "message": message})
    assert type(error) is kind
    assert error.outcome is outcome


@pytest.mark.parametrize(("message", "kind"), [(DUPLICATE, DuplicateAssetError), (BUILDER_FEE, BuilderFeeError)])
@pytest.mark.parametrize(
    "call",
    [TradingSessions.close_position.request("p"), User.claim_reward.request(), TradingSessions.trigger_cron.request()],
    ids=["close", "claim", "cron"],
)
def test_a_documented_message_decides_where_the_type_has_a_message_too(
    call: Request[Any], message: str, kind: type[CallError]
) -> None:
    """Else a close that failed reads as done."""
    assert type(failure(call, 201, {"message": message})) is kind


@pytest.mark.parametrize("message", [DUPLICATE, BUILDER_FEE])
@pytest.mark.parametrize(
    ("call", "body", "found"),
    [
        (TradingSessions.trade_logs.request("t"), {"total": 1, "data": [{"id": "1", "message": ""}]}, "data"),
        (TradingSessions.trade_logs.request("t"), {"totalPages": 1, "data": [{"id": "1", "message": ""}]}, "data"),
        (TradingSessions.logs.request("s"), [{"message": "", "new": 1}], None),
        (TradingSessions.current_trade.request(), {"id": "t", "events": [{"text": ""}]}, "id"),
        (TradingSessions.current_trade.request(), {"id": "t", "lastError": {"message": ""}}, "id"),
    ],
    ids=["page", "page with unknown", "list", "trade with events", "trade with an error"],
)
def test_a_message_that_is_part_of_what_was_asked_for_is_no_error(
    call: Request[Any], body: Any, found: str | None, message: str
) -> None:
    """Logs tell of failed calls: reading them must not fail for it."""
    text = json.dumps(body).replace('""', json.dumps(message))
    value = reply(call, 200, text.encode()).decode()
    assert value if found is None else getattr(value, found)


# A success


@pytest.mark.parametrize(("status", "is_success"), [(199, False), (200, True), (299, True), (300, False)])
def test_what_is_not_of_the_200s_is_no_success_whatever_it_holds(status: int, is_success: bool) -> None:
    answer = reply(READ, status, {"id": "u1"})
    if is_success:
        assert answer.decode().id == "u1"
    else:
        with pytest.raises(ResponseError):
            answer.decode()


@pytest.mark.parametrize("status", [200, 201, 299])
def test_what_a_success_of_a_new_shape_holds_is_no_message_of_a_failure(status: int) -> None:
    assert failure(READ, status, {"message": "hello"}).messages == ()


@pytest.mark.parametrize("status", [199, 300, 500])
def test_a_failure_that_is_not_json_still_gives_its_message(status: int) -> None:
    with pytest.raises(ShapeError) as raised:
        reply(READ, status, b"down").json()
    assert raised.value.messages == ("down",)


@every_effect
@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_known_shape_is_the_value(call: Request[Any], status: int) -> None:
    body = {READ.path: {"id": "u1"}, REPEATABLE.path: {"synced": 3}, ONCE.path: {"id": "s1"}}[call.path]
    value = reply(call, status, body).decode()
    assert type(value) is call.route.returns


@every_effect
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ({"something": "else"}, "application/json"),
        ([1, 2], "application/json"),
        ("text", "application/json; charset=utf-8"),
        (b"OK", "text/plain"),
    ],
)
def test_a_complete_success_of_a_new_shape_is_done(call: Request[Any], body: Any, content_type: str) -> None:
    error = failure(call, 201, body, content_type)
    assert type(error) is ShapeError
    assert (error.outcome, error.status) == (DONE, 201)


@pytest.mark.parametrize("call", [READ, ONCE], ids=["READ", "ONCE"])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [(None, "application/json"), (5, "application/json"), (b"", "application/json"), (b" \r\n", ""), ({}, "")],
)
def test_what_says_nothing_is_no_object_of_which_an_id_or_a_fact_was_asked_for(
    call: Request[Any], body: Any, content_type: str
) -> None:
    error = failure(call, 201, body, content_type)
    assert type(error) is ShapeError
    assert (error.outcome, error.status) == (DONE, 201)


@pytest.mark.parametrize("body", [b"", b" \r\n", b"null", b"{}", b"[]"])
def test_a_call_that_does_something_may_have_nothing_to_say(body: bytes) -> None:
    assert reply(REPEATABLE, 201, body).decode() == (FillsSync(fills=[]) if body == b"[]" else FillsSync())
    closing = reply(TradingSessions.close_position.request("p1"), 201, body).decode()
    assert closing == Closing(position_id="p1")


def test_a_shape_error_says_where_what_was_expected_what_came_and_keeps_the_bytes() -> None:
    error = failure(TradingSessions.active.request(), 200, {"stuff": [1], "total": 0})
    assert isinstance(error, ShapeError)
    assert error.raw == b'{"stuff": [1], "total": 0}'
    for part in ("GET /trading-sessions/active", "a list of TradingSessions", "stuff", "alura contract check --live"):
        assert part in str(error)
    error = failure(ONCE, 201, {"tradeId": "t", "state": "x"})
    for part in ("$", "TradingSession", "id", "tradeId", "state"):
        assert part in str(error)


def test_where_nothing_is_an_answer_an_empty_success_is_none() -> None:
    """NestJS sends an empty body where a handler returns null."""
    call = TradingSessions.current_trade.request()
    for body in (b"", b"null", b" "):
        assert reply(call, 200, body).decode() is None


CUT_SHORT = [
    b'{"id":"s1"',
    b'{"id":',
    b"{",
    b'[{"id":"s1"},',
    b'"',
    b"{]",
    b"{'id': 1}",
    b"nul",
    b'{"id":"s1"} trailing',
]


@pytest.mark.parametrize("body", CUT_SHORT)
@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON", ""]
)
def test_a_success_cut_short_leaves_the_call_unknown(body: bytes, content_type: str) -> None:
    """The server acted; how, we cannot say. Where no type was announced, JSON was expected."""
    assert type(failure(ONCE, 201, body, content_type)) is OutcomeUnknownError
    for call in (READ, REPEATABLE):
        error = failure(call, 200, body, content_type)
        assert type(error) is TransportError
        assert error.outcome is UNKNOWN
        assert "cut short" in str(error)


@pytest.mark.parametrize("says_no", ["success", "ok"])
@pytest.mark.parametrize("more", [{}, {"message": "not today"}, {"data": None}, {"id": "s1"}])
def test_a_success_that_says_it_failed_leaves_an_order_unknown(says_no: str, more: dict[str, Any]) -> None:
    error = failure(ONCE, 201, {says_no: False, **more})
    assert type(error) is OutcomeUnknownError
    assert error.outcome is UNKNOWN
    assert error.messages == (("not today",) if "message" in more else ())


@harmless
@pytest.mark.parametrize("says_no", ["success", "ok"])
def test_a_success_that_says_it_failed_is_a_refusal_of_a_harmless_call(call: Request[Any], says_no: str) -> None:
    error = failure(call, 200, {says_no: False, "message": "not today"})
    assert type(error) is RefusedError
    assert (error.outcome, error.messages) == (REJECTED, ("not today",))


def test_a_type_with_a_field_ok_is_looked_at_too() -> None:
    call = TradingSessions.trigger_cron.request()
    assert reply(call, 201, {"ok": True, "message": "ran"}).decode().ok is True
    assert type(failure(call, 201, {"ok": False, "message": "did not"})) is OutcomeUnknownError


@pytest.mark.parametrize("returns", [dict, dict[str, Any], Any])
def test_a_route_of_ones_own_that_returns_plain_json_is_looked_at_too(returns: Any) -> None:
    order: Route[Any] = Route("POST", "/orders", returns)
    assert type(failure(order.request(), 201, {"success": False, "message": "no"})) is OutcomeUnknownError
    read: Route[Any] = Route("GET", "/orders", returns)
    assert type(failure(read.request(), 200, {"success": False, "message": "no"})) is RefusedError


@pytest.mark.parametrize("value", [None, "", 0, 1, True, "true"])
def test_what_is_not_false_does_not_say_that_a_call_failed(value: Any) -> None:
    assert reply(ONCE, 201, {"id": "s1", "success": value}).decode().id == "s1"


def test_a_status_code_within_a_success_says_no_from_400_on_only() -> None:
    assert reply(ONCE, 201, {"id": "s1", "statusCode": 399}).decode().id == "s1"


@pytest.mark.parametrize(
    "no",
    [
        {"success": False},
        {"ok": False},
        {"success": "false"},
        {"statusCode": 400},
        {"error": "Bad Request"},
        {"status": "error"},
    ],
)
def test_a_success_that_says_no_is_none(no: dict[str, Any]) -> None:
    """Also where the rest of it looks like a session."""
    assert type(failure(ONCE, 201, {"id": "s1", "message": "x", **no})) is OutcomeUnknownError


def test_a_read_may_be_about_the_failure_of_something_else() -> None:
    body = {"id": "t1", "status": "error", "error": "HTTP request failed", "statusCode": 500}
    assert reply(TradingSessions.current_trade.request(), 200, body).decode().id == "t1"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"", {"Content-Encoding": "gzip", "Content-Length": "10"}),
        (b" ", {}),
        (b"accep", {"Content-Type": "text/plain"}),
        (b"accep", {"Content-Type": "text/plain", "Content-Encoding": "gzip", "Content-Length": "20"}),
    ],
    ids=["died before its body", "gzip cut", "white space", "text without end", "gzip text cut"],
)
def test_an_end_that_nobody_announced_is_no_end(body: bytes, headers: dict[str, str]) -> None:
    """A connection that dies looks like the end of a body: "no trade" must not be read from it."""
    with pytest.raises(TransportError):
        Reply(TradingSessions.current_trade.request(), 200, CIMultiDict(headers), body).decode()
    with pytest.raises(OutcomeUnknownError):
        Reply(TradingSessions.close_trade.request("t"), 201, CIMultiDict(headers), body).decode()


@pytest.mark.parametrize(
    ("status", "headers"),
    [(200, {"Content-Length": "0"}), (200, {"Transfer-Encoding": "chunked"}), (204, {}), (205, {})],
)
def test_an_empty_body_whose_end_was_announced_is_nothing(status: int, headers: dict[str, str]) -> None:
    assert Reply(TradingSessions.current_trade.request(), status, CIMultiDict(headers), b"").decode() is None


def test_part_of_a_body_is_not_the_body() -> None:
    assert failure(TradingSessions.current_trade.request(), 206, {"id": "t1"}).outcome is UNKNOWN


def test_a_web_page_is_no_answer_of_the_api() -> None:
    page = b"<!doctype html><title>Alura</title>"
    assert type(failure(ONCE, 200, page, "text/html")) is OutcomeUnknownError
    error = failure(TradingSessions.active.request(), 200, page, "text/html")
    assert (type(error), error.outcome) == (TransportError, UNKNOWN)
    assert "base_url" in str(error)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"come back later", "text/html"), (b" <p>later</p>", "text/plain"), (b"<p>later</p>", "")],
)
def test_a_web_page_is_known_by_its_type_or_by_its_first_character(body: bytes, content_type: str) -> None:
    assert type(failure(ONCE, 200, body, content_type)) is OutcomeUnknownError
    assert "web page" in str(failure(READ, 200, body, content_type))


# No complete reply


def test_of_a_call_that_has_not_begun_nothing_is_sent_or_answered() -> None:
    attempt = Attempt("c1")
    assert (attempt.call_id, attempt.sent, attempt.answered_early) == ("c1", False, False)


@every_effect
def test_what_was_not_sent_is_safe_to_repeat(call: Request[Any]) -> None:
    for cause in (OSError("connection refused"), TimeoutError(), CapPassedError("cap")):
        error = lost(call, cause, sent=False)
        assert type(error) is NotSentError
        assert (error.outcome, error.method, error.path) == (NOT_SENT, call.method, call.path)
        assert error.status is None
        assert f"{call.method} {call.path} was not sent" in str(error)


@pytest.mark.parametrize("cause", [OSError("reset"), TimeoutError(), CapPassedError("cap"), ValueError("garbage")])
def test_an_order_that_was_sent_and_not_answered_is_unknown(cause: Exception) -> None:
    error = lost(ONCE, cause, sent=True)
    assert type(error) is OutcomeUnknownError
    assert error.outcome is UNKNOWN


@harmless
@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (OSError("reset"), TransportError),
        (TimeoutError(), CallTimeoutError),
        (CapPassedError("cap"), BodyTooLargeError),
    ],
)
def test_a_harmless_call_that_was_not_answered_says_why(
    call: Request[Any], cause: Exception, kind: type[CallError]
) -> None:
    error = lost(call, cause, sent=True)
    assert type(error) is kind
    assert error.outcome is UNKNOWN
    assert (str(cause) or type(cause).__name__) in str(error)


def test_a_call_that_took_too_long_is_a_timeout_error_of_python() -> None:
    assert isinstance(lost(READ, TimeoutError(), sent=True), TimeoutError)


def test_the_reason_why_nothing_came_is_made_fit_to_show() -> None:
    error = lost(READ, OSError(f"proxy \x1b[31m said {JWT} {KEY} " + "x" * 5000), sent=True)
    assert_fit_to_show(str(error))
    assert len(str(error)) < 500


# Messages


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (nest("budget must not be less than 10"), ("budget must not be less than 10",)),
        (nest(["budget is too small", "asset is unknown"]), ("budget is too small", "asset is unknown")),
        ({"statusCode": 400, "error": "Bad Request"}, ("Bad Request",)),
        ({"message": {"message": ["deep"], "statusCode": 400}}, ("deep",)),
        ({"error": {"code": 7, "message": "in error"}}, ("in error",)),
        ({"errors": [{"message": "one"}, {"detail": "two"}]}, ("one", "two")),
        ({"message": ["same", "same"]}, ("same",)),
        ({"message": "", "error": "the second best"}, ("the second best",)),
        ({"message": None, "detail": "problem+json"}, ("problem+json",)),
        ({"message": ["", "  ", "real"]}, ("real",)),
        ("just text", ("just text",)),
        (["a", "b"], ("a", "b")),
        ({}, ()),
        ({"statusCode": 400}, ()),
        ([], ()),
        (None, ()),
        (5, ()),
        (b"", ()),
        (b"   ", ()),
        (b"Too Many Requests", ("Too Many Requests",)),
        (b"<html><style>b {}</style><body><h1>502</h1>\n<p>Bad  Gateway</p></body></html>", ("502 Bad Gateway",)),
        (b"<script>alert('x')</script>gone", ("gone",)),
    ],
    ids=lambda value: None if isinstance(value, tuple) else repr(value)[:40],
)
def test_the_servers_messages_are_found_in_whatever_form(body: Any, messages: tuple[str, ...]) -> None:
    error = failure(READ, 400, body)
    assert error.messages == messages
    for message in messages:
        assert message in str(error)


def test_messages_of_a_class_validator_are_found_at_every_level() -> None:
    body = nest(
        [
            {
                "property": "budget",
                "children": [],
                "constraints": {"min": "budget must not be less than 10", "isNumber": "budget must be a number"},
            },
            {
                "property": "strategy",
                "children": [
                    {"property": "days", "children": [], "constraints": {"max": "days must not be more than 365"}}
                ],
            },
        ]
    )
    messages = failure(ONCE, 400, body).messages
    for expected in (
        "budget must not be less than 10",
        "budget must be a number",
        "days must not be more than 365",
    ):
        assert expected in messages


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b'{"message":"\xff\xfe"}', b"caf\xe9 is closed"])
def test_bytes_that_are_no_text_are_no_obstacle(body: bytes) -> None:
    for status, kind in ((400, BadRequestError), (500, ServerError)):
        error = failure(READ, status, body)
        assert type(error) is kind
        assert_fit_to_show(str(error))


def deep(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * levels + closing * levels


@every_effect
@pytest.mark.parametrize(
    "body", [deep(100_000), deep(50_000, b'{"message":', b"}"), b"[" * 100_000], ids=["[", "{", "cut"]
)
def test_a_body_nested_without_end_is_no_obstacle(call: Request[Any], body: bytes) -> None:
    assert type(failure(call, 400, body)) is BadRequestError


@pytest.mark.parametrize(
    "body",
    [deep(100_000), deep(50_000, b'{"id":"s1","data":', b"}"), b'{"id":"\xff"}', b'[{"id":"s1","x":"\xc3\x28"}]'],
    ids=["[", "{", "utf-8", "utf-8 inside"],
)
def test_a_success_that_cannot_be_read_is_an_error_of_ours(body: bytes) -> None:
    """A decoder's own exception would tell nobody that an order went out."""
    assert type(failure(ONCE, 201, body)) in (OutcomeUnknownError, ShapeError)
    assert type(failure(TradingSessions.active.request(), 200, body)) in (TransportError, ShapeError)
    with pytest.raises(ShapeError):
        reply(READ, 200, body).json()


def test_where_a_library_lets_python_recurse_without_end_a_body_may_not_be_nested_without_end() -> None:
    """Else a few kilobytes of brackets end the process."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        assert type(failure(ONCE, 201, b'{"id":"s1","data":' + deep(2_000) + b"}")) is OutcomeUnknownError
        plain: Route[Any] = Route("GET", "/orders", Any)
        assert type(failure(plain.request(), 200, deep(2_000))) is TransportError
    finally:
        sys.setrecursionlimit(limit)


def test_a_number_that_no_decimal_can_hold_is_an_error_of_ours() -> None:
    """It is kept as text, also where a number was expected."""
    for name in ("budget", "unknown"):
        session = reply(ONCE, 201, f'{{"id":"s1","{name}":1e999999999999999999999}}'.encode()).decode()
        assert session == TradingSession(id="s1", _extra={name: "1e999999999999999999999"})


def test_a_huge_body_is_clipped() -> None:
    for body in (b"x" * 2_000_000, nest("x" * 2_000_000), nest(["y" * 1000] * 5 + [f"{n}" * 600 for n in range(50)])):
        error = failure(READ, 400, body)
        assert len(str(error)) < 20_000
        assert len(error.body) < 1_000
        assert len(error.messages) <= 20
        assert all(len(message) < 600 for message in error.messages)
        assert "more characters" in error.body


@pytest.mark.parametrize(
    "unit",
    [
        *("a-", "token-", "ey-", "eyJ.", "a.", "token\\", "<a", "<script ", "'", '\\"', "0x0", 'token:"', "a", " "),
    ],
)
def test_a_hostile_text_does_not_hold_up_the_loop(unit: str) -> None:
    """Error texts are looked through in the event loop: each character may cost a fixed time only."""
    text = unit * (2_000 // len(unit))
    started = time.perf_counter()
    for body in (text.encode(), nest(text)):
        failure(READ, 400, body)
    assert time.perf_counter() - started < 0.15


def test_a_page_of_open_tags_does_not_hold_up_the_loop() -> None:
    started = time.perf_counter()
    failure(READ, 400, b"<" * 20_000)
    assert time.perf_counter() - started < 0.05


# Nothing that harms or betrays


def assert_fit_to_show(text: str) -> None:
    for character in text:
        assert unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}, repr(character)
    for secret in (JWT, JWT.split(".")[1], KEY, KEY[2:], SIGNATURE, SIGNATURE[2:], "opaque-t0ken"):
        assert secret not in text


HARMFUL = [
    "\x1b[2J\x1b[31mred\x07",
    "line\r\nforged: line",
    "\u202egnp.exe",
    "\u2066a\u2069",
    "zero\u200bwidth\ufeff",
    "\x00\x9b31m",
    "\u2028\u2029",
    "\ue000",
]


@every_effect
@pytest.mark.parametrize("text", HARMFUL, ids=ascii)
@pytest.mark.parametrize("status", [201, 302, 400, 429, 500])
def test_an_error_never_moves_a_cursor_nor_reorders_text(call: Request[Any], text: str, status: int) -> None:
    if (status, call) == (201, REPEATABLE):
        call = ONCE  # whose success must say more than a message
    for body in (nest(text), nest([text, {"constraints": {"min": text}}]), text.encode(), [text]):
        error = failure(call, status, body, "application/json" if not isinstance(body, bytes) else "text/plain")
        for shown in (str(error), error.body, *error.messages):
            assert_fit_to_show(shown)


@pytest.mark.parametrize("name", [*HARMFUL, JWT, KEY], ids=ascii)
def test_the_name_of_a_field_is_as_harmless_as_its_value(name: str) -> None:
    error = failure(ONCE, 201, {name: 1})
    for shown in (str(error), error.body):
        assert_fit_to_show(shown)


def test_the_names_of_fields_that_are_shown_are_few_and_short() -> None:
    assert len(str(failure(ONCE, 201, {f"field{n}": n for n in range(1000)}))) < 1_000


def test_a_long_name_of_a_field_is_clipped() -> None:
    assert len(str(failure(ONCE, 201, {"x" * 100_000: 1}))) < 2_000


@every_effect
@pytest.mark.parametrize("status", [201, 400, 500])
@pytest.mark.parametrize(
    "body",
    [
        nest(f"token {JWT} is expired"),
        nest([f"key {KEY} is not yours", f"signature {SIGNATURE} is wrong"]),
        nest(f"Bearer {JWT}"),
        {"accessToken": "opaque-t0ken", "message": "no"},
        {"access_token": "opaque-t0ken", "privateKey": KEY, "deep": {"signature": SIGNATURE}},
        {"message": "refresh_token=opaque-t0ken&x=1"},
        {"tokens": 1, "accessToken": ["first", "opaque-t0ken"], "signature": {"v": 27, "s": "opaque-t0ken"}},
        f"accessToken: opaque-t0ken, key={KEY[2:]}".encode(),
        b'{"accessToken":"opaque-t0ken',
    ],
    ids=repr,
)
def test_an_error_never_shows_a_key_a_token_or_a_signature(call: Request[Any], status: int, body: Any) -> None:
    if (status, call) == (201, REPEATABLE):
        call = ONCE  # whose success must say more than a message
    error = failure(call, status, body, "text/plain" if isinstance(body, bytes) else "application/json")
    for shown in (str(error), repr(error), error.body, *error.messages):
        assert_fit_to_show(shown)


def test_an_error_does_not_show_a_token_in_json_within_json() -> None:
    error = failure(READ, 400, {"message": 'got {"accessToken": "opaque-t0ken"}'})
    for shown in (str(error), error.body):
        assert_fit_to_show(shown)


@pytest.mark.parametrize("text", [f"key_{KEY[2:]}", f"{KEY}z", f"key{KEY[2:]}", f"{KEY}{JWT}"])
def test_an_error_does_not_show_a_key_that_is_glued_to_a_word(text: str) -> None:
    assert_fit_to_show(str(failure(READ, 400, nest(text))))


def test_json_with_its_secrets_blanked_out_is_still_json() -> None:
    body = {"amount": 1.5, "token": 'a\\b"c', "pin_secret": 5, "signature": ["x", "y"], "jwt": None, "note": "tokens"}
    blanked = {"token": "***", "pin_secret": "***", "signature": "***", "jwt": "***"}
    for text in (json.dumps(body), json.dumps(body, separators=(",", ":")), json.dumps(body, indent=1)):
        assert json.loads(redact(text)) == body | blanked
    assert redact("{'secret': 'x'}, token=y") == "{'secret': '***'}, token=***"


def test_an_error_does_not_show_an_opaque_bearer_token() -> None:
    assert_fit_to_show(str(failure(READ, 400, nest("bad header Authorization: Bearer opaque-t0ken"))))


def test_a_secret_across_the_cut_of_a_long_body_is_not_shown() -> None:
    for padding in range(380, 520, 7):
        error = failure(READ, 400, b" ".join([b"x" * padding, KEY.encode(), JWT.encode()]), "text/plain")
        for shown in (str(error), error.body, *error.messages):
            assert KEY[2:20] not in shown
            assert JWT[:30] not in shown


def test_a_reply_shows_its_size_and_not_its_body() -> None:
    assert repr(reply(READ, 200, {"accessToken": "opaque-t0ken"})) == "<Reply 200 to GET /user/profile (31 bytes)>"


def test_a_reply_shows_its_size_and_not_its_body_where_rich_shows_it() -> None:
    assert reply(READ, 200, {"accessToken": "opaque-t0ken"}).__rich_repr__() == [
        ("status", 200),
        ("request", READ),
        ("bytes", 31),
    ]


def test_a_reply_cannot_be_changed() -> None:
    answer = reply(READ, 500)
    with pytest.raises(AttributeError):
        answer.status = 200  # type: ignore[misc]


# How long to wait


def wait(date: str | None = None, **headers: str) -> float | None:
    """`retry_after` of a 429 with these headers."""
    given = {**headers, **({} if date is None else {"Date": date})}
    with pytest.raises(RateLimitedError) as raised:
        reply(READ, 429, nest("slow down", 429), **given).decode()
    return raised.value.retry_after


NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0.0), ("5", 5.0), ("1.5", 1.5), (" 7 ", 7.0), ("86400", 86_400.0)]
)
def test_seconds_to_wait_are_read(value: str, seconds: float) -> None:
    assert wait(Retry_After=value) == seconds


@pytest.mark.parametrize(
    "value", ["-1", "NaN", "nan", "inf", "-inf", "1e9", "86401", "", "soon", "5s", "0x5", "5,6", "1" * 400]
)
def test_what_is_not_sensible_is_ignored(value: str) -> None:
    assert wait(Retry_After=value) is None


def test_a_date_is_read_against_the_servers_own_clock() -> None:
    later = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    assert wait(date=format_datetime(NOW, usegmt=True), Retry_After=later) == 90.0


def test_a_date_that_is_over_means_now() -> None:
    earlier = format_datetime(NOW - timedelta(seconds=90), usegmt=True)
    assert wait(date=format_datetime(NOW, usegmt=True), Retry_After=earlier) == 0.0
    assert wait(Retry_After="Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


def test_a_date_is_read_against_our_clock_where_the_server_tells_no_time() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    seconds = wait(Retry_After=later)
    assert seconds is not None
    assert 85 < seconds <= 90


def test_a_clock_that_cannot_be_read_does_not_hide_the_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert wait(date="yesterday", Retry_After=later) is not None


def test_a_date_far_away_is_ignored() -> None:
    far = format_datetime(NOW + timedelta(days=30), usegmt=True)
    assert wait(date=format_datetime(NOW, usegmt=True), Retry_After=far) is None


def test_the_longest_of_suffixed_headers_counts() -> None:
    """NestJS's throttler names its header after the throttler that refused."""
    assert wait(Retry_After_short="3") == 3.0
    assert wait(retry_after_long="60", Retry_After_short="3", Retry_After="10") == 60.0
    assert wait(Retry_After_long="-1", Retry_After_short="3") == 3.0


@every_effect
def test_every_error_of_a_reply_says_how_long_to_wait(call: Request[Any]) -> None:
    for status in (400, 429, 500, 503):
        with pytest.raises(CallError) as raised:
            reply(call, status, nest("wait", status), Retry_After="4").decode()
        assert raised.value.retry_after == 4.0
    with pytest.raises(BuilderFeeError) as unknown:
        reply(call, 400, nest(BUILDER_FEE), Retry_After="4").decode()
    assert unknown.value.retry_after == 4.0


# Whatever comes

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["id", "message", "ok", "success", "data", "error", "status", "positions", "budget", "accessToken"]
            )
            | st.text(max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from([*CALLS.values(), TradingSessions.active.request(), TradingSessions.trade_logs.request("t")]),
    st.sampled_from([200, 201, 204, 301, 400, 401, 409, 429, 500, 503]),
    json_values.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from(["application/json", "text/plain", "text/html", ""]),
    st.integers(min_value=0, max_value=3),
)
@example(ONCE, 201, b'{"id": "s1", "budget": "1"}', "application/json", 0)
@example(ONCE, 201, b'{"id": ""}', "application/json", 1)
def test_every_reply_becomes_a_value_or_an_error_of_a_call(
    call: Request[Any], status: int, body: bytes, content_type: str, cut: int
) -> None:
    """And an order counts as rejected or done only where that is certain."""
    error: CallError | None = None
    try:
        reply(call, status, body[: len(body) - cut], content_type).decode()
    except CallError as raised:
        error = raised
    is_success = 200 <= status < 300
    if error is None:
        assert is_success
        return
    assert (error.method, error.path, error.status) == (call.method, call.path, status)
    assert (error.outcome is DONE) == isinstance(error, ShapeError)
    assert error.outcome is not NOT_SENT
    if error.outcome is REJECTED and call.route.effect is Effect.ONCE:
        assert status in (400, 401, 429) or isinstance(error, DuplicateAssetError)
    if error.outcome is DONE:
        assert is_success
    assert_fit_to_show(str(error))


# The tree of errors

CLASSES = {
    name: found for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, Exception)
}


def drawn_tree() -> dict[str, tuple[str, ...]]:
    """The parents of each class, as the drawing in the module's docstring has them."""
    parents: dict[str, tuple[str, ...]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+Error|AluraError)\b(?P<text>.*)", line)
        if not found:
            continue
        depth = len(found["branch"]) // 4
        assert len(found["branch"]) % 4 == 0, line
        del above[depth:]
        also = re.search(r"\((\w+Error)\)$", found["text"])
        parents[found["name"]] = tuple(filter(None, [above[-1] if above else "Exception", also and also[1]]))
        above.append(found["name"])
    return parents


def test_the_drawing_has_every_class_once_with_its_real_parents() -> None:
    real = {name: tuple(base.__name__ for base in found.__bases__) for name, found in CLASSES.items()}
    assert drawn_tree() == real
    drawing = errors.__doc__ or ""
    for name in real:
        assert len(re.findall(rf"─ {name}\b|^{name}\b", drawing, re.MULTILINE)) == 1, name


def test_everything_is_an_alura_error() -> None:
    assert len(CLASSES) > 25
    for found in CLASSES.values():
        assert issubclass(found, AluraError)


def test_a_handler_of_python_sees_what_it_knows() -> None:
    assert issubclass(errors.InvalidArgumentError, ValueError)
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(errors.CallTimeoutError, TimeoutError)
    assert issubclass(errors.WaitTimeoutError, TimeoutError)
    assert issubclass(errors.UsageError, RuntimeError)


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_can_be_copied_and_pickled_with_all_it_says(kind: type[AluraError], again: Any) -> None:
    """It may have to leave a worker process."""
    if issubclass(kind, CallError):
        facts: dict[str, Any] = {
            "method": "POST",
            "path": "/x",
            "status": 418,
            "messages": ("a", "b"),
            "retry_after": 1.5,
            "outcome": Outcome.DONE,
            "body": "{}",
        }
        if issubclass(kind, ShapeError):
            facts["raw"] = b"\xff"
        error: AluraError = kind("what happened", **facts)
    else:
        facts = {}
        error = kind("what happened")
    twin = again(error)
    assert type(twin) is kind
    assert str(twin) == "what happened"
    assert {name: getattr(twin, name) for name in facts} == facts
    assert vars(twin) == vars(error)


def test_an_error_of_which_nothing_is_known_is_unknown() -> None:
    error = CallError("what happened")
    assert (error.outcome, error.status, error.messages, error.retry_after) == (UNKNOWN, None, (), None)


def test_raw_json_of_a_reply_keeps_every_digit() -> None:
    from decimal import Decimal

    assert reply(READ, 200, b'{"a": 0.1000000000000000000001}').json() == {"a": Decimal("0.1000000000000000000001")}
    with pytest.raises(ShapeError) as raised:
        reply(READ, 200, b"<html>").json()
    assert raised.value.raw == b"<html>"
