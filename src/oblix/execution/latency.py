"""What a model's own history says about patience: quantiles that forget, and the limits of an attempt that are learned from them."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
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
# Seconds between which a limit stays that rests on a guess: below, a hiccup would count as a failure; above, nobody believes in an answer
# any more, unless answers have shown otherwise.
FIRST_TOKEN = {"edge": (10.0, 300.0), "cloud": (5.0, 60.0)}
IDLE = {"edge": (5.0, 60.0), "cloud": (5.0, 30.0)}
# Seconds, the most that doubling or long answers bring a limit to. Chat completions of OpenAI stream no thinking: a model that reasons for
# minutes is silent for minutes, and could never answer below a fixed bound. It is the deadline of a call that sets none.
LONGEST = 600.0
_NO_WISH = Timeouts()


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that each phase may be silent. Pings and comments do not count as sound, thinking does."""

    connect: float
    load: float
    first_token: float
    idle: float


# Start values, for an empty prompt. A cloud answers or is ill. A model at home has been loaded by then, which has a limit of its own (that
# of Ollama is 5 minutes): 30 s are for other requests before this one, and no longer, because it may hang.
# `connect` is not learned: it depends on the way, not on the model, and a kept-alive connection gives no sample. resilience.md 5.3 sets
# 1 s; a SYN that is lost is sent again after 1 and 3 s (RFC 6298), so that ours survive one loss at home, and two on the way to a cloud.
EDGE = Limits(connect=2.0, load=300.0, first_token=30.0, idle=60.0)
CLOUD = Limits(connect=5.0, load=60.0, first_token=60.0, idle=30.0)
# Seconds to read one more token of the prompt, while nothing better is known. Home: an old machine with 2 cores reads 24 to 56 tokens a
# second when busy (engine.md 3, SmolLM2-135M). Cloud: its 60 s are for 200,000 tokens, the window of the large models.
READING = {"edge": 0.05, "cloud": 0.0003}


@dataclass(frozen=True, slots=True)
class Timing:
    """How long an attempt that succeeded took, in seconds.

    Attributes:
        total: From its start to its end.
        first_token: From the request (after the load, if any) to the first sign of work.
        gap: The longest silence between two signs of work.
        load: Bringing the model into memory, `None` when it was there.
        prompt_tokens: Read by the model.
        answer_tokens: Written by it.
    """

    total: float
    first_token: float | None = None
    gap: float | None = None
    load: float | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


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
        start = EDGE if spec.is_edge else CLOUD
        return _wished(spec, replace(start, first_token=_start(spec, prompt_tokens)))
    steady = learned.steady
    if steady is not None and prompt_tokens <= steady.longest and spec is steady.spec:
        return steady.limits
    found = _wished(spec, _from_history(spec, learned, prompt_tokens))
    longest = _longest_prompt(learned)
    is_steady = learned.first_token.samples >= ENOUGH and prompt_tokens <= longest
    learned.steady = Steady(found, longest, spec) if is_steady else None
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
    first, gap = _shown(learned.first_token, MARGIN), _shown(learned.gap, MARGIN)
    load = _shown(learned.load, LOAD_MARGIN) if learned.load.samples >= ENOUGH else start.load
    if learned.first_token.samples >= ENOUGH:
        first_token = _stretched(first, spec, learned, prompt_tokens)
    else:
        first_token = max(first, _start(spec, prompt_tokens))
    idle = gap if learned.gap.samples >= ENOUGH else max(gap, start.idle)
    return Limits(
        start.connect,
        _within(load * patience, LOAD),
        _patient(first_token, FIRST_TOKEN[spec.place], shown=first, patience=patience),
        _patient(idle, IDLE[spec.place], shown=gap, patience=patience),
    )


def _start(spec: ModelSpec, prompt_tokens: int) -> float:
    """Seconds to the first token of a model of which nothing is known."""
    start = EDGE if spec.is_edge else CLOUD
    return min(start.first_token + READING[spec.place] * prompt_tokens, FIRST_TOKEN[spec.place][1])


def _shown(history: Histogram, margin: float) -> float:
    """Seconds that answers have shown to be needed, with a margin; 0 before the first. A few of them may lengthen a start value only."""
    return (history.quantile(0.999) or 0.0) * margin


def _stretched(seconds: float, spec: ModelSpec, learned: Learned, prompt_tokens: int) -> float:
    """What was learned, for a prompt that may be longer than those that it was learned from.

    Reading is linear in the length. Short prompts, or such as the model had in its cache, say little of reading, though: each further token
    gets the seconds of the start value at least.
    """
    longest = _longest_prompt(learned)
    if prompt_tokens <= longest:
        return seconds
    return max(seconds * prompt_tokens / longest, seconds + READING[spec.place] * (prompt_tokens - longest))


def _longest_prompt(learned: Learned) -> float:
    """Tokens of the longest prompt that the times were learned from; without an end when no lengths were told."""
    thousands = learned.prompts.quantile(0.999)
    return inf if thousands is None else 1000 * thousands


def _patient(seconds: float, bounds: tuple[float, float], *, shown: float, patience: float) -> float:
    """A guess stays within its bounds; what answers have shown goes beyond them, and so does patience after a miss."""
    return min(max(_within(seconds, bounds), shown) * patience, LONGEST)


def _within(seconds: float, bounds: tuple[float, float]) -> float:
    return min(max(seconds, bounds[0]), bounds[1])
