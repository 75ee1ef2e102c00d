"""The head of a GGUF file: read right, and never trusted."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.embedded import weights as shop
from oblix.models.embedded.gguf import CorruptFile, read_head
from oblix.models.memory import Shape, need


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


HEAD = (
    b"GGUF"
    + struct.pack("<IQQ", 3, 0, 3)
    + text(b"general.architecture")
    + struct.pack("<I", 8)
    + text(b"llama")
    + text(b"general.name")
    + struct.pack("<I", 8)
    + text(b"tiny")
    + text(b"llama.context_length")
    + struct.pack("<II", 4, 2048)
)


def test_a_true_head_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(HEAD)
    head = read_head(path)
    assert (head.version, head.architecture, head.title, head.window) == (3, "llama", "tiny", 2048)


def entry(key: str, value: str | int | list[int]) -> bytes:
    """A key with a text, a number, or a list of numbers."""
    name = text(key.encode())
    if isinstance(value, str):
        return name + struct.pack("<I", 8) + text(value.encode())
    if isinstance(value, int):
        return name + struct.pack("<II", 4, value)
    return name + struct.pack("<IIQ", 9, 4, len(value)) + struct.pack(f"<{len(value)}I", *value)


def file_of(tmp_path: Path, *entries: bytes, claimed: int | None = None) -> Path:
    """A file with these entries in its head."""
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, claimed or len(entries)) + b"".join(entries))
    return path


PLAIN = (
    entry("general.architecture", "llama"),
    entry("general.name", "tiny"),
    entry("llama.attention.head_count", 4),
    entry("llama.attention.head_count_kv", 2),
    entry("llama.block_count", 3),
    entry("llama.context_length", 2048),
    entry("llama.embedding_length", 256),
)
WORDS = struct.pack("<IIQ", 9, 8, 3) + text(b"a") + text(b"b") + text(b"c")


def test_the_shape_that_memory_depends_on_is_read(tmp_path: Path) -> None:
    head = read_head(file_of(tmp_path, *PLAIN, entry("llama.vocab_size", 320)))
    assert head.shape == Shape(3 * 2 * 2 * 64 * 2, embedding=256, vocabulary=320)


def test_figures_that_differ_by_layer_are_read(tmp_path: Path) -> None:
    """As in models that mix attention with other layers."""
    head = read_head(file_of(tmp_path, *PLAIN[:3], entry("llama.attention.head_count_kv", [0, 1, 2]), *PLAIN[4:]))
    assert head.shape == Shape((0 + 1 + 2) * 2 * 64 * 2, embedding=256)


def test_reading_stops_before_the_vocabulary_and_takes_its_size(tmp_path: Path) -> None:
    """Hundreds of thousands of words follow; nobody needs them, and here the file ends in their middle."""
    words = text(b"tokenizer.ggml.tokens") + WORDS[:-5]
    head = read_head(file_of(tmp_path, *PLAIN, entry("tokenizer.ggml.model", "gpt2"), words, claimed=99))
    assert head.shape is not None
    assert head.shape.vocabulary == 3


def test_keys_in_the_order_of_the_alphabet(tmp_path: Path) -> None:
    """As Ollama writes them: merges stand before the tokens, whose number is not worth reading half a million texts."""
    merges = text(b"tokenizer.ggml.merges") + WORDS
    head = read_head(file_of(tmp_path, *PLAIN, entry("tokenizer.chat_template", "x"), merges, claimed=99))
    assert (head.title, head.window) == ("tiny", 2048)
    assert head.shape == Shape(3 * 2 * 2 * 64 * 2, embedding=256)


def test_what_stands_behind_the_vocabulary_is_found_where_it_is_missing_before(tmp_path: Path) -> None:
    words = text(b"tokenizer.ggml.tokens") + WORDS
    head = read_head(file_of(tmp_path, *PLAIN[:4], words, *PLAIN[4:]))
    assert head.window == 2048
    assert head.shape is not None


def test_a_list_that_is_too_long_for_layers_is_skipped(tmp_path: Path) -> None:
    many = entry("llama.attention.head_count_kv", [2] * 5000)
    head = read_head(file_of(tmp_path, *PLAIN[:3], many, *PLAIN[4:]))
    assert head.window == 2048
    assert head.shape is None


def test_the_real_weights_tell_their_shape(weights: Path) -> None:
    assert read_head(weights).shape == Shape(30 * 3 * 2 * 64 * 2, embedding=576, vocabulary=49_152)


@pytest.mark.parametrize("kept", range(len(HEAD)))
def test_a_head_that_is_cut_off_anywhere_is_told(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(HEAD[:kept])
    with pytest.raises(CorruptFile):
        read_head(path)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"PK\x03\x04rest", "starts with"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"FUGG" + HEAD[4:], "starts with"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "keys"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 60), "text of"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"k") + struct.pack("<I", 77), "unknown type 77"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"k") + struct.pack("<IIQ", 9, 8, 1 << 60), "list of"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"k") + struct.pack("<IIQ", 9, 12, 1 << 24),
            "longer than|cut off",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"\xff\xfe") + struct.pack("<II", 4, 1), "UTF-8"),
    ],
)
def test_a_damaged_head_is_told_with_its_reason(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=word):
        read_head(path)
    with pytest.raises(AttemptFailed) as failed:
        shop.resolve(str(path))
    assert failed.value.kind is FailureKind.MODEL_UNLOADABLE


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "x.gguf"
    folder.mkdir()
    with pytest.raises(AttemptFailed) as failed:
        shop.resolve(str(folder))
    assert failed.value.kind is FailureKind.MODEL_UNLOADABLE


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(noise=st.binary(max_size=200))
def test_noise_is_either_read_or_called_corrupt(tmp_path: Path, noise: bytes) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + noise)
    with contextlib.suppress(CorruptFile):
        read_head(path)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), min_size=1, max_size=4),
    layers=st.lists(st.integers(0, 2**32 - 1), max_size=4),
)
def test_a_head_with_wrong_bytes_is_either_read_or_called_corrupt(
    tmp_path: Path, flips: list[tuple[int, int]], layers: list[int]
) -> None:
    """Whatever its figures claim, what is predicted from them is a number of bytes."""
    words = text(b"tokenizer.ggml.tokens") + WORDS
    path = file_of(tmp_path, *PLAIN, entry("llama.attention.sliding_window_pattern", layers), words)
    content = bytearray(path.read_bytes())
    for at, byte in flips:
        content[at % len(content)] = byte
    path.write_bytes(content)
    with contextlib.suppress(CorruptFile):
        shape = read_head(path).shape
        assert shape is None or need(1, shape).total > 0
