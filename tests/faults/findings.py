"""What can be wrong with a request: a closed set of breaches, each with a sentence."""

from __future__ import annotations

from typing import Literal, get_args

# The first five make the last line; a run is good when all are 0.
Breach = Literal[
    "lost",  # another model was allowed to answer, and no answer came
    "truncated",  # a success whose text is not the whole text of the upstream that answered, or whose end was not proved
    "duplicated",  # text of two attempts in one answer, or a model asked more often than the attempts say
    "late",  # the terminal state came more than 250 ms after the deadline
    "unclassified",  # an error that is not of our tree, not the right one, or of a kind that the fault does not have
    "harmed",  # a harmless oddity was taken for a failure
    "leaked",  # a private prompt at a cloud socket, a key where none may be, a request that followed a redirect
    "unlogged",  # a request left before its decision was written down, or its outcome was not written exactly once
    "unbilled",  # an upstream bills more than the attempts account for
]
BREACHES: tuple[Breach, ...] = get_args(Breach)
Finding = tuple[Breach, str]


def short(text: str, most: int = 60) -> str:
    """A text as Python writes it, its middle left out where it is long."""
    text = repr(text)
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 :]} ({len(text)})"
