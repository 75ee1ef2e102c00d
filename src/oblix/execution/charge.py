"""The money of one attempt: reserved before anything is sent, topped up while the answer grows, charged once when it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from math import ceil

from oblix.decision.tokens import share
from oblix.execution.accounts import Accounts, Hold
from oblix.execution.flow import Flow
from oblix.execution.scale import LOWEST, PromptScale, Scale, kind_of
from oblix.types.attempt import Outcome
from oblix.types.chunk import Usage
from oblix.types.money import IN_FLIGHT, QUICKEST, Claim, Spent, micro
from oblix.types.request import Request
from oblix.types.spec import ModelSpec, Price

# Tokens that a prompt may have beside what is said in it: the model's template, and the system prompt that it brings where none is given.
# SmolLM2 counts 31 for "Hi". They are reserved for each prompt, because one of a few words has hardly any others.
TEMPLATE = 32


@dataclass(slots=True, eq=False)
class Charge:
    """What one attempt has come to so far. Amounts are whole micro-USD.

    Attributes:
        price: As it was known at the start, so that what is reserved and what is charged follow the same; `None` while nothing is known.
        price_now: As it is known at the end, for what began while it was not.
        count_input: Estimates the prompt's tokens; asked only where somebody pays for them.
        scale: Learned from the model's earlier answers, `prompts` from its earlier prompts.
        is_hiding: The model may write tokens that are billed and not seen while they are written.
        works: Signs of work without text that are part of the answer: thoughts, pieces of tool calls.
    """

    price: Price | None
    count_input: Callable[[], int]
    _: KW_ONLY
    scale: Scale = field(default_factory=Scale)
    prompts: PromptScale = field(default_factory=PromptScale)
    price_now: Callable[[], Price | None] = lambda: None
    is_hiding: bool = False
    pieces: int = 0
    works: int = 0
    _unseen: float = 0.0  # of the answer's tokens, by those signs
    _share: float = 0.0  # of the answer's tokens, by its text
    _hold: Hold | None = None
    _most: int | None = None  # tokens that the budgets pay, where that is less than the caller allows
    _bound: int | None = None  # tokens that the provider was told, by the caller or by us
    _input: int | None = None
    _kind: int | None = None  # of text that the prompt is; that of one with images says nothing of their tokens
    _before: int = 0  # tokens that had come when the last silence began
    _flow: Flow = field(default_factory=Flow)

    @property
    def input_tokens(self) -> int:
        """Of the prompt, estimated."""
        found = self._estimated_input
        return found if self._kind is None else ceil(found * self.prompts.factor(self._kind) - 1e-9)  # binary fractions

    @property
    def _estimated_input(self) -> int:
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
        return (max(int(self._share) + 1, self.pieces) if self.pieces else 0) + ceil(self._unseen)

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
        kind = kind_of(message.text for message in request.messages)
        self._kind = None if request.asks_about_images else kind
        return Claim(
            name,
            request.id,
            spec.id,
            spec.place,
            max(ceil(self._estimated_input * self.prompts.safe(kind) - 1e-9), self._estimated_input + TEMPLATE),
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

    def wrote(self, text: str, now: float) -> None:
        """A piece of the answer came, now on the loop's clock."""
        if self._hold is not None:
            tokens = share(text)
            self.pieces += 1
            self._share += tokens
            self._flow.came(max(tokens, 1.0), now)

    def worked(self, tokens: float, now: float) -> None:
        """A sign of work came, and with it so many tokens of the answer; none, where it is no part of it."""
        self.works += tokens > 0
        self._unseen += tokens
        self._flow.came(tokens, now)

    def was_quiet(self) -> None:
        """A silence ended. What comes now may have been written, and billed, all the while: a proxy may hand on a whole answer at once."""
        if self._hold is not None:
            self._before = self.tokens

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
        # A piece is one token at least, and no text has fewer than half of those that we estimate.
        return max(self.pieces + self.works, self._estimated * LOWEST) <= self._most

    def was_bounded(self, finish_reason: str) -> bool:
        """Whether it was our bound that ended an answer, not the caller's."""
        return finish_reason == "length" and self._most is not None

    def cost(self, used: Usage, *, is_whole: bool, unread: float = 0.0, quiet: float = 0.0) -> int | None:
        """Micro-USD that were certainly or possibly billed; where nothing was told, the tokens are estimated.

        Args:
            is_whole: It came to its own end. Else more may have been on its way than we have seen. (Hidden tokens may be in any answer.)
            unread: Seconds since we read last: what came meanwhile was written, and is billed.
            quiet: Seconds since the last silence began.
        """
        if self.price is None:
            self.price = self.price_now()
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
        most = self._hold.micro_usd
        if self._bound is not None:
            most = min(most, micro(self.price.cost(input_tokens, self._bound)))
        if self.is_hiding:
            return max(seen, most)
        written = max(self.tokens + ceil(QUICKEST * unread), self._before + ceil(QUICKEST * quiet)) + IN_FLIGHT
        return max(seen, min(micro(self.price.cost(input_tokens, written)), most))

    def learn(self, used: Usage, *, is_text: bool) -> None:
        """A whole answer came.

        Args:
            is_text: All of it was text.
        """
        if self._hold is None:
            return
        if is_text and used.output_tokens is not None:
            self.scale.note(used.output_tokens, self._estimated)
        if self._kind is not None and used.input_tokens is not None:
            self.prompts.note(self._kind, used.input_tokens, self._estimated_input)

    def settle(self, outcome: Outcome, amount: int | None, used: Usage) -> Spent | None:
        """It is over: charge it. Only the first time counts.

        Returns:
            What is to be charged although nothing was reserved for it.
        """
        hold, self._hold = self._hold, None
        if hold is None and not amount:
            return None
        is_certain = not amount or None not in (used.input_tokens, used.output_tokens)
        spent = Spent(
            amount or 0,
            is_certain,
            outcome,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            cached_tokens=used.cached_tokens,
            is_steady=self._flow.is_steady,
        )
        if hold is None:
            return spent
        hold.settle(spent)
        return None
