"""The Ollama test server, asked by a raw HTTP client: Ollama's shapes, a real model's words, a real death."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from oblix.errors import ConfigurationError
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.ollama_server import OllamaServer

pytestmark = pytest.mark.engine
ASK = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def server(weights: Path) -> Iterator[OllamaServer]:
    with OllamaServer(OllamaOptions(weights, ("llama2", "phi:latest"), port=0, window=512, max_answer=12)) as running:
        yield running


def raw(server: OllamaServer, method: str, path: str, body: object = None) -> tuple[int, str, bytes]:
    """Status, content type and body of one exchange."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read()
    finally:
        connection.close()


def post(server: OllamaServer, path: str, **body: object) -> dict[str, Any]:
    status, kind, answer = raw(server, "POST", path, {"stream": False, **body})
    assert (status, kind) == (200, "application/json; charset=utf-8"), answer
    value: dict[str, Any] = json.loads(answer)
    return value


def test_it_lists_what_is_pulled(server: OllamaServer) -> None:
    """`name` and `name:latest` are one model; the details are those of the weights."""
    models = json.loads(raw(server, "GET", "/api/tags")[2])["models"]
    assert [model["name"] for model in models] == ["llama2:latest", "phi:latest"]
    assert models[0]["details"]["parameter_size"] == "134.52M"
    assert json.loads(raw(server, "GET", "/api/version")[2])["version"]
    assert raw(server, "GET", "/")[2] == b"Ollama is running"
    shown = post(server, "/api/show", model="phi")
    assert shown["model_info"]["llama.context_length"] == 8192
    assert "completion" in shown["capabilities"]


def test_a_stream_is_one_object_per_line_and_ends_with_counts(server: OllamaServer) -> None:
    status, kind, body = raw(server, "POST", "/api/chat", {"model": "phi", "messages": ASK, "options": {"seed": 1}})
    assert (status, kind) == (200, "application/x-ndjson")
    *pieces, last = [json.loads(line) for line in body.splitlines()]
    assert body.endswith(b"\n")
    assert [piece["done"] for piece in pieces] == [False] * len(pieces)
    assert {piece["model"] for piece in pieces} == {"phi"}
    assert "".join(piece["message"]["content"] for piece in pieces)
    assert last["done"] is True
    assert last["done_reason"] == "length"
    assert (last["prompt_eval_count"], last["eval_count"]) == (37, 12)
    assert last["total_duration"] >= last["eval_duration"] > 0
    assert "phi" in json.loads(raw(server, "GET", "/api/ps")[2])["models"][0]["name"]


def test_options_are_read(server: OllamaServer) -> None:
    """The request's limit holds below the server's cap, never above it; the same seed gives the same words."""
    options = {"num_predict": 3, "seed": 7, "temperature": 0.8}
    first, again = (post(server, "/api/chat", model="phi:latest", messages=ASK, options=options) for _ in range(2))
    assert first["eval_count"] == 3
    assert first["message"]["content"] == again["message"]["content"]
    assert post(server, "/api/chat", model="phi", messages=ASK, options={"num_predict": 99})["eval_count"] <= 12
    word = first["message"]["content"].split()[0]
    stopped = post(server, "/api/chat", model="phi", messages=ASK, options={**options, "stop": [word]})
    assert word not in stopped["message"]["content"]
    assert stopped["done_reason"] == "stop"


def test_log_probabilities_come_when_asked_for(server: OllamaServer) -> None:
    options = {"num_predict": 2}
    answer = post(server, "/api/chat", model="phi", messages=ASK, logprobs=True, top_logprobs=2, options=options)
    assert len(answer["logprobs"]) == 2
    assert answer["logprobs"][0]["logprob"] <= 0
    assert len(answer["logprobs"][0]["top_logprobs"]) == 2
    assert "logprobs" not in post(server, "/api/chat", model="phi", messages=ASK, options=options)


def test_a_schema_is_kept(server: OllamaServer) -> None:
    answer = post(server, "/api/chat", model="phi", messages=ASK, format={"enum": ["yes", "no"]})
    assert json.loads(answer["message"]["content"]) in ("yes", "no")


def test_generate_answers_a_prompt_with_and_without_template(server: OllamaServer) -> None:
    templated = post(server, "/api/generate", model="llama2", prompt="Say hi", options={"num_predict": 4})
    bare = post(server, "/api/generate", model="llama2", prompt="Say hi", raw=True, options={"num_predict": 4})
    assert templated["response"]
    assert bare["response"]
    assert bare["prompt_eval_count"] < templated["prompt_eval_count"]


def test_an_empty_prompt_loads_and_unloads(server: OllamaServer) -> None:
    assert post(server, "/api/chat", model="llama2", messages=[])["done_reason"] == "load"
    assert post(server, "/api/generate", model="llama2", keep_alive=0)["done_reason"] == "unload"


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"model": "x", "messages": ASK}, 404, "model 'x' not found"),
        ({"messages": ASK}, 400, "model is required"),
        ({"model": "phi", "messages": ASK, "think": True}, 400, '"phi" does not support thinking'),
        ({"model": "phi", "messages": [{"role": "judge", "content": "?"}]}, 400, "invalid role: judge"),
        (
            {"model": "phi", "messages": ASK, "truncate": False, "options": {"num_ctx": 16}},
            400,
            "the input length exceeds the context length",
        ),
    ],
    ids=["missing", "nameless", "thinking", "role", "too long"],
)
def test_errors_are_ollamas(server: OllamaServer, body: object, status: int, error: str) -> None:
    assert raw(server, "POST", "/api/chat", body)[::2] == (
        status,
        json.dumps({"error": error}, separators=(",", ":")).encode(),
    )


