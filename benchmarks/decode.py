"""What it costs to make a body into its type: one of exactly the expected shape, and one of another.

`python -m benchmarks.decode`, or as one of those that `python -m benchmarks` runs. No calls are made.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from alura_async import (
    Candle,
    Indicators,
    LogEntry,
    Page,
    Profile,
    Reply,
    Request,
    Route,
    TradingSession,
    TradingSessions,
    User,
)
from alura_async.core.decode import decoder
from alura_async.core.model import Items

from . import contest
from .contest import Benchmark, Case, Contestant, Job, Measurement, Run, WrongAnswerError
from .drive import Stopwatch
from .harness import main

Decode: TypeAlias = Callable[[], object]
"""Decodes a body once."""

_PAGE = 500
_LONG_PAGE = 5_000
_SESSIONS = 20
_EXACT_MUST, _LEARNED_MUST = 1.05, 3.00
_STARTED = datetime(2023, 11, 14, 22, 14, tzinfo=UTC)
_HEADERS = {"Content-Type": "application/json"}
_CANDLES_OF = Indicators.candles.request("BTC", "1m")


def decoding_run(prepare: Callable[[], Decode], check: Callable[[object], None], *, objects: int = 1) -> Run:
    """A run of one that decodes.

    Args:
        prepare: makes what decodes, in the contestant's own process.
        check: raises `WrongAnswerError` unless what it gives is right.
        objects: how many requests one body counts for: so a figure is that of an object.
    """

    def measure(job: Job) -> Measurement:
        decode = prepare()
        # The first one may learn what the later ones use.
        for _ in range(2):
            check(decode())
        for _ in range(max(1, job.warm_up // objects)):
            decode()
        # Something of several results stays. Else most of the memory goes back to the system after each and comes again
        # page by page, which may take as long as the decoding, and hits some contestants and spares others.
        kept = [item for result in [decode() for _ in range(3)] if isinstance(result, list) for item in result[::50]]
        turns = max(1, job.requests // objects)
        with Stopwatch(replace(job, requests=turns * objects)) as watch:
            for _ in range(turns):
                decode()
        del kept
        return watch.measurement

    return measure


def _plain(kind: Any, body: Callable[[], bytes]) -> Callable[[], Decode]:
    """A decoder of exactly this type, with what ours needs to keep digits and secrets."""

    def prepare() -> Decode:
        decode, encoded = decoder(kind).decode, body()
        return lambda: decode(encoded)

    return prepare


def _ours(request: Request[Any], body: Callable[[], bytes]) -> Callable[[], Decode]:
    """The way of every reply, from where it is complete."""
    return lambda: Reply(request, 200, _HEADERS, body()).decode


def _ours_at_first(body: Callable[[], bytes]) -> Callable[[], Decode]:
    """The same where the endpoint has never been called before."""

    def prepare() -> Decode:
        encoded = body()

        def decode() -> object:
            route = Route("GET", _CANDLES_OF.route.template, Items[Candle])
            return Reply(route.request("BTC", "1m"), 200, _HEADERS, encoded).decode()

        return decode

    return prepare


def _require(is_right: bool, answer: object) -> None:
    if not is_right:
        raise WrongAnswerError(f"not what the body says: {str(answer)[:200]}")


def _nothing_to_check(answer: object) -> None:
    """Each contestant is given a body of its own, and checks what comes of that."""


# Nobody asks the server for it.
_NO_CALL = contest.Page("a body", "/health", "/health", b"", _nothing_to_check)


# Bodies of exactly the expected shape


@functools.cache
def _profile() -> bytes:
    return msgspec.json.encode(
        {
            "id": "usr_7f3c2a",
            "address": "0x52908400098527886E0F7030069857D2E4169EE7",
            "balance": "1523.25",
            "availableBalance": "1023.75",
            "referralCode": "ALURA7",
            "createdAt": "2025-03-01T12:00:00.000Z",
        }
    )


def _session(number: int) -> dict[str, Any]:
    return {
        "id": f"ses_{number:06}",
        "tradeId": f"trd_{number:06}",
        "status": "active",
        "kind": "quick",
        "symbol": "BTC",
        "budget": f"{100 + number}.5",
        "profitTarget": "12.5",
        "maxPositions": 3,
        "unrealizedPnl": f"-{number}.25",
        "createdAt": (_STARTED + timedelta(seconds=number)).isoformat(),
    }


@functools.cache
def _sessions(count: int) -> bytes:
    return msgspec.json.encode([_session(number) for number in range(count)])


@functools.cache
def _logs() -> bytes:
    entries = [
        {
            "id": f"log_{number:06}",
            "tradeId": "trd_000001",
            "timestamp": (_STARTED + timedelta(seconds=number)).isoformat(),
            "level": "info",
            "message": "moved the stop of the position to the price of its entry",
            "data": {"symbol": "BTC", "step": number},
        }
        for number in range(20)
    ]
    return msgspec.json.encode({"data": entries, "total": 214, "page": 1, "limit": 20, "hasMore": True})


@functools.cache
def _candles(count: int) -> bytes:
    return msgspec.json.encode(contest.candles(count))


def _exact(name: str, requests: int, kind: Any, request: Request[Any], body: Callable[[], bytes]) -> Case:
    def check(answer: object) -> None:
        _require(answer == decoder(kind).decode(body()), answer)

    return Case(
        name=name,
        page=_NO_CALL,
        concurrency=1,
        requests=requests,
        contestants=(
            Contestant("msgspec", decoding_run(_plain(kind, body), check), "msgspec"),
            Contestant("Reply.decode", decoding_run(_ours(request, body), check), "alura_async", ours=True),
        ),
        reference="msgspec",
        must=_EXACT_MUST,
        stretch=1.00,
        quick_requests=4,
    )


# Candles in other shapes

_LONG_NAMES = {
    "t": "openTime",
    "T": "closeTime",
    "s": "symbol",
    "i": "interval",
    "o": "open",
    "c": "close",
    "h": "high",
    "l": "low",
    "v": "volume",
    "n": "trades",
}
_PRICES = "ohlcv"


def _iso(ms: int) -> str:
    return (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    return {_LONG_NAMES[name]: value for name, value in row.items()}


def _numeric(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float(value) if name in _PRICES else value for name, value in row.items()}


def _wrapped(rows: list[dict[str, Any]]) -> Any:
    return {"success": True, "data": [_named(row) for row in rows]}


def _without_symbol(rows: list[dict[str, Any]]) -> Any:
    return [{name: value for name, value in row.items() if name not in ("s", "i")} for row in rows]


def _with_numbers(rows: list[dict[str, Any]]) -> Any:
    return [_numeric(row) for row in rows]


def _arrays(rows: list[dict[str, Any]]) -> Any:
    return [[row["t"] * 1000, *(row[name] for name in _PRICES)] for row in rows]


def _with_iso_times(rows: list[dict[str, Any]]) -> Any:
    return [_named({**row, "t": _iso(row["t"]), "T": _iso(row["T"])}) for row in rows]


def _columns(rows: list[dict[str, Any]]) -> Any:
    numeric = [_numeric(row) for row in rows]
    return {"s": "ok", "t": [row["t"] // 1000 for row in rows]} | {
        name: [row[name] for row in numeric] for name in _PRICES
    }


def _newest_first(rows: list[dict[str, Any]]) -> Any:
    return rows[::-1]


# By their names in the tables; those that say no more than a time, prices and a volume of each.
SHAPES: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "long names, wrapped": _wrapped,
    "no symbol, no interval": _without_symbol,
    "JSON numbers": _with_numbers,
    "bare arrays, epoch µs": _arrays,
    "ISO times, two a row": _with_iso_times,
    "columns, epoch s": _columns,
    "newest first": _newest_first,
}
_BRIEF = (_arrays, _columns)


def _long_page() -> bytes:
    return _candles(_LONG_PAGE)


def _in_shape(write: Callable[[list[dict[str, Any]]], Any]) -> Callable[[], bytes]:
    return lambda: msgspec.json.encode(write(contest.candles(_LONG_PAGE)))


def _what_it_says(candle: Candle, *, is_brief: bool) -> tuple[object, ...]:
    more = (None, None) if is_brief else (candle.close_time_ms, candle.trades)
    numbers = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return (candle.symbol, candle.interval, candle.open_time_ms, *numbers, *more, dict(candle.extra))


def _check_candles(write: Callable[[list[dict[str, Any]]], Any] | None = None) -> Callable[[object], None]:
    """Whether a list says what the canonical one does, as far as its shape says it."""
    is_brief = write in _BRIEF

    def check(answer: object) -> None:
        _require(isinstance(answer, list), answer)
        assert isinstance(answer, list)
        canonical: list[Candle] = decoder(list[Candle]).decode(_long_page())
        expected = [_what_it_says(candle, is_brief=is_brief) for candle in canonical]
        # Here nothing is left out: what a shape does not say is None.
        _require([_what_it_says(candle, is_brief=False) for candle in answer] == expected, answer)

    return check


_CANONICAL = Contestant(
    "msgspec, canonical", decoding_run(_plain(list[Candle], _long_page), _check_candles()), "msgspec"
)


# Sessions in another shape


@functools.cache
def _sessions_elsewhere() -> bytes:
    sessions = [
        {
            "id": session["id"],
            "trade_id": session["tradeId"],
            "status": session["status"],
            "kind": session["kind"],
            "symbol": session["symbol"],
            "budget": float(session["budget"]),
            "profit_target": float(session["profitTarget"]),
            "max_positions": session["maxPositions"],
            "unrealized_pnl": float(session["unrealizedPnl"]),
            "created_at": int(datetime.fromisoformat(session["createdAt"]).timestamp()),
        }
        for session in map(_session, range(_SESSIONS))
    ]
    return msgspec.json.encode({"success": True, "data": sessions})


def _canonical_sessions() -> bytes:
    return _sessions(_SESSIONS)


def _check_sessions(answer: object) -> None:
    _require(answer == decoder(list[TradingSession]).decode(_canonical_sessions()), answer)


def _by_pydantic() -> Decode:
    """A model written for exactly these names, which knows where the sessions are."""
    from pydantic import BaseModel

    class Session(BaseModel):
        id: str
        trade_id: str | None = None
        status: str | None = None
        kind: str | None = None
        symbol: str | None = None
        budget: Decimal | None = None
        profit_target: Decimal | None = None
        max_positions: int | None = None
        unrealized_pnl: Decimal | None = None
        created_at: datetime | None = None

    class Envelope(BaseModel):
        success: bool
        data: list[Session]

    # Where annotations are text, the name of a class in a function has to be told.
    Envelope.model_rebuild(_types_namespace={"Session": Session})
    body = _sessions_elsewhere()
    return lambda: Envelope.model_validate_json(body).data


def _check_pydantic(answer: object) -> None:
    _require(isinstance(answer, list), answer)
    assert isinstance(answer, list)
    canonical: list[TradingSession] = decoder(list[TradingSession]).decode(_canonical_sessions())
    names = list(answer[0].__class__.model_fields)
    found = [[getattr(session, name) for name in names] for session in answer]
    _require(found == [[getattr(session, name) for name in names] for session in canonical], answer)


BENCHMARK = Benchmark(
    title="decode: from a complete reply to the type, without a call; a body of the canonical shape decoded by msgspec",
    cases=(
        # The small ones do not keep to the target: a third of a microsecond goes into judging any reply. In a page of
        # logs more is looked for: what headers say of the page, and entries that do not name the trade asked for.
        _exact("profile, exact", 200_000, Profile, User.profile.request(), _profile),
        _exact(
            "3 sessions, exact",
            50_000,
            list[TradingSession],
            TradingSessions.active.request(),
            lambda: _sessions(3),
        ),
        _exact("20 logs, exact", 10_000, Page[LogEntry], TradingSessions.trade_logs.request("trd_000001"), _logs),
        _exact(f"{_PAGE} candles, exact", 2_000, list[Candle], _CANDLES_OF, lambda: _candles(_PAGE)),
        _exact(f"{_LONG_PAGE} candles, exact", 200, list[Candle], _CANDLES_OF, _long_page),
        Case(
            name=f"{_LONG_PAGE} candles in a shape that was seen before",
            page=_NO_CALL,
            concurrency=1,
            requests=100,
            contestants=(
                _CANONICAL,
                *(
                    Contestant(
                        name,
                        decoding_run(_ours(_CANDLES_OF, _in_shape(write)), _check_candles(write)),
                        "alura_async",
                        ours=True,
                    )
                    for name, write in SHAPES.items()
                ),
            ),
            reference=_CANONICAL.name,
            must=_LEARNED_MUST,
            stretch=2.00,
            quick_requests=1,
        ),
        Case(
            name=f"{_LONG_PAGE} candles in a shape that is new",
            page=_NO_CALL,
            concurrency=1,
            requests=100,
            contestants=(
                _CANONICAL,
                *(
                    Contestant(
                        name,
                        decoding_run(_ours_at_first(_in_shape(write)), _check_candles(write)),
                        "alura_async",
                        ours=True,
                        slowness=20,
                    )
                    for name, write in SHAPES.items()
                ),
            ),
            reference=_CANONICAL.name,
            quick_requests=1,
        ),
        Case(
            name=f"{_SESSIONS} sessions in another shape: each of them",
            page=_NO_CALL,
            concurrency=1,
            requests=20_000,
            contestants=(
                Contestant(
                    "msgspec, canonical",
                    decoding_run(_plain(list[TradingSession], _canonical_sessions), _check_sessions, objects=_SESSIONS),
                    "msgspec",
                ),
                Contestant("pydantic", decoding_run(_by_pydantic, _check_pydantic, objects=_SESSIONS), "pydantic"),
                Contestant(
                    "Reply.decode",
                    decoding_run(
                        _ours(TradingSessions.active.request(), _sessions_elsewhere), _check_sessions, objects=_SESSIONS
                    ),
                    "alura_async",
                    ours=True,
                ),
            ),
            reference="msgspec, canonical",
            quick_requests=_SESSIONS,
        ),
    ),
)


if __name__ == "__main__":
    sys.exit(main(["decode", *sys.argv[1:]]))
