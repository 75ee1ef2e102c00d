"""Frames, texts at the border, and how many threads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.models.embedded import pipe
from oblix.models.embedded.threads import choose_threads, free_threads, quota

json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(body=st.dictionaries(st.text(), json_like, max_size=4))
def test_what_goes_in_comes_out(body: dict[str, Any]) -> None:
    frame = pipe.pack(pipe.Ask(3, pipe.clean(body)))
    assert pipe.body_length(frame[: pipe.HEADER]) == len(frame) - pipe.HEADER
    back = pipe.unpack_to_child(frame[pipe.HEADER :])
    assert isinstance(back, pipe.Ask)
    assert back.body == pipe.clean(body)


@given(text=st.text(st.characters()))
def test_every_text_is_fit_for_the_pipe_after_cleaning(text: str) -> None:
    pipe.clean({text: [text]})[pipe.clean(text)][0].encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain ä", "plain ä"), ("a\ud800b", "a\ufffdb"), ("\ud83d\ude00", "😀"), ("\x00", "\x00"), ("\udfff", "\ufffd")],
)
def test_surrogates_are_joined_or_replaced(text: str, expected: str) -> None:
    assert pipe.clean(text) == expected


def test_frames_have_a_limit_in_both_directions() -> None:
    with pytest.raises(pipe.FrameError):
        pipe.pack(pipe.Ask(1, {"x": "a" * (pipe.MAX_FRAME + 1)}))
    with pytest.raises(pipe.FrameError):
        pipe.body_length(b"\xff\xff\xff\xff")


@pytest.mark.parametrize("body", [b"", b"\x00", b"print from a library", pipe.pack(pipe.Stop(1))[pipe.HEADER :]])
def test_what_is_no_frame_of_the_child_is_told(body: bytes) -> None:
    with pytest.raises(pipe.FrameError):
        pipe.unpack_from_child(body)


@pytest.mark.parametrize(
    ("allowed", "cores", "busy", "threads"),
    [
        (8, 8, 0.0, 8),
        (8, 8, 0.5, 4),
        (2, 2, 0.9, 1),
        (2, 2, 1.0, 1),
        (0.5, 8, 0.0, 1),
        (2.9, 8, 0.0, 2),
        (8, 8, 7.0, 1),
    ],
)
def test_threads_follow_the_free_cores(allowed: float, cores: int, busy: float, threads: int) -> None:
    assert choose_threads(allowed=allowed, cores=cores, busy=busy) == threads


@given(st.floats(0.01, 512), st.integers(1, 512), st.floats(0, 1), st.floats(0, 1))
def test_a_busier_machine_never_gets_more_threads(allowed: float, cores: int, one: float, other: float) -> None:
    calm, busy = sorted((one, other))
    assert choose_threads(allowed=allowed, cores=cores, busy=busy) <= choose_threads(
        allowed=allowed, cores=cores, busy=calm
    )


def test_the_real_machine_gives_at_least_one() -> None:
    assert free_threads() >= 1


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, math.inf),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, math.inf),
        ({"proc/self/cgroup": "0::/gone\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n3:cpuacct,cpu:/x\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2.0,
        ),
        ({"proc/self/cgroup": "nonsense\n\n0::/../..\n", "sys/fs/cgroup/cpu.max": "\n"}, math.inf),
    ],
    ids=["none", "v2", "v2-max", "v2-container", "v1", "odd"],
)
def test_the_quota_of_the_control_group_counts(tmp_path: Path, files: dict[str, str], cores: float) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert quota(tmp_path) == cores
