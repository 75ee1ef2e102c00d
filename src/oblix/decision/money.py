"""How amounts of money are written, so that small ones do not look like nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from oblix.types.money import Room
from oblix.types.spec import ModelSpec

SMALLEST = 1e-8  # USD; no token of any catalogue costs less


def usd(amount: float) -> str:
    """An amount with two significant digits below a cent: `$0`, `$0.000018`, `$1.20`."""
    if amount == 0:
        return "$0"
    if amount < SMALLEST:
        return f"less than ${SMALLEST:.8f}"
    return f"${amount:.2f}" if amount >= 0.01 else f"${float(f'{amount:.2g}'):.8f}".rstrip("0")


def next_window(room: Room) -> str:
    """When a budget begins anew, as the end of a sentence; empty for one that never does."""
    if room.resets_at is None:
        return ""
    return f"; it begins anew at {datetime.fromtimestamp(room.resets_at, UTC):%Y-%m-%d %H:%M} UTC"


def price_line(spec: ModelSpec) -> str:
    """What a user writes to set the price of a model that no catalogue knows."""
    return (
        f"`price = [0.5, 1.5]` below its [[model]], or hook_model({spec.provider!r}, {spec.name!r}, price=(0.5, 1.5)),"
    )
