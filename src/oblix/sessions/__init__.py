"""The memory: sessions that are kept, and what of them fits a model's window."""
