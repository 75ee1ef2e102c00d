"""From what an HTTP peer said to a failure of a named kind: status first, then code and type, the text last."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import nan
from typing import Any

import msgspec

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.retry_after import retry_after
from oblix.types.secret import MASK, SecretStr

K = FailureKind
_BY_STATUS = {
    401: K.AUTH,
    402: K.QUOTA_EXHAUSTED,
    403: K.AUTH,
    404: K.PROTOCOL,  # of a model that is missing, a server says so in its code or text
    405: K.PROTOCOL,
    408: K.OVERLOADED,
    409: K.OVERLOADED,  # OpenAI: a lock was not got in time
    410: K.MODEL_MISSING,  # retired
    413: K.CONTEXT_OVERFLOW,
    424: K.SERVER_ERROR,
    425: K.OVERLOADED,
    429: K.RATE_LIMITED,
    451: K.AUTH,
    498: K.OVERLOADED,  # Groq: no capacity in this tier
    499: K.SERVER_ERROR,  # a proxy's word for a client that left, which we did not
    501: K.PROTOCOL,
    503: K.OVERLOADED,
    511: K.PROTOCOL,  # a captive portal, by RFC 6585
    # Cloudflare's: it did not reach the origin, which therefore did not begin to work. 520, 524 and 527 may come after it did.
    521: K.OVERLOADED,
    522: K.OVERLOADED,
    523: K.OVERLOADED,
    525: K.OVERLOADED,
    526: K.OVERLOADED,
    529: K.OVERLOADED,
    530: K.OVERLOADED,
}
# Codes and types that say more than the status: OpenAI, Anthropic, llama.cpp, Mistral and Groq name their errors so (their API references,
# 2026-11).
_BY_CODE = {
    "insufficient_quota": K.QUOTA_EXHAUSTED,
    "billing_error": K.QUOTA_EXHAUSTED,
    "billing_hard_limit_reached": K.QUOTA_EXHAUSTED,
    "context_length_exceeded": K.CONTEXT_OVERFLOW,
    "exceed_context_size_error": K.CONTEXT_OVERFLOW,
    "request_too_large": K.CONTEXT_OVERFLOW,
    "content_policy_violation": K.CONTENT_FILTER,
    "content_filter": K.CONTENT_FILTER,
    "invalid_api_key": K.AUTH,
    "model_not_found": K.MODEL_MISSING,
    "invalid_model": K.MODEL_MISSING,
    "model_not_available": K.MODEL_MISSING,
    "model_decommissioned": K.MODEL_MISSING,
    "billing_not_active": K.QUOTA_EXHAUSTED,
    # They say what is wrong with the request; its echo in the message is not looked at.
    **dict.fromkeys(
        (
            "invalid_function_parameters",
            "invalid_json_schema",
            "invalid_type",
            "invalid_value",
            "missing_required_parameter",
            "unknown_parameter",
            "unsupported_parameter",
            "unsupported_value",
            "string_above_max_length",
            "array_above_max_length",
            "integer_above_max_value",
            "integer_below_min_value",
            "decimal_above_max_value",
            "decimal_below_min_value",
            "tool_use_failed",  # Groq
        ),
        K.BAD_REQUEST,
    ),
}
# The status that a type of error comes with, for one that comes inside of a good answer: it is treated as that status would be.
_STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "server_error": 500,
    "unavailable_error": 503,
    "timeout_error": 504,
    "overloaded_error": 529,
    # google.rpc.Code
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_QUOTA = re.compile(
    r"usage limit|credit balance|(out of|insufficient|no|all available|any) (credits?|balance|funds|quota)\b|spend(ing)? limit"
    # Not the word alone: a limit of the minute advertises billing ("add a payment method under billing to raise it").
    r"|billing (hard limit|(is )?(not active|disabled)|to be enabled)|key limit exceeded|exceeded your current quota",
    re.IGNORECASE,
)
# Anthropic's limits of a month come as 429 rate_limit_error, with the day on which they end.
_SPENT = re.compile(r"regain access|specified api usage limits|spend(ing)? limit|credit balance", re.IGNORECASE)
# Gemini tells of a quota of the day like of one of the minute, and to come back in seconds as well.
_OF_THE_DAY = re.compile(rb'"quotaId"\s*:\s*"[^"]{0,200}PerDay')
_FILTER = re.compile(r"requires moderation|input was flagged|content (management )?policy", re.IGNORECASE)
_FILTERED = re.compile(
    r"content filter", re.IGNORECASE
)  # Anthropic: "Output blocked by content filtering policy", as 400
# Said of a size and not of a field's name: with a verb before it, or behind it.
_TOO_LONG = re.compile(
    r"(exceed\w*|(larger|greater|longer) than|too (long|large) for|overflow\w*|fit \w*|maximum)\b.{0,40}?\bcontext"
    r" (length|window|size|limit)"
    r"|\bcontext (length|window|size|limit) (is |was |has been |of )?(exceeded|reached|only|too small|full)"
    r"|maximum prompt length|(prompt|input) is too long|exceeds? the (available )?context|input token count|request too large for",
    re.IGNORECASE,
)
# The model's name stands between, one word of it; in quotes it has become '' (see `_own_words`).
_NO_MODEL = re.compile(
    r"\bmodels?(?:[:/]\s*|\s+)(?:(?!(?:parameter|field|option|response|output)s?\b)\S{1,200}\s+|you requested\s+)?"
    r"(?:(?:is|was|has been|does)\s+)?(?:not found|not exist\b|not a valid model|decommissioned|deprecated|no longer available)"
    r"|no such model|unknown model|invalid model|not a valid model|no endpoints found|^model: ",
    re.IGNORECASE,
)
# What a server quotes was written by somebody else: a function's name, a parameter, a piece of the prompt.
_QUOTED = re.compile(r"(?<!\w)(['\"`])[^\n]{1,200}?\1(?!\w)")
# Anthropic names the place first: what follows is about that place, and may repeat what stands there.
_ABOUT_A_FIELD = re.compile(r"[a-z_]{1,30}\.\d{1,6}\b")
_REGION = re.compile(r"country|region|territory|location is not supported", re.IGNORECASE)

_NUMBER = rb"(?P<%s>\d{1,9})"
_TOKENS, _WINDOW = _NUMBER % b"tokens", _NUMBER % b"window"
# llama.cpp by name and in its sentence, OpenAI and vLLM, Anthropic, Gemini, xAI.
_OVERFLOWS = (
    re.compile(rb'"n_prompt_tokens":\s*%s\b.{0,80}?"n_ctx":\s*%s\b' % (_TOKENS, _WINDOW), re.DOTALL),
    re.compile(rb"request \(%s tokens\) exceeds the available context size \(%s tokens\)" % (_TOKENS, _WINDOW)),
    re.compile(rb"maximum context length is %s tokens.{0,200}?%s tokens" % (_WINDOW, _TOKENS), re.DOTALL),
    re.compile(rb"prompt is too long: %s tokens > %s" % (_TOKENS, _WINDOW)),
    re.compile(rb"input token count \(%s\) exceeds the maximum number of tokens allowed \(%s\)" % (_TOKENS, _WINDOW)),
    re.compile(rb"maximum prompt length is %s but the request contains %s tokens" % (_WINDOW, _TOKENS)),
)


def classify(
    status: int,
    body: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    model_id: str = "",
    secret: SecretStr | None = None,
    now: float = nan,
) -> AttemptFailed:
    """The failure that an error answer stands for.

    Args:
        status: HTTP status; 200 for an error that came inside of a good answer.
        body: The answer's body, or the in-band error as JSON; at most its first 64 KiB.
        secret: A key that must not be told on, should the peer echo it.
        now: Seconds since the epoch, to read a wait that is said as a date; `nan` when there can be none.
    """
    codes, text = _read(body)
    if secret is not None:
        text = _without(secret, text)
    text = text[:2000]  # what is to be said is said by then, and looking for words costs time
    meant = _meant(status, codes)
    wait = retry_after(headers or {}, body.decode("utf-8", "replace") if meant == 429 or meant >= 500 else text, now)
    kind = _kind(meant, codes, text, wait)
    if meant == 429 and _OF_THE_DAY.search(body):
        kind, wait = K.QUOTA_EXHAUSTED, None
    said = f"HTTP {status}" if status != 200 else "an error inside of its answer"
    error = AttemptFailed(
        kind,
        f"{model_id or 'the model'} answered {said}: {_shown(text[:300]) or 'no text'}",
        status=status,
        retry_after=wait,
        hint=_hint(status, kind, text),
    )
    error.is_told_by_peer = True
    if kind is K.CONTEXT_OVERFLOW:
        error.tokens, error.window = _overflow(body)
    return error


def _without(secret: SecretStr, text: str) -> str:
    """The text without a key that it quotes; what is as short as a word is none."""
    return text.replace(secret.reveal(), MASK) if len(secret.reveal()) > 3 else text


def _shown(text: str) -> str:
    """On one line, and without the signs that would steer a terminal or forge a line of a log."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _kind(status: int, codes: list[str], text: str, wait: float | None) -> FailureKind:
    named = next((_BY_CODE[code] for code in codes if code in _BY_CODE), None)
    if named is K.RATE_LIMITED and _SPENT.search(text):
        return K.QUOTA_EXHAUSTED
    return named or _by_text(status, _own_words(text), wait) or _BY_STATUS.get(status) or _by_range(status)


