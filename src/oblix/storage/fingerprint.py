"""Prompts as keyed fingerprints: the same prompt is recognised again, and nobody without the key can try out which one it was."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

KEY_BYTES = 32
KEY_FILE = (
    "fingerprint.key"  # beside the data file, and never in it: who gets hold of the log alone must not be able to guess
)
_OF_THIS_PROCESS = secrets.token_bytes(KEY_BYTES)  # for logs in memory


def fingerprint(key: bytes, text: str) -> str:
    """32 signs that stand for a text; other signs under another key."""
    return blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=16).hexdigest()


def key_beside(data_file: Path | str) -> bytes:
    """The key of a data file; made at its first use, by whoever of several processes comes first.

    Raises:
        OSError: It cannot be read or made, or is no key.
    """
    if str(data_file) == ":memory:":
        return _OF_THIS_PROCESS
    path = Path(data_file).parent / KEY_FILE
    with suppress(FileNotFoundError):
        return _read(path)
    _make(path)
    return _read(path)


def _read(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise OSError(f"{str(path)!r} is no key: it has {len(key)} bytes, not {KEY_BYTES}")
    return key


def _make(path: Path) -> None:
    """Write it elsewhere, then link it to its place: nobody ever sees half a key, and the first who links wins."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
