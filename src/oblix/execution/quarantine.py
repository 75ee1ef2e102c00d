"""Requests that crash engines: after two crashes of one engine, the same request is kept away from it. Pure; it knows no prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from oblix.types.request import Request

CRASHES = 2  # one may be chance: memory was short, somebody killed the process
LASTS = 3600.0  # seconds since the last crash: by then the engine may have been updated, or has more memory
MOST = 1024  # entries; a flood of poison forgets the oldest (about 200 KB)

Key = tuple[str, bytes]  # engine, fingerprint


@dataclass(frozen=True, slots=True)
class Crashes:
    """How often one request crashed one engine, and when it last did (seconds on a steady clock)."""

    count: int
    at: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """What crashed whom, in the order of the last crash."""

    entries: Mapping[Key, Crashes] = field(default_factory=dict)


EMPTY = Quarantine()


def crashed(state: Quarantine, engine: str, fingerprint: bytes, now: float) -> Quarantine:
    """The engine crashed while it worked on this request. Copies the entries: crashes are rare."""
    key = (engine, fingerprint)
    kept = {each: seen for each, seen in current(state, now).entries.items() if each != key}
    while len(kept) >= MOST:
        del kept[next(iter(kept))]
    before = state.entries.get(key)
    count = before.count if before is not None and now - before.at < LASTS else 0
    return Quarantine({**kept, key: Crashes(count + 1, now)})


def cleared(state: Quarantine, engine: str, fingerprint: bytes) -> Quarantine:
    """The engine answered this request after all."""
    key = (engine, fingerprint)
    if key not in state.entries:
        return state
    return Quarantine({each: seen for each, seen in state.entries.items() if each != key})


def current(state: Quarantine, now: float) -> Quarantine:
    """Without what has expired."""
    if all(now - seen.at < LASTS for seen in state.entries.values()):
        return state
    return Quarantine({each: seen for each, seen in state.entries.items() if now - seen.at < LASTS})


def released(state: Quarantine, engine: str) -> Quarantine:
    """The engine's settings changed: it begins anew."""
    return Quarantine({each: seen for each, seen in state.entries.items() if each[0] != engine})


def is_quarantined(state: Quarantine, engine: str, fingerprint: bytes, now: float) -> bool:
    """Whether this request is kept away from this engine."""
    seen = state.entries.get((engine, fingerprint))
    return seen is not None and seen.count >= CRASHES and now - seen.at < LASTS


def fingerprint(request: Request, salt: bytes) -> bytes:
    """16 bytes that stand for what an engine would work on: messages with their pictures, and the names of tools.

    Keyed, so that whoever finds one cannot try guesses of the prompt against it.

    Args:
        salt: At most 64 bytes, random, kept in this process.
    """
    digest = blake2b(digest_size=16, key=salt)

    def add(text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")  # a lone surrogate is a likely poison
        digest.update(len(data).to_bytes(8, "big"))  # or else "a", "b" of a user and his "auserb" were one
        digest.update(data)

    for message in request.messages:
        add(message.role)
        add(message.text)
        for image in message.images:
            add(image.data or image.url or "")
    for tool in request.tools:
        add(tool.name)
    return digest.digest()
