"""The probe for edge servers: against real ones, against recorded answers, and against servers that mean no good."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.agents.probes import engine as engine_module
from oblix.agents.probes import engine_wire as wire
from oblix.agents.probes.engine import ENGINES, MOST_BODY, look, prove
from oblix.agents.probes.engine_facts import Engine, EngineModel, LoadedModel, is_here, is_same, root_of
from oblix.errors import FailureKind
from oblix.models.embedded.serve import LlamaServer, ServeOptions
from oblix.models.transport import Permit, Transport
from oblix.testing.engines import LMSTUDIO, LMSTUDIO_OLD, OLLAMA, SILENCE, VLLM, Played, playing
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.ollama_server import OllamaServer
from oblix.types.spec import ModelSpec

QUICK = 0.2  # seconds for a look at a server that will not answer


@asynccontextmanager
async def transport() -> AsyncIterator[Transport]:
    made = Transport()
    await made.prepare()
    try:
        yield made
    finally:
        await made.close()


def look_at(provider: str, url: str, **wishes: Any) -> Engine:
    async def main() -> Engine:
        async with transport() as lanes:
            return await look(lanes, provider, url, **wishes)

    return asyncio.run(main())


def look_at_played(provider: str, answers: dict[str, Any], **wishes: Any) -> tuple[Engine, Played]:
    async def main() -> tuple[Engine, Played]:
        async with playing(answers) as played, transport() as lanes:
            return await look(lanes, provider, played.url, **wishes), played

    return asyncio.run(main())


# --- real servers ---


@pytest.fixture(scope="module")
def llama(weights: Path) -> Iterator[LlamaServer]:
    with LlamaServer(ServeOptions(weights, slots=2)) as server:
        yield server


@pytest.fixture
def ollama(weights: Path) -> Iterator[OllamaServer]:
    with OllamaServer(OllamaOptions(weights, models=("llama2", "phi"), port=0)) as server:
        yield server


@pytest.mark.engine
def test_a_real_llamacpp_tells_its_model_its_slots_and_its_window(llama: LlamaServer) -> None:
    found = look_at("llamacpp", f"{llama.url}/v1", limit=10.0)
    assert (found.state, found.reason, found.address) == ("ready", "", llama.url)
    assert (found.slots, found.running, found.waiting) == (2, 0, None)  # its metrics are off unless asked for
    model = found.model("smollm2")
    assert model is not None
    assert model.bytes is not None
    assert 90e6 < model.bytes < 100e6
    assert (model.window, model.quantization) == (2048, "Q4_1")
    assert found.loaded == (LoadedModel("smollm2", window=2048),)


@pytest.mark.engine
@pytest.mark.parametrize("provider", [name for name in ENGINES if name != "llamacpp"])
def test_a_real_llamacpp_is_taken_for_no_other_engine(llama: LlamaServer, provider: str) -> None:
    found = look_at(provider, llama.url, limit=10.0)
    assert found.state == "strange"
    assert found.reason.startswith(f"no {provider}: ")


@pytest.mark.engine
def test_a_real_llamacpp_proves_that_it_lives(llama: LlamaServer) -> None:
    async def main() -> FailureKind | None:
        async with transport() as lanes:
            found = await look(lanes, "llamacpp", llama.url, limit=10.0)
            return (await prove(lanes, found, "smollm2", limit=60.0)).kind

    assert asyncio.run(main()) is None


@pytest.mark.engine
def test_what_ollama_has_pulled_and_what_it_has_loaded_are_two_things(ollama: OllamaServer) -> None:
    async def main() -> tuple[Engine, FailureKind | None, Engine, FailureKind | None, Engine]:
        async with transport() as lanes:
            cold = await look(lanes, "ollama", ollama.url, limit=10.0)
            unproven = await prove(lanes, cold, "phi")
            await load(lanes, ollama.url, "phi", window=2048)
            warm = await look(lanes, "ollama", ollama.url, limit=10.0)
            proof = await prove(lanes, warm, "phi", limit=60.0)
            return cold, unproven.kind, warm, proof.kind, await look(lanes, "ollama", ollama.url, limit=10.0)

    cold, unproven, warm, proof, after = asyncio.run(main())
    assert (cold.state, cold.version, cold.loaded) == ("ready", "0.12.11", ())
    assert [(model.name, model.window, model.does) for model in cold.models] == [
        ("llama2:latest", 8192, "chat"),
        ("phi:latest", 8192, "chat"),
    ]
    assert unproven is FailureKind.POLICY  # asking it would have loaded it
    assert [(model.name, model.window, model.gpu_share) for model in warm.loaded or ()] == [("phi:latest", 2048, 0.0)]
    assert proof is None
    assert [(model.name, model.window) for model in after.loaded or ()] == [("phi:latest", 2048)]  # as it was


async def load(lanes: Transport, url: str, name: str, *, window: int) -> None:
    permit = Permit(ModelSpec("ollama:", "ollama", "", "edge", endpoint=url), private=False)
    body = msgspec.json.encode({"model": name, "stream": False, "options": {"num_ctx": window}})
    answer = await lanes.post(f"{url}/api/generate", body=body, permit=permit)
    await answer.read()
    answer.close()


@pytest.mark.engine
def test_a_frozen_ollama_hangs_and_a_thawed_one_is_ready(ollama: OllamaServer) -> None:
    os.kill(ollama.pid, signal.SIGSTOP)
    try:
        frozen = look_at("ollama", ollama.url, limit=QUICK)
    finally:
        os.kill(ollama.pid, signal.SIGCONT)
    assert (frozen.state, frozen.models, frozen.loaded) == ("hung", (), None)
    assert "takes connections" in frozen.reason
    assert look_at("ollama", ollama.url, limit=10.0).state == "ready"


@pytest.mark.engine
def test_a_server_that_froze_after_its_look_fails_its_proof(llama: LlamaServer) -> None:
    async def main() -> tuple[FailureKind | None, str]:
        async with transport() as lanes:
            found = await look(lanes, "llamacpp", llama.url, limit=10.0)
            os.kill(llama.pid, signal.SIGSTOP)
            try:
                proof = await prove(lanes, found, "smollm2", limit=QUICK)
            finally:
                os.kill(llama.pid, signal.SIGCONT)
            return proof.kind, proof.why

    kind, why = asyncio.run(main())
    assert kind is FailureKind.TIMEOUT_FIRST_TOKEN
    assert "no token" in why


def test_nobody_at_home_is_absent() -> None:
    found = look_at("ollama", "http://127.0.0.1:9")
    assert (found.state, found.reason) == ("absent", "it refuses connections")


@pytest.mark.parametrize("address", ["http://192.0.2.1:11434", "http://[::1", "http://a b", "ftp://localhost", ""])
def test_an_address_away_from_home_or_none_at_all_is_not_contacted(address: str) -> None:
    assert look_at("ollama", address, limit=QUICK).state in ("absent", "strange")


# --- recorded answers ---


def test_ollama() -> None:
    found, played = look_at_played("ollama", OLLAMA)
    llama3, embedder, remote = found.models
    assert (found.version, found.running, found.waiting, found.slots) == ("0.20.5", None, None, None)
    assert (llama3.bytes, llama3.window, llama3.family, llama3.quantization) == (4_661_224_676, 8192, "llama", "Q4_0")
    assert llama3.shape is not None
    assert llama3.shape.whole == 2 * 2 * 8 * 128 * 32  # keys and values, two bytes, 8 heads of 128 values, 32 layers
    assert (llama3.does, embedder.does) == ("chat", "chat")  # here each is shown as a chat model
    assert remote.forwarded_to == "https://ollama.com:443"
    loaded = found.loaded_model("LLAMA3")
    assert loaded is not None
    assert (loaded.window, round(loaded.gpu_share or 0, 2)) == (4096, 0.81)
    assert loaded.expires == pytest.approx(1_795_452_427.933551)
    assert [body for _, path, body in played.asked if path == "/api/show"] == [
        {"model": "llama3:latest"},
        {"model": "nomic-embed-text:latest"},
    ]  # not the one that is forwarded


def test_an_older_ollama_tells_embedding_models_by_their_family() -> None:
    found, _ = look_at_played("ollama", {**OLLAMA, "/api/show": (404, {})})
    assert [model.does for model in found.models] == [None, "embed", None]


def test_details_are_asked_for_once_and_for_what_is_wanted() -> None:
    async def main() -> tuple[list[str], list[str], int | None]:
        async with playing(OLLAMA) as played, transport() as lanes:
            first = await look(lanes, "ollama", played.url, about=["llama3"])
            shown = [body["model"] for _, path, body in played.asked if path == "/api/show"]
            played.asked.clear()
            again = await look(lanes, "ollama", played.url, about=["llama3"], before=first)
            return shown, played.paths, again.models[0].window

    shown, paths, window = asyncio.run(main())
    assert shown == ["llama3:latest"]
    assert "/api/show" not in paths
    assert window == 8192


def test_a_model_that_was_pulled_anew_is_asked_about_again() -> None:
    async def main() -> list[str]:
        async with playing(OLLAMA) as played, transport() as lanes:
            first = await look(lanes, "ollama", played.url, about=["llama3"])
            renewed = msgspec.json.decode(msgspec.json.encode(OLLAMA["/api/tags"]))
            renewed["models"][0]["digest"] = "another"
            played.answers["/api/tags"] = renewed
            played.asked.clear()
            await look(lanes, "ollama", played.url, about=["llama3"], before=first)
            return played.paths

    assert "/api/show" in asyncio.run(main())


def test_an_engine_that_is_slow_in_a_part_tells_the_rest() -> None:
    found, _ = look_at_played("ollama", {**OLLAMA, "/api/ps": SILENCE}, limit=QUICK)
    assert (found.state, found.loaded) == ("ready", None)
    assert found.reason.startswith("no answer in time from /api/ps")
    assert len(found.models) == 3


def test_lmstudio() -> None:
    found, _ = look_at_played("lmstudio", LMSTUDIO)
    assert found.models == (
        EngineModel(
            "gemma-3-270m-it-qat",
            bytes=241_410_208,
            window=32768,
            family="gemma3",
            quantization="Q4_0",
            does="chat",
        ),
        EngineModel(
            "text-embedding-nomic-embed-text-v1.5",
            bytes=84_106_624,
            window=2048,
            quantization="Q4_K_M",
            does="embed",
        ),
    )
    assert found.loaded == (LoadedModel("gemma-3-270m-it-qat", window=4096),)


def test_an_older_lmstudio() -> None:
    found, _ = look_at_played("lmstudio", LMSTUDIO_OLD)
    assert [(model.name, model.window, model.does) for model in found.models] == [
        ("qwen2-vl-7b-instruct", 32768, "chat"),
        ("meta-llama-3.1-8b-instruct", 131072, "chat"),
    ]
    assert found.loaded == (LoadedModel("meta-llama-3.1-8b-instruct", window=8192),)


def test_an_lmstudio_that_tells_names_only() -> None:
    rows = [{"id": "phi-4", "object": "model", "owned_by": "organization_owner"}]
    found, _ = look_at_played("lmstudio", {"/v1/models": {"object": "list", "data": rows}})
    assert (found.models, found.loaded) == ((EngineModel("phi-4"),), None)


def test_vllm() -> None:
    found, _ = look_at_played("vllm", VLLM)
    assert (found.version, found.running, found.waiting) == ("0.19.1", 5, 4)
    assert found.models == (EngineModel("meta-llama/Llama-3.1-8B-Instruct", window=16384),)
    assert found.loaded_model("meta-llama/Llama-3.1-8B-Instruct") is not None


LLAMACPP: dict[str, Any] = {
    "/health": {"status": "ok"},
    "/v1/models": {
        "object": "list",
        "data": [{"id": "phi", "owned_by": "llamacpp", "meta": {"n_ctx": 4096, "size": 7}}],
    },
    "/props": {
        "total_slots": 2,
        "is_sleeping": False,
        "build_info": "b1",
        "default_generation_settings": {"n_ctx": 4096},
    },
    "/slots": [{"id": 0, "is_processing": True, "prompt": "not ours"}, {"id": 1, "is_processing": False}],
    "/metrics": b"llamacpp:requests_processing 1\nllamacpp:requests_deferred 3\n",
}


def test_llamacpp_tells_who_waits() -> None:
    found, _ = look_at_played("llamacpp", LLAMACPP)
    assert (found.running, found.waiting, found.slots, found.version) == (1, 3, 2, "b1")
    assert "not ours" not in repr(found)


def test_a_llamacpp_that_sleeps_is_not_woken() -> None:
    asleep = {**LLAMACPP, "/props": {**LLAMACPP["/props"], "is_sleeping": True}}
    found, played = look_at_played("llamacpp", asleep)
    assert (found.state, found.loaded, found.running) == ("ready", (), None)
    assert not {"/slots", "/metrics"} & set(played.paths)


def test_a_llamacpp_that_loads_is_loading() -> None:
    busy = (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}})
    found, _ = look_at_played("llamacpp", {"/health": busy, "/v1/models": busy, "/props": busy})
    assert found.state == "loading"


def test_a_router_says_which_of_its_models_are_loaded() -> None:
    rows = [
        {"id": "a", "owned_by": "llamacpp", "status": {"value": "loaded"}},
        {"id": "b", "owned_by": "llamacpp", "status": {"value": "unloaded"}},
    ]
    found, _ = look_at_played("llamacpp", {"/v1/models": {"data": rows}, "/props": {"role": "router"}})
    assert [model.name for model in found.models] == ["a", "b"]
    assert found.loaded == (LoadedModel("a"),)


# --- servers that mean no good, or something else ---

DEEP = b"[" * 100_000
HOSTILE: dict[str, Any] = {
    "a page": b"<!doctype html><title>Hello</title>",
    "nothing": b"",
    "a number": 42,
    "null": None,
    "a list": [],
    "an empty object": {},
    "an API of its own": {"status": "ok", "models": "many"},
    "rows of the wrong type": {"models": {"a": 1}, "data": {"b": 2}},
    "an OpenAI server": {"object": "list", "data": [{"id": "gpt", "object": "model", "owned_by": "openai"}]},
    "empty lists": {"models": [], "data": []},
    "a version": {"version": "1.0"},
    "models of its own": {"models": [{"name": "T"}, {"name": "Y"}]},
    "deep": DEEP,
    "not UTF-8": b'{"models": "\xff"}',
    "too much": b'{"models": [' + b'{"name": "a"},' * (MOST_BODY // 14 + 1) + b"]}",
    "an error": (500, {"error": "no"}),
}


@pytest.mark.parametrize("provider", ENGINES)
@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE)
def test_another_server_on_the_port_is_taken_for_no_engine(provider: str, said: Any) -> None:
    paths = (
        "/api/tags",
        "/api/ps",
        "/api/version",
        "/api/v1/models",
        "/api/v0/models",
        "/v1/models",
        "/props",
        "/slots",
    )
    found, _ = look_at_played(provider, dict.fromkeys((*paths, "/health", "/metrics", "/version", "/api/show"), said))
    assert (found.state, found.models, found.loaded) == ("strange", (), None)
    assert found.reason


def test_one_that_asks_for_a_key_says_so() -> None:
    found, _ = look_at_played("ollama", {path: (401, {}) for path in ("/api/tags", "/api/ps", "/api/version")})
    assert (found.state, found.reason) == ("locked", "it asks for a key")


@pytest.mark.engine
def test_a_real_llamacpp_with_a_key_is_locked(weights: Path) -> None:
    with LlamaServer(ServeOptions(weights, api_key="k" * 16)) as server:
        assert look_at("llamacpp", server.url, limit=10.0).state == "locked"


def test_a_llamacpp_with_a_key_may_still_list_its_model() -> None:
    """Those of 2025 did."""
    found, _ = look_at_played("llamacpp", {**LLAMACPP, "/props": (401, {"error": "invalid key"})})
    assert (found.state, [model.name for model in found.models], found.loaded) == ("locked", ["phi"], None)


async def _talks_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n")
    await reader.read()
    writer.close()


async def _hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _redirects(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    writer.close()


async def _dribbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{")
    await reader.read()
    writer.close()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.mark.parametrize(
    ("handler", "state"),
    [(_talks_first, "strange"), (_hangs_up, "strange"), (_redirects, "strange"), (_dribbles, "hung")],
)
@pytest.mark.parametrize("provider", ENGINES)
def test_what_does_not_speak_http_is_no_engine(provider: str, handler: Handler, state: str) -> None:
    async def main() -> Engine:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, transport() as lanes:
            return await look(lanes, provider, f"http://127.0.0.1:{port}", limit=QUICK)

    assert asyncio.run(main()).state == state


def test_names_that_a_terminal_would_obey_are_dropped() -> None:
    rows = [{"name": name} for name in ("fine", "\x1b[2Jgone", "two\nlines", "x" * 300, "", 7, None, "fine")]
    found, _ = look_at_played("ollama", {**OLLAMA, "/api/tags": {"models": rows}, "/api/show": {}})
    assert [model.name for model in found.models] == ["fine"]


def test_numbers_that_make_no_sense_are_not_known() -> None:
    row = {"name": "a", "size": -1, "details": {"family": 7, "quantization_level": ["Q4"]}, "digest": {}}
    ps = {"name": "a", "size": 1e400, "size_vram": "much", "context_length": True, "expires_at": "soon"}
    show = {"model_info": {"general.architecture": {"x": 1}, "llama.context_length": "8k"}, "capabilities": "all"}
    found, _ = look_at_played(
        "ollama", {**OLLAMA, "/api/tags": {"models": [row]}, "/api/ps": {"models": [ps]}, "/api/show": show}
    )
    assert found.models == (EngineModel("a"),)
    assert found.loaded in (None, (LoadedModel("a"),))  # 1e400 is no JSON number to some, so that nothing is listed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "models",
                    "data",
                    "name",
                    "id",
                    "key",
                    "owned_by",
                    "loaded_instances",
                    "state",
                    "meta",
                    "model_info",
                    "size",
                    "capabilities",
                    "details",
                    "status",
                    "general.architecture",
                    "total_slots",
                    "config",
                    "expires_at",
                    "error",
                ]
            ),
            inner | st.sampled_from(["llamacpp", "vllm", "organization_owner", "loaded", "llama"]),
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(JSON)
def test_no_answer_makes_a_reader_raise(found: Any) -> None:
    wire.ollama_version(found)
    wire.ollama_models(found)
    wire.ollama_loaded(found)
    wire.ollama_details(EngineModel("a"), found)
    wire.lmstudio_models(found)
    wire.lmstudio_models_v0(found)
    wire.lmstudio_names(found)
    wire.llamacpp_models(found)
    wire.llamacpp_props(found)
    wire.vllm_models(found)
    wire.is_loading(found)


@given(st.binary(max_size=200))
def test_no_bytes_make_a_reader_raise(body: bytes) -> None:
    wire.decoded(body)
    wire.llamacpp_running(body)
    wire.gauge(body, "vllm:num_requests_running")


@pytest.mark.parametrize(
    ("page", "value"),
    [
        (b"up 3\n", 3),
        (b'up{a="}"} 2.0\nup{a="b"} 5e0 1795000000\n', 7),
        (b"up_and_down 3\n# up 9\n", None),
        (b"up NaN\nup +Inf\n", None),
        (b"up -4\n", None),
        (b"up 1e18\n", 10_000),
        (b"", None),
    ],
)
def test_a_gauge_is_the_sum_of_its_rows(page: bytes, value: int | None) -> None:
    assert wire.gauge(page, "up") == value


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://localhost:1", True),
        ("http://127.0.0.1:1", True),
        ("http://[::1]:1", True),
        ("http://192.168.1.2:1", False),
        ("http://nas.local:1", False),
        ("", False),
    ],
)
def test_what_is_here(address: str, here: bool) -> None:
    assert is_here(address) is here


def test_each_engine_has_its_look() -> None:
    assert tuple(engine_module._LOOKS) == ENGINES


def test_names_and_addresses_that_mean_the_same() -> None:
    assert is_same("ollama", "Phi", "phi:latest")
    assert not is_same("ollama", "phi:3b", "phi")
    assert not is_same("vllm", "phi", "phi:latest")
    assert root_of("http://localhost:8080/v1/") == root_of("http://localhost:8080") == "http://localhost:8080"
