"""The real client and a real model, with `aimock`'s chaos between them, and a second model that it cannot touch."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oblix import OblixClient
from oblix.errors import OblixError, StreamBroken
from oblix.models.embedded.serve import LlamaServer, ServeOptions
from oblix.models.embedded.weights import fetch
from oblix.types.chunk import Reset
from oblix.types.reply import Reply

from . import processes

_TOKENS = 6
_DEADLINE = 120.0  # seconds; a busy machine makes ten tokens a second
# One kind of chaos after another, and then all together; aimock makes half of the requests fail. `malformed` and the stream faults reach
# only what aimock answers itself: it passes a stream of the model behind it on as it is.
_CHAOS: tuple[dict[str, float], ...] = (
    {"dropRate": 0.5},
    {"disconnectRate": 0.5},
    {"rateLimitRate": 0.5},
    {"malformedRate": 0.5},
    {"latencyMs": 50},
    {"dropRate": 0.15, "disconnectRate": 0.15, "rateLimitRate": 0.15, "malformedRate": 0.15, "latencyMs": 20},
)
_SCRIPTED = "This answer is made by the referee itself and not by any model of ours."
_FIXTURES = {
    "fixtures": [
        {"match": {"userMessage": "scripted"}, "response": {"content": _SCRIPTED}},
        {"match": {"userMessage": "truncated"}, "response": {"content": _SCRIPTED}, "truncateAfterChunks": 2},
        {"match": {"userMessage": "vanishing"}, "response": {"content": _SCRIPTED}, "latency": 30, "disconnectAfterMs": 70},
    ]
}  # fmt: skip
_PROMPTS = ("Tell me a story.", "Name a colour.", "What is rain?", "scripted", "truncated", "vanishing")
_PATH = {"openai": "/v1", "claude": ""}
_WAYS = tuple((wire, streamed) for wire in ("openai", "claude") for streamed in (False, True))


@dataclass(slots=True)
class Proxied:
    """What became of the requests.

    Attributes:
        moved: Answered by the second model.
        broken: Streams that broke after text had come, and were told so.
        met: How attempts failed, by kind.
        wrong: What should not be, in words.
    """

    requests: int = 0
    moved: int = 0
    broken: int = 0
    met: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def proxy(folder: Path, times: int) -> Proxied:
    """Send every prompt in every way through every kind of chaos, so many times. Blocks.

    Args:
        folder: For the clients' data files and aimock's fixtures.
    """
    fixtures = folder / "fixtures"
    fixtures.mkdir()
    (fixtures / "scripted.json").write_text(json.dumps(_FIXTURES))
    options = ServeOptions(fetch("smollm2").path, threads=1, slots=2)
    with LlamaServer(options) as llama, processes.aimock(fixtures, llama.url) as base:
        return asyncio.run(_proxy(base, llama.url, folder, times))


async def _proxy(base: str, behind: str, folder: Path, times: int) -> Proxied:
    found = Proxied()
    async with processes.control() as session:
        for chaos in _CHAOS:
            async with session.post(f"{base}/__aimock/chaos", json=chaos) as answer:
                assert answer.status == 200, await answer.text()
            for wire, streamed in _WAYS * times:
                # A client for each round: one that has learned to avoid a failing model would meet no more chaos.
                client = OblixClient(store=folder / "chaos.db")
                try:
                    await _ask_all(client, base, behind, wire, streamed, found)
                finally:
                    await client.shutdown()
    return found


async def _ask_all(client: OblixClient, base: str, behind: str, wire: str, streamed: bool, found: Proxied) -> None:
    """Each prompt once: of a model with chaos before it, and of a healthy one when that fails."""
    key = "sk-referee-aimock-4f1d"
    await client.hook_model(wire, "smollm2", endpoint=f"{base}{_PATH[wire]}", api_key=key, place="cloud")
    await client.hook_model("openai", "healthy", endpoint=f"{behind}/v1", api_key=key, place="cloud")
    await asyncio.gather(*(_ask(client, prompt, wire, streamed, found) for prompt in _PROMPTS))


async def _ask(client: OblixClient, prompt: str, wire: str, streamed: bool, found: Proxied) -> None:
    how: dict[str, Any] = {
        "model_id": f"{wire}:smollm2", "fallback": True, "max_tokens": _TOKENS, "deadline": _DEADLINE,
    }  # fmt: skip
    heard: list[str] = []
    found.requests += 1
    try:
        if not streamed:
            reply = await client.execute(prompt, **how)
        else:
            async with client.stream(prompt, **how) as stream:
                async for piece in stream:
                    assert not isinstance(piece, Reset)
                    heard.append(piece)
                reply = await stream.reply()
    except StreamBroken as error:
        found.met.update(attempt.kind for attempt in error.attempts if attempt.kind)
        if heard and "".join(heard) == error.text:
            found.broken += 1
        else:
            found.wrong.append(f"{wire} {prompt!r}: {error!r} after {heard}")
    except Exception as error:  # noqa: BLE001  any other error is wrong: a healthy model was there
        told = [f"{attempt.model_id} {attempt.why}" for attempt in getattr(error, "attempts", ())]
        found.wrong.append(f"{wire} {prompt!r}: {error!r} {told if isinstance(error, OblixError) else ''}")
    else:
        _check(reply, prompt, heard if streamed else None, found)


def _check(reply: Reply, prompt: str, heard: list[str] | None, found: Proxied) -> None:
    """The answer must be whole, wherever it came from."""
    found.met.update(attempt.kind for attempt in reply.attempts if attempt.kind)
    found.moved += reply.model_id == "openai:healthy"
    by_referee = prompt == "scripted" and reply.model_id != "openai:healthy"
    right = reply.response == _SCRIPTED if by_referee else bool(reply.response) and _SCRIPTED[:20] not in reply.response
    counted = by_referee or 0 < reply.metrics["output_tokens"] <= _TOKENS
    if not (right and counted and reply.finish_reason in ("stop", "length")):
        found.wrong.append(f"{prompt!r}: {reply.response!r} {reply.finish_reason} {dict(reply.metrics)}")
    if heard is not None and "".join(heard) != reply.response:
        found.wrong.append(f"{prompt!r}: streamed {heard}, told {reply.response!r}")
