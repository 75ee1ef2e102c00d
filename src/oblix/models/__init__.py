"""The voices: one contract, and one module per wire protocol that keeps it."""
