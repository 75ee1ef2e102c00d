"""Whether the host that answers is the one that was asked: what a plain HTTP answer says about who stands in the way."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

_LOGIN_NEEDED = 511  # Network Authentication Required (RFC 6585, 6): only portals say it
_PROXY_LOGIN_NEEDED = 407


class Said(NamedTuple):
    """The head of an answer to `HEAD /`: its status, the host that it redirects to, and whether it is a page for people."""

    status: int
    leads_to: str | None = None
    is_page: bool = False


def parse(head: bytes) -> Said | None:
    """Read the head of an HTTP answer; `None` for what is none."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if not words[0].startswith("HTTP/") or len(words) < 2 or not words[1].isdecimal():
        return None
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields[name.strip().lower()] = value.strip()
    location = fields.get("location")
    return Said(
        int(words[1]),
        urlsplit(location).hostname if location else None,
        fields.get("content-type", "").lower().startswith(("text/html", "application/xhtml")),
    )


def is_stranger(said: Said | None, host: str, usual: Said | None) -> bool:
    """Whether a stranger answers in place of `host`.

    Args:
        usual: What the host itself said when it was first asked. An API may well show a page at its root, or lead to one; then this is
            nothing new. `None` where it was never asked.
    """
    if said is None:
        return False
    if said.status == _LOGIN_NEEDED:
        return True
    if usual is not None:
        return said != usual and (said.is_page or said.leads_to not in (None, host, usual.leads_to))
    return 300 <= said.status < 400 and not _belongs(said.leads_to, host)


def is_refused_by_proxy(said: Said | None) -> bool:
    """Whether a proxy wants a login first."""
    return said is not None and said.status == _PROXY_LOGIN_NEEDED


def _belongs(leads_to: str | None, host: str) -> bool:
    """Whether a redirect stays in the house: the same host, or one under the same two last names."""
    if leads_to is None or leads_to == host:
        return True
    return "." in host and leads_to.split(".")[-2:] == host.split(".")[-2:] and not host.replace(".", "").isdecimal()
