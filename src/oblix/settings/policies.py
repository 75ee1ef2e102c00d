"""Policy files, and policies by name: a preset, or a file."""

from __future__ import annotations

import os
from pathlib import Path

from oblix.decision.policy import Policy
from oblix.decision.policy import policy as preset
from oblix.decision.policy_table import parse_policy
from oblix.settings.document import expanded, read

WHAT = "policy file"
_KEPT = 64  # files; a program names a handful

_Stamp = tuple[int, int, int, int]
_read: dict[str, tuple[_Stamp, Policy]] = {}


def read_policy(path: str | Path) -> Policy:
    """The policy that a file describes (docs/policies.md).

    Raises:
        ConfigurationError: It cannot be read, or something in it does not fit; the message tells the file and the line.
    """
    source = expanded(path)
    document = read(source, WHAT)
    with document.locating():
        return parse_policy(document.values, name=source.stem)


def file_of(name: str) -> Path | None:
    """The file that a policy's name stands for, where it ends in `.toml` or begins with `file:`; else `None`."""
    if name.startswith("file:"):
        return expanded(name.removeprefix("file:"))
    return expanded(name) if name.endswith(".toml") else None


def find_policy(name: str) -> Policy:
    """The policy of that name: a preset, or a file, which is read again only when it changed; else this is one `stat`.

    Raises:
        InvalidRequest: There is no such preset.
        ConfigurationError: The file cannot be read, or something in it does not fit.
    """
    source = file_of(name)
    if source is None:
        return preset(name)
    key, stamp = str(source), _stamp(source)
    kept = _read.get(key)
    if kept is not None and kept[0] == stamp:
        return kept[1]
    policy = read_policy(source)
    if stamp is not None:  # taken before reading: a file that changes meanwhile is read once more, not once too few
        if len(_read) >= _KEPT:
            _read.clear()
        _read[key] = stamp, policy
    return policy


def _stamp(source: Path) -> _Stamp | None:
    """What changes when a file does. The inode tells also a relative path from another folder apart."""
    try:
        found = os.stat(source)  # noqa: PTH116  a third of the time of Path.stat
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
