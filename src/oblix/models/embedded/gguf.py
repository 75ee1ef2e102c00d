"""The head of a GGUF file, read in pure Python and with bounds: what the model is, and how long its window is."""

from __future__ import annotations

import struct
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"
_MAX_HEAD = 128 << 20  # bytes; the largest vocabularies (256,000 tokens with merges) take about 10 MB
_MAX_STRING = 16 << 20  # bytes; chat templates of some models take 100 kB
_MAX_KEYS = 1 << 16
_MAX_ITEMS = 1 << 24
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9


class CorruptFile(ValueError):
    """The file is no GGUF file, or its head is damaged; the message says where."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of a GGUF file tells.

    Attributes:
        version: Of the format.
        architecture: Such as `llama`; `None` when it does not say.
        title: The name that its makers gave it.
        window: Tokens it was trained with; `None` when it does not say.
    """

    version: int
    _: KW_ONLY
    architecture: str | None = None
    title: str | None = None
    window: int | None = None


def read_head(path: Path) -> Head:
    """Read the head of `path`; stops as soon as the window is known, else at the end of the keys.

    Raises:
        CorruptFile: It is no GGUF file, or is cut off or damaged within its head.
        OSError: It cannot be read.

    Source: "GGUF", ggml's docs/gguf.md, versions 2 and 3 (little-endian).
    """
    with path.open("rb") as file:
        try:
            return _Reader(file).head()
        except struct.error as exc:
            raise CorruptFile("cut off within its head") from exc
        except UnicodeDecodeError as exc:
            raise CorruptFile("a key or a text in its head is not UTF-8") from exc


class _Reader:
    """A walk over the keys that keeps count of the bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _MAX_HEAD

    def head(self) -> Head:
        if (magic := self._file.read(4)) != MAGIC:
            raise CorruptFile(f"starts with {magic!r}, a GGUF file with {MAGIC!r}")
        version = self._number("<I")
        if version not in (2, 3):
            raise CorruptFile(f"GGUF version {version}, known are 2 and 3")
        self._number("<Q")  # how many tensors
        keys = self._number("<Q")
        if keys > _MAX_KEYS:
            raise CorruptFile(f"claims {keys} keys")
        return self._walk(version, keys)

    def _walk(self, version: int, keys: int) -> Head:
        found: dict[str, object] = {}
        for _ in range(keys):
            key = self._string()
            value = self._value(self._number("<I"))
            if key.startswith("general.") or key.endswith(".context_length"):
                found[key] = value
            window = found.get(f"{found.get('general.architecture')}.context_length")
            if isinstance(window, int) and "general.name" in found:
                break
        architecture, title = found.get("general.architecture"), found.get("general.name")
        window = found.get(f"{architecture}.context_length")
        return Head(
            version,
            architecture=architecture if isinstance(architecture, str) else None,
            title=title if isinstance(title, str) else None,
            window=window if isinstance(window, int) and window > 0 else None,
        )

    def _bytes(self, count: int) -> bytes:
        self._left -= count
        if self._left < 0:
            raise CorruptFile(f"its head is longer than {_MAX_HEAD >> 20} MiB")
        return self._file.read(count)

    def _number(self, form: str) -> int:
        (number,) = struct.unpack(form, self._bytes(struct.calcsize(form)))
        assert isinstance(number, int)
        return number

    def _string(self) -> str:
        length = self._number("<Q")
        if length > _MAX_STRING:
            raise CorruptFile(f"claims a text of {length} bytes in its head")
        raw = self._bytes(length)
        if len(raw) != length:
            raise CorruptFile("cut off within its head")
        return raw.decode()

    def _value(self, kind: int) -> object:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            self._skip_array()
            return None
        if kind not in _SCALARS:
            raise CorruptFile(f"a key in its head has the unknown type {kind}")
        return struct.unpack(_SCALARS[kind], self._bytes(struct.calcsize(_SCALARS[kind])))[0]

    def _skip_array(self) -> None:
        kind, count = self._number("<I"), self._number("<Q")
        if count > _MAX_ITEMS:
            raise CorruptFile(f"claims a list of {count} items in its head")
        if kind in _SCALARS:
            self._bytes(count * struct.calcsize(_SCALARS[kind]))
            return
        if kind != _STRING:  # lists of lists are allowed by the format and used by nobody
            raise CorruptFile(f"a list in its head has the unknown type {kind}")
        for _ in range(count):
            length = self._number("<Q")
            if len(self._bytes(min(length, _MAX_STRING))) != length:
                raise CorruptFile("cut off within its head")
