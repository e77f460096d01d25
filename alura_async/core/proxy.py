"""The proxy that calls go through, if any: of a setting or of the environment. Its password is kept apart from it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from ..errors import ConfigurationError
from ..secret import Secret, SecretText

if TYPE_CHECKING:
    from .settings import Origin

_EXAMPLE = "'http://user:password@proxy.example:3128'"


class Proxy(msgspec.Struct, frozen=True):
    """A proxy.

    Attributes:
        url: where it is, without user name and password: what goes wrong quotes it.
        authorization: what it is told of who asks; None for nothing.
    """

    url: str
    authorization: SecretText | None


def as_proxy(given: str | Secret | None, name: str = "proxy") -> Proxy | None:
    """The proxy that a setting means.

    Args:
        given: its URL, perhaps with a user name and a password.
        name: whose value it is, for the error.

    Raises:
        ConfigurationError: it means none. The message shows nothing of it.
    """
    if given is None:
        return None
    # Out of sight first: tracebacks may be rendered with every frame's locals.
    given = given if isinstance(given, Secret) else Secret(given)
    found = _read(given)
    if isinstance(found, str):
        raise ConfigurationError(f"{name}: {found}")
    return found


def of_environment(origin: Origin) -> Proxy | None:
    """The proxy that `http_proxy` or `https_proxy` names for a server, unless `no_proxy` excepts it.

    Windows and macOS are asked for theirs where the variables are not set, which may look names up: this may block.

    Raises:
        ConfigurationError: what is named cannot be used.
    """
    # What aiohttp imports anyway, and `import alura_async` should not.
    from urllib.request import getproxies, proxy_bypass

    if proxy_bypass(origin.host):
        return None
    named = Secret(getproxies().get(origin.scheme, ""))
    if named and "://" not in named.reveal():
        named = Secret(f"http://{named.reveal()}")  # as everybody writes it there
    return as_proxy(named or None, f"{origin.scheme}_proxy of the environment (trust_env=True)")


def _read(url: Secret) -> Proxy | str:
    """The proxy, or what is wrong. This frame holds its password, so it raises nothing."""
    text: object = url.reveal()
    if not isinstance(text, str):
        return f"is a {type(text).__name__}: write it like {_EXAMPLE}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # Its words quote the URL.
        return f"cannot be read: write it like {_EXAMPLE}, and what is special in the password as %40 for @"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"cannot be used: only http and https proxies can; write it like {_EXAMPLE}"
    if (
        parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or any(ord(each) in (*range(33), 127) for each in text)
    ):
        return f"goes on behind the port: write it like {_EXAMPLE}, and what is special in the password as %2F for /"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    user_info, at, _ = parts.netloc.rpartition("@")
    return Proxy(
        url=f"{parts.scheme}://{host}{'' if port is None else f':{port}'}",
        authorization=_basic(user_info) if at else None,
    )


def _basic(user_info: str) -> SecretText:
    user, _, password = user_info.partition(":")
    # With a colon also where there is no password.
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return SecretText(f"Basic {base64.b64encode(pair).decode()}")
