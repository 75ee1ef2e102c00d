"""Cold starts: how long a request waits for a model that is being brought into memory before another one answers in its place."""

from __future__ import annotations

from collections.abc import Sequence

from oblix.execution.health import HealthBook
from oblix.execution.journey import Journey
from oblix.models.base import Model

# Seconds. A small model on a quick disk is there by then (smollm2: 0.4 s); nobody wants to sit through the 30 s of a large one.
BRIDGE_AFTER = 1.0
LOOK = 0.25  # seconds, where it is known to take longer: time enough to ask its server whether it is loaded after all


class StillLoading(Exception):
    """The model is not there yet, and somebody else can answer. Its load goes on."""


def is_cold(model: Model) -> bool:
    """Whether the model may have to be loaded before it answers."""
    return hasattr(model, "load") and model.state().loaded is not True  # 20 times as quick as asking the protocol


def patience(model: Model, others: Sequence[Model], journey: Journey, health: HealthBook, now: float) -> float | None:
    """Seconds to wait for a cold model; `None`: as long as it takes, because nobody else could answer meanwhile.

    Args:
        others: Who would be asked next.
        now: On the clock of `health`, in seconds.
    """
    if not is_cold(model) or journey.request.warm != "bridge":
        return None
    if not any(
        other.spec.place in journey.bridges and not is_cold(other) and not health.of(other.spec, now).failing
        for other in others
    ):
        return None
    usual = health.usual_load(model.spec)
    return LOOK if model.state().loading or (usual is not None and usual > BRIDGE_AFTER) else BRIDGE_AFTER
