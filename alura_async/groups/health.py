"""Whether the server and its parts are up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..core.model import CheckedModel, Synonyms, Time, Word
from ..core.request import Parts
from ..core.surface import Group, Mode, endpoint

if TYPE_CHECKING:
    from ..core.request import Params


class ServiceHealth(CheckedModel, frozen=True, kw_only=True):
    """How a service feels. Every field is assumed [guess].

    Attributes:
        status: `ok` when all is well; a flag such as `healthy` comes as `true` or `false`.
        service: which service answers.
        version: its version.
        uptime: seconds since it was started.
        timestamp: its clock.
        details: further facts, as the server sent them.
    """

    _also: ClassVar[Synonyms] = {
        "status": ("health", "state", "healthy", "ok", "alive", "connected", "message"),
        "service": ("name", "serviceName"),
        "uptime": ("uptimeSeconds", "uptimeSec"),
        "details": ("checks", "components", "services", "dependencies"),
    }
    _bare = ("status",)

    status: Word | None = None
    service: str | None = None
    version: str | None = None
    uptime: float | None = None
    timestamp: Time | None = None
    details: dict[str, Any] | None = None


class Health(Group[Mode]):
    """Whether the server is up."""

    @endpoint("GET", "/health")
    def basic(self, *, params: Params | None = None) -> Parts[ServiceHealth]:
        """Read the server's basic health.

        The path is documented, the response and whether it needs a token are not.

        Args:
            params: query parameters of your own.
        """
        return Parts(params=params)

    @endpoint("GET", "/health/kafka")
    def kafka(self, *, params: Params | None = None) -> Parts[ServiceHealth]:
        """Read the health of the server's message queue.

        The path is documented, the response and whether it needs a token are not.

        Args:
            params: query parameters of your own.
        """
        return Parts(params=params)
