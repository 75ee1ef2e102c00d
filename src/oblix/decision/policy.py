"""Policies as data: how much each soft term weighs, and a user's own rules, the first of which that matches wins."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

from oblix.errors import InvalidRequest, known_hint
from oblix.types.spec import Capability

WhenSparing = Literal["cloud", "smallest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """What a rule asks for. All that is given must hold; of several words, one is enough.

    Attributes:
        tags: Of the request.
        words: Phrases of the last user message, whatever their case.
        needs: Capabilities that the request needs.
        found: Kinds of private things that the detectors saw (`email`, `card`, …, or `any`).
        private: Whether the request is private.
        complexity_above, complexity_below: Limits of the score in [0, 1]; exclusive.
        tokens_above, tokens_below: Limits of the estimated prompt; exclusive.
        agents: Pairs of an agent's name and a state that it reports. Of several states of one agent one is enough, every agent counts.
    """

    tags: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    needs: tuple[Capability, ...] = ()
    found: tuple[str, ...] = ()
    private: bool | None = None
    complexity_above: float | None = None
    complexity_below: float | None = None
    tokens_above: int | None = None
    tokens_below: int | None = None
    agents: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A user's own rule. Exactly one of its wishes is given.

    Attributes:
        name: Said in the reason of every decision that it makes.
        to: Models to prefer, the best first: `edge`, `cloud`, or model ids. The others stay as a fallback.
        only: The models that may answer; the others are excluded.
        private: The request is private.
        use: The weights of this preset.
        refuse: The request is refused, for this reason.
    """

    name: str
    when: When = When()
    _: KW_ONLY
    to: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    private: bool = False
    use: str | None = None
    refuse: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Weights of the soft terms, and rules. A score is the sum of the terms, so that only the proportions of weights matter.

    Attributes:
        vote: A full vote of one agent for a place. It outweighs the whole range of `shortfall`, so that agents steer.
        shortfall: Lowest tier where the prompt asks for the highest.
        overshoot: Highest tier where the lowest would do.
        edge: Being at home, all else equal.
        speed: Ten times slower, by the predicted seconds of the whole answer.
        price: Ten times dearer, by the expected cost.
        stay: The model that answered the turn before, in mid-conversation.
        bridges_to_cloud: While a model at home is being loaded, a cloud model may answer.
        always_top: Every prompt asks for the highest tier.
        always_private: Every prompt counts as private.
        when_sparing: Whom to ask while energy is scarce here: rather the `cloud`, or the `smallest` tier at home.
        rules: The first that matches wins.
    """

    name: str
    vote: float = 4.0
    shortfall: float = 2.0
    overshoot: float = 1.0
    edge: float = 0.25
    speed: float = 0.5
    price: float = 0.1
    stay: float = 1.0
    bridges_to_cloud: bool = True
    always_top: bool = False
    always_private: bool = False
    when_sparing: WhenSparing = "cloud"
    rules: tuple[Rule, ...] = ()

    def with_rules_of(self, other: Policy) -> Policy:
        """This policy with the rules of another one, unless it has its own: who asks for other weights does not take back a rule."""
        return self if self.rules or not other.rules else replace(self, rules=other.rules)

    @property
    def words(self) -> tuple[str, ...]:
        """The phrases that its rules listen for."""
        return tuple(dict.fromkeys(word for rule in self.rules for word in rule.when.words)) if self.rules else ()

    @property
    def listens_for_findings(self) -> bool:
        """Whether a rule asks what the detectors found."""
        return any([rule.when.found for rule in self.rules])

    @property
    def digest(self) -> str:
        """Sixteen signs that stand for its name and all of its content."""
        return _digest(self)


HEAVIEST = 20.0  # of all weights: only their proportions matter, and the largest of a preset is 12
WEIGHTS = ("vote", "shortfall", "overshoot", "edge", "speed", "price", "stay")
SWITCHES = ("bridges_to_cloud", "always_top", "always_private")

# Each cell of docs/presets.md was reviewed with these. In `balanced`, `speed` and `price` choose between models of one tier and place;
# together with `stay` they keep a long conversation where its cache is, unless the prompt asks for a higher tier. A full vote outweighs all
# of that. `offline_first` has an `edge` above two votes and everything else: the cloud answers only when nothing at home does. In
# `fastest` and `cheapest` a single vote does not outweigh what they are named for, in `best` it takes two to outweigh the tier.
# While energy is scarce, a cloud model spares most of it. Where the cloud comes last, not at all, or has to be as cheap as home, a lean for
# it would change nothing; there a small model at home spares some.
PRESETS: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("balanced"),
        Policy("offline_first", edge=12.0, bridges_to_cloud=False, when_sparing="smallest"),
        Policy("fastest", vote=1.5, shortfall=0.25, overshoot=0.0, edge=0.1, speed=4.0, price=0.1, stay=0.5),
        Policy(
            "cheapest",
            vote=1.0,
            shortfall=0.5,
            overshoot=0.25,
            edge=1.0,
            speed=0.1,
            price=2.0,
            stay=0.5,
            when_sparing="smallest",
        ),
        Policy("best", shortfall=6.0, overshoot=0.0, edge=0.0, always_top=True),
        Policy("private", edge=4.0, always_private=True, when_sparing="smallest"),
    )
}


def policy(name: str) -> Policy:
    """The preset of that name.

    Raises:
        InvalidRequest: There is none; the message names the nearest.
    """
    found = PRESETS.get(name)
    if found is None:
        hint = f"{known_hint(name, PRESETS, heading='Policies')} A file is named by its path, which ends in .toml."
        raise InvalidRequest(f"{name!r} is no policy.", hint=hint)
    return found


@lru_cache(maxsize=256)
def _digest(policy: Policy) -> str:
    # As numbers of one kind: a policy made in Python may have whole ones, and is read back from JSON with fractions.
    weights = tuple(float(getattr(policy, weight)) for weight in WEIGHTS)
    switches = tuple(getattr(policy, switch) for switch in SWITCHES)
    told: tuple[object, ...] = (policy.name, weights, switches, policy.rules)
    if (
        policy.when_sparing != "cloud"
    ):  # else as before there was such a key: what earlier versions kept is known by its digest
        told += (policy.when_sparing,)
    return blake2b(repr(told).encode(), digest_size=8).hexdigest()
