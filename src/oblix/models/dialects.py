"""What each provider demands of a conversation, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from re import Pattern

from oblix.types.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What a provider demands of a conversation; the defaults are those of OpenAI's own service, which demands least.

    Attributes:
        ids: What the id of a tool call looks like. Nine letters and digits fit everywhere.
        names: What the name of a tool looks like.
        blank: A user's turn may be empty.
        system_first: Instructions stand together, before everything else.
        user_first: After them the user speaks first.
        joined: Two turns of one role in a row are refused by some of its models.
        parted: A turn has text or tool calls, never both.
        answered: After what a tool gave comes an answer, and only then the user.
        begun: A last turn of the model's own is the beginning of its answer, be it white space.
        addresses: Images may be told by their address.
        trimmed: A last turn of the model's own does not end in white space.
    """

    ids: Pattern[str] = re.compile(r"[!-~]{1,40}")
    names: Pattern[str] = re.compile(r"[a-zA-Z0-9_-]{1,64}")
    blank: bool = True
    system_first: bool = False
    user_first: bool = False
    joined: bool = False
    parted: bool = False
    answered: bool = False
    begun: bool = False
    addresses: bool = True
    trimmed: bool = False


_NINE = re.compile(r"[a-zA-Z0-9]{9}")  # mistral-common, validator of version 3 (2026-11)

OPENAI = Dialect()
COMPATIBLE = Dialect(ids=re.compile(r"[!-~]{1,64}"))  # what others' ids look like: Kimi's are `functions.NAME:0`
CLAUDE = Dialect(
    ids=re.compile(r"[a-zA-Z0-9_-]{1,64}"), blank=False, system_first=True, user_first=True, joined=True, trimmed=True
)
MISTRAL = Dialect(ids=_NINE, blank=False, system_first=True, user_first=True, parted=True, answered=True)
# Servers at home write the conversation with the template of the model, and many templates refuse what is not in turn.
TEMPLATE = Dialect(
    ids=re.compile(r"[!-~]{1,64}"),
    names=re.compile(r"(?s).{1,256}"),
    blank=False,
    system_first=True,
    user_first=True,
    joined=True,
    begun=True,
)
OLLAMA = replace(TEMPLATE, addresses=False)

_BY_PROVIDER = {"openai": OPENAI, "claude": CLAUDE, "mistral": MISTRAL, "ollama": OLLAMA} | dict.fromkeys(
    ("embedded", "lmstudio", "llamacpp", "vllm"), TEMPLATE
)
# Mistral's families, under whatever name they are offered: mistral, ministral, codestral, devstral, magistral, mixtral, …
_MISTRALS = re.compile(r"[a-z]stral|mixtral", re.IGNORECASE)


def dialect_of(spec: ModelSpec) -> Dialect:
    """The dialect of a model: its provider's, unless it is one of Mistral's, which bring their rules along."""
    dialect = _BY_PROVIDER.get(spec.provider, COMPATIBLE)
    if dialect is OPENAI or dialect is CLAUDE or not _MISTRALS.search(spec.name):
        return dialect
    return MISTRAL if dialect is COMPATIBLE else replace(dialect, ids=_NINE, answered=True)
