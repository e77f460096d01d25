"""The assets that the sandbox lists, with what makes their prices look like theirs."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext

import msgspec

# Index in the order of the lines: symbol, usual price in USDC, daily volatility in percent, daily turnover in
# millions of USDC. The first six indices are documented; the prices are round numbers near which each asset moves.
_LISTED = """
BTC 64000 2.4 2100, ETH 3200 3.1 1300, SOL 150 4.2 640, XRP 0.62 4.0 310, DOGE 0.14 4.9 220, AVAX 32 4.6 90,
BNB 590 2.6 95, ADA 0.46 4.1 60, LINK 15.5 4.4 70, DOT 6.4 4.2 35, LTC 82 3.5 40, BCH 430 4.0 38, ATOM 7.9 4.3 22,
NEAR 5.6 5.2 48, APT 8.8 5.4 44, ARB 0.98 5.1 52, OP 2.1 5.3 50, SUI 1.35 6.0 88, SEI 0.48 6.1 30, TIA 8.1 6.2 42,
INJ 24 5.7 36, AAVE 105 4.8 41, UNI 8.9 4.9 33, MKR 2600 4.3 18, CRV 0.38 5.8 17, LDO 2.1 5.5 24, SNX 2.6 5.6 9,
GMX 31 5.2 6, DYDX 1.7 5.6 14, FIL 5.3 4.7 19, ETC 26 4.0 16, TRX 0.13 2.3 27, XLM 0.11 3.9 12, HBAR 0.083 5.0 15,
ICP 10.4 4.9 13, FTM 0.71 6.0 25, RUNE 4.8 5.9 20, STX 1.9 5.8 16, WLD 3.6 6.8 45, JUP 0.97 6.3 29, PYTH 0.42 6.0 18,
ENA 0.74 7.0 34, HYPE 22 6.5 210, WIF 2.4 7.6 72, kPEPE 0.0125 7.2 110, kBONK 0.0241 7.4 46, kSHIB 0.0236 5.0 39,
PURR/USDC 0.19 7.8 4
"""


EXACT = Context(prec=34, rounding=ROUND_HALF_EVEN)
"""How the sandbox calculates: the caller's own context, which may be coarse, decides nothing here."""


class Asset(msgspec.Struct, frozen=True):
    """One listed asset.

    Attributes:
        index: its number in requests.
        symbol: its name in paths.
        base: the usual price, in ticks.
        decimals: decimals of its price; a tick is one unit of the last one.
        size_decimals: decimals of its traded volume.
        volatility: standard deviation of a day's move, in millionths.
        turnover: what is traded on a usual day, in units of the last decimal of the volume.
        tick: what a tick is worth, in USDC.
    """

    index: int
    symbol: str
    base: int
    decimals: int
    size_decimals: int
    volatility: int
    turnover: int
    tick: Decimal

    def price(self, ticks: int) -> Decimal:
        """A number of ticks as a price."""
        return ticks * self.tick

    def price_text(self, ticks: int) -> str:
        """A number of ticks as the wire has it."""
        return decimal_text(ticks, self.decimals)

    def volume_text(self, units: int) -> str:
        """A traded volume as the wire has it."""
        return decimal_text(units, self.size_decimals)


def decimal_text(units: int, decimals: int) -> str:
    """A whole number of the last decimal's units, written with that many decimals."""
    if decimals == 0:
        return str(units)
    text = str(units).zfill(decimals + 1)
    return f"{text[:-decimals]}.{text[-decimals:]}"


def _asset(index: int, line: str) -> Asset:
    symbol, price_text, volatility, turnover = line.split()
    price = Decimal(price_text)
    magnitude = price.adjusted()
    # Six digits that count, as far as six decimals allow.
    decimals = min(6, max(0, 5 - magnitude))
    size_decimals = min(5, max(0, magnitude + 1))
    return Asset(
        index=index,
        symbol=symbol,
        base=int(price * 10**decimals),
        decimals=decimals,
        size_decimals=size_decimals,
        volatility=int(Decimal(volatility) * 10_000),
        turnover=int(Decimal(turnover) * 1_000_000 / price * 10**size_decimals),
        tick=Decimal(1).scaleb(-decimals),
    )


def _read() -> tuple[Asset, ...]:
    with localcontext(EXACT):
        return tuple(_asset(index, line) for index, line in enumerate(" ".join(_LISTED.split()).split(", ")))


LISTED = _read()
BY_SYMBOL: dict[str, Asset] = {asset.symbol: asset for asset in LISTED}
