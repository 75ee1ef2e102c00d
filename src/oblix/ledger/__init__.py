"""The accounts: budgets that are never passed, and append-only books of what was spent."""

from oblix.ledger.ledger import Ledger, Standing

__all__ = ["Ledger", "Standing"]
