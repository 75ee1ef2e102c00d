"""`python -m tests.kill N [SEED]`: N kills, and the line that says what came of them."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from .judge import judge
from .kills import Killing


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**6)
    print(f"kill: seed={seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="oblix-kill-") as folder:
        killing = Killing(Path(folder) / "oblix.db", kills, seed)
        killing.run()
        verdict = judge(killing)
    for trouble in (*verdict.wrong, *verdict.lost, *verdict.duplicated)[:20]:
        print(trouble)
    print(verdict.line())
    return 0 if verdict.is_well else 1


sys.exit(main())
