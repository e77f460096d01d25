"""The contract with the server: what this SDK expects of it, what its document says, and what it really answers.

    document = Document.read(await fetch(alura))          what the server says of itself
    findings = compare(document)                          against every endpoint of this SDK
    async for reading in read_all(alura): ...             what its replies hold, by reads only
    for name, reply in recordings("recordings"): ...      replies of a server elsewhere, to decode again

`alura contract` is this on the command line, and needs the extra `cli`.
"""

from __future__ import annotations

from .compare import Finding, Severity, compare
from .document import Document, fetch
from .expected import Expected, Sent, expectations
from .live import Reading, ReadState, read_all
from .recording import Recording, Redactor, recordings, write_recordings

__all__ = [
    "Document",
    "Expected",
    "Finding",
    "ReadState",
    "Reading",
    "Recording",
    "Redactor",
    "Sent",
    "Severity",
    "compare",
    "expectations",
    "fetch",
    "read_all",
    "recordings",
    "write_recordings",
]
