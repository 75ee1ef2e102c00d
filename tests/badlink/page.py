"""The table of a run, and its last line."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from .judge import Verdict
from .stage import How
from .worlds import World

BEGIN, END = "<!-- the run -->", "<!-- end of the run -->"
CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
Judged = Sequence[tuple[World, Verdict]]


def table(judged: Judged) -> Iterator[str]:
    """A row for each link; the lines of its cells belong together."""
    yield "| link | true | the agent said | how soon | right |"
    yield "|---|---|---|---|---|"
    for world, verdict in judged:
        rows = ((f.truth, f.said, f.soon or "·", "yes" if f.right else "**no**") for f in verdict.findings)
        columns = zip(*rows, strict=True)
        yield f"| {world.name} | " + " | ".join("<br>".join(map(_cell, column)) for column in columns) + " |"


def machine(how: How) -> str:
    """What the table was made with."""
    system = platform.uname()
    pace = how.congestion or CONGESTION.read_text("ascii").strip()
    day = datetime.now(UTC).date()
    return f"`make badlink`, {day}, {system.system} {system.release.split('-')[0]}, {os.cpu_count()} cores, seed {how.seed}, TCP by {pace}."


def last_line(judged: Judged) -> str:
    """What `make badlink` ends with."""
    verdicts = [verdict for _, verdict in judged]
    worst = max((after for verdict in verdicts for after in verdict.detections), default=0.0)
    return (
        f"badlink: links={len(verdicts)} right={sum(verdict.right for verdict in verdicts)}"
        f" worst_detect_s={worst:.1f} flaps={sum(verdict.flaps for verdict in verdicts)}"
    )


def put_into(page: str, lines: Sequence[str]) -> str:
    """The page with these lines between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join((before + BEGIN, *lines, END + after))


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
