"""The fault matrix: the real client against the fault server, every request judged."""
