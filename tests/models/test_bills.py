"""What an answer costs, by the usage that each provider tells: ours against the price catalogue's own reading of the same body."""

from __future__ import annotations

from typing import Any

import pytest
from genai_prices import extract_usage

from oblix.models.catalog import look_up
from oblix.models.openai import OpenAIModel
from oblix.types.chunk import Usage
from oblix.types.spec import ModelSpec

from .asking import ask, gather, hear, lanes, run
from .test_claude import PING, STOP, closes, ends, opens, start, text
from .test_claude import stream as claude_stream
from .test_openai import DONE, says, stream
from .upstream import Upstream

# Bodies as the services answer, with the fields that bear on the bill: provider, its name and flavour in the catalogue, model, usage.
OPENAI = {
    "prompt_tokens": 2006,
    "completion_tokens": 1300,
    "total_tokens": 3306,
    "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 1024, "audio_tokens": 0, "accepted_prediction_tokens": 0},
}
BODIES: list[Any] = [
    pytest.param(
        "openai", "openai", "chat", "gpt-5-mini", OPENAI, Usage(2006, 1300, 1920, reasoning_tokens=1024), id="OpenAI"
    ),
    pytest.param(
        "openai",
        "openai",
        "chat",
        "gpt-4o",
        {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29},
        Usage(19, 10),
        id="OpenAI, nothing cached",
    ),
    pytest.param(
        "deepseek",
        "deepseek",
        "chat",
        "deepseek-v4-flash",
        {
            "prompt_tokens": 1517,
            "completion_tokens": 812,
            "total_tokens": 2329,
            "prompt_tokens_details": {"cached_tokens": 1408},
            "completion_tokens_details": {"reasoning_tokens": 640},
            "prompt_cache_hit_tokens": 1408,
            "prompt_cache_miss_tokens": 109,
        },
        Usage(1517, 812, 1408, reasoning_tokens=640),
        id="DeepSeek",
    ),
    pytest.param(
        "xai",
        "x-ai",
        "chat",
        "grok-4",
        {
            "prompt_tokens": 705,
            "completion_tokens": 46,
            "total_tokens": 1032,
            "prompt_tokens_details": {"text_tokens": 705, "cached_tokens": 680},
            "completion_tokens_details": {"reasoning_tokens": 281},
        },
        Usage(705, 327, 680, reasoning_tokens=281),
        id="xAI: thoughts on top",
    ),
    pytest.param(
        "xai",
        "x-ai",
        "chat",
        "grok-4",
        {"prompt_tokens": 705, "completion_tokens": 46, "completion_tokens_details": {"reasoning_tokens": 281}},
        Usage(705, 327, reasoning_tokens=281),
        id="xAI without a total",
    ),
    pytest.param(
        "mistral",
        "mistral",
        "default",
        "mistral-medium-latest",
        {
            "prompt_tokens": 140,
            "completion_tokens": 51,
            "total_tokens": 191,
            "prompt_tokens_details": {"cached_tokens": 64},
        },
        Usage(140, 51, 64),
        id="Mistral",
    ),
    pytest.param(
        "groq",
        "groq",
        "default",
        "openai/gpt-oss-120b",
        {
            "prompt_tokens": 90,
            "completion_tokens": 400,
            "total_tokens": 490,
            "completion_tokens_details": {"reasoning_tokens": 333},
        },
        Usage(90, 400, reasoning_tokens=333),
        id="Groq",
    ),
    pytest.param(
        "gemini",
        "google",
        "chat",
        "gemini-2.5-flash",
        {
            "prompt_tokens": 1027,
            "completion_tokens": 60,
            "total_tokens": 1087,
            "prompt_tokens_details": {"cached_tokens": 1000},
        },
        Usage(1027, 60, 1000),
        id="Gemini without thoughts",
    ),
    pytest.param(
        "openrouter",
        "openrouter",
        "chat",
        "anthropic/claude-sonnet-4.5",
        {
            "prompt_tokens": 1100,
            "completion_tokens": 20,
            "total_tokens": 1120,
            "prompt_tokens_details": {"cached_tokens": 500, "cache_write_tokens": 400},
        },
        Usage(1100, 20, 500, 400),
        id="OpenRouter, written to a cache",
    ),
]


def cost_of(provider: str, name: str, usage: Usage) -> float:
    price = look_up(provider, name).price
    assert price is not None
    return price.cost(usage.input_tokens or 0, usage.output_tokens or 0, *usage.cache)


@pytest.mark.parametrize(("provider", "catalogue", "flavour", "name", "told", "usage"), BODIES)
def test_openais_wire(
    provider: str, catalogue: str, flavour: str, name: str, told: dict[str, Any], usage: Usage
) -> None:
    async def main() -> Usage:
        script = stream(says("a", finish="stop"), {"choices": [], "usage": told}, DONE)
        async with Upstream(script) as upstream, lanes() as transport:
            spec = ModelSpec(f"{provider}:{name}", provider, name, "cloud", endpoint=f"{upstream.url}/v1")
            return (await gather(OpenAIModel(spec, transport), ask())).end.usage

    found = run(main())
    assert found == usage
    theirs = extract_usage({"model": name, "usage": told}, provider_id=catalogue, api_flavor=flavour).calc_price()
    assert cost_of(catalogue, name, found) == pytest.approx(float(theirs.total_price), rel=1e-9)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param({}, id="nothing cached"),
        pytest.param({"cache_read_input_tokens": 18_000, "cache_creation_input_tokens": 0}, id="read"),
        pytest.param(
            {
                "cache_read_input_tokens": 64,
                "cache_creation_input_tokens": 3000,
                "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
            },
            id="written, for minutes and for an hour",
        ),
        pytest.param({"output_tokens_details": {"thinking_tokens": 411}}, id="thoughts are part of the output"),
    ],
)
def test_claudes_wire(told: dict[str, Any]) -> None:
    """Its `input_tokens` leave out what the cache had or got."""
    name = "claude-sonnet-4-5"
    script = claude_stream(start(21, **told), opens(), PING, text("Hi"), closes(), ends(tokens=503, **told), STOP)
    found = hear("claude", script, name=name).end.usage
    body = {"model": name, "usage": {"input_tokens": 21, "output_tokens": 503, **told}}
    theirs = extract_usage(body, provider_id="anthropic").calc_price()
    assert cost_of("anthropic", name, found) == pytest.approx(float(theirs.total_price), rel=1e-9)
    assert found.reasoning_tokens == told.get("output_tokens_details", {}).get("thinking_tokens")
