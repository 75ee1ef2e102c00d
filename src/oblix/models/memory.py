"""How much memory a model takes, and whether that is there: weights, the cache of its window, and what computing needs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from oblix.decision.facts import Fit

# Of what is free, that a model may take and still be said to fit. What a kernel calls available counts the files that it would drop for it;
# with the last tenth go those that everything else is running from. Our own estimate is not better than that, either (see PROCESS).
COMFORTABLE = 0.9
# Bytes that a process on a graphics processor takes beside its model: Ollama sets as many aside (cudaMinimumMemory, discover/gpu.go, 2025).
GPU_CONTEXT = 457 << 20
# Bytes that an engine takes whatever it loads: code, tokenizer, threads. SmolLM2 in our engine takes 27 MiB at every window up to 16,384
# tokens, and 2 to 8 % less in all than is estimated here (xllamacpp on a processor, 2026-11; tests/models/test_memory.py).
PROCESS = 32 << 20
UNKNOWN_VOCABULARY = 128_000  # tokens; the usual size since 2024
# Of the weights, for cache and buffers. By this module's own reckoning, in 4 bits, at 4,096 tokens: Llama 3.2 3B 39 %, Llama 3.1 8B 17 %,
# Qwen3 14B 11 %.
UNKNOWN_SHAPE = 0.25
DEFAULT_WINDOW = 4096  # tokens; what Ollama and our embedded engine load where nobody says otherwise
BATCH = 512  # tokens that llama.cpp and Ollama read at once
_VALUE = 2  # bytes: the cache is kept in half precision
_CELLS = 256  # tokens that a cache grows by
_MOST_LAYERS = 1024  # the largest known models have some 130
_MOST = 1 << 24  # of any other figure in a head: nothing real is near
# Of so many layers the last looks at the whole window, the others slide: where the head leaves that open, by llama.cpp's src/models, 2026.
_PERIODS = {"gemma2": 2, "gemma3": 6, "gpt-oss": 2, "gptoss": 2, "cohere2": 4}


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model's architecture its memory depends on.

    Attributes:
        whole: Bytes that a token takes in the cache, in all layers that look at the whole window.
        sliding: The same in the layers that look back `reach` tokens only.
        embedding: Values that stand for a token between the layers.
        vocabulary: Tokens that it knows; `None` when the head does not say.
    """

    whole: int
    _: KW_ONLY
    sliding: int = 0
    reach: int = 0
    embedding: int = 0
    vocabulary: int | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a loaded model takes.

    Attributes:
        weights: The file.
        cache: Keys and values of every token of the window; 0 where the model's shape is not known.
        buffers: What computing needs; an allowance, which also stands for a cache that is not known.
    """

    weights: int
    cache: int
    buffers: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.buffers


@dataclass(frozen=True, slots=True)
class Room:
    """Free bytes.

    Attributes:
        ram: Of the main memory, within the limits of a container; `None` when it is not known.
        vram: Of graphics processors with a memory of their own; `None` where there are none, or nothing is known of them.
    """

    ram: int | None
    vram: int | None = None

    def plus(self, ram: int = 0, vram: int = 0) -> Room:
        """The room once so much was given back: what an engine would unload to make place for another model."""
        return Room(
            None if self.ram is None else self.ram + ram,
            None if self.vram is None else self.vram + vram,
        )


def need(
    weights: int, shape: Shape | None = None, *, window: int = DEFAULT_WINDOW, slots: int = 1, batch: int = BATCH
) -> Need:
    """What a model takes once it is loaded.

    Args:
        weights: Bytes of the file.
        window: Tokens for each of the requests that are answered at once.
        slots: How many those are.
        batch: Tokens of a prompt that are read at once.
    """
    if shape is None:
        return Need(weights, 0, PROCESS + int(UNKNOWN_SHAPE * weights))
    cells = _rounded(window)
    sliding = min(cells, _rounded(shape.reach + batch))
    cache = slots * (cells * shape.whole + sliding * shape.sliding)
    width = shape.embedding + (UNKNOWN_VOCABULARY if shape.vocabulary is None else shape.vocabulary)
    return Need(weights, cache, PROCESS + 4 * batch * width)  # single precision, for what comes out of the last layer


def fit(needed: Need, room: Room, *, loaded: bool = False) -> Fit | None:
    """Whether a model fits: `tight` where it would take more than nine tenths of what is free, or only its buffers are too much.

    An engine may put a part of the layers on the graphics processor and leave the rest in the main memory, so that both count together.

    Returns:
        `None` where it is not known what is free.
    """
    if loaded:
        return "fits"
    vram = max(0, (room.vram or 0) - GPU_CONTEXT)
    if room.ram is None:  # what is known of may be enough; that it is too little cannot be told
        return "fits" if needed.total <= COMFORTABLE * vram else None
    free = max(0, room.ram) + vram
    if needed.weights + needed.cache > free:
        return "no"
    return "fits" if needed.total <= COMFORTABLE * free else "tight"


def shape_of(keys: Mapping[str, Any]) -> Shape | None:
    """A model's shape from the keys of its GGUF head, by their names; Ollama's `model_info` has the same. `None` where they say too little.

    A figure stands once for all layers, or once for each. Source: "GGUF", ggml's docs/gguf.md; llama.cpp's src/llama-kv-cache-iswa.cpp.
    """
    name = keys.get("general.architecture")
    layers = _number(keys.get(f"{name}.block_count"), _MOST_LAYERS)
    embedding = _number(keys.get(f"{name}.embedding_length"))
    if not layers or not embedding:
        return None
    attention = f"{name}.attention."
    heads = _per_layer(keys.get(f"{attention}head_count"), layers)
    kept = _per_layer(keys.get(f"{attention}head_count_kv"), layers) if f"{attention}head_count_kv" in keys else heads
    if heads is None or kept is None:
        return None
    usual = embedding // max(1, *heads)
    width, narrow = _width(keys, attention, usual), _width(keys, attention, usual, "_swa")
    if width is None or narrow is None:
        return None
    reach, slides = _sliding(keys, str(name), layers)
    own = layers - (
        _number(keys.get(f"{attention}shared_kv_layers"), layers) or 0
    )  # the last ones look into the cache of others
    each = list(zip(kept, slides, strict=True))[:own]
    return Shape(
        width * sum(count for count, slide in each if not slide),
        sliding=narrow * sum(count for count, slide in each if slide),
        reach=reach,
        embedding=embedding,
        vocabulary=_number(keys.get(f"{name}.vocab_size")) or None,
    )


def _width(keys: Mapping[str, Any], attention: str, usual: int, suffix: str = "") -> int | None:
    """Bytes of a key and a value of one head; some models have shorter ones (`_swa`) in the layers that slide."""
    lengths = []
    for which in ("key_length", "value_length"):
        length = keys.get(f"{attention}{which}", usual)
        lengths.append(_number(keys.get(f"{attention}{which}{suffix}", length)))
    return None if None in lengths else _VALUE * sum(each or 0 for each in lengths)


def _sliding(keys: Mapping[str, Any], name: str, layers: int) -> tuple[int, list[bool]]:
    """How far the sliding layers look back, and which ones do. Where that is not told, none does: rather too much than too little."""
    reach = _number(keys.get(f"{name}.attention.sliding_window"))
    pattern = keys.get(f"{name}.attention.sliding_window_pattern", _PERIODS.get(name))
    if reach and isinstance(pattern, list) and len(pattern) == layers:
        return reach, [bool(each) for each in pattern]
    period = _number(pattern, _MOST_LAYERS)
    if not reach or not period:
        return 0, [False] * layers
    return reach, [layer % period < period - 1 for layer in range(layers)]


def _per_layer(value: object, layers: int) -> list[int] | None:
    """A figure for each layer, `None` where it makes no sense."""
    found = value if isinstance(value, list) else [value] * layers
    numbers = [number for each in found if (number := _number(each)) is not None]
    return numbers if len(numbers) == len(found) == layers else None


def _number(value: object, most: int = _MOST) -> int | None:
    """A whole number that makes sense, else `None`."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _rounded(tokens: int) -> int:
    return -(-tokens // _CELLS) * _CELLS
