"""Passwords and secrets that only their names give away: `password = "…"`, `token: …`, `scheme://user:password@host`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from math import log2

from oblix.decision.privacy.folding import Folded
from oblix.types.privacy import Finding

ENTROPY = 3.0  # bits a character: random hex has 3.3 at 16 characters, random base64 3.6; words and numbers of a series have less
SHORTEST_SECRET = 16

_SET = rb"[\"'`]?\s{0,3}(?:=>|:=|==?|:)\s{0,3}"
_VALUE = rb"(?:\"([^\"\n]{4,200})\"|'([^'\n]{4,200})'|`([^`\n]{4,200})`|([^\s\"'`,;]{6,200}))"
_BARE = 4  # number of the last group
_PASSWORD_NAMES = (b"pass", b"pwd", b"kennwort", b"contrase")
_PASSWORDS = (rb"pass(?:word|wd|phrase|wort|code)?[0-9]{0,2}", rb"pwd", rb"kennwort", rb"contrase[?n]a")
_SAID = rb" {1,2}(?:is|ist|est|es|lautet):? {1,2}"
_FLAG = rb"(?<=--pass) |(?<=--password) |(?<=--passwd) |(?<=--passphrase) "
_PASSWORD = tuple(
    re.compile(name + rb"(?:" + _SET + rb"|" + _SAID + rb"|" + _FLAG + rb")" + _VALUE) for name in _PASSWORDS
)
_SECRET_NAMES = (b"secret", b"token", b"credential", b"key")
_SECRET = tuple(re.compile(name + rb"s?[0-9]{0,2}" + _SET + _VALUE) for name in _SECRET_NAMES)
_KEY_OWNERS = (
    b"api", b"access", b"secret", b"private", b"account", b"auth", b"signing", b"encryption", b"master", b"shared", b"license",
)  # fmt: skip
_NO_VALUE = re.compile(
    rb"(?i)[<{$%*(\[&/~.]|x{3}|.{0,12}?your|my[_-]|change|example|dummy|placeholder|todo|none|null|true|false|undefined|redacted"
    rb"|insert|enter|required|optional|string|process\.|os\.|env\b|pass(?:word|wort)?$|secret$|.*\.\.\."
)
_REFERENCE = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*(?:[.(\[{:|].*|$)")
_PASS = re.compile(rb"(?i)pass\b")
_CALL = re.compile(rb"[(\[{]")
_SCOPED = re.compile(rb"::\w*\Z")
_TOKEN = re.compile(rb"[A-Za-z0-9+/=_.~:-]+")
_URL = re.compile(rb"://(?<=[a-zA-Z0-9]://)[^\s/:@\"'<>]{0,64}:([^\s/@\"'<>]{1,128})@(?=[A-Za-z0-9\[_?-])")

SIGN = (
    rb"(?i:(?:" + b"|".join(_PASSWORDS) + rb")(?:" + _SET + rb"|" + _SAID + rb")|--pass[a-z]{0,6} "
    rb"|(?:" + b"|".join(_SECRET_NAMES) + rb")s?[0-9]{0,2}" + _SET + rb")"
)
URL_SIGN = rb"://"


def has_name(text: Folded) -> bool:
    """Whether something could be called a password or a secret."""
    return any(name in text.lower for name in _PASSWORD_NAMES + _SECRET_NAMES)


def has_url(text: Folded) -> bool:
    """Whether a link could be there."""
    return URL_SIGN in text.raw


def find(text: Folded) -> Iterator[Finding]:
    """The values that are given to names of passwords and secrets; no placeholder, no variable, no call."""
    for name, pattern in zip(_PASSWORD_NAMES, _PASSWORD, strict=True):
        if name in text.lower:
            for found in pattern.finditer(text.lower):
                yield from _password(text, found)
    for name, pattern in zip(_SECRET_NAMES, _SECRET, strict=True):
        if name in text.lower:
            for found in pattern.finditer(text.lower):
                yield from _secret(text, found)


def _password(text: Folded, found: re.Match[bytes]) -> Iterator[Finding]:
    start, end, is_bare = _value(text, found)
    named, value = text.raw[found.start() : start], text.raw[start:end]
    fits = _is_bare_password if is_bare else _is_quoted_password
    if fits(value, named) and not _NO_VALUE.match(value):
        yield Finding("password", start, end)


def _value(text: Folded, found: re.Match[bytes]) -> tuple[int, int, bool]:
    """Where the value stands, and whether without quotes; what ends a sentence or a list is not of it then."""
    which = found.lastindex or 0
    start, end = found.span(which)
    is_bare = which == _BARE
    return start, start + len(text.raw[start:end].rstrip(b".,;:)]}>")) if is_bare else end, is_bare


def _is_bare_password(value: bytes, named: bytes) -> bool:
    """Whether a word after `password` is one. In capitals (`DB_PASSWORD=…`) it may be a plain word: so environments are written.

    Else it has digits (`hunter2`); with an underscore, a dot or a bracket it is rather a variable or a call.
    """
    if b"=" in named and named.rstrip(b" =").isupper():
        return len(value) >= 6 and not _CALL.search(value)
    if value.isdigit():
        return not _PASS.match(named)  # `pass: 123456` counts tests
    return (_is_mixed(value) and not _REFERENCE.fullmatch(value)) or (value.isalnum() and not value.isalpha())


def _is_quoted_password(value: bytes, named: bytes) -> bool:
    """Whether a text in quotes is no label and no rule of a form; only a passphrase has blanks."""
    if b"|" in value or (b" " in value and not named.lower().startswith(b"passphrase")):
        return False
    return _is_mixed(value) or value.isdigit() or (len(value) >= 8 and value.islower())


def _is_mixed(value: bytes) -> bool:
    """Letters, and a digit or sign beside them."""
    return any(each in value for each in b"0123456789!@#$%^&*?~+") and re.search(rb"[A-Za-z]", value) is not None


def _secret(text: Folded, found: re.Match[bytes]) -> Iterator[Finding]:
    before = text.lower[max(0, found.start() - 24) : found.start()].rstrip(b"_- ")
    if _SCOPED.search(before):
        return  # `AWS::IAM::AccessKey` is a class
    if found.group().startswith(b"key") and not before.endswith(_KEY_OWNERS):
        return  # of a table, or on a keyboard
    start, end, _ = _value(text, found)
    value = text.raw[start:end]
    if is_random(value) and not _NO_VALUE.match(value):
        yield Finding("secret", start, end)


def is_random(value: bytes) -> bool:
    """Whether a generator wrote this: one token, enough entropy, and digits and letters that take turns."""
    if len(value) < SHORTEST_SECRET or not _TOKEN.fullmatch(value):
        return False
    text = value.decode()
    turns = sum(one.isdigit() != other.isdigit() for one, other in pairwise(text))
    return turns >= 3 and entropy(value) >= ENTROPY


def entropy(value: bytes) -> float:
    """Shannon's, in bits a character, by the characters of the value itself."""
    size = len(value)
    return -sum(count / size * log2(count / size) for count in Counter(value).values())


def find_in_urls(text: Folded) -> Iterator[Finding]:
    """The password of `scheme://user:password@host`; not of the pattern in a manual."""
    for found in _URL.finditer(text.raw):
        value = found[1]
        if not _NO_VALUE.match(value) and value.lower() not in (b"pass", b"password", b"pw", b"pwd", b"secret"):
            yield Finding("password", *found.span(1))
