"""Real peers: llama.cpp's own OpenAI and Anthropic endpoints, our Ollama test server, and an independent Ollama-protocol server."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Model
from oblix.models.embedded.serve import LlamaServer, ServeOptions
from oblix.models.ollama import OllamaModel
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.ollama_server import OllamaServer
from oblix.types.chunk import Delta
from oblix.types.messages import Image, Message, ResponseFormat, Text, Tool, ToolCall
from oblix.types.request import Request

from .asking import Heard, Wire, ask, call, gather, lanes, model_of, run, spec_of

pytestmark = pytest.mark.engine

KEY = "peer-key-5f2b"
WINDOW = 512  # tokens of one slot
PEER = Path(__file__).parents[2] / ".venv-peer" / "bin" / "ollama-proxy"
K = FailureKind
YES_NO = ResponseFormat("json_schema", {"enum": ["yes", "no"]})
NOW = Tool("now", "Tells the time", {"type": "object", "properties": {"zone": {"type": "string"}}})
PICTURE = Image(
    "image/png", "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="session")
def llama(weights: Path, require: Callable[[object, str], None]) -> Iterator[LlamaServer]:
    """The real server, shared by all."""
    require(find_spec("xllamacpp"), "the embedded engine is not installed (extra `embedded`)")
    with LlamaServer(ServeOptions(weights, api_key=KEY, threads=1, slots=2, window=WINDOW)) as server:
        yield server


@pytest.fixture(scope="session")
def our_ollama(weights: Path) -> Iterator[OllamaServer]:
    options = OllamaOptions(weights, ("smollm2", "phi:latest"), port=0, window=WINDOW, slots=2)
    with OllamaServer(options) as server:
        yield server


@pytest.fixture(scope="session")
def their_ollama(llama: LlamaServer, require: Callable[[object, str], None]) -> Iterator[str]:
    """`ollama-proxy-plus`, which nobody here wrote, in front of the real server; it lives in an environment of its own."""
    require(PEER.is_file(), "no independent Ollama-protocol server: `make .venv-peer/.ready`")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {
        "PATH": os.environ["PATH"],
        "PROVIDERS_LCPP_API_KEY": KEY,
        "PROVIDERS_LCPP_BASE_URL": f"{llama.url}/v1",
        "EXTRA_MODELS": "lcpp/smollm2",
    }
    command = [str(PEER), "serve", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def hear(
    wire: Wire,
    base: str,
    request: Request,
    *,
    key: str | None = KEY,
    name: str = "smollm2",
    said: str = "",
    **facts: Any,
) -> Heard:
    """One attempt on a real peer."""

    async def main() -> Heard:
        async with lanes() as transport:
            return await gather(
                model_of(wire, spec_of(wire, base, name=name, **facts), transport, key=key), request, said
            )

    return run(main())


both = pytest.mark.parametrize("wire", ["openai", "claude"])


@both
def test_an_answer_comes_in_pieces_with_its_counts(llama: LlamaServer, wire: Wire) -> None:
    told = (hear(wire, llama.url, ask("Tell me a story.", max_tokens=8)) for _ in range(5))
    heard = next(each for each in told if each.end.finish_reason == "length")  # one that is sampled may end by itself
    assert heard.end.usage.output_tokens == 8
    assert 20 < (heard.end.usage.input_tokens or 0) < 60
    assert len([piece for piece in heard.chunks if isinstance(piece, Delta)]) > 3
    assert heard.text.strip()


@both
def test_a_stop_text_ends_it(llama: LlamaServer, wire: Wire) -> None:
    heard = hear(wire, llama.url, ask("Count: 1, 2, 3, 4,", max_tokens=40, stop=(" ", ",")))
    assert heard.end.finish_reason == "stop"
    assert " " not in heard.text
    assert (heard.end.usage.output_tokens or 0) < 40


@both
def test_a_prompt_that_does_not_fit_is_told_with_both_numbers(llama: LlamaServer, wire: Wire) -> None:
    failure = hear(wire, llama.url, ask("word " * 2 * WINDOW, max_tokens=4)).failed
    assert failure.kind is K.CONTEXT_OVERFLOW
    assert failure.window == WINDOW
    assert (failure.tokens or 0) > 2 * WINDOW


@both
@pytest.mark.parametrize("key", ["wrong-key-77", None], ids=["wrong", "none"])
def test_a_refused_key(llama: LlamaServer, wire: Wire, key: str | None) -> None:
    failure = hear(wire, llama.url, ask(), key=key).failed
    assert failure.kind is K.AUTH
    assert failure.status == 401
    assert str(key) not in str(failure)


@both
def test_a_schema_is_kept(llama: LlamaServer, wire: Wire) -> None:
    """Anthropic's field for it is newer than this llama.cpp, which then answers freely."""
    heard = hear(wire, llama.url, ask("Is the sky blue?", max_tokens=8, response_format=YES_NO))
    assert heard.end
    if wire == "openai":
        assert json.loads(heard.text) in ("yes", "no")


