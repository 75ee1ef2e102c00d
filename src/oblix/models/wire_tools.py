"""What several wire protocols share: encoding a body, tools in OpenAI's shape, text that JSON can carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from oblix.decision.tokens import estimate, share
from oblix.errors import AttemptFailed, FailureKind
from oblix.models.fitting import fewest_tokens
from oblix.types.chunk import Progress
from oblix.types.messages import Message, Tool, ToolCall
from oblix.types.request import Request, unfit_to_continue
from oblix.types.spec import ModelSpec

_ENCODER = msgspec.json.Encoder()
_MOST_TOKENS = 10**9  # more than any model reads or writes in one request


def encode(body: dict[str, Any]) -> bytes:
    """The body as JSON, with lone surrogates replaced wherever they stand.

    Raises:
        AttemptFailed: kind `bad_request`, when JSON cannot carry it.
    """
    try:
        try:
            return _ENCODER.encode(body)
        except UnicodeEncodeError:
            return _ENCODER.encode(_all_safe(body))
    except (TypeError, ValueError, RecursionError) as error:
        raise AttemptFailed(
            FailureKind.BAD_REQUEST,
            f"the request cannot be written as JSON: {error}",
            hint="Look into tools, response_format and provider_options.",
            cause=error,
        ) from error


def safe(text: str) -> str:
    """The text with lone surrogates replaced (U+FFFD): JSON in UTF-8 cannot carry them."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _all_safe(value: Any) -> Any:
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, Mapping):
        return {_all_safe(key): _all_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_all_safe(item) for item in value]
    return value


def read_arguments(text: str) -> dict[str, Any]:
    """The arguments of a tool call, for protocols that want an object where a model wrote JSON text."""
    try:
        found = msgspec.json.decode(safe(text) or "{}")
    except (msgspec.DecodeError, RecursionError):
        found = text
    return found if isinstance(found, dict) else {"input": found}


def object_text(arguments: str) -> str:
    """The arguments of an earlier tool call as JSON text of an object, as templates and strict services want them."""
    return arguments if _is_object(arguments) else encode(read_arguments(arguments)).decode()


def function_tools(tools: tuple[Tool, ...]) -> list[dict[str, Any]]:
    """Tools in the shape that OpenAI defined and Ollama and llama.cpp took over."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters or {"type": "object", "properties": {}},
            },
        }
        for tool in tools
    ]


def bounded(body: dict[str, Any], names: tuple[str, ...], most: int | None) -> dict[str, Any]:
    """The body with no limit of the answer's length above `most`: what it says itself is lowered; else the first name says it.

    Args:
        names: Under which the server takes a limit. What is no number, or below 0, is none to some servers.
        most: Tokens; `None` for no bound.
    """
    if most is None:
        return body
    told = {name: body[name] for name in names if name in body} or {names[0]: most}
    return body | {name: min(n, most) if type(n) is int and n >= 0 else most for name, n in told.items()}


def least_limit(body: dict[str, Any], names: tuple[str, ...]) -> int | None:
    """The lowest limit of the answer's length that a body has; `None` without one. What is no number, or below 0, is none."""
    return min((body[name] for name in names if type(body.get(name)) is int and body[name] >= 0), default=None)


def count(told: object) -> int | None:
    """A count of tokens as a peer told it; `None` where it is none: what is negative would pay a budget back, what is absurd use it up."""
    return told if type(told) is int and 0 <= told <= _MOST_TOKENS else None


def unseen(*texts: str, what: str = "thinking") -> Progress:
    """A piece of the answer that is billed and is no text of it: thoughts, arguments of tool calls. It is one token at least."""
    return Progress(what, max(1.0, sum(map(share, texts))))


def whole_calls(calls: Iterable[ToolCall], finish_reason: str, model_id: str) -> tuple[ToolCall, ...]:
    """The tool calls, each of them whole: with a name, and with a JSON object as its arguments.

    What a limit or a filter cut off is left out; the finish reason tells of it.

    Raises:
        AttemptFailed: kind `protocol`, when another is not whole. Half a call must not be made.
    """
    whole, is_cut = [], finish_reason in ("length", "content_filter")
    for call in calls:
        if call.name and _is_object(call.arguments):
            whole.append(call)
        elif call.name and not call.arguments.strip() and not is_cut:  # as some servers write an empty object
            whole.append(replace(call, arguments="{}"))
        elif not is_cut:
            raise _half_a_call(call, model_id)
    return tuple(whole)


def _half_a_call(call: ToolCall, model_id: str) -> AttemptFailed:
    """Why a call cannot be made. What the arguments say stays untold: it goes into the log, and a model may well write the prompt there."""
    named, size = call.name or "a tool without a name", len(call.arguments)
    said = f"{model_id} called {named!r} with arguments that are no JSON object ({size:,} characters)"
    failed = AttemptFailed(FailureKind.PROTOCOL, said)
    failed.is_told_by_peer = True  # the name may quote it as well
    return failed


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False


def continued(request: Request, said: str, spec: ModelSpec) -> Request | None:
    """The request with the beginning of its answer as the last turn, where there is one to go on from.

    Its limit counts the whole answer, so that it is lowered by what was said: by the estimate, which is mostly above the truth. As long
    as that does not prove the limit used up, one token is left: a whole answer of which only the proof was missing can then end.

    Returns:
        `None` when nothing may be said any more: the answer is at its end, with the finish reason `length`.

    Raises:
        AttemptFailed: kind `bad_request`, when the model would begin again, or the rest could not be told from a whole.
    """
    if not said:
        return request
    why = unfit_to_continue(request)
    if "prefill" not in spec.capabilities:
        why = "the model takes no beginning of an answer"
    if why is not None:
        raise AttemptFailed(FailureKind.BAD_REQUEST, f"{spec.id} cannot go on from where an answer broke off: {why}")
    left = request.max_tokens
    if left is not None:
        if fewest_tokens((Message("assistant", said),)) >= left:
            return None
        left = max(1, left - estimate(said))
    *before, last = request.messages
    if last.role == "assistant":  # the caller began the answer: two turns in a row are refused by llama.cpp
        return replace(request, messages=(*before, replace(last, content=last.text + said)), max_tokens=left)
    return replace(request, messages=(*request.messages, Message("assistant", said)), max_tokens=left)
