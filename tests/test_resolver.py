"""How names are looked up: by nobody else's leave, and what was found once stays known."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.resolver import ThreadedResolver

from alura_async import Access, AsyncAlura, NotSentError, Retry, Route, Timeouts
from alura_async.core import resolver
from alura_async.core.resolver import Resolver
from tests.certificates import certified
from tests.raw_server import RawServer

pytestmark = pytest.mark.anyio

READ: Route[dict[str, Any]] = Route("GET", "/read", dict, access=Access.PUBLIC)


class Names:
    """What the system says of names: 127.0.0.1, until it is told otherwise."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[str, int], list[str]] = lambda host, port: ["127.0.0.1"]

    def look_up(self, host: str, port: int, **hints: Any) -> list[Any]:
        self.asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port)) for found in self.answer(host, port)]


class Hanging:
    """A name server that does not answer until it is released."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked = threading.Semaphore(0)
        self.release = threading.Event()

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.release()
        self.release.wait(30)
        return self.addresses


def fail(host: str, port: int) -> list[str]:
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made.look_up)
    monkeypatch.setattr(resolver, "_FRESH_S", 0.0)
    # A port may have been another test's.
    monkeypatch.setattr(resolver, "_found", {})
    return made


@pytest.fixture
async def alura(raw: RawServer) -> AsyncIterator[AsyncAlura]:
    async with client(raw) as made:
        yield made


def client(raw: RawServer, scheme: str = "http", **settings: Any) -> AsyncAlura:
    return AsyncAlura(base_url=f"{scheme}://alura.test:{raw.port}", allow_http="alura.test", token="t0ken", **settings)


async def addresses(host: str, port: int = 80) -> list[str]:
    return [found["host"] for found in await Resolver(5).resolve(host, port, socket.AF_UNSPEC)]


@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
async def test_blocking_work_that_fills_asyncios_threads_holds_up_neither_a_close_nor_a_read(
    raw: RawServer, names: Names, is_warm: bool
) -> None:
    release, blocking = threading.Event(), threading.Event()

    def block() -> None:
        blocking.set()
        release.wait(30)

    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    theirs = [asyncio.create_task(asyncio.to_thread(block)) for _ in range(3)]
    try:
        async with client(raw, warm=is_warm, timeout=Timeouts(call=20, settle=0)) as alura:
            while not blocking.is_set():
                await asyncio.sleep(0)
            await alura.user.close_all_positions()
            await alura.send(READ.request())
    finally:
        release.set()
        await asyncio.gather(*theirs)
    assert [request.path for request in raw.received] == ["/user/close-all-positions", "/read"]


@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
async def test_a_name_that_cannot_be_looked_up_any_more_is_reached_where_it_last_was(
    raw: RawServer, names: Names, is_warm: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(raw, warm=is_warm) as alura:
        await alura.user.close_all_positions()
        names.answer = fail
        await alura.user.close_all_positions()
        await alura.user.close_all_positions()
    assert len(raw.received) == 3
    (said,) = [record.message for record in caplog.records if "the name alura.test cannot" in record.message]
    assert "Temporary failure in name resolution): its last address is used until it can" in said


async def test_a_name_server_that_does_not_answer_is_not_waited_for_and_its_answer_counts_when_it_comes(
    raw: RawServer, names: Names
) -> None:
    async with client(raw, timeout=Timeouts(connect=0.2)) as alura:
        await alura.user.close_all_positions()
        names.answer = hanging = Hanging("127.0.0.9")
        await alura.user.close_all_positions()
    assert len(raw.received) == 2
    hanging.release.set()
    while await addresses("alura.test", raw.port) != ["127.0.0.9"]:
        await asyncio.sleep(0.001)


async def test_a_name_that_was_never_found_fails_as_it_always_did(raw: RawServer, names: Names) -> None:
    names.answer = fail
    async with client(raw) as alura:
        for call in (alura.user.close_all_positions(), alura.send(READ.request())):
            with pytest.raises(NotSentError) as failed:
                await call
            assert isinstance(failed.value.__cause__, aiohttp.ClientConnectorDNSError)
    with pytest.raises(socket.gaierror):
        await addresses("alura.test", raw.port)
    assert raw.received == []


async def test_who_answers_at_the_last_address_still_has_to_be_the_one_that_is_named(names: Names) -> None:
    server_side, knows_it = certified("alura.test")
    async with RawServer(ssl=server_side) as raw, client(raw, "https", ssl_context=knows_it) as alura:
        await alura.user.close_all_positions()
        names.answer = fail
        await alura.user.close_all_positions()
        assert len(raw.received) == 2
    server_side, knows_it = certified("elsewhere.test")
    async with RawServer(ssl=server_side) as raw:
        names.answer = lambda host, port: ["127.0.0.1"]
        await addresses("alura.test", raw.port)
        names.answer = fail
        async with client(raw, "https", ssl_context=knows_it) as alura:
            with pytest.raises(NotSentError) as refused:
                await alura.user.close_all_positions()
        assert isinstance(refused.value.__cause__, aiohttp.ClientConnectorCertificateError)
        assert raw.received == []


async def test_those_who_ask_at_once_and_soon_after_ask_the_system_once(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "_FRESH_S", 10.0)
    names.answer = hanging = Hanging("127.0.0.1")
    asking = [asyncio.create_task(addresses("many.test")) for _ in range(100)]
    while not hanging.asked.acquire(blocking=False):
        await asyncio.sleep(0.001)
    for each in asking[:99]:
        each.cancel()
    hanging.release.set()
    assert await asking[99] == ["127.0.0.1"]
    assert await addresses("many.test") == ["127.0.0.1"]
    assert names.asked == ["many.test"]


async def test_look_ups_that_hang_are_left_behind_and_begun_anew_within_bounds(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "_HANGS_S", 0.0)
    hanging = Hanging("127.0.0.1")
    names.answer = lambda host, port: hanging(host, port) if host.startswith("hangs") else ["127.0.0.2"]
    asking: list[asyncio.Task[list[str]]] = []

    async def ask(host: str, times: int, begun: int) -> None:
        for number in range(times):
            asking.append(asyncio.create_task(addresses(host)))
            await asyncio.sleep(0)
            while number < begun and not hanging.asked.acquire(blocking=False):
                await asyncio.sleep(0.001)

    try:
        await ask("hangs.test", times=60, begun=48)
        assert await addresses("answers.test") == ["127.0.0.2"]
        await ask("hangs-too.test", times=30, begun=16)
        asking.append(late := asyncio.create_task(addresses("late.test")))
        await asyncio.sleep(0.02)
        assert not late.done()
        assert names.asked == ["hangs.test"] * 48 + ["answers.test"] + ["hangs-too.test"] * 16
        assert sum(thread.name == "alura-names" for thread in threading.enumerate()) == 64
    finally:
        hanging.release.set()
    assert await asyncio.gather(*asking) == [["127.0.0.1"]] * 90 + [["127.0.0.2"]]
    while "alura-names" in [thread.name for thread in threading.enumerate()]:
        await asyncio.sleep(0.001)
    assert await addresses("answers.test") == ["127.0.0.2"]


async def test_a_name_is_reached_as_soon_as_it_can_be_looked_up_whatever_still_hangs(
    raw: RawServer, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is remembered yet: as many look-ups hang as may be at work, three of them of the server's own name."""
    monkeypatch.setattr(resolver, "_HANGS_S", 0.1)
    names.answer = hanging = Hanging("127.0.0.1")
    others = [asyncio.create_task(addresses(f"hangs{number}.test")) for number in range(13)]
    try:
        async with client(raw, timeout=Timeouts(call=20, connect=0.15, settle=0), retry=Retry(attempts=1)) as alura:
            for _ in range(3):
                with pytest.raises(NotSentError):
                    await alura.user.close_all_positions()
            names.answer = lambda host, port: ["127.0.0.1"]
            await alura.user.close_all_positions()
    finally:
        hanging.release.set()
        await asyncio.gather(*others)
    assert len(raw.received) == 1


