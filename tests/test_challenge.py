"""Which texts a client agrees to sign: human sentences of its own server, and nothing that could harm elsewhere."""

from __future__ import annotations

import base64
import json
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alura_async import AsyncAlura
from alura_async.core import challenge as challenge_module
from alura_async.core.challenge import ChallengeCheck, SignedNonces, check_challenge
from alura_async.errors import ChallengeRefusedError, SignInError
from alura_async.groups.auth import Challenge
from tests.raw_server import RawServer, reply

# The key and address of web3.js's documentation; public, so never of worth.
KEY = "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
OTHER_ADDRESS = "0xF0109fC8DF283027b6285cc889F5aA624EaC1F55"

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
        f"""Welcome to Alura!

Click to sign in and accept the Alura Terms of Service (https://alura.fun/tos) and Privacy Policy.

This request will not trigger a blockchain transaction or cost any gas fees.

Wallet address:
{ADDRESS.lower()}

Nonce:
{NONCE}""",
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
    "EIP-4361 of another chain": (SIWE.replace("42161", "999"), {}),
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


ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
USUAL_NONCES = (
    st.binary(min_size=4, max_size=64).map(bytes.hex)
    | st.binary(min_size=8, max_size=64).map(lambda raw: base64.b64encode(raw).decode())
    | st.binary(min_size=8, max_size=64).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
    | st.text(ALPHANUMERIC, min_size=8, max_size=64)
    | st.text(ALPHANUMERIC + "_-", min_size=21, max_size=21)
    | st.uuids().map(str)
    | st.integers(100_000, 2**256).map(str)
)


@settings(max_examples=500, deadline=None)
@given(
    USUAL_NONCES,
    st.sampled_from(
        ["Sign in to Alura.\nNonce: {}", "Please sign {} to log in", "Alura login, nonce={}.", SIWE + "\n{}"]
    ),
)
def test_no_usual_nonce_is_refused(nonce: str, message: str) -> None:
    accept(message.format(nonce), nonce=nonce)


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
    # whole messages of the standard, for somebody else
    "EIP-4361 with another URI": (
        SIWE.replace("URI: https://testnet-api.alura.fun", "URI: ipfs://evil.eth"),
        "evil",
        {},
    ),
    "EIP-4361 for another address": (SIWE.replace(ADDRESS, OTHER_ADDRESS), "it names 0x", {}),
    "EIP-4361 with another resource": (f"{SIWE}\nResources:\n- https://evil.com/drain", "evil.com", {}),
    "EIP-4361 of another chain and site": (SIWE.replace("42161", "1").replace(HOST, "evil.com"), "evil.com", {}),
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
    ["a", "z", "a.", "zz.", ".", "a-", ":", "::", ":/", "://", "://a", "://a.", "[", "[ ", "{ ", "0", "0x", "f", "0:",
     "1.1.", "@", "\ufdfa", "a\u0301", "https://a@", "://[", "_", "\u3002", "a\u3002", "é.", "xn--.", "Ab'", "\u2a74",
     "-", "/", ":/a/", "0x" + "f" * 39 + " ", "ff:", ".:"],
)  # fmt: skip
def test_judging_takes_no_longer_for_texts_made_to_take_long(piece: str) -> None:
    """Linear time. Shown on a far longer text than is judged, so that anything quadratic would take minutes."""
    length = 300_000 * len(piece) // len(unicodedata.normalize("NFKC", piece))
    text = (WORDS + " " + piece * length)[:length]
    start = time.perf_counter()
    case = challenge_module._Case(text, challenge_module._fold(text), NONCE, ADDRESS, ADDRESS, HOST)
    for rule in challenge_module._POLICY:
        # Each of them, also where an earlier one would have refused.
        rule(case)
    assert time.perf_counter() - start < 6


def test_a_huge_text_is_refused_without_reading_it_all() -> None:
    start = time.perf_counter()
    refuse(WORDS + "\ufdfa" * 2_000_000)
    assert time.perf_counter() - start < 1


# Through the whole client: what the server is sent, and what the wallet is given


class Wallet:
    """Remembers what it was given to sign."""

    address = ADDRESS

    def __init__(self) -> None:
        self.signed: list[str] = []

    async def sign_message(self, text: str, /) -> str:
        self.signed.append(text)
        return "0x" + "5e" * 65


TOKEN = reply('{"ok":true,"accessToken":"t0ken","tokenType":"Bearer","expiresIn":86400}', "201 Created")


def challenged(raw: RawServer, **fields: str) -> None:
    """Have the server offer this."""
    raw.routes["/auth/evm/challenge"] = [reply(json.dumps(fields), "201 Created")]
    raw.routes["/auth/evm/verify"] = [TOKEN]


