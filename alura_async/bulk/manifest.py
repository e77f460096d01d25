"""What a store knows of itself, in SQLite: series, what of them is covered, files, and candles that are in no file yet.

It blocks. Whatever fails is a `StoreError`. Candles are bytes here: `partitions.py` knows what they mean.
"""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import time
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from ..core.text import printable
from ..errors import StoreError
from .query import CandleQuery
from .ranges import Range, merged, without

FOLDER = "_alura"
"""Where a store keeps what is not candles: no reader of Parquet folders looks into one with this first letter."""

_NAME = "manifest.sqlite"
# "ALRC": tells a manifest from a database of something else.
_APPLICATION_ID = 0x414C5243
# A release that changes what is below takes another version.
_VERSION = 1
_SCHEMA = """
    CREATE TABLE store (origin TEXT NOT NULL, query TEXT);
    CREATE TABLE writer (pid INTEGER NOT NULL, host TEXT NOT NULL, since TEXT NOT NULL);
    CREATE TABLE series (
        id INTEGER PRIMARY KEY,
        symbol TEXT NOT NULL,
        interval TEXT NOT NULL,
        as_of INTEGER,
        UNIQUE (symbol, interval)
    );
    CREATE TABLE asked (
        series INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, PRIMARY KEY (series, start)
    ) WITHOUT ROWID;
    CREATE TABLE covered (
        series INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, PRIMARY KEY (series, start)
    ) WITHOUT ROWID;
    CREATE TABLE failed (
        series INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (series, start)
    ) WITHOUT ROWID;
    CREATE TABLE files (
        series INTEGER NOT NULL,
        month TEXT NOT NULL,
        rows INTEGER, first INTEGER, last INTEGER, bytes INTEGER, checksum TEXT,
        new_rows INTEGER, new_first INTEGER, new_last INTEGER, new_bytes INTEGER, new_checksum TEXT,
        PRIMARY KEY (series, month)
    ) WITHOUT ROWID;
    CREATE TABLE spool (
        number INTEGER PRIMARY KEY,
        series INTEGER NOT NULL,
        month TEXT NOT NULL,
        rows INTEGER NOT NULL,
        start INTEGER NOT NULL,
        end INTEGER NOT NULL,
        candles BLOB NOT NULL,
        checksum INTEGER NOT NULL
    );
    CREATE INDEX spool_month ON spool (series, month, rows);
"""

# How long SQLite waits for a lock: readers hold none for long.
_SQLITE_WAITS_S = 10.0
_CACHE_KIB = 4096
# So many free pages of 4 KiB may stay in the file; what a large pull had in it is given back.
_FREE_PAGES = 256


class Series(NamedTuple):
    """One symbol's candles of one interval.

    Attributes:
        id: its number in the manifest.
        symbol: the asset's symbol.
        interval: the candles' interval.
        as_of: when the server last told of it, epoch milliseconds; None if it never did.
    """

    id: int
    symbol: str
    interval: str
    as_of: int | None


class FileFacts(NamedTuple):
    """What is known of a Parquet file: rows, first and last open time, bytes, SHA-256 in hex."""

    rows: int
    first: int
    last: int
    bytes: int
    checksum: str


class MonthFile(NamedTuple):
    """A month's Parquet file as the manifest knows it.

    Attributes:
        series: the number of its series.
        month: such as `2026-01`.
        now: what it is; None where there was none before `new`.
        new: what it is about to become, or has become: the process that replaced it did not get to say so.
    """

    series: int
    month: str
    now: FileFacts | None
    new: FileFacts | None

    @property
    def known(self) -> list[FileFacts]:
        """What the file may be."""
        return [facts for facts in (self.now, self.new) if facts is not None]


class Piece(NamedTuple):
    """Candles of one month that came together and are not in its file yet.

    Attributes:
        number: which piece it is; later ones have larger numbers.
        range: for which range of the month the server answered with them.
        candles: the candles.
        is_sound: whether they are what was recorded.
    """

    number: int
    range: Range
    candles: bytes
    is_sound: bool


