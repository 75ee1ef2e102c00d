"""`make race`: a thousand calls in four processes at each of six budgets, without and with faults, hedges and cancellations.

The oracle, in terms of docs/money.md: it knows the final cost of every call before it begins, walks the calls in the order in which they
came, and admits each that fits into what the ones before it have left. We know no final cost, so that we hold more than a call will take,
and give back the rest at its end; whoever found no room waits for that. `admitted_of_affordable` is the share of the oracle's answers that
we gave whole. Where tokens are hidden, a cost cannot be topped up while it grows: the full bound is reserved, and that share stands apart.

A tight budget affords a handful of answers, of which one more or less is luck. So it is raced for several times, with other calls.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .race import Race, run

SHARES = (2.0, 1.0, 0.5, 0.2, 0.05, 0.01)
KINDS = ("plain", "rough", "hidden")
TIGHT, LAPS = 0.05, 3
ERROR = 0.02  # by which plain charges may be above the bills
RATIO = 0.9
HEDGED = 0.03  # of the answers in rough races; with fewer hedges little is shown of their losers (8 to 15 % where the machine is idle)


async def main(calls: int) -> int:
    """Race, and say what came of it; 0 when all is as promised."""
    races: list[Race] = []
    print(f"budget  kind    calls  {'  '.join(_HEADS)}  ratio  hedged  won  error   overrun  looks  seconds")
    with tempfile.TemporaryDirectory(prefix="oblix-race-") as name:
        for share in SHARES:
            for lap in range(LAPS if share <= TIGHT else 1):
                for kind in KINDS:
                    race = await run(
                        Path(name), share, calls=calls, rough=kind == "rough", hidden=kind == "hidden", lap=lap
                    )
                    races.append(race)
                    _tell(race)
    return _judge(races)


_HEADS = ("whole", "cut", "refused", "cancelled", "failed", "affordable")


def _tell(race: Race) -> None:
    ends = (race.whole, race.ends["cut"], race.ends["refused"], race.ends["cancelled"], race.ends["failed"])
    counts = "  ".join(f"{count:{len(head)}}" for head, count in zip(_HEADS, (*ends, race.affordable), strict=True))
    print(
        f"{race.share:6.0%}  {race.kind:6}  {race.calls:5}  {counts}  {_ratio([race], 9.999):5.3f}"
        f"  {race.hedged:6}  {race.won:3}  {race.error:6.2%}  {race.overrun:7}  {race.looks:5}  {race.seconds:7.1f}",
        flush=True,
    )
    for what, count in race.blame.most_common():
        print(f"        {count} failed by {what}")
    for trouble in race.troubles[:5]:
        print(f"        {trouble}")


def _judge(races: Sequence[Race]) -> int:
    hidden = [race for race in races if race.hidden]
    rough = [race for race in races if race.rough]
    plain = [race for race in races if race.kind == "plain"]
    for share in SHARES:
        here = [race for race in races if race.share == share]
        each = "  ".join(f"{kind} {_counted([race for race in here if race.kind == kind])}" for kind in KINDS)
        open_ = [race for race in here if not race.hidden]
        print(f"race {share:.0%}: {each}  admitted_of_affordable={_ratio(open_):.3f}")
    answers, hedged = sum(race.whole for race in rough), sum(race.hedged for race in rough)
    print(
        f"race rough: answers={answers} hedged={hedged} won={sum(race.won for race in rough)}"
        f" cancelled={sum(race.ends['cancelled'] for race in rough)} failed={sum(race.ends['failed'] for race in rough)}"
        f" charged_above_bills={_error(rough):.2%}"
    )
    print(f"race hidden: calls={sum(race.calls for race in hidden)} admitted_of_affordable={_ratio(hidden):.3f}")
    overrun = max(race.overrun for race in races)
    found = _ratio(plain + rough)
    print(
        f"race: calls={sum(race.calls for race in races)} overrun_microusd={overrun} admitted_of_affordable={found:.3f}"
    )
    is_right = overrun == 0 and found >= RATIO and _error(plain) <= ERROR and hedged >= HEDGED * answers
    return int(not is_right or any(race.troubles for race in races))


def _error(races: Sequence[Race]) -> float:
    """How far what we charged is above what the providers billed."""
    billed = sum(race.billed for race in races)
    return sum(race.settled - race.billed for race in races) / billed if billed else 0.0


def _counted(races: Sequence[Race]) -> str:
    return f"{sum(race.whole for race in races)} of {sum(race.affordable for race in races)}"


def _ratio(races: Sequence[Race], most: float = 1.0) -> float:
    """Over all races; where we gave more whole answers than the oracle did, because shorter ones came first, that makes up for nothing."""
    affordable = sum(race.affordable for race in races)
    return sum(min(race.whole, most * race.affordable) for race in races) / affordable if affordable else 1.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Race for a budget.")
    parser.add_argument("--calls", type=int, default=1000)
    sys.exit(asyncio.run(main(parser.parse_args().calls)))
