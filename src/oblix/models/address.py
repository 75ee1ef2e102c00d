"""Whether an address is at home, and whether it is this machine itself."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

# Loopback, the private ranges of RFC 1918 and RFC 4193, link-local, and RFC 6598, which private overlay networks use.
_HOME = tuple(
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)


@lru_cache(256)  # asked before every request; 5 µs
def is_home_address(host: str) -> bool | None:
    """Whether a literal address is at home (see above); `None` when `host` is a name, not an address."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return True if is_localhost(host) else None
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in _HOME)


def is_localhost(host: str) -> bool:
    """Whether a name stands for this machine, which no resolver is asked about (RFC 6761)."""
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def is_loopback(host: str) -> bool:
    """Whether a literal address is this machine's loopback."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
