"""No money appears or vanishes, and nothing depends on who looks when: over any history of calls and clock moves.

`nox -s property` takes many more histories.
"""

from __future__ import annotations

import os
from collections import defaultdict
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alura_async.sandbox.records import ZERO

from .history import DEPOSITS, HISTORIES, Action, History, told

EXAMPLES = int(os.environ.get("ALURA_PROPERTY_EXAMPLES", "25"))
any_history = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
seeds = st.integers(0, 3)


@any_history
@given(actions=HISTORIES, seed=seeds)
def test_money_is_conserved_to_the_last_digit(actions: list[Action], seed: int) -> None:
    history = History(actions, seed=seed)
    check(history)
    # What is open ends at last, and then it must all be there again.
    for user in range(3):
        history.call(user, "POST", "/user/close-all-positions")
    history.sandbox.advance(days=400)
    check(history)
    balances = history.sandbox.balances
    for address in history.addresses:
        for session in history.world.accounts[address.lower()].active.values():
            # A close that failed, of a quick trade whose limits were not reached.
            assert session.plan.strategy_duration is None
        if not history.world.accounts[address.lower()].active:
            assert balances[f"{address} margin"] == 0


@any_history
@given(actions=HISTORIES, seed=seeds, pieces=st.integers(2, 7))
def test_the_ledger_does_not_depend_on_when_somebody_looks(actions: list[Action], seed: int, pieces: int) -> None:
    jumped, walked = History(actions, seed=seed), History(actions, seed=seed, pieces=pieces)
    assert jumped.sandbox.ledger == walked.sandbox.ledger
    assert jumped.sandbox.balances == walked.sandbox.balances


@any_history
@given(actions=HISTORIES)
def test_what_is_forgotten_changes_nothing_else(actions: list[Action]) -> None:
    # As few as there can be while all deposits are still known: one that was forgotten would be credited again.
    whole, short = History(actions), History(actions, kept=10 * DEPOSITS)
    assert short.sandbox.ledger == whole.sandbox.ledger[-10 * DEPOSITS :]
    assert short.sandbox.balances == whole.sandbox.balances
    closed = [session for session in short.world.trades.values() if not session.is_open]
    assert len(closed) <= DEPOSITS


def check(history: History) -> None:
    sandbox, world = history.sandbox, history.world
    ledger, balances = sandbox.ledger, sandbox.balances
    assert sum(balances.values()) == 0
    outside = {"market", "insurance", "rewards", "chain", "grants"}
    assert all(amount >= 0 for name, amount in balances.items() if name not in outside)
    numbers = [entry.number for entry in ledger]
    assert numbers == list(range(1, len(ledger) + 1))
    assert [entry.time for entry in ledger] == sorted(entry.time for entry in ledger)
    assert all(entry.cause is None or (entry.cause < entry.number and not entry.operation) for entry in ledger)
    by_position: dict[str | None, Decimal] = defaultdict(Decimal)
    for address in history.addresses:
        account = world.accounts[address.lower()]
        assert balances[address] + balances[f"{address} margin"] == told(ledger, address)
        held = [position for session in account.active.values() for position in session.open_positions]
        reserved = [session.reserve for session in account.active.values()]
        reserved += [position.reserve for position in held]
        assert balances[f"{address} margin"] == sum((position.margin for position in held), ZERO) + sum(reserved, ZERO)
        assert all(position.margin > 0 and position.size > 0 for position in held)
        assert all(position.is_open or not position.reserve for _, position in world.positions.values())
        for fill in account.fills:
            by_position[fill.position_id] += (fill.realized_pnl or ZERO) - (fill.fee or ZERO)
        # Below that some fills were forgotten.
        if account.filled == len(account.fills):
            for session in account.sessions.values():
                assert session.realized_pnl == sum((by_position[position.id] for position in session.positions), ZERO)
        assert account.realized_pnl == sum((session.realized_pnl for session in account.sessions.values()), ZERO)
        assert account.realized_pnl == sum(
            (entry.detail.get("realized_pnl", ZERO) for entry in ledger if entry.account == address), ZERO
        )
    ends = [name for entry in ledger for name in entry.detail.get("closed_sessions", ())]
    assert sorted(ends) == sorted(session.id for session in world.trades.values() if not session.is_open)
    ended = [entry for entry in ledger if entry.detail.get("status") == "closed" and "session_pnl" in entry.detail]
    for entry in ended:
        assert entry.detail["session_pnl"] == world.trades[entry.detail["trade_id"]].realized_pnl
    assert balances["market"] + balances["fees"] + balances["builder"] + balances["insurance"] == -sum(
        (world.accounts[address.lower()].realized_pnl for address in history.addresses), ZERO
    )
