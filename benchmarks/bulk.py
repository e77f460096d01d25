"""What it costs to have candles as columns: from a page that is there, and from one that is asked for over HTTP.

`python -m benchmarks bulk`. Whoever takes part ends with what a strategy computes with: the open time as a time, and
prices and volume as float64.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import msgspec

from . import contest
from .contest import CANDLE_PAGE, CANDLES, Benchmark, Case, Contestant, Job, WrongAnswerError
from .decode import Decode, decoding_run
from .drive import AsyncCall, asynchronous, by_workers

_LONG_PAGE = 5_000
_NUMBERS = ("o", "h", "l", "c", "v")
_HEADERS = {"Content-Type": "application/json", "Date": "Tue, 14 Nov 2023 22:13:20 GMT"}


@cache
def _text_page() -> bytes:
    return msgspec.json.encode(contest.candles(CANDLES))


@cache
def _numeric_page() -> bytes:
    rows = contest.candles(_LONG_PAGE)
    return msgspec.json.encode([{**row, **{name: float(row[name]) for name in _NUMBERS}} for row in rows])


def _check(body: Callable[[], bytes], column: Callable[[Any, str], Sequence[float]]) -> Callable[[object], None]:
    """Whether an answer has the page's numbers.

    Args:
        body: the page.
        column: takes one of an answer's columns, by its name on the wire; the open time in milliseconds.
    """

    def check(answer: object) -> None:
        rows = msgspec.json.decode(body())
        for name in ("t", *_NUMBERS):
            if [*column(answer, name)] != [float(row[name]) for row in rows]:
                raise WrongAnswerError(f"not what the page says in {name!r}: {str(answer)[:200]}")

    return check


def _of_columns(answer: Any, name: str) -> Sequence[float]:
    if name == "t":
        return answer.open_time.astype("int64").tolist()  # type: ignore[no-any-return]
    names = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}
    return getattr(answer, names[name]).tolist()  # type: ignore[no-any-return]


def _of_pandas(answer: Any, name: str) -> Sequence[float]:
    return (answer[name].astype("datetime64[ms]").astype("int64") if name == "t" else answer[name]).tolist()  # type: ignore[no-any-return]


def _of_polars(answer: Any, name: str) -> Sequence[float]:
    return (answer[name].dt.epoch("ms") if name == "t" else answer[name]).to_list()  # type: ignore[no-any-return]


def _of_arrays(answer: Any, name: str) -> Sequence[float]:
    return answer[name].astype("float64").tolist()  # type: ignore[no-any-return]


# From a page that is there


def _ours(body: Callable[[], bytes]) -> Callable[[], Decode]:
    """The way of every reply, from where it is complete."""

    def prepare() -> Decode:
        from alura_async import Reply
        from alura_async.bulk.decoding import LATEST_CANDLES

        return Reply(LATEST_CANDLES.request("BTC", "1m"), 200, _HEADERS, body()).decode

    return prepare


def _by_pandas(body: Callable[[], bytes]) -> Callable[[], Decode]:
    """A frame of dicts, which is what most write."""

    def prepare() -> Decode:
        encoded = body()
        return lambda: _pandas_frame(encoded)

    return prepare


def _pandas_frame(body: bytes) -> Any:
    import json

    import pandas as pd  # type: ignore[import-untyped, unused-ignore]

    frame = pd.DataFrame(json.loads(body))
    frame["t"] = pd.to_datetime(frame["t"], unit="ms")
    return frame.astype(dict.fromkeys(_NUMBERS, "float64"))


def _by_polars(body: Callable[[], bytes], *, are_text: bool) -> Callable[[], Decode]:
    """Its own reader of JSON, told all types."""

    def prepare() -> Decode:
        import polars as pl

        encoded = body()
        kind = pl.String if are_text else pl.Float64
        schema = {"t": pl.Int64, "T": pl.Int64, "s": pl.String, "i": pl.String} | dict.fromkeys("ochlv", kind)
        casts = [pl.col("t").cast(pl.Datetime("ms"))] + ([pl.col(*_NUMBERS).cast(pl.Float64)] if are_text else [])

        def decode() -> object:
            return pl.read_json(encoded, schema=schema | {"n": pl.Int64}).with_columns(casts)

        return decode

    return prepare


class _Row(msgspec.Struct, gc=False):
    t: int
    T: int
    s: str
    i: str
    o: float
    c: float
    h: float
    l: float  # noqa: E741 - the name on the wire
    v: float
    n: int


def _by_structs(body: Callable[[], bytes]) -> Callable[[], Decode]:
    """Structs of floats, and NumPy arrays of their attributes: the best that is commonly known."""

    def prepare() -> Decode:
        from operator import attrgetter

        import numpy as np

        encoded = body()
        rows_of = msgspec.json.Decoder(list[_Row], strict=False).decode
        getters = {name: attrgetter(name) for name in ("t", *_NUMBERS, "n")}

        def decode() -> object:
            rows = rows_of(encoded)
            return {
                name: np.fromiter(map(get, rows), np.float64 if name in _NUMBERS else np.int64, len(rows))
                for name, get in getters.items()
            }

        return decode

    return prepare


def _page_cases(
    name: str, body: Callable[[], bytes], *, requests: int, are_text: bool, pandas_must: float, polars_must: float
) -> tuple[Case, Case]:
    """A page beside pandas, and beside polars."""
    ours = Contestant(
        "Reply.decode into Candles", decoding_run(_ours(body), _check(body, _of_columns)), "alura_async", ours=True
    )
    pandas = Contestant(
        "pandas from dicts", decoding_run(_by_pandas(body), _check(body, _of_pandas)), "pandas", slowness=10
    )
    polars = Contestant(
        "polars.read_json, schema",
        decoding_run(_by_polars(body, are_text=are_text), _check(body, _of_polars)),
        "polars",
        slowness=2,
    )
    structs = Contestant(
        "msgspec + np.fromiter", decoding_run(_by_structs(body), _check(body, _of_arrays)), "numpy", slowness=2
    )

    def case(other: Contestant, must: float) -> Case:
        return Case(
            name=f"{name}, beside {other.package}",
            page=contest.Page("a body", "/health", "/health", b"", lambda answer: None),
            concurrency=1,
            requests=requests,
            contestants=(other, structs, ours),
            reference=other.name,
            must=must,
            quick_requests=10,
        )

    return case(pandas, pandas_must), case(polars, polars_must)


# From one that is asked for


@asynccontextmanager
async def _ours_over_http(job: Job) -> AsyncGenerator[AsyncCall, None]:
    from alura_async import AsyncAlura, RateLimiter
    from alura_async.bulk.decoding import LATEST_CANDLES

    async with AsyncAlura(base_url=job.base_url, limiter=RateLimiter.unlimited()) as alura:
        yield lambda: alura.send(LATEST_CANDLES.request("BTC", "1m", query={"limit": CANDLES}))


@asynccontextmanager
async def _naive_and_pandas(job: Job) -> AsyncGenerator[AsyncCall, None]:
    import aiohttp

    async with aiohttp.ClientSession() as session:
        url = job.url

        async def call() -> object:
            async with session.get(url) as response:
                return _pandas_frame(await response.read())

        yield call


@asynccontextmanager
async def _httpx_and_pydantic(job: Job) -> AsyncGenerator[AsyncCall, None]:
    """A model of each candle, and a frame of the models."""
    import httpx
    import pandas as pd
    from pydantic import BaseModel, TypeAdapter

    class Row(BaseModel):
        t: int
        T: int
        s: str
        i: str
        o: float
        c: float
        h: float
        l: float  # noqa: E741 - the name on the wire
        v: float
        n: int

    adapter = TypeAdapter(list[Row])
    async with httpx.AsyncClient() as client:
        url = job.url

        async def call() -> object:
            rows = adapter.validate_json((await client.get(url)).content)
            frame = pd.DataFrame([row.model_dump() for row in rows])
            frame["t"] = pd.to_datetime(frame["t"], unit="ms")
            return frame

        yield call


def _over_http(other: Contestant, must: float, stretch: float) -> Case:
    return Case(
        name=f"{CANDLE_PAGE.name} over HTTP into columns, 16 at once, beside {other.name}",
        page=CANDLE_PAGE,
        concurrency=16,
        requests=1_000,
        contestants=(
            other,
            Contestant("AsyncAlura.send", asynchronous(_ours_over_http, by_workers), "alura_async", ours=True),
        ),
        reference=other.name,
        must=must,
        stretch=stretch,
    )


BENCHMARK = Benchmark(
    title="bulk: candles as columns, from a page that is there and from one that is asked for",
    cases=(
        *_page_cases(
            f"{CANDLES} candles, prices as text",
            _text_page,
            requests=1_000,
            are_text=True,
            pandas_must=0.16,
            polars_must=0.70,
        ),
        *_page_cases(
            f"{_LONG_PAGE} candles, prices as numbers",
            _numeric_page,
            requests=100,
            are_text=False,
            pandas_must=0.30,
            polars_must=1.15,
        ),
        _over_http(
            Contestant("httpx + pydantic", asynchronous(_httpx_and_pydantic, by_workers), "pydantic", slowness=10),
            must=0.12,
            stretch=0.08,
        ),
        _over_http(
            Contestant("aiohttp naive + pandas", asynchronous(_naive_and_pandas, by_workers), "pandas", slowness=5),
            must=0.22,
            stretch=0.12,
        ),
    ),
)
