"""This machine's side of the way, from real routes and from recorded files."""

from __future__ import annotations

from pathlib import Path

import pytest

from oblix.agents.probes.link import device_to, has_route, is_unplugged, kind_of, source_of
from oblix.agents.probes.system import System

ROUTES4 = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
wlan0 00000000 0101A8C0 0003 0 0 600 00000000 0 0 0
eth0 00000000 0102A8C0 0003 0 0 100 00000000 0 0 0
wlan0 0001A8C0 00000000 0001 0 0 600 00FFFFFF 0 0 0
tun0 0000000A 00000000 0001 0 0 0 000000FF 0 0 0
"""
_NOWHERE = "0" * 32
ROUTES6 = f"""20010db8{"0" * 24} 40 {_NOWHERE} 00 {_NOWHERE} 00000100 1 0 00000001 eth0
{_NOWHERE} 00 {_NOWHERE} 00 fe80{"0" * 27}1 00000400 1 0 00000003 wlan0
{_NOWHERE} 00 {_NOWHERE} 00 {_NOWHERE} ffffffff 1 0 00200200 lo
"""


def recorded(folder: Path, files: dict[str, str], platform: str = "linux") -> System:
    """A machine with these files."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return System(folder, platform)


def test_this_machine_has_a_route_to_itself() -> None:
    assert has_route(("127.0.0.1", 9))
    assert source_of(("127.0.0.1", 9)) == "127.0.0.1"
    assert device_to("127.0.0.1") == "lo"


@pytest.mark.parametrize(
    ("host", "device"),
    [
        ("203.0.113.9", "eth0"),  # of two default routes the one that costs less
        ("192.168.1.77", "wlan0"),  # the longest prefix
        ("10.20.30.40", "tun0"),
        ("2001:db8::1", "eth0"),
        ("2a00::1", "wlan0"),
        ("::1", "lo"),
    ],
)
def test_the_route_that_fits_best_names_the_device(tmp_path: Path, host: str, device: str) -> None:
    system = recorded(tmp_path, {"proc/net/route": ROUTES4, "proc/net/ipv6_route": ROUTES6})
    assert device_to(host, system) == device


def test_without_a_route_there_is_no_device(tmp_path: Path) -> None:
    assert device_to("203.0.113.9", System(tmp_path, "linux")) is None
    only_home = "\n".join(ROUTES4.splitlines()[:1] + ROUTES4.splitlines()[3:])
    assert device_to("203.0.113.9", recorded(tmp_path, {"proc/net/route": only_home})) is None


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"type": "1", "device/vendor": "0x8086"}, "ethernet"),
        ({"type": "1", "wireless/x": "", "device/vendor": "0x8086"}, "wifi"),
        ({"type": "1", "uevent": "DEVTYPE=wlan\nINTERFACE=wlan0"}, "wifi"),
        ({"type": "1", "uevent": "DEVTYPE=wwan"}, "cellular"),
        ({"type": "512"}, "cellular"),
        ({"type": "65534", "tun_flags": "0x1001"}, "vpn"),
        ({"type": "65534", "uevent": "DEVTYPE=wireguard"}, "vpn"),
        ({"type": "772"}, "loopback"),
        ({"type": "1"}, None),  # a container's, or a bridge: what is beneath it does not show
        ({}, None),
    ],
)
def test_the_kind_of_a_device_is_what_the_kernel_says(tmp_path: Path, files: dict[str, str], kind: str | None) -> None:
    system = recorded(tmp_path, {f"sys/class/net/x0/{name}": text for name, text in files.items()})
    assert kind_of("x0", system) == kind


@pytest.mark.parametrize(
    ("files", "unplugged"),
    [
        ({"carrier": "1", "operstate": "up"}, False),
        ({"carrier": "1", "operstate": "unknown"}, False),  # a tunnel says no more
        ({"carrier": "0", "operstate": "down"}, True),
        ({"operstate": "lowerlayerdown"}, True),
        ({}, None),
    ],
)
def test_a_device_without_a_carrier_is_unplugged(tmp_path: Path, files: dict[str, str], unplugged: bool | None) -> None:
    system = recorded(tmp_path, {f"sys/class/net/x0/{name}": text for name, text in files.items()})
    assert is_unplugged("x0", system) is unplugged


def test_a_mac_is_asked_by_its_programs(tmp_path: Path) -> None:
    names = (("Ethernet", "en5"), ("Wi-Fi", "en0"), ("Thunderbolt Bridge", "bridge0"))
    ports = "\n".join(f"Hardware Port: {port}\nDevice: {name}\n" for port, name in names)
    system = recorded(
        tmp_path,
        {
            "commands/route_-n_get_203.0.113.9.txt": "   route to: 203.0.113.9\n  interface: en0\n",
            "commands/networksetup_-listallhardwareports.txt": ports,
        },
        "darwin",
    )
    assert device_to("203.0.113.9", system) == "en0"
    assert [kind_of(name, system) for name in ("en0", "en5", "bridge0", "utun3", "x9")] == [
        "wifi",
        "ethernet",
        None,
        "vpn",
        None,
    ]
    assert device_to("198.51.100.1", system) is None
