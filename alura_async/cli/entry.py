"""The command line from its arguments to its exit code: which commands there are, and how they end."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from importlib import import_module

import click

from .._start import INTERRUPTED
from .._version import __version__
from ..core.text import printable
from ..errors import AluraError
from .invocation import command_line, program

COMMANDS = {"demo": "demo", "sandbox": "sandbox", "journal": "journal", "contract": "contract", "candles": "candles"}
"""Every command and the module here that holds it. A module is imported when its command is asked for."""


class Commands(click.Group):
    """Finds commands by `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order in which a newcomer wants them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f".{COMMANDS[cmd_name]}", __package__)
        command: click.Command = module.command
        return command


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    # As it is: a command that is broken into lines cannot be copied.
    epilog=f"\b\nNew here? Run: {command_line('demo')}",
)
@click.version_option(__version__, "-V", "--version", prog_name="alura", message="%(prog)s %(version)s")
def alura() -> None:
    """A client of the Alura trading backend, on the command line.

    demo, sandbox and journal need no account, no key and no network: the first two bring a server of their own, journal
    reads a file. contract and candles read from the real server, and change nothing there.
    """


def run(args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        args: the arguments, by default the process's.
    """
    try:
        # Without standalone mode, click returns the code of `--help` and `--version`, and a command's own result.
        code = alura.main(args, prog_name=program(), standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        # It has been heard. A second Ctrl-C, while the interpreter shuts down, would show as a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        click.echo("alura: interrupted", err=True)
        return INTERRUPTED
    except AluraError as error:
        # Some point at the place of a mistake, in lines of their own.
        click.echo("alura: " + "\n".join(map(printable, str(error).split("\n"))), err=True)
        return 1
    return code if isinstance(code, int) else 0
