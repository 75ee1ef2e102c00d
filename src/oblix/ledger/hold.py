"""Money that is reserved for one attempt, while it lasts."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from oblix.ledger import estimate
from oblix.ledger.entries import Call
from oblix.ledger.estimate import Tariff
from oblix.types.money import IN_FLIGHT, Claim, Spent

if TYPE_CHECKING:
    from oblix.ledger.ledger import Ledger


class Hold:
    """Made by `Ledger.reserve`; who has one settles it, whatever happens.

    Attributes:
        micro_usd: Reserved by now.
        cap_micro_usd: What the budgets could have paid at most when it was made, if others gave back all; `None` without a limit.
        pays_tokens: Output tokens that may come before more must be reserved, those in flight taken off; infinite where all is reserved.
        overrun: Micro-USD that it came to above what was reserved; 0 until it is settled.
    """

    def __init__(
        self, ledger: Ledger, claim: Claim, call: Call, tariff: Tariff, micro_usd: int, room: int | None
    ) -> None:
        self.claim = claim
        self.call = call
        self.micro_usd = micro_usd
        self.cap_micro_usd = room if room is None or claim.grows else micro_usd
        self.overrun = 0
        self.pays_tokens = tariff.lasts(micro_usd, claim.most_tokens) if claim.grows else inf
        self._tariff = tariff
        self._ledger = ledger
        self._is_settled = False

    @property
    def cap_tokens(self) -> int | None:
        """Output tokens that `cap_micro_usd` pays, which the provider is told as its bound; `None` where there is no limit."""
        paid = inf if self.cap_micro_usd is None else self._tariff.pays(self.cap_micro_usd)
        return None if paid == inf else max(0, int(paid))

    async def raise_to(self, micro_usd: int, *, until: float | None = None) -> bool:
        """Reserve so much in all; whether the budgets allow it.

        Args:
            until: Loop time up to which it waits for others to give back; by default not. Calls that hold something and wait for each other
                all wait until then, for nothing: leave it out where others may do the same.
        """
        return await self._raise(micro_usd, micro_usd, until)

    async def top_up(self, tokens: int, *, until: float | None = None) -> bool:
        """So many output tokens came: reserve for those that will come next; `False` means stop. Call it where `tokens > pays_tokens`."""
        wanted = self._tariff.cost(estimate.ahead(tokens, self.claim.most_tokens))
        enough = self._tariff.cost(tokens + IN_FLIGHT + 1)
        return await self._raise(wanted, min(wanted, enough), until)

    def shows_length(self, spent: Spent) -> bool:
        """Whether an answer came to its own end: one that reached a bound tells nothing of its own length."""
        tokens = spent.output_tokens
        if spent.outcome != "ok" or not spent.certain or not tokens:
            return False
        return all(bound is None or tokens < bound for bound in (self.claim.most_tokens, self.cap_tokens))

    async def _raise(self, wanted: int, enough: int, until: float | None) -> bool:
        if self._is_settled:
            return False
        if wanted > self.micro_usd and not await self._ledger.raise_hold(self, wanted, enough, until):
            return False
        self.pays_tokens = self._tariff.lasts(self.micro_usd, self.claim.most_tokens)
        return True

    def settle(self, spent: Spent) -> None:
        """Charge what it came to, and give back the rest. Again does nothing. Waits for nothing, and never raises."""
        if not self._is_settled:
            self._is_settled = True
            self.overrun = max(0, spent.micro_usd - self.micro_usd)
            self._ledger.settle_hold(self, spent)
