"""The file that keeps tokens between two runs: who may read it, what is believed of it, and what is left alone."""

# ruff: noqa: ASYNC220, ASYNC230, ASYNC240 - these tests look at small files on a local disk between two calls

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import stat
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

from alura_async import Alura, AsyncAlura, ConfigurationError, UnauthorizedError
from alura_async.core.token import Clock
from alura_async.core.token_cache import CachedToken, TokenCache
from alura_async.secret import Secret
from tests.raw_server import RawServer
from tests.test_token import ADDRESS, FakeWallet, Server

pytestmark = pytest.mark.anyio

posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
OTHER = "0x" + "b2" * 20


class OtherWallet(FakeWallet):
    address = OTHER


@pytest.fixture
def server(raw: RawServer) -> Server:
    return Server(raw)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


async def run(raw: RawServer, path: Any, wallet: Any = None, **settings: Any) -> None:
    """One run of a bot: a call that needs a token, then the end."""
    async with AsyncAlura(wallet or FakeWallet(), base_url=raw.url, token_cache=path, **settings) as alura:
        await alura.user.profile()


def kept(file: Path) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = json.loads(file.read_text())["entries"]
    return entries


def write(file: Path, url: str, token: str, obtained_at: float, expires_at: float, address: str = ADDRESS) -> None:
    entry = {"token": token, "obtained_at": obtained_at, "expires_at": expires_at}
    content = {"alura_async": "tokens", "entries": {f"{url} {address}": entry}}
    file.write_text(json.dumps(content, separators=(",", ":")))
    file.chmod(0o600)


async def test_the_second_run_does_not_sign_in(raw: RawServer, server: Server, file: Path) -> None:
    await run(raw, file)
    await run(raw, str(file))
    assert server.logins == 1
    assert {request.headers.get("authorization") for request in raw.received[2:]} == {"Bearer token-1"}


@posix
async def test_the_file_is_its_owners_alone_whatever_the_umask(raw: RawServer, server: Server, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        await run(raw, tmp_path / "new" / "tokens.json")
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
    assert modes == {"tokens.json": 0o600, "tokens.json.lock": 0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize("exists", [True, False])
async def test_a_folder_gets_a_file_of_our_name(raw: RawServer, server: Server, tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "folder"
    if exists:
        folder.mkdir(0o700)
    await run(raw, folder if exists else f"{folder}{os.sep}")
    await run(raw, folder)
    assert list(kept(folder / "alura-tokens.json")) == [f"{raw.url} {ADDRESS}"]
    assert server.logins == 1


async def test_one_file_serves_several_wallets_and_servers(raw: RawServer, server: Server, file: Path) -> None:
    async with RawServer() as raw2:
        server2 = Server(raw2)
        for _ in range(2):
            await run(raw, file)
            await run(raw, file, OtherWallet())
            await run(raw2, file)
        assert (server.logins, server2.logins) == (2, 1)
        assert set(kept(file)) == {f"{raw.url} {ADDRESS}", f"{raw.url} {OTHER}", f"{raw2.url} {ADDRESS}"}


async def test_a_kept_token_that_the_server_refuses_is_replaced(raw: RawServer, server: Server, file: Path) -> None:
    await run(raw, file)
    server.refuses.add("token-1")
    await run(raw, file)
    assert server.logins == 2
    assert kept(file)[f"{raw.url} {ADDRESS}"]["token"] == "token-2"
    await run(raw, file)
    assert server.logins == 2


async def test_a_kept_token_counts_no_sign_in_of_a_server_that_refuses_all(
    raw: RawServer, server: Server, file: Path
) -> None:
    await run(raw, file)
    server.refuses.add("*")
    with pytest.raises(UnauthorizedError):
        await run(raw, file)
    assert server.logins == 2


async def test_a_close_that_comes_first_in_a_run_goes_with_the_token_of_the_run_before(
    raw: RawServer, server: Server, file: Path
) -> None:
    await run(raw, file)
    async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=file) as alura:
        await alura.trading_sessions.close_trade("t1")
    assert server.logins == 1
    assert raw.received[-1].headers["authorization"] == "Bearer token-1"


async def test_a_close_to_which_the_kept_token_is_refused_signs_in_at_once(
    raw: RawServer, server: Server, file: Path
) -> None:
    """A look into the file asks the server nothing, so no second goes by after it."""

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    pauses: list[float] = []
    await run(raw, file)
    server.refuses.add("token-1")
    async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=file) as alura:
        alura._road.tokens.clock = alura._road.tokens.clock._replace(pause=pause)
        await alura.trading_sessions.close_trade("t1")
    assert pauses == []
    assert server.logins == 2


@pytest.mark.parametrize("closes", [False, True])
async def test_what_another_process_obtained_is_not_believed_after_a_refusal(
    raw: RawServer, server: Server, file: Path, closes: bool
) -> None:
    """A server that changed its secret refuses the other's token too, and a call is repeated only once."""
    async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=file) as alura:
        await alura.user.profile()
        await asyncio.sleep(0)
        await alura._road.tokens._saved()
        write(file, raw.url, "of-another-process", time.time() - 1, time.time() + 1000)
        server.refuses |= {"token-1", "of-another-process"}
        await (alura.trading_sessions.close_trade("t1") if closes else alura.user.profile())
    assert raw.received[-1].headers["authorization"] == "Bearer token-2"


