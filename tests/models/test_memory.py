"""Does a model fit? Bytes by the published shapes of real models, and promises for any machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.decision.facts import Fit
from oblix.models.memory import GPU_CONTEXT, PROCESS, Need, Room, Shape, fit, need, shape_of

GIB, MIB = 1 << 30, 1 << 20
ORDER: list[Fit | None] = ["no", "tight", "fits"]


def head(architecture: str = "llama", layers: int = 32, embedding: int = 4096, **attention: Any) -> dict[str, Any]:
    """Keys as a GGUF head has them; those of the attention without their prefix."""
    vocabulary = attention.pop("vocabulary", 128_256)
    return {
        "general.architecture": architecture,
        f"{architecture}.block_count": layers,
        f"{architecture}.embedding_length": embedding,
        f"{architecture}.vocab_size": vocabulary,
        **{f"{architecture}.attention.{key}": value for key, value in attention.items()},
    }


def shape(**keys: Any) -> Shape:
    found = shape_of(head(**keys))
    assert found is not None
    return found


LLAMA_2 = shape(head_count=32, vocabulary=32_000)  # 7B: each head keeps its own
LLAMA_3 = shape(head_count=32, head_count_kv=8)  # 8B: four heads share
SMOL = shape(layers=30, embedding=576, head_count=9, head_count_kv=3, vocabulary=49_152)  # 135M
GEMMA_2 = shape(architecture="gemma2", layers=42, embedding=3584, head_count=16, head_count_kv=8,
                key_length=256, value_length=256, sliding_window=4096)  # fmt: skip
GEMMA_3 = shape(architecture="gemma3", layers=48, embedding=3840, head_count=16, head_count_kv=8,
                key_length=256, value_length=256, sliding_window=1024)  # fmt: skip


@pytest.mark.parametrize(
    ("known", "window", "cache"),
    [
        (LLAMA_2, 4096, 2048 * MIB),  # as llama.cpp itself tells of it
        (LLAMA_3, 8192, 1024 * MIB),
        (LLAMA_3, 131_072, 16 * GIB),
        (SMOL, 8192, 180 * MIB),
        (SMOL, 8000, 180 * MIB),  # whole blocks of 256 tokens
        (GEMMA_2, 8192, 21 * 8192 * 8192 + 21 * 8192 * 4608),  # every second layer slides
        (GEMMA_2, 2048, 42 * 8192 * 2048),  # a window that nobody slides in
        (GEMMA_3, 32_768, 8 * 8192 * 32_768 + 40 * 8192 * 1536),  # five of six slide
    ],
    ids=["llama2", "llama3", "llama3, its whole window", "smollm2", "rounded", "gemma2", "gemma2, short", "gemma3"],
)
def test_the_cache_of_known_models(known: Shape, window: int, cache: int) -> None:
    assert need(0, known, window=window).cache == cache


def test_each_request_at_once_has_a_window_of_its_own() -> None:
    one, four = (need(0, GEMMA_3, window=8192, slots=slots) for slots in (1, 4))
    assert four.cache == 4 * one.cache
    assert four.buffers == one.buffers


def test_what_comes_out_of_the_last_layer_is_most_of_what_computing_needs() -> None:
    """llama.cpp reserves 258.5 MiB for Llama 3 8B at a batch of 512."""
    buffers = need(0, LLAMA_3, window=8192).buffers - PROCESS
    assert buffers == pytest.approx(258.5 * MIB, rel=0.01)
    assert need(0, LLAMA_3, window=8192, batch=64).buffers - PROCESS == buffers / 8


def test_layers_may_differ_and_some_keep_nothing() -> None:
    """As in models that mix attention with other layers: a list with a figure for each."""
    each = shape(layers=4, embedding=1024, head_count=[8, 8, 8, 8], head_count_kv=[0, 2, 0, 4])
    assert each.whole == 2 * 2 * 128 * (2 + 4)
    slides = shape(layers=4, embedding=1024, head_count=8, head_count_kv=2, sliding_window=512,
                   sliding_window_pattern=[True, True, True, False])  # fmt: skip
    assert (slides.whole, slides.sliding, slides.reach) == (2 * 2 * 128 * 2, 3 * 2 * 2 * 128 * 2, 512)


def test_layers_that_slide_may_have_shorter_heads_and_the_last_ones_no_cache_of_their_own() -> None:
    """As in Gemma 4."""
    mixed = shape(architecture="gemma4", layers=6, embedding=2048, head_count=8, head_count_kv=[2, 2, 1, 2, 2, 1],
                  key_length=512, value_length=512, key_length_swa=256, value_length_swa=256, sliding_window=512,
                  sliding_window_pattern=[True, True, False, True, True, False], shared_kv_layers=2)  # fmt: skip
    assert (mixed.whole, mixed.sliding) == (2 * (512 + 512) * 1, 2 * (256 + 256) * (2 + 2 + 2))


def test_a_sliding_window_that_nobody_says_who_has_is_taken_for_none() -> None:
    """Rather too much than too little."""
    known = {"layers": 4, "embedding": 1024, "head_count": 8}
    assert shape(architecture="phi3", **known, sliding_window=512) == shape(architecture="phi3", **known)


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers": None},
        {"layers": 0},
        {"layers": 1 << 40},
        {"layers": True},
        {"embedding": -1},
        {"embedding": "4096"},
        {"head_count": None},
        {"head_count_kv": None},  # a list that Ollama leaves out when it is not asked for all
        {"head_count_kv": [8] * 31},
        {"head_count_kv": [8] * 31 + ["8"]},
        {"key_length": 1 << 40},
    ],
    ids=str,
)
def test_what_a_head_does_not_tell_is_not_known(wrong: dict[str, Any]) -> None:
    assert shape_of(head(**{"head_count": 32, "head_count_kv": 8, **wrong})) is None


_values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=4)
)
_keys = ["head_count", "head_count_kv", "key_length", "value_length", "key_length_swa", "shared_kv_layers", "sliding_window",
         "sliding_window_pattern"]  # fmt: skip


@given(_values, _values, st.dictionaries(st.sampled_from([*_keys, "vocabulary"]), _values))
def test_no_head_makes_it_stumble(layers: Any, embedding: Any, attention: dict[str, Any]) -> None:
    found = shape_of(head(layers=layers, embedding=embedding, **attention))
    assert found is None or need(1, found).total > 0
    assert shape_of(attention) is None


# --- does it fit ---

LLAMA = need(4_920_000_000, LLAMA_3)  # 4.92 GB of weights, 0.54 of cache, 0.3 of buffers


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (Room(16 * GIB), "fits"),
        (Room(round(LLAMA.total / 0.9) + 1), "fits"),
        (Room(round(LLAMA.total / 0.9) - 9), "tight"),
        (Room(LLAMA.weights + LLAMA.cache), "tight"),
        (Room(LLAMA.weights + LLAMA.cache - 1), "no"),
        (Room(0), "no"),
        (Room(None), None),
        (Room(2 * GIB, 8 * GIB), "fits"),
        (Room(2 * GIB, 3 * GIB), "no"),
        (Room(0, LLAMA.weights + LLAMA.cache + GPU_CONTEXT), "tight"),
        (Room(None, 16 * GIB), "fits"),
        (Room(None, 4 * GIB), None),
        (Room(16 * GIB, 0), "fits"),
        (Room(2 * GIB).plus(14 * GIB), "fits"),
        (Room(2 * GIB, 1 * GIB).plus(vram=14 * GIB), "fits"),
        (Room(None).plus(14 * GIB, 14 * GIB), None),
    ],
)
def test_whether_a_model_fits(room: Room, expected: Fit | None) -> None:
    assert fit(LLAMA, room) == expected


def test_what_is_loaded_has_found_its_room() -> None:
    assert fit(LLAMA, Room(0), loaded=True) == "fits"
    assert fit(LLAMA, Room(None), loaded=True) == "fits"


def test_without_a_shape_a_quarter_more_than_the_weights_is_reckoned_with() -> None:
    """And that it does not fit is said only where the weights alone are too much."""
    unknown = need(4 * GIB)
    assert unknown == Need(4 * GIB, 0, PROCESS + GIB)
    assert fit(unknown, Room(4 * GIB - 1)) == "no"
    assert fit(unknown, Room(5 * GIB)) == "tight"
    assert fit(unknown, Room(6 * GIB)) == "fits"


_bytes = st.integers(0, 64 * GIB)
_rooms = st.builds(Room, st.none() | _bytes, st.none() | _bytes)
_needs = st.builds(Need, _bytes, _bytes, _bytes)


@given(_needs, _rooms, _bytes, _bytes)
def test_more_free_memory_never_makes_it_fit_worse(needed: Need, room: Room, ram: int, vram: int) -> None:
    """Nor what becomes known of it, unless it becomes known that there is too little."""
    before, after = fit(needed, room), fit(needed, room.plus(ram, vram))
    if before is None:
        assert after in (None, "fits")
    else:
        assert ORDER.index(after) >= ORDER.index(before)


@given(_needs, _rooms, st.sampled_from(["weights", "cache", "buffers"]), _bytes)
def test_a_larger_model_never_fits_better(needed: Need, room: Room, part: str, more: int) -> None:
    larger = replace(needed, **{part: getattr(needed, part) + more})
    before, after = fit(needed, room), fit(larger, room)
    if after is None or before is None:
        assert before in (None, "fits")
    else:
        assert ORDER.index(after) <= ORDER.index(before)


@given(
    st.sampled_from([LLAMA_2, GEMMA_2, GEMMA_3, SMOL]),
    st.integers(1, 200_000),
    st.integers(1, 8),
    st.integers(1, 100_000),
)
def test_a_longer_window_or_more_at_once_never_takes_less(known: Shape, window: int, slots: int, more: int) -> None:
    usual = need(1, known, window=window, slots=slots).total
    assert need(1, known, window=window + more, slots=slots).total >= usual
    assert need(1, known, window=window, slots=slots + 1).total > usual
