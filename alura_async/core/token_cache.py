"""Keeps tokens in a file between two runs, so that a bot that starts often does not sign in as often.

A token in the wrong hands trades, so the file is its owner's alone: made with mode 0600 from its first moment, replaced
in one step, and looked at before it is read or replaced. What is unsafe, or was written by somebody else, is left as it
is; the log says why. None of that keeps a client from signing in: a file that anybody could tamper with must not
decide whether a bot gets out of its positions.

Several processes and several accounts may share one file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from typing import Any, NamedTuple, TypeVar

import msgspec

from ..errors import ConfigurationError
from ..secret import Secret
from .decode import NOT_DECODED, require_shallow
from .file_lock import try_lock, unlock
from .text import printable, redact
from .threads import in_thread

T = TypeVar("T")

# The file's name where a folder is given.
_NAME = "alura-tokens.json"
# How a file begins that is ours to replace.
_OURS = b'{"alura_async":"tokens"'
_MAX_BYTES = 1024 * 1024
# How long a disk, and whoever else has the file, may keep a sign-in waiting.
_PATIENCE_S = 2.0
# How long a wallet may take to say its address: a keystore takes seconds.
_WALLET_PATIENCE_S = 20.0
_LOOK_AGAIN_S = 0.01
# Tokens that ended so long ago are dropped. Not at once: this machine's clock may be wrong.
_KEEP_EXPIRED_S = 7 * 86400.0

_IS_POSIX = os.name == "posix"
# Where the system has them: follow no link, pass nothing on to child processes, do not wait for a pipe's other end.
_FLAGS = (
    getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
)  # fmt: skip

_log = logging.getLogger("alura_async")


class CachedToken(NamedTuple):
    """A token, and its times by this machine's clock, in seconds since 1970."""

    secret: Secret
    obtained_at: float
    expires_at: float


