"""How amounts of money are written, so that small ones do not look like nothing."""

from __future__ import annotations

SMALLEST = 1e-8  # USD; no token of any catalogue costs less


def usd(amount: float) -> str:
    """An amount with two significant digits below a cent: `$0`, `$0.000018`, `$1.20`."""
    if amount == 0:
        return "$0"
    if amount < SMALLEST:
        return f"less than ${SMALLEST:.8f}"
    return f"${amount:.2f}" if amount >= 0.01 else f"${float(f'{amount:.2g}'):.8f}".rstrip("0")
