"""From a plan that led nowhere to the error that a user reads: what happened, why, what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from oblix.decision.facts import Facts, ModelFacts
from oblix.decision.prediction import highest_cost, least_cost
from oblix.errors import (
    AllModelsFailed,
    BudgetExceeded,
    ConfigurationError,
    ContextOverflow,
    KeyMissing,
    NoRoute,
    OblixError,
    PrivacyViolation,
    UnknownModel,
    Vetoed,
)
from oblix.ledger.advice import advice
from oblix.ledger.estimate import START_LIKELY
from oblix.models.base import Model
from oblix.models.registry import PROVIDERS
from oblix.types.attempt import Attempt
from oblix.types.decision import Candidate, Decision
from oblix.types.ids import split_model_id
from oblix.types.money import Room, micro

# The first that occurs among the exclusions names the error: what the user can change least comes first.
_ERRORS: tuple[tuple[str, type[NoRoute], str], ...] = (
    ("veto", Vetoed, "The agent or the rule that refused is one of yours; it says why."),
    ("privacy", PrivacyViolation, "Hook or start an edge model; nothing left this machine."),
    ("rule", NoRoute, "Change the rule, or hook a model that it allows."),
    ("context_window", ContextOverflow, "Shorten the prompt, or hook a model with a larger window."),
    ("unpriced", BudgetExceeded, "Give its price: hook_model(…, price=(input, output)) in USD per million tokens."),
    ("budget", BudgetExceeded, "Raise max_cost_usd, or hook a cheaper model."),
    ("key_missing", KeyMissing, ""),
    ("key_refused", KeyMissing, ""),
    ("model_missing", NoRoute, "Fetch the model, or mend its file, then hook it again or wait a minute."),
    ("resting", NoRoute, "Wait for it, or hook another model."),
    ("quarantine", NoRoute, "Change the prompt, or hook another model for it."),
    ("capability", NoRoute, "Hook a model that can, or leave the wish out."),
)

_SCREENED = (
    "Hook or start an edge model; or public=True sends it as it is, Screening(mode='redact') with placeholders. "
    "Nothing left this machine."
)


class Short(NamedTuple):
    """A budget that excludes a model.

    Attributes:
        needed: Micro-USD that its answer would probably take.
    """

    room: Room
    model_id: str
    needed: int


def budgeted_out(decision: Decision, facts: Facts) -> Short | None:
    """The tightest budget that excludes a model, which a user might raise or pass; `None` where a cost limit does, or nothing."""
    if facts.asked.approved:
        return None
    excluded = {each.model_id for each in decision.candidates if each.reason.code in ("budget", "unpriced")}
    found = [short for model in facts.models if model.spec.id in excluded and (short := _short(facts, model))]
    return min(found, key=lambda short: (short.room.left_usd, short.room.name), default=None)


def _short(facts: Facts, model: ModelFacts) -> Short | None:
    """Whether a budget is why a model is excluded: as `decision.rules.budget` sees it, with what it would take to change that."""
    room, price, asked = model.budget, model.spec.price, facts.asked
    if room is None:
        return None
    if asked.max_cost_usd is not None and ((most := highest_cost(facts, model)) is None or most > asked.max_cost_usd):
        return None
    least = least_cost(facts, model)
    if price is None or least is None:
        return Short(room, model.spec.id, 0)
    if micro(least) <= round(1e6 * (room.left_usd + room.held_usd)):
        return None  # it has room, and must not step in for another that has none (on_limit)
    likely = price.cost(asked.prompt_tokens, asked.answer_limit or START_LIKELY)
    return Short(room, model.spec.id, micro(likely))


def unknown_model(model_id: str, hooked: Sequence[str]) -> UnknownModel:
    """`model_id=` names nothing that is hooked."""
    names = {split_model_id(each)[1]: each for each in hooked}
    near = get_close_matches(model_id, hooked, 1, 0.5) or [
        names[name] for name in get_close_matches(model_id, names, 1, 0.5)
    ]
    hint = (f"Did you mean {near[0]!r}? " if near else "") + f"Hooked: {', '.join(hooked) or 'none'}."
    return UnknownModel(f"{model_id!r} is not hooked.", hint=hint)


def nothing_hooked() -> ConfigurationError:
    """There is no model at all."""
    return ConfigurationError(
        "No model is hooked.", hint='Hook one first: await client.hook_model("ollama", "llama3").'
    )


def no_route(decision: Decision, facts: Facts) -> OblixError:
    """The hard rules left nothing."""
    excluded = [c for c in decision.candidates if c.reason.code != "explicit_model"] or list(decision.candidates)
    codes = [candidate.reason.code for candidate in excluded]
    code, kind, hint = next((row for row in _ERRORS if row[0] in codes), ("", NoRoute, ""))
    if code == "privacy" and decision.privacy.by in ("detector", "size"):
        hint = _SCREENED
    if code in ("key_missing", "key_refused"):
        hint = _key_hint(next(c.model_id for c in excluded if c.reason.code == code))
    short = budgeted_out(decision, facts)
    if code == "budget" and short is not None:
        hint = advice(short.room, short.model_id, short.needed)
    error = kind(f"No model may answer this request.\n{_told(excluded)}", hint=hint or None)
    if isinstance(error, BudgetExceeded):
        error.room = None if short is None else short.room
    if isinstance(error, ContextOverflow):
        error.tokens = facts.asked.prompt_tokens
        error.window = max(model.spec.window or 0 for model in facts.models)
    return sign(error, decision.id, decision, ())


def all_failed(decision: Decision, attempts: Sequence[Attempt], models: Mapping[str, Model]) -> OblixError:
    """Every model of the plan was tried. Where all failed in the same way, the error is named for it."""
    asked = {each.model_id for each in attempts if each.outcome != "postponed"}
    told = Counter(
        f"  {each.place:<5}  {each.why or each.outcome}"
        for each in attempts
        if each.outcome != "postponed" or each.model_id not in asked
    )
    lines = [f"{line} ({count} times)" if count > 1 else line for line, count in told.items()]
    excluded = [c for c in decision.candidates if c.verdict == "rejected" and c.reason.code != "explicit_model"]
    if excluded:
        lines.append(_told(excluded))
    kinds = {attempt.kind for attempt in attempts if attempt.outcome != "postponed"}
    hint = next((attempt.hint for attempt in attempts if attempt.hint), None)
    head = "No model could answer."
    kind: type[OblixError] = AllModelsFailed
    if kinds == {"context_overflow"}:
        head, kind = "The prompt does not fit any model.", ContextOverflow
        hint = hint or "Shorten the prompt, or hook a model with a larger window."
    elif kinds == {"auth"}:
        kind = KeyMissing
    elif kinds == {"budget"}:
        head, kind = "No budget has room for this request.", BudgetExceeded
    keyless = [a.model_id for a in attempts if a.kind == "auth"]
    keyless += [c.model_id for c in excluded if c.reason.code == "key_missing"]
    if hint is None and keyless:
        hint = _key_hint(keyless[0], models.get(keyless[0]))
    error = kind("\n".join([head, *lines]), hint=hint or f"Details: oblix why {decision.id}")
    if isinstance(error, ContextOverflow):
        widest = max(attempts, key=lambda attempt: attempt.window or 0)
        error.tokens, error.window = widest.input_tokens, widest.window
    if isinstance(error, BudgetExceeded):
        error.room = decision.room
    return sign(error, decision.id, decision, attempts)


def _told(candidates: Sequence[Candidate]) -> str:
    return "\n".join(f"  {c.place:<5}  {c.model_id} was not asked: {c.reason.text}" for c in candidates)


def _key_hint(model_id: str, model: Model | None = None) -> str:
    row = PROVIDERS.get(split_model_id(model_id)[0])
    if row is None or not row.key_env:
        return "Pass api_key=…."
    names, state = " or ".join(row.key_env), None if model is None else model.spec.key
    if state == "withheld":
        return (
            f"No key of yours goes to an address that ./oblix.toml names by itself: put {names} into the .env beside it, "
            "or name the file: OBLIX_CONFIG=oblix.toml."
        )
    said = "The key that was given is a placeholder. " if state == "placeholder" else ""
    return f"{said}Pass api_key=…, set {names}, or keep it: oblix keys set {row.name}."


def sign(error: OblixError, request_id: str, decision: Decision | None, attempts: Sequence[Attempt]) -> OblixError:
    """Put request id, decision and attempts on an error, and hand it on. There is no decision before one was taken."""
    error.request_id, error.decision, error.attempts = request_id, decision, tuple(attempts)
    return error
