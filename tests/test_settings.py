"""A setting that cannot be used is refused when the client is made, with a message that says what to set instead."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest

from alura_async import (
    DEFAULT_ASSETS,
    TESTNET_URL,
    Alura,
    AluraError,
    Assets,
    AsyncAlura,
    ConfigurationError,
    Keystore,
    Secret,
    Timeouts,
)
from alura_async.client import settings_from_env
from alura_async.core.proxy import as_proxy
from alura_async.core.settings import Connection, Options, as_timeouts, is_loopback, options, origin

both = pytest.mark.parametrize("client", [AsyncAlura, Alura])


def refused(**settings: Any) -> str:
    """The message with which both clients refuse a setting."""
    with pytest.raises(ConfigurationError) as raised:
        AsyncAlura(**settings)
    with pytest.raises(ConfigurationError) as blocking:
        Alura(**settings)
    assert str(raised.value) == str(blocking.value)
    assert isinstance(raised.value, AluraError)
    assert isinstance(raised.value, ValueError)
    return str(raised.value)


# Where the server is


@both
def test_the_documented_testnet_is_the_default(client: Any) -> None:
    assert client().base_url == TESTNET_URL == "https://testnet-api.alura.fun"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://api.example.com", "https://api.example.com"),
        ("https://api.example.com/", "https://api.example.com"),
        ("https://api.example.com:8443", "https://api.example.com:8443"),
        ("https://API.Example.COM", "https://api.example.com"),
        ("HTTPS://api.example.com", "https://api.example.com"),
        ("https://api.example.com/alura", "https://api.example.com/alura"),
        ("https://api.example.com/alura/v2/", "https://api.example.com/alura/v2"),
        ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
        ("https://192.0.2.7", "https://192.0.2.7"),
    ],
)
def test_https_may_go_anywhere_and_keeps_its_prefix(given: str, kept: str) -> None:
    assert AsyncAlura(base_url=given).base_url == kept


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.0.0.2", "127.255.255.254", "[::1]", "[0:0:0:0:0:0:0:1]"]
)
def test_plain_http_may_go_to_this_machine(host: str) -> None:
    found = origin(f"http://{host}:3000/x")
    assert (found.scheme, found.port, found.prefix) == ("http", 3000, "/x")
    assert is_loopback(found.host)


@pytest.mark.parametrize(
    "host",
    [
        "api.example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "0.0.0.0",
        "10.0.0.1",
        "192.168.1.1",
        "[::]",
        "[2001:db8::1]",
        "127.1",
        "2130706433",
        "sandbox",
    ],
)
def test_plain_http_to_another_host_is_refused_until_it_is_named(host: str) -> None:
    url = f"http://{host}:3000"
    text = refused(base_url=url)
    assert "use https" in text
    bare = host.strip("[]")
    assert f"allow_http=['{bare}']" in text
    for allowed in ([bare], (bare, "other"), {bare}, bare):
        assert AsyncAlura(base_url=url, allow_http=allowed).base_url == url
    assert refused(base_url=url, allow_http=["other"])


def test_naming_a_host_names_no_part_of_it() -> None:
    assert refused(base_url="http://sandbox", allow_http="sandbox.example")
    assert refused(base_url="http://sandbox", allow_http=["sand", "box", ""])


def test_a_host_is_named_in_any_case() -> None:
    assert AsyncAlura(base_url="http://Sandbox:3000", allow_http=["Sandbox"]).base_url == "http://sandbox:3000"


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@api.example.com",
        "https://:hunter2@api.example.com",
        "https://hunter2@api.example.com",
        "http://user:hunter2@localhost",
        "https://user:hunter2@api.example.com:8443/x?y#z",
    ],
)
def test_a_user_name_or_password_is_refused_and_not_repeated(url: str) -> None:
    text = refused(base_url=url)
    assert "user name and password" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "url", ["ftp://user:hunter2@api.example.com", "https://user:hunter2@", "https://user:hunter2/x@api.example.com"]
)
def test_a_password_is_not_repeated_whatever_else_is_wrong(url: str) -> None:
    assert "hunter2" not in refused(base_url=url)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com?x=1",
        "https://api.example.com/#top",
        "https://api.example.com/a?b",
        "https://api.example.com/a b",
        "https://api.example.com/\n",
        " https://api.example.com",
        "https://api.example.com ",
    ],
)
def test_query_fragment_and_white_space_are_refused(url: str) -> None:
    assert "leave out query, fragment and white space" in refused(base_url=url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com",
        "//api.example.com",
        "/x",
        "ftp://api.example.com",
        "wss://api.example.com",
        "https://",
        "https:///x",
        "https:api.example.com",
        "https://api.example.com:port",
        "https://api.example.com:70000",
        "https://[::1",
        None,
    ],
)
def test_what_is_no_absolute_url_is_refused_with_an_example(url: Any) -> None:
    assert TESTNET_URL in refused(base_url=url)


def test_an_origin_is_written_as_it_is_called() -> None:
    for url in ("https://a.example", "http://[::1]:80/x", "https://a.example:443/p/q"):
        assert str(origin(url)) == url


# Time limits


def test_the_default_time_limits_are_the_documented_ones() -> None:
    assert Timeouts() == Timeouts(call=30, create=10, sign_in=20, connect=5, read=10)


def test_a_number_bounds_every_call_creates_too() -> None:
    assert as_timeouts(3) == Timeouts(call=3, create=3)
    assert as_timeouts(0.5, Timeouts(read=1)) == Timeouts(call=0.5, create=0.5, read=1)
    assert as_timeouts(Timeouts(call=7)) == Timeouts(call=7)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, False, "5", b"5", [5]])
def test_a_time_limit_is_a_finite_number_above_0(value: Any) -> None:
    assert "above 0" in refused(timeout=value)
    for name in Timeouts.__struct_fields__:
        if isinstance(value, bool) or value != 0 or name not in ("settle", "drain"):
            with pytest.raises(ConfigurationError, match=name):
                Timeouts(**{name: value})
    with pytest.raises(ConfigurationError):
        AsyncAlura().with_options(timeout=value)


@pytest.mark.parametrize("value", [0, -1, float("nan"), True, "2", None])
def test_a_poll_interval_is_a_number_above_0(value: Any) -> None:
    assert "poll_interval" in refused(poll_interval=value)
    if value is not None:
        with pytest.raises(ConfigurationError, match="poll_interval"):
            AsyncAlura().with_options(poll_interval=value)


def test_a_poll_interval_is_finite() -> None:
    assert "poll_interval" in refused(poll_interval=float("inf"))


# Options of a view


@both
def test_with_options_changes_what_is_given_and_keeps_the_rest(client: Any) -> None:
    alura = client(timeout=7, poll_interval=0.5, assets={"BTC": 8})
    view = alura.with_options(poll_interval=0.1)
    assert (view.poll_interval, view.assets.index("BTC")) == (0.1, 8)
    again = view.with_options(assets={"BTC": 9}, timeout=Timeouts(call=1))
    assert (again.poll_interval, again.assets.index("BTC")) == (0.1, 9)
    assert (alura.poll_interval, alura.assets.index("BTC")) == (0.5, 8)
    assert view.base_url == alura.base_url


def test_options_keep_the_time_limits_that_are_not_changed() -> None:
    made = options(timeout=Timeouts(read=3, call=4))
    assert made.changed(timeout=2).timeouts == Timeouts(read=3, call=2, create=2)
    assert made.changed(poll_interval=1).timeouts is made.timeouts
    assert isinstance(made, Options)


def test_the_documented_assets_are_the_default_and_a_table_is_kept_as_it_is() -> None:
    assert AsyncAlura().assets is DEFAULT_ASSETS
    table = Assets({"BTC": 1})
    assert AsyncAlura(assets=table).assets is table


# Connections


def unchecked(hostname: bool, mode: ssl.VerifyMode) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = hostname
    context.verify_mode = mode
    return context


@pytest.mark.parametrize(
    "context",
    [
        unchecked(False, ssl.CERT_NONE),
        unchecked(False, ssl.CERT_OPTIONAL),
        unchecked(False, ssl.CERT_REQUIRED),
        unchecked(True, ssl.CERT_OPTIONAL),
    ],
    ids=["nothing", "optional", "no host names", "optional with host names"],
)
def test_a_tls_context_that_does_not_check_is_refused(context: ssl.SSLContext) -> None:
    assert "does not check certificates and host names" in refused(ssl_context=context)


def test_a_tls_context_that_checks_is_taken() -> None:
    context = ssl.create_default_context()
    assert Connection(origin=origin(TESTNET_URL), ssl_context=context).ssl_context is context
    AsyncAlura(ssl_context=context)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "1", None])
def test_the_largest_body_is_a_whole_number_above_0(value: Any) -> None:
    assert "max_body_bytes" in refused(max_body_bytes=value)


def test_a_session_and_a_connector_are_not_given_together() -> None:
    assert "not both" in refused(session=object(), connector=object())


@pytest.mark.parametrize("given", ["http://user:hunter2@proxy:3128", Secret("http://user:hunter2@proxy:3128")])
def test_a_connection_and_its_proxy_do_not_show_the_password(given: str | Secret) -> None:
    proxy = as_proxy(given)
    connection = Connection(origin=origin(TESTNET_URL), proxy=proxy)
    assert repr(connection) == f"<Connection to {TESTNET_URL}>"
    assert repr(proxy) == "Proxy(url='http://proxy:3128', authorization='***')"
    AsyncAlura(proxy=given)
    Alura(proxy=given)


@pytest.mark.parametrize(
    ("given", "url", "pair"),
    [
        ("http://proxy", "http://proxy", None),
        ("https://Proxy:3128/", "https://proxy:3128", None),
        ("http://[::1]:3128", "http://[::1]:3128", None),
        ("http://bob@proxy:1", "http://proxy:1", "bob:"),
        ("http://b%40b:p%2F%C3%A9:w@proxy:1", "http://proxy:1", "b@b:p/é:w"),
        ("http://bob:p@w@proxy:1", "http://proxy:1", "bob:p@w"),
    ],
)
def test_a_proxys_user_name_and_password_are_kept_apart(given: str, url: str, pair: str | None) -> None:
    found = as_proxy(given)
    assert found is not None
    assert found.url == url
    basic = pair and f"Basic {base64.b64encode(pair.encode()).decode()}"
    assert found.authorization == basic


@pytest.mark.parametrize(
    "url",
    [
        "proxy:3128",
        "hunter2",
        "",
        "socks5://user:hunter2@proxy:1080",
        "http://user:hunter2@",
        "http://user:hunter2/@proxy:3128",
        "http://user:hun#ter2@proxy:3128",
        "http://user:hunter2?@proxy:3128",
        "http://user:hun\nter2@proxy:3128",
        "http://user:hunter2@proxy:hunter2",
        "http://user:hunter2@[proxy",
        b"http://user:hunter2@proxy:3128",
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_with_an_example_and_not_repeated(url: Any) -> None:
    text = refused(proxy=url)
    assert text.startswith("proxy: ")
    assert "'http://user:password@proxy.example:3128'" in text
    assert "hun" not in text


def test_a_client_opens_and_sends_nothing_when_it_is_made() -> None:
    """No loop runs here: whatever needs one would fail."""
    for client in (AsyncAlura, Alura):
        client("4c" * 32, token="t0ken", base_url="http://127.0.0.1:1")


# The environment

VARIABLES = (
    "ALURA_BASE_URL",
    "ALURA_TOKEN",
    "ALURA_PRIVATE_KEY",
    "ALURA_KEYSTORE",
    "ALURA_KEYSTORE_PASSWORD",
    "ALURA_TOKEN_CACHE",
    "ALURA_JOURNAL",
    "ALURA_LOG",
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_an_empty_environment_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_from_env() == {}
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    assert settings_from_env() == {}


def test_the_environment_gives_url_token_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALURA_BASE_URL", "https://api.example.com/x")
    monkeypatch.setenv("ALURA_TOKEN", "t0ken")
    monkeypatch.setenv("ALURA_PRIVATE_KEY", "4c" * 32)
    assert settings_from_env() == {
        "base_url": "https://api.example.com/x",
        "token": Secret("t0ken"),
        "wallet": Secret("4c" * 32),
    }
    for client in (AsyncAlura, Alura):
        assert client.from_env().base_url == "https://api.example.com/x"


def test_the_environment_gives_a_keystore_with_its_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALURA_KEYSTORE", str(tmp_path / "key.json"))
    monkeypatch.setenv("ALURA_KEYSTORE_PASSWORD", "hunter2")
    wallet = settings_from_env()["wallet"]
    assert isinstance(wallet, Keystore)
    assert wallet.path == str(tmp_path / "key.json")
    assert "hunter2" not in repr(wallet)


def test_the_environment_names_the_files_that_outlive_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache, journal = str(tmp_path / "tokens.json"), str(tmp_path / "orders.db")
    monkeypatch.setenv("ALURA_TOKEN_CACHE", cache)
    monkeypatch.setenv("ALURA_JOURNAL", journal)
    assert settings_from_env() == {"token_cache": cache, "journal": journal}
    for client in (AsyncAlura, Alura):
        client.from_env(wallet="4c" * 32)


def test_a_key_and_a_keystore_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALURA_PRIVATE_KEY", "4c" * 32)
    monkeypatch.setenv("ALURA_KEYSTORE", "key.json")
    for client in (AsyncAlura, Alura):
        with pytest.raises(ConfigurationError, match="ALURA_PRIVATE_KEY and ALURA_KEYSTORE are both set") as raised:
            client.from_env()
        assert "4c4c" not in str(raised.value)


def test_a_keystore_without_its_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALURA_KEYSTORE", "key.json")
    with pytest.raises(ConfigurationError, match="ALURA_KEYSTORE_PASSWORD is not"):
        AsyncAlura.from_env()


@both
def test_what_is_given_to_from_env_has_the_last_word(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALURA_BASE_URL", "https://api.example.com")
    alura = client.from_env(base_url="https://other.example.com", poll_interval=0.25)
    assert (alura.base_url, alura.poll_interval) == ("https://other.example.com", 0.25)


@both
def test_a_bad_variable_is_refused_like_a_bad_setting(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALURA_BASE_URL", "http://api.example.com")
    with pytest.raises(ConfigurationError, match="use https"):
        client.from_env()


@both
def test_a_bad_key_of_the_environment_is_refused_and_not_repeated(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALURA_PRIVATE_KEY", "hunter2-is-no-key")
    with pytest.raises(ConfigurationError) as raised:
        client.from_env()
    assert "hunter2" not in str(raised.value)
