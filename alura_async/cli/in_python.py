"""What the demo does, as Python to copy. It is text, and tests run and type-check exactly this text."""

from __future__ import annotations

SOURCE = """\
import asyncio
from alura_async import AsyncAlura

async def main() -> None:
    async with AsyncAlura(wallet, base_url=base_url) as alura:
        print(await alura.indicators.signals("BTC", "1h"))
        session = await alura.trading_sessions.create(
            asset="BTC", budget=100, profit_target=40, loss_threshold=20)
        async for seen in alura.trading_sessions.watch(session.id):
            print("unrealized PnL:", seen.value.unrealized_pnl)
            if seen.value.unrealized_pnl:  # here stands your own rule
                break
        assert session.trade_id
        print(await alura.trading_sessions.close_trade(session.trade_id))

asyncio.run(main())
"""
"""Ten lines of work inside `main`.

It takes two variables, which `alura sandbox` prints: `base_url`, the server's address, and `wallet`, a private key.
"""
