"""Policies as data: how much each soft term weighs."""

from __future__ import annotations

from dataclasses import dataclass

from oblix.errors import InvalidRequest, known_hint


@dataclass(frozen=True, slots=True)
class Policy:
    """Weights of the soft terms. A score is their sum, so that only their proportions matter.

    Attributes:
        vote: A full vote of one agent for a place. It outweighs the whole range of `shortfall`, so that agents steer.
        shortfall: Lowest tier where the prompt asks for the highest.
        overshoot: Highest tier where the lowest would do.
        edge: Being at home, all else equal.
        speed: Slower than the fastest candidate, by the share of the slowest's seconds.
        price: Dearer than the cheapest candidate, by the share of the dearest's cost.
        bridges_to_cloud: While a model at home is being loaded, a cloud model may answer.
        always_top: Every prompt asks for the highest tier.
        always_private: Every prompt counts as private.
    """

    name: str
    vote: float = 3.0
    shortfall: float = 2.0
    overshoot: float = 1.0
    edge: float = 0.25
    speed: float = 0.0
    price: float = 0.0
    bridges_to_cloud: bool = True
    always_top: bool = False
    always_private: bool = False


PRESETS: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("balanced"),
        Policy(
            "offline_first", edge=12.0, bridges_to_cloud=False
        ),  # above two votes and the tier: the cloud only when nothing at home answers
        Policy("fastest", shortfall=1.0, overshoot=0.0, speed=4.0),
        Policy("cheapest", shortfall=0.5, price=4.0, edge=1.0),
        Policy("best", shortfall=4.0, overshoot=0.0, edge=0.0, always_top=True),
        Policy("private", edge=4.0, always_private=True),
    )
}


def policy(name: str) -> Policy:
    """The preset of that name.

    Raises:
        InvalidRequest: There is none; the message names the nearest.
    """
    found = PRESETS.get(name)
    if found is None:
        raise InvalidRequest(f"{name!r} is no policy.", hint=known_hint(name, PRESETS, heading="Policies"))
    return found
