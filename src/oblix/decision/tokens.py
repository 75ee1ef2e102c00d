"""How many tokens a text has, estimated: for choosing a window and for counts that a provider did not give."""

from __future__ import annotations

from oblix.types.messages import Message

# Characters per token. English prose has 4.0 to 4.7 under the usual tokenizers; we assume less, because a window that is too large
# costs memory and one that is too small costs the answer. Other scripts have one token for one to two characters.
_ASCII = 3.8
_OTHER = 1.5
_PER_MESSAGE = 6  # role and delimiters of the usual chat templates
_PER_IMAGE = 1000  # order of magnitude of one picture at normal detail


def estimate(text: str) -> int:
    """Tokens of `text`, rounded up."""
    if text.isascii():
        return int(len(text) / _ASCII) + 1 if text else 0
    other = len(text.encode("utf-8", "surrogatepass")) - len(
        text
    )  # extra bytes: 1 to 3 for each character beyond ASCII
    wide = min(len(text), other)
    return int((len(text) - wide) / _ASCII + wide / _OTHER) + 1


def estimate_messages(messages: tuple[Message, ...]) -> int:
    """Tokens of a whole conversation with its delimiters and images."""
    return sum(
        estimate(message.text)
        + _PER_MESSAGE
        + _PER_IMAGE * len(message.images)
        + sum(estimate(call.arguments) + estimate(call.name) for call in message.tool_calls)
        for message in messages
    )
