"""The head of a GGUF file, read in pure Python and with bounds: what the model is, and how long its window is."""

from __future__ import annotations

import struct
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import BinaryIO

from oblix.models.memory import Shape, shape_of

MAGIC = b"GGUF"
_MAX_HEAD = 128 << 20  # bytes; the largest vocabularies (256,000 tokens with merges) take about 10 MB
_MAX_STRING = 16 << 20  # bytes; chat templates of some models take 100 kB
_MAX_KEYS = 1 << 16
_MAX_ITEMS = 1 << 24
_MAX_LAYERS = 1024  # items of a list that are kept: figures that differ by layer
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_TOKENS = "tokenizer.ggml.tokens"


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
        shape: What its memory depends on; `None` when it does not say enough.
    """

    version: int
    _: KW_ONLY
    architecture: str | None = None
    title: str | None = None
    window: int | None = None
    shape: Shape | None = None


def read_head(path: Path) -> Head:
    """Read the head of `path`; stops before the vocabulary, if all else is known by then, else at the end of the keys.

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
            kind = self._number("<I")
            if kind == _ARRAY and key.startswith("tokenizer.") and _is_enough(found):
                if key == _TOKENS:
                    _, found[f"{found['general.architecture']}.vocab_size"] = self._list_head()
                break  # hundreds of thousands of short texts follow
            value = self._value(kind)
            if not key.startswith("tokenizer."):
                found[key] = value
        architecture, title = found.get("general.architecture"), found.get("general.name")
        window = found.get(f"{architecture}.context_length")
        return Head(
            version,
            architecture=architecture if isinstance(architecture, str) else None,
            title=title if isinstance(title, str) else None,
            window=window if isinstance(window, int) and window > 0 else None,
            shape=shape_of(found),
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
            return self._list()
        if kind not in _SCALARS:
            raise CorruptFile(f"a key in its head has the unknown type {kind}")
        return self._scalar(kind)

    def _scalar(self, kind: int) -> object:
        return struct.unpack(_SCALARS[kind], self._bytes(struct.calcsize(_SCALARS[kind])))[0]

    def _list_head(self) -> tuple[int, int]:
        """Type and number of the items."""
        kind, count = self._number("<I"), self._number("<Q")
        if count > _MAX_ITEMS:
            raise CorruptFile(f"claims a list of {count} items in its head")
        return kind, count

    def _list(self) -> list[object] | None:
        """A short list of numbers; every other one is skipped."""
        kind, count = self._list_head()
        if kind in _SCALARS and count <= _MAX_LAYERS:
            return [self._scalar(kind) for _ in range(count)]
        if kind in _SCALARS:
            self._bytes(count * struct.calcsize(_SCALARS[kind]))
            return None
        if kind != _STRING:  # lists of lists are allowed by the format and used by nobody
            raise CorruptFile(f"a list in its head has the unknown type {kind}")
        for _ in range(count):
            length = self._number("<Q")
            if len(self._bytes(min(length, _MAX_STRING))) != length:
                raise CorruptFile("cut off within its head")
        return None


def _is_enough(found: dict[str, object]) -> bool:
    """Whether everything that we want to know stands before the vocabulary, as it usually does."""
    name = found.get("general.architecture")
    return "general.name" in found and f"{name}.context_length" in found and f"{name}.block_count" in found
