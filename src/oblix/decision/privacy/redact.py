"""Takes what is private out of a request, so that a cloud model may answer it; the answer gets it back by `restore`.

Everything of a request that is sent as text is gone through: messages, the arguments of earlier tool calls, tool results, stop sequences,
the descriptions and parameters of tools, the schema of the answer, and the provider's options. Names and ids are sent as they are, because
they take no placeholder; `can_redact` refuses a request where they hold something private.

What cannot be kept is said here: images are not looked into (`can_redact` refuses them); log-probabilities come back for the tokens of
the placeholders, as they were told; a private number inside of JSON becomes a string, and so does its like in a tool call's arguments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import msgspec

from oblix.decision.privacy.json_text import in_strings, in_tokens, looks_like_json
from oblix.decision.privacy.restore import restored_value
from oblix.decision.privacy.vault import Vault
from oblix.types.messages import Message, ResponseFormat, Tool
from oblix.types.privacy import Finding
from oblix.types.request import Request

Scan = Callable[[str], Sequence[Finding]]
Change = Callable[[str], str]
ROUNDS = 3  # what is taken out changes the surroundings of what is left; two have been enough for all that was tried
_HARMLESS = {"date", "date-time", "time", "duration", "uuid"}  # formats of what is not private
NOTE = "Texts such as {example} stand for values that are withheld. Write them exactly so wherever you would write the value."


def can_redact(request: Request, scan: Scan) -> str | None:
    """Why a request cannot be redacted, in words; `None` when it can. It does not scan the messages, and is quick."""
    if request.is_private:
        return "it is private by its label, in whatever form"
    if request.has_images:
        return "images cannot be looked into"
    try:
        form = request.response_format
        _ = [_as_json(value) for value in (request.provider_options, *(tool.parameters for tool in request.tools))]
        if form is not None and form.schema is not None and _is_shaped(msgspec.json.decode(_as_json(form.schema))):
            return "the schema of the answer asks for a form of text that no placeholder has"
    except (TypeError, ValueError, RecursionError):
        return "tools, response_format or provider_options are not JSON, and cannot be looked into"
    held = {finding.kind for name in _names(request) for finding in scan(name)}
    return f"a name or an id holds something private ({', '.join(sorted(held))})" if held else None


def redacted(request: Request, scan: Scan) -> tuple[Request, Vault]:
    """The request with placeholders in place of what `scan` finds, labelled public, and what they stand for.

    A system prompt tells the model what they are. Ask `objection` before it is sent.

    Args:
        request: One for which `can_redact` has no objection.
    """
    scan = cache(scan)
    vault = Vault(_texts(request))
    redactor = _Redactor(vault, scan)
    clean = request
    for _ in range(ROUNDS):
        # Once to know every value, so that its echoes in earlier texts are found as well.
        _changed(clean, redactor.text, redactor.json)
        clean = _changed(clean, redactor.text, redactor.json)
        if not _left(clean, redactor):
            break
    messages = tuple(replace(message, private=False) for message in clean.messages)
    return replace(clean, messages=_with_note(messages, vault), private=False, public=True), vault


def redacted_text(text: str, vault: Vault, scan: Scan) -> str:
    """A text that belongs to a redacted request, such as the beginning of its answer: known values get the same placeholders."""
    redactor = _Redactor(vault, cache(scan))
    for _ in range(ROUNDS):
        text = redactor.text(redactor.text(text))
    return text


def objection(clean: Request, vault: Vault, scan: Scan) -> str | None:
    """Why a redacted request may not be sent after all, in words; `None` when it may."""
    if left := _left(clean, _Redactor(vault, scan)):
        return f"it still holds something private ({', '.join(left)})"
    if any(stop != each and stop in each for stop in clean.stop for each in vault.placeholders):
        return "a stop sequence would cut placeholders in two"
    return None


@dataclass(frozen=True, slots=True)
class _Redactor:
    vault: Vault
    scan: Scan

    def exposed(self, text: str) -> list[Finding]:
        """What is found in the text, as far as it lies outside of placeholders: a password that is one already would be found again."""
        return [part for finding in self.scan(text) for part in self._outside(text, finding)]

    def text(self, text: str) -> str:
        """Any text. It may hold JSON, as the results of tools mostly do."""
        return self.json(text) if looks_like_json(text) else self._plain(text)

    def json(self, text: str) -> str:
        """JSON text, which stays JSON; anything else is taken as plain text."""
        changed = in_strings(text, self.text)
        if changed is None:
            return self._plain(text)
        # What shows only together with its surroundings: {"ssn": "…"}.
        left = deque(self.exposed(changed))

        def out_of_context(value: str, start: int, end: int) -> str:
            while left and left[0].end <= start:
                left.popleft()
            if not left or left[0].start >= end or not self._outside(value, Finding("", 0, len(value))):
                return value
            return self.vault.placeholder(left[0].kind, restored_value(value, self.vault))

        return in_tokens(changed, out_of_context) if left else changed

    def _plain(self, text: str) -> str:
        echoes = (part for echo in self.vault.echoes(text) for part in self._outside(text, echo))
        parts, at = [], 0
        for kind, start, end in sorted((*self.exposed(text), *echoes), key=lambda part: (part.start, -part.end)):
            if end > at:  # what overlaps is cut, so that nothing of it stays
                parts += [text[at:start], self.vault.placeholder(kind, text[max(at, start) : end])]
                at = end
        return "".join([*parts, text[at:]])

    def _outside(self, text: str, finding: Finding) -> list[Finding]:
        """The parts of a finding that no placeholder covers; quotes and the like are none."""
        parts, at = [], finding.start
        for start, end in (*self.vault.places(text, finding.start, finding.end), (finding.end, finding.end)):
            if any(map(str.isalnum, text[at:start])):
                parts.append(Finding(finding.kind, at, start))
            at = max(at, end)
        return parts


def _left(request: Request, redactor: _Redactor) -> list[str]:
    """The kinds that are still found in it."""
    return sorted({finding.kind for text in _texts(request) for finding in redactor.exposed(text)})


def _texts(request: Request) -> list[str]:
    """Every text that is sent, those inside of JSON also without their quotes."""
    texts: list[str] = []

    def note(text: str) -> str:
        if looks_like_json(text):
            in_strings(text, note)
        texts.append(text)
        return text

    def note_json(text: str) -> str:
        in_strings(text, note)
        texts.append(text)
        return text

    _changed(request, note, note_json)
    return texts


def _changed(request: Request, text: Change, json: Change) -> Request:
    """The request with every text that is sent changed.

    What is the same in every turn of a conversation comes first, so that it gets the same placeholders each time, and the provider's
    prompt cache still fits.
    """

    def value(found: dict[str, Any]) -> dict[str, Any]:
        old = _as_json(found)
        new = json(old)
        return found if new == old else msgspec.json.decode(new, type=dict[str, Any])

    def message(found: Message) -> Message:
        calls = tuple(replace(call, arguments=json(call.arguments)) for call in found.tool_calls)
        return replace(found, content=text(found.text), tool_calls=calls)

    def answer(found: ResponseFormat) -> ResponseFormat:
        return found if found.schema is None else replace(found, schema=value(found.schema))

    def tool(found: Tool) -> Tool:
        return replace(found, description=text(found.description), parameters=value(found.parameters))

    return replace(
        request,
        provider_options=value(request.provider_options),
        response_format=request.response_format and answer(request.response_format),
        tools=tuple(tool(each) for each in request.tools),
        stop=tuple(text(each) for each in request.stop),
        messages=tuple(message(each) for each in request.messages),
    )


def _names(request: Request) -> list[str]:
    """What is sent as it is."""
    calls = [call for message in request.messages for call in message.tool_calls]
    form = request.response_format
    names = [request.tool_choice, form and form.name, *(message.tool_call_id for message in request.messages)]
    names += [*(tool.name for tool in request.tools), *(call.id for call in calls), *(call.name for call in calls)]
    return [name for name in names if name]


def _as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _is_shaped(schema: object) -> bool:
    """Whether a JSON Schema wants texts of a form that a placeholder does not have, such as that of an e-mail address."""
    if isinstance(schema, list):
        return any(map(_is_shaped, schema))
    if not isinstance(schema, dict):
        return False
    form = schema.get("format")
    is_shaped = isinstance(schema.get("pattern"), str) or (isinstance(form, str) and form not in _HARMLESS)
    return is_shaped or any(map(_is_shaped, schema.values()))


def _with_note(messages: tuple[Message, ...], vault: Vault) -> tuple[Message, ...]:
    if not vault.placeholders:
        return messages
    note = NOTE.format(example=vault.placeholders[0])
    first, *rest = messages
    if first.role != "system":
        return (Message("system", note), *messages)
    return (replace(first, content=f"{first.text}\n\n{note}"), *rest)
