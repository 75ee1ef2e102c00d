"""A request: what the caller asks and wishes, parsed once at the door."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from oblix.types.messages import Message, ResponseFormat, Tool

OnBreak = Literal["error", "restart", "continue"]
Warm = Literal["bridge", "wait"]


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt on its way through the house.

    Attributes:
        messages: At least one; a system prompt comes first, with role `system`.
        deadline: Seconds for the whole call, or `None` for no limit.
        private: The prompt never leaves the edge.
        redact: It holds something private that a detector found: a cloud model may have it with placeholders only.
        public: The caller says that nothing in it is private, whatever the detectors see.
        model_id: The model wished for; strict, unless `fallback` makes it a preference.
        max_cost_usd: Models whose estimated cost is above this are excluded; the estimate is of one attempt, and is no bound for it.
        on_break: What a stream does when it fails after its first token.
        warm: While a model loads, `bridge` lets another allowed one answer, `wait` waits for it.
        hedge: The next candidate starts when the first is slower than usual; the first token wins.
        is_whole: The caller brought the conversation (`messages=`): nothing that the session holds goes before it.
        provider_options: Passed to the provider as they are, for what has no name here.
        logprobs: Ask for the log-probability of each token, with this many alternatives (0 = off).
    """

    id: str
    messages: tuple[Message, ...]
    _: KW_ONLY
    model_id: str | None = None
    fallback: bool = False
    private: bool = False
    redact: bool = False
    public: bool = False
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int = 0
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    response_format: ResponseFormat | None = None
    deadline: float | None = 600.0
    max_cost_usd: float | None = None
    on_break: OnBreak = "error"
    warm: Warm = "bridge"
    hedge: bool = False
    policy: str | None = None
    session_id: str | None = None
    is_whole: bool = False
    tags: tuple[str, ...] = ()
    provider_options: dict[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """The text of the last user message."""
        for message in reversed(self.messages):
            if message.role == "user":
                return message.text
        return self.messages[-1].text

    @property
    def is_private(self) -> bool:
        """Whether it may not go out as it is: it is private itself, holds a message that is, or has yet to be redacted."""
        return self.private or self.redact or any(message.private for message in self.messages)

    @property
    def has_images(self) -> bool:
        """Whether any message carries an image."""
        return any(message.images for message in self.messages)

    @property
    def asks_about_images(self) -> bool:
        """Whether an image came since the model last spoke: earlier ones are told in words to a model that cannot see."""
        for message in reversed(self.messages):
            if message.role == "assistant":
                return False
            if message.images:
                return True
        return False


def unfit_to_continue(request: Request) -> str | None:
    """Why an answer to this request cannot be gone on from by any model, `None` when it can."""
    if request.tools:
        return "an answer that may call tools is whole or nothing"
    if request.response_format is not None:
        return "a grammar would begin anew in the middle of the JSON"
    if request.logprobs:
        return "the log-probabilities of what was said are lost"
    return None
