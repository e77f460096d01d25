"""The wallet that signs in, and where its key comes from.

Two parts: what can be passed as `wallet=` (`as_wallet`), and a key held in this process (`KeyWallet`). eth-account is
imported only when a key is first used. Which texts a client agrees to sign is `core/challenge.py`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import secrets
import sys
import threading
from functools import partial
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias

import msgspec

from .core.imports import importing
from .core.text import printable, redact
from .core.threads import in_thread
from .errors import ConfigurationError, InvalidArgumentError, SignInError
from .secret import Secret


class Wallet(Protocol):
    """Whatever can sign a text for an address: a KMS, a hardware device, a browser.

    Two members are enough; no base class is needed::

        class KmsWallet:
            def __init__(self, kms: Kms, address: str) -> None:
                self.kms, self.address = kms, address

            async def sign_message(self, text: str, /) -> str:
                return await self.kms.personal_sign(text)  # "0x" and 130 hex digits
    """

    @property
    def address(self) -> str:
        """The 20-byte address, `0x…`."""
        ...

    async def sign_message(self, text: str, /) -> str | Secret:
        """Sign with `personal_sign` (EIP-191, version byte 0x45); returns the 65-byte signature as `0x…`."""
        ...


class LocalAccountLike(Protocol):
    """What is read of an eth-account `LocalAccount`."""

    @property
    def key(self) -> bytes:
        """The private key, 32 bytes."""
        ...


class Keystore:
    """A keystore file and its password, to be passed as `wallet=`. Nothing is read before that.

    Args:
        path: an Ethereum keystore of version 3, as geth, MetaMask's exports and eth-account write it.
        password: its password.

    Raises:
        ConfigurationError: the password is no text, or the path no path.
    """

    __slots__ = ("password", "path")

    def __init__(self, path: str | os.PathLike[str], password: str | Secret) -> None:
        # Whatever it is, out of sight first: tracebacks may be rendered with every frame's locals.
        password = _hidden(password)
        if not isinstance(_revealed(password), str):
            raise ConfigurationError("this keystore has no password: give text")
        try:
            self.path = os.fsdecode(path)
        except TypeError:
            raise ConfigurationError("this keystore has no path: give the file's") from None
        self.password = password

    def __repr__(self) -> str:
        # Shown also half made: tracebacks with locals show the object whose making failed.
        return f"Keystore({_shown_path(getattr(self, 'path', ''))}, password=***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Keystore holds a password and is not pickled: make it anew where it is needed")


class KeyWallet:
    """A private key held in this process.

    Making one is cheap: the address is derived, and eth-account imported, at the first `prepare()`, signature or look
    at `address`.

    Args:
        key: 32 bytes, or their 64 hex digits with or without `0x`.

    Raises:
        ConfigurationError: not a private key. The message never shows any of it.
    """

    __slots__ = ("_account", "_locked", "_pid", "_preparing", "_unlocking")

    def __init__(self, key: str | bytes | Secret) -> None:
        found = _read_key(sealed(key))
        # Tracebacks may be rendered with every frame's locals, so the bare key leaves this frame before one begins.
        del key
        if isinstance(found, str):
            raise ConfigurationError(found)
        self._start(found)

    @classmethod
    def create(cls) -> KeyWallet:
        """A wallet with a new random key. Keep `export_key()` somewhere, or the wallet is gone with the process."""
        while isinstance(found := _read_key(Secret(secrets.token_hex(32))), str):
            continue  # Outside the curve's range: happens once in 2**128 draws.
        return cls(found)

    @classmethod
    def from_account(cls, account: LocalAccountLike) -> KeyWallet:
        """The key of an eth-account `LocalAccount`.

        Raises:
            ConfigurationError: the account holds no key.
        """
        if not isinstance(getattr(account, "key", None), bytes):
            raise ConfigurationError(
                f"wallet=<{type(account).__name__}>: this account holds no private key; "
                "wrap it in an object with `address` and an async `sign_message(text)`"
            )
        return cls(account.key)

    @classmethod
    def from_keystore(cls, path: str | os.PathLike[str], password: str | Secret) -> KeyWallet:
        """A keystore file of version 3. The file is read now, and decrypted (slow on purpose) when first needed.

        Args:
            path: the file; `~` is the home directory.
            password: its password. A wrong one shows when the key is first needed.

        Raises:
            ConfigurationError: the file is missing, unreadable or no keystore.
        """
        password = _hidden(password)
        keystore = Keystore(path, password)
        content = _read_keystore(os.path.expanduser(keystore.path))
        if isinstance(content, str):
            raise ConfigurationError(f"keystore {_shown_path(keystore.path)} {content}")
        wallet = cls.__new__(cls)
        wallet._start(_LockedKey(keystore.path, content, keystore.password))
        return wallet

    def _start(self, locked: Secret | _LockedKey) -> None:
        self._locked: Secret | _LockedKey | None = locked
        self._account: Any = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._unlocking = threading.Lock()
        self._preparing: asyncio.Task[Any] | None = None

    @property
    def address(self) -> str:
        """The checksummed address. Before `prepare()` this derives it on the spot, which takes up to seconds.

        Raises:
            ConfigurationError: the keystore cannot be decrypted.
        """
        return str(self._unlock().address)

    async def prepare(self) -> None:
        """Import eth-account, decrypt, and derive the address in a worker thread. Call it as often as you like.

        Raises:
            ConfigurationError: the keystore cannot be decrypted.
        """
        if self._account is not None:
            return
        if self._pid != os.getpid():
            self._begin_anew()
        task = self._preparing
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._preparing = asyncio.create_task(in_thread(self._unlock))
        # Shielded: one caller's cancellation is not the others' failure.
        await asyncio.shield(task)

    async def sign_message(self, text: str, /) -> Secret:
        """Sign with `personal_sign` (EIP-191, version byte 0x45) in a worker thread.

        Returns:
            The 65-byte signature: `0x` and 130 hex digits.

        Raises:
            ConfigurationError: the keystore cannot be decrypted.
            InvalidArgumentError: the text has no UTF-8 form.
        """
        await self.prepare()
        return await in_thread(partial(self._sign, text))

    def export_key(self) -> Secret:
        """The private key, `0x` and 64 hex digits, for keeping a wallet that `create()` made."""
        return Secret("0x" + bytes(self._unlock().key).hex())

    def _unlock(self) -> Any:
        """The eth-account `LocalAccount`, made once even if several threads ask together."""
        if self._account is None:
            if self._pid != os.getpid():
                self._begin_anew()  # a fork copies a lock, and not the thread that holds it
            with self._unlocking:
                if self._locked is not None:
                    found = _open(self._locked)
                    if isinstance(found, str):
                        raise ConfigurationError(found)
                    self._account = found
                    self._locked = None
        return self._account

    def _sign(self, text: str) -> Secret:
        account = self._unlock()
        with importing("eth_account.messages"):
            from eth_account.messages import encode_defunct

        try:
            message = encode_defunct(primitive=text.encode("utf-8"))
        except UnicodeEncodeError:
            raise InvalidArgumentError("the text to sign has half a surrogate pair, which UTF-8 cannot write") from None
        try:
            return Secret("0x" + bytes(account.sign_message(message).signature).hex())
        except Exception as error:  # noqa: BLE001  # whatever it is, its frames hold the key
            failure = type(error).__name__
        # Raised out here so that eth-account's frames, which hold the key, are not in `__context__`.
        raise SignInError(f"the key could not sign: {failure}")

    def __repr__(self) -> str:
        # Shown also half made: tracebacks with locals show the object whose making failed.
        account = getattr(self, "_account", None)
        return f"KeyWallet({'address not derived yet' if account is None else account.address})"

    def __copy__(self) -> KeyWallet:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> KeyWallet:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a KeyWallet holds a private key and is not pickled: make it anew where it is needed")


WalletLike: TypeAlias = str | bytes | Secret | Keystore | LocalAccountLike | Wallet
"""What `wallet=` takes: a hex key, 32 bytes, a `Keystore`, an eth-account `LocalAccount`, or any `Wallet`."""


def as_wallet(value: WalletLike) -> Wallet:
    """The wallet that a `wallet=` setting means.

    Raises:
        ConfigurationError: it means none. The message never shows the value.
    """
    value = sealed(value)
    if isinstance(value, Secret):
        return KeyWallet(value)
    if isinstance(value, KeyWallet):
        return value
    if isinstance(value, Keystore):
        return KeyWallet.from_keystore(value.path, value.password)
    if any(cls.__module__.partition(".")[0] == "eth_account" for cls in type(value).__mro__):
        return KeyWallet.from_account(value)  # type: ignore[arg-type]  # it says if there is no key
    if not isinstance(value, type) and callable(getattr(value, "sign_message", None)) and _has(value, "address"):
        return value  # type: ignore[return-value]
    kind = type(value).__name__
    # It may be a key in a form that nobody foresaw, and this frame is about to be in a traceback.
    del value
    raise ConfigurationError(
        f"wallet=<{kind}>: give a private key (64 hex digits or 32 bytes), Keystore(path, password), "
        "an eth-account LocalAccount, or an object with `address` and an async `sign_message(text)`"
    )


def sealed(value: Any) -> Any:
    """Wrap a bare key into a `Secret`; anything else stays as it is.

    For the first line of whatever takes a key: from there on, a traceback with locals has nothing to show.
    """
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, bytes | bytearray):
        return Secret("0x" + value.hex())
    return value


def _has(value: object, name: str) -> bool:
    """Whether there is such an attribute, without running a property that may talk to a device."""
    try:
        inspect.getattr_static(value, name)
    except AttributeError:
        return hasattr(type(value), "__getattr__") and hasattr(value, name)
    return True


# --- keys
#
# These functions return what is wrong, as text, and leave the raising to their caller: their frames hold a bare key,
# and an exception would carry those frames into tracebacks, logs and error trackers.

_CURVE_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_HEX_DIGITS = re.compile(r"[0-9a-fA-F]+", re.ASCII)
_MAX_KEYSTORE_BYTES = 16_384
_MAX_KEYSTORE_BRACKETS = 100


class _LockedKey(NamedTuple):
    """A keystore's content and what opens it."""

    path: str
    content: dict[str, Any]
    password: Secret

    def __repr__(self) -> str:
        return f"_LockedKey({_shown_path(self.path)})"


