"""How many tokens a model counts for what we estimate: learned, so that no answer is stopped too early or paid too late. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

KEPT = 16  # answers; a model's tokenizer does not change, what it is asked for does
FEW = 3  # below so many nothing is known
SHORT = 16  # estimated tokens; the counts of shorter texts are mostly rounding
LOWEST, HIGHEST = 0.5, 2.0  # what is beyond is no matter of tokenizers: hidden thoughts, tools
# A prompt is paid at once, and cannot be stopped: less than we estimate is never reserved. No tokenizer that we know makes more of plain
# text: a long row of digits has a token for each (Llama 2, Gemma), where we estimate one for 3.8.
MOST_OF_PROMPT = 4.0
# Text without spaces (base64, keys, digits) has twice to four times as many tokens as we estimate, other languages and code up to twice.
UNKNOWN, UNKNOWN_WORDLESS = 2.0, 4.0
WORDLESS = 16  # characters of a word on average: prose has 5 to 7 with its space, code up to 12


class Scale:
    """What to multiply the estimates of one model's texts with: by the largest ratio of its latest ones."""

    __slots__ = ("_bounds", "_ratios", "factor")

    def __init__(self, lowest: float = LOWEST, highest: float = HIGHEST) -> None:
        self._ratios: deque[float] = deque(maxlen=KEPT)
        self._bounds = lowest, highest
        self.factor = 1.0

    @property
    def is_known(self) -> bool:
        """Whether enough was seen."""
        return len(self._ratios) >= FEW

    def note(self, counted: int, estimated: int) -> None:
        """A text came whole, and its provider told how many tokens it had."""
        if estimated < SHORT:
            return
        self._ratios.append(counted / estimated)
        if self.is_known:
            lowest, highest = self._bounds
            self.factor = min(highest, max(lowest, *self._ratios))


class PromptScale:
    """The same for the prompts of one model, apart for each kind of text: the tokens of prose say nothing of those of a key."""

    __slots__ = ("_scales",)

    def __init__(self) -> None:
        self._scales: dict[int, Scale] = {}

    def factor(self, kind: int) -> float:
        """What to charge by, where the provider does not tell the tokens."""
        scale = self._scales.get(kind)
        return 1.0 if scale is None else scale.factor

    def safe(self, kind: int) -> float:
        """What to reserve by: with a margin, as long as too few prompts of this kind are known."""
        scale = self._scales.get(kind)
        if scale is not None and scale.is_known:
            return scale.factor
        return UNKNOWN_WORDLESS if kind == WORDLESS else UNKNOWN

    def note(self, kind: int, counted: int, estimated: int) -> None:
        """A provider told how many tokens a prompt had."""
        scale = self._scales.get(kind)
        if scale is None:
            scale = self._scales[kind] = Scale(1.0, MOST_OF_PROMPT)
        scale.note(counted, estimated)


def kind_of(texts: Iterable[str]) -> int:
    """The kind of text that a prompt is, by the length of its words; one without words is a kind of its own where it is plain ASCII."""
    length = gaps = 0
    is_ascii = True
    for text in texts:
        length += len(text)
        gaps += text.count(" ") + text.count("\n")
        is_ascii = is_ascii and text.isascii()
    word = length // (gaps + 1)
    if word < WORDLESS:
        return word.bit_length()
    return WORDLESS if is_ascii else -1
