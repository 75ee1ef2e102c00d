"""`make race`: a thousand calls in four processes at each of six budgets, without and with faults, hedges and cancellations.

The oracle, in terms of docs/money.md: it knows the final cost of every call before it begins, walks the calls in the order in which they
came, and admits each that fits into what the ones before it have left. We know no final cost, so that we hold more than a call will take,
and give back the rest at its end; whoever found no room waits for that. `admitted_of_affordable` is the share of the oracle's answers that
we gave whole. Where tokens are hidden, a cost cannot be topped up while it grows: the full bound is reserved, and that share stands apart.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from .race import Race, run

SHARES = (2.0, 1.0, 0.5, 0.2, 0.05, 0.01)


async def main(calls: int) -> int:
    found: list[Race] = []
    hidden: list[Race] = []
    with tempfile.TemporaryDirectory(prefix="oblix-race-") as name:
        print(
            "budget  kind    calls  whole  cut  refused  other  affordable  ratio  hedged  error   overrun  looks  seconds"
        )
        for share in SHARES:
            for kind in ("plain", "rough", "hidden"):
                race = await run(Path(name), share, calls=calls, rough=kind == "rough", hidden=kind == "hidden")
                (hidden if kind == "hidden" else found).append(race)
                print(
                    f"{share:6.0%}  {kind:6}  {race.calls:5}  {race.answered:5}  {race.cut:3}  {race.refused:7}  {race.other:5}"
                    f"  {race.affordable:10}  {race.ratio:5.3f}  {race.hedged:6}"
                    f"  {_error([race]):6.2%}  {race.overrun:7}  {race.looks:5}  {race.seconds:7.1f}",
                    flush=True,
                )
                for trouble in race.troubles[:5]:
                    print(f"        {trouble}")
    print(f"race hidden: calls={sum(race.calls for race in hidden)} admitted_of_affordable={_ratio(hidden):.3f}")
    everyone = found + hidden
    overrun = max(race.overrun for race in everyone)
    print(
        f"race: calls={sum(r.calls for r in everyone)} overrun_microusd={overrun} admitted_of_affordable={_ratio(found):.3f}"
    )
    plain = [race for race in found if not race.rough]
    return int(overrun > 0 or any(race.troubles for race in everyone) or _error(plain) > 0.02 or _ratio(found) < 0.9)


def _error(races: list[Race]) -> float:
    """How far what we charged is above what the providers billed."""
    billed = sum(race.billed for race in races)
    return sum(race.settled - race.billed for race in races) / billed if billed else 0.0


def _ratio(races: list[Race]) -> float:
    """Over all races; where we gave more whole answers than the oracle did, because shorter ones came first, that makes up for nothing."""
    affordable = sum(race.affordable for race in races)
    return sum(min(race.answered, race.affordable) for race in races) / affordable if affordable else 1.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Race for a budget.")
    parser.add_argument("--calls", type=int, default=1000)
    sys.exit(asyncio.run(main(parser.parse_args().calls)))
