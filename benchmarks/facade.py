"""Blocking calls: one after another, and from eight threads on one client."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlsplit

from . import ours
from .contest import HEALTH, Benchmark, Case, Contestant, Job
from .drive import BlockingCall, blocking, from_one_thread, from_threads


@contextmanager
def requests_session(job: Job) -> Generator[BlockingCall, None, None]:
    """A session of requests, as its documentation advises."""
    import requests

    with requests.Session() as session:
        url = job.url
        yield lambda: session.get(url).json()


@contextmanager
def httpx_client(job: Job) -> Generator[BlockingCall, None, None]:
    """A client of httpx, as its documentation advises."""
    import httpx

    with httpx.Client() as client:
        url = job.url
        yield lambda: client.get(url).json()


@contextmanager
def http_client(job: Job) -> Generator[BlockingCall, None, None]:
    """The standard library on one connection, without anything that a client does besides: the floor."""
    import http.client

    connection = http.client.HTTPConnection(urlsplit(job.base_url).netloc)
    target = job.page.target

    def call() -> object:
        connection.request("GET", target)
        return json.loads(connection.getresponse().read())

    try:
        yield call
    finally:
        connection.close()


BENCHMARK = Benchmark(
    title="facade: blocking calls, tiny JSON",
    cases=(
        Case(
            name="one after another",
            page=HEALTH,
            concurrency=1,
            requests=2000,
            contestants=(
                Contestant("requests", blocking(requests_session, from_one_thread), "requests"),
                Contestant("httpx", blocking(httpx_client, from_one_thread), "httpx"),
                Contestant("http.client", blocking(http_client, from_one_thread), "http"),
                Contestant("Alura", blocking(ours.blocking, from_one_thread), "alura_async", ours=True),
            ),
            reference="requests",
            must=0.48,
            stretch=0.30,
        ),
        Case(
            name="8 threads on one client",
            page=HEALTH,
            concurrency=8,
            requests=2000,
            contestants=(
                Contestant("requests", blocking(requests_session, from_threads), "requests"),
                Contestant("Alura", blocking(ours.blocking, from_threads), "alura_async", ours=True),
            ),
            reference="requests",
            must=0.35,
            stretch=0.20,
        ),
    ),
    all_cores=True,
)
