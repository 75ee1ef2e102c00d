"""Prompts as keyed fingerprints, and the key in a file of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.storage.fingerprint import KEY_BYTES, KEY_FILE, fingerprint, key_beside

KEY = bytes(range(KEY_BYTES))


@given(st.text(), st.text())
def test_the_same_text_has_the_same_fingerprint_and_another_one_another(one: str, other: str) -> None:
    assert (fingerprint(KEY, one) == fingerprint(KEY, other)) == (one == other)
    assert fingerprint(KEY, one) != fingerprint(KEY[::-1], one)
    assert len(fingerprint(KEY, one)) == 32


def test_half_a_character_has_one_too() -> None:
    assert fingerprint(KEY, "\ud800") != fingerprint(KEY, "\ud801")


def test_the_key_is_made_once_and_is_for_its_owner_only(tmp_path: Path) -> None:
    key = key_beside(tmp_path / "oblix.db")
    assert len(key) == KEY_BYTES
    assert key_beside(tmp_path / "other.db") == key == (tmp_path / KEY_FILE).read_bytes()
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]


def test_another_folder_has_another_key(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert key_beside(tmp_path / "a" / "oblix.db") != key_beside(str(tmp_path / "b" / "oblix.db"))


def test_in_memory_the_key_is_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert key_beside(":memory:") == key_beside(":memory:")
    assert list(tmp_path.iterdir()) == []


def test_processes_that_come_at_once_agree_on_one_key(tmp_path: Path) -> None:
    """Each waits for the line, so that they start together."""
    program = textwrap.dedent("""
        import sys
        from oblix.storage.fingerprint import key_beside
        print("ready", flush=True)
        sys.stdin.readline()
        print(key_beside(sys.argv[1]).hex())
    """)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "oblix.db")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    told = {racer.communicate(timeout=60)[0] for racer in racers}
    assert told == {key_beside(tmp_path / "oblix.db").hex() + "\n"}
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_what_is_no_key_is_left_alone_and_not_used(tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(OSError, match="is no key"):
        key_beside(tmp_path / "oblix.db")
    assert (tmp_path / KEY_FILE).read_bytes() == content


def test_a_folder_in_its_place_is_an_error_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).mkdir()
    with pytest.raises(OSError, match=KEY_FILE):
        key_beside(tmp_path / "oblix.db")
    with pytest.raises(OSError, match="no"):
        key_beside("/proc/oblix.db")
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]
