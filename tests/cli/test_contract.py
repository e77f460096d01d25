"""`alura contract`: what the first user of a real server sees, and what CI does."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from alura_async import Alura
from alura_async.cli.entry import run
from alura_async.contract import recordings
from alura_async.sandbox import Fault, Sandbox

from .process import alura as alura_of_a_clone
from .process import secrets_in


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A server that the environment names, with an account that has an open session."""
    with Sandbox.threaded(seed=8) as sandbox:
        wallet = sandbox.wallet()
        with Alura(wallet, base_url=sandbox.url) as alura:
            alura.trading_sessions.create(budget=100, profit_target=40, asset="BTC")
        for name in ("ALURA_KEYSTORE", "ALURA_TOKEN", "ALURA_TOKEN_CACHE", "ALURA_JOURNAL", "ALURA_LOG"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("ALURA_BASE_URL", sandbox.url)
        monkeypatch.setenv("ALURA_PRIVATE_KEY", wallet)
        yield sandbox


@pytest.fixture
def altered(sandbox: Sandbox, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], object]], str]:
    """The sandbox's document as a file, after a change."""

    def write(change: Callable[[dict[str, Any]], object]) -> str:
        from alura_async import Access, Route

        with Alura(base_url=sandbox.url) as alura:
            reply = alura.send_raw(Route("GET", "/api/docs-json", dict, access=Access.PUBLIC).request())
        content = json.loads(reply.body)
        change(content)
        path = tmp_path / "openapi.json"
        path.write_text(json.dumps(content))
        return str(path)

    return write


def rename_entry_price(content: dict[str, Any]) -> None:
    position = content["components"]["schemas"]["Position"]["properties"]
    position["costBasis"] = position.pop("entryPrice")


