"""What is fuzzed: each target takes bytes, and raises only where something is wrong.

The first byte of an input says how the rest is cut into pieces, so that every run also compares one way of cutting with none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from oblix.errors import AttemptFailed
from oblix.models import sse
from oblix.models.classify import classify
from oblix.models.embedded.pipe import FrameError, Piece, unpack_from_child, unpack_to_child
from oblix.models.embedded.wire import Reader
from oblix.models.lines import LineDecoder
from oblix.models.ndjson import NdjsonDecoder
from oblix.models.retry_after import LONGEST, retry_after
from oblix.models.sse import SseDecoder
from oblix.types.chunk import End
from oblix.types.secret import SecretStr

from . import seeds
from .driving import WIRES, Wire, read
from .shapes import Dice, bent

_BYTEWISE = 248  # a first byte from here on cuts the beginning of the input into single bytes
_BYTES = 24  # so many; more of them make a run slow, and the fuzzer likes such inputs best
_SPREAD = 37
CAP = 48  # bytes; so short that inputs of a few hundred bytes try it


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that reads foreign bytes, with inputs to begin from."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def cut(data: bytes) -> tuple[bytes, list[bytes]]:
    """The input without its first byte, and the same in pieces: 2 to 5, at places that follow from that byte, or single bytes."""
    if not data:
        return b"", []
    step, whole = data[0], data[1:]
    if step >= _BYTEWISE:
        return whole, [*(whole[at : at + 1] for at in range(min(len(whole), _BYTES))), whole[_BYTES:]]
    # Multiples of a number that is odd, and so prime to 256, reach every place.
    places = sorted((step * _SPREAD * (number + 1) >> 2) % (len(whole) + 1) for number in range(1 + step % 4))
    return whole, [whole[start:end] for start, end in pairwise((0, *places, len(whole)))]


def _lines(data: bytes) -> None:
    whole, pieces = cut(data)
    once, parts = LineDecoder(), LineDecoder()
    expected = once.feed(whole)
    found = [line for piece in pieces for line in parts.feed(piece)]
    assert (found, parts.rest) == (expected, once.rest)
    assert not any(b"\n" in line or b"\r" in line for line in (*found, parts.rest))


def _lines_cap(data: bytes) -> None:
    """No line above the cap comes out, and never more than the cap is held, but for the piece in hand."""
    whole, pieces = cut(data)
    decoder = LineDecoder(CAP)
    try:
        for piece in pieces:
            assert all(len(line) <= CAP for line in decoder.feed(piece))
            assert len(decoder.rest) <= CAP
    except AttemptFailed:
        assert any(len(line) > CAP for line in whole.replace(b"\r", b"\n").split(b"\n"))


def _sse(data: bytes) -> None:
    whole, pieces = cut(data)
    once, parts = SseDecoder(), SseDecoder()
    assert [event for piece in pieces for event in parts.feed(piece)] == once.feed(whole)


def _sse_cap(data: bytes) -> None:
    """No event above the cap comes out, however many lines it has."""
    _, pieces = cut(data)
    before, sse.MAX_EVENT = sse.MAX_EVENT, CAP
    try:
        decoder = SseDecoder()
        for piece in pieces:
            assert all(len(event.data) <= CAP for event in decoder.feed(piece))
    except AttemptFailed:
        assert len(data) > CAP
    finally:
        sse.MAX_EVENT = before


def _ndjson(data: bytes) -> None:
    whole, pieces = cut(data)
    once, parts = NdjsonDecoder(), NdjsonDecoder()
    expected = once.feed(whole)
    assert [line for piece in pieces for line in parts.feed(piece)] == expected
    assert parts.rest == once.rest


def _reader(wire: Wire) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        _read_both(wire, *cut(data))

    return run


def _read_both(wire: Wire, whole: bytes, pieces: list[bytes]) -> None:
    """However it is cut, it reads the same; and it is a success with the proof of completion, once and last, or a failure without."""
    found = read(wire, pieces)
    assert found.outcome == read(wire, [whole]).outcome
    proofs = [isinstance(chunk, End) for chunk in found.others]
    assert (sum(proofs), proofs[-1:]) == (1, [True]) if found.failure is None else not any(proofs)


def _shaped(wire: Wire) -> Callable[[bytes], None]:
    """Answers that are JSON, with something wrong in them."""

    def run(data: bytes) -> None:
        step, dice = data[:1], Dice(data[1:])
        _read_both(wire, *cut(step + seeds.wired(wire, bent(dice, seeds.EVENTS[wire])) if step else b""))

    return run


def _buffered(data: bytes) -> None:
    """An answer in one piece, from a server that does not stream."""
    read("openai", [data], content_type="application/json")


def _classify(data: bytes) -> None:
    """Status, a header's value and the body all come from the input."""
    status = 200 + (data[0] if data else 0) * 2
    value, _, body = data[1:].partition(b"\n")
    headers = {name: value.decode("latin-1") for name in ("retry-after", "retry-after-ms")}
    error = classify(status, body, headers=headers, model_id="fuzzed", secret=SecretStr("sk-secret"))
    assert error.retry_after is None or error.retry_after >= 0
    assert "sk-secret" not in str(error)


