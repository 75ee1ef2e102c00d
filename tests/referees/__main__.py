"""Lets the referees judge the real client: ``python -m tests.referees [WORD …]`` (only the llmock cases whose title has each word)."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from . import processes
from .faults import Case, cases
from .grading import grade
from .judging import Objection
from .proxying import Proxied, proxy


def main(words: Sequence[str]) -> int:
    """Run both referees and print what they found."""
    missing = processes.llmock_missing() or processes.aimock_missing()
    if missing is not None:
        print(f"referees: cannot run, {missing}")
        return 1
    os.environ["NO_PROXY"] = "127.0.0.1"  # a proxy of this machine's has no part in it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave through the `with` blocks: nothing stays behind
    chosen = [case for case in cases() if all(word in case.title for word in words)]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="oblix-referees-") as folder:
        objections = grade(chosen, Path(folder))
        graded = time.monotonic()
        proxied = proxy(Path(folder), 1 if words else 2)
    _print_llmock(chosen, objections, graded - started)
    _print_aimock(proxied, time.monotonic() - graded)
    real = [objection for objection in objections if objection.allowed is None]
    print(
        f"referees: llmock_cases={len(chosen)} llmock_objections={len(real)} llmock_allowed={len(objections) - len(real)} "
        f"aimock_requests={proxied.requests} aimock_wrong={len(proxied.wrong)}"
    )
    is_tried = chosen and proxied.met  # without any chaos nothing would be shown
    return 0 if is_tried and not real and not proxied.wrong else 1


def _print_llmock(chosen: Sequence[Case], objections: Sequence[Objection], seconds: float) -> None:
    by_fault = Counter(case.fault.name for case in chosen)
    print(f"llmock, {seconds:.0f} s{'cases':>29}{'objections':>12}{'allowed':>9}")
    for name, count in by_fault.items():
        mine = [objection for objection in objections if objection.case.fault.name == name]
        allowed = sum(objection.allowed is not None for objection in mine)
        print(f"  {name:<34}{count:>5}{len(mine) - allowed:>12}{allowed:>9}")
    for (code, reason), count in Counter((each.code, each.allowed) for each in objections if each.allowed).items():
        print(f"  allowed {count:>3} x {code}: {reason}")
    for each in objections:
        if each.allowed is None:
            print(f"  OBJECTION {each.code} | {each.case.title} | {each.text}")


def _print_aimock(proxied: Proxied, seconds: float) -> None:
    met = "  ".join(f"{kind} {count}" for kind, count in sorted(proxied.met.items()))
    print(f"aimock, {seconds:.0f} s: {proxied.requests} requests, {proxied.moved} answered by the second model, "
          f"{proxied.broken} streams broken and told")  # fmt: skip
    print(f"  chaos met: {met}")
    for wrong in proxied.wrong:
        print(f"  WRONG {wrong}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
