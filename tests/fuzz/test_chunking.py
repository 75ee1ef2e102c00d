"""How an answer is cut on its way means nothing, and whatever comes, a reader answers or fails as it promised."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.embedded.pipe import FrameError, unpack_from_child
from oblix.models.embedded.wire import Reader
from oblix.models.lines import LineDecoder
from oblix.types.chunk import End

from . import seeds
from .driving import WIRES, Wire, read
from .shapes import Dice, bent
from .targets import TARGETS, cut

K = FailureKind
wires = pytest.mark.parametrize("wire", WIRES)


@st.composite
def bent_answers(draw: st.DrawFn, wire: Wire) -> bytes:
    """An answer of the protocol, with a few things wrong in it; sometimes with other line endings, or cut off."""
    events = bent(Dice(draw(st.binary(max_size=60))), seeds.EVENTS[wire])
    body = seeds.wired(wire, [*events, *draw(st.lists(st.sampled_from(seeds.EVENTS[wire]), max_size=2))])
    body = body.replace(b"\n", draw(st.sampled_from([b"\n", b"\r\n", b"\r"])))
    return body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body


@st.composite
def cuts(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> list[bytes]:
    """An answer in pieces, cut anywhere."""
    data = draw(whole)
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in itertools.pairwise((0, *places, len(data)))]


@wires
@given(data=st.data())
def test_any_chunking_reads_the_same_answer(wire: Wire, data: st.DataObject) -> None:
    """Text, proof and failure depend on the bytes alone."""
    pieces = data.draw(cuts(bent_answers(wire)))
    whole = b"".join(pieces)
    expected = read(wire, [whole]).outcome
    assert read(wire, pieces).outcome == expected
    assert read(wire, [bytes([byte]) for byte in whole]).outcome == expected


@wires
@given(
    body=st.binary(max_size=400),
    status=st.integers(200, 599),
    kind=st.sampled_from(["", "application/json", "text/html"]),
)
def test_bytes_of_any_kind_end_in_the_promised_failure(wire: Wire, body: bytes, status: int, kind: str) -> None:
    """`read` lets nothing pass but `AttemptFailed`; noise is no answer."""
    found = read(
        wire, [body], status=status, content_type=kind or None, headers={"retry-after": body[:20].decode("latin-1")}
    )
    assert found.failure is not None


@wires
@given(data=st.data())
def test_an_answer_without_its_last_event_is_never_taken_for_whole(wire: Wire, data: st.DataObject) -> None:
    """The proof of completion cannot be had by cutting: no proper beginning of an answer has an `End`."""
    events = {
        "openai": [seeds.EVENTS["openai"][0], {"choices": [{"delta": {}, "finish_reason": "stop"}]}],
        "claude": [event for event in seeds.EVENTS["claude"] if event["type"] != "error"],
        "ollama": [seeds.EVENTS["ollama"][0], seeds.EVENTS["ollama"][2]],
    }[wire]
    whole = seeds.wired(wire, events).removesuffix(b"\n")
    end = whole.rindex(b"[DONE]" if wire == "openai" else b"message_stop" if wire == "claude" else b"}")
    assert isinstance(read(wire, [whole + b"\n"]).others[-1], End)
    found = read(wire, [whole[: data.draw(st.integers(0, end))]])
    assert not any(isinstance(chunk, End) for chunk in found.others)
    assert found.failure is not None
    assert found.failure.kind in (K.TRUNCATED, K.PROTOCOL)


@wires
@pytest.mark.parametrize("depth", [500, 100_000])
def test_json_without_bottom_is_a_failure_and_no_crash(wire: Wire, depth: int) -> None:
    """`[[[[…`, in a field that is read and in one that is not."""
    for deep in ("[" * depth, '{"x":' * depth):
        for before in ("", '{"type":"ping","unknown":', '{"error":'):
            line = (before + deep).encode()
            found = read(wire, [line + b"\n" if wire == "ollama" else b"data: " + line + b"\n\n"])
            assert found.failure is not None
            assert found.failure.kind in (K.PROTOCOL, K.SERVER_ERROR)


@wires
def test_numbers_that_no_field_can_hold_are_failures(wire: Wire) -> None:
    """Five thousand digits: Python itself refuses to read them as text."""
    for number in ("1" * 5000, "1e999", "-0.0"):
        names: dict[Wire, str] = {"openai": '"choices":[],"usage":{"prompt_tokens":N}', "claude": '"type":"ping","index":N',
                 "ollama": '"eval_count":N'}  # fmt: skip
        line = b"{" + names[wire].replace("N", number).encode() + b"}"
        assert read(wire, [line + b"\n" if wire == "ollama" else b"data: " + line + b"\n\n"]).failure is not None


@wires
def test_text_in_any_script_survives_every_cut(wire: Wire) -> None:
    """Each place to cut is tried once, also within a character."""
    said = "é€😀\u2028\u0000"
    event: dict[Wire, dict[str, Any]] = {
        "openai": {"choices": [{"delta": {"content": said}}]},
        "claude": {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": said}},
        "ollama": {"message": {"content": said}},
    }
    for ascii_only in (True, False):
        line = json.dumps(event[wire], ensure_ascii=ascii_only).encode()
        whole = line + b"\n" if wire == "ollama" else b"data: " + line + b"\n\n"
        for place in range(len(whole)):
            assert read(wire, [whole[:place], whole[place:]]).text == said


@given(st.binary(max_size=80), st.integers(1, 12))
def test_a_line_decoder_never_holds_more_than_its_cap(data: bytes, cap: int) -> None:
    """What it holds between two pieces is what came after the last line ending, up to the cap."""
    decoder = LineDecoder(cap)
    with suppress(AttemptFailed):
        for byte in data:
            assert all(len(line) <= cap for line in decoder.feed(bytes([byte])))
            assert len(decoder.rest) <= cap


@given(st.binary(min_size=1, max_size=60))
def test_cutting_loses_nothing(data: bytes) -> None:
    """The fuzzer's own scissors."""
    whole, pieces = cut(data)
    assert b"".join(pieces) == whole


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_seed_of_the_fuzzer_passes(target: Any) -> None:
    for seed in target.seeds:
        for end in (len(seed), len(seed) // 2, 0):
            target.run(seed[:end])


# --- what was found; each failed before it was mended ---


def test_a_tool_call_at_an_infinite_index_is_a_failure() -> None:
    """The engine's chunks are no JSON, so that a number in them may be infinite."""
    chunk = {"choices": [{"delta": {"tool_calls": [{"index": float("inf"), "function": {"name": "f"}}]}}]}
    with pytest.raises(AttemptFailed) as failed:
        list(Reader(forced=False, call_id="call").read(chunk))
    assert failed.value.kind is K.PROTOCOL


def test_a_frame_without_bottom_is_no_frame() -> None:
    """A list in a list in a list …: the reader of the pipe knows `FrameError`, and would die of another."""
    deep = b"\x83\xa4type\xa5Piece\xa2id\x01\xa5chunk\x81\xa1x" + b"\x91" * 100_000
    with pytest.raises(FrameError):
        unpack_from_child(deep)


@pytest.mark.parametrize("name", ["lines", "sse", "ndjson", "openai", "claude", "ollama"])
def test_a_target_notices_a_decoder_that_depends_on_the_cuts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzzer can object: a decoder that forgets the beginning of a line is found with the seeds alone."""
    feed: Callable[[LineDecoder, bytes], list[bytes]] = LineDecoder.feed

    def forgetful(self: LineDecoder, chunk: bytes) -> list[bytes]:
        self._parts, self._size = [], 0
        return feed(self, chunk)

    monkeypatch.setattr(LineDecoder, "feed", forgetful)
    with pytest.raises(AssertionError):  # noqa: PT012  any of them may be the first to show it
        for seed in TARGETS[name].seeds:
            for step in range(256):
                TARGETS[name].run(bytes([step]) + seed[1:])
