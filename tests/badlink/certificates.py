"""Certificates for a day, made anew for each run, so that no key is ever kept."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .away import ZONE, Papers


def missing() -> str | None:
    """Why none can be made, or `None` when they can."""
    return None if shutil.which("openssl") else "the command `openssl` is missing"


def make(folder: Path) -> dict[str, Papers]:
    """One for the providers, which the child is told to trust, and one for the portal, which nobody trusts."""
    return {"api": _make(folder, "api", f"*.{ZONE}"), "portal": _make(folder, "portal", "portal.test")}


def _make(folder: Path, name: str, host: str) -> Papers:
    papers = Papers(str(folder / f"{name}.crt"), str(folder / f"{name}.key"))
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "1", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"),
            *("-keyout", papers.key, "-out", papers.certificate),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return papers
