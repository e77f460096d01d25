"""Making a JSON value into a response type, by the type's own annotations.

Each type has a reader, made once. It tells by names how surely a value is one of its type (`probe`), so that what is
wrapped can be found (`unwrap.py`), and reads it (`read`): the fields whose names (`names.py`) and values (`scalars.py`)
fit, in whatever spelling and form; all the rest goes into `.extra`.

A list may come as a list, as a map, as columns or as a single object; an object as a list of one, as a bare array or
as a single value, where its type says what these stand for.
"""

from __future__ import annotations

import functools
import types
from datetime import datetime
from decimal import Decimal
from typing import Any, Union, get_args, get_origin

import msgspec

from ..secret import Secret
from . import scalars
from .lists import ListReader, MapReader
from .model import Asked, Items, Milliseconds, Model, OpenEnum, Time, WireNumber, Word
from .objects import ObjectReader
from .reader import Reader
from .scalars import MismatchError, Read, kind_of


@functools.cache
def reader_of(annotation: Any) -> Reader | Read:
    """What reads values of a type: a reader of objects and lists, or a function for anything else."""
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin = get_origin(annotation)
    plain = origin or annotation
    if origin in (Union, types.UnionType):
        others = [member for member in get_args(annotation) if member is not types.NoneType]
        if len(others) == 1:
            # Whoever has one that may be absent does not ask for it then.
            return reader_of(others[0])
    elif origin in (list, Items):
        return ListReader(reader_of(get_args(annotation)[0]))
    elif origin is dict and get_args(annotation)[0] is str:
        return MapReader(reader_of(get_args(annotation)[1]))
    elif isinstance(plain, type) and issubclass(plain, Model):
        return ObjectReader(annotation, reader_of)
    elif isinstance(plain, type) and issubclass(plain, OpenEnum):
        return scalars.read_enum(plain)
    return converting(annotation)


def _same(value: Any) -> Any:
    return value


def converting(annotation: Any) -> Read:
    """What reads a type that is not ours, as msgspec does."""

    def read(value: Any) -> Any:
        try:
            return msgspec.convert(value, annotation, dec_hook=decode_hook)
        except (msgspec.ValidationError, ArithmeticError) as error:
            if isinstance(value, Decimal):
                # A type that wants a float or an open number does not know Decimal.
                return read(float(value))
            raise MismatchError(str(error)) from None

    return read


def decode_hook(wanted: type, value: Any) -> Any:
    """Make the types that msgspec does not know."""
    if wanted is Secret and isinstance(value, str):
        return Secret(value)
    raise msgspec.ValidationError(f"Expected `{wanted.__name__}`, got {kind_of(value)}")


_SCALARS: dict[Any, Read] = {
    Any: _same,
    str: scalars.read_text,
    int: scalars.read_whole,
    float: scalars.read_float,
    bool: scalars.read_flag,
    Decimal: scalars.read_amount,
    datetime: scalars.read_time,
    Time: scalars.read_time,
    Milliseconds: scalars.read_milliseconds,
    WireNumber: scalars.read_wire_number,
    Asked: scalars.read_text,
    Word: scalars.read_word,
    Secret: scalars.read_secret,
}
