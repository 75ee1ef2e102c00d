"""What the client knows of its engines between prompts: looked at beside them, never before them."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.agents import engines as engines_module
from oblix.agents.engines import STILL, EngineSense, queue
from oblix.agents.probes.engine_facts import Engine
from oblix.errors import FailureKind
from oblix.execution.health import HealthBook
from oblix.models.memory import Room
from oblix.testing.engines import OLLAMA, SILENCE, VLLM, playing
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.ollama_server import OllamaServer
from oblix.types.attempt import Attempt
from oblix.types.spec import ModelSpec

GB = 10**9
GENERATED = {"response": "!", "done": True}


@dataclass
class Witness:
    """A sense at work, and what it told others."""

    sense: EngineSense
    busy: dict[str, int]
    hung: list[tuple[str, FailureKind]] = field(default_factory=list)
    well: list[str] = field(default_factory=list)

    def is_idle(self) -> bool:
        """Whether nothing is under way on the other thread."""
        return not self.sense._aside.pending

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def sensing(room: Room | None = None, work: Callable[[], float | None] = lambda: 0.0) -> AsyncIterator[Witness]:
    """A sense; `work` tells the processor seconds of the engines here, by default of some that stand still."""
    busy: dict[str, int] = {}
    sense = EngineSense(
        read_room=lambda: room or Room(None),
        read_work=work,
        busy=lambda model_id: busy.get(model_id, 0),
        on_hung=lambda spec, kind, why: witness.hung.append((spec.id, kind)),
        on_well=lambda spec: witness.well.append(spec.id),
    )
    witness = Witness(sense, busy)
    try:
        yield witness
    finally:
        await sense.close()


@pytest.fixture
def brief_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for a token that are as short as a test wants them; what is waited for stays the same."""
    monkeypatch.setattr(engines_module, "PROOF", 0.3)
    monkeypatch.setattr(engines_module, "PAUSES", (0.05,) * 200)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, brief_proofs: None) -> None:
    """Looks that are as short as well."""
    for name, seconds in (("LOOK", 0.2), ("CONFIRM", 0.3)):
        monkeypatch.setattr(engines_module, name, seconds)


def ollama(url: str, name: str = "llama3", **facts: Any) -> ModelSpec:
    return ModelSpec(f"ollama:{name}", "ollama", name, "edge", endpoint=url, **facts)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await work()

    asyncio.run(main())


# --- when it looks ---


def test_it_looks_once_for_many_requests_and_only_while_they_come() -> None:
    async def main() -> None:
        async with playing(OLLAMA) as played, sensing() as witness:
            assert played.asked == []
            for _ in range(50):
                witness.sense.kick([ollama(played.url)])
            await witness.until(lambda: witness.sense.engines)
            for _ in range(50):
                witness.sense.kick([ollama(played.url)])
                await asyncio.sleep(0)
            assert played.paths.count("/api/tags") == 1

    run(main)


def test_it_looks_again_for_the_first_request_after_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_module, "EVERY", 0.05)

    async def main() -> None:
        async with playing(OLLAMA) as played, sensing() as witness:
            spec = ollama(played.url)
            witness.sense.kick([spec])
            await witness.until(lambda: witness.sense.loaded(spec))
            played.answers["/api/ps"] = {"models": []}
            await asyncio.sleep(0.1)
            assert played.paths.count("/api/tags") == 1  # nobody asked anything, so that nobody looked
            witness.sense.kick([spec])
            await witness.until(lambda: witness.sense.loaded(spec) is False)
            assert played.paths.count("/api/tags") == 2

    run(main)


def test_models_that_are_no_engines_cause_no_look() -> None:
    async def main() -> None:
        async with playing(OLLAMA) as played, sensing() as witness:
            witness.sense.kick(
                [
                    ModelSpec("openai:gpt", "openai", "gpt", "cloud", endpoint=played.url),
                    replace(ollama(played.url), place="cloud"),  # it turned out to be forwarded
                    ModelSpec("mine:a", "mine", "a", "edge"),
                ]
            )
            await asyncio.sleep(0.05)
            assert (played.asked, witness.sense.engines) == ([], ())

    run(main)


# --- what it tells ---


def test_nothing_is_known_before_the_first_look() -> None:
    async def main() -> None:
        async with sensing() as witness:
            spec = ollama("http://127.0.0.1:9")
            assert (witness.sense.loaded(spec), witness.sense.fit_of(spec), witness.sense.queue_of(spec)) == (
                None,
                None,
                0,
            )

    run(main)


