"""TLS certificates for servers of the tests."""

from __future__ import annotations

import ssl
from datetime import datetime

import trustme


def certified(
    host: str, not_before: datetime | None = None, not_after: datetime | None = None
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for a host, and one of a client that knows its authority."""
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, not_before=not_before, not_after=not_after).configure_cert(server_side)
    knows_it = ssl.create_default_context()
    authority.configure_trust(knows_it)
    return server_side, knows_it
