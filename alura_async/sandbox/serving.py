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
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import web

from . import trading, wire
from .control import PREFIX
from .faults import Fault
from .ledger import ReceivedRequest
from .listing import EXACT
from .records import Account
from .refusals import ErrorBody, HttpError, unauthorized
from .routing import JSON, Call, Ready, ServerRoute, Services, Table
from .rules import Faults
from .spoiling import Listener, Reply, spoil
from .throttle import Throttle
from .validation import check_body, check_query

if TYPE_CHECKING:
    from .control import Control

_log = logging.getLogger("alura_async.sandbox")

# What a fault spoils when nothing was executed.
_STAND_IN = b'{"ok":true}'

# What may stand in the text to sign: a Host header can be anything.
_AUTHORITY = re.compile(r"[A-Za-z0-9.\-\[\]:]{1,255}", re.ASCII)


class Server:
    """Answers requests, one at a time.

    Args:
        services: what the handlers work on.
        throttle: who may call how often.
        faults: what goes wrong, and when.
        on_request: is told of each request that was answered.
        control: answers what is asked of the sandbox itself.
    """

    def __init__(
        self,
        services: Services,
        throttle: Throttle,
        faults: Faults,
        on_request: Callable[[ReceivedRequest], object] | None = None,
        control: Control | None = None,
    ) -> None:
        self.services = services
        self.throttle = throttle
        self.authority = ""
        self._table: Table
        self._encode_refusal: Callable[[ErrorBody], bytes]
        self.faults = faults
        self._on_request = on_request
        self._control = control
        self._listener: Listener
        self._dated = (-1, "")
        # Reentrant, so that a handler may use what is meant for other threads.
        self._lock = threading.RLock()

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Nobody else changes the state inside this block, whatever thread it is in."""
        with self._lock, localcontext(EXACT):
            yield

    def serve(self, routes: tuple[ServerRoute, ...], encode_refusal: Callable[[ErrorBody], bytes]) -> None:
        """Serve these routes from now on, and write refusals in this way. Needed before the first request."""
        self._table = Table(routes)
        self._encode_refusal = encode_refusal

    def listen(self) -> Listener:
        """What takes the connections, until it is shut down; made in the loop that serves."""
        self._listener = Listener(self.respond)
        return self._listener

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        started = time.perf_counter()
        path = request.rel_url.raw_path
        if self._control is not None and path.startswith(PREFIX) and self._control.serves(request):
            return await self._control.respond(request)
        received = ReceivedRequest(
            method=request.method,
            path=path,
            query=dict(request.query) if request.query_string else {},
            received_at=datetime.now(UTC),
            request_id=request.headers.get("X-Request-Id"),
        )
        self.services.world.ledger.requests.append(received)
        found = self._table.find(received.method, path)
        fault = self.faults.draw(found[0], path) if self.faults.rules and found is not None else None
        response: web.StreamResponse
        try:
            reply = await self._process(request, received, found, fault)
            if fault is not None and (fault.kind, fault.when) == ("delay", "after"):
                await self._listener.pause(request, fault.wait.total_seconds())
            if fault is None:
                response, received.status = reply.response(), reply.status
            else:
                response, received.status = spoil(fault, reply, request, self._listener, self._encode_refusal)
        except ConnectionError:
            # The caller hung up in the middle of its body, or of a fault: nobody hears this answer.
            response = web.Response(status=400)
        except Exception:  # noqa: BLE001 - a reply that cannot be spoiled must not be none
            received.status, content = self._failed(received)
            response = web.Response(status=received.status, body=content, headers={"Content-Type": JSON})
        received.duration_ms = (time.perf_counter() - started) * 1000
        if self._on_request is not None:
            self._tell(self._on_request, received)
        return response

    async def _process(
        self,
        request: web.BaseRequest,
        received: ReceivedRequest,
        found: tuple[ServerRoute, dict[str, str]] | None,
        fault: Fault | None,
    ) -> Reply:
        """Do what is asked, as far as a fault lets it come to that.

        Raises:
            ConnectionError: there is nobody to answer.
        """
        headers: dict[str, str] = {}
        media = JSON
        status = 201 if received.method == "POST" else 200
        try:
            if found is None:
                raise HttpError(404, f"Cannot {received.method} {received.path}")
            body = b""
            if received.method == "POST" and (fault is None or fault.when != "early"):
                body = await request.read()
            if fault is None or await self._goes_on(request, received, fault):
                with self.exclusive():
                    content, media = self._answer(request, received, found, body, headers)
                received.executed = True
            else:
                content = _STAND_IN
        except HttpError as refusal:
            headers.update(refusal.headers)
            status, content = refusal.status, self._encode_refusal(refusal.body)
        except web.RequestPayloadError:
            # It is not compressed as it says, or not cut into chunks as it should be.
            status, content = 400, self._encode_refusal(HttpError(400, "request entity cannot be read").body)
        except web.HTTPRequestEntityTooLarge:
            status, content = 413, self._encode_refusal(HttpError(413, "request entity too large").body)
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001 - the server goes on, whatever a handler did
            status, content = self._failed(received)
        headers["Content-Type"] = media
        headers["Date"] = self._date()
        return Reply(status, headers, content, head_only=received.method == "HEAD")

    def _failed(self, received: ReceivedRequest) -> tuple[int, bytes]:
        """What is answered where the sandbox itself fails."""
        _log.exception("%s %s failed in the sandbox itself", received.method, received.path)
        return 500, self._encode_refusal(HttpError(500, "Internal server error", plain=True).body)

    async def _goes_on(self, request: web.BaseRequest, received: ReceivedRequest, fault: Fault) -> bool:
        """Whether a call that a fault hits is processed; a delay before is spent here."""
        received.fault = str(fault)
        with self.exclusive():
            self._identify(request, received)
        if fault.kind == "delay" and fault.when == "before":
            # A server does not see that its caller has gone, and acts all the same.
            await self._listener.pause(request, fault.wait.total_seconds(), heedless=True)
        return fault.when == "after" or fault.kind == "delay"

    def _date(self) -> str:
        """The server's time, by which clients judge which candles are over and how long to wait."""
        second = self.services.world.clock.now_ms() // 1000
        if second != self._dated[0]:
            self._dated = (second, formatdate(second, usegmt=True))
        return self._dated[1]

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
        account = self._identify(request, received)
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
        if isinstance(reply, Ready):
            headers.update(reply.headers)
            return reply.content, reply.media
        return wire.encode(reply), JSON

    def _identify(self, request: web.BaseRequest, received: ReceivedRequest) -> Account | None:
        """Whose token came with a request."""
        now_ms = self.services.world.clock.unhurried_ms()
        account = self.services.tokens.account(request.headers.get("Authorization"), now_ms)
        if account is not None:
            received.account = account.address
        return account

    def _authority(self, host: str | None) -> str:
        """Host and port as the caller knows them: what a text to sign must name."""
        return host if host is not None and _AUTHORITY.fullmatch(host) else self.authority
