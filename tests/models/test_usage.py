"""Tokens as each wire counts them: the whole prompt, what a cache did with it, and everything that was written."""

from __future__ import annotations

from typing import Any

import pytest

from oblix.types.chunk import Usage

from .asking import hear
from .test_claude import STOP, ends, start, stream, text
from .test_ollama import stream as ollama_stream
from .test_openai import DONE, says, usage
from .test_openai import stream as openai_stream


def openai_usage(prompt: int, answer: int, **more: Any) -> Usage:
    return hear("openai", openai_stream(says("a", finish="stop"), usage(prompt, answer, **more), DONE)).end.usage


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        pytest.param({}, Usage(90, 2), id="nothing told"),
        pytest.param({"prompt_tokens_details": {"cached_tokens": 64}}, Usage(90, 2, 64), id="OpenAI"),
        pytest.param({"prompt_tokens_details": {"cached_tokens": 0}}, Usage(90, 2, 0), id="none is not unknown"),
        pytest.param({"prompt_tokens_details": None}, Usage(90, 2), id="null"),
        pytest.param(
            {"prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 32}},
            Usage(90, 2, 8, 32),
            id="OpenRouter",
        ),
        pytest.param({"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 26}, Usage(90, 2, 64), id="DeepSeek"),
        pytest.param({"cached_tokens": 64}, Usage(90, 2, 64), id="Moonshot"),
        pytest.param(
            {"prompt_tokens_details": {"cached_tokens": 64}, "prompt_cache_hit_tokens": 60}, Usage(90, 2, 64), id="both"
        ),
        pytest.param({"total_tokens": 92}, Usage(90, 2), id="a total"),
        pytest.param({"total_tokens": 497}, Usage(90, 407), id="Gemini: thoughts in the total only"),
        pytest.param(
            {"total_tokens": 497, "completion_tokens_details": {"reasoning_tokens": 405}},
            Usage(90, 407, reasoning_tokens=405),
            id="xAI",
        ),
        pytest.param({"total_tokens": 1}, Usage(90, 2), id="a total that is none"),
        pytest.param({"total_tokens": "many", "cached_tokens": -1}, Usage(90, 2), id="a slip costs no answer"),
    ],
)
def test_servers_of_openais_wire(told: dict[str, Any], usage: Usage) -> None:
    assert openai_usage(90, 2, **told) == usage


@pytest.mark.parametrize(
    ("first", "last", "usage"),
    [
        pytest.param({}, {}, Usage(10, 2), id="no cache"),
        pytest.param(
            {"cache_read_input_tokens": 64, "cache_creation_input_tokens": 32}, {}, Usage(106, 2, 64, 32), id="both"
        ),
        pytest.param(
            {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}, {}, Usage(10, 2, 0, 0), id="unused"
        ),
        pytest.param(
            {"cache_read_input_tokens": 64}, {"input_tokens": 12}, Usage(76, 2, 64), id="what is not repeated stands"
        ),
        pytest.param(
            {"cache_read_input_tokens": 64},
            {"input_tokens": 12, "cache_read_input_tokens": 70, "cache_creation_input_tokens": 5},
            Usage(87, 2, 70, 5),
            id="the closing usage counts",
        ),
        pytest.param(
            {
                "cache_creation_input_tokens": 32,
                "cache_creation": {"ephemeral_5m_input_tokens": 12, "ephemeral_1h_input_tokens": 20},
            },
            {},
            Usage(42, 2, None, 32, 20),
            id="written for an hour",
        ),
    ],
)
def test_claude_counts_its_cache_apart(first: dict[str, Any], last: dict[str, Any], usage: Usage) -> None:
    """`input_tokens` leaves out what was read and written; ours is the whole prompt."""
    assert hear("claude", stream(start(10, **first), text("a"), ends(**last), STOP)).end.usage == usage


def test_ollama_tells_what_it_had_read_before() -> None:
    done = {"done": True, "prompt_eval_count": 11, "prompt_eval_cached_count": 8, "eval_count": 18}
    assert hear("ollama", ollama_stream({"message": {"content": "a"}}, done)).end.usage == Usage(11, 18, 8)


NO_COUNTS = pytest.mark.parametrize("told", [-1, -2000, 10**9 + 1, 10**25], ids=str)


@NO_COUNTS
def test_what_is_no_count_was_not_told(told: int) -> None:
    """Below nothing, a peer would pay itself back out of a budget; and no model ever wrote a billion tokens."""
    assert openai_usage(told, 2) == Usage(None, 2)
    assert openai_usage(90, told) == Usage(90, None)
    assert openai_usage(90, 2, total_tokens=told, cached_tokens=told) == Usage(90, 2)
    done = {"done": True, "prompt_eval_count": told, "prompt_eval_cached_count": told, "eval_count": told}
    assert hear("ollama", ollama_stream({"message": {"content": "a"}}, done)).end.usage == Usage()


@NO_COUNTS
def test_what_is_no_count_leaves_what_claude_told_before(told: int) -> None:
    last = ends(
        tokens=told, input_tokens=told, cache_read_input_tokens=told, output_tokens_details={"thinking_tokens": told}
    )
    heard = hear("claude", stream(start(10, cache_read_input_tokens=5, output_tokens=1), text("a"), last, STOP))
    assert heard.end.usage == Usage(15, 1, 5)


def test_a_prompt_that_nobody_counted_is_not_taken_for_one_that_was_cut() -> None:
    done = {"done": True, "prompt_eval_count": -3, "eval_count": 1}
    assert hear("ollama", ollama_stream({"message": {"content": "a"}}, done)).end.finish_reason == "stop"
