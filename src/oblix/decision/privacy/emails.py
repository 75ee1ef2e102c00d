"""E-mail addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from oblix.decision.privacy.folding import Folded
from oblix.decision.privacy.patterns import UNSPACED
from oblix.types.privacy import Finding

# RFC 5321 gives the local part 64 octets and a domain 255, of labels of up to 63. Letters of any script that sets spaces (RFC 6531, IDNA);
# in Chinese or Thai prose the words before and after an address could not be told from it.
_LETTER = rf"[^\W{UNSPACED}]"
_LOCAL_REVERSED = re.compile(rf"(?:{_LETTER}|[.%+&'=~-]){{1,64}}+")
_DOMAIN = re.compile(rf"(?:{_LETTER}|-){{1,63}}+(?:[.．](?:{_LETTER}|-){{1,63}}+){{1,8}}")
_PICTURES = ("png", "jpg", "jpeg", "gif", "svg", "webp", "pdf", "ico")  # `icon@2x.png`
SIGN = rb"@"


def has_start(text: Folded) -> bool:
    """Whether an address could be there."""
    return b"@" in text.raw


def find(text: Folded) -> Iterator[Finding]:
    """Each address; not user and password of a link, nor `git@host:path`."""
    at = text.raw.find(b"@")
    while at >= 0:
        if text.raw[at + 1 : at + 2] not in (b"@", b" ", b"") and (found := _email(text.text, at)):
            yield found
        at = text.raw.find(b"@", at + 1)


def _email(text: str, at: int) -> Finding | None:
    local = _LOCAL_REVERSED.match(text[max(0, at - 65) : at][::-1])
    domain = _DOMAIN.match(text, at + 1)
    if not local or not domain:
        return None
    name = local.group()[::-1].lstrip(".'&=-+%~")
    host = domain.group().rstrip("-_")
    start, end = at - len(name), at + 1 + len(host)
    if not name or name.endswith(".") or not _is_host(host):
        return None
    is_remote = name == "git" and text[end : end + 1] == ":"
    is_password = text[start - 1 : start] == ":" and "//" in text[max(0, start - 80) : start]
    return None if is_remote or is_password else Finding("email", start, end)


def _is_host(host: str) -> bool:
    """Whether its last label can be a top-level domain: letters, or an encoded one; no name of a picture."""
    top = host.replace("．", ".").rpartition(".")[2].lower()
    return top not in _PICTURES and ((len(top) > 1 and top.isalpha()) or top.startswith("xn--"))
