"""A client's settings, checked before anything is opened."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import msgspec

from ..assets import DEFAULT_ASSETS, Assets
from ..errors import ConfigurationError
from ..guard import Guard
from .file_intents import FileIntents
from .intents import Intents, MemoryIntents
from .lanes import RateLimiter
from .proxy import Proxy
from .retry import Retry

if TYPE_CHECKING:
    import aiohttp

TESTNET_URL = "https://testnet-api.alura.fun"
"""The documented server."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Time limits, in seconds.

    `call`, `create` and `sign_in` bound a whole call, with everything that it waits for and repeats. `with_options` can
    change `call`, `create` and `settle`; the others hold for a client's whole life.

    Attributes:
        call: a call.
        create: a call that opens a session: what was held up must not go out late.
        sign_in: a sign-in, which is three steps. For so long, too, a wallet that was asked and does not answer can keep
            a call that closes from signing in: asked anew meanwhile, a person would be asked twice.
        connect: connecting.
        read: silence of the server while a reply is awaited.
        settle: reading, after the reply to a create or a close was lost, to find out what became of it. This comes on
            top of the call's own limit; 0 reads nothing.
        drain: how long `close()` waits for creates, closes and transfers that are under way; 0 waits for none.

    Raises:
        ConfigurationError: not a finite number above 0.
    """

    call: float = 30.0
    create: float = 10.0
    sign_in: float = 20.0
    connect: float = 5.0
    read: float = 10.0
    settle: float = 8.0
    drain: float = 5.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < inf
            may_be_none = name in ("settle", "drain")
            if not is_number or (value == 0 and not may_be_none):
                least = "from 0 on" if may_be_none else "above 0"
                raise ConfigurationError(f"timeout {name}={value!r}: give a finite number of seconds {least}")


TimeoutLike: TypeAlias = float | Timeouts
"""Time limits: `Timeouts`, or seconds that bound every call (but not `settle`, which comes on top)."""


def as_timeouts(value: TimeoutLike, base: Timeouts | None = None) -> Timeouts:
    """Time limits of what a user gave: a plain number bounds every call, creates too."""
    if isinstance(value, Timeouts):
        return value
    base = base or Timeouts()
    return msgspec.structs.replace(base, call=value, create=value)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `with_options` can change: it concerns calls, not connections."""

    timeouts: Timeouts
    assets: Assets
    poll_interval: float
    retry: Retry

    def changed(
        self,
        timeout: TimeoutLike | None = None,
        retry: Retry | None = None,
        assets: Mapping[str, int] | None = None,
        poll_interval: float | None = None,
    ) -> Options:
        """The same with some of them changed."""
        return options(
            timeout=self.timeouts if timeout is None else as_timeouts(timeout, self.timeouts),
            assets=self.assets if assets is None else assets,
            poll_interval=self.poll_interval if poll_interval is None else poll_interval,
            retry=self.retry if retry is None else retry,
        )


def options(
    timeout: TimeoutLike | None = None,
    assets: Mapping[str, int] | None = None,
    poll_interval: float = 2.0,
    retry: Retry | None = None,
) -> Options:
    """Make options of what a user gave.

    Raises:
        ConfigurationError: a value cannot be used.
    """
    if isinstance(poll_interval, bool) or not isinstance(poll_interval, int | float) or not 0 < poll_interval < inf:
        raise ConfigurationError(f"poll_interval={poll_interval!r}: give a finite number of seconds above 0")
    if retry is not None and not isinstance(retry, Retry):
        raise ConfigurationError(f"retry={retry!r}: give a policy, such as Retry(attempts=2)")
    if assets is None:
        assets = DEFAULT_ASSETS
    table = assets if isinstance(assets, Assets) else Assets(assets)
    return Options(
        timeouts=Timeouts() if timeout is None else as_timeouts(timeout),
        assets=table,
        poll_interval=poll_interval,
        retry=retry or Retry(),
    )


class Origin(msgspec.Struct, frozen=True):
    """Where the server is.

    Attributes:
        scheme: `https`, or `http`.
        host: name or address, without brackets.
        port: the port, or None for the scheme's own.
        prefix: the path below which the API lives, without a slash at its end; mostly empty.
    """

    scheme: str
    host: str
    port: int | None
    prefix: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{'' if self.port is None else f':{self.port}'}{self.prefix}"


