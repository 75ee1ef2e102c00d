"""Labels a request private, public or unknown, and says who says so.

Labels join upwards: nothing below makes public what one above calls private.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from oblix.decision.privacy.scan import KINDS, LARGEST, SENSITIVE, Names, scan
from oblix.types.privacy import UNKNOWN, Finding, Privacy, Screening
from oblix.types.request import Request


def label(request: Request, screening: Screening, *, is_tainted: bool = False) -> Privacy:
    """How private a request is.

    Args:
        is_tainted: It holds a message of an earlier private request.
    """
    if request.private:
        return Privacy("private", by="caller", why="private=True")
    if any(message.private for message in request.messages):
        return Privacy("private", by="message", why="it holds a message that is labelled private")
    if is_tainted:
        return Privacy("private", by="message", why="it holds a message of a private request")
    if request.public:
        return Privacy("public", by="caller", why="private=False")
    if not screening.is_on:
        return UNKNOWN
    return _screened(request, screening)


def _screened(request: Request, screening: Screening) -> Privacy:
    size, found = 0, Counter[str]()
    names = names_of(screening)
    for text in texts(request):
        size += len(text)
        if size > LARGEST:
            why = f"more than {LARGEST:,} characters are too many to scan"
            return Privacy("private", by="size", mode=screening.mode, why=why)
        found.update(finding.kind for finding in scan(text, names))
    kinds = kinds_of(screening)
    if not any(kind in kinds for kind in found):
        return Privacy("public", by="detector", found=dict(found))
    mode, why = screening.mode, _in_words({kind: count for kind, count in found.items() if kind in kinds})
    if mode == "redact":
        from oblix.decision.privacy.redact import can_redact

        obstacle = can_redact(request, finder(screening))
        if obstacle is not None:
            mode, why = "keep_local", f"{why}; {obstacle}"
    return Privacy("private", by="detector", found=dict(found), mode=mode, why=why)


def _in_words(found: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count} {KINDS[kind].plural if count > 1 else KINDS[kind].singular}" for kind, count in sorted(found.items())
    )


def finder(screening: Screening) -> Callable[[str], Sequence[Finding]]:
    """What finds the private things that must not leave."""
    names, kinds = names_of(screening), kinds_of(screening)
    return lambda text: scan(text, names, kinds)


def kinds_of(screening: Screening) -> frozenset[str]:
    """The kinds that make a request private."""
    return SENSITIVE if screening.kinds is None else screening.kinds


def names_of(screening: Screening) -> Names | None:
    """The user's own names, ready to be looked for."""
    return _names(screening.names) if screening.names else None


@lru_cache(maxsize=16)
def _names(names: tuple[str, ...]) -> Names:
    return Names(names)


def texts(request: Request) -> Iterator[str]:
    """Every text of a request that a model would see."""
    for message in request.messages:
        if message.text:
            yield message.text
        for call in message.tool_calls:
            yield call.arguments
    for tool in request.tools:
        yield tool.description
    if request.provider_options:
        yield from _strings(request.provider_options)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def sealed(request: Request, privacy: Privacy) -> Request:
    """The request with the label that follows; it travels with each message, so that whoever copies them elsewhere copies it, too.

    What is to be redacted is sealed as well: the guard lets it out to a cloud only after `models.redacted` has done so.
    """
    if privacy.is_redacted:
        return replace(request, redact=True)
    if not privacy.stays_home or (request.private and all(message.private for message in request.messages)):
        return request
    return replace(
        request, private=True, redact=False, messages=tuple(replace(each, private=True) for each in request.messages)
    )
