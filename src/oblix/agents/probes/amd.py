"""Graphics processors by AMD, from what the kernel's driver amdgpu tells in sysfs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from oblix.agents.probes.dozing import Dozing
from oblix.agents.probes.graphics import Gpu, without_own
from oblix.agents.probes.system import HERE, System

DRM = "/sys/class/drm"
# Where `indep_throttle_status` stands in the driver's table, by its form and revision, and what its bits mean (kernel, amdgpu:
# kgd_pp_interface.h and amdgpu_smu.h; all bits: not supported).
_STATUS = {(1, 3): 112, (2, 2): 120, (2, 3): 120, (2, 4): 120}
_REASONS = ((0xFFFF << 32, "heat"), (0xFF | 0xFF << 16, "power"))
LOOK_ANEW = 30.0  # seconds that the list of cards is kept: they are seldom plugged in
_CARD = re.compile(r"card\d+")
_ENGINE = re.compile(r"^drm-engine-(?:gfx|compute):\s*(\d+) ns$", re.MULTILINE)
_CLIENT = re.compile(r"^drm-client-id:\s*(\d+)$", re.MULTILINE)
_SLOT = re.compile(r"^PCI_SLOT_NAME=(\S+)$", re.MULTILINE)
_PLACE = re.compile(r"^drm-pdev:\s*(\S+)$", re.MULTILINE)


class AmdProbe:
    """The cards that amdgpu drives. For one thread only.

    Args:
        own_processes: Asked at each reading for the processes whose load is our own inference.
    """

    def __init__(
        self,
        own_processes: Callable[[], frozenset[int]],
        system: System = HERE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own = own_processes
        self._system = system
        self._clock = clock
        self._cards: tuple[float, tuple[_Card, ...]] = (float("-inf"), ())

    def is_present(self) -> bool:
        """Whether there is a card; looked up anew every 30 s."""
        at, cards = self._cards
        if self._clock() - at >= LOOK_ANEW:
            found = tuple(name for name in self._system.names(DRM) if _CARD.fullmatch(name) and self._is_ours(name))
            if found != tuple(card.name for card in cards):
                cards = tuple(_Card(self._system, name, self._clock) for name in found)
            self._cards = (self._clock(), cards)
        return bool(cards)

    def read(self) -> tuple[Gpu, ...]:
        """One reading of each card; one that sleeps is told as idle, and is not woken."""
        if not self.is_present():
            return ()
        own = self._own()
        return tuple(card.read(own) for card in self._cards[1])

    def _is_ours(self, card: str) -> bool:
        return self._system.path(f"{DRM}/{card}/device/gpu_busy_percent").exists()


class _Card:
    def __init__(self, system: System, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self._system = system
        self._clock = clock
        self._at = f"{DRM}/{name}/device"
        self._dozing = Dozing(system, (self._at,), clock)
        self._spent: tuple[float, dict[int, int]] | None = None
        self._latest: Gpu | None = None

    def read(self, own: frozenset[int]) -> Gpu:
        if self._dozing.is_asleep:
            return Gpu(self._name(), 0.0, None, throttled=(), source="sysfs")
        if self._dozing.is_resting and self._latest is not None:
            return self._latest
        busy, figures = self._number("gpu_busy_percent"), self._figures()
        load, ours = without_own(None if busy is None else float(busy), self._own_percent(own))
        total, free, shared = self._memory(is_built_in=figures[2:3] in (b"\2", b"\3"))
        self._latest = Gpu(
            self._name(),
            load,
            100.0 * (total - free) / total if total and free is not None else None,
            own_percent=ours,
            memory_bytes=total,
            free_bytes=free,
            free_shared_bytes=shared,
            temperature_celsius=_scaled(self._sensor("temp1_input"), 1e3),
            power_watts=_scaled(self._sensor("power1_average", "power1_input"), 1e6),
            throttled=_throttled(figures),
            source="sysfs",
        )
        self._dozing.saw(idle=busy == 0)
        return self._latest

    def _number(self, file: str) -> int | None:
        return self._system.number(f"{self._at}/{file}")

    def _name(self) -> str:
        told = self._system.text(f"{self._at}/product_name")
        return told or f"AMD GPU {self._system.text(f'{self._at}/device') or ''}".strip()

    def _memory(self, *, is_built_in: bool) -> tuple[int | None, int | None, int]:
        """Bytes in all, the free ones, and those of the free ones that are main memory.

        Graphics built into a processor may use main memory (GTT) beside what is set apart for them.
        """
        total, free = self._pool("vram")
        if not is_built_in:
            return total, free, 0
        more, shared = self._pool("gtt")
        if total is None or more is None:
            return None, None, 0
        if free is None or shared is None:
            return total + more, None, 0
        return total + more, free + shared, shared

    def _pool(self, name: str) -> tuple[int | None, int | None]:
        """Bytes of one kind of memory in all, and the free ones."""
        total, used = self._number(f"mem_info_{name}_total"), self._number(f"mem_info_{name}_used")
        return total, None if not total or used is None else max(0, total - used)

    def _figures(self) -> bytes:
        """The driver's own table; empty where it has none. Its form is that of cards (1), or of built-in graphics (2, 3)."""
        try:
            return self._system.path(f"{self._at}/gpu_metrics").read_bytes()
        except OSError:
            return b""

    def _sensor(self, *files: str) -> int | None:
        for chip in self._system.names(f"{self._at}/hwmon"):
            for file in files:
                if (found := self._number(f"hwmon/{chip}/{file}")) is not None:
                    return found
        return None

    def _own_percent(self, own: frozenset[int]) -> float | None:
        """Our processes' share since the last reading. `None` where they are not told of: ROCm's own queues are not."""
        spent: dict[int, int] = {}
        place = next(iter(_SLOT.findall(self._system.text(f"{self._at}/uevent") or "")), None)
        for pid in own:
            spent |= self._clients(pid, place)
        before, now = self._spent, self._clock()
        self._spent = (now, spent)
        if not own:
            return 0.0
        if before is None or not spent or now <= before[0]:
            return None
        grown = sum(max(0, nanoseconds - before[1].get(client, nanoseconds)) for client, nanoseconds in spent.items())
        return grown / 1e7 / (now - before[0])

    def _clients(self, pid: int, place: str | None) -> dict[int, int]:
        """What a process took of the card so far, in nanoseconds per client (kernel, Documentation/gpu/drm-usage-stats.rst)."""
        found: dict[int, int] = {}
        for descriptor in self._system.names(f"/proc/{pid}/fdinfo"):
            text = self._system.text(f"/proc/{pid}/fdinfo/{descriptor}") or ""
            client, device = _CLIENT.search(text), _PLACE.search(text)
            if client is not None and (device is None or place is None or device[1] == place):
                found[int(client[1])] = sum(int(each) for each in _ENGINE.findall(text))
        return found


def _throttled(figures: bytes) -> tuple[str, ...] | None:
    """Why it is slowed down, `None` where its table does not tell in a form that we know."""
    at = _STATUS.get((figures[2], figures[3])) if len(figures) > 3 else None
    if at is None or len(figures) < at + 8:
        return None
    bits = int.from_bytes(figures[at : at + 8], "little")
    return None if bits == (1 << 64) - 1 else tuple(word for mask, word in _REASONS if bits & mask)


def _scaled(value: int | None, by: float) -> float | None:
    return None if value is None else value / by
