"""A store's Parquet files: one for each month of a series, in folders that every reader of Hive partitions understands.

interval=1m/symbol=BTC/month=2026-01/candles.parquet
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from ..core.disk import sync_folder
from ..core.text import printable
from ..errors import InvalidArgumentError, StoreError
from .columns import Candles
from .extra import needing
from .manifest import FileFacts, explained, shown
from .query import CandleQuery
from .ranges import Range

with needing("numpy"):
    import numpy as np
with needing("polars"):
    import polars as pl

NAME = "candles.parquet"
"""A month's file."""

# Only who holds the store's lock has one, so that an old one was left by a crash. No reader takes it for a file.
_DRAFT = ".candles.tmp"
_DAMAGED = "candles.parquet.damaged"
# What a name keeps as it is. The other case is written as %XX, or `kPEPE` and `KPEPE`, `1m` and `1M` would be one
# folder where case does not count; so is whatever some file system does not take, or takes for something else.
_CAPITALS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_SMALL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_DATES = frozenset(("INF", "INFINITY", "EPOCH"))
# File systems take no more than 255 bytes for a name.
_LONGEST = 240
# Windows replaces no file that somebody is reading.
_PATIENCE_S = 5.0
_LOOK_AGAIN_S = 0.05
_KEY = "alura_async"
_MONTH = np.timedelta64(1, "M")
_MONTH_NAME = re.compile(r"\d{4}-(0[1-9]|1[0-2])", re.ASCII)
_NUMBERS = ("open", "high", "low", "close", "volume")
_SCHEMA = {
    "open_time": pl.Datetime("ms", "UTC"),
    **dict.fromkeys(_NUMBERS, pl.Float64()),
    "trades": pl.Int32(),
}
# Of a candle that waits for its file: its time, five numbers, its trades.
_ROW_BYTES = 8 + 5 * 8 + 4


class DamagedError(StoreError):
    """Something in a store is not what was written there."""


class Notes(msgspec.Struct, frozen=True):
    """What a file says of itself, so that a manifest can be made anew of the files.

    Attributes:
        origin: the server that the candles are of.
        asked: for which ranges the series had been asked for, of any month.
        covered: for which ranges of the month the server had answered.
        as_of: the server's time when it last told of the series.
        query: how the server wants to be asked, where somebody has said so.
    """

    origin: str
    asked: list[Range]
    covered: list[Range]
    as_of: int | None = None
    query: CandleQuery | None = None


# Names


def folder_of(symbol: str, interval: str, month: str) -> Path:
    """Where a month of a series is, from the store's folder on.

    Raises:
        InvalidArgumentError: the names are too long for a folder's.
    """
    parts = (
        f"interval={_encoded(interval, _SMALL)}",
        f"symbol={_as_text(_encoded(symbol, _CAPITALS))}",
        f"month={month}",
    )
    for part in parts:
        if len(part) > _LONGEST:
            raise InvalidArgumentError(f"{part[:40]}...: too long for the name of a folder, so it cannot be stored")
    return Path(*parts)


def named_by(folder: Path) -> tuple[str, str, str] | None:
    """Symbol, interval and month of a folder in a store's; None where it is none that a store would make."""
    found = {key: unquote(value) for key, _, value in (part.partition("=") for part in folder.parts)}
    if list(found) != ["interval", "symbol", "month"]:
        return None
    symbol, interval, month = found["symbol"], found["interval"], found["month"]
    is_ours = _MONTH_NAME.fullmatch(month) and folder.parts == folder_of(symbol, interval, month).parts
    return (symbol, interval, month) if is_ours else None


def _as_text(name: str) -> str:
    """A name that DuckDB does not take for a number or a date: with the first character as %XX it is text."""
    is_no_word = not any(character.isalpha() for character in name) or name in _DATES
    return f"%{ord(name[0]):02X}{name[1:]}" if is_no_word and name[:1] not in ("", "%") else name


def _encoded(text: str, kept: frozenset[str]) -> str:
    return "".join(
        character if character in kept else "".join(f"%{byte:02X}" for byte in character.encode()) for character in text
    )


# Months


def month_range(month: str) -> Range:
    """The milliseconds of a month, such as `2026-01`.

    Raises:
        ValueError: it is none.
    """
    first = np.datetime64(month, "M")
    start, end = (int(moment.astype("datetime64[ms]").astype(np.int64)) for moment in (first, first + _MONTH))
    return start, end