@pytest.mark.anyio
@pytest.mark.parametrize("name", HOSTILE)
async def test_nothing_hostile_is_signed_and_nothing_is_verified(raw: RawServer, name: str) -> None:
    message, _, case = HOSTILE[name]
    wallet = Wallet()
    challenged(raw, address=case.get("asked", ADDRESS), nonce=case.get("nonce", NONCE), message=message)
    async with AsyncAlura(wallet, base_url=raw.url) as alura:
        # Half a surrogate pair is no JSON, so it is no challenge either; a body of many brackets is not read where
        # something else in the process has raised Python's limit of recursion.
        no_challenge = ("half a surrogate pair", "deep JSON")
        with pytest.raises(SignInError if name in no_challenge else ChallengeRefusedError):
            await alura.auth.login()
        with pytest.raises(SignInError):
            await alura.user.profile()
    assert wallet.signed == []
    assert set(raw.paths()) == {"POST /auth/evm/challenge"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "{}",
        '"sign this"',
        "<html>",
        json.dumps({"address": ADDRESS, "message": WORDS}),
        json.dumps({"address": ADDRESS, "nonce": None, "message": WORDS}),
        json.dumps({"address": ADDRESS, "nonce": NONCE, "message": {"primaryType": "Permit", "nonce": NONCE}}),
    ],
    ids=range(9),
)
async def test_what_is_no_challenge_is_not_signed(raw: RawServer, body: str) -> None:
    wallet = Wallet()
    raw.routes["/auth/evm/challenge"] = [reply(body, "201 Created")]
    async with AsyncAlura(wallet, base_url=raw.url) as alura:
        with pytest.raises(SignInError):
            await alura.user.profile()
    assert wallet.signed == []
    assert set(raw.paths()) == {"POST /auth/evm/challenge"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, (message, case) in GOOD.items()
        # Those that name no host: this server's is an IP address.
        if set(case) <= {"nonce", "asked"} and "alura.fun" not in message.lower()
    ],
)
async def test_plain_sentences_are_signed_as_they_are(raw: RawServer, name: str) -> None:
    message, case = GOOD[name]
    wallet = Wallet()
    challenged(raw, address=case.get("asked", ADDRESS), nonce=case.get("nonce", NONCE), message=message)
    async with AsyncAlura(wallet, base_url=raw.url) as alura:
        await alura.auth.login()
    assert wallet.signed == [message]
    assert raw.paths()[1] == "POST /auth/evm/verify"


@pytest.mark.anyio
async def test_a_nonce_that_was_used_is_not_signed_again(raw: RawServer) -> None:
    wallet = Wallet()
    challenged(raw, address=ADDRESS, nonce=NONCE, message=WORDS)
    async with AsyncAlura(wallet, base_url=raw.url) as alura:
        await alura.auth.login()
        for text in (WORDS, WORDS + " again"):
            challenged(raw, address=ADDRESS, nonce=NONCE, message=text)
            with pytest.raises(ChallengeRefusedError, match=f"nonce '{NONCE}' was used before"):
                await alura.auth.login()
        challenged(raw, address=ADDRESS, nonce=NONCE + "2", message=WORDS + "2")
        await alura.auth.login()
    assert wallet.signed == [WORDS, WORDS + "2"]
    assert raw.paths().count("POST /auth/evm/verify") == 2


@pytest.mark.anyio
async def test_a_nonce_whose_verification_failed_is_signed_again_with_the_same_text_only(raw: RawServer) -> None:
    """Many servers keep a nonce until it was verified, and the same text tells nobody anything new."""
    wallet = Wallet()
    challenged(raw, address=ADDRESS, nonce=NONCE, message=WORDS)
    raw.routes["/auth/evm/verify"] = [reply('{"message":"try later"}', "401 Unauthorized")]
    async with AsyncAlura(wallet, base_url=raw.url) as alura:
        with pytest.raises(SignInError, match="try later"):
            await alura.auth.login()
        challenged(raw, address=ADDRESS, nonce=NONCE, message=WORDS + " differently")
        with pytest.raises(ChallengeRefusedError, match="was used before"):
            await alura.auth.login()
        challenged(raw, address=ADDRESS, nonce=NONCE, message=WORDS)
        await alura.auth.login()
    assert wallet.signed == [WORDS, WORDS]


@pytest.mark.anyio
async def test_a_policy_of_the_users_own_decides_about_nonces_too(raw: RawServer) -> None:
    wallet = Wallet()
    challenged(raw, address=ADDRESS, nonce=NONCE, message=WORDS)
    async with AsyncAlura(wallet, base_url=raw.url, check_challenge=lambda challenge, **about: None) as alura:
        await alura.auth.login()
        await alura.auth.login()
    assert wallet.signed == [WORDS, WORDS]


def test_the_memory_of_nonces_is_bounded() -> None:
    nonces = SignedNonces()
    for number in range(10_050):
        nonces.note(Challenge(address=ADDRESS, nonce=f"nonce-{number}", message="x"))
    assert len(nonces._texts) == 10_000
    with pytest.raises(ChallengeRefusedError):
        nonces.check(Challenge(address=ADDRESS, nonce="nonce-10049", message="y"))
