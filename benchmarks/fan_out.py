"""Many calls at once: what a call costs when the processor, not the network, is what there is too little of."""

from __future__ import annotations

from . import ours
from .contest import CANDLE_PAGE, HEALTH, Benchmark, Case, Contestant, Page
from .drive import asynchronous, by_workers, gathered
from .one_call import aiohttp_naive, aiohttp_tuned, httpx_default, pyreqwest_default, raw_protocol


def _case(page: Page, concurrency: int, requests: int) -> Case:
    return Case(
        name=f"{page.name}, {concurrency} at once",
        page=page,
        concurrency=concurrency,
        requests=requests,
        contestants=(
            Contestant("aiohttp naive", asynchronous(aiohttp_naive, by_workers), "aiohttp"),
            Contestant("aiohttp tuned", asynchronous(aiohttp_tuned, by_workers), "aiohttp"),
            Contestant("httpx", asynchronous(httpx_default, by_workers), "httpx", slowness=5),
            Contestant("pyreqwest", asynchronous(pyreqwest_default, by_workers), "pyreqwest"),
            Contestant("raw asyncio.Protocol", asynchronous(raw_protocol, by_workers), "asyncio"),
            Contestant("AsyncAlura, workers", asynchronous(ours.asynchronous, by_workers), "alura_async", ours=True),
            Contestant("AsyncAlura, gather", asynchronous(ours.asynchronous, gathered), "alura_async", ours=True),
        ),
        reference="aiohttp naive",
        must=0.80,
        stretch=0.40,
        quick_requests=max(40, 2 * concurrency),
    )


BENCHMARK = Benchmark(
    title="fan_out: many calls at once, asyncio; all but gather by workers over an iterator",
    cases=(
        _case(HEALTH, 16, 4000),
        _case(HEALTH, 64, 4000),
        _case(CANDLE_PAGE, 16, 1000),
        _case(CANDLE_PAGE, 64, 1000),
    ),
)
