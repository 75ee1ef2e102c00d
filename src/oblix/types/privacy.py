"""What is known of a request's privacy: its label, who set it, and what was seen in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, NamedTuple

Label = Literal["public", "private", "unknown"]
Mode = Literal["keep_local", "redact", "allow"]
Source = Literal["caller", "message", "rule", "policy", "detector", "size", ""]


class Finding(NamedTuple):
    """Something private in a text: its kind (`email`, `card`, …) and where it stands, as a slice of characters."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Privacy:
    """How private a request is.

    Attributes:
        label: `private` never leaves the edge (but see `mode`), `public` may; `unknown` was not looked at, and counts as public.
        by: Who says so: the `caller`, the label of a `message`, a `rule` or the `policy` itself, a `detector`, or its `size`, which was too
            large to scan.
        found: Kind → how often the detectors saw it, also where that makes nothing private.
        mode: What follows where a detector says `private`: `keep_local`, `redact` (a cloud model gets placeholders), or `allow`. What a
            caller, a message, a rule or a policy calls private always stays at home.
        why: In words, for the reason of a decision.
    """

    label: Label = "unknown"
    _: KW_ONLY
    by: Source = ""
    found: Mapping[str, int] = field(default_factory=dict)
    mode: Mode = "keep_local"
    why: str = ""

    @property
    def stays_home(self) -> bool:
        """Whether no cloud model may see any form of it."""
        return self.label == "private" and not self.is_redacted and not self._is_allowed

    @property
    def is_redacted(self) -> bool:
        """Whether a cloud model may see it with placeholders in the place of what was found."""
        return self.label == "private" and self.by == "detector" and self.mode == "redact"

    @property
    def sticks(self) -> bool:
        """Whether its messages make later requests private that hold them. What a detector found needs no memory: it is found again."""
        return self.stays_home and self.by not in ("detector", "size")

    @property
    def _is_allowed(self) -> bool:
        return self.mode == "allow" and self.by in ("detector", "size")

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON."""
        redactions = sum(self.found.values()) if self.is_redacted else 0
        return {
            "class": self.label,
            "by": self.by,
            "found": dict(self.found),
            "mode": self.mode,
            "redactions": redactions,
        }


UNKNOWN = Privacy()


@dataclass(frozen=True, slots=True)
class Screening:
    """What the detectors look for, and what follows.

    Attributes:
        mode: What follows where something private is found.
        kinds: Kinds that make a request private; `None` is all that cannot be mistaken (keys, cards, accounts, identity numbers, and the
            user's own names), but not contacts: an e-mail address is in every other prompt.
        names: The user's own list: people, projects, whatever must not leave.
        is_on: Off, nothing is scanned and every request that nobody labelled is `unknown`.
    """

    _: KW_ONLY
    mode: Mode = "keep_local"
    kinds: frozenset[str] | None = None
    names: tuple[str, ...] = ()
    is_on: bool = True
