"""Wallets: what they sign is what Ethereum says, what they hold stays hidden, and what they refuse to sign."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coincurve import PublicKey
from Crypto.Hash import keccak
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_keys.backends.native.main import NativeECCBackend
from hypothesis import example, given, settings
from hypothesis import strategies as st

import alura_async.wallet as wallet_module
from alura_async.errors import (
    ChallengeRefusedError,
    ConfigurationError,
    InvalidArgumentError,
    SignInError,
)
from alura_async.groups.auth import Challenge
from alura_async.secret import Secret
from alura_async.wallet import (
    ChallengeCheck,
    Keystore,
    KeyWallet,
    Wallet,
    WalletLike,
    as_wallet,
    check_challenge,
    sealed,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# The key and address of web3.js's documentation; public, so never of worth.
KEY = "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
OTHER_ADDRESS = "0xF0109fC8DF283027b6285cc889F5aA624EaC1F55"
PASSWORD = "correct horse battery staple"
RAW_KEY = bytes.fromhex(KEY[2:])
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

PUBLISHED: dict[str, tuple[str | bytes, str, str, str]] = {
    "eth-account": (
        b"\xb2\\}\xb3\x1f\xee\xd9\x12''\xbf\t9\xdcv\x9a\x96VK-\xe4\xc4rm\x03[6\xec\xf1\xe5\xb3d",
        "0x5ce9454909639D2D17A3F753ce7d93fa0b9aB12E",
        "I♥SF",
        "0xe6ca9bba58c88611fad66a6ce8f996908195593807c4b38bd528d2cff09d4eb33e5bfbbf4d3e39b1a2fd816a7680c19ebebaf3a141b239934ad43cb33fcec8ce1c",
    ),
    "web3.js": (
        KEY,
        ADDRESS,
        "Some data",
        "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c",
    ),
}


def personal_sign_hash(text: str) -> bytes:
    """EIP-191's hash, version byte 0x45, by another implementation of keccak than the SDK's."""
    data = text.encode("utf-8")
    return keccak.new(digest_bits=256, data=b"\x19Ethereum Signed Message:\n" + str(len(data)).encode() + data).digest()


def recovered_address(text: str, signature: str) -> str:
    """Who signed, by another implementation of secp256k1 and keccak than the SDK's."""
    raw = bytes.fromhex(signature.removeprefix("0x"))
    assert raw[64] in (27, 28)
    key = PublicKey.from_signature_and_message(raw[:64] + bytes([raw[64] - 27]), personal_sign_hash(text), hasher=None)
    return "0x" + keccak.new(digest_bits=256, data=key.format(compressed=False)[1:]).digest()[-20:].hex()


def in_fresh_process(code: str, **environment: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write_keystore(folder: Path, password: str = PASSWORD, **changed: Any) -> Path:
    """A keystore file that is cheap to open."""
    file = folder / "wallet.json"
    file.write_text(json.dumps({**Account.encrypt(RAW_KEY, password, kdf="pbkdf2", iterations=2), **changed}))
    return file


# --- signatures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
async def test_signatures_are_the_published_ones(name: str) -> None:
    key, address, text, signature = PUBLISHED[name]
    wallet = KeyWallet(key)
    assert (await wallet.sign_message(text)).reveal() == signature
    assert wallet.address == address


def test_pure_python_signs_the_same() -> None:
    """Without coincurve eth-account signs in Python; the published signatures must not change."""
    code = f"""
import asyncio
from alura_async.wallet import KeyWallet
from eth_keys.backends import get_backend
print(type(get_backend()).__name__)
for key, address, text, signature in {list(PUBLISHED.values())!r}:
    wallet = KeyWallet(key)
    assert asyncio.run(wallet.sign_message(text)).reveal() == signature
    assert wallet.address == address
"""
    assert in_fresh_process(code, ECC_BACKEND_CLASS="eth_keys.backends.NativeECCBackend") == "NativeECCBackend"


@settings(max_examples=80, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
@example("")
@example("a\nb\r\n\tc\x00")
@example("👨‍👩‍👧 Grüße – 签名 é é")
@example("x" * 10_000)
def test_another_implementation_recovers_our_address_from_any_text(text: str) -> None:
    signature = asyncio.run(KeyWallet(KEY).sign_message(text)).reveal()
    assert len(signature) == 132
    assert signature == signature.lower()
    assert recovered_address(text, signature) == ADDRESS.lower()
    assert recovered_address(text + "!", signature) != ADDRESS.lower()


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, CURVE_ORDER - 1).map(lambda number: number.to_bytes(32, "big")),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
@example(b"\0" * 31 + b"\1", "")
@example((CURVE_ORDER - 1).to_bytes(32, "big"), "last")
def test_any_key_signs_as_the_pure_python_backend_does(key: bytes, text: str) -> None:
    from eth_account.messages import encode_defunct

    native = Account()
    native.set_key_backend(NativeECCBackend())
    expected = native.sign_message(encode_defunct(text=text), key).signature
    wallet = KeyWallet(key)
    signature = asyncio.run(wallet.sign_message(text)).reveal()
    assert signature == "0x" + bytes(expected).hex()
    assert recovered_address(text, signature) == wallet.address.lower()


async def test_text_that_has_no_utf8_form_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="surrogate"):
        await KeyWallet(KEY).sign_message("half \ud800")


# --- where a key comes from -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        KEY,
        KEY[2:],
        "0X" + KEY[2:].upper(),
        f"  {KEY}\n",
        bytes.fromhex(KEY[2:]),
        Secret(KEY),
        KeyWallet(KEY),
        Account.from_key(KEY),
        KeyWallet.from_account(Account.from_key(KEY)),
    ],
    ids=["hex", "bare hex", "capitals", "with spaces", "bytes", "secret", "KeyWallet", "LocalAccount", "from_account"],
)
def test_what_holds_the_key_is_a_wallet(value: WalletLike) -> None:
    assert as_wallet(value).address == ADDRESS


async def test_any_object_with_an_address_and_a_signature_is_a_wallet() -> None:
    class Device:
        asked = 0

        @property
        def address(self) -> str:
            Device.asked += 1
            return ADDRESS

        async def sign_message(self, text: str, /) -> str:
            return "0x" + text

    device = Device()
    wallet: Wallet = as_wallet(device)
    assert wallet is device
    assert Device.asked == 0, "an address may cost a walk to the device, so it is not read before it is needed"


