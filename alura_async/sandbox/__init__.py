"""An Alura server in memory, for demos and tests: see `Sandbox`. Needs the extra `sandbox`."""

from __future__ import annotations

from .app import Sandbox, Settings
from .faults import Fault
from .ledger import LedgerEntry, ReceivedRequest
from .rules import Faults, Rule

__all__ = ["Fault", "Faults", "LedgerEntry", "ReceivedRequest", "Rule", "Sandbox", "Settings"]
