"""One file per sub-command; each has a `command`."""
