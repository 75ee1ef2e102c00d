"""From samples of an energy counter and the answers that were given meanwhile to joules per token. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

KEPT_SPANS = 256  # some minutes of readings, taken each second while a model works and each ten while none does
KEPT_ANSWERS = 32
ENOUGH_IDLE = 3  # readings without an answer, before it is known what the machine takes anyway
# Where among those readings: low, because a model may be at work whose answer is told only when it has ended.
IDLE_RANK = 0.25
# Share of what the machine takes anyway that must have come on top, or the answers were not given here (an edge host may be another one).
NOTICEABLE = 0.1


class Span(NamedTuple):
    """What was used between two readings of a counter."""

    began: float
    ended: float
    joules: float

    @property
    def watts(self) -> float:
        """The mean of its time."""
        return self.joules / (self.ended - self.began)


class Answer(NamedTuple):
    """What a model on this machine wrote, and when it worked on it. Without tokens it only tells who used the energy."""

    model_id: str
    began: float
    ended: float
    tokens: int | None


class EnergyUse:
    """The energy that each model's tokens take, above what the machine takes anyway; its reading of the prompt is paid by its tokens.

    What is used between two readings is shared by the answers that were worked on meanwhile, by their time.

    Args:
        shortest: Seconds that an answer must have taken to count; for counters that tell a mean over that long.
    """

    def __init__(self, shortest: float = 0.0) -> None:
        self.watts: float | None = None  # latest
        self.idle_watts: float | None = None
        self.per_token: Mapping[str, float] = {}  # replaced, never changed: another thread may be walking over it
        self._shortest = shortest
        self._last: tuple[float, float] | None = None
        self._spans: deque[Span] = deque(maxlen=KEPT_SPANS)
        self._answers: tuple[
            Answer, ...
        ] = ()  # replaced, never changed: answers are told on another thread than samples
        self._settled: tuple[Answer, ...] = ()  # those that `per_token` holds

    def answered(self, answer: Answer) -> None:
        """A model has ended its answer, or given up."""
        self._answers = (*self._answers, answer)[-KEPT_ANSWERS:]

    def sampled(self, at: float, joules: float | None) -> None:
        """The counter was read: `joules` since some moment, or `None` where it tells nothing any more."""
        before, self._last = self._last, None if joules is None else (at, joules)
        if joules is None or (before is not None and joules < before[1]):
            self._spans.clear()  # what comes next begins at another moment
            self.watts = None
        elif before is not None and at > before[0]:
            self._spans.append(Span(before[0], at, joules - before[1]))
            self.watts = self._spans[-1].watts
            if self._answers is not self._settled:
                self._settle(self._answers, tuple(self._spans))

    def _settle(self, answers: tuple[Answer, ...], spans: tuple[Span, ...]) -> None:
        idle = sorted(span.watts for span in spans if not any(_overlap(span, answer) for answer in answers))
        if len(idle) < ENOUGH_IDLE:
            return
        self.idle_watts = idle[int(IDLE_RANK * len(idle))]
        used: dict[str, tuple[float, float, int]] = {}
        for answer, joules in self._shares(spans, answers):
            seconds = answer.ended - answer.began
            if (
                answer.tokens
                and seconds >= self._shortest
                and spans[0].began <= answer.began
                and answer.ended <= spans[-1].ended
            ):
                before = used.get(answer.model_id, (0.0, 0.0, 0))
                used[answer.model_id] = (before[0] + joules, before[1] + seconds, before[2] + answer.tokens)
        kept = {model_id: joules for model_id, joules in self.per_token.items() if model_id not in used}
        self.per_token = kept | {
            model_id: joules / tokens
            for model_id, (joules, seconds, tokens) in used.items()
            if joules > NOTICEABLE * self.idle_watts * seconds
        }
        if all(answer.ended <= spans[-1].ended for answer in answers):
            self._settled = answers

    def _shares(self, spans: Sequence[Span], answers: Sequence[Answer]) -> Iterator[tuple[Answer, float]]:
        """Of each answer, the joules that it took above what is taken anyway."""
        claimed: dict[int, float] = {}  # of each span: seconds of work that the answers put into it, all together
        for answer in answers:
            for place in _places(spans, answer):
                claimed[place] = claimed.get(place, 0.0) + _overlap(spans[place], answer)
        for answer in answers:
            yield (
                answer,
                sum(
                    (spans[place].joules - (self.idle_watts or 0.0) * (spans[place].ended - spans[place].began))
                    * _overlap(spans[place], answer)
                    / claimed[place]
                    for place in _places(spans, answer)
                    if claimed[place] > 0.0
                ),
            )


def _overlap(span: Span, answer: Answer) -> float:
    """Seconds of the answer that fall into the span."""
    return max(0.0, min(span.ended, answer.ended) - max(span.began, answer.began))


def _places(spans: Sequence[Span], answer: Answer) -> range:
    """Which spans the answer may overlap."""
    first = max(0, bisect_right(spans, answer.began, key=lambda span: span.began) - 1)
    return range(first, bisect_right(spans, answer.ended, key=lambda span: span.began))