def months_of(start_ms: int, end_ms: int) -> list[str]:
    """The months of [start, end)."""
    if start_ms >= end_ms:
        return []
    first, last = (np.datetime64(ms, "ms").astype("datetime64[M]") for ms in (start_ms, end_ms - 1))
    return [str(month) for month in np.arange(first, last + _MONTH)]


def by_month(candles: Candles) -> Iterator[tuple[str, Candles]]:
    """The candles of each month."""
    if not len(candles):
        return
    months = candles.open_time.astype("datetime64[M]")
    edges = [0, *(np.flatnonzero(months[1:] != months[:-1]) + 1).tolist(), len(candles)]
    for first, end in pairwise(edges):
        yield str(months[first]), candles[first:end]


# Candles as bytes, while they wait for their file


def packed(candles: Candles) -> bytes:
    """The columns one after the other."""
    columns = [getattr(candles, name).astype("<f8", copy=False).tobytes() for name in _NUMBERS]
    times, trades = candles.open_time.view(np.int64).astype("<i8", copy=False), candles.trades.filled(-1)
    return b"".join((times.tobytes(), *columns, trades.astype("<i4", copy=False).tobytes()))


def unpacked(content: bytes, symbol: str, interval: str, as_of: int | None) -> Candles:
    """The candles that `packed` made bytes of."""
    rows = len(content) // _ROW_BYTES
    numbers = np.frombuffer(content, "<f8", 5 * rows, 8 * rows).reshape(5, rows)
    return Candles(
        symbol,
        interval,
        open_time=np.frombuffer(content, "<i8", rows),
        **dict(zip(_NUMBERS, numbers, strict=True)),
        trades=np.frombuffer(content, "<i4", rows, 48 * rows),
        closed=np.ones(rows, np.bool_),
        as_of_ms=as_of,
    )


# Files


def read(path: Path, within: Range) -> pl.DataFrame:
    """The rows of a file whose open time is in [start, end).

    Raises:
        StoreError: it is missing or cannot be read.
    """
    _require_working_polars()
    start, end = (pl.lit(moment).cast(pl.Datetime("ms", "UTC")) for moment in within)
    opened = pl.col("open_time")
    try:
        # As a whole: polars opens a file by its name several times, and in between a writer may have replaced it.
        content = path.read_bytes()
    except FileNotFoundError:
        raise DamagedError(f"{shown(path)}: is missing", remedy="repair") from None
    except OSError as error:
        with explained(path):
            raise error
    return _frame(path, content).filter((opened >= start) & (opened < end))


def joined(frames: Sequence[pl.DataFrame], symbol: str, interval: str, as_of: int | None) -> Candles:
    """The candles of some files of a series."""
    if not frames:
        return Candles.empty(symbol, interval, as_of)
    _require_working_polars()
    return _candles(pl.concat(frames, rechunk=True), symbol, interval, as_of)


def parsed(path: Path, content: bytes, symbol: str, interval: str) -> Candles:
    """The candles of a file's bytes.

    Raises:
        StoreError: they are none.
    """
    return _candles(_frame(path, content), symbol, interval, None)


def times_of(path: Path, content: bytes) -> Any:
    """The open times of a file's bytes in their order there, epoch milliseconds.

    Raises:
        StoreError: they are none.
    """
    return _frame(path, content)["open_time"].to_physical().to_numpy()


def notes_of(content: bytes) -> Notes | None:
    """What a file says of itself; None where it says nothing that a store's file would."""
    _require_working_polars()
    try:
        told = pl.read_parquet_metadata(BytesIO(content)).get(_KEY)
        return None if told is None else msgspec.json.decode(told, type=Notes)
    except (pl.exceptions.PolarsError, msgspec.MsgspecError):
        return None


def written(candles: Candles, notes: Notes) -> tuple[bytes, FileFacts]:
    """A Parquet file's bytes, and what the manifest is to know of them."""
    _require_working_polars()
    trades = pl.Series(candles.trades.filled(-1), dtype=pl.Int32)
    frame = pl.DataFrame(
        {
            "open_time": pl.Series(candles.open_time.view(np.int64)).cast(pl.Datetime("ms", "UTC")),
            **{name: pl.Series(getattr(candles, name), nan_to_null=name == "volume") for name in _NUMBERS},
            "trades": trades.set(trades < 0, None),
        },
        schema=_SCHEMA,
    )
    buffer = BytesIO()
    frame.write_parquet(
        buffer, compression="zstd", statistics=True, metadata={_KEY: msgspec.json.encode(notes).decode()}
    )
    content = buffer.getvalue()
    return content, facts_of(candles, content)


