"""`alura.journal`: on both surfaces, with arguments that are checked and a text that helps."""

from __future__ import annotations

import asyncio
import inspect
import pydoc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from alura_async import (
    InvalidArgumentError,
    Journal,
    JournalError,
    Outcome,
    SettledBy,
    TradingSessions,
    UnresolvedError,
)
from alura_async.core.entries import intent
from alura_async.core.file_intents import FileIntents
from alura_async.core.intents import Intents, MemoryIntents
from alura_async.core.surface import Async, Sync

CREATE = TradingSessions.create.request(budget=100, profit_target=40, asset="BTC")


class AwaitedClient:
    """What the journal needs of the client that is awaited."""

    def __init__(self, intents: Intents) -> None:
        self._intents = intents

    def __repr__(self) -> str:
        return "<a client>"


class BlockingClient:
    """What a group needs of the blocking client."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._portal.start_task_soon(lambda: function(*args, **kwargs)).result()

    def __repr__(self) -> str:
        return "<a blocking client>"


def awaited(intents: Intents) -> Journal[Async]:
    client: Any = AwaitedClient(intents)
    return Journal(client)


@pytest.fixture(params=["memory", "file"])
def intents(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Intents]:
    made: Intents = MemoryIntents() if request.param == "memory" else FileIntents(tmp_path / "journal")
    yield made
    asyncio.run(made.close())


@pytest.fixture
def journal(intents: Intents) -> Iterator[Journal[Sync]]:
    with start_blocking_portal("asyncio") as portal:
        client: Any = BlockingClient(portal)
        yield Journal(client, awaited(intents))


def lost(intents: Intents) -> str:
    """A create whose reply was lost; its id."""
    entry = intent(CREATE, host="api.example.com", account="0xab", within_s=10)
    asyncio.run(intents.write(entry, blocks=True))
    intents.conclude(entry.id, Outcome.UNKNOWN, SettledBy.REPLY, detail="no complete reply came")
    return entry.id


def test_a_lost_call_is_listed_settled_and_then_made_again(intents: Intents, journal: Journal[Sync]) -> None:
    entry_id = lost(intents)
    (entry,) = journal.unresolved()
    assert (entry.id, entry.outcome, entry.path) == (entry_id, Outcome.UNKNOWN, "/trading-sessions")
    with pytest.raises(UnresolvedError, match=f'journal.settle\\("{entry_id}", "done"\\)'):
        lost(intents)
    settled = journal.settle(entry_id[:6], "rejected", note="no such session")
    assert (settled.outcome, settled.settled_by) == (Outcome.REJECTED, SettledBy.HAND)
    assert settled.detail == "no complete reply came; note: no such session"
    assert journal.unresolved() == []
    assert journal.entries(limit=1) == [settled]
    lost(intents)


def test_both_surfaces_read_the_same(intents: Intents, journal: Journal[Sync]) -> None:
    lost(intents)

    async def read() -> Any:
        ours = awaited(intents)
        return await ours.entries(), await ours.unresolved()

    assert asyncio.run(read()) == (journal.entries(), journal.unresolved())


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.REJECTED, Outcome.NOT_SENT, "done", "rejected", "not_sent"])
def test_an_outcome_may_be_given_as_text(intents: Intents, journal: Journal[Sync], outcome: Outcome | str) -> None:
    assert journal.settle(lost(intents), outcome).outcome == outcome


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, "unknown", "DONE", "", None, True])
def test_another_outcome_is_refused(intents: Intents, journal: Journal[Sync], outcome: Any) -> None:
    entry_id = lost(intents)
    with pytest.raises(InvalidArgumentError, match="give 'done' if it was carried out"):
        journal.settle(entry_id, outcome)
    assert [entry.id for entry in journal.unresolved()] == [entry_id]


def test_a_note_is_text(intents: Intents, journal: Journal[Sync]) -> None:
    with pytest.raises(InvalidArgumentError, match="note=5"):
        journal.settle(lost(intents), "done", note=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, None, "10", 2**63])
def test_a_limit_is_a_whole_number_above_0(journal: Journal[Sync], limit: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="limit="):
        journal.entries(limit=limit)


def test_a_journal_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    broken = FileIntents(tmp_path)

    async def read() -> None:
        await awaited(broken).unresolved()

    with pytest.raises(JournalError, match="is a folder: give the path of a file"):
        asyncio.run(read())
    asyncio.run(broken.close())


def test_help_shows_what_can_be_called(journal: Journal[Sync]) -> None:
    shown = pydoc.plain(pydoc.render_doc(journal))
    for text in ("settle", "unresolved", "UnresolvedError", "alura journal PATH"):
        assert text in shown
    signature = inspect.signature(journal.settle)
    assert str(signature) == "(entry_id: 'str', outcome: 'Outcome | str', *, note: 'str' = '') -> 'JournalEntry'"
    assert inspect.iscoroutinefunction(awaited(MemoryIntents()).settle)
