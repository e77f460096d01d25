"""An Alura server in memory, for demos and tests: see `Sandbox`. Needs the extra `sandbox`."""

from __future__ import annotations

from .app import Sandbox, Settings
from .conditions import Conditions
from .ledger import LedgerEntry, ReceivedRequest

__all__ = ["Conditions", "LedgerEntry", "ReceivedRequest", "Sandbox", "Settings"]