async def test_a_login_by_name_leaves_later_sign_ins_free_to_take_what_another_process_obtained(
    raw: RawServer, server: Server, file: Path
) -> None:
    async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=file) as alura:
        await alura.auth.login()
        await alura.auth.logout()
        write(file, raw.url, "of-another-process", time.time() - 1, time.time() + 1000)
        await alura.user.profile()
    assert server.logins == 1
    assert raw.received[-1].headers["authorization"] == "Bearer of-another-process"


async def test_logging_out_takes_it_out_of_the_file_and_logging_in_puts_the_new_one_there(
    raw: RawServer, server: Server, file: Path
) -> None:
    await run(raw, file, OtherWallet())
    async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=file) as alura:
        await alura.auth.login()
        assert kept(file)[f"{raw.url} {ADDRESS}"]["token"] == "token-2"
        await alura.auth.login()
        assert kept(file)[f"{raw.url} {ADDRESS}"]["token"] == "token-3"
        await alura.auth.logout()
        assert set(kept(file)) == {f"{raw.url} {OTHER}"}
        # Twice is fine, and so is none at all.
        await alura.auth.logout()


async def test_a_logout_right_after_a_sign_in_wins_over_its_writing(raw: RawServer, server: Server, file: Path) -> None:
    for _ in range(20):
        async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=file) as alura:
            await alura.user.profile()
            await alura.auth.logout()
        assert not file.exists() or kept(file) == {}


async def test_a_token_that_is_due_is_renewed_and_not_taken_from_the_file_once_more(
    raw: RawServer, server: Server, file: Path
) -> None:
    now = time.time()
    write(file, raw.url, "kept", now - 86000, now + 100)
    async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=file) as alura:
        await alura.user.profile()
        assert server.logins == 0
        tokens = alura._road.tokens
        assert tokens.held is not None
        tokens.held._renews = 0.0  # what it would be in 75 seconds
        await alura.user.profile()
        while tokens._is_under_way:
            await asyncio.sleep(0.005)
        await alura.user.profile()
    assert server.logins == 1
    assert raw.received[-1].headers["authorization"] == "Bearer token-1"


async def test_a_logout_during_a_sign_in_keeps_its_token_out_of_the_file(
    raw: RawServer, server: Server, file: Path
) -> None:
    server.login_takes = 0.05
    async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=file) as alura:
        call = asyncio.create_task(alura.user.profile())
        await asyncio.sleep(0.01)
        await alura.auth.logout()
        await call
    assert not file.exists()


async def test_a_writing_that_comes_to_its_turn_after_a_later_removal_is_not_done(file: Path) -> None:
    async def address() -> str:
        return ADDRESS

    cache = TokenCache(file, "https://x", address)
    saving = cache.save(CachedToken(Secret("t0ken"), 1.0, 9e9))
    await cache.remove()
    await saving
    assert await cache.load() is None
    await cache.save(CachedToken(Secret("t0ken"), 1.0, 9e9))
    assert await cache.load() == (Secret("t0ken"), 1.0, 9e9)


@pytest.mark.parametrize(
    ("obtained", "expires"),
    [(-86401, -1), (-10, 0), (3600, 90000), (-10, 1e300)],
    ids=["expired", "expires now", "the clock was set back", "for ever"],
)
async def test_a_token_whose_time_is_up_or_not_known_is_not_used(
    raw: RawServer, server: Server, file: Path, obtained: float, expires: float
) -> None:
    now = time.time()
    write(file, raw.url, "kept", now + obtained, now + expires)
    await run(raw, file)
    assert server.logins == 1
    assert "Bearer kept" not in {request.headers.get("authorization") for request in raw.received}


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
async def test_a_clock_that_is_wrong_for_good_signs_in_once(
    raw: RawServer, server: Server, file: Path, jump: float
) -> None:
    for _ in range(3):
        async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=file) as alura:
            alura._road.tokens.clock = Clock(time.monotonic, lambda: time.time() + jump)
            await alura.user.profile()
    assert server.logins == 1


