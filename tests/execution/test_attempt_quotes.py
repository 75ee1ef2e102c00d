"""A provider's slip whose words quote the prompt: neither the record of the attempt nor the model's health keeps the quotation."""

from __future__ import annotations

import pytest

from oblix.execution.hands import Hands
from oblix.testing import ScriptedModel, run
from oblix.types.messages import Message
from oblix.types.request import Request

from .walking import go

PATIENT = "My patient Ada Lovelace has a broken leg and pays with a card."


@pytest.mark.parametrize(
    ("slip", "kept"),
    [
        (KeyError(PATIENT), "ollama:bad: KeyError: "),
        (ValueError(f"cannot render {PATIENT!r} as JSON"), "ollama:bad: ValueError: cannot render "),
        (RuntimeError("no such template"), "ollama:bad: RuntimeError: no such template"),
    ],
    ids=["the prompt alone", "the prompt within a sentence", "no prompt"],
)
def test_a_slip_of_a_provider_tells_what_it_is_and_not_the_prompt(slip: Exception, kept: str) -> None:
    bad, good = ScriptedModel("ollama:bad", [slip]), ScriptedModel("ollama:good", "home")
    hands = Hands(chance=lambda: 0.5)
    request = Request("r1", (Message("user", PATIENT),))
    walked = run(go(bad, good, request=request, hands=hands))
    failed, answered = walked.journey.attempts
    assert (failed.outcome, failed.kind, answered.outcome) == ("failed", "internal", "ok")
    assert walked.text == "home"
    assert failed.why is not None
    assert failed.why.startswith(kept)
    health = hands.health.of(bad.spec, walked.at)
    for told in (failed.why, repr(failed), repr(health), str(walked.failures[0])):
        assert "broken leg" not in told
