"""What readings of the machine mean: available, constrained or critical, with the reasons in words and numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any, Literal, NamedTuple

from oblix.agents.hysteresis import BELOW, Band, Gate, step
from oblix.agents.probes.machine import FIRST_WINDOW, RECORDED, Machine
from oblix.agents.thresholds import Thresholds
from oblix.types.report import AgentReport

Level = Literal["constrained", "critical"]
LEVELS: tuple[Level, ...] = ("critical", "constrained")

HOLD = 3.0  # seconds that a value must stay calm before its limit is left: longer than the pauses of a build or of a page that loads
MARGIN = 5.0  # percent points below a limit; half of what lies between a threshold and its critical twin
SHARE_MARGIN = 0.15  # the same for signals that are held against 1

# Percent of the time in which somebody waited for a processor. Our own inference alone can cause that, so half of the machine must be in
# others' hands as well.
CPU_PRESSURE = 60.0
# Percent of the time in which somebody waited for memory: the example of the kernel's documentation, 150 ms in a second, is where
# "partial memory stall" is worth a word (https://docs.kernel.org/accounting/psi.html); in which everybody did: where systemd-oomd, by
# default, begins to kill (https://www.freedesktop.org/software/systemd/man/latest/oomd.conf.html, DefaultMemoryPressureLimit).
# Some other control group that runs into its own limit makes the machine's figure rise, too; so half of our memory must be in use as well.
MEMORY_PRESSURE = 15.0
MEMORY_PRESSURE_FULL = 60.0
HALF = 50.0


class Signal(NamedTuple):
    """Something that may speak against running here.

    Attributes:
        value: What is held against the band; `None`: cannot be told.
        words: What is told of it, with a place for the figure.
        figure: `None`: the value itself.
        unit: Of the limit; empty where the words say enough without one.
    """

    name: str
    level: Level
    value: float | None
    band: Band
    words: str
    unit: str | None = None
    figure: float | None = None

    def told(self) -> str:
        """In words and numbers; of a value that is below its limit again, but not for long enough, as that."""
        figure = self.value if self.figure is None else self.figure
        if self.value is None or figure is None:
            return f"{self.name} over its limit a moment ago, and now unknown"
        words, is_over = self.words.format(figure), self.value >= self.band.limit
        if self.unit is None:
            return words if is_over else f"{words}, more a moment ago"
        limit = f"{self.band.limit:g}{self.unit}"
        return f"{words} (limit {limit})" if is_over else f"{words} (over {limit} a moment ago)"


class MachineState:
    """Judges one reading after the other: a limit counts at once when it is passed, and until the values stayed calm for 3 s."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._gates: dict[tuple[str, Level], Gate] = {}

    def judge(self, machine: Machine, at: float, *, stale: bool = False) -> AgentReport:
        """The report on a reading that was taken at that moment, in seconds on a clock that does not go back."""
        over: dict[Level, list[str]] = {level: [] for level in LEVELS}
        for signal in signals(machine, self._thresholds):
            key = signal.name, signal.level
            gate = self._gates[key] = step(self._gates.get(key, BELOW), signal.value, at, signal.band)
            if gate.is_over:
                over[signal.level].append(signal.told())
        report = _report(machine, over, self._thresholds, stale=stale)
        is_recorded = machine.source.startswith(RECORDED)  # a variable that was forgotten must not pass for the machine
        return replace(report, reason=f"{report.reason} ({machine.source})") if is_recorded else report


def signals(machine: Machine, thresholds: Thresholds) -> Iterator[Signal]:
    """Everything that a reading is judged by."""
    limits, group = thresholds.percent, _group(machine)
    cpu = machine.cpu_percent if _is_believed(machine) else None
    cores = f"CPU of {group} {{:.0f}} % of {machine.cores:g} cores" if machine.cpu_limit_cores else "CPU {:.0f} %"
    yield from _pair("cpu", cpu, cores, limits["cpu_threshold"], limits["critical_cpu"])
    size = machine.memory_limit_bytes
    memory = f"memory of {group} {{:.0f}} % of {_size(size)}" if size else "memory {:.0f} %"
    yield from _pair("memory", machine.memory_percent, memory, limits["memory_threshold"], limits["critical_memory"])
    yield from _pair("gpu", _gpu_load(machine), "GPU {:.0f} %", limits["gpu_threshold"], limits["critical_gpu"])
    if machine.pressure_cpu_percent is None:
        yield _load(machine, thresholds)
    else:
        waits, told = machine.pressure_cpu_percent, "tasks waited for the CPU {:.0f} % of the time"
        yield _share("pressure", "constrained", waits, CPU_PRESSURE, machine.cpu_percent, told)
    some, full, used = machine.pressure_memory_percent, machine.pressure_memory_full_percent, _used_percent(machine)
    yield _share("stalls", "constrained", some, MEMORY_PRESSURE, used, "tasks waited for memory {:.0f} % of the time")
    yield _share("stalls", "critical", full, MEMORY_PRESSURE_FULL, used, "all waited for memory {:.0f} % of the time")


def _pair(name: str, value: float | None, words: str, threshold: float, critical: float) -> Iterator[Signal]:
    """The same value against a threshold and its critical twin."""
    limits: tuple[tuple[Level, float], ...] = (("critical", critical), ("constrained", threshold))
    for level, limit in limits:
        band = Band(limit, margin=min(MARGIN, limit / 4), hold=HOLD)  # a threshold of 3 must be one that can be left
        yield Signal(name, level, value, band, words, " %")