def facts_of(candles: Candles, content: bytes) -> FileFacts:
    """What the manifest is to know of a file."""
    first, last = (int(moment) for moment in candles.open_time.view(np.int64)[[0, -1]]) if len(candles) else (0, 0)
    return FileFacts(len(candles), first, last, len(content), checksum(content))


def checksum(content: bytes) -> str:
    """What a file's bytes are recognised by: `sha256sum` says the same."""
    return hashlib.sha256(content).hexdigest()


def draft(store: Path, folder: Path, content: bytes) -> Path:
    """Write a file beside the one that it is to become, onto the disk.

    Raises:
        StoreError: it cannot be written.
    """
    path = store / folder / _DRAFT
    with explained(path):
        _make_folders(store, folder)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    return path


def put_in_place(draft: Path) -> None:
    """Make a draft the month's file, in one step.

    Raises:
        StoreError: it cannot be replaced.
    """
    path = draft.with_name(NAME)
    until = time.monotonic() + _PATIENCE_S
    with explained(path):
        while True:
            try:
                os.replace(draft, path)
            except PermissionError:
                if os.name != "nt" or time.monotonic() >= until:
                    raise
                time.sleep(_LOOK_AGAIN_S)
            else:
                break
        sync_folder(path.parent)


def set_aside(path: Path) -> Path | None:
    """Take a damaged file out of every reader's sight, and keep it.

    Returns:
        Where it is now; None where there is none.
    """
    aside = path.with_name(_DAMAGED)
    with explained(path):
        try:
            os.replace(path, aside)
        except FileNotFoundError:
            return None
        sync_folder(path.parent)
    return aside


def remove(store: Path, folder: Path) -> None:
    """Delete the files of a series, and its folders unless somebody has put something else there.

    Args:
        store: the store's folder.
        folder: the series', in it.

    Raises:
        StoreError: one cannot be deleted.
    """
    with explained(store / folder):
        for month in sorted((store / folder).glob("month=*")):
            for name in (NAME, _DRAFT, _DAMAGED):
                (month / name).unlink(missing_ok=True)
            with suppress(OSError):
                month.rmdir()
    for emptied in (store / folder, (store / folder).parent):
        with suppress(OSError):
            emptied.rmdir()


def _frame(path: Path, content: bytes) -> pl.DataFrame:
    _require_working_polars()
    try:
        frame = pl.read_parquet(BytesIO(content), hive_partitioning=False)
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, error) from error
    if frame.schema != _SCHEMA:
        raise DamagedError(f"{shown(path)}: has other columns than a store's files", remedy="repair")
    return frame


def _require_working_polars() -> None:
    """Refuse to call polars where it would wait for ever: a fork has none of the threads that its parent's has begun.

    Raises:
        StoreError: this process was forked after polars had been used.
    """
    process = os.getpid()
    if _polars_in and process not in _polars_in:
        raise StoreError(
            "this process was forked from one that had used a store, where polars hangs: start processes with "
            "multiprocessing.get_context('spawn'), or fork before the first use"
        )
    _polars_in.add(process)


# The process in which polars has begun its threads; a forked one finds its parent's here.
_polars_in: set[int] = set()


def _make_folders(store: Path, folder: Path) -> None:
    """Make the folders that are missing, so that they survive the machine's crash with what is in them."""
    missing = [part for part in (*reversed(folder.parents), folder) if not (store / part).is_dir()]
    for part in missing:
        (store / part).mkdir(exist_ok=True)
        sync_folder((store / part).parent)


def _candles(frame: pl.DataFrame, symbol: str, interval: str, as_of: int | None) -> Candles:
    return Candles(
        symbol,
        interval,
        open_time=frame["open_time"].to_physical().to_numpy(),
        **{name: frame[name].fill_null(np.nan).to_numpy() for name in _NUMBERS},
        trades=frame["trades"].fill_null(-1).to_numpy(),
        closed=np.ones(len(frame), np.bool_),
        as_of_ms=as_of,
    )


def _unreadable(path: Path, error: Exception) -> DamagedError:
    said = str(error).partition("\n")[0]
    return DamagedError(f"{shown(path)}: cannot be read ({printable(said)})", remedy="repair")
