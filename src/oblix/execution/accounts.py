"""What the hands need of the books: each attempt reserves, tops up while it grows, and settles."""

from __future__ import annotations

from math import inf
from typing import Protocol

from oblix.types.money import Claim, Spent


class Hold(Protocol):
    """Money that is reserved for one attempt.

    Attributes:
        micro_usd: How much by now.
        cap_micro_usd: What the budgets would have allowed at most when it was made; `None` where there is no budget.
        pays_tokens: Output tokens that may come before more must be reserved, less those that may be on their way; infinite where all of
            the answer's bound is reserved.
    """

    micro_usd: int
    cap_micro_usd: int | None
    pays_tokens: float

    @property
    def cap_tokens(self) -> int | None:
        """Output tokens that `cap_micro_usd` pays beside the prompt; `None` where there is no budget."""

    async def top_up(self, tokens: int, *, until: float | None = None) -> bool:
        """So many output tokens came: reserve for those that come next; whether the budgets allow it."""

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
            AttemptFailed: `BUDGET`: a budget has no room, `.room` tells which. `LEDGER`: the books cannot be written, and the policy is to
                send nothing that costs.
        """

    def charge(self, claim: Claim, spent: Spent) -> None:
        """Charge what was never reserved, because its price became known while it went. Waits for nothing, and never raises."""


class NoHold:
    """Nothing is reserved, because nobody keeps books: everything is allowed."""

    micro_usd = 0
    cap_micro_usd: int | None = None
    cap_tokens: int | None = None
    pays_tokens = inf

    async def top_up(self, tokens: int, *, until: float | None = None) -> bool:
        """Allowed."""
        return True

    async def raise_to(self, micro_usd: int, *, until: float | None = None) -> bool:
        """Allowed."""
        return True

    def settle(self, spent: Spent) -> None:
        """Nobody writes it down."""


class NoAccounts:
    """The hands by themselves, without a client and its books: what an attempt costs is told, and limited by nothing."""

    async def reserve(self, claim: Claim, *, until: float | None = None) -> Hold:
        """Allowed."""
        return NoHold()

    def charge(self, claim: Claim, spent: Spent) -> None:
        """Nobody writes it down."""
