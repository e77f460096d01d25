"""`AsyncAlura`, the client that is awaited."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .assets import Assets
from .core import log
from .core.challenge import check_challenge
from .core.outcome import Reply
from .core.proxy import as_proxy
from .core.request import Action, Request
from .core.road import Road
from .core.settings import TESTNET_URL, Connection, TimeoutLike, options, origin, safety
from .core.surface import Async
from .core.token_cache import TokenCache
from .errors import ConfigurationError, InvalidArgumentError
from .flatten import Flattened, flatten
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
from .signin import SigningIn, account_of
from .wallet import Keystore, as_wallet, sealed

if TYPE_CHECKING:
    import ssl

    import aiohttp

    from .core.challenge import ChallengeCheck
    from .core.intents import Intents
    from .core.lanes import RateLimiter
    from .core.retry import Retry
    from .guard import Guard
    from .wallet import WalletLike

T = TypeVar("T")


class AsyncAlura:
    """A client of the Alura trading backend, for asyncio.

        async with AsyncAlura(wallet="0x…") as alura:
            session = await alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC")

    The API is on its groups: `auth`, `trading_sessions`, `user`, `indicators`, `leaderboard`, `referrals`,
    `usdc_verification` and `health`; see `help(alura.trading_sessions)`. `bulk` pulls market data by the million,
    `journal` knows what was done with money from here, and `flatten()` closes everything.

    Nothing is opened and nothing is sent before the first call. A client belongs to the event loop of its first call;
    any number of tasks may share it.

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

    Raises:
        ConfigurationError: a setting cannot be used; the message says what to set instead.
    """

    auth: Auth[Async]
    trading_sessions: TradingSessions[Async]
    user: User[Async]
    indicators: Indicators[Async]
    bulk: Bulk[Async]
    leaderboard: Leaderboard[Async]
    referrals: Referrals[Async]
    usdc_verification: UsdcVerification[Async]
    health: Health[Async]
    journal: Journal[Async]

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
    ) -> None:
        # First of all: a traceback that shows local variables must find nothing here.
        wallet = sealed(wallet)
        token = Secret(token) if isinstance(token, str) else token
        proxy = Secret(proxy) if isinstance(proxy, str) else proxy
        connection = Connection(
            origin=origin(base_url, allow_http),
            proxy=as_proxy(proxy),
            trust_env=trust_env,
            ssl_context=ssl_context,
            max_body_bytes=max_body_bytes,
            session=session,
            connector=connector,
            warm=warm,
        )
        self._options = options(timeout=timeout, assets=assets, poll_interval=poll_interval, retry=retry)
        self._origin = connection.origin
        signs_in = cache = None
        if wallet is not None:
            signs_in = SigningIn(
                as_wallet(wallet),
                check_challenge,
                connection.origin.host,
                self._options.timeouts.sign_in,
                referral_code,
            )
        if signs_in is not None and token_cache is not None:
            cache = TokenCache(token_cache, str(connection.origin), signs_in.address)
        self._road = Road(
            connection,
            self._options,
            safety(limiter, journal, guard, self._options.assets),
            signs_in,
            token,
            cache,
            partial(account_of, signs_in, token),
        )
        self._owns_road = True
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
        self.auth = Auth(self)
        self.trading_sessions = TradingSessions(self)
        self.user = User(self)
        self.indicators = Indicators(self)
        self.bulk = Bulk(self)
        self.leaderboard = Leaderboard(self)
        self.referrals = Referrals(self)
        self.usdc_verification = UsdcVerification(self)
        self.health = Health(self)
        self.journal = Journal(self)

    async def send(self, request: Request[T]) -> T:
        """Make a call that was built beforehand and return what its method would have returned.

            request = TradingSessions.create.request(budget=100, profit_target=40, asset="BTC")
            session = await alura.send(request)

        Args:
            request: of an endpoint's `request(…)`, or of a `Route` of your own.

        Raises:
            AluraError: what the endpoint's method raises.
        """
        self._road.require_open()
        return await self._road.travel(request, self._time_limit(request), self._options)

    async def send_raw(self, request: Request[T]) -> Reply[T]:
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
        self._road.require_open()
        return await self._road.carry(request, self._time_limit(request), self._options)

    def with_options(
        self,
        *,
        timeout: TimeoutLike | None = None,
        retry: Retry | None = None,
        assets: Mapping[str, int] | None = None,
        poll_interval: float | None = None,
    ) -> Self:
        """Return a client with other options and the same connections and token. It need not be closed.

            profile = await alura.with_options(timeout=2).user.profile()

        Args:
            timeout: seconds that bound every call, or `Timeouts`.
            retry: how often a call that failed is made again, where that is safe.
            assets: which index a symbol has.
            poll_interval: seconds between two reads of `watch…` and `wait_…`.

        Raises:
            ConfigurationError: a value cannot be used.
        """
        view = object.__new__(type(self))
        view._options = self._options.changed(timeout, retry, assets, poll_interval)
        view._origin = self._origin
        view._road = self._road
        view._owns_road = False
        view._add_groups()
        return view

    async def flatten(self, *, timeout: float = 60.0, patience: float = 5.0) -> Flattened:
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
        self._road.require_open()
        return await flatten(self, timeout=timeout, patience=patience)

    @property
    def _intents(self) -> Intents:
        """For `journal`."""
        return self._road.orders.intents

    @property
    def assets(self) -> Assets:
        """Which index a symbol has."""
        return self._options.assets

    @property
    def poll_interval(self) -> float:
        """Seconds between two reads of `watch…` and `wait_…`."""
        return self._options.poll_interval

    @property
    def base_url(self) -> str:
        """The server."""
        return str(self._origin)

    async def _login(self) -> None:
        """For `auth.login()`."""
        await self._road.login()

    async def _logout(self) -> None:
        """For `auth.logout()`."""
        await self._road.tokens.logout()

    def _after_fork(self) -> None:
        """Go on in a child process, without the parent's connections and with its token."""
        self._road.restart()

    async def close(self) -> None:
        """See orders that are under way through, for up to `Timeouts.drain` seconds, and close the connections.

        Calls made later raise `ClosedError`. Closing twice, or a `with_options` view, does nothing.
        """
        if self._owns_road:
            await self._road.close()

    async def __aenter__(self) -> Self:
        self._road.require_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _time_limit(self, request: Request[Any]) -> float:
        if not isinstance(request, Request):
            raise InvalidArgumentError(
                f"{request!r} is no request: make one, such as TradingSessions.create.request(budget=100, …)"
            )
        timeouts = self._options.timeouts
        return timeouts.create if request.route.action is Action.OPEN else timeouts.call

    def __repr__(self) -> str:
        # Shown also half made: tracebacks with locals show the object whose making failed.
        road: Road | None = getattr(self, "_road", None)
        if road is None:
            return f"<{type(self).__name__}>"
        return f"<{type(self).__name__} of {self._origin}{' (closed)' if road.closed else ''}>"


