"""The benchmarks run, report everybody, and compute what they say. What they measure is no test's business."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

import alura_async
from alura_async import JournalEntry, Outcome, Reply, User
from alura_async.core.entries import intent
from alura_async.sandbox import LedgerEntry, Sandbox
from alura_async.sandbox.ledger import ReceivedRequest
from benchmarks import client_soak, contest, drive, harness, lag, sandbox_load, soak, soaked_client, warm
from benchmarks.contest import CANDLE_PAGE, CANDLES, HEALTH, Case, Contestant, Measurement
from benchmarks.harness import CaseResult, Result, Server, Spread, paired_ratio, spread
from benchmarks.sandbox_server import SandboxProcess
from benchmarks.server import BadRequestError, Request, RequestReader

HAS_CLIENT = hasattr(alura_async, "AsyncAlura")


def _nothing(job: contest.Job) -> Measurement:
    raise AssertionError("is never run here")


def _contestant(name: str, package: str = "asyncio", install: str = "") -> Contestant:
    return Contestant(name, _nothing, package, install, ours=name == "ours")


def _case(*contestants: Contestant) -> Case:
    return Case("a case", HEALTH, 1, 10, contestants, reference="theirs", must=0.8, stretch=0.4)


class TestStatistics:
    def test_spread_is_median_least_and_greatest(self) -> None:
        assert spread([5.0, 1.0, 3.0]) == Spread(3.0, 1.0, 5.0)
        assert spread([1.0, 2.0]) == Spread(1.5, 1.0, 2.0)

    def test_a_ratio_is_made_within_a_round(self) -> None:
        """The machine was ten times slower in the last round, and the ratio does not see it."""
        assert paired_ratio([1.0, 3.0, 20.0], [2.0, 4.0, 40.0]) == Spread(0.5, 0.5, 0.75)

    def test_the_median_of_ratios_is_not_the_ratio_of_medians(self) -> None:
        assert paired_ratio([1.0, 6.0, 6.0], [2.0, 3.0, 12.0]) == Spread(0.5, 0.5, 2.0)

    def test_a_round_in_which_either_failed_does_not_count(self) -> None:
        assert paired_ratio([1.0, None, 3.0], [2.0, 1.0, None]) == Spread(0.5, 0.5, 0.5)

    def test_without_a_common_round_there_is_no_ratio(self) -> None:
        assert paired_ratio([None, 1.0], [1.0, None]) is None


class TestTable:
    def test_it_shows_ratio_and_targets_beside_ours(self) -> None:
        theirs = Result(
            _contestant("theirs"), measurements=[Measurement(100.0, 80.0, 0.2), Measurement(110.0, 80.0, 0.2)]
        )
        ours = Result(_contestant("ours"), measurements=[Measurement(50.0, 40.0, 0.4), Measurement(66.0, 44.0, 0.4)])
        outcome = [CaseResult(_case(theirs.contestant, ours.contestant), [theirs, ours])]
        text = harness.table(contest.Benchmark("a title", (outcome[0].case,)), outcome)
        (row,) = [line for line in text.splitlines() if line.startswith("  ours")]
        assert " ".join(row.split()) == "ours 58.0 50.0 – 66.0 0.55 0.50 – 0.60 ≤ 0.80 ≤ 0.40 42.0 0.53 40%"
        (row,) = [line for line in text.splitlines() if line.startswith("  theirs")]
        assert "≤" not in row

    def test_a_case_may_have_no_target(self) -> None:
        ours = Result(_contestant("ours"), measurements=[Measurement(50.0, 40.0, 0.4)])
        case = Case("a case", HEALTH, 1, 10, (ours.contestant,), reference="ours")
        text = harness.table(contest.Benchmark("a title", (case,)), [CaseResult(case, [ours])])
        (row,) = [line for line in text.splitlines() if line.startswith("  ours")]
        assert " ".join(row.split()) == "ours 50.0 50.0 – 50.0 1.00 1.00 – 1.00 40.0 1.00 40%"

    def test_it_shows_who_failed_and_why(self) -> None:
        theirs = Result(_contestant("theirs"), measurements=[Measurement(100.0, 80.0, 0.2), None], failures=["boom"])
        ours = Result(_contestant("ours"), failures=["bang"])
        outcome = [CaseResult(_case(theirs.contestant, ours.contestant), [theirs, ours])]
        text = harness.table(contest.Benchmark("a title", (outcome[0].case,)), outcome)
        assert "theirs FAILED in 1 of 2 rounds: boom" in text
        assert "ours FAILED in all rounds: bang" in text

    def test_a_missing_peer_is_skipped_with_a_word_on_how_to_install_it(self) -> None:
        assert _contestant("ours").missing() is None
        assert _contestant("theirs", "no_such_package").missing() == (
            "no_such_package is not installed: pip install no_such_package"
        )
        assert _contestant("theirs", "no_such_package", "see there").missing() == (
            "no_such_package is not installed: see there"
        )


class TestRequestReader:
    REQUEST = b"GET /health?a=1 HTTP/1.1\r\nHost: x\r\n\r\n"

    @pytest.mark.parametrize("cut", range(1, len(REQUEST)))
    def test_a_request_may_come_in_two_pieces(self, cut: int) -> None:
        reader = RequestReader()
        assert reader.feed(self.REQUEST[:cut]) == []
        assert reader.feed(self.REQUEST[cut:]) == [Request(b"/health", keep_alive=True)]

    def test_a_request_may_come_byte_by_byte(self) -> None:
        reader = RequestReader()
        found = [request for byte in self.REQUEST * 2 for request in reader.feed(bytes([byte]))]
        assert found == [Request(b"/health", keep_alive=True)] * 2

    def test_a_piece_may_hold_one_request_and_part_of_another(self) -> None:
        reader = RequestReader()
        assert len(reader.feed(self.REQUEST + self.REQUEST[:9])) == 1
        assert len(reader.feed(self.REQUEST[9:])) == 1

    @pytest.mark.parametrize(
        ("version", "header", "keep_alive"),
        [
            ("1.1", "", True),
            ("1.1", "Connection: close", False),
            ("1.1", "connection: Keep-Alive, CLOSE", False),
            ("1.1", "X-Connection: close", True),
            ("1.0", "", False),
            ("1.0", "Connection: keep-alive", True),
        ],
    )
    def test_it_knows_whether_the_connection_stays(self, version: str, header: str, keep_alive: bool) -> None:
        (request,) = RequestReader().feed(f"GET / HTTP/{version}\r\nHost: x\r\n{header}\r\n\r\n".encode())
        assert request.keep_alive is keep_alive

    @pytest.mark.parametrize(
        "head",
        [
            b"POST / HTTP/1.1\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"G" * 70_000,
        ],
    )
    def test_it_refuses_what_it_does_not_understand(self, head: bytes) -> None:
        with pytest.raises(BadRequestError):
            RequestReader().feed(head)


class TestServer:
    def test_it_answers_with_the_pages_and_closes_when_asked_to(self) -> None:
        with Server(()) as server:
            connection = http.client.HTTPConnection(urlsplit(server.base_url).netloc, timeout=5)
            for page in (HEALTH, CANDLE_PAGE):
                connection.request("GET", page.target)
                response = connection.getresponse()
                assert (response.status, response.will_close) == (200, False)
                page.check(msgspec.json.decode(response.read()))
            connection.request("GET", "/nowhere")
            response = connection.getresponse()
            assert (response.status, response.read()[:1]) == (404, b"{")
            connection.request("GET", "/health", headers={"Connection": "close"})
            assert connection.getresponse().read() == HEALTH.body
            assert connection.sock is not None
            assert connection.sock.recv(1) == b""
            connection.close()

    def test_it_ends_when_its_standard_input_does(self) -> None:
        """So it does not outlive a harness that was killed."""
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server"],
            cwd=Path(harness.__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0
        process.stdin.close()
        assert process.wait(5) == 0
        process.stdout.close()

    def test_the_page_of_candles_is_of_a_real_pages_size(self) -> None:
        candles = msgspec.json.decode(CANDLE_PAGE.body, type=list[dict[str, object]])
        assert len(candles) == CANDLES
        assert set(candles[0]) == set("tTsiochlvn")
        assert 60_000 < len(CANDLE_PAGE.body) < 80_000

    @pytest.mark.parametrize("page", [HEALTH, CANDLE_PAGE])
    def test_who_reads_an_error_page_has_not_read_the_page(self, page: contest.Page) -> None:
        with pytest.raises(contest.WrongAnswerError):
            page.check({"message": "Not Found", "statusCode": 404})


class TestStyles:
    """Each way of making calls makes as many as it should, and has no more under way than it may."""

    @pytest.mark.parametrize(("style", "most"), [(drive.in_sequence, 1), (drive.by_workers, 4), (drive.gathered, 23)])
    def test_async(self, style: drive.AsyncStyle, most: int) -> None:
        made = under_way = peak = 0

        async def call() -> None:
            nonlocal made, under_way, peak
            made += 1
            under_way += 1
            peak = max(peak, under_way)
            await asyncio.sleep(0)
            under_way -= 1

        asyncio.run(style(call, 23, 4))
        assert (made, peak) == (23, most)

    @pytest.mark.parametrize("style", [drive.from_one_thread, drive.from_threads])
    def test_blocking(self, style: drive.BlockingStyle) -> None:
        made: list[int] = []
        style(lambda: made.append(threading.get_ident()), 23, 4)
        assert len(made) == 23
        assert len(set(made)) <= 4

    def test_what_a_thread_raises_is_raised(self) -> None:
        def call() -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            drive.from_threads(call, 8, 4)


class TestHarness:
    @pytest.mark.parametrize("name", harness.NAMES)
    def test_every_case_names_its_reference_and_everybody_differently(self, name: str) -> None:
        benchmark = contest.load(name)
        assert len({case.name for case in benchmark.cases}) == len(benchmark.cases)
        for case in benchmark.cases:
            names = [contestant.name for contestant in case.contestants]
            assert case.reference in names
            assert len(set(names)) == len(names)
            assert any(contestant.ours for contestant in case.contestants)

    def test_everybody_gets_a_figure_and_a_ratio(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The whole way: server, processes, pairing, table, file; with the SDK as soon as it has a client."""
        file = tmp_path / "figures.json"
        arguments = ["one_call", "facade", "--quick", "--seed", "7", "--json", str(file)]
        arguments += ["--only", "raw", "--only", "http.client", *(["--only", "Alura"] if HAS_CLIENT else [])]
        assert harness.main(arguments) == 0
        expected = {"aiohttp naive", "raw asyncio.Protocol", "http.client", "requests"}
        if HAS_CLIENT:
            expected |= {"AsyncAlura", "Alura"}
        figures = msgspec.json.decode(file.read_bytes())
        assert figures["seed"] == 7
        text = capsys.readouterr().out
        has_requests = importlib.util.find_spec("requests") is not None
        seen: set[str] = set()
        for case in [case for cases in figures["benchmarks"].values() for case in cases]:
            for contestant in case["contestants"]:
                seen.add(contestant["name"])
                assert contestant["name"] in text
                if contestant["skipped"] is None:
                    assert contestant["failures"] == []
                    assert contestant["us"]["median"] > 0
                    # Without their reference the others have figures, but nothing to be compared with.
                    assert has_requests or case["reference"] != "requests" or contestant["ratio"] is None
                    assert contestant["ratio"] is None or contestant["ratio"]["median"] > 0
                    assert (contestant["ratio"] is None) == (not has_requests and case["reference"] == "requests")
        assert seen == expected

    def test_a_failure_is_told_and_makes_the_exit_code_one(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        # The contestants' processes are then ordered to call a server that is not there.
        monkeypatch.setattr(Server, "__init__", _no_server)
        monkeypatch.setattr(Server, "close", _nothing_to_close)
        assert harness.main(["one_call", "--quick", "--only", "raw"]) == 1
        assert "aiohttp naive FAILED in all rounds" in capsys.readouterr().out

    def test_an_unknown_name_is_an_error(self) -> None:
        with pytest.raises(SystemExit):
            harness.main(["no_such_benchmark"])


class TestDecode:
    def test_everybody_gives_the_canonical_result_and_gets_a_figure(self) -> None:
        with Server(()) as server:
            # Each takes a second; that all of them judge what is decoded is tested below.
            for case in contest.load("decode").cases[::4]:
                for contestant in case.contestants:
                    if contestant.missing() is None:
                        job = contest.Job(server.base_url, case.page, case.quick_requests, 0, case.concurrency)
                        assert contestant.run(job).us > 0

    @pytest.mark.parametrize("name", [case.name for case in contest.load("decode").cases])
    def test_who_decodes_something_else_has_no_figure(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        (case,) = [case for case in contest.load("decode").cases if case.name == name]
        (ours, *_) = [contestant for contestant in case.contestants if contestant.ours]
        monkeypatch.setattr(Reply, "decode", lambda reply: [])
        with pytest.raises(contest.WrongAnswerError):
            ours.run(contest.Job("http://127.0.0.1:1", case.page, 1, 0, 1))


class TestSandboxLoad:
    def test_reads_get_figures_users_trade_and_the_load_of_the_soak_meets_no_failure(self) -> None:
        with SandboxProcess() as server:
            for read in sandbox_load.READS:
                rate = asyncio.run(sandbox_load.measure(server, read, connections=2, seconds=0.02))
                assert rate.per_second > 0
                assert rate.per_core_second > 0
            assert asyncio.run(sandbox_load.users(server, 5, 2)) > 0
            load = soak.Soak(server.url, seconds=1)
            asyncio.run(load.run(server))
            executed = server.report().executed
        assert load.failures == []
        assert set(load.statuses) <= {200, 201, 400, 401, 404}
        assert {"account_opened", "session_created", "trade_closed"} <= set(executed)

    @pytest.mark.parametrize(
        ("resident", "descriptors", "expected"),
        [
            ([9, 50, 51, 50, 51], [10, 20, 20, 20, 20], ""),
            ([9, 50, 51, 53, 55], [10, 20, 20, 20, 20], "memory grew by"),
            ([9, 50, 51, 50, 51], [10, 20, 20, 23, 23], "descriptors are open"),
        ],
    )
    def test_only_what_happens_after_the_warm_up_counts(
        self, resident: list[int], descriptors: list[int], expected: str
    ) -> None:
        samples = [
            soak.Sample(at_s, at_s, mebibytes << 20, opened)
            for at_s, mebibytes, opened in zip((1, 3, 5, 8, 10), resident, descriptors, strict=True)
        ]
        found = soak.verdict(samples, seconds=10)
        assert (found == []) == (not expected)
        assert expected in "".join(found)


def _told(amount: str, outcome: Outcome, call_id: str = "") -> soaked_client.Told:
    return soaked_client.Told("0xab", "POST", "/user/withdraw", f'{{"amount":{amount}}}', outcome, call_id)


def _kept(amount: str, outcome: Outcome, call_id: str) -> JournalEntry:
    request = User.withdraw.request(amount=Decimal(amount))
    entry = intent(request, host="http://127.0.0.1", account="0xAB", within_s=10)
    return msgspec.structs.replace(entry, id=call_id, outcome=outcome)


def _executed(call_id: str, executed: bool = True) -> ReceivedRequest:
    now = datetime.now(UTC)
    return ReceivedRequest("POST", "/user/withdraw", {}, now, 201, "0xab", call_id, 1.0, executed)


def _moved(amount: str) -> LedgerEntry:
    detail = {"id": "w", "amount": amount, "destination": "0xcd"}
    return LedgerEntry(1, datetime.now(UTC), "POST", "/user/withdraw", "0xAB", "withdrawn", detail)


class TestClientSoak:
    DONE, UNKNOWN, REJECTED, ID = Outcome.DONE, Outcome.UNKNOWN, Outcome.REJECTED, "a" * 32

    @pytest.mark.parametrize(
        ("told", "kept", "requests", "moves", "expected"),
        [
            (DONE, DONE, (True,), 1, ""),
            (UNKNOWN, UNKNOWN, (True,), 1, ""),
            (UNKNOWN, UNKNOWN, (False,), 0, ""),
            (REJECTED, REJECTED, (False, False), 0, ""),
            (DONE, DONE, (True, True), 2, "was executed 2 times"),
            (DONE, DONE, (False,), 0, "was executed 0 times"),
            (REJECTED, REJECTED, (True,), 1, "was executed 1 times"),
            (UNKNOWN, UNKNOWN, (True,), 2, "moved money 2 times"),
            (DONE, UNKNOWN, (True,), 1, "told"),
            (REJECTED, DONE, (True,), 1, "in the journal"),
            (DONE, None, (True,), 1, "without an entry"),
        ],
    )
    def test_user_journal_and_server_tell_the_same_story_or_it_is_found(
        self, told: Outcome, kept: Outcome | None, requests: tuple[bool, ...], moves: int, expected: str
    ) -> None:
        audit = client_soak.Audit(
            [_told("1.5", told)],
            [] if kept is None else [_kept("1.5", kept, self.ID)],
            [_moved("1.50")] * moves,
            [_executed(self.ID, executed) for executed in requests],
        )
        audit.run()
        assert (audit.disagreements == []) == (not expected), audit.disagreements
        assert expected in "".join(audit.disagreements)

    @pytest.mark.parametrize(
        ("resident", "blocks", "tasks", "expected"),
        [
            ([9, 50, 51, 50, 51], [1, 300, 301, 299, 302], 50, ""),
            ([9, 50, 51, 53, 55], [1, 300, 301, 299, 302], 50, "memory grew by"),
            ([9, 50, 51, 50, 51], [1, 300, 301, 320, 340], 50, "blocks: 340"),
            ([9, 50, 51, 50, 51], [1, 300, 301, 299, 302], 70, "tasks: 70"),
        ],
    )
    def test_only_what_grows_after_the_warm_up_counts(
        self, resident: list[int], blocks: list[int], tasks: int, expected: str
    ) -> None:
        samples = [
            soaked_client.Sample(at_s, 0, mebibytes << 20, count, 20, tasks if at_s == 10 else 50, 5)
            for at_s, mebibytes, count in zip((1, 3, 5, 8, 10), resident, blocks, strict=True)
        ]
        found = client_soak.verdict(samples, seconds=10)
        assert (found == []) == (not expected)
        assert expected in "".join(found)

    @pytest.mark.parametrize(("leaked", "expected"), [(0, False), (3, False), (9, True)])
    def test_descriptors_that_come_and_go_are_no_leak_and_those_that_stay_are(
        self, leaked: int, expected: bool
    ) -> None:
        # Quiet first, then busy: two thirds more connections, and now and then as few as ever.
        opened = [18, 20, 19] * 6 + [30, 35, 18 + leaked] * 3 + [35 + leaked] * 3
        samples = [soaked_client.Sample(at_s, 0, 50 << 20, 300, count, 50, 5) for at_s, count in enumerate(opened)]
        found = client_soak.verdict(samples, seconds=30)
        assert any("descriptors" in problem for problem in found) == expected

    def test_every_fault_of_the_soak_is_one_of_the_sandboxs(self) -> None:
        (rule,) = Sandbox(faults=f"{client_soak.FAULTS} 10%").faults.rules
        assert len(rule.faults) == client_soak.FAULTS.count("|") + 1 > 60


def _no_server(self: Server, cores: object) -> None:
    self.base_url = "http://127.0.0.1:1"


def _nothing_to_close(self: Server) -> None:
    pass


def test_the_lag_benchmark_sets_two_ways_of_reading_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert lag.main(["--candles", "40", "--replies", "16", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{what}, {way}" in printed for what in ("objects", "columns") for way in ("at once", "in turn"))
    assert printed.count("some rows odd") == 2


def test_the_warm_benchmark_compares_three_kinds_of_calls(capsys: pytest.CaptureFixture[str]) -> None:
    assert warm.main(["--rounds", "1", "--delay", "2"]) == 0
    printed = capsys.readouterr().out
    assert all(kind in printed for kind in ("READ, kept alive", "ONCE, cold", "ONCE, warm", "round trips"))