def _by_text(status: int, text: str, wait: float | None) -> FailureKind | None:
    """Where neither status nor code tells: spend limits come as 400, 403 or 429 with words only, Ollama has no codes at all."""
    if status == 401 or status >= 500:
        return None
    # A rate limit may mention billing too ("add a payment method to raise it"), but it says when it is lifted.
    if _SPENT.search(text) or (_QUOTA.search(text) and not (status == 429 and wait is not None)):
        return K.QUOTA_EXHAUSTED
    if _FILTERED.search(text):
        return K.CONTENT_FILTER
    if status == 403:
        return K.CONTENT_FILTER if _FILTER.search(text) else None
    if _TOO_LONG.search(text):
        return K.CONTEXT_OVERFLOW
    return K.MODEL_MISSING if status != 429 and _NO_MODEL.search(text) else None


def _own_words(text: str) -> str:
    """The text without what it quotes; nothing of it where it speaks of one field of the request."""
    return "" if _ABOUT_A_FIELD.match(text) else _QUOTED.sub("''", text)


def _meant(status: int, codes: list[str]) -> int:
    """The status, or the one that an error inside of a good answer stands for: by number (OpenRouter, llama.cpp) or by name."""
    if status != 200:
        return status
    for code in codes:
        inner = int(code) if len(code) == 3 and code.isascii() and code.isdecimal() else _STATUS_OF.get(code, 0)
        if 400 <= inner <= 599:
            return inner
    return status


