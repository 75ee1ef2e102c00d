"""Text of others on a terminal: shown, never obeyed."""

from __future__ import annotations

import re
import sys

# C0 and C1 but for tab and line feed: with them a model could clear the screen, rename the window, or write into the clipboard (OSC 52).
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def inert(text: str) -> str:
    """The text without what steers a terminal, where standard output is one; a program that reads a pipe gets it as it is."""
    return _STEERING.sub("", text) if sys.stdout.isatty() else text