def test_an_engine_that_is_not_there_tells_nothing() -> None:
    async def main() -> None:
        async with sensing(Room(64 * GB)) as witness:
            spec = ollama("http://127.0.0.1:9")
            witness.sense.kick([spec])
            await witness.until(lambda: witness.sense.engines)
            assert (witness.sense.loaded(spec), witness.sense.fit_of(spec), witness.sense.queue_of(spec)) == (
                None,
                None,
                0,
            )
            assert (witness.hung, witness.well) == ([], [])

    run(main)


BIG = {"name": "llama3:70b", "size": 40 * GB, "digest": "d70", "details": {"family": "llama"}}


@pytest.mark.parametrize(("ram", "fits"), [(8, "no"), (38, "no"), (39, "tight"), (60, "fits")])
def test_a_model_fits_into_what_is_free_and_into_what_its_engine_would_give_back(ram: int, fits: str) -> None:
    """llama3 holds 1.3 GB of main memory, which Ollama gives up for another model; 40 GB of weights take some 50 in all."""
    tags = {"models": [*OLLAMA["/api/tags"]["models"], BIG]}

    async def main() -> None:
        async with (
            playing({**OLLAMA, "/api/tags": tags, "/api/show": {}}) as played,
            sensing(Room(ram * GB)) as witness,
        ):
            small, big = ollama(played.url), ollama(played.url, "llama3:70b")
            witness.sense.kick([small, big])
            await witness.until(lambda: witness.sense.fit_of(big))
            assert witness.sense.fit_of(small) == "fits"  # it is loaded
            assert witness.sense.fit_of(big) == fits

    run(main)


def test_what_is_free_here_says_nothing_of_an_engine_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_module, "is_here", lambda address: False)

    async def main() -> None:
        async with playing({**OLLAMA, "/api/ps": {"models": []}}) as played, sensing(Room(1)) as witness:
            spec = ollama(played.url)
            witness.sense.kick([spec])
            await witness.until(lambda: witness.sense.loaded(spec) is False)
            assert witness.sense.fit_of(spec) is None

    run(main)


@pytest.mark.engine
def test_the_embedded_model_fits_or_does_not(weights: Path) -> None:
    async def main() -> None:
        spec = ModelSpec("embedded:smollm2", "embedded", "smollm2", "edge")
        async with sensing(Room(GB)) as witness:
            witness.sense.kick([spec])
            await witness.until(lambda: witness.sense.fit_of(spec) == "fits")
        async with sensing(Room(10**8, vram=80 * GB)) as witness:  # it computes on the processor
            witness.sense.kick([spec])
            await witness.until(lambda: witness.sense.fit_of(spec) == "no")

    run(main)


def test_only_the_requests_of_others_wait() -> None:
    async def main() -> None:
        async with playing(VLLM) as played, sensing() as witness:
            name = VLLM["/v1/models"]["data"][0]["id"]
            spec = ModelSpec(f"vllm:{name}", "vllm", name, "edge", endpoint=f"{played.url}/v1")
            witness.busy[spec.id] = 7  # of the nine that it has
            witness.sense.kick([spec])
            await witness.until(lambda: witness.sense.engines)
            assert witness.sense.queue_of(spec) == 2

    run(main)


@pytest.mark.parametrize(
    ("running", "waiting", "slots", "ours", "expected"),
    [
        (None, None, None, 0, 0),
        (5, 4, None, 0, 4),  # vLLM works on many at a time
        (5, 4, None, 5, 4),
        (5, 4, None, 6, 3),
        (0, 0, 1, 0, 0),
        (1, 0, 1, 0, 1),  # one slot, and it is taken
        (1, 0, 1, 1, 0),  # by ourselves
        (1, 0, 2, 0, 0),
        (2, 3, 2, 1, 3),
    ],
)
def test_the_queue(running: int | None, waiting: int | None, slots: int | None, ours: int, expected: int) -> None:
    engine = Engine("llamacpp", "http://localhost:8080", "ready", running=running, waiting=waiting, slots=slots)
    assert queue(engine, ours) == expected


COUNTS = st.none() | st.integers(0, 20)


@given(COUNTS, COUNTS, st.none() | st.integers(1, 8), st.integers(0, 40))
def test_a_queue_is_never_negative_and_shrinks_with_what_is_ours(
    running: int | None, waiting: int | None, slots: int | None, ours: int
) -> None:
    engine = Engine("llamacpp", "x", "ready", running=running, waiting=waiting, slots=slots)
    assert 0 <= queue(engine, ours + 1) <= queue(engine, ours)


