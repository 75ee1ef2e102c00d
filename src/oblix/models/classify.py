"""From what an HTTP peer said to a failure of a named kind: status first, then code and type, the text last."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

from oblix.errors import AttemptFailed, FailureKind

K = FailureKind
_BY_STATUS = {
    401: K.AUTH,
    403: K.AUTH,
    402: K.QUOTA_EXHAUSTED,
    404: K.PROTOCOL,  # of a model that is missing, a server says so in its code or text
    408: K.OVERLOADED,
    413: K.CONTEXT_OVERFLOW,
    429: K.RATE_LIMITED,
    503: K.OVERLOADED,
    529: K.OVERLOADED,
}
# Codes and types that say more than the status: OpenAI, Anthropic and llama.cpp name their errors so (their API references, 2026-11).
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
    "authentication_error": K.AUTH,
    "permission_error": K.AUTH,
    "model_not_found": K.MODEL_MISSING,
    "not_found_error": K.MODEL_MISSING,
    "rate_limit_error": K.RATE_LIMITED,
    "rate_limit_exceeded": K.RATE_LIMITED,
    "overloaded_error": K.OVERLOADED,
    "unavailable_error": K.OVERLOADED,
    "api_error": K.SERVER_ERROR,
    "server_error": K.SERVER_ERROR,
    "timeout_error": K.OVERLOADED,
}
# Where neither status nor code tells: spend limits come as 400 or 429 with words only, Ollama has no codes at all.
_BY_TEXT = (
    (
        re.compile(r"usage limit|credit balance|out of credit|spend(ing)? limit|billing", re.IGNORECASE),
        K.QUOTA_EXHAUSTED,
    ),
    (
        re.compile(
            r"context (length|window|size)|maximum context|prompt is too long|exceeds? the (available )?context",
            re.IGNORECASE,
        ),
        K.CONTEXT_OVERFLOW,
    ),
    (re.compile(r"model .{0,200}not found|no such model", re.IGNORECASE), K.MODEL_MISSING),
)

# llama.cpp by name and in its sentence, OpenAI, Anthropic.
_OVERFLOWS = (
    re.compile(rb'"n_prompt_tokens":\s*(?P<tokens>\d{1,9})\b.{0,80}?"n_ctx":\s*(?P<window>\d{1,9})\b', re.DOTALL),
    re.compile(
        rb"request \((?P<tokens>\d{1,9}) tokens\) exceeds the available context size \((?P<window>\d{1,9}) tokens\)"
    ),
    re.compile(rb"maximum context length is (?P<window>\d{1,9}) tokens.{0,200}?(?P<tokens>\d{1,9}) tokens", re.DOTALL),
    re.compile(rb"prompt is too long: (?P<tokens>\d{1,9}) tokens > (?P<window>\d{1,9})"),
)


def classify(
    status: int, body: bytes, *, headers: Mapping[str, str] | None = None, model_id: str = "", secret: str | None = None
) -> AttemptFailed:
    """The failure that an error answer stands for.

    Args:
        status: HTTP status; 200 for an error that came inside of a good answer.
        body: The answer's body, or the in-band error as JSON; at most its first 64 KiB.
        secret: A key that must not be told on, should the peer echo it.
    """
    code, text = _read(body)
    if secret and len(secret) > 3:
        text = text.replace(secret, "***")
    meant = _meant(status, code)
    kind = _BY_CODE.get(code) or _by_text(status, text) or _BY_STATUS.get(meant) or _by_range(meant)
    said = f"HTTP {status}" if status != 200 else "an error inside of its answer"
    error = AttemptFailed(
        kind,
        f"{model_id or 'the model'} answered {said}: {text[:300] or 'no text'}",
        status=status,
        retry_after=_retry_after(headers),
    )
    if status == 404 and kind is K.PROTOCOL:
        error.hint = "There is no such address on that server; does the endpoint lack its /v1?"
    if kind is K.CONTEXT_OVERFLOW:
        error.tokens, error.window = _overflow(body)
    return error


def _meant(status: int, code: str) -> int:
    """The status, or the one that an error inside of a good answer has as its code (OpenRouter, llama.cpp)."""
    inner = int(code) if status == 200 and len(code) == 3 and code.isdecimal() else 0
    return inner if 400 <= inner <= 599 else status


def _by_text(status: int, text: str) -> FailureKind | None:
    if status in (401, 403) or status >= 500:
        return None
    return next((kind for pattern, kind in _BY_TEXT if pattern.search(text)), None)


def _by_range(status: int) -> FailureKind:
    if status >= 500 or status == 200:
        return K.SERVER_ERROR
    return K.PROTOCOL if status < 400 else K.BAD_REQUEST


def _read(body: bytes) -> tuple[str, str]:
    """Code (or type) and message out of the shapes that the three protocols use; else the bare text."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", " ".join(body[:2000].decode("utf-8", "replace").split())
    error = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(error, dict):
        return "", str(error)
    named = [str(error[key]) for key in ("code", "type") if error.get(key)]
    code = next((name for name in named if name in _BY_CODE), named[0] if named else "")
    return code, str(error.get("message") or error)


def _overflow(body: bytes) -> tuple[int | None, int | None]:
    """Prompt tokens and window, where the peer gave both."""
    found = next(filter(None, (pattern.search(body) for pattern in _OVERFLOWS)), None)
    return (int(found["tokens"]), int(found["window"])) if found else (None, None)


def _retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Seconds to wait, if the peer said so in milliseconds or seconds."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float((headers or {})[name]) * unit
        except (KeyError, ValueError):
            continue
        if isfinite(seconds):
            return max(0.0, seconds)
    return None
