"""The money of one attempt: reserved before anything is sent, topped up while the answer grows, charged once when it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from math import ceil

from oblix.decision.tokens import share
from oblix.execution.accounts import Accounts, Hold
from oblix.execution.scale import Scale
from oblix.types.attempt import Outcome
from oblix.types.chunk import Usage
from oblix.types.money import IN_FLIGHT, QUICKEST, Claim, Spent, micro
from oblix.types.request import Request
from oblix.types.spec import ModelSpec, Price


@dataclass(slots=True, eq=False)
class Charge:
    """What one attempt has come to so far. Amounts are whole micro-USD.

    Attributes:
        price: As it was known at the start, so that what is reserved and what is charged follow the same; `None` while nothing is known.
        count_input: Estimates the prompt's tokens; asked only where somebody pays for them.
        scale: Learned from the model's earlier answers.
        is_hiding: The model may write tokens that are billed and not seen while they are written.
        works: Signs of work without text; a thought is billed as a token.
    """

    price: Price | None
    count_input: Callable[[], int]
    _: KW_ONLY
    scale: Scale = field(default_factory=Scale)
    is_hiding: bool = False
    pieces: int = 0
    works: int = 0
    _share: float = 0.0  # of the answer's tokens, by its text
    _hold: Hold | None = None
    _most: int | None = None  # tokens that the budgets pay, where that is less than the caller allows
    _bound: int | None = None  # tokens that the provider was told, by the caller or by us
    _input: int | None = None

    @property
    def input_tokens(self) -> int:
        """Of the prompt, estimated."""
        if self._input is None:
            self._input = self.count_input()
        return self._input

    @property
    def tokens(self) -> int:
        """Of the answer so far, estimated; as many at least as it had pieces, as long as nothing better is known."""
        factor, found = self.scale.factor, self._estimated
        if factor != 1.0:
            found = ceil(found * factor - 1e-9)  # binary fractions
        return found if self._bound is None else min(found, self._bound)

    @property
    def _estimated(self) -> int:
        return (max(int(self._share) + 1, self.pieces) if self.pieces else 0) + self.works

    @property
    def is_paid(self) -> bool:
        """Whether there is anything to reserve."""
        return self.price is not None and not self.price.is_free

    def claim(
        self, name: str, spec: ModelSpec, request: Request, *, bound: int | None, key: str, is_approved: bool
    ) -> Claim:
        """What is asked of the books.

        Args:
            name: Of the claim, unique for ever.
            bound: Tokens that the answer can have at most, by what the provider is told.
            key: The digest of the model's key.
        """
        assert self.price is not None
        return Claim(
            name,
            request.id,
            spec.id,
            spec.place,
            self.input_tokens,
            self.price,
            most_tokens=bound,
            grows=not self.is_hiding,
            tags=request.tags,
            key=key,
            approved=is_approved,
        )

    async def reserve(self, accounts: Accounts, claim: Claim, *, until: float | None) -> int | None:
        """Reserve what the attempt will probably cost; gives the tokens that its answer may have at most, `None` for no bound of ours.

        Args:
            until: Loop time up to which it may wait for others to give back what they hold.

        Raises:
            AttemptFailed: A budget has no room, or the books cannot be written.
        """
        hold = self._hold = await accounts.reserve(claim, until=until)
        paid, bound = hold.cap_tokens, claim.most_tokens
        if paid is not None and (bound is None or paid < bound):
            self._most = bound = paid
        self._bound = bound
        return self._most

    def wrote(self, text: str) -> None:
        """A piece of the answer came."""
        if self._hold is not None:
            self.pieces += 1
            self._share += share(text)

    @property
    def is_covered(self) -> bool:
        """Whether what was reserved pays the answer for a while yet."""
        hold = self._hold
        return hold is None or self.tokens <= hold.pays_tokens or self._is_paid_up(hold)

    async def pays_on(self) -> bool:
        """Whether the answer may go on; reserves for its next tokens where it has to."""
        return self.is_covered or self._hold is None or await self._hold.top_up(self.tokens)

    def _is_paid_up(self, hold: Hold) -> bool:
        """All that the budgets could pay is reserved, and the provider stops there by itself; unless it writes on."""
        if hold.cap_micro_usd is None or self._most is None or hold.micro_usd < hold.cap_micro_usd:
            return False
        return self.pieces + self.works <= self._most  # a piece is one token at least

    def was_bounded(self, finish_reason: str) -> bool:
        """Whether it was our bound that ended an answer, not the caller's."""
        return finish_reason == "length" and self._most is not None

    def cost(self, used: Usage, *, is_whole: bool, unread: float = 0.0) -> int | None:
        """Micro-USD that were certainly or possibly billed; where nothing was told, the tokens are estimated.

        Args:
            is_whole: It came to its own end. Else more may have been on its way than we have seen. (Hidden tokens may be in any answer.)
            unread: Seconds since we read last: what came meanwhile was written, and is billed.
        """
        if self.price is None:
            return None
        if self.price.is_free:
            return 0
        input_tokens = self.input_tokens if used.input_tokens is None else used.input_tokens
        if used.output_tokens is not None:
            return micro(self.price.cost(input_tokens, used.output_tokens, *used.cache))
        seen = micro(self.price.cost(input_tokens, self.tokens, *used.cache))
        if self._hold is None or (is_whole and not self.is_hiding):
            return seen
        # Beyond what we saw no more can have been billed than was reserved: that covers what is on its way, and all that may be hidden.
        if self.is_hiding:
            return max(seen, self._hold.micro_usd)
        more = self.tokens + IN_FLIGHT + ceil(QUICKEST * unread)
        return max(seen, min(micro(self.price.cost(input_tokens, more)), self._hold.micro_usd))

    def learn(self, used: Usage) -> None:
        """A whole answer came, all of which was text."""
        if self._hold is not None and used.output_tokens is not None:
            self.scale.note(used.output_tokens, self._estimated)

    def settle(self, outcome: Outcome, amount: int | None, used: Usage) -> None:
        """It is over: charge it. Only the first time counts."""
        hold, self._hold = self._hold, None
        if hold is None:
            return
        is_certain = not amount or None not in (used.input_tokens, used.output_tokens)
        hold.settle(
            Spent(
                amount or 0,
                is_certain,
                outcome,
                input_tokens=used.input_tokens,
                output_tokens=used.output_tokens,
                cached_tokens=used.cached_tokens,
            )
        )
