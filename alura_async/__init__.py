"""Python SDK for the Alura trading backend: `AsyncAlura` to await, `Alura` to block, the same surface.

    async with AsyncAlura(wallet="0x…") as alura:
        session = await alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC")

Start with `help(AsyncAlura)`, then `help(alura.trading_sessions)`; `help(alura_async.errors)` draws the tree of what
can be raised. `alura_async.sandbox` is a server to try everything on. The names in `__all__` are public; what is
below `alura_async.core` may change at any time.
"""

from __future__ import annotations

from . import _start as _start  # before what takes a while
from ._version import __version__
from .assets import DEFAULT_ASSETS, Assets
from .client import AsyncAlura
from .core.arguments import Amount, Instant
from .core.challenge import ChallengeCheck, check_challenge
from .core.lanes import RateLimiter
from .core.model import Items
from .core.outcome import Reply
from .core.request import Access, Action, Effect, Extra, Lane, Params, Request, Route
from .core.retry import Retry
from .core.settings import TESTNET_URL, TimeoutLike, Timeouts
from .core.waits import no_waits
from .errors import (
    AluraError,
    BadRequestError,
    BodyTooLargeError,
    BuilderFeeError,
    CallError,
    CallTimeoutError,
    ChallengeRefusedError,
    ClosedError,
    ConfigurationError,
    CredentialsNeededError,
    DuplicateAssetError,
    ForbiddenError,
    GuardError,
    InvalidArgumentError,
    JournalError,
    NotFlatError,
    NotFoundError,
    NotSentError,
    Outcome,
    OutcomeUnknownError,
    RateLimitedError,
    RefusedError,
    ResponseError,
    RunningLoopError,
    ServerError,
    ShapeError,
    SignInError,
    StoreError,
    TransportError,
    UnauthorizedError,
    UnprocessableError,
    UnresolvedError,
    UsageError,
    WaitTimeoutError,
)
from .flatten import Flattened
from .groups.auth import Auth, Challenge, SignIn, TradingKey
from .groups.bulk import Bulk, LatestCandles, Signals
from .groups.health import Health, ServiceHealth
from .groups.indicators import Candle, Indicators, Signal, SignalAction
from .groups.leaderboard import AssetActivity, Leaderboard, LeaderboardAnalytics, LeaderboardStats, Ranking
from .groups.observed import Observed
from .groups.pages import Page
from .groups.referrals import Referral, ReferralCheck, Referrals, ReferralStats
from .groups.trading_sessions import (
    CloseSignature,
    Closing,
    CronRun,
    ExecutionStrategy,
    LogEntry,
    Position,
    PositionSide,
    SessionStatus,
    StrategyDuration,
    Trade,
    TradingSession,
    TradingSessions,
)
from .groups.usdc_verification import Deposit, TotalDeposited, UsdcVerification
from .groups.user import Fill, FillSide, FillsSync, Profile, RewardClaim, Transfer, TransferStatus, User
from .guard import Confirm, Guard, Proposal
from .journal import Journal, JournalEntry, SettledBy
from .secret import Secret
from .sync import Alura
from .wallet import Keystore, KeyWallet, Wallet, WalletLike

__all__ = [
    "DEFAULT_ASSETS",
    "TESTNET_URL",
    "Access",
    "Action",
    "Alura",
    "AluraError",
    "Amount",
    "AssetActivity",
    "Assets",
    "AsyncAlura",
    "Auth",
    "BadRequestError",
    "BodyTooLargeError",
    "BuilderFeeError",
    "Bulk",
    "CallError",
    "CallTimeoutError",
    "Candle",
    "Challenge",
    "ChallengeCheck",
    "ChallengeRefusedError",
    "CloseSignature",
    "ClosedError",
    "Closing",
    "ConfigurationError",
    "Confirm",
    "CredentialsNeededError",
    "CronRun",
    "Deposit",
    "DuplicateAssetError",
    "Effect",
    "ExecutionStrategy",
    "Extra",
    "Fill",
    "FillSide",
    "FillsSync",
    "Flattened",
    "ForbiddenError",
    "Guard",
    "GuardError",
    "Health",
    "Indicators",
    "Instant",
    "InvalidArgumentError",
    "Items",
    "Journal",
    "JournalEntry",
    "JournalError",
    "KeyWallet",
    "Keystore",
    "Lane",
    "LatestCandles",
    "Leaderboard",
    "LeaderboardAnalytics",
    "LeaderboardStats",
    "LogEntry",
    "NotFlatError",
    "NotFoundError",
    "NotSentError",
    "Observed",
    "Outcome",
    "OutcomeUnknownError",
    "Page",
    "Params",
    "Position",
    "PositionSide",
    "Profile",
    "Proposal",
    "Ranking",
    "RateLimitedError",
    "RateLimiter",
    "Referral",
    "ReferralCheck",
    "ReferralStats",
    "Referrals",
    "RefusedError",
    "Reply",
    "Request",
    "ResponseError",
    "Retry",
    "RewardClaim",
    "Route",
    "RunningLoopError",
    "Secret",
    "ServerError",
    "ServiceHealth",
    "SessionStatus",
    "SettledBy",
    "ShapeError",
    "SignIn",
    "SignInError",
    "Signal",
    "SignalAction",
    "Signals",
    "StoreError",
    "StrategyDuration",
    "TimeoutLike",
    "Timeouts",
    "TotalDeposited",
    "Trade",
    "TradingKey",
    "TradingSession",
    "TradingSessions",
    "Transfer",
    "TransferStatus",
    "TransportError",
    "UnauthorizedError",
    "UnprocessableError",
    "UnresolvedError",
    "UsageError",
    "UsdcVerification",
    "User",
    "WaitTimeoutError",
    "Wallet",
    "WalletLike",
    "__version__",
    "check_challenge",
    "no_waits",
]

_start.is_over()
