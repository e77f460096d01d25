"""The journal's file: SQLite, opened with care and changed in transactions. Whatever fails is a `JournalError`.

It blocks, and belongs to one thread: `FileIntents` in `file_intents.py` keeps it in a thread of its own.
"""

from __future__ import annotations

import errno
import os
import random
import secrets
import sqlite3
import stat
import time
from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ..errors import JournalError
from ..journal import JournalEntry
from .disk import sync_folder
from .entries import MADE_NOTHING
from .request import Action
from .text import printable

# "ALRJ": tells a journal from a database of something else.
_APPLICATION_ID = 0x414C524A
# A release that changes what is below takes another version.
_VERSION = 1
_SCHEMA = """
    CREATE TABLE journal (mark TEXT NOT NULL);
    INSERT INTO journal VALUES (hex(randomblob(16)));
    CREATE TABLE intents (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created_at TEXT NOT NULL,
        expires_at TEXT NOT NULL,
        host TEXT NOT NULL,
        account TEXT NOT NULL,
        method TEXT NOT NULL,
        path TEXT NOT NULL,
        action TEXT NOT NULL,
        body TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        pid INTEGER NOT NULL,
        outcome TEXT,
        settled_at TEXT,
        settled_by TEXT,
        result_id TEXT,
        detail TEXT NOT NULL
    );
    CREATE INDEX intents_created_at ON intents (created_at);
    CREATE INDEX intents_unresolved ON intents (fingerprint) WHERE outcome IS NULL OR outcome = 'unknown';
"""

# A field more needs a version more.
_COLUMNS = JournalEntry.__struct_fields__
_NAMES = ", ".join(_COLUMNS)
_SELECT = f"SELECT {_NAMES} FROM intents"  # noqa: S608 - the names are ours
_INSERT = f"INSERT INTO intents ({_NAMES}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"  # noqa: S608
_UPDATE = (
    "UPDATE intents SET outcome = :outcome, settled_at = :settled_at, settled_by = :settled_by, "
    "result_id = :result_id, detail = :detail WHERE id = :id"
)
# Word for word what the index says, or it would not be used.
_UNRESOLVED = "(outcome IS NULL OR outcome = 'unknown')"
# What is unresolved, what was written from a moment on, and the last thousand that made something, whatever the clock
# said then. Each of the three has its index; with `OR`, SQLite would read the whole table.
_RECENT = (
    f"SELECT number FROM intents WHERE {_UNRESOLVED} "  # noqa: S608 - the words are ours
    "UNION ALL SELECT number FROM intents WHERE created_at >= ? UNION ALL SELECT number FROM intents "
    "WHERE number > (SELECT max(number) FROM intents) - 1000 AND result_id IS NOT NULL"
)

# How long other processes may hold the file's lock, and how long SQLite waits for it by itself before it is asked anew:
# there are locks for which it does not wait at all.
_LOCKED_S = 10.0
_SQLITE_WAITS_S = 1.0
_BESIDE = ("-wal", "-shm")
# What SQLite keeps of the file in memory, for each client of a process. Its own default is eight times that, and
# opening a file, which reads all of it, fills it; a call needs a few pages, and the system has the others in its cache.
_CACHE_KIB = 256


class Identity(NamedTuple):
    """What tells a journal from all others.

    A new file may get the number of one that was deleted, and a copy has the mark of what it is a copy of.

    Attributes:
        place: the file's device and number.
        mark: what was written into it when it was made.
    """

    place: tuple[int, int]
    mark: str


