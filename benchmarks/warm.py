"""What the warm spare saves: a call that must not be made twice, over a link that takes its time.

`python -m benchmarks.warm`. The server is on loopback, behind TLS and a relay that holds every byte back for a while in
each direction. Each round makes one call of each kind, in an order drawn anew, and ratios are made within a round.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import ssl
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import trustme

from alura_async import Access, AsyncAlura, RateLimiter, Route

from .harness import machine, spread

READ: Route[dict[str, Any]] = Route("GET", "/read", dict, access=Access.PUBLIC)
CLOSE: Route[dict[str, Any]] = Route("POST", "/close", dict, access=Access.PUBLIC)
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection; none has a body."""
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(REPLY)
    except (asyncio.IncompleteReadError, OSError):
        writer.close()


class Relay:
    """Passes bytes on to a server, each piece as much later as the link is long.

    Args:
        port: the server's.
        delay_s: of one direction, in seconds.
    """

    def __init__(self, port: int, delay_s: float) -> None:
        self._port = port
        self._delay_s = delay_s

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection. Its opening takes a round trip, as anywhere."""
        onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self._port)
        # The system has accepted the client already, so what is saved there is paid here: the client's first bytes
        # are held back for the round trip that they would have waited for.
        await asyncio.gather(
            self._pass_on(reader, onward_writer, 3 * self._delay_s), self._pass_on(onward_reader, writer, self._delay_s)
        )

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first_s: float) -> None:
        loop = asyncio.get_running_loop()
        delay_s = first_s
        try:
            while data := await reader.read(65536):
                loop.call_later(delay_s, writer.write, data)
                delay_s = self._delay_s
        except OSError:
            pass
        loop.call_later(self._delay_s, writer.close)


async def measure(rounds: int, delay_s: float, seed: int) -> dict[str, list[float]]:
    """Milliseconds of each kind of call, by round."""
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    knows_it = ssl.create_default_context()
    authority.configure_trust(knows_it)
    chance = random.Random(seed)
    taken: dict[str, list[float]] = {"READ, kept alive": [], "ONCE, cold": [], "ONCE, warm": []}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_side))
        relay = Relay(server.sockets[0].getsockname()[1], delay_s)
        link = await stack.enter_async_context(await asyncio.start_server(relay.serve, "127.0.0.1", 0))
        url = f"https://127.0.0.1:{link.sockets[0].getsockname()[1]}"
        # What is on its way when the clients have closed.
        stack.push_async_callback(asyncio.sleep, 10 * delay_s)
        cold = await stack.enter_async_context(
            AsyncAlura(base_url=url, ssl_context=knows_it, limiter=RateLimiter.unlimited())
        )
        warm = await stack.enter_async_context(
            AsyncAlura(base_url=url, ssl_context=knows_it, limiter=RateLimiter.unlimited(), warm=True)
        )
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "READ, kept alive": lambda: cold.send(READ.request()),
            "ONCE, cold": lambda: cold.send(CLOSE.request()),
            "ONCE, warm": lambda: warm.send(CLOSE.request()),
        }
        for number in range(rounds + 1):
            # Everything is kept alive, and the spare has been made again.
            await asyncio.gather(cold.send(READ.request()), warm.send(READ.request()))
            await asyncio.sleep(10 * delay_s)
            for name, call in chance.sample(list(calls.items()), len(calls)):
                started = time.perf_counter()
                await call()
                # The first round opens and loads what the others find.
                if number:
                    taken[name].append((time.perf_counter() - started) * 1e3)
    return taken


def table(taken: dict[str, list[float]], delay_s: float) -> str:
    """The figures as text."""
    reference = taken["ONCE, cold"]
    lines = [f"a link of {delay_s * 1e3:g} ms each way, TLS 1.3, no body", ""]
    for name, values in taken.items():
        ms = spread(values)
        ratio = spread([value / other for value, other in zip(values, reference, strict=True)])
        lines.append(
            f"  {name:<18}{ms.median:8.1f} ms ({ms.low:.1f} – {ms.high:.1f})   × {ratio.median:.2f} of cold "
            f"({ratio.low:.2f} – {ratio.high:.2f})"
        )
    saved = statistics.median([cold - warm for cold, warm in zip(reference, taken["ONCE, warm"], strict=True)])
    return "\n".join([*lines, "", f"  a warm call saves {saved:.1f} ms: {saved / (2e3 * delay_s):.1f} round trips"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warm", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument("--delay", type=float, default=40.0, metavar="MS", help="of one direction")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    for fact, value in machine().items():
        print(f"{fact}: {value}")
    delay_s = chosen.delay / 1e3
    print("", table(asyncio.run(measure(chosen.rounds, delay_s, chosen.seed)), delay_s), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
