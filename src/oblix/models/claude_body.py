"""A request as a body of Claude's Messages API: pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from oblix.models.wire_tools import bounded, encode, read_arguments, safe
from oblix.types.messages import Image, Message, Thought, Tool
from oblix.types.request import Request

LEAST_THINKING = 1024  # tokens; a smaller `budget_tokens` is refused
_NO_PARAMETERS = {"type": "object", "properties": {}}


def body(request: Request, name: str, most_tokens: int | None) -> dict[str, Any]:
    """The request, which `most_tokens` bounds whatever it says itself.

    Args:
        request: Its messages are taken as the dialect has them: with instructions at the front only, and turns that alternate.
        name: Of the model.
    """
    system = "\n\n".join(safe(message.text) for message in request.messages if message.role == "system")
    form, tools = request.response_format, _tools(request)
    found: dict[str, Any] = {"model": name, "max_tokens": request.max_tokens, "messages": [], "stream": True}
    if form and form.schema is None:
        # The API knows schemas only; any JSON object has to be asked for in words.
        system = "\n\n".join(filter(None, (system, "Answer with one JSON object and nothing else.")))
    elif form:
        found["output_config"] = {"format": {"type": "json_schema", "schema": form.schema}}
    if system:
        found["system"] = system
    if request.stop:
        found["stop_sequences"] = list(request.stop)
    if tools:
        found["tools"] = tools
        if choice := request.tool_choice if request.tools else "none":
            found["tool_choice"] = _tool_choice(choice)
    found = bounded(found | request.provider_options, ("max_tokens",), most_tokens)
    if "messages" in request.provider_options:  # whatever it is, it is the caller's own
        return found
    return _thinking_right(found | {"messages": _turns(request.messages, found)})


def behind(body: dict[str, Any]) -> str:
    """A digest of all that was asked: what stands before the answer's thoughts when they go back.

    Claude takes a thought back only where nothing before it has changed, neither instructions nor tools nor turns; else it refuses the
    whole request (https://platform.claude.com/docs/en/build-with-claude/preserved-thinking, 2026-11).
    """
    turns = body["messages"]
    return _Before(body).behind(turns if isinstance(turns, list) else [turns])


class _Before:
    """Digests of growing beginnings of a conversation."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._hash = blake2b(encode({"system": body.get("system"), "tools": body.get("tools")}), digest_size=16)
        self._turns = 0

    def behind(self, turns: list[dict[str, Any]]) -> str:
        """The digest of what stands behind these turns, which begin with those of the call before."""
        for turn in turns[self._turns :]:
            self._hash.update(encode(turn))
        self._turns = len(turns)
        return self._hash.hexdigest()


def _turns(messages: tuple[Message, ...], found: dict[str, Any]) -> list[dict[str, Any]]:
    """The conversation as alternating turns; what tools gave is the user's."""
    turns: list[dict[str, Any]] = []
    before = _Before(found)
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(_blocks(message))
        else:
            thoughts = _kept(message.thoughts, before.behind(turns)) if message.thoughts else []
            turns.append({"role": role, "content": thoughts + _blocks(message)})
    return turns


def _kept(thoughts: tuple[Thought, ...], place: str) -> list[dict[str, Any]]:
    """All of them or none: a part would be refused."""
    fit = all(thought.behind in ("", place) for thought in thoughts)
    return [thought.body for thought in thoughts] if fit else []


def _blocks(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id or "", "content": safe(message.text)}]
    blocks: list[dict[str, Any]] = [_image(image) for image in message.images]
    if message.text.strip():  # a block of white space is refused
        blocks.append({"type": "text", "text": safe(message.text)})
    blocks.extend(
        {"type": "tool_use", "id": call.id, "name": call.name, "input": read_arguments(call.arguments)}
        for call in message.tool_calls
    )
    return blocks


def _image(image: Image) -> dict[str, Any]:
    if image.data is None:
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": image.media_type or "image/png", "data": image.data},
    }


def _tools(request: Request) -> list[dict[str, Any]]:
    """The tools; where there are none any more, those that were called earlier, without which their calls are refused."""
    called = {call.name: None for message in request.messages for call in message.tool_calls}
    tools = request.tools or tuple([Tool(name) for name in called])
    return [
        {"name": tool.name, "description": tool.description, "input_schema": tool.parameters or _NO_PARAMETERS}
        for tool in tools
    ]


def _tool_choice(choice: str) -> dict[str, Any]:
    if choice in ("auto", "none"):
        return {"type": choice}
    return {"type": "any"} if choice == "required" else {"type": "tool", "name": choice}


def _thinking_right(found: dict[str, Any]) -> dict[str, Any]:
    """Without thinking of a fixed budget, where that would be refused: no room for it, or a tool's result whose call shows no thought."""
    thinking, most = found.get("thinking"), found["max_tokens"]
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return found
    budget = thinking.get("budget_tokens")
    if isinstance(budget, int) and isinstance(most, int) and budget >= most:
        found["thinking"] = thinking | {"budget_tokens": most - 1}
    if (isinstance(most, int) and most <= LEAST_THINKING) or _in_a_foreign_loop(found["messages"]):
        del found["thinking"]
    return found


def _in_a_foreign_loop(turns: list[dict[str, Any]]) -> bool:
    """The last turn brings the result of a call that was made without thinking, by another model or before thinking was turned on."""
    if len(turns) < 2 or not any(block.get("type") == "tool_result" for block in turns[-1]["content"]):
        return False
    return not str(turns[-2]["content"][0].get("type")).endswith("thinking")
