"""Inside of a real container: its limits are what is told, in the way that each kind of container shows its groups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from .groups import Group, folders

MB = 2**20
LOOK = """
import asyncio, json
from oblix.agents import ResourceMonitor

async def main():
    monitor = ResourceMonitor()
    await monitor.initialize()
    while (report := await monitor.check()).state == "unknown":
        await asyncio.sleep(0.01)
    print(json.dumps(report.to_dict()))

asyncio.run(main())
"""
# What a runtime does to the mounts before the program starts, in a mount namespace of its own.
NAMESPACED = """
for name in cpu cpuacct memory; do
    umount /sys/fs/cgroup/$name && mount -t cgroup -o $name cgroup /sys/fs/cgroup/$name
done
"""
BOUND = """
for name in cpu cpuacct memory; do
    own=$(grep ":$name:" /proc/self/cgroup | cut -d: -f3)
    mount --bind /sys/fs/cgroup/$name$own /mnt && umount -l /sys/fs/cgroup/$name
    mount --bind /mnt /sys/fs/cgroup/$name && umount /mnt
done
"""


def report(group: Group, *before: str) -> dict[str, Any]:
    """What a ResourceMonitor says inside of that group."""
    command = [*before, sys.executable, "-c", LOOK]
    found = subprocess.run(
        command,
        preexec_fn=lambda: group.add(os.getpid()),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    told: dict[str, Any] = json.loads(found.stdout)
    return told


def sh(script: str) -> list[str]:
    return ["sh", "-ec", f'{script}\nexec "$@"', "sh"]


@pytest.mark.parametrize(
    "before",
    [[], ["unshare", "-C", "-m", *sh(NAMESPACED)], ["unshare", "-m", *sh(BOUND)]],
    ids=["a group of the host", "a namespace of its own", "the host's names, as Docker shows them"],
)
def test_its_limits_are_what_is_told(require: Callable[[object, str], None], before: list[str]) -> None:
    found = folders()
    require({"cpu", "cpuacct", "memory"} <= found.keys(), "control groups (v1) that we may make")
    if before:
        apart = all(Path(f"/sys/fs/cgroup/{name}").is_mount() for name in ("cpu", "cpuacct", "memory"))
        require(os.geteuid() == 0 and apart, "mounts of one controller each, and the right to change them")
    with Group(cores=0.5, memory=256 * MB) as group:
        told = report(group, *before)["metrics"]
    assert (told["cores"], told["cpu_limit_cores"]) == (0.5, 0.5)
    assert told["memory_total_bytes"] == told["memory_limit_bytes"] == 256 * MB
    assert 200 * MB < told["memory_available_bytes"] < 256 * MB
    # What the C library and psutil would have told.
    assert psutil.virtual_memory().total > 256 * MB
    assert (os.cpu_count() or 1) > 0.5