def test_no_difference_is_exit_code_0(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    made = len(sandbox.requests)
    assert run(["contract", "check"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"OpenAPI 3.0.3 of {sandbox.url}/api/docs-json: 41 operations; this SDK has 41.\n")
    assert re.search(r"^No difference, \d+ notes?\.$", shown, re.MULTILINE)
    (request,) = list(sandbox.requests)[made:]
    assert (request.method, request.path) == ("GET", "/api/docs-json")
    assert request.account is None


def test_a_difference_is_exit_code_1_and_named_as_a_user_calls_it(
    altered: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["contract", "check", altered(rename_entry_price)]) == 1
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if line.startswith("difference")]
    for text in (
        "trading_sessions.current_trade()",
        "GET /trading-sessions/current-trade",
        "reply.$.positions[].entryPrice",
        "Position.entry_price is always None",
    ):
        assert text in line
    assert re.search(r"^1 difference, \d+ notes\.$", shown, re.MULTILINE)


def test_json_is_whole_and_in_ascii(altered: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    path = altered(rename_entry_price)
    assert run(["contract", "check", "--json", path]) == 1
    shown = capsys.readouterr().out
    assert shown.isascii()
    found = json.loads(shown)
    assert (found["source"], found["openapi"], found["differs"], found["live"]) == (path, "3.0.3", True, None)
    (difference,) = [finding for finding in found["findings"] if finding["severity"] == "difference"]
    assert difference == {
        "severity": "difference",
        "endpoint": "trading_sessions.current_trade()",
        "method": "GET",
        "path": "/trading-sessions/current-trade",
        "place": "reply.$.positions[].entryPrice",
        "message": "the document has no such field, so Position.entry_price is always None",
    }


def test_a_document_may_be_at_another_address(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["contract", "check", f"{sandbox.url}/api/docs-json?v=1"]) == 0
    assert run(["contract", "check", "--base-url", sandbox.url]) == 0
    capsys.readouterr()
    assert run(["contract", "check", f"{sandbox.url}/api/docs"]) == 2
    assert "web page" in capsys.readouterr().err
    assert run(["contract", "check", "http://api.example.com/x"]) == 2
    assert "https" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [("nothing of the kind", "not JSON"), ('{"swagger": "2.0"}', "Swagger 2.0"), (None, "cannot be read")],
)
def test_what_cannot_be_checked_is_exit_code_2_and_one_line(
    tmp_path: Path, content: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "document"
    if content is not None:
        path.write_text(content)
    assert run(["contract", "check", str(path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("alura: ")
    assert shown.err.count("\n") == 1
    assert said in shown.err


def test_live_reads_and_changes_nothing(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    made, entries = len(sandbox.requests), len(sandbox.ledger)
    assert run(["contract", "check", "--live", "--json"]) == 0
    shown = capsys.readouterr().out
    assert secrets_in(shown, os.environ["ALURA_PRIVATE_KEY"]) == []
    found = json.loads(shown)
    requests = list(sandbox.requests)[made:]
    assert {request.path for request in requests if request.method != "GET"} == {
        "/auth/evm/challenge",
        "/auth/evm/verify",
    }
    assert {entry.kind for entry in sandbox.ledger[entries:] if entry.method} == {"signed_in"}
    states = {reading["endpoint"]: reading["state"] for reading in found["live"]}
    assert len(states) == 24
    assert [name for name, state in states.items() if state != "read"] == ["auth.trading_key()"]
    assert (found["anonymous"], found["differs"]) == (False, False)


def test_live_says_what_a_body_has_and_what_it_lacks(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    body = '{"id": "usr_1", "address": "0x12", "telegram": {"name": "secret-name"}}'
    sandbox.faults.add(Fault.status(200, body=body), on="GET /user/profile")
    sandbox.faults.add(Fault.status(200, body='[{"weather": "\\u001b[31mfine"}]'), on="GET /health")
    assert run(["contract", "check", "--live"]) == 1
    shown = capsys.readouterr().out
    line = r"user\.profile\(\) +GET /user/profile +"
    assert re.search(rf"{line}\$\.telegram +object, in no field", shown)
    assert re.search(rf"{line}Profile\.balance +None in all that was read", shown)
    assert re.search(r"health\.basic\(\) +GET /health +unknown shape", shown)
    assert "these do not work: health.basic()." in shown
    assert shown.rstrip().endswith(" contract record DIR")
    assert "secret-name" not in shown
    assert "\x1b" not in shown


def test_live_without_credentials_says_so(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ALURA_PRIVATE_KEY")
    made = len(sandbox.requests)
    assert run(["contract", "check", "--live"]) == 0
    assert "Only what is public was read: set ALURA_PRIVATE_KEY" in capsys.readouterr().out
    assert {request.method for request in list(sandbox.requests)[made:]} == {"GET"}


def test_live_goes_on_where_a_server_keeps_its_document_to_itself(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.faults.add("404 on GET /api/docs-json")
    assert run(["contract", "check"]) == 2
    assert "404" in capsys.readouterr().err
    assert run(["contract", "check", "--live"]) == 2
    shown = capsys.readouterr()
    assert "could not be compared" in shown.out
    assert f"23 of 24 reads of {sandbox.url} were read" in shown.out
    assert "404" in shown.err


def test_a_server_that_answers_no_read_is_exit_code_2(
    sandbox: Sandbox, altered: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    document = altered(lambda content: content)
    sandbox.faults.add("close on GET /*")
    assert run(["contract", "check", "--live", document]) == 2
    shown = capsys.readouterr()
    assert "No difference" in shown.out
    assert f"0 of 24 reads of {sandbox.url} were read, 18 no reply." in shown.out
    assert "nothing could be read" in shown.err


def test_a_server_that_refuses_every_read_is_no_fit(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    document = f"{sandbox.url}/api/docs-json"
    sandbox.faults.add_all(
        "404 on POST /auth/*; 404 on GET /user/*; 404 on GET /trading-sessions/*; 404 on GET /api/leaderboard/*; "
        "404 on GET /api/indicators/*; 404 on GET /health*; 404 on GET /referrals/*; 404 on GET /usdc-verification/*"
    )
    assert run(["contract", "check", "--live", document]) == 1
    shown = capsys.readouterr()
    assert f"0 of 24 reads of {sandbox.url} were read" in shown.out
    assert "these do not work: trading_sessions.active()" in shown.out
    assert "fits" not in shown.out
    assert "nothing could be read" in shown.err


def test_nothing_of_the_account_is_not_enough_for_credentials(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.faults.add("500 on POST /auth/evm/challenge")
    assert run(["contract", "check", "--live", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["error"].startswith(f"{sandbox.url}: nothing of the account could be read")
    assert {reading["state"] for reading in found["live"]} == {"read", "lost", "skipped"}


def test_what_was_not_answered_is_counted(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.faults.add_all("403 on GET /api/leaderboard/stats; reset on GET /health")
    assert run(["contract", "check", "--live"]) == 0
    shown = capsys.readouterr().out
    assert f"21 of 24 reads of {sandbox.url} were read, 1 refused, 1 no reply.\n" in shown
    assert "fits" not in shown


def test_a_reply_full_of_unknown_fields_does_not_fill_the_screen(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    letters = "abcdefghij"
    body = {"id": "usr_1", "address": "0x12", **{f"x{one}{other}": 1 for one in letters for other in letters}}
    sandbox.faults.add(Fault.status(200, body=json.dumps(body)), on="GET /user/profile")
    assert run(["contract", "check", "--live"]) == 0
    shown = capsys.readouterr().out
    assert shown.count(" $.x") == 20
    assert re.search(r"GET /user/profile +and \d\d more", shown)


def test_a_document_that_cannot_be_had_is_said_in_json_too(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.faults.add("404 on GET /api/docs-json", times=2)
    assert run(["contract", "check", "--json"]) == 2
    assert "404" in json.loads(capsys.readouterr().out)["error"]
    sandbox.faults.add(Fault.status(200, body='[{"weather": "fine"}]'), on="GET /health")
    assert run(["contract", "check", "--live"]) == 1
    assert "404" in capsys.readouterr().err
    assert run(["contract", "check", "--json", str(tmp_path / "none")]) == 2
    assert "cannot be read" in json.loads(capsys.readouterr().out)["error"]


def test_the_address_of_a_document_is_shown_without_its_secrets(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["contract", "check", f"{sandbox.url}/api/docs-json?api_key=hunter2"]) == 0
    shown = capsys.readouterr()
    assert "api_key=***" in shown.out
    assert "hunter2" not in shown.out + shown.err


def test_a_record_of_nothing_leaves_no_folder(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.faults.add("close on GET /*")
    assert run(["contract", "record", str(tmp_path / "new")]) == 2
    assert f"{sandbox.url}: no read brought a reply" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_record_says_that_the_sign_in_failed(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.faults.add("401 on POST /auth/evm/verify")
    assert run(["contract", "record", str(tmp_path)]) == 0
    assert "The sign-in failed, so what is the account's is missing" in capsys.readouterr().out


def test_what_every_reply_has_is_listed_once(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("/health", "/health/kafka", "/api/indicators/health", "/api/leaderboard/health", "/user/profile")
    for name in names:
        sandbox.faults.add(Fault.status(200, body='{"requestId": "1", "id": "1", "status": "ok"}'), on=f"GET {name}")
    assert run(["contract", "check", "--live"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^5 calls +\$\.requestId +string, in no field", shown, re.MULTILINE)
    assert shown.count("requestId") == 1


def test_record_keeps_every_reply_private_and_redacted(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "recordings"
    assert run(["contract", "record", str(folder)]) == 0
    assert "23 replies recorded" in capsys.readouterr().out
    files = sorted(folder.iterdir())
    assert len(files) == 23
    if os.name == "posix":
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    text = "".join(path.read_text() for path in files)
    address = Account.from_key(os.environ["ALURA_PRIVATE_KEY"]).address
    assert address.lower() not in text.lower()
    assert secrets_in(re.sub("0{48}[0-9]{16}", "", text), os.environ["ALURA_PRIVATE_KEY"]) == []
    found = {name: reply.decode() for name, reply in recordings(folder)}
    assert found["trading_sessions.active"][0].budget == 100
    assert found["user.profile"].address == "0x" + f"{1:040d}"


def test_record_overwrites_only_when_told_to(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["contract", "record", str(tmp_path)]) == 0
    before, made = (tmp_path / "health.basic.json").read_text(), len(sandbox.requests)
    capsys.readouterr()
    assert run(["contract", "record", str(tmp_path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert len(sandbox.requests) == made
    assert (tmp_path / "health.basic.json").read_text() == before
    assert run(["contract", "record", str(tmp_path), "--force"]) == 0
    assert (tmp_path / "health.basic.json").read_text() != before


def test_it_runs_as_a_command(sandbox: Sandbox) -> None:
    done = alura_of_a_clone("contract", "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{sandbox.url}/api/docs-json" in done.stdout