# --- engines that hang ---


def test_an_engine_whose_runner_hangs_is_found_out_before_a_prompt_meets_it(brief_proofs: None) -> None:
    async def main() -> None:
        async with playing({**OLLAMA, "/api/generate": SILENCE}) as played, sensing() as witness:
            witness.sense.kick([ollama(played.url)])
            await witness.until(lambda: witness.hung)
            assert witness.hung[0] == ("ollama:llama3", FailureKind.TIMEOUT_FIRST_TOKEN)
            await witness.until(lambda: len(witness.hung) > 2)
            assert {kind for _, kind in witness.hung[1:]} == {STILL}
            played.answers["/api/generate"] = GENERATED
            await witness.until(lambda: witness.well)
            assert witness.well == ["ollama:llama3"]

    run(main)


@pytest.mark.parametrize("work", [itertools.count(100.0).__next__, lambda: None], ids=["at work", "not seen"])
def test_an_engine_that_may_be_busy_with_others_is_not_told_to_hang(
    brief_proofs: None, work: Callable[[], float | None]
) -> None:
    """Ollama has one place, and does not tell that another program's long answer takes it."""

    async def main() -> None:
        async with playing({**OLLAMA, "/api/generate": SILENCE}) as played, sensing(work=work) as witness:
            spec = ollama(played.url)
            for _ in range(2):
                witness.sense._due = 0.0
                witness.sense.kick([spec])
                await witness.until(witness.is_idle)
            assert played.paths.count("/api/generate") == 1  # and it is left alone for a while
            assert witness.hung == []
            witness.sense.notice(Attempt(spec.id, "edge", "failed", kind=FailureKind.TIMEOUT_FIRST_TOKEN.value))
            await witness.until(lambda: witness.hung)  # now two have waited in vain
            assert witness.hung[0] == (spec.id, STILL)

    run(main)


def test_an_engine_elsewhere_that_does_not_tell_its_queue_may_be_busy(
    brief_proofs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines_module, "is_here", lambda address: False)

    async def main() -> None:
        async with playing({**OLLAMA, "/api/generate": SILENCE}) as played, sensing() as witness:
            witness.sense.kick([ollama(played.url)])
            await witness.until(witness.is_idle)
            assert "/api/generate" in played.paths
            assert witness.hung == []

    run(main)


def test_an_engine_that_tells_of_an_empty_queue_and_gives_no_token_hangs(brief_proofs: None) -> None:
    idle = {"/metrics": b"vllm:num_requests_running 0\nvllm:num_requests_waiting 0\n", "/v1/completions": SILENCE}

    async def main() -> None:
        async with playing({**VLLM, **idle}) as played, sensing(work=lambda: None) as witness:
            name = VLLM["/v1/models"]["data"][0]["id"]
            witness.sense.kick([ModelSpec(f"vllm:{name}", "vllm", name, "edge", endpoint=f"{played.url}/v1")])
            await witness.until(lambda: witness.hung)
            assert witness.hung[0] == (f"vllm:{name}", FailureKind.TIMEOUT_FIRST_TOKEN)

    run(main)


def test_an_engine_whose_lists_are_silent_while_it_answers_us_does_not_hang(impatient: None) -> None:
    async def main() -> None:
        async with playing(dict.fromkeys(OLLAMA, SILENCE)) as played, sensing() as witness:
            spec = ollama(played.url)
            witness.busy[spec.id] = 1
            witness.sense.kick([spec])
            await witness.until(witness.is_idle)
            assert witness.hung == []
            # A prompt waited in vain. The next one is there already; without a verdict each of them would wait as long.
            witness.sense.notice(Attempt(spec.id, "edge", "failed", kind=FailureKind.TIMEOUT_FIRST_TOKEN.value))
            await witness.until(lambda: witness.hung)

    run(main)


def test_an_engine_that_says_nothing_at_all_concerns_its_address(impatient: None) -> None:
    async def main() -> None:
        async with playing(dict.fromkeys(OLLAMA, SILENCE)) as played, sensing() as witness:
            witness.sense.kick([ollama(played.url), ollama(played.url, "phi")])
            await witness.until(lambda: witness.hung)
            assert witness.hung[0] == ("ollama:llama3", FailureKind.TIMEOUT_CONNECT)
            played.answers = {**OLLAMA, "/api/generate": GENERATED}
            await witness.until(lambda: witness.well)

    run(main)


