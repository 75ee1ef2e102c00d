"""Going on from the beginning of an answer: exactly, or not at all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.embedded import prefill
from oblix.models.embedded.prefill import Beginning, Repetition
from oblix.types.chunk import Chunk, Delta, Progress
from oblix.types.messages import Message, ResponseFormat, Tool
from oblix.types.request import Request

if TYPE_CHECKING:
    from .conftest import Bench, Told

# Between them: line ends, indented code, signs of several bytes, a script without spaces, a word that takes a dozen tokens. The limit
# cuts some off ("length"), others end by themselves.
PROMPTS = [
    "Write a haiku with emojis 🌊🌊🌊.",
    "Write a long story about Ünal and his antidisestablishmentarian cat.",
    "Write python code that prints the primes.",
    "Repeat after me: 海は広いな大きいな。",
]
LENGTH = 32  # tokens
StandIn = Callable[..., None]
# Gives the small model the template of one that thinks (the shape of DeepSeek R1's): the answer's prompt ends in an open thought.
THINKING = r"""
class Params(xllamacpp.CommonParams):
    def __init__(self):
        super().__init__()
        self.use_jinja = True
        self.chat_template = (
            "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content.split('</think>')[-1] + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
        )
xllamacpp.CommonParams = Params
"""


@pytest.mark.engine
@pytest.mark.parametrize("prompt", PROMPTS, ids=["emojis", "story", "code", "kanji"])
def test_beginning_and_rest_are_the_whole_answer_wherever_it_broke_off(bench: Bench, prompt: str) -> None:
    async def run() -> list[tuple[str, str, str]]:
        async with bench.open(slots=2, threads=1) as model:
            request = bench.request(prompt, temperature=0.0, max_tokens=LENGTH)
            whole = await bench.answer(model, request)
            pieces = [chunk.text for chunk in whole.chunks if isinstance(chunk, Delta)]
            wrong = []
            for cut in cuts(len(pieces)):
                said = "".join(pieces[:cut])
                rest = await bench.answer(model, request, said=said)
                if (said + rest.text, rest.end.finish_reason) != (whole.text, whole.end.finish_reason):
                    wrong.append((said, rest.text, whole.text))
            return wrong

    assert asyncio.run(run()) == []


def cuts(pieces: int) -> list[int]:
    """After the first piece, after the last one (only the proof is missing), and some between, the same ones every time."""
    between = random.Random(pieces).sample(range(2, pieces), min(8, pieces - 2))
    return [1, *sorted(between), pieces]


@pytest.mark.engine
def test_a_cut_in_the_middle_of_a_word_goes_on_in_the_middle_of_the_word(bench: Bench) -> None:
    async def run() -> tuple[str, list[str]]:
        async with bench.open() as model:
            request = bench.request("Tell me about the sea.", temperature=0.0, max_tokens=16)
            whole = (await bench.answer(model, request)).text
            return whole, [
                whole[:cut] + (await bench.answer(model, request, said=whole[:cut])).text for cut in range(1, 12)
            ]

    whole, joined = asyncio.run(run())
    assert joined == [whole] * len(joined)


@pytest.mark.engine
def test_an_answer_that_somebody_else_began_is_gone_on_from(bench: Bench) -> None:
    said = "Certainly! The three largest oceans, in order, are the Paci"

    async def run() -> Told:
        async with bench.open() as model:
            return await bench.answer(
                model, bench.request("Name the oceans.", temperature=0.0, max_tokens=40), said=said
            )

    told = asyncio.run(run())
    assert told.text.startswith("fic")


@pytest.mark.engine
def test_the_limit_counts_the_whole_answer(bench: Bench) -> None:
    async def run() -> tuple[Told, Told]:
        async with bench.open() as model:
            request = bench.endless(20)
            whole = await bench.answer(model, request)
            return whole, await bench.answer(model, request, said=whole.text)

    whole, rest = asyncio.run(run())
    assert whole.end.usage.output_tokens == 20
    assert rest.text == ""
    assert rest.end.finish_reason == "length"


@pytest.mark.engine
def test_what_is_longer_than_the_limit_allows_is_at_its_end(bench: Bench) -> None:
    async def run() -> Told:
        async with bench.open() as model:
            return await bench.answer(model, bench.request(max_tokens=5), said="one two three four five six seven ")

    told = asyncio.run(run())
    assert (told.text, told.end.finish_reason) == ("", "length")


@pytest.mark.engine
def test_an_answer_that_the_caller_began_is_gone_on_from_as_well(bench: Bench) -> None:
    async def run() -> tuple[str, str, str]:
        async with bench.open() as model:
            messages = (Message("user", "Tell me about the sea."), Message("assistant", "The sea is blue because"))
            request = bench.request(messages=messages, temperature=0.0, max_tokens=12)
            whole = (await bench.answer(model, request)).text
            said = whole[: len(whole) // 2]
            return whole, said, (await bench.answer(model, request, said=said)).text

    whole, said, rest = asyncio.run(run())
    assert said + rest == whole


@pytest.mark.engine
def test_a_beginning_that_does_not_fit_the_window_is_an_overflow(bench: Bench) -> None:
    async def run() -> AttemptFailed:
        async with bench.open() as model:
            return await bench.failure(model, bench.request(max_tokens=None), said="word " * 2000)

    failed = asyncio.run(run())
    assert failed.kind is FailureKind.CONTEXT_OVERFLOW
    assert failed.window == 1024


@pytest.mark.engine
def test_a_model_that_has_to_be_loaded_first_says_so(bench: Bench) -> None:
    async def run() -> Told:
        async with bench.open() as model:
            return await bench.answer(model, said="Well, ")

    assert asyncio.run(run()).phases == ["load", "first_token"]


@pytest.mark.engine
def test_a_model_that_opens_a_thought_before_each_answer_refuses(bench: Bench, stand_in: StandIn) -> None:
    stand_in(last=THINKING)

    async def run() -> AttemptFailed:
        async with bench.open() as model:
            assert (await bench.answer(model)).progress.count("thinking") > 0
            return await bench.failure(model, said="Well, ")

    failed = asyncio.run(run())
    assert failed.kind is FailureKind.BAD_REQUEST
    assert "thinks" in failed.message


# --- without an engine ---


def ask(**wishes: Any) -> Request:
    return Request("r", (Message("user", "Hi"),), **wishes)


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (ask(tools=(Tool("f"),)), "call tools"),
        (ask(response_format=ResponseFormat("json_object")), "grammar"),
        (ask(logprobs=1), "log-probabilities"),
        (ask(provider_options={"grammar": "root ::= [a-z]+"}), "grammar"),
        (ask(provider_options={"chat_template_kwargs": {"enable_thinking": True}}), "chat_template_kwargs"),
    ],
    ids=["tools", "json", "logprobs", "grammar", "template"],
)
def test_what_cannot_be_gone_on_from_is_refused_with_the_reason(request_: Request, word: str) -> None:
    with pytest.raises(AttemptFailed, match=word) as failed:
        prefill.check(request_, continues=True)
    assert failed.value.kind is FailureKind.BAD_REQUEST


def test_an_answer_that_follows_a_thought_is_not_gone_on_from() -> None:
    with pytest.raises(AttemptFailed, match="thinks"):
        prefill.check(ask(), continues=False)


@given(said=st.text(st.characters(exclude_categories=["Cs"])))
def test_the_given_and_the_repeated_part_are_what_was_said(said: str) -> None:
    beginning = prefill.split(said)
    assert beginning.given + beginning.again == said
    assert len(beginning.again) <= 32
    assert "\0" not in beginning.again


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("one two", " two"),
        ("one two \n", " two \n"),
        ("one", "one"),
        ("x\n\n", "x\n\n"),
        ("a" * 40, "a" * 32),
        ("", ""),
    ],
)
def test_the_repeated_part_is_the_last_word_with_its_spaces(said: str, again: str) -> None:
    assert prefill.split(said).again == again


@given(data=st.data(), again=st.text(max_size=12), rest=st.text(max_size=12))
def test_the_repetition_is_taken_out_however_it_comes_in_pieces(data: st.DataObject, again: str, rest: str) -> None:
    whole, chunks, repetition = again + rest, list[Chunk](), Repetition(again)
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        chunks.append(repetition.read(Delta(whole[:size])))
        whole = whole[size:]
    repetition.end("stop")
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, Delta)) == rest
    assert all(chunk == Progress("repetition") or (isinstance(chunk, Delta) and chunk.text) for chunk in chunks)


def test_an_engine_that_says_something_else_is_found_out() -> None:
    with pytest.raises(AttemptFailed) as failed:
        Repetition(" two").read(Delta(" three"))
    assert failed.value.kind is FailureKind.PROTOCOL


def test_an_engine_that_stops_before_it_has_repeated_is_found_out() -> None:
    with pytest.raises(AttemptFailed):
        Repetition(" two").end("stop")


def test_an_end_of_the_length_may_come_at_any_place() -> None:
    Repetition(" two").end("length")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n_predict"])
def test_every_name_of_the_limit_is_lowered(name: str) -> None:
    assert prefill.lowered({name: 10}, 3) == {name: 7}
    assert prefill.lowered({name: 3}, 3) is None


def test_no_limit_stays_no_limit() -> None:
    assert prefill.lowered({"n_predict": -1}, 3) == {"n_predict": -1}


def test_a_beginning_of_one_word_is_not_given_but_only_repeated() -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    assert prefill.given(body, Beginning("", "Well")) == body
    assert prefill.again(body, Beginning("", "Well"))["grammar"].startswith('root ::= "\\U00000057')
