"""What is asked: kinds of faults × moments × wires at home, in every way in which a prompt can be private, through every door."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from itertools import cycle
from typing import Any, Literal, get_args

from oblix import OblixClient
from oblix.decision.policy import PRESETS, Policy, Rule, When
from oblix.testing.faults import KINDS, MOMENTS, Fault, Kind, Wire, impossible
from oblix.types.failure import TREATMENTS
from oblix.types.privacy import Screening
from oblix.types.request import OnBreak, Warm
from oblix.types.spec import Place

from .secrets import secret_of

# What a run is for: the whole product; the guard alone, because the mind was broken; secrets that are taken out, so that the rest may go
# to a cloud; two controls, in which the cloud must see secrets.
Rig = Literal["whole", "guard_alone", "redacted", "nothing", "public"]
Spot = Literal["prompt", "system", "tool_result", "early_turn"]
Wanted = Literal["nobody", "edge", "cloud", "cloud_only"]
Ending = Literal["end", "leave", "shutdown", "deadline"]


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a model sits: a provider, the protocol it speaks, its place."""

    provider: str
    wire: Wire
    place: Place


CONTROLS: tuple[Rig, ...] = ("nothing", "public")
EDGES = (Seat("ollama", "ollama", "edge"), Seat("llamacpp", "openai", "edge"), Seat("claude", "claude", "edge"))
CLOUDS = (Seat("openai", "openai", "cloud"), Seat("claude", "claude", "cloud"), Seat("ollama", "ollama", "cloud"))
ENDINGS: tuple[Ending, ...] = ("end", "end", "end", "end", "end", "end", "leave", "shutdown", "deadline")
WANTED: tuple[Wanted, ...] = (
    "nobody",
    "nobody",
    "edge",
    "edge",
    "cloud",
    "cloud",
    "cloud_only",
)  # the last one meets no fault
LONG = (
    0.25  # share of the requests that go to a client which has answered public prompts before, from the cloud as well
)
MOST_TURNS = 150  # of the loop, after which a caller leaves; a request without pauses takes about as many


@dataclass(frozen=True, slots=True)
class Way:
    """How a prompt comes to be private.

    Attributes:
        wishes: What the caller passes.
        labels: The message that holds the secret carries a label.
        follows: The secret was told privately in the turn before, which is sent along without any label.
        tells: Words beside the secret that a detector knows.
        policy: The client's own.
        screening: What the client's detectors look for.
    """

    wishes: Mapping[str, Any] = field(default_factory=dict)
    _: KW_ONLY
    labels: bool = False
    follows: bool = False
    tells: str = ""
    policy: Policy | None = None
    screening: Screening | None = None

    @property
    def can_be_shared(self) -> bool:
        """Whether it changes nothing for the others that use the client."""
        return self.policy is None and self.screening is None

    def prepare(self, client: OblixClient) -> None:
        """What the user sets once."""
        if self.policy is not None:
            client.policy = self.policy
        if self.screening is not None:
            client.screening = self.screening


def _rules(when: When) -> Policy:
    return Policy("ours", rules=(Rule("stays here", when, private=True),))


WAYS: dict[str, Way] = {
    "argument": Way({"private": True}),
    "label": Way(labels=True),
    "turn_before": Way(follows=True),
    "policy": Way({"policy": "private"}),
    "own_policy": Way(policy=PRESETS["private"]),
    "rule_on_tags": Way({"tags": ["staff"]}, policy=_rules(When(tags=("staff",)))),
    "rule_on_words": Way(policy=_rules(When(words=("write down",)))),
    "rule_on_findings": Way(
        tells="Write to them@nowhere.example.",
        policy=_rules(When(found=("email",))),
        screening=Screening(mode="allow"),
    ),
    "detector": Way(tells="It is on DE89 3704 0044 0532 0130 00."),  # the example of ISO 13616, with its right checksum
    "own_names": Way(tells="Ask Rosalinde Quack.", screening=Screening(names=("Rosalinde Quack",))),
}
PUBLIC = Way()


