"""The guard: what a client may do with money, and whom it asks before it does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from .core.arguments import Amount
from .core.arguments import address as an_address
from .core.arguments import amount as an_amount
from .core.asked import Asked, Field, UnclearError, asked_by
from .core.entries import two_names
from .core.imports import importing
from .core.request import Action, Request
from .core.spending import EXACT, Spending
from .core.text import clip, printable, redact, shown
from .errors import ConfigurationError, GuardError, InvalidArgumentError

if TYPE_CHECKING:
    from .assets import Assets
    from .core.intents import Intents

T = TypeVar("T")


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What is about to be done, for a `confirm` callback to judge; `str()` says it in one line.

    Attributes:
        action: `Action.OPEN` or `Action.TRANSFER`.
        amount: how much, in USDC [guess]; None where the call does not say it, or not clearly.
        asset: the asset's symbol, or its index where the table has no symbol for it; None where the call names none, or
            several.
        destination: where the money goes; None where the call names nothing, or several.
        host: the server.
        account: whose account; empty where that is not known.
        method: the HTTP method.
        path: the path and query, percent-encoded.
        body: the JSON that is sent, secrets blanked out; empty where there is none.
    """

    action: Action
    amount: Decimal | None
    asset: str | int | None
    destination: str | None
    host: str
    account: str
    method: str
    path: str
    body: str

    def __str__(self) -> str:
        what = "an amount that is not named" if self.amount is None else f"{self.amount:f} USDC"
        where = "" if self.asset is None else f" in asset {self.asset}"
        whither = "" if self.destination is None else f" to {self.destination}"
        whose = f" for {self.account}" if self.account else ""
        sent = f" {clip(self.body, 500)}" if self.body else ""
        return printable(
            f"{self.action.value} {what}{where}{whither} at {self.host}{whose}: {self.method} {self.path}{sent}"
        )


Confirm: TypeAlias = Callable[[Proposal], "bool | Awaitable[bool]"]
"""Asked before a call that creates or transfers: True agrees, anything else refuses."""


