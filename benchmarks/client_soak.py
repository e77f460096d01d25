"""Soaks the client: under mixed load with faults of all kinds memory stays flat, and the server's ledger agrees.

`python -m benchmarks.client_soak [seconds] [--creates 4]`, by default 600 seconds. The client runs in a process of its
own, a sandbox in another; this one asks the sandbox's control endpoint what was executed, and in the end compares three
accounts of every call that must not be made twice: what the user was told, what the journal kept, what the server did.
Needs Linux, which tells what a process takes up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

from alura_async import AsyncAlura, JournalEntry, Outcome, SettledBy
from alura_async.core.request import Action
from alura_async.sandbox import LedgerEntry
from alura_async.sandbox.ledger import ReceivedRequest

from .harness import Cores, environment, machine
from .sandbox_server import LARGE_BLOCKS_APART, SandboxProcess, Setup
from .soaked_client import Flat, Order, Sample, Told

RATE = 210.0
"""Requests a second that the limiter lets through. 200 are to arrive, and of those that a fault meets some never do."""

CREATES = 0.3
"""Percent of the calls that create a session: one in two seconds, which is more than any bot does."""

FAULTY = 10
"""Percent of the requests that meet a fault."""

MOST_GROWTH = 2 << 20
"""Bytes that resident memory may grow by after the warm-up."""

CONNECTIONS_BY_CHANCE = 5
"""How many more may be open at the quietest moment of one half than at that of the other. One of five thousand calls
that left its connection open would be eight more in ten minutes."""

MOST_MORE = {"blocks": 0.02, "descriptors": 0.1, "tasks": 0.1, "threads": 0.0}
"""By which share the rest may grow after the warm-up; what comes and goes with the calls under way is never still."""

WARM_UP = 0.3
"""Share of the time after which nothing may grow: 3 minutes of 10."""

_SAMPLE_EVERY_S = 5.0
_POLL_EVERY_S = 2.0
_POLLED = 5000
_ROOT = Path(__file__).resolve().parent.parent
# Longer than any delay below: what a caller gave up on may still be executed.
_GRACE_S = 3.0
_ID_DIGITS = 32

# Left out is what no client can see through: a complete, clean refusal of what was executed all the same, and a
# complete success of what was not.
FAULTS = (
    "500|500-after|502|502-after|503|503-after|504-after|503=later,Retry-After:1|429|"
    "429=slow,Retry-After:1|400|401|403|404|409|409-after|422|redirect=http://127.0.0.1:9/x,307|"
    "redirect-after=http://127.0.0.1:9/x|builder-fee=502|builder-fee-after=400|headers=X-Cache:stale|"
    "delay=100ms|delay=800ms|delay-after=100ms|delay-after=800ms|hang-early|hang|hang-after|reset-early|"
    "reset|reset-after|close-early|close|close-after|truncate|truncate-before|truncate=0%|"
    "truncate=50%,unannounced|truncate=headers|truncate=status-line|truncate=50%,reset|garbage|"
    "garbage-before|malformed=bare-html|malformed=chunk-size|malformed=length-and-chunked|"
    "malformed=long-header|malformed=nul|malformed=two-lengths|malformed-before=two-lengths|length=-6|"
    "length=20|unfinished|unfinished-before|invalid-json|html|html-after=200|html=502|empty|bad-gzip|"
    "short-gzip|bomb=8MiB|drip=64,2ms|stray|stray=20ms|idle-close|idle-close=20ms"
)


class Server:
    """What the sandbox says of itself, gathered as it goes: it forgets.

    Args:
        url: the sandbox's.
    """

    def __init__(self, url: str) -> None:
        self.ledger: list[LedgerEntry] = []
        self._url = url
        self._requests: dict[tuple[str, str, datetime], ReceivedRequest] = {}

    @property
    def requests(self) -> Iterable[ReceivedRequest]:
        """All requests that arrived, each as it was last seen."""
        return self._requests.values()

    def look(self) -> None:
        """Take what is new."""
        more = True
        while more:
            after = self.ledger[-1].number if self.ledger else 0
            page = self._read(f"/ledger?after={after}&limit={_POLLED}", _Page)
            if page.entries and page.entries[0].number != after + 1:
                raise RuntimeError("the sandbox's ledger was asked too late")
            self.ledger += page.entries
            more = page.more
        seen = self._read(f"/requests?limit={_POLLED}", _Requests).requests
        known = [(request.request_id or "", request.path, request.received_at) for request in seen]
        if self._requests and not any(key in self._requests for key in known):
            raise RuntimeError("the sandbox's record of requests was asked too late")
        self._requests |= dict(zip(known, seen, strict=True))

    def _read(self, target: str, kind: type[Any]) -> Any:
        with urllib.request.urlopen(f"{self._url}/_sandbox{target}", timeout=30) as response:
            return msgspec.json.decode(response.read(), type=kind)


class _Page(msgspec.Struct):
    entries: list[LedgerEntry]
    more: bool


class _Requests(msgspec.Struct):
    requests: list[ReceivedRequest]


class Audit:
    """Compares what the user was told, what the journal kept and what the server did.

    Args:
        told: what the user was told.
        journal: all entries.
        ledger: all changes of the server's state.
        requests: all requests that arrived.
    """

    def __init__(
        self,
        told: Sequence[Told | Flat],
        journal: Sequence[JournalEntry],
        ledger: Sequence[LedgerEntry],
        requests: Iterable[ReceivedRequest],
    ) -> None:
        self._told = [each for each in told if isinstance(each, Told)]
        self._flats = [each for each in told if isinstance(each, Flat)]
        self._journal = journal
        self._ledger = ledger
        self._received: dict[str, list[ReceivedRequest]] = defaultdict(list)
        self._executed: Counter[str] = Counter()
        self.requests = self.faulty = 0
        for request in requests:
            self.requests += 1
            self.faulty += request.fault is not None
            if request.request_id is not None:
                self._received[request.request_id[:_ID_DIGITS]].append(request)
        self.disagreements: list[str] = []
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Compare everything; `disagreements` and `counts` are the result."""
        self._journal_and_server()
        self._server_and_journal()
        self._user_and_journal()
        self._flat()

    def _journal_and_server(self) -> None:
        """What the journal says of a call is what the server did."""
        created = {_money(entry.detail["budget"]): entry for entry in self._ledger if entry.kind == "session_created"}
        moved: Counter[str] = Counter(
            _money(entry.detail["amount"]) for entry in self._ledger if entry.kind in ("withdrawn", "usdc_sent")
        )
        for entry in self._journal:
            executed = sum(request.executed for request in self._received[entry.id])
            self.counts[f"journal: {entry.action.value} {entry.outcome.value if entry.outcome else 'open'}"] += 1
            self._expect(entry.outcome is not None, entry, "was never concluded")
            if entry.outcome in (Outcome.NOT_SENT, Outcome.REJECTED):
                self._expect(executed == 0, entry, f"was executed {executed} times")
            if entry.action is Action.CLOSE:
                if entry.outcome is Outcome.DONE and not executed:
                    self.counts["closed by somebody else before"] += 1
                    self._expect(entry.settled_by is SettledBy.READING, entry, "was never executed")
                    self._expect(self._is_closed(entry), entry, "was never executed, and what it closes is open")
                self._expect(executed <= 3, entry, f"was executed {executed} times")
                continue
            self._expect(executed <= 1, entry, f"was executed {executed} times")
            if entry.outcome is Outcome.DONE:
                self._expect(executed == 1, entry, f"was executed {executed} times")
            if entry.action is Action.TRANSFER:
                amount = _money(json.loads(entry.body, parse_float=str, parse_int=str)["amount"])
                self._expect(moved[amount] == executed, entry, f"moved money {moved[amount]} times")
            if entry.action is Action.OPEN:
                body = json.loads(entry.body, parse_float=str, parse_int=str)
                made = created.get(_money(body.get("budget", body.get("amount"))))
                self._expect((made is not None) == (executed == 1), entry, "and the sessions do not agree")
                if entry.outcome is Outcome.DONE and made is not None:
                    session = made.detail["session_id"]
                    # A success without a body is one, and names nothing.
                    is_named = entry.result_id is not None or entry.settled_by is not SettledBy.REPLY
                    self.counts["done, and not named by the reply"] += not is_named
                    self._expect(not is_named or entry.result_id == session, entry, f"created {session}")
                    self._expect(entry.account == made.account.lower(), entry, f"is of {made.account}")

    def _server_and_journal(self) -> None:
        """What the server did was written down before, and every execution is in the ledger."""
        known = {entry.id for entry in self._journal}
        executed: Counter[str] = Counter()
        for call_id, requests in self._received.items():
            if not any(request.executed for request in requests):
                continue
            sign_in = all(request.path.startswith("/auth/") for request in requests)
            if call_id not in known and not sign_in:
                self.disagreements.append(f"{requests[0].method} {requests[0].path} was executed without an entry")
            for request in requests:
                if request.executed and not sign_in:
                    executed[_operation(request)] += 1
        ledger = Counter(entry.operation for entry in self._ledger if entry.operation in set(executed))
        if ledger != executed:
            self.disagreements.append(f"the ledger has {ledger}, the requests {executed}")
        self.counts["executed, and in the ledger"] = executed.total()

    def _user_and_journal(self) -> None:
        """What the user was told is what the journal says."""
        by_id = {entry.id: entry for entry in self._journal}
        kept: dict[tuple[str, str, str, str], Counter[Outcome | None]] = defaultdict(Counter)
        for entry in self._journal:
            kept[_key(entry)][entry.outcome] += 1
        told: dict[tuple[str, str, str, str], Counter[Outcome | None]] = defaultdict(Counter)
        results = {(_key(entry), entry.result_id) for entry in self._journal}
        for each in self._told:
            self.counts[f"told: {each.outcome.value if each.outcome else 'cancelled'}"] += 1
            told[_key(each)][each.outcome] += 1
            known = by_id.get(each.call_id)
            if each.call_id and (known is None or known.outcome is not each.outcome):
                self.disagreements.append(f"{each} is {known} in the journal")
            if each.result_id is not None and (_key(each), each.result_id) not in results:
                self.disagreements.append(f"{each} has another result in the journal")
        for key, outcomes in told.items():
            # What was cancelled may have become anything; what was not sent need not have come as far as the journal.
            for outcome in (Outcome.DONE, Outcome.REJECTED, Outcome.UNKNOWN):
                fewer = kept[key][outcome] < outcomes[outcome]
                # A flatten makes closes of its own.
                more = kept[key][outcome] > outcomes[outcome] + outcomes[None] and "close" not in key[2]
                if fewer or more:
                    self.disagreements.append(f"{key}: told {outcomes}, in the journal {kept[key]}")

    def _flat(self) -> None:
        """After a `flatten()` that returned, nothing is open that was opened before it began."""
        ends = {session: entry.time for entry in self._ledger for session in entry.detail.get("closed_sessions", ())}
        for flat in self._flats:
            self.counts["flat" if flat.ended is not None else "not flat in time"] += 1
            if flat.ended is None:
                continue
            began, ended = (datetime.fromtimestamp(at, UTC) for at in (flat.began, flat.ended))
            for entry in self._ledger:
                if entry.kind == "session_created" and entry.account.lower() == flat.account and entry.time < began:
                    end = ends.get(entry.detail["session_id"])
                    # The sandbox's clock began at this machine's, in whole milliseconds.
                    if end is None or end > ended + timedelta(seconds=0.1):
                        self.disagreements.append(f"{flat}: {entry.detail['session_id']} was open")

    def _is_closed(self, entry: JournalEntry) -> bool:
        """Whether what a close was for was closed when the journal says so."""
        target = entry.path.split("/")[-2]
        by = (entry.settled_at or entry.created_at) + timedelta(seconds=0.1)
        if "/trades/" in entry.path:
            return any(
                target in (*each.detail.get("trade_ids", ()), each.detail.get("trade_id"))
                for each in self._ledger
                if each.detail.get("closed_sessions") and each.time <= by
            )
        asset = json.loads(entry.body)["assetIndex"] if entry.body else None
        ended = {
            session for each in self._ledger if each.time <= by for session in each.detail.get("closed_sessions", ())
        }
        return all(
            each.detail["session_id"] in ended
            for each in self._ledger
            if each.kind == "session_created"
            and each.account.lower() == entry.account
            and each.time < entry.created_at
            and asset in (None, each.detail["asset_index"])
        )

    def _expect(self, holds: bool, entry: JournalEntry, but: str) -> None:
        if not holds:
            how = f"{entry.outcome}, by {entry.settled_by}"
            self.disagreements.append(f"{entry.method} {entry.path} {entry.body} ({entry.id}, {how}) {but}")


