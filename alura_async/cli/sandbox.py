"""`alura sandbox`: the embedded server in the foreground, for everything that speaks HTTP."""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import shlex
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from ..core.settings import is_loopback
from ..core.text import clip, printable, redact

if TYPE_CHECKING:
    from ..sandbox import ReceivedRequest, Sandbox

_LONGEST_TARGET = 200
_MOST_WAITING = 1000
# How long whoever reads what it writes is waited for at the end.
_PATIENCE_S = 2.0
_IS_WINDOWS = os.name == "nt"


def _moment(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    """A point in time in ISO 8601; without a zone it is UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{printable(text)!r} is no time: write it like 2026-03-02T09:00Z.") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


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
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address it listens at. One that other machines can reach is taken with a warning.",
)
@click.option(
    "--start",
    callback=_moment,
    metavar="TIME",
    help="Where its clock starts, such as 2026-03-02T09:00Z; by default this machine's time.",
)
@click.option(
    "--shapes",
    metavar="NAME",
    default="canonical",
    show_default=True,
    help="How it answers; `--shapes help` lists the names.",
)
@click.option(
    "--faults",
    metavar="RULES",
    multiple=True,
    help="What goes wrong, such as '503 x2 on POST /trading-sessions' or '429|reset|hang 5%'; `--faults help` "
    "explains it.",
)
@click.option(
    "--lag", metavar="TIME", default="0s", show_default=True, help="From accepting a create or close to its effect."
)
def command(
    seed: int,
    speed: float,
    port: int,
    host: str,
    start: datetime | None,
    shapes: str,
    faults: Sequence[str],
    lag: str,
) -> None:
    """Run an Alura server in memory, for trying things out.

    It prints its address, a funded wallet to sign in with and a line for every request. While it runs it can be
    steered at /_sandbox: faults, clock, crashes of its market, the ledger of what it did. Nothing is kept: a stopped
    sandbox is gone.

    Ctrl-C or SIGTERM stops it, with exit code 0.
    """
    from ..sandbox import Conditions, Sandbox

    if shapes == "help" or "help" in faults:
        click.echo(_what_can_be_chosen(shapes, faults))
        return
    lines = _Lines()
    sandbox = Sandbox(
        seed=seed,
        speed=speed,
        start=start,
        port=port,
        host=host,
        # Who names such a host means it.
        allow_remote=True,
        shapes=shapes,
        faults=faults,
        conditions=Conditions(lag=lag),
        on_request=lambda request: lines.write(_line(request)),
    )
    if not is_loopback(host):
        click.secho("Warning: whoever can reach this machine can use this sandbox.", fg="yellow", err=True)
    try:
        asyncio.run(_serve(sandbox, host, lines))
    except ImportError as error:
        raise click.ClickException(printable(str(error))) from error
    except OSError as error:
        raise click.ClickException(_why_not(error, host, port)) from error
    lines.write("stopped")
    if not lines.finish():
        # Nobody reads, and Python would wait for that at its end.
        os._exit(0)


async def _serve(sandbox: Sandbox, host: str, lines: _Lines) -> None:
    """Serve until a signal comes, or nobody can read what is written any more."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def heard() -> None:
        loop.call_soon_threadsafe(stop.set)

    with _on_stop_signals(heard):
        async with sandbox:
            lines.write(_introduction(sandbox, host))
            lines.start(heard)
            await stop.wait()


class _Lines:
    """What is written, by a thread of its own: serving must not wait for whoever reads, or does not."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._missed = 0
        self._is_over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="alura-sandbox-lines", daemon=True)
        self._failure: OSError | None = None
        self._when_broken: Callable[[], object]

    def start(self, when_broken: Callable[[], object]) -> None:
        """Begin to write; when that fails, call something."""
        self._when_broken = when_broken
        self._thread.start()

    def write(self, text: str) -> None:
        """Write some text in its turn. Too much at once is only counted."""
        with self._changed:
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.append(text)
            else:
                self._missed += 1
            self._changed.notify()

    def finish(self) -> bool:
        """Write what waits; whether that came to an end in time.

        Raises:
            OSError: writing failed.
        """
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join(_PATIENCE_S)
        if self._failure is not None:
            raise self._failure
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (text := self._next()) is not None:
                click.echo(text)
        except OSError as error:
            self._failure = error
            self._when_broken()

    def _next(self) -> str | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._missed or self._is_over)
            if self._waiting:
                return self._waiting.popleft()
            missed, self._missed = self._missed, 0
            return f"({missed} lines are missing here: nobody read in time)" if missed else None


def _what_can_be_chosen(shapes: str, faults: Sequence[str]) -> str:
    """The names of shapes, or the words of faults, whichever was asked for."""
    from ..sandbox import PERSONALITIES, rules
    from ..sandbox import faults as words

    parts: list[str] = []
    if shapes == "help":
        widest = max(map(len, PERSONALITIES))
        parts.append("\n".join(f"{name:<{widest}}  {about}" for name, about in PERSONALITIES.items()))
    if "help" in faults:
        parts += [inspect.getdoc(rules) or "", inspect.getdoc(words) or ""]
    return "\n\n".join(parts)


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

Steer it (faults, clock, market, ledger; what there is: {url}/_sandbox):

curl -H "Content-Type: application/json" -d "{{\\"by\\": \\"1h\\"}}" {url}/_sandbox/clock/advance

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
    """When it arrived, what was answered, how long that took, what was asked, and what was made to go wrong."""
    status, took = request.status, request.duration_ms or 0.0
    target = request.path
    if request.query:
        target += "?" + "&".join(f"{name}={value}" for name, value in request.query.items())
    colour = "red" if status is None or status >= 500 else "green" if status < 400 else "yellow"
    columns = [
        click.style(f"{request.received_at.astimezone():%H:%M:%S}", dim=True),
        click.style("---" if status is None else f"{status}", fg=colour),
        click.style(f"{took:6.1f} ms", dim=True),
        f"{printable(request.method):<4}",
        clip(printable(redact(target)), _LONGEST_TARGET),
    ]
    if request.fault is not None:
        done = "executed" if request.executed else "not executed"
        columns.append(click.style(f"fault: {printable(request.fault)} ({done})", fg="magenta"))
    return "  ".join(columns)


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
