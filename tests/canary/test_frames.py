"""Crash reporters send the local variables of every frame: there is hardly a frame of ours in which one of them shows a key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from .birds import KEY

# Where a text becomes a secret, and where one is looked at, it is a text. None of these calls anything that can fail or wait, but for
# the two readers of files, which keep what is raised to themselves.
ALLOWED = {
    ("types/secret.py", "SecretStr.__init__", "value"),
    ("client/client.py", "OblixClient.hook_model", "api_key"),  # until its first line
    ("client/hooks.py", "concealed", "api_key"),
    ("settings/environment.py", "is_placeholder", "key"),
    ("settings/dotenv.py", "_parse.<locals>.<dictcomp>", "value"),
    ("settings/keyfile.py", "_parse", "found"),
    ("settings/keyfile.py", "_parse", "values"),
    ("settings/keyfile.py", "_parse.<locals>.<genexpr>", "value"),
    ("settings/keyfile.py", "_parse.<locals>.<dictcomp>", "value"),
}


def test_no_local_variable_shows_a_key(tmp_path: Path) -> None:
    """Looked at after every line, in every thread, with keys from every place, in health and when they are refused."""
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("frames.py"))],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "OBLIX_HOME": str(tmp_path / "oblix"),
            "CANARY_KEY": KEY,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["frames"] > 10_000  # it did watch
    assert {tuple(each) for each in told["shown"]} - ALLOWED == set()
