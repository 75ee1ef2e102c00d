"""The one sampler of this process: reads the machine twice a second for all who look on, and the graphics processors beside it.

Clients and their agents come and go, also on several event loops; the machine is read once for all of them, and only while there are any.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from dataclasses import replace
from typing import Protocol

from oblix.agents.probes.gpu import Gpu, GpuProbe
from oblix.agents.probes.machine import Machine, MachineProbe
from oblix.agents.sensor import Sample, Sensor

INTERVAL = 0.5  # seconds between two readings; a machine that is busy must be known as one within 3 s
GPU_INTERVAL = 1.0  # seconds; a driver's own figure is a mean over up to that long
GPU_FRESH = 5.0  # seconds after which a graphics processor counts as one that does not answer


class Viewer(Protocol):
    """Somebody who looks on. All are called on the sampler's thread, and must not block."""

    def own_processes(self) -> frozenset[int]:
        """Processes whose load is our own inference."""

    def has_local_server(self) -> bool:
        """Whether the load of this machine's edge servers is our own inference, too."""

    def take(self, sample: Sample[Machine]) -> None:
        """A new reading."""


class Sampler:
    """Reads for as long as somebody looks on; one who is dropped without leaving counts as gone.

    Graphics processors have a thread of their own, because their drivers can hang: the readings then go on without them.
    """

    def __init__(self) -> None:
        self._viewers: tuple[weakref.ref[Viewer], ...] = ()
        self.begin_anew()

    def begin_anew(self) -> None:
        """In the child after a fork: lock and probes may be in the hands of threads that are not there any more."""
        self._lock = threading.Lock()
        self._is_open = False

    def join(self, viewer: Viewer) -> Sensor[Machine]:
        """Look on from now on: the machine is read at once. Joining twice does no harm."""
        with self._lock:
            if not self._is_open:
                self._open()
            if viewer not in self._present():
                self._viewers = (*self._viewers, weakref.ref(viewer))
                self._machine.poke()
        return self._machine

    def leave(self, viewer: Viewer) -> None:
        """Look on no more. Who leaves last turns off the light."""
        with self._lock:
            self._viewers = tuple(ref for ref in self._viewers if ref() not in (viewer, None))
            if self._is_open:
                self._stop_if_alone()

    def _open(self) -> None:
        self._is_open = True
        self._probe = MachineProbe(self._own_processes, self._has_local_server)
        self._machine = Sensor("machine", self._read, INTERVAL)
        self._gpu_probe = GpuProbe(lambda: self._probe.own)
        self._gpus_since: float | None = None  # since when there are any
        self._gpus: Sensor[tuple[Gpu, ...]] = Sensor("gpu", self._gpu_probe.read, GPU_INTERVAL)

    def _present(self) -> list[Viewer]:
        return [viewer for ref in self._viewers if (viewer := ref()) is not None]

    def _stop_if_alone(self) -> None:
        if not self._present():
            self._machine.stop()
            self._gpus.stop()
            self._gpus_since = None

    def _own_processes(self) -> frozenset[int]:
        return frozenset().union(*(viewer.own_processes() for viewer in self._present()))

    def _has_local_server(self) -> bool:
        return any(viewer.has_local_server() for viewer in self._present())

    def _read(self) -> Machine:
        with self._lock:
            self._stop_if_alone()
        machine = self._with_gpus(self._probe.read())
        sample = Sample(machine, time.monotonic())
        for viewer in self._present():
            viewer.take(sample)
        return machine

    def _with_gpus(self, machine: Machine) -> Machine:
        """The reading with the latest one of the graphics processors, if that is young; whether they are silent is told after a while."""
        if machine.source != "sensors" or not self._gpu_probe.is_present():
            self._gpus.stop()
            self._gpus_since = None
            return machine
        with self._lock:  # the last viewer may be leaving at this moment
            if self._present():
                self._gpus.start()
        now, latest = time.monotonic(), self._gpus.latest
        if self._gpus_since is None:
            self._gpus_since = now
        if latest is not None and now - latest.at <= GPU_FRESH:
            return replace(machine, gpus=latest.value)
        return replace(machine, gpus_stale=now - self._gpus_since > GPU_FRESH)


SAMPLER = Sampler()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SAMPLER.begin_anew)
