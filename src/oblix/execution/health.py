"""What recent attempts taught about each model, so that the next decision does not walk into the same wall."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from oblix.decision.facts import HEALTHY, Health, Pace
from oblix.errors import FailureKind
from oblix.execution import breaker, budget, latency, quarantine
from oblix.execution.breaker import CLOSED, TRIP, Breaker
from oblix.execution.latency import Learned, Limits, Timing
from oblix.execution.pace import UNHEARD, Tempo, heard, pace_of
from oblix.types.failure import Treatment, treatment
from oblix.types.spec import ModelSpec

K = FailureKind
_EVER = float("-inf")
_LIMITS_PASSED = {K.TIMEOUT_LOAD, K.TIMEOUT_FIRST_TOKEN, K.TIMEOUT_IDLE}
_UNKNOWN = {K.MODEL_MISSING, K.MODEL_UNLOADABLE}
# Failures that came from the server itself, at this moment. A stream that broke off or fell silent answered long ago; a page that is not
# of the protocol may come from a captive portal.
_ANSWERS = {K.OVERLOADED, K.SERVER_ERROR, K.RATE_LIMITED, K.QUOTA_EXHAUSTED}
# What an account asks for when it says "leave me alone", and how that is called.
_RESTS = {
    K.RATE_LIMITED: "it asked to be left alone for another {} (rate limit)",
    K.OVERLOADED: "it asked to be left alone for another {} (overload)",
    K.QUOTA_EXHAUSTED: "its account is out of credit; it is left alone for another {}",
}
SHORT = 60.0  # seconds that the hands wait for themselves, when nobody else can answer
# Seconds between two local failures that together say that the fault is here (resilience.md 2c: down fast).
OFFLINE_WITHIN = 2.0


@dataclass(frozen=True, slots=True)
class _Note:
    """What excludes a model for a time, whatever its breaker says; `text` may have a place for the seconds that are left."""

    text: str
    until: float
    since: float = _EVER


@dataclass(slots=True, eq=False)
class _Place:
    """Everything at one endpoint."""

    breaker: Breaker = CLOSED
    why: str = ""


@dataclass(slots=True, eq=False)
class _Known:
    """One model."""

    spec: ModelSpec
    place: _Place
    breaker: Breaker = CLOSED
    why: str = ""
    refused: _Note | None = None
    missing: _Note | None = None
    resting: _Note | None = None
    throttle: budget.Throttle = budget.OPEN
    learned: Learned = field(default_factory=Learned)
    tempo: Tempo = UNHEARD
    pace: Pace | None = None  # what follows from the tempo, once somebody asked

    @property
    def has_notes(self) -> bool:
        """Whether anything but a breaker may exclude it."""
        return self.refused is not None or self.missing is not None or self.resting is not None


@dataclass(frozen=True, slots=True)
class _Blow:
    """A failure, as a breaker counts it."""

    weight: int
    cooldown: float
    text: str
    now: float
    started: float | None


class HealthBook:
    """The memory of the hands: one entry per model and per endpoint, and what concerns all of the cloud.

    The only thing here that changes; every step of it is a pure function of a frozen state beside it. All times are seconds on one steady
    clock. `started` is when the attempt was begun: with it, news from before a breaker's last change is told apart.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        """`chance` gives numbers in [0, 1); a simulation brings its own."""
        self._chance = chance
        self._models: dict[str, _Known] = {}
        self._places: dict[str, _Place] = {}
        self._cloud = _Place()  # the way from here to any cloud
        self._cloud_at = float("-inf")  # when one last answered
        self._last_local: tuple[float, _Place] | None = None
        self._retries = budget.RetryBudget()
        self._hedges = budget.HedgeQuota()
        self._quarantine = quarantine.EMPTY
        self._past: dict[str, Tempo] = {}

    def recall(self, past: Iterable[tuple[str, Timing]]) -> None:
        """What the log says of earlier answers, by model id, the newest last: a new process begins with that, not with start values."""
        for model_id, timing in past:
            self._past[model_id] = heard(self._past.get(model_id, UNHEARD), timing)

    # --- for the decision and before an attempt ---

    def of(self, spec: ModelSpec, now: float, fingerprint: bytes | None = None) -> Health:
        """The health of a model for a request; a model of which nothing is known is well."""
        known = self._known(spec)
        if not known.has_notes and self._is_clear(known) and not self._quarantine.entries:
            return HEALTHY
        suspect = None if fingerprint is None else (spec.id, fingerprint)
        return Health(
            key_refused=_text(known.refused, now),
            missing=_text(known.missing, now),
            failing=self._failing(known, now),
            quarantined=None if suspect is None else quarantine.reason(self._quarantine, suspect, now=now),
            resting=_countdown(known.resting, now),
        )

    def rests_until(self, spec: ModelSpec, now: float) -> float | None:
        """The time before which nothing may be sent to this model, even if no other one is left; `None` when it may.

        It asked for that, or is out of credit: an attempt would fail, and may make it worse. Waits of up to 60 s are not told here; the
        hands wait for them.
        """
        note = self._known(spec).resting
        return note.until if note is not None and now < note.until else None

    def has_suspects(self, now: float) -> bool:
        """Whether any request crashed an engine in the last hour. While none did, `of` and `succeeded` need no fingerprint."""
        self._quarantine = quarantine.current(self._quarantine, now)
        return bool(self._quarantine.entries)

    def is_suspect(self, spec: ModelSpec, fingerprint: bytes) -> bool:
        """Whether this request was in the model's engine when it crashed: such requests go back one at a time."""
        return quarantine.is_suspect(self._quarantine, (spec.id, fingerprint))

    def admit(self, spec: ModelSpec, now: float) -> bool:
        """Whether an attempt may go to this model now, asked right before it. It has gone when this says so: a probe is taken.

        Somebody else may be probing, or slow start may say "not yet"; then others are asked first. For the last allowed candidate the
        answer is not binding, because a try that may fail is better than none.
        """
        known = self._known(spec)
        if self._is_clear(known):
            return True
        gates = self._gates(known)
        answers = [breaker.admit(gate.breaker, now) for gate in gates]
        admitted = all(yes for _, yes in answers)
        for gate, (state, yes) in zip(gates, answers, strict=True):
            if admitted or not yes:  # or else a probe were taken that another gate does not let go
                gate.breaker = state
        return admitted

    def limits(self, spec: ModelSpec, prompt_tokens: int) -> Limits:
        """How long each phase of an attempt may be silent."""
        return latency.limits(spec, self._known(spec).learned, prompt_tokens)

    def pace(self, spec: ModelSpec) -> Pace | None:
        """How fast it has worked of late; `None` before its first answer."""
        known = self._known(spec)
        if known.pace is None:
            known.pace = pace_of(known.tempo, spec.place)
        return known.pace

    def usual_first_token(self, spec: ModelSpec) -> float | None:
        """Seconds within which 19 of 20 first tokens came; `None` while too little is known."""
        return latency.p95_first_token(self._known(spec).learned)

    def usual_load(self, spec: ModelSpec) -> float | None:
        """The median of seconds to load it; `None` before the first load."""
        return latency.median_load(self._known(spec).learned)

    # --- after an attempt ---

    def succeeded(
        self, spec: ModelSpec, now: float, timing: Timing | None = None, fingerprint: bytes | None = None
    ) -> None:
        """An answer came, with the proof that it is whole."""
        known = self._known(spec)
        started = None if timing is None else now - timing.total
        known.refused = known.missing = None
        if known.resting is not None and (started is None or started + breaker.SLACK >= known.resting.since):
            known.resting = None  # an answer that was under way when it was asked for does not shorten it
        known.breaker = breaker.succeeded(known.breaker, now, started=started)
        known.place.breaker = breaker.succeeded(known.place.breaker, now, started=started)
        if not spec.is_edge:
            self._reached_cloud(now)
        known.throttle = budget.throttled(known.throttle, ok=True)
        if timing is not None:
            known.learned.record(timing)
            known.tempo = heard(known.tempo, timing)
            known.pace = None
        if fingerprint is not None and self._quarantine.entries:
            self._quarantine = quarantine.cleared(self._quarantine, (spec.id, fingerprint))

    def failed(
        self,
        spec: ModelSpec,
        kind: FailureKind,
        text: str,
        now: float,
        retry_after: float | None = None,
        fingerprint: bytes | None = None,
        *,
        started: float | None = None,
    ) -> None:
        """An attempt failed.

        Args:
            retry_after: Seconds that the provider asked us to wait; it takes the place of our own cooldown.
            fingerprint: What stands for the request, if it may have crashed the engine.
        """
        known, treated = self._known(spec), treatment(kind)
        if kind is K.ENGINE_CRASH and fingerprint is not None:
            self._quarantine = quarantine.crashed(self._quarantine, (spec.id, fingerprint), now=now)
        cooldown = (treated.cooldown if retry_after is None else retry_after) or 0.0
        if kind is K.AUTH:
            known.refused = _Note("its key was refused", now + (treated.cooldown or 0.0))
        elif kind in _UNKNOWN:
            known.missing = _Note(text, now + (retry_after or treated.cooldown or 0.0))
        elif kind in _RESTS:
            known.resting = _rest(known.resting, kind, cooldown, now=now)
        if treated.scope == "none":
            self.left(spec, now, started=started)
            return
        known.throttle = budget.throttled(known.throttle, ok=False)
        blow = _Blow(treated.weight, cooldown, text, now, started)
        if treated.scope == "model":
            if self._hit(known, blow) and kind in _LIMITS_PASSED:
                known.learned.missed()  # once per opening, not once per request of a crowd that waited together
            self._heard(known, kind, now, started)
        else:
            known.breaker = breaker.left(known.breaker, now, started=started)
            self._hit(known.place, blow)
            self._missed_cloud(known, treated, blow)

    def left(self, spec: ModelSpec, now: float, *, started: float | None = None) -> None:
        """An attempt ended without a word on health: its caller left, another was faster. A probe is given back."""
        known = self._known(spec)
        if not self._is_clear(known):
            for gate in self._gates(known):
                gate.breaker = breaker.left(gate.breaker, now, started=started)

    def forget(self, spec: ModelSpec) -> None:
        """The model's settings changed: what was learned of it is of another one."""
        self._models.pop(spec.id, None)
        self._past.pop(spec.id, None)
        if place := self._places.get(_engine(spec)):
            place.breaker = CLOSED  # in place: other models are there as well
        self._quarantine = quarantine.released(self._quarantine, spec.id)

    # --- what further attempts may cost ---

    def asked(self, now: float) -> None:
        """One request came."""
        self._retries = budget.asked(self._retries, now)
        self._hedges = budget.earned(self._hedges)

    def may_retry(self, spec: ModelSpec, now: float) -> bool:
        """Whether a model that was tried may be tried again for the same request; it is paid for when this says so."""
        if self._known(spec).throttle.is_shut:
            return False
        self._retries, granted = budget.withdraw(self._retries, now)
        return granted

    def may_hedge(self, spec: ModelSpec, now: float) -> bool:
        """Whether this model may be started beside a slow one; it is paid for when this says so."""
        if not self._hedges.has_one or not self.may_retry(spec, now):
            return False
        self._hedges = budget.spent(self._hedges)
        return True

    def is_calm(self, now: float) -> bool:
        """Whether every breaker is closed: nothing is held against anybody."""
        states = [known.breaker for known in self._models.values()]
        states += [place.breaker for place in self._places.values()]
        return all(breaker.is_calm(state, now) for state in (*states, self._cloud.breaker))

    # --- inside ---

    def _known(self, spec: ModelSpec) -> _Known:
        known = self._models.get(spec.id)
        if known is None or known.spec.endpoint != spec.endpoint:
            place = self._places.setdefault(_engine(spec), _Place())
            known = self._models[spec.id] = _Known(spec, place, tempo=self._past.get(spec.id, UNHEARD))
            self._quarantine = quarantine.released(self._quarantine, spec.id)  # at another address it is another model
        return known

    def _is_clear(self, known: _Known) -> bool:
        """The happy path: no breaker of this model's has anything to say."""
        return (
            known.breaker.phase == "closed"
            and known.place.breaker.phase == "closed"
            and self._cloud.breaker.phase == "closed"
        )

    def _gates(self, known: _Known) -> tuple[_Known | _Place, ...]:
        """Whose breakers stand before a model, its own first."""
        return (known, known.place) if known.spec.is_edge else (known, known.place, self._cloud)

    def _failing(self, known: _Known, now: float) -> str | None:
        return next((gate.why for gate in self._gates(known) if breaker.is_open(gate.breaker, now)), None)

    def _hit(self, gate: _Known | _Place, blow: _Blow) -> bool:
        """Tell a breaker of a failure; whether it was news."""
        before = gate.breaker
        gate.breaker = breaker.failed(
            before,
            blow.now,
            weight=blow.weight,
            cooldown=blow.cooldown,
            chance=self._chance(),
            started=blow.started,
        )
        if gate.breaker is before:
            return False
        gate.why = blow.text
        return True

    def _heard(self, known: _Known, kind: FailureKind, now: float, started: float | None) -> None:
        """A failure of the model's own: whose server said so is there, and so is the way to it."""
        if kind not in _ANSWERS:
            for gate in self._gates(known)[1:]:
                gate.breaker = breaker.left(gate.breaker, now, started=started)
            return
        known.place.breaker = breaker.succeeded(known.place.breaker, now, started=started)
        if not known.spec.is_edge:
            self._reached_cloud(now)

    def _reached_cloud(self, now: float) -> None:
        self._cloud.breaker, self._last_local, self._cloud_at = CLOSED, None, now

    def _missed_cloud(self, known: _Known, treated: Treatment, blow: _Blow) -> None:
        """Nothing reached a cloud; two such failures on our side within two seconds say that none can be reached."""
        if known.spec.is_edge:
            return
        if not treated.is_local:
            self._cloud.breaker = breaker.left(self._cloud.breaker, blow.now, started=blow.started)
            return
        if blow.started is not None and blow.started < self._cloud_at:
            return  # begun before the last answer from a cloud: old news
        before, self._last_local = self._last_local, (blow.now, known.place)
        ours = before is not None and blow.now - before[0] <= OFFLINE_WITHIN and self._is_ours(known.place, before[1])
        if ours or self._cloud.breaker.phase != "closed":
            self._hit(self._cloud, replace(blow, weight=TRIP, text=f"no cloud can be reached from here: {blow.text}"))

    def _is_ours(self, place: _Place, before: _Place) -> bool:
        """A name may be misspelt: two failures at one endpoint speak for the way to all clouds only where there is no other."""
        clouds = {id(known.place) for known in self._models.values() if not known.spec.is_edge}
        return place is not before or len(clouds) == 1


def _text(note: _Note | None, now: float) -> str | None:
    return note.text if note is not None and now < note.until else None


def _countdown(note: _Note | None, now: float) -> str | None:
    return note.text.format(f"{note.until - now:,.0f} s") if note is not None and now < note.until else None


def _rest(before: _Note | None, kind: FailureKind, cooldown: float, *, now: float) -> _Note | None:
    """What a model that asked to be left alone is left with: the longer of two wishes."""
    seconds = min(cooldown, breaker.LONGEST_COOLDOWN)
    if seconds <= SHORT or (before is not None and before.until >= now + seconds):
        return before
    return _Note(_RESTS[kind], now + seconds, now)


def _engine(spec: ModelSpec) -> str:
    return spec.endpoint or spec.id
