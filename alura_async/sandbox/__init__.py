"""An Alura server in memory, for demos and tests: see `Sandbox`. Needs the extra `sandbox`."""

from __future__ import annotations

from .app import Sandbox
from .conditions import Conditions
from .faults import Fault
from .ledger import LedgerEntry, ReceivedRequest
from .quirks import Quirks
from .rules import Faults, Rule
from .scenario import Scenario
from .settings import Settings
from .shapes import PERSONALITIES

__all__ = [
    "PERSONALITIES",
    "Conditions",
    "Fault",
    "Faults",
    "LedgerEntry",
    "Quirks",
    "ReceivedRequest",
    "Rule",
    "Sandbox",
    "Scenario",
    "Settings",
]