class JournalFile:
    """An open journal.

    Args:
        path: the file, absolute.
        must_exist: whether a missing one is an error, instead of a new journal.
        keep_days: for how many days resolved entries are kept; what is older is removed now. None keeps all.
        known: the only journal that will do, where it was open before.

    Attributes:
        identity: which one it is.

    Raises:
        JournalError: it cannot be used; the message says what to do.
    """

    def __init__(self, path: Path, *, must_exist: bool, keep_days: int | None, known: Identity | None = None) -> None:
        self._path = path
        with _explained(path):
            if known is not None:
                self._require_in_place(known.place)
            elif not must_exist:
                _create_if_missing(path)
            place = _require_safe(path)
            self._connection = _connect(path)
            try:
                self._require_journal()
                self.identity = Identity(place, self._mark())
                if known not in (None, self.identity):
                    raise self._is_another()
                self._prepare(keep_days)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close it. The last one to do so has SQLite put everything into one file."""
        with suppress(sqlite3.Error):
            self._connection.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All changes of a `with` block, or none; what it leaves behind is on the disk.

        Raises:
            JournalError: nothing was changed.
        """
        with _explained(self._path):
            self._require_in_place(self.identity.place)
            self._begin()
            try:
                # Another release may have changed the file while it was open here.
                self._require_version()
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    with suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                raise

    def insert(self, entry: JournalEntry) -> None:
        """Add an entry. Only within a transaction."""
        try:
            self._connection.execute(_INSERT, _row(entry))
        except sqlite3.IntegrityError:
            raise JournalError(f"{printable(str(self._path))}: has an entry {printable(entry.id)} already") from None

    def update(self, entry: JournalEntry) -> None:
        """Write down what became of an entry. Only within a transaction."""
        self._connection.execute(_UPDATE, _row(entry))

    def get(self, entry_id: str) -> JournalEntry | None:
        """The entry of an id."""
        found = self._select("WHERE id = ?", entry_id)
        return found[0] if found else None

    def beginning_with(self, prefix: str) -> list[JournalEntry]:
        """Some of the entries whose ids begin with these hexadecimal digits."""
        return self._select("WHERE id >= ? AND id < ? ORDER BY id LIMIT 5", prefix, prefix + "g")

    def like(self, entry: JournalEntry) -> list[JournalEntry]:
        """The unresolved entries that may ask for the same, oldest first."""
        return self._select(f"WHERE fingerprint = ? AND {_UNRESOLVED} ORDER BY number", entry.fingerprint)

    def newest(self, limit: int) -> list[JournalEntry]:
        """The last entries, newest first."""
        return self._select("ORDER BY number DESC LIMIT ?", limit)

    def unresolved(self) -> list[JournalEntry]:
        """The unresolved entries, oldest first."""
        return self._select(f"WHERE {_UNRESOLVED} ORDER BY number")

    def since(self, at: datetime, *actions: Action) -> list[JournalEntry]:
        """The entries from a moment on, oldest first; only those whose calls do one of these, where it says what."""
        if not actions:
            return self._select("WHERE created_at >= ? ORDER BY number", _text(at))
        wanted = ", ".join("?" * len(actions))
        return self._select(
            f"WHERE created_at >= ? AND action IN ({wanted}) ORDER BY number",
            *(_text(at), *(action.value for action in actions)),
        )

    def those(self, entry_ids: Iterable[str]) -> list[JournalEntry]:
        """The entries of some ids, those that there are."""
        ids = iter(entry_ids)
        found: list[JournalEntry] = []
        # SQLite takes no more than a thousand values everywhere.
        while some := list(islice(ids, 500)):
            found += self._select(f"WHERE id IN ({', '.join('?' * len(some))})", *some)
        return found

    def creates(self, at: datetime, sessions: Collection[str]) -> list[JournalEntry]:
        """The creates that may have made one of these sessions, oldest first.

        Those of which that is not known or that are among the last, and the others from a moment on.
        """
        return self._select(
            f"WHERE number IN ({_RECENT}) AND action = ? AND CASE WHEN result_id IS NULL "
            "THEN outcome IS NULL OR outcome NOT IN (?, ?) "
            # Not `IN`, which takes no more than a thousand.
            "ELSE instr(?, char(10) || result_id || char(10)) END ORDER BY number",
            *(_text(at), Action.OPEN.value, *(outcome.value for outcome in MADE_NOTHING)),
            "\n".join(("", *sessions, "")),
        )

    def _select(self, condition: str, *values: str | int) -> list[JournalEntry]:
        with _explained(self._path):
            if not self._connection.in_transaction:
                self._require_in_place(self.identity.place)
            rows = self._retry_if_locked(f"{_SELECT} {condition}", values)
            return [_entry(self._path, row) for row in rows]

    def _mark(self) -> str:
        (mark,) = self._retry_if_locked("SELECT max(mark) FROM journal").fetchone()
        return str(mark)

    def _prepare(self, keep_days: int | None) -> None:
        _pragma(self._connection, "trusted_schema = OFF")
        # Full: what was committed survives the machine's crash, too. On macOS, only so is the disk's own cache emptied.
        _pragma(self._connection, "synchronous = FULL")
        _pragma(self._connection, "fullfsync = ON")
        _pragma(self._connection, f"cache_size = -{_CACHE_KIB}")
        (mode,) = self._retry_if_locked("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise JournalError(
                f"{printable(str(self._path))}: its file system cannot hold a journal that several processes share: "
                "put it on a local disk"
            )
        # A damaged index would hide an unresolved call from the one that asks for the same.
        (found,) = self._retry_if_locked("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise JournalError(_damaged(self._path, str(found)))
        if keep_days is not None:
            self._forget(datetime.now(UTC) - timedelta(days=keep_days))

    def _require_journal(self) -> None:
        (application,) = self._retry_if_locked("PRAGMA application_id").fetchone()
        if application != _APPLICATION_ID:
            raise JournalError(
                f"{printable(str(self._path))}: is a database of something else: give the journal another path"
            )
        self._require_version()

    def _require_version(self) -> None:
        (version,) = self._retry_if_locked("PRAGMA user_version").fetchone()
        if version != _VERSION:
            raise JournalError(
                f"{printable(str(self._path))}: has version {version}, and this release of alura_async reads version "
                f"{_VERSION}: use the release that made it so, or give the journal another path"
            )

    def _forget(self, before: datetime) -> None:
        old = f" FROM intents WHERE NOT {_UNRESOLVED} AND coalesce(settled_at, created_at) < ?"
        # Mostly there are none, and then others need not wait for the lock.
        if self._retry_if_locked("SELECT 1" + old + " LIMIT 1", (_text(before),)).fetchone():
            with self.transaction():
                self._connection.execute("DELETE" + old, (_text(before),))

    def _begin(self) -> None:
        self._retry_if_locked("BEGIN IMMEDIATE")

    def _retry_if_locked(self, statement: str, values: Iterable[str | int] = ()) -> sqlite3.Cursor:
        until = time.monotonic() + _LOCKED_S
        while True:
            try:
                return self._connection.execute(statement, tuple(values))
            except sqlite3.OperationalError as error:
                if _code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() > until:
                    raise
            time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - it only parts those who wait

    def _require_in_place(self, place: tuple[int, int]) -> None:
        """Refuse to write into a file that nobody will find again."""
        with suppress(FileNotFoundError):
            if _place(os.lstat(self._path)) == place:
                return
        raise self._is_another()

    def _is_another(self) -> JournalError:
        return JournalError(
            f"{printable(str(self._path))}: was moved, deleted or replaced while it was in use: put it back; if it is "
            "gone, look at what your account shows before you restart with a new one"
        )


def _create_if_missing(path: Path) -> None:
    """Make a new journal that is whole as soon as it has its name, so that an empty file is never one."""
    if os.path.lexists(path):
        return
    for ending in _BESIDE:
        if os.path.lexists(f"{path}{ending}"):
            raise JournalError(
                f"{printable(str(path))}: is gone, and {printable(path.name)}{ending}, which belongs to it, is still "
                "there: put it back, or move that away too"
            )
    try:
        folder = os.stat(path.parent)
    except FileNotFoundError:
        # Made without a word, a mistyped one would hold a journal that nobody reads.
        raise JournalError(
            f"{printable(str(path.parent))}: there is no such folder: check the path, or make the folder"
        ) from None
    if not stat.S_ISDIR(folder.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    draft = path.with_name(f".alura-journal-{secrets.token_hex(8)}")
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        connection = _connect(draft)
        try:
            # What SQLite puts beside a file has the file's own mode.
            connection.execute("PRAGMA journal_mode = WAL")
            _pragma(connection, "synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            _pragma(connection, f"application_id = {_APPLICATION_ID}")
            # Not `executescript`, which commits first.
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            _pragma(connection, f"user_version = {_VERSION}")
            connection.execute("COMMIT")
        finally:
            connection.close()
        with suppress(FileExistsError):  # another process was faster, and made the same
            # Neither takes the place of a file that is there: on POSIX, `rename` would.
            (os.rename if os.name == "nt" else os.link)(draft, path)
    finally:
        for ending in ("", *_BESIDE):
            with suppress(OSError):
                os.unlink(f"{draft}{ending}")
    sync_folder(path.parent)


def _connect(path: Path) -> sqlite3.Connection:
    # Transactions are begun by hand.
    return sqlite3.connect(path, timeout=_SQLITE_WAITS_S, isolation_level=None)


def _pragma(connection: sqlite3.Connection, text: str) -> None:
    connection.execute(f"PRAGMA {text}")


def _require_safe(path: Path) -> tuple[int, int]:
    """Refuse what is no file, and what others may read or put there. Never opens anything.

    On POSIX, closing any handle of a file drops the locks that SQLite holds on it in the same process.
    """
    folder, status = os.stat(path.parent), os.lstat(path)
    _require_private(path, status)
    if status.st_size == 0:
        raise JournalError(
            f"{printable(str(path))}: is empty, which no journal ever is: if it was one, put it back from a copy; if "
            "not, delete it, and a new one is made"
        )
    for ending in _BESIDE:
        with suppress(FileNotFoundError):
            _require_private(Path(f"{path}{ending}"), os.lstat(f"{path}{ending}"))
    if _has_modes() and folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
        raise JournalError(
            f"{printable(str(path.parent))}: anyone may put files into this folder: chmod 700 it, or give the journal "
            "another path"
        )
    return _place(status)


def _require_private(path: Path, status: os.stat_result) -> None:
    shown = printable(str(path))
    if stat.S_ISDIR(status.st_mode):
        raise JournalError(f"{shown}: is a folder: give the path of a file, such as {printable(str(path / 'journal'))}")
    if stat.S_ISLNK(status.st_mode):
        raise JournalError(f"{shown}: is a symbolic link: give the path of the file itself")
    if not stat.S_ISREG(status.st_mode):
        raise JournalError(f"{shown}: is no regular file: give the journal another path")
    if not _has_modes():
        return
    if status.st_uid != os.geteuid():
        raise JournalError(
            f"{shown}: belongs to another user ({status.st_uid}): run as that user, or give the journal another path"
        )
    if status.st_mode & 0o077:
        raise JournalError(f"{shown}: others may read or write it, and it tells what you trade: chmod 600 it")


def _has_modes() -> bool:
    return os.name == "posix"


def _place(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _text(moment: datetime) -> str:
    """A moment as text of one length, so that it sorts as it should."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _row(entry: JournalEntry) -> dict[str, str | int | None]:
    return {name: _value(getattr(entry, name)) for name in _COLUMNS}


def _value(value: Any) -> str | int | None:
    if isinstance(value, datetime):
        return _text(value)
    # An enumeration's value is text.
    kept: str | int | None = getattr(value, "value", value)
    return kept


def _entry(path: Path, row: tuple[Any, ...]) -> JournalEntry:
    try:
        return msgspec.convert(dict(zip(_COLUMNS, row, strict=True)), JournalEntry)
    except (msgspec.ValidationError, ValueError, ArithmeticError) as error:
        raise JournalError(_damaged(path, f"an entry cannot be read: {error}")) from None


@contextmanager
def _explained(path: Path) -> Generator[None]:
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning, OSError, UnicodeError, OverflowError) as error:
        raise JournalError(_why_not(path, error)) from error


def _why_not(path: Path, error: Exception) -> str:
    """What failed, and what to do."""
    shown, said = printable(str(path)), printable(str(error))
    code = _code(error) if isinstance(error, sqlite3.Error) else None
    number = error.errno if isinstance(error, OSError) else None
    if code == sqlite3.SQLITE_NOTADB:
        return f"{shown}: is no journal: give the journal another path"
    if isinstance(error, UnicodeEncodeError):
        return f"{shown}: what is to be written holds a character that no file can hold ({said})"
    if code == sqlite3.SQLITE_CORRUPT or isinstance(error, UnicodeError | OverflowError):
        return _damaged(path, said)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return (
            f"{shown}: another process has kept it locked for more than {_LOCKED_S:.0f} s: look for one that hangs, or "
            "that was stopped in the middle"
        )
    if code == sqlite3.SQLITE_FULL or number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{shown}: the disk is full, or a limit of this user or process is reached: make room"
    if number == errno.ENOENT:
        return f"{shown}: there is no such file or folder: check the path"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH) or (
        number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
    ):
        return (
            f"{shown}: cannot be opened or written ({said}): this user must be allowed to write it, and to make files "
            "in its folder; the disk must not be read-only"
        )
    if code == sqlite3.SQLITE_IOERR:
        return f"{shown}: reading or writing failed ({said}): the disk may be full, gone or broken"
    if code == sqlite3.SQLITE_ERROR:
        # All statements are ours, and right for a file that is.
        return _damaged(path, said)
    return f"{shown}: cannot be used: {said}"


def _damaged(path: Path, how: str) -> str:
    return (
        f"{printable(str(path))}: is damaged ({printable(how)}): look at what your account shows (sessions, positions, "
        "balance), then put the file back from a copy, or move it away together with its -wal and -shm"
    )


def _code(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code; the extended ones have it in their last byte."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
