"""A small real HTTP server that plays an edge server: fixed answers, silence, and a memory of what it was asked.

The bodies of LM Studio and vLLM are built after their documentation (sources in `oblix.agents.probes.engine_wire`), because neither can be
run here. For answers from a real model see `oblix.testing.ollama_server`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

SILENCE = object()  # takes the request, and never answers
Answers = Mapping[str, Any]  # path → a JSON value, bytes, (status, JSON value), or SILENCE

OLLAMA: dict[str, Any] = {
    "/api/version": {"version": "0.20.5"},
    "/api/tags": {
        "models": [
            {
                "name": "llama3:latest",
                "model": "llama3:latest",
                "modified_at": "2026-10-17T16:47:07.93355-07:00",
                "size": 4_661_224_676,
                "digest": "365c0bd3c000",
                "details": {"family": "llama", "parameter_size": "8.0B", "quantization_level": "Q4_0"},
            },
            {
                "name": "nomic-embed-text:latest",
                "size": 274_302_450,
                "digest": "0a109f422b47",
                "details": {"family": "nomic-bert", "parameter_size": "137M", "quantization_level": "F16"},
            },
            {
                "name": "gpt-oss:120b-cloud",
                "size": 384,
                "digest": "569662207105",
                "remote_model": "gpt-oss:120b",
                "remote_host": "https://ollama.com:443",
                "details": {"family": "gptoss", "parameter_size": "116.8B", "quantization_level": "MXFP4"},
            },
        ]
    },
    "/api/ps": {
        "models": [
            {
                "name": "llama3:latest",
                "model": "llama3:latest",
                "size": 6_591_830_464,
                "digest": "365c0bd3c000",
                "expires_at": "2026-11-23T09:47:07.933551234-07:00",
                "size_vram": 5_333_539_264,
                "context_length": 4096,
            }
        ]
    },
    "/api/show": {
        "capabilities": ["completion", "tools"],
        "details": {"family": "llama"},
        "model_info": {
            "general.architecture": "llama",
            "general.parameter_count": 8_030_261_248,
            "llama.attention.head_count": 32,
            "llama.attention.head_count_kv": 8,
            "llama.block_count": 32,
            "llama.context_length": 8192,
            "llama.embedding_length": 4096,
            "llama.vocab_size": 128_256,
            "tokenizer.ggml.tokens": None,
        },
    },
}
LMSTUDIO: dict[str, Any] = {
    "/api/v1/models": {
        "models": [
            {
                "type": "llm",
                "publisher": "lmstudio-community",
                "key": "gemma-3-270m-it-qat",
                "display_name": "Gemma 3 270m Instruct Qat",
                "architecture": "gemma3",
                "quantization": {"name": "Q4_0", "bits_per_weight": 4},
                "size_bytes": 241_410_208,
                "params_string": "270M",
                "loaded_instances": [{"id": "gemma-3-270m-it-qat", "config": {"context_length": 4096}}],
                "max_context_length": 32768,
                "format": "gguf",
            },
            {
                "type": "embedding",
                "key": "text-embedding-nomic-embed-text-v1.5",
                "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
                "size_bytes": 84_106_624,
                "loaded_instances": [],
                "max_context_length": 2048,
            },
        ]
    }
}
LMSTUDIO_OLD: dict[str, Any] = {
    "/api/v1/models": {"error": "Unexpected endpoint or method. (GET /api/v1/models)"},
    "/api/v0/models": {
        "object": "list",
        "data": [
            {
                "id": "qwen2-vl-7b-instruct",
                "object": "model",
                "type": "vlm",
                "arch": "qwen2_vl",
                "quantization": "4bit",
                "state": "not-loaded",
                "max_context_length": 32768,
            },
            {
                "id": "meta-llama-3.1-8b-instruct",
                "object": "model",
                "type": "llm",
                "arch": "llama",
                "quantization": "Q4_K_M",
                "state": "loaded",
                "max_context_length": 131072,
                "loaded_context_length": 8192,
            },
        ],
    },
}
VLLM_METRICS = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 3.0
vllm:num_requests_running{engine="1",model_name="meta-llama/Llama-3.1-8B-Instruct"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 4.0
vllm:num_requests_waiting{engine="1",model_name="meta-llama/Llama-3.1-8B-Instruct"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 4.0
"""
VLLM: dict[str, Any] = {
    "/version": {"version": "0.19.1"},
    "/v1/models": {
        "object": "list",
        "data": [
            {
                "id": "meta-llama/Llama-3.1-8B-Instruct",
                "object": "model",
                "created": 1_795_000_000,
                "owned_by": "vllm",
                "root": "meta-llama/Llama-3.1-8B-Instruct",
                "parent": None,
                "max_model_len": 16384,
                "permission": [],
            }
        ],
    },
    "/metrics": VLLM_METRICS,
}


@dataclass
class Played:
    """A running server, as `playing` gives it.

    Attributes:
        answers: What it says at each path; may be changed while it runs.
        asked: The requests that came: method, path, body.
        over: Ends every silence.
    """

    answers: dict[str, Any]
    url: str = ""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [path for _, path, _ in self.asked]

    async def answer(self, request: web.Request) -> web.Response:
        """One answer, or silence until the server ends."""
        body = await request.read()
        self.asked.append((request.method, request.path, json.loads(body) if body else None))
        found = self.answers.get(request.path, (404, {"error": "not found"}))
        if found is SILENCE:
            await self.over.wait()
        status, value = found if isinstance(found, tuple) else (200, found)
        if isinstance(value, bytes):
            return web.Response(status=status, body=value, content_type="text/plain")
        return web.json_response(value, status=status)


@asynccontextmanager
async def playing(answers: Answers) -> AsyncIterator[Played]:
    """A server with these answers on a port of its own."""
    played = Played(dict(answers))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", played.answer)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        played.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield played
    finally:
        played.over.set()
        await runner.cleanup()
