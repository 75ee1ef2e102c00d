"""What is billed and is no text of the answer: thoughts and tool calls count by their length, however few pieces they come in."""

from __future__ import annotations

import json

import pytest

from oblix.decision.tokens import estimate
from oblix.types.chunk import Delta, End, Progress

from .asking import Wire, hear
from .test_claude import STOP, closes, ends, opens, piece, start
from .test_claude import stream as claude_stream
from .test_ollama import stream as ollama_stream
from .test_openai import DONE, answer, says
from .test_openai import stream as openai_stream
from .test_openai_tools import tool
from .upstream import Script, whole

THOUGHT = "Let me think it over once more. " * 40  # some 340 tokens
INPUT = {"text": THOUGHT}
ARGUMENTS = json.dumps(INPUT)
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}]
MESSAGE = {"tool_calls": [tool(0, "a", "note", ARGUMENTS)], "content": "Noted."}
WHOLE = [whole(answer(MESSAGE, "tool_calls"))]


@pytest.mark.parametrize(
    ("wire", "script"),
    [
        pytest.param(
            "openai", openai_stream(says(reasoning_content=THOUGHT), says("x", finish="stop"), DONE), id="thought"
        ),
        pytest.param("openai", openai_stream(says("x", reasoning=THOUGHT, finish="stop"), DONE), id="with text"),
        pytest.param(
            "openai", openai_stream(says(content=PARTS), says("x", finish="stop"), DONE), id="Mistral's parts"
        ),
        pytest.param(
            "openai",
            openai_stream(says(tool_calls=[tool(0, "a", "note", ARGUMENTS)]), says(finish="tool_calls"), DONE),
            id="call",
        ),
        pytest.param("openai", WHOLE, id="an answer in one piece"),
        pytest.param(
            "claude",
            claude_stream(
                start(), opens(0), piece(0, type="thinking_delta", thinking=THOUGHT), closes(0), ends(), STOP
            ),
            id="Claude's thought",
        ),
        pytest.param(
            "claude",
            claude_stream(start(), opens(0, type="thinking", thinking=THOUGHT), closes(0), ends(), STOP),
            id="Claude's thought at once",
        ),
        pytest.param(
            "claude",
            claude_stream(
                start(),
                opens(0, type="tool_use", id="a", name="note", input={}),
                piece(0, type="input_json_delta", partial_json=ARGUMENTS),
                closes(0),
                ends("tool_use"),
                STOP,
            ),
            id="Claude's call",
        ),
        pytest.param(
            "claude",
            claude_stream(start(), opens(0, type="tool_use", id="a", name="note", input=INPUT), ends("tool_use"), STOP),
            id="Claude's call at once",
        ),
        pytest.param(
            "ollama",
            ollama_stream({"message": {"thinking": THOUGHT, "content": "x"}}, {"done": True}),
            id="Ollama's thought",
        ),
        pytest.param(
            "ollama",
            ollama_stream(
                {"message": {"tool_calls": [{"function": {"name": "note", "arguments": INPUT}}]}}, {"done": True}
            ),
            id="Ollama's call",
        ),
    ],
)
def test_what_is_not_shown_counts_by_its_length(wire: Wire, script: Script) -> None:
    chunks = hear(wire, script).chunks
    told = sum(piece.tokens for piece in chunks if isinstance(piece, Progress))
    assert estimate(THOUGHT) <= told + 1 <= estimate(THOUGHT) + 20
    assert isinstance(chunks[-1], End)
    assert all(isinstance(piece, Progress | Delta) for piece in chunks[:-1])


def test_a_piece_is_one_token_at_least() -> None:
    heard = hear("openai", openai_stream(*[says(reasoning="a")] * 3, says("x", finish="stop"), DONE))
    assert [piece.tokens for piece in heard.chunks if isinstance(piece, Progress)] == [1.0] * 3
