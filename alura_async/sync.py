"""`Alura`, the blocking client: the same surface, served by an event loop in a thread of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from .assets import Assets
from .client import AsyncAlura, seal, settings_from_env
from .core.challenge import check_challenge
from .core.loop_thread import LoopThread, Stream
from .core.outcome import Reply
from .core.request import Request
from .core.settings import TESTNET_URL, TimeoutLike
from .core.surface import Sync
from .flatten import Flattened
from .groups.auth import Auth
from .groups.bulk import Bulk
from .groups.health import Health
from .groups.indicators import Indicators
from .groups.leaderboard import Leaderboard
from .groups.referrals import Referrals
from .groups.trading_sessions import TradingSessions
from .groups.usdc_verification import UsdcVerification
from .groups.user import User
from .journal import Journal
from .secret import Secret
from .wallet import sealed

if TYPE_CHECKING:
    import ssl

    import aiohttp

    from .core.challenge import ChallengeCheck
    from .core.lanes import RateLimiter
    from .core.retry import Retry
    from .guard import Guard
    from .wallet import WalletLike

P = ParamSpec("P")
T = TypeVar("T")


class Alura:
    """A client of the Alura trading backend, for code that blocks.

        with Alura(wallet="0x…") as alura:
            session = alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC")

    The API is on its groups: `auth`, `trading_sessions`, `user`, `indicators`, `leaderboard`, `referrals`,
    `usdc_verification` and `health`; see `help(alura.trading_sessions)`. `bulk` pulls market data by the million,
    `journal` knows what was done with money from here, and `flatten()` closes everything.

    The same methods as `AsyncAlura`, with the same arguments, results and errors. Any number of threads may share
    one. Ctrl-C cancels the call that waits. After a fork the child goes on with connections of its own.

    `close()` it, or use it in a `with` block; what is forgotten is closed when the process ends.

    Args:
        wallet: what signs you in: a private key as hex text or 32 bytes, an eth-account `LocalAccount`, a `Keystore`,
            or any object with `address` and an async `sign_message(text)`. Without one, public calls work.
        token: a JWT that was obtained elsewhere, instead of a wallet or besides it.
        token_cache: a file that keeps the wallet's token between two runs, so that not every start signs in; or a
            folder, if it is one or ends with a separator. It may serve several accounts and servers, and several
            processes at once. Only its owner may be able to read it: one that is not safe, or not the client's own, is
            neither read nor touched, and a warning on the logger `alura_async` says why. Without a wallet it is not
            used.
        base_url: the server; by default the documented testnet.
        timeout: seconds that bound every call, or `Timeouts`; by default 30 s, 10 s for creates, 20 s for a sign-in.
            After the reply to a create or a close was lost, reading what became of it comes on top: `Timeouts.settle`.
        retry: how often a call that failed is made again, where that is safe: `Retry(attempts=1)` for never.
        limiter: how many calls are made a second and at once, 10 and 16 by default: a `RateLimiter`, which several
            clients may share, since a server counts by address; `RateLimiter.unlimited()` for none.
        journal: a file that keeps what must not be made twice, and what became of it, over a crash; several processes
            may share one. It is made where it is missing, in a folder that is there. By default that is kept in memory
            only. See `alura.journal`.
        guard: what may be created and transferred, and who is asked before.
        warm: whether to keep a connection ready for the next call that creates, closes or transfers: it saves the
            handshake of the connection of its own that each of them has.
        assets: which index a symbol has, where the documented table is not yours.
        poll_interval: seconds between two reads of `watch…` and `wait_…`.
        referral_code: the code of whoever referred you; sent with the sign-in.
        check_challenge: replaces the check of the text that the server wants signed; raises to refuse.
        session: an `aiohttp.ClientSession` of yours for the calls that are safe to repeat. It is never closed here.
            Calls that move money always have a connection of their own.
        connector: likewise, an aiohttp connector of yours.
        proxy: URL of a proxy, `http://user:password@host:port`; what is special in the password as `%40` for `@`.
        trust_env: whether to take a proxy from the environment, `https_proxy` and `no_proxy`, or from the system's
            settings. They are read once, at the first call; `~/.netrc` never is.
        ssl_context: a TLS context that knows your own authority. One that does not check certificates is refused.
        allow_http: hosts, besides loopback, that may be called without TLS.
        max_body_bytes: the largest reply that is read, decompressed.
        allow_running_loop: whether to serve a thread in which an event loop runs. A call blocks that loop, so this is
            refused, except in IPython and Jupyter; notebooks of other makers (marimo, Spyder) need it.

    Raises:
        ConfigurationError: a setting cannot be used; the message says what to set instead.
    """

    auth: Auth[Sync]
    trading_sessions: TradingSessions[Sync]
    user: User[Sync]
    indicators: Indicators[Sync]
    bulk: Bulk[Sync]
    leaderboard: Leaderboard[Sync]
    referrals: Referrals[Sync]
    usdc_verification: UsdcVerification[Sync]
    health: Health[Sync]
    journal: Journal[Sync]

    def __init__(
        self,
        wallet: WalletLike | None = None,
        *,
        token: str | Secret | None = None,
        token_cache: str | os.PathLike[str] | None = None,
        base_url: str = TESTNET_URL,
        timeout: TimeoutLike | None = None,
        retry: Retry | None = None,
        limiter: RateLimiter | None = None,
        journal: str | os.PathLike[str] | None = None,
        guard: Guard | None = None,
        warm: bool = False,
        assets: Mapping[str, int] | None = None,
        poll_interval: float = 2.0,
        referral_code: str | None = None,
        check_challenge: ChallengeCheck = check_challenge,
        session: aiohttp.ClientSession | None = None,
        connector: aiohttp.BaseConnector | None = None,
        proxy: str | Secret | None = None,
        trust_env: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        allow_http: Iterable[str] = (),
        max_body_bytes: int = 64 * 1024 * 1024,
        allow_running_loop: bool = False,
    ) -> None:
        # First of all: a traceback that shows local variables must find nothing here.
        wallet = sealed(wallet)
        token = Secret(token) if isinstance(token, str) else token
        proxy = Secret(proxy) if isinstance(proxy, str) else proxy
        self._core = AsyncAlura(
            wallet,
            token=token,
            token_cache=token_cache,
            base_url=base_url,
            timeout=timeout,
            retry=retry,
            limiter=limiter,
            journal=journal,
            guard=guard,
            warm=warm,
            assets=assets,
            poll_interval=poll_interval,
            referral_code=referral_code,
            check_challenge=check_challenge,
            session=session,
            connector=connector,
            proxy=proxy,
            trust_env=trust_env,
            ssl_context=ssl_context,
            allow_http=allow_http,
            max_body_bytes=max_body_bytes,
        )
        self._loop_thread = LoopThread(self._core, allow_running_loop)
        self._owns_thread = True
        self._add_groups()

    @classmethod
    def from_env(cls, **settings: Any) -> Self:
        """Make a client of environment variables.

        `ALURA_BASE_URL`, `ALURA_PRIVATE_KEY`, `ALURA_KEYSTORE` with `ALURA_KEYSTORE_PASSWORD`, `ALURA_TOKEN`,
        `ALURA_TOKEN_CACHE` and `ALURA_JOURNAL`; each may be missing. `ALURA_LOG` is the level of a log on stderr:
        `debug`, `info`, `warning`.

        Args:
            settings: settings of the client, which have the last word.

        Raises:
            ConfigurationError: a value cannot be used, or both a key and a keystore are set.
        """
        # First of all: a traceback that shows local variables must find nothing here.
        seal(settings)
        return cls(**{**settings_from_env(), **settings})

    def _add_groups(self) -> None:
        core = self._core
        self.auth = Auth(self, core.auth)
        self.trading_sessions = TradingSessions(self, core.trading_sessions)
        self.user = User(self, core.user)
        self.indicators = Indicators(self, core.indicators)
        self.bulk = Bulk(self, core.bulk)
        self.leaderboard = Leaderboard(self, core.leaderboard)
        self.referrals = Referrals(self, core.referrals)
        self.usdc_verification = UsdcVerification(self, core.usdc_verification)
        self.health = Health(self, core.health)
        self.journal = Journal(self, core.journal)

    def send(self, request: Request[T]) -> T:
        """Make a call that was built beforehand and return what its method would have returned.

            request = TradingSessions.create.request(budget=100, profit_target=40, asset="BTC")
            session = alura.send(request)

        Args:
            request: of an endpoint's `request(…)`, or of a `Route` of your own.

        Raises:
            AluraError: what the endpoint's method raises.
        """
        return self._loop_thread.run(self._core.send, request)

    def send_raw(self, request: Request[T]) -> Reply[T]:
        """Make a call and return the complete reply, whatever its status: status, headers, bytes, and `decode()`.

        A 401 still signs in, where that is possible, and calls once more.

        Args:
            request: of an endpoint's `request(…)`, or of a `Route` of your own.

        Raises:
            TransportError: no complete reply came.
            OutcomeUnknownError: no complete reply came to a call that must not be made twice.
            CredentialsNeededError: the call needs a token, and there is neither one nor a wallet.
            SignInError: the sign-in failed.
        """
        return self._loop_thread.run(self._core.send_raw, request)

    def with_options(
        self,
        *,
        timeout: TimeoutLike | None = None,
        retry: Retry | None = None,
        assets: Mapping[str, int] | None = None,
        poll_interval: float | None = None,
    ) -> Self:
        """Return a client with other options and the same connections and token. It need not be closed.

            profile = alura.with_options(timeout=2).user.profile()

        Args:
            timeout: seconds that bound every call, or `Timeouts`.
            retry: how often a call that failed is made again, where that is safe.
            assets: which index a symbol has.
            poll_interval: seconds between two reads of `watch…` and `wait_…`.

        Raises:
            ConfigurationError: a value cannot be used.
        """
        view = object.__new__(type(self))
        view._core = self._core.with_options(timeout=timeout, retry=retry, assets=assets, poll_interval=poll_interval)
        view._loop_thread = self._loop_thread
        view._owns_thread = False
        view._add_groups()
        return view

    def flatten(self, *, timeout: float = 60.0, patience: float = 5.0) -> Flattened:
        """Close everything, repeat what remains, and return only when the reads say that nothing is open.

        It takes `patience` seconds at least, and closes what other programs have opened, too: stop first what opens
        sessions. What is opened after it has returned stays open.

        Args:
            timeout: seconds to go on for at most.
            patience: seconds that nothing must have been listed for: the server may act, and list, late.

        Raises:
            NotFlatError: something is still open, or cannot be read, after `timeout` seconds; says what.
            InvalidArgumentError: a time that cannot be used; nothing was sent.
            CredentialsNeededError: there is neither a wallet nor a token.
        """
        return self._loop_thread.run(self._core.flatten, timeout=timeout, patience=patience)

    @property
    def assets(self) -> Assets:
        """Which index a symbol has."""
        return self._core.assets

    @property
    def poll_interval(self) -> float:
        """Seconds between two reads of `watch…` and `wait_…`."""
        return self._core.poll_interval

    @property
    def base_url(self) -> str:
        """The server."""
        return self._core.base_url

    def close(self) -> None:
        """See orders that are under way through, for up to `Timeouts.drain` seconds, and close the connections.

        Calls made later raise `ClosedError`. Closing twice, or a `with_options` view, does nothing.
        """
        if self._owns_thread:
            self._loop_thread.close()

    def __enter__(self) -> Self:
        self._loop_thread.require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what is written for the async surface. For the groups."""
        return self._loop_thread.run(function, *args, **kwargs)

    def _iterate(self, batches: AsyncGenerator[Sequence[T], None], /) -> Stream[T]:
        """Iterate over what is written for the async surface. For the groups."""
        return Stream(self._loop_thread, batches)

    def __repr__(self) -> str:
        # Shown also half made: tracebacks with locals show the object whose making failed.
        loop_thread: LoopThread | None = getattr(self, "_loop_thread", None)
        if loop_thread is None:
            return f"<{type(self).__name__}>"
        return f"<{type(self).__name__} of {self.base_url}{' (closed)' if loop_thread.closed else ''}>"