def _read_key(key: object) -> Secret | str:
    """The key as `0x` and 64 hex digits, or what is wrong with it."""
    text = _revealed(key) if isinstance(key, Secret) else None
    if not isinstance(text, str):
        return f"the private key is a {type(key).__name__}: give 64 hex digits or 32 bytes"
    digits = text.strip()
    digits = digits[2:] if digits[:2] in ("0x", "0X") else digits
    if not digits:
        return "the private key is empty: give 64 hex digits or 32 bytes"
    if len(digits.split()) >= 12:
        return "this reads like a seed phrase, not a private key: give the 64 hex digits of one account's key"
    if not _HEX_DIGITS.fullmatch(digits):
        return "the private key is not hex: give 64 hex digits or 32 bytes, or Keystore(path, password) for a file"
    if len(digits) == 40:
        return "this is a wallet's address, which cannot sign: give its private key, 64 hex digits"
    if len(digits) != 64:
        return f"the private key has {len(digits)} hex digits: it must have 64 (32 bytes)"
    if not 1 <= int(digits, 16) < _CURVE_ORDER:
        return "the private key is out of range: it must be at least 1 and below secp256k1's order"
    return Secret("0x" + digits.lower())


def _hidden(value: Any) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _revealed(secret: Secret) -> object:
    """What is in it. Nobody checked yet that it is text."""
    return secret.reveal()


