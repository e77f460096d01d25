"""Which texts a client agrees to sign: the policy that a challenge must meet."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..errors import ChallengeRefusedError
from .text import clip, is_unsafe, printable

if TYPE_CHECKING:
    from ..groups.auth import Challenge


class ChallengeCheck(Protocol):
    """A policy for texts to sign: return to agree, raise `ChallengeRefusedError` to refuse."""

    def __call__(self, challenge: Challenge, /, *, address: str, host: str) -> None:
        """Judge one challenge; `address` is the wallet's, `host` the API's."""
        ...


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

    With this policy a client also refuses a nonce that it has used before. Which chain a text names is not judged:
    nobody documents the server's, and a text that is for this server alone does no harm elsewhere.

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


class SignedNonces:
    """Which nonces a client has signed, so that each is used once.

    A nonce is used up by the sign-in that succeeds with it. Until then the server may offer it again, as many do whose
    verification was lost or failed, though only with the very same text: signing that tells nobody anything new.
    """

    def __init__(self) -> None:
        # The texts that were signed, by nonce; empty once it is used up. As digests: a server chooses their length.
        self._texts: dict[bytes, bytes] = {}

    def check(self, challenge: Challenge) -> None:
        """Refuse to sign what was used up, or signed with another text.

        Raises:
            ChallengeRefusedError: the nonce is not new.
        """
        text = self._texts.get(_digest(challenge.nonce))
        if text is not None and text != _digest(challenge.message):
            raise ChallengeRefusedError(
                f"refused to sign, because its nonce {_quoted(challenge.nonce, 60)} was used before. Nothing was "
                f"signed. If this server's nonces may be used twice, pass a policy of your own as check_challenge=. "
                f"The text is: {_quoted(challenge.message, 600)}"
            )

    def note(self, challenge: Challenge) -> None:
        """Note that it is about to be signed."""
        if len(self._texts) >= _MAX_NONCES:
            del self._texts[next(iter(self._texts))]
        self._texts[_digest(challenge.nonce)] = _digest(challenge.message)

    def use_up(self, challenge: Challenge) -> None:
        """Note that the server took its signature."""
        self._texts[_digest(challenge.nonce)] = b""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


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
# Years of sign-ins.
_MAX_NONCES = 10_000
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
