"""From an error answer to a failure of a named kind: status first, then code, the words last."""

from __future__ import annotations

import json

import pytest

from oblix.errors import FailureKind
from oblix.models.classify import classify
from oblix.types.secret import SecretStr

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


def google(quota: str) -> dict[str, object]:
    """Gemini's answer for a quota that is used up: it names a wait of seconds whatever the quota is."""
    details = [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": f"GenerateRequests{quota}"}],
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "23s"},
    ]
    said = "You exceeded your current quota, please check your plan and billing details."
    return {"error": {"code": 429, "message": said, "status": "RESOURCE_EXHAUSTED", "details": details}}


RATE_WITH_ADVICE = {
    "error": {
        "message": "Rate limit reached. Please try again in 20s. Add a payment method at https://x.example/account/billing.",
        "type": "requests",
        "code": "rate_limit_exceeded",
    }
}


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
        # quota and credit, which no pause mends
        (403, {"error": {"message": "Key limit exceeded (total limit). Manage it", "code": 403}}, K.QUOTA_EXHAUSTED),
        (402, {"error": {"message": "This request requires more credits", "code": 402}}, K.QUOTA_EXHAUSTED),
        (402, {"error": {"message": "Insufficient Balance"}}, K.QUOTA_EXHAUSTED),
        (412, {"error": {"message": "Account suspended: monthly spending limit reached"}}, K.QUOTA_EXHAUSTED),
        (429, claude("rate_limit_error", "You have hit your workspace's spend limit"), K.QUOTA_EXHAUSTED),
        (429, {"error": "Your team has used all available credits"}, K.QUOTA_EXHAUSTED),
        (429, google("PerDayPerProjectPerModel-FreeTier"), K.QUOTA_EXHAUSTED),
        (429, [google("PerMinutePerProjectPerModel-FreeTier")], K.RATE_LIMITED),
        (429, RATE_WITH_ADVICE, K.RATE_LIMITED),
        (
            429,
            {"error": {"message": "Request too large for gpt-x on tokens per min: Limit 9, Requested 20"}},
            K.CONTEXT_OVERFLOW,
        ),
        # who may not
        (403, {"error": {"code": "unsupported_country_region_territory", "message": "Country not supported"}}, K.AUTH),
        (
            403,
            {"error": {"message": "Your chosen model requires moderation and your input was flagged"}},
            K.CONTENT_FILTER,
        ),
        (451, "", K.AUTH),
        # models, in the words of each
        (
            404,
            {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError"},
            K.MODEL_MISSING,
        ),
        (
            404,
            {"error": {"code": 404, "status": "NOT_FOUND", "message": "models/x is not found for API"}},
            K.MODEL_MISSING,
        ),
        (404, {"error": {"message": "No endpoints found for x/y.", "code": 404}}, K.MODEL_MISSING),
        (400, {"error": {"message": "x/y is not a valid model ID", "code": 400}}, K.MODEL_MISSING),
        (
            400,
            {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"},
            K.MODEL_MISSING,
        ),
        (
            400,
            {"error": {"message": "The model `x` has been decommissioned", "code": "model_decommissioned"}},
            K.MODEL_MISSING,
        ),
        (400, {"error": {"message": "Model Not Exist", "type": "invalid_request_error"}}, K.MODEL_MISSING),
        (410, "", K.MODEL_MISSING),
        (404, claude("not_found_error", "Not Found"), K.PROTOCOL),
        (405, "Method Not Allowed", K.PROTOCOL),
        # prompts that do not fit
        (
            400,
            {"error": {"message": "The input token count (12) exceeds the maximum number of tokens allowed (9)."}},
            K.CONTEXT_OVERFLOW,
        ),
        (400, "This model's maximum prompt length is 9 but the request contains 12 tokens.", K.CONTEXT_OVERFLOW),
        (413, {"error": {"message": "Request too large", "code": "rate_limit_exceeded"}}, K.CONTEXT_OVERFLOW),
        # proxies and content networks
        (409, "", K.OVERLOADED),
        (424, "", K.SERVER_ERROR),
        (425, "", K.OVERLOADED),
        (498, "", K.OVERLOADED),
        (499, "", K.SERVER_ERROR),
        (504, "", K.SERVER_ERROR),
        (511, "<html>Log in</html>", K.PROTOCOL),
        (520, "", K.SERVER_ERROR),
        (521, "", K.OVERLOADED),
        (522, "", K.OVERLOADED),
        (523, "", K.OVERLOADED),
        (524, "", K.SERVER_ERROR),
        (525, "", K.OVERLOADED),
        (526, "", K.OVERLOADED),
        (527, "", K.SERVER_ERROR),
        (530, "", K.OVERLOADED),
        # inside of a good answer: as the status of their type
        (200, claude("invalid_request_error", "messages: odd"), K.BAD_REQUEST),
        (200, claude("invalid_request_error", "Your credit balance is too low"), K.QUOTA_EXHAUSTED),
        (200, claude("authentication_error"), K.AUTH),
        (200, claude("rate_limit_error"), K.RATE_LIMITED),
        (200, claude("api_error"), K.SERVER_ERROR),
        (200, claude("timeout_error"), K.SERVER_ERROR),
        (200, {"error": {"status": "UNAVAILABLE", "message": "high demand"}}, K.OVERLOADED),
        (200, {"error": {"status": "RESOURCE_EXHAUSTED", "message": "slow down"}}, K.RATE_LIMITED),
        (200, {"error": {"type": "server_error", "code": None, "message": "sorry"}}, K.SERVER_ERROR),
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


OWN_MISTAKES = [
    ("invalid_function_parameters", "Invalid schema for function 'get_billing_info': False is not of type 'object'"),
    ("invalid_function_parameters", "Invalid schema for function 'read usage limit': schema must be an object"),
    ("unsupported_parameter", "this model's 'top_k' parameter is deprecated"),
    ("unsupported_value", "Unsupported value: 'temperature' does not support 0.2 with this model."),
    ("invalid_type", "Invalid type for 'tools[0].context length': expected an integer"),
    ("unknown_parameter", "Unknown parameter: 'credit balance'. Did you mean 'spend limit'?"),
    ("invalid_value", 'Invalid value: "model gone not found". Supported values are: "a" and `no quota`.'),
    ("invalid_tool_call", "model response references tool_use id toolu_1 which does not exist"),
    (None, "The model parameter is deprecated"),
    (None, "tools.0.custom.input_schema.properties.usage limit: the maximum context length must be a number"),
    (None, "messages.3.content.0: no billing account may be named here"),
]


@pytest.mark.parametrize("shape", ["openai", "openai, no code", "claude"])
@pytest.mark.parametrize(("code", "said"), OWN_MISTAKES, ids=lambda given: str(given)[:24])
def test_a_mistake_in_the_request_is_no_fault_of_the_model(code: str | None, said: str, shape: str) -> None:
    """Whatever words its names and its echo hold: a model that is taken for missing or spent would be left out for all."""
    error: dict[str, object] = {"message": said, "type": "invalid_request_error", "param": "tools[0]"}
    body = claude("invalid_request_error", said) if shape == "claude" else {"error": error}
    if shape == "openai":
        error["code"] = code
    assert classify(400, json.dumps(body).encode()).kind is K.BAD_REQUEST


def test_a_code_that_names_the_mistake_is_believed_before_any_words() -> None:
    said = "The maximum context length is exceeded by your credit balance, and the model x does not exist"
    body = {"error": {"message": said, "type": "invalid_request_error", "code": "invalid_function_parameters"}}
    assert classify(400, json.dumps(body).encode()).kind is K.BAD_REQUEST


def test_a_limit_of_the_minute_that_advertises_billing_is_no_spent_quota() -> None:
    said = "Rate limit reached on tokens per min (TPM): Limit 30000. Add a payment method under billing to raise it."
    body = {"error": {"message": said, "type": "tokens", "code": "rate_limit_exceeded"}}
    assert classify(429, json.dumps(body).encode()).kind is K.RATE_LIMITED


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("model 'phi:3b' not found, try pulling it first", K.MODEL_MISSING),
        ("The model: `x` does not exist", K.MODEL_MISSING),
        ("The model you requested does not exist", K.MODEL_MISSING),
        ("Publisher Model `projects/p/models/x` was not found", K.MODEL_MISSING),
        ("Model x is no longer available", K.MODEL_MISSING),
        ("model not found: x", K.MODEL_MISSING),
        ("Your account's billing hard limit has been reached", K.QUOTA_EXHAUSTED),
        ("This API method requires billing to be enabled", K.QUOTA_EXHAUSTED),
        ("You've hit your usage limit", K.QUOTA_EXHAUSTED),
        ("Usage limit reached for 5 hour", K.QUOTA_EXHAUSTED),
        ("input length and `max_tokens` exceed context limit: 9 + 8 > 10", K.CONTEXT_OVERFLOW),
        ("Requested tokens (5000) exceed context window of 4096", K.CONTEXT_OVERFLOW),
        ("Prompt contains 40 tokens, too large for model with 32 maximum context length", K.CONTEXT_OVERFLOW),
        ("the model is loaded with context length of only 4096 tokens, which is not enough", K.CONTEXT_OVERFLOW),
        ("The number of tokens to keep is greater than the context length", K.CONTEXT_OVERFLOW),
        ("Input is too long for requested model.", K.CONTEXT_OVERFLOW),
    ],
)
def test_what_servers_say_in_words_alone(said: str, kind: FailureKind) -> None:
    assert classify(400, json.dumps({"error": said}).encode()).kind is kind