def _retry_after(data: bytes) -> None:
    """Lines of the input are headers that providers have; the last one is the answer's text."""
    values = [line.decode("latin-1") for line in data[1:].split(b"\n")]
    headers = dict(zip(seeds.WAIT_HEADERS, values[:-1], strict=False))
    now = float("nan") if data[:1] == b"\x00" else 1.79e9
    seconds = retry_after(headers, values[-1], now)
    assert seconds is None or 0 <= seconds <= LONGEST
    assert seconds == retry_after(
        {name.title(): f" {value} " for name, value in headers.items()}, values[-1].upper(), now
    )


def _from_child(data: bytes) -> None:
    """The frames of the embedded engine, and what its chunks say."""
    try:
        frame = unpack_from_child(data)
    except FrameError:
        return
    if isinstance(frame, Piece):
        _engine_chunks([frame.chunk, frame.chunk])


def _engine_shaped(data: bytes) -> None:
    """The engine's chunks are no JSON: their numbers may be infinite. Each is an object; the frame's own decoder sees to that."""
    chunks = bent(Dice(data), seeds.ENGINE, (float("inf"), float("nan")))
    _engine_chunks([chunk for chunk in chunks if isinstance(chunk, dict)])


def _engine_chunks(chunks: Sequence[dict[str, Any]]) -> None:
    for forced in (False, True):
        reader = Reader(forced, "call")
        try:
            for chunk in chunks:
                list(reader.read(chunk))
            reader.end()
        except AttemptFailed:
            pass


def _to_child(data: bytes) -> None:
    """The parent's frames; the child ends on one that it cannot read, so that only a crash of the decoder would be news."""
    with suppress(ValueError, RecursionError):
        unpack_to_child(data)


_DICE = (b"\x00", bytes(range(40)), bytes(range(255, 200, -1)))
TARGETS: dict[str, Target] = {
    "lines": Target(_lines, seeds.SSE),
    "lines_cap": Target(_lines_cap, seeds.SSE),
    "sse": Target(_sse, seeds.SSE),
    "sse_cap": Target(_sse_cap, seeds.SSE),
    "ndjson": Target(_ndjson, seeds.NDJSON),
    **{wire: Target(_reader(wire), seeds.answers(wire)) for wire in WIRES},
    **{f"{wire}_shaped": Target(_shaped(wire), _DICE) for wire in WIRES},
    "openai_buffered": Target(_buffered, (b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}',)),
    "classify": Target(_classify, seeds.BODIES),
    "retry_after": Target(_retry_after, seeds.WAITS),
    "engine_shaped": Target(_engine_shaped, _DICE),
    "from_child": Target(_from_child, seeds.FROM_CHILD),
    "to_child": Target(_to_child, seeds.TO_CHILD),
}
