"""The scripted model keeps the contract of a model, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Call, Model
from oblix.testing import Block, Cut, Enter, Fail, ScriptedModel, Wait, run
from oblix.types.chunk import Chunk, Delta, End, Progress, Usage
from oblix.types.messages import Message
from oblix.types.request import Request
from oblix.types.spec import Price

ASKED = Request("r1", (Message("user", "What is it?"),))


class Phases:
    """A watch that remembers."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def reached(self, phase: str) -> None:
        self.seen.append(phase)


async def listen(model: ScriptedModel, watch: Phases | None = None) -> list[tuple[float, Chunk]]:
    loop = asyncio.get_running_loop()
    return [(loop.time(), chunk) async for chunk in model.stream(ASKED, Call(watch or Phases()))]


def test_it_speaks_its_script_on_the_loops_clock() -> None:
    watch = Phases()
    model = ScriptedModel("ollama:phi", [Enter("load"), Wait(2.0), Progress(), "Par", Wait(0.5), "is"])
    assert run(listen(model, watch)) == [
        (2.0, Progress()),
        (2.0, Delta("Par")),
        (2.5, Delta("is")),
        (2.5, End("stop", Usage(3, 2))),
    ]
    assert watch.seen == ["load"]
    assert model.requests == [ASKED]
    assert (model.open, model.left) == (0, 0)


def test_each_request_has_its_script_and_the_last_one_stays() -> None:
    async def main() -> list[str]:
        model = ScriptedModel("ollama:phi", "one", ["two"], "three")
        told = []
        for _ in range(4):
            told.append("".join(chunk.text for _, chunk in await listen(model) if isinstance(chunk, Delta)))
            await asyncio.sleep(1)
        assert model.asked_at == [0.0, 1.0, 2.0, 3.0]
        return told

    assert run(main()) == ["one", "two", "three", "three"]


def test_its_own_end_is_used_when_it_has_one() -> None:
    end = End("length", Usage(7, None))
    assert run(listen(ScriptedModel("ollama:phi", ["x", end, "never said"])))[1:] == [(0.0, end)]


def test_it_fails_in_the_named_way() -> None:
    model = ScriptedModel("openai:gpt", [Fail("rate_limited", "slow down", hint="wait", retry_after=3.0)])
    with pytest.raises(AttemptFailed, match="openai:gpt: slow down") as failed:
        run(listen(model))
    assert failed.value.kind is FailureKind.RATE_LIMITED
    assert (failed.value.hint, failed.value.retry_after) == ("wait", 3.0)
    with pytest.raises(ZeroDivisionError):
        run(listen(ScriptedModel("openai:gpt", [ZeroDivisionError("slip")])))
    assert model.left == 0


def test_cut_ends_without_the_proof() -> None:
    assert run(listen(ScriptedModel("openai:gpt", ["half", Cut()]))) == [(0.0, Delta("half"))]


def test_block_waits_until_the_caller_leaves() -> None:
    async def main() -> tuple[int, int]:
        model = ScriptedModel("openai:gpt", ["half", Block()])
        task = asyncio.create_task(listen(model))
        await asyncio.sleep(9.0)
        assert model.open == 1
        task.cancel()
        await asyncio.wait([task])
        return model.open, model.left

    assert run(main()) == (0, 1)


def test_leaving_between_two_pieces_is_noticed() -> None:
    async def main() -> int:
        model = ScriptedModel("openai:gpt", ["a", "b"])
        async with aclosing(model.stream(ASKED, Call(Phases()))) as chunks:
            await anext(chunks)
        return model.left

    assert run(main()) == 1


def test_functions_of_a_script_are_called_with_the_request() -> None:
    seen: list[object] = []

    async def later(request: Request) -> None:
        await asyncio.sleep(1)
        seen.append(request.id)

    run(listen(ScriptedModel("openai:gpt", [seen.append, later, "x"])))
    assert seen == [ASKED, "r1"]


def test_its_spec_follows_the_registry_unless_told_otherwise() -> None:
    assert ScriptedModel("openai:gpt").spec.place == "cloud"
    assert ScriptedModel("ollama:phi").spec.place == "edge"
    assert ScriptedModel("mine:own").spec.place == "edge"
    known = ScriptedModel("mine:own", place="cloud", price=Price(1.0, 2.0, "caller"), tier=3).spec
    assert (known.place, known.tier, known.price) == ("cloud", 3, Price(1.0, 2.0, "caller"))
    model: Model = ScriptedModel("mine:own")
    assert model.state().loaded


def test_closing_is_remembered() -> None:
    model = ScriptedModel("mine:own")
    run(model.close())
    assert model.is_closed
