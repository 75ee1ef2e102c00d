"""How fast a model works, learned from its own answers: a line through its first tokens, and a mean of its writing. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from oblix.decision.facts import Pace
from oblix.decision.prediction import START
from oblix.execution.latency import Timing
from oblix.types.spec import Place

FADE = 0.9  # what an answer weighs after the next one: the last ten make two thirds of the picture
# Tokens. The slope of the line is held to its start value as if one answer had shown it over a difference of so many tokens: two prompts
# of about the same length say nothing about reading, and their noise must not be taken for it.
SPREAD = 200.0


@dataclass(frozen=True, slots=True)
class Tempo:
    """Fading sums over the answers so far: `x` are tokens of prompts, `y` seconds to the first token."""

    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    written: float = 0.0
    writing: float = 0.0
    load: float | None = None


UNHEARD = Tempo()


def heard(before: Tempo, timing: Timing) -> Tempo:
    """One more answer."""
    weight, x, y, xx, xy = before.weight, before.x, before.y, before.xx, before.xy
    written, writing = before.written, before.writing
    if timing.first_token is not None:
        tokens, seconds = float(timing.prompt_tokens or 0), timing.first_token
        weight, x, y = weight * FADE + 1.0, x * FADE + tokens, y * FADE + seconds
        xx, xy = xx * FADE + tokens * tokens, xy * FADE + tokens * seconds
        if timing.answer_tokens and timing.answer_tokens > 1:  # the first one's time is counted already
            written = written * FADE + timing.answer_tokens - 1
            writing = writing * FADE + max(0.0, timing.total - seconds)
    load = before.load if timing.load is None else timing.load
    return Tempo(weight, x, y, xx, xy, written, writing, load)


def pace_of(tempo: Tempo, place: Place) -> Pace | None:
    """What follows for the next answer; `None` before the first one. What was not seen yet is taken from the start values."""
    if not tempo.weight:
        return None
    start = START[place]
    mean_x, mean_y = tempo.x / tempo.weight, tempo.y / tempo.weight
    variance = max(0.0, tempo.xx / tempo.weight - mean_x * mean_x)
    covariance = tempo.xy / tempo.weight - mean_x * mean_y
    held = SPREAD * SPREAD / tempo.weight
    read = max(0.0, (covariance + held * start.read) / (variance + held))
    if mean_x > 0:
        read = min(read, mean_y / mean_x)  # or else the line would begin below zero
    write = tempo.writing / tempo.written if tempo.written else start.write
    return Pace(max(0.0, mean_y - read * mean_x), read, write, tempo.load)
