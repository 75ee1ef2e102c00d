"""Labels a request private, public or unknown, and says who says so.

Labels join upwards: nothing below makes public what one above calls private.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple, get_args

from oblix.decision.privacy.scan import KINDS, LARGEST, SENSITIVE, Names, scan
from oblix.decision.privacy.texts import meant, texts
from oblix.errors import InvalidRequest, known_hint
from oblix.types.privacy import UNKNOWN, Finding, Mode, Privacy, Screening
from oblix.types.request import Request


def label(request: Request, screening: Screening, *, is_tainted: bool = False, always_scan: bool = False) -> Privacy:
    """How private a request is.

    Args:
        is_tainted: It holds a message of an earlier private request.
        always_scan: A rule wants to know what the detectors find, whoever labelled it.
    """
    stated = _stated(request, is_tainted=is_tainted)
    if stated is None and not screening.is_on:
        stated = UNKNOWN
    if stated is None:
        return _screened(request, screening)
    seen = _seen(request, screening) if always_scan else None
    return stated if seen is None else replace(stated, found=seen.found)


def _stated(request: Request, *, is_tainted: bool) -> Privacy | None:
    """What was said of it, without looking into it."""
    if request.private:
        return Privacy("private", by="caller", why="private=True")
    if any(message.private for message in request.messages):
        return Privacy("private", by="message", why="it holds a message that is labelled private")
    if is_tainted:
        return Privacy("private", by="message", why="it holds a message of a private request")
    return Privacy("public", by="caller", why="public=True") if request.public else None


class _Seen(NamedTuple):
    """What the detectors see: kind → how often; and whether some of it only shows when escapes are read."""

    found: dict[str, int]
    is_hidden: bool = False


def _seen(request: Request, screening: Screening) -> _Seen | None:
    """What the detectors see in a request; `None` where its texts are too large to scan."""
    size, names = 0, names_of(screening)
    found: dict[str, int] = {}
    is_hidden = False
    for text in texts(request):
        size += len(text)
        if size > LARGEST:
            return None
        written = scan(text, names)
        if not written and "\\" not in text:  # as it mostly is
            continue
        kinds = Counter([finding.kind for finding in written])
        for plain in meant(text):
            more = Counter([finding.kind for finding in scan(plain, names)]) - kinds
            is_hidden = is_hidden or bool(more)
            kinds += more
        for kind, count in kinds.items():
            found[kind] = found.get(kind, 0) + count
    return _Seen(found, is_hidden)


def _screened(request: Request, screening: Screening) -> Privacy:
    seen, kinds = _seen(request, screening), kinds_of(screening)
    if seen is None:
        why = f"more than {LARGEST:,} characters are too many to scan"
        return Privacy("private", by="size", mode=screening.mode, why=why)
    found = seen.found
    if not any(kind in kinds for kind in found):
        return Privacy("public", by="detector", found=found)
    mode, why = screening.mode, _in_words({kind: count for kind, count in found.items() if kind in kinds})
    if mode == "redact":
        from oblix.decision.privacy.redact import can_redact

        obstacle = "some of it is written in escapes" if seen.is_hidden else can_redact(request, finder(screening))
        if obstacle is not None:
            mode, why = "keep_local", f"{why}; {obstacle}"
    return Privacy("private", by="detector", found=found, mode=mode, why=why)


def _in_words(found: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count} {KINDS[kind].plural if count > 1 else KINDS[kind].singular}" for kind, count in sorted(found.items())
    )


def finder(screening: Screening) -> Callable[[str], Sequence[Finding]]:
    """What finds the private things that must not leave."""
    names, kinds = names_of(screening), kinds_of(screening)
    return lambda text: scan(text, names, kinds)


def kinds_of(screening: Screening) -> frozenset[str]:
    """The kinds that make a request private; names of the user's own list always do."""
    return SENSITIVE if screening.kinds is None else screening.kinds | {"name"}


def names_of(screening: Screening) -> Names | None:
    """The user's own names, ready to be looked for."""
    return _names(screening.names) if screening.names else None


@lru_cache(maxsize=16)
def _names(names: tuple[str, ...]) -> Names:
    return Names(names)


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


def checked(screening: Screening) -> Screening:
    """The same, if it can be right; lists are taken as well.

    Raises:
        InvalidRequest: A kind is unknown (the nearest is named), the mode is none, or the names are no list of texts.
    """
    if not isinstance(screening, Screening):
        raise InvalidRequest(
            f"{screening!r} is no Screening.", hint="Pass oblix.Screening(…); is_on=False switches it off."
        )
    if screening.mode not in get_args(Mode):
        raise InvalidRequest(
            f"mode={screening.mode!r} is not known.",
            hint=f"Use {', '.join(get_args(Mode))}; is_on=False switches it off.",
        )
    if isinstance(screening.names, str) or not all(isinstance(name, str) and name.strip() for name in screening.names):
        raise InvalidRequest(f"names={screening.names!r} is no list of texts.", hint='Write names=("Project Falcon",).')
    kinds = screening.kinds
    if isinstance(kinds, str):
        raise InvalidRequest(
            f"kinds={kinds!r} is no set of texts.",
            hint="Write kinds=frozenset({…}); all of them are oblix.decision.privacy.scan.EVERY.",
        )
    for kind in kinds or ():
        if kind not in KINDS:
            raise InvalidRequest(f"{kind!r} is no kind of private thing.", hint=known_hint(str(kind), KINDS))
    return replace(screening, names=tuple(screening.names), kinds=None if kinds is None else frozenset(kinds))
