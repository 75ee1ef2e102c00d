"""The settings file, `oblix.toml`: models, the policy and rules of one's own, privacy, money, and how long sessions are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from oblix.decision.policy import PRESETS, SWITCHES, WEIGHTS, Policy
from oblix.decision.policy_table import private_kinds, put_on_top
from oblix.decision.section import KeyPath, Section, show
from oblix.errors import known_hint
from oblix.settings.budget import NONE, Budget, parse_budget
from oblix.settings.document import Document, expanded, missing, read
from oblix.settings.lines import line_of
from oblix.settings.policies import WHAT, file_of, read_policy
from oblix.settings.rows import parse_model
from oblix.types.privacy import Mode, Screening

_SECTIONS = ("route", "model", "privacy", "weights", "rule", "budget", "sessions")
_PRIVACY_KEYS = ("pii", "kinds", "names", "log_prompts")
_ELSEWHERE = {
    "policy": "Write it below [route].",
    **dict.fromkeys(("daily_usd", "monthly_usd", "total_usd", "on_limit", "time_zone"), "Write it below [budget]."),
    "retain_days": "Write it below [sessions].",
    **dict.fromkeys(_PRIVACY_KEYS, "Write it below [privacy]."),
    **dict.fromkeys(WEIGHTS, "It is a weight: write it below [weights]."),
    **dict.fromkeys(
        ("like", "when_sparing", *SWITCHES),
        "It is for a policy file: write one, and name it as policy = … below [route].",
    ),
}
_MODES: dict[str, Mode] = {mode.replace("_", "-"): mode for mode in get_args(Mode)}


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of `oblix.toml`.

    Attributes:
        source: The file that they come from, `None` when there is none.
        policy: The one that is named, with the file's own weights and rules on top; `None` where the file says nothing of it.
        models: One mapping per `[[model]]`: `id`, and optionally `endpoint`, `tier`, `place`, `window`, `price`, `timeouts`, `prefill`.
        screening: What the detectors look for; `None` where the file says nothing of it.
        log_prompts: Whether prompts may be kept in the log of decisions, and not only their fingerprints.
        budget: What may be spent.
        retain_days: For how long sessions are kept; `None` is for ever.
        is_found: Nobody named it: it is the `./oblix.toml` of the working directory, which may have come with somebody's project.
    """

    source: Path | None = None
    policy: Policy | None = None
    models: tuple[Mapping[str, Any], ...] = ()
    screening: Screening | None = None
    log_prompts: bool = False
    budget: Budget = NONE
    retain_days: float | None = None
    is_found: bool = False


def load(path: str | Path | None = None) -> Settings:
    """Read `path`, else `OBLIX_CONFIG`, else `./oblix.toml`, else the one in the user's configuration folder.

    Raises:
        ConfigurationError: The file that was named is missing, is no TOML, or something in it does not fit; the line is told.
    """
    named = path or os.environ.get("OBLIX_CONFIG")
    if named:
        return _parse(read(expanded(named), "settings file"))
    from platformdirs import user_config_path

    found, own = Path("oblix.toml"), user_config_path("oblix", appauthor=False) / "oblix.toml"
    if found.is_file():
        return replace(_parse(read(found, "settings file")), is_found=True)
    return _parse(read(own, "settings file")) if own.is_file() else Settings()


def _parse(document: Document) -> Settings:
    with document.locating():
        top = Section(document.values)
        top.expect(_SECTIONS, "section", elsewhere=_ELSEWHERE)

        def origin(path: KeyPath) -> str:
            return f"{document.source.name}, line {line_of(document.text, path)}"

        models = tuple(parse_model(row, origin) for row in top.sections("model"))
        privacy = _section(top, "privacy", 'pii = "keep-local"')
        privacy.expect(_PRIVACY_KEYS, "key of [privacy]")
        return Settings(
            document.source,
            _policy(document, top),
            models,
            _screening(privacy),
            privacy.switch("log_prompts") or False,
            parse_budget(_section(top, "budget", "daily_usd = 5.0"), origin),
            _retain_days(_section(top, "sessions", "retain_days = 90")),
        )


def _section(top: Section, name: str, example: str) -> Section:
    """A table, empty where there is none."""
    return top.section(name, f"[{name}] on a line, and {example} below it") or Section({})


def _retain_days(sessions: Section) -> float | None:
    sessions.expect(("retain_days",), "key of [sessions]")
    return sessions.number("retain_days", 0.001, 36_525.0, example="90")


def _policy(document: Document, top: Section) -> Policy | None:
    route = _section(top, "route", 'policy = "balanced"')
    route.expect(("policy",), "key of [route]")
    name = route.text("policy", '"balanced"')
    file = file_of(name) if name is not None else None
    if file is not None:
        file = document.source.parent / file
        if not os.path.exists(file):  # noqa: PTH110  Path.exists raises for a name that is too long
            message, hint = missing(file, WHAT)
            raise route.misfit("policy", message, hint=hint)
    elif name is not None and name not in PRESETS:
        hint = f"{known_hint(name, PRESETS)} A file is named by its path, which ends in .toml."
        raise route.misfit("policy", f"{show(name)} is no policy.", hint=hint)
    found = read_policy(file) if file is not None else PRESETS[name or "balanced"]
    changed = put_on_top(found, document.values, origin=document.source.name)
    return None if name is None and changed is found else changed


def _screening(privacy: Section) -> Screening | None:
    pii = privacy.text("pii", '"keep-local"')
    mode = None if pii is None else pii.replace("_", "-")
    if mode not in (None, "off", *_MODES):
        hint = known_hint(str(mode), (*_MODES, "off"))
        raise privacy.misfit("pii", f"{show(pii)} is no way to treat what is private.", hint=hint)
    names, kinds = privacy.texts("names", '["Ada Lovelace"]'), _kinds(privacy)
    if mode is None and not names and kinds is None:
        return None
    return Screening(mode=_MODES.get(mode or "", "keep_local"), kinds=kinds, names=names, is_on=mode != "off")


def _kinds(privacy: Section) -> frozenset[str] | None:
    if "kinds" not in privacy.values:
        return None
    known = private_kinds()
    if privacy.values["kinds"] == "all":
        return frozenset(known)
    return frozenset(privacy.choices("kinds", known, "kind of private thing", '["email"], or "all"'))
