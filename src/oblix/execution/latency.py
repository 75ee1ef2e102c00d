"""What a model's own history says about patience: quantiles that forget, and the limits of an attempt that are learned from them."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from oblix.types.spec import ModelSpec, Timeouts

# Each bucket ends 10 % above the one before, from 1 ms to above 1 h: a quantile is told at most 10 % too long, never too short.
GROWTH = 1.1
EDGES = tuple(0.001 * GROWTH**step for step in range(160))
HALVE_EVERY = (
    500  # samples: what is older than about 1,000 answers fades, so that last month does not set today's limits
)
FAINT = 0.01  # of a sample; halved seven times, it may go
ENOUGH = 20  # samples before a history says anything
LOOK_EVERY = 16  # answers between two looks at the history: five quantiles at every prompt took 5 µs
MARGIN = 1.5  # on p99.9 (resilience.md 5.3; AWS Builders' Library: the percentile is the rate of false time-outs that one accepts)
LOAD_MARGIN = 3.0  # a load from a cold disk takes a multiple of one from the page cache
LOAD = (60.0, 900.0)  # seconds, the least and the most
# Seconds between which a learned limit stays: below, a hiccup would count as a failure; above, nobody believes in an answer any more.
FIRST_TOKEN = {"edge": (10.0, 300.0), "cloud": (5.0, 60.0)}
IDLE = {"edge": (5.0, 60.0), "cloud": (5.0, 30.0)}
_NO_WISH = Timeouts()


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that each phase may be silent. Pings and comments do not count as sound, thinking does."""

    connect: float
    load: float
    first_token: float
    idle: float


# Start values. A first token from a cold Ollama may wait for the load of the model (its own limit is 5 minutes); a cloud answers or is ill.
EDGE = Limits(connect=2.0, load=300.0, first_token=300.0, idle=60.0)
CLOUD = Limits(connect=5.0, load=60.0, first_token=60.0, idle=30.0)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long an attempt that succeeded took, in seconds.

    Attributes:
        total: From its start to its end.
        first_token: From the request (after the load, if any) to the first sign of work.
        gap: The longest silence between two signs of work.
        load: Bringing the model into memory, `None` when it was there.
        prompt_tokens: Read by the model.
    """

    total: float
    first_token: float | None = None
    gap: float | None = None
    load: float | None = None
    prompt_tokens: int | None = None


class Histogram:
    """Counts in logarithmic buckets, halved now and then: constant memory, constant time, and it forgets."""

    __slots__ = ("_counts", "_top", "samples", "weight")

    def __init__(self) -> None:
        self._counts = [0.0] * (len(EDGES) + 1)
        self._top = 0  # the highest bucket in use: upper quantiles are found in a few steps from there
        self.samples = 0
        self.weight = 0.0

    def record(self, value: float) -> None:
        """One more sample, from 1 ms to 1 h; what lies outside counts as the end that it is beyond."""
        bucket = bisect_left(EDGES, value)
        self._counts[bucket] += 1.0
        if bucket > self._top:
            self._top = bucket
        self.samples += 1
        self.weight += 1.0
        if self.samples % HALVE_EVERY == 0:
            self._halve()

    def quantile(self, share: float) -> float | None:
        """The smallest bucket's end below which `share` of the weight lies; `None` when nothing was recorded."""
        if not self.samples:
            return None
        above = (1.0 - share) * self.weight
        seen = 0.0
        for bucket in range(self._top, -1, -1):
            seen += self._counts[bucket]
            if seen > above:
                break
        return EDGES[min(bucket, len(EDGES) - 1)]

    def _halve(self) -> None:
        self._counts = [count / 2 if count >= 2 * FAINT else 0.0 for count in self._counts]
        self.weight = sum(self._counts)
        self._top = max(bucket for bucket, count in enumerate(self._counts) if count)


class Steady(NamedTuple):
    """Limits, and what they are meant for: prompts of so many tokens at most, and a spec, which changes when the caller sets something."""

    limits: Limits
    longest: float
    spec: ModelSpec