async def test_a_token_whose_end_is_not_known_is_not_kept(raw: RawServer, server: Server, file: Path) -> None:
    server.lifetime = None
    await run(raw, file)
    assert not file.exists()


async def test_without_a_wallet_it_is_not_used(raw: RawServer, server: Server, file: Path) -> None:
    write(file, raw.url, "kept", time.time() - 1, time.time() + 1000)
    async with AsyncAlura(token="mine", base_url=raw.url, token_cache=file) as alura:
        await alura.user.profile()
        await alura.auth.logout()
    assert raw.received[-1].headers["authorization"] == "Bearer mine"
    assert len(kept(file)) == 1


def test_the_blocking_client_has_it_too(tmp_path: Path) -> None:
    with Alura("0x" + "11" * 32, token_cache=tmp_path / "x"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["", "a\0b", 5, True, object()])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(ConfigurationError, match="token_cache: give the path"):
        AsyncAlura(FakeWallet(), token_cache=path)


# What must not be believed: it is left as it is, the log says why, and signing in goes on.

UNSAFE = {
    "others may read it": (0o640, "mode 0640"),
    "others may write it": (0o602, "mode 0602"),
}


@posix
@pytest.mark.parametrize("name", UNSAFE)
async def test_a_file_that_others_could_use_is_neither_read_nor_touched(
    raw: RawServer, server: Server, file: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    mode, why = UNSAFE[name]
    write(file, raw.url, "kept", time.time() - 1, time.time() + 1000)
    file.chmod(mode)
    before = file.read_bytes()
    await run(raw, file)
    assert server.logins == 1
    assert file.read_bytes() == before
    assert stat.S_IMODE(file.stat().st_mode) == mode
    warnings = [record.getMessage() for record in caplog.records if record.name == "alura_async"]
    assert len(warnings) == 2, "one for reading, one for writing"
    assert all(why in text and "chmod 600" in text and "kept" not in text.replace("not kept", "") for text in warnings)


@posix
async def test_a_link_is_not_followed(
    raw: RawServer, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "precious"
    write(target, raw.url, "kept", time.time() - 1, time.time() + 1000)
    before = target.read_bytes()
    (tmp_path / "link").symlink_to(target)
    await run(raw, tmp_path / "link")
    assert server.logins == 1
    assert (tmp_path / "link").is_symlink()
    assert target.read_bytes() == before
    assert "it is a link" in caplog.text


@posix
@pytest.mark.parametrize("suffix", [".new", ".lock"])
async def test_a_link_that_was_laid_where_we_write_is_not_followed(
    raw: RawServer, server: Server, file: Path, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    Path(f"{file}{suffix}").symlink_to(target)
    await run(raw, file)
    assert server.logins == 1
    assert target.read_text() == "precious"


@posix
async def test_a_link_in_the_locks_place_makes_no_file_elsewhere(
    raw: RawServer, server: Server, file: Path, tmp_path: Path
) -> None:
    Path(f"{file}.lock").symlink_to(tmp_path / "made")
    await run(raw, file)
    assert server.logins == 1
    assert not (tmp_path / "made").exists()


@posix
async def test_a_folder_that_others_can_write_to_is_not_used(
    raw: RawServer, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    await run(raw, folder / "tokens.json")
    assert list(folder.iterdir()) == []
    assert "others can write to its folder" in caplog.text
    # Like /tmp: there nobody can take away what is not his own.
    folder.chmod(0o1777)
    await run(raw, folder / "tokens.json")
    assert len(kept(folder / "tokens.json")) == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("whose", ["file", "folder"])
async def test_what_belongs_to_somebody_else_is_not_used(
    raw: RawServer, server: Server, tmp_path: Path, whose: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(0o700)
    file = folder / "tokens.json"
    write(file, raw.url, "kept", time.time() - 1, time.time() + 1000)
    before = file.read_bytes()
    os.chown(file if whose == "file" else folder, 12345, -1)
    await run(raw, file)
    assert server.logins == 1
    assert file.read_bytes() == before


@posix
async def test_a_pipe_holds_nobody_up(raw: RawServer, server: Server, file: Path) -> None:
    os.mkfifo(file, 0o600)
    async with asyncio.timeout(2):
        await run(raw, file)
    assert server.logins == 1
    assert stat.S_ISFIFO(file.stat().st_mode)


@pytest.mark.parametrize(
    "content",
    [b"my diary", b'{"crypto":{},"version":3}', b"\xff\xfe\0", b"[]", b"null", b" " * 2_000_000 + b"x"],
    ids=["text", "a keystore", "bytes", "a list", "null", "huge"],
)
async def test_a_file_that_is_not_ours_is_never_replaced(
    raw: RawServer, server: Server, file: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """Whoever gives the path of his keystore by mistake must still have it afterwards."""
    file.write_bytes(content)
    file.chmod(0o600)
    await run(raw, file)
    assert server.logins == 1
    assert file.read_bytes() == content
    assert "is no token cache" in caplog.text


@pytest.mark.parametrize(
    "rest",
    [b"", b',"entries":', b',"entries":[]}', b',"entries":{"a":{"token":5}}}', b',"entries":{"a":"\xff"}}'],
)
async def test_one_of_ours_that_is_damaged_is_begun_anew(
    raw: RawServer, server: Server, file: Path, caplog: pytest.LogCaptureFixture, rest: bytes
) -> None:
    file.write_bytes(b'{"alura_async":"tokens"' + rest)
    file.chmod(0o600)
    await run(raw, file)
    await run(raw, file)
    assert server.logins == 1
    assert "damaged" in caplog.text


async def test_an_empty_file_is_a_cache_without_tokens(raw: RawServer, server: Server, file: Path) -> None:
    file.touch(0o600)
    await run(raw, file)
    await run(raw, file)
    assert server.logins == 1


async def test_what_is_kept_and_is_no_token_is_not_sent(
    raw: RawServer, server: Server, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(file, raw.url, "x\r\nX-Evil: 1", time.time() - 1, time.time() + 1000)
    await run(raw, file)
    assert kept(file)[f"{raw.url} {ADDRESS}"]["token"] == "token-1"
    assert "is no token" in caplog.text


async def test_a_folder_that_cannot_be_made_keeps_nobody_from_signing_in(
    raw: RawServer, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    await run(raw, tmp_path / "no" / "such" / "tokens.json")
    await run(raw, tmp_path / "file" / "tokens.json")
    assert server.logins == 2
    assert caplog.text.count("not kept for the next run") == 2


@posix
async def test_a_logout_that_cannot_be_carried_out_in_the_file_says_so(
    raw: RawServer, server: Server, file: Path
) -> None:
    async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=file) as alura:
        await alura.auth.login()
        file.chmod(0o644)
        with pytest.raises(ConfigurationError, match="may still be in the token cache"):
            await alura.auth.logout()
        assert alura._road.tokens.held is None


async def test_a_crash_while_writing_leaves_the_old_content_and_the_next_run_clears_up(
    raw: RawServer, server: Server, file: Path
) -> None:
    await run(raw, file)
    Path(f"{file}.new").write_bytes(b"half of i")
    await run(raw, file, OtherWallet())
    assert len(kept(file)) == 2
    assert not Path(f"{file}.new").exists()


# Several at once

_WRITER = """
import asyncio, sys
from alura_async.core.token_cache import CachedToken, TokenCache
from alura_async.secret import Secret

async def main():
    async def address(): return sys.argv[2]
    cache = TokenCache(sys.argv[1], "https://x", address)
    for number in range(30):
        await cache.save(CachedToken(Secret(f"{sys.argv[2]}-{number}"), 1.0, 9e9))
        assert (await cache.load()).secret.reveal() == f"{sys.argv[2]}-{number}"
asyncio.run(main())
"""


async def test_two_processes_lose_nothing_of_each_other(file: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(file), name]) for name in ("a", "b")]
    for writer in writers:
        assert await asyncio.to_thread(writer.wait, 30) == 0
    assert {key: entry["token"] for key, entry in kept(file).items()} == {"https://x a": "a-29", "https://x b": "b-29"}


@posix
async def test_somebody_who_holds_the_lock_for_ever_costs_a_warning(
    raw: RawServer, server: Server, file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr("alura_async.core.token_cache._PATIENCE_S", 1.0)
    with open(f"{file}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with AsyncAlura(FakeWallet(), base_url=raw.url, token_cache=file) as alura:
            await alura.user.profile()
            assert caplog.text == ""  # it did not wait for the file
    assert "another process holds" in caplog.text


async def test_nothing_of_a_token_is_shown(raw: RawServer, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = CachedToken(Secret("s3cr3t-token"), 1.0, 9e9)

    async def address() -> str:
        return ADDRESS

    # A folder in the file's place: the last step of writing fails.
    cache = TokenCache(file, raw.url, address)
    (Path(f"{file}.new") / "x").mkdir(parents=True)
    await cache.save(token)
    assert "not kept" in caplog.text
    shown = [caplog.text, repr(token), repr(cache), str(token)]
    try:
        await cache.remove()
    except ConfigurationError as error:
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        shown.append("".join(report.format()))
    with pytest.raises(TypeError):
        pickle.dumps(token)
    assert not any("s3cr3t" in text for text in shown)
