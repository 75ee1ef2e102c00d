"""A simulated world as a value: models, weather, agents, disk and requests, all drawn from one seed."""

from __future__ import annotations

import random
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from oblix.errors import FailureKind
from oblix.types.ids import record_id
from oblix.types.messages import Tool
from oblix.types.spec import Capability, Place, Price

K = FailureKind
HOUR = 3600.0
EPOCH = 1_790_000_000.0  # a day in 2026, in seconds; ids of requests sort from there
Manner = Literal["answer", "lag", "hang", "raise", "junk", "veto"]
Trouble = Literal["slow", "locked", "full", "broken"]
# What only the hands may say of an attempt; a provider never does.
_NOT_OF_A_MODEL = {K.TIMEOUT_TOTAL, K.TIMEOUT_IDLE, K.TIMEOUT_FIRST_TOKEN}
KINDS: tuple[str, ...] = tuple(kind.value for kind in K if kind not in _NOT_OF_A_MODEL)
# Beyond the kinds: silence, tokens that come too slowly, an end without proof, an error that a provider should have mapped, and a peer
# that asks for patience.
FAULTS = (*KINDS, "stall", "crawl", "cut", "foreign", "later")


@dataclass(frozen=True, slots=True)
class Spell:
    """A span of simulated seconds, and what goes wrong in it with what chance."""

    start: float
    end: float
    what: tuple[str, ...]
    chance: float = 1.0

    def covers(self, now: float) -> bool:
        """Whether it is on."""
        return self.start <= now < self.end


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """A model to be. All times are in seconds.

    Attributes:
        first: Until the first sign of work.
        pace: Between two pieces.
        load: What a load takes, `None` for a model that is always ready.
        keep: How long it stays in memory after its last answer.
        spells: When it is ill, and with what.
    """

    id: str
    place: Place
    endpoint: str
    _: KW_ONLY
    tier: int | None
    window: int | None
    price: Price
    capabilities: frozenset[Capability]
    pace: float
    first: float
    load: float | None
    keep: float
    spells: tuple[Spell, ...]


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """An agent to be: `manners` are drawn from for each question; `sees_network` makes it tell of outages."""

    name: str
    manners: tuple[Manner, ...]
    start: float = 0.0
    fail_closed: bool = False
    sees_network: bool = False
    peeks: bool = False


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """One caller: what is asked when, and how the caller behaves.

    Attributes:
        cancel_after: Seconds after asking at which the caller's task is cancelled.
        leave_after: Pieces after which the reader of a stream leaves.
        pause: Seconds that the reader of a stream takes for each piece.
    """

    id: str
    at: float
    prompt: str
    stream: bool
    deadline: float | None
    wishes: dict[str, Any]
    model_id: str | None = None
    cancel_after: float | None = None
    leave_after: int | None = None
    pause: float = 0.0

    @property
    def is_private(self) -> bool:
        """Whether the caller said so (the policy `private` says so as well)."""
        return bool(self.wishes.get("private")) or self.wishes.get("policy") == "private"


@dataclass(frozen=True, slots=True)
class World:
    """All that a seed stands for.

    Attributes:
        span: Seconds after which nothing goes wrong any more.
        past: Answers of each model that the client remembers from before; without, nothing is hedged.
        shutdown: When somebody shuts the client down in the middle, which may be used again at once; `None` for never.
    """

    seed: int
    policy: str
    models: tuple[ModelPlan, ...]
    agents: tuple[AgentPlan, ...]
    requests: tuple[RequestPlan, ...]
    network: tuple[Spell, ...]
    disk: tuple[Spell, ...]
    span: float
    past: int
    shutdown: float | None

    def chance(self, *what: object) -> random.Random:
        """A source of chance of its own for `what`, so that one change in the world leaves the rest of it as it was."""
        return random.Random(f"{self.seed}/{'/'.join(map(str, what))}")


def draw(seed: int) -> World:
    """The world of `seed`."""
    chance = random.Random(f"{seed}/world")
    span = chance.choice((20.0, 120.0, 600.0, HOUR))
    models = tuple(_model(chance, number, span) for number in range(chance.choice((1, 2, 2, 3, 3, 4, 5))))
    return World(
        seed,
        chance.choice(("balanced", "balanced", "offline_first", "fastest", "cheapest", "best", "private")),
        models,
        tuple(_agent(chance, number) for number in range(chance.choice((0, 1, 1, 2, 3)))),
        _requests(chance, seed, models, span),
        _spells(chance, span, (("reset",), ("freeze",), ("slow",), ("no_route",), ("names",)), most=5),
        _spells(chance, span, (("slow",), ("locked",), ("full",), ("broken",)), most=2),
        span,
        chance.choice((0, 0, 40)),
        chance.uniform(0.0, span) if chance.random() < 0.15 else None,
    )


