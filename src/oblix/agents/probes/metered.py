"""Whether the connection is metered: what the system's own network service says, where it has one."""

from __future__ import annotations

from oblix.agents.probes.system import HERE, System

# Windows tells it through one documented class of the Windows Runtime, which its own PowerShell 5.1 can load (NetworkInformation,
# `ConnectionCost.NetworkCostType`: Unrestricted, Fixed, Variable, Unknown). It takes half a second, once per network.
_ASK_WINDOWS = (
    "[Windows.Networking.Connectivity.NetworkInformation,Windows,ContentType=WindowsRuntime]::"
    "GetInternetConnectionProfile().GetConnectionCost().NetworkCostType"
)
_WINDOWS = {"Unrestricted": False, "Fixed": True, "Variable": True}
# `nmcli` adds "(guessed)" where NetworkManager took it from the DHCP server or from the kind of device: a telephone that shares its link.
_NETWORK_MANAGER = {"yes": True, "yes (guessed)": True, "no": False, "no (guessed)": False}


def is_metered(device: str | None, system: System = HERE) -> bool | None:
    """What NetworkManager (Linux) or Windows says; `None` where nobody says anything. macOS has no documented way to ask."""
    if system.platform == "win32":
        return _WINDOWS.get(system.output("powershell", "-NoProfile", "-Command", _ASK_WINDOWS, within=10.0) or "")
    if system.platform != "linux" or device is None:
        return None
    told = system.output("nmcli", "-g", "GENERAL.METERED", "device", "show", device)
    return _NETWORK_MANAGER.get((told or "").strip().lower())
