"""`OblixClient.auto()`: what this machine has is hooked, told, and nothing else is touched."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix import NoRoute, OblixClient, OblixError
from oblix.agents import ConnectivityAgent, ResourceMonitor
from oblix.agents.probes.engine_facts import Engine, EngineModel, LoadedModel
from oblix.agents.sensor import Sensor
from oblix.client import discovery
from oblix.client.discovery import Discovered
from oblix.client.selection import MOST, LeftOut, choose
from oblix.models.memory import Room
from oblix.models.registry import PROVIDERS
from oblix.settings import keyfile
from oblix.sync import OblixClient as SyncClient
from oblix.testing import ScriptedModel
from oblix.testing.engines import LMSTUDIO, OLLAMA, VLLM, Played, playing
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.ollama_server import OllamaServer
from oblix.types.secret import SecretStr

GB = 10**9
KEY = "sk-" + "0123456789abcdef"
NOBODY = "http://127.0.0.1:9"
FREE_MEMORY = discovery.free_memory  # itself, which most tests here put something else in the place of


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The usual addresses of this machine, at which nobody listens; a test puts its servers there."""
    addresses = {"ollama": NOBODY, "lmstudio": f"{NOBODY}/v1", "llamacpp": f"{NOBODY}/v1", "vllm": f"{NOBODY}/v1"}
    monkeypatch.setattr(discovery, "usual_address", addresses.__getitem__)
    monkeypatch.setattr(discovery, "small_model", lambda: None)
    return addresses


@pytest.fixture(autouse=True)
def much_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async def room() -> Room:
        return Room(64 * GB)

    monkeypatch.setattr(discovery, "free_memory", room)


@asynccontextmanager
async def running(addresses: dict[str, str], **engines: dict[str, Any]) -> AsyncIterator[dict[str, Played]]:
    async with AsyncExitStack() as stack:
        played = {}
        for name, answers in engines.items():
            played[name] = await stack.enter_async_context(playing(answers))
            addresses[name] = played[name].url + ("" if name == "ollama" else "/v1")
        yield played


def found_with(addresses: dict[str, str], cloud: bool = False, **engines: dict[str, Any]) -> OblixClient:
    async def main() -> OblixClient:
        async with running(addresses, **engines):
            client = await OblixClient.auto(cloud=cloud, store=":memory:")
            await client.shutdown()
            return client

    return asyncio.run(main())


def lines(client: OblixClient) -> str:
    assert client.discovered is not None
    return "\n".join(client.discovered.lines())


# --- what is hooked ---


def test_the_models_of_every_engine_are_hooked_the_smallest_first(nothing_runs: dict[str, str]) -> None:
    client = found_with(nothing_runs, ollama={**OLLAMA, "/api/show": {}}, lmstudio=LMSTUDIO, vllm=VLLM)
    assert list(client.models) == [
        "lmstudio:gemma-3-270m-it-qat",
        "ollama:llama3",
        "vllm:meta-llama/Llama-3.1-8B-Instruct",  # nobody says how large it is
    ]
    assert all(spec.is_edge for spec in client.models.values())
    windows = {spec.provider: spec.window for spec in client.models.values()}
    assert windows == {"lmstudio": 4096, "ollama": None, "vllm": 16384}  # Ollama chooses one for each load
    told = lines(client)
    assert "ollama 0.20.5 runs at" in told
    assert "hooked ollama:llama3: 4.7 GB, in memory (81% on the GPU)" in told
    assert (
        "left out ollama:nomic-embed-text, lmstudio:text-embedding-nomic-embed-text-v1.5: it makes embeddings" in told
    )
    assert "left out ollama:gpt-oss:120b-cloud: ollama forwards it to https://ollama.com:443" in told


def test_the_senses_are_hooked_with_it(nothing_runs: dict[str, str]) -> None:
    client = found_with(nothing_runs)
    kinds = {type(agent).__name__ for agent in client.agents.values()}
    assert kinds == {"ResourceMonitor", "ConnectivityAgent", "PowerAgent"}
    assert client.discovered is not None
    assert set(client.discovered.agents) == set(client.agents)


def test_agents_that_are_hooked_already_stay() -> None:
    async def main() -> None:
        client = OblixClient(store=":memory:")
        mine = ResourceMonitor(custom_thresholds={"cpu_threshold": 50})
        client.hook_agent(mine)
        found = await client.discover()
        assert client.agents[mine.name] is mine
        assert ConnectivityAgent().name in found.agents
        assert mine.name not in found.agents
        assert (await OblixClient(store=":memory:").discover(agents=False)).agents == ()
        await client.shutdown()

    asyncio.run(main())


