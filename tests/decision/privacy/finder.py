"""A small detector for the tests of redaction: shapes that are easy to make, and two kinds that show by their surroundings only."""

from __future__ import annotations

import re

from oblix.types.privacy import Finding

_SHAPES = re.compile(
    r"(?P<email>[a-z0-9.]+@[a-z0-9]+(?:\.[a-z0-9]+)+)"
    r"|(?P<card>(?<![0-9])[0-9]{4}(?:[ -]?[0-9]{4}){3}(?![0-9]))"
    r"|password\"?[ ]?[=:][ ]?\"?(?P<password>[^\s\"]+)"
    r"|\bssn\"?\W{1,3}(?P<us_ssn>[0-9]{3}-[0-9]{2}-[0-9]{4})"
    r"|(?P<pem>-----BEGIN[ ]KEY-----[^-]*-----END[ ]KEY-----)",
    re.IGNORECASE,
)


def find(text: str) -> tuple[Finding, ...]:
    """What is private in the text."""
    return tuple(
        Finding(kind, *found.span(kind)) for found in _SHAPES.finditer(text) if (kind := found.lastgroup) is not None
    )