def test_an_error_without_a_message_is_read_by_its_values() -> None:
    failure = classify(400, json.dumps({"detail": "You have reached your specified API usage limits"}).encode())
    assert failure.kind is K.QUOTA_EXHAUSTED


@pytest.mark.parametrize(
    ("body", "tokens", "window"),
    [
        (LLAMA_OVERFLOW, 2410, 512),
        (OPENAI_OVERFLOW, 9001, 8192),
        (claude("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"), 210000, 200000),
        ({"error": "request (931 tokens) exceeds the available context size (512 tokens), try"}, 931, 512),
        ({"error": "the input length exceeds the context length"}, None, None),
        ("The input token count (12) exceeds the maximum number of tokens allowed (9).", 12, 9),
        ("This model's maximum prompt length is 9 but the request contains 12 tokens.", 12, 9),
    ],
    ids=["llama.cpp", "openai", "claude", "llama.cpp in words", "ollama", "gemini", "xai"],
)
def test_an_overflow_tells_both_numbers(body: object, tokens: int | None, window: int | None) -> None:
    failure = classify(400, json.dumps(body).encode())
    assert (failure.tokens, failure.window) == (tokens, window)


@pytest.mark.parametrize(
    ("status", "body", "headers", "seconds"),
    [
        (429, "", {"retry-after": "7"}, 7.0),
        (429, "", {"Retry-After": "Mon, 23 Nov 2026 00:01:30 GMT"}, 90.0),
        (429, RATE_WITH_ADVICE, {}, 20.0),
        (200, RATE_WITH_ADVICE, None, 20.0),
        (429, google("PerMinute"), {}, 23.0),
        (429, google("PerDay"), {}, None),
        (
            400,
            "You have reached your API usage limits. You will regain access on 2026-11-23 at 06:00 UTC.",
            {},
            21_600.0,
        ),
        (503, "Please retry in 2s", {}, 2.0),
        (429, "", {}, None),
        (429, "", None, None),
    ],
    ids=["seconds", "date", "text", "inside", "minute", "day", "regain", "overloaded", "nothing", "no headers"],
)
def test_how_long_to_wait(status: int, body: object, headers: dict[str, str] | None, seconds: float | None) -> None:
    """Every form is shown in test_retry_after; a quota of the day is not lifted in the seconds that are said beside it."""
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    assert classify(status, raw, headers=headers, now=1_795_392_000.0).retry_after == seconds


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "Country, region, or territory not supported"}}, "from where you are"),
        ({"error": {"message": "Project has no access to this model"}}, "permissions"),
    ],
)
def test_what_a_403_is_about(body: object, words: str) -> None:
    assert words in (classify(403, json.dumps(body).encode()).hint or "")


