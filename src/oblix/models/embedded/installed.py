"""Models that an Ollama installation on this machine has already pulled: the same GGUF files, used where they lie."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec

_WEIGHTS = "application/vnd.ollama.image.model"
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_MAX_MANIFEST = 1 << 20  # bytes; real ones take about 1 kB


def folders() -> list[Path]:
    """Where Ollama keeps models: `OLLAMA_MODELS` if set, else the user's folder, then that of its Linux service."""
    if told := os.environ.get("OLLAMA_MODELS"):
        return [Path(told).expanduser()]
    return [Path.home() / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")]


def find(model: str) -> Path | None:
    """The GGUF file of `NAME[:TAG]` or `USER/NAME[:TAG]`, or `None` when no installation has it."""
    for folder in folders():
        if (path := find_in(folder, model)) is not None:
            return path
    return None


def find_in(folder: Path, model: str) -> Path | None:
    """The same within one folder of models."""
    name, _, tag = model.partition(":")
    words = name.split("/")
    if len(words) == 1:
        words = ["library", *words]
    # Names become paths: nothing but plain words gets through.
    if len(words) != 2 or not all(_WORD.fullmatch(word) for word in [*words, tag or "latest"]):
        return None
    for registry in _registries(folder):
        manifest = registry.joinpath(*words, tag or "latest")
        if (digest := _digest(manifest)) is not None:
            path = folder / "blobs" / f"sha256-{digest}"
            return path if path.is_file() else None
    return None


def _registries(folder: Path) -> list[Path]:
    """One folder per registry that models were pulled from; Ollama's own sorts before others only by its name."""
    try:
        return sorted(path for path in (folder / "manifests").iterdir() if path.is_dir())
    except OSError:
        return []


def _digest(manifest: Path) -> str | None:
    try:
        if manifest.stat().st_size > _MAX_MANIFEST:
            return None
        found: Any = msgspec.json.decode(manifest.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    layers = found.get("layers") if isinstance(found, dict) else None
    for layer in layers if isinstance(layers, list) else []:
        if isinstance(layer, dict) and layer.get("mediaType") == _WEIGHTS:
            match = _DIGEST.fullmatch(str(layer.get("digest")))
            return match[1] if match else None
    return None