class DamagedManifestError(StoreError):
    """The manifest cannot be read, and can be made anew of the Parquet files."""


class Manifest:
    """The manifest of a store; see `to_read` and `to_write`.

    Attributes:
        path: its file.
        origin: the server that the candles are of.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self.origin: str = connection.execute("SELECT origin FROM store").fetchone()[0]

    @classmethod
    def to_read(cls, store: Path) -> Manifest:
        """Open it to read what is there, also while somebody writes.

        Args:
            store: the store's folder.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        path = place(store)
        with explained(path):
            if not exists(path):
                raise none_error(store)
            connection = _connect_to_read(path)
            with _closed_on_failure(connection):
                if _is_blank(connection):
                    raise none_error(store)
                _require_version(path, connection)
                # Whatever is read afterwards is of one moment.
                connection.execute("BEGIN")
                return cls(path, connection)

    @classmethod
    def is_lost(cls, store: Path) -> bool:
        """Whether there are the files of a store, and nothing that says what they are.

        Args:
            store: the store's folder.

        Raises:
            StoreError: that cannot be found out.
        """
        with explained(place(store)):
            return has_files(store) and not cls.is_there(store)

    @classmethod
    def is_there(cls, store: Path) -> bool:
        """Whether there is one. Who was killed while it was made has left none.

        Args:
            store: the store's folder.

        Raises:
            StoreError: that cannot be found out.
        """
        path = place(store)
        with explained(path):
            if not exists(path):
                return False
            connection = _connect_to_read(path)
            try:
                return not _is_blank(connection)
            finally:
                connection.close()

    @classmethod
    def to_write(cls, store: Path, origin: str | None) -> Manifest:
        """Open it to write, or make a new one. Only who holds the store's lock may.

        Args:
            store: the store's folder.
            origin: the server whose candles are to be stored; None where none are.

        Raises:
            StoreError: it cannot be used, or is another server's.
        """
        path = place(store)
        with explained(path):
            connection = sqlite3.connect(path, timeout=_SQLITE_WAITS_S, isolation_level=None, check_same_thread=False)
            with _closed_on_failure(connection):
                if _is_blank(connection):
                    _create(connection, origin or "")
                _require_version(path, connection)
                _complete(connection)
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if found != "ok":
                    raise _damaged(path, str(found))
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA fullfsync = ON")
                connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
                # What was committed survives a killed process; where it must survive a power cut, `replacing` says so.
                connection.execute("PRAGMA synchronous = NORMAL")
                manifest = cls(path, connection)
                if origin is not None:
                    manifest._require_origin(origin)
                manifest._note_writer()
                return manifest

    def close(self) -> None:
        """Close it. The last one to do so has SQLite put everything into one file."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def shrink(self) -> None:
        """Give back the room of what is no longer in it."""
        with explained(self.path):
            (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            if free > _FREE_PAGES:
                # It gives back a page in each step, and `execute` takes but one.
                self._connection.executescript("PRAGMA incremental_vacuum")

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All changes of a `with` block, or none.

        Raises:
            StoreError: nothing was changed.
        """
        with explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    with suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                raise

    # How its server is asked

    def query(self) -> CandleQuery | None:
        """How the server wants to be asked; None where nobody has said so.

        Raises:
            StoreError: what was noted cannot be read.
        """
        # A store made before there was such a column may be one that nobody here may write to.
        ((_, *told),) = self._all("SELECT * FROM store")
        if told in ([], [None]):
            return None
        try:
            return msgspec.json.decode(*told, type=CandleQuery)
        except msgspec.MsgspecError as error:
            raise StoreError(
                f"{shown(self.path)}: how its server is asked cannot be read ({printable(str(error))}): repair the "
                "store and say so once more: CandleQuery(start='startTime'), or as the server wants it"
            ) from error

    def set_query(self, query: CandleQuery | None) -> None:
        """Note how the server wants to be asked; None where nobody has said so."""
        self._all("UPDATE store SET query = ?", None if query is None else msgspec.json.encode(query).decode())

    # Series

    def series(self) -> list[Series]:
        """All series, by interval and symbol."""
        return [Series(*row) for row in self._all(f"{_SERIES} ORDER BY interval, symbol")]

    def find(self, symbol: str, interval: str) -> Series | None:
        """A series, if there is anything of it."""
        found = self._all(f"{_SERIES} WHERE symbol = ? AND interval = ?", symbol, interval)
        return Series(*found[0]) if found else None

    def ask(self, symbol: str, interval: str, start: int, end: int) -> Series:
        """Note that a range of a series is asked for, the first time or again."""
        self._all("INSERT INTO series (symbol, interval) VALUES (?, ?) ON CONFLICT DO NOTHING", symbol, interval)
        series = self.find(symbol, interval)
        assert series is not None  # it is there now
        self._add("asked", series.id, start, end)
        return series

    def forget(self, series: int) -> None:
        """Take out all that is known of a series."""
        for table in ("asked", "covered", "failed", "files", "spool"):
            self._all(f"DELETE FROM {table} WHERE series = ?", series)  # noqa: S608 - the words are ours
        self._all("DELETE FROM series WHERE id = ?", series)

    def note_time(self, series: int, as_of: int) -> None:
        """Note when the server told of a series."""
        self._all("UPDATE series SET as_of = max(coalesce(as_of, 0), ?) WHERE id = ?", as_of, series)

    # Coverage

    def asked(self, series: int) -> list[Range]:
        """The ranges of a series that were ever asked for, sorted and as few as possible."""
        return self._all("SELECT start, end FROM asked WHERE series = ? ORDER BY start", series)

    def covered(self, series: int) -> list[Range]:
        """The ranges of a series for which the server has answered, sorted and as few as possible."""
        return self._all("SELECT start, end FROM covered WHERE series = ? ORDER BY start", series)

    def cover(self, series: int, start: int, end: int) -> None:
        """Note that the server has answered for a range."""
        self._add("covered", series, start, end)
        self._cut_failures(series, start, end)

    def uncover(self, series: int, start: int, end: int, reason: str) -> None:
        """Note that a range is to be asked for again, and why."""
        left = without(self.covered(series), [(start, end)])
        self._all("DELETE FROM covered WHERE series = ?", series)
        for first, last in left:
            self._all("INSERT INTO covered VALUES (?, ?, ?)", series, first, last)
        self.fail(series, start, end, reason)

    def failures(self, series: int) -> list[tuple[int, int, str]]:
        """The ranges of a series for which the server could not answer, sorted, each with the reason."""
        return self._all("SELECT start, end, reason FROM failed WHERE series = ? ORDER BY start", series)

    def fail(self, series: int, start: int, end: int, reason: str) -> None:
        """Note why a range could not be had."""
        self._cut_failures(series, start, end)
        self._all("INSERT INTO failed VALUES (?, ?, ?, ?)", series, start, end, reason)

    def _add(self, table: str, series: int, start: int, end: int) -> None:
        """Add a range to those of a table, and join it with its neighbours."""
        touching = "WHERE series = ? AND start <= ? AND end >= ?"
        found = self._all(f"SELECT start, end FROM {table} {touching}", series, end, start)  # noqa: S608 - our words
        self._all(f"DELETE FROM {table} {touching}", series, end, start)  # noqa: S608 - likewise
        for first, last in merged([*found, (start, end)]):
            self._all(f"INSERT INTO {table} VALUES (?, ?, ?)", series, first, last)  # noqa: S608 - likewise

    def _cut_failures(self, series: int, start: int, end: int) -> None:
        """Forget why a range could not be had, and no more than that."""
        found = self._all(
            "SELECT start, end, reason FROM failed WHERE series = ? AND start < ? AND end > ?", series, end, start
        )
        for first, last, reason in found:
            self._all("DELETE FROM failed WHERE series = ? AND start = ?", series, first)
            for left in without([(first, last)], [(start, end)]):
                self._all("INSERT INTO failed VALUES (?, ?, ?, ?)", series, *left, reason)

    # Files

    def files(self, series: int | None = None) -> list[MonthFile]:
        """The Parquet files of one series or of all, by series and month."""
        # The sequence fills "?" only: numbered ones are deprecated from 3.12 on, and an error from 3.14 on.
        found = self._all("SELECT * FROM files WHERE ? IS NULL OR series = ? ORDER BY series, month", series, series)
        return [_file(row) for row in found]

    def file(self, series: int, month: str) -> MonthFile | None:
        """A month's Parquet file, if there is one."""
        found = self._all("SELECT * FROM files WHERE series = ? AND month = ?", series, month)
        return _file(found[0]) if found else None

    def replacing(self, series: int, month: str, new: FileFacts) -> None:
        """Write down what a file is about to become.

        That, and all that was recorded before, is on the disk afterwards: no power cut may leave a file with candles
        that the manifest does not know.
        """
        with explained(self.path):
            self._connection.execute("PRAGMA synchronous = FULL")
        try:
            with self.transaction():
                self._all(
                    "INSERT INTO files (series, month, new_rows, new_first, new_last, new_bytes, new_checksum) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (series, month) DO UPDATE SET "
                    "new_rows = excluded.new_rows, new_first = excluded.new_first, new_last = excluded.new_last, "
                    "new_bytes = excluded.new_bytes, new_checksum = excluded.new_checksum",
                    *(series, month, *new),
                )
        finally:
            with explained(self.path):
                self._connection.execute("PRAGMA synchronous = NORMAL")

    def replaced(self, series: int, month: str, now: FileFacts, spooled: int) -> None:
        """Note what a file is, and drop what waited to be put into it, up to a number."""
        with self.transaction():
            self.set_file(series, month, now)
            self._all("DELETE FROM spool WHERE series = ? AND month = ? AND number <= ?", series, month, spooled)

    def set_file(self, series: int, month: str, now: FileFacts) -> None:
        """Note what a file is."""
        self._all(
            "INSERT OR REPLACE INTO files (series, month, rows, first, last, bytes, checksum) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(series, month, *now),
        )

    def forget_file(self, series: int, month: str) -> None:
        """Note that there is no such file."""
        self._all("DELETE FROM files WHERE series = ? AND month = ?", series, month)

    def forget_new(self, series: int, month: str) -> None:
        """Note that a file was not replaced after all."""
        self._all(
            "UPDATE files SET new_rows = NULL, new_first = NULL, new_last = NULL, new_bytes = NULL, "
            "new_checksum = NULL WHERE series = ? AND month = ?",
            *(series, month),
        )

    # Candles that are in no file yet

    def spool(self, series: int, month: str, rows: int, answered: Range, candles: bytes) -> None:
        """Keep candles of one month until they are in its file, and the range that the server answered for."""
        self._all(
            "INSERT INTO spool (series, month, rows, start, end, candles, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(series, month, rows, *answered, candles, zlib.crc32(candles)),
        )

    def spooled(self, series: int, month: str) -> list[Piece]:
        """The candles of a month that are not in its file yet, in the order in which they came."""
        found = self._all(
            "SELECT number, start, end, candles, checksum FROM spool WHERE series = ? AND month = ? ORDER BY number",
            *(series, month),
        )
        return [
            Piece(number, (start, end), candles, zlib.crc32(candles) == checksum)
            for number, start, end, candles, checksum in found
        ]

    def drop(self, piece: Piece) -> None:
        """Let go of candles that wait."""
        self._all("DELETE FROM spool WHERE number = ?", piece.number)

    def spooled_months(self, series: int | None = None) -> list[tuple[int, str, int]]:
        """For which months candles wait, those of the most rows first: series, month and rows."""
        where = "" if series is None else "WHERE series = ?"
        return self._all(
            f"SELECT series, month, sum(rows) FROM spool {where} "  # noqa: S608 - the words are ours
            "GROUP BY series, month ORDER BY sum(rows) DESC",
            *(() if series is None else (series,)),
        )

    # What opens and closes it

    def _note_writer(self) -> None:
        with self.transaction():
            self._all("DELETE FROM writer")
            since = datetime.now(UTC).isoformat(timespec="seconds")
            self._all("INSERT INTO writer VALUES (?, ?, ?)", os.getpid(), socket.gethostname(), since)

    def writer(self) -> tuple[int, str, str] | None:
        """Who wrote last: pid, host, since when."""
        found: list[tuple[int, str, str]] = self._all("SELECT pid, host, since FROM writer")
        return found[0] if found else None

    def _require_origin(self, origin: str) -> None:
        if not self.origin:
            with self.transaction():
                self._all("UPDATE store SET origin = ?", origin)
            self.origin = origin
        require_same(self.path.parent.parent, self.origin, origin)

    def _all(self, statement: str, *values: Any) -> list[Any]:
        with explained(self.path):
            return self._connection.execute(statement, values).fetchall()


