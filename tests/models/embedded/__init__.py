"""The embedded engine: real processes, real weights."""
