"""Ollama's routes over one llama.cpp engine, for the test server."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from aiohttp import ClientError, ClientSession, web

from oblix.testing.ollama_loads import Loads
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.ollama_wire import BadRequestError, Outcome, canonical, chat_request, generate_request

VERSION = "0.12.11"  # the Ollama release whose answers were taken as the model
_TOO_LONG = "the input length exceeds the context length"


@dataclass
class Engine:
    """The llama.cpp child behind the server."""

    url: str
    pid: int
    key: str
    _: KW_ONLY
    session: ClientSession
    about: dict[str, Any] = field(default_factory=dict)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """One question with a whole JSON answer."""
        async with self.session.post(self.url + path, json=body, headers=self._headers) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
            _raise_error(answer, response.status)
            return answer

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The chunks of one answer."""
        async with self.session.post(self.url + path, json=body, headers=self._headers) as response:
            if response.status != 200:
                _raise_error(await response.json(content_type=None), response.status)
            async for line in response.content:
                if line.startswith(b"data: {"):
                    chunk = json.loads(line.removeprefix(b"data: "))
                    _raise_error(chunk, 500)
                    yield chunk

    async def meet(self) -> None:
        """Ask what the weights are."""
        async with self.session.get(f"{self.url}/v1/models", headers=self._headers) as response:
            self.about = (await response.json())["data"][0].get("meta") or {}

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


def _raise_error(answer: Mapping[str, Any], status: int) -> None:
    error = answer.get("error")
    if error:
        told = error if isinstance(error, dict) else {"message": str(error)}
        if told.get("type") == "exceed_context_size_error":
            raise BadRequestError(_TOO_LONG)
        raise BadRequestError(str(told.get("message", error)), status=status if status >= 400 else 500)


@dataclass(frozen=True, slots=True)
class _Dialect:
    """What sets `/api/chat` and `/api/generate` apart."""

    path: str
    body: dict[str, Any]
    piece: Callable[[str], dict[str, Any]]


def _chat_piece(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}}


def _generate_piece(text: str) -> dict[str, Any]:
    return {"response": text}


