"""The control endpoint: what `Sandbox` does from Python, for other programs on this machine, over HTTP.

Everything under `/_sandbox` is for loopback callers only, wherever the sandbox listens; to others it is not there. It
is not throttled, meets no faults, is not on the record of requests and no part of the API's description. What comes by
way of a proxy counts as from others. Pages that did not come from this machine are refused, so that no web site can
reach it through a browser.
"""

from __future__ import annotations

import inspect
import logging
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec
from aiohttp import web

from ..core.settings import is_loopback
from ..errors import AluraError
from . import wire
from .conditions import Conditions
from .durations import duration
from .faults import KINDS, MALFORMED
from .quirks import Quirks
from .refusals import HttpError
from .routing import JSON
from .rules import Rule
from .shapes import PERSONALITIES
from .signin import address_of

if TYPE_CHECKING:
    from .app import Sandbox

PREFIX = "/_sandbox"

# A proxy on this machine would make callers from anywhere look like its own.
_PROXIED = ("Forwarded", "X-Forwarded-For", "Via")

_log = logging.getLogger("alura_async.sandbox")

_Values = dict[str, Any]
_Handler = Callable[["Sandbox", "_Asked"], object]


class _Asked(msgspec.Struct):
    """What a caller of the control endpoint sent: the end of the path, the query, the body."""

    name: str
    query: Mapping[str, str]
    body: _Values


class _Command(msgspec.Struct, frozen=True):
    """One command.

    Attributes:
        method: the HTTP method.
        path: what comes behind `/_sandbox`; one that ends in `/` takes a name.
        about: what it is for.
        example: a body or a query, as an example.
        handler: carries it out.
        fields: the names that a body may have, or None for any.
        parameters: the names that a query may have.
    """

    method: str
    path: str
    about: str
    example: str
    handler: _Handler
    fields: tuple[str, ...] | None = ()
    parameters: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The whole path, as people write it."""
        return PREFIX + (f"{self.path}:name" if self.path.endswith("/") else self.path)


class Control:
    """Answers what is asked of a sandbox itself.

    Args:
        sandbox: the sandbox.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def serves(self, request: web.BaseRequest) -> bool:
        """Whether a request is for the control endpoint, and its caller on this machine."""
        rest = request.rel_url.raw_path.removeprefix(PREFIX)
        if rest and not rest.startswith("/"):
            return False
        return is_loopback(request.remote or "") and not any(name in request.headers for name in _PROXIED)

    async def respond(self, request: web.BaseRequest) -> web.Response:
        """Carry out one command."""
        try:
            _refuse_other_sites(request)
            status, content = 200, await self._carry_out(request)
        except HttpError as refusal:
            status, content = refusal.status, wire.encode(refusal.body)
        except web.RequestPayloadError:
            status, content = 400, wire.encode(HttpError(400, "request entity cannot be read").body)
        except web.HTTPRequestEntityTooLarge:
            status, content = 413, wire.encode(HttpError(413, "request entity too large").body)
        except ConnectionError:
            return web.Response(status=400)
        except Exception:  # noqa: BLE001 - the server goes on
            _log.exception("%s %s failed in the sandbox itself", request.method, request.rel_url.raw_path)
            status, content = 500, wire.encode(HttpError(500, "Internal server error", plain=True).body)
        return web.Response(status=status, body=content, headers={"Content-Type": JSON, "Cache-Control": "no-store"})

    async def _carry_out(self, request: web.BaseRequest) -> bytes:
        path = request.rel_url.raw_path.removeprefix(PREFIX).rstrip("/")
        command, name = _find(request.method, path)
        body: _Values = {}
        if request.method in ("POST", "PUT"):
            body = _body(await request.read(), request.content_type)
            if command.fields is not None:
                _known(body, command.fields, "field")
        query = dict(request.query)
        _known(query, command.parameters, "parameter")
        try:
            return wire.encode(command.handler(self._sandbox, _Asked(name, query, body)))
        except AluraError as error:
            raise HttpError(400, str(error)) from None


def _refuse_other_sites(request: web.BaseRequest) -> None:
    """Refuse what a browser sends for a page of somebody else's.

    Raises:
        HttpError: 403.
    """
    # A name that leads here from outside is how a page gets around the rule of the same origin.
    if not is_loopback(_hostname("//" + request.headers.get("Host", ""))):
        raise HttpError(403, "The control endpoint is reached at a loopback address only, such as 127.0.0.1")
    origin = request.headers.get("Origin")
    if origin is not None and not is_loopback(_hostname(origin)):
        raise HttpError(403, "The control endpoint is not for pages of other origins")
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise HttpError(403, "The control endpoint is not for pages of other origins")


