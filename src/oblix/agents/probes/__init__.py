"""One probe per device; each gives a frozen reading, with `None` for what it cannot tell."""
