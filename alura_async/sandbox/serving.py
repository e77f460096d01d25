"""The road of one request: match, throttle, authenticate, validate, handle, encode."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import localcontext
from email.utils import format_datetime

from aiohttp import web

from . import trading, wire
from .ledger import ReceivedRequest
from .listing import EXACT
from .refusals import HttpError, unauthorized
from .routing import JSON, Call, Ready, ServerRoute, Services, Table
from .throttle import Throttle
from .validation import check_body, check_query

_log = logging.getLogger("alura_async.sandbox")

# What may stand in the text to sign: a Host header can be anything.
_AUTHORITY = re.compile(r"[A-Za-z0-9.\-\[\]:]{1,255}", re.ASCII)


class Server:
    """Answers requests, one at a time.

    Args:
        services: what the handlers work on.
        routes: all that is served.
        throttle: who may call how often.
        on_request: is told of each request that was answered.
    """

    def __init__(
        self,
        services: Services,
        routes: tuple[ServerRoute, ...],
        throttle: Throttle,
        on_request: Callable[[ReceivedRequest], object] | None = None,
    ) -> None:
        self.services = services
        self.throttle = throttle
        self.authority = ""
        self._table = Table(routes)
        self._on_request = on_request
        # Reentrant, so that a handler may use what is meant for other threads.
        self._lock = threading.RLock()

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Nobody else changes the state inside this block, whatever thread it is in."""
        with self._lock, localcontext(EXACT):
            yield

    async def respond(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        started = time.perf_counter()
        received = ReceivedRequest(
            method=request.method,
            path=request.rel_url.raw_path,
            query=dict(request.query) if request.query_string else {},
            received_at=datetime.now(UTC),
            request_id=request.headers.get("X-Request-Id"),
        )
        self.services.world.ledger.requests.append(received)
        headers: dict[str, str] = {}
        media = JSON
        try:
            found = self._table.find(received.method, received.path)
            if found is None:
                raise HttpError(404, f"Cannot {received.method} {received.path}")
            body = await request.read() if received.method == "POST" else b""
            with self.exclusive():
                content, media = self._answer(request, received, found, body, headers)
            status = 201 if received.method == "POST" else 200
        except HttpError as refusal:
            headers.update(refusal.headers)
            status, content = refusal.status, wire.encode(refusal.body)
        except web.HTTPRequestEntityTooLarge:
            status, content = 413, wire.encode(HttpError(413, "request entity too large").body)
        except ConnectionError:
            # The caller hung up in the middle of its body: nothing was done, and nobody hears this answer.
            return web.Response(status=400)
        except Exception:  # noqa: BLE001 - the server goes on, whatever a handler did
            _log.exception("%s %s failed in the sandbox itself", received.method, received.path)
            status, content = 500, wire.encode(HttpError(500, "Internal server error", plain=True).body)
        received.status = status
        received.duration_ms = (time.perf_counter() - started) * 1000
        if self._on_request is not None:
            self._tell(self._on_request, received)
        headers["Content-Type"] = media
        # The server's time, by which clients judge which candles are over and how long to wait.
        headers["Date"] = format_datetime(self.services.world.clock.now(), usegmt=True)
        return web.Response(status=status, body=content, headers=headers)

    def _tell(self, listener: Callable[[ReceivedRequest], object], received: ReceivedRequest) -> None:
        try:
            listener(received)
        except Exception:  # noqa: BLE001 - what was done is answered, whatever a listener thinks of it
            _log.exception("on_request failed for %s %s", received.method, received.path)

    def _answer(
        self,
        request: web.BaseRequest,
        received: ReceivedRequest,
        found: tuple[ServerRoute, dict[str, str]],
        body: bytes,
        headers: dict[str, str],
    ) -> tuple[bytes, str]:
        route, path = found
        world = self.services.world
        now_ms = world.clock.now_ms()
        account = self.services.tokens.account(request.headers.get("Authorization"), world.clock.unhurried_ms())
        if account is not None:
            received.account = account.address
        client = (request.remote or "") if account is None else account.address
        headers.update(self.throttle.admit(route.name, client))
        if route.bearer and account is None:
            raise unauthorized()
        call = Call(
            services=self.services,
            route=route,
            now_ms=now_ms,
            authority=self._authority(request.headers.get("Host")),
            account=account,
            path=path,
            query=check_query(route.query, received.query),
            body=check_body(route.body, wire.decode_body(body, request.content_type)),
        )
        trading.settle(world, now_ms)
        reply = route.handler(call)
        return (reply.content, reply.media) if isinstance(reply, Ready) else (wire.encode(reply), JSON)

    def _authority(self, host: str | None) -> str:
        """Host and port as the caller knows them: what a text to sign must name."""
        return host if host is not None and _AUTHORITY.fullmatch(host) else self.authority
