"""A sandbox in a process of its own, for the load and the soak: it prints its URL, then answers the lines it is sent.

`advance <seconds>` moves its clock, `report` prints what it takes up. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from alura_async.sandbox import LedgerEntry, Sandbox

from .contest import stay_on
from .harness import environment

_ROOT = Path(__file__).resolve().parent.parent


class Report(msgspec.Struct, frozen=True):
    """What the server takes up.

    Attributes:
        cpu_s: processor time so far.
        resident: resident memory in bytes; 0 where the system does not tell.
        descriptors: open file descriptors; 0 where the system does not tell.
        executed: changes of state so far, by kind.
    """

    cpu_s: float
    resident: int
    descriptors: int
    executed: dict[str, int]


class Setup(msgspec.Struct, frozen=True):
    """What the sandbox is like, and where it runs.

    Attributes:
        cores: the processor cores that its process stays on; none for all.
        limit: calls of one endpoint by one client in a window; None throttles nobody.
        faults: what goes wrong from the beginning, as text.
        funds: USDC that every account begins with.
        token_lifetime: seconds that a token is valid; None for the sandbox's own.
    """

    cores: Sequence[int] = ()
    limit: int | None = 1_000_000
    faults: str = ""
    funds: int = 10_000
    token_lifetime: float | None = None


# asyncio receives into blocks of 256 KiB, which it takes and gives back for every read. In glibc's heap, small blocks
# settle in the holes between them, and the heap grows by a MiB or two a minute under a heavy load though what is in use
# does not: that is the allocator's, not ours, and it is kept out of what is measured.
LARGE_BLOCKS_APART = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""Environment of a process whose memory is watched."""


_USUAL = Setup()


class SandboxProcess:
    """That process, as a context manager.

    Args:
        setup: what it is like; by default it throttles, generously.
    """

    def __init__(self, setup: Setup = _USUAL) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.sandbox_server", msgspec.json.encode(setup).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env={**environment(), **LARGE_BLOCKS_APART},
            text=True,
        )
        self.url = self._read()

    def advance(self, seconds: float) -> None:
        """Move its clock."""
        self._write(f"advance {seconds}")
        self._read()

    def report(self) -> Report:
        """What it takes up now."""
        self._write("report")
        return msgspec.json.decode(self._read(), type=Report)

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError("the sandbox's process is gone")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class _Tally:
    """Counts what the ledger says, and survives that the ledger forgets."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._last = 0

    def count(self, entries: list[LedgerEntry]) -> dict[str, int]:
        for entry in entries:
            if entry.number > self._last:
                self._last = entry.number
                self._counts[entry.kind] = self._counts.get(entry.kind, 0) + 1
        return self._counts


def _report(tally: dict[str, int]) -> Report:
    resident = descriptors = 0
    if sys.platform == "linux":
        pages = Path("/proc/self/statm").read_text().split()[1]
        resident = int(pages) * os.sysconf("SC_PAGE_SIZE")
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return Report(time.process_time(), resident, descriptors, tally)


async def serve(setup: Setup) -> None:
    """Serve until standard input ends."""
    tally = _Tally()
    async with Sandbox(seed=7, limit=setup.limit, faults=setup.faults, funds=setup.funds) as sandbox:
        if setup.token_lifetime is not None:
            sandbox.token_lifetime = setup.token_lifetime
        print(sandbox.url, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command, *values = line.split()
            if command == "advance":
                sandbox.advance(seconds=float(values[0]))
                print("done", flush=True)
            else:
                print(msgspec.json.encode(_report(tally.count(sandbox.ledger))).decode(), flush=True)


def main() -> None:
    """Serve the sandbox that the argument describes."""
    setup = msgspec.json.decode(sys.argv[1], type=Setup)
    stay_on(setup.cores)
    asyncio.run(serve(setup))


if __name__ == "__main__":
    main()
