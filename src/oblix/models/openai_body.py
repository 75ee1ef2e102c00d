"""A request as a body of OpenAI's chat completions, and as the servers that speak them want it: pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oblix.models.hidden import thinks_by_name
from oblix.models.openai_thoughts import give_back
from oblix.models.wire_tools import bounded, function_tools, least_limit, safe
from oblix.types.messages import Image, Message, ResponseFormat
from oblix.types.request import Request
from oblix.types.spec import ModelSpec


def body(request: Request, spec: ModelSpec, most_tokens: int | None) -> dict[str, Any]:
    """The request, which `most_tokens` bounds whatever it says itself.

    Args:
        request: Its messages are taken as the dialect of the model has them.
    """
    found: dict[str, Any] = {
        "model": spec.name,
        "messages": list(_messages(request.messages, spec.provider)),
        "stream": True,
    }
    limit = _limit(spec)
    wishes = {
        limit: request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop": list(request.stop) or None,
    }
    found.update((name, value) for name, value in wishes.items() if value is not None)
    if request.tools:
        found["tools"] = function_tools(request.tools)
        if request.tool_choice:
            found["tool_choice"] = _tool_choice(request.tool_choice)
    if request.response_format:
        found["response_format"] = _response_format(request.response_format)
    if request.logprobs:
        found |= {"logprobs": True, "top_logprobs": request.logprobs}
    if spec.provider == "mistral" and request.messages[-1].role == "assistant":
        found["messages"][-1]["prefix"] = True  # else the last turn has to be another one's
    found = bounded(found | request.provider_options, (limit, *_LIMITS), most_tokens)
    return _as_mistral(found) if spec.provider == "mistral" else _told_the_bill(found)


_LIMITS = ("max_completion_tokens", "max_tokens")


def bound(request: Request, spec: ModelSpec) -> int | None:
    """Tokens that the answer can have at most, by what the body will say."""
    wished = {} if request.max_tokens is None else {_limit(spec): request.max_tokens}
    return least_limit(wished | request.provider_options, _LIMITS)


def _limit(spec: ModelSpec) -> str:
    """OpenAI renamed the limit, and its newer models refuse the old name wherever they run; others mostly know only that."""
    at_home = any(host in (spec.endpoint or "") for host in ("api.openai.com", ".openai.azure.com"))
    is_new = at_home or spec.provider == "xai" or (spec.provider == "openai" and thinks_by_name(spec.name))
    return "max_completion_tokens" if is_new else "max_tokens"


def _told_the_bill(found: dict[str, Any]) -> dict[str, Any]:
    """The usage is asked for in any case, whatever the caller's own options say, and one answer is all that is read and paid."""
    if "n" in found:
        found["n"] = 1
    options = found.pop("stream_options", None)
    if found["stream"]:  # elsewhere they are refused
        found["stream_options"] = (options if isinstance(options, dict) else {}) | {"include_usage": True}
    return found


def _as_mistral(found: dict[str, Any]) -> dict[str, Any]:
    """Mistral refuses every field that it does not know, and tells the usage unasked.

    It was seen to answer 422 to `stream_options` (https://github.com/openai/openai-agents-python/issues/442, 2025-04).
    """
    if "seed" in found:
        found["random_seed"] = found.pop("seed")
    if "n" in found:
        found["n"] = 1
    return found


def _messages(messages: tuple[Message, ...], provider: str) -> Iterator[dict[str, Any]]:
    for message in messages:
        made = _message(message)
        if message.tool_calls:
            give_back(made, message, provider)
        yield made


def _message(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role}
    if message.images:
        parts: list[dict[str, Any]] = [{"type": "text", "text": safe(message.text)}] if message.text else []
        made["content"] = parts + [
            {"type": "image_url", "image_url": {"url": _image_url(image)}} for image in message.images
        ]
    else:
        made["content"] = safe(message.text)
    if message.tool_calls:
        made["content"] = made["content"] or None
        made["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        made["tool_call_id"] = message.tool_call_id
    return made


def _image_url(image: Image) -> str:
    return image.url or f"data:{image.media_type or 'image/png'};base64,{image.data}"


def _tool_choice(choice: str) -> str | dict[str, Any]:
    return choice if choice in ("auto", "none", "required") else {"type": "function", "function": {"name": choice}}


def _response_format(wish: ResponseFormat) -> dict[str, Any]:
    if wish.kind == "json_object" or wish.schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": wish.name, "schema": wish.schema, "strict": True}}