def test_the_oldest_turns_are_left_out_unless_truncate_is_false(server: OllamaServer) -> None:
    """So does Ollama, silently; which is why our client asks it not to."""
    long = [{"role": "user", "content": "word " * 600}, {"role": "assistant", "content": "ok"}, *ASK]
    assert post(server, "/api/chat", model="phi", messages=long)["prompt_eval_count"] < 100
    assert raw(server, "POST", "/api/chat", {"model": "phi", "messages": long, "truncate": False})[0] == 400


def memory(server: OllamaServer) -> dict[str, int]:
    """What `/api/ps` lists, with its windows."""
    models = json.loads(raw(server, "GET", "/api/ps")[2])["models"]
    return {model["name"]: model["context_length"] for model in models}


@pytest.fixture(scope="module")
def cold(weights: Path) -> Iterator[OllamaServer]:
    """A server whose loads take their time."""
    options = OllamaOptions(weights, ("llama2", "phi"), port=0, window=512, max_answer=2, load_seconds=0.3)
    with OllamaServer(options) as running:
        yield running


def test_a_cold_load_takes_its_time_once(cold: OllamaServer) -> None:
    """Who asks meanwhile waits for the same load; afterwards there is none, and the list says what is there."""
    assert memory(cold) == {}
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(post, cold, "/api/chat", model="phi", messages=ASK) for _ in range(2)]
        first, second = (one.result()["load_duration"] for one in asked)
    assert min(first, second) > 0
    assert max(first, second) >= 0.3e9  # nanoseconds
    assert memory(cold) == {"phi:latest": 512}
    assert post(cold, "/api/chat", model="phi", messages=ASK)["load_duration"] == 0


def test_a_load_without_a_prompt(cold: OllamaServer) -> None:
    assert post(cold, "/api/generate", model="llama2", keep_alive="1h")["done_reason"] == "load"
    assert "llama2:latest" in memory(cold)
    assert post(cold, "/api/chat", model="llama2", messages=ASK)["load_duration"] == 0


def test_another_window_is_another_load(cold: OllamaServer) -> None:
    for window, loads in ((256, True), (256, False), (512, True)):
        answer = post(cold, "/api/chat", model="phi", messages=ASK, options={"num_ctx": window})
        assert (answer["load_duration"] > 0) is loads
        assert memory(cold)["phi:latest"] == window


def test_what_is_not_kept_is_loaded_again(cold: OllamaServer) -> None:
    post(cold, "/api/chat", model="phi", messages=ASK, keep_alive=0)
    assert "phi:latest" not in memory(cold)
    assert post(cold, "/api/chat", model="phi", messages=ASK)["load_duration"] >= 0.3e9
    assert post(cold, "/api/generate", model="phi", keep_alive=0)["done_reason"] == "unload"
    assert "phi:latest" not in memory(cold)


def test_a_load_is_given_up_when_the_one_who_asked_leaves(cold: OllamaServer) -> None:
    """As Ollama does: `client connection closed before server finished loading, aborting load`."""
    post(cold, "/api/generate", model="phi", keep_alive=0)
    connection = http.client.HTTPConnection(urlsplit(cold.url).netloc, timeout=60)
    connection.request("POST", "/api/generate", json.dumps({"model": "phi"}))
    connection.close()
    assert post(cold, "/api/generate", model="phi")["done_reason"] == "load"
    assert "phi:latest" in memory(cold)


def test_a_keep_alive_that_is_no_time_is_refused(cold: OllamaServer) -> None:
    status, _, body = raw(cold, "POST", "/api/generate", {"model": "phi", "keep_alive": "soon"})
    assert (status, json.loads(body)) == (400, {"error": 'time: invalid duration "soon"'})


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_it_is_really_killed_in_mid_answer(weights: Path, stream: bool) -> None:
    """The connection breaks without a closing chunk, and the engine is gone with its parent."""
    options = OllamaOptions(weights, ("phi",), port=0, max_answer=24, die_after_tokens=3)
    with OllamaServer(options) as server:
        engines = psutil.Process(server.pid).children()
        assert len(engines) == 1
        body = {"model": "phi", "messages": ASK, "stream": stream}
        with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected)) as broken:
            raw(server, "POST", "/api/chat", body)
        if stream:
            assert isinstance(broken.value, http.client.IncompleteRead)
            assert broken.value.partial.count(b'"done":false') == 3
        assert psutil.wait_procs(engines, timeout=5)[1] == []
        with pytest.raises(ConnectionRefusedError):
            raw(server, "GET", "/api/version")
        assert server.exit_code == -signal.SIGKILL


def test_the_engine_goes_with_the_server(weights: Path) -> None:
    with OllamaServer(OllamaOptions(weights, port=0)) as server:
        engines = psutil.Process(server.pid).children()
    assert server.exit_code == 0
    assert psutil.wait_procs(engines, timeout=5)[1] == []


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        OllamaServer(OllamaOptions(tmp_path / "none.gguf", port=0)).start()