def _key(call: JournalEntry | Told) -> tuple[str, str, str, str]:
    body = json.loads(call.body, parse_float=str, parse_int=str) if call.body else None
    return call.account, call.method, call.path, json.dumps(body, sort_keys=True)


def _money(amount: Any) -> str:
    return f"{float(amount):.6f}"


def _operation(request: ReceivedRequest) -> str:
    """Method and path template, as the ledger has it."""
    segments = request.path.split("/")
    if segments[1:3] == ["trading-sessions", "trades"]:
        segments[3] = ":tradeId"
    if segments[1:3] == ["trading-sessions", "positions"]:
        segments[3] = ":positionId"
    return f"{request.method} {'/'.join(segments)}"


def verdict(samples: Sequence[Sample], seconds: float) -> list[str]:
    """What is not flat.

    Args:
        samples: what was seen, in order.
        seconds: how long it lasted.
    """
    later = [sample for sample in samples if sample.at_s >= seconds * WARM_UP]
    # A sample more or less is chance, so the middle of some of them is compared, at both ends.
    part = max(1, len(later) // 7)

    def ends(of: Callable[[Sample], float]) -> tuple[float, float]:
        first, last = (statistics.median(map(of, some)) for some in (later[:part], later[-part:]))
        return first, last

    found: list[str] = []
    first, last = ends(lambda sample: sample.resident)
    if last - first > MOST_GROWTH:
        found.append(f"resident memory grew by {(last - first) / 2**20:.1f} MiB after the warm-up")
    for name, share in MOST_MORE.items():
        first, last = ends(attrgetter(name))
        if name == "descriptors":
            # Connections come in flocks, the bigger the slower the machine is. But where some are never closed, there
            # are never again as few as there were.
            half = max(1, len(later) // 2)
            first, last = (min(sample.descriptors for sample in some) for some in (later[:half], later[-half:]))
            first += CONNECTIONS_BY_CHANCE
        if last > first * (1 + share):
            found.append(f"{name}: {last:,.0f} at the end, {first:,.0f} after the warm-up")
    return found


async def soak(order: Order, server: Server) -> list[Sample]:
    """Run the client's process, and gather what the server did meanwhile.

    Raises:
        RuntimeError: the client's process failed.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"{__package__}.soaked_client", msgspec.json.encode(order).decode()),
        cwd=_ROOT,
        env={**environment(), **LARGE_BLOCKS_APART},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    samples: list[Sample] = []

    async def look() -> None:
        while True:
            await asyncio.sleep(_POLL_EVERY_S)
            await asyncio.to_thread(server.look)

    looking = asyncio.create_task(look())
    try:
        async for line in process.stdout:
            samples.append(msgspec.json.decode(line, type=Sample))
            print(_row(samples[-1]), flush=True)
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        looking.cancel()
        await asyncio.wait([looking])
    if not looking.cancelled():
        looking.result()
    if code:
        raise RuntimeError(f"the client's process ended with code {code}")
    await asyncio.sleep(_GRACE_S)
    server.look()
    return samples


def _pace(requests: Iterable[ReceivedRequest], seconds: float) -> float:
    """How many requests a second arrived while the load lasted; some more come while the last calls end."""
    times = [request.received_at for request in requests]
    until = min(times) + timedelta(seconds=seconds)
    return sum(time <= until for time in times) / seconds


_HEAD = f"{'':>9}{'calls':>10}{'MiB':>9}{'blocks':>10}{'descriptors':>13}{'tasks':>7}{'threads':>9}"


def _row(sample: Sample) -> str:
    resident = f"{sample.resident / 2**20:.1f}"
    return (
        f"{sample.at_s:>7.0f} s{sample.calls:>10,}{resident:>9}{sample.blocks:>10,}{sample.descriptors:>13}"
        f"{sample.tasks:>7}{sample.threads:>9}"
    )


async def _entries(journal: str) -> list[JournalEntry]:
    async with AsyncAlura(journal=journal) as alura:
        return await alura.journal.entries(limit=10**7)


def _told(path: Path) -> Iterator[Told | Flat]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield (
                msgspec.json.decode(line, type=Flat)
                if '"type":"Flat"' in line
                else msgspec.json.decode(line, type=Told)
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak, print a table, and give 1 if something is not flat or does not agree."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client_soak", description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=600, help="how long; by default 600")
    parser.add_argument(
        "--creates", type=float, default=CREATES, help=f"how many of a hundred calls create a session; {CREATES}"
    )
    options = parser.parse_args(arguments)
    seconds: float = options.seconds
    creates: float = options.creates
    if sys.platform != "linux":
        parser.error("only Linux tells what a process takes up")
    if seconds < 30:
        parser.error("seconds: at least 30, or nothing can be seen")
    if not 0 <= creates <= 50:
        parser.error("--creates: from 0 to 50")
    cores = Cores.of_this_machine()
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    settings = " ".join(f"{name}={value}" for name, value in LARGE_BLOCKS_APART.items())
    kinds = FAULTS.count("|") + 1
    print(f"{RATE:.0f} requests a second, {creates:g} % creates, {FAULTY} % faults of {kinds} kinds, tokens of 20 s")
    print(settings)
    print(_HEAD, flush=True)
    setup = Setup(
        cores=cores.server,
        limit=None,
        faults=f"{FAULTS} {FAULTY}%",
        funds=10**9,
        token_lifetime=20.0,
    )
    with tempfile.TemporaryDirectory() as folder, SandboxProcess(setup) as process:
        order = Order(
            url=process.url,
            seconds=seconds,
            rate=RATE,
            creates=creates,
            sample_every=min(_SAMPLE_EVERY_S, seconds / 12),
            journal=f"{folder}/journal",
            told=f"{folder}/told",
            cores=cores.one,
        )
        server = Server(process.url)
        samples = asyncio.run(soak(order, server))
        audit = Audit(
            list(_told(Path(order.told))), asyncio.run(_entries(order.journal)), server.ledger, server.requests
        )
        audit.run()
    pace = _pace(server.requests, seconds)
    print(f"{audit.requests:,} requests, {pace:.0f} a second, {audit.faulty / audit.requests:.1%} faulty")
    for name, value in sorted(audit.counts.items()):
        print(f"  {name}: {value:,}")
    problems = verdict(samples, seconds)
    for problem in problems:
        print(f"NOT FLAT: {problem}")
    for disagreement in audit.disagreements[:50]:
        print(f"DISAGREES: {disagreement}")
    if not problems and not audit.disagreements:
        print("flat, and all agree")
    return 1 if problems or audit.disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
