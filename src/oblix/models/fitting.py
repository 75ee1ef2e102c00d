"""Whether a prompt was read whole: bounds that no tokenizer goes below, held against what a server counted.

Servers cut a prompt that does not fit their window, at its front and without a word (https://github.com/ollama/ollama/issues/4967;
LM Studio cuts the middle), and answer what is left. We ask them not to, which older ones do not understand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from oblix.decision.tokens import estimate_messages
from oblix.errors import AttemptFailed, FailureKind
from oblix.types.messages import Message
from oblix.types.request import Request

REMEMBERED = 256  # prompts of one model; a conversation needs one place for each of its turns


def fewest_tokens(messages: tuple[Message, ...]) -> int:
    """Tokens that these messages have at the very least, under any usual tokenizer.

    No token reaches over white space into the next word, so that each word is one or more. Scripts without spaces put four characters
    into a token at most, on average. English prose has 1.3 tokens to a word, so that this is some three quarters of the truth. What a
    template may leave out (tool results, instructions where it knows no system prompt) is not counted.
    """
    return sum(_fewest(message.text) for message in messages if message.role in ("user", "assistant"))


def _fewest(text: str) -> int:
    words = len(text.split())
    if text.isascii():
        return words
    # Bytes beyond one for each character: 2 in Chinese, Japanese, Korean and Thai.
    beyond = len(text.encode("utf-8", "surrogatepass")) - len(text)
    return max(words, beyond // 8)


class Ruler:
    """The prompts of one model, with the tokens that its server counted in them.

    A conversation that grows cannot get shorter: its turns so far, which were counted when they were the whole prompt, are a bound for
    the next that is exact. Where a server counted only what it had not read before (Ollama did until 2024), a count proves nothing.
    """

    def __init__(self) -> None:
        self._counts: OrderedDict[int, int] = OrderedDict()
        self._counts_what_it_knew = False  # it was seen to count, whole, a prompt whose beginning it had read before

    def refuse(self, request: Request, window: int | None, *, model_id: str) -> None:
        """Raise, before anything is sent, when the prompt cannot fit.

        Raises:
            AttemptFailed: kind `context_overflow`, with `tokens` (at the least) and `window`.
        """
        # A word and the space behind it are two characters: most prompts are not even counted.
        if window is None or sum(len(message.text) for message in request.messages) < window:
            return
        fewest, _ = self._bound(request.messages, _beginnings(request))
        if fewest > window:
            raise overflow(
                f"the prompt has {fewest} tokens or more, and {model_id} reads at most {window}", fewest, window
            )

    def check(self, request: Request, counted: int | None, *, window: int | None, model_id: str) -> None:
        """Note what the server counted in a prompt.

        Raises:
            AttemptFailed: kind `context_overflow`, when it read less than was sent.
        """
        if counted is None:
            return
        beginnings = _beginnings(request)
        fewest, is_known = self._bound(request.messages, beginnings)
        if counted < fewest:
            if is_known and not self._counts_what_it_knew:
                return
            failure = overflow(
                f"{model_id} read {counted} tokens of a prompt of {fewest} or more, which was cut: its answer is to the rest",
                fewest,
                counted if window is None else min(window, counted),
            )
            failure.is_void = True
            raise failure
        self._counts_what_it_knew |= is_known
        self._learn(beginnings[-1], counted)

    def _bound(self, messages: tuple[Message, ...], beginnings: list[int]) -> tuple[int, bool]:
        """The fewest tokens, and whether the server has read the beginning before."""
        fewest = fewest_tokens(messages)
        for number in range(len(messages), 0, -1):
            counted = self._counts.get(beginnings[number - 1])
            if counted is not None:
                return max(fewest, counted + fewest_tokens(messages[number:])), True
        return fewest, False

    def _learn(self, prompt: int, counted: int) -> None:
        self._counts[prompt] = counted
        self._counts.move_to_end(prompt)
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)


def overflow(message: str, tokens: int | None, window: int | None) -> AttemptFailed:
    """A prompt that does not fit, with both numbers."""
    failure = AttemptFailed(
        FailureKind.CONTEXT_OVERFLOW, message, hint="Hook a model with a larger window, or shorten the prompt."
    )
    failure.tokens, failure.window = tokens, window
    return failure


@contextmanager
def with_numbers(request: Request, window: int | None) -> Iterator[None]:
    """An overflow that passes by gets the numbers that its peer did not name: estimated tokens, and the window as far as we know it."""
    try:
        yield
    except AttemptFailed as failure:
        if failure.kind is FailureKind.CONTEXT_OVERFLOW:
            failure.tokens = estimate_messages(request.messages) if failure.tokens is None else failure.tokens
            failure.window = window if failure.window is None else failure.window
        raise


def _beginnings(request: Request) -> list[int]:
    """One key for each beginning of the conversation, the whole last. Strings remember their hash, so that this costs no reading."""
    key = hash((tuple([tool.name for tool in request.tools]), request.tool_choice, request.response_format is None))
    keys = []
    for message in request.messages:
        calls = tuple([call.arguments for call in message.tool_calls])
        key = hash((key, message.role, message.text, calls, len(message.images)))
        keys.append(key)
    return keys
