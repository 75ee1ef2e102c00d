"""What the embedded model answers: real engine, real weights."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from oblix.errors import AttemptFailed, ConfigurationError, FailureKind
from oblix.types.chunk import Delta, Progress
from oblix.types.messages import Image, Message, ResponseFormat, Text, Tool

if TYPE_CHECKING:
    from tests.models.embedded.conftest import Bench, Told

pytestmark = pytest.mark.engine
WEATHER = Tool(
    "get_weather",
    "The weather in a city",
    {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]},
)


def told(bench: Bench, **wishes: Any) -> Told:
    """One answer of a fresh model."""

    async def run() -> Told:
        model = bench.model()
        try:
            return await bench.answer(model, bench.request(**wishes))
        finally:
            await model.close()

    return asyncio.run(run())


def test_an_answer_comes_in_pieces_and_ends_with_a_proof_and_the_usage(bench: Bench) -> None:
    found = told(bench, prompt="Count to ten.", max_tokens=16)
    assert sum(isinstance(chunk, Delta) for chunk in found.chunks) > 3
    assert found.text
    assert found.end.finish_reason in ("stop", "length")
    assert found.end.usage.input_tokens is not None
    assert found.end.usage.input_tokens > 5
    assert 0 < (found.end.usage.output_tokens or 0) <= 16


def test_the_phases_are_told_in_order_and_loading_only_when_it_happens(bench: Bench) -> None:
    async def run() -> tuple[Told, Told]:
        model = bench.model()
        try:
            return await bench.answer(model), await bench.answer(model)
        finally:
            await model.close()

    first, second = asyncio.run(run())
    assert first.phases == ["load", "first_token"]
    assert second.phases == ["first_token"]


def test_reading_a_prompt_gives_signs_of_life_before_the_first_token(bench: Bench) -> None:
    found = told(bench, prompt="Repeat: " + "word " * 200, max_tokens=8, provider_options={"ignore_eos": True})
    first_delta = next(i for i, chunk in enumerate(found.chunks) if isinstance(chunk, Delta))
    assert sum(chunk == Progress("prompt", 0.0) for chunk in found.chunks[:first_delta]) >= 3


def test_the_same_seed_gives_the_same_text_also_after_another_prompt(bench: Bench) -> None:
    async def run() -> list[str]:
        model = bench.model()
        wish: dict[str, Any] = {"prompt": "Tell me a story.", "seed": 7, "temperature": 1.2, "max_tokens": 24}
        try:
            first = await bench.answer(model, bench.request(**wish))
            await bench.answer(model, bench.request("Something else, please."))
            second = await bench.answer(model, bench.request(**wish))
            other = await bench.answer(model, bench.request(**{**wish, "seed": 8}))
            return [first.text, second.text, other.text]
        finally:
            await model.close()

    first, second, other = asyncio.run(run())
    assert first == second
    assert first != other


def test_a_stop_word_ends_the_answer_and_is_not_part_of_it(bench: Bench) -> None:
    free = told(bench, prompt="Tell me a story.", temperature=0.0, max_tokens=24)
    word = free.text.split()[3]
    found = told(bench, prompt="Tell me a story.", temperature=0.0, max_tokens=24, stop=(word,))
    assert found.end.finish_reason == "stop"
    assert free.text.startswith(found.text)
    assert word not in found.text


def test_the_limit_of_tokens_is_kept_and_told(bench: Bench) -> None:
    found = told(bench, prompt="Write a long story.", max_tokens=3, provider_options={"ignore_eos": True})
    assert found.end.finish_reason == "length"
    assert found.end.usage.output_tokens == 3


def test_log_probabilities_come_with_the_end(bench: Bench) -> None:
    found = told(bench, logprobs=3, max_tokens=5)
    assert len(found.end.logprobs) >= 1
    for entry in found.end.logprobs:
        assert entry["logprob"] <= 0
        assert 1 <= len(entry["top_logprobs"]) <= 3
    assert found.text.startswith(found.end.logprobs[0]["token"])


def test_without_asking_there_are_no_log_probabilities(bench: Bench) -> None:
    assert told(bench).end.logprobs == ()


def test_an_answer_fits_the_json_schema(bench: Bench) -> None:
    schema = {
        "type": "object",
        "properties": {"complexity": {"enum": ["simple", "complex"]}, "tools": {"type": "boolean"}},
        "required": ["complexity", "tools"],
        "additionalProperties": False,
    }
    wish = ResponseFormat("json_schema", schema)
    found = json.loads(told(bench, prompt="What is 2 + 2?", response_format=wish, max_tokens=60).text)
    assert set(found) == {"complexity", "tools"}
    assert found["complexity"] in ("simple", "complex")
    assert isinstance(found["tools"], bool)


def test_an_answer_is_a_json_object_when_asked_for(bench: Bench) -> None:
    found = told(bench, response_format=ResponseFormat("json_object"), max_tokens=200, temperature=0.0)
    assert found.text.lstrip().startswith("{")
    if found.end.finish_reason == "stop":
        assert isinstance(json.loads(found.text), dict)


@pytest.mark.parametrize("choice", ["required", "get_weather"])
def test_a_tool_that_must_be_called_is_called(bench: Bench, choice: str) -> None:
    found = told(bench, prompt="How is Paris?", tools=(WEATHER,), tool_choice=choice, max_tokens=80, temperature=0.0)
    (call,) = found.end.tool_calls
    assert found.end.finish_reason == "tool_calls"
    assert call.id
    assert call.name == "get_weather"
    assert isinstance(json.loads(call.arguments)["city"], str)
    assert found.text == ""


def test_a_tool_call_that_is_cut_off_is_no_tool_call(bench: Bench) -> None:
    found = told(bench, tools=(WEATHER,), tool_choice="required", max_tokens=2)
    assert found.end.finish_reason == "length"
    assert found.end.tool_calls == ()


def test_a_conversation_with_a_tool_call_and_its_result_is_understood(bench: Bench) -> None:
    from oblix.types.messages import ToolCall

    messages = (
        Message("system", "You are brief."),
        Message("user", (Text("How is"), Text("Paris?"))),
        Message("assistant", "", (ToolCall("c1", "get_weather", '{"city": "Paris"}'),)),
        Message("tool", "sunny", tool_call_id="c1"),
    )
    assert told(bench, messages=messages, tools=(WEATHER,)).end.finish_reason in ("stop", "length", "tool_calls")


@pytest.mark.parametrize(
    "prompt",
    ["a\ud800b", "\udc00", "pair \ud83d\ude00", "nul \x00 byte", "\u202e\ufeff\uffff", "", "𐍈" * 50],
    ids=["lone-high", "lone-low", "split-pair", "nul", "odd-unicode", "empty", "astral"],
)
def test_odd_texts_do_no_harm(bench: Bench, prompt: str) -> None:
    assert told(bench, prompt=prompt, max_tokens=2).end.finish_reason in ("stop", "length")


@pytest.mark.parametrize(
    "wishes",
    [
        {"response_format": ResponseFormat("json_schema", {"type": "nonsense"})},
        {"provider_options": {"temperature": "hot"}},
        {"provider_options": {"temperature": float("nan")}},
        {"provider_options": {"x": {1, 2}, "y": object()}},
        {"provider_options": {"x": 1 << 80}},
        {"tools": (WEATHER,), "tool_choice": "no_such_tool"},
        {"messages": (Message("user", (Image("image/png", "AAAA"),)),)},
    ],
    ids=["schema", "type", "nan", "object", "huge-int", "tool", "image"],
)
def test_a_bad_request_is_called_so_and_the_engine_lives_on(bench: Bench, wishes: dict[str, Any]) -> None:
    async def run() -> tuple[int, int]:
        model = bench.model()
        try:
            await bench.answer(model)
            before = bench.pid(model)
            with pytest.raises(AttemptFailed) as failed:
                await bench.answer(model, bench.request(**wishes))
            assert failed.value.kind is FailureKind.BAD_REQUEST
            await bench.answer(model)  # the one slot is free
            return before, bench.pid(model)
        finally:
            await model.close()

    before, after = asyncio.run(run())
    assert before == after


def test_a_prompt_beyond_the_window_fails_with_both_numbers(bench: Bench) -> None:
    with pytest.raises(AttemptFailed) as failed:
        told(bench, prompt="word " * 3000)
    assert failed.value.kind is FailureKind.CONTEXT_OVERFLOW
    assert failed.value.window == 1024
    assert (failed.value.tokens or 0) > 3000
    assert "1024" in failed.value.message


def test_tokens_are_counted_as_the_engine_counts_them(bench: Bench) -> None:
    async def run() -> tuple[int, int | None]:
        model = bench.model()
        request = bench.request("How many tokens are these?")
        try:
            counted = await model.count_tokens(request)
            return counted, (await bench.answer(model, request)).end.usage.input_tokens
        finally:
            await model.close()

    counted, used = asyncio.run(run())
    assert counted == used


def test_two_requests_are_answered_at_the_same_time(bench: Bench) -> None:
    async def run() -> list[str]:
        model = bench.model(slots=2)
        order: list[str] = []

        async def follow(name: str) -> None:
            request = bench.request("Write a long story.", max_tokens=40, provider_options={"ignore_eos": True})
            async for chunk in model.stream(request, bench.call()):
                order.extend([name] * isinstance(chunk, Delta))

        try:
            await bench.answer(model)
            async with asyncio.timeout(120), asyncio.TaskGroup() as group:
                group.create_task(follow("a"))
                group.create_task(follow("b"))
        finally:
            await model.close()
        return order

    order = asyncio.run(run())
    assert order.count("a") >= 30
    assert order.count("b") >= 30
    turns = sum(one != two for one, two in itertools.pairwise(order))
    assert turns > 10  # one after the other would be 1


def test_more_requests_than_slots_wait_for_their_turn(bench: Bench) -> None:
    async def run() -> list[Told]:
        model = bench.model(slots=1)
        try:
            return list(await asyncio.gather(*(bench.answer(model) for _ in range(4))))
        finally:
            await model.close()

    for found in asyncio.run(run()):
        assert found.end.finish_reason in ("stop", "length")


@pytest.mark.parametrize("setting", [{"threads": 0}, {"window": -1}, {"slots": 0}, {"idle_unload": 0}])
def test_impossible_settings_are_refused_at_once(bench: Bench, setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(setting))):
        bench.model(**setting)
