"""What compatible servers do differently: contents in parts, beginnings that are gone on from, prompts that are cut."""

from __future__ import annotations

from typing import Any

import pytest

from oblix.errors import FailureKind
from oblix.types.chunk import Delta
from oblix.types.messages import Message
from oblix.types.spec import Capability, ModelSpec

from .asking import KEY, ask, gather, hear, lanes, model_of, run
from .test_openai import DONE, GOOD, says, stream, usage
from .upstream import Upstream, whole

PREFILL: frozenset[Capability] = frozenset({"prefill"})


def part(kind: str, text: str) -> dict[str, Any]:
    return {"type": kind, "text": text} if kind == "text" else {"type": kind, kind: [{"type": "text", "text": text}]}


def test_content_in_parts() -> None:
    """Mistral's reasoning models: a thought is a sign of life, the text is text."""
    events: list[dict[str, Any] | bytes] = [
        says(content=[part("thinking", "hm")]),
        says(content=[part("text", "for"), part("text", "ty")]),
        says("-two", finish="stop"),
        DONE,
    ]
    heard = hear("openai", stream(*events))
    assert [piece.text for piece in heard.chunks if isinstance(piece, Delta)] == ["forty", "-two"]
    assert heard.progress == 1


def test_content_in_parts_in_one_piece() -> None:
    message = {"role": "assistant", "content": [part("thinking", "hm"), part("text", "42")]}
    assert hear("openai", [whole({"choices": [{"message": message, "finish_reason": "stop"}]})]).text == "42"


def gone_on(provider: str) -> dict[str, Any]:
    """The body with which a server of this provider is asked to go on."""

    async def main() -> dict[str, Any]:
        async with Upstream(GOOD) as upstream, lanes() as transport:
            spec = ModelSpec(
                f"{provider}:m", provider, "m", "edge", endpoint=f"{upstream.url}/v1", capabilities=PREFILL
            )
            heard = await gather(model_of("openai", spec, transport, key=KEY), ask("Count."), "One, ")
            assert heard.text == "Hello"
            return upstream.requests[0].json

    return run(main())


@pytest.mark.parametrize("provider", ["llamacpp", "vllm"])
def test_a_beginning_is_the_last_turn(provider: str) -> None:
    turns = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One, "}]
    assert gone_on(provider)["messages"] == turns


def test_vllm_has_to_be_told_to_go_on() -> None:
    body = gone_on("vllm")
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert not {"continue_final_message", "add_generation_prompt"} & gone_on("llamacpp").keys()


def test_one_piece_does_not_tell_where_it_goes_on() -> None:
    """llama.cpp repeats the beginning in it, others do not."""
    answer = [whole({"choices": [{"message": {"content": "One, two"}, "finish_reason": "stop"}]})]
    assert hear("openai", answer, said="One, ", capabilities=PREFILL).failed.kind is FailureKind.PROTOCOL


def test_a_prompt_that_a_server_at_home_cut_has_no_answer() -> None:
    """LM Studio cuts the middle out, if so set, and answers with status 200."""
    answer = stream(says("Hello"), says(finish="stop"), usage(4096, 2), DONE)
    heard = hear("openai", answer, request=ask("word " * 9000), place="edge")
    assert heard.failed.kind is FailureKind.CONTEXT_OVERFLOW
    assert (heard.failed.tokens, heard.failed.window) == (9000, 4096)


def test_a_prompt_that_cannot_fit_a_declared_window_is_not_sent_to_a_server_at_home() -> None:
    heard = hear("openai", GOOD, request=ask("word " * 9000), place="edge", window=4096)
    assert heard.failed.kind is FailureKind.CONTEXT_OVERFLOW
    assert (heard.failed.tokens, heard.failed.window) == (9000, 4096)
    assert heard.connections == 0


def test_a_conversation_that_was_cut_is_noticed_by_its_own_counts() -> None:
    one, said, two = Message("user", "=" * 300), Message("assistant", "Hello"), Message("user", "And?")

    def answer(tokens: int) -> list[bytes]:
        return list(stream(says("Hello"), says(finish="stop"), usage(tokens, 2), DONE))  # type: ignore[arg-type]

    async def main() -> None:
        async with Upstream(answer(310), answer(310), answer(120)) as upstream, lanes() as transport:
            spec = ModelSpec("lmstudio:m", "lmstudio", "m", "edge", endpoint=f"{upstream.url}/v1")
            model = model_of("openai", spec, transport)
            for _ in range(2):
                assert (await gather(model, ask(messages=(one,)))).end
            failed = (await gather(model, ask(messages=(one, said, two)))).failed
            assert (failed.kind, failed.tokens, failed.window) == (FailureKind.CONTEXT_OVERFLOW, 312, 120)

    run(main())
