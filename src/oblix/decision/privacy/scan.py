"""Finds what is private in a text. Pure, linear in its length, and the same on every machine.

Not caught: numbers in words, over two lines or with a space between all digits; digits of scripts other than Latin (full-width too) and
Arabic; what stands in images or in base64; keys of issuers that the table does not know and that have no name before them; passwords in
plain prose (`it is the name of my dog`); addresses in Chinese, Japanese or Thai letters; names that are not in the user's list.
"""

from __future__ import annotations

from collections.abc import Iterable

from oblix.decision.privacy.detectors import EVERY, KINDS, SENSITIVE
from oblix.decision.privacy.folding import fold
from oblix.decision.privacy.names import Names
from oblix.decision.privacy.prefilter import Prefilter, prefilter
from oblix.types.privacy import Finding

__all__ = ["EVERY", "KINDS", "LARGEST", "SENSITIVE", "Names", "scan"]

# Characters; more than that should not be scanned on the path of a prompt. By string search, the slower engine, this many take 1.5 ms of
# prose or source code, 5 ms of logs or tables of numbers, 22 ms of a list of customers (some 2,000 findings), and at worst, of the same
# four digits over and over, 170 ms; RE2 takes a tenth of it for prose, and as long where much is found (2 cores, 2026-11-23).
LARGEST = 100_000
_RANK = {name: number for number, name in enumerate(KINDS)}


def scan(
    text: str, names: Names | None = None, kinds: frozenset[str] = EVERY, *, engine: Prefilter | None = None
) -> tuple[Finding, ...]:
    """What is private in `text`, in order of place, no two overlapping.

    Args:
        text: Any text; lone surrogates, control characters and the like are no error.
        names: The user's own list, for the kind `name`.
        kinds: Names out of `KINDS`.
        engine: Who rules detectors out; by default the quickest that is installed.
    """
    folded = fold(text)
    found = [
        Finding(kind, *folded.place(start, end))
        for detector in (engine or prefilter())(folded)
        if not kinds.isdisjoint(detector.kinds)
        for kind, start, end in detector.find(folded)
        if kind in kinds
    ]
    if names and "name" in kinds:
        found += names.find(text)
    return _apart(found) if len(found) > 1 else tuple(found)


def _apart(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Settles overlaps: the kind that comes first in `KINDS` stays, of one kind the longer; it takes in what encloses it.

    So a name of the user's list inside of an e-mail address makes the whole address a name: none of it may be left over.
    """
    apart: list[Finding] = []
    for finding in sorted(found, key=lambda each: (each.start, -each.end)):
        if not apart or finding.start >= apart[-1].end:
            apart.append(finding)
            continue
        last = apart[-1]
        stays = min(last, finding, key=lambda each: (_RANK[each.kind], each.start - each.end))
        if last.end >= finding.end:  # encloses it
            stays = last._replace(kind=stays.kind)
        apart[-1] = stays
    return tuple(apart)