def _share(name: str, level: Level, value: float | None, limit: float, witness: float | None, words: str) -> Signal:
    """A signal that needs a witness: both must be at their limits, and it is the weaker one that is held against them."""
    weaker = None if value is None or witness is None else min(value / limit, witness / HALF)
    return Signal(name, level, weaker, Band(1.0, margin=SHARE_MARGIN, hold=HOLD), words, figure=value)


def _load(machine: Machine, thresholds: Thresholds) -> Signal:
    """Tasks that run or wait, where the kernel does not tell how long they wait. The figure is the machine's, also in a container."""
    limit = thresholds.load or max(4.0, 2.0 * (machine.machine_cores or machine.cores))
    return Signal(
        "load", "constrained", machine.load_1min, Band(limit, margin=0.1 * limit, hold=HOLD), "load {:.1f}", ""
    )


def _is_believed(machine: Machine) -> bool:
    """Whether the load counts: a first reading, over 60 ms only, must be borne out by what the kernel saw over seconds."""
    if machine.settled:
        return True
    if machine.pressure_cpu_percent is not None:
        return machine.pressure_cpu_percent >= 20.0
    return machine.load_1min is not None and machine.load_1min >= 0.8 * machine.cores


def _gpu_load(machine: Machine) -> float | None:
    """The busiest one; without those that may be busy for us, because their driver does not tell our own inference apart."""
    is_inferring = machine.own_percent >= 1.0
    loads = [gpu.load_percent for gpu in machine.gpus if gpu.own_percent is not None or not is_inferring]
    return max((load for load in loads if load is not None), default=None)


def _used_percent(machine: Machine) -> float | None:
    """Memory in use by all, our own inference as well."""
    total, available = machine.memory_total_bytes, machine.memory_available_bytes
    return 100.0 * (total - available) / total if total and available is not None else machine.memory_percent


def _group(machine: Machine) -> str:
    return "this container" if machine.in_container else "this control group"


def _size(size: int) -> str:
    """In powers of 1024, because that is how limits are given."""
    return f"{size / 2**30:.3g} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"


def _report(machine: Machine, over: dict[Level, list[str]], thresholds: Thresholds, *, stale: bool) -> AgentReport:
    metrics = metrics_of(machine)
    if machine.cpu_percent is None and machine.memory_percent is None:
        told = "neither processor nor memory can be read"
        return AgentReport(state="unknown", reason=told, metrics=metrics, stale=stale)
    if critical := over["critical"]:
        return AgentReport(state="critical", target="cloud", reason=", ".join(critical), metrics=metrics, stale=stale)
    if constrained := over["constrained"]:
        told = ", ".join(constrained)
        return AgentReport(state="constrained", lean="cloud", reason=told, metrics=metrics, stale=stale)
    return AgentReport(state="available", reason=_words(machine, thresholds), metrics=metrics, stale=stale)


def _words(machine: Machine, thresholds: Thresholds) -> str:
    cpu, limits = machine.cpu_percent, thresholds.percent
    told = ["CPU unknown" if cpu is None else f"CPU {cpu:.0f} %"]
    # Where nothing speaks against the machine, a load at its limit is one that did not count.
    is_doubted = cpu is not None and cpu >= min(limits["cpu_threshold"], limits["critical_cpu"])
    if is_doubted:
        told.append(f"not borne out by {'the load' if machine.pressure_cpu_percent is None else 'pressure'}")
    if machine.memory_percent is not None:
        told.append(f"memory {machine.memory_percent:.0f} %")
    if machine.gpus_stale:
        told.append("GPU does not answer")
    how = "idle" if cpu is not None and cpu < 30.0 else "free"
    if is_doubted:
        how = f"free as far as a first glance of {1e3 * FIRST_WINDOW:.0f} ms tells"
    return f"machine {how} ({', '.join(told)})"


def metrics_of(machine: Machine) -> dict[str, Any]:
    """The figures of a report; `None` is "cannot tell"."""
    cores, cpu = machine.cores, machine.cpu_percent
    all_cores = machine.machine_cores or cores
    return {
        "cpu_percent": _rounded(cpu),
        "cores": int(cores) if cores == int(cores) else round(cores, 2),
        "cores_busy": None if cpu is None else round(cpu * cores / 100.0, 2),
        "cpu_limit_cores": machine.cpu_limit_cores,
        "throttled_percent": _rounded(machine.throttled_percent),
        "own_inference_percent": round(machine.own_percent, 1),
        "pressure_cpu_percent": _rounded(machine.pressure_cpu_percent),
        "pressure_memory_percent": _rounded(machine.pressure_memory_percent),
        "load_1min": machine.load_1min,
        "load_per_core": None if machine.load_1min is None else round(machine.load_1min / all_cores, 2),
        "memory_percent": _rounded(machine.memory_percent),
        "memory_total_bytes": machine.memory_total_bytes,
        "memory_available_bytes": machine.memory_available_bytes,
        "memory_limit_bytes": machine.memory_limit_bytes,
        "own_memory_bytes": machine.own_memory_bytes,
        "swap_percent": _rounded(machine.swap_percent),
        "in_container": machine.in_container,
        "gpus": [asdict(gpu) for gpu in machine.gpus],
        "gpus_stale": machine.gpus_stale,
        "source": machine.source,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
