"""The head of a GGUF file: read right, and never trusted."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.embedded import weights
from oblix.models.embedded.gguf import CorruptFile, read_head


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
        weights.resolve(str(path))
    assert failed.value.kind is FailureKind.MODEL_UNLOADABLE


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "x.gguf"
    folder.mkdir()
    with pytest.raises(AttemptFailed) as failed:
        weights.resolve(str(folder))
    assert failed.value.kind is FailureKind.MODEL_UNLOADABLE


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(noise=st.binary(max_size=200))
def test_noise_is_either_read_or_called_corrupt(tmp_path: Path, noise: bytes) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + noise)
    with contextlib.suppress(CorruptFile):
        read_head(path)
