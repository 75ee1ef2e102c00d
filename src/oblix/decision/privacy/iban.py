"""Bank accounts: IBANs, by the structure of their country and ISO 7064 mod 97,10."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from oblix.decision.privacy.checksums import mod97
from oblix.decision.privacy.folding import Folded
from oblix.types.privacy import Finding

# What follows country and check digits: n digits, a letters, c either. Source: SWIFT's IBAN registry; compared
# with python-stdnum 2.x's copy of it, 2026-11-23: all 89 countries the same.
_REGISTRY = (
    "AD:8n12c AE:19n AL:8n16c AT:16n AZ:4a20c BA:16n BE:12n BG:4a6n8c BH:4a14c BI:23n BR:23n1a1c BY:4c4n16c CH:5n12c "
    "CR:18n CY:8n16c CZ:20n DE:18n DJ:23n DK:14n DO:4c20n EE:16n EG:25n ES:20n FI:14n FK:2a12n FO:14n FR:10n11c2n "
    "GB:4a14n GE:2a16n GI:4a15c GL:14n GR:7n16c GT:24c HN:4a20n HR:17n HU:24n IE:4a14n IL:19n IQ:4a15n IS:22n "
    "IT:1a10n12c JO:4a4n18c KW:4a22c KZ:3n13c LB:4n20c LC:4a24c LI:5n12c LT:16n LU:3n13c LV:4a13c LY:21n MC:10n11c2n "
    "MD:20c ME:18n MK:3n10c2n MN:16n MR:23n MT:4a5n18c MU:4a19n3a NI:4a20n NL:4a10n NO:11n OM:3n16c PK:4a16c PL:24n "
    "PS:4a21c PT:21n QA:4a21c RO:4a16c RS:18n RU:14n15c SA:2n18c SC:4a20n3a SD:14n SE:20n SI:15n SK:20n SM:1a10n12c "
    "SO:19n ST:21n SV:4a20n TL:19n TN:20n TR:6n16c UA:6n19c VA:18n VG:4a16n XK:16n YE:4a4n18c"
)
_STRUCTURES: dict[str, str] = dict(re.findall(r"(..):(\w+)", _REGISTRY))
_CLASSES = {"n": "[0-9]", "a": "[A-Za-z]", "c": "[A-Za-z0-9]"}
_START = re.compile(rb"0(?<=aa0)(?<![0a]aa0)(?=0[ 0a-])")
_PART = re.compile(r"(\d+)([nac])")
_NO_JOINERS = bytes.maketrans(b"", b""), b" -"

SIGN = rb"[A-Za-z]{2}[0-9]{2}[ 0-9A-Za-z-]"


@cache
def _written(country: str) -> re.Pattern[bytes]:
    """How the accounts of a country are written: solid or in groups of four; where they have digits only, in any groups.

    A separator may stand at known places, and is none of the characters beside it, so that there is one way to match and none to go back.
    """
    places = [_CLASSES[kind] for size, kind in _PART.findall(_STRUCTURES[country]) for _ in range(int(size))]
    if all(place == _CLASSES["n"] for place in places):
        return re.compile(f"..[0-9]{{2}}[ -]?{'[ -]?'.join(places)}(?![0-9A-Za-z])".encode())
    groups = ["".join(places[at : at + 4]) for at in range(0, len(places), 4)]
    arms = (separator.join(("..[0-9]{2}", *groups)) for separator in ("", " ", "-"))
    return re.compile(f"(?:{'|'.join(arms)})(?![0-9A-Za-z])".encode())


def find(text: Folded) -> Iterator[Finding]:
    """Each IBAN whose structure and check digits hold."""
    for place in _START.finditer(text.shape):
        start = place.start() - 2
        country = text.raw[start : start + 2].decode().upper()
        if country in _STRUCTURES:
            found = _written(country).match(text.raw, start)
            if found and mod97(found.group().translate(*_NO_JOINERS).decode().upper()):
                yield Finding("iban", start, found.end())


def has_start(text: Folded) -> bool:
    """Whether an IBAN could be there."""
    return _START.search(text.shape) is not None