def _model(chance: random.Random, number: int, span: float) -> ModelPlan:
    place: Place = chance.choice(("edge", "cloud"))
    site = chance.randrange(2)  # models share an endpoint: at home an engine, in the cloud a provider
    capabilities: set[Capability] = {"tools", "json"} if chance.random() < 0.8 else set()
    if place == "edge" and chance.random() < 0.6:
        capabilities.add("prefill")
    cheap = Price(0.0, 0.0, "sim") if place == "edge" else Price(chance.uniform(0.1, 5), chance.uniform(0.5, 20), "sim")
    return ModelPlan(
        f"{'home' if place == 'edge' else 'sky'}:m{number}",
        place,
        f"http://home{site}:1" if place == "edge" else f"https://sky{site}",
        tier=chance.choice((None, None, 1, 2, 3)),
        window=chance.choice((None, 512, 8192, 100_000)),
        price=cheap,
        capabilities=frozenset(capabilities),
        pace=chance.choice((0.005, 0.02, 0.1, 0.5)),
        first=chance.choice((0.02, 0.2, 1.0, 4.0)),
        load=chance.choice((None, 0.5, 4.0, 40.0)) if place == "edge" else None,
        keep=chance.choice((5.0, 300.0, HOUR)),
        spells=_spells(chance, span, _moods(chance), most=4, chances=(0.2, 0.6, 1.0)),
    )


def _moods(chance: random.Random) -> tuple[tuple[str, ...], ...]:
    """A model that is ill mostly has one illness for a while, sometimes all of them."""
    return (FAULTS, *((chance.choice(FAULTS),) for _ in range(4)), tuple(chance.sample(FAULTS, 3)))


def _spells(
    chance: random.Random,
    span: float,
    whats: tuple[tuple[str, ...], ...],
    *,
    most: int,
    chances: tuple[float, ...] = (1.0,),
) -> tuple[Spell, ...]:
    found = []
    for _ in range(chance.randrange(most + 1)):
        start = chance.uniform(-0.1, 1.0) * span
        length = span * chance.choice((0.02, 0.1, 0.4))
        found.append(Spell(start, min(span, start + length), chance.choice(whats), chance.choice(chances)))
    return tuple(sorted(found, key=lambda spell: spell.start))


def _agent(chance: random.Random, number: int) -> AgentPlan:
    usual: tuple[Manner, ...] = ("answer",) * 12
    odd: tuple[Manner, ...] = ("lag", "hang", "raise", "junk", "veto")
    return AgentPlan(
        f"agent{number}",
        usual + (odd if chance.random() < 0.3 else chance.choice(((), ("lag",), ("raise", "junk")))),
        start=chance.choice((0.0, 0.0, 0.01, 0.4, 5.0)),
        fail_closed=chance.random() < 0.1,
        sees_network=number == 0,
        peeks=chance.random() < 0.3,
    )


def _requests(chance: random.Random, seed: int, models: tuple[ModelPlan, ...], span: float) -> tuple[RequestPlan, ...]:
    times: list[float] = []
    left = chance.randint(10, 40)
    while left > 0:
        crowd = min(left, chance.choice((1, 1, 1, 2, 4, 10)))  # they come alone, and in bursts
        at = chance.uniform(0.0, span)
        times += [at + chance.choice((0.0, 0.0, 0.01, 0.5)) * index for index in range(crowd)]
        left -= crowd
    times.sort()
    return tuple(_request(chance, seed, number, at, models) for number, at in enumerate(times))


def _request(chance: random.Random, seed: int, number: int, at: float, models: tuple[ModelPlan, ...]) -> RequestPlan:
    stream = chance.random() < 0.6
    wishes = _wishes(chance)
    # The same poison comes again and again, word for word; other prompts differ.
    prompt = f"q{number} " + "word " * chance.choice((3, 3, 10, 60, 700))
    if chance.random() < 0.06:
        prompt = f"POISON{chance.randrange(2)}"
    return RequestPlan(
        record_id(EPOCH + at, (seed << 16) + number),
        at,
        prompt,
        stream,
        chance.choice((0.5, 2.0, 10.0, 30.0, 120.0, 120.0, 600.0, None)),
        wishes,
        model_id=chance.choice(models).id if chance.random() < 0.1 else None,
        cancel_after=chance.choice((0.0, 0.05, 0.2, 1.0, 3.0, 10.0)) * chance.random()
        if chance.random() < 0.15
        else None,
        leave_after=chance.randrange(1, 6) if stream and chance.random() < 0.1 else None,
        pause=chance.choice((0.1, 1.0, 20.0)) if stream and chance.random() < 0.1 else 0.0,
    )


def _wishes(chance: random.Random) -> dict[str, Any]:
    wishes: dict[str, Any] = {"fallback": chance.random() < 0.5}
    if chance.random() < 0.2:
        wishes["private"] = True
    if chance.random() < 0.1:
        wishes["policy"] = chance.choice(("private", "best", "cheapest"))
    if chance.random() < 0.7:
        wishes["on_break"] = chance.choice(("error", "restart", "restart", "continue", "continue"))
    if chance.random() < 0.1:
        wishes["tools"] = (Tool("look"),)
    if chance.random() < 0.05:
        wishes["max_cost_usd"] = chance.choice((0.0, 0.001, 1.0))
    if chance.random() < 0.4:
        wishes["hedge"] = True
    if chance.random() < 0.5:
        wishes["warm"] = chance.choice(("bridge", "wait"))
    return wishes
