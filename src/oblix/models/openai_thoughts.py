"""What some services that speak OpenAI's wire want back of a model's thoughts, together with the tool calls that followed them: pure.

DeepSeek wants the thought itself (https://api-docs.deepseek.com/guides/thinking_mode#tool-calls), Gemini its signature
(https://ai.google.dev/gemini-api/docs/thought-signatures), OpenRouter the blocks of whichever model it asked
(https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning-blocks); each refuses the conversation without (2026-11).
Nobody else gets any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oblix.types.messages import Message, Thought
from oblix.types.spec import ModelSpec

# What Gemini takes where a call was not its own.
_NOT_ITS_OWN = {"google": {"thought_signature": "skip_thought_signature_validator"}}
_PIECEWISE = ("text", "summary")  # fields that OpenRouter streams in pieces


def kept(spec: ModelSpec, text: str, details: Iterable[object], extras: Iterable[object]) -> tuple[Thought, ...]:
    """What goes back with an answer that called tools.

    Args:
        text: Of the thought, as far as it was shown.
        details: Blocks in pieces, as OpenRouter streams them.
        extras: What came with each tool call, in their order.
    """
    bodies: list[dict[str, Any]] = []
    if spec.provider == "deepseek":
        bodies = [{"reasoning_content": text}] if text else []
    elif spec.provider == "gemini":
        bodies = [{"call": at, "extra_content": extra} for at, extra in enumerate(extras) if isinstance(extra, dict)]
    elif spec.provider == "openrouter":
        blocks = _whole(piece for piece in details if isinstance(piece, Mapping))
        bodies = [{"reasoning_details": blocks}] if blocks else []
    return tuple([Thought(spec.provider, body, model=spec.name) for body in bodies])


def give_back(made: dict[str, Any], message: Message, provider: str) -> None:
    """Put them into the body's message, which has tool calls."""
    if provider == "deepseek":  # an empty one where there was none: another model's turn, or one before thinking was on
        made["reasoning_content"] = "".join(str(t.body.get("reasoning_content", "")) for t in message.thoughts)
    elif provider == "gemini":
        _sign(made["tool_calls"], message)
    elif provider == "openrouter":
        blocks = [block for thought in message.thoughts for block in thought.body.get("reasoning_details", ())]
        if blocks:
            made["reasoning_details"] = blocks


def _sign(calls: list[dict[str, Any]], message: Message) -> None:
    """Each signature goes to the call that it came with; the first call needs one in any case."""
    for thought in message.thoughts:
        at = thought.body.get("call")
        if isinstance(at, int) and 0 <= at < len(calls):
            calls[at]["extra_content"] = thought.body.get("extra_content")
    calls[0].setdefault("extra_content", _NOT_ITS_OWN)


def _whole(pieces: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The blocks, put together again: neighbours of one type and index are one."""
    blocks: list[dict[str, Any]] = []
    for piece in pieces:
        told = {name: value for name, value in piece.items() if value is not None}
        last = blocks[-1] if blocks else {}
        if any(name in told for name in _PIECEWISE) and _place(last) == _place(told):
            joined = {name: str(last.get(name, "")) + str(told[name]) for name in _PIECEWISE if name in told}
            blocks[-1] = last | told | joined
        else:
            blocks.append(told)
    return blocks


def _place(block: Mapping[str, Any]) -> tuple[object, object]:
    return block.get("type"), block.get("index")
