"""`[budget]` of the settings file: what may be spent, and what happens at the limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from datetime import tzinfo
from typing import Literal, cast, get_args

from oblix.decision.section import KeyPath, Section, show
from oblix.errors import known_hint
from oblix.types.ids import split_model_id
from oblix.types.money import Limit, OnLimit, Period, Scope, micro

Durability = Literal["normal", "full"]
OnFailure = Literal["refuse", "go-on"]
Origin = Callable[[KeyPath], str]

MOST = 1e9  # USD; what is more is a slip of the hand
_PERIODS: dict[str, Period] = {"daily_usd": "day", "monthly_usd": "month", "total_usd": "total"}
_SCOPES: dict[str, tuple[Scope, str]] = {  # key → what it limits, and an example
    "models": ("model", "openai:gpt-4"),
    "tags": ("tag", "research"),
    "keys": ("key", "OPENAI_API_KEY"),
}
_KEYS = (*_PERIODS, *_SCOPES, "on_limit", "time_zone", "durability", "when_books_fail")


@dataclass(frozen=True, slots=True)
class Budget:
    """What `[budget]` says; `None` where it says nothing.

    Attributes:
        limits: With the file and the line as their origin. The subject of those by key is the name of a variable or a provider.
        on_limit: What follows where a budget excludes the model that would have answered.
        zone: Where days and months begin.
        durability: Whether what is written outlives a power cut (`full`), or only a crash of the program (`normal`).
        on_failure: What becomes of calls that cost something while the books cannot be written.
    """

    limits: tuple[Limit, ...] = ()
    _: KW_ONLY
    on_limit: OnLimit | None = None
    zone: tzinfo | None = None
    durability: Durability | None = None
    on_failure: OnFailure | None = None


NONE = Budget()


def parse_budget(section: Section, origin: Origin) -> Budget:
    """The table as a value.

    Args:
        origin: A path in the file → that file and the line, in words.
    """
    section.expect(_KEYS, "key of [budget]")
    limits = [*_limits(section, origin, "all", "")]
    for key, (scope, example) in _SCOPES.items():
        for subject, table in _tables(section, key, example):
            limits += _limits(table, origin, scope, subject)
    return Budget(
        tuple(limits),
        on_limit=cast(
            "OnLimit | None", section.choice("on_limit", get_args(OnLimit), "way to treat a limit", '"stop"')
        ),
        zone=_zone(section),
        durability=cast(
            "Durability | None", section.choice("durability", get_args(Durability), "durability", '"full"')
        ),
        on_failure=cast(
            "OnFailure | None", section.choice("when_books_fail", get_args(OnFailure), "way out", '"refuse"')
        ),
    )


def _limits(section: Section, origin: Origin, scope: Scope, subject: str) -> list[Limit]:
    found = []
    for key, period in _PERIODS.items():
        usd = section.number(key, 0.0, MOST, example="5.0")
        if usd is not None:
            told = origin((*section.path, key))
            found.append(Limit(scope, period, micro(usd), subject=subject, origin=told))
    return found


def _tables(section: Section, key: str, example: str) -> list[tuple[str, Section]]:
    """The limits of each model, tag or key."""
    written = f'{key} = {{ "{example}" = {{ daily_usd = 1.0 }} }}'
    outer = section.section(key, written)
    if outer is None:
        return []
    found = []
    for name in outer.values:
        if not name.strip() or (key == "models" and not all(split_model_id(name))):
            raise outer.misfit(name, f"{show(name)} names none of the {key}.", hint=f"Write {written}.")
        inner = outer.section(name, f'"{name}" = {{ daily_usd = 1.0 }}')
        assert inner is not None
        inner.expect(_PERIODS, "limit")
        if not inner.values:
            raise outer.misfit(name, f"{show(name)} has no limit.", hint=f"Write {written}.")
        found.append((_canonical(name) if key == "models" else name, inner))
    return found


def _canonical(model_id: str) -> str:
    """As the model is hooked: `ollama:llama2:latest` is `ollama:llama2`."""
    return model_id.removesuffix(":latest") if model_id.startswith("ollama:") else model_id


def _zone(section: Section) -> tzinfo | None:
    name = section.text("time_zone", '"Europe/Berlin"')
    if name is None:
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = sorted(available_timezones())
        near = known_hint(name, known).partition("?")
        hint = f"{near[0]}? " if near[1] else ""
        raise section.misfit(
            "time_zone", f"{show(name)} is no time zone.", hint=f'{hint}Write time_zone = "Europe/Berlin".'
        ) from None