async def test_a_name_that_waits_for_a_thread_gets_one_when_those_at_work_hang(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = Hanging("127.0.0.1")
    names.answer = lambda host, port: hanging(host, port) if host.startswith("hangs") else ["127.0.0.2"]
    others = [asyncio.create_task(addresses(f"hangs{number}.test")) for number in range(16)]
    for _ in others:
        while not hanging.asked.acquire(blocking=False):
            await asyncio.sleep(0.001)
    try:
        waits = asyncio.create_task(addresses("answers.test"))
        await asyncio.sleep(0.02)
        assert "answers.test" not in names.asked
        monkeypatch.setattr(resolver, "_HANGS_S", 0.0)
        assert await addresses("answers.test") == await waits == ["127.0.0.2"]
        assert names.asked.count("answers.test") == 1
    finally:
        hanging.release.set()
        await asyncio.gather(*others)


async def test_more_names_than_threads_are_looked_up_one_after_another(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "_MOST_AT_WORK", 2)
    at_once: list[int] = []

    def count(host: str, port: int) -> list[str]:
        at_once.append(sum(thread.name == "alura-names" for thread in threading.enumerate()))
        return [f"127.0.0.{port}"]

    names.answer = count
    found = await asyncio.gather(*(addresses(f"n{number}.test", number) for number in range(1, 21)))
    assert found == [[f"127.0.0.{number}"] for number in range(1, 21)]
    assert max(at_once) <= 2


async def test_where_no_thread_can_be_started_it_is_an_error_like_any_other(
    raw: RawServer, alura: AsyncAlura, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(NotSentError, match="no thread can be started"):
            await alura.user.close_all_positions()
    await alura.user.close_all_positions()
    assert len(raw.received) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
@pytest.mark.parametrize("family", [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6], ids=str)
async def test_what_is_found_is_what_aiohttp_finds(host: str, family: socket.AddressFamily) -> None:
    async def found(each: Resolver | ThreadedResolver) -> Any:
        try:
            return await each.resolve(host, 4711, family)
        except socket.gaierror as error:
            return error.errno

    assert await found(Resolver(5)) == await found(ThreadedResolver())


async def test_the_link_of_an_address_that_needs_one_belongs_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def look_up(host: str, port: int, **hints: Any) -> list[Any]:
        asked.append(hints)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", port, 0, 1)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (10, b"")),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
        ]

    async def found_by_loop(host: str, port: int, **hints: Any) -> list[Any]:
        return look_up(host, port, **hints)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found_by_loop)
    found = await Resolver(5).resolve("link.test", 80, socket.AF_UNSPEC)
    assert found == await ThreadedResolver().resolve("link.test", 80, socket.AF_UNSPEC)
    assert found[0]["host"].startswith("fe80::1%")
    assert [each["host"] for each in found[1:]] == ["::1"]
    ours, theirs = asked
    assert ours == theirs


