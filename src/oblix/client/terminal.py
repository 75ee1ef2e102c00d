"""Text of others on a terminal: shown, never obeyed."""

from __future__ import annotations

import re
import sys
from typing import TextIO

# C0 and C1 but for tab and line feed: with them a model could clear the screen, rename the window, or write into the clipboard (OSC 52).
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def inert(text: str, stream: TextIO | None = None) -> str:
    """The text without what steers a terminal, where `stream` (standard output) is one; a program that reads a pipe gets it as it is."""
    return STEERING.sub("", text) if (stream or sys.stdout).isatty() else text
