"""Bytes that a peer sends unasked are no answer to the next request, and the connection of a failed answer is not used again."""

from __future__ import annotations

import asyncio

import pytest

from oblix.models.connections import was_heard
from oblix.testing.faults import Fault, FaultServer

from .asking import Wire, ask, gather, lanes, model_of, run, spec_of
from .test_failures import closing, opening
from .upstream import Hold, Upstream

WIRES: tuple[Wire, ...] = ("openai", "claude", "ollama")
every_wire = pytest.mark.parametrize("wire", WIRES)


@every_wire
def test_a_second_answer_right_behind_the_first_is_not_the_next_ones(wire: Wire) -> None:
    """aiohttp 3.14.5 parses it on the idle connection, and gave it to whoever asked next."""

    async def main() -> None:
        async with FaultServer() as server, lanes() as transport:
            upstream = server.upstream("one", wire=wire)
            upstream.play("REQ-00001", Fault("answer_unasked", "at_end"))
            model = model_of(wire, spec_of(wire, upstream.url.removesuffix("/v1")), transport)
            for marker in ("REQ-00001", "REQ-00002", "REQ-00003"):
                assert (await gather(model, ask(f"Say {marker}."))).text == upstream.answer_for(marker)

    run(main())


@every_wire
def test_a_second_answer_on_an_idle_connection_closes_it(wire: Wire) -> None:
    async def main() -> None:
        whole = [*opening(wire), *closing(wire)]
        async with Upstream([*whole, Hold("idle"), *whole], whole) as upstream, lanes() as transport:
            model = model_of(wire, spec_of(wire, upstream.url), transport)
            first = await gather(model, ask())
            upstream.release("idle")
            await asyncio.wait_for(upstream.connections[0].left.wait(), 5)
            assert (await gather(model, ask())).text == first.text
            assert len(upstream.connections) == 2

    run(main())


@every_wire
def test_the_connection_of_an_answer_without_its_proof_is_not_used_again(wire: Wire) -> None:
    """More of it may come, and would be taken for the next one's."""

    async def main() -> None:
        async with FaultServer() as server, lanes() as transport:
            upstream = server.upstream("one", wire=wire)
            upstream.play("REQ-00001", Fault("length_too_short", "mid_stream"))
            model = model_of(wire, spec_of(wire, upstream.url.removesuffix("/v1")), transport)
            assert (await gather(model, ask("Say REQ-00001."))).failure is not None
            assert (await gather(model, ask("Say REQ-00002."))).text == upstream.answer_for("REQ-00002")
            assert len({request.connection for request in upstream.requests}) == 2

    run(main())


@every_wire
@pytest.mark.parametrize("kind", ["cut_in_status", "cut_in_headers"])
def test_a_request_whose_answer_had_begun_is_not_sent_again(wire: Wire, kind: str) -> None:
    async def main() -> None:
        async with FaultServer() as server, lanes() as transport:
            upstream = server.upstream("one", wire=wire)
            upstream.play("REQ-00002", Fault(kind, "before_headers"))
            model = model_of(wire, spec_of(wire, upstream.url.removesuffix("/v1")), transport)
            await gather(model, ask("Say REQ-00001."))
            assert (await gather(model, ask("Say REQ-00002."))).failure is not None
            assert [request.marker for request in upstream.requests].count("REQ-00002") == 1

    run(main())


def test_an_error_that_nobody_marked_was_not_heard() -> None:
    assert not was_heard(ConnectionResetError())
