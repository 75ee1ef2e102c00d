"""How much a prompt asks of a model, as a number in [0, 1] with its evidence: its shape, not only its words.

Hand-made and linear, so that every point of it can be told. The weights were set on the page's own prompts and the cases of
tests/decision/test_complexity.py; they are a start value for a learned scorer behind the same function. Words are looked up as sets:
the same signs as regular expressions took 30 times as long on a prompt of 3 KB.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from oblix.decision.facts import Complexity
from oblix.decision.tokens import estimate

SCANNED = (
    3000  # characters from the start, and a third of it from the end: instructions stand there, material in the middle
)
_BASE = 0.15
_SIMPLE, _COMPLEX = 0.33, 0.66  # for `word` only
_SHORT = 25  # words; a longer text is no plain question any more


class _Sign(NamedTuple):
    name: str
    weight: float
    most: int  # how many different matches count
    words: str
    phrases: tuple[str, ...] = ()


_SIGNS = (
    _Sign(
        "asks for analysis",
        0.25,
        2,
        "analyze analyse analyzing analysis evaluate evaluation critique compare comparison contrast assess assessment synthesize "
        "synthesise investigate prove proof derive diagnose debug refactor optimize optimise justify recommend propose argue",
        ("pros and cons",),
    ),
    _Sign("asks for a design", 0.2, 1, "design architect architecture implement implementing implementation strategy roadmap migrate "
          "migration specification algorithm", ("plan a ", "plan my ", "plan our ", "plan the ")),
    _Sign("asks for an explanation", 0.2, 1, "explain describe discuss why",
          ("how do", "how can", "how could", "how would", "how should", "difference between")),
    _Sign("asks for a text", 0.18, 1, "write draft compose essay report article story summarize summarise summary"),
    _Sign("asks for depth", 0.15, 2, "detailed comprehensive comprehensively thorough thoroughly rigorous rigorously exhaustive in-depth",
          ("in depth", "step by step", "step-by-step")),
    _Sign(
        "has several sides",
        0.1,
        3,
        "implication implications tradeoff tradeoffs trade-off trade-offs including advantages disadvantages consequences vulnerability "
        "vulnerabilities limitation limitations evidence alternatives versus vs",
        ("edge case",),
    ),
    _Sign("sets conditions", 0.08, 3, "must without unless assuming constraint constraints ensure",
          ("should not", "at least", "at most", "given that")),
    _Sign(
        "special field",
        0.08,
        2,
        "quantum cryptography cryptographic encryption theorem integral differential probability kubernetes microservice microservices "
        "concurrency concurrent compiler genome genomic economy economic economics jurisdiction regulation regulatory neural thermodynamic "
        "elliptic relativity legacy sustainable sustainability",
    ),
    _Sign("code", 0.12, 1, "traceback", ("```", "\ndef ", "\nclass ", "import ", "#include", "select *", "();", "stack trace")),
    _Sign("formulas", 0.12, 1, "", ("\\frac", "\\int", "\\sum", "∫", "∑", "√", "^2")),
    _Sign("numbered parts", 0.12, 1, "", ("\n2. ", "\n2) ", "\n- ", "\n* ")),
    _Sign("wants it simple", -0.15, 1, "simply briefly eli5",
          ("in simple terms", "in one word", "in one sentence", "short answer", "yes or no")),
)  # fmt: skip
_OF_WORD: dict[str, int] = {word: number for number, sign in enumerate(_SIGNS) for word in sign.words.split()}
_WORD = re.compile(r"[a-z][a-z0-9-]*")
_TO_SPACES = {code: " " for code in range(128) if not re.match(r"[a-z0-9-]", chr(code))}
_FACT = re.compile(r"\W*(what('?s| is| are| was| time)|who|when|where|which|how (many|much|old|far|tall))\b")
_GREETING = re.compile(r"\W*(hi|hello|hey|thanks|thank you|ok|okay|good (morning|evening))\b")


def _phrases() -> tuple[dict[str, list[tuple[str, int]]], list[tuple[str, list[tuple[str, int]]]]]:
    """The phrases by their first word, and those that have none by a character that they cannot do without."""
    by_word: dict[str, list[tuple[str, int]]] = {}
    by_mark: dict[str, list[tuple[str, int]]] = {}
    for number, sign in enumerate(_SIGNS):
        for phrase in sign.phrases:
            word = _WORD.search(phrase)
            table, key = (by_mark, phrase.strip("\n")[0]) if word is None else (by_word, word[0])
            table.setdefault(key, []).append((phrase, number))
    return by_word, list(by_mark.items())


_PHRASES, _MARKS = _phrases()


def score(prompt: str, *, turns: int = 1, tools: int = 0) -> Complexity:
    """How much `prompt` asks.

    Args:
        prompt: Text of the last user message.
        turns: Messages of the conversation so far; a long one asks for a model that keeps the thread.
        tools: Number of tools on offer.
    """
    text = (prompt if len(prompt) <= SCANNED else f"{prompt[:SCANNED]}\n{prompt[-SCANNED // 3 :]}").lower()
    seen = _words(text)
    matches = [0] * len(_SIGNS)
    for found in _OF_WORD.keys() & seen:
        matches[_OF_WORD[found]] += 1
    for first in _PHRASES.keys() & seen:
        for phrase, number in _PHRASES[first]:
            if phrase in text:
                matches[number] += 1
    for sign, phrases in _MARKS:
        if sign in text:  # one character is found ten times as quickly as a phrase is not
            for phrase, number in phrases:
                if phrase in text:
                    matches[number] += 1
    extras = [
        (sign.name, sign.weight * min(sign.most, count)) for sign, count in zip(_SIGNS, matches, strict=True) if count
    ]
    plain = all(weight < 0 for _, weight in extras)
    extras += _shape(text, _count_words(prompt), turns, tools, plain)
    points = _BASE + sum(weight for _, weight in extras)
    told = sorted((extra for extra in extras if abs(extra[1]) >= 0.03), key=lambda extra: -abs(extra[1]))
    return Complexity(round(min(1.0, max(0.0, points)), 3), tuple(name for name, _ in told))


def _words(text: str) -> set[str]:
    """The different words of a lower-case text: by splitting where that is possible, which takes half the time of finding."""
    return set(text.translate(_TO_SPACES).split() if text.isascii() else _WORD.findall(text))


def _count_words(prompt: str) -> int:
    """Words; by the number of characters where the text is long, or its script sets no spaces."""
    if len(prompt) > SCANNED:
        return len(prompt) // 6 if prompt.isascii() else estimate(prompt) * 3 // 4
    return len(prompt.split()) if prompt.isascii() else max(len(prompt.split()), estimate(prompt) * 3 // 4)


def _shape(text: str, words: int, turns: int, tools: int, plain: bool) -> list[tuple[str, float]]:
    """What length, form and company of the prompt add. A question is small only if it is `plain`: no sign says otherwise."""
    extras = [(f"{words} words", min(0.35, words / 400))]
    if turns > 4:
        extras.append((f"{turns} turns", min(0.1, 0.01 * (turns - 4))))
    if tools:
        extras.append((f"{tools} tools", min(0.15, 0.05 * tools)))
    if words < _SHORT and plain:
        if _FACT.match(text):
            extras.append(("asks for a fact", -0.12))
        elif _GREETING.match(text):
            extras.append(("small talk", -0.15))
    return extras


def word(score: float) -> str:
    """`simple`, `moderate` or `complex`."""
    return "simple" if score < _SIMPLE else "moderate" if score < _COMPLEX else "complex"
