"""Which detectors have anything to look for in a text: one pass of RE2 over it where that is installed, string search otherwise.

Either is only ever asked to rule detectors out, so that what is found is the same with both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from oblix.decision.privacy.detectors import DETECTORS, Detector
from oblix.decision.privacy.folding import Folded

Prefilter = Callable[[Folded], Iterable[Detector]]
# Bytes for the states of the automaton. A set that runs out of it would report no match at all; all signs together need well below 1 MB,
# and an automaton that has filled its memory starts again with an empty one.
_MEMORY = 64 << 20


def by_search(text: Folded) -> Iterable[Detector]:
    """By string search."""
    return [detector for detector in DETECTORS if detector.may_find(text)]


def by_set() -> Prefilter | None:
    """By one set of RE2; `None` where it is not installed (extra `privacy`)."""
    try:
        import re2

        options = re2.Options()
    except (ImportError, AttributeError):  # other packages go by the same name, without sets
        return None
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _MEMORY
    signs = re2.Set.SearchSet(options)
    for detector in DETECTORS:
        signs.Add(detector.sign)
    signs.Compile()

    def filtered(text: Folded) -> Iterable[Detector]:
        return [DETECTORS[number] for number in sorted(signs.Match(text.raw) or ())]

    return filtered


@cache
def prefilter() -> Prefilter:
    """The quicker of the two that are here; RE2 is loaded by the first scan, and not by an import of the house."""
    return by_set() or by_search
