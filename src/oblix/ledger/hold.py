"""Money that is reserved for one attempt, while it lasts."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from oblix.ledger import estimate
from oblix.ledger.entries import Call
from oblix.ledger.estimate import Tariff
from oblix.types.money import EVERY_MODEL, IN_FLIGHT, Claim, Spent

if TYPE_CHECKING:
    from oblix.ledger.books import Taken
    from oblix.ledger.ledger import Ledger


class Hold:
    """Made by `Ledger.reserve`; who has one settles it, whatever happens.

    Attributes:
        micro_usd: Reserved by now.
        cap_micro_usd: What the budgets could have paid at most when it was made, if others gave back all; where more cannot be reserved in
            time, what is reserved. `None` without a limit.
        pays_tokens: Output tokens that may come before more must be reserved, those in flight taken off; infinite where all is reserved.
        overrun: Micro-USD that it came to above what was reserved; 0 until it is settled.
    """

    def __init__(self, ledger: Ledger, claim: Claim, call: Call, tariff: Tariff, taken: Taken) -> None:
        self.claim = claim
        self.call = call
        self.micro_usd = taken.micro_usd
        self.cap_micro_usd = taken.room
        self.overrun = 0
        self.pays_tokens = tariff.lasts(taken.micro_usd, claim.most_tokens) if claim.grows else inf
        self._may_grow = taken.room is not None and taken.room > taken.micro_usd
        self._tariff = tariff
        self._ledger = ledger
        self._is_settled = False

    @property
    def cap_tokens(self) -> int | None:
        """Output tokens that `cap_micro_usd` pays, which the provider is told as its bound.

        `None` where there is no limit, and where it is far away, nobody else bounds the answer, and it can be stopped in time.
        """
        paid = inf if self.cap_micro_usd is None else self._tariff.pays(self.cap_micro_usd)
        is_far = self._may_grow and self.claim.most_tokens is None and paid > EVERY_MODEL
        return None if paid == inf or is_far else max(0, int(paid))

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

    def judged(self, spent: Spent) -> Spent:
        """The outcome is `bounded` where an answer reached a bound: that tells nothing of its own length, here and in the next process."""
        bounds = [bound for bound in (self.claim.most_tokens, self.cap_tokens) if bound is not None]
        is_bounded = spent.outcome == "ok" and bounds and (spent.output_tokens or 0) >= min(bounds)
        return replace(spent, outcome="bounded") if is_bounded else spent

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
            self._ledger.settle_hold(self, self.judged(spent))
