"""Whether an address is at home."""

from __future__ import annotations

import ipaddress

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


def is_home_address(host: str) -> bool | None:
    """Whether a literal address is at home (see above); `None` when `host` is a name, not an address."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return True if host.lower() == "localhost" else None
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in _HOME)
