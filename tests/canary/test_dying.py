"""Programs that use us come to bad ends, in Python's most talkative mode; what they write while they die holds no canary."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from oblix.testing.faults import Fault, FaultServer

from .birds import KEY, PROMPT, assert_silent, heard, on_a_loop, searched

TALKATIVE = ("-X", "dev", "-W", "always")
PLAIN = ("-X", "faulthandler")


async def died(how: str, options: tuple[str, ...], url: str, home: Path) -> str:
    """What the program writes."""
    ran = await asyncio.create_subprocess_exec(
        *(sys.executable, *options, str(Path(__file__).with_name("dying.py")), how),
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "OBLIX_HOME": str(home / how / options[1]),
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": url,
            "CANARY_PROMPT": PROMPT,
        },
        cwd=home,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await ran.communicate()
    return out.decode()


BOTH = (TALKATIVE, PLAIN)  # without the development mode, an uncaught error is shown by a hook of ours
# How it ends, whether the provider refuses, what shows that it did, and in which modes.
ENDS: dict[str, tuple[str, Fault | None, str, tuple[tuple[str, ...], ...]]] = {
    "abort": ("abort", None, "Fatal Python error: Aborted", (PLAIN,)),
    "refused": ("fail", Fault("status_401", "before_headers"), "KeyMissing", BOTH),
    "broken": ("fail", Fault("reset", "mid_stream"), "AllModelsFailed", (TALKATIVE,)),
    "stumble": ("stumble", None, "ZeroDivisionError", (TALKATIVE,)),
    "forget": ("forget", None, "was never awaited", (TALKATIVE,)),
}


@pytest.mark.parametrize("end", ENDS)
@on_a_loop
async def test_a_bad_end_tells_neither_key_nor_prompt(end: str, tmp_path: Path) -> None:
    how, fault, sign, modes = ENDS[end]
    async with FaultServer() as server:
        up = server.upstream("cloud", wire="openai")
        up.default = fault
        said = await asyncio.gather(*(died(how, options, up.url, tmp_path) for options in modes))
        assert all(sign in each and "Executing <" in each for each in said)
        assert KEY.encode() in up.received
        assert PROMPT.encode() in up.received
        assert_silent({" ".join(options): each for options, each in zip(modes, said, strict=True)})
        assert searched(tmp_path) == {}


@on_a_loop
async def test_a_report_with_local_variables_tells_no_key(tmp_path: Path) -> None:
    """It does tell the prompt, which is an argument of ours and of the caller's: docs/privacy.md says so."""
    async with FaultServer() as server:
        up = server.upstream("cloud", wire="openai")
        up.default = Fault("status_500", "before_headers")
        said = await died("report", TALKATIVE, up.url, tmp_path)
        assert KEY.encode() in up.received
        assert "locals" in said
        assert heard(said) == ["prompt"]
