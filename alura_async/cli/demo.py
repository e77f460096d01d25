"""`alura demo`: the SDK does its main job before your eyes, against a server inside this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from ..assets import DEFAULT_ASSETS
from ..core.text import printable
from . import figures
from .invocation import command_line
from .presenter import Cell, Column, Feeling, Frame, Presenter, Table, signed

if TYPE_CHECKING:
    from ..groups.auth import Challenge
    from ..groups.indicators import Signal, SignalAction
    from ..groups.trading_sessions import LogEntry
    from ..groups.user import Profile
    from ..sandbox import LedgerEntry

# With a fixed start and a clock that stands still between our steps, a seed tells the same story every time.
_START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
# A story with a loss that recovers: the session is neither closed by its limits nor a success from the first minute.
_SEED = 27
_STEPS = 24
_STEP_MINUTES = 30
_BUDGET, _PROFIT_TARGET, _LOSS_THRESHOLD, _MAX_POSITIONS = 100, 40, 20, 3

_FEELINGS: dict[str, Feeling] = {"buy": "good", "sell": "bad"}
# Of the facts in logs and ledger, those that a reader of the demo wants.
_TELLING = frozenset(
    {"funds", "symbol", "budget", "positions", "position_ids", "side", "price", "reason", "realized_pnl", "realizedPnl"}
)


def _listed(_context: click.Context, _option: click.Parameter, symbol: str) -> str:
    """A symbol as the server writes it."""
    if symbol.upper() not in DEFAULT_ASSETS:
        raise click.BadParameter(f"{printable(symbol)!r} is not one of {', '.join(DEFAULT_ASSETS)}.")
    return symbol.upper()


@click.command("demo")
@click.option("--seed", default=_SEED, show_default=True, help="Another number is another market.")
@click.option(
    "--symbol",
    metavar=f"[{'|'.join(DEFAULT_ASSETS)}]",
    callback=_listed,
    default="BTC",
    show_default=True,
    help="The asset to trade.",
)
@click.option("--plain", is_flag=True, help="Plain lines: no colours, nothing that moves. Chosen for pipes by itself.")
@click.option("--fast", is_flag=True, help="Do not wait between the steps.")
def command(seed: int, symbol: str, plain: bool, fast: bool) -> None:
    """Watch the SDK do its main job, on this machine alone.

    It starts a sandbox (an Alura server in memory), signs in with a throwaway wallet, reads the market, opens a
    trading session, follows it, closes it and shows what became of it. No account, no network, no real money.

    Takes about 15 seconds in a terminal. Ctrl-C ends it at any point, with exit code 130.
    """
    from .plain import PlainPresenter
    from .terminal import TerminalPresenter, is_capable, open_console

    console = open_console()
    presenter: Presenter
    if plain or not is_capable(console):
        presenter = PlainPresenter()
    elif fast:
        presenter = TerminalPresenter(console, pace=0, pause=0)
    else:
        presenter = TerminalPresenter(console)
    try:
        asyncio.run(demonstrate(presenter, seed, symbol))
    except ImportError as error:
        raise click.ClickException(printable(str(error))) from error


async def demonstrate(show: Presenter, seed: int, symbol: str) -> None:
    """The demo from its first step to its last.

    Everything is done by the public client; the sandbox itself is only asked for its clock and, at the end, for its
    ledger.

    Args:
        show: shows each step.
        seed: the market's.
        symbol: the asset to trade.
    """
    from .. import AsyncAlura, KeyWallet, check_challenge
    from ..sandbox import Sandbox
    from .in_python import SOURCE

    def show_and_check(challenge: Challenge, /, *, address: str, host: str) -> None:
        text = "\n".join(map(printable, challenge.message.split("\n")))
        show.quote("the text that the server wants signed", text)
        check_challenge(challenge, address=address, host=host)

    show.title("Alura: a trading session from sign-in to result", "Everything happens on this machine, in memory.")

    await show.heading("1  Start the sandbox")
    async with Sandbox(seed=seed, start=_START, speed=0) as sandbox:
        show.facts({"server": sandbox.url, "its clock": f"{figures.moment(sandbox.now)} UTC", "seed": str(seed)})
        show.say("Its prices are random numbers. What happens here says nothing about a real market.")

        await show.heading("2  Sign in with a wallet")
        wallet = KeyWallet(sandbox.wallet())
        await wallet.prepare()
        show.facts({"throwaway wallet": wallet.address})
        async with AsyncAlura(wallet, base_url=sandbox.url, check_challenge=show_and_check) as alura:
            show.call("await alura.auth.login()")
            await alura.auth.login()
            before = await alura.user.profile()
            show.say("Signed, and a token was given: the client keeps it, and never shows it.")
            show.facts({"user": figures.words(before.id), "balance": f"{figures.money(before.balance)} USDC"})

            await show.heading("3  Read the market")
            show.call("await alura.indicators.symbols()")
            symbols = await alura.indicators.symbols()
            show.say(f"{len(symbols)} symbols: {printable(', '.join(symbols[:8]))}, ...")
            show.call(f'await alura.indicators.candles("{symbol}", "1h", limit=72)')
            show.chart(f"{symbol} 1h", await alura.indicators.candles(symbol, "1h", limit=72))
            show.call(f'await alura.indicators.signals("{symbol}", interval)  # four at once')
            intervals = ("15m", "1h", "4h", "1d")
            show.table(_signals(await asyncio.gather(*(alura.indicators.signals(symbol, each) for each in intervals))))

            await show.heading("4  Open a session")
            show.say(
                "A session is a budget that the server trades with on its own: it chooses the side and the positions. "
                "This server holds all positions of a session the same way."
            )
            sessions = alura.trading_sessions
            show.call(
                f'await alura.trading_sessions.create(asset="{symbol}", budget={_BUDGET}, '
                f"profit_target={_PROFIT_TARGET}, loss_threshold={_LOSS_THRESHOLD}, max_positions={_MAX_POSITIONS})"
            )
            session = await sessions.create(
                asset=symbol,
                budget=_BUDGET,
                profit_target=_PROFIT_TARGET,
                loss_threshold=_LOSS_THRESHOLD,
                max_positions=_MAX_POSITIONS,
            )
            show.facts({"session": printable(session.id), "created": figures.moment(session.created_at)})
            show.say(f"It closes by itself at +{_PROFIT_TARGET} % or -{_LOSS_THRESHOLD} % of its budget.")

            await show.heading("5  Follow it")
            show.say(f"From here on the sandbox's clock is sped up: each step is {_STEP_MINUTES} minutes of its time.")
            show.call("await alura.trading_sessions.current_trade()")
            opened = sandbox.now
            course: list[Decimal] = []
            with show.live() as draw:
                while (trade := await sessions.current_trade()) is not None:
                    course.append(trade.unrealized_pnl or Decimal(0))
                    draw(Frame(session, trade, sandbox.now, sandbox.now - opened, course))
                    if len(course) > _STEPS:
                        break
                    await asyncio.sleep(show.pace)
                    sandbox.advance(minutes=_STEP_MINUTES)

            if trade is None:
                await show.heading("6  It closed by itself")
                show.say("One of its limits was reached, so there is nothing left to close. The log below says which.")
            else:
                await show.heading("6  Close it")
                show.call(f'await alura.trading_sessions.close_trade("{figures.short(trade.id)}...")')
                closing = await sessions.close_trade(trade.id)
                show.say(f"Accepted: {figures.words(closing.message)}. Only a read can tell that it is done:")
                show.call(f'await alura.trading_sessions.wait_until_closed("{figures.short(session.id)}...")')
                closed = await sessions.wait_until_closed(session.id, timeout=10, interval=0.05, patience=0)
                show.facts({"session": printable(closed.id), "status": figures.words(closed.status)})

            await show.heading("7  See the result")
            show.call("await alura.user.profile()")
            after = await alura.user.profile()
            show.call("await alura.user.sync_fills()")
            fills = (await alura.user.sync_fills()).fills or []
            realized = sum(((fill.realized_pnl or Decimal(0)) - (fill.fee or Decimal(0)) for fill in fills), Decimal(0))
            show.table(_result(before, after, realized))
            show.say("What the trade's log says:")
            show.call("async for entry in alura.trading_sessions.iter_trade_logs(trade_id)")
            assert session.trade_id is not None  # the sandbox names it
            show.table(_log([entry async for entry in sessions.iter_trade_logs(session.trade_id)]))
        show.say("What the server carried out, by its own ledger:")
        show.call("sandbox.ledger")
        show.table(_ledger(sandbox.ledger))

    await show.heading("The same in Python")
    show.say("Put base_url and wallet above it: the command in the last line starts a server and prints them.")
    show.code(SOURCE)
    show.end(f"Realised: {figures.gain_usdc(realized)}. Next: {command_line('sandbox')}")


def _signals(by_interval: Sequence[Sequence[Signal]]) -> Table:
    signals = [signal for signals in by_interval for signal in signals]
    names = list(dict.fromkeys(name for signal in signals for name in signal.indicators or ()))
    rows = [
        [
            Cell(figures.words(signal.interval)),
            _action(signal.action),
            Cell(figures.exact(signal.strength)),
            Cell(figures.exact(signal.price)),
            *(Cell(figures.exact((signal.indicators or {}).get(name))) for name in names),
        ]
        for signal in signals
    ]
    columns = (
        Column("interval"),
        Column("action"),
        Column("strength", "number", is_optional=True),
        Column("price", "number"),
        *(Column(printable(name), "number", is_optional=True) for name in names),
    )
    return Table(columns, rows)


def _action(action: SignalAction | None) -> Cell:
    if action is None:
        return Cell(figures.UNKNOWN)
    return Cell(printable(action.value), _FEELINGS.get(action.value, "neutral"))


def _result(before: Profile, after: Profile, realized: Decimal) -> Table:
    change = None if after.balance is None or before.balance is None else after.balance - before.balance
    rows = [
        [Cell("realised by the fills"), signed(realized)],
        [Cell("balance before"), Cell(figures.money(before.balance))],
        [Cell("balance after"), Cell(figures.money(after.balance))],
        [Cell("change of the balance"), signed(change)],
    ]
    return Table((Column(""), Column("USDC", "number")), rows)


def _log(entries: Sequence[LogEntry]) -> Table:
    rows = [
        [
            Cell(figures.hour(entry.timestamp)),
            Cell(figures.words(entry.message)),
            Cell(_telling(entry.data), "faint"),
        ]
        for entry in entries
    ]
    return Table((Column("time"), Column("entry", "text"), Column("facts", "text")), rows)


def _ledger(entries: Sequence[LedgerEntry]) -> Table:
    rows = [
        [
            Cell(figures.hour(entry.time)),
            Cell(entry.kind),
            Cell(entry.operation or "by the clock"),
            Cell(_telling(entry.detail), "faint"),
        ]
        for entry in entries
    ]
    return Table((Column("time"), Column("what"), Column("asked by", "text"), Column("facts", "text")), rows)


def _telling(facts: Mapping[str, Any] | None) -> str:
    return figures.facts({name: value for name, value in (facts or {}).items() if name in _TELLING})
