"""How much an answer will probably cost, from the model's own history, and how far ahead of its tokens money is reserved. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from math import ceil, inf, log

from oblix.types.money import IN_FLIGHT, Claim
from oblix.types.spec import Price

LIKELY, TYPICAL = (
    0.9,
    0.5,
)  # quantiles of a model's own answers: what is reserved, and what the last money of a budget must pay at least
KEPT = (
    256  # answers of each model that are remembered; the 0.9 quantile of so many is within 2 % of the true one's rank
)
FEW = 8  # below so many answers the start value still has its say
# A new model's answers, taken as exponential: ShareGPT's conversations have answers of 338 tokens on average. Source: W. Kwon et al.,
# "Efficient Memory Management for Large Language Model Serving with PagedAttention", SOSP 2023, figure 11.
START_LIKELY = round(338 * log(10))
# Of a new model nothing typical is known: the last money of a budget is worth a try where it pays a sentence or two.
START_TYPICAL = 32
ROUNDED = 2  # tokens that our own count of a short answer may be above its provider's, which no top-up is worth
BLOCK = 64  # tokens that a top-up adds at least: one write (some 30 µs) for each half second of a fast model
# Where tokens are hidden and nothing bounds them. "We recommend reserving at least 25,000 tokens": OpenAI's guide to reasoning models.
HIDDEN = 25_000
MOST = 10**15  # micro-USD: what no price may pass, so that sums stay whole in 64 bits


@dataclass(frozen=True, slots=True)
class Wanted:
    """Output tokens to reserve for.

    Attributes:
        likely: Nine of ten answers need no more.
        least: With less a call is not worth a try.
    """

    likely: int
    least: int


class History:
    """The lengths of each model's latest answers, in tokens."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[deque[int], list[int]]] = {}

    def note(self, model_id: str, tokens: int) -> None:
        """An answer came to its own end."""
        latest, ordered = self._answers.setdefault(model_id, (deque(), []))
        if len(latest) == KEPT:
            del ordered[bisect_left(ordered, latest.popleft())]
        latest.append(tokens)
        insort(ordered, tokens)

    def wanted(self, claim: Claim) -> Wanted:
        """What to reserve for a call, never above its bound."""
        likely, typical = self._quantiles(claim.model_id)
        bound = claim.most_tokens
        if not claim.grows:
            all_of_it = HIDDEN if bound is None else bound
            return Wanted(all_of_it, min(typical, all_of_it))
        likely += IN_FLIGHT + ROUNDED
        return Wanted(likely, typical) if bound is None else Wanted(min(likely, bound), min(typical, bound))

    def _quantiles(self, model_id: str) -> tuple[int, int]:
        known = self._answers.get(model_id)
        if known is None:
            return START_LIKELY, START_TYPICAL
        ordered = known[1]
        count = len(ordered)
        likely, typical = ordered[min(count - 1, int(LIKELY * count))], ordered[int(TYPICAL * count)]
        if count < FEW:  # a few short answers promise nothing: lean to the start value by what is missing
            likely = max(likely, round((count * likely + (FEW - count) * START_LIKELY) / FEW))
        return likely, typical


class Tariff:
    """What the answer to one prompt costs, token by token; none of the prompt's are taken as cached."""

    __slots__ = ("_each", "_prompt")

    def __init__(self, price: Price, input_tokens: int) -> None:
        prompt = price.cost(input_tokens, 0)
        self._prompt = prompt * 1e6
        self._each = price.cost(input_tokens, 1_000_000) - prompt  # USD for a million tokens are micro-USD for one

    def cost(self, tokens: int) -> int:
        """Micro-USD for so many output tokens."""
        amount = self._prompt + tokens * self._each
        return ceil(round(amount, 6)) if amount < MOST else MOST  # as `types.money.micro` does

    def pays(self, micro_usd: int) -> float:
        """Output tokens that so much pays beside the prompt: infinite where they cost nothing, -1 where the prompt costs more."""
        if self.cost(0) > micro_usd:
            return -1
        if self._each <= 0.0:
            return inf
        tokens = int((micro_usd - self._prompt) / self._each) + 1
        while self.cost(tokens) > micro_usd:  # binary fractions, and rounding up: a step or two
            tokens -= 1
        return tokens

    def lasts(self, micro_usd: int, bound: int | None) -> float:
        """Output tokens up to which nothing more need be reserved."""
        paid = self.pays(micro_usd)
        return inf if bound is not None and paid >= bound else paid - IN_FLIGHT


def ahead(tokens: int, bound: int | None) -> int:
    """Output tokens to have reserved once so many came: those in flight, and a block (larger for long answers: they top up rarely)."""
    reach = tokens + IN_FLIGHT + max(BLOCK, tokens // 2)
    return reach if bound is None else min(reach, bound)
