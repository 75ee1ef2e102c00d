"""Whether an address is at home."""

from __future__ import annotations

import ipaddress


def is_home_address(host: str) -> bool | None:
    """Whether a literal address is loopback, private or link-local; `None` when `host` is a name, not an address."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return True if host.lower() == "localhost" else None
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_private or mapped.is_link_local) and not mapped.is_unspecified
