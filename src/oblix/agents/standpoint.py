"""Where this machine stands in the network: its routes, its device, and what the system says of both."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from oblix.agents.probes.link import Kind, device_to, is_unplugged, kind_of, source_of
from oblix.agents.probes.metered import is_metered
from oblix.agents.probes.system import HERE, System
from oblix.types.traffic import Endpoint

Addresses = Mapping[Endpoint, Sequence[tuple[str, int]]]


class Change(NamedTuple):
    """What became of the routes since the last look; true where they are not what they were.

    Attributes:
        cut_off: Endpoints that no route leads to.
        is_other_network: Packets leave from another address of ours than before.
    """

    happened: bool
    cut_off: tuple[Endpoint, ...] = ()
    is_other_network: bool = False

    def __bool__(self) -> bool:
        return self.happened


class Standpoint:
    """Looked at from a sensor's thread; what it found is read from anywhere.

    Attributes:
        is_cut_off: No packet would leave for any endpoint.
        device: That packets to the endpoints leave by.
        is_unplugged: It has no carrier.
    """

    def __init__(self, system: System = HERE) -> None:
        self.is_cut_off = False
        self.device: str | None = None
        self.kind: Kind | None = None
        self.is_unplugged: bool | None = None
        self.is_metered: bool | None = None
        self._system = system
        self._sources: dict[Endpoint, str | None] = {}
        self._last_sources: dict[Endpoint, str] = {}
        self._device_source: str | None = None
        self._asking: threading.Thread | None = None

    def look(self, addresses: Addresses) -> Change:
        """Look the routes up. Nothing is sent."""
        sources = {
            endpoint: next((source for address in each if (source := source_of(address)) is not None), None)
            for endpoint, each in addresses.items()
            if each
        }
        before, self._sources = self._sources, sources
        happened = any(endpoint in before and before[endpoint] != source for endpoint, source in sources.items())
        other = any(
            source is not None and self._last_sources.get(endpoint, source) != source
            for endpoint, source in sources.items()
        )
        self._last_sources |= {endpoint: source for endpoint, source in sources.items() if source is not None}
        if happened or (self.device is None and sources.keys() != before.keys()):
            self._see_device(addresses, sources)
        was_unplugged, self.is_unplugged = self.is_unplugged, self._sees_no_carrier()
        happened = happened or (was_unplugged is not None and bool(was_unplugged) != bool(self.is_unplugged))
        cut_off = tuple(
            endpoint
            for endpoint, source in sources.items()
            if source is None or (self.is_unplugged and source == self._device_source)
        )
        self.is_cut_off = bool(cut_off) and len(cut_off) == len(addresses)
        return Change(happened, cut_off, other)

    def _sees_no_carrier(self) -> bool | None:
        if self.device is None or self.kind == "loopback" or self._system.platform != "linux":
            return None
        return is_unplugged(self.device, self._system)

    def _see_device(self, addresses: Addresses, sources: Mapping[Endpoint, str | None]) -> None:
        """Of the first endpoint that has a route. Programs that may hang are asked on a thread of their own."""
        first = next((endpoint for endpoint in addresses if sources.get(endpoint) is not None), None)
        if first is None or (self._asking is not None and self._asking.is_alive()):
            return
        reached, self._device_source = addresses[first][0][0], sources[first]
        if self._system.platform == "linux":
            self.device = device_to(reached, self._system)
            self.kind = kind_of(self.device, self._system) if self.device else None
        self._asking = threading.Thread(target=self._ask, args=(reached,), name="oblix-network-kind", daemon=True)
        self._asking.start()

    def _ask(self, reached: str) -> None:
        if self._system.platform == "darwin":
            self.device = device_to(reached, self._system)
            self.kind = kind_of(self.device, self._system) if self.device else None
        self.is_metered = None if self.kind == "loopback" else is_metered(self.device, self._system)
