"""A `pynvml` for a child process: it behaves as the file named by `NVML_STUB` says, in NVML's own words and with its own errors.

The file is JSON: `init` (an error code, or `hang`), `devices` (one object each: function name without `nvmlDeviceGet` → what it returns,
`{"error": code}`, or left out: not supported), and it is read anew at every call, so that a driver can be lost and come back.
Values and structures follow the binding nvidia-ml-py 13; figures are as NVIDIA's documentation shows them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NVML_ERROR_NOT_SUPPORTED = 3
calls: list[str] = []
_open = 0


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


def _state() -> dict[str, Any]:
    return json.loads(Path(os.environ["NVML_STUB"]).read_text())  # type: ignore[no-any-return]


def nvmlInit() -> None:  # noqa: N802
    global _open  # noqa: PLW0603
    calls.append("nvmlInit")
    how = _state().get("init")
    if how == "hang":
        print("hanging", file=sys.stderr, flush=True)
        while True:
            time.sleep(3600)
    if how == "raise":
        raise OSError("the library is of another architecture")
    if how:
        raise NVMLError(how)
    _open += 1


def nvmlShutdown() -> None:  # noqa: N802
    global _open  # noqa: PLW0603
    calls.append("nvmlShutdown")
    if not _open:
        raise NVMLError(1)
    _open -= 1


def nvmlDeviceGetCount() -> int:  # noqa: N802
    return len(_checked()["devices"])


def nvmlDeviceGetHandleByIndex(index: int) -> int:  # noqa: N802
    if "HandleByIndex" in _checked()["devices"][index]:
        _said(index, "HandleByIndex")
    return index


def nvmlDeviceGetMigDeviceHandleByIndex(device: int, index: int) -> str:  # noqa: N802
    parts = _checked()["devices"][device]["parts"]
    if index >= len(parts):
        raise NVMLError(6)
    return f"{device}/{index}"


def _checked() -> dict[str, Any]:
    state = _state()
    if not _open:
        raise NVMLError(1)
    if state.get("lost"):
        raise NVMLError(state["lost"])
    return state


def _device(handle: int | str) -> dict[str, Any]:
    devices = _checked()["devices"]
    if isinstance(handle, int):
        return devices[handle]  # type: ignore[no-any-return]
    device, part = handle.split("/")
    return devices[int(device)]["parts"][int(part)]  # type: ignore[no-any-return]


def _said(handle: int | str, what: str) -> Any:
    said = _device(handle).get(what, {"error": NVML_ERROR_NOT_SUPPORTED})
    if isinstance(said, dict) and "error" in said:
        raise NVMLError(said["error"])
    return said


def nvmlDeviceGetName(handle: int | str) -> bytes | str:  # noqa: N802
    said = _said(handle, "Name")
    return said.encode() if _state().get("bytes") else said  # type: ignore[no-any-return]


def nvmlDeviceGetProcessUtilization(handle: int | str, since: int) -> list[Any]:  # noqa: N802
    found = [SimpleNamespace(**sample) for sample in _said(handle, "ProcessUtilization") if sample["timeStamp"] > since]
    if not found:
        raise NVMLError(6)
    return found


def nvmlDeviceGetTemperatureV(handle: int | str, sensor: int) -> int:  # noqa: N802
    assert sensor == 0
    return _said(handle, "TemperatureV")  # type: ignore[no-any-return]


def __getattr__(name: str) -> Any:
    what = name.removeprefix("nvmlDeviceGet")
    if what == name or what in _state().get("unknown", ()):
        raise AttributeError(name)

    def ask(handle: int | str, *_: Any) -> Any:
        said = _said(handle, what)
        if isinstance(said, dict):
            return SimpleNamespace(**said)
        return (
            [SimpleNamespace(**item) if isinstance(item, dict) else item for item in said]
            if isinstance(said, list)
            else said
        )

    return ask
