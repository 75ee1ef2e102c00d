"""What the mind is told of the models at home: by what we know of them ourselves, and by their engines."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from oblix.client.facts import Moment, assemble
from oblix.decision.facts import Fit, ModelFacts
from oblix.decision.policy import PRESETS
from oblix.execution.hands import Hands
from oblix.models.base import ModelState
from oblix.models.catalog import PriceBook
from oblix.testing import ScriptedModel, run
from oblix.types.messages import Message
from oblix.types.privacy import UNKNOWN
from oblix.types.request import Request
from oblix.types.spec import ModelSpec

from .hooked import PAID, Says, client_with, cloud, edge

MOMENT = Moment(1_795_000_000.0, 1.0, PRESETS["balanced"], UNKNOWN, {})


@dataclass
class Told:
    """Engines that tell the same of every model, and remember of whom they were asked."""

    fit: Fit | None = None
    queue: int = 0
    is_loaded: bool | None = None
    asked: list[str] = field(default_factory=list)

    def fit_of(self, spec: ModelSpec) -> Fit | None:
        self.asked.append(spec.id)
        return self.fit

    def queue_of(self, spec: ModelSpec) -> int:
        self.asked.append(spec.id)
        return self.queue

    def loaded(self, spec: ModelSpec) -> bool | None:
        self.asked.append(spec.id)
        return self.is_loaded


def known(model: ScriptedModel, engines: Told | None) -> ModelFacts:
    facts = assemble(Request("r1", (Message("user", "hi"),)), [model], Hands(), PriceBook(), MOMENT, engines=engines)
    return facts.models[0]


class Unsure(ScriptedModel):
    """A model of which nobody knows whether it is in memory, as with a server that was not asked yet."""

    def state(self) -> ModelState:
        return ModelState()


@pytest.mark.parametrize(
    ("told", "loaded", "queue", "fit"),
    [
        (None, None, 0, None),
        (Told(), None, 0, None),
        (Told("tight", 3), None, 3, "tight"),
        (Told("no", 0, False), False, 0, "no"),
        (Told("fits", 2, True), True, 2, None),
    ],
    ids=["nobody", "nothing known", "not yet asked for its load", "not loaded", "loaded"],
)
def test_what_an_engine_tells_of_a_model(told: Told | None, loaded: bool | None, queue: int, fit: Fit | None) -> None:
    """Of a loaded one nobody asks whether it fits."""
    found = known(Unsure("ollama:phi"), told)
    assert (found.loaded, found.queue, found.fit) == (loaded, queue, fit)


def test_what_we_know_of_a_load_goes_before_what_the_engine_said_last() -> None:
    """A look at an engine may be seconds old; an answer of the model is newer."""
    cold, warm = ScriptedModel("ollama:phi", load_seconds=5.0), ScriptedModel("ollama:phi")
    assert known(cold, Told("tight", is_loaded=True)).loaded is False
    assert known(cold, Told("tight", is_loaded=True)).fit == "tight"
    assert known(warm, Told("tight", is_loaded=False)).loaded is True


def test_no_engine_is_asked_for_a_model_in_the_cloud() -> None:
    told = Told("no", 9, False)
    found = known(ScriptedModel("openai:gpt", price=PAID), told)
    assert (found.loaded, found.queue, found.fit) == (None, 0, None)
    assert told.asked == []


LOW = {"state": "low", "sparing": True, "reason": "battery 9 %, not charging"}


@pytest.mark.parametrize(
    ("policy", "usually", "then"),
    [
        ("balanced", "large", "away"),
        ("offline_first", "large", "small"),
        ("private", "large", "small"),
        ("cheapest", "large", "small"),
    ],
)
def test_an_agent_that_asks_to_spare_energy_is_heard_as_the_policy_says(policy: str, usually: str, then: str) -> None:
    """A hard prompt; the large model at home and the one in the cloud are of one tier."""
    models = edge("small"), edge("large", name="ollama:llama", tier=2), cloud("away", tier=2)
    client = client_with(*models, policy=policy)
    prompt = "Analyze the security implications of quantum computing for cryptography in detail."
    assert run(client.execute(prompt)).response == usually
    client = client_with(*models, policy=policy)
    client.hook_agent(Says("power", LOW))
    reply = run(client.execute(prompt))
    assert reply.response == then
    assert "to spare this machine" in reply.decision.why()