def test_models_that_are_hooked_already_win(nothing_runs: dict[str, str]) -> None:
    async def main() -> list[str]:
        async with running(nothing_runs, ollama=OLLAMA) as played:
            client = OblixClient(store=":memory:")
            client.hook(ScriptedModel("mine:a", "yes"))
            found = await client.discover(agents=False)
            assert list(client.models) == ["mine:a"]
            assert played["ollama"].asked == []
            await client.shutdown()
            return found.lines()

    assert asyncio.run(main()) == ["hooked already: mine:a"]


def test_a_settings_file_that_names_models_wins(nothing_runs: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "oblix.toml"
    file.write_text('[[model]]\nid = "ollama:phi"\n')

    async def main() -> None:
        async with running(nothing_runs, ollama=OLLAMA):
            client = await OblixClient.auto(config_path=file, store=":memory:")
            assert list(client.models) == ["ollama:phi"]
            await client.shutdown()

    asyncio.run(main())


@pytest.mark.engine
def test_the_embedded_model_is_hooked_where_nothing_else_is(
    nothing_runs: dict[str, str], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(discovery, "usual_address", nothing_runs.__getitem__)
    alone = found_with(nothing_runs)
    assert list(alone.models) == ["embedded:smollm2"]
    beside = found_with(nothing_runs, ollama={**OLLAMA, "/api/show": {}})
    assert list(beside.models) == ["ollama:llama3"]  # it would get every easy prompt
    assert "left out embedded:smollm2" in lines(beside)


@pytest.mark.engine
def test_a_real_ollama_answers_what_was_found(weights: Path, nothing_runs: dict[str, str]) -> None:
    with OllamaServer(OllamaOptions(weights, models=("phi",), port=0)) as server:
        nothing_runs["ollama"] = server.url

        async def main() -> str:
            async with await OblixClient.auto(store=":memory:") as client:
                return (await client.execute("Say hi.", max_tokens=2)).model_id

        assert asyncio.run(main()) == "ollama:phi"


@pytest.mark.engine
def test_a_frozen_ollama_is_told_of_and_not_hooked(weights: Path, nothing_runs: dict[str, str]) -> None:
    with OllamaServer(OllamaOptions(weights, models=("phi",), port=0)) as server:
        nothing_runs["ollama"] = server.url
        os.kill(server.pid, signal.SIGSTOP)
        try:
            client = found_with(nothing_runs)
        finally:
            os.kill(server.pid, signal.SIGCONT)
    assert client.models == {}
    assert f"at {server.url}, where ollama would be: it takes connections" in lines(client)


def test_another_server_at_a_usual_port_is_not_hooked_and_not_talked_of(nothing_runs: dict[str, str]) -> None:
    other = {"/v1/models": {"data": [{"id": "gpt", "owned_by": "somebody"}]}}
    client = found_with(nothing_runs, llamacpp=other, vllm=other)
    assert client.models == {}
    assert lines(client).startswith("nothing was found to answer with: start an engine")


def test_an_engine_that_asks_for_a_key_is_told_of_and_gets_none(
    nothing_runs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)
    client = found_with(nothing_runs, ollama=dict.fromkeys(OLLAMA, (401, {})))
    assert client.models == {}
    assert "where ollama would be: it asks for a key; hook its models with api_key=…" in lines(client)


def test_without_anything_the_client_is_whole_and_says_what_to_do(nothing_runs: dict[str, str]) -> None:
    async def main() -> None:
        async with await OblixClient.auto(store=":memory:") as client:
            with pytest.raises(OblixError) as caught:
                await client.execute("hello")
            assert isinstance(caught.value, NoRoute | OblixError)
            assert caught.value.hint

    asyncio.run(main())


def test_the_blocking_twin_does_the_same(nothing_runs: dict[str, str]) -> None:
    with SyncClient.auto(store=":memory:") as client:
        assert client.models == {}
        assert client.discovered is not None
        nothing, looked_at = str(client.discovered).splitlines()
        assert nothing.startswith("nothing was found to answer with")
        assert looked_at.startswith("looked for an engine at http://127.0.0.1:9 (ollama), ")
        assert looked_at.endswith(": none is there")
        assert len(client.agents) == 3


def test_what_was_seen_serves_the_first_decision(nothing_runs: dict[str, str]) -> None:
    async def main() -> None:
        async with running(nothing_runs, ollama={**OLLAMA, "/api/show": {}}):
            client = await OblixClient.auto(store=":memory:")
            sense = client._hall.engines
            sense.kick(model.spec for model in client._hall.models.values())
            assert sense.loaded(client.models["ollama:llama3"]) is True  # before its own look came back
            await client.shutdown()

    asyncio.run(main())


def test_many_that_are_left_out_for_one_reason_take_one_line() -> None:
    left = tuple(LeftOut(f"ollama:m{at}", "4 of this engine are hooked") for at in range(30))
    assert Discovered(left_out=left).lines() == [
        "left out ollama:m0, ollama:m1, ollama:m2, ollama:m3, ollama:m4 and 25 more: 4 of this engine are hooked"
    ]


# --- keys ---


def test_a_key_alone_changes_nothing(nothing_runs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    client = found_with(nothing_runs)
    assert client.models == {}
    assert client.discovered is not None
    (key,) = client.discovered.keys
    assert (key.place, key.provider, key.is_hooked) == ("OPENAI_API_KEY", "openai", False)
    assert (
        lines(client).splitlines()[0]
        == f"OPENAI_API_KEY is set; pass cloud=True to use openai:{PROVIDERS['openai'].default_model}"
    )
    assert KEY not in repr(client.discovered)


def test_with_leave_each_provider_with_a_key_gets_a_model(
    nothing_runs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "your_api_key")  # a placeholder is none
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    client = found_with(nothing_runs, cloud=True, ollama={**OLLAMA, "/api/show": {}})
    assert list(client.models) == [
        "ollama:llama3",
        f"openai:{PROVIDERS['openai'].default_model}",
        f"groq:{PROVIDERS['groq'].default_model}",
    ]
    assert [client.models[model_id].place for model_id in client.models] == ["edge", "cloud", "cloud"]
    assert "OPENROUTER_API_KEY is set; hook_model('openrouter', …) uses it with a model of your choice" in lines(client)


def test_keys_that_are_kept_count_like_those_of_the_environment(
    nothing_runs: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Told with their place; the first of a provider, as everywhere."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / ".env"
    file.write_text(f"GROQ_API_KEY={KEY}\n")
    for provider in ("openai", "groq"):
        keyfile.put(provider, SecretStr(KEY))
    told = lines(found_with(nothing_runs))
    model_id = f"openai:{PROVIDERS['openai'].default_model}"
    assert f"openai has a key ({keyfile.path()}); pass cloud=True to use {model_id}" in told
    assert f"groq has a key (GROQ_API_KEY in {file}); pass cloud=True to use" in told
    client = found_with(nothing_runs, cloud=True)
    assert list(client.models) == [model_id, f"groq:{PROVIDERS['groq'].default_model}"]
    assert f"hooked {model_id}: openai has a key" in lines(client)
    assert KEY not in repr(client.discovered)


def test_where_keys_are_kept_on_a_disk_that_hangs_the_environment_counts(
    nothing_runs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keyfile.put("openai", SecretStr(KEY))
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    monkeypatch.setattr(discovery, "KEYS_WITHIN", 0.0)  # longer than that it takes anyhow
    client = found_with(nothing_runs, cloud=True)
    assert [spec.provider for spec in client.models.values()] == ["groq"]


def test_a_key_for_another_server_has_no_default_model(
    nothing_runs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://models.example/v1")
    client = found_with(nothing_runs, cloud=True)
    assert client.models == {}
    assert "of your choice" in lines(client)


@pytest.mark.parametrize("row", [row for row in PROVIDERS.values() if row.default_model], ids=lambda row: row.name)
def test_default_models_are_in_the_price_catalogue_and_current(row: Any) -> None:
    from genai_prices.data_snapshot import get_snapshot

    (provider,) = (each for each in get_snapshot().providers if each.id == row.prices)
    model = provider.find_model(row.default_model)
    assert model is not None
    assert not model.deprecated
    assert model.prices


# --- the choice ---


def engine(*models: EngineModel, loaded: tuple[str, ...] = (), address: str = "http://localhost:11434") -> Engine:
    return Engine(
        "ollama", address, "ready", models=models, loaded=tuple(LoadedModel(name, window=4096) for name in loaded)
    )


def sized(*sizes: float) -> tuple[EngineModel, ...]:
    return tuple(EngineModel(f"m{size:g}", bytes=int(size * GB), does="chat") for size in sizes)


def test_of_many_models_those_in_memory_and_a_spread_of_sizes_are_taken() -> None:
    taken, left = choose(engine(*sized(9, 1, 2, 3, 4, 5, 6, 7, 8), loaded=("m7",)), Room(100 * GB))
    assert [pick.name for pick in taken] == ["m1", "m5", "m7", "m9"]
    assert {out.why for out in left} == {f"{MOST} of this engine are hooked"}
    assert len(taken) + len(left) == 9


def test_what_does_not_fit_is_left_out_unless_it_is_in_memory() -> None:
    small_room = Room(8 * GB)
    taken, left = choose(engine(*sized(2, 40), loaded=()), small_room)
    assert [pick.name for pick in taken] == ["m2"]
    assert left[0].why == "it takes 50.0 GB, and 8.0 GB are free"
    assert [pick.name for pick in choose(engine(*sized(2, 40), loaded=("m40",)), small_room)[0]] == ["m2", "m40"]


def test_what_ollama_would_give_back_counts_as_free() -> None:
    held = LoadedModel("m7", window=4096, bytes=9 * GB, vram_bytes=0)
    seen = Engine("ollama", "http://localhost:11434", "ready", models=sized(7, 8), loaded=(held,))
    assert [pick.name for pick in choose(seen, Room(4 * GB))[0]] == ["m7", "m8"]


def test_what_is_free_here_says_nothing_of_an_engine_elsewhere() -> None:
    taken, _ = choose(engine(*sized(40), address="http://nas.local:11434"), Room(GB))
    assert [pick.fit for pick in taken] == [None]


def test_a_model_with_two_names_is_hooked_once() -> None:
    one = EngineModel("llama3:latest", bytes=GB, digest="d")
    two = EngineModel("llama3:8b", bytes=GB, digest="d")
    taken, left = choose(engine(one, two), None)
    assert [pick.model_id for pick in taken] == ["ollama:llama3"]
    assert [(out.model_id, out.why) for out in left] == [("ollama:llama3:8b", "it is llama3 under another name")]


@pytest.mark.parametrize("state", ["hung", "absent", "strange", "loading", "locked"])
def test_of_an_engine_that_is_not_ready_nothing_is_taken(state: Any) -> None:
    assert choose(Engine("ollama", "http://localhost:11434", state, models=sized(1)), None) == ([], [])


@given(
    st.lists(st.none() | st.integers(0, 200), max_size=20),
    st.sets(st.integers(0, 19)),
    st.none() | st.builds(Room, st.none() | st.integers(0, 100 * GB)),
)
def test_every_model_is_taken_or_left_with_a_reason(
    sizes: list[int | None], loaded: set[int], room: Room | None
) -> None:
    models = [
        EngineModel(f"m{at}", bytes=None if size is None else size * GB, does="chat") for at, size in enumerate(sizes)
    ]
    names = tuple(f"m{at}" for at in loaded if at < len(models))
    taken, left = choose(engine(*models, loaded=names), room)
    assert len(taken) <= MOST
    assert sorted([pick.name for pick in taken] + [out.model_id.partition(":")[2] for out in left]) == sorted(
        model.name for model in models
    )
    assert all(out.why for out in left)
    assert [pick.rank for pick in taken] == sorted(pick.rank for pick in taken)
    assert len([pick for pick in taken if pick.is_loaded]) == min(MOST, len(names))


def test_a_driver_that_hangs_holds_one_thread_however_often_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def read() -> Room:
        over.wait(60)
        return Room(1)

    sensor = Sensor("hung-room", read, 1e6)
    monkeypatch.setattr(discovery, "_ROOM", sensor)
    monkeypatch.setattr(discovery, "ROOM_WITHIN", 0.01)

    async def main() -> None:
        for _ in range(5):
            assert await FREE_MEMORY() is None
        hung = [thread for thread in threading.enumerate() if thread.name == "oblix-sensor-hung-room"]
        assert len(hung) == 1
        over.set()
        hung[0].join(30)
        monkeypatch.setattr(discovery, "ROOM_WITHIN", 30.0)
        assert await FREE_MEMORY() == Room(1)

    try:
        asyncio.run(main())
    finally:
        over.set()
