"""The wallet that signs in: where its key comes from, and which text it agrees to sign.

Three parts: what can be passed as `wallet=` (`as_wallet`), a key held in this process (`KeyWallet`), and the policy
that a text to sign must meet (`check_challenge`). eth-account is imported only when a key is first used.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import secrets
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol, TypeAlias

import msgspec

from .core.text import clip, is_unsafe, printable, redact
from .errors import ChallengeRefusedError, ConfigurationError, InvalidArgumentError, SignInError
from .secret import Secret

if TYPE_CHECKING:
    from .groups.auth import Challenge

__all__ = [
    "ChallengeCheck",
    "KeyWallet",
    "Keystore",
    "Wallet",
    "WalletLike",
    "as_wallet",
    "check_challenge",
    "sealed",
]


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


class ChallengeCheck(Protocol):
    """A policy for texts to sign: return to agree, raise `ChallengeRefusedError` to refuse."""

    def __call__(self, challenge: Challenge, /, *, address: str, host: str) -> None:
        """Judge one challenge; `address` is the wallet's, `host` the API's."""
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

    __slots__ = ("_account", "_locked", "_preparing", "_unlocking")

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
        task = self._preparing
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._preparing = asyncio.create_task(asyncio.to_thread(self._unlock))
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
        return await asyncio.to_thread(self._sign, text)

    def export_key(self) -> Secret:
        """The private key, `0x` and 64 hex digits, for keeping a wallet that `create()` made."""
        return Secret("0x" + bytes(self._unlock().key).hex())

    def _unlock(self) -> Any:
        """The eth-account `LocalAccount`, made once even if several threads ask together."""
        if self._account is None:
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


# --- keys -------------------------------------------------------------------------------------------------------
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
    limit = sys.getrecursionlimit()
    known = "eth_account" in sys.modules
    import eth_account

    if not known:
        sys.setrecursionlimit(limit)
    return eth_account


def _shown_path(path: str) -> str:
    """A path for a message. People do mix up arguments, so one that looks like a key is blanked out."""
    return repr(printable(redact(path)))


# --- what may be signed -------------------------------------------------------------------------------------------


def check_challenge(challenge: Challenge, /, *, address: str, host: str) -> None:
    r"""Refuse to sign anything that is not plainly a sign-in to this server. The default policy.

    The wording of a challenge is not documented, so this is strict about what could do harm elsewhere and lenient
    about the rest:

    - 1 to 4096 printable characters; line ends (`\n` or `\r\n`) are the only controls, and nothing in it is
      invisible or reorders text. Tabs, lone `\r` and joined emoji (which take a zero-width joiner) are refused.
    - The challenge is for our address, and contains the nonce it came with: one word of 6 characters or more.
    - At least two words besides the nonce; no JSON, no typed data, no bare hash, hex or base64.
    - 40 hex digits or more in a row are our address, or (up to 128 of them) the nonce. `0x` and 40 is an address.
    - Every host is the API's or shares its registrable domain, in URLs and in running text: names, IP addresses,
      `localhost`. IP addresses and `localhost` must be the same; ports are not compared. A file's name (`terms.html`)
      and two words that a full stop joins (`Alura.Welcome`) read as hosts, except in the path of one of our URLs.

    Args:
        challenge: what the server sent.
        address: the wallet's address.
        host: the API's host, without port.

    Raises:
        ChallengeRefusedError: it breaks a rule; the message says which, and shows the text.
    """
    text = challenge.message
    # Cut, because folding is for texts of a bearable length and refusing the others is the first rule's work.
    case = _Case(text, _fold(text[:_MAX_TEXT]), challenge.nonce, challenge.address, address, _bare_host(host))
    for rule in _POLICY:
        reason = rule(case)
        if reason is not None:
            raise ChallengeRefusedError(
                f"refused to sign, because {reason}. Nothing was signed. If this text is all right, pass a policy of "
                f"your own as check_challenge=. The text is: {_quoted(case.text, 600)}"
            )


class _Case(NamedTuple):
    """One challenge before the rules."""

    text: str
    folded: str  # the text as words, hex and hosts are looked for in it, see `_fold`
    nonce: str
    asked: str  # the address that the challenge is for
    ours: str
    host: str


_MAX_TEXT = 4096
_MIN_NONCE = 6
_MAX_NONCE_DIGITS = 128
_MIN_WORDS = 2

# Blank, but neither control nor format by category: fillers, the empty braille cell, variation selectors. The two
# that choose between an emoji's forms are all right after a character that could be one.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0d\uffa0\U000e0000-\U000e0fff]"
    "|(?:^|[\x00-\x7f\ufe0e\ufe0f])[\ufe0e\ufe0f]"
)
_DATA = re.compile(r"""[{\[]\s*+["'{\[]|EIP712Domain|primaryType|verifyingContract""", re.IGNORECASE)
_WORD = re.compile(r"(?![0-9a-fA-F]{8,}+\Z)[A-Za-z](?:[A-Za-z'-]{0,28}[A-Za-z])", re.ASCII)
_HEX_RUN = re.compile(r"(?:0x)?[0-9a-f]{40,}+", re.IGNORECASE | re.ASCII)


def _is_short(case: _Case) -> str | None:
    if not case.text.strip():
        return "it is empty"
    return f"it has {len(case.text)} characters, more than {_MAX_TEXT}" if len(case.text) > _MAX_TEXT else None


def _is_printable(case: _Case) -> str | None:
    lines = case.text.replace("\r\n", "\n").replace("\n", " ")
    unsafe = next(filter(is_unsafe, lines), None) if not (lines.isascii() and lines.isprintable()) else None
    if unsafe is None and (match := _INVISIBLE.search(lines)):
        unsafe = match[0][-1]
    return None if unsafe is None else f"it has a control or invisible character (U+{ord(unsafe):04X})"


def _is_for_our_address(case: _Case) -> str | None:
    if case.asked.lower() == case.ours.lower():
        return None
    return f"it is for {_quoted(case.asked, 60)}, and this wallet is {case.ours}"


def _carries_its_nonce(case: _Case) -> str | None:
    if len(case.nonce) < _MIN_NONCE or len(case.nonce.split()) != 1:
        return f"its nonce {_quoted(case.nonce, 60)} is not one word of {_MIN_NONCE} characters or more"
    return None if case.nonce in case.text else f"it does not contain its nonce {_quoted(case.nonce, 60)}"


def _is_prose(case: _Case) -> str | None:
    text = case.folded.strip()
    if text[:1] == "{" or (text[:1], text[-1:]) in (("[", "]"), ('"', '"')) or _DATA.search(text):
        return "it is or contains data (JSON or EIP-712), not a sentence"
    tokens = (token.strip("\"'`()[]<>*_#.,:;!?-") for token in text.split() if case.nonce not in token)
    words = sum(_WORD.fullmatch(token) is not None for token in tokens)
    # Chinese, Japanese and Thai put no spaces between words, so their letters are counted instead.
    letters = sum(not character.isascii() and character.isalpha() for character in text)
    if words + letters // 2 >= _MIN_WORDS:
        return None
    return f"it has fewer than {_MIN_WORDS} words besides its nonce, so it could be a hash or a transaction"


def _has_no_foreign_hex(case: _Case) -> str | None:
    for match in _HEX_RUN.finditer(case.folded):
        run = match[0].lower()
        digits = run.removeprefix("0x")
        if digits == case.ours.lower().removeprefix("0x"):
            continue
        if len(run) == 42 and run != digits:
            return f"it names {run}, and this wallet is {case.ours}"
        if len(digits) > _MAX_NONCE_DIGITS or digits not in case.nonce.lower():
            return f"it has {len(digits)} hex digits in a row that are neither our address nor its nonce"
    return None


def _has_no_foreign_host(case: _Case) -> str | None:
    written = case.text.lower()
    for found in _hosts(case.folded):
        # A host that only folding brought out was written with lookalikes, even if it is ours.
        if found not in written or not _same_site(found, case.host):
            return f"it names the host {clip(ascii(found), 80)}, and this API is {case.host}"
    return None


# In this order: the later rules rely on a short text of printable characters.
_POLICY: tuple[Callable[[_Case], str | None], ...] = (
    _is_short,
    _is_printable,
    _is_for_our_address,
    _carries_its_nonce,
    _is_prose,
    _has_no_foreign_hex,
    _has_no_foreign_host,
)


# --- hosts in running text ----------------------------------------------------------------------------------------

# Hyphens that are not ASCII's: kept, so that `evil‐alura.fun` is one name and a foreign one. Dashes part words.
_HYPHENS = frozenset("\u2010\u2011\u2012\u2013\u2043\u2212")
# The Chinese full stop, which a browser takes for a dot: between ASCII letters it is one, after a sentence it is not.
_IDEOGRAPHIC_DOT = re.compile(r"(?<=[0-9A-Za-z])\u3002(?=[0-9A-Za-z])")
# What follows a scheme, up to the path. A lookahead, so that a URL within a URL is found too.
_AUTHORITY = re.compile(r""":[/\\]{2,}+(?=([^\s/\\?#"<>]*+))""")
_AUTHORITY_HOST = re.compile(r"\[[^\s\[\]]*+\]|[^\s:,;!'()\[\]{}|^`*&$=+~]*+")
_PATH = re.compile(r"""(:[/\\]{2,}+[^\s/\\?#"<>]*+)/[A-Za-z0-9._~%/-]*+""", re.ASCII)
# Between spaces and ASCII punctuation other than dot, hyphen and underscore; what is not ASCII counts as a letter.
_DOTTED = re.compile(r"[^\s!-,/:-@\[-^`{-~]++")
_COLONED = re.compile(r"[0-9A-Za-z_:.]++", re.ASCII)
_NAME = re.compile(r"[a-z0-9-]++(?:\.[a-z0-9-]++)++", re.ASCII)
_TOP_LABEL = re.compile(r"[a-z]{2,}+|xn--[a-z0-9-]++", re.ASCII)

# Second-level labels under which countries register names, beside all of up to three letters.
_REGISTRIES = frozenset({"info", "name", "gouv", "govt", "school", "store", "firm", "asso", "muni", "mobi"})
# Platforms that give neighbours neighbouring names: there, only the very same host is ours.
_SHARED = (
    "amazonaws.com", "appspot.com", "azurewebsites.net", "cloudapp.net", "cloudfront.net", "deno.dev", "fly.dev",
    "firebaseapp.com", "github.io", "gitlab.io", "glitch.me", "herokuapp.com", "loca.lt", "netlify.app",
    "ngrok-free.app", "ngrok-free.dev", "ngrok.app", "ngrok.dev", "ngrok.io", "ondigitalocean.app", "onrender.com",
    "pages.dev", "railway.app", "render.com", "repl.co", "replit.app", "run.app", "surge.sh", "trycloudflare.com",
    "ts.net", "vercel.app", "web.app", "workers.dev",
)  # fmt: skip


def _fold(text: str) -> str:
    """Lookalikes as the characters they pass for, and punctuation that is not ASCII's as spaces."""
    if text.isascii():
        return text
    # NFKC makes a Chinese full stop of the half-width one, which is at home in names only.
    text = unicodedata.normalize("NFKC", text.replace("\uff61", "."))
    text = _IDEOGRAPHIC_DOT.sub(".", text)
    return "".join(" " if _parts_words(character) else character for character in text)


def _parts_words(character: str) -> bool:
    """Whether this is punctuation, a symbol or a space, and neither ASCII nor like a hyphen."""
    return not character.isascii() and character not in _HYPHENS and unicodedata.category(character)[0] in "PSZ"


def _hosts(folded: str) -> Iterator[str]:
    """Everything in a folded text that could be taken for a host."""
    for match in _AUTHORITY.finditer(folded):
        authority = match[1]
        # `https://alura.fun@evil.example` goes to the latter; nobody needs such a URL in a sign-in.
        host = _AUTHORITY_HOST.match(authority)
        yield authority if "@" in authority or host is None else _bare_host(host[0].rstrip("."))
    for match in _COLONED.finditer(folded):
        run = match[0].strip(".")
        if run.count(":") >= 2 and len(run) <= 64:
            # `host:fe80::1` is a word and an address.
            yield from (found for found in (run, run.partition(":")[2]) if found != "::" and _ip(found) is not None)
    for match in _DOTTED.finditer(_PATH.sub(r"\1 ", folded)):
        for token in re.split(r"\.{2,}+", match[0]):
            name = token.strip(".-_").lower()
            if _reads_as_host(name):
                yield name


def _reads_as_host(name: str) -> bool:
    """Whether a word could be a host: `alura.fun`, `10.0.0.1`; not `e.g`, `v1.2.3`, `1.5`, `00.000z`, `c.-à-d`."""
    *names, top = name.split(".")
    if not names:
        return name == "localhost"
    if top.isdecimal():
        return len(names) == 3 and all(label.isdecimal() for label in names)
    if name.isascii():
        return _TOP_LABEL.fullmatch(top) is not None
    return len(top) >= 2 and top[0] != "-"


def _same_site(found: str, host: str) -> bool:
    """Whether a host in the text is the API's own or its neighbour under the same registrable domain."""
    if found == host:
        return True
    ip = _ip(host)
    if ip is not None:
        return _ip(found) == ip
    if "." not in host or "xn--" in found or not _NAME.fullmatch(found):
        return False
    return _registrable(found) == _registrable(host)


def _registrable(host: str) -> str:
    """The part of a name that one owner registered, as well as it is known without the public suffix list.

    In doubt it is longer than the truth, which refuses more.
    """
    if host.endswith(tuple("." + platform for platform in _SHARED)):
        return host
    labels = host.split(".")
    country = len(labels) > 2 and len(labels[-1]) == 2
    return ".".join(labels[-3:] if country and (len(labels[-2]) <= 3 or labels[-2] in _REGISTRIES) else labels[-2:])


def _bare_host(host: str) -> str:
    """A host in small letters, without brackets, port and final dot."""
    host = host.strip().lower()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    return host.rstrip(".")


def _ip(host: str) -> object | None:
    """The IP address that this is, or None."""
    # Imported where it is used: a client without a wallet never gets here.
    from ipaddress import ip_address

    try:
        return ip_address(host)
    except ValueError:
        return None


def _quoted(text: str, limit: int) -> str:
    """A server's text for a message: cut first, so that a huge one costs nothing."""
    return f"'{printable(clip(text, limit))}'"
