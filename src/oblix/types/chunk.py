"""What a model says while it answers: text, signs of life, and the proof that it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from oblix.types.messages import Thought, ToolCall


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them; `None` where it did not say.

    Attributes:
        input_tokens: The whole prompt, whatever a cache did with it.
        output_tokens: Everything that the model wrote, thoughts included.
        cached_tokens: Those of the prompt that were read from a prompt cache.
        cache_write_tokens: Those of the prompt that were written to one.
        cache_write_1h_tokens: Those of the written ones that stay for an hour.
        reasoning_tokens: Those of the output that were thoughts.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None

    @property
    def cache(self) -> tuple[int, int, int]:
        """What `Price.cost` wants to know of a cache: read, written, and written for an hour. What was not told is 0."""
        return self.cached_tokens or 0, self.cache_write_tokens or 0, self.cache_write_1h_tokens or 0


@final
@dataclass(slots=True)
class Delta:
    """A piece of the answer. Not frozen: one is made per token, and freezing costs 4 times as much."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A real sign of work without visible text: prompt reading, or a model's thinking. Pings and comments are none.

    Attributes:
        tokens: Of the answer, by estimate: thoughts and tool calls are billed as text is. 0 where it is no part of the answer.
    """

    what: str = "thinking"
    tokens: float = 1.0


@final
@dataclass(frozen=True, slots=True)
class End:
    """The proof of completion; a stream of chunks that ends without one was truncated.

    Attributes:
        finish_reason: `stop`, `length`, `tool_calls`, `content_filter`, or `budget`: we stopped it, because a budget had no more room.
        tool_calls: Whole, never in pieces.
        logprobs: One mapping per token (`token`, `logprob`, `top_logprobs`), if asked for.
        thoughts: Blocks of thinking that the provider wants back with this answer.
    """

    finish_reason: str
    usage: Usage = Usage()
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()
    thoughts: tuple[Thought, ...] = ()


@dataclass(frozen=True, slots=True)
class Reset:
    """The text so far is void: the answer starts again on another model (`on_break="restart"`)."""

    model_id: str
    reason: str


Chunk = Delta | Progress | End