def test_what_real_traffic_ran_into_is_asked_whether_it_is_well_again(brief_proofs: None) -> None:
    async def main() -> None:
        async with playing({**OLLAMA, "/api/generate": GENERATED}) as played, sensing() as witness:
            spec = ollama(played.url)
            witness.sense.kick([spec])
            await witness.until(lambda: "/api/generate" in played.paths)  # it has proved itself once
            await witness.until(witness.is_idle)
            played.asked.clear()
            witness.sense.notice(Attempt(spec.id, "edge", "failed", kind=FailureKind.TIMEOUT_IDLE.value))
            await witness.until(lambda: witness.well)
            assert "/api/generate" in played.paths
            assert witness.hung == []  # the hands know that themselves

    run(main)


def test_it_is_left_alone_while_it_works_for_us(brief_proofs: None) -> None:
    async def main() -> None:
        async with playing({**OLLAMA, "/api/generate": GENERATED}) as played, sensing() as witness:
            spec = ollama(played.url)
            witness.busy[spec.id] = 1
            witness.sense.kick([spec])
            await witness.until(lambda: witness.sense.engines)
            witness.sense.notice(Attempt(spec.id, "edge", "failed", kind=FailureKind.TIMEOUT_FIRST_TOKEN.value))
            await asyncio.sleep(0.3)
            assert "/api/generate" not in played.paths
            witness.busy.clear()
            await witness.until(lambda: witness.well)

    run(main)


def test_an_answer_is_a_proof_of_life_and_spares_the_probe(brief_proofs: None) -> None:
    async def main() -> None:
        async with playing({**OLLAMA, "/api/generate": GENERATED}) as played, sensing() as witness:
            spec = ollama(played.url)
            witness.busy[spec.id] = 1
            witness.sense.kick([spec])
            await witness.until(lambda: witness.sense.engines)
            witness.busy.clear()
            witness.sense.notice(Attempt(spec.id, "edge", "ok"))
            witness.sense._due = 0.0
            witness.sense.kick([spec])
            await witness.until(lambda: played.paths.count("/api/tags") == 2 and witness.is_idle())
            assert "/api/generate" not in played.paths

    run(main)


def test_a_model_that_is_not_loaded_is_never_probed(brief_proofs: None) -> None:
    async def main() -> None:
        async with (
            playing({**OLLAMA, "/api/ps": {"models": []}, "/api/generate": GENERATED}) as played,
            sensing() as witness,
        ):
            spec = ollama(played.url)
            witness.sense.kick([spec])
            await witness.until(lambda: witness.sense.engines)
            witness.sense.notice(Attempt(spec.id, "edge", "failed", kind=FailureKind.TIMEOUT_IDLE.value))
            await witness.until(witness.is_idle)  # the watch gave up: the next load begins anew
            assert "/api/generate" not in played.paths
            assert (witness.hung, witness.well) == ([], [])

    run(main)


def test_an_engine_that_does_not_tell_what_is_loaded_is_neither_probed_nor_cleared(brief_proofs: None) -> None:
    async def main() -> None:
        async with (
            playing({**OLLAMA, "/api/ps": (404, {}), "/api/generate": GENERATED}) as played,
            sensing() as witness,
        ):
            spec = ollama(played.url)
            witness.sense.kick([spec])
            await witness.until(lambda: witness.sense.engines)
            witness.sense.notice(Attempt(spec.id, "edge", "failed", kind=FailureKind.TIMEOUT_IDLE.value))
            await witness.until(lambda: played.paths.count("/api/tags") > 3)
            assert "/api/generate" not in played.paths
            assert (witness.hung, witness.well, witness.sense.loaded(spec)) == ([], [], None)

    run(main)


def test_nobody_watches_an_engine_whose_models_are_not_hooked_any_more(impatient: None) -> None:
    async def main() -> None:
        async with playing(dict.fromkeys(OLLAMA, SILENCE)) as played, sensing() as witness:
            witness.sense.kick([ollama(played.url)])
            await witness.until(lambda: witness.hung)
            witness.sense._due = 0.0
            witness.sense.kick([])
            await witness.until(lambda: not witness.sense._watches and witness.is_idle())

    run(main)


