"""How many tokens a text has, estimated: for choosing a window and for counts that a provider did not give."""

from __future__ import annotations

import json

from oblix.types.messages import Message
from oblix.types.request import Request

# Characters per token. English prose has 4.0 to 4.7 under the usual tokenizers; we assume less, because a window that is too large
# costs memory and one that is too small costs the answer. Other scripts have one token for one to two characters.
_ASCII = 3.8
_OTHER = 1.5
_PER_MESSAGE = 6  # role and delimiters of the usual chat templates
_PER_IMAGE = 1000  # order of magnitude of one picture at normal detail


def estimate(text: str) -> int:
    """Tokens of `text`, rounded up."""
    return int(share(text)) + 1 if text else 0


def share(text: str) -> float:
    """What a piece of text adds to the tokens of the whole: pieces are summed up before they are rounded."""
    if text.isascii():
        return len(text) / _ASCII
    extra = len(text.encode("utf-8", "surrogatepass")) - len(text)  # bytes: 1 to 3 for each character beyond ASCII
    wide = min(len(text), extra)
    return (len(text) - wide) / _ASCII + wide / _OTHER


def estimate_request(request: Request) -> int:
    """Tokens of all that a model is given: the conversation, and what is told of tools and of the answer's shape."""
    total = estimate_messages(request.messages)
    if request.tools:
        total += sum(estimate(f"{t.name} {t.description} {json.dumps(t.parameters)}") for t in request.tools)
    if request.response_format is not None and request.response_format.schema is not None:
        total += estimate(json.dumps(request.response_format.schema))
    return total


def estimate_messages(messages: tuple[Message, ...]) -> int:
    """Tokens of a whole conversation with its delimiters and images."""
    return sum(
        estimate(message.text)
        + _PER_MESSAGE
        + _PER_IMAGE * len(message.images)
        + sum(estimate(call.arguments) + estimate(call.name) for call in message.tool_calls)
        + sum(estimate(str(thought.body)) for thought in message.thoughts)
        for message in messages
    )