class TokenCache:
    """The tokens of one server and one wallet, in a file that others may share.

    Args:
        path: the file; or a folder, if it is one or ends with a separator.
        server: which server the tokens are for.
        address: the wallet's address; it may have to be derived first.

    Raises:
        ConfigurationError: not a path. Nothing is opened yet.
    """

    def __init__(self, path: str | os.PathLike[str], server: str, address: Callable[[], Awaitable[str]]) -> None:
        self._path = _checked(path)
        self._server = server
        self._address = address
        self._numbers = count(1)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._in_turn = threading.Lock()
        self._last_change = 0
        self._told: set[str] = set()

    def anew(self) -> TokenCache:
        """The same for a child process: it has the parent's lock, and not the thread that may hold it."""
        return TokenCache(self._path, self._server, self._address)

    async def load(self) -> CachedToken | None:
        """The token that is kept, however old; None where there is none, or none that can be trusted."""
        found = await self._in_thread(self._load)
        if isinstance(found, _Trouble):
            self._tell(f"the token cache is not read: {found}")
            return None
        return found

    def save(self, token: CachedToken) -> Coroutine[Any, Any, None]:
        """Keep a token from now on, in place of an earlier one. Where that is not possible, the log says so."""
        return self._save(next(self._numbers), token)

    def remove(self) -> Coroutine[Any, Any, None]:
        """Keep none from now on.

        Raises:
            ConfigurationError: it may still be in the file; the message says what to do.
        """
        return self._remove(next(self._numbers))

    async def _save(self, number: int, token: CachedToken) -> None:
        trouble = await self._in_thread(lambda key: self._change(number, key, token))
        if trouble is not None:
            self._tell(f"the token is not kept for the next run: {trouble}")

    async def _remove(self, number: int) -> None:
        trouble = await self._in_thread(lambda key: self._change(number, key, None))
        if trouble is not None:
            raise ConfigurationError(f"the token is forgotten, but may still be in the token cache: {trouble}")

    async def _in_thread(self, work: Callable[[str], T]) -> T | _Trouble:
        """Do something with the file, for the key of our tokens. It takes a bounded time, and never fails otherwise."""
        try:
            async with asyncio.timeout(_WALLET_PATIENCE_S):
                # By host and by account: one file may serve several of either.
                key = f"{self._server} {(await self._address()).lower()}"
        except Exception as error:  # noqa: BLE001 - whatever a wallet raises; signing in will report it
            return _Trouble(f"the wallet did not say its address ({type(error).__name__})")
        try:
            async with asyncio.timeout(2 * _PATIENCE_S):
                return await in_thread(partial(work, key))
        except TimeoutError:
            return _Trouble(f"{_shown(self._path)} did not answer in time")
        except Exception as error:  # noqa: BLE001 - its frames hold bare tokens
            return _Trouble(f"{_shown(self._path)}: {type(error).__name__}")

    def _tell(self, text: str) -> None:
        """Log a warning, once for each cause."""
        if text not in self._told:
            self._told.add(text)
            _log.warning("%s", text)

    # In a worker thread. These return what is wrong instead of raising it: their frames hold bare tokens, and an
    # exception would carry those frames into tracebacks, logs and error trackers.

    def _load(self, key: str) -> CachedToken | _Trouble | None:
        try:
            with _Folder(self._path) as folder:
                entries = _read(folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            return _trouble(error, self._path)
        return entries if isinstance(entries, _Trouble) else entries.get(key)

    def _change(self, number: int, key: str, token: CachedToken | None) -> _Trouble | None:
        """Put a token into the file or take it out, unless a later change is there already."""
        with self._in_turn:
            if number < self._last_change:
                return None
            self._last_change = number
            try:
                with _Folder(self._path, create=token is not None) as folder, _locked(folder):
                    entries = _read(folder)
                    if isinstance(entries, _Trouble):
                        return entries
                    if token is not None:
                        entries[key] = token
                    elif entries.pop(key, None) is None:
                        return None
                    _replace(folder, entries)
            except FileNotFoundError as error:
                # There is no folder: nothing to take out, or nowhere to put it.
                return None if token is None else _trouble(error, self._path)
            except OSError as error:
                return _trouble(error, self._path)
        return None

    def __repr__(self) -> str:
        return f"<TokenCache {_shown(self._path)} of {self._server}>"


class _Trouble(str):
    """Why the file is not used, and what to do."""

    __slots__ = ()


class _UnsafeError(OSError):
    """The file or its folder could be somebody else's work."""


class _Folder:
    """The folder of the file, held open so that nobody can put another one in its place in the meantime.

    Windows has no such thing: there, names are full paths, and the folder's access list is what protects the file.
    """

    def __init__(self, path: str, *, create: bool = False) -> None:
        if path.endswith(_SEPARATORS) or os.path.isdir(path):
            path = os.path.join(path, _NAME)
        self._folder, self._name = os.path.split(path)
        self._create = create
        self.shown = _shown(path)
        self.fd: int | None = None

    @property
    def file(self) -> str:
        """The file, for calls that take `dir_fd`."""
        return self._beside("")

    @property
    def new(self) -> str:
        """What is about to become the file. Only who holds the lock has one, so that an old one was left by a crash."""
        return self._beside(".new")

    @property
    def lock(self) -> str:
        """What is locked while the file is changed. It stays: taking it away would part those who wait for it."""
        return self._beside(".lock")

    def _beside(self, suffix: str) -> str:
        name = self._name + suffix
        return name if self.fd is not None else os.path.join(self._folder, name)

    def __enter__(self) -> _Folder:
        if self._create:
            with suppress(FileExistsError):
                os.mkdir(self._folder, 0o700)
        if not _IS_POSIX:
            return self
        self.fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        found = os.fstat(self.fd)
        # In a folder like /tmp, whose sticky bit is set, nobody can take away what is not his own.
        if found.st_uid not in (0, os.geteuid()) or (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX):
            os.close(self.fd)
            raise _UnsafeError(
                f"others can write to its folder {_shown(self._folder)}; choose one of your own, or say "
                f"`chmod go-w` and `chown` of it"
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self.fd is not None:
            os.close(self.fd)


_SEPARATORS = tuple(separator for separator in (os.sep, os.altsep) if separator)


@contextmanager
def _locked(folder: _Folder) -> Generator[None]:
    """Keep every other process and thread from changing the file. The system lets go of the lock of one that dies."""
    fd = os.open(folder.lock, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600, dir_fd=folder.fd)
    try:
        until = time.monotonic() + _PATIENCE_S
        while not try_lock(fd):
            if time.monotonic() >= until:
                raise TimeoutError(f"another process holds {folder.shown}.lock")
            time.sleep(_LOOK_AGAIN_S)
        try:
            yield
        finally:
            unlock(fd)
    finally:
        os.close(fd)


def _read(folder: _Folder) -> dict[str, CachedToken] | _Trouble:
    """What is in the file; nothing where there is none.

    Raises:
        OSError: it cannot be read, or is unsafe.
    """
    try:
        if stat.S_ISLNK(os.stat(folder.file, dir_fd=folder.fd, follow_symlinks=False).st_mode):
            raise _UnsafeError("it is a link; give the path of a file")
        fd = os.open(folder.file, os.O_RDONLY | _FLAGS, dir_fd=folder.fd)
    except FileNotFoundError:
        return {}
    try:
        _require_safe(os.fstat(fd), folder)
        content = b""
        while len(content) <= _MAX_BYTES and (piece := os.read(fd, _MAX_BYTES + 1)):
            content += piece
    finally:
        os.close(fd)
    return _parse(content, folder)


def _require_safe(found: os.stat_result, folder: _Folder) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _UnsafeError("it is no file; give the path of one")
    if not _IS_POSIX:
        return
    if found.st_uid != os.geteuid():
        raise _UnsafeError("it belongs to somebody else; take it away, or give another path")
    if found.st_mode & 0o077:
        raise _UnsafeError(
            f"others may read or write it (mode {stat.S_IMODE(found.st_mode):04o}); whoever could read it may have the "
            f"token: take it away, or say `chmod 600 {folder.shown}` if nobody did"
        )


def _parse(content: bytes, folder: _Folder) -> dict[str, CachedToken] | _Trouble:
    is_ours = content.startswith(_OURS) or not content.strip()
    if not is_ours or len(content) > _MAX_BYTES:
        return _Trouble(f"{folder.shown} is no token cache; it is left as it is: take it away, or give another path")
    if not content.strip():
        return {}
    try:
        require_shallow(content)
        kept = msgspec.json.decode(content, type=_File).entries
    except NOT_DECODED:
        # It begins like ours, so it is ours and damaged.
        _log.warning("the token cache %s is damaged, and begun anew", folder.shown)
        return {}
    return {key: CachedToken(Secret(entry.token), entry.obtained_at, entry.expires_at) for key, entry in kept.items()}


def _replace(folder: _Folder, entries: dict[str, CachedToken]) -> None:
    """Write the file anew: a reader finds the old one or the new one, also after a power cut."""
    oldest = time.time() - _KEEP_EXPIRED_S
    kept = {
        key: _Entry(token.secret.reveal(), token.obtained_at, token.expires_at)
        for key, token in entries.items()
        if token.expires_at > oldest
    }
    content = Secret(msgspec.json.encode(_File(entries=kept)).decode())
    with suppress(FileNotFoundError):
        os.unlink(folder.new, dir_fd=folder.fd)
    fd = os.open(folder.new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600, dir_fd=folder.fd)
    try:
        try:
            _write(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        _put_in_place(folder)
    except BaseException:
        os.unlink(folder.new, dir_fd=folder.fd)
        raise
    if folder.fd is not None:
        os.fsync(folder.fd)


def _write(fd: int, content: Secret) -> None:
    rest = content.reveal().encode()
    while rest:
        rest = rest[os.write(fd, rest) :]


def _put_in_place(folder: _Folder) -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            os.replace(folder.new, folder.file, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
        except PermissionError:
            # Windows replaces no file that somebody is reading.
            if _IS_POSIX or time.monotonic() >= until:
                raise
            time.sleep(_LOOK_AGAIN_S)
        else:
            return


class _Entry(msgspec.Struct):
    token: str
    obtained_at: float
    expires_at: float

    def __repr__(self) -> str:
        return "<_Entry>"


class _File(msgspec.Struct, tag_field="alura_async", tag="tokens"):
    """What is in the file. Its beginning is `_OURS`."""

    entries: dict[str, _Entry]


def _checked(path: str | os.PathLike[str]) -> str:
    """A path as text.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        text = os.path.expanduser(os.fsdecode(path))
    except TypeError:
        text = ""
    if not text or "\0" in text:
        raise ConfigurationError("token_cache: give the path of a file, or of a folder")
    # Made absolute now: a process may change its folder later.
    return os.path.join(os.path.abspath(text), "") if text.endswith(_SEPARATORS) else os.path.abspath(text)


def _trouble(error: OSError, path: str) -> _Trouble:
    why = str(error) if isinstance(error, _UnsafeError | TimeoutError) else error.strerror or type(error).__name__
    return _Trouble(f"{_shown(path)}: {why}")


def _shown(path: str) -> str:
    """A path for a message. People do mix up arguments, so one that looks like a key is blanked out."""
    return repr(printable(redact(path)))
