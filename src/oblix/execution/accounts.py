"""What the hands need of the books: each attempt reserves, tops up while it grows, and settles."""

from __future__ import annotations

from typing import Protocol

from oblix.types.money import Claim, Spent


class Hold(Protocol):
    """Money that is reserved for one attempt.

    Attributes:
        micro_usd: How much by now.
        cap_micro_usd: What the budgets would have allowed at most when it was made; `None` where there is no budget.
    """

    micro_usd: int
    cap_micro_usd: int | None

    async def raise_to(self, micro_usd: int, *, until: float | None = None) -> bool:
        """Reserve so much in all; whether the budgets allow it. Waits for others to give back until then (loop time); by default not."""

    def settle(self, spent: Spent) -> None:
        """Charge what it came to, and give back the rest. Again does nothing. Waits for nothing, and never raises."""


class Accounts(Protocol):
    """The books. What they know is shared with every process on the same file."""

    async def reserve(self, claim: Claim, *, until: float | None = None) -> Hold:
        """Reserve what the attempt will probably cost, in all budgets that it counts to, or in none.

        Args:
            until: Loop time up to which it may wait for others to give back what they hold; by default it does not wait.

        Raises:
            BudgetRefused: A budget has no room; `.room` tells which.
            LedgerUnavailable: The books cannot be written, and the policy is to send nothing that costs.
        """