def place(store: Path) -> Path:
    """Where the manifest of a store is."""
    return store / FOLDER / _NAME


def require_same(store: Path, origin: str, other: str) -> None:
    """Refuse the candles of a server other than those that a store has.

    Raises:
        StoreError: it is another one.
    """
    if origin != other:
        raise StoreError(
            f"{shown(store)}: holds candles of {printable(origin)}, and this client's server is {other}: give each "
            "server a store of its own"
        )


def has_files(store: Path) -> bool:
    """Whether a folder has what a store's Parquet files are in."""
    return any(store.glob("interval=*"))


def set_aside(store: Path) -> Path:
    """Move a manifest that cannot be used out of the way, with what SQLite has put beside it.

    Returns:
        Where it is now.

    Raises:
        StoreError: it cannot be moved.
    """
    path = place(store)
    aside = path.with_name(f"damaged-{int(time.time())}-{_NAME}")
    with explained(path):
        for ending in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.replace(f"{path}{ending}", f"{aside}{ending}")
    return aside


def exists(path: Path) -> bool:
    """Whether there is a file or a folder.

    Raises:
        StoreError: that cannot be found out, mostly because this user may not look into the folder that it is in.
    """
    with explained(path):
        try:
            # What `exists` says where one may not look depends on Python's version, and "no" would be a lie.
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True