def test_the_same_seed_gives_the_same_words(llama: LlamaServer) -> None:
    wishes: dict[str, Any] = {"max_tokens": 12, "seed": 7, "temperature": 0.8}
    first, again = (hear("openai", llama.url, ask("Tell me a story.", **wishes)).text for _ in range(2))
    assert first == again


def test_log_probabilities(llama: LlamaServer) -> None:
    heard = hear("openai", llama.url, ask("Tell me a story.", max_tokens=4, logprobs=2))
    assert len(heard.end.logprobs) == 4
    for token in heard.end.logprobs:
        assert token["logprob"] <= 0
        assert len(token["top_logprobs"]) == 2
    assert hear("openai", llama.url, ask(max_tokens=2)).end.logprobs == ()


@both
def test_a_long_conversation_with_tools_is_understood(llama: LlamaServer, wire: Wire) -> None:
    """The shapes of every kind of message pass the real server's own checks."""
    messages = (
        Message("system", "You are a clock."),
        Message("user", (Text("What"), Text("time?"))),
        Message("assistant", "I look.", (ToolCall("c1", "now", '{"zone": "UTC"}'),)),
        Message("tool", "noon", tool_call_id="c1"),
        Message("user", "And now?"),
    )
    request = ask(messages=messages, tools=(NOW,), tool_choice="auto", max_tokens=4)
    assert (hear(wire, llama.url, request).end.usage.input_tokens or 0) > 40


@both
@pytest.mark.parametrize("prompt", ["\ud800 lone", "nul \0 here", "😀 €", "\ufeffbom"], ids=ascii)
def test_odd_text_reaches_the_model(llama: LlamaServer, wire: Wire, prompt: str) -> None:
    assert hear(wire, llama.url, ask(prompt, max_tokens=2)).end.usage.output_tokens


@both
def test_an_image_for_a_model_without_eyes(llama: LlamaServer, wire: Wire) -> None:
    """A failure of a named kind; the next candidate may see."""
    request = ask(messages=(Message("user", (Text("What is this?"), PICTURE)),), max_tokens=4)
    assert hear(wire, llama.url, request).failed.kind in (K.BAD_REQUEST, K.SERVER_ERROR)


@both
def test_leaving_early_frees_the_real_slot(llama: LlamaServer, wire: Wire) -> None:
    async def busy() -> int:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{llama.url}/slots") as response:
            return sum(bool(slot["is_processing"]) for slot in await response.json())

    async def main() -> None:
        async with lanes() as transport:
            model = model_of(wire, spec_of(wire, llama.url, name="smollm2"), transport, key=KEY)
            stream = model.stream(ask("Tell me a very long story.", max_tokens=400), call())
            assert isinstance(await anext(stream), Delta)
            assert await busy() == 1
            await stream.aclose()  # type: ignore[attr-defined]  # every provider's is a generator
            while await busy():
                await asyncio.sleep(0.02)

    run(main())


async def killed(model: Model, kill: Callable[[], None], request: Request) -> Heard:
    """An attempt whose server is killed at its third piece."""
    heard = Heard()
    try:
        async for piece in model.stream(request, call()):
            heard.chunks.append(piece)
            if len(heard.chunks) == 3:
                await asyncio.to_thread(kill)
    except AttemptFailed as failure:
        heard.failure = failure
    return heard


@both
def test_a_server_that_is_killed_in_mid_answer(weights: Path, wire: Wire) -> None:
    """What had come is no answer, and the next attempt finds nobody."""

    async def main() -> None:
        async with lanes() as transport, LlamaServer(ServeOptions(weights, threads=1, window=WINDOW)) as server:
            model = model_of(wire, spec_of(wire, server.url, name="smollm2"), transport, key=None)
            heard = await killed(model, server.kill, ask("Tell me a long story.", max_tokens=400))
            assert heard.failed.kind is K.TRUNCATED
            assert heard.text
            assert (await gather(model, ask())).failed.kind is K.CONNECT

    run(main())


