"""Where weights come from, and where they lie: by name, to a file with its size and window.

A name is one of

- `smollm2`, the small model that we know by heart (a Python package carries it),
- a path that ends in `.gguf`,
- `ollama/NAME[:TAG]`, a model that an Ollama installation on this machine has pulled,
- an `https://….gguf` address, with `#sha256=…` if its sum is to be checked.

`resolve` only looks, and never fetches: a prompt does not start a download. `fetch` does, when somebody asks for it.
"""

from __future__ import annotations

import os
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from oblix.errors import AttemptFailed, ConfigurationError, FailureKind
from oblix.models.embedded import installed
from oblix.models.embedded.gguf import CorruptFile, read_head
from oblix.models.embedded.known import KNOWN
from oblix.models.embedded.place import OnProgress


@dataclass(frozen=True, slots=True)
class Weights:
    """A file that the engine can load.

    Attributes:
        size: Bytes.
        window: Tokens that the model was trained with; `None` when the file does not say.
        architecture: Such as `llama`; `None` when the file does not say.
        title: The name that its makers gave it.
    """

    name: str
    path: Path
    size: int
    _: KW_ONLY
    window: int | None = None
    architecture: str | None = None
    title: str | None = None


def resolve(name: str) -> Weights:
    """Find the weights on this machine. Reads a few kilobytes of a file.

    Raises:
        AttemptFailed: They are not here (`MODEL_MISSING`, with what to do), or are no GGUF file (`MODEL_UNLOADABLE`).
    """
    return describe(name, _locate(name))


def size_to_fetch(name: str) -> int | None:
    """How many bytes `fetch` would bring: 0 when they are here, `None` when only the server knows."""
    try:
        resolve(name)
    except AttemptFailed:
        return KNOWN[name].wheel_size if name in KNOWN else None
    return 0


def fetch(name: str, on_progress: OnProgress | None = None) -> Weights:
    """Bring the weights to this machine, if they are not here. Blocks; may take minutes.

    Two processes that fetch the same weights do it once. What was begun and left (Ctrl-C, a kill) is either continued or
    removed by the next fetch; a file is at its place whole, checked, or not at all.

    Raises:
        ConfigurationError: They cannot be had; the hint says what would help.
    """
    from oblix.models.embedded import download, wheel

    try:
        return resolve(name)
    except AttemptFailed as exc:
        report = on_progress or (lambda _done, _total: None)
        if name in KNOWN:
            wheel.fetch(KNOWN[name], cached(name), report)
        elif is_address(name):
            download.fetch(name, cached(name), report)
        else:
            raise ConfigurationError(exc.message, hint=exc.hint) from exc
    try:
        return resolve(name)
    except AttemptFailed as exc:
        raise ConfigurationError(exc.message, hint=exc.hint) from exc


def describe(name: str, path: Path) -> Weights:
    """Read what the file says of itself.

    Raises:
        AttemptFailed: It is missing, cannot be read, or is no GGUF file.
    """
    try:
        head, size = read_head(path), path.stat().st_size
    except FileNotFoundError as exc:
        raise _missing(name, path) from exc
    except (OSError, CorruptFile) as exc:
        raise AttemptFailed(
            FailureKind.MODEL_UNLOADABLE,
            f"{str(path)!r} cannot be used as weights: {exc}.",
            hint="fetch the file again, or choose another",
            cause=exc,
        ) from exc
    return Weights(name, path, size, window=head.window, architecture=head.architecture, title=head.title)


def is_address(name: str) -> bool:
    """Whether the name says where to download from."""
    return name.startswith(("https://", "http://"))


def cache_folder() -> Path:
    """Where fetched weights lie: `$OBLIX_HOME/cache/models`, or the user's cache folder."""
    if home := os.environ.get("OBLIX_HOME"):
        return Path(home).expanduser() / "cache" / "models"
    import platformdirs

    return platformdirs.user_cache_path("oblix") / "models"


def cached(name: str) -> Path:
    """Where the fetched weights of this name lie, or would lie.

    Raises:
        ConfigurationError: The name is an address that we do not download from.
    """
    if name in KNOWN:
        return cache_folder() / KNOWN[name].file
    from oblix.models.embedded import download

    return cache_folder() / download.file_name(name)


def _locate(name: str) -> Path:
    if name in KNOWN or is_address(name):
        path = _cached_or_failed(name)
        size = path.stat().st_size if path.is_file() else None
        if size is None or (name in KNOWN and size != KNOWN[name].size):
            raise _missing(name, path)
        return path
    if name.startswith("ollama/"):
        path_or_none = installed.find(name.removeprefix("ollama/"))
        if path_or_none is None:
            model = name.removeprefix("ollama/")
            raise AttemptFailed(
                FailureKind.MODEL_MISSING,
                f"No Ollama installation on this machine has {model!r}.",
                hint=f"pull it with `ollama pull {model}`, or set OLLAMA_MODELS to the folder where Ollama keeps its models",
            )
        return path_or_none
    if name.endswith(".gguf"):
        return Path(name).expanduser()
    raise AttemptFailed(
        FailureKind.MODEL_MISSING,
        f"{name!r} names no weights.",
        hint=f"known are {', '.join(KNOWN)}, a path or an https address that ends in .gguf, and ollama/NAME",
    )


def _cached_or_failed(name: str) -> Path:
    try:
        return cached(name)
    except ConfigurationError as exc:
        raise AttemptFailed(FailureKind.MODEL_MISSING, exc.message, hint=exc.hint) from exc


def _missing(name: str, path: Path) -> AttemptFailed:
    if name in KNOWN or is_address(name):
        return AttemptFailed(
            FailureKind.MODEL_MISSING,
            f"The weights {name!r} are not on this machine.",
            hint=f"oblix models fetch {name}",
        )
    return AttemptFailed(
        FailureKind.MODEL_MISSING, f"There is no file {str(path)!r}.", hint="check the path, or choose other weights"
    )
