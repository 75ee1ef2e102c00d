"""This machine's side of the way: is there a route, over which device does it lead, of what kind is that, is its cable in?"""

from __future__ import annotations

import errno
import re
import socket
from ipaddress import ip_address
from typing import Literal

from oblix.agents.probes.system import HERE, System

Kind = Literal["ethernet", "wifi", "cellular", "vpn", "loopback"]
NO_WAY_OUT = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})
_REJECT = 0x0200  # RTF_REJECT, a route that refuses (linux/route.h, linux/ipv6_route.h)
# ARPHRD_* of linux/if_arp.h. A device of type Ethernet may be anything that behaves like one.
_ETHERNET, _PPP, _LOOPBACK = 1, 512, 772
_TUNNELS = frozenset({65534, 768, 769, 776, 778, 823})  # none (tun, WireGuard), IPIP, IP6IP6, SIT, GRE, IP6GRE
_WORDS: dict[str, Kind] = {
    "Wi-Fi": "wifi",
    "AirPort": "wifi",
    "Ethernet": "ethernet",
    "LAN": "ethernet",
    "iPhone USB": "cellular",
}


def source_of(address: tuple[str, int]) -> str | None:
    """The address of ours that packets to there leave from; `None` where the kernel knows no way.

    Sends nothing: connecting a datagram socket only looks the route up.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        return None if error.errno in NO_WAY_OUT or error.errno == errno.EAFNOSUPPORT else ""


def has_route(address: tuple[str, int]) -> bool:
    """Whether the kernel knows a way to that address."""
    return source_of(address) is not None


def device_to(host: str, system: System = HERE) -> str | None:
    """The device that packets to an address leave by (Linux, macOS); `None` where that cannot be told, or no route is there."""
    if system.platform == "darwin":
        found = re.search(r"^\s*interface:\s*(\S+)", system.output("route", "-n", "get", host) or "", re.MULTILINE)
        return found[1] if found else None
    address = ip_address(host.partition("%")[0])
    if address.is_loopback:
        return "lo"
    rows = _routes6(system) if address.version == 6 else _routes4(system)
    bits = int(address)
    width = address.max_prefixlen
    fitting = [
        (length, -metric, name)
        for net, length, metric, name in rows
        if bits >> (width - length) == net >> (width - length)
    ]
    return max(fitting)[2] if fitting else None


def is_unplugged(device: str, system: System = HERE) -> bool | None:
    """Whether the device has no carrier: no cable, no radio. Its routes may still be there. `None` where nobody says (Linux only)."""
    carrier, state = (
        system.number(f"/sys/class/net/{device}/carrier"),
        system.text(f"/sys/class/net/{device}/operstate"),
    )
    if carrier is None and state is None:
        return None
    return carrier == 0 or state in ("down", "lowerlayerdown", "notpresent")


def kind_of(device: str, system: System = HERE) -> Kind | None:
    """What kind of connection a device is; `None` where it does not say, as in most containers."""
    if system.platform == "darwin":
        return _hardware_port(system.output("networksetup", "-listallhardwareports") or "", device)
    folder = f"/sys/class/net/{device}"
    kind, names = system.number(f"{folder}/type"), system.names(folder)
    told = re.search(r"^DEVTYPE=(\w+)", system.text(f"{folder}/uevent") or "", re.MULTILINE)
    devtype = told[1] if told else ""
    if devtype == "wlan" or "wireless" in names or "phy80211" in names:
        return "wifi"
    if devtype == "wwan" or kind == _PPP:
        return "cellular"
    if kind == _LOOPBACK:
        return "loopback"
    if devtype in ("wireguard", "tun") or "tun_flags" in names or kind in _TUNNELS:
        return "vpn"
    return (
        "ethernet" if kind == _ETHERNET and "device" in names else None
    )  # without hardware it is a bridge, or a container's


def _routes4(system: System) -> list[tuple[int, int, int, str]]:
    """Destination, length of its prefix, metric, device. The file has addresses in the machine's byte order."""
    rows = []
    for line in (system.text("/proc/net/route") or "").splitlines()[1:]:
        name, destination, _, flags, _, _, metric, mask, *_ = line.split()
        if not int(flags, 16) & _REJECT:
            net = int.from_bytes(int(destination, 16).to_bytes(4, "little"), "big")
            rows.append((net, int(mask, 16).bit_count(), int(metric), name))
    return rows


def _routes6(system: System) -> list[tuple[int, int, int, str]]:
    rows = []
    for line in (system.text("/proc/net/ipv6_route") or "").splitlines():
        destination, length, _, _, _, metric, _, _, flags, name = line.split()
        if not int(flags, 16) & _REJECT and name != "lo":
            rows.append((int(destination, 16), int(length, 16), int(metric, 16), name))
    return rows


def _hardware_port(told: str, device: str) -> Kind | None:
    found = re.search(rf"^Hardware Port: (.+)\nDevice: {re.escape(device)}$", told, re.MULTILINE)
    if not found:
        return "vpn" if device.startswith(("utun", "ipsec", "ppp")) else None
    return next((kind for word, kind in _WORDS.items() if word in found[1]), None)