def _read_keystore(path: str) -> dict[str, Any] | str:
    """The file's content, or what is wrong with it. The file may well be a bare key, so it is not quoted."""
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_KEYSTORE_BYTES + 1)
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}"
    if len(content) > _MAX_KEYSTORE_BYTES or content.count(b"{") + content.count(b"[") > _MAX_KEYSTORE_BRACKETS:
        return "is too large for a keystore"
    try:
        keystore = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "is not JSON"
    # Old geth files have capitals in their field names.
    fields = {str(name).lower(): field for name, field in keystore.items()} if isinstance(keystore, dict) else {}
    if fields.get("version") != 3 or not isinstance(fields.get("crypto"), dict):
        return "is JSON, but not an Ethereum keystore of version 3"
    return fields


def _open(locked: Secret | _LockedKey) -> Any:
    """The eth-account `LocalAccount`, or what is wrong."""
    Account = _import_eth_account().Account  # noqa: N806  # its own name
    shown, address = "the private key", None
    if isinstance(locked, _LockedKey):
        shown, address = f"keystore {_shown_path(locked.path)}", locked.content.get("address")
        try:
            found = _read_key(sealed(bytes(Account.decrypt(locked.content, locked.password.reveal()))))
        except Exception as error:  # noqa: BLE001  # a file can be wrong in any way
            if "MAC mismatch" in str(error):
                return f"{shown} does not open: the password is wrong (or the file is damaged)"
            return f"{shown} cannot be decrypted: {type(error).__name__}"
        if isinstance(found, str):
            return f"{shown} does not hold a private key of 32 bytes"
        locked = found
    try:
        account = Account.from_key(locked.reveal())
    except Exception as error:  # noqa: BLE001  # whatever it is, its frames hold the key
        return f"{shown} is not taken by eth-account: {type(error).__name__}"
    # The file's checksum leaves its initialisation vector out: a changed one decrypts to another key.
    if isinstance(address, str) and address and address.lower().removeprefix("0x") != account.address.lower()[2:]:
        return f"{shown} holds the key of another address than it says; it is damaged"
    return account


def _import_eth_account() -> Any:
    """The library without a side effect of its import: its py_ecc sets the recursion limit to 100,000.

    With such a limit, decoding a reply of 30 KB of brackets overflows the C stack and ends the process (measured:
    CPython 3.11). Nothing that is used here recurses.
    """
    with importing("eth_account"):
        limit = sys.getrecursionlimit()
        known = "eth_account" in sys.modules
        import eth_account
        from eth_keys.datatypes import PrivateKey

        # Imports what it derives and hashes with, which is left to its first use otherwise. Anybody's key will do.
        PrivateKey(b"\x01" * 32).public_key.to_checksum_address()
        if not known:
            sys.setrecursionlimit(limit)
    return eth_account


def _shown_path(path: str) -> str:
    """A path for a message. People do mix up arguments, so one that looks like a key is blanked out."""
    return repr(printable(redact(path)))
