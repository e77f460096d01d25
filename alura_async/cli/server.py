"""The server of a command line: how it is named, and how what calls it is run."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import click

from ..client import AsyncAlura
from ..errors import AluraError, TransportError
from .failure import Failed
from .query import in_options

T = TypeVar("T")

base_url_option = click.option(
    "--base-url", metavar="URL", help="The server; by default ALURA_BASE_URL, or else the testnet's."
)


def client_of(base_url: str | None, **settings: Any) -> AsyncAlura:
    """A client of the server that an option names, or else the environment, from which it has its credentials, too.

    Args:
        base_url: the option's value.
        settings: more settings of the client.
    """
    return AsyncAlura.from_env(**({"base_url": base_url} if base_url else {}), **settings)


def call(work: Coroutine[Any, Any, T]) -> T:
    """Run what calls a server. What the SDK raises there is no finding, but a failure to look.

    Args:
        work: what calls it.
    """
    try:
        return asyncio.run(work)
    except AluraError as error:
        raise failure(error) from error


def failure(error: AluraError) -> Failed:
    """What the SDK raised, and what a user of the command line can do about it."""
    if isinstance(error, TransportError):
        return Failed(f"{error}; is the server up, and is it the right one? --base-url or ALURA_BASE_URL names it")
    return Failed(in_options(str(error)))
