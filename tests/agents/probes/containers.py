"""A host and containers as files: what `/proc` and `/sys/fs/cgroup` hold there.

The first four were looked at on machines of ours or in Docker; those of v2 follow the kernel's documentation of cgroup-v2.
"""

from __future__ import annotations

MB = 2**20
UNLIMITED_V1 = 9223372036854771712  # 2^63 less a page

HOST: dict[str, object] = {
    "proc/stat": """cpu  2000 0 1000 17000 100 0 0 0 0 0
cpu0 1000 0 500 8500 50 0 0 0 0 0
cpu1 1000 0 500 8500 50 0 0 0 0 0
intr 5 0""",
    "proc/loadavg": "0.50 0.40 0.30 2/300 12345",
    "proc/meminfo": """MemTotal:       8388608 kB
MemFree:        4194304 kB
MemAvailable:   6291456 kB
SwapTotal:      1048576 kB
SwapFree:        786432 kB
HugePages_Total:       0""",
    "proc/self/status": "Name:\tpython\nCpus_allowed_list:\t0-1\nMems_allowed_list:\t0",
    "proc/pressure/cpu": "some avg10=1.50 avg60=1.00 avg300=0.50 total=1000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0",
    "proc/pressure/memory": "some avg10=0.20 avg60=0.00 avg300=0.00 total=5000\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=4000",
}

V1_MOUNTS = """31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw,relatime master:11 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"""
V1_CPU, V1_MEMORY = "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/memory"


def v1_group(path: str, *, quota: int = -1, memory: int = UNLIMITED_V1, used: int = 50 * MB) -> dict[str, object]:
    """A group of v1; its file cache is 20 MB."""
    return {
        f"{V1_CPU}{path}/cpu.cfs_quota_us": quota,
        f"{V1_CPU}{path}/cpu.cfs_period_us": 100000,
        f"{V1_CPU}{path}/cpu.stat": "nr_periods 10\nnr_throttled 0\nthrottled_time 0",
        f"{V1_CPU}{path}/cpuacct.usage": 5_000_000_000,
        f"{V1_MEMORY}{path}/memory.limit_in_bytes": memory,
        f"{V1_MEMORY}{path}/memory.usage_in_bytes": used,
        f"{V1_MEMORY}{path}/memory.stat": f"cache 1\nactive_file 1\ninactive_file 1\nhierarchical_memory_limit {memory}\n"
        f"total_active_file {5 * MB}\ntotal_inactive_file {15 * MB}",
    }


# Docker without a namespace for control groups: the path is the host's, and only the container's own group is mounted.
V1_DOCKER: dict[str, object] = {
    **HOST,
    "proc/self/cgroup": "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/",
    "proc/self/mountinfo": V1_MOUNTS.format(root="/docker/abc"),
    "proc/7/cgroup": "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc",
    "proc/8/cgroup": "5:memory:/\n3:cpu,cpuacct:/",
    ".dockerenv": "",
    **v1_group("", quota=50000, memory=256 * MB),
}

# A service of the host, two groups deep; the parent is tighter in memory, the service itself in processor time.
V1_NESTED: dict[str, object] = {
    **HOST,
    "proc/self/cgroup": "5:memory:/batch/job\n3:cpu,cpuacct:/batch/job\n0::/",
    "proc/self/mountinfo": V1_MOUNTS.format(root="/"),
    **v1_group(""),
    **v1_group("/batch", quota=150000, memory=512 * MB, used=400 * MB),
    **v1_group("/batch/job", quota=120000, memory=1024 * MB, used=100 * MB),
}

V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate"


def v2_group(
    path: str, *, cpu: str = "max 100000", memory: object = "max", high: object = "max", used: int = 50 * MB
) -> dict[str, object]:
    """A group of v2; its file cache is 20 MB, and 2 MB of the kernel's can be dropped."""
    at = f"sys/fs/cgroup{path}"
    return {
        f"{at}/cpu.max": cpu,
        f"{at}/cpu.stat": "usage_usec 5000000\nuser_usec 1\nsystem_usec 1\nnr_periods 10\nnr_throttled 0\nthrottled_usec 0",
        f"{at}/cpu.pressure": "some avg10=7.00 avg60=0.00 avg300=0.00 total=100\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0",
        f"{at}/memory.max": memory,
        f"{at}/memory.high": high,
        f"{at}/memory.current": used,
        f"{at}/memory.pressure": "some avg10=8.00 avg60=0.00 avg300=0.00 total=100\nfull avg10=6.00 avg60=0.00 avg300=0.00 total=0",
        f"{at}/memory.stat": f"anon 1\nfile {20 * MB}\nactive_file {5 * MB}\ninactive_file {15 * MB}\nslab_reclaimable {2 * MB}",
    }


# Docker or Podman with a namespace of its own: the container's group looks like the root, but has limits.
V2_DOCKER: dict[str, object] = {
    **HOST,
    "proc/self/cgroup": "0::/",
    "proc/self/mountinfo": V2_MOUNT,
    "run/.containerenv": "",
    **v2_group("", cpu="50000 100000", memory=256 * MB),
}

# A systemd service: user slice without limits, a limited slice, and a service that is slowed down above `memory.high`.
V2_NESTED: dict[str, object] = {
    **HOST,
    "proc/self/cgroup": "0::/work.slice/llm.service",
    "proc/self/mountinfo": V2_MOUNT,
    "proc/7/cgroup": "0::/work.slice/llm.service/worker",
    "proc/8/cgroup": "0::/work.slice/llm.service2",
    **v2_group("/work.slice", cpu="100000 100000", memory=1024 * MB, used=100 * MB),
    **v2_group("/work.slice/llm.service", cpu="150000 100000", memory=800 * MB, high=512 * MB, used=92 * MB),
}