class OllamaApp:
    """The routes of Ollama's API over one engine."""

    def __init__(self, options: OllamaOptions, engine: Engine) -> None:
        self.options = options
        self.engine = engine
        self._pulled = tuple(dict.fromkeys(canonical(name) for name in options.models))
        self._loads = Loads(options)
        self._sent = 0  # tokens, for die_after_tokens

    def routes(self) -> list[web.RouteDef]:
        """The routes, for `web.Application.add_routes`."""
        return [
            web.get("/", self.root),
            web.get("/api/version", self.version),
            web.get("/api/tags", self.tags),
            web.get("/api/ps", self.ps),
            web.post("/api/show", self.show),
            web.post("/api/chat", self.chat),
            web.post("/api/generate", self.generate),
        ]

    async def root(self, request: web.Request) -> web.Response:
        """What a browser sees."""
        return web.Response(text="Ollama is running")

    async def version(self, request: web.Request) -> web.Response:
        """`/api/version`."""
        return _reply({"version": VERSION})

    async def tags(self, request: web.Request) -> web.Response:
        """`/api/tags`: the pulled models."""
        return _reply({"models": [{**self._entry(name), "modified_at": self._modified} for name in self._pulled]})

    async def ps(self, request: web.Request) -> web.Response:
        """`/api/ps`: the models in memory."""
        loaded = [
            {
                **self._entry(name),
                "expires_at": _stamp(there.until),
                "size_vram": 0,
                "context_length": there.window,
            }
            for name, there in self._loads.listed().items()
        ]
        return _reply({"models": loaded})

    async def show(self, request: web.Request) -> web.Response:
        """`/api/show`: what is known of one model."""
        body = await _json(request)
        self._pulled_name(body)
        about = self.engine.about
        return _reply(
            {
                "modelfile": f"FROM {self.options.weights}\n",
                "parameters": f"num_ctx {self.options.window}",
                "template": "{{ .Prompt }}",
                "details": self._details,
                "model_info": {
                    "general.architecture": "llama",
                    "general.parameter_count": about.get("n_params"),
                    "llama.context_length": about.get("n_ctx_train"),
                    "llama.embedding_length": about.get("n_embd"),
                },
                "capabilities": ["completion", "tools"],
                "modified_at": self._modified,
            }
        )

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """`/api/chat`."""
        body = await _json(request)
        name = self._pulled_name(body)
        if not body.get("messages"):
            return _reply(await self._nothing_asked(name, body, _chat_piece))
        asked = chat_request(body, self.options.max_answer)
        await self._fit(body, asked)
        return await self._answer(request, body, _Dialect("/v1/chat/completions", asked, _chat_piece))

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """`/api/generate`."""
        body = await _json(request)
        name = self._pulled_name(body)
        if not body.get("prompt"):
            return _reply(await self._nothing_asked(name, body, _generate_piece))
        asked = generate_request(body, self.options.max_answer)
        await self._fit(body, asked)
        path = "/v1/completions" if body.get("raw") else "/v1/chat/completions"
        return await self._answer(request, body, _Dialect(path, asked, _generate_piece))

    async def _answer(self, request: web.Request, body: dict[str, Any], dialect: _Dialect) -> web.StreamResponse:
        name, started = canonical(body["model"]), time.monotonic_ns()
        load_ns = time.monotonic_ns() - started if await self._loads.bring(name, body) else 0
        outcome, streamed = Outcome(), body.get("stream", True)
        lines: web.StreamResponse | None = None
        async for chunk in self.engine.stream(dialect.path, dialect.body):
            told = len(outcome.logprobs)
            text = outcome.take(chunk)
            if not text:
                continue
            if streamed:
                # Not before the first token: until then a failure still has a status of its own.
                lines = lines or await _open_stream(request)
                piece = {**dialect.piece(text), **_logprobs(outcome.logprobs[told:]), "done": False}
                await lines.write(_line({**_head(body), **piece}))
            self._one_more_token()
        last = {**_head(body), **dialect.piece("" if streamed else "".join(outcome.text))}
        if outcome.calls and "message" in last:
            last["message"]["tool_calls"] = outcome.tool_calls()
        last |= outcome.closing(time.monotonic_ns() - started, load_ns)
        self._loads.used(name, body)
        if not streamed:
            return _reply({**last, **_logprobs(outcome.logprobs)})
        lines = lines or await _open_stream(request)
        await lines.write(_line(last))
        await lines.write_eof()
        return lines

    def _one_more_token(self) -> None:
        self._sent += 1
        if self._sent == self.options.die_after_tokens:
            os.kill(self.engine.pid, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    async def _fit(self, body: Mapping[str, Any], asked: dict[str, Any]) -> None:
        """Leave out the oldest turns until the prompt fits the window, as Ollama does unless `truncate` is false."""
        window = min((body.get("options") or {}).get("num_ctx") or self.options.window, self.options.window)
        if "messages" not in asked:
            return
        turns = asked["messages"]
        while await self._count(turns) >= window:
            oldest = next((at for at, turn in enumerate(turns[:-1]) if turn["role"] != "system"), None)
            if oldest is None or not (body.get("truncate", True) or self.options.cuts_prompts):
                raise BadRequestError(_TOO_LONG)
            del turns[oldest]

    async def _count(self, turns: list[dict[str, Any]]) -> int:
        answer = await self.engine.post("/v1/chat/completions/input_tokens", {"messages": turns})
        return int(answer["input_tokens"])

    def _pulled_name(self, body: Mapping[str, Any]) -> str:
        name = body.get("model") or body.get("name")
        if not isinstance(name, str) or not name:
            raise BadRequestError("model is required")
        if canonical(name) not in self._pulled:
            raise BadRequestError(f"model '{name}' not found", status=404)
        return name

    async def _nothing_asked(
        self, name: str, body: Mapping[str, Any], piece: Callable[[str], dict[str, Any]]
    ) -> dict[str, Any]:
        """An empty prompt loads the model, and with `keep_alive` 0 unloads it."""
        unload = body.get("keep_alive") in (0, "0", "0s")
        if unload:
            self._loads.drop(canonical(name))
        else:
            await self._loads.bring(canonical(name), body)
        reason = "unload" if unload else "load"
        return {"model": name, "created_at": _stamp(), **piece(""), "done": True, "done_reason": reason}

    def _entry(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "model": name,
            "size": self.options.weights.stat().st_size,
            "digest": self._digest,
            "details": self._details,
        }

    @cached_property
    def _digest(self) -> str:
        with self.options.weights.open("rb") as weights:
            return hashlib.file_digest(weights, "sha256").hexdigest()

    @property
    def _modified(self) -> str:
        return _stamp(datetime.fromtimestamp(self.options.weights.stat().st_mtime, UTC))

    @property
    def _details(self) -> dict[str, Any]:
        millions = (self.engine.about.get("n_params") or 0) / 1e6
        return {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": f"{millions:.2f}M",
            "quantization_level": self.options.weights.stem.rpartition(".")[2],
        }


def _reply(value: Mapping[str, Any], *, status: int = 200) -> web.Response:
    return web.Response(
        body=_line(value).rstrip(), status=status, headers={"Content-Type": "application/json; charset=utf-8"}
    )


async def _json(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    if not raw:
        raise BadRequestError("missing request body")
    try:
        body = json.loads(raw)
    except ValueError as exc:
        raise BadRequestError(str(exc)) from exc
    if not isinstance(body, dict):
        raise BadRequestError("json: cannot unmarshal the body into an object")
    return body


async def _open_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    return response


def _head(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": body["model"], "created_at": _stamp()}


def _logprobs(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {"logprobs": found} if found else {}


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _stamp(at: datetime | None = None) -> str:
    return (at or datetime.now(UTC)).isoformat().replace("+00:00", "Z")


@web.middleware
async def errors_as_json(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    """Every failure as Ollama tells it."""
    try:
        response: web.StreamResponse = await handler(request)
    except BadRequestError as exc:
        return _reply({"error": str(exc)}, status=exc.status)
    except ClientError as exc:
        return _reply({"error": f"llama runner process no longer running: {exc}"}, status=500)
    return response
