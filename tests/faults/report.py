"""The table of a run, and its last line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from textwrap import wrap

from oblix.testing.faults import KINDS, MOMENTS

from .cells import never
from .findings import BREACHES
from .tally import Tally, milliseconds

BEGIN, END = "<!-- the run -->", "<!-- end of the run -->"
LINE = 130  # characters
WIDTH = 20  # of a column
ENDINGS = ("here", "elsewhere", "error", "broken")


def table(tally: Tally) -> Iterator[str]:
    """A line per kind, a column per moment; each entry says how its requests ended."""
    yield "requests = answered by the first model + answered elsewhere + typed errors + broken streams"
    yield f"{'family':<11}{'kind':<27}" + "".join(f"{moment:<{WIDTH}}" for moment in MOMENTS)
    for name, kind in KINDS.items():
        cells = [tally.endings.get((name, moment)) for moment in MOMENTS]
        yield (f"{kind.family:<11}{name:<27}" + "".join(f"{_entry(cell):<{WIDTH}}" for cell in cells)).rstrip()
    totals = Counter[str]()
    for counts in tally.endings.values():
        totals.update(counts)
    yield f"{'all':<38}{_entry(totals)}"
    yield ""
    yield "combinations that cannot be:"
    for reason, combinations in never().items():
        yield f"  {reason} ({len(combinations)})"
        yield from (f"    {line}" for line in _gathered(combinations))


def _entry(counts: Counter[str] | None) -> str:
    if not counts:
        return "·"
    return f"{counts.total()} = " + "+".join(str(counts[ending]) for ending in ENDINGS)


def _gathered(combinations: list[str]) -> Iterator[str]:
    """`mid_stream, at_end: status_400 status_401 …`, in lines of a readable length."""
    by_kind: dict[str, list[str]] = {}
    for combination in combinations:
        kind, moment = combination.split()
        by_kind.setdefault(kind, []).append(moment)
    by_moments: dict[str, list[str]] = {}
    for kind, moments in by_kind.items():
        by_moments.setdefault(", ".join(moments), []).append(kind)
    for moments_, kinds in by_moments.items():
        yield from wrap(f"{moments_}: {' '.join(kinds)}", LINE, subsequent_indent="  ")


def findings(tally: Tally) -> Iterator[str]:
    """What was wrong, in words."""
    yield from (f"{breach}: {words}" for breach, told in tally.told.items() for words in told)
    yield from (f"left over: {what}" for what in dict.fromkeys(tally.leftovers))


def surroundings(tally: Tally) -> str:
    """The line before the last: what else was counted."""
    rest = " ".join(f"{breach}={tally.breaches[breach]}" for breach in BREACHES[5:])
    return (
        f"also: {rest} left_over={len(tally.leftovers)} "
        f"repeated_unmet={tally.repeated['unmet']} repeated_starved={tally.repeated['starved']} "
        f"memory_mib={tally.memory >> 20} seconds={tally.seconds:.0f}"
    )


def last_line(tally: Tally) -> str:
    """One line for machines and for the README."""
    counted = " ".join(f"{breach}={tally.breaches[breach]}" for breach in BREACHES[:5])
    p50, p99 = (milliseconds(tally.failovers, share) for share in (0.5, 0.99))
    return (
        f"faults: requests={tally.requests} kinds={tally.kinds} {counted} broken_streams={tally.broken} "
        f"p50_failover_ms={p50} p99_failover_ms={p99}"
    )


def put_into(page: str, command: str, tally: Tally) -> str:
    """A page whose block between `BEGIN` and `END` is this run."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    lines = [f"$ {command}", *table(tally), "", surroundings(tally), last_line(tally)]
    return f"{before}{begin}\n```text\n" + "\n".join(lines) + f"\n```\n{end}{after}"