def origin(base_url: str, allow_http: Iterable[str] = ()) -> Origin:
    """Take a base URL apart.

    Raises:
        ConfigurationError: not an absolute URL without user, query and fragment; or plain http to a host that is
            neither loopback nor named in `allow_http`.
    """
    if not isinstance(base_url, str):
        raise ConfigurationError(f"base_url={base_url!r}: write it like {TESTNET_URL!r}")
    if "@" in base_url:
        # The URL is not repeated here: it may have a password in it.
        raise ConfigurationError("base_url: leave the user name and password out; a wallet or a token signs you in")
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"base_url cannot be read ({error}): write it like {TESTNET_URL!r}") from None
    if parts.scheme not in ("http", "https") and is_loopback(base_url.partition(":")[0]):
        raise ConfigurationError(f"base_url={base_url!r}: write it like 'http://{base_url}'")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"base_url={base_url!r}: write it like {TESTNET_URL!r}")
    if parts.query or parts.fragment or any(ord(character) <= 32 or ord(character) == 127 for character in base_url):
        raise ConfigurationError(f"base_url={base_url!r}: leave out query, fragment and white space")
    host = parts.hostname
    allowed = {name.lower() for name in ([allow_http] if isinstance(allow_http, str) else allow_http)}
    if parts.scheme == "http" and not is_loopback(host) and host not in allowed:
        raise ConfigurationError(
            f"base_url={base_url!r}: plain http shows your token to everyone on the way; use https, or name the host: "
            f"allow_http=[{host!r}]"
        )
    return Origin(parts.scheme, host, port, parts.path.rstrip("/"))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Safety(msgspec.Struct, frozen=True, kw_only=True):
    """What stands between a call and the server. Fixed for a client's life.

    Attributes:
        limiter: whose turn it is.
        intents: keeps what must not be made twice.
        guard: refuses what may not be created or transferred; None refuses nothing.
    """

    limiter: RateLimiter
    intents: Intents
    guard: Guard | None


def safety(
    limiter: RateLimiter | None, journal: str | os.PathLike[str] | None, guard: Guard | None, assets: Assets
) -> Safety:
    """Make it of what a user gave.

    Raises:
        ConfigurationError: a value cannot be used, or a guard's daily cap has no durable journal.
    """
    if limiter is not None and not isinstance(limiter, RateLimiter):
        raise ConfigurationError(f"limiter={limiter!r}: give a limiter, such as RateLimiter(rate=5)")
    if guard is not None and not isinstance(guard, Guard):
        raise ConfigurationError(f"guard={guard!r}: give a guard, such as Guard(max_amount=100)")
    intents = MemoryIntents() if journal is None else FileIntents(journal)
    if guard is not None:
        guard.require(durable=intents.durable, assets=assets)
    return Safety(limiter=limiter or RateLimiter(), intents=intents, guard=guard)


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is reached. Fixed for a client's life."""

    origin: Origin
    proxy: Proxy | None = None
    trust_env: bool = False
    ssl_context: ssl.SSLContext | None = None
    max_body_bytes: int = 64 * 1024 * 1024
    session: aiohttp.ClientSession | None = None
    connector: aiohttp.BaseConnector | None = None
    warm: bool = False

    def __post_init__(self) -> None:
        context: Any = self.ssl_context
        if context is not None and (context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname):
            raise ConfigurationError(
                "ssl_context does not check certificates and host names; add your authority to it instead: "
                "ssl.create_default_context(cafile=…)"
            )
        if isinstance(self.max_body_bytes, bool) or not isinstance(self.max_body_bytes, int) or self.max_body_bytes < 1:
            raise ConfigurationError(f"max_body_bytes={self.max_body_bytes!r}: give a whole number of bytes above 0")
        for name in ("warm", "trust_env"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name}={getattr(self, name)!r}: give True or False")
        if self.session is not None and self.connector is not None:
            raise ConfigurationError("give a session or a connector, not both: a session has a connector of its own")

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own shows every field.
        return [("origin", str(self.origin))]

    def __repr__(self) -> str:
        return f"<Connection to {self.origin}>"