@pytest.mark.parametrize("status", [400, 401, 500])
@pytest.mark.parametrize(
    "shape",
    ['{{"error": {{"message": "bad key {key}"}}}}', '{{"error": "bad key {key}"}}', "<p>bad key {key}</p>"],
    ids=["dict", "text", "html"],
)
def test_an_echoed_key_is_masked(status: int, shape: str) -> None:
    key = "sk-proj-abcdefghijklmnop0123"
    failure = classify(status, shape.format(key=key).encode(), secret=SecretStr(key))
    assert key not in repr(failure) + str(failure)
    assert "bad key ***" in failure.message


def test_a_key_that_is_cut_in_two_is_masked() -> None:
    """A long answer is cut for display after the key was masked, never through it."""
    key = "sk-proj-abcdefghijklmnop0123"
    body = ("x" * 1990 + key + "y" * 100).encode()
    failure = classify(500, body, secret=SecretStr(key))
    assert "sk-proj" not in failure.message
    assert "sk-proj" not in classify(500, ("x" * 290 + key).encode(), secret=SecretStr(key)).message


@pytest.mark.parametrize(
    ("status", "kind", "said", "expected"),
    [
        (429, "rate_limit_error", "You have reached your specified API usage limits.", K.QUOTA_EXHAUSTED),
        (429, "rate_limit_error", "You will regain access on 2026-12-01 at 00:00 UTC.", K.QUOTA_EXHAUSTED),
        (200, "rate_limit_error", "You have reached your specified API usage limits.", K.QUOTA_EXHAUSTED),
        (429, "rate_limit_error", "This request would exceed the rate limit of 40,000 input tokens per minute.", K.RATE_LIMITED),
        (400, "invalid_request_error", "Output blocked by content filtering policy", K.CONTENT_FILTER),
        (200, "invalid_request_error", "Output blocked by content filtering policy", K.CONTENT_FILTER),
    ],
)  # fmt: skip
def test_anthropic_says_more_in_words_than_in_codes(status: int, kind: str, said: str, expected: FailureKind) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": said}}).encode()
    assert classify(status, body, headers={"retry-after": "12"}).kind is expected
