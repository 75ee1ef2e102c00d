"""What a world met: a simulation in which nothing ever went wrong would prove nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from oblix.errors import OblixError

from .caller import Call
from .model import SimModel
from .plan import World
from .surroundings import Disk, Engine

# All of these must happen within a few hundred worlds (a test shows it).
MUST_HAPPEN = frozenset(
    {
        "retry", "hedge", "continuation", "reset", "postponed", "load", "crash", "poison", "private", "refused write",
        "reply", "cancelled", "left", "AllModelsFailed", "DeadlineExceeded", "StreamBroken", "Vetoed", "PrivacyViolation",
        "quarantine",
    }
)  # fmt: skip


def tally(
    world: World, calls: Iterable[Call], models: Iterable[SimModel], engines: Iterable[Engine], disk: Disk
) -> Counter[str]:
    """Counts of what happened in a world that has ended."""
    met = Counter({"refused write": len(disk.refused), "crash": sum(engine.crashes for engine in engines)})
    for model in models:
        met["load"] += model.loads
        for told in model.answers:
            met["retry"] += told.number > 0
            met["continuation"] += bool(told.began_with)
            met["poison"] += told.has_crashed
            met[f"fault {told.fate.what}"] += told.fate.what is not None
    for call in calls:
        met["private"] += call.plan.is_private or world.policy == "private"
        met["reset"] += call.resets
        met[type(call.error).__name__ if call.error else call.ending] += 1
        for attempt in call.reply.attempts if call.reply else getattr(call.error, "attempts", ()):
            met["hedge"] += attempt.hedged
            met["postponed"] += attempt.outcome == "postponed"
        if isinstance(call.error, OblixError) and call.error.decision is not None:
            met["quarantine"] += any(each.reason.code == "quarantine" for each in call.error.decision.candidates)
    return met