def test_another_model_of_the_engine_proves_nothing_for_the_one_that_hung(brief_proofs: None) -> None:
    """Each model of Ollama has a runner of its own."""

    async def main() -> None:
        tags = {"models": [*OLLAMA["/api/tags"]["models"], BIG]}
        async with playing({**OLLAMA, "/api/tags": tags, "/api/generate": GENERATED}) as played, sensing() as witness:
            small, big = ollama(played.url), ollama(played.url, "llama3:70b")
            witness.sense.kick([small, big])
            await witness.until(lambda: "/api/generate" in played.paths)
            await witness.until(witness.is_idle)
            played.asked.clear()
            witness.sense.notice(Attempt(big.id, "edge", "failed", kind=FailureKind.TIMEOUT_IDLE.value))
            await witness.until(witness.is_idle)
            assert "/api/generate" not in played.paths
            assert witness.well == []

    run(main)


def test_the_hands_learn_of_a_hang_and_of_its_end() -> None:
    """The wiring that the hall makes: what is told here opens a breaker, and lets requests through again."""
    book, spec = HealthBook(), ollama("http://localhost:11434")
    other = ollama("http://localhost:11434", "phi")
    book.failed(spec, FailureKind.TIMEOUT_CONNECT, "it says nothing", 0.0)
    assert book.of(spec, 1.0).failing == book.of(other, 1.0).failing == "it says nothing"
    book.succeeded(spec, 2.0)
    assert book.of(spec, 2.0).failing is book.of(other, 2.0).failing is None
    book.failed(spec, FailureKind.TIMEOUT_FIRST_TOKEN, "no token", 20.0)
    assert (book.of(spec, 21.0).failing, book.of(other, 21.0).failing) == ("no token", None)


def test_a_hang_that_goes_on_keeps_the_breaker_open_and_makes_nobody_more_patient() -> None:
    book, spec = HealthBook(lambda: 0.5), ollama("http://localhost:11434")
    book.failed(spec, FailureKind.TIMEOUT_FIRST_TOKEN, "no token", 0.0)
    assert book.of(spec, 6.0).failing is None  # half-open: the next prompt would have to try it
    patience = book.limits(spec, 10).first_token
    book.failed(spec, STILL, "still no token", 6.0)
    assert book.of(spec, 7.0).failing == "still no token"
    assert book.limits(spec, 10).first_token == patience


# --- and nobody waits ---


@pytest.fixture
def real(weights: Path) -> Iterator[OllamaServer]:
    with OllamaServer(OllamaOptions(weights, models=("phi",), port=0)) as server:
        yield server


@pytest.mark.engine
def test_a_frozen_ollama_holds_up_neither_the_loop_nor_the_close(real: OllamaServer) -> None:
    """Order, and no clock: while it is looked at, the loop goes round; the close comes while the look still waits."""
    os.kill(real.pid, signal.SIGSTOP)
    try:

        async def main() -> None:
            async with sensing() as witness:
                spec = ollama(real.url, "phi")
                witness.sense.kick([spec])
                for _ in range(1000):
                    witness.sense.kick([spec])
                    witness.sense.queue_of(spec)
                    await asyncio.sleep(0)
                assert not witness.is_idle()
                await witness.sense.close()
                assert witness.is_idle()
                assert witness.sense.engines == ()

        run(main)
    finally:
        os.kill(real.pid, signal.SIGCONT)


@pytest.mark.engine
def test_a_frozen_ollama_is_found_out_and_found_well_again(real: OllamaServer, impatient: None) -> None:
    async def main() -> None:
        async with sensing() as witness:
            spec = ollama(real.url, "phi")
            witness.sense.kick([spec])
            await witness.until(lambda: witness.sense.loaded(spec) is False)
            os.kill(real.pid, signal.SIGSTOP)
            try:
                witness.sense._due = 0.0
                witness.sense.kick([spec])
                await witness.until(lambda: witness.hung)
            finally:
                os.kill(real.pid, signal.SIGCONT)
            await witness.until(
                lambda: witness.well
            )  # it speaks again, though it has nothing in memory that could say a token

    run(main)


def test_it_works_again_after_its_close() -> None:
    async def main() -> None:
        async with playing(OLLAMA) as played, sensing() as witness:
            for times in (1, 2):
                witness.sense.kick([ollama(played.url)])
                await witness.until(lambda times=times: played.paths.count("/api/tags") == times)  # type: ignore[misc]
                await witness.sense.close()

    run(main)


def test_an_error_of_ours_is_logged_and_reaches_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(*args: Any, **kwargs: Any) -> Engine:
        raise RuntimeError("a slip")

    monkeypatch.setattr("oblix.agents.probes.engine.look", breaks)

    async def main() -> None:
        async with sensing() as witness:
            witness.sense.kick([ollama("http://127.0.0.1:9")])
            await witness.until(witness.is_idle)

    run(main)
    assert "a slip" in caplog.text
