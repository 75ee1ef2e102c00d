"""Whether an engine hangs: one token of a model that is in memory, and nothing that would load or wake anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oblix.agents.probes.engine import look, prove
from oblix.errors import FailureKind
from oblix.testing.engines import OLLAMA, SILENCE, playing

from .test_engine import QUICK, transport


def proof_of(answers: dict[str, Any], name: str = "llama3") -> tuple[FailureKind | None, list[tuple[str, str, Any]]]:
    async def main() -> tuple[FailureKind | None, list[tuple[str, str, Any]]]:
        async with playing(answers) as played, transport() as lanes:
            found = await look(lanes, "ollama", played.url)
            played.asked.clear()
            proof = await prove(lanes, found, name, limit=QUICK)
            return proof.kind, played.asked

    return asyncio.run(main())


def test_a_proof_is_one_token_of_one_fixed_word_and_loads_nothing() -> None:
    kind, asked = proof_of({**OLLAMA, "/api/generate": {"response": "!", "done": True}})
    assert kind is None
    ((method, path, body),) = asked
    assert (method, path) == ("POST", "/api/generate")
    assert body == {
        "model": "llama3",
        "prompt": "Hi",
        "raw": True,
        "stream": False,
        "options": {
            "num_predict": 1,
            "num_ctx": 4096,
        },  # the window that it is loaded with: another one would load it anew
    }  # and no keep_alive: its owner's wish stays


def test_an_ollama_that_does_not_tell_the_window_is_not_asked_for_a_token() -> None:
    """It would take its default window, and load the model anew for it."""
    ((running,),) = OLLAMA["/api/ps"].values()
    older = {key: value for key, value in running.items() if key != "context_length"}
    generated = {"response": "!", "done": True}
    kind, asked = proof_of({**OLLAMA, "/api/ps": {"models": [older]}, "/api/generate": generated})
    assert (kind, asked) == (FailureKind.POLICY, [])


def test_an_engine_whose_lists_are_well_and_whose_runner_hangs_is_found_out() -> None:
    kind, _ = proof_of({**OLLAMA, "/api/generate": SILENCE})
    assert kind is FailureKind.TIMEOUT_FIRST_TOKEN


def test_an_error_is_no_proof_and_no_hang() -> None:
    kind, _ = proof_of({**OLLAMA, "/api/generate": (500, {"error": "llama runner process has terminated"})})
    assert kind is FailureKind.SERVER_ERROR


@pytest.mark.parametrize("said", [{"error": "Unexpected endpoint"}, {}, [], b"ok", {"done": False}, {"choices": []}])
def test_a_good_status_without_a_token_is_no_proof(said: Any) -> None:
    kind, _ = proof_of({**OLLAMA, "/api/generate": said})
    assert kind is FailureKind.SERVER_ERROR


@pytest.mark.parametrize("name", ["nomic-embed-text", "gpt-oss:120b-cloud", "unknown"])
def test_what_is_not_loaded_here_is_not_asked_for_a_token(name: str) -> None:
    kind, asked = proof_of(OLLAMA, name)
    assert kind is FailureKind.POLICY
    assert asked == []


def test_a_forwarded_model_is_not_asked_even_if_it_is_listed_as_running() -> None:
    running = {"models": [{"name": "gpt-oss:120b-cloud", "context_length": 4096}]}
    kind, asked = proof_of({**OLLAMA, "/api/ps": running}, "gpt-oss:120b-cloud")
    assert (kind, asked) == (FailureKind.POLICY, [])