@dataclass(slots=True)
class Learned:
    """The history of one model's successes; the only state here that changes in place, because it is written at every answer.

    Attributes:
        prompts: Thousands of tokens, which the buckets fit as well. They fade as fast as the times that they explain.
        misses: Limits that were passed since the last success. Only successes teach, but who has become slower than its limit would never
            succeed again: each miss doubles the patience until one does.
        steady: What `limits` last gave, until enough has been learned to look again.
    """

    first_token: Histogram = field(default_factory=Histogram)
    gap: Histogram = field(default_factory=Histogram)
    load: Histogram = field(default_factory=Histogram)
    prompts: Histogram = field(default_factory=Histogram)
    misses: int = 0
    answers: int = 0
    steady: Steady | None = None

    def record(self, timing: Timing) -> None:
        """An attempt succeeded."""
        self.answers += 1
        if self.misses or self.answers <= ENOUGH or self.answers % LOOK_EVERY == 0:
            self.steady = None
        self.misses = 0
        if timing.first_token is not None:
            self.first_token.record(timing.first_token)
            if timing.prompt_tokens:
                self.prompts.record(timing.prompt_tokens / 1000)
        if timing.gap is not None:
            self.gap.record(timing.gap)
        if timing.load is not None:
            self.load.record(timing.load)

    def missed(self) -> None:
        """An attempt passed one of its limits."""
        self.misses += 1
        self.steady = None


def limits(spec: ModelSpec, learned: Learned | None, prompt_tokens: int) -> Limits:
    """How long each phase of an attempt may be silent: what the caller set, else what was learned, else the start values."""
    if learned is None:
        return _wished(spec, EDGE if spec.is_edge else CLOUD)
    steady = learned.steady
    if steady is not None and prompt_tokens <= steady.longest and spec is steady.spec:
        return steady.limits
    found = _wished(spec, _from_history(spec, learned, prompt_tokens))
    longest = 1000 * (learned.prompts.quantile(0.999) or 0.0) if spec.is_edge else inf
    learned.steady = Steady(found, longest, spec) if prompt_tokens <= longest else None
    return found


def _wished(spec: ModelSpec, found: Limits) -> Limits:
    """The limits, but for those that the caller set."""
    wish = spec.timeouts
    if wish == _NO_WISH:
        return found
    return Limits(
        found.connect if wish.connect is None else wish.connect,
        found.load if wish.load is None else wish.load,
        found.first_token if wish.first_token is None else wish.first_token,
        found.idle if wish.idle is None else wish.idle,
    )


def p95_first_token(learned: Learned) -> float | None:
    """Seconds within which 19 of 20 first tokens came; `None` while too few were seen."""
    return learned.first_token.quantile(0.95) if learned.first_token.samples >= ENOUGH else None


def median_load(learned: Learned) -> float | None:
    """The usual seconds of a load; `None` before the first."""
    return learned.load.quantile(0.5)


def _from_history(spec: ModelSpec, learned: Learned, prompt_tokens: int) -> Limits:
    start = EDGE if spec.is_edge else CLOUD
    patience = 2.0 ** min(learned.misses, 10)
    first_token = _learned(learned.first_token, MARGIN) or start.first_token
    if spec.is_edge:
        first_token *= _excess(learned.prompts, prompt_tokens)
    idle = _learned(learned.gap, MARGIN) or start.idle
    load = _learned(learned.load, LOAD_MARGIN) or start.load
    return Limits(
        start.connect,
        _within(load * patience, LOAD),
        _within(first_token * patience, FIRST_TOKEN[spec.place]),
        _within(idle * patience, IDLE[spec.place]),
    )


def _learned(history: Histogram, margin: float) -> float | None:
    slowest = history.quantile(0.999) if history.samples >= ENOUGH else None
    return None if slowest is None else slowest * margin


def _excess(prompts: Histogram, prompt_tokens: int) -> float:
    """By how much a prompt is longer than those that the times were learned from: reading is linear in the length."""
    largest = prompts.quantile(0.999)
    return 1.0 if largest is None else max(1.0, prompt_tokens / 1000 / largest)


def _within(seconds: float, bounds: tuple[float, float]) -> float:
    return min(max(seconds, bounds[0]), bounds[1])
