"""An Alura server in memory, for demos and tests: see `Sandbox`. Needs the extra `sandbox`."""

from __future__ import annotations

from .app import Sandbox, Settings
from .ledger import LedgerEntry, ReceivedRequest
from .quirks import Quirks
from .shapes import PERSONALITIES

__all__ = ["PERSONALITIES", "LedgerEntry", "Quirks", "ReceivedRequest", "Sandbox", "Settings"]