def test_a_look_up_that_hangs_keeps_no_process_from_ending_and_no_forked_child_waiting() -> None:
    code = """
import asyncio, os, signal, socket, threading, warnings
from alura_async.core import resolver
from alura_async.core.resolver import Resolver
warnings.simplefilter("ignore")
resolver._FRESH_S = 0

asked = threading.Semaphore(0)
is_child = False

def look_up(host, port, **hints):
    asked.release()
    if host == "hangs.test" and not is_child:
        threading.Event().wait()
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

socket.getaddrinfo = look_up

async def ask(host):
    return [found["host"] for found in await Resolver(5).resolve(host, 80)]

async def main():
    global is_child
    print(await ask("alura.test"))
    asked.acquire()
    hanging = asyncio.create_task(ask("hangs.test"))
    while not asked.acquire(blocking=False):
        await asyncio.sleep(0)
    if hasattr(os, "fork"):
        # As if a thread held it, which the child does not have.
        resolver._lock.acquire()
        pid = os.fork()
        is_child = pid == 0
        if is_child:
            signal.alarm(20)
            asyncio._set_running_loop(None)
            try:
                assert asyncio.run(ask("alura.test")) == asyncio.run(ask("hangs.test")) == ["127.0.0.1"]
                os._exit(7)
            finally:
                os._exit(1)
        resolver._lock.release()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    hanging.cancel()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parent.parent,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "['127.0.0.1']\n", "")
