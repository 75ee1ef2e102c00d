"""Going on from the beginning of an answer, exactly: pure.

An engine that is given a text reads it in tokens of its own choice, and at the text's end it may choose others than those that wrote it:
two line ends are one token, but an answer may have written one, and then a second together with a word. What follows then differs (6 of
320 cuts in answers of SmolLM2 at temperature 0, xllamacpp 2026.10.11549). So the last word is not given but asked for again, with a
grammar that allows nothing else there: the engine spells it in its own tokens, on which the answer goes on (0 of 320). The repetition is
taken out of what comes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oblix.errors import AttemptFailed, FailureKind
from oblix.types.chunk import Chunk, Delta, Progress
from oblix.types.request import Request, unfit_to_continue

# Characters that are repeated at most; tokens are shorter. It bounds the cost in scripts that write without spaces.
_LONGEST = 32
_LAST_WORD = re.compile(r"\s*\S*\s*\Z")
LIMITS = ("max_tokens", "max_completion_tokens", "n_predict")  # the engine's names for one wish
_OWN_GRAMMAR = ("grammar", "json_schema", "chat_template_kwargs")


@dataclass(frozen=True, slots=True)
class Beginning:
    """An answer's beginning: what is given to the engine, and the end of it that the engine says again."""

    given: str
    again: str


def split(said: str) -> Beginning:
    """Before the last word with the spaces around it, where tokens begin in any case."""
    found = _LAST_WORD.search(said)
    assert found is not None  # it matches the empty end
    at = max(found.start(), len(said) - _LONGEST, said.rfind("\0") + 1)  # a grammar cannot spell a NUL
    return Beginning(said[:at], said[at:])


def check(request: Request, *, continues: bool) -> None:
    """Refuse what cannot be gone on from exactly.

    Args:
        continues: The model's answers follow the prompt at once, without a thought between.

    Raises:
        AttemptFailed: It cannot; the message says why.
    """
    why = unfit_to_continue(request)
    if not continues:
        why = "it thinks before it answers, and the thought is not kept"
    elif own := next((name for name in _OWN_GRAMMAR if name in request.provider_options), None):
        why = f"provider_options has {own!r}"
    if why is not None:
        raise AttemptFailed(
            FailureKind.BAD_REQUEST,
            f"The answer cannot be gone on from where it broke off: {why}.",
            hint="on_break='restart' begins again",
        )


def given(body: Mapping[str, Any], beginning: Beginning) -> dict[str, Any]:
    """`body` with the given part of the beginning as the last message, which the engine goes on from (it repeats none of it)."""
    messages: list[dict[str, Any]] = list(body["messages"])
    text = beginning.given
    if messages and messages[-1]["role"] == "assistant":  # the caller began the answer: two in a row are refused
        text = messages.pop()["content"] + text
    return {**body, "messages": [*messages, {"role": "assistant", "content": text}] if text else messages}


def again(body: Mapping[str, Any], beginning: Beginning) -> dict[str, Any]:
    """`body` with the wish that the answer opens with the repeated part."""
    return {**body, "grammar": grammar(beginning.again)} if beginning.again else dict(body)


def grammar(opening: str) -> str:
    """In GBNF: this text, then anything."""
    spelt = "".join(f"\\U{ord(char):08X}" for char in opening)
    return f'root ::= "{spelt}" any*\nany ::= [^\\x00] | [\\x00]'


def limits_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The names under which `body` limits the length of the answer; the engine takes a number below 0 for no limit."""
    return tuple(name for name in LIMITS if type(body.get(name)) is int and body[name] >= 0)


def lowered(body: Mapping[str, Any], tokens: int) -> dict[str, Any] | None:
    """`body` with limits that are lower by the tokens that were said already; `None` when nothing is left to say."""
    left = {name: body[name] - tokens for name in limits_of(body)}
    return {**body, **left} if min(left.values(), default=1) > 0 else None


class Repetition:
    """Takes the repeated part out of the answer."""

    def __init__(self, expected: str) -> None:
        self._left = expected

    def read(self, chunk: Chunk) -> Chunk:
        """`chunk`, or what of its text is new; a sign of work where nothing is.

        Raises:
            AttemptFailed: It does not repeat what was said.
        """
        if not self._left or type(chunk) is not Delta:
            return chunk
        text = self._rest(chunk.text)
        return Delta(text) if text else Progress("repetition")

    def _rest(self, text: str) -> str:
        common = min(len(text), len(self._left))
        if text[:common] != self._left[:common]:
            raise _differs()
        self._left = self._left[common:]
        return text[common:]

    def end(self, finish_reason: str) -> None:
        """The answer is over.

        Raises:
            AttemptFailed: It stopped before it had repeated what was said, and not because its length was up.
        """
        if self._left and finish_reason != "length":
            raise _differs()


def _differs() -> AttemptFailed:
    return AttemptFailed(FailureKind.PROTOCOL, "The engine did not go on from the beginning that it was given.")