def seal(settings: dict[str, Any]) -> None:
    """Put the secrets among settings out of sight."""
    if "wallet" in settings:
        settings["wallet"] = sealed(settings["wallet"])
    for name in ("token", "proxy"):
        if isinstance(settings.get(name), str):
            settings[name] = Secret(settings[name])


def settings_from_env() -> dict[str, Any]:
    """The settings that the environment gives.

    Raises:
        ConfigurationError: both a key and a keystore are set, or a keystore without its password.
    """
    settings: dict[str, Any] = {}
    if url := os.environ.get("ALURA_BASE_URL"):
        settings["base_url"] = url
    if token := _secret_of("ALURA_TOKEN"):
        settings["token"] = token
    for name in ("token_cache", "journal"):
        if path := os.environ.get(f"ALURA_{name.upper()}"):
            settings[name] = path
    if level := os.environ.get("ALURA_LOG"):
        log.show(level)
    key, keystore = _secret_of("ALURA_PRIVATE_KEY"), os.environ.get("ALURA_KEYSTORE")
    if key and keystore:
        raise ConfigurationError("ALURA_PRIVATE_KEY and ALURA_KEYSTORE are both set: unset one of them")
    if key:
        settings["wallet"] = key
    elif keystore:
        password = _secret_of("ALURA_KEYSTORE_PASSWORD")
        if password is None:
            raise ConfigurationError("ALURA_KEYSTORE is set, and ALURA_KEYSTORE_PASSWORD is not")
        settings["wallet"] = Keystore(keystore, password)
    return settings


def _secret_of(name: str) -> Secret | None:
    value = os.environ.get(name)
    return None if value is None else Secret(value)
