"""The I/O registry of macOS, as `ioreg -a` prints it: property lists."""

from __future__ import annotations

from typing import Any

from oblix.agents.probes.system import System


def ioreg(system: System, kind: str, *, depth: int = 1) -> tuple[dict[str, Any], ...]:
    """The entries of a class, with the properties of those that are below them by so many steps; empty where there are none."""
    below = ("-l",) if depth > 1 else ()
    said = system.output("ioreg", "-a", "-r", *below, "-d", str(depth), "-c", kind)
    if not said:
        return ()
    import plistlib  # and expat: only Macs need them
    from xml.parsers.expat import ExpatError

    try:
        found = plistlib.loads(said.encode())
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        ExpatError,
    ):  # what it raises for what is no property list
        return ()
    return tuple(entry for entry in found if isinstance(entry, dict)) if isinstance(found, list) else ()


def number(entry: dict[str, Any], key: str) -> int | None:
    """A whole number; one that is negative comes as its 64-bit complement from some drivers."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value - (1 << 64) if value >= 1 << 63 else value


def switch(entry: dict[str, Any], key: str) -> bool | None:
    """A yes or a no."""
    value = entry.get(key)
    return value if isinstance(value, bool) else None
