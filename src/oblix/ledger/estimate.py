"""How much an answer will probably cost, from the model's own history, and how far ahead of its tokens money is reserved. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import KW_ONLY, dataclass
from math import ceil, inf, log

from oblix.types.money import EVERY_MODEL, IN_FLIGHT, Claim
from oblix.types.spec import Price

LIKELY, TYPICAL = (
    0.9,
    0.5,
)  # quantiles of a model's own answers: what is reserved, and what the last money of a budget must pay at least
KEPT = (
    256  # answers of each model that are remembered; the 0.9 quantile of so many is within 2 % of the true one's rank
)
FLOWED = (
    16  # answers of each model of which all must have come while they were written, before the next one is expected to
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

    Where more can be reserved in time, or no limit holds, `likely` will do. But an answer that comes at once cannot be stopped, so that its
    model is told no more than is reserved; and of a model that is not known yet all answers are cut, if too many begin on too little.

    Attributes:
        likely: Nine of ten answers need no more.
        least: With less a call is not worth a try.
        safe: Where a limit holds: at least so many, or it has to wait for room.
        most: Where a limit holds: so many, if there is ample room.
        grows: More can be reserved in time, while the answer comes.
    """

    likely: int
    least: int
    safe: int
    most: int
    _: KW_ONLY
    grows: bool = False


class History:
    """The lengths of each model's latest answers, in tokens, and whether they came while they were written."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[deque[int], list[int]]] = {}
        self._steady: dict[str, deque[bool]] = {}

    def note(self, model_id: str, tokens: int) -> None:
        """An answer came to its own end."""
        latest, ordered = self._answers.setdefault(model_id, (deque(), []))
        if len(latest) == KEPT:
            del ordered[bisect_left(ordered, latest.popleft())]
        latest.append(tokens)
        insort(ordered, tokens)

    def note_flow(self, model_id: str, *, is_steady: bool) -> None:
        """An answer, or a part of one, came while it was written, or did not."""
        self._steady.setdefault(model_id, deque(maxlen=FLOWED)).append(is_steady)

    def flows(self, model_id: str) -> bool:
        """Whether the answers of a model can be stopped in time, as far as is known; of a new model it is not."""
        return all(self._steady.get(model_id, (False,)))

    def wanted(self, claim: Claim) -> Wanted:
        """What to reserve for a call, never above its bound."""
        known = self._answers.get(claim.model_id)
        ordered = known[1] if known else []
        likely, typical = _quantiles(ordered)
        bound = claim.most_tokens
        if not claim.grows:
            all_of_it = HIDDEN if bound is None else bound
            return Wanted(all_of_it, min(typical, all_of_it), all_of_it, all_of_it)
        likely += IN_FLIGHT + ROUNDED
        most = max([EVERY_MODEL, *ordered[-1:]]) if bound is None else bound
        grows = self.flows(claim.model_id)
        if len(ordered) < FEW:
            safe = most
        elif grows:
            safe = most = likely
        else:
            safe = min(ordered[-1] + IN_FLIGHT + ROUNDED, most)
        found = (likely, typical, safe, most)
        return Wanted(*(found if bound is None else (min(each, bound) for each in found)), grows=grows)


def _quantiles(ordered: list[int]) -> tuple[int, int]:
    """Tokens that nine of ten answers have at most, and half of them."""
    count = len(ordered)
    if not count:
        return START_LIKELY, START_TYPICAL
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
