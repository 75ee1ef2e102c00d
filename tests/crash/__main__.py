"""`python -m tests.crash N [SEED]`: N kills, and the line that says what came of them."""

from __future__ import annotations

import asyncio
import sys

from oblix.models.embedded import weights

from .kills import run


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    print(f"crashes: seed={seed}")
    tally = asyncio.run(run(weights.fetch("smollm2").path, kills, seed=seed))
    for line in tally.complaints:
        print(line)
    print(tally.line())
    return 0 if tally.is_well else 1


sys.exit(main())
