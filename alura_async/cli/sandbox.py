"""`alura sandbox`: the embedded server in the foreground, for everything that speaks HTTP."""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from ..core.settings import is_loopback
from ..core.text import clip, printable, redact

if TYPE_CHECKING:
    from ..sandbox import ReceivedRequest, Sandbox

_LONGEST_TARGET = 200
_IS_WINDOWS = os.name == "nt"


@click.command("sandbox")
@click.option("--seed", default=0, show_default=True, help="Another number is another market.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Seconds that pass on its clock in a real one; 0 stops it.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8787,
    show_default=True,
    help="Where it listens; 0 takes a free one.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address it listens at.")
@click.option("--allow-remote", is_flag=True, help="Allow a host that other machines can reach.")
def command(seed: int, speed: float, port: int, host: str, allow_remote: bool) -> None:
    """Run an Alura server in memory, for trying things out.

    It prints its address, a wallet to sign in with and a line for every request. Nothing is kept: a stopped sandbox
    is gone.

    Ctrl-C or SIGTERM stops it, with exit code 0.
    """
    if not is_loopback(host):
        if not allow_remote:
            raise click.UsageError(
                f"--host {printable(host)} can be reached by other machines, and so could the sandbox: "
                "add --allow-remote if that is meant"
            )
        click.secho("Warning: whoever can reach this machine can use this sandbox.", fg="yellow", err=True)
    from ..sandbox import Sandbox

    answered: asyncio.Queue[ReceivedRequest | None] = asyncio.Queue()
    sandbox = Sandbox(
        seed=seed, speed=speed, port=port, host=host, allow_remote=allow_remote, on_request=answered.put_nowait
    )
    try:
        asyncio.run(_serve(sandbox, host, answered))
    except ImportError as error:
        raise click.ClickException(printable(str(error))) from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        raise click.ClickException(_why_not(error, host, port)) from error
    click.echo("stopped")


async def _serve(sandbox: Sandbox, host: str, answered: asyncio.Queue[ReceivedRequest | None]) -> None:
    """Serve and write a line for every request that was answered, until a signal puts None among them."""
    loop = asyncio.get_running_loop()
    with _on_stop_signals(lambda: loop.call_soon_threadsafe(answered.put_nowait, None)):
        async with sandbox:
            click.echo(_introduction(sandbox, host))
            while (request := await answered.get()) is not None:
                click.echo(_line(request))
        # Answered while it stopped.
        while not answered.empty():
            if (request := answered.get_nowait()) is not None:
                click.echo(_line(request))


@contextmanager
def _on_stop_signals(stop: Callable[[], object]) -> Generator[None]:
    """Call something at Ctrl-C and SIGTERM, instead of ending in the middle of whatever is going on."""

    def heard(number: int, frame: object) -> None:
        stop()

    before: dict[int, Any] = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _introduction(sandbox: Sandbox, host: str) -> str:
    """What to do with it. What can be copied stands at the beginning of its line, and on one line."""
    everywhere = _is_everywhere(host)
    url = _callable(sandbox.url) if everywhere else sandbox.url
    where = click.style(url, bold=True) + (", and at every address of this machine" if everywhere else "")
    plain_http = "" if is_loopback(host) or everywhere else f', allow_http=["{host}"]'
    # Nothing else in this project shows a key.
    key = sandbox.wallet()
    return f"""\
Alura sandbox at {where}
What it serves is described at {url}/api/docs

Ask it:

curl "{url}/api/indicators/candles/BTC/1h?limit=3"

Sign in, with a wallet that is funded here. Its key is worthless: anyone can compute it.
For programs that read the environment, by `from_env({plain_http.removeprefix(", ")})`:

{_as_environment(url, key)}

Or in Python:

base_url = "{url}"
wallet = "{key}"
from alura_async import Alura
print(Alura(wallet, base_url=base_url{plain_http}).user.profile())

Ctrl-C stops it. Requests:
"""


def _as_environment(url: str, key: str) -> str:
    """The line that sets the variables, in the language of this system's shell."""
    variables = {"ALURA_BASE_URL": url, "ALURA_PRIVATE_KEY": key}
    if _IS_WINDOWS:
        return "; ".join(f'$env:{name} = "{value}"' for name, value in variables.items())
    return "export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())


def _line(request: ReceivedRequest) -> str:
    """When it arrived, what was answered, how long that took, and what was asked."""
    status, took = request.status or 0, request.duration_ms or 0.0
    target = request.path
    if request.query:
        target += "?" + "&".join(f"{name}={value}" for name, value in request.query.items())
    colour = "green" if status < 400 else "yellow" if status < 500 else "red"
    return "  ".join(
        (
            click.style(f"{request.received_at.astimezone():%H:%M:%S}", dim=True),
            click.style(f"{status}", fg=colour),
            click.style(f"{took:6.1f} ms", dim=True),
            f"{printable(request.method):<4}",
            clip(printable(redact(target)), _LONGEST_TARGET),
        )
    )


def _why_not(error: OSError, host: str, port: int) -> str:
    """Why it cannot listen, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {printable(host)} is taken: choose another with --port, or 0 for a free one"
    return f"cannot listen at port {port} of {printable(host)}: {printable(error.strerror or str(error))}"


def _callable(url: str) -> str:
    """The address by which this machine reaches what listens at all its addresses."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _is_everywhere(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
