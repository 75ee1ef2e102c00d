"""Every kind of fault, in the order of the tables."""

from __future__ import annotations

from types import MappingProxyType

from oblix.testing.faults import bombs, connections, framing, in_band, protocol, slow, statuses, streams
from oblix.testing.faults.exchange import Moment
from oblix.testing.faults.kind import Kind, why_not
from oblix.testing.faults.wires import Wire

_TABLES = (
    statuses.KINDS,
    connections.KINDS,
    framing.KINDS,
    protocol.KINDS,
    streams.KINDS,
    in_band.KINDS,
    slow.KINDS,
    bombs.KINDS,
)
KINDS: MappingProxyType[str, Kind] = MappingProxyType({row.name: row for table in _TABLES for row in table})


def impossible(kind: str, moment: Moment, wire: Wire) -> str | None:
    """Why a kind of fault cannot happen at a moment in a protocol, in words; `None` where it can.

    Raises:
        KeyError: There is no such kind.
    """
    return why_not(KINDS[kind], moment, wire)