def _by_range(status: int) -> FailureKind:
    if status >= 500 or status == 200:
        return K.SERVER_ERROR
    return K.PROTOCOL if status < 400 else K.BAD_REQUEST


def _hint(status: int, kind: FailureKind, text: str) -> str | None:
    if status == 404 and kind is K.PROTOCOL:
        return "There is no such address on that server; does the endpoint lack its /v1?"
    if kind is K.AUTH and _REGION.search(text):
        return "The service does not answer from where you are; the key may be good."
    if kind is K.AUTH and status == 403:
        return "The key is known, but may not do this: look at its project, its permissions and its allowed models."
    return None


def _read(body: bytes) -> tuple[list[str], str]:
    """Codes (or types) and message out of the shapes that the protocols use; else the bare text."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [], " ".join(body[:2000].decode("utf-8", "replace").split())
    if isinstance(found, list) and len(found) == 1:  # Gemini
        found = found[0]
    error = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(error, dict):
        return [], str(error)
    codes = [str(error[key]) for key in ("code", "type", "status") if error.get(key)]
    values = "; ".join(value for value in error.values() if isinstance(value, str))  # FastAPI: {"detail": "…"}
    return codes, str(error.get("message") or values or error)


def _overflow(body: bytes) -> tuple[int | None, int | None]:
    """Prompt tokens and window, where the peer gave both."""
    found = next(filter(None, (pattern.search(body) for pattern in _OVERFLOWS)), None)
    return (int(found["tokens"]), int(found["window"])) if found else (None, None)
