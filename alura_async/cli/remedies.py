"""What helps a store of candles that has a problem: command lines to copy, where the SDK names its calls."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.core import ParameterSource

from ..core.settings import TESTNET_URL
from ..errors import StoreError
from .failure import Failed
from .invocation import command_line
from .query import in_options

# What a repair has to be told as well, if this command was.
_PASSED_ON = ("base_url", "rate", "concurrency", "query")


def repair_line(store: Path) -> str:
    """The command line that pulls what is missing or damaged: of the same server, and no faster than this one may.

    Args:
        store: the store, as the user calls it.
    """
    context = click.get_current_context()
    options: list[str] = []
    for parameter in context.command.params:
        if parameter.name in _PASSED_ON and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            value = context.params[parameter.name]
            options += [parameter.opts[0], f"{value:g}" if isinstance(value, float) else str(value)]
    if "--base-url" not in options and (origin := _origin(store)) and not _is_asked(origin):
        options += ["--base-url", origin]
    return command_line("candles", "repair", str(store), *options)


def failed(error: StoreError, store: Path) -> Failed:
    """What a store could not do, with the command line that helps.

    Args:
        error: what the SDK says.
        store: the store, as the user calls it.
    """
    if error.remedy == "repair":
        return Failed(f"{error.problem}; this mends it: {repair_line(store)}")
    if error.remedy == "pull":
        return Failed(
            f"{error.problem}; this says how to pull candles into it: {command_line('candles', 'pull', '--help')}"
        )
    return Failed(in_options(error.problem))


def _origin(store: Path) -> str:
    """The server that a store's candles are of; nothing where that cannot be known."""
    from ..bulk.manifest import Manifest
    from ..bulk.store import as_folder

    try:
        with Manifest.to_read(as_folder(store)) as manifest:
            return manifest.origin
    except StoreError:
        return ""


def _is_asked(origin: str) -> bool:
    """Whether commands without `--base-url` ask this server."""
    return (os.environ.get("ALURA_BASE_URL") or TESTNET_URL).rstrip("/") == origin.rstrip("/")
