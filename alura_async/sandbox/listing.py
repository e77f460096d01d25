"""The assets that the sandbox lists, with what makes their prices look like theirs."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext

import msgspec

# Index in the order of the lines: symbol, usual price in USDC, daily volatility in percent, daily turnover in
# millions of USDC, and since when it is traded (UTC). The first six indices are documented; the prices are round
# numbers near which each asset moves, and the dates are made up.
_LISTED = """
BTC         64000  2.4  2100 2020-01-01
ETH          3200  3.1  1300 2020-01-01
SOL           150  4.2   640 2020-01-01
XRP          0.62  4.0   310 2020-01-01
DOGE         0.14  4.9   220 2020-01-01
AVAX           32  4.6    90 2020-01-01
BNB           590  2.6    95 2020-02-03T09:00
ADA          0.46  4.1    60 2020-03-16
LINK         15.5  4.4    70 2020-04-20T13:30
DOT           6.4  4.2    35 2020-06-08
LTC            82  3.5    40 2020-07-22
BCH           430  4.0    38 2020-09-14T11:00
ATOM          7.9  4.3    22 2020-10-27
NEAR          5.6  5.2    48 2020-12-01
APT           8.8  5.4    44 2021-01-19T16:00
ARB          0.98  5.1    52 2021-02-25
OP            2.1  5.3    50 2021-04-06T10:15
SUI          1.35  6.0    88 2021-05-12
SEI          0.48  6.1    30 2021-06-30T14:00
TIA           8.1  6.2    42 2021-08-16
INJ            24  5.7    36 2021-09-09
AAVE          105  4.8    41 2021-10-21T08:45
UNI           8.9  4.9    33 2021-11-30
MKR          2600  4.3    18 2022-01-17
CRV          0.38  5.8    17 2022-02-14T15:00
LDO           2.1  5.5    24 2022-03-29
SNX           2.6  5.6     9 2022-06-21T12:30
GMX            31  5.2     6 2022-07-25
DYDX          1.7  5.6    14 2022-08-18T09:00
FIL           5.3  4.7    19 2022-09-26
ETC            26  4.0    16 2022-10-31
TRX          0.13  2.3    27 2022-11-15T17:00
XLM          0.11  3.9    12 2022-12-12
HBAR        0.083  5.0    15 2023-01-24
ICP          10.4  4.9    13 2023-02-20T10:00
FTM          0.71  6.0    25 2023-03-14
RUNE          4.8  5.9    20 2023-04-18T13:30:20
STX           1.9  5.8    16 2023-05-05
WLD           3.6  6.8    45 2023-06-26T08:00
JUP          0.97  6.3    29 2023-07-20T15:45
PYTH         0.42  6.0    18 2023-09-07
ENA          0.74  7.0    34 2023-10-02
HYPE           22  6.5   210 2023-11-14T14:00
WIF           2.4  7.6    72 2023-12-14T11:20:45
kPEPE      0.0125  7.2   110 2024-01-22
kBONK      0.0241  7.4    46 2024-02-19
kSHIB      0.0236  5.0    39 2024-03-12
PURR/USDC    0.19  7.8     4 2024-04-16T12:07:25
TON           6.9  4.6    58 2024-06-11T10:00
ZRO           3.4  6.4    17 2024-06-20T14:17:25
POPCAT       0.62  7.9    12 2024-09-24
TRUMP        17.5  8.0    86 2025-01-18T03:32:40
BERA          4.2  6.6    10 2025-02-06T13:00
PUMP       0.0041  7.5    64 2025-07-14T15:30
XPL          0.83  7.0    37 2025-09-25T13:05:10
MEGA         0.27  7.2    23 2026-04-14T15:00:30
kNEIRO      0.088  7.7     5 2026-07-21T08:40
CAMP          1.1  6.8     3 2026-11-03T16:20:15
"""

# What is traded at once on average, in USDC: BTC comes to a thousand trades a minute, the thinnest asset to one or two.
_USUAL_TRADE = 1458


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
        trades: how many trades that is.
        listed_ms: since when it is traded, in epoch milliseconds; a whole second.
        tick: what a tick is worth, in USDC.
    """

    index: int
    symbol: str
    base: int
    decimals: int
    size_decimals: int
    volatility: int
    turnover: int
    trades: int
    listed_ms: int
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
    symbol, price_text, volatility, turnover, since = line.split()
    price = Decimal(price_text)
    listed = datetime.fromisoformat(since).replace(tzinfo=UTC)
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
        trades=int(Decimal(turnover) * 1_000_000 / _USUAL_TRADE),
        listed_ms=int(listed.timestamp()) * 1000,
        tick=Decimal(1).scaleb(-decimals),
    )


def _read() -> tuple[Asset, ...]:
    with localcontext(EXACT):
        return tuple(_asset(index, line) for index, line in enumerate(_LISTED.strip().splitlines()))


LISTED = _read()
BY_SYMBOL: dict[str, Asset] = {asset.symbol: asset for asset in LISTED}
