"""What is asked: kinds × moments × protocols × {stream, buffered} × {alternative, none}, each combination as often as N allows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from itertools import cycle
from typing import Literal

from oblix.testing.faults import KINDS, MOMENTS, Fault, Kind, Moment, Wire, impossible
from oblix.types.failure import TREATMENTS
from oblix.types.request import OnBreak
from oblix.types.spec import Place

Life = Literal["fresh", "long"]
LONG = 0.2  # share of the requests that go to a client which lives through many of them, so that its breakers take part
PRIVATE = 0.25  # share of private prompts, where a cloud model is the only other one
ON_BREAK: tuple[OnBreak, ...] = (
    "error",
    "error",
    "restart",
    "continue",
)  # half of the streams ask for what is not the default
HEDGED = (
    0.25  # share of the requests in a long life that may be hedged; a new client knows no usual time to compare with
)
HURRIED = 0.25  # share of requests whose deadline ends before the timer that would notice the fault
# A second answer that arrives while the connection already serves the next request is that one's answer, as far as HTTP/1.1 can tell.
HITS_THE_NEXT = frozenset({"answer_unasked"})
STANDS_BACK = 30.0  # seconds of a cooldown after which a fault would keep its model out for most of a long life


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a model sits: a provider, the protocol it speaks, its place."""

    provider: str
    wire: Wire
    place: Place


SEATS = (
    Seat("ollama", "ollama", "edge"),
    Seat("llamacpp", "openai", "edge"),
    Seat("openai", "openai", "cloud"),
    Seat("claude", "claude", "cloud"),
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of the matrix.

    Attributes:
        fault: What the first candidate plays.
        seat: Of the first candidate.
        other: Of the healthy second one, `None` where there is none.
        streams: As a stream, or buffered.
        is_private: The prompt may not leave the edge.
        on_break: What its stream does after the commit point.
        is_hurried: Its deadline ends before any timer.
        hedges: It may start the next model beside a slow one.
        life: A client of its own, or one that many requests share.
    """

    number: int
    fault: Fault
    seat: Seat
    other: Seat | None
    _: KW_ONLY
    streams: bool
    is_private: bool = False
    on_break: OnBreak = "error"
    is_hurried: bool = False
    hedges: bool = False
    life: Life = "fresh"

    @property
    def kind(self) -> Kind:
        return KINDS[self.fault.kind]

    @property
    def marker(self) -> str:
        return f"REQ-{self.number:06d}"

    @property
    def secret(self) -> str:
        """Words that must stay where the prompt stays."""
        return f"canary-prompt-{self.number:06d}"

    def __str__(self) -> str:
        words = [self.marker, self.fault.kind, self.fault.moment, self.seat.provider]
        words += [f"then {self.other.provider}" if self.other else "alone", "stream" if self.streams else "buffered"]
        marks = {
            "private": self.is_private,
            self.on_break: self.on_break != "error",
            "hurried": self.is_hurried,
            "hedged": self.hedges,
            self.life: self.life == "long",
        }
        return " ".join(words + [mark for mark, is_set in marks.items() if is_set])


@dataclass(frozen=True, slots=True)
class _Shape:
    seat: Seat
    streams: bool
    has_other: bool


def shapes(kind: str, moment: Moment) -> list[_Shape]:
    """The combinations that can be for a kind at a moment."""
    return [
        _Shape(seat, streams, has_other)
        for seat in SEATS
        if impossible(kind, moment, seat.wire) is None
        for streams in (True, False)
        for has_other in (True, False)
    ]


def never() -> Mapping[str, list[str]]:
    """Reason → the combinations of kind and moment that cannot be, in any protocol."""
    found: dict[str, list[str]] = {}
    for kind in KINDS:
        for moment in MOMENTS:
            reasons = [impossible(kind, moment, seat.wire) for seat in SEATS]
            if all(reasons):
                reason = str(reasons[0]).removeprefix(f"{kind}: ")
                found.setdefault(reason, []).append(f"{kind} {moment}")
    return found


def asks(count: int, seed: int, *, without: frozenset[str] = frozenset()) -> Iterator[Ask]:
    """So many requests, evenly over kinds and moments, then over the rest; the same ones for the same seed.

    Args:
        without: Families to leave out.
    """
    chance = random.Random(seed)
    groups: list[tuple[Fault, Iterator[_Shape]]] = []
    for name, kind in KINDS.items():
        for moment in MOMENTS:
            if kind.family not in without and (found := shapes(name, moment)):
                chance.shuffle(found)
                groups.append((Fault(name, moment), cycle(found)))
    chance.shuffle(groups)
    for number, (fault, able) in zip(range(1, count + 1), cycle(groups), strict=False):
        yield _ask(number, fault, next(able), chance)


def _ask(number: int, fault: Fault, shape: _Shape, chance: random.Random) -> Ask:
    kind = KINDS[fault.kind]
    other = None
    if shape.has_other:
        # From the edge to the cloud, and from the cloud to anywhere else.
        other = chance.choice([s for s in SEATS if s != shape.seat and "cloud" in (s.place, shape.seat.place)])
    crosses = shape.seat.place == "edge" and other is not None
    is_long = chance.random() < LONG and fits_a_long_life(kind, fault.moment)
    return Ask(
        number,
        fault,
        shape.seat,
        other,
        streams=shape.streams,
        is_private=chance.random() < PRIVATE and crosses,
        on_break=chance.choice(ON_BREAK) if shape.streams else "error",
        is_hurried=chance.random() < HURRIED and kind.in_time,
        hedges=chance.random() < HEDGED and is_long and other is not None,
        life="long" if is_long else "fresh",
    )


def fits_a_long_life(kind: Kind, moment: Moment) -> bool:
    """Whether others can share a client with it: it hits one request, and its model is soon asked again."""
    if (
        kind.name in HITS_THE_NEXT or kind.family == "bomb"
    ):  # a bomb keeps the loop busy for longer than the others' timers
        return False
    cooldowns = [TREATMENTS[failure].cooldown or 0.0 for failure in kind.expects(moment)]
    return not kind.of_upstream and max(cooldowns, default=0.0) < STANDS_BACK