@contextmanager
def explained(path: Path) -> Generator[None]:
    """Make a `StoreError` of whatever SQLite or the system raises in a `with` block.

    Args:
        path: the file that it is about, where the error does not say.
    """
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeError) as error:
        if _code(error) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
            # All statements are ours, and right for a file that is.
            raise _damaged(path, str(error)) from error
        raise _why_not(path, error) from error


def shown(path: Path | str) -> str:
    """A path for a message."""
    return printable(str(path))


_SERIES = "SELECT id, symbol, interval, as_of FROM series"


def _file(row: Sequence[Any]) -> MonthFile:
    series, month, *facts = row
    now, new = facts[:5], facts[5:]
    return MonthFile(
        series,
        month,
        None if now[-1] is None else FileFacts(*now),
        None if new[-1] is None else FileFacts(*new),
    )


def _connect_to_read(path: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(path.absolute()))}"
    connection = sqlite3.connect(
        f"{address}?mode=rw", uri=True, timeout=_SQLITE_WAITS_S, isolation_level=None, check_same_thread=False
    )
    try:
        with _closed_on_failure(connection):
            connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:
        log = Path(f"{path}-wal")
        if os.access(path.parent, os.W_OK) or (log.exists() and log.stat().st_size):
            raise
        # In a folder that nobody here may write to, SQLite cannot look for a writer; there is none that left anything.
        connection = sqlite3.connect(
            f"{address}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )
    return connection


def _is_blank(connection: sqlite3.Connection) -> bool:
    """Whether nothing was written into it: whoever made the file did not get further."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    return not application and not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()


def _create(connection: sqlite3.Connection, origin: str) -> None:
    # Before there is anything in it; else it takes a rewrite.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    # Not `executescript`, which commits first.
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute("INSERT INTO store (origin) VALUES (?)", (origin,))
    connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute("COMMIT")


def _complete(connection: sqlite3.Connection) -> None:
    """Add what the first stores were made without."""
    if "query" not in [name for _, name, *_ in connection.execute("PRAGMA table_info(store)")]:
        connection.execute("ALTER TABLE store ADD COLUMN query TEXT")


def _require_version(path: Path, connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != _APPLICATION_ID:
        raise StoreError(f"{shown(path)}: is a database of something else: give the store a folder of its own")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        raise StoreError(
            f"{shown(path)}: has format {version}, and this release of alura_async knows format {_VERSION}: use the "
            "release that made it so (pip install -U alura-async), or give another folder"
        )


@contextmanager
def _closed_on_failure(connection: sqlite3.Connection) -> Generator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def none_error(store: Path) -> StoreError:
    """Why there is no store in a folder, and what to do."""
    if not exists(store):
        if store.is_symlink():
            target = shown(os.readlink(store))
            return StoreError(
                f"{shown(store)}: is a link to {target}, which is not there: check what it should lead to"
            )
        return StoreError(f"{shown(store)}: there is no such folder: check the path", remedy="pull")
    if not store.is_dir():
        return StoreError(f"{shown(store)}: is a file: give the path of a store's folder")
    if has_files(store):
        return StoreError(
            f"{shown(store)}: its manifest is gone ({FOLDER}/{_NAME}): put it back from a copy, or have a new one "
            "made of the Parquet files",
            remedy="repair",
        )
    return StoreError(f"{shown(store)}: is no store of candles: check the path", remedy="pull")


def _why_not(path: Path, error: Exception) -> StoreError:
    """What failed, and what to do."""
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{shown(error.filename or path)}: is not there", remedy="repair")
    return StoreError(_why(path, error))


def _why(path: Path, error: Exception) -> str:
    name = getattr(error, "filename", None)
    where, said = shown(name if isinstance(name, str) else path), printable(str(error))
    code, number = _code(error), error.errno if isinstance(error, OSError) else None
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return (
            f"{where}: another process has kept it locked for more than {_SQLITE_WAITS_S:.0f} s: look for one that "
            "hangs"
        )
    if code == sqlite3.SQLITE_FULL or number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{where}: the disk is full, or a limit of this user is reached: make room and go on, what was recorded is "
            "kept"
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH) or (
        number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
    ):
        return (
            f"{where}: cannot be opened or written ({said}): this user must be allowed to write to the store's folder "
            "and all that is in it; the disk must not be read-only"
        )
    if code == sqlite3.SQLITE_IOERR or number == errno.EIO:
        return f"{where}: reading or writing failed ({said}): the disk may be full, gone or broken"
    return f"{where}: cannot be used: {said}"


def _damaged(path: Path, how: str) -> DamagedManifestError:
    return DamagedManifestError(
        f"{shown(path)}: the manifest is damaged ({printable(how)}); the Parquet files beside it are not touched: "
        "put it back from a copy, or have a new one made of them",
        remedy="repair",
    )


def _code(error: Exception) -> int | None:
    """SQLite's primary result code; the extended ones have it in their last byte."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
