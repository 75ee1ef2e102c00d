"""Keys and tokens that show what they are: by an issuer's prefix, as a JWT, or between the lines of a PEM block."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from oblix.decision.privacy.folding import Folded
from oblix.decision.privacy.patterns import trie
from oblix.types.privacy import Finding

# What an issuer writes before a key, and the shortest body it has. Source: the issuers' pages and their secret-scanning notes, 2026.
_PREFIXES = (
    (b"sk-", rb"[A-Za-z0-9_-]{20,250}"),  # OpenAI, Anthropic (sk-ant-), OpenRouter (sk-or-), DeepSeek
    *((b"gh" + kind + b"_", rb"[A-Za-z0-9]{36}") for kind in (b"p", b"o", b"u", b"s", b"r")),
    (b"github_pat_", rb"[A-Za-z0-9_]{40,90}"),
    (b"glpat-", rb"[A-Za-z0-9_-]{20,60}"),
    (b"AKIA", rb"[A-Z2-7]{16}"),
    (b"ASIA", rb"[A-Z2-7]{16}"),
    (b"AIza", rb"[A-Za-z0-9_-]{35}"),
    *((b"xox" + kind + b"-", rb"[A-Za-z0-9-]{16,250}") for kind in (b"a", b"b", b"p", b"r", b"s")),
    (b"hf_", rb"[A-Za-z0-9]{30,40}"),
    (b"npm_", rb"[A-Za-z0-9]{36}"),
    (b"pypi-", rb"[A-Za-z0-9_-]{50,250}"),
    (b"SG.", rb"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
    (b"sk_live_", rb"[A-Za-z0-9]{16,250}"),
    (b"rk_live_", rb"[A-Za-z0-9]{16,250}"),
    (b"gsk_", rb"[A-Za-z0-9]{32,64}"),
    (b"xai-", rb"[A-Za-z0-9]{32,100}"),
    (b"r8_", rb"[A-Za-z0-9]{32,45}"),
    (b"dop_v1_", rb"[a-f0-9]{64}"),
    (b"shpat_", rb"[a-fA-F0-9]{32}"),
    (b"Bearer ", rb"[A-Za-z0-9._~+/-]{20,500}={0,2}"),
    (b"bearer ", rb"[A-Za-z0-9._~+/-]{20,500}={0,2}"),
)  # fmt: skip
_BODY_AFTER = {prefix: re.compile(body) for prefix, body in _PREFIXES}
_PREFIX = re.compile(rb"(?<![A-Za-z0-9])" + trie(list(_BODY_AFTER)))
_LONGEST_PREFIX = max(map(len, _BODY_AFTER))
_WORDY = (b"sk-", b"Bearer ", b"bearer ")  # people write these too, before a class in CSS or a word
_RUN = 16  # letters, digits, _ and - in a row: each key and token above has as many, its prefix included
_WORDS = bytes(97 if chr(code).isalnum() or chr(code) in "_-" else 32 for code in range(128)) + b" " * 128
_LONG_WORD = re.compile(rb"[A-Za-z0-9]{14}")
_PLACEHOLDER = re.compile(rb"(?i)your|x{4}|example|placeholder|redacted|\.\.\.|insert|dummy|changeme|0{8}")
_JWT = re.compile(rb"eyJ(?<![A-Za-z0-9_-]eyJ)[A-Za-z0-9_-]{10,2000}+\.[A-Za-z0-9_-]{2,16000}+\.[A-Za-z0-9_-]{0,2000}+")
_BEGIN = re.compile(rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_BODY = re.compile(rb"[A-Za-z0-9+/=\s\\\"':;,.()<>@-]{0,16000}+")
# Of base64. After a key that is cut off, few words are as long.
_LINE = re.compile(rb"[A-Za-z0-9+/=]{24,}+")
_LAST_LINE = re.compile(rb"(?:\\[nr]|[\r\n]){1,2}[A-Za-z0-9+/]{1,23}={0,2}(?=[\s\"'\\]|\Z)(?! )")
_HEADERS = 200  # characters at most between two lines of base64: `Proc-Type`, `DEK-Info`

KEY_SIGN = trie([prefix for prefix, _ in _PREFIXES]) + rb"[A-Za-z0-9._~+/-]{16}"
JWT_SIGN = rb"eyJ[A-Za-z0-9_-]{10}"
PEM_SIGN = rb"-----BEGIN "


def has_long_word(text: Folded) -> bool:
    """Whether a key or token could be there."""
    return b"a" * _RUN in text.raw.translate(_WORDS)


def has_pem(text: Folded) -> bool:
    """Whether a PEM block could be there."""
    return PEM_SIGN in text.raw


def find_keys(text: Folded) -> Iterator[Finding]:
    """Each key of an issuer that we know, and each bearer token; no placeholder of documentation."""
    words, run = text.raw.translate(_WORDS), b"a" * _RUN
    start = words.find(run)
    while start >= 0:
        end = words.find(b" ", start)
        end = len(words) if end < 0 else end
        for prefix in _PREFIX.finditer(text.raw, max(0, start - _LONGEST_PREFIX), end):
            body = _BODY_AFTER[prefix.group()].match(text.raw, prefix.end())
            if body and _is_random(body.group(), wordy=prefix.group() in _WORDY):
                yield Finding("api_key", prefix.end() if prefix.group().endswith(b" ") else prefix.start(), body.end())
        start = words.find(run, end)


def _is_random(body: bytes, *, wordy: bool) -> bool:
    """Whether somebody's generator wrote this: many different characters, digits among them, and after a `wordy` prefix a long piece.

    Sixteen random capitals and digits lack a digit once in thirty times; so keys that are short and in capitals may do without.
    """
    if len(set(body)) < 7 or _PLACEHOLDER.search(body) or (wordy and not _LONG_WORD.search(body)):
        return False
    return body.isupper() or any(char in body for char in b"0123456789")


def find_jwts(text: Folded) -> Iterator[Finding]:
    """Three parts in base64url, the first of them a JSON object with `alg`."""
    for found in _JWT.finditer(text.raw):
        if _is_header(found.group().partition(b".")[0]):
            yield Finding("jwt", *found.span())


def _is_header(part: bytes) -> bool:
    """RFC 7515, section 4: the object names its algorithm."""
    try:
        header = base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
        return isinstance(found := _read_json(header), dict) and "alg" in found
    except (binascii.Error, ValueError, RecursionError):
        return False


def _read_json(data: bytes) -> object:
    import json  # a third of a millisecond that an import of the house does not need

    return json.loads(data)


def find_pems(text: Folded) -> Iterator[Finding]:
    """Each private key, to the line that ends it or as far as it goes; no certificate, no public key."""
    raw = text.raw
    begin = _BEGIN.search(raw)
    while begin:
        following = _BEGIN.search(raw, begin.end())
        limit = following.start() if following else len(raw)
        end = _pem_end(raw, begin.end(), limit)
        if end:
            yield Finding("pem", begin.start(), end)
        begin = following


def _pem_end(raw: bytes, start: int, limit: int) -> int | None:
    """Where the key ends whose first line ends at `start`: with its last line, or, if it is cut off, with its last base64."""
    body = _BODY.match(raw, start, limit)
    assert body is not None  # it may be empty
    end = start
    for line in _LINE.finditer(raw, start, body.end()):
        if line.start() - end > _HEADERS:
            break
        end = line.end()
    if end == start:
        return None  # talks about keys
    closing = _END.search(raw, end, body.end() + 64)
    if closing:
        return closing.end()
    last = _LAST_LINE.match(raw, end, limit)
    return last.end() if last else end