def test_an_account_of_eth_account_is_a_wallet() -> None:
    account: LocalAccount = Account.from_key(KEY)
    assert as_wallet(account).address == account.address
    assert KeyWallet.from_account(account).address == account.address


def test_a_wallet_that_forwards_its_attributes_is_a_wallet() -> None:
    class Proxy:
        def __getattr__(self, name: str) -> Any:
            return getattr(KeyWallet(KEY), name)

    proxy: Any = Proxy()
    assert as_wallet(proxy) is proxy


def test_a_wallet_keeps_being_itself() -> None:
    wallet = KeyWallet(KEY)
    assert as_wallet(wallet) is wallet
    assert copy.copy(wallet) is copy.deepcopy(wallet) is wallet


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        int(KEY, 16),
        1.5,
        [KEY],
        {"key": KEY},
        object(),
        KeyWallet,
        Path("/tmp/wallet.json"),
        Account,
        ("a", "b"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_refused_with_a_list_of_what_is_accepted(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"64 hex digits.*Keystore.*LocalAccount.*sign_message") as caught:
        as_wallet(value)
    assert_hidden(shown(caught.value), KEY[2:], str(int(KEY, 16)))


def test_an_account_without_a_key_is_refused() -> None:
    from eth_account.signers.base import BaseAccount

    class Ledger(BaseAccount):
        address: Any = ADDRESS

        def sign_message(self, *_: Any) -> Any: ...
        def unsafe_sign_hash(self, *_: Any) -> Any: ...
        def sign_transaction(self, *_: Any) -> Any: ...

    ledger: Any = Ledger()
    with pytest.raises(ConfigurationError, match="holds no private key"):
        as_wallet(ledger)


def test_new_wallets_differ_and_can_be_kept() -> None:
    one, two = KeyWallet.create(), KeyWallet.create()
    assert one.address != two.address
    assert KeyWallet(one.export_key()).address == one.address


BAD_KEYS: dict[str, tuple[Any, str]] = {
    "31 bytes of hex": ("0x" + KEY[4:], "62 hex digits"),
    "33 bytes of hex": (KEY + "ff", "66 hex digits"),
    "63 digits": (KEY[:-1], "63 hex digits"),
    "31 bytes": (bytes.fromhex(KEY[4:]), "62 hex digits"),
    "33 bytes": (bytes.fromhex(KEY[2:] + "ff"), "66 hex digits"),
    "not hex": ("0x" + KEY[2:-1] + "g", "not hex"),
    "wide digits": ("4" * 63 + "４", "not hex"),
    "two keys": (f"{KEY[2:]} {KEY[2:]}", "not hex"),
    "zero": ("0x" + "0" * 64, "out of range"),
    "order": (f"{CURVE_ORDER:064x}", "out of range"),
    "above order": ("f" * 64, "out of range"),
    "empty": ("", "empty"),
    "prefix only": ("0x", "empty"),
    "seed phrase": ("legal winner thank year wave sausage worth useful legal winner thank yellow", "seed phrase"),
    "address": (ADDRESS, "address, which cannot sign"),
    "a file": ("/home/me/wallet.json", "Keystore"),
}


@pytest.mark.parametrize("make", [KeyWallet, as_wallet], ids=["KeyWallet", "as_wallet"])
@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_bad_key_is_refused_at_once_and_never_shown(name: str, make: Callable[[Any], object]) -> None:
    key, why = BAD_KEYS[name]
    with pytest.raises(ConfigurationError, match=why) as caught:
        make(key)
    assert isinstance(caught.value, ValueError)
    text = key.hex() if isinstance(key, bytes) else key
    if len(text) > 8:
        everything = shown(caught.value)
        # Not even a part of it; the end is where a typing error is looked for.
        assert_hidden(everything, text, text.removeprefix("0x")[:12], text[-12:], repr(key))


# --- laziness and sharing -------------------------------------------------------------------------------------------


def test_using_a_wallet_leaves_the_recursion_limit_alone() -> None:
    """eth-account's import raises it so far that a nested reply would crash the process instead of an error."""
    code = """
import sys
from alura_async.wallet import KeyWallet
before = sys.getrecursionlimit()
KeyWallet.create().address
print(sys.getrecursionlimit() - before)
"""
    assert in_fresh_process(code) == "0"


def test_importing_wallets_loads_no_eth_account() -> None:
    code = """
import sys
from alura_async.wallet import KeyWallet, Keystore, as_wallet, check_challenge
wallet = as_wallet("0x" + "11" * 32)
repr(wallet), KeyWallet.create()
print([name for name in sys.modules if name.startswith(("eth_", "coincurve", "Crypto"))])
wallet.address
print("eth_account" in sys.modules)
"""
    assert in_fresh_process(code).splitlines() == ["[]", "True"]


async def test_prepare_derives_the_address_once_for_all_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    asked: list[None] = []
    original, unlock = Account.from_key, KeyWallet._unlock

    def from_key(key: Any) -> Any:
        made.append(threading.current_thread().name)
        time.sleep(0.05)
        return original(key)

    def counted(wallet: KeyWallet) -> Any:
        asked.append(None)
        return unlock(wallet)

    monkeypatch.setattr(Account, "from_key", from_key)
    monkeypatch.setattr(KeyWallet, "_unlock", counted)
    wallet = KeyWallet(KEY)
    assert "not derived yet" in repr(wallet)
    await asyncio.gather(*(wallet.prepare() for _ in range(100)))
    await wallet.prepare()
    assert len(asked) == 1, "callers that wait take no worker threads"
    assert wallet.address == ADDRESS
    assert len(made) == 1
    assert made[0] != threading.main_thread().name


async def test_one_cancelled_caller_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Account.from_key

    def from_key(key: Any) -> Any:
        time.sleep(0.1)
        return original(key)

    monkeypatch.setattr(Account, "from_key", from_key)
    wallet = KeyWallet(KEY)
    first = asyncio.create_task(wallet.prepare())
    second = asyncio.create_task(wallet.prepare())
    await asyncio.sleep(0.02)
    first.cancel()
    await second
    assert first.cancelled()
    assert wallet.address == ADDRESS


def test_one_wallet_serves_several_loops_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wallet = KeyWallet.from_keystore(write_keystore(tmp_path), PASSWORD)
    found: list[str] = []
    original = Account.from_key

    def from_key(key: Any) -> Any:
        time.sleep(0.1)
        return original(key)

    monkeypatch.setattr(Account, "from_key", from_key)

    def serve() -> None:
        found.append(asyncio.run(wallet.sign_message("Some data")).reveal())

    threads = [threading.Thread(target=serve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [PUBLISHED["web3.js"][3]] * 8


async def test_signing_leaves_the_loop_free(monkeypatch: pytest.MonkeyPatch) -> None:
    wallet = KeyWallet(KEY)
    await wallet.prepare()
    loop_thread = threading.get_ident()
    signed_in: list[int] = []
    original = type(wallet._account).sign_message

    def sign_message(account: Any, message: Any) -> Any:
        signed_in.append(threading.get_ident())
        return original(account, message)

    monkeypatch.setattr(type(wallet._account), "sign_message", sign_message)
    await wallet.sign_message("x")
    assert signed_in != [loop_thread]


# --- keystores ------------------------------------------------------------------------------------------------------


async def test_a_keystore_opens_with_its_password(tmp_path: Path) -> None:
    file = write_keystore(tmp_path)
    for value in (Keystore(file, PASSWORD), Keystore(str(file), Secret(PASSWORD))):
        wallet = as_wallet(value)
        assert (await wallet.sign_message("Some data")) == Secret(PUBLISHED["web3.js"][3])
        assert wallet.address == ADDRESS


def test_a_keystore_with_a_slow_scrypt_is_not_opened_before_it_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "wallet.json"
    file.write_text(json.dumps(Account.encrypt(RAW_KEY, PASSWORD, kdf="scrypt", iterations=2)))
    wallet = KeyWallet.from_keystore(file, PASSWORD)
    file.unlink()
    assert "not derived yet" in repr(wallet)
    assert wallet.address == ADDRESS


def test_a_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_keystore(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert KeyWallet.from_keystore("~/wallet.json", PASSWORD).address == ADDRESS


def test_old_files_with_capitals_open(tmp_path: Path) -> None:
    content = Account.encrypt(RAW_KEY, PASSWORD, kdf="pbkdf2", iterations=2)
    content["Crypto"] = content.pop("crypto")
    content.pop("address")
    file = tmp_path / "old.json"
    file.write_text(json.dumps(content))
    assert KeyWallet.from_keystore(file, PASSWORD).address == ADDRESS


async def test_a_wrong_password_names_the_file_only(tmp_path: Path) -> None:
    wallet = as_wallet(Keystore(write_keystore(tmp_path), "hunter2-hunter2"))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"wallet\.json.*password is wrong") as caught:
            await wallet.sign_message("x")
        assert_hidden(shown(caught.value), "hunter2", KEY[2:])
    with pytest.raises(ConfigurationError, match="password is wrong") as caught:
        _ = wallet.address
    assert_hidden(shown(caught.value), "hunter2", KEY[2:])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        (b"", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 16_000, "too large"),
        (KEY.encode(), "not JSON"),
        (b" " * 17_000, "too large"),
        (b"[]", "not an Ethereum keystore"),
        (b'{"crypto": {}, "version": 4}', "not an Ethereum keystore"),
        (b'{"crypto": 3, "version": 3}', "not an Ethereum keystore"),
        (json.dumps({"private_key": KEY}).encode(), "not an Ethereum keystore"),
    ],
    ids=["missing", "empty", "utf-16", "deep", "a bare key", "large", "a list", "version 4", "no crypto", "other JSON"],
)
def test_a_file_that_is_no_keystore_fails_at_once(content: bytes | None, why: str, tmp_path: Path) -> None:
    file = tmp_path / "wallet.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"wallet\.json.*{why}") as caught:
        as_wallet(Keystore(file, PASSWORD))
    assert_hidden(shown(caught.value), PASSWORD, KEY[2:])


def test_a_directory_is_no_keystore(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KeyWallet.from_keystore(tmp_path, PASSWORD)


def test_a_path_with_a_null_character_is_no_keystore() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KeyWallet.from_keystore("a\0b", PASSWORD)


@pytest.mark.parametrize("make", [Keystore, KeyWallet.from_keystore], ids=["Keystore", "from_keystore"])
@pytest.mark.parametrize("password", [None, b"hunter2-hunter2", 5], ids=["None", "bytes", "int"])
def test_a_password_is_text(make: Callable[..., object], password: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="password") as caught:
        make(write_keystore(tmp_path), password)
    assert_hidden(shown(caught.value), "hunter2")


@pytest.mark.parametrize("make", [Keystore, KeyWallet.from_keystore], ids=["Keystore", "from_keystore"])
def test_a_keystore_has_a_path(make: Callable[..., object]) -> None:
    with pytest.raises(ConfigurationError, match="path") as caught:
        make(None, PASSWORD)
    assert_hidden(shown(caught.value), PASSWORD)


def test_a_key_in_place_of_a_path_is_not_echoed() -> None:
    with pytest.raises(ConfigurationError) as caught:
        KeyWallet.from_keystore(KEY, PASSWORD)
    assert KEY[2:] not in str(caught.value)
    assert KEY[2:] not in repr(Keystore(KEY, PASSWORD))


def test_a_damaged_keystore_is_not_taken_for_another_wallet(tmp_path: Path) -> None:
    """Its checksum leaves the initialisation vector out, so a flipped bit opens, silently, as another key."""
    content = Account.encrypt(RAW_KEY, PASSWORD, kdf="pbkdf2", iterations=2)
    content["crypto"]["cipherparams"]["iv"] = "00" * 16
    with pytest.raises(ConfigurationError, match="damaged") as caught:
        _ = KeyWallet.from_keystore(write_keystore(tmp_path, crypto=content["crypto"]), PASSWORD).address
    assert_hidden(shown(caught.value), PASSWORD, KEY[2:])


@pytest.mark.parametrize(
    "change", [{"kdf": "md5"}, {"kdfparams": {}}, {"mac": "zz"}, {"cipherparams": None}, {"ciphertext": 5}], ids=str
)
def test_a_keystore_that_cannot_be_decrypted_says_so(change: dict[str, Any], tmp_path: Path) -> None:
    content = Account.encrypt(RAW_KEY, PASSWORD, kdf="pbkdf2", iterations=2)
    file = write_keystore(tmp_path, crypto={**content["crypto"], **change})
    with pytest.raises(ConfigurationError, match=r"wallet\.json.*cannot be decrypted") as caught:
        _ = KeyWallet.from_keystore(file, PASSWORD).address
    assert_hidden(shown(caught.value), PASSWORD, KEY[2:])


# --- secrecy --------------------------------------------------------------------------------------------------------


def shown(error: BaseException) -> str:
    """All that a log, an error tracker or a debugger could show of an error, below the frames of the test itself."""
    everything: list[str] = []
    seen: set[int] = set()

    def look(error: BaseException | None, skip: int) -> None:
        if error is None or id(error) in seen:
            return
        seen.add(id(error))
        trace = error.__traceback__
        for _ in range(skip):
            trace = trace.tb_next if trace else None
        rendered = traceback.TracebackException(type(error), error, trace, capture_locals=True)
        # Source lines are not at issue here: they would show the names in this file.
        everything.extend(f"{frame.name}: {frame.locals}" for frame in rendered.stack)
        everything.extend((str(error), repr(error), repr(error.args), *rendered.format_exception_only()))
        look(error.__cause__, 0)
        look(error.__context__, 0)

    look(error, 1)
    return "\n".join(everything)


def assert_hidden(everything: str, *secret: str) -> None:
    for text in secret:
        assert text.lower() not in everything.lower()


def test_the_renderer_of_these_tests_would_find_a_secret() -> None:
    def leak(word: str) -> None:
        raise ConfigurationError("no")

    with pytest.raises(ConfigurationError) as caught:
        leak("find" + "-me")
    assert "find-me" in shown(caught.value)


@pytest.fixture(params=["fresh", "prepared", "keystore", "opened keystore"])
def holder(request: pytest.FixtureRequest, tmp_path: Path) -> KeyWallet:
    """A wallet in each of its states."""
    wallet = (
        KeyWallet.from_keystore(write_keystore(tmp_path), PASSWORD) if "keystore" in request.param else KeyWallet(KEY)
    )
    if request.param in ("prepared", "opened keystore"):
        assert wallet.address == ADDRESS
    return wallet


def test_a_wallet_shows_its_address_and_nothing_else(holder: KeyWallet) -> None:
    texts = {repr(holder), str(holder), f"{holder}", f"{holder!r:>40}", "%s" % holder}  # noqa: UP031
    assert {text.strip() for text in texts} <= {f"KeyWallet({ADDRESS})", "KeyWallet(address not derived yet)"}
    assert not hasattr(holder, "__dict__")
    inside = repr([getattr(holder, name) for name in KeyWallet.__slots__]) + repr(holder.__getstate__())
    assert_hidden(inside, KEY[2:], str(int(KEY, 16)), PASSWORD, repr(bytes.fromhex(KEY[2:]))[2:-1])


def test_a_wallet_is_not_pickled(holder: KeyWallet) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="private key and is not pickled"):
            pickle.dumps(holder, protocol)


def test_a_keystore_shows_its_path_and_is_not_pickled(tmp_path: Path) -> None:
    keystore = Keystore(tmp_path / "wallet.json", PASSWORD)
    assert "wallet.json" in repr(keystore)
    assert_hidden(repr(keystore) + str(keystore) + f"{keystore}", PASSWORD)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(keystore)


def test_an_opened_wallet_forgets_the_password(tmp_path: Path) -> None:
    wallet = KeyWallet.from_keystore(write_keystore(tmp_path), PASSWORD)
    assert wallet.address
    assert wallet._locked is None


async def test_a_failing_signature_leaves_no_trace_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong inside eth-account has the key in its frames, and may have it in its message."""

    def sign_message(message: Any, private_key: bytes) -> Any:
        raise RuntimeError(f"cannot use {private_key.hex()}")

    wallet = KeyWallet(KEY)
    await wallet.prepare()
    monkeypatch.setattr(Account, "sign_message", sign_message)
    monkeypatch.setattr(wallet._account, "_publicapi", Account)
    with pytest.raises(SignInError, match="could not sign: RuntimeError") as caught:
        await wallet.sign_message("x")
    assert_hidden(shown(caught.value), KEY[2:])


@pytest.mark.parametrize("source", ["key", "keystore"])
async def test_a_failing_derivation_leaves_no_trace_of_the_key(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def from_key(key: Any) -> Any:
        raise RuntimeError(f"cannot use {key}")

    wallet = KeyWallet(KEY) if source == "key" else KeyWallet.from_keystore(write_keystore(tmp_path), PASSWORD)
    monkeypatch.setattr(Account, "from_key", from_key)
    with pytest.raises(ConfigurationError, match="RuntimeError") as caught:
        await wallet.prepare()
    assert_hidden(shown(caught.value), KEY[2:], PASSWORD)


def test_a_setting_can_be_sealed_before_it_is_understood() -> None:
    assert sealed(KEY) == Secret(KEY)
    assert sealed(bytes.fromhex(KEY[2:])) == sealed(bytearray.fromhex(KEY[2:])) == Secret(KEY)
    wallet = KeyWallet(KEY)
    assert sealed(wallet) is wallet
    assert sealed(None) is None


# --- what may be signed ---------------------------------------------------------------------------------------------

HOST = "testnet-api.alura.fun"
NONCE = "k3J9x2Qm7Zp4"
HEX_NONCE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

SIWE = f"""testnet-api.alura.fun wants you to sign in with your Ethereum account:
{ADDRESS}

Sign in to Alura.

URI: https://testnet-api.alura.fun
Version: 1
Chain ID: 42161
Nonce: {NONCE}
Issued At: 2026-11-20T10:00:00.000Z"""


def refuse(
    message: str, *, nonce: str = NONCE, asked: str = ADDRESS, address: str = ADDRESS, host: str = HOST
) -> ChallengeRefusedError:
    """The refusal; a test that calls this fails if there is none."""
    with pytest.raises(ChallengeRefusedError) as caught:
        check_challenge(Challenge(address=asked, nonce=nonce, message=message), address=address, host=host)
    return caught.value


def accept(message: str, *, nonce: str = NONCE, asked: str = ADDRESS, address: str = ADDRESS, host: str = HOST) -> None:
    """Passes if the text may be signed."""
    check_challenge(Challenge(address=asked, nonce=nonce, message=message), address=address, host=host)


GOOD: dict[str, tuple[str, dict[str, str]]] = {
    "shortest": (f"Alura login: {NONCE}", {}),
    "plain": (f"Sign in to Alura.\nNonce: {NONCE}", {}),
    "with our address": (f"Sign in to Alura as {ADDRESS} with nonce {NONCE}.", {}),
    "with our address in small letters": (f"Sign in to Alura as {ADDRESS.lower()}, nonce {NONCE}", {}),
    "with our address without prefix": (f"Sign in to Alura as {ADDRESS[2:]}, nonce {NONCE}", {}),
    "CAIP-10 account": (f"Sign in as eip155:42161:{ADDRESS}. Nonce: {NONCE}", {}),
    "en dash, quotes, ellipsis": (f"Alura – sign in… “only once”. Nonce — {NONCE}", {}),
    "windows line ends": (f"Sign in to Alura.\r\n\r\nNonce: {NONCE}\r\n", {}),
    "EIP-4361": (SIWE, {}),
    "EIP-4361 of the app": (SIWE.replace(HOST, "app.alura.fun"), {}),
    "EIP-4361 of the root, with a port": (SIWE.replace(HOST, "alura.fun:443"), {}),
    "EIP-4361 with resources": (
        f"{SIWE}\nResources:\n- https://alura.fun/terms.html\n- https://docs.alura.fun/v1.2/privacy.md?lang=en#top",
        {},
    ),
    "a link in brackets": (f"Sign in (see https://alura.fun/terms). Or <https://alura.fun>. Nonce: {NONCE}", {}),
    "a support address": (f"Sign in to Alura. Questions? support@alura.fun. Nonce: {NONCE}", {}),
    "brand with capitals": (f"Welcome to Alura.fun! Sign this: {NONCE}", {}),
    "sandbox": (SIWE.replace(HOST, "127.0.0.1:8080").replace("https", "http"), {"host": "127.0.0.1"}),
    "sandbox on another port": (f"Sign in to http://127.0.0.1:9/ now: {NONCE}", {"host": "127.0.0.1:8080"}),
    "localhost": (SIWE.replace(HOST, "localhost:3000").replace("https", "http"), {"host": "localhost"}),
    "IPv6": (SIWE.replace(HOST, "[::1]:8080").replace("https", "http"), {"host": "::1"}),
    "IPv6 with brackets": (f"Sign in to [::1] or ::1. Nonce: {NONCE}", {"host": "[::1]:80"}),
    "IPv6 in its long form": (f"Sign in to http://[0:0:0:0:0:0:0:1]/ with {NONCE}", {"host": "::1"}),
    "a host in a container": (f"Sign in to http://sandbox:8080/ with {NONCE}", {"host": "sandbox"}),
    "another domain of a country": (f"app.alura.co.uk: please sign in, {NONCE}", {"host": "api.alura.co.uk"}),
    "German": (f"Bitte bestätigen Sie die Anmeldung bei Alura, z.B. für 24h.\nEinmalwert: {NONCE}", {}),
    "French": (f"Connexion à Alura : « à usage unique », c.-à-d. {NONCE}", {}),
    "Russian": (f"Вход в Alura, т.е. подпись и т.д. Код: {NONCE}", {}),
    "Chinese": (f"请签名以登录 Alura。随机数：{NONCE}。此操作不会产生费用。", {}),
    "Japanese": (f"Aluraにログインするために署名してください。ナンス：{NONCE}", {}),
    "Arabic": (f"سجل الدخول إلى Alura: {NONCE}", {}),
    "a classic": (f"I am signing my one-time nonce: {NONCE}", {}),
    "another classic": (
        "Welcome to Alura!\n\nClick to sign in and accept the Alura Terms of Service (https://alura.fun/tos).\n\n"
        "This request will not trigger a blockchain transaction or cost any gas fees.\n\n"
        f"Wallet address:\n{ADDRESS.lower()}\n\nNonce:\n{NONCE}",
        {},
    ),
    "emoji": (f"👋 Welcome to Alura ❤️ 👍🏽 🚀 ℹ️ Sign in! {NONCE}", {}),
    "decomposed accents": (f"Cafe\u0301 Alura: please sign {NONCE}", {}),
    "abbreviations and numbers": (
        f"Sign in, e.g. now, i.e. within 24h. at 10 a.m. (v1.2.3, U.S., 1.5 USDC, 99.9%, 20.11.2026, ...): {NONCE}",
        {},
    ),
    "times": (f"Sign in at 2026-11-20T10:00:00.000Z, [10:00:00], 2026-11-20 10:00:00+01:00. Nonce {NONCE}", {}),
    "Unix time": (f"Sign in to Alura. Nonce {NONCE}, issued 1795168800000", {}),
    "hex nonce": (f"Sign in to Alura.\nNonce: {HEX_NONCE}", {"nonce": HEX_NONCE}),
    "hex nonce with prefix": (f"Sign in to Alura.\nNonce: 0x{HEX_NONCE}", {"nonce": "0x" + HEX_NONCE}),
    "hex nonce that is shown with a prefix": (f"Sign in to Alura.\nNonce: 0x{HEX_NONCE}", {"nonce": HEX_NONCE}),
    "nonce of 64 bytes": (f"Sign in to Alura: {HEX_NONCE * 2}", {"nonce": HEX_NONCE * 2}),
    "UUID nonce": (
        "Sign in to Alura: 0b1f7a3e-5f2c-4d3b-9a56-3f8e2b1c7d90",
        {"nonce": "0b1f7a3e-5f2c-4d3b-9a56-3f8e2b1c7d90"},
    ),
    "base64 nonce": ("Sign in to Alura. Nonce: a+b//c9Zk1Q==", {"nonce": "a+b//c9Zk1Q=="}),
    "six digits": ("Sign in to Alura with code 482913", {"nonce": "482913"}),
    "brackets": (f"[Alura] Please sign in: {NONCE}", {}),
    "address in other case": (f"Sign in to Alura: {NONCE}", {"asked": ADDRESS.lower()}),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_sign_in_is_accepted(name: str) -> None:
    message, case = GOOD[name]
    accept(message, **case)


WORDS = f"Please sign in to Alura with nonce {NONCE}"

HOSTILE: dict[str, tuple[str, str, dict[str, str]]] = {
    # form
    "empty": ("", "empty", {}),
    "blank": (" \n ", "empty", {}),
    "too long": (WORDS + " x" * 2100, "more than 4096", {}),
    "far too long": (WORDS + "x" * 5_000_000, "more than 4096", {}),
    "null": (WORDS + "\0", "control", {}),
    "escape sequence": (WORDS + "\x1b[2J", "control", {}),
    "EIP-191 prefix": ("\x19\x01" + WORDS, "control", {}),
    "bell": (WORDS + "\a", "control", {}),
    "tab": (WORDS + "\tx", "control", {}),
    "lone carriage return": (WORDS + "\rSign in to Evil", "control", {}),
    "next line": (WORDS + "\x85", "control", {}),
    "line separator": (WORDS + "\u2028", "control", {}),
    "right-to-left override": (WORDS + "\u202eevil", "control", {}),
    "bidi isolate": (WORDS + "\u2066", "control", {}),
    "zero-width space": ("Please\u200b " + WORDS, "control", {}),
    "zero-width joiner": (WORDS + " 👨\u200d👩", "control", {}),
    "soft hyphen": (WORDS + "\u00ad", "control", {}),
    "byte order mark": ("\ufeff" + WORDS, "control", {}),
    "tag characters": (WORDS + "\U000e0041", "control", {}),
    "hangul filler": (WORDS + "\u3164", "invisible", {}),
    "grapheme joiner": (WORDS + "\u034f", "invisible", {}),
    "empty braille": (WORDS + "\u2800", "invisible", {}),
    "variation selector": (WORDS + "x\ufe0f", "invisible", {}),
    "smuggled variation selectors": (WORDS + "❤\ufe0f\ufe0e\ufe0f", "invisible", {}),
    "variation selector supplement": (WORDS + "\U000e0100", "invisible", {}),
    "private use": (WORDS + "\ue000", "control", {}),
    "half a surrogate pair": (WORDS + "\ud800", "control", {}),
    # whose it is
    "for another address": (WORDS, "it is for", {"asked": OTHER_ADDRESS}),
    "for no address": (WORDS, "it is for", {"asked": ""}),
    "another address in the text": (f"{WORDS} as {OTHER_ADDRESS}", "it names 0x", {}),
    "another address beside ours": (f"{WORDS} from {ADDRESS} to {OTHER_ADDRESS.lower()}", "it names 0x", {}),
    "another address with a capital prefix": (f"{WORDS} 0X{OTHER_ADDRESS[2:]}", "it names 0x", {}),
    "another address that touches words": (f"{WORDS}:{OTHER_ADDRESS}now", "it names 0x", {}),
    "another address without prefix": (f"{WORDS} {OTHER_ADDRESS[2:]}", "hex digits in a row", {}),
    "another address in wide digits": (
        WORDS + " 0x" + "".join(chr(ord(digit) + 0xFEE0) for digit in OTHER_ADDRESS[2:]),
        "it names 0x",
        {},
    ),
    "another address as the nonce": (f"Please sign in with {OTHER_ADDRESS}", "it names 0x", {"nonce": OTHER_ADDRESS}),
    "ours with more digits": (f"{WORDS} {ADDRESS}00", "hex digits in a row", {}),
    "calldata with our address": (f"{WORDS} 0xa9059cbb{'0' * 24}{ADDRESS[2:]}", "hex digits in a row", {}),
    # nonce
    "no nonce": (WORDS, "nonce", {"nonce": ""}),
    "blank nonce": (WORDS, "nonce", {"nonce": " " * 8}),
    "short nonce": (WORDS, "nonce", {"nonce": "k3J9x"}),
    "nonce of several words": (WORDS, "nonce", {"nonce": "Please sign in"}),
    "nonce with a line end": (WORDS + "\nx", "nonce", {"nonce": NONCE + "\nx"}),
    "another nonce": (WORDS, "does not contain", {"nonce": "somethingelse"}),
    "nonce in another case": (WORDS, "does not contain", {"nonce": NONCE.upper()}),
    # data
    "only the nonce": (NONCE, "words", {}),
    "nonce and a label": (f"nonce: {NONCE}", "words", {}),
    "JSON object": (json.dumps({"sign in to": "Alura please", "nonce": NONCE}), "data", {}),
    "JSON object with spaces": (f'  \n{{ "please sign in": "{NONCE}" }}', "data", {}),
    "JSON array": (json.dumps(["Please sign in to Alura", NONCE]), "data", {}),
    "quoted JSON": (json.dumps(json.dumps({"please sign in": NONCE})), "data", {}),
    "JSON text": (json.dumps(WORDS), "data", {}),
    "JSON after a sentence": (f'{WORDS}: {{"to": "somebody"}}', "data", {}),
    "JSON5": (f"{WORDS}: {{'to': 'somebody'}}", "data", {}),
    "wide brackets": (f'｛"please sign in": "{NONCE}"｝', "data", {}),
    "deep JSON": ("[" * 3000 + WORDS + "]" * 1000, "data", {}),
    "typed data": (
        json.dumps({"types": {"EIP712Domain": []}, "primaryType": "Permit", "message": {"nonce": NONCE}}),
        "data",
        {},
    ),
    "typed data without quotes": (f"{WORDS} primaryType Permit domain verifyingContract", "data", {}),
    "JSON number": ("482913", "words", {"nonce": "482913"}),
    "hash with prefix": ("0x" + HEX_NONCE, "words", {"nonce": HEX_NONCE}),
    "hash without prefix": (HEX_NONCE, "words", {"nonce": HEX_NONCE}),
    "short hex in groups": ("deadbeefdeadbeef cafebabecafebabe 123456", "words", {"nonce": "123456"}),
    "base64": ("aGVsbG8gd29ybGQK+k3J9x2Qm7Zp4/aGVsbG8gd29ybGQK==", "words", {}),
    "base64 in lines": ("aGVsbG8gd29ybGQ5k3J9x2Qm7Zp4\naGVsbG8gd29ybGQ5aGVsbG8gd29ybGQ5=", "words", {}),
    "transaction": (f"{WORDS} 0x02f8{'ab' * 110}", "hex digits in a row", {}),
    "transaction as the nonce": (f"Please sign in: 0x{'f8' * 110}", "hex digits", {"nonce": "0x" + "f8" * 110}),
    "hash in a sentence": (f"{WORDS} {HEX_NONCE}", "hex digits in a row", {}),
    "nonce in a longer run of digits": (f"Please sign in: {HEX_NONCE}00", "hex digits", {"nonce": HEX_NONCE}),
    # hosts
    "another site signs in": (SIWE.replace(HOST, "app.evil.com"), "evil.com", {}),
    "another site in the first line only": (SIWE.replace(HOST, "evil.com", 1), "evil.com", {}),
    "another site in the URI only": (SIWE.replace("//" + HOST, "//evil.com"), "evil.com", {}),
    "bare domain": (f"evil.com wants you to sign in: {NONCE}", "evil.com", {}),
    "bare domain in capitals": (f"EVIL.COM wants you to sign in: {NONCE}", "evil.com", {}),
    "bare domain at the end": (f"{WORDS}, says evil.com.", "evil.com", {}),
    "bare domain in punctuation": (f'{WORDS} ("evil.com")', "evil.com", {}),
    "markdown": (f"{WORDS} [here](https://evil.com)", "evil.com", {}),
    "underscores": (f"{WORDS} _evil.com_", "evil.com", {}),
    "mail address": (f"{WORDS} or mail admin@evil.com", "evil.com", {}),
    "ENS name": (f"{WORDS} as vitalik.eth", "vitalik.eth", {}),
    "ours as a user name": (f"{WORDS} at https://alura.fun@evil.com/", "evil.com", {}),
    "ours as a user name and password": (f"{WORDS} at https://alura.fun:443@evil.com", "evil.com", {}),
    "ours as a user name for one label": (f"{WORDS} at https://alura.fun:443@evil/", "alura.fun:443@evil", {}),
    "a user name before ours": (f"{WORDS} at https://evil@alura.fun", "evil@alura.fun", {}),
    "ours behind a backslash": (f"{WORDS} at https://evil.com\\@alura.fun", "evil.com", {}),
    "ours as a subdomain": (f"{WORDS} at alura.fun.evil.com", "evil.com", {}),
    "ours with a prefix": (f"{WORDS} at https://notalura.fun", "notalura.fun", {}),
    "ours with a hyphen": (f"{WORDS} at evil-alura.fun", "evil-alura.fun", {}),
    "ours with another top": (f"{WORDS} at https://alura.fund", "alura.fund", {}),
    "ours in another's path": (f"{WORDS} at https://evil.com/alura.fun", "evil.com", {}),
    "another in our query": (f"{WORDS} at https://alura.fun/?next=https://evil.com", "evil.com", {}),
    "another in our query without scheme": (f"{WORDS} at https://alura.fun/?next=evil.com", "evil.com", {}),
    "another behind our path": (f"{WORDS} at https://alura.fun/@evil.com", "evil.com", {}),
    "a URL in our path": (f"{WORDS} at https://alura.fun/https://evil.com", "evil.com", {}),
    "another scheme": (f"{WORDS} at wss://evil.com:8443/x", "evil.com", {}),
    "a host of one label": (f"{WORDS} at http://intranet/", "intranet", {}),
    "a URL without a host": (f"{WORDS} at https:// alura.fun", "host ''", {}),
    "percent signs": (f"{WORDS} at https://%65vil%2ecom/", "%65vil", {}),
    "backslashes": (f"{WORDS} at https:\\\\evil.com", "evil.com", {}),
    "many slashes": (f"{WORDS} at https:////evil", "evil", {}),
    "IPv4": (f"{WORDS} at 203.0.113.9", "203.0.113.9", {}),
    "IPv4 in a URL": (f"{WORDS} at http://203.0.113.9:80/", "203.0.113.9", {}),
    "IPv4 as a number": (f"{WORDS} at http://3405803785/", "3405803785", {}),
    "IPv4 in hex": (f"{WORDS} at http://0xcb.0x0.0x71.0x9/", "0xcb", {}),
    "another IPv4 than ours": (f"{WORDS} at 127.0.0.2", "127.0.0.2", {"host": "127.0.0.1"}),
    "IPv4 with leading zeros": (f"{WORDS} at 0177.0.0.1", "0177.0.0.1", {"host": "127.0.0.1"}),
    "IPv6 in a URL": (f"{WORDS} at http://[2001:db8::1]:80/", "2001:db8::1", {}),
    "bare IPv6": (f"{WORDS} at 2001:db8::1.", "2001:db8::1", {}),
    "IPv6 in brackets": (f"{WORDS} at [fe80::1]", "fe80::1", {}),
    "IPv6 behind a colon": (f"{WORDS}, host:fe80::1", "fe80::1", {}),
    "another IPv6 than ours": (f"{WORDS} at http://[::2]/", "::2", {"host": "::1"}),
    "IPv4 within IPv6": (f"{WORDS} at ::ffff:203.0.113.9", "203.0.113.9", {}),
    "localhost": (f"{WORDS} at localhost:8080", "localhost", {}),
    "localhost for a loopback address": (f"{WORDS} at localhost", "localhost", {"host": "127.0.0.1"}),
    "below localhost": (f"{WORDS} at http://evil.localhost", "evil.localhost", {"host": "localhost"}),
    "a domain for a loopback address": (f"{WORDS} at alura.fun", "alura.fun", {"host": "127.0.0.1"}),
    "Cyrillic letter": (f"{WORDS} at https://аlura.fun", "u0430lura", {}),
    "bare Cyrillic letter": (f"{WORDS} at аlura.fun", "u0430lura", {}),
    "Cyrillic top": (f"{WORDS} at alura.рф", "alura.", {}),
    "accent": (f"{WORDS} at alurà.fun", "alur", {}),
    "accent as a mark": (f"{WORDS} at alura\u0323.fun", "alur", {}),
    "mark that does not combine": (f"{WORDS} at al\u0334ura.fun", "ura", {}),
    "long s": (f"{WORDS} at te\u017ftnet.alura.fun", "testnet.alura.fun", {}),
    "punycode": (f"{WORDS} at xn--lura-43d.fun", "xn--", {}),
    "punycode below ours": (f"{WORDS} at xn--e1awd7f.alura.fun", "xn--", {}),
    "wide dot": (f"{WORDS} at evil．com", "evil.com", {}),
    "half-width dot": (f"{WORDS} at evil｡com", "evil.com", {}),
    "half-width dot after a foreign name": (f"{WORDS} at 邪悪｡com", ".com", {}),
    "ideographic dot": (f"{WORDS} at evil。com", "evil.com", {}),
    "ideographic dot in a URL": (f"{WORDS} at https://alura.fun。evil.com", "evil.com", {}),
    "one dot leader": (f"{WORDS} at evil․com", "evil.com", {}),
    "wide letters": (f"{WORDS} at ｅｖｉｌ.com", "evil.com", {}),
    "ours in wide letters": (f"{WORDS} at ａｌｕｒａ.fun", "alura.fun", {}),
    "ours with a wide dot": (f"{WORDS} at alura．fun", "alura.fun", {}),
    "lookalike hyphen": (f"{WORDS} at evil\u2010alura.fun", "u2010", {}),
    "lookalike slash": (f"{WORDS} at alura.fun⁄login.evil.com", "login.evil.com", {}),
    "file name": (f"{WORDS}, see terms.html", "terms.html", {}),
    "missing space": (f"Welcome to Alura.Please sign in: {NONCE}", "alura.please", {}),
    "nonce that is a host": ("Please sign in with evil.com", "evil.com", {"nonce": "evil.com"}),
    "nonce that hides a host": ("Please sign in, evil-site.com", "evil-site.com", {"nonce": "evil-site"}),
    "neighbour in a country": (f"{WORDS} at evil.co.uk", "evil.co.uk", {"host": "alura.co.uk"}),
    "neighbour on a platform": (f"{WORDS} at evil.vercel.app", "evil.vercel.app", {"host": "alura.vercel.app"}),
    "platform itself": (f"{WORDS} at herokuapp.com", "herokuapp.com", {"host": "alura.herokuapp.com"}),
    "host below a container's": (f"{WORDS} at http://evil.sandbox/", "evil.sandbox", {"host": "sandbox"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_anything_else_is_refused(name: str) -> None:
    message, why, case = HOSTILE[name]
    error = refuse(message, **case)
    reason = str(error).partition("Nothing was signed")[0]
    assert why in reason, reason
    assert isinstance(error, SignInError)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_refusal_shows_the_text_on_one_short_harmless_line(name: str) -> None:
    message, _, case = HOSTILE[name]
    text = str(refuse(message, **case))
    assert len(text) < 6000
    assert "check_challenge=" in text
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in text)
    assert not set(text) & set("\u202e\u2066\u2028\u200b\ufeff\ud800")


def test_a_refusal_cites_the_text() -> None:
    text = str(refuse("evil.com wants you\nto sign: " + NONCE))
    assert f"'evil.com wants you\\nto sign: {NONCE}'" in text
    assert HOST in text


def test_the_default_policy_is_a_policy() -> None:
    check: ChallengeCheck = check_challenge
    check(Challenge(address=ADDRESS, nonce=NONCE, message=WORDS), address=ADDRESS, host=HOST)


def test_accepted_texts_stay_refused_for_strangers() -> None:
    """Every accepted text is tied to its nonce and its address; those that name a host, to that too."""
    for message, case in GOOD.values():
        refuse(message, **{**case, "nonce": "another-nonce"})
        refuse(message, **{**case, "address": OTHER_ADDRESS})
        if any(host in message for host in (HOST, "alura.fun", "alura.co.uk", "127.0.0.1", "localhost", "::1")):
            refuse(message, **{**case, "host": "api.example.org"})


def judged(message: str, nonce: str, asked: str, host: str) -> bool:
    """Whether it is accepted; any other error than a refusal comes through."""
    try:
        check_challenge(Challenge(address=asked, nonce=nonce, message=message), address=ADDRESS, host=host)
    except ChallengeRefusedError as error:
        str(error).encode("utf-8")
        return False
    return True


ANY_TEXT = st.text(st.characters(), max_size=200)
PIECES = st.sampled_from(
    [WORDS, NONCE, ADDRESS, OTHER_ADDRESS, HOST, "https://", "[", "]", "::", ".", "。", "@", "/", "\\", " ", "\n",
     "evil.com", "127.0.0.1", "xn--", "%", "{", '"', "0x", "a" * 50, "é", "е", "\ufdfa", "\ud800", "-", "_", ":",
     "//", "\u0301"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_any_challenge_is_judged(message: str, nonce: str, asked: str, host: str) -> None:
    judged(message, nonce, asked, host)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(PIECES | ANY_TEXT, max_size=30).map("".join), st.sampled_from([HOST, "127.0.0.1", "::1", "[::1]:8", ""])
)
def test_any_challenge_that_is_ours_by_its_fields_is_judged(message: str, host: str) -> None:
    judged(message + " " + WORDS, NONCE, ADDRESS, host)


@settings(max_examples=300, deadline=None)
@given(
    st.from_regex(r"[a-z]{1,8}(-[a-z0-9]{1,4})?(\.[a-z]{2,6}){1,2}", fullmatch=True),
    st.sampled_from(
        ["{}", "https://{}", "http://{}:80/", "wss://x@{}/", "({}).", "mail a@{}", "„{}“", "{}, {}", "<{}>"]
    ),
    st.booleans(),
)
def test_no_foreign_name_gets_through_in_any_dress(name: str, dress: str, capitals: bool) -> None:
    if name.endswith("alura.fun"):
        return
    name = name.upper() if capitals else name
    assert not judged(f"{WORDS} {dress.format(name, name)}", NONCE, ADDRESS, HOST)


@settings(max_examples=200, deadline=None)
@given(st.ip_addresses(), st.sampled_from(["{}", "[{}]", "http://[{}]/", "to {}."]))
def test_no_foreign_ip_address_gets_through(address: Any, dress: str) -> None:
    # Two colons alone are an address too, but in a sentence they are two colons.
    assert not judged(f"{WORDS} {dress.format(address)}", NONCE, ADDRESS, HOST) or str(address) == "::"


@pytest.mark.parametrize(
    "piece",
    ["a", "a.", ".", "a-", ":", "::", ":/", "://", "://a", "://a.", "[", "[ ", "{ ", "0", "0x", "f", "0:", "1.1.", "@",
     "\ufdfa", "a\u0301", "https://a@", "://[", "_", "\u3002", "a\u3002", "é.", "xn--.", "Ab'", "\u2a74", "-", "/",
     ":/a/", "0x" + "f" * 39 + " ", "ff:", ".:"],
)  # fmt: skip
def test_judging_takes_no_longer_for_texts_made_to_take_long(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear time. Shown without the cap on the text's length, so that anything quadratic would take minutes."""
    length = 300_000 * len(piece) // len(unicodedata.normalize("NFKC", piece))
    monkeypatch.setattr(wallet_module, "_MAX_TEXT", length)
    start = time.perf_counter()
    judged((WORDS + " " + piece * length)[:length], NONCE, ADDRESS, HOST)
    assert time.perf_counter() - start < 6


def test_a_huge_text_is_refused_without_reading_it_all() -> None:
    start = time.perf_counter()
    refuse(WORDS + "\ufdfa" * 2_000_000)
    assert time.perf_counter() - start < 1