class Guard:
    """What a client may do with money, and whom it asks before it does.

        guard = Guard(max_amount=500, max_amount_per_day=2000, assets=["BTC", "ETH"], destinations=["0x…"])
        alura = AsyncAlura(wallet="0x…", guard=guard, journal="orders.db")

    Calls that create a session or transfer money are checked before anything else is done for them, and refused with
    `GuardError`. What closes is never checked: nothing stands between you and being flat. Calls of your own `Route`
    are checked by its `action`.

    The rules look at what is really sent, so `extra=` does not get past them. What they cannot judge they refuse: with
    a limit on amounts, a call that names none, two different ones or one that is no plain number, or that may use the
    whole wallet. Only `claim_reward()` need not name any, because it brings money in.

    Args:
        confirm: asked last, with a `Proposal`; agrees by returning True. Anything else refuses, and so does an
            exception. A coroutine function is awaited; any other runs in a worker thread, one at a time, so it may
            block, as `input()` does, while everything else goes on. The time that it takes does not count as the
            call's. When the call is cancelled meanwhile, the answer of a thread is not waited for, and has no effect.
        max_amount: the most that one call may create or transfer, in USDC [guess].
        max_amount_per_day: the most that all calls of one account on one server may create and transfer, together, in
            any 24 hours, in USDC [guess]: those that were done and those that may have been, by any process with the
            same journal. Two wallets are two accounts; a name that is none, such as a token's, may be any account's. It
            needs a durable journal, else a restart would forget the sum. Setting the machine's clock frees nothing of
            what this guard has seen: that counts for 24 hours by `time.monotonic()` (which on some systems stands
            still while they sleep), too. A process that starts has only the times in the journal: what was done while
            the clock was behind ceases to count as much too early, and so does everything while it is ahead.
        assets: the only assets that may be opened, by symbol or index. A symbol is looked up in the table of the client
            that makes the call.
        destinations: the only addresses that money may go to, their letters in any case. A withdrawal that names
            none, and leaves that to the server, is then refused.

    Raises:
        ConfigurationError: a rule cannot be used, or there is none.
    """

    def __init__(
        self,
        *,
        confirm: Confirm | None = None,
        max_amount: Amount | None = None,
        max_amount_per_day: Amount | None = None,
        assets: Iterable[str | int] | None = None,
        destinations: Iterable[str] | None = None,
    ) -> None:
        if confirm is not None and not callable(confirm):
            raise ConfigurationError(f"Guard(confirm={confirm!r}): give a function that takes a Proposal")
        self._confirm = confirm
        self._max_amount = _limit("max_amount", max_amount)
        self._max_amount_per_day = _limit("max_amount_per_day", max_amount_per_day)
        self._assets = _allowed_assets(assets)
        self._destinations = _allowed_destinations(destinations)
        if all(rule is None for rule in (confirm, max_amount, max_amount_per_day, assets, destinations)):
            raise ConfigurationError("Guard() has no rule and would let everything pass: give it one, or no guard")
        # A lock of asyncio belongs to one loop, and a guard may serve several.
        self._entering = _LockOfEachLoop()
        self._asking = _LockOfEachLoop()
        self._spending = Spending()

    def require(self, *, durable: bool, assets: Assets) -> None:
        """Refuse what this guard could not do for a client. For the client that is given it.

        Args:
            durable: whether the client's journal is kept on disk.
            assets: the client's table of assets.

        Raises:
            ConfigurationError: the daily limit has no durable journal, or an asset is not in the table.
        """
        if self._max_amount_per_day is not None and not durable:
            raise ConfigurationError(
                "Guard(max_amount_per_day=…) needs a durable journal, because one in memory forgets the day's sum with "
                "the process: give the client one (journal='orders.db')"
            )
        for asset in self._assets or ():
            try:
                assets.index(asset)
            except InvalidArgumentError as error:
                raise ConfigurationError(f"Guard(assets=…): {error}") from None

    async def check(self, request: Request[Any], *, host: str, account: str, intents: Intents, assets: Assets) -> None:
        """Refuse a call that breaks a rule. Asks nobody, and holds no place under the daily limit.

        Args:
            request: the call; it opens or transfers.
            host: the server, as the journal's entries have it.
            account: the account, as the journal's entries have it.
            intents: the journal.
            assets: the table of the client that makes the call.

        Raises:
            GuardError: it is refused; the message says by which rule, what was asked for and what is allowed.
            JournalError: the day's sum cannot be read.
        """
        action = request.route.action
        assert action.is_guarded, f"{request!r} is nothing for a guard"
        asked = asked_by(request)
        if self._max_amount is not None:
            amount = _clear_amount(request, asked, f"max_amount={self._max_amount:f}")
            if amount > self._max_amount:
                raise _refusal(
                    request,
                    f"it asks for {amount:f} USDC, and max_amount={self._max_amount:f} is the most for one call",
                )
        if self._assets is not None and action is Action.OPEN:
            self._check_assets(request, asked, self._assets, assets)
        if self._destinations is not None and action is Action.TRANSFER:
            self._check_destinations(request, asked, self._destinations)
        await self._check_day(request, host, account, intents)

    async def ask(self, request: Request[Any], *, host: str, account: str, assets: Assets) -> None:
        """Ask whoever has to confirm a call that breaks no rule, and takes the time that it takes.

        Args:
            request: the call; it opens or transfers.
            host: the server.
            account: the account.
            assets: the table of the client that makes the call.

        Raises:
            GuardError: it is not confirmed.
        """
        if self._confirm is not None:
            await self._ask(self._confirm, request, _proposal(request, asked_by(request), host, account, assets))

    @asynccontextmanager
    async def place(
        self, request: Request[Any], *, call_id: str, host: str, account: str, intents: Intents
    ) -> AsyncGenerator[None]:
        """Let a call's intent be written in the block: two calls at once never pass one daily limit.

        Calls of one event loop enter one after another. Of those of several loops or processes none can see what the
        others are about to write, so the sum is taken once more when the intent is there: of two that together would
        pass the limit at the same moment, both may be refused, and never both admitted.

        Args:
            request: the call; it opens or transfers.
            call_id: the id of the entry that the block writes.
            host: the server, as the journal's entries have it.
            account: the account, as the journal's entries have it.
            intents: the journal.

        Raises:
            GuardError: it is refused; if its intent was written by then, that has to be concluded as not sent.
            JournalError: the day's sum cannot be read.
        """
        if self._max_amount_per_day is None:
            yield
            return
        async with self._entering.lock():
            amount = await self._check_day(request, host, account, intents)
            yield
            self._spending.note(call_id, amount, host=host, account=account, intents=intents)
            await self._check_day(request, host, account, intents, but=call_id)

    def _check_assets(self, request: Request[Any], asked: Asked, allowed: Sequence[str | int], table: Assets) -> None:
        rule = f"assets={list(allowed)!r}"
        try:
            named = asked.assets()
        except UnclearError as error:
            raise _refusal(request, f"{error}, so {rule} cannot be checked") from None
        if not named:
            raise _refusal(request, f"it names no asset, and {rule} are those that may be opened")
        indices = {_index(asset, table) for asset in allowed} - {None}
        for field in named:
            if isinstance(field.value, bool) or _index(field.value, table) not in indices:
                raise _refusal(request, f"it asks for {_named(field, table)}, and {rule} are those that may be opened")

    def _check_destinations(self, request: Request[Any], asked: Asked, allowed: frozenset[str]) -> None:
        rule = f"destinations={sorted(allowed)!r}"
        try:
            named = asked.destinations()
        except UnclearError as error:
            raise _refusal(request, f"{error}, so {rule} cannot be checked") from None
        if not named and not asked.brings_in:
            raise _refusal(
                request,
                f"it names no destination and leaves that to the server, and {rule} are those that money may go to",
            )
        for field in named:
            if not isinstance(field.value, str) or field.value.lower() not in allowed:
                raise _refusal(request, f"it asks for {field}, and {rule} are those that money may go to")

    async def _check_day(
        self, request: Request[Any], host: str, account: str, intents: Intents, *, but: str = ""
    ) -> Decimal:
        """Refuse what would pass the daily limit, with all that the journal has; `but` is the call's own entry.

        Returns:
            What the call asks for.
        """
        limit = self._max_amount_per_day
        if limit is None:
            return Decimal(0)
        rule = f"max_amount_per_day={limit:f}"
        amount = _clear_amount(request, asked_by(request), rule)
        try:
            spent = await self._spending.of_day(host, account, intents, but=but)
        except UnclearError as error:
            raise _refusal(request, f"what {rule} has left cannot be told: {error}") from None
        left = EXACT.subtract(limit, spent.amount)
        if amount > left:
            raise _refusal(
                request,
                f"it asks for {amount:f} USDC, and {rule} has {max(left, Decimal(0)):f} left: calls of the last 24 "
                f"hours that were done, or may have been, come to {spent.amount:f}"
                + next((words for name in spent.accounts if (words := two_names(name, account))), ""),
            )
        return amount

    async def _ask(self, confirm: Confirm, request: Request[Any], proposal: Proposal) -> None:
        try:
            if inspect.iscoroutinefunction(confirm) or inspect.iscoroutinefunction(type(confirm).__call__):
                answer = await _awaited(confirm(proposal))
            else:
                with importing("anyio.to_thread"):
                    from anyio.to_thread import run_sync

                async with self._asking.lock():
                    answer = await run_sync(confirm, proposal, abandon_on_cancel=True)
                answer = await _awaited(answer)
        except Exception as error:
            why = shown(str(error), 200)
            raise _refusal(request, f"confirm failed with {type(error).__name__}{': ' if why else ''}{why}") from error
        if answer is not True:
            said = "no" if answer is False else f"a {type(answer).__name__}, and only True agrees"
            raise _refusal(request, f"confirm said {said}; it was asked: {proposal}")

    def __repr__(self) -> str:
        rules = [
            "confirm=…" if self._confirm is not None else "",
            f"max_amount={self._max_amount:f}" if self._max_amount is not None else "",
            f"max_amount_per_day={self._max_amount_per_day:f}" if self._max_amount_per_day is not None else "",
            f"assets={list(self._assets)!r}" if self._assets is not None else "",
            f"destinations={sorted(self._destinations)!r}" if self._destinations is not None else "",
        ]
        return f"Guard({', '.join(filter(None, rules))})"


