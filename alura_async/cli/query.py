"""How a server of candles wants to be asked, as people type it: `--query start=from,end=to,unit=s`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click
import msgspec

from ..bulk.query import CandleQuery
from ..core.text import clip, printable
from ..errors import ConfigurationError

_NAMES = CandleQuery.__struct_fields__
_NOTHING = "none"
# What the SDK's errors tell to write in Python.
_IN_PYTHON = re.compile(r"CandleQuery\(([^()]*)\)")


class GivenQuery(NamedTuple):
    """What of a query is given on a command line.

    Attributes:
        values: the parts that are given, by name.
    """

    values: Mapping[str, Any]

    def over(self, known: CandleQuery | None) -> CandleQuery:
        """The whole of it.

        Args:
            known: where the parts are from that are not given; None for those that are assumed.

        Raises:
            click.BadParameter: they cannot be used together.
        """
        try:
            return CandleQuery(**{**(msgspec.structs.asdict(known) if known else {}), **self.values})
        except ConfigurationError as error:
            said = str(error).removeprefix("CandleQuery").lstrip(": ").replace("None", _NOTHING)
            raise click.BadParameter(f"{said}.", param_hint="'--query'") from None

    def __str__(self) -> str:
        """As it is typed."""
        return ",".join(f"{name}={_text(value)}" for name, value in self.values.items())


def _as_query(_context: click.Context, _option: click.Parameter, texts: Sequence[str]) -> GivenQuery | None:
    """The value of the option, which may be given several times, and has several values in each."""
    values: dict[str, Any] = {}
    for text in filter(None, (part.strip() for given in texts for part in given.split(","))):
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not value:
            raise click.BadParameter(f"{_quoted(text)}: write a name and a value, such as start=from.")
        if name not in _NAMES:
            raise click.BadParameter(f"{_quoted(name)} is none of {', '.join(_NAMES)}.")
        if name in values:
            raise click.BadParameter(f"{name} is there twice.")
        values[name] = _value(name, value)
    return GivenQuery(values) if values else None


def _value(name: str, text: str) -> str | int | None:
    if name == "most":
        return int(text) if text.isascii() and text.isdigit() else text
    return None if name in ("limit", "path") and text == _NOTHING else text


query_option = click.option(
    "--query",
    multiple=True,
    callback=_as_query,
    metavar="NAME=VALUE",
    help="Other parameters than the store remembers, or are assumed: start=from,unit=s.",
)
"""What stands where a command asks for candles of a range."""


def typed(query: CandleQuery) -> str:
    """The option's value that means a query."""
    assumed = CandleQuery()
    differs = [name for name in _NAMES if getattr(query, name) != getattr(assumed, name)]
    # One that is as assumed has to be told, too: a store may know another one.
    return ",".join(f"{name}={_text(getattr(query, name))}" for name in differs or _NAMES[:1])


def in_options(text: str) -> str:
    """What the SDK says, with the option to give where it names what to write in Python."""
    return _IN_PYTHON.sub(lambda found: f"--query {found[1].replace(', ', ',')}", text)


def _text(value: str | int | None) -> str:
    return _NOTHING if value is None else str(value)


def _quoted(text: str) -> str:
    return repr(clip(printable(text), 40))
