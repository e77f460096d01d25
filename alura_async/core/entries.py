"""Entries as values: how one is made of a call, what a conclusion makes of it, what it forbids."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from ..errors import InvalidArgumentError, Outcome, UnresolvedError
from ..journal import JournalEntry, SettledBy
from .decode import NOT_DECODED, parse
from .request import Action
from .text import BLANK, clip, printable, redact, shown

if TYPE_CHECKING:
    from .request import Request

_DETAIL_LIMIT = 500
_BODY_LIMIT = 64 * 1024
_LONGEST_CALL = timedelta(days=365)
# Fields whose values are secret, whatever they look like; punctuation and case are dropped first.
_SECRET_NAME = re.compile(
    r"token|signature|secret|password|passphrase|mnemonic|privatekey|tradingkey|agentkey|apikey|jwt|authorization"
    r"|transaction|^key$|^sig$|^seed"
)
_NOT_A_LETTER = re.compile(r"[^a-z0-9]")
# As much as a body of ours may hold, so that no text takes long to be read.
_NUMBER = re.compile(r"[+-]?[0-9]{1,400}(?:\.[0-9]{0,400})?(?:e[+-]?[0-9]{1,3})?", re.ASCII)
_ID = re.compile(r"[0-9a-f]{6,32}")
_SLASHES = re.compile("/{2,}")
_LOCALHOST = (ip_address("127.0.0.1"), ip_address("::1"))

MADE_NOTHING = (Outcome.NOT_SENT, Outcome.REJECTED)
"""What is known of calls that moved no money."""


def intent(request: Request[Any], *, host: str, account: str, within_s: float) -> JournalEntry:
    """The entry of a call that is about to be made, with a new id.

    Args:
        request: the call.
        host: the server.
        account: the wallet's address, or what the token says of its owner; may be empty.
        within_s: seconds after which the call is over in any case.
    """
    now = datetime.now(UTC)
    target = f"{request.path}?{request.query}" if request.query else request.path
    return JournalEntry(
        id=uuid4().hex,
        created_at=now,
        expires_at=now + timedelta(seconds=min(within_s, _LONGEST_CALL.total_seconds())),
        host=host.lower(),
        account=account.lower(),
        method=request.method,
        path=request.path,
        action=request.route.action,
        body=_without_secrets(request.body),
        fingerprint=fingerprint(request.method, target, request.body),
        pid=os.getpid(),
    )


def fingerprint(method: str, path: str, body: bytes | None) -> str:
    """Text that is equal for two calls that ask for the same thing.

    The order of a body's keys, the spelling of its numbers (`5`, `5.0`, `"5"`) and the case of its texts make no
    difference.

    Args:
        method: the HTTP method.
        path: the path with its query.
        body: the body as it is sent.
    """
    return sha256(msgspec.json.encode([method, path, _canonical(body)])).hexdigest()


def asks_for_the_same(earlier: JournalEntry, entry: JournalEntry) -> bool:
    """Whether two calls ask, or may ask, for the same thing of one account."""
    return earlier.fingerprint == entry.fingerprint and may_be_of_one_account(earlier, entry)


def may_be_of_one_account(one: JournalEntry, other: JournalEntry) -> bool:
    """Whether two calls are, or may be, of one account on one server."""
    return is_one_server(one.host, other.host) and may_be_one_account(one.account, other.account)


def may_be_one_account(one: str, other: str) -> bool:
    """Whether two names of accounts are, or may be, those of one.

    Two wallets are two accounts. But a token says of its owner what it likes, mostly a user's id, so that one account
    has two names where it is used once with its wallet and once with a token; and of some calls nobody knows whose
    they are.
    """
    are_wallets = one.startswith("0x") and other.startswith("0x")
    return one == other or not are_wallets


def is_one_server(one: str, other: str) -> bool:
    """Whether two base URLs are those of one server, however they are written."""
    return one == other or _plain_server(one) == _plain_server(other)


def may_have_made(create: JournalEntry, sessions: Collection[str]) -> bool:
    """Whether a create has made, or may have made, one of some sessions.

    Args:
        create: its entry.
        sessions: the sessions' ids.
    """
    if create.result_id is not None:
        return create.result_id in sessions
    return create.outcome not in MADE_NOTHING


def creates_of(
    entries: Iterable[JournalEntry], host: str, at: datetime, sessions: Collection[str]
) -> list[JournalEntry]:
    """The creates among entries that may have made one of some sessions.

    Args:
        entries: the entries.
        host: the server.
        at: those that are done, and nobody knows what they made, only if they were written then or later. The others
            always: the clock may have been set since.
        sessions: the sessions' ids.
    """
    return [
        entry
        for entry in entries
        if entry.action is Action.OPEN
        and (entry.created_at >= at or not entry.is_resolved or entry.result_id is not None)
        and may_have_made(entry, sessions)
        and is_one_server(entry.host, host)
    ]


class Conclusion(msgspec.Struct, frozen=True):
    """What became of a call."""

    entry_id: str
    outcome: Outcome
    by: SettledBy
    at: datetime
    detail: str
    result_id: str | None

    @classmethod
    def now(cls, entry_id: str, outcome: Outcome, by: SettledBy, detail: str, result_id: str | None) -> Conclusion:
        """A conclusion of this moment, its texts made fit to be shown."""
        # As it is: it is compared with what the server lists.
        result_id = None if result_id is None else clip(printable(result_id), _DETAIL_LIMIT)
        return cls(entry_id, outcome, by, datetime.now(UTC), shown(detail, _DETAIL_LIMIT), result_id)

    def of(self, entry: JournalEntry) -> JournalEntry:
        """The entry with this. What is known already does not become unknown again."""
        if entry.is_resolved and self.outcome is Outcome.UNKNOWN:
            return entry
        is_known = self.outcome is not Outcome.UNKNOWN
        return msgspec.structs.replace(
            entry,
            outcome=self.outcome,
            settled_at=self.at if is_known else None,
            settled_by=self.by if is_known else None,
            detail=self.detail or entry.detail,
            result_id=self.result_id or entry.result_id,
        )

    def then(self, later: Conclusion) -> Conclusion:
        """Both as one."""
        if later.outcome is Outcome.UNKNOWN:
            return self
        return msgspec.structs.replace(
            later, detail=later.detail or self.detail, result_id=later.result_id or self.result_id
        )

    def __str__(self) -> str:
        what = "is unknown" if self.outcome is Outcome.UNKNOWN else f"is {self.outcome.value}"
        return f"what became of call {printable(self.entry_id)} {what}"


def settled(entry: JournalEntry, outcome: Outcome, note: str, under_way: Collection[str]) -> JournalEntry:
    """An entry as somebody settles it.

    Raises:
        InvalidArgumentError: there is nothing to settle, or not yet.
    """
    if entry.id in under_way:
        raise InvalidArgumentError(f"entry {entry.id}: its call is under way in this process: wait for its result")
    if entry.may_be_under_way:
        raise InvalidArgumentError(
            f"entry {entry.id}: process {entry.pid} may still be making this call, until {_moment(entry.expires_at)} "
            "at the latest: settle it then"
        )
    if entry.is_resolved:
        assert entry.outcome is not None  # it is resolved
        how = f" by {entry.settled_by.value}" if entry.settled_by is not None else ""
        when = f" at {_moment(entry.settled_at)}" if entry.settled_at is not None else ""
        raise InvalidArgumentError(
            f"entry {entry.id}: is resolved already: {entry.outcome.value},{how}{when}; what is known is not changed"
        )
    noted = f"note: {shown(note, _DETAIL_LIMIT)}" if note.strip() else ""
    return msgspec.structs.replace(
        entry,
        outcome=outcome,
        settled_at=datetime.now(UTC),
        settled_by=SettledBy.HAND,
        detail="; ".join(part for part in (entry.detail, noted) if part),
    )


def as_prefix(entry_id: str) -> str:
    """An id, or the beginning of one, as entries have it.

    Raises:
        InvalidArgumentError: it cannot be one, or is too short.
    """
    prefix = entry_id.strip().lower() if isinstance(entry_id, str) else ""
    if not _ID.fullmatch(prefix):
        raise InvalidArgumentError(
            f"entry_id={clip(printable(str(entry_id)), 80)!r}: give the entry's id, or at least 6 digits of its "
            "beginning"
        )
    return prefix


def the_only(prefix: str, found: list[JournalEntry]) -> JournalEntry:
    """The one entry whose id begins like this.

    Raises:
        InvalidArgumentError: there is none, or there are several.
    """
    if not found:
        raise InvalidArgumentError(f"entry_id={prefix!r}: there is no such entry in this journal")
    if len(found) > 1:
        several = ", ".join(entry.id for entry in found)
        raise InvalidArgumentError(f"entry_id={prefix!r}: several begin like this ({several}): give more of it")
    return found[0]


def blocked(earlier: JournalEntry, entry: JournalEntry, path: Path | None) -> UnresolvedError:
    """Why a call is not made, and what to do.

    Args:
        earlier: what forbids it.
        entry: the call.
        path: the journal that has both, if it is a file.
    """
    call = f"{printable(earlier.method)} {printable(earlier.path)}"
    made = f"at {_moment(earlier.created_at)} by process {earlier.pid}"
    if earlier.may_be_under_way:
        state = f"may still be under way, until {_moment(earlier.expires_at)} at the latest; if it is not resolved then"
    else:
        state = "nobody knows whether it was carried out"
    ways = f'alura.journal.settle("{earlier.id}", "done") if it was, "rejected" if it was not'
    if path is not None:
        ways += f"; or, in a terminal, {journal_command(path)} settle {earlier.id} done|rejected"
    return UnresolvedError(
        f"{call} was not sent: an identical call was made {made}, and {state}: look at what your account shows "
        f"(sessions, positions, balance), then say so: {ways}{two_names(earlier.account, entry.account)}",
        entry_id=earlier.id,
    )


def two_names(earlier: str, account: str) -> str:
    """What to do where an earlier call counts though it was made under another name; empty where it was not."""
    if earlier == account:
        return ""
    return (
        f" (the calls are of {_account(earlier)} and of {_account(account)}, which may be one: if they are two, give "
        "each a journal of its own; if they are one, always use its wallet)"
    )


def _account(name: str) -> str:
    return f"the account {shown(name, 80)}" if name else "an account that is not known"


@lru_cache(256)
def _plain_server(host: str) -> tuple[str, str, int | None, str] | str:
    """A base URL with nothing left that can be written in several ways."""
    # aiohttp has it in any case, and nothing is compared before the first call.
    from yarl import URL

    try:
        url = URL(host.lower())
        name, port = (url.raw_host or "").rstrip("."), url.port
    except ValueError:
        return host
    if not name:
        return host.lower()
    try:
        address = ip_address(name)
    except ValueError:
        pass
    else:
        address = getattr(address, "ipv4_mapped", None) or address
        # Which of its two addresses `localhost` leads to is decided anew for each connection.
        name = "localhost" if address in _LOCALHOST else str(address)
    return url.scheme, name, port, _SLASHES.sub("/", url.path).rstrip("/")


def journal_command(path: str | Path, program: str = "alura") -> str:
    """The command line that shows a journal, to copy.

    Args:
        path: the journal.
        program: what the command is called by.
    """
    quoted = subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))
    return f"{program} journal {printable(quoted)}"


def _moment(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _without_secrets(body: bytes | None) -> str:
    """A body as it may lie in a file, still JSON."""
    if not body:
        return ""
    try:
        value = parse(body)
        kept = _redacted(value)
    except NOT_DECODED:
        return shown(body.decode("utf-8", "replace"), _BODY_LIMIT)
    # As it was sent, where nothing had to be blanked out.
    text = body.decode() if kept == value else _encoder.encode(kept).decode()
    return clip(text, _BODY_LIMIT)


_encoder = msgspec.json.Encoder(decimal_format="number")


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    if isinstance(value, dict):
        return {redact(name): BLANK if _is_secret(name) else _redacted(item) for name, item in value.items()}
    return value


def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(_NOT_A_LETTER.sub("", name.lower())) is not None


def _canonical(body: bytes | None) -> str:
    if not body:
        return ""
    try:
        return msgspec.json.encode(_plain(parse(body)), order="sorted").decode()
    except NOT_DECODED:
        return sha256(body).hexdigest()


def _plain(value: Any) -> Any:
    """A value with nothing left that can be written in several ways: addresses in any case, numbers also as text."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        value = value.strip().casefold()
        return _plain(Decimal(value)) if _NUMBER.fullmatch(value) else value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        sign, digits, exponent = Decimal(value).as_tuple()
        written = "".join(map(str, digits)).lstrip("0")
        significant = written.rstrip("0")
        # Not `normalize`, which rounds to the precision of whatever context the caller has.
        exponent = exponent + len(written) - len(significant) if significant and isinstance(exponent, int) else 0
        return msgspec.Raw(f"{'-' if sign and significant else ''}{significant or 0}e{exponent}".encode())
    return value
