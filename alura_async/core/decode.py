"""From bytes to a response type.

A body of exactly the expected shape is decoded at msgspec's own speed. Another one is read without a type and fitted:
what the type does not name is kept in `.extra`, at every level, and nothing is invented. What cannot be fitted is a
`MismatchError`, which says where and why.
"""

from __future__ import annotations

import sys
import types
from decimal import Decimal
from itertools import accumulate
from typing import Any, Union, get_args, get_origin

import msgspec

from ..secret import Secret
from .model import Model
from .text import shown


class MismatchError(Exception):
    """A body does not fit a type. The text says where, what was expected and what came."""


def decoder(returns: Any) -> msgspec.json.Decoder[Any]:
    """Make a decoder of exactly this type; make it once and keep it."""
    # Where a type says nothing about a number it must still keep its digits.
    return msgspec.json.Decoder(returns, dec_hook=_decode_hook, float_hook=_number)


# What msgspec raises besides its own error: invalid UTF-8, thousands of brackets, numbers no Decimal can hold.
NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)


# Deeper than this is no reply that means anything.
_MAX_DEPTH = 500


def require_shallow(body: bytes) -> None:
    """Refuse brackets within brackets by the thousand, where Python itself would not.

    Some libraries set the recursion limit so high (py_ecc, which eth-account imports: 100,000) that decoding a few
    kilobytes of brackets overflows the stack and ends the process.

    Raises:
        RecursionError: too deep.
    """
    if sys.getrecursionlimit() <= _SAFE_RECURSION_LIMIT or len(body) <= _MAX_DEPTH:
        return
    brackets = body.translate(None, _NO_BRACKETS)
    if len(brackets) > _MAX_DEPTH and max(accumulate(map(_STEPS.__getitem__, brackets))) > _MAX_DEPTH:
        raise RecursionError("the body is nested too deeply")


_SAFE_RECURSION_LIMIT = 5_000
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - _STEPS.keys())


def parse(body: bytes) -> Any:
    """JSON as plain values, numbers with a fraction as `Decimal`.

    Raises:
        msgspec.DecodeError: not valid JSON.
    """
    try:
        require_shallow(body)
        return _untyped.decode(body)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"{type(error).__name__}: {error}") from None


def _number(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except ArithmeticError:
        return text  # such as 1e99999999999999999999: nothing can hold it, and it must not be lost


_untyped = msgspec.json.Decoder(float_hook=_number)


def fit(value: Any, returns: Any, path: str = "$") -> Any:
    """Make a plain value into a type, keeping unknown fields in `.extra`.

    Raises:
        MismatchError: it does not fit.
    """
    origin = get_origin(returns)
    if origin in (Union, types.UnionType):
        return _fit_union(value, get_args(returns), path)
    if origin is list and isinstance(value, list):
        (item,) = get_args(returns)
        return [fit(element, item, f"{path}[{index}]") for index, element in enumerate(value)]
    struct = origin or returns
    if isinstance(struct, type) and issubclass(struct, Model):
        return _fit_model(value, returns, struct, path)
    try:
        return msgspec.convert(value, returns, dec_hook=_decode_hook)
    except (msgspec.ValidationError, ArithmeticError) as error:
        if isinstance(value, Decimal):
            # A type that wants a float or an open number does not know Decimal.
            return fit(float(value), returns, path)
        raise MismatchError(f"at {path}: {error}") from None


def _fit_union(value: Any, members: tuple[Any, ...], path: str) -> Any:
    if value is None and type(None) in members:
        return None
    others = [member for member in members if member is not type(None)]
    if len(others) == 1:
        return fit(value, others[0], path)
    try:
        return msgspec.convert(float(value) if isinstance(value, Decimal) else value, Union[tuple(others)])  # noqa: UP007
    except msgspec.ValidationError as error:
        raise MismatchError(f"at {path}: {error}") from None


def _fit_model(value: Any, returns: Any, struct: type[Model], path: str) -> Model:
    if not isinstance(value, dict):
        raise MismatchError(f"at {path}: expected a {struct.__name__}, got {_kind(value)}")
    fields = {field.encode_name: field for field in msgspec.structs.fields(returns)}
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, item in value.items():
        field = fields.get(name)
        if field is None or field.name == "_extra":
            extra[name] = item
        elif item is None and not field.required:
            continue  # null is as good as absent
        else:
            fitted = fit(item, field.type, f"{path}.{name}")
            if isinstance(fitted, Decimal) and not fitted.is_finite():
                extra[name] = item
            else:
                known[field.name] = fitted
    missing = [field.encode_name for field in fields.values() if field.required and field.name not in known]
    if missing:
        raise MismatchError(f"at {path}: a {struct.__name__} without {', '.join(missing)}; it has {_names(value)}")
    if extra and not known:
        raise MismatchError(
            f"at {path}: expected a {struct.__name__}, and nothing of it is there; it has {_names(value)}"
        )
    return struct(**known, _extra=extra or None)


def _decode_hook(wanted: type, value: Any) -> Any:
    if wanted is Secret and isinstance(value, str):
        return Secret(value)
    raise msgspec.ValidationError(f"Expected `{wanted.__name__}`, got {_kind(value)}")


def _names(value: dict[str, Any]) -> str:
    names = [shown(name, 40) for name in list(value)[:12]]
    return ", ".join(names) + (", …" if len(value) > 12 else "") if names else "nothing"


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
