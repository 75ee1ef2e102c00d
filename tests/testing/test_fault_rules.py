"""The strict servers: what each provider takes is taken, and what it refuses is refused in its words."""

from __future__ import annotations

from typing import Any

import pytest

from oblix.testing.faults import RULES
from oblix.testing.faults.rules import SKIP, claude_prefix, sign

Messages = list[dict[str, Any]]
USER = {"role": "user", "content": "Hi"}
SYSTEM = {"role": "system", "content": "Be brief."}


def call(call_id: str = "D681PevKs", name: str = "now", arguments: Any = "{}", **more: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def asks(*calls: dict[str, Any], content: str | None = "", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def gives(call_id: str = "D681PevKs") -> dict[str, Any]:
    return {"role": "tool", "content": "noon", "tool_call_id": call_id}


SAYS = {"role": "assistant", "content": "Noon."}
OLLAMAS = asks(call(arguments={}))
SIGNED = call(extra_content={"google": {"thought_signature": SKIP}})
GOOD: dict[str, Messages] = {
    "openai": [SYSTEM, USER, asks(call()), gives(), SAYS, SYSTEM, USER],
    "deepseek": [USER, asks(call(), reasoning_content=""), gives(), SAYS, USER],
    "gemini": [USER, asks(SIGNED), gives(), SAYS, USER],
    "mistral": [SYSTEM, USER, USER, asks(call()), gives(), SAYS, USER],
    "ollama": [SYSTEM, USER, OLLAMAS, gives(), SAYS, USER],
    "embedded": [SYSTEM, USER, asks(call()), gives(), SAYS, USER],
    "embedded-mistral": [SYSTEM, USER, asks(call()), gives(), SAYS, USER],
}
BAD: list[tuple[str, Messages, str]] = [
    ("openai", [], "empty array"),
    ("openai", [{"role": "assistant", "content": None}], "expected a string, got null"),
    ("openai", [{"role": "robot", "content": "Hi"}], "Invalid value: 'robot'"),
    ("openai", [{"role": "user", "content": []}], "empty array"),
    (
        "openai",
        [{"role": "assistant", "content": [{"type": "image_url"}]}],
        "only allowed for messages with role 'user'",
    ),
    ("openai", [USER, asks(call("x" * 41)), gives("x" * 41)], "maximum length 40, but got a string with length 41"),
    ("openai", [USER, asks(call("")), gives("")], "Missing required parameter"),
    ("openai", [USER, asks(call(name="a.b")), gives()], "does not match pattern"),
    ("openai", [USER, asks(call(arguments="[]")), gives()], "not a JSON object"),
    ("openai", [USER, asks(call()), USER], "did not have response messages: D681PevKs"),
    ("openai", [USER, asks(call())], "did not have response messages"),
    ("openai", [USER, gives()], "must be a response to a preceeding message"),
    ("openai", [USER, asks(call()), gives(), gives()], "must be a response to a preceeding message"),
    ("openai", [USER, {**SAYS, "reasoning_content": "hm"}], "Unknown parameter: 'messages[1].reasoning_content'"),
    ("deepseek", [USER, asks(call()), gives()], "must be passed back"),
    ("deepseek", [USER, {**SAYS, "reasoning_content": "hm"}], "with tool calls only"),
    ("gemini", [USER, asks(call()), gives()], "missing a thought_signature"),
    ("gemini", [USER, asks(call(extra_content={"google": {"thought_signature": "no"}})), gives()], "Corrupted"),
    ("mistral", [], "at least one message"),
    ("mistral", [SAYS], "must start with a user message"),
    ("mistral", [USER, SAYS], "Expected last role User or Tool"),
    ("mistral", [USER, asks(call()), gives(), USER], "Unexpected role 'user' after role 'tool'"),
    ("mistral", [USER, SAYS, SYSTEM, USER], "Unexpected role 'system' after role 'assistant'"),
    ("mistral", [USER, asks(call(), content="Hm."), gives()], "either content or tool_calls, but not both"),
    ("mistral", [USER, asks(call("call_1")), gives("call_1")], "with a length of 9"),
    ("mistral", [USER, asks(call(name="a.b")), gives()], "Function name was a.b"),
    (
        "mistral",
        [USER, asks(call(), call("aB3dE5gH7")), gives()],
        "Not the same number of function calls and responses",
    ),
    ("mistral", [{**USER, "cache_control": {}}], "Extra inputs are not permitted: cache_control"),
    ("ollama", [], "required"),
    ("ollama", [USER, asks(call()), gives()], "cannot unmarshal string"),
    ("ollama", [{**USER, "content": []}], "cannot unmarshal array"),
    ("ollama", [{**USER, "images": ["no base64"]}], "illegal base64"),
    ("embedded", [USER, SYSTEM], "must be at the beginning"),
    ("embedded", [USER, USER], "must alternate"),
    ("embedded", [SYSTEM], "No user query"),
    ("embedded", [USER, asks(call(arguments="{")), gives()], "Failed to parse"),
    ("embedded-mistral", [USER, asks(call("call_1")), gives("call_1")], "length 9"),
    ("embedded-mistral", [USER, asks(call()), gives(), USER], "must alternate"),
]


def refused(provider: str, messages: Messages, **more: Any) -> str | None:
    words = RULES[provider]({"model": "m", "messages": messages, **more})
    return words.ollama if words else None


@pytest.mark.parametrize("provider", GOOD)
def test_what_is_right_is_taken(provider: str) -> None:
    assert refused(provider, GOOD[provider]) is None


@pytest.mark.parametrize(("provider", "messages", "words"), BAD, ids=[f"{p}: {w[:30]}" for p, _, w in BAD])
def test_what_is_wrong_is_refused_in_its_words(provider: str, messages: Messages, words: str) -> None:
    assert words in str(refused(provider, messages))


def test_mistral_takes_no_field_that_it_does_not_know() -> None:
    assert "stream_options" in str(refused("mistral", [USER], stream_options={"include_usage": True}))


# Claude's turns are made of blocks.

CALL = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "noon"}
TOOLS = [{"name": "now"}]


def turn(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def words(said: str = "Hi") -> dict[str, Any]:
    return {"type": "text", "text": said}


def thinks(before: Messages, tools: Any = TOOLS) -> dict[str, Any]:
    right = sign(claude_prefix({"messages": before, "tools": tools}))
    return {"type": "thinking", "thinking": "hm", "signature": right}


ASKED = [turn("user", words())]
THINKING = {"type": "enabled", "budget_tokens": 2000}
CLAUDES: list[tuple[Messages, dict[str, Any], str | None]] = [
    (ASKED, {}, None),
    ([*ASKED, turn("assistant", thinks(ASKED), words(), CALL), turn("user", RESULT, words())], {}, None),
    ([*ASKED, turn("assistant", thinks(ASKED), CALL), turn("user", RESULT)], {"thinking": THINKING}, None),
    ([], {}, "at least one message"),
    ([turn("assistant", words())], {}, 'must use the "user" role'),
    ([{"role": "system", "content": [words()]}], {}, "user"),
    ([turn("user")], {}, "non-empty content"),
    ([turn("user", words(" "))], {}, "non-whitespace text"),
    ([turn("user", CALL)], {}, "not permitted in user messages"),
    ([*ASKED, turn("assistant", {**CALL, "id": "a|b"}), turn("user", RESULT)], {}, "tool_use.id"),
    ([*ASKED, turn("assistant", {**CALL, "name": "a.b"}), turn("user", RESULT)], {}, "tool_use.name"),
    ([*ASKED, turn("assistant", {**CALL, "input": "x"}), turn("user", RESULT)], {}, "valid dictionary"),
    ([*ASKED, turn("assistant", CALL), turn("user", words())], {}, "without `tool_result` blocks immediately after"),
    ([*ASKED, turn("assistant", words()), turn("user", RESULT)], {}, "unexpected `tool_use_id`"),
    ([*ASKED, turn("assistant", CALL, CALL), turn("user", RESULT)], {}, "must be unique"),
    ([*ASKED, turn("assistant", CALL), turn("user", RESULT, RESULT)], {}, "single result"),
    ([*ASKED, turn("assistant", CALL), turn("user", words(), RESULT)], {}, "must come first"),
    ([*ASKED, turn("assistant", CALL), turn("user", RESULT)], {"tools": None}, "must define `tools`"),
    ([*ASKED, turn("assistant", words("so "))], {}, "trailing whitespace"),
    ([*ASKED, turn("assistant", words(), thinks(ASKED)), *ASKED], {}, "thinking blocks must come first"),
    ([*ASKED, turn("assistant", thinks(ASKED)), *ASKED], {}, "cannot be `thinking`"),
    ([*ASKED, turn("assistant", thinks(ASKED), words()), *ASKED], {"tools": []}, "what stands before it has changed"),
    (ASKED, {"max_tokens": None}, "max_tokens"),
    (ASKED, {"thinking": THINKING, "max_tokens": 2000}, "must be greater than"),
    ([*ASKED, turn("assistant", CALL), turn("user", RESULT)], {"thinking": THINKING}, "Expected `thinking`"),
]


@pytest.mark.parametrize(("messages", "more", "why"), CLAUDES, ids=[str(why)[:30] for _, _, why in CLAUDES])
def test_claudes_rules(messages: Messages, more: dict[str, Any], why: str | None) -> None:
    found = refused("claude", messages, **{"max_tokens": 4096, "tools": TOOLS, **more})
    assert found is None if why is None else why in str(found)


def test_all_providers_know_their_parts() -> None:
    """Of content that is made of parts, and of orders that only one of them minds."""
    assert "'audio'" in str(refused("openai", [{"role": "user", "content": [{"type": "audio"}]}]))
    assert "Duplicate" in str(refused("openai", [USER, asks(call(), call()), gives()]))
    assert "invalid role" in str(refused("ollama", [{"role": "robot", "content": ""}]))
    assert "does not take parts" in str(refused("embedded", [{"role": "user", "content": []}]))
    assert "Not the same number" in str(refused("mistral", [USER, asks(call()), SAYS, USER]))