@dataclass(frozen=True, slots=True)
class Case:
    """One request.

    Attributes:
        fault: What the edge model plays.
        edge: Where that model sits.
        cloud: Where the healthy model sits that must not be asked.
        wanted: Whom `model_id` names.
        relief: Another edge model is there, and well.
        named: The edge is reached by a name, which is looked up.
        turns: Of the loop, after which `leave` and `shutdown` come.
        is_long: It goes to a client that many share.
    """

    number: int
    rig: Rig
    fault: Fault
    edge: Seat
    cloud: Seat
    _: KW_ONLY
    way: str = "argument"
    spot: Spot = "prompt"
    wanted: Wanted = "nobody"
    streams: bool = False
    relief: bool = False
    named: bool = False
    hedge: bool = False
    on_break: OnBreak = "error"
    warm: Warm = "bridge"
    session: bool = False
    options: bool = False
    ending: Ending = "end"
    turns: int = 0
    is_long: bool = False

    @property
    def kind(self) -> Kind:
        return KINDS[self.fault.kind]

    @property
    def said(self) -> Way:
        """How it is private; the controls' public ones are not."""
        if self.rig == "redacted":
            return Way(screening=Screening(mode="redact", names=(self.secret,)))
        return PUBLIC if self.rig == "public" else WAYS[self.way]

    @property
    def marker(self) -> str:
        """What the fault server knows it by."""
        return f"REQ-{self.number:06d}"

    @property
    def secret(self) -> str:
        return secret_of(self.number)

    def __str__(self) -> str:
        words = (
            self.rig,
            self.fault.kind,
            self.fault.moment,
            self.edge.provider,
            self.cloud.provider,
            self.way,
            self.spot,
        )
        marks = [name for name in ("streams", "relief", "named", "hedge", "is_long") if getattr(self, name)]
        return " ".join((self.marker, *words, self.wanted, self.on_break, self.warm, self.ending, *marks))


def cases(count: int, seed: int) -> Iterator[Case]:
    """So many private requests, evenly over kinds, moments and wires; every other one meets a broken mind."""
    chance = random.Random(seed)
    faults = [
        (Fault(kind, moment), seat)
        for kind in KINDS
        for moment in MOMENTS
        for seat in EDGES
        if impossible(kind, moment, seat.wire) is None
    ]
    chance.shuffle(faults)
    rigs: cycle[Rig] = cycle(("whole", "guard_alone"))
    for number, (fault, edge) in zip(range(1, count + 1), cycle(faults), strict=False):
        yield _drawn(number, next(rigs), fault, edge, chance)


def redactions(count: int, seed: int) -> Iterator[Case]:
    """So many requests whose secret is on the user's own list, and is to be replaced by a placeholder for a cloud."""
    plan = (case for case in cases(4 * count, seed) if not case.is_long)
    for number, case in zip(range(800_000, 800_000 + count), plan, strict=False):
        yield replace(case, number=number, rig="redacted")


def _drawn(number: int, rig: Rig, fault: Fault, edge: Seat, chance: random.Random) -> Case:
    is_long = chance.random() < LONG and _fits_a_life(KINDS[fault.kind])
    # A shared client is not shut down by one of its callers.
    ending = chance.choice([ending for ending in ENDINGS if not (is_long and ending == "shutdown")])
    return Case(
        number,
        rig,
        fault,
        edge,
        chance.choice(CLOUDS),
        way=chance.choice([name for name, way in WAYS.items() if way.can_be_shared or not is_long]),
        spot=chance.choice(get_args(Spot)),
        wanted=chance.choice(WANTED),
        streams=chance.random() < 0.5,
        relief=chance.random() < 0.4,
        named=chance.random() < 0.3,
        hedge=chance.random() < 0.5,
        on_break=chance.choice(get_args(OnBreak)),
        warm=chance.choice(get_args(Warm)),
        session=chance.random() < 0.3,
        options=chance.random() < 0.3,
        ending=ending,
        turns=chance.randrange(MOST_TURNS),
        is_long=is_long,
    )


def _fits_a_life(kind: Kind) -> bool:
    """Whether others can share a client with it: it hits one request, and keeps the loop free."""
    return not kind.of_upstream and kind.family != "bomb"


def controls(count: int, seed: int) -> Iterator[Case]:
    """For each control so many requests that the cloud has to answer, because the edge surely fails or was not asked for."""
    chance = random.Random(seed)
    sure = [
        Fault(kind.name, "before_headers")
        for kind in KINDS.values()
        if "before_headers" in kind.moments and kind.family == "status" and not (kind.harmless or kind.may_answer)
        if all(TREATMENTS[failure].moves_on for failure in kind.expects("before_headers"))
    ]
    for rig in CONTROLS:
        for number in range(count):
            seat = chance.choice([seat for seat in EDGES if seat.wire != "claude"])
            able = [fault for fault in sure if impossible(fault.kind, fault.moment, seat.wire) is None]
            yield Case(
                900_000 + 1_000 * CONTROLS.index(rig) + number,
                rig,
                chance.choice(able),
                seat,
                CLOUDS[number % len(CLOUDS)],
                way=chance.choice([name for name, way in WAYS.items() if not way.follows]),
                spot=chance.choice(get_args(Spot)),
                wanted=chance.choice(("nobody", "cloud")),
                streams=bool(number % 2),
            )