def _hostname(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _find(method: str, path: str) -> tuple[_Command, str]:
    parent, _, name = path.rpartition("/")
    found = {command.method: command for command in COMMANDS if command.path == path}
    if not found and parent:
        found = {command.method: command for command in COMMANDS if command.path == f"{parent}/"}
    else:
        name = ""
    if method not in found:
        places = ", ".join(f"{command.method} {command.place}" for command in COMMANDS)
        raise HttpError(405 if found else 404, f"There is no {method} {PREFIX}{path}; there are: {places}")
    return found[method], unquote(name)


def _body(raw: bytes, media: str) -> _Values:
    # A browser sends no other site's page's JSON without asking first.
    if media != "application/json":
        raise HttpError(415, "Send Content-Type: application/json")
    return wire.decode_body(raw, media)


def _known(given: Mapping[str, object], names: tuple[str, ...], what: str) -> None:
    for name in given:
        if name not in names:
            raise HttpError(400, f"There is no {what} {name}; there are: {', '.join(names) or 'none'}")


def _index(sandbox: Sandbox, asked: _Asked) -> object:
    del asked
    return {
        "sandbox": repr(sandbox),
        "commands": [
            {
                "method": command.method,
                "path": command.place,
                "about": command.about,
                "example": command.example,
            }
            for command in COMMANDS
        ],
    }


def _show_rule(rule: Rule) -> object:
    return {"number": rule.number, "rule": str(rule), "hits": rule.hits, "matched": rule.matched}


def _faults(sandbox: Sandbox, asked: _Asked) -> object:
    del asked
    return {
        "rules": [_show_rule(rule) for rule in sandbox.faults.rules],
        "kinds": {kind: list(whens) for kind, whens in KINDS.items()},
        "malformed": MALFORMED,
    }


def _add_faults(sandbox: Sandbox, asked: _Asked) -> object:
    return {"added": [_show_rule(rule) for rule in sandbox.faults.add_all(_text(asked.body, "rules"))]}


def _clear_faults(sandbox: Sandbox, asked: _Asked) -> object:
    del asked
    sandbox.faults.clear()
    return {"rules": []}


def _remove_fault(sandbox: Sandbox, asked: _Asked) -> object:
    for rule in sandbox.faults.rules:
        if str(rule.number) == asked.name:
            rule.remove()
            return {"removed": _show_rule(rule)}
    raise HttpError(404, f"There is no rule {asked.name}")


def _ledger(sandbox: Sandbox, asked: _Asked) -> object:
    after = _whole(asked.query, "after", 0)
    limit = _whole(asked.query, "limit", 1000)
    account, kind = asked.query.get("account"), asked.query.get("kind")
    entries = [
        entry
        for entry in sandbox.ledger
        if entry.number > after
        and (account is None or entry.account.lower() == account.lower())
        and (kind is None or entry.kind == kind)
    ]
    return {"entries": entries[:limit], "more": len(entries) > limit}


def _requests(sandbox: Sandbox, asked: _Asked) -> object:
    requests = list(sandbox.requests)
    limit = _whole(asked.query, "limit", 1000)
    return {"requests": requests[-limit:] if limit else [], "more": len(requests) > limit}


def _forget_requests(sandbox: Sandbox, asked: _Asked) -> object:
    del asked
    sandbox.requests.clear()
    return {"requests": []}


def _clock(sandbox: Sandbox, asked: _Asked) -> object:
    del asked
    return {"now": sandbox.now}


def _advance(sandbox: Sandbox, asked: _Asked) -> object:
    if "by" not in asked.body:
        raise HttpError(400, 'by how long? such as {"by": "1h30m"}')
    by = asked.body["by"]
    sandbox.advance(seconds=duration(_plain(by), "by").total_seconds())
    return {"now": sandbox.now}


def _expire_tokens(sandbox: Sandbox, asked: _Asked) -> object:
    del asked
    sandbox.expire_tokens()
    return {"expired": True}


def _wallet(sandbox: Sandbox, asked: _Asked) -> object:
    del asked
    key = sandbox.wallet()
    return {"address": address_of(key), "privateKey": key}


def _scenario(sandbox: Sandbox, asked: _Asked) -> object:
    market = sandbox.market
    names = [name for name in dir(type(market)) if not name.startswith("_") and callable(getattr(type(market), name))]
    if asked.name not in names:
        raise HttpError(404, f"The market has no {asked.name!r}; it has: {', '.join(names)}")
    method = getattr(market, asked.name)
    return {"done": asked.name, "result": _shown(method(**_arguments(method, asked.body)))}


def _conditions(sandbox: Sandbox, asked: _Asked) -> object:
    del asked
    return _shown(sandbox.conditions)


def _set_conditions(sandbox: Sandbox, asked: _Asked) -> object:
    sandbox.conditions = Conditions(**_arguments(Conditions, asked.body))
    return _shown(sandbox.conditions)


def _shapes(sandbox: Sandbox, asked: _Asked) -> object:
    del asked
    return {"shapes": sandbox.shapes, "choices": dict(PERSONALITIES)}


def _set_shapes(sandbox: Sandbox, asked: _Asked) -> object:
    sandbox.shapes = _text(asked.body, "shapes")
    return {"shapes": sandbox.shapes}


def _quirks(sandbox: Sandbox, asked: _Asked) -> object:
    del asked
    return _shown(sandbox.quirks)


def _set_quirks(sandbox: Sandbox, asked: _Asked) -> object:
    sandbox.quirks = Quirks(**_arguments(Quirks, asked.body))
    return _shown(sandbox.quirks)


def _balances(sandbox: Sandbox, asked: _Asked) -> object:
    del asked
    return _shown(sandbox.balances)


def _shown(value: object) -> object:
    """A value as JSON has it; what has no form there is described."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=repr)


def _arguments(target: Callable[..., object], given: _Values) -> _Values:
    """What came as JSON, as the arguments that a function or a constructor takes.

    Raises:
        HttpError: 400, it does not take them.
    """
    signature = inspect.signature(target)
    try:
        signature.bind(**given)
    except TypeError as error:
        raise HttpError(400, f"{error}; there are: {', '.join(signature.parameters)}") from None
    owner = target if inspect.isclass(target) else inspect.unwrap(target)
    hints = typing.get_type_hints(owner)
    return {name: _argument(name, value, hints.get(name, Any)) for name, value in given.items()}


def _argument(name: str, value: object, hint: Any) -> Any:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    choices = typing.get_args(hint) if is_union else (hint,)
    if value is not None and timedelta in choices:
        return duration(_plain(value), name)
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError as error:
        raise HttpError(400, f"{name}: {error}") from None
    except TypeError:
        # A type that JSON has no form for: the function itself says what is wrong with a value.
        return _plain(value)


def _plain(value: Any) -> Any:
    """A number as Python code would write it: fractions of JSON bodies come as Decimal here."""
    return value if isinstance(value, str | bool | int) or value is None else _number(value)


def _number(value: Any) -> Any:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    return number if math.isfinite(number) else value


def _text(body: _Values, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise HttpError(400, f"{name}: give text")
    return value


def _whole(query: Mapping[str, str], name: str, usual: int) -> int:
    text = query.get(name)
    if text is None:
        return usual
    if not re.fullmatch(r"[0-9]{1,12}", text, re.ASCII):
        raise HttpError(400, f"{name}: give a whole number, 0 or more")
    return int(text)


COMMANDS = (
    _Command("GET", "", "what there is", "", _index),
    _Command("GET", "/faults", "the rules, with how often they fired, and what may go wrong", "", _faults),
    _Command(
        "POST",
        "/faults",
        "add rules, separated by ;",
        '{"rules": "503 x2 on POST /user/withdraw; delay=250ms 10%"}',
        _add_faults,
        fields=("rules",),
    ),
    _Command("DELETE", "/faults", "take all rules away", "", _clear_faults),
    _Command("DELETE", "/faults/", "take one rule away, by its number", "", _remove_fault),
    _Command(
        "GET",
        "/ledger",
        "what was executed, oldest first",
        "?after=17&account=0x…&kind=withdrawn&limit=1000",
        _ledger,
        parameters=("after", "account", "kind", "limit"),
    ),
    _Command("GET", "/requests", "the newest requests, oldest first", "?limit=1000", _requests, parameters=("limit",)),
    _Command("DELETE", "/requests", "forget the requests that arrived", "", _forget_requests),
    _Command("GET", "/clock", "the time on its clock", "", _clock),
    _Command("POST", "/clock/advance", "move the clock forward", '{"by": "1h30m"}', _advance, fields=("by",)),
    _Command("POST", "/tokens/expire", "make every token issued so far invalid", "{}", _expire_tokens),
    _Command("POST", "/wallets", "a new throwaway key, funded when it first signs in", "{}", _wallet),
    _Command(
        "POST",
        "/market/",
        "something that happens on the market",
        '/_sandbox/market/crash {"symbol": "BTC", "percent": 12, "over": "10m"}',
        _scenario,
        fields=None,
    ),
    _Command("GET", "/conditions", "fees, slippage, lag: how trading goes", "", _conditions),
    _Command(
        "PUT",
        "/conditions",
        "set them; what is left out takes its usual value",
        '{"lag": "2s", "partial": 0.5}',
        _set_conditions,
        fields=None,
    ),
    _Command("GET", "/shapes", "the shape of replies, and which there are", "", _shapes),
    _Command("PUT", "/shapes", "set it", '{"shapes": "mongo"}', _set_shapes, fields=("shapes",)),
    _Command("GET", "/quirks", "what the server of candles does its own way", "", _quirks),
    _Command(
        "PUT",
        "/quirks",
        "set that; what is left out takes its usual value",
        '{"page_cap": 500, "newest_first": true}',
        _set_quirks,
        fields=None,
    ),
    _Command("GET", "/balances", "what everybody has", "", _balances),
)
"""All commands."""
