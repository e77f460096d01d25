"""Looks host names up in threads of its own, and remembers what it found: no name server keeps anybody in a position.

asyncio looks names up in a pool that the user's own blocking work may fill, and then nothing gets out until that is
done. Here every look-up has a thread that nobody else uses. Of a name that was found once, the last address is used
where a look-up fails or takes its time; TLS checks whether it is still that server's.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from aiohttp.abc import AbstractResolver, ResolveResult

from .log import logger
from .text import printable

# As long as aiohttp keeps what it found.
_FRESH_S = 10.0
# For how long a new answer is waited for where there is an old one.
_MOST_PATIENCE_S = 1.0
# A look-up that takes longer may never end: whoever asks then begins another, in a thread besides.
_HANGS_S = 5.0
# At work, hanging ones not counted; in all; and for one name, so that it leaves threads for others.
_MOST_AT_WORK = 16
_MOST_THREADS = 64
_MOST_OF_ONE_NAME = 48
_MOST_NAMES = 1000

_FLAGS = socket.AI_ADDRCONFIG & getattr(socket, "AI_MASK", -1)
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Resolver(AbstractResolver):
    """Gives aiohttp the addresses of a name, in the order that the system gives them.

    What is found is known to all clients of the process, and to its forked children.

    A look-up cannot be ended from outside. One that hangs is left behind after five seconds, and whoever asks for the
    name from then on begins another. That has an end: of one name 48 look-ups may hang, of all together 64. A name that
    was never found can then not be had until one of them ends, which takes the system's own resolver a minute or so.

    Args:
        connect_s: seconds for connecting, of which a look-up may take half where an address is remembered.
    """

    def __init__(self, connect_s: float) -> None:
        self._patience_s = min(_MOST_PATIENCE_S, connect_s / 2)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Look a name up.

        Raises:
            OSError: it has no address, or none can be had, and none is remembered.
        """
        name = _Name(host, port, family)
        found = _found.get(name)
        if found is not None and time.monotonic() - found.at < _FRESH_S:
            return found.addresses
        try:
            async with asyncio.timeout(None if found is None else self._patience_s):
                return await asyncio.wrap_future(_ask(name))
        except Exception as error:
            if found is None:
                raise
            if not found.is_doubted:
                found.is_doubted = True
                logger.warning(
                    "the name %s cannot be looked up now (%s): its last address is used until it can",
                    printable(host),
                    "no answer in time" if isinstance(error, TimeoutError) else printable(str(error)),
                )
            return found.addresses

    async def close(self) -> None:
        """Do nothing: threads end by themselves."""


class _Name(NamedTuple):
    host: str
    port: int
    family: int


class _Found:
    """What a name was last found to be."""

    def __init__(self, addresses: list[ResolveResult], *, is_doubted: bool) -> None:
        self.addresses = addresses
        self.at = time.monotonic()
        # Whether it was said that it is used in place of a new one: once, until one comes in time.
        self.is_doubted = is_doubted


class _Lookup:
    """One question to the system."""

    def __init__(self, name: _Name) -> None:
        self.name = name
        # None while it waits for a thread.
        self.began: float | None = None
        self.future: Future[list[ResolveResult]] = Future()
        # Nobody who stops waiting cancels it: others may wait, too, and the next one profits.
        self.future.set_running_or_notify_cancel()

    def run(self) -> None:
        """Look the name up, however long that takes."""
        self.began = began = time.monotonic()
        try:
            addresses = _look_up(self.name)
        except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            _end(self)
            self.future.set_exception(error)
        else:
            if addresses:
                was_slow = time.monotonic() - began > _MOST_PATIENCE_S
                before = _found.pop(self.name, None)
                _found[self.name] = _Found(addresses, is_doubted=was_slow and before is not None and before.is_doubted)
            _end(self)
            self.future.set_result(addresses)

    @property
    def hangs(self) -> bool:
        """Whether it has begun, and may never end."""
        return self.began is not None and time.monotonic() - self.began >= _HANGS_S


_found: dict[_Name, _Found] = {}
_lock = threading.Lock()
_under_way: dict[_Name, list[_Lookup]] = {}
_waiting: deque[_Lookup] = deque()
_threads = 0


def _ask(name: _Name) -> Future[list[ResolveResult]]:
    """What a look-up will find: one that has just begun or is about to, or a new one."""
    global _threads  # noqa: PLW0603 - there is one process
    with _lock:
        under_way = _under_way.setdefault(name, [])
        if under_way and (len(under_way) >= _MOST_OF_ONE_NAME or not under_way[-1].hangs):
            lookup = under_way[-1]
        else:
            lookup = _Lookup(name)
            under_way.append(lookup)
            _waiting.append(lookup)
        # Also for one that waits since before those at work began to hang.
        if not _waiting or _threads >= _MOST_THREADS or _at_work() >= _MOST_AT_WORK:
            return lookup.future
        _threads += 1
    try:
        # A daemon: a look-up that hangs does not keep a process from ending.
        threading.Thread(target=_work, name="alura-names", daemon=True).start()
    except RuntimeError:
        # The system gives no thread now. asyncio would have none either.
        with _lock:
            _threads -= 1
            if lookup not in _waiting:
                return lookup.future  # one that runs has it already
            _waiting.remove(lookup)
        _end(lookup)
        lookup.future.set_exception(
            OSError(errno.EAGAIN, f"no thread can be started to look {printable(name.host)} up")
        )
    return lookup.future


def _work() -> None:
    """Look up whatever waits."""
    global _threads  # noqa: PLW0603 - there is one process
    while True:
        with _lock:
            # It counts itself. One that has hung finds its place taken.
            if not _waiting or _at_work() > _MOST_AT_WORK:
                _threads -= 1
                return
            lookup = _waiting.popleft()
        lookup.run()


def _at_work() -> int:
    """How many threads do not hang. The lock is held."""
    return _threads - sum(lookup.hangs for lookups in _under_way.values() for lookup in lookups)


def _end(lookup: _Lookup) -> None:
    with _lock:
        under_way = _under_way.get(lookup.name, [])
        if lookup in under_way:
            under_way.remove(lookup)
        if not under_way:
            _under_way.pop(lookup.name, None)
        while len(_found) > _MOST_NAMES:
            del _found[next(iter(_found))]


def _look_up(name: _Name) -> list[ResolveResult]:
    """What aiohttp's own resolver gives."""
    ask = partial(socket.getaddrinfo, name.host, name.port, type=socket.SOCK_STREAM, family=name.family)
    try:
        infos = ask(flags=_FLAGS)
    except socket.gaierror:
        # Without a network, Windows knows no localhost among the addresses that are set up.
        if sys.platform != "win32" or name.host.rstrip(".").casefold() != "localhost":
            raise
        infos = ask(flags=0)
    results: list[ResolveResult] = []
    for family, _, proto, _, address in infos:
        if family == socket.AF_INET6 and len(address) < 4:
            continue  # this Python was built without IPv6
        host, port = str(address[0]), int(address[1])
        if len(address) == 4 and address[3]:
            # An address of one link: the link belongs to it.
            host, service = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
            port = int(service)
        results.append(
            ResolveResult(hostname=name.host, host=host, port=port, family=family, proto=proto, flags=_NUMERIC)
        )
    return results


def _begin_anew() -> None:
    """In a forked child: the threads are the parent's, and what they look up never comes here."""
    global _lock, _threads  # noqa: PLW0603 - it may be held by nobody
    _lock = threading.Lock()
    _threads = 0
    _under_way.clear()
    _waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
