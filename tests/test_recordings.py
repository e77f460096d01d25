"""Every reply in `tests/recordings` is read, and nothing of it is lost: it is in a field, or in `.extra`.

A folder there is what `alura contract record` wrote, of a real server or, by `python -m tests.recordings`, of ours.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alura_async import CallError
from alura_async.contract import recordings
from alura_async.core.model import Model
from alura_async.core.outcome import Reply
from alura_async.secret import Secret

FOLDERS = sorted(path for path in (Path(__file__).parent / "recordings").iterdir() if any(path.glob("*.json")))
RECORDED = [pytest.param(reply, id=f"{folder.name}/{name}") for folder in FOLDERS for name, reply in recordings(folder)]


def leaves(value: Any) -> Iterator[Any]:
    """All that is in a value and is no container."""
    extra: Mapping[str, Any] = getattr(value, "extra", {})
    if isinstance(value, Model):
        for field in msgspec.structs.fields(value):
            if field.name != "_extra":
                yield from leaves(getattr(value, field.name))
    elif isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    elif value is not None:
        yield value
    for inner in extra.values():
        yield from leaves(inner)


def meanings(leaf: Any) -> set[Any]:
    """What a leaf may stand for: a number, a moment, a text."""
    if isinstance(leaf, bool):
        return {leaf, str(leaf).casefold()}
    if isinstance(leaf, Secret):
        leaf = leaf.reveal()
    if isinstance(leaf, enum.Enum):
        leaf = leaf.value
    if isinstance(leaf, datetime):
        return {("at", round(leaf.timestamp() * 1000))}
    found: set[Any] = {str(leaf).casefold()}
    try:
        number = Decimal(str(leaf))
        found |= {number.normalize(), ("at", round(number)), ("at", round(number * 1000))}
    except (InvalidOperation, OverflowError, ValueError):
        pass
    try:
        moment = datetime.fromisoformat(str(leaf))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        found.add(("at", round(moment.timestamp() * 1000)))
    except (ValueError, OverflowError):
        pass
    return found


def lost(body: Any, value: Any) -> list[Any]:
    """What a body has, and what was read of it has not, or not so often."""
    kept = Counter(meaning for leaf in leaves(value) for meaning in meanings(leaf))
    wanted = Counter(meaning for leaf in leaves(body) for meaning in meanings(leaf))
    # One meaning of a leaf is enough: text may look like a number, and a number like a time.
    return [leaf for leaf in leaves(body) if not any(kept[meaning] >= wanted[meaning] for meaning in meanings(leaf))]


def test_there_are_recordings_of_several_servers() -> None:
    assert len(FOLDERS) >= 2
    assert len(RECORDED) >= 20


@pytest.mark.parametrize("reply", RECORDED)
def test_a_recorded_reply_is_read_and_nothing_of_it_is_lost(reply: Reply[Any]) -> None:
    if not 200 <= reply.status < 300:
        with pytest.raises(CallError) as caught:
            reply.decode()
        assert caught.value.status == reply.status
        return
    assert lost(reply.json(), reply.decode()) == []


def test_what_is_lost_is_noticed() -> None:
    """The measure itself."""
    assert lost({"a": "1.50", "at": "2026-01-02T03:04:05Z", "b": None}, [Decimal("1.5"), 1767323045000]) == []
    assert lost({"a": "1.50", "b": [True, "x"]}, {"c": 1.5}) == [True, "x"]
    assert lost({"a": "x", "b": "x"}, ["x"]) == ["x", "x"]
