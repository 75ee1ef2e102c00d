"""From an error answer to a failure of a named kind: status first, then code, the words last."""

from __future__ import annotations

import json

import pytest

from oblix.errors import FailureKind
from oblix.models.classify import classify

K = FailureKind
OPENAI_QUOTA = {
    "error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}
}
LLAMA_OVERFLOW = {
    "error": {
        "code": 400,
        "message": "request (2410 tokens) exceeds the available context size (512 tokens), try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 2410,
        "n_ctx": 512,
    }
}
OPENAI_OVERFLOW = {
    "error": {
        "message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
        "type": "invalid_request_error",
        "code": "context_length_exceeded",
    }
}


def claude(kind: str, message: str = "said") -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}, K.AUTH),
        (401, claude("authentication_error", "invalid x-api-key"), K.AUTH),
        (401, "", K.AUTH),
        (401, "your billing has model x not found", K.AUTH),
        (403, claude("permission_error"), K.AUTH),
        (402, claude("billing_error"), K.QUOTA_EXHAUSTED),
        (402, "Payment Required", K.QUOTA_EXHAUSTED),
        (404, {"error": "model 'x' not found"}, K.MODEL_MISSING),
        (404, {"error": {"code": "model_not_found", "message": "The model `x` does not exist"}}, K.MODEL_MISSING),
        (404, claude("not_found_error", "model: x"), K.MODEL_MISSING),
        (408, "", K.OVERLOADED),
        (413, claude("request_too_large"), K.CONTEXT_OVERFLOW),
        (429, {"error": {"code": "rate_limit_exceeded", "message": "slow down"}}, K.RATE_LIMITED),
        (429, claude("rate_limit_error"), K.RATE_LIMITED),
        (429, "", K.RATE_LIMITED),
        (429, OPENAI_QUOTA, K.QUOTA_EXHAUSTED),
        (400, claude("invalid_request_error", "Your credit balance is too low"), K.QUOTA_EXHAUSTED),
        (400, claude("invalid_request_error", "You have reached your specified API usage limits"), K.QUOTA_EXHAUSTED),
        (400, OPENAI_OVERFLOW, K.CONTEXT_OVERFLOW),
        (400, LLAMA_OVERFLOW, K.CONTEXT_OVERFLOW),
        (400, claude("invalid_request_error", "prompt is too long: 210000 tokens > 200000"), K.CONTEXT_OVERFLOW),
        (400, {"error": "the input length exceeds the context length"}, K.CONTEXT_OVERFLOW),
        (400, {"error": {"code": "content_policy_violation"}}, K.CONTENT_FILTER),
        (400, {"error": {"message": "Invalid value", "type": "invalid_request_error"}}, K.BAD_REQUEST),
        (422, {"detail": [{"msg": "field required"}]}, K.BAD_REQUEST),
        (500, claude("api_error", "Internal server error"), K.SERVER_ERROR),
        (500, {"error": "llama runner process has terminated: exit status 2"}, K.SERVER_ERROR),
        (500, "the model was not found in a context window", K.SERVER_ERROR),
        (502, "<html>Bad gateway</html>", K.SERVER_ERROR),
        (503, {"error": {"code": 503, "type": "unavailable_error", "message": "Loading model"}}, K.OVERLOADED),
        (503, "", K.OVERLOADED),
        (529, claude("overloaded_error", "Overloaded"), K.OVERLOADED),
        (204, "", K.PROTOCOL),
        (200, claude("overloaded_error"), K.OVERLOADED),
        (200, {"error": "an error was encountered while running the model: CUDA error"}, K.SERVER_ERROR),
        (200, {"error": {"code": 429, "message": "Provider returned error"}}, K.RATE_LIMITED),
        (200, {"error": {"code": "402", "message": "Insufficient credits"}}, K.QUOTA_EXHAUSTED),
        (200, {"error": {"code": 502, "message": "Provider disconnected"}}, K.SERVER_ERROR),
        (200, {"error": {"code": 7, "message": "odd"}}, K.SERVER_ERROR),
        (200, {"error": {"code": "9" * 5000, "message": "odd"}}, K.SERVER_ERROR),
        (400, '{"error": ' + "[" * 100_000, K.BAD_REQUEST),
        (400, b'{"error": "\xff\xfe"}', K.BAD_REQUEST),
        (400, b"\xff\xfe", K.BAD_REQUEST),
        (400, "null", K.BAD_REQUEST),
        (400, "[1, 2]", K.BAD_REQUEST),
        (400, {"error": None}, K.BAD_REQUEST),
        (400, {"error": {}}, K.BAD_REQUEST),
        (400, {"error": {"code": ["odd"], "type": {"odd": 1}, "message": 5}}, K.BAD_REQUEST),
    ],
)
def test_kinds(status: int, body: object, kind: FailureKind) -> None:
    """Whatever a peer answers has one kind, and never raises anything else."""
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    failure = classify(status, raw, model_id="openai:tried")
    assert failure.kind is kind
    assert failure.status == status
    assert "openai:tried" in failure.message
    assert len(failure.message) < 500


@pytest.mark.parametrize(
    ("body", "tokens", "window"),
    [
        (LLAMA_OVERFLOW, 2410, 512),
        (OPENAI_OVERFLOW, 9001, 8192),
        (claude("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"), 210000, 200000),
        ({"error": "request (931 tokens) exceeds the available context size (512 tokens), try"}, 931, 512),
        ({"error": "the input length exceeds the context length"}, None, None),
    ],
    ids=["llama.cpp", "openai", "claude", "llama.cpp in words", "ollama"],
)
def test_an_overflow_tells_both_numbers(body: object, tokens: int | None, window: int | None) -> None:
    failure = classify(400, json.dumps(body).encode())
    assert (failure.tokens, failure.window) == (tokens, window)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e400"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str] | None, seconds: float | None) -> None:
    """Milliseconds come first; what is no number of seconds is not told."""
    assert classify(429, b"", headers=headers).retry_after == seconds


@pytest.mark.parametrize("status", [400, 401, 500])
@pytest.mark.parametrize(
    "shape",
    ['{{"error": {{"message": "bad key {key}"}}}}', '{{"error": "bad key {key}"}}', "<p>bad key {key}</p>"],
    ids=["dict", "text", "html"],
)
def test_an_echoed_key_is_masked(status: int, shape: str) -> None:
    key = "sk-proj-abcdefghijklmnop0123"
    failure = classify(status, shape.format(key=key).encode(), secret=key)
    assert key not in repr(failure) + str(failure)
    assert "bad key ***" in failure.message


def test_a_key_that_is_cut_in_two_is_masked() -> None:
    """A long answer is cut for display after the key was masked, never through it."""
    key = "sk-proj-abcdefghijklmnop0123"
    body = ("x" * 1990 + key + "y" * 100).encode()
    failure = classify(500, body, secret=key)
    assert "sk-proj" not in failure.message
    assert "sk-proj" not in classify(500, ("x" * 290 + key).encode(), secret=key).message
