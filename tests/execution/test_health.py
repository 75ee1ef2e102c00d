"""What failures teach, for how long, and what wipes it out."""

from __future__ import annotations

import pytest

from oblix.decision.facts import HEALTHY, Health
from oblix.errors import FailureKind
from oblix.execution.health import HealthBook
from oblix.types.spec import ModelSpec

K = FailureKind
PHI = ModelSpec("ollama:phi", "ollama", "phi", "edge", endpoint="http://localhost:11434")
LLAMA = ModelSpec("ollama:llama2", "ollama", "llama2", "edge", endpoint="http://localhost:11434")
GPT = ModelSpec("openai:gpt", "openai", "gpt", "cloud", endpoint="https://api.openai.com/v1")
OWN = ModelSpec("embedded:smollm2", "embedded", "smollm2", "edge")
OTHER = ModelSpec("embedded:other", "embedded", "other", "edge")

# How long a failure is remembered, and as what.
WINDOWS: dict[FailureKind, tuple[str, float]] = {
    K.AUTH: ("key_refused", 600.0),
    K.MODEL_MISSING: ("missing", 30.0),
    K.MODEL_UNLOADABLE: ("missing", 60.0),
    K.QUOTA_EXHAUSTED: ("failing", 600.0),
    K.RATE_LIMITED: ("failing", 10.0),
    K.OVERLOADED: ("failing", 10.0),
    K.SERVER_ERROR: ("failing", 10.0),
    K.PROTOCOL: ("failing", 10.0),
    K.TRUNCATED: ("failing", 10.0),
    K.ENGINE_CRASH: ("failing", 10.0),
    K.TIMEOUT_LOAD: ("failing", 30.0),
    K.TIMEOUT_FIRST_TOKEN: ("failing", 30.0),
    K.TIMEOUT_IDLE: ("failing", 30.0),
    K.INTERNAL: ("failing", 10.0),
    K.LOCAL_NETWORK: ("failing", 2.0),
    K.DNS: ("failing", 5.0),
    K.TLS: ("failing", 60.0),
    K.CONNECT: ("failing", 5.0),
    K.TIMEOUT_CONNECT: ("failing", 15.0),
}
# The request's own fault, or the caller's wish: they say nothing of the model.
SILENT = {K.TIMEOUT_TOTAL, K.CONTEXT_OVERFLOW, K.CONTENT_FILTER, K.BAD_REQUEST, K.CANCELLED, K.POLICY}
OF_ENDPOINT = {K.LOCAL_NETWORK, K.DNS, K.TLS, K.CONNECT, K.TIMEOUT_CONNECT}


def test_every_kind_of_failure_is_decided_upon() -> None:
    assert WINDOWS.keys() | SILENT == set(FailureKind)


@pytest.mark.parametrize(("kind", "note"), [(kind, *note) for kind, *note in WINDOWS.items()])
def test_a_failure_is_remembered_for_its_time_and_no_longer(kind: FailureKind, note: tuple[str, float]) -> None:
    field, seconds = note
    book = HealthBook()
    book.failed(GPT, kind, "what happened", 100.0)
    for now in (100.0, 100.0 + seconds - 0.001):
        health = book.of(GPT, now)
        assert getattr(health, field) is not None
        assert sum(getattr(health, each) is not None for each in ("key_refused", "missing", "failing")) == 1
    assert book.of(GPT, 100.0 + seconds) == HEALTHY


@pytest.mark.parametrize("kind", SILENT)
def test_what_is_no_fault_of_the_models_is_not_held_against_it(kind: FailureKind) -> None:
    book = HealthBook()
    book.failed(GPT, kind, "no", 0.0)
    assert book.of(GPT, 0.0) == HEALTHY


@pytest.mark.parametrize("kind", WINDOWS)
def test_a_dead_server_speaks_for_all_its_models_and_a_bad_model_for_itself(kind: FailureKind) -> None:
    book = HealthBook()
    book.failed(PHI, kind, "no", 0.0)
    assert (book.of(LLAMA, 0.0) != HEALTHY) == (kind in OF_ENDPOINT)
    assert book.of(GPT, 0.0) == HEALTHY


def test_models_without_an_endpoint_do_not_share_their_fate() -> None:
    book = HealthBook()
    book.failed(OWN, K.CONNECT, "no", 0.0)
    assert book.of(OWN, 0.0).failing == "no"
    assert book.of(OTHER, 0.0) == HEALTHY


@pytest.mark.parametrize(
    ("asked", "until"), [(2.0, 2.0), (120.0, 120.0), (1e9, 3600.0)], ids=["shorter", "longer", "absurd"]
)
def test_a_provider_that_says_when_is_believed_for_up_to_an_hour(asked: float, until: float) -> None:
    book = HealthBook()
    book.failed(GPT, K.RATE_LIMITED, "slow down", 0.0, retry_after=asked)
    assert book.of(GPT, until - 0.01).failing == "slow down"
    assert book.of(GPT, until) == HEALTHY


def test_success_wipes_the_model_and_its_server() -> None:
    book = HealthBook()
    book.failed(PHI, K.CONNECT, "refused", 0.0)
    book.failed(PHI, K.OVERLOADED, "busy", 0.0)
    book.succeeded(PHI, 2.0)
    assert book.of(PHI, 0.0) == Health(seconds=2.0)
    assert book.of(LLAMA, 0.0) == HEALTHY


def test_typical_seconds_follow_the_recent_answers() -> None:
    book = HealthBook()
    assert book.of(GPT, 0.0).seconds is None
    told = []
    for seconds in (10.0, 20.0, 20.0):
        book.succeeded(GPT, seconds)
        told.append(book.of(GPT, 0.0).seconds)
    assert told == pytest.approx([10.0, 13.0, 15.1])
    book.failed(GPT, K.SERVER_ERROR, "500", 0.0)
    assert book.of(GPT, 0.0).seconds == pytest.approx(15.1)


def test_new_settings_are_a_new_beginning() -> None:
    book = HealthBook()
    book.failed(GPT, K.AUTH, "HTTP 401", 0.0)
    book.failed(GPT, K.DNS, "cannot be looked up", 0.0)
    book.forget(GPT)
    assert book.of(GPT, 0.0) == HEALTHY


def test_the_models_own_trouble_is_told_before_its_servers() -> None:
    book = HealthBook()
    book.failed(GPT, K.CONNECT, "refused", 0.0)
    book.failed(GPT, K.AUTH, "HTTP 401", 0.0)
    health = book.of(GPT, 1.0)
    assert health.key_refused == "its key was refused"
    assert health.failing is None
