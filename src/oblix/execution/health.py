"""What recent attempts taught about each model, so that the next decision does not walk into the same wall. Pure: time is given."""

from __future__ import annotations

from dataclasses import dataclass, replace

from oblix.decision.facts import HEALTHY, Health
from oblix.errors import FailureKind
from oblix.types.spec import ModelSpec

K = FailureKind
KEY_REFUSED = 600.0  # seconds (contract.md)
# Seconds for which a failure is remembered. What is not listed is the request's own fault, or the caller's wish: it says nothing.
_MISSING = {K.MODEL_MISSING: 30.0, K.MODEL_UNLOADABLE: 60.0}
_OF_MODEL = {
    K.QUOTA_EXHAUSTED: 600.0,
    K.RATE_LIMITED: 10.0,
    K.OVERLOADED: 10.0,
    K.SERVER_ERROR: 10.0,
    K.PROTOCOL: 10.0,
    K.TRUNCATED: 10.0,
    K.ENGINE_CRASH: 10.0,
    K.TIMEOUT_LOAD: 30.0,
    K.TIMEOUT_FIRST_TOKEN: 30.0,
    K.TIMEOUT_IDLE: 30.0,
    K.INTERNAL: 10.0,
}
_OF_ENDPOINT = {
    K.LOCAL_NETWORK: 2.0,
    K.DNS: 5.0,
    K.TLS: 60.0,
    K.CONNECT: 5.0,
    K.TIMEOUT_CONNECT: 15.0,
}


@dataclass(frozen=True, slots=True)
class _Note:
    what: str
    text: str
    until: float


class HealthBook:
    """One entry per model and per endpoint; success wipes both."""

    def __init__(self) -> None:
        self._notes: dict[str, _Note] = {}
        self._known: dict[str, Health] = {}

    def of(self, spec: ModelSpec, now: float) -> Health:
        """The health of a model at `now` (seconds, any steady clock, always the same one)."""
        known = self._known.get(spec.id, HEALTHY)
        note = self._find(spec.id, now) or self._find(_site(spec), now) if self._notes else None
        if note is None:
            return known
        if note.what == "key":
            return replace(known, key_refused=note.text)
        return replace(known, missing=note.text) if note.what == "missing" else replace(known, failing=note.text)

    def succeeded(self, spec: ModelSpec, seconds: float) -> None:
        """An answer came, after so many seconds."""
        self.forget(spec)
        before = self._known.get(spec.id, HEALTHY).seconds
        self._known[spec.id] = Health(seconds=seconds if before is None else 0.7 * before + 0.3 * seconds)

    def failed(
        self, spec: ModelSpec, kind: FailureKind, text: str, now: float, retry_after: float | None = None
    ) -> None:
        """An attempt failed. `retry_after`: seconds that the provider asked us to wait. What lasts longer stands."""
        if kind is K.AUTH:
            self._note(spec.id, _Note("key", "its key was refused", now + KEY_REFUSED))
        elif kind in _MISSING:
            self._note(spec.id, _Note("missing", text, now + _MISSING[kind]))
        elif kind in _OF_MODEL:
            wait = _OF_MODEL[kind] if retry_after is None else min(retry_after, 3600.0)
            self._note(spec.id, _Note("failing", text, now + wait))
        elif kind in _OF_ENDPOINT:
            self._note(_site(spec), _Note("failing", text, now + _OF_ENDPOINT[kind]))

    def _note(self, key: str, note: _Note) -> None:
        before = self._notes.get(key)
        if before is None or note.until >= before.until:
            self._notes[key] = note

    def forget(self, spec: ModelSpec) -> None:
        """The model's settings changed."""
        if self._notes:
            self._notes.pop(spec.id, None)
            self._notes.pop(_site(spec), None)

    def _find(self, key: str, now: float) -> _Note | None:
        note = self._notes.get(key)
        return note if note is not None and now < note.until else None


def _site(spec: ModelSpec) -> str:
    return f"at {spec.endpoint or spec.id}"
