"""JSON as the server speaks it: camelCase, amounts as strings, times in ISO 8601 with a Z."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from ..core.decode import NOT_DECODED, require_shallow
from ..secret import Secret
from .refusals import HttpError

T = TypeVar("T")


class Present(list[T]):
    """A list that is sent even when it is empty: the SDK's types leave out a plain one, as what is there by default."""


class Plain(Decimal):
    """A number that may be very small, and is still written without an exponent."""


def _reveal(value: object) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Plain):
        return f"{value:f}"
    raise TypeError(f"a {type(value).__name__} is not part of any reply")


_ENCODER = msgspec.json.Encoder(enc_hook=_reveal)
# A float would lose digits of an amount.
_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)

encode = _ENCODER.encode


def decode_body(body: bytes, content_type: str) -> dict[str, Any]:
    """The fields of a request's body.

    Raises:
        HttpError: the body is not a JSON object.
    """
    # What is not announced as JSON is not read, so that validation then misses its fields: body-parser does so too.
    if not body.strip() or content_type != "application/json":
        return {}
    try:
        require_shallow(body)
        return _DECODER.decode(body)
    except msgspec.ValidationError:
        raise HttpError(400, "Unexpected token in JSON at position 0") from None
    except NOT_DECODED:
        raise HttpError(400, "Unexpected token in JSON") from None
