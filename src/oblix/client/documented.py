"""Readings under the keys that the original documented, beside ours: the same figures twice. Pure; `None` is "cannot tell"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

GB = 1e9  # bytes


def machine(report: Mapping[str, Any], timestamp: str) -> dict[str, Any]:
    """A report of the ResourceMonitor.

    Its `metrics` get the original's nests `cpu`, `memory` and `gpu`; the report gets the keys that its documentation promised
    (`cpu_percent`, `gpu`), of which its own results had none.

    Args:
        timestamp: When, in ISO 8601 with its zone.
    """
    found = report["metrics"]
    gpu = _gpu(found.get("gpus", ()))
    nests = {"cpu": _cpu(found), "memory": _memory(found), "gpu": gpu}
    return {
        **report,
        "metrics": {**found, **nests},
        "cpu_percent": found.get("cpu_percent"),
        "memory_percent": found.get("memory_percent"),
        "gpu": gpu if gpu["available"] else None,
        "timestamp": timestamp,
    }


def network(report: Mapping[str, Any], timestamp: str) -> dict[str, Any]:
    """A report of the ConnectivityAgent: `latency` in ms, `packet_loss` in percent, `bandwidth` in Mbit/s. Never an infinite figure."""
    found = report["metrics"]
    figures = {
        "latency": found.get("latency_ms"),
        "packet_loss": found.get("packet_loss_percent"),
        "bandwidth": found.get("bandwidth_mbps"),
    }
    kind = found.get("connection_type")
    return {
        **report,
        **figures,
        "connection_type": kind,
        "connection_info": {"type": kind, **figures},
        "timestamp": timestamp,
    }


def _cpu(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "usage_percent": found.get("cpu_percent"),
        "core_count": {"physical": None, "logical": found.get("cores")},
        "load_average": {"1min": found.get("load_1min"), "5min": None, "15min": None},
    }


def _memory(found: Mapping[str, Any]) -> dict[str, Any]:
    total, free = found.get("memory_total_bytes"), found.get("memory_available_bytes")
    return {
        "ram": {
            "total_gb": _gb(total),
            "available_gb": _gb(free),
            "used_gb": None if total is None or free is None else _gb(total - free),
            "usage_percent": found.get("memory_percent"),
        },
        "swap": {"usage_percent": found.get("swap_percent")},
    }


def _gpu(gpus: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The first graphics processor; the others are in `metrics["gpus"]`."""
    first = gpus[0] if gpus else {}
    return {
        "available": bool(gpus),
        "name": first.get("name"),
        "utilization": first.get("load_percent"),
        "memory_utilization": first.get("memory_percent"),
    }


def _gb(size: float | None) -> float | None:
    return None if size is None else round(size / GB, 2)
