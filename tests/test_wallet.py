"""Wallets: what they sign is what Ethereum says, and what they hold stays hidden."""

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coincurve import PublicKey
from Crypto.Hash import keccak
from eth_account import Account
from eth_keys.backends.native.main import NativeECCBackend
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alura_async.errors import (
    ConfigurationError,
    InvalidArgumentError,
    SignInError,
)
from alura_async.secret import Secret
from alura_async.wallet import (
    Keystore,
    KeyWallet,
    Wallet,
    WalletLike,
    as_wallet,
    sealed,
)

pytestmark = pytest.mark.anyio


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
    from eth_account.signers.local import LocalAccount

    account = Account.from_key(KEY)
    assert isinstance(account, LocalAccount)
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
from alura_async.core.challenge import check_challenge
from alura_async.wallet import KeyWallet, Keystore, as_wallet
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_while_a_key_is_being_unlocked_leaves_the_child_a_wallet_that_works() -> None:
    code = """
import os, warnings
from alura_async import KeyWallet
warnings.simplefilter("ignore", DeprecationWarning)
wallet = KeyWallet("KEY")
with wallet._unlocking:  # as a thread would hold it in the middle of a slow keystore
    child = os.fork()
    if child == 0:
        print(wallet.address, flush=True)
        os._exit(0)
os.waitpid(child, 0)
""".replace("KEY", KEY)
    assert in_fresh_process(code).strip() == ADDRESS


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
