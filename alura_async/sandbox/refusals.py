"""What the server refuses a request with, in the words of NestJS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec

DUPLICATE_ASSET = "Duplicate asset index: you already have an active trading session for this asset"
"""Documented verbatim."""

BUILDER_FEE_FAILED = "Builder fee approval failed: HTTP request failed: status 429"
"""Documented verbatim, without the status that carries it."""


class ErrorBody(msgspec.Struct, omit_defaults=True, rename="camel"):
    """The body of a refusal.

    Attributes:
        status_code: the status, once more.
        message: what is wrong; validation gives a list.
        error: the status in words; left out where NestJS leaves it out.
    """

    status_code: int
    message: str | list[str]
    error: str | None = None


class HttpError(Exception):
    """Ends a request with an error.

    Args:
        status: the HTTP status.
        message: the text, or the texts, of the body.
        plain: leave out `error`, as NestJS does for an exception without a text of its own.
        headers: headers of the reply.
    """

    def __init__(
        self,
        status: int,
        message: str | Sequence[str],
        *,
        plain: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = ErrorBody(
            status_code=status,
            message=message if isinstance(message, str) else list(message),
            error=None if plain else HTTPStatus(status).phrase,
        )
        self.headers = headers or {}


def bad_request(message: str) -> HttpError:
    """400 with one text."""
    return HttpError(400, message)


def unauthorized() -> HttpError:
    """401 as a guard gives it."""
    return HttpError(401, "Unauthorized", plain=True)


def not_found(message: str) -> HttpError:
    """404 with one text."""
    return HttpError(404, message)
