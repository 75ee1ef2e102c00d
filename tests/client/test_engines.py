"""The sense for engines within a client: it serves the next decision, and holds up no prompt, no route and no end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oblix import OblixClient
from oblix.agents import engines as engines_module
from oblix.testing import ScriptedModel
from oblix.testing.engines import OLLAMA, SILENCE, playing
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.ollama_server import OllamaServer

from .outside import DEV, program

CHAT = b'{"message":{"content":"home"}}\n{"message":{},"done":true,"done_reason":"stop","eval_count":1}\n'


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("EVERY", 0.0), ("LOOK", 0.2), ("CONFIRM", 0.3), ("PROOF", 0.5)):
        monkeypatch.setattr(engines_module, name, seconds)
    monkeypatch.setattr(engines_module, "PAUSES", (0.05,) * 400)


@pytest.fixture
def ollama(weights: Path) -> Iterator[OllamaServer]:
    with OllamaServer(OllamaOptions(weights, models=("phi",), port=0)) as server:
        yield server


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def run(work: Callable[[], Any]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await work()

    asyncio.run(main())


async def failing(client: OblixClient, model_id: str) -> str | None:
    """What is held against a model at this moment."""
    thought = await client.consider("hello")
    return next(model.health.failing for model in thought.facts.models if model.spec.id == model_id)


@pytest.mark.engine
def test_a_frozen_engine_delays_no_prompt_and_no_shutdown(ollama: OllamaServer) -> None:
    """Order, and no clock: the answer is there, and then the client closed, while the first look still waits for the frozen one."""
    os.kill(ollama.pid, signal.SIGSTOP)
    try:

        async def main() -> None:
            client = OblixClient(store=":memory:")
            client.hook(ScriptedModel("mine:quick", "yes", tier=1))
            await client.hook_model("ollama", "phi", endpoint=ollama.url, tier=2)
            reply = await client.execute("hello", model_id="mine:quick")
            pending = set(client._hall.engines._aside.pending)
            assert reply.response == "yes"
            assert pending
            assert client._hall.engines.engines == ()
            await client.shutdown()
            assert all(look.cancelled() for look in pending)

        run(main)
    finally:
        os.kill(ollama.pid, signal.SIGCONT)


@pytest.mark.engine
def test_the_next_decision_knows_of_a_hang_and_of_its_end(ollama: OllamaServer, impatient: None) -> None:
    async def main() -> None:
        async with OblixClient(store=":memory:") as client:
            client.hook(ScriptedModel("mine:quick", "yes"))
            await client.hook_model("ollama", "phi", endpoint=ollama.url)
            reply = await client.execute("hello", model_id="ollama:phi", max_tokens=1)  # it is in memory from now on
            assert reply.model_id == "ollama:phi"
            os.kill(ollama.pid, signal.SIGSTOP)
            try:
                await client.execute("hello", model_id="mine:quick")
                async with asyncio.timeout(30):
                    while (why := await failing(client, "ollama:phi")) is None:
                        await asyncio.sleep(0.05)
                assert "said nothing" in why
            finally:
                os.kill(ollama.pid, signal.SIGCONT)
            async with asyncio.timeout(30):
                while await failing(client, "ollama:phi") is not None:
                    await asyncio.sleep(0.05)

    run(main)


def test_what_an_engine_has_loaded_is_in_the_facts() -> None:
    async def main() -> None:
        async with playing({**OLLAMA, "/api/chat": CHAT}) as played, OblixClient(store=":memory:") as client:
            client.hook(ScriptedModel("mine:quick", "yes"))
            await client.hook_model("ollama", "llama3", endpoint=played.url)
            await client.hook_model("ollama", "nomic-embed-text", endpoint=played.url)
            await client.execute("hello", model_id="mine:quick")
            await until(lambda: client._hall.engines.engines)
            facts = (await client.consider("hello")).facts
            assert [model.loaded for model in facts.models[1:]] == [True, False]

    run(main)


def test_a_route_sends_nothing_to_an_engine() -> None:
    async def main() -> None:
        async with playing(OLLAMA) as played, OblixClient(store=":memory:") as client:
            await client.hook_model("ollama", "llama3", endpoint=played.url)
            await client.route("hello")
            await client.consider("hello")
            assert client._hall.engines._aside.pending == set()
            assert played.asked == []

    run(main)


def test_no_word_of_a_prompt_is_in_what_the_sense_asks(impatient: None) -> None:
    async def main() -> None:
        async with playing({**OLLAMA, "/api/generate": SILENCE}) as played, OblixClient(store=":memory:") as client:
            client.hook(ScriptedModel("mine:quick", "yes"))
            await client.hook_model("ollama", "llama3", endpoint=played.url)
            await client.execute("the secret word is xyzzy", model_id="mine:quick", private=True)
            await until(lambda: "/api/generate" in played.paths)
            assert "xyzzy" not in repr(played.asked)
            assert [body["prompt"] for _, path, body in played.asked if path == "/api/generate"] == ["Hi"]

    run(main)


@pytest.mark.engine
@pytest.mark.parametrize("leaving", ["asyncio.run(main())", "asyncio.new_event_loop().run_until_complete(main())"])
def test_a_program_ends_quietly_while_its_engine_is_frozen(ollama: OllamaServer, tmp_path: Path, leaving: str) -> None:
    os.kill(ollama.pid, signal.SIGSTOP)
    try:
        ran = program(
            f"""
            import asyncio, sys
            from oblix import OblixClient
            from oblix.testing import ScriptedModel

            async def main():
                client = OblixClient()
                client.hook(ScriptedModel("mine:quick", "yes"))
                await client.hook_model("ollama", "phi", endpoint=sys.argv[1])
                print(await client.execute("hello", model_id="mine:quick"))

            loop = {leaving}
            """,
            tmp_path / "home",
            ollama.url,
            flags=DEV if "run(" in leaving else ("-W", "error::RuntimeWarning"),
        )
    finally:
        os.kill(ollama.pid, signal.SIGCONT)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("yes\n", "", 0)