# Ollama's protocol


@pytest.fixture(params=["ours", pytest.param("theirs", marks=pytest.mark.peer)])
def ollama(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Address and model name of either server."""
    if request.param == "ours":
        return str(request.getfixturevalue("our_ollama").url), "smollm2"
    return str(request.getfixturevalue("their_ollama")), "lcpp/smollm2"


def test_ollama_answers_in_pieces_with_counts(ollama: tuple[str, str]) -> None:
    base, name = ollama
    heard = hear("ollama", base, ask("Tell me a story.", max_tokens=8, seed=1, temperature=0.0), name=name)
    ours = name == "smollm2"
    assert heard.end.finish_reason == ("length" if ours else "stop")  # theirs always says so
    assert len([piece for piece in heard.chunks if isinstance(piece, Delta)]) > 3
    assert heard.end.usage.output_tokens == 8 if ours else heard.end.usage.output_tokens
    assert heard.end.usage.input_tokens


def test_ollama_keeps_a_schema(ollama: tuple[str, str]) -> None:
    base, name = ollama
    heard = hear("ollama", base, ask("Is the sky blue?", max_tokens=8, response_format=YES_NO), name=name)
    assert json.loads(heard.text) in ("yes", "no")


def test_ollama_does_not_cut_a_prompt_that_is_too_long(ollama: tuple[str, str]) -> None:
    """Ollama's own default would leave out the beginning, without a word."""
    base, name = ollama
    failure = hear("ollama", base, ask("word " * 2 * WINDOW, max_tokens=4), name=name).failed
    assert failure.kind is K.CONTEXT_OVERFLOW


def test_ollama_understands_a_conversation_with_tools(ollama: tuple[str, str]) -> None:
    base, name = ollama
    used = (Message("assistant", "", (ToolCall("c1", "now", "{}"),)), Message("tool", "noon", tool_call_id="c1"))
    messages = (
        Message("system", "You are a clock."),
        Message("user", "What time?"),
        *(used if name == "smollm2" else ()),  # theirs hands Ollama's calls to OpenAI's protocol as they are
        Message("user", "\ud800 And \0 now?"),
    )
    heard = hear("ollama", base, ask(messages=messages, tools=(NOW,), stop=("!",), max_tokens=6), name=name)
    assert heard.end.usage.input_tokens


def test_a_private_prompt_goes_to_a_real_ollama_at_home(ollama: tuple[str, str]) -> None:
    base, name = ollama
    assert hear("ollama", base, ask("A secret.", private=True, max_tokens=2), name=name).end


def test_a_cut_that_an_old_ollama_does_not_tell_of_is_noticed(weights: Path) -> None:
    """It leaves out the oldest turns and answers with status 200: the count of a conversation that grew gives it away."""

    async def main() -> None:
        options = OllamaOptions(weights, ("phi",), port=0, window=WINDOW, cuts_prompts=True)
        server = await asyncio.to_thread(OllamaServer(options).start)
        try:
            async with lanes() as transport:
                model = OllamaModel(spec_of("ollama", server.url, name="phi"), transport)
                turns: tuple[Message, ...] = (Message("system", "Be brief."), Message("user", "word " * 120))
                for _ in range(2):
                    heard = await gather(model, ask(messages=turns, max_tokens=2))
                    assert heard.end
                    turns += (Message("assistant", heard.text), Message("user", "word " * 120))
                turns += (Message("assistant", "yes"), Message("user", "word " * 300))
                failed = (await gather(model, ask(messages=turns, max_tokens=2))).failed
                assert failed.kind is K.CONTEXT_OVERFLOW
                assert (failed.tokens or 0) > WINDOW >= (failed.window or 0)
        finally:
            await asyncio.to_thread(server.stop)

    run(main())


@pytest.mark.parametrize("kind", ["llamacpp", "ollama"])
@pytest.mark.parametrize("pieces", [1, 5, 11])
def test_a_cut_answer_is_gone_on_with(llama: LlamaServer, our_ollama: OllamaServer, kind: str, pieces: int) -> None:
    """At temperature 0 the rest of the answer is the rest of the whole one, and nothing is said twice."""
    wire: Wire = "ollama" if kind == "ollama" else "openai"
    base = our_ollama.url if kind == "ollama" else llama.url
    request = ask("Tell me a story.", max_tokens=24, temperature=0.0, provider_options=_UNCACHED[wire])
    facts: dict[str, Any] = {"capabilities": frozenset({"prefill"})}
    whole = [piece.text for piece in hear(wire, base, request, **facts).chunks if isinstance(piece, Delta)]
    said = "".join(whole[:pieces])
    joined, text = said + hear(wire, base, request, said=said, **facts).text, "".join(whole)
    # What is left of the limit is an estimate: the rest ends some tokens before or behind the whole.
    assert len(joined) > len(said)
    assert joined.startswith(text) or text.startswith(joined)


# What was read for another prompt leaves other roundings, and may leave another word.
_UNCACHED: dict[Wire, dict[str, Any]] = {"openai": {"cache_prompt": False}, "ollama": {}}


def test_a_cold_load_of_an_ollama_server(weights: Path) -> None:
    """Nothing is in memory; a hundred wait for one load; then it is listed, and an answer needs no load of its own."""

    async def main() -> None:
        options = OllamaOptions(weights, ("phi",), port=0, window=WINDOW, load_seconds=0.5)
        server = await asyncio.to_thread(OllamaServer(options).start)
        try:
            async with lanes() as transport:
                spec = spec_of("ollama", server.url, name="phi", window=WINDOW)
                model = OllamaModel(spec, transport)
                assert await listed(server.url) == {}
                waiting = [asyncio.create_task(model.load(ask())) for _ in range(100)]
                await asyncio.sleep(0)
                assert model.state().loading
                await asyncio.gather(*waiting)
                assert await listed(server.url) == {"phi:latest": WINDOW}
                assert model.state().loaded
                assert (await gather(model, ask(max_tokens=2))).end
                await model.close()
        finally:
            await asyncio.to_thread(server.stop)

    run(main())


async def listed(base: str) -> dict[str, int]:
    """What `/api/ps` lists, with its windows."""
    async with aiohttp.ClientSession() as session, session.get(f"{base}/api/ps") as response:
        return {one["name"]: one["context_length"] for one in (await response.json())["models"]}


def test_ollama_says_which_model_is_missing(our_ollama: OllamaServer) -> None:
    for private in (False, True):
        failure = hear("ollama", our_ollama.url, ask(private=private), name="nope:7b").failed
        assert failure.kind is K.MODEL_MISSING
        assert failure.hint == "ollama pull nope:7b"


@pytest.mark.peer
def test_a_crash_behind_the_ollama_protocol_is_a_server_error(their_ollama: str) -> None:
    """The independent server has no provider for this model; it answers 500 and drops the connection."""
    for _ in range(2):
        assert hear("ollama", their_ollama, ask(), name="nope").failed.kind is K.SERVER_ERROR


def test_names_with_and_without_latest_are_one_model(our_ollama: OllamaServer) -> None:
    for name in ("phi", "phi:latest"):
        assert hear("ollama", our_ollama.url, ask(max_tokens=1), name=name).end


def test_ollama_gives_log_probabilities(our_ollama: OllamaServer) -> None:
    heard = hear("ollama", our_ollama.url, ask("Tell me a story.", max_tokens=3, logprobs=2))
    assert len(heard.end.logprobs) == 3
    assert all(token["logprob"] <= 0 for token in heard.end.logprobs)


def test_an_ollama_that_dies_in_mid_answer(weights: Path) -> None:
    """The whole process, by its own hand, after three tokens."""

    async def main() -> None:
        options = OllamaOptions(weights, ("phi",), port=0, die_after_tokens=3)
        async with lanes() as transport:
            server = await asyncio.to_thread(OllamaServer(options).start)
            try:
                model = model_of("ollama", spec_of("ollama", server.url, name="phi"), transport, key=None)
                heard = await gather(model, ask("Tell me a long story.", max_tokens=50))
                while server.is_alive:  # while it is dying, the system may still take a connection, and reset it
                    await asyncio.sleep(0.01)
                after = (await gather(model, ask())).failed
            finally:
                await asyncio.to_thread(server.stop)
            assert heard.failed.kind is K.TRUNCATED
            assert heard.text
            assert after.kind is K.CONNECT
            assert "ollama serve" in str(after.hint)

    run(main())
