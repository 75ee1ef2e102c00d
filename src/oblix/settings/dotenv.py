"""The nearest `.env` file, read for keys without touching the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from stat import S_ISREG, S_IXOTH

from oblix.errors import ConfigurationError
from oblix.settings.keyfile import LARGEST, in_words
from oblix.types.secret import SecretStr

_read: dict[Path, tuple[tuple[int, int], Mapping[str, SecretStr]]] = {}


def find() -> Path | None:
    """The `.env` of the working directory, else of the nearest folder above it; the search ends at the home folder."""
    try:
        here = Path.cwd()
        home = Path.home()
    except (OSError, RuntimeError):  # the working directory is gone, or there is no home
        return None
    for folder in (here, *here.parents):
        file = folder / ".env"
        if os.path.isfile(file):  # noqa: PTH113  Path.is_file raises where a folder may not be entered
            return file
        if folder == home:
            return None
    return None


def read(file: Path) -> Mapping[str, SecretStr]:
    """Its variables. Read again only when it has changed.

    Raises:
        ConfigurationError: It cannot be read, or belongs to somebody who is neither we nor the owner of the working directory: a stranger's
            key would hand him our prompts.
    """
    try:
        state = file.stat()
        stamp = state.st_mtime_ns, state.st_size
        known = _read.get(file)
        if known is not None and known[0] == stamp:
            return known[1]
        _refuse(file, state)
        _read[file] = stamp, _parse(file)
        return _read[file][1]
    except (OSError, UnicodeDecodeError) as error:
        said = f"{file} cannot be read: {in_words(error)}. No key is taken from it."
    # Not in the `except`: a `UnicodeDecodeError` holds the whole file, and would stay with ours as its context.
    raise ConfigurationError(said, hint="Mend it, or move it away.")


def _parse(file: Path) -> dict[str, SecretStr]:
    from dotenv import dotenv_values

    found = dotenv_values(stream=StringIO(file.read_text("utf-8-sig"))).items
    return {name: SecretStr(value) for name, value in found() if value is not None}


def _refuse(file: Path, state: os.stat_result) -> None:
    if not S_ISREG(state.st_mode) or state.st_size > LARGEST:
        raise ConfigurationError(f"{file} is no file of settings. No key is taken from it.", hint="Move it away.")
    if os.name != "nt" and state.st_uid not in (os.geteuid(), 0, Path.cwd().stat().st_uid):
        said = f"{file} belongs to another user (uid {state.st_uid}). No key is taken from it."
        raise ConfigurationError(said, hint="Take it over with chown, or move it away.")


def is_open(file: Path) -> bool:
    """Whether every user of this machine can read it: by its own mode, and because each folder on the way may be entered."""
    if os.name == "nt":
        return False
    return bool(file.stat().st_mode & 0o004) and all(each.stat().st_mode & S_IXOTH for each in file.resolve().parents)
