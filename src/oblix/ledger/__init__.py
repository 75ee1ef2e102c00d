"""The accounts: budgets that are never passed, and append-only books of what was spent."""
