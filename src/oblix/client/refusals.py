"""From a plan that led nowhere to the error that a user reads: what happened, why, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

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
from oblix.models.registry import PROVIDERS
from oblix.types.attempt import Attempt
from oblix.types.decision import Candidate, Decision
from oblix.types.ids import split_model_id

# The first that occurs among the exclusions names the error: what the user can change least comes first.
_ERRORS: tuple[tuple[str, type[NoRoute], str], ...] = (
    ("veto", Vetoed, "The agent that refused is one of yours; it says why."),
    ("privacy", PrivacyViolation, "Hook or start an edge model; nothing left this machine."),
    ("context_window", ContextOverflow, "Shorten the prompt, or hook a model with a larger window."),
    ("unpriced", BudgetExceeded, "Give its price: hook_model(…, price=(input, output)) in USD per million tokens."),
    ("budget", BudgetExceeded, "Raise max_cost_usd, or hook a cheaper model."),
    ("key_missing", KeyMissing, ""),
    ("key_refused", KeyMissing, ""),
    ("model_missing", NoRoute, "Fetch the model on its server, then try again."),
    ("capability", NoRoute, "Hook a model that can, or leave the wish out."),
)


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


def no_route(decision: Decision) -> OblixError:
    """The hard rules left nothing."""
    excluded = [c for c in decision.candidates if c.reason.code != "explicit_model"] or list(decision.candidates)
    codes = [candidate.reason.code for candidate in excluded]
    code, kind, hint = next((row for row in _ERRORS if row[0] in codes), ("", NoRoute, ""))
    if code in ("key_missing", "key_refused"):
        hint = _key_hint(next(c for c in excluded if c.reason.code == code))
    error = kind(f"No model may answer this request.\n{_told(excluded)}", hint=hint or None)
    return sign(error, decision, ())


def all_failed(decision: Decision, attempts: Sequence[Attempt]) -> OblixError:
    """Every model of the plan was tried."""
    lines = [f"  {attempt.place:<5}  {attempt.why or attempt.outcome}" for attempt in attempts]
    excluded = [c for c in decision.candidates if c.verdict == "excluded" and c.reason.code != "explicit_model"]
    if excluded:
        lines.append(_told(excluded))
    hint = next((attempt.hint for attempt in attempts if attempt.hint), None)
    if hint is None and any(c.reason.code == "key_missing" for c in excluded):
        hint = _key_hint(next(c for c in excluded if c.reason.code == "key_missing"))
    overflow = bool(attempts) and all(attempt.kind == "context_overflow" for attempt in attempts)
    kind = ContextOverflow if overflow else AllModelsFailed
    if overflow:
        hint = hint or "Shorten the prompt, or hook a model with a larger window."
    head = "The prompt does not fit any model." if overflow else "No model could answer."
    return sign(kind("\n".join([head, *lines]), hint=hint or f"Details: oblix why {decision.id}"), decision, attempts)


def _told(candidates: Sequence[Candidate]) -> str:
    return "\n".join(f"  {c.place:<5}  {c.model_id} was not asked: {c.reason.text}" for c in candidates)


def _key_hint(candidate: Candidate) -> str:
    row = PROVIDERS.get(split_model_id(candidate.model_id)[0])
    return f"Pass api_key=…, or set {' or '.join(row.key_env)}." if row and row.key_env else "Pass api_key=…."


def sign(error: OblixError, decision: Decision, attempts: Sequence[Attempt]) -> OblixError:
    """Put decision, attempts and request id on an error, and hand it on."""
    error.decision, error.attempts, error.request_id = decision, tuple(attempts), decision.id
    return error
