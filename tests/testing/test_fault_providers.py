"""Our own providers against the fault server: whole answers where the upstream is healthy, and where it is odd but right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from oblix.errors import AttemptFailed
from oblix.models.base import Call, Model
from oblix.models.claude import ClaudeModel
from oblix.models.ollama import OllamaModel
from oblix.models.openai import OpenAIModel
from oblix.models.transport import Transport
from oblix.testing.faults import KINDS, MOMENTS, Fault, FaultServer, Tempo, Upstream, Wire, impossible
from oblix.types.chunk import Delta, End
from oblix.types.messages import Message
from oblix.types.request import Request
from oblix.types.secret import SecretStr
from oblix.types.spec import ModelSpec

from .fault_client import MARKER, WIRES, run

MAKE: dict[Wire, Callable[..., Model]] = {"openai": OpenAIModel, "claude": ClaudeModel, "ollama": OllamaModel}
TEMPO = Tempo(pause=0.01, settle=0.001)


class Phases:
    """A watch that does not mind."""

    def reached(self, phase: str) -> None:
        """Nothing to do: no clock runs here."""


async def hear(model: Model, marker: str) -> tuple[str, End]:
    """The text and the proof of one attempt."""
    text: list[str] = []
    async for piece in model.stream(Request("r1", (Message("user", f"About {marker}."),)), Call(Phases(), 5.0)):
        if isinstance(piece, Delta):
            text.append(piece.text)
        elif isinstance(piece, End):
            return "".join(text), piece
    raise AssertionError("neither proof nor failure")


def with_model(wire: Wire, ask: Callable[[Upstream, Model], Awaitable[None]]) -> None:
    """Run `ask` with an upstream and the provider that speaks its protocol."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(FaultServer(TEMPO))
            up = server.upstream("tried", wire=wire)
            transport = Transport()
            stack.push_async_callback(transport.close)
            await ask(
                up,
                MAKE[wire](
                    ModelSpec(f"{wire}:tried", wire, "tried", "edge", endpoint=up.url), transport, key=SecretStr("sk-1")
                ),
            )

    run(main())


@pytest.mark.parametrize("wire", WIRES)
def test_a_healthy_upstream_is_heard_to_the_last_letter(wire: Wire) -> None:
    async def ask(up: Upstream, model: Model) -> None:
        for number in range(20):
            marker = f"REQ-{number:05d}"
            text, end = await hear(model, marker)
            assert text == up.answer_for(marker)
            assert (end.finish_reason, end.usage.output_tokens) == ("stop", up.bill[-1].output_tokens)
            assert end.usage.input_tokens == up.bill[-1].input_tokens
        assert up.connections == 1

    with_model(wire, ask)


HARMLESS = [
    (kind.name, moment, wire)
    for kind in KINDS.values()
    if kind.harmless
    for moment in MOMENTS
    for wire in WIRES
    if impossible(kind.name, moment, wire) is None
]


@pytest.mark.parametrize(("kind", "moment", "wire"), HARMLESS, ids=[" ".join(row) for row in HARMLESS])
def test_a_harmless_kind_is_answered_well(kind: str, moment: str, wire: Wire) -> None:
    async def ask(up: Upstream, model: Model) -> None:
        up.play(MARKER, Fault(kind, moment))  # type: ignore[arg-type]
        text, _ = await hear(model, MARKER)
        assert text == up.answer_for(MARKER)

    with_model(wire, ask)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("kind", ["reset", "clean_end", "open_end_cut", "half_json", "error_then_done"])
def test_half_an_answer_is_none(wire: Wire, kind: str) -> None:
    async def ask(up: Upstream, model: Model) -> None:
        up.play(MARKER, fault := Fault(kind, "mid_stream"))
        with pytest.raises(AttemptFailed) as caught:
            await hear(model, MARKER)
        assert caught.value.kind in KINDS[kind].expects(fault.moment, wire)

    with_model(wire, ask)


@pytest.mark.parametrize("wire", WIRES)
def test_a_peer_that_leaves_ends_the_fault(wire: Wire) -> None:
    async def ask(up: Upstream, model: Model) -> None:
        up.play(MARKER, Fault("comments_for_ever", "mid_stream"))
        asking = asyncio.create_task(hear(model, MARKER))
        while not up.sent_text(MARKER):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        while up.open_connections:
            await asyncio.sleep(0)

    with_model(wire, ask)
