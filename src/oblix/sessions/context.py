"""What of a conversation goes into a window: newest first, in whole turns. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from oblix.decision.tokens import estimate_messages
from oblix.types.messages import Message


def fit(messages: Sequence[Message], tokens: int) -> tuple[tuple[Message, ...], int]:
    """What goes into so many tokens, and how many messages are left out.

    System prompts, pinned messages and the newest turn always stay, also where they are too long. A turn goes from a question to the next
    one, so that no answer is without its question, and no result of a tool without its call.
    """
    kept = _always(messages)
    left = tokens - _size(messages, kept)
    for turn in reversed(_turns(messages)):
        more = [place for place in turn if place not in kept]
        left -= _size(messages, more)
        if left < 0:
            break
        kept.update(more)
    return tuple(messages[place] for place in sorted(kept)), len(messages) - len(kept)


def least(messages: Sequence[Message]) -> int:
    """Tokens of what always stays."""
    return _size(messages, _always(messages))


def _size(messages: Sequence[Message], places: set[int] | list[int]) -> int:
    return estimate_messages(tuple(messages[place] for place in places))


def _always(messages: Sequence[Message]) -> set[int]:
    newest = _turns(messages)[-1:]
    kept = {place for turn in newest for place in turn}
    return kept | {place for place, message in enumerate(messages) if message.pinned or message.role == "system"}


def _turns(messages: Sequence[Message]) -> list[range]:
    """The turns, each as the places of its messages: every question begins one."""
    begins = [place for place, message in enumerate(messages) if place == 0 or message.role == "user"]
    return [range(begin, end) for begin, end in pairwise([*begins, len(messages)])]
