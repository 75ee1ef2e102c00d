"""Puts the originals back into what a model said about placeholders: into a stream of text, and into the arguments of tools."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

from oblix.decision.privacy.json_text import in_strings, looks_like_json
from oblix.decision.privacy.spelling import name_of
from oblix.decision.privacy.vault import Vault


class Restorer:
    """Takes an answer piece by piece, and gives it with the originals in place of the placeholders.

    A placeholder may be cut anywhere: an end that could be the beginning of one is held back, which is never more than the longest
    writing of one. Where the pieces are cut makes no difference to the whole. What looks like a placeholder and is none of this request
    stays as it is.

    Args:
        in_json: The answer is JSON: originals are written as JSON writes them inside of a string.
    """

    def __init__(self, vault: Vault, *, in_json: bool = False) -> None:
        self._originals = _in_json(vault.originals) if in_json else vault.originals
        self._spelling = replace(vault.spelling, in_json=in_json)
        self._before = ""  # the last sign that was given away, as the model wrote it
        self._held = ""

    def feed(self, text: str) -> str:
        """The text up to where the next placeholder may have begun."""
        return self._put_back(text, self._spelling.streamed) if self._originals else text

    def end(self) -> str:
        """What was held back; the answer is over."""
        return self._put_back("", self._spelling.whole) if self._held else ""

    def _put_back(self, text: str, placeholders: re.Pattern[str]) -> str:
        text, at = self._before + self._held + text, len(self._before)
        parts, until = [], len(text)
        for found in placeholders.finditer(text, at):
            parts.append(text[at : found.start()])
            at = found.start()
            if found.lastgroup == "begun":
                until = at
                break
            parts.append(self._originals.get(name_of(found), found[0]))
            at = found.end()
        parts.append(text[at:until])
        self._before, self._held = text[max(0, until - 1) : until], text[until:]
        return "".join(parts)


def restored(text: str, vault: Vault) -> str:
    """A whole text with the originals in place of the placeholders."""
    restorer = Restorer(vault)
    return restorer.feed(text) + restorer.end()


def restored_json(text: str, vault: Vault) -> str:
    """The same for JSON text, such as a tool call's arguments: valid JSON stays valid; what is none is taken as any text."""
    changed = in_strings(text, lambda value: restored_value(value, vault))
    return restored(text, vault) if changed is None else changed


def restored_value(value: str, vault: Vault) -> str:
    """The same for a string out of JSON, which may hold JSON in turn."""  # that doubles the backslashes: it cannot go deep
    return restored_json(value, vault) if looks_like_json(value) else restored(value, vault)


def _in_json(originals: Mapping[str, str]) -> dict[str, str]:
    return {name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in originals.items()}