class _LockOfEachLoop:
    """A lock for the tasks of one event loop, for each loop that asks."""

    def __init__(self) -> None:
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    def lock(self) -> asyncio.Lock:
        """That of the running loop."""
        loop = asyncio.get_running_loop()
        found = self._locks.get(loop)
        if found is None:
            found = self._locks[loop] = asyncio.Lock()
        return found


async def _awaited(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


def _refusal(request: Request[Any], why: str) -> GuardError:
    return GuardError(f"{request.method} {printable(request.path)} was refused by the guard and not sent: {why}")


def _clear_amount(request: Request[Any], asked: Asked, rule: str) -> Decimal:
    try:
        return asked.amount()
    except UnclearError as error:
        raise _refusal(request, f"{error}, so {rule} cannot be checked") from None


def _index(asset: str | int | None, table: Assets) -> int | None:
    """The index of an asset, which in a body may be a number as text; None where the table does not say."""
    if isinstance(asset, str) and asset.isascii() and asset.isdigit():
        return int(asset) if len(asset) <= 18 else None
    try:
        return None if asset is None else table.index(asset)
    except InvalidArgumentError:
        return None


def _proposal(request: Request[Any], asked: Asked, host: str, account: str, table: Assets) -> Proposal:
    try:
        amount = None if asked.brings_in else asked.amount()
    except UnclearError:
        amount = None
    return Proposal(
        action=request.route.action,
        amount=amount,
        asset=_named_asset(asked, table),
        destination=_named_destination(asked),
        host=host,
        account=account,
        method=request.method,
        path=f"{request.path}?{request.query}" if request.query else request.path,
        body=printable(redact((request.body or b"").decode("utf-8", "replace"))),
    )


def _named_asset(asked: Asked, table: Assets) -> str | int | None:
    named = [] if asked.unreadable else asked.assets()
    if len(named) != 1 or not isinstance(named[0].value, str):
        return None
    return _symbol(named[0].value, table)


def _symbol(asset: str, table: Assets) -> str | int:
    index = _index(asset, table)
    if index is None:
        return shown(asset, 80)
    return next((symbol for symbol, known in table.items() if known == index), index)


def _named(field: Field, table: Assets) -> str:
    """An asset as whoever asked for it knows it."""
    if field.is_argument and isinstance(field.value, str):
        return f"{field.place}={_symbol(field.value, table)!r}"
    return str(field)


def _named_destination(asked: Asked) -> str | None:
    named = [] if asked.unreadable else asked.destinations()
    if len(named) != 1 or not isinstance(named[0].value, str):
        return None
    return shown(named[0].value, 80)


def _limit(name: str, value: Amount | None) -> Decimal | None:
    if value is None:
        return None
    try:
        limit = an_amount(name, value)
    except InvalidArgumentError as error:
        raise ConfigurationError(f"Guard: {error}") from None
    if limit < 0:
        raise ConfigurationError(f"Guard({name}={limit}): give a number of USDC that is not below 0")
    return limit


def _allowed_assets(assets: Iterable[str | int] | None) -> tuple[str | int, ...] | None:
    if assets is None:
        return None
    allowed = _listed("assets", assets, "['BTC', 'ETH']")
    for asset in allowed:
        if isinstance(asset, bool) or not isinstance(asset, str | int) or (isinstance(asset, int) and asset < 0):
            raise ConfigurationError(f"Guard(assets=…): {asset!r} is no symbol and no index of 0 or more")
    return allowed


def _allowed_destinations(destinations: Iterable[str] | None) -> frozenset[str] | None:
    if destinations is None:
        return None
    try:
        return frozenset(
            an_address("destinations", destination).lower()
            for destination in _listed("destinations", destinations, "['0x…']")
        )
    except InvalidArgumentError as error:
        raise ConfigurationError(f"Guard: {error}") from None


def _listed(name: str, values: Iterable[T], example: str) -> tuple[T, ...]:
    # Text is a list of letters to Python, and nothing that anybody means.
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ConfigurationError(f"Guard({name}={values!r}): give a list such as {example}")
    return tuple(values)
