"""Whether the server and its parts are up."""

from __future__ import annotations

from typing import Any

from ..._version import __version__
from ...groups.health import ServiceHealth
from ..routing import Call, serves


@serves("GET", "/health", ServiceHealth)
def basic(call: Call) -> ServiceHealth:
    """Read the server's health."""
    return healthy(call, "sandbox")


@serves("GET", "/health/kafka", ServiceHealth)
def kafka(call: Call) -> ServiceHealth:
    """Read the health of the message queue, which the sandbox does without."""
    return healthy(call, "kafka", connected=True, brokers=0)


def healthy(call: Call, service: str, status: str = "ok", **details: Any) -> ServiceHealth:
    """What a service says of itself, as a rule that it is well."""
    return ServiceHealth(
        status=status,
        service=service,
        version=__version__,
        uptime=(call.now_ms - call.world.clock.started_ms) / 1000,
        timestamp=call.now,
        details=details or None,
    )


ROUTES = (basic, kafka)
