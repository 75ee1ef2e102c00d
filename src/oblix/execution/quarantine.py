"""Requests that crash engines: after two crashes, one is kept away from that model. Pure; it knows no prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

from oblix.types.request import Request

# One may be chance: memory was short, somebody killed the process. Or the crash was another's, who was in the engine at the same time: so
# the hands send those that were in a crash back one at a time, and who is innocent clears itself.
CRASHES = 2
SAME = 0.02  # seconds; the same request twice in one engine reports one crash twice. No engine is back, and no retry leaves, sooner
LASTS = 3600.0  # seconds since the last crash: by then the engine may have been updated, or has more memory
MOST = 1024  # entries; a flood of poison forgets the oldest (about 200 KB)

# Model id, fingerprint. Not the endpoint: Ollama runs each model in a process of its own, and so do we.
Suspect = tuple[str, bytes]
_JSON = msgspec.json.Encoder(order="sorted")  # 2 µs for a plain prompt, with the hash


@dataclass(frozen=True, slots=True)
class Crashes:
    """How often a model's engine crashed with one request in it, and when it last did (seconds on a steady clock)."""

    count: int
    at: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """What crashed whom, in the order of the last crash."""

    entries: Mapping[Suspect, Crashes] = field(default_factory=dict)


EMPTY = Quarantine()


def crashed(state: Quarantine, suspect: Suspect, *, now: float) -> Quarantine:
    """The model's engine crashed while it worked on this request. Copies the entries: crashes are rare."""
    kept = {each: seen for each, seen in current(state, now).entries.items() if each != suspect}
    while len(kept) >= MOST:
        del kept[next(iter(kept))]
    before = state.entries.get(suspect)
    if before is None or now - before.at >= LASTS:
        return Quarantine({**kept, suspect: Crashes(1, now)})
    return Quarantine({**kept, suspect: Crashes(before.count + (now - before.at >= SAME), now)})


def cleared(state: Quarantine, suspect: Suspect) -> Quarantine:
    """The model answered this request after all."""
    if suspect not in state.entries:
        return state
    return Quarantine({each: seen for each, seen in state.entries.items() if each != suspect})


def current(state: Quarantine, now: float) -> Quarantine:
    """Without what has expired."""
    if all(now - seen.at < LASTS for seen in state.entries.values()):
        return state
    return Quarantine({each: seen for each, seen in state.entries.items() if now - seen.at < LASTS})


def released(state: Quarantine, model_id: str) -> Quarantine:
    """The model's settings changed: it begins anew."""
    return Quarantine({each: seen for each, seen in state.entries.items() if each[0] != model_id})


def reason(state: Quarantine, suspect: Suspect, *, now: float) -> str | None:
    """Why this request is kept away from this model, in words; `None` when it is not."""
    seen = state.entries.get(suspect)
    if seen is None or seen.count < CRASHES or now - seen.at >= LASTS:
        return None
    return f"this very request crashed its engine {'twice' if seen.count == 2 else f'{seen.count} times'}"


def is_suspect(state: Quarantine, suspect: Suspect) -> bool:
    """Whether this request was in an engine of this model when it crashed, and has not answered since."""
    return suspect in state.entries


def fingerprint(request: Request, salt: bytes) -> bytes:
    """16 bytes that stand for all that is sent to a model.

    Keyed, so that whoever finds one cannot try guesses of the prompt against it.

    Args:
        salt: At most 64 bytes, random, kept in this process.
    """
    return blake2b(_sent(request), digest_size=16, key=salt).digest()


def _sent(request: Request) -> bytes:
    # Without their labels, which no engine sees: a prompt that is sealed after the decision is the same prompt.
    messages = [(each.role, each.content, each.tool_calls, each.tool_call_id) for each in request.messages]
    sent: tuple[object, ...] = (
        messages,
        request.tools,
        request.tool_choice,
        request.response_format,
        request.stop,
        request.seed,
        request.temperature,
        request.top_p,
        request.max_tokens,
        request.logprobs,
        request.provider_options,
    )
    try:
        return _JSON.encode(sent)
    except RecursionError:
        sent = (messages,)  # nested so deep that nobody can be sent it: nobody will crash of it
    except (TypeError, ValueError):
        pass  # a lone surrogate in the text, which is a likely poison, or an option with keys that are no text
    return repr(sent).encode("utf-8", "surrogatepass")
