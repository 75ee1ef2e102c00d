"""What becomes of one attempt on one model, drawn from the seed, the model, the request and the number of the try."""

from __future__ import annotations

from dataclasses import dataclass

from oblix.types.request import Request

from .plan import ModelPlan, World

# What a provider lets slip that forgot to map it. `TimeoutError` among it: it must not be taken for a timer of ours.
_FOREIGN: tuple[type[Exception], ...] = (
    RuntimeError,
    OSError,
    KeyError,
    TimeoutError,
    ValueError,
    ConnectionResetError,
)
_MOMENTS = ("connect", "first", "middle", "end")
_FAREWELLS = (0.01, 0.2, 3.0, 30.0, 1e6)
SPREAD = (0.5, 1.5)  # times a model's own pace
USUAL = 0.04  # chance of a fault in good weather


@dataclass(frozen=True, slots=True)
class Fate:
    """How an attempt goes.

    Attributes:
        first: Seconds to the first sign of work.
        thoughts: Signs of work before the first text.
        words: Pieces of text in all.
        pace: Seconds between two pieces.
        what: The fault, `None` for none.
        moment: When it comes: `connect`, `first`, `middle` or `end`.
        farewell: Seconds that the model's clean-up takes when its stream is closed between two pieces.
        grip: Seconds that it takes when it is cancelled while it works on a piece.
    """

    first: float
    thoughts: int
    words: int
    pace: float
    what: str | None = None
    moment: str = ""
    retry_after: float | None = None
    farewell: float = 0.0
    grip: float = 0.0
    foreign: type[Exception] = RuntimeError


def draw_fate(world: World, model: ModelPlan, request: Request, number: int, now: float) -> Fate:
    """The fate of try `number` (from 0) of `request` on `model` at simulated second `now`."""
    chance = world.chance(model.id, request.id, number)
    spell = next((spell for spell in model.spells if spell.covers(now)), None)
    what: str | None = None
    if spell is not None and chance.random() < spell.chance:
        what = chance.choice(spell.what)
    elif now < world.span and chance.random() < USUAL:
        what = chance.choice(("server_error", "cut", "stall", "overloaded", "foreign"))
    return Fate(
        model.first * chance.uniform(*SPREAD),
        chance.choice((0, 0, 0, 2)),
        chance.randint(1, 8),
        model.pace * chance.uniform(*SPREAD),
        what,
        chance.choice(_MOMENTS) if what else "",
        chance.choice((0.0, 0.5, 5.0, 60.0)) if what in ("later", "overloaded") else None,
        chance.choice(_FAREWELLS) if chance.random() < 0.04 else 0.0,
        chance.choice(_FAREWELLS) if chance.random() < 0.04 else 0.0,
        chance.choice(_FOREIGN),
    )
