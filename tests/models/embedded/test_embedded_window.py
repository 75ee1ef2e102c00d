"""The window: what does not fit is refused with both numbers, what runs into its end says so, and nothing is cut in silence."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from oblix.errors import AttemptFailed, FailureKind

if TYPE_CHECKING:
    from oblix.models.embedded import EmbeddedModel
    from oblix.types.request import Request

    from .conftest import Bench, Told

pytestmark = pytest.mark.engine
WINDOW = 256  # tokens


async def prompt_of(bench: Bench, model: EmbeddedModel, tokens: int) -> Request:
    """A request whose prompt has exactly so many tokens; each further word is one."""
    words = tokens - await model.count_tokens(bench.request(""))
    for _ in range(3):
        request = bench.request("word" + " word" * (words - 1), max_tokens=None, provider_options={"ignore_eos": True})
        if (missing := tokens - await model.count_tokens(request)) == 0:
            return request
        words += missing
    raise AssertionError(missing)


@pytest.mark.parametrize("tokens", [WINDOW, round(1.01 * WINDOW), 10 * WINDOW], ids=["1x", "1.01x", "10x"])
def test_a_prompt_that_fills_the_window_or_more_is_refused_with_both_numbers(bench: Bench, tokens: int) -> None:
    async def run() -> AttemptFailed:
        async with bench.open(window=WINDOW) as model:
            await model.load(bench.request())
            assert model.state().window == WINDOW
            return await bench.failure(model, await prompt_of(bench, model, tokens))

    failed = asyncio.run(run())
    assert failed.kind is FailureKind.CONTEXT_OVERFLOW
    assert (failed.tokens, failed.window) == (tokens, WINDOW)
    assert str(tokens) in failed.message


def test_a_prompt_that_leaves_room_for_one_token_gets_one_token(bench: Bench) -> None:
    async def run() -> Told:
        async with bench.open(window=WINDOW) as model:
            return await bench.answer(model, await prompt_of(bench, model, WINDOW - 1))

    told = asyncio.run(run())
    assert told.end.finish_reason == "length"
    assert told.end.usage.input_tokens == WINDOW - 1
    assert told.end.usage.output_tokens == 1


def test_an_answer_that_runs_into_the_end_of_the_window_ends_there_and_says_so(bench: Bench) -> None:
    async def run() -> Told:
        async with bench.open(window=WINDOW) as model:
            return await bench.answer(model, bench.endless(10 * WINDOW))

    told = asyncio.run(run())
    assert told.end.finish_reason == "length"
    used = told.end.usage
    assert (used.input_tokens or 0) + (used.output_tokens or 0) in (WINDOW, WINDOW + 1)  # the last one need not be read
