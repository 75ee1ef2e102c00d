"""Errors in the words of the providers.

Sources: OpenAI "Error codes", Anthropic "Errors", server/routes.go and server/sched.go of the Ollama project, each as of 2026-11.
"""

from __future__ import annotations

from oblix.testing.faults.wires import ErrorWords

BAD_REQUEST = ErrorWords(
    ("invalid_request_error", None, "Invalid value for 'messages'."),
    ("invalid_request_error", "messages: at least one message is required"),
    "invalid message",
)
AUTH = ErrorWords(
    ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    ("authentication_error", "invalid x-api-key"),
    "unauthorized",
)
FORBIDDEN = ErrorWords(
    ("request_forbidden", "unsupported_country_region_territory", "Country, region, or territory not supported"),
    ("permission_error", "Your API key does not have permission to use the specified resource."),
    "this model requires a subscription, upgrade for access",
)
PAYMENT = ErrorWords(
    ("insufficient_quota", "insufficient_quota", "Payment required."),
    ("billing_error", "Your credit balance is too low to access the API."),
    "payment required",
)
MODEL_MISSING = ErrorWords(
    ("invalid_request_error", "model_not_found", "The model `played` does not exist or you do not have access to it."),
    ("not_found_error", "model: played"),
    "model 'played' not found",
)
TIMEOUT = ErrorWords(
    ("timeout", None, "Request timed out while it was read."),
    ("timeout_error", "Request timed out."),
    "request timeout",
)
CONFLICT = ErrorWords(
    ("conflict", None, "The request conflicts with another one; please try again."),
    ("invalid_request_error", "The request conflicts with another one."),
    "conflict",
)
TOO_LARGE = ErrorWords(
    ("invalid_request_error", None, "Request entity too large."),
    ("request_too_large", "Request exceeds the maximum allowed number of bytes."),
    "request body too large",
)
UNPROCESSABLE = ErrorWords(
    ("invalid_request_error", None, "The request was well-formed but could not be followed."),
    ("invalid_request_error", "messages.0.content: unexpected value"),
    "unprocessable entity",
)
RATE = ErrorWords(
    ("requests", "rate_limit_exceeded", "Rate limit reached for requests. Please try again in 20s."),
    ("rate_limit_error", "This request would exceed your organization's rate limit of 50 requests per minute."),
    "too many requests",
)
SPEND = ErrorWords(
    ("insufficient_quota", "insufficient_quota", "You exceeded your current quota, please check your plan."),
    ("rate_limit_error", "You have reached your specified API usage limits. You will regain access on 2026-12-01."),
    "you have reached your weekly usage limit, upgrade for higher limits",
)
USAGE_LIMIT = ErrorWords(
    ("billing_limit", "billing_hard_limit_reached", "Billing hard limit has been reached."),
    (
        "invalid_request_error",
        "You have reached your specified API usage limits. You will regain access on 2026-12-01.",
    ),
    "you have reached your weekly usage limit, upgrade for higher limits",
)
SERVER = ErrorWords(
    ("server_error", None, "The server had an error while processing your request."),
    ("api_error", "Internal server error"),
    "an error was encountered while running the model",
)
GATEWAY = ErrorWords(
    ("server_error", None, "Bad gateway."),
    ("api_error", "Bad gateway"),
    "upstream connect error",
)
OVERLOADED = ErrorWords(
    ("service_unavailable", "server_is_overloaded", "The engine is currently overloaded, please try again later."),
    ("overloaded_error", "Overloaded"),
    "server busy, please try again.  maximum pending requests exceeded",
)
LOADING = ErrorWords(
    ("unavailable_error", None, "Loading model"),  # llama.cpp's server
    ("overloaded_error", "Overloaded"),
    "llm server loading model",
)
UNLOADABLE = ErrorWords(
    ("server_error", None, "The model cannot be loaded."),
    ("api_error", "Internal server error"),
    "model requires more system memory (5.6 GiB) than is available (1.2 GiB)",
)
RUNNER_DIED = ErrorWords(
    ("server_error", None, "The model has crashed."),
    ("api_error", "Internal server error"),
    "llama runner process has terminated: signal: killed",
)
CONTEXT = ErrorWords(
    (
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
    ),
    ("invalid_request_error", "prompt is too long: 9001 tokens > 8192 maximum"),
    "the input length exceeds the context length",
)
FILTERED = ErrorWords(
    ("invalid_request_error", "content_filter", "The response was filtered due to the content management policy."),
    ("invalid_request_error", "Output blocked by content filtering policy"),
    "filtered",
)
