"""Every text of a request that a model or its provider would see, as it is written and as it is meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oblix.types.messages import Message
from oblix.types.request import Request

# Characters from which a request is looked through on a thread. The densest of real texts (a list of customers) take 0.25 µs a character,
# hostile ones seven times as long: below this the loop stands still for 4 ms, at worst for 30.
OFF_LOOP = 16_000
DEEPEST = 3  # JSON inside of JSON inside of JSON
PIECE = 12  # characters; what an error text shares with a request for so long is taken for a quotation
LONGEST = (
    20_000  # characters of a request in which quotations are looked for; of a longer one no error text is kept at all
)
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_MEANT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def texts(request: Request) -> Iterator[str]:
    """Every text of a request, names and keys included."""
    for message in request.messages:
        yield from _of_message(message)
    yield from request.stop
    if request.tool_choice:
        yield request.tool_choice
    for tool in request.tools:
        yield from (tool.name, tool.description)
        yield from _strings(tool.parameters)
    if request.response_format is not None:
        yield request.response_format.name
        yield from _strings(request.response_format.schema)
    if request.provider_options:
        yield from _strings(request.provider_options)


def _of_message(message: Message) -> Iterator[str]:
    yield message.text
    if message.tool_call_id:
        yield message.tool_call_id
    for image in message.images:
        if image.url:
            yield image.url
    for call in message.tool_calls:
        yield from (call.id, call.name, call.arguments)


def is_long(request: Request) -> bool:
    """Whether looking through its texts should not hold up an event loop."""
    size = 0
    for text in texts(request):
        size += len(text)
        if size > OFF_LOOP:
            return True
    return False


def meant(text: str) -> Iterator[str]:
    r"""What a text says without the escapes of JSON, level by level; nothing where it has none.

    A tool's result is mostly JSON, and so are many lines of logs: behind `\n` a word begins, and `\u0034` is a digit.
    """
    for _ in range(DEEPEST):
        if "\\" not in text:
            return
        plain = _ESCAPE.sub(_mean, text)
        if plain == text:
            return
        yield plain
        text = plain


def without_quotations(text: str, request: Request, *, known: Iterable[str] = ()) -> str:
    """An error text without what it repeats of a request: a server that rejects a prompt may quote it, and error texts are kept.

    Args:
        known: What may stay although the request says it, too: the model's name, its address.
    """
    said = list(texts(request))
    if sum(map(len, said)) > LONGEST:
        return "its error text is not kept, because the request is long and it may repeat it"
    words = "|".join(re.escape(word) for word in known if word)
    parts = re.split(f"({words})", text) if words else [text]
    return "".join(part if at % 2 else _without(part, said) for at, part in enumerate(parts))


def _without(text: str, said: list[str]) -> str:
    kept, at = [], 0
    while at < len(text):
        end = at + PIECE
        piece = text[at:end]
        if len(piece) < PIECE or not any(piece in each for each in said):
            kept.append(text[at])
            at += 1
            continue
        while end < len(text) and any(text[at : end + 1] in each for each in said):
            end += 1
        kept.append("…")
        at = end
    return "".join(kept)


def _mean(escape: re.Match[str]) -> str:
    code, sign = escape.groups()
    return chr(int(code, 16)) if code else _MEANT.get(sign, sign)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, str | int | float):
                yield f"{key}: {inner}"  # together: some numbers are private by their name only
            else:
                yield str(key)
                yield from _strings(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _strings(inner)
    elif value is not None:
        yield str(value)
